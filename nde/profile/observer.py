"""Looks on while problems are solved, and fills a record of each."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy
import torch
from torch import Tensor

from nde.adjoint import ADJOINTS, Adjoint
from nde.profile.backward import BackwardWatch, inside_a_backward_pass
from nde.profile.clock import FieldClock
from nde.profile.labels import Labels
from nde.profile.repeat import Repeat
from nde.profile.solve_record import SolveRecord
from nde.profile.watcher import Watcher
from nde.solvers.rows.problem import RowProblem
from nde.solvers.sde.field import SDEField
from nde.solvers.sde.langevin_field import LangevinField
from nde.solvers.sde.rows import RowSDEField
from nde.solvers.solution import Solution
from nde.solvers.structure import StateStructure

__all__ = ["Recorder"]


class Recorder:
    """Records solves; see `nde.profile.record` for the arguments."""

    def __init__(self, model: torch.nn.Module | None, *, memory: bool, samples: bool, keep: bool) -> None:
        self.solves: list[SolveRecord] = []
        self.began = time.perf_counter()
        self.iterations_began = [0.0]
        self._labels = Labels(model)
        self._memory, self._samples, self._keep = memory, samples, keep
        self._thread = threading.local()
        self._hardest: dict[str, SolveRecord] = {}
        self._after_backward = False
        self._backward = BackwardWatch(lambda: self.began, self._note_backward)

    def next_iteration(self) -> None:
        """Begin an iteration of a training."""
        self.iterations_began.append(time.perf_counter() - self.began)
        self._after_backward = False

    def _note_backward(self) -> None:
        self._after_backward = True

    def observe(self, problem: Any, adjoint: Adjoint, solve: Callable[[Any], Any]) -> Any:
        """See `nde.adjoint.observed.Observer`."""
        # what is solved for a gradient, where a field solves or is evaluated again, belongs to the iteration before
        if self._after_backward and not inside_a_backward_pass():
            self.next_iteration()
        depth = getattr(self._thread, "depth", 0)
        record = self._record_of(problem, adjoint, depth)
        self.solves.append(record)
        clock = record.clock
        watcher = Watcher(record, problem, self._samples)
        watched = _changed(problem, field=problem.field.fresh(clock.wrap), watcher=watcher)
        self._thread.depth = depth + 1
        clock.phase = "forward"
        start = clock.now()
        record.began = start - self.began
        try:
            if self._memory and torch.is_grad_enabled():
                with self._counting(record):
                    solution = solve(watched)
            else:
                solution = solve(watched)
        except BaseException as error:
            record.status, record.message = type(error).__name__, str(error).split("\n")[0]
            raise
        finally:
            record.seconds = clock.now() - start
            clock.phase = "retaken"
            self._thread.depth = depth
        self._finish(record, problem, solution)
        if self._keep:
            self._keep_hardest(record, problem, adjoint)
        return solution

    def _keep_hardest(self, record: SolveRecord, problem: Any, adjoint: Adjoint) -> None:
        """Keep what it takes to solve again, of the hardest solve of each field; the latest one if several are."""
        if record.status != "SUCCESS":
            return
        before = self._hardest.get(record.label)
        if before is not None:
            if before.forward.field > record.forward.field:
                return
            before.again = None
        record.again = Repeat.of(problem, adjoint)
        self._hardest[record.label] = record

    def _record_of(self, problem: Any, adjoint: Adjoint, depth: int) -> SolveRecord:
        rows, field, method = isinstance(problem, RowProblem), problem.field, problem.method
        whole: StateStructure = problem.layout.structure if rows else problem.structure
        shape = tuple(whole.leaves[0].shape) if len(whole.leaves) == 1 else (whole.entries,)
        rtol, atol = (value if isinstance(value, float) else math.nan for value in (problem.rtol, problem.atol))
        device = whole.device
        return SolveRecord(
            index=len(self.solves),
            kind=_kind(field),
            label=self._labels.of(field.namesake),
            method=str(method.name),
            adjoint=_name_of(adjoint),
            per_sample=rows and problem.layout.samples is not None,
            shape=shape,
            samples=shape[0] if len(whole.leaves) == 1 and len(shape) > 1 else None,
            span=_span_of_rows(problem) if rows else (problem.times[0], problem.times[-1]),
            outputs=int(problem.counts.max()) if rows else len(problem.times),
            rtol=rtol,
            atol=atol,
            adaptive=problem.controller.adaptive,
            iteration=len(self.iterations_began) - 1,
            depth=depth,
            clock=FieldClock(device if device is not None and device.type == "cuda" else None),
            stability=method.stability,
            error_order=method.error_order,
            set_point=problem.controller.set_point(method.error_order) if method.error_order else None,
        )

    @contextlib.contextmanager
    def _counting(self, record: SolveRecord) -> Iterator[None]:
        """Count the bytes of what the solve saves for a backward pass, each storage once."""
        sizes: dict[int, int] = {}

        def note(tensor: Tensor) -> Tensor:
            if not (tensor.is_leaf and tensor.requires_grad):
                storage = tensor.untyped_storage()
                sizes[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            yield
        record.tape_bytes = sum(sizes.values())

    def _finish(self, record: SolveRecord, problem: Any, solution: Solution) -> None:
        stats, steps = solution.stats, solution.steps
        record.status = solution.status.name
        if solution.failure is not None:
            record.message = solution.failure.message(solution.status).split("\n")[0]
        record.accepted, record.rejected = stats.n_accepted, stats.n_rejected
        record.steps.fill(steps.error, steps.stiffness)
        self._backward.watch(record, problem, solution)


def _changed(problem: Any, **changes: Any) -> Any:
    """Return a problem with other values: `dataclasses.replace`, in a tenth of its time."""
    changed = object.__new__(type(problem))
    changed.__dict__.update(problem.__dict__)
    changed.__dict__.update(changes)
    return changed


def _span_of_rows(problem: RowProblem) -> tuple[float, float]:
    """Return the first and the last time of all rows, in their direction."""
    times = problem.times
    first, last = times[:, 0], times[numpy.arange(len(times)), problem.counts - 1]
    if last[0] < first[0]:
        return float(first.max()), float(last.min())
    return float(first.min()), float(last.max())


def _kind(field: Any) -> str:
    if isinstance(field, LangevinField):
        return "langevin"
    return "sde" if isinstance(field, (SDEField, RowSDEField)) else "ode"


def _name_of(adjoint: Adjoint) -> str:
    for name, known in ADJOINTS.items():
        if type(adjoint) is type(known):
            return name
    return type(adjoint).__name__
