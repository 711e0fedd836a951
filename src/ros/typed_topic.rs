//! A topic on which publishers may send one of several types: subscribed to as what they announce.

use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt};
use r2r::qos::{DurabilityPolicy, ReliabilityPolicy};
use r2r::{QosProfile, WrappedTypesupport};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::executor::NodeHandle;
use super::names::Resolver;
use super::qos;
use super::supervision::guarded;

const LOOK_AROUND: Duration = Duration::from_millis(500);

/// Type and QoS of a topic's publishers, the first one's type if it is a known one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offer {
    /// The type's name.
    pub topic_type: &'static str,
    /// Whether all of them are reliable.
    pub is_reliable: bool,
    /// Whether all of them keep what they sent for who comes later.
    pub is_latched: bool,
}

impl Offer {
    fn of(
        node: &mut r2r::Node,
        topic: &str,
        types: &'static [&'static str],
    ) -> Result<Option<Self>, String> {
        let infos = node.get_publishers_info_by_topic(topic, false).unwrap_or_default();
        let Some(first) = infos.first() else { return Ok(None) };
        let topic_type = types.iter().find(|known| **known == first.topic_type);
        let Some(topic_type) = topic_type else {
            let (found, known) = (&first.topic_type, types.join(", "));
            return Err(format!("{topic} carries {found}, not one of {known}"));
        };
        let all = |is: fn(&QosProfile) -> bool| infos.iter().all(|info| is(&info.qos_profile));
        let is_reliable = |qos: &QosProfile| matches!(qos.reliability, ReliabilityPolicy::Reliable);
        let is_latched =
            |qos: &QosProfile| matches!(qos.durability, DurabilityPolicy::TransientLocal);
        Ok(Some(Self { topic_type, is_reliable: all(is_reliable), is_latched: all(is_latched) }))
    }
}

/// A topic, and what is known of it beforehand.
pub struct TypedTopic {
    /// Its name as the user gives it.
    pub name: String,
    /// The types that are understood.
    pub types: &'static [&'static str],
    /// What a warning begins with, such as the parameter that names it.
    pub label: &'static str,
    /// What is said of a subscription, such as "poses come from".
    pub announcement: &'static str,
    /// What a warning ends with: what happens meanwhile.
    pub meanwhile: &'static str,
    /// Whether it is worth a warning that nobody publishes.
    pub is_expected: bool,
}

/// What is subscribed to ends with its token.
pub type Subscribed = Result<(), String>;

impl TypedTopic {
    /// Keeps the topic subscribed while the node is active, until `shutdown`: whoever publishes there may go, and
    /// come back with another type or QoS.
    pub async fn follow<S>(
        self,
        node: NodeHandle,
        resolver: Arc<Resolver>,
        mut is_active: watch::Receiver<bool>,
        shutdown: CancellationToken,
        subscribe: S,
    ) where
        S: AsyncFn(Offer, CancellationToken) -> Subscribed,
    {
        let resolved = resolver.resolve(&self.name);
        let Self { types, label, announcement, meanwhile, is_expected, .. } = self;
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
            let found = node.with(move |node| Offer::of(node, &asked, types)).await;
            let Some(found) = found else { return };
            let warning = match found {
                Ok(Some(offer)) if current.as_ref().is_some_and(|(has, _)| *has == offer) => {
                    String::new()
                }
                Ok(Some(offer)) => {
                    if let Some((_, end)) = current.take() {
                        end.cancel();
                    }
                    let end = shutdown.child_token();
                    match subscribe(offer, end.clone()).await {
                        Ok(()) => {
                            tracing::info!("{announcement} {resolved} ({})", offer.topic_type);
                            current = Some((offer, end));
                            String::new()
                        }
                        Err(reason) => format!("cannot subscribe to {resolved}: {reason}"),
                    }
                }
                // A publisher that has gone may come back as it was: its subscription stays.
                Ok(None) if current.is_some() || !is_expected => String::new(),
                Ok(None) => format!("{label}: nobody publishes on {resolved}"),
                Err(reason) => format!("{label}: {reason}"),
            };
            if warning != said {
                if !warning.is_empty() {
                    tracing::warn!("{warning}; {meanwhile}");
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
}

/// Subscribes to a topic of one type and hands each message to `put`, until `end`.
///
/// # Errors
/// Why it cannot be subscribed to.
pub async fn subscribe<T>(
    node: &NodeHandle,
    topic: &str,
    profile: QosProfile,
    end: CancellationToken,
    put: impl Fn(T) + Send + 'static,
) -> Subscribed
where
    T: WrappedTypesupport + Send + 'static,
{
    let profile = qos::subscription(topic, profile);
    let topic = topic.to_owned();
    let stream = node.with(move |node| node.subscribe::<T>(&topic, profile)).await;
    let stream = stream.ok_or_else(|| "the node is gone".to_owned())?;
    tokio::spawn(guarded(drain(stream.map_err(|error| error.to_string())?, end, put)));
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
