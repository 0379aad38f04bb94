"""How to train: one declaration, read from a YAML file of the package and changed field by field."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from importlib import resources
from pathlib import Path
from typing import Any, Literal, get_args

import yaml

from resnets.data.transforms import Augmentation
from resnets.heads.pixel_losses import parts_of
from resnets.layers.margins import Margin

Optimizer = Literal["sgd", "adamw", "muon"]
Schedule = Literal["step", "cosine", "linear"]
HeadOnly = Literal["", "sgd", "logistic"]
Balance = Literal["", "sampling", "loss"]
NonFinite = Literal["skip", "rollback", "stop"]

IDLE_WITH_HEAD_ONLY = (
    "freeze",
    "freeze_norm",
    "recompute_bn",
    "ema",
    "patience",
    "mixup",
    "cutmix",
    "steps",
    "find_lr",
    "balance",
    "per_class",
    "accumulate",
    "nonfinite",
    "clip_norm",
    "progressive",
    "backbone_lr",
    "layer_decay",
    "norm_bias_lr",
)
"""Fields that would do nothing where the classifier alone learns, on what the stages give once."""


@dataclass(frozen=True, kw_only=True)
class Recipe(Augmentation):
    """How to train. The augmentation's fields come first.

    Attributes:
        epochs: passes over the training pictures.
        steps: optimiser steps; where not 0, it takes the place of `epochs`, and the last epoch may be cut short.
        batch_size: pictures a step, over all processes together.
        accumulate: parts, one after another, in which each process computes its share of a step's batch, to save
            memory. Their gradients are added up, so that the step is that of the whole batch; only batch norm differs:
            it takes its statistics from a part, and averages them as often as there are parts; and so do Dice's and
            Lovasz's losses, and those of the detectors yolo and fcos, which count within a part. Doubled by itself
            where a batch does not fit into memory.
        optimizer: "sgd" with momentum, "adamw", or "muon" (orthogonalised momentum for convolutions that a
            normalisation follows, SGD for the rest).
        lr: the highest learning rate; of "muon", the angle by which a step turns a convolution's weight, in radians,
            and a tenth of the rate of all other parameters.
        scale_lr: where `batch_size` is made k times as large as the recipe's, make `lr` k times as high, and let it
            rise to that for five epochs at least, or a fifth of a shorter training (arXiv:1706.02677, section 2.1).
        find_lr: choose `lr` before the first step, by a range test of a hundred (arXiv:1506.01186).
        momentum: of SGD and Muon; AdamW's betas are PyTorch's defaults.
        nesterov: look-ahead momentum of SGD; Muon always has it.
        weight_decay: L2 penalty of SGD, decoupled decay of AdamW; Muon's convolutions have none.
        decay_all: decay biases and normalisation's parameters too, as the paper did.
        schedule: "step" multiplies the rate by `gamma` at each milestone; "cosine" and "linear" lead it to zero.
        warmup: share of the training during which the rate rises linearly to `lr`; 0.25 with "linear" is a
            one-cycle schedule.
        milestones: shares of the training after which "step" lowers the rate.
        gamma: the factor of "step".
        clip_norm: largest norm of the gradient; 0 for no limit.
        nonfinite: what is done about a step whose loss or gradient is infinite or no number. "skip" leaves the network
            as it was and goes on with the next step; "rollback" does so, too, and after `nonfinite_limit` such steps in
            a row goes back to the last checkpoint, at half the rate from there on, up to three times; "stop" stops at
            the first. Each step is named with its pictures.
        nonfinite_limit: such steps in a row after which the training stops or is rolled back; an epoch of them is
            enough, too.
        label_smoothing: share of each target that is spread over all classes.
        asymmetric: of pictures with any number of classes, the asymmetric loss (arXiv:2009.14119), which counts the
            many classes that a picture does not have less than the few that it has.
        huber: of numbers, Huber's loss, linear beyond so many standard deviations of the training targets, so that a
            few wrong ones do not rule; 0.5 is a start, 0 for squared errors.
        loss: of pixels, cross_entropy, dice, focal, lovasz or a sum such as cross_entropy+dice; "" for cross-entropy.
        margin: of recognition, how the classes are kept apart: "arcface", "cosface" or "softmax", which has no margin
            (arXiv:1801.07698); "" is "arcface".
        margin_size: the margin, of "arcface" an angle in radians; 0 for that of its paper, 0.5 and 0.35.
        logit_scale: by what cosines are multiplied to become logits; 0 for the papers' 64.
        embedding: numbers that the network gives for a picture to recognise; 0 for 512.
        projection: of recognition, numbers of a linear layer through which training alone sees the embedding, which is
            then all that the network has before its own classifier; it helps where the classes are few
            (arXiv:2002.05709, section 4.2). 0 for none.
        logit_normal: in generation, draw times by a logit-normal distribution, so wide, about the middle between noise
            and picture, where most is to be learnt; 1 is a start (arXiv:2403.03206, section 3.1), 0 for equally many
            times everywhere.
        class_dropout: in generation, the share of pictures whose class the network is not told, which guidance needs
            (arXiv:2207.12598, algorithm 1).
        ema: decay of the exponential moving average of the weights; 0 for none. Where there is one, it is
            what is evaluated and kept.
        progressive: the shorter side of the pictures in the first epoch, in pixels; it grows to that of the network's
            input, which the last quarter of the epochs has (arXiv:2104.00298, section 4). 0 for the full size in all.
        sync_bn: let batch norm normalise by the pictures of all processes, not by those of each alone.
        recompute_bn: replace batch norm's running statistics at the end by those of all training pictures, cropped
            and flipped as in training.
        evaluate_every: epochs from one evaluation to the next; the last epoch is always evaluated.
        patience: epochs without better validation (accuracy, mean average precision or squared error, and among equals
            the loss) after which training stops, the best weights being kept; 0 for never. It needs a validation split.
        balance: "sampling" takes equally many pictures of each class in every epoch, repeating those of small classes;
            "loss" counts each picture in inverse proportion to its class's size; "" takes all alike. Of pixels,
            "sampling" cuts windows that show a class drawn from those in the picture, and "loss" counts each pixel as
            1 / log(1.02 + its class's share) (arXiv:1606.02147, section 5.2).
        per_class: pictures of each class in a batch, which then holds batch_size / per_class classes (arXiv:1703.07737,
            section 2); 0 for batches at random.
        freeze: the last stage that keeps its weights and batch-norm statistics, such as "layer2"; "all" for every
            stage, so that the classifier alone learns; "all-but-last"; "" for none.
        unfreeze_every: epochs after which one frozen stage more, the last first, begins to learn; 0 for never.
        head_only: train the classifier alone, on what all stages give once for each training picture as evaluation sees
            it, without augmentation: "sgd" by this recipe, "logistic" by cross-validated logistic regression; "" for
            the usual training of the whole network.
        head_first: before the first step, fit the classifier by logistic regression on what the stages give, so that
            the first gradients do not come from a random one (arXiv:2202.10054).
        freeze_norm: keep all batch norm as it is: statistics, scales and biases.
        backbone_lr: the rate of the last stage as a share of the classifier's.
        layer_decay: the rate of each stage as a share of the next one's.
        norm_bias_lr: how many times as fast as others the biases of normalisations learn (arXiv:2404.00498, section
            3.4).
        seed: of the initial weights and every random choice.
    """

    epochs: int = 20
    steps: int = 0
    batch_size: int = 128
    accumulate: int = 1
    optimizer: Optimizer = "sgd"
    lr: float = 0.1
    scale_lr: bool = False
    find_lr: bool = False
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 1e-4
    decay_all: bool = True
    schedule: Schedule = "step"
    warmup: float = 0.0
    milestones: tuple[float, ...] = (0.5, 0.75)
    gamma: float = 0.1
    clip_norm: float = 0.0
    nonfinite: NonFinite = "skip"
    nonfinite_limit: int = 10
    label_smoothing: float = 0.0
    asymmetric: bool = False
    huber: float = 0.0
    loss: str = ""
    margin: Margin = ""
    margin_size: float = 0.0
    logit_scale: float = 0.0
    embedding: int = 0
    projection: int = 0
    logit_normal: float = 0.0
    class_dropout: float = 0.0
    ema: float = 0.0
    progressive: int = 0
    sync_bn: bool = False
    recompute_bn: bool = False
    evaluate_every: int = 1
    patience: int = 0
    balance: Balance = ""
    per_class: int = 0
    freeze: str = ""
    unfreeze_every: int = 0
    head_only: HeadOnly = ""
    head_first: bool = False
    freeze_norm: bool = False
    backbone_lr: float = 1.0
    layer_decay: float = 1.0
    norm_bias_lr: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, kind in {
            "optimizer": Optimizer,
            "schedule": Schedule,
            "head_only": HeadOnly,
            "balance": Balance,
            "margin": Margin,
            "nonfinite": NonFinite,
        }.items():
            if getattr(self, name) not in get_args(kind):
                raise ValueError(f"{name} must be one of {', '.join(get_args(kind))}, not {getattr(self, name)!r}")
        for name in ("epochs", "batch_size", "accumulate", "nonfinite_limit", "evaluate_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.accumulate > self.batch_size:
            raise ValueError(
                f"accumulate cuts a batch into {self.accumulate} parts, and batch_size is {self.batch_size}; choose at "
                "most as many parts as pictures"
            )
        not_negative = (
            "steps",
            "weight_decay",
            "clip_norm",
            "huber",
            "logit_normal",
            "patience",
            "unfreeze_every",
            "progressive",
            "seed",
        )
        for name in (*not_negative, "margin_size", "logit_scale", "embedding", "projection", "per_class"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, it is {getattr(self, name)}")
        for name in ("momentum", "label_smoothing", "class_dropout", "ema", "warmup"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 0 and below 1, not {getattr(self, name)}")
        for name in ("backbone_lr", "layer_decay"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"{name} must be above 0 and at most 1, not {getattr(self, name)}")
        parts_of(self.loss)
        if self.unfreeze_every and not self.freeze:
            raise ValueError("unfreeze_every needs freeze, the last stage that is frozen at first")
        without_effect = [name for name in IDLE_WITH_HEAD_ONLY if getattr(self, name) != getattr(Recipe, name)]
        if self.head_only and without_effect:
            raise ValueError(f"{', '.join(without_effect)} would do nothing with head_only; leave it out")
        if self.per_class and (self.balance or self.batch_size % self.per_class):
            raise ValueError(
                f"per_class={self.per_class} needs a batch_size that is a multiple of it, not {self.batch_size}, and "
                "evens out the classes itself: leave balance out"
            )
        if self.projection and self.embedding:
            raise ValueError("with a projection the embedding is as long as what it is made from; leave embedding out")
        if self.margin == "softmax" and self.margin_size:
            raise ValueError("margin softmax has no margin_size; leave it out, or use arcface or cosface")
        if self.recompute_bn and (self.freeze or self.freeze_norm):
            raise ValueError("recompute_bn would change the batch norm that freeze and freeze_norm keep; choose one")
        if self.scale_lr and (self.optimizer != "sgd" or self.find_lr):
            raise ValueError("scale_lr is a rule of optimizer sgd, and find_lr would undo it; leave it out")
        for name in ("lr", "norm_bias_lr"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be above 0, not {getattr(self, name)}")
        if not 0 < self.gamma <= 1:
            raise ValueError(f"gamma must be above 0 and at most 1, not {self.gamma}")
        if self.schedule != "step" and (self.milestones, self.gamma) != (Recipe.milestones, Recipe.gamma):
            raise ValueError(f"milestones and gamma are of the schedule step, not of {self.schedule}; leave them out")
        if any(not 0 < share < 1 for share in self.milestones) or list(self.milestones) != sorted(self.milestones):
            raise ValueError(f"milestones must be rising shares of the training between 0 and 1, not {self.milestones}")
        if self.nesterov and (self.optimizer != "sgd" or not self.momentum):
            raise ValueError("nesterov is an option of optimizer sgd, with a momentum above 0")
        if self.optimizer == "muon" and not self.momentum:
            raise ValueError("optimizer muon needs a momentum above 0")

    def total_steps(self, steps_per_epoch: int) -> int:
        """How many optimiser steps the training takes."""
        return self.steps or self.epochs * steps_per_epoch

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], origin: str = "recipe") -> Recipe:
        """A recipe from plain values; fields that are not named keep their defaults.

        Raises:
            ValueError: if a name is no field of a recipe or a value has the wrong type; `origin` is named.
        """
        kinds = {field.name: type(field.default) for field in fields(cls)}
        unknown = sorted(set(values) - set(kinds))
        if unknown:
            raise ValueError(
                f"{origin}: {', '.join(unknown)} is no field of a recipe; the fields are {', '.join(kinds)}"
            )
        converted = {name: _convert(name, value, kinds[name], origin) for name, value in values.items()}
        return cls(**converted)


def _convert(name: str, value: Any, kind: type, origin: str) -> Any:
    if kind is tuple and isinstance(value, (list, tuple)):
        return tuple(float(item) for item in value)
    if kind is float and isinstance(value, (int, float, str)) and not isinstance(value, bool):
        try:
            return float(value)  # YAML reads 1e-4 as a string
        except ValueError:
            pass
    if type(value) is not kind:
        raise ValueError(f"{origin}: {name} must be of type {kind.__name__}, not {value!r}")
    return value


def list_recipes() -> dict[str, str]:
    """Name to first comment line of every recipe in the package."""
    files = sorted(resources.files(__package__).joinpath("recipes").iterdir(), key=lambda file: file.name)
    return {
        file.name.removesuffix(".yaml"): file.read_text(encoding="utf-8").splitlines()[0].lstrip("# ")
        for file in files
        if file.name.endswith(".yaml")
    }


def load_recipe(name: str) -> Recipe:
    """A recipe of the package by name, or from a YAML file by path.

    Raises:
        ValueError: if there is neither, or the file does not hold a recipe.
    """
    from_package = resources.files(__package__).joinpath("recipes", f"{name}.yaml")
    if name in list_recipes():
        text = from_package.read_text(encoding="utf-8")
    elif name.endswith((".yaml", ".yml")):
        try:
            text = Path(name).read_text(encoding="utf-8")
        except OSError as error:
            raise ValueError(f"the recipe {name} cannot be read: {error.strerror}") from None
    else:
        raise ValueError(f"there is no recipe {name!r}; give {', '.join(list_recipes())}, auto, or a .yaml file")
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"the recipe {name} is not YAML: {error}") from None
    if not isinstance(values, dict):
        raise ValueError(f"the recipe {name} must hold fields and values, such as `lr: 0.1`")
    return Recipe.from_dict(values, origin=f"recipe {name}")
