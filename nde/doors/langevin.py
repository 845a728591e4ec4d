"""The front door for the underdamped Langevin equation: `solve_langevin`.

Stands on `nde.solvers` and `nde.adjoint`, like `nde.solve_sde`, whose paths, loop, adjoints and solution it shares.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from nde import validation
from nde.adjoint import ADJOINTS, Adjoint, BacksolveAdjoint
from nde.adjoint.observed import solve_observed
from nde.doors.ode import finished
from nde.solvers.controllers import Controller, PIController
from nde.solvers.problem import Problem
from nde.solvers.rows.field import whole
from nde.solvers.sde.field import Path
from nde.solvers.sde.langevin_field import LangevinField
from nde.solvers.sde.method import SDEMethod
from nde.solvers.sde.paths import path_of_solve
from nde.solvers.sde.registry import find_sde_method
from nde.solvers.sde.times import cells, snapper
from nde.solvers.solution import Solution
from nde.solvers.structure import StateStructure
from nde.solvers.transforms import NO_VMAP, has_batched

__all__ = ["solve_langevin"]


def solve_langevin(
    gradient: Callable[..., Tensor],
    x0: Tensor,
    v0: Tensor,
    ts: Tensor | Sequence[float],
    args: tuple[Any, ...] = (),
    *,
    gamma: float | Tensor,
    u: float | Tensor = 1.0,
    method: str | SDEMethod = "quicsort",
    path: Path | None = None,
    seed: int | None = None,
    rtol: Any = 1e-2,
    atol: Any = 1e-3,
    controller: Controller | None = None,
    adjoint: str | Adjoint = "discrete",
    max_steps: int = 100_000,
    dt_min: float = 0.0,
    dt_max: float = math.inf,
    local_errors: bool = False,
    step_states: bool = False,
    throw: bool = True,
) -> Solution:
    """Integrate the underdamped Langevin equation and return positions and velocities at ``ts``.

    ``dx = v dt``, ``dv = -gamma v dt - u gradient(t, x, *args) dt + sqrt(2 gamma u) dW``. Where the gradient is that of
    a potential ``f`` that does not depend on time, positions and velocities have the invariant density
    ``exp(-f(x) - |v|^2 / (2 u))`` up to a factor, for one number ``u``. Friction and noise are integrated exactly, so
    that steps can be far longer than those of `nde.solve_sde` on the same equation.

    Args:
        gradient: Callable ``(t, x, *args)`` that returns the gradient of the potential, of the shape and dtype of
            ``x0``; ``t`` is a 0-d tensor of that dtype. Of a potential ``f(x)`` that sums over samples, it is
            ``lambda t, x: torch.func.grad(f)(x)``.
        x0: Initial positions: a real tensor of any shape; every entry has a Brownian motion of its own.
        v0: Initial velocities, of the same shape and dtype.
        ts: Output times, shape ``(T,)`` with ``T >= 2``, strictly increasing; steps end on every one of them. Not
            differentiable: a path has no derivative in time.
        args: Further arguments of the gradient, of any kind.
        gamma: Friction, positive: a number, or a tensor that broadcasts to ``x0``.
        u: Factor of the force (an inverse mass, in units where the temperature is one), likewise.
        method: ``"quicsort"`` or ``"should"`` (strong order 3, two gradients per step), ``"align"`` (order 2, one
            gradient, with an error estimate), ``"ubu"`` (order 2, one gradient), ``"baoab"`` (strong order 1, weak
            order 2, one gradient), or an `SDEMethod` whose noise is "langevin".
        path: The Brownian path, of the shape of ``x0``; None for a new one.
        seed: Seed of the new path; None to draw one from torch's global generator.
        rtol, atol: Tolerances of the error of a step, as in `nde.solve_ode`, for the state ``(x, v)``.
        controller: Step-size controller; by default `PIController`. Methods without an error estimate need `FixedStep`
            or `StepTo`, or to be doubled: ``method=nde.solvers.sde.StepDoubling("quicsort")``.
        adjoint: ``"discrete"`` or ``"direct"``; see `nde.solve_ode`. Both differentiate ``x0``, ``v0``, ``gamma``,
            ``u``, ``args`` and whatever the gradient captures.
        max_steps, dt_min, dt_max, local_errors, step_states, throw: As in `nde.solve_ode`.

    Returns:
        `Solution`, as of `nde.solve_ode`, with states ``(x, v)``: ``xs, vs = solution.ys``.
        ``stats.n_field_evals`` counts evaluations of the gradient.

    Raises:
        RuntimeError: An argument was batched by ``torch.func.vmap``.
        TypeError: An argument has the wrong type, or the gradient returns another dtype than that of ``x0``.
        ValueError: An argument is out of range or of a wrong shape, the method does not step Langevin equations, or the
            path does not cover the span or has another shape.
        SolverError: The solve failed and ``throw`` is set; ``error.solution`` holds what was computed.
    """
    validation.check_field(gradient, "gradient")
    for name, flag in (("local_errors", local_errors), ("step_states", step_states), ("throw", throw)):
        validation.check_flag(flag, name)
    _check_state(x0, v0)
    positions, structure = StateStructure(x0, "x0"), StateStructure((x0, v0), "(x0, v0)")
    friction, factor = _constant(gamma, "gamma", x0), _constant(u, "u", x0)
    chosen = find_sde_method(method, "ito", "langevin")
    settings = validation.check_steps(
        chosen, controller, rtol, atol, max_steps, dt_min, dt_max, local_errors, structure, PIController()
    )
    control = settings.controller
    chosen_adjoint = validation.check_adjoint(adjoint, ADJOINTS)
    if isinstance(chosen_adjoint, BacksolveAdjoint):
        raise ValueError(
            'adjoint="backsolve" does not solve the adjoint of Langevin equations. Use adjoint="discrete", which keeps '
            'one state per step, or adjoint="direct".'
        )
    validation.check_args(args)
    if has_batched((x0, v0, ts, gamma, u, whole(args))):
        raise RuntimeError(NO_VMAP)
    output_times, times = validation.check_times(ts, structure)
    if output_times.requires_grad:
        raise ValueError("ts must not require a gradient: a Brownian path has no derivative in time. Use ts.detach().")
    if times[0] > times[-1]:
        raise ValueError(
            f"ts must be increasing, but goes from {times[0]:.10g} to {times[-1]:.10g}: friction cannot be undone."
        )
    walk = [(times[0], times[-1])] if control.adaptive else None
    grid, area = cells(times, control), chosen.area("langevin")
    used = path_of_solve(path, seed, tuple(x0.shape), grid, walk, chosen.name, area, structure)
    problem = Problem(
        LangevinField(gradient, positions, whole(args), used, friction, factor),
        structure,
        structure.flatten((x0, v0), "(x0, v0)"),
        output_times,
        times,
        *settings,
        lands=True,
        snap=snapper(used) if control.adaptive else None,
        keep_states=step_states,
    )
    return finished(solve_observed(chosen_adjoint, problem), structure, throw)


def _check_state(x0: Any, v0: Any) -> None:
    """Raise unless positions and velocities are real tensors alike."""
    for name, value in (("x0", x0), ("v0", v0)):
        if not isinstance(value, Tensor):
            raise TypeError(f"{name} must be a tensor, but is a {type(value).__name__}.")
        if value.is_complex():
            raise TypeError(f"{name} must be real: noise of a complex state has no one meaning.")
    if v0.shape != x0.shape:
        raise ValueError(f"v0 must have the shape of x0, {tuple(x0.shape)}, but has shape {tuple(v0.shape)}.")
    if v0.dtype != x0.dtype:
        raise TypeError(f"v0 must have the dtype of x0, {x0.dtype}, but has {v0.dtype}.")


def _constant(value: Any, name: str, x0: Tensor) -> float | Tensor:
    """Return a positive constant as a number, or as a tensor on the positions' device.

    Raises:
        TypeError: It is neither a number nor a real tensor.
        ValueError: It is not positive and finite, is on another device, or does not broadcast to the positions.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float, Tensor)):
        raise TypeError(f"{name} must be a positive number or tensor, but is {value!r}.")
    if not isinstance(value, Tensor):
        if not (value > 0 and math.isfinite(value)):
            raise ValueError(f"{name} must be positive and finite, but is {value}. Try {name}=1.0.")
        return float(value)
    if not value.is_floating_point():
        raise TypeError(f"{name} must be a real floating point tensor, but has dtype {value.dtype}.")
    if value.device != x0.device:
        raise ValueError(f"{name} must be on {x0.device}, like x0, but is on {value.device}.")
    try:
        fits = torch.broadcast_shapes(value.shape, x0.shape) == x0.shape
    except RuntimeError:
        fits = False
    if not fits:
        raise ValueError(
            f"{name} has shape {tuple(value.shape)}, which does not broadcast to {tuple(x0.shape)}, the shape of x0."
        )
    if has_batched(value):
        raise RuntimeError(NO_VMAP)
    bad = value.detach()[~((value > 0) & value.isfinite())]
    if bad.numel():
        raise ValueError(f"{name} must be positive and finite, but holds {float(bad[0])}.")
    return value
