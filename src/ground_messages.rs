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
use crate::message::{Header, LaserScan, OccupancyGrid, PointCloud, TransformStamped};
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
    /// Parameters of the node.
    pub settings: &'a Settings,
    /// Parameters of the camera.
    pub own: &'a CameraSettings,
}

/// How long, from the picture on, tf is told where the ground lies. Nav2's layers take a scan only once tf is known a
/// twentieth of a second later, and drop it where that takes until the next picture. No usual time between
/// pictures: tf2 complains of two transforms of one stamp.
const AHEAD_NS: u32 = 71_300_000;

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
    map: Option<LocalMap>,
    /// What the map lies in; that of another frame says nothing there.
    map_frame: String,
    /// When the map was last given out.
    last_map_ns: Option<i64>,
}

impl GroundMessages {
    /// Forgets a camera.
    pub fn remove_camera(&mut self, id: usize) {
        self.cameras.remove(&id);
    }

    /// What the last frame of a camera shows of the ground; `None` where there was none.
    pub fn last(&self, camera: usize) -> Option<(&BeamTable, &Walk)> {
        self.cameras.get(&camera).and_then(|kept| kept.projector.last())
    }

    /// What to say of the last frame of a camera if half of its directions or more show ground above the horizon.
    pub fn doubt(&self, camera: usize) -> Option<String> {
        let (table, walk) = self.last(camera)?;
        (2 * walk.risen >= table.beams.max(1)).then(|| {
            format!(
                "the mask has ground above the horizon: nothing is known of {} of {} directions; either the camera looks down more than tf or ground.pitch_deg says, or what fills the picture is taken for ground, or the ground rises (ground.max_rise_deg)",
                walk.risen, table.beams,
            )
        })
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
        let (camera, _) = lens(&mut kept.lens, frame.info, own, frame.image_size)?;
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
        let (model, lens_by) = lens(&mut kept.lens, frame.info, own, frame.image_size)?;
        let stamp = header.stamp;
        let at = time_of(header);
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
        sink.transforms([transform(stamp), transform(stamp.later(AHEAD_NS))]);
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
        if wanted.has(Output::LocalMap) {
            let rules = MapRules {
                size_m: settings.map.size_m,
                resolution_m: settings.map.resolution_m,
                memory_s: settings.map.memory_s,
            };
            let map = match &mut self.map {
                Some(map) if *map.rules() == rules => map,
                map => map.insert(LocalMap::new(rules)),
            };
            // A camera that moves between two samples of tf waits for the second one; the stance
            // was looked up by the same stamp, so this is there, or never will be.
            let name = settings.map.frame.as_str();
            let odometry = tf.lookup(name, header.frame_id, at, Duration::ZERO).ok();
            let is_fused = odometry.is_some();
            let (map_from_ground, map_frame) = match odometry {
                Some(map_from_camera) => (map_from_camera * camera_from_ground, name),
                None => (Transform::identity(), ground_frame.as_str()),
            };
            let pose = PlanarPose::of(&map_from_ground);
            // The window goes with the robot; with the cameras it would go to and fro between them.
            let middle = match &base {
                Ok((_, base_from_camera)) => {
                    let base_from_ground = *base_from_camera * camera_from_ground;
                    PlanarPose::of(&(map_from_ground * base_from_ground.inverse()))
                }
                Err(_) => pose,
            };
            if !is_fused || self.map_frame != map_frame {
                map.clear();
                map_frame.clone_into(&mut self.map_frame);
            }
            let stamp_ns = stamp.nanoseconds();
            map.centre(middle.x, middle.y);
            map.add(stamp_ns, pose, table, walk);
            let least = (0.98e9 / settings.map.max_hz.max(0.01)) as i64;
            let is_due = self.last_map_ns.is_none_or(|last| {
                let gap = stamp_ns.saturating_sub(last);
                gap < 0 || gap >= least
            });
            if is_due {
                self.last_map_ns = Some(stamp_ns);
                let (resolution, origin, side) =
                    (map.rules().resolution_m as f32, map.origin(), map.side() as u32);
                let header = Header { stamp, frame_id: map_frame };
                let cells = map.occupancy(stamp_ns);
                sink.put(
                    Output::LocalMap,
                    &OccupancyGrid { header, resolution, side, origin, cells },
                );
            }
        }
        Ok(format!(
            "usable to {:.1} m; height {:.2} m, pitch {:.1} degrees by {stance_by}; lens by {lens_by}",
            table.reach.max_m,
            stance.height,
            stance.pitch().to_degrees(),
        ))
    }
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
pub fn camera_info_topic(settings: &CameraSettings) -> String {
    let named = &settings.ground.camera_info_topic;
    if !named.is_empty() {
        return named.clone();
    }
    let image = settings.image_topic.as_str();
    let image = image.strip_suffix("/compressed").unwrap_or(image);
    match image.rsplit_once('/') {
        Some((folder, _)) => format!("{folder}/camera_info"),
        None => "camera_info".to_owned(),
    }
}

/// The lens of a camera's pictures of `size`, and where it is known from.
fn lens(
    kept: &mut Option<Lens>,
    info: Option<&Arc<CameraInfo>>,
    settings: &CameraSettings,
    size: Size,
) -> KnownLens {
    let is_rectified = settings.ground.is_rectified.unwrap_or_else(|| {
        let parts = settings.image_topic.split('/');
        parts.into_iter().any(|part| part.starts_with("image_rect"))
    });
    let hfov_deg = settings.ground.hfov_deg;
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
        None | Some(Err(Reason::NotCalibrated)) if hfov_deg > 0.0 => {
            CameraModel::from_hfov(hfov_deg, size).map(|model| (model, "ground.hfov_deg"))
        }
        None => Err(Reason::NoCameraInfo { topic: camera_info_topic(settings) }),
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
    match by_tf {
        Err(_) if settings.height_m > 0.0 => {
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
