"""Training in little memory."""

from __future__ import annotations

import math
from typing import Literal

from torch import nn

from resnets.blocks.sequence import Blocks

Memory = Literal["high", "low"]

MAPS_IN_A_BLOCK = 4
"""Maps that a block keeps for the backward pass, beside its input."""


def compute_again(network: nn.Module) -> None:
    """Let the network's blocks compute their maps twice rather than keep them.

    A stage of n blocks in segments of s keeps n / s inputs, and for one segment at a time 4 s maps: least at
    s = sqrt(n / 4). The forward pass of the blocks is computed twice, a third more work.

    Raises:
        ValueError: if it has no residual blocks.
    """
    stages = [module for module in network.modules() if isinstance(module, Blocks)]
    if not stages:
        raise ValueError("--memory low computes the maps of residual blocks again, and this network has none")
    for stage in stages:
        stage.segment = max(1, round(math.sqrt(len(stage) / MAPS_IN_A_BLOCK)))
