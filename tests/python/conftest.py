"""The node as a process of its own, with an rclpy peer on a ROS domain that no other test uses."""

import importlib.util
import itertools
import os
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import rclpy
import skimage.data
import yaml
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray
from PIL import Image as Picture
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from std_srvs.srv import Trigger

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("SQUEEZENET_DATA", ROOT.parent / "shared" / "data"))
DOMAINS = itertools.count(1 + os.getpid() % 50)

RELIABLE = QoSProfile(depth=5, history=HistoryPolicy.KEEP_LAST, reliability=ReliabilityPolicy.RELIABLE)
BEST_EFFORT = QoSProfile(depth=5, history=HistoryPolicy.KEEP_LAST, reliability=ReliabilityPolicy.BEST_EFFORT)
LATCHED = QoSProfile(
    depth=1, history=HistoryPolicy.KEEP_LAST, reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)


def binary() -> str:
    """The installed node, or the one that cargo built."""
    installed = ROOT / ".deps" / "install" / "lib" / "squeezenet_node" / "squeezenet_node"
    found = installed if installed.exists() else shutil.which("squeezenet_node")
    assert found, "squeezenet_node is not built: run `make build` first"
    return str(found)


def photograph(name: str, size: tuple[int, int] = (640, 480)) -> np.ndarray:
    """A freely licensed photograph of scikit-image as rgb8, cut and resized to (width, height)."""
    picture = Picture.fromarray(getattr(skimage.data, name)())
    width, height = picture.size
    scale = max(size[0] / width, size[1] / height)
    cut = (size[0] / scale, size[1] / scale)
    left, top = max(0.0, (width - cut[0]) / 2), max(0.0, (height - cut[1]) / 2)
    box = (left, top, min(width, left + cut[0]), min(height, top + cut[1]))
    return np.asarray(picture.resize(size, Picture.Resampling.BICUBIC, box=box))


def image_message(rgb: np.ndarray, encoding: str = "rgb8", padding: int = 0) -> Image:
    """An Image message of an rgb8 array, in an interleaved or mono encoding."""
    gray = rgb.mean(2).astype(np.uint8)
    planes = {
        "rgb8": rgb, "bgr8": rgb[:, :, ::-1], "mono8": gray[:, :, None],
        "rgba8": np.dstack([rgb, gray]), "bgra8": np.dstack([rgb[:, :, ::-1], gray]),
    }[encoding]
    rows = planes.reshape(planes.shape[0], -1)
    rows = np.pad(rows, ((0, 0), (0, padding)), constant_values=170)
    message = Image(height=rgb.shape[0], width=rgb.shape[1], encoding=encoding, step=rows.shape[1])
    message.data.frombytes(rows.tobytes())
    message.header.frame_id = "camera_link"
    return message


class Process:
    """A running node and what it has logged."""

    def __init__(
        self, parameters: dict, arguments: list[str], environment: dict, folder: Path, within: list[str] | None = None
    ) -> None:
        """`within` is a command that runs the one behind it."""
        file = folder / "parameters.yaml"
        file.write_text(yaml.safe_dump({"/**": {"ros__parameters": parameters}}))
        command = [*(within or []), binary(), "--ros-args", *(["--params-file", str(file)] if parameters else []), *arguments]
        self.lines: list[str] = []
        self.is_stopped = False
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self) -> None:
        for line in self.process.stderr:
            self.lines.append(line.rstrip())

    def log(self) -> str:
        return "\n".join(self.lines)

    def wait_for(self, words: str, timeout: float = 20.0) -> None:
        wait(lambda: words in self.log(), timeout, lambda: f"{words!r} not in the log:\n{self.log()}")

    def stop(self) -> int:
        if self.process.poll() is None:
            self.is_stopped = True
            self.process.send_signal(signal.SIGINT)
        try:
            return self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError(f"the node did not stop on SIGINT:\n{self.log()}") from None
        finally:
            self.reader.join(2)


def on_a_disk(folder: str | Path, size: str) -> list[str]:
    """Runs a command that sees a file system of its own of that size at `folder`."""
    command = ["unshare", "--map-root-user", "--mount", "sh", "-c", f'mount -t tmpfs -o size={size} tmpfs "{folder}" && exec "$0" "$@"']
    if shutil.which("unshare") is None or subprocess.run([*command, "true"], capture_output=True).returncode:
        pytest.skip("no file systems may be mounted here, not even in a namespace of one's own")
    return command


def launch_file(name: str) -> ModuleType:
    """A launch file as a module, by whatever launch there is."""
    spec = importlib.util.spec_from_file_location("launch_file", ROOT / "launch" / name)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def wait(condition, timeout: float, describe=lambda: "timed out") -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, describe()
        time.sleep(0.02)


class Peer:
    """An rclpy node that spins in a thread of its own and keeps what it receives."""

    def __init__(self, domain: int) -> None:
        self.context = Context()
        rclpy.init(context=self.context, domain_id=domain)
        self.node = rclpy.create_node("peer", context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.thread = threading.Thread(target=self.spin, daemon=True)
        self.thread.start()
        self.clients: dict = {}

    def client(self, kind, name: str):
        """A client whose service is there, and knows of it."""
        if name not in self.clients:
            client = self.clients[name] = self.node.create_client(kind, name)
            assert client.wait_for_service(20), f"there is no service {name}"
            # The middleware drops an answer to one that the other end has not found yet.
            time.sleep(0.5)
        return self.clients[name]

    def call(self, kind, name: str, request, timeout: float = 20.0):
        """What a service answers."""
        future = self.client(kind, name).call_async(request)
        wait(future.done, timeout, lambda: f"{name} does not answer")
        return future.result()

    def trigger(self, name: str) -> Trigger.Response:
        """What a service without arguments answers."""
        return self.call(Trigger, name, Trigger.Request())

    def spin(self) -> None:
        try:
            self.executor.spin()
        except Exception:  # noqa: BLE001 - the context is shut down while it spins
            pass

    def collect(self, kind, topic: str, qos=RELIABLE) -> list:
        received: list = []
        self.node.create_subscription(kind, topic, received.append, qos)
        return received

    def publisher(self, kind, topic: str, qos=RELIABLE):
        return self.node.create_publisher(kind, topic, qos)

    def stamp(self):
        return self.node.get_clock().now().to_msg()

    def wait_subscribed(self, publisher, timeout: float = 20.0) -> None:
        wait(lambda: publisher.get_subscription_count() > 0, timeout, lambda: f"nobody subscribed to {publisher.topic_name}")

    def wait_published(self, topic: str, timeout: float = 20.0) -> None:
        """Until the node's publisher of `topic` has been found, so that it has found us."""
        wait(lambda: self.node.count_publishers(topic) > 0, timeout, lambda: f"nobody publishes {topic}")
        time.sleep(0.3)

    def answer(self, publisher, message, received: list, timeout: float = 10.0):
        """Publishes a message, again if need be, until something new is received that has its stamp, or no stamp."""
        before = len(received)
        deadline = time.monotonic() + timeout
        stamp = message.header.stamp

        def found() -> list:
            # Of what was published twice before, the second answer may come now.
            return [one for one in received[before:] if stamp == Time() or getattr(one, "header", message.header).stamp == stamp]

        while not found():
            assert time.monotonic() < deadline, f"no answer from {publisher.topic_name}"
            publisher.publish(message)
            until = time.monotonic() + 1.0
            while not found() and time.monotonic() < until:
                time.sleep(0.01)
        return found()[-1]

    def diagnostics(self) -> "Diagnostics":
        return Diagnostics(self.collect(DiagnosticArray, "/diagnostics"))

    def close(self) -> None:
        self.executor.shutdown(timeout_sec=2)
        self.node.destroy_node()
        rclpy.shutdown(context=self.context)
        self.thread.join(2)


class Diagnostics:
    """The node's /diagnostics as they come."""

    def __init__(self, received: list) -> None:
        self.received = received

    def statuses(self) -> list:
        return [status for array in self.received for status in array.status]

    def value(self, key: str) -> str | None:
        for status in reversed(self.statuses()):
            for pair in status.values:
                if pair.key == key:
                    return pair.value
        return None

    def wait_for(self, condition, timeout: float = 10.0):
        """The first status that meets the condition."""
        found: list = []

        def look() -> bool:
            found[:] = [status for status in self.statuses() if condition(status)]
            return bool(found)

        wait(look, timeout, lambda: "; ".join(f"{ord(s.level)} {s.message}" for s in self.statuses()))
        return found[0]


@pytest.fixture
def domain() -> int:
    return 1 + next(DOMAINS) % 76  # make demo is on 77, benchmarks on 78, make soak on 79, make sim on 80


@pytest.fixture(scope="session")
def ros_home(tmp_path_factory) -> Path:
    """Where nodes keep what they find out about this machine; what somebody taught it stays out."""
    return tmp_path_factory.mktemp("ros_home")


@pytest.fixture
def environment(domain: int, ros_home: Path) -> dict:
    return {**os.environ, "ROS_DOMAIN_ID": str(domain), "ROS_HOME": str(ros_home), "RUST_BACKTRACE": "1"}


@pytest.fixture
def start(environment: dict, tmp_path: Path):
    """Starts nodes and stops them after the test; none may end badly."""
    started: list[Process] = []

    def start_node(
        parameters: dict | None = None, arguments: list[str] | None = None, until: str = "ready",
        within: list[str] | None = None,
    ) -> Process:
        process = Process(parameters or {}, arguments or [], environment, tmp_path, within)
        started.append(process)
        process.wait_for(until, 60)
        return process

    yield start_node
    ended = []
    for process in started:
        was_running = process.process.poll() is None or process.is_stopped
        try:
            ended.append((process, was_running, process.stop()))
        except AssertionError:
            ended.append((process, was_running, "none: it did not stop on SIGINT"))
    # All of them have ended before any is judged: one that is left would meet the tests after this one.
    for process, was_running, status in ended:
        assert was_running, f"the node ended by itself with {status}:\n{process.log()}"
        assert status == 0, f"exit status {status}:\n{process.log()}"
        assert "panicked" not in process.log()


@pytest.fixture
def start_doomed(environment: dict, tmp_path: Path):
    """Starts nodes that the test kills, or that are killed after it."""
    started: list[Process] = []

    def start_node(parameters: dict, arguments: list[str] | None = None, until: str = "ready") -> Process:
        started.append(Process(parameters, arguments or [], environment, tmp_path))
        started[-1].wait_for(until, 60)
        return started[-1]

    yield start_node
    for process in started:
        process.process.kill()
        process.process.wait(10)
        process.reader.join(2)


@pytest.fixture
def peer(domain: int):
    peer = Peer(domain)
    yield peer
    peer.close()
