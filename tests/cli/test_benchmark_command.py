"""`resnets benchmark` on small networks."""

from __future__ import annotations

import json
import time

import pytest
import torch

from resnets.cli.main import main
from resnets.inference.benchmark import draw, measure
from resnets.insight.profile import profile
from resnets.types import Preprocessing
from resnets.weights.models import create_model


def test_speeds_of_a_named_network(capsys, tmp_path):
    figure = tmp_path / "speed.svg"
    flags = ["--seconds", "0.05", "--batch-size", "4", "--engine", "eager,openvino", "--precision", "float32"]
    assert main(["benchmark", "resnet8", "--size", "16", "--json", "--figure", str(figure), *flags]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [(speed["engine"], speed["precision"]) for speed in found["speeds"]] == [
        ("eager", "float32"),
        ("openvino", "float32"),
    ]
    work = profile(create_model("resnet8"), (16, 16)).total.multiply_adds
    for speed in found["speeds"]:
        median, late, latest = speed["latency"]
        assert 0 < median <= late <= latest
        assert speed["share"] == pytest.approx(2 * work * speed["throughput"] / found["peak"]["float32"])
    assert figure.read_text().startswith("<?xml")


def test_the_engine_is_what_takes_the_time():
    """A network that sleeps: throughput and latency are known."""

    class Sleeper:
        parallel = 2

        def __call__(self, pixels):
            time.sleep(0.02)
            return torch.zeros(len(pixels), 1)

    speed = measure("sleeper", "float32", Sleeper(), Preprocessing((4, 4), 1, (0.5,), (0.5,)), 0.2, 8)
    assert speed.throughput == pytest.approx(2 * 8 / 0.02, rel=0.5)
    assert 20 <= speed.latency[0] < 40
    assert len(draw([speed, speed], "two").axes) == 2


def test_a_network_that_is_not_there(capsys):
    assert main(["benchmark", "resnet21"]) == 1
    assert "the nearest are 20 and 26" in capsys.readouterr().err


def test_a_precision_that_is_not_there_or_not_here(capsys):
    assert main(["benchmark", "resnet8", "--precision", "flaot32"]) == 1
    assert "a precision is one of float32, bfloat16, int8, not 'flaot32'" in capsys.readouterr().err
    assert main(["benchmark", "resnet8", "--size", "16", "--precision", "int8"]) == 1
    assert "no engine here computes resnet8 in int8" in capsys.readouterr().err


def test_a_device_that_is_not_there(capsys):
    assert main(["benchmark", "resnet8", "--device", "gpu"]) == 1
    assert "nothing can be computed on gpu here; there is cpu" in capsys.readouterr().err
