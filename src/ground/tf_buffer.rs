//! What `/tf` and `/tf_static` have said of the last seconds, looked up by a picture's stamp.
//!
//! As tf2 does it: between two samples there is interpolation, outside of them none; a static
//! transform holds at all times; a frame has one parent. Frames, samples and seconds are bounded.

use std::collections::{HashMap, VecDeque};

use thiserror::Error;

use super::transform::{Transform, between};

/// How far back samples are kept; tf2's default.
const LENGTH_NS: i64 = 10_000_000_000;
/// Samples kept of one frame, whatever their age: 10 s at 400 Hz.
const MOST_SAMPLES: usize = 4096;
/// Frames known at once; further ones are refused.
const MOST_FRAMES: usize = 4096;
/// A frame's stamp this much before its last one is no straggler: time has been set back, as a bag
/// that starts again or a simulation that is reset does.
const JUMP_NS: i64 = 1_000_000_000;

/// At what time a transform is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// The newest for which all parts of the way are known: for pictures without a stamp.
    Newest,
    /// Nanoseconds since the clock's start.
    Stamp(i64),
}

/// What became of a transform.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Insertion {
    /// It is kept.
    Kept,
    /// It is kept, and its time was set back: how this frame moved before is forgotten.
    KeptAfterJump,
    /// It is not: a frame that is its own parent or has no name, or one too many.
    Refused,
}

/// Why there is no transform.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TfError {
    /// A frame that nothing was said of.
    #[error(
        "tf knows no frame {frame:?}: start what publishes it (robot_state_publisher, static_transform_publisher)"
    )]
    UnknownFrame {
        /// Its name.
        frame: String,
    },
    /// Two trees.
    #[error(
        "tf has no way from {from} to {to}: the one hangs on {from_root}, the other on {to_root}; the transform that connects these two is missing"
    )]
    NotConnected {
        /// The one.
        from: String,
        /// The other.
        to: String,
        /// The last frame above `from`.
        from_root: String,
        /// The last frame above `to`.
        to_root: String,
    },
    /// The picture is newer than the transform.
    #[error(
        "tf from {parent} to {child} is known up to {} ms before the picture: what publishes it is late or has stopped (ground.tf_wait_ms says how long to wait)", late_ns / 1_000_000
    )]
    Future {
        /// The part's upper frame.
        parent: String,
        /// Its lower frame.
        child: String,
        /// How much is missing.
        late_ns: i64,
    },
    /// The picture is older than all that is known.
    #[error(
        "tf from {parent} to {child} is known from {} ms after the picture on: the picture is older than what is kept, or its clock is another one", early_ns / 1_000_000
    )]
    Past {
        /// The part's upper frame.
        parent: String,
        /// Its lower frame.
        child: String,
        /// How much is missing.
        early_ns: i64,
    },
    /// Frames that are each other's parents.
    #[error("tf goes round in a circle above {frame}: two publishers disagree about a parent")]
    Loop {
        /// Where it was met.
        frame: String,
    },
}

impl TfError {
    /// Whether waiting may help: the way is known, but not yet up to that time.
    pub fn may_come(&self) -> bool {
        matches!(self, Self::Future { .. })
    }

    /// Whether the way is known, but not at that time.
    pub fn is_of_time(&self) -> bool {
        matches!(self, Self::Future { .. } | Self::Past { .. })
    }
}

/// A frame and how it lies in its parent.
#[derive(Debug, Default)]
struct Node {
    name: String,
    link: Option<Link>,
}

#[derive(Debug)]
struct Link {
    parent: usize,
    motion: Motion,
}

#[derive(Debug)]
enum Motion {
    Static(Transform),
    /// By stamp, rising; never empty.
    Samples(VecDeque<(i64, Transform)>),
}

/// The frames and how they moved.
#[derive(Debug, Default)]
pub struct TfBuffer {
    by_name: HashMap<String, usize>,
    nodes: Vec<Node>,
}

impl TfBuffer {
    /// Takes up one transform, `parent_from_child`.
    pub fn insert(
        &mut self,
        parent: &str,
        child: &str,
        stamp_ns: i64,
        parent_from_child: Transform,
        is_static: bool,
    ) -> Insertion {
        let (parent, child) = (bare(parent), bare(child));
        if parent.is_empty() || child.is_empty() || parent == child {
            return Insertion::Refused;
        }
        let (Some(parent), Some(child)) = (self.intern(parent), self.intern(child)) else {
            return Insertion::Refused;
        };
        let is_jump = !is_static
            && self.newest(child).is_some_and(|newest| stamp_ns < newest.saturating_sub(JUMP_NS));
        if is_jump {
            // Of the others each has its own time: a straggler of one does not take the rest along.
            self.nodes[child].link = None;
        }
        let link = &mut self.nodes[child].link;
        match link {
            // What was said under another parent does not belong to this one.
            Some(Link { parent: same, motion: Motion::Samples(samples) })
                if *same == parent && !is_static =>
            {
                let at = samples.partition_point(|(stamp, _)| *stamp < stamp_ns);
                match samples.get_mut(at) {
                    Some(sample) if sample.0 == stamp_ns => sample.1 = parent_from_child,
                    _ => samples.insert(at, (stamp_ns, parent_from_child)),
                }
                let newest = samples.back().map_or(stamp_ns, |(stamp, _)| *stamp);
                while samples.len() > MOST_SAMPLES
                    || samples.front().is_some_and(|(s, _)| newest.saturating_sub(*s) > LENGTH_NS)
                {
                    samples.pop_front();
                }
            }
            _ => {
                let motion = if is_static {
                    Motion::Static(parent_from_child)
                } else {
                    Motion::Samples(VecDeque::from([(stamp_ns, parent_from_child)]))
                };
                *link = Some(Link { parent, motion });
            }
        }
        if is_jump { Insertion::KeptAfterJump } else { Insertion::Kept }
    }

    /// Whether there is a way between two frames, at whatever time.
    pub fn connects(&self, a: &str, b: &str) -> bool {
        let way = |frame| self.find(frame).and_then(|index| self.chain(index));
        match (way(a), way(b)) {
            (Ok(a), Ok(b)) => a.last() == b.last(),
            _ => false,
        }
    }

    /// `to_from_from` at a time.
    ///
    /// # Errors
    /// [`TfError`] says which part of the way is missing.
    pub fn lookup(&self, to: &str, from: &str, at: At) -> Result<Transform, TfError> {
        let (to, from) = (self.find(to)?, self.find(from)?);
        let (mut to_chain, mut from_chain) = (self.chain(to)?, self.chain(from)?);
        let root = |chain: &[usize]| chain.last().copied().unwrap_or_default();
        if root(&to_chain) != root(&from_chain) {
            let name = |index: usize| self.nodes[index].name.clone();
            return Err(TfError::NotConnected {
                from: name(from),
                to: name(to),
                from_root: name(root(&from_chain)),
                to_root: name(root(&to_chain)),
            });
        }
        // Above the frame where both ways meet they are the same, and cancel out.
        while to_chain.len() > 1
            && from_chain.len() > 1
            && to_chain[to_chain.len() - 2] == from_chain[from_chain.len() - 2]
        {
            to_chain.pop();
            from_chain.pop();
        }
        let at = match at {
            At::Stamp(_) => at,
            At::Newest => {
                let moving = to_chain.iter().rev().skip(1).chain(from_chain.iter().rev().skip(1));
                moving.filter_map(|node| self.newest(*node)).min().map_or(at, At::Stamp)
            }
        };
        let meeting_from_to = self.climb(&to_chain, at)?;
        let meeting_from_from = self.climb(&from_chain, at)?;
        Ok(meeting_from_to.inverse() * meeting_from_from)
    }

    /// The transform from the first frame of a chain to its last.
    fn climb(&self, chain: &[usize], at: At) -> Result<Transform, TfError> {
        let mut whole = Transform::identity();
        for node in &chain[..chain.len() - 1] {
            whole = self.link_at(*node, at)? * whole;
        }
        Ok(whole)
    }

    fn link_at(&self, child: usize, at: At) -> Result<Transform, TfError> {
        let Some(Link { parent, motion }) = &self.nodes[child].link else {
            return Ok(Transform::identity());
        };
        let names = || (self.nodes[*parent].name.clone(), self.nodes[child].name.clone());
        let samples = match motion {
            Motion::Static(transform) => return Ok(*transform),
            Motion::Samples(samples) => samples,
        };
        let (Some(first), Some(last)) = (samples.front(), samples.back()) else {
            return Ok(Transform::identity());
        };
        let At::Stamp(stamp) = at else { return Ok(last.1) };
        if stamp > last.0 {
            let (parent, child) = names();
            return Err(TfError::Future { parent, child, late_ns: stamp.saturating_sub(last.0) });
        }
        if stamp < first.0 {
            let (parent, child) = names();
            return Err(TfError::Past { parent, child, early_ns: first.0.saturating_sub(stamp) });
        }
        let after = samples.partition_point(|(sample, _)| *sample < stamp);
        let (next_stamp, next) = &samples[after];
        if *next_stamp == stamp || after == 0 {
            return Ok(*next);
        }
        let (previous_stamp, previous) = &samples[after - 1];
        // Of i64, their difference may not fit: as f64 it does.
        let span = *next_stamp as f64 - *previous_stamp as f64;
        Ok(between(previous, next, (stamp as f64 - *previous_stamp as f64) / span))
    }

    /// A frame and all above it.
    fn chain(&self, from: usize) -> Result<Vec<usize>, TfError> {
        let mut chain = vec![from];
        let mut node = from;
        while let Some(link) = &self.nodes[node].link {
            node = link.parent;
            chain.push(node);
            if chain.len() > self.nodes.len() {
                return Err(TfError::Loop { frame: self.nodes[from].name.clone() });
            }
        }
        Ok(chain)
    }

    fn newest(&self, node: usize) -> Option<i64> {
        match &self.nodes[node].link {
            Some(Link { motion: Motion::Samples(samples), .. }) => {
                samples.back().map(|(stamp, _)| *stamp)
            }
            _ => None,
        }
    }

    fn find(&self, frame: &str) -> Result<usize, TfError> {
        let frame = bare(frame);
        let found = self.by_name.get(frame).copied();
        found.ok_or_else(|| TfError::UnknownFrame { frame: frame.to_owned() })
    }

    fn intern(&mut self, frame: &str) -> Option<usize> {
        if let Some(index) = self.by_name.get(frame) {
            return Some(*index);
        }
        if self.nodes.len() >= MOST_FRAMES {
            return None;
        }
        let index = self.nodes.len();
        self.nodes.push(Node { name: frame.to_owned(), link: None });
        self.by_name.insert(frame.to_owned(), index);
        Some(index)
    }
}

/// tf names had a leading slash once, and some publishers still send it.
fn bare(frame: &str) -> &str {
    frame.trim_start_matches('/')
}

#[cfg(test)]
mod tests {
    use super::*;
    use nalgebra::{Point3, Translation3, UnitQuaternion, Vector3};
    use proptest::prelude::*;

    const MS: i64 = 1_000_000;

    fn shift(x: f64, y: f64, z: f64) -> Transform {
        Transform::from_parts(Translation3::new(x, y, z), UnitQuaternion::identity())
    }

    fn turned(x: f64, yaw: f64) -> Transform {
        let rotation = UnitQuaternion::from_axis_angle(&Vector3::z_axis(), yaw);
        Transform::from_parts(Translation3::new(x, 0.0, 0.0), rotation)
    }

    /// odom -> base moves 1 m/s from 0 to 1 s, a sample each 100 ms; base -> camera is static.
    fn robot() -> TfBuffer {
        let mut tf = TfBuffer::default();
        tf.insert("base", "camera", 0, shift(0.2, 0.0, 0.3), true);
        for i in 0..=10 {
            let (stamp, x) = (i * 100 * MS, i as f64 * 0.1);
            assert_eq!(
                tf.insert("odom", "/base", stamp, shift(x, 0.0, 0.0), false),
                Insertion::Kept
            );
        }
        tf
    }

    fn x_at(tf: &TfBuffer, to: &str, from: &str, at: At) -> f64 {
        tf.lookup(to, from, at).unwrap().translation.x
    }

    #[test]
    fn samples_are_interpolated_and_never_extrapolated() {
        let tf = robot();
        assert!((x_at(&tf, "odom", "camera", At::Stamp(250 * MS)) - 0.45).abs() < 1e-12);
        assert!((x_at(&tf, "camera", "odom", At::Stamp(250 * MS)) + 0.45).abs() < 1e-12);
        assert!((x_at(&tf, "odom", "camera", At::Newest) - 1.2).abs() < 1e-12);
        // What is static is so at all times.
        assert!((x_at(&tf, "base", "camera", At::Stamp(-7)) - 0.2).abs() < 1e-12);
        let late = tf.lookup("odom", "camera", At::Stamp(1030 * MS)).unwrap_err();
        assert!(late.may_come());
        assert_eq!(
            late.to_string().split(": ").next().unwrap(),
            "tf from odom to base is known up to 30 ms before the picture"
        );
        let early = tf.lookup("odom", "camera", At::Stamp(-MS)).unwrap_err();
        assert!(matches!(early, TfError::Past { early_ns: 1_000_000, .. }), "{early:?}");
        assert!(!early.may_come());
    }

    #[test]
    fn what_is_missing_is_named() {
        let mut tf = robot();
        let unknown = tf.lookup("base_footprint", "camera", At::Newest).unwrap_err();
        assert_eq!(unknown, TfError::UnknownFrame { frame: "base_footprint".to_owned() });
        tf.insert("arm", "gripper", 0, shift(0.0, 0.0, 0.0), true);
        let broken = tf.lookup("base", "gripper", At::Newest).unwrap_err().to_string();
        assert!(
            broken.contains("from gripper to base") && broken.contains("hangs on arm"),
            "{broken}"
        );
        assert!(broken.contains("the other on odom"), "{broken}");
        assert!(!tf.connects("base", "gripper") && tf.connects("odom", "camera"));
    }

    #[test]
    fn a_jump_back_in_time_forgets_what_moved_and_keeps_what_is_static() {
        let mut tf = robot();
        // A straggler is no jump.
        assert_eq!(
            tf.insert("odom", "base", 50 * MS, shift(0.05, 0.0, 0.0), false),
            Insertion::Kept
        );
        for i in 11..30 {
            tf.insert("odom", "base", i * 100 * MS, shift(1.0, 0.0, 0.0), false);
        }
        let jump = tf.insert("odom", "base", 0, shift(9.0, 0.0, 0.0), false);
        assert_eq!(jump, Insertion::KeptAfterJump);
        assert!((x_at(&tf, "odom", "camera", At::Stamp(0)) - 9.2).abs() < 1e-12);
        assert!(tf.lookup("odom", "camera", At::Stamp(500 * MS)).is_err());
    }

    #[test]
    fn a_frame_whose_time_jumps_takes_no_other_along() {
        let mut tf = robot();
        for i in 0..10 {
            // Two that publish the same wheel, by clocks 2 s apart.
            tf.insert("base", "wheel", i * 100 * MS + 2000 * MS, shift(0.0, 0.0, 0.0), false);
            let late = tf.insert("base", "wheel", i * 100 * MS, shift(0.0, 0.0, 0.0), false);
            assert_eq!(late, Insertion::KeptAfterJump);
        }
        assert!(tf.lookup("odom", "camera", At::Stamp(500 * MS)).is_ok());
    }

    #[test]
    fn a_new_parent_takes_over() {
        let mut tf = robot();
        tf.insert("map", "base", 1000 * MS, shift(5.0, 0.0, 0.0), false);
        assert!((x_at(&tf, "map", "camera", At::Newest) - 5.2).abs() < 1e-12);
        assert!(matches!(
            tf.lookup("odom", "camera", At::Newest),
            Err(TfError::NotConnected { .. })
        ));
        // From moving to static and back.
        tf.insert("map", "base", 0, shift(6.0, 0.0, 0.0), true);
        assert!((x_at(&tf, "map", "camera", At::Stamp(77)) - 6.2).abs() < 1e-12);
        tf.insert("map", "base", 2000 * MS, shift(7.0, 0.0, 0.0), false);
        assert!((x_at(&tf, "map", "camera", At::Stamp(2000 * MS)) - 7.2).abs() < 1e-12);
    }

    #[test]
    fn circles_and_nonsense_are_refused() {
        let mut tf = TfBuffer::default();
        assert_eq!(tf.insert("a", "/a", 0, shift(0.0, 0.0, 0.0), true), Insertion::Refused);
        assert_eq!(tf.insert("", "a", 0, shift(0.0, 0.0, 0.0), true), Insertion::Refused);
        tf.insert("a", "b", 0, shift(0.0, 0.0, 0.0), true);
        tf.insert("b", "a", 0, shift(0.0, 0.0, 0.0), true);
        assert!(matches!(tf.lookup("a", "b", At::Newest), Err(TfError::Loop { .. })));
        for i in 0..2 * MOST_FRAMES {
            tf.insert("root", &i.to_string(), 0, shift(0.0, 0.0, 0.0), false);
        }
        assert_eq!(tf.nodes.len(), MOST_FRAMES);
    }

    #[test]
    fn old_samples_go() {
        let mut tf = TfBuffer::default();
        for i in 0..20_000 {
            tf.insert("odom", "base", i * MS, shift(i as f64, 0.0, 0.0), false);
        }
        assert!(matches!(tf.lookup("odom", "base", At::Stamp(0)), Err(TfError::Past { .. })));
        assert!((x_at(&tf, "odom", "base", At::Stamp(19_000 * MS)) - 19_000.0).abs() < 1e-9);
        assert!(
            matches!(&tf.nodes[1].link, Some(Link { motion: Motion::Samples(s), .. }) if s.len() <= MOST_SAMPLES)
        );
    }

    #[test]
    fn ways_meet_below_the_root() {
        let mut tf = TfBuffer::default();
        tf.insert("base", "left", 0, turned(1.0, 0.5), true);
        tf.insert("base", "right", 0, turned(-1.0, -0.5), true);
        // The robot itself is known at another time alone, which does not matter here.
        tf.insert("odom", "base", 900 * MS, turned(3.0, 1.0), false);
        let left_from_right = tf.lookup("left", "right", At::Stamp(5)).unwrap();
        let expected = turned(1.0, 0.5).inverse() * turned(-1.0, -0.5);
        let point = Point3::new(0.3, 0.4, 0.5);
        assert!((left_from_right * point - expected * point).norm() < 1e-12);
        assert!((tf.lookup("left", "left", At::Stamp(5)).unwrap() * point - point).norm() < 1e-12);
    }

    proptest! {
        #[test]
        fn any_stamps_in_any_order_never_panic(
            stamps in proptest::collection::vec(any::<i64>(), 1..50),
            asked in any::<i64>(),
        ) {
            let mut tf = TfBuffer::default();
            for (i, stamp) in stamps.iter().enumerate() {
                tf.insert("odom", "base", *stamp, turned(i as f64, i as f64), false);
            }
            for at in [At::Newest, At::Stamp(asked), At::Stamp(stamps[0])] {
                if let Ok(found) = tf.lookup("odom", "base", at) {
                    prop_assert!(found.translation.x.is_finite());
                    prop_assert!((found.rotation.norm() - 1.0).abs() < 1e-6);
                }
            }
        }
    }
}
