//! Watches the parameter file and takes it over, whole or not at all, when it changes.
//!
//! The path is looked at anew every time, so that a file that is renamed into place, a symlink
//! that is pointed elsewhere, and one that vanishes and comes back are all the same: content that
//! differs from what was read last. A file system's events would not tell of all of these.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio_util::sync::CancellationToken;

use super::parameter_services::Parameters;
use crate::parameter::{self, Entry, Store, Value};

/// How often the file is looked at. A change is read when it has been the same for two looks.
const LOOK: Duration = Duration::from_millis(50);

/// Larger files are not read: a parameter file has some kilobytes.
const LARGEST: u64 = 1 << 20;

/// What is wrong with the file now, for `/diagnostics`.
pub type Warning = Arc<Mutex<Option<String>>>;

/// What a parameter file says to this node, with its text; or file, line and what is wrong.
type Content = Result<(String, Vec<Entry>), String>;

/// A parameter file that rcl was given on the command line.
#[derive(Debug)]
pub struct Given {
    path: PathBuf,
    content: Content,
}

/// Reads those that stand among the arguments, in their order, for the node of that name.
pub fn started_with(arguments: impl Iterator<Item = String>, node: &str) -> Vec<Given> {
    let arguments: Vec<String> = arguments.collect();
    let pairs = arguments.windows(2).filter(|pair| pair[0] == "--params-file");
    let paths = pairs.map(|pair| PathBuf::from(&pair[1]));
    paths.map(|path| Given { content: read(&path, node), path }).collect()
}

/// Adds what those files say in sections that r2r passes over: it takes `/**` and full names, and no
/// other wildcard, such as that of `config/squeezenet.yaml`. What it did take holds.
pub fn add_unread(overrides: &mut Vec<(String, Value)>, given: &[Given]) {
    // Of a file that cannot be read rcl speaks, or `take_over`.
    let entries =
        given.iter().filter_map(|file| file.content.as_ref().ok()).flat_map(|(_, all)| all);
    let mut unread: BTreeMap<_, _> =
        entries.map(|entry| (entry.name.clone(), entry.value.clone())).collect();
    for (name, _) in overrides.iter() {
        unread.remove(name);
    }
    overrides.extend(unread);
}

/// What the file says to this node now.
fn read(path: &Path, node: &str) -> Content {
    let shown = path.display();
    let size = std::fs::metadata(path).map_err(|error| format!("{shown}: {error}"))?.len();
    if size > LARGEST {
        return Err(format!("{shown}: {size} bytes are too many for a parameter file"));
    }
    let text = std::fs::read_to_string(path).map_err(|error| format!("{shown}: {error}"))?;
    let entries = parameter::parse(&text, node).map_err(|refusal| format!("{shown}, {refusal}"))?;
    Ok((text, entries))
}

/// A parameter file and the text of it that is in force.
#[derive(Debug)]
pub struct Watched {
    path: PathBuf,
    taken: Option<String>,
}

/// Finds the parameter file to watch, with the text that is in force already. One that `config_file`
/// names and rcl was not given is taken over here.
///
/// # Errors
/// What such a file says that is not allowed.
pub fn take_over(
    mut store: Store,
    given: Vec<Given>,
    node: &str,
) -> anyhow::Result<(Store, Option<Watched>)> {
    let named = match store.get("config_file") {
        Some((_, Value::Text(path))) if !path.is_empty() => Some(PathBuf::from(path)),
        _ => None,
    };
    let last = given.last().map(|file| file.path.clone());
    let Some(path) = named.or(last) else { return Ok((store, None)) };
    let known = given.into_iter().find(|file| file.path == path).map(|file| file.content);
    let is_given = known.is_some();
    let text = match known.unwrap_or_else(|| read(&path, node)) {
        Ok((text, entries)) if is_given => {
            store.remember_file(&entries);
            Some(text)
        }
        Ok((text, entries)) => {
            let applied = store.apply_file(&entries, |_| Ok(()));
            applied.map_err(|refusal| anyhow::anyhow!("{}, {refusal}", path.display()))?;
            Some(text)
        }
        Err(reason) => {
            eprintln!("squeezenet_node: {reason}; it is watched for until it can be read");
            None
        }
    };
    Ok((store, Some(Watched { path, taken: text })))
}

/// What tells a changed file from the one before without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Look {
    modified: Option<SystemTime>,
    size: u64,
    inode: u64,
}

fn look(path: &Path) -> Option<Look> {
    use std::os::unix::fs::MetadataExt;
    let data = std::fs::metadata(path).ok()?;
    Some(Look { modified: data.modified().ok(), size: data.len(), inode: data.ino() })
}

/// Watches the file for the node of that name until `shutdown`.
pub async fn watch(
    file: Watched,
    node: String,
    parameters: Arc<Parameters>,
    warning: Warning,
    shutdown: CancellationToken,
) {
    let Watched { path, mut taken } = file;
    let set_warning = |text: Option<String>| {
        *warning.lock().unwrap_or_else(PoisonError::into_inner) = text;
    };
    let mut done = taken.as_ref().and_then(|_| look(&path));
    let mut before = done;
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
        let now = look(&path);
        let is_settled = now == before;
        before = now;
        if now == done || !is_settled {
            continue;
        }
        done = now;
        if now.is_none() {
            tracing::warn!("{} has gone: its last content stays in force", path.display());
            continue;
        }
        let result = match read(&path, &node) {
            Ok((text, _)) if taken.as_deref() == Some(text.as_str()) => Ok(()),
            Ok((text, entries)) => {
                let applied = tokio::task::block_in_place(|| parameters.apply_file(&entries));
                applied
                    .map(|()| taken = Some(text))
                    .map_err(|refusal| format!("{}, {refusal}", path.display()))
            }
            Err(reason) => Err(reason),
        };
        if let Err(reason) = &result {
            tracing::error!("{reason}; nothing of the file was taken");
        }
        set_warning(result.err());
    }
}
