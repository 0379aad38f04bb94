"""What clients send and get as JSON."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from resnets.serving.limits import MOST_PICTURES


class Given(BaseModel):
    """One picture: `base64`, the bytes of its file, or `url`, where the server's operator has allowed its host."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str | None, Field(max_length=200, description="to find its answer by; its number if left out")] = (
        None
    )
    base64: str | None = None
    url: Annotated[str | None, Field(max_length=4096)] = None

    @model_validator(mode="after")
    def _one_of_two(self) -> Given:
        if (self.base64 is None) == (self.url is None):
            raise ValueError("a picture needs either base64 or url")
        return self


class Asked(BaseModel):
    """The body of a request in JSON."""

    model_config = ConfigDict(extra="forbid")

    pictures: Annotated[list[Given], Field(min_length=1, max_length=MOST_PICTURES, fail_fast=True)]


class Wanted(BaseModel):
    """What a request says behind its path."""

    model_config = ConfigDict(extra="forbid")

    model: Annotated[str | None, Field(description="which run answers; by default the first")] = None
    top: Annotated[
        int | None,
        Field(
            ge=1,
            description="classes to name, the most probable first; by default 5, and of multi-label runs those whose "
            "thresholds are reached",
        ),
    ] = None
    masks: Annotated[bool, Field(description="tell masks, too, where the run gives them")] = False


class Why(BaseModel):
    """What a request for an explanation says behind its path."""

    model_config = ConfigDict(extra="forbid")

    model: Annotated[str | None, Field(description="whose answer is explained; by default the first's")] = None
    target: Annotated[
        str | None, Field(description="the class or number to explain; by default the first of the answer")
    ] = None


class Answer(BaseModel):
    """The answer for one picture: classes, or numbers, objects or a mask; or an error where it could not be read."""

    name: str
    classes: Annotated[list[str], Field(description="from the most probable down; of objects, a class for each")] = []
    probabilities: Annotated[list[float], Field(description="of those classes, 0 to 1")] = []
    values: Annotated[
        dict[str, float] | None, Field(description="numbers by name; of a mask, the share of the pixels of each class")
    ] = None
    boxes: Annotated[
        list[tuple[float, float, float, float]] | None,
        Field(description="of objects: left, top, right and bottom in the picture's pixels"),
    ] = None
    masks: Annotated[
        list[str] | None,
        Field(
            description="of objects, where they are asked for: data address of a grey PNG to stretch over the object's "
            "box; what is brighter than 127 is the object's"
        ),
    ] = None
    mask: Annotated[
        str | None,
        Field(
            description="of every pixel, where it is asked for: data address of a PNG whose pixels are the numbers of "
            "the classes, from 0"
        ),
    ] = None
    size: Annotated[
        tuple[int, int] | None, Field(description="height and width of the picture, of objects or a mask")
    ] = None
    embedding: Annotated[list[float] | None, Field(description="by networks that recognise: of length 1")] = None
    error: Annotated[str | None, Field(description="why the picture could not be read")] = None


class Answers(BaseModel):
    """The answers for all pictures of a request, in its order."""

    model: str
    version: Annotated[str, Field(description="of card and weights: another network has another")]
    predictions: list[Answer]


class Model(BaseModel):
    """A run that answers."""

    name: str
    version: str
    task: str
    network: str
    classes: list[str]
    size: Annotated[list[int], Field(description="height and width of the network's input, pixels")]
    channels: int
    crop: Annotated[float, Field(description="share of the resized picture's side that the network sees")]
    calibrated: Annotated[bool, Field(description="whether a temperature was fitted on validation pictures")]
    explains: Annotated[bool, Field(description="whether its answers have an explanation, at /v1/explain")]
    colours: Annotated[list[str], Field(description="of the classes in pictures, where places are answered")]
    metrics: dict[str, float]
    loaded: str


class Bounds(BaseModel):
    """What a request may hold."""

    body_mb: float
    megapixels: float
    pictures: int


class Models(BaseModel):
    """All runs, the first answering where no other is asked for."""

    models: list[Model]
    limits: Bounds


class Block(BaseModel):
    """What a residual block adds for a picture."""

    block: str
    ratio: Annotated[
        float | None, Field(description="the norm of F(x) by that of what it is added to; null where that is 0")
    ]
    change: Annotated[
        float | None, Field(description="of the value when the block is left out; null where it cannot be")
    ] = None


class Explained(BaseModel):
    """Why a picture is answered as it is."""

    model: str
    version: str
    explained: Annotated[str, Field(description="the class or number")]
    value: Annotated[float, Field(description="its logit, or the number")]
    heat: Annotated[str, Field(description="data address of a transparent PNG to lie over what the network sees")]
    blocks: Annotated[list[Block], Field(description="in order; none in a network without residual blocks")]


class Problem(BaseModel):
    """Why a request is not answered."""

    error: str
    request_id: str


def parameters(query: type[BaseModel]) -> list[dict[str, Any]]:
    """The fields of a query as OpenAPI describes parameters."""
    properties = query.model_json_schema()["properties"]
    return [
        {
            "name": name,
            "in": "query",
            "required": False,
            "description": schema["description"],
            "schema": {key: value for key, value in schema.items() if key != "description"},
        }
        for name, schema in properties.items()
    ]
