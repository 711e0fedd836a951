//! What users ask of places and labels, over topics and services below `~/`, on its way to the
//! inference thread.
//!
//! Senders are the tasks of [`serve`], the receiver is the inference thread, which is woken; a full
//! queue refuses, with a word in the log or in the reply.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use futures::StreamExt;
use r2r::std_msgs::msg::String as StringMessage;
use r2r::std_srvs::srv::Trigger;
use r2r::{Node, QosProfile, ServiceRequest};

use super::camera::Arrival;
use super::mailbox::Mailboxes;
use super::place_file::Reply;
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

/// Subscribes to what teaches and forgets, and serves what saves and clears, below `~/`. Runs on
/// the current tokio runtime.
///
/// # Errors
/// rcl's.
pub fn serve(
    node: &mut Node,
    mailboxes: &Arc<Mailboxes<Arrival>>,
) -> r2r::Result<Receiver<Request>> {
    let (sender, receiver) = sync_channel(MOST_WAITING);
    let queue = Queue { sender, mailboxes: mailboxes.clone() };
    listen(node, "learn_place", &queue, |name| Request::Learn(Kind::Place, name))?;
    listen(node, "learn_label", &queue, |name| Request::Learn(Kind::Label, name))?;
    listen(node, "forget_place", &queue, |name| Request::Forget(Kind::Place, name))?;
    listen(node, "forget_label", &queue, |name| Request::Forget(Kind::Label, name))?;
    answer(node, "save_places", &queue, Request::Save)?;
    answer(node, "clear_places", &queue, |reply| Request::Clear(Kind::Place, reply))?;
    answer(node, "clear_labels", &queue, |reply| Request::Clear(Kind::Label, reply))?;
    Ok(receiver)
}

/// The way of requests to the inference thread.
#[derive(Clone)]
struct Queue {
    sender: SyncSender<Request>,
    mailboxes: Arc<Mailboxes<Arrival>>,
}

impl Queue {
    /// Gives whether there was room.
    fn put(&self, request: Request) -> bool {
        let has_room = self.sender.try_send(request).is_ok();
        self.mailboxes.wake();
        has_room
    }
}

fn listen(
    node: &mut Node,
    topic: &'static str,
    queue: &Queue,
    request: fn(String) -> Request,
) -> r2r::Result<()> {
    let qos = QosProfile::default().keep_last(10).reliable();
    let mut names = node.subscribe::<StringMessage>(&format!("~/{topic}"), qos)?;
    let queue = queue.clone();
    tokio::spawn(async move {
        while let Some(StringMessage { data }) = names.next().await {
            let name = data.trim();
            if name.is_empty() {
                tracing::warn!("{topic}: the name is empty");
            } else if !queue.put(request(name.to_owned())) {
                tracing::warn!(
                    "{topic} {name}: {MOST_WAITING} requests wait already, it is refused"
                );
            }
            // When no frame comes in time, that has to be noticed.
            let mailboxes = queue.mailboxes.clone();
            tokio::spawn(async move {
                tokio::time::sleep(PATIENCE).await;
                mailboxes.wake();
            });
        }
    });
    Ok(())
}

fn answer(
    node: &mut Node,
    name: &'static str,
    queue: &Queue,
    request: fn(Reply) -> Request,
) -> r2r::Result<()> {
    let mut calls =
        node.create_service::<Trigger::Service>(&format!("~/{name}"), QosProfile::default())?;
    let queue = queue.clone();
    tokio::spawn(async move {
        while let Some(call) = calls.next().await {
            let call: ServiceRequest<Trigger::Service> = call;
            let (reply, replied) = tokio::sync::oneshot::channel();
            queue.put(request(reply));
            let result = replied.await.unwrap_or_else(|_| Err("the node is busy".to_owned()));
            let (success, message) = match result {
                Ok(message) => (true, message),
                Err(message) => (false, message),
            };
            if let Err(error) = call.respond(Trigger::Response { success, message }) {
                tracing::warn!("{name} could not answer: {error}");
            }
        }
    });
    Ok(())
}
