//! What people read of the table: the commented parameter file and the table of `docs/parameters.md`.

use std::fmt::Write;

use serde_json::json;

use super::{Allowed, Parameter, TABLE, Value};

/// `config/squeezenet.yaml`: every parameter with its default and a comment.
pub fn parameter_file() -> String {
    let mut text = String::from(
        "# yaml-language-server: $schema=squeezenet.schema.json\n\
         # Parameters of squeezenet_node, each with its default. Made by `squeezenet_node parameters --yaml`.\n\
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

/// `config/squeezenet.schema.json`: a JSON schema by which editors complete and check the file.
pub fn schema() -> String {
    let mut root = json!({"type": "object", "properties": {}, "additionalProperties": true});
    for parameter in TABLE {
        let mut group = &mut root;
        let mut path = parameter.name.split('.').peekable();
        while let Some(name) = path.next() {
            let entry = &mut group["properties"][name];
            if path.peek().is_none() {
                *entry = value_schema(parameter);
            } else if entry.is_null() {
                *entry = json!({"type": "object", "properties": {}, "additionalProperties": false});
            }
            group = entry;
        }
    }
    let schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Parameters of squeezenet_node",
        "type": "object",
        "additionalProperties": {
            "type": "object",
            "properties": {"ros__parameters": root},
        },
    });
    format!("{schema:#}\n")
}

fn value_schema(parameter: &Parameter) -> serde_json::Value {
    let mut schema = match parameter.default.value() {
        Value::Bool(_) => json!({"type": "boolean"}),
        Value::Integer(_) => json!({"type": "integer"}),
        Value::Double(_) => json!({"type": "number"}),
        Value::Texts(_) => json!({"type": "array", "items": {"type": "string"}}),
        Value::Text(_) | Value::Other(_) => json!({"type": "string"}),
    };
    match parameter.allowed {
        Allowed::Any => {}
        Allowed::Integers(from, to) => {
            schema["minimum"] = from.into();
            schema["maximum"] = to.into();
        }
        Allowed::Doubles(from, to) => {
            schema["minimum"] = from.into();
            schema["maximum"] = to.into();
        }
        Allowed::Choices(choices) => schema["enum"] = json!(choices),
    }
    schema["description"] = parameter.description.into();
    if let Ok(default) = serde_json::from_str(&parameter.default.value().to_string()) {
        let default: serde_json::Value = default;
        schema["default"] = default;
    }
    schema
}

/// The table of `docs/parameters.md`.
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
    fn the_schema_is_the_tables() {
        assert_eq!(committed("config/squeezenet.schema.json"), schema());
    }

    #[test]
    fn the_docs_have_the_table() {
        assert!(
            committed("docs/parameters.md").contains(&markdown()),
            "run squeezenet_node parameters"
        );
    }
}
