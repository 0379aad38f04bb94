"""Detectors against torchvision's own, and their declarations."""

from __future__ import annotations

import json
from dataclasses import replace
from threading import Thread

import pytest
import torch
from torchvision.models.detection import (
    fasterrcnn_resnet50_fpn,
    fcos_resnet50_fpn,
    maskrcnn_resnet50_fpn,
    retinanet_resnet50_fpn,
)

from resnets.heads.yolo import Outputs
from resnets.networks.catalogue import architecture, build, declaration_from_dict
from resnets.types import Objects

OWN = {
    "fasterrcnn": (fasterrcnn_resnet50_fpn, "box_score_thresh"),
    "maskrcnn": (maskrcnn_resnet50_fpn, "box_score_thresh"),
    "retinanet": (retinanet_resnet50_fpn, "score_thresh"),
    "fcos": (fcos_resnet50_fpn, "score_thresh"),
}
SMALL = {"depths": (1, 1, 1, 1), "widths": (8, 16, 32, 64)}


def small(name: str, **changes: object):
    declaration = architecture(name)
    backbone = replace(declaration.backbone, **SMALL)
    pyramid = {"pyramid": 32} if declaration.pyramid else {}
    return replace(declaration, backbone=backbone, num_classes=3, **pyramid, **changes)


def objects_of(boxes: torch.Tensor, labels: torch.Tensor) -> Objects:
    return Objects((128, 128), boxes, labels, torch.zeros(len(labels), dtype=torch.bool))


@pytest.mark.parametrize("width", [128, 122])
@pytest.mark.parametrize("method", OWN)
def test_outputs_are_those_of_torchvision_with_its_weights(method, width):
    make, threshold = OWN[method]
    torch.manual_seed(0)
    theirs = make(
        weights=None,
        weights_backbone=None,
        num_classes=4,
        min_size=96,
        max_size=128,
        image_mean=[0.0] * 3,
        image_std=[1.0] * 3,
        **{threshold: 0.0},
    ).eval()
    ours = build(replace(architecture(f"{method}_resnet50_fpn"), num_classes=3, score_threshold=0.0)).eval()
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    ours.load_state_dict(theirs.state_dict())
    images = torch.rand(2, 3, 96, width)
    with torch.no_grad():
        expected, rows = theirs(list(images)), ours(images)
    for one, found in zip(expected, rows, strict=True):
        count = min(len(one["boxes"]), 100)
        assert count > 10
        assert torch.equal(found[:count, :4], one["boxes"][:count])
        assert torch.equal(found[:count, 4], one["scores"][:count])
        assert torch.equal(found[:count, 5], one["labels"][:count].float() - 1)
        assert not found[count:].any()
        if method == "maskrcnn":  # theirs are pasted into the picture
            assert found.shape == (100, 6 + 28 * 28)
            assert found[:count, 6:].amin() >= 0
            assert found[:count, 6:].amax() <= 1


@pytest.mark.parametrize("method", ["retinanet", "fcos"])
def test_losses_are_those_of_torchvision(method):
    torch.manual_seed(0)
    theirs = OWN[method][0](
        weights=None,
        weights_backbone=None,
        num_classes=4,
        min_size=96,
        max_size=128,
        image_mean=[0.0] * 3,
        image_std=[1.0] * 3,
    )
    ours = build(replace(architecture(f"{method}_resnet50_fpn"), num_classes=3))
    ours.load_state_dict(theirs.state_dict())
    images, boxes = torch.rand(2, 3, 96, 128), torch.tensor([[4.0, 8.0, 60.0, 70.0], [50.0, 20.0, 90.0, 90.0]])
    found = ours(images, [objects_of(boxes, torch.tensor([0, 2]))] * 2)
    expected = theirs(list(images), [{"boxes": boxes, "labels": torch.tensor([1, 3])}] * 2)
    assert found.keys() == expected.keys()
    for name, loss in found.items():
        torch.testing.assert_close(loss, expected[name])


@pytest.mark.parametrize(
    "name",
    [
        "fasterrcnn_resnet18_fpn",
        "fasterrcnn_resnet18",
        "maskrcnn_resnet18_fpn",
        "retinanet_resnet18_fpn",
        "fcos_resnet18_fpn",
        "yolo_resnet18",
        "locate_resnet18",
    ],
)
def test_what_is_dense_and_what_follows_are_the_whole_detector(name):
    """What follows is done by a network that has no other weights than those it names."""
    torch.manual_seed(0)
    declaration = small(name, score_threshold=0.0, max_detections=10)
    network = build(declaration).eval()
    with torch.device("meta"):
        other = build(declaration).eval()
    for part in network.following:
        other.get_submodule(part).load_state_dict(network.get_submodule(part).state_dict(), assign=True)
    images = torch.rand(2, 3, 70, 97)
    with torch.inference_mode():
        rows = network(images)
        found = other.finish(network.dense(images), (70, 97))
    assert rows[:, :, 4].count_nonzero() > 4
    torch.testing.assert_close(found, rows, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(
    "name",
    [
        "fasterrcnn_resnet18_fpn",
        "fasterrcnn_resnet18",
        "maskrcnn_preresnet18_fpn",
        "retinanet_resnet18_fpn",
        "fcos_resnet18_fpn",
        "yolo_resnet18",
        "locate_resnet18",
    ],
)
def test_a_declaration_goes_through_json_and_gives_the_same_network(name):
    declaration = small(name)
    assert declaration_from_dict(json.loads(json.dumps(declaration.to_dict()))) == declaration
    network = build(declaration).eval()
    used = ["stem", "layer1", "layer2", "layer3", "layer4"][: 4 if name == "fasterrcnn_resnet18" else 5]
    assert [stage.name for stage in network.stages] == used
    assert len(network.levels()) == len(used)
    assert all(network.get_submodule(layer) for layer in network.class_layers)
    with torch.no_grad():
        rows = network(torch.rand(2, 3, 64, 96))
    assert rows.shape[:2] == (2, declaration.max_detections)
    assert rows.shape[2] == (6 + 784 if "mask" in name else 6)


@pytest.mark.parametrize(
    "name", ["fasterrcnn_resnet18_fpn", "retinanet_resnet18_fpn", "fcos_resnet18_fpn", "yolo_resnet18"]
)
def test_an_empty_picture_and_one_with_a_thousand_objects(name):
    torch.manual_seed(0)
    network = build(small(name))
    nothing = objects_of(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
    corners = torch.rand(1000, 2) * 80
    many = objects_of(torch.cat((corners, corners + 1 + torch.rand(1000, 2) * 15), 1), torch.arange(1000) % 3)
    losses = network(torch.rand(2, 3, 128, 128), [nothing, many])
    assert all(torch.isfinite(loss) for loss in losses.values())
    sum(losses.values()).backward()
    nothing_at_all = network(torch.rand(2, 3, 128, 128), [nothing, nothing])
    assert all(torch.isfinite(loss) for loss in nothing_at_all.values())


@pytest.mark.parametrize("name", ["fasterrcnn_resnet18_fpn", "retinanet_resnet18_fpn", "fcos_resnet18_fpn"])
def test_places_are_not_rounded_in_bfloat16(name):
    """Beyond 128 bfloat16 has whole pixels alone, and an object less than one wide would have no width."""
    torch.manual_seed(0)
    network = build(small(name, score_threshold=0.0))
    narrow = objects_of(torch.tensor([[200.6, 150.0, 201.4, 199.5]]), torch.tensor([1]))
    images = torch.rand(1, 3, 256, 256)
    with torch.autocast("cpu", torch.bfloat16):
        losses = network(images, [narrow])
        assert all(torch.isfinite(loss) for loss in losses.values())
        boxes = network.eval()(images)[0, :, :4]
    inside = boxes[((boxes > 128) & (boxes < 255)).all(1)]
    assert len(inside)
    assert (inside != inside.round()).any()


def test_yolo_reaches_as_far_in_bfloat16():
    distances = torch.randn(1, 3, 4, 16, generator=torch.Generator().manual_seed(0))
    outputs = Outputs(torch.zeros(1, 3, 2), distances, torch.zeros(3, 2), torch.ones(3))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(outputs.reach(), (distances.softmax(3) * torch.arange(16)).sum(3))


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("fasterrcnn_vgg11_bn_fpn", {"widths": (8, 8, 16, 16, 16)}),
        ("fasterrcnn_vgg11_bn", {"widths": (8, 8, 16, 16, 16)}),
        ("fasterrcnn_iresnet18_fpn", SMALL),
        ("fasterrcnn_preresnet18", SMALL),
        ("fasterrcnn_densenet121", {"depths": (1, 1, 1, 1)}),
        ("fasterrcnn_efficientnet_b0", {}),
    ],
)
def test_any_backbone_of_the_catalogue_will_do(name, changes):
    declaration = architecture(name)
    backbone = replace(declaration.backbone, **changes)
    pyramid = {"pyramid": 16} if declaration.pyramid else {}
    network = build(replace(declaration, backbone=backbone, num_classes=2, **pyramid))
    assert network.backbone.strides in ((4, 8, 16, 32, 64), (4, 8, 16, 32), (16,))
    assert not any("classifier" in name for name in network.state_dict())  # nothing that is never used
    with torch.autocast("cpu", dtype=torch.bfloat16):
        boxes = [objects_of(torch.tensor([[2.0, 2.0, 40.0, 50.0]]), torch.tensor([1]))] * 2
        losses = network(torch.rand(2, 3, 64, 64), boxes)
    sum(losses.values()).backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("retinanet_resnet18", "did you mean retinanet_resnet18_fpn"),
        ("yolo_resnet19", "there is no network named 'resnet19'"),
        ("ssd_resnet18", "there is no network named"),
    ],
)
def test_names_that_are_none(name, message):
    with pytest.raises(ValueError, match=message):
        architecture(name)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"anchor_size": 4.0}, "yolo has no anchor_size; leave it out"),
        ({"proposals": 64}, "yolo has no proposals"),
        ({"pyramid": 0}, "perhaps with fasterrcnn, not 0 with yolo"),
        ({"nms_threshold": 1.5}, "from 0 to 1"),
        ({"max_detections": 0}, "max_detections must be a whole number of at least 1"),
        ({"num_classes": 2.5}, "num_classes must be a whole number"),
        ({"pyramid": 1.5}, "pyramid must be a whole number"),
    ],
)
def test_options_that_would_do_nothing(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(architecture("yolo_resnet18"), **changes)


@pytest.mark.parametrize("name", ["fasterrcnn_resnet18", "fasterrcnn_vgg16_bn", "fasterrcnn_densenet121"])
def test_a_detector_has_only_the_stages_that_it_uses(name):
    network = build(architecture(name)).eval()
    with torch.no_grad():
        maps = network.features(torch.zeros(1, 3, 64, 64))
    assert list(maps) == [stage.name for stage in network.stages]
    for stage in network.stages:
        assert maps[stage.name].shape == (1, stage.channels, 64 // stage.stride, 64 // stage.stride)
    assert network.stages[-1].stride == 16
    with pytest.raises(ValueError, match="there is no stage"):
        network.features(torch.zeros(1, 3, 64, 64), ("layer5",))


def test_sizes_of_maps_can_be_asked_for_while_the_network_computes():
    network = build(small("yolo_resnet18")).eval()
    images = torch.zeros(1, 3, 64, 64)
    backbone, failures = network.backbone, []

    def ask() -> None:
        for side in range(64, 1024, 32):
            backbone.grids((side, side))

    asking = Thread(target=ask)
    asking.start()
    with torch.no_grad():
        while asking.is_alive():
            try:
                network.dense(images)
            except RuntimeError as error:
                failures.append(error)
    asking.join()
    assert not failures


def test_fcos_needs_whole_groups():
    with pytest.raises(ValueError, match="a multiple of that, not 48"):
        replace(architecture("fcos_resnet18_fpn"), pyramid=48)


def test_a_network_without_the_strides_is_refused():
    with pytest.raises(ValueError, match="needs stages of strides 8 to 32; the network has stem 1, layer1 1"):
        build(architecture("yolo_resnet20"))
