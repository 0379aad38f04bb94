"""Squeeze-and-excitation: channels weighted by what the whole map holds (arXiv:1709.01507)."""

from __future__ import annotations

from torchvision.ops import SqueezeExcitation


def squeeze_excitation(channels: int, reduction: int = 16) -> SqueezeExcitation:
    """Pool, `channels` / `reduction` hidden units (a multiple of 8, as timm rounds), and a gate for each channel."""
    hidden = max(8, int(channels / reduction + 4) // 8 * 8)
    return SqueezeExcitation(channels, hidden)
