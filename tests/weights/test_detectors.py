"""Detectors' weights: torchvision's files, old and new, and classifiers for their backbones."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torchvision.models import get_model_weights, resnet50
from torchvision.models.detection import (
    FasterRCNN,
    FasterRCNN_ResNet50_FPN_Weights,
    MaskRCNN_ResNet50_FPN_Weights,
)
from torchvision.models.detection._utils import overwrite_eps
from torchvision.models.detection.backbone_utils import _resnet_fpn_extractor
from torchvision.ops import FrozenBatchNorm2d

from resnets.networks.catalogue import architecture, build
from resnets.weights.loading import load_weights
from resnets.weights.models import create_model
from resnets.weights.sources import from_torchvision

SMALL = {"depths": (1, 1, 1, 1), "widths": (8, 16, 32, 64)}


def detector(name: str = "maskrcnn_resnet18_fpn", classes: int = 3, **changes: object):
    declaration = architecture(name)
    backbone = replace(declaration.backbone, **SMALL)
    return build(replace(declaration, backbone=backbone, num_classes=classes, pyramid=32, **changes))


OLD = {
    "backbone.fpn.inner_blocks.0.0.": "backbone.fpn.inner_blocks.0.",
    "backbone.fpn.layer_blocks.3.0.": "backbone.fpn.layer_blocks.3.",
    "rpn.head.conv.0.0.": "rpn.head.conv.",
    "roi_heads.mask_head.0.0.": "roi_heads.mask_head.mask_fcn1.",
    "roi_heads.mask_head.3.0.": "roi_heads.mask_head.mask_fcn4.",
    "head.classification_head.conv.2.0.": "head.classification_head.conv.4.",
    "head.regression_head.conv.3.0.": "head.regression_head.conv.6.",
}
"""Names in the files that torchvision offers, from before each convolution stood in a block of its own."""


def renamed(tensors):
    old = {}
    for name, value in tensors.items():
        for new, before in OLD.items():
            for digit in range(4):
                new_digit, old_digit = new, before
                if "blocks" in new:
                    new_digit = f"{new.split('blocks.')[0]}blocks.{digit}.0."
                    old_digit = f"{new.split('blocks.')[0]}blocks.{digit}."
                elif "mask_head" in new:
                    new_digit, old_digit = (
                        f"roi_heads.mask_head.{digit}.0.",
                        f"roi_heads.mask_head.mask_fcn{digit + 1}.",
                    )
                elif "_head.conv" in new:
                    stem = new.split("conv.")[0]
                    new_digit, old_digit = f"{stem}conv.{digit}.0.", f"{stem}conv.{2 * digit}."
                if name.startswith(new_digit):
                    name = old_digit + name.removeprefix(new_digit)
        old[name] = value
    return old


@pytest.mark.parametrize("name", ["maskrcnn_resnet18_fpn", "retinanet_resnet18_fpn"])
def test_names_of_older_files_are_understood(name):
    theirs, ours = detector(name), detector(name)
    tensors = renamed(theirs.state_dict())
    assert tensors.keys() != theirs.state_dict().keys()
    account = load_weights(ours, tensors, "old.pth")
    assert account.layout == "torchvision, before 0.14"
    assert account.complete
    for key, value in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[key], value)


def test_what_depends_on_the_classes_begins_anew_for_others():
    theirs, ours = detector(classes=5), detector(classes=3)
    account = load_weights(ours, theirs.state_dict(), "five.pth")
    assert [text.partition(":")[0] for text in account.replaced] == list(ours.class_layers)
    assert torch.equal(ours.rpn.head.cls_logits.weight, theirs.rpn.head.cls_logits.weight)
    same = detector(classes=5)
    account = load_weights(same, theirs.state_dict(), "five.pth", tuple("abcde"), tuple("vwxyz"))
    assert account.replaced  # as many, but others
    with pytest.raises(ValueError, match="another network's weights"):
        load_weights(detector("fcos_resnet18_fpn"), theirs.state_dict(), "mask.pth")


def test_a_classifiers_weights_fill_the_backbone():
    declaration = replace(architecture("resnet18"), **SMALL)
    classifier, ours = build(declaration), detector("yolo_resnet18")
    account = load_weights(ours, classifier.state_dict(), "classifier.pth")
    assert account.replaced == ("all but the backbone: begins anew",)
    assert account.left_out == ("fc.weight", "fc.bias")
    body = ours.backbone.body.state_dict()
    assert all(torch.equal(body[name], value) for name, value in classifier.state_dict().items() if name in body)
    vgg = replace(architecture("vgg11_bn"), widths=(8, 8, 16, 16, 16), hidden=8)
    found = architecture("fasterrcnn_vgg11_bn_fpn")
    backbone = replace(found.backbone, widths=vgg.widths, hidden=8)
    on_vgg = build(replace(found, backbone=backbone, num_classes=2, pyramid=16))
    assert "classifier.0.weight" in load_weights(on_vgg, build(vgg).state_dict(), "vgg.pth").left_out


@pytest.mark.parametrize("name", ["yolo_preresnet18", "retinanet_preresnet18_fpn", "fcos_preresnet18_fpn"])
def test_a_classifier_whose_own_head_is_called_as_the_detectors_fills_the_backbone(name):
    classifier, ours = build(replace(architecture("preresnet18"), **SMALL)), detector(name)
    assert "head.fc.weight" in classifier.state_dict()
    account = load_weights(ours, classifier.state_dict(), "classifier.pth")
    assert account.replaced == ("all but the backbone: begins anew",)
    assert torch.equal(ours.backbone.body.stem.conv.weight, classifier.stem.conv.weight)


@pytest.mark.parametrize("name", ["yolo_resnet18", "unet_resnet18"])
def test_a_classifier_below_the_prefix_backbone_fills_the_backbone(name):
    classifier = build(replace(architecture("resnet18"), **SMALL))
    declaration = architecture(name)
    ours = build(replace(declaration, backbone=replace(declaration.backbone, **SMALL)))
    tensors = {f"backbone.{key}": value for key, value in classifier.state_dict().items()}
    account = load_weights(ours, tensors, "classifier.pth")
    assert account.replaced == ("all but the backbone: begins anew",)
    body = ours.backbone.body if name == "yolo_resnet18" else ours.backbone
    assert torch.equal(body.conv1.weight, classifier.conv1.weight)


def test_torchvisions_detectors_come_with_their_classes_and_preprocessing(monkeypatch):
    chosen = get_model_weights("maskrcnn_resnet50_fpn").DEFAULT
    tensors = create_model("maskrcnn_resnet50_fpn", num_classes=90).state_dict()
    monkeypatch.setattr(MaskRCNN_ResNet50_FPN_Weights, "get_state_dict", lambda *_, **__: tensors)
    weights = from_torchvision("torchvision", "maskrcnn_resnet50_fpn")
    assert weights.classes == tuple(chosen.meta["categories"][1:])
    assert (weights.preprocessing.fit, weights.preprocessing.mean) == ("contain", (0.485, 0.456, 0.406))
    network = create_model("maskrcnn_resnet50_fpn", weights="torchvision")
    assert network.architecture.num_classes == 90
    assert torch.equal(network.state_dict()["rpn.head.conv.0.0.weight"], tensors["rpn.head.conv.0.0.weight"])


def test_old_weights_of_torchvision_are_of_norms_that_add_nothing_to_variances(monkeypatch):
    torch.manual_seed(0)
    body = resnet50(weights=None, norm_layer=FrozenBatchNorm2d)
    theirs = FasterRCNN(_resnet_fpn_extractor(body, 3), 91).eval()
    for name, tensor in theirs.state_dict().items():
        if name.endswith("running_var"):  # so small that it matters what is added
            tensor.uniform_(2e-5, 1e-4)
            theirs.state_dict()[name.replace("running_var", "weight")].uniform_(2e-3, 4e-3)
    stem = theirs.backbone.body
    stem.conv1.weight.data[0] = 0  # a channel that is always the same
    stem.bn1.running_var[0] = 1e-13
    overwrite_eps(theirs, 0.0)  # as torchvision does for them
    tensors = theirs.state_dict()
    monkeypatch.setattr(FasterRCNN_ResNet50_FPN_Weights, "get_state_dict", lambda *_, **__: tensors)
    network = create_model("fasterrcnn_resnet50_fpn", weights="torchvision").eval()
    images = torch.rand(1, 3, 64, 96)
    with torch.inference_mode():
        expected, found = theirs.backbone(images), network.backbone(images)
    for name, maps in expected.items():
        torch.testing.assert_close(found[name], maps, rtol=1e-3, atol=1e-4 * maps.abs().max().item())
