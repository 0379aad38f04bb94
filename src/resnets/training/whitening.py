"""What a network takes from the training pictures before it learns anything."""

from __future__ import annotations

import torch

from resnets.data.dataset import Dataset
from resnets.data.loading import Loader
from resnets.data.transforms import prepare
from resnets.networks.fastresnet import FastResNet
from resnets.networks.network import Network
from resnets.types import Preprocessing

PICTURES = 5_000
"""Whose windows the first filters are computed from."""


def whiten(network: Network, train: Dataset, preprocessing: Preprocessing) -> None:
    """Compute the first filters of a network that begins with `layers.whitening`; others stay as they are."""
    if isinstance(network, FastResNet):
        loader = Loader(train.sample(PICTURES), preprocessing, PICTURES, shuffle=False)
        network.whiten.fit(torch.cat([prepare(batch, preprocessing).images for batch in loader.epoch(0)]))
