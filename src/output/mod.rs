//! What is published of a camera: one table, and the messages made once, for the node as for a bag. A new output is
//! an entry here, and the code that makes its message.

mod frame;

pub use frame::{
    Timing, class_map, put_label_info, put_overlay, put_pose, put_result, put_timing,
    put_vision_info,
};

use crate::message::{
    Classification, CompressedImage, Detections, FloatArray, Image, LabelInfo, LaserScan,
    OccupancyGrid, PointCloud, PoseWithCovarianceStamped, RosMessage, Status, VisionInfo,
};
use crate::result::Wanted;

/// One thing that is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the table says what each is")]
pub enum Output {
    Labels,
    Mask,
    Confidence,
    LabelInfo,
    VisionInfo,
    Traversability,
    Obstacles,
    Place,
    PlacePose,
    Embedding,
    Timing,
    Overlay,
    OverlayCompressed,
    Scan,
    Points,
    ObstaclePoints,
    GroundPoints,
    LocalMap,
}

/// Whose topic it is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topics {
    /// The camera's own.
    Own,
    /// The camera's own and, with several cameras, one of all of them.
    OwnAndCommon,
    /// One of all cameras.
    Common,
}

/// What holds of an output whatever the frame.
#[derive(Debug, Clone, Copy)]
pub struct Spec {
    /// Its topic below the camera's name.
    pub name: &'static str,
    /// Its type.
    pub ros_type: &'static str,
    /// Whose topic.
    pub topics: Topics,
    /// Whether the last message is kept for those who come late.
    pub is_latched: bool,
    /// What a frame has to give for it.
    pub needs: Wanted,
}

impl Output {
    /// All.
    pub const ALL: [Self; 18] = [
        Self::Labels,
        Self::Mask,
        Self::Confidence,
        Self::LabelInfo,
        Self::VisionInfo,
        Self::Traversability,
        Self::Obstacles,
        Self::Place,
        Self::PlacePose,
        Self::Embedding,
        Self::Timing,
        Self::Overlay,
        Self::OverlayCompressed,
        Self::Scan,
        Self::Points,
        Self::ObstaclePoints,
        Self::GroundPoints,
        Self::LocalMap,
    ];

    /// The table.
    pub const fn spec(self) -> Spec {
        const NONE: Wanted = Wanted::NONE;
        const MASK: Wanted = Wanted { mask: true, ..NONE };
        const GROUND: Wanted = Wanted { ground: true, ..NONE };
        const PLACES: Wanted = Wanted { places: true, ..NONE };
        const DRAWN: Wanted = Wanted {
            labels: true,
            mask: true,
            obstacles: true,
            places: true,
            ground: true,
            picture: true,
            ..NONE
        };
        use Topics::{Common, Own, OwnAndCommon};
        let (name, ros_type, topics, needs) = match self {
            Self::Labels => {
                ("labels", Classification::TYPE, OwnAndCommon, Wanted { labels: true, ..NONE })
            }
            Self::Mask => ("mask", Image::TYPE, OwnAndCommon, MASK),
            Self::Confidence => ("confidence", Image::TYPE, Own, MASK),
            Self::LabelInfo => ("label_info", LabelInfo::TYPE, OwnAndCommon, NONE),
            Self::VisionInfo => ("vision_info", VisionInfo::TYPE, Own, NONE),
            Self::Traversability => {
                ("traversability", Image::TYPE, Own, Wanted { cost: true, ..NONE })
            }
            Self::Obstacles => {
                ("obstacles", Detections::TYPE, Own, Wanted { obstacles: true, ..NONE })
            }
            Self::Place => ("place", Classification::TYPE, Own, PLACES),
            Self::PlacePose => ("place_pose", PoseWithCovarianceStamped::TYPE, Own, PLACES),
            Self::Embedding => {
                ("embedding", FloatArray::TYPE, Own, Wanted { embedding: true, ..NONE })
            }
            Self::Timing => ("timing", Status::TYPE, Own, NONE),
            Self::Overlay => ("overlay", Image::TYPE, Own, DRAWN),
            Self::OverlayCompressed => ("overlay/compressed", CompressedImage::TYPE, Own, DRAWN),
            Self::Scan => ("scan", LaserScan::TYPE, Own, GROUND),
            Self::Points => {
                ("points", PointCloud::TYPE, Own, Wanted { mask: true, ground: true, ..NONE })
            }
            Self::ObstaclePoints => ("obstacle_points", PointCloud::TYPE, Own, GROUND),
            Self::GroundPoints => ("ground_points", PointCloud::TYPE, Own, GROUND),
            Self::LocalMap => ("local_map", OccupancyGrid::TYPE, Common, GROUND),
        };
        let is_latched = matches!(self, Self::LabelInfo | Self::VisionInfo);
        Spec { name, ros_type, topics, is_latched, needs }
    }

    /// Its topic below the camera's name.
    pub const fn name(self) -> &'static str {
        self.spec().name
    }

    const fn bit(self) -> u32 {
        1 << self as u32
    }
}

/// Some outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OutputSet(u32);

impl OutputSet {
    /// What is made of the ground.
    pub const GROUND: Self = Self(
        Output::Scan.bit()
            | Output::Points.bit()
            | Output::ObstaclePoints.bit()
            | Output::GroundPoints.bit()
            | Output::LocalMap.bit(),
    );
    /// What is drawn.
    pub const DRAWN: Self = Self(Output::Overlay.bit() | Output::OverlayCompressed.bit());

    /// Whether it is one of them.
    pub fn has(self, output: Output) -> bool {
        self.0 & output.bit() != 0
    }

    /// Whether it has any of others.
    pub fn has_any(self, of: Self) -> bool {
        self.0 & of.0 != 0
    }

    /// Those that are none of others.
    #[must_use]
    pub fn without(self, others: Self) -> Self {
        Self(self.0 & !others.0)
    }

    /// What a frame has to give for all of them.
    pub fn needs(self) -> Wanted {
        let outputs = Output::ALL.into_iter().filter(|output| self.has(*output));
        outputs.fold(Wanted::NONE, |needs, output| needs | output.spec().needs)
    }
}

impl FromIterator<Output> for OutputSet {
    fn from_iter<I: IntoIterator<Item = Output>>(outputs: I) -> Self {
        Self(outputs.into_iter().fold(0, |bits, output| bits | output.bit()))
    }
}

/// Who takes messages: the publishers of a camera, or a bag.
pub trait Sink {
    /// What somebody wants; the rest is not made.
    fn wanted(&self) -> OutputSet;

    /// Takes a message.
    fn put(&mut self, output: Output, message: &impl RosMessage);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_whole() {
        for (index, output) in Output::ALL.into_iter().enumerate() {
            assert_eq!(output as usize, index);
            assert_eq!(Output::ALL.iter().filter(|other| other.name() == output.name()).count(), 1);
            let set = OutputSet::from_iter([output]);
            assert_eq!(
                set.has_any(OutputSet::GROUND),
                output.spec().needs.ground && !set.has_any(OutputSet::DRAWN)
            );
            assert_eq!(set.needs(), output.spec().needs);
        }
        assert_eq!(OutputSet::default().needs(), Wanted::NONE);
    }

    #[test]
    fn every_output_stands_in_the_readme_with_its_type() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
        for output in Output::ALL {
            let Spec { name, ros_type, .. } = output.spec();
            let ros_type = ros_type.replace("/msg/", "/");
            let row = readme.lines().find(|line| line.contains(&format!("/squeezenet/{name}`")));
            assert!(row.is_some_and(|row| row.contains(&ros_type)), "{name}, {ros_type}: {row:?}");
        }
    }
}
