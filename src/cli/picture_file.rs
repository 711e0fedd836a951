//! Picture files as people see them: upright, as EXIF says. Frames of a camera are never turned,
//! since `camera_info` and masks belong to the sensor's rows.

use std::path::Path;

use anyhow::Context;
use image::{ExtendedColorType, ImageFormat};

use crate::decode::Decoder;
use crate::decode::orientation::Orientation;
use crate::frame::{Frame, FrameError, RawImage};
use crate::result::Picture;

/// Larger files are not read: raw pixels of the largest picture that is decoded take less.
const MAX_BYTES: u64 = 256 << 20;

/// Writes a picture as PNG, whatever the file's name ends in.
///
/// # Errors
/// The system's, with the file's name.
pub fn write_png(path: &Path, picture: &Picture) -> anyhow::Result<()> {
    let Picture { size, rgb } = picture;
    let (color, format) = (ExtendedColorType::Rgb8, ImageFormat::Png);
    image::save_buffer_with_format(path, rgb, size.width, size.height, color, format)
        .with_context(|| path.display().to_string())
}

/// A JPEG or PNG file, turned upright if need be.
#[derive(Debug)]
pub enum PictureFile {
    /// Upright as it is.
    AsStored(Vec<u8>),
    /// Unpacked and turned.
    Turned(Picture),
}

impl PictureFile {
    /// Reads a file.
    ///
    /// # Errors
    /// The system's; that it is too large; of a file that has to be turned, what is wrong with it.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let size = std::fs::metadata(path)?.len();
        anyhow::ensure!(size <= MAX_BYTES, "{size} bytes are too many for a picture file");
        let bytes = std::fs::read(path)?;
        let orientation = Orientation::of(&bytes);
        if orientation.is_upright() {
            return Ok(Self::AsStored(bytes));
        }
        let picture = Decoder::default().decode(Frame::file(&bytes))?.to_picture();
        Ok(Self::Turned(orientation.apply(&picture)))
    }

    /// The picture for the pipeline.
    ///
    /// # Errors
    /// None in practice: a turned picture is whole.
    pub fn frame(&self) -> Result<Frame<'_>, FrameError> {
        match self {
            Self::AsStored(bytes) => Ok(Frame::file(bytes)),
            Self::Turned(Picture { size, rgb }) => {
                RawImage::new("rgb8", size.width, size.height, 0, false, rgb).map(Frame::Raw)
            }
        }
    }
}
