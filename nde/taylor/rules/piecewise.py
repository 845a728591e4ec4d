"""Operations that look at the primal alone: choices between pieces, comparisons, constants of a jet's shape."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from nde.taylor.frame import Frame
from nde.taylor.jet_type import Jet, belongs, plain_of
from nde.taylor.registry import RULES, functions_named, rule_for
from nde.taylor.rules.activations import refuse_in_place
from nde.taylor.rules.algebra import aligned

__all__: list[str] = []


def _primal(frame: Frame, value: Any) -> Any:
    return value.primal if belongs(frame, value) else value


def _on_primal(function: Any) -> Callable[..., Any]:
    def rule(frame: Frame, *args: Any, **kwargs: Any) -> Any:
        plain = {name: _primal(frame, value) for name, value in kwargs.items()}
        return function(*(_primal(frame, value) for value in args), **plain)

    return rule


def _on_detached(function: Any) -> Callable[..., Any]:
    """Carry a step function whose derivative torch does not know, not even as zero."""

    def rule(frame: Frame, *args: Any) -> Any:
        return function(*(value.detach() if isinstance(value, torch.Tensor | Jet) else value for value in args))

    return rule


_STEP_FUNCTIONS = [
    "eq",
    "ne",
    "lt",
    "le",
    "gt",
    "ge",
    "equal",
    "not_equal",
    "less",
    "less_equal",
    "greater",
    "greater_equal",
    "__eq__",
    "__ne__",
    "__lt__",
    "__le__",
    "__gt__",
    "__ge__",
    "isnan",
    "isinf",
    "isfinite",
    "isclose",
    "allclose",
    "sign",
    "sgn",
    "signbit",
    "floor",
    "ceil",
    "round",
    "trunc",
    "argmax",
    "argmin",
    "argsort",
    "count_nonzero",
    "any",
    "all",
    "logical_not",
    "logical_and",
    "logical_or",
    "detach",
    "zeros_like",
    "ones_like",
    "full_like",
    "empty_like",
    "rand_like",
    "randn_like",
    "new_zeros",
    "new_ones",
    "new_full",
    "new_empty",
    "new_tensor",
    "is_floating_point",
    "is_complex",
    "numel",
    "nelement",
    "result_type",
    "is_contiguous",
    "stride",
    "searchsorted",
    "bucketize",
    "is_same_size",
    "element_size",
    "get_device",
    "is_nonzero",
    "is_signed",
    "is_conj",
    "ndimension",
    "isreal",
    "isposinf",
    "isneginf",
    "isin",
    "logical_xor",
    "nonzero",
    "argwhere",
    "fix",
    "bool",
    "int",
    "long",
    "short",
    "byte",
    "char",
]
for _function in functions_named(*_STEP_FUNCTIONS):
    RULES[_function] = _on_primal(_function)
for _name in ("floor_divide", "heaviside"):
    for _function in functions_named(_name):
        RULES[_function] = _on_detached(_function)
for _name in ("__floordiv__", "__rfloordiv__"):
    rule_for(_name)(_on_detached(getattr(torch.Tensor, _name)))


def _choose(frame: Frame, condition: Any, input: Any, other: Any) -> Any:
    condition = _primal(frame, condition)
    if not belongs(frame, input) and not belongs(frame, other):
        return torch.where(condition, input, other)
    left, right, _ = aligned(frame, input, other, condition)
    like = (left if belongs(frame, input) else right)[0]
    lifted: list[Any] = []
    for k, (p, q) in enumerate(zip(left, right, strict=True)):
        if k and p is None and q is None:
            lifted.append(None)
        else:
            p, q = (0.0 if c is None else c for c in (p, q))
            if not hasattr(p, "dtype") and not hasattr(q, "dtype"):  # two numbers would make torch's default dtype
                p = torch.full_like(like, p)
            lifted.append(torch.where(condition, p, q))
    return Jet(frame, lifted)


RULES[torch.where] = _choose
RULES[torch.Tensor.where] = lambda frame, input, condition, other: _choose(frame, condition, input, other)


@rule_for("masked_fill")
def _masked_fill(frame: Frame, input: Any, mask: Any, value: Any) -> Any:
    return _choose(frame, mask, value, input)


@rule_for("clamp", "clip")
def _clamp(frame: Frame, input: Any, min: Any = None, max: Any = None) -> Any:
    result = input
    if min is not None:
        result = torch.maximum(result, min) if belongs(frame, min) else _choose(frame, result < min, min, result)
    if max is not None:
        result = torch.minimum(result, max) if belongs(frame, max) else _choose(frame, result > max, max, result)
    return result


@rule_for("clamp_min")
def _clamp_min(frame: Frame, input: Any, min: Any) -> Any:
    return _clamp(frame, input, min=min)


@rule_for("clamp_max")
def _clamp_max(frame: Frame, input: Any, max: Any) -> Any:
    return _clamp(frame, input, max=max)


@rule_for("maximum", "fmax")
def _maximum(frame: Frame, input: Any, other: Any) -> Any:
    return _choose(frame, _primal(frame, input) >= _primal(frame, other), input, other)


@rule_for("minimum", "fmin")
def _minimum(frame: Frame, input: Any, other: Any) -> Any:
    return _choose(frame, _primal(frame, input) <= _primal(frame, other), input, other)


@rule_for("prelu")
def _prelu(frame: Frame, input: Any, weight: Any) -> Any:
    if weight.numel() > 1 and input.ndim > 1:
        weight = weight.reshape(-1, *[1] * (input.ndim - 2))
    return _choose(frame, _primal(frame, input) > 0, input, input * weight)


@rule_for("nan_to_num")
def _nan_to_num(frame: Frame, input: Any, nan: float = 0.0, posinf: Any = None, neginf: Any = None) -> Any:
    return _choose(frame, torch.isfinite(input), input, torch.nan_to_num(_primal(frame, input), nan, posinf, neginf))


@rule_for("copysign")
def _copysign(frame: Frame, input: Any, other: Any) -> Any:
    signs = torch.copysign(torch.ones_like(input), plain_of(other) if hasattr(other, "detach") else other)
    return torch.abs(input) * signs


@rule_for("fmod")
def _fmod(frame: Frame, input: Any, other: Any) -> Any:
    if belongs(frame, other):
        raise NotImplementedError("the divisor of torch.fmod may not be a jet.")
    return input - torch.div(_primal(frame, input).detach(), other, rounding_mode="trunc") * other


@rule_for("rrelu")
def _rrelu(
    frame: Frame, input: Any, lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False, inplace: bool = False
) -> Any:
    refuse_in_place("rrelu", inplace)
    if training:
        raise ValueError("rrelu in training mode draws slopes at random. Call .eval() on the module.")
    return torch.where(input > 0, input, input * ((lower + upper) / 2))


@rule_for("frac")
def _frac(frame: Frame, input: Any) -> Any:
    return input - torch.trunc(input)


@rule_for("__rmod__")
def _rmod(frame: Frame, input: Any, other: Any) -> Any:
    return torch.remainder(other, input)


@rule_for("remainder", "__mod__")
def _remainder(frame: Frame, input: Any, other: Any) -> Any:
    if belongs(frame, other):
        raise NotImplementedError("the divisor of torch.remainder may not be a jet.")
    return input - torch.div(_primal(frame, input), other, rounding_mode="floor") * other
