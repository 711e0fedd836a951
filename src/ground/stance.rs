//! How a camera stands over the ground: its height, and which way is up in its picture.

use nalgebra::{Isometry3, Matrix3, Rotation3, UnitQuaternion, Vector3};

use super::reason::Reason;
use super::transform::Transform;

/// A camera over a plane. That is all that projecting to the ground takes: where the camera stands on
/// the plane, and which way it is turned there, is the robot's business.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stance {
    /// The plane's normal in the camera's optical frame, of length 1.
    pub up: Vector3<f64>,
    /// The camera's height over the plane in metres, over 0.
    pub height: f64,
}

impl Stance {
    /// From the transform from the camera's optical frame to one whose z = 0 is the ground.
    ///
    /// # Errors
    /// [`Reason::NotAboveGround`], naming that frame.
    pub fn from_transform(base_from_camera: &Transform, frame: &str) -> Result<Self, Reason> {
        let height = base_from_camera.translation.z;
        // Lower cameras see nothing, and heights of rounding errors are none.
        if !(height > 0.005) {
            return Err(Reason::NotAboveGround { height_m: height, frame: frame.to_owned() });
        }
        Ok(Self { up: base_from_camera.rotation.inverse() * Vector3::z(), height })
    }

    /// From a height in metres over 0, and angles in radians: pitch positive with the camera looking
    /// down, roll with its right side down (REP 103: turns about y and x of a body with x ahead, y
    /// left, z up; roll first).
    pub fn from_angles(height: f64, pitch: f64, roll: f64) -> Self {
        // Columns: where the optical axes x right, y down, z ahead point in the body.
        let body_from_optical = Matrix3::new(0.0, 0.0, 1.0, -1.0, 0.0, 0.0, 0.0, -1.0, 0.0);
        let ground_from_body = Rotation3::from_euler_angles(roll, pitch, 0.0);
        let up = (ground_from_body.matrix() * body_from_optical).transpose() * Vector3::z();
        Self { up: up.normalize(), height }
    }

    /// How far the optical axis points below the horizon, in radians.
    pub fn pitch(&self) -> f64 {
        -self.up.z.clamp(-1.0, 1.0).asin()
    }

    /// The transform to the frame `<frame_id>_ground`: the origin on the ground under the camera, x
    /// where the optical axis points along the ground, z up. For a camera that looks straight down, x
    /// is where the picture's upper edge points.
    pub fn ground_from_camera(&self) -> Transform {
        let level = |axis: Vector3<f64>| axis - self.up * self.up.dot(&axis);
        let ahead = level(Vector3::z());
        let ahead = if ahead.norm() > 1e-3 {
            ahead
        } else {
            level(Vector3::y()) * if self.up.z < 0.0 { -1.0 } else { 1.0 }
        };
        let x = ahead.normalize();
        let y = self.up.cross(&x);
        let rows = Matrix3::from_rows(&[x.transpose(), y.transpose(), self.up.transpose()]);
        let rotation = Rotation3::from_matrix_unchecked(rows);
        let rotation = UnitQuaternion::from_rotation_matrix(&rotation);
        Isometry3::from_parts(Vector3::new(0.0, 0.0, self.height).into(), rotation)
    }

    /// The point of the ground in a direction, both in the optical frame; `None` at and over the
    /// horizon.
    pub fn hit(&self, direction: Vector3<f64>) -> Option<Vector3<f64>> {
        let down = -self.up.dot(&direction);
        (down > 1e-9 * direction.norm()).then(|| direction * (self.height / down))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn positive_pitch_looks_down_and_positive_roll_lowers_the_right() {
        let level = Stance::from_angles(1.0, 0.0, 0.0);
        assert!((level.up + Vector3::y()).norm() < 1e-12, "{:?}", level.up);
        let down = Stance::from_angles(1.0, 0.3, 0.0);
        assert!((down.pitch() - 0.3).abs() < 1e-12);
        assert!(down.hit(Vector3::z()).is_some() && level.hit(Vector3::z()).is_none());
        // With the right side down, the ground comes up on the right of the picture.
        let rolled = Stance::from_angles(1.0, 0.0, 0.1);
        assert!(rolled.hit(Vector3::new(1.0, 0.0, 1.0)).is_some());
        assert!(rolled.hit(Vector3::new(-1.0, 0.0, 1.0)).is_none());
    }

    #[test]
    fn a_camera_in_the_ground_is_refused() {
        let frame = "base_link";
        for z in [0.0, -0.3, f64::NAN] {
            let transform = Transform::translation(0.0, 0.0, z);
            let reason = Stance::from_transform(&transform, frame).unwrap_err();
            assert!(reason.to_string().contains("base_link"), "{reason}");
        }
    }

    proptest! {
        #[test]
        fn the_ground_frame_lies_under_the_camera(
            height in 0.01..50.0, pitch in -1.5..1.5, roll in -3.2..3.2,
        ) {
            let stance = Stance::from_angles(height, pitch, roll);
            let ground_from_camera = stance.ground_from_camera();
            let camera = ground_from_camera * nalgebra::Point3::origin();
            prop_assert!((camera.coords - Vector3::new(0.0, 0.0, height)).norm() < 1e-9);
            prop_assert!((ground_from_camera.rotation * stance.up - Vector3::z()).norm() < 1e-9);
            let again = Stance::from_transform(&ground_from_camera, "").unwrap();
            prop_assert!((again.up - stance.up).norm() < 1e-9);
            let axis = ground_from_camera.rotation * Vector3::z();
            prop_assert!(axis.y.abs() < 1e-6 && axis.x > -1e-9, "{axis:?}");
            if let Some(hit) = stance.hit(Vector3::new(0.2, 0.4, 1.0)) {
                let hit = ground_from_camera * nalgebra::Point3::from(hit);
                prop_assert!(hit.z.abs() < 1e-6 * (1.0 + hit.coords.norm()));
            }
        }
    }
}
