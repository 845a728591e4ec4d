"""Measured advice: a recorded problem, solved by every candidate, with the time and the error of each."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nde.profile.repeat import Repeat, errors_of, flat_states
from nde.profile.solve_record import SolveRecord
from nde.profile.statistics import Group
from nde.profile.trials import Trial, trials_of
from nde.solvers.controllers import FixedStep, IController
from nde.solvers.registry import find_method

if TYPE_CHECKING:
    from nde.profile.cost import Cost

__all__ = ["Advice", "Candidate", "advise"]

_TIGHTER = 1e-3  # tolerance of the reference over that of the recorded solve
_FINER = 8  # times shorter steps of the reference, where they are of one size
_WORTH_SAYING = 0.95  # a candidate that takes more than this part of the recorded time is no advice
_NO_WORSE = 1.1
_MOSTLY_LIMITED = 0.3  # share of the steps that stability limits from which on implicit methods are tried
_FINALISTS, _ROUNDS = 3, 3  # how many are measured again, and how many times as often
_HOPELESS = 2.5  # times the recorded time of a first run, after which a candidate is not measured again
_MOST_STEPS = 10  # times the recorded ones, after which a candidate is given up


@dataclass(frozen=True)
class Candidate:
    """One way to solve the problem.

    Attributes:
        method: Name of the method.
        rtol, atol: Tolerances.
        per_sample: Whether samples have steps of their own.
        controller: ``""`` for the one of the recording, or what it is.
        seconds: Shortest time of a solve, with its backward pass where the recorded one had any.
        evaluations: Calls of the field, forward.
        error: Largest error at the output times, over the tolerance that was recorded; NaN where it failed.
        recorded: Whether this is what was recorded.
        options: The arguments that ask for it, beside those that were recorded, by name.
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
    options: dict[str, Any] = field(default_factory=dict, compare=False)

    @property
    def settings(self) -> str:
        """The arguments that ask for it."""
        parts = [f'method="{self.method}"']
        if "FixedStep" not in self.controller:
            parts.append(f"rtol={self.rtol:.3g}, atol={self.atol:.3g}")
        parts += [self.controller] if self.controller else []
        parts += ["per_sample=True"] if self.per_sample else []
        return ", ".join(parts)


@dataclass(frozen=True)
class Advice:
    """What was tried on one recorded solve.

    Attributes:
        label: Name of the field.
        candidates: The fastest first, the recorded one among them.
        tolerated: The error that is none: 1 where tolerances were recorded, 0 where steps were of one size.
        share: Part of the recording's time that the solves of the field took, with their backward passes.
    """

    label: str
    candidates: tuple[Candidate, ...]
    tolerated: float = 1.0
    share: float = 1.0

    @property
    def recorded(self) -> Candidate:
        """The solve as it was recorded, measured again."""
        return next(candidate for candidate in self.candidates if candidate.recorded)

    @property
    def limit(self) -> float:
        """The largest error that a candidate may have."""
        return max(self.recorded.error * _NO_WORSE, self.tolerated)

    @property
    def best(self) -> Candidate:
        """The fastest candidate whose error is within the tolerance, or no larger than the recorded one.

        It is the recorded one where no other is faster by more than the clock can tell for certain.
        """
        fit = [candidate for candidate in self.candidates if candidate.error <= self.limit]
        fastest = min(fit or [self.recorded], key=lambda candidate: candidate.seconds)
        return fastest if fastest.seconds < _WORTH_SAYING * self.recorded.seconds else self.recorded

    @property
    def speed_up(self) -> float:
        """How many times faster the best candidate solves, forward and, where that was recorded, backward."""
        return self.recorded.seconds / self.best.seconds

    @property
    def speed_up_in_all(self) -> float:
        """How many times faster all that was recorded becomes, where all solves of the field speed up alike."""
        return 1 / (1 - self.share * (1 - 1 / self.speed_up))

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
                f"{self.speed_up:.2f} times faster, {self.speed_up_in_all:.2f} times in all, the error within the "
                f"tolerance or no larger: {self.best.settings}"
            )
        return "\n".join(lines)


def advise(
    cost: Cost,
    label: str | None = None,
    *,
    tolerances: Sequence[float] = (0.1, 1.0, 10.0),
    repeats: int = 5,
    stepping: bool = True,
) -> Advice:
    """Solve the hardest recorded solve of a field again by every candidate, backward too where that was recorded.

    Errors are the largest ones at the output times, over the tolerance that was recorded, by a reference with a
    thousandth of it, or with an eighth of the step size where that is given (stochastic solves: on the same path).
    Weights that have changed since are as they are now, and nothing is added to any gradient. Times are those of the
    processor where torch computes with one thread, and of the clock on the wall otherwise.

    Args:
        cost: The recording, made with ``keep=True``.
        label: Which field; None for the one with the most evaluations.
        tolerances: Factors of the recorded tolerances to try; where steps are of one size, of the errors that they
            make.
        repeats: Solves of each candidate, taken by turns, of which the shortest counts; of the recorded settings and
            the best others, three times as many again.
        stepping: Whether to try other controllers, a step size for each sample, and, where stability limits the steps,
            implicit methods: code written for torchdiffeq cannot ask for them.

    Raises:
        ValueError: Nothing that could be solved again was recorded, no field has this name, or an argument is wrong.
    """
    if isinstance(repeats, bool) or not isinstance(repeats, int) or repeats < 1:
        raise ValueError(f"repeats must be an integer, 1 or more, but is {repeats!r}.")
    factors = [float(factor) for factor in tolerances]
    if not factors or not all(0 < factor < math.inf for factor in factors):
        raise ValueError(f"tolerances must be positive factors, such as (0.1, 1.0, 10.0), but are {tolerances!r}.")
    solve = _hardest(cost, label)
    recorded: Repeat = solve.again
    problem, gradients = recorded.problem, solve.backward_passes > 0
    most = min(problem.max_steps, _MOST_STEPS * solve.steps.attempts + 1000)
    group = Group(solve.label, solve.kind, solve.method, solve.adjoint, (solve,))
    stiff = (group.limited_by_stability() or 0.0) > _MOSTLY_LIMITED
    trials = trials_of(recorded.changed(max_steps=most), factors, stiff, solve.steps.attempts, stepping)
    reference = flat_states(_reference(recorded).solver(False)())
    found: list[Candidate] = []
    runs: list[Any] = []
    for trial in trials:
        run = trial.solver(gradients)
        solution, seconds = _tried(trial, run, gradients, recorded.now)
        if solution is not None and (solution.success or not runs):
            error = errors_of(solution, reference, problem.rtol, problem.atol)
            found.append(_candidate(trial, solution, seconds, error, recorded=trial is trials[0]))
            runs.append(run)
    # the first run of each was its warm-up; who took far too long then needs no better time
    close = [place for place, one in enumerate(found) if one.seconds < _HOPELESS * found[0].seconds]
    found = _timed(found, close, runs, recorded.now, repeats)
    tolerated = 1.0 if problem.controller.adaptive else 0.0
    advice = Advice(solve.label, tuple(found), tolerated, _share(cost, solve.label))
    # who won by luck once does not win twice
    fit = [place for place, one in enumerate(found) if one.error <= advice.limit and not one.recorded]
    best = sorted(fit, key=lambda place: found[place].seconds)[:_FINALISTS]
    found = _timed(found, [0, *best], runs, recorded.now, _ROUNDS * repeats)
    return dataclasses.replace(advice, candidates=tuple(sorted(found, key=lambda candidate: candidate.seconds)))


def _tried(trial: Trial, run: Any, gradients: bool, now: Any) -> tuple[Any, float]:
    """Return a candidate's solution and the time of a first run, as it will be timed; None where it cannot be."""
    start = now()
    try:
        solution = run()
        seconds = now() - start
        return (trial.solver(False)() if gradients else solution), seconds
    except (ValueError, TypeError, RuntimeError):  # such as a field that couples its samples
        return None, math.inf


def _candidate(trial: Trial, solution: Any, seconds: float, error: float, recorded: bool) -> Candidate:
    controller, words = trial.options.get("controller"), ""
    if controller is not None:
        size = f"{controller.size:.6g}" if isinstance(controller, FixedStep) else ""
        words = f"controller=nde.{type(controller).__name__}({size})"
    evaluations = solution.stats.n_field_evals
    settings = (trial.method, trial.rtol, trial.atol, trial.per_sample, words)
    return Candidate(*settings, seconds, evaluations, error, recorded, trial.options)


def _timed(
    candidates: Sequence[Candidate], places: Sequence[int], runs: Sequence[Any], now: Any, repeats: int
) -> list[Candidate]:
    """Return the candidates, some with their shortest times, by turns, so that other work meets all of them."""
    times = dict.fromkeys(places, math.inf)
    for _ in range(repeats):
        for place in places:
            start = now()
            runs[place]()
            times[place] = min(times[place], now() - start)
    return [dataclasses.replace(one, seconds=times.get(place, one.seconds)) for place, one in enumerate(candidates)]


def _share(cost: Cost, label: str) -> float:
    times = cost.times(label=label)
    return min((times.field + times.solver + times.backward) / max(times.total, 1e-30), 1.0)


def _hardest(cost: Cost, label: str | None) -> SolveRecord:
    known = [solve for solve in cost.solves if solve.again is not None]
    known = [solve for solve in known if solve.adaptive or isinstance(solve.again.problem.controller, FixedStep)]
    if label is not None:
        labels = sorted({solve.label for solve in cost.solves})
        if label not in labels:
            raise ValueError(f"label must be one of {', '.join(labels)}, but is {label!r}.")
        known = [solve for solve in known if solve.label == label]
    if not known:
        raise ValueError(
            "there is no finished solve with tolerances or steps of one size, without events, to solve again. Record "
            "one with keep=True."
        )
    return max(known, key=lambda solve: solve.forward.field)


def _reference(repeat: Repeat) -> Repeat:
    """Return the problem with settings that make its errors negligible beside the recorded ones."""
    problem = repeat.problem
    tight: dict[str, Any] = {"max_steps": 10**6}
    if isinstance(problem.controller, FixedStep) and (repeat.stochastic or not problem.method.error_order):
        return repeat.changed(**tight, controller=FixedStep(problem.controller.size / _FINER))
    eps = 64 * problem.structure.eps if not repeat.rows else 64 * problem.layout.structure.eps
    for name in ("rtol", "atol"):
        tight[name] = getattr(problem, name) * _TIGHTER
    tight["rtol"] = max(tight["rtol"], eps) if isinstance(tight["rtol"], float) else tight["rtol"].clamp_min(eps)
    if not repeat.stochastic:
        tight["method"] = find_method("dopri8")
    if not problem.controller.adaptive:
        tight["controller"] = IController()
    return repeat.changed(**tight)
