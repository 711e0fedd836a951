//! ROS messages as plain data, in the form in which they travel: CDR. The same bytes go to the
//! middleware and into a bag.

pub mod cdr;
pub mod definition;
mod types;

pub use types::*;
