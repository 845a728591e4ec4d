"""Stochastic Runge-Kutta methods of weak order 2, for noise of any kind.

The noise of a step takes few values. They are read off the path's increment, so that a step is still a function of the
path: it can be taken again, and a row has the noise that it has alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from nde.solvers.method import Scalar, StepResult
from nde.solvers.sde.field import NOISE_TYPES, SDEField
from nde.solvers.sde.method import SDEMethod
from nde.solvers.sde.sizes import Size, filled, length_of, plus, root_of, size_of, wide
from nde.solvers.sde.sums import matrix_product, weighted_sum
from nde.solvers.sde.weak_tableau import WeakTableau

__all__ = ["WeakRungeKutta", "discrete_noise"]

# a standard normal number exceeds these with probability 1/3, 1/6 and 1/12
_THIRD, _SIXTH, _TWELFTH = 0.4307272992954576, 0.9674215661017014, 1.382994127100638


class WeakRungeKutta(SDEMethod):
    """A method of weak order 2: expectations of functions of the solution converge with order 2.

    It has no strong order: with shorter steps the law of its solutions comes nearer to that of the equation, but on one
    path they stay apart, so that errors can neither be measured nor estimated path by path. Where several motions drive
    each row of the state, a step evaluates the diffusion ``4 m + 1`` times; three times where the noise is diagonal
    (``g_i`` may then depend on ``y_i`` alone), scalar or additive.

    Args:
        name: Name of the method.
        tableau: Its coefficients.
    """

    calculus = "ito"
    strong_orders: ClassVar[Mapping[str, float | None]] = dict.fromkeys(NOISE_TYPES)
    weak_order = 2.0
    rows = True

    def __init__(self, name: str, tableau: WeakTableau) -> None:
        self.name = name
        self.tableau = tableau
        self.source = tableau.source

    def step_sde(self, field: SDEField, t: Scalar, h: Scalar, y: Tensor, carry: Any) -> StepResult:
        """See `SDEMethod.step_sde`."""
        tableau, size, w = self.tableau, size_of(h, y), field.increment(t, h).w
        length = wide(length_of(size), w)
        root = root_of(length)
        three, two = discrete_noise(w, root)
        square = (three.square() - length) * (0.5 / root)  # I_kk / sqrt(h)
        stages = _Stages(tableau, field, t, h, y, three)
        y1 = y
        for stage in range(len(tableau.alpha)):
            stages.add(stage)
            y1 = plus(y1, stages.drifts[stage], tableau.alpha[stage] * size)
            weight = tableau.beta1[stage] * three + tableau.beta2[stage] * square
            y1 = field.plus_product(y1, stages.diffusions[stage], weight)
        if stages.together:  # the other terms cancel
            return StepResult(y1, None, None, None, None)
        mixed = _mixed(three, two, root)
        for stage, row in enumerate(tableau.b2):
            matrix = stages.diffusions[0]
            if stage:
                offsets = matrix_product(weighted_sum(row, stages.diffusions), mixed)
                matrix = _by_columns(field, t, y, offsets)
            y1 = field.plus_product(y1, matrix, tableau.beta3[stage] * three + tableau.beta4[stage] * root)
        return StepResult(y1, None, None, None, None)


class _Stages:
    """The stages of one step, in order.

    Attributes:
        together: Whether the columns of the diffusion depend on their own entries alone, or not on the state, so that
            one evaluation has them all.
        drifts: Drift of each stage, zero where nothing uses it.
        diffusions: Diffusion of each stage; the k-th column is that at the k-th column's own state.
    """

    def __init__(self, tableau: WeakTableau, field: SDEField, t: Scalar, h: Scalar, y: Tensor, noise: Tensor) -> None:
        self.tableau, self.field, self.t, self.h, self.y, self.noise = tableau, field, t, h, y, noise
        self.size = size_of(h, y)
        self.together = field.channels in (None, 1) or field.noise == "additive"
        self.drifts: list[Tensor] = []
        self.diffusions: list[Tensor] = []

    def add(self, stage: int) -> None:
        """Evaluate the next stage."""
        if not stage:
            self.drifts.append(self.field(self.t, self.y))
            self.diffusions.append(self.field.diffusion(self.t, self.y))
            return
        drift = self._drift(stage)
        self.diffusions.append(self._diffusion(stage))
        self.drifts.append(drift)

    def _drift(self, stage: int) -> Tensor:
        tableau, field = self.tableau, self.field
        later = [row[stage] for rows in (tableau.a0, tableau.a1) for row in rows[stage:]]
        if not (tableau.alpha[stage] or any(later)):
            return torch.zeros_like(self.y)
        state = self._moved(tableau.a0[stage - 1])
        for weight, matrix in zip(tableau.b0[stage - 1], self.diffusions, strict=True):
            if weight:
                state = field.plus_product(state, matrix, weight * self.noise)
        return field(self.t + tableau.c0[stage] * self.h, state)

    def _diffusion(self, stage: int) -> Tensor:
        field, time = self.field, self.t + self.tableau.c1[stage] * self.h
        if field.noise == "additive":
            return field.diffusion(time, self.y)
        state = self._moved(self.tableau.a1[stage - 1])
        spread, root = weighted_sum(self.tableau.b1[stage - 1], self.diffusions), root_of(length_of(self.size))
        if self.together:
            return field.diffusion(time, field.plus_product(state, spread, filled(self.noise, root)))
        return _by_columns(field, time, state, spread * wide(root, spread))

    def _moved(self, weights: Sequence[float]) -> Tensor:
        state = self.y
        for weight, drift in zip(weights, self.drifts, strict=True):
            if weight:
                state = plus(state, drift, weight * self.size)
        return state


def discrete_noise(w: Tensor, root: Size) -> tuple[Tensor, Tensor]:
    """Return three-point and two-point variables made from increments of a Brownian path.

    The first is ``sqrt(3) root`` or its negative with probability 1/6 each, and zero otherwise: its moments up to the
    fifth are those of the increment, with which it goes up and down. The second is ``root`` or its negative, and says
    which half of the increments that have this first one the increment lies in: it is independent of it.

    Args:
        w: Increments, of variance ``root^2``.
        root: Square root of the step: a number, or a tensor that broadcasts to the increments.
    """
    size = w.abs() / root
    far = size > _SIXTH
    three = torch.where(far, w.sign() * (math.sqrt(3) * root), 0.0)
    outer = torch.where(far, size > _TWELFTH, size > _THIRD)
    return three, (2.0 * outer.to(w.dtype) - 1.0) * root


def _mixed(three: Tensor, two: Tensor, root: Size) -> Tensor:
    """Return ``I_kl / sqrt(h)`` at ``[..., l, k]``, shape ``(..., m, m)``; zero where ``k`` is ``l``.

    ``I_kl`` is half of ``I_k I_l - V_kl`` for ``k < l``, and of ``I_k I_l + V_lk`` for ``k > l``, with two-point
    variables of size ``h`` (Kloeden, Platen 1992, 14.2). They are products ``two_k two_l``, which are uncorrelated in
    pairs: weak order 2 asks for no more. With ``sqrt(h) two_k`` for all ``l``, ``I_12`` and ``I_13`` would be
    correlated, and the order with three motions that do not commute would be 1.
    """
    products = three.unsqueeze(-1) * three.unsqueeze(-2)
    pairs = two.unsqueeze(-1) * two.unsqueeze(-2)
    return (0.5 / wide(root, products)) * (torch.triu(products + pairs, 1) + torch.tril(products - pairs, -1))


def _by_columns(field: SDEField, t: Scalar, y: Tensor, offsets: Tensor) -> Tensor:
    """Return the matrix whose k-th column is that of the diffusion at ``y`` plus the k-th offset."""
    columns = [field.diffusion(t, y + offset.reshape(y.shape))[..., k] for k, offset in enumerate(offsets.unbind(-1))]
    return torch.stack(columns, -1)
