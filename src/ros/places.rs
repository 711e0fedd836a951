//! Places and the user's own labels, taught and recognised while frames flow.
//!
//! ```text
//! requests --Request--> Places --Task--> file
//!        bounded queue  owns the recognizer
//! ```
//! [`Places`] lives on the inference thread, which asks it once a turn for what came in and once a
//! frame for what to learn and to recognise.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;

use super::consumer::{Answered, Consumer};
use super::diagnostics::{CameraState, Report};
use super::output::{CameraOutputs, wire_stamp};
use super::place_file::{Event, PlaceFile};
use super::place_requests::{MOST_WAITING, PATIENCE, Request};
use super::pose::PoseSlot;
use crate::image_health::ImageFault;
use crate::manifest::Model;
use crate::output::{self, OutputSet};
use crate::overlay;
use crate::place::{Kind, Memory, Motion, PlaceRecognizer, TeachOutcome, View};
use crate::pose::PoseEstimate;
use crate::result::{FrameResult, Wanted};

/// A pose older than this is said to be old.
const OLD_POSE: Duration = Duration::from_secs(10);

/// A view that is to be taught as soon as each of these cameras has a frame.
#[derive(Debug)]
struct Pending {
    kind: Kind,
    name: String,
    since: Instant,
    cameras: BTreeSet<usize>,
}

/// A camera that may be taught and may recognise.
struct Watching {
    state: Arc<CameraState>,
    /// The place that was told last.
    announced: Option<String>,
}

/// Everything that is taught and recognised, on the inference thread.
pub struct Places {
    /// None while the file is read, or where the model has no descriptors.
    recognizer: Option<PlaceRecognizer>,
    has_descriptors: bool,
    has_labels: bool,
    /// What times of looks are counted from.
    start: Instant,
    model: String,
    class_count: usize,
    cameras: BTreeMap<usize, Watching>,
    requests: Receiver<Request>,
    pending: Vec<Pending>,
    file: PlaceFile,
    is_dirty: bool,
    is_writing: bool,
    /// Whether the last writing failed: it is tried again with the next lesson, and at the end.
    has_failed: bool,
    warning: Option<String>,
    /// Whether the file must not be written over.
    is_unusable: bool,
    /// Whether another keeps the file: nothing is taught then, since it would be lost.
    is_held: bool,
    pose: PoseSlot,
    last_lesson: Option<String>,
    report: Arc<ArcSwap<Report>>,
}

impl Places {
    /// For a node whose requests come through [`serve`](super::place_requests::serve).
    pub fn new(
        requests: Receiver<Request>,
        file: PlaceFile,
        pose: PoseSlot,
        report: Arc<ArcSwap<Report>>,
    ) -> Self {
        Self {
            recognizer: None,
            has_descriptors: false,
            has_labels: false,
            start: Instant::now(),
            model: String::new(),
            class_count: 0,
            cameras: BTreeMap::new(),
            requests,
            pending: Vec::new(),
            file,
            is_dirty: false,
            is_writing: false,
            has_failed: false,
            warning: None,
            is_unusable: false,
            is_held: false,
            pose,
            last_lesson: None,
            report,
        }
    }

    /// Does what users have asked for and takes what came of the file's tasks.
    pub fn turn(&mut self) {
        let mut has_news = false;
        while let Some(event) = self.file.event() {
            has_news = true;
            self.take_event(event);
        }
        while let Ok(request) = self.requests.try_recv() {
            has_news = true;
            self.take_request(request);
        }
        self.give_up_lessons();
        self.save_changes();
        if has_news {
            self.tell();
        }
    }

    fn take_event(&mut self, event: Event) {
        match event {
            Event::Opened(memory, told) => {
                if let Some(told) = &told {
                    tracing::warn!("{told}");
                }
                tracing::info!("{}: {}", self.file.path().display(), memory.summary());
                self.warning = told;
                self.is_unusable = false;
                self.is_held = false;
                self.keep(*memory);
            }
            Event::Held(memory, reason) => {
                if self.warning.as_ref() != Some(&reason) {
                    tracing::error!("{reason}. Its places are recognised, nothing can be taught");
                }
                self.warning = Some(reason);
                self.is_unusable = true;
                self.is_held = true;
                self.keep(*memory);
            }
            Event::Unusable(memory, reason) => {
                tracing::error!("{reason}: what is taught from now on is not saved");
                self.warning = Some(format!("{reason}: what is taught is not saved"));
                self.is_unusable = true;
                self.keep(*memory);
            }
            Event::Written(result) => {
                self.is_writing = false;
                self.has_failed = result.is_err();
                match result {
                    Ok(()) => self.warning = None,
                    Err(reason) => {
                        self.is_dirty = false;
                        self.warning = Some(format!("what was taught is not saved: {reason}"));
                    }
                }
            }
        }
    }

    fn keep(&mut self, memory: Memory) {
        self.recognizer = Some(PlaceRecognizer::new(memory, Motion::Anywhere));
    }

    fn take_request(&mut self, request: Request) {
        if self.is_held {
            return self.refuse_while_held(request);
        }
        match request {
            Request::Learn(kind, name) => self.ask_lesson(kind, name),
            Request::Forget(kind, name) => {
                let Some(recognizer) = &mut self.recognizer else {
                    return tracing::warn!("{kind} {name} is not forgotten: {}", self.why_not());
                };
                match recognizer.change(kind, |gallery| gallery.forget(&name)) {
                    0 => tracing::warn!("there is no {kind} {name} to forget"),
                    views => {
                        tracing::info!("{kind} {name} is forgotten, {views} views");
                        self.is_dirty = true;
                    }
                }
            }
            Request::Clear(kind, reply) => {
                let result = match &mut self.recognizer {
                    Some(recognizer) => {
                        let views = recognizer.change(kind, |gallery| {
                            let views = gallery.views().len();
                            gallery.clear();
                            views
                        });
                        self.is_dirty = true;
                        tracing::info!("every {kind} is forgotten, {views} views");
                        Ok(format!("{views} views forgotten"))
                    }
                    None => Err(self.why_not()),
                };
                // Who asked may have gone.
                let _ = reply.send(result);
            }
            Request::Save(reply) => match &self.recognizer {
                Some(recognizer) if !self.is_unusable => {
                    if self.file.write_and_tell(recognizer.memory().clone(), reply) {
                        self.is_dirty = false;
                        self.is_writing = true;
                    }
                }
                _ => drop(reply.send(Err(self.why_not()))),
            },
        }
    }

    /// Another keeps the file. Perhaps no longer: the next request may find it free.
    fn refuse_while_held(&mut self, request: Request) {
        let why = self.why_not();
        if let Some(recognizer) = &self.recognizer {
            let memory = recognizer.memory();
            let (places, labels) = (memory.places.dimensions(), memory.labels.dimensions());
            self.file.open(Memory::new(memory.owner.clone(), places, labels));
        }
        match request {
            Request::Learn(kind, name) => tracing::error!("{kind} {name} is not learnt: {why}"),
            Request::Forget(kind, name) => tracing::error!("{kind} {name} is not forgotten: {why}"),
            // Who asked may have gone.
            Request::Clear(_, reply) | Request::Save(reply) => drop(reply.send(Err(why))),
        }
    }

    fn why_not(&self) -> String {
        match &self.warning {
            Some(warning) if self.is_unusable => warning.clone(),
            _ if self.has_descriptors => "the file is being read, try again".to_owned(),
            _ => format!("model {} has no descriptors, so it knows no places", self.model),
        }
    }

    fn ask_lesson(&mut self, kind: Kind, name: String) {
        if !self.has_descriptors {
            return tracing::warn!("{kind} {name} is not learnt: {}", self.why_not());
        }
        if kind == Kind::Label && !self.has_labels {
            return tracing::warn!(
                "{kind} {name} is not learnt: model {} has no labels, among which it would be published",
                self.model
            );
        }
        if self.pending.len() >= MOST_WAITING {
            return tracing::warn!(
                "{kind} {name} is not learnt: {MOST_WAITING} others wait for a frame already"
            );
        }
        let cameras = self.cameras.keys().copied().collect();
        self.pending.push(Pending { kind, name, since: Instant::now(), cameras });
    }

    fn give_up_lessons(&mut self) {
        let cameras = &self.cameras;
        self.pending.retain(|lesson| {
            let goes_on = lesson.since.elapsed() < PATIENCE;
            if !goes_on {
                let Pending { kind, name, .. } = lesson;
                for camera in lesson.cameras.iter().filter_map(|camera| cameras.get(camera)) {
                    let prefix = camera.state.prefix();
                    tracing::warn!(
                        "{prefix}{kind} {name} is not learnt: no frame came in {PATIENCE:.0?}"
                    );
                }
            }
            goes_on
        });
    }

    /// Has changes written as soon as those before are.
    fn save_changes(&mut self) {
        if let (Some(recognizer), true) = (&self.recognizer, self.is_dirty)
            && !self.is_writing
            && !self.is_unusable
            && self.file.write(recognizer.memory().clone())
        {
            self.is_dirty = false;
            self.is_writing = true;
        }
    }

    /// Learns from a camera's frame what was asked for, and adds to its result what it is taken
    /// for: places, where subscribers want them, and taught labels. Gives where the robot is.
    fn recognise(
        &mut self,
        frame: &Answered<'_>,
        result: &mut FrameResult,
        wanted: Wanted,
    ) -> Option<PoseEstimate> {
        let camera = frame.id;
        if self.pending.iter().any(|lesson| lesson.cameras.contains(&camera)) {
            self.learn(frame, result);
        }
        let recognizer = self.recognizer.as_mut()?;
        if let (Some(own), Some(vector)) = (&mut result.labels, &result.taught_embedding) {
            recognizer.add_labels(own, vector, self.class_count, &frame.own.labels);
        }
        if !wanted.places {
            return None;
        }
        let smoothing = frame.settings.places.smoothing;
        let Some(vector) = &result.embedding else {
            // Nothing was taught.
            result.places = Some(Vec::new());
            return None;
        };
        let matches = recognizer.place((camera, self.start.elapsed()), vector, smoothing);
        let places = recognizer.names(&matches);
        let pose = recognizer.pose(&matches, vector);
        let best = places.first().map(|place| place.name.as_str());
        if let Some(watching) = self.cameras.get_mut(&camera)
            && watching.announced.as_deref() != best
        {
            let prefix = watching.state.prefix();
            match places.first() {
                Some(place) => {
                    tracing::info!("{prefix}at {}, {:.0} %", place.name, 100.0 * place.score);
                }
                None => tracing::info!("{prefix}at no place that is known"),
            }
            watching.announced = best.map(str::to_owned);
        }
        result.places = Some(places);
        pose
    }

    fn learn(&mut self, frame: &Answered<'_>, result: &FrameResult) {
        let (camera, settings) = (frame.id, &frame.settings.places);
        let taught_s = u64::try_from(frame.header.stamp.sec).unwrap_or_default();
        let Some(recognizer) = &mut self.recognizer else { return };
        let thumbnail = match &result.picture {
            Some(picture) if settings.thumbnails => overlay::thumbnail(picture)
                .inspect_err(|error| tracing::warn!("a thumbnail is not kept: {error}"))
                .unwrap_or_default(),
            _ => Vec::new(),
        };
        let prefix = self.cameras.get(&camera).map(|watching| watching.state.prefix());
        let prefix = prefix.unwrap_or_default();
        for lesson in self.pending.iter_mut().filter(|lesson| lesson.cameras.contains(&camera)) {
            let vector = match lesson.kind {
                Kind::Place => &result.embedding,
                Kind::Label => &result.taught_embedding,
            };
            let Some(vector) = vector else { continue };
            lesson.cameras.remove(&camera);
            let (kind, name) = (lesson.kind, lesson.name.as_str());
            let pose = self.pose.newest().filter(|_| kind == Kind::Place);
            let at = match &pose {
                Some((pose, age)) => {
                    let [x, y, _] = pose.position;
                    let old =
                        if *age > OLD_POSE { format!(", {age:.0?} old") } else { String::new() };
                    format!(" at ({x:.2}, {y:.2}) in {}{old}", pose.frame_id)
                }
                None => String::new(),
            };
            let pose = pose.map(|(pose, _)| pose);
            let view = View { taught_s, pose, thumbnail: thumbnail.clone(), name: 0 };
            let came = recognizer.teach(kind, name, vector, view, settings.max_views);
            let views = recognizer.memory().gallery(kind).count(name);
            let said = format!("{prefix}{kind} {name}{at}: {came} ({views} views)");
            tracing::info!("{said}");
            self.last_lesson = Some(said);
            self.is_dirty |= matches!(came, TeachOutcome::Added | TeachOutcome::Replaced);
        }
        self.pending.retain(|lesson| !lesson.cameras.is_empty());
        self.save_changes();
        self.tell();
    }

    fn tell(&self) {
        let mut facts = Vec::new();
        if let Some(recognizer) = &self.recognizer {
            let memory = recognizer.memory();
            let count = |gallery: &crate::place::Gallery| {
                format!("{}, {} views", gallery.names().len(), gallery.views().len())
            };
            facts.push(("places", count(&memory.places)));
            facts.push(("taught labels", count(&memory.labels)));
            facts.push(("places file", self.file.path().display().to_string()));
        }
        facts.extend(self.last_lesson.iter().map(|lesson| ("last lesson", lesson.clone())));
        self.report.store(Arc::new(Report { facts, warning: self.warning.clone() }));
    }

    /// Saves what is not saved yet.
    pub fn finish(self) {
        self.save_the_rest();
        self.file.finish();
    }

    fn save_the_rest(&self) {
        if let (Some(recognizer), true) = (&self.recognizer, self.is_dirty || self.has_failed)
            && !self.is_unusable
        {
            self.file.write_surely(recognizer.memory().clone());
        }
    }
}

impl Consumer for Places {
    fn add_camera(&mut self, camera: &Arc<CameraState>) {
        self.cameras.insert(camera.id, Watching { state: camera.clone(), announced: None });
    }

    fn remove_camera(&mut self, id: usize) {
        self.cameras.remove(&id);
        if let Some(recognizer) = &mut self.recognizer {
            recognizer.remove_camera(id);
        }
        for lesson in &mut self.pending {
            lesson.cameras.remove(&id);
        }
        self.pending.retain(|lesson| !lesson.cameras.is_empty());
    }

    fn follow(&mut self, model: &Arc<Model>) {
        let empty = Memory::for_model(model);
        let owner = self.recognizer.as_ref().map(|recognizer| &recognizer.memory().owner);
        if owner.is_some() && owner == empty.as_ref().map(|empty| &empty.owner) {
            // The same network, run in another way.
            return;
        }
        self.save_the_rest();
        self.recognizer = None;
        self.is_dirty = false;
        self.has_failed = false;
        self.is_unusable = false;
        self.is_held = false;
        self.warning = None;
        self.cameras.values_mut().for_each(|camera| camera.announced = None);
        self.model.clone_from(&model.manifest.name);
        self.class_count = model.class_names.len();
        self.has_descriptors = empty.is_some();
        self.has_labels = model.manifest.classification.is_some();
        match empty {
            Some(empty) => self.file.open(empty),
            None => tracing::info!("model {} has no descriptors: it knows no places", self.model),
        }
        self.tell();
    }

    fn add_wanted(&mut self, frame: &Answered<'_>, _: OutputSet, wanted: &mut Wanted) {
        let Some(recognizer) = &self.recognizer else { return };
        let memory = recognizer.memory();
        wanted.embedding |= wanted.places && !memory.places.is_empty();
        wanted.taught |= wanted.labels && !memory.labels.is_empty();
        for lesson in self.pending.iter().filter(|lesson| lesson.cameras.contains(&frame.id)) {
            wanted.embedding |= lesson.kind == Kind::Place;
            wanted.taught |= lesson.kind == Kind::Label;
            wanted.picture |= frame.settings.places.thumbnails;
        }
    }

    fn consume(
        &mut self,
        frame: &Answered<'_>,
        wanted: Wanted,
        _: Option<ImageFault>,
        result: &mut FrameResult,
        outputs: &mut CameraOutputs,
    ) {
        if let Some(pose) = &self.recognise(frame, result, wanted) {
            output::put_pose(outputs, wire_stamp(&frame.header.stamp), pose);
        }
    }
}
