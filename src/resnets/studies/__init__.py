"""Experiments over many networks: one module a study, found by its name.

A module here has a docstring whose first paragraph is the question, and defines `SOURCE` (where the claim was
published), `DEPTHS` (of the networks, where nobody says otherwise) and `conduct(study)`, which gives `Findings`.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module
from typing import Protocol, cast

from resnets.studies.study import Findings, Study


class Conducted(Protocol):
    """What a module of this package has."""

    __doc__: str
    SOURCE: str
    DEPTHS: tuple[int, ...]

    def conduct(self, study: Study) -> Findings:
        """Train and measure what the question needs."""


SHARED = ("study", "variants")
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
