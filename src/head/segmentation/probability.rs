//! Softmax and expected cost of cells of the grid, plane by plane.

use std::ops::Range;

use super::UNKNOWN;

/// Cells that are worked on together: their values stay in the first-level cache.
const CHUNK: usize = 128;

/// Logits `[classes, cells]`, and what is to be made of them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Logits<'a> {
    pub values: &'a [f32],
    pub classes: usize,
    pub cells: usize,
    pub temperature: f32,
    /// By class, if the cost is wanted.
    pub costs: Option<&'a [u8]>,
}

impl Logits<'_> {
    /// Number of planes that they make.
    pub fn planes(&self) -> usize {
        self.classes + if self.costs.is_some() { 2 } else { 0 }
    }
}

/// Planes `[classes, cells]` of probabilities of a part of the grid, and two more when the cost is
/// wanted: the sum of probability times cost over the classes whose cost is known, and their
/// probability.
#[derive(Debug, Default)]
pub(super) struct Planes {
    pub values: Vec<f32>,
    /// By cell: which classes may be the most probable one there, or anywhere on the way to a
    /// neighbour where they are not. Class c is bit c modulo 32. Probabilities sum to 1 at every point
    /// between cells, so the largest of n is at least 1/n: what is less in all cells around is not it.
    pub live: Vec<u32>,
}

impl Planes {
    /// Fills the planes from a part of the cells. A logit that is not a number counts as an
    /// impossible class.
    #[inline(always)]
    pub fn fill(&mut self, logits: &Logits<'_>, part: Range<usize>) {
        self.values.resize(logits.planes() * part.len(), 0.0);
        self.live.resize(part.len(), 0);
        for start in (0..part.len()).step_by(CHUNK) {
            self.fill_chunk(logits, &part, start);
        }
    }

    #[inline(always)]
    fn fill_chunk(&mut self, logits: &Logits<'_>, part: &Range<usize>, start: usize) {
        let (classes, cells) = (logits.classes, part.len());
        let inverse_temperature = logits.temperature.recip();
        // Less by more than what rounding may take.
        let least = 0.999 / classes as f32;
        let len = CHUNK.min(cells - start);
        let mut largest = [f32::NEG_INFINITY; CHUNK];
        for class in 0..classes {
            let logits = &logits.values[class * logits.cells + part.start + start..][..len];
            for (largest, logit) in largest.iter_mut().zip(logits) {
                *largest = largest.max(*logit);
            }
        }
        let mut sum = [0.0_f32; CHUNK];
        for class in 0..classes {
            let probabilities = &mut self.values[class * cells + start..][..len];
            let logits = &logits.values[class * logits.cells + part.start + start..][..len];
            let lanes = probabilities.iter_mut().zip(logits);
            for ((probability, logit), (largest, sum)) in lanes.zip(largest.iter().zip(&mut sum)) {
                *probability = exp((logit - largest) * inverse_temperature);
                *sum += *probability;
            }
        }
        let inverse = sum.map(f32::recip);
        let mut live = [0_u32; CHUNK];
        for class in 0..classes {
            let probabilities = &mut self.values[class * cells + start..][..len];
            let bit = 1 << (class % 32);
            for (probability, (inverse, live)) in
                probabilities.iter_mut().zip(inverse.iter().zip(&mut live))
            {
                *probability *= inverse;
                *live |= if *probability >= least { bit } else { 0 };
            }
        }
        self.live[start..start + len].copy_from_slice(&live[..len]);
        if let Some(costs) = logits.costs {
            self.add_costs(costs, [classes, cells], start, len);
        }
    }

    #[inline(always)]
    fn add_costs(&mut self, costs: &[u8], [classes, cells]: [usize; 2], start: usize, len: usize) {
        let mut cost_sum = [0.0_f32; CHUNK];
        let mut known = [0.0_f32; CHUNK];
        for (class, cost) in costs.iter().enumerate().filter(|(_, cost)| **cost != UNKNOWN) {
            let cost = f32::from(*cost);
            let probabilities = &self.values[class * cells + start..][..len];
            for (probability, (cost_sum, known)) in
                probabilities.iter().zip(cost_sum.iter_mut().zip(&mut known))
            {
                *cost_sum += probability * cost;
                *known += probability;
            }
        }
        self.values[classes * cells + start..][..len].copy_from_slice(&cost_sum[..len]);
        self.values[(classes + 1) * cells + start..][..len].copy_from_slice(&known[..len]);
    }
}

/// e to the power of `x`, for `x` up to 0, within 3e-7 of the value; the standard library's is a
/// call for each number, this is a few instructions for as many as fit a register.
#[inline(always)]
fn exp(x: f32) -> f32 {
    // Adding this leaves the nearest whole number in the low bits of the sum.
    const ROUND: f32 = 12_582_912.0;
    let exponent = (if x > -87.0 { x } else { -87.0 }) * std::f32::consts::LOG2_E;
    let rounded = exponent + ROUND;
    let power = f32::from_bits((rounded.to_bits() << 23).wrapping_add(0x3f80_0000));
    // The series of e^(f ln 2), f from -1/2 to 1/2.
    let f = (exponent - (rounded - ROUND)) * std::f32::consts::LN_2;
    let series = 1.0 / 720.0;
    let series = 1.0 / 120.0 + f * series;
    let series = 1.0 / 24.0 + f * series;
    let series = 1.0 / 6.0 + f * series;
    let series = 0.5 + f * series;
    let series = 1.0 + f * series;
    power * (1.0 + f * series)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_the_exponential() {
        for i in 0..=88_000 {
            let x = -i as f32 / 1000.0;
            let expected = f64::from(x.max(-87.0)).exp();
            let error = (f64::from(exp(x)) - expected).abs();
            // The argument's own rounding grows with it.
            assert!(error <= 4e-6 * expected, "exp({x}) = {} is not {expected}", exp(x));
            assert!(error <= 3e-7, "exp({x}) = {} is not {expected}", exp(x));
        }
        assert!(exp(f32::NEG_INFINITY) < 1e-37);
        assert!(exp(f32::NAN) < 1e-37);
    }

    #[test]
    fn cells_are_softmaxed_apart_from_each_other_whatever_their_number() {
        for cells in [1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK] {
            let logits: Vec<f32> = (0..3 * cells).map(|i| (i * 37 % 101) as f32 / 10.0).collect();
            let mut planes = Planes::default();
            let costs = Some(&[0, 200, UNKNOWN][..]);
            let logits_ = Logits { values: &logits, classes: 3, cells, temperature: 2.0, costs };
            planes.fill(&logits_, 0..cells);
            assert_eq!(planes.values.len(), 5 * cells);
            // A part alone is the same.
            let mut part = Planes::default();
            part.fill(&logits_, cells / 2..cells);
            let (len, from) = (cells - cells / 2, cells / 2);
            for plane in 0..5 {
                let whole = &planes.values[plane * cells + from..][..len];
                assert_eq!(part.values[plane * len..][..len], *whole);
            }
            assert_eq!(part.live, planes.live[from..]);
            for cell in 0..cells {
                let exps: Vec<f64> =
                    (0..3).map(|c| (f64::from(logits[c * cells + cell]) / 2.0).exp()).collect();
                let sum: f64 = exps.iter().sum();
                let close = |plane: usize, expected: f64| {
                    let actual = f64::from(planes.values[plane * cells + cell]);
                    assert!((actual - expected).abs() < 1e-4, "{actual} is not {expected}");
                };
                (0..3).for_each(|c| close(c, exps[c] / sum));
                close(3, 200.0 * exps[1] / sum);
                close(4, (exps[0] + exps[1]) / sum);
            }
        }
    }

    #[test]
    fn logits_that_are_no_numbers_leave_probabilities() {
        let mut planes = Planes::default();
        for odd in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let values = &[odd, 1.0, odd, odd];
            let logits = Logits { values, classes: 2, cells: 2, temperature: 1.0, costs: None };
            planes.fill(&logits, 0..2);
            assert!(planes.values.iter().all(|p| (0.0..=1.0).contains(p)), "{:?}", planes.values);
        }
    }
}
