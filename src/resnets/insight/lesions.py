"""What a trained network loses when blocks are taken out or change places (arXiv:1605.06431, section 4).

A block that keeps the shape is taken out by passing its input on: F(x) is left out of the sum. A plain network's layers
are replaced by the identity alike. Blocks that have no identity to pass their input on by,
because they change the shape or project it, stay.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import nn

from resnets.blocks.residual import Residual
from resnets.networks.resnet import ResidualNetwork


def removable(network: ResidualNetwork) -> tuple[str, ...]:
    """The names of the blocks that pass their input on by an identity, in order."""
    return tuple(name for name, block in network.blocks().items() if isinstance(block.downsample, nn.Identity))


@contextmanager
def without(network: ResidualNetwork, names: Sequence[str]) -> Iterator[None]:
    """The network passes by some blocks.

    Raises:
        ValueError: if one of them has no identity to pass its input on by.
    """
    allowed = removable(network)
    if unknown := [name for name in names if name not in allowed]:
        raise ValueError(f"{', '.join(unknown)} cannot be taken out; {', '.join(allowed)} can")
    chosen = [network.blocks()[name] for name in names]
    before = [(block.use_shortcut, block.use_residual) for block in chosen]
    for block in chosen:
        block.use_shortcut, block.use_residual = True, False
    try:
        yield
    finally:
        for block, (use_shortcut, use_residual) in zip(chosen, before, strict=True):
            block.use_shortcut, block.use_residual = use_shortcut, use_residual


@contextmanager
def exchanged(network: ResidualNetwork, pairs: Sequence[tuple[str, str]]) -> Iterator[None]:
    """Pairs of blocks of one shape have changed places, one pair after the other."""
    for first, second in pairs:
        _exchange(network, first, second)
    try:
        yield
    finally:
        for first, second in reversed(pairs):
            _exchange(network, first, second)


def _exchange(network: ResidualNetwork, first: str, second: str) -> None:
    blocks: tuple[Residual, Residual] = network.blocks()[first], network.blocks()[second]
    network.set_submodule(first, blocks[1])
    network.set_submodule(second, blocks[0])
