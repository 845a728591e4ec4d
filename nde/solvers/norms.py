"""The scaled norms that decide whether a step is accepted, differentiable so that penalties can be made of them."""

from __future__ import annotations

import torch
from torch import Tensor

from nde.solvers.structure import StateStructure

__all__ = ["ErrorNorm", "norm_quotient"]

# sqrt has no derivative at zero, where a field that is zero (fresh, padded or collapsed) puts the error estimate
_FLOOR = 1e-30


class ErrorNorm:
    """``rms(e / (atol + rtol * max(|y0|, |y1|)))`` over all entries of the state.

    Args:
        structure: Structure of the state.
        rtol: Relative tolerance, a number or a structure of numbers / tensors like the state.
        atol: Absolute tolerance, likewise.
        in_place: Reuse two vectors of scratch memory from call to call; only where no gradient is recorded.
    """

    def __init__(self, structure: StateStructure, rtol: float | Tensor, atol: float | Tensor, in_place: bool) -> None:
        self.structure = structure
        self.rtol = rtol
        self.atol = atol
        self.in_place = in_place and not structure.has_complex
        if self.in_place:
            self._scratch = torch.empty(2, structure.size, dtype=structure.dtype, device=structure.device).unbind(0)

    def scale(self, y0: Tensor, y1: Tensor) -> Tensor:
        """Return ``atol + rtol * max(|y0|, |y1|)``, shape ``(size,)``."""
        magnitude = self.structure.magnitude
        if self.in_place:
            largest, other = self._scratch
            torch.abs(y0, out=largest)
            torch.abs(y1, out=other)
            torch.maximum(largest, other, out=largest)
            return largest.mul_(self.rtol).add_(self.atol)
        return torch.maximum(magnitude(y0), magnitude(y1)) * self.rtol + self.atol

    def rms(self, value: Tensor, scale: Tensor) -> Tensor:
        """Return the root mean square of ``value / scale``, a 0-d tensor; never in place."""
        return (self._mean_square(value / scale) + _FLOOR).sqrt()

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
        squares = [self._mean_square(self._quotient(row, scale)) for row in errors.unbind(0)]
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

    def _quotient(self, value: Tensor, scale: Tensor) -> Tensor:
        if self.in_place:
            return torch.div(value, scale, out=self._scratch[1])
        return value / scale

    def _mean_square(self, value: Tensor) -> Tensor:
        return torch.dot(value, value) / self.structure.entries


def norm_quotient(upper: Tensor, lower: Tensor, reference: Tensor) -> Tensor:
    """Return ``|upper| / |lower|``, with a finite value and gradient when both vanish.

    ``lower`` is a difference of states near ``reference``. Below their rounding it is noise, so it is floored there.
    """
    eps = torch.finfo(reference.dtype).eps
    with torch.no_grad():
        floor = torch.dot(reference, reference) * eps**2 + _FLOOR
    top = torch.dot(upper, upper) + torch.finfo(reference.dtype).tiny
    return (top / torch.maximum(torch.dot(lower, lower), floor)).sqrt()
