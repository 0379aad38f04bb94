"""Squeeze-and-excitation: channels weighted by what the whole map holds (arXiv:1709.01507)."""

from __future__ import annotations

from torchvision.ops import SqueezeExcitation


def squeeze_excitation(channels: int, reduction: int = 16) -> SqueezeExcitation:
    """Average over the map, `channels / reduction` hidden units, and a gate between 0 and 1 for each channel.

    The hidden units are the nearest multiple of 8, as in timm.
    """
    return SqueezeExcitation(channels, max(8, (channels // reduction + 4) // 8 * 8))
