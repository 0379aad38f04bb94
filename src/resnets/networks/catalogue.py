"""Names of networks, each with its declaration and where it was published.

To add a variant, add a line to `CATALOGUE`, or to `GENERATORS`: tests, listing and profile go through them. CIFAR's
families stand there with depths of their papers; `architecture` understands all others, too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any, cast

from resnets.networks.architecture import Architecture
from resnets.networks.declaration import Declaration
from resnets.networks.densenet import DenseNet, DenseNetArchitecture
from resnets.networks.detector import (
    METHODS,
    Detector,
    DetectorArchitecture,
    Method,
    build_detector,
    detector_architecture,
)
from resnets.networks.efficientnet import EfficientNet, EfficientNetArchitecture
from resnets.networks.fastresnet import FastResNet, FastResNetArchitecture
from resnets.networks.iresnet import IResNet, IResNetArchitecture
from resnets.networks.preresnet import PreactivationResNet
from resnets.networks.resnet import ResidualNetwork, ResNet
from resnets.networks.segmenter import DECODERS, Decoder, Segmenter, SegmenterArchitecture, segmenter_architecture
from resnets.networks.unet import UNet, UNetArchitecture
from resnets.networks.vgg import VGG, VGGArchitecture


def residual(declaration: Architecture) -> ResidualNetwork:
    """A network of post- or of pre-activation blocks."""
    return PreactivationResNet(declaration) if declaration.preactivation else ResNet(declaration)


def detector(declaration: DetectorArchitecture) -> Detector:
    """A detector on its backbone."""
    return build_detector(declaration, build(replace(declaration.backbone, in_channels=declaration.in_channels)))


def segmenter(declaration: SegmenterArchitecture) -> Segmenter:
    """A decoder on its backbone."""
    return Segmenter(declaration, build(replace(declaration.backbone, in_channels=declaration.in_channels)))


FAMILIES: dict[type[Declaration], Callable[[Any], Any]] = {
    Architecture: residual,
    VGGArchitecture: VGG,
    DenseNetArchitecture: DenseNet,
    EfficientNetArchitecture: EfficientNet,
    IResNetArchitecture: IResNet,
    FastResNetArchitecture: FastResNet,
    DetectorArchitecture: detector,
    SegmenterArchitecture: segmenter,
    UNetArchitecture: UNet,
}
"""The declaration of each family, and what builds a network from it."""

RESNET = "arXiv:1512.03385"
PREACTIVATION = "arXiv:1603.05027"
RESNEXT = "arXiv:1611.05431"
WIDE = "arXiv:1605.07146"
SE = "arXiv:1709.01507"
RESNET_D = "arXiv:1812.01187"
VGG_PAPER = "arXiv:1409.1556"
DENSE = "arXiv:1608.06993"
EFFICIENT = "arXiv:1905.11946"
ARCFACE = "arXiv:1801.07698"
DDPM = "arXiv:2006.11239"
AIRBENCH = "arXiv:2404.00498"

R18 = Architecture(depths=(2, 2, 2, 2), block="basic", source=RESNET)
R34 = replace(R18, depths=(3, 4, 6, 3))
R50 = Architecture(depths=(3, 4, 6, 3), source=RESNET)
R101 = replace(R50, depths=(3, 4, 23, 3))
R152 = replace(R50, depths=(3, 8, 36, 3))
R200 = replace(R50, depths=(3, 24, 36, 3), source=PREACTIVATION)
VGG11 = VGGArchitecture(depths=(1, 1, 2, 2, 2), source=VGG_PAPER)
VGG13 = replace(VGG11, depths=(2, 2, 2, 2, 2))
VGG16 = replace(VGG11, depths=(2, 2, 3, 3, 3))
VGG19 = replace(VGG11, depths=(2, 2, 4, 4, 4))
DENSE121 = DenseNetArchitecture(depths=(6, 12, 24, 16), source=DENSE)
B0 = EfficientNetArchitecture(source=EFFICIENT)
I18 = IResNetArchitecture(depths=(2, 2, 2, 2), source=ARCFACE)


def preactivated(network: Architecture) -> Architecture:
    """The pre-activation twin of arXiv:1603.05027."""
    return replace(network, preactivation=True, source=PREACTIVATION)


def cifar(depth: int) -> Architecture:
    """ResNet-{6n+2} of arXiv:1512.03385, section 4.2: three stages of n basic blocks, option A shortcuts."""
    return Architecture(
        depths=(_blocks(depth, 6, 2),) * 3,
        widths=(16, 32, 64),
        block="basic",
        stem="cifar",
        stem_width=16,
        shortcut="A",
        num_classes=10,
        source=RESNET,
    )


def cifar_plain(depth: int) -> Architecture:
    """The plain twin of `cifar(depth)`."""
    return replace(cifar(depth), shortcut="none")


def cifar_preactivation(depth: int) -> Architecture:
    """Pre-activation ResNet-{9n+2} of arXiv:1603.05027: three stages of n bottlenecks."""
    depths = (_blocks(depth, 9, 2),) * 3
    return preactivated(replace(cifar(20), depths=depths, block="bottleneck", shortcut="B"))


def wide(depth: int, factor: int) -> Architecture:
    """WRN-{6n+4}-{factor} of arXiv:1605.07146, table 1: `factor` times the channels of CIFAR's ResNet."""
    depths, widths = (_blocks(depth, 6, 4),) * 3, (16 * factor, 32 * factor, 64 * factor)
    return replace(preactivated(cifar(20)), depths=depths, widths=widths, shortcut="B", source=WIDE)


def cifar_dense(depth: int, growth: int) -> DenseNetArchitecture:
    """DenseNet-{3n+4} of arXiv:1608.06993, section 3: three blocks of n layers, each one 3x3."""
    return DenseNetArchitecture(
        depths=(_blocks(depth, 3, 4),) * 3,
        growth=growth,
        stem="cifar",
        stem_width=16,
        bottleneck=0,
        compression=1.0,
        num_classes=10,
        source=DENSE,
    )


def cifar_dense_bc(depth: int, growth: int) -> DenseNetArchitecture:
    """DenseNet-BC-{6n+4}: with bottlenecks, and half the channels between the blocks."""
    depths = (_blocks(depth, 6, 4),) * 3
    return replace(cifar_dense(40, growth), depths=depths, stem_width=2 * growth, bottleneck=4, compression=0.5)


def _blocks(depth: int, layers: int, others: int) -> int:
    n, rest = divmod(depth - others, layers)
    if n < 1 or rest:
        below = max(n, 1) * layers + others
        raise ValueError(
            f"this family has depths of {layers}n + {others}, so not {depth}; "
            f"the nearest are {below} and {below + layers}"
        )
    return n


CATALOGUE: dict[str, Declaration] = {
    "resnet18": R18,
    "resnet34": R34,
    "resnet50": R50,
    "resnet101": R101,
    "resnet152": R152,
    "resnet200": R200,
    "plain18": replace(R18, shortcut="none"),
    "plain34": replace(R34, shortcut="none"),
    "resnet20": cifar(20),
    "resnet32": cifar(32),
    "resnet44": cifar(44),
    "resnet56": cifar(56),
    "resnet110": cifar(110),
    "resnet1202": cifar(1202),
    "plain20": cifar_plain(20),
    "plain32": cifar_plain(32),
    "plain44": cifar_plain(44),
    "plain56": cifar_plain(56),
    "plain110": cifar_plain(110),
    "preresnet18": preactivated(R18),
    "preresnet34": preactivated(R34),
    "preresnet50": preactivated(R50),
    "preresnet101": preactivated(R101),
    "preresnet152": preactivated(R152),
    "preresnet200": preactivated(R200),
    "preresnet110": preactivated(cifar(110)),
    "preresnet164": cifar_preactivation(164),
    "preresnet1001": cifar_preactivation(1001),
    "resnext50_32x4d": replace(R50, groups=32, width_per_group=4, source=RESNEXT),
    "resnext101_32x8d": replace(R101, groups=32, width_per_group=8, source=RESNEXT),
    "wide_resnet50_2": replace(R50, width_per_group=128, source=WIDE),
    "wide_resnet101_2": replace(R101, width_per_group=128, source=WIDE),
    "wrn16_8": wide(16, 8),
    "wrn28_10": wide(28, 10),
    "wrn40_4": wide(40, 4),
    "seresnet50": replace(R50, squeeze_excitation=True, source=SE),
    "resnet50d": replace(R50, stem="deep", shortcut="D", source=RESNET_D),
    "vgg11": VGG11,
    "vgg13": VGG13,
    "vgg16": VGG16,
    "vgg19": VGG19,
    "vgg11_bn": replace(VGG11, norm="batch"),
    "vgg13_bn": replace(VGG13, norm="batch"),
    "vgg16_bn": replace(VGG16, norm="batch"),
    "vgg19_bn": replace(VGG19, norm="batch"),
    "densenet121": DENSE121,
    "densenet161": replace(DENSE121, depths=(6, 12, 36, 24), growth=48, stem_width=96),
    "densenet169": replace(DENSE121, depths=(6, 12, 32, 32)),
    "densenet201": replace(DENSE121, depths=(6, 12, 48, 32)),
    "densenet40_12": cifar_dense(40, 12),
    "densenetbc100_12": cifar_dense_bc(100, 12),
    "efficientnet_b0": B0,
    "efficientnet_b1": replace(B0, depth=1.1),
    "efficientnet_b2": replace(B0, width=1.1, depth=1.2, dropout=0.3),
    "efficientnet_b3": replace(B0, width=1.2, depth=1.4, dropout=0.3),
    "efficientnet_b4": replace(B0, width=1.4, depth=1.8, dropout=0.4),
    "iresnet18": I18,
    "iresnet34": replace(I18, depths=(3, 4, 6, 3)),
    "iresnet50": replace(I18, depths=(3, 4, 14, 3)),
    "iresnet100": replace(I18, depths=(3, 13, 30, 3)),
    "fastresnet8": FastResNetArchitecture(num_classes=10, source=AIRBENCH),
}

GENERATORS: dict[str, UNetArchitecture] = {
    "flow_unet_tiny": UNetArchitecture(depths=(1, 1, 1), source=DDPM),
    "flow_unet_small": UNetArchitecture(source=DDPM),
    "flow_unet_base": UNetArchitecture(
        depths=(3, 3, 3), widths=(128, 256, 256), attention=(2, 3), head_channels=64, source=DDPM
    ),
}
"""Networks that make pictures; they are told the noise, the time and the class."""

PATTERNS: dict[str, Callable[..., Declaration]] = {
    "resnet{6n+2}": cifar,
    "plain{6n+2}": cifar_plain,
    "preresnet{9n+2}": cifar_preactivation,
    "wrn{6n+4}_{k}": wide,
    "densenet{3n+4}_{k}": cifar_dense,
    "densenetbc{6n+4}_{k}": cifar_dense_bc,
}
"""CIFAR's networks of any depth. The catalogue goes first: resnet50 is ImageNet's, though 50 = 6 * 8 + 2."""


DETECTORS = re.compile(rf"({'|'.join(METHODS)})_(\w+?)(_fpn)?")
"""Names of detectors: the method, the backbone, and "_fpn" for a pyramid, which `yolo` has without saying."""

SEGMENTERS = re.compile(rf"({'|'.join(DECODERS)})_(\w+)")
"""Names of networks that give every pixel a class: the decoder and the backbone."""


def architecture(name: str) -> Declaration:
    """The declaration of a name: one of `list_models()`, or one that fits one of the `PATTERNS`.

    Of a detector, a method before the name of its backbone: fasterrcnn_resnet50_fpn, yolo_resnet18. For a class of
    every pixel, a decoder before it: unet_resnet34, deeplabv3_resnet50.

    Raises:
        ValueError: for any other name, with the nearest.
    """
    if name in CATALOGUE:
        return CATALOGUE[name]
    if name in GENERATORS:
        return GENERATORS[name]
    if match := DETECTORS.fullmatch(name):
        method, backbone, pyramid = match.groups()
        if method not in ("fasterrcnn", "yolo", "locate") and not pyramid:
            raise ValueError(f"there is no network named {name!r}: {method} needs a pyramid; did you mean {name}_fpn?")
        return detector_architecture(cast(Method, method), architecture(backbone), bool(pyramid) or method == "yolo")
    if match := SEGMENTERS.fullmatch(name):
        decoder, backbone = match.groups()
        return segmenter_architecture(cast(Decoder, decoder), architecture(backbone))
    for pattern, declare in PATTERNS.items():
        if match := re.fullmatch(re.sub(r"\{.+?\}", r"(\\d+)", pattern), name):
            try:
                return declare(*map(int, match.groups()))
            except ValueError as error:
                raise ValueError(f"there is no network named {name!r}: {error}") from None
    names = list_models()
    longer = [known for known in names if known.startswith(name.lower())]
    nearest = longer[:3] or get_close_matches(name.lower(), names, n=3)
    hint = f"did you mean {' or '.join(nearest)}?" if nearest else "`resnets models` lists the names"
    raise ValueError(f"there is no network named {name!r}; {hint}")


def list_models(pattern: str = "*") -> list[str]:
    """The names of classifiers, then of generators, that match a shell pattern such as "resnet*"."""
    return [name for name in (*CATALOGUE, *GENERATORS) if fnmatchcase(name, pattern)]


def build(declaration: Declaration) -> Any:
    """The network that a declaration describes, freshly initialised from PyTorch's random numbers."""
    return FAMILIES[type(declaration)](declaration)


def declaration_from_dict(values: Mapping[str, Any]) -> Declaration:
    """The declaration that `to_dict` wrote, of whichever family.

    Raises:
        ValueError: for what is no declaration, an unknown family, an unknown or missing field, or values that the
            declaration refuses.
    """
    if not isinstance(values, Mapping):
        raise ValueError(f"a declaration is an object with a family and its fields, not {values!r}")
    families = {kind.family: kind for kind in FAMILIES}
    if "backbone" in values:
        values = {**values, "backbone": declaration_from_dict(values["backbone"])}
    family = values.get("family")
    if not isinstance(family, str) or family not in families:
        raise ValueError(f"there is no family of networks {family!r}; there are {', '.join(families)}")
    return families[family].from_dict(values)
