//! What the network answers, read by the manifest.

use ort::session::SessionOutputs;

use super::NetworkError;
use super::graph::Shuffled;
use crate::descriptor::FeatureMap;
use crate::geometry::Size;
use crate::head::segmentation::{Grid, PixelShuffle};
use crate::manifest::{ClassificationSpec, SegmentationSpec};

/// What one run gave.
#[derive(Debug)]
pub struct Tensors<'a> {
    pub(super) model: String,
    pub(super) outputs: SessionOutputs<'a>,
    pub(super) shuffled: Option<&'a Shuffled>,
}

/// One output, row-major.
#[derive(Debug, Clone)]
pub struct TensorView<'a> {
    /// Its dimensions.
    pub shape: Vec<i64>,
    /// Its values.
    pub values: &'a [f32],
}

impl Tensors<'_> {
    /// An output by name.
    ///
    /// # Errors
    /// [`NetworkError::Session`] if the run did not give it, or not as float32.
    pub fn get(&self, name: &str) -> Result<TensorView<'_>, NetworkError> {
        let failed = |reason: String| NetworkError::Session { model: self.model.clone(), reason };
        let value = self.outputs.get(name).ok_or_else(|| failed(format!("no output {name:?}")))?;
        let (shape, values) =
            value.try_extract_tensor::<f32>().map_err(|error| failed(error.to_string()))?;
        Ok(TensorView { shape: shape.to_vec(), values })
    }

    /// A feature map `[1, channels, h, w]` by name.
    ///
    /// # Errors
    /// As [`Tensors::get`], or that it has another shape.
    pub fn feature_map(&self, name: &str) -> Result<FeatureMap<'_>, NetworkError> {
        let tensor = self.get(name)?;
        match tensor.shape[..] {
            [1, channels, height, width] => Ok(FeatureMap {
                channels: channels as usize,
                height: height as usize,
                width: width as usize,
                values: tensor.values,
            }),
            _ => Err(self.wrong_shape(name, &tensor, "[1, channels, h, w]".to_owned())),
        }
    }

    /// The logits of the segmentation head.
    ///
    /// # Errors
    /// As [`Tensors::get`], or that they are not of the manifest's classes.
    pub fn grid(&self, spec: &SegmentationSpec) -> Result<Grid<'_>, NetworkError> {
        let (name, shuffle) = match self.shuffled {
            Some(shuffled) => (&shuffled.source, shuffled.shuffle),
            None => (&spec.output, PixelShuffle::default()),
        };
        let tensor = self.get(name)?;
        let channels = spec.classes.len() * shuffle.channels();
        match tensor.shape[..] {
            [1, found, height, width] if found == channels as i64 => {
                let cells = |length: i64| length as u32 * shuffle.block;
                let size = Size::new(cells(width), cells(height));
                Ok(Grid { logits: tensor.values, size, shuffle })
            }
            _ => {
                let before = if self.shuffled.is_some() { " before DepthToSpace" } else { "" };
                let expected = format!("[1, {channels}, h, w]{before}");
                Err(self.wrong_shape(&spec.output, &tensor, expected))
            }
        }
    }

    /// The logits of so many classes.
    ///
    /// # Errors
    /// There are none, or more or fewer.
    pub fn labels(
        &self,
        spec: &ClassificationSpec,
        classes: usize,
    ) -> Result<&[f32], NetworkError> {
        let logits = self.get(&spec.output)?;
        if logits.values.len() != classes {
            let expected = format!("[1, {classes}], a name a class");
            return Err(self.wrong_shape(&spec.output, &logits, expected));
        }
        Ok(logits.values)
    }

    fn wrong_shape(&self, name: &str, tensor: &TensorView<'_>, expected: String) -> NetworkError {
        NetworkError::Shape {
            model: self.model.clone(),
            output: name.to_owned(),
            actual: tensor.shape.clone(),
            expected,
        }
    }
}
