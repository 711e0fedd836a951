//! What a camera delivers, checked once: after [`RawImage::new`] every pixel that the encoding,
//! the size and the step promise is really there, so decoding indexes without further checks.

use std::str::FromStr;

use thiserror::Error;

/// Frames of more pixels than this are refused before any memory is taken for them: 8192 x 4096.
pub const MAX_PIXELS: u64 = 32 << 20;

/// Largest width or height accepted, in pixels; what JPEG allows.
pub const MAX_SIDE: u32 = 65_535;

/// Why a frame cannot be used. The texts are for the log and `/diagnostics`.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FrameError {
    /// The encoding's name is none that this crate decodes.
    #[error("unknown encoding {0:?}; known are {names}", names = Encoding::NAMES.join(", "))]
    UnknownEncoding(String),
    /// Depth, disparity, flow and their like, whose numbers are no brightness.
    #[error(
        "encoding {0:?} holds measurements such as depth, no picture: choose the topic of the colour or grey pictures (grey ones of 16 bits are mono16)"
    )]
    Measurements(String),
    /// Width or height is zero, or the picture is larger than [`MAX_PIXELS`] or [`MAX_SIDE`] allow.
    #[error(
        "picture of {width}x{height} pixels: each side must be 1 to {MAX_SIDE} and the whole at most {MAX_PIXELS} pixels"
    )]
    Size {
        /// Width in pixels, as the message says.
        width: u32,
        /// Height in pixels, as the message says.
        height: u32,
    },
    /// A row has fewer bytes than its pixels need.
    #[error("step of {step} bytes is too short: {width} pixels of {encoding} need {needed}")]
    Step {
        /// Bytes a row, as the message says.
        step: usize,
        /// Width in pixels.
        width: u32,
        /// The encoding's name.
        encoding: &'static str,
        /// Bytes that a row needs at least.
        needed: usize,
    },
    /// The buffer ends before the last row does.
    #[error("{actual} bytes of pixels where {height} rows of {step} bytes need {needed}")]
    ShortData {
        /// Bytes there are.
        actual: usize,
        /// Bytes needed.
        needed: usize,
        /// Height in pixels.
        height: u32,
        /// Bytes a row.
        step: usize,
    },
    /// The chroma planes of this encoding want an even width or height.
    #[error("{encoding} of {width}x{height} pixels: {encoding} needs an even {what}")]
    OddSize {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
        /// The encoding's name.
        encoding: &'static str,
        /// "width" or "width and height".
        what: &'static str,
    },
    /// A compressed picture could not be unpacked.
    #[error("{format} picture of {bytes} bytes cannot be unpacked: {reason}")]
    Compressed {
        /// "JPEG", "PNG" or "unknown".
        format: &'static str,
        /// Length of the compressed picture.
        bytes: usize,
        /// What the decoder said.
        reason: String,
    },
}

/// How a `sensor_msgs/Image` stores its pixels: `sensor_msgs/image_encodings.hpp`'s names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// 8-bit red, green, blue.
    Rgb8,
    /// 8-bit blue, green, red; `8UC3` too, as OpenCV's order.
    Bgr8,
    /// Red, green, blue, alpha (ignored).
    Rgba8,
    /// Blue, green, red, alpha (ignored).
    Bgra8,
    /// 8-bit grey; `8UC1` too.
    Mono8,
    /// 16-bit grey in the message's endianness, scaled by the bits that are used.
    Mono16,
    /// 4:2:2, bytes U Y V Y; `yuv422` is ROS's older name of it.
    Uyvy,
    /// 4:2:2, bytes Y U Y V; `yuv422_yuy2` is ROS's older name of it.
    Yuyv,
    /// 4:2:0, a plane of Y, then one of interleaved U V.
    Nv12,
    /// 4:2:0, a plane of Y, then one of interleaved V U.
    Nv21,
    /// 4:4:4, a plane of Y, then one of interleaved U V of full size.
    Nv24,
    /// Colour filter array, 8 bits, by its top left 2x2 pixels.
    Bayer8(BayerPattern),
    /// The same of 16 bits in the message's endianness, scaled by the bits that are used.
    Bayer16(BayerPattern),
}

/// The top left 2x2 pixels of a colour filter array, row by row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BayerPattern {
    /// R G / G B
    Rggb,
    /// B G / G R
    Bggr,
    /// G B / R G
    Gbrg,
    /// G R / B G
    Grbg,
}

impl BayerPattern {
    /// That of `bayer_rggb8` and its like.
    fn of(encoding: &str) -> Option<Self> {
        match encoding.parse() {
            Ok(Encoding::Bayer8(pattern) | Encoding::Bayer16(pattern)) => Some(pattern),
            _ => None,
        }
    }
}

impl Encoding {
    /// Every name that [`Encoding::from_str`] takes.
    pub const NAMES: &'static [&'static str] = &[
        "rgb8",
        "bgr8",
        "rgba8",
        "bgra8",
        "mono8",
        "mono16",
        "8UC1",
        "8UC3",
        "8UC4",
        "yuv422",
        "uyvy",
        "yuv422_yuy2",
        "yuyv",
        "nv12",
        "nv21",
        "nv24",
        "bayer_rggb8",
        "bayer_bggr8",
        "bayer_gbrg8",
        "bayer_grbg8",
        "bayer_rggb16",
        "bayer_bggr16",
        "bayer_gbrg16",
        "bayer_grbg16",
    ];

    /// The usual name, as in `sensor_msgs/image_encodings.hpp`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rgb8 => "rgb8",
            Self::Bgr8 => "bgr8",
            Self::Rgba8 => "rgba8",
            Self::Bgra8 => "bgra8",
            Self::Mono8 => "mono8",
            Self::Mono16 => "mono16",
            Self::Uyvy => "uyvy",
            Self::Yuyv => "yuyv",
            Self::Nv12 => "nv12",
            Self::Nv21 => "nv21",
            Self::Nv24 => "nv24",
            Self::Bayer8(BayerPattern::Rggb) => "bayer_rggb8",
            Self::Bayer8(BayerPattern::Bggr) => "bayer_bggr8",
            Self::Bayer8(BayerPattern::Gbrg) => "bayer_gbrg8",
            Self::Bayer8(BayerPattern::Grbg) => "bayer_grbg8",
            Self::Bayer16(BayerPattern::Rggb) => "bayer_rggb16",
            Self::Bayer16(BayerPattern::Bggr) => "bayer_bggr16",
            Self::Bayer16(BayerPattern::Gbrg) => "bayer_gbrg16",
            Self::Bayer16(BayerPattern::Grbg) => "bayer_grbg16",
        }
    }

    /// Bytes that `width` pixels take in a row of the first plane.
    fn row_bytes(self, width: usize) -> usize {
        match self {
            Self::Rgb8 | Self::Bgr8 => 3 * width,
            Self::Rgba8 | Self::Bgra8 => 4 * width,
            Self::Mono16 | Self::Bayer16(_) | Self::Uyvy | Self::Yuyv => 2 * width,
            Self::Mono8 | Self::Nv12 | Self::Nv21 | Self::Nv24 | Self::Bayer8(_) => width,
        }
    }

    /// Rows of `step` bytes that the whole picture takes, chroma planes included. Nv24's chroma
    /// rows are twice as long as its luma rows and count as two.
    fn buffer_rows(self, height: usize) -> usize {
        match self {
            Self::Nv12 | Self::Nv21 => height + height / 2,
            Self::Nv24 => 3 * height,
            _ => height,
        }
    }
}

impl FromStr for Encoding {
    type Err = FrameError;

    fn from_str(name: &str) -> Result<Self, FrameError> {
        Ok(match name {
            "rgb8" => Self::Rgb8,
            "bgr8" | "8UC3" => Self::Bgr8,
            "rgba8" => Self::Rgba8,
            "bgra8" | "8UC4" => Self::Bgra8,
            "mono8" | "8UC1" => Self::Mono8,
            "mono16" => Self::Mono16,
            "uyvy" | "yuv422" => Self::Uyvy,
            "yuyv" | "yuv422_yuy2" => Self::Yuyv,
            "nv12" => Self::Nv12,
            "nv21" => Self::Nv21,
            "nv24" => Self::Nv24,
            "bayer_rggb8" => Self::Bayer8(BayerPattern::Rggb),
            "bayer_bggr8" => Self::Bayer8(BayerPattern::Bggr),
            "bayer_gbrg8" => Self::Bayer8(BayerPattern::Gbrg),
            "bayer_grbg8" => Self::Bayer8(BayerPattern::Grbg),
            "bayer_rggb16" => Self::Bayer16(BayerPattern::Rggb),
            "bayer_bggr16" => Self::Bayer16(BayerPattern::Bggr),
            "bayer_gbrg16" => Self::Bayer16(BayerPattern::Gbrg),
            "bayer_grbg16" => Self::Bayer16(BayerPattern::Grbg),
            _ if is_measurements(name) => return Err(FrameError::Measurements(name.to_owned())),
            _ => return Err(FrameError::UnknownEncoding(name.to_owned())),
        })
    }
}

/// Whether an encoding is one of OpenCV's for numbers that are no brightness: signed or floating
/// point of any size, or one channel of more than 8 bits, as depth cameras send it.
fn is_measurements(encoding: &str) -> bool {
    let kind = encoding.trim_start_matches(|letter: char| letter.is_ascii_digit());
    let bits = &encoding[..encoding.len() - kind.len()];
    let is_of_opencv = ["8", "16", "32", "64"].contains(&bits);
    let is_number = |text: &str| text.chars().all(|letter| letter.is_ascii_digit());
    is_of_opencv
        && match (kind.get(..2), kind.get(2..)) {
            (Some("SC" | "FC"), Some(channels)) => is_number(channels),
            (Some("UC"), Some(channels)) => bits != "8" && ["", "1"].contains(&channels),
            _ => false,
        }
}

/// A validated, borrowed picture as a `sensor_msgs/Image` carries it.
///
/// ```
/// use squeezenet_node::frame::RawImage;
///
/// let pixels = [0_u8; 2 * 8]; // two rows of two bgr8 pixels, each padded to 8 bytes
/// let image = RawImage::new("bgr8", 2, 2, 8, false, &pixels)?;
/// assert_eq!(image.row(1).len(), 6);
/// assert!(RawImage::new("bgr8", 2, 3, 8, false, &pixels).is_err());
/// # Ok::<(), squeezenet_node::frame::FrameError>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct RawImage<'a> {
    encoding: Encoding,
    width: u32,
    height: u32,
    step: usize,
    is_bigendian: bool,
    pixels: &'a [u8],
}

impl<'a> RawImage<'a> {
    /// Checks the fields of an image message against each other.
    ///
    /// The last row may lack its padding. `step` 0 means rows without padding, which some
    /// drivers send for planar encodings.
    ///
    /// # Errors
    /// [`FrameError`] with the values that do not fit.
    pub fn new(
        encoding: &str,
        width: u32,
        height: u32,
        step: usize,
        is_bigendian: bool,
        pixels: &'a [u8],
    ) -> Result<Self, FrameError> {
        let encoding: Encoding = encoding.parse()?;
        check_size(width, height)?;
        let (w, h) = (width as usize, height as usize);
        let odd = |what| FrameError::OddSize { width, height, encoding: encoding.name(), what };
        match encoding {
            Encoding::Uyvy | Encoding::Yuyv if w % 2 != 0 => return Err(odd("width")),
            Encoding::Nv12 | Encoding::Nv21 if w % 2 != 0 || h % 2 != 0 => {
                return Err(odd("width and height"));
            }
            Encoding::Bayer8(_) | Encoding::Bayer16(_) if w < 2 || h < 2 => {
                return Err(FrameError::Size { width, height });
            }
            _ => {}
        }
        let row_bytes = encoding.row_bytes(w);
        let step = if step == 0 { row_bytes } else { step };
        if step < row_bytes {
            return Err(FrameError::Step {
                step,
                width,
                encoding: encoding.name(),
                needed: row_bytes,
            });
        }
        let rows = encoding.buffer_rows(h);
        // The last row may lack its padding. A chroma row of NV24 is as long as two rows of luma.
        let last = if encoding == Encoding::Nv24 { 2 } else { 1 };
        let (whole_rows, last_row) = (rows - last, last * row_bytes);
        // The step of a single row is between it and nothing; whatever it says, nothing is there.
        let step = if whole_rows == 0 { row_bytes } else { step };
        let needed = step
            .checked_mul(whole_rows)
            .and_then(|bytes| bytes.checked_add(last_row))
            .unwrap_or(usize::MAX);
        if pixels.len() < needed {
            return Err(FrameError::ShortData { actual: pixels.len(), needed, height, step });
        }
        Ok(Self { encoding, width, height, step, is_bigendian, pixels })
    }

    /// The encoding.
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// Width in pixels, at least 1.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Height in pixels, at least 1.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// Bytes from one row's start to the next's.
    pub fn step(&self) -> usize {
        self.step
    }

    /// Whether 16-bit pixels have their high byte first.
    pub fn is_bigendian(&self) -> bool {
        self.is_bigendian
    }

    /// The pixels of row `y` of the first plane, without padding.
    pub fn row(&self, y: u32) -> &'a [u8] {
        let start = y as usize * self.step;
        &self.pixels[start..start + self.encoding.row_bytes(self.width as usize)]
    }

    /// Everything, padding and further planes included.
    pub fn pixels(&self) -> &'a [u8] {
        self.pixels
    }

    /// What follows the luma plane: the interleaved chroma of NV12, NV21 and NV24.
    pub fn chroma(&self) -> &'a [u8] {
        &self.pixels[self.step * self.height as usize..]
    }
}

/// A frame as it arrived, before decoding.
#[derive(Debug, Clone, Copy)]
pub enum Frame<'a> {
    /// A validated raw picture.
    Raw(RawImage<'a>),
    /// A whole JPEG or PNG file.
    Compressed {
        /// Its bytes.
        file: &'a [u8],
        /// The sensor's colour filter, where the file has its values one by one in place of colours.
        filter: Option<BayerPattern>,
    },
}

impl<'a> Frame<'a> {
    /// A JPEG or PNG file as it lies on disk.
    pub fn file(file: &'a [u8]) -> Self {
        Self::Compressed { file, filter: None }
    }

    /// What a `CompressedImage` carries. Of its `format` only depth and a colour filter
    /// (`bayer_rggb8; jpeg compressed`, by which no colour is in the file) are believed; for
    /// anything else the bytes are asked, since many drivers fill it carelessly.
    ///
    /// # Errors
    /// [`FrameError::Measurements`]
    pub fn compressed(format: &str, file: &'a [u8]) -> Result<Self, FrameError> {
        let encoding = format.split(';').next().unwrap_or_default().trim();
        if format.contains("compressedDepth") || is_measurements(encoding) {
            return Err(FrameError::Measurements(format.to_owned()));
        }
        Ok(Self::Compressed { file, filter: BayerPattern::of(encoding) })
    }
}

/// Refuses sizes before memory is taken for them.
///
/// # Errors
/// [`FrameError::Size`].
pub fn check_size(width: u32, height: u32) -> Result<(), FrameError> {
    let sides = 1..=MAX_SIDE;
    if sides.contains(&width)
        && sides.contains(&height)
        && u64::from(width) * u64::from(height) <= MAX_PIXELS
    {
        Ok(())
    } else {
        Err(FrameError::Size { width, height })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_parses_and_names_itself() {
        for name in Encoding::NAMES {
            let encoding: Encoding = name.parse().unwrap();
            assert_eq!(encoding.name().parse::<Encoding>().unwrap(), encoding);
        }
    }

    #[test]
    fn refusals_say_what_was_wrong() {
        let check = |encoding: &str, width, height, step, bytes: usize, expected: &str| {
            let error = RawImage::new(encoding, width, height, step, false, &vec![0; bytes])
                .unwrap_err()
                .to_string();
            assert!(error.contains(expected), "{error:?} lacks {expected:?}");
        };
        check("jpeg2000", 2, 2, 6, 12, "unknown encoding \"jpeg2000\"");
        check("rgb8", 0, 2, 6, 12, "0x2");
        check("rgb8", 2, 0, 6, 12, "2x0");
        check("rgb8", u32::MAX, u32::MAX, 6, 12, "4294967295x4294967295");
        check("rgb8", 60_000, 60_000, 180_000, 12, "60000x60000");
        check("rgb8", 2, 2, 5, 12, "step of 5 bytes is too short: 2 pixels of rgb8 need 6");
        check("rgb8", 2, 2, 6, 11, "11 bytes of pixels where 2 rows of 6 bytes need 12");
        check("rgb8", 2, 2, usize::MAX, 12, "12 bytes of pixels");
        check("yuyv", 3, 2, 6, 12, "even width");
        check("nv12", 4, 3, 4, 24, "even width and height");
        for depth in ["16UC1", "16SC1", "32FC1", "32FC", "32FC3", "64FC1", "32SC1", "8SC1"] {
            check(depth, 2, 2, 4, 8, "such as depth, no picture");
        }
        for other in ["16UC3", "8UC2", "FC1", "32F", "32FCx", "", "16"] {
            check(other, 2, 2, 4, 8, "unknown encoding");
        }
        check("nv12", 4, 2, 4, 11, "need 12");
        check("nv24", 4, 2, 6, 31, "need 32");
        check("bayer_rggb8", 1, 2, 1, 2, "1x2");
    }

    #[test]
    fn the_last_row_may_lack_its_padding() {
        assert!(RawImage::new("rgb8", 2, 2, 8, false, &[0; 14]).is_ok());
        assert!(RawImage::new("rgb8", 2, 2, 8, false, &[0; 13]).is_err());
        assert!(RawImage::new("nv24", 4, 2, 0, false, &[0; 24]).is_ok());
    }

    #[test]
    fn the_step_of_a_single_row_claims_nothing() {
        for (encoding, width, bytes) in [("yuyv", 4, 8), ("mono16", 4, 8), ("rgb8", 1, 3)] {
            let data = vec![0; bytes];
            let image = RawImage::new(encoding, width, 1, u32::MAX as usize, false, &data).unwrap();
            assert_eq!((image.step(), image.row(0).len()), (bytes, bytes), "{encoding}");
        }
        assert!(RawImage::new("nv24", 4, 1, 1000, false, &[0; 12]).is_err(), "luma and chroma");
    }

    #[test]
    fn formats_of_depth_are_known() {
        for format in
            ["16UC1; compressedDepth png", "32FC1; compressedDepth", "16UC1; png compressed "]
        {
            assert!(Frame::compressed(format, &[]).is_err(), "{format}");
        }
        let check = |format: &str, expected: Option<BayerPattern>| {
            let frame = Frame::compressed(format, &[]).unwrap();
            assert!(
                matches!(frame, Frame::Compressed { filter, .. } if filter == expected),
                "{format}: {frame:?}"
            );
        };
        for format in
            ["jpeg", "", "bgr8; jpeg compressed bgr8", "mono16; png compressed ", "nonsense"]
        {
            check(format, None);
        }
        check("bayer_rggb8; jpeg compressed ", Some(BayerPattern::Rggb));
        check("bayer_gbrg16; png compressed ", Some(BayerPattern::Gbrg));
    }
}
