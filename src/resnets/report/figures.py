"""Matplotlib figures as inline SVG that takes its colours and its type from the page around it.

A figure is drawn with stand-in colours, which become the page's CSS variables, so that one figure serves
light, dark and print. Its text stays text. Names from outside belong in the page's own text, not in a figure:
matplotlib's fonts lack the letters of most scripts.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree

import matplotlib
from markupsafe import Markup
from matplotlib.figure import Figure

INK, MUTED, LINE, BLUE, ORANGE, GREEN = (f"#a1b2c{digit}" for digit in range(6))
"""Stand-ins: text, quiet text, rules, and three colours that the colour-blind can tell apart."""

_VARIABLES = {
    INK: "ink",
    MUTED: "muted",
    LINE: "line",
    BLUE: "blue",
    ORANGE: "orange",
    GREEN: "green",
}

_STYLE: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": LINE,
    "axes.grid": True,
    "axes.labelcolor": MUTED,
    "axes.labelsize": 11,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.constrained_layout.use": True,
    "font.family": "DejaVu Sans",  # comes with matplotlib; it only measures, the page's own font is shown
    "font.size": 11,
    "grid.color": LINE,
    "grid.linewidth": 0.8,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
    "svg.fonttype": "none",
    "svg.hashsalt": "resnets",  # the same figure is the same text each time
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": LINE,
    "xtick.labelcolor": MUTED,
    "xtick.labelsize": 11,
    "ytick.color": LINE,
    "ytick.labelcolor": MUTED,
    "ytick.labelsize": 11,
    "ytick.major.size": 0,
}

_NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))


def draw(
    paint: Callable[[Figure], None], *, name: str, description: str, width: float = 360, height: float = 230
) -> Markup:
    """Draw a figure and return it as inline SVG.

    Args:
        paint: draws on the empty figure that it is given, with this module's colours.
        name: distinct within the page; prefixes the identifiers inside the SVG.
        description: what the figure shows, for those who cannot see it.
        width, height: CSS pixels of the figure as drawn; the page scales it to its column.
    """
    file = io.BytesIO()
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(width / 72, height / 72))  # the SVG's unit is a point of 1/72 inch
        paint(figure)
        figure.savefig(file, format="svg", transparent=True, metadata=_NO_METADATA)
    return _inline(ElementTree.fromstring(file.getvalue()), name, description)


def _inline(svg: ElementTree.Element, name: str, description: str) -> Markup:
    """A stand-alone SVG as an element of a page: no namespaces, identifiers of its own, no fixed size."""
    used = set(re.findall(r"#(\w+)", " ".join(value for node in svg.iter() for value in node.attrib.values())))
    for node in svg.iter():
        node.tag = node.tag.rpartition("}")[2]
        node.attrib = {key.rpartition("}")[2]: value for key, value in node.attrib.items()}
        identifier = node.attrib.pop("id", None)
        if identifier in used:
            node.set("id", f"{name}-{identifier}")
        for key in ("href", "clip-path"):
            if key in node.attrib:
                node.set(key, node.attrib[key].replace("#", f"#{name}-"))
        if "style" in node.attrib:
            node.set("style", _page_style(node.attrib["style"]))
        if node.tag == "path" and "d" in node.attrib:  # of a curve that is out of sight nothing is drawn
            node.set("d", " ".join(node.attrib["d"].split()))
        node.tail = None
    for definitions in svg.findall("defs"):  # matplotlib's global style sheet would reach the whole page
        for style in definitions.findall("style"):
            definitions.remove(style)
    svg.attrib = {
        "viewBox": svg.attrib["viewBox"],
        "role": "img",
        "aria-label": description,
        "class": "figure",
    }
    return Markup(ElementTree.tostring(svg, encoding="unicode", short_empty_elements=True))


def _page_style(style: str) -> str:
    style = re.sub(r"font-family:[^;]*;?\s*", "", style)
    return re.sub("|".join(_VARIABLES), lambda match: f"var(--{_VARIABLES[match[0]]})", style, flags=re.IGNORECASE)
