//! The spin thread: the one owner of the node. Others hand it closures, which run between spins.

use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

type Task = Box<dyn FnOnce(&mut r2r::Node) + Send>;

/// How long a spin waits for traffic before closures get their turn.
const SPIN: Duration = Duration::from_millis(50);

/// A way to the node; cheap to clone.
#[derive(Debug, Clone)]
pub struct NodeHandle {
    tasks: mpsc::Sender<Task>,
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
        self.tasks.send(task).ok()?;
        answered.await.ok()
    }

    /// Has a closure run on the spin thread, if that still runs.
    pub fn post(&self, task: impl FnOnce(&mut r2r::Node) + Send + 'static) {
        // With the node goes all that the closure could have done to it.
        let _ = self.tasks.send(Box::new(task));
    }
}

/// Starts the spin thread, which ends when `shutdown` is cancelled.
///
/// # Errors
/// The system has no thread left.
pub fn spin(
    mut node: r2r::Node,
    shutdown: CancellationToken,
) -> std::io::Result<(NodeHandle, JoinHandle<()>)> {
    let (tasks, received) = mpsc::channel::<Task>();
    let thread = std::thread::Builder::new().name("spin".to_owned()).spawn(move || {
        while !shutdown.is_cancelled() {
            while let Ok(task) = received.try_recv() {
                task(&mut node);
            }
            node.spin_once(SPIN);
        }
    })?;
    Ok((NodeHandle { tasks }, thread))
}
