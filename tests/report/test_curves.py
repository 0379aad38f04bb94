from __future__ import annotations

from math import nan

import pytest

from resnets.report.curves import ERROR, LEARNING_RATE, LOSS, Chart, curves_section

HISTORY = [
    {"epoch": 1, "lr": 0.1, "train_loss": 2.0, "train_accuracy": 0.4},
    {"epoch": 2, "lr": 0.1, "train_loss": 1.0, "train_accuracy": 0.7, "val_loss": 0.9, "val_accuracy": 0.93},
    {"epoch": 3, "lr": 0.01, "train_loss": 0.5, "train_accuracy": 0.95, "val_loss": nan},
    {
        "epoch": 4,
        "lr": 0.001,
        "train_loss": 0.1,
        "train_accuracy": 1.0,
        "val_loss": 1.1,
        "val_accuracy": 0.92,
    },
]


def remarks(read, history, *charts):
    section = curves_section(history, charts)
    return [figure.find("p")[0].content() for figure in read(section.body).root.find("figure")]


def test_the_best_epoch_is_named(read):
    assert remarks(read, HISTORY, LOSS, ERROR, LEARNING_RATE) == [
        "best validation 0.9 in epoch 2, last 1.1",
        "best validation 7.00\u00a0% in epoch 2, last 8.00\u00a0%",
        "highest 0.1, last 0.001",
    ]
    assert remarks(read, HISTORY, Chart("Accuracy", "accuracy", percent=True, best=max)) == [
        "best validation 93.00\u00a0% in epoch 2, last 92.00\u00a0%"
    ]
    assert remarks(read, HISTORY[:2], LOSS) == ["best validation 0.9, in the last epoch"]


def test_the_validation_chooses_the_epoch_where_there_is_a_test_too(read):
    history = [
        {"epoch": 1, "test_accuracy": 0.9, "val_accuracy": 0.7},
        {"epoch": 2, "test_accuracy": 0.8, "val_accuracy": 0.8},
    ]
    assert remarks(read, history, ERROR) == ["best validation 20.00\u00a0%, in the last epoch"]


def test_each_split_is_described_and_in_the_legend(read):
    page = read(curves_section(HISTORY, (LOSS,)).body)
    (figure,) = page.root.find("svg", role="img")
    assert figure.attributes["aria-label"] == "Loss by epoch: training 2 to 0.1; validation 0.9 to 1.1"
    legend = page.root.find("p")[0].content()
    assert "training" in legend
    assert "validation" in legend
    assert "test" not in legend


@pytest.mark.parametrize("history", [[], [{"epoch": 1}], [{"epoch": 1, "train_loss": nan}]])
def test_nothing_to_draw_is_no_section(history):
    assert curves_section(history, (LOSS, ERROR)) is None


@pytest.mark.parametrize("values", [[0.0], [0.0, 0.0], [1.0, 0.5, 0.0], [-1.0, 2.0], [1e-9, 1e9], [3.0] * 200])
def test_any_values_can_be_drawn(read, values):
    history = [{"epoch": epoch, "train_loss": value} for epoch, value in enumerate(values, start=1)]
    page = read(curves_section(history, (LOSS,)).body)
    assert len(page.root.find("svg", role="img")) == 1
    assert len(page.root.find("tbody")[0].find("tr")) == len(values)


def test_a_curve_that_is_zero_throughout_is_in_sight_beside_one_that_falls_far(read):
    history = [{"epoch": epoch, "train_accuracy": 1 - 0.5**epoch, "val_accuracy": 1.0} for epoch in range(1, 9)]
    section = read(curves_section(history, (ERROR,)).body)
    assert {"0 %"} <= {text.content() for text in section.root.find("text")}


def test_a_wide_range_of_errors_is_drawn_on_a_logarithmic_axis(read):
    def ticks(history):
        return [text.content() for text in read(curves_section(history, (ERROR,)).body).root.find("text")]

    wide = [{"epoch": epoch, "val_accuracy": 1 - 0.5 / epoch**2} for epoch in range(1, 9)]
    narrow = [{"epoch": epoch, "val_accuracy": 0.8 + 0.01 * epoch} for epoch in range(1, 9)]
    assert {"1 %", "2 %", "5 %", "10 %", "20 %", "50 %"} <= set(ticks(wide))
    assert {"0 %", "5 %", "10 %", "15 %", "20 %"} <= set(ticks(narrow))


def test_every_epoch_stands_in_the_table(read):
    page = read(curves_section(HISTORY, (LOSS,)).body)
    rows = [[cell.content() for cell in row.find("td")] for row in page.root.find("tbody")[0].find("tr")]
    assert [heading.content() for heading in page.root.find("th")] == [
        "epoch", "lr", "train_loss", "train_accuracy", "val_loss", "val_accuracy"
    ]  # fmt: skip
    assert rows[0] == ["1", "0.1", "2", "0.4", "", ""]
    assert rows[3] == ["4", "0.001", "0.1", "1", "1.1", "0.92"]


def test_figures_take_their_colours_from_the_page_and_share_no_identifier(read):
    body = curves_section(HISTORY, (LOSS, ERROR, LEARNING_RATE)).body
    assert "#a1b2c" not in body
    assert "var(--blue)" in body
    assert "font-family" not in body
    page = read(body)
    identifiers = [item.attributes["id"] for item in page.elements() if "id" in item.attributes]
    assert len(identifiers) == len(set(identifiers))
    assert all(item.attributes["href"][1:] in identifiers for item in page.root.find("use"))
