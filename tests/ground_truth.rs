//! The walk over the ground against true depth: rendered rooms with their own labels as the mask.
//!
//! Needs the rendered pictures (`indoor/rendered/val`: labels, depth in millimetres, `cameras.jsonl`)
//! below `SQUEEZENET_DATA` or `../shared/data`, and says so where they are not.

#![allow(clippy::unwrap_used, reason = "a test may")]

use std::path::{Path, PathBuf};

use nalgebra::{Point2, Point3};
use squeezenet_node::geometry::{Fit, Size, input_transform};
use squeezenet_node::ground::beams::{BeamTable, End, Walk, WalkRules};
use squeezenet_node::ground::grid::{Cell, GridFromPicture, GroundGrid, from_ids};
use squeezenet_node::ground::{CameraInfo, CameraModel, Stance};

/// Depth of a pixel that shows a thing higher than this is no foot: the walk met an overhang there, which
/// one camera cannot tell from a thing that stands.
const FOOT_HEIGHT_M: f64 = 0.1;

fn data() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    let root = std::env::var_os("SQUEEZENET_DATA").map_or(beside, PathBuf::from);
    let folder = root.join("indoor/rendered/val");
    folder.join("cameras.jsonl").exists().then_some(folder)
}

struct Scene {
    camera: CameraModel,
    stance: Stance,
    size: Size,
    labels: Vec<u8>,
    depth: Vec<u16>,
    is_depth_along_ray: bool,
}

fn scene(folder: &Path, line: &str) -> Option<Scene> {
    let card: serde_json::Value = serde_json::from_str(line).unwrap();
    let number = |key: &str| card[key].as_f64().unwrap();
    let name = card["name"].as_str().unwrap();
    let depth = image::open(folder.join(format!("depth/{name}.png"))).ok()?.into_luma16();
    let labels = image::open(folder.join(format!("labels/{name}.png"))).unwrap().into_luma8();
    let size = Size::new(labels.width(), labels.height());
    let k: Vec<f64> = card["K"].as_array().unwrap().iter().map(|k| k.as_f64().unwrap()).collect();
    let d = card["D"].as_array().unwrap().iter().map(|d| d.as_f64().unwrap()).collect();
    let model = match card["model"].as_str().unwrap() {
        "fisheye" | "equidistant" => "equidistant",
        _ => "plumb_bob",
    };
    // The renderer counts from the picture's edge, camera_info from the first pixel's centre.
    let k = [k[0], 0.0, k[2] - 0.5, 0.0, k[1], k[3] - 0.5, 0.0, 0.0, 1.0];
    let info = CameraInfo {
        width: size.width,
        height: size.height,
        distortion_model: model.to_owned(),
        d,
        k,
        ..CameraInfo::default()
    };
    // It also counts pitch upwards.
    let (pitch, roll) = (-number("pitch_deg").to_radians(), number("roll_deg").to_radians());
    Some(Scene {
        camera: CameraModel::new(&info, size, false).unwrap(),
        stance: Stance::from_angles(number("height_m"), pitch, roll),
        size,
        labels: labels.into_raw(),
        depth: depth.into_raw(),
        is_depth_along_ray: card["depth"] == "ray",
    })
}

/// Probabilities of cells of `side` by `side` pixels, as a perfect network of that stride gives them.
fn coarse(size: Size, ids: &[u8], side: u32) -> GroundGrid {
    let fine = from_ids(size, ids);
    let cells = [size.width / side, size.height / side];
    let mut grid = GroundGrid { size: cells, cells: Vec::new() };
    for y in 0..cells[1] {
        for x in 0..cells[0] {
            let mut sum = Cell::default();
            for (dy, dx) in (0..side).flat_map(|dy| (0..side).map(move |dx| (dy, dx))) {
                let cell = fine.cells[((y * side + dy) * size.width + x * side + dx) as usize];
                sum.ground += cell.ground;
                sum.obstacle += cell.obstacle;
                sum.cost += cell.cost;
            }
            let share = 1.0 / (side * side) as f32;
            grid.cells.push(Cell {
                ground: sum.ground * share,
                obstacle: sum.obstacle * share,
                cost: sum.cost * share,
            });
        }
    }
    grid
}

#[derive(Default)]
struct Found {
    /// Of each foot, |range - truth| / truth.
    errors: Vec<f64>,
    overhangs: usize,
    free: usize,
    unknown: usize,
    /// Free beams that a thing stands in.
    missed: usize,
}

impl Found {
    fn percentile(&self, share: f64) -> f64 {
        let mut errors = self.errors.clone();
        errors.sort_unstable_by(f64::total_cmp);
        errors.get((errors.len() as f64 * share) as usize).copied().unwrap_or(f64::INFINITY)
    }
}

fn judge(scene: &Scene, grid: &GroundGrid, found: &mut Found) {
    let transform = input_transform(scene.size, scene.size, Fit::Stretch, 0);
    let map = GridFromPicture::new(&transform, grid.size);
    let (mut kept, mut outline) = (None, None);
    let rules = WalkRules::default();
    let (camera, stance) = (&scene.camera, &scene.stance);
    let Ok(table) = BeamTable::keep(&mut kept, &mut outline, camera, stance, &map, &rules) else {
        return;
    };
    let mut walk = Walk::default();
    walk.run(table, grid);
    let camera_from_ground = table.ground_from_camera.inverse();
    // What the depth says of the picture at a place of the ground: distance and height.
    let seen_at = |azimuth: f64, distance: f64| {
        let on_ground = Point3::new(distance * azimuth.cos(), distance * azimuth.sin(), 0.0);
        let pixel = camera.project((camera_from_ground * on_ground).coords)?;
        let (x, y) = (pixel.x.round(), pixel.y.round());
        if x < 0.0
            || y < 0.0
            || x >= f64::from(scene.size.width)
            || y >= f64::from(scene.size.height)
        {
            return None;
        }
        let index = y as usize * scene.size.width as usize + x as usize;
        let depth = f64::from(scene.depth[index]) / 1000.0;
        let direction = camera.unproject(Point2::new(x, y)).filter(|_| depth > 0.0)?;
        let along = if scene.is_depth_along_ray { depth } else { depth / direction.z };
        let point = table.ground_from_camera * Point3::from(direction * along);
        Some((point.coords.xy().norm(), point.z))
    };
    for (ray, met) in walk.rays.iter().enumerate() {
        let azimuth = table.azimuth(ray);
        match met.end {
            // Only what has ground before it has its foot in view.
            End::Foot(at) if met.free[0].is_finite() => {
                let at = f64::from(at);
                let beyond = at
                    + (at * at + stance.height * stance.height) / stance.height
                        * camera.pixel_angle();
                let Some((truth, height)) = seen_at(azimuth, beyond) else { continue };
                if height.abs() > FOOT_HEIGHT_M {
                    found.overhangs += 1;
                } else {
                    found.errors.push((at - truth).abs() / truth);
                }
            }
            End::Foot(_) => {}
            End::Unknown(_) => found.unknown += 1,
            End::Free => {
                found.free += 1;
                let steps = (1..100).map(|i| table.reach.max_m * f64::from(i) / 101.0);
                let stands = steps.filter_map(|at| seen_at(azimuth, at));
                found.missed += usize::from(stands.filter(|(_, z)| *z > 0.1).count() > 3);
            }
        }
    }
}

#[test]
fn ranges_are_those_of_the_rooms() {
    let Some(folder) = data() else {
        eprintln!("skipped: no indoor/rendered/val below SQUEEZENET_DATA or ../shared/data");
        return;
    };
    let cards = std::fs::read_to_string(folder.join("cameras.jsonl")).unwrap();
    let (mut exact, mut networks) = (Found::default(), Found::default());
    let mut scenes = 0;
    for scene in cards.lines().filter_map(|line| scene(&folder, line)) {
        judge(&scene, &from_ids(scene.size, &scene.labels), &mut exact);
        judge(&scene, &coarse(scene.size, &scene.labels, 5), &mut networks);
        scenes += 1;
    }
    assert!(scenes > 20, "only {scenes} pictures have depth");
    for (name, found) in [("labels as they are", &exact), ("cells of 5 pixels", &networks)] {
        println!(
            "{name}: {scenes} pictures, {} feet, error median {:.2} %, p95 {:.2} %; {} overhangs, {} free, {} unknown, {} of the free with something in the way",
            found.errors.len(),
            100.0 * found.percentile(0.5),
            100.0 * found.percentile(0.95),
            found.overhangs,
            found.free,
            found.unknown,
            found.missed,
        );
    }
    for found in [&exact, &networks] {
        assert!(found.errors.len() > 2000);
        // The rest are thin legs, and things that hang over their foot.
        assert!(found.percentile(0.5) <= 0.02 && found.percentile(0.9) <= 0.15);
        assert!(found.missed * 50 <= found.free, "{} of {}", found.missed, found.free);
    }
}
