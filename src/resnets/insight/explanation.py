"""Why a network answers a picture as it does: the parts of the picture and the blocks of the network that matter."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from resnets.inference.pictures import Picture, name_of, seen
from resnets.inference.predictor import Predictor
from resnets.insight.attributions import METHODS, PIXELS, Scalar, attribute, available_methods, stage_layer
from resnets.insight.blocks import block_parts
from resnets.insight.faithfulness import Faithfulness, chance, faithfulness
from resnets.networks.resnet import ResidualNetwork
from resnets.tasks import Task

TOP = 5
"""Classes of an answer that are told."""


@dataclass(frozen=True)
class Map:
    """What a method says of one picture.

    Attributes:
        method: one of `METHODS`.
        values: (H, W) float32, in the method's own units.
        faithfulness: measured by the probability; None for numbers, which have no certain end to fall to, and where it
            was not asked for.
        gap: of integrated gradients, how far the sum of the values is from the difference that they divide.
    """

    method: str
    values: Tensor
    faithfulness: Faithfulness | None = None
    gap: float | None = None


@dataclass(frozen=True)
class BlockShare:
    """What one block adds to one picture; None where it cannot be left out.

    Attributes:
        block: its name in the network.
        ratio: of the norm of F(x) to that of what it is added to.
        change: of what is explained when the block is left out.
        answer: the most probable class then; None for numbers.
    """

    block: str
    ratio: float
    change: float | None
    answer: str | None


@dataclass(frozen=True)
class Explanation:
    """Why one picture is answered as it is.

    Attributes:
        name: of the picture.
        picture: (C, H, W) uint8, what the network sees of it.
        explained: the class, or the number, that is explained.
        value: its logit, or the number.
        empty: the same for a picture of the mean colour.
        probability: of the class; None for numbers.
        answer: the most probable classes with their probabilities, or the numbers.
        maps: one a method.
        chance: what random maps reach; None where faithfulness is.
        blocks: what each adds, in order; none in a network without residual blocks.
        error: why the picture could not be read; nothing else is known then.
    """

    name: str
    picture: Tensor
    explained: str = ""
    value: float = 0.0
    empty: float = 0.0
    probability: float | None = None
    answer: Mapping[str, float] | None = None
    maps: tuple[Map, ...] = ()
    chance: Faithfulness | None = None
    blocks: tuple[BlockShare, ...] = ()
    error: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """All numbers, without pixels, in JSON's types."""
        if self.error is not None:
            return {"name": self.name, "error": self.error}
        plain = {name: getattr(self, name) for name in ("name", "explained", "value", "empty", "probability", "answer")}
        maps = {
            one.method: (asdict(one.faithfulness) if one.faithfulness else {})
            | ({} if one.gap is None else {"gap": one.gap})
            for one in self.maps
        }
        beside = {"chance": asdict(self.chance)} if self.chance else {}
        return {**plain, "maps": maps | beside, "blocks": [asdict(block) for block in self.blocks]}


def explain_pictures(
    predictor: Predictor,
    pictures: Iterable[Picture],
    *,
    target: str | None = None,
    methods: Sequence[str] | None = None,
    stage: str | None = None,
    judged: bool = True,
) -> Iterator[Explanation]:
    """Explain a run's answers, each picture as it is asked for.

    Args:
        predictor: the run's.
        pictures: as `Predictor.predict` takes them; one that cannot be read gets an error.
        target: the class or the number to explain; by default the most probable class, or the first number.
        methods: some of `METHODS`; by default all, without captum those that do without it.
        stage: whose map is weighed; by default the last.
        judged: measure how faithful the maps are, too, which takes most of the time.

    Raises:
        ValueError: if there is no such class, method or stage, none of the methods weighs a stage, or the run's answers
            cannot be explained.
        ImportError: if captum is needed and not there.
    """
    if reason := unexplained(predictor):
        raise ValueError(f"{predictor.run.folder} cannot be explained: {reason}")
    task, card, network = predictor.task, predictor.card, predictor.network
    if target is not None and target not in card.classes:
        raise ValueError(f"the run knows no {target!r}; it knows {', '.join(card.classes)}")
    if unknown := [name for name in methods or () if name not in METHODS]:
        raise ValueError(f"there is no method {unknown[0]!r}; there are {', '.join(METHODS)}")
    methods = available_methods() if methods is None else tuple(dict.fromkeys(methods))
    if stage is not None and set(methods) <= set(PIXELS):
        raise ValueError(f"a stage is for maps that weigh one, not for {' and '.join(methods)}; leave out --stage")
    layer = stage_layer(network, stage)
    for number, picture in enumerate(pictures):
        name = name_of(number, picture)
        try:
            pixels = seen(picture, card.preprocessing)
        except Exception as error:  # Pillow and file systems raise many kinds for a broken file
            yield Explanation(name, torch.empty(0), error=str(error) or type(error).__name__)
            continue
        image = predictor.inputs(pixels[None])
        with torch.no_grad():
            outputs, of_nothing = network(image), network(torch.zeros_like(image))
        answer = answer_of(predictor, outputs, TOP)
        is_class = "values" not in task.prediction(task.answers(outputs)[0], 1)
        explained = target or next(iter(answer))
        position = card.classes.index(explained)
        scalar, probability = _scalars(predictor, position, is_class)
        value, empty = scalar(outputs).item(), scalar(of_nothing).item()
        maps = []
        for method in methods:
            values = attribute(network, image, scalar, method, None if method in PIXELS else layer)[0].cpu()
            faithful = faithfulness(network, image, values, probability) if probability and judged else None
            gap = abs(values.double().sum().item() - (value - empty)) if method == "integrated-gradients" else None
            maps.append(Map(method, values, faithful, gap))
        yield Explanation(
            name,
            pixels,
            explained,
            value,
            empty,
            probability(outputs).item() if probability else None,
            answer,
            tuple(maps),
            chance(network, image, probability) if probability and judged else None,
            tuple(_blocks(predictor, image, scalar, value, is_class)),
        )


def unexplained(predictor: Predictor) -> str | None:
    """Why a run's answers cannot be explained, in words that name no path; None where they can."""
    if type(predictor.task).explained is Task.explained:
        return f"there are no explanations of {predictor.task.name} yet"
    if not predictor.run.weights_path.is_file():
        return "it is an export without weights; the run that it was made from can be"
    return None


def answer_of(predictor: Predictor, outputs: Tensor, top: int) -> dict[str, float]:
    """The most probable classes of the first picture with their probabilities, or its numbers."""
    told = predictor.task.prediction(predictor.task.answers(outputs)[0].cpu(), top)
    return dict(told.get("values") or zip(told["classes"], told["probabilities"], strict=True))


def _scalars(predictor: Predictor, position: int, is_class: bool) -> tuple[Scalar, Scalar | None]:
    """What is attributed, and the probability, if there is one."""
    task = predictor.task
    probability: Callable[[Any], Tensor] = lambda outputs: task.answers(outputs)[:, position]  # noqa: E731
    return lambda outputs: task.explained(outputs, position), probability if is_class else None


def _blocks(predictor: Predictor, image: Tensor, scalar: Scalar, value: float, is_class: bool) -> Iterator[BlockShare]:
    if not isinstance(predictor.network, ResidualNetwork):
        return
    for part in block_parts(predictor.network, image):
        change = answer = None
        if part.outputs is not None:
            change = scalar(part.outputs).item() - value
            answer = next(iter(answer_of(predictor, part.outputs, 1))) if is_class else None
        yield BlockShare(part.block, part.ratio.item(), change, answer)
