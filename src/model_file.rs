//! Files that belong to one model: set aside while another runs, found again when it comes back.

use std::error::Error;
use std::path::{Path, PathBuf};

/// Reads a file for a model that is about to run. One that cannot be taken is renamed, never written over:
/// `suffix_of` gives what is put after its name for an error, `None` where the file is to stay as it is. What was set
/// aside under `own_suffix` comes back to its place. Gives what was read, and what happened to a file that was not
/// taken.
///
/// # Errors
/// Those of `read` that have no suffix, and those of renaming, made by `failed` of the file's path.
pub fn open<T, E: Error>(
    path: &Path,
    own_suffix: &str,
    read: impl Fn(&Path) -> Result<Option<T>, E>,
    suffix_of: impl FnOnce(&E) -> Option<String>,
    failed: impl Fn(&Path, std::io::Error) -> E,
) -> Result<(Option<T>, Option<String>), E> {
    let rename = |from: &Path, to: &Path| std::fs::rename(from, to).map_err(|e| failed(from, e));
    let mut told = None;
    match read(path) {
        Ok(Some(found)) => return Ok((Some(found), None)),
        Ok(None) => {}
        Err(error) => {
            let Some(suffix) = suffix_of(&error) else { return Err(error) };
            let aside = free_name(path, &suffix);
            rename(path, &aside)?;
            told = Some(format!("{error}. The file is kept as {}", aside.display()));
        }
    }
    let own = with_suffix(path, own_suffix);
    if let Ok(Some(found)) = read(&own) {
        rename(&own, path)?;
        return Ok((Some(found), told));
    }
    Ok((None, told))
}

/// `path` with a dot and `suffix` after its name.
fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    PathBuf::from(name)
}

/// Such a name that no file has.
fn free_name(path: &Path, suffix: &str) -> PathBuf {
    let numbered = (2..).map(|number| with_suffix(path, &format!("{suffix}.{number}")));
    let mut candidates = std::iter::once(with_suffix(path, suffix)).chain(numbered);
    candidates.find(|path| !path.exists()).unwrap_or_else(|| with_suffix(path, suffix))
}
