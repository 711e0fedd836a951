//! From a frame's result to what lies on the ground: lens and stance looked up, outputs made and
//! published, and why there are none said once.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use r2r::Publisher;
use r2r::std_msgs::msg::Header;
use r2r::tf2_msgs::msg::TFMessage;

use super::camera_info;
use super::diagnostics::CameraState;
use super::output::CameraOutputs;
use super::tf::{self, TfSlot};
use crate::geometry::Size;
use crate::ground::beams::WalkRules;
use crate::ground::local_map::{LocalMap, MapRules, PlanarPose};
use crate::ground::points::{Cloud, PixelRays};
use crate::ground::projector::Projector;
use crate::ground::scan::Scan;
use crate::ground::tf_buffer::At;
use crate::ground::{CameraInfo, CameraModel, Reason, Stance, Transform};
use crate::message::{self, LaserScan, OccupancyGrid, PointCloud, Stamp};
use crate::result::FrameResult;
use crate::settings::{CameraSettings, GroundSettings, MapSettings, Settings};

/// A reason that is over sooner is not logged: calibration and tf come a moment after they are
/// subscribed to.
const PATIENCE: Duration = Duration::from_secs(2);

/// What is known of a camera's ground. Written by the task that follows its calibration and by the
/// inference thread.
#[derive(Debug, Default)]
pub struct GroundState {
    is_wanted: AtomicBool,
    info: Mutex<Option<Arc<CameraInfo>>>,
    said: Mutex<Said>,
}

#[derive(Debug, Default)]
struct Said {
    /// What holds of the last frame: facts, or why there is no ground.
    last: Option<Result<String, String>>,
    /// Since when that reason holds.
    since: Option<Instant>,
    logged: String,
}

impl GroundState {
    /// Whether somebody listens to the ground's outputs.
    pub fn is_wanted(&self) -> bool {
        self.is_wanted.load(Relaxed)
    }

    /// Takes the camera's calibration, or that there is none any more.
    pub fn set_info(&self, info: Option<CameraInfo>) {
        *self.info.lock().unwrap_or_else(PoisonError::into_inner) = info.map(Arc::new);
    }

    /// Facts about the last frame's ground, or why there was none; `None` while nobody asks.
    pub fn last(&self) -> Option<Result<String, String>> {
        self.said().last.clone()
    }

    fn info(&self) -> Option<Arc<CameraInfo>> {
        self.info.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn said(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn say(&self, prefix: &str, now: Result<String, String>) {
        let mut said = self.said();
        match &now {
            Ok(facts) => {
                if said.logged != *facts {
                    tracing::info!("{prefix}ground: {facts}");
                    said.logged.clone_from(facts);
                }
                said.since = None;
            }
            Err(reason) => {
                let since = *said.since.get_or_insert_with(Instant::now);
                // Numbers in it change from frame to frame; its first words do not.
                let is_news =
                    said.logged.split([':', ';']).next() != reason.split([':', ';']).next();
                if is_news && since.elapsed() >= PATIENCE {
                    tracing::warn!("{prefix}no ground: {reason}");
                    said.logged.clone_from(reason);
                }
            }
        }
        said.last = Some(now);
    }
}

/// A camera's lens, remade when its calibration or the picture's size changes.
type Lens = (Option<Arc<CameraInfo>>, Size, bool, f64, Result<CameraModel, Reason>);

/// What is kept of one camera from frame to frame.
#[derive(Default)]
struct Kept {
    lens: Option<Lens>,
    projector: Projector,
    scan: Scan,
    cloud: Cloud,
    pixels: PixelRays,
}

/// The ground of all cameras; owned by the inference thread.
pub struct Grounds {
    tf: Arc<TfSlot>,
    broadcaster: Publisher<TFMessage>,
    cameras: BTreeMap<usize, Kept>,
    map: Option<LocalMap>,
    /// What the map lies in; that of another frame says nothing there.
    map_frame: String,
    last_map_ns: i64,
}

impl Grounds {
    /// None yet. `broadcaster` publishes on `/tf`.
    pub fn new(tf: Arc<TfSlot>, broadcaster: Publisher<TFMessage>) -> Self {
        Self {
            tf,
            broadcaster,
            cameras: BTreeMap::new(),
            map: None,
            map_frame: String::new(),
            last_map_ns: i64::MIN,
        }
    }

    /// Gives the publisher back, for it to be destroyed.
    pub fn into_broadcaster(self) -> Publisher<TFMessage> {
        self.broadcaster
    }

    /// Forgets a camera.
    pub fn remove_camera(&mut self, id: usize) {
        self.cameras.remove(&id);
    }

    /// Has calibration and tf subscribed, if the camera's ground is wanted.
    pub fn note_wanted(&self, camera: &CameraState, is_wanted: bool) {
        camera.ground.is_wanted.store(is_wanted, Relaxed);
        if is_wanted {
            self.tf.want();
        } else {
            *camera.ground.said() = Said::default();
        }
    }

    /// Makes and publishes what somebody listens to.
    pub fn publish(
        &mut self,
        (id, camera): (usize, &CameraState),
        header: &Header,
        result: &FrameResult,
        (settings, own): (&Settings, &CameraSettings),
        outputs: &CameraOutputs,
    ) {
        let said = match self.try_publish((id, camera), header, result, (settings, own), outputs) {
            Ok(facts) => Ok(facts),
            Err(reason) => Err(reason.to_string()),
        };
        camera.ground.say(&camera.prefix(), said);
    }

    fn try_publish(
        &mut self,
        (id, camera): (usize, &CameraState),
        header: &Header,
        result: &FrameResult,
        (settings, own): (&Settings, &CameraSettings),
        outputs: &CameraOutputs,
    ) -> Result<String, Reason> {
        let ground = result
            .ground
            .as_ref()
            .ok_or_else(|| Reason::NoMask { model: settings.model.model.clone() })?;
        let kept = self.cameras.entry(id).or_default();
        let (model, lens_by) = lens(&mut kept.lens, camera, own, result.image_size)?;
        let at = match (header.stamp.sec, header.stamp.nanosec) {
            (0, 0) => At::Newest,
            (sec, nanosec) => At::Stamp(i64::from(sec) * 1_000_000_000 + i64::from(nanosec)),
        };
        let (stance, stance_by) = stance(&self.tf, header, at, &own.ground, &settings.map)?;
        let rules = walk_rules(&own.ground);
        let (table, walk) =
            kept.projector.run(&model, &stance, &ground.transform, &ground.grid, &rules)?;

        let wanted = outputs.ground_wanted();
        let stamp = Stamp { sec: header.stamp.sec, nanosec: header.stamp.nanosec };
        let frame = format!("{}_ground", header.frame_id);
        let on_ground = message::Header { stamp, frame_id: &frame };
        // Before what refers to it.
        let in_camera = table.ground_from_camera.inverse();
        let transforms = vec![tf::to_message(header.clone(), &frame, &in_camera)];
        if let Err(error) = self.broadcaster.publish(&TFMessage { transforms }) {
            tracing::warn!("/tf: a transform was not published: {error}");
        }
        if wanted.scan {
            kept.scan.fill(table, walk);
            outputs.publish_scan(&LaserScan { header: on_ground, scan: &kept.scan });
        }
        if wanted.points
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
            let header = message::Header { stamp, frame_id: &header.frame_id };
            outputs.publish_points(&PointCloud { header, cloud: &kept.cloud, is_dense: false });
        }
        if wanted.obstacle_points {
            kept.cloud.fill_feet(table, walk, own.ground.obstacle_z_m as f32);
            let cloud = PointCloud { header: on_ground, cloud: &kept.cloud, is_dense: true };
            outputs.publish_obstacle_points(&cloud);
        }
        if wanted.ground_points {
            kept.cloud.fill_ground(table, walk);
            let cloud = PointCloud { header: on_ground, cloud: &kept.cloud, is_dense: true };
            outputs.publish_ground_points(&cloud);
        }
        if wanted.local_map {
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
            let odometry = self.tf.lookup(name, &header.frame_id, at, Duration::ZERO).ok();
            let is_fused = odometry.is_some();
            let (pose, map_frame) = match odometry {
                Some(map_from_camera) => (PlanarPose::of(&(map_from_camera * in_camera)), name),
                None => (PlanarPose::default(), frame.as_str()),
            };
            if !is_fused || self.map_frame != map_frame {
                map.clear();
                map_frame.clone_into(&mut self.map_frame);
            }
            let stamp_ns = stamp.nanoseconds();
            map.centre(pose.x, pose.y);
            map.add(stamp_ns, pose, table, walk);
            let gap = stamp_ns.saturating_sub(self.last_map_ns);
            let least = (0.98e9 / settings.map.max_hz.max(0.01)) as i64;
            if gap < 0 || gap >= least {
                self.last_map_ns = stamp_ns;
                let (resolution, origin, side) =
                    (map.rules().resolution_m as f32, map.origin(), map.side() as u32);
                let header = message::Header { stamp, frame_id: map_frame };
                let cells = map.occupancy(stamp_ns);
                outputs.publish_local_map(&OccupancyGrid {
                    header,
                    resolution,
                    side,
                    origin,
                    cells,
                });
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

fn walk_rules(settings: &GroundSettings) -> WalkRules {
    WalkRules {
        beam_step: settings.scan_step_deg.to_radians(),
        max_range_m: settings.max_range_m,
        pitch_sigma: settings.pitch_sigma_deg.to_radians(),
        range_error: settings.range_error,
        threshold: settings.threshold as f32,
        min_width: settings.min_width,
        min_length: settings.min_length,
    }
}

/// The lens of a camera's pictures of `size`, and where it is known from.
fn lens(
    kept: &mut Option<Lens>,
    camera: &CameraState,
    settings: &CameraSettings,
    size: Size,
) -> Result<(CameraModel, &'static str), Reason> {
    let info = camera.ground.info();
    let is_rectified = settings.ground.is_rectified.unwrap_or_else(|| {
        let parts = settings.image_topic.split('/');
        parts.into_iter().any(|part| part.starts_with("image_rect"))
    });
    let hfov_deg = settings.ground.hfov_deg;
    let is_kept = kept.as_ref().is_some_and(|(of, has_size, rectified, hfov, _)| {
        *of == info && *has_size == size && *rectified == is_rectified && *hfov == hfov_deg
    });
    if !is_kept {
        let model = match &info {
            Some(info) => CameraModel::new(info, size, is_rectified),
            None if hfov_deg > 0.0 => CameraModel::from_hfov(hfov_deg, size),
            None => Err(Reason::NoCameraInfo { topic: camera_info::topic_of(settings) }),
        };
        *kept = Some((info.clone(), size, is_rectified, hfov_deg, model));
    }
    let by = if info.is_some() { "camera_info" } else { "ground.hfov_deg" };
    let model = kept.as_ref().map(|(.., model)| model.clone());
    model.unwrap_or(Err(Reason::NotCalibrated)).map(|model| (model, by))
}

/// How the camera stood when the picture was taken, and where that is known from.
fn stance(
    tf: &TfSlot,
    header: &Header,
    at: At,
    settings: &GroundSettings,
    map: &MapSettings,
) -> Result<(Stance, String), Reason> {
    let by_tf = stance_by_tf(tf, header, at, &settings.frame, map.tf_wait_ms);
    match by_tf {
        Err(_) if settings.height_m > 0.0 => {
            let (pitch, roll) = (settings.pitch_deg.to_radians(), settings.roll_deg.to_radians());
            let stance = Stance::from_angles(settings.height_m, pitch, roll);
            Ok((stance, "ground.height_m, ground.pitch_deg".to_owned()))
        }
        other => other,
    }
}

fn stance_by_tf(
    tf: &TfSlot,
    header: &Header,
    at: At,
    frame: &str,
    wait_ms: f64,
) -> Result<(Stance, String), Reason> {
    let camera = header.frame_id.as_str();
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
    let wait = Duration::from_secs_f64(wait_ms.clamp(0.0, 1000.0) / 1e3);
    let base_from_camera: Transform = tf.lookup(frame, camera, at, wait)?;
    Ok((Stance::from_transform(&base_from_camera, frame)?, format!("tf from {frame}")))
}
