"""A run as a Space of the Hugging Face Hub: a page by Gradio, with all that it needs in one folder.

| file | what it holds |
|---|---|
| `README.md` | the front matter by which the Hub builds the Space |
| `app.py` | the page |
| `requirements.txt` | what the library needs, with PyTorch for CPUs |
| `resnets` | the library itself, without networks |
| `run` | the run, as `runs.publish` writes it |
"""

from __future__ import annotations

import shutil
from importlib import resources
from importlib.metadata import requires
from pathlib import Path

import yaml

from resnets.runs.publish import publish
from resnets.runs.run import Run

GRADIO = "6.31.0"
"""The version that the Hub installs; `app.py` uses nothing that is newer than Gradio 5."""

CPU_WHEELS = "https://download.pytorch.org/whl/cpu"

APP = "space_app.py.in"
LEFT_OUT = ("__pycache__", "shipped", "page")


def write_space(run: Run, folder: Path, name: str, license: str = "unknown") -> None:
    """Write a Space.

    Args:
        run: finished.
        folder: to write; it must be new or empty.
        name: the page's title.
        license: an identifier of the Hub, such as "apache-2.0".

    Raises:
        FileNotFoundError: if the folder is no run, or its training has not ended.
        FileExistsError: if there is something in the folder.
    """
    if folder.exists() and any(folder.iterdir()):
        raise FileExistsError(f"{folder} is not empty; publish into a new folder")
    folder.mkdir(parents=True, exist_ok=True)
    publish(run, folder / "run", name, license)
    app = (resources.files(__package__) / APP).read_text(encoding="utf-8").replace("{{ title }}", repr(name))
    (folder / "app.py").write_text(app, encoding="utf-8")
    (folder / "requirements.txt").write_text(requirements(), encoding="utf-8")
    (folder / "README.md").write_text(readme(run, name, license), encoding="utf-8")
    with resources.as_file(resources.files("resnets")) as package:
        shutil.copytree(package, folder / "resnets", ignore=shutil.ignore_patterns(*LEFT_OUT))


def requirements() -> str:
    """What the library needs, one a line; Gradio itself is installed by the Hub."""
    needed = [line for line in requires("resnets") or () if "extra ==" not in line]
    return "\n".join([f"--extra-index-url {CPU_WHEELS}", *sorted(needed)]) + "\n"


def readme(run: Run, name: str, license: str) -> str:
    """The Hub's description of the Space."""
    card = run.card()
    front = {
        "title": name,
        "colorFrom": "blue",
        "colorTo": "gray",
        "sdk": "gradio",
        "sdk_version": GRADIO,
        "app_file": "app.py",
        "license": license,
        "tags": ["resnets"],
    }
    return (
        f"---\n{yaml.safe_dump(front, sort_keys=False, allow_unicode=True)}---\n\n# {name}\n\n"
        f"A `{card.model}` for {card.task}, answering pictures. `run` is the network with its card; `resnets` is a "
        f"copy of the library that reads it (Apache-2.0).\n\nOn a machine of your own: "
        f"`pip install gradio=={GRADIO} -r requirements.txt`, then `python app.py`.\n"
    )
