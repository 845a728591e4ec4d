"""The table of rules: which function of PyTorch is carried through a jet by which rule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

__all__ = [
    "RULES",
    "InPlaceError",
    "MissingRuleError",
    "NonFiniteError",
    "Rule",
    "find_rule",
    "functions_named",
    "rule_for",
]

Rule = Callable[..., Any]  # (frame, *args, **kwargs) with the arguments of the function

RULES: dict[Any, Rule] = {}

_NAMESPACES = (torch, torch.Tensor, torch.nn.functional, torch.special)

_PUBLIC = {
    "torch._C._nn": "torch.nn.functional",
    "torch._C._linalg": "torch.linalg",
    "torch._C._special": "torch.special",
    "torch._C._fft": "torch.fft",
}


class MissingRuleError(NotImplementedError):
    """No rule carries this operation through a jet."""


class InPlaceError(RuntimeError):
    """A jet cannot be written to in place."""


class NonFiniteError(FloatingPointError):
    """A coefficient is not finite; the message names the operation that made it."""


def functions_named(*names: str) -> list[Any]:
    """Return every function of these names in torch, torch.Tensor, torch.nn.functional and torch.special."""
    found = []
    for name in names:
        for namespace in _NAMESPACES:
            function = getattr(namespace, name, None)
            if function is not None and function not in found:
                found.append(function)
    return found


def rule_for(*names: str) -> Callable[[Rule], Rule]:
    """Register the decorated rule for every function of these names."""

    def register(rule: Rule) -> Rule:
        for function in functions_named(*names):
            RULES[function] = rule
        return rule

    return register


def name_of(function: Any) -> str:
    """Return the name by which a user knows a function."""
    name = getattr(function, "__name__", str(function))
    owner = getattr(function, "__objclass__", None)
    if owner is not None:
        return f"Tensor.{name}"
    module = getattr(function, "__module__", None) or "torch"
    for inside, outside in _PUBLIC.items():
        if module == inside:
            return f"{outside}.{name.removeprefix(outside.rpartition('.')[2] + '_')}"
    return f"{module}.{name}"


def in_place_error(name: str) -> InPlaceError:
    """Return the error of an operation that would write to a jet."""
    return InPlaceError(
        f"{name} writes to a tensor in place, which would change jets that share it. "
        "Write the operation out of place: x = x + y instead of x += y, inplace=False in modules."
    )


def find_rule(function: Any) -> Rule:
    """Return the rule of a function.

    Raises:
        InPlaceError: The function writes to its argument.
        MissingRuleError: There is no rule; the message shows how to register one.
    """
    rule = RULES.get(function)
    if rule is not None:
        return rule
    name = name_of(function)
    plain = name.rpartition(".")[2]
    in_place = plain == "__setitem__" or (plain.startswith("__i") and plain.endswith("__") and plain != "__invert__")
    if in_place or (plain.endswith("_") and not plain.endswith("__")):
        raise in_place_error(name)
    raise MissingRuleError(
        f"nde.taylor has no rule for {name}. Register one before the evaluation, by what the function is:\n"
        f"    nde.taylor.register_derivative({name}, derivative)  # elementwise with y' = derivative(z) z'\n"
        f"    nde.taylor.register_linear({name})                  # linear in its first argument\n"
        f"    nde.taylor.register_rule({name}, rule)              # rule: the same from operations that have rules"
    )
