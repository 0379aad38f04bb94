"""From one picture of any size to the network's input size, on the CPU, still uint8."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as tv

from resnets.data.order import uniform
from resnets.data.transforms import Augmentation
from resnets.data.windows import INTERPOLATION, Rectangle, Window, canvas, cut, whole
from resnets.types import IGNORED, Objects, Preprocessing

_TRIES = 10
_LONGEST = 16  # times the input's side


def view(picture: Tensor, preprocessing: Preprocessing, original: tuple[int, int] | None = None) -> Tensor:
    """What evaluation and prediction see of a picture: (C, H, W) uint8 to (C, *size) uint8.

    Resized so that it just covers `size / crop`, then cropped about its centre, as `Preprocessing` says; or contained.
    Where it was decoded at reduced size, `original` is the height and width of the whole, which say what just covers.
    """
    picture = _checked(picture, preprocessing)
    if preprocessing.fit == "contain":
        return painted([(picture, whole((picture.shape[1], picture.shape[2]), preprocessing))], preprocessing)
    picture, size = _without_ends(picture, covering(original or picture.shape[-2:], preprocessing), preprocessing)
    if size != tuple(picture.shape[-2:]):
        mode = INTERPOLATION[preprocessing.interpolation]
        picture = tv.resize(picture, list(size), interpolation=mode, antialias=True)
    return tv.center_crop(picture, list(preprocessing.size))


def covering(size: Sequence[int], preprocessing: Preprocessing) -> tuple[int, int]:
    """Height and width at which a picture of that height and width just covers `size / crop`.

    The side that just covers is exact, and the other is rounded down, as torchvision's Resize does.
    """
    H, W = size
    height, width = (round(side / preprocessing.crop) for side in preprocessing.size)
    return max(H * width // W, height), max(W * height // H, width)


def _without_ends(
    picture: Tensor, size: tuple[int, int], preprocessing: Preprocessing
) -> tuple[Tensor, tuple[int, int]]:
    """A very long picture without its ends, which no view shows and whose resizing could fill the memory.

    Args:
        picture: (C, H, W).
        size: height and width that all of it is to be resized to.
        preprocessing: what is cut from that.

    Returns:
        The part of the picture, and the size to resize it to; both as they are if it is not very long.
    """
    sides = list(size)
    for axis, (side, wanted) in enumerate(zip(size, preprocessing.size, strict=True), 1):
        if side > (most := _LONGEST * wanted):
            length = picture.shape[axis]
            kept = math.ceil(length * most / side)
            kept += (length - kept) % 2  # about the same centre
            picture = picture.narrow(axis, (length - kept) // 2, kept)
            sides[axis - 1] = round(side * kept / length)
    return picture, (sides[0], sides[1])


def random_view(
    picture: Tensor,
    preprocessing: Preprocessing,
    augmentation: Augmentation,
    seed: int,
    epoch: int,
    index: int,
) -> Tensor:
    """What training sees of a picture in one epoch: a random part of it, resized to (C, *size) uint8.

    The part has a share of the area in `augmentation.scale` and a width by height in `augmentation.ratio`,
    both drawn ten times until it fits into the picture (arXiv:1409.4842, sec. 6); failing that, it is the
    largest about the centre that has an allowed ratio. Without a random part this is `view`.
    """
    if not augmentation.resized_crop:
        return view(picture, preprocessing)
    picture = _checked(picture, preprocessing)
    numbers = uniform(seed, epoch, torch.tensor([index]), "view", 4 * _TRIES).view(_TRIES, 4).tolist()
    top, left, height, width = _random_box(picture.shape[-2:], augmentation, numbers)
    mode = INTERPOLATION[preprocessing.interpolation]
    size = list(preprocessing.size)
    return tv.resized_crop(picture, top, left, height, width, size, interpolation=mode, antialias=True)


def _checked(picture: Tensor, preprocessing: Preprocessing) -> Tensor:
    if picture.dtype != torch.uint8 or picture.ndim != 3 or picture.shape[0] != preprocessing.channels:
        raise ValueError(
            f"expected a uint8 picture of shape ({preprocessing.channels}, H, W), "
            f"not {picture.dtype} of shape {tuple(picture.shape)}"
        )
    return picture


def _random_box(
    size: Sequence[int], augmentation: Augmentation, numbers: list[list[float]]
) -> tuple[int, int, int, int]:
    """Top, left, height and width of the first drawn part that fits."""
    H, W = size
    smallest, largest = augmentation.scale
    low, high = map(math.log, augmentation.ratio)
    for area, ratio, y, x in numbers:
        pixels = H * W * (smallest + area * (largest - smallest))
        proportion = math.exp(low + ratio * (high - low))
        width, height = round(math.sqrt(pixels * proportion)), round(math.sqrt(pixels / proportion))
        if 0 < width <= W and 0 < height <= H:
            return int(y * (H - height + 1)), int(x * (W - width + 1)), height, width
    width = min(W, round(H * augmentation.ratio[1]))
    height = min(H, round(W / augmentation.ratio[0]))
    return (H - height) // 2, (W - width) // 2, height, width


def painted(parts: Sequence[tuple[Tensor, Window]], preprocessing: Preprocessing) -> Tensor:
    """The input (C, *size) uint8 that shows each picture through its window."""
    image = canvas(preprocessing)
    for picture, window in parts:
        window.paint(image, _checked(picture, preprocessing), preprocessing.interpolation)
    return image


def training_windows(
    pictures: Sequence[Objects],
    preprocessing: Preprocessing,
    augmentation: Augmentation,
    seed: int,
    epoch: int,
    index: int,
) -> list[tuple[int, Window]]:
    """Which pictures training sees in one epoch in the place of one, and through which windows.

    A picture is enlarged by a factor in `augmentation.zoom`, a random part or at a random place, and mirrored at
    random. In a mosaic it is joined by three others at random, about a point in the middle half of the input
    (arXiv:2004.10934, section 3.4).

    Args:
        pictures: the objects of all pictures, of which the sizes are read.
        preprocessing, augmentation: what the network takes, and the choices.
        seed, epoch, index: of which every choice is a function.
    """
    H, W = preprocessing.size

    def random(stream: str, count: int) -> list[float]:
        numbers: list[float] = uniform(seed, epoch, torch.tensor([index]), stream, count)[0].tolist()
        return numbers

    members, rooms = [index % len(pictures)], [Rectangle(0, 0, H, W)]
    chance, cy, cx, *others = random("mosaic", 6)
    if chance < augmentation.mosaic:
        members += [int(other * len(pictures)) for other in others]
        y, x = round(H * (0.25 + cy / 2)), round(W * (0.25 + cx / 2))
        rows, columns = ((0, y), (y, H - y)), ((0, x), (x, W - x))
        rooms = [Rectangle(top, left, height, width) for top, height in rows for left, width in columns]
    smallest, largest = map(math.log, augmentation.zoom)
    windows = []
    for number, (member, room) in enumerate(zip(members, rooms, strict=True)):
        zoom, top, left, across, down = random(f"window {number}", 5)
        fitting = whole(pictures[member].size, preprocessing)
        scale = fitting.place.height / fitting.part.height * math.exp(smallest + zoom * (largest - smallest))
        straight = tuple(augmentation.zoom) == (1.0, 1.0) and len(rooms) == 1
        window = fitting if straight else cut(pictures[member].size, room, scale, top, left)
        flips = (augmentation.flip and across < 0.5, augmentation.flip_vertical and down < 0.5)
        windows.append((member, Window(window.part, window.place, *flips)))
    return windows


def with_mask(
    scene: Tensor, window: Window, preprocessing: Preprocessing, size: tuple[int, int] | None = None
) -> Tensor:
    """What a window shows of a picture and its mask, (C + 1, h, w) uint8: (C + 1, *size), the mask never interpolated.

    Beyond the window's place the picture is the mean and the mask `IGNORED`. The size is the input's unless given.
    """
    seen = canvas(replace(preprocessing, size=size or preprocessing.size))
    mask = torch.full((1, *seen.shape[1:]), IGNORED, dtype=torch.uint8)
    window.paint(seen, _checked(scene[:-1], preprocessing), preprocessing.interpolation)
    window.paint(mask, scene[-1:], "nearest")
    return torch.cat((seen, mask))


def training_scene(
    scene: Tensor,
    preprocessing: Preprocessing,
    augmentation: Augmentation,
    seed: int,
    epoch: int,
    index: int,
    rare: bool = False,
) -> Tensor:
    """What training sees of a picture and its mask in one epoch, (C + 1, h, w) uint8 to (C + 1, H, W).

    H and W are `augmentation.window` of the input's. The picture is enlarged by a factor in `augmentation.zoom` about
    the size that evaluation sees, cut or set down at random, and mirrored at random. With `rare`, a class is drawn from
    those in the picture, each as likely as another, and a pixel of it that the window must show.
    """
    _, h, w = scene.shape
    H, W = (max(round(side * augmentation.window), 1) for side in preprocessing.size)
    numbers = uniform(seed, epoch, torch.tensor([index]), "window", 7)[0].tolist()
    zoom, y, x, across, down, chance, pixel = numbers
    fitting = whole((h, w), preprocessing)
    smallest, largest = map(math.log, augmentation.zoom)
    scale = fitting.place.height / fitting.part.height * math.exp(smallest + zoom * (largest - smallest))
    if rare:
        y, x = _showing(scene[-1], (H / scale, W / scale), (y, x), chance, pixel)
    straight = tuple(augmentation.zoom) == (1.0, 1.0) and augmentation.window == 1
    window = fitting if straight else cut((h, w), Rectangle(0, 0, H, W), scale, y, x)
    flips = (augmentation.flip and across < 0.5, augmentation.flip_vertical and down < 0.5)
    return with_mask(scene, Window(window.part, window.place, *flips), preprocessing, (H, W))


def _showing(
    mask: Tensor, sides: tuple[float, float], where: tuple[float, float], chance: float, pixel: float
) -> tuple[float, float]:
    """Where a window of some sides, in pixels of the mask, is to be cut so that it shows a pixel of a class drawn.

    The pixel comes to stand at `where` of the window, as far as the picture's edges allow. Without a class that counts,
    `where` is returned.
    """
    labels = mask.unique()
    labels = labels[labels != IGNORED]
    if not len(labels):
        return where
    members = (mask == labels[int(chance * len(labels))]).flatten().nonzero().flatten()
    row, column = divmod(int(members[int(pixel * len(members))]), mask.shape[1])
    shares = []
    for at, whole_side, side, share in zip((row, column), mask.shape, sides, where, strict=True):
        room = whole_side - min(whole_side, max(round(side), 1)) + 1
        first = min(max(int(at - share * (whole_side - room)), 0), room - 1)
        shares.append((first + 0.5) / room)
    return shares[0], shares[1]


def joined(parts: Sequence[tuple[Objects, Window]], preprocessing: Preprocessing) -> Objects:
    """What is where in the input that shows each picture's objects through its window."""
    seen = [window.objects(objects, preprocessing.size) for objects, window in parts]
    outlines = tuple(polygons for objects in seen for polygons in (objects.outlines or ((),) * len(objects)))
    return Objects(
        preprocessing.size,
        torch.cat([objects.boxes for objects in seen]),
        torch.cat([objects.labels for objects in seen]),
        torch.cat([objects.ignored for objects in seen]),
        outlines if any(outlines) else (),
    )
