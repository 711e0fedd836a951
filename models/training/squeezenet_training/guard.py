"""`guard`: cells of validation pictures that learning by driving must not unlearn, entered in the model's manifest."""

import argparse
from pathlib import Path

import numpy as np
import onnxruntime
import yaml
from PIL import Image
from safetensors.numpy import save

from .anywhere import HERE, spread
from .anywhere_data import UNLABELLED, Anywhere
from .manifest import digest, write_manifest, write_whole
from .pictures import open_pair
from .preprocess import to_tensor, whole_picture
from .segmentation_data import SegmentationClasses, pairs

GROUND = ("traversable", "caution")
# Cells of the network's grid that make one of the guard set, each way, as the node has it.
BLOCK = 2
# Margins beyond this say no more.
MOST_MARGIN = 8.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--manifest", type=Path, required=True, help="NAME.yaml beside NAME.onnx")
    parser.add_argument("--val", type=Path, nargs="*", default=[], help="folders with images/ and labels/ in the model's own classes, each a domain")
    parser.add_argument("--classes", type=Path, help="the YAML of these labels")
    parser.add_argument("--data", type=Path, help="folder of the sets of `anywhere`, each a domain")
    parser.add_argument("--sets", type=Path, default=HERE / "anywhere.yaml", help="classes, and what each set's labels mean")
    parser.add_argument("--free", action="store_true", help="only sets that a model for any use may learn from")
    parser.add_argument("--pictures", type=int, default=30, help="of each domain")
    parser.add_argument("--cells", type=int, default=500, help="of each domain, half of them ground")
    parser.add_argument("--seed", type=int, default=1)


def domains(args: argparse.Namespace) -> list[tuple[str, list, np.ndarray]]:
    """Name, pairs of picture and label, and what each label is: 1 ground, 0 not, 255 unknown."""
    found = []
    if args.val:
        if not args.classes:
            raise SystemExit("--val needs --classes")
        classes = SegmentationClasses.load(args.classes)
        table = np.full(256, UNLABELLED, np.uint8)
        for index, entry in enumerate(classes.classes):
            table[index] = entry["traversability"] in GROUND
        table[[index for index in classes.ignore if index < len(table)]] = UNLABELLED
        found += [(folder.name, pairs(folder), table) for folder in args.val]
    if args.data:
        anywhere = Anywhere.load(args.sets)
        for one in anywhere.sets:
            folder = args.data / one.folder / "val" if one.folder else None
            if folder is not None and folder.is_dir() and (one.free or not args.free):
                found.append((one.name, pairs(folder), anywhere.ground_of_labels(one)))
    if not found:
        raise SystemExit("no validation pictures: give --val with --classes, or --data")
    return found


def blocks(values: np.ndarray) -> np.ndarray:
    """Means of `BLOCK` x `BLOCK` cells of `[C, H, W]`, as `[cells, C]`."""
    channels, height, width = values.shape
    rows, columns = height // BLOCK, width // BLOCK
    cut = values[:, : rows * BLOCK, : columns * BLOCK].reshape(channels, rows, BLOCK, columns, BLOCK)
    return cut.mean((2, 4)).reshape(channels, -1).T


def cells_of(session: onnxruntime.InferenceSession, manifest: dict, image: Path, label: Path, table: np.ndarray) -> tuple:
    """Features, margins and truth of the cells of a picture that show ground alone, or none of it."""
    segmentation = manifest["segmentation"]
    is_ground = np.array([entry["traversability"] in GROUND for entry in segmentation["classes"]])
    picture, labels = open_pair(image, label)
    view = (manifest["input"]["width"], manifest["input"]["height"])
    tensor = to_tensor(whole_picture(picture, view))
    logits, features = session.run([segmentation["output"], "mask_features"], {"image": tensor})
    logits = logits[0] / segmentation["temperature"]
    # The logarithm of the odds of ground, of all its classes together.
    margins = np.logaddexp.reduce(logits[is_ground]) - np.logaddexp.reduce(logits[~is_ground])
    margins = margins.clip(-MOST_MARGIN, MOST_MARGIN)
    height, width = margins.shape
    # Four looks at each cell, each way.
    looks = (width // BLOCK * 4, height // BLOCK * 4)
    seen = np.asarray(Image.fromarray(table[labels]).resize(looks, Image.Resampling.NEAREST))
    seen = seen.reshape(looks[1] // 4, 4, looks[0] // 4, 4).transpose(0, 2, 1, 3).reshape(-1, 16)
    is_told = (seen == seen[:, :1]).all(1) & (seen[:, 0] != UNLABELLED)
    return blocks(features[0])[is_told], blocks(margins[None])[is_told, 0], seen[is_told, 0]


def run(args: argparse.Namespace) -> None:
    manifest = yaml.safe_load(args.manifest.read_text())
    if not any(one["output"] == "mask_features" for one in manifest.get("features", [])):
        raise SystemExit(f"{args.manifest}: the model does not give `mask_features`, so it cannot learn by driving")
    source = args.manifest.parent / next(f["path"] for f in manifest["files"] if f["precision"] == "fp32")
    session = onnxruntime.InferenceSession(source, providers=["CPUExecutionProvider"])
    random = np.random.default_rng(args.seed)
    kept: list[tuple[np.ndarray, ...]] = []
    for number, (name, files, table) in enumerate(domains(args)):
        found = [cells_of(session, manifest, *pair, table) for pair in spread(files, args.pictures)]
        features, margins, truth = (np.concatenate(part) for part in zip(*found))
        picked = []
        for kind in (0, 1):
            of_kind = np.flatnonzero(truth == kind)
            picked.append(random.choice(of_kind, min(len(of_kind), args.cells // 2), replace=False))
        picked = np.sort(np.concatenate(picked))
        right = float(((margins > 0) == (truth == 1))[picked].mean())
        print(f"{name}: {len(found)} pictures, {len(picked)} cells, the model is right in {right:.3f}", flush=True)
        kept.append((features[picked], margins[picked], truth[picked], np.full(len(picked), number, np.uint8)))
    features, margins, truth, numbers = (np.concatenate(part) for part in zip(*kept))
    target = args.manifest.parent / f"{manifest['name']}_guard.safetensors"
    # Not save_file, whose files are for their owner's eyes alone.
    write_whole(target, save({
        "features": features.astype(np.float16), "margins": margins.astype(np.float32),
        "ground": truth.astype(np.uint8), "domains": numbers,
    }))
    manifest["guard"] = {"path": target.name, "sha256": digest(target)}
    write_manifest(args.manifest, manifest)
    print(f"{target}: {target.stat().st_size} bytes")
