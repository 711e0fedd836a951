//! `qos_overrides.<topic>.<publisher|subscription>.<policy>`, as rclcpp nodes have them: parameters by
//! which a user changes the QoS of any topic, fixed at start. They are declared by being given.

use super::table::{Allowed, DefaultValue, Parameter};
use super::value::Value;

/// What the names of these parameters begin with.
pub const PREFIX: &str = "qos_overrides.";

/// The largest depth, above which it is a mistake rather than a queue.
const DEEPEST: i64 = 100_000;

const fn policy(
    name: &'static str,
    default: DefaultValue,
    allowed: Allowed,
    unit: &'static str,
    description: &'static str,
) -> Parameter {
    Parameter { name, default, allowed, per_camera: false, read_only: true, unit, description }
}

/// The policies; a parameter's declaration is its policy's.
static POLICIES: [Parameter; 6] = [
    policy(
        "history",
        DefaultValue::Text("keep_last"),
        Allowed::Choices(&["keep_last", "keep_all"]),
        "",
        "Which messages are kept for a reader.",
    ),
    policy(
        "depth",
        DefaultValue::Integer(1),
        Allowed::Integers(1, DEEPEST),
        "messages",
        "How many messages are kept for a reader.",
    ),
    policy(
        "reliability",
        DefaultValue::Text("reliable"),
        Allowed::Choices(&["reliable", "best_effort"]),
        "",
        "Whether lost messages are sent again.",
    ),
    policy(
        "durability",
        DefaultValue::Text("volatile"),
        Allowed::Choices(&["volatile", "transient_local"]),
        "",
        "Whether a reader that comes late gets the last messages.",
    ),
    policy(
        "deadline",
        DefaultValue::Integer(0),
        Allowed::Integers(0, i64::MAX),
        "ns",
        "Longest time between two messages.",
    ),
    policy(
        "lifespan",
        DefaultValue::Integer(0),
        Allowed::Integers(0, i64::MAX),
        "ns",
        "Age from which a message is delivered no more.",
    ),
];

/// Which end of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The node publishes.
    Publisher,
    /// The node subscribes.
    Subscription,
}

/// One policy of one end of a topic.
#[derive(Debug, Clone, PartialEq)]
pub struct QosOverride {
    /// The topic's name on the network, remapped and absolute.
    pub topic: String,
    /// Which end of it.
    pub end: End,
    /// The policy's name: history, depth, reliability, durability, deadline or lifespan.
    pub policy: &'static str,
    /// Its value, a string or an integer that the policy allows; durations in nanoseconds.
    pub value: Value,
}

fn parts(name: &str) -> Option<(&str, End, &'static Parameter)> {
    let rest = name.strip_prefix(PREFIX)?;
    let (rest, policy) = rest.rsplit_once('.')?;
    let (topic, end) = rest.rsplit_once('.')?;
    let end = match end {
        "publisher" => End::Publisher,
        "subscription" => End::Subscription,
        _ => return None,
    };
    let policy = POLICIES.iter().find(|known| known.name == policy)?;
    topic.starts_with('/').then_some((topic, end, policy))
}

/// The declaration of a parameter of that name.
pub fn declaration(name: &str) -> Option<&'static Parameter> {
    parts(name).map(|(_, _, policy)| policy)
}

/// Whether a name is of a policy that other nodes' overrides have, and this one's have not.
pub fn is_of_others(name: &str) -> bool {
    const POLICIES: [&str; 4] = ["deadline", "lifespan", "liveliness", "liveliness_lease_duration"];
    name.rsplit('.').next().is_some_and(|policy| POLICIES.contains(&policy))
}

/// What is wrong with a name that begins like one of these and is none.
pub fn misspelt(name: &str) -> Option<String> {
    let is_wrong = name.starts_with(PREFIX) && parts(name).is_none();
    let policies = POLICIES.iter().map(|policy| policy.name).collect::<Vec<_>>().join(", ");
    is_wrong.then(|| {
        format!(
            "it is not of the form qos_overrides.<topic>.<publisher or subscription>.<policy>, the topic absolute, the policy one of {policies}"
        )
    })
}

/// The override that a parameter stands for.
pub fn read(name: &str, value: &Value) -> Option<QosOverride> {
    let (topic, end, policy) = parts(name)?;
    Some(QosOverride { topic: topic.to_owned(), end, policy: policy.name, value: value.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_rclcpps() {
        let name = "qos_overrides./camera/image_raw.subscription.reliability";
        let value = Value::Text("best_effort".to_owned());
        let read = read(name, &value).unwrap();
        assert_eq!((read.topic.as_str(), read.end), ("/camera/image_raw", End::Subscription));
        assert_eq!((read.policy, read.value), ("reliability", value));
        assert!(declaration("qos_overrides./squeezenet/mask.publisher.depth").is_some());
        for wrong in [
            "qos_overrides./a.publisher.colour",
            "qos_overrides./a.publishers.depth",
            "qos_overrides.a.publisher.depth",
            "qos_overrides./a",
        ] {
            assert!(declaration(wrong).is_none(), "{wrong}");
            assert!(misspelt(wrong).unwrap().contains("history, depth"), "{wrong}");
        }
        assert!(misspelt("labels.top_k").is_none());
    }
}
