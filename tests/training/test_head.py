"""The classifier alone: the same answers as scikit-learn's, and nothing else changed."""

from __future__ import annotations

import signal

import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from resnets.data.opening import open_dataset
from resnets.data.order import permutation
from resnets.inference.evaluation import evaluate
from resnets.training import head
from resnets.training.head import FOLDS, STRENGTHS, fit_logistic
from resnets.training.interruption import InterruptedTraining
from resnets.training.train import resume
from resnets.weights.files import read_tensors


@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("classes", [2, 3])
def test_logistic_regression_is_scikit_learns(classes, biased):
    generator = torch.Generator().manual_seed(0)
    targets = torch.randint(classes, (90,), generator=generator)
    features = torch.randn(90, 6, generator=generator) + targets[:, None] * torch.tensor([1.0, 0, 0, 0.5, 0, 0])
    layer = torch.nn.Linear(6, classes, bias=biased)
    fit_logistic(layer, features, targets, seed=0)
    centre = features.mean(0) if biased else 0
    scaled = ((features - centre) / features.std(0, correction=0)).double().numpy()
    folds, labels = StratifiedKFold(FOLDS, shuffle=True, random_state=0), targets.numpy()

    def held_out_loss(strength: float) -> float:
        regression = LogisticRegression(C=strength, fit_intercept=biased)
        guesses = cross_val_predict(regression, scaled, labels, cv=folds, method="predict_proba")
        return log_loss(labels, guesses)

    oracle = LogisticRegression(C=min(STRENGTHS, key=held_out_loss), fit_intercept=biased)
    expected = torch.from_numpy(oracle.fit(scaled, labels).predict_proba(scaled)).float()
    torch.testing.assert_close(layer(features).softmax(1), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kind", ["logistic", "sgd"])
@pytest.mark.parametrize("model", ["resnet8", "preresnet11"])
def test_only_the_classifier_learns_and_learns_well(train_digits, kind, model):
    first = train_digits("first", model=model, epochs=8, batch_size=64, lr=0.02)
    begun = train_digits("begun", model=model, weights=first.folder, epochs=1, lr=1e-12)
    run = train_digits("second", model=model, weights=first.folder, head_only=kind, epochs=20, batch_size=64, lr=0.02)
    before, after = read_tensors(first.weights_path), read_tensors(run.weights_path)
    head = {name for name in before if name.startswith(("fc.", "head."))}
    assert all(torch.equal(before[name], after[name]) for name in before.keys() - head)
    assert not any(torch.equal(before[name], after[name]) for name in head)
    assert run.card().metrics["accuracy"] >= begun.card().metrics["accuracy"] - 0.01
    assert evaluate(run.folder).metrics == pytest.approx(dict(run.card().metrics), abs=1e-5)
    assert len(run.history()) == (1 if kind == "logistic" else 20)
    assert run.history()[-1]["train_accuracy"] > 0.9
    features = read_tensors(run.folder / "features.safetensors")["features"]
    assert len(features) == len(open_dataset("digits").splits["train"])


def test_a_classifier_fitted_first_is_where_training_begins(train_digits):
    first = train_digits("first", epochs=4)
    options = {"weights": first.folder, "model": first.card().model}
    alone = train_digits("alone", head_only="logistic", **options)
    begun = train_digits("begun", head_first=True, lr=1e-12, epochs=1, freeze="all", **options)
    expected, found = (read_tensors(run.weights_path)["fc.weight"] for run in (alone, begun))
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
    assert not (begun.folder / "features.safetensors").exists()


def test_features_that_are_kept_are_not_computed_again(train_digits, monkeypatch):
    run = train_digits("run", head_only="logistic")
    card = run.card()
    run.write_card(type(card)(**{**vars(card), "metrics": {}}))  # as if it had been stopped before its end
    run.checkpoint_path.unlink()
    monkeypatch.setattr("resnets.training.head.without_classifier", None)
    assert resume(run.folder).card().metrics == card.metrics


def test_what_head_only_leaves_no_room_for(train_digits):
    with pytest.raises(ValueError, match="ema, mixup would do nothing with head_only"):
        train_digits(head_only="sgd", ema=0.9, mixup=0.2)
    with pytest.raises(ValueError, match="two pictures of each class; use --head-only sgd"):
        fit_logistic(torch.nn.Linear(2, 2), torch.randn(3, 2), torch.tensor([0, 0, 1]), 0)


def test_a_signal_ends_the_training_of_the_classifier_after_an_epoch(train_digits, monkeypatch):
    options = {"head_only": "sgd", "epochs": 4, "batch_size": 64, "lr": 0.02}
    whole = train_digits("whole", **options)

    def interrupted(seed: int, epoch: int, n: int) -> torch.Tensor:
        signal.raise_signal(signal.SIGTERM)
        return permutation(seed, epoch, n)

    with monkeypatch.context() as patch:
        patch.setattr(head, "permutation", interrupted)
        with pytest.raises(InterruptedTraining, match="stopped after epoch 1 of 4; go on with"):
            train_digits("stopped", **options)
    stopped = resume(whole.folder.with_name("stopped"))
    expected, found = read_tensors(whole.weights_path), read_tensors(stopped.weights_path)
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_a_stopped_training_of_the_classifier_goes_on(train_digits, monkeypatch):
    options = {"head_only": "sgd", "epochs": 4, "batch_size": 64, "lr": 0.02}
    whole = train_digits("whole", **options)
    with monkeypatch.context() as patch:
        patch.setattr(head, "permutation", lambda seed, epoch, n: permutation(seed, epoch, n) if epoch < 2 else 1 / 0)
        with pytest.raises(ZeroDivisionError):
            train_digits("stopped", **options)
    stopped = resume(whole.folder.with_name("stopped"))
    expected, found = read_tensors(whole.weights_path), read_tensors(stopped.weights_path)
    assert all(torch.equal(expected[name], found[name]) for name in expected)
