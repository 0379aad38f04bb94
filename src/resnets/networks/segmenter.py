"""Networks that give every pixel a class: a network of the catalogue and a decoder on it; see `heads/decoders.py`.

images (N, C, H, W) -> backbone -> maps -> classifier -> logits at a stride -> bilinear -> logits (N, K, H, W)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar, Literal, get_args

from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.segmentation.fcn import FCNHead

from resnets.heads.decoders import FCN, FINE_STRIDE, FPN, DeepLabV3, DeepLabV3Plus, UNet
from resnets.heads.pyramid import of_strides, without_what_follows
from resnets.networks.architecture import Architecture
from resnets.networks.declaration import Declaration
from resnets.types import Stage

Decoder = Literal["unet", "deeplabv3", "deeplabv3plus", "fcn", "fpn"]

DECODERS: dict[Decoder, str] = {
    "unet": "arXiv:1505.04597",
    "deeplabv3": "arXiv:1706.05587",
    "deeplabv3plus": "arXiv:1802.02611",
    "fcn": "arXiv:1411.4038",
    "fpn": "arXiv:1901.02446",
}
"""Where each decoder was published."""

OUTPUT_STRIDES: dict[Decoder, int] = {"deeplabv3": 8, "deeplabv3plus": 16, "fcn": 8}
"""Of the backbone's last map, where dilation takes the place of later strides: torchvision's, and of DeepLabV3+ its
paper's (section 3.1)."""

WIDTHS: dict[Decoder, int] = {"unet": 16, "deeplabv3": 256, "deeplabv3plus": 256, "fpn": 256}
"""Usual channels of a decoder."""

RATES = {8: (12, 24, 36), 16: (6, 12, 18)}
"""Dilations of DeepLab's 3x3 convolutions on maps of stride 8 or less, and of more (arXiv:1706.05587, section 4.1)."""


@dataclass(frozen=True, kw_only=True)
class SegmenterArchitecture(Declaration):
    """A network that gives every pixel a class, described in full.

    Attributes:
        num_classes: classes of pixels.
        in_channels: channels of the pictures.
        source: where the decoder was published.
        decoder: what stands on the backbone's maps.
        backbone: the declaration of the network that it stands on; its `output_stride` is 8 or 16 by dilation.
        decoder_width: channels of U-Net's last block, each one before having twice as many, of the FPN's pyramid, or of
            DeepLab's convolutions; 0 of `fcn`, which has a quarter of the last map's.
        atrous_rates: dilations of DeepLab's three 3x3 convolutions; () for (12, 24, 36) on a map of stride 8 or less,
            and half of that otherwise.
        auxiliary: a second classifier on the stage before the last, which helps training alone; torchvision's weights
            have it.

    Raises:
        ValueError: for a value out of range, and for options that the decoder has no use for.
    """

    family: ClassVar[str] = "segmenter"

    decoder: Decoder
    backbone: Declaration
    num_classes: int = 21
    decoder_width: int = 0
    atrous_rates: tuple[int, ...] = ()
    auxiliary: bool = False

    def __post_init__(self) -> None:
        self.check_choices(decoder=get_args(Decoder))
        self.check_whole("num_classes", "in_channels")
        self.check_whole("decoder_width", least=0)
        if (self.decoder == "fcn") != (self.decoder_width == 0):
            raise ValueError(f"decoder_width must be above 0, and 0 with fcn alone, not {self.decoder_width}")
        if self.atrous_rates and not self.decoder.startswith("deeplab"):
            raise ValueError(f"{self.decoder} has no atrous_rates; leave them out")
        if self.atrous_rates and (len(self.atrous_rates) != 3 or min(self.atrous_rates) < 1):
            raise ValueError(f"atrous_rates must be three numbers above 0, not {self.atrous_rates}")

    @property
    def layers(self) -> int:
        """Layers with weights of the backbone, its classifier not counted."""
        return self.backbone.layers - (self.backbone.num_classes > 0)

    def to_dict(self) -> dict[str, Any]:
        """`family` and every field, in JSON's types; the backbone as its own `to_dict` has it."""
        own = {name: value for name, value in asdict(self).items() if name != "backbone"}
        return {
            "family": self.family,
            **own,
            "atrous_rates": list(self.atrous_rates),
            "backbone": self.backbone.to_dict(),
        }


def segmenter_architecture(decoder: Decoder, backbone: Declaration) -> SegmenterArchitecture:
    """The declaration of a decoder's usual network on a backbone, dilated where the decoder wants it and it can be."""
    wanted = OUTPUT_STRIDES.get(decoder)
    if isinstance(backbone, Architecture) and wanted is not None and backbone.output_stride is None:
        stride = backbone.stem_stride * 2 ** (len(backbone.depths) - 1)
        backbone = replace(backbone, output_stride=wanted if stride > wanted else None)
    return SegmenterArchitecture(
        decoder=decoder,
        backbone=replace(backbone, num_classes=0),
        source=DECODERS[decoder],
        decoder_width=WIDTHS.get(decoder, 0),
    )


class Segmenter(nn.Module):
    """A backbone without its own classifier, and a decoder.

    Its modules are `backbone`, `classifier` and perhaps `aux_classifier`, as in torchvision.

    Attributes:
        architecture: the declaration it was built from.

    Raises:
        ValueError: if the backbone has no such maps as the decoder needs.
    """

    def __init__(self, architecture: SegmenterArchitecture, body: Any) -> None:
        super().__init__()
        a = self.architecture = architecture
        self.backbone = body
        stages = of_strides(body.stages, 1, 32)
        self._before = next((stage for stage in reversed(body.stages[:-1]) if stage.name != "stem"), body.stages[0])
        rates = a.atrous_rates or RATES[8 if body.stages[-1].stride <= 8 else 16]
        self.classifier: nn.Module
        if a.decoder == "unet":
            self.used = stages
            self.classifier = UNet(stages, a.num_classes, a.decoder_width)
        elif a.decoder == "fpn":
            self.used = stages[-4:]
            self.classifier = FPN(self.used, a.num_classes, a.decoder_width)
        elif a.decoder == "deeplabv3plus":
            fine = [stage for stage in stages[:-1] if stage.stride <= FINE_STRIDE]
            if not fine:
                raise ValueError(f"deeplabv3plus needs a map of stride {FINE_STRIDE} or less before the last")
            self.used = (fine[-1], stages[-1])
            self.classifier = DeepLabV3Plus(self.used, a.num_classes, a.decoder_width, rates)
        elif a.decoder == "deeplabv3":
            self.used = stages[-1:]
            self.classifier = DeepLabV3(self.used, a.num_classes, a.decoder_width, rates)
        else:
            self.used = stages[-1:]
            self.classifier = FCN(self.used, a.num_classes)
        without_what_follows(body, self.used[-1])
        self.aux_classifier = FCNHead(self._before.channels, a.num_classes) if a.auxiliary else None

    @property
    def stages(self) -> Sequence[Stage]:
        """The backbone's."""
        return self.backbone.stages

    @property
    def class_layers(self) -> tuple[str, ...]:
        """Names of the layers whose size depends on the number of classes."""
        own = "classifier.logits" if hasattr(self.classifier, "logits") else "classifier.4"
        return (own, "aux_classifier.4") if self.architecture.auxiliary else (own,)

    @property
    def logits_layer(self) -> str:
        """The name of the layer that gives the logits."""
        return self.class_layers[0]

    def levels(self) -> Sequence[Sequence[nn.Module]]:
        """The backbone's: for each of `stages`, the modules that lead to its map."""
        return self.backbone.levels()

    def features(self, x: Tensor, stages: Iterable[str] | None = None) -> dict[str, Tensor]:
        """The backbone's maps of the stages named, of all unless given."""
        return self.backbone.features(x, stages)

    def forward(self, images: Tensor) -> Any:
        """Logits (N, K, H, W) of images (N, C, H, W); with an auxiliary classifier, in training, `out` and `aux`."""
        size = (images.shape[2], images.shape[3])
        with_aux = self.training and self.aux_classifier is not None
        names = {stage.name for stage in (*self.used, *([self._before] if with_aux else []))}
        maps = self.backbone.features(images, names)
        out = _fitted(self.classifier([maps[stage.name] for stage in self.used]), size)
        if not with_aux:
            return out
        assert self.aux_classifier is not None
        return {"out": out, "aux": _fitted(self.aux_classifier(maps[self._before.name]), size)}


def _fitted(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Logits of a picture of `size`: enlarged, or without what maps of odd sizes have beyond its edges."""
    height, width = size
    if logits.shape[2] >= height and logits.shape[3] >= width:
        return logits if logits.shape[2:] == size else logits[..., :height, :width]
    return F.interpolate(logits, size, mode="bilinear", align_corners=False)
