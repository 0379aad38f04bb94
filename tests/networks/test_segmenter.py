"""Networks that give every pixel a class, against torchvision and segmentation_models_pytorch."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import segmentation as torchvision_segmentation

from resnets.networks.architecture import Architecture
from resnets.networks.catalogue import architecture, build, declaration_from_dict
from resnets.networks.segmenter import DECODERS, SegmenterArchitecture, segmenter_architecture
from resnets.weights.loading import load_weights

TINY = Architecture(depths=(1, 1, 1, 1), widths=(8, 8, 16, 16), block="basic", stem_width=8)


def declared(name: str, **changes: object) -> SegmenterArchitecture:
    declaration = replace(architecture(name), **changes)
    assert isinstance(declaration, SegmenterArchitecture)
    return declaration


def with_random_statistics(network: nn.Module) -> nn.Module:
    """In evaluation, with batch norm that does something."""
    generator = torch.Generator().manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.copy_(0.1 * torch.randn(module.num_features, generator=generator))
            module.running_var.copy_(0.5 + torch.rand(module.num_features, generator=generator))
    return network.eval()


@pytest.mark.parametrize("name", ["fcn_resnet50", "deeplabv3_resnet50"])
def test_has_torchvision_keys_and_outputs_with_the_auxiliary_classifier(name: str) -> None:
    theirs = getattr(torchvision_segmentation, name)(weights=None, weights_backbone=None, aux_loss=True, num_classes=5)
    with_random_statistics(theirs)
    ours = build(declared(name, num_classes=5, auxiliary=True)).eval()
    ours.load_state_dict(theirs.state_dict())
    images = torch.randn(1, 3, 40, 57, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = theirs(images)
        assert torch.equal(ours(images), expected["out"])
        ours.train()
        for module in ours.modules():
            if isinstance(module, nn.BatchNorm2d | nn.Dropout):
                module.eval()
        in_training = ours(images)
    assert torch.equal(in_training["out"], expected["out"])
    assert torch.equal(in_training["aux"], expected["aux"])


def copied(ours: nn.Module, theirs: nn.Module) -> None:
    """Copy weights tensor by tensor, the modules of the two being in the same order."""
    state, given = ours.state_dict(), list(theirs.state_dict().values())
    assert [value.shape for value in state.values()] == [value.shape for value in given]
    ours.load_state_dict(dict(zip(state, given, strict=True)))


@pytest.mark.filterwarnings("ignore")
def test_unet_gives_what_segmentation_models_pytorch_does() -> None:
    peers = pytest.importorskip("segmentation_models_pytorch")
    theirs = with_random_statistics(peers.Unet("resnet18", encoder_weights=None, classes=5))
    ours = build(declared("unet_resnet18", num_classes=5)).eval()
    copied(ours, theirs)
    images = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(ours(images), theirs(images), rtol=1e-4, atol=1e-4)


@pytest.mark.filterwarnings("ignore")
def test_deeplabv3plus_gives_what_segmentation_models_pytorch_does_but_for_two_choices() -> None:
    peers = pytest.importorskip("segmentation_models_pytorch")
    theirs = peers.DeepLabV3Plus("resnet18", encoder_weights=None, classes=5, decoder_atrous_rates=(6, 12, 18))
    theirs.decoder.up.align_corners = False  # theirs aligns corners in both places, ours, as torchvision, never
    theirs.segmentation_head[1] = nn.Upsample(scale_factor=4, mode="bilinear", align_corners=False)
    first = theirs.encoder.layer4[0].conv1  # theirs is dilated already, ours, as torchvision's, from the next one on
    first.dilation = first.padding = (1, 1)
    with_random_statistics(theirs)
    ours = build(declared("deeplabv3plus_resnet18", num_classes=5)).eval()
    copied(ours, theirs)
    images = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(ours(images), theirs(images), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize(("height", "width"), [(32, 32), (33, 47), (65, 40)])
def test_gives_logits_of_every_pixel_of_pictures_of_any_size(decoder: str, height: int, width: int) -> None:
    network = build(replace(segmenter_architecture(decoder, TINY), num_classes=4)).eval()  # type: ignore[arg-type]
    with torch.inference_mode():
        assert network(torch.randn(2, 3, height, width)).shape == (2, 4, height, width)


def test_unet_cuts_off_what_maps_of_odd_sizes_have_beyond_the_picture() -> None:
    """Convolutions see zeros beyond the edges, so a picture with zeros there has the same logits within its own."""
    network = with_random_statistics(build(declared("unet_resnet18", num_classes=4)))
    images = torch.randn(1, 3, 63, 95, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        padded = network(nn.functional.pad(images, (0, 1, 0, 1)))
        torch.testing.assert_close(network(images), padded[..., :63, :95], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("backbone", ["resnet8", "plain8", "preresnet18", "resnet50d"])
def test_stands_on_any_residual_backbone_and_goes_into_a_card(decoder: str, backbone: str) -> None:
    declaration = declared(f"{decoder}_{backbone}", num_classes=3, in_channels=1)
    assert declaration_from_dict(declaration.to_dict()) == declaration
    with torch.device("meta"):
        network = build(declaration).eval()
        assert network(torch.empty(1, 1, 64, 64)).shape == (1, 3, 64, 64)
    names = dict(network.named_modules())
    assert all(names[layer].out_channels == 3 for layer in network.class_layers)


@pytest.mark.parametrize(
    ("name", "stride"),
    [("unet_resnet18", 32), ("fpn_resnet18", 32), ("deeplabv3plus_resnet18", 16), ("fcn_resnet18", 8)],
)
def test_dilates_the_backbone_where_the_decoder_wants_it(name: str, stride: int) -> None:
    assert build(declared(name)).stages[-1].stride == stride


def test_an_output_stride_that_is_asked_for_stays() -> None:
    backbone = replace(TINY, output_stride=8)
    assert build(segmenter_architecture("deeplabv3plus", backbone)).stages[-1].stride == 8


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"decoder": "snake"}, "decoder must be one of"),
        ({"decoder_width": 0}, "decoder_width must be above 0"),
        ({"decoder_width": 2.5}, "decoder_width must be a whole number"),
        ({"atrous_rates": (6, 12, 18)}, "unet has no atrous_rates"),
        ({"num_classes": 0}, "num_classes must be a whole number of at least 1"),
    ],
)
def test_refuses_what_contradicts_itself(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        declared("unet_resnet18", **changes)


def test_takes_the_weights_of_a_classifier_into_its_backbone() -> None:
    classifier = build(architecture("resnet18"))
    network = build(declared("unet_resnet18"))
    account = load_weights(network, classifier.state_dict(), "a file")
    assert torch.equal(network.backbone.layer4[1].conv2.weight, classifier.layer4[1].conv2.weight)
    assert account.replaced == ("all but the backbone: begins anew",)


def test_weights_of_other_classes_keep_all_but_the_logits() -> None:
    before = build(declared("unet_resnet18", num_classes=21))
    network = build(declared("unet_resnet18", num_classes=4))
    account = load_weights(network, before.state_dict(), "a file")
    assert torch.equal(network.classifier.blocks[0][0][0].weight, before.classifier.blocks[0][0][0].weight)
    assert account.replaced == ("classifier.logits: begins anew, for other classes",)


@pytest.mark.parametrize("ours_has_one", [True, False])
def test_an_auxiliary_classifier_may_lack_on_either_side(ours_has_one: bool) -> None:
    tiny = replace(segmenter_architecture("fcn", TINY), num_classes=3)
    before, network = (build(replace(tiny, auxiliary=has)) for has in (not ours_has_one, ours_has_one))
    account = load_weights(network, before.state_dict(), "a file")
    if ours_has_one:
        assert account.replaced == ("aux_classifier: begins anew, the file has none",)
    else:
        assert account.left_out
        assert all(name.startswith("aux_classifier.") for name in account.left_out)
    kept: Tensor = network.classifier[0].weight
    assert torch.equal(kept, before.classifier[0].weight)
