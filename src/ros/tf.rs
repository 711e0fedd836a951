//! `/tf` and `/tf_static`, followed while somebody wants the ground, and looked up by a picture's stamp.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use r2r::QosProfile;
use r2r::builtin_interfaces::msg::Time;
use r2r::geometry_msgs::msg::{Quaternion, TransformStamped, Vector3};
use r2r::std_msgs::msg::Header;
use r2r::tf2_msgs::msg::TFMessage;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::executor::NodeHandle;
use super::subscription;
use crate::ground::tf_buffer::{At, Insertion, TfBuffer, TfError};
use crate::ground::transform::{self, Transform};
use crate::ground_messages::TfSource;
use crate::message;

const LOOK_AROUND: Duration = Duration::from_millis(100);

/// Transforms of the last seconds. Their writers are the tasks of [`follow`], their reader the
/// inference thread.
#[derive(Debug, Default)]
pub struct TfSlot {
    buffer: Mutex<TfBuffer>,
    arrived: Condvar,
    is_wanted: AtomicBool,
}

impl TfSlot {
    /// Has the topics subscribed.
    pub fn want(&self) {
        self.is_wanted.store(true, Relaxed);
    }

    fn buffer(&self) -> MutexGuard<'_, TfBuffer> {
        self.buffer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, message: TFMessage, is_static: bool) {
        let mut buffer = self.buffer();
        for stamped in message.transforms {
            let TransformStamped { header, child_frame_id, transform } = stamped;
            let (t, r) = (transform.translation, transform.rotation);
            let stamp_ns =
                i64::from(header.stamp.sec) * 1_000_000_000 + i64::from(header.stamp.nanosec);
            let Some(transform) = transform::from_parts([t.x, t.y, t.z], [r.x, r.y, r.z, r.w])
            else {
                tracing::debug!(
                    "a transform from {} to {child_frame_id} that is none is passed over",
                    header.frame_id
                );
                continue;
            };
            let kept =
                buffer.insert(&header.frame_id, &child_frame_id, stamp_ns, transform, is_static);
            if kept == Insertion::KeptAfterJump {
                tracing::info!(
                    "time went back on /tf: how {child_frame_id} moved before is forgotten"
                );
            }
        }
        drop(buffer);
        self.arrived.notify_all();
    }
}

impl TfSource for TfSlot {
    fn lookup(
        &self,
        to: &str,
        from: &str,
        at: At,
        longest: Duration,
    ) -> Result<Transform, TfError> {
        let until = Instant::now() + longest;
        let mut buffer = self.buffer();
        loop {
            let found = buffer.lookup(to, from, at);
            let left = until.saturating_duration_since(Instant::now());
            match found {
                Err(error) if error.may_come() && !left.is_zero() => {
                    let waited = self.arrived.wait_timeout(buffer, left);
                    buffer = waited.unwrap_or_else(PoisonError::into_inner).0;
                }
                found => return found,
            }
        }
    }

    fn connects(&self, a: &str, b: &str) -> bool {
        self.buffer().connects(a, b)
    }
}

/// Keeps `/tf` subscribed while the node is active and somebody wants the ground, and `/tf_static` from then on: what is
/// latched comes once, and hardly ever costs anything.
pub async fn follow(
    slot: Arc<TfSlot>,
    node: NodeHandle,
    mut is_active: watch::Receiver<bool>,
    shutdown: CancellationToken,
) {
    let moving = QosProfile::default().keep_last(100).best_effort().volatile();
    let fixed = QosProfile::default().keep_last(100).reliable().transient_local();
    let subscribe = async |topic: &str, qos: &QosProfile, end: &CancellationToken, is_static| {
        let slot = slot.clone();
        let put = move |message: TFMessage| slot.put(message, is_static);
        let done = subscription::subscribe(&node, topic, qos.clone(), end.clone(), put).await;
        done.inspect_err(|reason| tracing::warn!("cannot subscribe to {topic}: {reason}")).is_ok()
    };
    let mut has_fixed = false;
    let mut current: Option<CancellationToken> = None;
    loop {
        let is_due = *is_active.borrow_and_update() && slot.is_wanted.load(Relaxed);
        if is_due && !has_fixed {
            has_fixed = subscribe("/tf_static", &fixed, &shutdown, true).await;
        }
        if is_due && current.is_none() {
            let end = shutdown.child_token();
            if subscribe("/tf", &moving, &end, false).await {
                current = Some(end);
            }
        } else if !is_due && let Some(end) = current.take() {
            end.cancel();
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(LOOK_AROUND) => {}
            _ = is_active.changed() => {}
        }
    }
}

/// A transform as r2r has it.
pub fn to_message(transform: &message::TransformStamped<'_>) -> TransformStamped {
    let message::TransformStamped { header, child_frame_id, transform } = transform;
    let stamp = Time { sec: header.stamp.sec, nanosec: header.stamp.nanosec };
    let ([x, y, z], [qx, qy, qz, qw]) = transform::to_parts(&transform.unwrap_or_default());
    TransformStamped {
        header: Header { stamp, frame_id: header.frame_id.to_owned() },
        child_frame_id: (*child_frame_id).to_owned(),
        transform: r2r::geometry_msgs::msg::Transform {
            translation: Vector3 { x, y, z },
            rotation: Quaternion { x: qx, y: qy, z: qz, w: qw },
        },
    }
}
