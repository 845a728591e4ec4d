"""Solves what passed the checks, with nde's loop and an adjoint."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nde.adjoint import Adjoint
from nde.adjoint.observed import solve_observed
from nde.compat.errors import translated
from nde.compat.torchsde.brownian_path import MotionPath
from nde.compat.torchsde.checks import Contract
from nde.compat.torchsde.field import EquationField
from nde.compat.torchsde.methods import Stepper, core_method
from nde.compat.torchsde.settings import METHODS, NOISE_TYPES
from nde.compat.torchsde.stepping import AdaptiveSteps, FixedTimes, step_times
from nde.solvers.brownian import BrownianPath, BrownianWalk
from nde.solvers.controllers import Controller
from nde.solvers.problem import Problem
from nde.solvers.sde.field import Path
from nde.solvers.sde.times import snapper
from nde.solvers.status import SolverError
from nde.solvers.structure import StateStructure

__all__ = ["Settings", "integrate", "parse_return"]

# tolerances below this one are raised to it
_SMALLEST_TOLERANCE = 1e-7


@dataclass(frozen=True)
class Settings:
    """Arguments of `sdeint` that say how to step."""

    dt: Any
    adaptive: bool
    rtol: Any
    atol: Any
    dt_min: Any


def integrate(
    contract: Contract,
    settings: Settings,
    extra_solver_state: Sequence[Tensor] | None,
    adjoint: Adjoint,
    targets: Sequence[Tensor] = (),
    selective: bool = False,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Solve, and return the states at the output times, ``(T, batch, d)``, and what the method carries at the end.

    Args:
        contract: What to solve.
        settings: How to step.
        extra_solver_state: What the method carries at the beginning; None for its own choice.
        adjoint: Where gradients come from.
        targets: Tensors that receive gradients, where the adjoint needs to know them.
        selective: Whether no others may.

    Raises:
        LegacySolverError: An adaptive solve met values that are not finite, or an error that no step satisfies.
        ValueError: The step size is out of range, or the extra state has the wrong form.
    """
    equation, y0, ts, legacy = contract.equation, contract.y0, contract.ts, contract.method
    structure = StateStructure(y0)
    calculus, noise = equation.sde_type, equation.noise_type
    core = core_method(contract.name, calculus, noise, contract.options, settings.adaptive)
    reversible = contract.name == METHODS.reversible_heun
    carry0 = _first_carry(extra_solver_state, noise) if reversible and extra_solver_state is not None else None
    method = Stepper(core, settings.adaptive)
    times = tuple(float(time) for time in ts.tolist())
    dt = float(settings.dt)
    controller: Controller
    grid: list[float] | None = None
    if settings.adaptive:
        controller = AdaptiveSteps(dt, float(settings.dt_min))
    else:
        grid = step_times(ts, dt)
        controller = FixedTimes(tuple(grid))
    path = _path(contract, core.area(noise), structure, grid)
    field = EquationField(
        equation,
        structure,
        path,
        None if noise == NOISE_TYPES.diagonal else contract.motions,
        legacy.products,
        legacy.together,
        targets,
        selective,
    )
    if len(times) == 1:
        last = method.start(field, times[0], y0.reshape(-1)) if reversible and carry0 is None else carry0
        return y0.unsqueeze(0), _extras(last, y0, noise)
    problem = Problem(
        field,
        structure,
        y0.reshape(-1).clone(),
        ts,
        times,
        method,
        controller,
        float(settings.rtol),
        max(float(settings.atol), _SMALLEST_TOLERANCE),
        2**31 - 1,
        0.0,
        math.inf,
        keep_local_errors=False,
        snap=snapper(path) if settings.adaptive else None,
        carry0=carry0,
    )
    solution = solve_observed(adjoint, problem)
    if solution.failure is not None:
        error = SolverError(solution.failure.message(solution.status), solution, solution.status, solution.failure)
        raise translated(error)
    ys: Tensor = solution.ys
    # a solve that cannot be undone has a carry too, where steps are adaptive, but not as an output with gradients
    carry1 = method.last if solution.carry1 is None else solution.carry1
    return ys, _extras(carry1, y0, noise)


def _path(contract: Contract, area: str, structure: StateStructure, grid: list[float] | None) -> Path:
    """Return the user's motion as a path, or a new path whose cells are the fixed steps."""
    ts, bm = contract.ts, contract.bm
    if bm is not None:
        return MotionPath(bm, area, ts, grid)
    t0, t1 = float(ts[0]), float(ts[-1])
    t1 = t1 if len(ts) > 1 else t0 + 1.0  # one time has no span, and nobody asks
    shape = contract.y0.shape[0], contract.motions
    common: Any = {
        "seed": int(torch.randint(2**62, ())),
        "levy_area": area,
        "dtype": structure.dtype,
        "device": structure.device,
    }
    if grid is None:
        return BrownianWalk(t0, t1, shape, **common)
    return BrownianPath.of_solve(grid if len(grid) > 1 else [t0, t1], shape, **common)


def _first_carry(extra: Sequence[Tensor], noise: str) -> tuple[Tensor, ...]:
    """Return the carry of the reversible Heun method.

    Raises:
        ValueError: It has not three parts.
    """
    if len(extra) != 3:
        raise ValueError(f"extra_solver_state must be (f, g, z) for reversible_heun, but has {len(extra)} parts.")
    drift, diffusion, z = extra
    return z.reshape(-1), drift.reshape(-1), diffusion.reshape(-1) if noise == NOISE_TYPES.diagonal else diffusion


def _extras(carry: Any, y0: Tensor, noise: str) -> tuple[Tensor, ...]:
    """Return what the method carries as torchsde has it: ``(f, g, z)``, or nothing."""
    if carry is None:
        return ()
    z, drift, diffusion = carry
    return (
        drift.view_as(y0),
        diffusion.view_as(y0) if noise == NOISE_TYPES.diagonal else diffusion,
        z.view_as(y0),
    )


def parse_return(ys: Tensor, extras: tuple[Tensor, ...], extra: bool, logqp: bool) -> Any:
    """Return what `sdeint` returns: the states, then the divergence of each interval, then what is carried."""
    found: list[Any] = [ys]
    if logqp:
        states, divergence = ys.split((ys.shape[2] - 1, 1), 2)
        found = [states, divergence.squeeze(2).diff(dim=0)]
    if extra:
        found.append(extras)
    return found[0] if len(found) == 1 else tuple(found)
