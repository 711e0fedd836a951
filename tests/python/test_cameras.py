"""Cameras that come and go while the node runs, the others undisturbed."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import yaml
from conftest import LATCHED, RELIABLE, image_message, photograph, wait
from rcl_interfaces.msg import Parameter, ParameterEvent, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from std_msgs.msg import String
from test_parameters import NODE, Parameters, plain
from vision_msgs.msg import Classification, VisionInfo

# Every answer counts here: none may be dropped on the way, in either direction.
DEEP = QoSProfile(depth=50, history=HistoryPolicy.KEEP_LAST, reliability=ReliabilityPolicy.RELIABLE)
# The least work: what is counted are frames, not what is seen.
QUICK = {"model": "squeezenet1_1_imagenet", "precision": "fp32"}


class Camera:
    """A camera of 320x240 at 15 Hz in a thread of its own; frames are numbered by their stamps."""

    def __init__(self, peer, topic: str, frame_id: str) -> None:
        self.source = peer.publisher(Image, topic, DEEP)
        self.message = image_message(photograph("coffee", (320, 240)))
        self.message.header.frame_id = frame_id
        self.sent, self.is_over = 0, False
        self.thread = threading.Thread(target=self.run, daemon=True)

    def start(self, peer) -> Camera:
        peer.wait_subscribed(self.source)
        # By now the subscriber has found the camera too.
        time.sleep(0.3)
        self.thread.start()
        return self

    def run(self) -> None:
        while not self.is_over:
            self.sent += 1
            self.message.header.stamp.sec = self.sent
            self.source.publish(self.message)
            time.sleep(1 / 15)

    def end(self) -> None:
        self.is_over = True
        if self.thread.is_alive():
            self.thread.join()

    def __enter__(self) -> Camera:
        return self

    def __exit__(self, *_) -> None:
        self.end()


def check_nothing_lost(camera: Camera, received: list, diagnostics) -> None:
    """Every frame since the first answer was received, and answered or replaced by a newer one."""
    counts: dict = {}

    def is_complete() -> bool:
        statuses = [status for status in diagnostics.statuses() if status.hardware_id == "front"]
        counts.update((pair.key, pair.value) for pair in (statuses[-1].values if statuses else []))
        return counts.get("frames received") == str(camera.sent)

    wait(is_complete, 10, lambda: f"{camera.sent} sent: {counts}")
    stamps = [message.header.stamp.sec for message in received]
    missing = set(range(stamps[0], camera.sent + 1)) - set(stamps)
    print(f"{camera.sent} frames sent, {len(stamps)} answered, {counts['frames replaced']} replaced by newer ones")
    assert stamps == sorted(stamps)
    # A processor that others keep busy may be late for one; then the newer one is taken.
    assert len(missing) <= int(counts["frames replaced"]), (missing, counts)


def answered(received: list, more: int = 5) -> None:
    """Until some more answers have come."""
    before = len(received)
    wait(lambda: len(received) >= before + more, 20, lambda: f"{len(received)} answers")


def silent(received: list) -> None:
    """Until nothing has come for a while in which a camera's frames would have been answered."""
    wait(lambda: is_still(received), 10, lambda: f"{len(received)} answers, and still more")


def is_still(received: list) -> bool:
    before = len(received)
    time.sleep(0.5)
    return len(received) == before


def names_of(peer) -> set[str]:
    """Topics that somebody publishes below the node's name."""
    return {
        name for name, _ in peer.node.get_topic_names_and_types()
        if name.startswith(f"{NODE}/") and peer.node.count_publishers(name)
    }


def test_a_second_camera_comes_and_goes_beside_the_first(start, peer) -> None:
    front_labels = peer.collect(Classification, f"{NODE}/front/labels", DEEP)
    rear_labels = peer.collect(Classification, f"{NODE}/rear/labels", DEEP)
    common = peer.collect(Classification, f"{NODE}/labels", DEEP)
    infos = peer.collect(VisionInfo, f"{NODE}/rear/vision_info", LATCHED)
    events = peer.collect(ParameterEvent, "/parameter_events", DEEP)
    diagnostics = peer.diagnostics()
    process = start({**QUICK, "cameras": ["front"], "front.image_topic": "/front/image"})
    parameters = Parameters(peer)
    peer.wait_published(f"{NODE}/front/labels")
    with Camera(peer, "/front/image", "front") as front, Camera(peer, "/rear/image", "rear") as rear:
        front.start(peer)
        wait(lambda: front_labels, 20, process.log)

        # With its topic in the same change; it is answered, and has parameters of its own.
        assert parameters.set_atomically({"cameras": ["front", "rear"], "rear.image_topic": "/rear/image"}).successful
        assert parameters.get("cameras", "rear.image_topic", "rear.labels.top_k") == [["front", "rear"], "/rear/image", 5]
        rear.start(peer)
        peer.wait_published(f"{NODE}/rear/labels")
        answered(rear_labels)
        wait(lambda: infos, 10)
        assert parameters.set({"rear.labels.top_k": 2})[0].successful
        wait(lambda: len(rear_labels[-1].results) == 2, 10)
        assert len(front_labels[-1].results) == 5
        assert {"front", "rear"} <= {message.header.frame_id for message in common}
        diagnostics.wait_for(lambda status: status.hardware_id == "rear" and status.level == b"\0")
        assert f"{NODE}/rear/mask" in names_of(peer)

        # It goes: nothing of it is left.
        assert parameters.set({"cameras": ["front"]})[0].successful
        assert parameters.get("rear.labels.top_k") == []
        assert not [name for name in parameters.list().names if name.startswith("rear.")]
        assert not parameters.set({"rear.labels.top_k": 3})[0].successful
        silent(rear_labels)
        wait(lambda: not [name for name in names_of(peer) if "/rear/" in name], 10, lambda: str(names_of(peer)))
        wait(lambda: rear.source.get_subscription_count() == 0, 10)
        diagnostics.received.clear()
        diagnostics.wait_for(lambda status: status.hardware_id == "front")
        diagnostics.wait_for(lambda status: status.hardware_id == "front")
        assert not [status for status in diagnostics.statuses() if status.hardware_id == "rear"]

        # It comes back, as new: what had been set for it is forgotten.
        seen = len(rear_labels)
        assert parameters.set_atomically({"cameras": ["rear", "front"], "rear.image_topic": "/rear/image"}).successful
        answered(rear_labels)
        assert all(len(message.results) == 5 for message in rear_labels[seen:])
        answered(front_labels)
        front.end()
        wait(lambda: front_labels[-1].header.stamp.sec == front.sent, 10)

    # All the while the first camera has lost nothing, and its subscription has stayed.
    check_nothing_lost(front, front_labels, diagnostics)
    assert process.log().count("subscribed to /front/image") == 1, process.log()
    own = [event for event in events if event.node == NODE]
    new = [{p.name: plain(p.value) for p in event.new_parameters} for event in own]
    deleted = [{p.name for p in event.deleted_parameters} for event in own]
    assert any(found.get("rear.image_topic") == "/rear/image" and "rear.labels.top_k" in found for found in new), new
    assert any({"rear.image_topic", "rear.labels.top_k"} <= found for found in deleted), deleted


def save(file: Path, parameters: dict) -> None:
    beside = file.with_suffix(".tmp")
    beside.write_text(yaml.safe_dump({"squeezenet": {"ros__parameters": parameters}}))
    beside.rename(file)


def test_the_saved_file_adds_and_removes_cameras(start, peer, tmp_path: Path) -> None:
    front_labels = peer.collect(Classification, f"{NODE}/front/labels", DEEP)
    rear_labels = peer.collect(Classification, f"{NODE}/rear/labels", DEEP)
    diagnostics = peer.diagnostics()
    file = tmp_path / "tuned.yaml"
    front_own = {"front": {"image_topic": "/front/image"}}
    rear_own = {"rear": {"image_topic": "/rear/image", "labels": {"top_k": 3}}}
    save(file, {**QUICK, "cameras": ["front"], **front_own})
    process = start(arguments=["--params-file", str(file)])
    parameters = Parameters(peer)
    peer.wait_published(f"{NODE}/front/labels")
    with Camera(peer, "/front/image", "front") as front, Camera(peer, "/rear/image", "rear") as rear:
        front.start(peer)
        wait(lambda: front_labels, 20, process.log)
        save(file, {**QUICK, "cameras": ["front", "rear"], **front_own, **rear_own})
        rear.start(peer)
        answered(rear_labels)
        assert parameters.get("rear.labels.top_k") == [3] and len(rear_labels[-1].results) == 3
        # Its section may stay in the file.
        save(file, {**QUICK, "cameras": ["front"], **front_own, **rear_own})
        process.wait_for("`cameras` does not name: rear")
        assert parameters.get("rear.labels.top_k") == []
        silent(rear_labels)
        # Then it holds for the camera that `ros2 param set` adds.
        assert parameters.set({"cameras": ["front", "rear"]})[0].successful
        assert parameters.get("rear.image_topic", "rear.labels.top_k") == ["/rear/image", 3]
        answered(rear_labels)
        # A name that is none changes nothing.
        save(file, {**QUICK, "cameras": ["front", "to the rear"], **front_own, **rear_own})
        process.wait_for("no name for a camera")
        answered(rear_labels)
        front.end()
        wait(lambda: front_labels[-1].header.stamp.sec == front.sent, 10)
    check_nothing_lost(front, front_labels, diagnostics)


def test_from_the_camera_without_a_name_to_named_ones_and_back(start, peer) -> None:
    labels = peer.collect(Classification, f"{NODE}/labels", DEEP)
    front_labels = peer.collect(Classification, f"{NODE}/front/labels", DEEP)
    process = start(QUICK)
    parameters = Parameters(peer)
    peer.wait_published(f"{NODE}/labels")
    with Camera(peer, "/camera/image_raw", "any") as camera:
        camera.start(peer)
        answered(labels)
        # The topic is the common one.
        assert parameters.set({"cameras": ["front"]})[0].successful
        answered(front_labels)
        process.wait_for("the camera without a name is removed")
        answered(labels)
        assert f"{NODE}/mask" in names_of(peer), "named cameras have the common topics"
        # `ros2 param set` sends an empty list as an array of bools.
        assert set_to_no_bools(parameters, "cameras").successful
        process.wait_for("camera front is removed")
        silent(front_labels)
        answered(labels)
        assert parameters.get("cameras") == [[]]
        wait(lambda: not [name for name in names_of(peer) if "/front/" in name], 10)


def set_to_no_bools(parameters: Parameters, name: str):
    value = ParameterValue(type=ParameterType.PARAMETER_BOOL_ARRAY)
    request = SetParameters.Request(parameters=[Parameter(name=name, value=value)])
    return parameters.call(SetParameters, "set_parameters", request).results[0]


def test_a_place_taught_before_is_recognised_by_a_camera_that_comes(start, peer, tmp_path: Path) -> None:
    process = start({"places.file": str(tmp_path / "places.bin"), "places.smoothing": 0.0, "cameras": ["front"]})
    parameters = Parameters(peer)
    places = peer.collect(Classification, f"{NODE}/rear/place", RELIABLE)
    teach = peer.publisher(String, f"{NODE}/learn_place")
    source = peer.publisher(Image, "/camera/image_raw")
    peer.wait_subscribed(teach)
    peer.wait_subscribed(source)
    teach.publish(String(data="kitchen"))

    def is_taught() -> bool:
        source.publish(image_message(photograph("coffee")))
        time.sleep(0.1)
        return "place kitchen" in process.log()

    wait(is_taught, 10, process.log)
    assert parameters.set({"cameras": ["rear"]})[0].successful
    peer.wait_published(f"{NODE}/rear/place")

    def is_known() -> bool:
        source.publish(image_message(photograph("coffee")))
        time.sleep(0.1)
        return bool(places) and [result.class_id for result in places[-1].results] == ["kitchen"]

    wait(is_known, 10, process.log)
