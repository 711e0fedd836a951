//! The cameras that there are: they come and go with the parameter `cameras`, each by itself, while
//! the others' frames are answered.
//!
//! ```text
//! parameters --Notify--> Cameras --publishers made--> spin thread
//!                           |  `---Change--> inference thread --publishers to destroy--> spin thread
//!                           `---a task for its subscription, a slot, its counters
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Context;
use arc_swap::ArcSwap;
use tokio::sync::mpsc::Sender;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::camera::{self, Arrival};
use super::camera_info;
use super::diagnostics::CameraState;
use super::executor::NodeHandle;
use super::mailbox::Mailboxes;
use super::names::Resolver;
use super::output::CameraOutputs;
use super::supervision::guarded;
use crate::settings::{Reliability, Settings};

/// What the inference thread has to know. Sent by [`Cameras`]; who sends waits while the queue is
/// full.
pub enum Change {
    /// Frames of this camera come, and are answered there.
    Add(Arc<CameraState>, Box<CameraOutputs>),
    /// The camera of this number has gone.
    Remove(usize),
}

/// The cameras that there are now, by name; written by [`Cameras`] alone.
pub type Now = Arc<ArcSwap<Vec<Arc<CameraState>>>>;

/// A camera that runs, and what ends its subscription.
struct Running {
    state: Arc<CameraState>,
    end: CancellationToken,
}

/// The owner of the set of cameras.
pub struct Cameras {
    settings: Arc<ArcSwap<Settings>>,
    node: NodeHandle,
    resolver: Arc<Resolver>,
    mailboxes: Arc<Mailboxes<Arrival>>,
    changes: Sender<Change>,
    is_active: watch::Receiver<bool>,
    shutdown: CancellationToken,
    now: Now,
    running: BTreeMap<String, Running>,
    next_id: usize,
}

impl Cameras {
    /// No cameras yet; each is told to the inference thread through `changes`, and subscribed to
    /// while the node is active.
    pub fn new(
        settings: Arc<ArcSwap<Settings>>,
        node: NodeHandle,
        resolver: Arc<Resolver>,
        mailboxes: Arc<Mailboxes<Arrival>>,
        changes: Sender<Change>,
        is_active: watch::Receiver<bool>,
        shutdown: CancellationToken,
    ) -> Self {
        Self {
            settings,
            node,
            resolver,
            mailboxes,
            changes,
            is_active,
            shutdown,
            now: Now::default(),
            running: BTreeMap::new(),
            next_id: 0,
        }
    }

    /// The cameras that there are, for those who want to know.
    pub fn now(&self) -> Now {
        self.now.clone()
    }

    /// Adds and removes cameras whenever told that the settings may be others, until shutdown.
    pub async fn run(mut self, changed: Arc<Notify>) {
        loop {
            tokio::select! {
                () = self.shutdown.cancelled() => return,
                () = changed.notified() => {}
            }
            if let Err(error) = self.follow().await {
                tracing::error!("{error:#}; the next change of a parameter tries it again");
            }
        }
    }

    /// Makes the cameras those of the settings in force.
    ///
    /// # Errors
    /// The first camera whose publishers cannot be made; the others are there.
    pub async fn follow(&mut self) -> anyhow::Result<()> {
        let settings = self.settings.load_full();
        let is_start = self.running.is_empty();
        let mut result = Ok(());
        // The new ones first, so that there is always one to be taught.
        for name in settings.cameras.keys() {
            if self.running.contains_key(name) {
                continue;
            }
            match self.add(name, settings.outputs.reliability).await {
                Ok(()) if is_start => {}
                Ok(()) => tracing::info!("{} is added", shown(name)),
                Err(error) => result = result.and(Err(error)),
            }
        }
        let has_gone = |name: &&String| !settings.cameras.contains_key(*name);
        let gone: Vec<String> = self.running.keys().filter(has_gone).cloned().collect();
        for name in gone {
            self.remove(&name).await;
        }
        let states = self.running.values().map(|camera| camera.state.clone());
        self.now.store(Arc::new(states.collect()));
        result
    }

    async fn add(&mut self, name: &str, reliability: Reliability) -> anyhow::Result<()> {
        let own = name.to_owned();
        let outputs = self.node.with(move |node| CameraOutputs::new(node, &own, reliability)).await;
        // Without a node there is nothing to add to.
        let Some(outputs) = outputs else { return Ok(()) };
        let outputs = outputs.with_context(|| format!("{} cannot be added", shown(name)))?;
        let state = Arc::new(CameraState::new(self.next_id, name, self.settings.clone()));
        self.next_id += 1;
        self.mailboxes.add(state.id);
        self.tell(Change::Add(state.clone(), Box::new(outputs))).await;
        let end = self.shutdown.child_token();
        tokio::spawn(guarded(camera::run(
            state.clone(),
            self.node.clone(),
            self.resolver.clone(),
            self.mailboxes.clone(),
            self.is_active.clone(),
            end.clone(),
        )));
        tokio::spawn(guarded(camera_info::follow(
            state.clone(),
            self.node.clone(),
            self.resolver.clone(),
            self.is_active.clone(),
            end.clone(),
        )));
        self.running.insert(name.to_owned(), Running { state, end });
        Ok(())
    }

    async fn remove(&mut self, name: &str) {
        let Some(Running { state, end }) = self.running.remove(name) else { return };
        end.cancel();
        self.mailboxes.remove(state.id);
        self.tell(Change::Remove(state.id)).await;
        tracing::info!("{} is removed: {}", shown(name), state.summary());
    }

    async fn tell(&self, change: Change) {
        // The inference thread that has ended needs to know nothing.
        let _ = self.changes.send(change).await;
        self.mailboxes.wake();
    }
}

fn shown(name: &str) -> String {
    if name.is_empty() { "the camera without a name".to_owned() } else { format!("camera {name}") }
}
