"""Tables of pictures: what their columns and rows mean, and which are refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas
import pyarrow
import pytest
from pyarrow import parquet

from resnets.data.opening import open_dataset

Paint = Callable[..., Path]


def table(folder: Path, text: str) -> Path:
    (folder / "table.csv").write_text(text)
    return folder / "table.csv"


def test_a_table_has_its_own_labels_and_may_leave_the_splits_to_us(paint: Paint) -> None:
    folder = paint(*(f"{i}.png" for i in range(10)))
    lines = "\n".join(f"{i}.png,{'odd' if i % 2 else 'even'}" for i in range(10))
    data = open_dataset(table(folder, f"Filename,Class\n{lines}\n"))
    assert data.classes == ("even", "odd")
    assert data.splits_made == ("test",)
    assert len(data.splits["train"]) == 8


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (
            "path,colour\n0.png,red\n",
            "row 1 has 'red' in the column colour; without a column label or class, every column",
        ),
        ("path,label,class\n0.png,a,b\n", "has label, class of the columns label, class"),
        ("path,label\n0.png,a\n1.png,\n", "row 2 has no class"),
        ("path,label\n0.png,a\n1.png\n", "row 2 has no class"),
        ("path,label\n,a\n", "row 1 has no path"),
        ("path,label,split\n0.png,a,train\n1.png,b,extra\n", "'extra' is no split; expected one of train"),
        ("path,label,split\n0.png,a,train\n1.png,b,test\n0.png,b,test\n", "names a picture twice"),
        ("path,label,split\n0.png,a,train\n1.png,b,test\n2.png,b,\n", "2.png belongs to no split"),
        ("path,label\n0.png,a\n1.png,dog, small\n", "row 2 has more cells than the 2 columns"),
        ("path,label,label\n0.png,a,x\n1.png,b,x\n", "has the column label more than once"),
        ("path,x, x\n0.png,1,2\n1.png,3,4\n", "has the column x more than once"),
        ('path,labels\n0.png,"a,b"\n1.png,a\n', "has labels such as 'a,b', and | in none; write | between"),
    ],
)
def test_tables_that_are_no_data_set(text: str, complaint: str, paint: Paint) -> None:
    with pytest.raises(ValueError, match=complaint):
        open_dataset(table(paint("0.png", "1.png", "2.png"), text))


def test_the_numbers_that_pandas_gives_to_rows_are_no_target(paint: Paint) -> None:
    folder = paint(*(f"{i}.png" for i in range(10)))
    frame = pandas.DataFrame({"path": [f"{i}.png" for i in range(10)], "cat": [True, False] * 5})
    frame["dog"] = ~frame["cat"]
    frame.to_csv(folder / "once.csv")
    pandas.read_csv(folder / "once.csv").to_csv(folder / "twice.csv")
    frame[::2].to_parquet(folder / "part.parquet")
    for name in ("once.csv", "twice.csv", "part.parquet"):
        data = open_dataset(folder / name)
        assert data.task == "multilabel"
        assert data.classes == ("cat", "dog")
        assert data.splits["train"].targets.sum(1).tolist() == [1.0] * len(data.splits["train"])


def test_cells_that_are_empty_beyond_the_columns_say_nothing(paint: Paint) -> None:
    folder = paint("0.png", "1.png", "2.png", "3.png")
    data = open_dataset(table(folder, "path,label\n0.png,a,\n1.png,b, ,\n2.png,a\n3.png,b\n"))
    assert data.classes == ("a", "b")


def test_backslashes_in_a_table_lead_to_the_same_files(paint: Paint) -> None:
    paths = [f"sub/{i}.png" for i in range(6)]
    folder = paint(*paths)
    lines = [f"{path},{'ab'[i % 2]}" for i, path in enumerate(paths)]
    straight = open_dataset(table(folder, "\n".join(["path,label", *lines]))).fingerprint
    slanted = table(folder, "\n".join(["path,label", *lines]).replace("/", "\\"))
    assert open_dataset(slanted).fingerprint == straight
    (folder / paths[0]).write_bytes(b"other")
    assert open_dataset(slanted).fingerprint != straight


def test_a_missing_class_of_a_parquet_table_is_no_class(paint: Paint) -> None:
    folder = paint("0.png", "1.png", "2.png")
    columns = {"path": ["0.png", "1.png", "2.png"], "label": [1.0, float("nan"), 0.0]}
    parquet.write_table(pyarrow.table(columns), folder / "table.parquet")
    with pytest.raises(ValueError, match="row 2 has no class"):
        open_dataset(folder / "table.parquet")


def test_a_table_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "table.parquet").write_bytes(b"this is not Parquet")
    with pytest.raises(ValueError, match="is no Parquet table"):
        open_dataset(tmp_path / "table.parquet")
    (tmp_path / "table.csv").write_bytes(b"path,label\n\xff\xfe,a\n")
    with pytest.raises(ValueError, match="is no table in UTF-8"):
        open_dataset(tmp_path / "table.csv")
