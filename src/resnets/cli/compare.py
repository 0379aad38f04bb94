"""`resnets compare`: runs side by side."""

from __future__ import annotations

from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from resnets.report.page import check_page
from resnets.report.runs import Comparison, write_comparison
from resnets.runs.listing import summarise
from resnets.runs.run import find_run


def compare(*runs: str, report: Path | None = None) -> None:
    """Show runs side by side: their metrics, the best in bold, and the fields of recipe, network and data that differ.

    Args:
        runs: two or more, folders or names of the package's.
        report: also write this HTML page, with the curves.

    Raises:
        ValueError: for fewer than two runs.
    """
    if len(runs) < 2:
        raise ValueError("name two runs or more to compare")
    if report is not None:
        check_page(report)
    comparison = Comparison([summarise(find_run(run)) for run in runs])
    console = Console(highlight=False)
    _print(console, "Metrics", comparison, comparison.metrics())
    if remark := comparison.remark:
        console.print(remark, style="yellow")
    _print(console, "Differences", comparison, comparison.differences())
    if report is not None:
        report.parent.mkdir(parents=True, exist_ok=True)
        write_comparison(report, comparison)
        console.print(f"curves and tables: {report}", markup=False)


def _print(console: Console, title: str, comparison: Comparison, rows: dict[str, list[tuple[str, bool]]]) -> None:
    """A table with a column for each run; cells that stand out are bold."""
    if not rows:
        return
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    table.add_column("")
    for heading in comparison.headings:
        table.add_column(Text(heading), overflow="fold", justify="right")
    for name, cells in rows.items():
        table.add_row(name, *(Text(text, "bold" if best else "") for text, best in cells))
    console.print(table)
