//! One writer for a file: whoever keeps one of what was taught or learnt writes all of it, so that of two the
//! one that writes last would take away what the other has.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use crate::same_file::followed;

/// Why the file is not ours to write.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it.
    #[error("the file {} is held by another, {holder}: two cannot share one file; set {parameter} for each", path.display())]
    Held {
        /// The file.
        path: PathBuf,
        /// What names the file.
        parameter: &'static str,
        /// Who, in its own words.
        holder: String,
    },
    /// The system's.
    #[error("{}: {reason}", path.display())]
    Io {
        /// The lock's file.
        path: PathBuf,
        /// Why.
        reason: std::io::Error,
    },
}

/// The right to write a file, until it is dropped or its process ends.
///
/// It is an advisory lock on `FILE.lock`, which stays: the file itself is replaced whenever it is
/// written.
#[derive(Debug)]
pub struct Lock {
    // Closed, it is unlocked.
    _file: Option<File>,
}

impl Lock {
    /// Takes the right to write the file at `path`, which is named by `parameter`; `holder` is told to those who
    /// come too late.
    ///
    /// Where no lock can be made (a read-only folder, a file system without locks) there is none,
    /// and writing will show what is possible.
    ///
    /// # Errors
    /// [`LockError::Held`]
    pub fn take(path: &Path, parameter: &'static str, holder: &str) -> Result<Self, LockError> {
        // A link is followed, as it is when the file is written.
        let mut name = followed(path).into_os_string();
        name.push(".lock");
        let lock_path = PathBuf::from(name);
        let io = |reason| LockError::Io { path: lock_path.clone(), reason };
        if let Some(folder) = lock_path.parent() {
            // Where it cannot be made the next call says so.
            let _ = std::fs::create_dir_all(folder);
        }
        let opened =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&lock_path);
        let is_refused = |error: &std::io::Error| {
            [ErrorKind::PermissionDenied, ErrorKind::ReadOnlyFilesystem].contains(&error.kind())
        };
        let (mut file, is_ours) = match opened {
            Ok(file) => (file, true),
            // Another user's, who was here before: it locks as well, only our name cannot stand in it.
            Err(error) if is_refused(&error) => match File::open(&lock_path) {
                Ok(file) => (file, false),
                Err(_) => return Ok(Self { _file: None }),
            },
            Err(error) => return Err(io(error)),
        };
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // Who it is helps; without it the fact stands.
                let _ = file.take(256).read_to_string(&mut holder);
                let holder = holder.trim().to_owned();
                return Err(LockError::Held { path: path.to_owned(), parameter, holder });
            }
            Err(TryLockError::Error(error))
                if error.kind() == ErrorKind::Unsupported || !is_ours =>
            {
                return Ok(Self { _file: None });
            }
            Err(TryLockError::Error(error)) => return Err(io(error)),
        }
        if is_ours {
            file.set_len(0).map_err(io)?;
            writeln!(file, "{holder}, process {}", std::process::id()).map_err(io)?;
        }
        Ok(Self { _file: Some(file) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_told_who_has_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/places.bin");
        let lock = Lock::take(&path, "places.file", "node /one").unwrap();
        let error = Lock::take(&path, "places.file", "node /two").unwrap_err().to_string();
        let expected = format!("held by another, node /one, process {}", std::process::id());
        assert!(error.contains(&expected), "{error}");
        Lock::take(&folder.path().join("other.bin"), "places.file", "node /two").unwrap();
        drop(lock);
        let _lock = Lock::take(&path, "places.file", "node /two").unwrap();
        let error = Lock::take(&path, "places.file", "node /one").unwrap_err().to_string();
        assert!(error.contains("node /two, process"), "{error}");
    }

    #[test]
    fn a_link_leads_to_the_same_lock() {
        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("places.bin"), folder.path().join("link.bin"));
        std::fs::write(&path, "").unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let _lock = Lock::take(&path, "places.file", "one").unwrap();
        assert!(matches!(Lock::take(&link, "places.file", "two"), Err(LockError::Held { .. })));
        let (path, link) = (folder.path().join("later.bin"), folder.path().join("early.bin"));
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let _later = Lock::take(&path, "places.file", "one").unwrap();
        assert!(matches!(Lock::take(&link, "places.file", "two"), Err(LockError::Held { .. })));
    }

    #[test]
    fn a_lock_that_may_only_be_read_locks_as_well() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("places.bin");
        let lock_path = folder.path().join("places.bin.lock");
        std::fs::write(&lock_path, "").unwrap();
        std::fs::set_permissions(&lock_path, std::fs::Permissions::from_mode(0o444)).unwrap();
        let _lock = Lock::take(&path, "places.file", "one").unwrap();
        assert!(matches!(Lock::take(&path, "places.file", "two"), Err(LockError::Held { .. })));
    }
}
