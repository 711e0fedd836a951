//! Dependencies point inward: reads the sources and keeps ARCHITECTURE.md's invariants.

#![allow(clippy::unwrap_used, reason = "a test may")]

use std::collections::{BTreeMap, BTreeSet};
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

/// The rooms that a source names, a room being a file or folder directly in `src`. Its unit tests
/// may use what they please.
fn rooms_used(code: &str, rooms: &BTreeSet<String>) -> BTreeSet<String> {
    let code = code.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let lines = code.lines().map(|line| line.split("//").next().unwrap_or_default());
    let words = lines.flat_map(|line| line.split("crate::").skip(1));
    let room = |rest: &str| {
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        rest[..end].to_owned()
    };
    words.map(room).filter(|name| rooms.contains(name)).collect()
}

/// A way from `room` back to itself, if there is one.
fn circle(uses: &BTreeMap<String, BTreeSet<String>>, room: &str) -> Option<Vec<String>> {
    let mut ways = vec![vec![room.to_owned()]];
    let mut seen = BTreeSet::new();
    while let Some(way) = ways.pop() {
        for next in uses.get(way.last()?).into_iter().flatten() {
            let mut longer = way.clone();
            longer.push(next.clone());
            if next == room {
                return Some(longer);
            }
            if seen.insert(next.clone()) {
                ways.push(longer);
            }
        }
    }
    None
}

#[test]
fn no_room_knows_itself_through_others() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let room_of = |file: &Path| {
        let first = file.strip_prefix(&root).unwrap().components().next().unwrap();
        first.as_os_str().to_string_lossy().trim_end_matches(".rs").to_owned()
    };
    let rooms: BTreeSet<String> = files.iter().map(|file| room_of(file)).collect();
    assert!(rooms.contains("manifest") && rooms.contains("settings"), "{rooms:?}");
    let mut uses: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for file in &files {
        let room = room_of(file);
        let mut used = rooms_used(&std::fs::read_to_string(file).unwrap(), &rooms);
        used.remove(&room);
        uses.entry(room).or_default().extend(used);
    }
    assert!(
        uses["manifest"].contains("traversability"),
        "the `use` lines were not found: {uses:?}"
    );
    for room in &rooms {
        assert_eq!(circle(&uses, room), None, "rooms that know each other");
    }
    let looped = BTreeMap::from(
        [("a", "b"), ("b", "c"), ("c", "b")]
            .map(|(from, to)| (from.to_owned(), BTreeSet::from([to.to_owned()]))),
    );
    assert!(circle(&looped, "a").is_none() && circle(&looped, "b").is_some());
}
