//! What a frame gives: plain data, ready for messages, files and pictures.

use std::ops::{BitAnd, BitOr};

use crate::geometry::{InputTransform, Rect, Size};
use crate::ground::grid::GroundGrid;
use crate::settings::MaskKind;
use crate::timing::StageTimes;

/// What is wanted of a frame; the rest is not computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Wanted {
    /// Image classification.
    pub labels: bool,
    /// The mask, its confidence, or both.
    pub mask: bool,
    /// The class of each pixel, beside the mask; a mask of classes needs it without being asked.
    pub classes: bool,
    /// The cost of each pixel.
    pub cost: bool,
    /// Boxes of obstacle regions.
    pub obstacles: bool,
    /// The place descriptor.
    pub embedding: bool,
    /// The descriptor that taught labels are known by.
    pub taught: bool,
    /// Places, recognised by who keeps the gallery; what that takes has to be wanted beside it.
    pub places: bool,
    /// Probabilities of ground on the network's own grid, which the ground's outputs are made from.
    pub ground: bool,
    /// What learning by driving learns from.
    pub cells: bool,
    /// The picture itself as rgb8, for overlays and thumbnails.
    pub picture: bool,
}

impl Wanted {
    /// Nothing.
    pub const NONE: Self = Self {
        labels: false,
        mask: false,
        classes: false,
        cost: false,
        obstacles: false,
        embedding: false,
        taught: false,
        places: false,
        ground: false,
        cells: false,
        picture: false,
    };

    /// Everything.
    pub const ALL: Self = Self {
        labels: true,
        mask: true,
        classes: true,
        cost: true,
        obstacles: true,
        embedding: true,
        taught: true,
        places: true,
        ground: true,
        cells: true,
        picture: true,
    };

    /// Whether anything is wanted.
    pub fn any(self) -> bool {
        self != Self::default()
    }

    /// Whether the segmentation branch has to run.
    pub fn segmentation(self) -> bool {
        self.maps() || self.ground || self.cells
    }

    /// Whether a map of the picture's pixels has to be made.
    pub fn maps(self) -> bool {
        self.mask || self.classes || self.cost || self.obstacles
    }
}

impl Wanted {
    /// Part by part.
    fn with(self, other: Self, join: impl Fn(bool, bool) -> bool) -> Self {
        Self {
            labels: join(self.labels, other.labels),
            mask: join(self.mask, other.mask),
            classes: join(self.classes, other.classes),
            cost: join(self.cost, other.cost),
            obstacles: join(self.obstacles, other.obstacles),
            embedding: join(self.embedding, other.embedding),
            taught: join(self.taught, other.taught),
            places: join(self.places, other.places),
            ground: join(self.ground, other.ground),
            cells: join(self.cells, other.cells),
            picture: join(self.picture, other.picture),
        }
    }
}

impl BitOr for Wanted {
    type Output = Self;

    /// What is wanted for one or the other.
    fn bitor(self, other: Self) -> Self {
        self.with(other, |a, b| a || b)
    }
}

impl BitAnd for Wanted {
    type Output = Self;

    /// What of one is in the other.
    fn bitand(self, other: Self) -> Self {
        self.with(other, |a, b| a && b)
    }
}

/// One class of an image, of the network or of the user's own.
#[derive(Debug, Clone, PartialEq)]
pub struct Label {
    /// Readable name.
    pub name: String,
    /// Index in the model's class list; the user's own classes follow after its last.
    pub index: usize,
    /// Calibrated probability, 0 to 1.
    pub score: f32,
}

/// Per-pixel results, row-major, without padding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Maps {
    /// Of all maps here.
    pub size: Size,
    /// The model's class id of each pixel, the most probable of its traversability, or with `mask.kind:
    /// semantic` of all; 255 where the confidence is too low; empty when not wanted.
    pub semantic: Vec<u8>,
    /// 0 traversable, 1 caution, 2 obstacle, 3 background, 255 unknown: the one with the largest
    /// probability in sum over its classes.
    pub traversability: Vec<u8>,
    /// Probability of the traversability, or with `mask.kind: semantic` of the class; 0 to 255 for 0 to 1.
    pub confidence: Vec<u8>,
    /// Expected cost in Nav2 units, 0 to 254, 255 unknown; empty when not wanted.
    pub cost: Vec<u8>,
}

impl Maps {
    /// The mask of a kind.
    pub fn ids(&self, kind: MaskKind) -> &[u8] {
        match kind {
            MaskKind::Semantic => &self.semantic,
            MaskKind::Traversability => &self.traversability,
        }
    }
}

/// Probabilities of ground, and where the grid lies in the picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Ground {
    /// The network's own grid.
    pub grid: GroundGrid,
    /// How the picture became the network's input.
    pub transform: InputTransform,
}

/// Features of the mask and the shipped model's margin of ground, on a coarse grid: what learning by driving
/// learns from. Cell `(x, y)` is the `y * columns + x`-th.
#[derive(Debug, Clone, PartialEq)]
pub struct Cells {
    /// Columns and rows.
    pub size: [u32; 2],
    /// Features of a cell.
    pub channels: usize,
    /// By cell, then by channel.
    pub features: Vec<f32>,
    /// By cell: the logarithm of the odds of ground, all its classes together.
    pub margins: Vec<f32>,
    /// How the picture became the network's input, which the cells cover.
    pub transform: InputTransform,
    /// How many the input has room for, each way: a part of one may be left over.
    pub room: [f64; 2],
}

impl Cells {
    /// Number of cells.
    pub fn count(&self) -> usize {
        self.margins.len()
    }

    /// A cell's features.
    pub fn of(&self, cell: usize) -> &[f32] {
        &self.features[cell * self.channels..][..self.channels]
    }

    /// The picture's pixel in a cell's middle; `[0, 0]` is the middle of the first one.
    pub fn pixel(&self, cell: usize) -> [f64; 2] {
        middle(&self.transform, self.size[0], self.room, cell)
    }

    /// Whether a cell's middle shows some of the picture, and not the bars beside it.
    pub fn is_in_picture(&self, cell: usize) -> bool {
        let [x, y] = self.pixel(cell).map(|at| at.round());
        let Size { width, height } = self.transform.image_size;
        (0.0..f64::from(width)).contains(&x) && (0.0..f64::from(height)).contains(&y)
    }

    /// What a map of the picture, row-major and so wide, says at a cell's middle; `None` beside the picture.
    pub fn at(&self, cell: usize, map: &[u8], width: u32) -> Option<u8> {
        let [x, y] = self.pixel(cell).map(|at| at.round().max(0.0) as usize);
        let width = width as usize;
        (self.is_in_picture(cell) && x < width).then(|| map.get(y * width + x).copied()).flatten()
    }
}

/// The picture's pixel in the middle of the `cell`-th of the cells of rows of `columns`, of which the network's input has room
/// for that many (the last one may be a part) each way.
pub fn middle(transform: &InputTransform, columns: u32, room: [f64; 2], cell: usize) -> [f64; 2] {
    let (column, row) = (cell as u32 % columns.max(1), cell as u32 / columns.max(1));
    let [x, y] = transform.image_from_tensor();
    let input = transform.input_size;
    let middle = |(scale, offset): (f64, f64), at: u32, cells: f64, side: u32| {
        scale * (f64::from(at) + 0.5) * f64::from(side) / cells + offset - 0.5
    };
    [middle(x, column, room[0], input.width), middle(y, row, room[1], input.height)]
}

/// A place in the picture of which the answer is another one by what was learnt.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Experience {
    /// Where in the picture.
    pub pixel: [f64; 2],
    /// Whether it is ground now; it was the opposite.
    pub is_ground: bool,
}

/// A connected region of one obstacle class.
#[derive(Debug, Clone, PartialEq)]
pub struct Obstacle {
    /// The class's name.
    pub class: String,
    /// Its id in the semantic mask.
    pub class_id: u8,
    /// Mean confidence of the region, 0 to 1.
    pub score: f32,
    /// Its bounding box in source pixels.
    pub bounding_box: Rect,
    /// Its area in source pixels.
    pub area_px: f64,
}

/// The picture as interleaved red, green, blue bytes without padding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// Width and height.
    pub size: Size,
    /// `3 * width * height` bytes.
    pub rgb: Vec<u8>,
}

/// What was measured of a picture; grey levels are 0 to 255.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ImageMeasures {
    /// Mean grey level.
    pub mean: f32,
    /// A tenth of the cells is brighter.
    pub bright: f32,
    /// Share of cells whose mean is at least 250.
    pub saturated: f32,
    /// Share of cells without texture.
    pub flat: f32,
    /// Largest step between neighbouring samples as a share of the strip's range, median over the
    /// fifth of the strips with most contrast; 1 where no strip has contrast enough to say.
    pub sharpness: f32,
    /// Standard deviation of the noise (Immerkaer, "Fast Noise Variance Estimation", 1996), in the
    /// cell that is smoother than four fifths of those neither black nor white.
    pub noise: f32,
    /// Share of the rows of cells, counted from below, that are one grey or one row repeated.
    pub dead_rows: f32,
    /// Of all samples; the same for the same picture.
    pub fingerprint: u64,
}

/// All that one frame gave. What was not wanted, or the model has no head for, is `None`.
#[derive(Debug, Clone, PartialEq)]
pub struct FrameResult {
    /// The camera picture's size.
    pub image_size: Size,
    /// What the picture itself is like; `None` where nobody checks, or it is too small to tell.
    pub image: Option<ImageMeasures>,
    /// Best first.
    pub labels: Option<Vec<Label>>,
    /// Mask, confidence, cost.
    pub maps: Option<Maps>,
    /// Where they lie in the picture, see [`InputTransform::image_from_mask`].
    pub image_from_mask: [(f64, f64); 2],
    /// The most dangerous, that is lowest in the picture, first.
    pub obstacles: Option<Vec<Obstacle>>,
    /// Unit-length place descriptor.
    pub embedding: Option<Vec<f32>>,
    /// Unit-length descriptor that taught labels are known by.
    pub taught_embedding: Option<Vec<f32>>,
    /// Places, best first; set by who keeps the gallery, never by the pipeline.
    pub places: Option<Vec<Label>>,
    /// What the mask says of the ground, before it is brought to the picture's size.
    pub ground: Option<Ground>,
    /// What learning by driving learns from: of the shipped model, whatever was learnt.
    pub cells: Option<Cells>,
    /// Where what was learnt changes the answer; made with the picture alone.
    pub experience: Vec<Experience>,
    /// The picture.
    pub picture: Option<Picture>,
    /// Time of each stage.
    pub times: StageTimes,
}

impl FrameResult {
    /// Of a picture of that size, with nothing in it yet.
    pub fn new(image_size: Size) -> Self {
        Self {
            image_size,
            image: None,
            labels: None,
            maps: None,
            image_from_mask: [(1.0, 0.0); 2],
            obstacles: None,
            embedding: None,
            taught_embedding: None,
            places: None,
            ground: None,
            cells: None,
            experience: Vec::new(),
            picture: None,
            times: StageTimes::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::{Fit, input_transform};

    #[test]
    fn bars_beside_the_picture_are_none_of_it() {
        // 16:9 in 4:3: an eighth above and below are bars.
        let (image, size) = (Size::new(640, 360), [8, 8]);
        let transform = input_transform(image, Size::new(480, 360), Fit::Letterbox, 0);
        let (features, margins) = (vec![0.0; 64], vec![0.0; 64]);
        let cells =
            Cells { size, channels: 1, features, margins, transform, room: size.map(f64::from) };
        let inside: Vec<bool> = (0..8).map(|row| cells.is_in_picture(row * 8 + 3)).collect();
        assert_eq!(inside, [false, true, true, true, true, true, true, false]);
        let map = vec![7; image.area()];
        assert_eq!([3, 11, 59].map(|cell| cells.at(cell, &map, 640)), [None, Some(7), None]);
    }
}
