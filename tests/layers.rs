//! Dependencies point inward: reads the sources and keeps ARCHITECTURE.md's invariants.

#![allow(clippy::unwrap_used, reason = "a test may")]

use std::path::{Path, PathBuf};

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Whether `word` is in the code, not as the end of a longer name.
fn names(code: &str, word: &str) -> bool {
    code.match_indices(word).any(|(at, _)| {
        !code[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_')
    })
}

/// No source outside of `home` may contain any of `words`, comments aside.
fn check(home: &[&str], words: &[&str]) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    assert!(files.len() > 20, "the sources were not found");
    let mut seen_at_home = false;
    for file in files {
        let name = file.strip_prefix(&root).unwrap().to_string_lossy().into_owned();
        let is_home = home.iter().any(|home| name.starts_with(home));
        for (number, line) in std::fs::read_to_string(&file).unwrap().lines().enumerate() {
            // Tests stand last in a file, and may do what the code may not.
            if line.starts_with("#[cfg(test)]") {
                break;
            }
            let code = line.split("//").next().unwrap_or_default();
            let has = words.iter().any(|word| names(code, word));
            seen_at_home |= has && is_home;
            assert!(!has || is_home, "src/{name}:{}: {line}", number + 1);
        }
    }
    assert!(seen_at_home, "{words:?} are not even where they belong: is this test out of date?");
}

#[test]
fn only_the_ros_shell_names_r2r_and_tokio() {
    check(&["ros/"], &["r2r::", "tokio::"]);
}

#[test]
fn only_the_session_names_onnx_runtime() {
    check(&["session/"], &["ort::"]);
}

#[test]
fn the_core_knows_neither_shell() {
    check(&["ros/", "cli/", "main.rs"], &["crate::ros", "crate::cli", "squeezenet_node::cli"]);
}

#[test]
fn only_timing_and_the_shells_read_clocks() {
    check(&["timing.rs", "ros/", "cli/"], &["Instant::now", "SystemTime::now"]);
}
