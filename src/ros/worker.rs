//! The inference thread: takes the newest frame, runs the pipeline, publishes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use r2r::Clock;
use r2r::builtin_interfaces::msg::Time;
use tokio::sync::mpsc::Receiver;
use tokio::sync::watch;

use super::camera::Arrival;
use super::cameras::Change;
use super::consumer::{Answered, Consumer};
use super::diagnostics::CameraState;
use super::executor::NodeHandle;
use super::ground::Grounds;
use super::learning::Learning;
use super::mailbox::{Mailboxes, Turn};
use super::model::{self, ModelSlot};
use super::output::{CameraOutputs, now, wire_header, wire_stamp};
use super::places::Places;
use crate::head::segmentation::Steady;
use crate::image_health;
use crate::lock::lock;
use crate::output::{self, OutputSet, Timing};
use crate::overlay::{self, Layer, Overlay};
use crate::pipeline::{Pipeline, PipelineError};
use crate::result::Wanted;
use crate::schedule::Schedule;
use crate::settings::{CameraSettings, HealthAction, Settings};
use crate::timing::Stopwatch;

/// What the inference thread works with.
pub struct Worker {
    /// The network and its stages.
    pub pipeline: Pipeline,
    /// The cameras that are answered, by number; none before the first [`Change`].
    pub cameras: BTreeMap<usize, ActiveCamera>,
    /// Cameras that come and go.
    pub changes: Receiver<Change>,
    /// Where the publishers of a camera that has gone are destroyed.
    pub node: NodeHandle,
    /// Newest frames.
    pub mailboxes: Arc<Mailboxes<Arrival>>,
    /// The model to come.
    pub models: Arc<ModelSlot>,
    /// Those who take results.
    pub consumers: Consumers,
    /// When it began.
    pub started: Instant,
    /// The settings in force.
    pub settings: Arc<ArcSwap<Settings>>,
    /// ROS time.
    pub clock: Arc<Mutex<Clock>>,
    /// Whether anything may be published.
    pub is_active: watch::Receiver<bool>,
}

/// Those who take results.
pub struct Consumers {
    /// What is learnt by driving.
    pub learning: Learning,
    /// What is taught and recognised.
    pub places: Places,
    /// What lies on the ground.
    pub grounds: Grounds,
}

impl Consumers {
    /// In the order in which they work: who learns wants the ground too.
    fn all(&mut self) -> [&mut dyn Consumer; 3] {
        [&mut self.learning, &mut self.places, &mut self.grounds]
    }
}

/// What subscribers were told last.
#[derive(Default)]
struct Announced {
    /// Which model in force it was, by number.
    version: Option<i32>,
    /// Names of the mask's ids, and the least confidence.
    labels: Option<(Vec<(u16, String)>, f32)>,
}

/// A camera that is answered.
pub struct ActiveCamera {
    state: Arc<CameraState>,
    outputs: CameraOutputs,
    announced: Announced,
    schedule: Schedule,
    /// What is remembered of its frames.
    steady: Steady,
    /// What is wanted while a head for it is missing, which is said.
    lacking: Option<Wanted>,
}

impl Worker {
    /// Answers frames until the mailboxes are closed.
    pub fn run(&mut self) {
        self.pipeline.network().pin_caller();
        self.follow_model();
        let mut told: Option<Arc<Settings>> = None;
        loop {
            let turn = self.mailboxes.take();
            self.take_changes();
            let (settings, next) = self.models.take(&self.settings);
            if let Some(next) = next {
                self.swap(next);
                told = None;
            }
            // The names of a mask's ids go out before the first mask that has them.
            if told.as_ref().is_none_or(|told| !Arc::ptr_eq(told, &settings)) {
                self.announce();
                told = Some(settings.clone());
            }
            self.consumers.places.turn();
            let (index, arrival) = match turn {
                Turn::Frame(index, arrival) => (index, arrival),
                Turn::Wake => {
                    self.announce();
                    continue;
                }
                Turn::End => break,
            };
            // The camera of a frame that was under way may have gone.
            let Some(active) = self.cameras.get(&index) else { continue };
            let camera = active.state.clone();
            let Some(camera_settings) = settings.cameras.get(&camera.name) else { continue };
            if !active.schedule.is_due(arrival.at, camera_settings.max_hz) {
                camera.count_left_out();
                continue;
            }
            let now = Instant::now();
            if self.answer(index, &camera, &arrival, &settings, camera_settings)
                && let Some(active) = self.cameras.get_mut(&index)
            {
                active.schedule.take(arrival.at, camera_settings.max_hz);
            }
            self.mailboxes.charge(index, now.elapsed().as_secs_f64(), camera_settings.weight);
        }
    }

    /// Begins anew after a panic: with the model in force, loaded again, since nobody knows in what
    /// state the one is that was at work.
    ///
    /// # Errors
    /// It cannot be loaded.
    pub fn mend(&mut self) -> anyhow::Result<()> {
        let (settings, next) = self.models.take(&self.settings);
        let execution = self.pipeline.network().execution();
        self.pipeline = match next {
            Some(next) => next,
            None => model::load(&settings.model, Some(execution))?,
        };
        Ok(())
    }

    /// Saves what was taught, and gives the publishers back.
    pub fn finish(self) {
        self.consumers.places.finish();
        for ActiveCamera { outputs, .. } in self.cameras.into_values() {
            self.node.post(move |node| outputs.destroy(node));
        }
        let broadcaster = self.consumers.grounds.into_broadcaster();
        self.node.post(move |node| node.destroy_publisher(broadcaster));
    }

    fn follow_model(&mut self) {
        let model = self.pipeline.network().model().clone();
        self.consumers.all().into_iter().for_each(|one| one.follow(&model));
    }

    /// Takes up cameras that have come and lets go those that have gone.
    fn take_changes(&mut self) {
        while let Ok(change) = self.changes.try_recv() {
            match change {
                Change::Add(state, outputs) => {
                    self.consumers.all().into_iter().for_each(|one| one.add_camera(&state));
                    let id = state.id;
                    let active = ActiveCamera {
                        state,
                        outputs: *outputs,
                        announced: Announced::default(),
                        schedule: Schedule::default(),
                        steady: Steady::default(),
                        lacking: None,
                    };
                    self.cameras.insert(id, active);
                }
                Change::Remove(id) => {
                    self.consumers.all().into_iter().for_each(|one| one.remove_camera(id));
                    if let Some(ActiveCamera { outputs, .. }) = self.cameras.remove(&id) {
                        self.node.post(move |node| outputs.destroy(node));
                    }
                }
            }
        }
    }

    /// From now on frames go through another pipeline.
    fn swap(&mut self, next: Pipeline) {
        let old = std::mem::replace(&mut self.pipeline, next);
        self.pipeline.network().pin_caller();
        for camera in self.cameras.values_mut() {
            camera.steady.forget();
            camera.lacking = None;
            camera.state.set_lacking(None);
        }
        self.follow_model();
        let name = |pipeline: &Pipeline| {
            let network = pipeline.network();
            format!("{} ({})", network.model().manifest.name, network.execution())
        };
        tracing::info!("model {} gives way to {}", name(&old), name(&self.pipeline));
        // Its memory is given back while the next frame is answered already, and what the threads that have loaded
        // the other one free when they are done, too.
        let drop_old = move || {
            drop(old);
            give_back_memory();
            std::thread::sleep(Duration::from_secs(2));
            give_back_memory();
        };
        let dropped = std::thread::Builder::new().name("drop".to_owned()).spawn(drop_old);
        if let Err(error) = dropped {
            tracing::warn!("no thread to drop the old model in: {error}");
        }
    }

    /// Tells subscribers which model runs and what the mask's ids mean, where that is news.
    fn announce(&mut self) {
        if !*self.is_active.borrow() {
            return;
        }
        let stamp = wire_stamp(&now(&self.clock));
        let network = self.pipeline.network();
        let model = network.model();
        let location = model.path.display().to_string();
        let method = format!("{} ({})", model.manifest.name, network.execution().precision.name());
        for ActiveCamera { state, outputs, announced, .. } in self.cameras.values_mut() {
            let Some(CameraSettings { mask, .. }) = state.settings() else { continue };
            let version = self.models.version();
            if announced.version.replace(version) != Some(version) {
                output::put_vision_info(outputs, stamp, (&method, &location, version));
            }
            let Some(class_map) = output::class_map(&model.manifest, mask.kind) else { continue };
            let named = class_map.iter().map(|(id, name)| (*id, (*name).to_owned())).collect();
            let labels = Some((named, mask.min_confidence));
            if announced.labels != labels {
                output::put_label_info(outputs, stamp, class_map, mask.min_confidence);
                announced.labels = labels;
            }
        }
    }

    /// Gives whether the frame was answered.
    fn answer(
        &mut self,
        index: usize,
        camera: &Arc<CameraState>,
        arrival: &Arrival,
        settings: &Arc<Settings>,
        camera_settings: &CameraSettings,
    ) -> bool {
        let header = arrival.message.header();
        let waited = arrival.at.elapsed();
        let age = age_of(&self.clock, &header.stamp, Some(camera));
        if camera_settings.max_age_ms > 0.0
            && age.is_some_and(|age| age.as_secs_f64() * 1e3 > camera_settings.max_age_ms)
        {
            camera.count_too_old();
            return false;
        }
        let Some(ActiveCamera { outputs, steady, lacking, .. }) = self.cameras.get_mut(&index)
        else {
            return false;
        };
        // By arrival: pictures may have no stamps.
        let since_start = arrival.at.saturating_duration_since(self.started);
        steady.start(i64::try_from(since_start.as_nanos()).unwrap_or(i64::MAX));
        let heard = outputs.look_up();
        let mut asked = heard.needs();
        let frame = Answered { id: index, camera, header, settings, own: camera_settings };
        for consumer in self.consumers.all() {
            consumer.add_wanted(&frame, heard, &mut asked);
        }
        let wanted = self.pipeline.possible(asked);
        // A picture is drawn with what there is.
        let needed = heard.without(OutputSet::DRAWN).needs();
        let missing = (self.pipeline.possible(needed) != needed).then_some(needed);
        if *lacking != missing {
            let text = missing.map(|asked| {
                let parts = [
                    ("labels", asked.labels && !wanted.labels),
                    ("the mask", asked.segmentation() && !wanted.segmentation()),
                    ("places", asked.places && !wanted.places),
                    ("the embedding", asked.embedding && !wanted.embedding),
                ];
                let lacking: Vec<&str> =
                    parts.iter().filter(|(_, is_lacking)| *is_lacking).map(|part| part.0).collect();
                format!(
                    "subscribers want what model {} has no head for: {}; choose another model",
                    self.pipeline.network().model().manifest.name,
                    lacking.join(", "),
                )
            });
            if let Some(text) = &text {
                tracing::warn!("{}{text}", camera.prefix());
            }
            camera.set_lacking(text);
            *lacking = missing;
        }
        if !wanted.any() {
            camera.count_unheard();
            return false;
        }
        self.models.note_wanted(wanted);
        self.pipeline.set_correction(self.consumers.learning.correction(settings));
        let picture = arrival.message.frame().map_err(PipelineError::from);
        let result = picture
            .and_then(|one| self.pipeline.process_steady(one, wanted, camera_settings, steady));
        let mut result = match result {
            Ok(result) => result,
            Err(error) => {
                let reason = error.to_string();
                if camera.count_rejected(&reason) {
                    tracing::warn!("{}a frame cannot be used: {reason}", camera.prefix());
                }
                return false;
            }
        };
        if !*self.is_active.borrow() {
            return false;
        }
        result.times.receive = waited;
        let mut watch = Stopwatch::new();
        let health = &camera_settings.health;
        let came = (arrival.at, &header.stamp);
        let fault = camera.judge_image(result.image.as_ref(), came, health);
        if fault.is_some() && health.action == HealthAction::Unknown {
            image_health::withhold(&mut result);
            steady.forget();
        }
        let Consumers { learning, places, grounds } = &mut self.consumers;
        learning.consume(&frame, wanted, fault, &mut result, outputs);
        places.consume(&frame, wanted, fault, &mut result, outputs);
        result.times.postprocess += watch.lap();
        output::put_result(outputs, wire_header(header), &result, camera_settings);
        result.times.publish = watch.lap();
        // Last, for it may wait for tf.
        grounds.consume(&frame, wanted, fault, &mut result, outputs);
        result.times.postprocess += watch.lap();
        if let Some(mut picture) = result.picture.take_if(|_| heard.has_any(OutputSet::DRAWN)) {
            let manifest = &self.pipeline.network().model().manifest;
            let (kind, alpha) = (camera_settings.mask.kind, settings.outputs.overlay_alpha);
            let ground = wanted.ground.then(|| self.consumers.grounds.layer(index)).flatten();
            let overlay = Overlay {
                frames_per_s: camera.rate(),
                layers: ground.iter().map(|layer| layer as &dyn Layer).collect(),
                ..Overlay::of(&result, manifest, kind, alpha)
            };
            overlay::draw(&mut picture, &overlay);
            result.times.postprocess += watch.lap();
            let quality = settings.outputs.overlay_jpeg_quality;
            if let Err(error) = output::put_overlay(outputs, wire_header(header), &picture, quality)
            {
                tracing::warn!("overlay/compressed: {error}");
            }
        }
        result.times.publish += watch.lap();
        let age = age_of(&self.clock, &header.stamp, None);
        let age_ms = age.map(|age| age.as_secs_f64() * 1e3);
        output::put_timing(
            outputs,
            &Timing {
                camera: &camera.name,
                times: &result.times,
                age_ms,
                state: camera.state(),
                fault: camera.image_fault(),
                stamp: Some(wire_stamp(&header.stamp)),
            },
        );
        camera.count_processed(&result.times, age);
        tracing::trace!("{}answered a frame in {:?}", camera.prefix(), result.times.total());
        true
    }
}

/// Now minus a stamp; `None` for a source that does not stamp, or for one ahead of this clock,
/// which is counted for the camera, if one is given.
fn age_of(clock: &Mutex<Clock>, stamp: &Time, camera: Option<&CameraState>) -> Option<Duration> {
    if stamp.sec == 0 && stamp.nanosec == 0 {
        return None;
    }
    let now = lock(clock).get_now().ok()?;
    let stamp = Duration::new(u64::try_from(stamp.sec).ok()?, stamp.nanosec);
    let age = now.checked_sub(stamp);
    if let Some(ahead) = stamp.checked_sub(now)
        && let Some(camera) = camera
    {
        camera.count_ahead(ahead, !now.is_zero());
    }
    age
}

/// Gives memory that is free back to the system. glibc keeps it, for each thread that has ever loaded a model: after
/// some changes of the model that is twice what the node needs.
fn give_back_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes the allocator's own locks, and may be called from any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}
