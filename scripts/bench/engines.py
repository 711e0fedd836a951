"""Inference engines on the same ONNX files, taking turns, each in a process of its own.

Both heads and the classifier alone, fp32 and int8, one and more threads; whether an engine gives
the answers of ONNX Runtime is told beside its time.
"""

import subprocess
from itertools import product

import numpy as np
from harness import BENCH, THREADS, Log, arguments, node_json, session_ms
from model import Model
from session import ENGINES

OUTPUTS = BENCH / "outputs"
HEADS = {"labels and mask": ["labels", "mask"], "labels": ["labels"]}


def agreement(mine: str, reference: str) -> dict[str, float]:
    """Of each output: the share of cells with the same best class, and the largest difference in
    parts of the reference's range."""
    found: dict[str, float] = {"same_class": 1.0, "difference": 0.0}
    with np.load(OUTPUTS / mine) as ours, np.load(OUTPUTS / reference) as theirs:
        # Engines order outputs as they like; their shapes differ.
        by_shape = {ours[name].shape: ours[name] for name in ours}
        for name in theirs:
            expected, got = theirs[name], by_shape[theirs[name].shape]
            found["same_class"] = min(found["same_class"], float((expected.argmax(1) == got.argmax(1)).mean()))
            largest = float(np.abs(expected - got).max() / np.ptp(expected))
            found["difference"] = max(found["difference"], largest)
    return found


def node_ms(model: Model, precision: str, threads: int, frames: int) -> list[dict]:
    """The node's own session, by `squeezenet_node bench`."""
    records = node_json(
        "bench", "--json", "--model", model.name, "--precision", precision, "--threads", str(threads), "--frames", str(frames),
    )
    names = {"labels and masks": "labels and mask", "labels": "labels"}
    return [
        {
            "engine": "node", "precision": precision, "threads": threads, "outputs": names[record["outputs"]],
            "same_class": 1.0, "difference": 0.0,
            **{key: record["stages_ms"]["inference"][key] for key in ("p50", "p95", "p99", "max")},
        }
        for record in records
        if (record["outputs"] in names and (record["precision"], record["threads"]) == (precision, threads))
    ]


def main() -> None:
    parser = arguments(__doc__, rounds=3)
    parser.add_argument("--model", default="squeezenet1_1_street")
    parser.add_argument("--frames", type=int, default=30, help="measured a turn, 30")
    parser.add_argument("--threads", type=int, nargs="+", default=sorted({1, THREADS}))
    args = parser.parse_args()
    if args.quick:
        args.rounds, args.frames = 1, 10
    model = Model(args.model)
    size = f"{model.input['width']}x{model.input['height']}"
    heads = HEADS if model.segmentation else {"labels": ["labels"]}
    log = Log("engines", vars(args))
    unfit: set[tuple] = set()
    for number in range(args.rounds):
        for precision, (name, outputs), threads in product(model.precisions(), heads.items(), args.threads):
            path = model.pruned(precision, outputs, BENCH / "models")
            files = {engine: f"{engine}_{precision}_{threads}_{len(outputs)}.npz" for engine in ENGINES}
            for engine, (_, _, _, precisions) in ENGINES.items():
                case = (engine, precision, name)
                if precision not in precisions or case in unfit:
                    continue
                options = {"engine": engine, "precision": precision, "size": size, "threads": threads}
                try:
                    result = session_ms(path, **options, frames=args.frames, save=OUTPUTS / files[engine])
                except subprocess.CalledProcessError as error:
                    unfit.add(case)
                    reason = error.stderr.strip().splitlines()[-1][:200] if error.stderr else str(error)
                    log.write("unfit", {"engine": engine, "precision": precision, "outputs": name, "reason": reason})
                    print(f"{engine} does not run {precision} {name}: {reason}")
                    continue
                same = agreement(files[engine], files["onnxruntime"])
                log.write("turn", {"round": number, "outputs": name, **result, **same})
                print(
                    f"{number + 1}/{args.rounds} {precision} {name:<15} {threads} threads {engine:<11} p50"
                    f" {result['p50']:>6.2f} p99 {result['p99']:>6.2f} ms, same classes {same['same_class']:.4f}",
                    flush=True,
                )
        for precision, threads in product(model.precisions(), args.threads):
            for record in node_ms(model, precision, threads, args.frames):
                log.write("turn", {"round": number, **record})
    log.end()


if __name__ == "__main__":
    main()
