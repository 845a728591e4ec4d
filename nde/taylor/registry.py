"""The table of rules: which function of PyTorch is carried through a jet by which rule."""

from __future__ import annotations

import types
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
    "supported_operations",
]

Rule = Callable[..., Any]  # (frame, *args, **kwargs) with the arguments of the function

RULES: dict[Any, Rule] = {}

# The rules of operators that torch writes in Python, by name: as keys of a table torch.compile does not recognise them.
_PYTHON_OPERATORS: dict[str, Rule] = {}

# where functions arrive that torch writes in Python, when they are called with a list of tensors
VARIABLE_FUNCTIONS: Any = torch._C._VariableFunctions

_NAMESPACES = (torch, torch.Tensor, torch.nn.functional, torch.special)

_PUBLIC = {
    "torch.functional": "torch",
    "torch._tensor": "torch.Tensor",
    "torch._C._nn": "torch.nn.functional",
    "torch._C._linalg": "torch.linalg",
    "torch._C._special": "torch.special",
    "torch._C._fft": "torch.fft",
}
_SPELLED = {
    "torch.nn.functional._threshold": "torch.nn.functional.threshold",
    "torch.nn.functional.log_sigmoid": "torch.nn.functional.logsigmoid",
}


_LEAVING = ("item", "tolist", "numpy", "__array__", "__float__", "__int__", "__index__", "__complex__")
_DIFFERENTIATING = ("requires_grad_", "backward", "retain_grad", "register_hook")


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
            if _is_operation(namespace, name, function) and function not in found:
                found.append(function)
    return found


def _is_operation(namespace: Any, name: str, value: Any) -> bool:
    """Whether a namespace means a function by a name: torch.half is a type, torch.cpu a module."""
    if isinstance(namespace, types.ModuleType) and name.startswith("__"):
        return False  # torch.__eq__ compares modules
    return callable(value) and not isinstance(value, (type, types.ModuleType))


def rule_for(*names: str) -> Callable[[Rule], Rule]:
    """Register the decorated rule for every function of these names."""

    def register(rule: Rule) -> Rule:
        for function in functions_named(*names):
            RULES[function] = rule
            name = function.__name__
            if getattr(function, "__module__", None) == "torch._tensor" and (name.startswith("__") or name == "pow"):
                _PYTHON_OPERATORS[name] = rule
        return rule

    return register


def name_of(function: Any) -> str:
    """Return the name by which a user knows a function."""
    name = getattr(function, "__name__", str(function))
    owner = getattr(function, "__objclass__", None)
    if owner is not None:
        return f"torch.Tensor.{name}"
    module = getattr(function, "__module__", None) or "torch"
    outside = _PUBLIC.get(module)
    if outside is None:
        return _SPELLED.get(f"{module}.{name}", f"{module}.{name}")
    prefix = f"{outside.rpartition('.')[2]}_" if module.startswith("torch._C") else ""
    full = f"{outside}.{name.removeprefix(prefix)}"
    return _SPELLED.get(full, full)


def supported_operations() -> tuple[str, ...]:
    """Return the names of all functions and methods that have a rule, those registered by the user included."""
    return tuple(sorted({name_of(function) for function in RULES}))


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
        TypeError: The function gives numbers without derivatives, or differentiates by itself.
    """
    rule = _PYTHON_OPERATORS.get(getattr(function, "__name__", "")) if torch.compiler.is_compiling() else None
    if rule is None:
        rule = RULES.get(function)
    if rule is not None:
        return rule
    name = name_of(function)
    plain = name.rpartition(".")[2]
    if plain in _LEAVING:
        raise TypeError(
            f"{name} of a jet would drop its derivatives. Use jet.primal for the value, jet.derivative(k) after the "
            "evaluation, or torch operations that have rules."
        )
    if plain in _DIFFERENTIATING:
        raise TypeError(
            f"{name} differentiates or marks a tensor within the function that a jet evaluates. Take the derivative by "
            "another nde.taylor.jet inside of it, or from the coefficients of this one."
        )
    in_place = plain == "__setitem__" or (plain.startswith("__i") and plain.endswith("__") and plain != "__invert__")
    if in_place or (plain.endswith("_") and not plain.endswith("__")):
        raise in_place_error(name)
    raise MissingRuleError(
        f"nde.taylor has no rule for {name}. Register one before the evaluation, by what the function is:\n"
        f"    nde.taylor.register_derivative({name}, derivative)  # elementwise with y' = derivative(z) z'\n"
        f"    nde.taylor.register_linear({name})                  # linear in its first argument\n"
        f"    nde.taylor.register_rule({name}, rule)              # rule: the same from operations that have rules"
    )
