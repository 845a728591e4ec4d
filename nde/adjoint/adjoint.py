"""What an adjoint is: a way to solve a problem so that its outputs are differentiable."""

from __future__ import annotations

from abc import ABC, abstractmethod

from nde.solvers.problem import Problem
from nde.solvers.rows.problem import RowProblem
from nde.solvers.rows.solution import RowSolution
from nde.solvers.solution import Solution

__all__ = ["Adjoint"]


class Adjoint(ABC):
    """A way to get gradients of a solve."""

    @abstractmethod
    def solve(self, problem: Problem) -> Solution:
        """Solve the problem; the outputs of the solution carry gradients where the caller records them."""

    def solve_rows(self, problem: RowProblem, dense: bool) -> RowSolution:
        """Solve row by row: a step size per sample, or events.

        Args:
            problem: The problem.
            dense: Whether the solution can be evaluated anywhere afterwards.

        Raises:
            ValueError: This adjoint cannot.
        """
        raise ValueError(
            f"adjoint={type(self).__name__} works with none of per_sample=True, events, dense=True, "
            'save, step_ts and jump_ts. Choose adjoint="discrete" or adjoint="direct".'
        )
