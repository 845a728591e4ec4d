"""Fully connected networks for solutions of differential equations: smooth, and small enough to differentiate."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from nde.pinn.networks.layers import glorot_linear
from nde.taylor.operators.checks import check_count

__all__ = ["MLP", "ModifiedMLP"]

Linear = Callable[[int, int], nn.Module]


class MLP(nn.Sequential):
    """A multilayer perceptron. Because it begins with a linear map, exact Laplacians cost its width, whatever ``d`` is.

    Args:
        inputs, outputs: Number of coordinates and of outputs.
        width, depth: Width and number of the hidden layers.
        activation: Class of the activation; smooth, because it is differentiated.
        linear: What makes a layer of two widths, as `FactorisedLinear`.

    Raises:
        ValueError: A size is below 1.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int = 1,
        *,
        width: int = 64,
        depth: int = 3,
        activation: Callable[[], nn.Module] = nn.Tanh,
        linear: Linear = glorot_linear,
    ) -> None:
        _check_sizes(inputs, outputs, width, depth)
        layers: list[nn.Module] = []
        size = inputs
        for _ in range(depth):
            layers += [linear(size, width), activation()]
            size = width
        super().__init__(*layers, linear(size, outputs))

    def __getitem__(self, index: Any) -> Any:
        """Return one of the layers, or several as a plain sequence."""
        return nn.Sequential(*list(self)[index]) if isinstance(index, slice) else super().__getitem__(index)


class ModifiedMLP(nn.Module):
    """A perceptron whose hidden layers mix two gates of the input: ``h <- z u + (1 - z) v`` with ``z = act(W h + b)``.

    Args:
        inputs, outputs, width, depth, activation, linear: See `MLP`.

    Source:
        Wang, Teng, Perdikaris, Understanding and mitigating gradient flow pathologies in physics-informed neural
        networks (2021), section 2.6.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int = 1,
        *,
        width: int = 64,
        depth: int = 3,
        activation: Callable[[], nn.Module] = nn.Tanh,
        linear: Linear = glorot_linear,
    ) -> None:
        super().__init__()
        _check_sizes(inputs, outputs, width, depth)
        self.activation = activation()
        self.gates = nn.ModuleList([linear(inputs, width), linear(inputs, width)])
        self.hidden = nn.ModuleList([linear(inputs if layer == 0 else width, width) for layer in range(depth)])
        self.last = linear(width, outputs)

    def forward(self, x: Any) -> Any:
        """Return the outputs at points ``(*S, inputs)``."""
        u, v = (self.activation(gate(x)) for gate in self.gates)
        h = x
        for layer in self.hidden:
            z = self.activation(layer(h))
            h = v + z * (u - v)
        return self.last(h)


def _check_sizes(inputs: int, outputs: int, width: int, depth: int) -> None:
    for name, value in (("inputs", inputs), ("outputs", outputs), ("width", width), ("depth", depth)):
        check_count(value, name, 1)
