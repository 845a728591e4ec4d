"""The total derivatives of a trajectory in time."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from nde.regularize.schedules import Schedule
from nde.regularize.trajectory import TrajectoryPenalty, TrajectoryPoint
from nde.taylor.evaluate import jet

__all__ = ["Taylor"]

_ORDERS = (2, 3, 4)
# what a field raises that cannot take a jet: a rule is missing, it writes in place, asks for what only tensors have
_NO_JET = (NotImplementedError, RuntimeError, TypeError, ValueError, AttributeError, LookupError)


class Taylor(TrajectoryPenalty):
    """The ``K``-th derivative of the trajectory: ``int mean_i((d^K y_i / dt^K)^2) dt``, averaged over the samples.

    It is the total derivative along the solution, with the field's own dependence on time: for ``K = 2``,
    ``df/dt + (df/dy) f``. A method of order ``p`` makes errors of the size of the derivative of order ``p + 1``, so
    that this one makes a field cheap for methods of order ``K - 1``.

    Kelly, Bettencourt, Johnson, Duvenaud (2020), Learning differential equations that are easy to solve (TayNODE).
    Derivatives are exact: the coefficients of the solution's Taylor series one after the other, by a jet
    (`nde.taylor.jet`) through the field along the series so far. Where the field has an operation without a rule, or
    takes no jet (it writes in place, differentiates by itself, its state is complex), they come by nested forward mode
    (`torch.func.jvp`), the ``k``-th of the ``K - 1`` evaluations of which carries ``2^k`` numbers in the place of each
    where a jet carries ``k + 1``; the penalty then does so from there on.

    Args:
        order: ``K``: 2, 3 or 4.
        weight, form, seed: See `TrajectoryPenalty`.

    Raises:
        ValueError: The order is not one of these.
    """

    stochastic = False

    def __init__(self, order: int, weight: float | Schedule = 1.0, *, form: str = "augmented", seed: int = 0) -> None:
        super().__init__(weight, form=form, seed=seed)
        if isinstance(order, bool) or order not in _ORDERS:
            raise ValueError(f"order must be 2, 3 or 4, but is {order!r}. Of order 1, the penalty is Kinetic.")
        self.order = order
        self._takes_jets = True

    def integrand(self, point: TrajectoryPoint) -> Tensor:
        """See `TrajectoryPenalty.integrand`."""
        y = point.flat(point.state)
        slope = point.flat(point.slope)
        if self._takes_jets:
            try:
                return point.mean(_by_jets(point, y, slope, self.order).square())
            except _NO_JET:  # an error of the field's own comes again below
                self._takes_jets = False
        derivatives = [slope]
        for order in range(1, self.order):
            derivatives.append(_next_derivative(point, y, derivatives, order))
        return point.mean(derivatives[-1].square())

    def extra_repr(self) -> str:
        """Describe order, weight and form in ``repr``."""
        return f"order={self.order}, {super().extra_repr()}"


def _by_jets(point: TrajectoryPoint, y: Tensor, slope: Tensor, order: int) -> Tensor:
    """Return the derivative of some order of the solution, whose coefficients are ``y_(k + 1) = f_k / (k + 1)``."""
    structure = point.structure

    def along(curve: Any) -> Any:
        t = point.t + curve[0].to(point.t.dtype)
        value = point.function(t, structure.unflatten(curve[1:]))
        parts = _leaves(value, structure.nesting)
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    one = y.new_ones(1)
    seeds = [torch.cat([one, slope])]
    for known in range(1, order):
        result = jet(along, torch.cat([0 * one, y]), seeds, order=known)
        if result.shape != y.shape or result.dtype != y.dtype:
            raise ValueError("the value of the field does not have the shape and dtype of the state")
        seeds.append(torch.cat([0 * one, result.coefficient(known) / (known + 1)]))
    return seeds[-1][1:] * math.factorial(order)


def _leaves(value: Any, nesting: Any) -> list[Any]:
    """Return the leaves of a state as vectors, jets among them."""
    if nesting is None:
        return [value.reshape(-1)]
    places = nesting if isinstance(nesting, dict) else range(len(nesting))
    return [leaf for place in places for leaf in _leaves(value[place], nesting[place])]


def _next_derivative(point: TrajectoryPoint, y: Tensor, derivatives: Sequence[Tensor], order: int) -> Tensor:
    """Return the derivative of the solution of the order ``order + 1``, given those of order 1 to ``order``.

    The field along the Taylor polynomial of the solution has the derivatives of the field along the solution, as far as
    the polynomial goes.
    """

    def along(shift: Tensor) -> Tensor:
        position = torch.zeros_like(y)
        for power in range(order, 0, -1):
            position = (derivatives[power - 1] + position) * (shift / power)
        return point.field(point.t + shift.to(point.t.dtype), y + position)

    return _derivative(along, order)(y.new_zeros(()))


def _derivative(function: Callable[[Tensor], Tensor], order: int) -> Callable[[Tensor], Tensor]:
    """Return the derivative of a function of one number, of some order."""
    if order == 0:
        return function
    lower = _derivative(function, order - 1)

    def derivative(shift: Tensor) -> Tensor:
        tangent: Tensor = torch.func.jvp(lower, (shift,), (torch.ones_like(shift),))[1]
        return tangent

    return derivative
