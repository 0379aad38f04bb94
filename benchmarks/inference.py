"""From picture files to labels on disk: this project beside the loops of torchvision's and timm's documentation.

resnet50 with random weights, 1,000 JPEG files of 500 x 375 that are made here unless a folder is given. The contenders
take turns, each in a process of its own:

    torchvision    Pillow, the transforms of its weights, float32, a DataLoader with two workers
    timm           its transforms and loader, channels-last, float32
    network        OpenVINO's network alone, int8, on pixels in memory: nothing can be faster with that engine
    ours           `Predictor.predict` by engine and precision, each answer a line of JSON on disk

    python benchmarks/inference.py --json inference.json
    python benchmarks/inference.py --images photos/

int8 is calibrated with the pictures of the benchmark. What a single picture takes is measured with OpenVINO in bfloat16
where the machine computes in it, from the bytes of the file to the answer, and beside it the network alone.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import timm
import torch
import torchvision
from common import in_own_process, parser, report, take_turns
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from resnets.cli.predict import below, write_lines
from resnets.data.decoding import decode, open_picture
from resnets.data.order import uniform
from resnets.data.views import view
from resnets.inference.choice import choose_precision, throughput
from resnets.inference.engines.openvino import OpenvinoEngine
from resnets.inference.graph import graph_of
from resnets.inference.machine import keep_freed_memory
from resnets.inference.predictor import load
from resnets.inference.samples import CALIBRATION_PICTURES
from resnets.runs.card import Card
from resnets.runs.run import Run
from resnets.types import Preprocessing
from resnets.weights.models import create_model

CPU = torch.device("cpu")
IMAGENET = Preprocessing((224, 224), 3, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), crop=0.875)
BATCH = 16


class Pictures(TorchDataset[tuple[Tensor, int]]):
    """Files as a loader's data set, opened and transformed as the documentation does it."""

    def __init__(self, folder: str, transform: Callable[[Image.Image], Tensor]) -> None:
        self.files = list(below(Path(folder)))
        self.transform = transform

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        with Image.open(self.files[index]) as image:
            return self.transform(image.convert("RGB")), index


def through_loader(network: Any, pictures: Pictures, to: Path, workers: int) -> float:
    """Pictures a second of the usual loop: a loader, the network, the first class and its share written as JSON."""
    began = time.perf_counter()
    with to.open("w", encoding="utf-8") as file, torch.inference_mode():
        for images, indices in DataLoader(pictures, BATCH, num_workers=workers):
            shares, numbers = network(images).softmax(1).max(1)
            for index, share, number in zip(indices.tolist(), shares.tolist(), numbers.tolist(), strict=True):
                line = {"name": str(pictures.files[index]), "classes": [number], "probabilities": [share]}
                file.write(json.dumps(line) + "\n")
    return len(pictures) / (time.perf_counter() - began)


def torchvision_loop(folder: str, to: str, workers: int) -> Callable[[], float]:
    network = torchvision.models.resnet50(num_classes=1000).eval()
    transform = torchvision.models.ResNet50_Weights.IMAGENET1K_V1.transforms()
    return lambda: through_loader(network, Pictures(folder, transform), Path(to), workers)


def timm_loop(folder: str, to: str, workers: int) -> Callable[[], float]:
    network = timm.create_model("resnet50").eval().to(memory_format=torch.channels_last)
    config = timm.data.resolve_data_config({}, model=network)
    transform = timm.data.create_transform(**config, is_training=False)

    def channels_last(images: Tensor) -> Tensor:
        return network(images.contiguous(memory_format=torch.channels_last))

    return lambda: through_loader(channels_last, Pictures(folder, transform), Path(to), workers)


def network_alone(export: str, seconds: float) -> Callable[[], float]:
    engine = load(export).engine
    return lambda: throughput(engine, IMAGENET, BATCH, seconds)


def our_predictor(run: str, folder: str, to: str, engine: str | None, precision: str | None) -> Callable[[], float]:
    keep_freed_memory()
    predictor = load(run, "cpu", engine=engine, precision=precision)
    count = sum(1 for _ in below(Path(folder)))

    def measure() -> float:
        began = time.perf_counter()
        with Path(to).open("w", encoding="utf-8") as file:
            write_lines(predictor.predict(below(Path(folder)), top=1, batch_size=BATCH), file)
        return count / (time.perf_counter() - began)

    return measure


def single(run: str, folder: str, engine: str | None, precision: str | None) -> Callable[[], float]:
    """How many times as long as the network alone a single picture takes, from its bytes to its answer."""
    keep_freed_memory()
    predictor = load(run, "cpu", engine=engine, precision=precision)
    files = [path.read_bytes() for path in list(below(Path(folder)))[:50]]
    pixels = torch.zeros(1, 224, 224, 3, dtype=torch.uint8)

    def measure() -> float:
        whole, alone = [], []
        for file in files:
            for times, work in ((whole, lambda file=file: predictor(file)), (alone, lambda: predictor.outputs(pixels))):
                began = time.perf_counter()
                work()
                times.append(time.perf_counter() - began)
        return min(whole) / min(alone)

    return measure


def make_pictures(folder: Path, count: int) -> None:
    """JPEG files of 500 x 375 with the detail of photographs: clouds of colour at five scales, quality 90."""
    folder.mkdir()
    for number in range(count):
        values = torch.zeros(375, 500, 3)
        for level in range(5):
            height, width = 3 * 2 ** (level + 1), 4 * 2 ** (level + 1)
            drawn = uniform(0, level, torch.tensor([number]), "clouds", 3 * height * width).view(1, 3, height, width)
            layer = torch.nn.functional.interpolate(drawn, (375, 500), mode="bilinear")[0].permute(1, 2, 0)
            values += layer / 2**level
        pixels = (values / values.max() * 255).to(torch.uint8).numpy()
        Image.fromarray(pixels).save(folder / f"{number:05}.jpg", quality=90)


def write_runs(folder: Path, pictures: Path) -> tuple[Path, Path]:
    """A run of resnet50 with random weights, and its export to OpenVINO in int8."""
    torch.manual_seed(0)
    network = create_model("resnet50").eval()
    classes = tuple(f"class {number}" for number in range(1000))
    run = Run(folder / "run")
    run.write_network(network)
    card = Card("resnet50", "classification", network.architecture.to_dict(), classes, IMAGENET)
    run.write_card(card)
    export = Run(folder / "int8")
    graph = graph_of(network, IMAGENET)
    calibration = [
        view(decode(open_picture(path.read_bytes()), 3), IMAGENET).permute(1, 2, 0)[None]
        for path in islice(below(pictures), CALIBRATION_PICTURES)
    ]
    facts = {"format": "openvino", "precision": "int8", "outputs": {"count": 0, "names": []}, "source": str(run.folder)}
    export.write_card(replace(card, export=facts))
    OpenvinoEngine.write(graph, export.folder, "int8", calibration)
    return run.folder, export.folder


def main() -> None:
    """Measure, print the table, write the JSON."""
    flags = parser(__doc__)
    flags.add_argument("--images", type=Path, help="a folder of pictures; by default 1,000 JPEG files are made")
    flags.add_argument("--workers", type=int, default=2, help="of the loaders of the others' loops")
    asked = flags.parse_args()
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        pictures = asked.images or folder / "pictures"
        if asked.images is None:
            make_pictures(pictures, 32 if asked.quick else 1000)
        run, int8 = map(str, write_runs(folder, pictures))
        images, lines = str(pictures), str(folder / "answers.jsonl")
        bf16 = choose_precision(CPU) == "bfloat16"
        contenders = {
            "torchvision's loop, float32": in_own_process(torchvision_loop, images, lines, asked.workers),
            "timm's loop, float32": in_own_process(timm_loop, images, lines, asked.workers),
            "OpenVINO's network alone, int8": in_own_process(network_alone, int8, 2.0 if asked.quick else 10.0),
            "ours, eager, float32": in_own_process(our_predictor, run, images, lines, "eager", "float32"),
            "ours, ONNX Runtime, float32": in_own_process(our_predictor, run, images, lines, "onnxruntime", "float32"),
            "ours, OpenVINO, float32": in_own_process(our_predictor, run, images, lines, "openvino", "float32"),
            "ours, OpenVINO, int8": in_own_process(our_predictor, int8, images, lines, None, None),
        }
        if bf16:
            contenders["ours, eager, bfloat16"] = in_own_process(our_predictor, run, images, lines, "eager", "bfloat16")
            contenders["ours, OpenVINO, bfloat16"] = in_own_process(
                our_predictor, run, images, lines, "openvino", "bfloat16"
            )
        latency = in_own_process(single, run, images, "openvino", "bfloat16" if bf16 else "float32")
        rounds = 1 if asked.quick else 3
        speeds = take_turns(contenders, rounds)
        longer = [latency() for _ in range(rounds)]
    report("resnet50, files to labels on disk", "pictures/s", speeds, "torchvision's loop, float32", asked.json)

    def ratio(ours: str, theirs: str) -> float:
        return median(a / b for a, b in zip(speeds[ours], speeds[theirs], strict=True))

    ratios = {
        "int8_vs_torchvision_loop": ratio("ours, OpenVINO, int8", "torchvision's loop, float32"),
        "int8_vs_int8_network": ratio("ours, OpenVINO, int8", "OpenVINO's network alone, int8"),
        "single_picture_vs_network": median(longer),
    }
    if bf16:
        ratios["bf16_vs_torchvision_loop"] = ratio("ours, OpenVINO, bfloat16", "torchvision's loop, float32")
    for name, value in ratios.items():
        print(f"{name}: {value:.2f}")
    if asked.json is not None:
        content = json.loads(asked.json.read_text(encoding="utf-8"))
        content["ratios"] |= ratios
        asked.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
