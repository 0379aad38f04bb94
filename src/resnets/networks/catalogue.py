"""Names of networks, each with its declaration and where it was published.

To add a variant, add a line to `CATALOGUE`: tests, listing and profile go through it. CIFAR's families stand
there with the depths of their papers; `architecture` understands their other depths too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any, cast

from resnets.networks.architecture import Architecture, Declaration
from resnets.networks.detector import METHODS, DetectorArchitecture, Method, build_detector, detector_architecture
from resnets.networks.preresnet import PreactivationResNet
from resnets.networks.resnet import ResidualNetwork, ResNet
from resnets.networks.segmenter import DECODERS, Decoder, Segmenter, SegmenterArchitecture, segmenter_architecture
from resnets.networks.vgg import VGG, VGGArchitecture

Network = ResidualNetwork | VGG

RESNET = "arXiv:1512.03385"
PREACTIVATION = "arXiv:1603.05027"
RESNEXT = "arXiv:1611.05431"
WIDE = "arXiv:1605.07146"
SE = "arXiv:1709.01507"
RESNET_D = "arXiv:1812.01187"
VGG_PAPER = "arXiv:1409.1556"

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
}

PATTERNS: dict[re.Pattern[str], Callable[..., Architecture]] = {
    re.compile(r"resnet(\d+)"): cifar,
    re.compile(r"plain(\d+)"): cifar_plain,
    re.compile(r"preresnet(\d+)"): cifar_preactivation,
    re.compile(r"wrn(\d+)_(\d+)"): wide,
}
"""CIFAR's networks of any depth. The catalogue goes first: resnet50 is ImageNet's, though 50 = 6 * 8 + 2."""


DETECTORS = re.compile(rf"({'|'.join(METHODS)})_(\w+?)(_fpn)?")
"""Names of detectors: the method, the backbone, and "_fpn" for a pyramid, which `yolo` has without saying."""

SEGMENTERS = re.compile(rf"({'|'.join(DECODERS)})_(\w+)")
"""Names of networks that give every pixel a class: the decoder and the backbone."""


def architecture(name: str) -> Declaration:
    """The declaration of a name: the catalogue's, resnet{6n+2}, plain{6n+2}, preresnet{9n+2}, wrn{6n+4}_{k}.

    Of a detector, a method before the name of its backbone: fasterrcnn_resnet50_fpn, yolo_resnet18. For a class of
    every pixel, a decoder before it: unet_resnet34, deeplabv3_resnet50.

    Raises:
        ValueError: for any other name, with the nearest.
    """
    if name in CATALOGUE:
        return CATALOGUE[name]
    if match := DETECTORS.fullmatch(name):
        method, backbone, pyramid = match.groups()
        if method not in ("fasterrcnn", "yolo", "locate") and not pyramid:
            raise ValueError(f"there is no network named {name!r}: {method} needs a pyramid; did you mean {name}_fpn?")
        return detector_architecture(cast(Method, method), architecture(backbone), bool(pyramid) or method == "yolo")
    if match := SEGMENTERS.fullmatch(name):
        decoder, backbone = match.groups()
        return segmenter_architecture(cast(Decoder, decoder), architecture(backbone))
    for pattern, declare in PATTERNS.items():
        if match := pattern.fullmatch(name):
            try:
                return declare(*map(int, match.groups()))
            except ValueError as error:
                raise ValueError(f"there is no network named {name!r}: {error}") from None
    longer = [known for known in CATALOGUE if known.startswith(name.lower())]
    nearest = longer[:3] or get_close_matches(name.lower(), CATALOGUE, n=3)
    hint = f"did you mean {' or '.join(nearest)}?" if nearest else "`resnets models` lists the names"
    raise ValueError(f"there is no network named {name!r}; {hint}")


def list_models(pattern: str = "*") -> list[str]:
    """The catalogue's names that match a shell pattern such as "resnet*"."""
    return [name for name in CATALOGUE if fnmatchcase(name, pattern)]


def build(declaration: Declaration) -> Any:
    """The network that a declaration describes, freshly initialised from PyTorch's random numbers."""
    if isinstance(declaration, DetectorArchitecture):
        backbone = replace(declaration.backbone, in_channels=declaration.in_channels)
        return build_detector(declaration, build(backbone))
    if isinstance(declaration, SegmenterArchitecture):
        return Segmenter(declaration, build(replace(declaration.backbone, in_channels=declaration.in_channels)))
    if isinstance(declaration, Architecture):
        return PreactivationResNet(declaration) if declaration.preactivation else ResNet(declaration)
    if isinstance(declaration, VGGArchitecture):
        return VGG(declaration)
    raise TypeError(f"no network is built from a {type(declaration).__name__}")


def declaration_from_dict(values: Mapping[str, Any]) -> Declaration:
    """The declaration that `to_dict` wrote, of whichever family.

    Raises:
        ValueError: for an unknown family or field, or values that the declaration refuses.
    """
    for kind in (DetectorArchitecture, SegmenterArchitecture):
        if values.get("family") == kind.family:
            return kind.from_dict({**values, "backbone": declaration_from_dict(values["backbone"])})
    families = {kind.family: kind for kind in (Architecture, VGGArchitecture)}
    if (family := values.get("family")) not in families:
        raise ValueError(f"there is no family of networks {family!r}; there are {', '.join(families)}")
    return families[family].from_dict(values)
