"""Automatic choice of the first step (Hairer, Norsett, Wanner, Solving ODEs I, II.4)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nde.solvers.field import VectorField
from nde.solvers.norms import ErrorNorm

__all__ = ["first_step"]


@torch.no_grad()
def first_step(
    field: VectorField, norm: ErrorNorm, t: float, span: float, y: Tensor, slope: Tensor, error_order: float
) -> tuple[float, float]:
    """Return a positive size for the first step, at the cost of one evaluation.

    Args:
        field: The vector field.
        norm: Norm that scales by the tolerances.
        t: Initial time.
        span: Signed length of the span, which bounds the step.
        y: Initial state.
        slope: ``field(t, y)``, which the first step uses again.
        error_order: Exponent of the step size in the error estimate.

    Returns:
        The size, NaN if the field is not finite there; and the scaled norm of the state, which is one over the relative
        accuracy that the tolerances ask for.
    """
    y, slope = y.detach(), slope.detach()
    scale = norm.scale(y, y)
    size_of_state, size_of_slope = norm.rms(y, scale), norm.rms(slope, scale)
    if not (math.isfinite(size_of_slope) and math.isfinite(size_of_state)):
        # an infinite norm of finite numbers only says that the tolerance is tiny beside them: begin small
        finite = bool(torch.isfinite(slope).all()) and bool(torch.isfinite(y).all())
        return (min(1e-6, abs(span)) if finite else math.nan), 0.0
    guess = 1e-6 if min(size_of_state, size_of_slope) < 1e-5 else 0.01 * size_of_state / size_of_slope
    guess = min(guess, abs(span))
    signed = math.copysign(guess, span)
    probe = field(t + signed, torch.add(y, slope, alpha=signed))
    curvature = norm.rms(probe - slope, scale) / guess
    if not math.isfinite(curvature):
        return min(guess, abs(span)), size_of_state  # the field leaves its domain at once: begin small
    steepest = max(size_of_slope, curvature)
    by_order = max(1e-6, guess * 1e-3) if steepest <= 1e-15 else (0.01 / steepest) ** (1 / error_order)
    return min(100 * guess, by_order, abs(span)), size_of_state
