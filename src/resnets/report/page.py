"""The page: one HTML file of a title, headline numbers, facts and sections, that asks nothing of any host.

The page knows no task. Style, script, figures and pictures are inside the file, and its content security
policy forbids the browser to fetch anything or to run any script but the page's own. Everything that is not
`Markup` is escaped, because class and file names are anyone's text.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup


@dataclass(frozen=True)
class Number:
    """A headline: what it is, its value as it is printed, and a short remark under it."""

    label: str
    value: str
    remark: str = ""


@dataclass(frozen=True)
class Section:
    """A part of the page with a heading; `key` is its address within the page."""

    key: str
    title: str
    body: Markup


def percent(share: float, digits: int = 1) -> str:
    """A share as a percentage; what is not quite 0 or 1 never rounds to 0 % or 100 %."""
    smallest = 10.0**-digits
    text = f"{100 * share:.{digits}f}"
    if share < 1 and float(text) >= 100:
        return f">\u00a0{100 - smallest:.{digits}f}\u00a0%"
    if share > 0 and float(text) <= 0:
        return f"<\u00a0{smallest:.{digits}f}\u00a0%"
    return f"{text}\u00a0%"


def thousands(count: int) -> str:
    """A whole number with a narrow no-break space between its thousands."""
    return f"{count:,}".replace(",", "\u202f")


_LOADER = PackageLoader("resnets.report")
_TEMPLATES = Environment(
    loader=_LOADER,
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_TEMPLATES.filters |= {"percent": percent, "thousands": thousands}


def render(template: str, **values: object) -> Markup:
    """Fill a template of this package; every value that is not Markup is escaped."""
    return Markup(_TEMPLATES.get_template(template).render(**values))


def _source(name: str) -> Markup:
    return Markup(_LOADER.get_source(_TEMPLATES, name)[0])


def check_page(path: Path) -> None:
    """Raise IsADirectoryError or NotADirectoryError where no page can be written; missing folders can be made."""
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; name the page to write, such as {path / 'page.html'}")
    there = next(folder for folder in path.absolute().parents if folder.exists())
    if not there.is_dir():
        raise NotADirectoryError(f"{there} is a file, so that no page can be written to {path}; name another")


def write_page(
    path: Path,
    *,
    title: str,
    subtitle: str,
    numbers: Sequence[Number],
    facts: Mapping[str, str],
    sections: Sequence[Section],
    scripts: Sequence[str] = (),
) -> None:
    """Write the page to `path`.

    Args:
        title: the heading, and the name of the browser's tab.
        subtitle: the line under it.
        numbers: the headline numbers, most important first.
        facts: label -> value, in order; the one labelled "Command" is set as code.
        sections: the parts of the page, in order, with distinct keys.
        scripts: names of templates that the page runs besides its own script.
    """
    script = Markup("").join(map(_source, ("page.js", *scripts)))
    page = render(
        "page.html",
        title=title,
        subtitle=subtitle,
        numbers=numbers,
        facts=facts,
        sections=sections,
        style=_source("page.css"),
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )
    # A file name that is no valid text on its system carries lone surrogates, which UTF-8 cannot hold.
    path.write_text(page, encoding="utf-8", errors="backslashreplace", newline="\n")
