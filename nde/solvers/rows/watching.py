"""What events do to the steps of a row solve: they cut them, end them, or let them begin anew."""

from __future__ import annotations

from typing import Any

import numpy
import torch
from torch import Tensor

from nde.solvers.method import StepResult
from nde.solvers.rows.detect import EventWatch
from nde.solvers.rows.field import RowField
from nde.solvers.rows.problem import RowProblem, RowStepper, as_column
from nde.solvers.rows.steps import RowStep

__all__ = ["Watching"]

Vector = numpy.ndarray


class Watching:
    """Watches the accepted steps of one iteration after the other.

    Args:
        problem: The problem.
        stepper: The method.

    Attributes:
        jumped: Which of the rows at work jumped, or ended, in the last iteration.
        ended: Which ended.
    """

    def __init__(self, problem: RowProblem, stepper: RowStepper) -> None:
        self._watch = EventWatch(problem, stepper)
        self._stepper = stepper
        self._cut = numpy.empty(0, dtype=bool)
        self._final = numpy.empty(0, dtype=bool)
        self.jumped = numpy.empty(0, dtype=bool)
        self.ended = numpy.empty(0, dtype=bool)

    def begin(self, field: RowField, t: Tensor, y: Tensor) -> None:
        """Look at the initial states."""
        self._watch.begin(field, t, y)

    def look(self, field: RowField, facts: RowStep, y: Tensor, carry: Any, done: StepResult) -> None:
        """Find the events of accepted steps, and cut the steps there.

        Args:
            field: The field of these rows.
            facts: Their steps, to which the events are added.
            y: States at the beginnings.
            carry: Carry there.
            done: What the method returned.
        """
        watch = self._watch

        def slope() -> Tensor:
            if field.stochastic:  # it is not the drift that decides where a path goes, but its noise
                return (done.y1 - y) / as_column(facts.h, y.device).to(y.dtype)
            return self._stepper.slope(field, as_column(facts.t, y.device), y, carry)

        facts.hits = watch.find(facts.rows, facts.t, facts.h, y, slope, done)
        self._final = numpy.zeros(len(facts.rows), dtype=bool)
        self._cut = numpy.zeros(len(facts.rows), dtype=bool)
        if facts.hits:
            facts.t1 = facts.t1.copy()
        for hits in facts.hits:
            where = hits.places[hits.alters]
            self._cut[where] = True
            facts.t1[where] = facts.t[where] + hits.thetas[hits.alters] * facts.h[where]
            self._final[hits.places[watch.ended(hits, facts.rows)]] = True

    def settle(self, facts: RowStep, y1: Tensor, chosen: Vector | None, count: int) -> None:
        """Remember the signs of conditions behind jumps, and which rows jumped or ended.

        Args:
            facts: The steps that `look` has looked at.
            y1: States behind the jumps.
            chosen: Places of these rows among the rows at work; None if they are all.
            count: Number of the rows at work.
        """
        for hits in facts.hits:
            cut = numpy.flatnonzero(hits.alters)
            if cut.size:
                at = hits.places[cut]
                states = y1.detach()[torch.from_numpy(at).to(y1.device)]
                self._watch.restart(facts.rows[at], as_column(facts.t1[at], y1.device), states)
        places = slice(None) if chosen is None else chosen
        self.ended, self.jumped = numpy.zeros(count, dtype=bool), numpy.zeros(count, dtype=bool)
        self.ended[places] = self._final
        self.jumped[places] = self._cut
