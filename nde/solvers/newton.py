"""Newton's method for the stages of implicit steps, batched over samples.

The unknowns are the slopes ``k_i = f(t_i, base_i + h sum_j a_ij k_j)`` of a block of stages, one row per sample. Rows
are factorised, judged and frozen one by one, so that a hard sample neither slows nor spoils the others. Diagonally
implicit methods solve blocks of one stage, fully implicit ones a single block.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from nde.solvers.jacobian import RowsView, row_jacobian

__all__ = ["Effort", "Factors", "StageBlock", "factorize", "solve_block"]

# iterations with the Jacobian of the beginning of the step, with one of each iterate, and with shorter steps
_SIMPLIFIED, _FULL, _DAMPED, _HALVINGS = 10, 15, 30, 12


@dataclass(slots=True)
class Effort:
    """Newton iterations of a step so far."""

    iterations: int = 0


@dataclass(slots=True)
class StageBlock:
    """A block of stages that are solved together.

    Attributes:
        view: The field on rows.
        times: Time of each stage.
        h: Step size: a number, or a tensor ``(n, 1)`` of one per row.
        bases: What each stage's argument is without this block's slopes, shape ``(n, m)`` each.
        a: Coefficients within the block.
        effort: Where the iterations are counted.
    """

    view: RowsView
    times: Sequence[Any]
    h: Any
    bases: Sequence[Tensor]
    a: Sequence[Sequence[float]]
    effort: Effort = field(default_factory=Effort)

    def arguments(self, slopes: Sequence[Tensor]) -> list[Tensor]:
        """Return the argument of every stage."""
        return [combine(base, self.h, row, slopes) for base, row in zip(self.bases, self.a, strict=True)]

    def residual(self, slopes: Sequence[Tensor]) -> Tensor:
        """Return ``k_i - f(t_i, Y_i)``, shape ``(stages, n, m)``."""
        points = self.arguments(slopes)
        values = [self.view(time, point) for time, point in zip(self.times, points, strict=True)]
        return torch.stack(list(slopes)) - torch.stack(values)

    def jacobians(self, slopes: Sequence[Tensor]) -> list[Tensor] | None:
        """Return the Jacobian at every stage; None if rows interact."""
        found = []
        for time, point in zip(self.times, self.arguments(slopes), strict=True):
            jacobian = row_jacobian(self.view, time, point.detach())
            if jacobian is None:
                return None
            found.append(jacobian)
        return found


@dataclass(slots=True)
class Factors:
    """Triangular factors of one matrix per row, shape ``(n, q, q)``, with their pivots."""

    lu: Tensor
    pivots: Tensor

    def solve(self, right: Tensor) -> Tensor:
        """Solve for a right-hand side of shape ``(stages, n, m)``; differentiable with respect to it."""
        stages, count, size = right.shape
        column = right.transpose(0, 1).reshape(count, stages * size, 1)
        found = torch.linalg.lu_solve(self.lu, self.pivots, column)
        return found.reshape(count, stages, size).transpose(0, 1)


def combine(base: Tensor, h: Any, weights: Sequence[Any], slopes: Sequence[Tensor]) -> Tensor:
    """Return ``base + h * sum_i weights[i] * slopes[i]``, out of place and differentiable."""
    total: Tensor | None = None
    for weight, slope in zip(weights, slopes, strict=True):
        if isinstance(weight, float) and weight == 0.0:
            continue
        total = weight * slope if total is None else total + weight * slope
    return base if total is None else base + h * total


def factorize(h: Any, a: Sequence[Sequence[float]], jacobians: Sequence[Tensor]) -> Factors:
    """Factorise ``I - h [a_ij J_i]``, one matrix of order ``stages * m`` per row.

    A singular matrix raises nothing: what is solved with it is not finite, and the row counts as not converged.

    Args:
        h: Step size: a number, or shape ``(n, 1)``.
        a: Coefficients within the block.
        jacobians: Jacobian at every stage, shape ``(n, m, m)`` each.
    """
    _, size, _ = jacobians[0].shape
    stages = len(a)
    step = h.detach().reshape(-1, 1, 1) if isinstance(h, Tensor) else h
    rows = []
    for row, jacobian in zip(a, jacobians, strict=True):
        scaled = step * jacobian
        rows.append(torch.cat([-value * scaled for value in row], 2))
    matrix = torch.cat(rows, 1) + torch.eye(stages * size, dtype=jacobians[0].dtype, device=jacobians[0].device)
    # a step size on the tape is of double precision
    lu, pivots, _ = torch.linalg.lu_factor_ex(matrix.to(jacobians[0].dtype))
    return Factors(lu, pivots)


def solve_block(
    block: StageBlock, jacobian: Tensor, factors: Factors | None, y: Tensor, eps: float
) -> tuple[Tensor, Tensor, Factors]:
    """Solve a block of stages to rounding, without a tape.

    First by simplified Newton iterations with one Jacobian; rows that converge too slowly, judged by their rate
    ``theta`` as in Hairer and Wanner (1996), Solving ODEs II, IV.8, get a Jacobian of every further iterate, and in the
    end shorter steps.

    Args:
        block: The stages; all its tensors constants.
        jacobian: Jacobian at the beginning of the step, shape ``(n, m, m)``.
        factors: Factors made from it, if an earlier block had the same coefficients.
        y: State at the beginning, shape ``(n, m)``; the scale of the errors.
        eps: Rounding unit of the field.

    Returns:
        The slopes, shape ``(stages, n, m)``; which rows converged, shape ``(n,)``; and the factors.
    """
    stages, (count, _) = len(block.a), block.view.shape
    if factors is None:
        factors = factorize(block.h, block.a, [jacobian] * stages)
    search = _Search(block, y, eps, torch.zeros(stages, *y.shape, dtype=y.dtype, device=y.device))
    search.simplified(factors)
    if not search.finished():
        search.full(_FULL, 0)
    if not search.finished():
        search.restart()
        search.full(_DAMPED, _HALVINGS)
    return search.slopes, search.converged.reshape(count), factors


class _Search:
    """Newton iterations on all rows at once; converged rows stay as they are."""

    def __init__(self, block: StageBlock, y: Tensor, eps: float, start: Tensor) -> None:
        self.block = block
        self.slopes = start
        self.converged = torch.zeros(y.shape[0], dtype=torch.bool, device=y.device)
        self._eps = eps
        # where an iteration stands still below this, it is rounding that it stands on
        self._floor = eps ** (2 / 3)
        self._tiny = torch.finfo(y.dtype).tiny
        self._h = block.h.abs() if isinstance(block.h, Tensor) else abs(block.h)
        self._scale = torch.stack([y, *block.bases]).abs().amax((0, 2))

    def finished(self) -> bool:
        """Return whether all rows converged."""
        return bool(self.converged.all())

    def simplified(self, factors: Factors) -> None:
        """Iterate with one matrix; rows that diverge, or are too slow to arrive, stay where they are."""
        working = ~self.converged
        before: Tensor | None = None
        for iteration in range(_SIMPLIFIED):
            self.block.effort.iterations += 1
            change = factors.solve(self.block.residual(self.slopes.unbind(0)))
            size = self._size(change)
            done, lost = self._arrived(size, before), ~size.isfinite()
            if before is not None:
                theta = size / before.clamp_min(self._tiny)
                left = theta ** (_SIMPLIFIED - 1 - iteration) * size
                lost |= ~done & ((theta >= 1) | (left > self._floor))
            working = self._move(change, working & ~lost, done)
            if not bool(working.any()):
                return
            before = size

    def restart(self) -> None:
        """Go back to the beginning with the rows that are not solved."""
        self.slopes = torch.where(self.converged.unsqueeze(-1), self.slopes, 0.0)

    def full(self, iterations: int, halvings: int) -> None:
        """Iterate with the matrix of every iterate, and with steps short enough for the error to fall.

        Without halvings all steps are whole: these converge where the error must rise before it falls. A step of length
        ``s`` is taken where the correction after it, measured with the same matrix, is below ``1 - s / 4`` of the one
        before: the monotonicity test of Deuflhard (2011), Newton Methods for Nonlinear Problems, 3.3.
        """
        working = ~self.converged
        length = torch.ones_like(self._scale)
        before: Tensor | None = None
        for _ in range(iterations):
            self.block.effort.iterations += 1
            jacobians = self.block.jacobians(self.slopes.unbind(0))
            if jacobians is None:  # samples interact after all: the caller takes them together
                return
            factors = factorize(self.block.h, self.block.a, jacobians)
            change = factors.solve(self.block.residual(self.slopes.unbind(0)))
            size = self._size(change)
            working = working & size.isfinite()
            done = self._arrived(size, before)
            length = torch.where(done | (size <= self._floor), 1.0, (4 * length).clamp_max(1.0))
            good = done | (size <= self._floor) | ~working | (halvings == 0)
            for _ in range(halvings):
                if bool(good.all()):
                    break
                trial = self.slopes - length.unsqueeze(-1) * change
                after = self._norm(factors.solve(self.block.residual(trial.unbind(0))))
                good |= after <= (1 - length / 4) * self._norm(change)
                length = torch.where(good, length, length / 2)
            working = self._move(length.unsqueeze(-1) * change, working & good, done)
            if not bool(working.any()):
                return
            before = torch.where(length == 1, size, torch.nan)  # a shortened step tells no rate of convergence

    def _norm(self, change: Tensor) -> Tensor:
        return (self._h * change).abs().amax((0, 2))

    def _size(self, change: Tensor) -> Tensor:
        """Return a correction relative to the state and to what the step adds to it, shape ``(n,)``."""
        scale = torch.maximum(self._scale, self._norm(self.slopes - change))
        return self._norm(change) / scale.clamp_min(self._tiny)

    def _arrived(self, size: Tensor, before: Tensor | None) -> Tensor:
        """Return which rows are solved to rounding once this correction is applied."""
        done = size <= self._eps
        if before is not None:
            theta = size / before.clamp_min(self._tiny)
            done |= (theta < 1) & (theta * size <= self._eps * (1 - theta))
            done |= (before <= self._floor) & (size <= self._floor) & (theta > 0.25)
        return done

    def _move(self, change: Tensor, keep: Tensor, done: Tensor) -> Tensor:
        """Apply a correction to some rows and return those that are not done."""
        self.slopes = torch.where(keep.unsqueeze(-1), self.slopes - change, self.slopes)
        self.converged = self.converged | (keep & done)
        return keep & ~done
