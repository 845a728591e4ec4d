"""Solves that make integrals along the trajectory beside the solution, for penalties on them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nde import validation
from nde.models.extra_times import ExtraTimes
from nde.models.girsanov import PaddedPath
from nde.models.penalized_solution import PenalizedSolution
from nde.models.unwatched import LEFT_OUT
from nde.regularize import Penalty, TrajectoryPenalty, TrajectoryPoint
from nde.solvers import Solution
from nde.solvers.rows.field import PerSample, whole
from nde.solvers.structure import State, StateStructure

__all__ = ["Part", "integrals_due", "solve_with_integrals"]


@dataclass(frozen=True)
class Part:
    """The part of a state that is a dict that penalties look at.

    Attributes:
        key: Where it is in the state.
        field: Its own field, ``(t, part, *args)``.
    """

    key: str
    field: Callable[..., State]


class _Augmented:
    """A field whose state is ``{"y": ..., "integrals": ...}``, with what was drawn before the solve as an argument."""

    def __init__(
        self, field: Callable[..., State], part: Part | None, penalties: Sequence[TrajectoryPenalty], samples: bool
    ) -> None:
        self.field = field
        self.part = part
        self.penalties = penalties
        self.samples = samples

    def __call__(self, t: Tensor, state: dict[str, State], probes: tuple[State, ...], *args: Any) -> dict[str, State]:
        y = state["y"]
        slope = self.field(t, y, *args)
        rows = state["integrals"].shape[0] if self.samples else None
        field, part, slope_of_part = self.field, y, slope
        if self.part is not None:
            field, part, slope_of_part = self.part.field, y[self.part.key], slope[self.part.key]
        values = [
            penalty.integrand(_point(field, args, t, part, slope_of_part, probe, rows))
            for penalty, probe in zip(self.penalties, probes, strict=True)
        ]
        return {"y": slope, "integrals": torch.stack(values, -1).to(state["integrals"].dtype)}


class _WithoutNoise:
    """A diagonal diffusion with zeros for the integrals."""

    def __init__(self, diffusion: Callable[..., State]) -> None:
        self.diffusion = diffusion

    def __call__(self, t: Tensor, state: dict[str, State], probes: State, *args: Any) -> dict[str, State]:
        return {"y": self.diffusion(t, state["y"], *args), "integrals": torch.zeros_like(state["integrals"])}


def integrals_due(regularizer: Penalty | None) -> list[TrajectoryPenalty]:
    """Return the penalties along the trajectory that have a weight, each once."""
    parts = () if regularizer is None else regularizer.modules()
    return [part for part in parts if isinstance(part, TrajectoryPenalty) and part.weight != 0]


def solve_with_integrals(
    solver: Callable[..., Solution],
    functions: tuple[Callable[..., State], ...],
    penalties: Sequence[TrajectoryPenalty],
    y0: State,
    ts: Any,
    args: tuple[Any, ...],
    options: dict[str, Any],
    part: Part | None = None,
) -> Solution:
    """Solve, and make the integral of each penalty.

    Args:
        solver: `nde.solve_ode` or `nde.solve_sde`.
        functions: The field; or drift and diffusion.
        penalties: The penalties.
        y0, ts, args: As for the solver.
        options: Its keywords.
        part: What penalties look at; None for the whole state.

    Returns:
        The solution, with ``integrals`` for `TrajectoryPenalty.value`.

    Raises:
        TypeError, ValueError: An argument has the wrong type or is out of range.
        SolverError: The solve failed and ``throw`` is set.
    """
    structure = StateStructure(y0)
    per_sample = options["per_sample"]
    leaf = StateStructure.paths(y0, "y0")[0][1]
    batch = leaf.shape[0] if per_sample and leaf.dim() else None
    along = [penalty for penalty in penalties if penalty.form == "augmented"]
    local = [penalty for penalty in penalties if penalty.form == "local"]
    given = ExtraTimes.checked(ts, structure, batch)
    if given is None:  # the times are wrong: the solver says how
        return solver(*functions, y0, ts, args, **options)
    times = ExtraTimes(given, local, batch, leaf.dim())
    field, *noise = functions
    watched, seen = (field, y0) if part is None else (part.field, y0[part.key])
    probes = {penalty: penalty.probe(times.start(structure), seen) for penalty in penalties}
    solved_from, solved_args = y0, args
    if along:
        functions = (_Augmented(field, part, along, batch is not None), *map(_WithoutNoise, noise))
        drawn = tuple(probes[penalty] for penalty in along)
        solved_args = (PerSample(drawn) if per_sample else drawn, *args)
        options = {**options, **_left_out(options, y0, structure, len(along), batch)}
        zeros = torch.zeros((*([] if batch is None else [batch]), len(along)), dtype=structure.time_dtype)
        solved_from = {"y": y0, "integrals": zeros.to(structure.device)}
    solution = solver(*functions, solved_from, times.joined, solved_args, **options)
    integrals: dict[TrajectoryPenalty, Tensor] = {}
    if along:
        ends: Tensor = solution.y1["integrals"] * times.direction.unsqueeze(-1).to(solution.y1["integrals"])
        integrals.update(zip(along, ends.unbind(-1), strict=True))
    if local:
        ys = solution.ys["y"] if along else solution.ys
        ys = ys if part is None else ys[part.key]
        length = times.length.to(dtype=structure.time_dtype, device=structure.device)
        for index, penalty in enumerate(local):
            t, y = times.time(index, structure), times.state(index, ys)
            slope = watched(t, y, *whole(args))
            point = _point(watched, whole(args), t, y, slope, probes[penalty], batch)
            integrals[penalty] = length * penalty.integrand(point)
    return PenalizedSolution(solution, given, bool(along), times if local else None, integrals)


def _point(
    field: Callable[..., State],
    args: tuple[Any, ...],
    t: Tensor,
    y: State,
    slope: State,
    probe: State,
    samples: int | None,
) -> TrajectoryPoint:
    return TrajectoryPoint(lambda t, y: field(t, y, *args), t, y, slope, probe, samples)


def _left_out(
    options: dict[str, Any], y0: State, structure: StateStructure, count: int, batch: int | None
) -> dict[str, Any]:
    """Return options with which the norm of an error is that of the state's alone.

    The norm is a root mean square over all entries. Those of the integrals count as zero, and dilute it by the quotient
    of the numbers of entries.
    """
    changed: dict[str, Any] = {}
    share = 1.0
    norm = options.get("norm")
    if norm is not None:
        changed["norm"] = lambda error: norm(error["y"])
    else:
        entries = structure.entries / (batch or 1)
        share = math.sqrt(entries / (entries + count))
    for name, of_integrals in (("rtol", 0.0), ("atol", LEFT_OUT)):
        validation.check_tolerance(options[name], name, structure)
        changed[name] = {"y": _scaled(options[name], share), "integrals": of_integrals}
    path = options.get("path")
    if path is not None:
        if batch is not None:
            raise ValueError(
                'path does not go with per_sample=True and form="augmented". Leave it out, or give the penalty '
                'form="local".'
            )
        shape = getattr(path, "shape", None)
        expected = tuple(y0.shape) if isinstance(y0, Tensor) else (structure.size,)
        if shape is not None and tuple(shape) != expected:
            raise ValueError(f"path must have shape {expected}, but has shape {tuple(shape)}.")
        changed["path"] = PaddedPath(path, count)
    return changed


def _scaled(tolerance: Any, factor: float) -> Any:
    """Return a tolerance, a number or a structure of numbers and tensors, times a number."""
    if isinstance(tolerance, dict):
        return {key: _scaled(item, factor) for key, item in tolerance.items()}
    if isinstance(tolerance, (tuple, list)):
        return [_scaled(item, factor) for item in tolerance]
    return tolerance * factor
