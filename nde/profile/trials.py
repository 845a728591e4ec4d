"""The ways to solve a recorded problem that are worth a try."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from nde.profile.repeat import Repeat
from nde.solvers.controllers import Controller, FixedStep, IController, PIController
from nde.solvers.registry import find_method
from nde.solvers.sde import find_sde_method

__all__ = ["Trial", "trials_of"]

_ODE_METHODS = ("bosh3", "tsit5", "dopri5", "dopri8")
_IMPLICIT_METHODS = ("trbdf2", "radau_iia5")
_SDE_METHODS = ("sosri2", "sriw1", "sosra2", "sra1")
_FEWER = (2, 4, 8, 16, 32, 64)  # times fewer steps for implicit methods, where stability is what limits the others


@dataclass(frozen=True)
class Trial:
    """Settings to try.

    Attributes:
        options: The arguments that ask for them, beside those that were recorded.
        method, rtol, atol, per_sample: What they are in all; NaN for tolerances that differ by component.
        solver: Returns a function that solves so, with gradients or without.
    """

    options: dict[str, Any]
    method: str
    rtol: float
    atol: float
    per_sample: bool
    solver: Callable[[bool], Callable[[], Any]] = field(repr=False)


def trials_of(repeat: Repeat, factors: Sequence[float], stiff: bool, attempts: int, stepping: bool) -> list[Trial]:
    """Return what to try, the recorded settings first.

    Args:
        repeat: What was recorded.
        factors: Factors of its tolerances; where its steps are of one size, of the errors that they make.
        stiff: Whether stability limited the steps.
        attempts: Steps that were recorded, from which the numbers of implicit steps follow.
        stepping: Whether to try what peers' interfaces have no words for: other controllers, a step size for each
            sample, implicit methods, nde's stochastic methods.
    """
    trials = [_trial(repeat, {}, repeat)]
    if repeat.problem.controller.adaptive:
        trials += _of_tolerances(repeat, factors, {}, others=stepping or not repeat.stochastic)
        if stepping:
            trials += _of_stepping(repeat)
    elif isinstance(repeat.problem.controller, FixedStep):
        size = repeat.problem.controller.size
        order = repeat.problem.method.order or 1
        sizes = [float(f"{size * factor ** (1 / order):.3g}") for factor in factors if factor != 1]
        trials += [_trial(repeat, {"controller": FixedStep(one)}) for one in sizes]
        if not repeat.stochastic and stepping:
            trials += _of_tolerances(repeat, (1.0,), {"controller": IController()})
    if not repeat.stochastic and stepping and (stiff or find_method(_name(repeat)).error_order is None):
        trials += _implicit(repeat, attempts)
    return trials


def _of_tolerances(
    repeat: Repeat, factors: Sequence[float], besides: dict[str, Controller], others: bool = True
) -> list[Trial]:
    own, problem = _name(repeat), repeat.problem
    known = (_SDE_METHODS if repeat.stochastic else _ODE_METHODS) if others else ()
    found = []
    for name in dict.fromkeys((own, *known)):
        method = problem.method if name == own else _found(name, repeat)
        if method is None or method.error_order is None:
            continue
        for factor in factors:
            changes: dict[str, Any] = dict(besides)
            if name != own:
                changes["method"] = method
            if factor != 1 or besides:
                changes |= {"rtol": _times(problem.rtol, factor), "atol": _times(problem.atol, factor)}
            if changes:
                found.append(_trial(repeat, changes))
    return found


def _of_stepping(repeat: Repeat) -> list[Trial]:
    problem, found = repeat.problem, []
    if not isinstance(problem.controller, PIController):
        found.append(_trial(repeat, {"controller": PIController()}))
    if repeat.rows:
        found.append(_trial(repeat, {"per_sample": False}))
    elif not repeat.stochastic:
        leaves = problem.structure.leaves
        if len(leaves) == 1 and len(leaves[0].shape) > 1 and leaves[0].shape[0] > 1:
            found.append(_trial(repeat, {"per_sample": True}))
    return found


def _implicit(repeat: Repeat, attempts: int) -> list[Trial]:
    times = repeat.problem.times
    span = abs(float(times[0, -1] - times[0, 0]) if repeat.rows else times[-1] - times[0])
    own = repeat.problem.controller
    counts = [max(round(attempts / fewer), 4) for fewer in _FEWER]
    if isinstance(own, FixedStep):  # an implicit method that takes other steps, more of them as well as fewer
        counts = [max(round(span / own.size * factor), 4) for factor in (1.0, 0.5, 0.25)]
    found = []
    for name in _IMPLICIT_METHODS:
        for count in dict.fromkeys(counts):
            method, size = find_method(name), float(f"{span / count:.3g}")
            if name != _name(repeat) or own != FixedStep(size):
                found.append(_trial(repeat, {"method": method, "controller": FixedStep(size)}))
    return found


def _trial(repeat: Repeat, changes: dict[str, Any], same: Repeat | None = None) -> Trial:
    per_sample = changes.get("per_sample", repeat.rows)
    inside = {name: value for name, value in changes.items() if name != "per_sample"}
    changed = same or repeat.changed(**inside)
    shown = {name: str(value.name) if name == "method" else value for name, value in changes.items() if _plain(value)}
    return Trial(
        shown,
        _name(changed),
        _number(changed.problem.rtol),
        _number(changed.problem.atol),
        per_sample,
        changed.solver if per_sample == repeat.rows else changed.other_stepping,
    )


def _name(repeat: Repeat) -> str:
    return str(repeat.problem.method.name)


def _found(name: str, repeat: Repeat) -> Any:
    if not repeat.stochastic:
        return find_method(name)
    own: Any = repeat.problem.method
    try:
        return find_sde_method(name, own.calculus, repeat.problem.field.noise)
    except (ValueError, AttributeError):  # not for this noise or calculus, or a method of torchsde's
        return None


def _times(tolerance: float | Tensor, factor: float) -> float | Tensor:
    return tolerance * factor


def _plain(value: Any) -> bool:
    return not isinstance(value, Tensor)


def _number(tolerance: float | Tensor) -> float:
    value = torch.as_tensor(tolerance)
    return float(value) if value.ndim == 0 else float("nan")
