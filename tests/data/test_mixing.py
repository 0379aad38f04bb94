from __future__ import annotations

import pytest
import torch
from scipy import stats

from resnets.data.mixing import BETA_NUMBERS, beta, cutmix, erase, mixup
from resnets.data.order import uniform


@pytest.mark.parametrize("alpha", [0.05, 0.2, 0.5, 1.0, 2.0, 8.0])
def test_beta_has_the_distribution_that_scipy_says(alpha: float) -> None:
    drawn = beta(alpha, uniform(0, 0, torch.arange(20_000), "beta", BETA_NUMBERS))
    assert drawn.isfinite().all()
    # float32 cannot tell the outermost values of a small alpha from 0 and 1, so they are compared inside.
    probabilities = stats.beta(alpha, alpha).cdf([0.001, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99, 0.999])
    shares = [(drawn <= x).float().mean().item() for x in (0.001, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99, 0.999)]
    assert shares == pytest.approx(list(probabilities), abs=0.012)
    if alpha >= 0.5:
        assert stats.kstest(drawn.numpy(), stats.beta(alpha, alpha).cdf).pvalue > 0.01


def test_mixup_blends_pictures_and_targets_alike() -> None:
    images = torch.randn(4, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    targets = torch.eye(4)
    share = torch.tensor([1.0, 0.75, 0.5, 0.0])
    mixed, shares = mixup(images, targets, share)
    torch.testing.assert_close(mixed[0], images[0])
    torch.testing.assert_close(mixed[1], 0.75 * images[1] + 0.25 * images[0])
    torch.testing.assert_close(mixed[3], images[2])
    assert shares[1].tolist() == [0.25, 0.75, 0, 0]
    assert shares[3].tolist() == [0, 0, 1, 0]


def test_cutmix_shares_targets_by_the_pixels_that_are_left() -> None:
    n = 500
    images = torch.arange(n, dtype=torch.float32)[:, None, None, None].expand(n, 1, 17, 23)
    numbers = uniform(0, 0, torch.arange(n), "test", 3)
    mixed, shares = cutmix(images, torch.eye(n), numbers[:, 0], numbers[:, 1:])
    own = (mixed == images).flatten(1).float().mean(1)
    torch.testing.assert_close(shares.diagonal(), own)
    torch.testing.assert_close(shares.sum(1), torch.ones(n))
    assert shares.diagonal().mean() > 0.5  # cut off at the border: more is left than was asked


def test_cutmix_cuts_one_rectangle_of_the_asked_area() -> None:
    images = torch.stack([torch.zeros(1, 40, 60), torch.ones(1, 40, 60)])
    share = torch.tensor([0.75, 0.75])
    mixed, _ = cutmix(images, torch.eye(2), share, torch.full((2, 2), 0.5))
    inside = mixed[0, 0].nonzero()
    assert inside.min(0).values.tolist() == [10, 15]  # half of each side, about the centre
    assert inside.max(0).values.tolist() == [29, 44]
    assert len(inside) == 600


def test_erasing_takes_its_share_of_pictures_and_of_pixels() -> None:
    n = 4_000
    erased = erase(torch.ones(n, 1, 48, 64), uniform(0, 0, torch.arange(n), "erasing", 5), 0.25)
    touched = (erased == 0).flatten(1).float().mean(1)
    assert 0.22 < (touched > 0).float().mean() < 0.28
    assert touched.max() < 0.36
    assert set(erased.unique().tolist()) == {0.0, 1.0}


def test_erasing_with_probability_zero_and_one() -> None:
    images, numbers = torch.ones(200, 3, 32, 32), uniform(0, 0, torch.arange(200), "erasing", 5)
    assert torch.equal(erase(images, numbers, 0.0), images)
    assert (erase(images, numbers, 1.0) == 0).flatten(1).any(1).all()
