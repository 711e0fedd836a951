//! What the picture shows of the ground: the horizon, arcs of equal distance, the feet of what stands on it.

use nalgebra::{Point2, Point3, Vector3};

use super::canvas::{Canvas, Color, Point};
use super::{Layer, WHITE};
use crate::ground::beams::{BeamTable, End, Walk};

const ARC: Color = [120, 200, 255];
const FOOT: Color = [255, 225, 60];
const HORIZON: Color = [255, 255, 255];

/// Distances of arcs, in metres.
const DISTANCES: [f64; 11] = [0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 7.0, 10.0, 20.0, 50.0, 100.0];
/// Points of an arc and of the horizon: one for each two degrees of a circle.
const POINTS: i32 = 180;

/// The ground of one frame, in pixels of its picture.
#[derive(Debug, Clone, Default)]
pub struct GroundLayer {
    horizon: Vec<Vec<Point>>,
    /// By metres from under the camera.
    arcs: Vec<(f64, Vec<Vec<Point>>)>,
    /// Where each arc is straight ahead.
    marks: Vec<(f64, Point)>,
    feet: Vec<Vec<Point>>,
}

impl GroundLayer {
    /// Of what was walked.
    pub fn new(table: &BeamTable, walk: &Walk) -> Self {
        let (camera, stance) = table.camera();
        let camera_from_ground = table.ground_from_camera.inverse();
        let see = |direction: Vector3<f64>| {
            let pixel = camera.project(direction).filter(|pixel| camera.contains(*pixel));
            pixel.map(|Point2 { coords }| [coords.x as f32 + 0.5, coords.y as f32 + 0.5])
        };
        let on_ground = |azimuth: f64, distance: f64| {
            let (sin, cos) = azimuth.sin_cos();
            let point = Point3::new(distance * cos, distance * sin, 0.0);
            see((camera_from_ground * point).coords)
        };
        let at_horizon = |azimuth: f64| {
            let (sin, cos) = azimuth.sin_cos();
            see(camera_from_ground.rotation * Vector3::new(cos, sin, 0.0))
        };
        let circle = || {
            (-POINTS / 2..=POINTS / 2)
                .map(|i| f64::from(i) * std::f64::consts::TAU / f64::from(POINTS))
        };
        let reach = table.reach.max_m;
        // As near as the camera is high, an arc is no more than a dot under it.
        let near = 0.3 * stance.height;
        let shown = DISTANCES.into_iter().filter(|distance| (near..=reach).contains(distance));
        let arcs = shown.map(|distance| {
            (distance, stretches(circle().map(|azimuth| on_ground(azimuth, distance))))
        });
        let arcs: Vec<_> = arcs.filter(|(_, pieces)| !pieces.is_empty()).collect();
        let ahead = |(distance, _): &(f64, _)| on_ground(0.0, *distance).map(|at| (*distance, at));
        let marks = arcs.iter().filter_map(ahead).collect();
        let foot = |(ray, found): (usize, &crate::ground::beams::Ray)| match found.end {
            End::Foot(distance) => on_ground(table.azimuth(ray), f64::from(distance)),
            End::Free | End::Unknown(_) => None,
        };
        let feet = stretches(walk.rays.iter().enumerate().map(foot));
        Self { horizon: stretches(circle().map(at_horizon)), arcs, marks, feet }
    }
}

/// Lines through what is in view, broken where it is not.
fn stretches(points: impl Iterator<Item = Option<Point>>) -> Vec<Vec<Point>> {
    let mut lines = vec![Vec::new()];
    for point in points {
        match (point, lines.last_mut()) {
            (Some(point), Some(line)) => line.push(point),
            (None, Some(line)) if !line.is_empty() => lines.push(Vec::new()),
            _ => {}
        }
    }
    lines.retain(|line| !line.is_empty());
    lines
}

impl Layer for GroundLayer {
    fn draw(&self, canvas: &mut Canvas<'_>) {
        let width = canvas.line_width() as f32;
        for line in &self.horizon {
            canvas.path(line, width, HORIZON);
        }
        for line in self.arcs.iter().flat_map(|(_, pieces)| pieces) {
            canvas.path(line, width, ARC);
        }
        let jump = 0.05 * canvas.size().width as f32;
        for line in &self.feet {
            let is_near = |a: &Point, b: &Point| (a[0] - b[0]).hypot(a[1] - b[1]) < jump;
            for part in line.chunk_by(is_near) {
                // A single foot is a line to itself.
                let part = if part.len() == 1 { &[part[0], part[0]] } else { part };
                canvas.path(part, 3.0 * width, FOOT);
            }
        }
        let px = canvas.name_px();
        let mut last: Option<f32> = None;
        for (distance, [x, y]) in &self.marks {
            let text = format!("{distance} m");
            let (strip, height) = canvas.strip_size(&text, px);
            // From near to far they come closer and closer.
            if last.is_none_or(|last| (last - y).abs() > height as f32) {
                canvas.write(&text, [x - strip as f32 / 2.0, y - height as f32 / 2.0], px, WHITE);
                last = Some(*y);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::{Fit, Size, input_transform};
    use crate::ground::beams::WalkRules;
    use crate::ground::grid::from_ids;
    use crate::ground::projector::Projector;
    use crate::ground::{CameraModel, Stance};
    use crate::result::Picture;

    const SIZE: Size = Size { width: 320, height: 240 };

    /// Level at 0.5 m, seeing 60 degrees across, with ground below row 120 and a wall from row 150 up on
    /// the left half.
    fn layer() -> GroundLayer {
        let camera = CameraModel::from_hfov(60.0, SIZE).unwrap();
        let stance = Stance::from_angles(0.5, 0.0, 0.0);
        let ids: Vec<u8> = (0..SIZE.width * SIZE.height)
            .map(|i| {
                let (x, y) = (i % SIZE.width, i / SIZE.width);
                if y >= 150 || (x >= 160 && y >= 120) { 0 } else { 2 }
            })
            .collect();
        let grid = from_ids(SIZE, &ids);
        let transform = input_transform(SIZE, SIZE, Fit::Stretch, 0);
        let rules = WalkRules { max_range_m: 6.0, ..WalkRules::default() };
        let mut projector = Projector::default();
        let (table, walk) = projector.run(&camera, &stance, &transform, &grid, &rules).unwrap();
        GroundLayer::new(table, walk)
    }

    #[test]
    fn a_level_camera_has_its_horizon_in_the_middle_row() {
        let layer = layer();
        let rows = layer.horizon.iter().flatten().map(|point| point[1]);
        assert!(layer.horizon.iter().flatten().count() > 20);
        assert!(rows.into_iter().all(|y| (y - 120.0).abs() < 0.01));
    }

    #[test]
    fn arcs_lie_where_the_distance_is_seen() {
        let layer = layer();
        let focal = 160.0 / 30_f32.to_radians().tan();
        let (_, [x, y]) = *layer.marks.iter().find(|(distance, _)| *distance == 2.0).unwrap();
        assert!(
            (x - 160.0).abs() < 0.01 && (y - 120.0 - focal * 0.5 / 2.0).abs() < 0.01,
            "{x} {y}"
        );
        // Nearer than the lower edge shows, there is none.
        assert!(layer.marks.iter().all(|(distance, _)| *distance >= 1.0));
        assert!(layer.marks.iter().any(|(distance, _)| *distance == 5.0));
    }

    #[test]
    fn feet_lie_on_the_lower_edge_of_what_stands_there() {
        let layer = layer();
        let feet: Vec<Point> = layer.feet.iter().flatten().copied().collect();
        assert!(feet.len() > 20);
        assert!(feet.iter().all(|[x, y]| *x < 163.0 && (y - 150.0).abs() < 2.0), "{feet:?}");
    }

    #[test]
    fn it_is_drawn_and_what_is_not_on_the_ground_stays() {
        let rgb = vec![100; 3 * (SIZE.width * SIZE.height) as usize];
        let mut picture = Picture { size: SIZE, rgb: rgb.clone() };
        layer().draw(&mut Canvas::new(&mut picture));
        let row = |y: usize| 3 * 320 * y..3 * 320 * (y + 1);
        assert_eq!(picture.rgb[row(60)], rgb[row(60)]);
        assert_ne!(picture.rgb[row(120)], rgb[row(120)]);
        assert_ne!(picture.rgb[row(150)], rgb[row(150)]);
    }
}
