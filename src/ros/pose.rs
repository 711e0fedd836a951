//! The robot's pose, for places that remember where they were taught.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use futures::{Stream, StreamExt};
use r2r::QosProfile;
use r2r::geometry_msgs::msg::{self, PoseStamped, PoseWithCovarianceStamped};
use r2r::nav_msgs::msg::Odometry;
use r2r::qos::{DurabilityPolicy, ReliabilityPolicy};
use r2r::std_msgs::msg::Header;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::executor::NodeHandle;
use super::names::Resolver;
use super::qos;
use super::supervision::guarded;
use crate::pose::{Pose, PoseEstimate};
use crate::settings::Settings;

const LOOK_AROUND: Duration = Duration::from_millis(500);

const TYPES: [&str; 3] = [
    "geometry_msgs/msg/PoseStamped",
    "geometry_msgs/msg/PoseWithCovarianceStamped",
    "nav_msgs/msg/Odometry",
];

/// The newest pose and when it came. Its writer is the task of [`follow`], its reader the inference
/// thread.
#[derive(Debug, Clone, Default)]
pub struct PoseSlot(Arc<Mutex<Option<(Pose, Instant)>>>);

impl PoseSlot {
    /// The newest pose and how old it is. A robot that stands still may get none for long.
    pub fn newest(&self) -> Option<(Pose, Duration)> {
        let slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        slot.as_ref().map(|(pose, at)| (pose.clone(), at.elapsed()))
    }

    fn put(&self, header: Header, pose: &msg::Pose) {
        let msg::Pose { position: p, orientation: q } = pose;
        let pose = Pose {
            frame_id: header.frame_id,
            position: [p.x, p.y, p.z],
            orientation: [q.x, q.y, q.z, q.w],
        };
        if pose.is_valid() {
            let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            *slot = Some((pose, Instant::now()));
        } else {
            tracing::debug!("a pose that is no pose is passed over: {pose:?}");
        }
    }
}

/// Type and QoS of a topic's publishers, the first one's type if it is one of [`TYPES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Offer {
    topic_type: &'static str,
    is_reliable: bool,
    is_latched: bool,
}

impl Offer {
    fn qos(self) -> QosProfile {
        let qos = QosProfile::default().keep_last(1);
        let qos = if self.is_reliable { qos.reliable() } else { qos.best_effort() };
        if self.is_latched { qos.transient_local() } else { qos.volatile() }
    }
}

fn offer(node: &mut r2r::Node, topic: &str) -> Result<Option<Offer>, String> {
    let infos = node.get_publishers_info_by_topic(topic, false).unwrap_or_default();
    let Some(first) = infos.first() else { return Ok(None) };
    let topic_type = TYPES.iter().find(|known| **known == first.topic_type);
    let Some(topic_type) = topic_type else {
        return Err(format!(
            "places.pose_topic: {topic} carries {}, not one of {}",
            first.topic_type,
            TYPES.join(", ")
        ));
    };
    let all = |is: fn(&QosProfile) -> bool| infos.iter().all(|info| is(&info.qos_profile));
    let is_reliable = |qos: &QosProfile| matches!(qos.reliability, ReliabilityPolicy::Reliable);
    let is_latched = |qos: &QosProfile| matches!(qos.durability, DurabilityPolicy::TransientLocal);
    Ok(Some(Offer { topic_type, is_reliable: all(is_reliable), is_latched: all(is_latched) }))
}

/// Keeps the topic of `places.pose_topic` subscribed while the node is active, until `shutdown`, and
/// fills the slot: whoever publishes there may go, and come back with another type or QoS.
pub async fn follow(
    settings: Arc<ArcSwap<Settings>>,
    slot: PoseSlot,
    node: NodeHandle,
    resolver: Arc<Resolver>,
    mut is_active: watch::Receiver<bool>,
    shutdown: CancellationToken,
) {
    let topic = settings.load().places.pose_topic.clone();
    if topic.is_empty() {
        return;
    }
    let resolved = resolver.resolve(&topic);
    let mut said = String::new();
    let mut current: Option<(Offer, CancellationToken)> = None;
    loop {
        if !*is_active.borrow_and_update() {
            if let Some((_, end)) = current.take() {
                end.cancel();
            }
            tokio::select! {
                () = shutdown.cancelled() => return,
                changed = is_active.changed() => if changed.is_err() { return },
            }
            continue;
        }
        let asked = resolved.clone();
        let Some(found) = node.with(move |node| offer(node, &asked)).await else { return };
        let warning = match found {
            Ok(Some(offer)) if current.as_ref().is_some_and(|(has, _)| *has == offer) => {
                String::new()
            }
            Ok(Some(offer)) => {
                if let Some((_, end)) = current.take() {
                    end.cancel();
                }
                let end = shutdown.child_token();
                match subscribe(&node, &topic, &offer, &slot, end.clone()).await {
                    Ok(()) => {
                        tracing::info!("poses come from {resolved} ({})", offer.topic_type);
                        current = Some((offer, end));
                        String::new()
                    }
                    Err(reason) => format!("cannot subscribe to {resolved}: {reason}"),
                }
            }
            // A publisher that has gone may come back as it was: its subscription stays.
            Ok(None) if current.is_some() => String::new(),
            Ok(None) => format!("places.pose_topic: nobody publishes on {resolved}"),
            Err(reason) => reason,
        };
        if warning != said {
            if !warning.is_empty() {
                tracing::warn!("{warning}; places are taught without a pose meanwhile");
            }
            said = warning;
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(LOOK_AROUND) => {}
            _ = is_active.changed() => {}
        }
    }
}

async fn subscribe(
    node: &NodeHandle,
    topic: &str,
    offer: &Offer,
    slot: &PoseSlot,
    end: CancellationToken,
) -> Result<(), String> {
    let (topic, qos) = (topic.to_owned(), qos::subscription(topic, offer.qos()));
    let slot = slot.clone();
    let gone = || "the node is gone".to_owned();
    let text = |error: r2r::Error| error.to_string();
    match offer.topic_type {
        "geometry_msgs/msg/PoseStamped" => {
            let stream = node.with(move |node| node.subscribe::<PoseStamped>(&topic, qos)).await;
            let stream = stream.ok_or_else(gone)?.map_err(text)?;
            tokio::spawn(guarded(drain(stream, end, move |m| slot.put(m.header, &m.pose))));
        }
        "nav_msgs/msg/Odometry" => {
            let stream = node.with(move |node| node.subscribe::<Odometry>(&topic, qos)).await;
            let stream = stream.ok_or_else(gone)?.map_err(text)?;
            tokio::spawn(guarded(drain(stream, end, move |m| slot.put(m.header, &m.pose.pose))));
        }
        _ => {
            let subscribe = move |node: &mut r2r::Node| {
                node.subscribe::<PoseWithCovarianceStamped>(&topic, qos)
            };
            let stream = node.with(subscribe).await.ok_or_else(gone)?.map_err(text)?;
            tokio::spawn(guarded(drain(stream, end, move |m| slot.put(m.header, &m.pose.pose))));
        }
    }
    Ok(())
}

async fn drain<T>(
    mut stream: impl Stream<Item = T> + Unpin,
    end: CancellationToken,
    put: impl Fn(T),
) {
    loop {
        tokio::select! {
            () = end.cancelled() => return,
            message = stream.next() => match message {
                Some(message) => put(message),
                None => return,
            },
        }
    }
}

/// An estimate as a message, with the stamp of the frame that it was recognised in.
pub fn to_message(
    stamp: &r2r::builtin_interfaces::msg::Time,
    estimate: &PoseEstimate,
) -> PoseWithCovarianceStamped {
    let Pose { frame_id, position: [x, y, z], orientation: [qx, qy, qz, qw] } = &estimate.pose;
    PoseWithCovarianceStamped {
        header: Header { stamp: stamp.clone(), frame_id: frame_id.clone() },
        pose: msg::PoseWithCovariance {
            pose: msg::Pose {
                position: msg::Point { x: *x, y: *y, z: *z },
                orientation: msg::Quaternion { x: *qx, y: *qy, z: *qz, w: *qw },
            },
            covariance: estimate.covariance.to_vec(),
        },
    }
}
