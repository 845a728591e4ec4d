"""Brownian increments drawn as they are asked for: the cheapest path for a solver that chooses its own steps.

Each new stretch of time costs as many normal numbers as an increment has; a stretch that is asked for in parts, as
after a rejected step, is cut by the exact conditional law. What was drawn can be drawn again, so that nothing but the
cuts is kept. `nde.solve_sde` makes one where nobody else can ask for the path.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nde.solvers.brownian.areas import area_keys, levy_area
from nde.solvers.brownian.chen import COMPONENTS, BrownianIncrement, join, join_weights, turned
from nde.solvers.brownian.cut import VARIANCES, cut_weights
from nde.solvers.brownian.keys import mix_host, node_keys, seed_key, signed
from nde.solvers.brownian.normals import Normals
from nde.solvers.transforms import constants

__all__ = ["BrownianWalk"]

# numbers drawn at once: small increments cost more calls than numbers
_BLOCK = 1 << 14
_MOST_AT_ONCE = 32
_BLOCKS_KEPT = 2
_PIECES_KEPT = 20
# a piece that is as many times cut keeps its numbers, so that its parts are found without drawing all before it
_CUTS_KEPT = 16
_BITS = 52  # of a time's place in the span
_COMPONENTS = 4  # numbers of a draw are told apart by their place: room for three


@dataclass(eq=False, slots=True)
class _Piece:
    """A stretch of time, and how its numbers are found.

    Attributes:
        first, last: Its ends, in quanta.
        draw: Number of the draw that it takes its normals from; None where it is joined from others.
        of: The pieces that it is made of: those that it joins, or the one that it is a part of.
        cuts: How many cuts one inside the other have led to it.
        values: Its numbers, shape ``(count, rows, columns)``, while they are kept.
    """

    first: int
    last: int
    draw: int | None
    of: tuple[_Piece, ...] = ()
    cuts: int = 0
    values: Tensor | None = field(default=None)


class BrownianWalk:
    """A sample path of Brownian motion whose numbers depend on the order of the queries, but not its law.

    The first query of a stretch draws it; a query that begins or ends inside a stretch cuts it by a Brownian bridge.
    The same queries in the same order give the same path, and a query that was made before gives what it gave. All
    increments together have exactly the law of Brownian motion, whatever is asked.

    Args:
        t0, t1: The span, in the direction of the solve: ``t1`` may be before ``t0``.
        shape: Shape of an increment.
        seed: An integer.
        levy_area: See `BrownianPath`.
        dtype: float32 or float64.
        device: Where the increments are.
    """

    def __init__(
        self,
        t0: float,
        t1: float,
        shape: tuple[int, ...],
        *,
        seed: int,
        levy_area: str,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self.t0, self.t1 = min(t0, t1), max(t0, t1)
        self.shape = tuple(shape)
        self.levy_area = levy_area
        self.dtype = dtype
        self.device = device
        self._start = t0
        self._count = COMPONENTS[levy_area]
        # no finer than the times themselves, so that what the solver's sums round away makes no pieces
        span = abs(t1 - t0)
        self._quantum = math.copysign(max(span * 2.0**-_BITS, 8 * math.ulp(max(abs(t0), abs(t1)))), t1 - t0)
        rows, columns = (shape[0], math.prod(shape[1:])) if shape else (1, 1)
        with constants():
            self._normals = Normals(rows, columns, None, dtype, device)
        self._key = signed(seed_key(seed))
        self._at_once = max(min(_BLOCK // max(self._count * rows * columns, 1), _MOST_AT_ONCE), 1)
        self._roots = self._tensor(np.sqrt(VARIANCES[: self._count])).view(-1, 1, 1)  # for a length of 1
        self._blocks: dict[int, Tensor] = {}
        self._draws = 0
        self._knots = [0]  # ends of pieces, in quanta; piece i lies between knots i and i + 1
        self._numbers = {0: 0}  # of the knots, as they were made: rounding of their times leaves these alone
        self._pieces: list[_Piece] = []
        self._asked: dict[tuple[int, int], _Piece] = {}
        self._recent: deque[_Piece] = deque()
        if levy_area in ("davie", "foster"):
            m = shape[-1]
            width = math.prod(shape[1:-1]) * m * (m - 1) // 2
            with constants():
                self._area_normals = Normals(rows, width, None, dtype, device)
            self._area_key = mix_host(self._key + 1)

    def __call__(self, s: float, t: float) -> BrownianIncrement:
        """Return the increment from ``s`` to ``t``; where they are against the walk's direction, of the way back."""
        first, last = (round((time - self._start) / self._quantum) for time in (s, t))
        back = first > last
        if back:
            first, last = last, first
        with constants():
            piece = self._asked.get((first, last)) or self._find(first, last)
            if piece is None:
                shape = (self._count, self._normals.rows, self._normals.columns)
                return self._increment(torch.zeros(shape, dtype=self.dtype, device=self.device), 0, 0, back)
            return self._increment(self._values(piece), piece.first, piece.last, back)

    def _find(self, first: int, last: int) -> _Piece | None:
        """Return the piece between two places, after drawing and cutting what it takes; None if they are one time."""
        begin, end = self._knot(first), self._knot(last)
        if begin == end:
            return None
        parts = tuple(self._pieces[begin:end])
        piece = parts[0] if len(parts) == 1 else _Piece(parts[0].first, parts[-1].last, None, parts)
        self._asked[first, last] = piece
        return piece

    def _knot(self, place: int) -> int:
        """Return the number of the knot at a place; make one if there is none."""
        knots = self._knots
        index = bisect_left(knots, place)
        for near in (index - 1, index):
            if 0 <= near < len(knots) and abs(knots[near] - place) <= 2:
                return near
        if index == 0:
            raise ValueError(f"the path begins at {self._start:.10g}, but was asked for an earlier time.")
        self._numbers[place] = len(self._numbers)
        if index == len(knots):
            self._pieces.append(_Piece(knots[-1], place, self._next_draw()))
            knots.append(place)
            return index
        whole, draw = self._pieces[index - 1], self._next_draw()
        self._pieces[index - 1 : index] = [
            _Piece(whole.first, place, draw, (whole,), whole.cuts + 1),
            _Piece(place, whole.last, draw, (whole,), whole.cuts + 1),
        ]
        knots.insert(index, place)
        return index

    def _next_draw(self) -> int:
        self._draws += 1
        return self._draws - 1

    def _values(self, piece: _Piece) -> Tensor:
        """Return the numbers of a piece, drawn again if they were not kept."""
        if piece.values is not None:
            return piece.values
        if piece.draw is None:
            values = self._joined(piece)
        elif piece.of:
            values = self._part(piece)
        else:
            length = (piece.last - piece.first) * abs(self._quantum)
            values = torch.mul(self._draw(piece.draw), self._roots).mul_(math.sqrt(length))
        piece.values = values
        if piece.cuts and piece.cuts % _CUTS_KEPT == 0:
            return values
        self._recent.append(piece)
        if len(self._recent) > _PIECES_KEPT:
            self._recent.popleft().values = None
        return values

    def _joined(self, piece: _Piece) -> Tensor:
        """Return the numbers of pieces that follow one another."""
        first, *rest = piece.of
        values: tuple[Any, ...] = self._values(first).unbind(0)
        for part in rest:
            fraction = (part.first - piece.first) / (part.last - piece.first)
            values = join(values, self._values(part).unbind(0), join_weights(fraction, self._count))
        return torch.stack(values)

    def _part(self, piece: _Piece) -> Tensor:
        """Return the numbers of one of the two parts of a piece that was cut."""
        (whole,) = piece.of
        left = piece.first == whole.first
        cut = piece.last if left else piece.first
        quantum = abs(self._quantum)
        weights = cut_weights((cut - whole.first) * quantum, (whole.last - cut) * quantum, self._count)
        own = self._tensor(weights[: self._count] if left else weights[self._count :])
        assert piece.draw is not None
        numbers = torch.cat([self._values(whole), self._draw(piece.draw)])
        # no matrix product, which autocast and faster formats of an accelerator would round
        columns = own.unsqueeze(-1).unsqueeze(-1)
        values = columns[:, 0] * numbers[0]
        for index in range(1, 2 * self._count):
            values.addcmul_(columns[:, index], numbers[index])
        return values

    def _draw(self, draw: int) -> Tensor:
        """Return standard normal numbers, shape ``(count, rows, columns)``."""
        index, place = divmod(draw, self._at_once)
        block = self._blocks.get(index)
        if block is None:
            draws = torch.arange(index * self._at_once, (index + 1) * self._at_once, device=self.device)
            places = draws.unsqueeze(1) * _COMPONENTS + torch.arange(self._count, device=self.device)
            block = self._normals.draw(node_keys(self._key, places.reshape(-1))).unflatten(0, (-1, self._count))
            self._blocks[index] = block
            if len(self._blocks) > _BLOCKS_KEPT:
                del self._blocks[next(iter(self._blocks))]
        return block[place]

    def _tensor(self, values: np.ndarray) -> Tensor:
        return torch.from_numpy(values).to(device=self.device, dtype=self.dtype)

    def _increment(self, values: Tensor, first: int, last: int, back: bool) -> BrownianIncrement:
        shape = self.shape
        area = None
        if self.levy_area in ("davie", "foster"):
            numbers = (torch.tensor([self._numbers[place]], device=self.device) for place in (first, last))
            wide = values.view(self._count, 1, *shape)
            length = (last - first) * abs(self._quantum)
            keys = area_keys(self._area_key, *numbers)
            area = levy_area(self.levy_area, wide[0], wide[1], length, self._area_normals, keys)[0]
            area = -area if back else area
        if back:
            values = turned(values)
        w, *more = values.view(self._count, *shape).unbind(0)
        h, k = (*more, None, None)[:2]
        return BrownianIncrement(w, h, k, area)
