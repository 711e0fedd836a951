//! ROS messages as plain data, in the form in which they travel: CDR. The same bytes go to the
//! middleware and into a bag.

pub mod cdr;
pub mod definition;
mod geometry;
mod types;

pub use geometry::*;
pub use types::*;
