"""Roessler's stochastic Runge-Kutta methods of strong order 1.5, with an embedded solution of strong order 1.

Only the stages that the coefficients use are evaluated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from nde.solvers.method import Scalar, StepResult
from nde.solvers.norms import Quotient
from nde.solvers.sde.areas import space_time_area
from nde.solvers.sde.field import SDEField
from nde.solvers.sde.method import SDEMethod
from nde.solvers.sde.sizes import Size, filled, length_of, plus, root_of, size_of, wide
from nde.solvers.sde.srk_tableau import SRATableau, SRITableau
from nde.solvers.sde.sums import terms
from nde.solvers.transforms import constants

__all__ = ["ESTIMATES", "StochasticRungeKutta"]

ESTIMATES = ("embedded", "reference")

# what the sum of the drifts is multiplied with in StochasticDiffEq.jl, where it is not 1
_REFERENCE_SHARES = {"sriw1": 1 / 6}


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
        estimate: ``"embedded"``, or ``"reference"``: what StochasticDiffEq.jl takes for an error, in which the drifts
            of all weighted stages are added up with one sign, ``h (f_1 + f_2 + ...)``, beside the same part of the
            noise. That is no difference of two solutions: of four stages, it is ``4 h f`` to leading order. For
            comparison alone.

    Raises:
        ValueError: The estimate is not known.
    """

    strong_orders: Mapping[str, float]  # type: ignore[misc]  # a fact of the tableau
    levy_area = "space-time"
    error_order = 1.5
    judged_later = True
    rows = True

    def __init__(
        self, name: str, tableau: SRATableau | SRITableau, calculus: str = "ito", estimate: str = "embedded"
    ) -> None:
        if estimate not in ESTIMATES:
            raise ValueError(f"estimate must be one of {', '.join(map(repr, ESTIMATES))}, but is {estimate!r}.")
        self.name = name
        self.estimate = estimate
        self._error_drifts = (tableau.alpha[0] - 1.0, *tableau.alpha[1:])  # beside Euler's
        if estimate == "reference":
            self.error_order = 1.0
            share = _REFERENCE_SHARES.get(name, 1.0)
            self._error_drifts = tuple(share if weight else 0.0 for weight in tableau.alpha)
        self.tableau = tableau
        self.calculus = calculus
        self.strong_orders = {"additive": 1.5} if isinstance(tableau, SRATableau) else {"diagonal": 1.5, "scalar": 1.5}
        self.weak_order = 2.0 if isinstance(tableau, SRATableau) else 1.5
        self.source = tableau.source
        self.stages_inside = all(0.0 <= node <= 1.0 for node in (*tableau.c0, *tableau.c1))
        self.has_stiffness = tableau.stiffness_stages is not None
        self._drifts, self._diffusions = _needed(tableau)

    def with_estimate(self, estimate: str) -> StochasticRungeKutta:
        """Return the same method with another error estimate; see the class."""
        return StochasticRungeKutta(self.name, self.tableau, self.calculus, estimate)

    def step_sde(self, field: SDEField, t: Scalar, h: Scalar, y: Tensor, carry: Any) -> StepResult:
        """See `SDEMethod.step_sde`."""
        tableau, size = self.tableau, size_of(h, y)
        increment = field.increment(t, h)
        root = root_of(length_of(size))
        mean = torch.add(space_time_area(increment), increment.w, alpha=0.5)  # I10 / h
        drifts: dict[int, Tensor] = {}
        diffusions: dict[int, Tensor] = {}
        arguments: dict[int, Tensor] = {}
        for stage in range(len(tableau.alpha)):
            if stage in self._drifts:
                argument = y
                for other, weight in terms(tableau.a0[stage - 1] if stage else ()):
                    argument = plus(argument, drifts[other], weight * size)
                for other, weight in terms(tableau.b0[stage - 1] if stage else ()):
                    argument = field.plus_product(argument, diffusions[other], mean, weight)
                arguments[stage] = argument
                if stage and argument is y and tableau.c0[stage] == tableau.c0[0]:
                    drifts[stage] = drifts[0]
                else:
                    drifts[stage] = field(t + tableau.c0[stage] * h, argument)
            if stage in self._diffusions:
                argument = self._noise_argument(field, stage, size, root, increment.w, y, drifts, diffusions)
                diffusions[stage] = field.diffusion(t + tableau.c1[stage] * h, argument)
        y1, error = y, None
        for stage, weight in terms(tableau.alpha):
            y1 = plus(y1, drifts[stage], weight * size)
        for stage, weight in terms(self._error_drifts):
            error = drifts[stage] * (weight * size) if error is None else plus(error, drifts[stage], weight * size)
        whole, left_out = self._noise_weights(size, root, increment.w, mean)
        for stage, diffusion in diffusions.items():
            y1 = field.plus_product(y1, diffusion, whole[stage])
            part = left_out[stage]
            error = field.product(diffusion, part) if error is None else field.plus_product(error, diffusion, part)
        stiffness = None
        if tableau.stiffness_stages is not None:
            low, high = tableau.stiffness_stages
            stiffness = Quotient((drifts[high], drifts[low]), (arguments[high], arguments[low]))
        assert error is not None
        return StepResult(y1, None, error.unsqueeze(0), stiffness, None)

    def _noise_argument(
        self, field: SDEField, stage: int, h: Size, root: Size, w: Tensor, y: Tensor, drifts: Any, diffusions: Any
    ) -> Tensor:
        tableau = self.tableau
        if isinstance(tableau, SRATableau) or not stage:
            return y
        for other, weight in terms(tableau.a1[stage - 1]):
            y = plus(y, drifts[other], weight * h)
        for other, weight in terms(tableau.b1[stage - 1]):
            if field.channels is None:
                y = plus(y, diffusions[other], weight * root)
            else:
                y = field.plus_product(y, diffusions[other], filled(w, root), weight)
        return y

    def _noise_weights(self, h: Size, root: Size, w: Tensor, mean: Tensor) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        """Return what multiplies each diffusion in the solution, and what of it the embedded one leaves out."""
        tableau = self.tableau
        columns = (-1, *(1,) * w.dim())
        if isinstance(tableau, SRATableau):
            one, two = (weights.view(columns) for weights in _columns(tableau, w.dtype, w.device))
            left_out = two * mean
            return torch.addcmul(left_out, one, w).unbind(0), left_out.unbind(0)
        size, root = wide(length_of(h), w), wide(root, w)
        square = w.square()
        double = (square - size) * (0.5 / root)  # I11 / sqrt(h)
        triple = w * (square - 3 * size) * (1 / (6 * size))  # I111 / h
        one, two, three, four = (weights.view(columns) for weights in _columns(tableau, w.dtype, w.device))
        left_out = torch.mul(three, mean).addcmul_(four, triple)
        whole = torch.addcmul(left_out, one, w).addcmul_(two, double)
        return whole.unbind(0), left_out.unbind(0)


@cache
def _columns(tableau: SRATableau | SRITableau, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, ...]:
    """Return the weights of the diffusions as vectors."""
    rows: list[tuple[float, ...]] = [tableau.beta1, tableau.beta2]
    if isinstance(tableau, SRITableau):
        rows += [tableau.beta3, tableau.beta4]
    with constants():
        return tuple(torch.tensor(row, dtype=dtype, device=device) for row in rows)


def _needed(tableau: SRATableau | SRITableau) -> tuple[set[int], set[int]]:
    """Return the stages at which the drift and the diffusion are evaluated."""
    betas = [tableau.beta1, tableau.beta2]
    if isinstance(tableau, SRITableau):
        betas += [tableau.beta3, tableau.beta4]
    drifts = {0, *(i for i, weight in enumerate(tableau.alpha) if weight), *(tableau.stiffness_stages or ())}
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
