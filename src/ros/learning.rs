//! Learning by driving, beside the stream of frames.
//!
//! ```text
//! inference thread --frame--+
//! ~/learning/* ----request--+--LearningRequest--> learner's thread --> CorrectionSlot --> inference thread
//!                              bounded     owns the learner and its file
//! ```
//! A frame for which there is no room is let go: the next one teaches nearly the same. Frames take half of the
//! places at most, so that there is room for what people and bumpers say.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;
use r2r::Node;
use r2r::std_msgs::msg::{Bool, Empty, Header};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::consumer::{Answered, Consumer};
use super::diagnostics::{CameraState, Report};
use super::executor::NodeHandle;
use super::inbox::{Inbox, Reply, answer};
use super::names::Resolver;
use super::output::{CameraOutputs, wire_header};
use super::subscription::subscribe;
use super::supervision::Watch;
use super::tf::TfSlot;
use super::typed_topic::{Offer, TypedTopic};
use crate::file_lock::{Lock, LockError};
use crate::geometry::Size;
use crate::ground_messages::{CameraFrame, GroundMessages, Taken};
use crate::image_health::ImageFault;
use crate::install;
use crate::learning::{
    BLOCKED_TYPES, Bumper, Correction, CorrectionSlot, Footprint, Learner, Seen, State,
};
use crate::manifest::Model;
use crate::output::OutputSet;
use crate::result::{Cells, FrameResult, Wanted};
use crate::settings::Settings;

/// Requests that may wait.
pub const MOST_WAITING: usize = 8;
/// Of them frames.
const MOST_FRAMES: usize = 4;

/// What was learnt is saved so often while more is.
const SAVE_EVERY: Duration = Duration::from_secs(30);
/// A reason that is over sooner is not told: calibration and tf come a moment after they are subscribed to.
const PATIENCE: Duration = Duration::from_secs(2);

const BLOCKED: &str = "~/learning/blocked";

/// What the learner's thread is told.
pub enum LearningRequest {
    /// Another model runs from now on; what is learnt for it goes into the slot.
    Follow(Arc<Model>, CorrectionSlot),
    /// A frame, while learning is enabled.
    Frame(Box<Frame>),
    /// A camera has gone.
    RemoveCamera(usize),
    /// Something right before the robot has stopped it.
    Blocked,
    /// The same, for a user who waits for what came of it.
    MarkBlocked(Reply),
    /// The file is to be written now.
    Save(Reply),
    /// All is to be forgotten.
    Forget(Reply),
}

/// A frame that may teach.
pub struct Frame {
    camera: Arc<CameraState>,
    header: Header,
    image_size: Size,
    cells: Cells,
    is_good: bool,
    settings: Arc<Settings>,
    /// For a place, until it is taught.
    _ticket: Arc<()>,
}

/// Serves what saves, forgets and marks, below `~/learning/`. r2r cannot take a service away again, so they stay,
/// and refuse while the inbox is closed. Runs on the current tokio runtime.
///
/// # Errors
/// rcl's.
pub fn serve(node: &mut Node, requests: &Inbox<LearningRequest>) -> r2r::Result<()> {
    answer(node, "learning/save", requests, LearningRequest::Save)?;
    answer(node, "learning/forget", requests, LearningRequest::Forget)?;
    answer(node, "learning/mark_blocked", requests, LearningRequest::MarkBlocked)
}

/// Follows `~/learning/blocked` while the node is active: each `Empty`, and each `Bool` that turns true.
pub async fn follow_blocked(
    requests: Inbox<LearningRequest>,
    node: NodeHandle,
    resolver: Arc<Resolver>,
    is_active: watch::Receiver<bool>,
    shutdown: CancellationToken,
) {
    let topic = TypedTopic {
        name: BLOCKED.to_owned(),
        types: &BLOCKED_TYPES,
        label: "learning/blocked",
        announcement: "what stops the robot comes from",
        meanwhile: "what stops the robot is not learnt",
        is_expected: false,
    };
    let subscribe_as = async move |node: &NodeHandle, offer: Offer, end: CancellationToken| {
        let requests = requests.clone();
        let block = move || {
            if let Err(reason) = requests.put(LearningRequest::Blocked) {
                tracing::debug!("{BLOCKED} is passed over: {reason}");
            }
        };
        // What was said before is over.
        let qos = offer.qos(10).volatile();
        if offer.topic_type == BLOCKED_TYPES[0] {
            subscribe(node, BLOCKED, qos, end, move |_: Empty| block()).await
        } else {
            let mut bumper = Bumper::default();
            let put = move |Bool { data }: Bool| {
                if bumper.take(data) {
                    block();
                }
            };
            subscribe(node, BLOCKED, qos, end, put).await
        }
    };
    topic.follow(node, resolver, is_active, shutdown, subscribe_as).await;
}

/// Learning as the inference thread sees it.
pub struct Learning {
    requests: Inbox<LearningRequest>,
    tf: Arc<TfSlot>,
    /// A slot for each model, so that what comes late from the one before changes nothing.
    slot: CorrectionSlot,
    model: String,
    weights: String,
    can_learn: bool,
    /// Whether it is said that it cannot.
    is_told: bool,
    /// Held by each frame that waits.
    ticket: Arc<()>,
}

impl Learning {
    /// Of no model yet.
    pub fn new(requests: Inbox<LearningRequest>, tf: Arc<TfSlot>) -> Self {
        Self {
            requests,
            tf,
            slot: CorrectionSlot::default(),
            model: String::new(),
            weights: String::new(),
            can_learn: false,
            is_told: false,
            ticket: Arc::default(),
        }
    }

    /// What the masks are corrected by.
    pub fn correction(&self, settings: &Settings) -> Option<Arc<Correction>> {
        settings.learning.is_enabled.then(|| self.slot.get()).flatten()
    }
}

impl Consumer for Learning {
    fn follow(&mut self, model: &Arc<Model>) {
        let weights = model.manifest.weights_sha256();
        if weights == self.weights {
            // The same network, run in another way.
            return;
        }
        self.weights = weights;
        self.can_learn = model.manifest.mask_features().is_some();
        (self.model, self.is_told) = (model.manifest.name.clone(), false);
        self.slot = CorrectionSlot::default();
        self.requests.put_surely(LearningRequest::Follow(model.clone(), self.slot.clone()));
    }

    fn remove_camera(&mut self, id: usize) {
        self.requests.put_surely(LearningRequest::RemoveCamera(id));
    }

    fn add_wanted(&mut self, frame: &Answered<'_>, _: OutputSet, wanted: &mut Wanted) {
        let is_enabled = frame.settings.learning.is_enabled;
        wanted.cells = is_enabled && self.can_learn;
        if wanted.cells {
            self.tf.want();
        }
        if is_enabled && !self.can_learn && !std::mem::replace(&mut self.is_told, true) {
            tracing::warn!("learning.enabled: {}", cannot_learn(&self.model));
        }
    }

    /// Offers the frame's cells, which are taken out of the result.
    fn consume(
        &mut self,
        frame: &Answered<'_>,
        _: Wanted,
        fault: Option<ImageFault>,
        result: &mut FrameResult,
        _: &mut CameraOutputs,
    ) {
        let Some(cells) = result.cells.take() else { return };
        // The learner is behind, or the node stops: the next frame will do.
        if Arc::strong_count(&self.ticket) > MOST_FRAMES {
            return;
        }
        let Answered { camera, header, settings, .. } = *frame;
        let frame = Frame {
            camera: camera.clone(),
            header: header.clone(),
            image_size: result.image_size,
            cells,
            // One that is no good teaches nothing, but where the robot is.
            is_good: fault.is_none(),
            settings: settings.clone(),
            _ticket: self.ticket.clone(),
        };
        let _ = self.requests.put(LearningRequest::Frame(Box::new(frame)));
    }
}

/// Starts the learner's thread, which ends when the inbox is closed and what was learnt is saved. `holder` says to
/// others who keeps the file.
///
/// # Errors
/// The system has no thread left.
pub fn start(
    requests: Receiver<LearningRequest>,
    settings: Arc<ArcSwap<Settings>>,
    tf: Arc<TfSlot>,
    holder: String,
    report: Arc<ArcSwap<Report>>,
    watch: Arc<Watch>,
) -> std::io::Result<JoinHandle<()>> {
    let mut thread = LearnerThread {
        requests,
        settings,
        tf,
        holder,
        report,
        lock: None,
        geometry: GroundMessages::default(),
        model: None,
        current: None,
        unplaced: BTreeMap::new(),
    };
    std::thread::Builder::new().name("learner".to_owned()).spawn(move || {
        // What it had not saved is lost with a panic; what was saved is read again.
        watch.keep(&mut thread, LearnerThread::run, |thread| {
            thread.current = None;
            Ok(())
        });
        thread.finish();
    })
}

/// The learner's thread.
struct LearnerThread {
    requests: Receiver<LearningRequest>,
    settings: Arc<ArcSwap<Settings>>,
    tf: Arc<TfSlot>,
    holder: String,
    report: Arc<ArcSwap<Report>>,
    lock: Option<Lock>,
    geometry: GroundMessages,
    model: Option<(Arc<Model>, CorrectionSlot)>,
    /// Once a frame of the model has come.
    current: Option<Current>,
    /// By camera, whose last frames could not be placed.
    unplaced: BTreeMap<usize, Unplaced>,
}

/// Why frames of a camera teach nothing.
struct Unplaced {
    /// What its words on the log begin with.
    prefix: String,
    reason: String,
    since: Instant,
    is_told: bool,
}

/// A model that is taught.
struct Current {
    learner: Learner,
    slot: CorrectionSlot,
    model: String,
    weights: String,
    footprint: String,
    odom_frame: String,
    path: PathBuf,
    /// When a frame was placed last.
    placed: Option<Instant>,
    /// What is wrong with the guard set.
    guard_problem: Option<String>,
    /// What happened to the file, for the user to see.
    warning: Option<String>,
    /// Whether the file must not be written.
    is_unusable: bool,
    /// Where that is so only because another one holds it: what the file was when it was read.
    held: Option<FileMark>,
    is_dirty: bool,
    saved: Instant,
}

impl LearnerThread {
    fn run(&mut self) {
        loop {
            match self.requests.recv_timeout(SAVE_EVERY) {
                Ok(request) => self.take(request),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if self.current.as_ref().is_some_and(|current| current.saved.elapsed() >= SAVE_EVERY) {
                self.save_if_dirty();
            }
        }
    }

    fn take(&mut self, request: LearningRequest) {
        match request {
            LearningRequest::Follow(model, slot) => {
                self.finish();
                self.unplaced.clear();
                let can_learn = model.manifest.mask_features().is_some();
                let warning = (!can_learn).then(|| cannot_learn(&model.manifest.name));
                (self.current, self.model) = (None, Some((model, slot)));
                self.report.store(Arc::new(Report { facts: Vec::new(), warning }));
            }
            LearningRequest::Frame(frame) => self.take_frame(*frame),
            LearningRequest::RemoveCamera(id) => {
                self.geometry.remove_camera(id);
                self.unplaced.remove(&id);
                if let Some(current) = &mut self.current {
                    let is_other = current.learner.remove_camera(id);
                    current.put_in_force(is_other);
                }
                self.tell();
            }
            LearningRequest::Blocked => {
                if let Err(reason) = self.block(false) {
                    tracing::debug!("{BLOCKED} teaches nothing: {reason}");
                }
            }
            // Those who asked may have gone.
            LearningRequest::MarkBlocked(reply) => drop(reply.send(self.block(true))),
            LearningRequest::Save(reply) => drop(reply.send(self.save())),
            LearningRequest::Forget(reply) => drop(reply.send(self.forget())),
        }
    }

    fn take_frame(&mut self, frame: Frame) {
        let Frame { camera, header, image_size, cells, is_good, settings, .. } = frame;
        let Some(own) = settings.cameras.get(&camera.name) else { return };
        if self.current.is_none() {
            self.open(&settings);
        }
        let Some(current) = &mut self.current else { return };
        if current.footprint != settings.learning.footprint
            && let Ok(footprint) = settings.learning.footprint.parse::<Footprint>()
        {
            current.footprint.clone_from(&settings.learning.footprint);
            let is_other = current.learner.set_footprint(footprint);
            current.put_in_force(is_other);
        }
        if current.odom_frame != settings.learning.odom_frame {
            current.odom_frame.clone_from(&settings.learning.odom_frame);
            let is_other = current.learner.begin_anew();
            current.put_in_force(is_other);
        }
        let (info, image_topic) = (camera.ground.info(), camera.ground.image_topic());
        let header = wire_header(&header);
        let stamp_ns = header.stamp.nanoseconds();
        let frame = CameraFrame {
            camera: camera.id,
            header,
            info: info.as_ref(),
            image_size,
            now: header.stamp,
            image_topic: image_topic.as_deref().unwrap_or(&own.image_topic),
            settings: &settings,
            own,
        };
        let taken = self.geometry.taken(&frame, &*self.tf, &settings.learning.odom_frame);
        // Of a picture without a stamp is not known where the robot was.
        let taken = match taken {
            Ok(_) if stamp_ns == 0 => Err("its pictures have no stamp".to_owned()),
            taken => taken.map_err(|reason| reason.to_string()),
        };
        match taken {
            Ok(Taken { camera: lens, base_from_camera, odom_from_base }) => {
                self.unplaced.remove(&camera.id);
                current.placed = Some(Instant::now());
                let seen = Seen {
                    stamp_ns,
                    cells,
                    is_good,
                    camera: lens,
                    base_from_camera,
                    odom_from_base,
                };
                let is_other = current.learner.take(camera.id, seen);
                current.put_in_force(is_other);
            }
            Err(reason) => {
                let unplaced = self.unplaced.entry(camera.id).or_insert_with(|| Unplaced {
                    prefix: camera.prefix(),
                    reason: reason.clone(),
                    since: Instant::now(),
                    is_told: false,
                });
                if !unplaced.is_told && unplaced.since.elapsed() >= PATIENCE {
                    unplaced.is_told = true;
                    let prefix = &unplaced.prefix;
                    tracing::warn!("{prefix}nothing is learnt from frames: {reason}");
                }
                unplaced.reason = reason;
            }
        }
        self.tell();
    }

    /// Begins with the model in force, from its file.
    fn open(&mut self, settings: &Settings) {
        let Some((model, slot)) = &self.model else { return };
        let (name, weights) = (model.manifest.name.clone(), model.manifest.weights_sha256());
        let footprint = settings.learning.footprint.clone();
        let Ok(outline) = footprint.parse::<Footprint>() else { return };
        let Some((mut learner, problem)) = Learner::of(model, outline) else {
            let warning = Some(cannot_learn(&name));
            self.report.store(Arc::new(Report { facts: Vec::new(), warning }));
            return;
        };
        let path = match settings.learning.file.as_str() {
            "" => install::learning_file(),
            path => path.into(),
        };
        let guard_problem = problem.map(|problem| {
            format!("{problem}: what is learnt is not held against what the model knew")
        });
        let mut warning = None;
        let mut is_unusable = false;
        let mut held = None;
        if self.lock.is_none() {
            match Lock::take(&path, "learning.file", &self.holder) {
                Ok(lock) => self.lock = Some(lock),
                Err(error @ LockError::Held { .. }) => {
                    warning = Some(format!("{error}; what is learnt is not saved"));
                    is_unusable = true;
                    held = Some(FileMark::of(&path));
                }
                Err(error) => tracing::warn!("{error}: the file is not locked"),
            }
        }
        // What another keeps must not be renamed either.
        let read = if is_unusable {
            State::read(&path, Some(&weights)).map(|read| (read.map(|(state, _)| state), None))
        } else {
            State::open(&path, &name, &weights)
        };
        match read {
            Ok((state, told)) => {
                warning = told.or(warning);
                if let Some(state) = state
                    && !learner.restore(state)
                {
                    warning = Some(format!("{} is of another mask; it is kept", path.display()));
                    (is_unusable, held) = (true, None);
                }
            }
            Err(error) => {
                warning = Some(format!("{error}; what is learnt is not saved"));
                (is_unusable, held) = (true, None);
            }
        }
        for warning in guard_problem.iter().chain(&warning) {
            tracing::warn!("{warning}");
        }
        tracing::info!(
            "learning by driving, {}: {}",
            path.display(),
            learner.report().counts.summary()
        );
        slot.set(learner.correction().cloned());
        self.current = Some(Current {
            learner,
            slot: slot.clone(),
            model: name,
            weights,
            footprint,
            odom_frame: settings.learning.odom_frame.clone(),
            path,
            placed: None,
            guard_problem,
            warning,
            is_unusable,
            held,
            is_dirty: false,
            saved: Instant::now(),
        });
    }

    /// What is taught, or why nothing is.
    fn current(&mut self) -> Result<&mut Current, String> {
        let model = self.model.as_ref().map(|(model, _)| &model.manifest);
        let why = match model {
            Some(manifest) if manifest.mask_features().is_none() => cannot_learn(&manifest.name),
            _ => "no frame has been learnt from: set learning.enabled, and let frames come".into(),
        };
        self.current.as_mut().ok_or(why)
    }

    fn block(&mut self, is_by_person: bool) -> Result<String, String> {
        if !self.settings.load().learning.is_enabled {
            return Err("learning.enabled is false: nothing is learnt".to_owned());
        }
        let current = self.current()?;
        let since_frame = current.placed.map_or(Duration::MAX, |placed| placed.elapsed());
        let result = current.learner.block(since_frame, is_by_person);
        self.tell();
        result
            .map(|()| "what is right before the robot is no ground".to_owned())
            .map_err(|why| why.to_string())
    }

    fn save(&mut self) -> Result<String, String> {
        self.take_lock();
        let current = self.current()?;
        current.learn_kept();
        let saved = current.save();
        let (counts, path) = (current.learner.report().counts, current.path.display().to_string());
        self.tell();
        saved.map(|()| format!("{} in {path}", counts.summary()))
    }

    fn forget(&mut self) -> Result<String, String> {
        self.take_lock();
        let current = self.current()?;
        let counts = current.learner.report().counts;
        current.learner.forget();
        current.slot.set(None);
        current.is_dirty = true;
        let saved = current.save().map_err(|reason| {
            format!("forgotten until the node starts again, but not in the file: {reason}")
        });
        tracing::info!("what was learnt by driving is forgotten: {}", counts.summary());
        self.tell();
        saved.map(|()| format!("forgotten: {}", counts.summary()))
    }

    /// Learns from what is kept and saves it, before the model goes.
    fn finish(&mut self) {
        if let Some(current) = &mut self.current {
            current.learn_kept();
        }
        self.save_if_dirty();
    }

    /// Takes the file if another one held it and has let it go, and has not written it meanwhile.
    fn take_lock(&mut self) {
        let Some(current) = &mut self.current else { return };
        let Some(mark) = current.held else { return };
        // It is tried as often as is saved, not with each frame.
        current.saved = Instant::now();
        let Ok(lock) = Lock::take(&current.path, "learning.file", &self.holder) else { return };
        current.held = None;
        if FileMark::of(&current.path) == mark {
            self.lock = Some(lock);
            (current.is_unusable, current.warning) = (false, None);
            tracing::info!("{} is free: what is learnt is saved", current.path.display());
        } else {
            current.warning = Some(format!(
                "{} was written by another node since it was read; what is learnt here is not saved",
                current.path.display()
            ));
        }
    }

    fn save_if_dirty(&mut self) {
        self.take_lock();
        if let Some(current) =
            self.current.as_mut().filter(|current| current.is_dirty && !current.is_unusable)
        {
            // It says so itself, and is tried again.
            let _ = current.save();
            self.tell();
        }
    }

    fn tell(&self) {
        let Some(current) = &self.current else { return };
        let report = current.learner.report();
        let mut facts = vec![
            ("learnt from", report.counts.summary()),
            ("learning left out", report.left_out.summary()),
            ("learning change", report.change_summary()),
        ];
        let verdict = report.verdict.map(|verdict| verdict.summary());
        facts
            .extend(verdict.or(current.guard_problem.clone()).map(|text| ("learning guard", text)));
        facts.push(("learning file", current.path.display().to_string()));
        let unplaced = self.unplaced.values().filter(|one| one.since.elapsed() >= PATIENCE);
        let unplaced: Vec<_> = unplaced
            .map(|one| format!("{}nothing is learnt: {}", one.prefix, one.reason))
            .collect();
        let unplaced = (!unplaced.is_empty()).then(|| unplaced.join("; "));
        let warning = unplaced.or(current.warning.clone()).or(current.guard_problem.clone());
        self.report.store(Arc::new(Report { facts, warning }));
    }
}

/// When a file was written last, and how long it is; nothing where it is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileMark(Option<(SystemTime, u64)>);

impl FileMark {
    fn of(path: &Path) -> Self {
        let data = std::fs::metadata(path).ok();
        Self(data.and_then(|data| Some((data.modified().ok()?, data.len()))))
    }
}

fn cannot_learn(model: &str) -> String {
    format!("model {model} cannot learn by driving: it gives no features of its mask")
}

impl Current {
    /// Answers masks by what is known now, if that is something else than before.
    fn put_in_force(&mut self, is_other: bool) {
        if is_other {
            self.slot.set(self.learner.correction().cloned());
            self.is_dirty = true;
        }
    }

    /// Learns from frames that wait for the robot to drive on.
    fn learn_kept(&mut self) {
        let is_other = self.learner.finish();
        self.put_in_force(is_other);
    }

    fn save(&mut self) -> Result<(), String> {
        self.saved = Instant::now();
        if self.is_unusable {
            return Err(self.warning.clone().unwrap_or_default());
        }
        match self.learner.state().write(&self.path, &self.model, &self.weights) {
            Ok(()) => {
                self.is_dirty = false;
                self.warning = None;
                Ok(())
            }
            Err(error) => {
                let reason = format!("what was learnt is not saved: {error}");
                if self.warning.as_ref() != Some(&reason) {
                    tracing::error!("{reason}");
                }
                self.warning = Some(reason.clone());
                Err(reason)
            }
        }
    }
}
