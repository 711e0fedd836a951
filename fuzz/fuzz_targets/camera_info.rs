//! Whatever a calibration says and however the camera stands: the ground is walked or refused, and no
//! distance is out of range. Most numbers are of a size that occurs; one may be anything.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use squeezenet_node::geometry::{Fit, Size, input_transform};
use squeezenet_node::ground::beams::{End, WalkRules};
use squeezenet_node::ground::grid::from_ids;
use squeezenet_node::ground::projector::Projector;
use squeezenet_node::ground::{CameraInfo, CameraModel, Roi, Stance};

#[derive(Debug, Arbitrary)]
struct Input {
    calibrated: [u16; 2],
    picture: [u16; 2],
    model: u8,
    d: [i16; 8],
    coefficients: u8,
    k: [i16; 4],
    p: [i16; 4],
    binning: [u8; 2],
    roi: Option<[u16; 4]>,
    wild: Option<(u8, f64)>,
    height_cm: u16,
    pitch: i16,
    roll: i16,
    is_rectified: bool,
}

fuzz_target!(|input: Input| {
    let size = |[width, height]: [u16; 2]| Size::new(u32::from(width % 2000) + 1, u32::from(height % 2000) + 1);
    let pixels = |value: i16| f64::from(value) / 16.0;
    let [fx, fy, cx, cy] = input.k.map(pixels);
    let [pfx, pfy, pcx, pcy] = input.p.map(pixels);
    let mut k = [fx, 0.0, cx, 0.0, fy, cy, 0.0, 0.0, 1.0];
    let mut p = [pfx, 0.0, pcx, 0.0, 0.0, pfy, pcy, 0.0, 0.0, 0.0, 1.0, 0.0];
    let mut d: Vec<f64> = input.d.iter().map(|value| f64::from(*value) / 8192.0).collect();
    if let Some((at, value)) = input.wild {
        let all = k.iter_mut().chain(&mut p).chain(&mut d);
        if let Some(number) = all.into_iter().nth(usize::from(at) % 29) {
            *number = value;
        }
    }
    d.truncate(usize::from(input.coefficients) % 9);
    let models = ["plumb_bob", "rational_polynomial", "equidistant", "fisheye", ""];
    let full = size(input.calibrated);
    let roi = input.roi.map_or(Roi::default(), |[x, y, width, height]| {
        let [x_offset, y_offset, width, height] = [x, y, width, height].map(u32::from);
        Roi { x_offset, y_offset, width, height }
    });
    let info = CameraInfo {
        width: full.width,
        height: full.height,
        distortion_model: models[usize::from(input.model) % models.len()].to_owned(),
        d,
        k,
        p,
        binning: input.binning.map(|by| u32::from(by % 5)),
        roi,
    };
    let picture = if input.model < 128 { full } else { size(input.picture) };
    let Ok(camera) = CameraModel::new(&info, picture, input.is_rectified) else { return };
    let angle = |value: i16| f64::from(value) / 16384.0;
    let stance = Stance::from_angles(
        f64::from(input.height_cm % 1000 + 1) / 100.0,
        angle(input.pitch),
        angle(input.roll),
    );
    let cells = Size::new(12, 9);
    let ids: Vec<u8> = (0..cells.area()).map(|cell| (cell % 5) as u8).collect();
    let transform = input_transform(picture, Size::new(48, 36), Fit::Stretch, 0);
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
