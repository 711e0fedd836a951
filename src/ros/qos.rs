//! The QoS of every topic of the node: what the code means, under what the user's `qos_overrides`
//! parameters say. They are fixed at start, so they stand once for the process.

use std::sync::OnceLock;
use std::time::Duration;

use r2r::QosProfile;

use super::names::Resolver;
use crate::parameter::{End, QosOverride, Value};

static OVERRIDES: OnceLock<Overrides> = OnceLock::new();

#[derive(Debug)]
struct Overrides {
    all: Vec<QosOverride>,
    resolver: Resolver,
}

/// Has these overrides in force from now on; called once, before there is any topic.
pub fn start(all: Vec<QosOverride>, resolver: Resolver) {
    // A second start of one process has the same arguments.
    let _ = OVERRIDES.set(Overrides { all, resolver });
}

/// The QoS to publish `topic` with.
pub fn publisher(topic: &str, base: QosProfile) -> QosProfile {
    of(topic, End::Publisher, base)
}

/// The QoS to subscribe to `topic` with.
pub fn subscription(topic: &str, base: QosProfile) -> QosProfile {
    of(topic, End::Subscription, base)
}

fn of(topic: &str, end: End, base: QosProfile) -> QosProfile {
    let Some(Overrides { all, resolver }) = OVERRIDES.get() else { return base };
    if all.is_empty() {
        return base;
    }
    let resolved = resolver.resolve(topic);
    all.iter().filter(|one| one.end == end && one.topic == resolved).fold(base, apply)
}

fn apply(qos: QosProfile, with: &QosOverride) -> QosProfile {
    let nanoseconds = |value: i64| Duration::from_nanos(value.unsigned_abs());
    match (with.policy, &with.value) {
        ("history", Value::Text(text)) if text == "keep_all" => qos.keep_all(),
        ("history", _) => {
            let depth = qos.depth;
            qos.keep_last(depth)
        }
        ("depth", Value::Integer(depth)) => QosProfile { depth: *depth as usize, ..qos },
        ("reliability", Value::Text(text)) if text == "best_effort" => qos.best_effort(),
        ("reliability", _) => qos.reliable(),
        ("durability", Value::Text(text)) if text == "transient_local" => qos.transient_local(),
        ("durability", _) => qos.volatile(),
        ("deadline", Value::Integer(value)) => qos.deadline(nanoseconds(*value)),
        ("lifespan", Value::Integer(value)) => qos.lifespan(nanoseconds(*value)),
        _ => qos,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overrides_change_what_they_name_and_leave_the_rest() {
        let with = |policy, value| QosOverride {
            topic: "/image".to_owned(),
            end: End::Subscription,
            policy,
            value,
        };
        let base = || QosProfile::default().keep_last(5).reliable().volatile();
        let text = |text: &str| Value::Text(text.to_owned());
        assert_eq!(apply(base(), &with("reliability", text("best_effort"))), base().best_effort());
        assert_eq!(apply(base(), &with("depth", Value::Integer(9))), base().keep_last(9));
        assert_eq!(
            apply(base(), &with("durability", text("transient_local"))),
            base().transient_local()
        );
        assert_eq!(apply(base(), &with("history", text("keep_last"))), base());
        let deadline = with("deadline", Value::Integer(2_000_000));
        assert_eq!(apply(base(), &deadline), base().deadline(Duration::from_millis(2)));
    }
}
