"""`classify`: a folder of class folders -> a classifier head with that many classes."""

import argparse
import json
import random
import time
from pathlib import Path

import matplotlib
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from .backbone import Classifier, SqueezeNet, load_backbone
from .pictures import list_files, list_folders, open_picture
from .preprocess import crop_picture, to_tensor
from .segment import check_names, learning_rate, restore, seed_all, seed_worker
from .segmentation_data import photometric
from .segmentation_metrics import confusion

matplotlib.use("Agg")
RESIZE_PER_CROP = 256 / 227


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, help="folder of class folders (ImageFolder layout)")
    parser.add_argument("--val", type=Path, help="folder of the same class folders to score on")
    parser.add_argument("--out", type=Path, required=True, help="run folder: checkpoints, log, confusion matrix")
    parser.add_argument("--backbone", type=Path, help="squeezenet1_1_imagenet.onnx; without it: random weights")
    parser.add_argument("--version", choices=["1.0", "1.1"], default="1.1", help="of SqueezeNet; 1.0 has no weights to start from")
    parser.add_argument("--train-backbone", action="store_true", help="fine-tune the backbone too, at a tenth of the rate")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--size", type=int, default=227, help="of the square crops, pixels")
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--weight-decay", type=float, default=0.01)
    parser.add_argument("--threads", type=int, default=0, help="0: PyTorch's choice")
    parser.add_argument("--workers", type=int, default=1, help="loader processes")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")


class FolderSet(Dataset):
    """Pictures of `folder/CLASS/*`; `augment` gives random crops, else the centre crop."""

    def __init__(self, folder: Path, size: int, augment: bool, names: list[str] | None = None) -> None:
        found = list_folders(folder)
        self.names = names or found
        strangers = sorted(set(found) - set(self.names))
        if strangers:
            raise ValueError(f"{folder}: classes that the training folder lacks: {', '.join(strangers[:5])}")
        if not found:
            raise ValueError(f"{folder}: no class folders")
        self.files = []
        for name in found:
            files = list_files(folder / name, is_deep=True)
            if not files:
                raise ValueError(f"{folder / name}: no JPEG or PNG in this class folder")
            self.files += [(path, self.names.index(name)) for path in files]
        self.size, self.augment = size, augment

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        path, label = self.files[index]
        picture = open_picture(path)
        if self.augment:
            picture = photometric(random_crop(picture, self.size))
        else:
            picture = crop_picture(picture, round(self.size * RESIZE_PER_CROP), (self.size, self.size))
        return torch.from_numpy(to_tensor(picture)[0]), label


def random_crop(picture: Image.Image, size: int) -> Image.Image:
    """A part of 35 to 100 % of the area, its sides at most 4:3 apart, flipped half of the time."""
    area = picture.width * picture.height * random.uniform(0.35, 1.0)
    ratio = (4 / 3) ** random.uniform(-1, 1)
    width = min(picture.width, (area * ratio) ** 0.5)
    height = min(picture.height, (area / ratio) ** 0.5)
    left, top = random.uniform(0, picture.width - width), random.uniform(0, picture.height - height)
    box = (left, top, left + width, top + height)
    picture = picture.resize((size, size), Image.Resampling.BILINEAR, box=box)
    return picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if random.random() < 0.5 else picture


def new_classifier(classes: int) -> Classifier:
    """Small weights: the head ends in a ReLU, and large ones could silence a class for good."""
    classifier = Classifier(classes)
    nn.init.normal_(classifier.conv10.weight, std=0.01)
    nn.init.zeros_(classifier.conv10.bias)
    return classifier


@torch.no_grad()
def score(backbone: SqueezeNet, classifier: Classifier, loader: DataLoader, device: str) -> tuple[dict, np.ndarray]:
    """Top-1, top-5 and the confusion counts `[target, predicted]`."""
    backbone.eval(), classifier.eval()
    classes = classifier.conv10.out_channels
    counts, in_five = np.zeros((classes, classes), np.int64), 0
    for image, label in loader:
        logits = classifier(backbone(image.to(device))["fire9"]).cpu()
        best = logits.topk(min(5, classes), 1).indices
        in_five += (best == label[:, None]).any(1).sum().item()
        counts += confusion(best[:, 0].numpy(), label.numpy(), classes)
    total = counts.sum()
    return {"top1": round(float(np.trace(counts) / total), 4), "top5": round(float(in_five / total), 4)}, counts


def draw_confusion(counts: np.ndarray, names: list[str], path: Path) -> None:
    """Rows are the truth, columns what was answered, each row scaled to 1."""
    import matplotlib.pyplot as plt

    shares = counts / np.maximum(1, counts.sum(1, keepdims=True))
    side = min(24.0, 3.0 + 0.35 * len(names))
    figure, axes = plt.subplots(figsize=(side, side))
    axes.imshow(shares, vmin=0, vmax=1, cmap="Blues")
    if len(names) <= 60:
        axes.set_xticks(range(len(names)), names, rotation=90)
        axes.set_yticks(range(len(names)), names)
    if len(names) <= 20:
        for (row, column), count in np.ndenumerate(counts):
            colour = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, str(count), ha="center", va="center", color=colour)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    figure.savefig(path, dpi=100, bbox_inches="tight")
    plt.close(figure)


def run(args: argparse.Namespace) -> None:
    if args.threads:
        torch.set_num_threads(args.threads)
    seed_all(args.seed)
    args.out.mkdir(parents=True, exist_ok=True)
    train = FolderSet(args.data, args.size, True)
    loader = DataLoader(train, args.batch, shuffle=True, num_workers=args.workers, worker_init_fn=seed_worker)
    val = DataLoader(FolderSet(args.val, args.size, False, train.names), args.batch) if args.val else None
    backbone = load_backbone(args.version, args.backbone)
    if args.backbone is None and not args.train_backbone:
        raise SystemExit("a backbone of random weights must be trained: --train-backbone, or give --backbone")
    backbone.requires_grad_(args.train_backbone).to(args.device)
    classifier = new_classifier(len(train.names)).to(args.device)
    pretrained_rate = 0.1 if args.backbone else 1.0
    groups = [{"params": classifier.parameters(), "rate": 1.0}]
    if args.train_backbone:
        groups.append({"params": backbone.parameters(), "rate": pretrained_rate})
    optimizer = torch.optim.AdamW(groups, lr=args.lr, weight_decay=args.weight_decay)

    def weights() -> dict:
        return {
            "names": train.names, "version": args.version,
            "classifier": classifier.state_dict(), "backbone": backbone.state_dict(),
        }

    first_epoch, checkpoint_path = 0, args.out / "last.pt"
    if checkpoint_path.exists():
        state = torch.load(checkpoint_path, weights_only=True, map_location="cpu")
        check_names(state, train.names, checkpoint_path)
        if state["version"] != args.version:
            raise SystemExit(f"{checkpoint_path}: is of version {state['version']}: take another --out, or --version as it was")
        restore([optimizer], [state["optimizer"]], checkpoint_path)
        classifier.load_state_dict(state["classifier"])
        backbone.load_state_dict(state["backbone"])
        first_epoch = state["epoch"]
        print(f"resumed after epoch {first_epoch}")
    steps = args.epochs * len(loader)
    with (args.out / "log.jsonl").open("a") as log:
        for epoch in range(first_epoch, args.epochs):
            seed_all(args.seed + epoch)
            classifier.train()
            losses, started = [], time.time()
            progress = tqdm(loader, desc=f"epoch {epoch + 1}/{args.epochs}", leave=False)
            for index, (image, label) in enumerate(progress):
                rate = learning_rate(epoch * len(loader) + index, steps, args.lr)
                for group in optimizer.param_groups:
                    group["lr"] = rate * group["rate"]
                with torch.set_grad_enabled(args.train_backbone):
                    maps = backbone(image.to(args.device))
                logits = classifier(maps["fire9"])
                loss = F.cross_entropy(logits, label.to(args.device), label_smoothing=0.1)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
                progress.set_postfix(loss=f"{np.mean(losses[-20:]):.3f}")
            record = {
                "epoch": epoch + 1, "loss": round(float(np.mean(losses)), 4),
                "seconds": round(time.time() - started, 1),
            }
            if val is not None:
                scores, counts = score(backbone, classifier, val, args.device)
                record |= scores
                draw_confusion(counts, train.names, args.out / "confusion.png")
            log.write(json.dumps(record) + "\n")
            log.flush()
            tqdm.write(json.dumps(record))
            state = weights() | {"optimizer": optimizer.state_dict(), "epoch": epoch + 1}
            torch.save(state, checkpoint_path.with_suffix(".tmp"))
            checkpoint_path.with_suffix(".tmp").replace(checkpoint_path)
    torch.save(weights(), args.out / "final.pt")
