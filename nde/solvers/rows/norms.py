"""The scaled error norm of every row, and the automatic first step of every row."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy
import torch
from torch import Tensor

from nde.solvers.method import StepResult
from nde.solvers.norms import Quotient, checked_norm
from nde.solvers.rows.field import RowField, RowLayout
from nde.solvers.transforms import as_host

__all__ = ["RowMeasure", "RowNorm", "finite_rows", "first_steps"]

_FLOOR = 1e-30
_NOISE = 100
_NOTHING = 1e8


class RowMeasure(NamedTuple):
    """What is read off the steps of all rows; `RowNorm.estimates` says what it means.

    Attributes:
        sums: Sums of squares over the entries of each row: of the two differences whose quotient is the stiffness
            estimate, of the errors in units of the tolerance, and of the states at the ends, shape ``(sums, rows)``.
        differences: How many of these belong to the stiffness estimate: 2 or 0.
        squares: Mean squares of the errors by a norm of the user's, shape ``(estimates, rows)``; None without one.
        stiffness: Stiffness estimates that are no quotient, shape ``(rows,)``; None if there are none.
        size: Step sizes that the upper difference was multiplied with, shape ``(rows,)``; None if it was not.
    """

    sums: Tensor
    differences: int
    squares: Tensor | None = None
    stiffness: Tensor | None = None
    size: Tensor | None = None

    @classmethod
    def joined(cls, parts: Sequence[RowMeasure], taken: Tensor | None) -> RowMeasure:
        """Return the measures of many iterations as one.

        Args:
            parts: The measures.
            taken: Places of the rows that are wanted; None for all of them.
        """

        def join(name: str) -> Tensor | None:
            values = [getattr(part, name) for part in parts]
            if values[0] is None:
                return None
            value = torch.cat(values, -1)
            return value if taken is None else value.index_select(-1, taken)

        sums = join("sums")
        if sums is None:
            raise ValueError("a measure has no sums.")
        return cls(sums, parts[0].differences, join("squares"), join("stiffness"), join("size"))


class RowNorm:
    """``rms(e / (atol + rtol * max(|y0|, |y1|)))`` over the entries of each row; see `nde.solvers.norms.ErrorNorm`.

    Args:
        layout: Layout of the state.
        rtol: Relative tolerance, a number or one value per entry, shape ``(samples, row size)``.
        atol: Absolute tolerance, likewise.
        norm: Norm of a state of scaled errors, where the whole state is one row; None for the root mean square.
    """

    def __init__(
        self,
        layout: RowLayout,
        rtol: float | Tensor,
        atol: float | Tensor,
        norm: Callable[[Any], Tensor] | None = None,
    ) -> None:
        self.layout = layout
        self.norm = norm
        self.rtol = rtol
        tiny = torch.finfo(layout.structure.dtype).tiny
        self.atol = max(atol, tiny) if isinstance(atol, float) else atol.clamp_min(tiny)
        self._facts = torch.finfo(layout.structure.dtype)
        self._ones = torch.ones(layout.row.size, dtype=layout.structure.dtype, device=layout.structure.device)
        self._atol = torch.as_tensor(self.atol, dtype=layout.structure.dtype, device=layout.structure.device)

    def of(self, index: Tensor) -> RowNorm:
        """Return the norm of other samples."""
        if isinstance(self.rtol, float) and isinstance(self.atol, float):
            return self
        rtol, atol = (
            part if isinstance(part, float) else part.index_select(0, index) for part in (self.rtol, self.atol)
        )
        return RowNorm(self.layout, rtol, atol, self.norm)

    def scale(self, y0: Tensor, y1: Tensor) -> Tensor:
        """Return ``atol + rtol * max(|y0|, |y1|)``, shape ``(rows, row size)``."""
        magnitude, rtol = self.layout.row.magnitude, self.rtol
        larger = torch.maximum(magnitude(y0), magnitude(y1))
        if isinstance(rtol, float):
            return torch.add(self._atol, larger, alpha=rtol)
        return torch.addcmul(self._atol, larger, rtol)

    def mean_square(self, value: Tensor) -> Tensor:
        """Return the mean square over the entries of each row, shape ``(rows,)``."""
        if self.norm is not None:
            rows = [
                checked_norm(self.norm, self.layout.row.unflatten(row)) for row in value.reshape(-1, value.shape[-1])
            ]
            return torch.stack(rows).to(value.dtype).square().reshape(value.shape[:-1])
        return self.sums(value.square()) / self.layout.row.entries

    def sums(self, value: Tensor) -> Tensor:
        """Return the sum over the entries of each row; with narrow rows, a product is the fastest way to it."""
        return value @ self._ones

    def measure(self, result: StepResult, y0: Tensor, with_errors: bool = True) -> RowMeasure:
        """Read everything off the steps of all rows, in few operations.

        Args:
            result: What the steps left.
            y0: States at the beginning.
            with_errors: Whether errors are wanted.
        """
        errors, y1 = result.errors if with_errors else None, result.y1
        scale, squares = None, None
        if errors is not None:
            scale = self.scale(y0, y1)
            if self.norm is not None:
                squares, scale = self.mean_square(errors / scale), None
        readings, stiffness = result.readings, result.stiffness
        if readings is not None:
            sums = self.sums(readings.squares(scale, y1))
            return RowMeasure(sums, readings.differences, squares, None, readings.size)
        parts: list[Tensor] = []
        if isinstance(stiffness, Quotient):
            parts += [stiffness.upper[0] - stiffness.upper[1], stiffness.lower[0] - stiffness.lower[1]]
        differences = len(parts)
        if errors is not None and scale is not None:
            parts.extend((errors / scale).unbind(0))
        sums = self.sums(torch.stack([*parts, y1.detach()]).square())
        return RowMeasure(sums, differences, squares, None if isinstance(stiffness, Quotient) else stiffness)

    def judge(self, measure: RowMeasure, y1: Tensor) -> numpy.ndarray:
        """Return the scaled error of every row on the host; NaN where the state is not finite, 0 without an estimate.

        Args:
            measure: What was read off the steps.
            y1: States at the ends.
        """
        sums = as_host(measure.sums)
        if measure.squares is not None:
            squares = as_host(measure.squares)
        else:
            squares = sums[measure.differences : -1] / self.layout.row.entries
        ratio = _combined(squares) if len(squares) else numpy.zeros(sums.shape[1])
        value: numpy.ndarray = ratio + 0 * sums[-1]  # zero times what is not finite is NaN
        if math.isnan(value.max()):  # the sum alone may have overflowed
            value = numpy.where(as_host(finite_rows(y1)), ratio, math.nan)
        return value

    def estimates(self, measure: RowMeasure) -> tuple[Tensor | None, Tensor | None]:
        """Return the scaled errors and the stiffness estimates, shape ``(rows,)`` each; None where there are none."""
        squares = measure.squares
        if squares is None:
            squares = measure.sums[measure.differences : -1] / self.layout.row.entries
        error = _combined(squares) if squares.shape[0] else None
        stiffness = measure.stiffness
        if measure.differences:
            upper, lower, size = measure.sums[0], measure.sums[1], measure.sums[-1].detach()
            if measure.size is not None:
                upper = upper / measure.size.square()
            floor = size * (_NOISE * self._facts.eps) ** 2 + _NOTHING * self._facts.tiny
            stiffness = ((upper + self._facts.tiny) / torch.maximum(lower, floor)).sqrt()
        return error, stiffness

    def ratio(self, errors: Tensor, y0: Tensor, y1: Tensor) -> Tensor:
        """Return the error of every row in units of the tolerance, shape ``(rows,)``; see `measure`."""
        return _combined(self.mean_square(errors / self.scale(y0, y1)))

    def stiffness(self, result: StepResult, y0: Tensor) -> Tensor | None:
        """Return the stiffness estimate of every row, shape ``(rows,)``; None if the method has none."""
        return self.estimates(self.measure(result, y0, with_errors=False))[1]

    def local_error(self, errors: Tensor, y0: Tensor, y1: Tensor) -> Tensor:
        """Return the error vector of every row, whose scaled norm is `ratio`."""
        if errors.shape[0] == 1:
            return errors[0]
        fifth, third = self.mean_square(errors / self.scale(y0, y1))
        return errors[0] * ((fifth + _FLOOR) / (fifth + 0.01 * third + _FLOOR)).sqrt().unsqueeze(-1)


def _combined(squares: Any) -> Any:
    """Return the error of mean squares of one or two estimates, shape ``(estimates, rows)``, tensors or host values."""
    if squares.shape[0] == 1:
        return (squares[0] + _FLOOR) ** 0.5
    return squares[0] / (squares[0] + 0.01 * squares[1] + _FLOOR) ** 0.5


def finite_rows(y: Tensor) -> Tensor:
    """Return which rows hold finite numbers only."""
    return torch.isfinite(y).all(-1)


@torch.no_grad()
def first_steps(
    field: RowField, norm: RowNorm, t: Tensor, span: numpy.ndarray, y: Tensor, slope: Tensor, error_order: float
) -> tuple[numpy.ndarray, float]:
    """Return positive sizes of the first steps, NaN where the field is not finite, and the scaled norm of the state.

    See `nde.solvers.initial_step.first_step`.
    """
    scale = norm.scale(y, y)
    size_of_state = as_host(norm.mean_square(y / scale).double().sqrt())
    size_of_slope = as_host(norm.mean_square(slope / scale).double().sqrt())
    lengths = numpy.abs(span)
    with numpy.errstate(all="ignore"):
        huge = ~(numpy.isfinite(size_of_slope) & numpy.isfinite(size_of_state))
        finite = as_host(finite_rows(slope) & finite_rows(y))
        guess = 0.01 * size_of_state / size_of_slope
        guess = numpy.where(numpy.minimum(size_of_state, size_of_slope) < 1e-5, 1e-6, guess)
        guess = numpy.minimum(numpy.where(huge, 1e-6, guess), lengths)
        signed = torch.from_numpy(numpy.copysign(guess, span)).to(y.device).unsqueeze(-1)
        probe = field(t + signed, y + slope * signed.to(y.dtype))
        curvature = as_host(norm.mean_square((probe - slope) / scale).double().sqrt()) / guess
        steepest = numpy.maximum(size_of_slope, curvature)
        by_order = numpy.where(
            steepest <= 1e-15, numpy.maximum(1e-6, guess * 1e-3), (0.01 / steepest) ** (1 / error_order)
        )
        size = numpy.minimum(numpy.minimum(100 * guess, by_order), lengths)
        size = numpy.where(numpy.isfinite(curvature), size, guess)
        size = numpy.where(huge, numpy.where(finite, guess, math.nan), size)
    usable = size_of_state[numpy.isfinite(size_of_state)]
    return size, float(usable.max()) if usable.size else 0.0
