//! A frame as it is learnt from: features and the shipped model's margin on a coarse grid.

use crate::descriptor::FeatureMap;
use crate::geometry::InputTransform;
use crate::head::segmentation::{ClassMapping, Grid};
use crate::result::{self, Cells, Experience};
use crate::traversability::Traversability;

/// Cells of the network's grid that make one here, each way.
const BLOCK: usize = 2;
/// Cells of the network's grid, each way, that are told of together where what was learnt changes the answer.
const TOLD: usize = 4;
/// Margins beyond this say no more.
const MOST_MARGIN: f32 = 8.0;

/// Whether each class is ground: traversable or caution.
pub fn is_ground(mapping: &ClassMapping) -> Vec<bool> {
    let ground = [Traversability::Traversable.id(), Traversability::Caution.id()];
    mapping.traversability.iter().map(|id| ground.contains(id)).collect()
}

/// The margin of the best ground class over the best other one, about the logarithm of the odds of ground:
/// of the logits at `index`, a class every `plane`.
#[inline]
pub fn margin(
    logits: &[f32],
    plane: usize,
    index: usize,
    temperature: f32,
    is_ground: &[bool],
) -> f32 {
    let (mut ground, mut other) = (f32::NEG_INFINITY, f32::NEG_INFINITY);
    for (class, is_ground) in is_ground.iter().enumerate() {
        let logit = logits[class * plane + index];
        let best = if *is_ground { &mut ground } else { &mut other };
        *best = best.max(logit);
    }
    let margin = (ground - other) / temperature;
    // Of a model that has one kind alone, or logits that are no numbers, nothing can be told.
    if margin.is_nan() { 0.0 } else { margin.clamp(-MOST_MARGIN, MOST_MARGIN) }
}

/// The cells of a grid of logits and of the features that it was made from; `None` where the two do not fit
/// together.
pub fn cells(
    features: FeatureMap<'_>,
    grid: Grid<'_>,
    transform: &InputTransform,
    temperature: f32,
    is_ground: &[bool],
) -> Option<Cells> {
    let (width, height) = (features.width, features.height);
    let plane = width * height;
    let fits = grid.shuffle.block == 1
        && (grid.size.width as usize, grid.size.height as usize) == (width, height)
        && grid.logits.len() >= is_ground.len() * plane
        && features.values.len() == features.channels * plane;
    let (columns, rows) = (width / BLOCK, height / BLOCK);
    if !fits || columns * rows == 0 {
        return None;
    }
    let channels = features.channels;
    let mut cells = Cells {
        size: [columns as u32, rows as u32],
        channels,
        features: vec![0.0; columns * rows * channels],
        margins: vec![0.0; columns * rows],
        transform: *transform,
    };
    let share = 1.0 / (BLOCK * BLOCK) as f32;
    for y in 0..rows * BLOCK {
        for x in 0..columns * BLOCK {
            let cell = y / BLOCK * columns + x / BLOCK;
            cells.margins[cell] +=
                share * margin(grid.logits, plane, y * width + x, temperature, is_ground);
        }
    }
    for (channel, values) in features.values.chunks_exact(plane).enumerate() {
        for y in 0..rows * BLOCK {
            let line = &values[y * width..][..columns * BLOCK];
            let start = y / BLOCK * columns;
            for (x, value) in line.iter().enumerate() {
                cells.features[(start + x / BLOCK) * channels + channel] += share * value;
            }
        }
    }
    Some(cells)
}

/// Where the answer is another one by what [`Correction::apply`](super::Correction::apply) added to the grid's
/// logits; of `grid` before that.
pub fn experience(
    grid: Grid<'_>,
    added: &[f32],
    transform: &InputTransform,
    temperature: f32,
    is_ground: &[bool],
) -> Vec<Experience> {
    let (width, height) = (grid.size.width as usize, grid.size.height as usize);
    let plane = width * height;
    let (columns, rows) = (width / TOLD, height / TOLD);
    if added.len() != plane || grid.logits.len() != is_ground.len() * plane {
        return Vec::new();
    }
    let mut changes = vec![0_i32; columns * rows];
    for y in 0..rows * TOLD {
        for x in 0..columns * TOLD {
            let index = y * width + x;
            let before = margin(grid.logits, plane, index, temperature, is_ground);
            let is_news = (before > 0.0) != (before + added[index] > 0.0);
            let change = if before > 0.0 { -1 } else { 1 };
            changes[y / TOLD * columns + x / TOLD] += i32::from(is_news) * change;
        }
    }
    let half = (TOLD * TOLD / 2) as i32;
    let told = changes.iter().enumerate().filter(|(_, change)| change.abs() >= half);
    let size = [columns as u32, rows as u32];
    told.map(|(cell, change)| Experience {
        pixel: result::middle(transform, size, cell),
        is_ground: *change > 0,
    })
    .collect()
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
        let of = |grid| super::cells(features, grid, &transform, 2.0, &[true, false]);
        let cells = of(grid).unwrap();
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
        let of = |added: &[f32]| experience(grid, added, &transform, 1.0, &[true, false]);
        assert!(of(&[0.5; 32]).is_empty());
        let told = |pixel, is_ground| Experience { pixel, is_ground };
        assert_eq!(of(&[1.5; 32]), [told([7.5, 7.5], true)]);
        assert_eq!(of(&[-1.5; 32]), [told([23.5, 7.5], false)]);
        assert!(of(&[1.5]).is_empty());
    }

    #[test]
    fn a_margin_is_a_number_whatever_the_logits() {
        assert_eq!(margin(&[f32::NAN, f32::NAN], 1, 0, 1.0, &[true, false]), 0.0);
        assert_eq!(margin(&[5.0, 1.0], 1, 0, 1.0, &[true, true]), MOST_MARGIN);
        assert_eq!(margin(&[5.0, 1.0], 1, 0, 2.0, &[false, true]), -2.0);
    }
}
