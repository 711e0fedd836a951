//! Rigid transforms, named `to_from_from`: `base_from_camera * point_in_camera` is the point in base.

use nalgebra::{Isometry3, Quaternion, Translation3, UnitQuaternion};

/// Rotation and translation in metres.
pub type Transform = Isometry3<f64>;

/// A transform from a message's numbers: translation `[x, y, z]` in metres, rotation `[x, y, z, w]`,
/// which need not be of length 1. `None` for numbers that are none and for a rotation of length 0.
pub fn from_parts(translation: [f64; 3], rotation: [f64; 4]) -> Option<Transform> {
    let [x, y, z, w] = rotation;
    // Scaled first: the square of a large number overflows.
    let largest = rotation.iter().fold(0.0_f64, |most, part| most.max(part.abs()));
    let is_usable = translation.iter().chain(&rotation).all(|value| value.is_finite());
    if !is_usable || largest < 1e-9 {
        return None;
    }
    let quaternion = Quaternion::new(w / largest, x / largest, y / largest, z / largest);
    let rotation = UnitQuaternion::new_normalize(quaternion);
    let [x, y, z] = translation;
    Some(Isometry3::from_parts(Translation3::new(x, y, z), rotation))
}

/// Translation `[x, y, z]` and rotation `[x, y, z, w]`.
pub fn to_parts(transform: &Transform) -> ([f64; 3], [f64; 4]) {
    let (t, r) = (&transform.translation.vector, transform.rotation.quaternion());
    ([t.x, t.y, t.z], [r.i, r.j, r.k, r.w])
}

/// The transform a share of the way from `a` to `b`: translation in a straight line, rotation along
/// the shorter arc (slerp), which tf2 does as well.
pub fn between(a: &Transform, b: &Transform, share: f64) -> Transform {
    let translation = a.translation.vector.lerp(&b.translation.vector, share);
    let turned = if a.rotation.coords.dot(&b.rotation.coords) < 0.0 {
        UnitQuaternion::new_unchecked(-b.rotation.into_inner())
    } else {
        b.rotation
    };
    let rotation = a.rotation.try_slerp(&turned, share, 1e-9).unwrap_or(turned);
    Isometry3::from_parts(translation.into(), rotation)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nalgebra::Vector3;

    #[test]
    fn halfway_is_halfway() {
        let a = Transform::identity();
        let turn = UnitQuaternion::from_axis_angle(&Vector3::z_axis(), 1.0);
        for b_rotation in [turn, UnitQuaternion::new_unchecked(-turn.into_inner())] {
            let b = Transform::from_parts(Vector3::new(2.0, 0.0, 4.0).into(), b_rotation);
            let half = between(&a, &b, 0.5);
            assert!((half.translation.vector - Vector3::new(1.0, 0.0, 2.0)).norm() < 1e-12);
            assert!((half.rotation.angle() - 0.5).abs() < 1e-9, "{}", half.rotation.angle());
        }
    }

    #[test]
    fn numbers_that_are_no_transform_are_refused() {
        assert!(from_parts([0.0; 3], [0.0; 4]).is_none());
        assert!(from_parts([f64::NAN, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]).is_none());
        assert!(from_parts([0.0; 3], [f64::INFINITY, 0.0, 0.0, 1.0]).is_none());
        let large = from_parts([1.0, 2.0, 3.0], [0.0, 0.0, 1e300, 0.0]).unwrap();
        let (t, r) = to_parts(&large);
        assert_eq!(t, [1.0, 2.0, 3.0]);
        assert!((r[2].abs() - 1.0).abs() < 1e-12);
    }
}
