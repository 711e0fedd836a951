//! What the node would have published, written to a bag under the stamps of the input.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;

use super::super::print::tell;
use super::definitions::with_definition;
use super::source::Camera;
use crate::bag::writer::{BagWriter, TopicId};
use crate::bag::{Message, Topic};
use crate::ground_messages::GroundSink;
use crate::image_health::ImageFault;
use crate::manifest::Model;
use crate::message::{Header, RosMessage, TfMessage, TransformStamped};
use crate::output::{self, Output, OutputSet, Sink, Spec, Timing, Topics};
use crate::overlay::{self, GroundLayer, Layer, Overlay};
use crate::result::FrameResult;
use crate::settings::{MaskSettings, OutputSettings, Settings};

/// The outputs that `--outputs` names. Where the robot is, is not among them: a replay's gallery has no poses.
pub fn known() -> impl Iterator<Item = Output> {
    Output::ALL.into_iter().filter(|output| *output != Output::PlacePose)
}

/// The outputs of these names.
///
/// # Errors
/// One that is not known.
pub fn named<'a>(names: impl Iterator<Item = &'a str>) -> anyhow::Result<OutputSet> {
    let find = |name: &str| {
        known().find(|output| output.name() == name).ok_or_else(|| {
            let names: Vec<&str> = known().map(Output::name).collect();
            anyhow::anyhow!("no output {name:?}; known are {}", names.join(", "))
        })
    };
    names.map(find).collect()
}

/// The bag being written.
pub struct OutputBag {
    writer: BagWriter,
    cameras: Vec<CameraTopics>,
    copies: Vec<(String, TopicId)>,
    wanted: OutputSet,
    /// Where the frames of the ground go.
    tf: Option<TopicId>,
    settings: Settings,
    model: Arc<Model>,
    method: String,
}

struct CameraTopics {
    topics: Vec<(Output, TopicId)>,
    is_announced: bool,
    name: String,
}

/// The messages of a frame, and what is drawn of its ground.
pub struct Made {
    wanted: OutputSet,
    /// The ground's own frame, as a message of `/tf`.
    tf: Option<Vec<u8>>,
    /// As CDR.
    messages: Vec<(Output, Vec<u8>)>,
    /// What the overlay shows of the ground.
    pub layer: Option<GroundLayer>,
}

impl Sink for Made {
    fn wanted(&self) -> OutputSet {
        self.wanted
    }

    fn put(&mut self, output: Output, message: &impl RosMessage) {
        self.messages.push((output, message.to_cdr()));
    }
}

impl GroundSink for Made {
    fn transforms(&mut self, transforms: [TransformStamped<'_>; 2]) {
        self.tf = Some(TfMessage { transforms: transforms.into() }.to_cdr());
    }
}

impl OutputBag {
    /// Creates the bag with the `wanted` outputs of each camera; `copied` topics of the recording go along, but for
    /// those that are written anew, which it says.
    /// `method` is the model's name with the precision that it runs in.
    ///
    /// # Errors
    /// What the file says.
    pub fn create(
        path: &Path,
        cameras: &[Camera],
        wanted: OutputSet,
        copied: &[Topic],
        settings: &Settings,
        (model, method): (&Arc<Model>, &str),
    ) -> anyhow::Result<Self> {
        let mut writer = BagWriter::create(path)?;
        let mut commons: Vec<(Output, TopicId)> = Vec::new();
        let mut made = Vec::new();
        for camera in cameras {
            let prefix = match cameras.len() {
                1 => "/squeezenet".to_owned(),
                _ => format!("/squeezenet/{}", camera.name),
            };
            let mut topics = Vec::new();
            for output in known().filter(|output| wanted.has(*output)) {
                let Spec { name, ros_type, topics: whose, is_latched, .. } = output.spec();
                if whose != Topics::Common {
                    let id = writer.add(&format!("{prefix}/{name}"), ros_type, is_latched)?;
                    topics.push((output, id));
                }
                if whose == Topics::Common || whose == Topics::OwnAndCommon && cameras.len() > 1 {
                    let before = commons.iter().find(|(common, _)| *common == output).copied();
                    let common = match before {
                        Some(common) => common,
                        None => {
                            let topic = format!("/squeezenet/{name}");
                            let common = (output, writer.add(&topic, ros_type, is_latched)?);
                            commons.push(common);
                            common
                        }
                    };
                    topics.push(common);
                }
            }
            made.push(CameraTopics { topics, is_announced: false, name: camera.name.clone() });
        }
        let (replaced, copied): (Vec<&Topic>, Vec<&Topic>) =
            copied.iter().partition(|topic| writer.has(&topic.name));
        if !replaced.is_empty() {
            let names: Vec<&str> = replaced.iter().map(|topic| topic.name.as_str()).collect();
            tell(&format!("--copy: answered anew, and not copied: {}", names.join(", ")));
        }
        let copies: Vec<(String, TopicId)> = copied
            .into_iter()
            .map(|topic| Ok((topic.name.clone(), writer.add_copy(&with_definition(topic))?)))
            .collect::<anyhow::Result<_>>()?;
        let tf = match copies.iter().find(|(name, _)| name == "/tf") {
            _ if !wanted.has_any(OutputSet::GROUND) => None,
            Some((_, id)) => Some(*id),
            None => Some(writer.add("/tf", TfMessage::TYPE, false)?),
        };
        Ok(Self {
            writer,
            cameras: made,
            copies,
            wanted,
            tf,
            settings: settings.clone(),
            model: model.clone(),
            method: method.to_owned(),
        })
    }

    /// For the messages of a frame.
    pub fn begin(&self) -> Made {
        Made { wanted: self.wanted, tf: None, messages: Vec::new(), layer: None }
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
        mut made: Made,
    ) -> anyhow::Result<()> {
        let CameraTopics { is_announced, name, .. } = &mut self.cameras[camera];
        let settings = self.settings.cameras.get(name).cloned().unwrap_or_default();
        let manifest = &self.model.manifest;
        if !std::mem::replace(is_announced, true) {
            // The manifest's name alone: where it stands on this machine would differ on the next.
            let location = self.model.path.file_name().unwrap_or_default().to_string_lossy();
            let version = (self.method.as_str(), &*location, 1);
            output::put_vision_info(&mut made, header.stamp, version);
            let MaskSettings { kind, min_confidence, .. } = settings.mask;
            if let Some(class_map) = output::class_map(manifest, kind) {
                output::put_label_info(&mut made, header.stamp, class_map, min_confidence);
            }
        }
        let (picture, layer) = (result.picture.take(), made.layer.take());
        output::put_result(&mut made, header, result, &settings);
        if let Some(mut picture) = picture {
            let OutputSettings { overlay_alpha, overlay_jpeg_quality, .. } = self.settings.outputs;
            let drawn = Overlay {
                layers: layer.iter().map(|layer| layer as &dyn Layer).collect(),
                ..Overlay::of(result, manifest, settings.mask.kind, overlay_alpha)
            };
            overlay::draw(&mut picture, &drawn);
            output::put_overlay(&mut made, header, &picture, overlay_jpeg_quality)
                .context("overlay")?;
        }
        output::put_timing(
            &mut made,
            &Timing {
                camera: name,
                times: &result.times,
                age_ms: None,
                state: fault.map(|fault| fault.state(settings.health.action)).unwrap_or_default(),
                fault,
                stamp: None,
            },
        );
        if let (Some(id), Some(bytes)) = (self.tf, &made.tf) {
            self.writer.write(id, log_time, log_time, bytes)?;
        }
        for (output, bytes) in &made.messages {
            let topics = self.cameras[camera].topics.iter().filter(|(of, _)| of == output);
            for (_, id) in topics {
                self.writer.write(*id, log_time, log_time, bytes)?;
            }
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
