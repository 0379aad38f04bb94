"""Detectors: a network of the catalogue with a pyramid and a head that finds objects.

| method | what it is | source |
|---|---|---|
| fasterrcnn | proposals from anchors, then a class and a box for each | arXiv:1506.01497 |
| maskrcnn | the same, and a mask for each | arXiv:1703.06870 |
| retinanet | one stage, anchors, focal loss | arXiv:1708.02002 |
| fcos | one stage, no anchors, centre-ness | arXiv:1904.01355 |
| yolo | one stage, no anchors, task-aligned assignment | `heads/yolo.py` |
| locate | one class and one box for each picture | `heads/localiser.py` |

The first four are torchvision's own parts, under its names of parameters: its weights fit key for key.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.detection import FCOS, FasterRCNN, MaskRCNN, RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import MultiScaleRoIAlign

from resnets.heads.box_coders import decode_in_float32
from resnets.heads.localiser import ANSWERS, Localiser
from resnets.heads.pyramid import Backbone
from resnets.heads.two_parts import Found, OneStage, TwoStages, padded
from resnets.heads.yolo import LAST, Yolo
from resnets.networks.declaration import Declaration
from resnets.types import Exact, Objects, Stage, exact

Method = Literal["fasterrcnn", "maskrcnn", "retinanet", "fcos", "yolo", "locate"]

BACKGROUND = 1
"""torchvision's detectors count classes from 1; their first is what is no object."""

MASK = 28
"""The side of the map that tells an object's mask within its box (arXiv:1703.06870, figure 4)."""

BOX_FIELDS = 6
"""Of a detection: left, top, right, bottom, score, class. A score of 0 stands where there is none."""


@dataclass(frozen=True, kw_only=True)
class DetectorArchitecture(Declaration):
    """A detector, described in full.

    Attributes:
        num_classes: classes of objects, the background not counted.
        in_channels: channels of the pictures.
        source: where the method was published.
        method: how objects are found.
        backbone: the declaration of the network that it stands on.
        pyramid: channels of the feature pyramid; 0 for none, which Faster R-CNN can do without, and `locate` must.
        anchor_size: side of the anchors, in strides of their map, where the method has some. RetinaNet has three a
            map, from half of it up to 0.8 of it; on the one map without a pyramid are a quarter, half, once and twice.
        proposals: of a picture that Faster and Mask R-CNN learn from at a time.
        score_threshold: boxes below it are not told.
        nms_threshold: of two boxes of one class that overlap by more (IoU), the less probable one is not told.
        max_detections: boxes of a picture at most.

    Raises:
        ValueError: for a value out of range, and for options that contradict each other.
    """

    family: ClassVar[str] = "detector"

    method: Method
    backbone: Declaration
    num_classes: int = 80
    pyramid: int = 256
    anchor_size: float = 8.0
    proposals: int = 512
    score_threshold: float = 0.05
    nms_threshold: float = 0.5
    max_detections: int = 100

    def __post_init__(self) -> None:
        if self.method not in get_args(Method):
            raise ValueError(f"method must be one of {', '.join(get_args(Method))}, not {self.method!r}")
        self.check_whole("num_classes", "proposals", "max_detections")
        self.check_whole("pyramid", least=0)
        without = {"fasterrcnn": True, "locate": True}.get(self.method, False)
        if (self.pyramid == 0 and not without) or (self.pyramid and self.method == "locate"):
            raise ValueError(
                "pyramid must be a number of channels, 0 with locate and perhaps with fasterrcnn, "
                f"not {self.pyramid} with {self.method}"
            )
        if self.method == "fcos" and self.pyramid % 32:
            raise ValueError(f"fcos normalises in 32 groups, so its pyramid is a multiple of that, not {self.pyramid}")
        used = {"fcos": (), "yolo": (), "locate": (), "retinanet": ("anchor_size",)}.get(
            self.method, ("anchor_size", "proposals")
        )
        defaults = {field.name: field.default for field in fields(self)}
        others = [name for name in ("anchor_size", "proposals") if name not in used]
        if idle := [name for name in others if getattr(self, name) != defaults[name]]:
            raise ValueError(f"{self.method} has no {' and no '.join(idle)}; leave it out")
        if self.anchor_size <= 0:
            raise ValueError(f"anchor_size must be above 0, not {self.anchor_size}")
        for name in ("score_threshold", "nms_threshold"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be from 0 to 1, not {getattr(self, name)}")

    @property
    def layers(self) -> int:
        """Layers with weights of the backbone, its classifier not counted."""
        return self.backbone.layers - (self.backbone.num_classes > 0)

    def to_dict(self) -> dict[str, Any]:
        """`family` and every field, in JSON's types; the backbone as its own `to_dict` has it."""
        own = {name: value for name, value in asdict(self).items() if name != "backbone"}
        return {"family": self.family, **own, "backbone": self.backbone.to_dict()}


METHODS: dict[Method, str] = {
    "fasterrcnn": "arXiv:1506.01497",
    "maskrcnn": "arXiv:1703.06870",
    "retinanet": "arXiv:1708.02002",
    "fcos": "arXiv:1904.01355",
    "yolo": "arXiv:2108.07755",
    "locate": "arXiv:1409.0575",
}
"""Where each method was published; of `yolo`, its assignment, of `locate`, the task."""


def detector_architecture(method: Method, backbone: Declaration, pyramid: bool) -> DetectorArchitecture:
    """The declaration of a method's usual detector on a backbone, with a pyramid or without.

    Raises:
        ValueError: if the method is not without a pyramid.
    """
    chosen: dict[str, Any] = {
        "fcos": {"nms_threshold": 0.6},
        "locate": {"max_detections": ANSWERS, "score_threshold": 0.0, "nms_threshold": 1.0},
        "yolo": {"pyramid": 128, "score_threshold": 0.01, "nms_threshold": 0.6},
    }.get(method, {})
    options = {"source": METHODS[method], **chosen} | ({} if pyramid else {"pyramid": 0})
    return DetectorArchitecture(method=method, backbone=replace(backbone, num_classes=0), **options)


class AsPrepared(nn.Module):
    """In the place of torchvision's transform, which would resize and normalise what is so already."""

    def forward(self, images: Tensor, targets: Any = None) -> tuple[ImageList, Any]:
        """The batch as torchvision's parts take it, padded as they need it."""
        return ImageList(padded(images), [(images.shape[2], images.shape[3])] * len(images)), targets

    def postprocess(self, found: Any, *_: Any) -> Any:
        """Boxes stay those of the input."""
        return found


class Detector(nn.Module):
    """What all detectors share; a class of each method inherits it before that of torchvision.

    Attributes:
        architecture: the declaration it was built from.
        class_layers: names of the layers whose size depends on the number of classes.
        following: names of the modules that `finish` needs the weights of.
        dense: the part that is a graph, images (N, C, H, W) to tensors by their names; see `heads.two_parts`.
        found: the part that follows.
    """

    architecture: DetectorArchitecture
    backbone: Backbone
    class_layers: tuple[str, ...] = ()
    first_label = BACKGROUND
    following: ClassVar[tuple[str, ...]]
    dense: Callable[[Tensor], dict[str, Tensor]]
    found: Callable[[Mapping[str, Tensor], tuple[int, int]], Found]

    @property
    def stages(self) -> Sequence[Stage]:
        """The backbone's, as far as they are used."""
        return self.backbone.stages

    @property
    def logits_layer(self) -> str:
        """The name of the layer that gives the logits."""
        return self.class_layers[0]

    def levels(self) -> Sequence[Sequence[nn.Module]]:
        """The backbone's: for each of `stages`, the modules that lead to its map."""
        return self.backbone.body.levels()[: len(self.stages)]

    def features(self, x: Tensor, stages: Iterable[str] | None = None) -> dict[str, Tensor]:
        """The backbone's maps of the stages named, of all unless given.

        Raises:
            ValueError: for a stage that is none, or that the detector has no use for.
        """
        names = [stage.name for stage in self.stages]
        wanted = names if stages is None else list(stages)
        if unknown := set(wanted).difference(names):
            raise ValueError(f"there is no stage {', '.join(sorted(unknown))}; there are {', '.join(names)}")
        return self.backbone.body.features(x, wanted)

    def forward(self, images: Tensor, targets: Exact[Sequence[Objects]] | Sequence[Objects] | None = None) -> Any:
        """In training the losses by name, otherwise the detections, (N, D, 6), or (N, D, 6 + 784) with masks.

        A row holds left, top, right and bottom in the input's pixels, the score, and the class; then, of Mask R-CNN,
        how likely each of 28 x 28 cells of the box belongs to the object. D is `max_detections`; a picture's rows go
        from the surest down, and end in rows of zeros.

        Args:
            images: (N, C, H, W), normalised.
            targets: the objects of each picture, on any device; needed in training.
        """
        told = None if targets is None else [self.told(objects, images.device) for objects in exact(targets)]
        found = super().forward(images, told)
        return found if self.training else torch.stack([self._rows(each) for each in found])

    def told(self, objects: Objects, device: torch.device) -> dict[str, Tensor]:
        """What the method learns of a picture's objects: `boxes` (M, 4) and `labels` (M,), counted as it counts."""
        return {
            "boxes": objects.boxes.to(device, non_blocking=True),
            "labels": objects.labels.to(device, non_blocking=True) + self.first_label,
        }

    def finish(self, dense: Mapping[str, Tensor], size: tuple[int, int]) -> Tensor:
        """What `forward` gives for inputs of `size` (height, width) of which `dense` gave this."""
        return torch.stack([self._rows(each) for each in self.found(dense, size)])

    def _rows(self, found: Mapping[str, Tensor]) -> Tensor:
        order = found["scores"].argsort(descending=True, stable=True)[: self.architecture.max_detections]
        labels = found["labels"] - self.first_label
        parts = [found["boxes"], found["scores"][:, None], labels[:, None]]
        if "masks" in found:
            parts.append(found["masks"].flatten(1))
        rows = torch.cat([part.float() for part in parts], 1)[order]
        return F.pad(rows, (0, 0, 0, self.architecture.max_detections - len(rows)))


class _FasterRCNN(TwoStages, Detector, FasterRCNN):
    class_layers = ("roi_heads.box_predictor.cls_score", "roi_heads.box_predictor.bbox_pred")


class _MaskRCNN(TwoStages, Detector, MaskRCNN):
    class_layers = (*_FasterRCNN.class_layers, "roi_heads.mask_predictor.mask_fcn_logits")

    def told(self, objects: Objects, device: torch.device) -> dict[str, Tensor]:
        """Of the objects that have an outline `masks` (M, H, W), too; of others it could only learn wrong ones."""
        outlined = objects.subset(objects.outlined)
        return super().told(outlined, device) | {"masks": outlined.masks().to(device, non_blocking=True)}


class _RetinaNet(OneStage, Detector, RetinaNet):
    class_layers = ("head.classification_head.cls_logits",)


class _FCOS(OneStage, Detector, FCOS):
    class_layers = ("head.classification_head.cls_logits",)


class _Yolo(Detector, Yolo):  # type: ignore[misc]  # whose targets `told` makes
    first_label = 0

    @property
    def class_layers(self) -> tuple[str, ...]:  # type: ignore[override]
        return tuple(f"head.classes.{number}.{LAST}" for number in range(len(self.head.classes)))


class _Localiser(Detector, Localiser):  # type: ignore[misc]  # the same
    class_layers = ("classes",)
    first_label = 0


def build_detector(a: DetectorArchitecture, body: Any) -> Detector:
    """The detector that a declaration describes, on a network that was built from its backbone's declaration."""
    detector = _two_stages(a, body) if a.method in ("fasterrcnn", "maskrcnn") else _one_stage(a, body)
    if hasattr(detector, "transform"):
        detector.transform = AsPrepared()
    decode_in_float32(detector)
    detector.architecture = a
    return detector


def _two_stages(a: DetectorArchitecture, body: Any) -> Detector:
    backbone = Backbone(body, 4, 32, a.pyramid, "pool") if a.pyramid else Backbone(body, 16, 16, 0)
    sizes: tuple[tuple[float, ...], ...] = tuple((a.anchor_size * stride,) for stride in backbone.strides)
    if not a.pyramid:
        sizes = (tuple(a.anchor_size * stride / 4 * 2**step for stride in backbone.strides for step in range(4)),)
    levels = [str(number) for number in range(len(backbone.chosen))]
    options: dict[str, Any] = {
        "rpn_anchor_generator": AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * len(sizes)),
        "box_roi_pool": MultiScaleRoIAlign(levels, output_size=7, sampling_ratio=2),
        "box_batch_size_per_image": a.proposals,
        "box_score_thresh": a.score_threshold,
        "box_nms_thresh": a.nms_threshold,
        "box_detections_per_img": a.max_detections,
    }
    if a.method == "maskrcnn":
        options["mask_roi_pool"] = MultiScaleRoIAlign(levels, output_size=MASK // 2, sampling_ratio=2)
    kind = _MaskRCNN if a.method == "maskrcnn" else _FasterRCNN
    return kind(backbone, a.num_classes + BACKGROUND, **options)


def _one_stage(a: DetectorArchitecture, body: Any) -> Detector:
    if a.method == "locate":
        return _Localiser(Backbone(body, 1, 32, 0), a.num_classes)
    if a.method == "yolo":
        backbone = Backbone(body, 8, 32, a.pyramid)
        return _Yolo(backbone, a.num_classes, a.score_threshold, a.nms_threshold, a.max_detections)
    backbone = Backbone(body, 8, 32, a.pyramid, "convolutions")
    if a.method == "fcos":
        sizes: tuple[tuple[int, ...], ...] = tuple((stride,) for stride in backbone.strides)
        anchors, kind = AnchorGenerator(sizes, ((1.0,),) * len(sizes)), _FCOS
    else:
        smallest = [a.anchor_size * stride / 2 for stride in backbone.strides]
        sizes = tuple((int(side), int(side * 2 ** (1 / 3)), int(side * 2 ** (2 / 3))) for side in smallest)
        anchors, kind = AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * len(sizes)), _RetinaNet
    return kind(
        backbone,
        a.num_classes + BACKGROUND,
        anchor_generator=anchors,
        score_thresh=a.score_threshold,
        nms_thresh=a.nms_threshold,
        detections_per_img=a.max_detections,
    )
