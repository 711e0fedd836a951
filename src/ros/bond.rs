//! The bond by which a manager sees that the node lives: while both are there, each publishes a
//! `bond/msg/Status` on `bond` with the node's name as the bond's id, several times a second, and
//! the manager takes the node for dead when its heartbeats stay away (Nav2's after four seconds).
//!
//! A manager that wants a bond begins to publish by itself, so the node answers whom it hears and is
//! silent otherwise. It does nothing when a manager goes: a robot whose manager has died still sees.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use r2r::bond::msg::Status;
use r2r::std_msgs::msg::Header;
use r2r::{Publisher, QosProfile};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::life::Base;
use super::qos;
use super::subscription::subscribe;

/// Time between two heartbeats.
const PERIOD: Duration = Duration::from_millis(250);

/// After this long without a heartbeat from the other side it is gone, unless it asks for more.
const TIMEOUT: Duration = Duration::from_secs(4);

/// How long a publisher is kept after its last message, so that it arrives.
const LINGER: Duration = Duration::from_secs(1);

/// Heartbeats that wait, at most.
const MOST_HEARD: usize = 100;

/// Below the node's namespace, as Nav2's manager and its nodes have it.
const TOPIC: &str = "bond";

/// One side of a bond.
#[derive(Debug)]
struct Bond {
    id: String,
    instance_id: String,
    /// Until when the other side counts as living, without another heartbeat.
    formed_until: Option<Instant>,
}

impl Bond {
    fn new(node: &str) -> Self {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let instance_id = format!("{node}-{}-{}", std::process::id(), now.as_nanos());
        Self { id: node.to_owned(), instance_id, formed_until: None }
    }

    /// Takes a message of the topic, on which all nodes have their bonds. Gives what is to be
    /// answered at once: the first heartbeat, or the end when the other side ends it.
    fn hear(&mut self, status: &Status, now: Instant) -> Option<bool> {
        if status.id != self.id || status.instance_id == self.instance_id {
            return None;
        }
        let was_formed = self.is_formed(now);
        if status.active {
            let asked = Duration::try_from_secs_f32(status.heartbeat_timeout).unwrap_or_default();
            self.formed_until = now.checked_add(asked.max(TIMEOUT));
            (!was_formed).then_some(true)
        } else {
            self.formed_until = None;
            was_formed.then_some(false)
        }
    }

    fn is_formed(&self, now: Instant) -> bool {
        self.formed_until.is_some_and(|until| now < until)
    }

    fn status(&self, active: bool, stamp: r2r::builtin_interfaces::msg::Time) -> Status {
        Status {
            header: Header { stamp, frame_id: String::new() },
            id: self.id.clone(),
            instance_id: self.instance_id.clone(),
            active,
            heartbeat_timeout: TIMEOUT.as_secs_f32(),
            heartbeat_period: PERIOD.as_secs_f32(),
        }
    }
}

/// Keeps the bond of the node of that name while it is active, until `shutdown`.
pub async fn keep(
    base: Arc<Base>,
    node_name: String,
    mut is_active: watch::Receiver<bool>,
    shutdown: CancellationToken,
) {
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            active = is_active.wait_for(|active| *active) => if active.is_err() { return },
        }
        let profile = QosProfile::default().keep_last(MOST_HEARD).reliable();
        let offered = qos::publisher(TOPIC, profile.clone());
        let made = base.node.with(move |node| node.create_publisher::<Status>(TOPIC, offered));
        let publisher = match made.await {
            Some(Ok(made)) => made,
            Some(Err(error)) => return tracing::error!("there is no bond: {error}"),
            None => return,
        };
        let (sender, mut heard) = tokio::sync::mpsc::channel(MOST_HEARD);
        let end = shutdown.child_token();
        // A heartbeat that finds no room is one of many.
        let put = move |status: Status| drop(sender.try_send(status));
        if let Err(error) = subscribe(&base.node, TOPIC, profile, end.clone(), put).await {
            return tracing::error!("there is no bond: {error}");
        }
        // Another bond each time: to the manager an ended one is dead for good.
        let mut bond = Bond::new(&node_name);
        let mut beats = tokio::time::interval(PERIOD);
        beats.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                _ = is_active.wait_for(|active| !active) => break,
                status = heard.recv() => {
                    let Some(status) = status else { break };
                    match bond.hear(&status, Instant::now()) {
                        Some(true) => {
                            tracing::info!("bond formed with a manager");
                            publish(&base, &publisher, &bond, true);
                        }
                        Some(false) => {
                            tracing::info!("the manager ended the bond");
                            publish(&base, &publisher, &bond, false);
                        }
                        None => {}
                    }
                }
                _ = beats.tick() => {
                    if bond.is_formed(Instant::now()) {
                        publish(&base, &publisher, &bond, true);
                    }
                }
            }
        }
        end.cancel();
        if bond.is_formed(Instant::now()) {
            publish(&base, &publisher, &bond, false);
        }
        // What was published last is still on its way: a writer that is gone sends nothing again.
        let node = base.node.clone();
        tokio::spawn(async move {
            tokio::time::sleep(LINGER).await;
            node.with(move |node| node.destroy_publisher(publisher)).await;
        });
    }
}

fn publish(base: &Base, publisher: &Publisher<Status>, bond: &Bond, active: bool) {
    if let Err(error) = publisher.publish(&bond.status(active, base.now())) {
        tracing::warn!("{TOPIC}: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_node_answers_the_side_that_it_hears_until_that_is_silent_or_ends() {
        let mut bond = Bond::new("squeezenet");
        let mut other = Bond::new("squeezenet");
        other.instance_id = "manager".to_owned();
        let status = |bond: &Bond, active| bond.status(active, Default::default());
        let start = Instant::now();
        assert!(!bond.is_formed(start), "nobody wants a bond yet");
        let own = status(&bond, true);
        assert_eq!(bond.hear(&own, start), None, "it hears itself too");
        let stranger = Status { id: "planner_server".to_owned(), ..status(&other, true) };
        assert_eq!(bond.hear(&stranger, start), None);
        assert_eq!(bond.hear(&status(&other, true), start), Some(true));
        assert_eq!(bond.hear(&status(&other, true), start), None, "only the first is answered");
        assert!(bond.is_formed(start + Duration::from_secs(3)));
        assert!(!bond.is_formed(start + Duration::from_secs(5)), "the manager is silent");
        assert_eq!(bond.hear(&status(&other, true), start + Duration::from_secs(6)), Some(true));
        assert_eq!(bond.hear(&status(&other, false), start + Duration::from_secs(7)), Some(false));
        assert!(!bond.is_formed(start + Duration::from_secs(7)));
        let odd = Status { heartbeat_timeout: f32::NAN, ..status(&other, true) };
        assert_eq!(bond.hear(&odd, start), Some(true), "a timeout that is none is passed over");
    }
}
