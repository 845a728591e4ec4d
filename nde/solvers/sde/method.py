"""What an SDE method is: a one-step method with a calculus, kinds of noise and two orders as class facts.

`nde.solve_sde` validates by these facts, and the documentation and the tests read them. A step is `Method.step` with an
`SDEField`, from which it takes drift, diffusion and the path's increments.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from nde.solvers.field import VectorField
from nde.solvers.method import Method, Scalar, StepResult
from nde.solvers.sde.field import SDEField

__all__ = ["CALCULI", "SDEMethod"]

CALCULI = ("ito", "stratonovich")


class SDEMethod(Method):
    """A one-step method for stochastic differential equations.

    Attributes:
        calculus: The integral that it converges to, one of `CALCULI`.
        strong_orders: Strong order for each kind of noise that it takes; None where it converges weakly alone, so that
            its solutions have the law of the equation's but do not come nearer to those of the path.
        weak_order: Weak order, the least of those for the kinds of noise that it takes other than "general", for which
            it is 1 where the method has a strong order; None if not known.
        levy_area: What it asks of a path besides increments: "none", "space-time", "space-time-time", "davie" or
            "foster" (each of these two serves for the other).
        stages_inside: Whether drift and diffusion are evaluated at times of the step alone.
        by_products: Whether a step uses the diffusion as nothing but an argument of `SDEField.product` and
            `SDEField.plus_product`, so that it also solves equations whose diffusion is known by its products alone, as
            the adjoint equation is.
    """

    calculus: str
    strong_orders: ClassVar[Mapping[str, float | None]]
    weak_order: float | None = None
    levy_area: str = "none"
    stages_inside: bool = True
    keeps_step_tapes = True
    by_products: bool = False
    order = 1  # of the method as one for ordinary equations, which nothing here reads: see strong_orders

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, {self.calculus!r})"

    def area(self, noise: str) -> str:
        """Return what it asks of a path, as in ``levy_area``, for one kind of noise."""
        return self.levy_area

    def fitted(self, calculus: str, noise: str) -> SDEMethod:
        """Return the method for an equation of a calculus and a kind of noise: itself, unless it depends on them."""
        return self

    def start(self, field: VectorField, t: Scalar, y: Tensor) -> Any:
        """Return the first step's carry: nothing, unless the method says otherwise."""
        return None

    def step(
        self, field: VectorField, t: Scalar, h: Scalar, y: Tensor, carry: Any, workspace: Any = None
    ) -> StepResult:
        """See `Method.step`.

        Raises:
            TypeError: The field has no diffusion.
        """
        return self.step_sde(self.stochastic(field), t, h, y, carry)

    def stochastic(self, field: Any) -> SDEField:
        """Return a field, or one on rows, that has a diffusion.

        Raises:
            TypeError: It has none.
        """
        if not hasattr(field, "increment"):
            raise TypeError(f"method {self.name!r} steps stochastic equations; solve with nde.solve_sde.")
        found: SDEField = field
        return found

    @abstractmethod
    def step_sde(self, field: SDEField, t: Scalar, h: Scalar, y: Tensor, carry: Any) -> StepResult:
        """Take one step; all operations are differentiable by autograd."""

    def interpolate(
        self, field: VectorField, t: Scalar, h: Scalar, y: Tensor, result: StepResult, thetas: Sequence[Scalar]
    ) -> Tensor:
        """Return states on the line between the ends of a step; a path has no better one without new noise."""
        return torch.stack([y + theta * (result.y1 - y) for theta in thetas])
