//! Files that are written whole or not at all.

use std::io::Write;
use std::path::Path;

/// Writes a file beside `path` and renames it, so that a crash at any byte leaves the old file or
/// the new one. Its folder is made where it is missing.
///
/// # Errors
/// The system's.
pub fn write(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    std::fs::File::open(folder)?.sync_all()
}
