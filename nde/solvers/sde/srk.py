"""Roessler's stochastic Runge-Kutta methods of strong order 1.5, with an embedded solution of strong order 1.

Only the stages that the coefficients use are evaluated.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from nde.solvers.method import Scalar, StepResult
from nde.solvers.norms import Quotient
from nde.solvers.sde.areas import space_time_area
from nde.solvers.sde.field import SDEField
from nde.solvers.sde.method import SDEMethod
from nde.solvers.sde.sizes import Size, filled, length_of, plus, root_of, size_of, wide
from nde.solvers.sde.srk_tableau import SRATableau, SRITableau
from nde.solvers.sde.sums import weighted_sum

__all__ = ["StochasticRungeKutta"]


class StochasticRungeKutta(SDEMethod):
    """A method of strong order 1.5 for the Ito calculus.

    The weak order is 2 for additive noise, as for Taylor's scheme with all double integrals (Kloeden, Platen 1992,
    14.2): what the methods differ from it by is odd in the noise, or small. For diagonal and scalar noise it is 1.5, as
    the ``sqrt(h)`` of the stages is not odd in the noise.

    The error estimate is the difference to an embedded solution of strong order 1: Euler's for the drift, and the noise
    without its integrals ``I10`` and ``I111``. It is proportional to ``h ** 1.5``.

    Args:
        name: Name of the method.
        tableau: Its coefficients: `SRATableau` for additive noise, `SRITableau` for diagonal and scalar noise.
        calculus: "ito", or "stratonovich" for additive noise, where the two are one.
        reference: Estimate the error as the code behind the published experiments on regularization does, by the sum of
            all drift stages in place of a difference: ``h sum_i f(t + c0_i h, H_i)`` plus the noise that the embedded
            solution leaves out. To leading order that is the number of stages times ``h f``, no error. For comparison
            alone.
    """

    strong_orders: Mapping[str, float]  # type: ignore[misc]  # a fact of the tableau
    levy_area = "space-time"
    error_order = 1.5
    rows = True

    def __init__(
        self, name: str, tableau: SRATableau | SRITableau, calculus: str = "ito", *, reference: bool = False
    ) -> None:
        self.name = name
        self.reference = reference
        self.tableau = tableau
        self.calculus = calculus
        self.strong_orders = {"additive": 1.5} if isinstance(tableau, SRATableau) else {"diagonal": 1.5, "scalar": 1.5}
        self.weak_order = 2.0 if isinstance(tableau, SRATableau) else 1.5
        self.source = tableau.source
        self.stages_inside = all(0.0 <= node <= 1.0 for node in (*tableau.c0, *tableau.c1))
        self.has_stiffness = tableau.stiffness_stages is not None
        self._drifts, self._diffusions = _needed(tableau, reference)

    def step_sde(self, field: SDEField, t: Scalar, h: Scalar, y: Tensor, carry: Any) -> StepResult:
        """See `SDEMethod.step_sde`."""
        tableau, size = self.tableau, size_of(h, y)
        increment = field.increment(t, h)
        w = increment.w
        mean = 0.5 * w + space_time_area(increment)  # I10 / h
        drifts: dict[int, Tensor] = {}
        diffusions: dict[int, Tensor] = {}
        arguments: dict[int, Tensor] = {0: y}
        root = root_of(length_of(size))
        for stage in range(len(tableau.alpha)):
            if stage in self._drifts:
                if stage:
                    argument = y
                    if any(tableau.a0[stage - 1]):
                        argument = plus(argument, weighted_sum(tableau.a0[stage - 1], drifts), size)
                    if any(tableau.b0[stage - 1]):
                        argument = field.plus_product(argument, weighted_sum(tableau.b0[stage - 1], diffusions), mean)
                    arguments[stage] = argument
                drifts[stage] = field(t + tableau.c0[stage] * h, arguments[stage])
            if stage in self._diffusions:
                argument = self._noise_argument(field, stage, size, root, w, y, drifts, diffusions)
                diffusions[stage] = field.diffusion(t + tableau.c1[stage] * h, argument)
        kept, left_out = self._noise(field, size, root, w, mean, diffusions)
        change = weighted_sum(tableau.alpha, drifts)
        y1 = plus(kept + left_out, change, size) + y
        drift_error = weighted_sum((1.0,) * len(drifts), drifts) if self.reference else change - drifts[0]
        error = plus(left_out, drift_error, size)
        stiffness = None
        if tableau.stiffness_stages is not None:
            low, high = tableau.stiffness_stages
            stiffness = Quotient((drifts[high], drifts[low]), (arguments[high], arguments[low]))
        return StepResult(y1, None, error.unsqueeze(0), stiffness, None)

    def _noise_argument(
        self, field: SDEField, stage: int, h: Size, root: Size, w: Tensor, y: Tensor, drifts: Any, diffusions: Any
    ) -> Tensor:
        tableau = self.tableau
        if isinstance(tableau, SRATableau) or not stage:
            return y
        drift_row, diffusion_row = tableau.a1[stage - 1], tableau.b1[stage - 1]
        if any(drift_row):
            y = plus(y, weighted_sum(drift_row, drifts), h)
        if not any(diffusion_row):
            return y
        total = weighted_sum(diffusion_row, diffusions)
        return plus(y, total, root) if field.channels is None else y + field.product(total, filled(w, root))

    def _noise(
        self, field: SDEField, h: Size, root: Size, w: Tensor, mean: Tensor, diffusions: dict[int, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Return what the noise adds, in the embedded solution and beyond it."""
        tableau = self.tableau
        if isinstance(tableau, SRATableau):
            kept = field.product(weighted_sum(tableau.beta1, diffusions), w)
            return kept, field.product(weighted_sum(tableau.beta2, diffusions), mean)
        square, size, root = w.square(), wide(length_of(h), w), wide(root, w)
        kept = field.product(weighted_sum(tableau.beta1, diffusions), w)
        kept = _plus(field, kept, weighted_sum(tableau.beta2, diffusions), square - size, 0.5 / root)  # I11 / sqrt(h)
        beyond = field.product(weighted_sum(tableau.beta3, diffusions), mean)
        triple = w * (square - 3 * size)
        beyond = _plus(field, beyond, weighted_sum(tableau.beta4, diffusions), triple, 1 / (6 * size))  # I111 / h
        return kept, beyond


def _needed(tableau: SRATableau | SRITableau, all_drifts: bool) -> tuple[set[int], set[int]]:
    """Return the stages at which the drift and the diffusion are evaluated."""
    betas = [tableau.beta1, tableau.beta2]
    if isinstance(tableau, SRITableau):
        betas += [tableau.beta3, tableau.beta4]
    drifts = {0, *(i for i, weight in enumerate(tableau.alpha) if weight or all_drifts)}
    drifts |= {*(tableau.stiffness_stages or ())}
    diffusions = {i for i in range(len(tableau.alpha)) if any(beta[i] for beta in betas)}
    while True:
        before = len(drifts) + len(diffusions)
        for stage in drifts - {0}:
            drifts |= {j for j, weight in enumerate(tableau.a0[stage - 1]) if weight}
            diffusions |= {j for j, weight in enumerate(tableau.b0[stage - 1]) if weight}
        if isinstance(tableau, SRITableau):
            for stage in diffusions - {0}:
                drifts |= {j for j, weight in enumerate(tableau.a1[stage - 1]) if weight}
                diffusions |= {j for j, weight in enumerate(tableau.b1[stage - 1]) if weight}
        if len(drifts) + len(diffusions) == before:
            return drifts, diffusions


def _plus(field: SDEField, y: Tensor, diffusion: Tensor, noise: Tensor, factor: Size) -> Tensor:
    if isinstance(factor, Tensor):
        return field.plus_product(y, diffusion, noise * factor)
    return field.plus_product(y, diffusion, noise, factor)
