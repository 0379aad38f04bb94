"""The report of a detector: in which order its pictures stand, and what is said of each."""

from __future__ import annotations

import re
from pathlib import Path

import torch

from resnets.report.detection import write_report
from resnets.tasks.detection import Detection
from resnets.types import Objects


def objects_of(box: list[float] | None, ignored: bool = False) -> Objects:
    boxes = torch.tensor([] if box is None else [box]).view(-1, 4)
    count = len(boxes)
    return Objects((64, 64), boxes, torch.zeros(count, dtype=torch.int64), torch.full((count,), ignored))


def test_what_is_right_is_not_among_the_worst(tmp_path: Path) -> None:
    box = [10.0, 10.0, 40.0, 40.0]
    found, nothing = torch.tensor([[*box, 0.9, 0.0]]), torch.zeros(1, 6)
    cases = {
        "empty": (nothing, objects_of(None)),
        "crowd": (found, objects_of(box, ignored=True)),
        "missed": (nothing, objects_of(box)),
        "made-up": (found, objects_of(None)),
        "found": (found, objects_of(box)),
    }
    rows, targets = zip(*cases.values(), strict=True)
    evaluation = Detection(("thing",)).evaluation("val", torch.stack(rows), targets, list(cases))
    write_report(
        tmp_path / "report.html",
        title="things",
        facts={},
        history=[],
        evaluation=evaluation,
        picture=lambda _: torch.zeros(3, 64, 64, dtype=torch.uint8),
    )
    html = (tmp_path / "report.html").read_text()
    parts = re.findall(r'alt="([^"]*)">\s*<p>(.*?)<bdi>(.*?)</bdi>', html, re.DOTALL)
    said = {name: (alt, "wrong" in text) for alt, text, name in parts}
    assert list(said) == ["missed", "made-up", "empty", "crowd", "found"]
    assert said == {
        "missed": ("0 of 1 objects found, 0 boxes", False),
        "made-up": ("0 of 0 objects found, 1 boxes", True),
        "empty": ("0 of 0 objects found, 0 boxes", False),
        "crowd": ("0 of 0 objects found, 0 boxes", False),
        "found": ("1 of 1 objects found, 1 boxes", False),
    }
