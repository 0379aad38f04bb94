"""Pictures as they are given: paths, files' contents, opened ones, arrays."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from resnets.data.decoding import decode, open_picture
from resnets.data.views import view
from resnets.types import Preprocessing

Picture = str | PathLike[str] | bytes | Image.Image | NDArray[np.uint8] | tuple[str, NDArray[np.uint8]]
"""A path, a file's content, an opened picture, or an array (H, W) or (H, W, 3), also with a name before it."""


def seen(picture: Picture, preprocessing: Preprocessing) -> Tensor:
    """What the network sees of a picture, (C, *size) uint8.

    Raises:
        Exception: whatever Pillow or the file system raises about one that cannot be read.
    """
    return view(decode(opened(picture), preprocessing.channels), preprocessing)


def opened(picture: Picture) -> Image.Image:
    """The picture as Pillow has it, its pixels not yet decoded where it comes from a file."""
    if isinstance(picture, Image.Image):
        return picture
    if isinstance(picture, tuple):
        return Image.fromarray(picture[1])
    if isinstance(picture, np.ndarray):
        return Image.fromarray(picture)
    return open_picture(picture if isinstance(picture, bytes) else Path(picture).read_bytes())


def name_of(number: int, picture: Picture) -> str:
    """What a picture is called: its path, its name, or its number."""
    if isinstance(picture, tuple):
        return picture[0]
    return str(picture) if isinstance(picture, (str, PathLike)) else str(number)
