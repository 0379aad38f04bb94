from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from resnets.data.order import _mix, _signed, balanced, grouped, hashed, normal, permutation, shards, uniform


def test_hash_is_splitmix64() -> None:
    """Published outputs for the seed 1234567: rosettacode.org, "Pseudo-random numbers/Splitmix64"."""
    golden = 0x9E3779B97F4A7C15
    states = torch.tensor([_signed((1234567 + k * golden) % 2**64) for k in range(1, 6)])
    assert [word % 2**64 for word in _mix(states).tolist()] == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]


def test_known_values_do_not_change() -> None:
    """A stopped run of an earlier version resumes only if these stay."""
    numbers = uniform(0, 0, torch.tensor([0, 1, 49_999]), "crop", 2)
    assert numbers.tolist() == [
        [0.5680571794509888, 0.010121166706085205],
        [0.15241855382919312, 0.032128334045410156],
        [0.22548562288284302, 0.9356226325035095],
    ]
    assert permutation(0, 0, 10).tolist() == [2, 8, 4, 7, 3, 0, 6, 9, 5, 1]
    assert hashed(0, "train/ants/0013035.jpg") == 1513095693865959083


def test_uniform_is_uniform() -> None:
    numbers = uniform(3, 5, torch.arange(50_000), "flip", 2)
    assert numbers.dtype == torch.float32
    assert numbers.min() >= 0
    assert numbers.max() < 1
    for column in numbers.T:
        assert stats.kstest(column.numpy(), "uniform").pvalue > 0.01


def test_neighbours_are_independent() -> None:
    """Samples, columns, epochs, seeds and streams that lie side by side do not resemble each other."""
    base = uniform(0, 0, torch.arange(50_001), "a", 2)
    others = {
        "sample": (base[1:, 0], base[:-1, 0]),
        "column": (base[:, 0], base[:, 1]),
        "epoch": (base[:, 0], uniform(0, 1, torch.arange(50_001), "a")[:, 0]),
        "seed": (base[:, 0], uniform(1, 0, torch.arange(50_001), "a")[:, 0]),
        "stream": (base[:, 0], uniform(0, 0, torch.arange(50_001), "b")[:, 0]),
    }
    for what, (x, y) in others.items():
        correlation = torch.corrcoef(torch.stack([x, y]))[0, 1].abs()
        assert correlation < 4 / 50_000**0.5, what


@given(indices=st.lists(st.integers(0, 2**40), min_size=1, max_size=20), seed=st.integers(0, 2**32))
def test_a_sample_does_not_depend_on_its_batch(indices: list[int], seed: int) -> None:
    together = uniform(seed, 2, torch.tensor(indices), "crop", 3)
    alone = torch.cat([uniform(seed, 2, torch.tensor([i]), "crop", 3) for i in indices])
    assert torch.equal(together, alone)
    assert torch.equal(together[:, :1], uniform(seed, 2, torch.tensor(indices), "crop"))


@given(seed=st.integers(0, 2**63), epoch=st.integers(0, 1000), n=st.integers(0, 300))
def test_permutation_holds_every_number_once(seed: int, epoch: int, n: int) -> None:
    assert sorted(permutation(seed, epoch, n).tolist()) == list(range(n))


def test_permutations_differ_and_have_no_preference() -> None:
    orders = torch.stack([permutation(7, epoch, 20) for epoch in range(2_000)])
    assert len({tuple(order) for order in orders.tolist()}) == 2_000
    first = orders[:, 0].bincount(minlength=20)
    assert stats.chisquare(first.numpy()).pvalue > 0.01


@given(n=st.integers(0, 200), batch_size=st.integers(1, 40), world_size=st.integers(1, 8))
def test_shards_hold_every_sample_once(n: int, batch_size: int, world_size: int) -> None:
    batch_size = max(batch_size, world_size)
    order = permutation(0, 0, n)
    ranks = [shards(order, batch_size, rank, world_size) for rank in range(world_size)]
    everything = [i for rank in ranks for shard in rank for i in shard.tolist()]
    assert sorted(everything) == list(range(n))
    for step, batch in enumerate(shards(order, batch_size)):
        assert sorted(batch.tolist()) == sorted(i for rank in ranks for i in rank[step].tolist())
        assert max(len(rank[step]) for rank in ranks) - min(len(rank[step]) for rank in ranks) <= 1


def test_shards_refuse_what_cannot_be_shared() -> None:
    with pytest.raises(ValueError, match="a batch of 3 pictures cannot be shared among 4 processes"):
        shards(torch.arange(10), 3, 0, 4)
    with pytest.raises(ValueError, match="rank must be"):
        shards(torch.arange(10), 4, 2, 2)


def test_balanced_draws_are_of_all_classes_alike_and_use_up_each_before_repeating():
    targets = torch.tensor([0] * 70 + [1] * 7 + [2] * 25)
    total, seen = len(targets), torch.zeros(len(targets), dtype=torch.int64)
    for epoch in range(6):
        draws = balanced(3, epoch, targets)
        assert torch.equal(draws, balanced(3, epoch, targets))
        assert len(draws.unique()) == total  # a repeated sample has another number
        samples = draws % total
        assert targets[samples].bincount().tolist() == [34, 34, 34]
        repeats = samples.bincount(minlength=total)
        for label in range(3):
            of_class = repeats[targets == label]
            assert of_class.max() - of_class.min() <= 2
        assert not torch.equal(samples.sort().values, samples)
        seen += repeats
    for label in range(3):
        of_class = seen[targets == label]
        assert of_class.max() - of_class.min() <= 1
        assert of_class.min() >= 2


@given(
    sizes=st.lists(st.integers(1, 12), min_size=4, max_size=9),
    per_class=st.integers(1, 5),
    wanted=st.integers(1, 4),
    epoch=st.integers(0, 5),
)
def test_a_grouped_batch_holds_so_many_classes_and_of_each_so_many(sizes, per_class, wanted, epoch):
    targets = torch.cat([torch.full((size,), 10 * label) for label, size in enumerate(sizes)])
    total = len(targets)
    draws = grouped(5, epoch, targets, wanted * per_class, per_class)
    assert torch.equal(draws, grouped(5, epoch, targets, wanted * per_class, per_class))
    assert len(draws) == total == len(draws.unique())  # a repeated sample has another number
    for batch in draws.split(wanted * per_class):
        for group in batch.split(per_class):
            assert len(targets[group % total].unique()) == 1
            if sizes[int(targets[group[0] % total]) // 10] >= per_class:
                assert len((group % total).unique()) == len(group)
        labels = [int(targets[group[0] % total]) for group in batch.split(per_class)]
        assert len(set(labels)) == len(labels)
    turns = torch.stack([targets[group[0] % total] // 10 for group in draws.split(per_class)])
    times = turns.bincount(minlength=len(sizes))
    assert times.max() - times.min() <= 1


def test_grouped_draws_reach_every_sample_and_change_from_epoch_to_epoch():
    targets = torch.arange(24).repeat_interleave(10)
    epochs = torch.stack([grouped(0, epoch, targets, 64, 4) for epoch in range(200)]) % 240
    assert len({tuple(order) for order in epochs.tolist()}) == 200
    seen = epochs.flatten().bincount(minlength=240)
    assert stats.chisquare(seen.numpy()).pvalue > 0.001
    with pytest.raises(ValueError, match="there are 24 classes to train on"):
        grouped(0, 0, targets, 128, 4)


def test_normal_numbers_are_normal_and_belong_to_their_samples() -> None:
    indices = torch.arange(2000)
    numbers = normal(3, 1, indices, "noise", 5)
    assert numbers.shape == (2000, 5)
    assert numbers.isfinite().all()
    assert stats.kstest(numbers.flatten().numpy(), "norm").pvalue > 0.01
    assert (torch.corrcoef(numbers.T) - torch.eye(5)).abs().max() < 0.1
    assert torch.equal(normal(3, 1, indices[7:9], "noise", 5), numbers[7:9])
    assert not torch.equal(normal(3, 2, indices, "noise", 5), numbers)
