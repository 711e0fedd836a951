//! The ground of a replay: the bag's own calibration, tf and odometry, read a little ahead of the
//! pictures, and the messages that the node would have published.

use std::collections::{BTreeMap, VecDeque};
use std::iter::Peekable;
use std::sync::Arc;

use super::output::Made;
use super::source::Camera;
use crate::bag::{Bag, BagError, Message, Messages, Selection};
use crate::cli::absolute;
use crate::geometry::Size;
use crate::ground::tf_buffer::TfBuffer;
use crate::ground::{CameraInfo, Reason};
use crate::ground_messages::{
    CameraFrame, GroundMessages, Taken, camera_info_topic, without_numbers,
};
use crate::message::cdr::CdrError;
use crate::message::{
    CAMERA_INFO_TYPE, Header, RosMessage, Stamp, TfMessage, TransformStamped, read_camera_info,
};
use crate::output::{OutputSet, Sink};
use crate::overlay::GroundLayer;
use crate::result::FrameResult;
use crate::settings::{CameraSettings, Settings};

/// How far tf is read ahead of a picture: what arrives later, the node would not have waited for.
const AHEAD_NS: u64 = 1_000_000_000;

/// What the ground is made from, followed along the bag.
pub struct Ground {
    messages: GroundMessages,
    reader: Peekable<Messages>,
    tf: TfBuffer,
    settings: Settings,
    cameras: Vec<GroundCamera>,
    /// Calibrations that were read ahead with tf, and hold from their own time on.
    waiting: VecDeque<Message>,
    /// Why frames had no ground, or less than half of it, without the numbers in it, and of how many.
    pub missing: BTreeMap<String, u64>,
}

struct GroundCamera {
    own: CameraSettings,
    info_topic: String,
    info: Option<Arc<CameraInfo>>,
}

impl GroundCamera {
    fn frame<'a>(
        &'a self,
        (camera, header, now): (usize, Header<'a>, Stamp),
        image_size: Size,
        settings: &'a Settings,
    ) -> CameraFrame<'a> {
        let Self { own, info, .. } = self;
        let (info, image_topic) = (info.as_ref(), own.image_topic.as_str());
        CameraFrame { camera, header, info, image_size, now, image_topic, settings, own }
    }
}

impl Ground {
    /// Opens the bag a second time, from its start: static transforms stand there.
    ///
    /// # Errors
    /// If a file cannot be opened again.
    pub fn open(bag: &Bag, cameras: &[Camera], settings: &Settings) -> Result<Self, BagError> {
        let cameras: Vec<GroundCamera> = cameras
            .iter()
            .map(|camera| {
                let own = settings.cameras.get(&camera.name).cloned().unwrap_or_default();
                let mut own = CameraSettings { image_topic: camera.topic.clone(), ..own };
                let info_topic = absolute(&camera_info_topic(&own, &own.image_topic));
                own.ground.camera_info_topic.clone_from(&info_topic);
                GroundCamera { info_topic, own, info: None }
            })
            .collect();
        let infos = cameras.iter().map(|camera| camera.info_topic.clone());
        let topics = ["/tf", "/tf_static"].map(str::to_owned).into_iter().chain(infos);
        let usable = |name: &String| {
            bag.topic(name).is_some_and(|topic| {
                [TfMessage::TYPE, CAMERA_INFO_TYPE].contains(&topic.ros_type.as_str())
            })
        };
        let reader = bag.messages(&Selection::topics(topics.filter(usable)))?.peekable();
        Ok(Self {
            messages: GroundMessages::default(),
            reader,
            tf: TfBuffer::default(),
            settings: settings.clone(),
            cameras,
            waiting: VecDeque::new(),
            missing: BTreeMap::new(),
        })
    }

    /// Takes what the bag says up to a picture's log time, of tf up to a second after it; gives what cannot be
    /// read.
    pub fn follow(&mut self, log_time: u64) -> Vec<String> {
        let until = log_time.saturating_add(AHEAD_NS);
        let mut problems = Vec::new();
        // A broken part of the file is told by the reader of the pictures.
        let is_due = |next: &Result<Message, BagError>| {
            next.as_ref().map_or(true, |message| message.log_time <= until)
        };
        while let Some(next) = self.reader.next_if(is_due) {
            let Ok(message) = next else { continue };
            if !is_tf(&message) {
                self.waiting.push_back(message);
            } else if let Err(error) = self.take(&message) {
                problems.push(format!("{}: {error}", message.topic));
            }
        }
        while self.waiting.front().is_some_and(|next| next.log_time <= log_time)
            && let Some(message) = self.waiting.pop_front()
        {
            if let Err(error) = self.take(&message) {
                problems.push(format!("{}: {error}", message.topic));
            }
        }
        problems
    }

    fn take(&mut self, message: &Message) -> Result<(), CdrError> {
        if is_tf(message) {
            let is_static = &*message.topic == "/tf_static";
            for TransformStamped { header, child_frame_id, transform } in
                TfMessage::read(&message.payload)?.transforms
            {
                let stamp_ns = header.stamp.nanoseconds();
                if let Some(transform) = transform {
                    let parent = header.frame_id;
                    self.tf.insert(parent, child_frame_id, stamp_ns, transform, is_static);
                }
            }
            return Ok(());
        }
        let info = Arc::new(read_camera_info(&message.payload)?);
        let own = self.cameras.iter_mut().filter(|camera| camera.info_topic == *message.topic);
        own.for_each(|camera| camera.info = Some(info.clone()));
        Ok(())
    }

    /// Where a frame was taken, in the frame `odom`.
    ///
    /// # Errors
    /// Why that is not known.
    pub fn taken(
        &mut self,
        camera: usize,
        header: Header<'_>,
        result: &FrameResult,
        odom: &str,
    ) -> Result<Taken, Reason> {
        let own = &self.cameras[camera];
        let frame = own.frame((camera, header, header.stamp), result.image_size, &self.settings);
        self.messages.taken(&frame, &self.tf, odom)
    }

    /// Makes the messages of a frame, and what the overlay shows of it; why there are none is counted.
    pub fn make(
        &mut self,
        camera: usize,
        header: Header<'_>,
        log_time: u64,
        result: &FrameResult,
        made: &mut Made,
    ) {
        let now = Stamp::from_nanoseconds(log_time);
        let own = &self.cameras[camera];
        let frame = own.frame((camera, header, now), result.image_size, &self.settings);
        let said = self.messages.make(&frame, result, &self.tf, made);
        made.layer = self.messages.last(camera).map(|(table, walk)| GroundLayer::new(table, walk));
        // The overlay alone does without.
        let words =
            said.map_or_else(|reason| Some(reason.to_string()), |_| self.messages.doubt(camera));
        if let Some(words) = words
            && made.wanted().has_any(OutputSet::GROUND)
        {
            let first = words.split([':', ';']).next().unwrap_or_default();
            *self.missing.entry(without_numbers(first)).or_default() += 1;
        }
    }
}

fn is_tf(message: &Message) -> bool {
    ["/tf", "/tf_static"].contains(&&*message.topic)
}
