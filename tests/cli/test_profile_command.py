"""`resnets profile`."""

from __future__ import annotations

import json

import pytest

from resnets.cli.profile import profile, short


def test_the_table_fits_80_columns(capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    profile("wide_resnet101_2")
    output = capsys.readouterr().out
    assert "…" not in output
    assert max(map(len, output.splitlines())) <= 80
    total = next(line for line in output.splitlines() if line.startswith("total"))
    assert total.split()[1:6] == ["1000", "127", "M", "22.8", "G"]


def test_json_has_stages_total_and_declaration(capsys) -> None:
    profile("resnet50", stride_at="1x1", json=True)
    result = json.loads(capsys.readouterr().out)
    assert result["total"]["parameters"] == 25_557_032
    assert [stage["name"] for stage in result["stages"]] == [
        "stem", "layer1", "layer2", "layer3", "layer4", "classifier"
    ]  # fmt: skip
    assert sum(stage["multiply_adds"] for stage in result["stages"]) == result["total"]["multiply_adds"]
    assert result["architecture"]["stride_at"] == "1x1"
    assert result["layers"] == 50
    assert result["size"] == [224, 224]


def test_size_and_declaration_can_be_changed(capsys) -> None:
    profile("resnet18", size=(64, 96), num_classes=7, in_channels=1, depths=(1, 1, 1, 1), json=True)
    result = json.loads(capsys.readouterr().out)
    assert result["stages"][0]["output"] == [64, 32, 48]
    assert result["total"]["output"] == [7]
    assert result["channels"] == 1
    assert result["layers"] == 10


def test_networks_for_cifar_keep_their_size_and_classes(capsys) -> None:
    profile("resnet20", json=True)
    result = json.loads(capsys.readouterr().out)
    assert result["size"] == [32, 32]
    assert result["total"]["output"] == [10]


def test_a_field_that_the_network_does_not_have_is_an_error() -> None:
    with pytest.raises(ValueError, match="vgg16 has no shortcut to change"):
        profile("vgg16", shortcut="A")


@pytest.mark.parametrize("size", [-5, 0, (32, 0)])
def test_a_picture_without_pixels_is_an_error(size) -> None:
    with pytest.raises(ValueError, match="--size must be at least 1 pixel, not"):
        profile("resnet18", size=size)


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0 "), (999, "999 "), (1000, "1.00 k"), (999_499, "999 k"), (999_600, "1.00 M"), (25_557_032, "25.6 M")],
)
def test_numbers_have_three_digits(number: int, text: str) -> None:
    assert short(number) == text
