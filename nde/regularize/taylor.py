"""The total derivatives of a trajectory in time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from nde.regularize.schedules import Schedule
from nde.regularize.trajectory import TrajectoryPenalty, TrajectoryPoint

__all__ = ["Taylor"]

_ORDERS = (2, 3, 4)


class Taylor(TrajectoryPenalty):
    """The ``K``-th derivative of the trajectory: ``int mean_i((d^K y_i / dt^K)^2) dt``, averaged over the samples.

    It is the total derivative along the solution, with the field's own dependence on time: for ``K = 2``,
    ``df/dt + (df/dy) f``. A method of order ``p`` makes errors of the size of the derivative of order ``p + 1``, so
    that this one makes a field cheap for methods of order ``K - 1``.

    Kelly, Bettencourt, Johnson, Duvenaud (2020), Learning differential equations that are easy to solve (TayNODE).
    Derivatives are exact, by nested forward mode (`torch.func.jvp`): ``K - 1`` evaluations of the field, the ``k``-th
    of which carries ``2^k`` numbers in the place of each. The field must be made of operations that forward mode
    differentiates.

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

    def integrand(self, point: TrajectoryPoint) -> Tensor:
        """See `TrajectoryPenalty.integrand`."""
        y = point.flat(point.state)
        derivatives = [point.flat(point.slope)]
        for order in range(1, self.order):
            derivatives.append(_next_derivative(point, y, derivatives, order))
        return point.mean(derivatives[-1].square())

    def extra_repr(self) -> str:
        """Describe order, weight and form in ``repr``."""
        return f"order={self.order}, {super().extra_repr()}"


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
