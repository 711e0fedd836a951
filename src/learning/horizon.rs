//! Cells above the horizon of the last frames, which are no ground: a correction must not make ground of them.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::correction::Correction;
use super::statistics::Raised;

/// Cells that are kept, the newest, and of a frame at most.
const MOST_CELLS: usize = 512;
const MOST_OF_FRAME: usize = 8;
/// Of fewer nothing is said.
const LEAST_CELLS: usize = 24;
/// A cell whose probability of ground rises by more than this is held more in the next fit.
const MOST_OF_CELL: f64 = 0.02;

/// Cells above the horizon of which the shipped model is not sure.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Horizon {
    /// Features and the shipped margin.
    cells: VecDeque<(Vec<f32>, f32)>,
}

impl Horizon {
    /// Takes some of a frame's cells, evenly drawn.
    pub fn take(&mut self, cells: &[(&[f32], f32)]) {
        let count = cells.len().min(MOST_OF_FRAME);
        for at in 0..count {
            let (features, margin) = cells[(2 * at + 1) * cells.len() / (2 * count)];
            if self.cells.len() == MOST_CELLS {
                self.cells.pop_front();
            }
            self.cells.push_back((features.to_vec(), margin));
        }
    }

    /// Whether there are enough cells to tell.
    fn is_known(&self) -> bool {
        self.cells.len() >= LEAST_CELLS
    }

    /// Whether all cells have so many features, and all are numbers, as those of a file need not be.
    pub fn is_whole(&self, channels: usize) -> bool {
        let is_whole = |(features, margin): &(Vec<f32>, f32)| {
            features.len() == channels
                && features.iter().chain([margin]).all(|value| value.is_finite())
        };
        self.cells.len() <= MOST_CELLS && self.cells.iter().all(is_whole)
    }

    /// By how much the mean probability of ground rises above the horizon; 0 where too little is known of it.
    pub fn rise(&self, correction: &Correction) -> f64 {
        if !self.is_known() {
            return 0.0;
        }
        self.rises(correction).sum::<f64>() / self.cells.len() as f64
    }

    /// Its cells, to be raised by [`Horizon::raise`]; together they weigh as much as a domain of the guard set.
    pub fn held(&self, channels: usize) -> Raised {
        let weight = 1.0 / self.cells.len().max(1) as f64;
        Raised::new(vec![weight; self.cells.len()], channels + 2)
    }

    /// Raises in `held` the cells of which the correction makes more ground; false, and nothing is raised, where the mean
    /// probability rises by no more than `most`.
    pub fn raise(&self, held: &mut Raised, correction: &Correction, most: f64) -> bool {
        if self.rise(correction) <= most {
            return false;
        }
        for (at, rise) in self.rises(correction).enumerate() {
            if rise > MOST_OF_CELL {
                let (features, margin) = &self.cells[at];
                let input: Vec<f32> = features.iter().copied().chain([*margin, 1.0]).collect();
                held.raise(at, &input);
            }
        }
        true
    }

    fn rises(&self, correction: &Correction) -> impl Iterator<Item = f64> {
        let probability = |margin: f32| 1.0 / (1.0 + f64::from(-margin).exp());
        self.cells.iter().map(move |(features, margin)| {
            probability(margin + correction.of(features, *margin)) - probability(*margin)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_cells_are_asked_and_few_say_nothing() {
        let mut horizon = Horizon::default();
        let up = Correction::new(&[0.0, 0.0, 2.0], 1.0).unwrap();
        let frame = |feature: f32, margin: f32| vec![([feature], margin); 30];
        let take = |horizon: &mut Horizon, frame: &[([f32; 1], f32)]| {
            horizon.take(&frame.iter().map(|(f, m)| (f.as_slice(), *m)).collect::<Vec<_>>());
        };
        take(&mut horizon, &[]);
        take(&mut horizon, &frame(1.0, -2.0));
        assert!(!horizon.is_known() && horizon.rise(&up) == 0.0);
        (0..2).for_each(|_| take(&mut horizon, &frame(1.0, -2.0)));
        // Odds of 1 to 1 where they were 1 to e².
        let before = 1.0 / (1.0 + 2_f64.exp());
        assert!((horizon.rise(&up) - (0.5 - before)).abs() < 1e-6);
        (0..64).for_each(|_| take(&mut horizon, &frame(0.0, 8.0)));
        assert!(horizon.is_known() && horizon.rise(&up) < 1e-3);
        assert!(horizon.cells.len() == MOST_CELLS && horizon.is_whole(1) && !horizon.is_whole(2));
    }
}
