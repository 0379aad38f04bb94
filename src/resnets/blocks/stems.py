"""Stems: what stands before the first residual block.

| stem | layers | stride |
|---|---|---|
| imagenet | 7x7/2, max-pool/2 (arXiv:1512.03385, table 1) | 4 |
| deep | 3x3/2, 3x3, 3x3, max-pool/2 (stem C, arXiv:1812.01187, figure 2b) | 4 |
| cifar | 3x3 (arXiv:1512.03385, section 4.2) | 1 |
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Literal

from torch import nn

from resnets.layers.convolution import convolution
from resnets.layers.normalisation import MakeActivation, MakeNorm
from resnets.layers.pooling import MaxPool

Stem = Literal["imagenet", "deep", "cifar"]


def stem_convolutions(
    kind: Stem, in_channels: int, out_channels: int, norm: MakeNorm, activation: MakeActivation
) -> OrderedDict[str, nn.Module]:
    """The stem's layers by name, up to its last convolution; without the normalisation after it."""
    if kind == "imagenet":
        return OrderedDict(conv=convolution(in_channels, out_channels, 7, 2))
    if kind == "cifar":
        return OrderedDict(conv=convolution(in_channels, out_channels, 3))
    half = out_channels // 2
    return OrderedDict(
        conv1=convolution(in_channels, half, 3, 2),
        norm1=norm(half),
        act1=activation(),
        conv2=convolution(half, half, 3),
        norm2=norm(half),
        act2=activation(),
        conv3=convolution(half, out_channels, 3),
    )


def stem_pool(kind: Stem) -> nn.Module:
    """3x3 max-pool of stride 2, or nothing for small pictures."""
    return nn.Identity() if kind == "cifar" else MaxPool(3, 2, 1)
