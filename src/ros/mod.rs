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

mod arguments;
mod bond;
mod camera;
mod camera_info;
mod cameras;
mod config_file;
mod consumer;
mod diagnostics;
mod executor;
mod ground;
mod hints;
mod inbox;
mod learning;
mod life;
mod lifecycle;
mod log;
mod mailbox;
mod model;
mod names;
mod output;
mod parameter_services;
mod place_file;
mod place_requests;
mod places;
mod pose;
mod qos;
mod subscription;
mod supervision;
mod survey;
mod tf;
mod typed_topic;
mod worker;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use arc_swap::ArcSwap;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::lifecycle::Step;
use crate::parameter::{Store, Value};
use inbox::Inbox;
use life::{Base, Life};
use lifecycle::Managed;
use log::{GivenLevels, Log};
use mailbox::Mailboxes;
use model::ModelSlot;
use names::Resolver;
use supervision::{Watch, guarded};
pub use survey::survey;

/// The node's name, unless it is remapped.
const NAME: &str = "squeezenet";
/// How long a step of the lifecycle that is under way may take when the node is to end.
const STEP_PATIENCE: Duration = Duration::from_secs(2);

/// Signals that come within this after the first mean the same.
const DOUBLE_SIGNAL: Duration = Duration::from_secs(3);

/// Runs the node until SIGINT or SIGTERM, and gives exit status 1 where it ended because a thread
/// went on panicking.
///
/// # Errors
/// Whatever keeps the node from starting: ROS, parameters, the model.
pub fn run() -> anyhow::Result<ExitCode> {
    set_up_allocator();
    let given = arguments::take_parameters()?;
    let context = arguments::context()?;
    let mut node = r2r::Node::create(context, NAME, "").context("the node cannot be created")?;
    let qualified_name = node.fully_qualified_name()?;
    let config_file::Started { mut store, watched, notes } =
        config_file::start(&given, &qualified_name)?;
    let levels = GivenLevels::of(std::env::args());
    if let Some(level) = levels.level(node.logger()) {
        let level = Value::Text(log::level_name(level).to_owned());
        store.set(&[("log_level".to_owned(), level)])?;
    }
    let (name, namespace) = (node.name()?, node.namespace()?);
    let resolver = Resolver::new(&name, &namespace, std::env::args());
    qos::start(store.qos_overrides(), resolver.clone());
    let log = Log::start(&mut node, store.settings().log_level, &levels)?;
    for note in notes {
        tracing::warn!("{note}");
    }

    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("tokio")
        .enable_all()
        .build()?;
    let _entered = runtime.enter();
    let shutdown = CancellationToken::new();
    runtime.spawn(cancel_on_signal(shutdown.clone()));
    let watch = Watch::new(shutdown.clone());
    watch.hear_panics();
    let spin_end = CancellationToken::new();
    let (base, spin_thread) = serve(node, store, resolver, log, watch.clone(), spin_end.clone())?;
    let looking = hints::watch_for_namesake(base.node.clone(), name, namespace, shutdown.clone());
    runtime.spawn(guarded(looking));
    if let Some(file) = watched {
        let (parameters, warning) = (base.parameters.clone(), base.file_warning.clone());
        let end = shutdown.clone();
        let watching = config_file::watch(file, qualified_name, parameters, warning, end);
        runtime.spawn(guarded(watching));
    }

    let is_managed = base.settings.load().is_managed;
    let life = Arc::new(tokio::sync::Mutex::new(Life::new(base.clone(), !is_managed)));
    let lived = runtime.block_on(async {
        tokio::select! {
            lived = live(&base, &life, &shutdown) => lived,
            () = shutdown.cancelled() => Ok(()),
        }
    });
    tracing::info!("stopping");
    shutdown.cancel();
    // A step that is under way goes first. One that takes long cannot be asked to stop: the process ends.
    runtime.block_on(async {
        if let Ok(mut life) = tokio::time::timeout(STEP_PATIENCE, life.lock()).await {
            life.cleanup().await;
        }
    });
    spin_end.cancel();
    let node = spin_thread.join();
    runtime.shutdown_timeout(Duration::from_secs(1));
    // Last of all, since with the node goes its way to /rosout, and others may log up to here.
    drop(node);
    lived?;
    Ok(if watch.has_failed() { ExitCode::from(1) } else { ExitCode::SUCCESS })
}

/// Puts the node on the graph with its parameters, and has it spun until `spin_end`.
fn serve(
    mut node: r2r::Node,
    store: Store,
    resolver: Resolver,
    log: Log,
    watch: Arc<Watch>,
    spin_end: CancellationToken,
) -> anyhow::Result<(Arc<Base>, std::thread::JoinHandle<r2r::Node>)> {
    let clock = node.get_ros_clock();
    let settings = store.settings();
    if settings.use_sim_time {
        let time_source = node.get_time_source();
        time_source.enable_sim_time(&mut node)?;
    }
    let settings = Arc::new(ArcSwap::new(settings));
    let models = Arc::new(ModelSlot::default());
    let mailboxes = Arc::new(Mailboxes::default());
    let cameras_changed = Arc::new(Notify::new());
    let on_change: parameter_services::OnChange = {
        let (settings, mailboxes) = (settings.clone(), mailboxes.clone());
        let (cameras_changed, models) = (cameras_changed.clone(), models.clone());
        Box::new(move |store, changed| {
            let after = store.settings();
            log.set_level(after.log_level);
            models.put_in_force(&settings, after);
            tracing::info!("parameters changed: {}", changed.join(", "));
            cameras_changed.notify_one();
            mailboxes.wake();
        })
    };
    let parameters =
        parameter_services::serve(&mut node, store, models.clone(), clock.clone(), on_change)?;
    let name = node.fully_qualified_name()?;
    let (handle, spin_thread) = executor::spin(node, watch.clone(), spin_end)?;
    let base = Base {
        name,
        node: handle,
        resolver: Arc::new(resolver),
        clock,
        settings,
        parameters,
        models,
        place_requests: Inbox::new(place_requests::MOST_WAITING, {
            let mailboxes = mailboxes.clone();
            move || mailboxes.wake()
        }),
        learning_requests: Inbox::new(learning::MOST_WAITING, || ()),
        mailboxes,
        cameras_changed,
        watch,
        file_warning: config_file::Warning::default(),
    };
    Ok((Arc::new(base), spin_thread))
}

/// Lives until `shutdown`: by itself, or as a manager says.
///
/// # Errors
/// What keeps a node from being configured that nobody manages.
async fn live(
    base: &Arc<Base>,
    life: &Arc<tokio::sync::Mutex<Life>>,
    shutdown: &CancellationToken,
) -> anyhow::Result<()> {
    let settings = base.settings.load_full();
    if settings.is_managed {
        let is_active = life.lock().await.is_active();
        let managed = Managed::serve(base, life.clone()).await?;
        let node_name = base.name.rsplit('/').next().unwrap_or(NAME).to_owned();
        tokio::spawn(guarded(bond::keep(base.clone(), node_name, is_active, shutdown.clone())));
        if !settings.autostart {
            tracing::info!("managed: unconfigured, and ready for a manager");
        } else if managed.step(Step::Configure).await {
            managed.step(Step::Activate).await;
        }
    } else {
        let mut life = life.lock().await;
        life.configure().await?;
        life.activate();
    }
    shutdown.cancelled().await;
    Ok(())
}

/// Has the C library keep buffers of a picture's size: it would hand each back to the system and
/// ask for it anew with the next frame, and every page of it would fault once more. And has it share two
/// arenas among all threads: by itself it takes eight a processor, and what each keeps for later adds up
/// over days of changing models. `MALLOC_ARENA_MAX` in the environment asks for another number.
fn set_up_allocator() {
    #[cfg(target_env = "gnu")]
    // SAFETY: mallopt takes two numbers and answers 0 to those that it does not know.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 32 << 20);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 64 << 20);
        if std::env::var_os("MALLOC_ARENA_MAX").is_none() {
            libc::mallopt(libc::M_ARENA_MAX, 2);
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
    // A service manager and a launch file may each send one at the same time.
    tokio::time::sleep(DOUBLE_SIGNAL).await;
    if tokio::signal::ctrl_c().await.is_ok() {
        // What it still waits for, such as a disk that has gone, is waited for no longer.
        tracing::error!("SIGINT once more: it ends at once, whatever is not yet saved");
        // SAFETY: it takes no lock and runs nothing: to end in good order is what has failed.
        unsafe { libc::_exit(1) }
    }
}
