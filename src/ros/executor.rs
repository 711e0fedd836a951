//! The spin thread: the one owner of the node. Others hand it closures, which run between spins.
//!
//! Senders are the tasks and the inference thread, who wait while the queue is full; the receiver is
//! the spin thread. With the spin thread the queue ends, and closures that come later are dropped.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::subscription::Waiting;
use super::supervision::Watch;

type Task = Box<dyn FnOnce(&mut r2r::Node) + Send>;

/// How long a spin waits for traffic before closures get their turn.
const SPIN: Duration = Duration::from_millis(50);

/// Closures that may wait for their turn.
const MOST_WAITING: usize = 256;

/// A way to the node; cheap to clone.
#[derive(Debug, Clone)]
pub struct NodeHandle {
    tasks: mpsc::Sender<Task>,
    waiting: Arc<Waiting>,
}

impl NodeHandle {
    /// Runs a closure on the spin thread and gives its answer; `None` when the node is gone.
    pub async fn with<R: Send + 'static>(
        &self,
        task: impl FnOnce(&mut r2r::Node) -> R + Send + 'static,
    ) -> Option<R> {
        let (answer, answered) = oneshot::channel();
        let task = Box::new(move |node: &mut r2r::Node| {
            // The asker may have gone; then nobody misses the answer.
            let _ = answer.send(task(node));
        });
        self.tasks.send(task).await.ok()?;
        answered.await.ok()
    }

    /// The subscriptions that nobody takes the messages of.
    pub fn waiting(&self) -> &Arc<Waiting> {
        &self.waiting
    }

    /// Has a closure run on the spin thread, if that still runs. For plain threads alone: it blocks
    /// while the queue is full.
    pub fn post(&self, task: impl FnOnce(&mut r2r::Node) + Send + 'static) {
        // With the node goes all that the closure could have done to it.
        let _ = self.tasks.blocking_send(Box::new(task));
    }
}

/// Starts the spin thread, which ends when `shutdown` is cancelled and gives the node back. Closures
/// run on it within the current tokio runtime, so that they may start tasks.
///
/// # Errors
/// The system has no thread left.
pub fn spin(
    node: r2r::Node,
    watch: Arc<Watch>,
    shutdown: CancellationToken,
) -> std::io::Result<(NodeHandle, JoinHandle<r2r::Node>)> {
    let (tasks, mut received) = mpsc::channel::<Task>(MOST_WAITING);
    let runtime = tokio::runtime::Handle::current();
    let thread = std::thread::Builder::new().name("spin".to_owned()).spawn(move || {
        let _entered = runtime.enter();
        let mut node = node;
        let spin = |node: &mut r2r::Node| {
            while !shutdown.is_cancelled() {
                while let Ok(task) = received.try_recv() {
                    task(node);
                }
                node.spin_once(SPIN);
            }
        };
        watch.keep(&mut node, spin, |_| Ok(()));
        node
    })?;
    Ok((NodeHandle { tasks, waiting: Arc::default() }, thread))
}
