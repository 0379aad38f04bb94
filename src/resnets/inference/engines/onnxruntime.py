"""ONNX Runtime, on the CPU: float32, and int8 of calibrated exports."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from resnets.data.reading import available_processors
from resnets.inference.engines import Port, by_batches
from resnets.inference.graph import Answer, Graph, Outputs, graph_of
from resnets.types import Preprocessing

try:
    import onnx
    import onnxruntime
    import onnxscript  # noqa: F401 - torch.onnx writes by it
except ImportError as error:
    raise ImportError(f"ONNX needs {error.name}: pip install 'resnets[export]'") from error

FILE = "model.onnx"
TYPES = {"tensor(uint8)": "uint8", "tensor(float)": "float32"}


class OnnxEngine:
    """A graph as ONNX Runtime computes it. A batch keeps to one core, and several go side by side.

    Args:
        model: the content of a file, or its path.
        outputs: how the network's outputs stand together.
    """

    precisions: ClassVar[tuple[str, ...]] = ("float32",)
    programs: ClassVar[tuple[str, ...]] = ()
    format: ClassVar[str] = "onnx"
    exports: ClassVar[dict[str, torch.dtype]] = dict.fromkeys(("float32", "int8"), torch.float32)

    def __init__(self, model: bytes | Path, outputs: Outputs) -> None:
        self.model = model if isinstance(model, bytes) else str(model)
        self.outputs = outputs
        self.parallel = available_processors()

    @classmethod
    def of(cls, network: nn.Module, preprocessing: Preprocessing, precision: str, device: torch.device) -> OnnxEngine:
        """An engine for a network on the CPU in evaluation mode."""
        only_cpu("onnxruntime", device)
        graph = graph_of(network, preprocessing)
        file = io.BytesIO()
        onnx.save_model(from_graph(graph), file)
        return cls(file.getvalue(), graph.outputs)

    @classmethod
    def read(cls, folder: Path, outputs: Outputs, precision: str) -> OnnxEngine:
        """The engine of an exported network."""
        return cls(folder / FILE, outputs)

    @classmethod
    def write(cls, graph: Graph, folder: Path, precision: str, calibration: list[Tensor]) -> None:
        """Write `model.onnx`."""
        model = from_graph(graph)
        if precision == "int8":
            from resnets.inference.quantisation import quantised

            model = quantised(model, [{"pixels": pixels.numpy()} for pixels in calibration])
        onnx.save_model(model, folder / FILE)

    @cached_property
    def alone(self) -> Any:
        """The session for a single batch at a time, on all cores."""
        return self._session(available_processors())

    @cached_property
    def together(self) -> Any:
        """The session for several batches at a time."""
        return self._session(1)

    def _session(self, threads: int) -> Any:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3  # errors
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # cores that wait could decode
        return onnxruntime.InferenceSession(self.model, options, providers=["CPUExecutionProvider"])

    def ports(self) -> tuple[list[Port], list[Port]]:
        """Inputs and outputs of the graph."""
        return ports_of(self.alone.get_inputs()), ports_of(self.alone.get_outputs())

    def __call__(self, *inputs: Tensor) -> Answer:
        """What the network gives for pixels (N, H, W, C) uint8, or for the inputs of its graph."""
        session = self.alone if len(inputs[0]) == 1 else self.together
        given = session.get_inputs()

        def compute(*batch: Tensor) -> list[Tensor]:
            named = zip(given, batch, strict=True)
            arrays = session.run(None, {one.name: tensor.contiguous().numpy() for one, tensor in named})
            return [torch.from_numpy(array) for array in arrays]

        count = given[0].shape[0] if isinstance(given[0].shape[0], int) else len(inputs[0])
        return self.outputs.together(by_batches(inputs, count, compute))


def ports_of(given: Iterable[Any]) -> list[Port]:
    """ONNX Runtime's descriptions of inputs or outputs as ours."""
    return [
        Port(one.name, TYPES[one.type], tuple(side if isinstance(side, int) else -1 for side in one.shape))
        for one in given
    ]


def from_graph(graph: Graph) -> Any:
    """A graph as an ONNX model, by PyTorch's exporter for exported programs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter about itself
        program = torch.onnx.export(
            graph.program,
            dynamo=True,
            verbose=False,
            input_names=list(graph.inputs),
            output_names=graph.outputs.labels(),
        )
    return program.model_proto  # type: ignore[union-attr]


def only_cpu(name: str, device: torch.device) -> None:
    """Raise ValueError for any other device."""
    if device.type != "cpu":
        raise ValueError(f"the engine {name} computes on the cpu here, not on {device}; use eager or compiled there")


ENGINE = OnnxEngine
