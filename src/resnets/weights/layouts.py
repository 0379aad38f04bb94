"""Other projects' names of the same tensors, and how ours are found among them.

Our names are torchvision's, or timm's where only timm has the network; a file in any layout of `LAYOUTS`, below any
prefix ("module.", "model.", "_orig_mod.", "backbone."...), is brought to them.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor

from resnets.types import Preprocessing

CAFFE = Preprocessing((224, 224), 3, (0.485, 0.456, 0.406), (1 / 255, 1 / 255, 1 / 255), 0.875)
"""Values from 0 to 255 less ImageNet's mean, in our terms: what the networks of Caffe2 and detectron2 take."""


@dataclass(frozen=True)
class Layout:
    """How a project names the tensors of a network.

    Attributes:
        rules: patterns of a name's beginning, and what takes its place, as `re.sub` has it; the first that fits is
            used.
        first_stage: the project's number of our `layer1`.
        bgr: whether its first convolution reads blue before red, in values from 0 to 255.
    """

    rules: tuple[tuple[str, str], ...] = ()
    first_stage: int = 1
    bgr: bool = False

    def rename(self, name: str) -> str:
        """Our name of a tensor; what no rule knows keeps its own."""
        for pattern, ours in self.rules:
            if match := re.match(pattern, name):
                begun = re.sub(r"(?<=^layer)\d+", lambda m: str(int(m[0]) + 1 - self.first_stage), match.expand(ours))
                return begun + name[match.end() :]
        return name


TRANSFORMERS = r"(?:resnet\.)?encoder\.stages\.(\d+)\.layers\.(\d+)\."
TIMM_FIRST_BLOCK = {
    **{"conv_dw": "0.0", "bn1": "0.1", "se.conv_reduce": "1.fc1", "se.conv_expand": "1.fc2"},
    **{"conv_pw": "2.0", "bn2": "2.1"},
}
TIMM_BLOCK = {
    **{"conv_pw": "0.0", "bn1": "0.1", "conv_dw": "1.0", "bn2": "1.1"},
    **{"se.conv_reduce": "2.fc1", "se.conv_expand": "2.fc2", "conv_pwl": "3.0", "bn3": "3.1"},
}
CAFFE2_NORM = {"s": "weight", "b": "bias", "rm": "running_mean", "riv": "running_var"}

LINEAR = "CIFAR: shortcut, linear"
"""Names that, without convolutions in the shortcuts, are of networks whose zeros stand on both sides; see `zeros`."""

LAYOUTS: dict[str, Layout] = {
    "torchvision": Layout(
        # its files of DenseNets are older than its names
        ((r"(features\.denseblock\d+\.denselayer\d+\.(?:norm|conv))\.(\d)\.", r"\1\2."),)
    ),
    "torchvision, before 0.14": Layout(  # of detectors; each convolution has since been put into a block of its own
        (
            (r"backbone\.fpn\.(inner|layer)_blocks\.(\d)\.(?=weight|bias)", r"backbone.fpn.\1_blocks.\2.0."),
            (r"rpn\.head\.conv\.(?=weight|bias)", "rpn.head.conv.0.0."),
            (r"roi_heads\.mask_head\.mask_fcn1\.", "roi_heads.mask_head.0.0."),
            (r"roi_heads\.mask_head\.mask_fcn2\.", "roi_heads.mask_head.1.0."),
            (r"roi_heads\.mask_head\.mask_fcn3\.", "roi_heads.mask_head.2.0."),
            (r"roi_heads\.mask_head\.mask_fcn4\.", "roi_heads.mask_head.3.0."),
            *((rf"head\.(\w+)_head\.conv\.{2 * i}\.(?=weight|bias)", rf"head.\1_head.conv.{i}.0.") for i in range(4)),
        )
    ),
    "timm": Layout(  # of VGG; its residual and dense networks have torchvision's names, or are ours
        (
            (r"pre_logits\.fc1\.", "classifier.0."),
            (r"pre_logits\.fc2\.", "classifier.3."),
            (r"head\.fc\.", "classifier.6."),
        )
    ),
    "timm: EfficientNet": Layout(
        (
            (r"conv_stem\.", "features.0.0."),
            (r"bn1\.", "features.0.1."),
            *(
                (rf"blocks\.{i}\.(\d+)\.{re.escape(theirs)}\.", rf"features.{i + 1}.\1.block.{ours}.")
                for i in range(7)
                for theirs, ours in (TIMM_BLOCK if i else TIMM_FIRST_BLOCK).items()
            ),
            (r"conv_head\.", "features.8.0."),
            (r"bn2\.", "features.8.1."),
            (r"classifier\.", "classifier.1."),
        )
    ),
    "transformers": Layout(
        (
            (r"(?:resnet\.)?embedder\.embedder\.convolution\.", "conv1."),
            (r"(?:resnet\.)?embedder\.embedder\.normalization\.", "bn1."),
            (rf"{TRANSFORMERS}shortcut\.convolution\.", r"layer\1.\2.downsample.0."),
            (rf"{TRANSFORMERS}shortcut\.normalization\.", r"layer\1.\2.downsample.1."),
            *((rf"{TRANSFORMERS}layer\.{i}\.convolution\.", rf"layer\1.\2.conv{i + 1}.") for i in range(3)),
            *((rf"{TRANSFORMERS}layer\.{i}\.normalization\.", rf"layer\1.\2.bn{i + 1}.") for i in range(3)),
            (r"classifier\.1\.", "fc."),
        ),
        first_stage=0,
    ),
    LINEAR: Layout(  # github.com/kuangliu/pytorch-cifar, github.com/akamaster/pytorch_resnet_cifar10
        (
            (r"layer(\d)\.(\d+)\.shortcut\.", r"layer\1.\2.downsample."),
            (r"linear\.", "fc."),
        )
    ),
    "detectron2": Layout(
        (
            (r"stem\.conv1\.norm\.", "bn1."),
            (r"stem\.conv1\.", "conv1."),
            (r"res(\d)\.(\d+)\.shortcut\.norm\.", r"layer\1.\2.downsample.1."),
            (r"res(\d)\.(\d+)\.shortcut\.", r"layer\1.\2.downsample.0."),
            (r"res(\d)\.(\d+)\.conv(\d)\.norm\.", r"layer\1.\2.bn\3."),
            (r"res(\d)\.(\d+)\.conv(\d)\.", r"layer\1.\2.conv\3."),
            (r"linear\.", "fc."),
        ),
        first_stage=2,
        bgr=True,
    ),
    "Caffe2": Layout(
        (
            (r"conv1_w$", "conv1.weight"),
            (r"res(\d)_(\d+)_branch1_w$", r"layer\1.\2.downsample.0.weight"),
            *((rf"res(\d)_(\d+)_branch2{x}_w$", rf"layer\1.\2.conv{i}.weight") for i, x in enumerate("abc", 1)),
            *(
                rule
                for theirs, ours in CAFFE2_NORM.items()
                for rule in (
                    (rf"res_conv1_bn_{theirs}$", f"bn1.{ours}"),
                    (rf"res(\d)_(\d+)_branch1_bn_{theirs}$", rf"layer\1.\2.downsample.1.{ours}"),
                    *(
                        (rf"res(\d)_(\d+)_branch2{x}_bn_{theirs}$", rf"layer\1.\2.bn{i}.{ours}")
                        for i, x in enumerate("abc", 1)
                    ),
                )
            ),
            (r"(?:pred|fc1000)_w$", "fc.weight"),
            (r"(?:pred|fc1000)_b$", "fc.bias"),
        ),
        first_stage=2,
        bgr=True,
    ),
    "CIFAR: residual_function": Layout(  # github.com/weiaicunzai/pytorch-cifar100
        (
            (r"conv1\.0\.", "conv1."),
            (r"conv1\.1\.", "bn1."),
            (r"conv(\d)_x\.(\d+)\.shortcut\.", r"layer\1.\2.downsample."),
            *((rf"conv(\d)_x\.(\d+)\.residual_function\.{3 * i}\.", rf"layer\1.\2.conv{i + 1}.") for i in range(3)),
            *((rf"conv(\d)_x\.(\d+)\.residual_function\.{3 * i + 1}\.", rf"layer\1.\2.bn{i + 1}.") for i in range(3)),
        ),
        first_stage=2,
    ),
}


AVERAGED = re.compile(r"(^|[._])ema([._]|$)", re.IGNORECASE)
"""In a prefix, the word for an average over training."""


@dataclass(frozen=True)
class Recognised:
    """A file's tensors under our names.

    Attributes:
        layout: whose names the file has, a key of `LAYOUTS`.
        prefix: what stands before them all.
        tensors: that the network may have, by our names.
        left_out: names in the file of all others.
    """

    layout: str
    prefix: str
    tensors: Mapping[str, Tensor]
    left_out: tuple[str, ...]


def recognise(tensors: Mapping[str, Tensor], wanted: Iterable[str]) -> Recognised:
    """Find the layout and the prefix under which a file holds most of the tensors that are wanted.

    Among equals it is the first layout, and a prefix of an average over training (`AVERAGED`) before the shortest.
    """
    wanted = frozenset(wanted)
    below = names_below_prefixes(tensors)

    def matches(candidate: tuple[str, str]) -> tuple[int, bool, int]:
        layout, prefix = candidate
        renamed = {LAYOUTS[layout].rename(name) for name in below[prefix]}
        return len(renamed & wanted), AVERAGED.search(prefix) is not None, -len(prefix)

    layout, prefix = max(((layout, prefix) for layout in LAYOUTS for prefix in below), key=matches)
    modules = {name.split(".")[0] for name in wanted}
    ours = {prefix + name: LAYOUTS[layout].rename(name) for name in below[prefix]}
    known = {name: own for name, own in ours.items() if own.split(".")[0] in modules}
    return Recognised(
        layout,
        prefix,
        {own: tensors[name] for name, own in known.items()},
        tuple(name for name in tensors if name not in known),
    )


def names_below_prefixes(names: Iterable[str]) -> dict[str, list[str]]:
    """What follows each beginning of up to three words, "" among them, that may be a prefix of a network's names."""
    below: dict[str, list[str]] = defaultdict(list)
    for name in names:
        words = name.split(".")
        for count in range(min(len(words), 4)):
            below["".join(f"{word}." for word in words[:count])].append(".".join(words[count:]))
    return below
