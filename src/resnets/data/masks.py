"""Masks: the class of every pixel of a picture, from files of indices or colours, or drawn from outlines.

A reader of masks is called with a sample's position and gives (h, w) uint8 class numbers, `IGNORED` where a pixel
counts neither way, so that there can be 255 classes. It can be pickled, and raises ValueError for what is no such mask.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from resnets.data.listing import Listing
from resnets.types import IGNORED, Objects

MaskReader = Callable[[int], Tensor]

UNLABELLED = ("void", "unlabelled", "unlabeled", "ignore", "ignored")
"""Names of classes whose pixels count neither way, in any case of letters."""

MOST_CLASSES = IGNORED
_OUTSIDE = -1


@dataclass(frozen=True)
class IndexMasks:
    """Masks whose pixels are numbers.

    Attributes:
        open_mask: from a sample's position to its opened mask.
        numbers: by a pixel's value, up to 254, the class's number or `IGNORED`; 255 is always ignored.
    """

    open_mask: Callable[[int], Image.Image]
    numbers: dict[int, int]

    def __call__(self, position: int) -> Tensor:
        """The classes of a picture's pixels."""
        classes = self._table[pixel_values(self.open_mask(position))]
        if (classes == _OUTSIDE).any():
            values = np.unique(pixel_values(self.open_mask(position))[classes == _OUTSIDE]).tolist()
            raise ValueError(f"{_some(values)} is the number of no class")
        return torch.from_numpy(classes.astype(np.uint8))

    @cached_property
    def _table(self) -> NDArray[np.int16]:
        table = np.full(256, _OUTSIDE, dtype=np.int16)
        table[IGNORED] = IGNORED
        for value, number in self.numbers.items():
            table[value] = number
        return table


@dataclass(frozen=True)
class ColourMasks:
    """Masks whose pixels are colours.

    Attributes:
        open_mask: from a sample's position to its opened mask.
        numbers: by a colour, red, green and blue, the class's number or `IGNORED`.
    """

    open_mask: Callable[[int], Image.Image]
    numbers: dict[tuple[int, int, int], int]

    def __call__(self, position: int) -> Tensor:
        """The classes of a picture's pixels."""
        pixels = np.asarray(self.open_mask(position).convert("RGB")).astype(np.int32)
        colours, where = np.unique((pixels[..., 0] << 16) + (pixels[..., 1] << 8) + pixels[..., 2], return_inverse=True)
        known = {(red << 16) + (green << 8) + blue: number for (red, green, blue), number in self.numbers.items()}
        if strangers := [colour for colour in colours.tolist() if colour not in known]:
            raise ValueError(f"{_some([f'#{colour:06x}' for colour in strangers])} is the colour of no class")
        classes = np.array([known[colour] for colour in colours.tolist()], dtype=np.uint8)
        return torch.from_numpy(classes[where.reshape(pixels.shape[:2])])


@dataclass(frozen=True)
class DrawnMasks:
    """Masks drawn from the outlines of objects; what is in none is of class 0, the background.

    Larger objects are drawn first, so that smaller ones before them stay visible. Of a crowd, and of an object that has
    a box but no outline, the box is ignored where nothing else is drawn.
    """

    objects: Sequence[Objects]

    def __call__(self, position: int) -> Tensor:
        """The classes of a picture's pixels: 1 for objects of the first class, and so on.

        Raises:
            ValueError: for a size that no picture which is read has; see `Dataset.open`.
        """
        objects = self.objects[position]
        height, width = objects.size
        if Image.MAX_IMAGE_PIXELS is not None and height * width > Image.MAX_IMAGE_PIXELS:
            raise ValueError(f"it is of {width} x {height} pixels, more than of any picture that is read")
        drawn = torch.zeros(objects.size, dtype=torch.uint8)
        unclear = objects.ignored | ~objects.outlined
        for box in objects.boxes[unclear]:
            left, top = box[:2].floor().clamp(min=0).int().tolist()
            right, bottom = box[2:].ceil().clamp(min=0).int().tolist()
            drawn[top:bottom, left:right] = IGNORED
        clear = objects.subset(~unclear)
        shapes = clear.masks().bool()
        for index in shapes.sum((1, 2)).argsort(descending=True, stable=True).tolist():
            drawn[shapes[index]] = int(clear.labels[index]) + 1
        return drawn


@dataclass(frozen=True)
class Without:
    """The masks of another reader with one class ignored; the classes after it move up by one."""

    masks: MaskReader
    number: int

    def __call__(self, position: int) -> Tensor:
        """The classes of a picture's pixels."""
        table = torch.arange(256, dtype=torch.uint8)
        table[self.number + 1 : IGNORED] -= 1
        table[self.number] = IGNORED
        return table[self.masks(position).int()]


def ignoring(listing: Listing, name: str, source: str) -> Listing:
    """The listing of masks in which the pixels of a class count neither way.

    Raises:
        ValueError: if there is no such class, or no other.
    """
    classes = listing.classes or ()
    if listing.masks is None:
        raise ValueError(f"{source} has no masks, so no class of pixels can be ignored; leave out --ignore")
    if name not in classes:
        raise ValueError(f"{source} has no class {name!r} to ignore; there is {', '.join(classes)}")
    if len(classes) == 1:
        raise ValueError(f"{source} has one class only ({name}), which cannot be ignored")
    number = classes.index(name)
    return replace(listing, masks=Without(listing.masks, number), classes=classes[:number] + classes[number + 1 :])


def meaning(masks: MaskReader) -> object:
    """What a reader takes the pixels' values for, wherever the masks are; what is drawn has no values, None."""
    if isinstance(masks, Without):
        return meaning(masks.masks), masks.number
    return sorted(masks.numbers.items()) if isinstance(masks, IndexMasks | ColourMasks) else None


def opener(masks: MaskReader) -> Callable[[int], Image.Image] | None:
    """What opens the files of masks; None where they are drawn."""
    if isinstance(masks, Without):
        return opener(masks.masks)
    return masks.open_mask if isinstance(masks, IndexMasks | ColourMasks) else None


def numbered(names: Sequence[str]) -> tuple[tuple[str, ...], list[int]]:
    """The classes among names, those of `UNLABELLED` left out, and for each name its class's number or `IGNORED`."""
    classes = tuple(name for name in names if name.lower() not in UNLABELLED)
    return classes, [classes.index(name) if name in classes else IGNORED for name in names]


def pixel_values(mask: Image.Image) -> NDArray[np.uint8]:
    """The numbers (h, w) that the pixels of an opened mask are; colours are not looked up in its palette.

    Raises:
        ValueError: if it is in colour, or has numbers above 255.
    """
    if mask.mode in ("RGB", "RGBA", "LA"):
        bands = mask.split()[:-1] if mask.mode.endswith("A") else mask.split()
        values = [np.asarray(band) for band in bands]
        if any((values[0] != other).any() for other in values[1:]):
            raise ValueError("it is in colour, and no file says what the colours are (class_dict.csv: name,r,g,b)")
        return values[0]
    array = np.asarray(mask)
    if array.ndim != 2 or array.min(initial=0) < 0 or array.max(initial=0) > 255:
        raise ValueError(f"its pixels, of mode {mask.mode}, are not numbers from 0 to 255")
    return array.astype(np.uint8)


def _some(values: Sequence[object]) -> str:
    return ", ".join(map(str, values[:3])) + (f" and {len(values) - 3} more" if len(values) > 3 else "")
