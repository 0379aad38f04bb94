"""A one-stage detector without anchors, in the manner of YOLO: at each point of each map, classes and a box.

Each point tells how likely each class is there, and how far the box reaches to its left, top, right and bottom: each
distance as a distribution over 0 to 15 strides (arXiv:2006.04388), of which the mean is taken. In training, points
are assigned to objects by how well they already tell class and place together (task-aligned, arXiv:2108.07755); the
boxes learn by CIoU (arXiv:1911.08287) and by their distributions, the classes by cross-entropy with that alignment.

Legend: N pictures, A points of all maps, K classes, M objects of a picture, B bins of a distance.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import batched_nms, box_iou, complete_box_iou_loss

from resnets.heads.pyramid import Backbone
from resnets.layers.convolution import convolution

BINS = 16
PRIOR = 0.01
"""How likely a class is at a point before training (arXiv:1708.02002, section 3.3)."""

SCORE_POWER, IOU_POWER, ASSIGNED = 0.5, 6.0, 10
"""alpha and beta of the alignment, and the points of an object (arXiv:2108.07755, section 3.2), as YOLOv8 has them."""

BOX_WEIGHT, CLASS_WEIGHT, DISTRIBUTION_WEIGHT = 7.5, 0.5, 1.5
"""The shares of the three losses, as in YOLOv8 (https://docs.ultralytics.com/usage/cfg, `box`, `cls` and `dfl`)."""

LAST = 6
"""The position of the convolution that gives a branch's outputs."""

CANDIDATES = 1000
"""Boxes of a picture that are left for non-maximum suppression, the most probable."""


@dataclass(frozen=True)
class Outputs:
    """What the head says of a batch.

    Attributes:
        logits: (N, A, K) of the classes, independent of each other.
        distances: (N, A, 4, B) logits of the distances to left, top, right and bottom, in strides.
        points: (A, 2) x and y in the input's pixels.
        strides: (A,) of the map that each point is on.
    """

    logits: Tensor
    distances: Tensor
    points: Tensor
    strides: Tensor

    def reach(self) -> Tensor:
        """(N, A, 4) how far boxes reach to left, top, right and bottom of their points, in strides."""
        bins = torch.arange(BINS, device=self.distances.device, dtype=torch.float32)
        return (self.distances.softmax(3) * bins).sum(3)  # no product of matrices, which autocast would round

    def boxes(self) -> Tensor:
        """(N, A, 4) left, top, right, bottom."""
        return boxes_about(self.points, self.reach() * self.strides[:, None])


class Head(nn.Module):
    """Two branches on each map: two 3x3 convolutions, then the classes; two more, then the distances.

    Args:
        channels: of the maps.
        strides: of the maps, finest first.
        num_classes: K.
    """

    def __init__(self, channels: int, strides: Sequence[int], num_classes: int) -> None:
        super().__init__()
        self.strides = tuple(strides)
        prior = math.log(PRIOR / (1 - PRIOR))
        self.classes = nn.ModuleList(branch(channels, num_classes, prior) for _ in strides)
        self.distances = nn.ModuleList(branch(channels, 4 * BINS, 0.0) for _ in strides)

    def forward(self, maps: Sequence[Tensor]) -> Outputs:
        """What the maps (N, channels, H / stride, W / stride) say."""
        logits, distances = [], []
        for features, classes, reach in zip(maps, self.classes, self.distances, strict=True):
            logits.append(classes(features).flatten(2).transpose(1, 2))  # (N, points, K)
            distances.append(reach(features).flatten(2).transpose(1, 2).unflatten(2, (4, BINS)))
        points, strides = grid_points([features.shape[2:] for features in maps], self.strides, maps[0].device)
        return Outputs(torch.cat(logits, 1).float(), torch.cat(distances, 1).float(), points, strides)


def grid_points(
    grids: Sequence[Sequence[int]], strides: Sequence[int], device: torch.device | None = None
) -> tuple[Tensor, Tensor]:
    """x and y (A, 2) of the points of maps of these heights and widths, in the input's pixels, and their strides (A,).

    Row by row and map by map, as the maps are flattened.
    """
    points, steps = [], []
    for grid, stride in zip(grids, strides, strict=True):
        y, x = (stride * (torch.arange(side, device=device) + 0.5) for side in grid)
        points.append(torch.cartesian_prod(y, x).flip(1))
        steps.append(torch.full((len(points[-1]),), float(stride), device=device))
    return torch.cat(points), torch.cat(steps)


def boxes_about(points: Tensor, reach: Tensor) -> Tensor:
    """(N, A, 4) boxes that reach so far (N, A, 4) to left, top, right and bottom of points (A, 2)."""
    return torch.cat((points - reach[..., :2], points + reach[..., 2:]), 2)


def branch(channels: int, outputs: int, bias: float) -> nn.Sequential:
    """Two 3x3 convolutions with batch norm and SiLU, and a 1x1 convolution that begins near its bias."""
    layers: list[nn.Module] = []
    for _ in range(2):
        layers += [convolution(channels, channels, 3), nn.BatchNorm2d(channels), nn.SiLU(inplace=True)]
    last = nn.Conv2d(channels, outputs, 1)
    nn.init.normal_(last.weight, std=0.01)
    nn.init.constant_(last.bias, bias)  # type: ignore[arg-type]
    return nn.Sequential(*layers, last)


class Yolo(nn.Module):
    """Backbone, pyramid and head: the interface of torchvision's detectors, and the two parts of `heads.two_parts`.

    Args:
        backbone: whose maps the head reads.
        num_classes: K.
        score_threshold: boxes below it are left out.
        nms_threshold: of two boxes of one class that overlap by more (IoU), the less probable one is left out.
        max_detections: boxes of a picture at most.
    """

    following: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self, backbone: Backbone, num_classes: int, score_threshold: float, nms_threshold: float, max_detections: int
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = Head(backbone.out_channels, backbone.strides, num_classes)
        self.score_threshold = score_threshold
        self.nms_threshold = nms_threshold
        self.max_detections = max_detections

    def forward(
        self, images: Tensor, targets: Sequence[Mapping[str, Tensor]] | None = None
    ) -> dict[str, Tensor] | list[dict[str, Tensor]]:
        """In training the losses, otherwise `boxes`, `scores` and `labels` of each picture, the surest first.

        Args:
            images: (N, C, H, W).
            targets: of each picture `boxes` (M, 4) and `labels` (M,); needed in training.
        """
        outputs = self.head(list(self.backbone(images).values()))
        if self.training:
            if targets is None:
                raise ValueError("a detector needs targets in training")
            with torch.autocast(images.device.type, enabled=False):
                return losses(outputs, targets)
        return self.detections(outputs.logits, outputs.boxes(), images.shape[-2:])

    def dense(self, images: Tensor) -> dict[str, Tensor]:
        """`logits` (N, A, K) and `reach` (N, A, 4), in strides."""
        outputs = self.head(list(self.backbone.maps(images).values()))
        return {"logits": outputs.logits, "reach": outputs.reach()}

    def found(self, dense: Mapping[str, Tensor], size: tuple[int, int]) -> list[dict[str, Tensor]]:
        """What the detector finds in inputs of `size` of which `dense` gave this."""
        points, strides = grid_points(self.backbone.grids(size), self.head.strides)
        return self.detections(dense["logits"], boxes_about(points, dense["reach"] * strides[:, None]), size)

    def detections(self, logits: Tensor, every: Tensor, size: Sequence[int]) -> list[dict[str, Tensor]]:
        """The boxes of each picture that are sure enough and no other's double, inside an input of `size`.

        Args:
            logits: (N, A, K).
            every: (N, A, 4), all boxes.
            size: height and width.
        """
        found = []
        edges = torch.tensor([size[1], size[0]] * 2, device=every.device)
        for scores, boxes in zip(logits.sigmoid(), every, strict=True):
            values, order = scores.flatten().topk(min(CANDIDATES, scores.numel()))
            sure = values > self.score_threshold
            values, order = values[sure], order[sure]
            points, labels = order // scores.shape[1], order % scores.shape[1]
            inside = boxes[points].clamp(min=0).minimum(edges)
            kept = batched_nms(inside, values, labels, self.nms_threshold)[: self.max_detections]
            found.append({"boxes": inside[kept], "scores": values[kept], "labels": labels[kept]})
        return found


def losses(outputs: Outputs, targets: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The three losses of a batch, ready to be added.

    Those of the boxes are means over the points that have an object, that of the classes is divided by the sum of their
    aims. Every point learns its box alike: weighed by its aim, as in the paper, the one that is best by chance would
    learn and the others starve, which the paper's first epochs avoid by another assignment.
    """
    boxes = outputs.boxes()
    aims = torch.zeros_like(outputs.logits)  # (N, A, K)
    box_loss = distribution_loss = outputs.distances.sum() * 0  # connected to all weights even without objects
    assigned = 0
    for picture, target in enumerate(targets):
        points, objects, alignment = assign(
            outputs.logits[picture].detach().sigmoid(), boxes[picture].detach(), outputs.points, outputs.strides, target
        )
        assigned += len(points)
        aims[picture, points, target["labels"][objects]] = alignment
        true, found = target["boxes"][objects], boxes[picture, points]
        box_loss = box_loss + complete_box_iou_loss(found, true).sum()
        centre, stride = outputs.points[points], outputs.strides[points, None]
        reach = torch.cat((centre - true[:, :2], true[:, 2:] - centre), 1) / stride  # (assigned, 4)
        distribution_loss = (
            distribution_loss + distribution_cross_entropy(outputs.distances[picture, points], reach).mean(1).sum()
        )
    class_loss = F.binary_cross_entropy_with_logits(outputs.logits, aims, reduction="sum")
    return {
        "box": BOX_WEIGHT * box_loss / max(assigned, 1),
        "class": CLASS_WEIGHT * class_loss / aims.sum().clamp(min=1),
        "distribution": DISTRIBUTION_WEIGHT * distribution_loss / max(assigned, 1),
    }


def assign(
    scores: Tensor, boxes: Tensor, points: Tensor, strides: Tensor, target: Mapping[str, Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    """Which points of one picture learn which object, and how strongly (arXiv:2108.07755, section 3.2).

    Points inside an object, or within half a stride of the centre of a small one, are ranked by score^alpha IoU^beta,
    and the first 10 are its own; a point of two objects goes to the one that its box covers better.

    Args:
        scores: (A, K), 0 to 1.
        boxes: (A, 4) as found so far.
        points, strides: (A, 2) and (A,).
        target: `boxes` (M, 4) and `labels` (M,).

    Returns:
        Positions of points, the object of each, and its aim from 0 to 1: the alignment, scaled so that the best
        point of an object has the largest IoU among its points.
    """
    true, labels = target["boxes"], target["labels"]
    if not len(true):
        nothing = labels.new_zeros(0)
        return nothing, nothing, scores.new_zeros(0)
    centre, half = (true[:, None, :2] + true[:, None, 2:]) / 2, (true[:, None, 2:] - true[:, None, :2]) / 2
    near = ((points - centre).abs() <= half.maximum(strides[:, None] / 2)).all(2)  # (M, A)
    iou = box_iou(true, boxes)
    alignment = torch.where(near, scores[:, labels].T ** SCORE_POWER * iou**IOU_POWER, -1.0)
    best = alignment.topk(min(ASSIGNED, len(points)), 1).indices
    own = torch.zeros_like(near).scatter_(1, best, True) & near
    own &= own & (iou == torch.where(own, iou, -1.0).amax(0))  # of two objects, the better covered
    own &= own.cumsum(0) == 1  # of two that are covered alike, the first
    alignment, iou = torch.where(own, alignment, 0.0), torch.where(own, iou, 0.0)
    aims = alignment / alignment.amax(1, keepdim=True).clamp(min=1e-30) * iou.amax(1, keepdim=True)
    objects, chosen = own.nonzero(as_tuple=True)
    return chosen, objects, aims[objects, chosen]


def distribution_cross_entropy(logits: Tensor, values: Tensor) -> Tensor:
    """Cross-entropy of distributions (..., B) that should have all weight on the two bins beside values (...).

    Distribution focal loss (arXiv:2006.04388, equation 6); values end at the last bin.
    """
    values = values.clamp(0, BINS - 1 - 1e-3)
    lower = values.floor()
    share = values - lower  # of the upper bin
    logs = logits.log_softmax(-1)
    below = logs.gather(-1, lower.long()[..., None])[..., 0]
    above = logs.gather(-1, lower.long()[..., None] + 1)[..., 0]
    return -(below * (1 - share) + above * share)
