"""Every study runs, says something, and goes on where it stopped."""

from __future__ import annotations

import json

import pytest
from PIL import Image
from rich.console import Console

from resnets.cli.main import main
from resnets.data.opening import open_dataset
from resnets.insight.gradients import LayerGradient
from resnets.studies import bottleneck, find_study, list_studies, shortcuts
from resnets.studies.chance import exceeds, surely_larger
from resnets.studies.degradation import sentence
from resnets.studies.gradients import sentences, verdict
from resnets.studies.lesion import counted
from resnets.studies.normalisation import judged, judged_group
from resnets.studies.study import Study
from resnets.studies.variants import Trained, Variant


@pytest.mark.parametrize("name", list_studies())
def test_a_study_from_the_command_line(tmp_path, capsys, monkeypatch, name):
    monkeypatch.setattr("resnets.studies.landscape.POINTS", 5)
    depths = "14" if len(find_study(name).DEPTHS) == 1 else "8,14"
    command = ["study", name, "--data", "digits", "--depths", depths, "--epochs", "1", "--run", str(tmp_path / "run")]
    assert main(command) == 0
    written = json.loads((tmp_path / "run" / f"{name}.json").read_text())
    assert written["sentences"]
    assert written["numbers"]
    page = (tmp_path / "run" / f"{name}.html").read_text()
    assert "<svg" in page
    assert "mathdefault" not in page
    for run in (tmp_path / "run" / "trainings").iterdir():
        (run / "checkpoint.pt").unlink()  # what is finished is not trained again
    capsys.readouterr()
    assert main(command) == 0
    assert "training resnet" not in capsys.readouterr().out
    assert json.loads((tmp_path / "run" / f"{name}.json").read_text()) == written


def test_an_interrupted_study_goes_on(tmp_path):
    command = ["study", "shortcuts", "--depths", "8", "--epochs", "2", "--run", str(tmp_path / "run")]
    assert main([*command]) == 0
    whole = json.loads((tmp_path / "run" / "shortcuts.json").read_text())
    folder = next((tmp_path / "run" / "trainings").glob("resnet8-*"))
    unfinished = json.loads((folder / "model.json").read_text()) | {"metrics": {}}
    (folder / "model.json").write_text(json.dumps(unfinished))
    (folder / "checkpoint.pt").unlink()
    assert main([*command]) == 0
    assert json.loads((tmp_path / "run" / "shortcuts.json").read_text()) == whole


def test_studies_share_their_networks_and_others_are_trained_anew(tmp_path):
    def trainings(study: str, *options: str) -> int:
        assert main(["study", study, *options, "--run", str(tmp_path)]) == 0
        return len(list((tmp_path / "trainings").iterdir()))

    assert trainings("degradation", "--depths", "8,14", "--epochs", "1") == 4
    assert trainings("responses", "--depths", "8,14", "--epochs", "1") == 4
    assert trainings("shortcuts", "--depths", "8", "--epochs", "1") == 4 + 2  # A is what CIFAR's networks have, B and C
    assert trainings("preactivation", "--depths", "8,14", "--epochs", "1") == 6 + 2
    assert trainings("responses", "--depths", "8,14", "--epochs", "2") == 8 + 4


def test_photographs_with_a_validation_split(tmp_path, shared_data):
    options = ["--depths", "8", "--epochs", "1", "--size", "16", "--run", str(tmp_path)]
    assert main(["study", "lesion", "--data", str(shared_data / "ants_bees"), *options]) == 0
    assert "error on 153 held-out pictures" in (tmp_path / "lesion.html").read_text()


def test_a_training_that_diverged_is_not_begun_again(tmp_path, capsys):
    study = Study("digits", (8,), 1, 1, tmp_path, Console())
    for _ in range(2):
        with pytest.raises(FloatingPointError, match="the training has diverged"):
            study.trained("resnet8", lr=1e30, warmup=0.0, norm="none")
    assert capsys.readouterr().out.count("training resnet8") == 1


def test_what_a_study_refuses(tmp_path, capsys):
    folder = str(tmp_path / "run")
    assert main(["study", "alchemy"]) == 1
    assert "there is no study 'alchemy'; there is bottleneck, degradation" in capsys.readouterr().err
    assert main(["study", "degradation", "--depths", "deep"]) == 1
    assert "--depths are whole numbers" in capsys.readouterr().err
    assert main(["study", "degradation", "--depths", "9,20", "--epochs", "1", "--run", folder]) == 1
    assert "plain9" in capsys.readouterr().err
    assert main(["study", "degradation", "--depths", "20,50", "--epochs", "1", "--run", folder]) == 1
    assert "resnet50 is a network for ImageNet, and studies compare those for CIFAR" in capsys.readouterr().err
    assert main(["study", "degradation", "--depths", "20,20"]) == 1
    assert "takes two or more that differ, not 20, 20" in capsys.readouterr().err
    assert main(["study", "lesion", "--depths", "20,56"]) == 1
    assert "the study lesion is of one depth, such as 56, not of 20, 56" in capsys.readouterr().err
    assert main(["study", "lesion", "--seeds", "3"]) == 1
    assert "looks into single networks; leave --seeds out" in capsys.readouterr().err
    for size in ("0", "-3"):
        assert main(["study", "lesion", "--data", "no/such/data", "--size", size]) == 1
        assert f"--size must be at least 1 pixel, not {size}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("gradient", "error", "end"),
    [
        (0.1, 0.36, "degradation has another cause: the paper's authors are right"),
        (2e-3, 0.88, "the gradient is weak, but has not vanished"),
        (1e-15, 0.88, "the gradient has vanished in spite of batch norm"),
        (1e5, 0.88, "the gradient has exploded"),
        (1.0, 0.01, "no degradation shows at this depth"),
        (1.0, 0.021, "no degradation shows at this depth"),  # a picture in a thousand is chance
    ],
)
def test_the_gradients_verdict_follows_from_the_numbers(gradient, error, end):
    course = {("plain", 56): {1: 1.0, 2: gradient}, ("resnet", 56): {2: 0.5}}
    said = verdict(course, {("plain", 20): 0.02, ("plain", 56): error}, 20, 56, 1000)
    assert end in said
    assert f"plain56 gets {gradient:.2g} times" in said


@pytest.mark.parametrize(
    ("plain", "residual", "said"),
    [
        (1e-19, 0.5, "vanishes in the plain network, and shortcuts mend that: the introductions are right"),
        (
            7.5e-4,
            8.7e-2,
            "without shortcuts that is 1.2e+02 times less, and at this depth the gradient has not vanished",
        ),
        (1e-9, 1e-5, "without shortcuts that is 1e+04 times less, and at this depth the gradient has vanished in both"),
        (0.5, 0.4, "makes no such difference here"),
    ],
)
def test_what_is_said_of_gradients_before_training(plain, residual, said):
    def gradients(ratio: float) -> list[LayerGradient]:
        return [LayerGradient("first", ratio, 1.0), LayerGradient("last", 1.0, 1.0)]

    initial = {
        (kind, 14, norm, init): gradients({"plain": plain, "resnet": residual}[kind])
        for kind in ("plain", "resnet")
        for norm, init in (("none", "glorot"), ("batch", "he"))
    }
    assert said in sentences(initial, {}, {}, (14,), 1000)[0]


def test_what_is_said_where_trainings_diverge():
    nothing = Trained(Variant("none, He, rate 0.1", "resnet8"), [])
    assert judged(nothing, nothing) == "Without any normalisation all trainings diverged: here batch norm is required."


def test_an_error_exceeds_another_as_far_as_chance_goes():
    """Against the test of two shares in a statistics library."""
    stats = pytest.importorskip("scipy.stats")
    for wrong, others in ((30, 20), (35, 20), (40, 20), (44, 20)):
        middle = (wrong + others) / 2000
        score = (wrong - others) / 1000 / (2 * middle * (1 - middle) / 1000) ** 0.5
        assert exceeds(wrong / 1000, others / 1000, 1000) == (2 * stats.norm.sf(score) < 0.05)


def test_trainings_are_the_observations():
    """Welch's test of 0.12, 0.15 and 0.13 against 0.10 and 0.12 is of t = 1.76 and 2.6 degrees of freedom: p = 0.19."""
    assert not surely_larger([0.12, 0.15, 0.13], [0.10, 0.12], 100_000)
    assert surely_larger([0.2, 0.21, 0.2], [0.1, 0.11, 0.1], 1000)
    assert not surely_larger([0.1, 0.5], [0.1, 0.1], 50_000)  # one of two trainings failed, which chance explains
    assert surely_larger([0.2, 0.2], [0.1, 0.1], 1000)
    assert not surely_larger(
        [0.002, 0.002], [0.001, 0.001], 1000
    )  # no two differ, and a picture in a thousand is chance


def test_what_seeds_can_tell_of_degradation():
    said = sentence("plain", (8, 20), {8: [0.1, 0.1], 20: [0.1, 0.5]}, "the test error falls", 50_000)
    assert said.startswith("Depth does the plain network no harm in training that 2 seeds could show: 10.00% with 8")
    said = sentence("plain", (8, 20), {8: [0.1], 20: [0.3]}, "the test error falls", 50_000)
    assert said.endswith("30.00% with 20; the test error falls. That is no overfitting.")


@pytest.mark.parametrize(
    ("plain", "options", "said"),
    [
        (0.10, (0.09, 0.11, 0.08), "the worst of them is 1.00 points worse than none: not every shortcut helps here."),
        (0.10, (0.12, 0.11, 0.13), "the worst of them is 3.00 points worse than none: no shortcut helps here."),
        (
            0.10,
            (0.02, 0.03, 0.025),
            "7.00 points better than none: that there is a shortcut matters more than its kind.",
        ),
        (0.10, (0.02, 0.09, 0.05), "1.00 points better than none: its kind matters as much here."),
    ],
)
def test_what_is_said_of_shortcuts(plain, options, said):
    assert said in shortcuts.verdict(plain, options)


def test_what_is_said_of_little():
    assert bottleneck.verdict(-0.001) == "neither gains."
    assert bottleneck.verdict(-1.5) == "bottlenecks lose 1.50 points here."
    assert counted([0.2]) == "The only block of the residual network that can go costs no less than a point."
    assert counted([0.2, 0.001]) == "Of the residual network's 2 blocks that can go, 1 costs less than a point."


def test_group_norm_is_no_way_without_normalisation(monkeypatch):
    monkeypatch.setattr("resnets.studies.variants.judged_error", lambda run: run)
    batch, group, none = (Trained(Variant(label, "resnet8"), [error]) for label, error in
                          (("batch", 0.10), ("group", 0.12), ("none, Fixup", 0.30)))  # fmt: skip
    assert judged(none, batch).endswith("In a training of this length no way without normalisation takes its place.")
    assert judged_group(group, batch) == ("Group norm is 2.00 points behind batch norm.",)
    assert judged_group(Trained(group.variant, []), batch) == ()


@pytest.mark.parametrize("name", [name for name in list_studies() if name not in ("gradients", "lineage")])
def test_errors_are_called_by_the_pictures_that_they_are_of(tmp_path, name, capsys, monkeypatch):
    """Of zeros and ones, some to train on and some to validate by, none to test by."""
    digits = open_dataset("digits").splits["train"]
    chosen = (digits.targets < 2).nonzero().flatten()[::3].tolist()
    for number, index in enumerate(chosen):
        folder = tmp_path / "set" / ("val" if number % 3 == 0 else "train") / str(digits.targets[index].item())
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(digits.picture(index, 1)[0].numpy()).save(folder / f"{index}.png")
    monkeypatch.setattr("resnets.studies.landscape.POINTS", 5)
    depths = "8" if len(find_study(name).DEPTHS) == 1 else "8,14"
    options = ["--depths", depths, "--epochs", "1", "--size", "16", "--run", str(tmp_path)]
    assert main(["study", name, "--data", str(tmp_path / "set"), *options]) == 0
    said = (tmp_path / f"{name}.html").read_text() + (tmp_path / f"{name}.json").read_text() + capsys.readouterr().out
    for untrue in ("test error", "Test error", '"test_error"', "test pictures"):
        assert untrue not in said


def test_curves_are_called_by_the_pictures_that_they_are_of(tmp_path, shared_data):
    options = ["--depths", "8", "--epochs", "1", "--size", "16", "--run", str(tmp_path)]
    assert main(["study", "shortcuts", "--data", str(shared_data / "ants_bees"), *options]) == 0
    page = (tmp_path / "shortcuts.html").read_text()
    assert "8 layers, validation pictures" in page
    assert "8 layers, test pictures" not in page


def test_networks_of_another_study_tell_of_their_end(tmp_path, capsys):
    options = ["--data", "digits", "--depths", "8,14", "--epochs", "2", "--size", "8"]
    assert main(["study", "gradients", *options, "--run", str(tmp_path / "watched")]) == 0
    assert main(["study", "degradation", *options, "--run", str(tmp_path / "shared")]) == 0
    capsys.readouterr()
    assert main(["study", "gradients", *options, "--run", str(tmp_path / "shared")]) == 0
    assert "training plain8" not in capsys.readouterr().out
    watched, shared = (
        json.loads((tmp_path / folder / "gradients.json").read_text())["numbers"]["training"]
        for folder in ("watched", "shared")
    )
    assert list(watched) == ["plain8", "plain14", "resnet8", "resnet14"]
    for model, by_epoch in watched.items():
        assert list(by_epoch) == ["1", "2"]
        assert shared[model] == {"2": pytest.approx(by_epoch["2"], rel=1e-3)}


def test_every_study_says_where_its_claim_is_from(capsys):
    assert main(["study"]) == 0
    listed = capsys.readouterr().out
    for name in list_studies():
        assert name in listed
        assert find_study(name).SOURCE
        assert find_study(name).__doc__.splitlines()[0].endswith("?")
