"""Where solves can be observed: the front doors solve through here, and whoever observes is asked once per solve."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from nde.adjoint.adjoint import Adjoint
from nde.solvers.problem import Problem
from nde.solvers.rows.problem import RowProblem
from nde.solvers.rows.solution import RowSolution
from nde.solvers.solution import Solution

__all__ = ["Observer", "observe_with", "observer", "solve_observed", "solve_rows_observed"]


class Observer(Protocol):
    """Takes part in every solve while it is set."""

    def observe(self, problem: Any, adjoint: Adjoint, solve: Callable[[Any], Any]) -> Any:
        """Solve a problem, or one that differs from it in nothing but who looks on, and return the solution.

        Args:
            problem: A `Problem` or a `RowProblem`.
            adjoint: Where gradients come from.
            solve: Solves such a problem.
        """


_observer: Observer | None = None


def observe_with(observer: Observer | None) -> None:
    """Set who observes all solves of this process; None for nobody."""
    global _observer
    _observer = observer


def observer() -> Observer | None:
    """Return who observes all solves of this process."""
    return _observer


def solve_observed(adjoint: Adjoint, problem: Problem) -> Solution:
    """Solve a problem; see `Adjoint.solve`."""
    if _observer is None:
        return adjoint.solve(problem)
    solution: Solution = _observer.observe(problem, adjoint, adjoint.solve)
    return solution


def solve_rows_observed(adjoint: Adjoint, problem: RowProblem, dense: bool) -> RowSolution:
    """Solve row by row; see `Adjoint.solve_rows`."""
    if _observer is None:
        return adjoint.solve_rows(problem, dense)
    solution: RowSolution = _observer.observe(problem, adjoint, lambda given: adjoint.solve_rows(given, dense))
    return solution
