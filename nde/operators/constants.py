"""Tables that depend on settings and shapes alone: computed once, kept, and constants of compiled graphs."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any, TypeVar

__all__ = ["Constant", "constant_of_graphs", "kept"]

_Function = TypeVar("_Function", bound=Callable[..., Any])


class Constant:
    """What a function marked by `constant_of_graphs` returns: bare tensors of one function would share a name."""

    def __init__(self, value: Any) -> None:
        self.value = value


def constant_of_graphs(function: Callable[..., Constant]) -> Callable[..., Constant]:
    """Mark a function that `torch.compile` calls while it traces, to keep the result rather than the computation.

    What `torch.compiler.assume_constant_result` does, which would load the compiler with the package.
    """
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return function


def kept(size: int) -> Callable[[_Function], _Function]:
    """Keep the latest ``size`` results of a function of settings and shapes."""

    def decorate(function: _Function) -> _Function:
        cached = lru_cache(maxsize=size)(function)

        @constant_of_graphs
        def look_up(*arguments: Any) -> Constant:
            return Constant(cached(*arguments))

        @wraps(function)
        def value(*arguments: Any) -> Any:
            return look_up(*arguments).value

        return value  # type: ignore[return-value]

    return decorate
