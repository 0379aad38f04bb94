"""How much each residual block adds for a picture: F(x) beside what it is added to, and the answer without it.

Shapes: N pictures.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from resnets.insight.lesions import removable, without
from resnets.networks.resnet import ResidualNetwork


@dataclass(frozen=True)
class BlockPart:
    """What one block adds.

    Attributes:
        block: its name in the network.
        ratio: (N,) the Euclidean norm of F(x), as it enters the sum, by that of what it is added to: x itself, or its
            projection. In a plain network, which adds nothing, by that of x.
        outputs: the network's when the block is left out, as in `lesions`; None where it has no
            identity to pass its input on by, for then it cannot be.
    """

    block: str
    ratio: Tensor
    outputs: Tensor | None


@torch.no_grad()
def block_parts(network: nn.Module, images: Tensor) -> list[BlockPart]:
    """What every block adds, the first block first.

    Args:
        network: left in evaluation mode.
        images: (N, C, H, W), as the network takes them.

    Raises:
        ValueError: if the network has no residual blocks.
    """
    if not isinstance(network, ResidualNetwork):
        raise ValueError(f"{type(network).__name__} has no residual blocks")
    ratios, can_go = residual_ratios(network.eval(), images), removable(network)
    parts = []
    for name, ratio in ratios.items():
        outputs = None
        if name in can_go:
            with without(network, [name]):
                outputs = network(images)
        parts.append(BlockPart(name, ratio, outputs))
    return parts


@torch.no_grad()
def residual_ratios(network: ResidualNetwork, images: Tensor) -> dict[str, Tensor]:
    """For each block by name, the ratio (N,) that `BlockPart` speaks of."""
    added: dict[str, Tensor] = {}
    beside: dict[str, Tensor] = {}

    def keep_output(norms: dict[str, Tensor], name: str, _module: nn.Module, _inputs: object, output: Tensor) -> None:
        norms[name] = torch.linalg.vector_norm(output.double(), dim=(1, 2, 3))

    def keep_input(name: str, module: nn.Module, inputs: tuple[Tensor]) -> None:
        keep_output(beside, name, module, None, *inputs)

    hooks = []
    for name, block in network.blocks().items():
        hooks.append(block.drop_path.register_forward_hook(partial(keep_output, added, name)))
        if block.use_shortcut:
            hooks.append(block.downsample.register_forward_hook(partial(keep_output, beside, name)))
        else:
            hooks.append(block.register_forward_pre_hook(partial(keep_input, name)))
    try:
        network(images)
    finally:
        for hook in hooks:
            hook.remove()
    return {name: (added[name] / beside[name]).float() for name in network.blocks()}
