"""Flow matching and its metrics against closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from scipy.linalg import sqrtm
from scipy.stats import kstest

from resnets.networks.catalogue import build
from resnets.networks.unet import UNetArchitecture, sinusoids
from resnets.tasks.generation import Generation, frechet_distance, noise_for, on_paths, velocities
from resnets.types import Batch, exact

CLASSES = tuple("abc")


def batch_of(count: int, side: int = 4, epoch: int = 0) -> Batch:
    """Pictures whose numbers are independent and standard normal."""
    images = torch.randn(count, 1, side, side, generator=torch.Generator().manual_seed(0))
    return Batch(images, torch.arange(count) % 3, torch.arange(count), epoch=epoch)


def test_paths_lead_straight_from_noise_to_pictures():
    batch = batch_of(8)
    ends = [on_paths(batch, torch.full((8,), time)) for time in (0.0, 1.0)]
    torch.testing.assert_close(ends[0], noise_for(batch))
    torch.testing.assert_close(ends[1], batch.images)
    middle = on_paths(batch, torch.full((8,), 0.25))
    torch.testing.assert_close(middle, ends[0] + 0.25 * velocities(batch))


def test_the_best_velocity_has_the_loss_that_is_known():
    """Of standard normal pictures the best answer is (2t - 1) / (2t^2 - 2t + 1) x_t, and its loss is pi / 2."""
    task, batch = Generation(CLASSES), batch_of(4000)
    x, times, _ = task.inputs(batch)
    t = exact(times)[:, None, None, None]
    best = (2 * t - 1) / (2 * t**2 - 2 * t + 1) * x
    assert task.loss(best, batch).item() == pytest.approx(math.pi / 2, rel=0.01)
    assert task.loss(torch.zeros_like(x), batch).item() == pytest.approx(2, rel=0.01)
    outputs = task.ask(lambda x, *_: torch.zeros_like(x), batch)
    evaluation = task.evaluation("test", outputs, batch.targets, ["x"] * 4000)
    assert evaluation.metrics["loss"] == pytest.approx(2, rel=0.01)
    assert sum(loss for _, _, loss in evaluation.bands()) / 10 == pytest.approx(2, rel=0.02)
    assert len(evaluation.details()[1]) == 10


def test_times_have_the_distributions_that_are_asked_for():
    batch = batch_of(4000, side=1)
    uniform, normal = Generation(CLASSES).times(batch), Generation(CLASSES, logit_normal=0.7).times(batch)
    assert kstest(uniform.numpy(), "uniform").pvalue > 0.01
    assert kstest((normal / (1 - normal)).log().numpy() / 0.7, "norm").pvalue > 0.01


def test_times_are_not_rounded_by_mixed_precision():
    task, batch = Generation(CLASSES), batch_of(500)
    engine = Fabric(accelerator="cpu", devices=1, precision="bf16-mixed")
    network = build(UNetArchitecture(num_classes=3, in_channels=1, depths=(1, 1), widths=(8, 16), attention=()))
    seen = []
    network.time.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    engine.setup_module(network)(*task.inputs(batch))
    assert torch.equal(seen[0], sinusoids(task.times(batch), 8))
    plain = network.embed(task.times(batch), batch.targets)  # as sampling and exports tell the times
    assert torch.equal(plain, network.embed(exact(task.inputs(batch)[1]), batch.targets))


def test_classes_are_left_untold_as_often_as_asked():
    batch = batch_of(4000, side=1)
    assert torch.equal(Generation(CLASSES).told(batch), batch.targets)
    told = Generation(CLASSES, class_dropout=0.1).told(batch)
    untold = told == len(CLASSES)
    assert untold.float().mean().item() == pytest.approx(0.1, abs=0.02)
    assert torch.equal(told[~untold], batch.targets[~untold])


def test_randomness_is_a_function_of_seed_epoch_and_sample():
    task, whole = Generation(CLASSES, class_dropout=0.5), batch_of(8)
    part = Batch(whole.images[5:], whole.targets[5:], whole.indices[5:])
    for before, after in zip(task.inputs(whole), task.inputs(part), strict=True):
        torch.testing.assert_close(exact(before)[5:], exact(after))
    for other in (batch_of(8, epoch=1), Batch(whole.images, whole.targets, whole.indices, seed=1)):
        assert not torch.equal(noise_for(whole), noise_for(other))
    noise = noise_for(batch_of(500, side=8))
    assert kstest(noise.flatten().numpy(), "norm").pvalue > 0.01
    assert kstest(noise.mean((1, 2, 3)).numpy() * 8, "norm").pvalue > 0.01  # the numbers of a picture are independent


def test_frechet_distance_is_that_of_the_closed_form():
    generator = np.random.default_rng(0)
    first, second = (
        generator.normal(size=(n, 6)) @ generator.normal(size=(6, 6)) + shift for n, shift in ((50, 0), (70, 1))
    )
    s1, s2 = np.cov(first.T), np.cov(second.T)
    squares = ((first.mean(0) - second.mean(0)) ** 2).sum()
    expected = squares + np.trace(s1 + s2 - 2 * sqrtm(s1 @ s2).real)
    assert frechet_distance(torch.from_numpy(first), torch.from_numpy(second)) == pytest.approx(expected, rel=1e-6)
    assert frechet_distance(torch.from_numpy(first), torch.from_numpy(first)) == pytest.approx(0, abs=1e-6)
    few = torch.from_numpy(first[:3])  # fewer samples than features
    assert math.isfinite(frechet_distance(few, torch.from_numpy(second)))


def test_pictures_are_not_answered():
    with pytest.raises(ValueError, match="resnets generate"):
        Generation(CLASSES).answers(torch.zeros(1, 2))
