//! `/tf` and `/tf_static`, followed while somebody wants the ground, and looked up by a picture's stamp.

use std::collections::HashMap;
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
use crate::lock::lock;
use crate::message;

const LOOK_AROUND: Duration = Duration::from_millis(100);

/// `/tf` is let go when nobody has wanted the ground for so long.
const WANTED_FOR: Duration = Duration::from_secs(30);

/// What is latched on `/tf_static` is asked for again when part of the way to a camera is missing so long after it was
/// asked for, each time twice as long: r2r keeps ten messages for who takes them, and those of many publishers come all
/// at once.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// How often.
const MOST_ASKED: u32 = 6;

/// Time that goes back so often within [`TO_AND_FRO`] does not go back, but to and fro.
const JUMPS: u32 = 3;
const TO_AND_FRO: Duration = Duration::from_secs(60);

/// Transforms of the last seconds. Their writers are the tasks of [`follow`], their reader the
/// inference thread.
#[derive(Debug, Default)]
pub struct TfSlot {
    buffer: Mutex<TfBuffer>,
    arrived: Condvar,
    wanted_at: Mutex<Option<Instant>>,
    is_missing: AtomicBool,
    /// How often, and since when, each frame's time went back.
    jumps: Mutex<HashMap<String, (u32, Instant)>>,
}

impl TfSlot {
    /// Has the topics subscribed for a while.
    pub fn want(&self) {
        *lock(&self.wanted_at) = Some(Instant::now());
    }

    /// Part of the way to a camera is not known.
    pub fn note_missing(&self) {
        self.is_missing.store(true, Relaxed);
    }

    fn is_wanted(&self) -> bool {
        lock(&self.wanted_at).is_some_and(|at| at.elapsed() < WANTED_FOR)
    }

    /// Says so, but not for each message of two publishers whose clocks are not the same.
    fn tell_jump(&self, child: &str) {
        let mut jumps = lock(&self.jumps);
        let (count, since) = jumps.entry(child.to_owned()).or_insert((0, Instant::now()));
        if since.elapsed() > TO_AND_FRO {
            (*count, *since) = (0, Instant::now());
        }
        *count += 1;
        if *count == JUMPS {
            tracing::warn!(
                "time goes to and fro on /tf: two publishers of {child} have clocks of their own (is use_sim_time the same for both?), and where it was is forgotten each time"
            );
        } else if *count < JUMPS {
            tracing::info!("time went back on /tf: how {child} moved before is forgotten");
        }
    }

    fn buffer(&self) -> MutexGuard<'_, TfBuffer> {
        lock(&self.buffer)
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
                self.tell_jump(&child_frame_id);
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
    let subscribe = async |topic: &str, qos: &QosProfile, is_static| {
        let slot = slot.clone();
        let end = shutdown.child_token();
        let put = move |message: TFMessage| slot.put(message, is_static);
        let (qos, ends) = (qos.clone(), end.clone());
        let done = match is_static {
            // What it was sent before may have lost some of it.
            true => subscription::subscribe_anew(&node, topic, qos, ends, put).await,
            false => subscription::subscribe(&node, topic, qos, ends, put).await,
        };
        done.inspect_err(|reason| tracing::warn!("cannot subscribe to {topic}: {reason}"))
            .ok()
            .map(|()| end)
    };
    let mut latched: Option<(CancellationToken, Instant)> = None;
    let mut asked = 0;
    let mut current: Option<CancellationToken> = None;
    loop {
        let is_due = *is_active.borrow_and_update() && slot.is_wanted();
        let is_missing = slot.is_missing.swap(false, Relaxed);
        let is_lost = |(_, at): &(_, Instant)| {
            is_missing && asked < MOST_ASKED && at.elapsed() > ASK_AGAIN * 2_u32.pow(asked)
        };
        if is_due && latched.as_ref().is_none_or(is_lost) {
            if let Some((end, _)) = latched.take() {
                end.cancel();
                asked += 1;
            }
            let end = subscribe("/tf_static", &fixed, true).await;
            latched = end.map(|end| (end, Instant::now()));
        }
        if is_due && current.is_none() {
            current = subscribe("/tf", &moving, false).await;
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
