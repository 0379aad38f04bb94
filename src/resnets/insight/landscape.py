"""The loss around trained weights, on a plane through them (arXiv:1712.09913)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

BATCH = 500


def random_direction(network: nn.Module, seed: int) -> dict[str, Tensor]:
    """A random direction in which every filter is as long as the network's own (section 4 of the paper).

    A convolution's filters and a linear layer's rows keep their norms; biases and what a normalisation learns stay
    still. So two networks are compared at the same scale, whatever the scale of their weights.

    Returns:
        For each parameter of two dimensions or more, by name, a tensor of its shape.
    """
    generator = torch.Generator().manual_seed(seed)
    direction = {}
    for name, weight in network.named_parameters():
        if weight.dim() > 1:
            drawn = torch.randn(weight.shape, generator=generator)
            sides = tuple(range(1, weight.dim()))
            norms = [torch.linalg.vector_norm(tensor, dim=sides, keepdim=True) for tensor in (weight.detach(), drawn)]
            direction[name] = drawn * (norms[0] / norms[1])
    return direction


@torch.inference_mode()
def loss_surface(
    network: nn.Module,
    images: Tensor,
    targets: Tensor,
    directions: tuple[Mapping[str, Tensor], Mapping[str, Tensor]],
    steps: Sequence[float],
) -> Tensor:
    """The mean cross-entropy at the weights plus a times one direction plus b times the other.

    Batch norm's statistics stay as training left them. The network is left as it was.

    Args:
        network: a classifier.
        images: (N, C, H, W), as the network takes them.
        targets: (N,) classes.
        directions: as `random_direction` gives them.
        steps: the K values of a and of b.

    Returns:
        (K, K) float64; a goes with the rows, b with the columns.
    """
    moved = deepcopy(network).eval()
    first, second = directions
    weights = {name: weight for name, weight in moved.named_parameters() if name in first}
    begun = {name: weight.clone() for name, weight in weights.items()}
    surface = torch.empty(len(steps), len(steps), dtype=torch.float64)
    for row, a in enumerate(steps):
        for column, b in enumerate(steps):
            for name, weight in weights.items():
                weight.copy_(begun[name] + a * first[name] + b * second[name])
            outputs = torch.cat([moved(part) for part in images.split(BATCH)])
            surface[row, column] = F.cross_entropy(outputs.double(), targets)
    return surface
