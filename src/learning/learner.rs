//! From frames to a correction.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::correction::Correction;
use super::footprint::Footprint;
use super::guard::{GuardError, GuardSet};
use super::horizon::Horizon;
use super::memory::{BlockError, LeftOut, Mark, Memory, Seen, Taught};
use super::state::{Counts, State};
use super::statistics::{Raised, Statistics};
use crate::manifest::Model;
use crate::result::Cells;

/// The margin that ground that was driven over shall have at least, odds of 33 to 1.
const WANTED_OF_GROUND: f32 = 3.5;
/// The margin that obstacles shall have at most, odds of 1 to 12.
const WANTED_OF_OBSTACLE: f32 = -2.5;
/// A margin of which the shipped model is sure.
const SURE: f32 = 4.0;
/// Weights of a frame's cells together: those stood on and bumped into count 1, as do those above the horizon, which
/// are no ground; those that the shipped model is sure of; those that it takes for no ground without being sure,
/// with what has been learnt so far too, and that nobody has stood on.
const ABOVE: f64 = 1.0;
const STEADY: f64 = 0.2;
const DOUBTED: f64 = 0.2;
/// Cells stood on from which on a frame counts in full.
const FULL_CELLS: f64 = 40.0;
/// What is said of a place where the robot was later than this after the last frame is of another place.
const STALE: Duration = Duration::from_secs(1);
/// What the guard set weighs, in frames.
const PRIOR_FRAMES: f64 = 6.0;
/// Nothing is changed before so many frames have taught.
const LEAST_FRAMES: u64 = 3;
/// How often at most what falls of the guard set is held more, and all fitted again.
const MOST_ROUNDS: u32 = 16;
/// By how many points what the shipped model knew may fall in any domain.
const MOST_FALL: f64 = 0.5;
/// By how much the mean probability of ground above the horizon may rise.
const MOST_RISE: f64 = 0.0075;
/// Shares of the correction that are tried, the first that the guard and the horizon let pass holds.
const SHARES: [f64; 10] = [1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1];

/// What the guard set says of the correction in force.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// By how many points the shipped model's own validation falls in the domain where it falls most; below 0 where it
    /// rises in all. Where nothing is in force, with the least share that was tried.
    pub fall: f64,
    /// By how many points the mean probability of ground rises above the horizon of the last frames.
    pub rise: f64,
    /// Share of what was learnt that is in force: 1 all of it, 0 nothing.
    pub share: f64,
}

/// How far learning has come.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// What was learnt from.
    pub counts: Counts,
    /// What nothing was learnt from.
    pub left_out: LeftOut,
    /// `None` before anything is learnt.
    pub verdict: Option<Verdict>,
    /// Mean of what is added to the margin of ground, over the frames last learnt from.
    pub change: Option<f64>,
    /// Whether anything is changed.
    pub is_active: bool,
}

impl Verdict {
    /// For people.
    pub fn summary(&self) -> String {
        let Self { fall, rise, share } = self;
        if *share == 0.0 {
            return format!(
                "nothing of what was learnt holds: with a tenth of it what the model knew falls by {fall:.2} points, ground above the horizon rises by {rise:.2}"
            );
        }
        format!(
            "what the model knew falls by {fall:.2} points, ground above the horizon rises by {rise:.2}; \
             {:.0} % of what was learnt holds",
            100.0 * share
        )
    }
}

impl Report {
    /// What is changed, for people.
    pub fn change_summary(&self) -> String {
        match self.change {
            _ if !self.is_active => "nothing is changed".to_owned(),
            Some(change) => {
                format!("margin of ground {change:+.2} in the last frames learnt from")
            }
            None => "as learnt before; no frame has been learnt from since".to_owned(),
        }
    }
}

/// Learns along a drive.
#[derive(Debug, Clone)]
pub struct Learner {
    channels: usize,
    footprint: Footprint,
    guard: Option<Arc<GuardSet>>,
    prior: Option<Statistics>,
    memories: BTreeMap<usize, Memory>,
    statistics: Statistics,
    horizon: Horizon,
    counts: Counts,
    /// Of cameras that have gone.
    left_out: LeftOut,
    correction: Option<Arc<Correction>>,
    verdict: Option<Verdict>,
    change: Option<f64>,
}

impl Learner {
    /// Of nothing yet, for a mask of so many features.
    pub fn new(channels: usize, footprint: Footprint, guard: Option<Arc<GuardSet>>) -> Self {
        let guard = guard.filter(|guard| guard.channels() == channels);
        Self {
            channels,
            footprint,
            prior: guard.as_ref().map(|guard| guard.prior()),
            guard,
            memories: BTreeMap::new(),
            statistics: Statistics::new(channels + 2),
            horizon: Horizon::default(),
            counts: Counts::default(),
            left_out: LeftOut::default(),
            correction: None,
            verdict: None,
            change: None,
        }
    }

    /// Of nothing yet, for a model; `None` where its network does not give what its mask is made from. Why its
    /// guard set is of no use is given beside it.
    pub fn of(model: &Model, footprint: Footprint) -> Option<(Self, Option<GuardError>)> {
        let channels = model.manifest.mask_features()?.channels;
        let found = GuardSet::of(model).and_then(|guard| guard.for_channels(channels));
        let (guard, problem) = match found {
            Ok(guard) => (Some(guard), None),
            Err(error) => (None, Some(error)),
        };
        Some((Self::new(channels, footprint, guard.map(Arc::new)), problem))
    }

    /// What is learnt; `None` while that is nothing.
    pub fn correction(&self) -> Option<&Arc<Correction>> {
        self.correction.as_ref()
    }

    /// How far it has come.
    pub fn report(&self) -> Report {
        let mut left_out = self.left_out;
        for memory in self.memories.values() {
            left_out.add(memory.left_out());
        }
        Report {
            counts: self.counts,
            left_out,
            verdict: self.verdict,
            change: self.change,
            is_active: self.correction.is_some(),
        }
    }

    /// Takes a frame of a camera; whether the correction is another one now.
    pub fn take(&mut self, camera: usize, seen: Seen) -> bool {
        if seen.cells.channels != self.channels {
            return false;
        }
        let footprint = &self.footprint;
        let memory = self.memories.entry(camera).or_insert_with(|| Memory::new(footprint));
        let before = memory.driven_m();
        let done = memory.take(seen);
        // All cameras are on one robot.
        let driven = memory.driven_m() - before;
        if self.memories.keys().next() == Some(&camera) {
            self.counts.metres += driven;
        }
        self.learn(&done)
    }

    /// Something right before the robot stops it, so long after the last frame, as a bumper or a person says.
    ///
    /// # Errors
    /// Why nothing is learnt from that.
    pub fn block(&mut self, since_frame: Duration, is_by_person: bool) -> Result<(), BlockError> {
        if since_frame > STALE && !self.memories.is_empty() {
            self.left_out.blocks += 1;
            return Err(BlockError::Stale(since_frame.as_secs_f64()));
        }
        // A camera that has fallen silent does not know where the robot is.
        let newest_ns = self.memories.values().filter_map(Memory::last_ns).max().unwrap_or(0);
        let is_fresh = |memory: &&mut Memory| {
            let stale_ns = i64::try_from(STALE.as_nanos()).unwrap_or(i64::MAX);
            memory.last_ns().is_some_and(|own| newest_ns.saturating_sub(own) <= stale_ns)
        };
        let memories = self.memories.values_mut().filter(is_fresh);
        let results: Vec<_> = memories.map(|memory| memory.block(is_by_person)).collect();
        // Another camera looks elsewhere.
        let rank = |result: &Result<(), BlockError>| match result {
            Ok(()) => 0,
            Err(BlockError::Unseen) => 2,
            Err(_) => 1,
        };
        let result = results.into_iter().min_by_key(rank).unwrap_or(Err(BlockError::NoFrame));
        if result == Err(BlockError::Unseen) {
            self.left_out.blocks += 1;
        }
        result
    }

    /// Learns from all frames that are kept, at the end of a drive; whether the correction is another one now.
    pub fn finish(&mut self) -> bool {
        let done: Vec<Taught> = self.memories.values_mut().flat_map(Memory::finish).collect();
        self.learn(&done)
    }

    /// Learns from what a camera has shown, and lets it go; whether the correction is another one now.
    pub fn remove_camera(&mut self, camera: usize) -> bool {
        let Some(mut memory) = self.memories.remove(&camera) else { return false };
        let done = memory.finish();
        self.left_out.add(memory.left_out());
        self.learn(&done)
    }

    /// The odometry counts from elsewhere from now on; whether the correction is another one now.
    pub fn begin_anew(&mut self) -> bool {
        let cameras: Vec<usize> = self.memories.keys().copied().collect();
        cameras.into_iter().filter(|camera| self.remove_camera(*camera)).count() > 0
    }

    /// The robot has another outline from now on; whether the correction is another one now.
    pub fn set_footprint(&mut self, footprint: Footprint) -> bool {
        let is_other = self.begin_anew();
        self.footprint = footprint;
        is_other
    }

    /// Forgets everything.
    pub fn forget(&mut self) {
        let (footprint, guard) = (self.footprint.clone(), self.guard.take());
        *self = Self::new(self.channels, footprint, guard);
    }

    /// What is to be saved.
    pub fn state(&self) -> State {
        State {
            counts: self.counts,
            statistics: self.statistics.clone(),
            horizon: self.horizon.clone(),
        }
    }

    /// Goes on from what was saved; false, and nothing changes, if it is of another mask.
    pub fn restore(&mut self, state: State) -> bool {
        let State { counts, statistics, horizon } = state;
        let is_own = statistics.size() == self.channels + 2 && horizon.is_whole(self.channels);
        if !is_own || !statistics.is_whole() {
            return false;
        }
        (self.counts, self.statistics, self.horizon) = (counts, statistics, horizon);
        self.change = None;
        self.fit();
        true
    }

    /// Learns from a frame of which is known what cells are, and which of them are above the horizon.
    pub fn teach(&mut self, cells: &Cells, marks: &[Mark], is_above: &[bool]) {
        let count = cells.count();
        if cells.channels == self.channels && [marks.len(), is_above.len()] == [count; 2] {
            self.add(cells, marks, is_above);
            self.fit();
        }
    }

    fn learn(&mut self, done: &[Taught]) -> bool {
        for Taught { seen, marks, is_above } in done {
            self.add(&seen.cells, marks, is_above);
        }
        if done.is_empty() {
            return false;
        }
        self.fit();
        let correction = self.correction.as_deref();
        let changes = done.iter().flat_map(|taught| {
            let cells = &taught.seen.cells;
            (0..cells.count()).map(move |cell| {
                correction.map_or(0.0, |one| f64::from(one.of(cells.of(cell), cells.margins[cell])))
            })
        });
        let (sum, count) = changes.fold((0.0, 0_u32), |(sum, count), one| (sum + one, count + 1));
        self.change = Some(sum / f64::from(count.max(1)));
        true
    }

    fn add(&mut self, cells: &Cells, marks: &[Mark], is_above: &[bool]) {
        let correction = self.correction.as_deref();
        let kind = |cell: usize| {
            let margin = cells.margins[cell];
            let learnt = || correction.map_or(0.0, |one| one.of(cells.of(cell), margin));
            let is_finite = cells.of(cell).iter().chain([&margin]).all(|value| value.is_finite());
            match marks[cell] {
                // It would spoil all sums.
                _ if !is_finite => None,
                // Bars beside the picture.
                _ if !cells.is_in_picture(cell) => None,
                Mark::Ground => Some(Kind::Ground),
                Mark::Obstacle => Some(Kind::Obstacle),
                // A ramp or a hill that the model is sure of may rise above the horizon.
                Mark::None if margin.abs() >= SURE => Some(Kind::Steady),
                Mark::None if is_above[cell] => Some(Kind::Above),
                // What has become ground by now is floor beside the path.
                Mark::None => (margin < 0.0 && margin + learnt() < 0.0).then_some(Kind::Doubted),
            }
        };
        let kinds: Vec<_> = (0..cells.count()).map(kind).collect();
        let above = kinds.iter().enumerate().filter(|(_, kind)| matches!(kind, Some(Kind::Above)));
        let above: Vec<_> = above.map(|(cell, _)| (cells.of(cell), cells.margins[cell])).collect();
        self.horizon.take(&above);
        let mut of_kind = [0_u32; 5];
        kinds.iter().flatten().for_each(|kind| of_kind[*kind as usize] += 1);
        let mut input = Vec::with_capacity(cells.channels + 2);
        for (cell, kind) in kinds.into_iter().enumerate() {
            let Some(kind) = kind else { continue };
            let margin = cells.margins[cell];
            let of_all = f64::from(of_kind[kind as usize]);
            let (weight, wanted) = match kind {
                Kind::Ground => {
                    ((of_all / FULL_CELLS).min(1.0), (WANTED_OF_GROUND - margin).max(0.0))
                }
                Kind::Obstacle => (1.0, (WANTED_OF_OBSTACLE - margin).min(0.0)),
                Kind::Above => (ABOVE, (WANTED_OF_OBSTACLE - margin).min(0.0)),
                Kind::Steady => (STEADY, 0.0),
                Kind::Doubted => (DOUBTED, 0.0),
            };
            input.clear();
            input.extend_from_slice(cells.of(cell));
            input.extend([margin, 1.0]);
            self.statistics.add(&input, weight / of_all, wanted.into());
        }
        self.statistics.fade();
        self.counts.frames += 1;
        self.counts.ground_cells += u64::from(of_kind[Kind::Ground as usize]);
        self.counts.obstacle_cells += u64::from(of_kind[Kind::Obstacle as usize]);
    }

    /// Coefficients that answer what was learnt, and the guard set as rightly as before in each domain and make no ground of
    /// what is above the horizon, where that can be.
    fn solve(&self) -> Option<Vec<f64>> {
        let solve =
            |raised: &[&Raised]| self.statistics.solve(self.prior.as_ref(), raised, PRIOR_FRAMES);
        let mut found = solve(&[])?;
        let mut above = self.horizon.held(self.channels);
        let mut known = self.guard.as_ref().map(|guard| (guard, guard.held()));
        for _ in 0..MOST_ROUNDS {
            let correction = Correction::new(&found, 1.0)?;
            let is_above_raised = self.horizon.raise(&mut above, &correction, MOST_RISE);
            let is_known_raised = known
                .as_mut()
                .is_some_and(|(guard, held)| guard.raise(held, &correction, MOST_FALL));
            if !is_above_raised && !is_known_raised {
                break;
            }
            let raised: Vec<_> = known.iter().map(|(_, held)| held).chain([&above]).collect();
            found = solve(&raised)?;
        }
        Some(found)
    }

    fn fit(&mut self) {
        self.correction = None;
        if self.counts.frames < LEAST_FRAMES {
            return;
        }
        let Some(found) = self.solve() else { return };
        let mut verdict = Verdict { fall: 0.0, rise: 0.0, share: 0.0 };
        for share in SHARES {
            let Some(correction) = Correction::new(&found, share) else { return };
            let rise = self.horizon.rise(&correction);
            let fall = self.guard.as_ref().map_or(0.0, |guard| guard.fall(&correction));
            let holds = fall <= MOST_FALL && rise <= MOST_RISE;
            let in_force = if holds { share } else { 0.0 };
            verdict = Verdict { fall, rise: 100.0 * rise, share: in_force };
            if holds {
                self.correction = Some(Arc::new(correction));
                break;
            }
        }
        self.verdict = Some(verdict);
    }
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Ground,
    Obstacle,
    Above,
    Steady,
    Doubted,
}

#[cfg(test)]
mod tests {
    use super::super::guard::tests::guard_set;
    use super::super::memory::tests::seen;
    use super::*;

    /// Drives over floor of feature `floor`, which the shipped model takes for no ground, between walls of
    /// another feature.
    fn drive(learner: &mut Learner, floor: [f32; 2], metres: f64) {
        let from = learner.counts.metres;
        for step in 0..(metres / 0.06) as u32 {
            let at = from + f64::from(step) * 0.06;
            let second = 10.0 * from + f64::from(step) * 0.2;
            learner.take(
                0,
                seen(second, at, |column, row| match (column, row) {
                    (8..32, 12..) => (floor, -1.5),
                    _ => ([0.0, 0.0], -3.0),
                }),
            );
        }
    }

    fn learner() -> Learner {
        Learner::new(2, Footprint::default(), Some(Arc::new(guard_set())))
    }

    #[test]
    fn an_unknown_floor_becomes_ground_and_the_walls_stay() {
        let mut learner = learner();
        drive(&mut learner, [0.0, 1.0], 3.0);
        assert!(learner.correction().is_none(), "nothing is done with yet");
        drive(&mut learner, [0.0, 1.0], 9.0);
        let correction = learner.correction().unwrap();
        assert!(-1.5 + correction.of(&[0.0, 1.0], -1.5) > 0.5);
        assert!(-3.0 + correction.of(&[0.0, 0.0], -3.0) < -1.0);
        let report = learner.report();
        assert!(report.counts.frames > 20 && report.counts.ground_cells > 500, "{report:?}");
        assert!(report.verdict.unwrap().fall <= MOST_FALL);
        learner.forget();
        assert!(learner.correction().is_none());
        assert_eq!(learner.report(), super::tests::learner().report());
    }

    #[test]
    fn what_the_guard_knows_is_not_unlearnt() {
        let mut learner = learner();
        // The floor looks just like what the guard knows as no ground.
        drive(&mut learner, [0.0, 0.0], 20.0);
        let report = learner.report();
        assert!(
            report.verdict.unwrap().fall <= MOST_FALL || report.verdict.unwrap().share == 0.0,
            "{report:?}"
        );
        if let Some(correction) = learner.correction() {
            assert!(guard_set().fall(correction) <= MOST_FALL);
        }
    }

    #[test]
    fn the_same_drive_teaches_the_same_and_a_saved_state_goes_on() {
        let (mut a, mut b) = (learner(), learner());
        drive(&mut a, [0.0, 1.0], 12.0);
        drive(&mut b, [0.0, 1.0], 12.0);
        assert_eq!(a.correction(), b.correction());
        let mut c = learner();
        assert!(c.restore(a.state()));
        assert_eq!(a.correction(), c.correction());
        assert_eq!(a.report().counts, c.report().counts);
        let mut other = Learner::new(3, Footprint::default(), None);
        assert!(!other.restore(a.state()));
    }

    /// A picture of floor, of which the middle was driven over, and of furniture whose features are near the floor's,
    /// that nobody has stood on.
    fn teach_floor(learner: &mut Learner, frames: u32) {
        let cells = seen(0.0, 0.0, |column, row| match (column, row) {
            (10..30, 12..) => ([0.0, 1.0], -1.5),
            (_, 12..) => ([0.2, 0.8], -1.5),
            _ => ([0.5, 0.5], -2.0),
        })
        .cells;
        let is_driven = |cell: usize| (10..30).contains(&(cell % 40)) && cell / 40 >= 12;
        let mark = |cell| if is_driven(cell) { Mark::Ground } else { Mark::None };
        let marks: Vec<_> = (0..cells.count()).map(mark).collect();
        (0..frames).for_each(|_| learner.teach(&cells, &marks, &vec![false; marks.len()]));
    }

    #[test]
    fn floor_beside_the_path_follows_and_furniture_does_not() {
        let mut learner = Learner::new(2, Footprint::default(), None);
        let margins = |learner: &Learner| {
            let correction = learner.correction().unwrap();
            let of = |features: [f32; 2], margin| margin + correction.of(&features, margin);
            (of([0.2, 0.8], -1.5), of([0.5, 0.5], -2.0))
        };
        teach_floor(&mut learner, 50);
        let (beside, furniture) = margins(&learner);
        assert!(beside > 0.8 && furniture < 0.0, "{beside} {furniture}");
        teach_floor(&mut learner, 500);
        let (_, later) = margins(&learner);
        assert!(later < 0.0, "{later}");
        learner.forget();
        let mut new = Learner::new(2, Footprint::default(), None);
        teach_floor(&mut learner, 20);
        teach_floor(&mut new, 20);
        assert_eq!(learner.state(), new.state());
    }

    #[test]
    fn what_the_horizon_forbade_comes_back_over_short_drives() {
        let floor = |row: u32, up: f32| ([if row < 12 { up } else { 1.0 }, 0.0], -1.5);
        let drive = |learner: &mut Learner, steps: u32, second: f64, up: f32| {
            for step in 0..steps {
                let at = f64::from(step) * 0.06;
                learner.take(0, seen(second + f64::from(step) * 0.2, at, |_, row| floor(row, up)));
            }
            learner.finish();
        };
        let floor_margin = |learner: &Learner| {
            -1.5 + learner.correction().map_or(0.0, |one| one.of(&[1.0, 0.0], -1.5))
        };
        let mut learner = Learner::new(2, Footprint::default(), None);
        drive(&mut learner, 100, 0.0, 1.0);
        assert!(floor_margin(&learner) < -1.0, "{:?}", learner.report());
        for time in 1..20 {
            let mut next = Learner::new(2, Footprint::default(), None);
            assert!(next.restore(learner.state()));
            assert_eq!(next.correction(), learner.correction());
            // Another ceiling.
            drive(&mut next, 30, 1e3 * f64::from(time), -1.0);
            learner = next;
        }
        assert!(floor_margin(&learner) > 1.0, "{:?}", learner.report());
    }

    #[test]
    fn what_was_bumped_into_is_learnt_as_no_ground() {
        let mut learner = Learner::new(2, Footprint::default(), None);
        // Glass that looks like floor: margin 1, feature of its own, right where the robot stops again and again.
        for round in 0..12 {
            let from = 100.0 * f64::from(round);
            for step in 0..40 {
                learner.take(
                    0,
                    seen(
                        from + f64::from(step) * 0.2,
                        f64::from(step) * 0.06,
                        |_, row| match row {
                            0..12 => ([0.0, 0.0], -3.0),
                            12..20 => ([1.0, 0.0], 1.0),
                            _ => ([0.0, 1.0], 3.0),
                        },
                    ),
                );
            }
            learner.block(Duration::ZERO, false).unwrap();
            learner.finish();
        }
        let correction = learner.correction().unwrap();
        assert!(learner.report().counts.obstacle_cells > 0);
        assert!(correction.of(&[1.0, 0.0], 1.0) < correction.of(&[0.0, 1.0], 1.0) - 0.3);
    }

    #[test]
    fn a_block_long_after_the_last_frame_marks_nothing() {
        let mut learner = learner();
        assert_eq!(learner.block(Duration::ZERO, false), Err(BlockError::NoFrame));
        drive(&mut learner, [0.0, 1.0], 3.0);
        assert_eq!(learner.block(Duration::from_secs(5), false), Err(BlockError::Stale(5.0)));
        assert_eq!(learner.report().left_out.blocks, 1);
        assert_eq!(learner.block(Duration::from_millis(200), false), Ok(()));
        assert_eq!(learner.block(Duration::from_millis(400), false), Err(BlockError::Again));
    }

    #[test]
    fn a_camera_that_fell_silent_does_not_know_what_stops_the_robot() {
        let mut learner = learner();
        drive(&mut learner, [0.0, 1.0], 3.0);
        // Another one goes on for a minute, and looks elsewhere.
        learner.take(1, seen(60.0, 20.0, |_, _| ([0.0; 2], 0.0)));
        learner.take(1, seen(60.2, 20.06, |_, _| ([0.0; 2], 0.0)));
        let _ = learner.block(Duration::ZERO, true);
        learner.remove_camera(0);
        assert!(learner.report().counts.frames > 5);
        assert_eq!(learner.report().counts.obstacle_cells, 0);
    }

    #[test]
    fn what_a_camera_has_shown_is_learnt_before_it_goes() {
        let driven = || {
            let mut learner = learner();
            drive(&mut learner, [0.0, 1.0], 3.0);
            assert_eq!(learner.report().counts.frames, 0, "nothing is done with yet");
            learner
        };
        let (mut a, mut b, mut c) = (driven(), driven(), driven());
        assert!(a.finish() && b.remove_camera(0) && c.set_footprint(Footprint::default()));
        assert!(a.report().counts.frames > 5);
        assert_eq!(a.state(), b.state());
        assert_eq!(a.state(), c.state());
        assert!(!b.remove_camera(0));
    }

    #[test]
    fn above_the_horizon_what_the_model_is_sure_of_stays() {
        // A ramp, of a feature of its own, that rises above the horizon.
        let climb = |margin: f32| {
            let mut learner = Learner::new(2, Footprint::default(), None);
            for step in 0..200 {
                let at = f64::from(step) * 0.06;
                let ramp = |_, row| match row {
                    0..12 => ([1.0, 0.0], margin),
                    _ => ([0.0, 1.0], 5.0),
                };
                learner.take(0, seen(f64::from(step) * 0.2, at, ramp));
            }
            margin + learner.correction().unwrap().of(&[1.0, 0.0], margin)
        };
        assert!(climb(5.0) > 4.0, "{}", climb(5.0));
        assert!(climb(1.0) < 0.0, "{}", climb(1.0));
    }

    #[test]
    fn a_floor_that_looks_like_what_is_above_the_horizon_is_not_learnt() {
        let mut learner = Learner::new(2, Footprint::default(), None);
        for step in 0..200 {
            let at = f64::from(step) * 0.06;
            let same = |_, _| ([1.0, 0.0], -1.5);
            learner.take(0, seen(f64::from(step) * 0.2, at, same));
        }
        let floor_margin = |learner: &Learner| {
            -1.5 + learner.correction().map_or(0.0, |one| one.of(&[1.0, 0.0], -1.5))
        };
        let report = learner.report();
        assert!(report.counts.ground_cells > 500, "{report:?}");
        assert!(report.verdict.unwrap().rise <= 100.0 * MOST_RISE, "{report:?}");
        assert!(floor_margin(&learner) < -1.0, "{report:?}");
        // Nor after a restart, before the horizon is seen again.
        let mut next = Learner::new(2, Footprint::default(), None);
        assert!(next.restore(learner.state()));
        assert_eq!(next.report().verdict, report.verdict);
        assert_eq!(next.correction(), learner.correction());
        // Nor where the first frames show something else up there.
        for step in 0..60 {
            let at = f64::from(step) * 0.06;
            let ceiling = |_, row| if row < 12 { ([0.0, 1.0], -1.5) } else { ([1.0, 0.0], -1.5) };
            next.take(0, seen(100.0 + f64::from(step) * 0.2, at, ceiling));
        }
        next.finish();
        assert!(floor_margin(&next) < -1.0, "{:?}", next.report());
    }

    #[test]
    fn what_is_no_number_is_passed_over() {
        let mut learner = Learner::new(2, Footprint::default(), None);
        for step in 0..200 {
            let at = f64::from(step) * 0.06;
            let broken = |column, row| match column {
                _ if row < 12 => ([0.0, 0.0], -3.0),
                20 => ([f32::NAN, 1.0], 1.0),
                21 => ([0.0, 1.0], f32::INFINITY),
                _ => ([0.0, 1.0], -1.0),
            };
            learner.take(0, seen(f64::from(step) * 0.2, at, broken));
        }
        assert!(learner.report().counts.frames > 10 && learner.state().statistics.is_whole());
        assert!(learner.correction().is_some());
    }
}
