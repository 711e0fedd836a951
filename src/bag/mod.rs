//! rosbag2 recordings without ROS: MCAP and sqlite3, single files and directories with
//! `metadata.yaml`, split and compressed ones, read as far as they are good.
//!
//! ```no_run
//! use squeezenet_node::bag::{Bag, Selection};
//! use squeezenet_node::message::Image;
//!
//! let bag = Bag::open("recording".as_ref())?;
//! for topic in bag.topics() {
//!     println!("{} {} {}", topic.name, topic.ros_type, topic.count);
//! }
//! for message in bag.messages(&Selection::topics(["/camera/image_raw"]))? {
//!     match message {
//!         Ok(message) => println!("{} {:?}", message.log_time, Image::read(&message.payload)),
//!         Err(problem) => eprintln!("{problem}"), // said; what is good still follows
//!     }
//! }
//! # Ok::<(), squeezenet_node::bag::BagError>(())
//! ```
//!
//! Memory stays bounded by the chunks that overlap in time: no file is read whole, and every
//! length is checked before memory is taken for it.

pub mod compression;
pub mod mcap_file;
pub mod mcap_index;
mod mcap_record;
pub mod metadata;
mod sqlite_file;
#[cfg(test)]
mod tests;
pub mod writer;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;

use mcap_file::McapFile;
use sqlite_file::SqliteFile;

/// Messages larger than this are refused: the largest raw picture that is decoded has 32 Mi pixels
/// of four bytes, and headers are small.
pub const MAX_MESSAGE_BYTES: u64 = 160 << 20;

/// What is wrong with a bag. Each names the file, and where it is known the topic and the time.
#[derive(Debug, Error)]
pub enum BagError {
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Neither MCAP nor sqlite3, or a directory without either.
    #[error("{}: not a rosbag2: {reason}", path.display())]
    NotABag {
        /// The file or directory.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
    /// The file ends too early.
    #[error("{}: cut off at byte {offset}: {reason}; what stands before is used", path.display())]
    CutOff {
        /// The file.
        path: PathBuf,
        /// Where the last whole record ends.
        offset: u64,
        /// What is missing.
        reason: String,
    },
    /// A part of the file is damaged and left out.
    #[error("{}: damaged at byte {offset}: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where the damaged record starts.
        offset: u64,
        /// What is wrong, and what is left out.
        reason: String,
    },
    /// One message cannot be used.
    #[error("{}: {topic} at {}: {reason}", path.display(), seconds(*log_time))]
    Message {
        /// The file.
        path: PathBuf,
        /// The message's topic.
        topic: String,
        /// Its log time, in nanoseconds.
        log_time: u64,
        /// What is wrong.
        reason: String,
    },
    /// The sqlite3 library's words.
    #[error("{}: {reason}", path.display())]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// `metadata.yaml` cannot be used.
    #[error("{}: {reason}", path.display())]
    Metadata {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

/// A time in nanoseconds as seconds, without rounding.
pub fn seconds(nanoseconds: u64) -> String {
    format!("{}.{:09}", nanoseconds / 1_000_000_000, nanoseconds % 1_000_000_000)
}

/// A topic of a bag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// The full type, such as `sensor_msgs/msg/Image`.
    pub ros_type: String,
    /// Messages on it.
    pub count: u64,
    /// How messages are serialised; `cdr` in every current bag.
    pub serialization: String,
    /// QoS profiles that publishers offered, as rosbag2 stores them (YAML), or "".
    pub offered_qos_profiles: String,
    /// The type's definition and its encoding (`ros2msg`, `ros2idl`), or "" for both.
    pub definition: (String, String),
}

impl Topic {
    /// Whether who subscribes late gets what was published before: what is copied from later on lacks it otherwise.
    pub fn is_latched(&self) -> bool {
        self.name == "/tf_static"
            || writer::in_words(&self.offered_qos_profiles).contains("durability: transient_local")
    }
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its topic.
    pub topic: Arc<str>,
    /// When it was recorded, in nanoseconds.
    pub log_time: u64,
    /// When it was published, in nanoseconds, or the log time where the bag does not say.
    pub publish_time: u64,
    /// Its CDR form.
    pub payload: Vec<u8>,
}

/// What is wanted of a bag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// Topics; `None` for all.
    pub topics: Option<BTreeSet<String>>,
    /// First log time, in nanoseconds.
    pub from: u64,
    /// Last log time, in nanoseconds.
    pub to: u64,
}

impl Selection {
    /// Everything.
    pub const ALL: Self = Self { topics: None, from: 0, to: u64::MAX };

    /// Some topics, of all times.
    pub fn topics<T: Into<String>>(topics: impl IntoIterator<Item = T>) -> Self {
        Self { topics: Some(topics.into_iter().map(T::into).collect()), ..Self::ALL }
    }

    fn has_topic(&self, topic: &str) -> bool {
        self.topics.as_ref().is_none_or(|topics| topics.contains(topic))
    }

    fn has_time(&self, log_time: u64) -> bool {
        (self.from..=self.to).contains(&log_time)
    }
}

/// Messages of one file or of a whole bag by log time. An error tells of something left out; the
/// next call goes on after it.
pub type Messages = Box<dyn Iterator<Item = Result<Message, BagError>> + Send>;

/// A recording: one file, or a directory of them.
#[derive(Debug)]
pub struct Bag {
    paths: Vec<PathBuf>,
    files: Vec<BagFile>,
    topics: Vec<Topic>,
    problems: Vec<BagError>,
}

#[derive(Debug)]
enum BagFile {
    Mcap(McapFile),
    Sqlite(SqliteFile),
}

impl BagFile {
    fn open(path: &Path) -> Result<Self, BagError> {
        let source = compression::open(path)?;
        match source.start.as_slice() {
            start if start.starts_with(mcap::MAGIC) => McapFile::open(source).map(Self::Mcap),
            start if start.starts_with(b"SQLite format 3\0") => {
                SqliteFile::open(source).map(Self::Sqlite)
            }
            [] => Err(not_a_bag(path, "it is empty")),
            start if start.starts_with(b"#ROSBAG V") => Err(not_a_bag(path, FROM_ROS_1)),
            start => {
                let reason = format!("it starts with {start:02x?}, neither MCAP nor sqlite3");
                Err(not_a_bag(path, &reason))
            }
        }
    }

    fn topics(&self) -> Vec<Topic> {
        match self {
            Self::Mcap(file) => file.topics(),
            Self::Sqlite(file) => file.topics().to_vec(),
        }
    }

    /// First and last log time.
    fn span(&self) -> Option<(u64, u64)> {
        match self {
            Self::Mcap(file) => file.span(),
            Self::Sqlite(file) => file.span(),
        }
    }

    fn messages(&self, selection: &Selection) -> Result<Messages, BagError> {
        match self {
            Self::Mcap(file) => file.messages(selection),
            Self::Sqlite(file) => file.messages(selection),
        }
    }
}

/// What to do with a recording of ROS 1.
pub const FROM_ROS_1: &str =
    "it was recorded by ROS 1; `rosbags-convert` (PyPI: rosbags) makes a ROS 2 bag of it";

fn not_a_bag(path: &Path, reason: &str) -> BagError {
    BagError::NotABag { path: path.to_owned(), reason: reason.to_owned() }
}

impl Bag {
    /// Opens a file (`.mcap`, `.db3`, either with `.zstd`) or a directory of them.
    ///
    /// Damage that leaves something to read is told by [`Bag::problems`].
    ///
    /// # Errors
    /// [`BagError`] when nothing can be read.
    pub fn open(path: &Path) -> Result<Self, BagError> {
        let mut problems = Vec::new();
        let mut paths =
            if path.is_dir() { metadata::bag_files(path)? } else { vec![path.to_owned()] };
        let mut files = Vec::new();
        for file in &paths {
            match BagFile::open(file) {
                Ok(file) => files.push(file),
                Err(error) => problems.push(error),
            }
        }
        if files.is_empty() {
            let none = not_a_bag(path, "there is no .mcap or .db3 file in it");
            return Err(problems.into_iter().next().unwrap_or(none));
        }
        for file in &mut files {
            match file {
                BagFile::Mcap(file) => problems.append(&mut file.take_problems()),
                BagFile::Sqlite(file) => problems.extend(file.take_problem()),
            }
        }
        let mut topics = BTreeMap::<String, Topic>::new();
        for topic in files.iter().flat_map(BagFile::topics) {
            match topics.get_mut(&topic.name) {
                Some(known) => known.count += topic.count,
                None => drop(topics.insert(topic.name.clone(), topic)),
            }
        }
        if path.is_dir() {
            paths.push(path.join("metadata.yaml"));
        }
        Ok(Self { paths, files, topics: topics.into_values().collect(), problems })
    }

    /// The files that it consists of, `metadata.yaml` of a directory among them, be it there or
    /// not.
    pub fn paths(&self) -> &[PathBuf] {
        &self.paths
    }

    /// Its topics, by name.
    pub fn topics(&self) -> &[Topic] {
        &self.topics
    }

    /// A topic by name.
    pub fn topic(&self, name: &str) -> Option<&Topic> {
        self.topics.iter().find(|topic| topic.name == name)
    }

    /// What was found damaged or missing while opening.
    pub fn problems(&self) -> &[BagError] {
        &self.problems
    }

    /// First and last log time in nanoseconds; `None` without messages.
    pub fn span(&self) -> Option<(u64, u64)> {
        let spans = self.files.iter().filter_map(BagFile::span);
        spans.reduce(|(start, end), (other_start, other_end)| {
            (start.min(other_start), end.max(other_end))
        })
    }

    /// The selected messages by log time; equal times in the order of the files.
    ///
    /// # Errors
    /// [`BagError`] when a file cannot be opened again.
    pub fn messages(&self, selection: &Selection) -> Result<Messages, BagError> {
        let mut waiting = Vec::new();
        for file in &self.files {
            // A file without messages has no span, nor anything to give.
            if let Some((start, end)) = file.span()
                && start <= selection.to
                && end >= selection.from
            {
                waiting.push((start, file.messages(selection)?));
            }
        }
        waiting.sort_by_key(|(start, _)| *start);
        Ok(Box::new(Merged { waiting: waiting.into(), open: Vec::new() }))
    }
}

/// Files merged by log time; one is opened when its first message's time has come.
struct Merged {
    waiting: std::collections::VecDeque<(u64, Messages)>,
    open: Vec<(Message, Messages)>,
}

impl Iterator for Merged {
    type Item = Result<Message, BagError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let earliest = self.open.iter().map(|(message, _)| message.log_time).min();
            if let Some((start, _)) = self.waiting.front()
                && earliest.is_none_or(|earliest| *start < earliest)
                && let Some((start, mut messages)) = self.waiting.pop_front()
            {
                match messages.next() {
                    Some(Ok(message)) => self.open.push((message, messages)),
                    Some(Err(error)) => {
                        self.waiting.push_front((start, messages));
                        return Some(Err(error));
                    }
                    None => {}
                }
                continue;
            }
            let earliest = earliest?;
            let index = self.open.iter().position(|(first, _)| first.log_time == earliest)?;
            let (_, messages) = &mut self.open[index];
            return match messages.next() {
                Some(Ok(next)) => Some(Ok(std::mem::replace(&mut self.open[index].0, next))),
                Some(Err(error)) => Some(Err(error)),
                None => Some(Ok(self.open.remove(index).0)),
            };
        }
    }
}
