"""Records a drive as a rosbag2: pictures, camera_info, tf, odometry, and the true mask. The robot is steered by
what really stands there, so no node is needed and the bag does not depend on any model.

    bash scripts/sim/run.sh record.py --seed 3 --metres 40 --floor red_gym drive
    squeezenet_node replay drive --learn --masks-topic /sim/mask --masks-kind traversability

The true mask has the ids of /squeezenet/mask: 0 floor, 2 what stands on it, 3 ceiling and outside; 255 the robot itself.
"""

import argparse
import math
import os
import sys
from pathlib import Path

os.environ.setdefault("MUJOCO_GL", "egl")

import numpy as np
import rooms
import textures
from driver import Driver, Limits
from link import BASE, FOOTPRINT, LINK, ODOM, OPTICAL
from robot import WHEEL_RADIUS, Camera, NoRenderer, Simulation
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

START_NS = 1_700_000_000_000_000_000
TF_MESSAGE = "tf2_msgs/msg/TFMessage"
BLOCKED = "/squeezenet/learning/blocked"
# Directions in which the driver is told what stands there.
BEAM_DEG = 1.5


class Bag:
    """Writes what the robot's drivers would publish."""

    def __init__(self, path: Path, camera: Camera) -> None:
        self.camera = camera
        self.store = get_typestore(Stores.ROS2_JAZZY)
        self.store.register(get_types_from_msg("geometry_msgs/TransformStamped[] transforms", TF_MESSAGE))
        self.writer = Writer(path, version=9, storage_plugin=StoragePlugin.MCAP)
        self.writer.open()
        self.connections: dict = {}

    def close(self) -> None:
        self.writer.close()

    def make(self, name: str, *fields):
        return self.store.types[name](*fields)

    def put(self, topic: str, ns: int, name: str, message) -> None:
        self.copy(topic, ns, name, self.store.serialize_cdr(message, name))

    def copy(self, topic: str, ns: int, name: str, raw: bytes) -> None:
        if topic not in self.connections:
            self.connections[topic] = self.writer.add_connection(topic, name, typestore=self.store)
        self.writer.write(self.connections[topic], ns, raw)

    def header(self, ns: int, frame: str):
        return self.make("std_msgs/msg/Header", self.make("builtin_interfaces/msg/Time", ns // 10**9, ns % 10**9), frame)

    def transform(self, ns: int, parent: str, child: str, place, rpy):
        (cr, sr), (cp, sp), (cy, sy) = ((math.cos(a / 2), math.sin(a / 2)) for a in rpy)
        rotation = self.make(
            "geometry_msgs/msg/Quaternion", sr * cp * cy - cr * sp * sy, cr * sp * cy + sr * cp * sy,
            cr * cp * sy - sr * sp * cy, cr * cp * cy + sr * sp * sy)
        pose = self.make("geometry_msgs/msg/Transform", self.make("geometry_msgs/msg/Vector3", *map(float, place)), rotation)
        return self.make("geometry_msgs/msg/TransformStamped", self.header(ns, parent), child, pose)

    def tf(self, ns: int, *transforms, is_static: bool = False) -> None:
        self.put("/tf_static" if is_static else "/tf", ns, TF_MESSAGE, self.make(TF_MESSAGE, list(transforms)))

    def mounting(self) -> None:
        c = self.camera
        self.tf(
            START_NS, self.transform(START_NS, FOOTPRINT, BASE, (0, 0, WHEEL_RADIUS), (0, 0, 0)),
            self.transform(START_NS, BASE, LINK, (c.ahead_m, 0, c.height_m - WHEEL_RADIUS), (0, math.radians(c.pitch_deg), 0)),
            self.transform(START_NS, LINK, OPTICAL, (0, 0, 0), (-math.pi / 2, 0, -math.pi / 2)), is_static=True)

    def pose(self, ns: int, place: tuple[float, float, float]) -> None:
        self.tf(ns, self.transform(ns, ODOM, FOOTPRINT, (place[0], place[1], 0), (0, 0, place[2])))

    def bump(self, ns: int) -> None:
        self.put(BLOCKED, ns, "std_msgs/msg/Empty", self.make("std_msgs/msg/Empty"))

    def image(self, topic: str, ns: int, pixels: np.ndarray, encoding: str) -> None:
        height, width = pixels.shape[:2]
        data = np.ascontiguousarray(pixels).reshape(-1)
        fields = (self.header(ns, OPTICAL), height, width, encoding, 0, data.size // height, data)
        self.put(topic, ns, "sensor_msgs/msg/Image", self.make("sensor_msgs/msg/Image", *fields))

    def camera_info(self, ns: int) -> None:
        c = self.camera
        k = np.array(c.k)
        p = np.array([*c.k[:3], 0.0, *c.k[3:6], 0.0, *c.k[6:], 0.0])
        whole = self.make("sensor_msgs/msg/RegionOfInterest", 0, 0, 0, 0, False)
        self.put("/camera/camera_info", ns, "sensor_msgs/msg/CameraInfo", self.make(
            "sensor_msgs/msg/CameraInfo", self.header(ns, OPTICAL), c.height, c.width, "plumb_bob", np.zeros(5), k,
            np.eye(3).ravel(), p, 0, 0, whole))


class Faults:
    """Odometry and a bumper as they are: distances off by a share, turning away with the metres, bumps of nothing."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.share, self.yaw_per_m = 1 + options.slip, math.radians(options.yaw_drift)
        self.false_bumps, self.chance = options.false_bumps, np.random.default_rng(options.seed)
        self.before = None
        self.at = (0.0, 0.0, 0.0)

    @staticmethod
    def add_options(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--slip", type=float, default=0.0, metavar="SHARE", help="error of the odometry's distances")
        parser.add_argument("--yaw-drift", type=float, default=0.0, metavar="DEG_PER_M", help="by which the odometry turns away")
        parser.add_argument("--false-bumps", type=float, default=0.0, metavar="PER_M", help="how often a bumper says that free ground is blocked")

    def bumps(self, driven: float) -> bool:
        """Whether the bumper says so on these metres."""
        return self.chance.random() < self.false_bumps * driven

    def place(self, at, metres: float) -> tuple[float, float, float]:
        """Where the odometry finds the robot, from where it is."""
        if self.before is None:
            self.at = (at.x, at.y, at.yaw)
        else:
            x, y = self.before
            turned = self.yaw_per_m * metres
            c, s = math.cos(turned), math.sin(turned)
            dx, dy = self.share * (at.x - x), self.share * (at.y - y)
            self.at = (self.at[0] + c * dx - s * dy, self.at[1] + s * dx + c * dy, at.yaw + turned)
        self.before = (at.x, at.y)
        return self.at


def exact_scan(simulation: Simulation, camera: Camera) -> tuple[np.ndarray, np.ndarray]:
    """Directions and distances of what stands there and is in view, as a perfect scan would say."""
    half = math.radians(camera.hfov_deg / 2)
    angles = np.arange(-half, half, math.radians(BEAM_DEG))
    ranges, seen = simulation.true_ranges(angles, 4.0)
    return angles, np.where(np.isinf(ranges) | seen, ranges, np.nan)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bag", type=Path, help="folder to write, must not exist")
    parser.add_argument("--seed", type=int, default=1, help="room; kinds in turn: " + ", ".join(rooms.KINDS))
    parser.add_argument("--metres", type=float, default=20.0)
    parser.add_argument("--seconds", type=float, help="of simulated time, at most; ten for each metre where it is not said")
    parser.add_argument("--hz", type=float, default=5.0)
    parser.add_argument("--floor", choices=textures.UNUSUAL, default="", help="instead of the room's own")
    Faults.add_options(parser)
    options = parser.parse_args()
    longest = 10.0 * options.metres if options.seconds is None else options.seconds
    camera = Camera()
    world = rooms.plan_world(options.seed)
    world.floor = options.floor
    try:
        simulation = Simulation(world, camera)
    except NoRenderer as error:
        print(error, file=sys.stderr)
        return 2
    driver = Driver(camera.ahead_m, camera.nearest_ground_m(), Limits())
    bag, frames, period = Bag(options.bag, camera), 0, 1 / options.hz
    faults = Faults(options)
    driven = 0.0
    bag.mounting()
    while simulation.metres < options.metres and frames * period < longest:
        ns = START_NS + round(frames * period * 1e9)
        frames += 1
        at = simulation.odometry
        bag.pose(ns, faults.place(at, simulation.metres))
        bag.camera_info(ns)
        bag.image("/camera/image_raw", ns, simulation.picture(), "rgb8")
        bag.image("/sim/mask", ns, simulation.labels(), "mono8")
        angles, ranges = exact_scan(simulation, camera)
        command = driver.decide(at, angles, ranges, period)
        simulation.step(command.speed, command.turn, period)
        if faults.bumps(simulation.metres - driven):
            bag.bump(ns)
        driven = simulation.metres
        if frames % 20 == 0:
            print(f"\r{simulation.metres:.1f} m, {frames} frames", end="", flush=True)
    bag.close()
    simulation.close()
    print(f"\r{options.bag}: {world.kind} {options.seed}, {simulation.metres:.1f} m, {frames} frames, {len(simulation.collisions)} collisions")
    return 0


if __name__ == "__main__":
    sys.exit(main())
