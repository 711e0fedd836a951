//! Where the output's pixels lie on the grid, an axis at a time.

use std::ops::Range;

use crate::geometry::{InputTransform, MaskSize, Size};

/// How many weights may be read past the last one.
pub(super) const WEIGHTS_PADDING: usize = 8;

/// Pixels that are worked on together.
pub(super) const BLOCK: usize = 16;

/// The output's pixels along one axis.
#[derive(Debug, Default)]
pub(super) struct Axis {
    /// Pixels that the network saw; the others are unknown.
    pub seen: Range<usize>,
    /// Neighbouring pixels between the same two cells. Together they are all of `seen`.
    pub spans: Vec<Span>,
    /// The spans that meet each block of seen pixels.
    pub blocks: Vec<Range<usize>>,
    /// By seen pixel: how much the second cell counts, 0 to 1; zeros follow.
    pub weights: Vec<f32>,
}

/// Pixels `start..end`, counted from the first seen one, lie between two cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub first: usize,
    pub second: usize,
    pub start: usize,
    pub end: usize,
}

impl Axis {
    /// Number of seen pixels.
    pub fn outputs(&self) -> usize {
        self.seen.len()
    }

    /// `in_tensor` gives the place of a pixel's centre in the tensor of `input` pixels, of which
    /// `filled` hold picture; the grid's `cells` cover all of the tensor.
    fn new(
        pixels: u32,
        in_tensor: impl Fn(u32) -> f64,
        filled: Range<f64>,
        input: u32,
        cells: u32,
    ) -> Self {
        let mut axis = Self::default();
        if cells == 0 {
            return axis;
        }
        for pixel in 0..pixels {
            let position = in_tensor(pixel);
            if position < filled.start || position > filled.end {
                continue;
            }
            if axis.weights.is_empty() {
                axis.seen = pixel as usize..pixel as usize;
            }
            let in_grid = position * f64::from(cells) / f64::from(input) - 0.5;
            let clamped = in_grid.clamp(0.0, f64::from(cells - 1));
            // The last cell's own centre is the end of the last interval, not a start.
            let first = (clamped as u32).min(cells.saturating_sub(2));
            let (start, end) = (axis.weights.len(), axis.weights.len() + 1);
            match axis.spans.last_mut() {
                Some(span) if span.first == first as usize => span.end = end,
                _ => axis.spans.push(Span {
                    first: first as usize,
                    second: (first + 1).min(cells - 1) as usize,
                    start,
                    end,
                }),
            }
            axis.weights.push((clamped - f64::from(first)) as f32);
            axis.seen.end += 1;
        }
        let spans = &axis.spans;
        let of = |start: usize| {
            let first = spans.partition_point(|span| span.end <= start);
            first..spans.partition_point(|span| span.start < start + BLOCK)
        };
        axis.blocks = (0..axis.seen.len()).step_by(BLOCK).map(of).collect();
        axis.weights.resize(axis.weights.len() + WEIGHTS_PADDING, 0.0);
        axis
    }
}

/// The axes x and y of an output of `out` pixels.
pub(super) fn axes(transform: &InputTransform, kind: MaskSize, grid: Size, out: Size) -> [Axis; 2] {
    let image_from_tensor = match kind {
        MaskSize::Source => transform.image_from_tensor(),
        MaskSize::Network => [(1.0, 0.0); 2],
        MaskSize::Grid => {
            let (cells, input) = (out, transform.input_size);
            let cells_a_pixel = |cells: u32, input: u32| f64::from(cells) / f64::from(input.max(1));
            [
                (cells_a_pixel(cells.width, input.width), 0.0),
                (cells_a_pixel(cells.height, input.height), 0.0),
            ]
        }
    };
    let make = |axis: usize, origin: u32, target: u32, input: u32, cells: u32, pixels: u32| {
        let (scale, offset) = image_from_tensor[axis];
        // The bars of a letterbox are not picture.
        let filled = f64::from(origin)..f64::from(origin) + f64::from(target);
        let in_tensor = |pixel: u32| (f64::from(pixel) + 0.5 - offset) / scale;
        Axis::new(pixels, in_tensor, filled, input, cells)
    };
    let (origin, target) = (transform.target_origin, transform.target_size);
    let input = transform.input_size;
    [
        make(0, origin.0, target.width, input.width, grid.width, out.width),
        make(1, origin.1, target.height, input.height, grid.height, out.height),
    ]
}
