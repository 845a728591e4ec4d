"""What a row solve leaves: its differentiable outputs, put together from their pieces, and the host's record."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy
import torch
from torch import Tensor

from nde.solvers.rows.norms import RowMeasure, RowNorm
from nde.solvers.rows.problem import RowProblem
from nde.solvers.rows.steps import RowStep
from nde.solvers.status import Failure, Status

__all__ = ["Pieces", "RowOutputs", "RowRecord"]

Vector = numpy.ndarray


@dataclass
class RowOutputs:
    """The differentiable outputs of a row solve; see the record for which sample and time each row belongs to.

    Attributes:
        saved: States at the inner output times, in the order of the record, shape ``(outputs, row size)``, or what is
            saved of them.
        y1: States that were reached, shape ``(samples, row size)``.
        error, stiffness: One value per accepted step of a sample, in the order of the record.
        local_error: Error vectors, likewise; None unless kept.
        states: States at the ends of these steps, likewise; None unless kept.
        event_times: Times of all occurrences, in the order of the record.
        event_states: States there.
        later: Returns ``error`` and ``stiffness`` where no gradient can reach them and they wait until they are asked
            for, because putting them together costs as much as the steps of a narrow state; None otherwise.
    """

    saved: Tensor
    y1: Tensor
    error: Tensor | None
    stiffness: Tensor | None
    local_error: Tensor | None
    states: Tensor | None
    event_times: Tensor | None
    event_states: Tensor | None
    later: Callable[[], tuple[Tensor | None, Tensor | None]] | None = None

    def all(self) -> tuple[Tensor | None, ...]:
        """Return the tensors in the order of the attributes."""
        return (
            self.saved,
            self.y1,
            self.error,
            self.stiffness,
            self.local_error,
            self.states,
            self.event_times,
            self.event_states,
        )


@dataclass
class RowRecord:
    """What happened in a row solve, on the host.

    Attributes:
        attempted: Steps of each sample, the rejected ones too.
        steps: The iterations, accepted rows only.
        statuses: How each sample ended.
        failures: Where the failed samples failed.
        t1: Time that each sample reached.
        size_of_state: Scaled norm of the initial state.
    """

    attempted: Vector
    statuses: list[Status]
    t1: Vector
    steps: list[RowStep] = field(default_factory=list)
    failures: dict[int, Failure] = field(default_factory=dict)
    size_of_state: float = 0.0

    def joined(self, name: str) -> Vector:
        """Return an attribute of all steps as one vector."""
        return numpy.concatenate([getattr(step, name) for step in self.steps] or [numpy.empty(0)])

    def accepted(self) -> Vector:
        """Return the number of accepted steps of each sample."""
        return numpy.bincount(self.joined("rows").astype(int), minlength=len(self.attempted))


@dataclass
class Pieces:
    """Outputs as they arrive.

    Attributes:
        measures: What was read off the steps of all rows at work, by iteration.
        chosen: Which of these steps were accepted; None for all of them.
    """

    saved: list[Tensor] = field(default_factory=list)
    final: list[Tensor] = field(default_factory=list)
    final_rows: list[Vector] = field(default_factory=list)
    measures: list[RowMeasure] = field(default_factory=list)
    chosen: list[Vector | None] = field(default_factory=list)
    local_error: list[Tensor] = field(default_factory=list)
    states: list[Tensor] = field(default_factory=list)
    event_times: list[Tensor] = field(default_factory=list)
    event_states: list[Tensor] = field(default_factory=list)

    def outputs(self, problem: RowProblem, norm: RowNorm, dense: bool, lazy: bool) -> RowOutputs:
        """Put them together.

        Args:
            problem: The problem.
            norm: The norm of all samples.
            dense: Whether states at the ends of steps are outputs.
            lazy: Whether the estimates may wait.
        """
        y0, size = problem.y0, problem.y0.shape[1]
        order = numpy.argsort(numpy.concatenate(self.final_rows))
        final = torch.cat(self.final).index_select(0, torch.from_numpy(order).to(y0.device))
        has_error, events = problem.method.error_order is not None, bool(problem.events)
        nothing = y0.new_empty(0, size) if problem.saver is None else problem.saver.empty(y0)

        def estimates() -> tuple[Tensor | None, Tensor | None]:
            return self._estimates(problem, norm)

        def joined(parts: list[Tensor], wanted: bool, *shape: int, double: bool = False) -> Tensor | None:
            if not wanted:
                return None
            return torch.cat(parts) if parts else y0.new_empty(0, *shape, dtype=torch.float64 if double else None)

        return RowOutputs(
            torch.cat(self.saved) if self.saved else nothing,
            final,
            *((None, None) if lazy else estimates()),
            joined(self.local_error, has_error and problem.keep_local_errors, size),
            joined(self.states, dense, size),
            joined(self.event_times, events, double=True),
            joined(self.event_states, events, size),
            estimates if lazy else None,
        )

    def _estimates(self, problem: RowProblem, norm: RowNorm) -> tuple[Tensor | None, Tensor | None]:
        """Return error and stiffness of all accepted steps; None where the method has none."""
        method, empty = problem.method, problem.y0.new_empty(0)
        error, stiffness = empty, empty
        if self.measures:
            read = norm.estimates(RowMeasure.joined(self.measures, self._taken(problem.y0.device)))
            error, stiffness = (empty if value is None else value for value in read)
        return error if method.error_order is not None else None, stiffness if method.has_stiffness else None

    def _taken(self, device: torch.device) -> Tensor | None:
        """Return the places of the accepted steps among all that were measured; None if that is all of them."""
        if all(chosen is None for chosen in self.chosen):
            return None
        taken, start = [], 0
        for measure, chosen in zip(self.measures, self.chosen, strict=True):
            count = measure.sums.shape[1]
            taken.append(start + (numpy.arange(count) if chosen is None else chosen))
            start += count
        return torch.from_numpy(numpy.concatenate(taken)).to(device)
