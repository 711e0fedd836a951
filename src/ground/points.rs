//! The mask and the walk as point clouds.

use nalgebra::{Point2, Point3, Vector3};

use crate::geometry::{InputTransform, MaskSize, Size};

use super::beams::{BeamTable, End, Walk};
use super::camera_model::CameraModel;

/// Bytes of a point: x, y, z as little-endian float32, metres.
pub const POINT_STEP: usize = 12;

/// Free ground is given at most this densely along a ray, in metres: twice the usual cell of a costmap.
const GROUND_SPACING_M: f32 = 0.1;

/// `sensor_msgs/PointCloud2` of x, y, z; rows without padding.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cloud {
    /// Points a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// [`POINT_STEP`] bytes a point.
    pub data: Vec<u8>,
}

impl Cloud {
    /// A point; NaN where there is none.
    pub fn point(&self, index: usize) -> Option<[f32; 3]> {
        let bytes = self.data.get(index * POINT_STEP..)?;
        let axis = |axis: usize| {
            let bytes = bytes.get(4 * axis..4 * axis + 4)?;
            Some(f32::from_le_bytes(bytes.try_into().ok()?))
        };
        Some([axis(0)?, axis(1)?, axis(2)?])
    }

    fn restart(&mut self) {
        (self.width, self.height) = (0, 1);
        self.data.clear();
    }

    fn push(&mut self, point: [f32; 3]) {
        self.width += 1;
        point.iter().for_each(|axis| self.data.extend_from_slice(&axis.to_le_bytes()));
    }

    /// The feet of obstacles in the frame under the camera, raised to `z` metres.
    pub fn fill_feet(&mut self, table: &BeamTable, walk: &Walk, z: f32) {
        self.restart();
        for (ray, met) in walk.rays.iter().enumerate() {
            if let End::Foot(at) = met.end {
                let (sin, cos) = (table.azimuth(ray) as f32).sin_cos();
                self.push([at * cos, at * sin, z]);
            }
        }
    }

    /// Free ground in the frame under the camera, along each ray as far as it is free.
    pub fn fill_ground(&mut self, table: &BeamTable, walk: &Walk) {
        self.restart();
        for (ray, met) in walk.rays.iter().enumerate() {
            let [from, to] = met.free;
            // What is no number is no distance either.
            if !(to >= from) {
                continue;
            }
            let (sin, cos) = (table.azimuth(ray) as f32).sin_cos();
            let count = ((to - from) / GROUND_SPACING_M) as u32;
            for i in 0..=count {
                let at = to - i as f32 * GROUND_SPACING_M;
                self.push([at * cos, at * sin, 0.0]);
            }
        }
    }
}

/// Makes the organised cloud; keeps the direction of each pixel, which depends on the lens alone.
#[derive(Debug, Clone, Default)]
pub struct PixelRays {
    key: Option<(CameraModel, InputTransform, MaskSize, Size)>,
    /// Three planes x, y, z of directions of length 1 in the optical frame; NaN where a pixel has none.
    directions: [Vec<f32>; 3],
}

impl PixelRays {
    /// Fills an organised cloud of the mask's size in the camera's optical frame: each pixel of ground
    /// (`ids` 0 and 1) within the range, and the feet of obstacles, each at the mask's first obstacle
    /// pixel (id 2) along its ray. NaN everywhere else.
    pub fn fill(
        &mut self,
        cloud: &mut Cloud,
        ids: &[u8],
        size: Size,
        transform: &InputTransform,
        kind: MaskSize,
        (table, walk): (&BeamTable, &Walk),
    ) {
        let (camera, stance) = table.camera();
        let key = (*camera, *transform, kind, size);
        if self.key != Some(key) {
            self.follow(camera, transform.image_from_mask(kind, size), size);
            self.key = Some(key);
        }
        (cloud.width, cloud.height) = (size.width, size.height);
        cloud.data.resize(size.area() * POINT_STEP, 0);
        let up = stance.up.map(|axis| axis as f32);
        let height = stance.height as f32;
        // Of a direction of length 1: at the range's end it points down by as much.
        let least_down = height / height.hypot(table.reach.max_m as f32);
        let [xs, ys, zs] = &self.directions;
        let (points, _) = cloud.data.as_chunks_mut::<POINT_STEP>();
        for ((((point, id), x), y), z) in points.iter_mut().zip(ids).zip(xs).zip(ys).zip(zs) {
            let down = -(up.x * x + up.y * y + up.z * z);
            let is_ground = (*id <= 1) & (down >= least_down);
            let scale = if is_ground { height / down } else { f32::NAN };
            *point = bytes([x * scale, y * scale, z * scale]);
        }
        self.add_feet(points, ids, size, transform.image_from_mask(kind, size), (table, walk));
    }

    fn follow(&mut self, camera: &CameraModel, axes: [(f64, f64); 2], size: Size) {
        self.directions.iter_mut().for_each(Vec::clear);
        let [(sx, ox), (sy, oy)] = axes;
        for y in 0..size.height {
            for x in 0..size.width {
                let at = |pixel: u32, scale: f64, offset: f64| {
                    (f64::from(pixel) + 0.5) * scale + offset - 0.5
                };
                let direction = camera.unproject(Point2::new(at(x, sx, ox), at(y, sy, oy)));
                let direction = direction.unwrap_or(Vector3::repeat(f64::NAN));
                for (plane, axis) in self.directions.iter_mut().zip(direction.iter()) {
                    plane.push(*axis as f32);
                }
            }
        }
    }

    fn add_feet(
        &self,
        points: &mut [[u8; POINT_STEP]],
        ids: &[u8],
        size: Size,
        axes: [(f64, f64); 2],
        (table, walk): (&BeamTable, &Walk),
    ) {
        let (camera, _) = table.camera();
        let camera_from_ground = table.ground_from_camera.inverse();
        let [(sx, ox), (sy, oy)] = axes;
        for (ray, met) in walk.rays.iter().enumerate() {
            let End::Foot(at) = met.end else { continue };
            let (sin, cos) = table.azimuth(ray).sin_cos();
            let on_ground = |distance: f64| {
                camera_from_ground * Point3::new(distance * cos, distance * sin, 0.0)
            };
            let in_mask = |distance: f64| {
                let pixel = camera.project(on_ground(distance).coords)?;
                Some(Point2::new((pixel.x + 0.5 - ox) / sx, (pixel.y + 0.5 - oy) / sy))
            };
            let at = f64::from(at);
            let (Some(foot), Some(beyond)) = (in_mask(at), in_mask(at * 1.01)) else { continue };
            let outwards = beyond - foot;
            if outwards.norm() < 1e-9 {
                continue;
            }
            let outwards = outwards.normalize();
            // The arg-max may change a little farther out than the probability of ground.
            let pixel = (0..4).find_map(|i| {
                let at = foot + outwards * (f64::from(i) + 0.5);
                let is_inside = at.x >= 0.0
                    && at.y >= 0.0
                    && at.x < f64::from(size.width)
                    && at.y < f64::from(size.height);
                let index = at.y as usize * size.width as usize + at.x as usize;
                (is_inside && ids.get(index) == Some(&2)).then_some(index)
            });
            if let Some(point) = pixel.and_then(|index| points.get_mut(index)) {
                let foot = on_ground(at);
                *point = bytes([foot.x as f32, foot.y as f32, foot.z as f32]);
            }
        }
    }
}

#[inline(always)]
fn bytes(point: [f32; 3]) -> [u8; POINT_STEP] {
    let mut bytes = [0; POINT_STEP];
    for (to, axis) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(point) {
        *to = axis.to_le_bytes();
    }
    bytes
}
