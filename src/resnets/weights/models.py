"""Networks by name, with weights if asked."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from resnets.networks.catalogue import architecture, build
from resnets.weights.files import read_tensors


def create_model(
    name: str,
    num_classes: int = 1000,
    in_channels: int = 3,
    weights: str | Path | None = None,
    **changes: Any,
) -> nn.Module:
    """A network by its name in the catalogue.

    Args:
        name: one of `list_models()`, or CIFAR's resnet{6n+2}, plain{6n+2}, preresnet{9n+2}, wrn{6n+4}_{k}.
        num_classes: outputs of the classifier; 0 for none, so that the network gives pooled features.
        in_channels: channels of the pictures.
        weights: a .safetensors, .pth or .pt file to load; every tensor must fit. None begins anew.
        changes: fields of the declaration to change, such as `shortcut="C"` or `depths=(3, 4, 6, 3)`.

    Raises ValueError for an unknown name or field, a contradictory declaration, or weights of another network.
    """
    declaration = architecture(name)
    known = [field.name for field in fields(declaration)]  # type: ignore[arg-type]
    if unknown := sorted(set(changes) - set(known)):
        raise ValueError(f"{name} has no {', '.join(unknown)} to change; there are {', '.join(known)}")
    declaration = replace(declaration, num_classes=num_classes, in_channels=in_channels, **changes)  # type: ignore[type-var]
    network = build(declaration)
    if weights is not None:
        load_tensors(network, read_tensors(weights), str(weights))
    return network


def load_tensors(network: nn.Module, tensors: dict[str, Tensor], origin: str) -> None:
    """Load a network's tensors; ValueError naming `origin` unless names and shapes all agree."""
    own = network.state_dict()
    missing, unknown = sorted(own.keys() - tensors.keys()), sorted(tensors.keys() - own.keys())
    if missing or unknown:
        raise ValueError(
            f"{origin} belongs to another network: {_some(missing)} missing, {_some(unknown)} unknown"
        )
    for key, value in tensors.items():
        if value.shape != own[key].shape:
            raise ValueError(
                f"{origin}: {key} has shape {tuple(value.shape)}, the network's {tuple(own[key].shape)}"
            )
    network.load_state_dict(tensors)


def _some(keys: list[str]) -> str:
    return f"{', '.join(keys[:3]) or 'none'}{f' and {len(keys) - 3} more' if len(keys) > 3 else ''}"
