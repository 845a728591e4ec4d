"""A step by hand, and gradients as vectors: what the tests of gradients of penalties share."""

from collections.abc import Callable, Sequence

import torch
from sklearn.datasets import load_digits
from torch import Tensor

from tests.problems import Net

TOLERANCE = 1.4e-8  # of the published experiments


def digits() -> tuple[Net, Callable[[Tensor, Tensor], Tensor], Tensor]:
    """Return a network of the published size, its field, and images of digits."""
    pixels = torch.tensor(load_digits().data[:64] / 16.0)
    torch.manual_seed(0)
    net = Net(size=64, hidden=100)
    for layer in (net.inner, net.outer):
        layer.reset_parameters()
    return net, lambda t, y: torch.tanh(net(t, y)), pixels


def cosine(left: Tensor, right: Tensor) -> float:
    """Return the cosine of the angle between two vectors."""
    return float(torch.dot(left, right) / (left.norm() * right.norm()))


def flat_gradient(value: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    """Return a gradient as one vector, and keep the graph."""
    return torch.cat([part.reshape(-1) for part in torch.autograd.grad(value, parameters, retain_graph=True)])


def one_step_error(
    field, tableau, t: float, h: float, y: Tensor, attached: bool, tolerance: float = TOLERANCE
) -> Tensor:
    """Return the error of one explicit step in units of the tolerance, with its first stage on the tape or not."""
    time = torch.tensor(t, dtype=y.dtype)
    first = field(time, y)
    stages = [first if attached else first.detach()]
    for c, row in zip(tableau.c[1:], tableau.a, strict=True):
        argument = y + h * sum(a * k for a, k in zip(row, stages, strict=True))
        stages.append(field(time + c * h, argument))
    error = h * sum(e * k for e, k in zip(tableau.errors[0], stages, strict=True))
    scale = tolerance + tolerance * torch.maximum(y.abs(), argument.abs())
    return (error / scale).square().mean().sqrt()
