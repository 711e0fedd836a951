//! JPEG and PNG files as `sensor_msgs/CompressedImage` carries them. The size is read from the
//! header and checked before memory is taken; the `format` string of the message is not trusted.

use std::io::Cursor;

use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::PixelLayout;
use crate::frame::{FrameError, MAX_PIXELS, MAX_SIDE, check_size};
use crate::geometry::Size;

const JPEG_START: &[u8] = &[0xff, 0xd8, 0xff];
const JPEG_END: &[u8] = &[0xff, 0xd9];
const PNG_START: &[u8] = b"\x89PNG\r\n\x1a\n";

/// Unpacks a file into `pixels`, packed.
pub(super) fn unpack(file: &[u8], pixels: &mut Vec<u8>) -> Result<(PixelLayout, Size), FrameError> {
    let refuse = |format: &'static str, reason: String| FrameError::Compressed {
        format,
        bytes: file.len(),
        reason,
    };
    if file.starts_with(JPEG_START) {
        unpack_jpeg(file, pixels).map_err(|reason| match reason {
            Refusal::Size(error) => error,
            Refusal::Broken(reason) => refuse("JPEG", reason),
        })
    } else if file.starts_with(PNG_START) {
        unpack_png(file, pixels).map_err(|reason| match reason {
            Refusal::Size(error) => error,
            Refusal::Broken(reason) => refuse("PNG", reason),
        })
    } else {
        let start: Vec<u8> = file.iter().copied().take(8).collect();
        Err(refuse("unknown", format!("it starts with {start:02x?}, neither JPEG nor PNG")))
    }
}

enum Refusal {
    Size(FrameError),
    Broken(String),
}

fn broken(error: impl std::fmt::Display) -> Refusal {
    Refusal::Broken(error.to_string())
}

fn unpack_jpeg(file: &[u8], pixels: &mut Vec<u8>) -> Result<(PixelLayout, Size), Refusal> {
    // A picture that was cut off decodes to one with a grey rest; it is no picture of the scene.
    if !file.windows(2).rev().any(|marker| marker == JPEG_END) {
        return Err(broken("it is cut off: the end-of-image marker is missing"));
    }
    let side = MAX_SIDE as usize;
    let options = DecoderOptions::default()
        .set_max_width(side)
        .set_max_height(side)
        .jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(file), options);
    decoder.decode_headers().map_err(broken)?;
    let (width, height) = decoder.dimensions().ok_or_else(|| broken("it has no frame header"))?;
    let size = checked_size(width, height)?;
    let bytes = decoder.output_buffer_size().ok_or_else(|| broken("it has no frame header"))?;
    let layout = if bytes == size.area() { PixelLayout::Gray } else { PixelLayout::Rgb };
    if bytes != size.area() * layout.bytes_per_pixel() {
        return Err(broken("its colours are neither grey nor red, green and blue"));
    }
    pixels.resize(bytes, 0);
    decoder.decode_into(pixels).map_err(broken)?;
    Ok((layout, size))
}

fn unpack_png(file: &[u8], pixels: &mut Vec<u8>) -> Result<(PixelLayout, Size), Refusal> {
    let mut decoder = png::Decoder::new_with_limits(
        Cursor::new(file),
        png::Limits { bytes: 8 * MAX_PIXELS as usize },
    );
    decoder.set_transformations(png::Transformations::EXPAND | png::Transformations::STRIP_16);
    let mut reader = decoder.read_info().map_err(broken)?;
    let (width, height) = (reader.info().width, reader.info().height);
    let size = checked_size(width as usize, height as usize)?;
    let bytes = reader.output_buffer_size().ok_or_else(|| broken("its size overflows"))?;
    let (colour, _) = reader.output_color_type();
    pixels.resize(bytes, 0);
    reader.next_frame(pixels).map_err(broken)?;
    let layout = match colour {
        png::ColorType::Rgb => PixelLayout::Rgb,
        png::ColorType::Rgba => PixelLayout::Rgba,
        png::ColorType::Grayscale => PixelLayout::Gray,
        png::ColorType::GrayscaleAlpha => {
            let gray: Vec<u8> = pixels.chunks_exact(2).map(|pixel| pixel[0]).collect();
            *pixels = gray;
            PixelLayout::Gray
        }
        png::ColorType::Indexed => return Err(broken("its palette was not expanded")),
    };
    Ok((layout, size))
}

fn checked_size(width: usize, height: usize) -> Result<Size, Refusal> {
    let narrow = |side: usize| u32::try_from(side).unwrap_or(u32::MAX);
    let (width, height) = (narrow(width), narrow(height));
    check_size(width, height).map_err(Refusal::Size)?;
    Ok(Size::new(width, height))
}
