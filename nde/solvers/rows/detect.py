"""Finds the events of a step: which conditions changed their sign, and where."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import NamedTuple

import numpy
import torch
from torch import Tensor

from nde.solvers.method import StepResult
from nde.solvers.rows.field import RowField
from nde.solvers.rows.problem import RowProblem, RowStepper, as_column
from nde.solvers.rows.steps import Hits, condition_values
from nde.solvers.transforms import as_host, functions_transformed

__all__ = ["EventWatch"]

Vector = numpy.ndarray
_MOST_ITERATIONS = 120
#: how many rounding units of its change along a step a condition may be away from zero at its event
_NEAR = 1e3


class _Seen(NamedTuple):
    """A change of sign in the last step.

    Attributes:
        sample: Whose.
        entry: Entry of the condition.
        sign: What its sign counts as if it is still near zero behind a jump: zero, so that where it goes decides, or
            that before the change, which is then looked for again.
        slope: Its derivative along the step.
    """

    sample: int
    entry: int
    sign: float
    slope: float


class EventWatch:
    """Remembers the signs of all conditions for every sample.

    Args:
        problem: The problem.
        stepper: The method.
    """

    def __init__(self, problem: RowProblem, stepper: RowStepper) -> None:
        self.problem = problem
        self.stepper = stepper
        self.signs: list[Vector] = []
        self._seen: list[list[_Seen]] = [[] for _ in problem.events]
        self.counts = [numpy.zeros(problem.layout.count, dtype=int) for _ in problem.events]

    def begin(self, field: RowField, t: Tensor, y: Tensor) -> None:
        """Look at the initial states."""
        for event in self.problem.events:
            self.signs.append(_signs(condition_values(event, field, t, y)))

    @torch.no_grad()
    def find(
        self, rows: Vector, t: Vector, h: Vector, y: Tensor, slope: Callable[[], Tensor], result: StepResult
    ) -> list[Hits]:
        """Return the occurrences in steps of these rows, and remember the signs at their ends.

        Args:
            rows: The samples.
            t, h: Beginnings and sizes of their steps.
            y: States there.
            slope: Returns the slopes there.
            result: What the method returned.
        """
        problem = self.problem
        field = problem.field.of(rows)
        times, sizes = as_column(t, y.device), as_column(h, y.device)
        found: list[Hits] = []
        origins: list[Vector] = []
        before_this, self._seen = self._seen, [[] for _ in problem.events]
        for index, event in enumerate(problem.events):
            before = self.signs[index][rows]
            if (before == 0).any():
                before = numpy.where(before == 0, self._leaving(index, field, times, y, slope(), h), before)
            edges = numpy.linspace(0.0, 1.0, event.checks + 2)
            places, entries, lows, highs, signs = [], [], [], [], []
            for low, high in itertools.pairwise(edges.tolist()):
                after = self._signs_at(index, field, times, sizes, y, result, high)
                # neither where the condition is not a number nor in a step of no length is anything known to change
                changed = (before * after <= 0) & (before != 0) & (h != 0)[:, None]
                if event.direction:
                    changed &= before == -event.direction
                place, entry = numpy.nonzero(changed)
                places.append(place)
                entries.append(entry)
                lows.append(numpy.full(place.shape, low))
                highs.append(numpy.full(place.shape, high))
                signs.append(before[place, entry])
                before = after
            self.signs[index][rows] = numpy.where((h != 0)[:, None], before, self.signs[index][rows])
            place, entry = numpy.concatenate(places), numpy.concatenate(entries)
            if place.size:
                bracket = numpy.concatenate(lows), numpy.concatenate(highs), numpy.concatenate(signs)
                theta, derivative = self._locate(index, rows, t, h, y, result, place, entry, *bracket)
                found.append(Hits(index, place, entry, theta, derivative, numpy.zeros(place.shape, dtype=bool)))
                origins.append(bracket[2])
        near = _NEAR * torch.finfo(y.dtype).eps + 4 * numpy.spacing(numpy.abs(t)) / numpy.maximum(numpy.abs(h), 1e-300)
        hits_in_order = self._in_order(found, rows, origins, near)
        # a step cut at its very beginning leaves near zero what was there already
        early = {
            int(sample)
            for hits in hits_in_order
            for sample in rows[hits.places[hits.alters & (hits.thetas <= near[hits.places])]]
        }
        for index, seen in enumerate(before_this):
            self._seen[index][:0] = [one._replace(sign=0.0) for one in seen if one.sample in early]
        return hits_in_order

    def _in_order(self, found: list[Hits], rows: Vector, origins: list[Vector], near: Vector) -> list[Hits]:
        """Decide what each occurrence does, and drop those behind one that ends its step.

        Of events at one time, all without a jump are counted, and one jumps; the jumps of others are looked for behind
        it, because it may have made them void.

        Args:
            found: The occurrences.
            rows: The samples.
            origins: The signs before them.
            near: What is no distance, as a fraction of each step.
        """
        if not found:
            return found
        owner = numpy.concatenate([numpy.full(hits.places.shape, number) for number, hits in enumerate(found)])
        position = numpy.concatenate([numpy.arange(hits.places.size) for hits in found])
        place = numpy.concatenate([hits.places for hits in found])
        theta = numpy.concatenate([hits.thetas for hits in found])
        kept = [numpy.zeros(hits.places.shape, dtype=bool) for hits in found]
        # by place: what ends the step
        closed: dict[int, tuple[Hits, int]] = {}
        for item in numpy.lexsort((theta, place)):
            where = int(place[item])
            hits, at = found[owner[item]], int(position[item])
            event, sample = self.problem.events[hits.event], int(rows[where])
            if where in closed:
                first, its = closed[where]
                if theta[item] - first.thetas[its] > near[where] or (first.event == hits.event and event.apply is None):
                    continue
                if event.apply is not None and self.problem.events[first.event].apply is not None:
                    self._see(hits, at, sample, origins[owner[item]][at])
                    continue
                if event.apply is not None:
                    first.alters[its] = False
            self._see(hits, at, sample, 0.0)
            self.counts[hits.event][sample] += 1
            final = bool(event.terminal) and self.counts[hits.event][sample] >= int(event.terminal)
            kept[owner[item]][at] = True
            if event.apply is not None or (final and where not in closed):
                hits.alters[at] = True
                closed[where] = hits, at
        selected = []
        for hits, keep in zip(found, kept, strict=True):
            if keep.any():
                parts = (hits.places, hits.entries, hits.thetas, hits.slopes, hits.alters)
                selected.append(Hits(hits.event, *(part[keep] for part in parts)))
        return selected

    def _see(self, hits: Hits, at: int, sample: int, sign: float) -> None:
        self._seen[hits.event].append(_Seen(sample, int(hits.entries[at]), sign, float(hits.slopes[at])))

    def ended(self, hits: Hits, rows: Vector) -> Vector:
        """Return which of the occurrences end the solve of their sample."""
        terminal = self.problem.events[hits.event].terminal
        if not terminal:
            return numpy.zeros(hits.places.shape, dtype=bool)
        reached: Vector = self.counts[hits.event][rows[hits.places]] >= int(terminal)
        return reached

    @torch.no_grad()
    def restart(self, rows: Vector, t: Tensor, y: Tensor) -> None:
        """Look at the states after jumps.

        Args:
            rows: The samples that jumped.
            t: Times, shape ``(rows, 1)``.
            y: States after the jumps.
        """
        places = numpy.full(self.problem.layout.count, -1)
        places[rows] = numpy.arange(len(rows))
        for index, event in enumerate(self.problem.events):
            values = as_host(condition_values(event, self.problem.field.of(rows), t, y))
            signs = numpy.sign(values)
            if self._seen[index]:
                # where it has just changed its sign, a value is zero but for its rounding, which must not decide
                samples, entries, own, slopes = (numpy.array(column) for column in zip(*self._seen[index], strict=True))
                place = places[samples]
                near = numpy.abs(values[place, entries]) <= numpy.abs(slopes) * _NEAR * torch.finfo(y.dtype).eps
                near &= place >= 0
                signs[place[near], entries[near]] = own[near]
            self.signs[index][rows] = signs

    def _leaving(self, index: int, field: RowField, t: Tensor, y: Tensor, slope: Tensor, h: Vector) -> Vector:
        """Return the signs that conditions which are zero take on at once."""
        event = self.problem.events[index]
        if functions_transformed():
            # autograd's tape cannot be begun within a transform
            ones, along = torch.ones_like(t), slope.detach()
            rates = torch.func.jvp(lambda a, b: condition_values(event, field, a, b), (t, y), (ones, along))[1]
            return numpy.sign(as_host(rates)) * numpy.sign(h)[:, None]
        with torch.enable_grad():
            time, state = t.detach().requires_grad_(), y.detach().requires_grad_()
            values = condition_values(event, field, time, state)
            columns = []
            for column in values.unbind(1):
                if not column.requires_grad:
                    columns.append(torch.zeros_like(column, dtype=torch.float64))
                    continue
                by_time, by_state = torch.autograd.grad(
                    column.sum(), (time, state), retain_graph=True, allow_unused=True
                )
                rate = torch.zeros_like(column, dtype=torch.float64)
                if by_time is not None:
                    rate = rate + by_time.squeeze(-1)
                if by_state is not None:
                    rate = rate + (by_state * slope).sum(-1)
                columns.append(rate)
        return numpy.sign(as_host(torch.stack(columns, 1))) * numpy.sign(h)[:, None]

    def _signs_at(
        self, index: int, field: RowField, t: Tensor, h: Tensor, y: Tensor, result: StepResult, theta: float
    ) -> Vector:
        if theta == 1.0:
            state = result.y1
        else:
            state = self.stepper.interpolate(field, t, h, y, result, torch.full_like(t, theta))
        return _signs(condition_values(self.problem.events[index], field, t + theta * h, state))

    def _locate(
        self,
        index: int,
        rows: Vector,
        t: Vector,
        h: Vector,
        y: Tensor,
        result: StepResult,
        place: Vector,
        entry: Vector,
        low: Vector,
        high: Vector,
        sign: Vector,
    ) -> tuple[Vector, Vector]:
        """Return where conditions change their sign, and their derivatives there, by a bracketed secant method.

        The place returned is the far end of the bracket, on which the sign has changed.
        """
        event, stepper = self.problem.events[index], self.stepper
        places = torch.from_numpy(place).to(y.device)
        field = self.problem.field.of(rows[place])
        starts, sizes, states = as_column(t[place], y.device), as_column(h[place], y.device), y[places]
        part = stepper.take(result, places)
        column = torch.from_numpy(entry).to(y.device).unsqueeze(-1)

        def value(theta: Vector) -> Vector:
            fraction = as_column(theta, y.device)
            state = stepper.interpolate(field, starts, sizes, states, part, fraction)
            found = condition_values(event, field, starts + fraction * sizes, state).gather(1, column)
            return as_host(found.squeeze(-1)) * sign  # positive before the change

        resolution = 2 * numpy.finfo(float).eps * numpy.maximum(1.0, numpy.abs(t[place] / h[place]))
        before, after = numpy.abs(value(low)), value(high)
        for count in range(_MOST_ITERATIONS):
            if (high - low <= resolution).all():
                break
            guess = 0.5 * (low + high)
            if count % 3:
                with numpy.errstate(all="ignore"):
                    secant = low + (high - low) * before / (before - after)
                secant = numpy.clip(secant, low + 0.5 * resolution, high - 0.5 * resolution)
                guess = numpy.where(numpy.isfinite(secant), secant, guess)
            found = value(guess)
            changed = found <= 0
            # the end that stays is discounted (Illinois), so that the bracket closes from both sides
            before = numpy.where(changed, 0.5 * before, found)
            after = numpy.where(changed, found, 0.5 * after)
            low, high = numpy.where(changed, low, guess), numpy.where(changed, guess, high)
        # central differences: their error only slows the correction that uses them, quadratically
        width = 1e-4 if y.dtype == torch.float64 else 1e-2
        return high, (value(high + width) - value(high - width)) / (2 * width) * sign


def _signs(values: Tensor) -> Vector:
    signs: Vector = as_host(torch.sign(values))
    return signs
