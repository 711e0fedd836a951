//! What people read of the table: the commented parameter file and the README's table.

use std::fmt::Write;

use super::{Allowed, TABLE, Value};

/// `config/squeezenet.yaml`: every parameter with its default and a comment.
pub fn parameter_file() -> String {
    let mut text = String::from(
        "# Parameters of squeezenet_node, each with its default. Made by `squeezenet_node parameters --yaml`.\n\
         /**/squeezenet:\n  ros__parameters:\n",
    );
    let mut group: Vec<&str> = Vec::new();
    for parameter in TABLE {
        let path: Vec<&str> = parameter.name.split('.').collect();
        let parents = &path[..path.len() - 1];
        let indent = |depth: usize| "  ".repeat(depth + 2);
        let mut comment = parameter.description.to_owned();
        let allowed = parameter.allowed_text();
        if !allowed.is_empty() {
            let _ = write!(comment, " ({})", allowed.trim_start_matches("it must be "));
        }
        if parents != group {
            for (depth, name) in parents.iter().enumerate() {
                let _ = writeln!(text, "{}{name}:", indent(depth));
            }
            group = parents.to_vec();
        }
        let _ = writeln!(text, "{}# {comment}", indent(parents.len()));
        let value = parameter.default.value();
        // An empty list has no type in a ROS 2 parameter file.
        let hidden = if matches!(value, Value::Texts(_)) { "# " } else { "" };
        let _ =
            writeln!(text, "{}{hidden}{}: {value}", indent(parents.len()), path[path.len() - 1]);
    }
    text
}

/// The README's table.
pub fn markdown() -> String {
    let mut text = String::from(
        "| parameter | type | default | allowed | meaning |\n| --- | --- | --- | --- | --- |\n",
    );
    for parameter in TABLE {
        let value = parameter.default.value();
        let allowed = match parameter.allowed {
            Allowed::Any => String::new(),
            Allowed::Integers(from, to) => format!("{from} to {to} {}", parameter.unit),
            Allowed::Doubles(from, to) => format!("{from:?} to {to:?} {}", parameter.unit),
            Allowed::Choices(choices) => choices.join(", "),
        };
        let star = if parameter.per_camera { " \\*" } else { "" };
        let fixed = if parameter.read_only { " Fixed at start." } else { "" };
        let _ = writeln!(
            text,
            "| `{}`{star} | {} | `{value}` | {} | {}{fixed} |",
            parameter.name,
            value.type_name(),
            allowed.trim(),
            parameter.description
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn committed(path: &str) -> String {
        let root = env!("CARGO_MANIFEST_DIR");
        std::fs::read_to_string(format!("{root}/{path}")).unwrap()
    }

    #[test]
    fn the_parameter_file_is_the_tables() {
        assert_eq!(committed("config/squeezenet.yaml"), parameter_file());
    }

    #[test]
    fn the_readme_has_the_table() {
        assert!(
            committed("README.md").contains(&markdown()),
            "run squeezenet_node parameters --markdown"
        );
    }
}
