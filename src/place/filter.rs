//! One odd frame does not teleport a robot: a Bayes filter over places.

/// How a robot moves between places from one frame to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Motion {
    /// It stays, or turns up anywhere. Places have no order.
    Anywhere,
    /// Places are one behind the other, as views along a way, about one a frame.
    Along,
}

/// Probability of turning up anywhere else.
const JUMP: f64 = 0.02;

/// No frame says more than this against anything, however clear it is: it may be of somebody who
/// stands in the way.
const ONE_FRAME: f32 = 8.0;

/// Steps along the way and their probabilities.
const STEPS: [(usize, f64); 3] = [(0, 0.2), (1, 0.6), (2, 0.2)];

/// Weights of the evidence of a place on a way and of those one and two from it: a binomial window.
const NEIGHBOURS: [f32; 5] = [1.0 / 16.0, 4.0 / 16.0, 6.0 / 16.0, 4.0 / 16.0, 1.0 / 16.0];

/// Probability of each place after all frames so far: which place it is if it is any, and whether
/// it is any.
///
/// Which: prediction `q'(i) = (1 - jump) sum_j step(i - j) q(j) + jump / n`, update
/// `q(i) ~ q'(i) exp(w which(i))` with `w = 1 - smoothing`; along a way `which` is averaged over
/// neighbours first. Whether: log odds `w whether` a frame, from `k' = (1 - jump) k + jump (1 - k)`. Both are kept apart so that a
/// while in which nothing fits does not wipe out where the robot was. The answer is `k q(i)`.
#[derive(Debug, Clone)]
pub struct Filter {
    motion: Motion,
    /// By place, sums to 1.
    which: Vec<f64>,
    /// That it is any of them.
    known: f64,
}

impl Filter {
    /// A filter that has seen nothing.
    pub fn new(motion: Motion) -> Self {
        Self { motion, which: Vec::new(), known: 0.5 }
    }

    /// Takes a frame's evidence and gives the probability of each place. `which` are log likelihoods
    /// of the places, up to what they have in common; `whether` is the log likelihood ratio of being
    /// at any of them against being nowhere. `smoothing` is 0 for each frame on its own, near 1 for
    /// slow; it weighs evidence down because frames that follow each other err alike.
    pub fn update(&mut self, which: &[f32], whether: f32, smoothing: f64) -> Vec<f64> {
        let count = which.len();
        if self.which.len() != count || smoothing <= 0.0 {
            // Other places than before, or each frame on its own: nothing is known.
            self.which = vec![1.0 / count as f64; count];
            self.known = 0.5;
        } else {
            self.predict();
        }
        let weight = 1.0 - smoothing.clamp(0.0, 0.99);
        let evidence = match self.motion {
            Motion::Anywhere => which.to_vec(),
            Motion::Along => along(which),
        };
        let most = evidence.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        for (probability, value) in self.which.iter_mut().zip(&evidence) {
            let against_best = (value - most).max(-ONE_FRAME);
            *probability *= (weight * f64::from(against_best)).exp();
        }
        let sum: f64 = self.which.iter().sum();
        self.which.iter_mut().for_each(|p| *p /= sum.max(f64::MIN_POSITIVE));
        let odds = (weight * f64::from(whether.clamp(-ONE_FRAME, ONE_FRAME))).exp();
        self.known = self.known * odds / (self.known * odds + 1.0 - self.known);
        self.which.iter().map(|probability| self.known * probability).collect()
    }

    fn predict(&mut self) {
        let count = self.which.len();
        let mut next = vec![JUMP / count as f64; count];
        for (place, probability) in self.which.iter().enumerate() {
            match self.motion {
                Motion::Anywhere => next[place] += (1.0 - JUMP) * probability,
                Motion::Along => {
                    for (step, share) in STEPS {
                        // At its end a way ends.
                        let to = (place + step).min(count - 1);
                        next[to] += (1.0 - JUMP) * share * probability;
                    }
                }
            }
        }
        self.which = next;
        self.known = (1.0 - JUMP) * self.known + JUMP * (1.0 - self.known);
    }
}

/// Evidence averaged over neighbours: views along a way flow into each other, so what looks alike by
/// chance stands alone where the right place has neighbours that look alike too. The ends are
/// repeated.
fn along(evidence: &[f32]) -> Vec<f32> {
    let last = evidence.len().saturating_sub(1);
    let average = |place: usize| {
        let weighted = NEIGHBOURS.iter().enumerate();
        weighted
            .map(|(step, weight)| weight * evidence[(place + step).saturating_sub(2).min(last)])
            .sum()
    };
    (0..evidence.len()).map(average).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn update(filter: &mut Filter, evidence: &[f32], smoothing: f64) -> Vec<f64> {
        let most = evidence.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        filter.update(evidence, most, smoothing)
    }

    fn best(probabilities: &[f64]) -> usize {
        (0..probabilities.len())
            .max_by(|a, b| probabilities[*a].total_cmp(&probabilities[*b]))
            .unwrap()
    }

    #[test]
    fn one_odd_frame_changes_nothing_and_three_do() {
        let mut filter = Filter::new(Motion::Anywhere);
        for _ in 0..5 {
            update(&mut filter, &[4.0, -4.0], 0.5);
        }
        assert_eq!(best(&update(&mut filter, &[-4.0, 4.0], 0.5)), 0);
        update(&mut filter, &[-4.0, 4.0], 0.5);
        let after = update(&mut filter, &[-4.0, 4.0], 0.5);
        assert_eq!(best(&after), 1);
        assert!(after[1] > 0.8, "{after:?}");
        let mut unfiltered = Filter::new(Motion::Anywhere);
        update(&mut unfiltered, &[4.0, -4.0], 0.0);
        assert!(update(&mut unfiltered, &[-4.0, 4.0], 0.0)[1] > 0.95);
    }

    #[test]
    fn nothing_that_fits_is_nowhere() {
        let mut filter = Filter::new(Motion::Anywhere);
        update(&mut filter, &[6.0, -6.0], 0.5);
        for _ in 0..6 {
            update(&mut filter, &[-6.0, -6.0], 0.5);
        }
        assert!(update(&mut filter, &[-6.0, -6.0], 0.5).iter().sum::<f64>() < 0.1);
        assert!(update(&mut filter, &[], 0.5).is_empty());
    }

    #[test]
    fn along_a_way_the_next_view_is_expected() {
        let mut filter = Filter::new(Motion::Along);
        for place in 0..4 {
            // 0.3 more alike: places on a way that look nothing like each other.
            let evidence: Vec<f32> = (0..6).map(|i| if i == place { 9.0 } else { 0.0 }).collect();
            update(&mut filter, &evidence, 0.5);
        }
        // All look the same now: the one that comes next is taken.
        assert_eq!(best(&update(&mut filter, &[1.0; 6], 0.5)), 4);
    }

    #[test]
    fn along_a_way_neighbours_bear_each_other_out() {
        let evidence = [0.0, 0.0, 2.2, 0.0, 0.0, 1.5, 2.0, 1.5, 0.0];
        let found = |motion| best(&update(&mut Filter::new(motion), &evidence, 0.0));
        assert_eq!((found(Motion::Anywhere), found(Motion::Along)), (2, 6));
        assert_eq!(update(&mut Filter::new(Motion::Along), &[1.0], 0.0).len(), 1);
    }

    #[test]
    fn extreme_evidence_stays_finite() {
        let mut filter = Filter::new(Motion::Along);
        for value in [1e6, -1e6, 0.0] {
            let sum: f64 = update(&mut filter, &[value, value], 0.3).iter().sum();
            assert!((0.0..=1.0 + 1e-9).contains(&sum), "{sum}");
        }
    }
}
