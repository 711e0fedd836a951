//! From similarities to probabilities, by what the gallery itself says of how alike different
//! places look.

use super::filter::{Filter, Motion};
use super::gallery::Gallery;

/// What the names of a gallery stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Places, by the whole view.
    Place,
    /// Objects and scenes of the user's own, by what is seen.
    Label,
}

/// Mean and standard deviation of a cosine similarity.
type Normal = (f32, f32);

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Place => "place",
            Self::Label => "label",
        })
    }
}

impl Kind {
    /// How alike two looks at the same are, before anything is known of these names. Pictures that
    /// the descriptors were not learnt from are 0.85 +- 0.12 (places) and 0.87 +- 0.10 (labels)
    /// like themselves under the changes of `models/training`, `descriptors`; what is seen from
    /// another side or with other things about is less alike than that.
    fn same(self) -> Normal {
        match self {
            Self::Place => (0.70, 0.10),
            Self::Label => (0.80, 0.12),
        }
    }

    /// The same of a view and the most similar one of so many other names. Of 1 to 50 unrelated
    /// pictures that is 0.10 to 0.34 (places) and 0.11 to 0.43 (labels), growing with the logarithm
    /// of their number (`models/training/EXPERIMENTS.md`). It is presumed higher, by hand: places
    /// that a robot comes by have more in common, which a gallery of few cannot show yet.
    fn other(self, names: usize) -> Normal {
        let grown = (names.max(1) as f32).ln();
        match self {
            Self::Place => (0.30 + 0.02 * grown, 0.10),
            Self::Label => (0.20 + 0.06 * grown, 0.10),
        }
    }
}

/// What was known before weighs as much as so many pairs of the gallery.
const PRIOR_PAIRS: f32 = 8.0;
/// Views that are looked at for what is typical, and those that each is compared with.
const SAMPLE: (usize, usize) = (64, 2000);
/// Evidence grows at most so fast: frames err in more ways than a gallery shows.
const STEEPEST: f32 = 25.0;

/// Log likelihood of one name against another by so much similarity. What makes a picture unlike
/// all views, such as bad light, makes it so for all names: their differences say more than each.
/// The slope of greatest likelihood is 40 or more on single frames; those of a stream err alike.
const BETWEEN_NAMES: f32 = 30.0;

/// How similarities are to be read for whether a view is of any name:
/// `slope * (similarity - threshold)`, the log likelihood ratio of two normal distributions of equal
/// variance (linear discriminant analysis).
#[derive(Debug, Clone, Copy, PartialEq)]
struct Scale {
    slope: f32,
    threshold: f32,
}

impl Scale {
    fn of(gallery: &Gallery, kind: Kind) -> Self {
        let views = gallery.views();
        let step = |most: usize| views.len().div_ceil(most).max(1);
        let mut same = Vec::new();
        let mut other = Vec::new();
        for view in (0..views.len()).step_by(step(SAMPLE.0)) {
            let (mut nearest_same, mut nearest_other) = (f32::MIN, f32::MIN);
            for against in (0..views.len()).step_by(step(SAMPLE.1)).filter(|index| *index != view) {
                let similarity = gallery.similarity(view, against);
                let nearest = if views[view].name == views[against].name {
                    &mut nearest_same
                } else {
                    &mut nearest_other
                };
                *nearest = nearest.max(similarity);
            }
            same.extend((nearest_same > f32::MIN).then_some(nearest_same));
            other.extend((nearest_other > f32::MIN).then_some(nearest_other));
        }
        let (other_mean, other_deviation) = posterior(&other, kind.other(gallery.names().len()));
        let (same_mean, same_deviation) = posterior(&same, kind.same());
        // Near-duplicates are not stored: looks at a known view are more alike than its views
        // among themselves, and more than those of other places.
        let same_mean = same_mean.max(kind.same().0).max(other_mean + 2.0 * other_deviation);
        let variance = (same_deviation.powi(2) + other_deviation.powi(2)) / 2.0;
        Self {
            slope: ((same_mean - other_mean) / variance.max(1e-4)).min(STEEPEST),
            // Of names that look alike, as along a way, a gallery of one walk would have a view of
            // another day be more like itself than it can be.
            threshold: ((same_mean + other_mean) / 2.0).min(kind.same().0 - kind.same().1),
        }
    }
}

/// Mean and deviation of samples, drawn towards what was known before.
fn posterior(samples: &[f32], (mean, deviation): (f32, f32)) -> (f32, f32) {
    let count = samples.len() as f32;
    let sum: f32 = samples.iter().sum();
    let new_mean = (PRIOR_PAIRS * mean + sum) / (PRIOR_PAIRS + count);
    let own_mean = if samples.is_empty() { mean } else { sum / count };
    let squares: f32 = samples.iter().map(|sample| (sample - own_mean).powi(2)).sum();
    let variance = (PRIOR_PAIRS * deviation.powi(2) + squares) / (PRIOR_PAIRS + count);
    (new_mean, variance.sqrt().max(0.02))
}

/// What a view is taken for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Match {
    /// Index of the name.
    pub name: usize,
    /// Calibrated probability, 0 to 1.
    pub probability: f32,
    /// The view that is most like it.
    pub view: usize,
    /// How alike they are, -1 to 1.
    pub similarity: f32,
}

/// Recognises the names of a gallery along a stream of views.
#[derive(Debug, Clone)]
pub struct Recognition {
    filter: Filter,
    scale: Scale,
}

impl Recognition {
    /// For a gallery as it is now; after a change of the gallery it has to be made anew.
    pub fn new(gallery: &Gallery, kind: Kind, motion: Motion) -> Self {
        Self { filter: Filter::new(motion), scale: Scale::of(gallery, kind) }
    }

    /// Takes over what another of the same names believes.
    pub(super) fn going_on(mut self, before: &Self) -> Self {
        self.filter = before.filter.clone();
        self
    }

    /// The similarity from which a place is more likely than none.
    pub fn threshold(&self) -> f32 {
        self.scale.threshold
    }

    /// Every name of the gallery, most probable first. What is missing from the sum of the
    /// probabilities is that of being nowhere known.
    pub fn update(&mut self, gallery: &Gallery, vector: &[f32], smoothing: f64) -> Vec<Match> {
        let best = gallery.best_views(&gallery.similarities(vector));
        let which: Vec<f32> = best.iter().map(|(_, alike)| BETWEEN_NAMES * alike).collect();
        let most = best.iter().map(|(_, alike)| *alike).fold(-1.0, f32::max);
        let whether = self.scale.slope * (most - self.scale.threshold);
        let probabilities = self.filter.update(&which, whether, smoothing);
        let mut matches: Vec<Match> = best
            .iter()
            .zip(&probabilities)
            .enumerate()
            .map(|(name, ((view, similarity), probability))| Match {
                name,
                probability: *probability as f32,
                view: *view,
                similarity: *similarity,
            })
            .collect();
        matches.sort_by(|a, b| {
            b.probability.total_cmp(&a.probability).then(b.similarity.total_cmp(&a.similarity))
        });
        matches
    }

    /// Those of `matches` that are worth telling: nothing if nowhere is more probable than all of
    /// them together, otherwise the best and whatever has at least a twentieth. Views along a way
    /// share the probability among neighbours.
    pub fn known(matches: &[Match]) -> &[Match] {
        let anywhere = matches.iter().map(|m| m.probability).sum::<f32>();
        if matches.is_empty() || anywhere <= 0.5 {
            return &[];
        }
        let count = matches.iter().take_while(|m| m.probability >= 0.05).count();
        &matches[..count.max(1)]
    }
}

#[cfg(test)]
mod tests {
    use super::super::gallery::tests::{vector, view};
    use super::*;

    #[test]
    fn one_place_is_recognised_and_what_is_unlike_is_not() {
        let mut gallery = Gallery::new(16);
        gallery.teach("kitchen", &vector(0, 0.0), view(), 10);
        for (degrees, is_known) in [(5.0, true), (30.0, true), (63.0, false), (90.0, false)] {
            let mut recognition = Recognition::new(&gallery, Kind::Place, Motion::Anywhere);
            let matches = recognition.update(&gallery, &vector(0, degrees), 0.0);
            assert_eq!(!Recognition::known(&matches).is_empty(), is_known, "{degrees} {matches:?}");
            assert!((0.0..=1.0).contains(&matches[0].probability));
        }
        let nothing = Gallery::new(16);
        let mut recognition = Recognition::new(&nothing, Kind::Place, Motion::Anywhere);
        assert!(recognition.update(&nothing, &vector(0, 0.0), 0.5).is_empty());
    }

    #[test]
    fn places_that_look_alike_raise_the_threshold() {
        let gallery = |look: fn(usize) -> Vec<f32>| {
            let mut gallery = Gallery::new(16);
            for index in 0..12 {
                gallery.teach(&format!("shelf {index}"), &look(index), view(), 10);
            }
            gallery
        };
        let alike = gallery(|index| vector(0, 20.0 * index as f32));
        let apart = gallery(|index| vector(index, 0.0));
        let threshold =
            |gallery| Recognition::new(gallery, Kind::Place, Motion::Anywhere).threshold();
        assert!(threshold(&alike) > threshold(&apart) + 0.1);
        assert!(threshold(&apart) < 0.75);
    }
}
