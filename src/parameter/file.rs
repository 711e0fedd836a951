//! The standard ROS 2 parameter file, read at start and again while the node runs. rcl has a parser
//! of its own, which does not say where in the file a value stands and ends the program where it
//! cannot read one; this one reads both times, so that a file means the same whenever it is read.
//!
//! What plain scalars are follows rcl's parser: `03` is an integer in C's notation, `yes` and `on`
//! are bools, anything in quotes is a string. Of YAML's further means type tags are understood;
//! aliases, merge keys and keys that stand twice are refused, as they mean different things to
//! different readers.

use std::fmt;
use std::iter::Peekable;

use granit_parser::{Event, Parser, ScalarStyle, Span, StrInput, Tag};

use super::Value;

/// Why a parameter file was not taken; nothing changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct FileRefusal {
    /// Which of several sources it stands in, from 0.
    pub origin: usize,
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
    /// Which of several sources it stands in, from 0.
    pub origin: usize,
    /// Where it stands, from 1.
    pub line: u64,
    /// Whether the section is for all nodes (`/**`), so that names may be others'.
    pub is_for_all: bool,
}

/// What stands below one node's name.
#[derive(Debug, Clone, PartialEq)]
pub struct Section {
    /// The name, from the root: `/**`, `/robot/squeezenet`.
    pub node: String,
    /// Where it starts, from 1.
    pub line: u64,
    /// Whether it is for the node that was asked for.
    pub is_own: bool,
    /// Its parameters, in the file's order.
    pub entries: Vec<Entry>,
}

/// Deeper nesting is refused: no parameter has so many parts.
const DEEPEST: usize = 32;

/// What a parameter file says to the node of the fully qualified name `node`, in the file's
/// order: of entries with the same name the last one holds.
///
/// # Errors
/// The first place that is no YAML, or not of the form of a parameter file.
pub fn parse(text: &str, node: &str) -> Result<Vec<Entry>, FileRefusal> {
    Ok(in_order(sections(text, node)?))
}

/// All sections of a file, in its order.
///
/// # Errors
/// As [`parse`].
pub fn sections(text: &str, node: &str) -> Result<Vec<Section>, FileRefusal> {
    let mut found = Vec::new();
    // What is missing at the end is said to be on the line after it, be there one or not.
    let last = line_count(text);
    let on_a_line = |refusal: FileRefusal| FileRefusal { line: refusal.line.min(last), ..refusal };
    let Some(root) = document(text).map_err(on_a_line)? else { return Ok(found) };
    collect(&root, &mut Vec::new(), &tokens(node), &mut found).map_err(on_a_line)?;
    for section in &mut found {
        section.entries.iter_mut().for_each(|entry| entry.line = entry.line.min(last));
    }
    Ok(found)
}

/// The entries of the node's own sections in the order in which they hold, the last one wins. As in
/// rclcpp: what several sources say in one section is put together where the section first stands,
/// then the sections follow each other.
pub fn in_order(sections: Vec<Section>) -> Vec<Entry> {
    let mut together: Vec<Section> = Vec::new();
    for section in sections.into_iter().filter(|section| section.is_own) {
        match together.iter_mut().find(|known| known.node == section.node) {
            Some(known) => known.entries.extend(section.entries),
            None => together.push(section),
        }
    }
    together.into_iter().flat_map(|section| section.entries).collect()
}

/// A value as it stands behind `-p name:=`.
///
/// # Errors
/// What is wrong with it.
pub fn parse_value(text: &str) -> Result<Value, String> {
    let node = document(text).map_err(|refusal| refusal.reason)?;
    match node.as_ref().map(|node| &node.yaml) {
        Some(Yaml::Map(_)) => Err("a map is no value of a parameter".to_owned()),
        Some(yaml) => Ok(value(yaml)),
        None => Err("there is no value".to_owned()),
    }
}

/// Whether a section's name, such as `/**/squeezenet`, is for the node.
pub fn is_for(section: &str, node: &str) -> bool {
    matches(&tokens(section), &tokens(node))
}

/// As YAML counts: a lone carriage return ends a line too.
fn line_count(text: &str) -> u64 {
    text.replace("\r\n", "\n").split(['\n', '\r']).count() as u64
}

fn tokens(path: &str) -> Vec<String> {
    path.split('/').filter(|token| !token.is_empty()).map(str::to_owned).collect()
}

fn refusal(line: u64, reason: impl Into<String>) -> FileRefusal {
    FileRefusal { origin: 0, line, reason: reason.into() }
}

/// Goes through namespaces and node names down to each `ros__parameters`.
fn collect(
    node: &Node,
    path: &mut Vec<String>,
    own: &[String],
    found: &mut Vec<Section>,
) -> Result<(), FileRefusal> {
    let Yaml::Map(children) = &node.yaml else {
        let reason = format!("expected `ros__parameters` below a node's name, found {}", node.yaml);
        return Err(refusal(node.line, reason));
    };
    for (key, child) in children {
        if key == "ros__parameters" {
            let Some(last) = path.last() else {
                return Err(refusal(
                    node.line,
                    "no node's name stands above `ros__parameters`: /**: is for every node",
                ));
            };
            // Of many nodes, by whatever names.
            let is_for_all = last == "*" || last == "**";
            // Sections of other nodes are read too: their form has to be right.
            let mut entries = Vec::new();
            flatten(child, "", is_for_all, &mut entries)?;
            let is_own = matches(path, own);
            found.push(Section {
                node: format!("/{}", path.join("/")),
                line: node.line,
                is_own,
                entries,
            });
        } else {
            let before = path.len();
            path.extend(tokens(key));
            collect(child, path, own, found)?;
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
    node: &Node,
    name: &str,
    is_for_all: bool,
    entries: &mut Vec<Entry>,
) -> Result<(), FileRefusal> {
    let line = node.line;
    match &node.yaml {
        Yaml::Map(children) => {
            for (key, child) in children {
                let name = if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
                flatten(child, &name, is_for_all, entries)?;
            }
            return Ok(());
        }
        // A section or group whose every line is commented out.
        Yaml::Null if name.is_empty() || is_group(name) => return Ok(()),
        Yaml::Null => return Err(refusal(line, format!("{name} has no value"))),
        _ => {}
    }
    if name.is_empty() {
        let reason = format!("expected parameters below `ros__parameters`, found {}", node.yaml);
        return Err(refusal(line, reason));
    }
    // `a.b: 1` and `a: {b: 2}` are the same key.
    if entries.iter().any(|entry| entry.name == name) {
        return Err(refusal(line, format!("duplicate key: {name} stands there twice")));
    }
    let value = value(&node.yaml);
    entries.push(Entry { name: name.to_owned(), value, origin: 0, line, is_for_all });
    Ok(())
}

/// A parameter's value; maps have none.
fn value(yaml: &Yaml) -> Value {
    match yaml {
        Yaml::Null | Yaml::Map(_) => Value::Other("value without a type"),
        Yaml::Bool(value) => Value::Bool(*value),
        Yaml::Integer(value) => Value::Integer(*value),
        Yaml::Double(value) => Value::Double(*value),
        Yaml::Text(value) => Value::Text(value.clone()),
        Yaml::List(values) => {
            let texts = values.iter().map(|node| match &node.yaml {
                Yaml::Text(text) => Some(text.clone()),
                _ => None,
            });
            texts
                .collect::<Option<Vec<String>>>()
                .map_or(Value::Other("array that holds other things than strings"), Value::Texts)
        }
    }
}

fn is_group(name: &str) -> bool {
    let is_below = |other: &str| other.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'));
    super::TABLE.iter().any(|parameter| is_below(parameter.name))
}

/// A YAML node and the line on which it starts.
#[derive(Debug, Clone, PartialEq)]
struct Node {
    line: u64,
    yaml: Yaml,
}

#[derive(Debug, Clone, PartialEq)]
enum Yaml {
    Null,
    Bool(bool),
    Integer(i64),
    Double(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
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

/// Events of the YAML parser, without comments.
struct Events<'a> {
    events: Peekable<Parser<'a, StrInput<'a>>>,
}

type Located<'a> = (Event<'a>, u64);

impl<'a> Events<'a> {
    fn next(&mut self) -> Result<Option<Located<'a>>, FileRefusal> {
        loop {
            return match self.events.next() {
                None => Ok(None),
                Some(Ok((Event::Comment(..), _))) => continue,
                Some(Ok((event, span))) => Ok(Some((event, line(span)))),
                Some(Err(error)) => {
                    let reason = error.info().lines().next().unwrap_or_default().to_owned();
                    Err(refusal((error.marker().line() as u64).max(1), reason))
                }
            };
        }
    }
}

fn line(span: Span) -> u64 {
    (span.start.line() as u64).max(1)
}

/// The one document of a text; `None` if it has none.
fn document(text: &str) -> Result<Option<Node>, FileRefusal> {
    let mut events = Events { events: Parser::new_from_str(text).peekable() };
    let mut root = None;
    while let Some((event, line)) = events.next()? {
        match event {
            Event::DocumentStart(..) if root.is_some() => {
                return Err(refusal(
                    line,
                    "a parameter file is one document: `---` starts another",
                ));
            }
            Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(..)
            | Event::DocumentEnd => {}
            event => root = Some(node(event, line, &mut events, 0)?),
        }
    }
    // A document of nothing, such as of comments alone, says nothing.
    Ok(root.filter(|node| node.yaml != Yaml::Null))
}

/// The node that starts with an event.
fn node(
    event: Event<'_>,
    line: u64,
    events: &mut Events<'_>,
    depth: usize,
) -> Result<Node, FileRefusal> {
    if depth > DEEPEST {
        return Err(refusal(line, format!("nested deeper than {DEEPEST} levels")));
    }
    let cut_off = || refusal(line, "the file ends within it");
    let yaml = match event {
        Event::Scalar(text, style, _, tag) => {
            scalar(&text, style, tag.as_deref()).map_err(|reason| refusal(line, reason))?
        }
        Event::SequenceStart(_, _, tag) => {
            check_tag(tag.as_deref(), "seq").map_err(|reason| refusal(line, reason))?;
            let mut values = Vec::new();
            loop {
                match events.next()?.ok_or_else(cut_off)? {
                    (Event::SequenceEnd, _) => break,
                    (event, line) => values.push(node(event, line, events, depth + 1)?),
                }
            }
            Yaml::List(values)
        }
        Event::MappingStart(_, _, tag) => {
            check_tag(tag.as_deref(), "map").map_err(|reason| refusal(line, reason))?;
            let mut children: Vec<(String, Node)> = Vec::new();
            loop {
                let (key, at) = match events.next()?.ok_or_else(cut_off)? {
                    (Event::MappingEnd, _) => break,
                    (Event::Scalar(key, ..), at) => (key.into_owned(), at),
                    (Event::Alias(_), at) => return Err(refusal(at, NO_ALIASES)),
                    (_, at) => return Err(refusal(at, "a key has to be a name")),
                };
                if key == "<<" {
                    return Err(refusal(at, "merge keys (<<) are not taken: write the values out"));
                }
                if children.iter().any(|(known, _)| *known == key) {
                    return Err(refusal(at, format!("duplicate key: {key} stands there twice")));
                }
                let (event, line) = events.next()?.ok_or_else(cut_off)?;
                let child = node(event, line, events, depth + 1)?;
                // A value that is missing is on the line of its key.
                let line = if child.yaml == Yaml::Null { at } else { child.line };
                children.push((key, Node { line, ..child }));
            }
            Yaml::Map(children)
        }
        Event::Alias(_) => return Err(refusal(line, NO_ALIASES)),
        _ => return Err(refusal(line, "expected a value")),
    };
    Ok(Node { line, yaml })
}

const NO_ALIASES: &str = "aliases (*) are not taken: write the value out";

fn check_tag(tag: Option<&Tag>, expected: &str) -> Result<(), String> {
    match tag {
        None => Ok(()),
        Some(tag) if tag.core_suffix() == Some(expected) => Ok(()),
        Some(tag) => Err(format!("the type tag {} does not fit here", tag.original())),
    }
}

/// A scalar's value, as rcl's parser finds it; a type tag has the last word.
fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Result<Yaml, String> {
    if let Some(tag) = tag {
        let parsed = match tag.core_suffix() {
            Some("str") => Some(Yaml::Text(text.to_owned())),
            Some("int") => integer(text).map(Yaml::Integer),
            Some("float") => double(text).map(Yaml::Double),
            Some("bool") => bool(text).map(Yaml::Bool),
            Some("null") => Some(Yaml::Null),
            _ if tag.original() == "!" => Some(Yaml::Text(text.to_owned())),
            _ => return Err(format!("the type tag {} is not known", tag.original())),
        };
        return parsed.ok_or_else(|| format!("{text:?} is not what its type tag says"));
    }
    Ok(if style != ScalarStyle::Plain {
        Yaml::Text(text.to_owned())
    } else if ["", "~", "null", "Null", "NULL"].contains(&text) {
        Yaml::Null
    } else if let Some(value) = bool(text) {
        Yaml::Bool(value)
    } else if let Some(value) = integer(text) {
        Yaml::Integer(value)
    } else if let Some(value) = double(text) {
        Yaml::Double(value)
    } else {
        Yaml::Text(text.to_owned())
    })
}

fn bool(text: &str) -> Option<bool> {
    match text {
        "Y" | "y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            Some(true)
        }
        "N" | "n" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            Some(false)
        }
        _ => None,
    }
}

/// As C's `strtol` of base 0: `0x1f` is hexadecimal, `017` octal.
fn integer(text: &str) -> Option<i64> {
    let (sign, digits) = match text.as_bytes().first()? {
        b'-' => ("-", &text[1..]),
        b'+' => ("", &text[1..]),
        _ => ("", text),
    };
    let (digits, radix) = match digits.as_bytes() {
        [b'0', b'x' | b'X', _, ..] => (&digits[2..], 16),
        [b'0', _, ..] => (&digits[1..], 8),
        _ => (digits, 10),
    };
    // A second sign would be taken by the conversion.
    let is_number = digits.bytes().next().is_some_and(|first| first.is_ascii_hexdigit());
    is_number.then(|| i64::from_str_radix(&format!("{sign}{digits}"), radix).ok())?
}

/// As C's `strtod`, and YAML's names of what is no number.
fn double(text: &str) -> Option<f64> {
    let (sign, plain) = match text.as_bytes().first()? {
        b'-' => (-1.0, &text[1..]),
        b'+' => (1.0, &text[1..]),
        _ => (1.0, text),
    };
    match plain {
        ".nan" | ".NaN" | ".NAN" => return Some(f64::NAN),
        ".inf" | ".Inf" | ".INF" => return Some(sign * f64::INFINITY),
        _ => {}
    }
    let value: f64 = plain.strip_prefix(['+', '-']).is_none().then(|| plain.parse().ok())??;
    // Out of range is no number to C; infinity by name is.
    let is_named = plain.bytes().all(|byte| byte.is_ascii_alphabetic());
    (value.is_finite() || is_named).then_some(sign * value)
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
        for (section, is_for_all) in [("/*", true), ("/robot/**", true), ("/**/squeezenet", false)]
        {
            let node = if section == "/*" { "/squeezenet" } else { "/robot/squeezenet" };
            let entries = parse(&format!("{section}:\n  ros__parameters:\n    a: 1\n"), node);
            assert_eq!(entries.unwrap()[0].is_for_all, is_for_all, "{section}");
        }
    }

    #[test]
    fn what_is_no_parameter_file_is_refused_with_its_line() {
        let check = |text: &str, line: u64, expected: &str| {
            let error = parse(text, "/squeezenet").unwrap_err();
            assert_eq!(error.line, line, "{error}");
            assert!(error.reason.contains(expected), "{error}");
        };
        check("labels: 5\n", 1, "ros__parameters");
        check("ros__parameters:\n  a: 1\n", 1, "no node's name");
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

    #[test]
    fn scalars_are_what_rcl_makes_of_them() {
        let check = |text: &str, expected: Value| {
            assert_eq!(parse_value(text), Ok(expected), "{text}");
        };
        let text = |text: &str| Value::Text(text.to_owned());
        for (written, value) in
            [("03", 3), ("-5", -5), ("+5", 5), ("0x1F", 31), ("017", 15), ("0", 0)]
        {
            check(written, Value::Integer(value));
        }
        for (written, value) in [("1.", 1.0), (".5", 0.5), ("-2e3", -2000.0), ("08", 8.0)] {
            check(written, Value::Double(value));
        }
        check("99999999999999999999", Value::Double(1e20));
        check("-.inf", Value::Double(f64::NEG_INFINITY));
        for written in ["yes", "On", "TRUE"] {
            check(written, Value::Bool(true));
        }
        check("off", Value::Bool(false));
        for written in ["1_0", "1e999", "0x", "--5", "+-5", "1 2", "/a/b", "tRuE"] {
            check(written, text(written));
        }
        check("\"03\"", text("03"));
        check("'yes'", text("yes"));
        check("[a, \"1\"]", Value::Texts(vec!["a".into(), "1".into()]));
        check("!!int \"4\"", Value::Integer(4));
        check("!!str 4", text("4"));
        check("!!float 4", Value::Double(4.0));
        check("!!bool \"yes\"", Value::Bool(true));
        for (written, words) in [
            ("!!int four", "not what its type tag says"),
            ("!mine 4", "is not known"),
            ("", "no value"),
            ("{a: 1}", "a map"),
            ("[1", ""),
        ] {
            let error = parse_value(written).unwrap_err();
            assert!(error.contains(words), "{written}: {error}");
        }
    }

    #[test]
    fn what_means_different_things_to_different_readers_is_refused_with_its_line() {
        let check = |lines: &str, line: u64, words: &str| {
            let error =
                parse(&format!("/**:\n  ros__parameters:\n{lines}"), "/squeezenet").unwrap_err();
            assert_eq!(error.line, line, "{lines}: {error}");
            assert!(error.reason.contains(words), "{lines}: {error}");
        };
        check("    a:\n", 3, "a has no value");
        check("    a: ~\n", 3, "a has no value");
        check("    a: null\n    b: 1\n", 3, "a has no value");
        check("\ta: 1\n", 3, "tab");
        check("    a: &x 3\n    b: *x\n", 4, "aliases");
        check("    a: {<<: {b: 1}}\n", 3, "merge keys");
        check("    a.b: 1\n    a:\n      b: 2\n", 5, "duplicate key: a.b");
        check("    a: 1\n---\nb: 2\n", 4, "one document");
        check("    ? [1, 2]\n    : 3\n", 3, "a key has to be a name");
        check("    a: !thing 1\n", 3, "is not known");
        check("    a: !!map [1]\n", 3, "does not fit");
        check(&format!("    a: {}1{}\n", "[".repeat(40), "]".repeat(40)), 3, "nested deeper");
    }

    #[test]
    fn sections_follow_each_other_as_in_rclcpp() {
        let of = |texts: &[&str]| {
            let all = texts.iter().flat_map(|text| sections(text, "/squeezenet").unwrap());
            let entries = in_order(all.collect());
            entries.into_iter().map(|entry| (entry.name, entry.value)).collect::<Vec<_>>()
        };
        let file =
            |section: &str, value: u8| format!("{section}:\n  ros__parameters: {{a: {value}}}\n");
        let last = |texts: &[&str]| of(texts).pop().unwrap().1;
        let (all, own) = (file("/**", 1), file("/**/squeezenet", 2));
        assert_eq!(last(&[&all, &own]), Value::Integer(2));
        assert_eq!(last(&[&own, &all]), Value::Integer(1), "the order decides, not the pattern");
        // A section goes where it stands first, with all that is said in it.
        assert_eq!(last(&[&all, &own, &file("/**", 3)]), Value::Integer(2));
        assert_eq!(last(&[&all, &file("/**", 3)]), Value::Integer(3));
        assert_eq!(last(&[&file("squeezenet", 1), &file("/squeezenet", 3)]), Value::Integer(3));
    }

    #[test]
    fn sections_of_others_are_told_apart() {
        let found =
            sections("squeezenet:\n  ros__parameters: {a: 1}\n", "/robot/squeezenet").unwrap();
        assert_eq!((found[0].node.as_str(), found[0].is_own), ("/squeezenet", false));
        assert!(is_for("/**", "/robot/squeezenet") && !is_for("squeezenet", "/robot/squeezenet"));
    }
}
