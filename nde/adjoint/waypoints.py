"""Where a backward solve of rows stops: outputs, steps' ends and events, of each row from its last to its first."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy

from nde.solvers.rows.record import RowRecord

__all__ = ["EVENT", "OUTPUT", "STEP_END", "Waypoints", "backwards"]

Vector = numpy.ndarray

#: kinds of waypoints, in the order in which those of one time are passed forwards
EVENT, OUTPUT, STEP_END = 0, 1, 2


class Waypoints(NamedTuple):
    """One waypoint of each of some rows.

    Attributes:
        rows: The samples.
        times: When.
        kinds: `OUTPUT`, `STEP_END` or `EVENT`.
        places: Places among the solve's outputs of this kind, in the order of the record.
        details: Index of the output time, or index of the event.
        entries: Entry of the event's condition.
        alters: Whether an event ends its step.
    """

    rows: Vector
    times: Vector
    kinds: Vector
    places: Vector
    details: Vector
    entries: Vector
    alters: Vector

    def of_kind(self, kind: int) -> Waypoints:
        """Return those of one kind."""
        return self.pick(self.kinds == kind)

    def pick(self, chosen: Vector) -> Waypoints:
        """Return some of them."""
        return Waypoints(*(part[chosen] for part in self))


def backwards(
    record: RowRecord, times: Vector, event_times: Vector, at_steps: Vector | None, at_events: Vector | None
) -> Iterator[Waypoints]:
    """Yield the last waypoints of all rows, then those before them, and so on.

    Args:
        record: What happened in the forward solve.
        times: Output times, shape ``(rows, T)``.
        event_times: Times of all occurrences, in the order of the record.
        at_steps: Which ends of steps are waypoints, in the order of the record; None for none.
        at_events: Which occurrences that change nothing are waypoints; None for none. Those that do always are.
    """
    parts: list[tuple[Vector, ...]] = []
    n_outputs = n_steps = n_events = 0
    for number, step in enumerate(record.steps):
        for places, indices, inside in ((step.places, step.indices, 0), (step.end_places, step.end_indices, 2)):
            if places.size:
                own = numpy.arange(n_outputs, n_outputs + len(places))
                rows = step.rows[places]
                parts.append(_part(rows, times[rows, indices], number, inside, OUTPUT, own, indices))
                n_outputs += len(places)
        for hits in step.hits:
            own = numpy.arange(n_events, n_events + len(hits.places))
            n_events += len(hits.places)
            kept = hits.alters if at_events is None else hits.alters | at_events[own]
            if kept.any():
                alters = hits.alters[kept]
                parts.append(
                    _part(
                        step.rows[hits.places[kept]],
                        event_times[own[kept]],
                        number,
                        numpy.where(alters, 1, 0),
                        EVENT,
                        own[kept],
                        numpy.full(len(alters), hits.event),
                        hits.entries[kept],
                        alters,
                    )
                )
        count = len(step.rows)
        if at_steps is not None:
            own = n_steps + numpy.flatnonzero(at_steps[n_steps : n_steps + count])
            if own.size:
                at = own - n_steps
                parts.append(_part(step.rows[at], step.t1[at], number, 3, STEP_END, own, numpy.zeros(len(own), int)))
        n_steps += count
    if not parts:
        return
    rows, when, numbers, within, *rest = (numpy.concatenate(column) for column in zip(*parts, strict=True))
    spans = times[:, 0]
    along = numpy.abs(when - spans[rows])
    order = numpy.lexsort((rest[0], along, within, numbers, rows))
    all_points = Waypoints(rows, when, *rest).pick(order)
    counts = numpy.bincount(rows, minlength=len(times))
    behind = numpy.cumsum(counts)
    for level in range(int(counts.max())):
        yield all_points.pick(behind[counts > level] - 1 - level)


def _part(
    rows: Vector,
    when: Vector,
    number: int,
    inside: int | Vector,
    kind: int,
    places: Vector,
    details: Vector,
    entries: Vector | None = None,
    alters: Vector | None = None,
) -> tuple[Vector, ...]:
    """Return waypoints of one step, with their order: by step, place within it, time."""
    count = len(rows)
    return (
        rows,
        when,
        numpy.full(count, number),
        numpy.broadcast_to(inside, count),
        numpy.full(count, kind),
        places,
        details,
        numpy.zeros(count, int) if entries is None else entries,
        numpy.zeros(count, bool) if alters is None else alters,
    )
