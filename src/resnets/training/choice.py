"""What `auto` chooses, a network and a recipe by what the pictures are, and why."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from torch import Tensor

from resnets.data.statistics import SMALL, TINY
from resnets.training.freezing import ALL_BUT_LAST
from resnets.training.recipe import Recipe, load_recipe
from resnets.types import Preprocessing

ENOUGH_STEPS = 1_500
"""Optimiser steps that a small set is given at least, as far as `MOST_EPOCHS` allows."""

ENOUGH_STEPS_OF_FINE_TUNING = 500
"""The same, from weights that somebody trained; the rule of arXiv:1912.11370, section 3.3, for sets of up to 20,000."""

ENOUGH_STEPS_OF_DETECTION = 1_500
"""The same for detectors."""

DETECTOR = "yolo"
"""The method by which objects are found."""

GENERATOR, TINY_GENERATOR = "flow_unet_small", "flow_unet_tiny"
"""The networks that make pictures, and those of at most 16 pixels a side."""

ENOUGH_STEPS_OF_GENERATION = 4_000
"""The same for networks that make pictures."""

STEPS_OF_RECOGNITION = 60
"""Optimiser steps that a small set of classes to tell apart is given at least."""

FAST = "fastresnet8"
"""The network of the recipe for the least time to accuracy."""

DECODER = "unet"
"""What gives every pixel a class."""

ENOUGH_STEPS_OF_SEGMENTATION = 5_000
"""How many steps a network that gives every pixel a class is to take; between `FEWEST_EPOCHS` and `MOST_EPOCHS`."""

FEWEST_EPOCHS = 30

FEW_CLASSES = 100
"""Fewer classes to recognise are learnt through a projection."""

PROJECTION = 128
"""Its numbers."""

MOST_EPOCHS = 200

SHARE_OF_GIVEN = 0.2
"""The rate of what comes from given weights where objects or pixels are told, as a share of what begins anew."""

PHOTOGRAPHS_OF_A_LARGE_SET = 100_000
FEW_OF_A_CLASS = 20
LARGEST_BATCH_OF_PHOTOGRAPHS = 32
MOST_FOR_LOGISTIC_REGRESSION = 2_000


@dataclass(frozen=True)
class Choice:
    """A recipe, and a reason for each of its fields that the data decided, by the field's name."""

    recipe: Recipe
    reasons: dict[str, str] = field(default_factory=dict)

    def but(self, reason: str, **changes: object) -> Choice:
        """The same with fields changed for a reason; nothing if they have these values already."""
        recipe = replace(self.recipe, **changes)  # type: ignore[arg-type]
        if recipe == self.recipe:
            return self
        return Choice(recipe, self.reasons | {next(iter(changes)): reason})


def choose_model(preprocessing: Preprocessing, task: str = "classification", recipe: str = "auto") -> tuple[str, str]:
    """CIFAR's ResNet-20 for pictures of up to 64 pixels a side, ResNet-18 for larger ones; and the reason.

    To recognise larger ones it is ArcFace's variant, to find objects a detector, and for classes of pixels a decoder.
    The recipe `fast` has a network of its own for small ones.
    """
    if task == "classification" and recipe == "fast" and max(preprocessing.size) <= SMALL:
        return FAST, "the network that the recipe is for"
    if task == "detection":
        return f"{DETECTOR}_resnet18", "objects are to be found"
    if task == "segmentation":
        return f"{DECODER}_resnet18", "every pixel is to get a class"
    if task == "recognition" and max(preprocessing.size) > SMALL:
        return "iresnet18", f"pictures of more than {SMALL} pixels a side to recognise"
    if task == "generation":
        tiny = max(preprocessing.size) <= TINY
        size = f"at most {TINY}" if tiny else f"more than {TINY}"
        return TINY_GENERATOR if tiny else GENERATOR, f"pictures of {size} pixels a side are to be made"
    if max(preprocessing.size) <= SMALL:
        return "resnet20", f"pictures of at most {SMALL} pixels a side"
    return "resnet18", f"pictures of more than {SMALL} pixels a side"


def choose_recipe(
    preprocessing: Preprocessing,
    targets: Tensor,
    task: str = "classification",
    fine_tuned: bool = False,
    classes_kept: int = 0,
    whole: bool = False,
    num_classes: int = 0,
) -> Choice:
    """`quick` for small pictures, `photographs` for larger ones, `finetune` from weights that somebody trained.

    In a small set the batch is at most a twentieth of the pictures, the learning rate in proportion, and there are so
    many epochs that 1,500 steps are taken (500 in fine-tuning), 200 epochs at most. Crops shift by an eighth of a small
    picture's side. Grey pictures are not mirrored, because most of them are of signs that have a direction, such as
    digits. For numbers all of a picture is seen, because a part of it may not have the same.

    From random weights, `paper-imagenet` takes the place of `photographs` in a large set, and single classes are
    smoothed by 0.1 in a small one. From given weights, all stages but the last stay as they are where a class has fewer
    than 20 pictures; where objects or pixels are told, what they bring learns at a fifth of the rate. Networks that
    make pictures take 4,000 steps at least.

    Args:
        preprocessing: the network's input.
        targets: of the training pictures.
        task: what is asked of the network.
        fine_tuned: whether it begins from weights that somebody trained.
        classes_kept: how many of the classes those weights know already.
        whole: whether those weights are of the very network that is trained, its head included.
        num_classes: how many there are, those without a training picture included.
    """
    if task == "detection":
        choice = Choice(load_recipe("detection"), {"recipe": "detection, because objects are to be found"})
        steps, batch = ENOUGH_STEPS_OF_DETECTION, min(choice.recipe.batch_size, len(targets))
        epochs = max(choice.recipe.epochs, min(MOST_EPOCHS, -(-steps * batch // len(targets))))
        choice = choice.but(
            f"{len(targets):,} pictures: enough for {steps:,} steps, {MOST_EPOCHS} epochs at most", epochs=epochs
        )
        choice = choice.but("twenty times at most", evaluate_every=max(choice.recipe.evaluate_every, -(-epochs // 20)))
        return slower(choice, whole) if fine_tuned else choice
    if task == "segmentation":
        choice = Choice(load_recipe("segmentation"), {"recipe": "segmentation, because every pixel is to get a class"})
        steps, batch = ENOUGH_STEPS_OF_SEGMENTATION, min(choice.recipe.batch_size, max(len(targets) // 2, 2))
        choice = choice.but(f"{len(targets):,} pictures", batch_size=batch)
        choice = choice.but(
            f"{len(targets):,} pictures: enough for {steps:,} steps",
            epochs=max(FEWEST_EPOCHS, min(MOST_EPOCHS, -(-steps * batch // len(targets)))),
        )
        return slower(choice, whole) if fine_tuned else choice
    if task == "recognition":
        return recipe_of_recognition(targets, fine_tuned)
    if task == "generation":
        choice = Choice(load_recipe("generation"), {"recipe": "generation, because pictures are to be made"})
        epochs = -(-ENOUGH_STEPS_OF_GENERATION * min(choice.recipe.batch_size, len(targets)) // len(targets))
        choice = choice.but(
            f"{len(targets):,} pictures: enough for {ENOUGH_STEPS_OF_GENERATION:,} steps",
            epochs=max(choice.recipe.epochs, epochs),
        )
        choice = choice.but("ten times in all", evaluate_every=max(choice.recipe.epochs // 10, 1))
        if preprocessing.channels != 3:
            choice = choice.but("grey pictures are mostly of signs, which have a direction", flip=False)
        return choice
    pictures, classes = len(targets), task == "classification"
    small = max(preprocessing.size) <= SMALL
    kind = "pictures of at most 64 pixels a side" if small else "photographs"
    if fine_tuned:
        choice = Choice(load_recipe("finetune"), {"recipe": "finetune, because there are weights to begin from"})
        if not small:
            choice = choice.but(f"{kind}: crops that differ in size", scale=(0.5, 1.0), pad=0)
    elif classes and not small and pictures >= PHOTOGRAPHS_OF_A_LARGE_SET:
        return Choice(load_recipe("paper-imagenet"), {"recipe": f"paper-imagenet, for {pictures:,} photographs"})
    else:
        name = "quick" if small else "photographs"
        choice = Choice(load_recipe(name), {"recipe": f"{name}, for {kind}"})
        if classes and pictures // 20 < choice.recipe.batch_size:
            choice = choice.but(f"{pictures:,} pictures are easily learnt by heart", label_smoothing=0.1)
    choice = sized(choice, pictures, small, fine_tuned)
    if small:
        choice = choice.but("an eighth of the side", pad=max(1, min(preprocessing.size) // 8))
    if preprocessing.channels != 3:
        choice = choice.but("grey pictures are mostly of signs, which have a direction", flip=False)
    if task == "regression":
        choice = choice.but("a part of a picture may not have the number of the whole", scale=(1.0, 1.0))
    if not classes:
        choice = choice.but(f"{task} has no single class to fit or smooth", head_first=False, label_smoothing=0.0)
    return suited_to_classes(choice, targets, classes_kept, num_classes) if fine_tuned and classes else choice


def slower(choice: Choice, whole: bool) -> Choice:
    """The same with a lower rate for what comes from given weights: all of the network, or its stages alone."""
    if whole:
        return choice.but("the weights know the task already", lr=choice.recipe.lr * SHARE_OF_GIVEN)
    return choice.but("the weights bring the stages, and the rest begins anew", backbone_lr=SHARE_OF_GIVEN)


def recipe_of_recognition(targets: Tensor, fine_tuned: bool) -> Choice:
    """`recognition`, with no more classes in a batch than there are, and epochs enough for 60 steps.

    There are few steps, because a network soon knows a few classes by heart, and no others any better. From random
    weights, fewer than 100 classes are learnt through a projection of 128 numbers.
    """
    choice = Choice(load_recipe("recognition"), {"recipe": "recognition, because pictures are to be recognised"})
    recipe, classes = choice.recipe, len(targets.unique())
    room = classes * recipe.per_class
    if room < recipe.batch_size:
        reason = f"{recipe.per_class} pictures of each of {classes} classes, with a rate in proportion"
        choice = choice.but(reason, batch_size=room, lr=recipe.lr * room / recipe.batch_size)
    epochs = max(recipe.epochs, -(-STEPS_OF_RECOGNITION * choice.recipe.batch_size // len(targets)))
    choice = choice.but(f"enough for {STEPS_OF_RECOGNITION} steps", epochs=epochs)
    if classes < FEW_CLASSES and not fine_tuned:
        reason = f"what tells {classes} classes apart is not enough for others, so it is not all of the embedding"
        choice = choice.but(reason, projection=PROJECTION)
    return choice


def sized(choice: Choice, pictures: int, small: bool, fine_tuned: bool) -> Choice:
    """Batch, rate and epochs by the number of pictures."""
    recipe = choice.recipe
    largest = recipe.batch_size if small else min(recipe.batch_size, LARGEST_BATCH_OF_PHOTOGRAPHS)
    batch_size = min(largest, max(16, 1 << max((pictures // 20).bit_length() - 1, 0)))
    reason = f"{pictures:,} {'pictures' if small else 'photographs'}, with a rate in proportion"
    choice = choice.but(reason, batch_size=batch_size, lr=recipe.lr * batch_size / recipe.batch_size)
    steps = ENOUGH_STEPS_OF_FINE_TUNING if fine_tuned else ENOUGH_STEPS
    epochs = max(recipe.epochs, min(MOST_EPOCHS, -(-steps * batch_size // pictures)))
    choice = choice.but(f"enough for {steps:,} steps, {MOST_EPOCHS} at most", epochs=epochs)
    return choice.but("twenty times in all", evaluate_every=max(recipe.evaluate_every, epochs // 20))


def suited_to_classes(choice: Choice, targets: Tensor, classes_kept: int, num_classes: int) -> Choice:
    """What fine-tuning can afford with so many pictures of the smallest class."""
    sizes = targets.bincount(minlength=num_classes)
    fewest = int(sizes[sizes > 0].min())
    if classes_kept:
        choice = choice.but(f"the weights know {classes_kept} of the classes", head_first=False)
    if fewest < FEW_OF_A_CLASS:
        reason = f"a class has {fewest} pictures: the stages before the last stay, which is as accurate and faster"
        choice = choice.but(reason, freeze=ALL_BUT_LAST)
    if (least := int(sizes.min())) < 2:
        reason = f"a class has {'one picture' if least else 'no picture'}, and logistic regression needs two"
        choice = choice.but(reason, head_first=False)
    if len(targets) > MOST_FOR_LOGISTIC_REGRESSION:
        choice = choice.but(f"logistic regression of {len(targets):,} pictures would take long", head_first=False)
    return choice
