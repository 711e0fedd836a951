//! Interpolation, arg-max and all that follows from them, in one pass over the output.
//!
//! A row of the grid becomes probabilities and is widened to the output's columns once; the rows
//! between two of the grid are then mixtures of two wide rows, which takes no table look-ups and
//! runs as wide as the processor's registers. In a block of columns only the classes and traversabilities
//! that can win there ([`Planes::live`]) are widened and compared: in most of a picture that is one of each.

use std::ops::Range;

use super::UNKNOWN;
use super::axis::{Axis, BLOCK, Span, WEIGHTS_PADDING};
use super::probability::{FIRST_KIND, KINDS, Logits, Planes};
use crate::result::Maps;
use crate::settings::MaskKind;
use crate::threads;

type Lanes = [f32; BLOCK];
type Ids = [u32; BLOCK];

/// What becomes of winners.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    /// Whose probability the confidence is.
    pub kind: MaskKind,
    /// Whether the class of each pixel is written.
    pub want_classes: bool,
    /// Less confident pixels are unknown.
    pub min_confidence: f32,
}

/// Makes maps, a band of rows a thread.
#[derive(Debug, Default)]
pub(super) struct Upsampler {
    renderers: Vec<Renderer>,
}

/// Keeps two wide rows.
#[derive(Debug, Default)]
struct Renderer {
    upper: WideRow,
    lower: WideRow,
    /// The classes that can win in a block, then the traversabilities.
    candidates: [Vec<u8>; 2],
}

/// Rows of the maps that one thread writes.
struct Band<'a> {
    /// What they lie between.
    spans: &'a [Span],
    /// The first of them, in the maps.
    start: usize,
    width: usize,
    semantic: &'a mut [u8],
    traversability: &'a mut [u8],
    confidence: &'a mut [u8],
    /// Empty where the cost is not wanted.
    cost: &'a mut [u8],
}

/// A row of the grid, as wide as the output, block by block as far as it was asked for.
#[derive(Debug, Default)]
struct WideRow {
    /// Which, if it holds one.
    row: Option<usize>,
    /// Its cells.
    planes: Planes,
    /// `[blocks, planes, BLOCK]`
    values: Vec<f32>,
    /// By block: what can win in this row, as in [`Planes::live`].
    live: Vec<u64>,
    /// By block: what has its values there.
    filled: Vec<u64>,
}

/// What does not change within a frame.
struct Scene<'a> {
    logits: &'a Logits<'a>,
    x: &'a Axis,
    y: &'a Axis,
    rules: Rules,
}

impl Upsampler {
    /// Writes all seen pixels of `maps`, whose sizes are those of `axes`, x and y.
    pub fn run(&mut self, logits: &Logits<'_>, [x, y]: [&Axis; 2], rules: Rules, maps: &mut Maps) {
        let scene = Scene { logits, x, y, rules };
        let count = rayon::current_num_threads().clamp(1, y.spans.len().max(1));
        self.renderers.resize_with(count, Renderer::default);
        let bands = bands(&scene, maps, count);
        let shares = self.renderers.iter_mut().zip(bands).collect();
        threads::for_each(shares, |(renderer, band)| renderer.dispatch(&scene, band));
    }
}

/// Shares out the rows of the maps that the network saw.
fn bands<'a>(scene: &Scene<'a>, maps: &'a mut Maps, count: usize) -> Vec<Band<'a>> {
    let width = maps.size.width as usize;
    let mut rest = [
        &mut maps.semantic[..],
        &mut maps.traversability[..],
        &mut maps.confidence[..],
        &mut maps.cost[..],
    ];
    let mut start = 0;
    let share = |spans: &'a [Span]| {
        let end = scene.y.seen.start + spans.last().map_or(0, |span| span.end);
        let bytes = (end - start) * width;
        let mut take = |map: &mut &'a mut [u8]| {
            let bytes = bytes.min(map.len());
            let (taken, left) = std::mem::take(map).split_at_mut(bytes);
            *map = left;
            taken
        };
        let [semantic, traversability, confidence, cost] = rest.each_mut().map(&mut take);
        let band = Band { spans, start, width, semantic, traversability, confidence, cost };
        start = end;
        band
    };
    scene.y.spans.chunks(scene.y.spans.len().div_ceil(count).max(1)).map(share).collect()
}

impl Renderer {
    fn dispatch(&mut self, scene: &Scene<'_>, band: Band<'_>) {
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has just said that it has AVX2.
            unsafe { self.render_avx2(scene, band) };
            return;
        }
        self.render(scene, band);
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn render_avx2(&mut self, scene: &Scene<'_>, band: Band<'_>) {
        self.render(scene, band);
    }

    #[inline(always)]
    fn render(&mut self, scene: &Scene<'_>, mut band: Band<'_>) {
        let (upper, lower) = (&mut self.upper, &mut self.lower);
        (upper.row, lower.row) = (None, None);
        let wanted = if scene.rules.want_classes { u64::MAX } else { u64::MAX << FIRST_KIND };
        for span in band.spans {
            if lower.row == Some(span.first) {
                std::mem::swap(upper, lower);
            } else if upper.row != Some(span.first) {
                upper.start(span.first, scene);
            }
            if lower.row != Some(span.second) {
                lower.start(span.second, scene);
            }
            for block in 0..scene.x.blocks.len() {
                let live = (upper.live[block] | lower.live[block]) & wanted;
                upper.fill(block, live, scene);
                lower.fill(block, live, scene);
                let [classes, kinds] = &mut self.candidates;
                classes.clear();
                classes.extend(
                    (0..scene.logits.classes)
                        .filter(|class| is_in(live, class % 32))
                        .map(|class| class as u8),
                );
                kinds.clear();
                kinds.extend(
                    (0..KINDS).filter(|kind| is_in(live, FIRST_KIND + kind)).map(|kind| kind as u8),
                );
                let between = [upper.block(block, scene), lower.block(block, scene)];
                let rows = span.start..span.end;
                render_block(scene, between, &self.candidates, block * BLOCK, rows, &mut band);
            }
        }
    }
}

/// Whether a bit of a set as in [`Planes::live`] is there.
#[inline(always)]
fn is_in(set: u64, bit: usize) -> bool {
    set >> bit & 1 == 1
}

impl WideRow {
    /// Turns to another row of the grid, of which no class is there yet.
    #[inline(always)]
    fn start(&mut self, row: usize, scene: &Scene<'_>) {
        self.row = Some(row);
        let count = scene.x.blocks.len();
        self.planes.fill(scene.logits, row);
        self.values.resize(count * scene.logits.planes() * BLOCK, 0.0);
        self.filled.clear();
        self.filled.resize(count, 0);
        let live = &self.planes.live;
        self.live.clear();
        self.live.extend(scene.x.blocks.iter().map(|spans| {
            let spans = &scene.x.spans[spans.clone()];
            let cells = spans.iter().map(|span| live[span.first] | live[span.second]);
            cells.fold(0, |all, classes| all | classes)
        }));
        for plane in scene.logits.cost_sum()..scene.logits.planes() {
            for block in 0..count {
                self.widen(block, plane, scene);
            }
        }
    }

    /// Sees to it that the values of those classes and traversabilities are there.
    #[inline(always)]
    fn fill(&mut self, block: usize, wanted: u64, scene: &Scene<'_>) {
        let missing = wanted & !self.filled[block];
        if missing == 0 {
            return;
        }
        for class in (0..scene.logits.classes).filter(|class| is_in(missing, class % 32)) {
            self.widen(block, class, scene);
        }
        for kind in (0..KINDS).filter(|kind| is_in(missing, FIRST_KIND + kind)) {
            self.widen(block, scene.logits.first_kind() + kind, scene);
        }
        self.filled[block] |= missing;
    }

    /// Interpolates a plane to the columns of a block.
    #[inline(always)]
    fn widen(&mut self, block: usize, plane: usize, scene: &Scene<'_>) {
        let cells = self.planes.live.len();
        let line = &self.planes.values[plane * cells..][..cells];
        let origin = block * BLOCK;
        // What chance will have it stands behind the block.
        let mut wide = [0.0; BLOCK + WEIGHTS_PADDING];
        for span in &scene.x.spans[scene.x.blocks[block].clone()] {
            let (first, second) = (line[span.first], line[span.second]);
            let difference = second - first;
            // Eight at once; what goes beyond the span is overwritten by the next.
            let mut start = span.start.max(origin);
            while start < span.end.min(origin + BLOCK) {
                let weights = scene.x.weights[start..].first_chunk::<WEIGHTS_PADDING>();
                let wide = wide[start - origin..].first_chunk_mut::<WEIGHTS_PADDING>();
                if let (Some(weights), Some(wide)) = (weights, wide) {
                    *wide = weights.map(|weight| first + difference * weight);
                }
                start += WEIGHTS_PADDING;
            }
        }
        let at = (block * scene.logits.planes() + plane) * BLOCK;
        self.values[at..at + BLOCK].copy_from_slice(&wide[..BLOCK]);
    }

    /// The planes of a block.
    #[inline(always)]
    fn block(&self, block: usize, scene: &Scene<'_>) -> &[f32] {
        let len = scene.logits.planes() * BLOCK;
        &self.values[block * len..][..len]
    }
}

/// The block of columns from `start`, on all rows between two of the grid.
#[inline(always)]
fn render_block(
    scene: &Scene<'_>,
    between: [&[f32]; 2],
    [classes, kinds]: &[Vec<u8>; 2],
    start: usize,
    rows: Range<usize>,
    band: &mut Band<'_>,
) {
    let Rules { kind, want_classes, min_confidence } = scene.rules;
    let (first_kind, cost_sum) = (scene.logits.first_kind(), scene.logits.cost_sum());
    let len = BLOCK.min(scene.x.outputs() - start);
    for row in rows {
        let weight = scene.y.weights[row];
        let meaning = arg_max(first_kind, kinds, between, weight);
        let (mut semantic, probability) = match kind {
            MaskKind::Traversability => {
                (class_of(&meaning.id, scene, classes, between, weight), meaning.probability)
            }
            MaskKind::Semantic => {
                let class = arg_max(0, classes, between, weight);
                (class.id, class.probability)
            }
        };
        let mut traversability = meaning.id;
        let mut confidence = [0; BLOCK];
        for i in 0..BLOCK {
            let is_known = probability[i] >= min_confidence;
            semantic[i] = if is_known { semantic[i] } else { u32::from(UNKNOWN) };
            traversability[i] = if is_known { meaning.id[i] } else { u32::from(UNKNOWN) };
            // A sum of rounded probabilities may be a little more than one.
            confidence[i] = round(probability[i].min(1.0) * 255.0);
        }
        let row_in_band = scene.y.seen.start + row - band.start;
        let at = row_in_band * band.width + scene.x.seen.start + start;
        if want_classes {
            store(&mut band.semantic[at..], &semantic, len);
        }
        store(&mut band.traversability[at..], &traversability, len);
        store(&mut band.confidence[at..], &confidence, len);
        if scene.logits.costs.is_some() {
            let sum = mix(between, cost_sum, weight);
            let known = mix(between, cost_sum + 1, weight);
            let mut cost = [0; BLOCK];
            for i in 0..BLOCK {
                let is_known = (known[i] >= 0.5) & (probability[i] >= min_confidence);
                let mean = round(sum[i] / known[i]);
                cost[i] = if is_known { mean } else { u32::from(UNKNOWN) };
            }
            store(&mut band.cost[at..], &cost, len);
        }
    }
}

/// The most probable class or traversability in each column; numbers as wide as the probabilities, so
/// that they are chosen by the same masks.
struct Winners {
    probability: Lanes,
    id: Ids,
}

/// Largest probability between two wide rows among planes from `base` on, the first among equals.
#[inline(always)]
fn arg_max(base: usize, candidates: &[u8], between: [&[f32]; 2], weight: f32) -> Winners {
    let Some((first, others)) = candidates.split_first() else {
        return Winners { probability: [0.0; BLOCK], id: [u32::from(UNKNOWN); BLOCK] };
    };
    let mut best = Winners {
        probability: mix(between, base + usize::from(*first), weight),
        id: [u32::from(*first); BLOCK],
    };
    for id in others {
        let candidate = mix(between, base + usize::from(*id), weight);
        let id = u32::from(*id);
        for (i, candidate) in candidate.into_iter().enumerate() {
            let is_better = candidate > best.probability[i];
            best.probability[i] = if is_better { candidate } else { best.probability[i] };
            best.id[i] = if is_better { id } else { best.id[i] };
        }
    }
    best
}

/// The most probable class of the traversability in each column, the first among equals.
#[inline(always)]
fn class_of(
    meaning: &Ids,
    scene: &Scene<'_>,
    candidates: &[u8],
    between: [&[f32]; 2],
    weight: f32,
) -> Ids {
    let (mut best, mut ids) = ([-1.0; BLOCK], [u32::from(UNKNOWN); BLOCK]);
    for class in candidates {
        let candidate = mix(between, usize::from(*class), weight);
        let kind = u32::from(scene.logits.kinds[usize::from(*class)]);
        for (i, candidate) in candidate.into_iter().enumerate() {
            let is_better = (candidate > best[i]) & (kind == meaning[i]);
            best[i] = if is_better { candidate } else { best[i] };
            ids[i] = if is_better { u32::from(*class) } else { ids[i] };
        }
    }
    ids
}

/// A plane of a block between two wide rows.
#[inline(always)]
fn mix(between: [&[f32]; 2], plane: usize, weight: f32) -> Lanes {
    let [above, below] = between.map(|planes| lanes(&planes[plane * BLOCK..]));
    let mut mixed = [0.0; BLOCK];
    for i in 0..BLOCK {
        mixed[i] = above[i] + (below[i] - above[i]) * weight;
    }
    mixed
}

/// The nearest whole number of a value from 0 to 255, in the low byte.
#[inline(always)]
fn round(value: f32) -> u32 {
    // The sum's last bit counts ones: a conversion without the checks of `as`.
    (value + 8_388_608.0).to_bits() & 255
}

#[inline(always)]
fn store(map: &mut [u8], block: &Ids, len: usize) {
    let block = block.map(|id| id as u8);
    if let (Some(map), BLOCK) = (map.first_chunk_mut::<BLOCK>(), len) {
        *map = block;
    } else {
        map[..len].copy_from_slice(&block[..len]);
    }
}

#[inline(always)]
fn lanes(values: &[f32]) -> &Lanes {
    const SHORT: &Lanes = &[0.0; BLOCK];
    values.first_chunk().unwrap_or(SHORT)
}

#[cfg(test)]
mod tests {
    use super::super::{Grid, axis};
    use super::*;
    use crate::geometry::{Fit, MaskSize, Size, input_transform};
    use crate::threads::Threads;

    #[test]
    fn every_processor_and_number_of_threads_gives_the_same_maps() {
        let (grid, image) = if cfg!(miri) {
            (Size::new(7, 5), Size::new(37, 21))
        } else {
            (Size::new(23, 17), Size::new(131, 77))
        };
        let logits: Vec<f32> =
            (0..5 * grid.area()).map(|i| (i * 7919 % 1013) as f32 / 200.0).collect();
        let costs = Some(&[0, 50, UNKNOWN, 200, 254][..]);
        let kinds = &[0, 1, 2, 3, 2];
        let grid_of = Grid::new(&logits, grid);
        let logits = Logits { grid: grid_of, classes: 5, temperature: 1.0, kinds, costs };
        let transform =
            input_transform(image, Size::new(4 * grid.width, 4 * grid.height), Fit::Letterbox, 0);
        let [x, y] = axis::axes(&transform, MaskSize::Source, grid, image);
        let rules =
            Rules { kind: MaskKind::Traversability, want_classes: true, min_confidence: 0.3 };
        let scene = Scene { logits: &logits, x: &x, y: &y, rules };
        let map = || vec![9; image.area()];
        let blank = Maps {
            size: image,
            semantic: map(),
            traversability: map(),
            confidence: map(),
            cost: map(),
        };
        let (mut plain, mut dispatched) = (blank.clone(), blank.clone());
        for band in bands(&scene, &mut plain, 1) {
            Renderer::default().render(&scene, band);
        }
        Threads::default()
            .run(|| Upsampler::default().run(&logits, [&x, &y], rules, &mut dispatched));
        assert_eq!(plain, dispatched);
        // More threads than rows between cells, too.
        let more: &[usize] = if cfg!(miri) { &[2] } else { &[2, 3, 64] };
        for &threads in more {
            let mut shared = blank.clone();
            Threads::new(threads, |_| ())
                .run(|| Upsampler::default().run(&logits, [&x, &y], rules, &mut shared));
            assert_eq!(plain, shared, "{threads} threads");
        }
    }
}
