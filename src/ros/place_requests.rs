//! What users ask of places and labels, over topics and services below `~/`, on its way to the
//! inference thread.
//!
//! Senders are the tasks of [`serve`], the receiver is the inference thread, which is woken; a full
//! queue refuses, with a word in the log or in the reply, and so does a node that is not configured.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use r2r::std_msgs::msg::String as StringMessage;
use r2r::std_srvs::srv::Trigger;
use r2r::{Node, QosProfile, ServiceRequest};

use super::camera::Arrival;
use super::mailbox::Mailboxes;
use super::place_file::Reply;
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
pub fn serve(node: &mut Node, inbox: &Inbox) -> r2r::Result<()> {
    listen(node, "learn_place", inbox, |name| Request::Learn(Kind::Place, name))?;
    listen(node, "learn_label", inbox, |name| Request::Learn(Kind::Label, name))?;
    listen(node, "forget_place", inbox, |name| Request::Forget(Kind::Place, name))?;
    listen(node, "forget_label", inbox, |name| Request::Forget(Kind::Label, name))?;
    answer(node, "save_places", inbox, Request::Save)?;
    answer(node, "clear_places", inbox, |reply| Request::Clear(Kind::Place, reply))?;
    answer(node, "clear_labels", inbox, |reply| Request::Clear(Kind::Label, reply))
}

/// The way of requests to the inference thread, while there is one.
#[derive(Clone)]
pub struct Inbox {
    sender: Arc<Mutex<Option<SyncSender<Request>>>>,
    mailboxes: Arc<Mailboxes<Arrival>>,
}

impl Inbox {
    /// Closed; whoever reads it is woken through `mailboxes`.
    pub fn new(mailboxes: Arc<Mailboxes<Arrival>>) -> Self {
        Self { sender: Arc::default(), mailboxes }
    }

    /// Takes requests from now on, up to [`MOST_WAITING`].
    pub fn open(&self) -> Receiver<Request> {
        let (sender, receiver) = sync_channel(MOST_WAITING);
        *self.sender.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
        receiver
    }

    /// Refuses requests from now on.
    pub fn close(&self) {
        *self.sender.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Hands a request over, or says why not.
    fn put(&self, request: Request) -> Result<(), String> {
        let sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(sender) = sender.as_ref() else {
            return Err("the node is not configured".to_owned());
        };
        let result = sender.try_send(request);
        self.mailboxes.wake();
        result.map_err(|_| format!("{MOST_WAITING} requests wait already"))
    }
}

fn listen(
    node: &mut Node,
    topic: &'static str,
    inbox: &Inbox,
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
            let mailboxes = inbox.mailboxes.clone();
            tokio::spawn(async move {
                tokio::time::sleep(PATIENCE).await;
                mailboxes.wake();
            });
        }
    }));
    Ok(())
}

fn answer(
    node: &mut Node,
    name: &'static str,
    inbox: &Inbox,
    request: fn(Reply) -> Request,
) -> r2r::Result<()> {
    let mut calls =
        node.create_service::<Trigger::Service>(&format!("~/{name}"), QosProfile::default())?;
    let inbox = inbox.clone();
    tokio::spawn(guarded(async move {
        while let Some(call) = calls.next().await {
            let call: ServiceRequest<Trigger::Service> = call;
            let (reply, replied) = tokio::sync::oneshot::channel();
            let result = match inbox.put(request(reply)) {
                Ok(()) => replied.await.unwrap_or_else(|_| Err("the node stops".to_owned())),
                Err(reason) => Err(reason),
            };
            let (success, message) = match result {
                Ok(message) => (true, message),
                Err(message) => (false, message),
            };
            if let Err(error) = call.respond(Trigger::Response { success, message }) {
                tracing::warn!("{name} could not answer: {error}");
            }
        }
    }));
    Ok(())
}
