//! Probabilities of ground, obstacle and cost on the network's own grid: what distances are read from.

use crate::ground::grid::{Cell, GroundGrid};
use crate::manifest::{SegmentationSpec, Traversability};

use super::probability::{Logits, Planes};
use super::{ClassMapping, Grid, SegmentationHead};

/// Cost of what is lethal.
const LETHAL: f32 = 254.0;

impl SegmentationHead {
    /// The probability of ground (traversable and caution), of obstacles, and the expected cost of
    /// each cell. A grid with fewer logits than `spec` has classes for gives an empty one.
    pub fn ground(
        &mut self,
        grid: Grid<'_>,
        spec: &SegmentationSpec,
        mapping: &ClassMapping,
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
            let obstacle = kind(Traversability::Obstacle);
            let ground = [Traversability::Traversable, Traversability::Caution].map(kind);
            let cost = [logits.cost_sum(), logits.cost_sum() + 1].map(plane);
            for (x, cell) in cells.iter_mut().enumerate() {
                cell.ground = ground[0][x] + ground[1][x];
                cell.obstacle = obstacle[x];
                cell.cost = (cost[0][x] / cost[1][x].max(1e-6) / LETHAL).clamp(0.0, 1.0);
            }
        }
        GroundGrid { size: [grid.size.width, grid.size.height], cells }
    }
}
