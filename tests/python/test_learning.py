"""Learning by driving, on the graph: a robot drives over floor that its model takes for wall."""

from __future__ import annotations

import fcntl
import json
import math
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from colour_model import FLOOR, HEIGHT, WIDTH
from conftest import Peer, binary, wait
from sensor_msgs.msg import Image
from std_msgs.msg import Bool, Empty
from std_srvs.srv import Trigger
from test_ground import Robot, draw, transform, wait_a_moment
from test_parameters import Parameters
from tf2_msgs.msg import TFMessage

# A little more red than green: a wall to the model, by a margin of 1.25.
ODD = (120, 100, 0)
# Drawn without texture and always the same, such pictures are those of a covered lens or a frozen camera, of which
# nothing is learnt.
SMOOTH = {"covered": 0.0, "blurred": 0.0, "torn": 0.0, "frozen_s": 0.0}
STEP_M, STEP_NS = 0.1, 200_000_000
NOWHERE = (50.0, 50.1, 0.0, 0.1, 0.1)
# Two metres before the robot, and above the horizon.
AHEAD, SKY_ROW = (145, WIDTH // 2), 20
OBSTACLE, GROUND = 2, 0


def odd_floor() -> np.ndarray:
    picture = draw(box=NOWHERE)
    picture[(picture == FLOOR).all(2)] = ODD
    return picture


class Driver:
    """A robot that drives straight on, and the masks of what it sees."""

    def __init__(self, start, peer: Peer, folder: Path, start_ns: int = 1_700_000_000_000_000_000, **parameters) -> None:
        learning = {"enabled": True, "file": str(folder / "learnt.json"), **parameters}
        settings = {"learning": learning, "ground": {"tf_wait_ms": 200.0}, "health": SMOOTH}
        self.robot = Robot(start, peer, folder, settings, has_features=True)
        self.peer, self.process = peer, self.robot.process
        self.masks = peer.collect(Image, "/squeezenet/mask")
        peer.wait_published("/squeezenet/mask")
        self.ns, self.x = start_ns, 0.0
        self.robot.mount()
        self.picture = odd_floor()
        # Calibration and tf are subscribed to as pictures come.
        self.see()
        peer.wait_subscribed(self.robot.moving)
        peer.wait_subscribed(self.robot.infos)

    def see(self) -> np.ndarray:
        """The mask of what is before the robot."""
        self.ns += STEP_NS
        stamp = Time(sec=self.ns // 10**9, nanosec=self.ns % 10**9)
        pose = transform("odom", "base_footprint", stamp, (self.x, 0.0, 0.0))
        self.robot.moving.publish(TFMessage(transforms=[pose]))
        seen = len(self.masks)
        self.robot.show(self.picture, stamp)
        wait(lambda: len(self.masks) > seen, 10, self.process.log)
        return np.frombuffer(bytes(self.masks[-1].data), np.uint8).reshape(HEIGHT, WIDTH)

    def drive(self, metres: float) -> np.ndarray:
        for _ in range(round(abs(metres) / STEP_M)):
            self.x += math.copysign(STEP_M, metres)
            mask = self.see()
        return mask

    def call(self, name: str) -> Trigger.Response:
        return self.peer.trigger(f"/squeezenet/learning/{name}")


def shown(path: Path) -> dict:
    done = subprocess.run([binary(), "learning", "show", str(path), "--json"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_robots_wheels_teach_and_it_is_kept_and_forgotten(start, peer: Peer, tmp_path: Path) -> None:
    driver = Driver(start, peer, tmp_path)
    shipped = driver.see()
    assert shipped[AHEAD] == OBSTACLE
    assert not driver.call("mark_blocked").success, "nothing was driven yet"
    learnt = driver.drive(8.0)
    assert learnt[AHEAD] == GROUND, driver.process.log()
    assert (learnt[:SKY_ROW] == shipped[:SKY_ROW]).all()

    saved = driver.call("save")
    assert saved.success, saved.message
    record = shown(tmp_path / "learnt.json")
    assert record["model"] == "colours" and record["features"] == 3
    assert 7.5 < record["counts"]["metres"] < 8.2 and record["counts"]["ground_cells"] > 500
    said = driver.robot.diagnostics
    wait(lambda: f"{record['counts']['frames']} frames" in said.value("learnt from"), 10, driver.process.log)
    assert "margin of ground +" in said.value("learning change")

    # Not enabled is not learnt.
    parameters = Parameters(peer)
    assert parameters.set({"learning.enabled": False})[0].successful
    assert (driver.see() == shipped).all()
    refused = driver.call("mark_blocked")
    assert not refused.success and "learning.enabled is false" in refused.message
    told = len(said.received)
    wait(lambda: len(said.received) > told + 1, 10, driver.process.log)
    assert not any("learn" in v.key for s in said.received[-1].status for v in s.values)
    assert parameters.set({"learning.enabled": True})[0].successful
    assert (driver.see() == learnt).all()
    driver.process.stop()

    again = Driver(start, peer, tmp_path, driver.ns + 10**9)
    wait(lambda: (again.see() == learnt).all(), 10, again.process.log)
    forgotten = again.call("forget")
    assert forgotten.success and str(record["counts"]["frames"]) in forgotten.message
    assert (again.see() == shipped).all()
    assert shown(tmp_path / "learnt.json")["counts"]["frames"] == 0


@pytest.mark.parametrize("kind", [Bool, Empty])
def test_what_stops_the_robot_is_no_ground(start, peer: Peer, tmp_path: Path, kind) -> None:
    driver = Driver(start, peer, tmp_path)
    bumper = peer.publisher(kind, "/squeezenet/learning/blocked")
    peer.wait_subscribed(bumper)
    driver.drive(1.0)
    for _ in range(2):
        # A bumper goes on saying so.
        bumper.publish(Bool(data=True) if kind is Bool else Empty())
    wait_a_moment(0.3)
    # Back, so that it never stands there. What a frame shows is learnt from 4 m later.
    driver.drive(-4.4)

    def bumped() -> int:
        found = re.search(r"(\d+) bumped into", driver.robot.diagnostics.value("learnt from") or "")
        return int(found[1]) if found else 0

    wait(bumped, 10, driver.process.log)
    left_out = driver.robot.diagnostics.value("learning left out")
    assert f"{0 if kind is Bool else 1} blocks" in left_out, left_out
    # Backwards it has seen nothing of what is right before it.
    driver.drive(1.0)
    wait_a_moment(1.2)
    stale = driver.call("mark_blocked")
    assert not stale.success and "s old" in stale.message
    driver.drive(0.1)
    marked = driver.call("mark_blocked")
    assert marked.success, marked.message
    again = driver.call("mark_blocked")
    assert not again.success and "since it was stopped before" in again.message


def test_another_models_file_is_kept_and_a_broken_one_is_set_aside(start, peer: Peer, tmp_path: Path) -> None:
    path = tmp_path / "learnt.json"
    path.write_text("{")
    driver = Driver(start, peer, tmp_path)
    driver.process.wait_for("learnt.json.damaged")
    assert (tmp_path / "learnt.json.damaged").read_text() == "{"
    driver.drive(0.3)
    assert driver.call("save").success and shown(path)["counts"]["frames"] == 0
    # What the last metres have shown is saved as well, and at the end.
    driver.drive(1.5)
    assert driver.call("save").success
    saved = shown(path)["counts"]["frames"]
    assert saved > 2
    driver.drive(1.5)
    driver.process.stop()
    assert shown(path)["counts"]["frames"] > saved + 2


def test_what_the_user_calls_no_ground_stays_none_whatever_was_learnt(start, peer: Peer, tmp_path: Path) -> None:
    driver = Driver(start, peer, tmp_path)
    # Wall, floor and sky look much alike to the model.
    driver.picture[(driver.picture == ODD).all(2)] = (120, 100, 110)
    assert driver.drive(6.0)[AHEAD] == GROUND
    # Floor is what the wheels have taught; the other class is ground now, too, and nothing was learnt for it.
    overrides = ["floor=obstacle", "sky=traversable"]
    assert Parameters(peer).set({"mask.traversability": overrides})[0].successful
    assert driver.see()[AHEAD] == OBSTACLE
    assert driver.drive(2.0)[AHEAD] == OBSTACLE


def test_what_another_holds_is_not_said_to_be_forgotten(start, peer: Peer, tmp_path: Path) -> None:
    path = tmp_path / "learnt.json"
    with (tmp_path / "learnt.json.lock").open("w") as lock:
        lock.write("node /other")
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)
        driver = Driver(start, peer, tmp_path)
        driver.process.wait_for("held by another, node /other")
        driver.drive(5.0)
        for name, words in ("save", "held by another"), ("forget", "not in the file"):
            refused = driver.call(name)
            assert not refused.success and words in refused.message, refused.message
        assert not path.exists()
    driver.drive(2.0)
    saved = driver.call("save")
    assert saved.success, f"it is free by now: {saved.message}"
    assert shown(path)["counts"]["frames"] > 0


def test_a_model_that_cannot_learn_says_so(start, peer: Peer, tmp_path: Path) -> None:
    robot = Robot(start, peer, tmp_path, {"learning": {"enabled": True, "file": str(tmp_path / "learnt.json")}})
    robot.until_said("cannot learn by driving", draw())
    robot.until(lambda: "learning.enabled: model" in robot.process.log(), draw())


def test_why_nothing_is_learnt_is_said(start, peer: Peer, tmp_path: Path) -> None:
    driver = Driver(start, peer, tmp_path, odom_frame="map")

    def is_said() -> bool:
        driver.see()
        return any("nothing is learnt" in v.value for s in driver.robot.diagnostics.statuses() for v in s.values)

    wait(is_said, 20, driver.process.log)
    driver.process.wait_for("nothing is learnt from frames")
