"""Every method of torchdiffeq's finds events and has right derivatives, through the solve and by the adjoint."""

import math

import pytest
import torch

from nde.compat import torchdiffeq as ours
from nde.compat.torchdiffeq import odeint, odeint_adjoint
from tests.problems import double

METHODS = list(ours.SOLVERS)
# errors of an event's time with the steps below
TOLERANCE = {"euler": 2e-2, "implicit_euler": 2e-2}


class Wave(torch.nn.Module):
    """``y' = cos(t) + c (y - sin(t))``, whose solution from (0, 0) is ``sin(t)``."""

    def __init__(self):
        super().__init__()
        self.c = torch.nn.Parameter(torch.tensor(-0.5, dtype=torch.float64))

    def forward(self, t, y):
        return torch.cos(t) + self.c.to(y.dtype) * (y - torch.sin(t))


def options_of(method):
    return None if ours.SOLVERS[method].adaptive else {"step_size": 0.02, "interp": "cubic"}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("direction", [1.0, -1.0], ids=["up", "down"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_every_method_finds_an_event(method, direction, dtype):
    y0, t = torch.zeros(1, dtype=dtype), double(0.0, direction)
    # what float32 resolves; and methods of order 2 need thousands of steps for torchdiffeq's default tolerances
    looser = {"rtol": 1e-6, "atol": 1e-7} if dtype is torch.float32 or method in ("fehlberg2", "adaptive_heun") else {}
    time, states = odeint(
        Wave(),
        y0,
        t,
        method=method,
        options=options_of(method),
        event_fn=lambda t, y: y - direction * 0.5,
        **looser,
    )
    tolerance = TOLERANCE.get(method, 1e-4)
    assert states.shape == (2, 1) and states.dtype is dtype
    assert abs(float(time.detach()) - direction * math.pi / 6) < tolerance
    # the event is located on the numerical solution, to its rounding
    assert abs(float(states.detach()[-1]) - direction * 0.5) < 1e-6


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("interface", [odeint, odeint_adjoint])
def test_derivatives_by_state_and_times_pass_gradcheck(method, interface):
    field = Wave()
    coarse = method in ("euler", "implicit_euler")
    adaptive = ours.SOLVERS[method].adaptive
    # fixed steps from output to output have exact derivatives; the continuous adjoint's are right where steps are small
    options = None
    if interface is odeint_adjoint and not adaptive:
        options = {"step_size": 0.01 if coarse else 0.02}
    tight = {"rtol": 1e-6, "atol": 1e-7} if method in ("fehlberg2", "adaptive_heun") else {}

    def solve(y0, t):
        return interface(field, y0, t, method=method, options=options, **tight)

    inputs = (double(0.2, -0.4).requires_grad_(), double(0.0, 0.3, 0.6).requires_grad_())
    first_order = interface is odeint_adjoint and coarse
    assert torch.autograd.gradcheck(
        solve, inputs, rtol=2e-2 if first_order else 1e-3, atol=1e-2 if first_order else 1e-4
    )


@pytest.mark.parametrize("method", ["dopri5", "rk4"])
def test_an_event_at_the_beginning_ends_the_solve_there(method):
    y0, t = double(1.0, 2.0).requires_grad_(), double(0.0, 1.0)
    time, states = odeint(
        lambda t, y: -y, y0, t, method=method, options=options_of(method), event_fn=lambda t, y: t * y[0]
    )
    assert float(time) == 0.0
    torch.testing.assert_close(states, torch.stack([y0, y0]), rtol=0, atol=0)
