//! Where a frame's time goes: the one place of the core that reads a clock.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

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

/// Distribution of the times of each stage, of the total and of the frames' age.
///
/// Histograms of three significant digits from 1 microsecond to a minute: memory does not grow
/// with the number of frames.
#[derive(Debug, Clone)]
pub struct StageStatistics {
    histograms: Vec<(&'static str, Histogram<u64>)>,
}

/// Percentiles of one stage in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Percentiles {
    /// Median.
    pub p50: f64,
    /// 95 of 100 are at most this.
    pub p95: f64,
    /// 99 of 100 are at most this.
    pub p99: f64,
    /// The longest.
    pub max: f64,
    /// Values counted.
    #[serde(default)]
    pub count: u64,
}

impl Default for StageStatistics {
    fn default() -> Self {
        let names = StageTimes::default().stages().map(|(name, _)| name);
        let names = names.into_iter().chain(["total", "age"]);
        let histograms = names.filter_map(|name| {
            let histogram = Histogram::new_with_bounds(1, 60_000_000, 3).ok()?;
            Some((name, histogram))
        });
        Self { histograms: histograms.collect() }
    }
}

impl StageStatistics {
    /// Counts a frame; `age` is from its stamp to its publication, where that is known.
    pub fn record(&mut self, times: &StageTimes, age: Option<Duration>) {
        let total = ("total", times.total());
        let age = age.map(|age| ("age", age));
        for (name, time) in times.stages().into_iter().chain([total]).chain(age) {
            if let Some((_, histogram)) = self.histograms.iter_mut().find(|(has, _)| *has == name) {
                histogram.saturating_record(time.as_micros().max(1) as u64);
            }
        }
    }

    /// Each stage's percentiles; stages without a value are left out.
    pub fn percentiles(&self) -> Vec<(&'static str, Percentiles)> {
        let counted = self.histograms.iter().filter(|(_, histogram)| !histogram.is_empty());
        let milliseconds = |microseconds: u64| microseconds as f64 / 1e3;
        counted
            .map(|(name, histogram)| {
                let percentiles = Percentiles {
                    p50: milliseconds(histogram.value_at_quantile(0.5)),
                    p95: milliseconds(histogram.value_at_quantile(0.95)),
                    p99: milliseconds(histogram.value_at_quantile(0.99)),
                    max: milliseconds(histogram.max()),
                    count: histogram.len(),
                };
                (*name, percentiles)
            })
            .collect()
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.histograms.iter_mut().for_each(|(_, histogram)| histogram.reset());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_recorded_times() {
        let mut statistics = StageStatistics::default();
        for inference in 1..=100 {
            let times =
                StageTimes { inference: Duration::from_millis(inference), ..StageTimes::default() };
            statistics.record(&times, None);
        }
        let percentiles = statistics.percentiles();
        let of =
            |wanted: &str| percentiles.iter().find(|(name, _)| *name == wanted).map(|(_, p)| *p);
        let inference = of("inference").unwrap();
        assert!((inference.p50 - 50.0).abs() < 0.1 && (inference.p99 - 99.0).abs() < 0.1);
        assert!((inference.max - 100.0).abs() < 0.1 && inference.count == 100);
        assert_eq!(of("age"), None, "no age was known");
        statistics.clear();
        assert!(statistics.percentiles().is_empty());
    }
}
