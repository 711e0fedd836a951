//! The one table of all parameters: descriptors, validation, the commented parameter file and the
//! table of `docs/parameters.md` are made from it.

use super::Value;

/// A default, in a form that a constant can have.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum DefaultValue {
    /// A bool.
    Bool(bool),
    /// An integer.
    Integer(i64),
    /// A double.
    Double(f64),
    /// A string.
    Text(&'static str),
    /// An empty array of strings.
    NoTexts,
}

impl DefaultValue {
    /// As a value.
    pub fn value(self) -> Value {
        match self {
            Self::Bool(value) => Value::Bool(value),
            Self::Integer(value) => Value::Integer(value),
            Self::Double(value) => Value::Double(value),
            Self::Text(value) => Value::Text(value.to_owned()),
            Self::NoTexts => Value::Texts(Vec::new()),
        }
    }
}

/// What values are allowed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Allowed {
    /// Any of the type.
    Any,
    /// Integers from, to.
    Integers(i64, i64),
    /// Doubles from, to.
    Doubles(f64, f64),
    /// These strings.
    Choices(&'static [&'static str]),
}

/// One parameter.
#[derive(Debug, Clone, Copy)]
pub struct Parameter {
    /// Its name.
    pub name: &'static str,
    /// Its default; the type is the default's.
    pub default: DefaultValue,
    /// What values are allowed.
    pub allowed: Allowed,
    /// Whether `<camera>.<name>` overrides it for one camera.
    pub per_camera: bool,
    /// Whether it is fixed when the node starts.
    pub read_only: bool,
    /// Unit of a number, empty for none.
    pub unit: &'static str,
    /// One sentence for people.
    pub description: &'static str,
}

const fn parameter(
    name: &'static str,
    default: DefaultValue,
    allowed: Allowed,
    unit: &'static str,
    description: &'static str,
) -> Parameter {
    Parameter { name, default, allowed, per_camera: false, read_only: false, unit, description }
}

const fn per_camera(parameter: Parameter) -> Parameter {
    Parameter { per_camera: true, ..parameter }
}

const fn read_only(parameter: Parameter) -> Parameter {
    Parameter { read_only: true, ..parameter }
}

use Allowed::{Any, Choices, Doubles, Integers};
use DefaultValue::{Double, Integer, NoTexts, Text};

const LARGEST: f64 = 1e9;

/// All parameters, in the order in which people read them.
pub const TABLE: &[Parameter] = &[
    parameter(
        "model",
        Text("squeezenet1_1_anywhere"),
        Any,
        "",
        "Model to run: a name that `squeezenet_node model` lists, or the path of a manifest.",
    ),
    parameter(
        "precision",
        Text("auto"),
        Choices(&["auto", "fp32", "int8"]),
        "",
        "Arithmetic of the network; auto measures what the model has and keeps the faster, and remembers it for the next start.",
    ),
    parameter(
        "inference.provider",
        Text("auto"),
        Choices(&["auto", "cpu", "openvino", "xnnpack", "cuda", "tensorrt"]),
        "",
        "Execution provider of ONNX Runtime; auto measures those that the loaded runtime has, but for tensorrt, which has to be asked for. One that fails gives way to the processor.",
    ),
    parameter(
        "inference.threads",
        Integer(0),
        Integers(0, 64),
        "threads",
        "Inference threads; 0 measures up to four and takes the fastest number.",
    ),
    parameter(
        "inference.pin_threads",
        DefaultValue::Bool(true),
        Any,
        "",
        "Whether each inference thread keeps to processors of its own; false leaves them all to the scheduler.",
    ),
    parameter(
        "cameras",
        NoTexts,
        Any,
        "",
        "Names of the cameras, which come and go while the node runs; empty for a single one without a name.",
    ),
    per_camera(parameter(
        "image_topic",
        Text("/camera/image_raw"),
        Any,
        "",
        "Topic of the pictures.",
    )),
    per_camera(parameter(
        "image_transport",
        Text("auto"),
        Choices(&["auto", "raw", "compressed"]),
        "",
        "Message type of the topic; auto takes what its publishers announce.",
    )),
    per_camera(parameter(
        "input.reliability",
        Text("auto"),
        Choices(&["auto", "best_effort", "reliable"]),
        "",
        "Reliability of the subscription; auto matches the publisher's.",
    )),
    per_camera(parameter(
        "input.max_age_ms",
        Double(0.0),
        Doubles(0.0, LARGEST),
        "ms",
        "Frames older than this when their turn comes are dropped and counted; 0 never.",
    )),
    per_camera(parameter(
        "input.fit",
        Text("model"),
        Choices(&["model", "aspect", "stretch", "letterbox", "crop"]),
        "",
        "How pictures become the network's input; model takes what the manifest says.",
    )),
    per_camera(parameter(
        "input.width",
        Integer(0),
        Integers(0, 4096),
        "px",
        "Width of the network's input; 0 takes the manifest's, others must be at least 64.",
    )),
    per_camera(parameter(
        "input.height",
        Integer(0),
        Integers(0, 4096),
        "px",
        "Height of the network's input; 0 takes the manifest's, others must be at least 64.",
    )),
    per_camera(parameter(
        "rate.max_hz",
        Double(0.0),
        Doubles(0.0, 1000.0),
        "Hz",
        "Frames processed a second at most; 0 for no limit.",
    )),
    per_camera(parameter(
        "rate.weight",
        Double(1.0),
        Doubles(0.01, 100.0),
        "",
        "Share of the processor against the other cameras.",
    )),
    per_camera(parameter(
        "labels.top_k",
        Integer(5),
        Integers(1, 1000),
        "",
        "Labels published at most, best first.",
    )),
    per_camera(parameter(
        "labels.threshold",
        Double(0.0),
        Doubles(0.0, 1.0),
        "",
        "Labels of a lower probability are left out.",
    )),
    per_camera(parameter(
        "labels.class_id_format",
        Text("name"),
        Choices(&["name", "index"]),
        "",
        "What class_id holds: the readable name or the index.",
    )),
    per_camera(parameter(
        "mask.kind",
        Text("traversability"),
        Choices(&["traversability", "semantic"]),
        "",
        "What the mask's ids mean: 0 traversable, 1 caution, 2 obstacle, 3 background; or the model's own classes.",
    )),
    per_camera(parameter(
        "mask.size",
        Text("source"),
        Choices(&["source", "network", "grid"]),
        "",
        "Size of the mask: the camera picture's, the network input's, or that of the network's own output grid, the smallest.",
    )),
    per_camera(parameter(
        "mask.min_confidence",
        Double(0.0),
        Doubles(0.0, 1.0),
        "",
        "Pixels of a lower confidence are unknown (255).",
    )),
    per_camera(parameter(
        "mask.smoothing",
        Double(0.0),
        Doubles(0.0, 0.95),
        "",
        "How steady the mask is kept against noise: weight of the earlier answer where the picture hardly changed. 0 takes each frame on its own, as are frames over a second apart.",
    )),
    per_camera(parameter(
        "mask.traversability",
        NoTexts,
        Any,
        "",
        "Overrides of the manifest as class=meaning, such as pavement=caution; meanings are traversable, caution, obstacle, background.",
    )),
    per_camera(parameter(
        "mask.cost",
        NoTexts,
        Any,
        "",
        "Overrides of the manifest as class=cost, such as pavement=120; 0 free to 254 lethal, 255 unknown.",
    )),
    per_camera(parameter(
        "obstacles.min_area",
        Double(0.0005),
        Doubles(0.0, 1.0),
        "",
        "Obstacle regions smaller than this share of the picture are left out.",
    )),
    per_camera(parameter(
        "obstacles.max_count",
        Integer(50),
        Integers(1, 1000),
        "",
        "Obstacles published at most, the lowest in the picture first.",
    )),
    per_camera(parameter(
        "ground.frame",
        Text(""),
        Any,
        "",
        "Frame of tf whose z = 0 is the ground; empty for base_footprint where tf knows it, else base_link.",
    )),
    per_camera(parameter(
        "ground.camera_info_topic",
        Text(""),
        Any,
        "",
        "Topic of the camera's calibration; empty for camera_info beside the pictures.",
    )),
    per_camera(parameter(
        "ground.rectified",
        Text("auto"),
        Choices(&["auto", "yes", "no"]),
        "",
        "Whether the pictures were undistorted already; auto tells by a topic named image_rect.",
    )),
    per_camera(parameter(
        "ground.height_m",
        Double(0.0),
        Doubles(0.0, 100.0),
        "m",
        "Height of the camera over the ground where tf does not give it; 0 is not given.",
    )),
    per_camera(parameter(
        "ground.pitch_deg",
        Double(0.0),
        Doubles(-90.0, 90.0),
        "deg",
        "Pitch of the camera, positive looks down, used with ground.height_m.",
    )),
    per_camera(parameter(
        "ground.roll_deg",
        Double(0.0),
        Doubles(-180.0, 180.0),
        "deg",
        "Roll of the camera, positive has its right side down, used with ground.height_m.",
    )),
    per_camera(parameter(
        "ground.hfov_deg",
        Double(0.0),
        Doubles(0.0, 179.0),
        "deg",
        "Horizontal field of view where there is no camera_info, or none that is calibrated; 0 is not given.",
    )),
    per_camera(parameter(
        "ground.max_range_m",
        Double(0.0),
        Doubles(0.0, 100.0),
        "m",
        "How far the ground is looked at; 0 takes what height, resolution and ground.pitch_sigma_deg allow.",
    )),
    per_camera(parameter(
        "ground.pitch_sigma_deg",
        Double(0.5),
        Doubles(0.0, 20.0),
        "deg",
        "How well the camera's pitch is known, one standard deviation.",
    )),
    per_camera(parameter(
        "ground.range_error",
        Double(0.1),
        Doubles(0.01, 1.0),
        "",
        "Largest error of a distance as a share of it, where ground.max_range_m is 0.",
    )),
    per_camera(parameter(
        "ground.scan_step_deg",
        Double(0.5),
        Doubles(0.1, 10.0),
        "deg",
        "Angle between two beams of the scan.",
    )),
    per_camera(parameter(
        "ground.threshold",
        Double(0.4),
        Doubles(0.05, 0.95),
        "",
        "Probability of ground under which a place at the range's end is not ground.",
    )),
    per_camera(parameter(
        "ground.near_threshold",
        Double(0.55),
        Doubles(0.05, 0.95),
        "",
        "Like ground.threshold, but right before the camera, and in proportion between; never below ground.threshold.",
    )),
    per_camera(parameter(
        "ground.min_width",
        Double(0.3),
        Doubles(0.05, 1.0),
        "",
        "Share of a beam's width that must meet an obstacle, against noise.",
    )),
    per_camera(parameter(
        "ground.min_length",
        Double(1.5),
        Doubles(0.0, 20.0),
        "cells",
        "Length along a beam that must not be ground, in cells of the network's output, against noise.",
    )),
    per_camera(parameter(
        "ground.min_height_m",
        Double(0.03),
        Doubles(0.0, 1.0),
        "m",
        "What is lower is no obstacle of the scan where ground is seen behind it: what the robot rolls over, stains of the floor. 0: whatever is not ground is one.",
    )),
    per_camera(parameter(
        "ground.max_rise_deg",
        Double(5.0),
        Doubles(0.0, 90.0),
        "deg",
        "A direction with ground so far above the horizon is not known: a wall taken for ground, or a slope. 90 does not look.",
    )),
    per_camera(parameter(
        "ground.obstacle_z_m",
        Double(0.2),
        Doubles(-10.0, 10.0),
        "m",
        "Height at which the feet of obstacles are given in obstacle_points.",
    )),
    parameter(
        "ground.map_frame",
        Text("odom"),
        Any,
        "",
        "Frame of the local map; where tf does not know it the map is that of one frame.",
    ),
    parameter(
        "ground.memory_s",
        Double(5.0),
        Doubles(0.1, 600.0),
        "s",
        "How long the local map keeps what is not seen any more.",
    ),
    parameter(
        "ground.map_size_m",
        Double(8.0),
        Doubles(1.0, 50.0),
        "m",
        "Side of the local map, at most 1000 cells.",
    ),
    parameter(
        "ground.map_resolution_m",
        Double(0.05),
        Doubles(0.02, 1.0),
        "m",
        "Side of a cell of the local map, of which a side has at most 1000.",
    ),
    parameter(
        "ground.map_max_hz",
        Double(10.0),
        Doubles(0.1, 100.0),
        "Hz",
        "Local maps published a second at most.",
    ),
    parameter(
        "ground.tf_wait_ms",
        Double(50.0),
        Doubles(0.0, 1000.0),
        "ms",
        "How long a frame waits for tf to reach its stamp.",
    ),
    per_camera(parameter(
        "health.action",
        Text("report"),
        Choices(&["report", "unknown"]),
        "",
        "What becomes of the answer to a faulty picture: reported in timing and diagnostics; or unknown, mask 255 everywhere, scan NaN and no points.",
    )),
    per_camera(parameter(
        "health.dark",
        Double(20.0),
        Doubles(0.0, 255.0),
        "grey levels",
        "A picture is dark if nine tenths of it are darker, 0 to 255; 0 does not check.",
    )),
    per_camera(parameter(
        "health.blown_out",
        Double(0.45),
        Doubles(0.0, 1.0),
        "",
        "A picture is blown out if a larger share of it is saturated; 0 does not check.",
    )),
    per_camera(parameter(
        "health.torn",
        Double(0.1),
        Doubles(0.0, 1.0),
        "",
        "A picture is torn if a larger share of its rows, from below, is one grey or repeats; 0 does not check.",
    )),
    per_camera(parameter(
        "health.covered",
        Double(0.87),
        Doubles(0.0, 1.0),
        "",
        "The lens is covered if a larger share of the picture has no texture; 0 does not check.",
    )),
    per_camera(parameter(
        "health.blurred",
        Double(0.13),
        Doubles(0.0, 1.0),
        "",
        "A picture is blurred if its edges' largest step between neighbouring samples is a smaller share of the edge; 0 does not check.",
    )),
    per_camera(parameter(
        "health.noise",
        Double(8.0),
        Doubles(0.0, 255.0),
        "grey levels",
        "A picture is noise if the standard deviation of noise in its smooth parts is larger; 0 does not check.",
    )),
    per_camera(parameter(
        "health.frozen_s",
        Double(3.0),
        Doubles(0.0, 3600.0),
        "s",
        "A camera is frozen if the very same picture comes again and again for so long; 0 does not check.",
    )),
    per_camera(parameter(
        "health.exposure_jump",
        Double(60.0),
        Doubles(0.0, 255.0),
        "grey levels",
        "The exposure jumped if the mean changes by more from one picture to the next within half a second; 0 does not check.",
    )),
    parameter(
        "places.smoothing",
        Double(0.5),
        Doubles(0.0, 0.99),
        "",
        "How slowly the recognised place changes: 0 takes each frame on its own.",
    ),
    parameter(
        "places.max_views",
        Integer(50),
        Integers(1, 10_000),
        "",
        "Views kept of a place or taught label; beyond, the least informative is dropped.",
    ),
    parameter(
        "places.thumbnails",
        DefaultValue::Bool(false),
        Any,
        "",
        "Whether a small picture of each taught view is kept, for `squeezenet_node places list`.",
    ),
    read_only(parameter(
        "places.file",
        Text(""),
        Any,
        "",
        "File of what was taught; empty: squeezenet_places.bin in ROS_HOME, or ~/.ros.",
    )),
    read_only(parameter(
        "places.pose_topic",
        Text(""),
        Any,
        "",
        "Topic of the robot's pose (PoseStamped, PoseWithCovarianceStamped or Odometry), kept with what is taught; empty for none.",
    )),
    parameter(
        "learning.enabled",
        DefaultValue::Bool(false),
        Any,
        "",
        "Whether the mask learns from where the robot drives, which takes tf from learning.odom_frame and what the ground takes.",
    ),
    parameter(
        "learning.footprint",
        Text("[[0.2, 0.2], [0.2, -0.2], [-0.2, -0.2], [-0.2, 0.2]]"),
        Any,
        "m",
        "The robot's outline around ground.frame, written as Nav2's footprint: what it covers is ground.",
    ),
    parameter(
        "learning.odom_frame",
        Text("odom"),
        Any,
        "",
        "Frame of tf in which the robot moves smoothly.",
    ),
    read_only(parameter(
        "learning.file",
        Text(""),
        Any,
        "",
        "File of what was learnt by driving; empty: squeezenet_learning.json in ROS_HOME, or ~/.ros.",
    )),
    read_only(parameter(
        "output.reliability",
        Text("reliable"),
        Choices(&["reliable", "best_effort"]),
        "",
        "Reliability offered to subscribers.",
    )),
    parameter(
        "overlay.alpha",
        Double(0.5),
        Doubles(0.0, 1.0),
        "",
        "Weight of the mask's colours in the overlay.",
    ),
    parameter(
        "overlay.jpeg_quality",
        Integer(80),
        Integers(1, 100),
        "",
        "JPEG quality of the compressed overlay.",
    ),
    parameter(
        "diagnostics.late_ms",
        Double(0.0),
        Doubles(0.0, LARGEST),
        "ms",
        "Age of results (now - stamp, p95) from which diagnostics warn; 0 never.",
    ),
    parameter(
        "log_level",
        Text("info"),
        Choices(&["error", "warn", "info", "debug", "trace"]),
        "",
        "How much is logged.",
    ),
    read_only(parameter(
        "config_file",
        Text(""),
        Any,
        "",
        "Parameter file that is watched and taken over when it changes; empty: the one the node was started with.",
    )),
    read_only(parameter(
        "managed",
        DefaultValue::Bool(false),
        Any,
        "",
        "Whether the node is a lifecycle node, which lifecycle_msgs services configure and activate.",
    )),
    read_only(parameter(
        "autostart",
        DefaultValue::Bool(true),
        Any,
        "",
        "Whether a managed node configures and activates itself at start; false waits for a manager.",
    )),
    read_only(parameter(
        "use_sim_time",
        DefaultValue::Bool(false),
        Any,
        "",
        "Whether time comes from /clock.",
    )),
];

/// A parameter by its own name.
pub fn find(name: &str) -> Option<&'static Parameter> {
    TABLE.iter().find(|parameter| parameter.name == name)
}

impl Parameter {
    /// Whether a value may be this parameter's.
    ///
    /// # Errors
    /// What is wrong and what is allowed.
    pub fn check(&self, value: &Value) -> Result<(), String> {
        let expected = self.default.value();
        if std::mem::discriminant(&expected) != std::mem::discriminant(value) {
            let mut reason =
                format!("{value} is a {}, expected a {}", value.type_name(), expected.type_name());
            // YAML takes the words for truth values.
            if let (Choices(choices), Value::Bool(is)) = (self.allowed, value)
                && let word = if *is { "yes" } else { "no" }
                && choices.contains(&word)
            {
                reason += &format!(
                    "; with its quotes, \"{word}\", it is one (on a command line '\"{word}\"')"
                );
            }
            return Err(reason);
        }
        let texts: &[String] = match value {
            Value::Text(text) => std::slice::from_ref(text),
            Value::Texts(texts) => texts,
            _ => &[],
        };
        if texts.iter().any(|text| text.chars().any(char::is_control)) {
            return Err(format!("{value} holds control characters, such as a line break"));
        }
        let is_allowed = match (self.allowed, value) {
            (Integers(from, to), Value::Integer(value)) => (from..=to).contains(value),
            (Doubles(from, to), Value::Double(value)) => (from..=to).contains(value),
            (Choices(choices), Value::Text(value)) => choices.contains(&value.as_str()),
            (Any, Value::Double(value)) => value.is_finite(),
            _ => true,
        };
        if is_allowed {
            Ok(())
        } else {
            Err(format!("{value} is not allowed, {}", self.allowed_text()))
        }
    }

    /// What is allowed, in words; empty if anything is.
    pub fn allowed_text(&self) -> String {
        match self.allowed {
            Any => String::new(),
            Integers(from, to) => format!("it must be {from} to {to}"),
            Doubles(from, to) => format!("it must be {from:?} to {to:?}"),
            Choices(choices) => format!("it must be one of {}", choices.join(", ")),
        }
    }
}
