"""The public handle: `record` and what it returns."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

import torch

from nde.adjoint.observed import observe_with, observer
from nde.profile.observer import Recorder
from nde.profile.solve_record import SolveRecord
from nde.profile.statistics import Times, accounted

if TYPE_CHECKING:  # imported where they are used: plots, tables and re-solves are not what recording needs
    from pathlib import Path

    from nde.profile.advice import Advice

__all__ = ["Cost", "record"]


def record(
    model: torch.nn.Module | None = None, *, memory: bool = False, samples: bool = False, keep: bool = True
) -> Cost:
    """Return a context in which every solve is recorded: ``with nde.profile.record() as cost: ...``.

    Solves of this package and, through `nde.compat`, of code written for torchdiffeq, torchsde and torchcde, their
    backward passes too, also those that run after the block. On accelerators, times wait for the device, which makes
    the whole slower.

    Args:
        model: Fields that are modules in it, or call one, are called by their names there.
        memory: Whether to count what solves keep for their backward passes; it costs time for every saved tensor.
        samples: Whether to note for which sample each step was hardest; it costs a pass over the error of every step.
            Solves with ``per_sample=True`` tell it anyhow.
        keep: Whether to keep what `Cost.advice` needs to solve again: initial state, times and field of the hardest
            solve of each field.

    Raises:
        TypeError: ``model`` is no module.
    """
    if model is not None and not isinstance(model, torch.nn.Module):
        raise TypeError(f"model must be an nn.Module, but is a {type(model).__name__}.")
    return Cost(Recorder(model, memory=memory, samples=samples, keep=keep))


class Cost:
    """What solves cost; made by `record`.

    Attributes:
        seconds: Time of the block, so far.
    """

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._before: Any = None
        self._inside = False
        self._ended: float | None = None

    def __enter__(self) -> Cost:
        if self._inside:
            raise RuntimeError("this recording is under way. Make another one with nde.profile.record().")
        # a block that is entered again goes on with the time of the one before
        self._before, self._inside = observer(), True
        self._recorder.began = time.perf_counter() - (self._ended or 0.0)
        self._ended = None
        observe_with(self._recorder)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        observe_with(self._before)
        self._ended = time.perf_counter() - self._recorder.began
        self._inside = False

    @property
    def seconds(self) -> float:
        """Time of the block, so far."""
        return time.perf_counter() - self._recorder.began if self._ended is None else self._ended

    @property
    def solves(self) -> list[SolveRecord]:
        """The solves, in the order in which they began."""
        return self._recorder.solves

    @property
    def iterations(self) -> int:
        """Number of training iterations: a new one begins with the first solve after a backward pass."""
        return max((solve.iteration for solve in self.solves), default=-1) + 1

    def iteration(self) -> None:
        """Say that a new iteration begins, where the order of solves and backward passes does not."""
        if self.solves and self.solves[-1].iteration == len(self._recorder.iterations_began) - 1:
            self._recorder.next_iteration()

    def times(self, iteration: int | None = None, label: str | None = None) -> Times:
        """Return where the time went: of the whole block, or of one iteration, which lasts until the next one begins.

        Args:
            iteration: Its number; None for all.
            label: Whose solves to count, everything else being elsewhere; None for those of all fields.

        Raises:
            ValueError: There is no such iteration or no such field.
        """
        began = self._recorder.iterations_began
        since, total = 0.0, self.seconds
        if iteration is not None:
            if isinstance(iteration, bool) or not isinstance(iteration, int) or not 0 <= iteration < self.iterations:
                raise ValueError(f"iteration must be from 0 to {self.iterations - 1}, but is {iteration!r}.")
            later = began[iteration + 1 : iteration + 2]
            since, total = began[iteration], min([total, *later])
        solves = self.solves
        if label is not None:
            solves = [solve for solve in solves if solve.label == label]
            if not solves:
                known = ", ".join(sorted({solve.label for solve in self.solves})) or "none, as nothing was recorded"
                raise ValueError(f"label must be one of {known}, but is {label!r}.")
        return accounted(solves, total, since)

    def summary(self) -> str:
        """Return a table to read: where evaluations and time go, which times and samples are hard."""
        from nde.profile.summary import summarize

        return summarize(self)

    def plot(self, label: str | None = None) -> Any:
        """Return a matplotlib figure of one field's solves, of the one with the most evaluations by default.

        Raises:
            ValueError: Nothing was recorded, or no field has this name.
            ImportError: matplotlib is not installed.
        """
        from nde.profile.plots import plot_cost

        return plot_cost(self, label)

    def advice(self, label: str | None = None, **options: Any) -> Advice:
        """Solve the hardest recorded solve again by other methods, tolerances and with a step size per sample.

        See `nde.profile.advise` for the options.
        """
        from nde.profile.advice import advise

        return advise(self, label, **options)

    def to_pandas(self) -> tuple[Any, Any]:
        """Return two data frames: one row for each solve, and one for each attempted step.

        Raises:
            ImportError: pandas is not installed.
        """
        from nde.profile.export import to_pandas

        return to_pandas(self)

    def to_json(self, path: str | os.PathLike[str]) -> Path:
        """Write all that was recorded as JSON, and return the path."""
        from nde.profile.export import to_json

        return to_json(self, path)

    def to_chrome_trace(self, path: str | os.PathLike[str]) -> Path:
        """Write solves and steps as a trace for ui.perfetto.dev or chrome://tracing, and return the path."""
        from nde.profile.export import to_chrome_trace

        return to_chrome_trace(self, path)

    def to_tensorboard(self, writer: Any) -> None:
        """Add scalars for each iteration to a ``SummaryWriter``, or to one in a folder of that name."""
        from nde.profile.export import to_tensorboard

        to_tensorboard(self, writer)

    def to_html(self, path: str | os.PathLike[str], title: str = "Solver cost", advice: Sequence[Advice] = ()) -> Path:
        """Write a report that needs nothing but a browser, with what `advice` has returned, and return the path."""
        from nde.profile.html import to_html

        return to_html(self, path, title, advice)

    def __repr__(self) -> str:
        calls = sum(solve.forward.field for solve in self.solves)
        return f"Cost({len(self.solves)} solves, {calls} evaluations, {self.seconds:.3g} s)"
