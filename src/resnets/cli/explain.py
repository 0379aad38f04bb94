"""`resnets explain`: why a run's network answers as it does."""

from __future__ import annotations

import glob
import shlex
import sys
from collections.abc import Iterator
from json import dumps
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from resnets.cli.predict import find_pictures
from resnets.data.decoding import picture_suffixes
from resnets.inference.predictor import Predictor
from resnets.insight.attributions import METHODS, PIXELS, available_methods
from resnets.insight.data_page import write_data_page
from resnets.insight.explanation import Explanation, explain_pictures
from resnets.insight.picture_page import write_picture_page
from resnets.insight.survey import LIMIT, Survey, survey
from resnets.report.page import check_page

MOST = 64
"""Pictures on one page."""


def explain(
    run: str,
    *sources: str,
    target: str | None = None,
    methods: str | None = None,
    stage: str | None = None,
    split: str | None = None,
    folds: Path | None = None,
    layout: str | None = None,
    limit: int | None = None,
    page: Path | None = None,
    device: str | None = None,
    json: bool = False,
) -> None:
    """Show why a network answers as it does, on one page: of pictures the parts that matter and what each block adds;
    of a data set the nearest training pictures, prototypes, outliers, likely label errors and a map.

    Args:
        run: the run's folder, or the name of one in the package.
        sources: picture files, folders of them, or patterns such as 'photos/*.jpg'; or one data set in any form that
            `resnets train` takes, by default what the run was trained on.
        target: of pictures, the class or the number to explain; by default the most probable class, or the first
            number.
        methods: of pictures, the maps to draw, with commas between: gradcam, gradcam++, layercam,
            integrated-gradients, occlusion; by default all.
        stage: of pictures, the stage whose map the first three weigh, such as layer3; by default the last.
        split: of a data set, whose answers get neighbours, val or test; by default test, or val where there is no test.
        folds: of a data set, the folder of its cross-validation, by which labels of training pictures are judged, too.
        layout: of a data set, how the map is made, tsne, pca or umap; by default tsne.
        limit: of a data set, pictures of a split, chosen at random, that are looked at; by default 10000.
        page: the file to write; by default runs/explain-RUN/pictures.html or data.html.
        device: cpu, cuda...; by default a GPU if there is one.
        json: print one JSON object a picture, or one of the data set.
    """
    of_pictures = {"--target": target, "--methods": methods, "--stage": stage}
    of_data = {"--split": split, "--folds": folds, "--layout": layout, "--limit": limit}
    about_data = not sources or (len(sources) == 1 and is_data(sources[0]))
    for flag, value in (of_pictures if about_data else of_data).items():
        if value is not None:
            raise ValueError(
                f"{flag} is for {'pictures, not for a data set' if about_data else 'a data set'}; leave it out"
            )
    asked = None if methods is None else [name for name in map(str.strip, methods.split(",")) if name]
    if asked == []:
        raise ValueError(f"--methods names none; there are {', '.join(METHODS)}")
    name = Path(run).resolve().name
    path = page or Path("runs") / f"explain-{name}" / ("data.html" if about_data else "pictures.html")
    check_page(path)
    console = Console(stderr=json)
    predictor = Predictor(run, device)
    facts = {"Run": run, "Network": predictor.card.model, "Command": shlex.join(["resnets", *sys.argv[1:]])}
    if about_data:
        found = survey(
            predictor,
            sources[0] if sources else None,
            split=split,
            folds=folds,
            layout=layout or "tsne",
            limit=LIMIT if limit is None else limit,
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        write_data_page(path, found, predictor, title=f"{found.data.name} through {name}", facts=facts)
        if json:
            print(dumps({"run": run, "page": str(path), **found.to_dict()}, indent=2))
        else:
            print_survey(console, found)
        console.print(f"page {path}", highlight=False, markup=False, soft_wrap=True)
        return
    paths = list(dict.fromkeys(found for source in sources for found in find_pictures(source)))
    if len(paths) > MOST:
        raise ValueError(f"a page explains at most {MOST} pictures, not {len(paths)}; name fewer")
    if asked is None and not set(PIXELS) <= set(available_methods()):
        console.print(f"without {' and '.join(PIXELS)}, which need: pip install 'resnets\\[insight]'", highlight=False)
    told = []
    for one in explain_pictures(predictor, paths, target=target, methods=asked, stage=stage):
        told.append(one)
        if json:
            print(dumps(one.to_dict()), flush=True)
        else:
            print_explanation(console, one)
    failed = sum(one.error is not None for one in told)
    if failed < len(told):
        path.parent.mkdir(parents=True, exist_ok=True)
        plain = predictor.card.architecture.get("shortcut") == "none"
        write_picture_page(path, told, title=f"{name} explained", plain=plain, facts=facts)
        console.print(f"page {path}", highlight=False, markup=False, soft_wrap=True)
    if failed:
        raise ValueError(f"{failed} of {len(told)} pictures could not be read")


def is_data(source: str) -> bool:
    """Whether an argument is a data set: all that is no picture, no pattern, and no folder with pictures in itself."""
    path, suffixes = Path(source), picture_suffixes()
    if path.is_dir():
        return not any(file.suffix.lower() in suffixes for file in path.iterdir())
    return path.suffix.lower() not in suffixes and not glob.has_magic(source)


def print_explanation(console: Console, one: Explanation) -> None:
    """What is explained, how faithful each map is, and the blocks that matter most."""
    console.print(Text(one.name, style="bold"))
    if one.error is not None:
        console.print(Text(one.error, style="red"))
        return
    sure = f"{one.value:.4g}" if one.probability is None else f"{one.probability:.1%}, logit {one.value:.3g}"
    console.print(Text(f"explained: {one.explained} {sure}; {one.empty:.3g} for a picture of the mean colour"))
    if one.chance is not None:
        table = Table("Map", "Deletion", "Insertion", box=SIMPLE_HEAD)
        scores = [(each.method, each.faithfulness) for each in one.maps if each.faithfulness]
        for name, score in [*scores, ("at random", one.chance)]:
            table.add_row(name, f"{score.deletion:.1%}", f"{score.insertion:.1%}")
        console.print(table)
    rows = [block for block in one.blocks if block.change is not None]
    table = Table("Block", "|F(x)| / |x|", "Left out", "Answer then", box=SIMPLE_HEAD)
    for block in sorted(rows, key=lambda block: -abs(block.change or 0.0))[:5]:
        table.add_row(block.block, f"{block.ratio:.3f}", f"{block.change:+.3g}", Text(block.answer or ""))
    if rows:
        console.print(table)


def print_survey(console: Console, found: Survey) -> None:
    """The findings that fit on a screen."""
    for line in survey_lines(found):
        console.print(Text(line))
    if found.labels is None or not found.labels.suspects:
        return
    table = Table("Picture", "Labelled", "Likely", "Margin", box=SIMPLE_HEAD)
    for suspect in found.labels.suspects[:10]:
        table.add_row(Text(suspect.sample.name), Text(suspect.given), Text(suspect.suggested), f"{suspect.margin:.2f}")
    console.print(table)


def survey_lines(found: Survey) -> Iterator[str]:
    """The findings in sentences."""
    counts = ", ".join(f"{len(part.pictures):,} {split}" for split, part in found.embedded.items())
    yield f"{found.data.name}: {counts} pictures"
    if found.vote is not None:
        yield f"the class of most neighbours is right for {found.vote:.2%} of the {found.split} pictures"
    yield f"trustworthiness of the {found.map.layout} map: {found.map.trust:.3f}"
    if found.labels is not None:
        yield f"likely label errors: {len(found.labels.suspects)} of {found.labels.count:,} judged"
        yield found.labels.how
