"""Intersection over union and calibration, through the node's own post-processing."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def upsampled_probabilities(logits: Tensor, size: tuple[int, int], temperature: float = 1.0) -> Tensor:
    """As the node does it: softmax on the grid, then bilinear interpolation of the probabilities."""
    probabilities = torch.softmax(logits.float() / temperature, 1)
    return F.interpolate(probabilities, size=size, mode="bilinear", align_corners=False)


def middle_of_cells(target: Tensor, logits: Tensor) -> Tensor:
    """Of `[H, W]` the pixel in the middle of each cell of logits `[N, classes, h, w]`."""
    step = target.shape[-1] // logits.shape[-1]
    middles = slice((step - 1) // 2, None, step)
    return target[middles, middles]


def confusion(predicted: np.ndarray, target: np.ndarray, classes: int) -> np.ndarray:
    """Counts `[target, predicted]`; targets outside the classes are left out."""
    known = target < classes
    index = target[known].astype(np.int64) * classes + predicted[known]
    return np.bincount(index, minlength=classes**2).reshape(classes, classes)


def iou(counts: np.ndarray) -> np.ndarray:
    """Per class; NaN for one that neither occurs nor is predicted."""
    hits = np.diag(counts).astype(float)
    union = counts.sum(0) + counts.sum(1) - hits
    return np.divide(hits, union, out=np.full(len(hits), np.nan), where=union > 0)


def calibration_error(confidence: np.ndarray, correct: np.ndarray, bins: int = 15) -> float:
    """Expected calibration error (Guo et al. 2017): bins of equal width."""
    index = np.minimum((confidence * bins).astype(int), bins - 1)
    weight = np.bincount(index, minlength=bins)
    gap = np.abs(
        np.bincount(index, confidence, minlength=bins) - np.bincount(index, correct, minlength=bins)
    )
    return float(gap[weight > 0].sum() / max(1, weight.sum()))
