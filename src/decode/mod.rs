//! Message bytes to pixels. What the resizer can read as it stands (rgb8, bgr8, rgba8, bgra8,
//! mono8 and whatever padding) is borrowed; the rest is converted into one kept buffer.

mod bayer;
mod compressed;
mod jpeg;
pub mod orientation;
mod sixteen_bit;
mod yuv422_420;

use crate::frame::{BayerPattern, Encoding, Frame, FrameError, RawImage};
use crate::geometry::Size;
use crate::result::Picture;

/// First bytes of a JPEG file.
const JPEG_START: &[u8] = &[0xff, 0xd8, 0xff];

/// First bytes of a PNG file.
const PNG_START: &[u8] = b"\x89PNG\r\n\x1a\n";

/// Order of a pixel's interleaved bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PixelLayout {
    /// Red, green, blue.
    Rgb,
    /// Blue, green, red.
    Bgr,
    /// Red, green, blue, unused.
    Rgba,
    /// Blue, green, red, unused.
    Bgra,
    /// Grey.
    Gray,
}

impl PixelLayout {
    /// Bytes a pixel.
    pub fn bytes_per_pixel(self) -> usize {
        match self {
            Self::Rgb | Self::Bgr => 3,
            Self::Rgba | Self::Bgra => 4,
            Self::Gray => 1,
        }
    }

    /// Where red, green and blue stand within a pixel.
    pub fn rgb_offsets(self) -> [usize; 3] {
        match self {
            Self::Rgb | Self::Rgba => [0, 1, 2],
            Self::Bgr | Self::Bgra => [2, 1, 0],
            Self::Gray => [0, 0, 0],
        }
    }
}

/// Decoded pixels, borrowed from the message or from the decoder's buffer.
#[derive(Debug, Clone, Copy)]
pub struct Pixels<'a> {
    /// Order of the bytes.
    pub layout: PixelLayout,
    /// Width and height.
    pub size: Size,
    /// Bytes from one row's start to the next's.
    pub stride_bytes: usize,
    /// The rows; the last may lack its padding.
    pub bytes: &'a [u8],
}

impl<'a> Pixels<'a> {
    /// Row `y` without padding.
    pub fn row(&self, y: u32) -> &'a [u8] {
        let start = y as usize * self.stride_bytes;
        &self.bytes[start..start + self.size.width as usize * self.layout.bytes_per_pixel()]
    }

    /// A copy as packed red, green, blue.
    pub fn to_picture(&self) -> Picture {
        let mut rgb = Vec::with_capacity(3 * self.size.area());
        let [r, g, b] = self.layout.rgb_offsets();
        for y in 0..self.size.height {
            let row = self.row(y);
            if self.layout == PixelLayout::Rgb {
                rgb.extend_from_slice(row);
            } else {
                let pixels = row.chunks_exact(self.layout.bytes_per_pixel());
                rgb.extend(pixels.flat_map(|pixel| [pixel[r], pixel[g], pixel[b]]));
            }
        }
        Picture { size: self.size, rgb }
    }
}

/// Turns frames into pixels; keeps its buffers from frame to frame.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    /// What a colour filter let through, pixel by pixel.
    filtered: Vec<u8>,
}

impl Decoder {
    /// Decodes a frame. YUV is read as BT.601 of limited range, as OpenCV does; Bayer is
    /// interpolated bilinearly; 16-bit values are scaled by the bits that the frame's
    /// brightest one needs (8, 10, 12, 14 or 16, the high eight of them are taken), so that a camera
    /// of 10 or 12 bits is not black; alpha is ignored.
    ///
    /// # Errors
    /// [`FrameError`] for a compressed picture that is broken or too large.
    pub fn decode<'a>(&'a mut self, frame: Frame<'a>) -> Result<Pixels<'a>, FrameError> {
        match frame {
            Frame::Raw(image) => Ok(self.decode_raw(image)),
            Frame::Compressed { file, filter } => {
                let (layout, size) = compressed::unpack(file, &mut self.buffer)?;
                match filter {
                    // A file of colours has been through the filter, whatever its format says.
                    Some(pattern) if layout == PixelLayout::Gray => {
                        std::mem::swap(&mut self.buffer, &mut self.filtered);
                        Ok(self.interpolate(size, pattern))
                    }
                    _ => Ok(packed(layout, size, &self.buffer)),
                }
            }
        }
    }

    fn decode_raw<'a>(&'a mut self, image: RawImage<'a>) -> Pixels<'a> {
        let size = Size::new(image.width(), image.height());
        let borrowed =
            |layout| Pixels { layout, size, stride_bytes: image.step(), bytes: image.pixels() };
        match image.encoding() {
            Encoding::Rgb8 => borrowed(PixelLayout::Rgb),
            Encoding::Bgr8 => borrowed(PixelLayout::Bgr),
            Encoding::Rgba8 => borrowed(PixelLayout::Rgba),
            Encoding::Bgra8 => borrowed(PixelLayout::Bgra),
            Encoding::Mono8 => borrowed(PixelLayout::Gray),
            Encoding::Mono16 => {
                sixteen_bit::scale_image(&image, &mut self.buffer);
                packed(PixelLayout::Gray, size, &self.buffer)
            }
            Encoding::Uyvy | Encoding::Yuyv | Encoding::Nv12 | Encoding::Nv21 | Encoding::Nv24 => {
                yuv422_420::convert(&image, &mut self.buffer);
                packed(PixelLayout::Rgb, size, &self.buffer)
            }
            Encoding::Bayer8(pattern) => {
                bayer::interpolate(borrowed(PixelLayout::Gray), pattern, &mut self.buffer);
                packed(PixelLayout::Rgb, size, &self.buffer)
            }
            Encoding::Bayer16(pattern) => {
                sixteen_bit::scale_image(&image, &mut self.filtered);
                self.interpolate(size, pattern)
            }
        }
    }

    /// Colours of what is in `filtered`.
    fn interpolate(&mut self, size: Size, pattern: BayerPattern) -> Pixels<'_> {
        let filtered = packed(PixelLayout::Gray, size, &self.filtered);
        bayer::interpolate(filtered, pattern, &mut self.buffer);
        packed(PixelLayout::Rgb, size, &self.buffer)
    }
}

fn packed(layout: PixelLayout, size: Size, bytes: &[u8]) -> Pixels<'_> {
    let stride_bytes = size.width as usize * layout.bytes_per_pixel();
    Pixels { layout, size, stride_bytes, bytes }
}

#[cfg(test)]
mod tests;
