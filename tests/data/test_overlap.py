"""What two masks have in common, against torchmetrics and scipy's distances."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import distance_transform_edt
from torch import Tensor
from torchmetrics.functional.classification import multiclass_confusion_matrix

from resnets.data.overlap import BOUNDARY_TOLERANCE, boundaries, confusion, counts_of, dilated, split_counts
from resnets.types import IGNORED


def blobs(seed: int, classes: int = 4, size: tuple[int, int] = (60, 90)) -> Tensor:
    """A mask of smooth regions."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(1, classes, 5, 6, generator=generator)
    return torch.nn.functional.interpolate(coarse, size, mode="bicubic")[0].argmax(0).to(torch.uint8)


def test_confusion_is_torchmetrics() -> None:
    true, found = blobs(0), blobs(1)
    true[:5] = IGNORED
    expected = multiclass_confusion_matrix(found.long(), true.long(), num_classes=4, ignore_index=IGNORED)
    assert torch.equal(confusion(true, found, 4), expected)


@pytest.mark.parametrize("radius", [0.4, 1.0, 2.5, 5.0])
def test_dilation_reaches_all_pixels_within_the_radius(radius: float) -> None:
    masks = torch.rand(2, 20, 30, generator=torch.Generator().manual_seed(0)) < 0.01
    distances = np.stack([distance_transform_edt(~mask.numpy()) for mask in masks])
    assert np.array_equal(dilated(masks, radius).numpy(), distances <= radius)


def test_boundaries_are_those_of_brute_force() -> None:
    true, found = blobs(2, size=(150, 200)), blobs(3, size=(150, 200))
    counts = boundaries(true, found, 4)
    reach = BOUNDARY_TOLERANCE * math.hypot(150, 200)
    for label in range(4):
        edges = []
        for mask in (true.numpy(), found.numpy()):
            padded = np.pad(mask, 1, mode="edge")
            others = [padded[1:-1, :-2], padded[1:-1, 2:], padded[:-2, 1:-1], padded[2:, 1:-1]]
            edges.append((mask == label) & np.any([other != mask for other in others], axis=0))
        near = [distance_transform_edt(~edge) <= reach for edge in edges]
        expected = [edges[0].sum(), (edges[0] & near[1]).sum(), edges[1].sum(), (edges[1] & near[0]).sum()]
        assert counts[:, label].tolist() == expected


def test_ignored_pixels_have_no_boundary() -> None:
    true = torch.zeros(10, 10, dtype=torch.uint8)
    true[:, 5:] = IGNORED
    found = torch.zeros_like(true)
    found[:, 5:] = 1
    assert boundaries(true, found, 2).sum() == 0


def test_a_row_holds_what_can_be_taken_from_it() -> None:
    true = blobs(4)
    true[0] = IGNORED
    logits = torch.randn(4, 60, 90, generator=torch.Generator().manual_seed(0))
    confusions, edges, losses = split_counts(counts_of(logits, true)[None], 4)
    assert torch.equal(confusions[0].long(), confusion(true, logits.argmax(0), 4))
    assert edges.shape == (1, 4, 4)
    expected = torch.nn.functional.cross_entropy(logits[None], true[None].long(), ignore_index=IGNORED)
    assert (losses[0] / confusions.sum()).item() == pytest.approx(expected.item(), rel=1e-5)
