"""`balance`: a bias per class for the segmentation head that balances misses and false alarms.

Class weights, the Lovász-softmax loss and crops around rare classes make a branch see rare
classes too often. One number a class, searched for the best mean IoU over all given folders
(each folder counts the same, so that it fits no single place), takes that back. `export` adds it
to the head's own bias: it costs nothing at run time.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from .backbone import load_pretrained
from .segmentation_data import SegmentationClasses, SegmentationSet
from .segmentation_metrics import confusion, iou, middle_of_cells
from .segmenter import load_branch

STEPS = (0.4, 0.2, 0.1)
LIMIT = 1.2  # beyond it a class would be argued away, not balanced


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--backbone", type=Path, required=True, help="squeezenet1_1_imagenet.onnx")
    parser.add_argument("--segmenter", type=Path, required=True, help="final.pt of a `segment` or `anywhere` run")
    parser.add_argument("--classes", type=Path, required=True, help="the YAML of that run")
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="folders with images/ and labels/")
    parser.add_argument("--pictures", type=int, default=50, help="at most so many of each folder, evenly spread")
    parser.add_argument("--out", type=Path, required=True, help="JSON with the biases")


class Folder:
    """The logits of a folder's pictures, and the truth in the middle of their cells."""

    @torch.no_grad()
    def __init__(self, path: Path, count: int, classes: SegmentationClasses, backbone, branch) -> None:
        data = SegmentationSet([path], classes, False)
        chosen = np.unique(np.linspace(0, len(data) - 1, count).astype(int))
        logits, truth = [], []
        for index in tqdm(chosen.tolist(), desc=path.name, leave=False):
            image, target = data[index]
            found = branch(backbone(image[None]))[0]
            logits.append(found[0].flatten(1).T)
            truth.append(middle_of_cells(target, found).flatten())
        self.classes = data.count
        self.logits, self.truth = torch.cat(logits), torch.cat(truth)
        known = self.truth < data.count
        self.logits, self.truth = self.logits[known], self.truth[known].numpy()

    def mean_iou(self, bias: torch.Tensor) -> float:
        predicted = (self.logits + bias).argmax(1).numpy()
        return float(np.nanmean(iou(confusion(predicted, self.truth, self.classes))))


def search(folders: list[Folder]) -> tuple[torch.Tensor, list[float]]:
    """Coordinate ascent with ever smaller steps; also the mean IoU of each folder with the result."""
    bias = torch.zeros(folders[0].classes)
    scores = [folder.mean_iou(bias) for folder in folders]
    for step in STEPS:
        for index in range(len(bias)):
            for change in (step, -step):
                while abs(bias[index] + change) <= LIMIT + 1e-6:
                    tried = bias.clone()
                    tried[index] += change
                    with_it = [folder.mean_iou(tried) for folder in folders]
                    if np.mean(with_it) <= np.mean(scores) + 1e-5:
                        break
                    bias, scores = tried, with_it
    return bias - bias.mean(), scores


def run(args: argparse.Namespace) -> None:
    classes = SegmentationClasses.load(args.classes)
    backbone = load_pretrained(args.backbone)[0].eval()
    branch = load_branch(args.segmenter, len(classes.classes))
    folders = [Folder(path, args.pictures, classes, backbone, branch) for path in args.data]
    before = [folder.mean_iou(torch.zeros(folder.classes)) for folder in folders]
    bias, after = search(folders)
    record = {
        "bias": [round(value, 2) for value in bias.tolist()],
        "mean_iou_before": {str(p.name): round(s, 4) for p, s in zip(args.data, before)},
        "mean_iou_after": {str(p.name): round(s, 4) for p, s in zip(args.data, after)},
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record, indent=1))
