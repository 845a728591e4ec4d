"""What was recorded, solved again: as it was, or by other means, with or without its backward pass."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nde.adjoint import Adjoint, BacksolveAdjoint, DirectAdjoint
from nde.adjoint.captured import captured_tensors
from nde.doors.ode import solve_ode
from nde.solvers.rows.problem import RowProblem
from nde.solvers.sde.field import SDEField

__all__ = ["Repeat", "errors_of"]


@dataclass(frozen=True)
class Repeat:
    """A problem and its adjoint, without what its inputs were computed from.

    Attributes:
        problem: A `Problem`, or a `RowProblem` of samples with steps of their own.
        adjoint: Where its gradients came from.
        at_start: Whether gradients reached the initial state.
    """

    problem: Any
    adjoint: Adjoint
    at_start: bool

    @classmethod
    def of(cls, problem: Any, adjoint: Adjoint) -> Repeat | None:
        """Return it; None for solves with events or outputs of their own, which cannot be repeated alone."""
        rows = isinstance(problem, RowProblem)
        if rows and (problem.events or problem.saver is not None or len(problem.layout.structure.leaves) > 1):
            return None
        changed = object.__new__(type(problem))  # `dataclasses.replace`, which is slow beside a short solve
        changed.__dict__.update(problem.__dict__)
        changed.__dict__.update(y0=problem.y0.detach(), ts=problem.ts.detach())
        return cls(changed, adjoint, problem.y0.requires_grad)

    @property
    def rows(self) -> bool:
        """Whether samples have steps of their own."""
        return isinstance(self.problem, RowProblem) and self.problem.layout.samples is not None

    @property
    def stochastic(self) -> bool:
        """Whether it has a Brownian path."""
        return isinstance(self.problem.field, SDEField)

    def changed(self, **changes: Any) -> Repeat:
        """Return it with other settings; those of a backward solve that were the same as these change with them."""
        adjoint = self.adjoint
        if isinstance(adjoint, BacksolveAdjoint):
            same = {
                name: value
                for name, value in changes.items()
                if name in ("method", "rtol", "atol") and _same(getattr(adjoint, name), getattr(self.problem, name))
            }
            adjoint = dataclasses.replace(adjoint, **same)
        return dataclasses.replace(self, problem=dataclasses.replace(self.problem, **changes), adjoint=adjoint)

    def solver(self, gradients: bool) -> Callable[[], Any]:
        """Return a function that solves, pulls gradients back if asked to, and returns the solution."""
        adjoint = self.adjoint if gradients else DirectAdjoint()

        def solve() -> Any:
            y0 = self.problem.y0.clone().requires_grad_(gradients and self.at_start)
            problem = dataclasses.replace(self.problem, field=self.problem.field.fresh(), y0=y0)
            return adjoint.solve_rows(problem, False) if isinstance(problem, RowProblem) else adjoint.solve(problem)

        return self._with_gradients(solve) if gradients else torch.no_grad()(solve)

    def other_stepping(self, gradients: bool) -> Callable[[], Any]:
        """Return the same with one step size for each sample, or for all if each had its own."""
        problem, field = self.problem, self.problem.field
        y0 = problem.layout.to_state(problem.y0) if self.rows else problem.structure.unflatten(problem.y0)
        args = field.all_args if self.rows else field.args

        def solve() -> Any:
            start = y0.detach().clone().requires_grad_(gradients and self.at_start)
            return solve_ode(
                field.function,
                start,
                problem.ts,
                args,
                method=problem.method,
                rtol=problem.rtol,
                atol=problem.atol,
                controller=problem.controller,
                max_steps=problem.max_steps,
                adjoint=self.adjoint if gradients else "direct",
                per_sample=not self.rows,
                throw=False,
            )

        return self._with_gradients(solve) if gradients else torch.no_grad()(solve)

    def now(self) -> float:
        """Return the time, after what the device has been given to do.

        With one thread it is processor time: that of an idle machine, whatever else this one does.
        """
        device = self.problem.y0.device
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        elif torch.get_num_threads() == 1:
            return time.process_time()
        return time.perf_counter()

    def _with_gradients(self, solve: Callable[[], Any]) -> Callable[[], Any]:
        field = self.problem.field
        functions, args = (field.functions, getattr(field, "equation", None)), getattr(field, "all_args", field.args)
        found: Any = (functions, args)
        weights = captured_tensors(found, ())

        @torch.enable_grad()
        def both() -> Any:
            solution = solve()
            outputs = [output for output in solution.on_tape()[:2] if output.numel()]
            # what gradients are wanted for; nobody's ``.grad`` is touched
            inputs = [*weights, *_starts(solution, outputs)]
            if outputs and inputs:
                ones = [torch.ones_like(output) for output in outputs]
                torch.autograd.grad(outputs, inputs, ones, allow_unused=True)
            return solution

        return both


def errors_of(solution: Any, reference: Tensor, rtol: Any, atol: Any) -> float:
    """Return the largest error at the output times in units of tolerances; NaN for a solve that failed."""
    if not solution.success:
        return math.nan
    relative, absolute = (_in_one_row(tolerance) for tolerance in (rtol, atol))
    errors = (flat_states(solution) - reference).abs() / (absolute + relative * reference.abs())
    known = errors[reference.isfinite()]
    return float(known.max()) if known.numel() and bool(known.isfinite().all()) else math.nan


def flat_states(solution: Any) -> Tensor:
    """Return the states at the output times, one row for each."""
    leaves: list[Tensor] = []

    def collect(state: Any) -> None:
        if isinstance(state, Tensor):
            leaves.append((torch.view_as_real(state) if state.is_complex() else state).detach().double().flatten(1))
        else:
            for part in state.values() if isinstance(state, dict) else state:
                collect(part)

    collect(solution.ys)
    return torch.cat(leaves, 1)


def _starts(solution: Any, outputs: list[Tensor]) -> list[Tensor]:
    problem = getattr(solution, "_problem", None)
    start = solution._rows[0] if problem is None else problem.y0
    return [start] if start.requires_grad and outputs else []


def _in_one_row(tolerance: Any) -> Any:
    return tolerance.double().reshape(1, -1) if isinstance(tolerance, Tensor) else tolerance


def _same(own: Any, forward: Any) -> bool:
    if own is None:
        return False  # as in the forward solve, whatever that is
    return bool(getattr(own, "name", own) == getattr(forward, "name", forward))
