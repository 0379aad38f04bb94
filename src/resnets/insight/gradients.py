"""How strong the gradient is that reaches each layer."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

WEIGHTED = (nn.Conv2d, nn.Linear)


@dataclass(frozen=True)
class LayerGradient:
    """Euclidean norms of the derivatives of a batch's mean loss.

    Attributes:
        layer: its name in the network.
        output: of the derivative by what the layer gives, which is what comes back to it from the loss: it vanishes or
            explodes with the layers in between.
        weight: of the derivative by the layer's weights, which is that times what the layer is given.
    """

    layer: str
    output: float
    weight: float


def layer_gradients(network: nn.Module, images: Tensor, targets: Tensor) -> list[LayerGradient]:
    """The gradients at every layer with weights, the first layer first; projections are left out.

    The network is in training mode for the measurement, so that batch norm uses the batch's statistics, and is left as
    it was.

    Args:
        network: a classifier.
        images: (N, C, H, W), as the network takes them.
        targets: (N,) classes.
    """
    network = deepcopy(network).float().train()
    device = next(network.parameters()).device
    layers = {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, WEIGHTED) and "downsample" not in name
    }
    outputs: dict[nn.Module, Tensor] = {}

    def keep(module: nn.Module, _inputs: object, output: Tensor) -> None:
        output.retain_grad()
        outputs[module] = output

    for module in layers.values():
        module.register_forward_hook(keep)
    F.cross_entropy(network(images.to(device)), targets.to(device)).backward()
    return [
        LayerGradient(name, _norm(outputs[module].grad), _norm(module.weight.grad))
        for name, module in layers.items()
        if module in outputs
    ]


def _norm(gradient: Tensor | None) -> float:
    return 0.0 if gradient is None else float(torch.linalg.vector_norm(gradient.double()))
