"""Masks of pictures of any size: from one look at all of it, or from overlapping tiles whose borders are blended.

Shapes: h x w pixels of a picture, H x W of the network's input, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resnets.data.dataset import Dataset
from resnets.data.overlap import counts_of
from resnets.data.views import painted
from resnets.data.windows import tiles, whole
from resnets.types import Preprocessing

OVERLAP = 0.25
"""The share of a tile's side that the next one covers, too."""

SCALES = (0.75, 1.0, 1.25)
"""Sizes at which a network looks at a picture, where it is to look several times."""


class Often(nn.Module):
    """A network that looks at each picture several times, mirrored and in other sizes, and gives the mean probability.

    Args:
        network: from images (N, C, H, W) to logits (N, K, H, W).
        flips: look at the mirror image, too.
        scales: of the picture's sides.
    """

    def __init__(self, network: nn.Module, flips: bool = True, scales: Sequence[float] = SCALES) -> None:
        super().__init__()
        if not scales or min(scales) <= 0:
            raise ValueError(f"scales must be numbers above 0, not {tuple(scales)}")
        self.network, self.flips, self.scales = network, flips, tuple(scales)

    def forward(self, images: Tensor) -> Tensor:
        """Logs of the mean probabilities (N, K, H, W)."""
        size, looks = images.shape[2:], []
        for scale in self.scales:
            sides = [max(round(side * scale), 1) for side in size]
            scaled = images
            if scale != 1:  # in float32, as there is no other that antialiases
                scaled = F.interpolate(images.float(), sides, mode="bilinear", antialias=True).to(images.dtype)
            for mirrored in (False, True) if self.flips else (False,):
                logits = self.network(scaled.flip(3) if mirrored else scaled).float()
                logits = logits.flip(3) if mirrored else logits
                looks.append(F.interpolate(logits, size, mode="bilinear").softmax(1))
        return torch.stack(looks).mean(0).clamp(min=1e-12).log()


def judged(logits: Tensor, indices: Tensor, pictures: Dataset, preprocessing: Preprocessing) -> Tensor:
    """What is kept of the logits (N, K, H, W) for some pictures of a split: `counts_of` each, in its own pixels."""
    rows = []
    for own, index in zip(logits, indices.tolist(), strict=True):
        true = pictures.mask(index).to(own.device)
        rows.append(counts_of(on_picture(own, (true.shape[0], true.shape[1]), preprocessing), true))
    return torch.stack(rows)


def on_picture(logits: Tensor, size: tuple[int, int], preprocessing: Preprocessing) -> Tensor:
    """Logits (K, H, W) of an input as (K, h, w) of the whole picture; see `windows.whole`."""
    place = whole(size, preprocessing).place
    seen = logits[None, :, : place.height, : place.width].float()
    return F.interpolate(seen, size, mode="bilinear")[0] if seen.shape[2:] != size else seen[0]


def mask_on_picture(logits: Tensor, size: tuple[int, int], preprocessing: Preprocessing) -> Tensor:
    """The classes (h, w) uint8 of the whole picture's pixels by the logits (K, H, W) of an input.

    It is the place of the largest of `on_picture`, found class by class: a photograph's pixels times all classes are
    gigabytes.
    """
    best = on_picture(logits[:1], size, preprocessing)[0]
    mask = torch.zeros(size, dtype=torch.uint8, device=logits.device)
    for number in range(1, len(logits)):
        own = on_picture(logits[number : number + 1], size, preprocessing)[0]
        mask[own > best] = number
        best = torch.maximum(best, own)
    return mask


def segment(
    pictures: Sequence[Tensor],
    preprocessing: Preprocessing,
    outputs: Callable[[Tensor], Tensor],
    batch_size: int,
    tiled: bool = False,
) -> list[Tensor]:
    """The mask (h, w) uint8 of each picture, by the same rule as evaluation's unless it is tiled.

    Args:
        pictures: each (C, h, w) uint8, of any size.
        preprocessing: of the network.
        outputs: from inputs (N, C, H, W) uint8 to logits (N, K, H, W).
        batch_size: inputs at a time.
        tiled: look at a picture that is larger than the input tile by tile, at its own resolution.
    """
    sizes = [(picture.shape[1], picture.shape[2]) for picture in pictures]
    found: dict[int, Tensor] = {}
    at_once = []
    for number, (picture, size) in enumerate(zip(pictures, sizes, strict=True)):
        if tiled and (size[0] > preprocessing.size[0] or size[1] > preprocessing.size[1]):
            found[number] = from_tiles(picture, preprocessing, outputs, batch_size)
        else:
            at_once.append(number)
    remaining = iter(at_once)
    while chunk := list(islice(remaining, batch_size)):
        windows = [whole(sizes[number], preprocessing) for number in chunk]
        inputs = [painted([(pictures[n], window)], preprocessing) for n, window in zip(chunk, windows, strict=True)]
        for number, logits in zip(chunk, outputs(torch.stack(inputs)), strict=True):
            found[number] = mask_on_picture(logits, sizes[number], preprocessing)
    return [found[number] for number in range(len(pictures))]


def from_tiles(
    picture: Tensor, preprocessing: Preprocessing, outputs: Callable[[Tensor], Tensor], batch_size: int
) -> Tensor:
    """The mask (h, w) uint8 of a large picture, from tiles that overlap by a quarter.

    Where tiles overlap, each counts by how far a pixel is from its edge, so that borders fade into each other. Rows of
    tiles go down the picture, and only one row's probabilities are kept at a time.
    """
    _, h, w = picture.shape
    windows = tiles((h, w), preprocessing, OVERLAP)
    height, width = windows[0].place.height, windows[0].place.width
    weights = _from_edge(height)[:, None] * _from_edge(width)
    tops = sorted({window.part.top for window in windows})
    mask = torch.empty(h, w, dtype=torch.uint8)
    band: Tensor | None = None  # (K, height, w), the weighted sums of a row of tiles
    for top, following in zip(tops, [*tops[1:], h], strict=True):
        row = iter([window for window in windows if window.part.top == top])
        while chunk := list(islice(row, batch_size)):
            inputs = torch.stack([painted([(picture, window)], preprocessing) for window in chunk])
            for window, probabilities in zip(chunk, outputs(inputs).float().softmax(1), strict=True):
                if band is None:
                    band = probabilities.new_zeros(len(probabilities), height, w)
                left = window.part.left
                band[:, :, left : left + width] += probabilities[:, :height, :width] * weights
        assert band is not None
        done = following - top
        mask[top:following] = band[:, :done].argmax(0).to(torch.uint8)
        band = F.pad(band[:, done:], (0, 0, 0, done))
    return mask


def _from_edge(side: int) -> Tensor:
    """(side,): rising from near 0 at the edges to 1 in the middle."""
    steps = torch.arange(side) + 0.5
    return torch.minimum(steps, side - steps) / (side / 2)
