"""The times that steps must end on, and the gaps around discontinuities that no step enters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy
import torch

__all__ = ["FIXED", "MOVES", "Gap", "Landings", "gaps", "row_landings", "table_of"]

#: anchor of a step's end that moves with its beginning
MOVES = -1
#: anchor of a step's end at a time of its own, which moves with nothing
FIXED = -2

Landing = tuple[float, float, int]


class Landings(NamedTuple):
    """Times that steps must end on, shape ``(rows, landings)``; behind the last one of a row stands its last again.

    Attributes:
        begins: Where the first steps begin, shape ``(rows,)``: behind a discontinuity at the first time.
        before: Where the steps end.
        after: Where the next ones begin: later than that across a discontinuity.
        anchors: Index of the output time that each is; `FIXED` if it is none.
    """

    begins: numpy.ndarray
    before: numpy.ndarray
    after: numpy.ndarray
    anchors: numpy.ndarray


class Gap(NamedTuple):
    """The surroundings of a discontinuity, which no step enters; within the span."""

    low: float
    high: float


def gaps(jump_ts: Sequence[float], low: float, high: float, dtype: torch.dtype) -> list[Gap]:
    """Return the gaps around the discontinuities of a span, in rising order, apart from each other.

    A gap is as narrow as rounding allows: a field that sees ``dtype`` must tell its ends from the discontinuity, and
    the last stage of a step is at the rounded sum of its beginning and its size, whose error grows with the times of
    the span and not with that of the discontinuity, which may be zero.

    Args:
        jump_ts: The discontinuities.
        low: Lower end of the span.
        high: Upper end.
        dtype: Dtype of the times that the field sees.
    """
    host = 2 * numpy.finfo(float).eps * max(abs(low), abs(high))
    found: list[Gap] = []
    for time in sorted(jump_ts):
        if not low <= time <= high:
            continue
        room = host + 2 * torch.finfo(dtype).eps * abs(time)
        gap = Gap(max(time - room, low), min(time + room, high))
        if found and gap.low <= found[-1].high:
            gap = Gap(found.pop().low, gap.high)
        found.append(gap)
    # a span within one gap has no step outside it
    return [gap for gap in found if gap != (low, high)]


def row_landings(
    times: Sequence[float], fixed: Sequence[float], on_outputs: bool, across: list[Gap]
) -> tuple[float, list[Landing]]:
    """Return where the steps of one row begin; then, in order, where they end, where the next begin, and the anchors.

    Args:
        times: Output times of the row.
        fixed: Times that steps must end on.
        on_outputs: Whether steps must end on the output times.
        across: The gaps.
    """
    end, last = times[-1], len(times) - 1
    low, high = min(times[0], end), max(times[0], end)
    points = dict.fromkeys(fixed, FIXED)
    if on_outputs:
        points.update({time: index for index, time in enumerate(times[:-1]) if index})
    # a landing within a gap is none: the gap's own two take its place
    inner: list[Landing] = [
        (time, time, anchor)
        for time, anchor in points.items()
        if low < time < high and not any(gap.low <= time <= gap.high for gap in across)
    ]
    up = end > times[0]
    begin, final = times[0], (end, end, last)
    for gap in across:
        before, after = (gap.low, gap.high) if up else (gap.high, gap.low)
        if before == times[0]:
            begin = after
        elif after == end:
            final = (before, end, last)
        else:
            inner.append((before, after, FIXED))
    inner.sort(key=lambda landing: landing[0], reverse=not up)
    return begin, [*inner, final]


def table_of(rows: list[tuple[float, list[Landing]]]) -> Landings:
    """Return the landings of all rows."""
    width = max(len(points) for _, points in rows)
    table = numpy.array([[*points, *[points[-1]] * (width - len(points))] for _, points in rows])
    begins = numpy.array([begin for begin, _ in rows])
    return Landings(begins, table[:, :, 0], table[:, :, 1], table[:, :, 2].astype(int))
