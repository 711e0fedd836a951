//! The thread that owns the file of what was taught. To read and to write take their time there,
//! not between two frames.
//!
//! Senders are [`PlaceFile`]'s methods on the inference thread; what comes of a task goes back to it
//! as an [`Event`], and it is woken. The queue holds four tasks: one to open, and one to write at a
//! time but for those that a user asks for, which are refused while it is full. When the
//! [`PlaceFile`] is finished the thread does what is left and ends.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;

use super::inbox::Reply;
use crate::caught::catch;
use crate::file_lock::{Lock, LockError};
use crate::place::{self, Memory};

const PANICKED: &str =
    "the places file could not be worked on, see the log; please report it with the file";

/// What came of a task.
pub enum Event {
    /// The memory of the model that runs, and what happened to a file that was not taken.
    Opened(Box<Memory>, Option<String>),
    /// Another keeps the file: what is in it is recognised, nothing may be taught.
    Held(Box<Memory>, String),
    /// The file can neither be read nor set aside: nothing may be written in its place.
    Unusable(Box<Memory>, String),
    /// It was written, or why not.
    Written(Result<(), String>),
}

enum Task {
    Open(Box<Memory>),
    Write(Arc<Memory>, Option<Reply>),
}

/// The way to the thread.
pub struct PlaceFile {
    path: PathBuf,
    tasks: SyncSender<Task>,
    events: Receiver<Event>,
    thread: JoinHandle<()>,
}

impl PlaceFile {
    /// Starts the thread; `wake` is called after each event, `holder` says to others who keeps the
    /// file, from the first that is opened until the thread ends.
    ///
    /// # Errors
    /// The system has no thread left.
    pub fn start(
        path: PathBuf,
        holder: String,
        wake: impl Fn() + Send + 'static,
    ) -> std::io::Result<Self> {
        let (tasks, received) = sync_channel::<Task>(4);
        let (told, events) = channel();
        let own = path.clone();
        let thread = std::thread::Builder::new().name("places".to_owned()).spawn(move || {
            let mut lock = None;
            for task in received {
                let event = match task {
                    Task::Open(empty) => {
                        let spare = empty.clone();
                        catch(|| open(&own, *empty, &holder, &mut lock))
                            .unwrap_or_else(|_| Event::Unusable(spare, PANICKED.to_owned()))
                    }
                    Task::Write(memory, reply) => catch(|| write(&own, &memory, reply))
                        .unwrap_or_else(|_| Event::Written(Err(PANICKED.to_owned()))),
                };
                // At the end nobody asks any more.
                let _ = told.send(event);
                wake();
            }
        })?;
        Ok(Self { path, tasks, events, thread })
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Has the file read for the model whose empty memory this is.
    pub fn open(&self, empty: Memory) {
        // Waits while the queue is full: at a change of the model only.
        let _ = self.tasks.send(Task::Open(Box::new(empty)));
    }

    /// Has the memory written whatever else there is to do; waits for room in the queue.
    pub fn write_surely(&self, memory: Arc<Memory>) {
        // At a change of the model and at the end only.
        let _ = self.tasks.send(Task::Write(memory, None));
    }

    /// Has the memory written; `false` while the thread has too much to do.
    pub fn write(&self, memory: Arc<Memory>) -> bool {
        self.tasks.try_send(Task::Write(memory, None)).is_ok()
    }

    /// The same for a user who waits for what came of it.
    pub fn write_and_tell(&self, memory: Arc<Memory>, reply: Reply) -> bool {
        use std::sync::mpsc::TrySendError::{Disconnected, Full};
        match self.tasks.try_send(Task::Write(memory, Some(reply))) {
            Ok(()) => true,
            Err(Full(task) | Disconnected(task)) => {
                if let Task::Write(_, Some(reply)) = task {
                    let _ = reply.send(Err("the disk is busy, try again".to_owned()));
                }
                false
            }
        }
    }

    /// What has come of tasks since the last call.
    pub fn event(&self) -> Option<Event> {
        self.events.try_recv().ok()
    }

    /// Waits until all is done.
    pub fn finish(self) {
        drop(self.tasks);
        if self.thread.join().is_err() {
            tracing::error!("the thread that writes {} panicked", self.path.display());
        }
    }
}

fn open(path: &Path, empty: Memory, holder: &str, lock: &mut Option<Lock>) -> Event {
    if lock.is_none() {
        match Lock::take(path, "places.file (or --gallery)", holder) {
            Ok(taken) => *lock = Some(taken),
            Err(LockError::Io { path, reason }) => {
                tracing::warn!("{}: {reason}: the places file is not locked", path.display());
            }
            Err(error @ LockError::Held { .. }) => {
                let memory = Memory::load(path, &empty.owner).ok().flatten().unwrap_or(empty);
                return Event::Held(Box::new(memory), error.to_string());
            }
        }
    }
    match Memory::open(path, empty.clone()) {
        Ok((memory, told)) => Event::Opened(Box::new(memory), told),
        Err(error) => Event::Unusable(Box::new(empty), error.to_string()),
    }
}

fn write(path: &Path, memory: &Memory, reply: Option<Reply>) -> Event {
    let bytes = memory.to_bytes().map_err(|error| error.to_string());
    let result = bytes
        .and_then(|bytes| place::write(path, &bytes).map_err(|error| error.to_string()))
        .inspect_err(|reason| tracing::error!("what was taught cannot be saved: {reason}"));
    if let Some(reply) = reply {
        let said = result.clone().map(|()| format!("{} in {}", memory.summary(), path.display()));
        // Who asked may have gone.
        let _ = reply.send(said);
    }
    Event::Written(result)
}
