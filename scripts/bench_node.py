"""The node over DDS against the bare session: frames answered, age at the subscriber, memory.

640x480 bgr8 at 30 Hz, reliable and best effort in turn; before, between and after them the
network alone is timed (`squeezenet_node bench`), in the same run on the same machine.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import rclpy
import skimage.data
from diagnostic_msgs.msg import DiagnosticStatus
from PIL import Image as Picture
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from vision_msgs.msg import Classification

ROOT = Path(__file__).resolve().parents[1]
INSTALLED = ROOT / ".deps" / "install" / "lib" / "squeezenet_node" / "squeezenet_node"


def bare_inference_ms(model: str) -> float:
    """Median of the network alone."""
    command = [INSTALLED, "bench", "--json", "--model", model, "--frames", "100"]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return json.loads(out.splitlines()[0])["stages_ms"]["inference"]["p50"]


def resident_mb(pid: int) -> float:
    """Resident memory of the process without what it maps from files or shares."""
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(fields["VmRSS"].split()[0]) / 1024


def run(model: str, reliability: ReliabilityPolicy, seconds: float, rate: float) -> dict:
    qos = QoSProfile(depth=5, reliability=reliability)
    process = subprocess.Popen([INSTALLED, "--ros-args", "-p", f"model:={model}", "-p", "log_level:=error"])
    rclpy.init()
    node = rclpy.create_node("bench")
    ages, stages = [], {}

    def on_labels(message: Classification) -> None:
        stamp = message.header.stamp
        ages.append(node.get_clock().now().nanoseconds / 1e6 - (stamp.sec * 1e3 + stamp.nanosec / 1e6))

    def on_timing(message: DiagnosticStatus) -> None:
        for pair in message.values:
            stages.setdefault(pair.key, []).append(float(pair.value))

    node.create_subscription(Classification, "/squeezenet/labels", on_labels, qos)
    node.create_subscription(DiagnosticStatus, "/squeezenet/timing", on_timing, 10)
    publisher = node.create_publisher(Image, "/camera/image_raw", qos)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    thread = threading.Thread(target=executor.spin, daemon=True)
    thread.start()
    try:
        while not publisher.get_subscription_count():
            time.sleep(0.05)
        time.sleep(1.0)
        picture = Picture.fromarray(skimage.data.coffee()).resize((640, 480))
        message = Image(height=480, width=640, encoding="bgr8", step=1920)
        message.data.frombytes(np.ascontiguousarray(np.asarray(picture)[:, :, ::-1]).tobytes())
        start, frames, memory = time.monotonic(), int(seconds * rate), []
        for index in range(frames):
            time.sleep(max(0.0, start + index / rate - time.monotonic()))
            message.header.stamp = node.get_clock().now().to_msg()
            publisher.publish(message)
            if index % 30 == 29:
                memory.append(resident_mb(process.pid))
        time.sleep(1.0)
        ticks = Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        cpu_ms = (int(ticks[11]) + int(ticks[12])) * 1000 / os.sysconf("SC_CLK_TCK")
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(10)
        executor.shutdown(timeout_sec=2)
        rclpy.shutdown()
        # A thread that is still inside the client library when Python ends aborts the process.
        thread.join(5)
    p50, p95, p99, most = np.percentile(ages, [50, 95, 99, 100])
    medians = {stage: float(np.median(times)) for stage, times in stages.items()}
    return {
        "frames": frames, "answered": len(ages), "age_p50": p50, "age_p95": p95, "age_p99": p99,
        "age_max": most, "preprocess_p50": medians["preprocess"], "inference_p50": medians["inference"], "stages": medians,
        "cpu_ms_per_frame": cpu_ms / frames, "rss_first_mb": memory[0], "rss_last_mb": memory[-1],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="squeezenet1_1_imagenet")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--rate", type=float, default=30)
    parser.add_argument("--rounds", type=int, default=2)
    args = parser.parse_args()
    if not INSTALLED.exists():
        sys.exit("nothing is installed: run `make install` first")
    os.environ.setdefault("ROS_DOMAIN_ID", "78")
    bare = [bare_inference_ms(args.model)]
    results = []
    for _ in range(args.rounds):
        for reliability in (ReliabilityPolicy.RELIABLE, ReliabilityPolicy.BEST_EFFORT):
            results.append((reliability.name.lower(), run(args.model, reliability, args.seconds, args.rate)))
            bare.append(bare_inference_ms(args.model))
    median = float(np.median(bare))
    print(f"{args.model}: bare session p50 {median:.2f} ms (medians of {len(bare)} runs: {np.round(bare, 2).tolist()})")
    print("QoS          answered    age p50    p95    p99    max  p50/bare  preprocess/inference  CPU/frame  RSS first..last")
    for name, r in results:
        print(f"  {name}, median ms: " + ", ".join(f"{stage} {ms:.2f}" for stage, ms in r["stages"].items()))
        print(
            f"{name:<12} {r['answered']:>4}/{r['frames']:<4} {r['age_p50']:>8.2f} {r['age_p95']:>6.2f} {r['age_p99']:>6.2f}"
            f" {r['age_max']:>6.2f} {r['age_p50'] / median:>9.2f} {r['preprocess_p50'] / r['inference_p50']:>21.3f}"
            f" {r['cpu_ms_per_frame']:>7.1f} ms {r['rss_first_mb']:>6.0f}..{r['rss_last_mb']:.0f} MB"
        )


if __name__ == "__main__":
    main()
