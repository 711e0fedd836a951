//! The node's life in four steps, and what each of them makes and takes away again.
//!
//! ```text
//!             configure -->             activate -->
//! parameters              a model, publishers         subscriptions, answers, diagnostics
//!             <-- cleanup               <-- deactivate
//! ```
//!
//! [`Base`] is there in every state. [`Life`] is the one owner of the rest.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context;
use arc_swap::ArcSwap;
use r2r::diagnostic_msgs::msg::DiagnosticArray;
use r2r::std_msgs::msg::Header;
use r2r::tf2_msgs::msg::TFMessage;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::camera::Arrival;
use super::cameras::{self, Cameras};
use super::config_file;
use super::diagnostics::Report;
use super::executor::NodeHandle;
use super::ground::Grounds;
use super::inbox::Inbox;
use super::learning::{self, Learning, LearningRequest};
use super::mailbox::Mailboxes;
use super::model::{self, ModelSlot};
use super::names::Resolver;
use super::output;
use super::parameter_services::Parameters;
use super::place_file::PlaceFile;
use super::place_requests::{self, Request};
use super::places::Places;
use super::pose::{self, PoseSlot};
use super::qos;
use super::supervision::{Watch, guarded};
use super::tf::{self, TfSlot};
use super::worker::{Consumers, Worker};
use crate::install;
use crate::lock::lock;
use crate::parameter::MOST_CAMERAS;
use crate::settings::{Reliability, Settings};

/// What there is in every state: the node on the graph and its parameters.
pub struct Base {
    /// The node's fully qualified name.
    pub name: String,
    /// The node.
    pub node: NodeHandle,
    /// Topic names as they are on the network.
    pub resolver: Arc<Resolver>,
    /// ROS time.
    pub clock: Arc<Mutex<r2r::Clock>>,
    /// The settings in force.
    pub settings: Arc<ArcSwap<Settings>>,
    /// The parameters behind them.
    pub parameters: Arc<Parameters>,
    /// The model in force, once there is one, and the one to come.
    pub models: Arc<ModelSlot>,
    /// Newest frames, while the node is active.
    pub mailboxes: Arc<Mailboxes<Arrival>>,
    /// Told when the settings may name other cameras.
    pub cameras_changed: Arc<Notify>,
    /// Where users' requests for places go.
    pub place_requests: Inbox<Request>,
    /// Where what is to be learnt from goes.
    pub learning_requests: Inbox<LearningRequest>,
    /// Who looks after threads that panic.
    pub watch: Arc<Watch>,
    /// What is wrong with the watched parameter file.
    pub file_warning: config_file::Warning,
}

impl Base {
    /// ROS time now.
    pub fn now(&self) -> r2r::builtin_interfaces::msg::Time {
        output::now(&self.clock)
    }
}

/// The owner of all that the four steps make.
pub struct Life {
    base: Arc<Base>,
    /// Whether configuring may take its time to measure what runs fastest, or has to do that later.
    measures_first: bool,
    serves_requests: bool,
    is_active: watch::Sender<bool>,
    configured: Option<Configured>,
}

/// What configuring makes.
struct Configured {
    inference_thread: JoinHandle<()>,
    learner_thread: JoinHandle<()>,
    cameras: cameras::Now,
    tasks: JoinSet<()>,
    end: CancellationToken,
}

impl Life {
    /// Unconfigured. `measures_first` has [`configure`](Self::configure) wait until it is known what
    /// runs fastest, where that was not measured before; else it takes a likely way, and measures
    /// beside it afterwards.
    pub fn new(base: Arc<Base>, measures_first: bool) -> Self {
        let is_active = watch::Sender::new(false);
        Self { base, measures_first, serves_requests: false, is_active, configured: None }
    }

    /// Whether the node is active, for those who want to know.
    pub fn is_active(&self) -> watch::Receiver<bool> {
        self.is_active.subscribe()
    }

    /// Loads the model and warms it up, makes the publishers, reads what was taught. Then the node
    /// is inactive: nothing is subscribed to, and no thread has anything to do.
    ///
    /// # Errors
    /// What cannot be had, and then nothing is left of it: a model, a thread, a publisher.
    pub async fn configure(&mut self) -> anyhow::Result<()> {
        let result = self.try_configure().await;
        if result.is_err() {
            self.cleanup().await;
        }
        result
    }

    async fn try_configure(&mut self) -> anyhow::Result<()> {
        let base = self.base.clone();
        let settings = base.settings.load_full();
        let first = model::to_start_with(&settings.model);
        let guess = (!self.measures_first).then(model::likely_execution);
        let asked = first.clone();
        let loading = tokio::task::spawn_blocking(move || model::load(&asked, guess));
        let pipeline = loading.await.context("the model cannot be loaded")??;
        let is_guess = pipeline.network().is_guess();

        if !self.serves_requests {
            let inbox = base.place_requests.clone();
            let serve = move |node: &mut r2r::Node| place_requests::serve(node, &inbox);
            base.node.with(serve).await.context("the node has gone")??;
            let learning_requests = base.learning_requests.clone();
            let serve = move |node: &mut r2r::Node| learning::serve(node, &learning_requests);
            base.node.with(serve).await.context("the node has gone")??;
            self.serves_requests = true;
        }
        let diagnostics = base.node.with(|node| {
            let qos = qos::publisher("/diagnostics", r2r::QosProfile::default());
            node.create_publisher::<DiagnosticArray>("/diagnostics", qos)
        });
        let diagnostics = diagnostics.await.context("the node has gone")??;
        let broadcaster = base.node.with(|node| {
            let qos = r2r::QosProfile::default().keep_last(100).reliable().volatile();
            node.create_publisher::<TFMessage>("/tf", qos::publisher("/tf", qos))
        });
        let broadcaster = broadcaster.await.context("the node has gone")??;
        let tf = Arc::new(TfSlot::default());
        let (place_report, pose) = (Arc::new(ArcSwap::default()), PoseSlot::default());
        let places_path: PathBuf = match settings.places.file.as_str() {
            "" => install::places_file(),
            path => path.into(),
        };
        base.mailboxes.open();
        let mailboxes = base.mailboxes.clone();
        let holder = format!("node {}", base.name);
        let file = PlaceFile::start(places_path, holder.clone(), move || mailboxes.wake())?;
        let learning_report = Arc::new(ArcSwap::default());
        let learner_thread = learning::start(
            base.learning_requests.open(),
            base.settings.clone(),
            tf.clone(),
            holder,
            learning_report.clone(),
            base.watch.clone(),
        )?;
        let places =
            Places::new(base.place_requests.open(), file, pose.clone(), place_report.clone());
        // Room for those of the start, which the inference thread takes up when it runs.
        let (sender, changes) = tokio::sync::mpsc::channel(MOST_CAMERAS);
        let worker = Worker {
            pipeline,
            cameras: BTreeMap::new(),
            changes,
            node: base.node.clone(),
            mailboxes: base.mailboxes.clone(),
            models: base.models.clone(),
            consumers: Consumers {
                learning: Learning::new(base.learning_requests.clone(), tf.clone()),
                places,
                grounds: Grounds::new(tf.clone(), broadcaster, base.clock.clone()),
            },
            started: Instant::now(),
            settings: base.settings.clone(),
            clock: base.clock.clone(),
            is_active: self.is_active.subscribe(),
        };
        // What is set from now on finds a model; what was set while this one was loaded is seen here.
        let is_other = base.parameters.between_changes(|| {
            let asked = &base.settings.load().model;
            base.models.start(&worker.pipeline, asked)?;
            anyhow::Ok(*asked != first)
        })?;
        let end = CancellationToken::new();
        let watch = base.watch.clone();
        let inference_thread =
            std::thread::Builder::new().name("inference".to_owned()).spawn(move || {
                let mut worker = worker;
                watch.keep(&mut worker, Worker::run, Worker::mend);
                worker.finish();
            })?;
        let mut cameras = Cameras::new(
            base.settings.clone(),
            base.node.clone(),
            base.resolver.clone(),
            base.mailboxes.clone(),
            sender,
            self.is_active.subscribe(),
            end.clone(),
        );
        let configured = self.configured.insert(Configured {
            inference_thread,
            learner_thread,
            cameras: cameras.now(),
            tasks: JoinSet::new(),
            end: end.clone(),
        });
        configured.tasks.spawn(guarded(report(
            base.clone(),
            diagnostics,
            configured.cameras.clone(),
            [place_report, learning_report],
            self.is_active.subscribe(),
            end.clone(),
        )));
        cameras.follow().await?;
        configured.tasks.spawn(guarded(cameras.run(base.cameras_changed.clone())));
        configured.tasks.spawn(guarded(pose::follow(
            base.settings.clone(),
            pose,
            base.node.clone(),
            base.resolver.clone(),
            self.is_active.subscribe(),
            end.clone(),
        )));
        configured.tasks.spawn(guarded(learning::follow_blocked(
            base.learning_requests.clone(),
            base.node.clone(),
            base.resolver.clone(),
            self.is_active.subscribe(),
            end.clone(),
        )));
        configured.tasks.spawn(guarded(tf::follow(
            tf,
            base.node.clone(),
            self.is_active.subscribe(),
            end.clone(),
        )));
        tracing::info!(
            "publishing below {}/ ({}, volatile, depth 1)",
            base.name,
            match settings.outputs.reliability {
                Reliability::BestEffort => "best effort",
                _ => "reliable",
            }
        );
        if is_other || is_guess {
            prepare_beside(&base)?;
        }
        Ok(())
    }

    /// Subscribes, and answers frames from now on. Nothing that takes long: subscriptions follow
    /// with the next look at the graph, as cameras come and go anyway.
    pub fn activate(&mut self) {
        self.is_active.send_replace(true);
        self.base.mailboxes.listen(true);
    }

    /// Answers no frame from now on, and subscribes to none.
    pub fn deactivate(&mut self) {
        self.is_active.send_replace(false);
        self.base.mailboxes.listen(false);
    }

    /// Takes away what [`configure`](Self::configure) made, all of it or what there is; saves what
    /// was taught.
    pub async fn cleanup(&mut self) {
        self.deactivate();
        self.base.place_requests.close();
        self.base.models.stop();
        self.base.mailboxes.close();
        let Some(configured) = self.configured.take() else {
            self.base.learning_requests.close();
            return;
        };
        let Configured { inference_thread, learner_thread, cameras, mut tasks, end } = configured;
        end.cancel();
        while tasks.join_next().await.is_some() {}
        let joined = tokio::task::spawn_blocking(move || inference_thread.join()).await;
        if !matches!(joined, Ok(Ok(()))) {
            tracing::error!("the inference thread panicked");
        }
        // It ends when what it was offered is learnt, and saved.
        self.base.learning_requests.close();
        let joined = tokio::task::spawn_blocking(move || learner_thread.join()).await;
        if !matches!(joined, Ok(Ok(()))) {
            tracing::error!("the learner's thread panicked");
        }
        // The publishers that it gave back are destroyed in turn: after this they are.
        self.base.node.with(|_| ()).await;
        for camera in cameras.load().iter() {
            tracing::info!("{}{}", camera.prefix(), camera.summary());
        }
    }
}

/// Prepares the pipeline that the settings ask for, measured where that is not known, while another
/// serves.
fn prepare_beside(base: &Arc<Base>) -> std::io::Result<()> {
    let base = base.clone();
    let load = move || {
        let asked = base.settings.load().model.clone();
        match base.models.prepare(&asked, None) {
            Ok(pipeline) => {
                base.models.put(pipeline, &asked, &base.settings);
                base.mailboxes.wake();
            }
            Err(error) => {
                let reason = format!("{error:#}; the model that runs goes on");
                tracing::error!("{reason}");
                base.models.tell_failure(reason, &asked, &base.settings);
            }
        }
    };
    std::thread::Builder::new().name("load".to_owned()).spawn(load).map(drop)
}

/// `/diagnostics`, once a second of wall time, while the node is active.
async fn report(
    base: Arc<Base>,
    publisher: r2r::Publisher<DiagnosticArray>,
    cameras: cameras::Now,
    [places, learning]: [Arc<ArcSwap<Report>>; 2],
    is_active: watch::Receiver<bool>,
    end: CancellationToken,
) {
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let name = base.name.trim_start_matches('/').to_owned();
    loop {
        tokio::select! {
            () = end.cancelled() => break,
            _ = ticks.tick() => {}
        }
        if !*is_active.borrow() {
            continue;
        }
        let is_learning = base.settings.load().learning.is_enabled;
        let (places, learning) = (places.load(), learning.load());
        // Of what was learnt before nothing is in force.
        let learning = if is_learning { Report::clone(&learning) } else { Report::default() };
        let models = base.models.facts();
        let facts = models.iter().chain(&places.facts).chain(&learning.facts);
        let facts: Vec<_> = facts.cloned().collect();
        let config = lock(&base.file_warning).clone();
        let config =
            config.map(|why| ("parameter file", format!("the parameter file is not taken: {why}")));
        let places_warning = places.warning.clone().map(|text| ("places trouble", text));
        let learning_warning = learning.warning.clone().map(|text| ("learning trouble", text));
        let model_warning = base.models.warning().map(|text| ("model trouble", text));
        let warnings: Vec<_> = model_warning
            .into_iter()
            .chain(config)
            .chain(places_warning)
            .chain(learning_warning)
            .collect();
        let failure = base.watch.recent_panic();
        let cameras = cameras.load();
        let reports = cameras
            .iter()
            .filter_map(|camera| camera.report(&name, &facts, &warnings, failure.as_deref()));
        let array = DiagnosticArray {
            header: Header { stamp: base.now(), frame_id: String::new() },
            status: reports.collect(),
        };
        if let Err(error) = publisher.publish(&array) {
            tracing::warn!("/diagnostics: {error}");
        }
    }
    base.node.with(move |node| node.destroy_publisher(publisher)).await;
}
