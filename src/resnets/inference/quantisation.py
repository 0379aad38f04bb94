"""From float32 to int8 by NNCF: scales of weights and maps from calibration pictures (arXiv:1712.05877), no training.

What resizes whole pictures is left in float32; see `graph.Resize`.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

from resnets.inference.machine import signal_stack_kept

sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # see engines/openvino.py
logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # nncf has it look for CUDA's compiler
try:
    import nncf
except ImportError as error:
    raise ImportError("int8 needs nncf: pip install 'resnets[export]'") from error

RESIZING = r".*bmm.*"
"""The names of the products of `graph.Resize` in any graph; a network has no batched products of matrices."""


def quantised(model: Any, inputs: list[Any]) -> Any:
    """An OpenVINO or ONNX model in int8.

    Args:
        model: in float32.
        inputs: what the model is fed with, one batch an item.
    """
    nncf.set_log_level(logging.ERROR)
    with signal_stack_kept():
        return nncf.quantize(
            model,
            nncf.Dataset(inputs),
            subset_size=len(inputs),
            ignored_scope=nncf.IgnoredScope(patterns=[RESIZING], validate=False),
        )
