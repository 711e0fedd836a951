"""`calibrate`: temperatures of both heads, with the calibration error before and after."""

import argparse
import csv
import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from .anywhere_data import UNLABELLED, Anywhere
from .backbone import load_pretrained
from .pictures import open_pair, open_picture
from .preprocess import VIEW, to_tensor, whole_picture
from .segmentation_data import SegmentationClasses, SegmentationSet, pairs
from .segmentation_metrics import calibration_error, confusion, iou, middle_of_cells, upsampled_probabilities
from .segmenter import GroundBranch, load_branch


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--backbone", type=Path, required=True, help="squeezenet1_1_imagenet.onnx")
    parser.add_argument("--imagenet", type=Path, help="folder of pictures with labels.csv (file, class_index)")
    parser.add_argument("--segmenter", type=Path, help="final.pt of a run that has not seen --val")
    parser.add_argument("--classes", type=Path, help="the YAML of that run")
    parser.add_argument("--balance", type=Path, help="JSON of `balance`")
    parser.add_argument("--val", type=Path, nargs="*", default=[])
    parser.add_argument("--sets", type=Path, help="YAML of `anywhere`, instead of --classes: --val is the folder of its sets")
    parser.add_argument("--free", action="store_true", help="with --sets: only those that a model for any use may learn from")
    parser.add_argument("--set-pictures", type=int, default=24, help="with --sets: pictures of each set")
    parser.add_argument("--size", type=int, nargs=2, default=VIEW, metavar=("WIDTH", "HEIGHT"), help="of the network's input")
    parser.add_argument("--out", type=Path, required=True, help="JSON of temperatures and figures")


@torch.no_grad()
def run(args: argparse.Namespace) -> None:
    if args.segmenter and not (args.val and (args.classes or args.sets)):
        raise SystemExit("--segmenter needs --val, and --classes or --sets")
    if not args.segmenter and (args.val or not args.imagenet):
        raise SystemExit("give --segmenter with --val, or --imagenet, or both")
    backbone, classifier = load_pretrained(args.backbone)
    backbone.eval(), classifier.eval()
    branch = described = None
    if args.segmenter:
        described = Anywhere.load(args.sets) if args.sets else SegmentationClasses.load(args.classes)
        branch = load_branch(args.segmenter, len(described.classes), args.balance)
    record: dict = {}
    if args.imagenet:
        # As `export` has it.
        classifier.is_pooled = args.sets is not None or isinstance(branch, GroundBranch)
        record |= classification(args, backbone, classifier)
    if args.segmenter:
        record |= (anywhere if args.sets else segmentation)(args, backbone, branch, described)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record, indent=1))


def classification(args: argparse.Namespace, backbone, classifier) -> dict:
    """Temperature by likelihood; the error after is from the half that it was not fitted on."""
    logits, truth = [], []
    for row in csv.DictReader((args.imagenet / "labels.csv").open()):
        tensor = to_tensor(whole_picture(open_picture(args.imagenet / row["file"]), tuple(args.size)))
        logits.append(classifier(backbone(torch.from_numpy(tensor))["fire9"])[0])
        truth.append(int(row["class_index"]))
    logits, truth = torch.stack(logits), torch.tensor(truth)

    def fit(part: slice) -> float:
        losses = {
            t: torch.nn.functional.cross_entropy(logits[part] / t, truth[part]).item()
            for t in np.arange(0.5, 3.0, 0.02)
        }
        return float(min(losses, key=losses.get))

    def error(temperature: float, part: slice = slice(None)) -> tuple[np.ndarray, np.ndarray]:
        confidence, predicted = torch.softmax(logits[part] / temperature, 1).max(1)
        return confidence.numpy(), (predicted == truth[part]).numpy().astype(float)

    even, odd = slice(0, None, 2), slice(1, None, 2)
    crossed = [error(fit(even), odd), error(fit(odd), even)]
    after = calibration_error(*(np.concatenate(parts) for parts in zip(*crossed)))
    ranked = logits.argsort(1, descending=True)[:, :5]
    return {
        "classification": round(fit(slice(None)), 2),
        "imagenet_dev_top1": round((ranked[:, 0] == truth).float().mean().item(), 4),
        "imagenet_dev_top5": round((ranked == truth[:, None]).any(1).float().mean().item(), 4),
        "classification_ece_before": round(calibration_error(*error(1.0)), 4),
        "classification_ece_after": round(after, 4),
    }


def segmentation(args: argparse.Namespace, backbone, branch, classes: SegmentationClasses) -> dict:
    data = SegmentationSet(args.val, classes, False, view=tuple(args.size))
    pictures, sampled, truths = [], [], []
    for image, target in tqdm(data, total=len(data), leave=False):
        logits = branch(backbone(image[None]))[0]
        pictures.append(logits.half())
        cells, truth = logits[0].flatten(1).T[::13], middle_of_cells(target, logits).flatten()[::13]
        known = truth < data.count
        sampled.append(cells[known])
        truths.append(truth[known])
    sampled, truths = torch.cat(sampled), torch.cat(truths)
    likelihood = {
        t: torch.nn.functional.cross_entropy(sampled / t, truths).item()
        for t in [round(t, 2) for t in np.arange(0.6, 2.51, 0.05)]
    }
    best = min(likelihood, key=likelihood.get)
    counts = np.zeros((data.count, data.count), np.int64)
    answers = {1.0: ([], []), best: ([], [])}
    for index, logits in enumerate(tqdm(pictures, leave=False)):
        target = torch.from_numpy(data.masks[index].copy())
        known = target < data.count
        for temperature, (confidences, corrects) in answers.items():
            confidence, predicted = upsampled_probabilities(logits, target.shape, temperature)[0].max(0)
            confidences.append(confidence[known][::7].numpy())
            corrects.append((predicted == target)[known][::7].numpy().astype(float))
        counts += confusion(predicted.numpy(), target.numpy(), data.count)

    def error(t: float) -> float:
        return calibration_error(*(np.concatenate(parts) for parts in answers[t]))

    per_class = iou(counts)
    flat = [index for index, c in enumerate(classes.classes) if c["traversability"] == "traversable"]
    inside = counts[np.ix_(flat, flat)].sum()
    union = counts[flat].sum() + counts[:, flat].sum() - inside
    return {
        "segmentation": best,
        "val_mean_iou": round(float(np.nanmean(per_class)), 4),
        "val_iou": dict(zip(classes.names, np.round(per_class, 3).tolist())),
        "val_traversable_iou": round(float(inside / union), 4),
        "segmentation_ece_before": round(error(1.0), 4),
        "segmentation_ece_after": round(error(best), 4),
    }


def anywhere(args: argparse.Namespace, backbone, branch, described: Anywhere) -> dict:
    """One temperature for all sets, each counting the same: by the likelihood of the labels' lists of
    classes. Beside it what each set alone would have."""
    if len(args.val) != 1:
        raise SystemExit("--sets: --val is the one folder that the sets lie in")
    meanings = torch.from_numpy(described.meanings)
    temperatures = [round(t, 2) for t in np.arange(0.6, 2.51, 0.05)]
    likelihood = {}
    for one in described.sets:
        folder = args.val[0] / one.folder / "val" if one.folder else None
        if folder is None or not folder.is_dir() or (args.free and not one.free):
            continue
        table, cells, truths = described.table(one), [], []
        files = pairs(folder)
        for image, label in tqdm(files[:: max(1, len(files) // args.set_pictures)], desc=one.name, leave=False):
            picture, mask = open_pair(image, label)
            tensor = torch.from_numpy(to_tensor(whole_picture(picture, tuple(args.size))))
            logits = branch(backbone(tensor))[0]
            rows = Image.fromarray(table[mask])
            rows = np.asarray(rows.resize(logits.shape[:1:-1], Image.Resampling.NEAREST)).astype(np.int64).ravel()
            known = np.flatnonzero(rows != UNLABELLED)[::5]
            cells.append(logits[0].flatten(1).T[known])
            truths.append(torch.from_numpy(rows[known]))
        if not sum(map(len, truths)):
            raise SystemExit(f"{folder}: none of the labels of its pictures is listed under {one.name} in {args.sets}")
        cells, outside = torch.cat(cells), torch.where(meanings[torch.cat(truths)], 0.0, -torch.inf)
        likelihood[one.name] = [
            (torch.logsumexp(cells / t, 1) - torch.logsumexp(cells / t + outside, 1)).mean().item() for t in temperatures
        ]
    if not likelihood:
        raise SystemExit(f"{args.val[0]}: none of the sets of {args.sets} is in this folder")
    best = int(np.mean(list(likelihood.values()), 0).argmin())
    own = {name: temperatures[int(np.argmin(losses))] for name, losses in likelihood.items()}
    return {"segmentation": temperatures[best], "segmentation_by_set": own}
