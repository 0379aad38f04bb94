"""Boxes drawn on pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

COLOURS = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7", "#ffffff")
"""Of classes, one after the other; the colour-blind can tell them apart (M. Okabe and K. Ito, 2008)."""


@dataclass(frozen=True)
class Box:
    """What to draw.

    Attributes:
        sides: left, top, right, bottom in the picture's pixels.
        label: the class's number, which decides the colour.
        text: above the box; "" for none.
        mask: (height, width) bool, tinted in the same colour, or None.
    """

    sides: Sequence[float]
    label: int
    text: str = ""
    mask: Tensor | None = None


def colour_of(label: int) -> str:
    """The colour of a class."""
    return COLOURS[label % len(COLOURS)]


def draw_boxes(pixels: Tensor, boxes: Sequence[Box], longest: int | None = None) -> Image.Image:
    """A picture with boxes, whose lines are about a two-hundredth of its longer side wide.

    Args:
        pixels: (C, H, W) uint8 with C = 1 (grey) or 3 (RGB).
        boxes: drawn in this order.
        longest: pixels of the longer side of the result; by default the picture's own size.
    """
    array = pixels.expand(3, -1, -1).permute(1, 2, 0).contiguous().numpy()  # (H, W, 3)
    image = Image.fromarray(array)
    for box in boxes:
        if box.mask is not None:
            tint = Image.new("RGB", image.size, colour_of(box.label))
            image.paste(tint, mask=Image.fromarray((box.mask.to(torch.uint8) * 110).numpy()))
    scale = 1.0 if longest is None else longest / max(image.size)
    if scale != 1.0:
        sides = (max(round(image.width * scale), 1), max(round(image.height * scale), 1))
        image = image.resize(sides, Image.Resampling.LANCZOS)
    width = max(2, round(max(image.size) / 200))
    pen, font = ImageDraw.Draw(image), ImageFont.load_default(max(10, 5 * width))
    for box in boxes:
        corners = [side * scale for side in box.sides]
        pen.rectangle(corners, outline=colour_of(box.label), width=width)
    for box in boxes:  # texts above all lines
        if box.text:
            left, top = box.sides[0] * scale, box.sides[1] * scale
            _, _, right, bottom = pen.textbbox((0, 0), box.text, font)
            place = (max(min(left, image.width - right - 2), 0), max(top - bottom - 1, 0))
            pen.rectangle((*place, place[0] + right + 2, place[1] + bottom + 1), fill=colour_of(box.label))
            pen.text((place[0] + 1, place[1]), box.text, fill="black", font=font)
    return image
