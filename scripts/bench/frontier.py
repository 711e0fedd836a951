"""Accuracy against time: a model of ground at several sizes of the network's input.

    make bench-frontier BENCH='--model NAME'

Accuracy is `squeezenet_node masks evaluate` on up to 40 validation pictures of each set of --data, time is
`squeezenet_node bench` of labels and mask, the sizes taking turns. Writes a table and docs/benchmarks/frontier.svg.
"""

import argparse
import json
import math
import statistics
import tempfile
from pathlib import Path

import yaml
from harness import node_json
from model import ROOT, Model
from plot import pyplot

SIZES = [(640, 480), (480, 360), (384, 288), (320, 240), (256, 192)]
PRECISIONS = ("fp32", "int8")
# One column of the table each.
SETS = {
    "streets (CamVid)": "camvid", "off-road (YCOR)": "outdoor/ycor", "streets on foot (LabelMeFacade)": "outdoor/facade_research_only",
    "a building (DHCN)": "indoor/dhcn_corridor", "homes (NYU)": "indoor/nyuv2_research_only", "rendered rooms": "indoor/rendered",
}


def manifests(model: str, folder: Path) -> dict[tuple[int, int], Path]:
    """The model with other nominal sizes, its files linked."""
    source = Model(model)
    for file in source.folder.iterdir():
        if file.is_file() and file.suffix != ".yaml":
            (folder / file.name).symlink_to(file)
    manifest = {key: value for key, value in source.manifest.items() if key != "self_test"}
    found = {}
    for width, height in SIZES:
        found[width, height] = folder / f"{width}x{height}.yaml"
        sized = {**manifest, "name": f"{model}_{width}", "input": {**source.input, "width": width, "height": height}}
        found[width, height].write_text(yaml.safe_dump(sized))
    return found


def pictures(data: Path, folder: Path, count: int) -> dict[str, Path]:
    """Links to evenly drawn validation pictures of each set, with their classes."""
    found = {}
    for number, (name, place) in enumerate(SETS.items()):
        source, target = data / place / "val", folder / f"set{number}"
        if not source.is_dir():
            print(f"{source} is not there: {name} is left out")
            continue
        files = sorted((source / "images").iterdir())
        for kind in ("images", "labels"):
            (target / kind).mkdir(parents=True)
        for image in files[:: math.ceil(len(files) / count)]:
            (target / "images" / image.name).symlink_to(image)
            (target / "labels" / f"{image.stem}.png").symlink_to(source / "labels" / f"{image.stem}.png")
        classes = data / place / "classes.json"
        if classes.is_file():
            (target / "classes.json").symlink_to(classes)
        else:
            camvid = yaml.safe_load((ROOT / "models" / "training" / "camvid.yaml").read_text())["classes"]
            ids = {str(index): [entry["name"], entry["traversability"]] for index, entry in enumerate(camvid)}
            (target / "classes.json").write_text(json.dumps({"classes": {**ids, str(len(camvid)): ["unlabelled", "ignore"]}}))
        found[name] = target
    return found


def accuracy(manifest: Path, precision: str, sets: dict[str, Path]) -> dict[str, dict]:
    figures = {}
    for name, folder in sets.items():
        (found,) = node_json(
            "masks", "evaluate", "--json", "--model", str(manifest), "--precision", precision, "--classes", str(folder / "classes.json"),
            str(folder / "images"), str(folder / "labels"),
        )
        figures[name] = found.get("figures", found)
    return figures


def milliseconds(files: dict[tuple[int, int], Path], rounds: int, frames: int) -> dict[tuple, float]:
    """Median over the rounds of the median of a frame, by size, precision and threads."""
    measured: dict[tuple, list[float]] = {}
    for _ in range(rounds):
        for size, file in files.items():
            arguments = ["--precision", ",".join(PRECISIONS), "--threads", "1,2", "--frames", str(frames)]
            for run in node_json("bench", "--json", "--model", str(file), *arguments):
                if run["outputs"] == "labels and masks":
                    key = (size, run["precision"], run["threads"])
                    measured.setdefault(key, []).append(run["stages_ms"]["total"]["p50"])
    return {key: statistics.median(values) for key, values in measured.items()}


def draw(path: Path, points: dict[str, list[tuple[float, float, float, str]]], title: str) -> None:
    plt = pyplot()
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6))
    for axis, column, what in ((axes[0], 1, "ground IoU"), (axes[1], 2, "foot within 5 % of the height")):
        for label, line in points.items():
            axis.plot([point[0] for point in line], [point[column] for point in line], marker="o", label=label)
            for point in line:
                axis.annotate(point[3], (point[0], point[column]), textcoords="offset points", xytext=(4, -9), fontsize=7)
        axis.set(xlabel="ms a frame", ylabel=f"{what}, mean of the sets")
        axis.grid(alpha=0.3)
    axes[0].legend(fontsize=7)
    figure.suptitle(title, fontsize=9)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="squeezenet1_1_anywhere")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--pictures", type=int, default=40, help="of each set")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--frames", type=int, default=20, help="of each configuration in each round")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "benchmarks" / "frontier.svg")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = manifests(options.model, folder)
        sets = pictures(options.data, folder, options.pictures)
        if not sets:
            raise SystemExit(f"{options.data}: none of the sets is there; see --data")
        times = milliseconds(files, options.rounds, options.frames)
        print("| input | precision | ms, 1 thread | ms, 2 threads | " + " | ".join(sets) + " |")
        print("| --- | --- | --- | --- |" + " --- |" * len(sets))
        points: dict[str, list] = {}
        for precision in PRECISIONS:
            for (width, height), file in files.items():
                found = accuracy(file, precision, sets)
                pairs = [(one["ground_iou"], one["foot_within_5_percent"]) for one in found.values()]
                cells = " | ".join(f"{iou:.3f}, {foot:.3f}" for iou, foot in pairs)
                one, two = (times[(width, height), precision, threads] for threads in (1, 2))
                print(f"| {width}x{height} | {precision} | {one:.1f} | {two:.1f} | {cells} |", flush=True)
                means = [statistics.mean(column) for column in zip(*pairs)]
                points.setdefault(f"{precision}, 1 thread", []).append((one, *means, f"{width}"))
                points.setdefault(f"{precision}, 2 threads", []).append((two, *means, f"{width}"))
    draw(options.out, points, f"{options.model}: labels and mask of a frame 640x480, by the width of the network's input")


if __name__ == "__main__":
    main()
