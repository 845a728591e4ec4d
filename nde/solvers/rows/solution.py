"""What a row solve returns: per sample, or of a state as a whole that was watched for events."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy
import torch
from torch import Tensor

from nde.solvers.events import FoundEvents
from nde.solvers.retake import RetakenStep, RetakenSteps
from nde.solvers.rows.dense import RowDense
from nde.solvers.rows.field import RowLayout
from nde.solvers.rows.problem import RowProblem
from nde.solvers.rows.record import RowOutputs, RowRecord
from nde.solvers.rows.retake import RowStepRetaker
from nde.solvers.solution import NOT_DENSE, OnDemand, Solution, Stats, Steps
from nde.solvers.status import Status
from nde.solvers.structure import State
from nde.solvers.transforms import transforms_active

__all__ = ["RowSolution", "RowStats", "make_row_solution"]


@dataclass
class RowStats(Stats):
    """Cost of a row solve.

    Attributes:
        n_sample_evals: Evaluations of the field, counted once for each sample.
        accepted: Accepted steps of each sample, shape ``(samples,)``.
        rejected: Rejected steps of each sample.
    """

    n_sample_evals: int = 0
    accepted: Tensor | None = None
    rejected: Tensor | None = None


class RowSteps(Steps):
    """One value per accepted step of a sample; see `Steps`. The constants are put together when they are asked for.

    Args:
        record: What happened.
        like: A tensor of the dtype and on the device of the state.
        samples: Number of samples; None where steps belong to none.
        outputs: The outputs of the solve.
        layout: The layout of the state.
        facts: The other attributes of `Steps`.
    """

    _record: RowRecord
    _like: Tensor
    _outputs: RowOutputs
    _layout: RowLayout
    _recorded: bool

    def __init__(
        self,
        record: RowRecord,
        like: Tensor,
        samples: int | None,
        outputs: RowOutputs,
        layout: RowLayout,
        **facts: Any,
    ) -> None:
        own = {"_record": record, "_like": like, "samples": samples, "_outputs": outputs, "_layout": layout}
        own["_recorded"] = torch.is_grad_enabled() or transforms_active()
        for name, value in {**facts, **own}.items():
            object.__setattr__(self, name, value)

    def _joined(self, name: str) -> numpy.ndarray:
        return self._record.joined(name)

    @functools.cached_property
    def _estimates(self) -> tuple[Tensor | None, Tensor | None]:
        outputs = self._outputs
        if outputs.later is None:
            return outputs.error, outputs.stiffness
        with torch.no_grad():
            return outputs.later()

    @property
    def error(self) -> Tensor | None:
        """Local errors in units of the tolerance."""
        return self._estimates[0]

    @property
    def stiffness(self) -> Tensor | None:
        """Stiffness estimates."""
        return self._estimates[1]

    @functools.cached_property
    def t(self) -> Tensor:
        """Beginnings of the steps."""
        return torch.from_numpy(self._joined("t")).to(self._like)

    @functools.cached_property
    def h(self) -> Tensor:
        """Signed sizes."""
        return torch.from_numpy(self._joined("h")).to(self._like)

    @OnDemand
    def y(self) -> State | None:
        """States at the ends of the steps, of the structure of one row; None without ``dense=True``."""
        rows, layout = self._outputs.states, self._layout
        return None if rows is None else layout.row.unflatten(rows)

    @functools.cached_property
    def sample(self) -> Tensor | None:
        """Sample that each step belongs to; None where the state is a whole."""
        if self.samples is None:
            return None
        return torch.from_numpy(self._joined("rows").astype(numpy.int64, copy=False)).to(self._like.device)


class RowSolution(Solution):
    """The solutions of all samples, as far as they were computed.

    As `Solution`, and:

    Attributes:
        ts: Output times as they were given.
        t1: Times that were reached, shape ``(samples,)``; a number where the state is a whole.
        status: ``SUCCESS``, or the status of the first sample that failed.
        statuses: How each sample ended.
        failures: Where the samples failed that did, by sample.
        events: The occurrences of each event that was watched for.
    """

    def __init__(
        self,
        problem: RowProblem,
        outputs: RowOutputs,
        record: RowRecord,
        steps: Steps,
        stats: RowStats,
        continuous: bool = False,
    ) -> None:
        failed = next((status for status in record.statuses if status is not Status.SUCCESS), Status.SUCCESS)
        self.ts = problem.ts
        self.steps = steps
        self.stats = stats
        self.status = failed
        self.statuses = tuple(record.statuses)
        self.failures = dict(sorted(record.failures.items()))
        self.failure = next(iter(self.failures.values()), None)
        self.accuracy = 1 / record.size_of_state if record.size_of_state > 0 else math.inf
        whole = problem.layout.samples is None
        self.t1 = float(record.t1[0]) if whole else torch.from_numpy(record.t1)  # type: ignore[assignment]
        self._problem = problem
        self._outputs = outputs
        self._continuous = continuous
        self._record = record
        self._recorded = torch.is_grad_enabled() or transforms_active()

    @property
    def succeeded(self) -> Tensor:
        """Which samples reached the end of their span, or an event that ends their solve; shape ``(samples,)``."""
        return torch.tensor([status is Status.SUCCESS for status in self.statuses])

    @OnDemand
    def ys(self) -> State:
        """States at ``ts``, or what was saved of them: their structure with a leading axis ``T``.

        NaN at times that were not reached, because a solve failed or ended at an event, and behind the last time of a
        sample with fewer times than others.
        """
        problem, record, outputs = self._problem, self._record, self._outputs
        samples, times = problem.times.shape
        y0 = problem.y0
        rows = [torch.arange(samples)]
        columns = [torch.zeros(samples, dtype=torch.int64)]
        saver = problem.saver
        given = problem.ts.expand(samples, times) if problem.ts.dim() == 1 else problem.ts
        values = [y0 if saver is None else saver.rows(given[:, :1].double(), y0)]
        for step in record.steps:
            rows.append(torch.from_numpy(numpy.concatenate([step.rows[step.places], step.rows[step.end_places]])))
            columns.append(torch.from_numpy(numpy.concatenate([step.indices, step.end_indices])))
        values.append(outputs.saved)
        arrived = numpy.flatnonzero(record.t1 == problem.times[numpy.arange(samples), problem.counts - 1])
        arrived = arrived[[record.statuses[sample] is Status.SUCCESS for sample in arrived]]
        rows.append(torch.from_numpy(arrived))
        columns.append(torch.from_numpy(problem.counts[arrived] - 1))
        index = torch.from_numpy(arrived).to(y0.device)
        last = outputs.y1[index]
        if saver is not None:
            end = given[index, torch.from_numpy(problem.counts[arrived] - 1).to(y0.device)]
            last = saver.rows(end.double().unsqueeze(-1), last)
        values.append(last)
        place = (torch.cat(columns) * samples + torch.cat(rows)).to(y0.device)
        entries = torch.cat(values)
        table = entries.new_full((times * samples, entries.shape[1]), math.nan).index_copy(0, place, entries)
        if saver is not None:
            lead = (times,) if problem.layout.samples is None else (times, samples)
            return saver.structure.unflatten(table.view(*lead, -1))
        return problem.layout.to_state(table.view(times, samples, -1))

    @OnDemand
    def y1(self) -> State:
        """States at ``t1``, of the structure of ``y0``."""
        return self._problem.layout.to_state(self._outputs.y1)

    @OnDemand
    def events(self) -> tuple[FoundEvents, ...]:
        """The occurrences of each event, in the order in which the events were given."""
        problem, layout = self._problem, self._problem.layout
        parts: list[list[tuple[numpy.ndarray, numpy.ndarray, numpy.ndarray]]] = [[] for _ in problem.events]
        start = 0
        for step in self._record.steps:
            for hits in step.hits:
                stop = start + len(hits.places)
                parts[hits.event].append((numpy.arange(start, stop), step.rows[hits.places], hits.entries))
                start = stop
        found = []
        for part in parts:
            empty = (numpy.empty(0, int),) * 3
            place, samples, entries = (
                torch.from_numpy(numpy.concatenate(column)) for column in zip(*(part or [empty]), strict=True)
            )
            place = place.to(problem.y0.device)
            times, states = self._outputs.event_times, self._outputs.event_states
            if times is None or states is None:
                raise RuntimeError("a solve with events has their outputs")
            whole = layout.samples is None
            found.append(
                FoundEvents(times[place], layout.row.unflatten(states[place]), None if whole else samples, entries)
            )
        return tuple(found)

    def retake(self, index: int, *, grad: str = "direct", reference: bool = False) -> RetakenStep:
        """See `Solution.retake`."""
        return self.retake_rows([index], grad=grad, reference=reference)[0]

    def retake_rows(
        self, indices: Sequence[int] | numpy.ndarray, *, grad: str = "direct", reference: bool = False
    ) -> RetakenSteps:
        """Take accepted steps of several samples again at once; see `Solution.retake`.

        Args:
            indices: The steps, among ``steps``, each of another sample, and the samples increasing.
            grad, reference: See `Solution.retake`; with events, ``grad="full"`` is refused.
        """
        taken, evaluations = self._row_retaker.take(numpy.asarray(indices, dtype=numpy.int64), grad, reference)
        self.stats.n_retaken_field_evals += evaluations
        return taken

    @functools.cached_property
    def _row_retaker(self) -> RowStepRetaker:
        return RowStepRetaker(self._problem, self._record, self._outputs.states)

    @functools.cached_property
    def _dense(self) -> RowDense:
        if self._outputs.states is None:
            raise ValueError(NOT_DENSE)
        problem = self._problem
        with torch.set_grad_enabled(self._recorded):
            return RowDense(
                problem if self._recorded else problem.off_tape(),
                self._outputs.states,
                self._record,
                self._outputs.event_times,
                self._continuous,
            )

    def __call__(self, t: Tensor | float) -> State:
        """Return the solution at times.

        Args:
            t: Times: a number, or a tensor whose last axis is that of the samples (or of length 1, for all of them);
                of any shape where the state is a whole.

        Returns:
            States of the structure of ``y0``, with the leading axes of ``t`` but for that of the samples.

        Raises:
            ValueError: ``dense=True`` was not given, or a time lies outside the span that was solved.
        """
        return self._dense.state(t)

    def derivative(self, t: Tensor | float) -> State:
        """Return the derivative of the dense output by time; see `__call__`."""
        return self._dense.derivative(t)

    def on_tape(self) -> list[Tensor]:
        """See `Solution.on_tape`."""
        parts = self._outputs.all()
        found = [part for part in parts if part is not None and part.grad_fn is not None]
        return sorted(found, key=lambda part: part is not self._outputs.y1)

    def __repr__(self) -> str:
        failed = sum(status is not Status.SUCCESS for status in self.statuses)
        return f"RowSolution({len(self.statuses)} samples, {failed} failed, {self.stats})"


def make_row_solution(
    problem: RowProblem, outputs: RowOutputs, record: RowRecord, continuous: bool = False
) -> RowSolution:
    """Return the user's view of a row solve; see `RowDense` for the continuous adjoint's."""
    method = problem.method
    steps = RowSteps(
        record,
        outputs.y1,
        samples=problem.layout.samples,
        outputs=outputs,
        layout=problem.layout,
        local_error=None if outputs.local_error is None else problem.layout.row.unflatten(outputs.local_error),
        error_order=method.error_order,
        set_point=problem.controller.set_point(method.error_order) if method.error_order else None,
        stability=method.stability,
    )
    counter = problem.field.counter
    accepted = record.accepted()
    rejected = record.attempted - accepted
    stats = RowStats(
        counter.calls,
        int(accepted.sum()),
        int(rejected.sum()),
        n_sample_evals=counter.rows,
        accepted=torch.from_numpy(accepted),
        rejected=torch.from_numpy(rejected),
    )
    return RowSolution(problem, outputs, record, steps, stats, continuous)
