"""The neural ODE layer."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from nde import validation
from nde.adjoint import ADJOINTS, Adjoint
from nde.doors.ode import solve_ode
from nde.models.augment import augment_with_zeros, check_augmentation
from nde.models.layer import LayerOutput, SolverLayer
from nde.regularize import Penalty, Steer
from nde.solvers import Controller, Method, Solution, find_method
from nde.solvers.events import Event
from nde.solvers.structure import State

__all__ = ["NeuralODE", "NeuralODEOutput"]


class NeuralODEOutput(LayerOutput):
    """What `NeuralODE` returns."""


class NeuralODE(SolverLayer):
    """A layer ``y(ts[0]) -> y(ts[-1])`` along ``dy/dt = field(t, y, *args)``.

    Chen, Rubanova, Bettencourt, Duvenaud (2018), Neural ordinary differential equations.

    Args:
        field: The vector field, an ``nn.Module`` or any callable ``(t, y, *args)``.
        ts: Output times, shape ``(T,)``; those of a call take precedence.
        augment: How many zeros to append to the state, a tensor: the field and the output have as many channels more.
            Maps that no flow in the state's own space can be then become possible, and simple ones cost fewer steps.
            Dupont, Doucet, Teh (2019), Augmented neural ODEs.
        augment_axis: Along which axis: the last one of vectors, 1 for images.
        regularizer: Penalty on the cost of the solve or along the trajectory, applied in training mode.
        steer: Jitter of the output times in training mode; ``output.solution.ts`` has them.
        method, rtol, atol, controller, adjoint, max_steps, dt_min, dt_max, throw: See `nde.solve_ode`.
        per_sample, events, dense, norm, step_ts, jump_ts: Likewise.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument is out of range, or the regularizer does not go with it.
    """

    def __init__(
        self,
        field: Callable[..., State],
        ts: Tensor | Sequence[float] = (0.0, 1.0),
        *,
        augment: int = 0,
        augment_axis: int = -1,
        regularizer: Penalty | None = None,
        steer: Steer | None = None,
        method: str | Method = "tsit5",
        rtol: Any = 1e-4,
        atol: Any = 1e-6,
        controller: Controller | None = None,
        adjoint: str | Adjoint = "discrete",
        max_steps: int = 10_000,
        dt_min: float = 0.0,
        dt_max: float = math.inf,
        throw: bool = True,
        per_sample: bool = False,
        events: Event | Sequence[Event] | None = None,
        dense: bool = False,
        norm: Callable[[State], Tensor] | None = None,
        step_ts: Tensor | Sequence[float] = (),
        jump_ts: Tensor | Sequence[float] = (),
    ) -> None:
        options: dict[str, Any] = {
            "method": method,
            "rtol": rtol,
            "atol": atol,
            "controller": controller,
            "adjoint": adjoint,
            "max_steps": max_steps,
            "dt_min": dt_min,
            "dt_max": dt_max,
            "throw": throw,
            "per_sample": per_sample,
            "events": events,
            "dense": dense,
            "norm": norm,
            "step_ts": step_ts,
            "jump_ts": jump_ts,
        }
        super().__init__(ts, regularizer, options, steer)
        validation.check_field(field)
        validation.check_controller(controller, find_method(method), zero_tolerance=False)
        validation.check_limits(max_steps, dt_min, dt_max)
        validation.check_adjoint(adjoint, ADJOINTS)
        check_augmentation(augment, augment_axis)
        self.field = field
        self.augment = augment
        self.augment_axis = augment_axis

    def forward(
        self, y0: State, ts: Tensor | Sequence[float] | None = None, args: tuple[Any, ...] = ()
    ) -> NeuralODEOutput:
        """Solve from ``y0``.

        Args:
            y0: Initial state: a tensor of shape ``(*shape)`` or a nested structure of tensors.
            ts: Output times of this call; the layer's by default.
            args: Further arguments of the field.

        Returns:
            The solution and the penalty; ``output.y1`` has the structure of ``y0``, with its zeros appended.

        Raises:
            SolverError: The solve failed and ``throw`` is set.
        """
        start = augment_with_zeros(y0, self.augment, self.augment_axis)
        solution = self.integrated(solve_ode, (self.field,), start, ts, args)
        return NeuralODEOutput(solution, self.penalty(solution))

    def solve(
        self, y0: State, ts: Tensor | Sequence[float] | None = None, args: tuple[Any, ...] = (), **options: Any
    ) -> Solution:
        """Solve from ``y0`` without a penalty, with other options of `nde.solve_ode` than the layer's where given.

        Args:
            y0: Initial state.
            ts: Output times of this call; the layer's by default.
            args: Further arguments of the field.
            options: Options that take precedence, such as ``rtol=1e-9`` or ``method="dopri8"``.
        """
        start = augment_with_zeros(y0, self.augment, self.augment_axis)
        return solve_ode(self.field, start, self.ts if ts is None else ts, args, **{**self.options, **options})
