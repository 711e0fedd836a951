//! The walk over the ground: each beam runs outwards from under the camera, step by step, and asks
//! the network's probabilities at the place of the picture that shows the step.
//!
//! Walking the ground and not the picture's columns makes any lens and any roll the same. Where the
//! steps lie in the picture depends on lens and stance alone: that table is kept while they stay.
//!
//! **The rule for noise.** A place is not ground where its probability of ground is under `near_threshold` right before
//! the camera, `threshold` at the range's end, and in proportion between: what is far is seen again from nearer, what is near
//! is not. That is an obstacle's foot if it stays so for `min_length` cells of the network's
//! output along the beam, and for a share of at least `min_width` of the beam's width: a beam that is
//! wider than a cell is walked along several rays.
//!
//! **What is low.** Something of height h that stands at distance d hides the ground from a camera at height H
//! as far as d · H / (H - h) (similar triangles). Where ground is seen behind it sooner than for `min_height_m`, it is lower
//! than that, or a stain on the floor, and no obstacle; the map has it as rough ground.
//!
//! **What rises.** Level ground ends at the horizon. A direction in which the mask has ground even `max_rise` above it shows
//! a wall or a sofa taken for ground, or a slope: how far it is free cannot be told, and the beam is not known.

use nalgebra::{Point2, Vector3};

use super::camera_model::CameraModel;
use super::grid::{GridFromPicture, GroundGrid};
use super::range;
use super::reason::Reason;
use super::stance::Stance;
use super::transform::Transform;

/// A step, in cells: an edge between two steps is interpolated.
const STEP_CELLS: f64 = 0.4;
/// Rays of a scan at most.
const MOST_RAYS: usize = 4096;
/// Rays of a beam at most.
const MOST_RAYS_A_BEAM: usize = 8;
/// Steps of a ray at most.
const MOST_STEPS: usize = 640;
/// Directions closer to the horizon are not walked, in radians: a centimetre of height is seen as far
/// as 10 m.
const LEAST_DEPRESSION: f64 = 1e-3;
/// Angles of a scan begin and end at multiples of this, so that their number stays while the camera
/// sways a little.
const ROUND_TO: f64 = 5.0 * std::f64::consts::PI / 180.0;
/// Without an error the ground would be known up to the horizon.
const FARTHEST_M: f64 = 100.0;
/// Places above the horizon that each beam looks at, and the angle from the lowest to the highest, in radians.
const RISEN_PLACES: usize = 6;
const RISEN_SPAN: f64 = 8.0 * std::f64::consts::PI / 180.0;
/// Directions on either side of the middle, in radians, that all have to see as far as the range goes, and how many are
/// tried: of a camera that is rolled one side sees less far.
const AHEAD: f64 = 15.0 * std::f64::consts::PI / 180.0;
const AHEAD_TRIES: u32 = 17;
/// Cost, 0 to 1, of what has turned out to be low or noise at most: that of rough ground.
const MOST_COST_OF_LOW: f32 = 0.5;

/// How the ground is walked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WalkRules {
    /// Angle from one beam to the next, in radians.
    pub beam_step: f64,
    /// How far, in metres; 0 for what is known well enough.
    pub max_range_m: f64,
    /// Standard deviation of the camera's pitch, in radians.
    pub pitch_sigma: f64,
    /// Largest error of a distance as a share of it, where `max_range_m` is 0.
    pub range_error: f64,
    /// Probability of ground under which a place at the range's end is not ground.
    pub threshold: f32,
    /// The same right before the camera; `threshold` if that is more.
    pub near_threshold: f32,
    /// Share of a beam's width that must meet an obstacle.
    pub min_width: f64,
    /// Length along the beam that must not be ground, in cells.
    pub min_length: f64,
    /// Height in metres under which something is no obstacle, where ground is seen behind it.
    pub min_height_m: f64,
    /// Angle above the horizon, in radians, from which on ground is none of the level plane; a right angle to not look.
    pub max_rise: f64,
}

impl Default for WalkRules {
    fn default() -> Self {
        Self {
            beam_step: 0.5_f64.to_radians(),
            max_range_m: 0.0,
            pitch_sigma: 0.5_f64.to_radians(),
            range_error: 0.1,
            threshold: 0.4,
            near_threshold: 0.55,
            min_width: 0.3,
            min_length: 1.5,
            min_height_m: 0.03,
            max_rise: 5.0_f64.to_radians(),
        }
    }
}

/// How far the ground is walked, and why so far.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reach {
    /// In force, in metres.
    pub max_m: f64,
    /// Up to where the distance's error is what was asked for; `None` where it is nowhere.
    pub usable_m: Option<f64>,
    /// From where on the picture shows the ground in its middle.
    pub from_m: f64,
    /// Up to where the picture shows the ground in all directions about its middle; infinite with the horizon in view.
    pub seen_m: f64,
}

impl std::fmt::Display for Reach {
    /// Up to where distances are known; and how far is walked, where that is more or less than the picture shows.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let known = self.usable_m.unwrap_or(0.0).min(self.seen_m).min(self.max_m);
        write!(f, "{known:.1} m")?;
        if self.max_m > known {
            write!(f, ", walked to {:.1} m as ground.max_range_m says", self.max_m)?;
        }
        if self.seen_m < self.max_m {
            write!(
                f,
                ", where the picture ends at {:.1} m: nothing is free that far",
                self.seen_m
            )?;
        }
        Ok(())
    }
}

/// Where the steps of each beam lie on the grid.
#[derive(Debug, Clone, PartialEq)]
pub struct BeamTable {
    key: Key,
    /// How far it goes.
    pub reach: Reach,
    /// From the optical frame to `<frame_id>_ground`.
    pub ground_from_camera: Transform,
    /// Direction of the first beam, in radians, 0 ahead, positive to the left.
    pub angle_min: f64,
    /// Number of beams.
    pub beams: usize,
    /// Rays a beam.
    pub rays_a_beam: usize,
    /// Steps a ray, from near to far.
    steps: usize,
    /// Angle below the horizon of the first step, and from one to the next.
    depression: (f64, f64),
    /// By step: metres on the ground from under the camera.
    distances: Vec<f32>,
    /// By ray and step: place on the grid, NaN where the picture does not show it.
    places: Vec<[f32; 2]>,
    /// By ray.
    in_view: Vec<View>,
    /// By beam: places above the horizon, NaN where the picture does not show them.
    above: Vec<Above>,
}

/// The steps of a ray that are in the picture.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct View {
    /// The longest stretch without a gap: from, and the end.
    whole: (u32, u32),
    /// One before it, where the ray grazes the curved edge of a wide lens; empty for most.
    grazed: (u32, u32),
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Key {
    camera: CameraModel,
    stance: Stance,
    map: GridFromPicture,
    rules: WalkRules,
}

impl Key {
    /// Differences that move nothing by a hundredth of a pixel do not count.
    fn is_like(&self, other: &Self) -> bool {
        self.camera == other.camera
            && self.map == other.map
            && self.rules == other.rules
            && (self.stance.up - other.stance.up).norm() < 1e-5
            && (self.stance.height - other.stance.height).abs() < 1e-5 * self.stance.height
    }
}

/// Directions all over the part of the picture that the network saw, from which what it shows of the
/// ground is estimated. They depend on the lens alone.
#[derive(Debug, Clone, PartialEq)]
pub struct Outline {
    key: (CameraModel, GridFromPicture),
    directions: Vec<Vector3<f64>>,
    /// The angle between two neighbours, about, in radians.
    spacing: f64,
}

impl Outline {
    fn new(camera: &CameraModel, map: &GridFromPicture) -> Self {
        const ACROSS: u32 = 32;
        let [(left, right), (top, bottom)] = map.seen();
        let at = |from: f64, to: f64, i: u32| {
            // Pixels' edges, as centres are counted.
            from + (to - from) * f64::from(i) / f64::from(ACROSS) - 0.5
        };
        let pixels = (0..=ACROSS).flat_map(|y| (0..=ACROSS).map(move |x| (x, y)));
        let directions = pixels.filter_map(|(x, y)| {
            camera.unproject(Point2::new(at(left, right, x), at(top, bottom, y)))
        });
        let spacing = (right - left).max(bottom - top) / f64::from(ACROSS) * camera.pixel_angle();
        Self { key: (*camera, *map), directions: directions.collect(), spacing }
    }
}

/// Places on the grid that a beam sees above the horizon.
type Above = [[f32; 2]; RISEN_PLACES];

/// Distances, places, views and what is above of a table, for the next one to be written into.
type Buffers = (Vec<f32>, Vec<[f32; 2]>, Vec<View>, Vec<Above>);

impl BeamTable {
    /// Keeps the table in `kept` if it is still right, and makes it anew otherwise.
    ///
    /// # Errors
    /// [`Reason`] if there is no ground to walk.
    pub fn keep<'a>(
        kept: &'a mut Option<Self>,
        outline: &mut Option<Outline>,
        camera: &CameraModel,
        stance: &Stance,
        map: &GridFromPicture,
        rules: &WalkRules,
    ) -> Result<&'a Self, Reason> {
        let key = Key { camera: *camera, stance: *stance, map: *map, rules: *rules };
        let is_kept = kept.as_ref().is_some_and(|table| table.key.is_like(&key));
        if !is_kept {
            let seen = match outline.take() {
                Some(outline) if outline.key == (*camera, *map) => outline,
                _ => Outline::new(camera, map),
            };
            // What the old one holds serves the new one, which is seldom larger.
            let buffers = kept
                .take()
                .map(|table| (table.distances, table.places, table.in_view, table.above));
            let made = Self::new(key, &seen, buffers.unwrap_or_default());
            *outline = Some(seen);
            *kept = Some(made?);
        }
        // It has just been made, if it was not there.
        kept.as_ref().ok_or(Reason::NotCalibrated { matrix: "K" })
    }

    fn new(
        key: Key,
        outline: &Outline,
        (mut distances, mut places, mut in_view, mut above): Buffers,
    ) -> Result<Self, Reason> {
        let Key { camera, stance, map, rules } = &key;
        let ground_from_camera = stance.ground_from_camera();
        let camera_from_ground = ground_from_camera.rotation.inverse();
        let cell = camera.pixel_angle() / map.cells_a_pixel()[1].max(1e-9);
        let height = stance.height;

        let place = |azimuth: f64, depression: f64| {
            let ((sin_a, cos_a), (sin_d, cos_d)) = (azimuth.sin_cos(), depression.sin_cos());
            let direction = Vector3::new(cos_d * cos_a, cos_d * sin_a, -sin_d);
            let pixel = camera.project(camera_from_ground * direction)?;
            map.place(pixel)
        };

        // What the picture shows of the ground.
        let (mut left, mut right) = (f64::NEG_INFINITY, f64::INFINITY);
        let mut nearest = 0.0_f64;
        for direction in &outline.directions {
            let direction = ground_from_camera.rotation * direction;
            let depression = -direction.z.clamp(-1.0, 1.0).asin();
            if depression > LEAST_DEPRESSION {
                nearest = nearest.max(depression);
                let azimuth = direction.y.atan2(direction.x);
                (left, right) = (left.max(azimuth), right.min(azimuth));
            }
        }
        let pitch_deg = stance.pitch().to_degrees();
        let too_high = |max_range_m| Err(Reason::AboveHorizon { pitch_deg, max_range_m });
        if nearest <= LEAST_DEPRESSION {
            return too_high(if rules.max_range_m > 0.0 { rules.max_range_m } else { FARTHEST_M });
        }
        let sees_nadir = place(0.0, std::f64::consts::FRAC_PI_2).is_some();
        let (angle_min, angle_max) = if sees_nadir {
            (-std::f64::consts::PI, std::f64::consts::PI)
        } else {
            let round = |angle: f64| (angle / ROUND_TO).ceil() * ROUND_TO;
            let margin = outline.spacing;
            let limit =
                |angle: f64| round(angle).clamp(-std::f64::consts::PI, std::f64::consts::PI);
            (-limit(margin - right), limit(left + margin))
        };
        let first = (nearest + outline.spacing).min(std::f64::consts::FRAC_PI_2);

        // How far.
        let sigma = range::with_resolution(rules.pitch_sigma, cell);
        let usable_m = range::usable_m(height, sigma, rules.range_error);
        let middle = f64::midpoint(angle_min, angle_max);
        let half = AHEAD.min((angle_max - angle_min) / 4.0);
        let ahead = (0..AHEAD_TRIES)
            .map(|i| middle + half * (2.0 * f64::from(i) / f64::from(AHEAD_TRIES - 1) - 1.0));
        let farthest = |azimuth| {
            farthest_in_view(first, height, |depression| place(azimuth, depression).is_some())
        };
        let seen_m = ahead.map(farthest).fold(f64::INFINITY, f64::min);
        let max_m = if rules.max_range_m > 0.0 {
            rules.max_range_m
        } else {
            let usable = usable_m.ok_or(Reason::NoUsableRange {
                sigma_deg: sigma.to_degrees(),
                error_percent: rules.range_error * 100.0,
                height_m: height,
            })?;
            usable.min(seen_m).min(FARTHEST_M)
        };
        let last = (height / max_m).atan().max(LEAST_DEPRESSION);
        if first <= last {
            return too_high(max_m);
        }
        let is_seen = |depression: &f64| place(middle, *depression).is_some();
        let nearest = (0..TRIES).map(|i| depression_of(first, i)).find(is_seen);
        let from_m = nearest.map_or(f64::INFINITY, |depression| height / depression.tan());
        let reach = Reach { max_m, usable_m, from_m, seen_m };

        // The steps, and some beyond the range: an obstacle at its end has to be told from noise.
        let beyond = (rules.min_length / STEP_CELLS).ceil() as usize + 2;
        let step = (STEP_CELLS * cell).max((first - last) / (MOST_STEPS - beyond.min(64)) as f64);
        let inner = ((first - last) / step).ceil() as usize + 1;
        let depressions = (0..inner + beyond).map(|i| first - i as f64 * step);
        let depressions = depressions.take_while(|depression| *depression > LEAST_DEPRESSION);
        distances.clear();
        distances.extend(depressions.map(|depression| (height / depression.tan()) as f32));
        let steps = distances.len();

        let beams = ((angle_max - angle_min) / rules.beam_step).round() as usize + 1;
        // A whole circle's last beam would be its first one.
        let is_circle = angle_max - angle_min + rules.beam_step / 2.0 > std::f64::consts::TAU;
        let beams = (beams - usize::from(is_circle)).clamp(1, MOST_RAYS);
        let needed = (rules.beam_step / cell).ceil() as usize;
        let rays_a_beam = needed.clamp(1, MOST_RAYS_A_BEAM).min((MOST_RAYS / beams).max(1));

        places.clear();
        in_view.clear();
        // Directions are sums of the same few products: one rotation for each ray and step would take
        // as long as all the rest.
        let columns = camera_from_ground.to_rotation_matrix();
        let turned: Vec<(f64, Vector3<f64>)> = (0..steps)
            .map(|i| {
                let (sin, cos) = (first - i as f64 * step).sin_cos();
                (cos, columns * Vector3::new(0.0, 0.0, -sin))
            })
            .collect();
        for ray in 0..beams * rays_a_beam {
            let azimuth = ray_azimuth(angle_min, rules.beam_step, rays_a_beam, ray);
            let (sin, cos) = azimuth.sin_cos();
            let ahead = columns * Vector3::new(cos, sin, 0.0);
            let start = places.len();
            let (mut view, mut stretch) = (View::default(), (0, 0));
            for (cos_d, down) in &turned {
                let pixel = camera.project(ahead * *cos_d + down);
                let seen = pixel.and_then(|pixel| map.place(pixel));
                let index = (places.len() - start) as u32;
                match seen {
                    Some(_) => stretch.1 = index + 1,
                    None => stretch = (index + 1, index + 1),
                }
                if stretch.1 - stretch.0 > view.whole.1 - view.whole.0 {
                    if stretch.0 > view.whole.1 {
                        view.grazed = view.whole;
                    }
                    view.whole = stretch;
                }
                places.push(seen.unwrap_or([f32::NAN; 2]));
            }
            in_view.push(view);
        }
        let looks_above = rules.max_rise < std::f64::consts::FRAC_PI_2;
        above.clear();
        above.extend((0..beams).map(|beam| {
            let azimuth = angle_min + beam as f64 * rules.beam_step;
            std::array::from_fn(|i| {
                let part = i as f64 / (RISEN_PLACES - 1) as f64;
                let rise = rules.max_rise + part * RISEN_SPAN;
                let seen = looks_above.then(|| place(azimuth, -rise)).flatten();
                seen.unwrap_or([f32::NAN; 2])
            })
        }));
        Ok(Self {
            key,
            reach,
            ground_from_camera,
            angle_min,
            beams,
            rays_a_beam,
            steps,
            depression: (first, step),
            distances,
            places,
            in_view,
            above,
        })
    }

    /// Number of rays.
    pub fn rays(&self) -> usize {
        self.in_view.len()
    }

    /// Direction of a ray in radians.
    pub fn azimuth(&self, ray: usize) -> f64 {
        ray_azimuth(self.angle_min, self.key.rules.beam_step, self.rays_a_beam, ray)
    }

    /// Angle from one beam to the next in radians.
    pub fn beam_step(&self) -> f64 {
        self.key.rules.beam_step
    }

    /// The ray nearest to a direction; `None` outside of all beams.
    #[inline]
    pub fn ray_at(&self, azimuth: f32) -> Option<usize> {
        let step = self.key.rules.beam_step / self.rays_a_beam as f64;
        let first = self.angle_min - self.key.rules.beam_step / 2.0;
        let mut offset = f64::from(azimuth) - first;
        if offset < 0.0 {
            offset += std::f64::consts::TAU;
        } else if offset >= std::f64::consts::TAU {
            // The first beam of a full circle begins half a step before -pi.
            offset -= std::f64::consts::TAU;
        }
        let ray = (offset / step) as usize;
        (ray < self.rays()).then_some(ray)
    }

    /// How many of a beam's rays have to agree.
    pub fn needed_rays(&self) -> usize {
        let rays = self.rays_a_beam.max(1);
        ((self.key.rules.min_width * rays as f64).ceil() as usize).clamp(1, rays)
    }

    /// The lens and how it stands.
    pub fn camera(&self) -> (&CameraModel, &Stance) {
        (&self.key.camera, &self.key.stance)
    }

    /// The step at or before a distance.
    fn step_before(&self, distance: f32) -> usize {
        let depression = self.key.stance.height.atan2(f64::from(distance));
        let step = (self.depression.0 - depression) / self.depression.1;
        (step.max(0.0) as usize).min(self.steps.saturating_sub(1))
    }

    /// The distance at a fraction of a step.
    fn distance_at(&self, step: f32) -> f32 {
        let depression = self.depression.0 - f64::from(step) * self.depression.1;
        // The last step may be interpolated over the horizon by a rounding error.
        (self.key.stance.height / depression.max(LEAST_DEPRESSION / 2.0).tan()) as f32
    }
}

fn ray_azimuth(angle_min: f64, beam_step: f64, rays_a_beam: usize, ray: usize) -> f64 {
    let (beam, part) = (ray / rays_a_beam, ray % rays_a_beam);
    let inside = (part as f64 + 0.5) / rays_a_beam as f64 - 0.5;
    angle_min + (beam as f64 + inside) * beam_step
}

/// Places along a direction that are looked at, from the nearest to the horizon.
const TRIES: u32 = 128;

fn depression_of(first: f64, i: u32) -> f64 {
    first + (LEAST_DEPRESSION - first) * f64::from(i) / f64::from(TRIES)
}

/// The largest distance in a direction that is in view.
fn farthest_in_view(first: f64, height: f64, is_seen: impl Fn(f64) -> bool) -> f64 {
    if is_seen(LEAST_DEPRESSION) {
        return f64::INFINITY;
    }
    let at = |i| depression_of(first, i);
    let Some(last) = (0..TRIES).rev().find(|i| is_seen(at(*i))) else { return 0.0 };
    // Between a step that is in view and one that is not.
    let (mut inside, mut outside) = (at(last), at(last + 1));
    for _ in 0..30 {
        let middle = (inside + outside) / 2.0;
        if is_seen(middle) {
            inside = middle;
        } else {
            outside = middle;
        }
    }
    height / inside.tan()
}

/// What a ray met.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ray {
    /// Distances between which free ground was seen, in metres; NaN where none was.
    pub free: [f32; 2],
    /// What ended it.
    pub end: End,
}

/// What ended a ray.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum End {
    /// The foot of an obstacle at that distance. Where the nearest place in view is not ground, the
    /// foot lies there or nearer.
    Foot(f32),
    /// Nothing, as far as the range goes.
    Free,
    /// Something that is not known begins at that distance, or the picture ends there.
    Unknown(f32),
}

/// The rays of one frame.
#[derive(Debug, Clone, Default)]
pub struct Walk {
    /// By ray.
    pub rays: Vec<Ray>,
    /// Beams with ground above the horizon that met no foot: nothing is known there.
    pub risen: usize,
    /// By ray and step: the expected cost, 0 to 1, of the free ground; NaN where it is not known.
    costs: Vec<f32>,
}

impl Walk {
    /// Walks all rays of a table over the grid that it was made for.
    pub fn run(&mut self, table: &BeamTable, grid: &GroundGrid) {
        self.costs.resize(table.places.len(), 0.0);
        self.rays.clear();
        let places = table.places.chunks_exact(table.steps.max(1));
        let costs = self.costs.chunks_exact_mut(table.steps.max(1));
        for ((places, costs), view) in places.zip(costs).zip(&table.in_view) {
            let mut walk = |stretch| walk_stretch(table, grid, places, costs, stretch);
            // What is free in the first of two stretches says nothing of the gap behind it; what stands there is in
            // the way of all the rest.
            let grazed = walk(view.grazed);
            let is_foot = matches!(grazed.end, End::Foot(_));
            self.rays.push(if is_foot { grazed } else { walk(view.whole) });
        }
        let rays_a_beam = table.rays_a_beam.max(1);
        let needed = table.needed_rays();
        self.risen = 0;
        for (beam, above) in self.rays.chunks_mut(rays_a_beam).zip(&table.above) {
            let is_free = |ray: &Ray| ray.end == End::Free;
            if beam.iter().any(is_free) && is_risen(grid, above, table.key.rules.threshold) {
                self.risen += 1;
                for ray in beam.iter_mut().filter(|ray| is_free(ray)) {
                    *ray = Ray { free: [f32::NAN; 2], end: End::Unknown(table.distances[0]) };
                }
            }
            let is_foot = |ray: &&mut Ray| matches!(ray.end, End::Foot(_));
            if beam.iter_mut().filter(is_foot).count() < needed {
                for ray in beam {
                    if let End::Foot(at) = ray.end {
                        ray.end = End::Unknown(at);
                    }
                }
            }
        }
    }

    /// The expected cost, 0 to 1, NaN where it is not known, at a distance along a ray where it saw free ground.
    #[inline]
    pub fn cost(&self, table: &BeamTable, ray: usize, distance: f32) -> f32 {
        let index = ray * table.steps + table.step_before(distance);
        self.costs.get(index).copied().unwrap_or_default()
    }
}

/// Whether most of the places that the picture shows, if it shows half of them, are ground.
fn is_risen(grid: &GroundGrid, places: &Above, threshold: f32) -> bool {
    let seen = places.iter().filter(|place| !place[0].is_nan());
    let ground = seen.clone().filter(|place| grid.sample(**place).ground >= threshold).count();
    let seen = seen.count();
    2 * seen >= RISEN_PLACES && 2 * ground > seen
}

/// A stretch that is not ground and may be noise, or low.
struct Stretch {
    /// Where it began, in steps.
    start: f32,
    /// The same in metres.
    from: f32,
    /// Whether it begins where the picture does: it may stand nearer, and be as high as it likes.
    is_cut: bool,
    /// In cells.
    length: f32,
    /// Sums of the probabilities over its steps.
    obstacle: f32,
    other: f32,
}

impl Stretch {
    /// Whether it is an obstacle rather than what is not known.
    fn is_obstacle(&self) -> bool {
        self.obstacle >= self.other
    }
}

fn walk_stretch(
    table: &BeamTable,
    grid: &GroundGrid,
    places: &[[f32; 2]],
    costs: &mut [f32],
    (first, end): (u32, u32),
) -> Ray {
    let (first, end) = (first as usize, end as usize);
    let Key { stance, rules, .. } = &table.key;
    let min_length = rules.min_length as f32;
    let surer = (rules.near_threshold - rules.threshold).max(0.0);
    // What is that high stands at this share at most of the distance where ground is seen behind it.
    let low_share = (1.0 - rules.min_height_m / stance.height) as f32;
    let max = table.reach.max_m as f32;
    // A ray that comes into view out of range says nothing of what is in range.
    if first == end || table.distances[first] >= max {
        return Ray { free: [f32::NAN; 2], end: End::Unknown(f32::NAN) };
    }
    let mut stretch: Option<Stretch> = None;
    let mut last_ground: Option<f32> = None;
    let mut previous: Option<([f32; 2], f32)> = None;
    let distance = |step: f32| table.distance_at(step).min(max);
    let finish = |free_to: Option<f32>, end: End| {
        let free = free_to.map_or([f32::NAN; 2], |to| [table.distances[first].min(max), to]);
        Ray { free, end }
    };
    let judge = |stretch: &Stretch, is_proven: bool| {
        let at = stretch.from;
        let free_to = (stretch.start > first as f32).then(|| at.min(max));
        let end = if at >= max {
            End::Free
        } else if is_proven && stretch.is_obstacle() {
            End::Foot(at)
        } else {
            End::Unknown(at)
        };
        finish(free_to, end)
    };
    for step in first..end {
        let place = places[step];
        let cell = grid.sample(place);
        costs[step] = cell.cost;
        let moved = previous.map_or(0.0, |(from, _)| {
            let (x, y) = (place[0] - from[0], place[1] - from[1]);
            (x * x + y * y).sqrt()
        });
        // How far it is above the threshold.
        let share = (1.0 - table.distances[step] / max).max(0.0);
        let margin = cell.ground - (rules.threshold + surer * share);
        if margin >= 0.0 {
            if let Some(low) = stretch.take() {
                for cost in &mut costs[low.start.ceil() as usize..step] {
                    if *cost > MOST_COST_OF_LOW {
                        *cost = MOST_COST_OF_LOW;
                    }
                }
            }
            last_ground = Some(step as f32);
            if table.distances[step] >= max {
                // Whatever begins from here on is out of range.
                return finish(Some(max), End::Free);
            }
        } else {
            let stretch = stretch.get_or_insert_with(|| {
                // The edge lies where the probability passes the threshold.
                let start = match previous {
                    Some((_, before)) => {
                        let share = before / (before - margin).max(1e-6);
                        step as f32 - 1.0 + share.clamp(0.0, 1.0)
                    }
                    None => step as f32,
                };
                let from = table.distance_at(start);
                let is_cut = previous.is_none();
                Stretch { start, from, is_cut, length: -moved, obstacle: 0.0, other: 0.0 }
            });
            stretch.length += moved;
            stretch.obstacle += cell.obstacle;
            stretch.other += 1.0 - cell.ground - cell.obstacle;
            let is_low = !stretch.is_cut
                && stretch.is_obstacle()
                && stretch.from > table.distances[step] * low_share;
            if stretch.length >= min_length && !is_low {
                return judge(stretch, true);
            }
        }
        previous = Some((place, margin));
    }
    // The steps end at the horizon, or the picture does.
    let is_whole = end == table.steps;
    match (stretch, last_ground) {
        (Some(stretch), _) => judge(&stretch, is_whole || stretch.length >= min_length),
        (None, Some(last)) if is_whole => finish(Some(distance(last)), End::Free),
        (None, Some(last)) => {
            let at = table.distance_at(last);
            // The first step out of view lies beyond the last one in it.
            let end = if table.distances[end] >= max { End::Free } else { End::Unknown(at) };
            finish(Some(at.min(max)), end)
        }
        (None, None) => finish(None, End::Unknown(table.distances[first])),
    }
}
