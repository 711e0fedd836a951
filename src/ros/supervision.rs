//! A watch over the threads without which the node answers nothing: one that panics is started
//! again, with a word on the log and in `/diagnostics`; one that goes on panicking ends the node,
//! with exit status 1, so that whoever started it can start it anew. So does a task that panics.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Instant;

use futures::FutureExt;
use tokio_util::sync::CancellationToken;

use crate::caught::is_catching;
use crate::lock::lock;
use crate::restarts::{self, Restarts};

/// The one that hears of panics, for tasks wherever they are started.
static WATCH: OnceLock<Arc<Watch>> = OnceLock::new();

/// A task's work, which ends the node if it panics: a part of it would be missing, and the rest
/// look alive.
pub async fn guarded(work: impl Future<Output = ()> + Send) {
    if AssertUnwindSafe(work).catch_unwind().await.is_err()
        && let Some(watch) = WATCH.get()
    {
        watch.fail("a task panicked");
    }
}

/// What the threads' owner and `/diagnostics` know of panics. One for the process.
#[derive(Debug)]
pub struct Watch {
    shutdown: CancellationToken,
    has_failed: AtomicBool,
    last_panic: Mutex<Option<(Instant, String)>>,
}

impl Watch {
    /// Ends the node through `shutdown` when it has to.
    pub fn new(shutdown: CancellationToken) -> Arc<Self> {
        Arc::new(Self {
            shutdown,
            has_failed: AtomicBool::new(false),
            last_panic: Mutex::default(),
        })
    }

    /// Has panics of all threads told on the log, and those of [`guarded`] tasks end the node.
    pub fn hear_panics(self: &Arc<Self>) {
        let watch = WATCH.get_or_init(|| self.clone()).clone();
        std::panic::set_hook(Box::new(move |info| {
            let thread = std::thread::current();
            let name = thread.name().unwrap_or("without a name");
            let what = info.payload_as_str().unwrap_or("no message");
            let place = info.location().map(|at| format!(" at {at}")).unwrap_or_default();
            tracing::error!("thread {name} panicked{place}: {what}");
            if !is_catching() {
                *watch.last() =
                    Some((Instant::now(), format!("thread {name} panicked{place}: {what}")));
            }
        }));
    }

    /// Runs `work` until it ends by itself. After a panic `mend` is called, and then it is run
    /// again, unless that has not helped; then the node ends.
    pub fn keep<T>(
        &self,
        thing: &mut T,
        mut work: impl FnMut(&mut T),
        mut mend: impl FnMut(&mut T) -> anyhow::Result<()>,
    ) {
        let mut restarts = Restarts::default();
        loop {
            if catch_unwind(AssertUnwindSafe(|| work(thing))).is_ok() {
                return;
            }
            let name = std::thread::current().name().unwrap_or_default().to_owned();
            if !restarts.grant(Instant::now()) {
                let most = restarts::MOST;
                return self
                    .fail(&format!("thread {name} panicked after {most} restarts in a minute"));
            }
            match catch_unwind(AssertUnwindSafe(|| mend(thing))) {
                Ok(Ok(())) => tracing::warn!("thread {name} is started again"),
                Ok(Err(error)) => {
                    return self.fail(&format!("thread {name} cannot be started again: {error:#}"));
                }
                Err(_) => return self.fail(&format!("thread {name} cannot be started again")),
            }
        }
    }

    /// Ends the node, with exit status 1.
    pub fn fail(&self, why: &str) {
        tracing::error!("{why}: the node ends");
        self.has_failed.store(true, Relaxed);
        self.shutdown.cancel();
    }

    /// Whether the node ended by [`fail`](Self::fail).
    pub fn has_failed(&self) -> bool {
        self.has_failed.load(Relaxed)
    }

    /// What `/diagnostics` has to say of a panic in the last minute.
    pub fn recent_panic(&self) -> Option<String> {
        let last = self.last();
        let (at, what) = last.as_ref()?;
        (at.elapsed() < restarts::WINDOW)
            .then(|| format!("{what}: please report this, with the lines of the log"))
    }

    fn last(&self) -> MutexGuard<'_, Option<(Instant, String)>> {
        lock(&self.last_panic)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_that_panics_is_started_again_three_times_and_then_the_node_ends() {
        let shutdown = CancellationToken::new();
        let watch = Watch::new(shutdown.clone());
        let mut runs = 0;
        watch.keep(
            &mut runs,
            |runs| {
                *runs += 1;
                assert!(*runs > 2, "fails twice");
            },
            |_| Ok(()),
        );
        assert_eq!(runs, 3);
        assert!(!watch.has_failed() && !shutdown.is_cancelled());

        let mut runs = 0;
        watch.keep(
            &mut runs,
            |runs| {
                *runs += 1;
                assert_eq!(*runs, 0, "fails for ever");
            },
            |_| Ok(()),
        );
        assert_eq!(runs, 4, "once, and three restarts");
        assert!(watch.has_failed() && shutdown.is_cancelled());
    }

    #[test]
    fn what_cannot_be_mended_ends_the_node() {
        let shutdown = CancellationToken::new();
        let watch = Watch::new(shutdown.clone());
        watch.keep(&mut (), |()| panic!("at once"), |()| anyhow::bail!("no model"));
        assert!(watch.has_failed() && shutdown.is_cancelled());
    }
}
