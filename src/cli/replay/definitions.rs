//! Definitions of message types that a recording lacks (those before ROS 2 Iron have none), from
//! the ROS 2 that is installed: without them nobody can read the copied topics.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::bag::Topic;
use crate::cli::print::tell;
use crate::message::definition::definition;

const SEPARATOR: &str =
    "================================================================================";

/// The topic with a definition of its type, where there is one.
pub fn with_definition(topic: &Topic) -> Topic {
    let mut topic = topic.clone();
    if !topic.definition.1.is_empty() || definition(&topic.ros_type).is_some() {
        return topic;
    }
    let prefixes = std::env::var_os("AMENT_PREFIX_PATH").unwrap_or_default();
    let prefixes: Vec<PathBuf> = std::env::split_paths(&prefixes).collect();
    match installed(&topic.ros_type, &prefixes) {
        Some(text) => topic.definition = ("ros2msg".to_owned(), text),
        None => tell(&format!(
            "{}: the recording has no definition of {}, nor has an installed ROS 2: its copy has none either",
            topic.name, topic.ros_type
        )),
    }
    topic
}

/// A type's definition and those of all types in it, MCAP's `ros2msg`; `None` if one is missing.
fn installed(ros_type: &str, prefixes: &[PathBuf]) -> Option<String> {
    let mut text = fields(ros_type, prefixes)?;
    let mut known = BTreeSet::from([ros_type.to_owned()]);
    let mut waiting = contained(ros_type, &text);
    while let Some(next) = waiting.pop() {
        if !known.insert(next.clone()) {
            continue;
        }
        let fields = fields(&next, prefixes)?;
        waiting.extend(contained(&next, &fields));
        let short = next.replacen("/msg/", "/", 1);
        text.push_str(&format!("{SEPARATOR}\nMSG: {short}\n{fields}"));
    }
    Some(text)
}

/// The text of `PACKAGE/msg/NAME.msg`.
fn fields(ros_type: &str, prefixes: &[PathBuf]) -> Option<String> {
    let is_plain = |part: &str| part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if !ros_type.split('/').all(is_plain) {
        return None;
    }
    let file = Path::new("share").join(format!("{ros_type}.msg"));
    let mut texts = prefixes.iter().map(|prefix| std::fs::read_to_string(prefix.join(&file)));
    let mut text = texts.find_map(Result::ok)?;
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Some(text)
}

/// The message types among a definition's fields, by their full names.
fn contained(ros_type: &str, fields: &str) -> Vec<String> {
    let package = ros_type.split('/').next().unwrap_or_default();
    let lines = fields.lines().filter_map(|line| line.split('#').next());
    let types = lines.filter_map(|line| line.split_whitespace().next());
    let plain = types.filter_map(|kind| kind.split(['[', '<']).next());
    let full = plain.filter_map(|kind| match kind.split_once('/') {
        Some((package, name)) => Some(format!("{package}/msg/{name}")),
        None if kind == "Header" => Some("std_msgs/msg/Header".to_owned()),
        // Types of the language are in small letters.
        None if kind.starts_with(|first: char| first.is_ascii_uppercase()) => {
            Some(format!("{package}/msg/{kind}"))
        }
        None => None,
    });
    full.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_definition_is_put_together_from_its_files() {
        let folder = tempfile::tempdir().unwrap();
        let write = |ros_type: &str, text: &str| {
            let path = folder.path().join(format!("share/{ros_type}.msg"));
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write(
            "a_msgs/msg/Top",
            "# Words/with a slash\nb_msgs/Inner[] inner\nOwn own\nuint8 X=1\nstring<=9 s",
        );
        write("b_msgs/msg/Inner", "float64[9] k\n");
        write("a_msgs/msg/Own", "b_msgs/Inner[<=3] again\n");
        let prefixes = [folder.path().join("none"), folder.path().to_owned()];
        let text = installed("a_msgs/msg/Top", &prefixes).unwrap();
        assert!(text.starts_with("# Words"), "{text}");
        assert_eq!(text.matches("MSG: b_msgs/Inner\n").count(), 1, "{text}");
        assert_eq!(text.matches(SEPARATOR).count(), 2, "{text}");
        assert_eq!(installed("a_msgs/msg/None", &prefixes), None);
        assert_eq!(installed("../../etc/passwd", &prefixes), None);
    }
}
