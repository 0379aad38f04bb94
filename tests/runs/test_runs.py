"""Cards and run folders."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from resnets.networks.catalogue import architecture, build
from resnets.runs.card import Card
from resnets.runs.folders import claim_folder
from resnets.runs.run import Run
from resnets.types import Preprocessing


@pytest.fixture
def card() -> Card:
    declaration = replace(architecture("resnet8"), num_classes=2)
    preprocessing = Preprocessing((32, 24), 3, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6), 0.875, "bicubic")
    return Card("resnet8", "classification", declaration.to_dict(), ("ant", "bée"), preprocessing, {"accuracy": 0.5})


def test_a_card_comes_back_as_it_was_written(card, tmp_path):
    run = Run(tmp_path / "run")
    run.write_card(card)
    found = run.card()
    assert found.preprocessing == card.preprocessing
    assert found.classes == card.classes
    assert found.to_json() == card.to_json()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "is not the card of a run"),
        ('{"name": 1}', "is not the card of a run"),
        ('{"format": 99}', "has format 99, this version reads 1; install"),
        ('{"format": 1}', "is not a complete card"),
    ],
)
def test_what_is_no_card(text, message):
    with pytest.raises(ValueError, match=message):
        Card.from_json(text, "model.json")


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("architecture", [], "model.json is not a complete card: architecture missing or of another kind"),
        ("architecture", None, "architecture missing or of another kind"),
        ("architecture", {"family": "resnet"}, "is not a complete card: Architecture cannot be made .*depths"),
        ("architecture", {"family": "transformer"}, "no family of networks"),
        ("preprocessing", [1], "preprocessing missing or of another kind"),
        ("preprocessing", {"size": None}, "is not a complete card"),
        ("classes", None, "classes missing or of another kind"),
        ("model", 5, "model missing or of another kind"),
    ],
)
def test_a_card_whose_fields_cannot_be_is_refused_when_it_is_read(card, field, value, message):
    with pytest.raises(ValueError, match=message):
        Card.from_json(json.dumps(json.loads(card.to_json()) | {field: value}), "model.json")


def test_a_card_that_is_no_text_is_named(tmp_path):
    (tmp_path / "model.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"model\.json is not text"):
        Run(tmp_path).card()


def test_a_card_with_an_unknown_field_is_refused(card):
    with pytest.raises(ValueError, match="surprise"):
        Card.from_json(json.dumps(json.loads(card.to_json()) | {"surprise": 1}))


def test_a_network_comes_back_bit_for_bit(card, tmp_path):
    run = Run(tmp_path)
    network = build(replace(architecture("resnet8"), num_classes=2)).eval()
    run.write_card(card)
    with pytest.raises(FileNotFoundError, match="training has not ended; go on with `resnets train --resume"):
        run.network()
    run.write_network(network)
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert torch.equal(run.network()(images), network(images))


def test_a_folder_that_is_no_run(tmp_path):
    with pytest.raises(FileNotFoundError, match="is not a run: it has no model"):
        Run(tmp_path).card()


def test_a_new_run_takes_nothing_away_but_what_is_left_of_one(card, tmp_path):
    left = tmp_path / "left"
    left.mkdir()
    (left / "model.json.tmp").write_text("{")
    assert claim_folder(left, card, overwrite=False) == left
    for own in ("thesis.tmp", "drafts.tmp/thesis.doc"):
        path = tmp_path / "own" / own
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("years of work")
        with pytest.raises(FileExistsError, match="is no run"):
            claim_folder(tmp_path / "own", card, overwrite=True)
        assert path.read_text() == "years of work"
        path.unlink()


def test_history_keeps_rows_whose_columns_differ(tmp_path):
    run = Run(tmp_path)
    rows = [{"epoch": 1.0, "train_loss": 0.5}, {"epoch": 2.0, "train_loss": 0.25, "val_loss": 1 / 3}]
    assert run.history() == []
    run.write_history(rows)
    assert run.history() == rows


@pytest.mark.parametrize(
    "changes",
    [{"channels": 2}, {"mean": (0.5,)}, {"crop": 0.0}, {"crop": 1.5}, {"size": (0, 8)}, {"std": (0.0, 1.0, 1.0)}],
)
def test_a_preprocessing_that_cannot_be(changes):
    with pytest.raises(ValueError, match="Preprocessing"):
        replace(Preprocessing((8, 8), 3, (0.5,) * 3, (0.5,) * 3), **changes)
