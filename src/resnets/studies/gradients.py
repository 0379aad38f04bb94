"""Do gradients vanish in deep plain networks, and is that why they train worse?

The gradient that comes back to each layer is measured before the first step, for plain and residual twins, with and
without batch norm, from Glorot's and from He's initial weights; and after each epoch of a training with batch norm, or,
of networks that another study has trained, at its end. Introductions to ResNet say that gradients vanish in plain
networks. Its authors found those of theirs, which have batch norm, healthy, and looked for another cause
(arXiv:1512.03385, section 4.1).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import product
from typing import Any

import torch
from markupsafe import Markup

from resnets.insight.gradients import LayerGradient, layer_gradients
from resnets.report.comparison import PLAIN, RESIDUAL, Line, Panel, charts, strengths, table
from resnets.report.page import Number, Section
from resnets.runs.run import Run, write_whole
from resnets.studies.chance import ONE_SEED, exceeds
from resnets.studies.study import Findings, Sample, Study, training_error
from resnets.training.job import Job
from resnets.weights.models import create_model

SOURCE = "arXiv:1512.03385, section 4.1; the vanishing gradient as introductions tell it"
DEPTHS = (20, 56, 110)
REPEATS = False

KINDS = {"plain": PLAIN, "resnet": RESIDUAL}
NAMES = {"plain": "plain", "resnet": "residual"}
SETTINGS = {("none", "glorot"): "no normalisation, Glorot", ("none", "he"): "no normalisation, He"} | {
    ("batch", "glorot"): "batch norm, Glorot",
    ("batch", "he"): "batch norm, He",
}
PICTURES = 128
VANISHED, HEALTHY = 1e-4, 100.0
"""A gradient has vanished where the first layer's is so small a share of the last's; it is healthy where the two are
within such a factor."""


def conduct(study: Study) -> Findings:
    """Measure all kinds before training, and those with batch norm in training."""
    batch = study.sample("train", PICTURES)
    initial = {
        (kind, depth, *setting): measured(kind, depth, setting, batch)
        for kind, depth, setting in product(KINDS, study.depths, SETTINGS)
    }
    runs = {(kind, depth): watched(study, f"{kind}{depth}", batch) for kind, depth in product(KINDS, study.depths)}
    course = {key: read(run, batch) for key, run in runs.items()}
    deep = max(study.depths)
    errors = {key: training_error(run) for key, run in runs.items()}
    vanishing = {kind: ratio(initial[kind, deep, "none", "glorot"]) for kind in KINDS}
    return Findings(
        title="Gradients: where they vanish and where they do not",
        sentences=sentences(initial, course, errors, study.depths, len(study.opened.splits["train"])),
        headline=tuple(
            Number(
                f"{NAMES[kind].capitalize()}, {deep} layers",
                f"{vanishing[kind]:.0e}",
                "gradient at the first layer over that at the last: no normalisation, Glorot",
            )
            for kind in KINDS
        ),
        sections=(
            Section("start", f"Before the first step, {deep} layers", by_layer(initial, deep)),
            Section("depths", "First layer over last, before the first step", by_depth(initial, study.depths)),
            Section("training", "In training, with batch norm and He's weights", in_training(course, errors)),
        ),
        numbers={
            "initial": {" ".join(map(str, key)): [vars(layer) for layer in found] for key, found in initial.items()},
            "training": {f"{kind}{depth}": by_epoch for (kind, depth), by_epoch in course.items()},
            "training_error": {f"{kind}{depth}": error for (kind, depth), error in errors.items()},
        },
    )


def measured(kind: str, depth: int, setting: tuple[str, str], batch: Sample) -> list[LayerGradient]:
    """The gradients of a network that has not been trained."""
    norm, init = setting
    torch.manual_seed(0)
    channels = batch.images.shape[1]
    network = create_model(f"{kind}{depth}", batch.classes, channels, norm=norm, init=init)
    return layer_gradients(network, batch.images, batch.targets)


def watched(study: Study, model: str, batch: Sample) -> Run:
    """A training with batch norm, whose run gets a file of the first layer's gradient over the last's by epoch.

    One that another study has finished is taken as it is.
    """

    def watch(job: Job) -> None:
        path = job.run.folder / "gradients.json"
        known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
        known = known[: len(job.state.history) - 1]
        known.append(ratio(layer_gradients(job.bare_network, batch.images, batch.targets)))
        write_whole(path, json.dumps(known))

    return study.finished(model) or study.trained(model, watch=watch)


def read(run: Run, batch: Sample) -> dict[int, float]:
    """By epoch what `watched` wrote; of a run that nobody watched, the ratio after the last one."""
    path = run.folder / "gradients.json"
    if path.is_file():
        return dict(enumerate(json.loads(path.read_text(encoding="utf-8")), start=1))
    return {len(run.history()): ratio(layer_gradients(run.network(), batch.images, batch.targets))}


def ratio(gradients: Sequence[LayerGradient]) -> float:
    """The gradient that comes back to the first layer, as a share of that at the last."""
    return gradients[0].output / gradients[-1].output


def sentences(
    initial: dict[Any, list[LayerGradient]],
    course: dict[tuple[str, int], dict[int, float]],
    errors: dict[tuple[str, int], float],
    depths: Sequence[int],
    pictures: int,
) -> tuple[str, ...]:
    """Who is right when, as far as so many training pictures can tell."""
    shallow, deep = min(depths), max(depths)
    bare = {kind: ratio(initial[kind, deep, "none", "glorot"]) for kind in KINDS}
    if bare["plain"] < VANISHED <= bare["resnet"]:
        first = "the gradient vanishes in the plain network, and shortcuts mend that: the introductions are right"
    elif bare["plain"] < bare["resnet"]:
        first = (
            f"without shortcuts that is {bare['resnet'] / bare['plain']:.2g} times less, and at this depth the "
            "gradient has " + ("vanished in both" if bare["resnet"] < VANISHED else "not vanished")
        )
    else:
        first = "the shortcut makes no such difference here as the introductions claim"
    begun = {kind: ratio(initial[kind, deep, "batch", "he"]) for kind in KINDS}
    how = "explodes" if begun["plain"] > HEALTHY else "vanishes" if begun["plain"] < 1 / HEALTHY else "is healthy"
    return (
        f"Without normalisation and with Glorot's weights, the first of {deep} layers gets {bare['plain']:.1e} of the "
        f"last one's gradient in the plain network, {bare['resnet']:.1e} in the residual one: {first}.",
        f"With batch norm and He's weights, before the first step, it gets {begun['plain']:.1e} times as much in the "
        f"plain network, where the gradient {how}, and {begun['resnet']:.1e} times in the residual one.",
        *(verdict(course, errors, shallow, depth, pictures) for depth in depths if depth > shallow),
        *((ONE_SEED,) if deep > shallow else ()),
    )


def verdict(
    course: dict[tuple[str, int], dict[int, float]],
    errors: dict[tuple[str, int], float],
    shallow: int,
    depth: int,
    pictures: int,
) -> str:
    """Who is right of a deep plain network after training with batch norm."""
    kept = {kind: course[kind, depth][max(course[kind, depth])] for kind in KINDS}
    healthy = 1 / HEALTHY <= kept["plain"] <= HEALTHY
    if not exceeds(errors["plain", depth], errors["plain", shallow], pictures):
        end = "no degradation shows at this depth"
    elif healthy:
        end = "the gradient is healthy, and degradation has another cause: the paper's authors are right"
    elif kept["plain"] < VANISHED:
        end = "the gradient has vanished in spite of batch norm: the introductions are right"
    elif kept["plain"] < 1:
        end = "the gradient is weak, but has not vanished: neither the authors nor the introductions are wholly right"
    else:
        end = "the gradient has exploded in spite of batch norm"
    return (
        f"After training with batch norm, the first layer of plain{depth} gets {kept['plain']:.2g} times the last "
        f"one's gradient, that of resnet{depth} {kept['resnet']:.2g} times. The training error of plain{depth} is "
        f"{errors['plain', depth]:.2%}, that of plain{shallow} {errors['plain', shallow]:.2%}: {end}."
    )


def by_layer(initial: dict[Any, list[LayerGradient]], deep: int) -> Markup:
    """A panel for each setting, with both kinds of the deepest network."""
    panels = []
    for setting, name in SETTINGS.items():
        lines = []
        for kind, colour in KINDS.items():
            found = initial[kind, deep, *setting]
            norms = [layer.output for layer in found]
            lines.append(Line(NAMES[kind], range(1, len(norms) + 1), norms, colour))
        panels.append(Panel(name[0].upper() + name[1:], lines, "layer", "norm of the gradient", logarithmic=True))
    remark = f"Derivative of the loss of {PICTURES} training pictures by each layer's output."
    return charts(panels, remark)


def by_depth(initial: dict[Any, list[LayerGradient]], depths: Sequence[int]) -> Markup:
    """A row for each kind and depth, a column for each setting."""
    rows = [
        (f"{NAMES[kind]}, {depth} layers", *(f"{ratio(initial[kind, depth, *setting]):.1e}" for setting in SETTINGS))
        for kind, depth in product(KINDS, depths)
    ]
    return table(("Network", *SETTINGS.values()), rows)


def in_training(course: dict[tuple[str, int], dict[int, float]], errors: dict[tuple[str, int], float]) -> Markup:
    """The first layer's share by epoch, and the training error at the end."""
    lines = []
    for kind, colour in KINDS.items():
        own = sorted(depth for of_kind, depth in course if of_kind == kind)
        for depth, strength in zip(own, strengths(len(own)), strict=True):
            by_epoch = course[kind, depth]
            epochs, ratios, name = tuple(by_epoch), tuple(by_epoch.values()), f"{NAMES[kind]}, {depth} layers"
            lines.append(Line(name, epochs, ratios, colour, strength=strength))
    panel = Panel("First layer over last", lines, "epoch", "ratio of gradients", logarithmic=True)
    rows = [
        (f"{NAMES[kind]}, {depth} layers", f"{by_epoch[max(by_epoch)]:.2g}", f"{errors[kind, depth]:.2%}")
        for (kind, depth), by_epoch in course.items()
    ]
    drawn = charts([panel]) if any(len(by_epoch) > 1 for by_epoch in course.values()) else Markup()
    return drawn + table(("Network", "First layer over last, at the end", "Training error"), rows)
