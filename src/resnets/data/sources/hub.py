"""A data set of the Hugging Face Hub, fetched by the library `datasets` into its own cache."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from resnets.data.decoding import open_picture
from resnets.data.listing import SPLITS, Listing

ACCEPTS = "hf:OWNER/NAME or hf:OWNER/NAME:CONFIGURATION, a data set of the Hugging Face Hub (network needed)"

_PREFIX = "hf:"


def recognises(source: str) -> bool:
    """Whether it begins with `hf:`."""
    return source.startswith(_PREFIX)


def open(source: str) -> Listing:
    """List the rows of a data set that has one column of pictures and one of class labels.

    Of its splits, train, validation and test are taken; one without labels (all -1, as ImageNet's test
    pictures) and others, such as `extra`, are left out.

    Raises:
        ImportError: without the extra `hub`.
        ValueError: not one column of pictures, or no class labels.
    """
    try:
        import datasets
    except ImportError as error:
        raise ImportError("a Hugging Face data set needs datasets: pip install 'resnets[hub]'") from error
    name, _, configuration = source.removeprefix(_PREFIX).partition(":")
    loaded = datasets.load_dataset(name, configuration or None)  # never runs code of the data set's since version 4
    features = next(iter(loaded.values())).features
    image = _only_column(source, features, datasets.Image)
    label = _only_column(source, features, datasets.ClassLabel)
    classes = tuple(features[label].names)

    parts: list[Any] = []
    names: list[str] = []
    labels: list[str] = []
    splits: list[str | None] = []
    contents: list[str] = []
    for split, part in loaded.items():
        targets = list(part[label])
        if split not in SPLITS or all(target == -1 for target in targets):
            continue
        if not all(target is not None and 0 <= target < len(classes) for target in targets):
            raise ValueError(f"{source}: some pictures of {split} have no label")
        parts.append(part.cast_column(image, datasets.Image(decode=False)))
        names += [f"{SPLITS[split]}/{row:07d}" for row in range(len(part))]
        labels += [classes[target] for target in targets]
        splits += [SPLITS[split]] * len(part)
        contents += [f"{part.info.version} {len(part)}"] * len(part)
    if not parts:
        raise ValueError(f"{source} has the splits {', '.join(loaded)}; expected a train split with labels")
    return Listing(name, names, labels, splits, contents, Rows(datasets.concatenate_datasets(parts), image), classes)


@dataclass(frozen=True)
class Rows:
    """Opens the pictures of a table by their rows."""

    table: Any
    column: str

    def __call__(self, position: int) -> Image.Image:
        """The picture of a row, its pixels not yet decoded."""
        cell = self.table[position][self.column]
        return open_picture(cell["bytes"] if cell["bytes"] is not None else Path(cell["path"]).read_bytes())


def _only_column(source: str, features: dict[str, Any], kind: type) -> str:
    found = [name for name, feature in features.items() if isinstance(feature, kind)]
    if len(found) != 1:
        raise ValueError(
            f"{source} has {len(found)} columns of the kind {kind.__name__}, where one is expected; "
            f"its columns are {', '.join(features)}"
        )
    return found[0]
