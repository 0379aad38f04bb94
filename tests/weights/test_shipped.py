"""The weights in the package do what their cards say."""

from __future__ import annotations

import pytest
import torch

from resnets.data.opening import open_dataset
from resnets.inference.predictor import load
from resnets.runs.run import find_run
from resnets.weights.models import create_model
from resnets.weights.sources import shipped


@pytest.mark.parametrize("name", shipped())
def test_shipped_weights_are_small_and_say_what_they_are(name):
    run = find_run(name)
    card = run.card()
    assert run.weights_path.stat().st_size < 2**20
    assert card.metrics["accuracy"] > 0.9
    network = create_model(card.model, num_classes=len(card.classes), weights=name)
    assert all(torch.isfinite(tensor).all() for tensor in network.state_dict().values())


def test_shipped_weights_name_pictures_of_cifar10(shared_data):
    data = open_dataset(shared_data / "cifar10.tar")
    pictures = data.splits["test"].subset(range(0, 10_000, 20))
    answers = load("resnet20-cifar10").predict([pictures.open(index) for index in range(len(pictures))])
    right = [answer.classes[0] == data.classes[label] for answer, label in zip(answers, pictures.targets, strict=True)]
    assert sum(right) > 0.89 * len(right)
