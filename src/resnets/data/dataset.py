"""Labelled pictures: the samples of one split, each read when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from resnets.data.decoding import decode, upright_size
from resnets.data.masks import meaning, opener
from resnets.data.order import permutation
from resnets.data.remote import is_remote
from resnets.types import Objects


class UnreadablePictureError(ValueError):
    """A picture that cannot be decoded.

    Attributes:
        name: the sample.
        reason: what is wrong with it.
    """

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(name, reason)
        self.name = name
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.name} cannot be read: {self.reason}"


@dataclass(frozen=True)
class Unreadable:
    """A sample that was left out because it cannot be decoded."""

    name: str
    reason: str


class Dataset:
    """The labelled pictures of one split. Pictures are read when they are asked for.

    Attributes:
        split: "train", "val" or "test".
        classes: the names of the classes, a target being a position in it; of numbers, what each is called.
        names: one a sample, unique within the source.
        targets: (N,) int64 classes, (N, T) float32 numbers, or (N, K) float32, 1 for each class that a picture has;
            where there are objects, how many of each class.
        objects: what is where in each picture; None where the task does not ask.
        has_masks: whether `mask` tells the classes of a picture's pixels; `targets` are then (N, 0).
    """

    def __init__(
        self,
        split: str,
        classes: tuple[str, ...],
        names: Sequence[str],
        targets: Tensor,
        positions: Tensor,
        open_picture: Callable[[int], Image.Image],
        objects: Sequence[Objects] | None = None,
        masks: Callable[[int], Tensor] | None = None,
        shard_ends: tuple[int, ...] = (),
    ) -> None:
        self.split = split
        self.classes = classes
        self.names = names
        self.targets = targets
        self.objects = objects
        self._positions = positions  # in the source's listing
        self._open_picture = open_picture
        self._masks = masks
        self._shard_ends = shard_ends

    @property
    def has_masks(self) -> bool:
        """Whether the classes of pixels are known."""
        return self._masks is not None

    @property
    def meaning_of_masks(self) -> object:
        """What decides the classes of pixels beside the masks' files, with a `repr` of its own; False without masks."""
        return False if self._masks is None else (self.classes, meaning(self._masks))

    @property
    def shards(self) -> Tensor | None:
        """(N,) int64: the shard that each sample lies in; None of a source that has none."""
        if not self._shard_ends:
            return None
        return torch.searchsorted(torch.tensor(self._shard_ends), self._positions, right=True)

    @property
    def remote(self) -> bool:
        """Whether shards have to be fetched from elsewhere."""
        return is_remote(getattr(self._open_picture, "root", ""))

    def fetch(self, shard: int) -> None:
        """Bring a shard that is elsewhere onto this machine.

        Raises:
            OSError: if it cannot be fetched.
        """
        self._open_picture.fetch(shard)  # type: ignore[attr-defined]

    def stored_order(self) -> Tensor:
        """(N,) int64: the samples as they lie one after another in their source."""
        return self._positions.argsort()

    def sample(self, count: int) -> Dataset:
        """A fixed choice of so many pictures, fast to read: at random, or of shards, which are mixed, the first."""
        chosen = self.stored_order() if self._shard_ends else permutation(0, 0, len(self))
        return self.subset(chosen[:count])

    def __len__(self) -> int:
        return len(self.names)

    def __repr__(self) -> str:
        return f"<{self.split}: {len(self):,} pictures of {len(self.classes)} classes>"

    def open(self, index: int) -> Image.Image:
        """The picture as Pillow opens it, with its header read and its pixels not yet decoded.

        Raises:
            UnreadablePictureError: it is no picture, or has more pixels than `Image.MAX_IMAGE_PIXELS`, 89 million
                unless that is changed: a few such files, decoded at a time, would fill the memory.
        """
        try:
            image = self._open_picture(int(self._positions[index]))
        except Exception as error:  # Pillow and file systems raise many kinds for a broken file
            raise UnreadablePictureError(self.names[index], _reason(error)) from error
        if Image.MAX_IMAGE_PIXELS is not None and image.width * image.height > Image.MAX_IMAGE_PIXELS:
            most = Image.MAX_IMAGE_PIXELS / 1e6
            reason = f"it has {image.width} x {image.height} pixels; up to {most:.0f} million are read"
            raise UnreadablePictureError(self.names[index], reason)
        return image

    def picture(self, index: int, channels: int, shorter_side: int | None = None) -> Tensor:
        """The picture upright as (channels, H, W) uint8; see `decoding.decode`.

        Raises:
            UnreadablePictureError: its file is missing, broken or truncated, or of another size than its annotation.
        """
        image = self.open(index)
        self.check_size(index, image)
        try:
            return decode(image, channels, shorter_side)
        except Exception as error:
            raise UnreadablePictureError(self.names[index], _reason(error)) from error

    def mask(self, index: int) -> Tensor:
        """The classes of a picture's pixels, (h, w) uint8, `IGNORED` where they count neither way.

        Raises:
            UnreadablePictureError: its file is missing or broken, of another size than the picture, or has other values
                than those of the classes.
        """
        assert self._masks is not None
        try:
            mask = self._masks(int(self._positions[index]))
        except Exception as error:
            raise UnreadablePictureError(self.names[index], f"its mask: {_reason(error)}") from error
        height, width = upright_size(self.open(index))
        if mask.shape != (height, width):
            reason = f"its mask is of {mask.shape[1]} x {mask.shape[0]} pixels, but it has {width} x {height}"
            raise UnreadablePictureError(self.names[index], reason)
        return mask

    def versions(self) -> list[tuple[object, ...]]:
        """What tells the files of each sample, picture and mask, from others of their names and sizes.

        Where the source's `version(position)` does: where and when a file was written, or a sum of its bytes.
        """
        openers = (self._open_picture, None if self._masks is None else opener(self._masks))
        known = [version for each in openers if (version := getattr(each, "version", None)) is not None]
        return [tuple(version(position) for version in known) for position in self._positions.tolist()]

    def check_size(self, index: int, image: Image.Image) -> None:
        """Raise UnreadablePictureError if objects are marked in a picture of another size than it has."""
        if self.objects is not None and self.objects[index].size != (found := upright_size(image)):
            height, width = self.objects[index].size
            reason = f"its annotation is of {width} x {height} pixels, but it has {found[1]} x {found[0]}"
            raise UnreadablePictureError(self.names[index], reason)

    def subset(self, indices: Sequence[int] | Tensor, split: str | None = None) -> Dataset:
        """The samples at the given indices, in that order, by default under the same split's name."""
        chosen = torch.as_tensor(indices, dtype=torch.int64)
        names = [self.names[i] for i in chosen.tolist()]
        return Dataset(
            split or self.split,
            self.classes,
            names,
            self.targets[chosen],
            self._positions[chosen],
            self._open_picture,
            None if self.objects is None else [self.objects[i] for i in chosen.tolist()],
            self._masks,
            self._shard_ends,
        )

    def with_objects(self, objects: Sequence[Objects]) -> Dataset:
        """The same samples with other objects in them."""
        counts = [each.labels.bincount(minlength=len(self.classes)) for each in objects]
        targets = torch.stack(counts).float()
        return Dataset(self.split, self.classes, self.names, targets, self._positions, self._open_picture, objects)


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__
