"""A stage's blocks one after another, whose maps training may keep or compute again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from resnets.blocks.residual import Residual
from resnets.layers.native import suits, watched


class Blocks(nn.Sequential):
    """Blocks in a row.

    Attributes:
        segment: in training, keep for the backward pass only the input of every so-many-th block, and compute the maps
            from there to the next anew when their derivatives are due (arXiv:1604.06174, section 4.1); 0 to keep all.
            Gradients, batch norm's statistics and random choices are the same either way.
    """

    segment = 0

    def forward(self, x: Tensor) -> Tensor:
        """The last block's map."""
        if not (self.segment and self.training and torch.is_grad_enabled()):
            return _run(list(self), x)
        blocks = list(self)
        for start in range(0, len(blocks), self.segment):
            part = blocks[start : start + self.segment]
            x = checkpoint(_run, part, x, use_reentrant=False, context_fn=partial(_contexts, part))
        return x


def _run(blocks: Sequence[nn.Module], x: Tensor) -> Tensor:
    """The last block's map. Each block before it gives its own for both paths of the next, where that is faster."""
    if not (suits(x) and all(_is_residual(block) for block in blocks)):
        for block in blocks:
            x = block(x)
        return x
    residual = cast(Sequence[Residual], blocks)
    paths = residual[0].paths(x)
    for block in residual[:-1]:
        paths = block.parted(*paths)
    return residual[-1].joined(*paths)


def _is_residual(block: nn.Module) -> bool:
    """Whether it is a block whose paths can be reached, and nobody would miss a call of it or of its parts."""
    return isinstance(block, Residual) and type(block).forward is Residual.forward and not watched(*block.modules())


def _contexts(blocks: Sequence[nn.Module]) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """What surrounds the first computation, and the second."""
    return nullcontext(), _counted_already(blocks)


@contextmanager
def _counted_already(blocks: Sequence[nn.Module]) -> Iterator[None]:
    """Batch norm must not count a batch into its statistics a second time."""
    norms = [
        module
        for block in blocks
        for module in block.modules()
        if isinstance(module, _BatchNorm) and module.track_running_stats and module.training
    ]
    before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, (momentum, count) in zip(norms, before, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, count
