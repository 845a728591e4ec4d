"""Products of many axes: einsum, tensordot, convolutions, bilinear forms."""

from __future__ import annotations

import math
from typing import Any

import torch

from nde.taylor.frame import Frame, Lifted
from nde.taylor.jet_type import Jet, belongs
from nde.taylor.onehot import OneHotCoefficient
from nde.taylor.registry import RULES, functions_named, rule_for
from nde.taylor.rules.algebra import full_along
from nde.taylor.rules.linear import mapped
from nde.taylor.series import multilinear

__all__: list[str] = []


def _full(frame: Frame, value: Any) -> Any:
    """Return the series of an operand with every axis at its size, constants with a leading axis."""
    if not belongs(frame, value):
        return [value.unsqueeze(0), *[None] * frame.order]
    return full_along(value.lifted, *range(-value.ndim, 0)) if value.ndim else value.lifted


def _mapped_product(frame: Frame, function: Any, *operands: Any) -> Any:
    """Carry a multilinear function of tensors by Cauchy's product, the leading axes hidden from it."""
    factors = [_full(frame, operand) for operand in operands]
    return Jet(frame, multilinear(frame, factors, lambda *terms: mapped(function, *terms)))


@rule_for("einsum")
def _einsum(frame: Frame, equation: Any, *operands: Any) -> Any:
    if not isinstance(equation, str):
        raise TypeError("torch.einsum of jets needs the equation as a string, not as lists of axes.")
    if len(operands) == 1 and isinstance(operands[0], (tuple, list)):
        operands = tuple(operands[0])
    equation = equation.replace(" ", "")
    inputs, _, output = equation.partition("->")
    if "->" not in equation:
        letters = inputs.replace(",", "").replace("...", "")
        once = "".join(sorted(letter for letter in set(letters) if letters.count(letter) == 1))
        output = ("..." if "..." in inputs else "") + once
    terms = inputs.split(",")
    lead = next(letter for letter in "VWXYZABCDEFGHIJKLMNOPQRSTUvwxyzabcdefghijklmnopqrstu" if letter not in equation)

    def product(*factors: Lifted) -> Lifted:
        batched = [factor.shape[0] > 1 for factor in factors]
        if not any(batched):
            return torch.einsum(equation, *(factor.squeeze(0) for factor in factors)).unsqueeze(0)
        spelled = ",".join(lead + term if many else term for term, many in zip(terms, batched, strict=True))
        plain = [factor if many else factor.squeeze(0) for factor, many in zip(factors, batched, strict=True)]
        return torch.einsum(f"{spelled}->{lead}{output}", *plain)

    series = [[_dense(c) for c in _full(frame, operand)] for operand in operands]
    return Jet(frame, multilinear(frame, series, product))


def _dense(c: Lifted) -> Lifted:
    return c.dense() if isinstance(c, OneHotCoefficient) else c


@rule_for("tensordot")
def _tensordot(frame: Frame, a: Any, b: Any, dims: Any = 2) -> Any:
    return _mapped_product(frame, lambda left, right: torch.tensordot(left, right, dims), a, b)


@rule_for("bilinear")
def _bilinear(frame: Frame, input1: Any, input2: Any, weight: Any, bias: Any = None) -> Any:
    product = torch.einsum("...i,oij,...j->...o", input1, weight, input2)
    return product if bias is None else product + bias


@rule_for("kron")
def _kron(frame: Frame, input: Any, other: Any) -> Any:
    return _mapped_product(frame, torch.kron, input, other)


def _register_convolution(function: Any, spatial: int) -> None:
    def rule(frame: Frame, input: Any, weight: Any, bias: Any = None, *args: Any, **kwargs: Any) -> Any:
        if belongs(frame, weight) or belongs(frame, bias):
            product = _mapped_product(frame, lambda x, w: function(x, w, None, *args, **kwargs), input, weight)
            return product if bias is None else product + torch.reshape(bias, (-1, *[1] * spatial))
        unbatched = input.ndim == spatial + 1

        def convolved(c: Lifted, term: Any) -> Lifted:
            if unbatched:  # the leading axis is the batch
                return function(c, weight, term, *args, **kwargs)
            rows = c.reshape(math.prod(c.shape[:2]), *c.shape[2:])
            result = function(rows, weight, term, *args, **kwargs)
            return result.reshape(*c.shape[:2], *result.shape[1:])

        series = full_along(input.lifted, *range(-spatial - 1, 0))
        higher = [None if c is None else convolved(_dense(c), None) for c in series[1:]]
        return Jet(frame, [convolved(series[0], bias), *higher])

    RULES[function] = rule


for _spatial in (1, 2, 3):
    for _function in functions_named(f"conv{_spatial}d", f"conv_transpose{_spatial}d"):
        _register_convolution(_function, _spatial)
