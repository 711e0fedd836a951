"""A model's manifest, and how a picture becomes the network's input."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
MEANINGS = {"traversable": 0, "caution": 1, "obstacle": 2, "background": 3}


@dataclass(frozen=True)
class Place:
    """The part of the picture that the network sees (left, top, width, height), and its size there."""

    source: tuple[float, float, float, float]
    width: int
    height: int


class Model:
    """What `models/NAME.yaml` says."""

    def __init__(self, name: str) -> None:
        self.folder = ROOT / "models"
        self.name, self.manifest = name, yaml.safe_load((self.folder / f"{name}.yaml").read_text())
        self.input = self.manifest["input"]
        self.classification = self.manifest.get("classification")
        self.segmentation = self.manifest.get("segmentation")

    def file(self, precision: str) -> Path:
        paths = {file["precision"]: file["path"] for file in self.manifest["files"]}
        return self.folder / paths[precision]

    def precisions(self) -> list[str]:
        return [file["precision"] for file in self.manifest["files"]]

    def outputs(self, heads: list[str]) -> list[str]:
        """The network's outputs of `labels` and `mask`."""
        specs = {"labels": self.classification, "mask": self.segmentation}
        return [specs[head]["output"] for head in heads]

    def class_names(self) -> list[str]:
        return (self.folder / self.classification["classes"]).read_text().splitlines()

    def place(self, width: int, height: int) -> Place:
        """Of a picture of that size; the fits of the models that the package brings."""
        wanted = self.input["width"], self.input["height"]
        if self.input["fit"] == "aspect":
            scale = min(1.0, (wanted[0] * wanted[1] / (width * height)) ** 0.5)
            sides = [max(64, 8 * int(side * scale / 8 + 0.5)) for side in (width, height)]
            return Place((0, 0, width, height), *sides)
        if self.input["fit"] == "crop":
            scale = min(width, height) / self.input["resize_short_side"]
            cut = wanted[0] * scale, wanted[1] * scale
            return Place(((width - cut[0]) / 2, (height - cut[1]) / 2, *cut), *wanted)
        raise ValueError(f"{self.name}: the benchmarks know no fit {self.input['fit']!r}")

    def pruned(self, precision: str, heads: list[str], folder: Path) -> Path:
        """The network cut down to the heads, as the node runs it; kept in `folder`."""
        import onnx.utils

        source = self.file(precision)
        key = hashlib.sha256(source.read_bytes()).hexdigest()[:12]
        path = folder / f"{source.stem}_{'_'.join(heads)}_{key}.onnx"
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            graph = onnx.load(str(source)).graph
            onnx.utils.extract_model(str(source), str(path), [graph.input[0].name], self.outputs(heads))
        return path
