//! A topic on which publishers may send one of several types: subscribed to as what they announce.

use std::sync::Arc;
use std::time::Duration;

use r2r::QosProfile;
use r2r::qos::{DurabilityPolicy, ReliabilityPolicy};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::executor::NodeHandle;
use super::names::Resolver;

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
    /// Of who publishes now; `None` if nobody does.
    ///
    /// # Errors
    /// The type is none of these.
    pub fn of(
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

    /// What matches it, with so many messages kept.
    pub fn qos(self, depth: usize) -> QosProfile {
        let qos = QosProfile::default().keep_last(depth);
        let qos = if self.is_reliable { qos.reliable() } else { qos.best_effort() };
        if self.is_latched { qos.transient_local() } else { qos.volatile() }
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

impl TypedTopic {
    /// Keeps the topic subscribed by `subscribe`, each time until the token that it gets, while the node is
    /// active, until `shutdown`: whoever publishes there may go, and come back with another type or QoS.
    pub async fn follow<S>(
        self,
        node: NodeHandle,
        resolver: Arc<Resolver>,
        mut is_active: watch::Receiver<bool>,
        shutdown: CancellationToken,
        subscribe: S,
    ) where
        S: AsyncFn(&NodeHandle, Offer, CancellationToken) -> Result<(), String>,
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
                    match subscribe(&node, offer, end.clone()).await {
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
