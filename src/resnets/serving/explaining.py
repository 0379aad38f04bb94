"""Why a run answers a picture as it does: a heat map to lie over what the network sees, and what each block adds."""

from __future__ import annotations

from math import isfinite
from typing import Any

from PIL import Image

from resnets.inference.predictor import Predictor
from resnets.insight.explanation import explain_pictures
from resnets.report.pictures import data_address, heat
from resnets.serving.pictures import UNDECODABLE, open_checked

METHOD = "gradcam"
"""Of `insight.attributions`: one pass through the network and back, so that it can be asked for each picture."""

Question = tuple[bytes, str | None]
"""A picture's file, and the class or number to explain; None for the first of the answer."""


def read_question(megapixels: float, question: Question) -> tuple[Image.Image, str | None]:
    """The picture, opened, and what is to be explained.

    Raises:
        ValueError: in words for the client, if it is no picture that is taken.
    """
    content, target = question
    return open_checked(content, megapixels), target


def explain(predictor: Predictor, questions: list[tuple[Image.Image, str | None]]) -> list[dict[str, Any]]:
    """For each picture the fields of `schemas.Explained` besides model and version.

    Raises:
        ValueError: in words for the client, if a picture cannot be decoded.
    """
    told = []
    for image, target in questions:
        (one,) = explain_pictures(predictor, [image], target=target, methods=[METHOD], judged=False)
        if one.error is not None:
            raise ValueError(UNDECODABLE)
        blocks = [
            {"block": each.block, "ratio": each.ratio if isfinite(each.ratio) else None, "change": each.change}
            for each in one.blocks
        ]
        drawn = data_address(heat(one.maps[0].values), "PNG")
        told.append({"explained": one.explained, "value": one.value, "heat": drawn, "blocks": blocks})
    return told
