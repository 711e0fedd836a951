//! The parameters' one owner: values in force, and the settings that they make.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::qos::{self, QosOverride};
use super::{Entry, FileRefusal, Parameter, TABLE, Value, find};
use crate::geometry::{Fit, MaskSize};
use crate::ground::local_map::MOST_CELLS;
use crate::learning::Footprint;
use crate::settings::{
    CameraSettings, ClassIdFormat, GroundSettings, HealthAction, HealthSettings, LabelSettings,
    LearningSettings, LogLevel, MapSettings, MaskKind, MaskSettings, ModelSettings,
    ObstacleSettings, OutputSettings, PlaceSettings, Precision, Provider, Reliability, Settings,
    Transport,
};
use crate::traversability::Traversability;

/// Why a value was not taken; nothing changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("parameter {name}: {reason}")]
pub struct Refusal {
    /// The parameter.
    pub name: String,
    /// What is wrong and what is allowed.
    pub reason: String,
}

fn refuse(name: &str, reason: impl Into<String>) -> Refusal {
    Refusal { name: name.to_owned(), reason: reason.into() }
}

/// Cameras that a node may have: each has some twenty publishers.
pub const MOST_CAMERAS: usize = 64;

/// Letters that a camera's name may have: it stands in the names of its topics.
const LONGEST_NAME: usize = 64;

/// Letters that the middleware takes for a topic: 255 of DDS without what it puts in front.
const LONGEST_TOPIC: usize = 247;

/// All parameters' values. A change is taken whole or not at all.
#[derive(Debug, Clone)]
pub struct Store {
    values: BTreeMap<String, Value>,
    /// What the watched files said when they were last taken.
    file: BTreeMap<String, Value>,
    /// What the start said of cameras, which may come and go; over the files until they say something else.
    start: BTreeMap<String, Value>,
    /// Where the classes of a model's mask are known.
    classes: Option<ClassesOf>,
    settings: Arc<Settings>,
}

impl Store {
    /// The table's defaults under `overrides` (from parameter files and the command line).
    ///
    /// # Errors
    /// The first override that is not allowed. Names that are not declared are left to other
    /// nodes, as parameter files with wildcards carry them.
    pub fn new(overrides: &[(String, Value)]) -> Result<Self, Refusal> {
        let mut values: BTreeMap<String, Value> = TABLE
            .iter()
            .map(|parameter| (parameter.name.to_owned(), parameter.default.value()))
            .collect();
        if let Some((_, cameras)) = overrides.iter().find(|(name, _)| name == "cameras") {
            check("cameras", cameras)?;
            values.insert("cameras".to_owned(), cameras.clone());
        }
        let cameras = texts(&values, "cameras");
        for (name, value) in overrides {
            if let Some(reason) = qos::misspelt(name) {
                return Err(refuse(name, reason));
            }
            if declaration(name, &cameras).is_some() {
                check_declared(name, value, &cameras)?;
                values.insert(name.clone(), value.clone());
            }
        }
        let settings = Arc::new(settings(&values)?);
        Ok(Self { values, file: BTreeMap::new(), start: BTreeMap::new(), classes: None, settings })
    }

    /// The table's defaults under what parameter files and the command line say, the last one of a
    /// name wins.
    ///
    /// # Errors
    /// The first entry that is not allowed, with its source and line, as a reload of the file would
    /// give it.
    pub fn started_with(
        entries: &[Entry],
        classes: Option<ClassesOf>,
    ) -> Result<Self, FileRefusal> {
        let mut store = Self { classes, ..Self::new(&[]).map_err(|refusal| at(&[], &refusal))? };
        let said = entries.iter().rev().find(|entry| entry.name == "cameras");
        let cameras = match said.map(|entry| &entry.value) {
            Some(Value::Texts(cameras)) => cameras.clone(),
            _ => Vec::new(),
        };
        let mut values = store.values.clone();
        for Entry { name, value, .. } in own_entries(entries, &cameras)? {
            if declaration(name, &cameras).is_some() {
                values.insert(name.clone(), value.clone());
            }
            let is_cameras = find(name).is_none() && qos::declaration(name).is_none();
            if is_cameras {
                store.start.insert(name.clone(), value.clone());
            }
        }
        store.commit(values, |_| Ok(())).map_err(|refusal| at(entries, &refusal))?;
        Ok(store)
    }

    /// The settings in force, one immutable snapshot.
    pub fn settings(&self) -> Arc<Settings> {
        self.settings.clone()
    }

    /// Names of all parameters, sorted: the table's, and those of named cameras.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = TABLE.iter().map(|p| p.name.to_owned()).collect();
        for camera in texts(&self.values, "cameras") {
            let own = TABLE.iter().filter(|p| p.per_camera);
            names.extend(own.map(|p| format!("{camera}.{}", p.name)));
        }
        names.extend(self.values.keys().filter(|name| name.starts_with(qos::PREFIX)).cloned());
        names.sort();
        names
    }

    /// What users say of the QoS of topics, fixed at start.
    pub fn qos_overrides(&self) -> Vec<QosOverride> {
        self.values.iter().filter_map(|(name, value)| qos::read(name, value)).collect()
    }

    /// Declaration and value; of a camera's parameter that is not set the common one's.
    pub fn get(&self, name: &str) -> Option<(&'static Parameter, &Value)> {
        let parameter = declaration(name, &texts(&self.values, "cameras"))?;
        let value = self.values.get(name).or_else(|| self.values.get(parameter.name))?;
        Some((parameter, value))
    }

    /// Takes all changes, or none. Gives the names whose value is another now.
    ///
    /// # Errors
    /// The first value that is not allowed, or what makes the whole contradict itself.
    pub fn set(&mut self, changes: &[(String, Value)]) -> Result<Vec<String>, Refusal> {
        self.set_if(changes, |_| Ok(()))
    }

    /// As [`set`](Self::set), if `admit` takes the settings that come of it.
    ///
    /// # Errors
    /// As [`set`](Self::set), and what `admit` says.
    pub fn set_if(
        &mut self,
        changes: &[(String, Value)],
        admit: impl FnOnce(&Settings) -> Result<(), Refusal>,
    ) -> Result<Vec<String>, Refusal> {
        let said = changes.iter().rev().find(|(name, _)| name == "cameras");
        let cameras = match said {
            Some((_, Value::Texts(cameras))) => cameras.clone(),
            _ => texts(&self.values, "cameras"),
        };
        let mut values = self.values_with(&cameras, &self.file)?;
        for (name, value) in changes {
            check_declared(name, value, &cameras)?;
            if is_read_only(name) {
                return Err(refuse(name, READ_ONLY));
            }
            values.insert(name.clone(), value.clone());
        }
        self.commit(values, admit)
    }

    /// The values in force when there are these cameras: what was set for one that has gone is
    /// forgotten, one that has come starts with what the start and the file say of it.
    fn values_with(
        &self,
        cameras: &[String],
        file: &BTreeMap<String, Value>,
    ) -> Result<BTreeMap<String, Value>, Refusal> {
        let before = texts(&self.values, "cameras");
        let mut values = self.values.clone();
        if before == cameras {
            return Ok(values);
        }
        values.retain(|name, _| declaration(name, cameras).is_some());
        let has_come = |name: &str| declaration(name, &before).is_none();
        let is_as_at_start = |name: &str| file.get(name) == self.file.get(name);
        let start = self.start.iter().filter(|(name, _)| is_as_at_start(name));
        let said = file.iter().chain(start).filter(|(name, _)| has_come(name));
        for (name, value) in said {
            if declaration(name, cameras).is_some() {
                check_declared(name, value, cameras)?;
                values.insert(name.clone(), value.clone());
            }
        }
        Ok(values)
    }

    /// Cameras that the file has parameters for and `cameras` does not name.
    pub fn absent_cameras(&self) -> BTreeSet<&str> {
        let cameras = texts(&self.values, "cameras");
        let absent = self.file.keys().filter(|name| declaration(name, &cameras).is_none());
        absent.filter_map(|name| Some(name.split_once('.')?.0)).collect()
    }

    /// Remembers what the file says from which the node was started, so that
    /// [`apply_file`](Self::apply_file) sees what an edit changes.
    pub fn remember_file(&mut self, entries: &[Entry]) {
        let cameras = texts(&self.values, "cameras");
        let is_own = |entry: &&Entry| entry.parameter(&cameras).is_some();
        let own = entries.iter().filter(is_own);
        self.file = own.map(|entry| (entry.name.clone(), entry.value.clone())).collect();
    }

    /// Takes all that an edit of the file changed, or nothing: keys that are new or have another
    /// value are set, those that are gone return to their defaults, and whatever the file says as
    /// before stays as it is, set by others or not. `admit` has the last word. Gives the names
    /// whose value is another now.
    ///
    /// # Errors
    /// The first entry that is not allowed, with its line.
    pub fn apply_file(
        &mut self,
        entries: &[Entry],
        admit: impl FnOnce(&Settings) -> Result<(), Refusal>,
    ) -> Result<Vec<String>, FileRefusal> {
        let said = entries.iter().rev().find(|entry| entry.name == "cameras");
        let said = said.map(|entry| &entry.value);
        let cameras = match said {
            _ if said == self.file.get("cameras") => texts(&self.values, "cameras"),
            Some(Value::Texts(cameras)) => cameras.clone(),
            _ => Vec::new(),
        };
        let file: BTreeMap<String, Value> = own_entries(entries, &cameras)?
            .into_iter()
            .map(|entry| (entry.name.clone(), entry.value.clone()))
            .collect();
        let told = |refusal: Refusal| at(entries, &refusal);
        let mut values = self.values_with(&cameras, &file).map_err(told)?;
        for (name, value) in &file {
            if self.file.get(name) != Some(value) && declaration(name, &cameras).is_some() {
                values.insert(name.clone(), value.clone());
            }
        }
        // What the start fixed otherwise than the file says never was the file's.
        let is_fixed =
            |name: &str| is_read_only(name) && self.values.get(name) != self.file.get(name);
        let gone = self.file.keys().filter(|name| !file.contains_key(*name));
        for name in gone.filter(|name| !is_fixed(name)) {
            match find(name) {
                Some(parameter) => values.insert(name.clone(), parameter.default.value()),
                // A camera's own: the common one holds again.
                None => values.remove(name),
            };
        }
        let is_changed = |name: &&String| self.values.get(*name) != values.get(*name);
        let mut names = values.keys().chain(self.values.keys());
        if let Some(name) = names.find(|name| is_read_only(name) && is_changed(name)) {
            return Err(told(refuse(name, READ_ONLY)));
        }
        let changed = self.commit(values, admit).map_err(told)?;
        self.start.retain(|name, _| file.get(name) == self.file.get(name));
        self.file = file;
        Ok(changed)
    }

    /// Puts values in force that make sense together; names of those that are others now.
    fn commit(
        &mut self,
        values: BTreeMap<String, Value>,
        admit: impl FnOnce(&Settings) -> Result<(), Refusal>,
    ) -> Result<Vec<String>, Refusal> {
        let settings = settings(&values)?;
        self.check_classes(&settings, &values)?;
        admit(&settings)?;
        let names: BTreeSet<&String> = values.keys().chain(self.values.keys()).collect();
        let is_changed = |name: &&String| self.values.get(*name) != values.get(*name);
        let changed = names.into_iter().filter(is_changed).cloned().collect();
        self.values = values;
        self.settings = Arc::new(settings);
        Ok(changed)
    }
}

/// Gives the classes of a model's mask; `None` where there is no such model.
pub type ClassesOf = fn(model: &str) -> Option<Vec<String>>;

impl Store {
    /// Whether the classes that are given a meaning are there. What holds already is only warned
    /// of: another model has other classes.
    fn check_classes(
        &self,
        settings: &Settings,
        values: &BTreeMap<String, Value>,
    ) -> Result<(), Refusal> {
        let Some(classes_of) = self.classes else { return Ok(()) };
        let mut names = None;
        for (camera, after) in &settings.cameras {
            let given = [
                ("mask.traversability", after.mask.traversability.keys().collect::<Vec<_>>()),
                ("mask.cost", after.mask.cost.keys().collect()),
            ];
            for (parameter, classes) in given.into_iter().filter(|(_, given)| !given.is_empty()) {
                let known = names.get_or_insert_with(|| classes_of(&settings.model.model));
                // A model that is not there is refused as such, one without a mask has no classes.
                let Some(known) = known.as_deref().filter(|known| !known.is_empty()) else {
                    continue;
                };
                let is_missing = |class: &&&String| !known.contains(**class);
                let Some(class) = classes.iter().find(is_missing) else { continue };
                let model = &settings.model.model;
                let name = own_name(values, camera, parameter);
                let reason = format!("{model} has no class {class:?}; it has {}", known.join(", "));
                if self.values.get(&name) == values.get(&name) {
                    if self.settings.model != settings.model {
                        tracing::warn!("parameter {name}: {reason}; it has no effect");
                    }
                    continue;
                }
                return Err(refuse(&name, reason));
            }
        }
        Ok(())
    }
}

/// The name under which a camera has a parameter: its own where it is set, else the common one.
fn own_name(values: &BTreeMap<String, Value>, camera: &str, parameter: &str) -> String {
    let own = format!("{camera}.{parameter}");
    if values.contains_key(&own) { own } else { parameter.to_owned() }
}

/// The entries that are this node's, checked one by one. Those of a section for all nodes may be
/// others'.
fn own_entries<'a>(
    entries: &'a [Entry],
    cameras: &[String],
) -> Result<Vec<&'a Entry>, FileRefusal> {
    let mut own = Vec::new();
    for entry in entries {
        let refused = |reason: String| FileRefusal {
            origin: entry.origin,
            line: entry.line,
            reason: refuse(&entry.name, reason).to_string(),
        };
        if let Some(reason) = qos::misspelt(&entry.name)
            .filter(|_| !entry.is_for_all || !qos::is_of_others(&entry.name))
        {
            return Err(refused(reason));
        }
        match entry.parameter(cameras) {
            Some(parameter) => parameter.check(&entry.value).map_err(refused)?,
            None if entry.is_for_all || is_of_any_node(&entry.name) => continue,
            None => return Err(refused(no_such(&entry.name))),
        }
        own.push(entry);
    }
    Ok(own)
}

/// Where a refusal's parameter stands.
fn at(entries: &[Entry], refusal: &Refusal) -> FileRefusal {
    let entry = entries.iter().rev().find(|entry| entry.name == refusal.name);
    let (origin, line) = entry.map_or((0, 1), |entry| (entry.origin, entry.line));
    FileRefusal { origin, line, reason: refusal.to_string() }
}

/// Parameters that every node of the C++ client library has, and that files therefore hold.
fn is_of_any_node(name: &str) -> bool {
    name == "start_type_description_service"
}

/// Names in sections for all nodes, or on the command line, that look like ours and are not, by their group or by a letter or
/// two: each with what to say of it.
pub fn strays(entries: &[Entry], cameras: &[String]) -> Vec<String> {
    let looks_like_ours = |name: &str| {
        let group = name.split_once('.').map(|(group, _)| format!("{group}."));
        group.map_or_else(
            || name.len() > 4 && TABLE.iter().any(|p| distance(name, p.name) <= 2),
            |group| TABLE.iter().any(|p| p.name.starts_with(&group)),
        )
    };
    let strays = entries.iter().filter(|entry| {
        entry.is_for_all && entry.parameter(cameras).is_none() && looks_like_ours(&entry.name)
    });
    strays.map(|entry| refuse(&entry.name, no_such(&entry.name)).to_string()).collect()
}

fn no_such(name: &str) -> String {
    match nearest(name) {
        Some(near) => format!("{NO_SUCH}; the nearest is {near}"),
        None => NO_SUCH.to_owned(),
    }
}

/// The parameter whose name differs least, if it is by a few letters.
fn nearest(name: &str) -> Option<&'static str> {
    let distances = TABLE.iter().map(|parameter| (distance(name, parameter.name), parameter.name));
    let (distance, near) = distances.min()?;
    (distance <= 3).then_some(near)
}

/// Letters to change, add or leave out between two names (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut before = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let changed = before + usize::from(x != y);
            before = row[j + 1];
            row[j + 1] = changed.min(before + 1).min(row[j] + 1);
        }
    }
    row.last().copied().unwrap_or(0)
}

const NO_SUCH: &str = "there is no such parameter; `ros2 param list` shows all";
const READ_ONLY: &str = "it is read-only: set it in the parameter file and start the node anew";

fn is_read_only(name: &str) -> bool {
    find(name).or_else(|| qos::declaration(name)).is_some_and(|parameter| parameter.read_only)
}

/// The table's row for a name, or for a camera's own variant of it.
fn declaration(name: &str, cameras: &[String]) -> Option<&'static Parameter> {
    find(name).or_else(|| qos::declaration(name)).or_else(|| {
        let (camera, own) = name.split_once('.')?;
        let is_known = cameras.iter().any(|known| known == camera);
        find(own).filter(|parameter| is_known && parameter.per_camera)
    })
}

impl Entry {
    /// What an entry of a file is for, when there are these cameras. It may prepare one that is not
    /// there yet; in a section for all nodes that has to fit, or it is another node's.
    fn parameter(&self, cameras: &[String]) -> Option<&'static Parameter> {
        declaration(&self.name, cameras).or_else(|| {
            let (camera, own) = self.name.split_once('.')?;
            let parameter = find(own).filter(|parameter| parameter.per_camera)?;
            let may_be = is_camera_name(camera)
                && (!self.is_for_all || parameter.check(&self.value).is_ok());
            may_be.then_some(parameter)
        })
    }
}

/// Whether topics and parameters can be named after it.
fn is_camera_name(name: &str) -> bool {
    let mut letters = name.chars();
    letters.next().is_some_and(|first| first.is_ascii_alphabetic())
        && letters.all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
        && name.len() <= LONGEST_NAME
        && find(name).is_none()
}

fn check(name: &str, value: &Value) -> Result<(), Refusal> {
    check_declared(name, value, &[])
}

fn check_declared(name: &str, value: &Value, cameras: &[String]) -> Result<(), Refusal> {
    let parameter = declaration(name, cameras).ok_or_else(|| refuse(name, no_such(name)))?;
    parameter.check(value).map_err(|reason| refuse(name, reason))
}

fn texts(values: &BTreeMap<String, Value>, name: &str) -> Vec<String> {
    match values.get(name) {
        Some(Value::Texts(texts)) => texts.clone(),
        _ => Vec::new(),
    }
}

/// Reads checked values by name, a camera's own first.
struct Reader<'a> {
    values: &'a BTreeMap<String, Value>,
    camera: &'a str,
}

impl<'a> Reader<'a> {
    fn value(&self, name: &str) -> Option<&'a Value> {
        let own = self.values.get(&format!("{}.{name}", self.camera));
        own.or_else(|| self.values.get(name))
    }

    /// The name under which a value is refused: the camera's own, where it has one.
    fn refuse(&self, name: &str, reason: impl Into<String>) -> Refusal {
        let own = format!("{}.{name}", self.camera);
        refuse(if self.values.contains_key(&own) { &own } else { name }, reason)
    }

    fn text(&self, name: &str) -> &'a str {
        match self.value(name) {
            Some(Value::Text(text)) => text,
            _ => "",
        }
    }

    fn topic_or_none(&self, name: &str) -> Result<String, Refusal> {
        let topic = self.text(name);
        if !topic.is_empty() {
            check_topic(topic).map_err(|reason| self.refuse(name, reason))?;
        }
        Ok(topic.to_owned())
    }

    fn bool(&self, name: &str) -> bool {
        self.value(name) == Some(&Value::Bool(true))
    }

    fn integer(&self, name: &str) -> i64 {
        match self.value(name) {
            Some(Value::Integer(value)) => *value,
            _ => 0,
        }
    }

    fn double(&self, name: &str) -> f64 {
        match self.value(name) {
            Some(Value::Double(value)) => *value,
            _ => 0.0,
        }
    }

    /// Entries `key=value` of an array of strings.
    fn entries<T>(
        &self,
        name: &str,
        parse: impl Fn(&str) -> Option<T>,
        allowed: &str,
    ) -> Result<BTreeMap<String, T>, Refusal> {
        let Some(Value::Texts(entries)) = self.value(name) else { return Ok(BTreeMap::new()) };
        let mut all = BTreeMap::new();
        for entry in entries {
            let parsed = entry
                .split_once('=')
                .and_then(|(key, value)| Some((key.trim().to_owned(), parse(value.trim())?)));
            let (key, value) = parsed.ok_or_else(|| {
                self.refuse(name, format!("{entry:?} is not of the form class={allowed}"))
            })?;
            if all.insert(key.clone(), value).is_some() {
                return Err(self.refuse(name, format!("class {key:?} is there twice")));
            }
        }
        Ok(all)
    }
}

/// Raw values to checked settings. Values have passed the table's checks; here it is seen whether
/// they make sense together.
fn settings(values: &BTreeMap<String, Value>) -> Result<Settings, Refusal> {
    let common = Reader { values, camera: "" };
    let names = texts(values, "cameras");
    if names.len() > MOST_CAMERAS {
        let reason = format!("{} cameras are too many, {MOST_CAMERAS} may be", names.len());
        return Err(refuse("cameras", reason));
    }
    let mut cameras = BTreeMap::new();
    if names.is_empty() {
        cameras.insert(String::new(), camera_settings(&common)?);
    }
    for name in &names {
        if !is_camera_name(name) {
            let reason = format!(
                "{name:?} is no name for a camera: up to {LONGEST_NAME} letters, digits and _ are allowed, a letter first, and no parameter's name"
            );
            return Err(refuse("cameras", reason));
        }
        let of_camera = camera_settings(&Reader { values, camera: name });
        let of_camera = of_camera.map_err(|refusal| Refusal {
            name: own_name(values, name, &refusal.name),
            ..refusal
        })?;
        if cameras.insert(name.clone(), of_camera).is_some() {
            return Err(refuse("cameras", format!("{name:?} is there twice")));
        }
    }
    Ok(Settings {
        model: ModelSettings {
            model: common.text("model").to_owned(),
            precision: Precision::named(common.text("precision")).unwrap_or(Precision::Auto),
            provider: Provider::named(common.text("inference.provider")).unwrap_or(Provider::Auto),
            threads: common.integer("inference.threads") as usize,
            pin_threads: common.bool("inference.pin_threads"),
        },
        cameras,
        outputs: OutputSettings {
            reliability: reliability(common.text("output.reliability")),
            overlay_alpha: common.double("overlay.alpha") as f32,
            overlay_jpeg_quality: common.integer("overlay.jpeg_quality") as u8,
        },
        map: map_settings(&common)?,
        places: PlaceSettings {
            file: common.text("places.file").to_owned(),
            smoothing: common.double("places.smoothing"),
            max_views: common.integer("places.max_views") as usize,
            thumbnails: common.bool("places.thumbnails"),
            pose_topic: common.topic_or_none("places.pose_topic")?,
        },
        learning: LearningSettings {
            is_enabled: common.bool("learning.enabled"),
            footprint: {
                let text = common.text("learning.footprint");
                let checked = text.parse::<Footprint>();
                checked.map_err(|error| refuse("learning.footprint", error.to_string()))?;
                text.to_owned()
            },
            odom_frame: common.text("learning.odom_frame").to_owned(),
            file: common.text("learning.file").to_owned(),
        },
        log_level: match common.text("log_level") {
            "error" => LogLevel::Error,
            "warn" => LogLevel::Warn,
            "debug" => LogLevel::Debug,
            "trace" => LogLevel::Trace,
            _ => LogLevel::Info,
        },
        late_ms: common.double("diagnostics.late_ms"),
        use_sim_time: common.bool("use_sim_time"),
        is_managed: common.bool("managed"),
        autostart: common.bool("autostart"),
    })
}

fn map_settings(common: &Reader<'_>) -> Result<MapSettings, Refusal> {
    let (size_m, resolution_m) =
        (common.double("ground.map_size_m"), common.double("ground.map_resolution_m"));
    let cells = size_m / resolution_m;
    if cells.round() > MOST_CELLS as f64 {
        let reason = format!(
            "{size_m} m are {cells:.0} cells of {resolution_m} m a side, {MOST_CELLS} are the most: a smaller map, or a coarser ground.map_resolution_m"
        );
        return Err(refuse("ground.map_size_m", reason));
    }
    Ok(MapSettings {
        frame: common.text("ground.map_frame").to_owned(),
        memory_s: common.double("ground.memory_s"),
        size_m,
        resolution_m,
        max_hz: common.double("ground.map_max_hz"),
        tf_wait_ms: common.double("ground.tf_wait_ms"),
    })
}

fn reliability(text: &str) -> Reliability {
    match text {
        "best_effort" => Reliability::BestEffort,
        "reliable" => Reliability::Reliable,
        _ => Reliability::Auto,
    }
}

/// Whether a topic can have that name.
///
/// # Errors
/// Why not.
pub fn check_topic(topic: &str) -> Result<(), String> {
    if is_topic(topic) {
        Ok(())
    } else if topic.len() > LONGEST_TOPIC {
        Err(format!("a topic name has at most {LONGEST_TOPIC} letters, this one {}", topic.len()))
    } else {
        Err(format!("{topic:?} is no topic name"))
    }
}

fn is_topic(topic: &str) -> bool {
    let has_bad_letter = topic.chars().any(|c| !(c.is_ascii_alphanumeric() || "_/~{}".contains(c)));
    let relative = topic.strip_prefix(['/', '~']).unwrap_or(topic).trim_start_matches('/');
    let is_bad_part =
        |part: &str| part.is_empty() || part.starts_with(|c: char| c.is_ascii_digit());
    topic.len() <= LONGEST_TOPIC
        && !has_bad_letter
        && !topic.starts_with("//")
        && !relative.split('/').any(is_bad_part)
}

fn ground_settings(reader: &Reader<'_>) -> Result<GroundSettings, Refusal> {
    Ok(GroundSettings {
        frame: reader.text("ground.frame").to_owned(),
        camera_info_topic: reader.topic_or_none("ground.camera_info_topic")?,
        is_rectified: match reader.text("ground.rectified") {
            "yes" => Some(true),
            "no" => Some(false),
            _ => None,
        },
        height_m: reader.double("ground.height_m"),
        pitch_deg: reader.double("ground.pitch_deg"),
        roll_deg: reader.double("ground.roll_deg"),
        hfov_deg: reader.double("ground.hfov_deg"),
        max_range_m: reader.double("ground.max_range_m"),
        pitch_sigma_deg: reader.double("ground.pitch_sigma_deg"),
        range_error: reader.double("ground.range_error"),
        scan_step_deg: reader.double("ground.scan_step_deg"),
        threshold: reader.double("ground.threshold"),
        near_threshold: reader.double("ground.near_threshold"),
        min_width: reader.double("ground.min_width"),
        min_length: reader.double("ground.min_length"),
        min_height_m: reader.double("ground.min_height_m"),
        max_rise_deg: reader.double("ground.max_rise_deg"),
        obstacle_z_m: reader.double("ground.obstacle_z_m"),
    })
}

fn camera_settings(reader: &Reader<'_>) -> Result<CameraSettings, Refusal> {
    let topic = reader.text("image_topic");
    check_topic(topic).map_err(|reason| reader.refuse("image_topic", reason))?;
    let side = |name| match reader.integer(name) {
        size @ 1..64 => {
            Err(reader.refuse(name, format!("{size} is not allowed, it must be 0 or 64 to 4096")))
        }
        size => Ok(size as u32),
    };
    let meanings = |text: &str| Traversability::ALL.into_iter().find(|kind| kind.name() == text);
    Ok(CameraSettings {
        image_topic: topic.to_owned(),
        transport: match reader.text("image_transport") {
            "raw" => Transport::Raw,
            "compressed" => Transport::Compressed,
            _ => Transport::Auto,
        },
        reliability: reliability(reader.text("input.reliability")),
        max_age_ms: reader.double("input.max_age_ms"),
        max_hz: reader.double("rate.max_hz"),
        weight: reader.double("rate.weight"),
        fit: match reader.text("input.fit") {
            "aspect" => Some(Fit::Aspect),
            "stretch" => Some(Fit::Stretch),
            "letterbox" => Some(Fit::Letterbox),
            "crop" => Some(Fit::Crop),
            _ => None,
        },
        input_width: side("input.width")?,
        input_height: side("input.height")?,
        labels: LabelSettings {
            top_k: reader.integer("labels.top_k") as usize,
            threshold: reader.double("labels.threshold") as f32,
            class_id_format: match reader.text("labels.class_id_format") {
                "index" => ClassIdFormat::Index,
                _ => ClassIdFormat::Name,
            },
        },
        mask: MaskSettings {
            kind: match reader.text("mask.kind") {
                "semantic" => MaskKind::Semantic,
                _ => MaskKind::Traversability,
            },
            size: match reader.text("mask.size") {
                "network" => MaskSize::Network,
                "grid" => MaskSize::Grid,
                _ => MaskSize::Source,
            },
            min_confidence: reader.double("mask.min_confidence") as f32,
            smoothing: reader.double("mask.smoothing") as f32,
            traversability: reader.entries("mask.traversability", meanings, "meaning, such as pavement=caution; meanings are traversable, caution, obstacle and background")?,
            cost: reader.entries("mask.cost", |text| text.parse().ok(), "cost, such as pavement=120; costs are 0 to 255")?,
        },
        obstacles: ObstacleSettings {
            min_area: reader.double("obstacles.min_area") as f32,
            max_count: reader.integer("obstacles.max_count") as usize,
        },
        ground: ground_settings(reader)?,
        health: HealthSettings {
            action: match reader.text("health.action") {
                "unknown" => HealthAction::Unknown,
                _ => HealthAction::Report,
            },
            dark: reader.double("health.dark") as f32,
            blown_out: reader.double("health.blown_out") as f32,
            torn: reader.double("health.torn") as f32,
            covered: reader.double("health.covered") as f32,
            blurred: reader.double("health.blurred") as f32,
            noise: reader.double("health.noise") as f32,
            frozen_s: reader.double("health.frozen_s"),
            exposure_jump: reader.double("health.exposure_jump") as f32,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: &str) -> Value {
        Value::Text(value.to_owned())
    }

    fn store(overrides: &[(&str, Value)]) -> Result<Store, Refusal> {
        let overrides: Vec<_> =
            overrides.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        Store::new(&overrides)
    }

    #[test]
    fn the_table_makes_the_default_settings() {
        assert_eq!(*store(&[]).unwrap().settings(), Settings::default());
    }

    #[test]
    fn qos_overrides_are_declared_by_being_given_and_fixed() {
        let name = "qos_overrides./squeezenet/mask.publisher.depth";
        let mut store = store(&[(name, Value::Integer(3))]).unwrap();
        assert_eq!(store.get(name).unwrap().1, &Value::Integer(3));
        assert!(store.names().contains(&name.to_owned()));
        assert_eq!(store.qos_overrides().len(), 1);
        let error = store.set(&[(name.to_owned(), Value::Integer(4))]).unwrap_err();
        assert!(error.reason.contains("read-only"), "{error}");
        let wrong = |name: &str, value| super::Store::new(&[(name.to_owned(), value)]).unwrap_err();
        let error = wrong(name, text("deep")).to_string();
        assert!(error.contains("expected a integer"), "{error}");
        let error = wrong("qos_overrides./a.publisher.reliability", text("often")).to_string();
        assert!(error.contains("reliable, best_effort"), "{error}");
        let error = wrong("qos_overrides./a.publisher.colour", Value::Integer(3)).to_string();
        assert!(error.contains("not of the form"), "{error}");
    }

    #[test]
    fn a_map_of_too_many_cells_is_refused() {
        let mut store = store(&[]).unwrap();
        let set = |size: f64, resolution: f64| {
            [("ground.map_size_m", size), ("ground.map_resolution_m", resolution)]
                .map(|(name, value)| (name.to_owned(), Value::Double(value)))
        };
        store.set(&set(50.0, 0.05)).unwrap();
        let error = store.set(&set(50.0, 0.02)).unwrap_err();
        assert_eq!(error.name, "ground.map_size_m");
        assert!(error.reason.contains("2500 cells"), "{error}");
        assert_eq!(store.settings().map.resolution_m, 0.05);
    }

    #[test]
    fn every_default_is_allowed() {
        for parameter in TABLE {
            parameter.check(&parameter.default.value()).unwrap();
        }
    }

    #[test]
    fn refusals_name_parameter_value_and_what_is_allowed_and_change_nothing() {
        let mut store = store(&[]).unwrap();
        let before = store.settings();
        let mut check = |name: &str, value: Value, expected: &str| {
            let good = ("labels.top_k".to_owned(), Value::Integer(3));
            let error = store.set(&[good, (name.to_owned(), value)]).unwrap_err().to_string();
            assert!(
                error.contains(name) && error.contains(expected),
                "{error:?} lacks {expected:?}"
            );
            assert_eq!(store.settings(), before, "nothing of a refused set is taken");
        };
        check("labels.top_k", Value::Integer(0), "0 is not allowed, it must be 1 to 1000");
        check("labels.threshold", Value::Double(f64::NAN), "NaN is not allowed");
        check("labels.threshold", Value::Integer(1), "1 is a integer, expected a double");
        check("precision", text("fp16"), "it must be one of auto, fp32, int8");
        check("labels.top_q", Value::Integer(1), "no such parameter");
        check(
            "mask.cost",
            Value::Texts(vec!["road".into()]),
            "\"road\" is not of the form class=cost",
        );
        check("mask.cost", Value::Texts(vec!["road=256".into()]), "0 to 255");
        check("input.width", Value::Integer(7), "0 or 64 to 4096");
        for topic in ["", "a b", "9x", "/a//b", "/a/", "/", "/a/9"] {
            check("image_topic", text(topic), "no topic name");
        }
        check("use_sim_time", Value::Bool(true), "read-only");
        let cameras =
            |names: &[&str]| Value::Texts(names.iter().map(|n| (*n).to_owned()).collect());
        for name in ["", "front left", "9x", "a.b", "a/b", "model", &"x".repeat(65)] {
            check("cameras", cameras(&[name]), "no name for a camera");
        }
        check("cameras", cameras(&["a", "b", "a"]), "there twice");
        let many: Vec<String> = (0..65).map(|n| format!("c{n}")).collect();
        check("cameras", Value::Texts(many), "65 cameras are too many");
    }

    #[test]
    fn cameras_have_their_own_values() {
        let cameras = Value::Texts(vec!["front".into(), "rear".into()]);
        let mut store = store(&[
            ("cameras", cameras),
            ("front.image_topic", text("/front/image")),
            ("labels.top_k", Value::Integer(2)),
            ("rear.labels.top_k", Value::Integer(4)),
        ])
        .unwrap();
        let settings = store.settings();
        assert_eq!(settings.cameras["front"].image_topic, "/front/image");
        assert_eq!(settings.cameras["rear"].image_topic, "/camera/image_raw");
        assert_eq!(settings.cameras["front"].labels.top_k, 2);
        assert_eq!(settings.cameras["rear"].labels.top_k, 4);
        let changed = store.set(&[("front.labels.top_k".into(), Value::Integer(9))]).unwrap();
        assert_eq!(changed, ["front.labels.top_k"]);
        assert_eq!(store.settings().cameras["front"].labels.top_k, 9);
        assert_eq!(store.get("rear.labels.top_k").unwrap().1, &Value::Integer(4));
        assert!(store.names().contains(&"front.mask.kind".to_owned()));
        assert!(store.set(&[("left.labels.top_k".into(), Value::Integer(9))]).is_err());
        let refusal = store.set(&[("front.input.width".into(), Value::Integer(9))]).unwrap_err();
        assert_eq!(refusal.name, "front.input.width", "not that of all cameras");
    }

    fn cameras(names: &[&str]) -> (String, Value) {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        ("cameras".to_owned(), Value::Texts(names))
    }

    #[test]
    fn cameras_come_and_go_with_their_values() {
        let mut store = store(&[("labels.top_k", Value::Integer(2))]).unwrap();
        let top_k = |store: &Store, name: &str| store.settings().cameras[name].labels.top_k;
        assert_eq!(top_k(&store, ""), 2);
        // A camera and its own values in one change.
        let rear = ("rear.labels.top_k".to_owned(), Value::Integer(7));
        assert!(store.set(std::slice::from_ref(&rear)).is_err());
        let changed = store.set(&[rear.clone(), cameras(&["front", "rear"])]).unwrap();
        assert_eq!(changed, ["cameras", "rear.labels.top_k"]);
        assert_eq!((top_k(&store, "front"), top_k(&store, "rear")), (2, 7));
        assert!(!store.settings().cameras.contains_key(""));
        assert_eq!(store.get("rear.labels.top_k").unwrap().1, &Value::Integer(7));
        // Nothing is left of one that has gone.
        assert!(store.set(&[rear, cameras(&["front"])]).is_err());
        store.set(&[cameras(&["front"])]).unwrap();
        assert!(store.get("rear.labels.top_k").is_none());
        assert!(!store.names().iter().any(|name| name.starts_with("rear.")));
        store.set(&[cameras(&["front", "rear"])]).unwrap();
        assert_eq!(top_k(&store, "rear"), 2);
        store.set(&[cameras(&[])]).unwrap();
        assert_eq!(store.settings().cameras.keys().collect::<Vec<_>>(), [""]);
    }

    #[test]
    fn a_file_adds_and_removes_cameras_and_prepares_them() {
        let mut store = store(&[]).unwrap();
        let top_k = |store: &Store| -> Vec<(String, usize)> {
            let cameras = &store.settings().cameras;
            cameras.iter().map(|(name, camera)| (name.clone(), camera.labels.top_k)).collect()
        };
        let both = "    cameras: [front, rear]\n    rear:\n      labels.top_k: 7\n";
        edit(&mut store, both).unwrap();
        assert_eq!(top_k(&store), [("front".to_owned(), 5), ("rear".to_owned(), 7)]);
        // Its section may stay when it goes, and holds when it comes back, whoever asks for it.
        let one = "    cameras: [front]\n    rear:\n      labels.top_k: 7\n";
        let changed = edit(&mut store, one).unwrap();
        assert_eq!(changed, ["cameras", "rear.labels.top_k"]);
        assert_eq!(top_k(&store), [("front".to_owned(), 5)]);
        assert_eq!(store.absent_cameras().into_iter().collect::<Vec<_>>(), ["rear"]);
        store.set(&[cameras(&["front", "rear"])]).unwrap();
        assert_eq!(top_k(&store)[1], ("rear".to_owned(), 7));
        // What was set stays while the file says of it what it said before.
        edit(&mut store, &format!("{one}    overlay.alpha: 0.25\n")).unwrap();
        assert_eq!(top_k(&store).len(), 2);
        edit(&mut store, "    overlay.alpha: 0.25\n").unwrap();
        assert_eq!(top_k(&store), [(String::new(), 5)], "without the key there is one camera");
        // A section that prepares a camera is read as strictly as any.
        for (line, words) in [
            ("rear.labels.top_k: 0", "1 to 1000"),
            ("rear.labels.top_q: 1", "no such parameter"),
            ("re-ar.labels.top_k: 1", "no such parameter"),
            ("rear.overlay.alpha: 0.5", "no such parameter"),
            ("cameras: [a b]", "no name for a camera"),
            ("cameras: 5", "expected a string array"),
        ] {
            let error = edit(&mut store, &format!("    {line}\n")).unwrap_err();
            assert!(error.line == 3 && error.reason.contains(words), "{error} lacks {words:?}");
        }
        let others = "/**:\n  ros__parameters:\n    gripper.image_topic: 5\n";
        let others = crate::parameter::parse(others, "/squeezenet").unwrap();
        store.apply_file(&others, |_| Ok(())).unwrap();
        assert!(store.absent_cameras().is_empty(), "other nodes have parameters of that name");
    }

    #[test]
    fn names_of_others_in_a_parameter_file_are_left_alone() {
        assert!(store(&[("frame_rate", Value::Double(30.0))]).is_ok());
        assert!(store(&[("labels.top_k", text("five"))]).is_err());
        assert!(store(&[("cameras", Value::Texts(vec!["front left".into()]))]).is_err());
    }

    fn started(text: &str) -> Result<Store, FileRefusal> {
        let classes = |_: &str| Some(vec!["road".to_owned(), "pavement".to_owned()]);
        Store::started_with(&crate::parameter::parse(text, "/squeezenet").unwrap(), Some(classes))
    }

    #[test]
    fn a_start_refuses_what_a_reload_refuses_with_its_line() {
        let check = |line: &str, words: &str| {
            let text =
                format!("squeezenet:\n  ros__parameters:\n    labels.top_k: 7\n    {line}\n");
            let mut running = started("").unwrap();
            let entries = crate::parameter::parse(&text, "/squeezenet").unwrap();
            let reload = running.apply_file(&entries, |_| Ok(())).unwrap_err();
            let start = started(&text).unwrap_err();
            assert_eq!(start, reload, "{line}");
            assert_eq!(start.line, 4, "{line}: {start}");
            assert!(start.reason.contains(words), "{line}: {start}");
        };
        check("labels.threshold: 1", "expected a double");
        check(
            "labels.topk: 1",
            "no such parameter; `ros2 param list` shows all; the nearest is labels.top_k",
        );
        check("input.width: 7", "0 or 64 to 4096");
        check(
            "mask.traversability: [pavment=caution]",
            "no class \"pavment\"; it has road, pavement",
        );
        check("mask.cost: [road=1, road=2]", "there twice");
        check(&format!("image_topic: /{}", "a".repeat(100_000)), "at most 247 letters");
        check("model: \"a\\nb\"", "control characters");
    }

    #[test]
    fn a_start_takes_the_last_value_and_leaves_others_alone() {
        let store = started(
            "/**:\n  ros__parameters: {labels.top_k: 3, frame_rate: 30.0, labels.topk: 1}\nsqueezenet:\n  ros__parameters: {labels.top_k: 4, qos_overrides./tf.subscription.depth: 1}\n",
        )
        .unwrap();
        assert_eq!(store.get("labels.top_k").unwrap().1, &Value::Integer(4));
        let entries = crate::parameter::parse(
            "/**:\n  ros__parameters: {frame_rate: 1, mode: 2, image_topc: /x, labels.topk: 1}\n",
            "/squeezenet",
        );
        let strays = strays(&entries.unwrap(), &[]);
        assert_eq!(strays.len(), 2, "{strays:?}");
        assert!(strays[0].contains("the nearest is image_topic"), "{strays:?}");
        assert!(strays[1].contains("the nearest is labels.top_k"), "{strays:?}");
        // What other nodes' overrides have is theirs; a slip in one is not.
        for (policy, is_fine) in [("liveliness", true), ("dept", false)] {
            let text =
                format!("/**:\n  ros__parameters: {{qos_overrides./scan.publisher.{policy}: 1}}\n");
            assert_eq!(started(&text).is_ok(), is_fine, "{policy}");
        }
    }

    #[test]
    fn what_the_start_says_of_a_camera_holds_when_it_comes() {
        let said = |top_k: i64| {
            format!("squeezenet:\n  ros__parameters: {{rear.labels.top_k: {top_k}}}\n")
        };
        let top_k = |store: &Store| store.get("rear.labels.top_k").map(|(_, value)| value.clone());
        let both = [cameras(&["front", "rear"])];
        // As if on the command line: no file says it.
        let mut store = started(&said(3)).unwrap();
        assert_eq!(top_k(&store), None);
        for _ in 0..2 {
            store.set(&both).unwrap();
            assert_eq!(top_k(&store), Some(Value::Integer(3)));
            store.set(&[cameras(&["front"])]).unwrap();
        }
        // Over the file, until that says something else.
        let entries = |text: &str| crate::parameter::parse(text, "/squeezenet").unwrap();
        store.remember_file(&entries(&said(4)));
        store.set(&both).unwrap();
        assert_eq!(top_k(&store), Some(Value::Integer(3)));
        store.set(&[cameras(&["front"])]).unwrap();
        store.apply_file(&entries(&said(9)), |_| Ok(())).unwrap();
        store.set(&both).unwrap();
        assert_eq!(top_k(&store), Some(Value::Integer(9)));
    }

    #[test]
    fn a_class_that_another_model_lacks_is_no_reason_to_refuse_the_model() {
        let classes = |model: &str| {
            let classes: &[&str] = match model {
                "one" => &["road"],
                "maskless" => &[],
                _ => &["floor"],
            };
            Some(classes.iter().map(|class| (*class).to_owned()).collect())
        };
        let entries = "/**:\n  ros__parameters: {model: one, mask.cost: [road=7]}\n";
        let entries = crate::parameter::parse(entries, "/squeezenet").unwrap();
        let mut store = Store::started_with(&entries, Some(classes)).unwrap();
        let class = |class: &str| Value::Texts(vec![format!("{class}=9")]);
        assert!(store.set(&[("mask.cost".into(), class("floor"))]).is_err());
        store.set(&[("model".into(), text("maskless"))]).unwrap();
        store.set(&[("model".into(), text("other"))]).unwrap();
        store.set(&[("mask.cost".into(), class("floor"))]).unwrap();
    }

    #[test]
    fn a_refusal_names_the_cameras_own_parameter() {
        let text = "squeezenet:\n  ros__parameters:\n    cameras: [front]\n    front:\n      input.width: 7\n";
        let refusal = started(text).unwrap_err();
        assert_eq!(refusal.line, 5, "{refusal}");
        assert!(refusal.reason.contains("front.input.width"), "{refusal}");
    }

    fn edit(store: &mut Store, lines: &str) -> Result<Vec<String>, FileRefusal> {
        let text = format!("squeezenet:\n  ros__parameters:\n{lines}");
        store.apply_file(&crate::parameter::parse(&text, "/squeezenet").unwrap(), |_| Ok(()))
    }

    #[test]
    fn an_edit_sets_what_it_changes_and_resets_what_is_gone() {
        let mut store = store(&[]).unwrap();
        edit(&mut store, "    labels.top_k: 3\n    overlay.alpha: 0.25\n").unwrap();
        store.set(&[("labels.top_k".into(), Value::Integer(9))]).unwrap();
        let changed = edit(&mut store, "    labels.top_k: 3\n    overlay.alpha: 0.75\n").unwrap();
        assert_eq!(changed, ["overlay.alpha"], "what the file says as before stays as it was set");
        assert_eq!(store.get("labels.top_k").unwrap().1, &Value::Integer(9));
        edit(&mut store, "    labels.top_k: 4\n").unwrap();
        assert_eq!(store.get("labels.top_k").unwrap().1, &Value::Integer(4));
        assert_eq!(store.get("overlay.alpha").unwrap().1, &Value::Double(0.5));
    }

    #[test]
    fn a_refused_edit_changes_nothing_and_names_its_line() {
        let mut store = store(&[]).unwrap();
        edit(&mut store, "    labels.top_k: 3\n").unwrap();
        let before = store.settings();
        let mut check = |line: &str, expected: &str| {
            let error =
                edit(&mut store, &format!("    labels.top_k: 7\n    {line}\n")).unwrap_err();
            assert_eq!(error.line, 4, "{error}");
            assert!(error.reason.contains(expected), "{error} lacks {expected:?}");
            assert_eq!(store.settings(), before);
        };
        check("labels.threshold: 1", "expected a double");
        check("labels.threshold: 1.5", "0.0 to 1.0");
        check("labels.threshold: .nan", "NaN is not allowed, it must be 0.0 to 1.0");
        check("labels.top_q: 1", "no such parameter");
        check("use_sim_time: true", "read-only");
        check("input.width: 7", "0 or 64 to 4096");
        check("mask.cost: [road]", "class=cost");
        // What was refused has not been remembered as the file's: mended, it is applied.
        assert_eq!(edit(&mut store, "    labels.top_k: 7\n").unwrap(), ["labels.top_k"]);
    }

    proptest::proptest! {
        #![proptest_config(proptest::test_runner::Config::with_cases(64))]
        /// Every set and edit writes the same number to three parameters, some with a bad fourth.
        #[test]
        fn no_sequence_leaves_a_mixed_state(steps in proptest::collection::vec((0..2u8, 1..100i64, proptest::bool::ANY), 1..30)) {
            let mut store = store(&[]).unwrap();
            let all = |k| [("labels.top_k", k), ("obstacles.max_count", k), ("overlay.jpeg_quality", k)];
            store.set(&all(50).map(|(name, k)| (name.to_owned(), Value::Integer(k)))).unwrap();
            let mut expected = 50;
            let mut in_file = None;
            for (kind, k, is_bad) in steps {
                let taken = if kind == 0 {
                    let mut changes = all(k).map(|(name, k)| (name.to_owned(), Value::Integer(k))).to_vec();
                    if is_bad {
                        changes.push(("labels.threshold".into(), Value::Double(2.0)));
                    }
                    store.set(&changes).is_ok()
                } else {
                    let mut lines: String = all(k).map(|(name, k)| format!("    {name}: {k}\n")).concat();
                    if is_bad {
                        lines += "    labels.threshold: 2.0\n";
                    }
                    edit(&mut store, &lines).is_ok()
                };
                proptest::prop_assert_eq!(taken, !is_bad);
                // An edit that says the same as before leaves what was set since.
                if taken && (kind == 0 || in_file != Some(k)) {
                    expected = k;
                }
                if taken && kind == 1 {
                    in_file = Some(k);
                }
                let settings = store.settings();
                let camera = &settings.cameras[""];
                let seen = [camera.labels.top_k as i64, camera.obstacles.max_count as i64, i64::from(settings.outputs.overlay_jpeg_quality)];
                proptest::prop_assert_eq!(seen, [expected; 3]);
            }
        }
    }
}
