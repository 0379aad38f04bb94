from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as tv

from resnets.data.order import permutation
from resnets.data.transforms import Augmentation, PadMode, crop, flip, normalise, prepare
from resnets.types import Batch, Preprocessing

CIFAR = Preprocessing((32, 32), 3, (0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616))
EVERYTHING = Augmentation(flip=True, flip_vertical=True, pad=4, mixup=0.2, cutmix=1.0, erasing=0.5)


def pictures(n: int = 16, channels: int = 3, size: tuple[int, int] = (32, 32)) -> Tensor:
    return torch.randint(0, 256, (n, channels, *size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def batch(n: int = 16) -> Batch:
    return Batch(pictures(n), torch.arange(n) % 10, torch.arange(n) + 100)


@pytest.mark.parametrize("mode", ["constant", "reflect"])
@pytest.mark.parametrize("size", [(32, 32), (8, 8), (28, 20)])
def test_crop_is_torchvisions_pad_and_crop(size: tuple[int, int], mode: PadMode) -> None:
    images = pictures(25, size=size)
    offsets = torch.cartesian_prod(torch.arange(5), torch.arange(5))
    expected = [
        tv.crop(tv.pad(image, [2], padding_mode=mode), y, x, *size)
        for image, (y, x) in zip(images, offsets.tolist(), strict=True)
    ]
    assert torch.equal(crop(images, offsets, 2, mode), torch.stack(expected))


def test_flip_is_torchvisions() -> None:
    images = pictures(4)
    flipped = flip(images, torch.tensor([True, False, False, True]))
    assert torch.equal(flipped[0], tv.horizontal_flip(images[0]))
    assert torch.equal(flipped[1:3], images[1:3])
    assert torch.equal(flipped[3], tv.horizontal_flip(images[3]))
    assert torch.equal(flip(images, torch.ones(4, dtype=torch.bool), dimension=2), tv.vertical_flip(images))


def test_all_four_mirror_images_occur_alike() -> None:
    n = 4000
    image = pictures(1, channels=1)
    grey = Preprocessing((32, 32), 1, (0.0,), (1 / 255,))
    given = Batch(image.expand(n, 1, 32, 32), torch.zeros(n, dtype=torch.int64), torch.arange(n))
    images = prepare(given, grey, Augmentation(flip=True, flip_vertical=True)).images
    for expected in (image, image.flip(3), image.flip(2), image.flip(2, 3)):
        share = (images == expected.float()).flatten(1).all(1).double().mean().item()
        assert abs(share - 0.25) < 4 * (0.25 * 0.75 / n) ** 0.5


@pytest.mark.parametrize("channels_last", [False, True])
def test_normalise_is_torchvisions(channels_last: bool) -> None:
    images = pictures()
    expected = tv.normalize(tv.to_dtype(images, torch.float32, scale=True), list(CIFAR.mean), list(CIFAR.std))
    ours = normalise(images, CIFAR, channels_last=channels_last)
    torch.testing.assert_close(ours, expected, rtol=0, atol=2e-6)
    assert ours.is_contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)
    assert torch.equal(normalise(images, CIFAR, torch.bfloat16), ours.to(torch.bfloat16))


def test_normalise_refuses_what_is_normalised_already() -> None:
    with pytest.raises(TypeError, match="uint8"):
        normalise(pictures().float(), CIFAR)


def test_without_augmentation_pictures_are_only_normalised() -> None:
    given = batch()
    prepared = prepare(given, CIFAR)
    assert torch.equal(prepared.images, normalise(given.images, CIFAR))
    assert torch.equal(prepared.targets, given.targets)


def test_the_given_batch_is_left_as_it_was() -> None:
    given = batch()
    before = given.images.clone(), given.targets.clone(), given.indices.clone()
    prepare(given, CIFAR, EVERYTHING, num_classes=10)
    assert all(torch.equal(a, b) for a, b in zip(before, (given.images, given.targets, given.indices), strict=True))


def test_the_same_seed_and_epoch_give_the_same_pictures_and_others_do_not() -> None:
    first = prepare(batch(), CIFAR, EVERYTHING, seed=1, epoch=2, num_classes=10)
    again = prepare(batch(), CIFAR, EVERYTHING, seed=1, epoch=2, num_classes=10)
    assert torch.equal(first.images, again.images)
    assert torch.equal(first.targets, again.targets)
    for other in ({"seed": 2, "epoch": 2}, {"seed": 1, "epoch": 3}):
        assert not torch.equal(first.images, prepare(batch(), CIFAR, EVERYTHING, num_classes=10, **other).images)


def test_crops_flips_and_erasing_do_not_depend_on_the_rest_of_the_batch() -> None:
    augmentation = dataclasses.replace(EVERYTHING, mixup=0, cutmix=0)
    given = batch()
    order = permutation(0, 0, len(given))
    shuffled = Batch(given.images[order], given.targets[order], given.indices[order])
    straight = prepare(given, CIFAR, augmentation, epoch=4).images
    assert torch.equal(straight[order], prepare(shuffled, CIFAR, augmentation, epoch=4).images)


def test_all_crops_and_both_directions_occur() -> None:
    """Of one picture, over many epochs: 81 crops, each mirrored or not, as often as the others."""
    n = 20_000
    image = pictures(1, channels=1)
    grey = Preprocessing((32, 32), 1, (0.0,), (1 / 255,))
    given = Batch(image.expand(n, 1, 32, 32), torch.zeros(n, dtype=torch.int64), torch.arange(n))
    images = prepare(given, grey, Augmentation(flip=True, pad=4)).images
    # Four neighbouring pixels in the middle, where no padding reaches, tell the crop and its direction.
    kinds, counts = images[:, 0, 16:18, 15:17].round().flatten(1).unique(dim=0, return_counts=True)
    assert len(kinds) == 81 * 2
    assert counts.min() / (n / 162) > 0.6
    assert counts.max() / (n / 162) < 1.4


def test_mixing_gives_shares_that_add_up_to_one() -> None:
    for augmentation in (Augmentation(mixup=0.4), Augmentation(cutmix=1.0), EVERYTHING):
        mixed = prepare(batch(64), CIFAR, augmentation, num_classes=10)
        assert mixed.targets.shape == (64, 10)
        torch.testing.assert_close(mixed.targets.sum(1), torch.ones(64))
        assert (mixed.targets.max(1).values < 1).any()


def test_each_picture_gets_mixup_or_cutmix_alike_often() -> None:
    """On pictures of one colour each: blending makes new values, cutting makes none."""
    n = 2_000
    values = (torch.arange(n) % 2 * 255).to(torch.uint8)
    given = Batch(values[:, None, None, None].expand(n, 1, 16, 16), torch.arange(n) % 2, torch.arange(n))
    plain = Preprocessing((16, 16), 1, (0.0,), (1.0,))
    mixed = prepare(given, plain, Augmentation(mixup=1.0, cutmix=1.0), num_classes=2)
    blended = ((mixed.images > 0.001) & (mixed.images < 0.999)).flatten(1).any(1)
    assert 0.45 < blended.float().mean() < 0.55
    # The share of class 1 is the mean brightness, whichever way a picture was made.
    torch.testing.assert_close(mixed.images.mean((1, 2, 3)), mixed.targets[:, 1], atol=1e-3, rtol=0)


def test_mixing_asks_for_the_number_of_classes() -> None:
    with pytest.raises(ValueError, match="num_classes"):
        prepare(batch(), CIFAR, Augmentation(mixup=0.2))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("pad", -1),
        ("pad_mode", "edge"),
        ("scale", (0.5, 0.2)),
        ("scale", (0.0, 1.0)),
        ("ratio", (2.0, 1.0)),
        ("erasing", 1.5),
        ("mixup", -0.1),
    ],
)
def test_values_out_of_range_are_refused(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=field):
        Augmentation(**{field: value})


def test_flips_that_alternate_show_both_sides_in_two_epochs():
    images = torch.arange(64 * 6, dtype=torch.uint8).view(64, 1, 1, 6)
    given = Batch(images, torch.zeros(64, dtype=torch.int64), torch.arange(64))
    choices = Augmentation(flip=True, flip_alternately=True)
    grey = Preprocessing((1, 6), 1, (0.0,), (1.0,))
    epochs = [prepare(given, grey, choices, epoch=epoch).images for epoch in range(4)]
    assert torch.equal(epochs[0], epochs[2])
    assert torch.equal(epochs[1], epochs[3])
    assert torch.equal(epochs[0], epochs[1].flip(3))
    mirrored = (epochs[0] != normalise(images, grey)).flatten(1).any(1)
    assert 16 < int(mirrored.sum()) < 48
    with pytest.raises(ValueError, match="it needs flip"):
        Augmentation(flip_alternately=True)
