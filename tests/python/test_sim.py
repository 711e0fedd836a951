"""The simulated robot: its rooms and figures by themselves, and a short drive by the node's scan."""

import fcntl
import importlib.util
import json
import math
import os
import signal
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import ROOT, binary, wait

SIM = ROOT / "scripts" / "sim"
PACKAGES = ROOT / ".deps" / "sim"
sys.path[:0] = [str(SIM), *([str(PACKAGES)] if PACKAGES.is_dir() else [])]
os.environ.setdefault("MUJOCO_GL", "egl")

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("mujoco") is None, reason="MuJoCo is not there: run `bash scripts/setup.sh sim`, so nothing was driven"
)


@pytest.fixture(scope="module")
def sim():
    import rooms

    return rooms


def simulation(seed: int, **camera):
    import robot
    import rooms

    try:
        return robot.Simulation(rooms.plan_world(seed), robot.Camera(width=320, height=240, **camera))
    except robot.NoRenderer as error:
        pytest.skip(f"nothing can be rendered here: {error}")


def test_a_seed_is_a_room(sim):
    for seed in (1, 5):
        first, again, other = sim.plan_world(seed), sim.plan_world(seed), sim.plan_world(seed + 5)
        assert first.kind == other.kind == sim.KINDS[(seed - 1) % len(sim.KINDS)]
        assert first.things and str(first.things) == str(again.things) and first.start == again.start
        assert str(first.things) != str(other.things)


@pytest.mark.parametrize("seed", range(1, 11))
def test_the_floor_is_within_reach_of_the_start(sim, seed):
    world = sim.plan_world(seed)
    parts = sim.parts_of(~world.occupied(grow=sim.PASSAGE / 2))
    x, y, _ = world.start
    assert (int(y / sim.GRID), int(x / sim.GRID)) in parts[0]
    assert all(len(part) * sim.GRID**2 <= sim.POCKET for part in parts[1:])


@pytest.mark.parametrize("seed", [1, 5])
def test_depth_labels_and_rays_tell_the_same_truth(seed):
    """At the foot that a ray over the ground finds, the true labels change from floor to what stands there."""
    made = simulation(seed)
    try:
        labels, depth, camera = made.labels(), made.depth(), made.camera
        p, judged, agree = np.radians(camera.pitch_deg), 0, 0
        angles = np.radians(np.arange(-30, 31, 1.0))
        ranges, seen = made.true_ranges(angles, 2.5)
        for angle, distance in zip(angles[seen], ranges[seen], strict=True):
            ahead, left = distance * np.cos(angle), distance * np.sin(angle)
            z = ahead * np.cos(p) + camera.height_m * np.sin(p)
            u = round(camera.k[0] * -left / z + camera.k[2])
            v = round(camera.k[4] * (camera.height_m * np.cos(p) - ahead * np.sin(p)) / z + camera.k[5])
            if not (3 <= v < camera.height - 3 and 0 <= u < camera.width):
                continue
            judged += 1
            agree += labels[v + 3, u] == 0 and labels[v - 2, u] != 0 and abs(depth[v - 2, u] - z) < 0.1
        # Beams that graze an edge fall on one side of it or the other.
        assert judged >= 10 and agree >= 0.9 * judged, (agree, judged)
    finally:
        made.close()


def test_wheels_turn_the_robot_as_far_as_odometry_says():
    made = simulation(1)
    try:
        for speed, turn in ((0.3, 0.0), (0.0, 0.8), (0.2, -0.4)):
            made.step(speed, turn, 1.0)
        true, odometry = made.pose(), made.odometry
        assert made.metres == pytest.approx(0.42, abs=0.1)
        assert np.hypot(true.x - odometry.x, true.y - odometry.y) < 0.03
        assert abs(true.yaw - odometry.yaw) < 0.03
    finally:
        made.close()


def test_bumping_into_a_wall_is_counted():
    made = simulation(1)
    try:
        made.step(0.4, 0.0, 30.0)
        assert len(made.collisions) == 1
        assert made.nearest < 0.01
    finally:
        made.close()


def test_missed_false_and_unknown_beams_are_told_apart():
    from evaluate import Tally

    tally = Tally(near=2.0)
    true = np.array([1.0, 1.0, 1.0, 1.0, np.inf, np.inf, 3.0])
    said = np.array([1.05, np.inf, np.nan, 0.5, np.inf, 2.0, np.inf])
    tally.add(said, true, np.isfinite(true), range_max=3.5)
    found = tally.summary()
    assert (found["near_obstacles"], found["beams"]) == (4, 7)
    assert found["missed"] == found["near_unknown"] == 0.25
    assert found["false"] == pytest.approx(2 / 7, abs=1e-4)
    assert found["range_error_m"]["p50"] == pytest.approx(0.05)


def test_a_bound_is_not_kept_where_nothing_was_measured():
    from evaluate import Tally, is_within

    def summary(said: float, true: float) -> dict:
        tally = Tally(near=2.0)
        tally.add(np.array([said]), np.array([true]), np.array([True]), range_max=3.0)
        return tally.summary()

    assert is_within(summary(1.0, 1.0), "missed", 0.1) and is_within(summary(1.0, 1.0), "false", 0.0)
    assert not is_within(summary(np.inf, 1.0), "missed", 0.1), "missed"
    assert not is_within(summary(2.5, 2.5), "missed", 0.1), "nothing is near"
    assert not is_within(summary(np.nan, 1.0), "missed", 0.1), "nothing is known"
    nothing = Tally(near=2.0).summary()
    assert not is_within(nothing, "false", 0.1) and is_within(nothing, "false", None)


def test_a_node_that_ends_within_the_last_room_gives_no_figures(sim, monkeypatch):
    import evaluate

    robot = SimpleNamespace(
        camera=None, wait_for_node=lambda *_: None, publish=lambda *_: None, wait_for_scan=lambda _: None)
    monkeypatch.setattr(evaluate, "Simulation", lambda *_: SimpleNamespace(place=lambda *_: None, close=lambda: None))
    with pytest.raises(evaluate.NoAnswer, match="the node ended"):
        evaluate.evaluate(SimpleNamespace(seeds=[1], places=2, near=2.0, model=""), robot, lambda: False)


def test_what_could_not_be_written_in_the_end_is_refused_at_the_start(tmp_path, monkeypatch, capsys):
    import drive
    import evaluate

    for module in (drive, evaluate):
        monkeypatch.setattr(module, "start_node", lambda _: pytest.fail("it began"))
    gone = tmp_path / "gone"
    for module, option, file, words in (
        (drive, "--film", "drive.mp4", "must end in one of .gif"), (drive, "--film", gone / "drive.gif", "there is no folder"),
        (drive, "--json", gone / "drive.json", "there is no folder"), (evaluate, "--json", gone / "a.json", "there is no folder"),
    ):
        monkeypatch.setattr(sys, "argv", ["sim", option, str(file)])
        with pytest.raises(SystemExit) as ended:
            module.main()
        assert ended.value.code == 2 and words in capsys.readouterr().err


def perfect_scan(made, range_max: float = 3.0) -> tuple[np.ndarray, np.ndarray]:
    angles = np.radians(np.arange(-38, 38.1, 1.0))
    ranges, _ = made.true_ranges(angles, range_max)
    return angles, np.maximum(ranges, made.camera.nearest_ground_m())


@pytest.mark.parametrize("seed", [2, 4])
def test_the_driver_keeps_clear_where_the_scan_is_true(seed):
    from driver import Driver

    made = simulation(seed)
    try:
        driver = Driver(made.camera.ahead_m, made.camera.nearest_ground_m())
        for _ in range(150):
            command = driver.decide(made.odometry, *perfect_scan(made), 0.2)
            made.step(command.speed, command.turn, 0.2)
        assert made.metres > 5
        assert not made.collisions and made.nearest > 0.05
    finally:
        made.close()


def test_the_driver_stands_still_where_nothing_is_known():
    from driver import Driver
    from robot import Pose

    driver = Driver(0.1, 0.3)
    angles = np.radians(np.arange(-30, 31, 1.0))
    for ranges in (np.full(61, np.nan), np.full(61, 0.35)):
        command = driver.decide(Pose(0, 0, 0), angles, ranges, 0.2)
        assert command.speed == 0.0


def drive(tmp_path, environment: dict, *options: str) -> subprocess.Popen:
    packages = os.pathsep.join(filter(None, [str(PACKAGES), os.environ.get("PYTHONPATH")]))
    own = {"PYTHONPATH": packages, "SQUEEZENET_NODE": str(binary()), "SIM_DOMAIN_ID": environment["ROS_DOMAIN_ID"]}
    command = [sys.executable, str(SIM / "drive.py"), "--film", str(tmp_path / "sim.gif"), "--json", str(tmp_path / "sim.json"), *options]
    return subprocess.Popen(command, env={**environment, **own}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1)


def test_the_robot_drives_by_the_scan_of_the_node(environment, tmp_path):
    simulation(1).close()
    running = drive(tmp_path, environment, "--seeds", "1", "--metres", "0.6", "--film-frames", "5", "--param", "inference.provider:=cpu")
    try:
        output, _ = running.communicate(timeout=180)
    except subprocess.TimeoutExpired:
        running.send_signal(signal.SIGINT)  # which it passes on to its node
        output, _ = running.communicate(timeout=30)
    assert running.returncode == 0, output
    told = json.loads((tmp_path / "sim.json").read_text())
    assert told["success"] and told["metres"] >= 0.6 and told["rooms"][0]["frames_without_scan"] == 0
    assert (tmp_path / "sim.gif").stat().st_size > 10_000


def test_a_robot_that_others_steer_goes_where_they_say_until_it_is_ended(environment, start, peer, tmp_path):
    from geometry_msgs.msg import Twist
    from nav_msgs.msg import Odometry

    simulation(1).close()
    start({"image_topic": "/camera/image_raw", "use_sim_time": True})
    odometry = peer.collect(Odometry, "/odom")
    commands = peer.publisher(Twist, "/cmd_vel")
    running = drive(tmp_path, environment, "--drive-by", "cmd_vel", "--no-node")
    try:
        wait(lambda: odometry, 60)
        first, ahead = odometry[0].pose.pose.position, Twist()
        ahead.linear.x = 0.1

        def has_moved() -> bool:
            commands.publish(ahead)
            now = odometry[-1].pose.pose.position
            return math.hypot(now.x - first.x, now.y - first.y) > 0.1

        wait(has_moved, 90)
        running.send_signal(signal.SIGINT)
        output, _ = running.communicate(timeout=30)
    finally:
        running.kill()
    told = json.loads((tmp_path / "sim.json").read_text())
    assert told["rooms"][0]["end"] == "interrupted" and told["rooms"][0]["seed"] == 1
    assert running.returncode == (1 if told["collisions"] else 0), output


def test_a_floor_that_no_picture_had_is_learnt_along_a_drive(sim, tmp_path, monkeypatch):
    """A red gym floor, which the shipped model takes for furniture, driven over with a bumper that chatters."""
    import record
    import spoil

    bag = tmp_path / "drive"
    options = ["--seed", "2", "--metres", "14", "--floor", "red_gym", "--false-bumps", "0.1", "--yaw-drift", "0.3"]
    monkeypatch.setattr(sys, "argv", ["record.py", str(bag), *options])
    if record.main() == 2:
        pytest.skip("nothing can be rendered here")
    spoilt = tmp_path / "spoilt"
    faults = ["--yaw-drift", "2", "--slip", "0.1", "--false-bumps", "1", "--dirt", "12"]
    monkeypatch.setattr(sys, "argv", ["spoil.py", str(bag), str(spoilt), *faults])
    assert spoil.main() == 0
    reports = []
    for run, drive in (("a", bag), ("b", bag), ("c", spoilt)):
        command = [
            binary(), "replay", str(drive), "--learn", "--topic", "/camera/image_raw", "--masks-topic", "/sim/mask",
            "--masks-kind", "traversability", "--report", str(tmp_path / run), "--learning-file", str(tmp_path / f"{run}.json"),
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        reports.append(json.loads((tmp_path / run / "report.json").read_text())["learnt"])
    # One that somebody else writes is not touched.
    with (tmp_path / "a.json.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = subprocess.run(
            [binary(), "replay", str(bag), "--learn", "--learning-file", str(tmp_path / "a.json")], capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 2 and "held by another" in done.stderr, done.stderr
    # The same drive teaches the same.
    assert reports[0] == reports[1]
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    said, last = reports[0]["report"], reports[0]["stretches"][-1]
    assert said["counts"]["metres"] == pytest.approx(14, abs=1) and said["verdict"]["fall"] <= 0.5

    def iou(score: dict) -> float:
        return score["right"] / (score["right"] + score["false_ground"] + score["missed"])

    shipped, learnt, oracle = (iou(last[name]) for name in ("shipped", "learnt", "oracle"))
    assert learnt > shipped + 0.5 * (oracle - shipped), (shipped, learnt, oracle)
    assert last["learnt"]["auroc"] > last["shipped"]["auroc"] - 0.01
    # Wrong evidence teaches less, and nothing that is worse; the bumper is found out.
    for stretch in reports[2]["stretches"]:
        assert iou(stretch["learnt"]) > iou(stretch["shipped"]) - 0.02
    assert reports[2]["report"]["left_out"]["blocks"] > 3


@pytest.mark.parametrize("rooms", [["--rooms", "1001"], ["--homes", "--rooms", "5006"]], ids=["robot", "homes"])
def test_labelled_views_are_the_same_for_a_seed(sim, tmp_path, monkeypatch, rooms):
    import pictures
    from PIL import Image

    for run in ("a", "b"):
        monkeypatch.setattr(sys, "argv", ["pictures.py", str(tmp_path / run), *rooms, "--views", "2"])
        if pictures.main() == 2:
            pytest.skip("nothing can be rendered here")
    stem = f"{'home' if '--homes' in rooms else 'sim'}_{rooms[-1]}"
    for name in (f"images/{stem}_1.jpg", f"labels/{stem}_1.png"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    labels = np.asarray(Image.open(tmp_path / "a" / "labels" / f"{stem}_0.png"))
    assert labels.shape == (360, 480) and {0, 2} <= set(np.unique(labels)) <= {0, 2, 3}
