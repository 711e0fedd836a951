//! Cells above the horizon of the last frames, which are no ground: a correction must not make ground of them.

use std::collections::VecDeque;

use super::correction::Correction;

/// Cells that are kept, the newest, and of a frame at most.
pub const MOST_CELLS: usize = 512;
const MOST_OF_FRAME: usize = 8;
/// Of fewer nothing is said.
const LEAST_CELLS: usize = 24;

/// Cells above the horizon of which the shipped model is not sure.
#[derive(Debug, Clone, Default)]
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
    pub fn is_known(&self) -> bool {
        self.cells.len() >= LEAST_CELLS
    }

    /// Cells that are known.
    pub fn count(&self) -> usize {
        self.cells.len()
    }

    /// By how much the mean probability of ground rises above the horizon.
    pub fn rise(&self, correction: &Correction) -> f64 {
        let probability = |margin: f32| 1.0 / (1.0 + f64::from(-margin).exp());
        let rises = self.cells.iter().map(|(features, margin)| {
            probability(margin + correction.of(features, *margin)) - probability(*margin)
        });
        rises.sum::<f64>() / self.cells.len().max(1) as f64
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
        assert!(!horizon.is_known() && horizon.count() < LEAST_CELLS);
        (0..2).for_each(|_| take(&mut horizon, &frame(1.0, -2.0)));
        // Odds of 1 to 1 where they were 1 to e².
        let before = 1.0 / (1.0 + 2_f64.exp());
        assert!((horizon.rise(&up) - (0.5 - before)).abs() < 1e-6);
        (0..64).for_each(|_| take(&mut horizon, &frame(0.0, 8.0)));
        assert!(horizon.is_known() && horizon.rise(&up) < 1e-3);
        assert_eq!(horizon.count(), MOST_CELLS);
    }
}
