//! The last seconds' ground as one map: rolls with the robot, forgets, and takes any number of cameras.
//!
//! Each cell keeps the mean of the costs that were seen there, weighted: a near view counts more than
//! a far one, an obstacle twice as much as free ground, and what was seen counts the less the longer
//! ago that is. A cell that was not seen for `memory_s` is unknown again.
//!
//! A frame is taken up cell by cell and not beam by beam: each cell asks the ray that passes through
//! it, so that no cell is left out far away and none counted twice close by.

use super::beams::{BeamTable, End, Walk};

/// Weights of a cell add up to this at most, so that what is gone is noticed within a few frames.
const MOST_WEIGHT: f32 = 6.0;
/// An obstacle's foot against free ground.
const FOOT_WEIGHT: f32 = 2.0;
/// Cells along a side at most.
pub const MOST_CELLS: usize = 1000;

/// Where the map lies and what it keeps.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MapRules {
    /// Side of the square in metres.
    pub size_m: f64,
    /// Side of a cell in metres.
    pub resolution_m: f64,
    /// How long a cell is kept that is not seen any more, in seconds.
    pub memory_s: f64,
}

/// A place on the map's plane: metres and radians.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct PlanarPose {
    /// Metres.
    pub x: f64,
    /// Metres.
    pub y: f64,
    /// Radians, counter-clockwise.
    pub yaw: f64,
}

impl PlanarPose {
    /// What is left of a transform on the plane.
    pub fn of(transform: &super::transform::Transform) -> Self {
        let ahead = transform.rotation * nalgebra::Vector3::x();
        let at = &transform.translation.vector;
        Self { x: at.x, y: at.y, yaw: ahead.y.atan2(ahead.x) }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct MapCell {
    cost: f32,
    /// 0: never seen.
    weight: f32,
    seen_ns: i64,
}

/// The map. Cells are row-major, from the corner with the least x and y.
#[derive(Debug, Clone)]
pub struct LocalMap {
    rules: MapRules,
    side: usize,
    /// The first cell, counted in cells from the frame's origin.
    first: [i64; 2],
    cells: Vec<MapCell>,
    /// The cells before the map rolls.
    rolled: Vec<MapCell>,
    /// 0 free to 100 lethal, -1 unknown.
    occupancy: Vec<i8>,
}

impl LocalMap {
    /// An empty map.
    pub fn new(rules: MapRules) -> Self {
        let resolution_m = rules.resolution_m.max(0.001);
        let side = ((rules.size_m / resolution_m).round() as usize).clamp(1, MOST_CELLS);
        Self {
            rules: MapRules { resolution_m, ..rules },
            side,
            first: [0; 2],
            cells: vec![MapCell::default(); side * side],
            rolled: Vec::new(),
            occupancy: Vec::new(),
        }
    }

    /// What it was made for.
    pub fn rules(&self) -> &MapRules {
        &self.rules
    }

    /// Cells along a side.
    pub fn side(&self) -> usize {
        self.side
    }

    /// The corner with the least x and y, in metres.
    pub fn origin(&self) -> [f64; 2] {
        self.first.map(|cell| cell as f64 * self.rules.resolution_m)
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.cells.fill(MapCell::default());
    }

    /// Moves the window so that its middle is at x, y; what leaves it is forgotten.
    pub fn centre(&mut self, x: f64, y: f64) {
        let half = self.side as i64 / 2;
        let cell = |at: f64| ((at / self.rules.resolution_m).round() as i64).saturating_sub(half);
        let first = [cell(x), cell(y)];
        if first == self.first {
            return;
        }
        std::mem::swap(&mut self.cells, &mut self.rolled);
        self.cells.clear();
        self.cells.resize(self.side * self.side, MapCell::default());
        let shift = [0, 1].map(|axis| i128::from(first[axis]) - i128::from(self.first[axis]));
        let side = self.side as i128;
        self.first = first;
        if shift.iter().any(|shift| shift.abs() >= side) {
            return;
        }
        let [dx, dy] = shift.map(|shift| shift as isize);
        let side = self.side as isize;
        // Columns that are in both windows, as the new one counts them.
        let (from, to) = ((-dx).max(0), (side - dx).min(side));
        for y in (-dy).max(0)..(side - dy).min(side) {
            let old = (y + dy) * side + from + dx;
            let new = y * side + from;
            let count = (to - from) as usize;
            self.cells[new as usize..][..count]
                .copy_from_slice(&self.rolled[old as usize..][..count]);
        }
    }

    /// Takes up what the rays of a frame met; `pose` is the frame under the camera on the map.
    pub fn add(&mut self, stamp_ns: i64, pose: PlanarPose, table: &BeamTable, walk: &Walk) {
        let resolution = self.rules.resolution_m;
        let (max, cell) = (table.reach.max_m, resolution as f32);
        let bounds = |at: f64, first: i64| {
            let index = |at: f64| (at / resolution).floor() - first as f64;
            let clamp = |index: f64| index.clamp(0.0, self.side as f64) as usize;
            clamp(index(at - max))..clamp(index(at + max) + 1.0)
        };
        let (xs, ys) = (bounds(pose.x, self.first[0]), bounds(pose.y, self.first[1]));
        let (sin, cos) = pose.yaw.sin_cos();
        let max = max as f32;
        let forget = (self.rules.memory_s.max(0.01) / 2.0 * 1e9) as f32;
        for row in ys {
            let y = (self.first[1] + row as i64) as f64 * resolution + resolution / 2.0 - pose.y;
            for column in xs.clone() {
                let x =
                    (self.first[0] + column as i64) as f64 * resolution + resolution / 2.0 - pose.x;
                let (ahead, left) = ((cos * x + sin * y) as f32, (cos * y - sin * x) as f32);
                let distance = ahead.hypot(left);
                if distance > max + cell {
                    continue;
                }
                let Some(ray) = table.ray_at(left.atan2(ahead)) else { continue };
                let Some(met) = walk.rays.get(ray) else { continue };
                let seen = match met.end {
                    End::Foot(foot) if distance >= foot - cell / 2.0 && distance <= foot + cell => {
                        (1.0, FOOT_WEIGHT)
                    }
                    _ if distance >= met.free[0] && distance <= met.free[1] => {
                        (walk.cost(table, ray, distance), 1.0)
                    }
                    _ => continue,
                };
                if seen.0.is_nan() {
                    continue;
                }
                let weight = seen.1 * (1.0 - 0.8 * (distance / max).min(1.0));
                let kept = &mut self.cells[row * self.side + column];
                let age = stamp_ns.saturating_sub(kept.seen_ns).max(0) as f32;
                let before = kept.weight * (-age / forget).exp();
                let before = before.min((MOST_WEIGHT - weight).max(0.0));
                let both = before + weight;
                if both > 0.0 {
                    kept.cost = (kept.cost * before + seen.0 * weight) / both;
                    kept.weight = both;
                    kept.seen_ns = stamp_ns.max(kept.seen_ns);
                }
            }
        }
    }

    /// The map at a time: expected cost 0 to 100, -1 where nothing was seen within the memory.
    pub fn occupancy(&mut self, now_ns: i64) -> &[i8] {
        let memory_ns = (self.rules.memory_s.max(0.0) * 1e9) as i64;
        self.occupancy.clear();
        self.occupancy.extend(self.cells.iter().map(|cell| {
            let is_known = cell.weight > 0.0 && now_ns.saturating_sub(cell.seen_ns) <= memory_ns;
            if is_known { (cell.cost.clamp(0.0, 1.0) * 100.0).round() as i8 } else { -1 }
        }));
        &self.occupancy
    }

    /// What [`LocalMap::occupancy`] gave last.
    pub fn last_occupancy(&self) -> &[i8] {
        &self.occupancy
    }
}
