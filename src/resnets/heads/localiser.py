"""Localisation: one class and one box for each picture, as ILSVRC asks (arXiv:1409.0575, section 4.2).

images (N, C, H, W) -> backbone -> mean over the map -> classes -> logits (N, K)
                                -> averaged to 7x7   -> box    -> centre and sides, as shares of the input's
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import box_convert, complete_box_iou_loss

from resnets.heads.pyramid import Backbone

POOLED = 7
"""The side of the map that the box is read from."""

ANSWERS = 5
"""Classes that are told of a picture, all with the one box."""

BOX_WEIGHT = 2.0


class Localiser(nn.Module):
    """A network with the interface of torchvision's detectors, and the two parts of `heads.two_parts`.

    Args:
        backbone: without a pyramid.
        num_classes: K.
    """

    following: ClassVar[tuple[str, ...]] = ()

    def __init__(self, backbone: Backbone, num_classes: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.classes = nn.Linear(backbone.out_channels, num_classes)
        self.box = nn.Linear(backbone.out_channels * POOLED**2, 4)

    def forward(
        self, images: Tensor, targets: Sequence[Mapping[str, Tensor]] | None = None
    ) -> dict[str, Tensor] | list[dict[str, Tensor]]:
        """In training the losses, otherwise `boxes`, `scores` and `labels` of each picture, the surest first.

        Args:
            images: (N, C, H, W).
            targets: of each picture `boxes` (M, 4) and `labels` (M,), with M of 1, or 0 where training shows too little
                of its object; needed in training.

        Raises:
            ValueError: if a picture has more than one object.
        """
        (features,) = self.backbone(images).values()
        outputs, size = self._read(features), (images.shape[2], images.shape[3])
        if not self.training:
            return self.found(outputs, size)
        if targets is None:
            raise ValueError("a localiser needs targets in training")
        return losses(outputs["logits"], boxes_of(outputs["shares"], size), targets)

    def dense(self, images: Tensor) -> dict[str, Tensor]:
        """`logits` (N, K) and `shares` (N, 4): the box's centre and sides, as shares of the input's sides."""
        (features,) = self.backbone.maps(images).values()
        return self._read(features)

    def _read(self, features: Tensor) -> dict[str, Tensor]:
        cells = F.adaptive_avg_pool2d(features, POOLED).flatten(1) / POOLED**2  # so many inputs would leap at each step
        return {
            "logits": self.classes(features.mean((2, 3))).float(),
            "shares": self.box(cells).float().sigmoid(),
        }

    def found(self, dense: Mapping[str, Tensor], size: tuple[int, int]) -> list[dict[str, Tensor]]:
        """What is found in inputs of `size` of which `dense` gave this."""
        logits, boxes = dense["logits"], boxes_of(dense["shares"], size)
        probabilities, labels = logits.softmax(1).topk(min(ANSWERS, logits.shape[1]))
        inside = boxes.clamp(min=0).minimum(torch.tensor([size[1], size[0]] * 2, device=boxes.device))
        return [
            {"boxes": box.expand(len(scores), 4), "scores": scores, "labels": numbers}
            for box, scores, numbers in zip(inside, probabilities, labels, strict=True)
        ]


def boxes_of(shares: Tensor, size: tuple[int, int]) -> Tensor:
    """(N, 4) left, top, right and bottom in inputs of `size`, from centres and sides (N, 4) as shares of its sides."""
    sides = torch.tensor([size[1], size[0]] * 2, device=shares.device)
    return box_convert(shares * sides, "cxcywh", "xyxy")


def losses(logits: Tensor, boxes: Tensor, targets: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Cross-entropy of the classes and CIoU (arXiv:1911.08287) of the boxes, means over the pictures with an object."""
    most = max(len(target["labels"]) for target in targets)
    if most > 1:
        raise ValueError(
            f"a picture has {most} objects, and localisation finds one in each; choose a detector, such as yolo"
        )
    there = torch.tensor([len(target["labels"]) == 1 for target in targets], device=logits.device)
    if not there.any():
        return {"class": logits.sum() * 0, "box": boxes.sum() * 0}
    labels = torch.cat([target["labels"] for target in targets])
    true = torch.cat([target["boxes"] for target in targets])
    return {
        "class": F.cross_entropy(logits[there], labels),
        "box": BOX_WEIGHT * complete_box_iou_loss(boxes[there], true, reduction="mean"),
    }
