//! Those who make more of a frame's result, or learn from it: places, learning by driving, the ground.

use std::sync::Arc;

use r2r::std_msgs::msg::Header;

use super::diagnostics::CameraState;
use super::output::CameraOutputs;
use crate::image_health::ImageFault;
use crate::manifest::Model;
use crate::output::OutputSet;
use crate::result::{FrameResult, Wanted};
use crate::settings::{CameraSettings, Settings};

/// A frame that is answered.
#[derive(Clone, Copy)]
pub struct Answered<'a> {
    /// The camera's number.
    pub id: usize,
    /// The camera.
    pub camera: &'a Arc<CameraState>,
    /// The picture's.
    pub header: &'a Header,
    /// Parameters of the node.
    pub settings: &'a Arc<Settings>,
    /// Parameters of the camera.
    pub own: &'a CameraSettings,
}

/// One of those; owned by the inference thread.
pub trait Consumer {
    /// Another model runs from now on.
    fn follow(&mut self, _model: &Arc<Model>) {}

    /// A camera has come.
    fn add_camera(&mut self, _camera: &Arc<CameraState>) {}

    /// A camera has gone.
    fn remove_camera(&mut self, id: usize);

    /// Adds what it takes for what subscribers listen to, or for what it learns, to what is wanted so far.
    fn add_wanted(&mut self, frame: &Answered<'_>, heard: OutputSet, wanted: &mut Wanted);

    /// Takes the result, of which that much was possible; `fault` is what is wrong with the picture.
    fn consume(
        &mut self,
        frame: &Answered<'_>,
        wanted: Wanted,
        fault: Option<ImageFault>,
        result: &mut FrameResult,
        outputs: &mut CameraOutputs,
    );
}
