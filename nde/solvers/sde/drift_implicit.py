"""Drift-implicit methods, for drifts that are stiff: the noise is explicit, the drift is taken at the end of the step.

With what the explicit terms add put into the state, a step is one of the implicit Euler method for ordinary equations,
whose Newton iteration, statuses and derivatives it uses.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from nde.solvers.implicit import ImplicitRungeKutta
from nde.solvers.method import Scalar, StepResult
from nde.solvers.sde.euler import EulerMaruyama
from nde.solvers.sde.field import SDEField
from nde.solvers.sde.method import SDEMethod
from nde.solvers.sde.milstein import Milstein
from nde.solvers.sde.sizes import Size, plus, size_of
from nde.solvers.tableaus.implicit import IMPLICIT_EULER

__all__ = ["ImplicitMilstein", "ThetaMaruyama"]

_STAGE = ImplicitRungeKutta("implicit_euler", IMPLICIT_EULER)


class _DriftImplicit(SDEMethod):
    """``y1 = y + (1 - theta) f(t, y) h + theta f(t + h, y1) h + noise(t, y)``.

    Args:
        name: Name of the method.
        theta: Share of the drift at the end of the step, above 0 and at most 1.

    Raises:
        TypeError: ``theta`` is no number.
        ValueError: It is out of range.
    """

    calculus = "ito"
    weak_order = 1.0
    rows = True

    def __init__(self, name: str, theta: float) -> None:
        if isinstance(theta, bool) or not isinstance(theta, (int, float)):
            raise TypeError(f"theta must be a number, but is {theta!r}.")
        if not 0 < theta <= 1:
            raise ValueError(
                f"theta must be above 0 and at most 1, but is {theta}. It is the share of the drift at the end of the "
                "step: without it, a step is explicit, as with method='euler' or method='milstein'."
            )
        self.name = name if theta == 1 else f"{name}({theta:g})"
        self.theta = float(theta)

    def step_sde(self, field: SDEField, t: Scalar, h: Scalar, y: Tensor, carry: Any) -> StepResult:
        """See `SDEMethod.step_sde`; samples whose equations could not be solved are NaN."""
        size, noise, explicit = size_of(h, y), field.increment(t, h).w, 1.0 - self.theta
        start = plus(y, field(t, y), explicit * size) if explicit else y
        start = self._with_noise(start, field, t, size, y, noise)
        return _STAGE.step(field, t + explicit * h, self.theta * h, start, None)

    def _with_noise(self, base: Tensor, field: SDEField, t: Scalar, size: Size, y: Tensor, noise: Tensor) -> Tensor:
        raise NotImplementedError


class ThetaMaruyama(_DriftImplicit):
    """The Euler-Maruyama method with an implicit drift: ``y1 = y + f(t + h, y1) h + g(t, y) dW`` with ``theta`` 1.

    On ``dy = -a y dt + b y dW`` it is stable in the mean square with a step of any size where the equation is, if
    ``theta`` is 1/2 or larger; with 1 stiff components are damped at once.

    Args:
        theta: Share of the drift at the end of the step, above 0 and at most 1; 1/2 is the trapezoidal rule.

    Raises:
        TypeError: ``theta`` is no number.
        ValueError: It is out of range.
    """

    strong_orders: ClassVar[Mapping[str, float]] = EulerMaruyama.strong_orders
    source = "Kloeden, Platen (1992), 12.2; Higham (2000), SIAM J. Numer. Anal. 38"

    def __init__(self, theta: float = 1.0) -> None:
        super().__init__("implicit_euler", theta)

    def _with_noise(self, base: Tensor, field: SDEField, t: Scalar, size: Size, y: Tensor, noise: Tensor) -> Tensor:
        return field.plus_product(base, field.diffusion(t, y), noise)


class ImplicitMilstein(_DriftImplicit):
    """The Milstein method with an implicit drift: see `Milstein`, whose noise terms it takes.

    Its noise terms are explicit, so that large steps with much multiplicative noise can be less stable than those of
    `ThetaMaruyama`.

    Args:
        theta: Share of the drift at the end of the step, above 0 and at most 1.

    Raises:
        TypeError: ``theta`` is no number.
        ValueError: It is out of range.
    """

    strong_orders: ClassVar[Mapping[str, float]] = Milstein("ito").strong_orders
    source = "Kloeden, Platen (1992), 12.2; Higham (2000), SIAM J. Numer. Anal. 38"

    def __init__(self, theta: float = 1.0) -> None:
        super().__init__("implicit_milstein", theta)
        self._explicit = Milstein("ito")

    def _with_noise(self, base: Tensor, field: SDEField, t: Scalar, size: Size, y: Tensor, noise: Tensor) -> Tensor:
        return self._explicit.with_noise(base, field, t, size, y, noise)
