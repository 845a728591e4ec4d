"""Output times that penalties ask for, drawn before a solve and left out of what it returns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from nde import validation
from nde.regularize import TrajectoryPenalty
from nde.solvers.structure import State, StateStructure

__all__ = ["ExtraTimes"]

_ATTEMPTS = 100


class ExtraTimes:
    """Output times together with one more for each penalty, uniform on the span.

    Args:
        ts: Output times, of the shape ``(T,)`` or ``(batch, T)`` with NaN behind the last one; see `checked`.
        penalties: Penalties that ask for a time.
        batch: Number of samples, where each has times of its own; None otherwise.
        rank: Number of axes of a time as the field of such samples sees it.

    Attributes:
        joined: All times in order, shape ``(T + n,)`` or ``(batch, T + n)``.
        length: Length of the span, on the tape of ``ts``; shape ``()`` or ``(batch,)``.
        direction: 1 or -1, the direction of time; of the same shape.

    Raises:
        ValueError: The span is too short for a time between the given ones.
    """

    def __init__(self, ts: Tensor, penalties: Sequence[TrajectoryPenalty], batch: int | None, rank: int) -> None:
        self._batch, self._rank = batch, rank
        first = ts[..., 0]
        counts = (~ts.detach().isnan()).sum(-1, keepdim=True)
        last = ts.gather(-1, counts - 1).squeeze(-1)
        self._first = first
        self.direction = (last - first).detach().sign()
        self.length = (last - first) * self.direction
        if batch is not None:
            self.length, self.direction = self.length.expand(batch), self.direction.expand(batch)
        self.joined = ts
        self._given = ts.shape[-1]
        self._places = torch.empty(0, dtype=torch.int64)
        if penalties:
            self._join(ts, penalties, last)

    def _join(self, ts: Tensor, penalties: Sequence[TrajectoryPenalty], last: Tensor) -> None:
        """Draw times and put them among the given ones, in order."""
        shape = () if self._batch is None else (self._batch,)
        rows = ts.expand(*shape, ts.shape[-1])
        for _ in range(_ATTEMPTS):
            columns: dict[tuple[int, int], Tensor] = {}  # penalties of one seed draw one time, which is asked for once
            keys = [(penalty.draws.seed, penalty.draws.count) for penalty in penalties]
            for key, penalty in zip(keys, penalties, strict=True):
                columns[key] = penalty.uniform(shape)
            self._columns = [list(columns).index(key) for key in keys]
            drawn = torch.stack(list(columns.values()), -1).to(ts)
            begin, end = self._first.unsqueeze(-1), last.unsqueeze(-1)
            self._drawn = (begin + drawn * (end - begin)).expand(*shape, len(columns))
            both = torch.cat([rows, self._drawn], -1)
            # NaN, behind the last time of a sample, is sorted to the end
            order = (both.detach() * self.direction.unsqueeze(-1)).argsort(-1)
            self.joined = both.gather(-1, order)
            if not (self.joined.detach().diff(dim=-1) == 0).any():
                self._places = order.argsort(-1)
                return
        raise ValueError(f"ts must leave room for a time between its first and its last one, but is {ts!r}.")

    @staticmethod
    def checked(ts: Any, structure: StateStructure, batch: int | None) -> Tensor | None:
        """Return times as a tensor, or None where they are rows that a solver will not take.

        Raises:
            TypeError, ValueError: They are of one axis, and wrong.
        """
        rows = ts
        if batch is not None and not isinstance(ts, Tensor):
            try:
                rows = torch.as_tensor(ts, dtype=torch.float64)
            except (TypeError, ValueError, RuntimeError):
                rows = ts
        if batch is None or not isinstance(rows, Tensor) or rows.dim() != 2:
            return validation.check_times(ts, structure)[0]
        if rows.is_meta or rows.shape[0] != batch or rows.shape[1] < 2 or not rows.is_floating_point():
            return None
        steps = rows.detach().diff(dim=-1)
        ordered = (steps * steps[:, :1] > 0) | rows.detach()[:, 1:].isnan()
        return rows if bool(ordered.all()) and bool(rows[:, :2].isfinite().all()) else None

    def start(self, structure: StateStructure) -> Tensor:
        """Return the initial time as the field sees it."""
        first = self._first if self._batch is None else self._first.expand(self._batch)
        return self._seen(first, structure)

    def time(self, index: int, structure: StateStructure) -> Tensor:
        """Return the time of a penalty as the field sees it."""
        return self._seen(self._drawn[..., self._columns[index]], structure)

    def state(self, index: int, states: State) -> State:
        """Return the state at the time of a penalty.

        Args:
            index: Which penalty.
            states: States at all times.
        """
        place = self._places[..., self._given + self._columns[index]]
        if self._batch is None:
            return _mapped(lambda leaf: leaf[int(place)], states)
        samples = torch.arange(self._batch)
        return _mapped(lambda leaf: leaf[place.to(leaf.device), samples.to(leaf.device)], states)

    def without(self, states: State) -> State:
        """Return the states at the times that were given, of those at all times."""
        places = self._places[..., : self._given]
        if self._batch is None:
            return _mapped(lambda leaf: leaf.index_select(0, places.to(leaf.device)), states)
        samples = torch.arange(self._batch)
        return _mapped(lambda leaf: leaf[places.T.to(leaf.device), samples.to(leaf.device)], states)

    def _seen(self, time: Tensor, structure: StateStructure) -> Tensor:
        time = time.to(dtype=structure.time_dtype, device=structure.device)
        return time if self._batch is None else time.reshape(-1, *[1] * (self._rank - 1))


def _mapped(function: Any, state: State) -> State:
    """Apply a function to every tensor of a state."""
    if isinstance(state, Tensor):
        return function(state)
    if isinstance(state, dict):
        return {key: _mapped(function, item) for key, item in state.items()}
    items = [_mapped(function, item) for item in state]
    return type(state)(*items) if hasattr(state, "_fields") else type(state)(items)
