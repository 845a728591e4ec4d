"""Squared residuals as losses: unbiased where the residual is estimated."""

from __future__ import annotations

import torch
from torch import Tensor

from nde.taylor.operators.checks import finite_rows
from nde.taylor.operators.estimate import Estimate
from nde.taylor.registry import NonFiniteError

__all__ = ["NonFiniteResidualError", "squared_residual"]


class NonFiniteResidualError(NonFiniteError):
    """A residual is not finite at some points.

    Attributes:
        points: Indices of these points, shape ``(n,)``.
    """

    def __init__(self, message: str, points: Tensor) -> None:
        super().__init__(message)
        self.points = points


def squared_residual(residual: Estimate | Tensor, *, unbiased: bool = True, weights: Tensor | None = None) -> Tensor:
    """Return the mean over the points of the squared residual.

    The square of an estimate is biased: its mean is the square plus the variance, so that a loss made of it also
    minimises the variance of the estimator and bends the solution. With ``unbiased`` the variance is taken off again:
    of two groups this is the product of two independent draws, whose gradient is that of both factors.

    Args:
        residual: A tensor, or an estimate with two or more groups (``laplacian(..., groups=2) - source``); any shape
            whose first axis counts the points.
        unbiased: False: the mean of ``value^2``, for an estimate of any number of groups.
        weights: Shape of the residual: a factor for each of its squares.

    Raises:
        NonFiniteResidualError: The residual is not finite at some point.
        ValueError: ``unbiased`` is set for an estimate of one group; the shape of ``weights`` does not fit; gradients
            are on, but the residual has none.
    """
    value = residual.value if isinstance(residual, Estimate) else residual
    _check_residual(value)
    square = residual.square if isinstance(residual, Estimate) and unbiased else value.square()
    if weights is not None:
        if weights.shape != square.shape:
            raise ValueError(f"weights must have the shape {tuple(square.shape)}, but have {tuple(weights.shape)}.")
        square = square * weights
    return square.mean()


def _check_residual(value: Tensor) -> None:
    finite = finite_rows(value.detach().reshape(value.shape[0] if value.ndim else 1, -1))
    if not bool(finite.all()):
        points = (~finite).nonzero().squeeze(-1)
        raise NonFiniteResidualError(
            f"the residual is not finite at {len(points)} of {len(finite)} points, the first of which is "
            f"{int(points[0])}. Look at the points and the source term there; nde.taylor.jet(..., check_finite=True) "
            "names the operation. Where training has diverged, lower the learning rate.",
            points,
        )
    if torch.is_grad_enabled() and not value.requires_grad:
        raise ValueError(
            "the residual has no gradient: no parameter that it depends on requires one. Look for detach(), "
            "torch.no_grad() or frozen parameters; to evaluate without training, wrap the call in torch.no_grad()."
        )
