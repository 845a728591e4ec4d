"""Ways to get gradients of a solve.

Each is a function from a `Problem` to a `Solution` whose outputs are differentiable; they stand on `nde.solvers` alone.
"""

from collections.abc import Callable

from nde.adjoint.direct import solve_direct
from nde.adjoint.discrete import solve_discrete
from nde.solvers.problem import Problem
from nde.solvers.solution import Solution

__all__ = ["ADJOINTS", "solve_direct", "solve_discrete"]

#: The adjoints by name.
ADJOINTS: dict[str, Callable[[Problem], Solution]] = {"discrete": solve_discrete, "direct": solve_direct}
