"""Sets of pictures whose labels mean lists of common classes, drawn by domain and augmented."""

import io
import math
import random
from dataclasses import dataclass, field
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Iterator

import numpy as np
import torch
import yaml
from PIL import Image, ImageDraw, ImageFilter
from torch.utils.data import IterableDataset, get_worker_info

from .backbone import Classifier, SqueezeNet
from .pictures import find_pictures, open_pair, open_picture
from .preprocess import aspect_size, to_tensor, whole_picture
from .segmentation_data import pairs, photometric

UNLABELLED = 255
GROUND = ("traversable", "caution")
FILL = (123, 117, 104)
# Pictures larger than this many times the network's view are kept smaller, to save memory and time.
KEPT_SCALE = 1.4


@dataclass(frozen=True)
class LabelledSet:
    """One set of the YAML: where it is, what its labels mean, how often it is drawn."""

    name: str
    folder: str | None
    free: bool
    share: float
    labels: dict[int, list[str]]
    edge: int = 0
    late: str = ""


@dataclass(frozen=True)
class Anywhere:
    """The YAML of classes and sets. `meanings` are the distinct lists of classes of all labels, as
    rows `[lists, classes]` of truth values; targets are indices of them."""

    classes: list[dict]
    sets: list[LabelledSet]
    meanings: np.ndarray = field(repr=False)
    rows: dict[tuple[int, ...], int] = field(repr=False)

    @classmethod
    def load(cls, path: Path) -> "Anywhere":
        content = yaml.safe_load(path.read_text())
        names = [entry["name"] for entry in content["classes"]]
        sets = [LabelledSet(**{"folder": None, **entry}) for entry in content["sets"]]
        rows: dict[tuple[int, ...], int] = {}
        for one in sets:
            for label, meant in one.labels.items():
                unknown = [name for name in meant if name not in names]
                if unknown or not meant:
                    raise ValueError(f"{path}: set {one.name}, label {label}: no class {unknown}")
                rows.setdefault(tuple(sorted(names.index(name) for name in meant)), len(rows))
        meanings = np.zeros((len(rows), len(names)), bool)
        for meant, row in rows.items():
            meanings[row, list(meant)] = True
        return cls(content["classes"], sets, meanings, rows)

    @property
    def names(self) -> list[str]:
        return [entry["name"] for entry in self.classes]

    @property
    def ground(self) -> np.ndarray:
        """Whether each class is ground: traversable or caution."""
        return np.array([entry["traversability"] in GROUND for entry in self.classes])

    @property
    def ground_rows(self) -> np.ndarray:
        """Whether each row of `meanings` has a class that is ground."""
        return (self.meanings & self.ground).any(1)

    @property
    def kinds(self) -> np.ndarray:
        """`[4, classes]`: whether a class is of that traversability, ground first."""
        kinds = [*GROUND, "obstacle", "background"]
        return np.array([[entry["traversability"] == kind for entry in self.classes] for kind in kinds])

    def table(self, one: LabelledSet) -> np.ndarray:
        """From a set's labels to rows of `meanings`."""
        table = np.full(256, UNLABELLED, np.uint8)
        for label, meant in one.labels.items():
            table[label] = self.rows[tuple(sorted(self.names.index(name) for name in meant))]
        return table

    def ground_of_labels(self, one: LabelledSet) -> np.ndarray:
        """Whether each label of a set is ground: 1, 0, or 255 for one that is not listed, or may be both."""
        table = np.full(256, UNLABELLED, np.uint8)
        for label, meant in one.labels.items():
            is_ground = {bool(self.ground[self.names.index(name)]) for name in meant}
            table[label] = is_ground.pop() if len(is_ground) == 1 else UNLABELLED
        return table


def is_ground(target: np.ndarray, ground: np.ndarray) -> np.ndarray:
    """Where a target is ground; `ground` is by row of the meanings."""
    return (target != UNLABELLED) & ground[np.minimum(target, len(ground) - 1)]


def without_edges(target: np.ndarray, ground: np.ndarray, edge: int) -> np.ndarray:
    """Leaves out what lies within `edge` pixels of a place where something stands on ground: labels
    of some sets do not tell where exactly that is. `ground` is by row of the meanings."""
    on_ground = is_ground(target, ground)
    known = target != UNLABELLED
    stands = np.zeros(target.shape, bool)
    stands[:-1] = (~on_ground[:-1] & known[:-1]) & on_ground[1:]
    ys, xs = np.nonzero(stands)
    out = target.copy()
    for shift in range(-edge, edge + 1):
        out[np.clip(ys + shift, 0, len(target) - 1), xs] = UNLABELLED
    return out


def no_larger(picture: Image.Image, view: tuple[int, int]) -> Image.Image:
    """The picture at `KEPT_SCALE` times the network's view, if it is larger."""
    size = aspect_size(picture.size, view)
    if picture.width <= KEPT_SCALE * size[0]:
        return picture
    return picture.resize([round(KEPT_SCALE * side) for side in size], Image.Resampling.BILINEAR, reducing_gap=2.0)


class DomainPictures:
    """Pictures and targets of one set in memory, those that wait until late apart."""

    def __init__(self, anywhere: Anywhere, one: LabelledSet, folder: Path, view: tuple[int, int], limit: int | None) -> None:
        self.set = one
        table = anywhere.table(one)
        self.pictures: list[tuple[Image.Image, np.ndarray]] = []
        self.late: list[tuple[Image.Image, np.ndarray]] = []
        for image, label in pairs(folder)[:limit]:
            picture, mask = open_pair(image, label)
            picture = no_larger(picture, view)
            if picture.size != mask.shape[::-1]:
                mask = np.asarray(Image.fromarray(mask).resize(picture.size, Image.Resampling.NEAREST))
            target = table[mask]
            if one.edge:
                target = without_edges(target, anywhere.ground_rows, one.edge)
            is_late = one.late and image.name.startswith(one.late)
            (self.late if is_late else self.pictures).append((picture, target))


class ObjectPictures:
    """Pictures of a folder in memory, as a domain of which only this is told: an animal that the classifier sees
    is no ground, where its own map of that class (Zhou et al. 2016, "Learning Deep Features for Discriminative
    Localization") has two fifths of its highest value."""

    SHARE = 2.0
    # ImageNet's first classes are animals.
    ANIMALS = 398

    def __init__(self, folder: Path, view: tuple[int, int], no_ground: int, backbone: SqueezeNet, classifier: Classifier) -> None:
        self.set = LabelledSet("objects", None, True, self.SHARE, {})
        self.late: list[tuple[Image.Image, np.ndarray]] = []
        self.pictures = []
        for file in find_pictures(folder):
            picture = no_larger(open_picture(file), view)
            self.pictures.append((picture, self.target(picture, view, no_ground, backbone, classifier)))

    @torch.no_grad()
    def target(
        self, picture: Image.Image, view: tuple[int, int], no_ground: int, backbone: SqueezeNet, classifier: Classifier
    ) -> np.ndarray:
        device = next(backbone.parameters()).device
        fire9 = backbone(torch.from_numpy(to_tensor(whole_picture(picture, view))).to(device))["fire9"]
        probability, index = torch.softmax(classifier(fire9)[0], 0).max(0)
        if probability < 0.3 or index >= self.ANIMALS:
            return np.full((picture.height, picture.width), UNLABELLED, np.uint8)
        found = torch.relu(classifier.conv10(fire9))[0, index].cpu().numpy()
        found = np.asarray(Image.fromarray(found / found.max()).resize(picture.size, Image.Resampling.BILINEAR))
        return np.where(found >= 0.4, no_ground, UNLABELLED).astype(np.uint8)


class Stream(IterableDataset):
    """Endless crops `[3, h, w]` of bytes with targets: a domain is drawn by its share, then a picture."""

    def __init__(
        self, domains: list[DomainPictures], nothing: tuple[float, int] | None, size: tuple[int, int],
        view: tuple[int, int], seed: int, is_late: Synchronized, ground: np.ndarray, repaint: float = 0.0, mix: float = 0.0,
    ) -> None:
        """`ground`: whether each row of the meanings is ground. `repaint`: how often what is ground, or what is not, gets
        another colour. `mix`: how often half of the labels of another crop of the set lie over it."""
        self.domains, self.nothing, self.size, self.view, self.seed = domains, nothing, size, view, seed
        self.is_late = is_late
        self.ground, self.repaint, self.mix = ground, repaint, mix

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        info = get_worker_info()
        seed = self.seed * 64 + (info.id if info else 0)
        random.seed(seed)
        np.random.seed(seed % 2**32)
        shares = [domain.set.share for domain in self.domains]
        if self.nothing:
            shares.append(self.nothing[0])
        while True:
            index = random.choices(range(len(shares)), shares)[0]
            if index == len(self.domains):
                picture = made_up(self.size)
                target = np.full((self.size[1], self.size[0]), self.nothing[1], np.uint8)
            else:
                domain = self.domains[index]
                pictures = domain.pictures + domain.late if self.is_late.value else domain.pictures
                picture, target = self.part(pictures)
                if random.random() < self.mix:
                    picture, target = mixed(picture, target, *self.part(pictures))
                if random.random() < self.repaint:
                    picture = repainted(picture, target, self.ground)
                if random.random() < self.repaint:
                    picture = shaded(picture, target, self.ground)
            picture = weather(photometric(picture))
            pixels = np.array(np.asarray(picture).transpose(2, 0, 1), order="C")
            yield torch.from_numpy(pixels), torch.from_numpy(np.array(target, order="C"))

    def part(self, pictures: list[tuple[Image.Image, np.ndarray]]) -> tuple[Image.Image, np.ndarray]:
        """A crop of one of them, mirrored or not."""
        picture, target = crop(*random.choice(pictures), self.size, self.view)
        if random.random() < 0.5:
            return picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT), target[:, ::-1]
        return picture, target


def crop(
    picture: Image.Image, target: np.ndarray, size: tuple[int, int], view: tuple[int, int]
) -> tuple[Image.Image, np.ndarray]:
    """A random part at a random scale of the network's view of the whole picture, a little stretched;
    now and then the lower part, as a camera near the ground has it."""
    nominal = aspect_size(picture.size, view)[0] / picture.width
    is_low = random.random() < 0.2
    scale = nominal * 2.0 ** (random.uniform(0.2, 1.1) if is_low else random.uniform(-0.6, 0.8))
    stretch = 2.0 ** random.uniform(-0.15, 0.15)
    width, height = size[0] / (scale * stretch), size[1] * stretch / scale
    centre = pixel_of_a_class(target) if not is_low and random.random() < 0.35 else None

    def start(length: float, full: int, at: int | None) -> float:
        free = full - length
        if free <= 0:
            return free / 2
        if at is None:
            return random.uniform(0, free)
        return min(max(at - length * random.uniform(0.2, 0.8), 0), free)

    left = start(width, picture.width, centre and centre[0])
    top = start(height, picture.height, centre and centre[1])
    if is_low and top > 0:
        top = (picture.height - height) * random.uniform(0.8, 1.0)
    coefficients = (width / size[0], 0, left, 0, height / size[1], top)
    if left >= 0 and top >= 0:
        box = (left, top, left + width, top + height)
        part = picture.resize(size, Image.Resampling.BILINEAR, box=box)
    else:
        part = picture.transform(size, Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR, fillcolor=FILL)
    labels = Image.fromarray(target).transform(
        size, Image.Transform.AFFINE, coefficients, Image.Resampling.NEAREST, fillcolor=UNLABELLED
    )
    return part, np.asarray(labels)


def pixel_of_a_class(target: np.ndarray) -> tuple[int, int] | None:
    """One of a label that is drawn without regard to its size."""
    coarse = target[::4, ::4]
    present = np.flatnonzero(np.bincount(coarse.ravel(), minlength=256)[:UNLABELLED])
    if not len(present):
        return None
    ys, xs = np.nonzero(coarse == random.choice(present.tolist()))
    at = random.randrange(len(ys))
    return int(xs[at]) * 4, int(ys[at]) * 4


def mixed(
    picture: Image.Image, target: np.ndarray, above: Image.Image, target_above: np.ndarray
) -> tuple[Image.Image, np.ndarray]:
    """With half of the labels of another crop over it, pixel for pixel where they were (Olsson et al. 2021, "ClassMix")."""
    labels = np.flatnonzero(np.bincount(target_above.ravel(), minlength=256)[:UNLABELLED]).tolist()
    chosen = np.isin(target_above, random.sample(labels, (len(labels) + 1) // 2))
    mask = Image.fromarray((chosen * 255).astype(np.uint8))
    return Image.composite(above, picture, mask), np.where(chosen, target_above, target)


def repainted(picture: Image.Image, target: np.ndarray, ground: np.ndarray) -> Image.Image:
    """The ground in another colour, or what has one label that is no ground: a floor may be of any colour, and of the
    wall's. Texture, shadows and outlines stay."""
    on_ground = is_ground(target, ground)
    labels = np.flatnonzero(np.bincount(target[~on_ground], minlength=256)[:UNLABELLED])
    if len(labels) and random.random() < 0.3:
        chosen = target == random.choice(labels.tolist())
    else:
        chosen = on_ground
    if chosen.mean() < 0.02:
        return picture
    pixels = np.asarray(picture, np.float32)
    mean = pixels[chosen].mean(0)
    kind = random.random()
    if kind < 0.35:
        wanted = np.array([random.uniform(10, 245) for _ in range(3)], np.float32)
        wanted += random.uniform(0.0, 0.9) * (wanted.mean() - wanted)  # most paints are pale
    elif kind < 0.65 and (~chosen).any():  # as something else in the picture
        ys, xs = np.nonzero(~chosen)
        at = random.randrange(len(ys))
        wanted = pixels[max(0, ys[at] - 6) : ys[at] + 7, max(0, xs[at] - 6) : xs[at] + 7].mean((0, 1))
    else:  # lighter or darker
        wanted = mean * 2.0 ** random.uniform(-1.5, 1.0)
    strength = random.uniform(0.5, 1.0)
    # A share of the contrast that the new brightness allows: dark paint has dark texture.
    gain = (wanted + 8) / (mean + 8)
    painted = wanted + (pixels - mean) * gain.clip(0.3, 2.0)
    soft = Image.fromarray((chosen * 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(random.uniform(0.4, 1.6)))
    share = strength * np.asarray(soft, np.float32)[..., None] / 255
    return Image.fromarray((pixels + share * (painted - pixels)).clip(0, 255).astype(np.uint8))


def shaded(picture: Image.Image, target: np.ndarray, ground: np.ndarray) -> Image.Image:
    """With patches of shadow or sun, on everything or on the ground alone."""
    size = picture.size
    mask = Image.new("L", size, 0)
    draw = ImageDraw.Draw(mask)
    for _ in range(random.randint(1, 4)):
        at = (random.uniform(-0.1, 1.1) * size[0], random.uniform(0, 1.1) * size[1])
        reach = random.uniform(0.06, 0.5) * size[0]
        corners = sorted(random.uniform(0, 2 * math.pi) for _ in range(random.randint(3, 5)))
        flat = random.uniform(0.2, 1.0)
        draw.polygon([(at[0] + reach * math.cos(a), at[1] + flat * reach * math.sin(a)) for a in corners], fill=255)
    share = np.asarray(mask.filter(ImageFilter.GaussianBlur(random.uniform(0.5, 6))), np.float32)[..., None] / 255
    if random.random() < 0.5:
        share = share * is_ground(target, ground)[..., None]
    light = 2.0 ** (random.uniform(-2.0, -0.4) if random.random() < 0.6 else random.uniform(0.4, 1.5))
    cast = np.array([random.uniform(0.85, 1.15) for _ in range(3)], np.float32)
    pixels = np.asarray(picture, np.float32)
    return Image.fromarray((pixels * (1 + share * (light * cast - 1))).clip(0, 255).astype(np.uint8))


def weather(picture: Image.Image) -> Image.Image:
    """What cameras meet: night, glare, motion, drops on the lens, coarse JPEG."""
    if random.random() < 0.1:
        picture = night(picture)
    elif random.random() < 0.07:
        gain = 2.0 ** random.uniform(0.4, 1.2)
        picture = picture.point(lambda value: min(255, int(value * gain)))
    if random.random() < 0.06:
        picture = motion_blur(picture, random.randint(3, 11))
    if random.random() < 0.04:
        picture = drops(picture)
    if random.random() < 0.2:
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=random.randint(15, 70))
        picture = Image.open(buffer).convert("RGB")
    return picture


def night(picture: Image.Image) -> Image.Image:
    """Dark, of a lamp's colour, brighter about a lamp's spot or not, with the noise of a high gain."""
    pixels = np.asarray(picture, np.float32) / 255
    height, width = pixels.shape[:2]
    light = 2.0 ** random.uniform(-3.2, -1.0)
    if random.random() < 0.6:
        y, x = np.mgrid[0:height, 0:width].astype(np.float32)
        at = (random.uniform(0, width), random.uniform(0, height))
        reach = random.uniform(0.2, 0.7) * width
        spot = np.exp(-((x - at[0]) ** 2 + (y - at[1]) ** 2) / (2 * reach**2))
        light = light * (1 + random.uniform(0.5, 4) * spot)[..., None]
    cast = np.array([random.uniform(0.8, 1.4), 1.0, random.uniform(0.5, 1.2)], np.float32)
    pixels = pixels * light * cast
    shot = random.uniform(0.005, 0.04)
    pixels = pixels + np.random.standard_normal(pixels.shape).astype(np.float32) * shot
    return Image.fromarray((pixels * 2.0 ** random.uniform(0, 1.2) * 255).clip(0, 255).astype(np.uint8))


def motion_blur(picture: Image.Image, length: int) -> Image.Image:
    axis = random.choice((0, 1, 1))
    pixels = np.asarray(picture, np.float32)
    total = sum(np.roll(pixels, shift - length // 2, axis) for shift in range(length))
    return Image.fromarray((total / length).astype(np.uint8))


def drops(picture: Image.Image) -> Image.Image:
    mask = Image.new("L", picture.size, 0)
    draw = ImageDraw.Draw(mask)
    for _ in range(random.randint(3, 25)):
        x, y, r = random.uniform(0, picture.width), random.uniform(0, picture.height), random.uniform(4, 28)
        draw.ellipse((x - r, y - r * random.uniform(0.8, 1.5), x + r, y + r), fill=random.randint(120, 255))
    blurred = picture.filter(ImageFilter.GaussianBlur(random.uniform(3, 9)))
    return Image.composite(blurred, picture, mask.filter(ImageFilter.GaussianBlur(2)))


def made_up(size: tuple[int, int]) -> Image.Image:
    """A picture without ground: noise, a gradient, flat shapes, text, or a blurred close-up."""
    width, height = size
    kind = random.randrange(5)
    colour = lambda: tuple(random.randrange(256) for _ in range(3))
    if kind == 0:
        cells = 2 ** random.randint(1, 8)
        noise = np.random.randint(0, 256, (max(1, cells * height // width), cells, random.choice((1, 3))))
        noise = np.repeat(noise, 3, 2)[..., :3] if noise.shape[2] == 1 else noise
        return Image.fromarray(noise.astype(np.uint8)).resize(size, Image.Resampling.BICUBIC)
    if kind == 1:
        angle, ends = random.uniform(0, 2 * math.pi), np.array([colour(), colour()], np.float32)
        y, x = np.mgrid[0:height, 0:width]
        at = ((x / width - 0.5) * math.cos(angle) + (y / height - 0.5) * math.sin(angle)) / 1.5 + 0.5
        return Image.fromarray((ends[0] + (ends[1] - ends[0]) * at[..., None]).clip(0, 255).astype(np.uint8))
    picture = Image.new("RGB", size, colour())
    draw = ImageDraw.Draw(picture)
    if kind == 2:
        for _ in range(random.randint(2, 30)):
            points = [(random.uniform(-0.2, 1.2) * width, random.uniform(-0.2, 1.2) * height) for _ in range(random.randint(2, 6))]
            if len(points) == 2:
                box = (*(min(p[k] for p in points) for k in (0, 1)), *(max(p[k] for p in points) for k in (0, 1)))
                draw.ellipse(box, fill=colour(), outline=colour())
            else:
                draw.polygon(points, fill=colour(), outline=colour())
    elif kind == 3:
        letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ 0123456789.,;:-   "
        ink, y = colour(), random.uniform(0, 20)
        font_size = random.uniform(8, 48)
        while y < height:
            text = "".join(random.choice(letters) for _ in range(int(2 * width / font_size)))
            draw.text((random.uniform(0, 10), y), text, fill=ink, font_size=font_size)
            y += font_size * random.uniform(1.1, 1.6)
    else:
        # A hand, a cloth, a wall too near: blotches of one colour, out of focus.
        base = np.array(colour(), np.float32)
        cells = 2 ** random.randint(2, 6)
        blotches = np.random.normal(1, random.uniform(0.03, 0.3), (cells * height // width + 1, cells, 1)) * base
        picture = Image.fromarray(blotches.clip(0, 255).astype(np.uint8)).resize(size, Image.Resampling.BICUBIC)
        picture = picture.filter(ImageFilter.GaussianBlur(random.uniform(0, 6)))
    return picture
