"""Pictures and index masks on disk: which files count, and what is wrong with one, by its name."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

SUFFIXES = (".jpg", ".jpeg", ".png")


def is_hidden(name: str) -> bool:
    """What notebooks, macOS and the like leave in folders: names with a dot in front, and __MACOSX."""
    return name.startswith(".") or name == "__MACOSX"


def list_files(folder: Path, suffixes: tuple[str, ...] = SUFFIXES, is_deep: bool = False) -> list[Path]:
    """Files of `folder` (`is_deep`: and of all below) that end so, in order of their names, but for hidden ones."""
    found = folder.rglob("*") if is_deep else folder.iterdir()
    return sorted(
        path for path in found
        if path.suffix.lower() in suffixes and not any(map(is_hidden, path.relative_to(folder).parts)) and path.is_file()
    )


def find_pictures(folder: Path) -> list[Path]:
    """Those of `folder` and of all below."""
    found = list_files(folder, is_deep=True)
    if not found:
        raise SystemExit(f"no pictures in {folder}: {', '.join(SUFFIXES)} are read")
    return found


def list_folders(folder: Path) -> list[str]:
    """Names of the folders in `folder`, but for hidden ones."""
    return sorted(path.name for path in folder.iterdir() if path.is_dir() and not is_hidden(path.name))


def open_picture(path: Path) -> Image.Image:
    """RGB, upright, 8 bits a channel; of 16 bits the high eight of those in use, as the node takes them."""
    picture = ImageOps.exif_transpose(read(path))
    if picture.mode.startswith("I"):
        values = np.asarray(picture).astype(np.int64).clip(0, 65535)
        picture = Image.fromarray((values >> (used_bits(values) - 8)).astype(np.uint8))
    return picture.convert("RGB")


def used_bits(values: np.ndarray) -> int:
    """The bits that hold the brightest value, as cameras have them: 8, 10, 12, 14 or 16. Values of 8 bits that were spread over
    16 (times 256 or 257) use all of these."""
    any_bits = int(np.bitwise_or.reduce(values, axis=None))
    if any_bits & 0xFF == 0 or bool((values >> 8 == values & 0xFF).all()):
        return 16
    return next(depth for depth in (8, 10, 12, 14, 16) if any_bits < 1 << depth)


def open_mask(path: Path) -> np.ndarray:
    """`[height, width]` of one index a pixel, 0 to 255; of a picture with a palette the indices, not its colours."""
    mask = read(path)
    if mask.mode not in ("1", "L", "P") and not mask.mode.startswith("I"):
        raise ValueError(f"{path}: a mask has one channel with an index per pixel, this one is {mask.mode}; colours are not translated")
    indices = np.asarray(mask).astype(np.int64)
    if indices.max(initial=0) > 255 or indices.min(initial=0) < 0:
        raise ValueError(f"{path}: index {indices.max()}; a mask's indices are 0 to 255")
    return indices.astype(np.uint8)


def read(path: Path) -> Image.Image:
    try:
        picture = Image.open(path)
        picture.load()
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path}: {error}") from error
    return picture


def open_pair(image: Path, mask: Path) -> tuple[Image.Image, np.ndarray]:
    """A picture and its mask, which must have one size."""
    picture, indices = open_picture(image), open_mask(mask)
    if indices.shape != picture.size[::-1]:
        sizes = [f"{width}x{height}" for width, height in (picture.size, indices.shape[::-1])]
        raise ValueError(f"{image}: the picture (upright) is {sizes[0]}, its mask {mask} is {sizes[1]}")
    return picture, indices
