"""Adams methods: linear multistep methods that use the slopes of past steps again.

Steps may be of any size: the weights integrate the polynomial through the slopes at the times where they were taken.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy
import torch
from torch import Tensor

from nde.solvers import tableaus
from nde.solvers.explicit import ExplicitRungeKutta
from nde.solvers.field import VectorField
from nde.solvers.method import Method, Scalar, StepResult

__all__ = ["ExplicitAdams", "ImplicitAdams", "adams_weights"]

_HIGHEST_ORDER = 8
# rounding units of the state at which the corrector has converged
_CONVERGED = 4


def adams_weights(nodes: Tensor, h: Tensor) -> Tensor:
    """Return weights ``w`` with ``sum_i w_i p(nodes_i) = integral of p over [0, h]`` for polynomials p through nodes.

    Args:
        nodes: Times relative to the beginning of the step, shape ``(k,)``, float64; differentiable.
        h: Size of the step, a 0-d tensor; differentiable.
    """
    count = nodes.shape[0]
    points, quadrature = (torch.from_numpy(part) for part in _gauss((count + 1) // 2 + 1))
    at = h * (points + 1) / 2
    apart = nodes.unsqueeze(1) - nodes.unsqueeze(0) + torch.eye(count, dtype=torch.float64)
    # Lagrange polynomials as products, which lose no digits
    factors = (at.reshape(-1, 1, 1) - nodes) / apart
    diagonal = torch.eye(count, dtype=torch.bool)
    basis = torch.where(diagonal, torch.ones_like(factors), factors).prod(-1)
    return h / 2 * (quadrature @ basis)


@functools.lru_cache
def _gauss(count: int) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Return points and weights of Gauss-Legendre quadrature, which cost more than a step."""
    points, weights = numpy.polynomial.legendre.leggauss(count)
    return points, weights


class _Adams(Method):
    """What both families share: the history, its start and the dense output.

    The history is begun by steps of DOP853, whose order is at least that of the method.
    """

    interpolation_order = 3
    carry_is_function_of_state = False

    def __init__(self, name: str, order: int) -> None:
        if isinstance(order, bool) or not isinstance(order, int) or not 1 <= order <= _HIGHEST_ORDER:
            raise ValueError(f"order must be a whole number from 1 to {_HIGHEST_ORDER}, but is {order!r}.")
        self.name = name
        self.order = order
        self._starter = ExplicitRungeKutta("dopri8", tableaus.DOPRI8, 8)
        self.source = "Bashforth, Adams (1883); Hairer, Norsett, Wanner, Solving ODEs I, III.1 and III.5"

    def __repr__(self) -> str:
        return f"{type(self).__name__}(order={self.order})"

    def start(self, field: VectorField, t: Scalar, y: Tensor) -> tuple[Tensor, ...]:
        """Return the history: its times, newest first, and the slopes there."""
        return _host(t).reshape(1), field(t, y)

    def slope(self, field: VectorField, t: Scalar, y: Tensor, carry: Any) -> Tensor:
        """Return the newest slope."""
        slope: Tensor = carry[1]
        return slope

    def step(
        self, field: VectorField, t: Scalar, h: Scalar, y: Tensor, carry: Any, workspace: Any = None
    ) -> StepResult:
        """See `Method.step`."""
        times, *slopes = carry
        size = _host(h)
        if len(slopes) < self._length():
            y1 = self._starter.step(field, t, h, y, slopes[0]).y1
        else:
            y1 = self._advance(field, t, size, y, times - times[0], slopes)
        end = t + h
        last = field(end, y1)
        kept = self._length() - 1
        history = (torch.cat([_host(end).reshape(1), times[:kept]]), last, *slopes[:kept])
        return StepResult(y1, history, None, None, (slopes[0], last, y1))

    def interpolate(
        self, field: VectorField, t: Scalar, h: Scalar, y: Tensor, result: StepResult, thetas: Sequence[Scalar]
    ) -> Tensor:
        """Return the cubic through states and slopes at both ends."""
        first, last, y1 = result.interior
        rows = []
        for theta in thetas:
            rest = theta - 1
            hermite = rest * ((1 - 2 * theta) * (y1 - y) + h * (rest * first + theta * last))
            rows.append((1 - theta) * y + theta * y1 + theta * hermite)
        return torch.stack(rows).to(y.dtype)

    def _length(self) -> int:
        """Return how many slopes a step uses."""
        return self.order

    def _advance(
        self, field: VectorField, t: Scalar, h: Tensor, y: Tensor, nodes: Tensor, slopes: Sequence[Tensor]
    ) -> Tensor:
        raise NotImplementedError


class ExplicitAdams(_Adams):
    """The Adams-Bashforth method: one evaluation per step.

    Args:
        order: Order, 1 to 8.

    Raises:
        ValueError: The order is out of range.
    """

    def __init__(self, order: int = 4) -> None:
        super().__init__("explicit_adams", order)

    def _advance(
        self, field: VectorField, t: Scalar, h: Tensor, y: Tensor, nodes: Tensor, slopes: Sequence[Tensor]
    ) -> Tensor:
        return _sum(y, adams_weights(nodes, h), slopes)


class ImplicitAdams(_Adams):
    """The Adams-Moulton method, solved by fixed-point iteration from an Adams-Bashforth step.

    Args:
        order: Order, 1 to 8.
        max_iterations: Limit on the evaluations of the corrector in a step; it ends when it has converged to rounding.

    Raises:
        ValueError: A number is out of range.
    """

    def __init__(self, order: int = 4, max_iterations: int = 10) -> None:
        super().__init__("implicit_adams", order)
        if isinstance(max_iterations, bool) or not isinstance(max_iterations, int) or max_iterations < 1:
            raise ValueError(f"max_iterations must be a whole number, one or more, but is {max_iterations!r}.")
        self.max_iterations = max_iterations

    def _length(self) -> int:
        return max(1, self.order - 1)

    def _advance(
        self, field: VectorField, t: Scalar, h: Tensor, y: Tensor, nodes: Tensor, slopes: Sequence[Tensor]
    ) -> Tensor:
        past = self.order - 1
        weights = adams_weights(torch.cat([h.reshape(1), nodes[:past]]), h)
        base = _sum(y, weights[1:], slopes[:past])
        factor = weights[0].to(y.dtype).to(y.device)
        value = _sum(y, adams_weights(nodes, h), slopes)
        enough = _CONVERGED * torch.finfo(y.dtype).eps
        for _ in range(self.max_iterations):
            before, value = value, base + factor * field(t + h, value)
            with torch.no_grad():
                if bool((value - before).abs().max() <= enough * value.abs().max()):
                    break
        return value


def _host(value: Scalar) -> Tensor:
    """Return a time as a 0-d tensor of double precision on the host, on its tape."""
    return torch.as_tensor(value, dtype=torch.float64).cpu() if isinstance(value, Tensor) else _scalar(value)


def _scalar(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


def _sum(y: Tensor, weights: Tensor, slopes: Sequence[Tensor]) -> Tensor:
    for weight, slope in zip(weights.to(y.dtype).to(y.device).unbind(0), slopes, strict=True):
        y = y + weight * slope
    return y
