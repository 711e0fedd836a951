//! The way of requests to a thread that does not wait for them, and services that put them there.
//!
//! Senders are tasks, the receiver is the thread; a full queue refuses, with a word in the log or in the reply,
//! and so does a node that is not configured.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};

use futures::StreamExt;
use r2r::std_srvs::srv::Trigger;
use r2r::{Node, QosProfile, ServiceRequest};
use tokio::sync::oneshot;

use super::supervision::guarded;
use crate::lock::lock;

/// Where a user waits for what came of a request: what to say, or why not.
pub type Reply = oneshot::Sender<Result<String, String>>;

/// The way of requests to a thread, while there is one.
pub struct Inbox<R> {
    sender: Arc<Mutex<Option<SyncSender<R>>>>,
    most_waiting: usize,
    wake: Arc<dyn Fn() + Send + Sync>,
}

impl<R> Clone for Inbox<R> {
    fn clone(&self) -> Self {
        let (sender, wake) = (self.sender.clone(), self.wake.clone());
        Self { sender, most_waiting: self.most_waiting, wake }
    }
}

impl<R> Inbox<R> {
    /// Closed, with room for so many; `wake` is called after each that was put in.
    pub fn new(most_waiting: usize, wake: impl Fn() + Send + Sync + 'static) -> Self {
        Self { sender: Arc::default(), most_waiting, wake: Arc::new(wake) }
    }

    /// Takes requests from now on.
    pub fn open(&self) -> Receiver<R> {
        let (sender, receiver) = sync_channel(self.most_waiting);
        *lock(&self.sender) = Some(sender);
        receiver
    }

    /// Refuses requests from now on; the receiver ends after those that wait.
    pub fn close(&self) {
        *lock(&self.sender) = None;
    }

    /// Has the receiver look around.
    pub fn wake(&self) {
        (self.wake)();
    }

    /// Hands a request over.
    ///
    /// # Errors
    /// Why not.
    pub fn put(&self, request: R) -> Result<(), String> {
        let sender = lock(&self.sender);
        let Some(sender) = sender.as_ref() else {
            return Err("the node is not configured".to_owned());
        };
        let result = sender.try_send(request);
        self.wake();
        result.map_err(|_| format!("{} requests wait already", self.most_waiting))
    }

    /// Hands one over that must not be lost: waits for room.
    pub fn put_surely(&self, request: R) {
        let sender = lock(&self.sender).clone();
        if let Some(sender) = sender {
            // Where the receiver has gone there is nobody to whom it matters.
            let _ = sender.send(request);
            self.wake();
        }
    }
}

/// Serves `name` with requests that are answered in time.
///
/// # Errors
/// rcl's.
pub fn answer<R: Send + 'static>(
    node: &mut Node,
    name: &'static str,
    inbox: &Inbox<R>,
    request: fn(Reply) -> R,
) -> r2r::Result<()> {
    let mut calls =
        node.create_service::<Trigger::Service>(&format!("~/{name}"), QosProfile::default())?;
    let inbox = inbox.clone();
    tokio::spawn(guarded(async move {
        while let Some(call) = calls.next().await {
            let call: ServiceRequest<Trigger::Service> = call;
            let (reply, replied) = oneshot::channel();
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
