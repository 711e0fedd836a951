//! Segmentation logits to mask, confidence and cost, at the size of the picture.
//!
//! The softmax is taken on the network's coarse grid; its probabilities, and the expected cost
//! with them, are interpolated bilinearly (half-pixel convention, clamped at the edges) straight
//! to the wanted size, and the arg-max is taken there. All of it is one pass over the output.

use crate::geometry::{Placement, Size};
use crate::head::classification::softmax;
use crate::manifest::{SegmentationSpec, Traversability};
use crate::result::Maps;
use crate::settings::{MaskSettings, MaskSize};

/// The id of a pixel that is not known.
pub const UNKNOWN: u8 = 255;

/// A grid of logits `[classes, height, width]`, row-major, that covers the network's input.
#[derive(Debug, Clone, Copy)]
pub struct Grid<'a> {
    /// The logits.
    pub logits: &'a [f32],
    /// Cells.
    pub size: Size,
}

/// Makes masks; keeps its buffers from frame to frame.
#[derive(Debug, Default)]
pub struct SegmentationHead {
    /// Planes of probabilities, then the expected known cost, then the probability of a known one.
    planes: Vec<f32>,
    cell: Vec<f32>,
    cell_logits: Vec<f32>,
    columns: Vec<Tap>,
    /// One output row of each plane, interpolated between two rows of the grid, then as wide as
    /// the output.
    grid_row: Vec<f32>,
    row: Vec<f32>,
    best: Vec<f32>,
    best_class: Vec<u8>,
}

/// Where an output column (or row) lies between two of the grid.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Tap {
    first: u32,
    second: u32,
    /// Weight of the second, 0 to 1; negative outside of what the network saw.
    weight: f32,
}

/// What each class means under the settings in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meanings {
    /// Traversability id by class.
    pub traversability: Vec<u8>,
    /// Cost by class, 0 to 254, or 255 for unknown.
    pub cost: Vec<u8>,
}

impl Meanings {
    /// The manifest's, overridden by the settings.
    pub fn new(spec: &SegmentationSpec, settings: &MaskSettings) -> Self {
        let traversability = spec.classes.iter().map(|class| {
            let meaning = settings.traversability.get(&class.name).copied();
            meaning.unwrap_or(class.traversability).id()
        });
        let cost = spec
            .classes
            .iter()
            .map(|class| settings.cost.get(&class.name).copied().unwrap_or(class.cost));
        Self { traversability: traversability.collect(), cost: cost.collect() }
    }

    /// Whether a class is an obstacle.
    pub fn is_obstacle(&self, class: u8) -> bool {
        self.traversability.get(class as usize) == Some(&Traversability::Obstacle.id())
    }
}

impl SegmentationHead {
    /// Mask, confidence and, if wanted, cost.
    ///
    /// The cost of a pixel is the mean over the classes with a known cost, weighted by their
    /// probabilities; it is unknown (255) where those classes have less than half of the
    /// probability together. Pixels of a confidence below `settings.min_confidence`, and those
    /// outside of what the network saw, are unknown in mask and cost.
    pub fn run(
        &mut self,
        grid: Grid<'_>,
        placement: &Placement,
        spec: &SegmentationSpec,
        meanings: &Meanings,
        settings: &MaskSettings,
        want_cost: bool,
    ) -> Maps {
        let classes = spec.classes.len();
        let size = match settings.size {
            MaskSize::Source => placement.image_size,
            MaskSize::Network => placement.input_size,
        };
        self.probabilities(grid, spec.temperature, meanings);
        let planes = if want_cost { classes + 2 } else { classes };
        let [x, y] = taps(placement, settings.size, grid.size, size);
        self.columns = x;
        let area = size.area();
        let mut maps = Maps {
            size,
            semantic: vec![UNKNOWN; area],
            traversability: vec![UNKNOWN; area],
            confidence: vec![0; area],
            cost: if want_cost { vec![UNKNOWN; area] } else { Vec::new() },
        };
        let width = size.width as usize;
        let grid_width = grid.size.width as usize;
        self.grid_row.resize(planes * grid_width, 0.0);
        self.row.resize(planes * width, 0.0);
        self.best.resize(width, 0.0);
        self.best_class.resize(width, 0);
        for (row, tap) in y.into_iter().enumerate() {
            if tap.weight < 0.0 {
                continue;
            }
            for plane in 0..planes {
                let start = plane * grid.size.area();
                let line = |y: u32| &self.planes[start + y as usize * grid_width..][..grid_width];
                let out = &mut self.grid_row[plane * grid_width..][..grid_width];
                mix(line(tap.first), line(tap.second), tap.weight, out);
                widen(out, &self.columns, &mut self.row[plane * width..][..width]);
            }
            self.arg_max(classes, width);
            let range = row * width..(row + 1) * width;
            self.write_row(
                classes,
                meanings,
                settings.min_confidence,
                &mut maps.semantic[range.clone()],
                &mut maps.traversability[range.clone()],
                &mut maps.confidence[range.clone()],
                if want_cost { &mut maps.cost[range] } else { &mut [] },
            );
        }
        maps
    }

    /// Softmax and expected cost of each cell, plane by plane.
    fn probabilities(&mut self, grid: Grid<'_>, temperature: f32, meanings: &Meanings) {
        let cells = grid.size.area();
        let classes = meanings.cost.len();
        self.planes.resize((classes + 2) * cells, 0.0);
        self.cell_logits.resize(classes, 0.0);
        for cell in 0..cells {
            for (class, logit) in self.cell_logits.iter_mut().enumerate() {
                *logit = grid.logits[class * cells + cell];
            }
            softmax(&self.cell_logits, temperature, &mut self.cell);
            let (mut cost, mut known) = (0.0, 0.0);
            for (class, probability) in self.cell.iter().enumerate() {
                self.planes[class * cells + cell] = *probability;
                if meanings.cost[class] != UNKNOWN {
                    cost += probability * f32::from(meanings.cost[class]);
                    known += probability;
                }
            }
            self.planes[classes * cells + cell] = cost;
            self.planes[(classes + 1) * cells + cell] = known;
        }
    }

    fn arg_max(&mut self, classes: usize, width: usize) {
        let (best, best_class) = (&mut self.best[..width], &mut self.best_class[..width]);
        best.copy_from_slice(&self.row[..width]);
        best_class.fill(0);
        for class in 1..classes {
            let candidates = &self.row[class * width..][..width];
            for ((best, best_class), candidate) in
                best.iter_mut().zip(best_class.iter_mut()).zip(candidates)
            {
                let is_better = *candidate > *best;
                *best = if is_better { *candidate } else { *best };
                *best_class = if is_better { class as u8 } else { *best_class };
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "one output row each")]
    fn write_row(
        &self,
        classes: usize,
        meanings: &Meanings,
        min_confidence: f32,
        semantic: &mut [u8],
        traversability: &mut [u8],
        confidence: &mut [u8],
        cost: &mut [u8],
    ) {
        let width = semantic.len();
        let mut ids = [UNKNOWN; 256];
        for (id, meaning) in ids.iter_mut().zip(&meanings.traversability) {
            *id = *meaning;
        }
        for x in 0..width {
            if self.columns[x].weight < 0.0 {
                continue;
            }
            let probability = self.best[x];
            confidence[x] = (probability * 255.0 + 0.5) as u8;
            let is_known = probability >= min_confidence;
            let class = if is_known { self.best_class[x] } else { UNKNOWN };
            semantic[x] = class;
            traversability[x] = ids[class as usize];
            if let Some(cost) = cost.get_mut(x) {
                let known = self.row[(classes + 1) * width + x];
                if is_known && known >= 0.5 {
                    *cost = (self.row[classes * width + x] / known + 0.5).min(254.0) as u8;
                }
            }
        }
    }
}

/// `a + (b - a) * weight`, element by element.
fn mix(a: &[f32], b: &[f32], weight: f32, out: &mut [f32]) {
    for ((out, a), b) in out.iter_mut().zip(a).zip(b) {
        *out = a + (b - a) * weight;
    }
}

/// One row of the grid, interpolated to the output's columns.
fn widen(line: &[f32], columns: &[Tap], out: &mut [f32]) {
    for (out, tap) in out.iter_mut().zip(columns) {
        let (a, b) = (line[tap.first as usize], line[tap.second as usize]);
        *out = a + (b - a) * tap.weight;
    }
}

/// For x and y: where each output pixel's centre lies in the grid.
fn taps(placement: &Placement, kind: MaskSize, grid: Size, out: Size) -> [Vec<Tap>; 2] {
    let input = placement.input_size;
    let image_from_tensor = match kind {
        MaskSize::Source => placement.image_from_tensor(),
        MaskSize::Network => [(1.0, 0.0); 2],
    };
    // The part of the tensor that holds picture; the bars of a letterbox are unknown.
    let (left, top) = (f64::from(placement.target_origin.0), f64::from(placement.target_origin.1));
    let filled = [
        (left, left + f64::from(placement.target_size.width)),
        (top, top + f64::from(placement.target_size.height)),
    ];
    let axis = |axis: usize, out: u32, input: u32, grid: u32| {
        let (scale, offset) = image_from_tensor[axis];
        let (from, to) = filled[axis];
        let tap = |i: u32| {
            let in_tensor = (f64::from(i) + 0.5 - offset) / scale;
            let in_grid = in_tensor * f64::from(grid) / f64::from(input) - 0.5;
            let clamped = in_grid.clamp(0.0, f64::from(grid - 1));
            let first = clamped.floor();
            let is_inside = in_tensor >= from && in_tensor <= to;
            Tap {
                first: first as u32,
                second: (first as u32 + 1).min(grid - 1),
                weight: if is_inside { (clamped - first) as f32 } else { -1.0 },
            }
        };
        (0..out).map(tap).collect()
    };
    [axis(0, out.width, input.width, grid.width), axis(1, out.height, input.height, grid.height)]
}

#[cfg(test)]
mod tests;
