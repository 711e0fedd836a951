//! Parameter files: read at start together with what the command line says, watched, and taken
//! over, whole or not at all, when they change.
//!
//! Paths are looked at anew every time, so that a file that is renamed into place, a symlink that
//! is pointed elsewhere, and one that vanishes and comes back are all the same: content that
//! differs from what was read last. A file system's events would not tell of all of these.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use tokio_util::sync::CancellationToken;

use super::parameter_services::Parameters;
use crate::install;
use crate::lock::lock;
use crate::manifest;
use crate::parameter::{self, Entry, FileRefusal, Given, Section, Store, Value};
use crate::same_file::is_same;

/// How often the files are looked at. A change is read when it has been the same for two looks.
const LOOK: Duration = Duration::from_millis(50);

/// Larger files are not read: a parameter file has some kilobytes.
const LARGEST: u64 = 1 << 20;

/// What is wrong with the files now, for `/diagnostics`.
pub type Warning = Arc<Mutex<Option<String>>>;

/// What the node starts with.
pub struct Started {
    /// Parameters as the files and the command line say.
    pub store: Store,
    /// The files that are watched, `None` where there are none.
    pub watched: Option<Watched>,
    /// What a user has to be told once there is a log.
    pub notes: Vec<String>,
}

/// A parameter file and the text of it that is in force.
#[derive(Debug, Clone, PartialEq)]
struct File {
    path: PathBuf,
    taken: Option<String>,
}

/// Parameter files that are watched, in the order of the command line.
#[derive(Debug)]
pub struct Watched {
    files: Vec<File>,
}

/// Reads what the command line gave to the node of that name, and the file that `config_file`
/// names.
///
/// # Errors
/// The first file that cannot be read, or the first value that is not allowed, with its place.
pub fn start(given: &[Given], node: &str) -> anyhow::Result<Started> {
    let mut notes = Vec::new();
    let mut all = Vec::new();
    let mut files = Vec::new();
    for (source, one) in given.iter().enumerate() {
        all.extend(one.section(source, node));
        if let Given::File(path) = one {
            let text = read(path).map_err(anyhow::Error::msg)?;
            let found = sections(&text, source, node);
            let found =
                found.map_err(|refusal| anyhow::anyhow!("{}, {refusal}", path.display()))?;
            notes.extend(passed_over(path, &found, node));
            all.extend(found);
            // What comes through a pipe is read once, and is empty at the second time.
            if std::fs::metadata(path).is_ok_and(|data| data.is_file()) {
                files.push(File { path: path.clone(), taken: Some(text) });
            }
        }
    }
    let mut sources: Vec<Option<PathBuf>> = given.iter().map(path_of).collect();
    let mut entries = parameter::in_order(all.clone());
    let mut store = begin(&entries, &sources)?;
    let named = match store.get("config_file") {
        Some((_, Value::Text(path))) if !path.is_empty() => Some(PathBuf::from(path)),
        _ => None,
    };
    if let Some(path) = named {
        let mut file = match files.into_iter().find(|file| is_same(&file.path, &path)) {
            // It is watched by the name that it has here.
            Some(known) => File { path, ..known },
            None => File { path, taken: None },
        };
        if file.taken.is_none() {
            let shown = file.path.display();
            match read(&file.path) {
                Ok(text) => {
                    // As one more file of the start, after all others. What is watched is said already.
                    let found = sections(&text, sources.len(), node);
                    let mut found =
                        found.map_err(|refusal| anyhow::anyhow!("{shown}, {refusal}"))?;
                    notes.extend(passed_over(&file.path, &found, node));
                    for section in &mut found {
                        section.entries.retain(|entry| entry.name != "config_file");
                    }
                    all.extend(found);
                    sources.push(Some(file.path.clone()));
                    entries = parameter::in_order(all);
                    store = begin(&entries, &sources)?;
                    file.taken = Some(text);
                }
                Err(reason) => {
                    notes.push(format!("{reason}; it is watched for until it can be read"));
                }
            }
        }
        files = vec![file];
    }
    let cameras: Vec<String> = store.settings().cameras.keys().cloned().collect();
    notes.extend(parameter::strays(&entries, &cameras));
    if let Ok(entries) = in_force(&files, node) {
        store.remember_file(&entries);
    }
    let watched = (!files.is_empty()).then_some(Watched { files });
    Ok(Started { store, watched, notes })
}

/// Classes of a model's mask.
fn classes(model: &str) -> Option<Vec<String>> {
    manifest::mask_classes(model, &install::models_dir())
}

/// The parameters as all sources say.
fn begin(entries: &[Entry], sources: &[Option<PathBuf>]) -> anyhow::Result<Store> {
    let placed = |refusal: FileRefusal| match sources.get(refusal.origin) {
        Some(Some(path)) => anyhow::anyhow!("{}, {refusal}", path.display()),
        _ => anyhow::anyhow!(refusal.reason),
    };
    Store::started_with(entries, Some(classes)).map_err(placed)
}

fn path_of(given: &Given) -> Option<PathBuf> {
    match given {
        Given::File(path) => Some(path.clone()),
        Given::Value { .. } => None,
    }
}

fn read(path: &Path) -> Result<String, String> {
    let shown = path.display();
    let size = std::fs::metadata(path).map_err(|error| format!("{shown}: {error}"))?.len();
    if size > LARGEST {
        return Err(format!("{shown}: {size} bytes are too many for a parameter file"));
    }
    std::fs::read_to_string(path).map_err(|error| format!("{shown}: {error}"))
}

/// A file's sections, marked as those of the `origin`-th.
fn sections(text: &str, origin: usize, node: &str) -> Result<Vec<Section>, FileRefusal> {
    let mut found =
        parameter::sections(text, node).map_err(|refusal| FileRefusal { origin, ..refusal })?;
    let entries = found.iter_mut().flat_map(|section| &mut section.entries);
    entries.for_each(|entry| entry.origin = origin);
    Ok(found)
}

/// Sections that a user may have meant for this node: they have its name and not its namespace. Or that none is for it.
fn passed_over(path: &Path, sections: &[Section], node: &str) -> Vec<String> {
    let name = node.rsplit('/').next().unwrap_or_default();
    let is_meant =
        |section: &&Section| !section.is_own && section.node.rsplit('/').next() == Some(name);
    let told = sections.iter().filter(is_meant).map(|section| {
        format!(
            "{}, line {}: the section {} is passed over, this node is {node}: /**/{name} is for it in any namespace",
            path.display(),
            section.line,
            section.node
        )
    });
    let told: Vec<_> = told.collect();
    let is_for_others = !sections.is_empty() && !sections.iter().any(|section| section.is_own);
    if !is_for_others || !told.is_empty() {
        return told;
    }
    let path = path.display();
    vec![format!(
        "{path}: none of its sections is for {node}, so that it does nothing; /**: holds for every node"
    )]
}

/// What the files say together, by the texts that are in force.
fn in_force(files: &[File], node: &str) -> Result<Vec<Entry>, FileRefusal> {
    let mut all = Vec::new();
    for (source, file) in files.iter().enumerate() {
        if let Some(text) = &file.taken {
            all.extend(sections(text, source, node)?);
        }
    }
    Ok(parameter::in_order(all))
}

/// What tells a changed file from the one before without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Look {
    modified: Option<SystemTime>,
    /// Of what is said of the file, such as who may read it.
    changed: (i64, i64),
    size: u64,
    inode: u64,
}

fn look(path: &Path) -> Option<Look> {
    use std::os::unix::fs::MetadataExt;
    let data = std::fs::metadata(path).ok()?;
    Some(Look {
        modified: data.modified().ok(),
        changed: (data.ctime(), data.ctime_nsec()),
        size: data.len(),
        inode: data.ino(),
    })
}

/// Watches the files for the node of that name until `shutdown`.
pub async fn watch(
    watched: Watched,
    node: String,
    parameters: Arc<Parameters>,
    warning: Warning,
    shutdown: CancellationToken,
) {
    let mut files = watched.files;
    let shown: Vec<String> = files.iter().map(|file| file.path.display().to_string()).collect();
    tracing::info!("watching {}", shown.join(", "));
    let set_warning = |text: Option<String>| {
        *lock(&warning) = text;
    };
    let looks = |files: &[File]| files.iter().map(|file| look(&file.path)).collect::<Vec<_>>();
    // They may have changed since they were read at the start.
    let mut done: Vec<Option<Look>> = vec![None; files.len()];
    let mut before = done.clone();
    let mut unreadable: Option<String> = None;
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
        let now = looks(&files);
        let is_settled = now == before;
        before.clone_from(&now);
        if (now == done && unreadable.is_none()) || !is_settled {
            continue;
        }
        for (file, (now, done)) in files.iter().zip(now.iter().zip(&mut done)) {
            if now.is_none() && done.is_some() {
                let shown = file.path.display();
                tracing::warn!("{shown} has gone: its last content stays in force");
                *done = None;
            }
        }
        let is_back = now.iter().zip(&done).any(|(now, done)| now.is_some() && now != done);
        if !is_back {
            // What could not be read has gone, or was the same as before.
            if unreadable.take().is_some() {
                set_warning(None);
            }
            continue;
        }
        let new = match read_again(&files) {
            Ok(new) => new,
            // It is tried again with each look.
            Err(reason) => {
                if unreadable.as_ref() != Some(&reason) {
                    tracing::error!("{reason}; nothing of the file was taken");
                }
                set_warning(Some(reason.clone()));
                unreadable = Some(reason);
                continue;
            }
        };
        (done, unreadable) = (now, None);
        let result = match new == files {
            true => Ok(()),
            false => take(&new, &node, &parameters).map(|()| files = new),
        };
        if let Err(reason) = &result {
            tracing::error!("{reason}; nothing of the file was taken");
        }
        set_warning(result.err());
    }
}

/// The files with their texts of now; one that has gone keeps its last.
fn read_again(files: &[File]) -> Result<Vec<File>, String> {
    let again = files.iter().map(|File { path, taken }| {
        let text = if path.exists() { Some(read(path)?) } else { taken.clone() };
        Ok(File { path: path.clone(), taken: text })
    });
    again.collect()
}

/// Puts in force what the files say together, or nothing of it.
fn take(files: &[File], node: &str, parameters: &Parameters) -> Result<(), String> {
    let placed = |refusal: FileRefusal| {
        let path = files.get(refusal.origin).map(|file| file.path.display().to_string());
        format!("{}, {refusal}", path.unwrap_or_default())
    };
    for (source, file) in files.iter().enumerate() {
        let Some(text) = &file.taken else { continue };
        let found = sections(text, source, node).map_err(placed)?;
        for note in passed_over(&file.path, &found, node) {
            tracing::warn!("{note}");
        }
    }
    let entries = in_force(files, node).map_err(placed)?;
    tokio::task::block_in_place(|| parameters.apply_file(&entries)).map_err(placed)
}
