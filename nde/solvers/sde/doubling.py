"""Step doubling: an error estimate, and so adaptive steps, for every method."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from nde.solvers.field import VectorField
from nde.solvers.method import Scalar, StepResult
from nde.solvers.sde.field import SDEField
from nde.solvers.sde.method import SDEMethod
from nde.solvers.sde.registry import find_sde_method

__all__ = ["StepDoubling"]


class StepDoubling(SDEMethod):
    """One step and two half steps of a method on the same path: the half steps are the result.

    The error estimate is the difference of the two results. That of one step of a method of strong order ``p`` is
    proportional to ``h ** (p + 1/2)`` in the mean square, and so is the estimate (Milstein, Tretyakov (2004),
    Stochastic numerics for mathematical physics, section 1.1). The results are not extrapolated: the leading term of
    the error is random with another factor on each half, so that no weights make it vanish.

    Each step costs three of the method. Steps that are chosen from the path itself make a method of strong order 0.5
    converge to another solution, as Euler's with noise that is not additive (Gaines, Lyons (1997), Variable step size
    control in the numerical solution of stochastic differential equations, section 2); methods of order 1 converge.

    Args:
        method: The method, or its name, which is looked up when the calculus is known.
        error_order: Exponent of the error estimate; None for ``p + 1/2``.

    Raises:
        TypeError: The method is neither.
        ValueError: The method is doubled already, or the exponent is not positive.
    """

    def __init__(self, method: str | SDEMethod, error_order: float | None = None) -> None:
        if not isinstance(method, (str, SDEMethod)):
            raise TypeError(f"method must be a name or an SDEMethod, but is a {type(method).__name__}.")
        if isinstance(method, StepDoubling):
            raise ValueError(f"method must be one that is not doubled yet, but is {method!r}.")
        if error_order is not None and not error_order > 0:
            raise ValueError(f"error_order must be positive, but is {error_order}. Try None.")
        self.method = method
        self.error_order = error_order
        if isinstance(method, str):
            self.name = f"doubled_{method}"
            return
        self.name = f"doubled_{method.name}"
        self.calculus = method.calculus
        self.strong_orders: Mapping[str, float | None] = method.strong_orders  # type: ignore[misc]  # a fact of the method
        self.weak_order = method.weak_order
        self.levy_area = method.levy_area
        self.source = method.source
        self.by_products = method.by_products
        self.rows, self.stages_inside = method.rows, method.stages_inside
        self.carry_is_function_of_state = method.carry_is_function_of_state

    def __repr__(self) -> str:
        return f"StepDoubling({self.method!r})"

    @property
    def restarts(self) -> bool:
        """See `Method.restarts`."""
        return self._inner.restarts

    def fitted(self, calculus: str, noise: str) -> StepDoubling:
        """See `SDEMethod.fitted`: the method is found, and its error order is that for the noise."""
        method = find_sde_method(self.method, calculus, noise)
        order = method.strong_orders[noise]
        if order is None:
            raise ValueError(
                f"method={self.name!r} compares steps of two sizes on one path, but {method.name!r} has no strong "
                "order: the two do not come near to each other. Use it with controller=nde.FixedStep(0.01)."
            )
        return StepDoubling(method, self.error_order or order + 0.5)

    def area(self, noise: str) -> str:
        """See `SDEMethod.area`."""
        return self._inner.area(noise)

    def start(self, field: VectorField, t: Scalar, y: Tensor) -> Any:
        """See `SDEMethod.start`."""
        return self._inner.start(field, t, y)

    def slope(self, field: VectorField, t: Scalar, y: Tensor, carry: Any) -> Tensor:
        """See `Method.slope`."""
        return self._inner.slope(field, t, y, carry)

    def step_sde(self, field: SDEField, t: Scalar, h: Scalar, y: Tensor, carry: Any) -> StepResult:
        """See `SDEMethod.step_sde`."""
        method = self._inner
        middle, end = t + 0.5 * h, t + h
        whole = method.step(field, t, h, y, carry)
        # the sizes are such that the halves meet, and end, at the very times: paths need not know others beside them
        first = method.step(field, t, middle - t, y, carry)
        carry_inside = method.start(field, middle, first.y1) if first.carry is None else first.carry
        second = method.step(field, middle, end - middle, first.y1, carry_inside)
        return StepResult(second.y1, second.carry, (second.y1 - whole.y1).unsqueeze(0), None, None)

    @property
    def _inner(self) -> SDEMethod:
        if isinstance(self.method, str):
            raise TypeError(f"{self!r} must be fitted to an equation before it steps; see SDEMethod.fitted.")
        return self.method
