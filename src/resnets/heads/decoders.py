"""Decoders: from a network's maps to a class for every pixel.

| decoder | what it is | source |
|---|---|---|
| unet | up to twice the size, the next finer map beside it, two 3x3, and so on | arXiv:1505.04597 |
| deeplabv3 | 3x3 of several dilations side by side | arXiv:1706.05587 |
| deeplabv3plus | the same, separable, then joined by a fine map | arXiv:1802.02611 |
| fcn | two convolutions on the last map | arXiv:1411.4038 |
| fpn | a feature pyramid, all its maps brought to the finest and added | arXiv:1901.02446 |

maps (N, C, H / stride, W / stride), finest first -> decoder -> logits (N, K, ...) at the finest stride that it uses

`deeplabv3` and `fcn` are torchvision's own parts, under its names of parameters: its weights fit key for key.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.segmentation.deeplabv3 import ASPP, DeepLabHead
from torchvision.models.segmentation.fcn import FCNHead
from torchvision.ops import Conv2dNormActivation, FeaturePyramidNetwork

from resnets.layers.fused import InTurn
from resnets.types import Stage

FINE_CHANNELS = 48
"""Of the fine map that joins DeepLabV3+'s (arXiv:1802.02611, section 4.1)."""

FPN_CHANNELS = 128
"""Of the pyramid's maps on their way to the finest (arXiv:1901.02446, section 3)."""

FINE_STRIDE = 4
"""The stride up to which a map is fine."""


class UNet(nn.Module):
    """Blocks that double the size, each of half the channels of the one before; the last works on every pixel.

    Args:
        stages: whose maps come in, finest first.
        num_classes: channels of the logits.
        width: channels of the last block.
    """

    def __init__(self, stages: Sequence[Stage], num_classes: int, width: int) -> None:
        super().__init__()
        self.finest = stages[0].stride
        skips = [stage.channels for stage in reversed(stages[:-1])]
        if stages[0].stride > 1:
            skips.append(0)  # up to the picture, which has no map
        widths = [width * 2**step for step in reversed(range(len(skips)))]
        inputs = [stages[-1].channels, *widths]
        self.blocks = nn.ModuleList(
            nn.Sequential(Conv2dNormActivation(before + skip, after), Conv2dNormActivation(after, after))
            for before, skip, after in zip(inputs, skips, widths, strict=False)
        )
        self.logits = nn.Conv2d(inputs[len(skips)], num_classes, 3, padding=1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Logits for all pixels, up to the multiple of the finest stride that maps of odd sizes stand for."""
        x, *skips = reversed(maps)
        for number, block in enumerate(self.blocks):
            if number < len(skips):
                x = F.interpolate(x, skips[number].shape[2:], mode="nearest")
                x = block(torch.cat((x, skips[number]), 1))
            else:
                x = block(F.interpolate(x, scale_factor=float(self.finest), mode="nearest"))
        return self.logits(x)


class DeepLabV3(DeepLabHead):
    """torchvision's head on the last map.

    Args:
        stages: the last one's map comes in.
        num_classes: channels of the logits.
        width: channels of all convolutions.
        rates: dilations of the 3x3 convolutions.
    """

    def __init__(self, stages: Sequence[Stage], num_classes: int, width: int, rates: Sequence[int]) -> None:
        nn.Sequential.__init__(
            self,
            ASPP(stages[-1].channels, rates, width),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, num_classes, 1),
        )

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Logits at the last map's size."""
        return super().forward(maps[-1])


class DeepLabV3Plus(nn.Module):
    """Separable 3x3 of several dilations on the last map, joined by a fine one.

    Args:
        stages: of the fine map and of the last.
        num_classes: channels of the logits.
        width: channels of all convolutions but the fine map's.
        rates: dilations of the 3x3 convolutions.
    """

    def __init__(self, stages: Sequence[Stage], num_classes: int, width: int, rates: Sequence[int]) -> None:
        super().__init__()
        fine, last = stages
        self.pyramid = ASPP(last.channels, rates, width)
        for convolution, rate in zip(self.pyramid.convs[1:-1], rates, strict=True):
            convolution[0] = separable(last.channels, width, rate)
        self.coarse = InTurn(separable(width, width), nn.BatchNorm2d(width), nn.ReLU())
        self.fine = Conv2dNormActivation(fine.channels, FINE_CHANNELS, 1)
        self.joined = InTurn(separable(width + FINE_CHANNELS, width), nn.BatchNorm2d(width), nn.ReLU())
        self.logits = nn.Conv2d(width, num_classes, 1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Logits at the fine map's size."""
        fine, last = maps
        coarse = F.interpolate(self.coarse(self.pyramid(last)), fine.shape[2:], mode="bilinear")
        return self.logits(self.joined(torch.cat((coarse, self.fine(fine)), 1)))


class FCN(FCNHead):
    """torchvision's head on the last map.

    Args:
        stages: the last one's map comes in.
        num_classes: channels of the logits.
    """

    def __init__(self, stages: Sequence[Stage], num_classes: int) -> None:
        super().__init__(stages[-1].channels, num_classes)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Logits at the last map's size."""
        return super().forward(maps[-1])


class FPN(nn.Module):
    """The feature pyramid; each map goes through a 3x3 for every doubling that brings it to the finest.

    Args:
        stages: whose maps come in, finest first.
        num_classes: channels of the logits.
        width: channels of the pyramid.
    """

    def __init__(self, stages: Sequence[Stage], num_classes: int, width: int) -> None:
        super().__init__()
        self.pyramid = FeaturePyramidNetwork([stage.channels for stage in stages], width)
        self.branches = nn.ModuleList(
            nn.ModuleList(
                Conv2dNormActivation(before, after, norm_layer=_group_norm)
                for before, after in pairwise((width, *(FPN_CHANNELS,) * max(level, 1)))
            )
            for level in range(len(stages))
        )
        self.logits = nn.Conv2d(FPN_CHANNELS, num_classes, 1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Logits at the finest map's size."""
        sizes = [each.shape[2:] for each in maps]
        pyramid = self.pyramid({str(number): each for number, each in enumerate(maps)})
        added: Tensor | int = 0
        for level, (x, branch) in enumerate(zip(pyramid.values(), self.branches, strict=True)):
            for step, convolution in enumerate(branch.children(), 1):
                x = convolution(x)
                if level:
                    x = F.interpolate(x, sizes[level - step], mode="bilinear")
            added = added + x
        assert isinstance(added, Tensor)
        return self.logits(added)


def _group_norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(32, channels)


def separable(in_channels: int, out_channels: int, dilation: int = 1) -> nn.Sequential:
    """A 3x3 of each channel by itself, then a 1x1 of all."""
    return nn.Sequential(
        nn.Conv2d(in_channels, in_channels, 3, 1, dilation, dilation, groups=in_channels, bias=False),
        nn.Conv2d(in_channels, out_channels, 1, bias=False),
    )
