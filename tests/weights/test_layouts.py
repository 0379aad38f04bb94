"""Files of other projects, as those projects name their tensors."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import ResNetConfig, ResNetForImageClassification

from resnets.weights.layouts import CAFFE, recognise
from resnets.weights.loading import load_weights
from resnets.weights.models import create_model

Names = dict[str, Tensor]


def filled(name: str, tensors: Names, **changes: object) -> nn.Module:
    network = create_model(name, **changes)
    load_weights(network, tensors, "file")
    return network.eval()


def assert_same(ours: nn.Module, theirs: Tensor, images: Tensor) -> None:
    with torch.inference_mode():
        torch.testing.assert_close(ours(images), theirs, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "prefix", ["", "module.", "model.", "_orig_mod.", "module._orig_mod.", "backbone.bottom_up.", "net.0.ema."]
)
def test_torchvision_below_any_prefix(theirs, images, prefix):
    tensors = {prefix + name: value for name, value in theirs.state_dict().items()}
    tensors |= {"n_averaged": torch.tensor(3), "loss.weight": torch.ones(4)} if prefix else {}
    assert recognise(tensors, theirs.state_dict()).prefix == prefix
    assert_same(filled("resnet18", tensors, num_classes=4), theirs(images), images)


def test_an_average_over_training_is_preferred(theirs, images):
    tensors = {f"model.{name}": torch.zeros_like(value) for name, value in theirs.state_dict().items()}
    tensors |= {f"model_ema.{name}": value for name, value in theirs.state_dict().items()}
    assert_same(filled("resnet18", tensors, num_classes=4), theirs(images), images)


def test_a_word_with_ema_in_it_is_no_average(theirs):
    tensors = {f"model.{name}": value for name, value in theirs.state_dict().items()}
    tensors |= {f"semantic.{name}": torch.zeros_like(value) for name, value in theirs.state_dict().items()}
    assert recognise(tensors, theirs.state_dict()).prefix == "model."


@pytest.mark.parametrize(
    ("name", "layers"), [("resnet18", "basic"), ("resnet50", "bottleneck")], ids=["basic", "bottleneck"]
)
def test_transformers(disturbed, images, name, layers):
    depths = [2, 2, 2, 2] if layers == "basic" else [3, 4, 6, 3]
    widths = [64, 128, 256, 512] if layers == "basic" else [256, 512, 1024, 2048]
    config = ResNetConfig(depths=depths, hidden_sizes=widths, layer_type=layers, num_labels=5)
    network = disturbed(ResNetForImageClassification(config)).eval()
    with torch.inference_mode():
        expected = network(images).logits
    assert_same(filled(name, network.state_dict(), num_classes=5), expected, images)
    backbone = {key.removeprefix("resnet."): value for key, value in network.state_dict().items()}
    assert recognise(backbone, create_model(name).state_dict()).layout == "transformers"


@pytest.mark.parametrize(
    ("ours", "name", "side"),
    [
        ("vgg11", "vgg11", 224),
        ("preresnet18", "resnetv2_18", 64),
        ("resnet50d", "resnet50d", 64),
        ("densenet121", "densenet121", 64),
        ("efficientnet_b0", "efficientnet_b0", 64),
        ("efficientnet_b2", "efficientnet_b2", 64),
    ],
)
def test_timm(disturbed, ours, name, side):
    network = disturbed(timm.create_model(name, num_classes=3)).eval()
    images = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = network(images)
    assert_same(filled(ours, network.state_dict(), num_classes=3), expected, images)


def test_torchvisions_files_of_densenets_are_older_than_its_names(disturbed, images):
    network = disturbed(torchvision.models.densenet121(num_classes=3)).eval()
    older = {
        re.sub(r"(denselayer\d+\.(?:norm|conv))(\d)", r"\1.\2", name): v for name, v in network.state_dict().items()
    }
    assert "features.denseblock1.denselayer1.norm.1.weight" in older
    with torch.inference_mode():
        expected = network(images)
    assert_same(filled("densenet121", older, num_classes=3), expected, images)


def detectron2(name: str) -> str:
    name = re.sub(r"^conv1\.", "stem.conv1.", re.sub(r"^bn1\.", "stem.conv1.norm.", name))
    name = re.sub(r"^layer(\d)", lambda m: f"res{int(m[1]) + 1}", name)
    name = re.sub(r"\.bn(\d)\.", r".conv\1.norm.", name)
    return (
        name.replace("downsample.0.", "shortcut.").replace("downsample.1.", "shortcut.norm.").replace("fc.", "linear.")
    )


def caffe2(name: str) -> str:
    norm = {"weight": "s", "bias": "b", "running_mean": "rm", "running_var": "riv"}
    if match := re.fullmatch(r"bn1\.(\w+)", name):
        return f"res_conv1_bn_{norm[match[1]]}"
    if match := re.fullmatch(r"layer(\d)\.(\d)\.(downsample\.|conv|bn)(\d)\.(\w+)", name):
        stage, block, kind, number, field = int(match[1]) + 1, match[2], match[3], int(match[4]), match[5]
        branch = "branch1" if kind == "downsample." else f"branch2{'abc'[number - 1]}"
        is_norm = kind == "bn" or (kind == "downsample." and number == 1)
        return f"res{stage}_{block}_{branch}_" + (f"bn_{norm[field]}" if is_norm else "w")
    return {"conv1.weight": "conv1_w", "fc.weight": "pred_w", "fc.bias": "pred_b"}[name]


def kuangliu(name: str) -> str:
    return name.replace("downsample.", "shortcut.").replace("fc.", "linear.")


def weiaicunzai(name: str) -> str:
    name = re.sub(r"^bn1\.", "conv1.1.", re.sub(r"^conv1\.", "conv1.0.", name))
    name = re.sub(r"^layer(\d)", lambda m: f"conv{int(m[1]) + 1}_x", name)
    name = re.sub(r"_x\.(\d)\.conv(\d)", lambda m: f"_x.{m[1]}.residual_function.{3 * int(m[2]) - 3}", name)
    name = re.sub(r"_x\.(\d)\.bn(\d)", lambda m: f"_x.{m[1]}.residual_function.{3 * int(m[2]) - 2}", name)
    return name.replace("downsample.", "shortcut.")


def renamed(network: nn.Module, rename: Callable[[str], str]) -> Names:
    counted = "num_batches_tracked"
    return {rename(name): value for name, value in network.state_dict().items() if not name.endswith(counted)}


@pytest.mark.parametrize(
    ("rename", "layout"),
    [(kuangliu, "CIFAR: shortcut, linear"), (weiaicunzai, "CIFAR: residual_function")],
)
def test_common_cifar_checkpoints(theirs, images, rename, layout):
    tensors = renamed(theirs, rename)
    assert recognise(tensors, theirs.state_dict()).layout == layout
    assert_same(filled("resnet18", tensors, num_classes=4), theirs(images), images)


class ZerosOnBothSides(nn.Module):
    """Option A in github.com/akamaster/pytorch_resnet_cifar10."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        side = x.shape[1] // 2
        return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, side, side))


@pytest.mark.parametrize("depth", [8, 20])
def test_zeros_on_both_sides_of_the_channels(disturbed, depth):
    theirs = disturbed(create_model(f"resnet{depth}", num_classes=4, shortcut="A")).eval()
    tensors = {f"module.{name}": value for name, value in renamed(theirs, kuangliu).items()}
    theirs.layer2[0].downsample = theirs.layer3[0].downsample = ZerosOnBothSides()
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert recognise(tensors, theirs.state_dict()).layout == "CIFAR: shortcut, linear"
    assert_same(filled(f"resnet{depth}", tensors, num_classes=4, shortcut="A"), theirs(images), images)


@pytest.mark.parametrize(("rename", "layout"), [(detectron2, "detectron2"), (caffe2, "Caffe2")])
@pytest.mark.parametrize("model", ["resnet18", "resnet50"])
def test_networks_that_read_blue_first(disturbed, rename, layout, model):
    reads_bgr = disturbed(torchvision.models.get_model(model, num_classes=4)).eval()
    tensors = renamed(reads_bgr, rename)
    assert recognise(tensors, reads_bgr.state_dict()).layout == layout
    ours = filled(model, tensors, num_classes=4)
    pixels = torch.randint(256, (2, 3, 64, 64), generator=torch.Generator().manual_seed(0)).float()  # RGB
    mean, std = (torch.tensor(values)[:, None, None] for values in (CAFFE.mean, CAFFE.std))
    with torch.inference_mode():
        expected = reads_bgr(pixels.flip(1) - 255 * mean.flip(0))
        found = ours((pixels / 255 - mean) / std)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-3)


def test_caffe2_with_statistics_in_scale_and_bias(images):
    network = torchvision.models.resnet18(num_classes=4).eval()  # statistics of an identity
    tensors = {name: value for name, value in renamed(network, caffe2).items() if not name.endswith(("_rm", "_riv"))}
    tensors["conv1_w"] = tensors["conv1_w"].flip(1)
    assert_same(filled("resnet18", tensors, num_classes=4), network(images), images)
