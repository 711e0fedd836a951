//! A camera's calibration, followed while somebody wants its ground.

use std::sync::Arc;
use std::time::Duration;

use r2r::QosProfile;
use r2r::sensor_msgs::msg;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::diagnostics::CameraState;
use super::executor::NodeHandle;
use super::names::Resolver;
use super::subscription::subscribe;
use super::typed_topic::Offer;
use crate::ground::{CameraInfo, Roi};
use crate::ground_messages::camera_info_topic;

const TYPE: &str = "sensor_msgs/msg/CameraInfo";

const LOOK_AROUND: Duration = Duration::from_millis(100);

/// Keeps the topic subscribed while the node is active and the camera's ground is wanted.
pub async fn follow(
    camera: Arc<CameraState>,
    node: NodeHandle,
    resolver: Arc<Resolver>,
    mut is_active: watch::Receiver<bool>,
    shutdown: CancellationToken,
) {
    let mut current: Option<(String, QosProfile, CancellationToken)> = None;
    let mut said = String::new();
    loop {
        let settings = camera.settings().filter(|_| camera.ground.is_wanted());
        let wanted = settings.filter(|_| *is_active.borrow_and_update()).map(|settings| {
            // Of the pictures that come: another topic is subscribed to when it is found.
            let image_topic = camera
                .ground
                .image_topic()
                .map_or_else(|| resolver.resolve(&settings.image_topic), |topic| topic.to_string());
            resolver.resolve(&camera_info_topic(&settings, &image_topic))
        });
        let wanted = match wanted {
            Some(topic) => {
                let before = current.as_ref().filter(|(has, ..)| *has == topic);
                let before = before.map(|(_, profile, _)| profile.clone());
                let asked = topic.clone();
                let offer = node.with(move |node| Offer::of(node, &asked, &[TYPE])).await;
                let Some(offer) = offer else { return };
                Some((topic, profile(offer.ok().flatten(), before)))
            }
            None => None,
        };
        let has = current.as_ref().map(|(topic, qos, _)| (topic, qos));
        if has != wanted.as_ref().map(|(topic, qos)| (topic, qos)) {
            if let Some((_, _, end)) = current.take() {
                end.cancel();
                camera.ground.set_info(None);
            }
            if let Some((topic, qos)) = wanted {
                let end = shutdown.child_token();
                let of = camera.clone();
                let put = move |info: msg::CameraInfo| of.ground.set_info(Some(to_core(info)));
                match subscribe(&node, &topic, qos.clone(), end.clone(), put).await {
                    Err(error) => {
                        let text = format!("cannot subscribe to {topic}: {error}");
                        if said != text {
                            tracing::warn!("{text}");
                            said = text;
                        }
                    }
                    Ok(()) => current = Some((topic, qos, end)),
                }
            }
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(LOOK_AROUND) => {}
            _ = is_active.changed() => {}
        }
    }
}

/// What matches every publisher, reliable or not; where all of them keep what they sent for who comes later, that is
/// taken. A publisher that has gone may come back as it was.
fn profile(offer: Option<Offer>, before: Option<QosProfile>) -> QosProfile {
    let any = || QosProfile::default().keep_last(1).best_effort().volatile();
    match offer {
        Some(offer) if offer.is_latched => offer.qos(1),
        Some(_) => any(),
        None => before.unwrap_or_else(any),
    }
}

/// As the ground reads it.
pub fn to_core(info: msg::CameraInfo) -> CameraInfo {
    let array = |values: Vec<f64>| -> [f64; 9] { values.try_into().unwrap_or_default() };
    let roi = info.roi;
    CameraInfo {
        width: info.width,
        height: info.height,
        distortion_model: info.distortion_model,
        d: info.d,
        k: array(info.k),
        p: info.p.try_into().unwrap_or_default(),
        binning: [info.binning_x, info.binning_y],
        roi: Roi {
            x_offset: roi.x_offset,
            y_offset: roi.y_offset,
            width: roi.width,
            height: roi.height,
        },
    }
}
