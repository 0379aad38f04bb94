"""How a data set's pictures are to be brought to a network."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from resnets.data.dataset import Dataset, UnreadablePictureError
from resnets.data.decoding import upright_size
from resnets.data.opening import Data
from resnets.data.reading import for_each
from resnets.data.views import view
from resnets.types import Preprocessing

SMALL = 64
"""Pictures that all have one size of at most so many pixels a side are taken as they are."""

TINY = 16
"""Smaller pictures are enlarged to twice their size, because a network's stages halve them several times."""

PHOTOGRAPH_SIZE = 224
PHOTOGRAPH_CROP = 0.875
OBJECTS_SHORTER_SIDE = 480
OBJECTS_LONGER_SIDE = 640
OBJECTS_MULTIPLE = 32
"""The stride of a residual network's last stage, of which a detector's input is a multiple."""
RECOGNITION_SIZE = 112
"""Side of the pictures that are recognised, unless they are smaller (arXiv:1801.07698, section 3.1)."""

_SMALL_PICTURES, _PHOTOGRAPHS = 5_000, 1_000  # how many are read for the mean and the standard deviation
_HEADERS_READ = 256


def preprocessing_for(
    data: Data,
    size: int | tuple[int, int] | None = None,
    channels: int | None = None,
    like: Preprocessing | None = None,
) -> Preprocessing:
    """The preprocessing that suits a data set: its size, channels, mean and standard deviation.

    Where all pictures have the same size of at most 64 pixels a side, that is the network's input (twice that below 16
    pixels) and all of it is seen; otherwise the input is 224 x 224, the centre 7/8 of the picture (arXiv:1512.03385,
    sec. 3.4).
    A `size` that is asked for, height and width, replaces either; above 64 pixels the centre 7/8 is seen,
    else all. Of a regression's pictures, and of those to recognise, all is always seen, and where they have one size a
    single number is that of the shorter side; to recognise, it is 112 unless given, or less where the pictures are.
    Pictures that are to be made are squares of 64 pixels where the data's are larger. Mean and standard deviation are
    those of training pictures as evaluation views them (a fixed choice, 5,000 at most where they are small, otherwise
    1,000), rounded to 4 decimals.

    Pictures whose objects are looked for or whose pixels are classified are seen whole, whatever their shape
    ("contain"). Where they have one size, a single number is that of the shorter side, 480 unless given or less;
    otherwise the input is a square of 640 pixels. For objects, sides are rounded up to multiples of 32.

    With the preprocessing `like` of a network whose weights are the beginning, channels, mean, standard deviation and
    interpolation are its own. So are size and crop where both see photographs, or both small pictures of which those of
    the weights are the larger. Photographs are brought to half the usual size for weights of small pictures, because
    such networks keep a picture's size in their first stages.
    """
    train = data.splits["train"]
    common = _common_size(train.sample(_HEADERS_READ))
    own_size = common if common is not None and max(common) <= SMALL else None
    if own_size is not None and min(own_size) < TINY:
        own_size = (2 * own_size[0], 2 * own_size[1])
    if data.task in ("detection", "segmentation"):
        multiple = OBJECTS_MULTIPLE if data.task == "detection" else 1
        return _seen_whole(data, common, size, channels or data.channels, like, multiple)
    whole = data.task in ("regression", "recognition", "generation")
    usual = PHOTOGRAPH_SIZE
    if data.task == "recognition":
        usual = min(RECOGNITION_SIZE, *(common or ()))
    elif data.task == "generation":
        usual = SMALL
    side = size if isinstance(size, int) else usual
    shape_of_side = (side, side)
    if data.task in ("regression", "recognition") and common is not None:
        shape_of_side = _in_proportion(side, common)
    wanted = shape_of_side if isinstance(size, int) else size
    shape = wanted or own_size or shape_of_side
    crop = 1.0 if max(shape) <= SMALL or whole else PHOTOGRAPH_CROP
    if like is not None:
        both_photographs = min(max(shape), max(like.size)) > SMALL
        both_small = max(*shape, *like.size) <= SMALL
        if size is None and max(like.size) <= SMALL < max(shape):
            shape = (shape[0] // 2, shape[1] // 2)
        if not whole and (both_photographs or (both_small and max(shape) < max(like.size))):
            shape, crop = wanted or like.size, like.crop
        return replace(like, size=shape, crop=crop)
    channels = channels or data.channels
    blank = Preprocessing(shape, channels, (0.0,) * channels, (1.0,) * channels, crop)
    return _with_statistics(blank, data, _SMALL_PICTURES if own_size else _PHOTOGRAPHS)


def _seen_whole(
    data: Data,
    common: tuple[int, int] | None,
    size: int | tuple[int, int] | None,
    channels: int,
    like: Preprocessing | None,
    multiple: int,
) -> Preprocessing:
    """The preprocessing of pictures of which all is seen; sides are rounded up to a multiple."""
    if isinstance(size, tuple):
        shape = size
    elif common is None:
        shape = (size or OBJECTS_LONGER_SIDE,) * 2
    else:
        shape = _in_proportion(size or min(OBJECTS_SHORTER_SIDE, *common), common)
    height, width = (-(-side // multiple) * multiple for side in shape)
    if like is not None:
        return replace(like, size=(height, width), crop=1.0, fit="contain")
    blank = Preprocessing((height, width), channels, (0.0,) * channels, (1.0,) * channels, fit="contain")
    known = _with_statistics(replace(blank, fit="cover"), data, _PHOTOGRAPHS)
    return replace(known, fit="contain")


def _with_statistics(blank: Preprocessing, data: Data, pictures: int) -> Preprocessing:
    """The preprocessing with the mean and standard deviation of so many training pictures."""
    train, channels = data.splits["train"], blank.channels
    sample = train.sample(pictures)
    covering = round(max(blank.size) / blank.crop)

    def sums(index: int) -> Tensor:
        try:
            values = view(sample.picture(index, channels, covering), blank).flatten(1).double() / 255
        except UnreadablePictureError:  # named where all pictures are read; no part of a mean
            return torch.zeros(3, channels, dtype=torch.float64)
        return torch.stack([torch.full_like(values[:, 0], values.shape[1]), values.sum(1), values.square().sum(1)])

    count, total, squares = sum(for_each(sample, sums), torch.zeros(3, channels, dtype=torch.float64))
    if not count.all():
        raise ValueError(f"{data.source}: none of the training pictures looked at can be read")
    mean = total / count
    std = (squares / count - mean.square()).clamp(min=0).sqrt()
    std = torch.where(std < 1e-4, 1.0, std)  # pictures of one colour: nothing to divide by
    return replace(blank, mean=_rounded(mean), std=_rounded(std))


def _in_proportion(side: int, size: tuple[int, int]) -> tuple[int, int]:
    """Height and width of a picture whose shorter side is brought to `side` pixels."""
    return round(size[0] * side / min(size)), round(size[1] * side / min(size))


def _common_size(dataset: Dataset) -> tuple[int, int] | None:
    """Height and width of the pictures, upright, if all share them."""
    sizes = set()
    for index in range(len(dataset)):
        try:
            image = dataset.open(index)
        except UnreadablePictureError:
            continue
        sizes.add(upright_size(image))
        if len(sizes) > 1:
            return None
    return sizes.pop() if sizes else None


def _rounded(values: Tensor) -> tuple[float, ...]:
    return tuple(round(value, 4) for value in values.tolist())
