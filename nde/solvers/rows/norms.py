"""The scaled error norm of every row, and the automatic first step of every row."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy
import torch
from torch import Tensor

from nde.solvers.norms import Quotient, checked_norm
from nde.solvers.rows.field import RowField, RowLayout
from nde.solvers.transforms import as_host

__all__ = ["RowMeasure", "RowNorm", "finite_rows", "first_steps"]

_FLOOR = 1e-30
_NOISE = 100
_NOTHING = 1e8


class RowMeasure(NamedTuple):
    """What is read off the steps of all rows.

    Attributes:
        ratio: Errors in units of the tolerance, shape ``(rows,)``; None if the method estimates none.
        stiffness: Sums of squares of the two differences whose quotient is the stiffness estimate, shape
            ``(2, rows)``, or the estimate itself, shape ``(1, rows)``; None if there is none.
        size: Sums of squares of the states at the ends, shape ``(rows,)``.
    """

    ratio: Tensor | None
    stiffness: Tensor | None
    size: Tensor


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
        self._memory: Tensor | None = None
        self._opened: tuple[int, int, torch.Size] | None = None
        self._views: tuple[Tensor, Tensor, tuple[Tensor, ...]]
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
        other = RowNorm(self.layout, rtol, atol, self.norm)
        other._memory = self._memory
        return other

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

    def measure(
        self,
        errors: Tensor | None,
        stiffness: Quotient | Tensor | None,
        y0: Tensor,
        y1: Tensor,
        scratch: bool = False,
    ) -> RowMeasure:
        """Read everything off the steps of all rows, in few operations.

        Args:
            errors: Embedded differences, shape ``(estimates, rows, row size)``.
            stiffness: The stiffness estimate.
            y0: States at the beginning.
            y1: States at the end.
            scratch: Whether memory may be used again, because autograd records nothing.
        """
        squares = None
        if errors is not None and self.norm is not None:
            squares = self.mean_square(errors / self.scale(y0, y1))
        judged = errors if squares is None else None
        count = 0 if judged is None else len(judged)
        stack = self._stacked_in_room if scratch else self._stacked
        sums = self.sums(stack(judged, stiffness, y0, y1))
        if count:
            squares = sums[:count] / self.layout.row.entries
        if isinstance(stiffness, Quotient):
            estimate: Tensor | None = sums[count : count + 2]
        else:
            estimate = None if stiffness is None else stiffness.unsqueeze(0)
        return RowMeasure(None if squares is None else _combined(squares), estimate, sums[-1])

    def _stacked(self, errors: Tensor | None, stiffness: Quotient | Tensor | None, y0: Tensor, y1: Tensor) -> Tensor:
        """Return the squares of all that is measured: scaled errors, two differences, states at the end."""
        parts: list[Tensor] = [] if errors is None else list((errors / self.scale(y0, y1)).unbind(0))
        if isinstance(stiffness, Quotient):
            upper = stiffness.upper[0] - stiffness.upper[1]
            parts.append(upper if stiffness.size is None else upper / stiffness.size)
            parts.append(stiffness.lower[0] - stiffness.lower[1])
        return torch.stack([*parts, y1.detach()]).square()

    def _stacked_in_room(
        self, errors: Tensor | None, stiffness: Quotient | Tensor | None, y0: Tensor, y1: Tensor
    ) -> Tensor:
        """Return the same in memory that is used again: large temporary tensors would be mapped and zeroed anew."""
        count = 0 if errors is None else len(errors)
        room, head, places = self._room(count, count + (3 if isinstance(stiffness, Quotient) else 1), y1)
        if errors is not None:
            torch.div(errors, self.scale(y0, y1), out=head)
        if isinstance(stiffness, Quotient):
            upper, lower = places[count], places[count + 1]
            torch.sub(*stiffness.upper, out=upper)
            if stiffness.size is not None:
                upper.div_(stiffness.size)
            torch.sub(*stiffness.lower, out=lower)
        places[-1].copy_(y1)
        return room.square_()

    def _room(self, errors: int, parts: int, y: Tensor) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        """Return memory for some parts, that of the errors among them, and that of each part."""
        key = (errors, parts, y.shape)
        if key != self._opened:
            size = parts * y.numel()
            if self._memory is None or self._memory.numel() < size:
                self._memory = y.new_empty(size)
            room = self._memory[:size].view(parts, *y.shape)
            self._views, self._opened = (room, room[:errors], room.unbind(0)), key
        return self._views

    def ratio(self, errors: Tensor, y0: Tensor, y1: Tensor) -> Tensor:
        """Return the error of every row in units of the tolerance, shape ``(rows,)``; see `measure`."""
        return _combined(self.mean_square(errors / self.scale(y0, y1)))

    def local_error(self, errors: Tensor, y0: Tensor, y1: Tensor) -> Tensor:
        """Return the error vector of every row, whose scaled norm is `ratio`."""
        if errors.shape[0] == 1:
            return errors[0]
        fifth, third = self.mean_square(errors / self.scale(y0, y1))
        return errors[0] * ((fifth + _FLOOR) / (fifth + 0.01 * third + _FLOOR)).sqrt().unsqueeze(-1)

    def stiffness(self, estimate: Quotient | Tensor | None, y1: Tensor) -> Tensor | None:
        """Return the stiffness estimate of every row, shape ``(rows,)``."""
        measure = self.measure(None, estimate, y1, y1)
        return None if measure.stiffness is None else self.quotient(measure.stiffness, measure.size)

    def quotient(self, stiffness: Tensor, size: Tensor) -> Tensor:
        """Return the stiffness estimates of measures; see `RowMeasure`."""
        if stiffness.shape[0] == 1:
            return stiffness[0]
        with torch.no_grad():
            floor = size * (_NOISE * self._facts.eps) ** 2 + _NOTHING * self._facts.tiny
        return ((stiffness[0] + self._facts.tiny) / torch.maximum(stiffness[1], floor)).sqrt()


def _combined(squares: Tensor) -> Tensor:
    """Return the error of mean squares of one or two estimates, shape ``(estimates, rows)``."""
    if squares.shape[0] == 1:
        return (squares[0] + _FLOOR).sqrt()
    return squares[0] / (squares[0] + 0.01 * squares[1] + _FLOOR).sqrt()


def finite_rows(y: Tensor) -> Tensor:
    """Return which rows hold finite numbers only."""
    return torch.isfinite(y).all(-1)


@torch.no_grad()
def first_steps(
    field: RowField, norm: RowNorm, t: Tensor, span: numpy.ndarray, y: Tensor, slope: Tensor, error_order: int
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
