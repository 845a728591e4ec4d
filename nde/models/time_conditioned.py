"""Vector fields that know the time: perceptrons whose layers are all told it."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
from torch import Tensor, nn

from nde.checks import check_choice
from nde.models.layer import check_size

__all__ = ["ConcatLinear", "ConcatSquashLinear", "TimeConditionedField"]


class ConcatLinear(nn.Module):
    """A linear map of time and features together, ``W [t, x] + b``.

    Args:
        inputs, outputs: Numbers of features.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs + 1, outputs)

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        """Return shape ``(..., outputs)`` for features ``(..., inputs)``; ``t`` broadcasts to ``(..., 1)``."""
        value: Tensor = self.linear(torch.cat([_column(t, x), x], -1))
        return value


class ConcatSquashLinear(nn.Module):
    """A linear map whose outputs time scales and shifts, ``(W x + b) sigmoid(v t + c) + u t``.

    Grathwohl, Chen, Bettencourt, Sutskever, Duvenaud (2019), FFJORD, appendix.

    Args:
        inputs, outputs: Numbers of features.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)
        self.gate = nn.Linear(1, outputs)
        self.shift = nn.Linear(1, outputs, bias=False)

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        """Return shape ``(..., outputs)`` for features ``(..., inputs)``; ``t`` broadcasts to ``(..., 1)``."""
        time = _column(t, x)
        value: Tensor = self.linear(x) * torch.sigmoid(self.gate(time)) + self.shift(time)
        return value


_LAYERS: dict[str, type[ConcatLinear] | type[ConcatSquashLinear]] = {
    "concat": ConcatLinear,
    "concatsquash": ConcatSquashLinear,
}


class TimeConditionedField(nn.Module):
    """A vector field ``(t, y)``: a perceptron with the time in every layer.

    Args:
        size: Length of the state's last axis, of the zeros appended to it as well.
        width, depth: Of the hidden layers.
        conditioning: ``"concat"`` appends the time to the inputs of each layer; ``"concatsquash"`` scales and shifts
            the outputs of each layer by functions of the time.
        activation: Makes the activation between layers; smooth ones cost a solver fewer steps.

    Raises:
        TypeError: A size is no integer, or the activation cannot be called.
        ValueError: A size is not positive, or the conditioning is not known.
    """

    def __init__(
        self,
        size: int,
        width: int = 64,
        depth: int = 2,
        *,
        conditioning: str = "concatsquash",
        activation: Callable[[], nn.Module] = nn.Tanh,
    ) -> None:
        super().__init__()
        for value, name in ((size, "size"), (width, "width"), (depth, "depth")):
            check_size(value, name)
        check_choice(conditioning, list(_LAYERS), "conditioning")
        if not callable(activation):
            raise TypeError(f"activation must be callable without arguments, but is {activation!r}. Try nn.Tanh.")
        sizes = [size, *[width] * depth, size]
        self.layers = nn.ModuleList([_LAYERS[conditioning](*pair) for pair in itertools.pairwise(sizes)])
        self.activation = activation()

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        """Return the slopes, of the shape of ``y``, ``(..., size)``; ``t`` is 0-d or has one entry per sample."""
        first, *others = self.layers
        value: Tensor = first(t, y)
        for layer in others:
            value = layer(t, self.activation(value))
        return value


def _column(t: Tensor, x: Tensor) -> Tensor:
    return t.to(x.dtype).expand(*x.shape[:-1], 1)
