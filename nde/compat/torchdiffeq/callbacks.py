"""torchdiffeq's callbacks, which are attributes of the user's function.

``callback_step(t0, y0, dt)`` is called before every attempt, ``callback_accept_step`` and ``callback_reject_step`` once
it is judged; with the suffix ``_adjoint``, those of the backward solve. ``dt`` is positive in either direction of time.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nde.solvers.controllers import Controller, ControllerState, Decision
from nde.solvers.field import VectorField
from nde.solvers.method import Method, Scalar, StepResult

__all__ = ["Callbacks", "find_callbacks", "observed"]

_NAMES = ("callback_step", "callback_accept_step", "callback_reject_step")


@dataclass
class Callbacks:
    """The callbacks of one solve, and the attempt that is being judged.

    Attributes:
        step, accept, reject: The callbacks.
        attempt: Arguments of the callbacks for the attempt under way.
    """

    step: Callable[..., Any] | None = None
    accept: Callable[..., Any] | None = None
    reject: Callable[..., Any] | None = None
    attempt: tuple[Tensor, Any, Tensor] | None = None


def find_callbacks(func: Any, adaptive: bool, solver: str, suffix: str = "") -> Callbacks | None:
    """Return the callbacks of a function, None if it has none; warn about those that the method does not call."""
    found = [getattr(func, name + suffix, None) for name in _NAMES]
    if not adaptive:
        for name, callback in zip(_NAMES[1:], found[1:], strict=True):
            if callback is not None:
                warnings.warn(
                    f"Solver '{solver}' does not support callbacks ['{name}{suffix}']", UserWarning, stacklevel=4
                )
        found[1:] = [None, None]
    return Callbacks(*found) if any(callback is not None for callback in found) else None


def observed(method: Method, controller: Controller, callbacks: Callbacks) -> tuple[Method, Controller]:
    """Return a method and a controller that call back."""
    return _ObservedMethod(method, callbacks), _ObservedController(controller, callbacks)


class _ObservedMethod(Method):
    """A method that tells of its attempts."""

    def __init__(self, method: Method, callbacks: Callbacks) -> None:
        self._method = method
        self._callbacks = callbacks
        for fact in (
            "name",
            "order",
            "error_order",
            "interpolation_order",
            "has_stiffness",
            "stability",
            "carry_is_function_of_state",
        ):
            setattr(self, fact, getattr(method, fact))

    def start(self, field: VectorField, t: Scalar, y: Tensor) -> Any:
        return self._method.start(field, t, y)

    def slope(self, field: VectorField, t: Scalar, y: Tensor, carry: Any) -> Tensor:
        return self._method.slope(field, t, y, carry)

    def step(
        self, field: VectorField, t: Scalar, h: Scalar, y: Tensor, carry: Any, workspace: Any = None
    ) -> StepResult:
        structure, calls = field.structure, self._callbacks
        time, size = (
            torch.as_tensor(value, dtype=structure.time_dtype, device=y.device).detach().clone()
            for value in (t, abs(h))
        )
        calls.attempt = (time, structure.unflatten(y), size)
        if calls.step is not None:
            calls.step(*calls.attempt)
        return self._method.step(field, t, h, y, carry, workspace)

    def interpolate(
        self, field: VectorField, t: Scalar, h: Scalar, y: Tensor, result: StepResult, thetas: Sequence[Scalar]
    ) -> Tensor:
        return self._method.interpolate(field, t, h, y, result, thetas)

    def workspace(self, y: Tensor) -> Any:
        return self._method.workspace(y)


class _ObservedController(Controller):
    """A controller that tells of its decisions."""

    def __init__(self, controller: Controller, callbacks: Callbacks) -> None:
        self._controller = controller
        self._callbacks = callbacks
        self.adaptive = controller.adaptive
        self.stretch = controller.stretch

    def begin(self, error_order: float) -> ControllerState:
        return _ObservedState(self._controller.begin(error_order), self._callbacks)

    def first_step(self) -> float | None:
        return self._controller.first_step()

    def landings(self) -> Sequence[float] | None:
        return self._controller.landings()

    def set_point(self, error_order: float) -> float | None:
        return self._controller.set_point(error_order)


class _ObservedState(ControllerState):
    def __init__(self, state: ControllerState, callbacks: Callbacks) -> None:
        self._state = state
        self._callbacks = callbacks

    def decide(self, h: float, ratio: float) -> Decision:
        decision = self._state.decide(h, ratio)
        callback = self._callbacks.accept if decision.accept else self._callbacks.reject
        if callback is not None and self._callbacks.attempt is not None:
            callback(*self._callbacks.attempt)
        return decision
