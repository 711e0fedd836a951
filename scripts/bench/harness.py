"""What the benchmarks share: a node as a process, cameras as another, what it answers, what it costs.

Results are JSON lines in .deps/bench/results: first the machine, then a line a run.
"""

import argparse
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict, deque
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticStatus
from frames import message_type, stamp_of, topic
from model import ROOT, Model
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import Image
from vision_msgs.msg import Classification

HERE = Path(__file__).resolve().parent
BENCH = ROOT / ".deps" / "bench"
RESULTS = BENCH / "results"
THREADS = min(4, len(os.sched_getaffinity(0)))
TYPES = {"labels": Classification, "mask": Image, "confidence": Image}
MS = 1e-6

STAGES = ("receive", "decode", "preprocess", "inference", "postprocess", "publish", "total", "age")

# Not that of a robot's nodes; the processes started here inherit it.
os.environ["ROS_DOMAIN_ID"] = os.environ.get("BENCH_DOMAIN_ID", "78")


def node_binary() -> str:
    """The installed node, or the one that cargo built."""
    installed = ROOT / ".deps" / "install" / "lib" / "squeezenet_node" / "squeezenet_node"
    found = installed if installed.exists() else shutil.which("squeezenet_node")
    if not found:
        sys.exit("squeezenet_node is not built: run `make install` first")
    return str(found)


def node_json(*arguments: str | Path) -> list[dict]:
    """The objects that a command of the node prints, one a line."""
    out = subprocess.run([node_binary(), *arguments], check=True, capture_output=True, text=True).stdout
    return [json.loads(line) for line in out.splitlines() if line.startswith("{")]


def automatic_precision(model: Model) -> str:
    """What `precision: auto` takes on this machine."""
    if model.precisions() == ["fp32"]:
        return "fp32"
    return node_json("bench", "--json", "--model", model.name, "--precision", "auto", "--frames", "1")[0]["precision"]


def machine() -> dict:
    """What the figures were taken on."""
    cpuinfo = dict(line.split(":", 1) for line in Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines())
    cpuinfo = {key.strip(): value.strip() for key, value in cpuinfo.items()}
    flags = cpuinfo.get("flags", "").split()
    memory_kb = int(Path("/proc/meminfo").read_text().split()[1])
    commit = subprocess.run(["git", "-C", ROOT, "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    return {
        "processor": cpuinfo.get("model name", platform.machine()),
        "family": f"{cpuinfo.get('cpu family', '?')}, model {cpuinfo.get('model', '?')}",
        "cores": len(os.sched_getaffinity(0)),
        "features": [flag for flag in ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8") if flag in flags],
        "memory_gb": round(memory_kb / 2**20, 1),
        "system": platform.freedesktop_os_release().get("PRETTY_NAME", platform.system()),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in ("onnxruntime", "rclpy", "numpy")},
        "middleware": os.environ.get("RMW_IMPLEMENTATION", "default"),
        "profile": os.environ.get("FASTRTPS_DEFAULT_PROFILES_FILE", "").rsplit("/", 1)[-1],
        "commit": commit.stdout.strip(),
        "load": os.getloadavg()[0],
    }


class Log:
    """One experiment's file of results; each record is written when it is known."""

    def __init__(self, experiment: str, options: dict) -> None:
        RESULTS.mkdir(parents=True, exist_ok=True)
        self.path = RESULTS / f"{experiment}-{time.strftime('%Y%m%d-%H%M%S')}.jsonl"
        self.started = time.monotonic()
        head = {"experiment": experiment, "date": time.strftime("%Y-%m-%d %H:%M"), "options": options}
        self.write("machine", {**head, **machine()})

    def write(self, kind: str, record: dict) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps({"kind": kind, **record}) + "\n")


    def end(self) -> None:
        """What has no such record was cut short, and no report takes it."""
        self.write("end", {"wall_s": time.monotonic() - self.started})
        print(f"raw results: {self.path}")


def arguments(description: str, rounds: int) -> argparse.ArgumentParser:
    """The options that every experiment has."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one short round, to see that it works")
    parser.add_argument("--rounds", type=int, default=rounds, help=f"how often everything is measured, {rounds}")
    return parser


def session_ms(path: Path, **options) -> dict:
    """`session.py` in a process of its own."""
    command = [sys.executable, HERE / "session.py", path]
    for name, value in options.items():
        command += [f"--{name}", str(value)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


class Bare:
    """The network alone in ONNX Runtime: the same file, input size and threads as the node's."""

    def __init__(self, log: Log, frames: int) -> None:
        self.log, self.frames, self.last = log, frames, (None, 0.0)

    def p50(self, case: "Case", is_new: bool = True) -> float:
        """Median in ms; without `is_new` the last one serves, if it was of the same network."""
        model = Model(case.model)
        place = model.place(case.width, case.height)
        heads = [head for head in ("labels", "mask") if head in case.outputs]
        size = f"{place.width}x{place.height}"
        key = (case.model, case.precision, tuple(heads), size)
        if is_new or self.last[0] != key:
            path = model.pruned(case.precision, heads, BENCH / "models")
            options = {"precision": case.precision, "size": size, "threads": THREADS, "frames": self.frames}
            result = session_ms(path, **options)
            self.log.write("bare", {"model": case.model, "outputs": heads, **result})
            self.last = (key, result["p50"])
        return self.last[1]


@dataclass(frozen=True)
class Case:
    """One node and its cameras."""

    model: str
    precision: str
    outputs: tuple[str, ...] = ("labels", "mask")
    width: int = 640
    height: int = 480
    encoding: str = "bgr8"
    cameras: int = 1
    reliability: str = "best_effort"

    def names(self) -> list[str]:
        return ["camera"] if self.cameras == 1 else [f"camera{index}" for index in range(self.cameras)]

    def parameters(self) -> dict[str, str]:
        """The node's."""
        names = self.names()
        parameters = {
            "model": self.model, "precision": self.precision, "inference.threads": str(THREADS), "log_level": "error",
        }
        if len(names) == 1:
            return {**parameters, "image_topic": topic(names[0], self.encoding)}
        parameters["cameras"] = "[" + ", ".join(names) + "]"
        return parameters | {f"{name}.image_topic": topic(name, self.encoding) for name in names}


class Process:
    """A node as a process: started, watched, ended."""

    def __init__(self, command: list, parameters: dict[str, str], more: tuple[str, ...] = ()) -> None:
        ros = ["--ros-args", *more]
        for name, value in parameters.items():
            ros += ["-p", f"{name}:={value}"]
        self.process = subprocess.Popen([*command, *ros])

    def cpu_s(self) -> float:
        """Processor time so far, with that of children that have ended."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")

    def memory_mb(self) -> dict[str, float]:
        """Resident memory, and the part of it that is the process's own and not of files or shared."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        fields = dict(line.split(":", 1) for line in lines)
        return {name: int(fields[key].split()[0]) / 1024 for name, key in (("rss", "VmRSS"), ("own", "RssAnon"))}

    def check(self) -> None:
        if self.process.poll() is not None:
            sys.exit(f"the node ended with {self.process.returncode}; its log stands above")

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


class Collector:
    """Subscribes and keeps stamp and arrival of each answer; messages stay serialized."""

    def __init__(self, topics: dict[str, type], timing: list[str], reliability: str = "reliable") -> None:
        self.arrivals: dict[str, list[tuple[int, int]]] = defaultdict(list)
        self.latest: dict[str, deque[bytes]] = defaultdict(lambda: deque(maxlen=8))
        self.timing: list[bytes] = []
        rclpy.init()
        self.node = rclpy.create_node("bench")
        qos = QoSProfile(depth=10, reliability=ReliabilityPolicy[reliability.upper()])
        for name, kind in topics.items():
            self.node.create_subscription(kind, name, self.keeper(name), qos, raw=True)
        for name in timing:
            self.node.create_subscription(DiagnosticStatus, name, self.timing.append, 10, raw=True)
        self.executor = SingleThreadedExecutor()
        self.executor.add_node(self.node)
        self.thread = threading.Thread(target=self.executor.spin, daemon=True)
        self.thread.start()

    def keeper(self, name: str):
        arrivals, latest = self.arrivals[name], self.latest[name]

        def keep(message: bytes) -> None:
            arrivals.append((stamp_of(message), time.time_ns()))
            latest.append(message)

        return keep

    def clear(self) -> None:
        for kept in (*self.arrivals.values(), self.timing):
            kept.clear()

    def count(self) -> int:
        return sum(map(len, self.arrivals.values()))

    def wait_until_quiet(self, most_s: float = 10.0) -> None:
        """Until half a second has brought nothing."""
        deadline, count = time.monotonic() + most_s, -1
        while count != self.count() and time.monotonic() < deadline:
            count = self.count()
            time.sleep(0.5)

    def ages_ms(self, topics: list[str]) -> list[float]:
        """Of each frame that is answered on all of the topics: from its stamp to the last of them."""
        done: dict[int, list[int]] = defaultdict(list)
        for name in topics:
            for stamp, arrival in self.arrivals[name]:
                done[stamp].append(arrival)
        return [(max(at) - stamp) * MS for stamp, at in done.items() if len(at) == len(topics)]

    def stages_ms(self) -> dict[str, float]:
        """Median of each stage, and of the sums of all but inference, by the node's own clock."""
        times: dict[str, list[float]] = defaultdict(list)
        for message in self.timing:
            # Among them are words, such as the state of the answer, and its frame's stamp.
            pairs = {pair.key: pair.value for pair in deserialize_message(message, DiagnosticStatus).values}
            values = {stage: float(pairs[stage]) for stage in STAGES if stage in pairs}
            for stage, time_ms in values.items():
                times[stage].append(time_ms)
            work = ("decode", "preprocess", "postprocess", "publish")
            times["all but inference"].append(sum(values.get(stage, 0.0) for stage in work))
        return {stage: float(np.median(values)) for stage, values in times.items()}

    def end(self) -> None:
        self.executor.shutdown(timeout_sec=2)
        rclpy.shutdown()
        # A thread that is still inside the client library when Python ends aborts the process.
        self.thread.join(5)


class Cameras:
    """`publish.py` as a process."""

    def __init__(self, case: Case) -> None:
        command = [sys.executable, HERE / "publish.py", *case.names(), "--encoding", case.encoding]
        command += ["--size", f"{case.width}x{case.height}", "--reliability", case.reliability]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def answer(self) -> dict:
        line = self.process.stdout.readline()
        if not line:
            sys.exit("the cameras ended; what went wrong stands above")
        return json.loads(line)

    def publish(self, rate: float, seconds: float) -> dict:
        self.process.stdin.write(json.dumps({"rate": rate, "seconds": seconds}) + "\n")
        self.process.stdin.flush()
        return self.answer()

    def end(self) -> None:
        self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def busy_s() -> float:
    """Time that all processors together have been busy, or taken by other guests of the host."""
    fields = list(map(int, Path("/proc/stat").read_text().splitlines()[0].split()[1:9]))
    return (sum(fields) - fields[3] - fields[4]) / os.sysconf("SC_CLK_TCK")


class Graph:
    """Cameras, a node and a subscriber."""

    def __init__(self, case: Case, command: list | None = None, parameters: dict[str, str] | None = None) -> None:
        self.case, names = case, case.names()
        bases = ["/squeezenet"] if case.cameras == 1 else [f"/squeezenet/{name}" for name in names]
        self.topics = [[f"{base}/{output}" for output in case.outputs] for base in bases]
        types = {name: TYPES[name.rsplit("/", 1)[1]] for topics in self.topics for name in topics}
        self.node = Process(command or [node_binary()], case.parameters() | (parameters or {}))
        self.cameras = Cameras(case)
        self.collector = Collector(types, [f"{base}/timing" for base in bases])

    def __enter__(self) -> "Graph":
        try:
            self.bytes_per_frame = self.cameras.answer()["bytes_per_frame"]
            time.sleep(0.5)
            deadline = time.monotonic() + 30
            while not all(self.collector.arrivals[name] for topics in self.topics for name in topics):
                self.node.check()
                if time.monotonic() > deadline:
                    sys.exit(f"no answer within 30 s: {self.case}")
                self.cameras.publish(10.0, 1.0)
                self.collector.wait_until_quiet()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_) -> None:
        self.cameras.end()
        self.node.end()
        self.collector.end()

    def measure(self, rate: float, seconds: float) -> dict:
        """One run; ages are those of the frames that were answered."""
        self.collector.clear()
        first, cpu, own_cpu, started = self.node.memory_mb(), self.node.cpu_s(), time.process_time(), time.monotonic()
        busy = busy_s()
        sent = self.cameras.publish(rate, seconds)
        self.collector.wait_until_quiet()
        self.node.check()
        cpu, last = self.node.cpu_s() - cpu, self.node.memory_mb()
        own_cpu, wall = time.process_time() - own_cpu, time.monotonic() - started
        others = busy_s() - busy - cpu - own_cpu - sent["cpu_s"]
        by_camera = [self.collector.ages_ms(topics) for topics in self.topics]
        ages = [age for camera in by_camera for age in camera] or [float("nan")]
        p50, p95, p99, most = np.percentile(ages, [50, 95, 99, 100])
        answered = [len(camera) for camera in by_camera]
        return {
            **asdict(self.case), "rate": rate, "seconds": seconds, "offered_hz": sent["sent"] / sent["seconds"],
            "bytes_per_frame": self.bytes_per_frame,
            "sent": sent["sent"] * self.case.cameras, "answered": sum(answered), "answered_by_camera": answered,
            "age_p50": p50, "age_p95": p95, "age_p99": p99, "age_max": most,
            "age_max_by_camera": [max(camera, default=float("nan")) for camera in by_camera],
            "cpu_ms_per_frame": 1e3 * cpu / max(1, sum(answered)), "rss_first_mb": first["rss"], "rss_mb": last["rss"],
            "own_first_mb": first["own"], "own_mb": last["own"], "stages": self.collector.stages_ms(),
            "camera_latest_ms": sent["latest_ms"], "camera_cpu_s": sent["cpu_s"], "subscriber_cpu_s": own_cpu,
            "others_share": max(0.0, others) / (wall * os.cpu_count()),
        }


def transport_ms(case: Case, rate: float = 10.0, seconds: float = 2.0) -> dict:
    """Ages of frames that go straight from the cameras to the subscriber: what DDS and rclpy take."""
    name = topic(case.names()[0], case.encoding)
    cameras = Cameras(case)
    collector = Collector({name: message_type(case.encoding)}, [], case.reliability)
    try:
        cameras.answer()
        time.sleep(0.5)
        sent = cameras.publish(rate, seconds)
        collector.wait_until_quiet()
        ages = collector.ages_ms([name])
    finally:
        cameras.end()
        collector.end()
    p50, p95, p99, most = np.percentile(ages, [50, 95, 99, 100])
    return {
        **asdict(case), "rate": rate, "sent": sent["sent"], "answered": len(ages),
        "age_p50": p50, "age_p95": p95, "age_p99": p99, "age_max": most,
    }
