//! Feature maps to unit vectors.
//!
//! A descriptor is a row of blocks. A block averages one feature map over a grid, takes square
//! roots (power normalisation), subtracts the mean of each cell, projects the channels by a linear
//! discriminant analysis and has unit length times its weight. Means and projections are learnt by
//! `models/training`, `descriptors`, and stand beside the model.

use safetensors::SafeTensors;
use serde::Deserialize;

/// The file is not one of descriptors, or does not fit the model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a descriptors file: {0}")]
pub struct DescriptorError(String);

/// What a model's views are known by.
#[derive(Debug, Clone, PartialEq)]
pub struct Descriptors {
    /// For places.
    pub place: Descriptor,
    /// For the user's own labels.
    pub label: Descriptor,
}

/// One kind of descriptor.
#[derive(Debug, Clone, PartialEq)]
pub struct Descriptor {
    blocks: Vec<Block>,
}

#[derive(Debug, Clone, PartialEq)]
struct Block {
    map: String,
    rows: usize,
    columns: usize,
    weight: f32,
    channels: usize,
    dimensions: usize,
    /// `[cells, channels]`
    mean: Vec<f32>,
    /// `[channels, dimensions]`
    projection: Vec<f32>,
}

#[derive(Debug, Deserialize)]
struct BlockLayout {
    map: String,
    rows: usize,
    columns: usize,
    dimensions: usize,
    weight: f32,
}

#[derive(Debug, Deserialize)]
struct Layout {
    place: Vec<BlockLayout>,
    label: Vec<BlockLayout>,
}

impl Descriptors {
    /// Reads a safetensors file: tensors `KIND.INDEX.mean` and `.projection` in float32, the
    /// blocks' layout as JSON in the metadata.
    ///
    /// # Errors
    /// [`DescriptorError`] that names what is missing or of another shape.
    pub fn read(bytes: &[u8]) -> Result<Self, DescriptorError> {
        let refuse = |reason: &dyn std::fmt::Display| DescriptorError(reason.to_string());
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(|error| refuse(&error))?;
        let tensors = SafeTensors::deserialize(bytes).map_err(|error| refuse(&error))?;
        let metadata = header.metadata().as_ref();
        let layout = metadata.and_then(|entries| entries.get("layout"));
        let layout = layout.ok_or_else(|| refuse(&"it has no layout"))?;
        let layout: Layout = serde_json::from_str(layout).map_err(|error| refuse(&error))?;
        let read = |kind: &str, blocks: Vec<BlockLayout>| -> Result<Descriptor, DescriptorError> {
            let blocks = blocks.into_iter().enumerate();
            let blocks = blocks.map(|(index, block)| {
                let get = |part: &str, rows: Option<usize>, columns: Option<usize>| {
                    let name = format!("{kind}.{index}.{part}");
                    let tensor = tensors.tensor(&name).map_err(|error| refuse(&error))?;
                    let shape = tensor.shape();
                    let fits = shape.len() == 2
                        && tensor.dtype() == safetensors::Dtype::F32
                        && rows.is_none_or(|rows| rows == shape[0])
                        && columns.is_none_or(|columns| columns == shape[1]);
                    if !fits || shape.contains(&0) {
                        return Err(refuse(&format!("{name} has shape {shape:?}")));
                    }
                    let values = tensor.data().chunks_exact(4);
                    let values = values.map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
                    Ok((shape[1], values.collect::<Vec<f32>>()))
                };
                let cells = block.rows.checked_mul(block.columns);
                let cells =
                    cells.ok_or_else(|| refuse(&format!("{kind}.{index} has too many cells")))?;
                let (channels, mean) = get("mean", Some(cells), None)?;
                let (_, projection) = get("projection", Some(channels), Some(block.dimensions))?;
                Ok(Block {
                    map: block.map,
                    rows: block.rows,
                    columns: block.columns,
                    weight: block.weight,
                    channels,
                    dimensions: block.dimensions,
                    mean,
                    projection,
                })
            });
            let blocks = blocks.collect::<Result<Vec<_>, _>>()?;
            if blocks.is_empty() {
                return Err(refuse(&format!("{kind} has no blocks")));
            }
            Ok(Descriptor { blocks })
        };
        Ok(Self { place: read("place", layout.place)?, label: read("label", layout.label)? })
    }
}

/// A feature map `[channels, height, width]`, row-major.
#[derive(Debug, Clone, Copy)]
pub struct FeatureMap<'a> {
    /// Its channels.
    pub channels: usize,
    /// Its rows.
    pub height: usize,
    /// Its columns.
    pub width: usize,
    /// `channels * height * width` values.
    pub values: &'a [f32],
}

impl Descriptor {
    /// Length of the vector.
    pub fn dimensions(&self) -> usize {
        self.blocks.iter().map(|block| block.rows * block.columns * block.dimensions).sum()
    }

    /// Names of the feature maps that it reads.
    pub fn maps(&self) -> impl Iterator<Item = &str> {
        self.blocks.iter().map(|block| block.map.as_str())
    }

    /// The unit vector of a view; `map` gives a feature map by name.
    ///
    /// # Errors
    /// What `map` says, or the name of a map of another shape.
    pub fn run<'a, E: From<DescriptorError>>(
        &self,
        map: impl Fn(&str) -> Result<FeatureMap<'a>, E>,
    ) -> Result<Vec<f32>, E> {
        let mut vector = Vec::with_capacity(self.dimensions());
        for block in &self.blocks {
            let features = map(&block.map)?;
            let size = features.channels * features.height * features.width;
            if features.channels != block.channels || features.values.len() != size || size == 0 {
                return Err(E::from(DescriptorError(format!(
                    "{} has {} channels, {} are expected",
                    block.map, features.channels, block.channels
                ))));
            }
            let start = vector.len();
            block.run(features, &mut vector);
            normalise(&mut vector[start..], block.weight);
        }
        normalise(&mut vector, 1.0);
        Ok(vector)
    }
}

impl Block {
    fn run(&self, features: FeatureMap<'_>, vector: &mut Vec<f32>) {
        let (rows, columns) =
            (shares(self.rows, features.height), shares(self.columns, features.width));
        let mut sums = vec![0.0_f32; features.width];
        // [cells, channels]
        let mut pooled = vec![0.0_f32; self.rows * self.columns * self.channels];
        for (channel, plane) in
            features.values.chunks_exact(features.height * features.width).enumerate()
        {
            for (row, share) in rows.iter().enumerate() {
                sums.fill(0.0);
                for (y, weight) in share {
                    let line = &plane[y * features.width..][..features.width];
                    for (sum, value) in sums.iter_mut().zip(line) {
                        *sum += weight * value;
                    }
                }
                for (column, share) in columns.iter().enumerate() {
                    let mean: f32 = share.iter().map(|(x, weight)| weight * sums[*x]).sum();
                    pooled[(row * self.columns + column) * self.channels + channel] =
                        mean.max(0.0).sqrt();
                }
            }
        }
        for (cell, mean) in
            pooled.chunks_exact(self.channels).zip(self.mean.chunks_exact(self.channels))
        {
            let start = vector.len();
            vector.resize(start + self.dimensions, 0.0);
            let projected = &mut vector[start..];
            let weights = self.projection.chunks_exact(self.dimensions);
            for ((value, mean), weights) in cell.iter().zip(mean).zip(weights) {
                let centred = value - mean;
                for (sum, weight) in projected.iter_mut().zip(weights) {
                    *sum += centred * weight;
                }
            }
        }
    }
}

/// Equal parts of an axis of `length` elements, as elements with weights that sum to one;
/// elements on a border are shared out.
fn shares(parts: usize, length: usize) -> Vec<Vec<(usize, f32)>> {
    let edge = |part: usize| part as f64 * length as f64 / parts as f64;
    let part = |part: usize| {
        let (start, end) = (edge(part), edge(part + 1));
        let overlap = |element: usize| {
            let overlap = end.min(element as f64 + 1.0) - start.max(element as f64);
            (element, (overlap / (end - start)) as f32)
        };
        let elements = start.floor() as usize..(end.ceil() as usize).min(length);
        elements.map(overlap).filter(|(_, weight)| *weight > 0.0).collect()
    };
    (0..parts).map(part).collect()
}

fn normalise(vector: &mut [f32], length: f32) {
    let norm = vector.iter().map(|value| value * value).sum::<f32>().sqrt();
    let factor = length / norm.max(1e-12);
    vector.iter_mut().for_each(|value| *value *= factor);
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn block(rows: usize, columns: usize) -> Block {
        Block {
            map: "m".into(),
            rows,
            columns,
            weight: 1.0,
            channels: 2,
            dimensions: 2,
            mean: vec![0.0; rows * columns * 2],
            projection: vec![1.0, 0.0, 0.0, 1.0],
        }
    }

    #[test]
    fn parts_of_an_axis_sum_to_one_and_share_borders() {
        assert_eq!(shares(2, 4), [vec![(0, 0.5), (1, 0.5)], vec![(2, 0.5), (3, 0.5)]]);
        let thirds = shares(3, 4);
        assert_eq!(thirds[0][0], (0, 0.75));
        assert!((thirds[0][1].1 - 0.25).abs() < 1e-6 && thirds[0][1].0 == 1);
        for (parts, length) in [(3, 60), (3, 45), (4, 3), (7, 11)] {
            for share in shares(parts, length) {
                let sum: f32 = share.iter().map(|(_, weight)| weight).sum();
                assert!((sum - 1.0).abs() < 1e-5, "{parts} of {length}");
            }
        }
    }

    #[test]
    fn cells_are_means_under_square_roots() {
        // Channel 0 is 4 on the left and 16 on the right, channel 1 is 0 and 9.
        let values = [4.0, 4.0, 16.0, 16.0, 0.0, 0.0, 9.0, 9.0];
        let features = FeatureMap { channels: 2, height: 1, width: 4, values: &values };
        let mut vector = Vec::new();
        block(1, 2).run(features, &mut vector);
        assert_eq!(vector, [2.0, 0.0, 4.0, 3.0]);
        let descriptor = Descriptor { blocks: vec![block(1, 2)] };
        let unit = descriptor.run(|_| Ok::<_, DescriptorError>(features)).unwrap();
        let length: f32 = unit.iter().map(|v| v * v).sum();
        assert!((length - 1.0).abs() < 1e-6 && descriptor.dimensions() == 4);
    }

    #[test]
    fn a_map_of_another_shape_is_named() {
        let values = [0.0; 3];
        let features = FeatureMap { channels: 3, height: 1, width: 1, values: &values };
        let descriptor = Descriptor { blocks: vec![block(1, 1)] };
        let error = descriptor.run(|_| Ok::<_, DescriptorError>(features)).unwrap_err();
        assert_eq!(error.to_string(), "not a descriptors file: m has 3 channels, 2 are expected");
    }

    #[test]
    fn files_are_read_and_bad_ones_refused() {
        let layout = |rows: usize| {
            let block = format!(
                r#"[{{"map": "m", "rows": {rows}, "columns": 1, "dimensions": 2, "weight": 1.0}}]"#
            );
            format!(r#"{{"place": {block}, "label": {block}}}"#)
        };
        let file = |layout: String| {
            let bytes: Vec<u8> =
                [1.0_f32, 0.0, 0.0, 1.0].iter().flat_map(|v| v.to_le_bytes()).collect();
            let view = |shape: Vec<usize>, bytes| {
                safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape, bytes).unwrap()
            };
            let tensors = ["place", "label"].iter().flat_map(|kind| {
                [
                    (format!("{kind}.0.mean"), view(vec![1, 2], &bytes[..8])),
                    (format!("{kind}.0.projection"), view(vec![2, 2], &bytes)),
                ]
            });
            let metadata = HashMap::from([("layout".to_owned(), layout)]);
            safetensors::serialize(tensors, Some(metadata)).unwrap()
        };
        let good = file(layout(1));
        assert_eq!(Descriptors::read(&good).unwrap().place.dimensions(), 2);
        let error = Descriptors::read(&file(layout(2))).unwrap_err().to_string();
        assert!(error.contains("place.0.mean has shape [1, 2]"), "{error}");
        for length in 0..good.len() {
            assert!(Descriptors::read(&good[..length]).is_err());
        }
    }
}
