"""Windows: which part of a picture is seen, and where. Pictures, boxes, outlines and masks all follow the same one.

A window takes a rectangle of a picture, resizes it to a rectangle of the network's input and may mirror it there: an
affine map of each axis by itself, which is undone as easily. What evaluation sees is one window, what training sees is
another, a mosaic is four of them on one canvas, and a large picture is covered by several.

Legend: H x W pixels of the input, h x w of the picture.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as tv

from resnets.types import Interpolation, Objects, Preprocessing

INTERPOLATION = {
    "nearest": InterpolationMode.NEAREST_EXACT,
    "bilinear": InterpolationMode.BILINEAR,
    "bicubic": InterpolationMode.BICUBIC,
}

LEAST_VISIBLE = 0.25
"""An object of which a window shows less than this share of its box is left out of training."""


@dataclass(frozen=True)
class Rectangle:
    """Whole pixels: the upper left corner and the sides."""

    top: int
    left: int
    height: int
    width: int


@dataclass(frozen=True)
class Window:
    """A part of a picture and its place in the network's input.

    Attributes:
        part: of the picture.
        place: in the input.
        flip: whether it is mirrored left to right within its place.
        flip_vertical: whether it is mirrored top to bottom, too.
    """

    part: Rectangle
    place: Rectangle
    flip: bool = False
    flip_vertical: bool = False

    def points(self, points: Tensor) -> Tensor:
        """Where points (..., 2) of the picture, x and y, are in the input."""
        moved = (points - self._start(self.part)) * self._factors()
        mirrored = torch.tensor([self.place.width, self.place.height]) - moved
        return torch.where(torch.tensor([self.flip, self.flip_vertical]), mirrored, moved) + self._start(self.place)

    def points_back(self, points: Tensor) -> Tensor:
        """Where points (..., 2) of the input are in the picture: the inverse of `points`."""
        moved = points - self._start(self.place)
        mirrored = torch.tensor([self.place.width, self.place.height]) - moved
        straight = torch.where(torch.tensor([self.flip, self.flip_vertical]), mirrored, moved)
        return straight / self._factors() + self._start(self.part)

    def boxes(self, boxes: Tensor) -> Tensor:
        """Where boxes (M, 4) of the picture are in the input; they may reach beyond the window's place."""
        return _boxes_of(self.points(boxes.view(-1, 2, 2)))

    def boxes_back(self, boxes: Tensor) -> Tensor:
        """Where boxes (M, 4) of the input are in the picture."""
        return _boxes_of(self.points_back(boxes.view(-1, 2, 2)))

    def paint(self, canvas: Tensor, picture: Tensor, interpolation: Interpolation = "bilinear") -> None:
        """Put the part of a picture (C, h, w) into its place on a canvas (C, H, W), with antialiasing."""
        part, place = self.part, self.place
        pixels = picture[:, part.top : part.top + part.height, part.left : part.left + part.width]
        if (part.height, part.width) != (place.height, place.width):
            mode = INTERPOLATION[interpolation]
            pixels = tv.resize(pixels, [place.height, place.width], interpolation=mode, antialias=True)
        mirrored = [dimension for dimension, wanted in ((1, self.flip_vertical), (2, self.flip)) if wanted]
        pixels = pixels.flip(mirrored) if mirrored else pixels
        canvas[:, place.top : place.top + place.height, place.left : place.left + place.width] = pixels

    def objects(self, objects: Objects, size: tuple[int, int]) -> Objects:
        """What the window shows of a picture's objects, in the pixels of an input of `size`.

        Boxes end where the window does; objects of which it shows too little are left out.
        """
        moved = self.boxes(objects.boxes)
        low = self._start(self.place).repeat(2)
        high = low + torch.tensor([self.place.width, self.place.height]).repeat(2)
        clipped = moved.clamp(low, high)
        before, after = ((boxes[:, 2:] - boxes[:, :2]) for boxes in (moved, clipped))
        seen = (after > 0).all(1) & (after.prod(1) >= LEAST_VISIBLE * before.prod(1))
        outlines = tuple(tuple(self.points(polygon) for polygon in polygons) for polygons in objects.outlines)
        return replace(objects, size=size, boxes=clipped, outlines=outlines).subset(seen)

    def _factors(self) -> Tensor:
        return torch.tensor([self.place.width / self.part.width, self.place.height / self.part.height])

    def _start(self, rectangle: Rectangle) -> Tensor:
        return torch.tensor([float(rectangle.left), float(rectangle.top)])


def _boxes_of(corners: Tensor) -> Tensor:
    """Boxes (M, 4) of two opposite corners each, (M, 2, 2)."""
    return torch.cat((corners.amin(1), corners.amax(1)), 1)


def whole(size: tuple[int, int], preprocessing: Preprocessing) -> Window:
    """What evaluation sees of a picture of `size`, (h, w): all of it, as fit "contain" says."""
    (h, w), (H, W) = size, preprocessing.size
    scale = min(H / h, W / w)
    place = Rectangle(0, 0, min(max(round(h * scale), 1), H), min(max(round(w * scale), 1), W))
    return Window(Rectangle(0, 0, h, w), place)


def cut(size: tuple[int, int], room: Rectangle, scale: float, y: float, x: float) -> Window:
    """As much of a picture, resized by `scale`, as there is room for.

    Args:
        size: of the picture.
        room: in the input.
        scale: pixels of the input for one of the picture.
        y, x: from 0 to 1: which part is taken where the picture is larger than the room, and where it stands in the
            room where it is smaller.
    """
    (top, height, start, length), (left, width, first, breadth) = (
        _cut_axis(whole_side, side, scale, where)
        for whole_side, side, where in ((size[0], room.height, y), (size[1], room.width, x))
    )
    return Window(Rectangle(top, left, height, width), Rectangle(room.top + start, room.left + first, length, breadth))


def _cut_axis(whole_side: int, room: int, scale: float, where: float) -> tuple[int, int, int, int]:
    """Along one axis: beginning and length of the part, and of its place."""
    part = min(whole_side, max(round(room / scale), 1))
    place = min(room, max(round(part * scale), 1))
    return int(where * (whole_side - part + 1)), part, int(where * (room - place + 1)), place


def tiles(size: tuple[int, int], preprocessing: Preprocessing, overlap: float = 0.2) -> list[Window]:
    """Windows of the input's size that cover a large picture at its own resolution, each over the next by a share."""
    H, W = preprocessing.size
    height, width = min(H, size[0]), min(W, size[1])
    return [
        Window(Rectangle(top, left, height, width), Rectangle(0, 0, height, width))
        for top in _steps(size[0], H, overlap)
        for left in _steps(size[1], W, overlap)
    ]


def _steps(whole_side: int, side: int, overlap: float) -> list[int]:
    count = max(1, math.ceil((whole_side - overlap * side) / (side * (1 - overlap))))
    return [round(step * max(whole_side - side, 0) / max(count - 1, 1)) for step in range(count)]


def canvas(preprocessing: Preprocessing) -> Tensor:
    """An input (C, H, W) uint8 on which nothing stands yet: the mean, in 8 bits."""
    fill = torch.tensor([round(255 * mean) for mean in preprocessing.mean], dtype=torch.uint8)
    return fill[:, None, None].expand(-1, *preprocessing.size).clone()


def on_pictures(detections: Tensor, sizes: Sequence[tuple[int, int]], preprocessing: Preprocessing) -> Tensor:
    """Detections (N, D, 4 and more) in the pixels of whole pictures in place of those of the input; see `whole`."""
    moved = detections.clone()
    for rows, (h, w) in zip(moved, sizes, strict=True):
        boxes = whole((h, w), preprocessing).boxes_back(rows[:, :4].cpu())
        rows[:, :4] = boxes.clamp(min=0).minimum(torch.tensor([w, h, w, h]))
    return moved
