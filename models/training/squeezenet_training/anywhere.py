"""`anywhere`: all sets of labelled pictures, each with classes of its own -> the branch of squeezenet1_1_anywhere."""

import argparse
import copy
import json
import math
import multiprocessing
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader

from .anywhere_data import GROUND, UNLABELLED, Anywhere, DomainPictures, LabelledSet, ObjectPictures, Stream
from .backbone import Classifier, SqueezeNet, load_pretrained, save_backbone
from .losses import lovasz_softmax
from .muon import Muon
from .pictures import open_pair
from .preprocess import MEAN_BGR, VIEW, to_tensor, whole_picture
from .segment import Averaged, check_crops, check_names, has_fast_bf16, make_optimizers, restore, seed_all
from .segmentation_data import pairs
from .segmentation_metrics import upsampled_probabilities
from .segmenter import GroundBranch, is_wide
from .unfold import load_model

HERE = Path(__file__).parents[1]
STRIDE = 4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, default=HERE.parents[2] / "shared" / "data", help="folder of the sets")
    parser.add_argument("--sets", type=Path, default=HERE / "anywhere.yaml", help="classes, and what each set's labels mean")
    parser.add_argument("--free", action="store_true", help="only sets that a model for any use may learn from")
    parser.add_argument("--without", nargs="*", default=[], metavar="SET", help="sets that are left out of training, not of scores")
    parser.add_argument("--rooms", type=Path, help="folder with images/ and labels/ of more rendered rooms")
    parser.add_argument("--backbone", type=Path, default=HERE.parent / "squeezenet1_1_imagenet.onnx")
    parser.add_argument("--out", type=Path, required=True, help="run folder: checkpoints, log, curves; goes on where it stopped")
    parser.add_argument("--backbone-rate", type=float, default=0.0, metavar="SHARE", help="the backbone's rate as a share of --lr; 0: it stays as it is")
    parser.add_argument("--objects", type=Path, help="folder of pictures of things, looked at beside the sets: animals are no ground; with --backbone-rate their labels must not be unlearnt")
    parser.add_argument("--keep", type=float, default=1.0, help="with --backbone-rate: weight of what holds labels and maps to those of --backbone")
    parser.add_argument("--repaint", type=float, default=0.0, metavar="SHARE", help="how often the ground, or something else, gets another colour, and how often patches of sun or shadow")
    parser.add_argument("--mix", type=float, default=0.0, metavar="SHARE", help="how often half of what another crop of the same set shows lies over a crop")
    parser.add_argument("--wide", action="store_true", help="a wider branch: more accurate, and a third more time for both heads")
    parser.add_argument("--init", type=Path, help="what to go on from: stable.pt of another run, final.pt (weights alone), or an exported .onnx")
    parser.add_argument("--minutes", type=float, default=60.0, help="time of training, earlier parts of the same run included")
    parser.add_argument("--steps", type=int, help="train for so many steps in all, those of --init and of earlier parts included, instead of a time: the same on any machine")
    parser.add_argument("--cool", type=float, default=0.3, metavar="SHARE", help="the last part of the training, in which the rate falls to zero")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, nargs=2, default=(416, 320), metavar=("WIDTH", "HEIGHT"), help="of the training crops")
    parser.add_argument("--view", type=int, nargs=2, default=VIEW, metavar=("WIDTH", "HEIGHT"), help="of the network")
    parser.add_argument("--lr", type=float, default=8e-3)
    parser.add_argument("--weight-decay", type=float, default=0.02)
    parser.add_argument("--threads", type=int, default=0, help="0: PyTorch's choice")
    parser.add_argument("--workers", type=int, default=1, help="loader processes")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--limit", type=int, help="use the first pictures of each set only (to try things)")
    parser.add_argument("--score-every", type=float, default=8.0, metavar="MINUTES")
    parser.add_argument("--score-pictures", type=int, default=32, help="of each validation set, while training")
    parser.add_argument("--bf16", action=argparse.BooleanOptionalAction, help="compute in bf16; by itself where that is fast")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")


class MeaningsLoss(nn.Module):
    """Cross-entropy and Lovász terms where a label is a list of classes."""

    def __init__(self, anywhere: Anywhere, weights: np.ndarray) -> None:
        super().__init__()
        meanings = torch.from_numpy(anywhere.meanings)
        ground = torch.from_numpy(anywhere.ground)
        self.register_buffer("meanings", meanings)
        self.register_buffer("ground", ground)
        self.register_buffer("is_single", meanings.sum(1) == 1)
        # 1: every class of the list is ground; 0: none is; -1: some are.
        some, every = (meanings & ground).any(1), (meanings <= ground).all(1)
        self.register_buffer("kind", torch.where(every, 1, torch.where(some, -1, 0)))
        self.register_buffer("weights", torch.tensor(weights, dtype=torch.float32))

    def cross_entropy(self, logits: Tensor, rows: Tensor) -> Tensor:
        """`[P, classes]` and `[P]`: -log of the sum of the probabilities of a label's classes."""
        outside = torch.where(self.meanings[rows], 0.0, -torch.inf)
        losses = torch.logsumexp(logits, 1) - torch.logsumexp(logits + outside, 1)
        weights = self.weights[rows]
        return (losses * weights).sum() / weights.sum().clamp_min(1.0)

    def ground_terms(self, logits: Tensor, kind: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Cross-entropy (weighted) and Lovász loss of ground against the rest, where that is known."""
        logits, weights, kind = logits[kind >= 0], weights[kind >= 0], kind[kind >= 0]
        if not len(kind):
            return logits.sum() * 0.0, logits.sum() * 0.0
        ground = torch.logsumexp(logits[:, self.ground], 1)
        other = torch.logsumexp(logits[:, ~self.ground], 1)
        pair = torch.stack([other, ground], 1)
        losses = F.cross_entropy(pair, kind, reduction="none") * weights
        return losses.sum() / weights.sum(), lovasz_softmax(torch.softmax(pair, 1), kind)

    def lovasz_of_classes(self, logits: Tensor, rows: Tensor) -> Tensor:
        """Of each class that a label names alone; labels whose list holds it among others say nothing of it."""
        probabilities = torch.softmax(logits, 1)
        losses = []
        for row in torch.unique(rows).tolist():
            if not self.is_single[row]:
                continue
            index = int(self.meanings[row].nonzero())
            told = (rows == row) | ~self.meanings[rows, index]
            losses.append(lovasz_softmax_of(probabilities[told, index], (rows[told] == row).float()))
        return torch.stack(losses).mean() if losses else logits.sum() * 0.0

    def forward(self, logits: Tensor, auxiliary: Tensor, target: Tensor) -> Tensor:
        """On the logits' own grid: each cell is compared with one of its pixels at random."""
        dy, dx = torch.randint(0, STRIDE, (2,)).tolist()
        cells = target[:, dy::STRIDE, dx::STRIDE].long()
        kind = torch.where(cells == UNLABELLED, -1, self.kind[cells.clamp_max(len(self.kind) - 1)])
        weights = foot_weights(kind).flatten()
        rows = cells.flatten()
        flat = logits.float().permute(0, 2, 3, 1).flatten(0, 2)
        # Every other labelled cell: neighbours tell nearly the same, and it takes half the time.
        known = (rows != UNLABELLED).nonzero()[:, 0][int(torch.randint(0, 2, ())) :: 2]
        flat, rows = flat[known], rows[known]
        ground, ground_lovasz = self.ground_terms(flat, self.kind[rows], weights[known])
        some = torch.randperm(len(rows), device=rows.device)[: 16384]
        loss = self.cross_entropy(flat, rows) + 0.5 * ground + 0.5 * ground_lovasz
        loss = loss + 0.7 * self.lovasz_of_classes(flat[some], rows[some])
        coarse = target[:, dy::8, dx::8].flatten().long()
        known = coarse != UNLABELLED
        side = auxiliary.float().permute(0, 2, 3, 1).flatten(0, 2)[known]
        return loss + 0.3 * self.cross_entropy(side, coarse[known])


class Kept(nn.Module):
    """Holds a backbone that learns to the labels and maps that it had: what the classifier, which stays as it is, and
    place descriptors read."""

    MAPS = ("fire5", "fire7", "fire9")

    def __init__(self, backbone: SqueezeNet, classifier: Classifier) -> None:
        super().__init__()
        self.backbone = copy.deepcopy(backbone).eval().requires_grad_(False)
        self.classifier = classifier.eval().requires_grad_(False)
        self.classifier.is_pooled = True

    def forward(self, image: Tensor, maps: dict[str, Tensor]) -> Tensor:
        """Divergence of the labels, and the squared change of each map as a share of its square."""
        with torch.no_grad():
            before = self.backbone(image)
            wanted = torch.log_softmax(self.classifier(before["fire9"]).float(), 1)
        labels = torch.log_softmax(self.classifier(maps["fire9"]).float(), 1)
        loss = F.kl_div(labels, wanted, reduction="batchmean", log_target=True)
        for name in self.MAPS:
            old = before[name].float()
            loss = loss + 0.5 * (maps[name].float() - old).square().mean() / old.square().mean()
        return loss


def foot_weights(kind: Tensor) -> Tensor:
    """What a cell counts for finding the foot of each column, from `kind` `[N, h, w]`: three times as much where
    ground is free down to the lower edge, where a false obstacle would hide all beyond it, and about the foot."""
    stands = (kind == 0).flip(1).cummax(1).values.flip(1)
    edge = stands[:, :-1] & ~stands[:, 1:]
    about = F.max_pool2d(F.pad(edge.float(), (0, 0, 0, 1)), (5, 1), 1, (2, 0)) > 0
    return torch.where(about | ~stands, 3.0, 1.0)


def lovasz_softmax_of(probability: Tensor, foreground: Tensor) -> Tensor:
    """The Lovász-softmax loss of one class."""
    errors, order = (foreground - probability).abs().sort(descending=True)
    ordered = foreground[order]
    total = ordered.sum()
    jaccard = 1.0 - (total - ordered.cumsum(0)) / (total + (1.0 - ordered).cumsum(0))
    jaccard = torch.cat([jaccard[:1], jaccard[1:] - jaccard[:-1]])
    return (errors * jaccard).sum()


def meaning_weights(anywhere: Anywhere, domains: list[DomainPictures]) -> np.ndarray:
    """1 / ln(1.4 + share), where a label's share is counted as the domains are drawn; mean 1."""
    counts = np.zeros(len(anywhere.meanings))
    for domain in domains:
        own = sum(np.bincount(target[::4, ::4].ravel(), minlength=256) for _, target in domain.pictures)
        own = own[: len(counts)]
        counts += domain.set.share * own / max(1, own.sum())
    weights = 1.0 / np.log(1.4 + counts / max(1e-9, counts.sum()))
    return weights / weights.mean()


@torch.no_grad()
def ground_scores(
    backbone: SqueezeNet, branch: GroundBranch, anywhere: Anywhere, one: LabelledSet,
    files: list[tuple[Path, Path]], view: tuple[int, int], device: str,
) -> dict:
    """IoU of ground, share of obstacles called ground, accuracy of the label's list, over whole pictures."""
    table, rows = anywhere.ground_of_labels(one), anywhere.table(one)
    sums = torch.from_numpy(anywhere.kinds).float()
    hits = union = false = other = right = known = 0
    for image, label in files:
        picture, label = open_pair(image, label)
        tensor = torch.from_numpy(to_tensor(whole_picture(picture, view))).to(device)
        logits = branch(backbone(tensor))[0]
        probabilities = upsampled_probabilities(logits, label.shape)[0].cpu()
        mask = probabilities.argmax(0).numpy()
        truth, row = table[label], rows[label]
        # As the node has it: the traversability that has the most in sum.
        said = torch.einsum("kc,chw->khw", sums, probabilities).argmax(0).numpy() < len(GROUND)
        is_told = truth != UNLABELLED
        is_ground = truth == 1
        hits += (said & is_ground)[is_told].sum()
        union += (said | is_ground)[is_told].sum()
        false += (said & ~is_ground)[is_told].sum()
        other += (~is_ground)[is_told].sum()
        right += anywhere.meanings[row[is_told], mask[is_told]].sum()
        known += is_told.sum()
    return {
        "ground_iou": round(float(hits / max(1, union)), 4), "obstacles_as_ground": round(float(false / max(1, other)), 4),
        "right": round(float(right / max(1, known)), 4),
    }


def done(seconds: float, step: int, args: argparse.Namespace) -> float:
    """The share of the training that is behind."""
    return step / args.steps if args.steps else seconds / (60 * args.minutes)


def rate(seconds: float, step: int, args: argparse.Namespace) -> float:
    """A short warm-up in steps, then flat, then falling straight to zero over the last part of the training."""
    left = 1.0 - done(seconds, step, args)
    return args.lr * min(1.0, (step + 1) / 150) * max(0.0, min(1.0, left / max(args.cool, 1e-9)))


def validation(anywhere: Anywhere, args: argparse.Namespace) -> list[tuple[str, LabelledSet, list[tuple[Path, Path]]]]:
    """Every set's own validation pictures, and those of training that wait until late."""
    found = []
    for one in anywhere.sets:
        folder = args.data / one.folder / "val" if one.folder else None
        if folder is None or not folder.is_dir():
            continue
        files = pairs(folder)
        found.append((one.name, one, spread(files, args.score_pictures)))
        if one.late:
            late = [pair for pair in pairs(args.data / one.folder / "train") if pair[0].name.startswith(one.late)]
            found.append((f"{one.name}_{one.late}", one, spread(late, args.score_pictures)))
    return found


def spread(files: list, count: int) -> list:
    step = max(1, math.ceil(len(files) / count))
    return files[::step]


def domains_of(anywhere: Anywhere, args: argparse.Namespace) -> list[DomainPictures]:
    domains = []
    for one in anywhere.sets:
        folder = args.rooms if one.folder == "rooms" else one.folder and args.data / one.folder / "train"
        if folder is None or one.name in args.without or (args.free and not one.free):
            continue
        if not folder.is_dir():
            raise SystemExit(f"{folder}: set {one.name} of {args.sets} is not there; see --data, --without")
        domain = DomainPictures(anywhere, one, folder, tuple(args.view), args.limit)
        print(f"{one.name}: {len(domain.pictures)} pictures, {len(domain.late)} late", flush=True)
        domains.append(domain)
    return domains


def draw_curves(log: Path, path: Path) -> None:
    """Loss and each set's IoU of ground against time, as a picture."""
    import matplotlib
    matplotlib.use("Agg")
    from matplotlib import pyplot

    records = [json.loads(line) for line in log.read_text().splitlines()]
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(12, 4.5))
    losses = [r for r in records if "loss" in r]
    left.plot([r["minutes"] for r in losses], [r["loss"] for r in losses])
    left.set(xlabel="minutes", ylabel="loss")
    scored = [r for r in records if "scores" in r]
    for name in sorted({name for r in scored for name in r["scores"]}):
        own = [(r["minutes"], r["scores"][name]["ground_iou"]) for r in scored if name in r["scores"]]
        right.plot(*zip(*own), marker="o", label=name)
    right.set(xlabel="minutes", ylabel="IoU of ground, validation", ylim=(0.3, 1))
    right.legend(fontsize="small")
    figure.tight_layout()
    figure.savefig(path, dpi=90)
    pyplot.close(figure)


def save(state: dict, path: Path) -> None:
    torch.save(state, path.with_suffix(".tmp"))
    path.with_suffix(".tmp").replace(path)


def run(args: argparse.Namespace) -> None:
    check_crops(args)
    if args.threads:
        torch.set_num_threads(args.threads)
    if args.bf16 is None:
        args.bf16 = has_fast_bf16(args.device)
    seed_all(args.seed)
    args.out.mkdir(parents=True, exist_ok=True)
    anywhere = Anywhere.load(args.sets)
    domains = domains_of(anywhere, args)
    channels_last = {"memory_format": torch.channels_last}
    backbone, classifier = load_pretrained(args.backbone)
    classifier = classifier.to(args.device)
    backbone = backbone.requires_grad_(args.backbone_rate > 0).eval().to(args.device, **channels_last)
    kept = Kept(backbone, classifier).to(args.device, **channels_last) if args.backbone_rate else None
    branch = GroundBranch(len(anywhere.classes), args.wide).to(args.device, **channels_last)
    optimizers = make_optimizers(branch, args)
    averaged = Averaged(branch)
    averaged_backbone = Averaged(backbone)
    if kept:
        backbone.conv1.requires_grad_(False)
        learning = [p for p in backbone.parameters() if p.requires_grad]
        own = [
            Muon([p for p in learning if p.ndim > 1], args.lr, 0.0),
            torch.optim.AdamW([p for p in learning if p.ndim == 1], args.lr, weight_decay=0.0),
        ]
        for group in (group for optimizer in own for group in optimizer.param_groups):
            group["share"] = args.backbone_rate
        optimizers += own
    criterion = MeaningsLoss(anywhere, meaning_weights(anywhere, domains)).to(args.device)
    last = args.out / "last.pt"
    step, seconds = 0, 0.0
    is_cooling = False

    def read(path: Path) -> dict:
        """A checkpoint, or weights alone, of a branch as wide as ours."""
        state = torch.load(path, weights_only=True, map_location=args.device)
        if is_wide(state.get("branch", state)) != args.wide:
            raise SystemExit(f"{path}: is of a branch of another width: {'leave out' if args.wide else 'give'} --wide")
        if state.get("branch", state)["head.weight"].shape[1] != GroundBranch.WIDTH:
            raise SystemExit(f"{path}: is of the narrower branch of before, which cannot go on")
        check_names(state, anywhere.names, path)
        return state

    def load(state: dict, path: Path, instead: str = "another --out") -> None:
        restore(optimizers, state["optimizers"], path, instead)
        branch.load_state_dict(state["branch"])
        averaged.module.load_state_dict(state["averaged"])
        averaged.updates = state["updates"]
        backbone.load_state_dict(state["backbone"])
        averaged_backbone.module.load_state_dict(state["averaged_backbone"])
        averaged_backbone.updates = state["updates"]

    if last.exists():
        state = read(last)
        load(state, last)
        step, seconds, is_cooling = state["step"], state["seconds"], state["is_cooling"]
        print(f"resumed after step {step}, {seconds / 60:.1f} minutes", flush=True)
    nothing = next((one for one in anywhere.sets if one.name == "nothing" and one.name not in args.without), None)
    is_late = multiprocessing.Value("b", int(is_cooling))
    if args.objects:
        if nothing is None:
            raise SystemExit("--objects: the set `nothing` tells what is no ground; it cannot be left out")
        row = int(anywhere.table(nothing)[0])
        domains.append(ObjectPictures(args.objects, tuple(args.view), row, backbone.eval(), classifier.eval()))
    stream = Stream(
        domains, (nothing.share, int(anywhere.table(nothing)[0])) if nothing else None, tuple(args.size),
        tuple(args.view), args.seed + 1000 * step, is_late, anywhere.ground_rows, args.repaint, args.mix,
    )
    loader = iter(DataLoader(stream, args.batch, num_workers=args.workers))
    mean = torch.tensor(MEAN_BGR, device=args.device)[:, None, None]

    def network_input(pixels: Tensor) -> Tensor:
        return (pixels.to(args.device).flip(1).float() - mean).contiguous(**channels_last)

    if args.init and not last.exists():
        if args.init.suffix == ".onnx":
            load_model(branch, args.init, backbone, (network_input(next(loader)[0]) for _ in range(24)))
            averaged = Averaged(branch)
        else:
            state = read(args.init)
            if "optimizers" in state:
                load(state, args.init, "its final.pt, weights alone")
                step = state["step"]
            else:
                branch.load_state_dict(state)
                averaged = Averaged(branch)
        print(f"goes on from {args.init}", flush=True)
    scored_sets = validation(anywhere, args)
    log_path = args.out / "log.jsonl"
    log = log_path.open("a")

    def note(record: dict) -> None:
        log.write(json.dumps(record) + "\n")
        log.flush()
        print(json.dumps(record), flush=True)

    def keep(path: Path) -> None:
        save({
            "branch": branch.state_dict(), "averaged": averaged.module.state_dict(), "updates": averaged.updates,
            "backbone": backbone.state_dict(), "averaged_backbone": averaged_backbone.module.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in optimizers], "step": step, "seconds": seconds,
            "is_cooling": is_cooling, "names": anywhere.names,
        }, path)

    def score_all() -> None:
        scores = {
            name: ground_scores(averaged_backbone.module, averaged.module, anywhere, one, files, tuple(args.view), args.device)
            for name, one, files in scored_sets
        }
        note({"step": step, "minutes": round(seconds / 60, 2), "scores": scores})
        draw_curves(log_path, args.out / "curves.png")

    losses: list[float] = []
    helds: list[float] = []
    next_score = seconds + 60 * args.score_every
    next_save = seconds + 120
    branch.train()
    started = time.monotonic()
    while done(seconds, step, args) < 1:
        if not is_cooling and done(seconds, step, args) > 1 - args.cool:
            keep(args.out / "stable.pt")
            score_all()
            is_cooling, is_late.value = True, 1
            started = time.monotonic()
        pixels, target = next(loader)
        image = network_input(pixels)
        for group in (group for optimizer in optimizers for group in optimizer.param_groups):
            group["lr"] = rate(seconds, step, args) * group.get("share", 1.0)
        with torch.autocast(args.device, torch.bfloat16, enabled=args.bf16):
            with torch.set_grad_enabled(kept is not None):
                maps = backbone(image)
            logits, auxiliary = branch(maps)
            held = kept(image, maps) if kept else None
        loss = criterion(logits, auxiliary, target.to(args.device))
        if held is not None:
            loss = loss + args.keep * held
            helds.append(held.item())
        branch.zero_grad(set_to_none=True)
        backbone.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(branch.parameters(), 5.0)
        for optimizer in optimizers:
            optimizer.step()
        averaged.update(branch)
        if kept:
            averaged_backbone.update(backbone)
        losses.append(loss.item())
        step += 1
        seconds += time.monotonic() - started
        started = time.monotonic()
        if len(losses) == 50:
            note({"step": step, "minutes": round(seconds / 60, 2), "loss": round(float(np.mean(losses)), 4),
                  "rate": round(rate(seconds, step, args), 6), **({"held": round(float(np.mean(helds)), 4)} if kept else {})})
            losses.clear()
            helds.clear()
        if seconds > next_save:
            keep(last)
            next_save = seconds + 120
        if seconds > next_score:
            score_all()
            next_score = seconds + 60 * args.score_every
        started = time.monotonic() if time.monotonic() - started > 1 else started
    keep(last)
    torch.save(averaged.module.state_dict(), args.out / "final.pt")
    if kept:
        save_backbone(averaged_backbone.module, args.backbone, args.out / "backbone.onnx")
    score_all()
    note({"done": True, "step": step, "minutes": round(seconds / 60, 2)})
