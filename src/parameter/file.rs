//! The standard ROS 2 parameter file, read again while the node runs. rcl reads it at start; it
//! does not say where in the file a value stands, and reads no second time.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

use super::Value;

/// Why a parameter file was not taken; nothing changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct FileRefusal {
    /// Line in the file, from 1.
    pub line: u64,
    /// What is wrong and what is allowed.
    pub reason: String,
}

/// One parameter's value in a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The parameter's dotted name.
    pub name: String,
    /// Its value.
    pub value: Value,
    /// Where it stands, from 1.
    pub line: u64,
    /// Whether the section is for all nodes (`/**`), so that names may be others'.
    pub is_for_all: bool,
}

/// What a parameter file says to the node of the fully qualified name `node`, in the file's
/// order: of entries with the same name the last one holds.
///
/// # Errors
/// The first place that is no YAML, or not of the form of a parameter file.
pub fn parse(text: &str, node: &str) -> Result<Vec<Entry>, FileRefusal> {
    // What is missing at the end is said to be on the line after it, be there one or not.
    let last = line_count(text);
    let on_a_line = |refusal: FileRefusal| FileRefusal { line: refusal.line.min(last), ..refusal };
    let mut entries = read(text, node).map_err(on_a_line)?;
    entries.iter_mut().for_each(|entry| entry.line = entry.line.min(last));
    Ok(entries)
}

fn read(text: &str, node: &str) -> Result<Vec<Entry>, FileRefusal> {
    let mut entries = Vec::new();
    if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
        return Ok(entries);
    }
    // A NaN in another node's section is no concern of ours; as text it fails our own checks.
    let options = serde_saphyr::options! {
        reject_non_finite_typeless_float: false,
        with_snippet: false,
    };
    let root: Spanned<Yaml> =
        serde_saphyr::from_str_with_options(text, options).map_err(|error| FileRefusal {
            line: error.location().map_or(1, |location| location.line()),
            reason: first_line(&error.to_string()),
        })?;
    sections(&root, &mut Vec::new(), &tokens(node), &mut entries)?;
    Ok(entries)
}

/// As YAML counts: a lone carriage return ends a line too.
fn line_count(text: &str) -> u64 {
    text.replace("\r\n", "\n").split(['\n', '\r']).count() as u64
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

fn tokens(path: &str) -> Vec<String> {
    path.split('/').filter(|token| !token.is_empty()).map(str::to_owned).collect()
}

/// Goes through namespaces and node names down to each `ros__parameters`.
fn sections(
    yaml: &Spanned<Yaml>,
    path: &mut Vec<String>,
    node: &[String],
    entries: &mut Vec<Entry>,
) -> Result<(), FileRefusal> {
    let Yaml::Map(children) = &yaml.value else {
        let reason =
            format!("expected `ros__parameters` below a node's name, found {}", yaml.value);
        return Err(FileRefusal { line: yaml.referenced.line(), reason });
    };
    for (key, child) in children {
        if key == "ros__parameters" {
            let is_for_all = matches!(path.as_slice(), [only] if only == "**");
            // Sections of other nodes are read too: their form has to be right.
            let mut own = Vec::new();
            flatten(child, "", is_for_all, &mut own)?;
            if matches(path, node) {
                entries.append(&mut own);
            }
        } else {
            let before = path.len();
            path.extend(tokens(key));
            sections(child, path, node, entries)?;
            path.truncate(before);
        }
    }
    Ok(())
}

/// Whether a section's name is the node's: `*` stands for one name, `**` for any number.
fn matches(pattern: &[String], node: &[String]) -> bool {
    match (pattern.split_first(), node.split_first()) {
        (None, None) => true,
        (None, Some(_)) => false,
        (Some((first, rest)), _) if first == "**" => {
            (0..=node.len()).any(|skipped| matches(rest, &node[skipped..]))
        }
        (Some((first, rest)), Some((name, names))) => {
            (first == "*" || first == name) && matches(rest, names)
        }
        (Some(_), None) => false,
    }
}

/// Nested keys to dotted names.
fn flatten(
    yaml: &Spanned<Yaml>,
    name: &str,
    is_for_all: bool,
    entries: &mut Vec<Entry>,
) -> Result<(), FileRefusal> {
    let line = yaml.referenced.line();
    let value = match &yaml.value {
        Yaml::Map(children) => {
            for (key, child) in children {
                let name = if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
                flatten(child, &name, is_for_all, entries)?;
            }
            return Ok(());
        }
        // A section or group whose every line is commented out.
        Yaml::Null if name.is_empty() || is_group(name) => return Ok(()),
        Yaml::Null => Value::Other("value without a type"),
        Yaml::Bool(value) => Value::Bool(*value),
        Yaml::Integer(value) => Value::Integer(*value),
        Yaml::Double(value) => Value::Double(*value),
        Yaml::Text(value) => Value::Text(value.clone()),
        Yaml::List(values) => {
            let texts: Option<Vec<String>> = values
                .iter()
                .map(|value| match value {
                    Yaml::Text(text) => Some(text.clone()),
                    _ => None,
                })
                .collect();
            texts.map_or(Value::Other("array that holds other things than strings"), Value::Texts)
        }
    };
    if name.is_empty() {
        let reason = format!("expected parameters below `ros__parameters`, found {}", yaml.value);
        return Err(FileRefusal { line, reason });
    }
    entries.push(Entry { name: name.to_owned(), value, line, is_for_all });
    Ok(())
}

fn is_group(name: &str) -> bool {
    let is_below = |other: &str| other.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'));
    super::TABLE.iter().any(|parameter| is_below(parameter.name))
}

/// A YAML node of which each value knows its place.
#[derive(Debug, Clone, PartialEq)]
enum Yaml {
    Null,
    Bool(bool),
    Integer(i64),
    Double(f64),
    Text(String),
    List(Vec<Yaml>),
    Map(Vec<(String, Spanned<Yaml>)>),
}

impl fmt::Display for Yaml {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Null => "nothing",
            Self::Bool(_) => "a bool",
            Self::Integer(_) => "an integer",
            Self::Double(_) => "a double",
            Self::Text(_) => "a string",
            Self::List(_) => "a list",
            Self::Map(_) => "a map",
        })
    }
}

impl<'de> Deserialize<'de> for Yaml {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(YamlVisitor)
    }
}

struct YamlVisitor;

impl<'de> Visitor<'de> for YamlVisitor {
    type Value = Yaml;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a bool, a number, a string, a list or a map")
    }

    fn visit_unit<E>(self) -> Result<Yaml, E> {
        Ok(Yaml::Null)
    }

    fn visit_none<E>(self) -> Result<Yaml, E> {
        Ok(Yaml::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Yaml, D::Error> {
        Yaml::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Yaml, E> {
        Ok(Yaml::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Yaml, E> {
        Ok(Yaml::Integer(value))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Yaml, E> {
        i64::try_from(value)
            .map(Yaml::Integer)
            .map_err(|_| E::custom(format!("{value} is no 64-bit integer")))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Yaml, E> {
        Ok(Yaml::Double(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Yaml, E> {
        Ok(Yaml::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Yaml, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = items.next_element()? {
            values.push(value);
        }
        Ok(Yaml::List(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut pairs: A) -> Result<Yaml, A::Error> {
        let mut children: Vec<(String, Spanned<Yaml>)> = Vec::new();
        while let Some((key, value)) = pairs.next_entry::<String, Spanned<Yaml>>()? {
            if children.iter().any(|(known, _)| *known == key) {
                return Err(A::Error::custom(format!("{key:?} is there twice")));
            }
            children.push((key, value));
        }
        Ok(Yaml::Map(children))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names_and_values(text: &str, node: &str) -> Vec<(String, Value)> {
        let entries = parse(text, node).unwrap();
        entries.into_iter().map(|entry| (entry.name, entry.value)).collect()
    }

    #[test]
    fn types_are_as_in_ros() {
        let text = "/**:\n  ros__parameters:\n    a: 5\n    b: 5.0\n    c: \"5\"\n    d: true\n    e:\n      f: [x=1, y=2]\n      g: []\n    h: [1]\n";
        let expected = [
            ("a", Value::Integer(5)),
            ("b", Value::Double(5.0)),
            ("c", Value::Text("5".into())),
            ("d", Value::Bool(true)),
            ("e.f", Value::Texts(vec!["x=1".into(), "y=2".into()])),
            ("e.g", Value::Texts(vec![])),
            ("h", Value::Other("array that holds other things than strings")),
        ];
        let expected: Vec<_> = expected.into_iter().map(|(name, v)| (name.to_owned(), v)).collect();
        assert_eq!(names_and_values(text, "/squeezenet"), expected);
    }

    #[test]
    fn sections_are_matched_by_node_and_namespace() {
        let is_taken = |section: &str, node: &str| {
            let text = format!("{section}:\n  ros__parameters:\n    a: 1\n");
            !names_and_values(&text, node).is_empty()
        };
        for section in ["/**", "/**/squeezenet", "squeezenet", "/squeezenet", "/*"] {
            assert!(is_taken(section, "/squeezenet"), "{section}");
        }
        for section in ["/**", "/**/squeezenet", "/robot/squeezenet", "/*/squeezenet"] {
            assert!(is_taken(section, "/robot/squeezenet"), "{section}");
        }
        for section in ["/other", "/squeezenet", "/*", "/robot", "/robot/squeezenet/more"] {
            assert!(!is_taken(section, "/robot/squeezenet"), "{section}");
        }
        let nested = "robot:\n  squeezenet:\n    ros__parameters: {a: 1}\n";
        assert_eq!(names_and_values(nested, "/robot/squeezenet").len(), 1);
        assert_eq!(names_and_values(nested, "/squeezenet").len(), 0);
    }

    #[test]
    fn entries_know_their_line_and_section() {
        let text = "/**:\n  ros__parameters:\n    a: 1\nsqueezenet:\n  ros__parameters:\n    b:\n      c: 2\n";
        let entries = parse(text, "/squeezenet").unwrap();
        let places: Vec<_> =
            entries.iter().map(|e| (e.name.as_str(), e.line, e.is_for_all)).collect();
        assert_eq!(places, [("a", 3, true), ("b.c", 7, false)]);
    }

    #[test]
    fn what_is_no_parameter_file_is_refused_with_its_line() {
        let check = |text: &str, line: u64, expected: &str| {
            let error = parse(text, "/squeezenet").unwrap_err();
            assert_eq!(error.line, line, "{error}");
            assert!(error.reason.contains(expected), "{error}");
        };
        check("labels: 5\n", 1, "ros__parameters");
        check("/**:\n  labels: 5\n", 2, "found an integer");
        check("/**:\n  ros__parameters: 5\n", 2, "found an integer");
        check("/**:\n  ros__parameters:\n    a: [1,\n", 3, "unclosed bracket");
        check("/**:\n  ros__parameters:\n    a: 1\n    a: 2\n", 4, "duplicate");
        // Found by fuzzing: the line after the last one.
        check("%*/ ", 1, "document start");
        check("/**: ", 1, "found nothing");
        check("# a\n ? b", 2, "found nothing");
    }

    #[test]
    fn empty_files_and_sections_say_nothing() {
        for text in ["", "# only a comment\n", "/**:\n  ros__parameters:\n"] {
            assert_eq!(parse(text, "/squeezenet").unwrap(), [], "{text:?}");
        }
        let group = "/**:\n  ros__parameters:\n    labels:\n      # top_k: 5\n";
        assert_eq!(parse(group, "/squeezenet").unwrap(), []);
    }

    #[test]
    fn what_others_sections_hold_is_no_concern() {
        let text = "other:\n  ros__parameters: {a: .nan, b: .inf}\nsqueezenet:\n  ros__parameters: {c: 1}\n";
        assert_eq!(names_and_values(text, "/squeezenet"), [("c".to_owned(), Value::Integer(1))]);
    }

    #[test]
    fn the_committed_file_parses() {
        let text = super::super::parameter_file();
        let entries = parse(&text, "/squeezenet").unwrap();
        assert!(entries.iter().any(|e| e.name == "labels.top_k" && e.value == Value::Integer(5)));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]
        #[test]
        fn nothing_makes_it_panic(text in "([a-c*/:{}\\[\\],#&!|>'\" \n-]|  |: |ros__parameters:\n|[0-9.]){0,60}") {
            let _ = parse(&text, "/squeezenet");
        }
    }
}
