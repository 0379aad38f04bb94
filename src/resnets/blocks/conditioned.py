"""The residual block of networks that are told more than a map: y = shortcut(x) + F(x, embedding).

Pre-activation (arXiv:1603.05027) with group normalisation, of which the second is scaled and shifted by the embedding
("adaptive group normalisation", arXiv:2105.05233, section 3).
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from resnets.layers.convolution import convolution
from resnets.layers.normalisation import group_norm
from resnets.layers.shortcuts import shortcut


class Conditioned(nn.Module):
    """Two 3x3 convolutions; F(x) begins as 0.

    Args:
        in_channels, out_channels: of the map; where they differ the shortcut is a 1x1 convolution.
        embedding: numbers that the block is told of each picture.
        dropout: the rate before the last convolution.
    """

    def __init__(self, in_channels: int, out_channels: int, embedding: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.norm1 = group_norm(in_channels)
        self.conv1 = convolution(in_channels, out_channels, 3)
        self.condition = nn.Linear(embedding, 2 * out_channels)
        self.norm2 = group_norm(out_channels, affine=False)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = convolution(out_channels, out_channels, 3)
        self.downsample = shortcut("B", in_channels, out_channels, 1, norm=None)
        nn.init.zeros_(self.conv2.weight)

    def residual(self, x: Tensor, embedding: Tensor) -> Tensor:
        """F(x, embedding)."""
        x = self.conv1(F.silu(self.norm1(x)))
        scale, shift = self.condition(embedding)[:, :, None, None].chunk(2, dim=1)  # (N, out_channels, 1, 1) each
        x = F.silu(self.norm2(x) * (1 + scale) + shift)
        return self.conv2(self.dropout(x))

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """(N, in_channels, H, W) and (N, embedding) to (N, out_channels, H, W)."""
        return self.downsample(x) + self.residual(x, embedding)
