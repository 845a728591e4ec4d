"""The neural SDE layer."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from nde import validation
from nde.adjoint import ADJOINTS, Adjoint
from nde.checks import check_choice
from nde.doors.sde import solve_sde
from nde.models.layer import LayerOutput, SolverLayer
from nde.regularize import Penalty, Steer
from nde.solvers import Controller, Solution
from nde.solvers.events import Event
from nde.solvers.sde import CALCULI, NOISE_TYPES, SDEMethod, default_method, find_sde_method
from nde.solvers.sde.field import Path
from nde.solvers.structure import State

__all__ = ["NeuralSDE", "NeuralSDEOutput", "sde_options"]


class NeuralSDEOutput(LayerOutput):
    """What `NeuralSDE` returns."""


class NeuralSDE(SolverLayer):
    """A layer ``y(ts[0]) -> y(ts[-1])`` along ``dy = drift(t, y, *args) dt + diffusion(t, y, *args) dW``.

    Every call draws a path of its own, in evaluation mode too, unless it is given one or a seed. The seed of that path
    comes from torch's global generator: where several processes train one model, seed each of them otherwise, or all of
    them see the same noise.

    Tzen, Raginsky (2019), Neural stochastic differential equations; Liu et al. (2019), Neural SDE: stabilizing neural
    ODE networks with stochastic noise.

    Args:
        drift: An ``nn.Module`` or any callable ``(t, y, *args)``.
        diffusion: Likewise; see `nde.solve_sde` for the shape of its value.
        ts: Output times, shape ``(T,)``; those of a call take precedence.
        noise, calculus, method: See `nde.solve_sde`.
        regularizer: Penalty on the cost of the solve, applied in training mode. Its gradient is that of the recorded
            steps on their path. It needs a method with an error estimate, and `nde.regularize.GlobalStiffness` one with
            a stiffness estimate ("sosri2", "sosra2"). Penalties along the trajectory are those of the drift; in the
            augmented form they need diagonal noise, and a seed then stands for another path than without them.
        steer: Jitter of the output times in training mode; ``output.solution.ts`` has them. A path that a call is given
            must cover them.
        rtol, atol, controller, adjoint, max_steps, dt_min, dt_max, throw: See `nde.solve_sde`.
        per_sample, events, dense, step_ts, jump_ts: Likewise.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument is out of range, or the method does not fit the calculus and the noise, or the
            regularizer does not go with the options.
    """

    def __init__(
        self,
        drift: Callable[..., State],
        diffusion: Callable[..., State],
        ts: Tensor | Sequence[float] = (0.0, 1.0),
        *,
        noise: str = "diagonal",
        calculus: str = "ito",
        method: str | SDEMethod | None = None,
        regularizer: Penalty | None = None,
        steer: Steer | None = None,
        rtol: Any = 1e-2,
        atol: Any = 1e-3,
        controller: Controller | None = None,
        adjoint: str | Adjoint = "discrete",
        max_steps: int = 100_000,
        dt_min: float = 0.0,
        dt_max: float = math.inf,
        throw: bool = True,
        per_sample: bool = False,
        events: Event | Sequence[Event] | None = None,
        dense: bool = False,
        step_ts: Tensor | Sequence[float] = (),
        jump_ts: Tensor | Sequence[float] = (),
    ) -> None:
        validation.check_field(drift, "drift")
        validation.check_field(diffusion, "diffusion")
        options = sde_options(
            noise, calculus, method, rtol, atol, controller, adjoint, max_steps, dt_min, dt_max, throw
        )
        rows = {"per_sample": per_sample, "events": events, "dense": dense, "step_ts": step_ts, "jump_ts": jump_ts}
        super().__init__(ts, regularizer, options | rows, steer)
        self.drift = drift
        self.diffusion = diffusion

    def forward(
        self,
        y0: State,
        ts: Tensor | Sequence[float] | None = None,
        args: tuple[Any, ...] = (),
        *,
        path: Path | None = None,
        seed: int | None = None,
    ) -> NeuralSDEOutput:
        """Solve from ``y0``.

        Args:
            y0: Initial state: a tensor of shape ``(*shape)``; with diagonal noise also a nested structure of tensors.
            ts: Output times of this call; the layer's by default.
            args: Further arguments of drift and diffusion.
            path: The Brownian path; None for a new one.
            seed: Seed of the new path; None to draw one.

        Returns:
            The solution and the penalty; ``output.y1`` has the structure of ``y0``.

        Raises:
            SolverError: The solve failed and ``throw`` is set.
        """
        functions = (self.drift, self.diffusion)
        solution = self.integrated(solve_sde, functions, y0, ts, args, path=path, seed=seed)
        return NeuralSDEOutput(solution, self.penalty(solution))

    def solve(
        self, y0: State, ts: Tensor | Sequence[float] | None = None, args: tuple[Any, ...] = (), **options: Any
    ) -> Solution:
        """Solve from ``y0`` without a penalty, with other options of `nde.solve_sde` than the layer's where given.

        Args:
            y0: Initial state.
            ts: Output times of this call; the layer's by default.
            args: Further arguments of drift and diffusion.
            options: Options that take precedence, such as ``seed=0`` or ``controller=nde.FixedStep(1e-3)``.
        """
        times = self.ts if ts is None else ts
        return solve_sde(self.drift, self.diffusion, y0, times, args, **{**self.options, **options})


def sde_options(
    noise: str,
    calculus: str,
    method: str | SDEMethod | None,
    rtol: Any,
    atol: Any,
    controller: Controller | None,
    adjoint: str | Adjoint,
    max_steps: int,
    dt_min: float,
    dt_max: float,
    throw: bool,
) -> dict[str, Any]:
    """Return keywords for `nde.solve_sde`, after a check of all that needs no state.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument is out of range, or the method does not fit the calculus and the noise.
    """
    check_choice(noise, NOISE_TYPES, "noise")
    check_choice(calculus, CALCULI, "calculus")
    method = default_method(calculus, noise) if method is None else method
    validation.check_controller(controller, find_sde_method(method, calculus, noise), zero_tolerance=False)
    validation.check_limits(max_steps, dt_min, dt_max)
    validation.check_adjoint(adjoint, ADJOINTS)
    validation.check_flag(throw, "throw")
    return {
        "noise": noise,
        "calculus": calculus,
        "method": method,
        "rtol": rtol,
        "atol": atol,
        "controller": controller,
        "adjoint": adjoint,
        "max_steps": max_steps,
        "dt_min": dt_min,
        "dt_max": dt_max,
        "throw": throw,
    }
