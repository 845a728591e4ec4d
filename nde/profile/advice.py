"""Measured advice: a recorded problem, solved by every candidate, with the time and the error of each."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from nde.adjoint.direct import DirectAdjoint
from nde.doors.ode import solve_ode
from nde.profile.solve_record import SolveRecord
from nde.solvers.controllers import PIController
from nde.solvers.problem import Problem
from nde.solvers.registry import find_method
from nde.solvers.sde import find_sde_method
from nde.solvers.sde.field import SDEField

if TYPE_CHECKING:
    from nde.profile.cost import Cost

__all__ = ["Advice", "Candidate", "advise"]

_ODE_METHODS = ("bosh3", "tsit5", "dopri5", "dopri8")
_SDE_METHODS = ("sosri2", "sriw1", "sosra2", "sra1")
_TIGHTER = 1e-3  # tolerance of the reference over that of the recorded solve
_WORTH_SAYING = 0.95  # a candidate that takes more than this part of the recorded time is no advice
_NO_WORSE = 1.1


@dataclass(frozen=True)
class Candidate:
    """One way to solve the problem.

    Attributes:
        method: Name of the method.
        rtol, atol: Tolerances.
        per_sample: Whether samples have steps of their own.
        controller: ``""`` for the one of the recording, or what it is.
        seconds: Shortest time of a forward solve.
        evaluations: Calls of the field.
        error: Largest error at the output times, over the tolerance that was recorded; NaN where it failed.
        recorded: Whether this is what was recorded.
    """

    method: str
    rtol: float
    atol: float
    per_sample: bool
    controller: str
    seconds: float
    evaluations: int
    error: float
    recorded: bool = False

    @property
    def settings(self) -> str:
        """The arguments that ask for it."""
        parts = [f'method="{self.method}"', f"rtol={self.rtol:.3g}, atol={self.atol:.3g}"]
        parts += [self.controller] if self.controller else []
        parts += ["per_sample=True"] if self.per_sample else []
        return ", ".join(parts)


@dataclass(frozen=True)
class Advice:
    """What was tried on one recorded solve.

    Attributes:
        label: Name of the field.
        candidates: The fastest first, the recorded one among them.
    """

    label: str
    candidates: tuple[Candidate, ...]

    @property
    def recorded(self) -> Candidate:
        """The solve as it was recorded, measured again."""
        return next(candidate for candidate in self.candidates if candidate.recorded)

    @property
    def best(self) -> Candidate:
        """The fastest candidate whose error is within the tolerance, or no larger than the recorded one.

        It is the recorded one where no other is faster by more than the clock can tell for certain.
        """
        limit = max(self.recorded.error * _NO_WORSE, 1.0)
        fit = [candidate for candidate in self.candidates if candidate.error <= limit]
        fastest = min(fit or [self.recorded], key=lambda candidate: candidate.seconds)
        return fastest if fastest.seconds < _WORTH_SAYING * self.recorded.seconds else self.recorded

    @property
    def speed_up(self) -> float:
        """How many times faster the best candidate is."""
        return self.recorded.seconds / self.best.seconds

    def __str__(self) -> str:
        """Return a table, and the advice in words."""
        lines = [f"{self.label}: {'time':>10}{'evaluations':>14}{'error':>10}   settings"]
        indent = " " * (len(self.label) + 2)
        for candidate in self.candidates:
            mark = "  (recorded)" if candidate.recorded else ""
            lines.append(
                f"{indent}{candidate.seconds * 1e3:>7.2f} ms{candidate.evaluations:>14}{candidate.error:>10.3g}   "
                f"{candidate.settings}{mark}"
            )
        if self.best.recorded:
            lines.append("Nothing that was tried is faster at that error or within the tolerance: keep the settings.")
        else:
            lines.append(
                f"{self.speed_up:.2f} times faster, the error within the tolerance or no larger: {self.best.settings}"
            )
        return "\n".join(lines)


def advise(
    cost: Cost, label: str | None = None, *, tolerances: Sequence[float] = (0.1, 1.0, 10.0), repeats: int = 5
) -> Advice:
    """Solve the hardest recorded solve of a field again by every candidate, forward and without gradients.

    Errors are the largest ones at the output times, over the tolerance that was recorded, by a reference with a
    thousandth of it (stochastic solves: on the same path). Weights that have changed since are as they are now.

    Args:
        cost: The recording, made with ``keep=True``.
        label: Which field; None for the one with the most evaluations.
        tolerances: Factors of the recorded tolerances to try.
        repeats: Solves of each candidate, taken by turns, of which the shortest counts.

    Raises:
        ValueError: Nothing that could be solved again was recorded, no field has this name, or an argument is wrong.
    """
    if isinstance(repeats, bool) or not isinstance(repeats, int) or repeats < 1:
        raise ValueError(f"repeats must be an integer, 1 or more, but is {repeats!r}.")
    factors = [float(factor) for factor in tolerances]
    if not factors or not all(0 < factor < math.inf for factor in factors):
        raise ValueError(f"tolerances must be positive factors, such as (0.1, 1.0, 10.0), but are {tolerances!r}.")
    solve = _hardest(cost, label)
    problem: Problem = solve.again
    stochastic = isinstance(problem.field, SDEField)
    with torch.no_grad():
        reference = _flat(_solver(_reference(problem, stochastic))())
        trials = _trials(problem, factors, stochastic)
        ready = [(facts, run) for facts, run in trials if _works(run)]
        times = [math.inf] * len(ready)
        for _ in range(repeats):  # by turns, so that other work on the machine meets all of them
            for place, (_, run) in enumerate(ready):
                start = _now(problem)
                run()
                times[place] = min(times[place], _now(problem) - start)
        found = []
        for (facts, run), seconds in zip(ready, times, strict=True):
            solution = run()
            scale = problem.atol + problem.rtol * reference.abs()
            error = float(((_flat(solution) - reference).abs() / scale).max()) if solution.success else math.nan
            found.append(Candidate(**facts, seconds=seconds, evaluations=solution.stats.n_field_evals, error=error))
    return Advice(solve.label, tuple(sorted(found, key=lambda candidate: candidate.seconds)))


def _hardest(cost: Cost, label: str | None) -> SolveRecord:
    known = [solve for solve in cost.solves if solve.again is not None and solve.adaptive and solve.status == "SUCCESS"]
    if label is not None:
        labels = sorted({solve.label for solve in cost.solves})
        if label not in labels:
            raise ValueError(f"label must be one of {', '.join(labels)}, but is {label!r}.")
        known = [solve for solve in known if solve.label == label]
    if not known:
        raise ValueError(
            "there is no finished solve with step-size control and one step for all samples to solve again. Record one "
            "with keep=True."
        )
    return max(known, key=lambda solve: solve.forward.field)


def _reference(problem: Problem, stochastic: bool) -> Problem:
    """Return the problem with tolerances that make its errors negligible beside the recorded ones."""
    eps = 64 * problem.structure.eps
    rtol = _times(problem.rtol, _TIGHTER).clamp_min(eps)
    tight: dict[str, Any] = {"rtol": _plain(rtol), "atol": _plain(_times(problem.atol, _TIGHTER)), "max_steps": 10**6}
    if not stochastic:
        tight["method"] = find_method("dopri8")
    return dataclasses.replace(problem, **tight)


def _trials(
    problem: Problem, factors: Sequence[float], stochastic: bool
) -> list[tuple[dict[str, Any], Callable[[], Any]]]:
    """Return what each candidate is, and a function that solves by it; the recorded settings come first."""
    own = str(problem.method.name)
    facts = {"method": own, "rtol": _number(problem.rtol), "atol": _number(problem.atol), "per_sample": False}
    trials = [({**facts, "controller": "", "recorded": True}, _solver(problem))]
    names = _SDE_METHODS if stochastic else _ODE_METHODS
    for name in dict.fromkeys((own, *names)):
        method = problem.method if name == own else _found(name, problem, stochastic)
        if method is None:
            continue
        for factor in factors:
            if name == own and factor == 1:
                continue
            rtol, atol = _times(problem.rtol, factor), _times(problem.atol, factor)
            changed = dataclasses.replace(problem, method=method, rtol=_plain(rtol), atol=_plain(atol))
            settings = {**facts, "method": name, "rtol": _number(rtol), "atol": _number(atol), "controller": ""}
            trials.append((settings, _solver(changed)))
    if not isinstance(problem.controller, PIController):
        gentle = dataclasses.replace(problem, controller=PIController())
        trials.append(({**facts, "controller": "controller=nde.PIController()"}, _solver(gentle)))
    leaves = problem.structure.leaves
    if not stochastic and len(leaves) == 1 and len(leaves[0].shape) > 1 and leaves[0].shape[0] > 1:
        trials.append(({**facts, "per_sample": True, "controller": ""}, _per_sample(problem)))
    return trials


def _found(name: str, problem: Problem, stochastic: bool) -> Any:
    if not stochastic:
        return find_method(name)
    own: Any = problem.method
    try:
        return find_sde_method(name, own.calculus, problem.field.noise)  # type: ignore[attr-defined]
    except ValueError:  # not for this noise or calculus
        return None


def _solver(problem: Problem) -> Callable[[], Any]:
    def run() -> Any:
        return DirectAdjoint().solve(dataclasses.replace(problem, field=problem.field.fresh()))

    return run


def _per_sample(problem: Problem) -> Callable[[], Any]:
    y0, field = problem.structure.unflatten(problem.y0), problem.field

    def run() -> Any:
        return solve_ode(
            field.function,
            y0,
            problem.ts,
            field.args,
            method=problem.method,
            rtol=problem.rtol,
            atol=problem.atol,
            controller=problem.controller,
            max_steps=problem.max_steps,
            adjoint="direct",
            per_sample=True,
            throw=False,
        )

    return run


def _works(run: Callable[[], Any]) -> bool:
    """Return whether a candidate can solve the problem at all; this is its warm-up, too."""
    try:
        run()
    except (ValueError, TypeError, RuntimeError):  # such as a field that couples its samples
        return False
    return True


def _flat(solution: Any) -> Tensor:
    leaves: list[Tensor] = []

    def collect(state: Any) -> None:
        if isinstance(state, Tensor):
            leaves.append((torch.view_as_real(state) if state.is_complex() else state).double().flatten(1))
        else:
            for part in state.values() if isinstance(state, dict) else state:
                collect(part)

    collect(solution.ys)
    return torch.cat(leaves, 1)


def _times(tolerance: float | Tensor, factor: float) -> Tensor:
    return torch.as_tensor(tolerance, dtype=torch.float64) * factor


def _plain(tolerance: Tensor) -> float | Tensor:
    return float(tolerance) if tolerance.ndim == 0 else tolerance


def _number(tolerance: float | Tensor) -> float:
    value = torch.as_tensor(tolerance)
    return float(value) if value.ndim == 0 else math.nan


def _now(problem: Problem) -> float:
    device = problem.structure.device
    if device is not None and device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
