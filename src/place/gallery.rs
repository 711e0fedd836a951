//! What was taught: names, each with a few views.

use super::codes::{Codes, product};
use crate::pose::Pose;

/// A view of the same name that is more alike than this teaches nothing new.
const DUPLICATE: f32 = 0.95;

/// What is kept of one view beside its vector.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct View {
    /// Index of its name.
    pub name: u32,
    /// When it was taught, in seconds since 1970.
    pub taught_s: u64,
    /// Where the robot was.
    pub pose: Option<Pose>,
    /// A small JPEG, empty if none is kept.
    pub thumbnail: Vec<u8>,
}

/// What came of teaching a view.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum TeachOutcome {
    /// It is stored.
    Added,
    /// It is stored, and the least informative of the name's views is not any more.
    Replaced,
    /// The name has as many views as it may have, and they tell more.
    Redundant,
    /// The name has nearly the same view already.
    Known {
        /// How alike they are, 0 to 1.
        similarity: f32,
    },
    /// It is of another model, and nothing is stored.
    WrongLength {
        /// Numbers that the gallery's vectors have.
        expected: usize,
        /// Numbers that it has.
        actual: usize,
    },
}

impl std::fmt::Display for TeachOutcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Added => f.write_str("a new view"),
            Self::Replaced => f.write_str("a new view, in place of the least informative one"),
            Self::Redundant => f.write_str("not kept, the views that are kept tell more"),
            Self::Known { similarity } => {
                write!(f, "known already, {:.0} % alike", 100.0 * similarity)
            }
            Self::WrongLength { expected, actual } => {
                write!(f, "not learnt: a descriptor of {actual} numbers, expected {expected}")
            }
        }
    }
}

/// Names with their views. Vectors are kept as 8-bit integers, one behind the other, so that a
/// search reads memory once, in order.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Gallery {
    dimensions: usize,
    names: Vec<String>,
    views: Vec<View>,
    /// `dimensions` a view.
    codes: Codes,
    /// One over the length of each code.
    scales: Vec<f32>,
}

/// A vector as 8-bit integers, and one over their length.
fn encode(vector: &[f32]) -> (Vec<i8>, f32) {
    let largest = vector.iter().fold(1e-12_f32, |most, value| most.max(value.abs()));
    let code: Vec<i8> =
        vector.iter().map(|value| (value * 127.0 / largest).round() as i8).collect();
    let scale = inverse_length(&code);
    (code, scale)
}

fn inverse_length(code: &[i8]) -> f32 {
    let squares: i64 = code.iter().map(|value| i64::from(*value).pow(2)).sum();
    1.0 / (squares as f32).sqrt().max(1e-12)
}

impl Gallery {
    /// An empty gallery for vectors of `dimensions`.
    pub fn new(dimensions: usize) -> Self {
        Self {
            dimensions,
            names: Vec::new(),
            views: Vec::new(),
            codes: Codes::default(),
            scales: Vec::new(),
        }
    }

    /// Length of its vectors.
    pub fn dimensions(&self) -> usize {
        self.dimensions
    }

    /// The names, in the order in which they were first taught.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// All views.
    pub fn views(&self) -> &[View] {
        &self.views
    }

    /// Whether nothing was taught.
    pub fn is_empty(&self) -> bool {
        self.views.is_empty()
    }

    /// How many views a name has.
    pub fn count(&self, name: &str) -> usize {
        self.views.iter().filter(|view| self.names[view.name as usize] == name).count()
    }

    fn code(&self, view: usize) -> &[i8] {
        &self.codes[view * self.dimensions..][..self.dimensions]
    }

    /// Cosine similarity of two views.
    pub fn similarity(&self, a: usize, b: usize) -> f32 {
        product(self.code(a), self.code(b)) * self.scales[a] * self.scales[b]
    }

    /// Teaches a view of `name`. `view.name` is set here. A name has at most `most_views`.
    pub fn teach(
        &mut self,
        name: &str,
        vector: &[f32],
        view: View,
        most_views: usize,
    ) -> TeachOutcome {
        if vector.len() != self.dimensions {
            return TeachOutcome::WrongLength { expected: self.dimensions, actual: vector.len() };
        }
        let index = match self.names.iter().position(|known| known == name) {
            Some(index) => index,
            None => {
                self.names.push(name.to_owned());
                self.names.len() - 1
            }
        } as u32;
        let (code, scale) = encode(vector);
        let own = |gallery: &Self| -> Vec<usize> {
            (0..gallery.views.len()).filter(|view| gallery.views[*view].name == index).collect()
        };
        let mut views = own(self);
        let alike =
            views.iter().map(|view| product(self.code(*view), &code) * self.scales[*view] * scale);
        let similarity = alike.fold(-1.0, f32::max);
        if similarity > DUPLICATE {
            return TeachOutcome::Known { similarity };
        }
        self.codes.push(&code);
        self.scales.push(scale);
        views.push(self.views.len());
        self.views.push(View { name: index, ..view });
        let mut outcome = TeachOutcome::Added;
        loop {
            if views.len() <= most_views.max(1) {
                return outcome;
            }
            // Of the two that are most alike the one goes that the others tell more about.
            let nearest = |view: &usize| {
                let others = views.iter().filter(|other| *other != view);
                let mut alike: Vec<f32> =
                    others.map(|other| self.similarity(*view, *other)).collect();
                alike.sort_by(|a, b| b.total_cmp(a));
                (alike[0], alike.iter().sum::<f32>())
            };
            // Of two that tell the same the older one.
            let least = views
                .iter()
                .rev()
                .map(|view| (nearest(view), *view))
                .max_by(|(a, _), (b, _)| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
            let Some((_, least)) = least else { return outcome };
            let is_new = least + 1 == self.views.len() && outcome == TeachOutcome::Added;
            self.remove(|view| view == least);
            views = own(self);
            if is_new && views.len() <= most_views.max(1) {
                return TeachOutcome::Redundant;
            }
            outcome = TeachOutcome::Replaced;
        }
    }

    /// Forgets a name; gives how many views it had.
    pub fn forget(&mut self, name: &str) -> usize {
        let Some(index) = self.names.iter().position(|known| known == name) else { return 0 };
        let before = self.views.len();
        let own: Vec<bool> = self.views.iter().map(|view| view.name == index as u32).collect();
        self.remove(|view| own[view]);
        self.names.remove(index);
        for view in &mut self.views {
            view.name -= u32::from(view.name > index as u32);
        }
        before - self.views.len()
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = Self::new(self.dimensions);
    }

    fn remove(&mut self, is_gone: impl Fn(usize) -> bool) {
        let kept: Vec<usize> = (0..self.views.len()).filter(|view| !is_gone(*view)).collect();
        let mut codes = Codes::default();
        kept.iter().for_each(|view| codes.push(self.code(*view)));
        self.codes = codes;
        self.scales = kept.iter().map(|view| self.scales[*view]).collect();
        self.views = kept.iter().map(|view| self.views[*view].clone()).collect();
    }

    /// Cosine similarity of every view with a unit vector.
    pub fn similarities(&self, vector: &[f32]) -> Vec<f32> {
        let (code, scale) = encode(vector);
        let mut similarities = self.codes.dots(&code);
        similarities.iter_mut().zip(&self.scales).for_each(|(dot, own)| *dot *= scale * own);
        similarities
    }

    /// The views of a name, each with its cosine similarity with a unit vector.
    pub fn similarities_of(
        &self,
        name: usize,
        vector: &[f32],
    ) -> impl Iterator<Item = (&View, f32)> {
        let (code, scale) = encode(vector);
        let views = self.views.iter().enumerate();
        views.filter(move |(_, view)| view.name as usize == name).map(move |(index, view)| {
            (view, product(&code, self.code(index)) * scale * self.scales[index])
        })
    }

    /// Of each name the view that is most like a vector: index and similarity.
    pub fn best_views(&self, similarities: &[f32]) -> Vec<(usize, f32)> {
        let mut best = vec![(0, -1.0_f32); self.names.len()];
        for (index, (view, similarity)) in self.views.iter().zip(similarities).enumerate() {
            let best = &mut best[view.name as usize];
            if *similarity > best.1 {
                *best = (index, *similarity);
            }
        }
        best
    }

    /// Whether its parts fit together, as they do unless a file was made by other means.
    pub(super) fn check(&self) -> Result<(), String> {
        let count = self.views.len();
        let fits = count.checked_mul(self.dimensions) == Some(self.codes.len())
            && self.scales.len() == count
            && self.views.iter().all(|view| (view.name as usize) < self.names.len());
        if fits { Ok(()) } else { Err("its parts do not fit together".to_owned()) }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub fn view() -> View {
        View { name: 0, taught_s: 1, pose: None, thumbnail: Vec::new() }
    }

    /// A unit vector at an angle in the plane of two of 16 axes.
    pub fn vector(axis: usize, degrees: f32) -> Vec<f32> {
        let mut vector = vec![0.0; 16];
        let (sine, cosine) = degrees.to_radians().sin_cos();
        vector[axis] = cosine;
        vector[(axis + 1) % 16] = sine;
        vector
    }

    #[test]
    fn similarities_are_cosines() {
        let mut gallery = Gallery::new(16);
        gallery.teach("kitchen", &vector(0, 0.0), view(), 10);
        gallery.teach("dock", &vector(4, 0.0), view(), 10);
        let found = gallery.similarities(&vector(0, 60.0));
        assert!((found[0] - 0.5).abs() < 0.01 && found[1].abs() < 0.01, "{found:?}");
        assert_eq!(gallery.best_views(&found)[0].0, 0);
    }

    #[test]
    fn parts_that_do_not_fit_are_told() {
        let mut gallery = Gallery::new(16);
        gallery.teach("kitchen", &vector(0, 0.0), view(), 10);
        assert_eq!(gallery.check(), Ok(()));
        let two = [view(), view()];
        let odd = Gallery {
            dimensions: 1 << 63,
            codes: Codes::default(),
            scales: vec![1.0; 2],
            views: two.into(),
            ..gallery
        };
        assert!(odd.check().is_err());
    }

    #[test]
    fn duplicates_are_not_stored_twice() {
        let mut gallery = Gallery::new(16);
        assert_eq!(gallery.teach("kitchen", &vector(0, 0.0), view(), 10), TeachOutcome::Added);
        let again = gallery.teach("kitchen", &vector(0, 5.0), view(), 10);
        assert!(
            matches!(again, TeachOutcome::Known { similarity } if similarity > 0.99),
            "{again:?}"
        );
        // The same view may belong to two names.
        assert_eq!(gallery.teach("pantry", &vector(0, 5.0), view(), 10), TeachOutcome::Added);
        assert_eq!(gallery.views().len(), 2);
    }

    #[test]
    fn the_view_that_others_tell_most_about_is_dropped() {
        let mut gallery = Gallery::new(16);
        for (degrees, stamp) in [(0.0, 1), (25.0, 2), (50.0, 3), (120.0, 4)] {
            let view = View { taught_s: stamp, ..view() };
            gallery.teach("kitchen", &vector(0, degrees), view, 3);
        }
        let stamps: Vec<u64> = gallery.views().iter().map(|view| view.taught_s).collect();
        assert_eq!(stamps, [1, 3, 4]);
        assert_eq!(gallery.count("kitchen"), 3);
    }

    #[test]
    fn forgetting_keeps_the_others() {
        let mut gallery = Gallery::new(16);
        for (name, axis) in [("a", 0), ("b", 4), ("c", 8)] {
            gallery.teach(name, &vector(axis, 0.0), view(), 3);
        }
        assert_eq!(gallery.forget("b"), 1);
        assert_eq!(gallery.forget("b"), 0);
        assert_eq!(gallery.names(), ["a", "c"]);
        let found = gallery.similarities(&vector(8, 0.0));
        assert_eq!(gallery.best_views(&found)[1].0, 1);
        gallery.check().unwrap();
        gallery.clear();
        assert!(gallery.is_empty() && gallery.names().is_empty());
    }
}
