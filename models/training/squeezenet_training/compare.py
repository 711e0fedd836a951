"""`compare`: SqueezeNet 1.0 and 1.1 side by side: accuracy, parameters, multiply-adds, latency."""

import argparse
import csv
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn

from .backbone import Classifier, SqueezeNet, load_pretrained
from .pictures import open_picture
from .preprocess import VIEW, crop_picture, to_tensor
from .segmenter import SegmentationBranch, check_size

CROPS = {"1.0": (224, 224), "1.1": (227, 227)}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--backbone", type=Path, help="squeezenet1_1_imagenet.onnx; without it: random weights")
    parser.add_argument("--imagenet", type=Path, help="folder of pictures with labels.csv (file, class_index)")
    parser.add_argument("--classes", type=int, default=11, help="of the segmentation branch")
    parser.add_argument("--size", type=int, nargs=2, default=VIEW, metavar=("WIDTH", "HEIGHT"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=15, help="timed runs of each; they take turns")
    parser.add_argument("--out", type=Path, help="Markdown file for the table")


class Network(nn.Module):
    """The classifier alone, or with the segmentation branch."""

    def __init__(self, backbone: SqueezeNet, classifier: Classifier, branch: SegmentationBranch | None) -> None:
        super().__init__()
        self.backbone, self.classifier, self.branch = backbone, classifier, branch

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        maps = self.backbone(image)
        logits = self.classifier(maps["fire9"])
        return (logits,) if self.branch is None else (logits, self.branch(maps)[0])


@torch.no_grad()
def multiply_adds(network: nn.Module, image: Tensor) -> int:
    """Of all convolutions on the way; the rest is small beside them."""
    total = 0

    def count(layer: nn.Conv2d, _: tuple, output: Tensor) -> None:
        nonlocal total
        total += output.numel() * layer.weight[0].numel()

    hooks = [m.register_forward_hook(count) for m in network.modules() if isinstance(m, nn.Conv2d)]
    network(image)
    for hook in hooks:
        hook.remove()
    return total


def session(network: Network, image: Tensor, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder) / "network.onnx"
        torch.onnx.export(network, (image,), path, input_names=["image"], opset_version=17, dynamo=False)
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def latencies(sessions: list[onnxruntime.InferenceSession], images: list[np.ndarray], rounds: int) -> list[float]:
    """Median milliseconds of each. They take turns, so that a busy moment hits all alike."""
    times = [[] for _ in sessions]
    for turn in range(rounds + 2):
        for own, one, image in zip(times, sessions, images):
            started = time.perf_counter()
            one.run(None, {"image": image})
            if turn >= 2:
                own.append(1e3 * (time.perf_counter() - started))
    return [float(np.median(own)) for own in times]


@torch.no_grad()
def accuracy(backbone: SqueezeNet, classifier: Classifier, folder: Path, size: tuple[int, int]) -> str:
    backbone.eval(), classifier.eval()
    first = five = total = 0
    for row in csv.DictReader((folder / "labels.csv").open()):
        picture = crop_picture(open_picture(folder / row["file"]), 256, size)
        best = classifier(backbone(torch.from_numpy(to_tensor(picture)))["fire9"])[0].topk(5).indices.tolist()
        truth = int(row["class_index"])
        first, five, total = first + (best[0] == truth), five + (truth in best), total + 1
    return f"{first / total:.3f} / {five / total:.3f} ({total} pictures)"


def run(args: argparse.Namespace) -> None:
    check_size(args.size)
    torch.manual_seed(1)
    rows, sessions, images = [], [], []
    for version in ("1.0", "1.1"):
        backbone, classifier = SqueezeNet(version), Classifier(1000)
        scores = "no weights in a registry: train your own"
        if version == "1.1" and args.backbone:
            backbone, classifier = load_pretrained(args.backbone)
            scores = accuracy(backbone, classifier, args.imagenet, CROPS[version]) if args.imagenet else "not measured"
        branch = SegmentationBranch(args.classes, version=version)
        for heads, network, size in (
            ("classification", Network(backbone, classifier, None), CROPS[version]),
            ("classification", Network(backbone, classifier, None), tuple(args.size)),
            ("both", Network(backbone, classifier, branch), tuple(args.size)),
        ):
            network.eval()
            image = torch.zeros(1, 3, size[1], size[0])
            parameters = sum(p.numel() for p in network.parameters())
            if network.branch is not None:
                parameters -= sum(p.numel() for p in branch.auxiliary.parameters())
            rows.append([
                version, heads, f"{size[0]}x{size[1]}", scores if size == CROPS[version] else "",
                f"{parameters / 1e6:.2f} M", f"{multiply_adds(network, image) / 1e9:.2f} G",
            ])
            sessions.append(session(network, image, args.threads))
            images.append(image.numpy())
    for row, latency in zip(rows, latencies(sessions, images, args.rounds)):
        row.append(f"{latency:.1f} ms")
    header = ["SqueezeNet", "heads", "input", "ImageNet top-1 / top-5", "parameters", "multiply-adds", f"latency, {args.threads} threads"]
    table = "\n".join(
        f"| {' | '.join(cells)} |" for cells in [header, ["---"] * len(header), *rows]
    )
    print(table)
    if args.out:
        args.out.write_text(table + "\n")
