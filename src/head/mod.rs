//! What each of the network's outputs means: logits become labels, a mask, obstacles.

pub mod classification;
pub mod obstacle;
pub mod segmentation;
