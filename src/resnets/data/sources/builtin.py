"""Data sets known by name: the embedded digits, and those that torchvision downloads.

`digits` are scikit-learn's 1,797 handwritten digits of 8x8 pixels (E. Alpaydin and C. Kaynak, 1998, the test
part of UCI's "Optical Recognition of Handwritten Digits"): they come with scikit-learn, and need no network.
The others are downloaded by torchvision into a cache folder when they are asked for by name and are not there
yet; those of them that are pickles it opens only if their MD5 is the published one.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits
from torchvision import datasets

from resnets.data.listing import Listing

_DOWNLOADED = {
    "cifar10": datasets.CIFAR10,
    "cifar100": datasets.CIFAR100,
    "fashion_mnist": datasets.FashionMNIST,
    "kmnist": datasets.KMNIST,
    "mnist": datasets.MNIST,
}

ACCEPTS = f"the name digits (no network needed), or of a set to download: {', '.join(_DOWNLOADED)}"


def recognises(source: str) -> bool:
    """Whether it is one of the names, exactly."""
    return source == "digits" or source in _DOWNLOADED


def open(source: str) -> Listing:
    """The pictures of a built-in data set, in memory.

    torchvision's sets are kept in the folder RESNETS_CACHE, by default ~/.cache/resnets.

    Raises:
        OSError: one is not there and cannot be downloaded.
    """
    return _digits() if source == "digits" else _torchvision(source)


@dataclass(frozen=True)
class ArrayPictures:
    """Opens pictures that are rows of an array, (N, H, W) or (N, H, W, 3) uint8."""

    pixels: NDArray[np.uint8]

    def __call__(self, position: int) -> Image.Image:
        """The picture of a row."""
        return Image.fromarray(self.pixels[position])


def _digits() -> Listing:
    digits = load_digits()
    pixels = np.rint(digits.images * (255 / 16)).astype(np.uint8)  # their values run from 0 to 16
    labels = [str(target) for target in digits.target]
    names = [f"{label}/{i:04d}" for i, label in enumerate(labels)]
    return Listing("digits", names, labels, [None] * len(names), _hashes(pixels), ArrayPictures(pixels))


def _torchvision(source: str) -> Listing:
    root = Path(os.environ.get("RESNETS_CACHE", "~/.cache/resnets")).expanduser()
    try:
        parts = {split: _DOWNLOADED[source](root, train=split == "train", download=True) for split in ("train", "test")}
    except (OSError, RuntimeError) as error:  # torchvision raises the latter where no mirror answers
        reason = " ".join(str(error).split())
        raise OSError(f"{source} is not whole in {root} and cannot be downloaded: {reason}") from error
    pixels = np.concatenate([np.asarray(part.data) for part in parts.values()])
    classes = tuple(name.replace("/", "-") for name in parts["train"].classes)
    labels = [classes[int(target)] for part in parts.values() for target in part.targets]
    splits: list[str | None] = [split for split, part in parts.items() for _ in range(len(part))]
    numbers = [i for part in parts.values() for i in range(len(part))]
    names = [f"{s}/{label}/{i:05d}" for s, label, i in zip(splits, labels, numbers, strict=True)]
    return Listing(source, names, labels, splits, _hashes(pixels), ArrayPictures(pixels), classes)


def _hashes(pixels: NDArray[np.uint8]) -> list[str]:
    return [hashlib.sha256(picture.tobytes()).hexdigest()[:16] for picture in pixels]
