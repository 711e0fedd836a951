//! Learning by driving: ground that the robot has stood on teaches the mask what ground looks like here.
//!
//! The network stays as it is. What is learnt is a [`Correction`]: a number that is added to the margin of
//! ground over everything else, cell by cell, linear in the features that the mask's last layer reads. It is
//! the solution of a ridge regression, so that it depends on sums alone: its cost does not grow with time, and
//! the same drive gives the same correction.
//!
//! - [`Memory`] keeps the frames of the last metres and marks in them what the robot has stood on since, or
//!   was stopped by.
//! - [`Statistics`] are the sums over the marked cells.
//! - [`GuardSet`] are cells of the shipped model's own validation pictures. They are the prior: where they
//!   say what a feature means, little is changed. And they are asked again after each fit: those that fall weigh
//!   more in the next, as do cells above the horizon of the last frames (`Horizon`) of which it makes ground. A
//!   correction by which they still fall is taken back, by tenths.
//! - [`Learner`] puts these together.

mod bumper;
mod cells;
mod correction;
mod footprint;
mod guard;
mod horizon;
mod learner;
mod memory;
mod state;
mod statistics;

pub use bumper::{BLOCKED_TYPES, Bumper};
pub use cells::Margins;
pub use correction::{Correction, CorrectionSlot};
pub use footprint::{Footprint, FootprintError};
pub use guard::{GuardError, GuardSet};
pub use learner::{Learner, Report, Verdict};
pub use memory::{BlockError, LeftOut, Mark, Memory, Seen};
pub use state::{Counts, State, StateError};
pub use statistics::Statistics;
