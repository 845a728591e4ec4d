"""Explicit Runge-Kutta methods: one step from a tableau, on the tape or in a reused stage buffer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy
import torch
from torch import Tensor

from nde.solvers.explicit_reverse import ExplicitReverser
from nde.solvers.field import VectorField
from nde.solvers.method import Method, Reversal, Scalar, StepResult, StepReverser
from nde.solvers.norms import Quotient
from nde.solvers.rows.buffer import RowBuffer, ScaledStages
from nde.solvers.stage_buffer import StageBuffer
from nde.solvers.tableau import ButcherTableau

__all__ = ["ExplicitRungeKutta"]


class ExplicitRungeKutta(Method):
    """An explicit Runge-Kutta method.

    Args:
        name: Name of the method.
        tableau: Its coefficients.
        error_order: Exponent of ``h`` in its error estimate, where that is not the lowest embedded order plus one.
    """

    def __init__(self, name: str, tableau: ButcherTableau, error_order: float | None = None) -> None:
        self.name = name
        self.uses_tapes = True
        self.rows = True
        self.tableau = tableau
        self.order = tableau.order
        self.error_order = error_order
        if error_order is None and tableau.embedded_orders:
            self.error_order = min(tableau.embedded_orders) + 1
        self.interpolation_order = tableau.dense.order if tableau.dense else 0
        self.has_stiffness = tableau.stiffness_stages is not None
        self.stability = _stability_length(tableau)
        self.source = tableau.source

    def __repr__(self) -> str:
        return f"ExplicitRungeKutta({self.name!r}, order={self.order})"

    def start(self, field: VectorField, t: Scalar, y: Tensor) -> Tensor:
        """Return the first stage."""
        return field(t, y)

    def slope(self, field: VectorField, t: Scalar, y: Tensor, carry: Any) -> Tensor:
        """Return the first stage, which is the slope."""
        return carry

    def workspace(self, y: Tensor) -> StageBuffer | RowBuffer:
        """Return a stage buffer."""
        return StageBuffer(self.tableau, y) if y.dim() == 1 else RowBuffer(self.tableau, y)

    def reverser(self, reversal: Reversal, workspace: StageBuffer) -> StepReverser:
        """Return the transposed tableau: see `nde.solvers.explicit_reverse`."""
        return ExplicitReverser(self.tableau, reversal, workspace)

    def step(
        self, field: VectorField, t: Scalar, h: Scalar, y: Tensor, carry: Any, workspace: Any = None
    ) -> StepResult:
        """See `Method.step`."""
        if isinstance(workspace, RowBuffer):
            return self._step_rows(workspace, field, t, h, y, carry)
        if workspace is not None:
            return self._step_in(workspace, field, float(t), float(h), y, carry)
        tableau = self.tableau
        arguments, stages = [y], [carry]
        for c, row in zip(tableau.c[1:], tableau.a, strict=True):
            argument = _combine(y, h, row, stages)
            arguments.append(argument)
            stages.append(field(t + c * h, argument))
        y1 = arguments[-1] if tableau.fsal else _combine(y, h, tableau.b, stages)
        errors = None
        if tableau.errors:
            errors = torch.stack([_combine(None, h, row, stages) for row in tableau.errors])
        stiffness = None
        if tableau.stiffness_stages is not None:
            low, high = tableau.stiffness_stages
            stiffness = Quotient((stages[high], stages[low]), (arguments[high], arguments[low]))
        return StepResult(y1, stages[-1] if tableau.fsal else None, errors, stiffness, stages)

    def _step_in(
        self, buffer: StageBuffer, field: VectorField, t: float, h: float, y: Tensor, carry: Tensor
    ) -> StepResult:
        tableau = self.tableau
        stages, nodes, argue = buffer.stages, buffer.nodes, buffer.argument
        stages[0].copy_(carry)
        argument, last = y, carry
        compared = tableau.stiffness_stages or ()
        kept = {}  # an argument that nothing needs any more is freed at once, so that its memory is used again
        for index in range(1, tableau.stages):
            argument = argue(index, y, h)
            last = field(t + nodes[index] * h, argument)
            stages[index].copy_(last)
            if index in compared:
                kept[index] = argument
        y1 = argument if tableau.fsal else buffer.combine(y, h)
        errors = buffer.error_rows(h) if tableau.errors else None
        stiffness = None
        if tableau.stiffness_stages is not None:
            low, high = tableau.stiffness_stages
            stiffness = Quotient((stages[high], stages[low]), (kept[high], kept[low]))
        return StepResult(y1, last if tableau.fsal else None, errors, stiffness, buffer)

    def _step_rows(self, buffer: RowBuffer, field: VectorField, t: Any, h: Any, y: Tensor, carry: Tensor) -> StepResult:
        tableau, flat = self.tableau, y.view(-1)
        times = buffer.times(t, h, field.structure.time_dtype)
        column = h.to(y.dtype)
        h = column.expand_as(y).contiguous()
        buffer.put(0, carry, h)
        argument, last = y, carry
        for index in range(1, tableau.stages):
            final = tableau.fsal and index == tableau.stages - 1
            argument = buffer.end(y) if final else buffer.argument(index, flat)
            last = field(times[index], argument)
            buffer.put(index, last, h)
        y1 = argument if tableau.fsal else buffer.end(y)
        errors, readings = buffer.read(column)
        return StepResult(y1, last if tableau.fsal else None, errors, None, buffer, readings=readings)

    def interpolate(
        self, field: VectorField, t: Scalar, h: Scalar, y: Tensor, result: StepResult, thetas: Sequence[Scalar]
    ) -> Tensor:
        """See `Method.interpolate`; extra stages are evaluated here, once per step that has an output inside."""
        dense = self.tableau.dense
        if dense is None:
            raise ValueError(f"method {self.name!r} has no dense output, so outputs must lie at the ends of steps.")
        if isinstance(result.interior, StageBuffer):
            buffer, t, h = result.interior, float(t), float(h)
            for index, c in enumerate(dense.extra_c, start=self.tableau.stages):
                buffer.stages[index].copy_(field(t + c * h, buffer.argument(index, y, h)))
            return buffer.outputs(y, h, [float(theta) for theta in thetas])
        scaled = isinstance(result.interior, RowBuffer | ScaledStages)
        stages = list(result.interior.stages if isinstance(result.interior, RowBuffer) else result.interior)
        if scaled:
            stages = [stage / h for stage in stages]
        for c, row in zip(dense.extra_c, dense.extra_a, strict=True):
            stages.append(field(t + c * h, _combine(y, h, row, stages)))
        if y.dim() == 2:  # one row per sample, each at its own fractions
            theta = torch.stack([torch.as_tensor(theta) for theta in thetas]).to(y.dtype)
            rows = torch.tensor(dense.coefficients, dtype=y.dtype, device=y.device)
            powers = torch.cat([theta**degree for degree in range(1, rows.shape[1] + 1)], -1)
            return y + h * torch.einsum("kns,snm->knm", powers @ rows.T, torch.stack(stages))
        return torch.stack([_combine(y, h, dense_weights(dense.coefficients, theta), stages) for theta in thetas])


def _stability_length(tableau: ButcherTableau) -> float:
    """Return the largest x such that ``|R| <= 1`` on ``[-x, 0]``, R the stability polynomial."""
    a = numpy.zeros((tableau.stages, tableau.stages))
    for index, row in enumerate(tableau.a, start=1):
        a[index, : len(row)] = row
    coefficients, vector = [1.0], numpy.ones(tableau.stages)
    for _ in range(tableau.stages):
        coefficients.append(float(numpy.dot(tableau.b, vector)))
        vector = a @ vector
    # where R leaves [-1, 1], R^2 - 1 changes sign from below to above zero
    square = numpy.polynomial.Polynomial(coefficients) ** 2 - 1
    roots = numpy.asarray(square.roots(), dtype=complex)
    lengths = sorted(-roots.real[(abs(roots.imag) < 1e-9) & (roots.real < -1e-6)])
    return next((float(length) for length in lengths if square(-length - 1e-3) > 0), math.inf)


def dense_weights(coefficients: Sequence[Sequence[float]], theta: Scalar) -> list[Any]:
    """Return ``b_i(theta)`` for every stage, by Horner's rule; tensors where theta is one."""
    weights = []
    for row in coefficients:
        value: Any = 0.0
        for coefficient in reversed(row):
            value = (value + coefficient) * theta
        weights.append(value)
    return weights


def _combine(base: Tensor | None, h: Scalar, weights: Sequence[Any], stages: Sequence[Tensor]) -> Tensor:
    """Return ``base + h * sum_i weights[i] * stages[i]``, out of place and differentiable."""
    terms = [(w, s) for w, s in zip(weights, stages, strict=True) if not (isinstance(w, float) and w == 0.0)]
    if not terms:
        return torch.zeros_like(stages[0]) if base is None else base
    # stages are summed before they meet the state, whose rounding unit is far larger than theirs
    (weight, stage), *rest = terms
    if base is not None and not rest and isinstance(h, float) and isinstance(weight, float):
        return torch.add(base, stage, alpha=h * weight)
    total = stage if isinstance(weight, float) and weight == 1.0 else weight * stage
    for weight, stage in rest:
        total = torch.add(total, stage, alpha=weight) if isinstance(weight, float) else total + weight * stage
    if base is None:
        return h * total
    return torch.add(base, total, alpha=h) if isinstance(h, float) else base + h * total
