"""OpenVINO, on the CPU: float32, bfloat16 where the processor has it, and int8 of calibrated exports."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from resnets.inference.engines import Port, by_batches
from resnets.inference.engines.onnxruntime import only_cpu
from resnets.inference.graph import Answer, Graph, Outputs, graph_of
from resnets.inference.machine import signal_stack_kept
from resnets.types import Preprocessing

# OpenVINO's tools report their use over the network unless this package cannot be found.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
try:
    import openvino
except ImportError as error:
    raise ImportError("the engine openvino needs openvino: pip install 'resnets[export]'") from error

FILE = "model.xml"
TYPES = {"u8": "uint8", "f32": "float32"}
COMPUTED_IN = {"float32": "f32", "bfloat16": "bf16", "int8": "f32"}
"""What is not int8 in a calibrated graph is computed in float32."""


class OpenvinoEngine:
    """A graph as OpenVINO computes it: a single picture by all cores, batches side by side on some cores each.

    Args:
        model: OpenVINO's model, one input.
        outputs: how the network's outputs stand together.
        precision: of the computation.
    """

    precisions: ClassVar[tuple[str, ...]] = ("float32", "bfloat16")
    programs: ClassVar[tuple[str, ...]] = ()
    format: ClassVar[str] = "openvino"
    exports: ClassVar[dict[str, torch.dtype]] = dict.fromkeys(("float32", "bfloat16", "int8"), torch.float32)

    def __init__(self, model: Any, outputs: Outputs, precision: str) -> None:
        self.model = model
        self.outputs = outputs
        self.precision = precision

    @classmethod
    def of(
        cls, network: nn.Module, preprocessing: Preprocessing, precision: str, device: torch.device
    ) -> OpenvinoEngine:
        """An engine for a network on the CPU in evaluation mode."""
        only_cpu("openvino", device)
        graph = graph_of(network, preprocessing)
        return cls(from_graph(graph), graph.outputs, precision)

    @classmethod
    def read(cls, folder: Path, outputs: Outputs, precision: str) -> OpenvinoEngine:
        """The engine of an exported network."""
        return cls(openvino.Core().read_model(folder / FILE), outputs, precision)

    @classmethod
    def write(cls, graph: Graph, folder: Path, precision: str, calibration: list[Tensor]) -> None:
        """Write `model.xml` and `model.bin`, weights in float32 or int8."""
        model = from_graph(graph)
        if precision == "int8":
            from resnets.inference.quantisation import quantised

            model = quantised(model, [pixels.numpy() for pixels in calibration])
        openvino.save_model(model, folder / FILE, compress_to_fp16=False)

    @cached_property
    def alone(self) -> Any:
        """Compiled for the shortest time of a single picture."""
        return self._compiled("LATENCY")

    @cached_property
    def together(self) -> Any:
        """Compiled for the most pictures a second."""
        return self._compiled("THROUGHPUT")

    @property
    def parallel(self) -> int:
        """How many batches are worth handing over at the same time."""
        return int(self.together.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))

    def _compiled(self, aim: str) -> Any:
        options = {"PERFORMANCE_HINT": aim, "INFERENCE_PRECISION_HINT": COMPUTED_IN[self.precision]}
        with signal_stack_kept():
            return openvino.Core().compile_model(self.model, "CPU", options)

    def ports(self) -> tuple[list[Port], list[Port]]:
        """Inputs and outputs of the graph."""
        return ports_of(self.model.inputs), ports_of(self.model.outputs)

    def __call__(self, *inputs: Tensor) -> Answer:
        """What the network gives for pixels (N, H, W, C) uint8, or for the inputs of its graph."""
        compiled = self.alone if len(inputs[0]) == 1 else self.together

        def compute(*batch: Tensor) -> list[Tensor]:
            request = compiled.create_infer_request()  # of its own, so that threads do not wait for each other
            request.infer([tensor.contiguous().numpy() for tensor in batch])
            arrays = [request.get_output_tensor(number).data.copy() for number in range(len(compiled.outputs))]
            return [torch.from_numpy(array) for array in arrays]

        first = self.model.inputs[0].get_partial_shape()[0]
        count = len(inputs[0]) if first.is_dynamic else first.get_length()
        return self.outputs.together(by_batches(inputs, count, compute))


def ports_of(given: Iterable[Any]) -> list[Port]:
    """OpenVINO's descriptions of inputs or outputs as ours."""
    return [
        Port(
            one.any_name,
            TYPES[one.element_type.get_type_name()],
            tuple(-1 if side.is_dynamic else side.get_length() for side in one.partial_shape),
        )
        for one in given
    ]


def from_graph(graph: Graph) -> Any:
    """A graph as OpenVINO's model."""
    shapes = [openvino.PartialShape(list(shape)) for shape in graph.inputs.values()]
    model = openvino.convert_model(graph.program, input=shapes)
    for given, name in zip(model.inputs, graph.inputs, strict=True):
        given.get_tensor().set_names({name})
    for given, name in zip(model.outputs, graph.outputs.labels(), strict=True):
        given.get_tensor().set_names({name})
    return model


ENGINE = OpenvinoEngine
