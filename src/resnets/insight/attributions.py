"""Which parts of a picture an answer rests on.

| method | a pixel's value | source |
|---|---|---|
| gradcam | what a stage's map says for the answer there, channels weighed by their mean gradients | arXiv:1610.02391 |
| gradcam++ | the same, places whose gradient is positive weighing more | arXiv:1710.11063 |
| layercam | the same, each place weighed by its own gradient; finer in early stages | doi:10.1109/TIP.2021.3089943 |
| integrated-gradients | its part of the difference to a picture of the mean colour | arXiv:1703.01365 |
| occlusion | how much the answer falls when a square of the mean colour hides it | arXiv:1311.2901 |

The first three are never negative: what speaks against the answer is left out. The last two come from captum.

What is attributed is a scalar: any function of the network's outputs that gives one number a picture, `one_output(3)`
for a classifier's fourth logit, or for maps of classes (N, K, H, W) the mean over one of them. Each picture is asked
the same.

Legend: N pictures, C channels, H x W pixels; a (N, D, h, w) is a layer's map, g the scalar's gradient by it.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resnets.networks.network import Network

Scalar = Callable[[Any], Tensor]
"""From the network's outputs for N pictures to (N,)."""

STEPS = 64
"""Of the integral, at Gauss and Legendre's points."""

PARTS = 6
"""An occluding square's side is the shorter side of the picture by this; it moves by half of its side."""

BATCH = 16
"""Pictures that the network sees at a time."""


def gradcam(a: Tensor, g: Tensor) -> Tensor:
    """relu(sum over channels of (mean of g over places) a), (N, h, w) (equations 1 and 2 of the paper)."""
    return (g.mean((2, 3), keepdim=True) * a).sum(1).relu()


def gradcam_plus_plus(a: Tensor, g: Tensor) -> Tensor:
    """relu(sum over channels of (sum over places of alpha relu(g)) a), (N, h, w) (equations 5, 9 and 19)."""
    below = 2 * g**2 + a.sum((2, 3), keepdim=True) * g**3
    alpha = torch.where(below != 0, g**2 / torch.where(below != 0, below, 1), 0)
    return ((alpha * g.relu()).sum((2, 3), keepdim=True) * a).sum(1).relu()


def layercam(a: Tensor, g: Tensor) -> Tensor:
    """relu(sum over channels of relu(g) a), (N, h, w) (equations 5 to 7)."""
    return (g.relu() * a).sum(1).relu()


MAPS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "gradcam": gradcam,
    "gradcam++": gradcam_plus_plus,
    "layercam": layercam,
}
"""Methods that weigh a layer's map."""

PIXELS = ("integrated-gradients", "occlusion")
"""Methods that ask for each pixel."""

METHODS = (*MAPS, *PIXELS)


def attribute(
    network: nn.Module, images: Tensor, scalar: Scalar, method: str = "gradcam", layer: nn.Module | None = None
) -> Tensor:
    """How much each pixel speaks for the scalar, (N, H, W) float32, in the method's own units.

    Args:
        network: any; left in evaluation mode.
        images: (N, C, H, W), normalised, so that 0 is the mean colour.
        scalar: what is attributed.
        method: one of `METHODS`.
        layer: whose map is weighed, by the first three methods; by default a network's last stage.

    Raises:
        ValueError: if there is no such method, or it has no use for a layer.
        ImportError: if captum is not there and the method needs it.
    """
    if method not in METHODS:
        raise ValueError(f"there is no method {method!r}; there are {', '.join(METHODS)}")
    network.eval()
    if method in MAPS:
        a, g = map_and_gradient(network, images, scalar, stage_layer(network) if layer is None else layer)
        return F.interpolate(MAPS[method](a, g)[:, None], images.shape[-2:], mode="bilinear")[:, 0]
    if layer is not None:
        raise ValueError(f"{method} asks for pixels and has no use for a layer; leave it out")
    ask = integrated_gradients if method == "integrated-gradients" else occlusion
    return torch.cat([ask(network, image, scalar) for image in images.split(1)])


def one_output(number: int) -> Scalar:
    """The scalar that is one column of outputs (N, K)."""
    return lambda outputs: outputs[:, number]


def stage_layer(network: nn.Module, stage: str | None = None) -> nn.Module:
    """The layer whose map `features` gives for a stage, the last unless it is named.

    Raises:
        ValueError: if the network has no such stage, or no stages.
    """
    if not isinstance(network, Network):
        raise ValueError(f"{type(network).__name__} has no stages; name the layer whose map is to be weighed")
    names = [known.name for known in network.stages]
    if stage is not None and stage not in names:
        raise ValueError(f"there is no stage {stage}; there are {', '.join(names)}")
    return network.levels()[-1 if stage is None else names.index(stage)][-1]


def map_and_gradient(network: nn.Module, images: Tensor, scalar: Scalar, layer: nn.Module) -> tuple[Tensor, Tensor]:
    """A layer's map and the scalar's gradient by it, both (N, D, h, w) float32.

    Raises:
        ValueError: unless the layer runs once and gives a map.
    """
    maps: list[Tensor] = []

    def watch(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        maps.append(output.detach().requires_grad_())
        return maps[-1].clone()  # what follows may change it in place

    hook = layer.register_forward_hook(watch)
    try:
        with torch.enable_grad():
            answer = scalar(network(images)).sum()
    finally:
        hook.remove()
    if len(maps) != 1 or maps[0].dim() != 4:
        raise ValueError("the layer must run once in the network and give a map (N, channels, height, width)")
    (gradient,) = torch.autograd.grad(answer, maps)
    return maps[0].detach().float(), gradient.float()


def integrated_gradients(network: nn.Module, image: Tensor, scalar: Scalar) -> Tensor:
    """(1, H, W), channels summed; over all pixels it sums to scalar(image) - scalar(the mean colour) but for `STEPS`.

    Args:
        network: in evaluation mode.
        image: (1, C, H, W).
        scalar: what is attributed.
    """
    method = _captum().IntegratedGradients(lambda inputs: scalar(network(inputs)))
    parts: Tensor = method.attribute(image, n_steps=STEPS, internal_batch_size=BATCH)
    return parts.sum(1).float()


@torch.no_grad()
def occlusion(network: nn.Module, image: Tensor, scalar: Scalar) -> Tensor:
    """(1, H, W): how much the scalar falls when a square hides a pixel, the mean over the squares that do.

    Args:
        network: in evaluation mode.
        image: (1, C, H, W).
        scalar: what is attributed.
    """
    channels, side = image.shape[1], max(1, min(image.shape[2:]) // PARTS)
    step = max(1, side // 2)
    falls: Tensor = (
        _captum()
        .Occlusion(lambda inputs: scalar(network(inputs)))
        .attribute(image, (channels, side, side), (channels, step, step), perturbations_per_eval=BATCH)
    )
    return falls.mean(1).float()  # the channels, which are hidden together, are alike


def available_methods() -> tuple[str, ...]:
    """All methods, or those that do without captum where it is not there."""
    try:
        _captum()
    except ImportError:
        return tuple(MAPS)
    return METHODS


def _captum() -> ModuleType:
    try:
        from captum import attr
    except ImportError:
        raise ImportError(f"{' and '.join(PIXELS)} need captum: pip install 'resnets[insight]'") from None
    module: ModuleType = attr
    return module
