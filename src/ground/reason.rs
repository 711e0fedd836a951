//! Why there is no ground for a frame, in words that say what to do.

use thiserror::Error;

use crate::geometry::Size;

use super::tf_buffer::TfError;

/// Everything that keeps a frame's mask from becoming ground.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum Reason {
    /// Nothing says what the camera's lens is like.
    #[error(
        "no camera_info on {topic}: start the camera with its calibration, name the topic in ground.camera_info_topic, or set ground.hfov_deg"
    )]
    NoCameraInfo {
        /// Where it was expected.
        topic: String,
    },
    /// A `K` (or `P`) of zeros, or with a focal length of 1 pixel, as what has none fills it in.
    #[error(
        "the camera is not calibrated: its camera_info has no focal length in {matrix}{}; calibrate it (ros2 run camera_calibration cameracalibrator), or set ground.hfov_deg",
        if *matrix == "P" { ", which rectified pictures go by" } else { "" }
    )]
    NotCalibrated {
        /// Which: P for rectified pictures.
        matrix: &'static str,
    },
    /// Numbers that are no calibration.
    #[error("camera_info is no calibration: {what}; calibrate the camera anew")]
    BadIntrinsics {
        /// Which, and what is wrong.
        what: String,
    },
    /// A lens model that is not known here.
    #[error(
        "camera_info has the distortion model {model:?}, known are plumb_bob, rational_polynomial and equidistant; calibrate with one of them, or give rectified pictures"
    )]
    UnknownDistortion {
        /// Its name.
        model: String,
    },
    /// Too many or too few coefficients.
    #[error(
        "camera_info has {count} coefficients of distortion, {model} takes {expected}; calibrate the camera anew"
    )]
    WrongCoefficients {
        /// The model's name.
        model: String,
        /// How many there are.
        count: usize,
        /// How many there may be.
        expected: &'static str,
    },
    /// `ground.hfov_deg` alone describes no lens that wide.
    #[error("ground.hfov_deg is {hfov_deg}: a lens of 180 degrees or more needs a camera_info")]
    TooWide {
        /// The parameter.
        hfov_deg: f64,
    },
    /// The transform from the ground to the camera is missing.
    #[error("{0}; or set ground.height_m and ground.pitch_deg")]
    NoTransform(#[from] TfError),
    /// Neither of the usual frames is there.
    #[error(
        "tf has neither base_footprint nor base_link above {camera}: name the frame whose z = 0 is the ground in ground.frame, or set ground.height_m and ground.pitch_deg"
    )]
    NoGroundFrame {
        /// The picture's frame.
        camera: String,
    },
    /// Pictures without a frame cannot be looked up.
    #[error(
        "the picture's frame_id is empty: have the driver set it to the camera's optical frame, or set ground.height_m and ground.pitch_deg"
    )]
    NoFrameId,
    /// The camera stands in the ground or below.
    #[error(
        "the camera is {height_m:.3} m above z = 0 of {frame}, which is not over the ground: ground.frame must be a frame on the ground, such as base_footprint"
    )]
    NotAboveGround {
        /// Its height.
        height_m: f64,
        /// The frame asked.
        frame: String,
    },
    /// The picture shows nothing of the ground within the range.
    #[error(
        "the camera looks above the horizon: nothing of the ground within {max_range_m:.1} m is in its picture; tilt it down (pitch is {pitch_deg:.1} degrees), or check tf: the picture's frame must be an optical one, z ahead"
    )]
    AboveHorizon {
        /// Its pitch, positive downwards.
        pitch_deg: f64,
        /// The range.
        max_range_m: f64,
    },
    /// No distance is known well enough.
    #[error(
        "a pitch known to {sigma_deg:.2} degrees gives no distance within {error_percent:.0} % from {height_m:.2} m above the ground: mount the camera higher, measure its pitch and set ground.pitch_sigma_deg, or set ground.max_range_m"
    )]
    NoUsableRange {
        /// One standard deviation.
        sigma_deg: f64,
        /// What is asked for.
        error_percent: f64,
        /// The camera's height.
        height_m: f64,
    },
    /// The model does not tell ground from the rest.
    #[error("model {model} makes no mask: choose one with a segmentation head")]
    NoMask {
        /// Its name.
        model: String,
    },
    /// Somebody sends pictures of no size.
    #[error("a picture of {size} has no ground")]
    NoPicture {
        /// Its size.
        size: Size,
    },
}
