"""The front door for stochastic differential equations: `solve_sde`.

Stands on `nde.solvers` and `nde.adjoint`, like `nde.solve`, whose loop, record, adjoints and solution it shares.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from nde import validation
from nde.adjoint import ADJOINTS, Adjoint, BacksolveAdjoint
from nde.solve import finished
from nde.solvers.brownian import BrownianPath
from nde.solvers.controllers import Controller, PIController
from nde.solvers.problem import Problem
from nde.solvers.rows.field import whole
from nde.solvers.sde.field import NOISE_TYPES, Path, SDEField, diffusion_matrix
from nde.solvers.sde.method import CALCULI, SDEMethod
from nde.solvers.sde.registry import default_method, find_sde_method
from nde.solvers.sde.times import cells, snapper
from nde.solvers.solution import Solution
from nde.solvers.structure import State, StateStructure
from nde.solvers.transforms import NO_VMAP, has_batched

__all__ = ["path_of_solve", "solve_sde"]


def solve_sde(
    drift: Callable[..., State],
    diffusion: Callable[..., State],
    y0: State,
    ts: Tensor | Sequence[float],
    args: tuple[Any, ...] = (),
    *,
    noise: str = "diagonal",
    calculus: str = "ito",
    method: str | SDEMethod | None = None,
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
    throw: bool = True,
) -> Solution:
    """Integrate ``dy = drift(t, y, *args) dt + diffusion(t, y, *args) dW`` and return the solution at ``ts``.

    Args:
        drift: Callable ``(t, y, *args)``; ``t`` is a 0-d tensor of the state's dtype, ``y`` and the result have the
            structure, shapes and dtypes of ``y0``.
        diffusion: Callable ``(t, y, *args)``; its value has the structure of ``y0`` where the noise is diagonal, and
            the shape ``(*y0.shape, m)`` otherwise, for ``m`` Brownian motions that drive each row ``y0[..., :]``.
        y0: Initial state: a real tensor of any shape; with diagonal noise also a nested tuple / list / dict of them.
        ts: Output times, shape ``(T,)`` with ``T >= 2``, strictly increasing (or decreasing, with the Stratonovich
            calculus); steps end on every one of them. Not differentiable: a path has no derivative in time.
        args: Further arguments of both, of any kind.
        noise: ``"diagonal"`` (entry i is driven by a motion of its own), ``"scalar"`` (one motion for each row),
            ``"additive"`` (the diffusion does not depend on ``y``; a matrix, or diagonal if its shape is that of
            ``y0``), ``"commutative"`` or ``"general"`` (a matrix).
        calculus: ``"ito"`` or ``"stratonovich"``.
        method: Name of a method that converges to the calculus and takes the noise, or an `SDEMethod`; None for the one
            that `nde.solvers.sde.default_method` names.
        path: The Brownian path; None for a new one. A path of one's own makes solves comparable, with other methods or
            step sizes. Of the shape of ``y0`` where the noise is diagonal, of ``(*y0.shape[:-1], m)`` otherwise.
        seed: Seed of the new path; None to draw one from torch's global generator.
        rtol, atol: Tolerances of the error of a step, as in `nde.solve_ode`.
        controller: Step-size controller; by default `PIController`. Methods without an error estimate need `FixedStep`
            or `StepTo`. What a controller rejects leaves the law of the path as it is.
        adjoint: ``"discrete"`` or ``"direct"``; see `nde.solve_ode`. Steps that are taken again meet the same path.
        max_steps, dt_min, dt_max, local_errors, throw: As in `nde.solve_ode`.

    Returns:
        `Solution`, as of `nde.solve_ode`. ``stats.n_field_evals`` counts evaluations of the drift.

    Raises:
        RuntimeError: ``y0`` or ``args`` were batched by ``torch.func.vmap``.
        TypeError: An argument has the wrong type, or drift or diffusion return another structure or dtype.
        ValueError: An argument is out of range, the method does not fit the equation, the path does not cover the span
            or has another shape, or drift or diffusion return another shape.
        SolverError: The solve failed and ``throw`` is set; ``error.solution`` holds what was computed.
    """
    validation.check_field(drift, "drift")
    validation.check_field(diffusion, "diffusion")
    for name, flag in (("local_errors", local_errors), ("throw", throw)):
        validation.check_flag(flag, name)
    structure = StateStructure(y0)
    validation.check_choice(noise, NOISE_TYPES, "noise")
    validation.check_choice(calculus, CALCULI, "calculus")
    if structure.has_complex:
        raise TypeError("y0 must be real: noise of a complex state has no one meaning. Use torch.view_as_real(y0).")
    chosen = find_sde_method(default_method(calculus, noise) if method is None else method, calculus, noise)
    relative = validation.check_tolerance(rtol, "rtol", structure)
    absolute = validation.check_tolerance(atol, "atol", structure)
    validation.check_limits(max_steps, dt_min, dt_max)
    no_tolerance = validation.is_zero(relative) and validation.is_zero(absolute)
    if controller is None and chosen.error_order is not None:
        controller = PIController()
    control = validation.check_controller(controller, chosen, no_tolerance, dt_min)
    chosen_adjoint = validation.check_adjoint(adjoint, ADJOINTS)
    if isinstance(chosen_adjoint, BacksolveAdjoint):
        raise ValueError(
            'adjoint="backsolve" solves the adjoint of ordinary equations alone. Use adjoint="discrete", which keeps '
            'one state per step, or adjoint="direct".'
        )
    validation.check_args(args)
    if has_batched((y0, ts, whole(args))):
        raise RuntimeError(NO_VMAP)
    output_times, times = validation.check_times(ts, structure)
    if output_times.requires_grad:
        raise ValueError("ts must not require a gradient: a Brownian path has no derivative in time. Use ts.detach().")
    if calculus == "ito" and times[0] > times[-1]:
        raise ValueError(
            "ts must be increasing with the Ito calculus, whose integral looks forward in time, but goes from "
            f"{times[0]:.10g} to {times[-1]:.10g}. Use calculus='stratonovich' to go back."
        )
    flat = structure.flatten(y0, "y0").clone()
    channels = _channels(diffusion, structure, y0, times[0], args, noise)
    used = path_of_solve(path, seed, _path_shape(structure, channels), times, chosen, control, structure)
    problem = Problem(
        SDEField(drift, diffusion, structure, whole(args), noise, used, channels),
        structure,
        flat,
        output_times,
        times,
        chosen,
        control,
        relative,
        absolute,
        max_steps,
        float(dt_min),
        float(dt_max),
        local_errors,
        lands=True,
        snap=snapper(used) if control.adaptive else None,
    )
    return finished(chosen_adjoint.solve(problem), structure, throw)


def path_of_solve(
    path: Path | None,
    seed: int | None,
    shape: tuple[int, ...],
    times: Sequence[float],
    method: SDEMethod,
    control: Controller,
    structure: StateStructure,
) -> Path:
    """Return the path of a solve: the one that was given, after a check, or a new one.

    Args:
        path, seed: As the user gave them.
        shape: Shape of an increment.
        times: Output times.
        method: The method, which says what areas it asks for.
        control: The controller, which says what steps are known.
        structure: Structure of the state.

    Raises:
        TypeError, ValueError: The path does not serve the solve, or comes with a seed.
    """
    if path is not None:
        _check_path(path, seed, shape, times, method, structure.device)
        return path
    return BrownianPath(
        min(times),
        max(times),
        shape,
        seed=int(torch.randint(2**62, ())) if seed is None else seed,
        grid=cells(times, control),
        levy_area=method.levy_area,
        dtype=structure.dtype,
        device=structure.device,
    )


def _channels(
    diffusion: Callable[..., Any], structure: StateStructure, y0: State, t: float, args: tuple[Any, ...], noise: str
) -> int | None:
    """Return the number of motions that drive each row, by one look at the diffusion; None if it is diagonal."""
    if noise == "diagonal":
        return None
    if not isinstance(y0, Tensor):
        raise TypeError(
            f"y0 must be one tensor with noise={noise!r}, but is a {type(y0).__name__}; nested states take diagonal "
            "noise."
        )
    with torch.no_grad():
        time = torch.full((), t, dtype=structure.time_dtype, device=structure.device)
        value = diffusion(time, y0.detach().clone(), *whole(args))
    if noise == "additive" and isinstance(value, Tensor) and value.shape == y0.shape:
        return None
    if y0.dim() == 0:
        raise ValueError(f"y0 must have at least one axis with noise={noise!r}. Use y0.reshape(1).")
    return diffusion_matrix(value, structure, noise, None).shape[-1]


def _path_shape(structure: StateStructure, channels: int | None) -> tuple[int, ...]:
    shape = structure.plain_shape if len(structure.leaves) > 1 else structure.leaves[0].shape
    if channels is not None and shape is not None:
        return (*shape[:-1], channels)
    return (structure.size,) if shape is None else tuple(shape)


def _check_path(
    path: Any, seed: int | None, shape: tuple[int, ...], times: Sequence[float], method: SDEMethod, device: Any
) -> None:
    """Raise unless a path serves the solve."""
    if not callable(path):
        raise TypeError(f"path must be callable as path(s, t), but is {path!r}. Try nde.BrownianPath(t0, t1, {shape}).")
    if seed is not None:
        raise ValueError("seed belongs to a new path, but path was given, which has its own. Leave one of them out.")
    has = getattr(path, "shape", None)
    if has is not None and tuple(has) != shape:
        raise ValueError(f"path must have shape {shape} for this state and noise, but has shape {tuple(has)}.")
    where = getattr(path, "device", device)
    if torch.device(where) != device:
        raise ValueError(f"path must be on {device}, like y0, but is on {where}. Try path.to({str(device)!r}).")
    begin, end = getattr(path, "t0", -math.inf), getattr(path, "t1", math.inf)
    if begin > min(times) or end < max(times):
        raise ValueError(
            f"path must cover the span of ts, from {min(times):.10g} to {max(times):.10g}, but is known from "
            f"{begin:.10g} to {end:.10g}."
        )
    area = getattr(path, "levy_area", method.levy_area)
    holds_h = area != "none"  # all areas come with the space-time one
    if area != method.levy_area and not (method.levy_area == "none" or (method.levy_area == "space-time" and holds_h)):
        raise ValueError(f"path must have levy_area={method.levy_area!r} for method={method.name!r}, but has {area!r}.")
