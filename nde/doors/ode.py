"""The front door: `solve_ode`.

Stands on `nde.solvers` and `nde.adjoint`; layers, penalties and the compatibility layer call it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from nde import validation
from nde.adjoint import ADJOINTS, Adjoint
from nde.adjoint.observed import solve_observed, solve_rows_observed
from nde.doors.rows import check_events, check_forced_times, make_row_problem
from nde.solvers.controllers import Controller
from nde.solvers.events import Event
from nde.solvers.field import VectorField
from nde.solvers.method import Method
from nde.solvers.problem import Problem
from nde.solvers.registry import find_method
from nde.solvers.rows.field import whole
from nde.solvers.solution import Solution
from nde.solvers.status import SolverError
from nde.solvers.structure import State, StateStructure
from nde.solvers.transforms import NO_VMAP, has_batched

__all__ = ["finished", "solve_ode"]


def solve_ode(
    field: Callable[..., State],
    y0: State,
    ts: Tensor | Sequence[float],
    args: tuple[Any, ...] = (),
    *,
    method: str | Method = "tsit5",
    rtol: Any = 1e-4,
    atol: Any = 1e-6,
    controller: Controller | None = None,
    adjoint: str | Adjoint = "discrete",
    max_steps: int = 10_000,
    dt_min: float = 0.0,
    dt_max: float = math.inf,
    local_errors: bool = False,
    step_states: bool = False,
    per_sample: bool = False,
    events: Event | Sequence[Event] | None = None,
    dense: bool = False,
    save: Callable[[Tensor, State], State] | None = None,
    norm: Callable[[State], Tensor] | None = None,
    step_ts: Tensor | Sequence[float] = (),
    jump_ts: Tensor | Sequence[float] = (),
    throw: bool = True,
) -> Solution:
    """Integrate ``dy/dt = field(t, y, *args)`` and return the solution at ``ts``.

    Args:
        field: Callable ``(t, y, *args) -> dy/dt``; ``t`` is a 0-d tensor of the state's real dtype, ``y`` and the
            result have the structure, shapes and dtypes of ``y0``.
        y0: Initial state: a tensor of any shape or a nested tuple / list / dict of tensors, floating point or complex.
        ts: Output times, shape ``(T,)`` with ``T >= 2``, strictly increasing or decreasing; ``ts[0]`` is the initial
            time. Outputs between the ends of steps come from the method's interpolant.
        args: Further arguments of the field, of any kind.
        method: Name of a method, or a `Method`.
        rtol: Relative tolerance, a number or a structure of numbers / tensors like ``y0``.
        atol: Absolute tolerance, likewise. A step is accepted when
            ``rms(e / (atol + rtol * max(|y_n|, |y_n+1|))) <= 1`` over all entries of the state.
        controller: Step-size controller; by default `IController`. Methods without an error estimate need
            `FixedStep` or `StepTo`.
        adjoint: ``"discrete"`` pulls gradients back through the recorded steps: one state per step in memory, and a
            fixed amount for tapes of the last ones. The field must be deterministic. ``"direct"`` records every
            operation: any closure, forward mode. Both differentiate ``y0``, ``ts``, ``args`` and whatever the field
            captures, as often as wanted. ``"backsolve"`` solves the continuous adjoint backwards: a memory that does
            not grow with the steps, an error of the size of the tolerance, first derivatives. ``"reversible"`` undoes
            the steps of ``method="reversible_heun"``: the gradients of the direct one in such a memory. An
            `nde.adjoint.Adjoint` with options of its own does as well: ``DiscreteAdjoint(tape_memory=0)``.
        max_steps: Limit on attempted steps, accepted and rejected, over the whole solve.
        dt_min: Steps that would have to be smaller than this end the solve.
        dt_max: Largest step size.
        local_errors: Whether to keep the error vector of each step, in ``solution.steps.local_error``.
        step_states: Whether to keep the states at the ends of all steps, in ``solution.steps.y``, so that
            ``solution.retake`` can take any of them again; one state per step in memory, whatever the adjoint.
        per_sample: Whether every sample (along the first axis of ``y0``) has a time, step size, error control and
            status of its own, and leaves the batch when it is done: the work is the sum of the samples' own steps, and
            a failed sample harms no other one. ``ts`` may then have the shape ``(batch, T)``, with NaN behind the last
            time of samples that have fewer. The field sees the samples that are still at work, with ``t`` of shape
            ``(n, 1, ...)``, of the rank of ``y``; arguments with one entry per sample are passed as
            ``nde.PerSample(value)``. Returns a `RowSolution`.
        events: One or several `Event`; see there. Returns a `RowSolution`, whose ``events`` holds what was found.
        dense: Whether ``solution(t)`` and ``solution.derivative(t)`` can be asked for afterwards; the steps that are
            asked for are then taken again. Also keeps ``solution.steps.y``, the states at the ends of all steps.
            Returns a `RowSolution`.
        save: Callable ``(t, y)`` that returns what to keep at each of ``ts`` in place of the state, a tensor or a
            nested structure of tensors; ``solution.ys`` is then made of these, and no more than these is held in memory
            by a solve without gradients. Called one time at a time; with ``per_sample=True`` with the times and states
            of many samples, as the field is, and returns one entry for each. Returns a `RowSolution`.
        norm: Callable that turns a state of errors, each scaled by its tolerance, into a 0-d tensor that is at most 1
            for an acceptable step; None for the root mean square over all entries.
        step_ts: Times that steps must end on. Returns a `RowSolution`, as ``jump_ts`` does.
        jump_ts: Times at which the field is discontinuous: one step ends a few rounding units before each, and the next
            begins as much behind it with a first stage of its own, so that no step sees both sides. The discontinuities
            are constants: they do not move with ``ts``, and have no gradient.
        throw: Raise `SolverError` if the solve fails; otherwise return the partial solution with its ``status``.

    Returns:
        `Solution`; ``ys`` has the structure of ``y0`` with a leading axis ``T``, and ``ys[0] == y0``. Differentiable:
        ``ys``, ``y1``, ``steps.error``, ``steps.stiffness``, ``steps.local_error``. The step sizes that the controller
        chose count as constants.

    Raises:
        RuntimeError: ``y0``, ``ts`` or ``args`` were batched by ``torch.func.vmap``.
        TypeError: An argument has the wrong type, or the field returns another structure or dtype than ``y0``.
        ValueError: An argument is out of range, or the field returns another shape than ``y0``.
        SolverError: The solve failed and ``throw`` is set; ``error.solution`` holds what was computed.
    """
    validation.check_field(field)
    structure = StateStructure(y0)
    chosen = find_method(method)
    if norm is not None and not callable(norm):
        raise TypeError(f"norm must be callable as norm(scaled_error), but is {norm!r}.")
    watched = check_events(events)
    forced, jumps = check_forced_times(step_ts, jump_ts)
    if save is not None and not callable(save):
        raise TypeError(f"save must be callable as save(t, y), but is {save!r}.")
    flags = {"per_sample": per_sample, "dense": dense, "local_errors": local_errors, "step_states": step_states}
    for name, flag in (*flags.items(), ("throw", throw)):
        validation.check_flag(flag, name)
    by_rows = bool(per_sample or dense or watched or forced or jumps or save is not None)
    settings = validation.check_steps(
        chosen, controller, rtol, atol, max_steps, dt_min, dt_max, local_errors, structure
    )
    chosen_adjoint = validation.check_adjoint(adjoint, ADJOINTS)
    validation.check_args(args)
    if has_batched((y0, ts, whole(args))):
        raise RuntimeError(NO_VMAP)
    if by_rows:
        row_problem = make_row_problem(field, y0, ts, args, settings, watched, per_sample, forced, jumps, norm, save)
        return finished(solve_rows_observed(chosen_adjoint, row_problem, dense or step_states), structure, throw)
    output_times, times = validation.check_times(ts, structure)
    flat = structure.flatten(y0, "y0").clone()  # a copy, so that what the caller does to y0 later changes nothing here
    vector_field = VectorField(field, structure, whole(args))
    problem = Problem(vector_field, structure, flat, output_times, times, *settings, norm=norm, keep_states=step_states)
    return finished(solve_observed(chosen_adjoint, problem), structure, throw)


def finished(solution: Solution, structure: StateStructure, throw: bool) -> Solution:
    """Return a solution after warnings and errors about it."""
    validation.warn_below_rounding(structure, solution.accuracy, stacklevel=4)
    if throw and solution.failure is not None:
        raise SolverError(solution.failure.message(solution.status), solution, solution.status, solution.failure)
    return solution
