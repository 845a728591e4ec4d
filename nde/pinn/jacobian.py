"""How residuals depend on parameters: one row of derivatives for each point, without a loop over points."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.func import functional_call, jacrev, vmap

if TYPE_CHECKING:
    from nde.pinn.problem import Problem

__all__ = ["residual_jacobian"]


def residual_jacobian(problem: Problem, name: str, x: Tensor, *, chunk: int | None = None) -> Tensor:
    """Return the derivatives of a condition's residual with respect to all trained parameters.

    Args:
        problem: The problem; its model must treat every point by itself.
        name: The condition.
        x: Points, shape ``(n, d)``.
        chunk: Number of points that are worked on at once; None: all.

    Returns:
        Shape ``(n * m, P)`` for a residual with ``m`` values for each point: those of the first point first. The
        parameters are in the order of ``problem.parameters()``.

    Raises:
        ValueError: No parameter is trained.
        TypeError: The residual is estimated at random.
    """
    trained = {key: value.detach() for key, value in problem.named_parameters() if value.requires_grad}
    if not trained:
        raise ValueError("the problem has no parameter that requires a gradient.")

    def of_point(parameters: dict[str, Tensor], point: Tensor) -> Tensor:
        return functional_call(problem, parameters, (name, point.unsqueeze(0))).reshape(-1)

    rows = vmap(jacrev(of_point), in_dims=(None, 0), chunk_size=chunk)(trained, x)  # (n, m, *shape) by parameter
    count = next(iter(rows.values())).shape[1]
    return torch.cat([rows[key].reshape(len(x) * count, -1) for key in trained], 1)
