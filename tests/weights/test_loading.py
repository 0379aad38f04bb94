"""What becomes of a file's tensors, and what is said of it."""

from __future__ import annotations

import pytest
import torch

from resnets.weights.loading import load_tensors, load_weights, of_channels
from resnets.weights.models import create_model


def test_one_channel_takes_the_sum(theirs, images):
    network = create_model("resnet18", 4, in_channels=1)
    account = load_weights(network, theirs.state_dict(), "file")
    assert account.resized == ("conv1.weight: 3 to 1 channels",)
    grey = images[:, :1]
    torch.testing.assert_close(network.eval()(grey), theirs(grey.repeat(1, 3, 1, 1)), rtol=0, atol=1e-5)


def test_more_channels_repeat_the_first_and_keep_the_size_of_sums():
    weight = torch.randn(8, 3, 7, 7)
    wide = of_channels(weight, 6)
    torch.testing.assert_close(wide[:, :3], weight / 2)
    torch.testing.assert_close(wide[:, 3:], weight / 2)
    assert of_channels(weight, 4).shape == (8, 4, 7, 7)
    torch.testing.assert_close(of_channels(weight, 4)[:, 3], weight[:, 0] * 3 / 4)


def test_a_classifier_for_other_classes_begins_anew_and_keeps_those_of_the_same_name(theirs):
    network = create_model("resnet18", 3)
    begun = network.fc.weight.clone()
    classes, file_classes = ("bee", "cat", "ant"), ("ant", "bee", "dog", "emu")
    account = load_weights(network, theirs.state_dict(), "file", classes, file_classes)
    assert account.replaced == ("fc: 4 outputs by 3 new ones, of which bee, ant kept",)
    torch.testing.assert_close(network.fc.weight[0], theirs.fc.weight[1])
    torch.testing.assert_close(network.fc.bias[2], theirs.fc.bias[0])
    torch.testing.assert_close(network.fc.weight[1], begun[1])
    assert account.loaded == len(theirs.state_dict()) - 2 - 20  # the classifier's, and the counters


def test_as_many_classes_of_other_names_are_other_classes(theirs):
    network = create_model("resnet18", 4)
    account = load_weights(network, theirs.state_dict(), "file", tuple("abcd"), tuple("wxyz"))
    assert account.replaced == ("fc: 4 outputs by 4 new ones",)
    same = load_weights(network, theirs.state_dict(), "file", tuple("abcd"), tuple("abcd"))
    assert same.complete
    torch.testing.assert_close(network.fc.weight, theirs.fc.weight)


def test_what_a_file_has_besides_is_named(theirs):
    tensors = theirs.state_dict() | {"aux_classifier.0.weight": torch.ones(3)}
    account = load_weights(create_model("resnet18", 4), tensors, "resnet18.pth")
    assert account.left_out == ("aux_classifier.0.weight",)
    assert account.rows()[0] == ("weights", "resnet18.pth (torchvision names)")
    assert account.rows()[-1] == ("left out", "aux_classifier.0.weight")
    headless = load_weights(create_model("resnet18", 0), theirs.state_dict(), "file")
    assert headless.left_out == ("fc.weight", "fc.bias")


def test_a_file_without_a_classifier_leaves_it_new(theirs):
    tensors = {name: value for name, value in theirs.state_dict().items() if not name.startswith("fc.")}
    account = load_weights(create_model("resnet18", 4), tensors, "file")
    assert account.replaced == ("fc: begins anew, the file has none",)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("resnet50", r"file holds another network's weights: of this one's, .*layer1\.0\.bn3"),
        ("resnet34", r"layer1\.2\.bn1\.bias.* more missing"),
        ("preresnet18", r"missing; bn1\.bias"),
    ],
)
def test_another_networks_file_is_refused(theirs, model, message):
    with pytest.raises(ValueError, match=message):
        load_weights(create_model(model, 4), theirs.state_dict(), "file")


def test_a_deeper_networks_file_is_refused(theirs):
    network = create_model("resnet18", 4, depths=(1, 2, 2, 2))
    with pytest.raises(ValueError, match=r"nothing missing; layer1\.1\.bn1\.bias.* unknown to it"):
        load_weights(network, theirs.state_dict(), "file")


def test_a_wider_networks_file_is_refused(theirs):
    network = create_model("resnet18", 4, widths=(32, 64, 128, 256), stem_width=32)
    with pytest.raises(ValueError, match=r"file holds bn1\.bias of shape \(64,\), but the network's has \(32,\)"):
        load_weights(network, theirs.state_dict(), "file")


def test_an_unknown_layout_names_what_does_not_fit():
    with pytest.raises(ValueError, match=r"trunk\.0\.filters, trunk\.1\.filters unknown to it"):
        load_weights(create_model("resnet18"), {f"trunk.{i}.filters": torch.ones(1) for i in range(2)}, "file")


@pytest.mark.parametrize("name", ["layer1.0.conv1.weight", "fc.weight"])
@pytest.mark.parametrize("dtype", [torch.int8, torch.complex64, torch.bool])
def test_numbers_that_are_not_floating_are_refused(theirs, name, dtype):
    tensors = theirs.state_dict() | {name: theirs.state_dict()[name].to(dtype)}
    for load in (load_tensors, load_weights):
        with pytest.raises(ValueError, match=rf"file holds {name} as {dtype}, but the network's numbers are floating"):
            load(create_model("resnet18", 4), tensors, "file")
    with pytest.raises(ValueError, match="numbers are floating"):
        load_weights(create_model("resnet18", 2), tensors, "file", ("a", "c"), tuple("abcd"))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_floating_numbers_of_any_size_are_taken(theirs, dtype):
    tensors = {
        name: value.to(dtype) if value.is_floating_point() else value for name, value in theirs.state_dict().items()
    }
    assert load_weights(create_model("resnet18", 4), tensors, "file").complete


def test_the_normalisation_of_an_embedding_begins_anew_with_it():
    small = {"depths": (1, 1), "widths": (8, 8)}
    theirs, network = create_model("iresnet18", 8, **small), create_model("iresnet18", 4, **small)
    theirs.features.running_mean.fill_(3)
    account = load_weights(network, theirs.state_dict(), "file")
    assert account.replaced == ("fc: 8 outputs by 4 new ones",)
    assert torch.equal(network.features.running_mean, torch.zeros(4))
    assert torch.equal(network.conv1.weight, theirs.conv1.weight)
    assert load_weights(create_model("iresnet18", 8, **small), theirs.state_dict(), "file").complete
