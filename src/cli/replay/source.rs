//! The bag's side of a replay: messages are read on a thread of their own, while the network works
//! on the frames before.

use std::sync::mpsc::{Receiver, sync_channel};

use crate::bag::{Bag, BagError, FROM_ROS_1, Message, Selection};
use crate::cli::print::tell;
use crate::frame::{Frame, FrameError};
use crate::message::{CompressedImage, Header, Image, RosMessage, Stamp};
use crate::output::Output;
use crate::pipeline::PipelineError;

/// Frames that wait between the threads: one being filled, one being used, one between.
const AHEAD: usize = 2;

/// A topic of pictures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Camera {
    /// Its topic.
    pub topic: String,
    /// Its name among several, from the topic.
    pub name: String,
    /// Whether the topic carries `CompressedImage`.
    pub is_compressed: bool,
}

/// Which pictures are replayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    /// First log time, in nanoseconds.
    pub from: u64,
    /// Last log time, in nanoseconds.
    pub to: u64,
    /// Of each camera every so many-th frame, at least 1.
    pub every: u64,
    /// Frames in all.
    pub limit: u64,
    /// Whether the recording is copied: then what `every` leaves out is handed over too, and what was latched
    /// before `from` comes first.
    pub is_copied: bool,
}

/// What the reading thread hands over.
pub enum Item {
    /// A picture to be processed.
    Frame(QueuedFrame),
    /// A message of another topic.
    Other(Message),
    /// Something that was left out.
    Problem(BagError),
}

/// A picture's message.
pub struct QueuedFrame {
    /// Index of its camera.
    pub camera: usize,
    /// The message.
    pub message: Message,
}

/// Why a frame gave no result.
#[derive(Debug, thiserror::Error)]
pub enum FrameFailure {
    /// The message is no image message.
    #[error(transparent)]
    Cdr(#[from] crate::message::cdr::CdrError),
    /// The picture or the network.
    #[error(transparent)]
    Pipeline(#[from] PipelineError),
}

impl QueuedFrame {
    /// Stamp and frame of the picture.
    ///
    /// # Errors
    /// If the message is cut.
    pub fn header(&self, is_compressed: bool) -> Result<Header<'_>, FrameFailure> {
        let payload = &self.message.payload;
        Ok(if is_compressed {
            CompressedImage::read(payload)?.header
        } else {
            Image::read(payload)?.header
        })
    }

    /// The picture for the pipeline.
    ///
    /// # Errors
    /// What is wrong with message or picture.
    pub fn frame(&self, is_compressed: bool) -> Result<Frame<'_>, FrameFailure> {
        let payload = &self.message.payload;
        if is_compressed {
            let image = CompressedImage::read(payload)?;
            let frame = Frame::compressed(image.format, image.data);
            return Ok(frame.map_err(PipelineError::from)?);
        }
        let image = Image::read(payload)?.raw_image().map_err(PipelineError::from)?;
        Ok(Frame::Raw(image))
    }
}

/// The cameras of a bag: the named topics, or all that carry pictures, but for those of `others`
/// and for depth and its like, which are named.
///
/// # Errors
/// A topic that is not there or carries something else; a bag without pictures.
pub fn cameras(bag: &Bag, topics: &[String], others: &[&str]) -> anyhow::Result<Vec<Camera>> {
    let carries = |name: &str| -> anyhow::Result<bool> {
        let topic = bag.topic(name).ok_or_else(|| {
            let names: Vec<&str> = bag.topics().iter().map(|topic| topic.name.as_str()).collect();
            anyhow::anyhow!("no topic {name} in the bag; it has {}", names.join(", "))
        })?;
        match topic.ros_type.as_str() {
            Image::TYPE => Ok(false),
            CompressedImage::TYPE => Ok(true),
            other => anyhow::bail!("topic {name} carries {other}, no pictures"),
        }
    };
    let has_pictures = |ros_type: &str| [Image::TYPE, CompressedImage::TYPE].contains(&ros_type);
    let mut found = topics.to_vec();
    let mut reason = format!("no topic carries {} or {}", Image::TYPE, CompressedImage::TYPE);
    if topics.is_empty() {
        let all = bag.topics().iter().filter(|topic| has_pictures(&topic.ros_type));
        for topic in all.filter(|topic| !others.contains(&topic.name.as_str())) {
            if is_answer(&topic.name) {
                reason = format!("{} is an answer of this node", topic.name);
                tell(&format!("{} is left out: it is an answer of this node", topic.name));
                continue;
            }
            match measurements(bag, &topic.name, topic.ros_type == CompressedImage::TYPE) {
                None => found.push(topic.name.clone()),
                Some(encoding) => {
                    reason = format!("{} carries {encoding}, which is no picture", topic.name);
                    tell(&format!("{} is left out: {encoding} is no picture", topic.name));
                }
            }
        }
        if bag.topics().iter().any(|topic| topic.serialization == "ros1") {
            reason = FROM_ROS_1.to_owned();
        }
    }
    anyhow::ensure!(!found.is_empty(), "there are no pictures in the bag: {reason}");
    // A topic that is not there is a worse mistake than one without messages.
    for name in &found {
        carries(name)?;
    }
    let count: u64 = found.iter().filter_map(|name| bag.topic(name)).map(|topic| topic.count).sum();
    anyhow::ensure!(
        count > 0,
        "there are no pictures in the bag: {} {} no messages",
        found.join(", "),
        if found.len() == 1 { "has" } else { "have" }
    );
    for name in found.iter().filter(|name| bag.topic(name).is_some_and(|topic| topic.count == 0)) {
        tell(&format!("{name} has no messages"));
    }
    let mut cameras: Vec<Camera> = Vec::new();
    for topic in found {
        let is_compressed = carries(&topic)?;
        let mut name = camera_name(&topic);
        while cameras.iter().any(|camera| camera.name == name) {
            name.push('_');
        }
        cameras.push(Camera { topic, name, is_compressed });
    }
    Ok(cameras)
}

/// Whether a topic is one that the node by its usual name publishes, of one or of several cameras.
fn is_answer(topic: &str) -> bool {
    topic.rsplit_once("/squeezenet/").is_some_and(|(_, name)| {
        let of_camera = name.split_once('/').map(|(_, name)| name);
        Output::ALL.iter().any(|output| output.name() == name || Some(output.name()) == of_camera)
    })
}

/// The encoding of a topic that carries depth or its like, by its first message.
fn measurements(bag: &Bag, topic: &str, is_compressed: bool) -> Option<String> {
    let mut messages = bag.messages(&Selection::topics([topic])).ok()?;
    let first = messages.find_map(Result::ok)?;
    let refused = if is_compressed {
        Frame::compressed(CompressedImage::read(&first.payload).ok()?.format, &[]).err()
    } else {
        Image::read(&first.payload).ok()?.raw_image().err()
    };
    match refused {
        Some(FrameError::Measurements(encoding)) => Some(encoding),
        _ => None,
    }
}

/// `/front/image_raw/compressed` is the camera `front`; `/pictures` is `pictures`.
fn camera_name(topic: &str) -> String {
    let parts: Vec<&str> = topic.split('/').filter(|part| !part.is_empty()).collect();
    let known = |part: &&&str| !part.starts_with("image") && **part != "compressed";
    parts.iter().rev().find(known).or(parts.last()).unwrap_or(&"camera").to_string()
}

/// Reads the bag on its own thread. The channel is bounded: a fast reader waits. It closes at the
/// end of the bag, and the thread ends when the receiver is gone.
///
/// # Errors
/// If a file cannot be opened again.
pub fn read(
    bag: &Bag,
    cameras: &[Camera],
    others: &[String],
    choice: Choice,
) -> Result<Receiver<Item>, BagError> {
    let topics = cameras.iter().map(|camera| &camera.topic).chain(others).cloned();
    let selection = Selection { from: choice.from, to: choice.to, ..Selection::topics(topics) };
    let mut messages = bag.messages(&selection)?;
    let is_later_part = bag.span().is_some_and(|(start, _)| start < choice.from);
    let latched = if choice.is_copied && is_later_part {
        let topics = bag.topics().iter().filter(|topic| topic.is_latched());
        let wanted = topics.map(|topic| &topic.name).filter(|name| others.contains(name));
        let before = Selection { to: choice.from - 1, ..Selection::topics(wanted) };
        Some(bag.messages(&before)?)
    } else {
        None
    };
    let cameras = cameras.to_vec();
    let (sender, receiver) = sync_channel(AHEAD);
    std::thread::spawn(move || {
        for message in latched.into_iter().flatten() {
            let item = message.map_or_else(Item::Problem, |message| {
                Item::Other(Message { log_time: choice.from, ..message })
            });
            if sender.send(item).is_err() {
                return;
            }
        }
        let mut seen = vec![0; cameras.len()];
        let mut frames = 0;
        while frames < choice.limit {
            let Some(message) = messages.next() else { break };
            let item = match message {
                Err(problem) => Item::Problem(problem),
                Ok(message) => {
                    match cameras.iter().position(|camera| *camera.topic == *message.topic) {
                        None => Item::Other(message),
                        Some(camera) => {
                            seen[camera] += 1;
                            if u64::is_multiple_of(seen[camera] - 1, choice.every) {
                                frames += 1;
                                Item::Frame(QueuedFrame { camera, message })
                            } else if choice.is_copied {
                                Item::Other(message)
                            } else {
                                continue;
                            }
                        }
                    }
                }
            };
            if sender.send(item).is_err() {
                break;
            }
        }
    });
    Ok(receiver)
}

/// A stamp in nanoseconds as a key to find what belongs together.
pub fn key(stamp: Stamp) -> i64 {
    stamp.nanoseconds()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cameras_are_named_after_their_topics() {
        let check = |topic, name| assert_eq!(camera_name(topic), name);
        check("/front/image_raw", "front");
        check("/robot/rear/image_rect_color/compressed", "rear");
        check("/pictures", "pictures");
        check("/image", "image");
    }
}
