"""`descriptors`: how a model's feature maps become the vectors that places and labels are known by.

Each descriptor is a row of blocks. A block averages one feature map over a grid, takes square
roots, subtracts the mean of each cell and projects the channels. The projection is a linear
discriminant analysis: the scatter within a view is what darkness, night, shadows, noise and motions
of the camera do to pictures (nobody has to label anything), the scatter between views is that of the
pictures. What is the same in every picture and what changes from look to look both lose weight.
"""

import argparse
import itertools
import json
import random
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import yaml
from onnx.utils import Extractor
from PIL import Image, ImageFilter, ImageOps
from safetensors.numpy import save
from tqdm import tqdm

from .manifest import digest, write_manifest, write_whole
from .pictures import find_pictures, open_picture
from .preprocess import as_fed, to_tensor

# Feature map, rows and columns of the grid, dimensions a cell, weight.
DESCRIPTORS = {
    # Whole rows: a way walked on its other side shifts what is seen sideways, hardly up or down.
    "place": [("fire5", 4, 1, 128, 1.0)],
    "label": [("fire9", 1, 1, 128, 1.0)],
}
RIDGE = 0.01
# Longest sides, pixels, that pictures are learnt at: a small camera's picture is not enlarged, and
# the network finds other features in it.
SIZES = (480, 160)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--manifest", type=Path, required=True, help="NAME.yaml beside NAME.onnx")
    parser.add_argument("--pictures", type=Path, nargs="+", required=True, help="folders of any pictures, the more varied the better; each counts the same")
    parser.add_argument("--count", type=int, default=240, help="pictures to learn from")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)


def changes(picture: Image.Image, random: np.random.Generator) -> list[Image.Image]:
    """The same view on another day."""
    width, height = picture.size
    pixels = np.asarray(picture, np.float32) / 255

    def image(values: np.ndarray) -> Image.Image:
        return Image.fromarray((255 * values).clip(0, 255).astype(np.uint8))

    def part(left: float, top: float, right: float, bottom: float) -> Image.Image:
        box = (int(left * width), int(top * height), int(right * width), int(bottom * height))
        return picture.crop(box).resize(picture.size, Image.Resampling.BILINEAR)

    y, x = np.mgrid[0:height, 0:width] / np.array([height, width]).reshape(2, 1, 1)
    lamps = np.zeros((height, width))
    for _ in range(3):
        at_x, at_y = random.uniform(0, 1), random.uniform(0, 0.5)
        lamps += np.exp(-(((x - at_x) / 0.2) ** 2 + ((y - at_y) / 0.3) ** 2))
    night = 0.5 * pixels**2.2 * (0.35 + 1.2 * lamps[..., None]) * np.array([1.15, 1.0, 0.75])

    def at_night() -> Image.Image:
        return image(night + random.normal(0, 6 / 255, pixels.shape))

    # A night camera: no colours, the little light stretched over the whole range, its noise too.
    grey = at_night().convert("L")
    grey = ImageOps.equalize(grey) if random.uniform() < 0.5 else ImageOps.autocontrast(grey, 2)
    near = []
    for share in (0.75, 0.85):
        left, top = random.uniform(0, 1 - share, 2)
        near.append(part(left, top, left + share, top + share))
    left = random.choice([0, 0.2])
    gains = Image.fromarray(random.uniform(0.25, 1.6, (3, 4)).astype(np.float32))
    shadows = np.asarray(gains.resize(picture.size, Image.Resampling.BICUBIC))[..., None]
    coarse = picture.resize((max(1, width // 4), max(1, height // 4)), Image.Resampling.BILINEAR)
    return [
        image(0.6 * pixels),
        image(pixels**1.8),
        picture.filter(ImageFilter.GaussianBlur(width / 160)),
        image(pixels + random.normal(0, 12 / 255, pixels.shape)),
        part(0.08, 0.08, 0.92, 0.92),
        part(0.1, 0, 1, 1),
        part(0, 0.05, 0.9, 1),
        at_night(),
        grey.convert("RGB"),
        *near,
        part(left, 0, left + 0.8, 1),
        image(1.3 * pixels * random.uniform(0.75, 1.25, 3)),
        image(pixels * shadows),
        coarse.resize(picture.size, Image.Resampling.BILINEAR),
    ]


def averaging(cells: int, length: int) -> np.ndarray:
    """[cells, length]: means over equal parts of an axis, borders within an element shared out."""
    edges = np.arange(length)
    weights = np.zeros((cells, length), np.float32)
    for cell in range(cells):
        start, end = cell * length / cells, (cell + 1) * length / cells
        weights[cell] = np.clip(np.minimum(end, edges + 1) - np.maximum(start, edges), 0, None)
    return weights / weights.sum(1, keepdims=True)


def pool(features: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """[C, H, W] to [rows * columns, C], square roots of the means."""
    over_rows, over_columns = averaging(rows, features.shape[1]), averaging(columns, features.shape[2])
    means = np.einsum("ih,chw,jw->ijc", over_rows, features, over_columns, optimize=True)
    return np.sqrt(means.clip(0)).reshape(rows * columns, -1)


def discriminant(between: np.ndarray, within: np.ndarray, dimensions: int) -> np.ndarray:
    """Columns of largest scatter between views where that within views is one."""
    channels = len(within)
    values, vectors = np.linalg.eigh(within + RIDGE * np.trace(within) / channels * np.eye(channels))
    whitening = vectors / np.sqrt(values) @ vectors.T
    _, axes = np.linalg.eigh(whitening @ between @ whitening)
    return whitening @ axes[:, ::-1][:, :dimensions]


class Maps:
    """Runs the model down to the feature maps that the descriptors read."""

    def __init__(self, manifest: Path, threads: int) -> None:
        self.card = yaml.safe_load(manifest.read_text())
        path = manifest.parent / next(f["path"] for f in self.card["files"] if f["precision"] == "fp32")
        model = onnx.load(path)
        self.names = sorted({block[0] for blocks in DESCRIPTORS.values() for block in blocks})
        model = Extractor(model).extract_model([model.graph.input[0].name], self.names)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self.session = onnxruntime.InferenceSession(model.SerializeToString(), options)

    def __call__(self, picture: Image.Image) -> dict[str, np.ndarray]:
        tensor = to_tensor(as_fed(picture, self.card["input"]))
        maps = self.session.run(self.names, {self.session.get_inputs()[0].name: tensor})
        return {name: values[0] for name, values in zip(self.names, maps)}


def learn(maps: Maps, files: list[Path], seed: int) -> dict[str, np.ndarray]:
    noise = np.random.default_rng(seed)
    grids = sorted({block[:3] for blocks in DESCRIPTORS.values() for block in blocks})
    cells: dict[tuple, list[np.ndarray]] = {grid: [] for grid in grids}
    within: dict[tuple, np.ndarray] = {}
    count = 0
    for file, size in tqdm([*itertools.product(files, SIZES)], desc="pictures", unit="picture"):
        picture = open_picture(file)
        picture.thumbnail((size, size))
        original = maps(picture)
        changed = [maps(other) for other in changes(picture, noise)]
        count += len(changed)
        for grid in grids:
            name, rows, columns = grid
            before = pool(original[name], rows, columns)
            cells[grid].append(before)
            for other in changed:
                difference = pool(other[name], rows, columns) - before
                scatter = difference.T @ difference / len(difference)
                within[grid] = within.get(grid, 0) + scatter
    tensors = {}
    for descriptor, blocks in DESCRIPTORS.items():
        for index, (name, rows, columns, dimensions, _) in enumerate(blocks):
            grid = (name, rows, columns)
            samples = np.stack(cells[grid])
            mean = samples.mean(0)
            centred = (samples - mean).reshape(-1, samples.shape[-1])
            between = centred.T @ centred / len(centred)
            projection = discriminant(between, within[grid] / count / 2, dimensions)
            # safetensors writes the buffer as it lies in memory, whatever the order of its axes.
            tensors[f"{descriptor}.{index}.mean"] = np.ascontiguousarray(mean, np.float32)
            tensors[f"{descriptor}.{index}.projection"] = np.ascontiguousarray(projection, np.float32)
    return tensors


def pick(folders: list[Path], count: int, seed: int) -> list[Path]:
    """`count` pictures, from each folder as many as from the others while it has any."""
    shuffled = []
    for folder in folders:
        files = find_pictures(folder)
        random.Random(seed).shuffle(files)
        shuffled.append(files)
    files = [file for row in itertools.zip_longest(*shuffled) for file in row if file][:count]
    if len(files) < 2:
        raise SystemExit(f"{', '.join(map(str, folders))}: {len(files)} picture to learn from, at least 2 are needed")
    return files


def run(args: argparse.Namespace) -> None:
    files = pick(args.pictures, args.count, args.seed)
    tensors = learn(Maps(args.manifest, args.threads), files, args.seed)
    layout = {
        name: [dict(zip(("map", "rows", "columns", "dimensions", "weight"), block)) for block in blocks]
        for name, blocks in DESCRIPTORS.items()
    }
    path = args.manifest.with_name(f"{args.manifest.stem}_descriptors.safetensors")
    # Not save_file, whose files are for their owner's eyes alone.
    write_whole(path, save(tensors, {"schema": "1", "layout": json.dumps(layout)}))
    manifest = yaml.safe_load(args.manifest.read_text())
    manifest["descriptors"] = {"path": path.name, "sha256": digest(path)}
    write_manifest(args.manifest, manifest)
    print(f"{path}: {path.stat().st_size / 1e6:.2f} MB, learnt from {len(files)} pictures")
