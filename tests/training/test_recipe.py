"""Recipes and what is made of them, against the papers' numbers and PyTorch's own schedulers."""

from __future__ import annotations

from dataclasses import asdict, replace

import pytest
import torch
from PIL import Image
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, MultiStepLR

from resnets.data.opening import open_dataset
from resnets.training.choice import choose_model, choose_recipe
from resnets.training.optimisers import create_optimiser
from resnets.training.plan import changed, plan, scale_rate
from resnets.training.recipe import Recipe, list_recipes, load_recipe
from resnets.training.schedule import learning_rate
from resnets.types import Preprocessing


def test_every_recipe_of_the_package_loads_and_says_what_it_is_for():
    assert {"paper-cifar", "paper-imagenet", "quick", "photographs"} <= set(list_recipes())
    for name, purpose in list_recipes().items():
        assert isinstance(load_recipe(name), Recipe)
        assert len(purpose) > 10


def test_the_papers_recipe_for_cifar():
    """Section 4.2 of arXiv:1512.03385."""
    recipe = load_recipe("paper-cifar")
    assert (recipe.batch_size, recipe.momentum, recipe.weight_decay) == (128, 0.9, 1e-4)
    assert (recipe.pad, recipe.flip, recipe.decay_all) == (4, True, True)
    rates = [
        learning_rate(recipe, step / recipe.total_steps(391)) for step in (0, 31_999, 32_000, 47_999, 48_000, 63_999)
    ]
    assert rates == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001, 0.001])


@pytest.mark.parametrize("schedule", ["step", "cosine"])
def test_schedules_are_pytorchs(schedule):
    steps, recipe = 40, Recipe(schedule=schedule, lr=0.3)
    optimiser = torch.optim.SGD([nn.Parameter(torch.zeros(1))], recipe.lr)
    oracle = MultiStepLR(optimiser, [20, 30], 0.1) if schedule == "step" else CosineAnnealingLR(optimiser, T_max=steps)
    for step in range(steps):
        assert learning_rate(recipe, step / steps) == pytest.approx(oracle.get_last_lr()[0])
        optimiser.step()
        oracle.step()


def test_a_linear_schedule_rises_to_the_rate_and_falls_to_zero():
    recipe = Recipe(schedule="linear", warmup=0.25, lr=0.4)
    assert learning_rate(recipe, 0.0) == pytest.approx(0.004)
    assert learning_rate(recipe, 0.25) == pytest.approx(0.4)
    assert learning_rate(recipe, 0.625) == pytest.approx(0.2)
    assert learning_rate(recipe, 1.0) == pytest.approx(0.0)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"learning_rate": 0.1}, "learning_rate is no field of a recipe; the fields are"),
        ({"epochs": "many"}, "epochs must be of type int, not 'many'"),
        ({"flip": 1}, "flip must be of type bool"),
        ({"lr": 0.0}, "lr must be above 0"),
        ({"epochs": 0}, "epochs must be at least 1"),
        ({"milestones": [0.8, 0.5]}, "rising shares"),
        ({"nesterov": True, "optimizer": "adamw"}, "nesterov is an option of optimizer sgd"),
        ({"optimizer": "adam"}, "optimizer must be one of sgd, adamw, muon, not 'adam'"),
        ({"optimizer": "muon", "momentum": 0.0}, "muon needs a momentum above 0"),
        ({"scale": [0.5, 2.0]}, "scale"),
        ({"scale": [0.5]}, "scale must be a range of two numbers"),
        ({"zoom": [0.5, 1.0, 2.0]}, "zoom must be a range of two numbers"),
    ],
)
def test_what_a_recipe_refuses(values, message):
    with pytest.raises(ValueError, match=message):
        Recipe.from_dict(values)


def test_an_unknown_recipe_names_the_known_ones():
    with pytest.raises(ValueError, match="there is no recipe 'slow'; give detection, fast, finetune, generation"):
        load_recipe("slow")


def test_a_recipe_file_is_read_as_written(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("epochs: 3\nlr: 1e-4\nscale: [0.5, 1]\n")
    assert load_recipe(str(path)) == Recipe(epochs=3, lr=0.0001, scale=(0.5, 1.0))


def test_biases_and_norms_are_spared_from_decay_where_asked():
    network = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))
    groups = create_optimiser(network, Recipe(decay_all=False, weight_decay=0.5)).param_groups
    assert [(group["weight_decay"], sorted(p.ndim for p in group["params"])) for group in groups] == [
        (0.5, [2, 4]),
        (0.0, [1, 1, 1]),
    ]
    assert len(create_optimiser(network, Recipe(decay_all=True)).param_groups) == 1


def test_what_auto_chooses():
    digits = Preprocessing((16, 16), 1, (0.5,), (0.5,))
    photographs = Preprocessing((224, 224), 3, (0.5,) * 3, (0.5,) * 3, 0.875)
    assert (choose_model(digits)[0], choose_model(photographs)[0]) == ("resnet20", "resnet18")
    recipe = choose_recipe(digits, torch.arange(1438) % 10).recipe
    assert not recipe.flip
    assert choose_recipe(digits, torch.arange(12) % 2).recipe.batch_size == 16
    assert recipe.batch_size == 64
    assert recipe.epochs * (1438 // recipe.batch_size) >= 1400
    assert choose_recipe(photographs, torch.arange(245) % 2).recipe.scale[0] < 1
    assert choose_recipe(photographs, torch.zeros(1_281_167)).recipe == load_recipe("paper-imagenet")


@pytest.mark.parametrize(
    ("sizes", "chosen"),
    [
        ((50, 50), {"freeze": "", "head_first": True, "batch_size": 16, "epochs": 80}),
        ((10, 50), {"freeze": "all-but-last", "head_first": True}),
        ((1, 50), {"freeze": "all-but-last", "head_first": False}),
        ((3000, 3000), {"freeze": "", "head_first": False, "batch_size": 128, "epochs": 20}),
    ],
)
def test_what_auto_chooses_for_fine_tuning(sizes, chosen):
    small = Preprocessing((32, 32), 3, (0.5,) * 3, (0.5,) * 3)
    targets = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    choice = choose_recipe(small, targets, fine_tuned=True)
    assert {name: getattr(choice.recipe, name) for name in chosen} == chosen
    assert not choose_recipe(small, targets, fine_tuned=True, classes_kept=1).recipe.head_first
    assert not choose_recipe(small, targets, fine_tuned=True, num_classes=len(sizes) + 1).recipe.head_first
    unlike = {name for name, value in asdict(choice.recipe).items() if value != asdict(load_recipe("finetune"))[name]}
    assert unlike - {"lr"} <= set(choice.reasons)


def test_without_batch_norm_its_statistics_are_not_recomputed():
    digits = open_dataset("digits")
    card = plan(digits, model="resnet8", recipe="paper-cifar", changes={"norm": "group"})
    assert not card.recipe["recompute_bn"]
    assert card.recipe["reasons"]["recompute_bn"] == "left out, as the network has no batch norm"
    assert plan(digits, model="resnet8", recipe="paper-cifar").recipe["recompute_bn"]
    with pytest.raises(ValueError, match="resnet8 has no batch norm as it is asked for, so recompute_bn would do"):
        plan(digits, model="resnet8", changes={"norm": "group", "recompute_bn": True})


@pytest.mark.parametrize(("size", "begins"), [(8, 0), (24, 0), (28, 24), (32, 24), (64, 0)])
def test_pictures_grow_by_the_recipe_where_its_beginning_suits_the_input(size, begins):
    card = plan(open_dataset("digits"), model="fastresnet8", recipe="fast", size=size)
    assert card.recipe["progressive"] == begins
    assert ("progressive" in card.recipe["reasons"]) == (begins == 0)
    with pytest.raises(ValueError, match="progressive must be below the 8 pixels"):
        plan(open_dataset("digits"), model="fastresnet8", recipe="fast", size=8, changes={"progressive": 24})


def test_pictures_grow_by_a_recipe_of_ones_own_as_it_says(tmp_path):
    (tmp_path / "own.yaml").write_text("epochs: 5\nprogressive: 8\n")
    card = plan(open_dataset("digits"), model="resnet8", recipe=str(tmp_path / "own.yaml"), size=32)
    assert card.recipe["progressive"] == 8


def test_numbers_and_many_labels_have_no_classifier_to_fit():
    small = Preprocessing((32, 32), 3, (0.5,) * 3, (0.5,) * 3)
    for task in ("regression", "multilabel"):
        recipe = choose_recipe(small, torch.rand(100, 2), task, fine_tuned=True).recipe
        assert not recipe.head_first


@pytest.mark.parametrize("pictures", [1, 3, 20, 300, 20_000])
def test_detectors_train_for_so_long_as_a_set_needs(pictures):
    recipe = choose_recipe(Preprocessing((320, 320), 3, (0.5,) * 3, (0.5,) * 3), torch.zeros(pictures, 2), "detection")
    steps = -(-pictures // recipe.recipe.batch_size) * recipe.recipe.epochs
    assert 30 <= recipe.recipe.epochs <= 200
    assert steps >= 1500 or recipe.recipe.epochs == 200
    assert recipe.recipe.epochs / recipe.recipe.evaluate_every <= 20
    assert pictures > 20 or "evaluate_every" in recipe.reasons


@pytest.mark.parametrize("task", ["detection", "segmentation"])
def test_given_weights_learn_slower_where_objects_or_pixels_are_told(task):
    seen = Preprocessing((320, 320), 3, (0.5,) * 3, (0.5,) * 3)
    alone = choose_recipe(seen, torch.zeros(300, 2), task).recipe
    stages = choose_recipe(seen, torch.zeros(300, 2), task, fine_tuned=True)
    assert (stages.recipe.lr, stages.recipe.backbone_lr) == (alone.lr, 0.2)
    assert "backbone_lr" in stages.reasons
    whole = choose_recipe(seen, torch.zeros(300, 2), task, fine_tuned=True, whole=True)
    assert (whole.recipe.lr, whole.recipe.backbone_lr) == (pytest.approx(2e-4), 1.0)
    assert "lr" in whole.reasons


def test_a_larger_batch_has_a_rate_in_proportion_and_a_warm_up():
    """Goyal et al. (arXiv:1706.02677): 0.1 for 256 pictures is 3.2 for 8,192, after five of 90 epochs."""
    base = replace(load_recipe("paper-imagenet"), steps=0, epochs=90)
    changes = {"batch_size": 8192, "scale_lr": True}
    scaled, reasons = scale_rate(changed(base, changes), base.batch_size, 1_281_167, changes)
    assert scaled.lr == pytest.approx(3.2)
    assert scaled.warmup == pytest.approx(5 / 90)
    assert reasons == {
        "lr": "0.1 times 32, as the batches are 8192 and not 256 (arXiv:1706.02677)",
        "warmup": "0.0556 of the training, for the higher rate",
    }
    assert scale_rate(scaled, scaled.batch_size, 1_281_167, {}) == (scaled, {})  # as a card has it
    kept, _ = scale_rate(changed(base, changes | {"warmup": 0.01}), base.batch_size, 1_281_167, {"warmup": 0.01})
    assert kept.warmup == 0.01
    smaller, _ = scale_rate(changed(base, {"batch_size": 64, "scale_lr": True}), base.batch_size, 1_281_167, {})
    assert (smaller.lr, smaller.warmup) == (pytest.approx(0.025), 0)
    short = replace(base, epochs=10)
    assert scale_rate(changed(short, changes), 256, 1_281_167, {})[0].warmup == 0.2
    with pytest.raises(ValueError, match="scale_lr is a rule of optimizer sgd"):
        replace(base, optimizer="adamw", nesterov=False, scale_lr=True)


@pytest.mark.parametrize(
    ("recipe", "changes", "gone"),
    [
        ("fast", {"flip": False}, {"flip_alternately": False}),
        ("fast", {"epochs": 1}, {"progressive": 0}),
        ("fast", {"pad": 0}, {"pad_mode": "constant"}),
        ("recognition", {"margin": "softmax"}, {"margin_size": 0.0}),
        ("paper-imagenet", {"schedule": "cosine"}, {"milestones": (0.5, 0.75)}),
        ("detection", {"head_only": "sgd"}, {"clip_norm": 0.0, "ema": 0.0}),
    ],
)
def test_what_contradicts_a_change_gives_way(recipe, changes, gone):
    found = changed(replace(load_recipe(recipe), pad=2, pad_mode="reflect"), changes)
    assert {name: getattr(found, name) for name in gone} == gone


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"head_only": "sgd", "clip_norm": 1.0}, "clip_norm would do nothing with head_only"),
        ({"head_only": "sgd", "layer_decay": 0.5}, "layer_decay would do nothing with head_only"),
        ({"schedule": "cosine", "gamma": 0.5}, "milestones and gamma are of the schedule step"),
        ({"gamma": -1.0}, "gamma must be above 0"),
        ({"pad_mode": "reflect", "pad": 0}, "it needs pad"),
    ],
)
def test_what_would_do_nothing_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        changed(Recipe(), changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"freeze_norm": True, "norm": "group"}, "freeze_norm keeps batch norm, and resnet20 has none"),
        ({"norm_bias_lr": 2.0, "norm": "none", "init": "fixup"}, "norm_bias_lr is of normalisations"),
        ({"freeze": "layer9"}, "there is no stage 'layer9'"),
    ],
)
def test_what_a_network_has_no_use_for_is_refused_before_anything_is_read(changes, message):
    with pytest.raises(ValueError, match=message):
        plan(open_dataset("digits"), model="resnet20", recipe="quick", changes=changes)


def test_a_named_recipe_leaves_out_what_a_task_has_no_class_for(tmp_path):
    (tmp_path / "a.csv").write_text("path,count\n" + "".join(f"{n}.png,{n}\n" for n in range(20)))
    for number in range(20):
        Image.new("RGB", (16, 16), (number, 0, 0)).save(tmp_path / f"{number}.png")
    data = open_dataset(tmp_path / "a.csv")
    card = plan(data, model="resnet8", recipe="finetune")
    assert not card.recipe["head_first"]
    assert "head_first" in card.recipe["reasons"]
    with pytest.raises(ValueError, match="logistic regression is for classes, not for regression; leave head_first"):
        plan(data, model="resnet8", recipe="finetune", changes={"head_first": True})


def test_fewer_epochs_are_evaluated_as_often_as_there_is_time_for():
    card = plan(open_dataset("digits"), changes={"epochs": 10})
    assert card.recipe["evaluate_every"] == 1
