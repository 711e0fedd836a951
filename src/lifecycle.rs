//! The states of a managed node and the ways between them, as `lifecycle_msgs` and the ROS 2 design
//! have them (<https://design.ros2.org/articles/node_lifecycle.html>). Numbers and labels are those
//! of Jazzy's `rcl_lifecycle`, so that clients see no difference to an rclcpp node.
//!
//! Nothing is done here: [`Lifecycle::begin`] says what is to be done, whoever drives the node does
//! it, and [`Lifecycle::finish`] takes what came of it.

use thiserror::Error;

/// A state of `lifecycle_msgs/State`: the primary ones, then those while something is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Not a state of a node; part of the list.
    Unknown,
    /// There are parameters and nothing else.
    Unconfigured,
    /// Ready, and doing nothing.
    Inactive,
    /// Answering.
    Active,
    /// At its end; only the process is left.
    Finalized,
    /// From unconfigured to inactive.
    Configuring,
    /// From inactive to unconfigured.
    CleaningUp,
    /// To finalized.
    ShuttingDown,
    /// From inactive to active.
    Activating,
    /// From active to inactive.
    Deactivating,
    /// What failed half-way is taken away.
    ErrorProcessing,
}

impl State {
    /// All of them, as `get_available_states` lists them.
    pub const ALL: [Self; 11] = [
        Self::Unknown,
        Self::Unconfigured,
        Self::Inactive,
        Self::Active,
        Self::Finalized,
        Self::Configuring,
        Self::CleaningUp,
        Self::ShuttingDown,
        Self::Activating,
        Self::Deactivating,
        Self::ErrorProcessing,
    ];

    /// `id` of `lifecycle_msgs/State`.
    pub fn id(self) -> u8 {
        match self {
            Self::Unknown => 0,
            Self::Unconfigured => 1,
            Self::Inactive => 2,
            Self::Active => 3,
            Self::Finalized => 4,
            Self::Configuring => 10,
            Self::CleaningUp => 11,
            Self::ShuttingDown => 12,
            Self::Activating => 13,
            Self::Deactivating => 14,
            Self::ErrorProcessing => 15,
        }
    }

    /// `label` of `lifecycle_msgs/State`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Unconfigured => "unconfigured",
            Self::Inactive => "inactive",
            Self::Active => "active",
            Self::Finalized => "finalized",
            Self::Configuring => "configuring",
            Self::CleaningUp => "cleaningup",
            Self::ShuttingDown => "shuttingdown",
            Self::Activating => "activating",
            Self::Deactivating => "deactivating",
            Self::ErrorProcessing => "errorprocessing",
        }
    }

    /// Whether it lasts until somebody asks for another.
    pub fn is_primary(self) -> bool {
        self.id() < 10
    }
}

/// What is done on the way from one primary state to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// Load the model, make what the node has.
    Configure,
    /// Take away what configuring made.
    CleanUp,
    /// Subscribe and answer.
    Activate,
    /// Stop answering.
    Deactivate,
    /// Take away all that there is.
    ShutDown,
    /// Take away what a failed step may have left.
    ProcessError,
}

/// What came of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It is done.
    Success,
    /// It could not be done, and all is as before.
    Failure,
    /// It went wrong half-way.
    Error,
}

/// A way from one state to another.
#[derive(Debug, PartialEq, Eq)]
pub struct Transition {
    /// `id` of `lifecycle_msgs/Transition`.
    pub id: u8,
    /// Its `label`.
    pub label: &'static str,
    /// Where it begins.
    pub start: State,
    /// Where it leads.
    pub goal: State,
}

const fn way(id: u8, label: &'static str, start: State, goal: State) -> Transition {
    Transition { id, label, start, goal }
}

const SUCCESS: &str = "transition_success";
const FAILURE: &str = "transition_failure";
const ERROR: &str = "transition_error";

/// All ways, in the order of `rcl_lifecycle`.
pub const TRANSITIONS: [Transition; 25] = {
    use State::{
        Activating, Active, CleaningUp, Configuring, Deactivating, ErrorProcessing, Finalized,
        Inactive, ShuttingDown, Unconfigured,
    };
    [
        way(1, "configure", Unconfigured, Configuring),
        way(10, SUCCESS, Configuring, Inactive),
        way(11, FAILURE, Configuring, Unconfigured),
        way(12, ERROR, Configuring, ErrorProcessing),
        way(2, "cleanup", Inactive, CleaningUp),
        way(20, SUCCESS, CleaningUp, Unconfigured),
        way(21, FAILURE, CleaningUp, Inactive),
        way(22, ERROR, CleaningUp, ErrorProcessing),
        way(3, "activate", Inactive, Activating),
        way(30, SUCCESS, Activating, Active),
        way(31, FAILURE, Activating, Inactive),
        way(32, ERROR, Activating, ErrorProcessing),
        way(4, "deactivate", Active, Deactivating),
        way(40, SUCCESS, Deactivating, Inactive),
        way(41, FAILURE, Deactivating, Active),
        way(42, ERROR, Deactivating, ErrorProcessing),
        way(5, "shutdown", Unconfigured, ShuttingDown),
        way(6, "shutdown", Inactive, ShuttingDown),
        way(7, "shutdown", Active, ShuttingDown),
        way(50, SUCCESS, ShuttingDown, Finalized),
        way(51, FAILURE, ShuttingDown, Finalized),
        way(52, ERROR, ShuttingDown, ErrorProcessing),
        way(60, SUCCESS, ErrorProcessing, Unconfigured),
        way(61, FAILURE, ErrorProcessing, Finalized),
        way(62, ERROR, ErrorProcessing, Finalized),
    ]
};

/// Why a change of state was refused; the state is as before.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("there is no transition {asked} in the state {}; there is {}", .state.label(), available(*.state))]
pub struct NoSuchTransition {
    /// What was asked for: its label, or else its number.
    pub asked: String,
    /// The state.
    pub state: State,
}

/// Ways out of a state, in words.
fn available(state: State) -> String {
    if !state.is_primary() {
        return "none before this one has ended".to_owned();
    }
    let ways: Vec<&str> = from(state).map(|way| way.label).collect();
    if ways.is_empty() { "none".to_owned() } else { ways.join(", ") }
}

/// Ways out of a state.
pub fn from(state: State) -> impl Iterator<Item = &'static Transition> {
    TRANSITIONS.iter().filter(move |way| way.start == state)
}

/// Where a managed node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifecycle {
    state: State,
}

impl Default for Lifecycle {
    /// As a node is made: unconfigured.
    fn default() -> Self {
        Self { state: State::Unconfigured }
    }
}

impl Lifecycle {
    /// The state now.
    pub fn state(self) -> State {
        self.state
    }

    /// Begins what a `ChangeState` request asks for. As in rclcpp a label goes before a number,
    /// since who sends only a label sends the number 0; `shutdown` may be asked for by any of its
    /// three numbers.
    ///
    /// # Errors
    /// There is no such way out of this state; the state is as before.
    pub fn begin(
        &mut self,
        id: u8,
        label: &str,
    ) -> Result<(&'static Transition, Step), NoSuchTransition> {
        let is_shutdown = label.is_empty() && matches!(id, 5..=7);
        let is_asked = |way: &&'static Transition| {
            if is_shutdown || !label.is_empty() {
                way.label == if is_shutdown { "shutdown" } else { label }
            } else {
                way.id == id
            }
        };
        let way = Some(self.state).filter(|state| state.is_primary());
        let way = way.and_then(|state| from(state).find(is_asked)).ok_or_else(|| {
            let asked = if label.is_empty() { id.to_string() } else { format!("{label:?}") };
            NoSuchTransition { asked, state: self.state }
        })?;
        self.state = way.goal;
        let step = match way.goal {
            State::Configuring => Step::Configure,
            State::CleaningUp => Step::CleanUp,
            State::Activating => Step::Activate,
            State::Deactivating => Step::Deactivate,
            _ => Step::ShutDown,
        };
        Ok((way, step))
    }

    /// Ends the step that was begun. After [`Outcome::Error`] of any step but error processing
    /// itself that is what has to be done next: [`Step::ProcessError`], and ended likewise.
    /// `None` where no step was begun.
    pub fn finish(&mut self, outcome: Outcome) -> Option<&'static Transition> {
        let is_inner = Some(self.state).filter(|state| !state.is_primary());
        let label = match outcome {
            Outcome::Success => SUCCESS,
            Outcome::Failure => FAILURE,
            Outcome::Error => ERROR,
        };
        let way = is_inner.and_then(|state| from(state).find(|way| way.label == label))?;
        self.state = way.goal;
        Some(way)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn walk(steps: &[(&str, Outcome)]) -> State {
        let mut lifecycle = Lifecycle::default();
        for (label, outcome) in steps {
            lifecycle.begin(0, label).unwrap();
            lifecycle.finish(*outcome).unwrap();
        }
        lifecycle.state()
    }

    #[test]
    fn the_way_up_and_down() {
        use Outcome::{Error, Failure, Success};
        assert_eq!(walk(&[("configure", Success)]), State::Inactive);
        assert_eq!(walk(&[("configure", Failure)]), State::Unconfigured);
        let up = [("configure", Success), ("activate", Success)];
        assert_eq!(walk(&up), State::Active);
        let round = [up[0], up[1], ("deactivate", Success), ("cleanup", Success)];
        assert_eq!(walk(&round), State::Unconfigured);
        assert_eq!(walk(&[up[0], ("cleanup", Failure)]), State::Inactive);
        assert_eq!(walk(&[up[0], up[1], ("deactivate", Failure)]), State::Active);
        for outcome in [Success, Failure] {
            assert_eq!(walk(&[("shutdown", outcome)]), State::Finalized);
            assert_eq!(walk(&[up[0], ("shutdown", outcome)]), State::Finalized);
            assert_eq!(walk(&[up[0], up[1], ("shutdown", outcome)]), State::Finalized);
        }
        assert_eq!(walk(&[up[0], ("activate", Error)]), State::ErrorProcessing);
    }

    #[test]
    fn errors_are_processed() {
        for (outcome, end) in [
            (Outcome::Success, State::Unconfigured),
            (Outcome::Failure, State::Finalized),
            (Outcome::Error, State::Finalized),
        ] {
            let mut lifecycle = Lifecycle::default();
            lifecycle.begin(1, "").unwrap();
            lifecycle.finish(Outcome::Error).unwrap();
            assert_eq!(lifecycle.state(), State::ErrorProcessing);
            assert!(lifecycle.begin(1, "").is_err());
            assert_eq!(lifecycle.finish(outcome).unwrap().goal, end);
        }
    }

    #[test]
    fn a_refusal_says_what_there_is() {
        let mut lifecycle = Lifecycle::default();
        let error = lifecycle.begin(3, "").unwrap_err().to_string();
        assert_eq!(
            error,
            "there is no transition 3 in the state unconfigured; there is configure, shutdown"
        );
        let error = lifecycle.begin(1, "activate").unwrap_err().to_string();
        assert!(error.contains("\"activate\""), "a label goes before the number: {error}");
        lifecycle.begin(1, "").unwrap();
        let error = lifecycle.begin(10, "").unwrap_err().to_string();
        assert!(error.contains("configuring") && error.contains("none before"), "{error}");
    }

    #[test]
    fn shutdown_goes_by_any_of_its_numbers() {
        for id in 5..=7 {
            let mut lifecycle = Lifecycle::default();
            let (way, step) = lifecycle.begin(id, "").unwrap();
            assert_eq!((way.id, step), (5, Step::ShutDown));
        }
    }

    #[test]
    fn every_way_can_be_gone_and_ids_are_unique() {
        let mut ids: Vec<u8> = TRANSITIONS.iter().map(|way| way.id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), TRANSITIONS.len());
        for state in State::ALL.into_iter().filter(|state| !state.is_primary()) {
            assert_eq!(from(state).count(), 3, "{state:?} ends in one of three ways");
        }
    }

    proptest! {
        /// Whatever is asked for in whatever order: a refusal changes nothing, a way begins where
        /// the node was, and what was begun can always be ended.
        #[test]
        fn no_order_of_requests_leaves_the_graph(
            asks in proptest::collection::vec((0..100u8, 0..8usize, 0..3usize), 0..60)
        ) {
            let labels = ["", "configure", "activate", "deactivate", "cleanup", "shutdown", "transition_success", "x"];
            let outcomes = [Outcome::Success, Outcome::Failure, Outcome::Error];
            let mut lifecycle = Lifecycle::default();
            for (id, label, outcome) in asks {
                let before = lifecycle.state();
                prop_assert!(before.is_primary());
                match lifecycle.begin(id, labels[label]) {
                    Err(_) => prop_assert_eq!(lifecycle.state(), before),
                    Ok((way, _)) => {
                        prop_assert_eq!((way.start, way.goal), (before, lifecycle.state()));
                        prop_assert!(lifecycle.begin(id, labels[label]).is_err(), "one step at a time");
                        let mut way = lifecycle.finish(outcomes[outcome]).unwrap();
                        while !way.goal.is_primary() {
                            way = lifecycle.finish(outcomes[outcome]).unwrap();
                        }
                    }
                }
                if before == State::Finalized {
                    prop_assert_eq!(lifecycle.state(), State::Finalized, "nothing leads out of it");
                }
            }
        }
    }
}
