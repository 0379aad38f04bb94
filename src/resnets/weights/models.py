"""Networks by name, with weights if asked."""

from __future__ import annotations

import warnings
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch

from resnets.networks.catalogue import DETECTORS, SEGMENTERS, architecture, build, declaration_from_dict
from resnets.networks.declaration import Declaration
from resnets.networks.detector import DetectorArchitecture
from resnets.networks.network import Network
from resnets.networks.segmenter import SegmenterArchitecture, segmenter_architecture
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

    With weights whose declaration is known, as a run's is, it is that one, but for what is asked for here. What weights
    cannot give as they are (a first convolution for other channels, a classifier for other classes, names without a
    place), and that they are of a network of another name, is told in a warning.

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
    if source is not None:
        declaration = declared_by(source, name)
        if source.model not in (None, name, backbone_name(name)):
            warnings.warn(f"{source.origin} says that it is of {source.model}, not of {name}", stacklevel=2)
    on_backbone = isinstance(declaration, DetectorArchitecture | SegmenterArchitecture)
    outputs = num_classes
    if outputs is None and on_backbone:
        told = 0 if source is None else len(source.classes or ()) or classes_of(source, declaration)
        outputs = told or declaration.num_classes
    elif outputs is None:
        outputs = IMAGENET_CLASSES
    network = build(replace(declaration, num_classes=outputs, in_channels=in_channels, **changes))
    if source is not None:
        if num_classes is None and not on_backbone:
            network.reset_classifier(outputs_of(source, network) or outputs)
        account = load_weights(network, source.tensors, source.origin)
        if not account.complete:
            warnings.warn(f"not all of the {account}", stacklevel=2)
    return network


def backbone_name(name: str) -> str | None:
    """The name of the network that a detector or segmenter of this name stands on; None of what stands alone."""
    match = DETECTORS.fullmatch(name) or SEGMENTERS.fullmatch(name)
    return match[2] if match else None


def declared_by(weights: Weights, name: str) -> Declaration:
    """The declaration of a name; the weights' own, where they are of that network, or on it, of its backbone.

    Raises:
        ValueError: for an unknown name.
    """
    known = None if weights.architecture is None else declaration_from_dict(weights.architecture)
    if known is not None and weights.model == name:
        return known
    declared = architecture(name)
    if known is None or weights.model != backbone_name(name):
        return declared
    if isinstance(declared, SegmenterArchitecture):
        return segmenter_architecture(declared.decoder, known)
    assert isinstance(declared, DetectorArchitecture)
    return replace(declared, backbone=replace(known, num_classes=0))


def classes_of(source: Weights, declaration: Declaration) -> int:
    """How many classes a file of a detector or segmenter is for, 0 if it has no classifier.

    Its last layer may have several outputs a class, and some for none.
    """
    with torch.device("meta"):  # without values
        one, two = (build(replace(declaration, num_classes=count)) for count in (1, 2))
    first, second = (len(network.state_dict()[f"{network.logits_layer}.weight"]) for network in (one, two))
    classes, rest = divmod(outputs_of(source, one) - first, second - first)
    return 0 if rest else max(classes + 1, 0)


def outputs_of(source: Weights, network: Network) -> int:
    """How many outputs the classifier in a file has, 0 if it has none."""
    found = recognise(source.tensors, needed(network.state_dict())).tensors
    weight = found.get(f"{network.logits_layer}.weight")
    return 0 if weight is None else len(weight)
