"""A folder of made pictures: each by itself, a grid of them, how they were made, and what a judge says of them.

| file | what it holds |
|---|---|
| `0000-NAME.png`... | the pictures, numbered, with the name of their class |
| `grid.png` | all of them |
| `pictures.json` | the request, the run, and the judge's metrics |
| `report.html` | the judge's report, if there is a judge |
"""

from __future__ import annotations

import json
import math
import re
import shlex
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from resnets.data.audit import readable
from resnets.data.opening import Data, reopen
from resnets.data.views import view
from resnets.inference.judging import Judge, judge_pictures
from resnets.inference.sampling import SAMPLING_BATCH, Generator, Solver
from resnets.report.generation import grid, picture_of, write_judgement
from resnets.runs.card import Card
from resnets.tasks.generation import Judgement

RECORD = "pictures.json"

MOST_COLUMNS = 32
"""Of a grid."""


@dataclass(frozen=True)
class Request:
    """Which pictures are to be made, and how; see `Generator.pictures`.

    Attributes:
        class_name: of all pictures; None for all classes in turn.
    """

    class_name: str | None = None
    count: int = 64
    steps: int = 20
    solver: Solver = "heun"
    guidance: float = 1.0
    seed: int = 0


@dataclass(frozen=True)
class Made:
    """Where the pictures are, and what they are worth, if they were judged."""

    folder: Path
    judgement: Judgement | None


def make(
    run: str | Path,
    request: Request,
    *,
    folder: Path | None = None,
    judge: str | Path | None = None,
    overwrite: bool = False,
    batch_size: int = SAMPLING_BATCH,
    device: str | torch.device | None = None,
) -> Made:
    """Make pictures and write them into a folder, by default "pictures" in the run's.

    Raises:
        FileExistsError: if the folder holds something, unless it is such pictures that are to be overwritten.
        FileNotFoundError: if there is no such run, or no such judge.
        ValueError: for a request that cannot be met, or training data that has changed.
    """
    generator = Generator(run, device)
    card = generator.card
    target = folder or Path(run) / "pictures"
    check_free(target, overwrite)
    labels = generator.labels(request.count, request.class_name)
    judging = None if judge is None else (Judge(judge, card, device), training_data(card))
    pictures = generator.pictures(
        labels,
        seed=request.seed,
        steps=request.steps,
        solver=request.solver,
        guidance=request.guidance,
        batch_size=batch_size,
    )
    judgement = None if judging is None else judge_pictures(pictures, labels, *judging, card)
    target.mkdir(parents=True, exist_ok=True)
    for old in written(target):
        old.unlink()
    digits = max(len(str(request.count - 1)), 4)
    names = []
    for number, (picture, label) in enumerate(zip(pictures, labels.tolist(), strict=True)):
        of_class = re.sub(r"[^\w.-]+", "_", card.classes[label])
        names.append(f"{number:0{digits}}-{of_class}.png")
        picture_of(picture).save(target / names[-1])
    in_turn = len(card.classes) if request.class_name is None else 1
    grid(pictures, columns_of(request.count, in_turn)).save(target / "grid.png")
    record = {"run": str(run), **asdict(request), "judge": None if judge is None else str(judge)}
    record |= {"metrics": None if judgement is None else judgement.metrics, "pictures": names}
    (target / RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    if judgement is not None and judging is not None:
        write_page(target / "report.html", card, request, judging, judgement)
    return Made(target, judgement)


def columns_of(count: int, in_turn: int) -> int:
    """How many pictures of a grid stand side by side: about as many as below each other, up to 32; of classes that are
    made in turn, each has a column, or several, where there is room."""
    side = min(math.isqrt(count - 1) + 1, MOST_COLUMNS)
    return max(side // in_turn, 1) * in_turn if in_turn <= min(count, MOST_COLUMNS) else side


def training_data(card: Card) -> Data:
    """The pictures that a network was trained on.

    Raises:
        ValueError: if they are not what they were.
    """
    data = readable(reopen(card.data), max_share=1.0)  # as many as training left out
    if data.fingerprint != card.data["fingerprint"]:
        raise ValueError(f"the pictures of {card.data['source']} have changed since the network was trained on them")
    return data


def write_page(path: Path, card: Card, request: Request, judging: tuple[Judge, Data], judgement: Judgement) -> None:
    """Write the judge's report."""
    judge, data = judging
    train = data.splits["train"]
    accuracy = (
        "" if judge.accuracy is None else f", right on {judge.accuracy:.2%} of real pictures that it was not trained on"
    )
    guidance = "none" if request.guidance == 1 else f"{request.guidance:g}"
    facts = {
        "Network": f"{card.model}, pictures of {card.preprocessing.size[0]} x {card.preprocessing.size[1]}",
        "Trained on": f"{card.data['name']}: {len(train):,} pictures",
        "Made": f"{request.steps} steps of {request.solver}, guidance {guidance}, seed {request.seed}",
        "Judge": f"{judge.run}, a {judge.predictor.card.model}{accuracy}",
        "Command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
    }

    def nearest(position: int) -> torch.Tensor:
        return view(train.picture(position, card.preprocessing.channels), card.preprocessing)

    write_judgement(
        path,
        title=f"Pictures made by {card.model} after {card.data['name']}",
        facts=facts,
        judge=judge.run,
        judgement=judgement,
        nearest=nearest,
        names=train.names,
    )


def check_free(folder: Path, overwrite: bool) -> None:
    """Raise FileExistsError if a folder holds something, unless it is made pictures that are to be overwritten."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not (folder / RECORD).is_file():
        raise FileExistsError(f"{folder} is there already and holds no made pictures; choose another --folder")
    if not overwrite:
        raise FileExistsError(f"{folder} is there already: replace it with --overwrite, or choose another --folder")


def written(folder: Path) -> list[Path]:
    """What `make` has written into a folder before."""
    record = folder / RECORD
    names = json.loads(record.read_text(encoding="utf-8")).get("pictures", []) if record.is_file() else []
    own = (folder / Path(name).name for name in (*names, "grid.png", RECORD, "report.html"))  # nothing elsewhere
    return [path for path in own if path.is_file()]
