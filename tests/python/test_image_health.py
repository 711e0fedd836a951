"""A camera that shows nothing: the state says so, and by `health.action: unknown` the answer too."""

import numpy as np
import pytest
from conftest import BEST_EFFORT, image_message, photograph, wait
from diagnostic_msgs.msg import DiagnosticStatus
from sensor_msgs.msg import Image, LaserScan, PointCloud2

GROUND = {"image_topic": "/eye", "ground.height_m": 0.5, "ground.pitch_deg": 15.0, "ground.hfov_deg": 70.0}
SCENE = photograph("coffee")


class Eye:
    """Shows the node pictures, and finds what it answers to each by the stamp."""

    def __init__(self, start, peer, parameters: dict) -> None:
        self.peer = peer
        self.camera = peer.publisher(Image, "/eye", BEST_EFFORT)
        topics = {
            "mask": Image, "confidence": Image, "scan": LaserScan, "obstacle_points": PointCloud2,
            "ground_points": PointCloud2, "timing": DiagnosticStatus,
        }
        self.received = {name: peer.collect(kind, f"/squeezenet/{name}") for name, kind in topics.items()}
        self.diagnostics = peer.diagnostics()
        start({**GROUND, **parameters})
        peer.wait_subscribed(self.camera)
        for name in topics:
            peer.wait_published(f"/squeezenet/{name}")
        self.turn = 0

    def show(self, picture: np.ndarray, as_it_is: bool = False) -> dict:
        """All answers to one picture, which is shown again until they are there."""
        for _ in range(20):
            self.turn += 1
            # A camera's pictures differ: these by a row more or less.
            shown = picture if as_it_is else np.roll(picture, 1 + self.turn % 5, axis=0)
            message = image_message(shown)
            message.header.stamp = self.peer.stamp()
            self.camera.publish(message)
            stamp = message.header.stamp
            try:
                wait(lambda: all(self.answers(stamp).values()), 1.0)
                return self.answers(stamp)
            except AssertionError:
                continue
        raise AssertionError(f"no answer; there are {[name for name, a in self.answers(stamp).items() if a]}")

    def answers(self, stamp) -> dict:
        text = f"{stamp.sec}.{stamp.nanosec:09}"
        found = {}
        for name, messages in self.received.items():
            fits = (lambda m: value(m, "stamp") == text) if name == "timing" else (lambda m: m.header.stamp == stamp)
            found[name] = next((message for message in reversed(messages) if fits(message)), None)
        return found

    def until_ok(self) -> None:
        wait(lambda: value(self.show(SCENE)["timing"], "state") == "ok", 20, lambda: "the state stays bad")


def value(status: DiagnosticStatus, key: str) -> str | None:
    return next((pair.value for pair in status.values if pair.key == key), None)


def pixels(image: Image) -> np.ndarray:
    return np.frombuffer(image.data, np.uint8)


def check_sees(answer: dict) -> None:
    assert (pixels(answer["mask"]) != 255).any() and pixels(answer["confidence"]).any()


def check_knows_nothing(answer: dict) -> None:
    mask = pixels(answer["mask"])
    assert mask.size == SCENE.shape[0] * SCENE.shape[1] and (mask == 255).all()
    assert not pixels(answer["confidence"]).any()
    scan = np.array(answer["scan"].ranges)
    assert scan.size > 10 and np.isnan(scan).all()
    assert answer["obstacle_points"].width == 0 and answer["ground_points"].width == 0


FAULTS = {
    "dark": (SCENE // 30, "blind"),
    "blown_out": (np.minimum(SCENE.astype(int) * 6 + 60, 255).astype(np.uint8), "blind"),
    "covered": (np.random.default_rng(1).normal(90, 2, SCENE.shape).astype(np.uint8), "blind"),
    "noise": (np.random.default_rng(1).integers(0, 255, SCENE.shape, np.uint8), "degraded"),
}


def test_unknown_tells_nothing_of_a_faulty_picture(start, peer):
    eye = Eye(start, peer, {"health.action": "unknown"})
    eye.until_ok()
    check_sees(eye.show(SCENE))
    for fault, (picture, _) in FAULTS.items():
        answer = eye.show(picture)
        answer = eye.show(picture)
        assert value(answer["timing"], "image fault") == fault
        assert value(answer["timing"], "state") == "blind" and answer["timing"].level == DiagnosticStatus.ERROR
        check_knows_nothing(answer)
    said = eye.diagnostics.wait_for(lambda s: value(s, "image fault") == "noise")
    assert value(said, "state") == "blind" and "health.action" in said.message
    eye.show(SCENE)
    answer = eye.show(SCENE)
    check_sees(answer)
    assert value(answer["timing"], "image fault") is None


def test_report_says_what_is_wrong_and_since_when(start, peer):
    eye = Eye(start, peer, {})
    eye.until_ok()
    for fault, (picture, state) in FAULTS.items():
        eye.show(picture)
        answer = eye.show(picture)
        assert (value(answer["timing"], "image fault"), value(answer["timing"], "state")) == (fault, state)
        assert pixels(answer["confidence"]).any(), "the answer is as it was"
    before = eye.peer.stamp()
    first = eye.show(FAULTS["dark"][0])
    said = eye.diagnostics.wait_for(lambda s: value(s, "image fault") == "dark" and since(s) >= before.sec)
    assert said.level == DiagnosticStatus.ERROR and "lens cap" in said.message
    stamp = first["mask"].header.stamp
    assert since(said) <= stamp.sec + stamp.nanosec / 1e9 + 1e-3
    eye.until_ok()


def since(status: DiagnosticStatus) -> float:
    return float(value(status, "image fault since") or "nan")


@pytest.mark.parametrize("action", ["report", "unknown"])
def test_a_frozen_camera_is_found(start, peer, action):
    eye = Eye(start, peer, {"health.action": action, "health.frozen_s": 0.5})
    eye.until_ok()
    frozen: dict = {}

    def is_found() -> bool:
        frozen.update(eye.show(SCENE, as_it_is=True))
        return value(frozen["timing"], "image fault") == "frozen"

    wait(is_found, 20, lambda: "the camera is not found frozen")
    assert value(frozen["timing"], "state") == "blind"
    (check_knows_nothing if action == "unknown" else check_sees)(frozen)
    eye.until_ok()
