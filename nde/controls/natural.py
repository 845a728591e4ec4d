"""Natural cubic splines."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from nde.controls.hermite import hermite_pieces
from nde.controls.missing import extended, place_before
from nde.controls.path import CubicPath
from nde.controls.tridiagonal import solve_dominant

__all__ = ["NaturalCubicPath", "natural_cubic_coefficients"]


class NaturalCubicPath(CubicPath):
    """The natural cubic spline through the observations: two continuous derivatives, the second zero at both ends.

    Every piece depends on all observations, later ones too. In each channel the spline goes through the known values
    alone; its first and last known values go on to the ends of the span, at every knot there. A channel without any
    value is zero.

    Args:
        x: Data, shape ``(batch..., length, channels)``. Missing values are NaN.
        times: Times of the observations, shape ``(length,)``, increasing; None for ``0, 1, ..., length - 1``.

    Raises:
        TypeError: An argument is no tensor of floating point.
        ValueError: The shapes do not fit, or the times do not increase.
    """

    @classmethod
    def _fit(cls, x: Tensor, times: Tensor) -> Tensor:
        return natural_cubic_coefficients(extended(x), times)


def natural_cubic_coefficients(x: Tensor, times: Tensor) -> Tensor:
    """Return the coefficients of the natural cubic spline, shape ``(batch..., length - 1, 4 channels)``.

    Args:
        x: Data, shape ``(batch..., length, channels)``, NaN where the spline has no knot. The first and the last value
            of every series must be known.
        times: Times, shape ``(length,)``.
    """
    known = ~x.isnan()
    if bool(known.all()):
        step = times.diff().unsqueeze(-1).to(x.dtype)
        return torch.cat(_pieces(x, step, step.new_ones(step.shape, dtype=torch.bool)), -1)
    # the known values of each series move to its front, in their order; what stands behind them has no effect
    order = (~known).to(torch.uint8).argsort(dim=-2, stable=True)
    count = known.sum(-2, keepdim=True)
    inner = torch.arange(1, x.shape[-2], device=x.device).unsqueeze(-1) < count
    packed = torch.where(known, x, torch.zeros_like(x)).gather(-2, order)
    at = times[order]
    step = torch.where(inner, at.diff(dim=-2), torch.ones_like(at[..., 1:, :])).to(x.dtype)
    a, b, c, d = _pieces(packed, step, inner)
    # each interval between two knots of the path lies in one piece, of which it sees the part from its own beginning on
    before = place_before(known)[..., :-1, :]
    piece = known.cumsum(-2)[..., :-1, :] - 1
    a, b, c, d = (part.gather(-2, piece) for part in (a, b, c, d))
    s = (times[:-1].unsqueeze(-1) - times[before]).to(x.dtype)
    return torch.cat([a + s * (b + s * (c / 2 + s * (d / 3))), b + s * (c + s * d), c + 2 * s * d, d], -1)


def _pieces(x: Tensor, step: Tensor, inner: Tensor) -> tuple[Tensor, ...]:
    """Return ``a, b, c, d`` of all pieces; those that are not ``inner`` are without meaning and touch no other.

    The slopes at the knots make the second derivatives on both sides equal, and zero at the ends.
    """
    slope = x.diff(dim=-2) / step
    weight = inner / step
    coupling, load = weight, 3 * weight * slope
    diagonal = 2 * (pad(coupling, (0, 0, 1, 0)) + pad(coupling, (0, 0, 0, 1)))
    right = pad(load, (0, 0, 1, 0)) + pad(load, (0, 0, 0, 1))
    # a row without any inner piece beside it stands for itself
    diagonal = torch.where(diagonal == 0, torch.ones_like(diagonal), diagonal)
    slopes = solve_dominant(pad(coupling, (0, 0, 1, 0)), diagonal, pad(coupling, (0, 0, 0, 1)), right)
    return hermite_pieces(x[..., :-1, :], slope, slopes[..., :-1, :], slopes[..., 1:, :], step)
