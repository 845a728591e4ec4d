"""Events: times at which a function of the solution changes its sign."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from nde.solvers.structure import State

__all__ = ["Event", "FoundEvents"]


@dataclass(frozen=True)
class Event:
    """A sign change of ``condition(t, y, *args)`` along the solution.

    It is located on the dense output to the resolution of the time axis, and its time and state are differentiable with
    respect to the initial state, the times, the arguments and whatever field, condition and ``apply`` depend on.

    A condition that is zero at the initial time is no event there. Of several events at one time, those without
    ``apply`` are all counted; those with one act one after the other, unless the jump before undoes their cause.

    Args:
        condition: Callable ``(t, y, *args)`` that returns a real tensor, or a structure's scalar function of it. Each
            entry is watched by itself. With ``per_sample=True`` the first axis is that of the samples.
        terminal: Whether the solve ends at the event; a number ends it at that occurrence (of each sample, with
            ``per_sample=True``).
        direction: 1 to notice changes from negative to positive in the direction of integration alone, -1 for the
            opposite, 0 for both.
        apply: Callable ``(t, y, *args)`` that returns the state from which the solve goes on (a jump); None to go on
            unchanged. It also acts on the last occurrence, so that the end state can be continued from.
        checks: Number of places inside each step where the sign is looked at too, against pairs of changes within one
            step, which cancel.

    Raises:
        TypeError: A callable or number is none.
        ValueError: A number is out of its range.
    """

    condition: Callable[..., Tensor]
    terminal: bool | int = True
    direction: int = 0
    apply: Callable[..., State] | None = None
    checks: int = 0

    def __post_init__(self) -> None:
        if not callable(self.condition):
            raise TypeError(f"condition must be callable as condition(t, y, *args), but is {self.condition!r}.")
        if self.apply is not None and not callable(self.apply):
            raise TypeError(f"apply must be callable as apply(t, y, *args), but is {self.apply!r}.")
        if not isinstance(self.terminal, int):
            raise TypeError(f"terminal must be True, False or a number of occurrences, but is {self.terminal!r}.")
        if self.terminal < 0:
            raise ValueError(f"terminal must not be negative, but is {self.terminal}.")
        if isinstance(self.direction, bool) or self.direction not in (-1, 0, 1):
            raise ValueError(f"direction must be -1, 0 or 1, but is {self.direction!r}.")
        if isinstance(self.checks, bool) or not isinstance(self.checks, int) or self.checks < 0:
            raise ValueError(f"checks must be a whole number, zero or more, but is {self.checks!r}.")


@dataclass(frozen=True)
class FoundEvents:
    """The occurrences of one event, in the order in which they were found (in time, for each sample).

    Attributes:
        t: Their times, shape ``(K,)``, float64, differentiable.
        y: States there, before ``apply``: the structure of the state (of one sample, with ``per_sample=True``) with a
            leading axis ``K``; differentiable.
        sample: Which sample each belongs to, shape ``(K,)``; None without ``per_sample``.
        entry: Which entry of the condition changed its sign, shape ``(K,)``.
    """

    t: Tensor
    y: State
    sample: Tensor | None
    entry: Tensor

    def __len__(self) -> int:
        return self.t.shape[0]

    def of_sample(self, sample: int) -> tuple[Tensor, State]:
        """Return times and states of one sample's occurrences.

        Raises:
            ValueError: The solve was not one with ``per_sample=True``.
        """
        if self.sample is None:
            raise ValueError("sample: the events of a solve without per_sample=True belong to the state as a whole.")
        chosen = self.sample == sample
        return self.t[chosen], _select(self.y, chosen)


def _select(value: Any, chosen: Tensor) -> Any:
    if isinstance(value, Tensor):
        return value[chosen]
    if isinstance(value, dict):
        return {key: _select(item, chosen) for key, item in value.items()}
    items = [_select(item, chosen) for item in value]
    return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
