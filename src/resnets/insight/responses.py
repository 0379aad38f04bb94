"""How strongly each layer responds (arXiv:1512.03385, section 4.2 and figure 7)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor, nn

from resnets.networks.resnet import ResidualNetwork


@torch.inference_mode()
def response_deviations(network: ResidualNetwork, images: Tensor) -> dict[str, float]:
    """The standard deviation of each 3x3 layer's response over pictures, places and channels, first layer first.

    The response is what stands after the normalisation and before the activation or the sum; in a pre-activation
    network, whose normalisations come before, what the convolution gives.

    Args:
        network: left in evaluation mode.
        images: (N, C, H, W), as the network takes them.
    """
    deviations: dict[str, float] = {}

    def measure(name: str, _module: nn.Module, _inputs: object, output: Tensor) -> None:
        deviations[name] = float(output.double().std())

    hooks = [module.register_forward_hook(partial(measure, name)) for name, module in responding(network).items()]
    try:
        network.eval()(images)
    finally:
        for hook in hooks:
            hook.remove()
    return deviations


def responding(network: ResidualNetwork) -> dict[str, nn.Module]:
    """The modules whose outputs are the responses, by the names of their convolutions."""
    modules = dict(network.named_modules())
    convolutions = [
        name
        for name, module in modules.items()
        if isinstance(module, nn.Conv2d) and module.kernel_size[0] > 1 and "downsample" not in name
    ]
    if network.architecture.preactivation:
        return {name: modules[name] for name in convolutions}
    return {name: modules[following] for name in convolutions if (following := _norm_after(name, modules)) in modules}


def _norm_after(convolution: str, modules: Mapping[str, nn.Module]) -> str:
    head, _, last = convolution.rpartition(".")
    if last.isdigit():  # in a deep stem, whose last normalisation stands beside it
        following = f"{head}.{int(last) + 1}"
        return following if following in modules else head.replace("conv", "bn")
    return f"{head}.{last.replace('conv', 'bn')}" if head else last.replace("conv", "bn")
