"""Maps of what matters, against closed forms, toy networks whose answer is known, and networks of random weights."""

from __future__ import annotations

import pytest
import torch
from PIL import Image
from scipy.stats import spearmanr
from sklearn.datasets import load_sample_image
from torch import nn
from torch.nn import functional as F

from resnets.inference.pictures import seen
from resnets.inference.predictor import Predictor
from resnets.insight.attributions import (
    MAPS,
    METHODS,
    attribute,
    gradcam,
    gradcam_plus_plus,
    layercam,
    one_output,
    stage_layer,
)
from resnets.networks.catalogue import build
from resnets.weights.models import create_model

IMAGES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


class Patch(nn.Module):
    """Its second output is the sum of the first channel in rows 8 to 11, columns 16 to 19; it sees nothing else."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found = x[:, 0, 8:12, 16:20].sum((1, 2))
        return torch.stack([torch.zeros_like(found), found], 1)


@pytest.mark.parametrize("name", ["resnet20", "plain20", "preresnet20"])
def test_gradcam_before_a_mean_and_a_linear_layer_is_its_weights_times_the_map(name):
    torch.manual_seed(0)
    network = create_model(name, 10).eval()
    last = network.stages[-1].name
    with torch.no_grad():
        a = network.features(IMAGES, [last])[last]
        weights = network.get_submodule(network.logits_layer).weight.flatten(1)[3] / a[0, 0].numel()
        expected = torch.einsum("d,ndhw->nhw", weights, a).relu()
        positive = torch.einsum("d,ndhw->nhw", weights.relu(), a)
    whole = F.interpolate(torch.stack([expected, positive], 1), (32, 32), mode="bilinear")
    torch.testing.assert_close(attribute(network, IMAGES, one_output(3)), whole[:, 0])
    torch.testing.assert_close(attribute(network, IMAGES, one_output(3), "layercam"), whole[:, 1])


def test_the_three_ways_to_weigh_a_map_by_hand():
    a = torch.tensor([[[[1.0, 2.0]], [[3.0, 0.0]]]])  # two channels of two places
    g = torch.tensor([[[[2.0, -1.0]], [[0.0, 1.0]]]])
    torch.testing.assert_close(gradcam(a, g), torch.tensor([[[0.5 * 1 + 0.5 * 3, 0.5 * 2.0]]]))
    torch.testing.assert_close(layercam(a, g), torch.tensor([[[2.0 * 1, 0.0]]]))
    first = 4 / (8 + 3 * 8) * 2  # alpha relu(g) of the first channel's first place; its second has no part
    second = 1 / (2 + 3 * 1) * 1
    torch.testing.assert_close(gradcam_plus_plus(a, g), torch.tensor([[[first + 3 * second, 2 * first]]]))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["resnet8", "preresnet11", "plain8", "vgg11_bn"])
def test_every_method_for_every_family(name, method):
    torch.manual_seed(0)
    narrow = {"hidden": 8, "widths": (4, 4, 4, 4, 4)} if name.startswith("vgg") else {}
    network = create_model(name, 4, **narrow).train()
    image = IMAGES[:1, :, :32, :32]
    found = attribute(network, image, one_output(1), method)
    assert found.shape == (1, 32, 32)
    assert found.isfinite().all()
    assert not found.requires_grad
    assert not network.training
    assert all(parameter.grad is None for parameter in network.parameters())
    assert method not in MAPS or (found >= 0).all()


def test_integrated_gradients_of_a_linear_network_are_weights_times_pixels():
    linear = nn.Sequential(nn.Flatten(), nn.Linear(48, 2))
    image = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    expected = (linear[1].weight[1].view(3, 4, 4) * image).sum(1)
    torch.testing.assert_close(attribute(linear, image, one_output(1), "integrated-gradients"), expected.detach())


def test_integrated_gradients_are_complete():
    # arXiv:1703.01365, proposition 1: they sum to the difference of the answers
    torch.manual_seed(0)
    network = create_model("resnet8", 10, activation="silu").eval()
    network.fc.weight.data *= 100
    found = attribute(network, IMAGES, one_output(2), "integrated-gradients").double().sum((1, 2))
    with torch.no_grad():
        difference = (network(IMAGES) - network(torch.zeros_like(IMAGES)))[:, 2].double()
    assert difference.abs().min() > 0.1
    torch.testing.assert_close(found, difference, rtol=0.005, atol=1e-3)


def test_occlusion_finds_the_only_patch_that_matters():
    image = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)) + 0.5
    found = attribute(Patch(), image, one_output(1), "occlusion")[0]
    assert found[8:12, 16:20].min() > 0
    away = found.clone()
    away[8 - 5 : 12 + 5, 16 - 5 : 20 + 5] = 0  # a square of 5 reaches so far
    assert away.abs().max() == 0
    row, column = divmod(int(found.argmax()), 32)
    assert 8 <= row < 12
    assert 16 <= column < 20


def test_any_function_of_the_outputs_can_be_attributed():
    class Segments(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convolution = nn.Conv2d(3, 5, 3, padding=1)

        def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"masks": self.convolution(x)}

    network = Segments()
    for method in METHODS:
        layer = network.convolution if method in MAPS else None
        found = attribute(network, IMAGES, lambda outputs: outputs["masks"][:, 2].mean((1, 2)), method, layer)
        assert found.shape == (2, 32, 32)
        assert found.abs().sum() > 0
    with pytest.raises(ValueError, match="Segments has no stages"):
        attribute(network, IMAGES, one_output(0))


def test_an_earlier_stage_has_a_finer_map():
    network = create_model("resnet8", 10)
    found = {}
    for stage in ("layer1", "layer3"):
        layer = stage_layer(network, stage)
        found[stage] = attribute(network, IMAGES, one_output(0), "layercam", layer)
    assert not torch.allclose(found["layer1"], found["layer3"])
    assert torch.equal(found["layer3"], attribute(network, IMAGES, one_output(0), "layercam"))


def test_what_is_refused():
    network = create_model("resnet8", 10)
    with pytest.raises(ValueError, match="there is no method 'gradcamera'; there are gradcam, "):
        attribute(network, IMAGES, one_output(0), "gradcamera")
    with pytest.raises(ValueError, match="there is no stage layer9; there are stem, layer1"):
        stage_layer(network, "layer9")
    with pytest.raises(ValueError, match="occlusion asks for pixels and has no use for a layer"):
        attribute(network, IMAGES, one_output(0), "occlusion", network.layer1)
    with pytest.raises(ValueError, match="the layer must run once"):
        attribute(network, IMAGES, one_output(0), layer=network.fc)


@pytest.mark.parametrize("method", METHODS)
def test_a_network_of_random_weights_has_another_map(method):
    # arXiv:1810.03292: a map that stays when the weights are lost tells of edges, not of the network
    predictor = Predictor("resnet20-cifar10", "cpu")
    correlations = []
    for number, name in enumerate(("flower.jpg", "china.jpg")):
        picture = seen(Image.fromarray(load_sample_image(name)), predictor.card.preprocessing)
        image = predictor.inputs(picture[None])
        scalar = one_output(int(predictor.network(image).argmax()))
        torch.manual_seed(number)
        random = build(predictor.network.architecture).eval()
        trained = attribute(predictor.network, image, scalar, method)
        assert torch.equal(trained, attribute(predictor.network, image, scalar, method))
        other = attribute(random, image, scalar, method)
        varies = other.std() > 0  # where nothing speaks for the class, the map is 0
        correlations.append(spearmanr(trained.flatten(), other.flatten()).statistic if varies else 0.0)
    assert max(abs(correlation) for correlation in correlations) < 0.7
    assert sum(abs(correlation) for correlation in correlations) / 2 < 0.5
