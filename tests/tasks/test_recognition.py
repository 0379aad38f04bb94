"""Recognition against scikit-learn, closed forms and counting by hand, and from folders of pictures to embeddings."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from sklearn.metrics import roc_auc_score
from torch.nn import functional as F

from resnets.cli.main import main
from resnets.data.opening import open_dataset
from resnets.inference.evaluation import evaluate
from resnets.inference.predictor import load
from resnets.runs.publish import publish
from resnets.runs.run import Run
from resnets.tasks import create_task
from resnets.tasks.recognition import (
    FARS,
    Recognition,
    best_threshold,
    nearest_others,
    operating_point,
    pairs_of,
    verification_accuracy,
)
from resnets.training.train import resume, train
from resnets.types import Batch

QUIET = Console(quiet=True)


@pytest.fixture(scope="module")
def embeddings() -> tuple[torch.Tensor, torch.Tensor]:
    """Twelve pictures of each of nine classes, which overlap, out of order."""
    generator = torch.Generator().manual_seed(0)
    targets = torch.arange(108) % 9
    centres = torch.randn(9, 16, generator=generator)
    return centres[targets] + 1.3 * torch.randn(108, 16, generator=generator), targets


def test_metrics_are_those_of_scikit_learn_and_of_counting(embeddings):
    outputs, targets = embeddings
    evaluation = Recognition([str(k) for k in range(9)], {"trained_on": [0, 1]}).evaluation(
        "test", outputs, targets, [f"{number}" for number in range(108)]
    )
    unit = F.normalize(outputs)
    similarity, same = [], []
    for i in range(108):
        for j in range(i + 1, 108):
            similarity.append(float(unit[i] @ unit[j]))
            same.append(bool(targets[i] == targets[j]))
    scores, alike = np.array(similarity), np.array(same)
    metrics = evaluation.metrics
    assert metrics["auc"] == pytest.approx(roc_auc_score(alike, scores), abs=1e-6)
    for name, far in FARS.items():
        falling = np.sort(scores[~alike])[::-1]
        allowed = int(far * len(falling) + 1e-9)
        expected = (scores[alike] > falling[allowed]).mean()  # all above the first that must not be accepted
        assert metrics[f"tar_at_far_{name}"] == pytest.approx(expected, abs=1e-6)
    matrix = unit @ unit.T - 2 * torch.eye(108)
    assert metrics["rank1"] == pytest.approx((targets[matrix.argmax(1)] == targets).float().mean().item())
    assert metrics["count"] == 108
    for number, row in enumerate(evaluation.per_class().values()):
        own = targets == number
        inside, outside = (unit[own] @ unit[own].T), unit[own] @ unit[~own].T
        assert row["least_alike"] == pytest.approx(inside.min().item(), abs=1e-6)
        assert row["most_alike"] == pytest.approx(outside.max().item(), abs=1e-6)
    assert [len(row) for row in evaluation.details()[1]] == [5] * 9
    json.dumps(evaluation.to_dict())


def test_the_curve_of_normal_similarities_is_the_closed_form():
    generator, normal = np.random.default_rng(0), NormalDist()
    similarity = np.concatenate((generator.normal(2.0, 1, 200_000), generator.normal(0.0, 1, 200_000)))
    same = np.arange(400_000) < 200_000
    for far in (0.1, 0.01, 0.001):
        point = operating_point(similarity / 10, same, far)
        assert point.tar == pytest.approx(1 - normal.cdf(normal.inv_cdf(1 - far) - 2), abs=0.01)
        assert point.false_accepts <= far * 200_000
    assert best_threshold(similarity, same) == pytest.approx(1.0, abs=0.1)
    assert verification_accuracy(similarity, same) == pytest.approx(normal.cdf(1), abs=0.003)
    assert verification_accuracy(np.repeat([0.9, 0.1], 50), np.repeat([True, False], 50)) == 1.0


def test_a_rate_too_small_for_the_pairs_accepts_none_of_them():
    similarity, same = np.array([0.9, 0.8, 0.7, 0.6]), np.array([True, False, True, False])
    point = operating_point(similarity, same, 0.01)
    assert (point.tar, point.false_accepts, point.different) == (0.5, 0, 2)
    for similarity in (np.array([0.7, 0.9]), np.array([1.0, 1.0])):
        point = operating_point(similarity, np.array([True, False]), 0.01)
        assert point.tar == 0.0
        assert not (torch.tensor(similarity).float() >= point.threshold).any()


def test_pairs_of_a_large_set_are_drawn_alike_every_time(monkeypatch):
    monkeypatch.setattr("resnets.tasks.recognition.MOST_PAIRS", 4_000)
    generator = torch.Generator().manual_seed(0)
    targets = torch.tensor([0] * 60 + [1] * 30 + [2] * 9 + [3]).flip(0)
    units = F.normalize(torch.randn(100, 8, generator=generator))
    pairs = pairs_of(units, targets)
    assert (pairs.first != pairs.second).all()
    assert torch.equal(pairs.same, targets[pairs.first] == targets[pairs.second])
    torch.testing.assert_close(pairs.similarity, (units[pairs.first] * units[pairs.second]).sum(1))
    assert 1_900 < int(pairs.same.sum()) <= 2_000
    assert torch.equal(pairs.first, pairs_of(units, targets).first)
    of_largest = pairs.first[pairs.same & (targets[pairs.first] == 0)]
    assert len(of_largest) == pytest.approx(0.6 * 2_000, rel=0.1)
    reached = pairs.second[pairs.same & (targets[pairs.first] == 1)].unique()
    assert len(reached) == 30  # every other picture of a class can be a partner


def test_the_nearest_is_never_the_picture_itself(embeddings):
    outputs, _ = embeddings
    nearest = nearest_others(F.normalize(outputs))
    assert (nearest != torch.arange(108)).all()


def test_what_cannot_be_judged_is_an_error(embeddings):
    outputs, targets = embeddings
    task = Recognition(["a", "b"], {"trained_on": [0, 1]})
    for chosen in (targets == 0, torch.arange(108) < 9):
        with pytest.raises(ValueError, match="two of each or more"):
            task.evaluation("test", outputs[chosen], targets[chosen], ["x"] * int(chosen.sum()))
    with pytest.raises(ValueError, match="two classes or more"):
        Recognition.settings_of(torch.zeros(5, dtype=torch.int64))


@pytest.mark.parametrize(("margin", "size"), [("arcface", 0.5), ("cosface", 0.35), ("softmax", 0.0), ("", 0.5)])
def test_the_loss_is_cross_entropy_of_scaled_cosines_with_a_margin(margin, size):
    generator = torch.Generator().manual_seed(0)
    cosines = torch.rand(50, 3, generator=generator, dtype=torch.float64) - 0.5
    classes = torch.tensor([2, 5, 7])  # trained on, of those that there are
    columns = torch.randint(3, (50,), generator=generator)
    batch = Batch(torch.empty(50), classes[columns], torch.arange(50))
    task = create_task("recognition", tuple("abcdefgh"), {"trained_on": classes.tolist()}, margin=margin, logit_scale=8)
    logits = cosines.clone()
    for row, column in enumerate(columns.tolist()):
        cosine = cosines[row, column]
        turned = torch.cos(torch.acos(cosine) + size)
        logits[row, column] = turned if margin in ("arcface", "") else cosine - size
    expected = F.cross_entropy(8 * logits, columns)
    assert task.loss(cosines.float(), batch).item() == pytest.approx(expected.item(), rel=1e-4)
    assert task.scored(cosines, batch) == (cosines.argmax(1) == columns).sum()


def blobs(folder: Path, people: int = 10, pictures: int = 8) -> Path:
    """Noisy pictures of blocks, a pattern for each folder."""
    for person in range(people):
        generator = np.random.default_rng(person)
        pattern = np.kron(generator.integers(0, 2, (4, 4)), np.ones((6, 6))) * 150 + 50
        (folder / f"p{person}").mkdir(parents=True)
        for number in range(pictures):
            pixels = np.roll(pattern, generator.integers(-1, 2, 2), (0, 1)) + generator.normal(0, 15, (24, 24))
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"p{person}" / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def recogniser(tmp_path_factory) -> tuple[Run, Path]:
    folder = tmp_path_factory.mktemp("recognition")
    data = blobs(folder / "blobs")
    options = {"model": "resnet8", "epochs": 6, "precision": "32-true", "console": QUIET, "embedding": 32}
    return train(data, run=folder / "run", task="recognition", flip=False, batch_size=16, **options), data


def test_from_folders_to_embeddings(recogniser, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    run, data = recogniser
    card = run.card()
    assert card.task == "recognition"
    assert card.architecture["num_classes"] == 32
    assert card.preprocessing.size == (24, 24)
    test = open_dataset(data, task="recognition").splits["test"]
    assert not set(test.targets.tolist()) & set(card.settings["trained_on"])
    assert card.metrics["auc"] > 0.9
    again = evaluate(run.folder)
    assert again.metrics == pytest.approx(dict(card.metrics), abs=1e-4)
    assert {"train_loss", "train_rank1", "test_rank1", "test_auc"} <= run.history()[-1].keys()
    predictor = load(run.folder)
    one, other, stranger = (predictor(data / name).embedding for name in ("p0/0.png", "p0/1.png", "p1/0.png"))
    assert np.linalg.norm(one) == pytest.approx(1, abs=1e-5)
    assert np.dot(one, other) > np.dot(one, stranger)
    page = run.report_path.read_text()
    assert all(text in page for text in ("ROC curve", "The hardest pairs", "TAR at FAR 1e-2"))
    assert main(["evaluate", str(run.folder)]) == 0
    assert "TAR at FAR 1e-4" in capsys.readouterr().out
    assert main(["predict", str(run.folder), str(data / "p0")]) == 1
    assert "resnets identify" in capsys.readouterr().err
    assert main(["predict", str(run.folder), str(data / "p0" / "0.png"), "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["embedding"]) == 32


@pytest.mark.parametrize(("model", "length"), [("resnet8", 64), ("iresnet18", 16 * 49)])
def test_few_classes_are_learnt_through_a_projection_that_is_not_kept(recogniser, tmp_path, model, length):
    _, data = recogniser
    shape = {"depths": (1, 1), "widths": (8, 16)} if model == "iresnet18" else {}
    options = {"task": "recognition", "flip": False, "batch_size": 16, "epochs": 2, "console": QUIET}
    run = train(data, run=tmp_path / "run", model=model, **options, **shape)
    card = run.card()
    assert (card.recipe["projection"], card.architecture["num_classes"]) == (128, 0)
    assert "8 classes" in card.recipe["reasons"]["projection"]
    assert len(load(run.folder)(data / "p0" / "0.png").embedding) == length
    assert not any("projection" in name or "centres" in name for name in run.network().state_dict())
    assert evaluate(run.folder).metrics == pytest.approx(dict(card.metrics), abs=1e-3)


def test_mirrored_embeddings_are_means_of_two(recogniser):
    run, data = recogniser
    picture = Image.open(data / "p0" / "0.png")
    once, twice = load(run.folder), load(run.folder, views="mirrored")
    both = np.array([once(picture).embedding, once(picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)).embedding])
    mean = both.mean(0)
    np.testing.assert_allclose(twice(picture).embedding, mean / np.linalg.norm(mean), atol=1e-5)
    np.testing.assert_allclose(
        twice(picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)).embedding, twice(picture).embedding, atol=1e-5
    )
    evaluation = evaluate(run.folder, views="mirrored")
    assert evaluation.metrics["auc"] > 0.9
    torch.testing.assert_close(evaluation.embeddings.norm(dim=1), torch.ones(len(evaluation.targets)))


def test_other_classes_are_judged_whole(recogniser, tmp_path):
    run, _ = recogniser
    evaluation = evaluate(run.folder, blobs(tmp_path / "others", people=3))
    assert (evaluation.split, evaluation.metrics["count"]) == ("all", 24)
    for name, count in (("more", 12), ("fewer", 2)):
        folder = blobs(tmp_path / name, people=count)
        for person in folder.iterdir():
            person.rename(folder / f"{name}-{person.name}")
        for views in ("single", "mirrored"):
            evaluation = evaluate(run.folder, folder, views=views)
            assert evaluation.classes == tuple(sorted(person.name for person in folder.iterdir()))
            assert set(evaluation.per_class()) == set(evaluation.classes)
            assert len(evaluation.details()[1]) == count


def test_a_split_that_cannot_be_judged_is_refused_before_the_training(tmp_path):
    blobs(tmp_path / "few", people=3)
    people = blobs(tmp_path / "people", people=6)
    for split, members in (("train", ("p0", "p1", "p2", "p3")), ("test", ("p4", "p5"))):
        for person in members:
            (tmp_path / "lone" / split).mkdir(parents=True, exist_ok=True)
            (people / person).rename(tmp_path / "lone" / split / person)
    for person in (tmp_path / "lone" / "test").iterdir():
        for picture in sorted(person.iterdir())[1:]:
            picture.unlink()
    options = {"task": "recognition", "model": "resnet8", "epochs": 1, "console": QUIET}
    for data in ("few", "lone"):
        with pytest.raises(ValueError, match=r"the split 'test' has .* pairs"):
            train(tmp_path / data, run=tmp_path / "run", **options)
        assert not (tmp_path / "run").exists()


def test_a_published_run_names_nobody(recogniser, tmp_path):
    run, data = recogniser
    publish(run, tmp_path / "published", "me/blobs")
    texts = [(tmp_path / "published" / name).read_text() for name in ("model.json", "config.json", "README.md")]
    assert not any('"p1"' in text or "p1," in text for text in texts)
    assert json.loads(texts[1])["num_classes"] == 32
    assert len(load(tmp_path / "published")(data / "p0" / "0.png").embedding) == 32


def test_a_stopped_training_goes_on_to_the_same_centres(recogniser, tmp_path):
    run, data = recogniser
    options = {"model": "resnet8", "precision": "32-true", "console": QUIET, "embedding": 32}
    options |= {"task": "recognition", "flip": False, "batch_size": 16, "epochs": 6}

    class StoppedError(Exception):
        pass

    def stop(job):
        if len(job.state.history) == 3:
            raise StoppedError

    with pytest.raises(StoppedError):
        train(data, run=tmp_path / "stopped", watch=stop, **options)
    resumed = resume(tmp_path / "stopped", console=QUIET)
    tensors = run.network().state_dict()
    assert all(torch.equal(value, tensors[name]) for name, value in resumed.network().state_dict().items())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mixup": 0.2}, "has no use for mixup"),
        ({"head_first": True}, "has no use for head_first"),
        ({"label_smoothing": 0.1}, "no use for label_smoothing"),
        ({"balance": "loss", "per_class": 0}, "no use for class_weights"),
        ({"margin": "softmax", "margin_size": 0.2}, "softmax has no margin_size"),
        ({"projection": 16, "embedding": 16}, "with a projection"),
        ({"per_class": 3}, "multiple of it"),
        ({"batch_size": 64}, "there are 8 classes to train on"),
        ({"task": "classification", "margin": "arcface", "per_class": 0}, "classification has no use for margin"),
        ({"task": "classification", "embedding": 64}, "classification has no use for embedding"),
    ],
)
def test_options_that_mean_nothing_are_refused(recogniser, tmp_path, changes, message):
    _, data = recogniser
    options = {"task": "recognition", "model": "resnet8", "epochs": 1, "console": QUIET, "run": tmp_path / "run"}
    with pytest.raises(ValueError, match=message):
        train(data, **options | changes)
