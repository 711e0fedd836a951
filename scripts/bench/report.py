"""Turns the newest results into docs/benchmarks.md and its plots: medians over the rounds, and ratios."""

import argparse
import json
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from model import ROOT
from plot import pyplot
from session import ENGINES

RESULTS = ROOT / ".deps" / "bench" / "results"
PAGE = ROOT / "docs" / "benchmarks.md"
COMMANDS = {
    "node": "make bench-node", "python": "make bench-python", "engines": "make bench-engines",
    "reload": "make bench-reload", "replay": "make bench-replay",
}
CASE = ["precision", "outputs", "width", "height", "encoding", "cameras", "rate", "reliability"]
PLAIN = {"width": 640, "height": 480, "encoding": "bgr8", "cameras": 1, "reliability": "best_effort"}
NAN = float("nan")


class Results:
    """The newest file of an experiment that came to its end, of quick runs or of others."""

    def __init__(self, experiment: str, folder: Path, is_quick: bool) -> None:
        self.experiment, self.head, self.records = experiment, None, []
        for file in sorted(folder.glob(f"{experiment}-*.jsonl"), reverse=True):
            head, *records = [json.loads(line) for line in file.read_text().splitlines()]
            if head["options"]["quick"] == is_quick and records and records[-1]["kind"] == "end":
                self.head, self.records = head, records
                break

    def of(self, kind: str, **fields) -> list[dict]:
        return [
            record for record in self.records
            if record["kind"] == kind and all(record.get(name) == value for name, value in fields.items())
        ]

    def made(self) -> str:
        """How the section's figures came about."""
        if self.head is None:
            return f"Not measured yet: `{COMMANDS[self.experiment]}`."
        options = self.head["options"]
        quick = " **A quick run, to see that it works: its figures mean nothing.**" if options["quick"] else ""
        models = " and ".join(options["models"] if "models" in options else [options["model"]])
        minutes = self.records[-1]["wall_s"] / 60
        return f"`{COMMANDS[self.experiment]}`, {models}, {self.head['date']}, {options['rounds']} rounds in {minutes:.1f} min.{quick}"


def median(values: Iterable[float]) -> float:
    values = [value for value in values if value is not None and not np.isnan(value)]
    return float(np.median(values)) if values else NAN


def grouped(records: list[dict], keys: list[str]) -> list[dict]:
    """One record for all rounds of a case: the median of each number, how many there were."""
    groups: dict[str, list[dict]] = defaultdict(list)
    for record in records:
        groups[json.dumps([record.get(key) for key in keys])].append(record)
    rows = []
    for same in groups.values():
        row = dict(same[0]) | {"runs": len(same)}
        for name, value in same[0].items():
            if isinstance(value, (int, float)) and name not in keys:
                row[name] = median(record.get(name, NAN) for record in same)
        if "stages" in row:
            row["stages"] = {
                stage: median(record["stages"].get(stage, NAN) for record in same) for stage in same[0]["stages"]
            }
        if row.get("cameras", 1) > 1:
            row["unfairness"] = median(map(unfairness, same))
        if "bare_p50" in row:
            for name in ("age_p50", "age_p99"):
                row[f"{name}_ratio"] = median(record[name] / record["bare_p50"] for record in same)
        rows.append(row)
    return rows


def is_saturated(row: dict) -> bool:
    return row["answered"] < 0.98 * row["sent"]


def table(head: list[str], rows: list[list]) -> str:
    """Numbers stand to the right; floats with the digits that they are worth."""
    def text(value) -> str:
        if not isinstance(value, float):
            return str(value)
        digits = next((digits for least, digits in ((100, 0), (10, 1), (0.1, 2)) if abs(value) >= least), 3)
        return "-" if np.isnan(value) else f"{value:.{digits}f}"

    first = rows[0] if rows else head
    lines = [head, ["---" if isinstance(cell, str) else "---:" for cell in first], *rows]
    return "\n".join("| " + " | ".join(text(cell) for cell in line) + " |" for line in lines)


def share(row: dict) -> str:
    return f"{100 * row['answered'] / row['sent']:.0f} %"


def offered(row: dict) -> int | str:
    """Hz asked for, and those that the cameras' process reached where it did not keep up."""
    is_late = row["offered_hz"] < 0.95 * row["rate"]
    return f"{row['rate']:.0f} (was {row['offered_hz']:.0f})" if is_late else int(row["rate"])


def heads(row: dict) -> str:
    return " and ".join(row["outputs"]) if isinstance(row["outputs"], list) else row["outputs"]


# --- Sections -------------------------------------------------------------------------------------


def machine_section(all_results: list[Results]) -> str:
    heads_ = [results.head for results in all_results if results.head]
    if not heads_:
        return "Nothing has been measured yet: run `make bench`."
    machines = {
        f"{head['processor']} (family {head['family']}), {head['cores']} cores, {', '.join(head['features'])}"
        for head in heads_
    }
    last = heads_[-1]
    versions = ", ".join(f"{name} {number}" for name, number in last["packages"].items())
    models = {head["options"]["model"] for head in heads_ if "model" in head["options"]}
    lines = [f"Model: {model}." for model in sorted(models)]
    lines += [f"Processor: {machine}." for machine in sorted(machines)]
    lines.append(
        f"{last['memory_gb']} GB of memory, {last['system']}, Python {last['python']}, {versions}, {last['middleware']}"
        f" with `{last['profile']}`, commits {', '.join(sorted({h['commit'] for h in heads_}))}."
    )
    shares = [record["others_share"] for results in all_results for record in results.of("run")]
    if shares:
        lines.append(
            f"While the nodes ran, other programs (the middleware's kernel work among them) took"
            f" {100 * median(shares):.0f} % of the processors, at worst {100 * max(shares):.0f} %."
        )
    return "\n".join(lines)


def verdict(values: list[tuple[str, float]], is_reached, digits: int = 2) -> list[str]:
    """What was measured, and whether that reaches the target."""
    known = [(name, value) for name, value in values if not np.isnan(value)]
    if not known:
        return ["-", "not measured"]
    reached = sum(is_reached(value) for _, value in known)
    word = "yes" if reached == len(known) else "**no**" if not reached else f"**in {reached} of {len(known)}**"
    return ["; ".join(f"{name} {value:.{digits}f}" for name, value in known), word]


def targets_section(node: Results, python: Results, replay: Results) -> str:
    both = ["labels", "mask"]
    runs = grouped(node.of("run", outputs=both, **PLAIN), CASE)
    calm = [row for row in runs if row["rate"] in (5.0, 30.0)]

    def age(key: str) -> list[tuple[str, float]]:
        star = {True: "\\*", False: ""}
        return [(f"{row['precision']} {row['rate']:.0f} Hz{star[is_saturated(row)]}", row[key]) for row in calm]

    besides = [
        (row["precision"], 100 * row["stages"]["all but inference"] / row["stages"]["inference"])
        for row in calm if row["rate"] == 5.0
    ]
    by_case = {(heads(row), row["precision"]): row for row in grouped(node.of("run", rate=5.0, **PLAIN), CASE)}
    int8 = [
        (wanted, by_case[wanted, "fp32"]["age_p50"] / by_case[wanted, "int8"]["age_p50"])
        for wanted in ("labels and mask", "labels") if {(wanted, "fp32"), (wanted, "int8")} <= by_case.keys()
    ]
    fair = [
        (f"{row['width']}x{row['height']} {row['encoding']}", 100 * row["unfairness"])
        for row in grouped(node.of("run", cameras=4, rate=30.0), CASE)
    ]
    ratios = [(label, ratio) for label, ratio in python_ratios(python) if label.startswith("640x480 bgr8")]
    ratios = [(label.removeprefix("640x480 bgr8 "), ratio) for label, ratio in ratios]
    shares = [
        (f"{row['precision']} {row['encoding']}", row["share"])
        for row in grouped(replay.of("turn"), ["precision", "encoding"])
    ]
    cpu = [(label, ratio["cpu_ms_per_frame"]) for label, ratio in ratios]
    p99 = [(label, ratio["age_p99"]) for label, ratio in ratios]
    rows = [
        ["Age p50 over bare session p50", "at most 1.15", *verdict(age("age_p50_ratio"), lambda v: v <= 1.15)],
        ["Age p99 over bare session p50", "at most 1.5", *verdict(age("age_p99_ratio"), lambda v: v <= 1.5)],
        ["All but inference, of inference, %", "at most 20", *verdict(besides, lambda v: v <= 20, 0)],
        ["fp32 over int8, age p50 at 5 Hz", "at least 1.8", *verdict(int8, lambda v: v >= 1.8)],
        ["Python node over node, processor a frame", "at least 3", *verdict(cpu, lambda v: v >= 3)],
        ["Python node over node, age p99", "at least 2", *verdict(p99, lambda v: v >= 2)],
        ["Four cameras at 30 Hz, farthest from the mean, %", "at most 10", *verdict(fair, lambda v: v <= 10, 0)],
        ["Replay over bare loop, frames a second", "at least 0.9", *verdict(shares, lambda v: v >= 0.9)],
    ]
    return table(["what", "target", "measured", "reached"], rows) + (
        "\n\nWithout another word: both heads, 640x480 bgr8, one camera. \\* More frames came than the processor"
        "\ncan answer: the frame that is taken has waited for the one before, which the bare session never does."
    )


def unfairness(row: dict) -> float:
    """The camera that is farthest from the mean of the answered frames, as a share of that."""
    counts = row["answered_by_camera"]
    mean = sum(counts) / len(counts)
    return max(abs(count - mean) for count in counts) / mean if mean else NAN


def grid_runs(node: Results) -> list[dict]:
    """All heads, the precision that the node would take, cameras as drivers publish."""
    runs = grouped(node.of("run", reliability="best_effort", precision=node.head["options"]["precision"]), CASE)
    most = max((len(row["outputs"]) for row in runs), default=0)
    return [row for row in runs if len(row["outputs"]) == most]


def grid_section(node: Results) -> str:
    runs = grid_runs(node)
    runs.sort(key=lambda row: (row["cameras"], row["width"], row["encoding"], row["rate"]))
    rows = [
        [
            f"{row['width']}x{row['height']} {row['encoding']}", row["cameras"], offered(row), share(row),
            row["age_p50"], row["age_p95"], row["age_p99"], row["age_max"], row["bare_p50"],
            row["age_p50_ratio"], row["age_p99_ratio"], row["cpu_ms_per_frame"], round(row["rss_mb"]), row["runs"],
        ]
        for row in runs
    ]
    head = [
        "frames", "cameras", "Hz each", "answered", "age p50", "p95", "p99", "max", "bare p50", "p50 / bare",
        "p99 / bare", "CPU ms a frame", "MB", "runs",
    ]
    title = f"{heads(runs[0]).capitalize()}, {runs[0]['precision']}.\n\n" if runs else ""
    return title + table(head, rows)


def heads_section(node: Results) -> str:
    reliable = PLAIN | {"reliability": "reliable"}
    runs = grouped([*node.of("run", **PLAIN), *node.of("run", **reliable)], CASE)
    runs = [row for row in runs if row["rate"] in (5.0, 30.0)]
    runs.sort(key=lambda row: (row["outputs"], row["precision"], row["reliability"], row["rate"]))
    rows = [
        [
            heads(row), row["precision"], row["reliability"].replace("_", " "), int(row["rate"]), share(row),
            row["age_p50"], row["age_p99"], row["bare_p50"], row["age_p50_ratio"], row["cpu_ms_per_frame"],
            f"{row['own_first_mb']:.0f} to {row['own_mb']:.0f}", row["runs"],
        ]
        for row in runs
    ]
    head = [
        "outputs", "precision", "cameras' QoS", "Hz", "answered", "age p50", "p99", "bare p50", "p50 / bare",
        "CPU ms a frame", "own MB, first to last", "runs",
    ]
    return table(head, rows)


def stages_section(node: Results) -> str:
    stages = ["receive", "decode", "preprocess", "inference", "postprocess", "publish"]
    runs = grouped(node.of("run", cameras=1, rate=5.0, reliability="best_effort"), CASE)
    runs.sort(key=lambda row: (row["outputs"], row["precision"], row["width"], row["encoding"]))
    rows = [
        [
            f"{row['width']}x{row['height']} {row['encoding']}", heads(row), row["precision"],
            *[row["stages"].get(stage, NAN) for stage in stages],
            100 * row["stages"]["all but inference"] / row["stages"]["inference"], row["age_p50"],
        ]
        for row in runs if row["stages"]
    ]
    straight = grouped(node.of("transport"), ["width", "height"])
    lines = [
        f"{row['width']}x{row['height']} bgr8 p50 {row['age_p50']:.1f} ms, p99 {row['age_p99']:.1f} ms"
        for row in straight
    ]
    return table(["frames", "outputs", "precision", *stages, "all but inference, %", "age p50"], rows) + (
        "\n\nMedians in ms by the node's clock, at 5 Hz; the age beside them has the way to the node and back in it."
        f"\nA frame that goes straight from the cameras' process to the subscriber takes: {'; '.join(lines)}."
    )


def fair_section(node: Results) -> str:
    rows = []
    for record in node.of("run", cameras=4, rate=30.0):
        counts = record["answered_by_camera"]
        rows.append([
            f"{record['width']}x{record['height']} {record['encoding']}", record["round"] + 1, record["seconds"],
            record["sent"] // 4, ", ".join(map(str, counts)), 100 * unfairness(record), record["age_p50"],
            record["age_p99"], record["age_max"],
        ])
    rows.sort(key=lambda row: (row[0], row[1]))
    head = [
        "frames", "round", "s", "sent a camera", "answered of each", "farthest from mean, %", "age p50", "p99", "max",
    ]
    return table(head, rows)


def python_rows(python: Results) -> list[dict]:
    return grouped(python.of("run"), ["node", "width", "height", "encoding", "rate"])


def python_ratios(python: Results) -> list[tuple[str, dict[str, float]]]:
    """The Python nodes' figures over the node's, of the same frames, the median over the rounds."""
    found = []
    runs = python.of("run")
    cases = {(r["width"], r["height"], r["encoding"], r["rate"], r["node"]): None for r in runs if r["node"] != "node"}
    for width, height, encoding, rate, name in cases:
        fields = {"width": width, "height": height, "encoding": encoding, "rate": rate}
        ours = {record["round"]: record for record in python.of("run", node="node", **fields)}
        theirs = {record["round"]: record for record in python.of("run", node=name, **fields)}
        rounds = ours.keys() & theirs.keys()
        ratio = {
            key: median(theirs[number][key] / ours[number][key] for number in rounds)
            for key in ("age_p50", "age_p99", "cpu_ms_per_frame", "rss_mb")
        }
        found.append((f"{width}x{height} {encoding} {rate:.0f} Hz {name.replace('python, ', '')}", ratio))
    return found


def python_section(python: Results) -> str:
    rows = [
        [
            f"{row['width']}x{row['height']} {row['encoding']}", int(row["rate"]), row["node"], share(row),
            row["age_p50"], row["age_p95"], row["age_p99"], row["age_max"], row["cpu_ms_per_frame"], row["rss_mb"],
            row["runs"],
        ]
        for row in sorted(python_rows(python), key=lambda r: (r["width"], r["encoding"], r["rate"], r["node"]))
    ]
    head = ["frames", "Hz", "node", "answered", "age p50", "p95", "p99", "max", "CPU ms a frame", "MB", "runs"]
    ratios = [
        [name, ratio["age_p50"], ratio["age_p99"], ratio["cpu_ms_per_frame"], ratio["rss_mb"]]
        for name, ratio in python_ratios(python)
    ]
    same = [
        [
            row["node"], row["frames"].replace(":", " "), int(row["pictures"]), 100 * row.get("same_id", NAN),
            row.get("confidence_difference", NAN), 100 * row["same_label"], row["score_difference"],
        ]
        for row in grouped(python.of("agreement"), ["node", "frames"])
    ]
    options = python.head["options"] if python.head else {}
    return "\n\n".join([
        f"Labels, mask and confidence, {options.get('precision')}, as many threads each; the Python node resizes with"
        f" OpenCV's `INTER_{options.get('resize', '').upper()}`.",
        table(head, rows),
        "The Python node over the node:",
        table(["frames, rate, which", "age p50", "age p99", "CPU a frame", "memory"], ratios),
        "The same work? Against the node's answers to the same pictures. OpenCV's resize smooths less than the node's,"
        "\nwhich follows Pillow, as training did; with Pillow's the masks are nearly the same.",
        table(
            ["Python node", "frames", "pictures", "mask: same ids, %", "confidence: mean difference",
             "same first label, %", "largest difference of a score"], same,
        ),
    ])


def engines_section(engines: Results) -> str:
    turns = grouped(engines.of("turn"), ["engine", "precision", "threads", "outputs"])
    reference = {(r["precision"], r["threads"], r["outputs"]): r["p50"] for r in turns if r["engine"] == "onnxruntime"}
    names = {key: name for key, (name, *_) in ENGINES.items()} | {"node": "squeezenet_node (ONNX Runtime)"}
    versions = {row["engine"]: row["version"] for row in turns if "version" in row}
    order = list(names)
    turns.sort(key=lambda r: (len(r["outputs"]) < 10, r["precision"], r["threads"], order.index(r["engine"])))
    rows = [
        [
            row["outputs"], row["precision"], int(row["threads"]),
            f"{names[row['engine']]} {versions.get(row['engine'], '')}".strip(), row["p50"], row["p95"], row["p99"],
            reference.get((row["precision"], row["threads"], row["outputs"]), NAN) / row["p50"],
            "-" if row["engine"] in ("node", "onnxruntime") else f"{100 * row['same_class']:.2f} %",
            row["runs"],
        ]
        for row in turns
    ]
    head = ["outputs", "precision", "threads", "engine", "p50", "p95", "p99", "times as fast", "same classes", "runs"]
    by_case = {(row["engine"], row["precision"], row["threads"], row["outputs"]): row["p50"] for row in turns}
    gains = [
        [names[engine], outputs, int(threads), p50 / by_case[engine, "int8", threads, outputs]]
        for (engine, precision, threads, outputs), p50 in by_case.items()
        if precision == "fp32" and (engine, "int8", threads, outputs) in by_case
    ]
    unfit = {
        f"{names[record['engine']]} does not run {record['precision']} {record['outputs']}: {record['reason']}"
        for record in engines.of("unfit")
    }
    return "\n\n".join([
        table(head, rows),
        "Times as fast: against ONNX Runtime with the same file and threads. Same classes: cells of the coarser output"
        "\nwhose best class is ONNX Runtime's with the same file, on noise, where much is near a tie.",
        "What int8 gives (p50 of fp32 over that of int8):", table(["engine", "outputs", "threads", "gain"], gains),
        *sorted(unfit),
    ])


def reload_section(reload: Results) -> str:
    lines = [
        f"From the save to the first answer at the subscriber: median {row['p50']:.0f} ms, worst {row['max']:.0f} ms,"
        f" of {row['saves']} saves."
        for row in reload.of("saves")
    ]
    columns = {
        "to": "swap to", "reply_ms": "reply after, ms", "age_before": "age p50 before", "age_max": "worst age",
        "not_answered": "frames not answered",
    }
    rows = [[row[name] for name in columns] for row in reload.of("swap")]
    return "\n\n".join([*lines, table(list(columns.values()), rows)])


def replay_section(replay: Results) -> str:
    rows = [
        [
            row["precision"], row["encoding"], row["bare_frames_per_s"], row["frames_per_s"], row["share"],
            row["one_share"], row["cpu_ms_per_frame"], round(row["most_mb"]), row["runs"],
        ]
        for row in grouped(replay.of("turn"), ["precision", "encoding"])
    ]
    head = [
        "precision", "pictures", "bare loop, frames/s", "replay, frames/s", "replay / bare", "one frame at once / bare",
        "CPU ms a frame", "most MB", "runs",
    ]
    long = [[int(row["frames"]), row["frames_per_s"], round(row["most_mb"])] for row in replay.of("long")]
    return "\n\n".join([
        "Bags of 640x480 pictures, both heads, as many threads; the bare loop runs before and after each replay.",
        table(head, rows),
        "A long bag of JPEG pictures:", table(["frames", "frames/s", "most MB"], long),
    ])


def criterion_section(folder: Path) -> str:
    """Medians that `cargo bench` left behind, with what they are worth against the slowest of their group."""
    rows = []
    for file in sorted(folder.glob("**/new/estimates.json")):
        about = json.loads((file.parent / "benchmark.json").read_text())
        median_ms = json.loads(file.read_text())["median"]["point_estimate"] / 1e6
        rows.append((about["group_id"] if about["function_id"] else "", about["function_id"] or about["group_id"], median_ms))
    slowest = defaultdict(float)
    for group, _, time in rows:
        slowest[group] = max(slowest[group], time)
    shown = [[group or "-", name, f"{time:.3f}", f"{slowest[group] / time:.1f}" if group else "-"] for group, name, time in rows]
    head = ["stage", "how", "median, ms", "times as fast as the slowest"]
    return "`make bench-stages`: one thread, no ROS.\n\n" + table(head, shown) if rows else ""


# --- Plots ----------------------------------------------------------------------------------------


def plot(node: Results, path: Path) -> None:
    """Age and processor time over picture size, cameras and rate."""
    plt = pyplot()
    runs = grid_runs(node)
    vga = [row for row in runs if (row["width"], row["height"]) == (640, 480)]
    panels = [
        ("megapixels a frame", lambda row: row["width"] * row["height"] / 1e6, "encoding",
         [row for row in runs if row["cameras"] == 1 and row["rate"] == 5]),
        ("cameras", lambda row: row["cameras"], "rate", [row for row in vga if row["encoding"] == "bgr8"]),
        ("Hz", lambda row: row["rate"], "encoding", [row for row in vga if row["cameras"] == 1]),
    ]
    titles = ["one camera, 5 Hz", "640x480 bgr8", "one camera, 640x480"]
    figure, axes = plt.subplots(2, 3, figsize=(9, 5), sharex="col")
    for column, (label, x_of, by, rows) in enumerate(panels):
        for value in sorted({row[by] for row in rows}):
            line = sorted((row for row in rows if row[by] == value), key=x_of)
            if len(line) < 2:
                continue
            name = f"{value:.0f} Hz" if by == "rate" else value
            x = [x_of(row) for row in line]
            axes[0][column].plot(x, [row["age_p50"] for row in line], marker="o", label=name)
            axes[1][column].plot(x, [row["cpu_ms_per_frame"] for row in line], marker="o", label=name)
        bare: dict[float, list[float]] = defaultdict(list)
        for row in rows:
            bare[x_of(row)].append(row["bare_p50"])
        if bare:
            x = sorted(bare)
            axes[0][column].plot(x, [median(bare[at]) for at in x], color="gray", linestyle=":", label="bare session")
        axes[0][column].set_title(titles[column])
        axes[1][column].set_xlabel(label)
        for row in (0, 1):
            axes[row][column].set_ylim(0, 1.1 * axes[row][column].get_ylim()[1])
            axes[row][column].grid(alpha=0.3)
        if axes[0][column].lines:
            axes[0][column].legend(fontsize=7)
    axes[0][0].set_ylabel("age p50, ms")
    axes[1][0].set_ylabel("CPU ms a frame")
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})


INTRODUCTION = """# Benchmarks

Made by `make bench` or by its parts, with as many rounds as each section says; no figure is written by
hand. The raw results are JSON lines in `.deps/bench/results`.

| command | what it measures | about |
| --- | --- | --- |
| `make bench` | all of the following but the last two, then this page | 35 min |
| `make bench-node` | the node over DDS against the bare session | 15 min |
| `make bench-python` | the node against the same work in Python | 5 min |
| `make bench-engines` | inference engines on the same files | 4 min |
| `make bench-stages` | each stage alone, against the obvious alternative (criterion) | 2 min |
| `make bench-reload` | saved parameters and model swaps in a running stream | 1 min |
| `make bench-replay` | `replay` against a loop of the bare session, and over 10,000 frames | 10 min |
| `make bench-frontier` | accuracy against time over sizes of the input, for the model's card | 2 min |
| `make bench-report` | this page anew from the newest results | |

`make bench BENCH='--quick'` runs a part of each once, to see that it works, and leaves this page alone;
`BENCH='--rounds 5'` measures more.

## How to read it

- **Everything takes turns.** What is compared runs alternately, in the same run on the same machine.
  The bare session is timed before, between and after the nodes; a ratio is that of a run and of the two
  timings around it. Figures of different runs or machines are not comparable, their ratios are.
- **Figures are medians over the rounds**, of percentiles within a run. At 5 Hz a run has some twenty
  frames, and its p99 is nearly its worst.
- **Age** is now minus the picture's stamp, in ms, when the last of a frame's outputs is in the subscriber,
  an rclpy process; the cameras are another. The stamp is taken before the picture is published, so both
  ways through DDS count, and what cameras and subscriber take from the processor counts as well.
- **Bare session** is ONNX Runtime alone, in Python, run after run: the same file cut down to the same
  outputs, the same input size and threads. It runs a last `DepthToSpace`, too, which the node leaves out.
- **CPU** is processor time of the node's process over the frames answered, all threads; **MB** is resident memory.
- A node that gets more frames than it can answer takes the newest. What it answers then has
  waited for the frame before, up to one time through: ages of twice the bare session are as good as they get.
- The machine is shared: worst cases are as much the neighbours' as the node's.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--quick", action="store_true", help="of the newest quick runs, beside their results")
    parser.add_argument("--out", type=Path)
    args, _ = parser.parse_known_args()
    args.out = args.out or (RESULTS.parent / PAGE.name if args.quick else PAGE)
    node, python, engines, reload, replay = (Results(name, args.results, args.quick) for name in COMMANDS)
    sections: list[tuple[str, Results | None, str]] = [("Targets", None, targets_section(node, python, replay))]
    if node.head:
        picture = args.out.parent / "benchmarks" / "growth.svg"
        plot(node, picture)
        sections += [
            ("Node against bare session", node, grid_section(node)),
            ("How cost grows", None, f"![Age and processor time](benchmarks/{picture.name})"),
            ("Heads, precision, QoS", node, "640x480 bgr8, one camera.\n\n" + heads_section(node)),
            ("Where the time goes", node, stages_section(node)),
            ("Four cameras, saturated", node, fair_section(node)),
        ]
    sections += [
        ("Node against Python", python, python_section(python) if python.head else ""),
        ("Engines", engines, engines_section(engines) if engines.head else ""),
        ("Stages", None, criterion_section(ROOT / "target" / "criterion") or "Not measured yet: `make bench-stages`."),
        ("Reloading", reload, reload_section(reload) if reload.head else ""),
        ("Replay", replay, replay_section(replay) if replay.head else ""),
    ]
    text = INTRODUCTION + "\n" + machine_section([node, python, engines, reload, replay]) + "\n"
    for title, results, body in sections:
        made = f"{results.made()}\n\n" if results else ""
        text += f"\n## {title}\n\n{made}{body}".rstrip() + "\n"
    args.out.write_text(text)
    print(f"written: {args.out}")


if __name__ == "__main__":
    main()
