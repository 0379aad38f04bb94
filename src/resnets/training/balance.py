"""By what classes count in the loss, where rare ones are to count as much as others."""

from __future__ import annotations

import torch
from torch import Tensor

from resnets.data.dataset import Dataset
from resnets.data.reading import for_each
from resnets.types import IGNORED


def weights_of_classes(train: Dataset) -> Tensor:
    """The weight of each class, (K,), by its pixels where the pictures have masks, and else by its pictures."""
    return rare_pixels_weights(train) if train.has_masks else inverse_class_sizes(train.targets, len(train.classes))


def inverse_class_sizes(targets: Tensor, classes: int) -> Tensor:
    """For each class, N / (K n) of its n pictures, so that all classes count alike and a picture 1 on average.

    Args:
        targets: (N,) the pictures' classes.
        classes: how many there are, K, those without a picture included.
    """
    counts = targets.bincount(minlength=classes).clamp(min=1)
    return len(targets) / (classes * counts)


def rare_pixels_weights(train: Dataset) -> Tensor:
    """For each class 1 / log(1.02 + p) of its share p of the pixels, scaled so that a pixel counts 1 on average."""
    classes = len(train.classes)

    def counts(index: int) -> Tensor:
        return train.mask(index).flatten().long().bincount(minlength=IGNORED + 1)[:classes]

    pixels = torch.stack(list(for_each(train, counts))).sum(0).double()
    shares = pixels / pixels.sum().clamp(min=1)
    weights = 1 / torch.log(1.02 + shares)
    return (weights / (shares * weights).sum()).float()
