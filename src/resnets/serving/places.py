"""What an answer says of places in its picture, as clients get it: masks as pictures, and the classes' colours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from PIL import Image

from resnets.inference.prediction import Prediction
from resnets.report.boxes import colour_of
from resnets.report.masks import class_colours, index_picture
from resnets.report.pictures import data_address
from resnets.runs.card import Card


def with_masks(prediction: Prediction, classes: Sequence[str]) -> dict[str, Any]:
    """A prediction in JSON's types, its masks as data addresses; see `schemas.Answer`."""
    told = prediction.to_dict()
    if prediction.mask is not None:
        told["mask"] = data_address(index_picture(prediction.mask, len(classes)), "PNG")
    if prediction.masks is not None:
        cells = (255 * prediction.masks).round().byte().numpy()  # (D, 28, 28)
        told["masks"] = [data_address(Image.fromarray(each), "PNG") for each in cells]
    return told


def colours(card: Card) -> list[str]:
    """The colour of each class where an answer tells places, as #rrggbb; otherwise none."""
    if card.task == "segmentation":
        return [f"#{r:02x}{g:02x}{b:02x}" for r, g, b in class_colours(len(card.classes))]
    if card.preprocessing.fit == "contain":
        return [colour_of(number) for number in range(len(card.classes))]
    return []
