//! The managed node: `lifecycle_msgs` services that drive the node's [`Life`], as rclcpp's lifecycle
//! nodes have them. r2r has none.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::SystemTime;

use anyhow::Context;
use futures::{FutureExt, StreamExt};
use r2r::lifecycle_msgs::msg;
use r2r::lifecycle_msgs::srv::{
    ChangeState, GetAvailableStates, GetAvailableTransitions, GetState,
};
use r2r::{Node, Publisher, QosProfile, ServiceRequest, WrappedServiceTypeSupport};

use super::life::{Base, Life};
use super::qos;
use super::supervision::guarded;
use crate::lifecycle::{self, Lifecycle, Outcome, State, Step, TRANSITIONS, Transition};
use crate::lock::lock;

/// A life that others drive.
pub struct Managed {
    state: Mutex<Lifecycle>,
    /// Held during a step: who asks for the next one waits.
    life: Arc<tokio::sync::Mutex<Life>>,
    events: Mutex<Publisher<msg::TransitionEvent>>,
}

impl Managed {
    /// Makes the services and `~/transition_event` for an unconfigured node.
    ///
    /// # Errors
    /// rcl's.
    pub async fn serve(
        base: &Base,
        life: Arc<tokio::sync::Mutex<Life>>,
    ) -> anyhow::Result<Arc<Self>> {
        let serve = move |node: &mut Node| Self::serve_on(node, life);
        Ok(base.node.with(serve).await.context("the node has gone")??)
    }

    fn serve_on(node: &mut Node, life: Arc<tokio::sync::Mutex<Life>>) -> r2r::Result<Arc<Self>> {
        let qos = QosProfile::default().keep_last(10).reliable();
        let qos = qos::publisher("~/transition_event", qos);
        let events = node.create_publisher("~/transition_event", qos)?;
        let managed = Arc::new(Self { state: Mutex::default(), life, events: Mutex::new(events) });
        serve_changes(node, managed.clone())?;
        serve_one::<GetState::Service>(node, &managed, "get_state", |managed| {
            GetState::Response { current_state: state_message(managed.state().state()) }
        })?;
        serve_one::<GetAvailableStates::Service>(node, &managed, "get_available_states", |_| {
            let available_states = State::ALL.into_iter().map(state_message).collect();
            GetAvailableStates::Response { available_states }
        })?;
        serve_one::<GetAvailableTransitions::Service>(
            node,
            &managed,
            "get_available_transitions",
            |managed| describe(lifecycle::from(managed.state().state())),
        )?;
        serve_one::<GetAvailableTransitions::Service>(
            node,
            &managed,
            "get_transition_graph",
            |_| describe(TRANSITIONS.iter()),
        )?;
        Ok(managed)
    }

    fn state(&self) -> MutexGuard<'_, Lifecycle> {
        lock(&self.state)
    }

    /// Takes a step of the node's own accord.
    pub async fn step(&self, step: Step) -> bool {
        let label = match step {
            Step::Configure => "configure",
            Step::CleanUp => "cleanup",
            Step::Activate => "activate",
            Step::Deactivate => "deactivate",
            Step::ShutDown | Step::ProcessError => "shutdown",
        };
        self.change(0, label).await
    }

    /// Does what a `ChangeState` request asks for, and gives whether the node is where it should be.
    pub async fn change(&self, id: u8, label: &str) -> bool {
        let mut life = self.life.lock().await;
        let begun = self.state().begin(id, label);
        let (way, step) = match begun {
            Ok(begun) => begun,
            Err(refusal) => {
                tracing::warn!("{refusal}");
                return false;
            }
        };
        self.tell(way);
        let mut outcome = take(&mut life, step).await;
        let is_done = outcome == Outcome::Success;
        // An error is processed, and with that it ends, well or not.
        for _ in 0..2 {
            let ended = self.state().finish(outcome);
            let Some(ended) = ended else { break };
            self.tell(ended);
            if ended.goal == State::ErrorProcessing {
                outcome = take(&mut life, Step::ProcessError).await;
            } else {
                tracing::info!("the node is {}", ended.goal.label());
                break;
            }
        }
        is_done
    }

    /// Publishes that a transition was taken.
    fn tell(&self, way: &Transition) {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let event = msg::TransitionEvent {
            timestamp: now.as_nanos() as u64,
            transition: transition_message(way),
            start_state: state_message(way.start),
            goal_state: state_message(way.goal),
        };
        let events = lock(&self.events);
        if let Err(error) = events.publish(&event) {
            tracing::warn!("transition_event: {error}");
        }
    }
}

/// Takes a step. One that panics has gone wrong half-way.
async fn take(life: &mut Life, step: Step) -> Outcome {
    let work = async {
        match step {
            Step::Configure => {
                if let Err(error) = life.configure().await {
                    tracing::error!("cannot be configured: {error:#}");
                    return Outcome::Failure;
                }
            }
            Step::Activate => life.activate(),
            Step::Deactivate => life.deactivate(),
            Step::CleanUp | Step::ShutDown | Step::ProcessError => life.cleanup().await,
        }
        Outcome::Success
    };
    AssertUnwindSafe(work).catch_unwind().await.unwrap_or(Outcome::Error)
}

fn serve_changes(node: &mut Node, managed: Arc<Managed>) -> r2r::Result<()> {
    let mut requests =
        node.create_service::<ChangeState::Service>("~/change_state", QosProfile::default())?;
    tokio::spawn(guarded(async move {
        while let Some(request) = requests.next().await {
            let request: ServiceRequest<ChangeState::Service> = request;
            let msg::Transition { id, label } = &request.message.transition;
            let success = managed.change(*id, label).await;
            respond(request, ChangeState::Response { success });
        }
    }));
    Ok(())
}

fn serve_one<S>(
    node: &mut Node,
    managed: &Arc<Managed>,
    name: &str,
    answer: fn(&Managed) -> S::Response,
) -> r2r::Result<()>
where
    S: WrappedServiceTypeSupport + 'static,
    S::Request: Send,
    S::Response: Send,
{
    let mut requests = node.create_service::<S>(&format!("~/{name}"), QosProfile::default())?;
    let managed = managed.clone();
    tokio::spawn(guarded(async move {
        while let Some(request) = requests.next().await {
            respond(request, answer(&managed));
        }
    }));
    Ok(())
}

fn respond<S: WrappedServiceTypeSupport + 'static>(
    request: ServiceRequest<S>,
    response: S::Response,
) {
    if let Err(error) = request.respond(response) {
        tracing::warn!("a lifecycle service could not answer: {error}");
    }
}

fn state_message(state: State) -> msg::State {
    msg::State { id: state.id(), label: state.label().to_owned() }
}

fn transition_message(way: &Transition) -> msg::Transition {
    msg::Transition { id: way.id, label: way.label.to_owned() }
}

fn describe<'a>(ways: impl Iterator<Item = &'a Transition>) -> GetAvailableTransitions::Response {
    let available_transitions = ways
        .map(|way| msg::TransitionDescription {
            transition: transition_message(way),
            start_state: state_message(way.start),
            goal_state: state_message(way.goal),
        })
        .collect();
    GetAvailableTransitions::Response { available_transitions }
}
