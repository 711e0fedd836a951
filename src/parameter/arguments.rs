//! The parameters among a ROS 2 command line: `-p name:=value` and `--params-file FILE` between
//! `--ros-args` and `--`, as <https://docs.ros.org/en/jazzy/How-To-Guides/Node-arguments.html> has
//! them.

use std::path::PathBuf;

use super::{Entry, Section, Value, file};

/// What was given, in the order of the command line.
#[derive(Debug, Clone, PartialEq)]
pub enum Given {
    /// `--params-file FILE`
    File(PathBuf),
    /// `-p [NODE:]NAME:=VALUE`
    Value {
        /// Whose it is: `/**` where it does not say.
        node: String,
        /// The parameter.
        name: String,
        /// Its value.
        value: Value,
    },
}

/// Which of the arguments are about parameters, and what they say.
#[derive(Debug, Default, PartialEq)]
pub struct Arguments {
    /// What was given.
    pub given: Vec<Given>,
    /// Indices of the other arguments, in their order.
    pub others: Vec<usize>,
}

impl Arguments {
    /// Finds them.
    ///
    /// # Errors
    /// The argument that is not of this form.
    pub fn of(arguments: &[String]) -> Result<Self, String> {
        let mut found = Self::default();
        let mut is_ros = false;
        let mut index = 0;
        while let Some(argument) = arguments.get(index) {
            let next = arguments.get(index + 1);
            let mut taken = 1;
            match argument.as_str() {
                "--ros-args" => is_ros = true,
                "--" => is_ros = false,
                "-p" | "--param" if is_ros => {
                    let rule = next.ok_or_else(|| format!("{argument} wants NAME:=VALUE"))?;
                    found.given.push(value(argument, rule)?);
                    index += 2;
                    continue;
                }
                "--params-file" if is_ros => {
                    let path = next.ok_or_else(|| format!("{argument} wants a file"))?;
                    found.given.push(Given::File(path.into()));
                    index += 2;
                    continue;
                }
                // What follows these is theirs, whatever it looks like.
                "-r" | "--remap" | "-e" | "--enclave" | "--log-level" | "--log-config-file"
                    if is_ros && next.is_some() =>
                {
                    taken = 2;
                }
                _ => {}
            }
            found.others.extend(index..index + taken);
            index += taken;
        }
        Ok(found)
    }
}

fn value(argument: &str, rule: &str) -> Result<Given, String> {
    let told = |reason: &str| format!("{argument} {rule}: {reason}");
    let (left, right) = rule.split_once(":=").ok_or_else(|| told("it is not NAME:=VALUE"))?;
    let (node, name) = match left.split_once(':') {
        Some((node, name)) => (format!("/{}", node.trim_start_matches('/')), name),
        None => ("/**".to_owned(), left),
    };
    if name.is_empty() || node == "/" {
        return Err(told("it is not NAME:=VALUE"));
    }
    let value = file::parse_value(right).map_err(|reason| told(&reason))?;
    Ok(Given::Value { node, name: name.to_owned(), value })
}

impl Given {
    /// A value of the command line as a section of its own, the `origin`-th of what was given; of a
    /// file `None`.
    pub fn section(&self, origin: usize, of_node: &str) -> Option<Section> {
        let Self::Value { node, name, value } = self else { return None };
        let entry = Entry {
            name: name.clone(),
            value: value.clone(),
            origin,
            line: 1,
            is_for_all: node == "/**",
        };
        let is_own = file::is_for(node, of_node);
        Some(Section { node: node.clone(), line: 1, is_own, entries: vec![entry] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> Result<Arguments, String> {
        let arguments: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        Arguments::of(&arguments)
    }

    #[test]
    fn parameters_are_found_in_their_order_and_the_rest_is_left() {
        let found = of(
            "node -p a:=1 --ros-args -p a:=2 --params-file f.yaml -r -p:=x --param n:b.c:=[u,v] -- --params-file g --ros-args --params-file h",
        )
        .unwrap();
        let value = |node: &str, name: &str, value| Given::Value {
            node: node.to_owned(),
            name: name.to_owned(),
            value,
        };
        let expected = [
            value("/**", "a", Value::Integer(2)),
            Given::File("f.yaml".into()),
            value("/n", "b.c", Value::Texts(vec!["u".into(), "v".into()])),
            Given::File("h".into()),
        ];
        assert_eq!(found.given, expected);
        assert_eq!(found.others, [0, 1, 2, 3, 8, 9, 12, 13, 14, 15]);
    }

    #[test]
    fn what_is_no_rule_is_refused_with_itself() {
        for (line, words) in [
            ("--ros-args -p x", "-p x: it is not NAME:=VALUE"),
            ("--ros-args -p", "-p wants NAME:=VALUE"),
            ("--ros-args --params-file", "wants a file"),
            ("--ros-args -p :=1", "it is not NAME:=VALUE"),
            ("--ros-args -p a:=", "there is no value"),
            ("--ros-args -p a:=[1", "-p a:=[1: "),
        ] {
            let error = of(line).unwrap_err();
            assert!(error.contains(words), "{line}: {error}");
        }
        assert_eq!(of("-p x").unwrap().others, [0, 1], "not ROS's");
    }

    #[test]
    fn a_value_is_for_the_node_that_it_names() {
        let found = of("--ros-args -p a:=1 -p squeezenet:a:=2 -p other:a:=3").unwrap();
        let sections = found.given.iter().enumerate();
        let own: Vec<bool> = sections
            .filter_map(|(source, given)| given.section(source, "/squeezenet"))
            .map(|section| section.is_own)
            .collect();
        assert_eq!(own, [true, true, false]);
    }
}
