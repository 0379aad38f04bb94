"""A network and what stands before it as one graph, from pixels to outputs, to be exported or handed to an engine.

    pixels (N, H, W, C) uint8 -> resized and cropped, if the graph is a whole one -> normalised -> network -> outputs

Pixels lie as decoders leave them, a pixel's channels side by side. What a network gives is a tensor, a tuple of them,
or a dictionary; engines give plain lists, which `Outputs` puts together again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.nn.utils.fusion import fuse_conv_bn_weights

from resnets.types import Interpolation, Preprocessing

aten = torch.ops.aten

Answer = Any
"""What a network gives: a tensor, a tuple of tensors, or a dictionary of them."""

CUBIC = -0.5
"""Keys' parameter of the bicubic filter (IEEE Trans. ASSP 29:1153, 1981), as Pillow and torchvision antialias by it."""


@dataclass(frozen=True)
class Outputs:
    """How a network's outputs stand together: a single tensor, `count` of them, or one for each of `names`."""

    count: int = 0
    names: tuple[str, ...] = ()

    @classmethod
    def of(cls, answer: Answer) -> Outputs:
        """How those of an answer do.

        Raises:
            TypeError: if it is neither a tensor, nor a tuple, list or dictionary of them.
        """
        parts = answer.values() if isinstance(answer, Mapping) else [answer] if isinstance(answer, Tensor) else answer
        if not isinstance(answer, (Tensor, tuple, list, Mapping)) or not all(isinstance(p, Tensor) for p in parts):
            raise TypeError(f"a network to export gives tensors, or a tuple or dictionary of them, not {type(answer)}")
        if isinstance(answer, Mapping):
            return cls(names=tuple(answer))
        return cls() if isinstance(answer, Tensor) else cls(len(answer))

    def labels(self) -> list[str]:
        """What they are called in a graph."""
        return list(self.names) or ([f"output{number}" for number in range(self.count)] or ["outputs"])

    def apart(self, answer: Answer) -> list[Tensor]:
        """The tensors of an answer, in order."""
        if self.names:
            return [answer[name] for name in self.names]
        return list(answer) if self.count else [answer]

    def together(self, tensors: Sequence[Tensor]) -> Answer:
        """The tensors as the network gives them."""
        if self.names:
            return dict(zip(self.names, tensors, strict=True))
        return tuple(tensors) if self.count else tensors[0]


@dataclass(frozen=True)
class Graph:
    """A network with what stands before it, ready to be exported.

    Attributes:
        program: its outputs in order.
        inputs: their shapes by name, in order, -1 for any number: of pictures `pixels` (N, H, W, C) uint8.
        outputs: how they stand together.
    """

    program: ExportedProgram
    inputs: Mapping[str, tuple[int, ...]]
    outputs: Outputs


class Pixels(nn.Module):
    """A network that takes pixels: of its input's size, or of whole pictures.

    Args:
        network: takes normalised pictures (N, C, H, W).
        preprocessing: of the card.
        outputs: how the network's outputs stand together.
        whole: whether pictures are resized and cropped here.
        dtype: of the network.
    """

    scale: Tensor
    shift: Tensor

    def __init__(
        self, network: nn.Module, preprocessing: Preprocessing, outputs: Outputs, whole: bool, dtype: torch.dtype
    ) -> None:
        super().__init__()
        self.network = network.to(dtype)
        self.dtype = dtype
        self.outputs = outputs
        self.resize = Resize(preprocessing) if whole else nn.Identity()
        mean, std = torch.tensor(preprocessing.mean), torch.tensor(preprocessing.std)
        self.register_buffer("scale", (1 / (255 * std))[:, None, None])
        self.register_buffer("shift", (mean / std)[:, None, None])

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """The outputs for pixels (N, H, W, C) uint8, in order."""
        images = self.resize(pixels.permute(0, 3, 1, 2).float())
        answer = self.network((images * self.scale - self.shift).to(self.dtype))
        return [tensor.float() for tensor in self.outputs.apart(answer)]


class Resize(nn.Module):
    """`data.views.view` for a graph: resizing and cropping as two products with matrices made from the picture's size.

    Written with operations that every engine has, as their own ways of resizing differ. It agrees with `view` to
    within a rounding of single values.
    """

    def __init__(self, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.size = preprocessing.size
        self.covering = tuple(round(side / preprocessing.crop) for side in preprocessing.size)
        self.interpolation = preprocessing.interpolation

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) of values from 0 to 255 to (N, C, *size)."""
        rows, columns = (torch.ones_like(line).cumsum(0) - 1 for line in (images[0, 0, :, 0], images[0, 0, 0, :]))
        H, W = (line[-1].long() + 1 for line in (rows, columns))
        height, width = self.covering
        covering = (
            torch.clamp(torch.div(H * width, W, rounding_mode="floor"), min=height),
            torch.clamp(torch.div(W * height, H, rounding_mode="floor"), min=width),
        )
        across = resampling(columns, W, covering[1], self.size[1], self.interpolation)  # (w, W)
        down = resampling(rows, H, covering[0], self.size[0], self.interpolation)  # (h, H)
        images = (images @ across.T).round().clamp(0, 255)  # (N, C, H, w)
        return (down @ images).round().clamp(0, 255)


def resampling(positions: Tensor, length: Tensor, covering: Tensor, size: int, interpolation: Interpolation) -> Tensor:
    """The matrix (size, length) that resizes a line of pixels to `covering` and keeps `size` of them in the centre.

    Antialiased as Pillow does it: where a line gets shorter, the filter gets wider.

    Args:
        positions: 0, 1... length - 1, as floats.
        length, covering: numbers of pixels, ().
        size: pixels that are kept.
        interpolation: the filter.
    """
    scale = length.float() / covering.float()
    offset = ((covering - size).float() / 2).round()  # half to even, as torchvision crops
    centres = (torch.arange(size).float() + offset + 0.5) * scale
    if interpolation == "nearest":
        return (positions[None] == centres.floor()[:, None]).float()
    x = ((positions[None] + 0.5 - centres[:, None]) / scale.clamp(min=1)).abs()
    weights = (1 - x).clamp(min=0) if interpolation == "bilinear" else bicubic(x)
    return weights / weights.sum(1, keepdim=True)


def bicubic(x: Tensor) -> Tensor:
    """Keys' filter at distances x >= 0."""
    near = ((CUBIC + 2) * x - (CUBIC + 3)) * x * x + 1
    far = ((x - 5) * x + 8) * x * CUBIC - 4 * CUBIC
    return torch.where(x < 1, near, torch.where(x < 2, far, torch.zeros_like(x)))


def graph_of(
    network: nn.Module,
    preprocessing: Preprocessing,
    *,
    whole: bool = False,
    batch: int | None = None,
    dtype: torch.dtype = torch.float32,
) -> Graph:
    """A network on the CPU, in evaluation mode, as a graph with batch norm folded into the convolutions.

    Args:
        network: takes normalised pictures (N, C, H, W).
        preprocessing: of the card.
        whole: the graph takes whole pictures of any size, and resizes and crops them itself.
        batch: the number of pictures it takes; None for any.
        dtype: of weights and maps.
    """
    sample = torch.zeros(batch or 2, *preprocessing.size, preprocessing.channels, dtype=torch.uint8)
    with torch.inference_mode():
        outputs = Outputs.of(network(sample.permute(0, 3, 1, 2).float()))
    network = folded(deepcopy(network), sample.permute(0, 3, 1, 2).float())
    pixels = Pixels(network, preprocessing, outputs, whole, dtype)
    sizes = {0: Dim.AUTO} if batch is None else {}
    if whole:
        sample = torch.zeros(batch or 2, *(side + 9 for side in preprocessing.size), preprocessing.channels).byte()
        sizes |= {1: Dim.AUTO, 2: Dim.AUTO}
    with torch.no_grad():
        program = torch.export.export(pixels, (sample,), dynamic_shapes=(sizes,))
    height, width = (-1, -1) if whole else preprocessing.size
    return Graph(program, {"pixels": (batch or -1, height, width, preprocessing.channels)}, outputs)


def graph_of_field(network: nn.Module, preprocessing: Preprocessing, *, batch: int | None = None) -> Graph:
    """A network on the CPU that makes pictures, in evaluation mode, as a graph of its velocity at a time.

    It takes `x` (N, C, H, W) between noise and normalised pictures, `times` (N,) and `labels` (N,) int64.
    """
    count, channels, (height, width) = batch or 2, preprocessing.channels, preprocessing.size
    sample = (torch.zeros(count, channels, height, width), torch.zeros(count), torch.zeros(count, dtype=torch.int64))
    sizes = None if batch is not None else tuple({0: Dim.AUTO} for _ in sample)
    with torch.no_grad():
        program = torch.export.export(network, sample, dynamic_shapes=sizes)
    many = batch or -1
    return Graph(program, {"x": (many, channels, height, width), "times": (many,), "labels": (many,)}, Outputs())


def folded(network: nn.Module, images: Tensor) -> nn.Module:
    """The network with batch norm folded into the convolutions before it, wherever a norm is all that reads one.

    Args:
        network: in evaluation mode, on the CPU.
        images: (N, C, H, W), N of 2 or more, that it takes; only their shape counts.
    """
    sizes = {0: Dim.AUTO, 2: Dim.AUTO, 3: Dim.AUTO}
    with torch.no_grad():
        module: Any = torch.export.export(network, (images,), dynamic_shapes=(sizes,)).module(check_guards=False)
    for norm in [node for node in module.graph.nodes if node.target is aten.batch_norm.default]:
        convolution = norm.args[0]
        if convolution.target is not aten.conv2d.default or len(convolution.users) > 1:
            continue
        weight, bias = (_value(module, node) for node in (*convolution.args, None)[1:3])
        scale, shift, mean, variance = (_value(module, node) for node in norm.args[1:5])
        values = fuse_conv_bn_weights(weight, bias, mean, variance, norm.args[7], scale, shift)
        with module.graph.inserting_before(convolution):
            nodes = []
            for part, value in zip(("weight", "bias"), values, strict=True):
                name = f"{convolution.name}_folded_{part}"
                module.register_parameter(name, nn.Parameter(value.detach(), requires_grad=False))
                nodes.append(module.graph.get_attr(name))
        convolution.args = (convolution.args[0], *nodes, *convolution.args[3:])
        norm.replace_all_uses_with(convolution)
        module.graph.erase_node(norm)
    for check in [node for node in module.graph.nodes if node.target is aten._assert_tensor_metadata.default]:
        module.graph.erase_node(check)  # of the types that maps have here, which may be exported in another
    module.graph.eliminate_dead_code()
    module.delete_all_unused_submodules()
    module.recompile()
    return module


def _value(module: Any, node: Any) -> Any:
    """The tensor that a node reads from the module; None for none."""
    if node is None:
        return None
    value: Any = module
    for part in node.target.split("."):
        value = getattr(value, part)
    return value
