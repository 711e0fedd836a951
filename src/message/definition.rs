//! Message definitions as text, so that a bag describes itself: Foxglove, `rosbags` and rosbag2
//! read the schema of a channel from the MCAP file.

use std::collections::BTreeSet;

const SEPARATOR: &str =
    "================================================================================";

/// Type and fields of every message that is written, and of those that these contain.
const DEFINITIONS: &[(&str, &str)] = &[
    ("builtin_interfaces/msg/Time", "int32 sec\nuint32 nanosec\n"),
    ("std_msgs/msg/Header", "builtin_interfaces/Time stamp\nstring frame_id\n"),
    ("std_msgs/msg/String", "string data\n"),
    ("std_msgs/msg/MultiArrayDimension", "string label\nuint32 size\nuint32 stride\n"),
    ("std_msgs/msg/MultiArrayLayout", "std_msgs/MultiArrayDimension[] dim\nuint32 data_offset\n"),
    ("std_msgs/msg/Float32MultiArray", "std_msgs/MultiArrayLayout layout\nfloat32[] data\n"),
    (
        "sensor_msgs/msg/Image",
        "std_msgs/Header header\nuint32 height\nuint32 width\nstring encoding\n\
         uint8 is_bigendian\nuint32 step\nuint8[] data\n",
    ),
    ("sensor_msgs/msg/CompressedImage", "std_msgs/Header header\nstring format\nuint8[] data\n"),
    (
        "sensor_msgs/msg/RegionOfInterest",
        "uint32 x_offset\nuint32 y_offset\nuint32 height\nuint32 width\nbool do_rectify\n",
    ),
    (
        "sensor_msgs/msg/CameraInfo",
        "std_msgs/Header header\nuint32 height\nuint32 width\nstring distortion_model\n\
         float64[] d\nfloat64[9] k\nfloat64[9] r\nfloat64[12] p\nuint32 binning_x\n\
         uint32 binning_y\nsensor_msgs/RegionOfInterest roi\n",
    ),
    ("geometry_msgs/msg/Point", "float64 x\nfloat64 y\nfloat64 z\n"),
    ("geometry_msgs/msg/Quaternion", "float64 x 0\nfloat64 y 0\nfloat64 z 0\nfloat64 w 1\n"),
    (
        "geometry_msgs/msg/Pose",
        "geometry_msgs/Point position\ngeometry_msgs/Quaternion orientation\n",
    ),
    ("geometry_msgs/msg/PoseWithCovariance", "geometry_msgs/Pose pose\nfloat64[36] covariance\n"),
    ("geometry_msgs/msg/Vector3", "float64 x\nfloat64 y\nfloat64 z\n"),
    (
        "geometry_msgs/msg/Transform",
        "geometry_msgs/Vector3 translation\ngeometry_msgs/Quaternion rotation\n",
    ),
    (
        "geometry_msgs/msg/TransformStamped",
        "std_msgs/Header header\nstring child_frame_id\ngeometry_msgs/Transform transform\n",
    ),
    ("tf2_msgs/msg/TFMessage", "geometry_msgs/TransformStamped[] transforms\n"),
    (
        "sensor_msgs/msg/LaserScan",
        "std_msgs/Header header\nfloat32 angle_min\nfloat32 angle_max\nfloat32 angle_increment\n\
         float32 time_increment\nfloat32 scan_time\nfloat32 range_min\nfloat32 range_max\n\
         float32[] ranges\nfloat32[] intensities\n",
    ),
    (
        "sensor_msgs/msg/PointField",
        "uint8 INT8=1\nuint8 UINT8=2\nuint8 INT16=3\nuint8 UINT16=4\nuint8 INT32=5\n\
         uint8 UINT32=6\nuint8 FLOAT32=7\nuint8 FLOAT64=8\n\
         string name\nuint32 offset\nuint8 datatype\nuint32 count\n",
    ),
    (
        "sensor_msgs/msg/PointCloud2",
        "std_msgs/Header header\nuint32 height\nuint32 width\nsensor_msgs/PointField[] fields\n\
         bool is_bigendian\nuint32 point_step\nuint32 row_step\nuint8[] data\nbool is_dense\n",
    ),
    (
        "nav_msgs/msg/MapMetaData",
        "builtin_interfaces/Time map_load_time\nfloat32 resolution\nuint32 width\nuint32 height\n\
         geometry_msgs/Pose origin\n",
    ),
    (
        "nav_msgs/msg/OccupancyGrid",
        "std_msgs/Header header\nnav_msgs/MapMetaData info\nint8[] data\n",
    ),
    ("vision_msgs/msg/Point2D", "float64 x\nfloat64 y\n"),
    ("vision_msgs/msg/Pose2D", "vision_msgs/Point2D position\nfloat64 theta\n"),
    (
        "vision_msgs/msg/BoundingBox2D",
        "vision_msgs/Pose2D center\nfloat64 size_x\nfloat64 size_y\n",
    ),
    ("vision_msgs/msg/ObjectHypothesis", "string class_id\nfloat64 score\n"),
    (
        "vision_msgs/msg/ObjectHypothesisWithPose",
        "vision_msgs/ObjectHypothesis hypothesis\ngeometry_msgs/PoseWithCovariance pose\n",
    ),
    (
        "vision_msgs/msg/Classification",
        "std_msgs/Header header\nvision_msgs/ObjectHypothesis[] results\n",
    ),
    (
        "vision_msgs/msg/Detection2D",
        "std_msgs/Header header\nvision_msgs/ObjectHypothesisWithPose[] results\n\
         vision_msgs/BoundingBox2D bbox\nstring id\n",
    ),
    (
        "vision_msgs/msg/Detection2DArray",
        "std_msgs/Header header\nvision_msgs/Detection2D[] detections\n",
    ),
    ("vision_msgs/msg/VisionClass", "uint16 class_id\nstring class_name\n"),
    (
        "vision_msgs/msg/LabelInfo",
        "std_msgs/Header header\nvision_msgs/VisionClass[] class_map\nfloat32 threshold\n",
    ),
    (
        "vision_msgs/msg/VisionInfo",
        "std_msgs/Header header\nstring method\nstring database_location\nint32 database_version\n",
    ),
    ("diagnostic_msgs/msg/KeyValue", "string key\nstring value\n"),
    (
        "diagnostic_msgs/msg/DiagnosticStatus",
        "byte OK=0\nbyte WARN=1\nbyte ERROR=2\nbyte STALE=3\n\
         byte level\nstring name\nstring message\nstring hardware_id\n\
         diagnostic_msgs/KeyValue[] values\n",
    ),
];

/// A type's definition and, after separators, those of all types in it: MCAP's `ros2msg`.
/// `None` for a type that is not known here.
pub fn definition(ros_type: &str) -> Option<String> {
    let mut text = fields(ros_type)?.to_owned();
    let mut known = BTreeSet::from([ros_type]);
    let mut waiting = vec![ros_type];
    while let Some(next) = waiting.pop() {
        for (name, fields) in contained(next) {
            if known.insert(name) {
                let short = name.replacen("/msg/", "/", 1);
                text.push_str(&format!("{SEPARATOR}\nMSG: {short}\n{fields}"));
                waiting.push(name);
            }
        }
    }
    Some(text)
}

/// The hash by which ROS 2 (Iron and later) tells versions of a type apart, where it is known.
pub fn type_hash(ros_type: &str) -> Option<&'static str> {
    Some(match ros_type {
        "vision_msgs/msg/Classification" => {
            "RIHS01_f74db28d0eaef3afb78f48bf2161cd709a1383a0309d3454383b25be11345143"
        }
        "vision_msgs/msg/Detection2DArray" => {
            "RIHS01_214274120007f4a683866481336b70310268cfa107aebe9d594a6acf75bda968"
        }
        "vision_msgs/msg/LabelInfo" => {
            "RIHS01_3d37df4015cdf660cc851c51897f2acd957e1ca6205ba0a99aebffb9406b0783"
        }
        "vision_msgs/msg/VisionInfo" => {
            "RIHS01_95d3116a17484ad91c9a2686e1d54890bbfc3ff6c6a2de137738c4950d45d284"
        }
        _ => return None,
    })
}

fn fields(ros_type: &str) -> Option<&'static str> {
    DEFINITIONS.iter().find(|(name, _)| *name == ros_type).map(|(_, fields)| *fields)
}

/// The message types among a type's fields.
fn contained(ros_type: &str) -> impl Iterator<Item = (&'static str, &'static str)> {
    let lines = fields(ros_type).unwrap_or_default().lines();
    lines.filter_map(|line| {
        let field_type = line.split_whitespace().next()?;
        let plain = field_type.split('[').next()?;
        let full = plain.replacen('/', "/msg/", 1);
        DEFINITIONS.iter().find(|(name, _)| *name == full).copied()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_contained_type_is_defined() {
        for (name, fields) in DEFINITIONS {
            let messages = fields.lines().filter(|line| line.contains('/')).count();
            assert_eq!(contained(name).count(), messages, "{name}");
        }
    }

    #[test]
    fn nested_definitions_follow_once_each() {
        let text = definition("vision_msgs/msg/Detection2DArray").unwrap();
        assert!(text.starts_with("std_msgs/Header header\n"));
        assert_eq!(text.matches("MSG: std_msgs/Header\n").count(), 1);
        assert_eq!(text.matches("MSG: ").count(), text.matches(SEPARATOR).count());
        assert!(text.contains("MSG: geometry_msgs/Quaternion\n"));
        assert_eq!(definition("my_msgs/msg/Thing"), None);
    }
}
