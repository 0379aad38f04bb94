"""Randomness without state: every number is a function of (seed, stream, epoch, sample).

Nothing here remembers what was drawn before, so a run that is resumed, that uses another number of workers or
that is spread over more processes sees the same pictures in the same order with nothing to save. The numbers
are a hash of a counter: the finaliser of SplitMix64 (G. Steele, D. Lea, C. Flood, "Fast Splittable
Pseudorandom Number Generators", OOPSLA 2014), in 64-bit integer arithmetic that every device does alike.
"""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

_GOLDEN = 0x9E3779B97F4A7C15
_MULTIPLIERS = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
_WORD = 0xFFFFFFFFFFFFFFFF


def uniform(seed: int, epoch: int, indices: Tensor, stream: str, count: int = 1) -> Tensor:
    """(N, count) float32 numbers, uniform in [0, 1), one row for each of N sample numbers.

    A row depends on its own sample number alone, not on the others of its batch. `stream` names the purpose,
    so that two random choices about one sample are independent. The result is on the device of `indices`.
    """
    words = _words(seed, epoch, indices, stream)
    columns = torch.arange(1, count + 1, device=indices.device) * _signed(_GOLDEN)
    bits = _mix(words[:, None] + columns)
    return _shift_right(bits, 40).to(torch.float32) * 2.0**-24  # 24 bits: every value is exact in float32


def normal(seed: int, epoch: int, indices: Tensor, stream: str, count: int = 1) -> Tensor:
    """(N, count) float32 numbers of the standard normal distribution, one row for each of N sample numbers.

    A row depends on its own sample number alone, as in `uniform`, of whose numbers pairs are turned into pairs
    (G. Box, M. Muller, Ann. Math. Stat. 29:610, 1958).
    """
    half = (count + 1) // 2
    radius, angle = uniform(seed, epoch, indices, stream, 2 * half).split(half, dim=1)  # (N, half) each
    radius = (-2 * torch.log1p(-radius)).sqrt()  # of numbers below 1, so that the logarithm is finite
    angle = 2 * torch.pi * angle
    return torch.cat((radius * angle.cos(), radius * angle.sin()), 1)[:, :count]


def permutation(seed: int, epoch: int, n: int) -> Tensor:
    """The numbers 0 to n - 1 in a random order, (n,) int64."""
    return torch.argsort(_words(seed, epoch, torch.arange(n), "order"), stable=True)


LANES = 16
"""Shards that an epoch reads from side by side, and the most processes that each read shards of their own."""

BUFFER = 8192
"""Samples among which those of shards are mixed."""


def by_shards(
    seed: int, epoch: int, shards: Tensor, places: Tensor, lanes: int = LANES, buffer: int = BUFFER
) -> Tensor:
    """The numbers 0 to N - 1 in a random order that reads shards from their beginning to their end, (N,) int64.

    The shards come in a random order and are cut into as many lanes of equal length; in a lane, each sample moves by
    fewer than buffer / lanes places at random; then one sample after another is taken from each lane in turn. So a step
    whose size is a multiple of the lanes has as many from each, and of P processes that divide them, each reads the
    shards of lanes of its own. Up to `buffer` samples are simply in a random order.

    Args:
        seed, epoch: of which the order is a function.
        shards: (N,) the shard of each sample.
        places: (N,) where it lies; those of a shard rise from its beginning to its end.
        lanes, buffer: as said.
    """
    count = len(shards)
    if count <= buffer:
        return permutation(seed, epoch, count)
    stored = places.argsort()
    turn = permutation(hashed(seed, "shards"), epoch, int(shards.max()) + 1).argsort()  # of each shard
    stream = stored[turn[shards[stored]].argsort(stable=True)]
    lane = torch.arange(count) * lanes // count
    moved = torch.arange(count) + buffer // lanes * uniform(seed, epoch, stream, "buffer")[:, 0].double()
    order = moved.argsort()
    order = order[lane[order].argsort(stable=True)]  # lane by lane, mixed within each
    depth = torch.arange(count) - torch.searchsorted(lane, lane)  # behind the lane's first
    return stream[order[depth.argsort(stable=True)]]


def balanced(seed: int, epoch: int, targets: Tensor) -> Tensor:
    """As many draws as there are samples, of each class equally many to within one, in a random order, (N,) int64.

    A draw is the sample's number plus N times how often it came before in this epoch, so that each draw has random
    choices of its own; `draw % N` is the sample. From epoch to epoch every sample of a class comes as often as any
    other of it, to within once.
    """
    total, draws = len(targets), []
    labels = targets.unique().tolist()
    for number, label in enumerate(labels):
        members = (targets == label).nonzero().flatten()
        quota = total // len(labels) + (number < total % len(labels))
        first = epoch * quota
        rounds = torch.arange(first, first + quota) // len(members)
        own_seed = hashed(seed, f"class {label}")
        shuffled = torch.cat([members[permutation(own_seed, r, len(members))] for r in rounds.unique().tolist()])
        start = first % len(members)
        draws.append(shuffled[start : start + quota] + total * (rounds - rounds[:1]))
    return torch.cat(draws)[permutation(seed, epoch, total)]


def grouped(seed: int, epoch: int, targets: Tensor, batch_size: int, per_class: int) -> Tensor:
    """As many draws as there are samples, each batch of them P classes with K = `per_class` samples each, (N,) int64.

    P is batch_size / K (arXiv:1703.07737, section 2). In an epoch every class comes equally often to within once, in an
    order that changes; of a class, every sample comes once before any comes again, but for the few that do not fill a
    group of K. The last group is cut short where K does not divide N. A draw is the sample's number plus a multiple of
    N, another for each of the sample's draws, as those of `balanced`.

    Raises:
        ValueError: if K does not divide the batch, or there are fewer than P classes.
    """
    total, labels = len(targets), targets.unique().tolist()
    wanted, rest = divmod(batch_size, per_class)
    if rest or not 1 <= wanted <= len(labels):
        raise ValueError(
            f"a batch of {batch_size} cannot hold {per_class} pictures of each of {batch_size / per_class:g} classes; "
            f"there are {len(labels)} classes to train on: choose a batch_size that is a multiple of per_class, "
            f"{len(labels) * per_class} at most"
        )
    turns = _turns(seed, epoch, len(labels), -(-total // per_class), wanted)
    groups = torch.empty(len(turns), per_class, dtype=torch.int64)
    for number, places in enumerate(turns.argsort(stable=True).split(turns.bincount(minlength=len(labels)).tolist())):
        if not len(places):
            continue
        members = (targets == labels[number]).nonzero().flatten()
        repeats = -(-per_class // len(members))  # of a class smaller than K, within one group
        in_round = len(members) // per_class or 1
        own_seed = hashed(seed, f"groups {epoch} of class {labels[number]}")
        rounds = []
        for r in range(-(-len(places) // in_round)):
            shuffled = members[permutation(own_seed, r, len(members))]
            draws = torch.cat([shuffled + total * (r * repeats + repeat) for repeat in range(repeats)])
            rounds.append(draws[: in_round * per_class].view(in_round, per_class))
        groups[places] = torch.cat(rounds)[: len(places)]
    return groups.flatten()[:total]


def _turns(seed: int, epoch: int, classes: int, count: int, wanted: int) -> Tensor:
    """The class of each of `count` groups, no class twice among `wanted` from a batch's first on."""
    turns: list[int] = []
    for r in range(-(-count // classes)):
        begun = set(turns[len(turns) - len(turns) % wanted :])
        shuffled = permutation(hashed(seed, f"classes {epoch}"), r, classes).tolist()
        turns += [c for c in shuffled if c not in begun] + [c for c in shuffled if c in begun]
    return torch.tensor(turns[:count])


def hashed(seed: int, text: str) -> int:
    """A 64-bit number from a seed and a name, for choices that must not depend on how names are ordered."""
    content = f"{seed}/{text}".encode(errors="surrogateescape")  # file names may be in another encoding
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "big")


def shards(order: Tensor, batch_size: int, rank: int = 0, world_size: int = 1) -> list[Tensor]:
    """The part of each step's batch that belongs to one of several processes.

    A step's batch is `batch_size` consecutive samples of `order`, counted over all processes; process `rank`
    takes every `world_size`-th of them. So the samples of a step do not depend on the number of processes,
    each sample is in exactly one shard, and only the last step may be short: there a shard may even be empty.
    """
    if not 0 <= rank < world_size:
        raise ValueError(f"rank must be at least 0 and below world_size={world_size}, not {rank}")
    if batch_size < world_size:
        raise ValueError(
            f"a batch of {batch_size} pictures cannot be shared among {world_size} processes; batch_size "
            "counts the pictures of one step over all processes"
        )
    return [batch[rank::world_size] for batch in order.split(batch_size)] if len(order) else []


def _words(seed: int, epoch: int, indices: Tensor, stream: str) -> Tensor:
    key = hashed(seed, f"{stream}/{epoch}")
    return _mix(indices.to(torch.int64) * _signed(_GOLDEN) + _signed(key))


def _mix(words: Tensor) -> Tensor:
    words = (words ^ _shift_right(words, 30)) * _signed(_MULTIPLIERS[0])
    words = (words ^ _shift_right(words, 27)) * _signed(_MULTIPLIERS[1])
    return words ^ _shift_right(words, 31)


def _shift_right(words: Tensor, bits: int) -> Tensor:
    """The shift of an unsigned word: torch's own keeps the sign."""
    return (words >> bits) & (_WORD >> bits)


def _signed(word: int) -> int:
    """The two's complement value of a 64-bit word, which is what an int64 tensor holds."""
    return word - (1 << 64) if word >> 63 else word
