"""One iteration of a row solve: its host facts, and its differentiable outcome, which a replay computes again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy
import torch
from torch import Tensor

from nde.solvers.events import Event
from nde.solvers.method import StepResult
from nde.solvers.rows.field import RowField
from nde.solvers.rows.landings import FIXED, MOVES
from nde.solvers.rows.problem import RowProblem, RowStepper, as_column
from nde.solvers.transforms import as_host

__all__ = [
    "NO_OUTPUTS",
    "Hits",
    "RowOutcome",
    "RowStep",
    "apply_jump",
    "condition_values",
    "outcome",
    "saved_on_tape",
    "shift_of",
    "times_of",
]

Vector = numpy.ndarray


@dataclass(slots=True)
class Hits:
    """Occurrences of one event within one iteration.

    Attributes:
        event: Index of the event.
        places: Places of the rows within the iteration.
        entries: Entries of the condition that changed their sign.
        thetas: Where in the steps, as fractions of them.
        slopes: Derivatives of the entries by these fractions.
        alters: Whether each ends its step, because the state jumps or the solve ends there.
    """

    event: int
    places: Vector
    entries: Vector
    thetas: Vector
    slopes: Vector
    alters: Vector


@dataclass(slots=True)
class RowStep:
    """The accepted rows of one iteration.

    Attributes:
        rows: The samples.
        t, h, t1: Beginnings, signed sizes of the steps as the method took them, and ends (at an event, if one cut it).
        anchors: Index of the output time that each end moves with; `MOVES` for those that move with the beginning,
            `FIXED` for those that move with nothing.
        places, indices, thetas: Outputs inside steps: places within the rows, indices of the output times, fractions.
        end_places, end_indices: Outputs at the ends of steps.
        hits: Occurrences of events.
        y: States at the beginning; None where they are not kept or are kept elsewhere.
        carry: Carry at the beginning, where a dense output needs one that is no function of the state.
    """

    rows: Vector
    t: Vector
    h: Vector
    t1: Vector
    anchors: Vector
    places: Vector
    indices: Vector
    thetas: Vector
    end_places: Vector
    end_indices: Vector
    hits: list[Hits] = field(default_factory=list)
    y: Tensor | None = None
    carry: Any = None

    def pick(self, chosen: Vector) -> RowStep:
        """Return some rows of a step that has no outputs yet."""
        rows, t, h, t1 = self.rows[chosen], self.t[chosen], self.h[chosen], self.t1[chosen]
        return RowStep(rows, t, h, t1, self.anchors[chosen], *NO_OUTPUTS)


#: places, indices, thetas, end_places and end_indices of a step without outputs
NO_OUTPUTS = (numpy.empty(0, int),) * 5


class RowOutcome(NamedTuple):
    """What a step leaves, differentiable.

    Attributes:
        y1: States at the ends, after jumps, shape ``(rows, row size)``.
        shift: Zeros that carry the derivatives of the ends' times, shape ``(rows, 1)``; None where none are wanted.
        inner: States at the outputs inside the steps, shape ``(outputs, row size)``, or what is saved of them.
        ends: The same at the outputs at the ends of steps.
        event_times: One tensor per `Hits`, shape ``(hits,)``.
        event_states: One tensor per `Hits`, shape ``(hits, row size)``.
    """

    y1: Tensor
    shift: Tensor | None
    inner: Tensor | None
    ends: Tensor | None
    event_times: list[Tensor]
    event_states: list[Tensor]


def condition_values(event: Event, field: RowField, t: Tensor, y: Tensor) -> Tensor:
    """Return the values of an event's condition, shape ``(rows, entries)``."""
    if field.layout.samples is None:
        # rows are places within one step: the user's function takes one state at a time
        parts = [
            _checked(event.condition(*field.arguments(a[None], b[None]), *field.args))
            for a, b in zip(t, y, strict=True)
        ]
        return torch.stack([part.reshape(-1) for part in parts])
    value = _checked(event.condition(*field.arguments(t, y), *field.args))
    if value.dim() == 0 or value.shape[0] != y.shape[0]:
        raise ValueError(
            f"condition(t, y) must return one value per sample, a tensor whose first axis is {y.shape[0]}, "
            f"but returned the shape {tuple(value.shape)}."
        )
    return value.reshape(y.shape[0], -1)


def _checked(value: Any) -> Tensor:
    if not isinstance(value, Tensor) or value.is_complex():
        raise TypeError(f"condition(t, y) must return a real tensor, but returned {value!r}.")
    if value.dtype == torch.bool:
        raise TypeError(
            "condition(t, y) must return a number that changes its sign at the event, but returned a truth "
            "value. In place of y > 1, try y - 1."
        )
    return value.to(torch.get_default_dtype()) if not value.is_floating_point() else value


def apply_jump(event: Event, field: RowField, t: Tensor, y: Tensor) -> Tensor:
    """Return the states behind an event."""
    if event.apply is None:
        return y
    return field.layout.to_rows(
        event.apply(*field.arguments(t, y), *field.args), "the value of apply(t, y)", y.shape[0]
    )


def outcome(
    problem: RowProblem,
    stepper: RowStepper,
    step: RowStep,
    y: Tensor,
    result: StepResult,
    shift: Tensor | None,
    ts_shift: Tensor | None,
) -> RowOutcome:
    """Compute what accepted steps leave, in the caller's autograd mode.

    Args:
        problem: The problem.
        stepper: The method.
        step: Host facts.
        y: States at the beginning.
        result: What the method returned for these rows.
        shift: Zeros that carry the derivatives of the beginnings' times; None where none are wanted.
        ts_shift: The same of the output times, shape ``(samples, T)``.
    """
    if not step.places.size and not step.hits and shift is None:
        return RowOutcome(result.y1, None, None, _ends(problem, step, result.y1, None), [], [])
    device = y.device
    field = problem.field
    t, h = times_of(step, shift, ts_shift, device)
    next_shift = shift
    rows = torch.from_numpy(step.rows).to(device)
    if shift is not None:
        next_shift = _ends_shift(step, shift, ts_shift)
    inner = None
    if step.places.size:
        place = torch.from_numpy(step.places).to(device)
        theta = as_column(step.thetas, device)
        if shift is not None:
            # the value stays that of the host, the derivative is that of (t_out - t) / h
            index = torch.from_numpy(step.indices).to(device)
            moved = torch.zeros_like(theta) if ts_shift is None else ts_shift[rows[place], index].unsqueeze(-1)
            start, size = shift[place], h[place]
            theta = (moved - start + theta * size.detach()) / size
        inner = _at(problem, stepper, step, t, h, y, result, place, theta)
        inner = _saved(problem, step, step.places, step.indices, inner, ts_shift)
    y1 = result.y1
    event_times, event_states = [], []
    for hits in step.hits:
        event = problem.events[hits.event]
        place = torch.from_numpy(hits.places).to(device)
        samples = field.of(step.rows[hits.places])
        theta = as_column(hits.thetas, device)
        if shift is not None or (torch.is_grad_enabled() and y1.requires_grad):
            slope = as_column(hits.slopes, device)
            entry = torch.from_numpy(hits.entries).to(device).unsqueeze(-1)
            # two steps of the chord method: the first makes first derivatives exact, the second second ones
            for _ in range(2):
                state = _at(problem, stepper, step, t, h, y, result, place, theta)
                value = condition_values(event, samples, t[place] + theta * h[place], state).gather(1, entry)
                theta = theta - torch.where(slope == 0, torch.zeros_like(slope), value.double() / slope)
        state = _at(problem, stepper, step, t, h, y, result, place, theta)
        time = t[place] + theta * h[place]
        event_times.append(time.squeeze(-1))
        event_states.append(state)
        if hits.alters.any():
            cut = torch.from_numpy(numpy.flatnonzero(hits.alters)).to(device)
            where = place[cut]
            after = apply_jump(event, field.of(step.rows[hits.places[hits.alters]]), time[cut], state[cut])
            y1 = y1.index_copy(0, where, after)
            if next_shift is not None:
                next_shift = next_shift.index_copy(0, where, time[cut] - time[cut].detach())
    return RowOutcome(y1, next_shift, inner, _ends(problem, step, y1, ts_shift), event_times, event_states)


def _ends(problem: RowProblem, step: RowStep, y1: Tensor, ts_shift: Tensor | None) -> Tensor | None:
    """Return what is saved at the outputs at the ends of steps."""
    if not step.end_places.size:
        return None
    states = y1[torch.from_numpy(step.end_places).to(y1.device)]
    return _saved(problem, step, step.end_places, step.end_indices, states, ts_shift)


def _saved(
    problem: RowProblem, step: RowStep, places: Vector, indices: Vector, states: Tensor, ts_shift: Tensor | None
) -> Tensor:
    """Return what is kept of states at output times: themselves, unless the user wants something else."""
    if problem.saver is None:
        return states
    rows = step.rows[places]
    times = as_column(problem.times[rows, indices], states.device)
    if ts_shift is not None:
        at = (torch.from_numpy(index).to(states.device) for index in (rows, indices))
        times = times + ts_shift[tuple(at)].unsqueeze(-1)
    return problem.saver.rows(times, states)


def saved_on_tape(problem: RowProblem, steps: Sequence[RowStep], states: Tensor) -> Tensor:
    """Return what is kept of the states at all inner output times.

    Args:
        problem: The problem, with what to keep.
        steps: The record.
        states: The states, in the order of the record.
    """
    shift = shift_of(problem) if problem.ts.requires_grad else None
    parts, start = [], 0
    for step in steps:
        for places, indices in ((step.places, step.indices), (step.end_places, step.end_indices)):
            if places.size:
                stop = start + len(places)
                parts.append(_saved(problem, step, places, indices, states[start:stop], shift))
                start = stop
    if problem.saver is None or not parts:
        return states if problem.saver is None else problem.saver.empty(states)
    return torch.cat(parts)


def shift_of(problem: RowProblem) -> Tensor:
    """Return zeros that carry the derivatives of the output times, shape ``(samples, T)``."""
    ts = problem.ts.double()
    shift = ts - ts.detach()
    return torch.nan_to_num(shift.expand(problem.times.shape) if ts.dim() == 1 else shift)


def times_of(
    step: RowStep, shift: Tensor | None, ts_shift: Tensor | None, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Return beginnings and sizes of steps as columns, on the tape where their derivatives are wanted."""
    t, h = as_column(step.t, device), as_column(step.h, device)
    if shift is None:
        return t, h
    ends = _ends_shift(step, shift, ts_shift)
    return t + shift, h if ends is shift else h + (ends - shift)


def _ends_shift(step: RowStep, shift: Tensor, ts_shift: Tensor | None) -> Tensor:
    """Return zeros that carry the derivatives of the ends' times, where no event cuts the steps."""
    ends = shift
    if ts_shift is not None and bool((step.anchors >= 0).any()):
        anchored = torch.from_numpy(step.anchors >= 0).to(shift.device).unsqueeze(-1)
        rows = torch.from_numpy(step.rows).to(shift.device)
        index = torch.from_numpy(numpy.maximum(step.anchors, 0)).to(shift.device)
        ends = torch.where(anchored, ts_shift[rows, index].unsqueeze(-1), ends)
    # neither the time of a discontinuity nor an output time that is a constant is moved by events before it
    still = step.anchors == FIXED if ts_shift is not None else step.anchors != MOVES
    if bool(still.any()):
        ends = ends.masked_fill(torch.from_numpy(still).to(shift.device).unsqueeze(-1), 0.0)
    return ends


def _at(
    problem: RowProblem,
    stepper: RowStepper,
    step: RowStep,
    t: Tensor,
    h: Tensor,
    y: Tensor,
    result: StepResult,
    place: Tensor,
    theta: Tensor,
) -> Tensor:
    """Return the dense output of rows at places, each at its own fraction."""
    field = problem.field.of(step.rows[as_host(place)])
    return stepper.interpolate(field, t[place], h[place], y[place], stepper.take(result, place), theta)
