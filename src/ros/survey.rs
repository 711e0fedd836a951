//! The ROS part of `squeezenet_node doctor`: what the environment says, and who is on the graph.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures::{FutureExt, Stream, StreamExt};
use r2r::QosProfile;
use r2r::qos::{DurabilityPolicy, ReliabilityPolicy};
use r2r::rosgraph_msgs::msg::Clock;
use r2r::sensor_msgs::msg::{CameraInfo, CompressedImage, Image};
use r2r::std_msgs::msg::Header;
use r2r::tf2_msgs::msg::TFMessage;

use super::camera::Message;
use super::camera_info::to_core;
use crate::cli::doctor::Asked;
use crate::decode::Decoder;
use crate::finding::Finding;
use crate::geometry::Size;
use crate::ground::CameraModel;
use crate::ground_messages;

const IMAGE: &str = "sensor_msgs/msg/Image";
const COMPRESSED: &str = "sensor_msgs/msg/CompressedImage";
/// Frames that the robot's ground may have, by REP 105.
const BASES: [&str; 2] = ["base_footprint", "base_link"];
/// Each process with the package's Fast DDS profile takes 17 MiB; a driver and this node are two.
const SHARED_MEMORY: u64 = 34 << 20;
const SPIN: Duration = Duration::from_millis(20);
/// Part of the time that goes to finding who is there.
const DISCOVERY: f64 = 0.4;

/// Looks at the environment and listens to the graph.
pub fn survey(asked: &Asked) -> Vec<Finding> {
    let mut findings = environment();
    match listen(asked) {
        Ok(heard) => findings.extend(heard.findings(&asked.image_topic)),
        Err(error) => findings.push(Finding::bad(
            "ros",
            format!("no node can be created: {error}"),
            "source ROS 2 (/opt/ros/jazzy/setup.bash, or env.sh of the checkout) in this shell",
        )),
    }
    findings
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn environment() -> Vec<Finding> {
    let Some(distribution) = variable("ROS_DISTRO") else {
        return vec![Finding::bad(
            "ros",
            "no ROS 2 is sourced",
            "source /opt/ros/jazzy/setup.bash, or env.sh of the checkout",
        )];
    };
    let rmw = variable("RMW_IMPLEMENTATION").unwrap_or_else(|| "rmw_fastrtps_cpp".to_owned());
    let domain = variable("ROS_DOMAIN_ID").unwrap_or_else(|| "0".to_owned());
    let range = variable("ROS_AUTOMATIC_DISCOVERY_RANGE").unwrap_or_else(|| "SUBNET".to_owned());
    let mut findings = vec![Finding::good(
        "ros",
        format!("{distribution}, {rmw}, domain {domain}, discovery range {range}"),
    )];
    if rmw.contains("fastrtps") {
        findings.push(fast_dds_profile());
        findings.extend(shared_memory());
    }
    // Others send by TCP, whose buffers lose nothing.
    if ["fastrtps", "cyclonedds"].iter().any(|name| rmw.contains(name)) {
        findings.extend(receive_buffer());
    }
    findings
}

/// Fast DDS's own shared memory holds less than one picture.
fn fast_dds_profile() -> Finding {
    let names = ["FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE"];
    match names.iter().find_map(|name| variable(name)) {
        Some(path) if Path::new(&path).is_file() => {
            Finding::good("dds profile", format!("{path}; the camera driver needs it as well"))
        }
        Some(path) => Finding::bad(
            "dds profile",
            format!("there is no {path}, so Fast DDS uses its own shared memory of 512 KiB"),
            "set FASTRTPS_DEFAULT_PROFILES_FILE to the package's config/fastdds_large_frames.xml",
        ),
        None => Finding::note(
            "dds profile",
            "none in this shell: Fast DDS's shared memory holds less than one 640x480 picture, and best effort loses most of them",
            "detect.launch.py sets one for the node; start the camera driver with FASTRTPS_DEFAULT_PROFILES_FILE naming the package's config/fastdds_large_frames.xml",
        ),
    }
}

fn shared_memory() -> Option<Finding> {
    // SAFETY: the path is a C string, the struct is plain numbers and filled on success alone.
    let room = unsafe {
        let mut room: libc::statvfs = std::mem::zeroed();
        (libc::statvfs(c"/dev/shm".as_ptr(), &raw mut room) == 0).then_some(room)
    };
    let Some(room) = room else {
        return Some(Finding::note(
            "shared mem",
            "there is no /dev/shm, so pictures travel over UDP",
            "mount it, in a container with --ipc=host",
        ));
    };
    // The fields' types differ from platform to platform.
    #[allow(clippy::unnecessary_cast, clippy::useless_conversion, reason = "as said above")]
    let (free, all) = {
        let block = room.f_frsize as u64;
        (room.f_bavail as u64 * block, room.f_blocks as u64 * block)
    };
    let text = format!("{} of {} MiB of /dev/shm are free", free >> 20, all >> 20);
    Some(if free >= SHARED_MEMORY {
        Finding::good("shared mem", text)
    } else {
        Finding::note(
            "shared mem",
            text,
            "a driver and this node take 34 MiB with the profile; where they find less, pictures travel over UDP: remove /dev/shm/fastrtps_* while no ROS process runs (what was killed leaves its share), or start the container with --shm-size=256m or --ipc=host",
        )
    })
}

/// Without shared memory a picture waits here, in fragments.
fn receive_buffer() -> Option<Finding> {
    let most = std::fs::read_to_string("/proc/sys/net/core/rmem_max").ok()?;
    let bytes: u64 = most.trim().parse().ok()?;
    let text = format!("they receive up to {} KiB at once", bytes >> 10);
    Some(if bytes >= 2 << 20 {
        Finding::good("sockets", text)
    } else {
        Finding::note(
            "sockets",
            format!("{text}: best effort loses pictures of a camera on another machine"),
            "sudo sysctl -w net.core.rmem_max=10485760",
        )
    })
}

/// A publisher.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Publisher {
    node: String,
    topic_type: String,
    is_reliable: bool,
    is_latched: bool,
}

impl Publisher {
    fn text(&self) -> String {
        let reliability = if self.is_reliable { "reliable" } else { "best effort" };
        let durability = if self.is_latched { "transient local" } else { "volatile" };
        format!("{} from {} ({reliability}, {durability})", self.topic_type, self.node)
    }
}

/// A frame that came.
#[derive(Debug, Clone, PartialEq)]
struct Seen {
    size: String,
    frame_id: String,
    /// Seconds from its stamp to its arrival.
    age_s: f64,
    /// Why it cannot be used.
    trouble: Option<String>,
}

/// What was heard on the graph.
#[derive(Debug, Default)]
struct Heard {
    /// Name and types of all topics.
    topics: BTreeMap<String, Vec<String>>,
    publishers: Vec<Publisher>,
    frames: Vec<Seen>,
    listened_s: f64,
    info_topic: String,
    has_info_publisher: bool,
    info: Option<CameraInfo>,
    /// Parent by child.
    parents: BTreeMap<String, String>,
    clock: bool,
}

/// What has come on a stream.
fn drain<T>(stream: &mut Option<impl Stream<Item = T> + Unpin>) -> Vec<T> {
    let Some(stream) = stream else { return Vec::new() };
    std::iter::from_fn(|| stream.next().now_or_never().flatten()).collect()
}

fn seen(message: &Message) -> Seen {
    let size = match message {
        Message::Raw(image) => format!("{}x{} {}", image.width, image.height, image.encoding),
        Message::Compressed(image) => format!("compressed ({})", image.format),
    };
    let Header { stamp, frame_id } = message.header();
    let stamp_s = f64::from(stamp.sec) + f64::from(stamp.nanosec) * 1e-9;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Seen { size, frame_id: frame_id.clone(), age_s: now.as_secs_f64() - stamp_s, trouble: None }
}

/// Why a picture cannot be used.
fn trouble(message: &Message) -> Option<String> {
    match message.frame() {
        Ok(frame) => Decoder::default().decode(frame).err().map(|error| error.to_string()),
        Err(error) => Some(error.to_string()),
    }
}

/// `camera_info` beside the image topic, as image_transport's convention has it.
fn info_topic(image_topic: &str) -> String {
    let image_topic = image_topic.strip_suffix("/compressed").unwrap_or(image_topic);
    let folder = image_topic.rsplit_once('/').map_or("", |(folder, _)| folder);
    format!("{folder}/camera_info")
}

fn listen(asked: &Asked) -> r2r::Result<Heard> {
    let context = r2r::Context::create()?;
    let mut node = r2r::Node::create(context, "squeezenet_doctor", "")?;
    let info_topic = info_topic(&asked.image_topic);
    let any = QosProfile::default().keep_last(50).volatile().best_effort();
    let latched = QosProfile::default().keep_last(50).transient_local().reliable();
    let mut transforms = Some(node.subscribe::<TFMessage>("/tf", any.clone())?);
    let mut fixed = Some(node.subscribe::<TFMessage>("/tf_static", latched.clone())?);
    // It may be sent once, and be kept for who comes later.
    let mut kept_infos = Some(node.subscribe::<CameraInfo>(&info_topic, latched)?);
    let mut infos = Some(node.subscribe::<CameraInfo>(&info_topic, any.clone())?);
    let mut clocks = Some(node.subscribe::<Clock>("/clock", any.clone())?);
    let (mut raw, mut compressed) = (None, None);
    let mut heard = Heard { info_topic, ..Heard::default() };
    let start = Instant::now();
    let mut subscribed: Option<Instant> = None;
    while start.elapsed().as_secs_f64() < asked.seconds {
        node.spin_once(SPIN);
        if subscribed.is_none() && start.elapsed().as_secs_f64() > DISCOVERY * asked.seconds {
            subscribed = Some(Instant::now());
            heard.publishers = publishers(&node, &asked.image_topic)?;
            // As the node does it: raw where there is both.
            let has = |wanted: &str| heard.publishers.iter().any(|p| p.topic_type == wanted);
            if has(IMAGE) {
                raw = Some(node.subscribe::<Image>(&asked.image_topic, any.clone())?);
            } else if has(COMPRESSED) {
                let stream = node.subscribe::<CompressedImage>(&asked.image_topic, any.clone())?;
                compressed = Some(stream);
            }
        }
        let came = drain(&mut raw).into_iter().map(Message::Raw);
        let came = came.chain(drain(&mut compressed).into_iter().map(Message::Compressed));
        let came: Vec<Message> = came.collect();
        heard.frames.extend(came.iter().map(seen));
        // One of those that came together is unpacked, as the node unpacks all.
        if let (Some(message), Some(last)) = (came.last(), heard.frames.last_mut()) {
            last.trouble = trouble(message);
        }
        for message in drain(&mut transforms).into_iter().chain(drain(&mut fixed)) {
            let pairs = message.transforms.into_iter();
            heard.parents.extend(pairs.map(|t| (t.child_frame_id, t.header.frame_id)));
        }
        let kept = drain(&mut kept_infos).pop();
        heard.info = drain(&mut infos).pop().or(kept).or(heard.info.take());
        heard.clock |= !drain(&mut clocks).is_empty();
    }
    heard.listened_s = subscribed.map_or(0.0, |since| since.elapsed().as_secs_f64());
    heard.topics = node.get_topic_names_and_types()?.into_iter().collect();
    heard.has_info_publisher = !publishers(&node, &heard.info_topic)?.is_empty();
    Ok(heard)
}

fn publishers(node: &r2r::Node, topic: &str) -> r2r::Result<Vec<Publisher>> {
    let infos = node.get_publishers_info_by_topic(topic, false)?.into_iter();
    let known = infos.map(|info| Publisher {
        node: format!("{}/{}", info.node_namespace.trim_end_matches('/'), info.node_name),
        topic_type: info.topic_type,
        is_reliable: matches!(info.qos_profile.reliability, ReliabilityPolicy::Reliable),
        is_latched: matches!(info.qos_profile.durability, DurabilityPolicy::TransientLocal),
    });
    Ok(known.collect())
}

impl Heard {
    fn findings(&self, image_topic: &str) -> Vec<Finding> {
        let mut findings = vec![self.node_finding()];
        findings.extend(self.publisher_findings(image_topic));
        if self.publishers.iter().any(|p| [IMAGE, COMPRESSED].contains(&p.topic_type.as_str())) {
            findings.extend(self.frame_findings());
        }
        findings.push(self.info_finding(image_topic));
        findings.push(self.transform_finding());
        findings
    }

    /// Whether a node of this package publishes it, as the company that the topic keeps shows.
    fn is_own(&self, topic: &str) -> bool {
        let topic = topic.strip_suffix("/compressed").unwrap_or(topic);
        let Some((base, _)) = topic.rsplit_once('/') else { return false };
        let beside = |name: &str| self.topics.contains_key(&format!("{base}/{name}"));
        beside("label_info") && beside("traversability")
    }

    fn node_finding(&self) -> Finding {
        let own = self.topics.iter().find(|(name, types)| {
            name.ends_with("/labels") && types.iter().any(|t| t == "vision_msgs/msg/Classification")
        });
        match own {
            Some((name, _)) => Finding::good("node", format!("it runs, {name} is there")),
            None => Finding::good(
                "node",
                "it does not run now: ros2 launch squeezenet_node detect.launch.py",
            ),
        }
    }

    fn publisher_findings(&self, image_topic: &str) -> Vec<Finding> {
        if self.publishers.is_empty() {
            let is_picture = |t: &String| t == IMAGE || t == COMPRESSED;
            let others: Vec<&str> = self
                .topics
                .iter()
                .filter(|(_, types)| types.iter().any(is_picture))
                .map(|(name, _)| name.as_str())
                .filter(|name| !self.is_own(name))
                .filter(|name| *name != image_topic)
                .collect();
            let mend = if others.is_empty() {
                "start the camera driver; no topic carries pictures (docs/cameras.md has the usual drivers)".to_owned()
            } else {
                format!("set image_topic to one that carries pictures: {}", others.join(", "))
            };
            return vec![Finding::bad(
                "pictures",
                format!("nobody publishes on {image_topic}"),
                mend,
            )];
        }
        let finding = |publisher: &Publisher| {
            let text = format!("{image_topic}: {}", publisher.text());
            if [IMAGE, COMPRESSED].contains(&publisher.topic_type.as_str()) {
                Finding::good("pictures", text)
            } else {
                Finding::bad("pictures", text, format!("the node takes {IMAGE} and {COMPRESSED}"))
            }
        };
        self.publishers.iter().map(finding).collect()
    }

    fn frame_findings(&self) -> Vec<Finding> {
        let Some(last) = self.frames.last() else {
            return vec![Finding::bad(
                "frames",
                format!("none came in {:.1} s although somebody publishes", self.listened_s),
                "give the driver room in shared memory (dds profile, above), let it publish reliably, or look whether it is stuck",
            )];
        };
        let rate = self.frames.len() as f64 / self.listened_s.max(1e-3);
        let text = format!("{rate:.1} a second, {}, frame_id {:?}", last.size, last.frame_id);
        let mut findings = vec![match &last.trouble {
            None => Finding::good("frames", text),
            Some(trouble) => Finding::bad(
                "frames",
                format!("{text}: {trouble}"),
                "mend the driver, or let it publish another encoding",
            ),
        }];
        let mut ages: Vec<f64> = self.frames.iter().map(|frame| frame.age_s).collect();
        ages.sort_by(f64::total_cmp);
        let age = ages[ages.len() / 2];
        let clock = if self.clock { "; /clock is published" } else { "" };
        findings.push(if (-0.05..1.0).contains(&age) {
            Finding::good("clock", format!("frames are {:.0} ms old when they come{clock}", age * 1e3))
        } else if self.clock {
            Finding::note(
                "clock",
                format!("stamps are {age:.1} s from this machine's clock, and /clock is published"),
                "start the node with use_sim_time:=true",
            )
        } else {
            Finding::note(
                "clock",
                format!("stamps are {age:.1} s from this machine's clock"),
                "synchronise the clocks (chrony) of both machines; with a bag: ros2 bag play --clock and use_sim_time:=true",
            )
        });
        findings
    }

    fn info_finding(&self, image_topic: &str) -> Finding {
        const WHY: &str = "labels, mask and overlay do without; what is laid onto the ground needs it, or ground.height_m, ground.pitch_deg and ground.hfov_deg";
        let topic = &self.info_topic;
        let Some(info) = &self.info else {
            let found = if self.has_info_publisher {
                format!("{topic} is announced, but nothing came")
            } else {
                format!("nobody publishes on {topic}")
            };
            return Finding::note("camera_info", found, WHY);
        };
        let size = Size::new(info.width.max(1), info.height.max(1));
        let is_rectified = ground_messages::is_rectified(image_topic);
        if let Err(reason) = CameraModel::new(&to_core(info.clone()), size, is_rectified) {
            return Finding::note("camera_info", format!("{topic}: {reason}"), WHY);
        }
        let text = format!(
            "{topic}: {}x{}, {}, fx {:.0}, frame_id {:?}",
            info.width,
            info.height,
            if info.distortion_model.is_empty() { "no lens model" } else { &info.distortion_model },
            info.k[0],
            info.header.frame_id
        );
        match self.frames.last() {
            Some(frame) if frame.frame_id != info.header.frame_id => Finding::note(
                "camera_info",
                format!("{text}, but the pictures say {:?}", frame.frame_id),
                "let the driver give both the same frame_id",
            ),
            _ => Finding::good("camera_info", text),
        }
    }

    fn transform_finding(&self) -> Finding {
        let from_info = self.info.as_ref().map(|info| info.header.frame_id.clone());
        let frame = self.frames.last().map(|frame| frame.frame_id.clone()).or(from_info);
        let Some(frame) = frame.filter(|frame| !frame.is_empty()) else {
            return Finding::note(
                "tf",
                format!(
                    "{} transforms are known, but not in which frame the pictures are",
                    self.parents.len()
                ),
                "let the driver set a frame_id, such as camera_optical_frame",
            );
        };
        let way = way_up(&self.parents, &frame);
        match way.iter().find(|name| BASES.contains(&name.as_str())) {
            Some(base) => Finding::good("tf", format!("{frame} stands below {base}")),
            None => Finding::note(
                "tf",
                format!("no way from {frame} to base_link; known: {}", way.join(" -> ")),
                format!(
                    "publish where the camera is: ros2 run tf2_ros static_transform_publisher --x 0.2 --z 0.4 --yaw -1.571 --roll -1.571 --frame-id base_link --child-frame-id {frame}"
                ),
            ),
        }
    }
}

/// A frame and all above it.
fn way_up(parents: &BTreeMap<String, String>, frame: &str) -> Vec<String> {
    let mut way = vec![frame.to_owned()];
    let mut met: BTreeSet<&str> = BTreeSet::from([frame]);
    let mut at = frame;
    while let Some(parent) = parents.get(at) {
        // A ring would go on for ever.
        if !met.insert(parent) {
            break;
        }
        way.push(parent.clone());
        at = parent;
    }
    way
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Level;

    fn level_of(heard: &Heard, subject: &str) -> Level {
        let found = heard.findings("/camera/image_raw");
        found.iter().find(|finding| finding.subject == subject).unwrap().level
    }

    fn camera(topic_type: &str) -> Publisher {
        Publisher {
            node: "/driver".to_owned(),
            topic_type: topic_type.to_owned(),
            is_reliable: false,
            is_latched: false,
        }
    }

    fn frame(age_s: f64) -> Seen {
        Seen {
            size: "640x480 rgb8".to_owned(),
            frame_id: "camera".to_owned(),
            age_s,
            trouble: None,
        }
    }

    #[test]
    fn the_topic_of_the_pictures_stands_beside_camera_info() {
        assert_eq!(info_topic("/camera/image_raw"), "/camera/camera_info");
        assert_eq!(info_topic("/camera/image_raw/compressed"), "/camera/camera_info");
        assert_eq!(info_topic("image"), "/camera_info");
    }

    #[test]
    fn pictures_elsewhere_are_named() {
        let own = ["mask", "traversability", "label_info", "overlay/compressed"];
        let own = own.map(|name| format!("/squeezenet/{name}")).into_iter();
        let names = own.chain(["/front/image".to_owned()]);
        let topics: BTreeMap<_, _> = names.map(|name| (name, vec![IMAGE.to_owned()])).collect();
        let heard = Heard { topics, ..Heard::default() };
        let found = heard.findings("/camera/image_raw");
        let finding = found.iter().find(|finding| finding.subject == "pictures").unwrap();
        assert_eq!(finding.level, Level::Bad);
        assert!(finding.mend.as_ref().unwrap().ends_with(": /front/image"));
    }

    #[test]
    fn frames_that_do_not_come_and_stamps_of_another_clock_are_told() {
        let mut heard =
            Heard { publishers: vec![camera(IMAGE)], listened_s: 2.0, ..Heard::default() };
        assert_eq!(level_of(&heard, "frames"), Level::Bad);
        heard.frames = vec![frame(0.003); 40];
        assert_eq!(
            (level_of(&heard, "frames"), level_of(&heard, "clock")),
            (Level::Good, Level::Good)
        );
        heard.frames = vec![frame(1e9)];
        assert_eq!(level_of(&heard, "clock"), Level::Note);
        heard.publishers = vec![camera("std_msgs/msg/String")];
        assert_eq!(level_of(&heard, "pictures"), Level::Bad);
    }

    #[test]
    fn calibration_and_the_way_to_the_base_are_looked_at() {
        let mut info = CameraInfo::default();
        let mut heard =
            Heard { frames: vec![frame(0.0)], info: Some(info.clone()), ..Heard::default() };
        assert_eq!(level_of(&heard, "camera_info"), Level::Note, "not calibrated");
        info.k = vec![500.0; 9];
        info.header.frame_id = "camera".to_owned();
        heard.info = Some(info);
        assert_eq!(level_of(&heard, "camera_info"), Level::Good);
        assert_eq!(level_of(&heard, "tf"), Level::Note);
        let pair = |child: &str, parent: &str| (child.to_owned(), parent.to_owned());
        heard.parents = BTreeMap::from([pair("camera", "mast"), pair("mast", "camera")]);
        assert_eq!(level_of(&heard, "tf"), Level::Note, "a ring ends");
        heard.parents = BTreeMap::from([pair("camera", "mast"), pair("mast", "base_link")]);
        assert_eq!(level_of(&heard, "tf"), Level::Good);
    }
}
