//! A frame's way through the core, from bytes to result.

mod heads;

use std::sync::Arc;

use thiserror::Error;

use self::heads::{Head, Heads, Seen};
use crate::decode::Decoder;
use crate::frame::{Frame, FrameError, RawImage};
use crate::geometry::{self, ASPECT_MULTIPLE, Fit, InputTransform, Size};
use crate::head::segmentation::Steady;
use crate::image_health;
use crate::learning::Correction;
use crate::manifest::Manifest;
use crate::preprocess::Preprocessor;
use crate::result::{FrameResult, Picture, Wanted};
use crate::session::{Network, NetworkError, NetworkOutputs};
use crate::settings::{CameraSettings, Precision};
use crate::timing::Stopwatch;

/// Why a frame gave no result.
#[derive(Debug, Error)]
pub enum PipelineError {
    /// The frame is at fault; the next one may be fine.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The network is at fault.
    #[error(transparent)]
    Network(#[from] NetworkError),
}

/// One network with the stages around it and the buffers that they keep.
///
/// A pipeline serves one frame at a time, of whatever camera, and remembers nothing of it: the
/// same frame gives the same result, but for the times. What is remembered is in a [`Steady`].
#[derive(Debug)]
pub struct Pipeline {
    network: Network,
    decoder: Decoder,
    preprocessor: Preprocessor,
    heads: Heads,
}

impl Pipeline {
    /// A pipeline around a loaded network.
    pub fn new(network: Network) -> Self {
        let threads = network.pixel_threads();
        Self {
            network,
            decoder: Decoder::default(),
            preprocessor: Preprocessor::new(threads.clone()),
            heads: Heads::new(threads),
        }
    }

    /// Sets what was learnt by driving, which holds for the frames from now on.
    pub fn set_correction(&mut self, correction: Option<Arc<Correction>>) {
        self.heads.set_correction(correction);
    }

    /// The network.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// What of `wanted` the model has a head for.
    pub fn possible(&self, wanted: Wanted) -> Wanted {
        let picture = Wanted { picture: true, ..Wanted::NONE };
        wanted & (picture | self.heads.makes(self.network.model()))
    }

    /// Takes a frame through all stages. What the model has no head for stays `None`.
    ///
    /// # Errors
    /// [`PipelineError::Frame`] if the frame cannot be used, [`PipelineError::Network`] if the
    /// network fails on it. The pipeline is ready for the next frame in both cases.
    pub fn process(
        &mut self,
        frame: Frame<'_>,
        wanted: Wanted,
        camera: &CameraSettings,
    ) -> Result<FrameResult, PipelineError> {
        self.process_steady(frame, wanted, camera, &mut Steady::default())
    }

    /// As [`Pipeline::process`], with what is remembered of the camera's frames before, which `mask.smoothing` takes.
    ///
    /// # Errors
    /// As [`Pipeline::process`].
    pub fn process_steady(
        &mut self,
        frame: Frame<'_>,
        wanted: Wanted,
        camera: &CameraSettings,
        steady: &mut Steady,
    ) -> Result<FrameResult, PipelineError> {
        let wanted = self.possible(wanted);
        let mut watch = Stopwatch::new();
        let model = self.network.model().clone();

        let pixels = self.decoder.decode(frame)?;
        let mut result = FrameResult::new(pixels.size);
        result.times.decode = watch.lap();
        result.image = camera.health.is_on().then(|| image_health::measure(&pixels)).flatten();

        let needs = self.heads.needs(wanted);
        if needs == NetworkOutputs::default() {
            result.picture = wanted.picture.then(|| pixels.to_picture());
            result.times.preprocess = watch.lap();
            return Ok(result);
        }

        let transform = input_transform(pixels.size, &model.manifest, camera);
        let tensor = self.preprocessor.run(&pixels, &transform, &model.manifest.input);
        result.times.preprocess = watch.lap();

        let tensors = self.network.infer(needs, tensor, transform.input_size)?;
        result.times.inference = watch.lap();

        let mut seen = Seen { tensors: &tensors, transform, model: &model, camera, wanted, steady };
        self.heads.run(&mut seen, &mut result)?;
        result.picture = wanted.picture.then(|| pixels.to_picture());
        result.times.postprocess = watch.lap();
        Ok(result)
    }

    /// Runs once what `wanted` needs, so that the first frame finds it ready.
    ///
    /// # Errors
    /// As [`Pipeline::process`].
    pub fn warm_up(&mut self, wanted: Wanted) -> Result<(), PipelineError> {
        let picture = test_picture();
        let (width, height) = (picture.size.width, picture.size.height);
        let image = RawImage::new("rgb8", width, height, 0, false, &picture.rgb)?;
        self.process(Frame::Raw(image), wanted, &CameraSettings::default())?;
        Ok(())
    }

    /// Gives the network a picture with a known answer and compares.
    ///
    /// # Errors
    /// [`NetworkError::SelfTest`] with both answers. Int8 may give a neighbouring class: its
    /// logit has to come within 20 % of the known one, fp32's within 2 % and of the same class.
    pub fn self_test(&mut self) -> Result<(), PipelineError> {
        let model = self.network.model().clone();
        let manifest = &model.manifest;
        let is_int8 = self.network.execution().precision == Precision::Int8;
        let (Some(expected), Some(spec)) = (manifest.self_test, &manifest.classification) else {
            return Ok(());
        };
        let picture = test_picture();
        let (width, height) = (picture.size.width, picture.size.height);
        let image = RawImage::new("rgb8", width, height, 0, false, &picture.rgb)?;
        let pixels = self.decoder.decode(Frame::Raw(image))?;
        let transform = input_transform(pixels.size, manifest, &CameraSettings::default());
        let tensor = self.preprocessor.run(&pixels, &transform, &manifest.input);
        let needs = NetworkOutputs { classification: true, ..NetworkOutputs::default() };
        let tensors = self.network.infer(needs, tensor, transform.input_size)?;
        let logits = tensors.get(&spec.output)?;
        let best = logits.values.iter().copied().enumerate().max_by(|a, b| a.1.total_cmp(&b.1));
        let (argmax, max) = best.unwrap_or((0, f32::NAN));
        let at_expected = logits.values.get(expected.logits_argmax).copied().unwrap_or(f32::NAN);
        let tolerance = if is_int8 { 0.2 } else { 0.02 };
        let deviation = (at_expected - expected.logits_max).abs();
        if deviation <= tolerance * expected.logits_max.abs()
            && (is_int8 || argmax == expected.logits_argmax)
        {
            Ok(())
        } else {
            Err(NetworkError::SelfTest {
                model: manifest.name.clone(),
                argmax,
                max,
                expected_argmax: expected.logits_argmax,
                expected_max: expected.logits_max,
            }
            .into())
        }
    }
}

/// Where a picture of `image` pixels goes in the network's input, by manifest and settings.
pub fn input_transform(
    image: Size,
    manifest: &Manifest,
    camera: &CameraSettings,
) -> InputTransform {
    let multiple = manifest.input.multiple.max(1);
    let or = |setting: u32, nominal: u32| {
        manifest.input.rounded(if setting == 0 { nominal } else { setting })
    };
    let input = Size::new(
        or(camera.input_width, manifest.input.width),
        or(camera.input_height, manifest.input.height),
    );
    let fit = camera.fit.unwrap_or(manifest.input.fit);
    // A manifest that never crops has no short side: the input's and a seventh more, as usual.
    // One that is smaller than the input that the settings ask for would leave a border.
    let longest = input.width.max(input.height);
    let short_side = match manifest.input.resize_short_side {
        0 => longest * 8 / 7,
        short_side => short_side.max(longest),
    };
    // Proportions of the picture come in steps of 8, and of what the network takes.
    let input = match fit {
        Fit::Aspect => {
            geometry::aspect_size(image, input, common_multiple(ASPECT_MULTIPLE, multiple))
        }
        _ => input,
    };
    let fit = if fit == Fit::Aspect { Fit::Stretch } else { fit };
    geometry::input_transform(image, input, fit, short_side)
}

/// The smallest number that is a multiple of both, which are over 0.
fn common_multiple(a: u32, b: u32) -> u32 {
    let divisor = (1..=a.min(b))
        .rev()
        .find(|divisor| a.is_multiple_of(*divisor) && b.is_multiple_of(*divisor));
    a / divisor.unwrap_or(1) * b
}

/// The picture of the self test, 320x240, made by rule: red grows to the right, green downwards,
/// blue is the exclusive or of both.
pub fn test_picture() -> Picture {
    let size = Size::new(320, 240);
    let mut rgb = Vec::with_capacity(3 * size.area());
    for y in 0..size.height {
        for x in 0..size.width {
            let ramp = |i: u32, length: u32| (i * 255 / (length - 1)) as u8;
            rgb.extend([ramp(x, size.width), ramp(y, size.height), ((x ^ y) & 255) as u8]);
        }
    }
    Picture { size, rgb }
}
