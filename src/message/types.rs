//! The messages that bags are read for, borrowed, and those that the node answers with.

use super::cdr::{CdrError, CdrReader, CdrWriter};
use crate::frame::{FrameError, RawImage};
use crate::ground::points::{Cloud, POINT_STEP};
use crate::ground::scan::Scan;

/// `builtin_interfaces/Time`
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Stamp {
    /// Seconds.
    pub sec: i32,
    /// Nanoseconds over that.
    pub nanosec: u32,
}

impl Stamp {
    /// Of nanoseconds since the clock's start.
    pub fn from_nanoseconds(nanoseconds: u64) -> Self {
        let sec = i32::try_from(nanoseconds / 1_000_000_000).unwrap_or(i32::MAX);
        Self { sec, nanosec: (nanoseconds % 1_000_000_000) as u32 }
    }

    /// Nanoseconds since the clock's start.
    pub fn nanoseconds(self) -> i64 {
        i64::from(self.sec) * 1_000_000_000 + i64::from(self.nanosec)
    }

    /// Nanoseconds later; the same one where no stamp is so late.
    pub fn later(self, nanoseconds: u32) -> Self {
        let nanosec = u64::from(self.nanosec) + u64::from(nanoseconds);
        let Ok(sec) = i32::try_from(i64::from(self.sec) + (nanosec / 1_000_000_000) as i64) else {
            return self;
        };
        Self { sec, nanosec: (nanosec % 1_000_000_000) as u32 }
    }
}

impl std::fmt::Display for Stamp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{:09}", self.sec, self.nanosec)
    }
}

/// `std_msgs/Header`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Header<'a> {
    /// When the picture was taken.
    pub stamp: Stamp,
    /// The camera's frame.
    pub frame_id: &'a str,
}

impl<'a> Header<'a> {
    pub(super) fn read(reader: &mut CdrReader<'a>) -> Result<Self, CdrError> {
        let stamp = Stamp {
            sec: reader.i32("header.stamp.sec")?,
            nanosec: reader.u32("header.stamp.nanosec")?,
        };
        Ok(Self { stamp, frame_id: reader.string("header.frame_id")? })
    }

    pub(super) fn write(&self, writer: &mut CdrWriter) {
        writer.i32(self.stamp.sec).u32(self.stamp.nanosec).string(self.frame_id);
    }
}

/// A message with its ROS type and its CDR form.
pub trait RosMessage {
    /// The full type name, `package/msg/Name`.
    const TYPE: &'static str;

    /// Appends the fields.
    fn write(&self, writer: &mut CdrWriter);

    /// The whole message as CDR, little endian.
    fn to_cdr(&self) -> Vec<u8> {
        let mut writer = CdrWriter::default();
        self.write(&mut writer);
        writer.finish()
    }
}

/// `sensor_msgs/Image`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Image<'a> {
    /// Stamp and frame.
    pub header: Header<'a>,
    /// Rows.
    pub height: u32,
    /// Pixels a row.
    pub width: u32,
    /// As in `sensor_msgs/image_encodings.hpp`.
    pub encoding: &'a str,
    /// Whether pixels of several bytes have the high byte first.
    pub is_bigendian: bool,
    /// Bytes a row.
    pub step: u32,
    /// The rows.
    pub data: &'a [u8],
}

impl<'a> Image<'a> {
    /// Reads a message; the pixels stay where they are.
    ///
    /// # Errors
    /// [`CdrError`] naming the field.
    pub fn read(message: &'a [u8]) -> Result<Self, CdrError> {
        let mut reader = CdrReader::new(message)?;
        Ok(Self {
            header: Header::read(&mut reader)?,
            height: reader.u32("height")?,
            width: reader.u32("width")?,
            encoding: reader.string("encoding")?,
            is_bigendian: reader.u8("is_bigendian")? != 0,
            step: reader.u32("step")?,
            data: reader.bytes("data")?,
        })
    }

    /// The picture, its fields checked against each other.
    ///
    /// # Errors
    /// [`FrameError`]
    pub fn raw_image(&self) -> Result<RawImage<'a>, FrameError> {
        let step = self.step as usize;
        RawImage::new(self.encoding, self.width, self.height, step, self.is_bigendian, self.data)
    }
}

impl RosMessage for Image<'_> {
    const TYPE: &'static str = "sensor_msgs/msg/Image";

    fn write(&self, writer: &mut CdrWriter) {
        self.header.write(writer);
        writer.u32(self.height).u32(self.width).string(self.encoding);
        writer.u8(u8::from(self.is_bigendian)).u32(self.step).bytes(self.data);
    }
}

/// `sensor_msgs/CompressedImage`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompressedImage<'a> {
    /// Stamp and frame.
    pub header: Header<'a>,
    /// What the sender calls it, such as "jpeg"; the bytes themselves are asked instead.
    pub format: &'a str,
    /// A whole JPEG or PNG file.
    pub data: &'a [u8],
}

impl<'a> CompressedImage<'a> {
    /// Reads a message; the file's bytes stay where they are.
    ///
    /// # Errors
    /// [`CdrError`] naming the field.
    pub fn read(message: &'a [u8]) -> Result<Self, CdrError> {
        let mut reader = CdrReader::new(message)?;
        Ok(Self {
            header: Header::read(&mut reader)?,
            format: reader.string("format")?,
            data: reader.bytes("data")?,
        })
    }
}

impl RosMessage for CompressedImage<'_> {
    const TYPE: &'static str = "sensor_msgs/msg/CompressedImage";

    fn write(&self, writer: &mut CdrWriter) {
        self.header.write(writer);
        writer.string(self.format).bytes(self.data);
    }
}

/// `vision_msgs/ObjectHypothesis`
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hypothesis<'a> {
    /// Readable name, or index.
    pub class_id: &'a str,
    /// Probability, 0 to 1.
    pub score: f64,
}

/// `vision_msgs/Classification`
#[derive(Debug, Clone, PartialEq)]
pub struct Classification<'a> {
    /// The picture's.
    pub header: Header<'a>,
    /// Best first.
    pub results: Vec<Hypothesis<'a>>,
}

impl<'a> Classification<'a> {
    /// Reads a message.
    ///
    /// # Errors
    /// [`CdrError`] naming the field.
    pub fn read(message: &'a [u8]) -> Result<Self, CdrError> {
        let mut reader = CdrReader::new(message)?;
        let header = Header::read(&mut reader)?;
        let count = reader.count("results", 12)?;
        let hypothesis = |_| {
            let class_id = reader.string("results.class_id")?;
            Ok(Hypothesis { class_id, score: reader.f64("results.score")? })
        };
        Ok(Self { header, results: (0..count).map(hypothesis).collect::<Result<_, _>>()? })
    }
}

impl RosMessage for Classification<'_> {
    const TYPE: &'static str = "vision_msgs/msg/Classification";

    fn write(&self, writer: &mut CdrWriter) {
        self.header.write(writer);
        writer.count(self.results.len());
        for result in &self.results {
            writer.string(result.class_id).f64(result.score);
        }
    }
}

/// One `vision_msgs/Detection2D`: a box with one class.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Detection<'a> {
    /// Class and score.
    pub hypothesis: Hypothesis<'a>,
    /// Middle of the box in pixels, x and y.
    pub center: [f64; 2],
    /// Width and height of the box in pixels.
    pub size: [f64; 2],
}

/// `vision_msgs/Detection2DArray`
#[derive(Debug, Clone, PartialEq)]
pub struct Detections<'a> {
    /// The picture's.
    pub header: Header<'a>,
    /// The most dangerous first.
    pub detections: Vec<Detection<'a>>,
}

impl RosMessage for Detections<'_> {
    const TYPE: &'static str = "vision_msgs/msg/Detection2DArray";

    fn write(&self, writer: &mut CdrWriter) {
        self.header.write(writer);
        writer.count(self.detections.len());
        for detection in &self.detections {
            self.header.write(writer);
            writer.count(1);
            writer.string(detection.hypothesis.class_id).f64(detection.hypothesis.score);
            // The pose is unknown: at the origin, unrotated, its covariance all zero.
            for value in [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0] {
                writer.f64(value);
            }
            (0..36).for_each(|_| {
                writer.f64(0.0);
            });
            let ([x, y], [width, height]) = (detection.center, detection.size);
            writer.f64(x).f64(y).f64(0.0).f64(width).f64(height);
            writer.string("");
        }
    }
}

/// `vision_msgs/LabelInfo`
#[derive(Debug, Clone, PartialEq)]
pub struct LabelInfo<'a> {
    /// The first picture's.
    pub header: Header<'a>,
    /// Id and name of each class of the mask.
    pub class_map: Vec<(u16, &'a str)>,
    /// Confidence from which a pixel gets a class, 0 to 1.
    pub threshold: f32,
}

impl RosMessage for LabelInfo<'_> {
    const TYPE: &'static str = "vision_msgs/msg/LabelInfo";

    fn write(&self, writer: &mut CdrWriter) {
        self.header.write(writer);
        writer.count(self.class_map.len());
        for (id, name) in &self.class_map {
            writer.u16(*id).string(name);
        }
        writer.f32(self.threshold);
    }
}

/// `vision_msgs/VisionInfo`
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct VisionInfo<'a> {
    /// The first picture's.
    pub header: Header<'a>,
    /// Name of the model.
    pub method: &'a str,
    /// Where its classes are described.
    pub database_location: &'a str,
    /// One higher after each change of the model.
    pub database_version: i32,
}

impl RosMessage for VisionInfo<'_> {
    const TYPE: &'static str = "vision_msgs/msg/VisionInfo";

    fn write(&self, writer: &mut CdrWriter) {
        self.header.write(writer);
        writer.string(self.method).string(self.database_location).i32(self.database_version);
    }
}

/// `diagnostic_msgs/DiagnosticStatus` of level OK.
#[derive(Debug, Clone, PartialEq)]
pub struct Status<'a> {
    /// 0 OK, 1 WARN, 2 ERROR, 3 STALE.
    pub level: u8,
    /// What it is about.
    pub name: &'a str,
    /// One line.
    pub message: &'a str,
    /// The machine.
    pub hardware_id: &'a str,
    /// Keys and values.
    pub values: Vec<(&'a str, String)>,
}

impl RosMessage for Status<'_> {
    const TYPE: &'static str = "diagnostic_msgs/msg/DiagnosticStatus";

    fn write(&self, writer: &mut CdrWriter) {
        writer.u8(self.level).string(self.name).string(self.message).string(self.hardware_id);
        writer.count(self.values.len());
        for (key, value) in &self.values {
            writer.string(key).string(value);
        }
    }
}

/// `std_msgs/Float32MultiArray` of one dimension.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FloatArray<'a> {
    /// What the dimension counts.
    pub label: &'a str,
    /// The values.
    pub values: &'a [f32],
}

impl RosMessage for FloatArray<'_> {
    const TYPE: &'static str = "std_msgs/msg/Float32MultiArray";

    fn write(&self, writer: &mut CdrWriter) {
        let length = u32::try_from(self.values.len()).unwrap_or(u32::MAX);
        writer.count(1).string(self.label).u32(length).u32(length).u32(0);
        writer.count(self.values.len());
        for value in self.values {
            writer.f32(*value);
        }
    }
}

/// `std_msgs/String`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Text<'a>(pub &'a str);

impl<'a> Text<'a> {
    /// Reads a message.
    ///
    /// # Errors
    /// [`CdrError`]
    pub fn read(message: &'a [u8]) -> Result<Self, CdrError> {
        Ok(Self(CdrReader::new(message)?.string("data")?))
    }
}

impl RosMessage for Text<'_> {
    const TYPE: &'static str = "std_msgs/msg/String";

    fn write(&self, writer: &mut CdrWriter) {
        writer.string(self.0);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header() -> impl Strategy<Value = (i32, u32, String)> {
        (any::<i32>(), any::<u32>(), "[^\0]{0,20}")
    }

    /// The same message with every number's bytes the other way round, as a big-endian machine
    /// writes a string-only message.
    fn big_endian_text(text: &str) -> Vec<u8> {
        let mut message = vec![0, 0, 0, 0];
        message.extend_from_slice(&(text.len() as u32 + 1).to_be_bytes());
        message.extend_from_slice(text.as_bytes());
        message.push(0);
        message
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn images_come_back((sec, nanosec, frame_id) in header(), height: u32, width: u32,
            encoding in "[a-z0-9_]{0,12}", is_bigendian: bool, step: u32,
            data in prop::collection::vec(any::<u8>(), 0..200)) {
            let header = Header { stamp: Stamp { sec, nanosec }, frame_id: &frame_id };
            let image =
                Image { header, height, width, encoding: &encoding, is_bigendian, step, data: &data };
            let message = image.to_cdr();
            prop_assert_eq!(Image::read(&message).unwrap(), image);
            let compressed = CompressedImage { header, format: &encoding, data: &data };
            let message = compressed.to_cdr();
            prop_assert_eq!(CompressedImage::read(&message).unwrap(), compressed);
        }

        #[test]
        fn a_cut_message_is_an_error_and_never_a_panic((sec, nanosec, frame_id) in header(),
            data in prop::collection::vec(any::<u8>(), 1..50), cut: prop::sample::Index) {
            let header = Header { stamp: Stamp { sec, nanosec }, frame_id: &frame_id };
            let image = Image { header, height: 1, width: 1, encoding: "mono8",
                is_bigendian: false, step: 1, data: &data };
            let message = image.to_cdr();
            prop_assert!(Image::read(&message[..cut.index(message.len())]).is_err());
        }

        #[test]
        fn classifications_come_back((sec, nanosec, frame_id) in header(),
            results in prop::collection::vec(("[^\0]{0,9}", 0.0..1.0), 0..6)) {
            let header = Header { stamp: Stamp { sec, nanosec }, frame_id: &frame_id };
            let results = results
                .iter()
                .map(|(class_id, score)| Hypothesis { class_id, score: *score })
                .collect();
            let labels = Classification { header, results };
            let message = labels.to_cdr();
            prop_assert_eq!(Classification::read(&message).unwrap(), labels);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
            let _ = (Image::read(&bytes), CompressedImage::read(&bytes));
            let _ = (Classification::read(&bytes), Text::read(&bytes));
        }

        #[test]
        fn big_endian_strings_are_read(text in "[^\0]{0,20}") {
            let message = big_endian_text(&text);
            prop_assert_eq!(Text::read(&message).unwrap(), Text(&text));
        }
    }
}

/// `sensor_msgs/LaserScan` of what lies on the ground.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LaserScan<'a> {
    /// The picture's stamp; the frame under the camera.
    pub header: Header<'a>,
    /// The beams.
    pub scan: &'a Scan,
}

impl RosMessage for LaserScan<'_> {
    const TYPE: &'static str = "sensor_msgs/msg/LaserScan";

    fn write(&self, writer: &mut CdrWriter) {
        self.header.write(writer);
        let scan = self.scan;
        writer.f32(scan.angle_min).f32(scan.angle_max).f32(scan.angle_increment);
        // All beams are of one moment; how long it is to the next scan, nobody knows.
        writer.f32(0.0).f32(0.0);
        writer.f32(0.0).f32(scan.range_max);
        writer.count(scan.ranges.len());
        for range in &scan.ranges {
            writer.f32(*range);
        }
        writer.count(0);
    }
}

/// `sensor_msgs/PointCloud2` of x, y, z as float32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PointCloud<'a> {
    /// The picture's stamp, and the points' frame.
    pub header: Header<'a>,
    /// The points.
    pub cloud: &'a Cloud,
    /// Whether no point is NaN.
    pub is_dense: bool,
}

impl RosMessage for PointCloud<'_> {
    const TYPE: &'static str = "sensor_msgs/msg/PointCloud2";

    fn write(&self, writer: &mut CdrWriter) {
        const FLOAT32: u8 = 7;
        let Cloud { width, height, data } = self.cloud;
        self.header.write(writer);
        writer.u32(*height).u32(*width).count(3);
        for (axis, offset) in [("x", 0), ("y", 4), ("z", 8)] {
            writer.string(axis).u32(offset).u8(FLOAT32).u32(1);
        }
        let step = POINT_STEP as u32;
        writer.u8(0).u32(step).u32(step * width).bytes(data).u8(u8::from(self.is_dense));
    }
}

/// `nav_msgs/OccupancyGrid`
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OccupancyGrid<'a> {
    /// The newest picture's stamp, and the map's frame.
    pub header: Header<'a>,
    /// Side of a cell in metres.
    pub resolution: f32,
    /// Cells along a side.
    pub side: u32,
    /// The corner with the least x and y, in metres.
    pub origin: [f64; 2],
    /// 0 free to 100 lethal, -1 unknown, rows first.
    pub cells: &'a [i8],
}

impl RosMessage for OccupancyGrid<'_> {
    const TYPE: &'static str = "nav_msgs/msg/OccupancyGrid";

    fn write(&self, writer: &mut CdrWriter) {
        self.header.write(writer);
        writer.i32(self.header.stamp.sec).u32(self.header.stamp.nanosec);
        writer.f32(self.resolution).u32(self.side).u32(self.side);
        let [x, y] = self.origin;
        for value in [x, y, 0.0, 0.0, 0.0, 0.0, 1.0] {
            writer.f64(value);
        }
        writer.count(self.cells.len());
        for cell in self.cells {
            writer.i8(*cell);
        }
    }
}
