"""Work and precision of methods on one field: the field of a module, or a model problem."""

from __future__ import annotations

import dataclasses
import importlib
import math
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nde.doors.ode import solve_ode
from nde.solvers.registry import find_method
from nde.solvers.status import SolverError

__all__ = ["PROBLEMS", "Measurement", "UsageError", "load_problem", "measure"]

Field = Callable[..., Any]
_OURS = Path(__file__).resolve().parents[2]


class UsageError(Exception):
    """What the user asked for cannot be done; the message says what can."""


class FieldError(UsageError):
    """The field cannot be evaluated; the message says where it failed."""


@dataclasses.dataclass(frozen=True)
class Measurement:
    """One method at one tolerance; errors are relative to ``1 + |y|``, the largest at the output times."""

    method: str
    tolerance: float
    error: float
    evaluations: int
    accepted: int
    rejected: int
    seconds: float
    failure: str = ""


def _van_der_pol(t: Tensor, y: Tensor) -> Tensor:
    return torch.stack([y[..., 1], 5 * (1 - y[..., 0] ** 2) * y[..., 1] - y[..., 0]], -1)


def _arenstorf(t: Tensor, y: Tensor) -> Tensor:
    mu = 0.012277471
    x, v, u, w = y.unbind(-1)
    near, far = ((x + mu) ** 2 + v**2) ** 1.5, ((x - 1 + mu) ** 2 + v**2) ** 1.5
    ax = x + 2 * w - (1 - mu) * (x + mu) / near - mu * (x - 1 + mu) / far
    ay = v - 2 * u - (1 - mu) * v / near - mu * v / far
    return torch.stack([u, w, ax, ay], -1)


def _lotka_volterra(t: Tensor, y: Tensor) -> Tensor:
    prey, hunters = y.unbind(-1)
    return torch.stack([prey * (1.5 - hunters), hunters * (prey - 3.0)], -1)


#: field, initial state, times
PROBLEMS: dict[str, tuple[Field, list[float], tuple[float, float]]] = {
    "van-der-pol": (_van_der_pol, [2.0, 0.0], (0.0, 10.0)),
    "arenstorf": (_arenstorf, [0.994, 0.0, 0.0, -2.00158510637908], (0.0, 17.0652165601579)),
    "lotka-volterra": (_lotka_volterra, [1.0, 1.0], (0.0, 10.0)),
}


def load_problem(name: str, y0: str | None, span: str | None) -> tuple[Field, Tensor, tuple[float, float]]:
    """Return a field, its initial state and its span.

    Args:
        name: One of `PROBLEMS`, or ``module:function`` or ``file.py:function``.
        y0: Numbers with commas between; None for those of the problem, or of an attribute ``y0`` beside the function.
        span: Two numbers, likewise; None for that of the problem, or of an attribute ``ts``.

    Raises:
        UsageError: There is none, or it cannot be used so.
    """
    start: Any = None if y0 is None else _numbers(y0, "--y0")
    times: Any = None if span is None else _numbers(span, "--span")
    if name in PROBLEMS:
        field, known_start, known_times = PROBLEMS[name]
    else:
        field, known_start, known_times = _imported(name)
    start, times = known_start if start is None else start, known_times if times is None else times
    if start is None or times is None:
        missing = "--y0" if start is None else "--span"
        raise UsageError(f"{missing} is missing: {name} says nothing of it. Give {missing}=1.0,0.0.")
    times = tuple(float(time) for time in times)
    if len(times) < 2 or not all(map(math.isfinite, times)) or times[0] == times[-1]:
        given = span if span is not None else ",".join(f"{time:g}" for time in times)
        raise UsageError(f"--span must be two different finite numbers, such as 0,10, but is {given!r}.")
    return field, torch.as_tensor(start, dtype=torch.float64), (times[0], times[-1])


def measure(
    field: Field, y0: Tensor, span: tuple[float, float], methods: Sequence[str], tolerances: Sequence[float]
) -> list[Measurement]:
    """Solve by every method at every tolerance, against a reference with a far smaller one.

    Raises:
        UsageError: A method is not known, has no step-size control, or the reference fails.
        FieldError: The field raised an error, or returned something else than a tensor of the shape of the state.
    """
    for name in methods:
        try:
            method = find_method(name)
        except ValueError as error:
            raise UsageError(f"--methods: {error}") from None
        if method.error_order is None:
            raise UsageError(f"--methods: {name} has no error estimate, so that no tolerance can be asked of it.")
    ts = torch.linspace(*span, 11, dtype=torch.float64)
    tight = max(min(tolerances) * 1e-3, 1e-14)
    found = []
    with torch.no_grad():
        try:
            reference = solve_ode(field, y0, ts, method="dopri8", rtol=tight, atol=tight, max_steps=10**6).ys
        except SolverError as error:
            raise UsageError(f"the reference, dopri8 at {tight:g}, failed: {error}") from None
        except Exception as error:
            raise FieldError(f"the field failed: {_said(error)}") from error
        for name in methods:
            for tolerance in tolerances:
                settings: dict[str, Any] = {"method": name, "rtol": tolerance, "atol": tolerance, "throw": False}
                solve_ode(field, y0, ts[:2], **settings)  # to be warm
                start = time.perf_counter()
                solution = solve_ode(field, y0, ts, max_steps=10**6, **settings)
                seconds, stats = time.perf_counter() - start, solution.stats
                deviation = float(((solution.ys - reference).abs() / (1 + reference.abs())).max())
                failure = "" if solution.success else solution.status.name
                counts = (stats.n_field_evals, stats.n_accepted, stats.n_rejected)
                found.append(Measurement(name, tolerance, deviation, *counts, seconds, failure))
    return found


def _said(error: BaseException) -> str:
    """Return an error in one line, with the last place in code that is neither ours nor a library's."""
    found = f"{type(error).__name__}: {error}".split("\n")[0]
    if isinstance(error, SyntaxError):
        return found
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if not any(part in frame.filename for part in ("site-packages", "<frozen", str(_OURS), "importlib")):
            return f"{found} ({Path(frame.filename).name}, line {frame.lineno})"
    return found


def _numbers(text: str, option: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(f"{option} must be numbers with commas between, such as 1.0,0.0, but is {text!r}.") from None


def _imported(name: str) -> tuple[Field, Any, Any]:
    place, separator, attribute = name.partition(":")
    if not separator or not attribute:
        known = ", ".join(PROBLEMS)
        raise UsageError(f"{name!r} is no known problem. Choose one of {known}, or give module:function.")
    try:
        if place.endswith(".py"):
            path = Path(place).resolve()
            if not path.exists():
                raise UsageError(f"there is no file {place}.")
            sys.path.insert(0, str(path.parent))
            module = importlib.import_module(path.stem)
        else:
            sys.path.insert(0, str(Path.cwd()))
            module = importlib.import_module(place)
    except UsageError:
        raise
    except (Exception, SystemExit) as error:  # whatever a module does when it is imported
        raise UsageError(f"cannot import {place}: {_said(error)}") from None
    finally:
        sys.path[:] = sys.path[1:] if sys.path else []
    field = getattr(module, attribute, None)
    if not callable(field):
        raise UsageError(f"{place} has no function {attribute}.")
    return field, getattr(module, "y0", None), getattr(module, "ts", None)
