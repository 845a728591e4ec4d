"""Checks the arguments of a solve before any work is done, and says what would be right."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from nde.adjoint import Adjoint
from nde.checks import suggestion
from nde.solvers.controllers import Controller, IController
from nde.solvers.method import Method
from nde.solvers.structure import StateStructure

__all__ = [
    "StepSettings",
    "check_adjoint",
    "check_args",
    "check_controller",
    "check_field",
    "check_flag",
    "check_limits",
    "check_steps",
    "check_times",
    "check_tolerance",
    "warn_below_rounding",
]

# an error estimate is a difference of stages; with less than some fifty rounding units it measures nothing else
_ROUNDING_UNITS = 50


class StepSettings(NamedTuple):
    """How steps are chosen, in the order in which `nde.solvers.problem.Problem` takes it; see there."""

    method: Method
    controller: Controller
    rtol: float | Tensor
    atol: float | Tensor
    max_steps: int
    dt_min: float
    dt_max: float
    keep_local_errors: bool


def check_field(field: Any, name: str = "field") -> None:
    """Raise TypeError unless ``field`` can be called."""
    if not callable(field):
        raise TypeError(
            f"{name} must be callable as {name}(t, y, *args), but is a {type(field).__name__}. "
            "Pass a function, a lambda or an nn.Module."
        )


def check_args(args: Any) -> None:
    """Raise TypeError unless further arguments come as a tuple."""
    if not isinstance(args, tuple):
        raise TypeError(f"args must be a tuple, but is a {type(args).__name__}. Did you mean args=(value,)?")


def check_times(ts: Any, structure: StateStructure) -> tuple[Tensor, tuple[float, ...]]:
    """Return the output times as a tensor on the state's device, and as host floats.

    Raises:
        TypeError: They are no real numbers.
        ValueError: They are not one-dimensional, fewer than two, not finite, not strictly monotone, or have no values
            (on the meta device).
    """
    if not isinstance(ts, Tensor):
        try:
            if isinstance(ts, (tuple, list)) and any(isinstance(time, Tensor) for time in ts):
                ts = torch.stack([torch.as_tensor(time, dtype=torch.float64).cpu() for time in ts])  # differentiable
            ts = torch.as_tensor(ts, dtype=torch.float64)
        except (TypeError, ValueError, RuntimeError) as error:
            raise TypeError(
                f"ts must be a one-dimensional tensor or a sequence of numbers, but is {ts!r}. Try ts=(0.0, 1.0)."
            ) from error
    if ts.dim() != 1:
        raise ValueError(f"ts must have shape (T,), but has shape {tuple(ts.shape)}. Try ts.reshape(-1).")
    if ts.is_complex() or ts.dtype == torch.bool:
        raise TypeError(f"ts must hold real numbers, but has dtype {ts.dtype}.")
    if ts.shape[0] < 2:
        raise ValueError(
            f"ts must hold at least the initial and the final time, but has {ts.shape[0]} entries: the span would have "
            "zero length."
        )
    if ts.is_meta:
        raise ValueError("ts is on the meta device and holds no numbers. Give times that have values: ts=(0.0, 1.0).")
    times = tuple(float(time) for time in ts.detach().tolist())
    for index, time in enumerate(times):
        if not math.isfinite(time):
            raise ValueError(f"ts must be finite, but ts[{index}] is {time}.")
    upward = times[1] > times[0]
    for index in range(len(times) - 1):
        before, after = times[index], times[index + 1]
        if before == after:
            raise ValueError(
                f"ts must be strictly increasing or decreasing, but ts[{index}] == ts[{index + 1}] == {after:.10g}. "
                "Remove the repeated time."
            )
        if (after > before) != upward:
            raise ValueError(
                f"ts must be strictly increasing or decreasing, but goes {times[0]:.10g}, {times[1]:.10g}, ..., "
                f"ts[{index}] = {before:.10g}, ts[{index + 1}] = {after:.10g}. Sort it."
            )
    return ts, times


def check_flag(value: Any, name: str) -> None:
    """Raise TypeError unless ``value`` is True or False."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, but is {value!r}.")


def check_tolerance(value: Any, name: str, structure: StateStructure) -> float | Tensor:
    """Return a tolerance as a float or as a flat vector.

    Raises:
        TypeError: It is neither a number nor of the state's structure.
        ValueError: It is negative or NaN.
    """
    tolerance = structure.spread(value, name)
    if isinstance(tolerance, float):
        valid, finite = tolerance >= 0, tolerance < math.inf
    else:
        valid, finite = bool((tolerance >= 0).all()), not bool(tolerance.isinf().any())
    if not valid:
        raise ValueError(f"{name} must be zero or positive, but is {value!r}. Try {name}=1e-6.")
    if not finite:
        raise ValueError(f"{name} must be finite, but is {value!r}. To leave an entry out, try 1e20.")
    return tolerance


def check_steps(
    method: Method,
    controller: Any,
    rtol: Any,
    atol: Any,
    max_steps: Any,
    dt_min: Any,
    dt_max: Any,
    local_errors: bool,
    structure: StateStructure,
    default: Controller | None = None,
) -> StepSettings:
    """Return how steps are to be chosen.

    Args:
        method: The method.
        controller, rtol, atol, max_steps, dt_min, dt_max, local_errors: As the user gave them.
        structure: Structure of the state.
        default: Controller in place of none; None for an `IController`.

    Raises:
        TypeError: One of them has the wrong type.
        ValueError: One is out of range, or they do not fit the method.
    """
    relative, absolute = check_tolerance(rtol, "rtol", structure), check_tolerance(atol, "atol", structure)
    check_limits(max_steps, dt_min, dt_max)
    chosen = check_controller(controller, method, is_zero(relative) and is_zero(absolute), dt_min)
    if controller is None and default is not None:
        chosen = default
    return StepSettings(method, chosen, relative, absolute, max_steps, float(dt_min), float(dt_max), local_errors)


def is_zero(tolerance: float | Tensor) -> bool:
    """Return whether a tolerance is zero everywhere."""
    return not tolerance if isinstance(tolerance, float) else not bool(tolerance.any())


def check_limits(max_steps: Any, dt_min: Any, dt_max: Any) -> None:
    """Raise unless the limits on the steps are positive and in order."""
    if isinstance(max_steps, bool) or not isinstance(max_steps, int):
        raise TypeError(f"max_steps must be an integer, but is {max_steps!r}.")
    if max_steps < 1:
        raise ValueError(f"max_steps must be at least 1, but is {max_steps}.")
    for name, value in (("dt_min", dt_min), ("dt_max", dt_max)):
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise TypeError(f"{name} must be a number, but is {value!r}.")
    if not dt_min >= 0:
        raise ValueError(f"dt_min must be zero or positive, but is {dt_min}.")
    if not dt_max > dt_min:
        raise ValueError(f"dt_max must be larger than dt_min, but dt_max = {dt_max} and dt_min = {dt_min}.")


def check_controller(controller: Any, method: Method, zero_tolerance: bool, dt_min: float = 0.0) -> Controller:
    """Return the controller to use with a method.

    Raises:
        TypeError: It is no controller.
        ValueError: The method has no error estimate, or both tolerances are zero, and the controller needs them; or it
            begins with steps smaller than ``dt_min``.
    """
    if controller is not None and not isinstance(controller, Controller):
        hint = f" Did you mean controller=nde.FixedStep({controller})?" if isinstance(controller, (int, float)) else ""
        raise TypeError(f"controller must be a Controller, but is {controller!r}.{hint}")
    adaptive = controller is None or controller.adaptive
    if adaptive and method.error_order is None:
        raise ValueError(
            f"method={method.name!r} has no error estimate to adapt the step size to. Give a step size with "
            "controller=nde.FixedStep(0.01), or step from output time to output time with controller=nde.StepTo()."
        )
    if adaptive and zero_tolerance:
        raise ValueError("rtol and atol are both zero, so that no step would be accepted. Make one of them positive.")
    if controller is not None and (controller.first_step() or dt_min) < dt_min:
        raise ValueError(
            f"dt_min = {dt_min} is larger than the steps that controller={controller} begins with. Lower dt_min."
        )
    return IController() if controller is None else controller


def check_adjoint(adjoint: Any, known: Mapping[str, Adjoint]) -> Adjoint:
    """Return an adjoint by name, or the adjoint itself.

    Raises:
        TypeError: The argument is neither a name nor an adjoint.
        ValueError: No adjoint has this name.
    """
    if isinstance(adjoint, Adjoint):
        return adjoint
    if not isinstance(adjoint, str):
        raise TypeError(f"adjoint must be a name or an Adjoint, but is {adjoint!r}.")
    if adjoint in known:
        return known[adjoint]
    hint = suggestion(adjoint, known)
    raise ValueError(f"adjoint={adjoint!r} is not known.{hint} Choose one of: {', '.join(map(repr, known))}.")


def warn_below_rounding(structure: StateStructure, accuracy: float, stacklevel: int) -> None:
    """Warn if the tolerances ask for a relative accuracy that the state's dtype cannot resolve."""
    floor = _ROUNDING_UNITS * structure.eps
    if accuracy < floor:
        dtype = structure.time_dtype
        warnings.warn(
            f"rtol and atol ask for a relative accuracy of {accuracy:.1g}, below the {floor:.1g} that {dtype} can "
            "resolve: the error estimate is mostly rounding noise, steps get too small and penalties on the error act "
            "on noise. Loosen the tolerances or use a float64 state.",
            UserWarning,
            stacklevel=stacklevel,
        )
