"""Training the classifier alone, or first: the stages before it are run once, and what they give is kept.

Legend: N pictures, C channels of what the classifier reads, K classes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from resnets.data.loading import Loader
from resnets.data.order import permutation
from resnets.inference.evaluation import EVALUATION_BATCH, outputs_of
from resnets.networks.network import Network
from resnets.training.fit import Display, end_epoch
from resnets.training.interruption import InterruptedTraining, interruptible
from resnets.training.job import Job
from resnets.training.optimisers import set_learning_rate
from resnets.training.schedule import learning_rate
from resnets.types import Batch

STRENGTHS = tuple(10.0**exponent for exponent in range(-4, 5))
"""Inverse regularisations of the logistic regression to choose from."""

FOLDS = 5
"""Of the cross-validation that chooses."""


def fit_head(job: Job, display: Display, watch: Callable[[Job], None] | None = None) -> None:
    """Train the classifier on what the frozen stages give for the training pictures, as evaluation sees them.

    Raises:
        InterruptedTraining: after a signal; the epoch that it came in is done, and the checkpoint is written.
    """
    features, targets = kept_features(job)
    layer, state, recipe = logits_layer(job.bare_network), job.state, job.recipe
    everything = Batch(features, targets, torch.arange(len(targets)))
    epochs = recipe.epochs if recipe.head_only == "sgd" else 1
    with interruptible() as interruption:
        for epoch in range(len(state.history), epochs):
            started = time.perf_counter()
            if recipe.head_only == "sgd":
                order = permutation(recipe.seed, epoch, len(features)).split(recipe.batch_size)
                for step, indices in enumerate(order):
                    set_learning_rate(job.optimiser, learning_rate(recipe, (epoch + step / len(order)) / recipe.epochs))
                    loss = count(job, layer, Batch(features[indices], targets[indices], indices))
                    job.fabric.backward(loss)
                    job.optimiser.step()
                    job.optimiser.zero_grad()
            else:
                fit_logistic(layer, features, targets, recipe.seed)
                state.step = job.total_steps - 1
                count(job, layer, everything)
            state.seconds = time.perf_counter() - started
            display.epoch(end_epoch(job, epoch, watch))
            if interruption.requested and epoch + 1 < epochs:
                raise InterruptedTraining(
                    f"stopped after epoch {epoch + 1} of {epochs}; go on with `resnets train --resume {job.run.folder}`"
                )


def fit_head_first(job: Job) -> None:
    """Give a network that is about to be trained a classifier that fits its features, by logistic regression."""
    features = features_of(job)
    fit_logistic(logits_layer(job.bare_network), features, job.train.dataset.targets, job.recipe.seed)


def count(job: Job, layer: nn.Linear | nn.Conv2d, batch: Batch) -> Tensor:
    """Add a batch to the epoch's sums as the loop does, and give its loss."""
    batch = batch.to(job.fabric.device)
    outputs = logits(layer, batch.images)
    loss = job.task.loss(outputs, batch)
    job.state.count(loss, job.task.scored(outputs, batch), len(batch))
    return loss


def kept_features(job: Job) -> tuple[Tensor, Tensor]:
    """What the classifier reads for every training picture, (N, C) float32, and the targets; from the run if there."""
    path = job.run.folder / "features.safetensors"
    if not path.is_file():
        temporary = path.with_suffix(".tmp")
        save_file({"features": features_of(job)}, temporary)
        temporary.replace(path)
    return load_file(path)["features"], job.train.dataset.targets


def features_of(job: Job) -> Tensor:
    """What the classifier reads for every training picture as evaluation sees it, (N, C) float32, in every process."""
    loader = Loader(
        job.train.dataset,
        job.card.preprocessing,
        EVALUATION_BATCH,
        shuffle=False,
        rank=job.fabric.global_rank,
        world_size=job.fabric.world_size,
        workers=job.train.workers,
    )
    with without_classifier(job.bare_network):
        features = outputs_of(job.bare_network, loader, job.card.preprocessing, job.fabric.device, job.fabric.autocast)
    return features.flatten(1).contiguous()


@contextmanager
def without_classifier(network: Network) -> Iterator[None]:
    """The network gives what its classifier reads."""
    layer = logits_layer(network)
    parent, _, name = network.logits_layer.rpartition(".")
    setattr(network.get_submodule(parent), name, nn.Identity())
    try:
        yield
    finally:
        setattr(network.get_submodule(parent), name, layer)


def logits_layer(network: Network) -> nn.Linear | nn.Conv2d:
    """The layer that gives the logits."""
    layer = network.get_submodule(network.logits_layer)
    assert isinstance(layer, nn.Linear | nn.Conv2d)
    return layer


def logits(layer: nn.Linear | nn.Conv2d, features: Tensor) -> Tensor:
    """The layer's outputs (N, K) for features (N, C); timm's pre-activation networks have a 1x1 convolution there."""
    return layer(features if isinstance(layer, nn.Linear) else features[:, :, None, None]).flatten(1)


def fit_logistic(layer: nn.Linear | nn.Conv2d, features: Tensor, targets: Tensor, seed: int) -> None:
    """Put multinomial logistic regression into the layer, its regularisation chosen by cross-validated log loss.

    Raises:
        ValueError: if a class has a single picture, which no fold can hold out.
    """
    values, labels = features.double().numpy(), targets.numpy()
    fewest = int(np.bincount(labels, minlength=layer.weight.shape[0]).min())
    if fewest < 2:
        raise ValueError(
            "logistic regression is cross-validated and needs two pictures of each class; use --head-only sgd"
        )
    biased = layer.bias is not None
    scaler, regression = StandardScaler(with_mean=biased), LogisticRegression(max_iter=1000, fit_intercept=biased)
    folds = StratifiedKFold(min(FOLDS, fewest), shuffle=True, random_state=seed)
    choice = {"logisticregression__C": STRENGTHS}
    search = GridSearchCV(make_pipeline(scaler, regression), choice, cv=folds, scoring="neg_log_loss")
    with threadpool_limits(1):  # matrices so small that threads cost a factor of ten
        scaler, regression = (step for _, step in search.fit(values, labels).best_estimator_.steps)
    weight, bias = regression.coef_, regression.intercept_
    if len(weight) == 1:  # of two classes scikit-learn gives one logit
        weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    weight = weight / scaler.scale_
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weight).view_as(layer.weight))
        if layer.bias is not None:
            layer.bias.copy_(torch.from_numpy(bias - weight @ scaler.mean_))
