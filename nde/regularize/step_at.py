"""One step of a solver at any place of a trajectory, whoever computed that: penalties around other solvers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from nde.doors.ode import solve_ode
from nde.solvers.controllers import Controller, FixedStep
from nde.solvers.method import Method
from nde.solvers.solution import Solution
from nde.solvers.status import SolverError
from nde.solvers.structure import State

__all__ = ["step_at"]

# from the cautious automatic first size to the one that the controller keeps; and where none of these is accepted
_ATTEMPTS_TO_SETTLE = 4
_ATTEMPTS_AT_MOST = 40


def step_at(
    field: Callable[..., State],
    y: State,
    t: float,
    end: float,
    args: tuple[Any, ...] = (),
    *,
    method: str | Method = "tsit5",
    rtol: Any = 1e-4,
    atol: Any = 1e-6,
    controller: Controller | None = None,
) -> Solution:
    """Return the solution over the one step that a solver would take from a state on its way to ``end``.

    Every global penalty takes it: with ``t`` uniform on the span, ``GlobalError()(step_at(field, y_t, t, end))``
    estimates the mean error in time of a solve by ``method``, up to the difference between the size that is found and
    that of the solve (in tests, up to a fifth). `LocalError` is exact, for solves by this package; here the state may
    come from any solver. Where ``y`` is on that solver's tape, such as one of its outputs, the gradient reaches what it
    was computed from; with ``y.detach()`` it is that of the step alone.

    The size is that on which the controller settles within four attempts from there, found without gradients and, as in
    every solve, a constant; a step that would pass ``end`` ends there. It costs about six steps forward and one
    backward.

    Args:
        field: Callable ``(t, y, *args) -> dy/dt``, as for `nde.solve_ode`.
        y: State at ``t``, of any shape and nesting.
        t: Time, a number; a 0-d tensor's value is taken.
        end: End of the span, after or before ``t``.
        args: Further arguments of the field.
        method, rtol, atol, controller: Of the solver whose step is to be taken, see `nde.solve_ode`; the method and the
            controller are adaptive.

    Returns:
        A solution with one step, whose estimates are on the tape.

    Raises:
        TypeError, ValueError: An argument is wrong, as for `nde.solve_ode`; or ``t`` and ``end`` are the same.
        SolverError: No step from there is accepted.
    """
    t, end = float(t), float(end)
    if not (math.isfinite(t) and math.isfinite(end) and t != end):
        raise ValueError(f"t and end must be two finite times, but are {t} and {end}. Draw t from before the end.")
    options: dict[str, Any] = {"method": method, "rtol": rtol, "atol": atol, "adjoint": "direct"}
    for attempts in (_ATTEMPTS_TO_SETTLE, _ATTEMPTS_AT_MOST):
        with torch.no_grad():
            ahead = solve_ode(
                field, y, (t, end), args, **options, controller=controller, max_steps=attempts, throw=False
            )
        if len(ahead.steps):
            break
    else:
        if ahead.failure is not None:
            raise SolverError(ahead.failure.message(ahead.status), ahead, ahead.status, ahead.failure)
    sizes = ahead.steps.h.abs().tolist()
    # the last step of a finished solve is cut by the end of its span
    size = sizes[-2] if ahead.failure is None and len(sizes) > 1 else sizes[-1]
    after = t + math.copysign(min(size, abs(end - t)), end - t)
    return solve_ode(field, y, (t, after), args, **options, controller=FixedStep(size))
