//! Names for what is written of each picture file: its own name without the ending, and as much of
//! its path as tells it from the others.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

/// A name for each file, in their order; the same file twice has the same one.
pub fn output_names(files: &[PathBuf]) -> Vec<String> {
    let mut names: BTreeMap<&Path, String> = BTreeMap::new();
    // The stem; then with the ending, then with one folder after the other in front.
    let mut undecided: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
    undecided.sort_unstable();
    undecided.dedup();
    let deepest = undecided.iter().map(|file| parts(file).len()).max().unwrap_or(0);
    for attempt in 0..=deepest {
        let mut counts = BTreeMap::<String, usize>::new();
        for file in &undecided {
            *counts.entry(name(file, attempt)).or_default() += 1;
        }
        undecided.retain(|file| {
            let name = name(file, attempt);
            let is_free = counts[&name] == 1 && !names.values().any(|taken| *taken == name);
            if is_free {
                names.insert(file, name);
            }
            !is_free
        });
    }
    // Such as a/b.jpg beside a_b.jpg: numbers are left.
    for file in undecided {
        let own = name(file, deepest);
        let mut numbered = (2..).map(|number| format!("{own}_{number}"));
        let free = numbered.find(|name| !names.values().any(|taken| taken == name));
        names.insert(file, free.unwrap_or(own));
    }
    files.iter().map(|file| names.get(file.as_path()).cloned().unwrap_or_default()).collect()
}

/// A file's name at the n-th attempt.
fn name(file: &Path, attempt: usize) -> String {
    let parts = parts(file);
    let folders = attempt.saturating_sub(1);
    let first = parts.len().saturating_sub(1 + folders);
    let whole = parts[first..].join("_");
    let stem = match file.extension() {
        Some(ending) => whole.strip_suffix(&format!(".{}", ending.to_string_lossy())),
        None => None,
    };
    match (attempt, stem, file.extension()) {
        (0, Some(stem), _) => stem.to_owned(),
        (_, Some(stem), Some(ending)) => format!("{stem}_{}", ending.to_string_lossy()),
        _ => whole,
    }
}

fn parts(file: &Path) -> Vec<String> {
    let named = file.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_string_lossy().into_owned()),
        _ => None,
    });
    named.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(files: &[&str], expected: &[&str]) {
        let files: Vec<PathBuf> = files.iter().map(PathBuf::from).collect();
        assert_eq!(output_names(&files), expected);
    }

    #[test]
    fn names_are_as_short_as_they_can_be() {
        check(&["a.jpg", "in/b.png"], &["a", "b"]);
        check(&["x.jpg", "x.png"], &["x_jpg", "x_png"]);
        check(&["a/1.jpg", "b/1.jpg", "2.jpg"], &["a_1_jpg", "b_1_jpg", "2"]);
        check(&["p/a/1.jpg", "q/a/1.jpg"], &["p_a_1_jpg", "q_a_1_jpg"]);
        check(&["../1.jpg", "./2.jpg"], &["1", "2"]);
        check(&["plain"], &["plain"]);
        check(&[], &[]);
    }

    #[test]
    fn no_two_files_share_a_name() {
        check(&["1.jpg", "1.jpg"], &["1", "1"]);
        for files in [
            ["a/1.jpg", "b/1.jpg", "a_1_jpg.png", "a_1.jpg"],
            ["../1.jpg", "./1.jpg", "/1.jpg", "1.jpg"],
            ["a/b.jpg", "a_b.jpg", "a/b.png", "a_b.png"],
        ] {
            let mut names = output_names(&files.map(PathBuf::from));
            names.sort();
            names.dedup();
            assert_eq!(names.len(), 4, "{names:?}");
        }
    }
}
