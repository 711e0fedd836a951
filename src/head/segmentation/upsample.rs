//! Interpolation, arg-max and all that follows from them, in one pass over the output.
//!
//! A row of the grid is widened to the output's columns once; the rows between two of the grid
//! are then mixtures of two wide rows, which takes no table look-ups and runs as wide as the
//! processor's registers. Along a column between two wide rows every probability is linear: a
//! class that wins at both ends wins all the way, and where that holds for a whole block of
//! columns (most of a picture) nothing but the winner's probability is interpolated.

use super::UNKNOWN;
use super::axis::{Axis, WEIGHTS_PADDING};
use super::probability::Planes;
use crate::result::Maps;

/// Columns that are worked on together.
const BLOCK: usize = 16;

type Lanes = [f32; BLOCK];
type Bytes = [u8; BLOCK];

/// What a winner means.
#[derive(Debug)]
pub(super) struct Rules<'a> {
    /// Traversability id by class.
    pub traversability: &'a [u8],
    /// Less confident pixels are unknown.
    pub min_confidence: f32,
}

/// Keeps two wide rows.
#[derive(Debug, Default)]
pub(super) struct Upsampler {
    upper: WideRow,
    lower: WideRow,
}

/// A row of the grid, as wide as the output and then some.
#[derive(Debug, Default)]
struct WideRow {
    /// Which, if it holds one.
    row: Option<usize>,
    /// `[planes, stride]`
    values: Vec<f32>,
    /// From one plane to the next, a multiple of [`BLOCK`].
    stride: usize,
    best: Vec<f32>,
    winner: Vec<u8>,
}

/// What does not change within a frame.
struct Scene<'a> {
    planes: &'a Planes,
    x: &'a Axis,
    y: &'a Axis,
    /// Traversability id by class, and unknown for unknown.
    ids: [u8; 256],
    min_confidence: f32,
}

impl Upsampler {
    /// Writes all seen pixels of `maps`, whose sizes are those of `axes`, x and y.
    pub fn run(&mut self, planes: &Planes, axes: [&Axis; 2], rules: &Rules<'_>, maps: &mut Maps) {
        let mut ids = [UNKNOWN; 256];
        for (id, meaning) in ids.iter_mut().zip(rules.traversability) {
            *id = *meaning;
        }
        let [x, y] = axes;
        let scene = Scene { planes, x, y, ids, min_confidence: rules.min_confidence };
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has just said that it has AVX2.
            unsafe { self.render_avx2(&scene, maps) };
            return;
        }
        self.render(&scene, maps);
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn render_avx2(&mut self, scene: &Scene<'_>, maps: &mut Maps) {
        self.render(scene, maps);
    }

    #[inline(always)]
    fn render(&mut self, scene: &Scene<'_>, maps: &mut Maps) {
        let (upper, lower) = (&mut self.upper, &mut self.lower);
        (upper.row, lower.row) = (None, None);
        for span in &scene.y.spans {
            if lower.row == Some(span.first) {
                std::mem::swap(upper, lower);
            } else if upper.row != Some(span.first) {
                upper.fill(span.first, scene);
            }
            if lower.row != Some(span.second) {
                lower.fill(span.second, scene);
            }
            for start in (0..scene.x.outputs()).step_by(BLOCK) {
                render_block(scene, upper, lower, start, span.start..span.end, maps);
            }
        }
    }
}

impl WideRow {
    #[inline(always)]
    fn fill(&mut self, row: usize, scene: &Scene<'_>) {
        let planes = scene.planes;
        self.row = Some(row);
        self.stride = (scene.x.outputs() + WEIGHTS_PADDING).next_multiple_of(BLOCK);
        self.values.resize(planes.count() * self.stride, 0.0);
        self.best.resize(self.stride, 0.0);
        self.winner.resize(self.stride, 0);
        let grid_width = planes.cells / scene.y.cells;
        for (plane, wide) in self.values.chunks_exact_mut(self.stride).enumerate() {
            let start = plane * planes.cells + row * grid_width;
            widen(&planes.values[start..start + grid_width], scene.x, wide);
        }
        for start in (0..self.stride).step_by(BLOCK) {
            let (best, winner) = arg_max(planes.classes, [self, self], 0.0, start);
            self.best[start..start + BLOCK].copy_from_slice(&best);
            self.winner[start..start + BLOCK].copy_from_slice(&winner);
        }
    }

    #[inline(always)]
    fn block(&self, plane: usize, start: usize) -> &Lanes {
        lanes(&self.values[plane * self.stride + start..])
    }
}

/// One row of the grid, interpolated to the output's columns, and what chance will have it
/// behind them.
#[inline(always)]
fn widen(line: &[f32], axis: &Axis, wide: &mut [f32]) {
    for span in &axis.spans {
        let (first, second) = (line[span.first], line[span.second]);
        let difference = second - first;
        // Eight at once; what goes beyond the span is overwritten by the next.
        let mut start = span.start;
        while start < span.end {
            let weights = axis.weights[start..].first_chunk::<WEIGHTS_PADDING>();
            let wide = wide[start..].first_chunk_mut::<WEIGHTS_PADDING>();
            if let (Some(weights), Some(wide)) = (weights, wide) {
                *wide = weights.map(|weight| first + difference * weight);
            }
            start += WEIGHTS_PADDING;
        }
    }
}

/// The block of columns from `start`, on all rows between two of the grid.
#[inline(always)]
fn render_block(
    scene: &Scene<'_>,
    upper: &WideRow,
    lower: &WideRow,
    start: usize,
    rows: std::ops::Range<usize>,
    maps: &mut Maps,
) {
    let classes = scene.planes.classes;
    let winners: &Bytes = bytes(&upper.winner[start..]);
    let is_settled = winners == bytes(&lower.winner[start..]);
    let settled_ids = winners.map(|class| scene.ids[class as usize]);
    let (best_above, best_below): (&Lanes, &Lanes) =
        (lanes(&upper.best[start..]), lanes(&lower.best[start..]));
    let width = maps.size.width as usize;
    let len = BLOCK.min(scene.x.outputs() - start);
    for row in rows {
        let weight = scene.y.weights[row];
        let (best, class) = if is_settled {
            (mix(best_above, best_below, weight), *winners)
        } else {
            arg_max(classes, [upper, lower], weight, start)
        };
        let mut confidence = [0; BLOCK];
        let mut semantic = [0; BLOCK];
        for i in 0..BLOCK {
            confidence[i] = round(best[i] * 255.0);
            semantic[i] = if best[i] >= scene.min_confidence { class[i] } else { UNKNOWN };
        }
        let traversability = if is_settled {
            let mut ids = settled_ids;
            for i in 0..BLOCK {
                ids[i] = if best[i] >= scene.min_confidence { ids[i] } else { UNKNOWN };
            }
            ids
        } else {
            semantic.map(|class| scene.ids[class as usize])
        };
        let at = (scene.y.seen.start + row) * width + scene.x.seen.start + start;
        store(&mut maps.semantic[at..], &semantic, len);
        store(&mut maps.traversability[at..], &traversability, len);
        store(&mut maps.confidence[at..], &confidence, len);
        if scene.planes.has_cost {
            let sum = mix(upper.block(classes, start), lower.block(classes, start), weight);
            let known =
                mix(upper.block(classes + 1, start), lower.block(classes + 1, start), weight);
            let mut cost = [0; BLOCK];
            for i in 0..BLOCK {
                let is_known = (known[i] >= 0.5) & (best[i] >= scene.min_confidence);
                cost[i] = if is_known { round(sum[i] / known[i]) } else { UNKNOWN };
            }
            store(&mut maps.cost[at..], &cost, len);
        }
    }
}

/// Largest probability between two wide rows and its class, the first among equals.
#[inline(always)]
fn arg_max(classes: usize, between: [&WideRow; 2], weight: f32, start: usize) -> (Lanes, Bytes) {
    let [above, below] = between;
    let mut best = mix(above.block(0, start), below.block(0, start), weight);
    let mut winner = [0_u32; BLOCK];
    for class in 1..classes {
        let candidate = mix(above.block(class, start), below.block(class, start), weight);
        for i in 0..BLOCK {
            let is_better = candidate[i] > best[i];
            best[i] = if is_better { candidate[i] } else { best[i] };
            winner[i] = if is_better { class as u32 } else { winner[i] };
        }
    }
    (best, winner.map(|class| class as u8))
}

#[inline(always)]
fn mix(above: &Lanes, below: &Lanes, weight: f32) -> Lanes {
    let mut mixed = [0.0; BLOCK];
    for i in 0..BLOCK {
        mixed[i] = above[i] + (below[i] - above[i]) * weight;
    }
    mixed
}

/// The nearest whole number of a value from 0 to 255.
#[inline(always)]
fn round(value: f32) -> u8 {
    // The sum's last bit counts ones: a conversion without the checks of `as`.
    (value + 8_388_608.0).to_bits() as u8
}

#[inline(always)]
fn store(map: &mut [u8], block: &Bytes, len: usize) {
    if let (Some(map), BLOCK) = (map.first_chunk_mut::<BLOCK>(), len) {
        *map = *block;
    } else {
        map[..len].copy_from_slice(&block[..len]);
    }
}

#[inline(always)]
fn lanes(values: &[f32]) -> &Lanes {
    const SHORT: &Lanes = &[0.0; BLOCK];
    values.first_chunk().unwrap_or(SHORT)
}

#[inline(always)]
fn bytes(values: &[u8]) -> &Bytes {
    const SHORT: &Bytes = &[0; BLOCK];
    values.first_chunk().unwrap_or(SHORT)
}

#[cfg(test)]
mod tests {
    use super::super::axis;
    use super::*;
    use crate::geometry::{Fit, Size, place};
    use crate::settings::MaskSize;

    #[test]
    fn every_processor_gives_the_same_maps() {
        let (grid, image) = (Size::new(23, 17), Size::new(131, 77));
        let logits: Vec<f32> =
            (0..5 * grid.area()).map(|i| (i * 7919 % 1013) as f32 / 200.0).collect();
        let mut planes = Planes::default();
        planes.fill(&logits, 5, 1.0, Some(&[0, 50, UNKNOWN, 200, 254]));
        let placement = place(image, Size::new(92, 68), Fit::Letterbox, 0);
        let [x, y] = axis::axes(&placement, MaskSize::Source, grid, image);
        let mut ids = [UNKNOWN; 256];
        ids[..5].copy_from_slice(&[0, 1, 2, 3, 2]);
        let scene = Scene { planes: &planes, x: &x, y: &y, ids, min_confidence: 0.3 };
        let map = || vec![9; image.area()];
        let blank = Maps {
            size: image,
            semantic: map(),
            traversability: map(),
            confidence: map(),
            cost: map(),
        };
        let (mut plain, mut dispatched) = (blank.clone(), blank);
        Upsampler::default().render(&scene, &mut plain);
        let rules = Rules { traversability: &ids[..5], min_confidence: 0.3 };
        Upsampler::default().run(&planes, [&x, &y], &rules, &mut dispatched);
        assert_eq!(plain, dispatched);
    }
}
