"""What a network costs: parameters, multiply-adds, activations and memory, by stage and in total.

All is counted on PyTorch's meta device, where tensors have shapes and no values: nothing is computed, and the
largest networks take seconds.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from resnets.inference.parts import dense_part
from resnets.networks.catalogue import build
from resnets.networks.declaration import Declaration
from resnets.networks.network import Network
from resnets.networks.unet import UNet, UNetArchitecture

aten = torch.ops.aten


@dataclass(frozen=True)
class StageProfile:
    """What one stage of a network costs for one picture in float32.

    Attributes:
        name: a stage of the network, "classifier" for all that follows the last, or "total".
        output: the shape of what it gives, (C, H, W) or (C,).
        parameters: numbers that are learnt.
        multiply_adds: of convolutions and linear layers without biases; arXiv:1512.03385 calls one a FLOP.
        activations: elements of the outputs of all convolutions (arXiv:2003.13678, section 3).
        parameter_bytes: of parameters and buffers.
        kept_bytes: of what training's forward pass keeps for the backward pass, for each picture of a batch:
            the picture and all maps and masks that derivatives need, each once.
        peak_bytes: of the tensors alive at one time, at most, while inference runs the stage: the picture,
            outputs, and inputs still needed. Neither the parameters nor the scratch memory of a convolution's
            algorithm are among them. In total it is the highest of the stages.
    """

    name: str
    output: tuple[int, ...]
    parameters: int
    multiply_adds: int
    activations: int
    parameter_bytes: int
    kept_bytes: int
    peak_bytes: int


@dataclass(frozen=True)
class Profile:
    """What a network costs for one picture in float32.

    Attributes:
        size: height and width of the picture, pixels.
        channels: of the picture.
        stages: in the order in which they run.
    """

    size: tuple[int, int]
    channels: int
    stages: tuple[StageProfile, ...]

    @property
    def total(self) -> StageProfile:
        """The whole network."""
        return StageProfile(
            name="total",
            output=self.stages[-1].output,
            parameters=sum(stage.parameters for stage in self.stages),
            multiply_adds=sum(stage.multiply_adds for stage in self.stages),
            activations=sum(stage.activations for stage in self.stages),
            parameter_bytes=sum(stage.parameter_bytes for stage in self.stages),
            kept_bytes=sum(stage.kept_bytes for stage in self.stages),
            peak_bytes=max(stage.peak_bytes for stage in self.stages),
        )

    @property
    def inference_bytes(self) -> int:
        """What inference on one picture holds at its peak: parameters, buffers and tensors alive."""
        return self.total.parameter_bytes + self.total.peak_bytes

    def to_dict(self) -> dict[str, Any]:
        """All figures, in JSON's types."""
        return asdict(self) | {"total": asdict(self.total), "inference_bytes": self.inference_bytes}


def profile(network: Network, size: tuple[int, int]) -> Profile:
    """Profile a network for a picture of the given height and width. The network is neither run nor changed.

    Raises:
        ValueError: for a size too small for the network, and for a U-Net.
    """
    if isinstance(network, UNet):
        raise ValueError("a U-Net's stages do not follow one another; `resnets models 'flow*'` tells what it costs")
    twin: Network = _on_meta(network)
    shape = (twin.architecture.in_channels, *size)
    one, two, three = (torch.empty(n, *shape, device="meta") for n in (1, 2, 3))
    twin.features(one, [])  # checks the size and computes nothing
    work = _forward(twin.eval(), one)
    # What a third picture adds to two, for batch norm cannot train on one whose map has shrunk to a pixel.
    twin.train()
    kept = [more - less for more, less in zip(_kept(twin, three), _kept(twin, two), strict=True)]
    stages = (
        StageProfile(
            name=name,
            parameters=sum(tensor.numel() for tensor in tensors if isinstance(tensor, nn.Parameter)),
            parameter_bytes=sum(tensor.nbytes for tensor in tensors),
            kept_bytes=kept_bytes,
            **figures,
        )
        for (name, _), tensors, figures, kept_bytes in zip(_steps(twin), _tensors(twin), work, kept, strict=True)
    )
    return Profile(size, shape[0], tuple(stages))


def multiply_adds(network: nn.Module, size: tuple[int, int]) -> int:
    """What an engine does for a picture of the given height and width; of a detector, what is dense of it.

    The network is neither run nor changed.
    """
    twin = _on_meta(network).eval()
    image = torch.empty(1, twin.architecture.in_channels, *size, device="meta")
    with torch.no_grad(), _Meter(alive=[], known=[]) as meter:
        dense_part(twin)(image)
    return meter.multiply_adds


def totals(declaration: Declaration, size: tuple[int, int]) -> tuple[int, int]:
    """Parameters and multiply-adds, the same as in the network's profile but soon found for any depth.

    Where all blocks of a stage (in VGG, all convolutions) cost the same from the second on, networks of one in each
    stage, and of one more in a single stage, tell it.
    """
    if isinstance(declaration, UNetArchitecture):
        return _totals_of_unet(declaration, size)
    depths, network = declaration.repeated, cast(Any, declaration)
    if not depths:
        return _totals(declaration, size)
    shallow = replace(network, depths=(1,) * len(depths), source="")
    parameters, multiply_adds = base = _totals(shallow, size)
    for stage, depth in enumerate(depths):
        deeper = replace(shallow, depths=tuple(2 if i == stage else 1 for i in range(len(depths))))
        more = _totals(deeper, size)
        parameters += (depth - 1) * (more[0] - base[0])
        multiply_adds += (depth - 1) * (more[1] - base[1])
    return parameters, multiply_adds


@lru_cache
def _totals(declaration: Declaration, size: tuple[int, int]) -> tuple[int, int]:
    with torch.device("meta"):
        network: Any = build(declaration).eval()
        work = _forward(network, torch.empty(1, declaration.in_channels, *size))
    return sum(p.numel() for p in network.parameters()), sum(stage["multiply_adds"] for stage in work)


def _totals_of_unet(declaration: UNetArchitecture, size: tuple[int, int]) -> tuple[int, int]:
    """The same, of one step from noise to a picture."""
    with torch.device("meta"), torch.no_grad():
        network = build(declaration).eval()
        inputs = (torch.empty(1, declaration.in_channels, *size), torch.empty(1), torch.zeros(1, dtype=torch.int64))
        with _Meter(alive=[], known=[]) as meter:
            network(*inputs)
    return sum(p.numel() for p in network.parameters()), meter.multiply_adds


def _on_meta(network: Any) -> Any:
    """A copy with all parameters and buffers but none of their values, real numbers as float32."""
    memo: dict[int, Tensor] = {}
    for tensor in (*network.parameters(), *network.buffers()):
        dtype = torch.float32 if tensor.is_floating_point() else tensor.dtype
        empty = torch.empty_like(tensor, device="meta", dtype=dtype)
        learnt = isinstance(tensor, nn.Parameter)
        memo[id(tensor)] = nn.Parameter(empty, tensor.requires_grad) if learnt else empty
    return deepcopy(network, memo)


def _steps(network: Network) -> Iterator[tuple[str, Sequence[Callable[[Tensor], Tensor]]]]:
    """The stages and the classifier by name, with the functions that each applies in turn."""
    for stage, modules in zip(network.stages, network.levels(), strict=True):
        yield stage.name, modules
    yield "classifier", (network.classify,)


def _tensors(network: Network) -> Iterator[list[Tensor]]:
    """The parameters and buffers of each stage; then all others, which are the classifier's."""
    others = {id(tensor): tensor for tensor in (*network.parameters(), *network.buffers())}
    for modules in network.levels():
        own = [tensor for module in modules for tensor in (*module.parameters(), *module.buffers())]
        yield [others.pop(id(tensor)) for tensor in own]
    yield list(others.values())


def _forward(network: Network, x: Tensor) -> list[dict[str, Any]]:
    """Of each stage, what a forward pass without gradients shows, by the names of `StageProfile`."""
    stages = []
    with torch.no_grad(), _Meter(alive=[x], known=[*network.parameters(), *network.buffers()]) as meter:
        for _, functions in _steps(network):
            meter.start()
            for function in functions:
                x = function(x)
            stages.append(
                {
                    "output": tuple(x.shape[1:]),
                    "multiply_adds": meter.multiply_adds,
                    "activations": meter.activations,
                    "peak_bytes": meter.peak,
                }
            )
    return stages


class _Meter(TorchDispatchMode):
    """Watches each operation: the work it does, and the tensors it makes until nothing refers to them.

    Args:
        alive: tensors that count as alive from the beginning.
        known: tensors that never count.
    """

    def __init__(self, alive: Sequence[Tensor], known: Sequence[Tensor]) -> None:
        super().__init__()
        self._storages = {tensor.untyped_storage()._cdata for tensor in (*alive, *known)}
        self.alive = sum(tensor.nbytes for tensor in alive)
        self.start()

    def start(self) -> None:
        """Begin to count anew; what is alive stays alive."""
        self.multiply_adds = self.activations = 0
        self.peak = self.alive

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        outputs = func(*args, **(kwargs or {}))
        if func is aten.convolution.default:
            self.activations += outputs.numel()
            self.multiply_adds += outputs.numel() * args[1][0].numel()  # weight (C, C' / groups, k, k)
        elif func in (aten.mm.default, aten.addmm.default):
            self.multiply_adds += outputs.numel() * len(args[-1])  # weight (C', C)
        for tensor in tree_leaves(outputs):
            if isinstance(tensor, Tensor):
                self._watch(tensor.untyped_storage())
        return outputs

    def _watch(self, storage: torch.UntypedStorage) -> None:
        address, size = storage._cdata, storage.nbytes()
        if address not in self._storages:
            self._storages.add(address)
            self.alive += size
            self.peak = max(self.peak, self.alive)
            weakref.finalize(storage, self._release, address, size)

    def _release(self, address: int, size: int) -> None:
        self._storages.discard(address)
        self.alive -= size


def _kept(network: Network, x: Tensor) -> list[int]:
    """Of each stage, the bytes that a forward pass keeps for the backward pass."""
    known = {tensor.untyped_storage()._cdata for tensor in (*network.parameters(), *network.buffers())}
    kept: dict[int, Tensor] = {}  # by storage; to hold the tensors keeps their addresses from being used again
    totals = []

    def pack(tensor: Tensor) -> Tensor:
        address = tensor.untyped_storage()._cdata
        if address not in known:
            kept.setdefault(address, tensor.detach())
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        for _, functions in _steps(network):
            for function in functions:
                x = function(x)
            totals.append(sum(tensor.untyped_storage().nbytes() for tensor in kept.values()))
    return [total - before for total, before in zip(totals, [0, *totals], strict=False)]
