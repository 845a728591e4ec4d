"""Takes recorded steps of a row solve again, one for each of some samples at once."""

from __future__ import annotations

import functools

import numpy
import torch
from torch import Tensor

from nde.solvers.retake import RetakenSteps, check_retake
from nde.solvers.rows.field import Counter
from nde.solvers.rows.norms import RowNorm, first_steps
from nde.solvers.rows.problem import RowProblem, as_column
from nde.solvers.rows.record import RowRecord

__all__ = ["RowStepRetaker"]

Vector = numpy.ndarray


class RowStepRetaker:
    """Takes steps of one row solve again.

    Args:
        problem: What was solved.
        record: What happened.
        states: States at the ends of the steps, in the order of the record, shape ``(steps, row size)``,
            differentiable; None if they were not kept.
    """

    def __init__(self, problem: RowProblem, record: RowRecord, states: Tensor | None) -> None:
        self._problem = problem
        self._record = record
        self._states = states

    def take(self, indices: Vector, grad: str, reference: bool) -> tuple[RetakenSteps, int]:
        """Return steps taken again, and the number of evaluations that they cost.

        Args:
            indices: The steps, in the order of the record, each of another sample, and the samples increasing.
            grad, reference: See `nde.solvers.solution.Solution.retake`.

        Raises:
            IndexError: There is no such step.
            ValueError: Steps cannot be taken again, as there.
        """
        problem, method = self._problem, self._problem.method
        rows, t, h, before = self._facts
        wrong = indices[(indices < 0) | (indices >= len(rows))]
        if wrong.size:
            raise IndexError(f"index must be one of the {len(rows)} accepted steps, but is {wrong[0]}.")
        rows, before = rows[indices], before[indices]
        check_retake(problem, self._states is not None or not (before >= 0).any(), grad, reference)
        if grad == "full" and problem.events:
            raise ValueError(
                'grad="full" gives no gradient by the times of events, because a step taken again keeps its time. Use '
                'grad="direct", or a global penalty.'
            )
        y = self._begins(rows, before)
        if grad == "direct":
            y = y.detach()
        counter = Counter()
        field = problem.field.counted(counter).of(rows)
        stepper = problem.stepper()
        norm = RowNorm(problem.layout, problem.rtol, problem.atol, problem.norm).of(torch.from_numpy(rows).to(y.device))
        begin, size = as_column(t[indices], y.device), as_column(h[indices], y.device)
        if reference:
            with torch.no_grad():
                carry = stepper.start(field, begin, y)
                slope = stepper.slope(field, begin, y, carry)
            ends = problem.times[rows, problem.counts[rows] - 1]
            lengths, _ = first_steps(field, norm, begin, ends - t[indices], y, slope, method.error_order or 1)
            size = torch.copysign(as_column(lengths, y.device), size)
        else:
            carry = stepper.start(field, begin, y)
        result = stepper.step(field, begin, size, y, carry)
        error = None if result.errors is None else norm.ratio(result.errors, y, result.y1)
        taken = RetakenSteps(begin.squeeze(-1), size.squeeze(-1), error, norm.stiffness(result, y))
        return taken, counter.calls

    @functools.cached_property
    def _facts(self) -> tuple[Vector, Vector, Vector, Vector]:
        """Sample, beginning, signed size and predecessor of every step; -1 for a predecessor of the first ones."""
        rows = self._record.joined("rows").astype(numpy.int64, copy=False)
        order = numpy.argsort(rows, kind="stable")
        before = numpy.full(len(rows), -1)
        same = rows[order[1:]] == rows[order[:-1]]
        before[order[1:][same]] = order[:-1][same]
        return rows, self._record.joined("t"), self._record.joined("h"), before

    def _begins(self, rows: Vector, before: Vector) -> Tensor:
        """Return the states that steps begin from."""
        start = self._problem.y0
        first = before < 0
        begins = start.index_select(0, torch.from_numpy(rows).to(start.device))
        if self._states is None or first.all():
            return begins
        later = self._states.index_select(0, torch.from_numpy(numpy.maximum(before, 0)).to(start.device))
        if not first.any():
            return later
        return torch.where(torch.from_numpy(first[:, None]).to(start.device), begins, later)
