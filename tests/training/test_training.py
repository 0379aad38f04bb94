"""What a training does and leaves behind."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from io import StringIO
from types import SimpleNamespace

import pytest
import torch
from lightning_fabric import Fabric
from PIL import Image
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from resnets.data.loading import Loader
from resnets.data.opening import open_dataset
from resnets.data.statistics import preprocessing_for
from resnets.data.transforms import Augmentation, prepare
from resnets.data.views import view
from resnets.inference.evaluation import evaluate
from resnets.inference.predictor import load
from resnets.layers.whitening import Whitening
from resnets.networks.catalogue import architecture, build
from resnets.runs.run import Run
from resnets.training import fit
from resnets.training.averaging import exponential_average, recompute_statistics, take_first_statistics
from resnets.training.balance import inverse_class_sizes
from resnets.training.engine import LOGGERS, check_logger
from resnets.training.interruption import InterruptedTraining
from resnets.training.resizing import input_size
from resnets.training.train import resume, train
from resnets.training.whitening import whiten
from resnets.weights.files import read_tensors

QUIET = Console(quiet=True)


def test_a_run_holds_all_there_is(train_digits):
    run = train_digits(epochs=3, batch_size=64)
    card = run.card()
    assert card.classes == tuple("0123456789")
    assert (card.preprocessing.size, card.preprocessing.channels) == ((8, 8), 1)
    assert card.data["fingerprint"] == open_dataset("digits").fingerprint
    assert card.data["pictures"] == {"train": 1438, "test": 359}
    assert card.data["splits_made"] == ["test"]
    assert {"torch", "resnets"} <= card.provenance["versions"].keys()
    assert card.metrics["count"] == 359
    assert card.metrics["accuracy"] > 0.8
    assert [row["epoch"] for row in run.history()] == [1, 2, 3]
    assert "<html" in run.report_path.read_text()
    assert torch.load(run.checkpoint_path, weights_only=True)["state"]["step"] == 3 * 23
    json.loads(run.card_path.read_text())
    evaluation = evaluate(run.folder)
    assert evaluation.metrics == pytest.approx(dict(card.metrics), abs=1e-5)


def test_a_folder_that_is_taken_is_not_touched(train_digits, tmp_path):
    train_digits("taken", epochs=1)
    with pytest.raises(FileExistsError, match=r"--resume .*taken.* --overwrite"):
        train_digits("taken", epochs=1)
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("irreplaceable")
    with pytest.raises(FileExistsError, match="is no run"):
        train_digits("thesis", epochs=1, overwrite=True)
    assert (tmp_path / "thesis" / "chapter.txt").exists()


def test_a_request_that_is_refused_leaves_no_folder_and_replaces_none(train_digits, tmp_path, monkeypatch):
    run = train_digits("good", epochs=1)
    before = {file.name: file.read_bytes() for file in run.folder.iterdir()}
    for wrong in ({"freeze": "layer9"}, {"label_smoothing": 0.1, "task": "generation"}):
        for name in ("good", "new"):
            with pytest.raises(ValueError, match=r"."):
                train_digits(name, epochs=1, overwrite=True, **wrong)
    monkeypatch.setattr("resnets.training.job.Loader", None)  # not even where something fails late
    with pytest.raises(TypeError):
        train_digits("good", epochs=1, overwrite=True)
    assert {file.name: file.read_bytes() for file in run.folder.iterdir()} == before
    assert not (tmp_path / "new").exists()


def test_a_resumed_training_keeps_the_account_of_its_weights(train_digits, tmp_path, stop_at):
    weights = train_digits("first", epochs=1).folder
    with stop_at(9), pytest.raises(InterruptedTraining):
        train_digits("stopped", weights=weights)
    assert resume(tmp_path / "stopped").card().provenance["weights_account"]


def test_early_stopping_keeps_the_best_weights(train_digits):
    run = train_digits(epochs=30, val_share=0.2, patience=2, evaluate_every=1, lr=1.0, batch_size=128)
    ranks = [(row["val_accuracy"], -row["val_loss"]) for row in run.history()]
    assert len(ranks) < 30
    assert len(ranks) - 1 - ranks.index(max(ranks)) == 2
    accuracy, loss = max(ranks)[0], -max(ranks)[1]
    calibrated = evaluate(run.folder, split="val").metrics["loss"]
    run.write_card(replace(run.card(), settings={}))
    metrics = evaluate(run.folder, split="val").metrics
    assert (metrics["accuracy"], metrics["loss"]) == pytest.approx((accuracy, loss), rel=1e-3)
    assert calibrated < loss


def test_early_stopping_needs_a_validation_split(train_digits):
    with pytest.raises(ValueError, match="--val-share"):
        train_digits(patience=2)


def test_divergence_is_named(train_digits):
    with pytest.raises(FloatingPointError, match=r"has diverged; lower --lr \(now 1e\+30\)"):
        train_digits(lr=1e30)


def test_unreadable_pictures_are_left_out_and_named(tmp_path):
    digits = open_dataset("digits").splits["train"]
    for index in range(200):
        folder = tmp_path / "data" / digits.classes[digits.targets[index] % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(digits.picture(index, 1)[0].numpy()).save(folder / f"{index}.png")
    (tmp_path / "data" / "0" / "broken.png").write_bytes(b"no picture")
    options = {"model": "resnet8", "epochs": 1, "console": QUIET, "precision": "32-true"}
    with pytest.raises(ValueError, match=r"broken\.png"):
        train(tmp_path / "data", run=tmp_path / "none", max_unreadable=0.0, **options)
    run = train(tmp_path / "data", run=tmp_path / "run", max_unreadable=0.1, **options)
    left_out = run.card().data["left_out"]
    assert [name.rsplit("/", 1)[-1] for name in left_out] == ["broken.png"]
    assert sum(run.card().data["pictures"].values()) == 200


def test_the_moving_average_follows_its_formula():
    network = nn.Linear(1, 1, bias=False)
    nn.init.constant_(network.weight, 1.0)
    average = exponential_average(network, 0.9)
    expected = None
    for value in (1.0, 2.0, 4.0):
        nn.init.constant_(network.weight, value)
        average.update_parameters(network)
        expected = value if expected is None else 0.9 * expected + 0.1 * value
    assert average.module.weight.item() == pytest.approx(expected)


def test_recomputed_statistics_are_those_of_the_inputs():
    batches = list(torch.randn(6, 32, 3, 4, 4, generator=torch.Generator().manual_seed(0)) * 3 + 1)
    network = nn.Sequential(nn.BatchNorm2d(3))
    recompute_statistics(network, iter(batches), Fabric(accelerator="cpu", devices=1))
    pixels = torch.cat(batches).transpose(0, 1).flatten(1)
    torch.testing.assert_close(network[0].running_mean, pixels.mean(1), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(network[0].running_var, pixels.var(1), rtol=0.02, atol=0)


def test_statistics_are_recomputed_from_pictures_as_training_sees_them(train_digits, monkeypatch):
    seen = []

    def keep(network, inputs, fabric):
        seen.extend(inputs)

    monkeypatch.setattr("resnets.training.conclusion.recompute_statistics", keep)
    run = train_digits(recompute_bn=True, pad=3, mixup=0.5, epochs=2)
    preprocessing, data = run.card().preprocessing, open_dataset("digits").splits["train"]
    loader = Loader(data, preprocessing, 256, shuffle=True)
    crops = Augmentation(pad=3)
    expected = [prepare(batch, preprocessing, crops, epoch=2).images for batch in loader.epoch(2)]
    torch.testing.assert_close(torch.cat(seen).contiguous(), torch.cat(expected), rtol=1e-5, atol=1e-5)


def test_weights_to_begin_from_are_used(train_digits, tmp_path):
    first = train_digits("first", epochs=1)
    second = train_digits("second", epochs=1, lr=1e-12, weights=first.weights_path)
    before, after = read_tensors(first.weights_path), read_tensors(second.weights_path)
    torch.testing.assert_close(before["conv1.weight"], after["conv1.weight"])


def test_the_first_filters_are_computed_from_the_training_pictures(train_digits):
    run = train_digits(model="fastresnet8", epochs=1, size=None)
    train, preprocessing = open_dataset("digits").splits["train"], run.card().preprocessing
    images = torch.stack([view(train.picture(index, 1), preprocessing) for index in range(len(train))]) / 255
    expected = Whitening(1)
    expected.fit([(images - preprocessing.mean[0]) / preprocessing.std[0]])
    found = run.network().whiten.weight
    torch.testing.assert_close(found.abs(), expected.weight.abs(), atol=1e-3, rtol=1e-3)  # an eigenvector has two signs


def test_the_first_filters_of_a_backbone_are_computed_too():
    declaration = replace(architecture("unet_fastresnet8"), num_classes=3)
    backbone = replace(declaration.backbone, widths=(4, 8, 8), in_channels=1)
    network = build(replace(declaration, backbone=backbone, in_channels=1))
    before = {name: values.clone() for name, values in network.state_dict().items()}
    data = open_dataset("digits")
    whiten(network, data.splits["train"], preprocessing_for(data))
    changed = [name for name, values in network.state_dict().items() if not torch.equal(values, before[name])]
    assert len(changed) == 1
    assert changed[0].endswith("whiten.weight")


def test_tensorboard_has_the_history(train_digits):
    run = train_digits(logger="tensorboard")
    events = EventAccumulator(str(next(run.folder.glob("log/*"))))
    events.Reload()
    for name in ("train_loss", "test_accuracy", "lr"):
        rows = {row["step"]: row[name] for row in run.history() if name in row}
        assert {event.step: event.value for event in events.Scalars(name)} == pytest.approx(rows)


def test_a_logger_that_a_card_names_is_lightnings_or_named_again(train_digits, stop_at, tmp_path):
    """A card may be anybody's, and importing a class runs its code."""
    with stop_at(2), pytest.raises(InterruptedTraining):
        train_digits(logger="tensorboard")
    run = Run(tmp_path / "run")
    with pytest.raises(ValueError, match="was started with tensorboard; leave --logger out"):
        resume(run.folder, logger="lightning_fabric.loggers.CSVLogger", console=QUIET)
    run.write_card(replace(run.card(), provenance={**run.card().provenance, "logger": "antigravity.Logger"}))
    with pytest.raises(
        ValueError, match=r"no logger of Lightning's, and its code would be run; .* --logger antigravity"
    ):
        resume(run.folder, console=QUIET)
    assert "antigravity" not in sys.modules
    for name in LOGGERS - {"tensorboard"}:
        check_logger(name, None)
    check_logger("mine.Logger", "mine.Logger")
    with pytest.raises(ValueError, match="is no logger: it has no log_metrics and no finalize"):
        train_digits("other", logger="collections.OrderedDict")


def test_the_last_epochs_row_is_written_though_the_training_was_killed_before(train_digits, tmp_path, monkeypatch):
    whole = Run.write_history

    def killed(run, rows):
        if len(rows) == 2:
            raise KeyboardInterrupt
        whole(run, rows)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "write_history", killed)
        with pytest.raises(KeyboardInterrupt):
            train_digits()
    assert [row["epoch"] for row in Run(tmp_path / "run").history()] == [1]
    assert [row["epoch"] for row in resume(tmp_path / "run", console=QUIET).history()] == [1, 2]


def test_a_class_without_a_training_picture_has_a_weight():
    digits = open_dataset("digits").splits["train"]
    few = digits.subset((digits.targets < 9).nonzero()[:, 0])
    counts = few.targets.bincount()
    torch.testing.assert_close(
        inverse_class_sizes(few.targets, 10), len(few) / (10 * torch.cat((counts, torch.ones(1))))
    )


def test_the_first_processs_averages_are_those_of_all(monkeypatch):
    """What PyTorch is asked for, as if this were the second of two processes."""
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    average, other = exponential_average(network, 0.9), exponential_average(network, 0.9)
    for number, buffer in enumerate(other.buffers()):
        buffer.fill_(number + 5)
    there = iter(other.buffers())
    monkeypatch.setattr(
        "torch.distributed.broadcast", lambda buffer, source: buffer.copy_(next(there)) if not source else 0
    )
    take_first_statistics(average, SimpleNamespace(world_size=2))
    assert all(torch.equal(*pair) for pair in zip(average.buffers(), other.buffers(), strict=True))


def test_a_training_begins_from_another_run(train_digits, capsys):
    first = train_digits("first", epochs=1, seed=5)
    console = Console(width=120)
    second = train(
        "digits", run=first.folder.with_name("second"), weights=first.folder, epochs=1, lr=1e-12, console=console
    )
    card = second.card()
    assert card.model == "resnet8"  # not what auto would choose
    assert replace(card.preprocessing, size=(8, 8)) == first.card().preprocessing
    assert card.architecture == first.card().architecture
    before, after = read_tensors(first.weights_path), read_tensors(second.weights_path)
    torch.testing.assert_close(before["fc.weight"], after["fc.weight"])
    assert "loaded" in capsys.readouterr().out
    assert card.provenance["weights_account"]["loaded"].startswith("37 tensors")


def test_classes_of_the_same_name_are_kept(train_digits, tmp_path):
    first = train_digits("first", epochs=1)
    digits = open_dataset("digits").splits["train"]
    for index in range(0, len(digits), 24):
        label = int(digits.targets[index])
        folder = tmp_path / "data" / {0: "0", 1: "1"}.get(label, "other")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(digits.picture(index, 1)[0].numpy()).save(folder / f"{index}.png")
    run = train(tmp_path / "data", run=tmp_path / "second", weights=first.folder, epochs=1, lr=1e-12, console=QUIET)
    account = run.card().provenance["weights_account"]
    assert account["replaced"] == "fc: 10 outputs by 3 new ones, of which 0, 1 kept"
    before, after = read_tensors(first.weights_path), read_tensors(run.weights_path)
    torch.testing.assert_close(before["fc.weight"][1], after["fc.weight"][1])


def test_a_validation_split_calibrates_the_probabilities(train_digits):
    run = train_digits(epochs=6, val_share=0.2, batch_size=64, lr=0.05)
    card = run.card()
    scaled = card.settings
    assert (scaled["fitted_on"], scaled["pictures"]) == ("val", card.data["pictures"]["val"])
    assert scaled["temperature"] != 1
    assert card.metrics["ece"] < card.metrics["ece_raw"]
    assert evaluate(run.folder).metrics == pytest.approx(dict(card.metrics), abs=1e-5)
    assert "error" in run.report_path.read_text()
    test = open_dataset("digits", val_share=0.2).splits["test"]
    sure = max(load(run.folder)(test.picture(0, 1)[0].numpy()).probabilities)
    run.write_card(replace(card, settings={}))
    assert sure != pytest.approx(max(load(run.folder)(test.picture(0, 1)[0].numpy()).probabilities), abs=1e-4)
    assert train_digits("without", epochs=1).card().settings == {}


@pytest.mark.parametrize("balance", ["sampling", "loss"])
def test_small_classes_are_found_more_often_where_classes_are_evened_out(tmp_path, balance):
    digits = open_dataset("digits").splits["train"]
    for label, most in ((3, 140), (8, 14)):
        for index in (digits.targets == label).nonzero().flatten()[:most].tolist():
            folder = tmp_path / "data" / str(label)
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(digits.picture(index, 1)[0].numpy()).save(folder / f"{index}.png")
    console = Console(width=100, file=StringIO())
    options = {"model": "resnet8", "epochs": 3, "batch_size": 16, "optimizer": "sgd", "precision": "32-true"}
    plain = train(tmp_path / "data", run=tmp_path / "plain", console=console, **options)
    assert "the classes have from 11 to 112 training pictures" in console.file.getvalue()
    evened = train(tmp_path / "data", run=tmp_path / "evened", balance=balance, console=QUIET, **options)
    before, after = (evaluate(run.folder).probabilities[:, 1].mean() for run in (plain, evened))
    assert after > before + 0.05


def test_pictures_grow_as_said(train_digits, monkeypatch):
    seen: list[tuple[int, ...]] = []
    whole = fit.train_step

    def noting(job, batch, epoch, rate):
        job.network.register_forward_pre_hook(lambda _, inputs: seen.append(tuple(inputs[0].shape[2:])))
        monkeypatch.setattr(fit, "train_step", whole)
        whole(job, batch, epoch, rate)

    monkeypatch.setattr(fit, "train_step", noting)
    run = train_digits(epochs=4, steps=0, size=16, progressive=8, batch_size=512)
    training = seen[: 4 * 3]
    assert training == [(8, 8)] * 3 + [(8, 8)] * 3 + [(12, 12)] * 3 + [(16, 16)] * 3
    assert [row["size"] for row in run.history()] == [8, 8, 12, 16]
    assert run.card().preprocessing.size == (16, 16)


def test_the_sides_of_progressive_pictures():
    assert [input_size(128, (224, 224), epoch, 8)[0] for epoch in range(8)] == [128, 144, 160, 176, 192, 208, 224, 224]
    assert input_size(64, (128, 256), 0, 8) == (64, 128)
    assert [input_size(0, (32, 32), epoch, 3) for epoch in range(3)] == [(32, 32)] * 3
    assert [input_size(128, (224, 224), epoch, 2)[0] for epoch in range(2)] == [128, 224]
    assert [input_size(128, (224, 224), epoch, 3)[0] for epoch in range(3)] == [128, 176, 224]


def test_progressive_pictures_that_cannot_be_are_refused(train_digits):
    with pytest.raises(ValueError, match="progressive must be below the 8 pixels"):
        train_digits(progressive=8)
    with pytest.raises(ValueError, match="needs two epochs or more"):
        train_digits(progressive=4, epochs=1)
    with pytest.raises(ValueError, match="pad must be below 4 pixels"):
        train_digits(progressive=4, pad=4, pad_mode="reflect")
    with pytest.raises(ValueError, match="progressive would do nothing with head_only"):
        train_digits(progressive=4, head_only="sgd")
