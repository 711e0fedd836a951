//! The publishers of one camera.

use std::sync::Mutex;

use r2r::builtin_interfaces::msg::Time;
use r2r::diagnostic_msgs::msg::KeyValue;
use r2r::std_msgs::msg::Header;
use r2r::{Clock, Node, PublisherUntyped, QosProfile};

use super::qos;
use crate::lock::lock;
use crate::log::escaped;
use crate::message::cdr::CdrWriter;
use crate::message::{self, RosMessage, Stamp};
use crate::output::{Output, OutputSet, Sink, Spec, Topics};
use crate::settings::Reliability;

/// Everything that is published of one camera. Messages go on the wire as they lie in memory, through a buffer that
/// is kept: r2r's types would copy a picture twice more, into memory that is new each time.
pub struct CameraOutputs {
    topics: Vec<Topic>,
    /// What somebody listened to when it was last looked up.
    wanted: OutputSet,
    writer: CdrWriter,
}

struct Topic {
    output: Output,
    name: String,
    publisher: PublisherUntyped,
    is_latched: bool,
}

impl Topic {
    /// Whether somebody listens, or may come late.
    fn is_wanted(&self) -> bool {
        self.is_latched || self.publisher.get_inter_process_subscription_count().unwrap_or(0) > 0
    }
}

impl CameraOutputs {
    /// The publishers of `camera`, below `~/`, or `~/<camera>/` when it has a name.
    ///
    /// # Errors
    /// rcl's.
    pub fn new(node: &mut Node, camera: &str, reliability: Reliability) -> r2r::Result<Self> {
        let (topics, wanted) = (Vec::new(), OutputSet::default());
        let mut outputs = Self { topics, wanted, writer: CdrWriter::default() };
        match outputs.publish(node, camera, reliability) {
            Ok(()) => {
                outputs.look_up();
                Ok(outputs)
            }
            Err(error) => {
                outputs.destroy(node);
                Err(error)
            }
        }
    }

    fn publish(
        &mut self,
        node: &mut Node,
        camera: &str,
        reliability: Reliability,
    ) -> r2r::Result<()> {
        let base = QosProfile::default().keep_last(1).volatile();
        let volatile = match reliability {
            Reliability::BestEffort => base.best_effort(),
            _ => base.reliable(),
        };
        let latched = QosProfile::default().keep_last(1).reliable().transient_local();
        for output in Output::ALL {
            let Spec { name, ros_type, topics: whose, is_latched, .. } = output.spec();
            let (own, common) = (format!("~/{camera}/{name}"), format!("~/{name}"));
            let names = match (whose, camera) {
                (_, "") | (Topics::Common, _) => vec![common],
                (Topics::Own, _) => vec![own],
                (Topics::OwnAndCommon, _) => vec![own, common],
            };
            for name in names {
                let profile = if is_latched { latched.clone() } else { volatile.clone() };
                let profile = qos::publisher(&name, profile);
                let publisher = node.create_publisher_untyped(&name, ros_type, profile)?;
                self.topics.push(Topic { output, name, publisher, is_latched });
            }
        }
        Ok(())
    }

    /// Asks the middleware who listens to what: once a frame.
    pub fn look_up(&mut self) -> OutputSet {
        let wanted = self.topics.iter().filter(|topic| topic.is_wanted());
        self.wanted = wanted.map(|topic| topic.output).collect();
        self.wanted
    }

    /// Takes the publishers from the graph: r2r keeps one that is only dropped.
    pub fn destroy(self, node: &mut Node) {
        for topic in self.topics {
            node.destroy_publisher_untyped(topic.publisher);
        }
    }
}

impl Sink for CameraOutputs {
    fn wanted(&self) -> OutputSet {
        self.wanted
    }

    fn put(&mut self, output: Output, message: &impl RosMessage) {
        self.writer.restart();
        message.write(&mut self.writer);
        let topics = self.topics.iter().filter(|topic| topic.output == output);
        for Topic { name, publisher, .. } in topics.filter(|topic| topic.is_wanted()) {
            if let Err(error) = publisher.publish_raw(self.writer.as_bytes()) {
                tracing::warn!("{name}: a message was not published: {error}");
            }
        }
    }
}

/// A key and a value of a diagnostic status.
pub fn key_value(key: &str, value: impl Into<String>) -> KeyValue {
    // A file's key may have a NUL in it, which no string of a message can hold.
    KeyValue { key: key.to_owned(), value: escaped(&value.into()).into_owned() }
}

/// ROS time now; 0 where the clock does not tell.
pub fn now(clock: &Mutex<Clock>) -> Time {
    let now = lock(clock).get_now();
    Clock::to_builtin_time(&now.unwrap_or_default())
}

/// A time as plain data.
pub fn wire_stamp(Time { sec, nanosec }: &Time) -> Stamp {
    Stamp { sec: *sec, nanosec: *nanosec }
}

/// A header as plain data.
pub fn wire_header(header: &Header) -> message::Header<'_> {
    message::Header { stamp: wire_stamp(&header.stamp), frame_id: &header.frame_id }
}
