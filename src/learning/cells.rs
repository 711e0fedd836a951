//! A frame as it is learnt from: features and the shipped model's margin on a coarse grid.

use crate::descriptor::FeatureMap;
use crate::geometry::InputTransform;
use crate::head::segmentation::{Grid, log_odds};
use crate::result::{self, Cells, Experience};

/// Cells of the network's grid that make one here, each way.
const BLOCK: usize = 2;
/// Cells of the network's grid, each way, that are told of together where what was learnt changes the answer.
const TOLD: usize = 4;

/// The shipped model's margins of a frame, with the features that its logits were made from.
#[derive(Debug)]
pub struct Margins<'a> {
    pub(super) features: FeatureMap<'a>,
    pub(super) temperature: f32,
    pub(super) is_ground: &'a [bool],
    /// By cell of the network's grid.
    pub(super) values: Vec<f32>,
}

impl<'a> Margins<'a> {
    /// Of a grid of logits; `None` where features and logits do not fit together.
    pub fn new(
        features: FeatureMap<'a>,
        grid: Grid<'_>,
        temperature: f32,
        is_ground: &'a [bool],
    ) -> Option<Self> {
        let (width, height) = (features.width, features.height);
        let plane = width * height;
        let fits = grid.shuffle.block == 1
            && (grid.size.width as usize, grid.size.height as usize) == (width, height)
            && grid.logits.len() == is_ground.len() * plane
            && features.values.len() == features.channels * plane
            && plane > 0;
        fits.then(|| Self {
            features,
            temperature,
            is_ground,
            values: log_odds(grid.logits, plane, temperature, is_ground),
        })
    }

    /// Means over cells of a coarser grid, to learn from; `None` of a grid that is too small for one.
    pub fn cells(&self, transform: &InputTransform) -> Option<Cells> {
        let FeatureMap { channels, width, height, values } = self.features;
        let (columns, rows) = (width / BLOCK, height / BLOCK);
        if columns * rows == 0 {
            return None;
        }
        let mut cells = Cells {
            size: [columns as u32, rows as u32],
            channels,
            features: vec![0.0; columns * rows * channels],
            margins: vec![0.0; columns * rows],
            transform: *transform,
            room: room(width, height, BLOCK),
        };
        let share = 1.0 / (BLOCK * BLOCK) as f32;
        for (x, y, value) in whole(&self.values, width, columns, rows, BLOCK) {
            cells.margins[y / BLOCK * columns + x / BLOCK] += share * value;
        }
        for (channel, values) in values.chunks_exact(width * height).enumerate() {
            for (x, y, value) in whole(values, width, columns, rows, BLOCK) {
                let cell = y / BLOCK * columns + x / BLOCK;
                cells.features[cell * channels + channel] += share * value;
            }
        }
        Some(cells)
    }

    /// Where the answer is another one by what [`Correction::apply`](super::Correction::apply) added.
    pub fn experience(&self, added: &[f32], transform: &InputTransform) -> Vec<Experience> {
        let width = self.features.width;
        let (columns, rows) = (width / TOLD, self.features.height / TOLD);
        if added.len() != self.values.len() {
            return Vec::new();
        }
        let mut changes = vec![0_i32; columns * rows];
        for (x, y, before) in whole(&self.values, width, columns, rows, TOLD) {
            let is_news = (before > 0.0) != (before + added[y * width + x] > 0.0);
            let change = if before > 0.0 { -1 } else { 1 };
            changes[y / TOLD * columns + x / TOLD] += i32::from(is_news) * change;
        }
        let half = (TOLD * TOLD / 2) as i32;
        let told = changes.iter().enumerate().filter(|(_, change)| change.abs() >= half);
        let room = room(width, self.features.height, TOLD);
        told.map(|(cell, change)| Experience {
            pixel: result::middle(transform, columns as u32, room, cell),
            is_ground: *change > 0,
        })
        .collect()
    }
}

/// How many blocks a grid has room for, each way.
fn room(width: usize, height: usize, block: usize) -> [f64; 2] {
    [width, height].map(|side| side as f64 / block as f64)
}

/// The values of a plane with their place, of the part that `columns` x `rows` blocks cover.
fn whole(
    values: &[f32],
    width: usize,
    columns: usize,
    rows: usize,
    block: usize,
) -> impl Iterator<Item = (usize, usize, f32)> {
    let lines = values.chunks_exact(width).take(rows * block).enumerate();
    lines.flat_map(move |(y, line)| {
        line[..columns * block].iter().enumerate().map(move |(x, value)| (x, y, *value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::{Fit, Size, input_transform};

    #[test]
    fn cells_are_means_of_four() {
        // One feature and two classes, ground and not, on 4 x 2.
        let values = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0];
        let features = FeatureMap { channels: 1, height: 2, width: 4, values: &values };
        let logits: Vec<f32> = values.iter().copied().chain([0.0; 8]).collect();
        let grid = Grid::new(&logits, Size::new(4, 2));
        let transform = input_transform(Size::new(16, 8), Size::new(16, 8), Fit::Stretch, 0);
        let of = |grid| Margins::new(features, grid, 2.0, &[true, false]);
        let cells = of(grid).unwrap().cells(&transform).unwrap();
        assert_eq!((cells.size, cells.count()), ([2, 1], 2));
        assert_eq!(cells.features, [2.5, 4.5]);
        assert_eq!(cells.margins, [1.25, 2.25]);
        assert_eq!([cells.pixel(0), cells.pixel(1)], [[3.5, 3.5], [11.5, 3.5]]);
        assert!(of(Grid::new(&logits, Size::new(2, 4))).is_none());
    }

    #[test]
    fn a_changed_answer_is_told_where_most_of_it_changes() {
        // Two places of 4 x 4 cells, ground and not, of margin -1 and 1.
        let mut logits = [[0.0; 8]; 8];
        for row in &mut logits[..4] {
            *row = [-1.0, -1.0, -1.0, -1.0, 1.0, 1.0, 1.0, 1.0];
        }
        let logits = logits.as_flattened();
        let grid = Grid::new(logits, Size::new(8, 4));
        let transform = input_transform(Size::new(32, 16), Size::new(32, 16), Fit::Stretch, 0);
        let features = FeatureMap { channels: 1, height: 4, width: 8, values: &[0.0; 32] };
        let margins = Margins::new(features, grid, 1.0, &[true, false]).unwrap();
        let of = |added: &[f32]| margins.experience(added, &transform);
        assert!(of(&[0.5; 32]).is_empty());
        let told = |pixel, is_ground| Experience { pixel, is_ground };
        assert_eq!(of(&[1.5; 32]), [told([7.5, 7.5], true)]);
        assert_eq!(of(&[-1.5; 32]), [told([23.5, 7.5], false)]);
        assert!(of(&[1.5]).is_empty());
    }
}
