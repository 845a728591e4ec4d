"""The scaled norms that decide whether a step is accepted, differentiable so that penalties can be made of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from nde.solvers.structure import StateStructure

__all__ = ["CustomNorm", "ErrorNorm", "Measurement", "Quotient", "ScratchNorm", "checked_norm"]

# sqrt has no derivative at zero, where a field that is zero (fresh, padded or collapsed) puts the error estimate
_FLOOR = 1e-30
# rounding units of a state below which the difference of two of its neighbours tells nothing
_NOISE = 100
# smallest numbers below which a square counts as none: the quotient of two vanishing differences is then 1e-4
_NOTHING = 1e8


class Quotient(NamedTuple):
    """A quotient of norms of two differences, ``|upper[0] - upper[1]| / |lower[0] - lower[1]|``.

    Attributes:
        upper, lower: What the differences are of.
    """

    upper: tuple[Tensor, Tensor]
    lower: tuple[Tensor, Tensor]


@dataclass(slots=True)
class Measurement:
    """What is read off one attempted step.

    Attributes:
        value: Scaled error norm as a host float; NaN if the state is not finite, 0 if the method has no estimate.
        ratio: The same as an output of the solve: a 0-d tensor on the tape, a host float off it; None if there is none.
        stiffness: Stiffness estimate, likewise.
    """

    value: float
    ratio: Tensor | float | None
    stiffness: Tensor | float | None


class ErrorNorm:
    """``rms(e / (atol + rtol * max(|y0|, |y1|)))`` over all entries of the state, on the tape.

    Args:
        structure: Structure of the state.
        rtol: Relative tolerance, a number or a vector of shape ``(size,)``.
        atol: Absolute tolerance, likewise.
    """

    def __init__(self, structure: StateStructure, rtol: float | Tensor, atol: float | Tensor) -> None:
        self.structure = structure
        self.rtol = rtol
        # without an absolute tolerance, an entry that is exactly zero must not divide by zero
        tiny = torch.finfo(structure.dtype).tiny
        self.atol = max(atol, tiny) if isinstance(atol, float) else atol.clamp_min(tiny)

    def scale(self, y0: Tensor, y1: Tensor) -> Tensor:
        """Return ``atol + rtol * max(|y0|, |y1|)``, shape ``(size,)``."""
        magnitude = self.structure.magnitude
        return torch.maximum(magnitude(y0), magnitude(y1)) * self.rtol + self.atol

    def rms(self, value: Tensor, scale: Tensor) -> float:
        """Return the root mean square of ``value / scale``."""
        return math.sqrt(float(self._mean_square(value / scale)))

    def ratio(self, errors: Tensor, y0: Tensor, y1: Tensor) -> Tensor:
        """Return the error of a step in units of the tolerance; the step is acceptable up to 1.

        Args:
            errors: Embedded differences, shape ``(rows, size)``. Two rows are folded as Hairer's DOP853 does:
                ``|e5|^2 / sqrt(|e5|^2 + 0.01 |e3|^2)`` (Hairer, Norsett, Wanner, Solving ODEs I, II.10).
            y0: State at the beginning of the step.
            y1: State at its end.

        Returns:
            A 0-d tensor, differentiable with a finite gradient everywhere, also at zero error.
        """
        scale = self.scale(y0, y1)
        squares = [self._mean_square(row / scale) for row in errors.unbind(0)]
        if len(squares) == 1:
            return (squares[0] + _FLOOR).sqrt()
        return squares[0] / (squares[0] + 0.01 * squares[1] + _FLOOR).sqrt()

    def local_error(self, errors: Tensor, y0: Tensor, y1: Tensor) -> Tensor:
        """Return the error vector of a step, shape ``(size,)``, whose scaled norm is `ratio`."""
        if errors.shape[0] == 1:
            return errors[0]
        scale = self.scale(y0, y1)
        fifth, third = (self._mean_square(row / scale) for row in errors.unbind(0))
        return errors[0] * ((fifth + _FLOOR) / (fifth + 0.01 * third + _FLOOR)).sqrt()

    def quotient(self, quotient: Quotient, reference: Tensor) -> Tensor:
        """Return a quotient of norms, a 0-d tensor with a finite value and gradient when both norms vanish.

        The lower difference is one of states near ``reference``. Below their rounding it is noise, so it is floored
        there.
        """
        upper, lower = quotient.upper[0] - quotient.upper[1], quotient.lower[0] - quotient.lower[1]
        facts = torch.finfo(reference.dtype)
        with torch.no_grad():
            floor = torch.dot(reference, reference) * (_NOISE * facts.eps) ** 2 + _NOTHING * facts.tiny
        top = torch.dot(upper, upper) + facts.tiny
        return (top / torch.maximum(torch.dot(lower, lower), floor)).sqrt()

    def ratios(self, errors: Tensor, states: Tensor) -> Tensor:
        """Return what `ratio` does for many steps that follow one another, of one embedded difference each.

        Args:
            errors: Embedded differences, shape ``(steps, size)``; overwritten where nothing is recorded.
            states: States at all ends, shape ``(steps + 1, size)``; likewise.
        """
        if errors.requires_grad or states.requires_grad:
            squares = (errors / ErrorNorm.scale(self, states[:-1], states[1:])).square().sum(1)
        else:
            sizes = states.abs_()
            errors.div_(torch.maximum(sizes[:-1], sizes[1:]).mul_(self.rtol).add_(self.atol))
            squares = torch.linalg.vector_norm(errors, dim=1).square()
        return (squares / self.structure.entries + _FLOOR).sqrt()

    def quotients(self, quotients: Sequence[Quotient | Tensor], references: Tensor) -> Tensor:
        """Return what `quotient` does for many steps; references of shape ``(steps, size)``."""
        rows = zip(quotients, references.unbind(0), strict=True)
        return torch.stack([self.quotient(each, row) if isinstance(each, Quotient) else each for each, row in rows])

    def measure(
        self, y0: Tensor, y1: Tensor, errors: Tensor | None, stiffness: Quotient | Tensor | None
    ) -> Measurement:
        """Judge an attempted step; one transfer from the device."""
        ratio = None if errors is None else self.ratio(errors, y0, y1)
        if isinstance(stiffness, Quotient):
            stiffness = self.quotient(stiffness, y1)
        with torch.no_grad():
            nothing = y1.sum() * 0  # NaN as soon as one entry is not finite, and far cheaper than isfinite
            value = float(nothing if ratio is None else ratio + nothing)
            if math.isnan(value) and bool(torch.isfinite(y1).all()):  # the sum alone overflowed
                value = 0.0 if ratio is None else float(ratio)
        return Measurement(value, ratio, stiffness)

    def _mean_square(self, value: Tensor) -> Tensor:
        return torch.dot(value, value) / self.structure.entries

    def pull_ratio(self, errors: Tensor, y0: Tensor, y1: Tensor, cotangent: float) -> tuple[Tensor, Tensor, Tensor]:
        """Return the cotangents of the embedded differences and of both states, given that of `ratio`."""
        with torch.enable_grad():
            leaves = [tensor.detach().requires_grad_() for tensor in (errors, y0, y1)]
            ratio = self.ratio(*leaves)
            at_errors, at_y0, at_y1 = torch.autograd.grad(ratio, leaves, torch.full_like(ratio, cotangent))
        return at_errors, at_y0, at_y1


class CustomNorm(ErrorNorm):
    """The norm of the user's choice instead of the root mean square.

    Args:
        structure: Structure of the state.
        rtol: Relative tolerance.
        atol: Absolute tolerance.
        norm: Callable that turns a state of scaled errors into a 0-d tensor.
    """

    def __init__(
        self, structure: StateStructure, rtol: float | Tensor, atol: float | Tensor, norm: Callable[[Any], Tensor]
    ) -> None:
        super().__init__(structure, rtol, atol)
        self._norm = norm

    def _mean_square(self, value: Tensor) -> Tensor:
        return checked_norm(self._norm, self.structure.unflatten(value)).to(value.dtype).square()


def checked_norm(norm: Callable[[Any], Tensor], state: Any) -> Tensor:
    """Return a user's norm of a state.

    Raises:
        TypeError: It is no real tensor.
        ValueError: It has axes.
    """
    value = norm(state)
    if not isinstance(value, Tensor) or value.is_complex():
        raise TypeError(f"norm(scaled_error) must return a real 0-d tensor, but returned {value!r}.")
    if value.dim():
        raise ValueError(f"norm(scaled_error) must return a 0-d tensor, but returned the shape {tuple(value.shape)}.")
    return value


class ScratchNorm(ErrorNorm):
    """The same norm off the tape: vectors in reused scratch memory, scalars on the host.

    Args:
        structure: Structure of the state.
        rtol: Relative tolerance.
        atol: Absolute tolerance.
        scratch: Vectors, shape ``(4, size)``; two are enough where `pull_ratio` is not called.
    """

    def __init__(self, structure: StateStructure, rtol: float | Tensor, atol: float | Tensor, scratch: Tensor) -> None:
        super().__init__(structure, rtol, atol)
        self._first, self._second, *self._more = scratch.unbind(0)
        self._atol = torch.as_tensor(self.atol, dtype=scratch.dtype, device=scratch.device)
        self._sums = scratch.new_zeros(5)
        self._slots = self._sums.unbind(0)
        self._eps, self._tiny = torch.finfo(scratch.dtype).eps, torch.finfo(scratch.dtype).tiny

    def scale(self, y0: Tensor, y1: Tensor) -> Tensor:
        """See `ErrorNorm.scale`; the result is valid until the next call."""
        scale = self._first
        if self.structure.has_complex:
            scale.copy_(super().scale(y0, y1))
            return scale
        torch.abs(y0, out=scale)
        torch.abs(y1, out=self._second)
        torch.maximum(scale, self._second, out=scale)
        if isinstance(self.rtol, float):
            return torch.add(self._atol, scale, alpha=self.rtol, out=scale)
        return torch.addcmul(self._atol, scale, self.rtol, out=scale)

    def rms(self, value: Tensor, scale: Tensor) -> float:
        """See `ErrorNorm.rms`."""
        work = torch.div(value, scale, out=self._second)
        return math.sqrt(float(torch.dot(work, work)) / self.structure.entries)

    def measure(
        self, y0: Tensor, y1: Tensor, errors: Tensor | None, stiffness: Quotient | Tensor | None
    ) -> Measurement:
        """See `ErrorNorm.measure`."""
        slots, work = self._slots, self._second
        torch.dot(y1, y1, out=slots[0])
        if errors is not None:
            scale = self.scale(y0, y1)
            for row, slot in zip(errors.unbind(0), slots[1:3], strict=False):
                torch.div(row, scale, out=work)
                torch.dot(work, work, out=slot)
        if isinstance(stiffness, Quotient):
            torch.sub(*stiffness.upper, out=work)
            torch.dot(work, work, out=slots[3])
            torch.sub(*stiffness.lower, out=work)
            torch.dot(work, work, out=slots[4])
        size, first, second, upper, lower = self._sums.tolist()
        ratio: float | None = None
        value = 0.0
        if errors is not None:
            first, second = first / self.structure.entries, second / self.structure.entries
            if errors.shape[0] == 1:
                ratio = math.sqrt(first + _FLOOR)
            else:
                ratio = first / math.sqrt(first + 0.01 * second + _FLOOR)
            value = ratio
        if not math.isfinite(size) and not bool(torch.isfinite(y1).all()):
            value = math.nan
        if isinstance(stiffness, Quotient):
            floor = (size if math.isfinite(size) else 0.0) * (_NOISE * self._eps) ** 2 + _NOTHING * self._tiny
            stiffness_value: Tensor | float | None = math.sqrt(upper / max(lower, floor))
        else:
            stiffness_value = stiffness
        return Measurement(value, ratio, stiffness_value)

    def pull_ratio(self, errors: Tensor, y0: Tensor, y1: Tensor, cotangent: float) -> tuple[Tensor, Tensor, Tensor]:
        """See `ErrorNorm.pull_ratio`; the results lie in scratch memory and in that of ``errors``."""
        if self.structure.has_complex:
            return ErrorNorm(self.structure, self.rtol, self.atol).pull_ratio(errors, y0, y1, cotangent)
        scale, quotient, (at_scale, which) = self.scale(y0, y1), self._second, self._more
        # the larger of both states made the scale: 1 where that is the first one, -1 where the second; its sizes
        # are still where the scale was made
        torch.abs(y0, out=which).sub_(quotient).sign_()
        rows, inverse = errors.unbind(0), scale.reciprocal_()
        squares = [float(self._mean_square(torch.mul(row, inverse, out=quotient))) for row in rows]
        # d ratio / d (mean square of a row), times the derivative of a mean square by the quotients but for these
        if len(squares) == 1:
            slopes = [0.5 / math.sqrt(squares[0] + _FLOOR)]
        else:
            folded = squares[0] + 0.01 * squares[1] + _FLOOR
            slopes = [folded**-0.5 - 0.5 * squares[0] * folded**-1.5, -0.005 * squares[0] * folded**-1.5]
        for index, (row, slope) in enumerate(zip(rows, slopes, strict=True)):
            if len(rows) > 1:
                torch.mul(row, inverse, out=quotient)
            torch.mul(quotient, inverse, out=row).mul_(2 * slope * cotangent / self.structure.entries)
            if index:
                at_scale.addcmul_(quotient, row)
            else:
                torch.mul(quotient, row, out=at_scale)
        # half to each state, and that of the smaller one to the larger
        at_scale.mul_(self.rtol).mul_(-0.5)
        which.mul_(at_scale)
        at_y0 = torch.add(at_scale, which, out=scale)
        at_y1 = at_scale.sub_(which)
        return errors, at_y0.mul_(torch.sign(y0, out=which)), at_y1.mul_(torch.sign(y1, out=which))
