//! Probabilities of ground, obstacle and cost on the network's own grid: what distances are read from.

use crate::ground::grid::{Cell, GroundGrid};
use crate::manifest::{SegmentationSpec, Traversability};
use crate::settings::{MaskKind, MaskSettings};

use super::probability::{KINDS, Logits, Planes};
use super::{ClassMapping, Grid, SegmentationHead};

/// Cost of what is lethal.
const LETHAL: f32 = 254.0;

impl SegmentationHead {
    /// The probability of ground (traversable and caution), of obstacles, and the expected cost of
    /// each cell, NaN where that is not known. What the mask shows as unknown, its most probable kind (or class, as
    /// `settings.kind` has it) being less than `settings.min_confidence`, is neither ground nor obstacle. A grid with
    /// fewer logits than `spec` has classes for gives an empty one.
    pub fn ground(
        &mut self,
        grid: Grid<'_>,
        spec: &SegmentationSpec,
        mapping: &ClassMapping,
        settings: &MaskSettings,
    ) -> GroundGrid {
        let classes = mapping.cost.len();
        let (width, height) = (grid.size.width as usize, grid.size.height as usize);
        if classes == 0 || grid.logits.len() < classes * width * height {
            return GroundGrid::default();
        }
        let costs = Some(&mapping.cost[..]);
        let kinds = &mapping.traversability[..];
        let logits = Logits { grid, classes, temperature: spec.temperature, kinds, costs };
        let mut planes = Planes::default();
        let mut cells = Vec::with_capacity(width * height);
        for row in 0..height {
            planes.fill(&logits, row);
            let start = cells.len();
            cells.resize(start + width, Cell::default());
            let cells = &mut cells[start..];
            let plane = |index: usize| &planes.values[index * width..][..width];
            let kind = |kind: Traversability| plane(logits.first_kind() + usize::from(kind.id()));
            let [free, caution, obstacle, _] = Traversability::ALL.map(kind);
            let cost = [logits.cost_sum(), logits.cost_sum() + 1].map(plane);
            // Of what the mask shows one of.
            let shown = match settings.kind {
                MaskKind::Semantic => 0..classes,
                MaskKind::Traversability => logits.first_kind()..logits.first_kind() + KINDS,
            };
            let most_probable =
                |x: usize| shown.clone().map(|index| plane(index)[x]).fold(f32::NAN, f32::max);
            for (x, cell) in cells.iter_mut().enumerate() {
                if settings.min_confidence > 0.0 && most_probable(x) < settings.min_confidence {
                    *cell = Cell { cost: f32::NAN, ..Cell::default() };
                    continue;
                }
                cell.ground = free[x] + caution[x];
                cell.obstacle = obstacle[x];
                // Where what has no cost is more probable than the rest, there is none.
                let is_known = cost[1][x] >= 0.5;
                let mean = (cost[0][x] / cost[1][x] / LETHAL).clamp(0.0, 1.0);
                cell.cost = if is_known { mean } else { f32::NAN };
            }
        }
        GroundGrid { size: [grid.size.width, grid.size.height], cells }
    }
}
