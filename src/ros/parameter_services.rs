//! The parameter services and `/parameter_events`, as rclcpp nodes have them. r2r's own handler
//! knows no ranges, takes undeclared names and sends no events.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard};

use futures::StreamExt;
use r2r::rcl_interfaces::msg::{
    FloatingPointRange, IntegerRange, ListParametersResult, Parameter as ParameterMessage,
    ParameterDescriptor, ParameterEvent, ParameterType, ParameterValue, SetParametersResult,
};
use r2r::rcl_interfaces::srv;
use r2r::{Node, Publisher, QosProfile, ServiceRequest, WrappedServiceTypeSupport};

use super::model::ModelSlot;
use super::output::now;
use super::qos;
use super::supervision::guarded;
use crate::lock::lock;
use crate::parameter::{Allowed, Entry, FileRefusal, Parameter, Refusal, Store, Value};

/// Requests of one kind that wait for their answers at most, as rclcpp's services keep.
const MOST_WAITING: usize = 1000;

/// Called with the names that have another value now, after each change.
pub type OnChange = Box<dyn Fn(&Store, &[String]) + Send + Sync>;

/// Serves the parameters of `store` on `node`. Runs on the current tokio runtime.
///
/// # Errors
/// rcl's, when a service cannot be made.
pub fn serve(
    node: &mut Node,
    store: Store,
    models: Arc<ModelSlot>,
    clock: Arc<Mutex<r2r::Clock>>,
    on_change: OnChange,
) -> r2r::Result<Arc<Parameters>> {
    let events = node.create_publisher::<ParameterEvent>(
        "/parameter_events",
        qos::publisher("/parameter_events", QosProfile::default().keep_last(1000).reliable()),
    )?;
    let state = Arc::new(Parameters {
        store: Mutex::new(store),
        changing: Mutex::default(),
        models,
        events: Mutex::new(events),
        node: node.fully_qualified_name()?,
        clock,
        on_change,
    });
    state.announce_all();
    serve_one::<srv::ListParameters::Service>(
        node,
        &state,
        "list_parameters",
        |state, request| srv::ListParameters::Response {
            result: list(&state.lock(), &request.prefixes, request.depth),
        },
    )?;
    serve_one::<srv::GetParameters::Service>(node, &state, "get_parameters", |state, request| {
        let store = state.lock();
        // As rclcpp: with one unknown name the answer is empty.
        let values = request.names.iter().map(|name| Some(to_message(store.get(name)?.1)));
        srv::GetParameters::Response { values: values.collect::<Option<_>>().unwrap_or_default() }
    })?;
    serve_one::<srv::GetParameterTypes::Service>(
        node,
        &state,
        "get_parameter_types",
        |state, request| {
            let store = state.lock();
            let types = request.names.iter().map(|name| Some(to_message(store.get(name)?.1).type_));
            srv::GetParameterTypes::Response {
                types: types.collect::<Option<_>>().unwrap_or_default(),
            }
        },
    )?;
    serve_one::<srv::DescribeParameters::Service>(
        node,
        &state,
        "describe_parameters",
        |state, request| {
            let store = state.lock();
            let described =
                request.names.iter().map(|name| Some(descriptor(name, store.get(name)?.0)));
            let descriptors = described.collect::<Option<_>>().unwrap_or_default();
            srv::DescribeParameters::Response { descriptors }
        },
    )?;
    serve_one::<srv::SetParameters::Service>(node, &state, "set_parameters", |state, request| {
        let each = request.parameters.iter();
        let results = each.map(|parameter| state.set(std::slice::from_ref(parameter))).collect();
        srv::SetParameters::Response { results }
    })?;
    serve_one::<srv::SetParametersAtomically::Service>(
        node,
        &state,
        "set_parameters_atomically",
        |state, request| srv::SetParametersAtomically::Response {
            result: state.set(&request.parameters),
        },
    )?;
    Ok(state)
}

/// The store behind the services; whoever changes it goes through here.
pub struct Parameters {
    store: Mutex<Store>,
    /// Held while the store is changed, a model loaded meanwhile: one change at a time, and its
    /// event before that of the next. Who only reads does not wait for it.
    changing: Mutex<()>,
    models: Arc<ModelSlot>,
    events: Mutex<Publisher<ParameterEvent>>,
    node: String,
    clock: Arc<Mutex<r2r::Clock>>,
    on_change: OnChange,
}

impl Parameters {
    fn lock(&self) -> MutexGuard<'_, Store> {
        lock(&self.store)
    }

    /// Does `work` while nobody changes a parameter.
    pub fn between_changes<R>(&self, work: impl FnOnce() -> R) -> R {
        let _turn = lock(&self.changing);
        work()
    }

    /// All or none.
    fn set(&self, parameters: &[ParameterMessage]) -> SetParametersResult {
        let changes: Vec<_> = parameters
            .iter()
            .map(|parameter| (parameter.name.clone(), from_message(&parameter.value)))
            .collect();
        let result = self.change(|store| {
            let changed = store.set_if(&changes, |after| self.models.follow(&after.model))?;
            // As rclcpp and rclpy: the event tells what was set, be it as before.
            Ok((changed, changes.iter().map(|(name, _)| name.clone()).collect()))
        });
        match result {
            Ok(()) => SetParametersResult { successful: true, reason: String::new() },
            Err(refusal) => {
                let refusal: Refusal = refusal;
                tracing::warn!("{refusal}");
                SetParametersResult { successful: false, reason: refusal.to_string() }
            }
        }
    }

    /// Takes what an edit of the parameter file changed, or nothing of it.
    ///
    /// # Errors
    /// The line that is not allowed.
    pub fn apply_file(&self, entries: &[Entry]) -> Result<(), FileRefusal> {
        self.change(|store| {
            let changed = store.apply_file(entries, |after| self.models.follow(&after.model))?;
            warn_of_absent_cameras(store);
            Ok((changed.clone(), changed))
        })
    }

    /// Changes a copy of the store, which takes its place when that went well. `change` gives the
    /// names that have another value now, and those that the event tells.
    fn change<E>(
        &self,
        change: impl FnOnce(&mut Store) -> Result<(Vec<String>, Vec<String>), E>,
    ) -> Result<(), E> {
        self.between_changes(|| {
            let mut store = self.lock().clone();
            let declared = store.names();
            let (changed, told) = change(&mut store)?;
            let event = self.event(&store, &declared, &told);
            let mut current = self.lock();
            *current = store;
            if !changed.is_empty() {
                (self.on_change)(&current, &changed);
            }
            drop(current);
            if !told.is_empty() {
                self.send(&event);
            }
            Ok(())
        })
    }

    /// Tells the world of all parameters when they are declared.
    fn announce_all(&self) {
        let store = self.lock();
        let event = self.event(&store, &[], &[]);
        warn_of_absent_cameras(&store);
        drop(store);
        self.send(&event);
    }

    /// What came of a change: `declared` are the names from before, `changed` those with a value.
    fn event(&self, store: &Store, declared: &[String], changed: &[String]) -> ParameterEvent {
        let stamp = now(&self.clock);
        let parameter = |name: &String| {
            let value = to_message(store.get(name)?.1);
            Some(ParameterMessage { name: name.clone(), value })
        };
        let before: BTreeSet<&String> = declared.iter().collect();
        let now = store.names();
        let names: BTreeSet<&String> = now.iter().collect();
        let is_old = |name: &&String| before.contains(name);
        // As rclcpp: what is undeclared has no value any more.
        let undeclared = |name: &&String| ParameterMessage {
            name: (*name).clone(),
            value: ParameterValue::default(),
        };
        ParameterEvent {
            stamp,
            node: self.node.clone(),
            new_parameters: names.difference(&before).filter_map(|name| parameter(name)).collect(),
            changed_parameters: changed.iter().filter(is_old).filter_map(parameter).collect(),
            deleted_parameters: before.difference(&names).map(undeclared).collect(),
        }
    }

    fn send(&self, event: &ParameterEvent) {
        let events = lock(&self.events);
        if let Err(error) = events.publish(event) {
            tracing::warn!("/parameter_events: {error}");
        }
    }
}

/// A section that prepares a camera is fine, one with its name misspelt is not: say which there are.
fn warn_of_absent_cameras(store: &Store) {
    let absent: Vec<&str> = store.absent_cameras().into_iter().collect();
    if !absent.is_empty() {
        let names = absent.join(", ");
        tracing::warn!("the parameter file is for cameras that `cameras` does not name: {names}");
    }
}

fn serve_one<S>(
    node: &mut Node,
    state: &Arc<Parameters>,
    name: &str,
    answer: fn(&Parameters, &S::Request) -> S::Response,
) -> r2r::Result<()>
where
    S: WrappedServiceTypeSupport + 'static,
    S::Request: Send,
    S::Response: Send,
{
    // rclcpp's rmw_qos_profile_parameters.
    let qos = QosProfile::default().keep_last(1000).reliable();
    let mut requests = node.create_service::<S>(&format!("~/{name}"), qos)?;
    let state = state.clone();
    // r2r keeps ten, and loses the others: more may come, one after the other, while a model is loaded.
    let (waiting, mut turn) = tokio::sync::mpsc::channel::<ServiceRequest<S>>(MOST_WAITING);
    tokio::spawn(guarded(async move {
        while let Some(request) = requests.next().await {
            if waiting.send(request).await.is_err() {
                return;
            }
        }
    }));
    tokio::spawn(guarded(async move {
        while let Some(request) = turn.recv().await {
            // To load a model takes a while: others of this worker thread go elsewhere.
            let response = tokio::task::block_in_place(|| answer(&state, &request.message));
            if let Err(error) = request.respond(response) {
                tracing::warn!("a parameter service could not answer: {error}");
            }
        }
    }));
    Ok(())
}

/// As rclcpp: names below any of `prefixes` (all without), at most `depth` levels below it, 0
/// for any depth; and the prefixes of those names.
fn list(store: &Store, prefixes: &[String], depth: u64) -> ListParametersResult {
    let levels = |name: &str| name.matches('.').count() as u64;
    let is_listed = |name: &&String| {
        if prefixes.is_empty() {
            return depth == 0 || levels(name) < depth;
        }
        prefixes.iter().any(|prefix| {
            let below = name.strip_prefix(prefix.as_str()).and_then(|rest| rest.strip_prefix('.'));
            *name == prefix || below.is_some_and(|rest| depth == 0 || levels(rest) < depth)
        })
    };
    let all = store.names();
    let names: Vec<String> = all.iter().filter(is_listed).cloned().collect();
    let mut prefixes: Vec<String> =
        names.iter().filter_map(|name| Some(name.rsplit_once('.')?.0.to_owned())).collect();
    prefixes.sort();
    prefixes.dedup();
    ListParametersResult { names, prefixes }
}

fn descriptor(name: &str, parameter: &Parameter) -> ParameterDescriptor {
    let mut descriptor = ParameterDescriptor {
        name: name.to_owned(),
        type_: to_message(&parameter.default.value()).type_,
        description: parameter.description.to_owned(),
        read_only: parameter.read_only,
        ..ParameterDescriptor::default()
    };
    match parameter.allowed {
        Allowed::Any => {}
        Allowed::Integers(from_value, to_value) => {
            descriptor.integer_range = vec![IntegerRange { from_value, to_value, step: 1 }];
        }
        Allowed::Doubles(from_value, to_value) => {
            descriptor.floating_point_range =
                vec![FloatingPointRange { from_value, to_value, step: 0.0 }];
        }
        Allowed::Choices(_) => descriptor.additional_constraints = parameter.allowed_text(),
    }
    descriptor
}

fn to_message(value: &Value) -> ParameterValue {
    let mut message = ParameterValue::default();
    match value {
        Value::Bool(value) => {
            message.type_ = ParameterType::PARAMETER_BOOL as u8;
            message.bool_value = *value;
        }
        Value::Integer(value) => {
            message.type_ = ParameterType::PARAMETER_INTEGER as u8;
            message.integer_value = *value;
        }
        Value::Double(value) => {
            message.type_ = ParameterType::PARAMETER_DOUBLE as u8;
            message.double_value = *value;
        }
        Value::Text(value) => {
            message.type_ = ParameterType::PARAMETER_STRING as u8;
            message.string_value.clone_from(value);
        }
        Value::Texts(values) => {
            message.type_ = ParameterType::PARAMETER_STRING_ARRAY as u8;
            message.string_array_value.clone_from(values);
        }
        Value::Other(_) => {}
    }
    message
}

fn from_message(message: &ParameterValue) -> Value {
    const BOOL: u8 = ParameterType::PARAMETER_BOOL as u8;
    const INTEGER: u8 = ParameterType::PARAMETER_INTEGER as u8;
    const DOUBLE: u8 = ParameterType::PARAMETER_DOUBLE as u8;
    const STRING: u8 = ParameterType::PARAMETER_STRING as u8;
    const STRING_ARRAY: u8 = ParameterType::PARAMETER_STRING_ARRAY as u8;
    const NOT_SET: u8 = ParameterType::PARAMETER_NOT_SET as u8;
    let ParameterValue {
        byte_array_value: bytes,
        bool_array_value: bools,
        integer_array_value: integers,
        double_array_value: doubles,
        ..
    } = message;
    let has_numbers =
        !(bytes.is_empty() && bools.is_empty() && integers.is_empty() && doubles.is_empty());
    match message.type_ {
        BOOL => Value::Bool(message.bool_value),
        INTEGER => Value::Integer(message.integer_value),
        DOUBLE => Value::Double(message.double_value),
        STRING => Value::Text(message.string_value.clone()),
        STRING_ARRAY => Value::Texts(message.string_array_value.clone()),
        NOT_SET => Value::Other("value without a type"),
        _ if has_numbers => Value::Other("array of numbers"),
        // `ros2 param set NODE NAME "[]"` sends an array of bools, for want of anything in it.
        _ => Value::Texts(Vec::new()),
    }
}
