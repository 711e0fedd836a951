//! Places and labels that are taught by showing them: descriptors of views, a gallery of what was
//! taught, and what a new view is taken for.
//!
//! ```text
//! feature maps -> descriptor -> gallery -> recognition -> filter -> names, best first
//!                                 file
//! ```

mod codes;
mod file;
mod filter;
mod gallery;
mod recognition;
mod recognizer;

pub use file::{FileError, Memory, Owner, write};
pub use filter::{Filter, Motion};
pub use gallery::{Gallery, TeachOutcome, View};
pub use recognition::{Kind, Match, Recognition};
pub use recognizer::PlaceRecognizer;
