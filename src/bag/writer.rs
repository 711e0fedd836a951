//! Writes MCAP bags that Foxglove, `ros2 bag` and `rosbags` read.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Read};
use std::path::{Path, PathBuf};

use mcap::records::MessageHeader;
use mcap::{Compression, WriteOptions};

use crate::bag::{BagError, Topic};
use crate::message::definition::{definition, type_hash};

/// Bytes of a chunk before compression, as rosbag2 makes them by default.
const CHUNK_BYTES: u64 = 768 << 10;

/// What stands in the header of every file that is written here, before the version.
const LIBRARY: &str = "squeezenet_node ";

/// A bag being written: a `.mcap` file, or a directory with one and `metadata.yaml`.
///
/// The file is whole once [`BagWriter::finish`] or the writer's drop has run.
pub struct BagWriter {
    writer: mcap::Writer<BufWriter<File>>,
    path: PathBuf,
    /// The directory to which `metadata.yaml` belongs.
    folder: Option<PathBuf>,
    channels: Vec<OpenTopic>,
}

struct OpenTopic {
    topic: Topic,
    channel: u16,
    sequence: u32,
}

/// Number of a topic that was added to a writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopicId(usize);

impl BagWriter {
    /// Creates the bag: a file if `path` ends in `.mcap`, a directory otherwise. A file that
    /// is there is replaced.
    ///
    /// # Errors
    /// [`BagError::Io`]
    pub fn create(path: &Path) -> Result<Self, BagError> {
        let io = |source| BagError::Io { path: path.to_owned(), source };
        let files = Self::files(path);
        let folder = (files.len() > 1).then(|| path.to_owned());
        if let Some(folder) = &folder {
            std::fs::create_dir_all(folder).map_err(io)?;
        }
        let file_path = files.into_iter().next().unwrap_or_else(|| path.to_owned());
        let file = File::create(&file_path).map_err(io)?;
        let writer = WriteOptions::new()
            .profile("ros2")
            .library(format!("{LIBRARY}{}", env!("CARGO_PKG_VERSION")))
            .compression(Some(Compression::Zstd))
            // The fastest level: masks are long runs, pictures are packed already.
            .compression_level(1)
            .chunk_size(Some(CHUNK_BYTES))
            .create(BufWriter::new(file))
            .map_err(|error| mcap_error(&file_path, &error))?;
        Ok(Self { writer, path: file_path, folder, channels: Vec::new() })
    }

    /// The files that [`create`](Self::create) and [`finish`](Self::finish) write for a path.
    pub fn files(path: &Path) -> Vec<PathBuf> {
        if path.extension().is_some_and(|extension| extension == "mcap") {
            return vec![path.to_owned()];
        }
        // `.` and `..` have no name of their own.
        let whole = path.file_name().is_none().then(|| path.canonicalize().ok()).flatten();
        let name = whole.as_deref().unwrap_or(path).file_name().unwrap_or(path.as_os_str());
        let file = format!("{}_0.mcap", name.to_string_lossy());
        vec![path.join(file), path.join("metadata.yaml")]
    }

    /// A recording that [`create`](Self::create) would replace and that was not made here: a recorder's, whose
    /// loss nobody wants.
    pub fn replaces(path: &Path) -> Option<PathBuf> {
        const HEADER_BYTES: u64 = 512;
        let files = Self::files(path);
        let (file, metadata) = (files.first()?, files.get(1));
        let mut start = Vec::new();
        match File::open(file) {
            Ok(found) => drop(found.take(HEADER_BYTES).read_to_end(&mut start)),
            // Its metadata is that of another's files.
            Err(_) => return metadata.filter(|path| path.exists()).cloned(),
        }
        let is_ours = start.windows(LIBRARY.len()).any(|found| found == LIBRARY.as_bytes());
        (!start.is_empty() && !is_ours).then(|| file.clone())
    }

    /// The MCAP file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether a topic was added.
    pub fn has(&self, name: &str) -> bool {
        self.channels.iter().any(|open| open.topic.name == name)
    }

    /// Adds a topic of a type that this crate writes, see [`crate::message::definition`].
    ///
    /// # Errors
    /// [`BagError`] of the file.
    pub fn add(
        &mut self,
        name: &str,
        ros_type: &str,
        is_latched: bool,
    ) -> Result<TopicId, BagError> {
        let text = definition(ros_type).unwrap_or_default();
        self.add_copy(&Topic {
            name: name.to_owned(),
            ros_type: ros_type.to_owned(),
            count: 0,
            serialization: "cdr".to_owned(),
            offered_qos_profiles: qos(is_latched),
            definition: ("ros2msg".to_owned(), text),
        })
    }

    /// Adds a topic as another bag has it.
    ///
    /// # Errors
    /// [`BagError`] of the file.
    pub fn add_copy(&mut self, topic: &Topic) -> Result<TopicId, BagError> {
        let told = |error: mcap::McapError| mcap_error(&self.path, &error);
        let (encoding, text) = match &topic.definition {
            (encoding, text) if !text.is_empty() => (encoding.as_str(), text.clone()),
            // An empty definition in ros2msg would be a message without fields.
            _ => match definition(&topic.ros_type) {
                Some(text) => ("ros2msg", text),
                None => ("", String::new()),
            },
        };
        let schema =
            self.writer.add_schema(&topic.ros_type, encoding, text.as_bytes()).map_err(told)?;
        let qos = in_words(&topic.offered_qos_profiles);
        let mut metadata = BTreeMap::from([("offered_qos_profiles".to_owned(), qos.clone())]);
        if let Some(hash) = type_hash(&topic.ros_type) {
            metadata.insert("topic_type_hash".to_owned(), hash.to_owned());
        }
        let channel = self
            .writer
            .add_channel(schema, &topic.name, &topic.serialization, &metadata)
            .map_err(|error| mcap_error(&self.path, &error))?;
        let topic = Topic { count: 0, offered_qos_profiles: qos, ..topic.clone() };
        self.channels.push(OpenTopic { topic, channel, sequence: 0 });
        Ok(TopicId(self.channels.len() - 1))
    }

    /// Writes a message. `log_time` and `publish_time` are in nanoseconds.
    ///
    /// # Errors
    /// [`BagError`] of the file.
    pub fn write(
        &mut self,
        topic: TopicId,
        log_time: u64,
        publish_time: u64,
        message: &[u8],
    ) -> Result<(), BagError> {
        let open = &mut self.channels[topic.0];
        open.sequence = open.sequence.wrapping_add(1);
        open.topic.count += 1;
        let header = MessageHeader {
            channel_id: open.channel,
            sequence: open.sequence,
            log_time,
            publish_time,
        };
        self.writer
            .write_to_known_channel(&header, message)
            .map_err(|error| mcap_error(&self.path, &error))
    }

    /// Writes index and footer, and `metadata.yaml` for a directory.
    ///
    /// # Errors
    /// [`BagError`] of the file.
    pub fn finish(mut self) -> Result<(), BagError> {
        let summary = self.writer.finish().map_err(|error| mcap_error(&self.path, &error))?;
        let Some(folder) = &self.folder else { return Ok(()) };
        let span = summary.stats.map_or((0, 0), |statistics| {
            (statistics.message_start_time, statistics.message_end_time)
        });
        let path = folder.join("metadata.yaml");
        std::fs::write(&path, self.metadata(span)).map_err(|source| BagError::Io { path, source })
    }

    fn metadata(&self, (start, end): (u64, u64)) -> String {
        let file = self.path.file_name().unwrap_or_default().to_string_lossy();
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        let count: u64 = self.channels.iter().map(|open| open.topic.count).sum();
        let times = |indent: &str| {
            format!(
                "{indent}duration:\n{indent}  nanoseconds: {}\n{indent}starting_time:\n{indent}  nanoseconds_since_epoch: {start}\n{indent}message_count: {count}\n",
                end - start
            )
        };
        let mut yaml = format!(
            "rosbag2_bagfile_information:\n  version: 9\n  storage_identifier: mcap\n{}",
            times("  ")
        );
        yaml.push_str("  topics_with_message_count:\n");
        for OpenTopic { topic, .. } in &self.channels {
            yaml.push_str(&format!(
                "    - topic_metadata:\n        name: {}\n        type: {}\n        serialization_format: {}\n        offered_qos_profiles:{}\n        type_description_hash: {}\n      message_count: {}\n",
                quoted(&topic.name),
                quoted(&topic.ros_type),
                quoted(&topic.serialization),
                nested(&topic.offered_qos_profiles),
                quoted(type_hash(&topic.ros_type).unwrap_or_default()),
                topic.count
            ));
        }
        yaml.push_str(&format!(
            "  compression_format: \"\"\n  compression_mode: \"\"\n  relative_file_paths:\n    - {0}\n  files:\n    - path: {0}\n{1}  custom_data: ~\n  ros_distro: jazzy\n",
            quoted(&file),
            times("      ")
        ));
        yaml
    }
}

fn mcap_error(path: &Path, error: &mcap::McapError) -> BagError {
    let source = std::io::Error::other(error.to_string());
    BagError::Io { path: path.to_owned(), source }
}

/// QoS profiles as they stand in the file, deeper in `metadata.yaml`: readers match the two.
fn nested(profiles: &str) -> String {
    if profiles.starts_with("- ") {
        profiles.lines().map(|line| format!("\n          {line}")).collect()
    } else {
        " []".to_owned()
    }
}

/// QoS profiles with words for policies: recorders before Jazzy wrote the numbers of rmw, which a reader of the
/// version that is written here does not know.
pub(super) fn in_words(profiles: &str) -> String {
    const POLICIES: [(&str, &[&str]); 4] = [
        ("history", &["system_default", "keep_last", "keep_all", "unknown"]),
        (
            "reliability",
            &["system_default", "reliable", "best_effort", "unknown", "best_available"],
        ),
        (
            "durability",
            &["system_default", "transient_local", "volatile", "unknown", "best_available"],
        ),
        (
            "liveliness",
            &[
                "system_default",
                "automatic",
                "manual_by_node",
                "manual_by_topic",
                "unknown",
                "best_available",
            ],
        ),
    ];
    let in_words = |line: &str| {
        let (key, value) = line.split_once(": ")?;
        let (_, words) =
            POLICIES.iter().find(|(policy, _)| key.trim_start_matches([' ', '-']) == *policy)?;
        let word = words.get(value.trim().parse::<usize>().ok()?)?;
        Some(format!("{key}: {word}\n"))
    };
    profiles
        .split_inclusive('\n')
        .map(|line| in_words(line).unwrap_or_else(|| line.to_owned()))
        .collect()
}

/// The profile that the node offers, in the YAML that rosbag2 stores: reliable, depth 1; latched
/// topics are transient local.
fn qos(is_latched: bool) -> String {
    let durability = if is_latched { "transient_local" } else { "volatile" };
    let forever = "\n    sec: 9223372036\n    nsec: 854775807";
    format!(
        "- history: keep_last\n  depth: 1\n  reliability: reliable\n  durability: {durability}\n  deadline:{forever}\n  lifespan:{forever}\n  liveliness: automatic\n  liveliness_lease_duration:{forever}\n  avoid_ros_namespace_conventions: false\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_of_old_recorders_are_told_in_words() {
        let old = "- history: 3\n  depth: 0\n  reliability: 2\n  durability: 1\n  deadline:\n    sec: 2147483647\n    nsec: 4294967295\n  liveliness: 1\n  avoid_ros_namespace_conventions: false";
        let new = "- history: unknown\n  depth: 0\n  reliability: best_effort\n  durability: transient_local\n  deadline:\n    sec: 2147483647\n    nsec: 4294967295\n  liveliness: automatic\n  avoid_ros_namespace_conventions: false";
        assert_eq!(in_words(old), new);
        assert_eq!(in_words(&qos(true)), qos(true));
        assert_eq!(in_words(""), "");
    }

    #[test]
    fn a_folder_that_is_named_by_dots_has_its_own_name() {
        let folder = tempfile::tempdir().unwrap();
        let drive = folder.path().join("drive");
        std::fs::create_dir_all(drive.join("sub")).unwrap();
        let files = BagWriter::files(&drive.join("sub").join(".."));
        assert_eq!(files[0].file_name().unwrap(), "drive_0.mcap");
    }
}
