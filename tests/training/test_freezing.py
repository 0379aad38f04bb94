"""What is frozen stays to the byte, and everything else learns at its own rate."""

from __future__ import annotations

import pytest
import torch

from resnets.training.freezing import ALL, freeze, frozen_stages, rate_scales
from resnets.training.optimisers import create_optimiser
from resnets.training.recipe import Recipe
from resnets.weights.files import read_tensors
from resnets.weights.models import create_model

NORMS = ("bn", "downsample.1")


@pytest.fixture
def changed(train_digits):
    """Train once, then go on from there with a recipe; the names of the tensors that differ afterwards."""

    def names(**changes: object) -> set[str]:
        first = train_digits("first", epochs=1)
        second = train_digits("second", weights=first.folder, lr=0.01, **changes)
        before, after = (read_tensors(run.weights_path) for run in (first, second))
        return {
            name
            for name, tensor in before.items()
            if tensor.contiguous().numpy().tobytes() != after[name].contiguous().numpy().tobytes()
        }

    return names


@pytest.mark.parametrize("options", [{}, {"ema": 0.9}, {"precision": "bf16-mixed"}, {"optimizer": "adamw"}])
def test_frozen_stages_keep_every_byte(changed, options):
    names = changed(freeze="layer2", **options)
    assert {name.split(".")[0] for name in names} == {"layer3", "fc"}
    assert {"layer3.0.bn1.running_mean", "layer3.0.conv1.weight", "fc.bias"} <= names


def test_all_stages_frozen_leave_the_classifier(changed):
    assert changed(freeze=ALL) == {"fc.weight", "fc.bias"}


def test_stages_begin_to_learn_one_by_one(changed):
    names = changed(freeze=ALL, unfreeze_every=1, epochs=2)  # layer3 from the second epoch on
    assert {name.split(".")[0] for name in names} == {"layer3", "fc"}


def test_frozen_batch_norm_keeps_every_byte(changed):
    names = changed(freeze_norm=True)
    assert names
    assert not [name for name in names if ".bn" in name or name.startswith("bn")]
    assert "conv1.weight" in names


def test_several_processes_leave_frozen_statistics_alone(tmp_path):
    network = create_model("resnet8", 10)
    freeze(network, ["stem"])
    assert not network.bn1.training
    assert network.layer1[0].bn1.training


@pytest.mark.parametrize("name", ["resnet18", "preresnet18", "vgg11_bn"])
def test_each_stage_learns_at_its_share_of_the_rate(name):
    network = create_model(name, 10)
    recipe = Recipe(backbone_lr=0.1, layer_decay=0.5)
    scales = rate_scales(network, recipe)
    first, *_, last = scales
    assert scales[first] == pytest.approx(0.1 * 0.5 ** (len(network.stages) - 1))
    assert scales[last] == 1.0
    with torch.no_grad():
        stages = [stage.name for stage in network.stages]
    assert len(set(scales.values())) == len(stages) + 1
    groups = create_optimiser(network, recipe, scales).param_groups
    assert sum(len(group["params"]) for group in groups) == len(list(network.parameters()))
    assert {group["lr_scale"] for group in groups} == set(scales.values())


def test_biases_of_normalisations_learn_at_their_own_rate():
    network = create_model("fastresnet8", 10)
    scales = rate_scales(network, Recipe(backbone_lr=0.5, norm_bias_lr=16))
    fast = {name for name, scale in scales.items() if scale == 8}
    assert fast == {name for name in scales if name.endswith(("bn.bias", "bn1.bias"))}
    assert len(fast) == 6
    with pytest.raises(ValueError, match="norm_bias_lr must be above 0"):
        Recipe(norm_bias_lr=0)


def test_which_stages_stay():
    network = create_model("resnet18", 10)
    recipe = Recipe(freeze="layer2", unfreeze_every=2)
    assert frozen_stages(network, recipe) == ("stem", "layer1", "layer2")
    assert frozen_stages(network, recipe, 1) == ("stem", "layer1", "layer2")
    assert frozen_stages(network, recipe, 2) == ("stem", "layer1")
    assert frozen_stages(network, recipe, 60) == ()
    with pytest.raises(ValueError, match=r"no stage 'layer9' to freeze up to; there are stem, layer1, .* and all"):
        frozen_stages(network, Recipe(freeze="layer9"))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"unfreeze_every": 1}, "unfreeze_every needs freeze"),
        ({"recompute_bn": True, "freeze": "stem"}, "recompute_bn would change"),
        ({"layer_decay": 0.0}, "layer_decay must be above 0"),
        ({"backbone_lr": 2.0}, "backbone_lr must be above 0 and at most 1"),
    ],
)
def test_what_contradicts_itself_is_refused(values, message):
    with pytest.raises(ValueError, match=message):
        Recipe.from_dict(values)
