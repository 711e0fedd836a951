//! The ground in the node: which cameras' is wanted, what is published of it, and why there is none, said
//! once.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use r2r::tf2_msgs::msg::TFMessage;
use r2r::{Clock, Publisher};

use super::consumer::{Answered, Consumer};
use super::output::{CameraOutputs, now, wire_header, wire_stamp};
use super::tf::{self, TfSlot};
use crate::ground::{CameraInfo, Reason};
use crate::ground_messages::{CameraFrame, GroundMessages, GroundSink, is_same_but_for_numbers};
use crate::image_health::ImageFault;
use crate::lock::lock;
use crate::message::{RosMessage, TransformStamped};
use crate::output::{Output, OutputSet, Sink};
use crate::overlay::GroundLayer;
use crate::result::{FrameResult, Wanted};

/// A reason that is over sooner is not logged: calibration and tf come a moment after they are
/// subscribed to.
const PATIENCE: Duration = Duration::from_secs(2);

/// What is known of a camera's ground. Written by the task that follows its calibration and by the
/// inference thread.
#[derive(Debug, Default)]
pub struct GroundState {
    is_wanted: AtomicBool,
    info: Mutex<Option<Arc<CameraInfo>>>,
    /// The pictures' topic, remapped.
    image_topic: Mutex<Option<Arc<str>>>,
    said: Mutex<Said>,
}

#[derive(Debug, Default)]
struct Said {
    /// What holds of the last frame: facts, or why there is no ground.
    last: Option<Result<String, String>>,
    /// Since when it is another than what was logged.
    since: Option<Instant>,
    logged: String,
    /// Since when the ground is doubted, and whether that was logged.
    doubted: Option<(Instant, bool)>,
}

impl GroundState {
    /// Whether somebody listens to the ground's outputs.
    pub fn is_wanted(&self) -> bool {
        self.is_wanted.load(Relaxed)
    }

    /// Takes the camera's calibration, or that there is none any more.
    pub fn set_info(&self, info: Option<CameraInfo>) {
        *lock(&self.info) = info.map(Arc::new);
    }

    /// Takes the name of the pictures' topic after remapping.
    pub fn set_image_topic(&self, topic: &str) {
        *lock(&self.image_topic) = Some(topic.into());
    }

    /// The name of the pictures' topic after remapping; `None` before the first subscription.
    pub fn image_topic(&self) -> Option<Arc<str>> {
        lock(&self.image_topic).clone()
    }

    /// Facts about the last frame's ground, or why there was none; `None` while nobody asks.
    pub fn last(&self) -> Option<Result<String, String>> {
        self.said().last.clone()
    }

    /// The camera's calibration, if it is known.
    pub fn info(&self) -> Option<Arc<CameraInfo>> {
        lock(&self.info).clone()
    }

    fn said(&self) -> MutexGuard<'_, Said> {
        lock(&self.said)
    }

    fn say(&self, prefix: &str, now: Result<String, String>, doubt: Option<String>) {
        let mut said = self.said();
        let (Ok(words) | Err(words)) = &now;
        // The first facts at once; what changes from frame to frame is no news.
        let is_first = now.is_ok() && said.logged.is_empty();
        if is_same_but_for_numbers(&said.logged, words) {
            said.since = None;
        } else if is_first || said.since.get_or_insert_with(Instant::now).elapsed() >= PATIENCE {
            match &now {
                Ok(facts) => tracing::info!("{prefix}ground: {facts}"),
                Err(reason) => tracing::warn!("{prefix}no ground: {reason}"),
            }
            said.logged.clone_from(words);
            said.since = None;
        }
        let Some(doubt) = doubt else {
            (said.last, said.doubted) = (Some(now), None);
            return;
        };
        let (since, is_logged) = said.doubted.get_or_insert_with(|| (Instant::now(), false));
        if !*is_logged && since.elapsed() >= PATIENCE {
            tracing::warn!("{prefix}ground: {doubt}");
            *is_logged = true;
        }
        said.last = Some(now.map(|facts| format!("{facts}; {doubt}")));
    }
}

/// The ground of all cameras; owned by the inference thread.
pub struct Grounds {
    tf: Arc<TfSlot>,
    broadcaster: Publisher<TFMessage>,
    messages: GroundMessages,
    clock: Arc<Mutex<Clock>>,
}

impl Grounds {
    /// None yet. `broadcaster` publishes on `/tf`.
    pub fn new(
        tf: Arc<TfSlot>,
        broadcaster: Publisher<TFMessage>,
        clock: Arc<Mutex<Clock>>,
    ) -> Self {
        Self { tf, broadcaster, messages: GroundMessages::default(), clock }
    }

    /// Gives the publisher back, for it to be destroyed.
    pub fn into_broadcaster(self) -> Publisher<TFMessage> {
        self.broadcaster
    }

    /// What the overlay shows of the ground of the last frame.
    pub fn layer(&self, id: usize) -> Option<GroundLayer> {
        self.messages.last(id).map(|(table, walk)| GroundLayer::new(table, walk))
    }
}

impl Consumer for Grounds {
    fn remove_camera(&mut self, id: usize) {
        self.messages.remove_camera(id);
    }

    /// Has calibration and tf subscribed, if the camera's ground is wanted, be it only for the overlay.
    fn add_wanted(&mut self, frame: &Answered<'_>, heard: OutputSet, wanted: &mut Wanted) {
        let state = &frame.camera.ground;
        let is_wanted = wanted.ground || wanted.cells;
        state.is_wanted.store(is_wanted, Relaxed);
        if is_wanted {
            self.tf.want();
        }
        if !heard.has_any(OutputSet::GROUND) {
            *state.said() = Said::default();
        }
    }

    /// Makes and publishes what somebody listens to.
    fn consume(
        &mut self,
        frame: &Answered<'_>,
        wanted: Wanted,
        _: Option<ImageFault>,
        result: &mut FrameResult,
        outputs: &mut CameraOutputs,
    ) {
        if !wanted.ground {
            // Nobody listens, or a model runs that has no mask, of which the worker tells.
            *frame.camera.ground.said() = Said::default();
            return;
        }
        let Answered { id, camera, header, settings, own } = *frame;
        let (info, topic) = (camera.ground.info(), camera.ground.image_topic());
        let frame = CameraFrame {
            camera: id,
            header: wire_header(header),
            info: info.as_ref(),
            image_size: result.image_size,
            now: wire_stamp(&now(&self.clock)),
            image_topic: topic.as_deref().unwrap_or(&own.image_topic),
            settings,
            own,
        };
        let mut sink = GroundPublishers { outputs, broadcaster: &self.broadcaster };
        let said = self.messages.make(&frame, result, &*self.tf, &mut sink);
        match &said {
            Err(Reason::NoGroundFrame { .. }) => self.tf.note_missing(),
            Err(Reason::NoTransform(error)) if !error.is_of_time() => self.tf.note_missing(),
            _ => {}
        }
        // The overlay alone does without, and says nothing of it.
        if outputs.wanted().has_any(OutputSet::GROUND) {
            let doubt = self.messages.doubt(id);
            camera.ground.say(&camera.prefix(), said.map_err(|reason| reason.to_string()), doubt);
        }
    }
}

/// The publishers of a camera, and that of tf.
struct GroundPublishers<'a> {
    outputs: &'a mut CameraOutputs,
    broadcaster: &'a Publisher<TFMessage>,
}

impl Sink for GroundPublishers<'_> {
    fn wanted(&self) -> OutputSet {
        self.outputs.wanted()
    }

    fn put(&mut self, output: Output, message: &impl RosMessage) {
        self.outputs.put(output, message);
    }
}

impl GroundSink for GroundPublishers<'_> {
    fn transforms(&mut self, transforms: [TransformStamped<'_>; 2]) {
        let transforms = transforms.iter().map(tf::to_message).collect();
        if let Err(error) = self.broadcaster.publish(&TFMessage { transforms }) {
            tracing::warn!("/tf: a transform was not published: {error}");
        }
    }
}
