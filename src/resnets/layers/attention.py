"""Attention: over channels, by what the whole map holds, and of each position to all others."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import SqueezeExcitation

from resnets.layers.convolution import convolution
from resnets.layers.normalisation import group_norm


def squeeze_excitation(channels: int, reduction: int = 16) -> SqueezeExcitation:
    """Average over the map, `channels / reduction` hidden units, and a gate between 0 and 1 for each channel.

    It is squeeze-and-excitation (arXiv:1709.01507). The hidden units are the nearest multiple of 8, as in timm.
    """
    return SqueezeExcitation(channels, max(8, (channels // reduction + 4) // 8 * 8))


class SelfAttention(nn.Module):
    """x + what each position of a map reads from all others (arXiv:1706.03762, sec. 3.2), normalised before.

    It begins as the identity.

    Args:
        channels: of the map; a multiple of `head_channels`.
        head_channels: channels of each head.
    """

    def __init__(self, channels: int, head_channels: int) -> None:
        super().__init__()
        self.heads = channels // head_channels
        self.norm = group_norm(channels)
        self.qkv = convolution(channels, 3 * channels, 1)
        self.project = convolution(channels, channels, 1)
        nn.init.zeros_(self.project.weight)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape."""
        N, C, H, W = x.shape
        positions = self.qkv(self.norm(x)).flatten(2).mT  # (N, HW, 3C)
        query, key, value = positions.view(N, H * W, 3, self.heads, -1).permute(
            2, 0, 3, 1, 4
        )  # (N, heads, HW, C / heads)
        read = F.scaled_dot_product_attention(query, key, value)
        return x + self.project(read.transpose(1, 2).reshape(N, H, W, C).permute(0, 3, 1, 2))
