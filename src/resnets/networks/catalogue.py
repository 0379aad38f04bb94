"""Names of networks, each with its declaration and where it was published.

To add a variant, add a line to `CATALOGUE`; tests, listing and profile go through it. CIFAR's families are there for
the depths of their papers; `architecture` understands any other depth of theirs.
"""

from __future__ import annotations

import re
from dataclasses import replace
from difflib import get_close_matches
from fnmatch import fnmatchcase

from torch import nn

from resnets.networks.architecture import Architecture, Declaration
from resnets.networks.preresnet import PreactivationResNet
from resnets.networks.resnet import ResNet

RESNET = "arXiv:1512.03385"
PREACTIVATION = "arXiv:1603.05027"
RESNEXT = "arXiv:1611.05431"
WIDE = "arXiv:1605.07146"
SE = "arXiv:1709.01507"
RESNET_D = "arXiv:1812.01187"

R18 = Architecture(depths=(2, 2, 2, 2), block="basic", source=RESNET)
R34 = replace(R18, depths=(3, 4, 6, 3))
R50 = Architecture(depths=(3, 4, 6, 3), source=RESNET)
R101 = replace(R50, depths=(3, 4, 23, 3))
R152 = replace(R50, depths=(3, 8, 36, 3))
R200 = replace(R50, depths=(3, 24, 36, 3), source=PREACTIVATION)


def cifar(depth: int) -> Architecture:
    """ResNet-{6n+2} of arXiv:1512.03385, section 4.2: three stages of n basic blocks, option A shortcuts."""
    return Architecture(
        depths=(_blocks(f"resnet{depth}", depth, 6, 2),) * 3,
        widths=(16, 32, 64),
        block="basic",
        stem="cifar",
        stem_width=16,
        shortcut="A",
        num_classes=10,
        source=RESNET,
    )


def plain(depth: int) -> Architecture:
    """The plain twin of `cifar(depth)`."""
    return replace(cifar(depth), shortcut="none")


def cifar_preactivation(depth: int) -> Architecture:
    """Pre-activation ResNet-{9n+2} of arXiv:1603.05027, table 4: three stages of n bottlenecks."""
    n = _blocks(f"preresnet{depth}", depth, 9, 2)
    return replace(cifar(20), depths=(n,) * 3, block="bottleneck", shortcut="B", **PRE)


def wide(depth: int, factor: int) -> Architecture:
    """WRN-{6n+4}-{factor} of arXiv:1605.07146, table 1: `factor` times the channels of CIFAR's ResNet."""
    n = _blocks(f"wrn{depth}_{factor}", depth, 6, 4)
    widths = (16 * factor, 32 * factor, 64 * factor)
    return replace(cifar(20), depths=(n,) * 3, widths=widths, shortcut="B", preactivation=True, source=WIDE)


def _blocks(name: str, depth: int, layers: int, extra: int) -> int:
    n, rest = divmod(depth - extra, layers)
    if rest or n < 1:
        below = max(n, 1) * layers + extra
        raise ValueError(
            f"{name} is not of {layers}n + {extra} layers; the nearest depths are {below} and {below + layers}"
        )
    return n


PRE = {"preactivation": True, "source": PREACTIVATION}

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
    "plain20": plain(20),
    "plain32": plain(32),
    "plain44": plain(44),
    "plain56": plain(56),
    "plain110": plain(110),
    "preresnet18": replace(R18, **PRE),
    "preresnet34": replace(R34, **PRE),
    "preresnet50": replace(R50, **PRE),
    "preresnet101": replace(R101, **PRE),
    "preresnet152": replace(R152, **PRE),
    "preresnet200": replace(R200, **PRE),
    "preresnet110": replace(cifar(110), **PRE),
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
}

PATTERNS = {
    re.compile(r"resnet(\d+)"): cifar,
    re.compile(r"plain(\d+)"): plain,
    re.compile(r"preresnet(\d+)"): cifar_preactivation,
    re.compile(r"wrn(\d+)_(\d+)"): wide,
}
"""Names of any depth; a name of the catalogue goes before (resnet50 is ImageNet's, though 50 = 6 x 8 + 2)."""


def architecture(name: str) -> Declaration:
    """The declaration of a name in the catalogue, or of CIFAR's resnet{6n+2}, plain{6n+2}, preresnet{9n+2}, wrn{6n+4}_{k}.

    Raises ValueError for any other name and suggests the nearest.
    """
    if name in CATALOGUE:
        return CATALOGUE[name]
    for pattern, declare in PATTERNS.items():
        if match := pattern.fullmatch(name):
            return declare(*map(int, match.groups()))
    nearest = get_close_matches(name.lower(), CATALOGUE, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(nearest)}?" if nearest else "`resnets models` lists the names"
    raise ValueError(f"there is no network named {name!r}; {hint}")


def list_models(pattern: str = "*") -> list[str]:
    """The catalogue's names that match a shell pattern such as "resnet*"."""
    return [name for name in CATALOGUE if fnmatchcase(name, pattern)]


def build(declaration: Declaration) -> nn.Module:
    """The network that a declaration describes, freshly initialised from PyTorch's random numbers."""
    if isinstance(declaration, Architecture):
        return PreactivationResNet(declaration) if declaration.preactivation else ResNet(declaration)
    raise TypeError(f"no network is built from a {type(declaration).__name__}")
