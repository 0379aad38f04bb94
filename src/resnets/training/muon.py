"""Muon for networks with normalisation: each step turns a convolution by an angle, in an orthogonal direction.

Legend: O output channels; D inputs of each, channels times kernel.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import SGD

OTHERS = 10.0
"""How many times the convolutions' rate all other parameters have; their steps are SGD's."""

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Coefficients of the iteration, and five times: https://kellerjordan.github.io/posts/muon/ (2024)."""

ITERATIONS = 5

LEAST_NORM = 1e-30
"""Of a direction, to divide by: below that of any whose numbers are not all zero."""


class Muon(SGD):
    """Nesterov SGD in which convolutions are turned by orthogonalised momentum.

    Momentum goes through `orthogonalise` and gives the direction alone: with a rate of 0.05 every step turns each
    convolution's weight by about 0.05 radians, and its length stays, which behind batch norm has no effect. One whose
    momentum is zero stays as it is. Weight decay is for the parameters that are no convolutions.

    Args:
        groups: of parameters; those with `orthogonal` true hold convolutions only, the others get SGD.
        lr: the rate, or angle in radians.
        momentum: of all parameters.
        dtype: in which directions are made orthogonal; bfloat16 is as good, and faster where the hardware has it.

    Raises:
        ValueError: for a convolution whose weight is zero, which has no direction to turn to.
    """

    def __init__(
        self, groups: Iterable[dict[str, Any]], lr: float, momentum: float, dtype: torch.dtype = torch.float32
    ) -> None:
        super().__init__(groups, lr, momentum=momentum, nesterov=True)
        self.dtype = dtype
        for group in self.param_groups:
            if group["orthogonal"] and not all(weight.any() for weight in group["params"]):
                raise ValueError(
                    "muon keeps the length of every convolution's weight, so none may begin as zeros; use sgd"
                )

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Turn the convolutions, then step the others."""
        for group in self.param_groups:
            if group["orthogonal"]:
                self._turn([weight for weight in group["params"] if weight.grad is not None], group)
        return super().step(closure)

    def _turn(self, weights: Iterable[Tensor], group: dict[str, Any]) -> None:
        same_shape: dict[torch.Size, list[Tensor]] = defaultdict(list)
        for weight in weights:
            same_shape[weight.shape].append(weight)
        for alike in same_shape.values():
            _, channels, *kernel = alike[0].shape
            # With the channels last, as they lie in memory in training; the order of a matrix's columns is no matter.
            momenta = torch.stack([self._momentum(weight, group).permute(0, 2, 3, 1).flatten(1) for weight in alike])
            directions = orthogonalise(momenta, self.dtype).unflatten(2, (*kernel, channels)).permute(0, 1, 4, 2, 3)
            for weight, direction in zip(alike, directions, strict=True):
                length = weight.norm()
                angle = group["lr"] * length / direction.norm().clamp(min=LEAST_NORM)
                weight.addcmul_(direction, angle, value=-1)
                weight.mul_(length / weight.norm())
                weight.grad = None  # nothing is left to do for SGD

    def _momentum(self, weight: Tensor, group: dict[str, Any]) -> Tensor:
        """Nesterov's momentum, (O, C, kernel, kernel)."""
        state, grad = self.state[weight], weight.grad
        assert grad is not None
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(grad)
        momentum = state["momentum_buffer"].mul_(group["momentum"]).add_(grad)
        return grad.add(momentum, alpha=group["momentum"])


def orthogonalise(matrices: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Matrices (N, O, D) with the same singular vectors and singular values near 1, by Newton-Schulz iterations.

    Singular values come out between about 0.7 and 1.2, except those that are tiny beside the largest; a matrix of
    zeros stays one. The iterations are computed in `dtype`.
    """
    a, b, c = NEWTON_SCHULZ
    wide = matrices.mT if matrices.shape[1] > matrices.shape[2] else matrices
    x = (wide / wide.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)).to(dtype)
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        factor = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        x = torch.baddbmm(x, factor, x, beta=a)  # a x + (b gram + c gram gram) x
    return (x.mT if matrices.shape[1] > matrices.shape[2] else x).to(matrices.dtype)
