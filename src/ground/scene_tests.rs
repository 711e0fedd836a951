//! Boxes on a plane, drawn by casting a ray for each pixel, against what the walk makes of them.

use nalgebra::{Point2, Point3, Vector3};
use proptest::prelude::*;

use super::beams::{BeamTable, End, Walk, WalkRules};
use super::camera_model::{CameraInfo, CameraModel};
use super::grid::{GridFromPicture, from_ids};
use super::local_map::{LocalMap, MapRules, PlanarPose};
use super::points::{Cloud, PixelRays};
use super::scan::Scan;
use super::stance::Stance;
use crate::geometry::{Fit, InputTransform, MaskSize, Size, input_transform};

const SIZE: Size = Size::new(320, 240);

/// A box that stands on the ground, its sides along x and y of the frame under the camera.
#[derive(Debug, Clone, Copy)]
struct Block {
    from: [f64; 2],
    to: [f64; 2],
    height: f64,
}

/// Where a ray from the camera meets a box first, as a share of its direction.
fn meets(block: &Block, origin: Point3<f64>, direction: Vector3<f64>) -> Option<f64> {
    let (mut near, mut far) = (0.0_f64, f64::INFINITY);
    let bounds = [(block.from[0], block.to[0]), (block.from[1], block.to[1]), (0.0, block.height)];
    for (axis, (low, high)) in bounds.into_iter().enumerate() {
        let (at, along) = (origin[axis], direction[axis]);
        if along.abs() < 1e-12 {
            if at < low || at > high {
                return None;
            }
            continue;
        }
        let (a, b) = ((low - at) / along, (high - at) / along);
        near = near.max(a.min(b));
        far = far.min(a.max(b));
    }
    (near < far).then_some(near)
}

/// The mask that a perfect model makes: 0 ground, 2 box, 3 sky, 255 where the lens shows nothing.
fn draw(camera: &CameraModel, stance: &Stance, blocks: &[Block]) -> Vec<u8> {
    let ground_from_camera = stance.ground_from_camera();
    let origin = ground_from_camera * Point3::origin();
    let pixels = (0..SIZE.height).flat_map(|y| (0..SIZE.width).map(move |x| (x, y)));
    let id = |(x, y): (u32, u32)| {
        let Some(direction) = camera.unproject(Point2::new(f64::from(x), f64::from(y))) else {
            return 255;
        };
        let direction = ground_from_camera.rotation * direction;
        let block = blocks.iter().filter_map(|block| meets(block, origin, direction));
        let block = block.fold(f64::INFINITY, f64::min);
        let ground = if direction.z < 0.0 { -origin.z / direction.z } else { f64::INFINITY };
        match (block < ground, ground.is_finite()) {
            (true, _) => 2,
            (false, true) => 0,
            (false, false) => 3,
        }
    };
    pixels.map(id).collect()
}

/// The distance along a beam at which the first box begins.
fn truth(azimuth: f64, blocks: &[Block]) -> f64 {
    let direction = Vector3::new(azimuth.cos(), azimuth.sin(), 0.0);
    let flat = |block: &Block| meets(block, Point3::new(0.0, 0.0, block.height / 2.0), direction);
    blocks.iter().filter_map(flat).fold(f64::INFINITY, f64::min)
}

fn whole() -> InputTransform {
    input_transform(SIZE, SIZE, Fit::Stretch, 0)
}

struct Walked {
    table: BeamTable,
    walk: Walk,
    ids: Vec<u8>,
}

fn walked(camera: &CameraModel, stance: &Stance, blocks: &[Block], rules: &WalkRules) -> Walked {
    let ids = draw(camera, stance, blocks);
    let map = GridFromPicture::new(&whole(), [SIZE.width, SIZE.height]);
    let (mut kept, mut outline, mut walk) = (None, None, Walk::default());
    let table = BeamTable::keep(&mut kept, &mut outline, camera, stance, &map, rules).unwrap();
    walk.run(table, &from_ids(SIZE, &ids));
    Walked { table: table.clone(), walk, ids }
}

/// How far on the ground a pixel's height reaches at a distance, with the same again for the edge
/// being anywhere between two pixels' centres.
fn footprint(camera: &CameraModel, stance: &Stance, distance: f64) -> f64 {
    let h = stance.height;
    // A pixel at the edge of a perspective picture is smaller than one in its middle.
    (distance * distance + h * h) / h * camera.pixel_angle()
}

fn scan_of(walked: &Walked) -> Scan {
    let mut scan = Scan::default();
    scan.fill(&walked.table, &walked.walk);
    scan
}

fn check_scan(camera: &CameraModel, stance: &Stance, blocks: &[Block], rules: &WalkRules) -> usize {
    let walked = walked(camera, stance, blocks, rules);
    let scan = scan_of(&walked);
    let ground_from_camera = stance.ground_from_camera();
    let mut compared = 0;
    for (beam, range) in scan.ranges.iter().enumerate() {
        let azimuth = walked.table.angle_min + beam as f64 * walked.table.beam_step();
        let rays_a_beam = walked.table.rays_a_beam;
        let rays = &walked.walk.rays[beam * rays_a_beam..][..rays_a_beam];
        // A beam along the side of a box meets it or not within a pixel and half its own width.
        let near = |offset: f64| truth(azimuth + offset, blocks);
        let side = 2.0 * camera.pixel_angle() + walked.table.beam_step() / 2.0;
        let expected = near(0.0);
        // Beside what the lens does not show an edge may lie anywhere.
        let is_of_lens = |x: f64, y: f64| {
            let of_row = |y: usize| y * SIZE.width as usize + x as usize - 1;
            let mut rows = (y as usize - 1..=y as usize + 2).map(of_row);
            rows.all(|at| !walked.ids[at..at + 4].contains(&255))
        };
        let is_in_view = |point: Point3<f64>| {
            let pixel = camera.project((ground_from_camera.inverse() * point).coords);
            pixel.is_some_and(|pixel| {
                pixel.x > 1.0
                    && pixel.y > 1.0
                    && pixel.x < f64::from(SIZE.width) - 2.0
                    && pixel.y < f64::from(SIZE.height) - 2.0
                    && is_of_lens(pixel.x, pixel.y)
            })
        };
        let visible = |distance: f64| {
            is_in_view(Point3::new(distance * azimuth.cos(), distance * azimuth.sin(), 0.0))
        };
        let reach = walked.table.reach.max_m;
        let (low, high) = [-side, -side / 2.0, 0.0, side / 2.0, side]
            .map(near)
            .iter()
            .fold((f64::INFINITY, 0.0_f64), |(low, high), at| (low.min(*at), high.max(*at)));
        let slack = |at: f64| 1.0 * footprint(camera, stance, at) + 1e-3;
        if range.is_finite() && visible(f64::from(*range) - slack(f64::from(*range))) {
            let range = f64::from(*range);
            // Where the nearest place in view shows the box, its foot lies there or nearer.
            let is_free_before = rays.iter().any(|ray| !ray.free[0].is_nan());
            let farthest = if is_free_before && visible(low) {
                high.min(1e3) + slack(high.min(1e3))
            } else {
                1e3
            };
            assert!(
                range >= low - slack(low) && range <= farthest,
                "beam {beam} at {:.1} degrees: {range} is not {expected} ({low} to {high}), footprint {}",
                azimuth.to_degrees(),
                slack(expected),
            );
            compared += 1;
        }
        // Of a box in the blind zone below the picture nothing can be known, and what shows less of itself along
        // the beam than the rules take for noise is none: what a picture's edge cuts off, say.
        if *range == f32::INFINITY {
            let on_box = |distance: f64| {
                let point = Point3::new(distance * azimuth.cos(), distance * azimuth.sin(), 0.0);
                let pixel = camera.project((ground_from_camera.inverse() * point).coords)?;
                let at = pixel.y.round() as usize * SIZE.width as usize + pixel.x.round() as usize;
                (is_in_view(point) && walked.ids[at] == 2).then_some(pixel)
            };
            let distances = (0..400).map(|i| expected * 1.01_f64.powi(i));
            let shown: Vec<_> = distances.filter_map(on_box).collect();
            let length: f64 = shown.windows(2).map(|pair| (pair[1] - pair[0]).norm()).sum();
            assert!(
                length <= rules.min_length + 1.0 || high > reach - slack(reach),
                "beam {beam}: a box at {expected} is not seen: {rays:?}"
            );
        }
        // What is well in view is known.
        let is_clear = high < reach - slack(reach) && visible(low) && high - low < slack(low);
        if is_clear
            && visible((low - 2.0 * slack(low)).max(0.01))
            && visible(high + 4.0 * slack(high))
        {
            let ray = rays[0];
            // Beside the edge of what the lens shows, nothing is known from there on.
            let is_dark = matches!(ray.end, End::Unknown(at) if {
                let at = f64::from(at);
                let point = Point3::new(at * azimuth.cos(), at * azimuth.sin(), 0.0);
                let pixel = camera.project((ground_from_camera.inverse() * point).coords);
                !visible(at) || pixel.is_some_and(|pixel| {
                    let near = |at: f64, side: u32| {
                        let at = at.round() as i64;
                        (at - 3).clamp(0, i64::from(side) - 1)..=(at + 3).clamp(0, i64::from(side) - 1)
                    };
                    near(pixel.y, SIZE.height).any(|y| {
                        near(pixel.x, SIZE.width)
                            .any(|x| walked.ids[(y * i64::from(SIZE.width) + x) as usize] == 255)
                    })
                })
            });
            if is_dark {
                continue;
            }
            assert!(range.is_finite(), "beam {beam}: a box at {expected} gives {range}, {ray:?}");
        }
    }
    compared
}

fn info(model: &str, focal: f64, d: &[f64]) -> CameraInfo {
    CameraInfo {
        width: SIZE.width,
        height: SIZE.height,
        distortion_model: model.to_owned(),
        d: d.to_vec(),
        k: [focal, 0.0, 158.0, 0.0, focal * 1.01, 121.0, 0.0, 0.0, 1.0],
        ..CameraInfo::default()
    }
}

fn cameras() -> Vec<(&'static str, CameraModel)> {
    let make = |model: &str, focal: f64, d: &[f64]| {
        CameraModel::new(&info(model, focal, d), SIZE, false).unwrap()
    };
    vec![
        ("pinhole", make("plumb_bob", 200.0, &[])),
        ("barrel", make("plumb_bob", 180.0, &[-0.25, 0.06, 0.001, -0.001, 0.0])),
        (
            "rational",
            make("rational_polynomial", 180.0, &[0.1, -0.02, 0.0005, 0.0005, 0.0, 0.3, 0.02, 0.0]),
        ),
        ("fisheye", make("equidistant", 110.0, &[0.02, -0.005, 0.0, 0.0])),
    ]
}

const ROOM: [Block; 4] = [
    Block { from: [1.2, -0.3], to: [1.5, 0.2], height: 0.4 },
    Block { from: [1.8, 0.6], to: [2.2, 1.1], height: 0.2 },
    Block { from: [0.9, -1.4], to: [1.3, -0.9], height: 0.9 },
    Block { from: [4.0, -9.0], to: [4.5, 9.0], height: 2.5 },
];

#[test]
fn boxes_are_where_they_stand_through_any_lens() {
    let rules = WalkRules { max_range_m: 5.0, ..WalkRules::default() };
    for (name, camera) in cameras() {
        for (height, pitch, roll) in [
            (0.3, 0.2, 0.0),
            (0.3, 0.35, 0.15),
            (1.1, 0.6, -0.3),
            (0.6, 0.4, 0.5),
            (0.15, 0.1, 0.02),
        ] {
            let stance = Stance::from_angles(height, pitch, roll);
            let compared = check_scan(&camera, &stance, &ROOM, &rules);
            assert!(compared > 20, "{name} at {height} m: only {compared} beams met a box");
        }
    }
}

#[test]
fn a_camera_on_its_side_sees_the_same_room() {
    let rules = WalkRules { max_range_m: 5.0, ..WalkRules::default() };
    let (_, camera) = cameras().remove(0);
    let stance = Stance::from_angles(0.5, 0.3, std::f64::consts::FRAC_PI_2);
    assert!(check_scan(&camera, &stance, &ROOM, &rules) > 20);
}

#[test]
fn a_camera_that_looks_straight_down_sees_all_around() {
    let rules = WalkRules { max_range_m: 1.0, ..WalkRules::default() };
    let (_, camera) = cameras().remove(3);
    let stance = Stance::from_angles(1.2, std::f64::consts::FRAC_PI_2, 0.0);
    let around = [
        Block { from: [0.5, -0.2], to: [0.8, 0.2], height: 0.1 },
        Block { from: [-0.9, -0.3], to: [-0.6, 0.3], height: 0.1 },
    ];
    let walked = walked(&camera, &stance, &around, &rules);
    assert_eq!(walked.table.beams, 720);
    let scan = scan_of(&walked);
    let at = |degrees: f64| {
        let beam = ((degrees.to_radians() - walked.table.angle_min) / rules.beam_step).round();
        scan.ranges[beam as usize]
    };
    assert!((at(0.0) - 0.5).abs() < 0.03, "{}", at(0.0));
    assert!((at(-180.0) - 0.6).abs() < 0.03, "{}", at(-180.0));
    assert_eq!(at(90.0), f32::INFINITY);
    assert_eq!(at(-90.0), f32::INFINITY);
}

#[test]
fn what_is_low_is_no_obstacle_where_ground_is_seen_behind_it() {
    let (_, camera) = cameras().remove(0);
    let stance = Stance::from_angles(0.3, 0.3, 0.0);
    let ahead = |height: f64, depth: f64, min_height_m: f64| {
        let rules = WalkRules { max_range_m: 3.0, min_height_m, ..WalkRules::default() };
        let block = Block { from: [0.8, -2.0], to: [0.8 + depth, 2.0], height };
        let walked = walked(&camera, &stance, &[block], &rules);
        let middle = (-walked.table.angle_min / rules.beam_step).round() as usize;
        let ray = middle * walked.table.rays_a_beam;
        let on_it = walked.walk.cost(&walked.table, ray, 0.83);
        (scan_of(&walked).ranges[middle], on_it)
    };
    let is_foot = |(range, _): (f32, f32)| (range - 0.8).abs() < 0.05;
    // A strip of tape, a door sill, a board; then what is too high.
    for (height, depth) in [(0.001, 0.05), (0.01, 0.03), (0.015, 0.02)] {
        let (range, cost) = ahead(height, depth, 0.03);
        assert_eq!((range, cost <= 0.5), (f32::INFINITY, true), "{height} m, {depth} m deep");
        assert!(is_foot(ahead(height, depth, 0.0)), "{height} m, {depth} m deep, by any height");
    }
    for (height, depth) in [(0.05, 0.02), (0.1, 0.5), (0.02, 0.5), (2.5, 0.3)] {
        assert!(is_foot(ahead(height, depth, 0.03)), "{height} m, {depth} m deep");
    }
    // Higher than the camera, and nothing behind it in view: not shown to be low.
    assert!(is_foot(ahead(2.5, 0.3, 1.0)));
}

#[test]
fn what_the_lower_edge_cuts_off_is_an_obstacle_however_soon_ground_is_seen_behind_it() {
    let (_, camera) = cameras().remove(0);
    let stance = Stance::from_angles(0.5, 0.3, 0.0);
    let rules = WalkRules { max_range_m: 3.0, min_height_m: 0.1, ..WalkRules::default() };
    // Of it the picture shows the last 0.1 m of what it hides: as much as a thing half as high would that stands there.
    let block = Block { from: [0.1, -2.0], to: [0.33, 2.0], height: 0.2 };
    let walked = walked(&camera, &stance, &[block], &rules);
    let middle = (-walked.table.angle_min / rules.beam_step).round() as usize;
    let range = scan_of(&walked).ranges[middle];
    let from = walked.table.reach.from_m as f32;
    assert!((range - from).abs() < 0.02, "{range} m, in view from {from} m");
}

#[test]
fn a_wall_taken_for_ground_is_not_known() {
    let stance = Stance::from_angles(0.3, 0.1, 0.05);
    let map = GridFromPicture::new(&whole(), [SIZE.width, SIZE.height]);
    // To the left of straight ahead; what is lower than the camera does not reach the horizon.
    let ranges = |camera: &CameraModel, height: f64, max_rise: f64| {
        let block = Block { from: [0.8, 0.0], to: [1.2, 9.0], height };
        let mut ids = draw(camera, &stance, &[block]);
        ids.iter_mut().filter(|id| **id == 2).for_each(|id| *id = 0);
        let rules = WalkRules { max_range_m: 3.0, max_rise, ..WalkRules::default() };
        let (mut kept, mut outline, mut walk) = (None, None, Walk::default());
        let table =
            BeamTable::keep(&mut kept, &mut outline, camera, &stance, &map, &rules).unwrap();
        walk.run(table, &from_ids(SIZE, &ids));
        let mut scan = Scan::default();
        scan.fill(table, &walk);
        let unknown = scan.ranges.iter().filter(|range| range.is_nan()).count();
        assert!(walk.risen <= unknown);
        let at = |degrees: f64| {
            let beam = (degrees.to_radians() - table.angle_min) / rules.beam_step;
            scan.ranges[beam.round() as usize]
        };
        let ray = table.ray_at(15_f32.to_radians()).unwrap();
        (at(15.0), at(-15.0), walk.rays[ray], walk.risen)
    };
    let default = WalkRules::default().max_rise;
    for (name, camera) in cameras() {
        let (wall, free, ray, risen) = ranges(&camera, 1.5, default);
        assert!(wall.is_nan() && free == f32::INFINITY, "{name}: {wall}, {free}");
        assert!(risen > 20, "{name}: {risen}");
        assert!(ray.free[0].is_nan() && matches!(ray.end, End::Unknown(_)), "{name}: {ray:?}");
        for (height, max_rise) in [(0.3, default), (1.5, std::f64::consts::FRAC_PI_2)] {
            let (wall, free, _, risen) = ranges(&camera, height, max_rise);
            assert_eq!(([wall, free], risen), ([f32::INFINITY; 2], 0), "{name} at {height} m");
        }
    }
}

#[test]
fn near_ground_has_to_be_surer() {
    let (_, camera) = cameras().remove(0);
    let stance = Stance::from_angles(0.3, 0.3, 0.0);
    let map = GridFromPicture::new(&whole(), [SIZE.width, SIZE.height]);
    let mut grid = from_ids(SIZE, &vec![0; SIZE.area()]);
    grid.cells.iter_mut().for_each(|cell| (cell.ground, cell.obstacle) = (0.58, 0.42));
    let range = |threshold: f32, near_threshold: f32| {
        let rules = WalkRules {
            max_range_m: 3.0,
            threshold,
            near_threshold,
            max_rise: 2.0,
            ..WalkRules::default()
        };
        let (mut kept, mut outline, mut walk) = (None, None, Walk::default());
        let table =
            BeamTable::keep(&mut kept, &mut outline, &camera, &stance, &map, &rules).unwrap();
        walk.run(table, &grid);
        let ray = walk.rays[table.ray_at(0.0).unwrap()];
        let nearest = ray.free[0];
        (ray.end, nearest)
    };
    assert_eq!(range(0.5, 0.5).0, End::Free);
    assert_eq!(range(0.5, 0.4).0, End::Free);
    // 0.62 is asked for where it begins.
    assert!(matches!(range(0.5, 0.65), (End::Foot(_), nearest) if nearest.is_nan()));
    assert!(matches!(range(0.6, 0.5).0, End::Foot(_)));
}

#[test]
fn the_cloud_lies_on_the_ground_and_ends_at_the_feet() {
    // A foot at the mask's own edge.
    let rules =
        WalkRules { max_range_m: 5.0, threshold: 0.5, near_threshold: 0.5, ..WalkRules::default() };
    for (name, camera) in cameras() {
        let stance = Stance::from_angles(0.4, 0.3, 0.1);
        let walked = walked(&camera, &stance, &ROOM, &rules);
        let (mut cloud, mut rays) = (Cloud::default(), PixelRays::default());
        let both = (&walked.table, &walked.walk);
        rays.fill(&mut cloud, &walked.ids, SIZE, &whole(), MaskSize::Source, both);
        assert_eq!((cloud.width, cloud.height), (SIZE.width, SIZE.height));
        let (mut ground, mut feet) = (0, 0);
        for (index, id) in walked.ids.iter().enumerate() {
            let [x, y, z] = cloud.point(index).unwrap();
            let point = Point3::new(f64::from(x), f64::from(y), f64::from(z));
            if x.is_nan() {
                assert!(y.is_nan() && z.is_nan());
                continue;
            }
            let on_ground = walked.table.ground_from_camera * point;
            assert!(on_ground.z.abs() < 1e-3, "{name}: {on_ground}");
            let distance = on_ground.coords.xy().norm();
            assert!(distance <= 5.01, "{name}: {distance}");
            let (u, v) = (index as u32 % SIZE.width, index as u32 / SIZE.width);
            let pixel = camera.project(point.coords).unwrap();
            let off = (pixel - Point2::new(f64::from(u), f64::from(v))).norm();
            match id {
                0 => {
                    assert!(off < 0.01, "{name}: ground is {off} pixels off");
                    ground += 1;
                }
                2 => {
                    assert!(off < 2.0, "{name}: a foot is {off} pixels off");
                    let azimuth = on_ground.y.atan2(on_ground.x);
                    let near = [-0.01, 0.0, 0.01].map(|offset| truth(azimuth + offset, &ROOM));
                    let slack = 1.5 * footprint(&camera, &stance, distance);
                    // A beam that grazes a box's side ends anywhere along it.
                    let (low, high) = near
                        .iter()
                        .fold((f64::INFINITY, 0.0_f64), |(l, h), at| (l.min(*at), h.max(*at)));
                    let is_foot =
                        (low - slack..high + slack).contains(&distance) || v + 2 > SIZE.height;
                    assert!(is_foot, "{name}: a foot at {distance}, boxes at {near:?}");
                    feet += 1;
                }
                id => panic!("{name}: a point at a pixel of id {id}"),
            }
        }
        assert!(ground > 5000 && feet > 20, "{name}: {ground} ground, {feet} feet");
    }
}

#[test]
fn feet_and_free_ground_are_clouds_to_mark_and_to_clear() {
    let rules = WalkRules { max_range_m: 5.0, ..WalkRules::default() };
    let (_, camera) = cameras().remove(0);
    let stance = Stance::from_angles(0.4, 0.3, 0.0);
    let walked = walked(&camera, &stance, &ROOM, &rules);
    let mut cloud = Cloud::default();
    cloud.fill_feet(&walked.table, &walked.walk, 0.2);
    assert!(cloud.width > 20);
    for index in 0..cloud.width as usize {
        let [x, y, z] = cloud.point(index).unwrap();
        assert!((z - 0.2).abs() < 1e-6);
        let distance = f64::from(x.hypot(y));
        let near = truth(f64::from(y).atan2(f64::from(x)), &ROOM);
        assert!(distance < near + 2.0 * footprint(&camera, &stance, distance) + 0.3);
    }
    cloud.fill_ground(&walked.table, &walked.walk);
    assert!(cloud.width > 500, "{}", cloud.width);
    for index in 0..cloud.width as usize {
        let [x, y, z] = cloud.point(index).unwrap();
        assert!(z == 0.0 && x.hypot(y) <= 5.001);
    }
}

#[test]
fn one_noisy_pixel_is_no_obstacle() {
    let rules = WalkRules { max_range_m: 3.0, min_height_m: 0.0, ..WalkRules::default() };
    let (_, camera) = cameras().remove(0);
    let stance = Stance::from_angles(0.4, 0.3, 0.0);
    let mut walked = walked(&camera, &stance, &[], &rules);
    let row = 180 * SIZE.width as usize;
    walked.ids[row + 160] = 2;
    walked.walk.run(&walked.table, &from_ids(SIZE, &walked.ids));
    assert!(scan_of(&walked).ranges.iter().all(|range| !range.is_finite()));
    // Four of them under each other are one, and so is what lies there for the walk: the first.
    for below in 0..4 {
        walked.ids[row + below * SIZE.width as usize + 160] = 2;
        walked.ids[row + below * SIZE.width as usize + 161] = 2;
    }
    walked.walk.run(&walked.table, &from_ids(SIZE, &walked.ids));
    let count = scan_of(&walked).ranges.iter().filter(|range| range.is_finite()).count();
    assert!((1..=2).contains(&count), "{count}");
}

#[test]
fn what_is_not_known_is_neither_free_nor_an_obstacle() {
    let rules = WalkRules { max_range_m: 3.0, ..WalkRules::default() };
    let (_, camera) = cameras().remove(0);
    let stance = Stance::from_angles(0.4, 0.3, 0.0);
    let mut walked = walked(&camera, &stance, &[], &rules);
    for (index, id) in walked.ids.iter_mut().enumerate() {
        let column = index % SIZE.width as usize;
        *id = if column < 100 { 255 } else { *id };
    }
    walked.walk.run(&walked.table, &from_ids(SIZE, &walked.ids));
    let scan = scan_of(&walked);
    let middle = scan.ranges.len() / 2;
    assert_eq!(scan.ranges[middle], f32::INFINITY);
    assert!(scan.ranges[middle + 45].is_nan(), "{:?}", scan.ranges);
}

#[test]
fn the_range_is_what_is_known_well_enough_or_seen() {
    let (_, camera) = cameras().remove(0);
    let rules = WalkRules::default();
    let low = walked(&camera, &Stance::from_angles(0.3, 0.1, 0.0), &[], &rules).table.reach;
    assert!((low.max_m - low.usable_m.unwrap()).abs() < 1e-9 && low.seen_m.is_infinite());
    assert!((2.0..4.0).contains(&low.max_m), "{low:?}");
    let steep = walked(&camera, &Stance::from_angles(0.5, 1.0, 0.0), &[], &rules).table.reach;
    assert!((steep.max_m - steep.seen_m).abs() < 1e-9, "{steep:?}");
    let map = GridFromPicture::new(&whole(), [SIZE.width, SIZE.height]);
    let reason = |stance: Stance, rules: WalkRules| {
        let (mut kept, mut outline) = (None, None);
        let found = BeamTable::keep(&mut kept, &mut outline, &camera, &stance, &map, &rules);
        found.map(|table| table.reach).unwrap_err().to_string()
    };
    let up = reason(Stance::from_angles(0.3, -1.2, 0.0), rules);
    assert!(up.contains("above the horizon") && up.contains("-68.8 degrees"), "{up}");
    let vague = WalkRules { pitch_sigma: 0.2, range_error: 0.02, ..rules };
    let vague = reason(Stance::from_angles(0.3, 0.3, 0.0), vague);
    assert!(vague.contains("no distance within 2 %"), "{vague}");
}

#[test]
fn floor_is_free_as_far_as_the_picture_shows_it() {
    let rules = WalkRules::default();
    let (_, pinhole) = cameras().remove(0);
    // A part of the sensor to the right of the optical axis.
    let mut right = info("plumb_bob", 200.0, &[]);
    right.k[2] = -60.0;
    let right = CameraModel::new(&right, SIZE, false).unwrap();
    for (camera, pitch, roll) in
        [(&pinhole, 1.0, 0.0), (&pinhole, 0.7, 0.05), (&pinhole, 0.7, -0.05), (&right, 0.9, 0.0)]
    {
        let seen = walked(camera, &Stance::from_angles(0.5, pitch, roll), &[], &rules);
        assert!(seen.table.reach.max_m > 0.2, "{:?}", seen.table.reach);
        let ranges = scan_of(&seen).ranges;
        let middle = ranges.len() / 2;
        let near = &ranges[middle - 15..middle + 15];
        assert!(near.iter().all(|range| *range == f32::INFINITY), "{pitch} {roll}: {near:?}");
    }
    // What is walked further than that is free nowhere, and it is said.
    let rules = WalkRules { max_range_m: 9.0, ..rules };
    let reach = walked(&pinhole, &Stance::from_angles(0.5, 1.0, 0.0), &[], &rules).table.reach;
    let said = reach.to_string();
    assert!(said.contains("walked to 9.0 m") && said.contains("nothing is free"), "{said}");
    assert!(reach.from_m < reach.seen_m, "{reach:?}");
}

#[test]
fn the_map_remembers_rolls_and_forgets() {
    let rules = WalkRules { max_range_m: 3.0, ..WalkRules::default() };
    let (_, camera) = cameras().remove(0);
    let stance = Stance::from_angles(0.4, 0.3, 0.0);
    let seen = walked(&camera, &stance, &ROOM[..2], &rules);
    let mut map = LocalMap::new(MapRules { size_m: 8.0, resolution_m: 0.05, memory_s: 5.0 });
    assert_eq!(map.side(), 160);
    // The robot stands at (10, 5) and looks along y.
    let pose = PlanarPose { x: 10.0, y: 5.0, yaw: std::f64::consts::FRAC_PI_2 };
    let cell = |map: &LocalMap, x: f64, y: f64| {
        let [left, lower] = map.origin();
        let (column, row) = (((x - left) / 0.05) as usize, ((y - lower) / 0.05) as usize);
        map.last_occupancy()[row * map.side() + column]
    };
    const S: i64 = 1_000_000_000;
    map.centre(pose.x, pose.y);
    map.add(S, pose, &seen.table, &seen.walk);
    map.occupancy(S);
    // The first box's face is 1.2 m ahead.
    assert_eq!(cell(&map, 10.0, 6.225), 100);
    assert_eq!(cell(&map, 10.0, 6.0), 0);
    assert_eq!(cell(&map, 10.0, 6.5), -1, "behind the foot nothing is known");
    assert_eq!(cell(&map, 10.0, 4.0), -1, "nor behind the robot");
    // Two metres on, the cells are the same places.
    map.centre(12.0, 5.0);
    map.occupancy(2 * S);
    assert_eq!(cell(&map, 10.0, 6.225), 100);
    assert_eq!(cell(&map, 10.0, 6.0), 0);
    // The box is taken away: after a few frames the ground there is free.
    let empty = walked(&camera, &stance, &[], &rules);
    for i in 0..10 {
        map.add(2 * S + i * S / 10, pose, &empty.table, &empty.walk);
    }
    map.occupancy(3 * S);
    assert!((0..20).contains(&cell(&map, 10.0, 6.225)), "{}", cell(&map, 10.0, 6.225));
    // And forgotten.
    map.occupancy(9 * S);
    assert_eq!(cell(&map, 10.0, 6.0), -1);
    map.clear();
    map.add(0, pose, &seen.table, &seen.walk);
    map.occupancy(0);
    assert_eq!(cell(&map, 10.0, 6.225), 100);
    // Far away nothing is left, and no number is too large.
    map.centre(1e300, -1e300);
    map.add(S, PlanarPose { x: 1e300, y: -1e300, yaw: 0.0 }, &seen.table, &seen.walk);
    assert_eq!(map.occupancy(S).len(), 160 * 160);
}

#[test]
fn the_table_is_kept_while_nothing_moves() {
    let (_, camera) = cameras().remove(1);
    let map = GridFromPicture::new(&whole(), [80, 60]);
    let rules = WalkRules::default();
    let (mut kept, mut outline) = (None, None);
    let stance = Stance::from_angles(0.4, 0.3, 0.0);
    let mut places = |stance: &Stance| {
        let table =
            BeamTable::keep(&mut kept, &mut outline, &camera, stance, &map, &rules).unwrap();
        table.ground_from_camera
    };
    let first = places(&stance);
    assert_eq!(places(&Stance { height: 0.4 + 1e-9, ..stance }), first);
    assert_ne!(places(&Stance::from_angles(0.4, 0.31, 0.0)), first);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn a_box_anywhere_is_found_by_any_camera(
        which in 0_usize..4, height in 0.15..1.1, pitch in 0.05..0.6, roll in -0.6..0.6,
        x in 0.6..3.0, y in -1.0..1.0, wide in 0.1..0.6, tall in 0.1..1.5,
    ) {
        let (_, camera) = cameras().remove(which);
        let stance = Stance::from_angles(height, pitch, roll);
        let block = Block { from: [x, y - wide], to: [x + 0.3, y + wide], height: tall };
        let rules = WalkRules { max_range_m: 4.0, ..WalkRules::default() };
        check_scan(&camera, &stance, &[block], &rules);
    }

    #[test]
    fn any_stance_and_any_lens_walk_or_say_why_not(
        focal in 1e-3..1e6, d in proptest::collection::vec(-2.0..2.0, 5), is_fisheye in any::<bool>(),
        height in 0.006..1e6, pitch in -1.6..1.6, roll in -3.2..3.2,
        range in prop_oneof![Just(0.0), 0.01..1e4], sigma in 0.0..1.0, step in 0.002..0.3,
        cells in (1_u32..100, 1_u32..100),
    ) {
        let model = if is_fisheye { "equidistant" } else { "plumb_bob" };
        let d = if is_fisheye { d[..4].to_vec() } else { d };
        let Ok(camera) = CameraModel::new(&info(model, focal, &d), SIZE, false) else { return Ok(()) };
        let stance = Stance::from_angles(height, pitch, roll);
        let map = GridFromPicture::new(&whole(), [cells.0, cells.1]);
        let rules = WalkRules {
            beam_step: step, max_range_m: range, pitch_sigma: sigma, ..WalkRules::default()
        };
        let (mut kept, mut outline) = (None, None);
        if let Ok(table) = BeamTable::keep(&mut kept, &mut outline, &camera, &stance, &map, &rules) {
            let ids = vec![0; SIZE.area()];
            let mut walk = Walk::default();
            walk.run(table, &from_ids(SIZE, &ids));
            let mut scan = Scan::default();
            scan.fill(table, &walk);
            prop_assert_eq!(scan.ranges.len(), table.beams);
            for ray in &walk.rays {
                if let End::Foot(at) = ray.end {
                    prop_assert!(at.is_finite());
                }
            }
            let mut cloud = Cloud::default();
            PixelRays::default().fill(
                &mut cloud, &ids, SIZE, &whole(), MaskSize::Source, (table, &walk),
            );
            cloud.fill_feet(table, &walk, 0.2);
            cloud.fill_ground(table, &walk);
        }
    }
}
