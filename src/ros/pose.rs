//! The robot's pose, for places that remember where they were taught.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use r2r::geometry_msgs::msg::{self, PoseStamped, PoseWithCovarianceStamped};
use r2r::nav_msgs::msg::Odometry;
use r2r::std_msgs::msg::Header;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::executor::NodeHandle;
use super::names::Resolver;
use super::subscription::subscribe;
use super::typed_topic::{Offer, TypedTopic};
use crate::lock::lock;
use crate::pose::Pose;
use crate::settings::Settings;

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
        let slot = lock(&self.0);
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
            let mut slot = lock(&self.0);
            *slot = Some((pose, Instant::now()));
        } else {
            tracing::debug!("a pose that is no pose is passed over: {pose:?}");
        }
    }
}

/// Keeps the topic of `places.pose_topic` subscribed while the node is active, until `shutdown`, and
/// fills the slot.
pub async fn follow(
    settings: Arc<ArcSwap<Settings>>,
    slot: PoseSlot,
    node: NodeHandle,
    resolver: Arc<Resolver>,
    is_active: watch::Receiver<bool>,
    shutdown: CancellationToken,
) {
    let name = settings.load().places.pose_topic.clone();
    if name.is_empty() {
        return;
    }
    let topic = TypedTopic {
        name: name.clone(),
        types: &TYPES,
        label: "places.pose_topic",
        announcement: "poses come from",
        meanwhile: "places are taught without a pose meanwhile",
        is_expected: true,
    };
    let subscribe_as = async move |node: &NodeHandle, offer: Offer, end: CancellationToken| {
        let (slot, qos) = (slot.clone(), offer.qos(1));
        match offer.topic_type {
            "geometry_msgs/msg/PoseStamped" => {
                let put = move |m: PoseStamped| slot.put(m.header, &m.pose);
                subscribe(node, &name, qos, end, put).await
            }
            "nav_msgs/msg/Odometry" => {
                let put = move |m: Odometry| slot.put(m.header, &m.pose.pose);
                subscribe(node, &name, qos, end, put).await
            }
            _ => {
                let put = move |m: PoseWithCovarianceStamped| slot.put(m.header, &m.pose.pose);
                subscribe(node, &name, qos, end, put).await
            }
        }
    };
    topic.follow(node, resolver, is_active, shutdown, subscribe_as).await;
}
