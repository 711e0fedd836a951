//! Where views were taught, and what that says of where the robot is.

use nalgebra::{Matrix6, Quaternion, UnitQuaternion, Vector3, Vector6};

/// A pose in a frame.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Pose {
    /// Name of the frame, such as `map`.
    pub frame_id: String,
    /// x, y, z in metres.
    pub position: [f64; 3],
    /// x, y, z, w.
    pub orientation: [f64; 4],
}

/// A pose with its uncertainty.
#[derive(Debug, Clone, PartialEq)]
pub struct PoseEstimate {
    /// The mean.
    pub pose: Pose,
    /// Row-major 6x6 over x, y, z and the rotations about X, Y, Z, as in
    /// geometry_msgs/PoseWithCovariance.
    pub covariance: [f64; 36],
}

/// A view is never known better than this: half a metre and 15 degrees, one standard deviation.
const LEAST_METRES: f64 = 0.5;
const LEAST_RADIANS: f64 = 0.26;

impl Pose {
    /// Whether all numbers are finite and the quaternion has a length.
    pub fn is_valid(&self) -> bool {
        let finite = self.position.iter().chain(&self.orientation).all(|value| value.is_finite());
        finite && self.orientation.iter().map(|value| value * value).sum::<f64>() > 1e-6
    }

    fn rotation(&self) -> UnitQuaternion<f64> {
        let [x, y, z, w] = self.orientation;
        UnitQuaternion::from_quaternion(Quaternion::new(w, x, y, z))
    }
}

impl PoseEstimate {
    /// Mean and spread of weighted poses; those in another frame than the heaviest one's are left out.
    /// `None` without any of positive weight.
    ///
    /// The mean rotation is the eigenvector-free mean: quaternions on the heaviest one's side, summed
    /// by weight; its spread is that of the rotation vectors from the mean. To both the least
    /// uncertainty of a view is added.
    pub fn of<'a>(poses: impl IntoIterator<Item = (&'a Pose, f64)>) -> Option<Self> {
        let poses: Vec<_> = poses.into_iter().filter(|(_, weight)| *weight > 0.0).collect();
        let (heaviest, _) = poses.iter().max_by(|a, b| a.1.total_cmp(&b.1))?;
        let (frame_id, side_of) = (&heaviest.frame_id, heaviest.rotation());
        let poses: Vec<_> = poses.iter().filter(|(pose, _)| pose.frame_id == *frame_id).collect();
        let sum: f64 = poses.iter().map(|(_, weight)| weight).sum();
        let mut position = Vector3::zeros();
        let mut quaternion = Quaternion::new(0.0, 0.0, 0.0, 0.0);
        for (pose, weight) in &poses {
            position += Vector3::from(pose.position) * (weight / sum);
            let own = pose.rotation();
            let side = if own.coords.dot(&side_of.coords) < 0.0 { -1.0 } else { 1.0 };
            quaternion = Quaternion::from(quaternion.coords + own.coords * (side * weight / sum));
        }
        let rotation = UnitQuaternion::from_quaternion(quaternion);
        let mut covariance = Matrix6::zeros();
        for (pose, weight) in &poses {
            let moved = Vector3::from(pose.position) - position;
            // About the fixed axes, as the message has it.
            let turned = (pose.rotation() * rotation.inverse()).scaled_axis();
            let error = Vector6::new(moved.x, moved.y, moved.z, turned.x, turned.y, turned.z);
            covariance += error * error.transpose() * (weight / sum);
        }
        for axis in 0..3 {
            covariance[(axis, axis)] += LEAST_METRES * LEAST_METRES;
            covariance[(axis + 3, axis + 3)] += LEAST_RADIANS * LEAST_RADIANS;
        }
        let mut rows = [0.0; 36];
        for (index, value) in rows.iter_mut().enumerate() {
            *value = covariance[(index / 6, index % 6)];
        }
        let q = rotation.coords;
        let pose = Pose {
            frame_id: frame_id.clone(),
            position: position.into(),
            orientation: [q.x, q.y, q.z, q.w],
        };
        Some(Self { pose, covariance: rows })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pose(x: f64, yaw: f64) -> Pose {
        let (sine, cosine) = (yaw / 2.0).sin_cos();
        Pose {
            frame_id: "map".into(),
            position: [x, 0.0, 0.0],
            orientation: [0.0, 0.0, sine, cosine],
        }
    }

    #[test]
    fn one_view_gives_its_own_pose_with_the_least_uncertainty() {
        let only = pose(3.0, 0.5);
        let found = PoseEstimate::of([(&only, 0.4)]).unwrap();
        assert!((found.pose.position[0] - 3.0).abs() < 1e-9);
        assert!((found.pose.orientation[2] - 0.25_f64.sin()).abs() < 1e-9);
        assert!((found.covariance[0] - 0.25).abs() < 1e-9);
        assert!((found.covariance[35] - LEAST_RADIANS.powi(2)).abs() < 1e-9);
    }

    #[test]
    fn the_spread_of_matches_is_the_covariance() {
        let (a, mut b) = (pose(1.0, 0.2), pose(3.0, -0.2));
        // The same rotation, on the other side of the sphere.
        b.orientation.iter_mut().for_each(|value| *value *= -1.0);
        let found = PoseEstimate::of([(&a, 1.0), (&b, 1.0)]).unwrap();
        assert!((found.pose.position[0] - 2.0).abs() < 1e-9);
        assert!(found.pose.orientation[2].abs() < 1e-9);
        assert!((found.covariance[0] - 1.25).abs() < 1e-9, "{}", found.covariance[0]);
        assert!((found.covariance[35] - 0.04 - LEAST_RADIANS.powi(2)).abs() < 1e-9);
        // x and yaw vary against each other.
        assert!((found.covariance[5] + 0.2).abs() < 1e-9, "{}", found.covariance[5]);
    }

    #[test]
    fn a_light_pose_does_not_turn_the_mean_round() {
        let (light, a, b) =
            (pose(1.0, 0.0), pose(1.0, 170_f64.to_radians()), pose(1.0, -170_f64.to_radians()));
        let found = PoseEstimate::of([(&light, 1e-5), (&a, 1.0), (&b, 1.0)]).unwrap();
        assert!(found.pose.orientation[2].abs() > 0.999, "{:?}", found.pose.orientation);
        assert!(found.covariance[35] < 0.15, "{}", found.covariance[35]);
    }

    #[test]
    fn frames_are_not_mixed() {
        let (a, mut b) = (pose(1.0, 0.0), pose(9.0, 0.0));
        b.frame_id = "odom".into();
        let found = PoseEstimate::of([(&a, 0.3), (&b, 0.7)]).unwrap();
        assert_eq!((found.pose.frame_id.as_str(), found.pose.position[0]), ("odom", 9.0));
        assert!(PoseEstimate::of([(&a, 0.0)]).is_none());
    }
}
