"""The simulated robot on the ROS graph, and the node beside it.

Each frame is a step of its own: clock, transforms, odometry, camera_info and picture are published with one
stamp, then nothing moves until the scan of that stamp is there. So the drive is the same on a fast machine
and on a slow one.
"""

import json
import math
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import rclpy
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import TransformStamped, Twist
from nav_msgs.msg import Odometry
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import DurabilityPolicy, QoSProfile
from robot import WHEEL_RADIUS, Camera, Pose, Simulation
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image, LaserScan
from tf2_msgs.msg import TFMessage

ROOT = Path(__file__).resolve().parents[2]
IMAGE_TOPIC = "/camera/image_raw"
FOOTPRINT, BASE, ODOM, MAP = "base_footprint", "base_link", "odom", "map"
LINK, OPTICAL = "camera_link", "camera_optical_frame"
# How long a command of /cmd_vel holds.
COMMAND_LASTS_S = 0.5
# With a node of our own the drive is among itself: what it publishes is nothing that a real robot's drivers should hear.
DOMAIN = "80"


class NoAnswer(Exception):
    """Why no scan comes, as far as it can be told."""


def stamp_of(seconds: float) -> Time:
    nanoseconds = round(seconds * 1e9)
    return Time(sec=nanoseconds // 1_000_000_000, nanosec=nanoseconds % 1_000_000_000)


def transform(stamp: Time, parent: str, child: str, place: tuple[float, float, float], rpy: tuple[float, float, float]) -> TransformStamped:
    message = TransformStamped(child_frame_id=child)
    message.header.frame_id, message.header.stamp = parent, stamp
    message.transform.translation.x, message.transform.translation.y, message.transform.translation.z = map(float, place)
    (cr, sr), (cp, sp), (cy, sy) = ((math.cos(a / 2), math.sin(a / 2)) for a in rpy)
    rotation = message.transform.rotation
    rotation.x, rotation.y = sr * cp * cy - cr * sp * sy, cr * sp * cy + sr * cp * sy
    rotation.z, rotation.w = cr * cp * sy - sr * sp * cy, cr * cp * cy + sr * sp * sy
    return message


def image(stamp: Time, pixels: np.ndarray, encoding: str) -> Image:
    message = Image(height=pixels.shape[0], width=pixels.shape[1], encoding=encoding, step=pixels.strides[0])
    message.header.stamp, message.header.frame_id = stamp, OPTICAL
    message.data.frombytes(np.ascontiguousarray(pixels).tobytes())
    return message


def camera_info(stamp: Time, camera: Camera) -> CameraInfo:
    k = camera.k
    message = CameraInfo(height=camera.height, width=camera.width, distortion_model="plumb_bob", d=[0.0] * 5, k=k)
    message.r = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    message.p = [*k[:3], 0.0, *k[3:6], 0.0, *k[6:], 0.0]
    message.header.stamp, message.header.frame_id = stamp, OPTICAL
    return message


def pixels_of(message: Image) -> np.ndarray:
    """rgb8 or mono8 as an array [H, W, 3] or [H, W]."""
    rows = np.frombuffer(message.data, np.uint8).reshape(message.height, message.step)
    if message.encoding == "mono8":
        return rows[:, :message.width]
    return rows[:, :message.width * 3].reshape(message.height, message.width, 3)


def keep_apart() -> None:
    """Puts this process and those that it starts into a domain of their own, on this machine alone."""
    os.environ["ROS_DOMAIN_ID"] = os.environ.get("SIM_DOMAIN_ID", DOMAIN)
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    os.environ.pop("ROS_STATIC_PEERS", None)


class Robot:
    """Publishes what a robot's drivers publish, and waits for the node's scan."""

    def __init__(self, camera: Camera, watch_overlay: bool, is_commanded: bool = False) -> None:
        """`is_commanded`: takes speeds from /cmd_vel, as of Nav2, and tells where the robot is on the map."""
        self.camera = camera
        self.is_commanded = is_commanded
        self.context = Context()
        rclpy.init(context=self.context)
        self.node = rclpy.create_node("squeezenet_sim", context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        publisher = self.node.create_publisher
        self.clock = publisher(Clock, "/clock", 10)
        self.tf = publisher(TFMessage, "/tf", 100)
        self.tf_static = publisher(TFMessage, "/tf_static", latched)
        self.odometry = publisher(Odometry, "/odom", 10)
        self.info = publisher(CameraInfo, "/camera/camera_info", 10)
        self.pictures = publisher(Image, IMAGE_TOPIC, 5)
        self.depth = publisher(Image, "/sim/depth", 5)
        self.labels = publisher(Image, "/sim/labels", 5)
        self.scan: LaserScan | None = None
        self.overlay: Image | None = None
        self.wanted, self.wanted_at = Twist(), 0.0
        self.now = 0.0
        self.status = "no diagnostics came"
        subscription = self.node.create_subscription
        subscription(LaserScan, "/squeezenet/scan", self.on_scan, 10)
        subscription(DiagnosticArray, "/diagnostics", self.on_diagnostics, 10)
        if is_commanded:
            subscription(Twist, "/cmd_vel", self.on_command, 5)
        if watch_overlay:
            subscription(Image, "/squeezenet/overlay", self.on_overlay, 2)
        self.stamp = Time()
        self.publish_mounting()

    def publish_mounting(self) -> None:
        now, camera = Time(), self.camera
        self.tf_static.publish(TFMessage(transforms=[
            transform(now, FOOTPRINT, BASE, (0, 0, WHEEL_RADIUS), (0, 0, 0)),
            transform(now, BASE, LINK, (camera.ahead_m, 0, camera.height_m - WHEEL_RADIUS), (0, math.radians(camera.pitch_deg), 0)),
            transform(now, LINK, OPTICAL, (0, 0, 0), (-math.pi / 2, 0, -math.pi / 2)),
        ]))

    def on_command(self, message: Twist) -> None:
        self.wanted, self.wanted_at = message, self.now

    def wanted_speeds(self) -> tuple[float, float]:
        """Of the last command; a robot whose commands stop coming stands still."""
        if self.now - self.wanted_at > COMMAND_LASTS_S:
            return 0.0, 0.0
        return self.wanted.linear.x, self.wanted.angular.z

    def on_scan(self, message: LaserScan) -> None:
        self.scan = message

    def on_overlay(self, message: Image) -> None:
        self.overlay = message

    def on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            self.status = f"{status.name}: {status.message}"

    def spin_until(self, condition, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while not condition():
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            self.executor.spin_once(timeout_sec=min(left, 0.05))
        return True

    def publish_moment(self, simulation: Simulation, seconds: float) -> Time:
        """Clock, transforms and odometry, stamped `seconds`."""
        self.now, stamp = seconds, stamp_of(seconds)
        self.clock.publish(Clock(clock=stamp))
        pose: Pose = simulation.odometry
        moved = transform(stamp, ODOM, FOOTPRINT, (pose.x, pose.y, 0), (0, 0, pose.yaw))
        transforms = [moved]
        if self.is_commanded:
            # What a localisation says: here the truth.
            true = simulation.pose()
            turned = true.yaw - pose.yaw
            x = true.x - math.cos(turned) * pose.x + math.sin(turned) * pose.y
            y = true.y - math.sin(turned) * pose.x - math.cos(turned) * pose.y
            transforms.append(transform(stamp, MAP, ODOM, (x, y, 0), (0, 0, turned)))
        self.tf.publish(TFMessage(transforms=transforms))
        odometry = Odometry(child_frame_id=FOOTPRINT)
        odometry.header = moved.header
        odometry.pose.pose.position.x, odometry.pose.pose.position.y = pose.x, pose.y
        odometry.pose.pose.orientation = moved.transform.rotation
        odometry.twist.twist.linear.x, odometry.twist.twist.angular.z = map(float, simulation.commanded)
        self.odometry.publish(odometry)
        return stamp

    def publish(self, simulation: Simulation, seconds: float) -> None:
        """One moment of the robot with its picture, stamped `seconds`."""
        self.stamp = stamp = self.publish_moment(simulation, seconds)
        self.info.publish(camera_info(stamp, self.camera))
        self.pictures.publish(image(stamp, simulation.picture(), "rgb8"))
        if self.depth.get_subscription_count():
            self.depth.publish(image(stamp, simulation.depth(), "32FC1"))
        if self.labels.get_subscription_count():
            self.labels.publish(image(stamp, simulation.labels(), "mono8"))

    def wait_for_scan(self, timeout: float) -> LaserScan | None:
        """The scan of the frame just published. Nothing within `timeout`: none."""
        if self.spin_until(lambda: self.scan is not None and self.scan.header.stamp == self.stamp, timeout):
            return self.scan
        return None

    def wait_for_node(self, simulation: Simulation, seconds: float, alive) -> None:
        """Until the node answers to a frame of the time `seconds`."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if not alive():
                raise NoAnswer("the node ended; its log stands above")
            if self.pictures.get_subscription_count():
                self.publish(simulation, seconds)
                if self.wait_for_scan(2.0):
                    return
            self.spin_until(lambda: False, 0.3)
        if not self.pictures.get_subscription_count():
            raise NoAnswer(f"nobody subscribes to {IMAGE_TOPIC}: is the node running, with image_topic:={IMAGE_TOPIC}?")
        raise NoAnswer(f"no scan came on /squeezenet/scan within a minute; /diagnostics says: {self.status}")

    def close(self) -> None:
        self.executor.shutdown(timeout_sec=2)
        self.node.destroy_node()
        rclpy.shutdown(context=self.context)


def beams(scan: LaserScan) -> tuple[np.ndarray, np.ndarray]:
    """Angles and ranges of a scan."""
    ranges = np.array(scan.ranges, np.float64)
    return scan.angle_min + scan.angle_increment * np.arange(len(ranges)), ranges


class Node:
    """squeezenet_node as a process of its own."""

    def __init__(self, binary: str, parameters: dict, log: Path | None) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="squeezenet_sim_")
        file = Path(self.folder.name) / "parameters.yaml"
        # What it learns here and which places it is taught is not what the robot of this machine knows.
        own = {name: str(Path(self.folder.name) / name) for name in ("learning.file", "places.file")}
        # YAML holds JSON.
        file.write_text(json.dumps({"/**": {"ros__parameters": {"image_topic": IMAGE_TOPIC, "use_sim_time": True, **own, **parameters}}}))
        self.log = log.open("w") if log else None
        self.process = subprocess.Popen([binary, "--ros-args", "--params-file", str(file)], stderr=self.log)

    def alive(self) -> bool:
        return self.process.poll() is None

    def stop(self) -> None:
        if self.alive():
            self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
        if self.log:
            self.log.close()
        self.folder.cleanup()


def binary() -> str | None:
    """The node to run: what SQUEEZENET_NODE names, the installed one, or the one that cargo built."""
    installed = ROOT / ".deps" / "install" / "lib" / "squeezenet_node" / "squeezenet_node"
    return os.environ.get("SQUEEZENET_NODE") or (str(installed) if installed.exists() else shutil.which("squeezenet_node"))
