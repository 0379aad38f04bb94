"""Batch norm over the pictures of all processes, on any device.

PyTorch's `SyncBatchNorm` is for GPUs alone; this one is for all that have none. Legend: n numbers of a channel in this
process, N in all of them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm


def synchronise(network: nn.Module, on_gpu: bool) -> None:
    """Let batch norm, where it trains, normalise by the pictures of all processes.

    Raises:
        ValueError: if the network has no batch norm, or one that does more than that.
    """
    norms = {name: module for name, module in network.named_modules() if isinstance(module, _BatchNorm)}
    if others := sorted(
        {type(module).__name__ for module in norms.values()} - {kind.__name__ for kind in SYNCHRONISED}
    ):
        raise ValueError(f"sync_bn cannot synchronise {', '.join(others)} of this network; leave it out")
    if not norms:
        raise ValueError("sync_bn has nothing to synchronise in a network without batch norm; leave it out")
    for name, module in norms.items():
        if on_gpu:
            network.set_submodule(name, nn.SyncBatchNorm.convert_sync_batchnorm(module))
        else:
            module.__class__ = SYNCHRONISED[type(module)]  # the same parameters and statistics


class _Normalise(torch.autograd.Function):
    """(x - mean) / std over all processes, and the mean, the biased variance and N."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """`x` is (n, C) in float32 or more."""
        # Of each process's own mean, so that no large numbers are subtracted; the parts are then joined.
        var, mean = torch.var_mean(x, 0, correction=0)
        own = torch.cat((mean.new_tensor([len(x)], dtype=torch.float64), mean.double(), var.double()))
        parts = [torch.empty_like(own) for _ in range(distributed.get_world_size())]
        distributed.all_gather(parts, own)
        counts, means, variances = torch.stack(parts).split((1, len(mean), len(mean)), 1)  # (P, 1), (P, C), (P, C)
        total = counts.sum()
        joined = (counts * means).sum(0) / total
        spread = (counts * (variances + (means - joined).square())).sum(0) / total
        inverse = (spread + eps).rsqrt().to(x.dtype)
        normalised = (x - joined.to(x.dtype)) * inverse
        ctx.save_for_backward(normalised, inverse, total)
        ctx.mark_non_differentiable(joined, spread, total)
        return normalised, joined, spread, total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor, None]:
        """The derivative by each number, of which mean and variance depend on all (arXiv:1502.03167, section 3)."""
        normalised, inverse, total = ctx.saved_tensors
        sums = torch.stack((gradient.sum(0), (gradient * normalised).sum(0))).double()  # (2, C)
        distributed.all_reduce(sums)
        mean, slope = (sums / total).to(gradient.dtype)
        return (gradient - mean - normalised * slope) * inverse, None


class _Synchronised(_BatchNorm):
    def forward(self, x: Tensor) -> Tensor:
        """(N, C, ...) normalised, in the type of `x`."""
        alone = not distributed.is_available() or not distributed.is_initialized()
        if not self.training or alone:
            return super().forward(x)
        flat = x.movedim(1, -1).flatten(0, -2).float()  # (n, C), a view of channels that lie last
        normalised, mean, variance, total = _Normalise.apply(flat, self.eps)
        self._count(mean, variance, total)
        if self.affine:
            normalised = torch.addcmul(self.bias, normalised, self.weight)
        shape = (x.shape[0], *x.shape[2:], x.shape[1])
        return normalised.view(shape).movedim(-1, 1).to(x.dtype)

    @torch.no_grad()
    def _count(self, mean: Tensor, variance: Tensor, total: Tensor) -> None:
        """Bring the running statistics on, of which the variance is unbiased."""
        if self.running_mean is None or self.running_var is None:
            return
        share = self.momentum
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            if share is None:
                share = 1 / float(self.num_batches_tracked)
        unbiased = variance * (total / (total - 1).clamp(min=1))
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), share or 0.0)
        self.running_var.lerp_(unbiased.to(self.running_var.dtype), share or 0.0)


class SynchronisedBatchNorm1d(_Synchronised, nn.BatchNorm1d):
    """`nn.BatchNorm1d` over the pictures of all processes."""


class SynchronisedBatchNorm2d(_Synchronised, nn.BatchNorm2d):
    """`nn.BatchNorm2d` over the pictures of all processes."""


SYNCHRONISED: dict[type[_BatchNorm], type[_BatchNorm]] = {
    nn.BatchNorm1d: SynchronisedBatchNorm1d,
    nn.BatchNorm2d: SynchronisedBatchNorm2d,
}
