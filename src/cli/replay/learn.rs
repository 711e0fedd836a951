//! Learning by driving along a bag, and what it gives against true masks.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::cli::learning::{new_learner, restore_to_write};
use crate::cli::print::tell_left;
use crate::file_lock::Lock;
use crate::ground_messages::{Taken, without_numbers};
use crate::head::segmentation::ClassMapping;
use crate::learning::{
    BLOCKED_TYPES, Bumper, Correction, CorrectionSlot, Footprint, Learner, Mark, Report, Seen,
};
use crate::manifest::{Manifest, Model};
use crate::result::Cells;
use crate::settings::{CameraSettings, MaskKind, Settings};
use crate::traversability::Traversability;

/// Ends of the stretches that are told apart, in seconds from the first frame.
const UNTIL_S: [f64; 4] = [30.0, 60.0, 120.0, 300.0];

/// How well ground is found, in cells.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hits {
    /// Ground that was called ground.
    pub right: u64,
    /// What is no ground, called ground.
    pub false_ground: u64,
    /// Ground that was called something else.
    pub missed: u64,
    /// What is no ground, called so.
    pub right_other: u64,
}

impl Hits {
    fn add(&mut self, is_ground: bool, said_ground: bool) {
        *match (is_ground, said_ground) {
            (true, true) => &mut self.right,
            (false, true) => &mut self.false_ground,
            (true, false) => &mut self.missed,
            (false, false) => &mut self.right_other,
        } += 1;
    }

    /// Intersection over union of ground.
    pub fn iou(&self) -> f64 {
        self.right as f64 / (self.right + self.false_ground + self.missed).max(1) as f64
    }

    /// Share of what is no ground that was called ground.
    pub fn false_share(&self) -> f64 {
        self.false_ground as f64 / (self.false_ground + self.right_other).max(1) as f64
    }
}

/// What stops the robot, as the node is told it.
pub const BLOCKED_TOPIC: &str = "/squeezenet/learning/blocked";

/// Whether a topic of a bag says what stops the robot.
pub fn is_blocked_topic(name: &str, ros_type: &str) -> bool {
    name == BLOCKED_TOPIC && BLOCKED_TYPES.contains(&ros_type)
}

/// Margins that are told apart for a [`Curve`], from the least to the largest.
const BINS: usize = 400;
const MOST_MARGIN: f32 = 14.0;

/// Margins of ground and of what is none.
#[derive(Debug, Clone, PartialEq)]
struct Curve([[u64; 2]; BINS]);

impl Curve {
    fn add(&mut self, is_ground: bool, margin: f32) {
        let place = (margin / MOST_MARGIN + 1.0) / 2.0 * BINS as f32;
        self.0[(place.max(0.0) as usize).min(BINS - 1)][usize::from(is_ground)] += 1;
    }

    /// Area under the receiver operating characteristic: how probably ground has a larger margin than what is
    /// none; ties count half. `None` where one of them was not seen.
    fn area(&self) -> Option<f64> {
        let (mut others, mut sum) = (0.0, 0.0);
        for [other, ground] in self.0.map(|counts| counts.map(|count| count as f64)) {
            sum += ground * (others + other / 2.0);
            others += other;
        }
        let grounds: u64 = self.0.iter().map(|counts| counts[1]).sum();
        let pairs = others * grounds as f64;
        (pairs > 0.0).then(|| sum / pairs)
    }
}

/// How well a margin tells ground from the rest.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// At a margin of 0.
    #[serde(flatten)]
    pub hits: Hits,
    /// Area under the receiver operating characteristic.
    pub auroc: Option<f64>,
    #[serde(skip)]
    curve: Curve,
}

impl Default for Curve {
    fn default() -> Self {
        Self([[0; 2]; BINS])
    }
}

impl Score {
    fn add(&mut self, is_ground: bool, margin: f32) {
        self.hits.add(is_ground, margin > 0.0);
        self.curve.add(is_ground, margin);
    }
}

/// A stretch of the bag.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Stretch {
    /// Its end, in seconds from the first frame; the last one ends with the bag.
    pub until_s: Option<f64>,
    /// Frames with a true mask.
    pub frames: u64,
    /// Of the shipped model.
    pub shipped: Score,
    /// With what had been learnt before each frame.
    pub learnt: Score,
    /// With what the true masks of all frames before had taught the same learner: what could be reached.
    pub oracle: Score,
}

/// What a replay learnt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Learnt {
    /// How far it came.
    pub report: Report,
    /// By stretch, where there are true masks.
    pub stretches: Vec<Stretch>,
    /// Frames of which is not known where they were taken, by the reason.
    pub unplaced: BTreeMap<String, u64>,
}

/// Learning under way.
pub struct Learning {
    learner: Learner,
    oracle: Learner,
    slot: CorrectionSlot,
    odom_frame: String,
    kind: MaskKind,
    model: Arc<Model>,
    file: Option<PathBuf>,
    /// Keeps others from writing the file.
    _lock: Option<Lock>,
    first_log_time: Option<u64>,
    /// Of the last frame that was placed.
    placed_log_time: Option<u64>,
    bumper: Bumper,
    /// Whether the bag's messages of what stops the robot are Empty.
    is_empty_type: bool,
    stretches: Vec<Stretch>,
    unplaced: BTreeMap<String, u64>,
}

impl Learning {
    /// Goes on from `file`, if that is there, and writes into `slot`.
    ///
    /// # Errors
    /// If the model cannot learn, the file is not its own, or another writes it.
    pub fn new(
        model: Arc<Model>,
        settings: &Settings,
        slot: CorrectionSlot,
        kind: MaskKind,
        file: Option<PathBuf>,
        blocked_type: Option<&str>,
    ) -> anyhow::Result<Self> {
        let footprint: Footprint = settings.learning.footprint.parse()?;
        let oracle = new_learner(&model, footprint)?;
        let mut learner = oracle.clone();
        let take = |path| Lock::take(path, "--learning-file", "squeezenet_node replay");
        let lock = file.as_deref().map(take).transpose()?;
        if let Some(path) = &file
            && restore_to_write(&mut learner, &model, path)?
        {
            slot.set(learner.correction().cloned());
        }
        let stretch = |until_s| Stretch { until_s, ..Stretch::default() };
        let ends = UNTIL_S.into_iter().map(Some).chain([None]);
        Ok(Self {
            learner,
            oracle,
            slot,
            odom_frame: settings.learning.odom_frame.clone(),
            kind,
            model,
            file,
            _lock: lock,
            first_log_time: None,
            placed_log_time: None,
            bumper: Bumper::default(),
            is_empty_type: blocked_type == Some(BLOCKED_TYPES[0]),
            stretches: ends.map(stretch).collect(),
            unplaced: BTreeMap::new(),
        })
    }

    /// Frame of tf in which the robot moves smoothly.
    pub fn odom_frame(&self) -> &str {
        &self.odom_frame
    }

    /// Notes a frame of which is not known where it was taken.
    pub fn note_unplaced(&mut self, reason: &str) {
        // What follows the first words changes from frame to frame, and so do numbers in them.
        let first = without_numbers(reason.split([':', ';']).next().unwrap_or_default());
        *self.unplaced.entry(first).or_default() += 1;
    }

    /// Holds a frame against its true mask, `[height, width]` of ids of `image_width`.
    pub fn score(
        &mut self,
        log_time: u64,
        cells: &Cells,
        (truth, image_width): (&[u8], u32),
        camera: &CameraSettings,
    ) {
        let Some(spec) = &self.model.manifest.segmentation else { return };
        let first = *self.first_log_time.get_or_insert(log_time);
        let seconds = log_time.saturating_sub(first) as f64 / 1e9;
        let is_within = |stretch: &&mut Stretch| stretch.until_s.is_none_or(|end| seconds < end);
        let Some(stretch) = self.stretches.iter_mut().find(is_within) else { return };
        let is_ground = ClassMapping::new(spec, &camera.mask).is_ground();
        let correction = self.slot.get();
        stretch.frames += 1;
        let mut marks = vec![Mark::None; cells.count()];
        for (cell, mark) in marks.iter_mut().enumerate() {
            let true_id = cells.at(cell, truth, image_width).unwrap_or(255);
            let is_true = match self.kind {
                _ if true_id == 255 => continue,
                MaskKind::Semantic => is_ground.get(usize::from(true_id)) == Some(&true),
                MaskKind::Traversability => Traversability::is_ground(true_id),
            };
            *mark = if is_true { Mark::Ground } else { Mark::Obstacle };
            let margin = cells.margins[cell];
            let with = |one: Option<&Arc<Correction>>| {
                margin + one.map_or(0.0, |one| one.of(cells.of(cell), margin))
            };
            stretch.shipped.add(is_true, margin);
            stretch.learnt.add(is_true, with(correction.as_ref()));
            stretch.oracle.add(is_true, with(self.oracle.correction()));
        }
        self.oracle.teach(cells, &marks, &vec![false; marks.len()]);
    }

    /// Learns from a frame.
    pub fn take(
        &mut self,
        camera: usize,
        (stamp_ns, log_time): (i64, u64),
        taken: &Taken,
        cells: Cells,
        is_good: bool,
    ) {
        // Of a picture without a stamp is not known where the robot was.
        if stamp_ns == 0 {
            return self.note_unplaced("a picture without a stamp");
        }
        // It tells where the robot is all the same.
        if !is_good {
            self.note_unplaced("a picture that is no good");
        }
        self.placed_log_time = Some(log_time);
        let Taken { camera: lens, base_from_camera, odom_from_base } = *taken;
        let seen =
            Seen { stamp_ns, cells, is_good, camera: lens, base_from_camera, odom_from_base };
        if self.learner.take(camera, seen) {
            self.slot.set(self.learner.correction().cloned());
        }
    }

    /// Takes a message of [`BLOCKED_TOPIC`]: each Empty, and each Bool that turns true.
    pub fn take_blocked(&mut self, log_time: u64, payload: &[u8]) {
        // Behind the encapsulation header there is nothing of an Empty but a byte that languages want.
        let is_pressed = payload.get(4).is_some_and(|byte| *byte != 0);
        if self.is_empty_type || self.bumper.take(is_pressed) {
            let placed =
                self.placed_log_time.map_or(u64::MAX, |time| log_time.saturating_sub(time));
            if let Err(reason) = self.learner.block(Duration::from_nanos(placed), false) {
                tracing::debug!("{BLOCKED_TOPIC} teaches nothing: {reason}");
            }
        }
    }

    /// Learns from what is left, writes the file unless the replay was stopped, and says what came of it.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn finish(mut self, is_stopped: bool) -> anyhow::Result<Learnt> {
        self.learner.finish();
        if is_stopped && let Some(path) = &self.file {
            tell_left(path);
        } else if let Some(path) = &self.file {
            let Manifest { name, .. } = &self.model.manifest;
            self.learner.state().write(path, name, &self.model.manifest.weights_sha256())?;
        }
        self.stretches.retain(|stretch| stretch.frames > 0);
        for Stretch { shipped, learnt, oracle, .. } in &mut self.stretches {
            for score in [shipped, learnt, oracle] {
                score.auroc = score.curve.area();
            }
        }
        Ok(Learnt {
            report: self.learner.report(),
            stretches: self.stretches,
            unplaced: self.unplaced,
        })
    }
}

impl Learnt {
    /// Lines for people.
    pub fn lines(&self) -> Vec<String> {
        let report = &self.report;
        let mut lines = vec![format!(
            "  learnt       from {}; {}",
            report.counts.summary(),
            report.change_summary()
        )];
        lines.extend(report.verdict.map(|verdict| format!("  guard        {}", verdict.summary())));
        if report.left_out.jumps + report.left_out.unvisited + report.left_out.blocks > 0 {
            lines.push(format!("  left out     {}", report.left_out.summary()));
        }
        for (reason, count) in &self.unplaced {
            lines.push(format!("  left out     {count} frames: {reason}"));
        }
        let mut from = 0.0;
        for stretch in &self.stretches {
            let until = stretch.until_s.map_or("end".to_owned(), |end| format!("{end} s"));
            let Stretch { shipped, learnt, oracle, frames, .. } = stretch;
            let area = |score: &Score| score.auroc.map_or("-".into(), |area| format!("{area:.3}"));
            lines.push(format!(
                "  {from:>3} s to {until:<5} ground IoU {:.3} -> {:.3} (true masks {:.3}), AUROC {} -> {} ({}), other called ground {:.3} -> {:.3} ({:.3}), {frames} frames",
                shipped.hits.iou(),
                learnt.hits.iou(),
                oracle.hits.iou(),
                area(shipped),
                area(learnt),
                area(oracle),
                shipped.hits.false_share(),
                learnt.hits.false_share(),
                oracle.hits.false_share(),
            ));
            from = stretch.until_s.unwrap_or(from);
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_area_is_how_often_ground_has_the_larger_margin() {
        let mut curve = Curve::default();
        assert_eq!(curve.area(), None);
        curve.add(true, 3.0);
        curve.add(false, -1.0);
        curve.add(false, 99.0);
        assert_eq!(curve.area(), Some(0.5));
        curve.add(false, 3.0);
        assert_eq!(curve.area(), Some(0.5));
        curve.add(true, f32::MAX);
        assert!((curve.area().unwrap() - (1.5 + 2.5) / 6.0).abs() < 1e-9);
    }
}
