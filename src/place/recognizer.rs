//! What was taught, with all that recognises it in the streams of several cameras.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::file::Memory;
use super::filter::Motion;
use super::gallery::{Gallery, TeachOutcome, View};
use super::recognition::{Kind, Match, Recognition};
use crate::pose::PoseEstimate;
use crate::result::{FrameResult, Label};
use crate::settings::LabelSettings;

/// After so long without a look the camera may be anywhere.
const LONGEST_GAP: Duration = Duration::from_secs(10);

/// What is believed of where a camera is, and since when.
#[derive(Debug, Clone)]
struct Following {
    recognition: Recognition,
    at: Duration,
}

/// The one owner of a [`Memory`] while it is in use.
#[derive(Debug, Clone)]
pub struct PlaceRecognizer {
    memory: Arc<Memory>,
    motion: Motion,
    /// Of a camera that has shown nothing yet.
    fresh: Recognition,
    /// By camera.
    places: BTreeMap<usize, Following>,
    labels: Recognition,
}

impl PlaceRecognizer {
    /// Recognises what is in `memory`, of each camera by itself.
    pub fn new(memory: Memory, motion: Motion) -> Self {
        let fresh = Recognition::new(&memory.places, Kind::Place, motion);
        let labels = Recognition::new(&memory.labels, Kind::Label, Motion::Anywhere);
        Self { fresh, places: BTreeMap::new(), labels, motion, memory: Arc::new(memory) }
    }

    /// Forgets where a camera that has gone was.
    pub fn remove_camera(&mut self, camera: usize) {
        self.places.remove(&camera);
    }

    /// What was taught.
    pub fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }

    /// Teaches a view of a place or label, of which at most `most` are kept.
    pub fn teach(
        &mut self,
        kind: Kind,
        name: &str,
        vector: &[f32],
        view: View,
        most: usize,
    ) -> TeachOutcome {
        self.change(kind, |gallery| gallery.teach(name, vector, view, most))
    }

    /// Changes a gallery, and learns anew how it is to be read. Where somebody else holds the memory,
    /// as while it is written, it is copied first.
    pub fn change<T>(&mut self, kind: Kind, change: impl FnOnce(&mut Gallery) -> T) -> T {
        let before = self.memory.places.names().len();
        let result = change(Arc::make_mut(&mut self.memory).gallery_mut(kind));
        if kind == Kind::Label {
            self.labels = Recognition::new(&self.memory.labels, kind, Motion::Anywhere);
            return result;
        }
        let is_same = self.memory.places.names().len() == before;
        self.fresh = Recognition::new(&self.memory.places, Kind::Place, self.motion);
        for Following { recognition, .. } in self.places.values_mut() {
            let next = self.fresh.clone();
            // What is known of where a robot is outlives another view of a known place.
            *recognition = if is_same { next.going_on(recognition) } else { next };
        }
        result
    }

    /// Every place, most probable first, by a look at `at`, since any fixed moment. After ten seconds without one, or a
    /// step back in time, nothing is known of where the camera was.
    pub fn place(
        &mut self,
        (camera, at): (usize, Duration),
        vector: &[f32],
        smoothing: f64,
    ) -> Vec<Match> {
        let fresh = || Following { recognition: self.fresh.clone(), at };
        let following = self.places.entry(camera).or_insert_with(fresh);
        if at.checked_sub(following.at).is_none_or(|gap| gap > LONGEST_GAP) {
            *following = fresh();
        }
        following.at = at;
        following.recognition.update(&self.memory.places, vector, smoothing)
    }

    /// Names and probabilities of what is worth telling, best first.
    pub fn names(&self, matches: &[Match]) -> Vec<Label> {
        to_labels(&self.memory.places, Recognition::known(matches), 0)
    }

    /// Adds to a camera's result the places and taught labels that its descriptors are known by.
    pub fn add_to(
        &mut self,
        result: &mut FrameResult,
        (camera, at): (usize, Duration),
        smoothing: f64,
        settings: &LabelSettings,
        classes: usize,
    ) {
        if let (Some(labels), Some(vector)) = (&mut result.labels, &result.taught_embedding) {
            self.add_labels(labels, vector, classes, settings);
        }
        if let Some(vector) = &result.embedding {
            let matches = self.place((camera, at), vector, smoothing);
            result.places = Some(self.names(&matches));
        }
    }

    /// Where the best match says that the robot is, if its views have poses.
    pub fn pose(&self, matches: &[Match], vector: &[f32]) -> Option<PoseEstimate> {
        let best = Recognition::known(matches).first()?;
        let slope = 25.0;
        let own = self.memory.places.similarities_of(best.name, vector);
        PoseEstimate::of(own.filter_map(|(view, similarity)| {
            let weight = f64::from(slope * (similarity - best.similarity)).exp();
            Some((view.pose.as_ref()?, weight))
        }))
    }

    /// Puts taught labels among a model's own, best first. A taught label takes its probability
    /// from all others in equal shares; its index follows after the model's `class_count`.
    pub fn add_labels(
        &mut self,
        labels: &mut Vec<Label>,
        vector: &[f32],
        class_count: usize,
        settings: &LabelSettings,
    ) {
        let matches = self.labels.update(&self.memory.labels, vector, 0.0);
        let taught = to_labels(&self.memory.labels, Recognition::known(&matches), class_count);
        if taught.is_empty() {
            return;
        }
        let rest = 1.0 - taught.iter().map(|label| label.score).sum::<f32>();
        labels.iter_mut().for_each(|label| label.score *= rest.max(0.0));
        labels.extend(taught);
        labels.sort_by(|a, b| b.score.total_cmp(&a.score));
        labels.retain(|label| label.score >= settings.threshold);
        labels.truncate(settings.top_k);
    }
}

fn to_labels(gallery: &Gallery, matches: &[Match], first_index: usize) -> Vec<Label> {
    let label = |found: &Match| Label {
        name: gallery.names()[found.name].clone(),
        index: first_index + found.name,
        score: found.probability,
    };
    matches.iter().map(label).collect()
}

#[cfg(test)]
mod tests {
    use super::super::file::Owner;
    use super::super::gallery::tests::{vector, view};
    use super::*;
    use crate::pose::Pose;

    fn recognizer() -> PlaceRecognizer {
        let owner = Owner { model: "m".into(), weights: "a".into(), descriptors: "b".into() };
        PlaceRecognizer::new(Memory::new(owner, 16, 16), Motion::Anywhere)
    }

    #[test]
    fn taught_labels_stand_among_the_models_own() {
        let mut recognizer = recognizer();
        recognizer.teach(Kind::Label, "my mug", &vector(0, 0.0), view(), 10);
        let own = || {
            let label =
                |(index, score): (usize, f32)| Label { name: format!("c{index}"), index, score };
            [(3, 0.6), (7, 0.3)].map(label).to_vec()
        };
        let settings = LabelSettings { top_k: 2, ..LabelSettings::default() };
        let mut labels = own();
        recognizer.add_labels(&mut labels, &vector(0, 5.0), 1000, &settings);
        assert_eq!((labels[0].name.as_str(), labels[0].index), ("my mug", 1000));
        assert_eq!((labels[1].index, labels.len()), (3, 2));
        assert!(labels[0].score > 0.9 && labels[1].score < 0.06, "{labels:?}");
        let mut labels = own();
        recognizer.add_labels(&mut labels, &vector(8, 0.0), 1000, &settings);
        assert_eq!(labels, own());
    }

    #[test]
    fn cameras_are_filtered_apart_and_go_on_over_a_lesson() {
        let mut recognizer = recognizer();
        recognizer.teach(Kind::Place, "kitchen", &vector(0, 0.0), view(), 10);
        recognizer.teach(Kind::Place, "dock", &vector(4, 0.0), view(), 10);
        let at = Duration::from_secs(3);
        for _ in 0..5 {
            recognizer.place((0, at), &vector(0, 0.0), 0.8);
            recognizer.place((1, at), &vector(4, 0.0), 0.8);
        }
        recognizer.teach(Kind::Place, "kitchen", &vector(8, 0.0), view(), 10);
        let first = |matches: Vec<Match>| matches[0].name;
        // One odd frame.
        assert_eq!(first(recognizer.place((0, at), &vector(4, 0.0), 0.8)), 0);
        assert_eq!(first(recognizer.place((1, at), &vector(4, 0.0), 0.8)), 1);
        // After a minute it may be anywhere.
        let later = at + Duration::from_secs(60);
        assert_eq!(first(recognizer.place((0, later), &vector(4, 0.0), 0.8)), 1);
    }

    #[test]
    fn the_best_places_views_say_where_the_robot_is() {
        let mut recognizer = recognizer();
        let at = |x: f64| View {
            pose: Some(Pose {
                frame_id: "map".into(),
                position: [x, 0.0, 0.0],
                orientation: [0.0, 0.0, 0.0, 1.0],
            }),
            ..view()
        };
        recognizer.teach(Kind::Place, "kitchen", &vector(0, 0.0), at(2.0), 10);
        recognizer.teach(Kind::Place, "kitchen", &vector(0, 60.0), at(4.0), 10);
        recognizer.teach(Kind::Place, "dock", &vector(8, 0.0), at(90.0), 10);
        let near = vector(0, 10.0);
        let matches = recognizer.place((0, Duration::ZERO), &near, 0.0);
        let x = recognizer.pose(&matches, &near).unwrap().pose.position[0];
        assert!((2.0..2.2).contains(&x), "{x}");
        let far = vector(12, 0.0);
        let matches = recognizer.place((0, Duration::ZERO), &far, 0.0);
        assert!(recognizer.pose(&matches, &far).is_none() && recognizer.names(&matches).is_empty());
    }
}
