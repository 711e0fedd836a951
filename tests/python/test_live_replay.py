"""A recording played over DDS is answered as `squeezenet_node replay` answers it, frame by frame."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import BEST_EFFORT, Peer, binary, photograph, wait
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from rosbags.rosbag2 import Reader, StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image
from vision_msgs.msg import Classification

TOPIC = "/camera/image_raw"
LABELS, MASK = "/squeezenet/labels", "/squeezenet/mask"
SCENES = ["chelsea", "coffee", "astronaut"]
FRAMES = 30
START_NS = 1_700_000_000_000_000_000
RECORDED_HZ, PLAYED_HZ = 15, 8
# Left to measure for itself, either of the two might find another arithmetic the faster.
MODEL = {"model": "squeezenet1_1_street", "precision": "fp32"}
# The recorder keeps up; what it might not take at once waits.
RECORDER = QoSProfile(depth=2 * FRAMES, history=HistoryPolicy.KEEP_LAST, reliability=ReliabilityPolicy.RELIABLE)


def nanoseconds(stamp) -> int:
    return stamp.sec * 10**9 + stamp.nanosec


def write_bag(path: Path) -> None:
    """A camera that pans over photographs."""
    store = get_typestore(Stores.ROS2_JAZZY)
    image, header = store.types["sensor_msgs/msg/Image"], store.types["std_msgs/msg/Header"]
    stamp_type = store.types["builtin_interfaces/msg/Time"]
    pictures = [photograph(name, (760, 570)) for name in SCENES]
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        connection = writer.add_connection(TOPIC, image.__msgtype__, typestore=store)
        for index in range(FRAMES):
            picture = pictures[index * len(SCENES) // FRAMES]
            left, top = 4 * index, 3 * (FRAMES - index)
            rgb = np.ascontiguousarray(picture[top : top + 480, left : left + 640])
            stamp = START_NS + index * 10**9 // RECORDED_HZ
            stamped = header(stamp_type(stamp // 10**9, stamp % 10**9), "camera_link")
            message = image(stamped, 480, 640, "rgb8", 0, 3 * 640, rgb.ravel())
            # The bag's clock is a little behind the camera's stamps, as a recorder's is.
            writer.write(connection, stamp + 3_000_000, store.serialize_cdr(message, message.__msgtype__))


def play(peer: Peer, bag: Path, masks: list) -> None:
    """What `ros2 bag play --clock` does: /clock says when, then comes the picture.

    At PLAYED_HZ, or slower where the machine is too busy to answer so fast.
    """
    clock, camera = peer.publisher(Clock, "/clock"), peer.publisher(Image, TOPIC, BEST_EFFORT)
    peer.wait_subscribed(clock)
    peer.wait_subscribed(camera)
    with Reader(bag) as reader:
        for _, time_ns, payload in reader.messages():
            now = Clock()
            now.clock.sec, now.clock.nanosec = divmod(time_ns, 10**9)
            clock.publish(now)
            seen = len(masks)
            camera.publish(bytes(payload))
            time.sleep(1 / PLAYED_HZ)
            give_up = time.monotonic() + 1
            while len(masks) == seen and time.monotonic() < give_up:
                time.sleep(0.01)


def by_stamp(messages: list) -> dict:
    return {nanoseconds(message.header.stamp): message for message in messages}


def replayed(bag: Path, out: Path) -> tuple[dict, dict]:
    """Labels and masks of the command line, by stamp."""
    arguments = [text for name, value in MODEL.items() for text in (f"--{name}", value)]
    done = subprocess.run(
        [binary(), "replay", str(bag), "--out", str(out), "--outputs", "labels,mask", *arguments],
        capture_output=True, text=True, timeout=300,
    )
    assert done.returncode == 0, done.stderr
    store = get_typestore(Stores.ROS2_JAZZY)
    found: dict = {LABELS: [], MASK: []}
    with Reader(out) as reader:
        for connection in reader.connections:
            carried = get_types_from_msg(connection.msgdef.data, connection.msgtype)
            store.register({name: fields for name, fields in carried.items() if name not in store.types})
        for connection, _, payload in reader.messages():
            found[connection.topic].append(store.deserialize_cdr(payload, connection.msgtype))
    return by_stamp(found[LABELS]), by_stamp(found[MASK])


def test_the_live_node_answers_as_the_offline_replay(start, peer: Peer, tmp_path: Path) -> None:
    bag = tmp_path / "drive"
    write_bag(bag)
    labels, masks = peer.collect(Classification, LABELS, RECORDER), peer.collect(Image, MASK, RECORDER)
    # Stamps of 2023 are years too old, but for the recording's own clock.
    process = start({**MODEL, "use_sim_time": True, "input.max_age_ms": 1000.0})
    for topic in (LABELS, MASK):
        peer.wait_published(topic)
    play(peer, bag, masks)
    last = START_NS + (FRAMES - 1) * 10**9 // RECORDED_HZ
    for received in (labels, masks):
        wait(lambda received=received: last in by_stamp(received), 10, process.log)
    offline_labels, offline_masks = replayed(bag, tmp_path / "answers.mcap")
    live_labels, live_masks = by_stamp(labels), by_stamp(masks)
    assert len(offline_labels) == len(offline_masks) == FRAMES
    print(f"{len(live_labels)} of {FRAMES} frames answered live")
    assert len(live_labels) >= 0.8 * FRAMES, process.log()
    assert live_labels.keys() == live_masks.keys() <= offline_labels.keys()
    for stamp, live in live_labels.items():
        offline = offline_labels[stamp]
        assert live.header.frame_id == offline.header.frame_id
        assert [r.class_id for r in live.results] == [r.class_id for r in offline.results], stamp
        assert [r.score for r in live.results] == pytest.approx([r.score for r in offline.results], abs=1e-4)
    for stamp, live in live_masks.items():
        offline = offline_masks[stamp]
        assert (live.width, live.height, live.encoding) == (offline.width, offline.height, offline.encoding)
        assert bytes(live.data) == bytes(offline.data), f"the masks of {stamp} differ"
    assert len({bytes(mask.data) for mask in offline_masks.values()}) > FRAMES // 2, "the pictures are too alike"
