"""Adds attempted steps to a record, as the solver's loops tell of them."""

from __future__ import annotations

import time
from typing import Any

from torch import Tensor

from nde.profile.samples import worst_sample
from nde.profile.solve_record import SolveRecord
from nde.solvers.method import StepResult
from nde.solvers.rows.problem import RowProblem

__all__ = ["Watcher"]


class Watcher:
    """See `nde.solvers.watching.StepWatcher`.

    Args:
        record: What is filled.
        problem: What is solved.
        samples: Whether to find the sample that each step is hardest for.
    """

    def __init__(self, record: SolveRecord, problem: Any, samples: bool) -> None:
        self._record = record
        self._clock = record.clock
        self._problem = problem if samples and not isinstance(problem, RowProblem) else None
        self._now = time.perf_counter if record.clock.synchronize is None else record.clock.now
        self._start = 0.0
        self._first = True

    def begins(self) -> None:
        """See `StepWatcher.begins`."""
        if self._first and self._clock.phase == "forward":
            self._record.opening_calls = self._clock.calls["forward"].field
            self._first = False
        self._start = self._now()

    def starts_over(self) -> None:
        """See `StepWatcher.starts_over`."""
        self._record.steps.clear()
        self._first = True

    def attempted(self, t: float, h: float, error: float, accepted: bool, y: Tensor, result: StepResult) -> None:
        """See `StepWatcher.attempted`."""
        seconds = self._now() - self._start
        if self._clock.phase == "backward":
            self._record.backward_steps.add(t, h, error, accepted, result.iterations, seconds, -1)
            return
        worst = -1 if self._problem is None else worst_sample(self._problem, y, result)
        self._record.steps.add(t, h, error, accepted, result.iterations, seconds, worst)

    def rows_attempted(self, rows: Any, t: Any, h: Any, error: Any, accepted: Any, result: Any) -> None:
        """See `StepWatcher.rows_attempted`."""
        seconds = self._now() - self._start
        table = self._record.backward_steps if self._clock.phase == "backward" else self._record.steps
        table.add_rows(rows, t, h, error, accepted, int(result.iterations), seconds)
