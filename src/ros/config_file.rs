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
pub type Trouble = Arc<Mutex<Option<String>>>;

/// The parameter files that rcl was given on the command line.
pub fn started_with(arguments: impl Iterator<Item = String>) -> Vec<PathBuf> {
    let arguments: Vec<String> = arguments.collect();
    let pairs = arguments.windows(2).filter(|pair| pair[0] == "--params-file");
    pairs.map(|pair| PathBuf::from(&pair[1])).collect()
}

/// Adds what those files say in sections that r2r passes over: it takes `/**` and full names, and no
/// other wildcard, such as that of `config/squeezenet.yaml`. What it did take holds.
pub fn add_unread(overrides: &mut Vec<(String, Value)>, node: &str) {
    let mut unread = BTreeMap::new();
    for path in started_with(std::env::args()) {
        // One that cannot be read is spoken of by rcl, or when it is taken over.
        let Ok((_, entries)) = read(&path, node) else { continue };
        unread.extend(entries.into_iter().map(|entry| (entry.name, entry.value)));
    }
    overrides.iter().for_each(|(name, _)| drop(unread.remove(name)));
    overrides.extend(unread);
}

/// What the file says to this node now.
///
/// # Errors
/// File, line and reason, or the system's words.
pub fn read(path: &Path, node: &str) -> Result<(String, Vec<Entry>), String> {
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
pub fn take_over(mut store: Store, node: &str) -> anyhow::Result<(Store, Option<Watched>)> {
    let given: Vec<PathBuf> = started_with(std::env::args());
    let named = match store.get("config_file") {
        Some((_, Value::Text(path))) if !path.is_empty() => Some(PathBuf::from(path)),
        _ => None,
    };
    let Some(path) = named.or_else(|| given.last().cloned()) else { return Ok((store, None)) };
    let text = match read(&path, node) {
        Ok((text, entries)) if given.contains(&path) => {
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
    trouble: Trouble,
    shutdown: CancellationToken,
) {
    let Watched { path, mut taken } = file;
    let set_trouble = |text: Option<String>| {
        *trouble.lock().unwrap_or_else(PoisonError::into_inner) = text;
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
        set_trouble(result.err());
    }
}
