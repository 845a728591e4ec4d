"""The direct adjoint: the solve is recorded by autograd, operation by operation.

Memory grows with every evaluation of the field, but nothing is asked of the field: any closure, any number of
derivatives, forward mode.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from nde.adjoint.adjoint import Adjoint
from nde.adjoint.rows import solve_rows_on_tape
from nde.solvers.problem import Problem
from nde.solvers.record import make_record, make_solution
from nde.solvers.rows.problem import RowProblem
from nde.solvers.rows.solution import RowSolution
from nde.solvers.solution import Solution, Stats
from nde.solvers.time_axis import TimeAxis
from nde.solvers.transforms import may_move, transforms_active

__all__ = ["DirectAdjoint"]


@dataclass(frozen=True)
class DirectAdjoint(Adjoint):
    """Backpropagation through the solver's own operations.

    Args:
        tape_memory: Bytes that the tape of all steps may hold, where their number is known before the solve, which
            raises TapeTooLargeError otherwise; None for any.
    """

    tape_memory: int | None = None

    def solve(self, problem: Problem) -> Solution:
        """Solve on the tape, if the caller has one."""
        on_tape = torch.is_grad_enabled() or transforms_active()
        differentiates_times = on_tape and may_move(problem.ts)
        axis = TimeAxis(problem.times, problem.ts if differentiates_times else None)
        outputs, record = make_record(problem, axis, on_tape=on_tape, keep_states=False, tape_memory=self.tape_memory)
        stats = Stats(problem.field.evaluations, record.progress.accepted, record.progress.rejected)
        return make_solution(problem, outputs, record, stats, record.carry1)

    def solve_rows(self, problem: RowProblem, dense: bool) -> RowSolution:
        """See `Adjoint.solve_rows`."""
        return solve_rows_on_tape(problem, dense)
