"""From a file's tensors to a network's, with an account of every one of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from resnets.networks.architecture import Architecture
from resnets.networks.detector import Detector
from resnets.networks.network import Network
from resnets.networks.segmenter import Segmenter
from resnets.weights.layouts import LAYOUTS, LINEAR, Recognised, recognise
from resnets.weights.zeros import KIND, zeros_behind

COUNTER = "num_batches_tracked"
"""Batch normalisation's counters of batches may be missing or left over; nothing depends on them."""

AUXILIARY = "aux_classifier"
"""A module of segmenters that helps training alone."""


@dataclass(frozen=True)
class Account:
    """What became of a file's tensors.

    Attributes:
        origin: the file, or where it is from.
        layout: whose names it has, a key of `LAYOUTS`.
        loaded: how many tensors were taken as they are.
        parameters: how many numbers they hold.
        resized: what was adapted, and how.
        replaced: what begins anew, and why.
        left_out: names in the file that the network has no place for.
    """

    origin: str
    layout: str
    loaded: int
    parameters: int
    resized: tuple[str, ...] = ()
    replaced: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether the network has all of the file as it is, and the file all of the network."""
        return not (self.resized or self.replaced or self.left_out)

    def rows(self) -> list[tuple[str, str]]:
        """The account as a table of two columns."""
        table = {
            "weights": f"{self.origin} ({self.layout} names)",
            "loaded": f"{self.loaded:,} tensors, {self.parameters:,} numbers",
            "resized": "; ".join(self.resized),
            "replaced": "; ".join(self.replaced),
            "left out": some(self.left_out) if self.left_out else "",
        }
        return [(label, text) for label, text in table.items() if text]

    def __str__(self) -> str:
        return ", ".join(f"{label} {text}" for label, text in self.rows())


def load_tensors(network: nn.Module, tensors: Mapping[str, Tensor], origin: str) -> None:
    """Load a network's tensors by name, all of them as they are.

    Raises:
        ValueError: naming `origin`, unless all names and shapes agree.
    """
    own = network.state_dict()
    check_names(origin, missing=needed(own) - needed(tensors), unknown=needed(tensors) - needed(own))
    for name in sorted(needed(own)):
        check_fits(origin, name, tensors[name], own[name])
    network.load_state_dict(own | {name: value for name, value in tensors.items() if name in own})


def load_weights(
    network: Network | Detector | Segmenter,
    tensors: Mapping[str, Tensor],
    origin: str,
    classes: Sequence[str] | None = None,
    file_classes: Sequence[str] | None = None,
) -> Account:
    """Load another network's or project's tensors: names are translated, the first and last layer adapted.

    The first convolution takes another number of channels; the classifier begins anew where the classes differ, but
    keeps the rows of classes that have the same name. All else must be there. What stands on a backbone takes the
    tensors of another of its kind, or those of a classifier for its backbone.

    Args:
        network: to be filled.
        tensors: as the file has them.
        origin: how to call the file.
        classes: names of the network's outputs, if they are known.
        file_classes: names of the file's outputs, if they are known.

    Raises:
        ValueError: if it is another network's file, or of a layout that is not known.
    """
    if isinstance(network, Detector):
        return load_on_backbone(network, network.backbone.body, tensors, origin, classes, file_classes)
    if isinstance(network, Segmenter):
        return load_on_backbone(network, network.backbone, tensors, origin, classes, file_classes)
    own = network.state_dict()
    found = recognise(tensors, needed(own))
    body = {name for name in needed(own) if not _belongs(name, *network.class_layers)}
    theirs = with_missing_statistics(found, body)
    declared = network.architecture
    if found.layout == LINEAR and isinstance(declared, Architecture) and (declared.shortcut, declared.block) == KIND:
        theirs = zeros_behind(theirs, declared.channels)
    unknown = {name for name in needed(theirs) - needed(own) if not _belongs(name, *network.class_layers)}
    missing = body - theirs.keys()
    check_names(origin, missing=missing, unknown=unknown or (set(found.left_out) if missing else set()))

    first = next(name for name, value in own.items() if value.ndim == 4)
    loaded, resized, replaced = {}, [], []
    for name in sorted(body):
        value = reshaped(theirs[name], own[name])
        if name == first and LAYOUTS[found.layout].bgr and value.shape[1] == 3:
            value = value.flip(1)
        if name == first and value.shape != own[name].shape and value.shape[2:] == own[name].shape[2:]:
            resized.append(f"{name}: {value.shape[1]} to {own[name].shape[1]} channels")
            value = of_channels(value, own[name].shape[1])
        check_fits(origin, name, value, own[name])
        loaded[name] = value
    for name in sorted(own.keys() & theirs.keys()):
        check_kind(origin, name, theirs[name], own[name])
    head, note = classifier_rows(own, theirs, network.class_layers, classes, file_classes)
    for name, value in head.items():
        check_fits(origin, name, value, own[name])
    if note:
        replaced.append(note)
    counters = {name: theirs[name] for name in own if name.endswith(COUNTER) and name in theirs}
    network.load_state_dict(own | counters | loaded | head)
    taken = loaded if note else loaded | head
    return Account(
        origin,
        found.layout,
        len(taken) - len(resized),
        sum(value.numel() for name, value in taken.items() if name != first or not resized),
        tuple(resized),
        tuple(replaced),
        tuple(name for name in found.left_out if not name.endswith(COUNTER)),
    )


def load_on_backbone(
    network: Detector | Segmenter,
    body: Any,
    tensors: Mapping[str, Tensor],
    origin: str,
    classes: Sequence[str] | None = None,
    file_classes: Sequence[str] | None = None,
) -> Account:
    """Load the tensors of a detector or segmenter, or those of a classifier into its backbone; see `load_weights`.

    What depends on the classes begins anew where they are others, and so does an auxiliary classifier that the file has
    not; one that the network has not is left out.
    """
    own = network.state_dict()
    found = recognise(tensors, needed(own))
    alone = recognise(tensors, needed(body.state_dict()))
    whole, part = found.tensors.keys() & needed(own), alone.tensors.keys() & needed(body.state_dict())
    # What fits in the backbone alone may be of another that stands on one, which has parts besides.
    foreign = [name for name in needed(found.tensors) - needed(own) if not _belongs(name, "backbone")]
    if len(part) > len(whole) or (len(part) == len(whole) and not foreign):
        account = load_weights(body, tensors, origin)
        return replace(account, replaced=("all but the backbone: begins anew",))
    missing, unknown = needed(own) - needed(found.tensors), needed(found.tensors) - needed(own)
    auxiliary = {name for name in (*own, *found.tensors) if _belongs(name, AUXILIARY)}
    if not (auxiliary & own.keys() and auxiliary & found.tensors.keys()):
        missing, unknown = missing - auxiliary, unknown - auxiliary
    theirs = {name: value for name, value in found.tensors.items() if name in own}
    check_names(origin, missing=missing, unknown=unknown)
    of_classes = [name for name in own if name.startswith(tuple(f"{layer}." for layer in network.class_layers))]
    same = classes is None or file_classes is None or tuple(classes) == tuple(file_classes)
    anew = [name for name in of_classes if name in theirs and (not same or theirs[name].shape != own[name].shape)]
    taken = {name: theirs[name] for name in own if name in theirs and name not in anew}
    for name, value in taken.items():
        check_fits(origin, name, value, own[name])
    network.load_state_dict(own | taken)
    layers = dict.fromkeys(name.rpartition(".")[0] for name in anew)
    replaced = [f"{layer}: begins anew, for other classes" for layer in layers]
    if not auxiliary & theirs.keys() and auxiliary & own.keys():
        replaced.append(f"{AUXILIARY}: begins anew, the file has none")
    left_out = (*found.left_out, *sorted(found.tensors.keys() - own.keys()))
    return Account(
        origin,
        found.layout,
        len(needed(taken)),
        sum(taken[name].numel() for name in needed(taken)),
        replaced=tuple(replaced),
        left_out=tuple(name for name in left_out if not name.endswith(COUNTER)),
    )


def classifier_rows(
    own: Mapping[str, Tensor],
    theirs: Mapping[str, Tensor],
    layers: Sequence[str],
    classes: Sequence[str] | None,
    file_classes: Sequence[str] | None,
) -> tuple[dict[str, Tensor], str]:
    """The tensors of the classifier and of what follows it, and what to say where they are not the file's."""
    classifier, names = layers[0], [name for name in own if _belongs(name, *layers) and not name.endswith(COUNTER)]
    if not names:
        return {}, ""
    if any(name not in theirs for name in names):
        return {}, f"{classifier}: begins anew, the file has none"
    before, after = (values[names[0]].shape[0] for values in (theirs, own))
    known = classes is not None and file_classes is not None and len(file_classes) == before
    if before == after and (not known or tuple(classes or ()) == tuple(file_classes or ())):
        return {name: reshaped(theirs[name], own[name]) for name in names}, ""
    rows = {name: own[name].clone() for name in names}
    kept = [name for name in classes or () if name in (file_classes or ())] if known else []
    for name in names:
        for label in kept:
            rows[name][tuple(classes or ()).index(label)] = theirs[name][tuple(file_classes or ()).index(label)].view(
                own[name].shape[1:]
            )
    note = f"{classifier}: {before:,} outputs by {after:,} new ones"
    return rows, note + (f", of which {some(kept)} kept" if kept else "")


def of_channels(weight: Tensor, channels: int) -> Tensor:
    """A first convolution's weight (O, C, k, k) for pictures of another number of channels.

    To one channel the weights are summed, so that grey pictures give what they gave as RGB; to others they are
    repeated and scaled by C / channels, so that sums keep their size.
    """
    if channels == 1:
        return weight.sum(1, keepdim=True)
    before = weight.shape[1]
    return weight[:, [index % before for index in range(channels)]] * (before / channels)


def with_missing_statistics(found: Recognised, body: Iterable[str]) -> dict[str, Tensor]:
    """The tensors, with identity statistics for Caffe2's networks, which have them multiplied into scale and bias."""
    tensors = dict(found.tensors)
    statistics = {name for name in body if name.endswith(("running_mean", "running_var"))}
    if found.layout == "Caffe2" and not statistics & tensors.keys():
        for name in statistics:
            weight = tensors.get(f"{name.rpartition('.')[0]}.weight")
            if weight is not None:
                tensors[name] = torch.zeros_like(weight) if name.endswith("mean") else torch.ones_like(weight)
    return tensors


def reshaped(value: Tensor, like: Tensor) -> Tensor:
    """A linear layer's weight as that of the convolution that does the same, or the other way round."""
    same = {value.ndim, like.ndim} == {2, 4} and value.flatten(1).shape == like.flatten(1).shape
    return value.reshape(like.shape) if same else value


def check_names(origin: str, missing: set[str], unknown: set[str]) -> None:
    """Raise ValueError if there are any."""
    if missing or unknown:
        raise ValueError(
            f"{origin} holds another network's weights: of this one's, {some(sorted(missing))} missing; "
            f"{some(sorted(unknown))} unknown to it"
        )


def check_fits(origin: str, name: str, value: Tensor, own: Tensor) -> None:
    """Raise ValueError unless a tensor has the shape and the kind of numbers of the network's."""
    if value.shape != own.shape:
        raise ValueError(
            f"{origin} holds {name} of shape {tuple(value.shape)}, but the network's has {tuple(own.shape)}; "
            "is the model, num_classes or in_channels another?"
        )
    check_kind(origin, name, value, own)


def check_kind(origin: str, name: str, value: Tensor, own: Tensor) -> None:
    """Raise ValueError if a tensor holds other than floating numbers where the network has these."""
    if own.is_floating_point() and not value.is_floating_point():
        raise ValueError(
            f"{origin} holds {name} as {value.dtype}, but the network's numbers are floating; save it as float32, "
            "scaled back if it was quantised"
        )


def needed(tensors: Iterable[str]) -> set[str]:
    """The names without batch normalisation's counters."""
    return {name for name in tensors if not name.endswith(COUNTER)}


def some(names: Sequence[str]) -> str:
    """The first three of a list, and how many more there are."""
    first = ", ".join(names[:3]) or "nothing"
    return f"{first} and {len(names) - 3} more" if len(names) > 3 else first


def _belongs(name: str, *modules: str) -> bool:
    return name.startswith(tuple(f"{module}." for module in modules))
