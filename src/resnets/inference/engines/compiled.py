"""PyTorch compiled by Inductor with the weights frozen into the code: faster than `eager`, after a minute of compiling.

It needs a C++ compiler.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch._inductor import config
from torch.utils._pytree import tree_flatten, tree_unflatten

from resnets.inference.engines import by_batches
from resnets.inference.engines.eager import EagerEngine
from resnets.inference.graph import Answer
from resnets.types import Preprocessing


class CompiledEngine(EagerEngine):
    """A network compiled for the batches that it meets: for single pictures, and for as many as the first batch has.

    Others are cut and filled up to that, as every other size would be compiled anew.
    """

    programs: ClassVar[tuple[str, ...]] = ()

    def __init__(self, network: nn.Module, preprocessing: Preprocessing, precision: str, device: torch.device) -> None:
        super().__init__(network, preprocessing, precision, device)
        compiled: Any = torch.compile(self.network, dynamic=False)
        self.network = compiled
        self.batch = 1

    def __call__(self, pixels: Tensor) -> Answer:
        """What the network gives for pixels (N, H, W, C) uint8."""
        if len(pixels) > 1 and self.batch == 1:
            self.batch = len(pixels)
        structure: Any = None

        def compute(batch: Tensor) -> list[Tensor]:
            nonlocal structure
            with config.patch(freezing=True):
                leaves, structure = tree_flatten(super(CompiledEngine, self).__call__(batch))
            return leaves

        leaves = by_batches([pixels], self.batch if len(pixels) > 1 else 1, compute)
        return tree_unflatten(leaves, structure)


ENGINE = CompiledEngine
