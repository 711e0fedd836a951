"""The segmentation branch: reads the frozen backbone's maps, leaves the classifier as it is."""

import json
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class WideDepthwise(nn.Conv2d):
    """A depthwise convolution that stays in fp32 under autocast on a CPU, where the gradient of
    one wider than 3x3 takes three times as long in bf16."""

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu" or not torch.is_autocast_enabled("cpu"):
            return super().forward(x)
        with torch.autocast("cpu", enabled=False):
            return super().forward(x.float()).to(torch.bfloat16)


class ConvBn(nn.Sequential):
    """Convolution, batch normalisation (folded into it at export), ReLU."""

    def __init__(
        self, channels: int, out: int, size: int = 1, stride: int = 1, groups: int = 1,
        padding: int | None = None, relu: bool = True,
    ) -> None:
        padding = size // 2 if padding is None else padding
        convolution = WideDepthwise if groups > 1 and size > 3 else nn.Conv2d
        layers = [
            convolution(channels, out, size, stride, padding, groups=groups, bias=False),
            nn.BatchNorm2d(out),
        ]
        super().__init__(*layers, *([nn.ReLU(inplace=True)] if relu else []))


class Separable(nn.Module):
    """Depthwise and pointwise convolution with a residual where the shapes allow it."""

    def __init__(self, channels: int, out: int, size: int = 3, stride: int = 1) -> None:
        super().__init__()
        self.depthwise = ConvBn(channels, channels, size, stride, groups=channels, relu=False)
        self.pointwise = ConvBn(channels, out)
        self.is_residual = channels == out and stride == 1

    def forward(self, x: Tensor) -> Tensor:
        y = self.pointwise(self.depthwise(x))
        return x + y if self.is_residual else y


class InvertedResidual(nn.Module):
    """Expand, depthwise, project (Sandler et al. 2018)."""

    def __init__(self, channels: int, expansion: int, size: int = 5) -> None:
        super().__init__()
        wide = channels * expansion
        self.expand = ConvBn(channels, wide)
        self.depthwise = ConvBn(wide, wide, size, groups=wide)
        self.project = ConvBn(wide, channels, relu=False)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.project(self.depthwise(self.expand(x)))


class FireBn(nn.Module):
    """A fire module with batch normalisation and a residual."""

    def __init__(self, channels: int, squeeze: int) -> None:
        super().__init__()
        self.squeeze = ConvBn(channels, squeeze)
        self.expand1x1 = ConvBn(squeeze, channels // 2, relu=False)
        self.expand3x3 = ConvBn(squeeze, channels // 2, 3, relu=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.squeeze(x)
        return torch.relu(x + torch.cat([self.expand1x1(y), self.expand3x3(y)], 1))


def resize_like(x: Tensor, other: Tensor) -> Tensor:
    return F.interpolate(x, size=other.shape[-2:], mode="bilinear", align_corners=False)


class SegmentationBranch(nn.Module):
    """Logits `[N, classes, H/2, W/2]` from the image and the backbone's maps.

    A trunk of its own at strides 16 and 32 gathers context; laterals from fire5, fire3 and conv1
    bring the thin things back. The head answers for 2x2 cells at once at stride 4. `fine` has a
    stage at stride 2 instead, with a stem on the picture itself, and takes twice as long.
    """

    def __init__(self, classes: int, version: str = "1.1", fine: bool = False) -> None:
        super().__init__()
        self.version, self.fine = version, fine
        conv1_channels, conv1_size = {"1.0": (96, 7), "1.1": (64, 3)}[version]
        # conv1 is unpadded: the grid begins inside the picture and ends before its edge. Copies
        # of the outer cells make it cover the whole picture.
        if fine:
            self.missing = {"1.0": (1, 2), "1.1": (0, 1)}[version]
        else:
            self.missing = {"1.0": (2, 2), "1.1": (1, 1)}[version]
        self.lateral16 = ConvBn(512 + 384, 192)
        self.trunk16 = nn.Sequential(InvertedResidual(192, 2), InvertedResidual(192, 2))
        self.down32 = Separable(192, 192, 3, 2)
        self.trunk32 = nn.Sequential(InvertedResidual(192, 3), InvertedResidual(192, 3))
        self.context = ConvBn(192, 192)
        self.merge16 = ConvBn(192, 128)
        self.lateral8 = ConvBn(256, 128)
        self.fuse8 = nn.Sequential(FireBn(128, 32), FireBn(128, 32))
        self.merge8 = ConvBn(128, 64)
        self.lateral4 = ConvBn(128, 64)
        self.fuse4 = nn.Sequential(Separable(64, 64, 5), Separable(64, 64, 5))
        if fine:
            self.stem = ConvBn(3, 16, conv1_size, 2, padding=0)
            self.lateral2 = ConvBn(conv1_channels, 16)
            self.down4 = nn.Sequential(
                ConvBn(32, 32, 3, groups=32, relu=False), nn.MaxPool2d(3, 2, ceil_mode=True),
                ConvBn(32, 64),
            )
            self.merge4 = ConvBn(64, 32)
            self.fuse2 = Separable(32, 32, 3)
            self.head = nn.Conv2d(32, classes, 1)
        else:
            self.detail = nn.Sequential(
                ConvBn(conv1_channels, conv1_channels, 3, 2, groups=conv1_channels, padding=0, relu=False),
                ConvBn(conv1_channels, 64),
            )
            self.head = nn.Conv2d(64, 4 * classes, 1)
        self.auxiliary = nn.Conv2d(128, classes, 1)  # while training only

    def forward(self, image: Tensor, maps: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Logits and the auxiliary logits at stride 8."""
        fire7, fire9 = maps["fire7"], maps["fire9"]
        if self.version == "1.0":  # a pool lies between the two
            fire7 = F.max_pool2d(fire7, 3, 2, ceil_mode=True)
        at16 = self.trunk16(self.lateral16(torch.cat([fire7, fire9], 1)))
        at32 = self.trunk32(self.down32(at16))
        at32 = at32 + self.context(F.adaptive_avg_pool2d(at32, 1))
        at16 = at16 + resize_like(at32, at16)
        at8 = self.lateral8(maps["fire5"])
        at8 = self.fuse8(at8 + resize_like(self.merge16(at16), at8))
        if self.fine:
            at2 = torch.cat([self.stem(image / 64.0), self.lateral2(maps["conv1"])], 1)
            at4 = self.lateral4(maps["fire3"]) + self.down4(at2)
        else:
            at4 = self.lateral4(maps["fire3"]) + self.detail(maps["conv1"])
        at4 = self.fuse4(at4 + resize_like(self.merge8(at8), at4))
        if self.fine:
            logits = self.head(self.fuse2(at2 + resize_like(self.merge4(at4), at2)))
        else:
            logits = F.pixel_shuffle(self.head(at4), 2)
        before, after = self.missing
        return F.pad(logits, (before, after, before, after), mode="replicate"), self.auxiliary(at8)

    @torch.no_grad()
    def add_bias(self, bias: Tensor) -> None:
        """One number a class."""
        self.head.bias += bias if self.fine else bias.repeat_interleave(4)


def load_branch(path: Path, classes: int, balance: Path | None = None) -> SegmentationBranch:
    """A `segment` run's weights, with the biases of `balance` added to the head."""
    state = torch.load(path, weights_only=True)
    branch = SegmentationBranch(classes, fine="merge4.0.weight" in state).eval()
    branch.load_state_dict(state)
    if balance is not None:
        branch.add_bias(torch.tensor(json.loads(balance.read_text())["bias"]))
    return branch
