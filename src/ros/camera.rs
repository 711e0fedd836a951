//! A camera's subscription: found, matched to its publisher, renewed when that changes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use r2r::QosProfile;
use r2r::qos::ReliabilityPolicy;
use r2r::sensor_msgs::msg::{CompressedImage, Image};
use r2r::std_msgs::msg::Header;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::diagnostics::{CameraState, Health};
use super::executor::NodeHandle;
use super::hints;
use super::mailbox::Mailboxes;
use super::names::Resolver;
use super::subscription;
use crate::frame::{Frame, FrameError, RawImage};
use crate::settings::{CameraSettings, Reliability, Transport};

const RAW: &str = "sensor_msgs/msg/Image";
const COMPRESSED: &str = "sensor_msgs/msg/CompressedImage";

/// How often the graph is asked who publishes.
const LOOK_AROUND: Duration = Duration::from_millis(500);

/// A picture as it arrived.
#[derive(Debug)]
pub enum Message {
    /// `sensor_msgs/Image`
    Raw(Image),
    /// `sensor_msgs/CompressedImage`
    Compressed(CompressedImage),
}

/// A picture and when it arrived.
#[derive(Debug)]
pub struct Arrival {
    /// The picture.
    pub message: Message,
    /// When the node got it.
    pub at: Instant,
}

impl Message {
    /// Stamp and frame_id of the source.
    pub fn header(&self) -> &Header {
        match self {
            Self::Raw(image) => &image.header,
            Self::Compressed(image) => &image.header,
        }
    }

    /// The message's fields, checked against each other.
    ///
    /// # Errors
    /// What does not fit.
    pub fn frame(&self) -> Result<Frame<'_>, FrameError> {
        match self {
            Self::Raw(image) => RawImage::new(
                &image.encoding,
                image.width,
                image.height,
                image.step as usize,
                image.is_bigendian != 0,
                &image.data,
            )
            .map(Frame::Raw),
            Self::Compressed(image) => Frame::compressed(&image.format, &image.data),
        }
    }
}

/// Type and reliability of a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Choice {
    is_compressed: bool,
    is_reliable: bool,
}

/// What stands on the topic: type, node, whether it is reliable.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Endpoint {
    topic_type: String,
    node: String,
    is_reliable: bool,
}

/// What to subscribe, by settings and publishers, and what a user has to be told.
fn choose(
    camera: &CameraSettings,
    topic: &str,
    publishers: &BTreeSet<Endpoint>,
) -> (Option<Choice>, Health) {
    if publishers.is_empty() {
        let text =
            format!("nobody publishes on {topic}: start the camera driver, or set image_topic");
        return (None, Health::Waiting(text));
    }
    let has = |wanted: &str| publishers.iter().any(|endpoint| endpoint.topic_type == wanted);
    let is_compressed = match camera.transport {
        Transport::Raw => false,
        Transport::Compressed => true,
        Transport::Auto => !has(RAW) && has(COMPRESSED),
    };
    let wanted = if is_compressed { COMPRESSED } else { RAW };
    let of_type: Vec<&Endpoint> = publishers.iter().filter(|e| e.topic_type == wanted).collect();
    if of_type.is_empty() {
        let types: Vec<&str> = publishers.iter().map(|e| e.topic_type.as_str()).collect();
        let text = format!(
            "{topic} carries {}, not {wanted}: set image_topic or image_transport",
            types.join(", ")
        );
        return (None, Health::Failing(text));
    }
    let all_reliable = of_type.iter().all(|endpoint| endpoint.is_reliable);
    let is_reliable = match camera.reliability {
        Reliability::Auto => all_reliable,
        Reliability::BestEffort => false,
        Reliability::Reliable => true,
    };
    let health = if is_reliable && !all_reliable {
        Health::Failing(format!(
            "input.reliability is reliable, {} offers best effort on {topic}: no frame comes from it; set input.reliability to auto",
            of_type
                .iter()
                .filter(|e| !e.is_reliable)
                .map(|e| e.node.as_str())
                .collect::<Vec<_>>()
                .join(", ")
        ))
    } else {
        Health::Good
    };
    (Some(Choice { is_compressed, is_reliable }), health)
}

/// Keeps a camera subscribed while the node is active, until `shutdown`.
pub async fn run(
    camera: Arc<CameraState>,
    node: NodeHandle,
    resolver: Arc<Resolver>,
    mailboxes: Arc<Mailboxes<Arrival>>,
    mut is_active: watch::Receiver<bool>,
    shutdown: CancellationToken,
) {
    let mut current: Option<(String, Choice, CancellationToken)> = None;
    let mut said = Health::Good;
    // Topic and type of the last subscription.
    let mut last_type: Option<(String, bool)> = None;
    loop {
        if !*is_active.borrow_and_update() {
            // r2r takes a subscription from the graph when the next message finds nobody.
            if let Some((_, _, end)) = current.take() {
                end.cancel();
            }
            said = Health::Good;
            camera.set_health(Health::Waiting("starting".to_owned()));
            tokio::select! {
                () = shutdown.cancelled() => return,
                changed = is_active.changed() => if changed.is_err() { return },
            }
            continue;
        }
        let Some(settings) = camera.settings() else {
            // It is about to be ended, and has nothing to look for meanwhile.
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(LOOK_AROUND) => continue,
            }
        };
        let topic = resolver.resolve(&settings.image_topic);
        camera.set_topic(&topic);
        let asked = topic.clone();
        let Some(publishers) = node.with(move |node| publishers(node, &asked)).await else {
            return;
        };
        let (choice, mut health) = choose(&settings, &topic, &publishers);
        if let Health::Waiting(text) = &mut health {
            let (asked, own) = (topic.clone(), resolver.resolve("~/"));
            let hint = node.with(move |node| hints::pictures_elsewhere(node, &asked, &own)).await;
            text.push_str(&hint.unwrap_or_default());
        }
        // A publisher that has gone may come back as it was: its subscription stays.
        let is_stale = match (&current, choice) {
            (Some((has_topic, has, _)), Some(choice)) => *has_topic != topic || *has != choice,
            (Some((has_topic, ..)), None) => *has_topic != topic,
            (None, choice) => choice.is_some(),
        };
        if is_stale {
            camera.ground.set_image_topic(&topic);
            if let Some((_, _, end)) = current.take() {
                end.cancel();
            }
            if let Some(choice) = choice {
                let end = shutdown.child_token();
                let drain = Drain {
                    camera: camera.clone(),
                    mailboxes: mailboxes.clone(),
                    end: end.clone(),
                };
                let kind = if choice.is_compressed { "compressed" } else { "raw" };
                match subscribe(&node, &settings.image_topic, choice, drain).await {
                    Ok(()) => {
                        tracing::info!(
                            "{}subscribed to {topic} ({kind}, {})",
                            camera.prefix(),
                            if choice.is_reliable { "reliable" } else { "best effort" }
                        );
                        last_type = Some((topic.clone(), choice.is_compressed));
                        current = Some((topic, choice, end));
                    }
                    Err(reason) => {
                        let was_other = last_type == Some((topic.clone(), !choice.is_compressed));
                        let hint = if was_other {
                            "; its type was another one before, which a running node is not rid of: start it again"
                        } else {
                            ""
                        };
                        health = Health::Failing(format!(
                            "cannot subscribe to {topic} as {kind}: {reason}{hint}"
                        ));
                    }
                }
            }
        }
        if health != said {
            match &health {
                Health::Good => {}
                Health::Waiting(text) => tracing::warn!("{}{text}", camera.prefix()),
                Health::Failing(text) => tracing::error!("{}{text}", camera.prefix()),
            }
            said = health.clone();
        }
        camera.set_health(health);
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(LOOK_AROUND) => {}
            _ = is_active.changed() => {}
        }
    }
}

fn publishers(node: &mut r2r::Node, topic: &str) -> BTreeSet<Endpoint> {
    let infos = node.get_publishers_info_by_topic(topic, false).unwrap_or_default();
    infos
        .into_iter()
        .map(|info| Endpoint {
            topic_type: info.topic_type,
            node: format!("{}/{}", info.node_namespace.trim_end_matches('/'), info.node_name),
            is_reliable: matches!(info.qos_profile.reliability, ReliabilityPolicy::Reliable),
        })
        .collect()
}

/// Moves messages into the camera's slot.
struct Drain {
    camera: Arc<CameraState>,
    mailboxes: Arc<Mailboxes<Arrival>>,
    end: CancellationToken,
}

impl Drain {
    fn put(&self, message: Message) {
        self.camera.count_received();
        let arrival = Arrival { message, at: Instant::now() };
        if self.mailboxes.put(self.camera.id, arrival).is_some() {
            self.camera.count_replaced();
        }
    }
}

async fn subscribe(
    node: &NodeHandle,
    topic: &str,
    choice: Choice,
    drain: Drain,
) -> Result<(), String> {
    // Deep enough that nothing is lost between two spins; older frames are replaced in the slot.
    let base = QosProfile::default().keep_last(5).volatile();
    let qos = if choice.is_reliable { base.reliable() } else { base.best_effort() };
    let end = drain.end.clone();
    if choice.is_compressed {
        let put = move |message: CompressedImage| drain.put(Message::Compressed(message));
        subscription::subscribe(node, topic, qos, end, put).await
    } else {
        let put = move |message: Image| drain.put(Message::Raw(message));
        subscription::subscribe(node, topic, qos, end, put).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(topic_type: &str, is_reliable: bool) -> Endpoint {
        Endpoint { topic_type: topic_type.to_owned(), node: "/driver".to_owned(), is_reliable }
    }

    fn check(
        camera: &CameraSettings,
        publishers: &[Endpoint],
        expected: Option<(bool, bool)>,
        words: &str,
    ) {
        let (choice, health) = choose(camera, "/image", &publishers.iter().cloned().collect());
        assert_eq!(choice.map(|c| (c.is_compressed, c.is_reliable)), expected);
        let text = match health {
            Health::Good => String::new(),
            Health::Waiting(text) | Health::Failing(text) => text,
        };
        assert!(text.contains(words) && text.is_empty() == words.is_empty(), "{text:?}, {words:?}");
    }

    #[test]
    fn the_subscription_matches_the_publisher_or_says_why_not() {
        let auto = CameraSettings::default();
        let reliable = CameraSettings { reliability: Reliability::Reliable, ..auto.clone() };
        let raw = CameraSettings { transport: Transport::Raw, ..auto.clone() };
        check(&auto, &[], None, "nobody publishes on /image");
        check(&auto, &[endpoint(RAW, true)], Some((false, true)), "");
        check(&auto, &[endpoint(RAW, false)], Some((false, false)), "");
        check(&auto, &[endpoint(RAW, false), endpoint(RAW, true)], Some((false, false)), "");
        check(&auto, &[endpoint(COMPRESSED, true)], Some((true, true)), "");
        check(&auto, &[endpoint("std_msgs/msg/String", true)], None, "carries std_msgs/msg/String");
        check(&raw, &[endpoint(COMPRESSED, true)], None, "image_transport");
        check(
            &reliable,
            &[endpoint(RAW, false)],
            Some((false, true)),
            "/driver offers best effort",
        );
    }
}
