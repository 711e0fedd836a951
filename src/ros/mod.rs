//! The ROS 2 shell: topics to frames, results to messages. The only part that names r2r.
//!
//! ```text
//! spin thread --streams--> drain tasks --newest frame--> inference thread --> publishers
//!   owns the node            one a camera    mailbox         owns the pipeline
//! ```
//!
//! The spin thread owns the node, a drain task a camera's slot, the inference thread (a plain
//! one, never a tokio worker) the pipeline, the store the parameters; the inference thread reads
//! one settings snapshot a frame.

mod camera;
mod cameras;
mod config_file;
mod diagnostics;
mod executor;
mod mailbox;
mod model;
mod names;
mod output;
mod parameter_services;
mod place_file;
mod place_requests;
mod places;
mod pose;
mod worker;

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use arc_swap::ArcSwap;
use r2r::diagnostic_msgs::msg::DiagnosticArray;
use r2r::std_msgs::msg::Header;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, reload};

use crate::install;
use crate::parameter::{MOST_CAMERAS, Store, Value};
use crate::result::Outputs;
use crate::settings::{LogLevel, Reliability, Settings};
use cameras::Cameras;
use mailbox::Mailboxes;
use model::ModelSlot;
use names::Resolver;
use place_file::PlaceFile;
use places::{PlaceReport, Places};
use pose::PoseSlot;
use worker::Worker;

/// The node's name, unless it is remapped.
const NAME: &str = "squeezenet";

type LogFilter = reload::Handle<EnvFilter, Registry>;

/// Runs the node until SIGINT or SIGTERM.
///
/// # Errors
/// Whatever keeps the node from starting: ROS, parameters, the model.
pub fn run() -> anyhow::Result<()> {
    keep_large_buffers();
    let context = r2r::Context::create().context("ROS 2 cannot be initialised")?;
    let mut node = r2r::Node::create(context, NAME, "").context("the node cannot be created")?;
    let mut overrides: Vec<(String, Value)> = {
        let parameters = node.params.lock().unwrap_or_else(PoisonError::into_inner);
        let parsed = parameters.iter();
        parsed
            .map(|(name, p)| (name.clone(), parameter_services::from_override(&p.value)))
            .collect()
    };
    let qualified_name = node.fully_qualified_name()?;
    let given = config_file::started_with(std::env::args(), &qualified_name);
    config_file::add_unread(&mut overrides, &given);
    let store = Store::new(&overrides)?;
    let (store, config) = config_file::take_over(store, given, &qualified_name)?;
    let settings = store.settings();
    let log_filter = start_logging(settings.log_level);

    let first = model::to_start_with(&settings.model);
    let pipeline = model::load(&first, None)?;
    let models = Arc::new(ModelSlot::new(&pipeline)?);

    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("tokio")
        .enable_all()
        .build()?;
    let _entered = runtime.enter();
    let shutdown = CancellationToken::new();
    runtime.spawn(cancel_on_signal(shutdown.clone()));

    let clock = node.get_ros_clock();
    if settings.use_sim_time {
        let time_source = node.get_time_source();
        time_source.enable_sim_time(&mut node)?;
    }
    let output_reliability = settings.outputs.reliability;
    let pose_topic = settings.places.pose_topic.clone();
    let places_path = match settings.places.file.as_str() {
        "" => install::places_file(),
        path => path.into(),
    };
    let current = Arc::new(ArcSwap::new(settings));
    let mailboxes = Arc::new(Mailboxes::default());
    let cameras_changed = Arc::new(Notify::new());

    let on_change: parameter_services::OnChange = {
        let (current, mailboxes) = (current.clone(), mailboxes.clone());
        let (cameras_changed, models) = (cameras_changed.clone(), models.clone());
        Box::new(move |store, changed| {
            let settings = store.settings();
            set_log_level(&log_filter, settings.log_level);
            models.put_in_force(&current, settings);
            tracing::info!("parameters changed: {}", changed.join(", "));
            cameras_changed.notify_one();
            mailboxes.wake();
        })
    };
    let parameters =
        parameter_services::serve(&mut node, store, models.clone(), clock.clone(), on_change)?;
    let (place_report, pose) = (Arc::new(ArcSwap::default()), PoseSlot::default());
    let places = {
        let requests = place_requests::serve(&mut node, &mailboxes)?;
        let mailboxes = mailboxes.clone();
        let file = PlaceFile::start(places_path, move || mailboxes.wake())?;
        Places::new(requests, file, pose.clone(), place_report.clone())
    };
    let arrays =
        node.create_publisher::<DiagnosticArray>("/diagnostics", r2r::QosProfile::default())?;
    let namespace = node.namespace()?;
    let resolver = Arc::new(Resolver::new(&node.name()?, &namespace, std::env::args()));
    let (handle, spin_thread) = executor::spin(node, shutdown.clone())?;
    // Room for those of the start, which the inference thread takes up when it runs.
    let (sender, changes) = tokio::sync::mpsc::channel(MOST_CAMERAS);
    let mut cameras = Cameras::new(
        current.clone(),
        handle.clone(),
        resolver.clone(),
        mailboxes.clone(),
        sender,
        shutdown.clone(),
    );
    runtime.block_on(cameras.follow())?;
    let cameras_now = cameras.now();
    runtime.spawn(cameras.run(cameras_changed));
    if !pose_topic.is_empty() {
        let (node, resolver) = (handle.clone(), resolver.clone());
        runtime.spawn(pose::follow(pose_topic, pose, node, resolver, shutdown.clone()));
    }
    tracing::info!(
        "publishing below {}/ ({}, volatile, depth 1)",
        qualified_name,
        match output_reliability {
            Reliability::BestEffort => "best effort",
            _ => "reliable",
        }
    );
    let warning = config_file::Warning::default();
    runtime.spawn(report(
        arrays,
        qualified_name.clone(),
        cameras_now.clone(),
        models.clone(),
        warning.clone(),
        place_report,
        clock.clone(),
    ));
    if let Some(file) = config {
        let node = qualified_name;
        runtime.spawn(config_file::watch(file, node, parameters, warning, shutdown.clone()));
    }
    if first != current.load().model {
        swap_when_ready(&models, &current, &mailboxes)?;
    }
    let worker = Worker {
        pipeline,
        cameras: BTreeMap::new(),
        changes,
        node: handle,
        mailboxes: mailboxes.clone(),
        models,
        places,
        missing_head_warned: Outputs::default(),
        version: 1,
        settings: current,
        clock,
    };
    let inference_thread =
        std::thread::Builder::new().name("inference".to_owned()).spawn(move || worker.run())?;

    runtime.block_on(shutdown.cancelled());
    tracing::info!("stopping");
    mailboxes.close();
    let joined = inference_thread.join().and(spin_thread.join());
    for camera in cameras_now.load().iter() {
        tracing::info!("{}{}", camera.prefix(), camera.summary());
    }
    runtime.shutdown_timeout(Duration::from_secs(1));
    joined.map_err(|_| anyhow::anyhow!("a thread of the node panicked"))
}

/// Prepares the pipeline that the settings ask for while another serves.
fn swap_when_ready(
    models: &Arc<ModelSlot>,
    current: &Arc<ArcSwap<Settings>>,
    mailboxes: &Arc<Mailboxes<camera::Arrival>>,
) -> std::io::Result<()> {
    let (models, current, mailboxes) = (models.clone(), current.clone(), mailboxes.clone());
    let load = move || {
        let asked = current.load().model.clone();
        tracing::info!("the processor serves until {} is ready", asked.provider.name());
        match models.prepare(&asked, None) {
            Ok(pipeline) => {
                models.put(pipeline, &asked, &current);
                mailboxes.wake();
            }
            Err(error) => tracing::error!("{error:#}; the processor goes on"),
        }
    };
    std::thread::Builder::new().name("load".to_owned()).spawn(load).map(drop)
}

/// Has the C library keep buffers of a picture's size. It would hand each back to the system and
/// ask for it anew with the next frame, and every page of it would fault once more.
fn keep_large_buffers() {
    #[cfg(target_env = "gnu")]
    // SAFETY: mallopt takes two numbers and answers 0 to those that it does not know.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 32 << 20);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 64 << 20);
    }
}

/// `/diagnostics`, once a second of wall time.
async fn report(
    publisher: r2r::Publisher<DiagnosticArray>,
    node: String,
    cameras: cameras::Now,
    models: Arc<ModelSlot>,
    config: config_file::Warning,
    places: Arc<ArcSwap<PlaceReport>>,
    clock: Arc<Mutex<r2r::Clock>>,
) {
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let name = node.trim_start_matches('/').to_owned();
    loop {
        ticks.tick().await;
        let now = clock.lock().unwrap_or_else(PoisonError::into_inner).get_now();
        let stamp = r2r::Clock::to_builtin_time(&now.unwrap_or_default());
        let places = places.load();
        let facts: Vec<_> = models.facts().iter().chain(&places.facts).cloned().collect();
        let config = config.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let config =
            config.map(|why| ("parameter file", format!("the parameter file is not taken: {why}")));
        let places_warning = places.warning.clone().map(|text| ("places trouble", text));
        let warnings: Vec<_> = config.into_iter().chain(places_warning).collect();
        let cameras = cameras.load();
        let reports = cameras.iter().filter_map(|camera| camera.report(&name, &facts, &warnings));
        let array = DiagnosticArray {
            header: Header { stamp, frame_id: String::new() },
            status: reports.collect(),
        };
        if let Err(error) = publisher.publish(&array) {
            tracing::warn!("/diagnostics: {error}");
        }
    }
}

async fn cancel_on_signal(shutdown: CancellationToken) {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else { return };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
    shutdown.cancel();
}

fn filter(level: LogLevel) -> EnvFilter {
    let directive = match level {
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
        LogLevel::Trace => "trace",
    };
    // ONNX Runtime's chatter is of use to its developers alone.
    EnvFilter::new(format!("{directive},ort=warn"))
}

fn start_logging(level: LogLevel) -> LogFilter {
    let (filter, handle) = reload::Layer::new(filter(level));
    let lines = tracing_subscriber::fmt::layer()
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    tracing_subscriber::registry().with(filter).with(lines).init();
    handle
}

fn set_log_level(handle: &LogFilter, level: LogLevel) {
    if let Err(error) = handle.reload(filter(level)) {
        tracing::warn!("log_level: {error}");
    }
}
