"""Experiments over many networks: one module a study, found by its name.

A module here has a docstring whose first paragraph is the question, and defines `SOURCE` (where the claim was
published), `DEPTHS` (of the networks, where nobody says otherwise: a study of one depth takes one, the others at least
two), `REPEATS` (whether it trains each kind with several seeds) and `conduct(study)`, which gives `Findings`.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Sequence
from importlib import import_module
from typing import Protocol, cast

from resnets.studies.study import Findings, Study


class Conducted(Protocol):
    """What a module of this package has."""

    __doc__: str
    SOURCE: str
    DEPTHS: tuple[int, ...]
    REPEATS: bool

    def conduct(self, study: Study) -> Findings:
        """Train and measure what the question needs."""


SHARED = ("chance", "study", "variants")
"""Modules that are no studies."""


def list_studies() -> tuple[str, ...]:
    """The names of all studies."""
    return tuple(module.name for module in pkgutil.iter_modules(__path__) if module.name not in SHARED)


def find_study(name: str) -> Conducted:
    """The module of a study.

    Raises:
        ValueError: if there is no such module.
    """
    if name not in list_studies():
        raise ValueError(f"there is no study {name!r}; there is {', '.join(list_studies())}")
    return cast(Conducted, import_module(f"{__name__}.{name}"))


def check_asked(name: str, depths: Sequence[int], seeds: int) -> None:
    """Raise ValueError for depths and seeds that a study would not use."""
    module, asked = find_study(name), ", ".join(map(str, depths))
    if len(module.DEPTHS) == 1 != len(depths):
        raise ValueError(f"the study {name} is of one depth, such as {module.DEPTHS[0]}, not of {asked}")
    if len(module.DEPTHS) > 1 and (len(depths) < 2 or len(set(depths)) < len(depths)):
        raise ValueError(f"the study {name} compares depths and takes two or more that differ, not {asked}")
    if seeds > 1 and not module.REPEATS:
        raise ValueError(f"the study {name} looks into single networks; leave --seeds out")
