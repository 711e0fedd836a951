//! What the graph shows that a user may have meant.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::executor::NodeHandle;

const RAW: &str = "sensor_msgs/msg/Image";
const COMPRESSED: &str = "sensor_msgs/msg/CompressedImage";

/// Topics that are named at most.
const MOST_NAMED: usize = 5;

/// How often it is looked for a node of the same name.
const LOOK_AROUND: Duration = Duration::from_secs(2);

/// For so long a node that was killed stands on the graph: by then another is no predecessor of this one.
const LEASE: Duration = Duration::from_secs(25);

/// Topics on which pictures are published, to be put behind "nobody publishes on `topic`"; empty
/// where there are none. `own` is the prefix of this node's own topics.
pub fn pictures_elsewhere(node: &r2r::Node, topic: &str, own: &str) -> String {
    let Ok(topics) = node.get_topic_names_and_types() else { return String::new() };
    let is_published = |name: &&String| {
        node.get_publishers_info_by_topic(name, false).is_ok_and(|found| !found.is_empty())
    };
    let pictures: BTreeMap<String, Vec<String>> = topics
        .into_iter()
        .filter(|(name, types)| {
            let is_picture = types.iter().any(|of| of == RAW || of == COMPRESSED);
            is_picture && !name.starts_with(own) && name != topic
        })
        .filter(|(name, _)| is_published(&name))
        .collect();
    hint(topic, &pictures)
}

fn hint(topic: &str, pictures: &BTreeMap<String, Vec<String>>) -> String {
    // The other transport of the same camera first: it is what was meant.
    let base = topic.strip_suffix("/compressed");
    let other = base.map_or_else(|| format!("{topic}/compressed"), str::to_owned);
    if pictures.contains_key(&other) {
        return format!("; the pictures are on {other}: set image_topic to that");
    }
    let named: Vec<&str> = pictures.keys().take(MOST_NAMED).map(String::as_str).collect();
    match pictures.len() {
        0 => String::new(),
        count if count > MOST_NAMED => format!("; pictures are on {} and others", named.join(", ")),
        _ => format!("; pictures are on {}", named.join(", ")),
    }
}

/// Warns of a second node of the same name until `shutdown`: parameters and services of the two
/// cannot be told apart, and each publishes on the other's topics.
pub async fn watch_for_namesake(
    node: NodeHandle,
    name: String,
    namespace: String,
    shutdown: CancellationToken,
) {
    let started = Instant::now();
    let (mut is_warned, mut was_alone) = (false, false);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(LOOK_AROUND) => {}
        }
        let (own, within) = (name.clone(), namespace.clone());
        // Every node has its parameter events there.
        let count = node.with(move |node| {
            let found = node.get_publishers_info_by_topic("/parameter_events", false);
            let namespaces = found.unwrap_or_default();
            let same =
                namespaces.iter().filter(|i| i.node_name == own && i.node_namespace == within);
            same.count()
        });
        let Some(count) = count.await else { return };
        let shown = format!("{}/{name}", namespace.trim_end_matches('/'));
        was_alone |= count <= 1 || started.elapsed() > LEASE;
        if count > 1 && was_alone && !is_warned {
            tracing::warn!(
                "there are {count} nodes of the name {shown}: parameters and services reach either of them; start one with another name (-r __node:=NAME) or namespace (-r __ns:=/NAME)"
            );
        }
        is_warned = count > 1 && was_alone;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_transport_is_named_first() {
        let check = |topic: &str, pictures: &[&str], expected: &str| {
            let pictures =
                pictures.iter().map(|name| ((*name).to_owned(), vec![RAW.to_owned()])).collect();
            assert_eq!(hint(topic, &pictures), expected);
        };
        check("/c/image_raw", &[], "");
        check(
            "/c/image_raw",
            &["/a", "/c/image_raw/compressed"],
            "; the pictures are on /c/image_raw/compressed: set image_topic to that",
        );
        check(
            "/c/image_raw/compressed",
            &["/c/image_raw"],
            "; the pictures are on /c/image_raw: set image_topic to that",
        );
        check("/c", &["/a", "/b"], "; pictures are on /a, /b");
        check(
            "/c",
            &["/1", "/2", "/3", "/4", "/5", "/6"],
            "; pictures are on /1, /2, /3, /4, /5 and others",
        );
    }
}
