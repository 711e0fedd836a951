//! Threads that share the work on one frame's pixels.

use std::sync::{Arc, Once};

use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

/// Does `work` on each part, side by side within [`Threads::run`] if there is more than one.
pub fn for_each<T: Send>(parts: Vec<T>, work: impl Fn(T) + Send + Sync) {
    if parts.len() < 2 {
        // Outside of a pool Rayon would hand even this to a thread of its own.
        parts.into_iter().for_each(work);
    } else {
        parts.into_par_iter().for_each(work);
    }
}

/// The calling thread alone, or a pool of threads that sleep between frames.
#[derive(Debug, Clone)]
pub struct Threads {
    pool: Option<Arc<ThreadPool>>,
}

impl Default for Threads {
    /// The calling thread alone.
    fn default() -> Self {
        static ONCE: Once = Once::new();
        // Work outside of a pool would otherwise go to one of as many threads as processors.
        ONCE.call_once(|| {
            if let Err(error) = ThreadPoolBuilder::new().num_threads(1).build_global() {
                tracing::debug!("{error}");
            }
        });
        Self { pool: None }
    }
}

impl Threads {
    /// A pool of `count` threads, each of which calls `on_start` with its number; the calling thread
    /// alone for one, or where the system gives no threads.
    pub fn new(count: usize, on_start: impl Fn(usize) + Send + Sync + 'static) -> Self {
        if count < 2 {
            return Self::default();
        }
        let builder = ThreadPoolBuilder::new()
            .num_threads(count)
            .thread_name(|index| format!("pixels {index}"))
            .start_handler(on_start);
        match builder.build() {
            Ok(pool) => Self { pool: Some(Arc::new(pool)) },
            Err(error) => {
                tracing::warn!("no threads for pixels: {error}");
                Self::default()
            }
        }
    }

    /// Does `work`, which finds as many threads as there are by [`rayon::current_num_threads`].
    pub fn run<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        match &self.pool {
            Some(pool) => pool.install(work),
            None => work(),
        }
    }
}
