"""How an elementwise function is carried: its Taylor coefficients at the primal, then a composition with the jet.

A function is given by the recurrence of the differential equation that it satisfies, written for a jet. Up to
`COMPOSED` orders it is run on the primal alone, whose size does not grow with the number of directions; above, the
number of terms of a composition exceeds that of the recurrence, which is then run on the jet itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from nde.taylor.frame import Frame, Lifted
from nde.taylor.jet_type import Jet
from nde.taylor.registry import RULES, functions_named
from nde.taylor.rules.composition import compose_by_hand
from nde.taylor.rules.second_order import compose_second_order
from nde.taylor.series import compose, integrate

__all__ = ["Recurrence", "compose_derivative", "elementwise", "local_series", "register_elementwise"]

COMPOSED = 4

Recurrence = Callable[..., Jet]  # (jet, *parameters of the function) -> jet


def local_series(recurrence: Recurrence, z0: Any, order: int, *args: Any, **kwargs: Any) -> list[Lifted]:
    """Return the Taylor coefficients of an elementwise function at every element of a lifted primal."""
    frame = Frame(order, None, level=_level_above(z0))
    seed: list[Lifted] = [z0] if order == 0 else [z0, 1.0, *[None] * (order - 1)]
    return list(recurrence(Jet(frame, seed), *args, **kwargs).lifted)


def _level_above(z0: Any) -> int:
    return z0.frame.level + 1 if isinstance(z0, Jet) else 1


def register_elementwise(function: Any, recurrence: Recurrence) -> None:
    """Carry a function of one tensor by its recurrence; further arguments are parameters without derivatives."""

    def rule(frame: Frame, input: Any, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(input, Jet) or input.frame is not frame:
            raise TypeError("only the first argument of an elementwise function may be a jet")
        z = input.lifted
        if frame.degree > COMPOSED or isinstance(z[1] if frame.order else None, float):
            return recurrence(input, *args, **kwargs)
        if _is_laplacian(frame) and _plain(z) and z[1] is not None and z[1].shape[0] == frame.directions:
            lifted = compose_second_order(lambda z0, m: local_series(recurrence, z0, m, *args, **kwargs), z)
            if lifted is not None:
                return Jet(frame, lifted)
        fixed = frame.weights is None or not frame.weights.requires_grad
        if frame.order > 1 and fixed and _plain(z):
            lifted = compose_by_hand(frame, lambda z0, m: local_series(recurrence, z0, m, *args, **kwargs), z)
            if lifted is not None:
                return Jet(frame, lifted)
        return Jet(frame, compose(frame, local_series(recurrence, z[0], frame.degree, *args, **kwargs), z))

    RULES[function] = rule


def _is_laplacian(frame: Frame) -> bool:
    return frame.order == 2 and frame.collapse and frame.weights is None


def _plain(z: Any) -> bool:
    """Whether the hand-written gradients apply: tensors outside of the compiler, of torch.func and of forward mode."""
    return (
        all(c is None or (isinstance(c, Tensor) and not c.dtype.is_complex) for c in z)
        and not torch.compiler.is_compiling()
        and torch._C._functorch.peek_interpreter_stack() is None
        and torch.autograd.forward_ad._current_level < 0
    )


def elementwise(*names: str) -> Callable[[Recurrence], Recurrence]:
    """Register the decorated recurrence for every function of these names."""

    def register(recurrence: Recurrence) -> Recurrence:
        for function in functions_named(*names):
            register_elementwise(function, recurrence)
        return recurrence

    return register


def compose_derivative(function: Callable[..., Any], derivative: Callable[..., Any]) -> Recurrence:
    """Return the recurrence of ``y' = derivative(z) z'`` where the derivative is made of operations with rules."""

    def recurrence(z: Any, *args: Any, **kwargs: Any) -> Any:
        frame = z.frame
        first = function(z.lifted[0], *args, **kwargs)
        if frame.order == 0:
            return Jet(frame, [first])
        lower = frame.reduced(frame.order - 1)
        slope = derivative(Jet(lower, z.lifted[:-1]), *args, **kwargs)
        series = slope.lifted if isinstance(slope, Jet) else [slope, *[None] * (frame.order - 1)]
        return Jet(frame, [first, *(integrate(frame, z.lifted, series, k) for k in range(1, frame.order + 1))])

    return recurrence
