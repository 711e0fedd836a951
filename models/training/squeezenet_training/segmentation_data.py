"""Pictures with index masks: reading, augmentation, class statistics."""

import random
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import yaml
from PIL import Image, ImageEnhance, ImageFilter
from torch.utils.data import Dataset

from .pictures import list_files, open_pair
from .preprocess import VIEW, to_tensor, whole_picture


@dataclass(frozen=True)
class SegmentationClasses:
    """The classes' YAML: a list `classes` as in the node's manifest, and `ignore`, an index of unlabelled pixels
    or a list of them."""

    classes: list[dict]
    ignore: frozenset[int]

    @classmethod
    def load(cls, path: Path) -> "SegmentationClasses":
        content = yaml.safe_load(path.read_text())
        classes = content["classes"]
        for index, entry in enumerate(classes):
            missing = {"name", "color", "traversability", "cost"} - entry.keys()
            if missing:
                raise ValueError(f"{path}: class {index} lacks {', '.join(sorted(missing))}")
        ignore = content.get("ignore", 255)
        return cls(classes, frozenset(ignore if isinstance(ignore, list) else [ignore]))

    @property
    def names(self) -> list[str]:
        return [entry["name"] for entry in self.classes]

    def targets(self, mask: np.ndarray, path: Path) -> np.ndarray:
        """Class indices, 255 where unlabelled; an index that is neither is an error."""
        indices, counts = np.unique(mask, return_counts=True)
        strange = [
            f"{index} ({count / mask.size:.1%} of the pixels)" for index, count in zip(indices.tolist(), counts.tolist())
            if index not in self.ignore and index >= len(self.classes)
        ]
        if strange:
            ignored = ", ".join(map(str, sorted(self.ignore)))
            raise ValueError(
                f"{path}: index {', '.join(strange[:5])} is none of the {len(self.classes)} classes "
                f"(0 to {len(self.classes) - 1}) nor `ignore` ({ignored})"
            )
        return np.where(np.isin(mask, list(self.ignore)), 255, mask).astype(np.uint8)


def pairs(folder: Path) -> list[tuple[Path, Path]]:
    """Pictures of `folder/images` with the masks of the same stem in `folder/labels`."""
    masks = {path.stem: path for path in list_files(folder / "labels", (".png",))}
    images = list_files(folder / "images")
    lacking = [path.name for path in images if path.stem not in masks]
    if lacking or not images:
        raise ValueError(f"{folder}: {len(images)} pictures, without a mask: {lacking[:5]}")
    return [(path, masks[path.stem]) for path in images]


def both_as_fed(picture: Image.Image, mask: np.ndarray, view: tuple[int, int]) -> tuple[Image.Image, np.ndarray]:
    """A picture and its mask at the size that a network of this nominal input gets."""
    fed = whole_picture(picture, view)
    return fed, np.asarray(Image.fromarray(mask).resize(fed.size, Image.Resampling.NEAREST))


class SegmentationSet(Dataset):
    """All pictures in memory, as large as the node feeds them to a network of `view`; `augment` gives crops of `size` (width,
    height), else whole ones."""

    def __init__(
        self, folders: list[Path], classes: SegmentationClasses, augment: bool,
        size: tuple[int, int] = (416, 320), limit: int | None = None, scale: tuple[float, float] = (0.6, 2.0),
        view: tuple[int, int] = VIEW,
    ) -> None:
        files = [pair for folder in folders for pair in pairs(folder)][:limit]
        self.names = [image.name for image, _ in files]
        loaded = [both_as_fed(*open_pair(*pair), view) for pair in files]
        self.pictures = [picture for picture, _ in loaded]
        self.masks = [classes.targets(mask, path) for (_, mask), (_, path) in zip(loaded, files)]
        self.count = len(classes.classes)
        self.augment, self.size, self.scale = augment, size, scale
        counts = self.pixel_counts()
        missing = [name for name, count in zip(classes.names, counts) if not count]
        if missing and augment:
            text = f"{', '.join(map(str, folders))}: no pixel of {', '.join(missing)}: nothing can be learnt of it"
            if 255 in classes.ignore and any((mask == 255).any() for mask in self.masks):
                text += "; pixels of index 255 are unlabelled: are these masks of 0 and 255 instead of 0 and 1?"
            warnings.warn(text, stacklevel=2)
        # Crops are centred on the rarer half of the classes half of the time.
        self.rare = set(np.argsort(counts)[: self.count // 2].tolist())

    def pixel_counts(self) -> np.ndarray:
        counts = np.zeros(self.count, np.int64)
        for mask in self.masks:
            counts += np.bincount(mask[mask != 255], minlength=self.count)
        return counts

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        picture, mask = self.pictures[index], self.masks[index]
        if self.augment:
            picture, mask = self.crop(picture, mask)
            picture = photometric(picture)
            if random.random() < 0.5:
                picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
                mask = mask[:, ::-1]
        return torch.from_numpy(to_tensor(picture)[0]), torch.from_numpy(mask.astype(np.int64))

    def crop(self, picture: Image.Image, mask: np.ndarray) -> tuple[Image.Image, np.ndarray]:
        """A random part at a random scale, a little stretched, centred anywhere or on a pixel of a
        rare class; outside the picture the mask is unlabelled."""
        scale = 2.0 ** random.uniform(*np.log2(self.scale))
        stretch = 2.0 ** random.uniform(-0.15, 0.15)
        width, height = self.size[0] / (scale * stretch), self.size[1] * stretch / scale
        centre = self.rare_pixel(mask) if random.random() < 0.5 else None

        def start(length: float, full: int, at: int | None) -> float:
            free = full - length
            if free <= 0:
                return free / 2
            if at is None:
                return random.uniform(0, free)
            return min(max(at - length * random.uniform(0.2, 0.8), 0), free)

        left = start(width, picture.width, centre and centre[0])
        top = start(height, picture.height, centre and centre[1])
        coefficients = (width / self.size[0], 0, left, 0, height / self.size[1], top)
        if left >= 0 and top >= 0:
            box = (left, top, left + width, top + height)
            picture = picture.resize(self.size, Image.Resampling.BILINEAR, box=box)
        else:
            picture = picture.transform(
                self.size, Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR,
                fillcolor=(123, 117, 104),
            )
        labels = Image.fromarray(mask).transform(
            self.size, Image.Transform.AFFINE, coefficients, Image.Resampling.NEAREST, fillcolor=255
        )
        return picture, np.asarray(labels)

    def rare_pixel(self, mask: np.ndarray) -> tuple[int, int] | None:
        present = [c for c in np.unique(mask[::4, ::4]).tolist() if c in self.rare]
        if not present:
            return None
        ys, xs = np.nonzero(mask == random.choice(present))
        at = random.randrange(len(ys))
        return int(xs[at]), int(ys[at])


def photometric(picture: Image.Image) -> Image.Image:
    """Other cameras, other light: exposure, gamma, contrast, saturation, white balance, blur."""
    if random.random() < 0.8:
        gamma = 2.0 ** random.uniform(-0.8, 0.8)
        exposure = random.uniform(-0.35, 0.35)
        gains = [2.0 ** (exposure + random.uniform(-0.12, 0.12)) for _ in "rgb"]
        ramp = np.linspace(0, 1, 256) ** gamma
        table = [int(min(255, 255 * value * gain)) for gain in gains for value in ramp]
        picture = picture.point(table)
    if random.random() < 0.5:
        picture = ImageEnhance.Contrast(picture).enhance(2.0 ** random.uniform(-0.7, 0.5))
    if random.random() < 0.5:
        picture = ImageEnhance.Color(picture).enhance(random.uniform(0.2, 1.6))
    if random.random() < 0.15:
        picture = picture.filter(ImageFilter.GaussianBlur(random.uniform(0.3, 1.5)))
    if random.random() < 0.15:
        noise = np.random.normal(0, random.uniform(3, 12), (picture.height, picture.width, 1))
        noisy = np.asarray(picture, np.float32) + noise
        picture = Image.fromarray(noisy.clip(0, 255).astype(np.uint8))
    return picture
