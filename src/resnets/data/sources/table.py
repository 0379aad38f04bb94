"""A CSV, TSV or Parquet table with one row a picture: its path, class or numbers, and perhaps split."""

from __future__ import annotations

import csv
import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from resnets.data.listing import SPLITS, Listing
from resnets.data.sources.folder import Files

ACCEPTS = "a .csv, .tsv or .parquet table with the columns path, label (or labels, or any of numbers), perhaps split"

_PATH = ("path", "image", "file", "filename")
_LABEL = ("label", "class")
_LABELS = ("labels", "classes")
SEPARATOR = "|"
_SPLIT = ("split",)
_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_ROW_NUMBERS = re.compile(r"\s*|Unnamed: \d+|__index_level_\d+__")
_SPELT = {"false": 0.0, "true": 1.0}


def recognises(source: str) -> bool:
    """Whether it is a file named like a table."""
    path = Path(source)
    return path.suffix.lower() in {*_DELIMITERS, ".parquet"} and path.is_file()


def open(source: str) -> Listing:
    """List the rows of a table; paths are relative to the table's folder.

    A column `labels` has any number of classes, "cat|dog", or none. Without a column of classes, every column but path
    and split holds numbers; where there are two or more and all are 0 or 1, they are classes, too, and so are false and
    true. The numbers of rows that pandas writes are no column. A row whose file is missing is listed as well: it is an
    unreadable picture.

    Raises:
        ValueError: a column is missing or stands twice, or a row has no path, no class, no number, an unknown split or
            more cells than there are columns.
        ImportError: a Parquet table without the extra `hub`.
    """
    table = Path(source).resolve()
    parquet = table.suffix.lower() == ".parquet"
    columns = _read_parquet(table) if parquet else _read_csv(table, _DELIMITERS[table.suffix.lower()])
    paths = _column(columns, _PATH, source)
    numbers = [n for n in columns if n.strip().lower() not in {*_PATH, *_SPLIT} and not _ROW_NUMBERS.fullmatch(n)]
    has_many = any(name.strip().lower() in _LABELS for name in columns)
    has_classes = not has_many and (not numbers or any(name.strip().lower() in _LABEL for name in columns))
    if has_many:
        labels = _column(columns, (*_LABEL, *_LABELS), source)
    else:
        labels = _column(columns, _LABEL, source) if has_classes else _joined(columns, numbers)
    for number, (path, label) in enumerate(zip(paths, labels, strict=True), 1):
        if not path or not (label or has_many):
            raise ValueError(f"{source}: row {number} has no {'class' if path else 'path'}")
    splits: list[str | None] = [None] * len(paths)
    if any(name.strip().lower() in _SPLIT for name in columns):
        splits = [_split(value, source) for value in _column(columns, _SPLIT, source)]
    names = [path.replace("\\", "/") for path in paths]
    sizes = [_size(table.parent / name) for name in names]
    files = Files(str(table.parent), tuple(names))
    if has_classes:
        return Listing(table.stem, names, labels, splits, sizes, files)
    if has_many:
        outputs, values = _indicators(labels, source)
        return Listing(table.stem, names, labels, splits, sizes, files, outputs, values, many_classes=True)
    values = list(zip(*(_numbers(columns[name], name, source) for name in numbers), strict=True))
    outputs = tuple(name.strip() for name in numbers)
    zeros_and_ones = len(outputs) > 1 and {number for row in values for number in row} <= {0.0, 1.0}
    return Listing(table.stem, names, labels, splits, sizes, files, outputs, values, many_classes=zeros_and_ones)


def _read_csv(table: Path, delimiter: str) -> dict[str, list[str]]:
    with table.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file, delimiter=delimiter, restval="", strict=True)
        try:
            rows = list(reader)
        except (csv.Error, UnicodeDecodeError) as error:
            raise ValueError(f"{table} is no table in UTF-8 with {delimiter!r} between its columns: {error}") from error
    names = _each_once(reader.fieldnames or (), table)
    for number, row in enumerate(rows, 1):
        if any(cell.strip() for cell in row.get(None, ())):
            raise ValueError(
                f"{table}: row {number} has more cells than the {len(names)} columns; put text that has {delimiter!r} "
                "in it between quotation marks"
            )
    return {name: [row[name].strip() for row in rows] for name in names}


def _read_parquet(table: Path) -> dict[str, list[str]]:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError as error:
        raise ImportError("a Parquet table needs pyarrow: pip install 'resnets[hub]'") from error
    try:
        names = _each_once(parquet.read_schema(table).names, table)
        classes = [name for name in names if name.strip().lower() in {*_PATH, *_LABEL, *_LABELS, *_SPLIT}]
        has_classes = any(name.strip().lower() in (*_LABEL, *_LABELS) for name in names)
        columns = parquet.read_table(table, columns=classes if has_classes else names).to_pydict()
    except ArrowException as error:
        raise ValueError(f"{table} is no Parquet table: {error}") from error
    # What is missing among floats is no number.
    return {
        name: ["" if value is None or value != value else str(value) for value in values]
        for name, values in columns.items()
    }


def _each_once(names: Sequence[str], table: Path) -> Sequence[str]:
    if twice := [name for name, count in Counter(name.strip() for name in names).items() if name and count > 1]:
        raise ValueError(f"{table} has the column {twice[0]} more than once; expected every column once")
    return names


def _column(columns: dict[str, list[str]], accepted: tuple[str, ...], source: str) -> list[str]:
    found = [name for name in columns if name.strip().lower() in accepted]
    if len(found) != 1:
        raise ValueError(
            f"{source} has {_listed(found)} of the columns {_listed(accepted)}, where one is expected; "
            f"its columns are {_listed(columns)}"
        )
    return columns[found[0]]


def _joined(columns: dict[str, list[str]], numbers: list[str]) -> list[str]:
    """The numbers of each row as one text, by which a change of the table is noticed."""
    return ["|".join(row) for row in zip(*(columns[name] for name in numbers), strict=True)]


def _indicators(labels: list[str], source: str) -> tuple[tuple[str, ...], list[tuple[float, ...]]]:
    """The classes that any row names, sorted, and for each row 1 where it names one."""
    rows = [[name.strip() for name in text.split(SEPARATOR)] if text else [] for text in labels]
    for number, row in enumerate(rows, 1):
        if "" in row or len(set(row)) < len(row):
            raise ValueError(
                f"{source}: row {number} has the labels {labels[number - 1]!r}; expected names with {SEPARATOR} "
                "between them, each once"
            )
    classes = tuple(sorted({name for row in rows for name in row}))
    if not classes:
        raise ValueError(f"{source} names no class in its column of labels")
    if all(len(row) < 2 for row in rows) and (several := [name for name in classes if "," in name]):
        raise ValueError(
            f"{source} has labels such as {several[0]!r}, and {SEPARATOR} in none; write {SEPARATOR} between the "
            "classes of a picture, or call the column label if each has one"
        )
    return classes, [tuple(float(name in row) for name in classes) for row in rows]


def _numbers(column: list[str], name: str, source: str) -> list[float]:
    values = []
    for number, text in enumerate(column, 1):
        try:
            values.append(_SPELT[spelt] if (spelt := text.lower()) in _SPELT else float(text))
        except ValueError:
            values.append(math.nan)
        if not math.isfinite(values[-1]):
            raise ValueError(
                f"{source}: row {number} has {text!r} in the column {name}; without a column label or class, every "
                "column but path and split must hold numbers"
            )
    return values


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"


def _split(value: str, source: str) -> str | None:
    if value and value.lower() not in SPLITS:
        raise ValueError(f"{source}: {value!r} is no split; expected one of {_listed(SPLITS)}")
    return SPLITS[value.lower()] if value else None


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1
