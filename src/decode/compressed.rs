//! JPEG and PNG files as `sensor_msgs/CompressedImage` carries them. The size is read from the
//! header and checked before memory is taken; the `format` string of the message is not trusted.

use std::io::Cursor;

use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::jpeg::Segments;
use super::{JPEG_START, PNG_START, PixelLayout, sixteen_bit};
use crate::caught::catch;
use crate::frame::{FrameError, MAX_PIXELS, MAX_SIDE, check_size};
use crate::geometry::Size;

/// Pixels that a byte of a file can stand for at most. A JPEG block of 8x8 takes at least a bit; a
/// deflate stream, PNG's, unpacks to at most 1032 times its length, and a byte holds eight pixels.
const MOST_PIXELS_A_BYTE: [(&str, u64); 2] = [("JPEG", 8 * 64), ("PNG", 8 * 1032)];

/// Unpacks a file into `pixels`, packed.
pub(super) fn unpack(file: &[u8], pixels: &mut Vec<u8>) -> Result<(PixelLayout, Size), FrameError> {
    let refuse = |format: &'static str, reason: String| FrameError::Compressed {
        format,
        bytes: file.len(),
        reason,
    };
    if file.starts_with(JPEG_START) {
        guarded(|| unpack_jpeg(file, pixels)).map_err(|reason| match reason {
            Refusal::Size(error) => error,
            Refusal::Broken(reason) => refuse("JPEG", reason),
        })
    } else if file.starts_with(PNG_START) {
        guarded(|| unpack_png(file, pixels)).map_err(|reason| match reason {
            Refusal::Size(error) => error,
            Refusal::Broken(reason) => refuse("PNG", reason),
        })
    } else {
        let start: Vec<u8> = file.iter().copied().take(8).collect();
        Err(refuse("unknown", format!("it starts with {start:02x?}, neither JPEG nor PNG")))
    }
}

/// A file on which its decoder panics is refused: whoever sends one must not end the node.
fn guarded<T>(unpack: impl FnOnce() -> Result<T, Refusal>) -> Result<T, Refusal> {
    // Pixels that are half written are written anew by the next file.
    catch(unpack).unwrap_or_else(|_| {
        Err(broken("its decoder panicked on it, please report it with the file"))
    })
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
    let segments = Segments::of(file);
    if !segments.is_ended {
        return Err(broken("it is cut off: the end-of-image marker is missing"));
    }
    let side = MAX_SIDE as usize;
    let options = DecoderOptions::default()
        .set_max_width(side)
        .set_max_height(side)
        .jpeg_set_out_colorspace(ColorSpace::RGB);
    let whole = segments.with_tables(file);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(&*whole), options);
    decoder.decode_headers().map_err(broken)?;
    let (width, height) = decoder.dimensions().ok_or_else(|| broken("it has no frame header"))?;
    let size = checked_size(width, height)?;
    is_plausible("JPEG", size, file.len())?;
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
    decoder.set_transformations(png::Transformations::EXPAND);
    let mut reader = decoder.read_info().map_err(broken)?;
    // The decoder panics on others.
    let has_whole_palette =
        reader.info().palette.as_ref().is_none_or(|palette| palette.len().is_multiple_of(3));
    if !has_whole_palette {
        return Err(broken("its palette does not consist of colours of three bytes"));
    }
    let (width, height) = (reader.info().width, reader.info().height);
    let size = checked_size(width as usize, height as usize)?;
    is_plausible("PNG", size, file.len())?;
    let bytes = reader.output_buffer_size().ok_or_else(|| broken("its size overflows"))?;
    let (colour, depth) = reader.output_color_type();
    if depth == png::BitDepth::Sixteen {
        let mut wide = vec![0; bytes];
        reader.next_frame(&mut wide).map_err(broken)?;
        strip(&wide, colour, pixels);
    } else {
        pixels.resize(bytes, 0);
        reader.next_frame(pixels).map_err(broken)?;
    }
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

/// Values of two bytes to one, scaled by the bits that are used; alpha stays apart, since it is
/// always full.
fn strip(wide: &[u8], colour: png::ColorType, pixels: &mut Vec<u8>) {
    let samples = colour.samples();
    let alpha = match colour {
        png::ColorType::GrayscaleAlpha | png::ColorType::Rgba => Some(samples - 1),
        _ => None,
    };
    let values = wide.chunks_exact(2).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]));
    let with_index = values.enumerate();
    // Alpha is not used: it may be anything after this.
    let of_colour = with_index.map(|(i, value)| if Some(i % samples) == alpha { 0 } else { value });
    pixels.clear();
    sixteen_bit::scale(of_colour, pixels);
}

/// Refuses a size that a file of so many bytes cannot hold, before memory is taken for it.
fn is_plausible(format: &'static str, size: Size, bytes: usize) -> Result<(), Refusal> {
    let most = MOST_PIXELS_A_BYTE.iter().find(|(name, _)| *name == format).map_or(0, |(_, n)| *n);
    let pixels = size.area() as u64;
    if pixels > most * bytes as u64 {
        return Err(broken(format!("it says {size}, which {bytes} bytes cannot hold")));
    }
    Ok(())
}

fn checked_size(width: usize, height: usize) -> Result<Size, Refusal> {
    let narrow = |side: usize| u32::try_from(side).unwrap_or(u32::MAX);
    let (width, height) = (narrow(width), narrow(height));
    check_size(width, height).map_err(Refusal::Size)?;
    Ok(Size::new(width, height))
}
