//! Labels and traversability masks from one SqueezeNet pass, on the CPU.
//!
//! The crate is a pure core with two thin shells. The core takes a camera frame and gives a
//! result with the time of each stage; it knows neither ROS nor the command line:
//!
//! ```text
//! frame bytes -> decode -> preprocess -> session -> heads -> result -> publish
//!   frame.rs    decode/   preprocess.rs  session.rs  head/    pipeline.rs  ros/ | cli/
//! ```
//!
//! `ros` (feature `ros`, on by default) turns topics into frames and results into messages;
//! `cli` does the same for picture files and bags. Both drive [`pipeline::Pipeline`].

pub mod answer_state;
mod atomic_file;
pub mod bag;
pub mod caught;
pub mod cli;
pub mod decode;
pub mod descriptor;
pub mod execution;
mod file_lock;
pub mod finding;
pub mod frame;
pub mod geometry;
pub mod ground;
pub mod ground_messages;
pub mod head;
pub mod image_health;
pub mod install;
pub mod learning;
pub mod lifecycle;
mod lock;
pub mod log;
pub mod manifest;
pub mod message;
mod model_file;
pub mod output;
pub mod overlay;
pub mod parameter;
pub mod pipeline;
pub mod place;
pub mod pose;
pub mod preprocess;
pub mod restarts;
pub mod result;
#[cfg(feature = "ros")]
pub mod ros;
mod same_file;
pub mod schedule;
pub mod session;
pub mod settings;
pub mod threads;
pub mod timing;
pub mod traversability;
