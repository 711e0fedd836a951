"""Muon (Jordan et al. 2024): momentum whose update is made orthogonal, for layers that are matrices."""

import torch
from torch import Tensor, nn


def orthogonalized(matrix: Tensor, steps: int = 5) -> Tensor:
    """The nearest matrix with singular values of about 1, by a quintic Newton-Schulz iteration."""
    a, b, c = 3.4445, -4.7750, 2.0315
    is_tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if is_tall else matrix
    x = x / (x.norm() + 1e-7)
    for _ in range(steps):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return x.T if is_tall else x


class Muon(torch.optim.Optimizer):
    """For weights `[out, in, ...]` of ungrouped layers. Updates are scaled to the size AdamW's
    have (0.2 times the root of the longer side; Liu et al. 2025), so that both take one rate."""

    def __init__(self, params: list[nn.Parameter], lr: float, weight_decay: float, momentum: float = 0.95) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            momentum, lr = group["momentum"], group["lr"]
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                gradient = parameter.grad.reshape(len(parameter), -1)
                state = self.state[parameter]
                if "momentum" not in state:
                    state["momentum"] = torch.zeros_like(gradient)
                state["momentum"].lerp_(gradient, 1 - momentum)
                update = orthogonalized(torch.lerp(gradient, state["momentum"], momentum))
                scale = 0.2 * max(update.shape) ** 0.5
                parameter.mul_(1 - lr * group["weight_decay"])
                parameter.add_(update.reshape(parameter.shape), alpha=-lr * scale)
