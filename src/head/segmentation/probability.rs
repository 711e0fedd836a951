//! Softmax, sums over kinds of ground and expected cost of cells of the grid, plane by plane.

use super::{Grid, UNKNOWN};
use crate::traversability::Traversability;

/// Traversabilities, of which classes are summed up.
pub(super) const KINDS: usize = Traversability::ALL.len();
/// The bit of the first of them in [`Planes::live`].
pub(super) const FIRST_KIND: usize = 32;

/// Cells that are worked on together: their values stay in the first-level cache.
const CHUNK: usize = 128;

/// Logits, and what is to be made of them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Logits<'a> {
    /// Has as many as it says.
    pub grid: Grid<'a>,
    pub classes: usize,
    pub temperature: f32,
    /// Traversability id by class.
    pub kinds: &'a [u8],
    /// By class, if the cost is wanted.
    pub costs: Option<&'a [u8]>,
}

impl Logits<'_> {
    /// Number of planes that they make.
    pub fn planes(&self) -> usize {
        self.classes + KINDS + if self.costs.is_some() { 2 } else { 0 }
    }

    /// The plane of the first traversability.
    pub fn first_kind(&self) -> usize {
        self.classes
    }

    /// The plane of the sum of costs, behind which stands that of what has one.
    pub fn cost_sum(&self) -> usize {
        self.classes + KINDS
    }

    /// A class's logits of a row of the grid.
    #[inline(always)]
    fn copy_row(&self, class: usize, row: usize, to: &mut [f32]) {
        let shuffle = self.grid.shuffle;
        let block = shuffle.block as usize;
        let size = self.grid.size;
        let (width, height) = (size.width as usize / block, size.height as usize / block);
        let line = |column: usize| {
            let channel = shuffle.channel(class, self.classes, row % block, column);
            &self.grid.logits[(channel * height + row / block) * width..][..width]
        };
        match block {
            1 => to.copy_from_slice(line(0)),
            // Alone, this is a few shuffles of registers.
            2 => {
                let (pairs, _) = to.as_chunks_mut::<2>();
                for (pair, (left, right)) in pairs.iter_mut().zip(line(0).iter().zip(line(1))) {
                    *pair = [*left, *right];
                }
            }
            _ => {
                for column in 0..block {
                    let cells = to.iter_mut().skip(column).step_by(block);
                    cells.zip(line(column)).for_each(|(cell, logit)| *cell = *logit);
                }
            }
        }
    }
}

/// Planes `[classes, cells]` of probabilities of a row of the grid, then one of each traversability with
/// the sum over its classes, and two more when the cost is wanted: the sum of probability times cost over
/// the classes whose cost is known, and their probability.
#[derive(Debug, Default)]
pub(super) struct Planes {
    pub values: Vec<f32>,
    /// By cell: which classes may be the most probable one there, or anywhere on the way to a
    /// neighbour where they are not, be it among all or among those of the most probable traversability.
    /// Class c is bit c modulo 32, traversability k bit [`FIRST_KIND`] + k. Probabilities sum to 1 at every
    /// point between cells, so the largest of n is at least 1/n, and the largest of the m classes of that
    /// one at least 1/m of it: what is less in all cells around is not it.
    pub live: Vec<u64>,
}

impl Planes {
    /// Fills the planes from a row of the grid. A logit that is not a number counts as an
    /// impossible class.
    #[inline(always)]
    pub fn fill(&mut self, logits: &Logits<'_>, row: usize) {
        let cells = logits.grid.size.width as usize;
        self.values.resize(logits.planes() * cells, 0.0);
        self.live.resize(cells, 0);
        for (class, values) in self.values.chunks_exact_mut(cells).take(logits.classes).enumerate()
        {
            logits.copy_row(class, row, values);
        }
        for start in (0..cells).step_by(CHUNK) {
            self.fill_chunk(logits, cells, start);
        }
    }

    /// From logits to probabilities.
    #[inline(always)]
    fn fill_chunk(&mut self, logits: &Logits<'_>, cells: usize, start: usize) {
        let classes = logits.classes;
        let inverse_temperature = logits.temperature.recip();
        let mut members = [0_u32; KINDS];
        logits.kinds.iter().for_each(|kind| members[usize::from(*kind) % KINDS] += 1);
        let len = CHUNK.min(cells - start);
        let mut largest = [f32::NEG_INFINITY; CHUNK];
        for class in 0..classes {
            let logits = &self.values[class * cells + start..][..len];
            for (largest, logit) in largest.iter_mut().zip(logits) {
                *largest = largest.max(*logit);
            }
        }
        let mut sum = [0.0_f32; CHUNK];
        for class in 0..classes {
            let values = &mut self.values[class * cells + start..][..len];
            for (value, (largest, sum)) in values.iter_mut().zip(largest.iter().zip(&mut sum)) {
                *value = exp((*value - largest) * inverse_temperature);
                *sum += *value;
            }
        }
        let inverse = sum.map(f32::recip);
        let mut live = [0_u32; CHUNK];
        let mut kinds = [[0.0_f32; CHUNK]; KINDS];
        for class in 0..classes {
            let probabilities = &mut self.values[class * cells + start..][..len];
            let bit = 1 << (class % 32);
            let kind = usize::from(logits.kinds[class]) % KINDS;
            // Less by more than what rounding may take.
            let least = 0.999 / (classes as f32).max((KINDS as u32 * members[kind]) as f32);
            let kind = &mut kinds[kind];
            for (probability, (inverse, (live, kind))) in
                probabilities.iter_mut().zip(inverse.iter().zip(live.iter_mut().zip(kind)))
            {
                *probability *= inverse;
                *kind += *probability;
                *live |= if *probability >= least { bit } else { 0 };
            }
        }
        let live_kinds = self.add_kinds(&kinds, [logits.first_kind(), cells], start, len);
        for (all, (live, kinds)) in
            self.live[start..].iter_mut().zip(live.iter().zip(live_kinds)).take(len)
        {
            *all = u64::from(*live) | u64::from(kinds) << FIRST_KIND;
        }
        if let Some(costs) = logits.costs {
            self.add_costs(costs, [logits.cost_sum(), cells], start, len);
        }
    }

    /// Writes the planes of traversabilities; gives which may win.
    #[inline(always)]
    fn add_kinds(
        &mut self,
        kinds: &[[f32; CHUNK]; KINDS],
        [first, cells]: [usize; 2],
        start: usize,
        len: usize,
    ) -> [u32; CHUNK] {
        let least = 0.999 / KINDS as f32;
        let mut live = [0_u32; CHUNK];
        for (kind, sums) in kinds.iter().enumerate() {
            self.values[(first + kind) * cells + start..][..len].copy_from_slice(&sums[..len]);
            for (live, sum) in live.iter_mut().zip(sums) {
                *live |= if *sum >= least { 1 << kind } else { 0 };
            }
        }
        live
    }

    #[inline(always)]
    fn add_costs(&mut self, costs: &[u8], [plane, cells]: [usize; 2], start: usize, len: usize) {
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
        self.values[plane * cells + start..][..len].copy_from_slice(&cost_sum[..len]);
        self.values[(plane + 1) * cells + start..][..len].copy_from_slice(&known[..len]);
    }
}

/// e to the power of `x`, for `x` up to 0, within 3e-7 of the value; the standard library's is a
/// call for each number, this is a few instructions for as many as fit a register.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
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
    use super::super::{PixelShuffle, ShuffleMode};
    use super::*;
    use crate::geometry::Size;

    #[test]
    fn cells_in_channels_are_found() {
        let (classes, size) = (2, Size::new(12, 6));
        let value = |class: usize, y: usize, x: usize| (class * 1000 + y * 20 + x) as f32;
        for (block, mode) in [1, 2, 3].into_iter().flat_map(|block| {
            [ShuffleMode::DepthFirst, ShuffleMode::ColumnsFirst].map(|mode| (block, mode))
        }) {
            // As ONNX defines it: `[b, b, classes, h, w]` or `[classes, b, b, h, w]`.
            let mut packed = Vec::new();
            for channel in 0..classes * block * block {
                let (class, in_square) = match mode {
                    ShuffleMode::DepthFirst => (channel % classes, channel / classes),
                    ShuffleMode::ColumnsFirst => {
                        (channel / (block * block), channel % (block * block))
                    }
                };
                for y in 0..6 / block {
                    for x in 0..12 / block {
                        let (row, column) = (in_square / block, in_square % block);
                        packed.push(value(class, y * block + row, x * block + column));
                    }
                }
            }
            let shuffle = PixelShuffle { block: block as u32, mode };
            let grid = Grid { logits: &packed, size, shuffle };
            let kinds = &[0, 2];
            let logits = Logits { grid, classes, temperature: 1.0, kinds, costs: None };
            for (class, y) in [(0, 0), (1, 0), (0, 5), (1, 4), (1, 3)] {
                let mut line = [0.0; 12];
                logits.copy_row(class, y, &mut line);
                assert_eq!(line, std::array::from_fn(|x| value(class, y, x)), "{shuffle:?}");
            }
        }
    }

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
            let grid = Grid::new(&logits, Size::new(cells as u32, 1));
            let kinds = &[1, 2, 1];
            planes.fill(&Logits { grid, classes: 3, temperature: 2.0, kinds, costs }, 0);
            assert_eq!(planes.values.len(), 9 * cells);
            for cell in 0..cells {
                let exps: Vec<f64> =
                    (0..3).map(|c| (f64::from(logits[c * cells + cell]) / 2.0).exp()).collect();
                let sum: f64 = exps.iter().sum();
                let close = |plane: usize, expected: f64| {
                    let actual = f64::from(planes.values[plane * cells + cell]);
                    assert!((actual - expected).abs() < 1e-4, "{actual} is not {expected}");
                };
                (0..3).for_each(|c| close(c, exps[c] / sum));
                close(3, 0.0);
                close(4, (exps[0] + exps[2]) / sum);
                close(5, exps[1] / sum);
                close(6, 0.0);
                close(7, 200.0 * exps[1] / sum);
                close(8, (exps[0] + exps[1]) / sum);
            }
        }
    }

    #[test]
    fn logits_that_are_no_numbers_leave_probabilities() {
        let mut planes = Planes::default();
        for odd in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let values = &[odd, 1.0, odd, odd];
            let grid = Grid::new(values, Size::new(2, 1));
            let kinds = &[0, 2];
            planes.fill(&Logits { grid, classes: 2, temperature: 1.0, kinds, costs: None }, 0);
            assert!(
                planes.values.iter().all(|p| (0.0..=1.0 + 1e-6).contains(p)),
                "{:?}",
                planes.values
            );
        }
    }
}
