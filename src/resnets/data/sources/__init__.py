"""Where pictures come from, one module a format.

A module here is a source if it has `recognises(source: str) -> bool`, `open(source: str) -> Listing` and
`ACCEPTS`, a line about what it accepts. The module's name is the format's name; to add a format is to add a
module. One with `REFINES`, the name of another, has what both recognise.
"""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType


def sources() -> dict[str, ModuleType]:
    """All sources by their names."""
    found = (info.name for info in pkgutil.iter_modules(__path__))
    return {name: importlib.import_module(f"{__name__}.{name}") for name in sorted(found)}


def find_source(source: str) -> tuple[str, ModuleType]:
    """The one source that recognises what was asked for.

    Raises:
        ValueError: none does, or more than one.
    """
    claims = {name: module for name, module in sources().items() if module.recognises(source)}
    refined = {getattr(module, "REFINES", "") for module in claims.values()}
    claims = {name: module for name, module in claims.items() if name not in refined}
    if not claims:
        accepted = "\n".join(f"  {name}: {module.ACCEPTS}" for name, module in sources().items())
        raise ValueError(f"no data set at {source!r}; accepted are\n{accepted}")
    if len(claims) > 1:
        raise ValueError(
            f"{source!r} could be {' or '.join(sorted(claims))}; write a path with a slash, as in "
            f"./{source}, to mean the file or folder"
        )
    return next(iter(claims.items()))
