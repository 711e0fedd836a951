//! What users ask of places and labels, over topics and services below `~/`, on its way to the
//! inference thread.

use std::time::Duration;

use futures::StreamExt;
use r2r::std_msgs::msg::String as StringMessage;
use r2r::{Node, QosProfile};

use super::inbox::{Inbox, Reply, answer};
use super::qos;
use super::supervision::guarded;
use crate::place::Kind;

/// How long a lesson waits for a frame to teach.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// Requests that may wait for the inference thread, and lessons that may wait for a frame.
pub const MOST_WAITING: usize = 64;

/// What a user asks for.
#[derive(Debug)]
pub enum Request {
    /// The next frame becomes a view of this name.
    Learn(Kind, String),
    /// This name is to go.
    Forget(Kind, String),
    /// All names are to go.
    Clear(Kind, Reply),
    /// The file is to be written now.
    Save(Reply),
}

/// Subscribes to what teaches and forgets, and serves what saves and clears, below `~/`. r2r cannot
/// take a service away again, so they stay, and refuse while the inbox is closed. Runs on the
/// current tokio runtime.
///
/// # Errors
/// rcl's.
pub fn serve(node: &mut Node, inbox: &Inbox<Request>) -> r2r::Result<()> {
    listen(node, "learn_place", inbox, |name| Request::Learn(Kind::Place, name))?;
    listen(node, "learn_label", inbox, |name| Request::Learn(Kind::Label, name))?;
    listen(node, "forget_place", inbox, |name| Request::Forget(Kind::Place, name))?;
    listen(node, "forget_label", inbox, |name| Request::Forget(Kind::Label, name))?;
    answer(node, "save_places", inbox, Request::Save)?;
    answer(node, "clear_places", inbox, |reply| Request::Clear(Kind::Place, reply))?;
    answer(node, "clear_labels", inbox, |reply| Request::Clear(Kind::Label, reply))
}

fn listen(
    node: &mut Node,
    topic: &'static str,
    inbox: &Inbox<Request>,
    request: fn(String) -> Request,
) -> r2r::Result<()> {
    let qos = QosProfile::default().keep_last(10).reliable();
    let name = format!("~/{topic}");
    let mut names = node.subscribe::<StringMessage>(&name, qos::subscription(&name, qos))?;
    let inbox = inbox.clone();
    tokio::spawn(guarded(async move {
        while let Some(StringMessage { data }) = names.next().await {
            let name = data.trim();
            if name.is_empty() {
                tracing::warn!("{topic}: the name is empty");
            } else if let Err(reason) = inbox.put(request(name.to_owned())) {
                tracing::warn!("{topic} {name} is refused: {reason}");
            }
            // When no frame comes in time, that has to be noticed.
            let inbox = inbox.clone();
            tokio::spawn(async move {
                tokio::time::sleep(PATIENCE).await;
                inbox.wake();
            });
        }
    }));
    Ok(())
}
