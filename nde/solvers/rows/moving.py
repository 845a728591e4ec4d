"""How the times of recorded steps move with the output times and with the events, for the dense output."""

from __future__ import annotations

import numpy
import torch
from torch import Tensor

from nde.solvers.rows.landings import FIXED, MOVES
from nde.solvers.rows.problem import RowProblem
from nde.solvers.rows.record import RowRecord
from nde.solvers.rows.steps import shift_of
from nde.solvers.transforms import may_move

__all__ = ["step_shifts"]


def step_shifts(problem: RowProblem, record: RowRecord, event_times: Tensor | None) -> tuple[Tensor, Tensor] | None:
    """Return zeros that carry the derivatives of the steps' beginnings and sizes, in the order of the record.

    Args:
        problem: The problem; its output times are those of the user.
        record: What happened.
        event_times: Times of all occurrences, in the order of the record; None without events.

    Returns:
        Two tensors of shape ``(steps, 1)``; None where neither output times nor events are differentiated.
    """
    moving_ts = may_move(problem.ts)
    moving_events = event_times is not None and may_move(event_times)
    if not torch.is_grad_enabled() or not (moving_ts or moving_events) or not record.steps:
        return None
    samples, count = problem.times.shape
    zero = torch.zeros(1, dtype=torch.float64, device=problem.y0.device)
    ts_shift = shift_of(problem).reshape(-1) if moving_ts else zero.expand(samples * count)
    table = [zero, ts_shift]
    if event_times is not None:
        table.append(event_times - event_times.detach())
    # places in this table: that of nothing, those of the output times of each sample, those of the events
    first_event = 1 + samples * count
    source = 1 + numpy.arange(samples) * count
    begins, ends = [], []
    found = 0
    for step in record.steps:
        begin = source[step.rows]
        own = 1 + step.rows * count + numpy.maximum(step.anchors, 0)
        end = numpy.where(step.anchors == MOVES, begin, numpy.where(step.anchors == FIXED, 0, own))
        begins.append(begin)
        ends.append(end)
        following = end.copy()
        for hits in step.hits:
            cut = hits.alters
            following[hits.places[cut]] = first_event + found + numpy.flatnonzero(cut)
            found += len(hits.places)
        source[step.rows] = following
    shifts = torch.cat(table)
    start, stop = (
        shifts[torch.from_numpy(numpy.concatenate(part)).to(shifts.device)].unsqueeze(-1) for part in (begins, ends)
    )
    return start, stop - start
