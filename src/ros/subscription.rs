//! A subscription and the task that takes its messages.

use futures::StreamExt;
use r2r::{QosProfile, WrappedTypesupport};
use tokio_util::sync::CancellationToken;

use super::executor::NodeHandle;
use super::qos;
use super::supervision::guarded;

/// Subscribes to a topic and hands each message to `put`, until `end`; r2r takes the subscription from the graph when
/// the next message finds nobody.
///
/// # Errors
/// Why it cannot be subscribed to.
pub async fn subscribe<T>(
    node: &NodeHandle,
    topic: &str,
    profile: QosProfile,
    end: CancellationToken,
    mut put: impl FnMut(T) + Send + 'static,
) -> Result<(), String>
where
    T: WrappedTypesupport + Send + 'static,
{
    let profile = qos::subscription(topic, profile);
    let topic = topic.to_owned();
    let stream = node.with(move |node| node.subscribe::<T>(&topic, profile)).await;
    let stream = stream.ok_or("the node is gone")?.map_err(|error| error.to_string())?;
    tokio::spawn(guarded(async move {
        let mut stream = stream;
        loop {
            let message = tokio::select! {
                () = end.cancelled() => return,
                message = stream.next() => message,
            };
            let Some(message) = message else { return };
            put(message);
        }
    }));
    Ok(())
}
