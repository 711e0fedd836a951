"""Weights of an exported model back into a branch that can be trained: `anywhere --init MODEL.onnx`."""

from pathlib import Path
from typing import Iterable

import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from .backbone import SqueezeNet
from .segmenter import ConvBn, GroundBranch

# Root mean square that weights are scaled to, so that a step of the optimiser changes them as much as those of
# its own making.
MATRIX_SCALE, DEPTHWISE_SCALE = 0.15, 0.3


@torch.no_grad()
def load_model(branch: GroundBranch, path: Path, backbone: SqueezeNet, batches: Iterable[Tensor]) -> None:
    """Fills `branch` with the weights of the model at `path`, whose normalisations are folded into its convolutions.

    Each normalisation is made anew from the mean and deviation that its convolution has on `batches`
    (`[N, 3, H, W]`, as the backbone takes them), so that the branch answers as the model does.
    """
    found = {one.name: one for one in onnx.load(str(path)).graph.initializer}

    def weights(name: str, like: Tensor) -> Tensor:
        if f"branch.{name}" not in found:
            raise SystemExit(f"{path}: no `branch.{name}`: not a model that `export` made of an `anywhere` run")
        value = torch.from_numpy(numpy_helper.to_array(found[f"branch.{name}"]).copy()).to(like.device)
        if value.shape != like.shape:
            raise SystemExit(f"{path}: `branch.{name}` is {list(value.shape)}, {list(like.shape)} is wanted: other classes, or another --wide?")
        return value

    blocks = {name: one for name, one in branch.named_modules() if isinstance(one, ConvBn)}
    moments: dict[str, list[Tensor]] = {name: [] for name in blocks}
    hooks = []
    for name, block in blocks.items():
        convolution, normalisation = block[0], block[1]
        convolution.weight.copy_(weights(f"{name}.0.weight", convolution.weight))
        normalisation.running_mean.zero_()
        normalisation.running_var.fill_(1 - normalisation.eps)
        normalisation.weight.fill_(1)
        normalisation.bias.copy_(weights(f"{name}.0.bias", normalisation.bias))
        keep = moments[name]
        hooks.append(convolution.register_forward_hook(
            lambda _module, _inputs, output, keep=keep: keep.append(
                torch.stack([output.double().mean((0, 2, 3)), output.double().square().mean((0, 2, 3))]))))
    branch.head.weight.copy_(weights("head.weight", branch.head.weight))
    branch.head.bias.copy_(weights("head.bias", branch.head.bias))
    was_training = branch.training
    branch.eval()
    for batch in batches:
        branch.features(backbone(batch))
    for hook in hooks:
        hook.remove()
    for name, block in blocks.items():
        mean, square = torch.stack(moments[name]).mean(0)
        renew(block[0], block[1], mean.float(), (square - mean.square()).clamp_min(1e-10).float())
    branch.train(was_training)


def renew(convolution: nn.Conv2d, normalisation: nn.BatchNorm2d, mean: Tensor, variance: Tensor) -> None:
    """Normalisation by `mean` and `variance` that leaves what comes out as it is, and weights of the usual size."""
    weight = convolution.weight
    scale = weight.square().mean().sqrt() / (DEPTHWISE_SCALE if convolution.groups > 1 else MATRIX_SCALE)
    normalisation.weight.copy_((variance + normalisation.eps * scale**2).sqrt())
    normalisation.bias.add_(mean)
    weight.div_(scale)
    normalisation.running_mean.copy_(mean / scale)
    normalisation.running_var.copy_(variance / scale**2)
