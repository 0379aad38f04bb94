"""torchvision's detectors in two parts: what is dense, which is a graph for any engine, and what follows it.

The backbone, the pyramid and the convolutions of the heads give tensors of known shapes: they are `dense`. How many
boxes there are depends on the picture, so anchors, thresholds and non-maximum suppression follow in PyTorch, and of
Faster and Mask R-CNN the second stage, too. Both parts together give what the detector gives.

Legend: N pictures, A anchors of all maps, K classes with the background.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.rpn import concat_box_prediction_layers

from resnets.heads.pyramid import Backbone

Found = list[dict[str, Tensor]]
"""Of each picture `boxes`, `scores` and `labels`, and perhaps `masks`, as torchvision's detectors give them."""


STRIDE = 32
"""Sides of images become multiples of it, as anchors are laid out by how many pixels of them a map's pixel has."""


class OneStage:
    """RetinaNet and FCOS; a class inherits it beside one of them."""

    following: ClassVar[tuple[str, ...]] = ()
    backbone: Backbone
    head: Any
    anchor_generator: Any
    postprocess_detections: Any

    def dense(self, images: Tensor) -> dict[str, Tensor]:
        """`cls_logits` (N, A, K), `bbox_regression` (N, A, 4) and of FCOS `bbox_ctrness` (N, A, 1)."""
        outputs: dict[str, Tensor] = self.head(list(self.backbone.maps(padded(images)).values()))
        return outputs

    def found(self, dense: Mapping[str, Tensor], size: tuple[int, int]) -> Found:
        """What the detector finds in inputs of `size` of which `dense` gave this."""
        count, grids = len(dense["cls_logits"]), self.backbone.grids(padded_size(size))
        anchors = self.anchor_generator(*_like(grids, size, count))
        own = self.anchor_generator.num_anchors_per_location()
        levels = [height * width * each for (height, width), each in zip(grids, own, strict=True)]
        outputs = {name: list(values.split(levels, 1)) for name, values in dense.items()}
        found: Found = self.postprocess_detections(
            outputs, [list(each.split(levels)) for each in anchors], [size] * count
        )
        return found


class TwoStages:
    """Faster and Mask R-CNN; a class inherits it beside one of them."""

    following: ClassVar[tuple[str, ...]] = ("roi_heads",)
    backbone: Backbone
    rpn: Any
    roi_heads: Any

    def dense(self, images: Tensor) -> dict[str, Tensor]:
        """The backbone's maps by their names, `objectness` (N, A) and `deltas` (N, A, 4)."""
        maps = self.backbone.maps(padded(images))
        objectness, deltas = concat_box_prediction_layers(*self.rpn.head(list(maps.values())))
        count = images.shape[0]  # which a graph leaves open, other than len()
        return {**maps, "objectness": objectness.reshape(count, -1), "deltas": deltas.reshape(count, -1, 4)}

    def found(self, dense: Mapping[str, Tensor], size: tuple[int, int]) -> Found:
        """What the detector finds in inputs of `size` of which `dense` gave this."""
        count, grids = len(dense["objectness"]), self.backbone.grids(padded_size(size))
        maps = OrderedDict((name, values) for name, values in dense.items() if name not in ("objectness", "deltas"))
        anchors = self.rpn.anchor_generator(*_like(grids, size, count))
        own = self.rpn.anchor_generator.num_anchors_per_location()
        levels = [height * width * each for (height, width), each in zip(grids, own, strict=True)]
        boxes = self.rpn.box_coder.decode(dense["deltas"].flatten(0, 1), anchors).view(count, -1, 4)
        proposals, _ = self.rpn.filter_proposals(boxes, dense["objectness"], [size] * count, levels)
        found: Found
        found, _ = self.roi_heads(maps, proposals, [size] * count)
        return found


def _like(grids: tuple[tuple[int, int], ...], size: tuple[int, int], count: int) -> tuple[ImageList, list[Tensor]]:
    """Pictures and maps without channels, of which torchvision's anchors read the sizes."""
    images = torch.empty(count, 0, *padded_size(size))
    return ImageList(images, [size] * count), [torch.empty(count, 0, *grid) for grid in grids]


def padded_size(size: tuple[int, int]) -> tuple[int, int]:
    """Height and width of what `padded` makes of images of a size."""
    return -(-size[0] // STRIDE) * STRIDE, -(-size[1] // STRIDE) * STRIDE


def padded(images: Tensor) -> Tensor:
    """Images (N, C, H, W) with zeros, the mean colour, to the right and below, as torchvision pads them."""
    height, width = padded_size((images.shape[2], images.shape[3]))
    if (height, width) == tuple(images.shape[2:]):
        return images
    return F.pad(images, (0, width - images.shape[3], 0, height - images.shape[2]))
