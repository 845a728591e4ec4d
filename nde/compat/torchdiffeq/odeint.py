"""`odeint`, `odeint_event` and `odeint_dense`."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from nde.adjoint import Adjoint
from nde.compat.errors import translated
from nde.compat.torchdiffeq.callbacks import find_callbacks, observed
from nde.compat.torchdiffeq.methods import find_legacy_method
from nde.compat.torchdiffeq.options import solver_arguments
from nde.compat.torchdiffeq.scipy_solver import solve_with_scipy
from nde.doors.ode import solve_ode
from nde.solvers.events import Event
from nde.solvers.solution import Solution
from nde.solvers.status import SolverError
from nde.solvers.structure import State

__all__ = ["SCIPY", "check_inputs", "odeint", "odeint_dense", "odeint_event", "run"]

#: the one method that is not nde's
SCIPY = "scipy_solver"

# an event may be as far away as this many units of time
_FAR = 1e9


def odeint(
    func: Callable[..., State],
    y0: State,
    t: Tensor,
    *,
    rtol: Any = 1e-7,
    atol: Any = 1e-9,
    method: str | None = None,
    options: Mapping[str, Any] | None = None,
    event_fn: Callable[..., Tensor] | None = None,
) -> Any:
    """Solve ``dy/dt = func(t, y)`` with ``y(t[0]) = y0`` and return the states at ``t``.

    Gradients pass through the solver's operations.

    Args:
        func: Callable ``(t, y) -> dy/dt``.
        y0: Initial state, a tensor of any shape or a tuple of tensors.
        t: Times, shape ``(T,)``, strictly increasing or decreasing.
        rtol: Relative tolerance: a number, a tensor, or a tuple with one for each component of ``y0``.
        atol: Absolute tolerance, likewise.
        method: Name of the method, dopri5 by default.
        options: Options of the method.
        event_fn: Callable ``(t, y)`` whose change of sign ends the solve; ``t`` then gives beginning and direction.

    Returns:
        States of shape ``(T, *y0.shape)``, or a tuple of such tensors; with ``event_fn`` the event's time, and the
        states at the beginning and there.

    Raises:
        TypeError: ``t`` or ``y0`` is not of floating point.
        ValueError: The method or an option is not known or out of range.
        LegacySolverError: The solve failed; it is an AssertionError too.
    """
    return run(func, y0, t, rtol, atol, method, options, event_fn, "direct")


def run(
    func: Callable[..., State],
    y0: State,
    t: Tensor,
    rtol: Any,
    atol: Any,
    method: str | None,
    options: Mapping[str, Any] | None,
    event_fn: Callable[..., Tensor] | None,
    adjoint: str | Adjoint,
    args: tuple[Any, ...] = (),
    callback_of: Any = None,
) -> Any:
    """Solve with an adjoint; see `odeint`. The callbacks are those of another object where one is given."""
    if not callable(func):
        raise TypeError(f"func must be callable as func(t, y), but is a {type(func).__name__}.")
    if options is not None and not isinstance(options, Mapping):
        raise TypeError(f"options must be a dict, such as {{'step_size': 0.1}}, but is {options!r}.")
    if method != SCIPY:
        legacy = find_legacy_method(method)
    t = check_inputs(y0, t)
    if t.shape[0] == 1:
        return tuple(part.unsqueeze(0) for part in y0) if isinstance(y0, tuple) else y0.unsqueeze(0)
    if method == SCIPY:
        if event_fn is not None:
            raise ValueError("event_fn does not work with method='scipy_solver'. Choose another method.")
        return solve_with_scipy(func, y0, t, _tolerance(rtol, "rtol", y0), _tolerance(atol, "atol", y0), options or {})
    arguments = solver_arguments(legacy, options, func, y0, t, event_fn is not None)
    owner = func if callback_of is None else callback_of
    if "jump_ts" in arguments and not legacy.adaptive:
        func = _kept_inside(func, t)
    callbacks = find_callbacks(owner, legacy.adaptive, legacy.solver)
    if callbacks is not None:
        arguments["method"], arguments["controller"] = observed(arguments["method"], arguments["controller"], callbacks)
    tolerances = {"rtol": _tolerance(rtol, "rtol", y0), "atol": _tolerance(atol, "atol", y0)}
    if event_fn is None:
        return _solved(func, y0, t, args, adjoint=adjoint, **tolerances, **arguments).ys
    if len(t) != 2:
        raise ValueError(f"We require len(t) == 2 when in event handling mode, but got len(t)={len(t)}.")
    with torch.no_grad():
        if not bool(torch.as_tensor(event_fn(t[0], y0)).all()):
            return t[0], _twice(y0)  # the event is where the solve begins
    direction = 1.0 if bool(t[-1] > t[0]) else -1.0
    span = torch.stack([t[0].double(), t[0].detach().double() + direction * _FAR])

    def condition(time: Tensor, state: State, *_: Any) -> Tensor:
        return event_fn(time, state)

    solution = _solved(func, y0, span, args, adjoint=adjoint, events=Event(condition), **tolerances, **arguments)
    (found,) = solution.events  # type: ignore[attr-defined]  # of a row solution
    if not len(found):
        raise RuntimeError(f"no event was found between {float(t[0]):.6g} and {float(span[1].detach()):.6g}.")
    event_time = found.t[0].to(t.dtype)
    if isinstance(y0, tuple):
        return event_time, tuple(torch.stack([a, b[0]]) for a, b in zip(y0, found.y, strict=True))
    return event_time, torch.stack([y0, found.y[0]])


def _twice(y0: State) -> State:
    return tuple(torch.stack([part, part]) for part in y0) if isinstance(y0, tuple) else torch.stack([y0, y0])


def _kept_inside(func: Callable[..., State], t: Tensor) -> Callable[..., State]:
    """Return a field that is never evaluated at the ends of the span, but next to them."""
    begin, end = (float(time) for time in (t[0].detach(), t[-1].detach()))

    def inside(time: Tensor, state: State, *args: Any) -> State:
        for own, other in ((begin, end), (end, begin)):
            if float(time.detach()) == own:
                time = time + (torch.nextafter(time.detach(), torch.full_like(time, other)) - time.detach())
        return func(time, state, *args)

    return inside


def _solved(func: Callable[..., State], y0: State, t: Tensor, args: tuple[Any, ...], **arguments: Any) -> Solution:
    try:
        if not arguments["controller"].adaptive:
            return solve_ode(func, y0, t, args, **arguments)
        with warnings.catch_warnings():
            # torchdiffeq's default tolerances are below what float32 resolves, and its users know it
            warnings.filterwarnings("ignore", message="rtol and atol ask for a relative accuracy")
            return solve_ode(func, y0, t, args, **arguments)
    except SolverError as error:
        raise translated(error) from error


def _tolerance(value: Any, name: str, y0: State) -> Any:
    if isinstance(value, (tuple, list)):
        if not isinstance(y0, tuple) or len(value) != len(y0):
            raise AssertionError(f"If using tupled {name} it must have the same length as the tuple y0")
        return tuple(value)
    if isinstance(value, Tensor) and value.dim() == 0:
        return float(value.detach())
    return value


def check_inputs(y0: State, t: Any) -> Tensor:
    """Return the times on the state's device.

    Raises:
        TypeError: Times or state are not of floating point.
        ValueError: One of them is on the meta device.
        AssertionError: The times are not strictly monotone.
    """
    parts = y0 if isinstance(y0, tuple) else (y0,)
    for part in parts:
        if not isinstance(part, Tensor):
            raise AssertionError("y0 must be either a torch.Tensor or a tuple")
        if not (part.is_floating_point() or part.is_complex()):
            raise TypeError(f"`y0` must be a floating point Tensor but is a {part.type()}")
    if not isinstance(t, Tensor):
        raise AssertionError("t must be a torch.Tensor")
    if not t.is_floating_point():
        raise TypeError(f"`t` must be a floating point Tensor but is a {t.type()}")
    if t.dim() != 1:
        raise AssertionError("t must be one dimensional")
    if not len(t):
        raise AssertionError("t must hold at least one time, but is empty.")
    for name, tensor in (("t", t), *(("y0", part) for part in parts)):
        if tensor.is_meta:
            raise ValueError(f"{name} is on the meta device and holds no numbers. Use a device that computes.")
    times = t.tolist()
    pairs = list(itertools.pairwise(times))
    if not (all(a < b for a, b in pairs) or all(a > b for a, b in pairs)):
        raise AssertionError("t must be strictly increasing or decreasing")
    if t.device != parts[0].device:
        warnings.warn("t is not on the same device as y0. Coercing to y0.device.", UserWarning, stacklevel=4)
        t = t.to(parts[0].device)
    return t


def odeint_event(
    func: Callable[..., State],
    y0: State,
    t0: Tensor,
    *,
    event_fn: Callable[..., Tensor],
    reverse_time: bool = False,
    odeint_interface: Callable[..., Any] = odeint,
    **kwargs: Any,
) -> Any:
    """Solve from ``t0`` until ``event_fn(t, y)`` changes its sign.

    Args:
        func: Callable ``(t, y) -> dy/dt``.
        y0: Initial state.
        t0: Initial time, a 0-d tensor.
        event_fn: Callable ``(t, y)``; the first of its entries to change its sign ends the solve.
        reverse_time: Whether to solve backward in time.
        odeint_interface: `odeint` or `odeint_adjoint`.
        kwargs: Their further arguments.

    Returns:
        The event's time, and the states at the beginning and there, all differentiable.
    """
    sign = -1.0 if reverse_time else 1.0
    start = torch.as_tensor(t0).reshape(())
    t = torch.stack([start, start.detach() + sign])
    return odeint_interface(func, y0, t, event_fn=event_fn, **kwargs)


def odeint_dense(
    func: Callable[..., State],
    y0: State,
    t0: Tensor,
    t1: Tensor,
    *,
    rtol: Any = 1e-7,
    atol: Any = 1e-9,
    method: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> Callable[[Tensor], State]:
    """Solve from ``t0`` to ``t1`` and return the solution as a function of time; see `odeint`."""
    t = torch.stack([torch.as_tensor(t0).reshape(()), torch.as_tensor(t1).reshape(())])
    legacy = find_legacy_method(method)
    t = check_inputs(y0, t)
    arguments = solver_arguments(legacy, options, func, y0, t, event=False)
    tolerances = {"rtol": _tolerance(rtol, "rtol", y0), "atol": _tolerance(atol, "atol", y0)}
    solution = _solved(func, y0, t, (), adjoint="direct", dense=True, **tolerances, **arguments)
    function: Callable[[Tensor], State] = solution.__call__
    return function
