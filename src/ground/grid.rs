//! What the network says of the ground, cell by cell: probabilities, not the arg-max, so that an edge
//! between two cells is found to a fraction of one.

use nalgebra::Point2;

use crate::geometry::{InputTransform, Size};

/// Probabilities of one frame on the network's output grid.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct GroundGrid {
    /// Cells across and down; they cover the network's input.
    pub size: Size2,
    /// Row-major.
    pub cells: Vec<Cell>,
}

/// Cells across and down.
pub type Size2 = [u32; 2];

/// One cell, or a place between cells: the probability that it shows ground (traversable or caution),
/// that it shows an obstacle, and the expected cost, 0 for free to 1 for lethal. What is missing to a
/// probability of 1 is background and what the network does not know.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Cell {
    /// Probability of ground, 0 to 1.
    pub ground: f32,
    /// Probability of an obstacle, 0 to 1.
    pub obstacle: f32,
    /// Expected cost, 0 to 1; NaN where it is not known.
    pub cost: f32,
}

impl GroundGrid {
    /// The grid at a place in cells, the centre of the first one being (0, 0); bilinear, clamped at
    /// the edges.
    #[inline]
    pub fn sample(&self, at: [f32; 2]) -> Cell {
        let [width, height] = self.size;
        if width == 0 || height == 0 || self.cells.len() < width as usize * height as usize {
            return Cell::default();
        }
        let axis = |at: f32, size: u32| {
            // What is no number becomes 0.
            let at = at.max(0.0).min((size - 1) as f32);
            let first = (at as u32).min(size.saturating_sub(2));
            (first as usize, (first + 1).min(size - 1) as usize, at - first as f32)
        };
        let (left, right, x) = axis(at[0], width);
        let (upper, lower, y) = axis(at[1], height);
        let width = width as usize;
        let row = |row: usize| {
            let (a, b) = (&self.cells[row * width + left], &self.cells[row * width + right]);
            a.towards(b, x)
        };
        row(upper).towards(&row(lower), y)
    }
}

impl Cell {
    #[inline]
    fn towards(&self, other: &Self, share: f32) -> Self {
        let mix = |a: f32, b: f32| a + (b - a) * share;
        Self {
            ground: mix(self.ground, other.ground),
            obstacle: mix(self.obstacle, other.obstacle),
            cost: mix(self.cost, other.cost),
        }
    }
}

/// Where pixels of the picture lie on the grid, and which of them the network saw.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GridFromPicture {
    /// For x and y: `grid = scale * pixel + offset`, centres being whole numbers on both sides.
    axes: [(f64, f64); 2],
    /// Pixels from, to, in edge coordinates.
    seen: [(f64, f64); 2],
}

impl GridFromPicture {
    /// For a grid of `cells` that covers the network's input.
    pub fn new(transform: &InputTransform, cells: Size2) -> Self {
        Self::with_room(transform, cells.map(f64::from))
    }

    /// For cells of which the network's input has room for so many each way; the last one may be a part.
    pub fn with_room(transform: &InputTransform, room: [f64; 2]) -> Self {
        let inputs = [transform.input_size.width, transform.input_size.height];
        let in_picture = transform.image_from_tensor();
        let axis = |axis: usize| {
            let (scale, offset) = in_picture[axis];
            let cells_a_pixel = room[axis] / f64::from(inputs[axis].max(1)) / scale;
            (cells_a_pixel, (0.5 - offset) * cells_a_pixel - 0.5)
        };
        let source = transform.source;
        Self {
            axes: [axis(0), axis(1)],
            seen: [
                (source.left, source.left + source.width),
                (source.top, source.top + source.height),
            ],
        }
    }

    /// The place on the grid of a pixel (the first one's centre is (0, 0)); `None` if the network did
    /// not see it.
    #[inline]
    pub fn place(&self, pixel: Point2<f64>) -> Option<[f32; 2]> {
        let axis = |at: f64, (scale, offset): (f64, f64), (from, to): (f64, f64)| {
            (at >= from - 0.5 && at <= to - 0.5).then_some((scale * at + offset) as f32)
        };
        Some([
            axis(pixel.x, self.axes[0], self.seen[0])?,
            axis(pixel.y, self.axes[1], self.seen[1])?,
        ])
    }

    /// Cells a pixel, across and down.
    pub fn cells_a_pixel(&self) -> [f64; 2] {
        self.axes.map(|(scale, _)| scale)
    }

    /// Pixels from, to that the network saw, for x and y, in edge coordinates.
    pub fn seen(&self) -> [(f64, f64); 2] {
        self.seen
    }
}

/// A grid of `size` that is as large as the picture, every cell what `is` says: ground, obstacle or
/// neither.
pub fn from_ids(size: Size, ids: &[u8]) -> GroundGrid {
    let cell = |id: &u8| match id {
        0 => Cell { ground: 1.0, obstacle: 0.0, cost: 0.0 },
        1 => Cell { ground: 1.0, obstacle: 0.0, cost: 0.5 },
        2 => Cell { ground: 0.0, obstacle: 1.0, cost: 1.0 },
        _ => Cell { ground: 0.0, obstacle: 0.0, cost: 0.0 },
    };
    GroundGrid { size: [size.width, size.height], cells: ids.iter().map(cell).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::{Fit, input_transform};

    #[test]
    fn pixels_find_their_cells() {
        let transform = input_transform(Size::new(640, 480), Size::new(320, 240), Fit::Stretch, 0);
        let map = GridFromPicture::new(&transform, [80, 60]);
        // A cell is 8 pixels; the centre of the first one is between pixels 3 and 4.
        assert_eq!(map.place(Point2::new(3.5, 3.5)), Some([0.0, 0.0]));
        assert_eq!(map.place(Point2::new(11.5, 3.5)), Some([1.0, 0.0]));
        assert_eq!(map.place(Point2::new(-0.6, 3.5)), None);
        let crop = input_transform(Size::new(640, 480), Size::new(200, 200), Fit::Crop, 240);
        let map = GridFromPicture::new(&crop, [50, 50]);
        assert!(map.place(Point2::new(10.0, 240.0)).is_none());
        assert!(map.place(Point2::new(320.0, 240.0)).is_some());
    }

    #[test]
    fn between_cells_is_between_them() {
        let grid = from_ids(Size::new(2, 2), &[0, 2, 0, 2]);
        assert!((grid.sample([0.25, 0.5]).ground - 0.75).abs() < 1e-6);
        assert!((grid.sample([-3.0, 9.0]).ground - 1.0).abs() < 1e-6);
        assert!(grid.sample([f32::NAN, f32::INFINITY]).ground.is_finite());
        assert_eq!(GroundGrid::default().sample([0.0, 0.0]), Cell::default());
        assert!((from_ids(Size::new(1, 1), &[0]).sample([5.0, 5.0]).ground - 1.0).abs() < 1e-6);
    }
}
