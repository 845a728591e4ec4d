"""Looks on while problems are solved, and fills a record of each."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy
import torch
from torch import Tensor

from nde.adjoint import ADJOINTS, Adjoint
from nde.profile.clock import FieldClock
from nde.profile.labels import Labels
from nde.profile.samples import worst_sample
from nde.profile.solve_record import SolveRecord
from nde.solvers.method import StepResult
from nde.solvers.rows.problem import RowProblem
from nde.solvers.sde.field import SDEField
from nde.solvers.sde.langevin_field import LangevinField
from nde.solvers.sde.rows import RowSDEField
from nde.solvers.solution import Solution
from nde.solvers.structure import StateStructure

__all__ = ["Recorder"]

_JOINED = re.compile(r"^_Join\w*Backward$")  # graph nodes of the adjoints with a backward pass of their own
_DEEPEST = 12  # views between a solution's outputs and the adjoint's node


class Recorder:
    """Records solves; see `nde.profile.record` for the arguments."""

    def __init__(self, model: torch.nn.Module | None, *, memory: bool, samples: bool, keep: bool) -> None:
        self.solves: list[SolveRecord] = []
        self.began = time.perf_counter()
        self.iteration = 0
        self._labels = Labels(model)
        self._memory, self._samples, self._keep = memory, samples, keep
        self._depth = 0
        self._after_backward = False

    def next_iteration(self) -> None:
        """Begin an iteration of a training."""
        self.iteration += 1
        self._after_backward = False

    def observe(self, problem: Any, adjoint: Adjoint, solve: Callable[[Any], Any]) -> Any:
        """See `nde.adjoint.observed.Observer`."""
        if self._after_backward:
            self.next_iteration()
        record = self._record_of(problem, adjoint)
        self.solves.append(record)
        clock = record.clock
        watched = dataclasses.replace(
            problem, field=problem.field.fresh(clock.wrap), watcher=_Watcher(record, problem, self._samples)
        )
        self._depth += 1
        clock.phase = "forward"
        start = clock.now()
        try:
            with self._counting(record, problem):
                solution = solve(watched)
        except BaseException as error:
            record.status, record.message = type(error).__name__, str(error).split("\n")[0]
            raise
        finally:
            record.seconds = clock.now() - start
            clock.phase = "retaken"
            self._depth -= 1
        self._finish(record, solution)
        if self._keep and not isinstance(problem, RowProblem):
            record.again = dataclasses.replace(problem, y0=problem.y0.detach(), ts=problem.ts.detach())
        return solution

    def _record_of(self, problem: Any, adjoint: Adjoint) -> SolveRecord:
        rows, field, method = isinstance(problem, RowProblem), problem.field, problem.method
        whole: StateStructure = problem.layout.structure if rows else problem.structure
        times = problem.times[:, [0]] if rows else problem.times
        first, last = (float(times.min()), float(numpy.nanmax(problem.times))) if rows else (times[0], times[-1])
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
            span=(first, last),
            outputs=int(problem.counts.max()) if rows else len(problem.times),
            rtol=rtol,
            atol=atol,
            adaptive=problem.controller.adaptive,
            iteration=self.iteration,
            depth=self._depth,
            clock=FieldClock(device if device is not None and device.type == "cuda" else None),
            began=time.perf_counter() - self.began,
            stability=method.stability,
            error_order=method.error_order,
            set_point=problem.controller.set_point(method.error_order) if method.error_order else None,
        )

    @contextlib.contextmanager
    def _counting(self, record: SolveRecord, problem: Any) -> Iterator[None]:
        """Count the bytes of what the solve saves for a backward pass, each storage once, if that was asked for."""
        if not self._memory or not torch.is_grad_enabled():
            yield
            return
        sizes: dict[int, int] = {}

        def note(tensor: Tensor) -> Tensor:
            if not (tensor.is_leaf and tensor.requires_grad):
                storage = tensor.untyped_storage()
                sizes[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            yield
        record.tape_bytes = sum(sizes.values())

    def _finish(self, record: SolveRecord, solution: Solution) -> None:
        stats, steps = solution.stats, solution.steps
        record.status = solution.status.name
        if solution.failure is not None:
            record.message = solution.failure.message(solution.status).split("\n")[0]
        record.accepted, record.rejected = stats.n_accepted, stats.n_rejected
        with torch.no_grad():
            error, stiffness = (
                None if value is None else value.detach().double().cpu().numpy()
                for value in (steps.error, steps.stiffness)
            )
        record.steps.fill(error, stiffness)
        self._watch_backward(record, solution)

    def _watch_backward(self, record: SolveRecord, solution: Solution) -> None:
        """Have the backward passes through a solution timed."""
        if not torch.is_grad_enabled():
            return
        outputs = [leaf for leaf in _leaves(solution.y1) if leaf.grad_fn is not None]
        if not outputs or torch._C._functorch.is_functorch_wrapped_tensor(outputs[0]):
            return
        node = _adjoint_node(outputs[0].grad_fn)
        starts: list[float] = []

        def begin(*_: Any) -> None:
            if starts:
                return
            record.clock.phase = "backward"
            record.backward_passes += 1
            starts.append(record.clock.now())
            if node is None:  # the tape's operations are the user's and the solver's alike, to the end of the pass
                torch.autograd.Variable._execution_engine.queue_callback(end)

        def end(*_: Any) -> None:
            if not starts:
                return
            record.backward_seconds += record.clock.now() - starts.pop()
            record.clock.phase = "retaken"
            self._after_backward = True

        if node is not None:
            node.register_prehook(begin)
            node.register_hook(end)
        else:
            for leaf in outputs:
                leaf.register_hook(begin)


class _Watcher:
    """Adds attempted steps to a record; see `nde.solvers.watching.StepWatcher`."""

    def __init__(self, record: SolveRecord, problem: Any, samples: bool) -> None:
        self._record = record
        self._clock = record.clock
        self._problem = problem if samples and not isinstance(problem, RowProblem) else None
        self._start = 0.0
        self._first = True

    def begins(self) -> None:
        clock = self._clock
        if self._first and clock.phase == "forward":
            self._record.opening_calls = clock.calls["forward"].field
            self._first = False
        self._start = time.perf_counter() if clock.synchronize is None else clock.now()

    def starts_over(self) -> None:
        self._record.steps.clear()
        self._first = True

    def attempted(self, t: float, h: float, error: float, accepted: bool, y: Tensor, result: StepResult) -> None:
        clock = self._clock
        seconds = (time.perf_counter() if clock.synchronize is None else clock.now()) - self._start
        if clock.phase == "backward":
            self._record.backward_steps.add(t, h, error, accepted, result.iterations, seconds, -1)
            return
        worst = -1 if self._problem is None else worst_sample(self._problem, y, result)
        self._record.steps.add(t, h, error, accepted, result.iterations, seconds, worst)

    def rows_attempted(self, rows: Any, t: Any, h: Any, error: Any, accepted: Any, result: Any) -> None:
        clock = self._clock
        seconds = (time.perf_counter() if clock.synchronize is None else clock.now()) - self._start
        table = self._record.backward_steps if clock.phase == "backward" else self._record.steps
        table.add_rows(rows, t, h, error, accepted, int(result.iterations), seconds)


def _kind(field: Any) -> str:
    if isinstance(field, LangevinField):
        return "langevin"
    return "sde" if isinstance(field, (SDEField, RowSDEField)) else "ode"


def _name_of(adjoint: Adjoint) -> str:
    for name, known in ADJOINTS.items():
        if type(adjoint) is type(known):
            return name
    return type(adjoint).__name__


def _leaves(state: Any) -> Iterator[Tensor]:
    if isinstance(state, Tensor):
        yield state
    else:
        for part in state.values() if isinstance(state, dict) else state:
            yield from _leaves(part)


def _adjoint_node(node: Any) -> Any:
    """Return the graph node of an adjoint's own backward pass behind some outputs; None with a tape."""
    for _ in range(_DEEPEST):
        if node is None:
            return None
        if _JOINED.match(type(node).__name__):
            return node
        later = [after for after, _ in node.next_functions if after is not None]
        if len(later) != 1:
            return None
        node = later[0]
    return None
