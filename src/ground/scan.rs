//! The walk as a laser scan: for each beam the distance of the first obstacle.

use super::beams::{BeamTable, End, Walk};

/// `sensor_msgs/LaserScan` in the frame under the camera.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Scan {
    /// Direction of the first beam in radians, 0 ahead, positive to the left.
    pub angle_min: f32,
    /// Direction of the last beam.
    pub angle_max: f32,
    /// From one beam to the next.
    pub angle_increment: f32,
    /// How far the ground is walked, in metres.
    pub range_max: f32,
    /// By beam: metres to the foot; `+Inf` where the ground is free, NaN where nothing is known.
    pub ranges: Vec<f32>,
}

impl Scan {
    /// Writes what the rays met: of a beam, the distance within which as many of its rays as the rule
    /// for noise asks for have met an obstacle.
    pub fn fill(&mut self, table: &BeamTable, walk: &Walk) {
        let step = table.beam_step();
        self.angle_min = table.angle_min as f32;
        self.angle_increment = step as f32;
        self.angle_max = (table.angle_min + (table.beams.max(1) - 1) as f64 * step) as f32;
        self.range_max = table.reach.max_m as f32;
        let needed = table.needed_rays();
        self.ranges.clear();
        self.ranges.extend(walk.rays.chunks(table.rays_a_beam.max(1)).map(|beam| {
            let mut feet = [f32::INFINITY; 8];
            let ends = beam.iter().filter_map(|ray| match ray.end {
                End::Foot(at) => Some(at),
                _ => None,
            });
            feet.iter_mut().zip(ends).for_each(|(foot, end)| *foot = end);
            feet.sort_unstable_by(f32::total_cmp);
            let unknown = beam.iter().filter(|ray| matches!(ray.end, End::Unknown(_))).count();
            // To call a beam free takes most of its rays, however many an obstacle takes.
            let too_many = needed.min(beam.len().div_ceil(2));
            match feet[needed.min(feet.len()) - 1] {
                f32::INFINITY if unknown >= too_many => f32::NAN,
                range => range,
            }
        }));
    }
}
