"""The feature pyramid (arXiv:1612.03144) on any network's stages, with torchvision's names of parameters.

images (N, C, H, W) -> body -> maps at strides 4, 8, 16, 32 -> fpn -> as many maps of one number of channels
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from copy import deepcopy
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool, LastLevelP6P7

from resnets.types import Stage


class Body(Protocol):
    """What a pyramid stands on: any network here."""

    stages: Sequence[Stage]

    def features(self, x: Tensor, stages: Iterable[str] | None = None) -> dict[str, Tensor]:
        """The maps of the stages named."""

    def levels(self) -> Sequence[Sequence[nn.Module]]:
        """For each stage, the modules that lead to its map."""


class Backbone(nn.Module):
    """A network without its classifier, and the pyramid on it; without a pyramid, the one map of the greatest stride.

    Its maps are float32 whatever the network computed in, because anchors and boxes take their type from them.

    Args:
        body: the network; what comes after the last stage that is used is taken off.
        least_stride, greatest_stride: of the stages that the pyramid stands on.
        channels: of the pyramid's maps; 0 for no pyramid.
        extra: maps above the last: "pool" for one by striding, "convolutions" for two by 3x3 convolutions
            (arXiv:1708.02002, section 4), "" for none.

    Attributes:
        stages: of the network, as far as they are used.
        out_channels: of each map.
        strides: input pixels per pixel of each map.

    Raises:
        ValueError: if the network has no such stages.
    """

    def __init__(
        self, body: Any, least_stride: int, greatest_stride: int = 32, channels: int = 256, extra: str = ""
    ) -> None:
        super().__init__()
        self.chosen = of_strides(body.stages, least_stride, greatest_stride)
        self.stages = tuple(body.stages)[: list(body.stages).index(self.chosen[-1]) + 1]
        self.body = without_what_follows(body, self.chosen[-1])
        if not channels:
            self.chosen = self.chosen[-1:]
        self.strides = tuple(stage.stride for stage in self.chosen)
        self.out_channels = channels or self.chosen[-1].channels
        self.fpn = None
        self._grids: dict[tuple[int, int], tuple[tuple[int, int], ...]] = {}
        if channels:
            above: dict[str, Any] = {
                "": lambda: None,
                "pool": LastLevelMaxPool,
                "convolutions": lambda: LastLevelP6P7(channels, channels),
            }
            widths = [stage.channels for stage in self.chosen]
            self.fpn = FeaturePyramidNetwork(widths, channels, extra_blocks=above[extra]())
            more = {"": 0, "pool": 1, "convolutions": 2}[extra]
            self.strides += tuple(self.strides[-1] * 2**step for step in range(1, more + 1))
        self._skeleton = (deepcopy(self).to("meta").eval(),)  # a tuple, as it is no part of the network

    def forward(self, images: Tensor) -> OrderedDict[str, Tensor]:
        """The maps of images, finest first, by the names "0", "1"..., and of what is above them."""
        return OrderedDict((name, values.float()) for name, values in self.maps(images).items())

    def maps(self, images: Tensor) -> OrderedDict[str, Tensor]:
        """The maps as they were computed, in whichever type."""
        maps = self.body.features(images, [stage.name for stage in self.chosen])
        numbered = OrderedDict((str(number), maps[stage.name]) for number, stage in enumerate(self.chosen))
        if self.fpn is None:
            return numbered
        pyramid: OrderedDict[str, Tensor] = self.fpn(numbered)
        return pyramid

    def grids(self, size: tuple[int, int]) -> tuple[tuple[int, int], ...]:
        """Height and width of each map for an input of `size`; no map is computed."""
        if size not in self._grids:
            image = torch.empty(1, self.body.architecture.in_channels, *size, device="meta")
            with torch.no_grad():
                maps = self._skeleton[0](image)
            self._grids[size] = tuple((values.shape[2], values.shape[3]) for values in maps.values())
        return self._grids[size]


def of_strides(stages: Sequence[Stage], least: int, greatest: int) -> tuple[Stage, ...]:
    """The last stage of each stride in a range, finest first.

    Raises:
        ValueError: if there is none.
    """
    last = {stage.stride: stage for stage in stages if least <= stage.stride <= greatest}
    if not last:
        strides = ", ".join(f"{stage.name} {stage.stride}" for stage in stages)
        raise ValueError(f"the head needs stages of strides {least} to {greatest}; the network has {strides}")
    return tuple(last[stride] for stride in sorted(last))


def without_what_follows(network: Any, last: Stage) -> Any:
    """The network with nothing in the place of each module with weights that comes after a stage."""
    levels = network.levels()[: list(network.stages).index(last) + 1]
    used = {id(part) for level in levels for module in level for part in module.modules()}
    for name, module in list(network.named_modules()):
        if module.state_dict() and not any(id(part) in used for part in module.modules()):
            parent, _, child = name.rpartition(".")
            setattr(network.get_submodule(parent), child, nn.Identity())
    return network
