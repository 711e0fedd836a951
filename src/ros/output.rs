//! Results to messages: the publishers of one camera.

use std::cell::RefCell;

use r2r::builtin_interfaces::msg::Time;
use r2r::diagnostic_msgs::msg::{DiagnosticStatus, KeyValue};
use r2r::geometry_msgs::msg::{PoseWithCovariance, PoseWithCovarianceStamped};
use r2r::std_msgs::msg::{Float32MultiArray, Header, MultiArrayDimension, MultiArrayLayout};
use r2r::vision_msgs::msg::{
    BoundingBox2D, Classification, Detection2D, Detection2DArray, LabelInfo, ObjectHypothesis,
    ObjectHypothesisWithPose, Point2D, Pose2D, VisionClass, VisionInfo,
};
use r2r::{Node, Publisher, PublisherUntyped, QosProfile, WrappedTypesupport};

use super::diagnostics::{CameraState, stamp_text};
use super::pose;
use super::qos;
use crate::geometry::Size;
use crate::ground_messages::GroundOutputs;
use crate::manifest::{Manifest, Traversability};
use crate::message::cdr::CdrWriter;
use crate::message::{
    self, CompressedImage, Image, LaserScan, OccupancyGrid, PointCloud, RosMessage, Stamp,
};
use crate::pose::PoseEstimate;
use crate::result::{FrameResult, Label, Obstacle, Outputs};
use crate::settings::{ClassIdFormat, MaskKind, MaskSettings, Reliability};
use crate::timing::{StageTimes, milliseconds};

/// A topic and whether anybody listens.
struct Topic<T: WrappedTypesupport> {
    publisher: Publisher<T>,
    name: String,
}

impl<T: WrappedTypesupport + 'static> Topic<T> {
    fn new(node: &mut Node, name: String, qos: QosProfile) -> r2r::Result<Self> {
        let qos = qos::publisher(&name, qos);
        Ok(Self { publisher: node.create_publisher(&name, qos)?, name })
    }

    fn destroy(self, node: &mut Node) {
        node.destroy_publisher(self.publisher);
    }

    fn has_listener(&self) -> bool {
        self.publisher.get_inter_process_subscription_count().unwrap_or(0) > 0
    }

    fn publish(&self, message: &T) {
        if let Err(error) = self.publisher.publish(message) {
            tracing::warn!("{}: a message was not published: {error}", self.name);
        }
    }
}

/// Small results that are published on the camera's own and, with several, on a common topic.
struct Topics<T: WrappedTypesupport>(Vec<Topic<T>>);

impl<T: WrappedTypesupport + 'static> Topics<T> {
    fn new(node: &mut Node, names: &[String], qos: &QosProfile) -> r2r::Result<Self> {
        let topics = names.iter().map(|name| Topic::new(node, name.clone(), qos.clone()));
        topics.collect::<r2r::Result<_>>().map(Self)
    }

    fn destroy(self, node: &mut Node) {
        self.0.into_iter().for_each(|topic| topic.destroy(node));
    }

    fn has_listener(&self) -> bool {
        self.0.iter().any(Topic::has_listener)
    }

    fn publish(&self, message: &T) {
        self.0.iter().filter(|topic| topic.has_listener()).for_each(|topic| topic.publish(message));
    }
}

/// Pictures, on one topic or two. They go on the wire as they lie in memory, through a buffer that
/// is kept: r2r's types would copy each of them twice more, into memory that is new each time.
struct PictureTopics {
    topics: Vec<(PublisherUntyped, String)>,
    writer: RefCell<CdrWriter>,
}

impl PictureTopics {
    fn new<M: RosMessage>(
        node: &mut Node,
        names: &[String],
        qos: &QosProfile,
    ) -> r2r::Result<Self> {
        let topic = |name: &String| {
            let qos = qos::publisher(name, qos.clone());
            let publisher = node.create_publisher_untyped(name, M::TYPE, qos)?;
            Ok((publisher, name.clone()))
        };
        let topics = names.iter().map(topic).collect::<r2r::Result<_>>()?;
        Ok(Self { topics, writer: RefCell::default() })
    }

    fn destroy(self, node: &mut Node) {
        for (publisher, _) in self.topics {
            node.destroy_publisher_untyped(publisher);
        }
    }

    fn has_listener(&self) -> bool {
        self.topics.iter().any(|(publisher, _)| is_heard(publisher))
    }

    fn publish(&self, message: &impl RosMessage) {
        let mut writer = self.writer.borrow_mut();
        writer.restart();
        message.write(&mut writer);
        for (publisher, name) in self.topics.iter().filter(|(publisher, _)| is_heard(publisher)) {
            if let Err(error) = publisher.publish_raw(writer.as_bytes()) {
                tracing::warn!("{name}: a message was not published: {error}");
            }
        }
    }
}

fn is_heard(publisher: &PublisherUntyped) -> bool {
    publisher.get_inter_process_subscription_count().unwrap_or(0) > 0
}

/// Everything that is published of one camera.
pub struct CameraOutputs {
    labels: Topics<Classification>,
    mask: PictureTopics,
    confidence: PictureTopics,
    label_info: Topics<LabelInfo>,
    vision_info: Topic<VisionInfo>,
    traversability: PictureTopics,
    overlay: PictureTopics,
    overlay_compressed: PictureTopics,
    obstacles: Topic<Detection2DArray>,
    place: Topic<Classification>,
    place_pose: Topic<PoseWithCovarianceStamped>,
    embedding: Topic<Float32MultiArray>,
    timing: Topic<DiagnosticStatus>,
    scan: PictureTopics,
    points: PictureTopics,
    obstacle_points: PictureTopics,
    ground_points: PictureTopics,
    local_map: PictureTopics,
}

impl CameraOutputs {
    /// The publishers of `camera`, below `~/`, or `~/<camera>/` when it has a name.
    ///
    /// # Errors
    /// rcl's.
    pub fn new(node: &mut Node, camera: &str, reliability: Reliability) -> r2r::Result<Self> {
        let base = QosProfile::default().keep_last(1).volatile();
        let qos = match reliability {
            Reliability::BestEffort => base.best_effort(),
            _ => base.reliable(),
        };
        let latched = QosProfile::default().keep_last(1).reliable().transient_local();
        let own = |topic: &str| match camera {
            "" => format!("~/{topic}"),
            camera => format!("~/{camera}/{topic}"),
        };
        let own_and_common = |topic: &str| match camera {
            "" => vec![own(topic)],
            _ => vec![own(topic), format!("~/{topic}")],
        };
        Ok(Self {
            labels: Topics::new(node, &own_and_common("labels"), &qos)?,
            mask: PictureTopics::new::<Image<'_>>(node, &own_and_common("mask"), &qos)?,
            confidence: PictureTopics::new::<Image<'_>>(node, &[own("confidence")], &qos)?,
            label_info: Topics::new(node, &own_and_common("label_info"), &latched)?,
            vision_info: Topic::new(node, own("vision_info"), latched)?,
            traversability: PictureTopics::new::<Image<'_>>(node, &[own("traversability")], &qos)?,
            overlay: PictureTopics::new::<Image<'_>>(node, &[own("overlay")], &qos)?,
            overlay_compressed: PictureTopics::new::<CompressedImage<'_>>(
                node,
                &[own("overlay/compressed")],
                &qos,
            )?,
            obstacles: Topic::new(node, own("obstacles"), qos.clone())?,
            place: Topic::new(node, own("place"), qos.clone())?,
            place_pose: Topic::new(node, own("place_pose"), qos.clone())?,
            embedding: Topic::new(node, own("embedding"), qos.clone())?,
            timing: Topic::new(node, own("timing"), qos.clone())?,
            scan: PictureTopics::new::<LaserScan<'_>>(node, &[own("scan")], &qos)?,
            points: PictureTopics::new::<PointCloud<'_>>(node, &[own("points")], &qos)?,
            obstacle_points: PictureTopics::new::<PointCloud<'_>>(
                node,
                &[own("obstacle_points")],
                &qos,
            )?,
            ground_points: PictureTopics::new::<PointCloud<'_>>(
                node,
                &[own("ground_points")],
                &qos,
            )?,
            // One map of all cameras.
            local_map: PictureTopics::new::<OccupancyGrid<'_>>(
                node,
                &["~/local_map".to_owned()],
                &qos,
            )?,
        })
    }

    /// Takes the publishers from the graph: r2r keeps one that is only dropped.
    pub fn destroy(self, node: &mut Node) {
        self.labels.destroy(node);
        self.mask.destroy(node);
        self.confidence.destroy(node);
        self.label_info.destroy(node);
        self.vision_info.destroy(node);
        self.traversability.destroy(node);
        self.overlay.destroy(node);
        self.overlay_compressed.destroy(node);
        self.obstacles.destroy(node);
        self.place.destroy(node);
        self.place_pose.destroy(node);
        self.embedding.destroy(node);
        self.timing.destroy(node);
        self.scan.destroy(node);
        self.points.destroy(node);
        self.obstacle_points.destroy(node);
        self.ground_points.destroy(node);
        self.local_map.destroy(node);
    }

    /// What somebody listens to.
    pub fn wanted(&self) -> Outputs {
        let overlay = self.overlay_wanted();
        let points = self.points.has_listener();
        Outputs {
            labels: overlay || self.labels.has_listener(),
            mask: overlay || points || self.mask.has_listener() || self.confidence.has_listener(),
            cost: self.traversability.has_listener(),
            obstacles: overlay || self.obstacles.has_listener(),
            embedding: self.embedding.has_listener(),
            taught: false,
            places: overlay || self.place.has_listener() || self.place_pose.has_listener(),
            ground: overlay || self.ground_wanted().any(),
            cells: false,
            picture: overlay,
        }
    }

    /// Whether the overlay has to be drawn.
    pub fn overlay_wanted(&self) -> bool {
        self.overlay.has_listener() || self.overlay_compressed.has_listener()
    }

    /// Publishes a frame's results under its own header.
    pub fn publish(
        &self,
        header: &Header,
        result: &FrameResult,
        class_id_format: ClassIdFormat,
        mask_kind: MaskKind,
    ) {
        if let Some(labels) = result.labels.as_ref().filter(|_| self.labels.has_listener()) {
            self.labels.publish(&classification(header, labels, class_id_format));
        }
        if let Some(maps) = &result.maps {
            if self.mask.has_listener() {
                self.mask.publish(&mono8(header, maps.size, maps.ids(mask_kind)));
            }
            if self.confidence.has_listener() {
                self.confidence.publish(&mono8(header, maps.size, &maps.confidence));
            }
            if self.traversability.has_listener() && !maps.cost.is_empty() {
                self.traversability.publish(&mono8(header, maps.size, &maps.cost));
            }
        }
        if let Some(obstacles) = result.obstacles.as_ref().filter(|_| self.obstacles.has_listener())
        {
            self.obstacles.publish(&detections(header, obstacles));
        }
        if let Some(places) = result.places.as_ref().filter(|_| self.place.has_listener()) {
            self.place.publish(&classification(header, places, ClassIdFormat::Name));
        }
        if let Some(vector) = result.embedding.as_ref().filter(|_| self.embedding.has_listener()) {
            let size = vector.len() as u32;
            let label = "descriptor".to_owned();
            self.embedding.publish(&Float32MultiArray {
                layout: MultiArrayLayout {
                    dim: vec![MultiArrayDimension { label, size, stride: size }],
                    data_offset: 0,
                },
                data: vector.clone(),
            });
        }
    }

    /// Who listens to what is made of the ground.
    pub fn ground_wanted(&self) -> GroundOutputs {
        GroundOutputs {
            scan: self.scan.has_listener(),
            points: self.points.has_listener(),
            obstacle_points: self.obstacle_points.has_listener(),
            ground_points: self.ground_points.has_listener(),
            local_map: self.local_map.has_listener(),
        }
    }

    /// Publishes a scan.
    pub fn publish_scan(&self, scan: &LaserScan<'_>) {
        self.scan.publish(scan);
    }

    /// Publishes the organised cloud.
    pub fn publish_points(&self, cloud: &PointCloud<'_>) {
        self.points.publish(cloud);
    }

    /// Publishes the feet of obstacles.
    pub fn publish_obstacle_points(&self, cloud: &PointCloud<'_>) {
        self.obstacle_points.publish(cloud);
    }

    /// Publishes free ground.
    pub fn publish_ground_points(&self, cloud: &PointCloud<'_>) {
        self.ground_points.publish(cloud);
    }

    /// Publishes the local map.
    pub fn publish_local_map(&self, map: &OccupancyGrid<'_>) {
        self.local_map.publish(map);
    }

    /// Publishes where the robot is, by the place that it recognised.
    pub fn publish_pose(&self, stamp: &Time, estimate: &PoseEstimate) {
        if self.place_pose.has_listener() {
            self.place_pose.publish(&pose::to_message(stamp, estimate));
        }
    }

    /// Publishes the drawn overlay; `jpeg` is asked for only when somebody listens to it.
    pub fn publish_overlay(
        &self,
        header: &Header,
        size: Size,
        rgb: &[u8],
        jpeg: impl FnOnce() -> Option<Vec<u8>>,
    ) {
        if self.overlay.has_listener() {
            self.overlay.publish(&Image {
                encoding: "rgb8",
                step: 3 * size.width,
                ..mono8(header, size, rgb)
            });
        }
        if self.overlay_compressed.has_listener()
            && let Some(data) = jpeg()
        {
            self.overlay_compressed.publish(&CompressedImage {
                header: wire_header(header),
                format: "jpeg",
                data: &data,
            });
        }
    }

    /// Publishes where the time went of the frame with that header, and how far its answer can be
    /// trusted.
    pub fn publish_timing(
        &self,
        header: &Header,
        camera: &CameraState,
        times: &StageTimes,
        age_ms: Option<f64>,
    ) {
        if !self.timing.has_listener() {
            return;
        }
        let stages = times.stages().into_iter().chain([("total", times.total())]);
        let stages = stages.map(|(name, time)| (name, milliseconds(time)));
        let values = stages.chain(age_ms.map(|age| ("age", age)));
        let mut values: Vec<KeyValue> =
            values.map(|(name, value)| key_value(name, format!("{value:.3}"))).collect();
        let state = camera.state();
        values.push(key_value("state", state.name()));
        if let Some(fault) = camera.image_fault() {
            values.push(key_value("image fault", fault.name()));
        }
        values.push(key_value("stamp", stamp_text(&header.stamp)));
        self.timing.publish(&DiagnosticStatus {
            level: state.level(),
            name: "squeezenet: timing".to_owned(),
            message: "ms".to_owned(),
            hardware_id: camera.name.clone(),
            values,
        });
    }

    /// Announces the ids of the mask and the model in force.
    pub fn publish_model(
        &self,
        stamp: Time,
        manifest: &Manifest,
        location: &str,
        method: &str,
        version: i32,
        mask: &MaskSettings,
    ) {
        let header = Header { stamp, frame_id: String::new() };
        self.vision_info.publish(&VisionInfo {
            header: header.clone(),
            method: method.to_owned(),
            database_location: location.to_owned(),
            database_version: version,
        });
        let Some(spec) = &manifest.segmentation else { return };
        let class = |(class_id, class_name): (usize, &str)| VisionClass {
            class_id: class_id as u16,
            class_name: class_name.to_owned(),
        };
        let class_map = match mask.kind {
            MaskKind::Semantic => {
                spec.classes.iter().map(|c| c.name.as_str()).enumerate().map(class).collect()
            }
            MaskKind::Traversability => {
                Traversability::ALL.iter().map(|t| (t.id() as usize, t.name())).map(class).collect()
            }
        };
        // The label info of a topic without a subscriber is kept for the one that comes late.
        for topic in &self.label_info.0 {
            topic.publish(&LabelInfo {
                header: header.clone(),
                class_map: Vec::clone(&class_map),
                threshold: mask.min_confidence,
            });
        }
    }
}

/// A key and a value of a diagnostic status.
pub fn key_value(key: &str, value: impl Into<String>) -> KeyValue {
    KeyValue { key: key.to_owned(), value: value.into() }
}

fn classification(header: &Header, labels: &[Label], format: ClassIdFormat) -> Classification {
    let hypothesis = |label: &Label| ObjectHypothesis {
        class_id: match format {
            ClassIdFormat::Name => label.name.clone(),
            ClassIdFormat::Index => label.index.to_string(),
        },
        score: f64::from(label.score),
    };
    Classification { header: header.clone(), results: labels.iter().map(hypothesis).collect() }
}

fn mono8<'a>(header: &'a Header, size: Size, data: &'a [u8]) -> Image<'a> {
    Image {
        header: wire_header(header),
        height: size.height,
        width: size.width,
        encoding: "mono8",
        is_bigendian: false,
        step: size.width,
        data,
    }
}

/// A header as plain data.
pub fn wire_header(header: &Header) -> message::Header<'_> {
    let Time { sec, nanosec } = header.stamp;
    message::Header { stamp: Stamp { sec, nanosec }, frame_id: &header.frame_id }
}

fn detections(header: &Header, obstacles: &[Obstacle]) -> Detection2DArray {
    let detection = |obstacle: &Obstacle| {
        let area = obstacle.bounding_box;
        let center = Pose2D {
            position: Point2D { x: area.left + area.width / 2.0, y: area.top + area.height / 2.0 },
            theta: 0.0,
        };
        let hypothesis =
            ObjectHypothesis { class_id: obstacle.class.clone(), score: f64::from(obstacle.score) };
        Detection2D {
            header: header.clone(),
            results: vec![ObjectHypothesisWithPose {
                hypothesis,
                pose: PoseWithCovariance::default(),
            }],
            bbox: BoundingBox2D { center, size_x: area.width, size_y: area.height },
            id: String::new(),
        }
    };
    Detection2DArray {
        header: header.clone(),
        detections: obstacles.iter().map(detection).collect(),
    }
}
