"""One contract for every engine: it computes what PyTorch's module does, for any number of pictures, in any thread."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from resnets.inference.engines import by_batches, engine_class, list_engines, open_engine
from resnets.inference.machine import signal_stack
from resnets.networks.catalogue import architecture, build
from resnets.types import Preprocessing

CPU = torch.device("cpu")
PREPROCESSING = Preprocessing((16, 12), 3, (0.5, 0.4, 0.3), (0.2, 0.25, 0.3))
ERRORS = {"float32": 1e-5, "bfloat16": 0.03}
EVERY = [(name, precision) for name in list_engines() for precision in engine_class(name).precisions]


def lively(network: nn.Module) -> nn.Module:
    """With statistics of batch norm that are not those of a new network."""
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.running_mean, module.running_var, module.weight.data):
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
    return network.eval()


class TwoHeads(nn.Module):
    """Gives maps and numbers by name, as a network for boxes would."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.trunk = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.boxes, self.scores = nn.Conv2d(8, 4, 1), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = self.trunk(x)
        return {"boxes": self.boxes(x), "scores": self.scores(x.mean((2, 3)))}


def reference(network: nn.Module, pixels: Tensor) -> Any:
    """Normalised as the card says it in words, and computed by the module itself."""
    mean, std = torch.tensor(PREPROCESSING.mean), torch.tensor(PREPROCESSING.std)
    with torch.inference_mode():
        return network(((pixels.float() / 255 - mean) / std).permute(0, 3, 1, 2))


def in_a_process_of_its_own(precision: str) -> None:
    """The compiler is not called from this process, in which many libraries with threads of their own have run."""
    test = f"{__file__}::test_an_engine_computes_what_the_module_does[compiled-{precision}]"
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", test]
    done = subprocess.run(command, env=os.environ | {"RESNETS_TEST_ALONE": "1"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def noise(count: int) -> Tensor:
    return torch.randint(256, (count, 16, 12, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(count))


def error(found: Tensor, expected: Tensor) -> float:
    return ((found - expected).norm() / expected.norm()).item()


@pytest.mark.parametrize(("name", "precision"), EVERY)
def test_an_engine_computes_what_the_module_does(name: str, precision: str) -> None:
    if name == "compiled" and "RESNETS_TEST_ALONE" not in os.environ:
        in_a_process_of_its_own(precision)
        return
    network = lively(TwoHeads())
    weights = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    engine = open_engine(name, network, PREPROCESSING, precision, CPU)
    for count in (5, 1, 3, 7):
        found, expected = engine(noise(count)), reference(network, noise(count))
        assert found.keys() == expected.keys()
        for key in expected:
            assert found[key].dtype == torch.float32
            assert found[key].shape == expected[key].shape
            assert error(found[key], expected[key]) < ERRORS[precision]
    batches = [noise(4), noise(5), noise(6)]
    with ThreadPoolExecutor(engine.parallel) as threads:
        for found, batch in zip(threads.map(engine, batches), batches, strict=True):
            assert error(found["scores"], reference(network, batch)["scores"]) < ERRORS[precision]
    assert all(torch.equal(tensor, weights[key]) for key, tensor in network.state_dict().items())


@pytest.mark.parametrize("name", [name for name in list_engines() if name != "compiled"])
@pytest.mark.parametrize("model", ["resnet8", "preresnet11", "seresnet50"])
def test_an_engine_computes_networks_of_the_family(name: str, model: str) -> None:
    if model == "seresnet50" and name != "eager":
        pytest.skip("the fold of batch norm is what differs between families, and all engines share it")
    torch.manual_seed(0)
    network = lively(build(architecture(model)))
    preprocessing = Preprocessing((32, 32), 3, PREPROCESSING.mean, PREPROCESSING.std)
    pixels = torch.randint(256, (3, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    found = open_engine(name, network, preprocessing, "float32", CPU)(pixels)
    assert error(found, reference(network, pixels)) < 1e-4


def test_an_engine_says_what_it_cannot_do() -> None:
    network = lively(TwoHeads())
    with pytest.raises(ValueError, match="no engine 'tensorrt'; there is compiled, eager, onnxruntime, openvino"):
        open_engine("tensorrt", network, PREPROCESSING, "float32", CPU)
    with pytest.raises(ValueError, match="onnxruntime computes in float32, not 'bfloat16'"):
        open_engine("onnxruntime", network, PREPROCESSING, "bfloat16", CPU)
    with pytest.raises(ValueError, match="resnets export RUN --precision int8"):
        open_engine("openvino", network, PREPROCESSING, "int8", CPU)
    with pytest.raises(ValueError, match="on the cpu here, not on cuda"):
        open_engine("openvino", network, PREPROCESSING, "float32", torch.device("cuda"))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems keep their signal stacks")
def test_signals_find_their_stack_after_engines_have_come_and_gone() -> None:
    """OpenVINO's compiled models that end in the order in which they began have left one that was unmapped."""

    def where() -> tuple[Any, ...]:
        stack = signal_stack()
        return stack.pointer, stack.flags, stack.size

    before, engines = where(), []
    for _ in range(2):
        engines.append(open_engine("openvino", lively(TwoHeads()), PREPROCESSING, "float32", CPU))
        engines[-1](noise(2))
        assert where() == before
    while engines:
        del engines[0]
        gc.collect()
    assert where() == before


def test_batches_of_a_fixed_number_are_filled_up_and_cut() -> None:
    seen = []

    def compute(batch: Tensor, other: Tensor) -> list[Tensor]:
        seen.append(len(batch))
        return [batch * 2, other + 1]

    found, others = by_batches([torch.arange(7), torch.arange(7) + 10], 3, compute)
    assert seen == [3, 3, 3]
    assert torch.equal(found, torch.arange(7) * 2)
    assert torch.equal(others, torch.arange(7) + 11)
