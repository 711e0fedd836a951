"""Cameras in a process of their own: for each line {"rate": Hz, "seconds": s} on stdin they publish,
evenly staggered, and a line says what was sent. Messages are built and serialized before.
"""

import argparse
import json
import sys
import time

import rclpy
from frames import ENCODINGS, PICTURES, message_type, serialized, stamp, topic
from rclpy.qos import QoSProfile, ReliabilityPolicy


def publish(publishers: list, messages: list[bytearray], rate: float, seconds: float) -> dict:
    """Frames a camera, and how late the latest was."""
    count, cameras = round(seconds * rate), len(publishers)
    started, cpu, latest = time.monotonic(), time.process_time(), 0.0
    for index in range(count * cameras):
        due = started + index / (rate * cameras)
        time.sleep(max(0.0, due - time.monotonic()))
        latest = max(latest, time.monotonic() - due)
        message = messages[index // cameras % len(messages)]
        publishers[index % cameras].publish(stamp(message, time.time_ns()))
    return {
        "sent": count, "seconds": time.monotonic() - started, "latest_ms": 1e3 * latest,
        "cpu_s": time.process_time() - cpu,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cameras", nargs="+", help="names")
    parser.add_argument("--encoding", choices=ENCODINGS, default="bgr8")
    parser.add_argument("--size", default="640x480")
    parser.add_argument("--reliability", choices=["reliable", "best_effort"], default="best_effort")
    args = parser.parse_args()
    width, height = map(int, args.size.split("x"))
    messages = [serialized(name, width, height, args.encoding) for name in PICTURES]
    rclpy.init()
    node = rclpy.create_node("bench_cameras")
    qos = QoSProfile(depth=5, reliability=ReliabilityPolicy[args.reliability.upper()])
    publishers = [
        node.create_publisher(message_type(args.encoding), topic(camera, args.encoding), qos) for camera in args.cameras
    ]
    deadline = time.monotonic() + 60
    while not all(publisher.get_subscription_count() for publisher in publishers):
        if time.monotonic() > deadline:
            sys.exit("nobody subscribed to the cameras within 60 s")
        time.sleep(0.05)
    print(json.dumps({"ready": True, "bytes_per_frame": len(messages[0])}), flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        print(json.dumps(publish(publishers, messages, order["rate"], order["seconds"])), flush=True)
    rclpy.shutdown()


if __name__ == "__main__":
    main()
