"""Profiles against the figures of the papers and of torchvision, and against PyTorch's own counter."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import get_model_weights

from resnets.insight.profile import Profile, profile, totals
from resnets.networks.catalogue import CATALOGUE, GENERATORS, build
from resnets.weights.models import create_model


def of(name: str, size: int = 224, num_classes: int = 1000, **changes: object) -> Profile:
    with torch.device("meta"):
        network = create_model(name, num_classes, **changes)
    return profile(network, (size, size))


@pytest.mark.parametrize(
    ("name", "changes", "published"),
    [
        ("resnet18", {"shortcut": "A"}, 1.8),
        ("resnet34", {"shortcut": "A"}, 3.6),
        ("plain34", {}, 3.6),
        ("resnet101", {"stride_at": "1x1"}, 7.6),
        ("resnet152", {"stride_at": "1x1"}, 11.3),
        ("vgg19", {}, 19.6),
    ],
)
def test_multiply_adds_are_the_papers(name: str, changes: dict[str, object], published: float) -> None:
    # arXiv:1512.03385, table 1 and figure 3: shortcuts A for basic blocks (34 layers would have 3.7 G with B), and B
    # for bottlenecks, whose first 1x1 convolution has the stride
    assert round(of(name, **changes).total.multiply_adds / 1e9, 1) == published


def test_table_1_cuts_the_figure_of_resnet50_instead_of_rounding_it() -> None:
    # 3.858 G, where the table says 3.8; its other figures are rounded
    multiply_adds = of("resnet50", stride_at="1x1").total.multiply_adds
    assert multiply_adds == 3_857_973_248
    assert multiply_adds // 10**8 / 10 == 3.8


def test_the_papers_figure_for_vgg16_leaves_out_its_linear_layers() -> None:
    # section 3.3 says 15.3 G for VGG-16 and, with them, 19.6 G for VGG-19
    *convolutions, classifier = of("vgg16").stages
    assert round(sum(stage.multiply_adds for stage in convolutions) / 1e9, 1) == 15.3
    assert classifier.multiply_adds == 512 * 49 * 4096 + 4096 * 4096 + 4096 * 1000


@pytest.mark.parametrize(
    "name",
    [
        *("resnet18", "resnet50", "resnet152", "resnext101_32x8d", "wide_resnet50_2", "vgg11", "vgg16_bn"),
        *("densenet121", "densenet161", "densenet169", "densenet201"),
        *(f"efficientnet_b{number}" for number in range(5)),
    ],
)
def test_parameters_and_multiply_adds_are_those_that_torchvision_publishes(name: str) -> None:
    weights = get_model_weights(name).DEFAULT
    meta, (side,) = weights.meta, weights.transforms().crop_size
    total = of(name, side).total
    assert total.parameters == meta["num_params"]
    assert round(total.multiply_adds / 1e9, 3) == meta["_ops"]


@pytest.mark.parametrize(
    ("name", "millions", "published"),
    [
        ("efficientnet_b0", 5.3, 0.39),
        ("efficientnet_b1", 7.8, 0.70),
        ("efficientnet_b2", 9.2, 1.0),
        ("efficientnet_b3", 12, 1.8),
        ("efficientnet_b4", 19, 4.2),
    ],
)
def test_the_costs_of_efficientnets_are_nearly_the_papers(name: str, millions: float, published: float) -> None:
    # arXiv:1905.11946, table 2. Torchvision counts what we do: 9.11 M parameters of B2, 4.39 G multiply-adds of B4.
    declaration = CATALOGUE[name]
    parameters, multiply_adds = totals(declaration, declaration.published_size)
    assert parameters / 1e6 == pytest.approx(millions, rel=0.02)
    assert multiply_adds / 1e9 == pytest.approx(published, rel=0.05)


def test_activations_are_those_of_designing_network_design_spaces() -> None:
    assert round(of("resnet50").total.activations / 1e6, 1) == 11.1  # arXiv:2003.13678, table 4


@pytest.mark.parametrize("name", sorted(set(CATALOGUE) - {"resnet1202", "preresnet1001"}))
def test_totals_are_those_of_pytorchs_counter(name: str) -> None:
    declaration = CATALOGUE[name]
    size = declaration.published_size
    with torch.device("meta"):
        network = build(declaration).eval()
        images = torch.empty(1, 3, *size)
    with FlopCounterMode(display=False) as counter:
        network(images)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    assert totals(declaration, size) == (parameters, counter.get_total_flops() / 2)


@pytest.mark.parametrize("name", GENERATORS)
def test_totals_of_generators_are_those_of_pytorchs_counter(name: str) -> None:
    declaration = GENERATORS[name]
    with torch.device("meta"):
        network = build(declaration).eval()
        inputs = (torch.empty(1, 3, 32, 32), torch.empty(1), torch.zeros(1, dtype=torch.int64))
    with FlopCounterMode(display=False) as counter:
        network(*inputs)
    flops = {str(operation): count for operation, count in counter.get_flop_counts()["Global"].items()}
    of_layers = sum(
        count for operation, count in flops.items() if "attention" not in operation and "bmm" not in operation
    )
    assert totals(declaration, declaration.published_size)[1] == of_layers / 2
    with pytest.raises(ValueError, match="resnets models"):
        profile(network, (32, 32))


@pytest.mark.parametrize(
    "name", ["resnet20", "plain34", "preresnet50", "wrn16_8", "seresnet50", "resnet50d", "vgg13", "densenet121"]
)
def test_totals_are_those_of_the_profile(name: str) -> None:
    declaration = CATALOGUE[name]
    total = of(name, num_classes=declaration.num_classes).total
    assert totals(declaration, (224, 224)) == (total.parameters, total.multiply_adds)


def test_shapes_are_those_of_table_1() -> None:
    result = of("resnet34")
    assert {stage.name: stage.output for stage in result.stages} == {
        "stem": (64, 112, 112),
        "layer1": (64, 56, 56),
        "layer2": (128, 28, 28),
        "layer3": (256, 14, 14),
        "layer4": (512, 7, 7),
        "classifier": (1000,),
    }
    assert result.total.output == (1000,)


@pytest.mark.parametrize(
    "name", ["resnet20", "preresnet110", "seresnet50", "vgg11_bn", "densenetbc40_12", "efficientnet_b0"]
)
def test_kept_bytes_are_what_real_training_keeps(name: str) -> None:
    torch.manual_seed(0)
    narrow = {"hidden": 32} if name.startswith("vgg") else {}
    network = create_model(name, num_classes=10, **narrow)
    weights = {t.untyped_storage().data_ptr() for t in (*network.parameters(), *network.buffers())}

    def kept(images: torch.Tensor) -> int:
        found: dict[int, int] = {}
        tensors = []

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            tensors.append(tensor.detach())
            found[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            network(images)
        return sum(size for address, size in found.items() if address not in weights)

    images = torch.randn(3, 3, 64, 32)
    assert profile(network, (64, 32)).total.kept_bytes == kept(images) - kept(images[:2].clone())


def test_peak_of_resnet20_is_four_maps_and_the_picture() -> None:
    # In a block: the stage's input, the block's, the second convolution's output and what it is normalised to
    four_maps = 4 * 16 * 32 * 32 * 4
    picture = 3 * 32 * 32 * 4
    unused_statistics = 2 * 16 * 4  # of batch norm, which gives them in evaluation too on the meta device
    result = of("resnet20", 32, num_classes=10)
    assert result.total.peak_bytes == four_maps + picture + unused_statistics
    buffers = 19 * 8 + 2 * 4 * (7 * 16 + 6 * 32 + 6 * 64)
    assert result.total.parameter_bytes == 4 * 269_722 + buffers
    assert result.inference_bytes == result.total.parameter_bytes + result.total.peak_bytes


def test_dilation_costs_multiply_adds_and_memory_but_no_parameters() -> None:
    plain, dilated = of("resnet50").total, of("resnet50", output_stride=8).total
    assert dilated.parameters == plain.parameters
    assert dilated.multiply_adds > 2 * plain.multiply_adds
    assert dilated.kept_bytes > 1.5 * plain.kept_bytes


def test_the_network_is_not_changed() -> None:
    torch.manual_seed(0)
    network = create_model("resnet20", num_classes=10).train().bfloat16()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    first = profile(network, (32, 32))
    assert network.training
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert first == profile(network.eval().float(), (32, 32))


def test_what_is_frozen_keeps_less() -> None:
    network = create_model("resnet20", num_classes=10)
    all_learn = profile(network, (32, 32)).total
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    network.fc.requires_grad_(True)
    only_classifier = profile(network, (32, 32)).total
    assert only_classifier.kept_bytes == 64 * 4
    assert only_classifier.multiply_adds == all_learn.multiply_adds


def test_other_sizes_and_channels() -> None:
    result = of("resnet18", in_channels=1)
    assert result.channels == 1
    with torch.device("meta"):
        network = create_model("resnet18")
    wide = profile(network, (224, 448)).stages
    assert [stage.multiply_adds for stage in wide[:-1]] == [2 * s.multiply_adds for s in of("resnet18").stages[:-1]]
    with pytest.raises(ValueError, match="at least 32x32 pixels"):
        profile(network, (224, 16))
