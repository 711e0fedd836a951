//! Where a frame's time goes: the one place of the core that reads a clock.

use std::time::{Duration, Instant};

/// Time of each stage of one frame, as `/squeezenet/timing` carries it.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct StageTimes {
    /// Waiting in the newest-frame slot.
    pub receive: Duration,
    /// Message bytes to pixels.
    pub decode: Duration,
    /// Pixels to the input tensor.
    pub preprocess: Duration,
    /// The network.
    pub inference: Duration,
    /// Logits to labels, mask, obstacles, overlay.
    pub postprocess: Duration,
    /// Results to messages, handed to the middleware.
    pub publish: Duration,
}

impl StageTimes {
    /// The stages' names and times, in the order in which a frame passes them.
    pub fn stages(&self) -> [(&'static str, Duration); 6] {
        [
            ("receive", self.receive),
            ("decode", self.decode),
            ("preprocess", self.preprocess),
            ("inference", self.inference),
            ("postprocess", self.postprocess),
            ("publish", self.publish),
        ]
    }

    /// All stages together.
    pub fn total(&self) -> Duration {
        self.stages().iter().map(|(_, time)| *time).sum()
    }
}

/// Splits the time since it was made into laps.
#[derive(Debug)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts now.
    #[expect(clippy::new_without_default, reason = "a default that reads the clock would surprise")]
    pub fn new() -> Self {
        Self(Instant::now())
    }

    /// The time since the last lap, or since the start.
    pub fn lap(&mut self) -> Duration {
        let now = Instant::now();
        now - std::mem::replace(&mut self.0, now)
    }
}

/// A duration in milliseconds.
pub fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
