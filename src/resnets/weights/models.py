"""Networks by name, with weights if asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from resnets.networks.catalogue import architecture, build
from resnets.networks.resnet import ResidualNetwork
from resnets.networks.vgg import VGG
from resnets.weights.files import read_tensors


def create_model(
    name: str,
    num_classes: int = 1000,
    in_channels: int = 3,
    weights: str | Path | None = None,
    **changes: Any,
) -> ResidualNetwork | VGG:
    """A network by its name.

    Args:
        name: one of `list_models()`, or CIFAR's resnet{6n+2}, plain{6n+2}, preresnet{9n+2}, wrn{6n+4}_{k}.
        num_classes: outputs of the classifier; 0 for none, so that the network gives pooled features.
        in_channels: channels of the pictures.
        weights: a .safetensors, .pth or .pt file of the very same network; None to begin anew.
        changes: fields of the declaration to change, such as `shortcut="C"` or `depths=(3, 4, 6, 3)`.

    Raises:
        ValueError: for an unknown name or field, contradictory options, or weights of another network.
        FileNotFoundError: if there is no such file of weights.
    """
    declaration = architecture(name)
    known = [field.name for field in fields(declaration)]
    if unknown := sorted(set(changes) - set(known)):
        raise ValueError(f"{name} has no {', '.join(unknown)} to change; there are {', '.join(known)}")
    network = build(replace(declaration, num_classes=num_classes, in_channels=in_channels, **changes))
    if weights is not None:
        load_tensors(network, read_tensors(weights), str(weights))
    return network


def load_tensors(network: nn.Module, tensors: Mapping[str, Tensor], origin: str) -> None:
    """Load a network's tensors by name.

    Batch normalisation's counters of batches may be missing or left over; nothing depends on them.

    Raises:
        ValueError: naming `origin`, unless all names and shapes agree.
    """
    own = network.state_dict()
    missing, unknown = _needed(own) - _needed(tensors), _needed(tensors) - _needed(own)
    if missing or unknown:
        raise ValueError(
            f"{origin} holds another network's weights: of this one's, {_some(missing)} missing; "
            f"{_some(unknown)} unknown to it"
        )
    for key in sorted(_needed(own)):
        if tensors[key].shape != own[key].shape:
            raise ValueError(
                f"{origin} holds {key} of shape {tuple(tensors[key].shape)}, "
                f"but the network's has {tuple(own[key].shape)}; is num_classes or in_channels another?"
            )
    network.load_state_dict(own | {key: value for key, value in tensors.items() if key in own})


def _needed(tensors: Mapping[str, Tensor]) -> set[str]:
    return {key for key in tensors if not key.endswith("num_batches_tracked")}


def _some(keys: set[str]) -> str:
    first = ", ".join(sorted(keys)[:3]) or "nothing"
    return f"{first} and {len(keys) - 3} more" if len(keys) > 3 else first
