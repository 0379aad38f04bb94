"""Networks by name, with weights if asked."""

from __future__ import annotations

import warnings
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from resnets.networks.catalogue import architecture, build
from resnets.networks.detector import DetectorArchitecture
from resnets.networks.network import Network
from resnets.weights.layouts import recognise
from resnets.weights.loading import load_weights, needed
from resnets.weights.sources import Weights, find_weights

IMAGENET_CLASSES = 1000


def create_model(
    name: str,
    num_classes: int | None = None,
    in_channels: int = 3,
    weights: str | Path | None = None,
    **changes: Any,
) -> Any:
    """A network by its name.

    With weights, what they cannot give as they are (a first convolution for other channels, a classifier for other
    classes, names without a place) is told in a warning.

    Args:
        name: one of `list_models()`, or CIFAR's resnet{6n+2}, densenet{3n+4}_{k}...: see `networks.catalogue.PATTERNS`.
        num_classes: outputs of the classifier; 0 for none, so that the network gives pooled features; by default as
            many as the weights have, or 1000 without weights.
        in_channels: channels of the pictures.
        weights: "torchvision", "hf:OWNER/NAME", an address with its SHA-256, a file, a run's folder...; see
            `weights.sources.find_weights`. None to begin anew.
        changes: fields of the declaration to change, such as `shortcut="C"` or `depths=(3, 4, 6, 3)`.

    Raises:
        ValueError: for an unknown name or field, contradictory options, or weights of another network.
        FileNotFoundError: if there is no such file of weights.
    """
    declaration = architecture(name)
    known = [field.name for field in fields(declaration)]
    if unknown := sorted(set(changes) - set(known)):
        raise ValueError(f"{name} has no {', '.join(unknown)} to change; there are {', '.join(known)}")
    source = None if weights is None else find_weights(weights, name)
    detects = isinstance(declaration, DetectorArchitecture)
    outputs = num_classes
    if outputs is None and detects:
        outputs = len(source.classes) if source is not None and source.classes else declaration.num_classes
    elif outputs is None:
        outputs = IMAGENET_CLASSES
    network = build(replace(declaration, num_classes=outputs, in_channels=in_channels, **changes))
    if source is not None:
        if num_classes is None and not detects:
            network.reset_classifier(outputs_of(source, network) or outputs)
        account = load_weights(network, source.tensors, source.origin)
        if not account.complete:
            warnings.warn(f"not all of the {account}", stacklevel=2)
    return network


def outputs_of(source: Weights, network: Network) -> int:
    """How many outputs the classifier in a file has, 0 if it has none."""
    found = recognise(source.tensors, needed(network.state_dict())).tensors
    weight = found.get(f"{network.logits_layer}.weight")
    return 0 if weight is None else len(weight)
