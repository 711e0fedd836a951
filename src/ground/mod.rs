//! From the mask onto the ground: what a robot steers by, from one colour camera.
//!
//! ```text
//! camera_info -> CameraModel --.                                  .-> Scan
//! tf, or parameters -> Stance --+-> BeamTable --.                 +-> Cloud: points, feet, free ground
//! transform -> GridFromPicture -'  (kept while   +-> Walk (rays) -+
//!                                   all stay)    |                '-> LocalMap, with odometry by tf
//! probabilities of the mask -> GroundGrid -------'
//! ```
//!
//! Everything here is geometry on plain numbers: it knows neither topics nor files, and reads no clock.
//! The ground is a plane. One camera cannot know better: `docs/ground.md` says what that means.

#![allow(
    clippy::neg_cmp_op_on_partial_ord,
    reason = "NaN has to go the way of what is out of bounds"
)]

pub mod beams;
pub mod camera_model;
pub mod grid;
pub mod local_map;
pub mod points;
pub mod projector;
pub mod range;
pub mod reason;
pub mod scan;
pub mod stance;
pub mod tf_buffer;
pub mod transform;

#[cfg(test)]
mod scene_tests;

pub use camera_model::{CameraInfo, CameraModel, Roi, has_focal_lengths};
pub use reason::Reason;
pub use stance::Stance;
pub use transform::Transform;
