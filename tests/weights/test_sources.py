"""Every way to name weights, without a network: caches are filled beforehand, addresses are this process's own."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import timm
import torch
import torchvision

from resnets.types import Preprocessing
from resnets.weights import hub
from resnets.weights.files import write_tensors
from resnets.weights.models import create_model
from resnets.weights.sources import find_weights


@pytest.fixture
def torch_home(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    (tmp_path / "torch" / "hub" / "checkpoints").mkdir(parents=True)
    return tmp_path / "torch" / "hub" / "checkpoints"


@pytest.mark.parametrize(
    "name", ["torchvision", "torchvision:IMAGENET1K_V1", "torchvision:ResNet50_Weights.IMAGENET1K_V2"]
)
def test_torchvision(torch_home, images, name):
    asked = name.partition(":")[2].rpartition(".")[2]
    chosen = torchvision.models.ResNet50_Weights[asked or "IMAGENET1K_V2"]
    network = torchvision.models.resnet50().eval()
    torch.save(network.state_dict(), torch_home / Path(chosen.url).name)
    weights = find_weights(name, "resnet50")
    crop = 224 / (232 if chosen.name == "IMAGENET1K_V2" else 256)
    assert weights.preprocessing == Preprocessing((224, 224), 3, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), crop)
    assert weights.classes is not None
    assert weights.classes[:2] == ("tench", "goldfish")
    ours = create_model("resnet50", weights=name).eval()
    with torch.inference_mode():
        torch.testing.assert_close(ours(images), network(images), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "size", "crop", "interpolation"),
    [
        ("densenet121", 224, 224 / 256, "bilinear"),
        ("efficientnet_b0", 224, 224 / 256, "bicubic"),
        ("efficientnet_b2", 288, 1.0, "bicubic"),
    ],
)
def test_torchvisions_other_families(torch_home, images, name, size, crop, interpolation):
    network = torchvision.models.get_model(name).eval()
    chosen = torchvision.models.get_model_weights(name).DEFAULT
    file = network.state_dict()
    if name == "densenet121":  # as torchvision's own file has them
        file = {re.sub(r"(denselayer\d+\.(?:norm|conv))(\d)", r"\1.\2", key): value for key, value in file.items()}
    path = torch_home / Path(chosen.url).name
    torch.save(file, path)
    ours = create_model(name, weights="torchvision").eval()
    with torch.inference_mode():
        torch.testing.assert_close(ours(images), network(images), rtol=0, atol=1e-5)
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    seen = find_weights("torchvision", name).preprocessing
    assert seen == Preprocessing((size, size), 3, mean, std, crop, interpolation)


def test_what_torchvision_does_not_have():
    with pytest.raises(ValueError, match="torchvision has no preresnet50"):
        find_weights("torchvision", "preresnet50")
    with pytest.raises(ValueError, match="no weights V9 of resnet18; it has IMAGENET1K_V1"):
        find_weights("torchvision:V9", "resnet18")


@pytest.fixture
def on_the_hub(tmp_path, monkeypatch):
    """Put a folder into the cache of the Hub's library as OWNER/NAME, with the network switched off."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)

    def put(folder: Path, name: str) -> str:
        cached = tmp_path / "cache" / f"models--{name.replace('/', '--')}"
        (cached / "refs").mkdir(parents=True)
        (cached / "refs" / "main").write_text("0" * 40)
        shutil.copytree(folder, cached / "snapshots" / ("0" * 40))
        return f"hf:{name}"

    return put


def test_a_repository_of_timms(tmp_path, on_the_hub, images):
    network = timm.create_model("resnet18", num_classes=3).eval()
    timm.models.save_for_hf(
        network,
        tmp_path / "repository",
        model_config={
            "label_names": ["ant", "bee", "cat"],
            "pretrained_cfg": {
                **network.pretrained_cfg,
                "crop_pct": 0.95,
                "interpolation": "bicubic",
                "num_classes": 3,
            },
        },
        safe_serialization=True,
    )
    source = on_the_hub(tmp_path / "repository", "someone/resnet18.pets")
    weights = find_weights(source, "resnet18")
    assert weights.classes == ("ant", "bee", "cat")
    assert weights.preprocessing == Preprocessing(
        (224, 224), 3, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 0.95, "bicubic"
    )
    for name in (source, tmp_path / "repository"):
        ours = create_model("resnet18", weights=name).eval()
        with torch.inference_mode():
            torch.testing.assert_close(ours(images), network(images), rtol=0, atol=1e-5)


def test_a_repository_of_transformers(tmp_path, on_the_hub):
    transformers = pytest.importorskip("transformers")
    config = transformers.ResNetConfig(
        depths=[2, 2, 2, 2], hidden_sizes=[64, 128, 256, 512], layer_type="basic", id2label={0: "ant", 1: "bee"}
    )
    transformers.ResNetForImageClassification(config).save_pretrained(tmp_path / "repository")
    (tmp_path / "repository" / "preprocessor_config.json").write_text(
        json.dumps(
            {
                "crop_pct": 0.875,
                "image_mean": [0.5] * 3,
                "image_std": [0.25] * 3,
                "resample": 3,
                "size": {"shortest_edge": 160},
            }
        )
    )
    weights = find_weights(on_the_hub(tmp_path / "repository", "someone/resnet"), "resnet18")
    assert weights.model == "resnet18"
    assert weights.classes == ("ant", "bee")
    assert weights.preprocessing == Preprocessing((160, 160), 3, (0.5,) * 3, (0.25,) * 3, 0.875, "bicubic")
    assert create_model("resnet18", weights=tmp_path / "repository").fc.out_features == 2


def described(folder: Path, config: object) -> Path:
    """A repository whose config.json says that, with no weights to speak of."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    write_tensors({"a": torch.zeros(1)}, folder / "model.safetensors")
    return folder


@pytest.mark.parametrize("block", ["basic", "bottleneck"])
def test_a_network_of_transformers_as_its_config_declares_it(tmp_path, images, block):
    transformers = pytest.importorskip("transformers")
    widths = [64, 128, 256, 512] if block == "basic" else [256, 512, 1024, 2048]
    config = transformers.ResNetConfig(
        depths=[2, 2, 2, 2], hidden_sizes=widths, layer_type=block, num_labels=3,
        downsample_in_bottleneck=True,
    )  # fmt: skip
    network = transformers.ResNetForImageClassification(config).eval()
    network.save_pretrained(tmp_path / "repository")
    name = "resnet18" if block == "basic" else "resnet26"
    weights = find_weights(tmp_path / "repository", name)
    assert weights.model == name
    ours = create_model(name, weights=tmp_path / "repository").eval()
    assert ours.architecture.stride_at == ("3x3" if block == "basic" else "1x1")
    with torch.inference_mode():
        torch.testing.assert_close(ours(images), network(images).logits, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"downsample_in_first_stage": True}, "downsample_in_first_stage halves"),
        ({"hidden_act": "gelu"}, "hidden_act is gelu after sums and ReLU elsewhere"),
        ({"layer_type": "wide"}, "block must be one of"),
        ({"depths": None}, "describes no network that can be loaded"),
    ],
)
def test_what_no_network_here_does_is_refused_of_transformers(tmp_path, changes, message):
    config = {"model_type": "resnet", "depths": [1, 1], "hidden_sizes": [8, 8], "layer_type": "basic"}
    assert find_weights(described(tmp_path, config), "resnet18").architecture["depths"] == [1, 1]
    with pytest.raises(ValueError, match=rf"config\.json .*{message}"):
        find_weights(described(tmp_path, config | changes), "resnet18")


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("tf_efficientnet_b0", "efficientnet_b0"),
        ("resnetblur50", "resnet50"),
        ("resnetaa50d", "resnet50d"),
        ("densenetblur121d", "densenet121"),
        ("resnetv2_50x1_bit", "preresnet50"),
    ],
)
def test_timms_networks_that_compute_other_things_are_refused(tmp_path, name, ours):
    with pytest.raises(ValueError, match=rf"config\.json .*timm's {name} \w+ .*, which no network here does"):
        find_weights(described(tmp_path, {"architecture": name}), ours)


TIMMS = {"resnet50": "resnet50", "resnetv2_18": "preresnet18", "resnet26": None, "resnet50_gn": None}


def test_only_names_that_mean_the_same_here_are_taken_from_timm(tmp_path):
    named = {name: find_weights(described(tmp_path, {"architecture": name}), "resnet50").model for name in TIMMS}
    assert named == TIMMS


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("{", r"config\.json is not JSON"),
        ([], r"config\.json describes no network that can be loaded"),
        ({"model_type": "resnet"}, r"config\.json describes no network that can be loaded: 'layer_type' is missing"),
        ({"pretrained_cfg": 5}, r"config\.json describes no network"),
        ({"mean": [1.0]}, r"config\.json describes no network .*one mean"),
    ],
)
def test_a_malformed_description_is_named(tmp_path, config, message):
    with pytest.raises(ValueError, match=message):
        find_weights(described(tmp_path, config), "resnet18")


def test_what_a_description_leaves_open_is_as_in_imagenet(tmp_path):
    seen = find_weights(described(tmp_path, {"pretrained_cfg": None, "mean": None, "std": None}), "resnet18")
    assert seen.preprocessing == Preprocessing(
        (224, 224), 3, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 0.875, "bicubic"
    )


@pytest.mark.parametrize("card", ["{", "[]", "{}", '{"format": 1}', '{"format": 99}'])
def test_a_malformed_card_is_named(tmp_path, card):
    (tmp_path / "model.json").write_text(card)
    with pytest.raises(ValueError, match=r"model\.json (is not|has format 99)"):
        find_weights(tmp_path, "resnet18")


def test_an_error_of_the_hub_without_words_is_told_by_its_kind(monkeypatch):
    def fail(*_: object, **__: object) -> None:
        raise TimeoutError

    monkeypatch.setattr("huggingface_hub.snapshot_download", fail)
    monkeypatch.setattr("huggingface_hub.create_repo", fail)
    with pytest.raises(OSError, match="hf:a/b could not be fetched: TimeoutError"):
        hub.download("a/b")
    with pytest.raises(OSError, match="could not be sent to a/b: TimeoutError"):
        hub.upload(Path("folder"), "a/b")


def test_a_repository_that_cannot_be_reached(on_the_hub):
    with pytest.raises(OSError, match="hf:nobody/nothing could not be fetched"):
        find_weights("hf:nobody/nothing", "resnet18")


@pytest.fixture
def served(tmp_path):
    """A folder, and the address under which its files are served."""
    folder = tmp_path / "www"
    folder.mkdir()

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), lambda *a: Quiet(*a, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield folder, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_an_address_with_its_hash(torch_home, served, theirs):
    folder, address = served
    write_tensors(theirs.state_dict(), folder / "net.safetensors")
    digest = hashlib.sha256((folder / "net.safetensors").read_bytes()).hexdigest()
    url = f"{address}/net.safetensors"
    weights = find_weights(f"{url}#sha256={digest}", "resnet18")
    assert weights.origin == url
    assert torch.equal(weights.tensors["conv1.weight"], theirs.state_dict()["conv1.weight"])
    (folder / "net.safetensors").unlink()
    find_weights(f"{url}#sha256={digest}", "resnet18")  # from the cache
    with pytest.raises(ValueError, match="needs its SHA-256"):
        find_weights(url, "resnet18")
    with pytest.raises(OSError, match=r"could not be fetched: .*404"):
        find_weights(f"{url}#sha256={'0' * 64}", "resnet18")


def test_what_arrives_with_another_hash_is_not_kept(torch_home, served):
    folder, address = served
    (folder / "net.pth").write_bytes(b"something else")
    with pytest.raises(ValueError, match="has not the SHA-256 that was given"):
        find_weights(f"{address}/net.pth#sha256={'0' * 64}", "resnet18")
    assert list(torch_home.iterdir()) == []


def test_no_source():
    with pytest.raises(ValueError, match=r"there are no weights 'imagenet'; give torchvision, hf:OWNER/NAME"):
        find_weights("imagenet", "resnet18")


def test_a_folder_that_is_no_run(tmp_path):
    with pytest.raises(ValueError, match=r"neither the model\.json of a run nor the config\.json"):
        find_weights(tmp_path, "resnet18")
