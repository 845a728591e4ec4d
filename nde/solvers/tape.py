"""Evaluations of the field that keep their tape, so that a backward pass need not make them again.

A discrete adjoint can replay every step from its state alone. Replaying the steps whose tapes still fit into a fixed
amount of memory would be waste: `TapingField` keeps those of the most recent steps, which a backward pass needs first.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from nde.solvers.field import VectorField
from nde.solvers.transforms import unwrapped

__all__ = ["Evaluation", "StepTape", "TapeTooLargeError", "TapingField", "evaluate", "is_parameter", "measured"]

_Value = TypeVar("_Value")
_UNKNOWN = 2**62


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One evaluation of the field with its tape: ``value = field(time, argument)``.

    Attributes:
        time: Leaf, where its cotangent is wanted; None otherwise.
        argument: Leaf.
        value: Result, on the tape.
    """

    time: Tensor | None
    argument: Tensor
    value: Tensor


@dataclass(frozen=True, slots=True)
class StepTape:
    """Evaluations of one accepted step.

    Attributes:
        first: The one at its beginning; None if its tape is gone.
        stages: Those that the step made, in order.
        extra: Those that its interpolation made.
    """

    first: Evaluation | None
    stages: Sequence[Evaluation]
    extra: Sequence[Evaluation]


def evaluate(field: VectorField, t: float, argument: Tensor, with_time: bool) -> Evaluation:
    """Evaluate the field on leaves of its own; autograd must be recording."""
    leaf = argument.detach().requires_grad_()
    if not with_time:
        return Evaluation(None, leaf, field(t, leaf))
    time = torch.full((), t, dtype=torch.float64, device=argument.device).requires_grad_()
    return Evaluation(time, leaf, field(time, leaf))


class TapingField(VectorField):
    """A field whose evaluations keep their tape while it hands out plain values.

    Args:
        field: The field.
        captured: Tensors that it depends on; their memory is not the tape's.
        with_times: Whether cotangents of times are wanted.
        memory: Bytes that the states of all steps and the kept tapes may use together: a record that is long
            without them leaves little to tapes.
    """

    keeps_tapes = True

    def __init__(self, field: VectorField, captured: Sequence[Tensor], with_times: bool, memory: int) -> None:
        super().__init__(field.function, field.structure, field.args)
        self._field = field
        self._captured = captured
        self._with_times = with_times
        self._room = memory
        self._size: int | None = None  # bytes of an evaluation's tape, measured at the first one
        self._taken: list[Evaluation] = []
        self._steps: deque[tuple[int, StepTape]] = deque()
        self._count = 0
        self._end: Evaluation | None = None

    def __call__(self, t: float | Tensor, y: Tensor) -> Tensor:
        """See `VectorField.__call__`."""
        if self._room <= 0 or isinstance(t, Tensor):
            return self._field(t, y)
        with torch.enable_grad():
            if self._size is None:
                evaluation, self._size = self._measured(t, y)
            else:
                evaluation = evaluate(self._field, t, y, self._with_times)
        self._taken.append(evaluation)
        return evaluation.value.detach()

    def _measured(self, t: float, y: Tensor) -> tuple[Evaluation, int]:
        """Evaluate, and return the bytes that the tape holds."""
        return measured(
            lambda: evaluate(self._field, t, y, self._with_times),
            lambda evaluation: (evaluation.argument, evaluation.value),
            self._captured,
        )

    def take(self) -> Sequence[Evaluation]:
        """See `VectorField.take`."""
        taken, self._taken = self._taken, []
        return taken

    def keep(self, y: Tensor, opening: Sequence[Evaluation], stages: Sequence[Evaluation]) -> None:
        """See `VectorField.keep`."""
        extra = self.take()
        first = opening[-1] if opening else self._end
        self._end = stages[-1] if stages else None
        if stages and self._size is not None:
            self._steps.append((self._count, StepTape(first, stages, extra)))
            self._room -= (len(stages) + len(extra)) * self._size
        self._room -= y.nbytes
        while self._room < 0 and self._steps and self._size is not None:
            _, oldest = self._steps.popleft()
            self._room += (len(oldest.stages) + len(oldest.extra)) * self._size
        self._count += 1

    def tapes(self, y1: Tensor) -> dict[int, StepTape]:
        """Hand over the tapes that were kept, by the index of their step, given the state that was reached."""
        tapes = dict(self._steps)
        self._steps.clear()
        self._end = None
        return tapes


def is_parameter(tensor: Tensor) -> bool:
    """Return whether a tensor is a leaf that gradients are wanted for, or a view of one: no tape owns its memory."""
    owner = tensor if tensor._base is None else tensor._base
    return owner.is_leaf and owner.requires_grad


class TapeTooLargeError(Exception):
    """The tape of a whole solve would hold more than it may; its steps must be replayed."""


def measured(
    make: Callable[[], _Value],
    holds: Callable[[_Value], Iterable[Tensor]],
    captured: Sequence[Tensor],
    spare: Callable[[Tensor], bool] = lambda tensor: False,
) -> tuple[_Value, int]:
    """Return what is made, and the bytes that its tape holds besides captured tensors and those to ``spare``.

    Where these cannot be measured, they count as more than there is room for, so that no tape is kept.
    """
    known = {tensor.untyped_storage().data_ptr() for tensor in captured}
    sizes: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        # where the field calls torch.func.jvp, wrappers and zeros have no memory of their own
        held = unwrapped(tensor)
        if held._is_zerotensor():
            return tensor
        if spare(tensor):
            return tensor
        storage = held.untyped_storage()
        if storage.data_ptr() not in known:
            # of a large storage that many steps share, its part; of an expanded tensor, what is there
            sizes[held.data_ptr()] = min(storage.nbytes(), held.nbytes)
        return tensor

    try:
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            made = make()
    except RuntimeError as error:
        if "saved tensor" not in str(error):
            raise
        # torch.func.grad and its like, where the field calls them, allow no hooks
        return make(), _UNKNOWN
    for tensor in holds(made):
        note(tensor)
    return made, sum(sizes.values())
