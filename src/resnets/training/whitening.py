"""What a network takes from the training pictures before it learns anything."""

from __future__ import annotations

from torch import nn

from resnets.data.dataset import Dataset
from resnets.data.loading import Loader
from resnets.data.transforms import prepare
from resnets.layers.whitening import Whitening
from resnets.types import Preprocessing

PICTURES, BATCH = 5_000, 250
"""Pictures whose windows the first filters are computed from, and so many at a time."""


def whiten(network: nn.Module, train: Dataset, preprocessing: Preprocessing) -> None:
    """Compute the first filters of a network that begins with `layers.whitening`; others stay as they are."""
    for module in network.modules():
        if isinstance(module, Whitening):
            loader = Loader(train.sample(PICTURES), preprocessing, BATCH, shuffle=False)
            module.fit(prepare(batch, preprocessing).images for batch in loader.epoch(0))
