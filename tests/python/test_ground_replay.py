"""A drive over DDS and the same drive replayed have the same ground, byte for byte."""

from __future__ import annotations

import math
import subprocess
from pathlib import Path

import colour_model
import numpy as np
from conftest import LATCHED, RELIABLE, Peer, binary, image_message, wait
from nav_msgs.msg import OccupancyGrid
from rosbags.rosbag2 import Reader, StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from sensor_msgs.msg import CameraInfo, Image, LaserScan, PointCloud2
from test_ground import CAMERA_Z, OPTICAL, PITCH, camera_info, draw, quaternion, turn, wait_a_moment
from tf2_msgs.msg import TFMessage

FRAMES = 12
START_NS, STEP_NS = 1_700_000_000_000_000_000, 100_000_000
TOPICS = {"/tf": TFMessage, "/camera/camera_info": CameraInfo, "/camera/image_raw": Image}
OUTPUTS = {
    "scan": LaserScan, "points": PointCloud2, "obstacle_points": PointCloud2, "ground_points": PointCloud2,
    "local_map": OccupancyGrid,
}
# A frame's tf waits for the sample after it, however busy the machine.
PARAMETERS = {"ground": {"tf_wait_ms": 1000.0, "camera_info_topic": "camera/camera_info"}, "inference": {"provider": "cpu"}, "input": {"max_age_ms": 0.0}}
# The camera's calibration comes with the third picture.
UNCALIBRATED = 2


def pitch_of(index: int) -> float:
    return PITCH + 0.04 * (-1) ** index


def record(path: Path) -> None:
    """A robot that drives towards a box and nods: its neck moves between the pictures, so that tf has to be interpolated."""
    store = get_typestore(Stores.ROS2_JAZZY)
    types = store.types
    time_type, header = types["builtin_interfaces/msg/Time"], types["std_msgs/msg/Header"]
    vector, rotation = types["geometry_msgs/msg/Vector3"], types["geometry_msgs/msg/Quaternion"]
    pose, stamped = types["geometry_msgs/msg/Transform"], types["geometry_msgs/msg/TransformStamped"]
    tf_message = "tf2_msgs/msg/TFMessage"
    store.register(get_types_from_msg("geometry_msgs/TransformStamped[] transforms", tf_message))

    def at(ns: int):
        return time_type(ns // 10**9, ns % 10**9)

    def link(ns: int, parent: str, child: str, xyz=(0.0, 0.0, 0.0), turned=None):
        q = quaternion(np.eye(3) if turned is None else turned)
        return stamped(header(at(ns), parent), child, pose(vector(*map(float, xyz)), rotation(*q)))

    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        def channel(topic: str, name: str):
            connection = writer.add_connection(topic, name, typestore=store)
            return lambda ns, message: writer.write(connection, ns, store.serialize_cdr(message, name))

        tf_static, tf = channel("/tf_static", tf_message), channel("/tf", tf_message)
        info = channel("/camera/camera_info", "sensor_msgs/msg/CameraInfo")
        image = channel("/camera/image_raw", "sensor_msgs/msg/Image")
        known = camera_info()
        tf_static(START_NS, types[tf_message]([link(0, "base_footprint", "neck", (0.1, 0.0, CAMERA_Z))]))
        for index in range(FRAMES):
            ns = START_NS + index * STEP_NS
            driven = (0.05 * index, 0.0, 0.0)
            for edge in (ns - STEP_NS // 10, ns + STEP_NS // 10):
                links = [link(edge, "odom", "base_footprint", driven), link(edge, "neck", OPTICAL, turned=turn(pitch_of(index)))]
                tf(ns - 10, types[tf_message](links))
            if index >= UNCALIBRATED:
                info(ns - 5, types["sensor_msgs/msg/CameraInfo"](
                    header(at(ns), OPTICAL), known.height, known.width, "plumb_bob", np.zeros(5), np.array(known.k),
                    np.zeros(9), np.zeros(12), 0, 0, types["sensor_msgs/msg/RegionOfInterest"](0, 0, 0, 0, False)))
            box = (1.6 - driven[0], 1.8 - driven[0], -0.3, 0.2, 0.5)
            picture = draw(pitch=pitch_of(index), box=box)
            height, width, _ = picture.shape
            image(ns, types["sensor_msgs/msg/Image"](header(at(ns), OPTICAL), height, width, "rgb8", 0, 3 * width, picture.ravel()))


def play(peer: Peer, bag: Path, answers: list, log) -> None:
    """A picture at a time: the next one waits for the answer to the last."""
    publishers = {topic: peer.publisher(of, topic) for topic, of in TOPICS.items()}
    publishers["/tf_static"] = peer.publisher(TFMessage, "/tf_static", LATCHED)
    # Calibration and tf are subscribed to as a picture comes whose ground is wanted.
    peer.answer(publishers["/camera/image_raw"], image_message(draw()), answers)
    answers.clear()
    for publisher in publishers.values():
        peer.wait_subscribed(publisher)
    with Reader(bag) as reader:
        for connection, _, payload in reader.messages():
            if connection.topic == "/camera/image_raw":
                # What it needs arrives on topics of their own, in any order.
                wait_a_moment(0.3)
            seen = len(answers)
            publishers[connection.topic].publish(bytes(payload))
            if connection.topic == "/camera/image_raw":
                wait(lambda seen=seen: len(answers) > seen, 10, log)


def replayed(bag: Path, out: Path, model: Path, folder: Path) -> dict[str, list[bytes]]:
    parameters = folder / "parameters.yaml"
    parameters.write_text("/squeezenet:\n  ros__parameters:\n    ground: {tf_wait_ms: 1000.0, camera_info_topic: camera/camera_info}\n")
    done = subprocess.run(
        [binary(), "replay", str(bag), "--out", str(out), "--outputs", ",".join(OUTPUTS), "--model", str(model),
         "--params-file", str(parameters)],
        capture_output=True, text=True, timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert f"in {UNCALIBRATED} of {FRAMES} frames: no camera_info on /camera/camera_info" in done.stdout, done.stdout
    found: dict[str, list[bytes]] = {}
    with Reader(out) as reader:
        for connection, _, payload in reader.messages():
            found.setdefault(connection.topic, []).append(bytes(payload))
    return found


def test_a_drive_and_its_replay_have_the_same_ground(start, peer: Peer, tmp_path: Path) -> None:
    bag = tmp_path / "drive"
    record(bag)
    model = colour_model.write(tmp_path)
    offline = replayed(bag, tmp_path / "answers.mcap", model, tmp_path)
    process = start({"model": str(model), **PARAMETERS})
    live: dict[str, list[bytes]] = {name: [] for name in OUTPUTS}
    for name, of in OUTPUTS.items():
        peer.node.create_subscription(of, f"/squeezenet/{name}", live[name].append, RELIABLE, raw=True)
        peer.wait_published(f"/squeezenet/{name}")
    masks = peer.collect(Image, "/squeezenet/mask")
    play(peer, bag, masks, process.log)
    good = FRAMES - UNCALIBRATED
    wait(lambda: all(len(live[name]) == good for name in OUTPUTS if name != "local_map"), 10, process.log)
    assert len(masks) == FRAMES
    for name in OUTPUTS:
        there, here = offline[f"/squeezenet/{name}"], live[name]
        assert len(there) == len(here) > 0, name
        for index, (a, b) in enumerate(zip(there, here, strict=True)):
            # DDS fills up to four bytes, and says in the header by how many.
            assert a[4:] == b[4 : len(a)] and b[len(a) :] in (b"", b"\0", b"\0\0", b"\0\0\0"), f"{name} {index} differs"
    assert len(offline["/tf"]) == good
    assert len(set(offline["/squeezenet/scan"])) == good


def test_the_replayed_scan_sees_the_box_come_nearer(tmp_path: Path) -> None:
    bag = tmp_path / "drive"
    record(bag)
    offline = replayed(bag, tmp_path / "answers.mcap", colour_model.write(tmp_path), tmp_path)
    store = get_typestore(Stores.ROS2_JAZZY)
    scans = [store.deserialize_cdr(one, "sensor_msgs/msg/LaserScan") for one in offline["/squeezenet/scan"]]
    for index, scan in enumerate(scans, UNCALIBRATED):
        ahead = scan.ranges[round(-scan.angle_min / scan.angle_increment)]
        assert math.isclose(ahead, 1.6 - 0.05 * index, abs_tol=0.04), (index, ahead)
    maps = [store.deserialize_cdr(one, "nav_msgs/msg/OccupancyGrid") for one in offline["/squeezenet/local_map"]]
    assert maps[-1].header.frame_id == "odom" and (np.asarray(maps[-1].data) == 100).any()
