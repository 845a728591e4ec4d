"""The front door for stochastic differential equations: `solve_sde`.

Stands on `nde.solvers` and `nde.adjoint`, like `nde.doors.ode`, whose loop, record, adjoints and solution it shares.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from nde import validation
from nde.adjoint import ADJOINTS, Adjoint
from nde.adjoint.observed import solve_observed, solve_rows_observed
from nde.checks import check_choice
from nde.doors.ode import finished
from nde.doors.rows import check_events, check_forced_times, make_row_problem
from nde.solvers.controllers import Controller, PIController
from nde.solvers.events import Event
from nde.solvers.problem import Problem
from nde.solvers.rows.field import RowLayout, whole
from nde.solvers.sde.field import NOISE_TYPES, Path, SDEField
from nde.solvers.sde.method import CALCULI, SDEMethod
from nde.solvers.sde.paths import noise_channels, path_of_solve, path_shape
from nde.solvers.sde.registry import default_method, find_sde_method, sde_method_names
from nde.solvers.sde.rows import RowSDEField
from nde.solvers.sde.times import cells, row_cells, row_snapper, snapper
from nde.solvers.solution import Solution
from nde.solvers.structure import State, StateStructure
from nde.solvers.transforms import NO_VMAP, has_batched

__all__ = ["solve_sde"]


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
    step_states: bool = False,
    per_sample: bool = False,
    events: Event | Sequence[Event] | None = None,
    dense: bool = False,
    step_ts: Tensor | Sequence[float] = (),
    jump_ts: Tensor | Sequence[float] = (),
    carry0: tuple[Tensor, ...] | None = None,
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
        seed: Seed of the new path, which repeats the solve. Two solves meet one path by it only if they have the same
            output times and the same size of fixed steps: give both one ``path`` to compare step sizes. With None, it
            is drawn from torch's global generator; a path that serves this solve alone is cheaper where the controller
            chooses the steps.
        rtol, atol: Tolerances of the error of a step, as in `nde.solve_ode`.
        controller: Step-size controller; by default `PIController`. Methods without an error estimate need `FixedStep`
            or `StepTo`. What a controller rejects leaves the law of the path as it is.
        adjoint: ``"discrete"`` or ``"direct"``, as in `nde.solve_ode`: steps that are taken again meet the same path.
            ``"reversible"`` undoes the steps of a reversible method (``"reversible_heun"``): the same gradients in a
            memory that does not grow with the steps. ``"backsolve"`` solves the adjoint equation on the same path,
            backwards, in such a memory; its gradients have an error of the size of the solution's. See
            `nde.adjoint.BacksolveAdjoint`. A path of one's own must then also answer ``path(t, s)``, backwards.
        max_steps, dt_min, dt_max, local_errors, step_states, throw: As in `nde.solve_ode`.
        per_sample: As in `nde.solve_ode`: a time, step size, error control and status for every sample, along the first
            axis of ``y0``. Each sample has its own rows of the path, so that its solution is that of a solve by itself
            with ``path[i : i + 1]``, to rounding. The path of a nested ``y0`` then has the shape ``(batch, row size)``,
            and matrix noise needs two axes of ``y0`` at least. A path of one's own is asked for one interval after the
            other unless it is a `BrownianPath`.
        events: One or several `nde.Event`; see there. Conditions are looked at on the line between the ends of steps,
            so that times of crossings converge with strong order 1/2 at most, whatever the method: what the path does
            within a step, back and forth across the condition too, is not seen (``Event.checks`` looks at more places
            of the line alone). A state that jumps goes on from the line, with the path's noise from that time on.
            Increments of the path are constants to derivatives: they do not move with the time of an event.
        dense: As in `nde.solve_ode`: ``solution(t)`` is the line between the ends of steps, which has another law than
            the solution.
        step_ts, jump_ts: As in `nde.solve_ode`; drift or diffusion may be discontinuous at ``jump_ts``.
        carry0: ``solution.carry1`` of a solve by the same reversible method that ended at ``ts[0]``, to go on as if
            there had been no break; differentiable with ``"direct"`` and ``"reversible"``.

    Returns:
        `Solution`, as of `nde.solve_ode`; a `RowSolution` with ``per_sample``, ``events``, ``dense``, ``step_ts`` or
        ``jump_ts``. A `Failure` whose status is ``NON_FINITE`` names in ``source`` what was not finite: the drift, the
        diffusion or the path. ``stats.n_field_evals`` counts evaluations of the drift.

    Raises:
        RuntimeError: ``y0`` or ``args`` were batched by ``torch.func.vmap``.
        TypeError: An argument has the wrong type, or drift or diffusion return another structure or dtype.
        ValueError: An argument is out of range, the method does not fit the equation, the path does not cover the span
            or has another shape, or drift or diffusion return another shape.
        SolverError: The solve failed and ``throw`` is set; ``error.solution`` holds what was computed.
    """
    validation.check_field(drift, "drift")
    validation.check_field(diffusion, "diffusion")
    flags = {"per_sample": per_sample, "dense": dense, "local_errors": local_errors, "step_states": step_states}
    for name, flag in (*flags.items(), ("throw", throw)):
        validation.check_flag(flag, name)
    watched = check_events(events)
    forced, jumps = check_forced_times(step_ts, jump_ts)
    by_rows = bool(per_sample or dense or watched or forced or jumps)
    structure = StateStructure(y0)
    check_choice(noise, NOISE_TYPES, "noise")
    check_choice(calculus, CALCULI, "calculus")
    if structure.has_complex:
        raise TypeError("y0 must be real: noise of a complex state has no one meaning. Use torch.view_as_real(y0).")
    chosen = find_sde_method(default_method(calculus, noise) if method is None else method, calculus, noise)
    settings = validation.check_steps(
        chosen, controller, rtol, atol, max_steps, dt_min, dt_max, local_errors, structure, PIController()
    )
    control = settings.controller
    chosen_adjoint = validation.check_adjoint(adjoint, ADJOINTS)
    validation.check_args(args)
    if has_batched((y0, ts, whole(args))):
        raise RuntimeError(NO_VMAP)
    rows = None
    if by_rows:
        _check_rows(chosen, calculus, noise, per_sample, bool(jumps))
        rows = make_row_problem(drift, y0, ts, args, settings, watched, per_sample, forced, jumps, None, None)
        output_times = rows.ts
        spans, grid = rows.spans(), row_cells(rows.times, rows.counts, control, (*forced, *jumps))
    else:
        output_times, times = validation.check_times(ts, structure)
        spans, grid = [(times[0], times[-1])], cells(times, control)
    if output_times.requires_grad:
        raise ValueError("ts must not require a gradient: a Brownian path has no derivative in time. Use ts.detach().")
    _check_direction(spans, calculus)
    layout = RowLayout(structure, None, structure) if rows is None else rows.layout
    channels = noise_channels(diffusion, layout, y0, [begin for begin, _ in spans], args, noise)
    walk = spans if control.adaptive else None
    shape, area, by_rows = path_shape(layout, channels), chosen.area(noise), layout.samples is not None
    used = path_of_solve(path, seed, shape, grid, walk, chosen.name, area, structure, by_rows, channels is not None)
    flat = structure.flatten(y0, "y0").clone()
    _check_carry(carry0, chosen, flat, rows is not None)
    if rows is not None:
        field = RowSDEField(drift, diffusion, layout, args, noise, used, channels)
        snap = row_snapper(used) if control.adaptive else None
        rows = dataclasses.replace(rows, field=field, lands=True, snap=snap)
        return finished(solve_rows_observed(chosen_adjoint, rows, dense or step_states), structure, throw)
    problem = Problem(
        SDEField(drift, diffusion, structure, whole(args), noise, used, channels),
        structure,
        flat,
        output_times,
        times,
        *settings,
        lands=True,
        snap=snapper(used) if control.adaptive else None,
        carry0=carry0,
        keep_states=step_states,
    )
    return finished(solve_observed(chosen_adjoint, problem), structure, throw)


def _check_direction(spans: Sequence[tuple[float, float]], calculus: str) -> None:
    """Raise ValueError if a solve with the Ito calculus goes back in time."""
    for begin, end in spans:
        if calculus == "ito" and begin > end:
            raise ValueError(
                "ts must be increasing with the Ito calculus, whose integral looks forward in time, but goes from "
                f"{begin:.10g} to {end:.10g}. Use calculus='stratonovich' to go back."
            )


def _check_carry(carry0: Any, method: SDEMethod, y0: Tensor, by_rows: bool) -> None:
    """Raise unless a first carry is one that the method can begin with."""
    if carry0 is None:
        return
    if by_rows:
        raise ValueError(
            "carry0 goes with none of per_sample=True, events, dense=True, step_ts and jump_ts. Leave it out."
        )
    if not method.reversible:
        raise ValueError(f"carry0 belongs to reversible methods, but method={method.name!r}. Leave it out.")
    parts = carry0 if isinstance(carry0, (tuple, list)) else (carry0,)
    described = [tuple(part.shape) if isinstance(part, Tensor) else part for part in parts]
    tensors = isinstance(carry0, tuple) and all(isinstance(part, Tensor) for part in carry0)
    if not tensors or not carry0 or carry0[0].shape != y0.shape or carry0[0].dtype != y0.dtype:
        raise ValueError(
            f"carry0 must be solution.carry1 of a solve of the same equation, whose first tensor has shape "
            f"{tuple(y0.shape)} and dtype {y0.dtype}, but holds {described}."
        )


def _check_rows(method: SDEMethod, calculus: str, noise: str, per_sample: bool, jumps: bool) -> None:
    """Raise ValueError where a method cannot do what a solve by rows is asked for."""
    if per_sample and not method.rows:
        able = [name for name in sde_method_names(calculus, noise) if find_sde_method(name, calculus, noise).rows]
        raise ValueError(
            f"method={method.name!r} takes one step size for the whole state. With per_sample=True choose one of "
            f"{', '.join(able)}."
        )
    if jumps and not method.stages_inside:
        raise ValueError(
            f"method={method.name!r} evaluates the drift outside its steps, so that it would see both sides of "
            'jump_ts. Choose another method, such as "sosri2".'
        )
