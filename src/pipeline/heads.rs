//! The heads: what is made of the network's outputs.

use std::sync::Arc;

use crate::descriptor::Descriptor;
use crate::geometry::InputTransform;
use crate::head::classification::ClassificationHead;
use crate::head::obstacle;
use crate::head::segmentation::{ClassMapping, SegmentationHead, Steady};
use crate::learning::{Correction, Margins};
use crate::manifest::Model;
use crate::result::{FrameResult, Ground, Wanted};
use crate::session::{NetworkError, NetworkOutputs, Tensors};
use crate::settings::{CameraSettings, MaskSettings};
use crate::threads::Threads;

/// A frame that the network has seen.
pub struct Seen<'a, 't> {
    /// The network's outputs, at least those that the heads need.
    pub tensors: &'a Tensors<'t>,
    /// Where they lie in the picture.
    pub transform: InputTransform,
    /// Whose outputs.
    pub model: &'a Model,
    /// Parameters of the camera.
    pub camera: &'a CameraSettings,
    /// What of the result is wanted, and possible.
    pub wanted: Wanted,
    /// What is remembered of the camera's frames before.
    pub steady: &'a mut Steady,
}

/// Makes its part of a result from some of the network's outputs.
pub trait Head {
    /// What it makes with a model; nothing, if the model lacks what it takes.
    fn makes(&self, model: &Model) -> Wanted;

    /// The outputs that it takes for what is wanted of it.
    fn needs(&self, wanted: Wanted) -> NetworkOutputs;

    /// Makes what is wanted of it.
    ///
    /// # Errors
    /// Where an output is not as the manifest says.
    fn run(
        &mut self,
        seen: &mut Seen<'_, '_>,
        result: &mut FrameResult,
    ) -> Result<(), NetworkError>;
}

/// All of them.
#[derive(Debug)]
pub struct Heads {
    labels: LabelHead,
    mask: MaskHead,
    descriptors: DescriptorHead,
}

impl Heads {
    /// Heads that work with `threads`.
    pub fn new(threads: Threads) -> Self {
        let segmentation = SegmentationHead::new(threads);
        Self {
            labels: LabelHead::default(),
            mask: MaskHead { segmentation, correction: None, changed: Vec::new() },
            descriptors: DescriptorHead,
        }
    }

    /// Sets what was learnt by driving.
    pub fn set_correction(&mut self, correction: Option<Arc<Correction>>) {
        self.mask.correction = correction;
    }

    fn all(&self) -> [&dyn Head; 3] {
        [&self.labels, &self.mask, &self.descriptors]
    }
}

impl Head for Heads {
    fn makes(&self, model: &Model) -> Wanted {
        self.all().iter().fold(Wanted::NONE, |all, head| all | head.makes(model))
    }

    fn needs(&self, wanted: Wanted) -> NetworkOutputs {
        let none = NetworkOutputs::default();
        self.all().iter().fold(none, |all, head| all | head.needs(wanted))
    }

    fn run(
        &mut self,
        seen: &mut Seen<'_, '_>,
        result: &mut FrameResult,
    ) -> Result<(), NetworkError> {
        let all: [&mut dyn Head; 3] = [&mut self.labels, &mut self.mask, &mut self.descriptors];
        all.into_iter().try_for_each(|head| head.run(seen, result))
    }
}

/// Labels of the whole picture.
#[derive(Debug, Default)]
struct LabelHead(ClassificationHead);

impl Head for LabelHead {
    fn makes(&self, model: &Model) -> Wanted {
        Wanted { labels: model.manifest.classification.is_some(), ..Wanted::NONE }
    }

    fn needs(&self, wanted: Wanted) -> NetworkOutputs {
        NetworkOutputs { classification: wanted.labels, ..NetworkOutputs::default() }
    }

    fn run(
        &mut self,
        seen: &mut Seen<'_, '_>,
        result: &mut FrameResult,
    ) -> Result<(), NetworkError> {
        if let Some(spec) = &seen.model.manifest.classification
            && seen.wanted.labels
        {
            let logits = seen.tensors.labels(spec, seen.model.class_names.len())?;
            result.labels = Some(self.0.run(logits, spec, seen.model, &seen.camera.labels));
        }
        Ok(())
    }
}

/// The mask, and what is read from it: cost, obstacles, ground, what learning by driving takes.
#[derive(Debug)]
struct MaskHead {
    segmentation: SegmentationHead,
    /// What was learnt by driving.
    correction: Option<Arc<Correction>>,
    /// Logits of the last frame with the correction, made steady.
    changed: Vec<f32>,
}

impl Head for MaskHead {
    fn makes(&self, model: &Model) -> Wanted {
        let has_mask = model.manifest.segmentation.is_some();
        Wanted {
            mask: has_mask,
            classes: has_mask,
            cost: has_mask,
            obstacles: has_mask,
            ground: has_mask,
            cells: model.manifest.mask_features().is_some(),
            ..Wanted::NONE
        }
    }

    fn needs(&self, wanted: Wanted) -> NetworkOutputs {
        let segmentation = wanted.segmentation();
        let mask_features = wanted.cells || self.correction.is_some() && segmentation;
        NetworkOutputs { segmentation, mask_features, ..NetworkOutputs::default() }
    }

    fn run(
        &mut self,
        seen: &mut Seen<'_, '_>,
        result: &mut FrameResult,
    ) -> Result<(), NetworkError> {
        let &mut Seen { tensors, transform, model, camera, wanted, ref mut steady } = seen;
        let manifest = &model.manifest;
        let spec = manifest.segmentation.as_ref().filter(|_| wanted.segmentation());
        let Some(spec) = spec else { return Ok(()) };
        let mut grid = tensors.grid(spec)?;
        let mapping = ClassMapping::new(spec, &camera.mask);
        let is_ground = mapping.is_ground();
        let features = manifest.mask_features().filter(|_| self.needs(wanted).mask_features);
        self.changed.clear();
        if let Some(map) = features {
            let features = tensors.feature_map(&map.output)?;
            // What was learnt is of the model's own ground. What a user calls no ground is among that still, and takes
            // its part of what is added.
            let shipped = ClassMapping::new(spec, &MaskSettings::default()).is_ground();
            let margins = Margins::new(features, grid, spec.temperature, &shipped);
            if wanted.cells {
                result.cells = margins.as_ref().and_then(|margins| margins.cells(&transform));
            }
            if let (Some(margins), Some(correction)) = (&margins, &self.correction) {
                self.changed.extend_from_slice(grid.logits);
                let added = correction.apply(margins, &mut self.changed);
                if wanted.picture {
                    result.experience = margins.experience(&added, &transform);
                }
            }
        }
        if camera.mask.smoothing > 0.0 {
            if self.changed.is_empty() {
                self.changed.extend_from_slice(grid.logits);
            }
            let smoothing = camera.mask.smoothing;
            let logits = &mut self.changed;
            let of = (&transform, grid.shuffle);
            steady.apply(logits, of, spec.temperature, &is_ground, smoothing);
        }
        if !self.changed.is_empty() {
            grid.logits = &self.changed;
        }
        if wanted.ground {
            let grid = self.segmentation.ground(grid, spec, &mapping, &camera.mask);
            result.ground = Some(Ground { grid, transform });
        }
        if !wanted.maps() {
            return Ok(());
        }
        let settings = &camera.mask;
        let maps = self.segmentation.run(grid, &transform, spec, &mapping, settings, wanted);
        if wanted.obstacles {
            let rules = &camera.obstacles;
            let found = obstacle::find(&maps, settings.size, &transform, spec, &mapping, rules);
            result.obstacles = Some(found);
        }
        result.image_from_mask = transform.image_from_mask(settings.size, maps.size);
        result.maps = Some(maps);
        Ok(())
    }
}

/// Descriptors that places and taught labels are known by.
#[derive(Debug, Default)]
struct DescriptorHead;

impl Head for DescriptorHead {
    fn makes(&self, model: &Model) -> Wanted {
        let has_descriptors = model.descriptors.is_some();
        Wanted {
            embedding: has_descriptors,
            taught: has_descriptors,
            places: has_descriptors,
            ..Wanted::NONE
        }
    }

    fn needs(&self, wanted: Wanted) -> NetworkOutputs {
        let (place, taught) = (wanted.embedding, wanted.taught);
        NetworkOutputs { place, taught, ..NetworkOutputs::default() }
    }

    fn run(
        &mut self,
        seen: &mut Seen<'_, '_>,
        result: &mut FrameResult,
    ) -> Result<(), NetworkError> {
        let Some(descriptors) = &seen.model.descriptors else { return Ok(()) };
        let describe = |by: &Descriptor| by.run(|map| seen.tensors.feature_map(map));
        if seen.wanted.embedding {
            result.embedding = Some(describe(&descriptors.place)?);
        }
        if seen.wanted.taught {
            result.taught_embedding = Some(describe(&descriptors.label)?);
        }
        Ok(())
    }
}
