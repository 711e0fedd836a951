//! What is learnt, and how it changes a frame.

use std::sync::{Arc, Mutex};

use super::cells::Margins;
use crate::head::segmentation::add_to_ground;
use crate::lock::lock;

/// Nothing is moved by more than this: odds of 400 to 1.
const MOST: f32 = 6.0;

/// Added to the margin of ground over everything else: linear in a cell's features, the shipped margin and 1.
#[derive(Debug, Clone, PartialEq)]
pub struct Correction {
    /// By channel.
    features: Vec<f32>,
    /// Of the shipped margin.
    margin: f32,
    /// Of 1.
    offset: f32,
}

impl Correction {
    /// From the coefficients of the features, the margin and 1, times `scale`; `None` of less than these two.
    pub fn new(coefficients: &[f64], scale: f64) -> Option<Self> {
        let [features @ .., margin, offset] = coefficients else { return None };
        let scaled = |value: &f64| (value * scale) as f32;
        Some(Self {
            features: features.iter().map(scaled).collect(),
            margin: scaled(margin),
            offset: scaled(offset),
        })
    }

    /// What is added for one cell.
    pub fn of(&self, features: &[f32], margin: f32) -> f32 {
        let sum: f32 =
            self.features.iter().zip(features).map(|(weight, value)| weight * value).sum();
        bounded(sum + self.margin * margin + self.offset)
    }

    /// Adds it to the odds of ground in logits `[classes, height, width]`. Gives what was added by cell; features of
    /// other channels change nothing.
    pub fn apply(&self, margins: &Margins<'_>, logits: &mut [f32]) -> Vec<f32> {
        let Margins { features, temperature, is_ground, values } = margins;
        let plane = values.len();
        if features.channels != self.features.len() || logits.len() != is_ground.len() * plane {
            return Vec::new();
        }
        let mut added: Vec<f32> =
            values.iter().map(|margin| self.margin * margin + self.offset).collect();
        for (weight, values) in self.features.iter().zip(features.values.chunks_exact(plane)) {
            for (added, value) in added.iter_mut().zip(values) {
                *added += weight * value;
            }
        }
        for added in &mut added {
            *added = bounded(*added);
        }
        add_to_ground(logits, &added, *temperature, is_ground);
        added
    }
}

fn bounded(added: f32) -> f32 {
    if added.is_nan() { 0.0 } else { added.clamp(-MOST, MOST) }
}

/// The correction in force, between who learns it and who applies it.
#[derive(Debug, Clone, Default)]
pub struct CorrectionSlot(Arc<Mutex<Option<Arc<Correction>>>>);

impl CorrectionSlot {
    /// Puts another one in force.
    pub fn set(&self, correction: Option<Arc<Correction>>) {
        *lock(&self.0) = correction;
    }

    /// The one in force.
    pub fn get(&self) -> Option<Arc<Correction>> {
        lock(&self.0).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::descriptor::FeatureMap;
    use crate::geometry::Size;
    use crate::head::segmentation::Grid;

    #[test]
    fn the_margin_moves_by_what_is_added() {
        let correction = Correction::new(&[0.5, 0.1, -1.0], 2.0).unwrap();
        let values = [3.0, 0.0];
        let features = FeatureMap { channels: 1, height: 1, width: 2, values: &values };
        // Two kinds of ground, one of something else, two cells.
        let is_ground = [true, true, false];
        let mut logits = [1.0, 0.0, 0.5, 0.0, 2.0, 0.0];
        let margins = |logits: &[f32]| {
            let grid = Grid::new(logits, Size::new(2, 1));
            Margins::new(features, grid, 2.0, &is_ground).unwrap().values
        };
        let before = margins(&logits);
        let grid = logits;
        let grid = Grid::new(&grid, Size::new(2, 1));
        let added =
            correction.apply(&Margins::new(features, grid, 2.0, &is_ground).unwrap(), &mut logits);
        let after = margins(&logits);
        for (i, (before, after)) in before.into_iter().zip(after).enumerate() {
            assert!((after - before - added[i]).abs() < 1e-6);
            assert!((added[i] - correction.of(&values[i..=i], before)).abs() < 1e-6);
        }
        // Two kinds of ground, each as probable as the rest: odds of 2.
        assert!((added[1] + 2.0 - 0.2 * 2.0_f32.ln()).abs() < 1e-6, "{added:?}");
        // Among the kinds of ground nothing changes.
        assert!((logits[0] - logits[2] - 0.5).abs() < 1e-6);
    }

    #[test]
    fn what_does_not_fit_changes_nothing() {
        let correction = Correction::new(&[0.5, 0.1, -1.0], 1.0).unwrap();
        let features = FeatureMap { channels: 2, height: 1, width: 1, values: &[1.0, 1.0] };
        let mut logits = [1.0, 2.0];
        let grid = Grid::new(&[1.0, 2.0], Size::new(1, 1));
        let margins = Margins::new(features, grid, 1.0, &[true, false]).unwrap();
        assert!(correction.apply(&margins, &mut logits).is_empty());
        assert_eq!(logits, [1.0, 2.0]);
        assert!(Correction::new(&[1.0], 1.0).is_none());
    }
}
