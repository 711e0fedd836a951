//! Topic names as rcl resolves them. rcl remaps by itself when a subscription is made; for the
//! question who publishes on a topic the remapped name is needed, and r2r has no call for it.

/// A topic name made absolute and remapped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolver {
    node: String,
    namespace: String,
    rules: Vec<(String, String)>,
}

impl Resolver {
    /// `namespace` as rcl gives it (`/` or `/a/b`), rules from the process's arguments.
    pub fn new(node: &str, namespace: &str, arguments: impl Iterator<Item = String>) -> Self {
        Self {
            node: node.to_owned(),
            namespace: namespace.trim_end_matches('/').to_owned(),
            rules: rules(node, arguments),
        }
    }

    /// The name that is on the network.
    pub fn resolve(&self, topic: &str) -> String {
        let expanded = self.expand(topic);
        let rule = self.rules.iter().find(|(from, _)| self.expand(from) == expanded);
        rule.map_or(expanded, |(_, to)| self.expand(to))
    }

    fn expand(&self, topic: &str) -> String {
        let topic = topic.strip_prefix("rostopic://").unwrap_or(topic);
        let topic = topic.replace("{node}", &self.node).replace("{ns}", &self.namespace);
        if topic.starts_with('/') {
            topic
        } else if let Some(rest) = topic.strip_prefix('~') {
            format!("{}/{}{rest}", self.namespace, self.node)
        } else {
            format!("{}/{topic}", self.namespace)
        }
    }
}

/// Remapping rules `from:=to` between `--ros-args` and `--`, those for other nodes left out.
fn rules(node: &str, arguments: impl Iterator<Item = String>) -> Vec<(String, String)> {
    let mut rules = Vec::new();
    let mut arguments = arguments.skip_while(|argument| argument != "--ros-args");
    let mut is_ros = false;
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--ros-args" => is_ros = true,
            "--" => is_ros = false,
            "-r" | "--remap" if is_ros => {
                let rule = arguments.next();
                let pair = rule.as_deref().and_then(|rule| rule.split_once(":="));
                if let Some((from, to)) = pair {
                    let (of, from) = match from.split_once(':') {
                        Some((of, from)) if !from.starts_with("//") => (of, from),
                        _ => (node, from),
                    };
                    if of == node && !from.starts_with("__") {
                        rules.push((from.to_owned(), to.to_owned()));
                    }
                }
            }
            _ => {}
        }
    }
    rules
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(arguments: &str, namespace: &str, topic: &str, expected: &str) {
        let arguments = arguments.split_whitespace().map(str::to_owned);
        let resolver = Resolver::new("squeezenet", namespace, arguments);
        assert_eq!(resolver.resolve(topic), expected);
    }

    #[test]
    fn names_are_expanded() {
        check("", "/", "/camera/image_raw", "/camera/image_raw");
        check("", "/", "image", "/image");
        check("", "/robot", "image", "/robot/image");
        check("", "/robot", "~/image", "/robot/squeezenet/image");
    }

    #[test]
    fn rules_apply_to_the_expanded_name() {
        check("node --ros-args -r /camera/image_raw:=/front", "/", "/camera/image_raw", "/front");
        check("node --ros-args -r image:=front", "/robot", "image", "/robot/front");
        check("node --ros-args --remap squeezenet:image:=/front", "/", "/image", "/front");
        check("node --ros-args -r other:image:=/front", "/", "/image", "/image");
        check("node -r image:=/front", "/", "/image", "/image");
        check(
            "node --ros-args -r __ns:=/robot -- -r image:=/front",
            "/robot",
            "image",
            "/robot/image",
        );
    }
}
