"""Frames per second of `squeezenet_node replay` against a loop of the bare session, taking turns.

Bags of raw and of JPEG pictures, 640x480; a turn is the loop, the replay, and the loop again, on as many
threads. Then a long bag, for the memory that a replay holds.
"""

import json
import os
import subprocess
import tempfile
import time
from itertools import product
from pathlib import Path

from frames import PICTURES, message_type, serialized, stamp, topic
from harness import BENCH, THREADS, Log, arguments, node_binary, session_ms
from model import Model
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

WIDTH, HEIGHT = 640, 480
START, STEP = 1_700_000_000_000_000_000, 33_333_333


def make_bag(folder: Path, encoding: str, frames: int) -> Path:
    """Each picture for a second, then the next."""
    store = get_typestore(Stores.ROS2_JAZZY)
    name = f"sensor_msgs/msg/{message_type(encoding).__name__}"
    messages = [serialized(picture, WIDTH, HEIGHT, encoding) for picture in PICTURES]
    path = folder / f"{encoding}_{frames}"
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        connection = writer.add_connection(topic("camera", encoding), name, typestore=store)
        for index in range(frames):
            at = START + index * STEP
            writer.write(connection, at, stamp(messages[index // 30 % len(messages)], at))
    return path


def replay(bag: Path, precision: str, more: list[str]) -> dict:
    """Figures of one replay, its start and the loading of the model apart."""
    command = [
        node_binary(), "replay", bag, "--precision", precision, "--threads", str(THREADS), "--report", BENCH / "replay",
        *more,
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"replay of {bag} ended with {process.returncode}")
    report = json.loads((BENCH / "replay" / "report.json").read_text())
    return {
        "frames": report["frames"], "frames_per_s": report["frames_per_s"], "jobs": report["jobs"],
        "cpu_ms_per_frame": 1e3 * (usage.ru_utime + usage.ru_stime) / report["frames"],
        "most_mb": usage.ru_maxrss / 1024,
    }


def main() -> None:
    parser = arguments(__doc__, rounds=5)
    parser.add_argument("--frames", type=int, default=240, help="in each bag, 240")
    parser.add_argument("--long", type=int, default=10_000, help="frames of the long bag, 10000")
    parser.add_argument("--model", default="squeezenet1_1_street")
    args = parser.parse_args()
    if args.quick:
        args.rounds, args.frames, args.long = 1, 40, 200
    model = Model(args.model)
    place = model.place(WIDTH, HEIGHT)
    size = f"{place.width}x{place.height}"
    heads = ["labels", "mask"] if model.segmentation else ["labels"]
    log = Log("replay", vars(args))
    with tempfile.TemporaryDirectory() as folder:
        bags = {encoding: make_bag(Path(folder), encoding, args.frames) for encoding in ("bgr8", "jpeg")}
        for number in range(args.rounds):
            for precision, (encoding, bag) in product(model.precisions(), bags.items()):
                path = model.pruned(precision, heads, BENCH / "models")
                options = {"precision": precision, "size": size, "threads": THREADS, "frames": args.frames // 2}
                before = session_ms(path, **options)
                mine = replay(bag, precision, [])
                one = replay(bag, precision, ["--jobs", "1"])
                after = session_ms(path, **options)
                around = (before["frames_per_s"] + after["frames_per_s"]) / 2
                log.write("turn", {
                    "round": number, "precision": precision, "encoding": encoding, "bare_frames_per_s": around, **mine,
                    "one_frames_per_s": one["frames_per_s"],
                    "share": mine["frames_per_s"] / around, "one_share": one["frames_per_s"] / around,
                })
                print(
                    f"{number + 1}/{args.rounds} {precision} {encoding}: bare {around:.1f}, replay"
                    f" {mine['frames_per_s']:.1f} frames/s ({mine['frames_per_s'] / around:.2f}), one at once"
                    f" {one['frames_per_s'] / around:.2f}",
                    flush=True,
                )
        for frames in (args.long // 10, args.long):
            bag = make_bag(Path(folder), "jpeg", frames)
            started = time.monotonic()
            mine = replay(bag, model.precisions()[-1], [])
            log.write("long", {"precision": model.precisions()[-1], "wall_s": time.monotonic() - started, **mine})
            print(f"{frames} frames: at most {mine['most_mb']:.0f} MB, {mine['frames_per_s']:.1f} frames/s", flush=True)
    log.end()


if __name__ == "__main__":
    main()
