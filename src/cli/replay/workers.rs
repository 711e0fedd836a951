//! Frames side by side, each on a pipeline of its own: on a few processors that makes more frames a
//! second than one frame on all of them. Answers are taken in the order of the frames.

use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;

use super::source::{Camera, FrameFailure, QueuedFrame};
use crate::pipeline::{Pipeline, PipelineError};
use crate::result::{FrameResult, Wanted};
use crate::settings::CameraSettings;

/// A frame that came back, with what became of it.
pub struct Answered {
    /// The frame.
    pub queued: QueuedFrame,
    /// Its result.
    pub result: Result<FrameResult, FrameFailure>,
}

/// A frame on its way.
pub struct Pending(Receiver<Answered>);

struct Task {
    queued: QueuedFrame,
    answer: SyncSender<Answered>,
}

/// What is asked of every frame.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Outputs.
    pub wanted: Wanted,
    /// Settings of all cameras.
    pub settings: CameraSettings,
    /// The cameras.
    pub cameras: Vec<Camera>,
}

/// Threads that take frames as they come free. They end when this is dropped.
pub struct Workers {
    tasks: Sender<Task>,
    count: usize,
}

impl Workers {
    /// A thread for each pipeline.
    pub fn start(pipelines: Vec<Pipeline>, asked: &Asked) -> Self {
        let (tasks, queue) = channel::<Task>();
        let queue = Arc::new(Mutex::new(queue));
        let count = pipelines.len();
        for mut pipeline in pipelines {
            let (queue, asked) = (queue.clone(), asked.clone());
            std::thread::spawn(move || {
                while let Some(Task { queued, answer }) = next(&queue) {
                    let result = process(&mut pipeline, &queued, &asked);
                    // Nobody waits for it any more where the replay was stopped.
                    let _ = answer.send(Answered { queued, result });
                }
            });
        }
        Self { tasks, count }
    }

    /// Frames to have under way, so that no worker waits for the next one. A single worker gets one:
    /// its times are then those of a frame by itself.
    pub fn depth(&self) -> usize {
        match self.count {
            1 => 1,
            count => 2 * count,
        }
    }

    /// Gives a frame to the worker that is free first.
    pub fn submit(&self, queued: QueuedFrame) -> Pending {
        let (answer, pending) = sync_channel(1);
        // Workers that are gone have panicked: waiting for the answer says so.
        let _ = self.tasks.send(Task { queued, answer });
        Pending(pending)
    }
}

impl Pending {
    /// Waits for the frame's answer.
    ///
    /// # Errors
    /// If the worker has panicked.
    pub fn wait(&self) -> anyhow::Result<Answered> {
        self.0.recv().context("a thread of the replay has panicked, its words stand above")
    }
}

fn next(queue: &Mutex<Receiver<Task>>) -> Option<Task> {
    queue.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}

fn process(
    pipeline: &mut Pipeline,
    queued: &QueuedFrame,
    asked: &Asked,
) -> Result<FrameResult, FrameFailure> {
    let frame = queued.frame(asked.cameras[queued.camera].is_compressed)?;
    let result = pipeline.process(frame, asked.wanted, &asked.settings);
    result.map_err(|error: PipelineError| error.into())
}
