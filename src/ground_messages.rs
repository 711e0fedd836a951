//! From a frame's result to the messages of the ground: lens and stance looked up, what is wanted
//! made. The node and a replay bring tf and take the messages.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::geometry::Size;
use crate::ground::beams::{BeamTable, Walk, WalkRules};
use crate::ground::local_map::{LocalMap, MapRules, PlanarPose};
use crate::ground::points::{Cloud, PixelRays};
use crate::ground::projector::Projector;
use crate::ground::scan::Scan;
use crate::ground::tf_buffer::{At, TfBuffer, TfError};
use crate::ground::{CameraInfo, CameraModel, Reason, Stance, Transform};
use crate::message::{Header, LaserScan, OccupancyGrid, PointCloud, Stamp, TransformStamped};
use crate::output::{Output, Sink};
use crate::result::FrameResult;
use crate::settings::{CameraSettings, GroundSettings, Settings};

/// Where transforms are looked up.
pub trait TfSource {
    /// `to_from_from` at a time, waiting for it at most so long.
    ///
    /// # Errors
    /// [`TfError`]
    fn lookup(&self, to: &str, from: &str, at: At, longest: Duration)
    -> Result<Transform, TfError>;

    /// Whether there is a way between two frames, at whatever time.
    fn connects(&self, a: &str, b: &str) -> bool;
}

impl TfSource for TfBuffer {
    /// Waits for nothing.
    fn lookup(&self, to: &str, from: &str, at: At, _: Duration) -> Result<Transform, TfError> {
        Self::lookup(self, to, from, at)
    }

    fn connects(&self, a: &str, b: &str) -> bool {
        Self::connects(self, a, b)
    }
}

/// Who takes the messages.
pub trait GroundSink: Sink {
    /// Takes `<frame_id>_ground` at two times, before what refers to it.
    fn transforms(&mut self, transforms: [TransformStamped<'_>; 2]);
}

/// A picture, and all that tells where on the ground its pixels are.
#[derive(Debug, Clone, Copy)]
pub struct CameraFrame<'a> {
    /// The camera's number.
    pub camera: usize,
    /// Stamp and frame of the picture.
    pub header: Header<'a>,
    /// The camera's calibration, if it is known.
    pub info: Option<&'a Arc<CameraInfo>>,
    /// The picture's size.
    pub image_size: Size,
    /// Now, which stands in for the stamp of a picture that has none.
    pub now: Stamp,
    /// The pictures' topic, remapped; what it is called tells whether they are rectified.
    pub image_topic: &'a str,
    /// Parameters of the node.
    pub settings: &'a Settings,
    /// Parameters of the camera.
    pub own: &'a CameraSettings,
}

/// How long, from the picture on, tf is told where the ground lies. Nav2's layers take a scan only once tf is known a
/// twentieth of a second later, and drop it where that takes until the next picture. No usual time between
/// pictures: tf2 complains of two transforms of one stamp.
const AHEAD_NS: u32 = 71_300_000;

/// A frame's stamp this much before the last one of its camera: time has been set back.
const JUMP_NS: i64 = 1_000_000_000;

/// A map is given out again though its stamp is this much before the last one's: that camera's clock was another.
const ASTRAY_NS: i64 = 10_000_000_000;

/// A camera's lens, remade when its calibration or the picture's size changes.
type Lens = (Option<Arc<CameraInfo>>, Size, bool, f64, KnownLens);

/// A lens, and where it is known from.
type KnownLens = Result<(CameraModel, &'static str), Reason>;

/// Where a picture was taken.
#[derive(Debug, Clone, Copy)]
pub struct Taken {
    /// The lens.
    pub camera: CameraModel,
    /// The ground is at z = 0 of the base.
    pub base_from_camera: Transform,
    /// Where the robot was.
    pub odom_from_base: Transform,
}

/// What is kept of one camera from frame to frame.
#[derive(Debug, Default)]
struct Kept {
    lens: Option<Lens>,
    projector: Projector,
    scan: Scan,
    cloud: Cloud,
    pixels: PixelRays,
}

/// Makes the ground's messages of all cameras.
#[derive(Debug, Default)]
pub struct GroundMessages {
    cameras: BTreeMap<usize, Kept>,
    map: FusedMap,
}

impl GroundMessages {
    /// Forgets a camera.
    pub fn remove_camera(&mut self, id: usize) {
        self.cameras.remove(&id);
        self.map.times.remove(&id);
    }

    /// What the last frame of a camera shows of the ground; `None` where there was none.
    pub fn last(&self, camera: usize) -> Option<(&BeamTable, &Walk)> {
        self.cameras.get(&camera).and_then(|kept| kept.projector.last())
    }

    /// What to say of the last frame of a camera if its calibration is of pictures of another shape, or if half of its
    /// directions or more show ground above the horizon.
    pub fn doubt(&self, camera: usize) -> Option<String> {
        let (table, walk) = self.last(camera)?;
        let lens = self.cameras.get(&camera).and_then(|kept| kept.lens.as_ref());
        let squeezed = lens.and_then(|(info, size, ..)| {
            let info = info.as_ref().filter(|info| info.is_squeezed(*size))?;
            Some(format!(
                "camera_info is of {}x{}, the pictures are {size}: they are taken as squeezed; if the camera crops them, distances are wrong until it is calibrated at this size",
                info.width, info.height
            ))
        });
        let risen = (2 * walk.risen >= table.beams.max(1)).then(|| {
            format!(
                "the mask has ground above the horizon: nothing is known of {} of {} directions; either the camera looks down more than tf or ground.pitch_deg says, or what fills the picture is taken for ground, or the ground rises (ground.max_rise_deg)",
                walk.risen, table.beams,
            )
        });
        let doubts: Vec<String> = squeezed.into_iter().chain(risen).collect();
        (!doubts.is_empty()).then(|| doubts.join("; "))
    }

    /// Where a picture was taken, in the frame `odom` of tf.
    ///
    /// # Errors
    /// [`Reason`] why that is not known.
    pub fn taken(
        &mut self,
        frame: &CameraFrame<'_>,
        tf: &impl TfSource,
        odom: &str,
    ) -> Result<Taken, Reason> {
        let CameraFrame { header, settings, own, .. } = *frame;
        let kept = self.cameras.entry(frame.camera).or_default();
        let (camera, _) = lens(&mut kept.lens, frame)?;
        let (at, wait) = (time_of(header), wait_of(settings.map.tf_wait_ms));
        let (base, base_from_camera) =
            base_from_camera(tf, header.frame_id, at, &own.ground.frame, wait)?;
        let odom_from_base = tf.lookup(odom, base, at, wait)?;
        Ok(Taken { camera, base_from_camera, odom_from_base })
    }

    /// Makes what `sink` wants, and gives facts about it: how far it reaches, where height, pitch
    /// and lens are known from.
    ///
    /// # Errors
    /// [`Reason`] why there is no ground.
    pub fn make(
        &mut self,
        frame: &CameraFrame<'_>,
        result: &FrameResult,
        tf: &impl TfSource,
        sink: &mut impl GroundSink,
    ) -> Result<String, Reason> {
        let CameraFrame { header, settings, own, .. } = *frame;
        if let Some(kept) = self.cameras.get_mut(&frame.camera) {
            kept.projector.forget();
        }
        let no_mask = || Reason::NoMask { model: settings.model.model.clone() };
        let ground = result.ground.as_ref().ok_or_else(no_mask)?;
        let kept = self.cameras.entry(frame.camera).or_default();
        let (model, lens_by) = lens(&mut kept.lens, frame)?;
        let stamp = header.stamp;
        let at = time_of(header);
        let moment = if at == At::Newest { frame.now } else { stamp };
        let wait = wait_of(settings.map.tf_wait_ms);
        let base = base_from_camera(tf, header.frame_id, at, &own.ground.frame, wait);
        let (stance, stance_by) = stance(&base, &own.ground)?;
        let rules = walk_rules(&own.ground);
        let (table, walk) =
            kept.projector.run(&model, &stance, &ground.transform, &ground.grid, &rules)?;

        let wanted = sink.wanted();
        let ground_frame = format!("{}_ground", header.frame_id);
        let on_ground = Header { stamp, frame_id: &ground_frame };
        let camera_from_ground = table.ground_from_camera.inverse();
        let transform = |stamp| TransformStamped {
            header: Header { stamp, ..header },
            child_frame_id: &ground_frame,
            transform: Some(camera_from_ground),
        };
        // tf takes no transform from a frame without a name.
        if !header.frame_id.is_empty() {
            sink.transforms([transform(moment), transform(moment.later(AHEAD_NS))]);
        }
        if wanted.has(Output::Scan) {
            kept.scan.fill(table, walk);
            sink.put(Output::Scan, &LaserScan { header: on_ground, scan: &kept.scan });
        }
        if wanted.has(Output::Points)
            && let Some(maps) = &result.maps
        {
            kept.pixels.fill(
                &mut kept.cloud,
                &maps.traversability,
                maps.size,
                &ground.transform,
                own.mask.size,
                (table, walk),
            );
            sink.put(Output::Points, &PointCloud { header, cloud: &kept.cloud, is_dense: false });
        }
        if wanted.has(Output::ObstaclePoints) {
            kept.cloud.fill_feet(table, walk, own.ground.obstacle_z_m as f32);
            let cloud = PointCloud { header: on_ground, cloud: &kept.cloud, is_dense: true };
            sink.put(Output::ObstaclePoints, &cloud);
        }
        if wanted.has(Output::GroundPoints) {
            kept.cloud.fill_ground(table, walk);
            let cloud = PointCloud { header: on_ground, cloud: &kept.cloud, is_dense: true };
            sink.put(Output::GroundPoints, &cloud);
        }
        let mut facts = format!(
            "usable to {}, in view from {:.2} m; height {:.2} m, pitch {:.1} degrees by {stance_by}; lens by {lens_by}",
            table.reach,
            table.reach.from_m,
            stance.height,
            stance.pitch().to_degrees(),
        );
        if header.frame_id.is_empty() {
            facts += "; the picture's frame_id is empty: tf does not know where _ground is, connect it to the robot yourself";
        }
        if wanted.has(Output::LocalMap) {
            let base_from_camera = base.ok().map(|(_, base_from_camera)| base_from_camera);
            let moment_ns = moment.nanoseconds();
            let look = Look { moment_ns, base_from_camera, camera_from_ground, table, walk };
            match self.map.take(frame, &ground_frame, &look, tf, sink) {
                Ok(()) => {}
                Err(late) if late.is_of_time() => {
                    facts += &format!("; local_map leaves the frame out: {late}");
                }
                Err(absent) if self.map.frame == settings.map.frame => {
                    facts += &format!("; local_map is of the other cameras alone: {absent}");
                }
                Err(absent) => facts += &format!("; local_map is of one frame alone: {absent}"),
            }
        }
        Ok(facts)
    }
}

/// What a frame shows of the ground, and from where.
struct Look<'a> {
    moment_ns: i64,
    base_from_camera: Option<Transform>,
    camera_from_ground: Transform,
    table: &'a BeamTable,
    walk: &'a Walk,
}

/// The map of all cameras.
#[derive(Debug, Default)]
struct FusedMap {
    map: Option<LocalMap>,
    /// What it lies in; that of another frame says nothing there.
    frame: String,
    /// Each camera's own: they may be late by any time.
    times: BTreeMap<usize, CameraTimes>,
    /// Of which time the map was last given out.
    last_ns: Option<i64>,
}

#[derive(Debug, Clone, Copy, Default)]
struct CameraTimes {
    /// Of its newest frame.
    newest_ns: i64,
    /// Of the last frame that was taken up.
    taken_ns: Option<i64>,
    /// Of the last frame that waited for odometry.
    waited_ns: Option<i64>,
    /// Of the last frame for which there was odometry.
    placed_ns: Option<i64>,
}

impl FusedMap {
    /// Whether the map is of other cameras, which tf connects with the odometry.
    fn has_others(&self, frame: &CameraFrame<'_>, moment_ns: i64) -> bool {
        let settings = &frame.settings.map;
        let memory_ns = (settings.memory_s * 1e9) as i64;
        let is_recent = |at: i64| moment_ns.saturating_sub(at) <= memory_ns;
        let mut others = self.times.iter().filter(|(id, _)| **id != frame.camera);
        self.frame == settings.frame && others.any(|(_, one)| one.placed_ns.is_some_and(is_recent))
    }

    /// Takes a frame up, and gives the map out if that is due.
    ///
    /// # Errors
    /// The odometry is not there yet, or no more: the map is as it was. Or there is none: the map is that of this
    /// frame, or, if other cameras are placed, of those.
    fn take(
        &mut self,
        frame: &CameraFrame<'_>,
        ground_frame: &str,
        look: &Look<'_>,
        tf: &impl TfSource,
        sink: &mut impl GroundSink,
    ) -> Result<(), TfError> {
        let CameraFrame { header, settings, .. } = *frame;
        let settings = &settings.map;
        let rules = MapRules {
            size_m: settings.size_m,
            resolution_m: settings.resolution_m,
            memory_s: settings.memory_s,
        };
        let moment_ns = look.moment_ns;
        let has_others = self.has_others(frame, moment_ns);
        let map = match &mut self.map {
            Some(map) if *map.rules() == rules => map,
            map => map.insert(LocalMap::new(rules)),
        };
        let own = self.times.entry(frame.camera).or_default();
        if moment_ns < own.newest_ns.saturating_sub(JUMP_NS) {
            map.clear();
            (self.last_ns, *own) = (None, CameraTimes::default());
        }
        own.newest_ns = own.newest_ns.max(moment_ns);
        let least = (0.98e9 / settings.max_hz.max(0.01)) as i64;
        // Odometry comes some time after a picture that was taken meanwhile. As often as maps are given out a frame
        // waits for it; those between are taken up if it is there.
        let is_ago =
            |last: Option<i64>| last.is_none_or(|last| moment_ns.saturating_sub(last) >= least);
        let is_missed = is_ago(own.taken_ns);
        let waits = is_missed && is_ago(own.waited_ns);
        if waits {
            own.waited_ns = Some(moment_ns);
        }
        let wait = if waits { wait_of(settings.tf_wait_ms) } else { Duration::ZERO };
        let (odometry, absent) =
            match tf.lookup(&settings.frame, header.frame_id, time_of(header), wait) {
                Ok(map_from_camera) => (Some(map_from_camera), None),
                Err(late) if late.is_of_time() => {
                    return if is_missed { Err(late) } else { Ok(()) };
                }
                Err(absent) if has_others => return Err(absent),
                Err(absent) => (None, Some(absent)),
            };
        own.taken_ns = Some(moment_ns);
        if odometry.is_some() {
            own.placed_ns = Some(moment_ns);
        }
        let camera_from_ground = look.camera_from_ground;
        let (map_from_ground, map_frame) = match odometry {
            Some(map_from_camera) => {
                (map_from_camera * camera_from_ground, settings.frame.as_str())
            }
            None => (Transform::identity(), ground_frame),
        };
        let pose = PlanarPose::of(&map_from_ground);
        // The window goes with the robot; with the cameras it would go to and fro between them.
        let middle = match &look.base_from_camera {
            Some(base_from_camera) => {
                let base_from_ground = *base_from_camera * camera_from_ground;
                PlanarPose::of(&(map_from_ground * base_from_ground.inverse()))
            }
            None => pose,
        };
        if odometry.is_none() || self.frame != map_frame {
            map.clear();
            map_frame.clone_into(&mut self.frame);
        }
        map.centre(middle.x, middle.y);
        map.add(moment_ns, pose, look.table, look.walk);
        let is_due = self.last_ns.is_none_or(|last| {
            let gap = moment_ns.saturating_sub(last);
            gap >= least || gap < -ASTRAY_NS
        });
        if is_due {
            self.last_ns = Some(moment_ns);
            let (resolution, origin, side) =
                (map.rules().resolution_m as f32, map.origin(), map.side() as u32);
            let header = Header { frame_id: map_frame, ..header };
            let cells = map.occupancy(moment_ns);
            let grid = OccupancyGrid { header, resolution, side, origin, cells };
            sink.put(Output::LocalMap, &grid);
        }
        absent.map_or(Ok(()), Err)
    }
}

/// What is said of the ground, without the numbers in it: they change from frame to frame, the words do not.
pub fn without_numbers(said: &str) -> String {
    words(said).collect::<Vec<_>>().join(" ")
}

/// Whether the same is said, be it with other numbers.
pub fn is_same_but_for_numbers(said: &str, other: &str) -> bool {
    words(said).eq(words(other))
}

fn words(said: &str) -> impl Iterator<Item = &str> {
    said.split(' ').map(|word| if word.parse::<f64>().is_ok() { "N" } else { word })
}

/// How long tf is waited for.
fn wait_of(wait_ms: f64) -> Duration {
    Duration::from_secs_f64(wait_ms.clamp(0.0, 1000.0) / 1e3)
}

/// When to look transforms up for a frame.
fn time_of(header: Header<'_>) -> At {
    match header.stamp.nanoseconds() {
        0 => At::Newest,
        stamp_ns => At::Stamp(stamp_ns),
    }
}

fn walk_rules(settings: &GroundSettings) -> WalkRules {
    WalkRules {
        beam_step: settings.scan_step_deg.to_radians(),
        max_range_m: settings.max_range_m,
        pitch_sigma: settings.pitch_sigma_deg.to_radians(),
        range_error: settings.range_error,
        threshold: settings.threshold as f32,
        near_threshold: settings.near_threshold as f32,
        min_width: settings.min_width,
        min_length: settings.min_length,
        min_height_m: settings.min_height_m,
        max_rise: settings.max_rise_deg.to_radians(),
    }
}

/// Where a camera's calibration is expected: as set, or beside the pictures, whatever their transport.
pub fn camera_info_topic(settings: &CameraSettings, image_topic: &str) -> String {
    let named = &settings.ground.camera_info_topic;
    if !named.is_empty() {
        return named.clone();
    }
    let image = image_topic.strip_suffix("/compressed").unwrap_or(image_topic);
    match image.rsplit_once('/') {
        Some((folder, _)) => format!("{folder}/camera_info"),
        None => "camera_info".to_owned(),
    }
}

/// Whether pictures are undistorted already, by the name of their topic.
pub fn is_rectified(image_topic: &str) -> bool {
    image_topic.split('/').any(|part| part.starts_with("image_rect"))
}

/// The lens of a camera's pictures, and where it is known from.
fn lens(kept: &mut Option<Lens>, frame: &CameraFrame<'_>) -> KnownLens {
    let CameraFrame { info, image_topic, own, image_size: size, .. } = *frame;
    let is_rectified = own.ground.is_rectified.unwrap_or_else(|| is_rectified(image_topic));
    let hfov_deg = own.ground.hfov_deg;
    if let Some((of, has_size, rectified, hfov, lens)) = kept
        && of.as_ref() == info
        && *has_size == size
        && *rectified == is_rectified
        && *hfov == hfov_deg
    {
        return lens.clone();
    }
    let by_info = info.map(|info| CameraModel::new(info, size, is_rectified));
    let lens = match by_info {
        None | Some(Err(Reason::NotCalibrated { .. })) if hfov_deg > 0.0 => {
            CameraModel::from_hfov(hfov_deg, size).map(|model| (model, "ground.hfov_deg"))
        }
        // It is not kept: where one is expected may change.
        None => {
            return Err(Reason::NoCameraInfo { topic: camera_info_topic(own, image_topic) });
        }
        Some(model) => model.map(|model| (model, "camera_info")),
    };
    *kept = Some((info.cloned(), size, is_rectified, hfov_deg, lens.clone()));
    lens
}

/// How the camera stood when the picture was taken, and where that is known from: `base` is the frame whose z = 0 is the
/// ground, and where the camera is in it.
fn stance(
    base: &Result<(&str, Transform), Reason>,
    settings: &GroundSettings,
) -> Result<(Stance, String), Reason> {
    let by_tf = base.clone().and_then(|(frame, base_from_camera)| {
        Ok((Stance::from_transform(&base_from_camera, frame)?, format!("tf from {frame}")))
    });
    // What tf knows of another time is not missing: a camera that moves has other angles than the parameters.
    let is_late = matches!(&by_tf, Err(Reason::NoTransform(error)) if error.is_of_time());
    match by_tf {
        Err(_) if settings.height_m > 0.0 && !is_late => {
            let (pitch, roll) = (settings.pitch_deg.to_radians(), settings.roll_deg.to_radians());
            let stance = Stance::from_angles(settings.height_m, pitch, roll);
            Ok((stance, "ground.height_m, ground.pitch_deg".to_owned()))
        }
        other => other,
    }
}

/// The frame whose z = 0 is the ground, and where the camera is in it.
fn base_from_camera<'a>(
    tf: &impl TfSource,
    camera: &str,
    at: At,
    frame: &'a str,
    wait: Duration,
) -> Result<(&'a str, Transform), Reason> {
    if camera.is_empty() {
        return Err(Reason::NoFrameId);
    }
    let usual = ["base_footprint", "base_link"];
    let frame = match frame {
        "" => usual
            .into_iter()
            .find(|frame| tf.connects(frame, camera))
            .ok_or_else(|| Reason::NoGroundFrame { camera: camera.to_owned() })?,
        frame => frame,
    };
    Ok((frame, tf.lookup(frame, camera, at, wait)?))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::geometry::{Fit, input_transform};
    use crate::ground::camera_model::{CameraInfo, Roi};
    use crate::ground::grid::from_ids;
    use crate::message::RosMessage;
    use crate::output::OutputSet;
    use crate::result::Ground;

    const MS: i64 = 1_000_000;

    /// What was published: outputs by name, and the stamps of `<frame_id>_ground`.
    #[derive(Default)]
    struct Heard {
        maps: Vec<Vec<u8>>,
        transforms: Vec<i64>,
    }

    impl Sink for Heard {
        fn wanted(&self) -> OutputSet {
            OutputSet::GROUND
        }

        fn put(&mut self, output: Output, message: &impl RosMessage) {
            if output == Output::LocalMap {
                self.maps.push(message.to_cdr());
            }
        }
    }

    impl GroundSink for Heard {
        fn transforms(&mut self, transforms: [TransformStamped<'_>; 2]) {
            self.transforms.push(transforms[0].header.stamp.nanoseconds());
        }
    }

    fn shift(x: f64) -> Transform {
        Transform::translation(x, 0.0, 0.0)
    }

    /// Ground up to the middle, a wall above.
    fn floor() -> FrameResult {
        let (image, cells) = (Size::new(640, 480), Size::new(120, 90));
        let ids: Vec<u8> = (0..90 * 120).map(|i| if i / 120 < 50 { 2 } else { 0 }).collect();
        let transform = input_transform(image, Size::new(480, 360), Fit::Stretch, 0);
        let ground = Some(Ground { grid: from_ids(cells, &ids), transform });
        FrameResult { ground, ..FrameResult::new(image) }
    }

    struct Counting<'a> {
        tf: &'a TfBuffer,
        waits: &'a Cell<usize>,
    }

    impl TfSource for Counting<'_> {
        fn lookup(
            &self,
            to: &str,
            from: &str,
            at: At,
            longest: Duration,
        ) -> Result<Transform, TfError> {
            self.waits.set(self.waits.get() + usize::from(!longest.is_zero()));
            self.tf.lookup(to, from, at)
        }

        fn connects(&self, a: &str, b: &str) -> bool {
            self.tf.connects(a, b)
        }
    }

    struct Robot {
        messages: GroundMessages,
        tf: TfBuffer,
        settings: Settings,
        own: CameraSettings,
        heard: Heard,
    }

    impl Robot {
        /// Two cameras, `camera0` and `camera1`, whose heights are parameters.
        fn new() -> Self {
            let mut own = CameraSettings::default();
            (own.ground.height_m, own.ground.pitch_deg, own.ground.hfov_deg) = (0.4, 10.0, 70.0);
            let mut tf = TfBuffer::default();
            for camera in ["camera0", "camera1"] {
                tf.insert("robot", camera, 0, shift(0.0), true);
            }
            let (messages, settings, heard) = Default::default();
            Self { messages, tf, settings, own, heard }
        }

        fn see(&mut self, camera: usize, stamp_ns: i64) -> Result<String, Reason> {
            self.see_counting(camera, stamp_ns, &Cell::new(0))
        }

        /// Counts the lookups that may wait.
        fn see_counting(
            &mut self,
            camera: usize,
            stamp_ns: i64,
            waits: &Cell<usize>,
        ) -> Result<String, Reason> {
            let stamp = |ns: i64| Stamp::from_nanoseconds(ns as u64);
            let frame_id = ["camera0", "camera1", ""][camera];
            let frame = CameraFrame {
                camera,
                header: Header { stamp: stamp(stamp_ns), frame_id },
                info: None,
                image_size: Size::new(640, 480),
                now: stamp(70_000 * MS + 200 * MS * self.heard.transforms.len() as i64),
                image_topic: "/camera/image_raw",
                settings: &self.settings,
                own: &self.own,
            };
            let tf = Counting { tf: &self.tf, waits };
            self.messages.make(&frame, &floor(), &tf, &mut self.heard)
        }

        fn is_in_odom(&self) -> Vec<bool> {
            self.heard.maps.iter().map(|map| map.windows(5).any(|part| part == b"odom\0")).collect()
        }
    }

    #[test]
    fn odometry_that_is_late_leaves_the_map_as_it_is() {
        let mut robot = Robot::new();
        let alone = robot.see(0, 1000 * MS).unwrap();
        assert!(alone.contains("local_map is of one frame alone: tf knows no frame"), "{alone}");
        assert_eq!(robot.is_in_odom(), [false], "without odometry the map is the robot's");
        for i in 0..=10 {
            robot.tf.insert("odom", "robot", (1000 + 50 * i) * MS, shift(0.02 * i as f64), false);
        }
        for i in 0..5 {
            let said = robot.see(0, (1010 + 100 * i) * MS).unwrap();
            assert!(!said.contains("local_map"), "{said}");
        }
        let fused = robot.messages.map.map.as_ref().unwrap().last_occupancy().to_vec();
        let late = robot.see(0, 1610 * MS).unwrap();
        assert!(late.contains("local_map leaves the frame out: tf from odom to robot"), "{late}");
        robot.tf.insert("odom", "robot", 1700 * MS, shift(0.3), false);
        robot.see(0, 1650 * MS).unwrap();
        assert_eq!(robot.is_in_odom()[1..], [true; 5], "once there, it stays in odom");
        let seen = |cells: &[i8]| cells.iter().filter(|cell| **cell >= 0).count();
        let now = robot.messages.map.map.as_ref().unwrap().last_occupancy();
        assert!(seen(now) >= seen(&fused) && seen(&fused) > 500, "nothing is forgotten");
    }

    #[test]
    fn odometry_that_has_died_is_not_waited_for_with_every_frame() {
        let mut robot = Robot::new();
        robot.tf.insert("odom", "robot", 1000 * MS, shift(0.0), false);
        let waits = Cell::new(0);
        for i in 0..60 {
            let said = robot.see_counting(0, (1100 + 33 * i) * MS, &waits).unwrap();
            assert!(said.contains("leaves the frame out"), "{said}");
        }
        // 2 s at 10 Hz.
        assert!((10..=21).contains(&waits.get()), "{}", waits.get());
    }

    #[test]
    fn a_camera_without_odometry_leaves_the_map_to_those_that_have_it() {
        let mut robot = Robot::new();
        robot.tf.insert("odom", "robot", 0, shift(0.0), true);
        for i in 0..10 {
            robot.see(0, (10_000 + 100 * i) * MS).unwrap();
            let said = robot.see(2, (10_050 + 100 * i) * MS).unwrap();
            assert!(said.contains("local_map is of the other cameras alone"), "{said}");
        }
        assert_eq!(robot.is_in_odom(), [true; 10]);
        robot.messages.remove_camera(0);
        let said = robot.see(2, 11_100 * MS).unwrap();
        assert!(said.contains("local_map is of one frame alone"), "{said}");
    }

    #[test]
    fn a_calibration_of_another_shape_is_doubted() {
        let info = CameraInfo { width: 640, height: 480, ..CameraInfo::default() };
        let of = |width, height| info.is_squeezed(Size::new(width, height));
        assert!(of(1280, 720) && !of(1280, 960) && !of(320, 240));
        let cropped = Roi { x_offset: 0, y_offset: 60, width: 640, height: 360 };
        assert!(!CameraInfo { roi: cropped, ..info.clone() }.is_squeezed(Size::new(1280, 720)));
        let binned = CameraInfo { binning: [2, 1], ..info };
        let of = |width, height| binned.is_squeezed(Size::new(width, height));
        assert!(!of(320, 480) && !of(640, 480) && of(640, 240));
    }

    #[test]
    fn pictures_without_a_stamp_have_maps_and_transforms_of_now() {
        let mut robot = Robot::new();
        for _ in 0..3 {
            robot.see(0, 0).unwrap();
        }
        assert_eq!(robot.heard.maps.len(), 3);
        assert_eq!(robot.heard.transforms, [70_000 * MS, 70_200 * MS, 70_400 * MS]);
    }

    #[test]
    fn a_camera_that_is_late_neither_clears_nor_hurries_the_map() {
        let mut robot = Robot::new();
        robot.tf.insert("odom", "robot", 0, shift(0.0), true);
        for i in 0..30 {
            robot.see(0, (10_000 + 33 * i) * MS).unwrap();
            robot.see(1, (8_500 + 33 * i) * MS).unwrap();
        }
        // 1 s at 10 Hz.
        assert!((9..=11).contains(&robot.heard.maps.len()), "{}", robot.heard.maps.len());
        assert!(robot.messages.map.map.as_ref().unwrap().last_occupancy().contains(&0));
        // Time set back begins anew, and maps come again.
        let before = robot.heard.maps.len();
        robot.see(0, 2_000 * MS).unwrap();
        assert_eq!(robot.heard.maps.len(), before + 1);
    }

    #[test]
    fn parameters_stand_in_for_tf_that_is_missing_not_for_tf_that_is_late() {
        let mut robot = Robot::new();
        assert!(robot.see(0, 1000 * MS).unwrap().contains("by ground.height_m"));
        robot.own.ground.frame = "odom".to_owned();
        robot.tf.insert("odom", "robot", 900 * MS, shift(0.0), false);
        let late = robot.see(0, 1000 * MS).unwrap_err();
        assert!(matches!(&late, Reason::NoTransform(error) if error.may_come()), "{late}");
    }

    #[test]
    fn a_picture_without_a_frame_is_not_on_tf() {
        let mut robot = Robot::new();
        let said = robot.see(2, 1000 * MS).unwrap();
        assert!(said.contains("frame_id is empty"), "{said}");
        assert!(robot.heard.transforms.is_empty());
    }

    #[test]
    fn what_is_said_is_news_by_its_words() {
        assert_eq!(without_numbers("usable to 3.2 m; by cam2"), "usable to N m; by cam2");
        assert!(is_same_but_for_numbers("up to 31 ms", "up to 4 ms"));
        assert!(!is_same_but_for_numbers("up to 31 ms", "from 31 ms"));
    }
}
