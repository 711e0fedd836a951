"""How soon a saved parameter file holds, and what a model swap costs a 30 Hz stream.

The node runs over DDS with 640x480 bgr8 at 30 Hz, best effort. A save changes `labels.top_k`: timed
from the rename of the file to the first answer with so many labels at the subscriber.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import rclpy
import skimage.data
import yaml
from PIL import Image as Picture
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from vision_msgs.msg import Classification

ROOT = Path(__file__).resolve().parents[1]
INSTALLED = ROOT / ".deps" / "install" / "lib" / "squeezenet_node" / "squeezenet_node"
QOS = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)


class Stream:
    """Publishes frames, keeps (arrival, age, number of labels) of each answer."""

    def __init__(self, node) -> None:
        self.node, self.answers, self.sent, self.is_over = node, [], 0, False
        node.create_subscription(Classification, "/squeezenet/labels", self.on_labels, QOS)
        self.publisher = node.create_publisher(Image, "/camera/image_raw", QOS)
        picture = np.asarray(Picture.fromarray(skimage.data.coffee()).resize((640, 480)))
        self.message = Image(height=480, width=640, encoding="bgr8", step=1920)
        self.message.data.frombytes(np.ascontiguousarray(picture[:, :, ::-1]).tobytes())
        self.thread = threading.Thread(target=self.run, daemon=True)

    def on_labels(self, message: Classification) -> None:
        now, stamp = self.node.get_clock().now().nanoseconds / 1e6, message.header.stamp
        age = now - (stamp.sec * 1e3 + stamp.nanosec / 1e6)
        self.answers.append((time.monotonic(), age, len(message.results)))

    def run(self) -> None:
        start = time.monotonic()
        while not self.is_over:
            time.sleep(max(0.0, start + self.sent / 30 - time.monotonic()))
            self.message.header.stamp = self.node.get_clock().now().to_msg()
            self.publisher.publish(self.message)
            self.sent += 1

    def ages(self, since: float, until: float) -> list[float]:
        return [age for at, age, _ in self.answers if since <= at < until]


def save(file: Path, top_k: int) -> None:
    beside = file.with_suffix(".tmp")
    beside.write_text(yaml.safe_dump({"squeezenet": {"ros__parameters": {"labels": {"top_k": top_k}}}}))
    beside.rename(file)


def measure_saves(stream: Stream, file: Path, count: int) -> list[float]:
    times = []
    for index in range(count):
        time.sleep(0.3 + 0.037 * (index % 7))
        top_k = 2 + index % 2
        save(file, top_k)
        started = time.monotonic()
        while not (found := [at for at, _, labels in stream.answers[-60:] if at > started and labels == top_k]):
            if time.monotonic() - started > 10:
                sys.exit("a saved file was not taken over within 10 s")
            time.sleep(0.001)
        times.append(1e3 * (found[0] - started))
    return times


def measure_swaps(stream: Stream, client, models: list[str], count: int) -> list[tuple[float, float, float, int]]:
    """Of each swap: seconds until the reply, worst age from the request to a second after the reply,
    median age in the two seconds before, frames of that time that were not answered."""
    rows = []
    for index in range(count):
        time.sleep(3.0)
        value = ParameterValue(type=ParameterType.PARAMETER_STRING, string_value=models[index % 2])
        request = SetParameters.Request(parameters=[Parameter(name="model", value=value)])
        sent, answered, asked = stream.sent, len(stream.answers), time.monotonic()
        future = client.call_async(request)
        while not future.done():
            time.sleep(0.001)
        replied = time.monotonic()
        if not future.result().results[0].successful:
            sys.exit(future.result().results[0].reason)
        time.sleep(1.0)
        missing = (stream.sent - sent) - (len(stream.answers) - answered)
        ages = stream.ages(asked, replied + 1.0)
        rows.append((replied - asked, max(ages), float(np.median(stream.ages(asked - 2.0, asked))), missing))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--saves", type=int, default=20)
    parser.add_argument("--swaps", type=int, default=6)
    parser.add_argument("--models", nargs=2, default=["squeezenet1_1_imagenet", "squeezenet1_1_street"])
    args = parser.parse_args()
    if not INSTALLED.exists():
        sys.exit("nothing is installed: run `make install` first")
    os.environ.setdefault("ROS_DOMAIN_ID", "79")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "parameters.yaml"
        save(file, 5)
        process = subprocess.Popen(
            [INSTALLED, "--ros-args", "--params-file", file, "-p", f"model:={args.models[1]}", "-p", "log_level:=error"]
        )
        rclpy.init()
        node = rclpy.create_node("bench")
        stream = Stream(node)
        client = node.create_client(SetParameters, "/squeezenet/set_parameters")
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        spinner = threading.Thread(target=executor.spin, daemon=True)
        spinner.start()
        try:
            client.wait_for_service(timeout_sec=30)
            while not stream.publisher.get_subscription_count():
                time.sleep(0.05)
            stream.thread.start()
            time.sleep(2.0)
            saves = measure_saves(stream, file, args.saves)
            swaps = measure_swaps(stream, client, args.models, args.swaps)
            stream.is_over = True
            stream.thread.join()
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(10)
            executor.shutdown(timeout_sec=2)
            rclpy.shutdown()
            # A thread that is still inside the client library when Python ends aborts the process.
            spinner.join(5)
    print(f"from save to first answer, {len(saves)} saves: median {np.median(saves):.0f} ms, worst {max(saves):.0f} ms")
    print("swap to                  reply after  age p50 before  worst age  frames not answered")
    for index, (reply, worst, before, missing) in enumerate(swaps):
        print(f"{args.models[index % 2]:<24} {1e3 * reply:>8.0f} ms {before:>12.1f} ms {worst:>7.1f} ms {missing:>12}")


if __name__ == "__main__":
    main()
