//! Softmax and expected cost of each cell of the grid, plane by plane.

use super::UNKNOWN;

/// Cells that are worked on together: their values stay in the first-level cache.
const CHUNK: usize = 128;

/// Planes `[classes, cells]` of probabilities, and two more when the cost is wanted: the sum of
/// probability times cost over the classes whose cost is known, and their probability.
#[derive(Debug, Default)]
pub(super) struct Planes {
    pub values: Vec<f32>,
    pub classes: usize,
    pub cells: usize,
    pub has_cost: bool,
}

impl Planes {
    /// Number of planes.
    pub fn count(&self) -> usize {
        self.classes + if self.has_cost { 2 } else { 0 }
    }

    /// Fills the planes from logits `[classes, cells]`. A logit that is not a number counts as
    /// an impossible class.
    pub fn fill(&mut self, logits: &[f32], classes: usize, temperature: f32, costs: Option<&[u8]>) {
        self.classes = classes;
        self.cells = logits.len() / classes;
        self.has_cost = costs.is_some();
        self.values.resize(self.count() * self.cells, 0.0);
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has just said that it has AVX2.
            unsafe { self.fill_avx2(logits, temperature.recip(), costs) };
            return;
        }
        self.fill_chunks(logits, temperature.recip(), costs);
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn fill_avx2(&mut self, logits: &[f32], inverse_temperature: f32, costs: Option<&[u8]>) {
        self.fill_chunks(logits, inverse_temperature, costs);
    }

    #[inline(always)]
    fn fill_chunks(&mut self, logits: &[f32], inverse_temperature: f32, costs: Option<&[u8]>) {
        let (classes, cells) = (self.classes, self.cells);
        for start in (0..cells).step_by(CHUNK) {
            let len = CHUNK.min(cells - start);
            let mut largest = [f32::NEG_INFINITY; CHUNK];
            for class in 0..classes {
                let logits = &logits[class * cells + start..][..len];
                for (largest, logit) in largest.iter_mut().zip(logits) {
                    *largest = if *logit > *largest { *logit } else { *largest };
                }
            }
            let mut sum = [0.0_f32; CHUNK];
            for class in 0..classes {
                let at = class * cells + start;
                let probabilities = &mut self.values[at..at + len];
                let lanes = probabilities.iter_mut().zip(&logits[at..at + len]);
                for ((probability, logit), (largest, sum)) in
                    lanes.zip(largest.iter().zip(&mut sum))
                {
                    *probability = exp((logit - largest) * inverse_temperature);
                    *sum += *probability;
                }
            }
            let inverse = sum.map(f32::recip);
            for class in 0..classes {
                let probabilities = &mut self.values[class * cells + start..][..len];
                for (probability, inverse) in probabilities.iter_mut().zip(&inverse) {
                    *probability *= inverse;
                }
            }
            if let Some(costs) = costs {
                self.add_costs(costs, start, len);
            }
        }
    }

    #[inline(always)]
    fn add_costs(&mut self, costs: &[u8], start: usize, len: usize) {
        let (classes, cells) = (self.classes, self.cells);
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
            planes.fill(&logits, 3, 2.0, Some(&[0, 200, UNKNOWN]));
            assert_eq!(planes.values.len(), 5 * cells);
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
            planes.fill(&[odd, 1.0, odd, odd], 2, 1.0, None);
            assert!(planes.values.iter().all(|p| (0.0..=1.0).contains(p)), "{:?}", planes.values);
        }
    }
}
