"""Activation functions of networks, smooth and piecewise.

Piecewise functions (relu and its like, abs, clamp, where) take, at every element, the coefficients of the piece
that the primal lies in. Their second derivatives are those of the pieces, zero for relu: the distributional part in the
kinks is not seen, as it is not by nested automatic differentiation. A network of relu alone has the Laplacian zero.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from nde.taylor.registry import InPlaceError
from nde.taylor.rules.elementwise import compose_derivative, elementwise

__all__: list[str] = []


@elementwise("silu")
def _silu(input: Any, inplace: bool = False) -> Any:
    refuse_in_place("silu", inplace)
    return input * torch.sigmoid(input)


@elementwise("gelu")
def _gelu(input: Any, *, approximate: str = "none") -> Any:
    if approximate == "tanh":
        inner = math.sqrt(2 / math.pi) * (input + 0.044715 * (input * input * input))
        return 0.5 * input * (1 + torch.tanh(inner))
    return 0.5 * input * (1 + torch.erf(input * math.sqrt(0.5)))


@elementwise("softplus")
def _softplus(input: Any, beta: float = 1.0, threshold: float = 20.0) -> Any:
    scaled = input * beta
    return torch.where(scaled > threshold, input, _smooth_plus(scaled) / beta)


_smooth_plus = compose_derivative(torch.nn.functional.softplus, torch.sigmoid)


@elementwise("logsigmoid")
def _logsigmoid(input: Any) -> Any:
    return -_smooth_plus(-input)


@elementwise("mish")
def _mish(input: Any, inplace: bool = False) -> Any:
    refuse_in_place("mish", inplace)
    return input * _smooth_plus(input).tanh()


@elementwise("softsign")
def _softsign(input: Any) -> Any:
    return input / (1 + torch.abs(input))


@elementwise("tanhshrink")
def _tanhshrink(input: Any) -> Any:
    return input - torch.tanh(input)


@elementwise("abs", "absolute")
def _abs(input: Any) -> Any:
    return input * torch.sign(input)


@elementwise("relu")
def _relu(input: Any, inplace: bool = False) -> Any:
    refuse_in_place("relu", inplace)
    return torch.where(input > 0, input, 0.0)


@elementwise("relu6")
def _relu6(input: Any, inplace: bool = False) -> Any:
    refuse_in_place("relu6", inplace)
    return torch.clamp(input, 0.0, 6.0)


@elementwise("hardtanh")
def _hardtanh(input: Any, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Any:
    refuse_in_place("hardtanh", inplace)
    return torch.clamp(input, min_val, max_val)


@elementwise("leaky_relu")
def _leaky_relu(input: Any, negative_slope: float = 0.01, inplace: bool = False) -> Any:
    refuse_in_place("leaky_relu", inplace)
    return torch.where(input > 0, input, input * negative_slope)


@elementwise("elu")
def _elu(input: Any, alpha: float = 1.0, inplace: bool = False) -> Any:
    refuse_in_place("elu", inplace)
    return torch.where(input > 0, input, alpha * torch.expm1(_below(input)))


@elementwise("celu")
def _celu(input: Any, alpha: float = 1.0, inplace: bool = False) -> Any:
    refuse_in_place("celu", inplace)
    return torch.where(input > 0, input, alpha * torch.expm1(_below(input) / alpha))


@elementwise("selu")
def _selu(input: Any, inplace: bool = False) -> Any:
    refuse_in_place("selu", inplace)
    # Klambauer et al., Self-Normalizing Neural Networks (2017), equation 14
    alpha, scale = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946
    return scale * torch.where(input > 0, input, alpha * torch.expm1(_below(input)))


def _below(input: Any) -> Any:
    """Return the jet where it is negative and 0 elsewhere, so that the piece not taken cannot overflow."""
    return torch.where(input > 0, 0.0, input)


@elementwise("hardsigmoid")
def _hardsigmoid(input: Any, inplace: bool = False) -> Any:
    refuse_in_place("hardsigmoid", inplace)
    return torch.clamp(input / 6 + 0.5, 0.0, 1.0)


@elementwise("hardswish")
def _hardswish(input: Any, inplace: bool = False) -> Any:
    refuse_in_place("hardswish", inplace)
    return input * torch.clamp(input / 6 + 0.5, 0.0, 1.0)


@elementwise("softshrink")
def _softshrink(input: Any, lambd: float = 0.5) -> Any:
    value = input
    return torch.where(value > lambd, input - lambd, torch.where(value < -lambd, input + lambd, 0.0))


@elementwise("hardshrink")
def _hardshrink(input: Any, lambd: float = 0.5) -> Any:
    return torch.where(torch.abs(input) > lambd, input, 0.0)


@elementwise("threshold")
def _threshold(input: Any, threshold: float, value: float, inplace: bool = False) -> Any:
    refuse_in_place("threshold", inplace)
    return torch.where(input > threshold, input, value)


def refuse_in_place(name: str, inplace: Any) -> None:
    """Raise InPlaceError where a function of torch was asked to overwrite its argument."""
    if inplace:
        raise InPlaceError(
            f"torch.nn.functional.{name} with inplace=True overwrites its argument, which a jet cannot. "
            "Build the module with inplace=False."
        )
