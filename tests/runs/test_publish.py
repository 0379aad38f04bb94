"""Repositories of ours, read by timm and huggingface_hub."""

from __future__ import annotations

import json
from dataclasses import replace

import huggingface_hub
import pytest
import timm
import torch
import yaml

from resnets.cli.main import main
from resnets.networks.catalogue import CATALOGUE, build
from resnets.runs.card import Card
from resnets.runs.publish import publish, timm_name
from resnets.runs.run import Run
from resnets.types import Preprocessing
from resnets.weights.models import create_model

SEEN = Preprocessing((96, 64), 3, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6), 0.9, "bicubic")
METRICS = {"accuracy": 0.9125, "top5": 1.0, "loss": 0.3, "ece": 0.01, "count": 400}
DATA = {"name": "pets", "evaluated_on": "test", "pictures": {"train": 1600, "test": 400}}


def make_run(folder, name: str, channels: int = 3, **changes: object) -> Run:
    declaration = replace(CATALOGUE[name], num_classes=3, in_channels=channels, **changes)
    seen = SEEN if channels == 3 else replace(SEEN, channels=1, mean=(0.5,), std=(0.5,))
    run = Run(folder)
    torch.manual_seed(0)
    run.write_network(build(declaration))
    run.write_card(
        Card(
            name,
            "classification",
            declaration.to_dict(),
            ("ant", "bee", "cät"),
            seen,
            METRICS,
            {},
            DATA,
            {"command": "x"},
        )
    )
    return run


@pytest.mark.parametrize(
    ("name", "channels"),
    [("resnet18", 3), ("resnet18", 1), ("preresnet18", 3), ("resnet50d", 3), ("vgg11", 3), ("densenet121", 1)],
)
def test_timm_gives_the_same_logits(tmp_path, name, channels):
    run = make_run(tmp_path / "run", name, channels)
    publish(run, tmp_path / "repository", "someone/pets", "apache-2.0")
    theirs = timm.create_model(f"local-dir:{tmp_path / 'repository'}", pretrained=True).eval()
    side = 224 if name.startswith("vgg") else 64
    images = torch.randn(1, channels, side, side, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        torch.testing.assert_close(theirs(images), run.network()(images), rtol=0, atol=1e-5)
    seen = timm.data.resolve_model_data_config(theirs)
    assert tuple(seen["input_size"]) == (channels, 96, 64)
    assert (seen["crop_pct"], seen["interpolation"]) == (0.9, "bicubic")
    assert list(theirs.pretrained_cfg["label_names"]) == ["ant", "bee", "cät"]


def test_the_repository_is_a_run_still(tmp_path):
    publish(make_run(tmp_path / "run", "resnet20"), tmp_path / "repository", "someone/pets")
    again = Run(tmp_path / "repository")
    assert again.card().classes == ("ant", "bee", "cät")
    again.network()
    assert create_model("resnet20", weights=tmp_path / "repository").fc.out_features == 3


def test_the_hub_reads_the_readme(tmp_path):
    publish(make_run(tmp_path / "run", "resnet18"), tmp_path / "repository", "someone/pets", "apache-2.0")
    page = huggingface_hub.ModelCard.load(tmp_path / "repository" / "README.md")
    assert page.data.license == "apache-2.0"
    assert page.data.library_name == "timm"
    assert {result.metric_type: result.metric_value for result in page.data.eval_results} == {
        "accuracy": 0.9125,
        "top5": 1.0,
        "ece": 0.01,
        "loss": 0.3,
    }
    text = (tmp_path / "repository" / "README.md").read_text()
    assert "| accuracy | 91.25% |" in text
    assert "`resnet18` for classification: ant, bee, cät; trained on pets (1,600 train, 400 test pictures)." in text
    yaml.safe_load(text.split("---")[1])


def test_whatever_is_said_to_be_timms_is_timms():
    for name, declaration in CATALOGUE.items():
        card = Card(name, "classification", declaration.to_dict(), ("a", "b"), SEEN)
        known = timm_name(card)
        assert known is None or timm.is_model(known), name
        if known is not None:
            changed = replace(declaration, depths=tuple(2 * depth for depth in declaration.depths))
            assert timm_name(replace(card, architecture=changed.to_dict())) is None
    names = {n for n in CATALOGUE if timm_name(Card(n, "", CATALOGUE[n].to_dict(), (), SEEN))}
    assert {"resnet18", "resnet152", "preresnet50", "seresnet50", "vgg16_bn", "wide_resnet50_2", "densenet201"} <= names
    assert not {"resnet20", "plain18", "preresnet200", "wrn28_10", "densenet40_12", "efficientnet_b0"} & names


def test_a_network_whose_tensors_timm_names_otherwise_is_ours(tmp_path, capsys):
    run = make_run(tmp_path / "run", "efficientnet_b0")
    assert main(["publish", str(run.folder), "--to", str(tmp_path / "repository")]) == 0
    assert "timm has no network that reads these tensors" in capsys.readouterr().out
    config = json.loads((tmp_path / "repository" / "config.json").read_text())
    assert (config["library_name"], config["model"]) == ("resnets", "efficientnet_b0")
    assert "import timm" not in (tmp_path / "repository" / "README.md").read_text()
    images = torch.randn(1, 3, 64, 64)
    again = create_model("efficientnet_b0", weights=tmp_path / "repository").eval()
    with torch.inference_mode():
        assert torch.equal(again(images), run.network()(images))


def test_the_command(tmp_path, capsys, monkeypatch):
    run = make_run(tmp_path / "run", "resnet18")
    assert main(["publish", str(run.folder)]) == 1
    assert "say where to" in capsys.readouterr().err
    assert main(["publish", str(run.folder), "--to", str(tmp_path / "new")]) == 0
    assert "local-dir:" in capsys.readouterr().out
    assert main(["publish", str(run.folder), "--to", str(tmp_path / "new")]) == 1
    assert "is not empty" in capsys.readouterr().err
    sent = {}
    monkeypatch.setattr("huggingface_hub.create_repo", lambda name, **_: f"https://huggingface.co/{name}")
    monkeypatch.setattr(
        "huggingface_hub.upload_folder",
        lambda repo_id, repo_type, folder_path: sent.update(
            {(repo_id, repo_type): sorted(file.name for file in folder_path.iterdir())}
        ),
    )
    assert main(["publish", str(run.folder), "someone/pets"]) == 0
    assert "https://huggingface.co/someone/pets" in capsys.readouterr().out
    assert main(["publish", str(run.folder), "someone/page", "--space"]) == 0
    assert sent == {
        ("someone/pets", "model"): ["README.md", "config.json", "model.json", "model.safetensors"],
        ("someone/page", "space"): ["README.md", "app.py", "requirements.txt", "resnets", "run"],
    }


def test_half_the_space(tmp_path):
    run = make_run(tmp_path / "run", "resnet20")
    publish(run, tmp_path / "repository", "someone/pets", half=True)
    small = Run(tmp_path / "repository")
    assert small.weights_path.stat().st_size < 0.6 * run.weights_path.stat().st_size
    images = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(small.network()(images), run.network()(images), rtol=0.01, atol=0.01)


def test_what_half_the_space_cannot_hold_keeps_all_of_it(tmp_path):
    run = make_run(tmp_path / "run", "resnet20")
    network = run.network()
    network.bn1.running_mean.fill_(1e5)
    network.bn1.running_var.fill_(1e10)
    run.write_network(network)
    publish(run, tmp_path / "repository", "someone/pets", half=True)
    images = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    published = Run(tmp_path / "repository").network()
    torch.testing.assert_close(published(images), network.eval()(images), rtol=0.01, atol=0.01)
