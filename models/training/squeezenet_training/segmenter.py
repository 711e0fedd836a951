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
    """Depthwise and pointwise convolution with a residual where the shapes allow it. The sum comes
    before the ReLU, so that ONNX Runtime computes it within the convolution."""

    def __init__(self, channels: int, out: int, size: int = 3, stride: int = 1) -> None:
        super().__init__()
        self.depthwise = ConvBn(channels, channels, size, stride, groups=channels, relu=False)
        self.pointwise = ConvBn(channels, out, relu=False)
        self.is_residual = channels == out and stride == 1

    def forward(self, x: Tensor) -> Tensor:
        y = self.pointwise(self.depthwise(x))
        return torch.relu(x + y if self.is_residual else y)


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


def padded(x: Tensor, before: int, after: int) -> Tensor:
    return F.pad(x, (before, after, before, after))


class SegmentationBranch(nn.Module):
    """Logits `[N, classes, H/2, W/2]` from the backbone's maps, for sides divisible by 8.

    A trunk of its own at strides 16 and 32 gathers context; laterals from fire5, fire3 and conv1
    bring the thin things back. The head answers for 2x2 cells at once at stride 4.

    The backbone's convolutions and pools are unpadded, so each grid lacks cells at the edge. The
    laterals pad them: strides 8 and 4 then are H/8 and H/4 exactly, and 4 is twice 8, which is
    what ONNX Runtime needs to upsample without leaving its blocked layout.
    """

    def __init__(self, classes: int, version: str = "1.1") -> None:
        super().__init__()
        self.version = version
        conv1_channels = {"1.0": 96, "1.1": 64}[version]
        # Cells lacking at conv1 on each side; at stride 4 before and after.
        conv1_lacks, self.at4_lacks = {"1.0": (2, (1, 1)), "1.1": (1, (0, 1))}[version]
        self.lateral16 = ConvBn(512 + 384, 160)
        self.trunk16 = InvertedResidual(160, 3)
        self.down32 = Separable(160, 160, 3, 2)
        self.trunk32 = nn.Sequential(InvertedResidual(160, 3), InvertedResidual(160, 3))
        self.context = ConvBn(160, 160)
        self.merge16 = ConvBn(160, 96)
        self.lateral8 = ConvBn(256, 96, relu=False)
        self.fuse8 = nn.Sequential(FireBn(96, 32), FireBn(96, 32))
        self.merge8 = ConvBn(96, 48)
        self.lateral4 = ConvBn(128, 48, relu=False)
        self.detail = nn.Sequential(
            ConvBn(conv1_channels, conv1_channels, 3, 2, conv1_channels, conv1_lacks, relu=False),
            ConvBn(conv1_channels, 48, relu=False),
        )
        self.fuse4 = nn.Sequential(Separable(48, 48, 5), Separable(48, 48, 5))
        self.head = nn.Conv2d(48, 4 * classes, 1)
        self.auxiliary = nn.Conv2d(96, classes, 1)  # while training only

    def forward(self, maps: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Logits and the auxiliary logits at stride 8."""
        fire7, fire9 = maps["fire7"], maps["fire9"]
        if self.version == "1.0":  # a pool lies between the two
            fire7 = F.max_pool2d(fire7, 3, 2, ceil_mode=True)
        at16 = self.trunk16(self.lateral16(torch.cat([fire7, fire9], 1)))
        at32 = self.trunk32(self.down32(at16))
        at32 = at32 + self.context(F.adaptive_avg_pool2d(at32, 1))
        at16 = at16 + resize_like(at32, at16)
        at8 = self.lateral8(padded(maps["fire5"], 0, 1))
        at8 = self.fuse8(torch.relu(at8 + resize_like(self.merge16(at16), at8)))
        up4 = F.interpolate(self.merge8(at8), scale_factor=2, mode="bilinear", align_corners=False)
        at4 = self.lateral4(padded(maps["fire3"], *self.at4_lacks))
        at4 = self.fuse4(torch.relu(at4 + (self.detail(maps["conv1"]) + up4)))
        return F.pixel_shuffle(self.head(at4), 2), self.auxiliary(at8)

    @torch.no_grad()
    def add_bias(self, bias: Tensor) -> None:
        """One number a class."""
        self.head.bias += bias.repeat_interleave(4)


class GroundBranch(nn.Module):
    """Logits `[N, classes, H/4, W/4]`, for sides divisible by 8: the branch of `anywhere`.

    Three quarters of `SegmentationBranch`'s time by less width, no answer at stride 2 and no look at
    conv1. `wide` gives most of the width back for nine tenths of the time. What the last 1x1
    convolution, `head`, reads are the features `[N, WIDTH, H/4, W/4]`; whatever adapts the model to a
    place needs to change it alone.
    """

    WIDTH = 64

    def __init__(self, classes: int, wide: bool = False) -> None:
        super().__init__()
        self.wide = wide
        at16, at8 = (192, 96) if wide else (128, 64)
        self.lateral16 = ConvBn(384 + 512, at16)
        self.trunk16 = InvertedResidual(at16, 3)
        self.down32 = Separable(at16, at16, 3, 2)
        self.trunk32 = nn.Sequential(InvertedResidual(at16, 3), InvertedResidual(at16, 3))
        self.context = ConvBn(at16, at16)
        self.merge16 = ConvBn(at16, at8, relu=False)
        self.lateral8 = ConvBn(256, at8, relu=False)
        self.fuse8 = nn.Sequential(FireBn(at8, at8 // 2), FireBn(at8, at8 // 2))
        self.merge8 = ConvBn(at8, self.WIDTH, relu=False)
        self.lateral4 = ConvBn(128, self.WIDTH, relu=False)
        fuse4 = [Separable(self.WIDTH, self.WIDTH, 5) for _ in range(1 + wide)]
        self.fuse4 = nn.Sequential(*fuse4) if wide else fuse4[0]
        self.head = nn.Conv2d(self.WIDTH, classes, 1)
        self.auxiliary = nn.Conv2d(at8, classes, 1)  # while training only

    def features(self, maps: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """The maps at stride 4 that the head reads, and those at 8."""
        at16 = self.trunk16(self.lateral16(torch.cat([maps["fire7"], maps["fire9"]], 1)))
        at32 = self.trunk32(self.down32(at16))
        at32 = at32 + self.context(F.adaptive_avg_pool2d(at32, 1))
        at16 = at16 + resize_like(at32, at16)
        at8 = self.lateral8(padded(maps["fire5"], 0, 1))
        at8 = self.fuse8(torch.relu(at8 + resize_like(self.merge16(at16), at8)))
        up4 = F.interpolate(self.merge8(at8), scale_factor=2, mode="bilinear", align_corners=False)
        at4 = self.lateral4(padded(maps["fire3"], 0, 1))
        return self.fuse4(torch.relu(at4 + up4)), at8

    def forward(self, maps: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Logits and the auxiliary logits at stride 8."""
        at4, at8 = self.features(maps)
        return self.head(at4), self.auxiliary(at8)

    @torch.no_grad()
    def add_bias(self, bias: Tensor) -> None:
        """One number a class."""
        self.head.bias += bias


def check_size(size: tuple[int, int]) -> None:
    """Refuses a width and height of pictures that the branches cannot answer for."""
    if any(side % 8 or side < 24 for side in size):
        raise SystemExit(f"--size {size[0]} {size[1]}: both must be multiples of 8, 24 at least")


def is_wide(state: dict) -> bool:
    """Whether weights are those of a wide `GroundBranch`."""
    return "fuse4.1.depthwise.0.weight" in state


def load_branch(path: Path, classes: int, balance: Path | None = None) -> "SegmentationBranch | GroundBranch":
    """The weights of a `segment` or `anywhere` run, with the biases of `balance` added to the head."""
    state = torch.load(path, weights_only=True, map_location="cpu")
    if "detail.0.0.weight" in state:
        branch = SegmentationBranch(classes)
    else:
        branch = GroundBranch(classes, is_wide(state))
    branch.eval()
    branch.load_state_dict(state)
    if balance is not None:
        branch.add_bias(torch.tensor(json.loads(balance.read_text())["bias"]))
    return branch
