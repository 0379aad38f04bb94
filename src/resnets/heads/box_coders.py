"""torchvision's box coders, computing in float32 whatever the network computes in.

Theirs make boxes in the precision of the network's outputs. bfloat16 has whole pixels alone from 128 on, so that
proposals would be rounded to them, and narrow objects, which are matched in the same precision, lose their width and
make the loss infinite.
"""

from __future__ import annotations

from torch import Tensor, nn
from torchvision.models.detection._utils import BoxCoder, BoxLinearCoder


class _BoxCoder(BoxCoder):
    def decode_single(self, rel_codes: Tensor, boxes: Tensor) -> Tensor:
        """Boxes of codes relative to other boxes."""
        return super().decode_single(rel_codes.float(), boxes)


class _BoxLinearCoder(BoxLinearCoder):
    def decode(self, rel_codes: Tensor, boxes: Tensor) -> Tensor:
        """Boxes of distances from the centres of other boxes."""
        return super().decode(rel_codes.float(), boxes)


def decode_in_float32(detector: nn.Module) -> None:
    """Let every part of one of torchvision's detectors make its boxes in float32."""
    for module in detector.modules():
        coder = getattr(module, "box_coder", None)
        if isinstance(coder, BoxLinearCoder):
            module.box_coder = _BoxLinearCoder(coder.normalize_by_size)
        elif isinstance(coder, BoxCoder):
            module.box_coder = _BoxCoder(coder.weights, coder.bbox_xform_clip)
