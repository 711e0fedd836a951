"""Months of a robot's life in an hour: frames one after the other as fast as they are answered, while the model, parameters
and cameras change. At the end of each round the node is as it was at its beginning, and so must be what it takes.

    make soak HOURS=8        # of a camera of 10 Hz: 288,000 frames, some 50 minutes on two cores

Each round says resident memory, threads and files; exit status 1 where memory grows by more than 2 % from the second
tenth of the run to its end, a thread or a file is left over, or a frame is not answered.
"""

import argparse
import io
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
from PIL import Image as Picture
from rcl_interfaces.msg import Parameter as ParameterMessage
from rcl_interfaces.srv import SetParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from sensor_msgs.msg import CompressedImage, Image, LaserScan
from vision_msgs.msg import Classification

ROOT = Path(__file__).resolve().parents[1]
NODE = ROOT / ".deps" / "install" / "lib" / "squeezenet_node" / "squeezenet_node"
NAME = "/squeezenet"
HZ = 10
FRAMES_A_ROUND = 2400
MODEL = "squeezenet1_1_anywhere"
# What changes within a round, one after the other; the last ones bring back what was.
CHANGES: list[dict] = [
    {"labels.top_k": 3, "mask.kind": "semantic"},
    {"model": "squeezenet1_1_imagenet"},
    {"cameras": ["front", "rear"]},
    {"model": "squeezenet1_1_street", "health.action": "unknown"},
    {"cameras": ["front"]},
    {"labels.top_k": 5, "mask.kind": "traversability", "model": MODEL, "health.action": "report"},
]


def pictures() -> list[bytes]:
    """JPEGs of our own renders, some damaged."""
    files = sorted((ROOT / "docs" / "pictures" / "robot").glob("*.jpg"))
    found = []
    for file in files:
        shown = io.BytesIO()
        Picture.open(file).resize((320, 240)).save(shown, "JPEG", quality=85)
        found.append(shown.getvalue())
    return found


class Soak:
    """A node and what talks to it."""

    def __init__(self, folder: Path) -> None:
        parameters = {"cameras": "[front]", "model": MODEL, "log_level": "error", "inference.provider": "cpu"}
        for camera in ("front", "rear"):
            parameters[f"{camera}.image_topic"] = f"/{camera}/image_raw/compressed"
            parameters |= {f"{camera}.ground.height_m": "0.3", f"{camera}.ground.pitch_deg": "12.0", f"{camera}.ground.hfov_deg": "80.0"}
        command = [NODE, "--ros-args"]
        for name, value in parameters.items():
            command += ["-p", f"{name}:={value}"]
        environment = {**os.environ, "ROS_HOME": str(folder)}
        rclpy.init()
        self.process = subprocess.Popen(command, env=environment)
        self.node = rclpy.create_node("soak")
        self.answered = threading.Semaphore(0)
        self.is_rear_asked = False
        for camera in ("front", "rear"):
            base = f"{NAME}/{camera}"
            self.node.create_subscription(Classification, f"{base}/labels", self.on_labels, 10)
            self.node.create_subscription(Image, f"{base}/mask", lambda _: None, 10)
            self.node.create_subscription(Image, f"{base}/overlay", lambda _: None, 10)
            self.node.create_subscription(LaserScan, f"{base}/scan", lambda _: None, 10)
        self.publishers = {
            camera: self.node.create_publisher(CompressedImage, f"/{camera}/image_raw/compressed", 5) for camera in ("front", "rear")
        }
        self.client = self.node.create_client(SetParameters, f"{NAME}/set_parameters")
        executor = SingleThreadedExecutor()
        executor.add_node(self.node)
        threading.Thread(target=executor.spin, daemon=True).start()

    def wait_for_node(self) -> None:
        assert self.client.wait_for_service(60), "the node does not answer"
        self.wait_for("front")

    def stop(self) -> None:
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def wait_for(self, camera: str) -> None:
        deadline = time.monotonic() + 60
        while self.publishers[camera].get_subscription_count() == 0:
            assert time.monotonic() < deadline, f"nobody subscribes to {camera}"
            time.sleep(0.05)
        time.sleep(0.5)

    def on_labels(self, _: Classification) -> None:
        self.answered.release()

    def set(self, change: dict) -> None:
        parameters: list[ParameterMessage] = [Parameter(name, value=value).to_parameter_msg() for name, value in change.items()]
        future = self.client.call_async(SetParameters.Request(parameters=parameters))
        deadline = time.monotonic() + 60
        while not future.done():
            assert time.monotonic() < deadline, f"{change} is not answered"
            time.sleep(0.005)
        bad = [result.reason for result in future.result().results if not result.successful]
        assert not bad, bad
        for camera in change.get("cameras", []):
            self.wait_for(camera)

    def frame(self, camera: str, jpeg: bytes) -> bool:
        """Whether it was answered in time."""
        while self.answered.acquire(blocking=False):
            pass
        message = CompressedImage(format="jpeg", data=jpeg)
        message.header.stamp = self.node.get_clock().now().to_msg()
        message.header.frame_id = camera
        self.publishers[camera].publish(message)
        return self.answered.acquire(timeout=5)

    def takes(self) -> dict[str, int]:
        """Resident memory in kB, threads, open files."""
        process = Path(f"/proc/{self.process.pid}")
        fields = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
        files = len(list((process / "fd").iterdir()))
        return {"memory": int(fields["VmRSS"].split()[0]), "threads": int(fields["Threads"]), "files": files}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=8.0, help=f"of a camera of {HZ} Hz")
    options = parser.parse_args()
    # Not that of a robot's nodes.
    os.environ["ROS_DOMAIN_ID"] = os.environ.get("SOAK_DOMAIN_ID", "79")
    rounds = max(10, round(options.hours * 3600 * HZ / FRAMES_A_ROUND))
    shown, unanswered, frames = pictures(), 0, 0
    chance = np.random.default_rng(1)
    with tempfile.TemporaryDirectory() as folder:
        soak, taken = Soak(Path(folder)), []
        started = time.monotonic()
        try:
            soak.wait_for_node()
            for number in range(rounds):
                cameras = ["front"]
                for change in CHANGES:
                    soak.set(change)
                    cameras = change.get("cameras", cameras)
                    for _ in range(FRAMES_A_ROUND // len(CHANGES)):
                        jpeg = shown[frames % len(shown)]
                        frames += 1
                        if chance.random() < 0.01:
                            # Damaged ones are refused, and not answered.
                            soak.publishers["front"].publish(CompressedImage(format="jpeg", data=jpeg[: chance.integers(len(jpeg))]))
                        unanswered += not soak.frame(cameras[frames % len(cameras)], jpeg)
                if soak.process.poll() is not None:
                    print(f"the node ended with {soak.process.returncode}", file=sys.stderr)
                    return 1
                taken.append(soak.takes())
                rate = frames / (time.monotonic() - started)
                now = ", ".join(f"{name} {value}" for name, value in taken[-1].items())
                print(f"round {number + 1} of {rounds}: {frames} frames, {rate:.0f} a second, {unanswered} not answered; {now}", flush=True)
        finally:
            soak.stop()
    tenth = max(1, rounds // 10)
    before, after = taken[tenth : 2 * tenth], taken[-tenth:]
    median = {name: [float(np.median([one[name] for one in part])) for part in (before, after)] for name in taken[0]}
    growth = median["memory"][1] / median["memory"][0] - 1
    left = {name: median[name][1] - median[name][0] for name in ("threads", "files")}
    print(f"{frames} frames: memory {100 * growth:+.1f} %, threads {left['threads']:+.0f}, files {left['files']:+.0f}, {unanswered} not answered")
    return int(growth > 0.02 or left["threads"] > 0 or left["files"] > 0 or unanswered > 0)


if __name__ == "__main__":
    sys.exit(main())
