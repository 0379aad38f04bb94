"""What the weights of a residual network begin as.

| name | convolutions | F(x) is multiplied by |
|---|---|---|
| he | normal, variance 2 / fan-out (arXiv:1502.01852, equation 14) | |
| glorot | normal, variance 2 / (fan-in + fan-out) (Glorot and Bengio 2010, equation 12) | |
| fixup | as he; in F(x) times L^(-1 / (2m - 2)), its last and the classifier 0 (arXiv:1901.09321, sec. 3) | 1 |
| skipinit | as he (arXiv:2002.10444, section 3) | 0 |

L is the number of blocks, m that of a block's convolutions. The factors of the last two are learnt. Without a
normalisation each convolution has a bias by channel in its place, where Fixup has one number before each layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import nn

Init = Literal["he", "glorot", "fixup", "skipinit"]

SCALES: dict[str, float] = {"fixup": 1.0, "skipinit": 0.0}
"""What the factor of F(x) begins at, of those that have one."""


def draw_weights(
    network: nn.Module, init: Init, branches: Sequence[Sequence[nn.Conv2d]], classifier: nn.Module
) -> None:
    """Give all convolutions without a bias new weights, and with "fixup" the classifier too.

    Args:
        network: which has them.
        init: a name of the table above.
        branches: the convolutions of each block's F(x), in order.
        classifier: the layer that gives the logits.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.bias is None:
            if init == "glorot":
                nn.init.xavier_normal_(module.weight)
            else:
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    if init != "fixup":
        return
    for convolutions in branches:
        for convolution in convolutions:
            convolution.weight.data *= len(branches) ** (-1 / (2 * len(convolutions) - 2))
        nn.init.zeros_(convolutions[-1].weight)
    for parameter in classifier.parameters():
        nn.init.zeros_(parameter)
