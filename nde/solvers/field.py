"""The user's vector field as a function of a flat vector, counted and checked.

Uses `structure`; methods and adjoints call the field only through it, so that every evaluation is seen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from nde.solvers.structure import State, StateStructure
from nde.solvers.transforms import share_memory

__all__ = ["Check", "Keeper", "VectorField", "Wrap", "check_unwritten", "checked_value", "as_it_is", "versions_of"]

Check = Callable[[Tensor, Sequence[Tensor], Callable[[], Tensor]], None]

#: what is called in the place of a function of the user's, given it and its role: "field", "diffusion" or "both"
Wrap = Callable[[Callable[..., Any], str], Callable[..., Any]]


def as_it_is(function: Callable[..., Any], role: str) -> Callable[..., Any]:
    """Return a function as it is: the `Wrap` that changes nothing."""
    return function


class VectorField:
    """``field(t, y, *args)`` on flat vectors.

    Args:
        function: The user's callable.
        structure: Structure of its state.
        args: Further arguments handed to it unchanged.

    Attributes:
        evaluations: Number of calls so far.
        name: What the function is called in messages.
        keeps_tapes: Whether `take` and `keep` must be called around every step.
        selective: Whether gradients of some of the tensors that it depends on are not wanted.
    """

    name = "field"
    keeps_tapes = False
    selective = False

    def __init__(self, function: Callable[..., Any], structure: StateStructure, args: tuple[Any, ...] = ()) -> None:
        self.function = function
        self.structure = structure
        self.args = args
        self.evaluations = 0
        self._check: Check | None = None
        self._time_dtype, self._device = structure.time_dtype, structure.device
        # the conversions of a lone real tensor are two views, made here because they run at every evaluation
        self._shape, self._dtype = structure.plain_shape, structure.dtype
        self._kept = Keeper()

    @property
    def namesake(self) -> Any:
        """The function of the user's that the field is named after."""
        return self.function

    @property
    def functions(self) -> Any:
        """What of the user's it calls."""
        return self.function

    def source(self, method: Any, t: float, h: float, y: Tensor, carry: Any) -> str | None:
        """Return what of the user's was not finite in a step of a method that failed; None where that is not known.

        Args:
            method: The method.
            t, h, y, carry: The step; with a size of zero, the first evaluations of the solve.
        """
        return None

    def fresh(self, wrap: Wrap = as_it_is) -> VectorField:
        """Return the same field with a count of its own.

        Args:
            wrap: Applied to each of the user's functions.
        """
        return VectorField(wrap(self.function, "field"), self.structure, self.args)

    def watch(self, check: Check) -> None:
        """Have a check called with the first value, on the tape, what it was given, and how to evaluate once more."""
        self._check = check

    def take(self) -> Sequence[Any]:
        """Hand over the evaluations since the last call; empty unless they keep their tapes (`nde.solvers.tape`)."""
        return ()

    def keep(self, y: Tensor, opening: Sequence[Any], stages: Sequence[Any]) -> None:
        """Keep what `take` gave for a step from ``y``: its first evaluation, if it made one, and its stages."""

    def __call__(self, t: float | Tensor, y: Tensor) -> Tensor:
        """Evaluate the field.

        Args:
            t: Time, a host float or a 0-d tensor; the field sees a 0-d tensor of the state's real dtype.
            y: Flat state, shape ``(size,)``.

        Returns:
            Its time derivative, shape ``(size,)``.

        Raises:
            TypeError: The field returned something of another structure or dtype.
            ValueError: The field returned another shape, or a tensor on another device.
            RuntimeError: The field wrote to its argument at the first evaluation.
        """
        if self._check is not None:
            check, self._check = self._check, None
            return checked_value(check, self, t, y)
        self.evaluations += 1
        time, state = self.arguments(t, y)
        shape, versions = self._shape, versions_of(y) if self.evaluations == 1 else None
        try:
            value = self.function(time, state, *self.args)
        except Exception as error:
            error.add_note(
                f"raised by the {self.name} at t = {float(time.detach()):.10g}, in its evaluation number "
                f"{self.evaluations}; it is called as {self.name}(t, y{', *args' if self.args else ''})"
            )
            raise
        if shape is not None and isinstance(value, Tensor) and value.shape == shape and value.dtype == self._dtype:
            flat = value.reshape(-1)
        else:
            flat = self.structure.flatten(value, f"the value of {self.name}(t, y)")
        if versions is not None:
            check_unwritten(versions, versions_of(y), self.name)
            self.structure.check_device(flat, f"the value of {self.name}(t, y)")
        return flat if self._kept.trusts else self._kept(flat)

    def arguments(self, t: float | Tensor, y: Tensor) -> tuple[Tensor, State]:
        """Return a time and a flat state as the user's functions see them."""
        if isinstance(t, Tensor):
            time = t.to(dtype=self._time_dtype, device=self._device)
        else:
            time = torch.scalar_tensor(t, dtype=self._time_dtype, device=self._device)
        shape = self._shape
        if shape is None:
            return time, self.structure.unflatten(y)
        return time, y.view(*shape) if shape else y.view(shape)  # a tuple is slower to read


class Keeper:
    """Keeps values of a function from being overwritten, where it hands out one buffer again and again.

    The first two values tell whether it does, so that the others need a copy.

    Attributes:
        trusts: Whether values need no copy.
    """

    def __init__(self) -> None:
        self.trusts = False
        self._first: Tensor | None = None
        self._copies = False

    def __call__(self, value: Tensor) -> Tensor:
        """Return a value that later evaluations will not overwrite."""
        if self.trusts:
            return value
        if not self._copies:
            if self._first is None:
                self._first = value
                return value.clone()
            self._copies = share_memory(value, self._first)
            self.trusts, self._first = not self._copies, None
        return value.clone() if self._copies else value


def versions_of(*tensors: Tensor) -> tuple[int, ...]:
    """Return how often each tensor was written to; in inference mode, where nobody counts, always zero."""
    return tuple(0 if tensor.is_inference() else tensor._version for tensor in tensors)


def check_unwritten(before: tuple[int, ...], after: tuple[int, ...], name: str) -> None:
    """Raise RuntimeError if a function of the user's has written to what it was given.

    Args:
        before, after: What `versions_of` returned for it before and after the call.
        name: Name of the function.
    """
    if before != after:
        raise RuntimeError(
            f"{name}(t, y) must not write to its arguments, from which the solve goes on, but has changed one in "
            "place. Begin it with y = y.clone(), or write y = y * 2 in place of y *= 2."
        )


def checked_value(
    check: Check, evaluate: Callable[[float | Tensor, Tensor], Tensor], t: float | Tensor, y: Tensor
) -> Tensor:
    """Evaluate on the tape, hand the value to a check, and return it as the caller's autograd mode has it."""
    with torch.enable_grad():
        value = evaluate(t, y)
    check(value, [y, t] if isinstance(t, Tensor) else [y], lambda: evaluate(t, y))
    return value if torch.is_grad_enabled() else value.detach()
