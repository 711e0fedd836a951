//! What the commands say. A reader that has gone (`| head -1`) ends neither the work nor the files
//! that are being written: what is left is not printed, and that is all.

use std::io::{ErrorKind, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;

use crate::log::escaped;

/// Whether the reader of standard output has gone.
static HAS_GONE: AtomicBool = AtomicBool::new(false);

/// Writes a line to standard output, unless its reader has gone.
///
/// # Errors
/// What keeps it from being written, such as a full disk.
pub fn print_line(line: &str) -> anyhow::Result<()> {
    if reader_has_gone() {
        return Ok(());
    }
    match writeln!(std::io::stdout().lock(), "{line}") {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => {
            HAS_GONE.store(true, Ordering::Relaxed);
            Ok(())
        }
        result => result.context("standard output"),
    }
}

/// Whether nobody reads standard output any more.
pub fn reader_has_gone() -> bool {
    HAS_GONE.load(Ordering::Relaxed)
}

/// Writes a line to standard error. Where that has gone there is nobody left to tell.
pub fn tell(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{}", escaped(line));
}

/// Says that a file is not written, since what would be in it is a part of the whole.
pub fn tell_left(path: &Path) {
    tell(&format!("stopped before the end: {} is left as it was", path.display()));
}
