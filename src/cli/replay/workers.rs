//! Frames side by side, each on a pipeline of its own: on a few processors that makes more frames a
//! second than one frame on all of them. What comes of them is in the order of the bag.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex};

use anyhow::Context;

use super::source::{Camera, FrameFailure, Item, QueuedFrame};
use crate::bag::{BagError, Message};
use crate::head::segmentation::Steady;
use crate::learning::CorrectionSlot;
use crate::lock::lock;
use crate::pipeline::Pipeline;
use crate::result::{FrameResult, Wanted};
use crate::settings::CameraSettings;

/// What other topics' messages may take in memory while they wait for the frames before them.
const MAX_WAITING_BYTES: usize = 256 << 20;

/// An [`Item`], a frame with what became of it.
pub enum Event {
    /// A picture that was processed, or was not.
    Frame(Box<Answered>),
    /// A message of another topic.
    Other(Message),
    /// Something that was left out.
    Problem(BagError),
}

/// A frame that came back, with what became of it.
pub struct Answered {
    /// The frame.
    pub queued: QueuedFrame,
    /// Its result.
    pub result: Result<FrameResult, FrameFailure>,
}

struct Task {
    queued: QueuedFrame,
    answer: SyncSender<Answered>,
}

/// What is asked of every frame.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Outputs.
    pub wanted: Wanted,
    /// Settings of each camera.
    pub settings: Vec<CameraSettings>,
    /// The cameras.
    pub cameras: Vec<Camera>,
    /// What was learnt by driving.
    pub correction: CorrectionSlot,
    /// One a camera: its last answer was withheld, and the next is not made steady by it. Read where frames come one at
    /// a time, as they do with `mask.smoothing`.
    pub withheld: Arc<[AtomicBool]>,
}

/// Threads that take frames as they come free. They end when this is dropped.
struct Workers {
    tasks: Sender<Task>,
    count: usize,
}

impl Workers {
    /// A thread for each pipeline.
    fn start(pipelines: Vec<Pipeline>, asked: &Asked) -> Self {
        let (tasks, queue) = channel::<Task>();
        let queue = Arc::new(Mutex::new(queue));
        let count = pipelines.len();
        for mut pipeline in pipelines {
            let (queue, asked) = (queue.clone(), asked.clone());
            std::thread::spawn(move || {
                let mut steady: Vec<Steady> =
                    asked.cameras.iter().map(|_| Steady::default()).collect();
                while let Some(Task { queued, answer }) = next(&queue) {
                    let result = process(&mut pipeline, &queued, &asked, &mut steady);
                    // Nobody waits for it any more where the replay has failed.
                    let _ = answer.send(Answered { queued, result });
                }
            });
        }
        Self { tasks, count }
    }

    /// Frames to have under way, so that no worker waits for the next one. A single worker gets one:
    /// its times are then those of a frame by itself.
    fn depth(&self) -> usize {
        match self.count {
            1 => 1,
            count => 2 * count,
        }
    }

    /// Gives a frame to the worker that is free first.
    fn submit(&self, queued: QueuedFrame) -> Receiver<Answered> {
        let (answer, pending) = sync_channel(1);
        // Workers that are gone have panicked: waiting for the answer says so.
        let _ = self.tasks.send(Task { queued, answer });
        pending
    }
}

fn next(queue: &Mutex<Receiver<Task>>) -> Option<Task> {
    lock(queue).recv().ok()
}

fn process(
    pipeline: &mut Pipeline,
    queued: &QueuedFrame,
    asked: &Asked,
    steady: &mut [Steady],
) -> Result<FrameResult, FrameFailure> {
    pipeline.set_correction(asked.correction.get());
    let is_compressed = asked.cameras[queued.camera].is_compressed;
    let frame = queued.frame(is_compressed)?;
    let steady = &mut steady[queued.camera];
    if asked.withheld[queued.camera].swap(false, Ordering::Relaxed) {
        steady.forget();
    }
    steady.start(i64::try_from(queued.message.log_time).unwrap_or(i64::MAX));
    Ok(pipeline.process_steady(frame, asked.wanted, &asked.settings[queued.camera], steady)?)
}

/// What was read and not given on yet.
enum Waiting {
    Frame(Receiver<Answered>),
    Other(Message),
    Problem(BagError),
}

/// Gives on what `items` holds, in its order, and keeps the workers busy with the frames ahead.
pub struct Processed<I> {
    items: I,
    workers: Workers,
    waiting: VecDeque<Waiting>,
    frames_waiting: usize,
    bytes_waiting: usize,
}

impl<I: Iterator<Item = Item>> Processed<I> {
    /// Starts a worker for each pipeline.
    pub fn new(items: I, pipelines: Vec<Pipeline>, asked: &Asked) -> Self {
        let workers = Workers::start(pipelines, asked);
        Self { items, workers, waiting: VecDeque::new(), frames_waiting: 0, bytes_waiting: 0 }
    }

    /// Whether what comes first is ready, or enough is under way to wait for it.
    fn is_filled(&self) -> bool {
        self.waiting.front().is_some_and(|first| !matches!(first, Waiting::Frame(_)))
            || self.frames_waiting >= self.workers.depth()
            || self.bytes_waiting > MAX_WAITING_BYTES
    }
}

impl<I: Iterator<Item = Item>> Iterator for Processed<I> {
    /// An error if a worker has panicked.
    type Item = anyhow::Result<Event>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.is_filled() {
            let Some(item) = self.items.next() else { break };
            self.waiting.push_back(match item {
                Item::Frame(queued) => {
                    self.frames_waiting += 1;
                    Waiting::Frame(self.workers.submit(queued))
                }
                Item::Other(message) => {
                    self.bytes_waiting += message.payload.len();
                    Waiting::Other(message)
                }
                Item::Problem(problem) => Waiting::Problem(problem),
            });
        }
        Some(match self.waiting.pop_front()? {
            Waiting::Frame(pending) => {
                self.frames_waiting -= 1;
                let answered = pending.recv();
                let panicked = "a thread of the replay has panicked, its words stand above";
                answered.map(|answered| Event::Frame(Box::new(answered))).context(panicked)
            }
            Waiting::Other(message) => {
                self.bytes_waiting -= message.payload.len();
                Ok(Event::Other(message))
            }
            Waiting::Problem(problem) => Ok(Event::Problem(problem)),
        })
    }
}
