"""Pictures of the best and the worst: the photograph, what was found, what is true."""

from pathlib import Path

import numpy as np
from PIL import Image

from .segmentation_data import SegmentationClasses, SegmentationSet


def coloured(mask: np.ndarray, classes: SegmentationClasses) -> np.ndarray:
    """Class ids to the classes' colours; anything else black."""
    palette = np.zeros((256, 3), np.uint8)
    for index, entry in enumerate(classes.classes):
        palette[index] = entry["color"]
    return palette[mask]


def write_best_and_worst(
    folder: Path, data: SegmentationSet, masks: list[np.ndarray], scores: list[float],
    classes: SegmentationClasses, count: int = 3,
) -> None:
    """`best1_NAME.png` and so on: overlay, prediction, truth side by side."""
    folder.mkdir(exist_ok=True)
    order = np.argsort(scores)
    ranks = {"worst": order[:count], "best": order[::-1][:count]}
    for kind, indices in ranks.items():
        for old in folder.glob(f"{kind}[0-9]_*_[0-9].[0-9][0-9].png"):
            old.unlink()
        for rank, index in enumerate(indices, start=1):
            picture, found = np.asarray(data.pictures[index]), coloured(masks[index], classes)
            overlay = (0.5 * picture + 0.5 * found).astype(np.uint8)
            row = np.hstack([overlay, found, coloured(data.masks[index], classes)])
            name = f"{kind}{rank}_{Path(data.names[index]).stem}_{scores[index]:.2f}.png"
            Image.fromarray(row).save(folder / name)
