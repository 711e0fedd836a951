"""`segment`: pictures with index masks -> a segmentation branch on the frozen backbone."""

import argparse
import copy
import json
import math
import random
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from .backbone import SqueezeNet, load_pretrained
from .losses import class_weights, segmentation_loss
from .muon import Muon
from .segmentation_data import SegmentationClasses, SegmentationSet
from .segmentation_metrics import confusion, iou, upsampled_probabilities
from .segmentation_pictures import write_best_and_worst
from .segmenter import SegmentationBranch, check_size


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="folders with images/ and labels/")
    parser.add_argument("--val", type=Path, nargs="*", default=[], help="folders to score on")
    parser.add_argument("--classes", type=Path, required=True, help="YAML: name, color, traversability, cost of each class")
    parser.add_argument("--out", type=Path, required=True, help="run folder: checkpoints, log, scores")
    parser.add_argument("--backbone", type=Path, required=True, help="squeezenet1_1_imagenet.onnx")
    parser.add_argument("--init", type=Path, help="final.pt of an earlier run to go on from")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, nargs=2, default=(416, 320), metavar=("WIDTH", "HEIGHT"), help="of the training crops")
    parser.add_argument("--scale", type=float, nargs=2, default=(0.6, 2.0), metavar=("MIN", "MAX"), help="of the training crops")
    parser.add_argument("--lr", type=float, default=8e-3)
    parser.add_argument("--weight-decay", type=float, default=0.02)
    parser.add_argument("--class-weights", type=float, default=1.4, metavar="OFFSET", help="1 / ln(OFFSET + share); 0: all the same")
    parser.add_argument("--lovasz", type=float, default=1.0, help="weight of the Lovász-softmax loss")
    parser.add_argument("--threads", type=int, default=0, help="0: PyTorch's choice")
    parser.add_argument("--workers", type=int, default=1, help="loader processes")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--limit", type=int, help="use the first pictures only (to try things)")
    parser.add_argument("--score-every", type=int, default=5, metavar="EPOCHS")
    parser.add_argument("--bf16", action=argparse.BooleanOptionalAction, help="compute in bf16; by itself where that is fast")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")


def has_fast_bf16(device: str) -> bool:
    """Emulated on processors without AVX-512 BF16 or AMX, where a step takes seven times as long."""
    return device != "cpu" or torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def seed_all(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def seed_worker(_: int) -> None:
    """Each loader process draws its own numbers, the same in every run."""
    seed = torch.initial_seed() % 2**32
    random.seed(seed)
    np.random.seed(seed)


class Averaged:
    """Exponential moving average of a module's weights."""

    def __init__(self, module: nn.Module) -> None:
        self.module = copy.deepcopy(module).eval().requires_grad_(False)
        self.updates = 0

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        self.updates += 1
        decay = min(0.998, (1 + self.updates) / (10 + self.updates))
        for kept, new in zip(self.module.state_dict().values(), module.state_dict().values()):
            if kept.dtype.is_floating_point:
                kept.lerp_(new, 1 - decay)
            else:
                kept.copy_(new)


@torch.no_grad()
def score(
    backbone: SqueezeNet, branch: SegmentationBranch, data: SegmentationSet, device: str
) -> tuple[np.ndarray, list[np.ndarray], list[float]]:
    """Whole pictures, through the node's post-processing: confusion matrix over all of them, each
    one's mask and mean IoU."""
    branch.eval()
    counts = np.zeros((data.count, data.count), np.int64)
    masks, scores = [], []
    for image, target in tqdm(data, desc="scoring", total=len(data), leave=False):
        image = image[None].to(device, memory_format=torch.channels_last)
        logits, _ = branch(backbone(image))
        mask = upsampled_probabilities(logits, target.shape).argmax(1)[0].cpu().numpy()
        own = confusion(mask, target.numpy(), data.count)
        counts += own
        masks.append(mask.astype(np.uint8))
        scores.append(float(np.nanmean(iou(own))) if own.any() else 1.0)
    return counts, masks, scores


def learning_rate(step: int, steps: int, peak: float) -> float:
    """A short linear warm-up, then half a cosine to zero."""
    warm_up = max(1, min(200, steps // 20))
    if step < warm_up:
        return peak * (step + 1) / warm_up
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, steps - warm_up)))


def make_optimizers(branch: SegmentationBranch, args: argparse.Namespace) -> list[torch.optim.Optimizer]:
    """Muon for the weights that are matrices; AdamW for depthwise ones, biases and normalisation."""
    convolutions = [layer for layer in branch.modules() if isinstance(layer, nn.Conv2d)]
    matrices = [layer.weight for layer in convolutions if layer.groups == 1]
    others = [p for p in branch.parameters() if all(p is not matrix for matrix in matrices)]
    groups = [
        {"params": [p for p in others if p.ndim > 1], "weight_decay": args.weight_decay},
        {"params": [p for p in others if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return [torch.optim.AdamW(groups, lr=args.lr), Muon(matrices, args.lr, args.weight_decay)]


def start(branch: SegmentationBranch, path: Path) -> None:
    """From an earlier run; layers that are new, or of another shape, stay random."""
    state, own = torch.load(path, weights_only=True, map_location="cpu"), branch.state_dict()
    fitting = {name: value for name, value in state.items() if name in own and value.shape == own[name].shape}
    branch.load_state_dict(own | fitting)
    print(f"{path}: {len(fitting)} of {len(own)} tensors fit")


def check_names(state: dict, names: list[str], checkpoint: Path) -> None:
    """Refuses to go on where the classes are no longer those that were learnt. A checkpoint of before has no names."""
    known = state.get("names", names)
    if known != names:
        raise SystemExit(
            f"{checkpoint} learnt {', '.join(known)}; now they are {', '.join(names)}: take another --out, or the classes as they were"
        )


def check_crops(args: argparse.Namespace) -> None:
    """Refuses what the branch cannot learn from: it normalises over the pictures of a batch, and halves their sides."""
    if args.batch < 2:
        raise SystemExit(f"--batch {args.batch}: at least 2 are needed")
    check_size(args.size)


def restore(optimizers: list[torch.optim.Optimizer], saved: list[dict], checkpoint: Path, instead: str = "another --out") -> None:
    """Goes on with the state of `saved`; of the settings what the command line says holds, not what it said then."""
    then = [len(one["param_groups"]) for one in saved]
    now = [len(optimizer.param_groups) for optimizer in optimizers]
    if then != now:
        how = "with" if sum(then) > sum(now) else "without"
        raise SystemExit(f"{checkpoint}: was trained {how} the backbone, unlike what is asked for now: take {instead}")
    for optimizer, state in zip(optimizers, saved):
        asked = [{name: value for name, value in group.items() if name != "params"} for group in optimizer.param_groups]
        optimizer.load_state_dict(state)
        for group, settings in zip(optimizer.param_groups, asked):
            group.update(settings)


def run(args: argparse.Namespace) -> None:
    check_crops(args)
    if args.threads:
        torch.set_num_threads(args.threads)
    if args.bf16 is None:
        args.bf16 = has_fast_bf16(args.device)
    seed_all(args.seed)
    args.out.mkdir(parents=True, exist_ok=True)
    classes = SegmentationClasses.load(args.classes)
    train = SegmentationSet(args.data, classes, True, tuple(args.size), args.limit, tuple(args.scale))
    if len(train) < 2:
        raise SystemExit(f"{', '.join(map(str, args.data))}: {len(train)} picture to learn from, at least 2 are needed")
    val = SegmentationSet(args.val, classes, False, limit=args.limit) if args.val else None
    loader = DataLoader(
        train, args.batch, shuffle=True, drop_last=len(train) >= args.batch,
        num_workers=args.workers, worker_init_fn=seed_worker,
    )
    channels_last = {"memory_format": torch.channels_last}
    backbone = load_pretrained(args.backbone)[0].requires_grad_(False).eval()
    backbone.to(args.device, **channels_last)
    branch = SegmentationBranch(len(classes.classes)).to(args.device, **channels_last)
    if args.init:
        start(branch, args.init)
    optimizers = make_optimizers(branch, args)
    averaged = Averaged(branch)
    weights = class_weights(train.pixel_counts(), args.class_weights).to(args.device)
    steps = args.epochs * len(loader)
    first_epoch, best = 0, -1.0
    checkpoint_path = args.out / "last.pt"
    if checkpoint_path.exists():
        state = torch.load(checkpoint_path, weights_only=True, map_location="cpu")
        check_names(state, classes.names, checkpoint_path)
        branch.load_state_dict(state["branch"])
        averaged.module.load_state_dict(state["averaged"])
        averaged.updates = state["updates"]
        restore(optimizers, state["optimizers"], checkpoint_path)
        first_epoch, best = state["epoch"], state["best"]
        print(f"resumed after epoch {first_epoch}")
    log = (args.out / "log.jsonl").open("a")
    for epoch in range(first_epoch, args.epochs):
        seed_all(args.seed + epoch)
        branch.train()
        losses, started = [], time.time()
        progress = tqdm(loader, desc=f"epoch {epoch + 1}/{args.epochs}", leave=False)
        for index, (image, target) in enumerate(progress):
            for group in (group for optimizer in optimizers for group in optimizer.param_groups):
                group["lr"] = learning_rate(epoch * len(loader) + index, steps, args.lr)
            losses.append(train_step(backbone, branch, image, target, optimizers, weights, args))
            averaged.update(branch)
            progress.set_postfix(loss=f"{np.mean(losses[-20:]):.3f}")
        record = {
            "epoch": epoch + 1, "loss": round(float(np.mean(losses)), 4),
            "seconds": round(time.time() - started, 1),
        }
        is_last = epoch + 1 == args.epochs
        if val is not None and ((epoch + 1) % args.score_every == 0 or is_last):
            counts, masks, scores = score(backbone, averaged.module, val, args.device)
            per_class = iou(counts)
            record["mean_iou"] = round(float(np.nanmean(per_class)), 4)
            record["iou"] = dict(zip(classes.names, np.round(per_class, 3).tolist()))
            if record["mean_iou"] > best:
                best = record["mean_iou"]
                torch.save(averaged.module.state_dict(), args.out / "best.pt")
            write_best_and_worst(args.out / "pictures", val, masks, scores, classes)
        log.write(json.dumps(record) + "\n")
        log.flush()
        tqdm.write(json.dumps(record))
        state = {
            "branch": branch.state_dict(), "averaged": averaged.module.state_dict(),
            "updates": averaged.updates, "optimizers": [optimizer.state_dict() for optimizer in optimizers],
            "names": classes.names, "epoch": epoch + 1, "best": best,
        }
        torch.save(state, checkpoint_path.with_suffix(".tmp"))
        checkpoint_path.with_suffix(".tmp").replace(checkpoint_path)
    torch.save(averaged.module.state_dict(), args.out / "final.pt")


def train_step(
    backbone: SqueezeNet, branch: SegmentationBranch, image: Tensor, target: Tensor,
    optimizers: list[torch.optim.Optimizer], weights: Tensor, args: argparse.Namespace,
) -> float:
    image = image.to(args.device, memory_format=torch.channels_last)
    target = target.to(args.device)
    with torch.autocast(args.device, torch.bfloat16, enabled=args.bf16):
        with torch.no_grad():
            maps = backbone(image)
        logits, auxiliary = branch(maps)
    loss = segmentation_loss(logits, auxiliary, target, weights, args.lovasz)
    branch.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(branch.parameters(), 5.0)
    for optimizer in optimizers:
        optimizer.step()
    return loss.item()
