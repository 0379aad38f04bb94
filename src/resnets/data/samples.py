"""The samples of a data set as a network's input shows them in an epoch: cut, placed and resized, not yet augmented."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset

from resnets.data.cache import key_of
from resnets.data.dataset import Dataset, UnreadablePictureError
from resnets.data.transforms import Augmentation
from resnets.data.views import joined, painted, random_view, training_scene, training_windows
from resnets.types import Objects, Preprocessing

_SAMPLED = 16  # pictures decoded to estimate the memory of all

Step = tuple[Tensor, Tensor] | UnreadablePictureError
"""The pictures (N, C, H, W) uint8 of one step and their indices (N,), or what went wrong."""


@dataclass(frozen=True)
class Views(TorchDataset[Step]):
    """The pictures of a data set as the network's input size shows them, in any process.

    An item is a step, (epoch, indices), and gives (N, C, *size) uint8 and the indices, or what went wrong.
    Random parts are resized to `size`, if it is not None, and not to that of the preprocessing.
    """

    dataset: Dataset
    preprocessing: Preprocessing
    augmentation: Augmentation
    seed: int
    rare: bool = False
    size: tuple[int, int] | None = None

    def __getitem__(self, step: tuple[int, Tensor]) -> Step:
        epoch, indices = step
        try:
            return torch.stack([self.view(self.picture, epoch, i) for i in indices.tolist()]), indices
        except UnreadablePictureError as error:  # raised it would reach the other process as a mere RuntimeError
            return error

    @property
    def fixed(self) -> bool:
        """Whether a picture's view is the same in every epoch."""
        if self.dataset.objects is None and not self.dataset.has_masks:
            return not self.augmentation.resized_crop
        return self.augmentation == Augmentation() and not self.rare

    def picture(self, index: int) -> Tensor:
        """A whole decoded picture, as large as its views need, and below its channels its mask, if it has one."""
        # Twice the input's size leaves something to choose from; where all is seen, evaluation must see the
        # same. Where objects are marked in pixels, all pixels are needed.
        whole = self.fixed or self.dataset.objects is not None or self.dataset.has_masks
        picture = self.dataset.picture(
            index, self.preprocessing.channels, None if whole else 2 * max(self.preprocessing.size)
        )
        return torch.cat((picture, self.dataset.mask(index)[None])) if self.dataset.has_masks else picture

    @property
    def channels(self) -> int:
        """Of a view, the mask's counted."""
        return self.preprocessing.channels + self.dataset.has_masks

    def view(self, picture: Callable[[int], Tensor], epoch: int, index: int) -> Tensor:
        """What an epoch sees of a sample, whose decoded picture `picture` gives by its position."""
        if self.dataset.has_masks:
            scene = picture(index % len(self.dataset))
            return training_scene(scene, self.preprocessing, self.augmentation, self.seed, epoch, index, self.rare)
        if self.dataset.objects is None:
            seen, shape = picture(index % len(self.dataset)), self.size or self.preprocessing.size
            return random_view(
                seen, replace(self.preprocessing, size=shape), self.augmentation, self.seed, epoch, index
            )
        windows = training_windows(self.dataset.objects, self.preprocessing, self.augmentation, self.seed, epoch, index)
        return painted([(picture(member), window) for member, window in windows], self.preprocessing)

    def objects(self, epoch: int, indices: Tensor) -> tuple[Objects, ...]:
        """What is where in the views of samples; () where places are not asked for."""
        known = self.dataset.objects
        if known is None:
            return ()
        return tuple(
            joined(
                [
                    (known[member], window)
                    for member, window in training_windows(
                        known, self.preprocessing, self.augmentation, self.seed, epoch, index
                    )
                ],
                self.preprocessing,
            )
            for index in indices.tolist()
        )

    def key(self, fingerprint: str) -> str:
        """The name in a cache of what is kept of the pictures: their fixed views, or they themselves.

        The fingerprint tells files apart by their sizes, which is too little for pixels that are kept.
        """
        # Where objects are marked, pictures are kept at their full size.
        sides = "whole" if self.dataset.objects is not None else max(self.preprocessing.size)
        kept = self.preprocessing if self.fixed else (self.preprocessing.channels, sides)
        return key_of(
            fingerprint,
            self.dataset.split,
            list(self.dataset.names),
            self.dataset.versions(),
            self.dataset.meaning_of_masks,
            self.fixed,
            kept,
        )

    def kept(self, index: int) -> Tensor:
        """What is kept of a picture: its view where that is fixed, else the picture."""
        return self.view(self.picture, 0, index) if self.fixed else self.picture(index)

    def nbytes(self) -> int:
        """Memory of all pictures: of their views where these are fixed, else an estimate from a few."""
        if self.fixed:
            height, width = self.preprocessing.size
            return len(self.dataset) * self.channels * height * width
        count = min(_SAMPLED, len(self.dataset))
        few = replace(self, dataset=self.dataset.sample(count))
        return sum(few.picture(i).nbytes for i in range(count)) * len(self.dataset) // count
