"""The vector field on rows: one row per sample, each at a time of its own.

Finished and failed samples leave the batch, so the field sees the rows that are still at work. What belongs to a sample
and is no state (a parameter, a control) is passed as `PerSample`, of which the field receives the same rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy
import torch
from torch import Tensor

from nde.solvers.field import Check, Keeper, VectorField, Wrap, as_it_is, check_unwritten, checked_value, versions_of
from nde.solvers.structure import State, StateStructure

__all__ = ["Counted", "Counter", "PerSample", "RowField", "RowLayout", "whole"]

Rows = numpy.ndarray  # indices of samples, int64


@dataclass(frozen=True)
class PerSample:
    """An argument with one entry per sample along its first axis, of which a field receives those being evaluated.

    Args:
        value: A tensor, or a nested tuple / list / dict of tensors, each of shape ``(batch, ...)``.
    """

    value: State


def whole(args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return arguments with every `PerSample` replaced by its whole value."""
    return tuple(arg.value if isinstance(arg, PerSample) else arg for arg in args)


def _pick(value: State, index: Tensor) -> State:
    if isinstance(value, Tensor):
        return value.index_select(0, index)
    if isinstance(value, dict):
        return {key: _pick(item, index) for key, item in value.items()}
    items = [_pick(item, index) for item in value]
    return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)


class RowLayout:
    """How a state is laid out as rows.

    Args:
        structure: Structure of the user's state.
        samples: Length of the batch axis; None if the whole state is one row.
        row: Structure of one row: of a sample without the batch axis, or the structure itself.
    """

    def __init__(self, structure: StateStructure, samples: int | None, row: StateStructure) -> None:
        self.structure = structure
        self.samples = samples
        self.row = row
        self.count = 1 if samples is None else samples
        #: rank of the first leaf, batch axis included: times are handed to the field with as many axes
        self.rank = len(structure.leaves[0].shape)

    def to_rows(self, state: State, name: str, rows: int | None = None) -> Tensor:
        """Return a state as a matrix with one row per sample."""
        if self.samples is None:
            return self.row.flatten(state, name).unsqueeze(0)
        return self.row.flatten(state, name, (self.count if rows is None else rows,))

    def to_state(self, rows: Tensor) -> State:
        """Return the state of rows, shape ``(*lead, rows, row size)``; leading axes are kept."""
        return self.row.unflatten(rows.squeeze(-2) if self.samples is None else rows)


@dataclass
class Counter:
    """Evaluations of a field: calls, and rows in all of them.

    Attributes:
        check: Sees the first value; see `VectorField.watch`.
        diffusion_calls, diffusion_check: The same of the diffusion, where there is one.
        kept, kept_diffusion: Keep values from being overwritten.
    """

    calls: int = 0
    rows: int = 0
    check: Check | None = None
    diffusion_calls: int = 0
    diffusion_check: Check | None = None
    kept: Keeper = field(default_factory=Keeper)
    kept_diffusion: Keeper = field(default_factory=Keeper)


class RowField:
    """``field(t, y, *args)`` on rows.

    Args:
        function: The user's callable.
        layout: The layout of the state.
        args: Further arguments.
        rows: Samples that the rows are; None for all of them.
        counter: Where evaluations are counted.

    Attributes:
        name: What the function is called in messages.
        stochastic: Whether there is a diffusion. A path must be asked for the very ends of steps, so that they come in
            float64 whatever the dtype of the state.
    """

    name = "field"
    stochastic = False

    def __init__(
        self,
        function: Callable[..., Any],
        layout: RowLayout,
        args: tuple[Any, ...],
        rows: Rows | None = None,
        counter: Counter | None = None,
    ) -> None:
        self.function = function
        self.layout = layout
        self.counter = counter or Counter()
        self.all_args = args
        self.args = args if layout.samples is not None else whole(args)
        if layout.samples is not None and any(isinstance(arg, PerSample) for arg in args):
            if rows is None:
                self.args = whole(args)
            else:
                index = torch.from_numpy(rows).to(layout.structure.device)
                self.args = tuple(_pick(arg.value, index) if isinstance(arg, PerSample) else arg for arg in args)
        self._plain = layout.row.plain_shape
        # rows are already what the user's functions take where a sample is a vector of the working dtype
        self._direct = layout.samples is not None and layout.rank == 2 and self._plain is not None
        self._time_dtype = layout.structure.time_dtype

    @property
    def evaluations(self) -> int:
        """Number of calls so far."""
        return self.counter.calls

    @property
    def structure(self) -> StateStructure:
        """Structure of one row."""
        return self.layout.row

    @property
    def namesake(self) -> Any:
        """The function of the user's that the field is named after."""
        return self.function

    @property
    def functions(self) -> Any:
        """What of the user's it calls."""
        return self.function

    def of(self, rows: Rows) -> RowField:
        """Return the field of other samples, counted together with this one."""
        return self if self.layout.samples is None else self._again(rows, self.counter)

    def counted(self, counter: Counter) -> RowField:
        """Return the field of all samples, counted elsewhere."""
        return self._again(None, counter)

    def fresh(self, wrap: Wrap = as_it_is) -> RowField:
        """Return the field of all samples with a count of its own; see `VectorField.fresh`."""
        return self._again(None, Counter(), wrap)

    def off_tape(self) -> RowField:
        """Return the field of all samples, of which autograd records nothing."""
        return self._again(None, self.counter, _without_tape)

    def sources(self, method: Any, t: Tensor, h: Tensor, y: Tensor, carry: Any) -> Sequence[str | None]:
        """Return what of the user's was not finite in failed steps of these rows; see `VectorField.source`."""
        return [None] * y.shape[0]

    def watch(self, check: Check) -> None:
        """See `VectorField.watch`."""
        self.counter.check = check

    def flat(self) -> VectorField:
        """Return the field of the only row, for methods that take flat vectors."""
        field = Counted(self.function, self.layout.structure, self.args)
        field.counter = self.counter
        return field

    def _again(self, rows: Rows | None, counter: Counter, wrap: Wrap = as_it_is) -> RowField:
        return RowField(wrap(self.function, "field"), self.layout, self.all_args, rows, counter)

    def arguments(self, t: Tensor, y: Tensor) -> tuple[Tensor, State]:
        """Return a time and a state as the user's functions see them.

        Args:
            t: Times, shape ``(rows, 1)``.
            y: States, shape ``(rows, row size)``.
        """
        if self._direct and t.dtype == self._time_dtype:
            return t, y
        layout = self.layout
        time = t.to(dtype=self._time_dtype, device=y.device)
        if self._direct:
            return time, y
        if layout.samples is None:
            return time.reshape(()), layout.row.unflatten(y.squeeze(0))
        return time.reshape(time.shape[0], *[1] * (layout.rank - 1)), layout.row.unflatten(y)

    def __call__(self, t: Tensor, y: Tensor) -> Tensor:
        """Evaluate the field.

        Args:
            t: Times, shape ``(rows, 1)``.
            y: States, shape ``(rows, row size)``.

        Returns:
            Their time derivatives, shape ``(rows, row size)``.

        Raises:
            TypeError: The field returned something of another structure or dtype.
            ValueError: The field returned another shape.
        """
        counter, rows = self.counter, y.shape[0]
        if counter.check is not None:
            check, counter.check = counter.check, None
            return checked_value(check, self, t, y)  # type: ignore[arg-type]  # times are tensors here
        counter.calls += 1
        counter.rows += rows
        direct = self._direct and t.dtype == self._time_dtype
        time, state = (t, y) if direct else self.arguments(t, y)
        versions = versions_of(t, y) if counter.calls == 1 else None
        try:
            value = self.function(time, state, *self.args)
        except Exception as error:
            error.add_note(self.note(self.name, counter.calls, rows))
            raise
        if versions is not None:
            check_unwritten(versions, versions_of(t, y), self.name)
        if counter.calls == 1 and isinstance(value, Tensor):
            self.layout.structure.check_device(value, f"the value of {self.name}(t, y)")
        return counter.kept(self.rows_of(value, y, f"the value of {self.name}(t, y)"))

    def note(self, name: str, calls: int, rows: int) -> str:
        """Return what is added to an exception that a function of the user's raised."""
        return (
            f"raised by the {name} in its evaluation number {calls}, at {rows} of {self.layout.count} samples; it is "
            f"called as {name}(t, y{', *args' if self.args else ''})"
            + ("" if self.layout.samples is None else ", with t and y of the samples that are still at work")
        )

    def rows_of(self, value: State, y: Tensor, name: str) -> Tensor:
        """Return a value of the user's function as rows, like ``y``."""
        rows = y.shape[0]
        if self._direct and isinstance(value, Tensor) and value.shape == y.shape and value.dtype == y.dtype:
            return value
        plain = self._plain
        if plain is not None and isinstance(value, Tensor) and value.dtype == y.dtype:
            expected = plain if self.layout.samples is None else (rows, *plain)
            if value.shape == expected:
                return value.reshape(rows, -1)
        return self.layout.to_rows(value, name, rows)


def _without_tape(function: Callable[..., Any], role: str) -> Callable[..., Any]:
    recorded: Callable[..., Any] = torch.no_grad()(function)
    return recorded


class Counted(VectorField):
    """A field on flat vectors that is counted, and checked, together with one on rows.

    Attributes:
        counter: Where its evaluations are counted.
    """

    counter: Counter

    def __call__(self, t: float | Tensor, y: Tensor) -> Tensor:
        """See `VectorField.__call__`."""
        counter = self.counter
        if counter.check is not None:
            check, counter.check = counter.check, None
            return checked_value(check, self, t, y)
        counter.calls += 1
        counter.rows += 1
        return super().__call__(t, y)
