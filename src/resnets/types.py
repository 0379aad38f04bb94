"""Small frozen things that several rooms speak of."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Generic, Literal, TypeVar, get_args

import torch
from torch import Tensor, device
from torch import bool as bool_

T = TypeVar("T")

Interpolation = Literal["nearest", "bilinear", "bicubic"]
Fit = Literal["cover", "contain"]

IGNORED = 255
"""The value of a mask's pixels that count neither way."""


@dataclass(frozen=True)
class Stage:
    """One resolution level of a network: its name, its number of channels, and input pixels per output pixel."""

    name: str
    channels: int
    stride: int


@dataclass(frozen=True)
class Objects:
    """What is where in one picture, in its pixels: x to the right, y down, (0, 0) the corner of the first pixel.

    Attributes:
        size: height and width of the picture.
        boxes: (M, 4) float32: left, top, right, bottom.
        labels: (M,) int64 class numbers.
        ignored: (M,) bool: crowds and objects marked as difficult, which are neither learnt nor counted.
        outlines: the polygons (P, 2) of each object, x and y; () of all where the data has none.
    """

    size: tuple[int, int]
    boxes: Tensor
    labels: Tensor
    ignored: Tensor
    outlines: tuple[tuple[Tensor, ...], ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    def subset(self, chosen: Tensor) -> Objects:
        """The objects at some positions, or where a mask is true."""
        positions = chosen.nonzero().flatten() if chosen.dtype == bool_ else chosen
        outlines = tuple(self.outlines[i] for i in positions.tolist()) if self.outlines else ()
        return replace(
            self,
            boxes=self.boxes[positions],
            labels=self.labels[positions],
            ignored=self.ignored[positions],
            outlines=outlines,
        )

    @property
    def outlined(self) -> Tensor:
        """(M,) bool: which have an outline."""
        return torch.tensor([bool(polygons) for polygons in self._outlines()], dtype=bool_)

    def masks(self) -> Tensor:
        """(M, H, W) uint8, 1 where a pixel's centre is inside an object's outlines, or in its box where it has none.

        Nothing is outside of the boxes, which end where what is seen of an object does.
        """
        height, width = self.size
        drawn = torch.zeros(len(self), height, width, dtype=torch.uint8)
        for mask, (left, top, right, bottom), polygons in zip(
            drawn, self.boxes.tolist(), self._outlines(), strict=True
        ):
            x, y = max(math.floor(left), 0), max(math.floor(top), 0)  # some boxes begin outside of the picture
            part = mask[y : max(math.ceil(bottom), 0), x : max(math.ceil(right), 0)]
            if not polygons:
                part.fill_(1)
            for polygon in polygons:
                part |= _inside(polygon - torch.tensor([x, y]), part.shape[0], part.shape[1])
        return drawn

    def _outlines(self) -> tuple[tuple[Tensor, ...], ...]:
        """The polygons of each object, which may be none."""
        return self.outlines or ((),) * len(self)


def _inside(polygon: Tensor, height: int, width: int) -> Tensor:
    """(height, width) bool: the pixels whose centres are inside a polygon (P, 2), by the even-odd rule.

    Along the middle of each row a pixel is inside if an odd number of edges is crossed before its centre.
    """
    x, y = polygon.double().unbind(1)
    x2, y2 = x.roll(-1), y.roll(-1)
    rows = torch.arange(height)[:, None] + 0.5
    row, edge = ((y <= rows) != (y2 <= rows)).nonzero(as_tuple=True)
    crossed = x[edge] + (row + 0.5 - y[edge]) * (x2 - x)[edge] / (y2 - y)[edge]
    first = (crossed - 0.5).ceil().clamp(0, width).long()  # pixel whose centre is behind the crossing
    crossings = (row * (width + 1) + first).bincount(minlength=height * (width + 1)).view(height, width + 1)
    return crossings.cumsum(1)[:, :width] % 2 == 1


class Exact(Generic[T]):
    """What a network is told beside the pixels, of which no number is rounded on the way.

    Mixed precision casts every tensor that a network is called with, in lists, dictionaries and dataclasses, too. A box
    in bfloat16 has edges that are whole pixels off, and of 2,000 times between 0 and 1 it leaves 389. Of this class it
    knows nothing, and lets it pass.
    """

    def __init__(self, value: T) -> None:
        self.value = value


def exact(given: T | Exact[T]) -> T:
    """What a network is told, whether or not it was protected on the way."""
    return given.value if isinstance(given, Exact) else given


@dataclass(frozen=True)
class Batch:
    """Labelled pictures, as they leave the data and as they enter a task.

    Attributes:
        images: (N, C, H, W), uint8 from the loader, float once normalised.
        targets: (N,) int64 class numbers, or (N, K) float class shares where pictures are mixed; of masks (N, H, W)
            uint8 class numbers, `IGNORED` where a pixel counts neither way.
        indices: (N,) int64 positions of the samples in their dataset, or numbers of draws; see `order.balanced`.
        objects: what is where in each of the N pictures, as they are here; () where places are not asked for.
        seed, epoch: of which, with `indices`, what a task chooses at random is a function; 0 in evaluation.
    """

    images: Tensor
    targets: Tensor
    indices: Tensor
    objects: tuple[Objects, ...] = ()
    seed: int = 0
    epoch: int = 0

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def says_where(self) -> bool:
        """Whether targets are places in the pictures as they are here, so that moving these would spoil them."""
        return bool(self.objects) or self.targets.ndim == 3

    def parts(self, count: int) -> list[Batch]:
        """The batch cut into so many parts, alike in size to within one picture, the larger ones first."""
        size, larger = divmod(len(self), count)
        ends = [size * number + min(number, larger) for number in range(count + 1)]
        return [
            replace(
                self,
                images=self.images[start:end],
                targets=self.targets[start:end],
                indices=self.indices[start:end],
                objects=self.objects[start:end],
            )
            for start, end in pairwise(ends)
        ]

    def to(self, device: device) -> Batch:
        """The batch on a device; a copy from pinned memory does not wait."""
        images, targets, indices = (
            tensor.to(device, non_blocking=True) for tensor in (self.images, self.targets, self.indices)
        )
        return replace(self, images=images, targets=targets, indices=indices)


@dataclass(frozen=True)
class Preprocessing:
    """From a picture to the network's input, the same in training's evaluation, `evaluate` and `predict`.

    The picture is decoded, turned upright by its EXIF orientation and converted to `channels` (1 grey, 3 RGB,
    transparency over white); resized with antialiasing so that it just covers `size / crop`; cropped about its
    centre to `size`; divided by 255; and normalised, (x - mean) / std. With fit "contain" it is resized, each side
    rounded, so that it just fits into `size`, and stands in the upper left; the rest is filled with the mean, rounded
    to 8 bits.

    Attributes:
        size: height and width of the network's input, pixels.
        channels: 1 or 3.
        mean, std: one number a channel, of pictures whose values run from 0 to 1.
        crop: the share of the resized picture's side that the centre crop keeps; ImageNet's 224 of 256 is 0.875.
        interpolation: how the picture is resized.
        fit: "cover", or "contain", which lets all of the picture be seen.
    """

    size: tuple[int, int]
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop: float = 1.0
    interpolation: Interpolation = "bilinear"
    fit: Fit = "cover"

    def __post_init__(self) -> None:
        if self.channels not in (1, 3):
            raise ValueError(f"Preprocessing.channels must be 1 (grey) or 3 (RGB), not {self.channels}")
        if not len(self.mean) == len(self.std) == self.channels:
            raise ValueError(
                f"Preprocessing needs one mean and one std for each of {self.channels} channels, "
                f"not {len(self.mean)} and {len(self.std)}"
            )
        if not 0 < self.crop <= 1:
            raise ValueError(f"Preprocessing.crop must be above 0 and at most 1, not {self.crop}")
        if self.fit not in get_args(Fit) or (self.fit == "contain" and self.crop != 1):
            raise ValueError(f"Preprocessing.fit must be cover, or contain with crop 1, not {self.fit!r}")
        if min(self.size) < 1 or min(self.std) <= 0:
            raise ValueError(f"Preprocessing needs a positive size and std, not {self.size} and {self.std}")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Preprocessing:
        """The preprocessing whose fields were written as JSON, which has lists for tuples."""
        fields: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
        }
        return cls(**fields)
