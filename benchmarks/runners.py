"""How each library is asked to solve the same problem; one function per library and way to differentiate.

A runner is built once per problem (solver objects belong to the set-up) and called once per solve. Libraries are
imported only when asked for: a measurement of memory loads nothing that it does not measure.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from benchmarks.problems import CountingField, Problem

__all__ = ["INFERENCE", "TRAINING", "Entrant", "Solved"]


@dataclass(frozen=True)
class Solved:
    """One solve.

    Attributes:
        ys: States at output times, time first; at least the final one.
        steps: Returns accepted and rejected steps; called in counting runs only.
        penalty: What training adds to its loss, if anything.
    """

    ys: Tensor
    steps: Callable[[], tuple[int, int]]
    penalty: Tensor | None = None


Solver = Callable[[], Solved]


@dataclass(frozen=True)
class Entrant:
    """A row of the report.

    Attributes:
        library: Who solves.
        way: How it differentiates, or "" for inference.
        build: Makes the solver of a problem; ``fixed`` is a step size to be kept, or None to adapt it to the workload's
            tolerance.
    """

    library: str
    way: str
    build: Callable[[Problem, float | None], Solver]

    @property
    def key(self) -> str:
        return f"{self.library} {self.way}".rstrip()


def _nde(adjoint: str, penalized: bool = False) -> Callable[[Problem, float | None], Solver]:
    def build(problem: Problem, fixed: float | None) -> Solver:
        import nde

        tol = problem.workload.tol
        controller = None if fixed is None else nde.FixedStep(fixed)

        def solve() -> Solved:
            solution = nde.solve_ode(
                problem.field,
                problem.y0,
                problem.ts,
                method="dopri5",
                rtol=tol,
                atol=tol,
                controller=controller,
                adjoint=adjoint,
            )
            stats, ys, penalty = solution.stats, solution.ys, None
            assert isinstance(ys, Tensor)
            if penalized:
                assert solution.steps.error is not None
                penalty = solution.steps.error.sum()
            return Solved(ys, lambda: (stats.n_accepted, stats.n_rejected), penalty)

        return solve

    return build


def _torchdiffeq(backsolve: bool) -> Callable[[Problem, float | None], Solver]:
    def build(problem: Problem, fixed: float | None) -> Solver:
        import torchdiffeq

        integrate = torchdiffeq.odeint_adjoint if backsolve else torchdiffeq.odeint
        tol, options, field = problem.workload.tol, {}, problem.field
        if fixed is not None:
            # its dopri5 has no fixed steps: tolerances that accept everything, and the largest step allowed
            tol, options = 1e6, {"first_step": fixed, "max_step": fixed}

        def solve() -> Solved:
            ys = integrate(field, problem.y0, problem.ts, method="dopri5", rtol=tol, atol=tol, options=dict(options))
            return Solved(ys, lambda: _counted_steps(field))

        return solve

    return build


def _counted_steps(field: nn.Module) -> tuple[int, int]:
    assert isinstance(field, CountingField)
    return field.accepted, field.rejected


def _torchode(problem: Problem, fixed: float | None) -> Solver:
    import torchode

    y0, ts, tol = problem.y0, problem.ts, problem.workload.tol
    term = torchode.ODETerm(problem.field, with_stats=False)
    if fixed is None:
        controller: Any = torchode.IntegralController(tol, tol, term=term)
    else:
        controller = torchode.FixedStepController()
    # the other libraries take the step sizes as constants; by default it would differentiate its control as well
    adjoint = torchode.AutoDiffAdjoint(torchode.Dopri5(term), controller, backprop_through_step_size_control=False)
    samples = y0.shape[0]

    def solve() -> Solved:
        if len(ts) == 2:  # its cheaper form where only the final state is wanted
            times: dict[str, Tensor] = {"t_start": ts[0].expand(samples), "t_end": ts[1].expand(samples)}
        else:
            times = {"t_eval": ts.expand(samples, -1)}
        first = None if fixed is None else y0.new_full((samples,), fixed)
        solution = adjoint.solve(torchode.InitialValueProblem(y0, **times), dt0=first)
        stats = solution.stats

        def steps() -> tuple[int, int]:  # of the slowest sample
            accepted, attempted = int(stats["n_accepted"].max()), int(stats["n_steps"].max())
            return accepted, attempted - accepted

        return Solved(solution.ys.transpose(0, 1), steps)

    return solve


INFERENCE = (
    Entrant("nde", "", _nde("discrete")),
    Entrant("torchdiffeq", "", _torchdiffeq(backsolve=False)),
    Entrant("torchode", "", _torchode),
)
TRAINING = (
    Entrant("nde", "discrete", _nde("discrete")),
    Entrant("nde", "discrete, penalty", _nde("discrete", penalized=True)),
    Entrant("nde", "direct", _nde("direct")),
    Entrant("torchdiffeq", "direct", _torchdiffeq(backsolve=False)),
    Entrant("torchdiffeq", "backsolve", _torchdiffeq(backsolve=True)),
    Entrant("torchode", "direct", _torchode),
)
