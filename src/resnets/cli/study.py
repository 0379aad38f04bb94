"""`resnets study`: an experiment over many networks."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from resnets.studies import check_asked, find_study, list_studies
from resnets.studies.study import Study, write_findings


def study(
    name: str | None = None,
    /,
    data: str = "digits",
    depths: str = "",
    epochs: int = 30,
    seeds: int = 1,
    size: int | None = None,
    run: Path | None = None,
) -> None:
    """Put a claim about residual networks to the test, and write a page with figures, tables and what they say.

    Called again it goes on where it stopped, and studies of the same data share the networks that they train. Without
    a name it lists the studies.

    Args:
        name: of the study.
        data: the pictures to train on, in any form that `resnets train` takes.
        depths: layers of the networks, such as 20,56,110, or one of those studies that compare something else; by
            default what shows the claim on small pictures.
        epochs: of each training.
        seeds: trainings of each kind, of those studies that compare errors.
        size: side of the networks' input in pixels; by default what suits the pictures. The networks are CIFAR's, so
            photographs want 32 to 64.
        run: the folder to write, for all studies of the same data; by default runs/study-DATA.
    """
    console = Console()
    if name is None:
        for known in list_studies():
            question = (find_study(known).__doc__ or "").splitlines()[0]
            console.print(f"[bold]{known:14}[/] {question}", highlight=False)
        return
    module = find_study(name)
    try:
        layers = tuple(int(depth) for depth in depths.split(",")) if depths else module.DEPTHS
    except ValueError:
        raise ValueError(f"--depths are whole numbers such as 20,56,110, not {depths!r}") from None
    if epochs < 1 or seeds < 1:
        raise ValueError("--epochs and --seeds must be at least 1")
    if size is not None and size < 1:
        raise ValueError(f"--size must be at least 1 pixel, not {size}")
    check_asked(name, layers, seeds)
    folder = run or Path("runs") / f"study-{Path(data).resolve().stem}"
    asked = Study(data, layers, epochs, seeds, folder, console, size)
    findings = module.conduct(asked)
    page = write_findings(asked, name, (module.__doc__ or "").splitlines()[0], module.SOURCE, findings)
    for sentence in findings.sentences:
        console.print(sentence, highlight=False, markup=False)
    console.print(f"page {page}", highlight=False, markup=False)
