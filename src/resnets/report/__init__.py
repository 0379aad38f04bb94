"""Reports: what a trained network learnt, as one self-contained HTML file."""

from __future__ import annotations

from resnets.report.classification import write_report

__all__ = ["write_report"]
