//! What the node would have published, written to a bag under the stamps of the input.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;

use super::definitions::with_definition;
use super::ground::GroundMade;
use super::source::Camera;
use crate::bag::writer::{BagWriter, TopicId};
use crate::bag::{Bag, Message};
use crate::geometry::Size;
use crate::ground_messages::GroundOutputs;
use crate::image_health::ImageFault;
use crate::manifest::{Model, Traversability};
use crate::message::{
    Classification, CompressedImage, Detection, Detections, FloatArray, Header, Hypothesis, Image,
    LabelInfo, LaserScan, OccupancyGrid, PointCloud, RosMessage, Status, TfMessage, VisionInfo,
};
use crate::overlay::{self, Layer, Overlay};
use crate::result::{FrameResult, Outputs, Picture};
use crate::settings::{ClassIdFormat, HealthAction, MaskKind, Settings};
use crate::timing::milliseconds;

/// Topics of a camera under its prefix, their types, and whether they are kept for late listeners.
const TOPICS: [(&str, &str, bool); 17] = [
    ("labels", Classification::TYPE, false),
    ("mask", Image::TYPE, false),
    ("confidence", Image::TYPE, false),
    ("label_info", LabelInfo::TYPE, true),
    ("vision_info", VisionInfo::TYPE, true),
    ("traversability", Image::TYPE, false),
    ("obstacles", Detections::TYPE, false),
    ("place", Classification::TYPE, false),
    ("embedding", FloatArray::TYPE, false),
    ("timing", Status::TYPE, false),
    ("overlay", Image::TYPE, false),
    ("overlay/compressed", CompressedImage::TYPE, false),
    ("scan", LaserScan::TYPE, false),
    ("points", PointCloud::TYPE, false),
    ("obstacle_points", PointCloud::TYPE, false),
    ("ground_points", PointCloud::TYPE, false),
    ("local_map", OccupancyGrid::TYPE, false),
];

/// Topics that all cameras share, whatever their number.
const OF_ALL: [&str; 1] = ["local_map"];

/// The outputs that `--outputs` names.
pub fn known() -> Vec<&'static str> {
    TOPICS.iter().map(|(name, ..)| *name).collect()
}

/// The bag being written.
pub struct Output {
    writer: BagWriter,
    cameras: Vec<CameraTopics>,
    copies: Vec<(String, TopicId)>,
    ground: GroundOutputs,
    /// Where the frames of the ground go.
    tf: Option<TopicId>,
    settings: Settings,
    model: Arc<Model>,
    method: String,
}

struct CameraTopics {
    topics: Vec<(&'static str, Vec<TopicId>)>,
    is_announced: bool,
    name: String,
}

impl CameraTopics {
    fn ids(&self, name: &str) -> &[TopicId] {
        self.topics.iter().find(|(known, _)| *known == name).map_or(&[], |(_, ids)| ids)
    }
}

impl Output {
    /// Creates the bag with the chosen outputs of each camera; `copied` topics of `bag` go along.
    /// `method` is the model's name with the precision that it runs in.
    ///
    /// # Errors
    /// An output that is not known; what the file says.
    pub fn create(
        path: &Path,
        cameras: &[Camera],
        outputs: &[String],
        bag: &Bag,
        copied: &[String],
        settings: &Settings,
        (model, method): (&Arc<Model>, &str),
    ) -> anyhow::Result<Self> {
        let known = known();
        if let Some(name) = outputs.iter().find(|name| !known.contains(&name.as_str())) {
            anyhow::bail!("no output {name:?}; known are {}", known.join(", "));
        }
        let mut writer = BagWriter::create(path)?;
        let mut all_cameras: Vec<(&str, TopicId)> = Vec::new();
        let mut made = Vec::new();
        for camera in cameras {
            let prefix = match cameras.len() {
                1 => "/squeezenet".to_owned(),
                _ => format!("/squeezenet/{}", camera.name),
            };
            let mut topics = Vec::new();
            for (name, ros_type, is_latched) in TOPICS {
                if !outputs.iter().any(|wanted| wanted == name) {
                    continue;
                }
                let is_shared = OF_ALL.contains(&name);
                let mut ids = match is_shared {
                    true => Vec::new(),
                    false => vec![writer.add(&format!("{prefix}/{name}"), ros_type, is_latched)?],
                };
                if is_shared || cameras.len() > 1 && ["labels", "mask"].contains(&name) {
                    // With several cameras these two carry the results of all.
                    let common = match all_cameras.iter().find(|(known, _)| *known == name) {
                        Some((_, id)) => *id,
                        None => writer.add(&format!("/squeezenet/{name}"), ros_type, false)?,
                    };
                    all_cameras.push((name, common));
                    ids.push(common);
                }
                topics.push((name, ids));
            }
            made.push(CameraTopics { topics, is_announced: false, name: camera.name.clone() });
        }
        let copied = copied.iter().filter_map(|name| bag.topic(name));
        let copies: Vec<(String, TopicId)> = copied
            .map(|topic| Ok((topic.name.clone(), writer.add_copy(&with_definition(topic))?)))
            .collect::<anyhow::Result<_>>()?;
        let ground = ground_outputs(outputs);
        let tf = match copies.iter().find(|(name, _)| name == "/tf") {
            _ if !ground.any() => None,
            Some((_, id)) => Some(*id),
            None => Some(writer.add("/tf", TfMessage::TYPE, false)?),
        };
        Ok(Self {
            writer,
            cameras: made,
            copies,
            ground,
            tf,
            settings: settings.clone(),
            model: model.clone(),
            method: method.to_owned(),
        })
    }

    /// What the pipeline has to compute for the chosen outputs.
    pub fn wanted(&self) -> Outputs {
        let has = |name: &str| self.cameras.iter().any(|camera| !camera.ids(name).is_empty());
        let is_drawn = has("overlay") || has("overlay/compressed");
        Outputs {
            labels: has("labels") || is_drawn,
            mask: has("mask") || has("confidence") || has("points") || is_drawn,
            cost: has("traversability"),
            obstacles: has("obstacles") || is_drawn,
            embedding: has("embedding"),
            taught: false,
            places: false,
            ground: self.ground.any() || is_drawn,
            cells: false,
            picture: is_drawn,
        }
    }

    /// Whether frames are drawn.
    pub fn is_drawn(&self) -> bool {
        self.wanted().picture
    }

    /// What is wanted of the ground.
    pub fn ground(&self) -> GroundOutputs {
        self.ground
    }

    fn write_ground(
        &mut self,
        camera: usize,
        log_time: u64,
        made: &GroundMade,
    ) -> anyhow::Result<()> {
        for (name, bytes) in &made.messages {
            let ids = match *name {
                "tf" => self.tf.as_slice(),
                name => self.cameras[camera].ids(name),
            };
            for id in ids {
                self.writer.write(*id, log_time, log_time, bytes)?;
            }
        }
        Ok(())
    }

    /// Writes a message of the input as it is.
    ///
    /// # Errors
    /// What the file says.
    pub fn copy(&mut self, message: &Message) -> anyhow::Result<()> {
        if let Some((_, id)) = self.copies.iter().find(|(name, _)| **name == *message.topic) {
            self.writer.write(*id, message.log_time, message.publish_time, &message.payload)?;
        }
        Ok(())
    }

    /// Writes the results of a frame.
    ///
    /// # Errors
    /// What the file says.
    pub fn write(
        &mut self,
        camera: usize,
        header: Header<'_>,
        log_time: u64,
        result: &mut FrameResult,
        fault: Option<ImageFault>,
        ground: Option<&GroundMade>,
    ) -> anyhow::Result<()> {
        if let Some(made) = ground {
            self.write_ground(camera, log_time, made)?;
        }
        let picture = result.picture.take();
        let name = &self.cameras[camera].name;
        let settings = self.settings.cameras.get(name).cloned().unwrap_or_default();
        if !std::mem::replace(&mut self.cameras[camera].is_announced, true) {
            self.announce(camera, header, log_time, &settings)?;
        }
        if let Some(labels) = &result.labels {
            let indices: Vec<String> = labels.iter().map(|label| label.index.to_string()).collect();
            let hypotheses = labels.iter().zip(&indices).map(|(label, index)| Hypothesis {
                class_id: match settings.labels.class_id_format {
                    ClassIdFormat::Name => &label.name,
                    ClassIdFormat::Index => index,
                },
                score: f64::from(label.score),
            });
            let message = Classification { header, results: hypotheses.collect() };
            self.put(camera, "labels", log_time, &message)?;
        }
        if let Some(maps) = &result.maps {
            for (name, pixels) in [
                ("mask", maps.ids(settings.mask.kind)),
                ("confidence", &maps.confidence),
                ("traversability", &maps.cost),
            ] {
                if !pixels.is_empty() {
                    self.put(camera, name, log_time, &mono8(header, maps.size, pixels))?;
                }
            }
        }
        if let Some(obstacles) = &result.obstacles {
            let detection = |obstacle: &'_ crate::result::Obstacle| {
                let area = obstacle.bounding_box;
                (
                    [area.left + area.width / 2.0, area.top + area.height / 2.0],
                    [area.width, area.height],
                )
            };
            let detections = obstacles.iter().map(|obstacle| {
                let (center, size) = detection(obstacle);
                let score = f64::from(obstacle.score);
                Detection {
                    hypothesis: Hypothesis { class_id: &obstacle.class, score },
                    center,
                    size,
                }
            });
            let message = Detections { header, detections: detections.collect() };
            self.put(camera, "obstacles", log_time, &message)?;
        }
        if let Some(places) = &result.places {
            let hypotheses = places
                .iter()
                .map(|place| Hypothesis { class_id: &place.name, score: f64::from(place.score) });
            let message = Classification { header, results: hypotheses.collect() };
            self.put(camera, "place", log_time, &message)?;
        }
        if let Some(values) = &result.embedding {
            self.put(camera, "embedding", log_time, &FloatArray { label: "descriptor", values })?;
        }
        if let Some(picture) = picture {
            let model = self.model.clone();
            let layer = ground.and_then(|made| made.layer.as_ref());
            let drawn = Overlay {
                layers: layer.into_iter().map(|layer| layer as &dyn Layer).collect(),
                ..Overlay::of(
                    result,
                    &model.manifest,
                    settings.mask.kind,
                    self.settings.outputs.overlay_alpha,
                )
            };
            self.draw(camera, header, log_time, picture, &drawn)?;
        }
        self.write_timing(camera, log_time, result, fault)
    }

    fn write_timing(
        &mut self,
        camera: usize,
        log_time: u64,
        result: &FrameResult,
        fault: Option<ImageFault>,
    ) -> anyhow::Result<()> {
        let stages = result.times.stages().into_iter().chain([("total", result.times.total())]);
        let values = stages.map(|(name, time)| (name, format!("{:.3}", milliseconds(time))));
        let hardware_id = self.cameras[camera].name.clone();
        let state = fault.map(|fault| fault.state(HealthAction::Report)).unwrap_or_default();
        let values = values.chain([("state", state.name().to_owned())]);
        let values = values.chain(fault.map(|fault| ("image fault", fault.name().to_owned())));
        let message = Status {
            level: state.level(),
            name: "squeezenet: timing",
            message: "ms",
            hardware_id: &hardware_id,
            values: values.collect(),
        };
        self.put(camera, "timing", log_time, &message)
    }

    fn draw(
        &mut self,
        camera: usize,
        header: Header<'_>,
        log_time: u64,
        mut picture: Picture,
        drawn: &Overlay<'_>,
    ) -> anyhow::Result<()> {
        overlay::draw(&mut picture, drawn);
        let size = picture.size;
        let image =
            Image { encoding: "rgb8", step: 3 * size.width, ..mono8(header, size, &picture.rgb) };
        self.put(camera, "overlay", log_time, &image)?;
        if !self.cameras[camera].ids("overlay/compressed").is_empty() {
            let quality = self.settings.outputs.overlay_jpeg_quality;
            let data = &overlay::to_jpeg(&picture, quality).context("overlay")?;
            let message = CompressedImage { header, format: "jpeg", data };
            self.put(camera, "overlay/compressed", log_time, &message)?;
        }
        Ok(())
    }

    /// Tells once what the mask's ids mean and which model answers.
    fn announce(
        &mut self,
        camera: usize,
        header: Header<'_>,
        log_time: u64,
        settings: &crate::settings::CameraSettings,
    ) -> anyhow::Result<()> {
        let header = Header { frame_id: "", ..header };
        let (model, method) = (self.model.clone(), self.method.clone());
        let manifest = &model.manifest;
        // The manifest's name alone: where it stands on this machine would differ on the next.
        let location = model.path.file_name().unwrap_or_default().to_string_lossy();
        let info = VisionInfo {
            header,
            method: &method,
            database_location: &location,
            database_version: 1,
        };
        self.put(camera, "vision_info", log_time, &info)?;
        let Some(spec) = &manifest.segmentation else { return Ok(()) };
        let class_map = match settings.mask.kind {
            MaskKind::Semantic => {
                (0..).zip(spec.classes.iter().map(|class| class.name.as_str())).collect()
            }
            MaskKind::Traversability => {
                Traversability::ALL.iter().map(|t| (u16::from(t.id()), t.name())).collect()
            }
        };
        let info = LabelInfo { header, class_map, threshold: settings.mask.min_confidence };
        self.put(camera, "label_info", log_time, &info)
    }

    fn put(
        &mut self,
        camera: usize,
        name: &str,
        log_time: u64,
        message: &impl RosMessage,
    ) -> anyhow::Result<()> {
        let Self { writer, cameras, .. } = self;
        let ids = cameras[camera].ids(name);
        if ids.is_empty() {
            return Ok(());
        }
        let bytes = message.to_cdr();
        for id in ids {
            writer.write(*id, log_time, log_time, &bytes)?;
        }
        Ok(())
    }

    /// Closes the bag.
    ///
    /// # Errors
    /// What the file says.
    pub fn finish(self) -> anyhow::Result<()> {
        Ok(self.writer.finish()?)
    }
}

fn ground_outputs(outputs: &[String]) -> GroundOutputs {
    let has = |name: &str| outputs.iter().any(|output| output == name);
    GroundOutputs {
        scan: has("scan"),
        points: has("points"),
        obstacle_points: has("obstacle_points"),
        ground_points: has("ground_points"),
        local_map: has("local_map"),
    }
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
