"""Initial value problems that several tests share: small, nonlinear, dependent on time, in float64."""

import math
from collections.abc import Sequence

import numpy
import pytest
import torch
from torch import Tensor, nn

from nde.adjoint import DiscreteAdjoint

METHODS = ("euler", "midpoint", "heun", "ralston", "bosh3", "rk4", "dopri5", "tsit5", "dopri8")
ADAPTIVE = ("midpoint", "heun", "ralston", "bosh3", "dopri5", "tsit5", "dopri8")
STIFFNESS = ("rk4", "dopri5", "tsit5", "dopri8")
# the discrete adjoint keeps the tapes of the last steps: with room for all of them, for some, and for none
ADJOINTS = {
    "direct": "direct",
    "discrete": "discrete",
    "few tapes": DiscreteAdjoint(tape_memory=1_500),
    "replay": DiscreteAdjoint(tape_memory=0),
}
each_adjoint = pytest.mark.parametrize("adjoint", ADJOINTS.values(), ids=ADJOINTS)

# stages evaluated in a step whose first stage is known, and whether the last stage is the first of the next step
STAGES = {
    "euler": 1,
    "midpoint": 2,
    "heun": 2,
    "ralston": 2,
    "bosh3": 4,
    "rk4": 4,
    "dopri5": 7,
    "tsit5": 7,
    "dopri8": 13,
}
FSAL = ("bosh3", "dopri5", "tsit5", "dopri8")


def double(*values: float) -> Tensor:
    """Return a float64 vector."""
    return torch.tensor(values, dtype=torch.float64)


class Manufactured:
    """A coupled nonlinear system of three equations that depends on time and whose solution is known.

    ``f(t, y) = u'(t) + F(y) - F(u(t))`` has the solution ``u``. The components of ``F`` are products of several
    components, so that no order condition is satisfied by accident, as happens for scalar, linear or autonomous
    problems; and the leading error terms of all methods dominate within the range of step sizes of the tests.
    """

    span = (0.0, 3.0)

    @staticmethod
    def solution(t: float) -> Tensor:
        """Return the exact state."""
        return double(math.sin(t), math.cos(t), math.exp(math.sin(t)))

    @staticmethod
    def _nonlinear(y: Sequence[float]) -> tuple[float, float, float]:
        return y[0] * y[1], -y[0] * y[2], y[0] * y[1] * y[2]

    def __call__(self, t: Tensor, y: Tensor) -> Tensor:
        time = float(t)
        sine, cosine = math.sin(time), math.cos(time)
        growth = math.exp(sine)
        slope = (cosine, -sine, cosine * growth)
        exact = self._nonlinear((sine, cosine, growth))
        return double(*(s + f - e for s, f, e in zip(slope, self._nonlinear(y.tolist()), exact, strict=True)))


class Counted:
    """A field that counts its own calls."""

    def __init__(self, field):
        self.field = field
        self.calls = 0

    def __call__(self, t, y, *args):
        """Count, then evaluate."""
        self.calls += 1
        return self.field(t, y, *args)


class Net(nn.Module):
    """A small smooth network that depends on time, with reproducible weights that no other test can disturb."""

    def __init__(self, size: int = 3, hidden: int = 4, dtype: torch.dtype = torch.float64, seed: int = 0) -> None:
        super().__init__()
        self.inner = nn.Linear(size + 1, hidden, dtype=dtype)
        self.outer = nn.Linear(hidden, size, dtype=dtype)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * 0.6)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        """Evaluate the field on a state of shape ``(*batch, size)``."""
        return self.outer(torch.tanh(self.inner(torch.cat([y, t.expand(*y.shape[:-1], 1)], -1))))


def van_der_pol(t: Tensor, y: Tensor) -> Tensor:
    """Mildly stiff oscillator: has the controller change its mind and reject steps."""
    position, velocity = y.unbind(-1)
    return torch.stack([velocity, 5.0 * (1 - position**2) * velocity - position], -1)


def slope(sizes, values) -> float:
    """Return the slope of the regression of log(values) on log(sizes)."""
    return float(numpy.polyfit(numpy.log(sizes), numpy.log(values), 1)[0])


def relative_difference(left: Tensor, right: Tensor) -> float:
    """Return the largest difference relative to the largest entry of either."""
    scale = max(float(left.detach().abs().max()), float(right.detach().abs().max()))
    return float((left.detach() - right.detach()).abs().max()) / scale if scale else 0.0
