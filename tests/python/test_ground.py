"""From the mask onto the ground, on the graph: a box on a floor before a known camera, by a model whose mask is known."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path

import colour_model
import numpy as np
import pytest
from colour_model import FLOOR, HEIGHT, SKY, WALL, WIDTH
from conftest import LATCHED, RELIABLE, image_message, wait
from geometry_msgs.msg import TransformStamped
from nav_msgs.msg import OccupancyGrid
from rclpy.time import Time
from sensor_msgs.msg import CameraInfo, Image, LaserScan, PointCloud2
from tf2_msgs.msg import TFMessage

FOCAL, CAMERA_Z, PITCH = 200.0, 0.4, 0.3
CAMERA_X = 0.2
OPTICAL = "camera_optical"
# From the axes of a body (x ahead, y left, z up) to those of a picture (x right, y down, z ahead).
BODY_FROM_OPTICAL = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
# x from, to; y from, to; height: metres from under the camera.
BOX = (1.2, 1.5, -0.3, 0.2, 0.5)


def turn(pitch: float) -> np.ndarray:
    """ground_from_optical for a camera that looks down by `pitch`."""
    c, s = math.cos(pitch), math.sin(pitch)
    return np.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]]) @ BODY_FROM_OPTICAL


def quaternion(r: np.ndarray) -> tuple[float, float, float, float]:
    w = math.sqrt(max(0.0, 1.0 + r[0, 0] + r[1, 1] + r[2, 2])) / 2.0
    return (r[2, 1] - r[1, 2]) / (4 * w), (r[0, 2] - r[2, 0]) / (4 * w), (r[1, 0] - r[0, 1]) / (4 * w), w


def draw(scale: int = 1, pitch: float = PITCH, box: tuple = BOX) -> np.ndarray:
    """The picture of the box: a ray for each pixel."""
    width, height = WIDTH * scale, HEIGHT * scale
    v, u = np.mgrid[0:height, 0:width].astype(float)
    focal = FOCAL * scale
    rays = np.stack([(u + 0.5 - width / 2) / focal, (v + 0.5 - height / 2) / focal, np.ones_like(u)], -1) @ turn(pitch).T
    with np.errstate(divide="ignore", invalid="ignore"):
        ground = np.where(rays[..., 2] < 0, -CAMERA_Z / rays[..., 2], np.inf)
        near, far = np.zeros_like(ground), np.full_like(ground, np.inf)
        for axis, (low, high, at) in enumerate([(*box[0:2], 0.0), (*box[2:4], 0.0), (0.0, box[4], CAMERA_Z)]):
            a, b = (low - at) / rays[..., axis], (high - at) / rays[..., axis]
            near, far = np.maximum(near, np.minimum(a, b)), np.minimum(far, np.maximum(a, b))
    hits = np.where(near < far, near, np.inf)
    picture = np.empty((height, width, 3), np.uint8)
    picture[:] = SKY
    picture[np.isfinite(ground)] = FLOOR
    picture[hits < ground] = WALL
    return picture


def camera_info(scale: int = 1, focal: float = FOCAL) -> CameraInfo:
    info = CameraInfo(width=WIDTH * scale, height=HEIGHT * scale, distortion_model="plumb_bob", d=[0.0] * 5)
    focal *= scale
    info.k = [focal, 0.0, (WIDTH * scale - 1) / 2, 0.0, focal, (HEIGHT * scale - 1) / 2, 0.0, 0.0, 1.0]
    info.header.frame_id = OPTICAL
    return info


def transform(parent: str, child: str, stamp=None, xyz=(0.0, 0.0, 0.0), rotation=None) -> TransformStamped:
    message = TransformStamped(child_frame_id=child)
    message.header.frame_id = parent
    if stamp is not None:
        message.header.stamp = stamp
    t, r = message.transform.translation, message.transform.rotation
    t.x, t.y, t.z = (float(value) for value in xyz)
    r.x, r.y, r.z, r.w = quaternion(np.eye(3) if rotation is None else rotation)
    return message


MOUNT = {"xyz": (CAMERA_X, 0.0, CAMERA_Z), "rotation": turn(PITCH)}


class Robot:
    """Publishes pictures, calibration and tf beside a node, and keeps what comes of them."""

    def __init__(
        self, start, peer, folder: Path, parameters: dict | None = None, camera: str = "/camera", has_features: bool = False,
        arguments: list[str] | None = None,
    ) -> None:
        self.peer = peer
        self.camera = camera
        self.process = start({"model": str(colour_model.write(folder, has_features)), "inference": {"provider": "cpu"}, **(parameters or {})}, arguments)
        self.images = peer.publisher(Image, f"{camera}/image_raw")
        self.infos = peer.publisher(CameraInfo, f"{camera}/camera_info")
        self.moving = peer.publisher(TFMessage, "/tf")
        self.fixed = peer.publisher(TFMessage, "/tf_static", LATCHED)
        self.tf = peer.collect(TFMessage, "/tf")
        self.tf_static = peer.collect(TFMessage, "/tf_static", LATCHED)
        self.scans = peer.collect(LaserScan, "/squeezenet/scan")
        self.info: CameraInfo | None = camera_info()
        self.diagnostics = peer.diagnostics()
        peer.wait_subscribed(self.images)

    def mount(self, frame: str = "base_footprint", **pose) -> None:
        self.fixed.publish(TFMessage(transforms=[transform(frame, OPTICAL, **{**MOUNT, **pose})]))

    def show(self, picture: np.ndarray, stamp=None) -> None:
        message = image_message(picture)
        message.header.frame_id = OPTICAL
        message.header.stamp = stamp or self.peer.stamp()
        if self.info is not None:
            self.info.header.stamp = message.header.stamp
            self.infos.publish(self.info)
        self.images.publish(message)

    def until(self, condition, picture: np.ndarray, timeout: float = 20.0):
        """Shows the picture again and again until the condition holds."""

        def look() -> bool:
            if condition():
                return True
            self.show(picture)
            wait_a_moment(0.1)
            return condition()

        wait(look, timeout, lambda: f"{[s.message for s in self.diagnostics.statuses()][-3:]}\n{self.process.log()}")

    def until_said(self, words: str, picture: np.ndarray) -> None:
        def is_said() -> bool:
            return any(words in s.message or any(words in v.value for v in s.values) for s in self.diagnostics.statuses()[-5:])

        self.until(is_said, picture)


def wait_a_moment(seconds: float) -> None:
    import time

    time.sleep(seconds)


def at(scan: LaserScan, degrees: float) -> float:
    return scan.ranges[round((math.radians(degrees) - scan.angle_min) / scan.angle_increment)]


def points(cloud: PointCloud2) -> np.ndarray:
    assert [f.name for f in cloud.fields] == ["x", "y", "z"] and not cloud.is_bigendian
    assert cloud.row_step == cloud.width * cloud.point_step and len(cloud.data) == cloud.row_step * cloud.height
    floats = np.frombuffer(bytes(cloud.data), "<f4").reshape(cloud.height, cloud.width, cloud.point_step // 4)
    return floats[..., :3]


def check_scan(scan: LaserScan) -> None:
    assert scan.header.frame_id == f"{OPTICAL}_ground"
    assert abs(at(scan, 0.0) - 1.2) < 0.03, at(scan, 0.0)
    assert abs(at(scan, -8.0) - 1.2 / math.cos(math.radians(8.0))) < 0.03
    assert at(scan, 25.0) == math.inf and at(scan, -30.0) == math.inf
    assert math.isnan(scan.ranges[0]), "what is out of view is not known"
    assert scan.range_max > 2.0


def test_all_outputs_show_the_box_where_it_stands(start, peer, tmp_path) -> None:
    robot = Robot(start, peer, tmp_path)
    clouds = {name: peer.collect(PointCloud2, f"/squeezenet/{name}") for name in ("points", "obstacle_points", "ground_points")}
    masks, maps = peer.collect(Image, "/squeezenet/mask"), peer.collect(OccupancyGrid, "/squeezenet/local_map")
    robot.mount()
    picture = draw()
    robot.until(lambda: robot.scans and maps and masks and all(clouds.values()), picture)
    check_scan(robot.scans[-1])

    cloud, mask = clouds["points"][-1], masks[-1]
    assert (cloud.width, cloud.height) == (mask.width, mask.height) == (WIDTH, HEIGHT)
    assert cloud.header.frame_id == OPTICAL
    xyz = points(cloud)
    ids = np.frombuffer(bytes(mask.data), np.uint8).reshape(HEIGHT, WIDTH)
    known = np.isfinite(xyz[..., 0])
    assert (known & (ids == 0)).sum() > 5000 and not (known & (ids == 3)).any()
    on_ground = xyz[known] @ turn(PITCH).T + [0.0, 0.0, CAMERA_Z]
    assert np.abs(on_ground[:, 2]).max() < 1e-3
    feet = xyz[known & (ids == 2)] @ turn(PITCH).T
    assert len(feet) > 10
    front = feet[np.abs(feet[:, 1] + 0.05) < 0.2]
    assert len(front) > 10 and np.abs(front[:, 0] - 1.2).max() < 0.04, front

    feet = points(clouds["obstacle_points"][-1])[0]
    assert clouds["obstacle_points"][-1].header.frame_id == f"{OPTICAL}_ground"
    assert np.allclose(feet[:, 2], 0.2, atol=1e-6)
    assert np.abs(feet[np.abs(feet[:, 1] + 0.05) < 0.2][:, 0] - 1.2).max() < 0.04
    ground = points(clouds["ground_points"][-1])[0]
    assert len(ground) > 100 and np.abs(ground[:, 2]).max() == 0.0
    behind = (ground[:, 0] > 1.55) & (np.abs(ground[:, 1] / ground[:, 0]) < 0.08)
    assert not behind.any(), "nothing is known behind the box"


def test_the_frame_under_the_camera_is_on_tf(start, peer, tmp_path) -> None:
    robot = Robot(start, peer, tmp_path)
    robot.mount()
    found: list = []

    def look() -> bool:
        sent = [t for message in robot.tf + robot.tf_static for t in message.transforms]
        found[:] = [t for t in sent if t.child_frame_id == f"{OPTICAL}_ground"]
        return bool(found)

    robot.until(look, draw())
    # At the picture's stamp and a little later: Nav2's layers ask for 50 ms more.
    stamps = [t.header.stamp.sec + t.header.stamp.nanosec * 1e-9 for t in found]
    assert stamps[1] - stamps[0] > 0.05, stamps
    sent = found[-1]
    assert sent.header.frame_id == OPTICAL
    t, q = sent.transform.translation, sent.transform.rotation
    # Straight down from the camera, as the camera sees it.
    down = turn(PITCH).T @ [0.0, 0.0, -CAMERA_Z]
    assert np.allclose([t.x, t.y, t.z], down, atol=1e-6)
    expected = quaternion(turn(PITCH).T)
    assert abs(abs(np.dot([q.x, q.y, q.z, q.w], expected)) - 1.0) < 1e-6


def test_what_is_missing_is_said_and_taken_up_when_it_comes(start, peer, tmp_path) -> None:
    robot = Robot(start, peer, tmp_path)
    robot.info = None
    picture = draw()
    robot.until_said("no camera_info on /camera/camera_info", picture)
    assert not robot.scans
    robot.info = CameraInfo(width=WIDTH, height=HEIGHT)
    robot.until_said("not calibrated", picture)
    robot.info = camera_info()
    robot.until_said("neither base_footprint nor base_link", picture)
    robot.mount("base_link")
    robot.until(lambda: bool(robot.scans), picture)
    check_scan(robot.scans[-1])
    # A better calibrated picture of another size: the same room.
    robot.scans.clear()
    robot.info = camera_info(2)
    robot.until(lambda: bool(robot.scans), draw(2))
    check_scan(robot.scans[-1])
    # Twice the picture with the calibration of the single one: scaled.
    robot.info = camera_info()
    robot.show(draw(2))
    before = len(robot.scans)
    robot.until(lambda: len(robot.scans) > before + 2, draw(2))
    check_scan(robot.scans[-1])


def calibrated_once(start, peer, folder: Path) -> tuple[Robot, object]:
    """A robot whose calibration was sent once, before, and who sent it."""
    kept = peer.publisher(CameraInfo, "/calibration", LATCHED)
    kept.publish(camera_info())
    robot = Robot(start, peer, folder, {"ground": {"camera_info_topic": "/calibration"}})
    robot.info = None
    robot.mount()
    return robot, kept


def test_calibration_that_was_sent_once_is_taken(start, peer, tmp_path) -> None:
    robot, _ = calibrated_once(start, peer, tmp_path)
    picture = draw()
    robot.until(lambda: bool(robot.scans), picture)
    check_scan(robot.scans[-1])


def test_who_comes_and_goes_leaves_one_subscription_to_a_calibration_that_was_sent_once(start, peer, tmp_path) -> None:
    robot, kept = calibrated_once(start, peer, tmp_path)
    picture = draw()
    listening = next(one for one in peer.node.subscriptions if one.topic_name == "/squeezenet/scan")
    for _ in range(4):
        robot.until(lambda: bool(robot.scans), picture)
        check_scan(robot.scans[-1])
        peer.node.destroy_subscription(listening)
        for _ in range(5):
            robot.show(picture)
            wait_a_moment(0.1)
        robot.scans.clear()
        listening = peer.node.create_subscription(LaserScan, "/squeezenet/scan", robot.scans.append, 10)
    assert kept.get_subscription_count() == 1


@pytest.mark.parametrize("focal", [None, 0.0, 1.0], ids=["no camera_info", "zeros", "an identity"])
def test_parameters_stand_in_for_calibration_and_tf(start, peer, tmp_path, focal) -> None:
    hfov = 2 * math.degrees(math.atan(WIDTH / 2 / FOCAL))
    ground = {"height_m": CAMERA_Z, "pitch_deg": math.degrees(PITCH), "hfov_deg": hfov}
    robot = Robot(start, peer, tmp_path, {"ground": ground})
    robot.info = None if focal is None else camera_info(focal=focal)
    robot.until(lambda: robot.infos.get_subscription_count() > 0, draw())
    robot.scans.clear()
    robot.until(lambda: len(robot.scans) > 5, draw())
    check_scan(robot.scans[-1])
    robot.until_said("ground.height_m", draw())
    robot.until_said("ground.hfov_deg", draw())


def test_ground_above_the_horizon_is_not_known_and_said(start, peer, tmp_path) -> None:
    robot = Robot(start, peer, tmp_path)
    robot.mount(rotation=turn(0.0))
    words = "ground above the horizon"
    robot.until_said(words, draw())
    assert all(math.isnan(at(robot.scans[-1], degrees)) for degrees in (25.0, -30.0))
    robot.until(lambda: words in robot.process.log(), draw())
    robot.mount()
    robot.until(lambda: at(robot.scans[-1], 25.0) == math.inf, draw())
    check_scan(robot.scans[-1])
    assert robot.process.log().count(words) == 1
    robot.until(lambda: not any(words in v.value for s in robot.diagnostics.statuses()[-3:] for v in s.values), draw())


def test_a_broken_chain_names_the_missing_part(start, peer, tmp_path) -> None:
    robot = Robot(start, peer, tmp_path, {"ground": {"frame": "base_footprint"}})
    robot.fixed.publish(TFMessage(transforms=[
        transform("camera_mount", OPTICAL, **MOUNT), transform("base_footprint", "base_link"),
    ]))
    robot.until_said("hangs on camera_mount", draw())
    assert not robot.scans


def test_a_chain_of_many_latched_publishers_is_taken_up_whole(start, peer, tmp_path) -> None:
    frames = ["base_footprint", *(f"link{i}" for i in range(39)), OPTICAL]
    links = [transform(parent, child) for parent, child in zip(frames, frames[1:])]
    links[0] = transform(*frames[:2], **MOUNT)
    for link in links:
        peer.publisher(TFMessage, "/tf_static", LATCHED).publish(TFMessage(transforms=[link]))
    robot = Robot(start, peer, tmp_path)
    robot.until(lambda: any(np.isfinite(scan.ranges).any() for scan in robot.scans), draw(), timeout=40.0)


@pytest.mark.parametrize("late_s", [0.0, 0.03])
def test_a_camera_that_nods_is_followed_by_the_pictures_stamp(start, peer, tmp_path, late_s) -> None:
    robot = Robot(start, peer, tmp_path, {"ground": {"tf_wait_ms": 500.0}})
    pictures = {pitch: draw(pitch=pitch) for pitch in (0.25, 0.35)}
    robot.fixed.publish(TFMessage(transforms=[transform("base_footprint", "neck", xyz=(0.0, 0.0, CAMERA_Z))]))
    second = 1_000_000_000
    now = peer.node.get_clock().now().nanoseconds
    for step in range(200):
        pitch = 0.25 if step % 2 else 0.35
        stamp = now + step * second // 10
        edges = [stamp - second // 100, stamp + second // 100]
        nods = [transform("neck", OPTICAL, Time(nanoseconds=at).to_msg(), rotation=turn(pitch)) for at in edges]
        if late_s == 0.0:
            robot.moving.publish(TFMessage(transforms=nods))
        robot.show(pictures[pitch], Time(nanoseconds=stamp).to_msg())
        if late_s > 0.0:
            # After the picture, which waits for it.
            wait_a_moment(late_s)
            robot.moving.publish(TFMessage(transforms=nods))
        wait_a_moment(0.05)
        if len(robot.scans) >= 12:
            break
    assert len(robot.scans) >= 12, robot.process.log()
    for scan in robot.scans[2:]:
        assert abs(at(scan, 0.0) - 1.2) < 0.03, at(scan, 0.0)


def test_time_that_goes_back_is_a_new_beginning(start, peer, tmp_path) -> None:
    robot = Robot(start, peer, tmp_path)
    robot.mount()
    picture = draw()

    def drive(from_s: float) -> None:
        robot.scans.clear()

        def show() -> bool:
            show.count += 1
            stamp = Time(nanoseconds=int((from_s + 0.1 * show.count) * 1e9)).to_msg()
            robot.moving.publish(TFMessage(transforms=[transform("odom", "base_footprint", stamp)]))
            robot.show(picture, stamp)
            wait_a_moment(0.1)
            return len(robot.scans) > 3

        show.count = 0
        wait(show, 20, robot.process.log)
        check_scan(robot.scans[-1])

    drive(500.0)
    drive(10.0)


class TwoCameras(Robot):
    """The same with a second camera."""

    CAMERAS = ("front", "rear")

    def __init__(self, start, peer, folder: Path, rear_mount: dict) -> None:
        topics = {name: {"image_topic": f"/{name}/image_raw"} for name in self.CAMERAS}
        super().__init__(start, peer, folder, {"cameras": list(self.CAMERAS), **topics}, camera="/front")
        self.rear, self.rear_info = peer.publisher(Image, "/rear/image_raw"), peer.publisher(CameraInfo, "/rear/camera_info")
        self.fixed.publish(TFMessage(transforms=[transform("base_footprint", OPTICAL, **MOUNT),
                                                 transform("base_footprint", "rear_optical", **rear_mount)]))
        peer.wait_subscribed(self.rear)

    def show_both(self, front: np.ndarray, rear: np.ndarray) -> None:
        self.show(front)
        message = image_message(rear)
        message.header.frame_id, message.header.stamp = "rear_optical", self.peer.stamp()
        self.rear_info.publish(camera_info())
        self.rear.publish(message)


def cost_at(grid: OccupancyGrid, x: float, y: float) -> int:
    origin, resolution = grid.info.origin.position, grid.info.resolution
    cells = np.array(grid.data).reshape(grid.info.height, grid.info.width)
    return cells[int((y - origin.y) / resolution), int((x - origin.x) / resolution)]


def test_two_cameras_have_a_ground_each(start, peer, tmp_path) -> None:
    robot = TwoCameras(start, peer, tmp_path, MOUNT)
    scans = {name: peer.collect(LaserScan, f"/squeezenet/{name}/scan") for name in robot.CAMERAS}
    picture, near = draw(), draw(box=(0.8, 1.0, -0.3, 0.2, 0.5))
    for _ in range(100):
        robot.show_both(picture, near)
        wait_a_moment(0.1)
        if all(scans.values()):
            break
    assert all(scans.values()), robot.process.log()
    check_scan(scans["front"][-1])
    assert scans["rear"][-1].header.frame_id == "rear_optical_ground"
    assert abs(at(scans["rear"][-1], 0.0) - 0.8) < 0.03


def test_calibration_is_expected_beside_the_remapped_pictures(start, peer, tmp_path) -> None:
    robot = Robot(start, peer, tmp_path, camera="/front", arguments=["-r", "/camera/image_raw:=/front/image_raw"])
    robot.mount()
    robot.until(lambda: bool(robot.scans), draw())
    check_scan(robot.scans[-1])


def test_the_map_remembers_with_odometry_and_stands_in_odom(start, peer, tmp_path) -> None:
    robot = Robot(start, peer, tmp_path)
    maps = peer.collect(OccupancyGrid, "/squeezenet/local_map", RELIABLE)
    robot.mount()
    picture = draw()
    robot.until(lambda: bool(maps), picture)
    assert maps[-1].header.frame_id != "odom", "without odometry the map is the robot's"
    maps.clear()

    def show() -> bool:
        now = peer.node.get_clock().now().nanoseconds
        ends = [Time(nanoseconds=now - 10_000_000).to_msg(), Time(nanoseconds=now + 300_000_000).to_msg()]
        moves = [transform("odom", "base_footprint", end, xyz=(3.0, 1.0, 0.0)) for end in ends]
        robot.moving.publish(TFMessage(transforms=moves))
        robot.show(picture)
        wait_a_moment(0.1)
        return any(m.header.frame_id == "odom" for m in maps)

    wait(show, 20, robot.process.log)
    cost = partial(cost_at, [m for m in maps if m.header.frame_id == "odom"][-1])

    # The box's face stands 1.2 m before the camera, which stands 0.2 m before the robot's middle.
    face = 3.0 + CAMERA_X + 1.2
    assert cost(face + 0.02, 1.0) > 90
    assert cost(face - 0.3, 1.0) < 10
    assert cost(face + 0.25, 1.0) == -1 and cost(2.0, 1.0) == -1


def test_odometry_that_comes_after_the_picture_places_it_all_the_same(start, peer, tmp_path) -> None:
    robot = Robot(start, peer, tmp_path)
    maps = peer.collect(OccupancyGrid, "/squeezenet/local_map", RELIABLE)
    robot.mount()
    picture = draw()

    def is_in_odom() -> list[bool]:
        return [m.header.frame_id == "odom" for m in maps]

    def show() -> bool:
        robot.show(picture)
        wait_a_moment(0.03)
        robot.moving.publish(TFMessage(transforms=[transform("odom", "base_footprint", peer.stamp(), xyz=(3.0, 1.0, 0.0))]))
        wait_a_moment(0.07)
        return sum(is_in_odom()) >= 8

    wait(show, 20, robot.process.log)
    assert all(is_in_odom()[is_in_odom().index(True) :]), "once there, it stays there"
    assert cost_at(maps[-1], 3.0 + CAMERA_X + 1.22, 1.0) > 90


def test_one_map_of_two_cameras_goes_with_the_robot(start, peer, tmp_path) -> None:
    backwards = np.diag([-1.0, -1.0, 1.0]) @ turn(PITCH)
    robot = TwoCameras(start, peer, tmp_path, {"xyz": (-0.5, 0.0, CAMERA_Z), "rotation": backwards})
    maps = peer.collect(OccupancyGrid, "/squeezenet/local_map", RELIABLE)
    ahead, behind = draw(), draw(box=(0.8, 1.0, -0.3, 0.2, 0.5))

    def cost(x: float, y: float) -> int:
        return cost_at(maps[-1], x, y)

    # The robot stands at (3, 1); the faces of the boxes are 1.2 m before one camera and 0.8 m behind the other.
    faces = 3.0 + CAMERA_X + 1.2, 3.0 - 0.5 - 0.8

    def show() -> bool:
        now = peer.node.get_clock().now().nanoseconds
        ends = [Time(nanoseconds=now - 10_000_000).to_msg(), Time(nanoseconds=now + 300_000_000).to_msg()]
        robot.moving.publish(TFMessage(transforms=[transform("odom", "base_footprint", end, xyz=(3.0, 1.0, 0.0)) for end in ends]))
        robot.show_both(ahead, behind)
        wait_a_moment(0.1)
        return bool(maps) and maps[-1].header.frame_id == "odom" and cost(faces[0] + 0.02, 1.0) > 90 and cost(faces[1] - 0.02, 1.0) > 90

    wait(show, 20, robot.process.log)
    assert cost(faces[0] - 0.3, 1.0) < 10 and cost(faces[1] + 0.3, 1.0) < 10, "both sides are free before the boxes"
    assert cost(3.0, 1.0) == -1, "under the robot nothing is seen"
    origins = {(round(m.info.origin.position.x, 3), round(m.info.origin.position.y, 3)) for m in maps if m.header.frame_id == "odom"}
    assert len(origins) == 1, "the window stays with the robot, whichever camera saw last"
