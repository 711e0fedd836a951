//! The figures of a replay: a few dozen bytes a frame, from which report and page are made.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::learn::Learnt;
use super::truth::Score;
use crate::result::{FrameResult, Maps};
use crate::timing::{Percentiles, StageTimes, milliseconds};

/// Columns of the plots over time; more frames than these share a column.
const COLUMNS: usize = 400;

/// Stages that cost time in a replay.
pub const STAGES: [&str; 5] = ["decode", "preprocess", "inference", "postprocess", "total"];

/// `report.json`: one replay, or several merged.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Report {
    /// Format of this file, 1.
    pub schema: u32,
    /// The bags.
    pub bags: Vec<String>,
    /// Model and precision.
    pub model: String,
    /// Frames at once; 0 in a merged report of runs that differ.
    #[serde(default)]
    pub jobs: u64,
    /// Inference threads of each of them; 0 likewise.
    #[serde(default)]
    pub threads: u64,
    /// Topics of the pictures.
    pub topics: Vec<String>,
    /// Frames that gave a result.
    pub frames: u64,
    /// Frames and parts of bags that did not, in words; the first hundred.
    pub failures: Vec<String>,
    /// How many of them there were.
    pub failed: u64,
    /// Whether the run was stopped early.
    pub stopped: bool,
    /// From the first frame to the last answer, in seconds.
    pub seconds: f64,
    /// Frames a second.
    pub frames_per_s: f64,
    /// Of each stage, how many frames took so many microseconds, rounded to three digits.
    pub times_us: BTreeMap<String, BTreeMap<u64, u64>>,
    /// Percentiles of each stage, in milliseconds.
    pub stages_ms: BTreeMap<String, Percentiles>,
    /// Frames with each best label.
    pub labels: BTreeMap<String, u64>,
    /// Frames whose picture is no good, by what is wrong with it.
    #[serde(default)]
    pub image_faults: BTreeMap<String, u64>,
    /// Frames without ground where it was wanted, or with it known in less than half of the directions, by the reason.
    #[serde(default)]
    pub no_ground: BTreeMap<String, u64>,
    /// What was learnt by driving; not added up.
    #[serde(default)]
    pub learnt: Option<Learnt>,
    /// Mean share of traversable pixels, 0 to 1, and the frames that it is of.
    pub traversable: Option<(f64, u64)>,
    /// How well the answers fit the truth.
    pub truth: Option<Score>,
    /// Differences from the golden file, if one was given.
    pub golden: Option<Vec<String>>,
    /// Frames that were compared with the golden file.
    #[serde(default)]
    pub golden_frames: u64,
    /// Budgets that were missed.
    pub over_budget: Vec<String>,
    /// The figures over time.
    pub series: Vec<Column>,
}

/// The frames of one column of the plots.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Column {
    /// Seconds from the first frame, by log time.
    pub time_s: f64,
    /// Mean of each of [`STAGES`] in milliseconds.
    pub stages_ms: Vec<f64>,
    /// The best label of most of its frames.
    pub label: Option<String>,
    /// Mean score of the best label.
    pub score: Option<f64>,
    /// Mean share of traversable pixels.
    pub traversable: Option<f64>,
    /// The most frequent place.
    pub place: Option<String>,
}

/// One frame's figures.
#[derive(Debug, Clone, Copy)]
struct FrameFigures {
    log_time: u64,
    stages_us: [u32; STAGES.len()],
    label: Option<u32>,
    score: f32,
    traversable: f32,
    place: Option<u32>,
}

/// Collects figures frame by frame.
#[derive(Debug, Default)]
pub struct Recorder {
    frames: Vec<FrameFigures>,
    times_us: BTreeMap<String, BTreeMap<u64, u64>>,
    names: BTreeMap<u32, String>,
    places: BTreeMap<u32, String>,
}

impl Recorder {
    /// Takes a frame's figures; its certainty, 0 to 1, where it has one.
    pub fn record(&mut self, log_time: u64, result: &FrameResult) -> Option<f32> {
        let best = result.labels.as_ref().and_then(|labels| labels.first());
        if let Some(best) = best {
            self.names.entry(best.index as u32).or_insert_with(|| best.name.clone());
        }
        let place = result.places.as_ref().and_then(|places| places.first());
        if let Some(place) = place {
            self.places.entry(place.index as u32).or_insert_with(|| place.name.clone());
        }
        let traversable = result.maps.as_ref().map_or(f32::NAN, traversable_share);
        let stages_us = stage_times(&result.times);
        for (stage, time) in STAGES.iter().zip(stages_us) {
            let histogram = self.times_us.entry((*stage).to_owned()).or_default();
            *histogram.entry(three_digits(u64::from(time))).or_default() += 1;
        }
        self.frames.push(FrameFigures {
            log_time,
            stages_us,
            label: best.map(|label| label.index as u32),
            score: best.map_or(f32::NAN, |label| label.score),
            traversable,
            place: place.map(|place| place.index as u32),
        });
        let confidence = result.maps.as_ref().map(|maps| {
            let sum: u64 = maps.confidence.iter().map(|value| u64::from(*value)).sum();
            sum as f32 / (255 * maps.confidence.len().max(1)) as f32
        });
        best.map(|label| label.score).or(confidence)
    }

    /// Frames so far.
    pub fn count(&self) -> u64 {
        self.frames.len() as u64
    }

    /// Puts the figures into a report.
    pub fn fill(&self, report: &mut Report) {
        report.frames = self.count();
        report.frames_per_s =
            if report.seconds > 0.0 { report.frames as f64 / report.seconds } else { 0.0 };
        report.times_us = self.times_us.clone();
        report.stages_ms = percentiles(&self.times_us);
        for frame in &self.frames {
            if let Some(name) = frame.label.and_then(|label| self.names.get(&label)) {
                *report.labels.entry(name.clone()).or_default() += 1;
            }
        }
        let shares = self.frames.iter().map(|frame| f64::from(frame.traversable));
        let shares: Vec<f64> = shares.filter(|share| share.is_finite()).collect();
        report.traversable = (!shares.is_empty())
            .then(|| (shares.iter().sum::<f64>() / shares.len() as f64, shares.len() as u64));
        let per_column = self.frames.len().div_ceil(COLUMNS).max(1);
        report.series = self.frames.chunks(per_column).map(|frames| self.column(frames)).collect();
    }

    fn column(&self, frames: &[FrameFigures]) -> Column {
        let start = self.frames.first().map_or(0, |frame| frame.log_time);
        let mean = |values: &mut dyn Iterator<Item = f64>| {
            let values: Vec<f64> = values.filter(|value| value.is_finite()).collect();
            (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
        };
        let stage = |index: usize| {
            let times = frames.iter().map(|frame| f64::from(frame.stages_us[index]) / 1e3);
            mean(&mut times.into_iter()).unwrap_or(0.0)
        };
        let time = frames.first().map_or(0, |frame| frame.log_time.saturating_sub(start));
        Column {
            time_s: time as f64 / 1e9,
            stages_ms: (0..STAGES.len()).map(stage).collect(),
            label: most_frequent(frames.iter().map(|frame| frame.label), &self.names),
            score: mean(&mut frames.iter().map(|frame| f64::from(frame.score))),
            traversable: mean(&mut frames.iter().map(|frame| f64::from(frame.traversable))),
            place: most_frequent(frames.iter().map(|frame| frame.place), &self.places),
        }
    }
}

/// The name that most frames of those that have one have.
fn most_frequent(
    indices: impl Iterator<Item = Option<u32>>,
    names: &BTreeMap<u32, String>,
) -> Option<String> {
    let mut counts = BTreeMap::<u32, u32>::new();
    for index in indices.flatten() {
        *counts.entry(index).or_default() += 1;
    }
    let (most, _) = counts.iter().max_by_key(|(_, count)| **count)?;
    names.get(most).cloned()
}

impl Report {
    /// How the times came about, to be put behind them: where it is known, a comma and words.
    pub fn at_once(&self) -> String {
        let plural = |count: u64| if count == 1 { "" } else { "s" };
        let Self { jobs, threads, .. } = *self;
        if jobs == 0 || threads == 0 {
            return String::new();
        }
        let (of_jobs, of_threads) = (plural(jobs), plural(threads));
        format!(", {jobs} frame{of_jobs} at once on {threads} thread{of_threads} each")
    }

    /// Adds another replay's figures. Those over time stay apart: a merged report has none.
    pub fn merge(&mut self, other: &Self) {
        let is_first = self.bags.is_empty();
        let joined = |one: u64, two: u64| if is_first || one == two { two } else { 0 };
        self.jobs = joined(self.jobs, other.jobs);
        self.threads = joined(self.threads, other.threads);
        self.schema = 1;
        self.bags.extend(other.bags.iter().cloned());
        if self.model.is_empty() {
            self.model.clone_from(&other.model);
        } else if self.model != other.model {
            self.model = "several".to_owned();
        }
        for topic in &other.topics {
            if !self.topics.contains(topic) {
                self.topics.push(topic.clone());
            }
        }
        self.failed += other.failed;
        self.failures.extend(other.failures.iter().cloned());
        self.failures.truncate(MAX_FAILURES);
        self.stopped |= other.stopped;
        self.seconds += other.seconds;
        for (stage, times) in &other.times_us {
            let sums = self.times_us.entry(stage.clone()).or_default();
            for (time, count) in times {
                *sums.entry(*time).or_default() += count;
            }
        }
        for (label, count) in &other.labels {
            *self.labels.entry(label.clone()).or_default() += count;
        }
        for (fault, count) in &other.image_faults {
            *self.image_faults.entry(fault.clone()).or_default() += count;
        }
        for (reason, count) in &other.no_ground {
            *self.no_ground.entry(reason.clone()).or_default() += count;
        }
        self.traversable = match (self.traversable, other.traversable) {
            (Some((a, n)), Some((b, m))) => {
                Some(((a * n as f64 + b * m as f64) / (n + m).max(1) as f64, n + m))
            }
            (one, None) | (None, one) => one,
        };
        if let Some(truth) = &other.truth {
            self.truth.get_or_insert_default().add(truth);
        }
        if let Some(golden) = &other.golden {
            self.golden.get_or_insert_default().extend(golden.iter().cloned());
        }
        self.golden_frames += other.golden_frames;
        self.over_budget.extend(other.over_budget.iter().cloned());
        self.frames += other.frames;
        self.frames_per_s =
            if self.seconds > 0.0 { self.frames as f64 / self.seconds } else { 0.0 };
        self.stages_ms = percentiles(&self.times_us);
        self.series.clear();
    }

    /// Whether a check failed or something could not be used.
    pub fn is_bad(&self) -> bool {
        self.failed > 0
            || self.stopped
            || !self.over_budget.is_empty()
            || self.golden.as_ref().is_some_and(|differences| !differences.is_empty())
    }

    /// Counts a failure and keeps its words.
    pub fn fail(&mut self, reason: String) {
        self.failed += 1;
        if self.failures.len() < MAX_FAILURES {
            self.failures.push(reason);
        }
    }
}

/// Failures that are kept in words.
const MAX_FAILURES: usize = 100;

/// Share of the pixels that are traversable.
fn traversable_share(maps: &Maps) -> f32 {
    let count = maps.traversability.iter().filter(|id| **id == 0).count();
    count as f32 / maps.traversability.len().max(1) as f32
}

fn stage_times(times: &StageTimes) -> [u32; STAGES.len()] {
    let stages =
        [times.decode, times.preprocess, times.inference, times.postprocess, times.total()];
    stages.map(|time| (milliseconds(time) * 1e3).round() as u32)
}

/// Rounded to three significant digits, so that a histogram has at most a few thousand bars.
fn three_digits(value: u64) -> u64 {
    let mut unit = 1;
    while value / unit >= 1000 {
        unit *= 10;
    }
    (value + unit / 2) / unit * unit
}

/// Percentiles of histograms of microseconds.
fn percentiles(times_us: &BTreeMap<String, BTreeMap<u64, u64>>) -> BTreeMap<String, Percentiles> {
    let of = |histogram: &BTreeMap<u64, u64>| {
        let count: u64 = histogram.values().sum();
        let at = |share: f64| {
            let rank = ((share * count as f64).ceil() as u64).max(1);
            let mut seen = 0;
            let found = histogram.iter().find(|(_, frames)| {
                seen += **frames;
                seen >= rank
            });
            found.map_or(0.0, |(time, _)| *time as f64 / 1e3)
        };
        Percentiles { p50: at(0.5), p95: at(0.95), p99: at(0.99), max: at(1.0), count }
    };
    times_us.iter().map(|(stage, histogram)| (stage.clone(), of(histogram))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_of_merged_reports_are_those_of_all_frames() {
        let one = |times: std::ops::RangeInclusive<u64>| Report {
            frames: times.clone().count() as u64,
            seconds: 1.0,
            times_us: [("total".to_owned(), times.map(|time| (time * 1000, 1)).collect())].into(),
            traversable: Some((0.5, 1)),
            ..Report::default()
        };
        let mut merged = Report::default();
        merged.merge(&one(1..=50));
        merged.merge(&one(51..=100));
        let total = merged.stages_ms["total"];
        assert_eq!((total.p50, total.p95, total.max), (50.0, 95.0, 100.0));
        assert_eq!((merged.frames, merged.frames_per_s), (100, 50.0));
        assert_eq!(merged.traversable, Some((0.5, 2)));
        assert!(!merged.is_bad());
        let golden = Some(vec!["x".to_owned()]);
        merged.merge(&Report { golden, frames: 9, golden_frames: 7, ..Report::default() });
        assert!(merged.is_bad());
        assert_eq!((merged.frames, merged.golden_frames), (109, 7), "one run alone was compared");
    }

    #[test]
    fn times_are_rounded_to_three_digits() {
        let check = |value, expected| assert_eq!(three_digits(value), expected);
        check(0, 0);
        check(999, 999);
        check(1004, 1000);
        check(12_345, 12_300);
        check(99_960, 100_000);
    }
}
