"""PyTorch operation by operation, channels-last, batch norm folded: on a CPU or a GPU, with nothing to wait for."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from resnets.data.transforms import normalise
from resnets.inference.graph import Answer, Graph, folded
from resnets.types import Preprocessing

FILE = "model.pt2"


class EagerEngine:
    """A network as PyTorch runs it.

    Args:
        network: takes normalised pictures (N, C, H, W).
        preprocessing: of the card.
        precision: float32 or bfloat16, of weights and maps; pictures are normalised in float32.
        device: where to compute.
    """

    precisions: ClassVar[tuple[str, ...]] = ("float32", "bfloat16")
    programs: ClassVar[tuple[str, ...]] = ("float32",)
    format: ClassVar[str] = "torch"
    exports: ClassVar[dict[str, torch.dtype]] = {"float32": torch.float32, "bfloat16": torch.bfloat16}
    parallel = 1

    def __init__(self, network: nn.Module, preprocessing: Preprocessing, precision: str, device: torch.device) -> None:
        self.dtype = getattr(torch, precision)
        self.device = device
        self.preprocessing = preprocessing
        self.network = network.to(device, self.dtype).to(memory_format=torch.channels_last)

    @classmethod
    def of(cls, network: nn.Module, preprocessing: Preprocessing, precision: str, device: torch.device) -> EagerEngine:
        """An engine for a network on the CPU in evaluation mode, which stays as it is."""
        copy = deepcopy(network)
        if (
            preprocessing.fit == "cover"
        ):  # networks that see all of a picture are no graphs, or stay as they were judged
            copy = folded(copy, torch.zeros(2, preprocessing.channels, *preprocessing.size))
        return cls(copy, preprocessing, precision, device)

    @torch.inference_mode()
    def __call__(self, pixels: Tensor) -> Answer:
        """What the network gives for pixels (N, H, W, C) uint8."""
        images = pixels.to(self.device, non_blocking=True).permute(0, 3, 1, 2)
        answer = self.network(normalise(images, self.preprocessing, self.dtype, channels_last=True))
        return tree_map(lambda tensor: tensor.float().cpu(), answer)

    @classmethod
    def write(cls, graph: Graph, folder: Path, precision: str, calibration: list[Tensor]) -> None:
        """Write `model.pt2`, for programs that read PyTorch's exported programs."""
        program: Any = graph.program
        torch.export.save(program, folder / FILE)


ENGINE = EagerEngine
