"""What of a network an engine computes: all of it, but of a detector what is dense; see `heads.two_parts`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from resnets.inference.graph import Answer
from resnets.networks.catalogue import build
from resnets.networks.detector import Detector, DetectorArchitecture
from resnets.weights.files import read_tensors, write_tensors
from resnets.weights.loading import load_tensors

FILE = "model.following.safetensors"
"""The weights of what follows an exported graph, where it needs some."""


class Dense(nn.Module):
    """What of a detector is dense."""

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """From images (N, C, H, W) to the tensors that the detector makes boxes of."""
        return self.detector.dense(images)


def dense_part(network: nn.Module) -> nn.Module:
    """The part of a network that is a graph."""
    return Dense(network) if isinstance(network, Detector) else network


class Finished:
    """An engine that computes what of a detector is dense, and the detector's answers made of it in PyTorch.

    Args:
        compute: the engine.
        parallel: of the engine.
        detector: on the CPU; only the weights of `following` count.
    """

    def __init__(self, compute: Callable[[Tensor], Answer], parallel: int, detector: Detector) -> None:
        self.compute, self.parallel, self.detector = compute, parallel, detector

    @torch.inference_mode()
    def __call__(self, *inputs: Tensor) -> Answer:
        """The detections (N, D, 6 and more) for pixels (N, H, W, C) uint8."""
        (pixels,) = inputs
        return self.detector.finish(self.compute(pixels), (pixels.shape[1], pixels.shape[2]))


def write_following(network: nn.Module, folder: Path) -> None:
    """Write the weights of what follows the graph, if there are any."""
    if isinstance(network, Detector) and network.following:
        own = tuple(f"{name}." for name in network.following)
        write_tensors({k: v for k, v in network.state_dict().items() if k.startswith(own)}, folder / FILE)


def read_following(architecture: DetectorArchitecture, folder: Path) -> Detector:
    """A detector that has the weights of what follows the graph, and of the rest nothing but shapes.

    Raises:
        FileNotFoundError: if weights are needed that are not there.
        ValueError: if they do not fit.
    """
    with torch.device("meta"):
        detector = cast(Detector, build(architecture).eval())
    if not detector.following:
        return detector
    tensors = read_tensors(folder / FILE)
    for name in detector.following:
        part: Any = detector.get_submodule(name).to_empty(device="cpu")
        own = {key.removeprefix(f"{name}."): tensor for key, tensor in tensors.items() if key.startswith(f"{name}.")}
        load_tensors(part, own, str(folder / FILE))
    return detector
