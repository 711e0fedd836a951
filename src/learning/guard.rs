//! Cells of the shipped model's own validation pictures, which what is learnt elsewhere must not unlearn.

use safetensors::{Dtype, SafeTensors};
use thiserror::Error;

use super::correction::Correction;
use super::statistics::{Raised, Statistics};
use crate::manifest::Model;

/// A cell whose margin is no more than this on its own side is held as if it were answered wrongly.
const CLOSE: f32 = 0.3;

/// Why a file is no guard set.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("no guard set: {0}")]
pub struct GuardError(String);

/// Cells with their truth, of several domains of equal weight.
#[derive(Debug, Clone, PartialEq)]
pub struct GuardSet {
    channels: usize,
    /// By cell, then by channel.
    features: Vec<f32>,
    margins: Vec<f32>,
    is_ground: Vec<bool>,
    domains: Vec<u8>,
}

impl GuardSet {
    /// The guard set of a model.
    ///
    /// # Errors
    /// [`GuardError`] naming what is wrong with the file, or that the manifest names none.
    pub fn of(model: &Model) -> Result<Self, GuardError> {
        let Some(file) = &model.manifest.guard else {
            return Err(GuardError(format!("the manifest of {} names none", model.manifest.name)));
        };
        let bytes = model.read_beside(file).map_err(|error| GuardError(error.to_string()))?;
        Self::read(&bytes)
    }

    /// Itself, for a mask of so many features.
    ///
    /// # Errors
    /// It is of another number.
    pub fn for_channels(self, channels: usize) -> Result<Self, GuardError> {
        if self.channels == channels {
            return Ok(self);
        }
        Err(GuardError(format!("it has {} features, the mask {channels}", self.channels)))
    }

    /// Reads a safetensors file: `features` `[cells, channels]` in float16, `margins` `[cells]` in float32,
    /// `ground` (0 or 1) and `domains` `[cells]` in uint8.
    ///
    /// # Errors
    /// [`GuardError`] that names what is missing or of another shape.
    pub fn read(bytes: &[u8]) -> Result<Self, GuardError> {
        let refuse = |reason: &dyn std::fmt::Display| GuardError(reason.to_string());
        let tensors = SafeTensors::deserialize(bytes).map_err(|error| refuse(&error))?;
        let get = |name: &str, dtype: Dtype, shape: &[usize]| {
            let tensor = tensors.tensor(name).map_err(|error| refuse(&error))?;
            if tensor.dtype() != dtype || tensor.shape() != shape {
                return Err(refuse(&format!(
                    "{name} is {:?} of {:?}, {dtype:?} of {shape:?} is wanted",
                    tensor.shape(),
                    tensor.dtype(),
                )));
            }
            Ok(tensor.data().to_vec())
        };
        let features = tensors.tensor("features").map_err(|error| refuse(&error))?;
        let &[cells, channels] = features.shape() else {
            return Err(refuse(&format!("features has shape {:?}", features.shape())));
        };
        let halves = get("features", Dtype::F16, &[cells, channels])?;
        let margins = get("margins", Dtype::F32, &[cells])?;
        let ground = get("ground", Dtype::U8, &[cells])?;
        let domains = get("domains", Dtype::U8, &[cells])?;
        if cells == 0 || channels == 0 {
            return Err(refuse(&"it is empty"));
        }
        let features = halves.chunks_exact(2).map(|b| float(u16::from_le_bytes([b[0], b[1]])));
        let margins = margins.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        let (features, margins): (Vec<f32>, Vec<f32>) = (features.collect(), margins.collect());
        if !features.iter().chain(&margins).all(|value| value.is_finite()) {
            return Err(refuse(&"features or margins that are no numbers"));
        }
        Ok(Self {
            channels,
            features,
            margins,
            is_ground: ground.into_iter().map(|value| value != 0).collect(),
            domains,
        })
    }

    /// Features of a cell.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// Sums of the cells, each wanting no change: the prior of what is learnt.
    pub fn prior(&self) -> Statistics {
        let mut statistics = Statistics::new(self.channels + 2);
        for (cell, weight) in self.weights().into_iter().enumerate() {
            statistics.add(&self.input(cell), weight, 0.0);
        }
        statistics
    }

    /// Its cells, to be raised by [`GuardSet::raise`].
    pub fn held(&self) -> Raised {
        Raised::new(self.weights(), self.channels + 2)
    }

    /// Raises in `held` those cells that the model answers rightly and the correction wrongly, or nearly so; false,
    /// and nothing is raised, where in no domain more than `most` points of the cells are answered wrongly that were not.
    pub fn raise(&self, held: &mut Raised, correction: &Correction, most: f64) -> bool {
        let mut lost = [0_u32; 256];
        let mut close = Vec::new();
        for (cell, features) in self.features.chunks_exact(self.channels).enumerate() {
            let sign = if self.is_ground[cell] { 1.0 } else { -1.0 };
            let margin = self.margins[cell];
            let (before, after) =
                (sign * margin, sign * (margin + correction.of(features, margin)));
            if before <= 0.0 {
                continue;
            }
            if after <= 0.0 {
                lost[usize::from(self.domains[cell])] += 1;
            }
            // One that was as close before is not to be pushed away.
            if after <= CLOSE.min(0.99 * before) {
                close.push(cell);
            }
        }
        let is_held =
            |(lost, count): (u32, u32)| 100.0 * f64::from(lost) <= most * f64::from(count);
        if lost.into_iter().zip(self.counts()).all(is_held) {
            return false;
        }
        close.into_iter().for_each(|cell| held.raise(cell, &self.input(cell)));
        true
    }

    /// Each domain weighs 1.
    fn weights(&self) -> Vec<f64> {
        let counts = self.counts();
        self.domains.iter().map(|domain| 1.0 / f64::from(counts[usize::from(*domain)])).collect()
    }

    /// Features, margin and 1.
    fn input(&self, cell: usize) -> Vec<f32> {
        let features = &self.features[cell * self.channels..][..self.channels];
        features.iter().copied().chain([self.margins[cell], 1.0]).collect()
    }

    /// By how many points the share of cells that are answered rightly falls, in the domain where it falls most;
    /// below 0 where it rises in all.
    pub fn fall(&self, correction: &Correction) -> f64 {
        let counts = self.counts();
        let mut lost = [0_i32; 256];
        for (cell, features) in self.features.chunks_exact(self.channels).enumerate() {
            let margin = self.margins[cell];
            let (before, after) = (margin > 0.0, margin + correction.of(features, margin) > 0.0);
            if before != after {
                let change = if before == self.is_ground[cell] { 1 } else { -1 };
                lost[usize::from(self.domains[cell])] += change;
            }
        }
        let shares = lost.iter().zip(counts).filter(|(_, count)| *count > 0);
        let falls = shares.map(|(lost, count)| 100.0 * f64::from(*lost) / f64::from(count));
        falls.reduce(f64::max).unwrap_or(0.0)
    }

    /// Cells of each domain.
    fn counts(&self) -> [u32; 256] {
        let mut counts = [0; 256];
        self.domains.iter().for_each(|domain| counts[usize::from(*domain)] += 1);
        counts
    }
}

/// The number that a half-precision float (IEEE 754 binary16) is.
fn float(half: u16) -> f32 {
    let (sign, exponent, fraction) = (half >> 15, (half >> 10) & 0x1f, half & 0x3ff);
    let fraction = f32::from(fraction) / 1024.0;
    let size = match exponent {
        0 => fraction * 2.0_f32.powi(-14),
        31 => return f32::NAN,
        _ => (1.0 + fraction) * 2.0_f32.powi(i32::from(exponent) - 15),
    };
    if sign == 1 { -size } else { size }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use safetensors::tensor::TensorView;

    /// A half of a small whole number or of one with few binary digits.
    fn half(value: f32) -> u16 {
        let bits = value.to_bits();
        if value == 0.0 {
            return 0;
        }
        let exponent = ((bits >> 23) & 0xff) as i32 - 127 + 15;
        ((bits >> 16) & 0x8000) as u16 | (exponent as u16) << 10 | ((bits >> 13) & 0x3ff) as u16
    }

    /// Two domains, one feature: where it is 1 there is ground, and the model knows.
    pub fn guard_set() -> GuardSet {
        let cells = 200;
        let on = |cell: usize| cell.is_multiple_of(2);
        GuardSet {
            channels: 2,
            features: (0..cells).flat_map(|cell| [f32::from(u8::from(on(cell))), 0.0]).collect(),
            margins: (0..cells).map(|cell| if on(cell) { 3.0 } else { -3.0 }).collect(),
            is_ground: (0..cells).map(on).collect(),
            domains: (0..cells).map(|cell| u8::from(cell >= 100)).collect(),
        }
    }

    #[test]
    fn halves_are_read() {
        for value in [0.0, 1.0, -2.5, 0.0625, 1000.0] {
            assert_eq!(float(half(value)), value);
        }
        assert_eq!(float(1), 2.0_f32.powi(-24));
    }

    #[test]
    fn a_file_comes_back_and_one_of_another_shape_is_refused() {
        let features: Vec<u8> =
            [1.0, 0.5, -2.0, 0.0].into_iter().flat_map(|v| half(v).to_le_bytes()).collect();
        let margins: Vec<u8> = [3.0_f32, -1.0].into_iter().flat_map(f32::to_le_bytes).collect();
        let view =
            |dtype, shape: &[usize], data| TensorView::new(dtype, shape.to_vec(), data).unwrap();
        let of = |margins_shape: &[usize]| {
            let tensors = [
                ("features", view(Dtype::F16, &[2, 2], &features)),
                ("margins", view(Dtype::F32, margins_shape, &margins)),
                ("ground", view(Dtype::U8, &[2], &[1, 0])),
                ("domains", view(Dtype::U8, &[2], &[0, 1])),
            ];
            GuardSet::read(&safetensors::serialize(tensors, None).unwrap())
        };
        let guard = of(&[2]).unwrap();
        assert_eq!(guard.features, [1.0, 0.5, -2.0, 0.0]);
        assert_eq!((&*guard.margins, &*guard.is_ground), (&[3.0, -1.0][..], &[true, false][..]));
        assert!(of(&[1, 2]).unwrap_err().to_string().contains("margins is [1, 2]"));
        assert!(GuardSet::read(b"x").is_err());
        let said = guard.for_channels(48).unwrap_err().to_string();
        assert_eq!(said, "no guard set: it has 2 features, the mask 48");
    }

    #[test]
    fn the_fall_is_what_is_answered_wrongly_now() {
        let guard = guard_set();
        let of = |coefficients: [f64; 4]| guard.fall(&Correction::new(&coefficients, 1.0).unwrap());
        assert_eq!(of([0.0, 0.0, 0.0, 0.0]), 0.0);
        // All is ground: half of it is not.
        assert_eq!(of([0.0, 0.0, 0.0, 4.0]), 50.0);
        assert_eq!(of([0.0, 9.0, 0.0, 0.0]), 0.0);
        // One domain does not make up for another: what is wrong in the second is made right in the first.
        let mut two = guard_set();
        for cell in (1..100).step_by(2) {
            two.is_ground[cell] = true;
        }
        assert_eq!(two.fall(&Correction::new(&[0.0, 0.0, 0.0, 4.0], 1.0).unwrap()), 50.0);
    }

    #[test]
    fn what_falls_is_held_more_until_it_does_not() {
        let guard = guard_set();
        // What is learnt cannot all be had without unlearning something.
        let mut statistics = Statistics::new(4);
        let floor = [0.0, 0.2, -3.0, 1.0];
        (0..20).for_each(|_| statistics.add(&floor, 1.0, 6.5));
        (0..5).for_each(|_| statistics.add(&[1.0, 0.4, 3.0, 1.0], 1.0, 0.0));
        let prior = guard.prior();
        let mut held = guard.held();
        let mut falls = Vec::new();
        for _ in 0..20 {
            let found = statistics.solve(Some(&prior), &[&held], 0.01).unwrap();
            let correction = Correction::new(&found, 1.0).unwrap();
            falls.push(guard.fall(&correction));
            let taught = -3.0 + correction.of(&floor[..2], -3.0);
            assert!(taught > 0.0, "what was taught is kept: {taught}");
            if !guard.raise(&mut held, &correction, 0.5) {
                break;
            }
        }
        assert!(falls[0] > 10.0 && *falls.last().unwrap() <= 0.5 && falls.len() < 20, "{falls:?}");
    }
}
