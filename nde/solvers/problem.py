"""What is to be solved, after validation: the one argument that the loop and the adjoints share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from nde.solvers.controllers import Controller
from nde.solvers.field import VectorField
from nde.solvers.method import Method
from nde.solvers.norms import CustomNorm, ErrorNorm
from nde.solvers.structure import StateStructure
from nde.solvers.watching import StepWatcher

__all__ = ["Problem"]


@dataclass(frozen=True)
class Problem:
    """An initial value problem and how to solve it.

    Attributes:
        field: The vector field on flat states.
        structure: Structure of the state.
        y0: Initial state, flat, on the tape of the user's ``y0``.
        ts: Output times as the user gave them, on the user's tape; shape ``(T,)``.
        times: The same as host floats.
        method: The method.
        controller: The step-size controller.
        rtol, atol: Tolerances, numbers or vectors of shape ``(size,)``.
        max_steps: Limit on attempted steps.
        dt_min, dt_max: Limits on the step size; below ``dt_min`` the solve fails.
        keep_local_errors: Whether the error vector of every step is an output.
        norm: Norm of a state of scaled errors, a 0-d tensor; None for the root mean square.
        lands: Whether steps end on every output time.
        snap: Moves the end of a step, ``(t, t1) -> t1``, where some times are cheaper than others; None to leave it.
        carry0: What the first step is given in the place of `Method.start`, on the user's tape; None for that. The
            adjoints that differentiate it are "direct" and "reversible".
        keep_states: Whether the state at the end of every step is an output.
        watcher: Is told of every attempted step, those of a backward solve included.
    """

    field: VectorField
    structure: StateStructure
    y0: Tensor
    ts: Tensor
    times: tuple[float, ...]
    method: Method
    controller: Controller
    rtol: float | Tensor
    atol: float | Tensor
    max_steps: int
    dt_min: float
    dt_max: float
    keep_local_errors: bool
    norm: Callable[[Any], Tensor] | None = None
    lands: bool = False
    snap: Callable[[float, float], float] | None = None
    carry0: Any = None
    keep_states: bool = False
    watcher: StepWatcher | None = None

    def error_norm(self) -> ErrorNorm:
        """Return the norm of error estimates."""
        if self.norm is None:
            return ErrorNorm(self.structure, self.rtol, self.atol)
        return CustomNorm(self.structure, self.rtol, self.atol, self.norm)

    def landings(self) -> list[tuple[float, int | None]]:
        """Return the times that steps must end on, in order, each with the index of the output time that it is."""
        asked = self.controller.landings()
        last = len(self.times) - 1
        low, high = sorted((self.times[0], self.times[-1]))
        ends: dict[float, int | None] = {float(time): None for time in asked or () if low < time < high}
        outputs = range(1, last + 1) if asked is None or self.lands else (last,)
        ends.update((self.times[index], index) for index in outputs)
        return sorted(ends.items(), reverse=self.times[-1] < self.times[0])
