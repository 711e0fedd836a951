//! Sums of a weighted ridge regression: all that has to be kept of what was seen.

use nalgebra::{Cholesky, DMatrix, DVector};
use serde::{Deserialize, Serialize};

/// Weight in all that is kept at most: what is older fades as news come.
const MOST_WEIGHT: f64 = 500.0;
/// Stiffness of each coefficient by itself, as a share of what the features of one unit of weight say.
const RIDGE: f64 = 0.02;

/// How many times as much an input of [`Raised`] weighs with each turn.
const RAISE: f64 = 3.0;

/// Sums over inputs `x` of weight `w` and wanted output `y`: of `w x xT` and `w x y`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Statistics {
    /// Length of an input.
    size: usize,
    /// `size * size`, row-major; the part on and under the diagonal is filled.
    squares: Vec<f64>,
    products: Vec<f64>,
    /// Sum of the weights.
    weight: f64,
}

impl Statistics {
    /// Of nothing yet, for inputs of that length.
    pub fn new(size: usize) -> Self {
        Self { size, squares: vec![0.0; size * size], products: vec![0.0; size], weight: 0.0 }
    }

    /// Length of an input.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Whether it is of one piece, as one that was read need not be.
    pub fn is_whole(&self) -> bool {
        let is_finite = self.squares.iter().chain(&self.products).all(|value| value.is_finite());
        self.size.checked_mul(self.size) == Some(self.squares.len())
            && self.products.len() == self.size
            && self.weight.is_finite()
            && self.weight >= 0.0
            && is_finite
    }

    /// Adds an input.
    pub fn add(&mut self, input: &[f32], weight: f64, wanted: f64) {
        for (row, value) in input.iter().enumerate().take(self.size) {
            let scaled = f64::from(*value) * weight;
            // Half of the features of a rectified layer are 0.
            if scaled == 0.0 {
                continue;
            }
            let squares = &mut self.squares[row * self.size..][..=row];
            for (sum, other) in squares.iter_mut().zip(input) {
                *sum += scaled * f64::from(*other);
            }
            self.products[row] += scaled * wanted;
        }
        self.weight += weight;
    }

    /// Lets what was added fade, so that no more than a bounded weight is kept.
    pub fn fade(&mut self) {
        if self.weight > MOST_WEIGHT {
            let share = MOST_WEIGHT / self.weight;
            self.squares.iter_mut().chain(&mut self.products).for_each(|sum| *sum *= share);
            self.weight = MOST_WEIGHT;
        }
    }

    /// The coefficients of least squares: `w (x c - y)²` of all that was added, plus `(x c)²` of what was added to
    /// `prior`, scaled to `prior_weight`, and of `raised` in the same scale, plus a small stiffness. `None` where nothing
    /// can be told.
    pub fn solve(
        &self,
        prior: Option<&Self>,
        raised: &[&Raised],
        prior_weight: f64,
    ) -> Option<Vec<f64>> {
        let size = self.size;
        let mut matrix = DMatrix::<f64>::from_row_slice(size, size, &self.squares);
        let mut of_one =
            self.squares.iter().map(|sum| sum / self.weight.max(1e-9)).collect::<Vec<_>>();
        let prior = prior.filter(|prior| prior.size == size && prior.weight > 0.0);
        // Without a prior each of `raised` is a domain by itself.
        let share = prior.map_or(prior_weight, |prior| prior_weight / prior.weight);
        for sums in raised.iter().map(|raised| &raised.sums).chain(prior) {
            matrix += DMatrix::from_row_slice(size, size, &sums.squares) * share;
        }
        if let Some(prior) = prior {
            of_one = prior.squares.iter().map(|sum| sum / prior.weight).collect();
        }
        for i in 0..size {
            // A feature that was never seen must not make the matrix singular.
            matrix[(i, i)] += RIDGE * prior_weight.max(1.0) * of_one[i * size + i] + 1e-6;
        }
        // Cholesky reads the lower half alone.
        let solved = Cholesky::new(matrix)?.solve(&DVector::from_column_slice(&self.products));
        solved.iter().all(|value| value.is_finite()).then(|| solved.as_slice().to_vec())
    }
}

/// Inputs that want no change and weigh the more the oftener they were given one.
#[derive(Debug, Clone)]
pub struct Raised {
    weights: Vec<f64>,
    /// For what they weigh beyond their first weights.
    sums: Statistics,
}

impl Raised {
    /// Inputs of that length with their first weights.
    pub fn new(weights: Vec<f64>, size: usize) -> Self {
        Self { weights, sums: Statistics::new(size) }
    }

    /// Has one of them weigh three times as much.
    pub fn raise(&mut self, at: usize, input: &[f32]) {
        let more = (RAISE - 1.0) * self.weights[at];
        self.sums.add(input, more, 0.0);
        self.weights[at] += more;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn enough_of_a_linear_law_is_found(a in -2.0..2.0_f64, b in -2.0..2.0_f64, seed in 1_u32..1000) {
            let mut statistics = Statistics::new(2);
            let mut state = seed;
            for _ in 0..400 {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let x = f64::from(state >> 8) / f64::from(1 << 24) * 4.0 - 2.0;
                statistics.add(&[x as f32, 1.0], 1.0, a * x + b);
            }
            let found: Vec<f64> = statistics.solve(None, &[], 0.0).unwrap();
            prop_assert!((found[0] - a).abs() < 0.01 && (found[1] - b).abs() < 0.01, "{found:?}");
        }
    }

    #[test]
    fn what_the_prior_knows_is_held() {
        let mut prior = Statistics::new(2);
        (0..100).for_each(|_| prior.add(&[1.0, 0.0], 1.0, 0.0));
        let mut statistics = Statistics::new(2);
        (0..10).for_each(|_| {
            statistics.add(&[1.0, 0.0], 1.0, 3.0);
            statistics.add(&[0.0, 1.0], 1.0, 3.0);
        });
        let found = statistics.solve(Some(&prior), &[], 90.0).unwrap();
        // 10 against 90 and a little, and against next to nothing.
        assert!((0.25..0.3).contains(&found[0]) && found[1] > 2.9, "{found:?}");
    }

    #[test]
    fn nothing_added_changes_nothing_and_the_weight_is_bounded() {
        assert_eq!(Statistics::new(2).solve(None, &[], 20.0).unwrap(), [0.0, 0.0]);
        let mut statistics = Statistics::new(1);
        (0..2000).for_each(|_| {
            statistics.add(&[1.0], 1.0, 1.0);
            statistics.fade();
        });
        (0..2000).for_each(|_| {
            statistics.add(&[1.0], 1.0, -1.0);
            statistics.fade();
        });
        assert!(statistics.solve(None, &[], 0.0).unwrap()[0] < -0.9);
        assert!(statistics.is_whole());
    }
}
