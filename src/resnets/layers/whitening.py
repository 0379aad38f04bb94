"""A first convolution that is computed from the pictures and not learnt: its maps are uncorrelated, of equal variance.

Its filters are the eigenvectors of the windows' covariance, each divided by the square root of its eigenvalue, and each
with the other sign once more, because the activation that follows drops half of it (arXiv:2404.00498, section 3.2).
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

WINDOW = 2
"""The side of the windows, in pixels."""

LEAST_VARIANCE = 5e-4
"""Added to the eigenvalues, lest windows that hardly occur become as large as all others."""


class Whitening(nn.Module):
    """(N, C, H, W) to (N, 8 C, H, W), the last row and column of windows half empty; before `fit`, filters at random.

    The filters (8 C, C, 2, 2) are a buffer, as nothing learns them; the biases are learnt.
    """

    weight: Tensor

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        inputs = in_channels * WINDOW**2
        self.out_channels = 2 * inputs
        directions = nn.init.orthogonal_(torch.empty(inputs, inputs))
        self.register_buffer("weight", _filters(directions, in_channels))
        self.bias = nn.Parameter(torch.zeros(self.out_channels))

    @torch.no_grad()
    def fit(self, batches: Iterable[Tensor]) -> None:
        """Compute the filters from pictures (N, C, H, W) as the network takes them, batch by batch."""
        channels, inputs = self.weight.shape[1], self.weight[0].numel()
        count, total, squares = 0, torch.zeros(inputs).double(), torch.zeros(inputs, inputs).double()
        for image in (image for images in batches for image in images):
            windows = F.unfold(image.double(), WINDOW)  # (inputs, windows of the picture)
            count, total, squares = count + windows.shape[1], total + windows.sum(1), squares + windows @ windows.T
        covariance = (squares - total.outer(total) / count) / (count - 1)
        eigenvalues, eigenvectors = torch.linalg.eigh(covariance)
        directions = eigenvectors.T / (eigenvalues[:, None] + LEAST_VARIANCE).sqrt()
        self.weight.copy_(_filters(directions, channels))

    def forward(self, x: Tensor) -> Tensor:
        """The windows' components along each direction."""
        return F.conv2d(F.pad(x, (0, WINDOW - 1, 0, WINDOW - 1)), self.weight, self.bias)


def _filters(directions: Tensor, channels: int) -> Tensor:
    """A row for each filter, and each with the other sign, as a convolution's weight."""
    return torch.cat([directions, -directions]).view(-1, channels, WINDOW, WINDOW).float()
