"""The collapsed second-order jet of an elementwise function, with its gradient written by hand.

Automatic differentiation of the same formulas reads every vector of directions several times more; without a compiler
that is what a Laplacian spends its time on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

__all__ = ["compose_second_order"]

_WORTH_A_CALL = 2048  # elements of a direction below which a call for each costs more than it saves

LocalSeries = Callable[[Any, int], list[Any]]


def compose_second_order(local: LocalSeries, z: Sequence[Any]) -> list[Any] | None:
    """Return ``(f, f1 z1, f1 z2 + f2 sum_v z1^2)``, ``f_m`` the Taylor coefficients of the function at ``z0``.

    None where the function has no second derivative: composition is cheaper then.
    """
    with torch.no_grad():
        series = local(z[0], 2)
    if series[1] is None or series[2] is None:  # constant or linear in pieces: nothing to gain
        return None
    return list(_SecondOrder.apply(local, series, *z))


class _SecondOrder(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, local: LocalSeries, series: list[Tensor], z0: Tensor, z1: Tensor, z2: Tensor | None
    ) -> tuple[Tensor, ...]:
        ctx.local = local
        f0, f1, f2 = series
        squares = _dot(z1, z1)
        ctx.save_for_backward(z0, z1, z2, squares)
        top = f2 * squares
        if z2 is not None:
            top = torch.addcmul(top, f1, z2)
        return f0, f1 * z1, top

    @staticmethod
    def backward(ctx: Any, g0: Tensor, g1: Tensor, g2: Tensor) -> tuple[Tensor | None, ...]:
        z0, z1, z2, squares = ctx.saved_tensors
        if torch.is_grad_enabled():  # to be differentiated again
            squares = _dot(z1, z1)
        _, f1, f2, f3 = (0.0 if f is None else f for f in ctx.local(z0, 3))
        # f_m' = (m + 1) f_(m+1)
        curved = f2 * g2
        d0 = f1 * g0 + 2 * f2 * _dot(g1, z1) + 3 * f3 * g2 * squares
        d2 = None
        if z2 is not None:
            d0 = torch.addcmul(d0, curved, z2, value=2)
            d2 = (f1 * g2).sum_to_size(z2.shape) if ctx.needs_input_grad[4] else None
        d1 = None
        if ctx.needs_input_grad[3]:
            if z1.shape[1:] == z0.shape[1:]:
                scaled = f1 * g1
                if torch.is_grad_enabled():
                    d1 = scaled + (2 * curved) * z1
                else:
                    d1 = scaled.addcmul_(curved, z1, value=2)
            else:  # directions shared along some axes: the sums over those come first
                d1 = (f1 * g1).sum_to_size(z1.shape) + 2 * curved.sum_to_size(1, *z1.shape[1:]) * z1
        return None, None, d0, d1, d2


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Return ``(a * b).sum(0, keepdim=True)``; one direction at a time where a product of all would leave the cache."""
    if torch.is_grad_enabled() or a.is_cuda or a.shape[0] != b.shape[0] or a[0].numel() < _WORTH_A_CALL:
        return (a * b).sum(0, keepdim=True)
    total = a[0] * b[0]
    for v in range(1, a.shape[0]):
        total.addcmul_(a[v], b[v])
    return total.unsqueeze(0)
