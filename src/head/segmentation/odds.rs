//! The odds of ground against everything else, and what is added to them.

use super::probability::exp;
use super::{PixelShuffle, ShuffleMode};
use crate::geometry::InputTransform;

/// Logarithms of odds beyond this say no more.
pub const MOST_ODDS: f32 = 8.0;
/// A change of the probability of ground that is no noise: it shows at once.
const REAL_CHANGE: f32 = 0.3;
/// Frames further apart tell nothing of each other.
const MOST_GAP_NS: i64 = 1_000_000_000;

/// Cells whose odds are made together.
const CHUNK: usize = 256;

/// The logarithm of the odds of ground: of the sum of its classes' probabilities over that of all others, by cell, of
/// logits `[classes, cells]`.
pub fn log_odds(logits: &[f32], cells: usize, temperature: f32, is_ground: &[bool]) -> Vec<f32> {
    let mut odds = vec![0.0; cells];
    let inverse_temperature = temperature.recip();
    for (start, odds) in (0..cells).step_by(CHUNK).zip(odds.chunks_mut(CHUNK)) {
        let of = |class: usize| &logits[class * cells + start..][..odds.len()];
        // Of the others, then of ground.
        let mut largest = [[f32::NEG_INFINITY; CHUNK]; 2];
        let mut sum = [[0.0_f32; CHUNK]; 2];
        for (class, is_ground) in is_ground.iter().enumerate() {
            for (largest, logit) in largest[usize::from(*is_ground)].iter_mut().zip(of(class)) {
                *largest = largest.max(*logit);
            }
        }
        for (class, is_ground) in is_ground.iter().enumerate() {
            let side = usize::from(*is_ground);
            let sums = sum[side].iter_mut().zip(&largest[side]);
            for ((sum, largest), logit) in sums.zip(of(class)) {
                *sum += exp((logit - largest) * inverse_temperature);
            }
        }
        for (i, odds) in odds.iter_mut().enumerate() {
            let best = (largest[1][i] - largest[0][i]) * inverse_temperature;
            let value = best + sum[1][i].ln() - sum[0][i].ln();
            // Of a model that has one kind alone, or logits that are no numbers, nothing can be told.
            *odds = if value.is_nan() { 0.0 } else { value.clamp(-MOST_ODDS, MOST_ODDS) };
        }
    }
    odds
}

/// Adds to the logarithm of the odds of ground, by cell, in logits `[classes, cells]`. The odds among the classes of
/// ground, and among the others, stay as they are.
pub fn add_to_ground(logits: &mut [f32], added: &[f32], temperature: f32, is_ground: &[bool]) {
    let planes = logits.chunks_exact_mut(added.len().max(1)).zip(is_ground);
    for (logits, _) in planes.filter(|(_, is_ground)| **is_ground) {
        for (logit, added) in logits.iter_mut().zip(added) {
            *logit += added * temperature;
        }
    }
}

/// Keeps the ground of a camera from flickering: the probability of ground of a cell follows that of the frames before,
/// unless it changes by more than noise does. Nothing waits for a later frame.
#[derive(Debug, Default)]
pub struct Steady {
    /// Probability of ground by cell of the last frame, as it was answered and as its logits lay.
    ground: Vec<f32>,
    /// What of which picture they were, how they lay, and which classes were ground.
    kind: Option<(InputTransform, PixelShuffle, Vec<bool>)>,
    last_ns: i64,
    now_ns: i64,
}

impl Steady {
    /// The frame that comes next came at this time, of whatever clock.
    pub fn start(&mut self, at_ns: i64) {
        self.now_ns = at_ns;
    }

    /// The next frame is answered by itself.
    pub fn forget(&mut self) {
        self.kind = None;
    }

    /// Takes in the frame's logits, of a picture that went in as `transform` says and which lie as `shuffle` says, and
    /// makes them steady. `smoothing`, 0 to 1, is the share
    /// of the earlier answer in one that is the same but for noise; the share falls to nothing where the probability of
    /// ground changes by 0.3. After a gap of a second, a step back in time, with another grid or other classes that are
    /// ground it begins anew.
    pub fn apply(
        &mut self,
        logits: &mut [f32],
        (transform, shuffle): (&InputTransform, PixelShuffle),
        temperature: f32,
        is_ground: &[bool],
        smoothing: f32,
    ) {
        let cells = logits.len() / is_ground.len().max(1);
        // `[classes, cells]`, or as many of these as a square has cells.
        let parts = match shuffle.mode {
            ShuffleMode::DepthFirst => shuffle.channels().max(1),
            ShuffleMode::ColumnsFirst => 1,
        };
        let part = cells / parts;
        if part == 0 {
            return;
        }
        let follows = (0..=MOST_GAP_NS).contains(&self.now_ns.saturating_sub(self.last_ns));
        let is_same = |(picture, before, classes): &(InputTransform, PixelShuffle, Vec<bool>)| {
            (picture, *before) == (transform, shuffle) && classes == is_ground
        };
        let knows =
            follows && self.ground.len() == cells && self.kind.as_ref().is_some_and(is_same);
        if !knows {
            self.ground.clear();
            self.kind = Some((*transform, shuffle, is_ground.to_vec()));
        }
        self.last_ns = self.now_ns;
        for (i, logits) in logits.chunks_exact_mut(part * is_ground.len()).enumerate() {
            let mut added = log_odds(logits, part, temperature, is_ground);
            if !knows {
                self.ground.extend(added.iter().map(|odds| probability(*odds)));
                continue;
            }
            for (added, before) in added.iter_mut().zip(&mut self.ground[i * part..]) {
                let now = probability(*added);
                let share = ((now - *before).abs() / REAL_CHANGE).clamp(1.0 - smoothing, 1.0);
                let steady = *before + share * (now - *before);
                *added = if share < 1.0 { (steady / (1.0 - steady)).ln() - *added } else { 0.0 };
                *before = steady;
            }
            add_to_ground(logits, &added, temperature, is_ground);
        }
    }
}

fn probability(odds: f32) -> f32 {
    (1.0 + (-odds).exp()).recip()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::{Fit, Size, input_transform};

    #[test]
    fn odds_are_a_number_whatever_the_logits() {
        let margin = |logits: &[f32], temperature, is_ground: &[bool]| {
            log_odds(logits, 1, temperature, is_ground)[0]
        };
        assert_eq!(margin(&[f32::NAN, f32::NAN], 1.0, &[true, false]), 0.0);
        assert_eq!(margin(&[5.0, 1.0], 1.0, &[true, true]), MOST_ODDS);
        assert_eq!(margin(&[5.0, 1.0], 1.0, &[false, false]), -MOST_ODDS);
        assert_eq!(margin(&[5.0, 1.0], 2.0, &[false, true]), -2.0);
    }

    #[test]
    fn kinds_of_ground_count_together() {
        // Road and pavement at 0.3 each against a wall at 0.4; more cells than are made at once.
        let cells = CHUNK + 3;
        let logits: Vec<f32> =
            [0.3_f32, 0.4, 0.3].iter().flat_map(|p| vec![2.0 * p.ln(); cells]).collect();
        let odds = log_odds(&logits, cells, 2.0, &[true, false, true]);
        assert!(odds.iter().all(|odds| (odds - 1.5_f32.ln()).abs() < 1e-5), "{odds:?}");
    }

    /// Logits of one cell, two kinds of ground and one of something else, whose odds of ground are these.
    fn cell(odds: f32) -> [f32; 3] {
        [odds - 3.0_f32.ln(), odds + (2.0_f32 / 3.0).ln(), 0.0]
    }

    /// A picture that goes into the network as it is.
    fn picture(width: u32, height: u32) -> InputTransform {
        let size = Size::new(width, height);
        input_transform(size, size, Fit::Stretch, 0)
    }

    const PLAIN: PixelShuffle = PixelShuffle { block: 1, mode: ShuffleMode::DepthFirst };
    const IS_GROUND: [bool; 3] = [true, true, false];

    fn answered(steady: &mut Steady, stamp_ns: i64, odds: f32, smoothing: f32) -> f32 {
        steady.start(stamp_ns);
        let mut logits = cell(odds);
        steady.apply(&mut logits, (&picture(4, 3), PLAIN), 1.0, &IS_GROUND, smoothing);
        assert!((logits[1] - logits[0] - 2.0_f32.ln()).abs() < 1e-5, "{logits:?}");
        assert_eq!(logits[2], 0.0);
        log_odds(&logits, 1, 1.0, &IS_GROUND)[0]
    }

    #[test]
    fn noise_does_not_flip_what_was_ground() {
        let mut steady = Steady::default();
        let tenth = 100_000_000;
        assert!((answered(&mut steady, 0, 0.2, 0.8) - 0.2).abs() < 1e-5);
        for frame in 1..50 {
            let noise = if frame % 2 == 0 { 0.3 } else { -0.1 };
            let odds = answered(&mut steady, frame * tenth, noise, 0.8);
            assert!(odds > 0.0, "frame {frame}: {odds}");
        }
        // Something else for good: it takes some frames.
        let count = (50..70).find(|frame| answered(&mut steady, frame * tenth, -0.2, 0.8) < 0.0);
        assert!((51..56).contains(&count.unwrap()), "{count:?}");
    }

    #[test]
    fn what_steps_in_shows_at_once() {
        let mut steady = Steady::default();
        answered(&mut steady, 0, 3.0, 0.95);
        assert!((answered(&mut steady, 1, -3.0, 0.95) + 3.0).abs() < 1e-5);
        assert!((answered(&mut steady, 2, 3.0, 0.95) - 3.0).abs() < 1e-5);
    }

    #[test]
    fn a_gap_or_a_step_back_in_time_begins_anew() {
        let mut steady = Steady::default();
        answered(&mut steady, 10 * MOST_GAP_NS, 0.4, 0.9);
        assert!((answered(&mut steady, 11 * MOST_GAP_NS + 1, -0.4, 0.9) + 0.4).abs() < 1e-5);
        assert!((answered(&mut steady, 5 * MOST_GAP_NS, 0.4, 0.9) - 0.4).abs() < 1e-5);
        assert!(answered(&mut steady, 5 * MOST_GAP_NS + 1, -0.1, 0.9) > 0.1);
        // Another grid.
        let mut logits = [1.0, 1.0, 2.0, 2.0];
        steady.apply(&mut logits, (&picture(4, 3), PLAIN), 1.0, &[true, false], 0.9);
        for (logit, before) in logits.into_iter().zip([1.0_f32, 1.0, 2.0, 2.0]) {
            assert!((logit - before).abs() < 1e-5, "{logits:?}");
        }
    }

    #[test]
    fn what_is_no_number_changes_nothing() {
        let mut steady = Steady::default();
        for frame in 0..3 {
            steady.start(frame);
            let mut logits = [f32::NAN, 1.0, f32::INFINITY, f32::NEG_INFINITY];
            steady.apply(&mut logits, (&picture(4, 3), PLAIN), 1.0, &[true, false], 0.5);
            assert!((logits[1] - 1.0).abs() < 1e-3, "{logits:?}");
            assert!(steady.ground.iter().all(|p| p.is_finite()), "{steady:?}");
        }
        steady.apply(&mut [], (&picture(4, 3), PLAIN), 1.0, &[], 0.5);
    }

    #[test]
    fn squares_that_lie_in_channels_are_made_steady_too() {
        // Two classes, ground and not, of two squares of 2 x 2 cells: odds by cell, square after square.
        let frames = [
            [0.2_f32, -0.3, 0.1, 0.0, -0.2, 0.3, 0.1, -0.1],
            [-0.1, 0.1, 0.0, 0.3, 0.2, -0.2, 3.0, -0.3],
        ];
        let run = |shuffle, lie: &dyn Fn(usize, usize) -> usize| {
            let mut steady = Steady::default();
            let mut said = Vec::new();
            for (frame, odds) in frames.iter().enumerate() {
                steady.start(frame as i64);
                let mut logits = [0.0; 16];
                (0..8).for_each(|cell| logits[lie(0, cell)] = odds[cell]);
                steady.apply(&mut logits, (&picture(4, 3), shuffle), 1.0, &[true, false], 0.8);
                said.extend((0..8).map(|cell| logits[lie(0, cell)] - logits[lie(1, cell)]));
            }
            said
        };
        let shuffle = |mode| PixelShuffle { block: 2, mode };
        // A cell is the `cell % 4`th of the square `cell / 4`.
        let plain = run(PLAIN, &|class, cell| class * 8 + cell);
        let depth = run(shuffle(ShuffleMode::DepthFirst), &|class, cell| {
            (cell % 4 * 2 + class) * 2 + cell / 4
        });
        let columns = run(shuffle(ShuffleMode::ColumnsFirst), &|class, cell| {
            (class * 4 + cell % 4) * 2 + cell / 4
        });
        assert_ne!(plain[8..], frames[1], "it was made steady");
        for (i, plain) in plain.iter().enumerate() {
            assert!((plain - depth[i]).abs() < 1e-6 && (plain - columns[i]).abs() < 1e-6, "{i}");
        }
    }

    #[test]
    fn what_is_forgotten_is_not_mixed_in() {
        let mut steady = Steady::default();
        answered(&mut steady, 0, 0.4, 0.9);
        steady.forget();
        assert!((answered(&mut steady, 1, -0.1, 0.9) + 0.1).abs() < 1e-5);
        // A picture of another shape with as many cells.
        steady.start(2);
        let mut logits = cell(0.2);
        steady.apply(&mut logits, (&picture(3, 4), PLAIN), 1.0, &IS_GROUND, 0.9);
        assert_eq!(logits, cell(0.2));
        // Other classes are ground.
        steady.start(3);
        let mut logits = cell(0.2);
        steady.apply(&mut logits, (&picture(4, 3), PLAIN), 1.0, &[true, false, false], 0.9);
        assert_eq!(logits, cell(0.2));
    }
}
