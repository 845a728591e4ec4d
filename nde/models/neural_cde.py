"""The neural CDE layer."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from nde import validation
from nde.adjoint import ADJOINTS, Adjoint
from nde.controls import ControlPath
from nde.doors.cde import as_ode, solve_cde
from nde.doors.ode import solve_ode
from nde.models.layer import LayerOutput, SolverLayer
from nde.regularize import Penalty
from nde.solvers import Controller, Method, Solution, find_method

__all__ = ["NeuralCDE", "NeuralCDEOutput"]


class NeuralCDEOutput(LayerOutput):
    """What `NeuralCDE` returns."""


class NeuralCDE(SolverLayer):
    """A layer from a path ``X`` to the states of ``dz = field(t, z, *args) dX(t)``, ``z(ts[0]) = initial(X(ts[0]))``.

    What is read off the states is up to the caller: ``readout(layer(path).y1)``.

    Kidger, Morrill, Foster, Lyons (2020), Neural controlled differential equations for irregular time series.

    Args:
        field: An ``nn.Module`` or any callable ``(t, z, *args)`` that returns a matrix for each row, shape
            ``(batch..., hidden, channels)``, or has a method ``product``; see `nde.solve_cde`.
        initial: An ``nn.Module`` or any callable from ``X(ts[0])``, shape ``(batch..., channels)``, to the initial
            state, ``(batch..., hidden)``; None if every call brings an initial state.
        ts: Output times, shape ``(T,)``; those of a call take precedence. Empty for the first and last knot of the
            path.
        regularizer: Penalty on the cost of the solve or along the trajectory, applied in training mode. The field that
            the latter see is ``field(t, z) dX/dt``.
        method, rtol, atol, controller, adjoint, max_steps, dt_min, dt_max, throw, per_sample: See `nde.solve_ode`.
        jump_ts: See `nde.solve_cde`.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument is out of range.
    """

    def __init__(
        self,
        field: Callable[..., Tensor],
        initial: Callable[[Tensor], Tensor] | None = None,
        ts: Tensor | Sequence[float] = (),
        *,
        regularizer: Penalty | None = None,
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
        jump_ts: Tensor | Sequence[float] | None = None,
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
            "jump_ts": jump_ts,
        }
        super().__init__(ts, regularizer, options)
        if not callable(getattr(field, "product", None)):
            validation.check_field(field)
        if initial is not None and not callable(initial):
            raise TypeError(f"initial must be callable as initial(x), but is a {type(initial).__name__}.")
        validation.check_controller(controller, find_method(method), zero_tolerance=False)
        validation.check_limits(max_steps, dt_min, dt_max)
        validation.check_adjoint(adjoint, ADJOINTS)
        self.field = field
        self.initial = initial

    def forward(
        self,
        control: ControlPath,
        y0: Tensor | None = None,
        ts: Tensor | Sequence[float] | None = None,
        args: tuple[Any, ...] = (),
    ) -> NeuralCDEOutput:
        """Solve along a path.

        Args:
            control: The path; its batch is that of the states.
            y0: Initial state, shape ``(batch..., hidden)``; that of the layer's ``initial`` by default.
            ts: Output times of this call; the layer's by default.
            args: Further arguments of the field.

        Returns:
            The solution and the penalty; ``output.y1`` has the shape ``(batch..., hidden)``.

        Raises:
            TypeError: An argument has the wrong type, or there is no initial state.
            SolverError: The solve failed and ``throw`` is set.
        """
        start, times = self._start(control, y0, ts)
        options = self.options
        equation = as_ode(self.field, control, start, times, args, options["per_sample"], options["jump_ts"])
        solution = self.integrated(
            solve_ode, (equation.field,), start, equation.ts, equation.args, jump_ts=equation.jump_ts
        )
        return NeuralCDEOutput(solution, self.penalty(solution))

    def solve(
        self,
        control: ControlPath,
        y0: Tensor | None = None,
        ts: Tensor | Sequence[float] | None = None,
        args: tuple[Any, ...] = (),
        **options: Any,
    ) -> Solution:
        """Solve along a path without a penalty, with other options of `nde.solve_cde` than the layer's where given.

        Args:
            control: The path.
            y0: Initial state; that of the layer's ``initial`` by default.
            ts: Output times of this call; the layer's by default.
            args: Further arguments of the field.
            options: Options that take precedence, such as ``rtol=1e-9`` or ``jump_ts=()``.
        """
        start, times = self._start(control, y0, ts)
        return solve_cde(self.field, control, start, times, args, **{**self.options, **options})

    def _start(
        self, control: ControlPath, y0: Tensor | None, ts: Tensor | Sequence[float] | None
    ) -> tuple[Tensor, Tensor | Sequence[float]]:
        """Return the initial state and the output times of a call."""
        if not isinstance(control, ControlPath):
            raise TypeError(
                f"control must be a path, but is a {type(control).__name__}. Try nde.controls.LinearPath(x, times)."
            )
        times = self.ts if ts is None else ts
        times = times if len(times) else control.interval.detach()
        if y0 is None:
            if self.initial is None:
                raise TypeError("y0 must be given where the layer has no initial=.")
            y0 = self.initial(_value_at(control, times))
        return y0, times


def _value_at(control: ControlPath, times: Tensor | Sequence[float]) -> Tensor:
    """Return the path at the first time, which may be one for each row."""
    if isinstance(times, Tensor) and times.dim() == 2:
        return control.evaluate(times[:, :1].reshape(-1, *[1] * len(control.batch_shape)))
    return control.evaluate(times[0])
