//! A frame's result as messages.

use jpeg_encoder::EncodingError;

use super::{Output, Sink};
use crate::answer_state::AnswerState;
use crate::geometry::Size;
use crate::image_health::ImageFault;
use crate::manifest::{Manifest, Traversability};
use crate::message::{
    Classification, CompressedImage, Detection, Detections, FloatArray, Header, Hypothesis, Image,
    LabelInfo, PoseWithCovarianceStamped, Stamp, Status, VisionInfo,
};
use crate::overlay;
use crate::pose::PoseEstimate;
use crate::result::{FrameResult, Label, Obstacle, Picture};
use crate::settings::{CameraSettings, ClassIdFormat, MaskKind};
use crate::timing::{StageTimes, milliseconds};

/// Id and name of each class of a mask.
pub type ClassMap<'a> = Vec<(u16, &'a str)>;

/// What the network says of a frame, and the places.
pub fn put_result(
    sink: &mut impl Sink,
    header: Header<'_>,
    result: &FrameResult,
    settings: &CameraSettings,
) {
    let wanted = sink.wanted();
    if let Some(labels) = result.labels.as_ref().filter(|_| wanted.has(Output::Labels)) {
        put_labels(sink, Output::Labels, header, labels, settings.labels.class_id_format);
    }
    if let Some(maps) = &result.maps {
        for (output, pixels) in [
            (Output::Mask, maps.ids(settings.mask.kind)),
            (Output::Confidence, &maps.confidence),
            (Output::Traversability, &maps.cost),
        ] {
            if wanted.has(output) && !pixels.is_empty() {
                sink.put(output, &mono8(header, maps.size, pixels));
            }
        }
    }
    if let Some(obstacles) = result.obstacles.as_ref().filter(|_| wanted.has(Output::Obstacles)) {
        let detections = obstacles.iter().map(detection).collect();
        sink.put(Output::Obstacles, &Detections { header, detections });
    }
    if let Some(places) = result.places.as_ref().filter(|_| wanted.has(Output::Place)) {
        put_labels(sink, Output::Place, header, places, ClassIdFormat::Name);
    }
    if let Some(values) = result.embedding.as_ref().filter(|_| wanted.has(Output::Embedding)) {
        sink.put(Output::Embedding, &FloatArray { label: "descriptor", values });
    }
}

fn put_labels(
    sink: &mut impl Sink,
    output: Output,
    header: Header<'_>,
    labels: &[Label],
    format: ClassIdFormat,
) {
    let indices: Vec<String> = labels.iter().map(|label| label.index.to_string()).collect();
    let hypotheses = labels.iter().zip(&indices).map(|(label, index)| Hypothesis {
        class_id: match format {
            ClassIdFormat::Name => &label.name,
            ClassIdFormat::Index => index,
        },
        score: f64::from(label.score),
    });
    sink.put(output, &Classification { header, results: hypotheses.collect() });
}

fn detection(obstacle: &Obstacle) -> Detection<'_> {
    let area = obstacle.bounding_box;
    Detection {
        hypothesis: Hypothesis { class_id: &obstacle.class, score: f64::from(obstacle.score) },
        center: [area.left + area.width / 2.0, area.top + area.height / 2.0],
        size: [area.width, area.height],
    }
}

/// The drawn picture, as it is and as JPEG.
///
/// # Errors
/// What the encoder says.
pub fn put_overlay(
    sink: &mut impl Sink,
    header: Header<'_>,
    picture: &Picture,
    jpeg_quality: u8,
) -> Result<(), EncodingError> {
    let Picture { size, rgb } = picture;
    if sink.wanted().has(Output::Overlay) {
        let image = Image { encoding: "rgb8", step: 3 * size.width, ..mono8(header, *size, rgb) };
        sink.put(Output::Overlay, &image);
    }
    if sink.wanted().has(Output::OverlayCompressed) {
        let data = &overlay::to_jpeg(picture, jpeg_quality)?;
        sink.put(Output::OverlayCompressed, &CompressedImage { header, format: "jpeg", data });
    }
    Ok(())
}

/// Where the robot is, by the place that was recognised.
pub fn put_pose(sink: &mut impl Sink, stamp: Stamp, estimate: &PoseEstimate) {
    if sink.wanted().has(Output::PlacePose) {
        let PoseEstimate { pose, covariance } = estimate;
        sink.put(
            Output::PlacePose,
            &PoseWithCovarianceStamped {
                header: Header { stamp, frame_id: &pose.frame_id },
                position: pose.position,
                orientation: pose.orientation,
                covariance,
            },
        );
    }
}

/// Where a frame's time went, and how far its answer can be trusted.
#[derive(Debug, Clone, Copy)]
pub struct Timing<'a> {
    /// The camera's name.
    pub camera: &'a str,
    /// By stage.
    pub times: &'a StageTimes,
    /// From the picture's stamp to its answer.
    pub age_ms: Option<f64>,
    /// How far it can be trusted.
    pub state: AnswerState,
    /// What is wrong with the picture.
    pub fault: Option<ImageFault>,
    /// The picture's, where the message has none of its own beside it.
    pub stamp: Option<Stamp>,
}

/// Publishes that.
pub fn put_timing(sink: &mut impl Sink, timing: &Timing<'_>) {
    if !sink.wanted().has(Output::Timing) {
        return;
    }
    let Timing { camera, times, age_ms, state, fault, stamp } = *timing;
    let stages = times.stages().into_iter().chain([("total", times.total())]);
    let stages = stages.map(|(name, time)| (name, milliseconds(time)));
    let numbers = stages.chain(age_ms.map(|age| ("age", age)));
    let mut values: Vec<_> = numbers.map(|(name, value)| (name, format!("{value:.3}"))).collect();
    values.push(("state", state.name().to_owned()));
    values.extend(fault.map(|fault| ("image fault", fault.name().to_owned())));
    values.extend(stamp.map(|stamp| ("stamp", stamp.to_string())));
    sink.put(
        Output::Timing,
        &Status {
            level: state.level(),
            name: "squeezenet: timing",
            message: "ms",
            hardware_id: camera,
            values,
        },
    );
}

/// Announces the model in force: its name and file, and how many have been before it.
pub fn put_vision_info(
    sink: &mut impl Sink,
    stamp: Stamp,
    (method, database_location, database_version): (&str, &str, i32),
) {
    if sink.wanted().has(Output::VisionInfo) {
        let header = Header { stamp, frame_id: "" };
        let info = VisionInfo { header, method, database_location, database_version };
        sink.put(Output::VisionInfo, &info);
    }
}

/// Announces what the ids of the mask mean.
pub fn put_label_info(sink: &mut impl Sink, stamp: Stamp, class_map: ClassMap<'_>, threshold: f32) {
    if sink.wanted().has(Output::LabelInfo) {
        let header = Header { stamp, frame_id: "" };
        sink.put(Output::LabelInfo, &LabelInfo { header, class_map, threshold });
    }
}

/// What the ids of a model's mask mean, by id; `None` of a model without one.
pub fn class_map(manifest: &Manifest, kind: MaskKind) -> Option<ClassMap<'_>> {
    let spec = manifest.segmentation.as_ref()?;
    Some(match kind {
        MaskKind::Semantic => {
            (0..).zip(spec.classes.iter().map(|class| class.name.as_str())).collect()
        }
        MaskKind::Traversability => {
            Traversability::ALL.iter().map(|t| (u16::from(t.id()), t.name())).collect()
        }
    })
}

fn mono8<'a>(header: Header<'a>, size: Size, data: &'a [u8]) -> Image<'a> {
    Image {
        header,
        height: size.height,
        width: size.width,
        encoding: "mono8",
        is_bigendian: false,
        step: size.width,
        data,
    }
}
