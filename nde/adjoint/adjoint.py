"""What an adjoint is: a way to solve a problem so that its outputs are differentiable."""

from __future__ import annotations

from abc import ABC, abstractmethod

from nde.solvers.problem import Problem
from nde.solvers.solution import Solution

__all__ = ["Adjoint"]


class Adjoint(ABC):
    """A way to get gradients of a solve."""

    @abstractmethod
    def solve(self, problem: Problem) -> Solution:
        """Solve the problem; the outputs of the solution carry gradients where the caller records them."""
