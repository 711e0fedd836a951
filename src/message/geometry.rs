//! What the ground is made from: a camera's calibration and tf.

use super::cdr::{CdrError, CdrReader, CdrWriter};
use super::types::{Header, RosMessage};
use crate::ground::{CameraInfo, Roi, Transform, transform};

/// Bytes that a transform takes at least.
const LEAST_TRANSFORM: usize = 8;

/// The full type name of a camera's calibration.
pub const CAMERA_INFO_TYPE: &str = "sensor_msgs/msg/CameraInfo";

/// Reads a `sensor_msgs/CameraInfo`.
///
/// # Errors
/// [`CdrError`] naming the field.
pub fn read_camera_info(message: &[u8]) -> Result<CameraInfo, CdrError> {
    let reader = &mut CdrReader::new(message)?;
    Header::read(reader)?;
    let (height, width) = (reader.u32("height")?, reader.u32("width")?);
    let distortion_model = reader.string("distortion_model")?.to_owned();
    let count = reader.count("d", 8)?;
    let d = (0..count).map(|_| reader.f64("d")).collect::<Result<_, _>>()?;
    let k = numbers(reader, "k")?;
    let _rectification: [f64; 9] = numbers(reader, "r")?;
    let p = numbers(reader, "p")?;
    let binning = [reader.u32("binning_x")?, reader.u32("binning_y")?];
    let (x_offset, y_offset) = (reader.u32("roi.x_offset")?, reader.u32("roi.y_offset")?);
    let (roi_height, roi_width) = (reader.u32("roi.height")?, reader.u32("roi.width")?);
    let roi = Roi { x_offset, y_offset, width: roi_width, height: roi_height };
    Ok(CameraInfo { width, height, distortion_model, d, k, p, binning, roi })
}

fn numbers<const N: usize>(
    reader: &mut CdrReader<'_>,
    field: &'static str,
) -> Result<[f64; N], CdrError> {
    let mut values = [0.0; N];
    for value in &mut values {
        *value = reader.f64(field)?;
    }
    Ok(values)
}

/// `geometry_msgs/TransformStamped`
#[derive(Debug, Clone, PartialEq)]
pub struct TransformStamped<'a> {
    /// Its time, and the parent's frame.
    pub header: Header<'a>,
    /// The child's frame.
    pub child_frame_id: &'a str,
    /// `parent_from_child`; `None` for numbers that are no transform.
    pub transform: Option<Transform>,
}

/// `tf2_msgs/TFMessage`
#[derive(Debug, Clone, PartialEq)]
pub struct TfMessage<'a> {
    /// In any order.
    pub transforms: Vec<TransformStamped<'a>>,
}

impl<'a> TfMessage<'a> {
    /// Reads a message.
    ///
    /// # Errors
    /// [`CdrError`] naming the field.
    pub fn read(message: &'a [u8]) -> Result<Self, CdrError> {
        let mut reader = CdrReader::new(message)?;
        let count = reader.count("transforms", LEAST_TRANSFORM)?;
        let transforms = (0..count).map(|_| {
            let header = Header::read(&mut reader)?;
            let child_frame_id = reader.string("child_frame_id")?;
            let translation = numbers(&mut reader, "translation")?;
            let rotation = numbers(&mut reader, "rotation")?;
            let transform = transform::from_parts(translation, rotation);
            Ok(TransformStamped { header, child_frame_id, transform })
        });
        Ok(Self { transforms: transforms.collect::<Result<_, _>>()? })
    }
}

impl RosMessage for TfMessage<'_> {
    const TYPE: &'static str = "tf2_msgs/msg/TFMessage";

    fn write(&self, writer: &mut CdrWriter) {
        writer.count(self.transforms.len());
        for TransformStamped { header, child_frame_id, transform } in &self.transforms {
            header.write(writer);
            writer.string(child_frame_id);
            let (translation, rotation) = transform::to_parts(&transform.unwrap_or_default());
            for value in translation.into_iter().chain(rotation) {
                writer.f64(value);
            }
        }
    }
}

/// `geometry_msgs/PoseWithCovarianceStamped`
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PoseWithCovarianceStamped<'a> {
    /// When, and in which frame.
    pub header: Header<'a>,
    /// x, y, z in metres.
    pub position: [f64; 3],
    /// A quaternion: x, y, z, w.
    pub orientation: [f64; 4],
    /// Row-major 6x6 over x, y, z and the rotations about X, Y, Z.
    pub covariance: &'a [f64; 36],
}

impl RosMessage for PoseWithCovarianceStamped<'_> {
    const TYPE: &'static str = "geometry_msgs/msg/PoseWithCovarianceStamped";

    fn write(&self, writer: &mut CdrWriter) {
        self.header.write(writer);
        let values = self.position.iter().chain(&self.orientation).chain(self.covariance);
        for value in values {
            writer.f64(*value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Stamp;
    use proptest::prelude::*;

    #[test]
    fn a_calibration_is_read_field_by_field() {
        let mut writer = CdrWriter::default();
        Header { stamp: Stamp { sec: 3, nanosec: 4 }, frame_id: "cam" }.write(&mut writer);
        writer.u32(480).u32(640).string("plumb_bob").count(5);
        let d = (0..5).map(|i| f64::from(i) * 0.1);
        let k = (0..9).map(f64::from);
        let p = (0..12).map(|i| 100.0 + f64::from(i));
        for value in d.chain(k).chain([-1.0; 9]).chain(p) {
            writer.f64(value);
        }
        writer.u32(2).u32(1).u32(10).u32(20).u32(240).u32(320).u8(1);
        let info = read_camera_info(&writer.finish()).unwrap();
        assert_eq!((info.width, info.height), (640, 480));
        assert_eq!((info.distortion_model.as_str(), info.d.len()), ("plumb_bob", 5));
        assert_eq!((info.k[8], info.p[0], info.p[11]), (8.0, 100.0, 111.0));
        assert_eq!(info.binning, [2, 1]);
        assert_eq!(info.roi, Roi { x_offset: 10, y_offset: 20, width: 320, height: 240 });
    }

    proptest! {
        #[test]
        fn transforms_come_back(
            parent in "[a-z_/]{0,9}", child in "[a-z_/]{0,9}",
            x in -1e3..1e3, angle in -3.0..3.0, sec in any::<i32>(), count in 0_usize..4,
        ) {
            let header = Header { stamp: Stamp { sec, nanosec: 7 }, frame_id: &parent };
            let rotation = [0.0, 0.0, f64::sin(angle / 2.0), f64::cos(angle / 2.0)];
            let transform = transform::from_parts([x, 2.0, 3.0], rotation);
            let one = TransformStamped { header, child_frame_id: &child, transform };
            let message = TfMessage { transforms: vec![one; count] }.to_cdr();
            let read = TfMessage::read(&message).unwrap();
            prop_assert_eq!(read.transforms.len(), count);
            for one in read.transforms {
                prop_assert_eq!((one.header, one.child_frame_id), (header, child.as_str()));
                let change = one.transform.unwrap().inverse() * transform.unwrap();
                prop_assert!(change.translation.vector.norm() < 1e-9);
                prop_assert!(change.rotation.angle() < 1e-6);
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = (read_camera_info(&bytes), TfMessage::read(&bytes).map(|m| m.transforms.len()));
        }
    }
}
