"""The segmentation branch: reads the frozen backbone's maps, leaves the classifier as it is."""

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

    A trunk of its own at strides 16 and 32 gathers context; laterals from fire5, fire3 and
    conv1 and a stem on the picture itself bring the thin things back.
    """

    def __init__(self, classes: int, width: int = 1, version: str = "1.1") -> None:
        super().__init__()
        self.version = version
        conv1_channels, conv1_size = {"1.0": (96, 7), "1.1": (64, 3)}[version]
        # conv1 is unpadded: its cells begin inside the picture and end before its edge. Copies
        # of the outer ones make the grid of the logits cover the whole picture.
        self.missing = {"1.0": (1, 2), "1.1": (0, 1)}[version]
        deep, middle, fine, finest = 192 * width, 128 * width, 64 * width, 32 * width
        self.lateral16 = ConvBn(512 + 384, deep)
        self.trunk16 = nn.Sequential(InvertedResidual(deep, 2), InvertedResidual(deep, 2))
        self.down32 = Separable(deep, deep, 3, 2)
        self.trunk32 = nn.Sequential(InvertedResidual(deep, 3), InvertedResidual(deep, 3))
        self.context = ConvBn(deep, deep)
        self.merge16 = ConvBn(deep, middle)
        self.lateral8 = ConvBn(256, middle)
        self.fuse8 = nn.Sequential(FireBn(middle, 32 * width), FireBn(middle, 32 * width))
        self.merge8 = ConvBn(middle, fine)
        self.lateral4 = ConvBn(128, fine)
        self.stem = ConvBn(3, 16 * width, conv1_size, 2, padding=0)
        self.lateral2 = ConvBn(conv1_channels, 16 * width)
        self.down4 = nn.Sequential(
            ConvBn(finest, finest, 3, groups=finest, relu=False), nn.MaxPool2d(3, 2, ceil_mode=True),
            ConvBn(finest, fine),
        )
        self.fuse4 = nn.Sequential(Separable(fine, fine, 5), Separable(fine, fine, 5))
        self.merge4 = ConvBn(fine, finest)
        self.fuse2 = Separable(finest, finest, 3)
        self.head = nn.Conv2d(finest, classes, 1)
        self.auxiliary = nn.Conv2d(middle, classes, 1)  # while training only

    def forward(self, image: Tensor, maps: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Logits and the auxiliary logits at stride 8."""
        fire7, fire9 = maps["fire7"], maps["fire9"]
        if self.version == "1.0":  # a pool lies between the two
            fire7 = F.max_pool2d(fire7, 3, 2, ceil_mode=True)
        at16 = self.trunk16(self.lateral16(torch.cat([fire7, fire9], 1)))
        at32 = self.trunk32(self.down32(at16))
        at32 = at32 + self.context(at32.mean((2, 3), keepdim=True))
        at16 = at16 + resize_like(at32, at16)
        at8 = self.lateral8(maps["fire5"])
        at8 = self.fuse8(at8 + resize_like(self.merge16(at16), at8))
        at2 = torch.cat([self.stem(image / 64.0), self.lateral2(maps["conv1"])], 1)
        at4 = self.lateral4(maps["fire3"]) + self.down4(at2)
        at4 = self.fuse4(at4 + resize_like(self.merge8(at8), at4))
        at2 = self.fuse2(at2 + resize_like(self.merge4(at4), at2))
        before, after = self.missing
        logits = F.pad(self.head(at2), (before, after, before, after), mode="replicate")
        return logits, self.auxiliary(at8)

