"""Every output of a picture whose right answer is known: types, headers, sizes and values, on the graph."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
from colour_model import FLOOR, HEIGHT, SKY, WALL, WIDTH
from conftest import LATCHED, RELIABLE, Peer, wait
from diagnostic_msgs.msg import DiagnosticStatus
from PIL import Image as Picture
from sensor_msgs.msg import CompressedImage, Image
from test_ground import OPTICAL, Robot, draw
from test_parameters import Parameters
from vision_msgs.msg import Detection2DArray, LabelInfo, VisionInfo

PICTURE = draw()
# Where each colour is, without the rows and columns that resampling may mix.
AREAS = {name: (PICTURE == colour).all(2) for name, colour in {"floor": FLOOR, "wall": WALL, "sky": SKY}.items()}


def plane(message: Image) -> np.ndarray:
    assert (message.encoding, message.width, message.height, message.step) == ("mono8", WIDTH, HEIGHT, WIDTH)
    return np.frombuffer(bytes(message.data), np.uint8).reshape(HEIGHT, WIDTH)


def means(floor: int, wall: int, sky: int) -> Callable[[Image], None]:
    def check(message: Image) -> None:
        ids = plane(message)
        for name, value in {"floor": floor, "wall": wall, "sky": sky}.items():
            assert (ids[AREAS[name]] == value).mean() > 0.99, (name, np.unique(ids[AREAS[name]]))

    return check


def check_confidence(message: Image) -> None:
    sure = plane(message)
    # exp(15.9) against 1: as sure as can be, but for edges.
    assert all((sure[area] == 255).mean() > 0.95 for area in AREAS.values())


def check_label_info(message: LabelInfo) -> None:
    names = {one.class_id: one.class_name for one in message.class_map}
    assert names == {0: "traversable", 1: "caution", 2: "obstacle", 3: "background"}


def check_vision_info(message: VisionInfo) -> None:
    assert message.method == "colours (fp32)" and message.database_location.endswith("colours.yaml")
    assert message.database_version == 1


def check_obstacles(message: Detection2DArray) -> None:
    (wall,) = message.detections
    (hypothesis,) = wall.results
    assert hypothesis.hypothesis.class_id == "wall" and hypothesis.hypothesis.score > 0.95
    rows, columns = AREAS["wall"].nonzero()
    said = [wall.bbox.center.position.x, wall.bbox.center.position.y, wall.bbox.size_x, wall.bbox.size_y]
    true = [(columns.min() + columns.max() + 1) / 2, (rows.min() + rows.max() + 1) / 2, np.ptp(columns) + 1, np.ptp(rows) + 1]
    assert said == pytest.approx(true, abs=2.5)


def check_overlay(pixels: np.ndarray) -> None:
    assert pixels.shape == (HEIGHT, WIDTH, 3)
    # The mask's colours lie over the picture's, and text over both.
    changed = (np.abs(pixels.astype(int) - PICTURE) > 24).any(2)
    assert changed[AREAS["floor"]].mean() > 0.9 and len(np.unique(pixels.reshape(-1, 3), axis=0)) > 20


def check_raw_overlay(message: Image) -> None:
    assert message.encoding == "rgb8" and message.step == 3 * WIDTH
    check_overlay(np.frombuffer(bytes(message.data), np.uint8).reshape(HEIGHT, WIDTH, 3))


def check_jpeg_overlay(message: CompressedImage) -> None:
    assert "jpeg" in message.format
    check_overlay(np.asarray(Picture.open(io.BytesIO(bytes(message.data))).convert("RGB")))


def check_timing(message: DiagnosticStatus) -> None:
    values = {pair.key: pair.value for pair in message.values}
    parts = [float(values[stage]) for stage in ("decode", "preprocess", "inference", "postprocess")]
    assert all(part >= 0 for part in parts) and float(values["total"]) >= sum(parts) - 0.1
    assert values["stamp"] and values["state"] == {b"\0": "ok", b"\1": "degraded", b"\2": "blind", b"\3": "stale"}[message.level]


class Output(NamedTuple):
    """A topic below the node's name, and what is right on it."""

    kind: type
    check: Callable
    qos: object = RELIABLE
    # Whether it carries the picture's header; latched ones and timing have their own.
    has_header: bool = True


OUTPUTS = {
    "mask": Output(Image, means(0, 2, 3)),
    "confidence": Output(Image, check_confidence),
    "traversability": Output(Image, means(0, 254, 255)),
    "obstacles": Output(Detection2DArray, check_obstacles),
    "overlay": Output(Image, check_raw_overlay),
    "overlay/compressed": Output(CompressedImage, check_jpeg_overlay),
    "label_info": Output(LabelInfo, check_label_info, LATCHED, has_header=False),
    "vision_info": Output(VisionInfo, check_vision_info, LATCHED, has_header=False),
    "timing": Output(DiagnosticStatus, check_timing, has_header=False),
}


def test_every_output_says_what_is_in_the_picture(start, peer: Peer, tmp_path) -> None:
    robot = Robot(start, peer, tmp_path)
    received = {name: peer.collect(one.kind, f"/squeezenet/{name}", one.qos) for name, one in OUTPUTS.items()}
    for name in OUTPUTS:
        peer.wait_published(f"/squeezenet/{name}")
    stamp = peer.stamp()
    robot.show(PICTURE, stamp)
    wait(lambda: all(received.values()), 20, lambda: f"{[n for n, m in received.items() if not m]}\n{robot.process.log()}")
    for name, one in OUTPUTS.items():
        message = received[name][-1]
        if one.has_header:
            assert (message.header.stamp, message.header.frame_id) == (stamp, OPTICAL), name
        one.check(message)


@pytest.mark.parametrize("name", ["mask", "confidence", "traversability", "obstacles", "overlay", "overlay/compressed"])
def test_an_output_alone_is_answered_as_among_others(start, peer: Peer, tmp_path, name: str) -> None:
    robot, one = Robot(start, peer, tmp_path), OUTPUTS[name]
    received = peer.collect(one.kind, f"/squeezenet/{name}", one.qos)
    peer.wait_published(f"/squeezenet/{name}")
    robot.show(PICTURE)
    wait(lambda: received, 20, robot.process.log)
    one.check(received[-1])


def test_the_mask_takes_the_models_own_classes_while_it_runs(start, peer: Peer, tmp_path) -> None:
    robot = Robot(start, peer, tmp_path)
    masks = peer.collect(Image, "/squeezenet/mask")
    costs = peer.collect(Image, "/squeezenet/traversability")
    infos = peer.collect(LabelInfo, "/squeezenet/label_info", LATCHED)
    parameters = Parameters(peer)

    def names() -> dict[int, str]:
        return {one.class_id: one.class_name for one in infos[-1].class_map}

    def answer() -> None:
        stamp = peer.stamp()
        robot.show(PICTURE, stamp)
        wait(lambda: all(got and got[-1].header.stamp == stamp for got in (masks, costs)), 20, robot.process.log)

    own = {0: "floor", 1: "wall", 2: "sky"}
    for kind, named, check in (
        ("semantic", own, means(0, 1, 2)),
        ("traversability", {0: "traversable", 1: "caution", 2: "obstacle", 3: "background"}, means(0, 2, 3)),
    ):
        (result,) = parameters.set({"mask.kind": kind})
        assert result.successful, result.reason
        wait(lambda named=named: infos and names() == named, 20, lambda: f"{infos[-1:]}\n{robot.process.log()}")
        answer()
        check(masks[-1])
        # What a costmap takes is of the model's classes either way.
        means(0, 254, 255)(costs[-1])
