"""How soon a saved parameter file holds, and what a model swap costs a 30 Hz stream.

The node runs over DDS with 640x480 bgr8 at 30 Hz, best effort. A save changes `labels.top_k`: timed
from the rename of the file to the first answer with so many labels at the subscriber.
"""

import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import rclpy
import yaml
from frames import serialized, stamp
from harness import Log, Process, arguments, node_binary
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from vision_msgs.msg import Classification

QOS = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)


class Stream:
    """Publishes frames and keeps their stamps, and (arrival, age, number of labels, stamp) of each answer."""

    def __init__(self, node) -> None:
        self.answers, self.stamps, self.is_over = [], [], False
        node.create_subscription(Classification, "/squeezenet/labels", self.on_labels, QOS)
        self.publisher = node.create_publisher(Image, "/camera/image_raw", QOS)
        self.message = serialized("coffee", 640, 480, "bgr8")
        self.thread = threading.Thread(target=self.run, daemon=True)

    def on_labels(self, message: Classification) -> None:
        sent = message.header.stamp
        sent_ns = sent.sec * 10**9 + sent.nanosec
        age = (time.time_ns() - sent_ns) / 1e6
        self.answers.append((time.monotonic(), age, len(message.results), sent_ns))

    def run(self) -> None:
        start = time.monotonic()
        while not self.is_over:
            time.sleep(max(0.0, start + len(self.stamps) / 30 - time.monotonic()))
            self.stamps.append(time.time_ns())
            self.publisher.publish(stamp(self.message, self.stamps[-1]))

    def ages(self, since: float, until: float) -> list[float]:
        return [age for at, age, *_ in self.answers if since <= at < until]


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
        while not (found := [at for at, _, labels, _ in stream.answers[-60:] if at > started and labels == top_k]):
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
        asked, asked_ns = time.monotonic(), time.time_ns()
        future = client.call_async(request)
        while not future.done():
            time.sleep(0.001)
        replied = time.monotonic()
        if not future.result().results[0].successful:
            sys.exit(future.result().results[0].reason)
        time.sleep(1.0)
        until_ns = time.time_ns()
        time.sleep(0.5)
        answered = {stamp_ns for *_, stamp_ns in stream.answers}
        missing = sum(asked_ns <= sent < until_ns and sent not in answered for sent in stream.stamps)
        ages = stream.ages(asked, replied + 1.0)
        rows.append((replied - asked, max(ages), float(np.median(stream.ages(asked - 2.0, asked))), missing))
    return rows


def main() -> None:
    parser = arguments(__doc__, rounds=6)
    parser.add_argument("--saves", type=int, default=20)
    parser.add_argument("--models", nargs=2, default=["squeezenet1_1_imagenet", "squeezenet1_1_street"])
    args = parser.parse_args()
    if args.quick:
        args.rounds, args.saves = 2, 4
    log = Log("reload", vars(args))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "parameters.yaml"
        save(file, 5)
        parameters = {"model": args.models[1], "log_level": "error"}
        process = Process([node_binary()], parameters, ("--params-file", str(file)))
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
                process.check()
                time.sleep(0.05)
            stream.thread.start()
            time.sleep(2.0)
            saves = measure_saves(stream, file, args.saves)
            swaps = measure_swaps(stream, client, args.models, args.rounds)
            stream.is_over = True
            stream.thread.join()
        finally:
            process.end()
            executor.shutdown(timeout_sec=2)
            rclpy.shutdown()
            # A thread that is still inside the client library when Python ends aborts the process.
            spinner.join(5)
    log.write("saves", {"saves": len(saves), "p50": float(np.median(saves)), "max": max(saves)})
    print(f"from save to first answer, {len(saves)} saves: median {np.median(saves):.0f} ms, worst {max(saves):.0f} ms")
    print("swap to                  reply after  age p50 before  worst age  frames not answered")
    for index, (reply, worst, before, missing) in enumerate(swaps):
        model = args.models[index % 2]
        log.write("swap", {
            "to": model, "reply_ms": 1e3 * reply, "age_before": before, "age_max": worst, "not_answered": missing,
        })
        print(f"{model:<24} {1e3 * reply:>8.0f} ms {before:>12.1f} ms {worst:>7.1f} ms {missing:>12}")
    log.end()


if __name__ == "__main__":
    main()
