"""Turns torchdiffeq's options into arguments of `nde.solve_ode`."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nde.compat.torchdiffeq.methods import LegacyMethod
from nde.solvers.adams import ExplicitAdams, ImplicitAdams
from nde.solvers.controllers import Controller, ControllerState, Decision, FixedStep, PIDController, StepTo
from nde.solvers.structure import State

__all__ = ["component_norm", "root_mean_square", "solver_arguments"]


@dataclass(frozen=True)
class _AcceptingController(PIDController):
    """The elementary controller, which accepts every step of the smallest size."""

    smallest: float = 0.0

    def begin(self, error_order: float) -> ControllerState:
        return _Accepting(super().begin(error_order), self.smallest)


class _Accepting(ControllerState):
    def __init__(self, inner: ControllerState, smallest: float) -> None:
        self._inner = inner
        self._smallest = smallest

    def decide(self, h: float, ratio: float) -> Decision:
        accept, size = self._inner.decide(h, ratio)
        small = h <= self._smallest * (1 + 1e-9) and math.isfinite(ratio)
        return Decision(accept or small, max(size, self._smallest))


def root_mean_square(value: Tensor) -> Tensor:
    """Return the root mean square of all entries, zero of none."""
    return value.abs().square().mean().sqrt() if value.numel() else value.abs().sum()


def component_norm(state: State) -> Tensor:
    """Return the largest of the root mean squares of a tuple's components."""
    parts = [part for part in state if part.numel()]
    return torch.stack([part.abs().square().mean() for part in parts]).max().sqrt()


def solver_arguments(
    method: LegacyMethod,
    options: Mapping[str, Any] | None,
    func: Callable[..., State],
    y0: State,
    t: Tensor,
    event: bool,
) -> dict[str, Any]:
    """Return the arguments of `nde.solve_ode` that options stand for.

    Raises:
        ValueError: Options contradict each other.
    """
    given = dict(options or {})
    unknown = {key: value for key, value in given.items() if key not in method.options}
    if unknown:
        warnings.warn(f"{method.solver}: Unexpected arguments {unknown}", UserWarning, stacklevel=4)
    arguments: dict[str, Any] = {"method": method.method}
    if not method.adaptive:
        # fixed steps measure no errors
        return {**arguments, **_adams(method, given), **_fixed(given, func, y0, t, event)}
    norm = given.get("norm")
    if norm is not None:
        arguments["norm"] = norm
    elif isinstance(y0, tuple):
        arguments["norm"] = component_norm
    return {**arguments, **_adaptive(given)}


def _adams(method: LegacyMethod, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the Adams method of the order and number of iterations that are asked for, if any."""
    order = min(int(given.get("max_order") or 4), 8)
    if isinstance(method.method, ExplicitAdams):
        return {"method": ExplicitAdams(order)} if given.get("max_order") else {}
    if not isinstance(method.method, ImplicitAdams) or not (given.get("max_order") or given.get("max_iters")):
        return {}
    return {"method": ImplicitAdams(order, int(given.get("max_iters") or method.method.max_iterations))}


def _adaptive(given: Mapping[str, Any]) -> dict[str, Any]:
    def number(name: str, default: float | None) -> Any:
        return default if given.get(name) is None else _number(given, name)

    first, smallest = number("first_step", None), number("min_step", 0.0)
    gains = {
        "safety": number("safety", 0.9),
        "min_factor": number("dfactor", 0.2),
        "max_factor": number("ifactor", 10.0),
        "initial": first,
    }
    controller: Controller = _AcceptingController(**gains, smallest=smallest) if smallest else PIDController(**gains)
    step_t, jump_t = _times(given.get("step_t")), _times(given.get("jump_t"))
    if len({*step_t, *jump_t}) != len(step_t) + len(jump_t):
        raise ValueError("`step_t` and `jump_t` must not have any repeated elements between them.")
    steps = given.get("max_num_steps")
    return {
        "controller": controller,
        "dt_max": number("max_step", math.inf),
        "max_steps": 2**31 - 1 if steps is None else int(steps),
        "step_ts": step_t,
        "jump_ts": jump_t,
    }


def _number(given: Mapping[str, Any], name: str) -> float:
    """Return an option that is a number.

    Raises:
        TypeError: It is none.
    """
    try:
        return float(given[name])
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(f"options[{name!r}] must be a number, but is {given[name]!r}.") from None


def _times(value: Any) -> tuple[float, ...]:
    return () if value is None else tuple(float(time) for time in torch.as_tensor(value).reshape(-1).tolist())


def _fixed(given: Mapping[str, Any], func: Callable[..., State], y0: State, t: Tensor, event: bool) -> dict[str, Any]:
    size, make_grid = given.get("step_size"), given.get("grid_constructor")
    if size is not None and make_grid is not None:
        raise ValueError("step_size and grid_constructor are mutually exclusive arguments.")
    if size is not None:
        size = _number(given, "step_size")
        if not 0 < size < math.inf:
            raise ValueError(f"options['step_size'] must be positive and finite, but is {size}.")
    if event and size is None:
        raise ValueError("event_fn with a method of fixed steps needs options={'step_size': ...}.")
    if given.get("interp") not in (None, "linear", "cubic"):
        raise ValueError(f"Unknown interpolation method {given['interp']}")
    limit = {"max_steps": 20_000 if event else 2**31 - 1}
    jumps: tuple[float, ...] = ()
    times = t.detach().double().tolist()
    if make_grid is not None:
        grid = make_grid(func, y0, t).detach().double().tolist()
        if grid[0] != times[0] or grid[-1] != times[-1]:
            raise AssertionError("grid_constructor must return a grid that begins and ends with t.")
        controller: Controller = StepTo(tuple(grid))
        jumps = tuple(grid[1:-1])
    elif size is not None:
        controller = FixedStep(size)
        if not event:
            count = math.ceil(abs(times[-1] - times[0]) / size - 1e-9)
            jumps = tuple(times[0] + math.copysign(size, times[-1] - times[0]) * k for k in range(1, count))
    else:
        controller = StepTo()
        jumps = tuple(times[1:-1])
    perturb = {"jump_ts": jumps} if given.get("perturb") else {}
    return {"controller": controller, **limit, **perturb}
