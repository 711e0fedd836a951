"""Weighted cross-entropy with the Lovász-softmax loss."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

IGNORE = 255


def class_weights(pixel_counts: np.ndarray, offset: float) -> Tensor:
    """1 / ln(offset + share), scaled to a mean of 1: ENet's weighting. 1.02 is strong, 1.1 milder;
    0 gives every class the same weight."""
    share = pixel_counts / max(1, pixel_counts.sum())
    weights = 1.0 / np.log(offset + share) if offset else np.ones(len(share))
    return torch.tensor(weights / weights.mean(), dtype=torch.float32)


def lovasz_softmax(probabilities: Tensor, target: Tensor) -> Tensor:
    """A convex surrogate of 1 - IoU (Berman et al. 2018); `[P, classes]` and `[P]`, labelled only."""
    losses = []
    for index in torch.unique(target).tolist():
        foreground = (target == index).float()
        errors, order = (foreground - probabilities[:, index]).abs().sort(descending=True)
        ordered = foreground[order]
        total = ordered.sum()
        jaccard = 1.0 - (total - ordered.cumsum(0)) / (total + (1.0 - ordered).cumsum(0))
        jaccard = torch.cat([jaccard[:1], jaccard[1:] - jaccard[:-1]])
        losses.append((errors * jaccard).sum())
    return torch.stack(losses).mean() if losses else probabilities.sum() * 0.0


def segmentation_loss(
    logits: Tensor, auxiliary: Tensor, target: Tensor, weights: Tensor, lovasz_weight: float
) -> Tensor:
    """On the logits' own grid: each cell of 2x2 pixels is compared with one of them at random."""
    dy, dx = torch.randint(0, 2, (2,)).tolist()
    fine = target[:, dy::2, dx::2]
    logits = logits.float()
    main = F.cross_entropy(logits, fine, weights, ignore_index=IGNORE)
    probabilities = torch.softmax(logits, 1).permute(0, 2, 3, 1)
    some = (slice(None), slice(dx, None, 2), slice(dy, None, 2))
    labelled = fine[some] != IGNORE
    lovasz = lovasz_softmax(probabilities[some][labelled], fine[some][labelled])
    coarse = F.interpolate(target[:, None].float(), size=auxiliary.shape[-2:], mode="nearest-exact")
    side = F.cross_entropy(auxiliary.float(), coarse[:, 0].long(), weights, ignore_index=IGNORE)
    return main + lovasz_weight * lovasz + 0.3 * side
