//! Frames of the last metres, and what of them the robot has stood on since.

use std::collections::VecDeque;

use nalgebra::{Point2, Point3};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::ground::grid::GridFromPicture;
use crate::ground::{CameraModel, Transform};
use crate::result::Cells;

use super::footprint::Footprint;

/// A frame is kept this far after the last one, in metres.
const KEEP_EVERY_M: f64 = 0.25;
/// A frame is done with when the robot has driven so far since.
const DONE_AFTER_M: f64 = 4.0;
/// What is farther from the camera is seen by too few cells.
const FARTHEST_M: f64 = 4.0;
/// The robot stands somewhere else after so far, or so much of a turn.
const STEP_M: f64 = 0.05;
const STEP_RAD: f64 = 0.1;
/// Faster than this no robot of this kind is: tf has jumped.
const FASTEST_M_S: f64 = 3.0;
/// The ground does not rise so much on a way, nor under a robot that stands: it was lifted.
const STEEPEST: f64 = 0.5;
const LEAST_LIFT_M: f64 = 0.1;
/// However long nothing was heard, it has not gone farther than that unseen.
const LEAST_JUMP_M: f64 = 0.5;
/// And however fast it may be, of more between two frames nothing is known.
const MOST_STEP_M: f64 = 2.0;
/// The same of a turn.
const FASTEST_RAD_S: f64 = 4.0;
const LEAST_JUMP_RAD: f64 = 0.35;
const MOST_STEP_RAD: f64 = 1.5;
/// After so long without a frame nothing is known of the way, in seconds.
const GAP_S: f64 = 3.0;
/// What a frame shows may have moved away after so long: what the robot stands on then says nothing of it.
const FRESH_NS: i64 = 10_000_000_000;
/// Who stands so long may have waited for just that.
const WAIT_NS: i64 = 2_000_000_000;
/// A way that is so much longer than straight went round something, which may have hidden the place.
const DETOUR: f64 = 1.2;
const DETOUR_SLACK_M: f64 = 0.15;
/// Points of the footprint are so far apart.
const POINT_STEP_M: f64 = 0.02;
/// What is bumped into lies within this before the footprint.
const BUMP_DEPTH_M: f64 = 0.2;
/// So far the robot drives between two things that it bumps into.
const BUMP_EVERY_M: f64 = 0.25;
/// What stopped the robot holds, if it was not driven through within this.
const HELD_AFTER_M: f64 = 1.0;
/// It was driven through where the robot stood on so much of it.
const THROUGH: f64 = 0.9;
/// Blocks that are remembered for whether they held, and of how many on that is judged.
const REMEMBERED: usize = 10;
const LEAST_BLOCKS: usize = 3;

/// A frame, and where the robot and its camera were.
#[derive(Debug, Clone)]
pub struct Seen {
    /// When.
    pub stamp_ns: i64,
    /// What the network made of it.
    pub cells: Cells,
    /// Whether the picture is one to learn from; where the robot is it tells all the same.
    pub is_good: bool,
    /// The lens.
    pub camera: CameraModel,
    /// The ground is at z = 0 of the base.
    pub base_from_camera: Transform,
    /// Where the robot was.
    pub odom_from_base: Transform,
}

/// What is known of a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// Nothing.
    None,
    /// The robot has stood there.
    Ground,
    /// The robot was stopped there.
    Obstacle,
}

/// A frame that is done with.
#[derive(Debug, Clone)]
pub struct Taught {
    /// The frame.
    pub seen: Seen,
    /// By cell.
    pub marks: Vec<Mark>,
    /// By cell: whether it shows what is above the horizon.
    pub is_above: Vec<bool>,
}

/// Frames and places that nothing was learnt from, by the reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LeftOut {
    /// The robot had gone less than a step since the last one, or the picture came twice.
    pub standing: u64,
    /// The odometry jumped or the robot was lifted, and all frames before it were let go; or nothing is known of the
    /// way, as the frames came too seldom.
    pub jumps: u64,
    /// Frames of which the robot has stood on too little since.
    pub unvisited: u64,
    /// What stopped the robot again where it was stopped already, as a bumper that chatters says, or at a place
    /// that is not known or no frame shows, or was driven through then.
    #[serde(default)]
    pub blocks: u64,
}

impl LeftOut {
    /// For people.
    pub fn summary(&self) -> String {
        format!(
            "{} frames less than {} cm after the one before, {} jumps of the odometry, {} frames of places not driven to, {} blocks that were driven through, too close to the one before, of no known place or in no frame",
            self.standing,
            100.0 * STEP_M,
            self.jumps,
            self.unvisited,
            self.blocks
        )
    }

    /// Adds another one's.
    pub fn add(&mut self, other: Self) {
        self.standing += other.standing;
        self.jumps += other.jumps;
        self.unvisited += other.unvisited;
        self.blocks += other.blocks;
    }
}

/// Why nothing is marked where the robot is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Error)]
pub enum BlockError {
    /// There is no frame at all.
    #[error("no frame was learnt from yet")]
    NoFrame,
    /// The robot may be elsewhere by now.
    #[error("the last frame is {0:.1} s old: where the robot is now is not known")]
    Stale(f64),
    /// What chatters says no more than once.
    #[error(
        "the robot has driven less than {BUMP_EVERY_M} m since it was stopped before, which was marked"
    )]
    Again,
    /// Most of the last ones were driven through.
    #[error("of the last {of} blocks {through} were driven through: the bumper is not believed")]
    Disbelieved {
        /// That many.
        through: usize,
        /// Of so many.
        of: usize,
    },
    /// The robot turned, or came backwards.
    #[error("no frame of the last metres shows what is right before the robot")]
    Unseen,
}

/// Frames of the last metres.
#[derive(Debug, Clone)]
pub struct Memory {
    footprint: Footprint,
    stood: Vec<[f64; 2]>,
    ahead: Vec<[f64; 2]>,
    frames: VecDeque<Frame>,
    last: Option<(i64, Transform)>,
    stamped: Option<Transform>,
    /// When it came to where it stands.
    moved_ns: i64,
    /// Frames before this are not marked as ground any more.
    fresh_from_ns: i64,
    driven_m: f64,
    kept_at_m: f64,
    blocked_at_m: f64,
    /// Whether what stopped it there was marked, and not disbelieved.
    is_block_marked: bool,
    /// Blocks of which is not known yet whether they hold.
    blocks: Vec<Block>,
    /// Whether the last ones held, the newest at the end.
    held: VecDeque<bool>,
    left_out: LeftOut,
}

/// Where the robot was stopped.
#[derive(Debug, Clone)]
struct Block {
    odom_from_base: Transform,
    at_m: f64,
    is_by_person: bool,
    is_marked: bool,
    /// What lay before the robot, in its frame then, and it has not stood on since.
    left: Vec<[f64; 2]>,
}

#[derive(Debug, Clone)]
struct Frame {
    taught: Taught,
    map: GridFromPicture,
    camera_from_odom: Transform,
    at_m: f64,
}

impl Memory {
    /// Of nothing yet.
    pub fn new(footprint: &Footprint) -> Self {
        Self {
            footprint: footprint.clone(),
            stood: footprint.points(POINT_STEP_M),
            ahead: footprint.ahead(BUMP_DEPTH_M, POINT_STEP_M),
            frames: VecDeque::new(),
            last: None,
            stamped: None,
            moved_ns: i64::MIN,
            fresh_from_ns: i64::MIN,
            driven_m: 0.0,
            kept_at_m: f64::NEG_INFINITY,
            blocked_at_m: f64::NEG_INFINITY,
            is_block_marked: false,
            blocks: Vec::new(),
            held: VecDeque::new(),
            left_out: LeftOut::default(),
        }
    }

    /// Metres driven.
    pub fn driven_m(&self) -> f64 {
        self.driven_m
    }

    /// The stamp of the last frame, in nanoseconds.
    pub fn last_ns(&self) -> Option<i64> {
        self.last.as_ref().map(|(stamp_ns, _)| *stamp_ns)
    }

    /// What nothing was learnt from.
    pub fn left_out(&self) -> LeftOut {
        self.left_out
    }

    /// Takes a frame, and gives those that are done with.
    pub fn take(&mut self, seen: Seen) -> Vec<Taught> {
        let (now_ns, pose) = (seen.stamp_ns, seen.odom_from_base);
        let mut done = Vec::new();
        if let Some((before_ns, before)) = &self.last {
            if now_ns == *before_ns {
                self.left_out.standing += 1;
                return done;
            }
            let seconds = now_ns.saturating_sub(*before_ns) as f64 / 1e9;
            let change = before.inverse() * pose;
            if seconds > GAP_S && is_move(&change) {
                // What was marked before holds; what the robot has stood on since is not known.
                self.left_out.jumps += 1;
                done = self.finish();
                self.let_go();
            } else if seconds < 0.0 || is_jump(&change, seconds) || self.is_lifted(&pose) {
                self.left_out.jumps += 1;
                self.let_go();
            }
        }
        self.last = Some((now_ns, pose));
        if let Some(stamped) = &self.stamped {
            let change = stamped.inverse() * pose;
            if !is_move(&change) {
                self.left_out.standing += 1;
                if now_ns.saturating_sub(self.moved_ns) >= WAIT_NS {
                    self.fresh_from_ns = now_ns;
                }
                return done;
            }
            // By steps, not by frames: odometry that trembles while the robot stands drives nowhere.
            self.driven_m += flat(&change);
        }
        (self.stamped, self.moved_ns) = (Some(pose), now_ns);
        // Wheels that slip against what has stopped the robot do not stand on it.
        if !self.is_at_block() {
            self.settle_blocks(&pose);
            let from_ns = self.fresh_from(now_ns);
            let fresh = since(&mut self.frames, from_ns);
            mark(fresh, self.driven_m, &pose, (&self.stood, &self.footprint), Mark::Ground);
        }
        // A frame that shows a block waits until that has held.
        let done_m = self.driven_m.min(self.blocks.first().map_or(f64::INFINITY, |b| b.at_m));
        while self.frames.front().is_some_and(|frame| done_m - frame.at_m >= DONE_AFTER_M) {
            done.extend(self.pop());
        }
        if seen.is_good && self.driven_m - self.kept_at_m >= KEEP_EVERY_M {
            self.kept_at_m = self.driven_m;
            self.keep(seen);
        }
        done
    }

    /// What lies right before the robot, where the last frame found it, has stopped it. A person is believed, a
    /// bumper as long as what it says holds.
    ///
    /// # Errors
    /// Why that is not marked.
    pub fn block(&mut self, is_by_person: bool) -> Result<(), BlockError> {
        let Some((now_ns, pose)) = self.last else { return Err(BlockError::NoFrame) };
        if self.is_at_block() && self.is_block_marked {
            self.left_out.blocks += 1;
            return Err(BlockError::Again);
        }
        let left = self.ahead.clone();
        let block =
            |at_m, is_marked| Block { odom_from_base: pose, at_m, is_by_person, is_marked, left };
        let (through, of) = (self.held.iter().filter(|held| !**held).count(), self.held.len());
        if !is_by_person && of >= LEAST_BLOCKS && 2 * through > of {
            // It is followed all the same, so that it may be believed again.
            if !self.is_at_block() {
                self.blocks.push(block(self.driven_m, false));
                (self.blocked_at_m, self.is_block_marked) = (self.driven_m, false);
            }
            self.left_out.blocks += 1;
            return Err(BlockError::Disbelieved { through, of });
        }
        // What has run into the robot was not there before; a person knows.
        let from_ns = if is_by_person { i64::MIN } else { self.fresh_from(now_ns) };
        let frames = since(&mut self.frames, from_ns);
        let ahead = (&*self.ahead, &self.footprint);
        if mark(frames, self.driven_m, &pose, ahead, Mark::Obstacle) == 0 {
            return Err(BlockError::Unseen);
        }
        self.blocks.push(block(self.driven_m, true));
        (self.blocked_at_m, self.is_block_marked) = (self.driven_m, true);
        Ok(())
    }

    /// Finds out which blocks hold: what the robot stands on did not stop it, and is no obstacle in any frame.
    fn settle_blocks(&mut self, odom_from_base: &Transform) {
        let mut open = Vec::new();
        for mut block in std::mem::take(&mut self.blocks) {
            let base_from_then = odom_from_base.inverse() * block.odom_from_base;
            let is_stood_on = |[x, y]: &[f64; 2]| {
                let place = base_from_then * Point3::new(*x, *y, 0.0);
                self.footprint.contains([place.x, place.y])
            };
            let (stood, left): (Vec<_>, Vec<_>) = block.left.iter().copied().partition(is_stood_on);
            block.left = left;
            if block.is_marked {
                let (frames, stood) = (self.frames.iter_mut(), (&*stood, &self.footprint));
                mark(frames, block.at_m, &block.odom_from_base, stood, Mark::None);
            }
            let most_left = (1.0 - THROUGH) * self.ahead.len() as f64;
            let is_through = block.left.len() as f64 <= most_left;
            if !is_through && self.driven_m - block.at_m < HELD_AFTER_M {
                open.push(block);
                continue;
            }
            // One that was not believed is counted already.
            self.left_out.blocks += u64::from(is_through && block.is_marked);
            if !block.is_by_person {
                self.held.push_back(!is_through);
            }
            if self.held.len() > REMEMBERED {
                self.held.pop_front();
            }
        }
        self.blocks = open;
    }

    /// What frames before this showed may be another thing by now.
    fn fresh_from(&self, now_ns: i64) -> i64 {
        self.fresh_from_ns.max(now_ns.saturating_sub(FRESH_NS))
    }

    /// Whether the robot has risen or sunk as it does on no way since it last moved.
    fn is_lifted(&self, odom_from_base: &Transform) -> bool {
        self.stamped.is_some_and(|stamped| {
            let change = stamped.inverse() * odom_from_base;
            change.translation.vector.z.abs() > STEEPEST * flat(&change) + LEAST_LIFT_M
        })
    }

    /// Whether the robot has not gone on from where it was stopped.
    fn is_at_block(&self) -> bool {
        self.driven_m - self.blocked_at_m < BUMP_EVERY_M
    }

    /// Gives all that is kept, at the end of a drive.
    pub fn finish(&mut self) -> Vec<Taught> {
        let mut done = Vec::new();
        while !self.frames.is_empty() {
            done.extend(self.pop());
        }
        done
    }

    /// Forgets all frames and where the robot was.
    pub fn let_go(&mut self) {
        self.frames.clear();
        self.blocks.clear();
        (self.last, self.stamped) = (None, None);
        // Time may have gone back.
        (self.moved_ns, self.fresh_from_ns) = (i64::MIN, i64::MIN);
        self.kept_at_m = f64::NEG_INFINITY;
        // What was marked was learnt or has gone with the frames: said again, it is news.
        self.is_block_marked = false;
    }

    /// The oldest frame, if enough of it is marked.
    fn pop(&mut self) -> Option<Taught> {
        const LEAST_CELLS: usize = 12;
        let Frame { taught, .. } = self.frames.pop_front()?;
        let marked = taught.marks.iter().filter(|mark| **mark != Mark::None).count();
        let is_enough = marked >= LEAST_CELLS || taught.marks.contains(&Mark::Obstacle);
        if !is_enough {
            self.left_out.unvisited += 1;
        }
        is_enough.then_some(taught)
    }

    fn keep(&mut self, seen: Seen) {
        let map = GridFromPicture::with_room(&seen.cells.transform, seen.cells.room);
        let odom_from_camera = seen.odom_from_base * seen.base_from_camera;
        let is_above = (0..seen.cells.count()).map(|cell| {
            // A little above it: tf may be off by a degree.
            let direction = seen.camera.unproject(Point2::from(seen.cells.pixel(cell)));
            let direction = direction.map(|d| seen.base_from_camera.rotation * d);
            direction.is_some_and(|d| d.z > 0.03 * d.norm())
        });
        let is_above = is_above.collect();
        let marks = vec![Mark::None; seen.cells.count()];
        let taught = Taught { seen, marks, is_above };
        let camera_from_odom = odom_from_camera.inverse();
        self.frames.push_back(Frame { taught, map, camera_from_odom, at_m: self.driven_m });
    }
}

/// Frames of that time and later.
fn since(frames: &mut VecDeque<Frame>, from_ns: i64) -> impl Iterator<Item = &mut Frame> {
    frames.iter_mut().filter(move |frame| frame.taught.seen.stamp_ns >= from_ns)
}

/// Marks points of the robot's frame in those of these frames that saw them from a straight way off; gives how many
/// of them were seen. What the robot itself stood on when a frame was taken it hid: that frame shows its body there.
fn mark<'a>(
    frames: impl Iterator<Item = &'a mut Frame>,
    driven_m: f64,
    odom_from_base: &Transform,
    (points, footprint): (&[[f64; 2]], &Footprint),
    mark: Mark,
) -> usize {
    let mut count = 0;
    for frame in frames {
        let seen = &frame.taught.seen;
        let then_from_base = seen.odom_from_base.inverse() * odom_from_base;
        let straight = flat(&then_from_base);
        let way = driven_m - frame.at_m;
        if way > DETOUR * straight + DETOUR_SLACK_M {
            continue;
        }
        for [x, y] in points {
            let point = Point3::new(*x, *y, 0.0);
            let then = then_from_base * point;
            if footprint.contains([then.x, then.y]) {
                continue;
            }
            let point = frame.camera_from_odom * (odom_from_base * point);
            let Some(pixel) = seen.camera.project(point.coords) else { continue };
            let is_near = point.coords.norm() <= FARTHEST_M;
            let Some([column, row]) = frame.map.place(pixel).filter(|_| is_near) else {
                continue;
            };
            let [columns, rows] = seen.cells.size;
            // A place is a cell's centre; beyond the last whole cell there may be a part of one.
            let [column, row] = [column, row].map(|at| at.round().max(0.0) as u32);
            if column >= columns || row >= rows {
                continue;
            }
            let cell = &mut frame.taught.marks[(row * columns + column) as usize];
            // What the robot has stood on since did not stop it.
            *cell = mark;
            count += 1;
        }
    }
    count
}

/// Whether the robot stands somewhere else.
fn is_move(change: &Transform) -> bool {
    flat(change) >= STEP_M || change.rotation.angle() >= STEP_RAD
}

/// Whether no robot of this kind moves so far or turns so much in that time.
fn is_jump(change: &Transform, seconds: f64) -> bool {
    let most_m = (FASTEST_M_S * seconds).clamp(LEAST_JUMP_M, MOST_STEP_M);
    let most_rad = (FASTEST_RAD_S * seconds).clamp(LEAST_JUMP_RAD, MOST_STEP_RAD);
    flat(change) > most_m || change.rotation.angle() > most_rad
}

/// How far apart on the ground.
fn flat(change: &Transform) -> f64 {
    let [x, y, _] = change.translation.vector.into();
    f64::hypot(x, y)
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::geometry::{Fit, Size, input_transform};
    use crate::ground::Stance;
    use crate::ground::transform::from_parts;

    const IMAGE: Size = Size { width: 320, height: 240 };

    /// A frame of a robot that stands at `x` on the odometry's x axis, looking along it, camera at 0.4 m,
    /// 15 degrees down, 80 degrees wide; every cell has the features that `of` gives for its column and row.
    pub fn seen(second: f64, x: f64, of: impl Fn(u32, u32) -> ([f32; 2], f32)) -> Seen {
        let size = [40, 30];
        let places = (0..size[1]).flat_map(|row| (0..size[0]).map(move |column| (column, row)));
        let (features, margins): (Vec<[f32; 2]>, Vec<f32>) = places.map(|(c, r)| of(c, r)).unzip();
        Seen {
            stamp_ns: (second * 1e9) as i64,
            cells: Cells {
                size,
                channels: 2,
                features: features.concat(),
                margins,
                transform: input_transform(IMAGE, IMAGE, Fit::Stretch, 0),
                room: size.map(f64::from),
            },
            is_good: true,
            camera: CameraModel::from_hfov(80.0, IMAGE).unwrap(),
            base_from_camera: Stance::from_angles(0.4, 15_f64.to_radians(), 0.0)
                .ground_from_camera(),
            odom_from_base: from_parts([x, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]).unwrap(),
        }
    }

    fn plain(_: u32, _: u32) -> ([f32; 2], f32) {
        ([0.0; 2], 0.0)
    }

    #[test]
    fn of_a_grid_with_odd_sides_each_pixel_is_in_the_cell_that_shows_it() {
        let mut cells = seen(0.0, 0.0, plain).cells;
        // Of 21 by 15 cells of the network's grid two by two make one.
        (cells.size, cells.room) = ([10, 7], [10.5, 7.5]);
        let map = GridFromPicture::with_room(&cells.transform, cells.room);
        let half = [320.0 / 10.5, 240.0 / 7.5].map(|side| 0.45 * side);
        for cell in 0..70 {
            let [x, y] = cells.pixel(cell);
            for (right, down) in [(-1.0, -1.0), (0.0, 0.0), (1.0, 1.0)] {
                let pixel = Point2::new(x + right * half[0], y + down * half[1]);
                let [column, row] = map.place(pixel).unwrap().map(|at| at.round() as usize);
                assert_eq!(row * 10 + column, cell, "{pixel}");
            }
        }
    }

    #[test]
    fn after_a_jump_what_stops_the_robot_is_marked_anew() {
        let mut memory = Memory::new(&Footprint::default());
        for step in 0..40 {
            memory.take(seen(f64::from(step) * 0.2, f64::from(step) * 0.06, plain));
        }
        assert_eq!(memory.block(false), Ok(()));
        assert_eq!(memory.block(false), Err(BlockError::Again));
        // The bump has shaken the odometry.
        memory.let_go();
        memory.take(seen(8.0, 50.0, plain));
        assert_eq!(memory.block(true), Ok(()));
    }

    #[test]
    fn odometry_that_trembles_drives_nowhere() {
        let mut memory = Memory::new(&Footprint::default());
        for step in 0..3000 {
            let trembling = 0.02 * f64::from(step % 2);
            memory.take(seen(f64::from(step) * 0.1, trembling, plain));
        }
        assert_eq!((memory.driven_m(), memory.left_out().standing), (0.0, 2999));
        // A slow robot with a fast camera gets there all the same.
        for step in 0..1000 {
            memory.take(seen(300.0 + f64::from(step) * 0.05, f64::from(step) * 0.007, plain));
        }
        assert!((6.9..7.0).contains(&memory.driven_m()), "{}", memory.driven_m());
    }

    #[test]
    fn ground_driven_over_is_marked_where_earlier_frames_saw_it() {
        let mut memory = Memory::new(&Footprint::default());
        let mut done = Vec::new();
        for step in 0..100 {
            done.extend(memory.take(seen(f64::from(step) * 0.2, f64::from(step) * 0.06, plain)));
        }
        // Every 0.3 m (five steps of 0.06), those 4 m back and more.
        assert!((6..=8).contains(&done.len()), "{}", done.len());
        let taught = &done[0];
        let marked =
            |column: u32, row: u32| taught.marks[(row * 40 + column) as usize] == Mark::Ground;
        // The lower middle, not the sides, nothing above the horizon.
        assert!(marked(20, 25) && marked(19, 20));
        assert!(!marked(2, 25) && !marked(38, 20));
        let above = taught.is_above.iter().filter(|is| **is).count();
        assert!(above > 40 * 5 && above < 40 * 12, "{above}");
        let both = taught.marks.iter().zip(&taught.is_above);
        assert!(both.clone().all(|(mark, is_above)| !is_above || *mark == Mark::None));
        // The strip is as wide as the robot: 0.4 m at 2 m is 0.2 of a focal length of 23.8 cells.
        let wide: Vec<usize> =
            (0..30).map(|row| (0..40).filter(|c| marked(*c, row)).count()).collect();
        assert!(wide.iter().rev().find(|count| **count > 0).unwrap() > &10, "{wide:?}");
        assert_eq!(memory.left_out(), LeftOut::default());
    }

    #[test]
    fn the_robots_own_body_is_no_ground() {
        // It looks down by 50 degrees, so that its lowest rows show what the robot stands on: itself.
        let base_from_camera =
            Stance::from_angles(0.4, 50_f64.to_radians(), 0.0).ground_from_camera();
        let mut memory = Memory::new(&Footprint::default());
        let mut done = Vec::new();
        for step in 0..100 {
            let frame = seen(f64::from(step) * 0.2, f64::from(step) * 0.06, plain);
            done.extend(memory.take(Seen { base_from_camera, ..frame }));
        }
        let Taught { seen, marks, .. } = &done[0];
        let on_ground = |cell: usize| {
            let direction = seen.camera.unproject(Point2::from(seen.cells.pixel(cell)))?;
            let direction = base_from_camera.rotation * direction;
            (direction.z < 0.0).then(|| direction * (0.4 / -direction.z))
        };
        let mut of = [[0; 2]; 2];
        for (cell, mark) in marks.iter().enumerate() {
            // A cell is wider than its middle.
            let Some(at) = on_ground(cell).filter(|at| (at.x - 0.2).abs() > 0.03) else { continue };
            if at.y.abs() < 0.15 && at.x > 0.0 && at.x < 0.6 {
                of[usize::from(at.x > 0.2)][usize::from(*mark == Mark::Ground)] += 1;
            }
        }
        assert_eq!(of[0][1], 0, "of itself nothing is marked: {of:?}");
        assert!(of[0][0] > 20 && of[1][1] > 100 && of[1][0] == 0, "what lies before it is: {of:?}");
    }

    #[test]
    fn a_clock_that_goes_back_begins_anew() {
        let mut memory = Memory::new(&Footprint::default());
        memory.take(seen(500.0, 0.0, plain));
        // It stands for 3 s; then the recording starts from the beginning.
        (1..16).for_each(|i| drop(memory.take(seen(500.0 + f64::from(i) * 0.2, 0.0, plain))));
        let mut done = Vec::new();
        for step in 0..100 {
            done.extend(memory.take(seen(f64::from(step) * 0.2, f64::from(step) * 0.06, plain)));
        }
        assert!((6..=8).contains(&done.len()), "{}", done.len());
        assert!(done[0].marks.contains(&Mark::Ground));
        assert_eq!(memory.left_out().jumps, 1);
    }

    #[test]
    fn what_was_marked_before_a_long_gap_is_learnt() {
        let mut memory = Memory::new(&Footprint::default());
        for step in 0..50 {
            memory.take(seen(f64::from(step) * 0.2, f64::from(step) * 0.06, plain));
        }
        // 10 s and 4 m later.
        let done = memory.take(seen(20.0, 7.0, plain));
        assert!(done.len() > 3 && done[0].marks.contains(&Mark::Ground), "{}", done.len());
        assert_eq!(memory.left_out().jumps, 1);
    }

    #[test]
    fn what_stops_the_robot_is_marked() {
        let mut memory = Memory::new(&Footprint::default());
        for step in 0..20 {
            memory.take(seen(f64::from(step) * 0.2, f64::from(step) * 0.06, plain));
        }
        assert_eq!(memory.block(false), Ok(()));
        let taught = memory.finish();
        let obstacles =
            |taught: &Taught| taught.marks.iter().filter(|mark| **mark == Mark::Obstacle).count();
        assert!(obstacles(&taught[0]) > 3);
        // A bumper that chatters says nothing new, until the robot has driven on; then it stands on what it said.
        let mut memory = Memory::new(&Footprint::default());
        for step in 0..40 {
            memory.take(seen(f64::from(step) * 0.2, f64::from(step) * 0.06, plain));
            let again = memory.block(false);
            // After three that were driven through it is not believed.
            let is_right = match again {
                Err(BlockError::Again) => step < 15,
                Err(BlockError::Disbelieved { .. }) => step >= 15,
                _ => step % 5 == 0,
            };
            assert!(is_right, "{step}: {again:?}");
        }
        assert!(memory.left_out().blocks > 20);
        for step in 40..60 {
            memory.take(seen(f64::from(step) * 0.2, f64::from(step) * 0.06, plain));
        }
        assert_eq!(obstacles(&memory.finish()[0]), 0);
        let mut unused = Memory::new(&Footprint::default());
        assert_eq!(unused.block(false), Err(BlockError::NoFrame));
    }

    #[test]
    fn a_bumper_is_believed_as_long_as_what_it_says_holds() {
        let mut memory = Memory::new(&Footprint::default());
        let (mut said, mut done) = (Vec::new(), Vec::new());
        for step in 0..200 {
            done.extend(memory.take(seen(f64::from(step) * 0.2, f64::from(step) * 0.06, plain)));
            // Each metre, on free ground.
            if step % 17 == 16 {
                said.push(memory.block(false));
            }
        }
        assert_eq!(said[..3], [Ok(()); 3]);
        assert_eq!(said[5], Err(BlockError::Disbelieved { through: 5, of: 5 }));
        assert!(done.iter().all(|taught| !taught.marks.contains(&Mark::Obstacle)));
        assert!((10..=11).contains(&memory.left_out().blocks), "each once");
        // A person is believed; so is the bumper again, when it has held often enough.
        memory.take(seen(100.0, 12.0, plain));
        (1..8).for_each(|i| {
            drop(memory.take(seen(100.0 + f64::from(i), 12.0 + f64::from(i) * 0.3, plain)));
        });
        let _ = memory.block(false);
        let held = memory.held.clone();
        assert_eq!(memory.block(true), Ok(()), "where a bumper was not believed, too");
        assert_eq!(memory.block(true), Err(BlockError::Again));
        assert_eq!(memory.held, held);
        for round in 0..12 {
            // Into something, back, and round it: far to the side.
            for step in 0..30 {
                let mut there = seen(200.0 + f64::from(30 * round + step), 0.0, plain);
                let (x, y) = (f64::from(step.min(5)) * 0.2, f64::from((step - 5).max(0)) * 0.2);
                let side = f64::from(round) * 6.0 + y;
                there.odom_from_base = from_parts([x, side, 0.0], [0.0, 0.0, 0.0, 1.0]).unwrap();
                memory.take(there);
                if step == 5 {
                    let _ = memory.block(false);
                }
            }
        }
        let of_held = memory.held.iter().filter(|held| **held).count();
        assert!(of_held > REMEMBERED / 2, "{of_held}");
    }

    #[test]
    fn wheels_that_slip_against_a_thing_do_not_stand_on_it() {
        let mut memory = Memory::new(&Footprint::default());
        let at = |step: u32| seen(f64::from(step) * 0.2, f64::from(step) * 0.06, plain);
        (0..20).for_each(|step| drop(memory.take(at(step))));
        assert_eq!(memory.block(false), Ok(()));
        // By its wheels the robot goes on for 0.24 m.
        (20..24).for_each(|step| drop(memory.take(at(step))));
        let obstacles = |marks: &[Mark]| marks.iter().filter(|m| **m == Mark::Obstacle).count();
        assert!(obstacles(&memory.frames[0].taught.marks) > 3);
    }

    #[test]
    fn what_has_run_into_the_robot_was_not_there_before() {
        for (stands_s, is_stale) in [(1, false), (3, true)] {
            let mut memory = Memory::new(&Footprint::default());
            let at = |second: f64, step: u32| seen(second, f64::from(step) * 0.06, plain);
            (0..20).for_each(|step| drop(memory.take(at(f64::from(step) * 0.2, step))));
            (1..=4 * stands_s).for_each(|i| drop(memory.take(at(3.8 + f64::from(i) / 4.0, 19))));
            let said = if is_stale { Err(BlockError::Unseen) } else { Ok(()) };
            assert_eq!(memory.clone().block(false), said, "after {stands_s} s");
            assert_eq!(memory.block(true), Ok(()));
        }
    }

    #[test]
    fn what_was_met_with_a_corner_and_passed_holds() {
        let mut memory = Memory::new(&Footprint::default());
        let at = |step: u32, x: f64, y: f64| {
            let mut there = seen(f64::from(step) * 0.2, x, plain);
            there.odom_from_base = from_parts([x, y, 0.0], [0.0, 0.0, 0.0, 1.0]).unwrap();
            there
        };
        (0..20).for_each(|step| drop(memory.take(at(step, f64::from(step) * 0.06, 0.0))));
        assert_eq!(memory.block(false), Ok(()));
        let marked = |memory: &Memory| {
            let marks = &memory.frames[0].taught.marks;
            marks.iter().filter(|mark| **mark == Mark::Obstacle).count()
        };
        let all = marked(&memory);
        // Back, to the right by as much as takes it past what its left edge met, and on.
        (20..25)
            .for_each(|step| drop(memory.take(at(step, 1.14 - 0.06 * f64::from(step - 19), 0.0))));
        (25..45).for_each(|step| {
            drop(memory.take(at(step, 0.84 + 0.06 * f64::from(step - 24), -0.15)));
        });
        assert!((1..all).contains(&marked(&memory)), "{} of {all}", marked(&memory));
        assert_eq!(memory.held, [true]);
    }

    #[test]
    fn a_robot_that_is_carried_away_has_not_driven() {
        let mut memory = Memory::new(&Footprint::default());
        let at = |step: u32, x: f64, z: f64| {
            let mut there = seen(f64::from(step) * 0.2, x, plain);
            there.odom_from_base = from_parts([x, 0.0, z], [0.0, 0.0, 0.0, 1.0]).unwrap();
            there
        };
        memory.take(at(0, 0.0, 0.0));
        // Lifted slowly, then carried ahead.
        (1..11).for_each(|step| drop(memory.take(at(step, 0.0, 0.05 * f64::from(step)))));
        assert_eq!(memory.left_out().jumps, 3);
        let done: Vec<_> =
            (11..40).flat_map(|i| memory.take(at(i, 0.06 * f64::from(i - 10), 0.5))).collect();
        assert!(done.is_empty() && memory.frames[0].taught.seen.stamp_ns > 0);
        // A ramp of one in five is a way.
        let mut memory = Memory::new(&Footprint::default());
        (0..40).for_each(|i| drop(memory.take(at(i, 0.06 * f64::from(i), 0.012 * f64::from(i)))));
        assert_eq!(memory.left_out().jumps, 0);
    }

    #[test]
    fn what_may_have_moved_away_is_not_taught_as_ground() {
        let ground = |memory: &Memory| {
            let marks = &memory.frames[0].taught.marks;
            marks.iter().filter(|mark| **mark == Mark::Ground).count()
        };
        // A lift's door opens while the robot stands before it, for one second or for three.
        for (stands_s, is_stale) in [(1, false), (3, true)] {
            let mut memory = Memory::new(&Footprint::default());
            memory.take(seen(0.0, 0.0, plain));
            (1..=4 * stands_s)
                .for_each(|i| drop(memory.take(seen(f64::from(i) / 4.0, 0.0, plain))));
            for step in 1..20 {
                let second = f64::from(stands_s) + f64::from(step) * 0.2;
                memory.take(seen(second, f64::from(step) * 0.06, plain));
            }
            assert_eq!(ground(&memory) == 0, is_stale, "after {stands_s} s");
        }
        // Or it creeps there: what it reaches within ten seconds counts, what it reaches later does not.
        let far = |metres_s: f64| {
            let mut memory = Memory::new(&Footprint::default());
            for step in 0..60 {
                let at = f64::from(step) * 0.06;
                memory.take(seen(at / metres_s, at, plain));
            }
            ground(&memory)
        };
        let (fast, slow) = (far(1.0), far(0.1));
        assert!(slow < fast && slow > 0, "{slow} of {fast}");
    }

    #[test]
    fn a_turn_that_is_too_fast_is_a_jump_and_so_is_a_gap() {
        let turned = |second: f64, yaw: f64| {
            let mut there = seen(second, 0.0, plain);
            let rotation = [0.0, 0.0, (yaw / 2.0).sin(), (yaw / 2.0).cos()];
            there.odom_from_base = from_parts([0.0; 3], rotation).unwrap();
            there
        };
        let mut memory = Memory::new(&Footprint::default());
        memory.take(turned(0.0, 0.0));
        memory.take(turned(0.2, 0.6));
        assert_eq!(memory.left_out().jumps, 0);
        memory.take(turned(0.4, 1.7));
        assert_eq!(memory.left_out().jumps, 1);
        // Of what happened in 20 seconds without a frame nothing is known; what was marked before is.
        let mut memory = Memory::new(&Footprint::default());
        for step in 0..20 {
            memory.take(seen(f64::from(step) * 0.2, f64::from(step) * 0.06, plain));
        }
        let done = memory.take(seen(24.0, 2.0, plain));
        assert!(!done.is_empty());
        assert_eq!((memory.left_out().jumps, memory.frames.len()), (1, 1));
    }

    #[test]
    fn jumps_and_standing_still_teach_nothing() {
        let mut memory = Memory::new(&Footprint::default());
        for step in 0..10 {
            memory.take(seen(f64::from(step), 0.0, plain));
        }
        assert_eq!(memory.left_out().standing, 9);
        memory.take(seen(10.0, 0.2, plain));
        memory.take(seen(11.0, 30.0, plain));
        assert_eq!(memory.left_out().jumps, 1);
        // Nor does time that goes back; a picture that comes twice changes nothing.
        memory.take(seen(5.0, 30.1, plain));
        memory.take(seen(5.0, 30.1, plain));
        assert_eq!((memory.left_out().jumps, memory.frames.len()), (2, 1));
        assert!(memory.driven_m() < 0.3);
    }

    #[test]
    fn a_picture_that_is_no_good_tells_where_the_robot_is() {
        let mut memory = Memory::new(&Footprint::default());
        for step in 0..40 {
            let mut there = seen(f64::from(step) * 0.2, f64::from(step) * 0.06, plain);
            there.is_good = step == 0;
            memory.take(there);
        }
        let [only] = memory.finish().try_into().unwrap();
        assert!(only.marks.contains(&Mark::Ground));
        assert!((memory.driven_m() - 39.0 * 0.06).abs() < 1e-6 && memory.left_out().jumps == 0);
    }

    #[test]
    fn a_way_around_something_marks_nothing_behind_it() {
        let mut memory = Memory::new(&Footprint::default());
        memory.take(seen(0.0, 0.0, plain));
        // A metre to the side and back: the place ahead may have been hidden.
        let mut second = 0.0;
        for (x, y) in [(0.0, 1.0), (1.0, 1.0), (1.5, 1.0), (1.5, 0.5), (1.5, 0.0)] {
            second += 1.0;
            let mut there = seen(second, x, plain);
            there.odom_from_base = from_parts([x, y, 0.0], [0.0, 0.0, 0.0, 1.0]).unwrap();
            memory.take(there);
        }
        let first = &memory.frames[0].taught;
        assert!(first.marks.iter().all(|mark| *mark == Mark::None));
    }
}
