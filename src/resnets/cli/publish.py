"""`resnets publish`: a run as a repository of the Hugging Face Hub."""

from __future__ import annotations

import tempfile
from pathlib import Path

from rich.console import Console

from resnets.runs.publish import publish as write_repository
from resnets.runs.publish import timm_name
from resnets.runs.run import find_run
from resnets.serving.space import write_space
from resnets.weights import hub


def publish(
    run: str,
    repository: str | None = None,
    /,
    to: Path | None = None,
    license: str = "unknown",
    half: bool = False,
    space: bool = False,
) -> None:
    """Write a run as a repository of the Hugging Face Hub: weights, card, config.json for timm, README.md; or a Space.

    Args:
        run: the run's folder, or the name of one in the package.
        repository: OWNER/NAME on the Hub, to send it there; you must be logged in to the Hub.
        to: a new folder to write it into.
        license: an identifier of the Hub, such as apache-2.0.
        half: write the weights as float16, in half the space.
        space: write a Space instead, a page where people try the network (Gradio), with the run and the library in it.
    """
    if repository is None and to is None:
        raise ValueError("say where to: a repository OWNER/NAME, --to FOLDER, or both")
    if half and space:
        raise ValueError("a Space has the weights as they are; leave out --half")
    console, source = Console(), find_run(run)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "repository" if to is None else to
        name = repository or folder.resolve().name
        if space:
            write_space(source, folder, name, license)
        else:
            write_repository(source, folder, name, license, half)
        if to is not None:
            console.print(f"written to {to}", highlight=False, markup=False)
        if repository is not None:
            console.print(f"sent to {hub.upload(folder, repository, space)}", highlight=False)
    if space:
        return
    known = timm_name(source.card())
    where = f"hf-hub:{repository}" if repository else f"local-dir:{to}"
    if known is None:
        console.print("timm has no network that reads these tensors; `--weights` of resnets reads them", style="dim")
    else:
        console.print(f'timm: timm.create_model("{where}", pretrained=True)', highlight=False, markup=False)
