//! Whatever a calibration says and however the camera stands: the ground is walked or refused, and no
//! distance is out of range.
#![no_main]

use libfuzzer_sys::fuzz_target;
use squeezenet_node::geometry::{Fit, Size, input_transform};
use squeezenet_node::ground::beams::{End, WalkRules};
use squeezenet_node::ground::grid::from_ids;
use squeezenet_node::ground::projector::Projector;
use squeezenet_node::ground::{CameraModel, Stance};
use squeezenet_node::message::read_camera_info;

fuzz_target!(|input: (f64, f64, f64, u16, u16, bool, Vec<u8>)| {
    let (height, pitch, roll, width, rows, is_rectified, bytes) = input;
    let Ok(info) = read_camera_info(&bytes) else { return };
    let size = Size::new(u32::from(width % 2000) + 1, u32::from(rows % 2000) + 1);
    let Ok(camera) = CameraModel::new(&info, size, is_rectified) else { return };
    let is_usual = height > 0.0 && height < 100.0 && pitch.is_finite() && roll.is_finite();
    if !is_usual {
        return;
    }
    let stance = Stance::from_angles(height, pitch, roll);
    let cells = Size::new(12, 9);
    let ids: Vec<u8> = (0..cells.area()).map(|cell| (cell % 5) as u8).collect();
    let transform = input_transform(size, Size::new(48, 36), Fit::Stretch, 0);
    let rules = WalkRules { beam_step: 0.1, ..WalkRules::default() };
    let mut projector = Projector::default();
    let walked = projector.run(&camera, &stance, &transform, &from_ids(cells, &ids), &rules);
    if let Ok((table, walk)) = walked {
        assert!(table.reach.max_m > 0.0);
        for ray in &walk.rays {
            if let End::Foot(at) = ray.end {
                assert!(at.is_finite() && at >= 0.0);
            }
        }
    }
});
