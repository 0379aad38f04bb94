"""What is done to whole batches on their device, between the loader and the network.

`crop`, `flip` and `normalise` are pure functions whose random part is an argument; none changes its input.
`prepare` puts them and those of `mixing` together, its choices being functions of (seed, epoch, sample).

Legend: N pictures, C channels, H x W pixels, K classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms.v2 import functional as tv

from resnets.data.mixing import BETA_NUMBERS, beta, cutmix, erase, mixup
from resnets.data.order import uniform
from resnets.data.windows import INTERPOLATION
from resnets.types import Batch, Preprocessing

PadMode = Literal["constant", "reflect"]
"""What lies beyond a picture's edge: black pixels, or the picture's mirror image."""


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Random changes to training pictures; the default is none.

    Attributes:
        flip: mirror pictures left to right, with probability 1/2.
        flip_alternately: draw that for the first epoch alone; afterwards each picture is mirrored in every other epoch,
            so that two epochs show both (arXiv:2404.00498, section 3.6).
        flip_vertical: mirror them top to bottom, too, with probability 1/2; for pictures without an up and a down, as
            through a microscope or from above.
        pad: crop at random after padding each side with so many pixels; 4 for CIFAR (arXiv:1512.03385, sec. 4.2).
        pad_mode: with black pixels ("constant"), or with what the edge mirrors ("reflect").
        scale: range of the share of a picture's area that a random crop takes before it is resized to the
            input's size; (0.08, 1) for ImageNet (arXiv:1409.4842), (1, 1) takes the same view as in
            evaluation.
        ratio: range of that crop's width by height.
        mixup: alpha of the Beta distribution by which two pictures are blended (arXiv:1710.09412), 0 for
            never.
        cutmix: alpha of the Beta distribution of the area that comes from another picture (arXiv:1905.04899),
            0 for never. With mixup too, each picture gets one of the two, with probability 1/2.
        erasing: probability that a rectangle of a picture is erased (arXiv:1708.04896).
        zoom: of pictures whose objects are looked for or whose pixels are classified, the range of sizes beside that of
            evaluation; (0.5, 2) shows them from half to twice as large (arXiv:2012.07177, section 3).
        mosaic: where objects are looked for, the probability that a picture is joined by parts of three others
            (arXiv:2004.10934).
        jitter: largest change of brightness, contrast and saturation, each by a factor of up to 1 + jitter or down to
            1 - jitter; 0 for none.
        window: of pictures whose pixels are classified, the sides of the part that training sees, at a random place, as
            a share of the input's; with 0.5 a step costs a quarter.
    """

    flip: bool = False
    flip_alternately: bool = False
    flip_vertical: bool = False
    pad: int = 0
    pad_mode: PadMode = "constant"
    scale: tuple[float, float] = (1.0, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    mixup: float = 0.0
    cutmix: float = 0.0
    erasing: float = 0.0
    zoom: tuple[float, float] = (1.0, 1.0)
    mosaic: float = 0.0
    jitter: float = 0.0
    window: float = 1.0

    def __post_init__(self) -> None:
        for name in ("scale", "ratio", "zoom"):
            if len(getattr(self, name)) != 2:
                raise ValueError(f"{name} must be a range of two numbers, not {getattr(self, name)}")
        if self.flip_alternately and not self.flip:
            raise ValueError("flip_alternately says when pictures are mirrored; it needs flip")
        if self.pad < 0 or self.mixup < 0 or self.cutmix < 0:
            raise ValueError(f"pad, mixup and cutmix must be 0 or more, not {self.pad}, {self.mixup} and {self.cutmix}")
        if self.pad_mode not in get_args(PadMode):
            raise ValueError(f"pad_mode must be one of {', '.join(get_args(PadMode))}, not {self.pad_mode!r}")
        if self.pad_mode != "constant" and not self.pad:
            raise ValueError("pad_mode says with what pictures are padded; it needs pad")
        if not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise ValueError(f"scale must be a rising range above 0 and up to 1, not {self.scale}")
        if not 0 < self.ratio[0] <= self.ratio[1]:
            raise ValueError(f"ratio must be a rising range above 0, not {self.ratio}")
        for name in ("erasing", "mosaic"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be a probability, 0 to 1, not {getattr(self, name)}")
        if not 0 < self.zoom[0] <= self.zoom[1]:
            raise ValueError(f"zoom must be a rising range above 0, not {self.zoom}")
        if not 0 < self.window <= 1:
            raise ValueError(f"window must be a share of the side, above 0 and at most 1, not {self.window}")
        if not 0 <= self.jitter < 1:
            raise ValueError(f"jitter must be at least 0 and below 1, not {self.jitter}")

    @property
    def resized_crop(self) -> bool:
        """Whether each epoch sees another part of a picture, cut before it is resized."""
        return tuple(self.scale) != (1.0, 1.0)

    @property
    def mixes(self) -> bool:
        """Whether targets become class shares."""
        return self.mixup > 0 or self.cutmix > 0


def crop(images: Tensor, offsets: Tensor, pad: int, mode: PadMode = "constant") -> Tensor:
    """Pad (N, C, H, W) with `pad` pixels on each side and cut H x W at `offsets` (N, 2): y, x in 0...2 pad."""
    H, W = images.shape[-2:]
    padded = tv.pad(images, [pad], padding_mode=mode)
    windows = padded.unfold(2, H, 1).unfold(3, W, 1)  # (N, C, 2 pad + 1, 2 pad + 1, H, W)
    return windows[torch.arange(len(images), device=images.device), :, offsets[:, 0], offsets[:, 1]]


def flip(images: Tensor, mask: Tensor, dimension: int = 3) -> Tensor:
    """Mirror those of (N, C, H, W) where `mask` (N,) is true: left to right, or top to bottom along dimension 2."""
    return torch.where(mask[:, None, None, None], images.flip(dimension), images)


def jitter(images: Tensor, changes: Tensor) -> Tensor:
    """Change brightness, contrast and saturation of uint8 (N, C, H, W) by factors of 1 + `changes` (N, 3).

    Contrast is about the picture's mean, saturation about each pixel's; both are the plain mean of the channels.
    """
    brightness, contrast, saturation = (1 + changes)[:, :, None, None, None].unbind(1)  # each (N, 1, 1, 1)
    values = images.to(torch.float32) * brightness
    grey = values.mean(1, keepdim=True)
    values = grey + (values - grey) * saturation
    mean = values.mean((1, 2, 3), keepdim=True)
    return (mean + (values - mean) * contrast).round_().clamp_(0, 255).to(torch.uint8)


def normalise(
    images: Tensor,
    preprocessing: Preprocessing,
    dtype: torch.dtype = torch.float32,
    channels_last: bool = False,
) -> Tensor:
    """(images / 255 - mean) / std of uint8 (N, C, H, W), computed in float32 and rounded to `dtype`."""
    if images.dtype != torch.uint8:
        raise TypeError(f"normalise takes uint8 pictures, not {images.dtype}")
    std = torch.tensor(preprocessing.std, device=images.device)[:, None, None]
    mean = torch.tensor(preprocessing.mean, device=images.device)[:, None, None]
    scaled = images.to(torch.float32).mul_(1 / (255 * std)).sub_(mean / std)
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    return scaled.to(dtype=dtype, memory_format=memory_format)


def prepare(
    batch: Batch,
    preprocessing: Preprocessing,
    augmentation: Augmentation | None = None,
    *,
    seed: int = 0,
    epoch: int = 0,
    num_classes: int | None = None,
    dtype: torch.dtype = torch.float32,
    channels_last: bool = False,
    size: tuple[int, int] | None = None,
) -> Batch:
    """A batch of uint8 pictures as the network takes them: cropped, flipped, normalised, mixed and erased.

    Without `augmentation` they are only normalised. Pictures of another `size`, height and width, are resized first.
    Where pictures are mixed, the targets become (N,
    num_classes) float32 shares, or numbers mixed alike; otherwise they stay as they are. `scale`, `ratio`, `zoom`,
    `mosaic` and `window` are the loader's part, and so are mirror images where objects or masks have to follow. The
    batch keeps `seed` and `epoch`, for what its task chooses at random.
    """
    choices = augmentation or Augmentation()
    images, targets = batch.images, batch.targets

    def random(stream: str, count: int = 1) -> Tensor:
        return uniform(seed, epoch, batch.indices, stream, count)

    if size is not None and tuple(images.shape[-2:]) != size:
        images = tv.resize(images, list(size), interpolation=INTERPOLATION[preprocessing.interpolation], antialias=True)
    if choices.pad:
        offsets = (random("crop", 2) * (2 * choices.pad + 1)).long()
        images = crop(images, offsets, choices.pad, choices.pad_mode)
    if choices.flip and not batch.says_where:
        drawn = uniform(seed, 0, batch.indices, "flip") if choices.flip_alternately else random("flip")
        mirrored = drawn[:, 0] < 0.5
        images = flip(images, mirrored ^ (epoch % 2 == 1) if choices.flip_alternately else mirrored)
    if choices.flip_vertical and not batch.says_where:
        images = flip(images, random("vertical flip")[:, 0] < 0.5, dimension=2)
    if choices.jitter:
        images = jitter(images, choices.jitter * (2 * random("jitter", 3) - 1))
    images = normalise(images, preprocessing, dtype, channels_last)
    if choices.mixes:
        if num_classes is None:
            raise ValueError("mixup and cutmix need num_classes, the number of columns of the targets they make")
        shares = targets if targets.is_floating_point() else F.one_hot(targets, num_classes).float()
        images, targets = _mix(images, shares, choices, random)
    if choices.erasing:
        images = erase(images, random("erasing", 5), choices.erasing)
    return replace(batch, images=images, targets=targets, seed=seed, epoch=epoch)


def _mix(
    images: Tensor, targets: Tensor, choices: Augmentation, random: Callable[[str, int], Tensor]
) -> tuple[Tensor, Tensor]:
    """Mixup, cutmix, or for each picture one of the two."""
    blended = cut = (images, targets)
    if choices.mixup:
        blended = mixup(images, targets, beta(choices.mixup, random("mixup", BETA_NUMBERS)))
        if not choices.cutmix:
            return blended
    if choices.cutmix:
        share = beta(choices.cutmix, random("cutmix", BETA_NUMBERS))
        cut = cutmix(images, targets, share, random("cutmix centre", 2))
        if not choices.mixup:
            return cut
    by_blending = random("mix", 1) < 0.5  # (N, 1)
    return (
        torch.where(by_blending[:, :, None, None], blended[0], cut[0]),
        torch.where(by_blending, blended[1], cut[1]),
    )
