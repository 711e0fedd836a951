"""The node against the same work in Python (`python_node.py`), taking turns on the same frames.

The Python node runs as ONNX Runtime comes, and with its threads not spinning between frames. That
both do the same work is checked on their masks, confidences and labels.
"""

import sys
from itertools import product

import numpy as np
from harness import BENCH, HERE, Case, Collector, Graph, Log, arguments, automatic_precision
from model import Model
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import Image
from vision_msgs.msg import Classification

NODES = {"node": {}, "python": {}, "python, no spinning": {"spinning": "false"}}


def answers(collector: Collector) -> dict[tuple[str, str], np.ndarray | dict[str, float]]:
    """The latest answer on each topic to each picture: pixels, or scores by name."""
    found = {}
    for name, messages in collector.latest.items():
        for data in messages:
            output = name.rsplit("/", 1)[1]
            message = deserialize_message(data, Classification if output == "labels" else Image)
            if output == "labels":
                answer = {each.class_id: each.score for each in message.results}
            else:
                answer = np.frombuffer(message.data, np.uint8).reshape(message.height, message.width)
            found[output, message.header.frame_id] = answer
    return found


def agreement(ours: dict, theirs: dict) -> dict[str, float]:
    """Shares of pixels of the same id, of pictures with the same first label; differences."""
    pictures = sorted({picture for _, picture in ours} & {picture for _, picture in theirs})

    def both(output: str) -> list[tuple]:
        keys = [(output, name) for name in pictures]
        return [(ours[key], theirs[key]) for key in keys if key in ours and key in theirs]

    labels = both("labels")
    found = {
        "pictures": len(pictures),
        "same_label": float(np.mean([max(a, key=a.get) == max(b, key=b.get) for a, b in labels])),
        "score_difference": max(abs(a[name] - b[name]) for a, b in labels for name in a.keys() & b.keys()),
    }
    if masks := both("mask"):
        found["same_id"] = float(np.mean([(a == b).mean() for a, b in masks]))
    if maps := both("confidence"):
        found["confidence_difference"] = float(np.mean([np.abs(a.astype(float) - b).mean() / 255 for a, b in maps]))
    return found


def main() -> None:
    parser = arguments(__doc__, rounds=3)
    parser.add_argument("--model", default="squeezenet1_1_street")
    parser.add_argument("--precision", default="auto", help="of all; auto takes what the node would")
    parser.add_argument("--frames", nargs="+", default=["640x480:bgr8", "1280x720:jpeg"], help="WIDTHxHEIGHT:ENCODING")
    parser.add_argument("--rates", type=float, nargs="+", default=[5.0, 30.0], help="Hz")
    parser.add_argument("--seconds", type=float, default=4.0, help="of a run, 4")
    parser.add_argument("--resize", default="linear", choices=["linear", "area", "pillow"], help="of the Python node")
    args = parser.parse_args()
    if args.quick:
        args.rounds, args.seconds = 1, 2.0
    model = Model(args.model)
    precision = automatic_precision(model) if args.precision == "auto" else args.precision
    outputs = ("labels", "mask", "confidence") if model.segmentation else ("labels",)
    network = model.pruned(precision, ["labels", "mask"] if model.segmentation else ["labels"], BENCH / "models")
    python = [sys.executable, HERE / "python_node.py"]
    log = Log("python", vars(args) | {"precision": precision})
    reference: dict[str, dict] = {}
    for number, frames in product(range(args.rounds), args.frames):
        size, encoding = frames.split(":")
        width, height = map(int, size.split("x"))
        case = Case(model.name, precision, outputs, width, height, encoding)
        for name, parameters in NODES.items():
            extra = {} if name == "node" else {"network": str(network), "resize": args.resize, **parameters}
            with Graph(case, None if name == "node" else python, extra) as graph:
                records = [graph.measure(rate, args.seconds) for rate in args.rates]
                got = answers(graph.collector)
            if name == "node":
                reference[frames] = got
            else:
                same = agreement(reference[frames], got)
                log.write("agreement", {"node": name, "resize": args.resize, "frames": frames, **same})
            for record in records:
                log.write("run", {"round": number, "node": name, **record})
                print(
                    f"{number + 1}/{args.rounds} {name:<19} {precision} {frames:<13} {record['rate']:>2.0f} Hz"
                    f" {record['answered']:>4}/{record['sent']:<4} age p50 {record['age_p50']:>6.1f} p99"
                    f" {record['age_p99']:>6.1f} ms, CPU {record['cpu_ms_per_frame']:>5.1f} ms/frame,"
                    f" {record['rss_mb']:.0f} MB", flush=True,
                )
        if number == 0:
            # With the node's way of resizing what is left of the difference is that of the rest.
            with Graph(case, python, {"network": str(network), "resize": "pillow"}) as graph:
                same = agreement(reference[frames], answers(graph.collector))
            log.write("agreement", {"node": "python, Pillow's resize", "frames": frames, **same})
    log.end()


if __name__ == "__main__":
    main()
