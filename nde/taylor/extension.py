"""Rules of the user's own, for functions of PyTorch without one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nde.taylor.frame import Frame
from nde.taylor.registry import RULES
from nde.taylor.rules.elementwise import compose_derivative, register_elementwise
from nde.taylor.rules.linear import register_linear

__all__ = ["register_derivative", "register_linear", "register_rule"]


def register_rule(function: Callable[..., Any], rule: Callable[..., Any]) -> None:
    """Carry a function through jets by another one that computes the same.

    Args:
        function: What the user's code calls: a function or method of PyTorch.
        rule: Takes the arguments of ``function``, jets among them, and returns its result by operations that have
            rules. Every order, collapsed or not, follows from theirs.

    Raises:
        TypeError: ``function`` or ``rule`` is not callable.
    """
    _check_callable(function=function, rule=rule)

    def framed(frame: Frame, *args: Any, **kwargs: Any) -> Any:
        return rule(*args, **kwargs)

    RULES[function] = framed


def register_derivative(function: Callable[..., Any], derivative: Callable[..., Any]) -> None:
    """Carry an elementwise function of one tensor through jets by its derivative: ``y' = derivative(z) z'``.

    Args:
        function: An elementwise function or method of PyTorch; arguments after the first are parameters.
        derivative: Takes the arguments of ``function`` and returns its derivative by operations that have rules, or by
            ``function`` itself.

    Raises:
        TypeError: ``function`` or ``derivative`` is not callable.
    """
    _check_callable(function=function, derivative=derivative)
    register_elementwise(function, compose_derivative(function, derivative))


def _check_callable(**values: Any) -> None:
    for name, value in values.items():
        if not callable(value):
            raise TypeError(f"{name} must be callable, but is {type(value).__name__}.")
