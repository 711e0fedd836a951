//! The picture made smaller, and as a JPEG file.

use std::borrow::Cow;

use jpeg_encoder::{ChromaSubsamplingMethod, ColorType, Encoder, EncodingError};

use crate::geometry::Size;
use crate::result::Picture;

/// The picture at most so large, its aspect kept; as it is where it fits.
pub fn shrink(picture: &Picture, most: Size) -> Cow<'_, Picture> {
    let Size { width, height } = picture.size;
    if width <= most.width && height <= most.height {
        return Cow::Borrowed(picture);
    }
    let share = |length: u32, of: u32, to: u32| {
        (u64::from(length) * u64::from(to) / u64::from(of)).max(1) as u32
    };
    let is_wide =
        u64::from(width) * u64::from(most.height) >= u64::from(height) * u64::from(most.width);
    let size = if is_wide {
        Size::new(most.width, share(height, width, most.width))
    } else {
        Size::new(share(width, height, most.height), most.height)
    };
    let whole = image::ImageBuffer::<image::Rgb<u8>, _>::from_raw(width, height, &picture.rgb[..]);
    match whole {
        Some(whole) => {
            let small = image::imageops::thumbnail(&whole, size.width, size.height);
            Cow::Owned(Picture { size, rgb: small.into_raw() })
        }
        None => Cow::Borrowed(picture),
    }
}

/// A small JPEG of the picture, at most 160x120.
///
/// # Errors
/// The encoder's.
pub fn thumbnail(picture: &Picture) -> Result<Vec<u8>, EncodingError> {
    to_jpeg(&shrink(picture, Size::new(160, 120)), 80)
}

/// The picture as a JPEG file, quality 1 to 100.
///
/// # Errors
/// The encoder's, for a picture wider or higher than JPEG allows.
pub fn to_jpeg(picture: &Picture, quality: u8) -> Result<Vec<u8>, EncodingError> {
    let side = |length: u32| {
        let too_long =
            |_| EncodingError::Write(format!("{length} pixels are more than a JPEG has"));
        u16::try_from(length).map_err(too_long)
    };
    let (width, height) = (side(picture.size.width)?, side(picture.size.height)?);
    let mut file = Vec::with_capacity(picture.size.area() / 4);
    let mut encoder = Encoder::new(&mut file, quality);
    encoder.set_chroma_subsampling_method(ChromaSubsamplingMethod::Average);
    encoder.encode(&picture.rgb, width, height, ColorType::Rgb)?;
    Ok(file)
}
