"""Steps, time and cost of a training, by numbers that are checked by hand."""

from __future__ import annotations

import json

import pytest

from resnets.cli.main import main


def planned(capsys, *arguments: str) -> dict:
    assert main(["plan", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_imagenet_by_the_papers_recipe(capsys):
    """600,000 steps of 256 pictures: 119.9 epochs of 1,281,167 (arXiv:1512.03385, section 3.4)."""
    found = planned(capsys, "imagenet", "--model", "resnet50", "--devices", "8", "--throughput", "1000")
    needed = found["budget"]
    assert needed["steps"] == 600_000
    assert needed["epochs"] == pytest.approx(600_000 * 256 / 1_281_167, rel=1e-4)
    assert needed["throughput"] == pytest.approx(1000 * 8 * 0.9)
    trained, judged = 600_000 * 256, 119 * 50_000 / 3
    assert needed["hours"] * 3600 == pytest.approx((trained + judged) / 7200, rel=2e-3)
    assert needed["device_hours"] == pytest.approx(8 * needed["hours"])
    assert needed["cost"] is None


def test_cost_and_larger_batches(capsys):
    flags = ["--epochs", "90", "--batch-size", "8192", "--scale-lr", "--efficiency", "1", "--cost-per-hour", "2.5"]
    known = ["--throughput", "500", "--device-name", "some card", "--devices", "256"]
    assert main(["plan", "imagenet", "--model", "resnet50", *known, *flags]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "some card" in told
    assert "3.2" in told
    assert "0.1 times 32" in told
    found = planned(capsys, "imagenet", "--model", "resnet50", *known, *flags)["budget"]
    assert found["steps"] == 90 * 157  # of the last of which 3,215 pictures are left
    assert found["hours"] == pytest.approx((90 * 1_281_167 + 90 * 50_000 / 3) / (256 * 500) / 3600, rel=1e-6)
    assert found["cost"] == pytest.approx(found["device_hours"] * 2.5)


def test_the_speed_is_measured_where_none_is_given(capsys):
    flags = ["--measured-batch", "4", "--seconds", "0.1", "--precision", "32-true"]
    found = planned(capsys, "digits", "--model", "resnet8", "--size", "8", *flags)
    assert found["data"]["train"] == 1438
    assert found["throughput"] > 0
    assert found["speed"].startswith("measured on ")
    assert found["budget"]["hours"] > 0


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--device-name", "another"], "cannot be measured here; give it with --throughput"),
        (["--recipe", "auto"], "plan asks for the recipe by its name: detection, fast, finetune"),
        (["--model", "unet_resnet18"], "and unet_resnet18 is none; give its pictures a second with --throughput"),
        (["--model", "yolo_resnet18"], "and yolo_resnet18 is none; give its pictures a second with --throughput"),
        (["--throughput", "0"], "throughput must be above 0"),
        (["--throughput", "9", "--efficiency", "1.5"], "efficiency above 0 and at most 1"),
    ],
)
def test_what_cannot_be_planned_is_refused(capsys, flags, message):
    assert main(["plan", "imagenet", "--model", "resnet50", *flags]) == 1
    assert message in capsys.readouterr().err
