"""Complex numbers: their parts, pairs of reals, and the modulus, which are no holomorphic functions."""

from __future__ import annotations

from typing import Any

import torch

from nde.taylor.frame import Frame
from nde.taylor.registry import RULES, Rule, functions_named, rule_for
from nde.taylor.rules import activations, piecewise  # noqa: F401  (rules of real arguments come first)
from nde.taylor.rules.linear import each

__all__: list[str] = []


def _register_part(function: Any) -> None:
    RULES[function] = lambda frame, input: each(input, lambda c: function(c + 0))  # one-hot directions become dense


for _function in (torch.real, torch.imag, torch.view_as_real, torch.view_as_complex):
    _register_part(_function)


@rule_for("conj", "conj_physical")
def _conj(frame: Frame, input: Any) -> Any:
    # torch.conj_physical has no batching rule
    return each(input, lambda c: torch.complex(c.real, -c.imag) if c.dtype.is_complex else c)


@rule_for("resolve_conj", "resolve_neg")
def _resolved(frame: Frame, input: Any) -> Any:
    return input  # conjugates and negatives are computed at once


@rule_for("complex")
def _complex(frame: Frame, real: Any, imag: Any) -> Any:
    return real + imag * 1j


@rule_for("polar")
def _polar(frame: Frame, abs: Any, angle: Any) -> Any:
    return abs * torch.cos(angle) + (abs * torch.sin(angle)) * 1j


@rule_for("angle")
def _angle(frame: Frame, input: Any) -> Any:
    if not input.dtype.is_complex:
        return torch.angle(input.primal)
    return torch.atan2(torch.imag(input), torch.real(input))


def _modulus(input: Any) -> Any:
    return torch.sqrt(torch.square(torch.real(input)) + torch.square(torch.imag(input)))


def _register_complex(function: Any, rule: Rule) -> None:
    """Carry a function that is not holomorphic by one rule where the jet is complex, as before where it is real."""
    real = RULES[function]

    def chosen(frame: Frame, input: Any, *args: Any, **kwargs: Any) -> Any:
        return rule(input) if input.dtype.is_complex else real(frame, input, *args, **kwargs)

    RULES[function] = chosen


for _function in functions_named("abs", "absolute"):
    _register_complex(_function, _modulus)
for _function in functions_named("sgn"):
    _register_complex(_function, lambda input: input / _modulus(input))
