"""Initial value problems that several tests share: small, nonlinear, dependent on time, in float64."""

import math

import numpy
import torch
from torch import Tensor, nn

METHODS = ("euler", "midpoint", "heun", "ralston", "bosh3", "rk4", "dopri5", "tsit5", "dopri8")
ADAPTIVE = ("midpoint", "heun", "ralston", "bosh3", "dopri5", "tsit5", "dopri8")
STIFFNESS = ("rk4", "dopri5", "tsit5", "dopri8")
ADJOINTS = ("direct", "discrete")

# stages evaluated in a step whose first stage is known, and whether the last stage is the first of the next step
STAGES = {"euler": 1, "midpoint": 2, "heun": 2, "ralston": 2, "bosh3": 4, "rk4": 4, "dopri5": 7, "tsit5": 7, "dopri8": 13}
FSAL = ("bosh3", "dopri5", "tsit5", "dopri8")


def double(*values: float) -> Tensor:
    """Return a float64 vector."""
    return torch.tensor(values, dtype=torch.float64)


class Manufactured:
    """A coupled nonlinear system of three equations that depends on time and whose solution is known.

    ``f(t, y) = u'(t) + F(y) - F(u(t))`` has the solution ``u``. ``F`` mixes products and a tanh of all components, so
    that no order condition is satisfied by accident, as happens for scalar, linear or autonomous problems.
    """

    span = (0.2, 1.8)

    @staticmethod
    def solution(t: float) -> Tensor:
        """Return the exact state."""
        return double(math.sin(t), math.cos(2 * t) / 2, math.exp(-t))

    def __init__(self) -> None:
        self.evaluations = 0
        self._mix = torch.tensor([[0.3, -1.2, 0.5], [0.8, 0.1, -0.7], [-0.4, 0.9, 0.2]], dtype=torch.float64)

    def _nonlinear(self, y: Tensor) -> Tensor:
        return torch.tanh(self._mix @ y) + y * y.roll(1)

    def __call__(self, t: Tensor, y: Tensor) -> Tensor:
        self.evaluations += 1
        time = float(t)
        slope = double(math.cos(time), -math.sin(2 * time), -math.exp(-time))
        return slope + self._nonlinear(y) - self._nonlinear(self.solution(time))


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
