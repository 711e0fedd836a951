//! Checked settings: what the pipeline and the shells work with, read once a frame as one
//! immutable snapshot. They are made from raw parameters in `parameter`; nothing here parses.

use std::collections::BTreeMap;

pub use crate::execution::{Precision, Provider};
use crate::geometry::{Fit, MaskSize};
use crate::traversability::Traversability;

/// Everything that can be tuned, in force together.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Which model, on what.
    pub model: ModelSettings,
    /// The cameras, by name; a single unnamed one has the name "".
    pub cameras: BTreeMap<String, CameraSettings>,
    /// What all cameras share.
    pub outputs: OutputSettings,
    /// The map of the ground around the robot, and tf.
    pub map: MapSettings,
    /// Places and taught labels.
    pub places: PlaceSettings,
    /// Learning by driving.
    pub learning: LearningSettings,
    /// Log level: error, warn, info, debug or trace.
    pub log_level: LogLevel,
    /// Age at the end of processing from which `/diagnostics` warns, in milliseconds; 0 never.
    pub late_ms: f64,
    /// Whether time comes from `/clock`.
    pub use_sim_time: bool,
    /// Whether it is a lifecycle node, with services by which it is managed.
    pub is_managed: bool,
    /// Whether a managed node configures and activates itself at start.
    pub autostart: bool,
}

/// Which network runs, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelSettings {
    /// A model's name, or the path of a manifest.
    pub model: String,
    /// fp32, int8 or the faster of them.
    pub precision: Precision,
    /// ONNX Runtime's execution provider, or the fastest that the runtime has.
    pub provider: Provider,
    /// Inference threads; 0 takes the fastest number, up to four.
    pub threads: usize,
    /// Whether each inference thread keeps to processors of its own.
    pub pin_threads: bool,
}

/// One camera.
#[derive(Debug, Clone, PartialEq)]
pub struct CameraSettings {
    /// Topic of its pictures.
    pub image_topic: String,
    /// Raw or compressed, or what the topic turns out to be.
    pub transport: Transport,
    /// Reliability asked of the publisher.
    pub reliability: Reliability,
    /// Frames older than this are dropped, in milliseconds; 0 never.
    pub max_age_ms: f64,
    /// Frames a second at most; 0 unlimited.
    pub max_hz: f64,
    /// Share of the processor against the other cameras, over 0.
    pub weight: f64,
    /// How the picture becomes the network's input; none: as the model's manifest says.
    pub fit: Option<Fit>,
    /// Network input width in pixels; 0: as the manifest says.
    pub input_width: u32,
    /// Network input height in pixels; 0: as the manifest says.
    pub input_height: u32,
    /// Labels of this camera.
    pub labels: LabelSettings,
    /// Mask of this camera.
    pub mask: MaskSettings,
    /// Obstacle boxes of this camera.
    pub obstacles: ObstacleSettings,
    /// The ground that this camera sees.
    pub ground: GroundSettings,
    /// When its pictures are no good, and what becomes of their answers.
    pub health: HealthSettings,
}

/// How pictures travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// What the topic's publishers announce.
    Auto,
    /// `sensor_msgs/Image`
    Raw,
    /// `sensor_msgs/CompressedImage`
    Compressed,
}

/// DDS reliability.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reliability {
    /// Matched to the publisher.
    Auto,
    /// Lost frames stay lost.
    BestEffort,
    /// Lost frames are sent again.
    Reliable,
}

/// Image classification.
#[derive(Debug, Clone, PartialEq)]
pub struct LabelSettings {
    /// Labels published at most, best first.
    pub top_k: usize,
    /// Labels of a lower probability are left out, 0 to 1.
    pub threshold: f32,
    /// What `class_id` holds.
    pub class_id_format: ClassIdFormat,
}

/// What `class_id` of a label holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ClassIdFormat {
    /// The readable name.
    Name,
    /// The index as a decimal number.
    Index,
}

/// The per-pixel outputs.
#[derive(Debug, Clone, PartialEq)]
pub struct MaskSettings {
    /// What the ids mean.
    pub kind: MaskKind,
    /// Of what size the mask is.
    pub size: MaskSize,
    /// Pixels of a lower confidence are unknown (255), 0 to 1.
    pub min_confidence: f32,
    /// Share of the earlier answer in one that is the same but for noise, 0 to 0.95.
    pub smoothing: f32,
    /// Traversability by class name, over the manifest's.
    pub traversability: BTreeMap<String, Traversability>,
    /// Cost by class name, over the manifest's; 0 to 254, or 255 for unknown.
    pub cost: BTreeMap<String, u8>,
}

/// What the mask's ids mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MaskKind {
    /// 0 traversable, 1 caution, 2 obstacle, 3 background, 255 unknown.
    Traversability,
    /// The model's own class ids, 255 unknown.
    Semantic,
}

/// Boxes of obstacle regions.
#[derive(Debug, Clone, PartialEq)]
pub struct ObstacleSettings {
    /// Smaller regions are left out: a share of the picture's area, 0 to 1.
    pub min_area: f32,
    /// Boxes published at most, the lowest in the picture first.
    pub max_count: usize,
}

/// From one camera's mask to the ground.
#[derive(Debug, Clone, PartialEq)]
pub struct GroundSettings {
    /// Frame whose z = 0 is the ground; empty for `base_footprint`, else `base_link`.
    pub frame: String,
    /// Topic of the calibration; empty for `camera_info` beside the pictures.
    pub camera_info_topic: String,
    /// Whether pictures were undistorted already; `None` tells by the topic's name.
    pub is_rectified: Option<bool>,
    /// Height over the ground in metres where tf gives none; 0 is not given.
    pub height_m: f64,
    /// Pitch in degrees, positive looks down, used with `height_m`.
    pub pitch_deg: f64,
    /// Roll in degrees, positive has the right side down, used with `height_m`.
    pub roll_deg: f64,
    /// Horizontal field of view in degrees where there is no calibration; 0 is not given.
    pub hfov_deg: f64,
    /// How far the ground is walked in metres; 0 for what is known well enough.
    pub max_range_m: f64,
    /// Standard deviation of the pitch in degrees.
    pub pitch_sigma_deg: f64,
    /// Largest error of a distance as a share of it, where `max_range_m` is 0.
    pub range_error: f64,
    /// Angle between beams in degrees.
    pub scan_step_deg: f64,
    /// Probability of ground under which a place at the range's end is not ground.
    pub threshold: f64,
    /// The same right before the camera.
    pub near_threshold: f64,
    /// Share of a beam's width that must meet an obstacle.
    pub min_width: f64,
    /// Length along the beam that must not be ground, in cells of the network's output.
    pub min_length: f64,
    /// Height in metres under which something is no obstacle, where ground is seen behind it.
    pub min_height_m: f64,
    /// Angle above the horizon, in degrees, from which on ground is none of the level plane; 90 to not look.
    pub max_rise_deg: f64,
    /// Height at which obstacles' feet are marked in the cloud, in metres.
    pub obstacle_z_m: f64,
}

/// The map of the ground around the robot.
#[derive(Debug, Clone, PartialEq)]
pub struct MapSettings {
    /// Frame that the map lies in.
    pub frame: String,
    /// How long what was seen is kept, in seconds.
    pub memory_s: f64,
    /// Side of the square in metres.
    pub size_m: f64,
    /// Side of a cell in metres.
    pub resolution_m: f64,
    /// Maps a second at most.
    pub max_hz: f64,
    /// How long a frame waits for tf to reach its stamp, in milliseconds.
    pub tf_wait_ms: f64,
}

impl Default for GroundSettings {
    fn default() -> Self {
        Self {
            frame: String::new(),
            camera_info_topic: String::new(),
            is_rectified: None,
            height_m: 0.0,
            pitch_deg: 0.0,
            roll_deg: 0.0,
            hfov_deg: 0.0,
            max_range_m: 0.0,
            pitch_sigma_deg: 0.5,
            range_error: 0.1,
            scan_step_deg: 0.5,
            threshold: 0.4,
            near_threshold: 0.55,
            min_width: 0.3,
            min_length: 1.5,
            min_height_m: 0.03,
            max_rise_deg: 5.0,
            obstacle_z_m: 0.2,
        }
    }
}

impl Default for MapSettings {
    fn default() -> Self {
        Self {
            frame: "odom".to_owned(),
            memory_s: 5.0,
            size_m: 8.0,
            resolution_m: 0.05,
            max_hz: 10.0,
            tf_wait_ms: 50.0,
        }
    }
}

/// What becomes of the answers to a faulty picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HealthAction {
    /// They are published as they are; diagnostics say what is wrong.
    Report,
    /// Mask and cost are unknown (255) all over, confidence is 0, the scan is NaN, and there are
    /// neither obstacles nor points.
    Unknown,
}

/// From where on a picture is faulty. A threshold of 0 switches its check off.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HealthSettings {
    /// What becomes of the answers.
    pub action: HealthAction,
    /// Dark if nine tenths of the picture are darker, in grey levels 0 to 255.
    pub dark: f32,
    /// Blown out if a larger share of the picture is saturated, 0 to 1.
    pub blown_out: f32,
    /// Torn if a larger share of the rows, counted from below, is no picture, 0 to 1.
    pub torn: f32,
    /// Covered if a larger share of the picture is without texture, 0 to 1.
    pub covered: f32,
    /// Blurred if the largest step of an edge is a smaller share of it, 0 to 1.
    pub blurred: f32,
    /// Noisy from this standard deviation in smooth parts on, in grey levels.
    pub noise: f32,
    /// Frozen if the same picture comes for longer, in seconds.
    pub frozen_s: f64,
    /// Exposure jumped if the mean changes by more between two frames, in grey levels.
    pub exposure_jump: f32,
}

impl Default for HealthSettings {
    fn default() -> Self {
        Self {
            action: HealthAction::Report,
            dark: 20.0,
            blown_out: 0.45,
            torn: 0.1,
            covered: 0.87,
            blurred: 0.13,
            noise: 8.0,
            frozen_s: 3.0,
            exposure_jump: 60.0,
        }
    }
}

impl HealthSettings {
    /// Nothing is checked.
    pub const OFF: Self = Self {
        action: HealthAction::Report,
        dark: 0.0,
        blown_out: 0.0,
        torn: 0.0,
        covered: 0.0,
        blurred: 0.0,
        noise: 0.0,
        frozen_s: 0.0,
        exposure_jump: 0.0,
    };

    /// Whether anything is checked.
    pub fn is_on(&self) -> bool {
        *self != Self { action: self.action, ..Self::OFF }
    }
}

/// What all cameras share.
#[derive(Debug, Clone, PartialEq)]
pub struct OutputSettings {
    /// Reliability offered to subscribers; `Auto` counts as reliable.
    pub reliability: Reliability,
    /// Weight of the mask's colours in the overlay, 0 to 1.
    pub overlay_alpha: f32,
    /// JPEG quality of the compressed overlay, 1 to 100.
    pub overlay_jpeg_quality: u8,
}

/// Places and taught labels.
#[derive(Debug, Clone, PartialEq)]
pub struct PlaceSettings {
    /// Where they are kept; empty for [`crate::install::places_file`].
    pub file: String,
    /// 0 takes each frame on its own, near 1 changes its mind slowly.
    pub smoothing: f64,
    /// Views a name has at most.
    pub max_views: usize,
    /// Whether a small picture of each view is kept.
    pub thumbnails: bool,
    /// Topic of the robot's pose; empty for none.
    pub pose_topic: String,
}

/// Learning by driving.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LearningSettings {
    /// Whether frames are learnt from, and what was learnt is in force.
    pub is_enabled: bool,
    /// The robot's outline as a checked [`crate::learning::Footprint`] is written.
    pub footprint: String,
    /// Frame of tf in which the robot moves smoothly.
    pub odom_frame: String,
    /// Where what was learnt is kept; empty for [`crate::install::learning_file`].
    pub file: String,
}

/// How much is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LogLevel {
    /// Failures alone.
    Error,
    /// And what degrades the results.
    Warn,
    /// And what a user wants to know.
    Info,
    /// And decisions.
    Debug,
    /// And every frame.
    Trace,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            model: ModelSettings::default(),
            cameras: BTreeMap::from([(String::new(), CameraSettings::default())]),
            outputs: OutputSettings::default(),
            map: MapSettings::default(),
            places: PlaceSettings::default(),
            learning: LearningSettings::default(),
            log_level: LogLevel::Info,
            late_ms: 0.0,
            use_sim_time: false,
            is_managed: false,
            autostart: true,
        }
    }
}

impl Default for LearningSettings {
    fn default() -> Self {
        Self {
            is_enabled: false,
            footprint: "[[0.2, 0.2], [0.2, -0.2], [-0.2, -0.2], [-0.2, 0.2]]".to_owned(),
            odom_frame: "odom".to_owned(),
            file: String::new(),
        }
    }
}

impl Default for PlaceSettings {
    fn default() -> Self {
        Self {
            file: String::new(),
            smoothing: 0.5,
            max_views: 50,
            thumbnails: false,
            pose_topic: String::new(),
        }
    }
}

impl Default for ModelSettings {
    fn default() -> Self {
        Self {
            model: "squeezenet1_1_anywhere".to_owned(),
            precision: Precision::Auto,
            provider: Provider::Auto,
            threads: 0,
            pin_threads: true,
        }
    }
}

impl Default for CameraSettings {
    fn default() -> Self {
        Self {
            image_topic: "/camera/image_raw".to_owned(),
            transport: Transport::Auto,
            reliability: Reliability::Auto,
            max_age_ms: 0.0,
            max_hz: 0.0,
            weight: 1.0,
            fit: None,
            input_width: 0,
            input_height: 0,
            labels: LabelSettings::default(),
            mask: MaskSettings::default(),
            obstacles: ObstacleSettings::default(),
            ground: GroundSettings::default(),
            health: HealthSettings::default(),
        }
    }
}

impl Default for LabelSettings {
    fn default() -> Self {
        Self { top_k: 5, threshold: 0.0, class_id_format: ClassIdFormat::Name }
    }
}

impl Default for MaskSettings {
    fn default() -> Self {
        Self {
            kind: MaskKind::Traversability,
            size: MaskSize::Source,
            min_confidence: 0.0,
            smoothing: 0.0,
            traversability: BTreeMap::new(),
            cost: BTreeMap::new(),
        }
    }
}

impl Default for ObstacleSettings {
    fn default() -> Self {
        Self { min_area: 0.0005, max_count: 50 }
    }
}

impl Default for OutputSettings {
    fn default() -> Self {
        Self { reliability: Reliability::Reliable, overlay_alpha: 0.5, overlay_jpeg_quality: 80 }
    }
}
