"""Margins: what makes a network place pictures of a class near each other, and far from those of all others.

Legend: N pictures, D numbers of an embedding, K classes, theta the angle between an embedding and its class's centre.

| margin | cosine of the right class becomes | source |
|---|---|---|
| softmax | cos(theta) | arXiv:1704.06369, section 3.3 |
| cosface | cos(theta) - m | arXiv:1801.09414, equation 4 |
| arcface | cos(theta + m) | arXiv:1801.07698, equation 3 |
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Margin = Literal["", "arcface", "cosface", "softmax"]

EMBEDDING = 512
"""Numbers of an embedding (arXiv:1801.07698, section 3.1)."""


class Centres(nn.Module):
    """A direction for each class: (N, D) embeddings to (N, K) cosines, in float32 whatever surrounds it."""

    def __init__(self, embedding: int, classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(F.normalize(torch.randn(classes, embedding)))

    def forward(self, embeddings: Tensor) -> Tensor:
        """Cosines of the angles between embeddings and centres."""
        with torch.autocast(embeddings.device.type, enabled=False):  # near 1, bfloat16 has steps of 0.004
            return F.linear(F.normalize(embeddings.float()), F.normalize(self.weight))


class MarginNetwork(nn.Module):
    """A network in training, whose embeddings are compared with centres of the classes; they are not kept afterwards.

    Attributes:
        module: the network to train.
        projection: what is between embeddings and centres, and not kept either: nothing, or a linear layer with a
            normalisation, which forgets of an embedding what does not tell these classes apart (arXiv:2002.05709,
            section 4.2).
        centres: of its classes.

    Args:
        network: to train.
        embedding: D.
        classes: K.
        projection: numbers that the projection gives, 0 for none.
    """

    def __init__(self, network: nn.Module, embedding: int, classes: int, projection: int = 0) -> None:
        super().__init__()
        self.module = network
        parts = (nn.Linear(embedding, projection), nn.BatchNorm1d(projection, affine=False)) if projection else ()
        self.projection = nn.Sequential(*parts)
        self.centres = Centres(projection or embedding, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W) to cosines (N, K)."""
        return self.centres(self.projection(self.module(images)))


def with_margin(cosines: Tensor, targets: Tensor, margin: Margin, size: float) -> Tensor:
    """The cosines (N, K), those of the right classes (N,) made smaller by a margin.

    Where theta + m would pass pi, and its cosine rise again, ArcFace's is cos(theta) - m sin(m), as its authors do.

    Args:
        cosines: of embeddings and centres.
        targets: the right column of each row.
        margin: see the table above.
        size: m; an angle in radians for "arcface".
    """
    if margin == "softmax":
        return cosines
    right = cosines.gather(1, targets[:, None])
    if margin == "cosface":
        harder = right - size
    else:
        sine = (1 - right.square()).clamp(min=1e-7).sqrt()  # the root of 0 has no slope
        turned = right * math.cos(size) - sine * math.sin(size)
        harder = torch.where(right > -math.cos(size), turned, right - size * math.sin(size))
    return cosines.scatter(1, targets[:, None], harder)
