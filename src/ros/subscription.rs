//! A subscription and the task that takes its messages.
//!
//! r2r takes a subscription from the graph when a message finds that nobody takes it any more; on a topic that has
//! fallen silent that is never. So a subscription that has come to its end waits for the first message, which ends
//! it, or for the next one who asks for the same: what comes and goes does not add up. The next one on a latched
//! topic gets what a new subscription would: what was sent last.

use std::any::Any;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use futures::StreamExt;
use r2r::qos::DurabilityPolicy;
use r2r::{QosProfile, WrappedTypesupport};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::executor::NodeHandle;
use super::qos;
use super::supervision::guarded;
use crate::lock::lock;

/// Who takes the messages of a subscription, and until when.
type Taker<T> = (CancellationToken, Box<dyn FnMut(T) + Send>);

/// The subscriptions of a node that wait for another taker.
#[derive(Debug, Default)]
pub struct Waiting(Mutex<Vec<Entry>>);

#[derive(Debug)]
struct Entry {
    id: Arc<()>,
    topic: String,
    profile: QosProfile,
    /// A `oneshot::Sender<Taker<T>>`.
    sender: Box<dyn Any + Send>,
}

impl Waiting {
    fn entries(&self) -> MutexGuard<'_, Vec<Entry>> {
        lock(&self.0)
    }

    /// Hands a taker to a subscription that waits; the taker comes back where there is none of this
    /// topic, type and profile.
    fn take_up<T: 'static>(
        &self,
        topic: &str,
        profile: &QosProfile,
        mut taker: Taker<T>,
    ) -> Result<(), Taker<T>> {
        loop {
            let mut entries = self.entries();
            let found = entries.iter().position(|entry| {
                entry.topic == topic
                    && entry.profile == *profile
                    && entry.sender.is::<oneshot::Sender<Taker<T>>>()
            });
            let Some(at) = found else { return Err(taker) };
            let sender = entries.swap_remove(at).sender;
            let Ok(sender) = sender.downcast::<oneshot::Sender<Taker<T>>>() else {
                return Err(taker);
            };
            // One whose task has ended takes nothing.
            match sender.send(taker) {
                Ok(()) => return Ok(()),
                Err(back) => taker = back,
            }
        }
    }

    fn add<T: 'static>(
        &self,
        topic: &str,
        profile: &QosProfile,
    ) -> (Arc<()>, oneshot::Receiver<Taker<T>>) {
        let (sender, taker) = oneshot::channel::<Taker<T>>();
        let id = Arc::new(());
        self.entries().push(Entry {
            id: id.clone(),
            topic: topic.to_owned(),
            profile: profile.clone(),
            sender: Box::new(sender),
        });
        (id, taker)
    }

    /// Whether it still waited.
    fn remove(&self, id: &Arc<()>) -> bool {
        let mut entries = self.entries();
        let found = entries.iter().position(|entry| Arc::ptr_eq(&entry.id, id));
        found.map(|at| entries.swap_remove(at)).is_some()
    }
}

/// Subscribes to a topic and hands each message to `put`, until `end`.
///
/// # Errors
/// Why it cannot be subscribed to.
pub async fn subscribe<T>(
    node: &NodeHandle,
    topic: &str,
    profile: QosProfile,
    end: CancellationToken,
    put: impl FnMut(T) + Send + 'static,
) -> Result<(), String>
where
    T: WrappedTypesupport + Clone + Send + 'static,
{
    let profile = qos::subscription(topic, profile);
    let taker: Taker<T> = (end, Box::new(put));
    let Err(taker) = node.waiting().take_up(topic, &profile, taker) else { return Ok(()) };
    begin(node, topic, profile, taker, Some(node.waiting().clone())).await
}

/// As [`subscribe`], always anew, so that a latched topic sends all that it has; nobody takes it up afterwards.
///
/// # Errors
/// Why it cannot be subscribed to.
pub async fn subscribe_anew<T>(
    node: &NodeHandle,
    topic: &str,
    profile: QosProfile,
    end: CancellationToken,
    put: impl FnMut(T) + Send + 'static,
) -> Result<(), String>
where
    T: WrappedTypesupport + Clone + Send + 'static,
{
    let profile = qos::subscription(topic, profile);
    begin(node, topic, profile, (end, Box::new(put)), None).await
}

async fn begin<T>(
    node: &NodeHandle,
    topic: &str,
    profile: QosProfile,
    taker: Taker<T>,
    waiting: Option<Arc<Waiting>>,
) -> Result<(), String>
where
    T: WrappedTypesupport + Clone + Send + 'static,
{
    let topic = topic.to_owned();
    // The task is there before the first message: r2r keeps ten for it, and latched ones come all at once.
    let subscribed = node.with(move |node| {
        let stream = node.subscribe::<T>(&topic, profile.clone())?;
        tokio::spawn(guarded(take(stream, taker, waiting, topic, profile)));
        r2r::Result::Ok(())
    });
    subscribed.await.ok_or("the node is gone")?.map_err(|error| error.to_string())
}

/// Hands the messages to one taker after the other; without a place to wait for another, to the first alone.
async fn take<T: Clone + 'static>(
    mut stream: impl futures::Stream<Item = T> + Unpin,
    mut taker: Taker<T>,
    waiting: Option<Arc<Waiting>>,
    topic: String,
    profile: QosProfile,
) {
    let is_latched = profile.durability == DurabilityPolicy::TransientLocal;
    let is_kept = is_latched && waiting.is_some();
    let mut latched = VecDeque::<T>::new();
    let keep = |latched: &mut VecDeque<T>, message| {
        latched.push_back(message);
        latched.drain(..latched.len().saturating_sub(profile.depth.max(1)));
    };
    loop {
        let (end, mut put) = taker;
        latched.iter().cloned().for_each(&mut put);
        loop {
            let message = tokio::select! {
                () = end.cancelled() => break,
                message = stream.next() => message,
            };
            let Some(message) = message else { return };
            if is_kept {
                keep(&mut latched, message.clone());
            }
            put(message);
        }
        let Some(waiting) = &waiting else { return };
        drop(put);
        let (id, mut taken) = waiting.add(&topic, &profile);
        let message = tokio::select! {
            next = &mut taken => match next {
                Ok(next) => {
                    taker = next;
                    continue;
                }
                Err(_) => return,
            },
            message = stream.next() => message,
        };
        if waiting.remove(&id) {
            return;
        }
        // It was taken up at that moment.
        let (Some(message), Ok((end, mut put))) = (message, taken.await) else { return };
        if is_kept {
            keep(&mut latched, message);
        } else {
            put(message);
        }
        taker = (end, put);
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;

    /// A stream as r2r's, and a taker that passes its messages on.
    fn taker(to: &mpsc::UnboundedSender<u32>) -> (CancellationToken, Taker<u32>) {
        let (end, to) = (CancellationToken::new(), to.clone());
        (end.clone(), (end, Box::new(move |message| assert!(to.send(message).is_ok()))))
    }

    #[tokio::test]
    async fn a_silent_one_is_taken_up_and_a_message_ends_it() {
        let waiting = Arc::new(Waiting::default());
        let profile = QosProfile::default();
        let (mut messages, stream) = futures::channel::mpsc::channel::<u32>(10);
        let (to, mut heard) = mpsc::unbounded_channel();
        let (end, first) = taker(&to);
        let topic = "/info".to_owned();
        let task = tokio::spawn(take(stream, first, Some(waiting.clone()), topic, profile.clone()));
        messages.try_send(1).unwrap();
        assert_eq!(heard.recv().await, Some(1));
        end.cancel();
        while waiting.entries().is_empty() {
            tokio::task::yield_now().await;
        }
        // Another topic, another profile, another type: none of them is this one.
        let (end, second) = taker(&to);
        let second = waiting.take_up("/other", &profile, second).unwrap_err();
        let latest = profile.clone().keep_last(1);
        let second = waiting.take_up("/info", &latest, second).unwrap_err();
        let other: Taker<u8> = (end.clone(), Box::new(|_| ()));
        assert!(waiting.take_up("/info", &profile, other).is_err());
        assert!(waiting.take_up("/info", &profile, second).is_ok());
        messages.try_send(2).unwrap();
        assert_eq!(heard.recv().await, Some(2));
        end.cancel();
        while waiting.entries().is_empty() {
            tokio::task::yield_now().await;
        }
        // Nobody takes this one, and r2r is told by the end of the stream.
        messages.try_send(3).unwrap();
        task.await.unwrap();
        assert!(messages.is_closed() && waiting.entries().is_empty());
        assert!(heard.try_recv().is_err());
    }

    #[tokio::test]
    async fn one_that_nobody_may_take_up_ends_at_once() {
        let profile = QosProfile::default().transient_local();
        let (_messages, stream) = futures::channel::mpsc::channel::<u32>(10);
        let (to, _heard) = mpsc::unbounded_channel();
        let (end, first) = taker(&to);
        end.cancel();
        take(stream, first, None, "/tf_static".to_owned(), profile).await;
    }

    #[tokio::test]
    async fn who_takes_a_latched_one_up_gets_what_was_sent_last() {
        let waiting = Arc::new(Waiting::default());
        let profile = QosProfile::default().keep_last(2).transient_local();
        let (mut messages, stream) = futures::channel::mpsc::channel::<u32>(10);
        let (to, mut heard) = mpsc::unbounded_channel();
        let (end, first) = taker(&to);
        let topic = "/info".to_owned();
        tokio::spawn(take(stream, first, Some(waiting.clone()), topic, profile.clone()));
        for message in 1..=3 {
            messages.try_send(message).unwrap();
            assert_eq!(heard.recv().await, Some(message));
        }
        end.cancel();
        while waiting.entries().is_empty() {
            tokio::task::yield_now().await;
        }
        let (_end, second) = taker(&to);
        assert!(waiting.take_up("/info", &profile, second).is_ok());
        assert_eq!((heard.recv().await, heard.recv().await), (Some(2), Some(3)));
        messages.try_send(4).unwrap();
        assert_eq!(heard.recv().await, Some(4));
    }
}
