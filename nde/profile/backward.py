"""Times the backward passes through recorded solves.

An adjoint with a backward pass of its own is one node of the graph, whose beginning and end autograd tells. On a tape,
the solver's operations are nodes like all others: a solve's part begins where the first gradient comes in through its
outputs, and ends where the gradient of its initial state is complete, at the latest with the pass itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from nde.profile.solve_record import SolveRecord
from nde.solvers.solution import Solution

__all__ = ["BackwardWatch", "inside_a_backward_pass"]

_JOINED = "_Join"  # graph nodes of the adjoints with a backward pass of their own begin with this
_DEEPEST = 12  # views between a solution's outputs and the adjoint's node
_current_pass: Callable[[], int] = torch._C._current_graph_task_id


def inside_a_backward_pass() -> bool:
    """Return whether this thread computes gradients at the moment."""
    return _current_pass() != -1


class BackwardWatch:
    """Has the backward passes through solutions timed.

    Args:
        since: Returns what times count from.
        after: Called when a pass through a solve has ended.
    """

    def __init__(self, since: Callable[[], float], after: Callable[[], None]) -> None:
        self._since, self._after = since, after
        self._open: list[_Part] = []  # on tapes, begun and not known to have ended

    def watch(self, record: SolveRecord, problem: Any, solution: Solution) -> None:
        """Have the passes through a solution timed, whenever there will be one."""
        if not torch.is_grad_enabled():
            return
        outputs = solution.on_tape()
        if not outputs or torch._C._functorch.is_functorch_wrapped_tensor(outputs[0]):
            return
        part, node = _Part(self, record), _adjoint_node(outputs[0].grad_fn)
        if node is not None:
            node.register_prehook(part.begin)
            node.register_hook(part.end)
            return
        for tensor in outputs:
            tensor.register_hook(part.begin_on_tape)
        if problem.y0.grad_fn is not None:
            problem.y0.register_hook(part.end)

    def end_those_on_tapes(self, graph_pass: int, depth: int, now: float) -> None:
        """End what is under way on tapes: what comes is the part of a solve that came before, not inside of them."""
        for part in [one for one in self._open if one.graph_pass == graph_pass and one.record.depth >= depth]:
            part.end_at(now)

    def opened(self, part: _Part) -> None:
        """Note a part that has begun on a tape, which the end of the pass ends."""
        self._open = [one for one in self._open if one.graph_pass == part.graph_pass] + [part]  # others broke off
        torch.autograd.Variable._execution_engine.queue_callback(part.end)

    def ended(self, part: _Part, start: float, end: float) -> None:
        """Note a part that has ended."""
        if part in self._open:
            self._open.remove(part)
        part.record.backward_spans.append((start - self._since(), end - self._since()))
        self._after()


class _Part:
    """One solve's part of backward passes; its methods are hooks, which must not hold the graph's nodes."""

    __slots__ = ("_start", "_watch", "graph_pass", "record")

    def __init__(self, watch: BackwardWatch, record: SolveRecord) -> None:
        self._watch, self.record = watch, record
        self._start: float | None = None
        self.graph_pass = -1

    def begin(self, *_: Any) -> None:
        """Begin; a part that an error has left without an end begins anew."""
        clock, self.graph_pass = self.record.clock, _current_pass()
        now = clock.now()
        self._watch.end_those_on_tapes(self.graph_pass, self.record.depth, now)
        clock.phase = "backward"
        self.record.backward_passes += 1
        self._start = now

    def begin_on_tape(self, *_: Any) -> None:
        """Begin, with the first of the outputs in each pass."""
        if self.graph_pass != _current_pass():
            self.begin()
            self._watch.opened(self)

    def end(self, *_: Any) -> None:
        """End, if it is under way."""
        self.end_at(self.record.clock.now())

    def end_at(self, now: float) -> None:
        """End at a time."""
        if self._start is None:
            return
        start, self._start = self._start, None
        self.record.clock.phase = "retaken"
        self._watch.ended(self, start, now)


def _adjoint_node(node: Any) -> Any:
    """Return the graph node of an adjoint's own backward pass behind some outputs; None with a tape."""
    for _ in range(_DEEPEST):
        if node is None:
            return None
        if type(node).__name__.startswith(_JOINED):
            return node
        later = [after for after, _ in node.next_functions if after is not None]
        if len(later) != 1:
            return None
        node = later[0]
    return None
