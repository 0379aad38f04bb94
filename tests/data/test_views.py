from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional as tv

from resnets.data.transforms import Augmentation
from resnets.data.views import random_view, view
from resnets.data.windows import INTERPOLATION
from resnets.types import Preprocessing

IMAGENET = Preprocessing((224, 224), 3, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), crop=0.875)
ZEROS, ONES = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)


def noise(height: int, width: int, channels: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(height * 1000 + width)
    coarse = torch.randint(0, 256, (channels, 9, 9), dtype=torch.uint8, generator=generator)
    return tv.resize(coarse, [height, width], antialias=True)


@pytest.mark.parametrize(("height", "width"), [(375, 500), (500, 333), (256, 256), (100, 120), (224, 1000), (31, 77)])
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic"])
def test_view_is_torchvisions_resize_and_centre_crop(height: int, width: int, interpolation: str) -> None:
    modes = {
        "nearest": InterpolationMode.NEAREST_EXACT,
        "bilinear": InterpolationMode.BILINEAR,
        "bicubic": InterpolationMode.BICUBIC,
    }
    reference = v2.Compose([v2.Resize(256, modes[interpolation], antialias=True), v2.CenterCrop(224)])
    preprocessing = Preprocessing((224, 224), 3, ZEROS, ONES, 0.875, interpolation)
    picture = noise(height, width)
    assert torch.equal(view(picture, preprocessing), reference(picture))


@pytest.mark.parametrize(("height", "width"), [(1500, 20), (21, 1502), (4001, 60)])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_a_very_long_picture_is_seen_as_all_others(height: int, width: int, interpolation: str) -> None:
    """But for the last bits: of the long side a part is resized, by a factor that may differ by a fraction."""
    picture = noise(height, width)
    expected = tv.center_crop(tv.resize(picture, [56], INTERPOLATION[interpolation], antialias=True), [48])
    seen = view(picture, Preprocessing((48, 48), 3, ZEROS, ONES, 48 / 56, interpolation))
    assert (seen.int() - expected.int()).abs().max() <= 3


@pytest.mark.parametrize("size", [(1, 20_000), (20_000, 1), (65_000, 3)])
def test_a_thread_of_a_picture_does_not_fill_the_memory(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    resized = []

    def watched(picture: Tensor, size: list[int], **options: object) -> Tensor:
        resized.append(size)
        return resize(picture, size, **options)

    resize = tv.resize
    monkeypatch.setattr(tv, "resize", watched)
    assert view(torch.full((3, *size), 7, dtype=torch.uint8), IMAGENET).unique().tolist() == [7]
    assert max(resized[0]) <= 20 * 224


def test_a_picture_of_the_right_size_is_left_as_it_is() -> None:
    picture = noise(32, 48)
    assert torch.equal(view(picture, Preprocessing((32, 48), 3, ZEROS, ONES)), picture)


@settings(max_examples=50, deadline=None)
@given(
    picture=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    crop=st.sampled_from([1.0, 0.95, 0.875, 0.5]),
)
def test_views_of_any_picture_have_the_input_size(picture: tuple[int, int], size: tuple[int, int], crop: float) -> None:
    preprocessing = Preprocessing(size, 1, (0.5,), (0.5,), crop)
    augmentation = Augmentation(scale=(0.1, 1.0))
    assert view(noise(*picture, channels=1), preprocessing).shape == (1, *size)
    assert random_view(noise(*picture, channels=1), preprocessing, augmentation, 0, 0, 0).shape == (1, *size)


def test_random_views_cover_the_ranges_of_area_and_ratio() -> None:
    """A picture whose pixels tell their position shows which part was taken."""
    y = torch.arange(250, dtype=torch.uint8)[:, None].expand(250, 250)
    picture = torch.stack([y, y.T, y])
    augmentation = Augmentation(scale=(0.2, 0.6), ratio=(0.5, 2.0))
    preprocessing = Preprocessing((250, 250), 3, ZEROS, ONES, interpolation="nearest")
    areas, ratios, tops = [], [], []
    for epoch in range(300):
        seen = random_view(picture, preprocessing, augmentation, seed=1, epoch=epoch, index=7).int()
        top, left = seen[0].min().item(), seen[1].min().item()
        height, width = seen[0].max().item() - top + 1, seen[1].max().item() - left + 1
        areas.append(height * width / 250**2)
        ratios.append(width / height)
        tops.append(top / max(250 - height, 1))
    areas_, ratios_, tops_ = torch.tensor(areas), torch.tensor(ratios), torch.tensor(tops)
    assert areas_.min() > 0.19
    assert areas_.max() < 0.61
    assert abs(areas_.mean() - 0.4) < 0.03
    assert ratios_.min() > 0.48
    assert ratios_.max() < 2.07
    assert abs(ratios_.log().mean()) < 0.1  # as often wide as high
    assert tops_.min() < 0.05
    assert tops_.max() > 0.95
    assert abs(tops_.mean() - 0.5) < 0.07


def test_a_part_that_never_fits_becomes_the_largest_allowed_about_the_centre() -> None:
    picture = noise(10, 400)
    seen = random_view(picture, IMAGENET, Augmentation(scale=(0.9, 1.0)), 0, 0, 0)
    expected = tv.resized_crop(picture, 0, 193, 10, 13, [224, 224], antialias=True)
    assert torch.equal(seen, expected)


def test_random_views_are_a_function_of_seed_epoch_and_index() -> None:
    picture, augmentation = noise(300, 400), Augmentation(scale=(0.08, 1.0))
    seen = random_view(picture, IMAGENET, augmentation, 1, 2, 3)
    assert torch.equal(seen, random_view(picture, IMAGENET, augmentation, 1, 2, 3))
    for choice in ((0, 2, 3), (1, 3, 3), (1, 2, 4)):
        assert not torch.equal(seen, random_view(picture, IMAGENET, augmentation, *choice))
    assert torch.equal(random_view(picture, IMAGENET, Augmentation(), 1, 2, 3), view(picture, IMAGENET))


def test_the_wrong_channels_are_refused() -> None:
    with pytest.raises(ValueError, match=r"shape \(3, H, W\)"):
        view(noise(20, 20, channels=1), IMAGENET)
