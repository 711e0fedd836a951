"""SqueezeNet 1.0 and 1.1 (Iandola et al. 2016), fully convolutional, as the Caffe release runs them."""

from pathlib import Path

import onnx
import torch
import torch.nn.functional as F
from onnx import numpy_helper
from torch import Tensor, nn

# Squeeze and expand channels of fire2 to fire9, and the fire modules that a pool precedes.
FIRES = [(16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256)]
POOL_BEFORE = {"1.0": (2, 5, 9), "1.1": (2, 4, 6)}
FEATURE_CHANNELS = {"conv1": 64, "fire3": 128, "fire5": 256, "fire7": 384, "fire9": 512}


class Fire(nn.Module):
    """A 1x1 squeeze layer, then 1x1 and 3x3 expand layers side by side."""

    def __init__(self, channels: int, squeeze: int, expand: int) -> None:
        super().__init__()
        self.squeeze1x1 = nn.Conv2d(channels, squeeze, 1)
        self.expand1x1 = nn.Conv2d(squeeze, expand, 1)
        self.expand3x3 = nn.Conv2d(squeeze, expand, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        squeezed = torch.relu(self.squeeze1x1(x))
        # ReLU before the concatenation: runtimes fuse it with the convolution.
        return torch.cat([torch.relu(self.expand1x1(squeezed)), torch.relu(self.expand3x3(squeezed))], 1)


class SqueezeNet(nn.Module):
    """Feature maps of conv1 (stride 2), fire3 (4), fire5 (8), fire7 and fire9 (16) in version 1.1.

    Input `[N, 3, H, W]`: blue, green, red, 0..255, minus (104, 117, 123).
    """

    def __init__(self, version: str = "1.1") -> None:
        super().__init__()
        self.version = version
        self.conv1 = nn.Conv2d(3, 64, 3, 2) if version == "1.1" else nn.Conv2d(3, 96, 7, 2)
        self.pool = nn.MaxPool2d(3, 2, ceil_mode=True)
        channels = self.conv1.out_channels
        for index, (squeeze, expand) in enumerate(FIRES, start=2):
            self.add_module(f"fire{index}", Fire(channels, squeeze, expand))
            channels = 2 * expand
        self.conv1_channels = self.conv1.out_channels

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        x = torch.relu(self.conv1(image))
        maps = {"conv1": x}
        for index in range(2, 10):
            if index in POOL_BEFORE[self.version]:
                x = self.pool(x)
            x = getattr(self, f"fire{index}")(x)
            maps[f"fire{index}"] = x
        return maps


class Classifier(nn.Module):
    """A 1x1 convolution, ReLU and global average pooling: logits `[N, classes]`.

    With `is_pooled` the convolution sees means of 2x2 cells, which takes a quarter of its time.
    """

    def __init__(self, classes: int, dropout: float = 0.5) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.conv10 = nn.Conv2d(512, classes, 1)
        self.is_pooled = False

    def forward(self, fire9: Tensor) -> Tensor:
        if self.is_pooled:
            fire9 = F.avg_pool2d(fire9, 2, ceil_mode=True, count_include_pad=False)
        return F.adaptive_avg_pool2d(torch.relu(self.conv10(self.dropout(fire9))), 1).flatten(1)


def load_pretrained(path: Path) -> tuple[SqueezeNet, Classifier]:
    """SqueezeNet 1.1 and its ImageNet classifier from the shipped ONNX file, or from a model that `export` made."""
    weights = {
        tensor.name: torch.from_numpy(numpy_helper.to_array(tensor).copy())
        for tensor in onnx.load(path).graph.initializer
    }
    backbone, classifier = SqueezeNet("1.1"), Classifier(1000)
    for module, exported in ((backbone, "backbone."), (classifier, "classifier.")):
        state = {
            name: weights[exported + name if exported + name in weights else onnx_name(name)] for name in module.state_dict()
        }
        module.load_state_dict(state)
    return backbone, classifier


def save_backbone(backbone: SqueezeNet, like: Path, path: Path) -> None:
    """The file `like`, which `load_pretrained` reads, with the weights of `backbone`."""
    model = onnx.load(like)
    state = backbone.state_dict()
    by_name = {onnx_name(name): value for name, value in state.items()} | {f"backbone.{name}": value for name, value in state.items()}
    for tensor in model.graph.initializer:
        if tensor.name in by_name:
            tensor.CopyFrom(numpy_helper.from_array(by_name[tensor.name].cpu().contiguous().numpy(), tensor.name))
    onnx.save(model, path)


def load_backbone(version: str, path: Path | None) -> SqueezeNet:
    """Version 1.1 with the weights of the shipped ONNX file, or either version untrained."""
    if path is None:
        return SqueezeNet(version)
    if version != "1.1":
        raise ValueError(f"{path} holds the weights of version 1.1, not of {version}")
    return load_pretrained(path)[0]


def onnx_name(parameter: str) -> str:
    """`fire2.squeeze1x1.weight` is `fire2/squeeze1x1.weight` in the ONNX file."""
    layer, kind = parameter.rsplit(".", 1)
    return f"{layer.replace('.', '/')}.{kind}"
