//! Segmentation logits to mask, confidence and cost, at the size of the picture.
//!
//! The softmax is taken on the network's coarse grid; its probabilities, and the expected cost
//! with them, are interpolated bilinearly (half-pixel convention, clamped at the edges) straight
//! to the wanted size, and the arg-max is taken there: the most probable traversability, whose probability
//! is the sum over its classes, and of these the most probable one. What is road or pavement, the network
//! cannot say which, is ground all the same. A mask of classes has the most probable of all. All of it is
//! one pass over the output.
//!
//! ```
//! use squeezenet_node::geometry::{Fit, Size, input_transform};
//! use squeezenet_node::head::segmentation::{ClassMapping, Grid, SegmentationHead};
//! use squeezenet_node::manifest::{SegmentationClass, SegmentationSpec, Traversability};
//! use squeezenet_node::result::Wanted;
//! use squeezenet_node::settings::MaskSettings;
//!
//! let class = |name: &str, traversability, cost| SegmentationClass {
//!     name: name.to_owned(),
//!     color: [0; 3],
//!     traversability,
//!     cost,
//! };
//! let spec = SegmentationSpec {
//!     output: "segmentation".to_owned(),
//!     temperature: 1.0,
//!     classes: vec![
//!         class("road", Traversability::Traversable, 0),
//!         class("wall", Traversability::Obstacle, 254),
//!     ],
//! };
//! let settings = MaskSettings::default();
//! let mapping = ClassMapping::new(&spec, &settings);
//! let transform = input_transform(Size::new(8, 4), Size::new(64, 64), Fit::Stretch, 0);
//! // Two classes on a grid of 2x1 cells: road on the left, wall on the right.
//! let grid = Grid::new(&[9.0, 0.0, 0.0, 9.0], Size::new(2, 1));
//!
//! let mut head = SegmentationHead::default();
//! let maps = head.run(grid, &transform, &spec, &mapping, &settings, Wanted::ALL);
//! assert_eq!(maps.semantic[..8], [0, 0, 0, 0, 1, 1, 1, 1]);
//! assert_eq!(maps.traversability[..8], [0, 0, 0, 0, 2, 2, 2, 2]);
//! assert_eq!((maps.cost[0], maps.cost[7]), (0, 254));
//! head.recycle(maps); // the next run writes into the same memory
//! ```

mod axis;
mod ground;
mod odds;
mod probability;
mod upsample;

use crate::geometry::{InputTransform, MaskSize, Size};
use crate::manifest::{SegmentationSpec, Traversability};
use crate::result::{Maps, Wanted};
use crate::settings::{MaskKind, MaskSettings};
use crate::threads::Threads;

use axis::Axis;
pub use odds::{Steady, add_to_ground, log_odds};
use probability::Logits;
use upsample::{Rules, Upsampler};

/// The id of a pixel that is not known.
pub const UNKNOWN: u8 = 255;

/// A grid of logits that covers the network's input.
#[derive(Debug, Clone, Copy)]
pub struct Grid<'a> {
    /// `[classes, height, width]`, row-major, before what `shuffle` says is done.
    pub logits: &'a [f32],
    /// Cells, multiples of the shuffle's block.
    pub size: Size,
    /// What has still to be done.
    pub shuffle: PixelShuffle,
}

impl<'a> Grid<'a> {
    /// Logits `[classes, height, width]`, row-major.
    pub fn new(logits: &'a [f32], size: Size) -> Self {
        Self { logits, size, shuffle: PixelShuffle::default() }
    }
}

/// ONNX's `DepthToSpace`: the cells of each square of `block` by `block` are channels of a coarser
/// grid, `[classes * block * block, height / block, width / block]` (the sub-pixel convolution of Shi
/// et al. 2016, "Real-Time Single Image and Video Super-Resolution Using an Efficient Sub-Pixel
/// Convolutional Neural Network").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PixelShuffle {
    /// 1 moves nothing.
    pub block: u32,
    /// The order of the channels.
    pub mode: ShuffleMode,
}

/// The order of the channels of a [`PixelShuffle`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShuffleMode {
    /// `DCR`: row in the square, column in the square, class.
    DepthFirst,
    /// `CRD`, PyTorch's `PixelShuffle`: class, row in the square, column in the square.
    ColumnsFirst,
}

impl Default for PixelShuffle {
    /// Moves nothing.
    fn default() -> Self {
        Self { block: 1, mode: ShuffleMode::DepthFirst }
    }
}

impl PixelShuffle {
    /// Channels a class.
    pub fn channels(self) -> usize {
        (self.block * self.block) as usize
    }

    /// The channel of a class's cells in that row and column of each square.
    fn channel(self, class: usize, classes: usize, row: usize, column: usize) -> usize {
        let in_square = row * self.block as usize + column;
        match self.mode {
            ShuffleMode::DepthFirst => in_square * classes + class,
            ShuffleMode::ColumnsFirst => class * self.channels() + in_square,
        }
    }
}

/// Makes masks; keeps its buffers from frame to frame.
#[derive(Debug, Default)]
pub struct SegmentationHead {
    threads: Threads,
    upsampler: Upsampler,
    /// The axes of the last run, and what they were made for: cameras seldom change their size.
    axes: Option<(AxesKey, [Axis; 2])>,
    recycled: Option<Maps>,
}

type AxesKey = (InputTransform, MaskSize, Size);

/// What each class means under the settings in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassMapping {
    /// Traversability id by class.
    pub traversability: Vec<u8>,
    /// Cost by class, 0 to 254, or 255 for unknown.
    pub cost: Vec<u8>,
}

impl ClassMapping {
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

    /// Whether each class is ground: traversable or caution.
    pub fn is_ground(&self) -> Vec<bool> {
        self.traversability.iter().map(|id| Traversability::is_ground(*id)).collect()
    }

    /// Whether a class is an obstacle.
    pub fn is_obstacle(&self, class: u8) -> bool {
        self.traversability.get(class as usize) == Some(&Traversability::Obstacle.id())
    }
}

impl SegmentationHead {
    /// One that works on those threads; [`SegmentationHead::default`] does on the calling one.
    pub fn new(threads: Threads) -> Self {
        Self { threads, ..Self::default() }
    }

    /// Mask, confidence and, if wanted, cost.
    ///
    /// The confidence is the probability of what the mask of `settings.kind` says: of the
    /// traversability, or of the class.
    ///
    /// The cost of a pixel is the mean over the classes with a known cost, weighted by their
    /// probabilities; it is unknown (255) where those classes have less than half of the
    /// probability together. Pixels of a confidence below `settings.min_confidence` are unknown
    /// in mask and cost. Those outside of what the network saw, which a centre crop leaves, are
    /// unknown too, of confidence 0. A grid with fewer logits than `spec` has classes for gives
    /// maps in which nothing is known.
    ///
    /// Of `wanted`, classes (which obstacles are found by) and cost decide which maps are made beside
    /// traversability and confidence.
    pub fn run(
        &mut self,
        grid: Grid<'_>,
        transform: &InputTransform,
        spec: &SegmentationSpec,
        mapping: &ClassMapping,
        settings: &MaskSettings,
        wanted: Wanted,
    ) -> Maps {
        let want_classes =
            wanted.classes || wanted.obstacles || settings.kind == MaskKind::Semantic;
        let size = match settings.size {
            MaskSize::Source => transform.image_size,
            MaskSize::Network => transform.input_size,
            MaskSize::Grid => grid.size,
        };
        let key = (*transform, settings.size, grid.size);
        if self.axes.as_ref().is_none_or(|(made_for, _)| *made_for != key) {
            self.axes = Some((key, axis::axes(transform, settings.size, grid.size, size)));
        }
        let classes = mapping.cost.len();
        let cells = grid.size.area();
        let is_usable = classes > 0
            && mapping.traversability.len() == classes
            && cells > 0
            && grid.logits.len() >= classes * cells;
        let seen = match &self.axes {
            Some((_, axes)) if is_usable => Some(axes),
            _ => None,
        };
        let is_all_seen = seen.is_some_and(|[x, y]| {
            x.outputs() == size.width as usize && y.outputs() == size.height as usize
        });
        let made = [want_classes, wanted.cost];
        let mut maps = blank(self.recycled.take(), size, made, is_all_seen);
        if let Some([x, y]) = seen {
            let logits = Logits {
                grid,
                classes,
                temperature: spec.temperature,
                kinds: &mapping.traversability,
                costs: wanted.cost.then_some(&mapping.cost[..]),
            };
            let rules = Rules {
                kind: settings.kind,
                want_classes,
                min_confidence: settings.min_confidence,
            };
            let (upsampler, maps) = (&mut self.upsampler, &mut maps);
            self.threads.run(|| upsampler.run(&logits, [x, y], rules, maps));
        }
        maps
    }

    /// Takes back maps of a frame that is done with, so that the next run needs no new memory.
    pub fn recycle(&mut self, maps: Maps) {
        self.recycled = Some(maps);
    }
}

/// Maps of `size`; those that are not going to be written all over are made unknown.
fn blank(
    recycled: Option<Maps>,
    size: Size,
    [want_classes, want_cost]: [bool; 2],
    is_all_written: bool,
) -> Maps {
    let mut maps = recycled.unwrap_or_else(|| Maps {
        size,
        semantic: Vec::new(),
        traversability: Vec::new(),
        confidence: Vec::new(),
        cost: Vec::new(),
    });
    maps.size = size;
    let reset = |map: &mut Vec<u8>, len: usize, value: u8| {
        if !is_all_written {
            map.clear();
        }
        map.resize(len, value);
    };
    reset(&mut maps.semantic, if want_classes { size.area() } else { 0 }, UNKNOWN);
    reset(&mut maps.traversability, size.area(), UNKNOWN);
    reset(&mut maps.confidence, size.area(), 0);
    reset(&mut maps.cost, if want_cost { size.area() } else { 0 }, UNKNOWN);
    maps
}

#[cfg(test)]
mod tests;
