"""SciPy's solvers, forward and backward, have the states and gradients of the others."""

import pytest
import torch

from nde.compat.torchdiffeq import odeint, odeint_adjoint
from tests.problems import double


class Rotation(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.rate = torch.nn.Parameter(double(0.7, 1.1))
        self.unused = torch.nn.Parameter(double(1.0))

    def forward(self, t, y):
        if isinstance(y, tuple):
            return self.rate[0] * y[1][0], -self.rate[1:] * y[0] * torch.cos(t)
        return torch.stack([self.rate[0] * y[1], -self.rate[1] * y[0] * torch.cos(t)])


T = double(0.0, 0.4, 1.3)
TIGHT = {"rtol": 1e-9, "atol": 1e-10}
# a derivative of one solver's states against that of another's at these tolerances
CLOSE = {"rtol": 1e-6, "atol": 1e-7}


def gradients(solve, reverse=False, tupled=False):
    field, y0 = Rotation(), double(0.5, -1.0).requires_grad_()
    t = (T.flip(0) if reverse else T).clone().requires_grad_()
    states = solve(field, (y0[0], y0[1:]) if tupled else y0, t)
    if tupled:
        states = torch.cat([states[0].unsqueeze(-1), states[1]], -1)
    loss = (states * double(1.0, 0.3)).square().sum()
    return [states, *torch.autograd.grad(loss, [y0, t, field.rate])]


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("tupled", [False, True])
@pytest.mark.parametrize(
    "methods", [("scipy_solver", None), ("scipy_solver", "dopri5"), ("dopri5", "scipy_solver")], ids=str
)
def test_the_adjoint_through_scipy_has_the_gradients_of_the_direct_solve(methods, tupled, reverse):
    method, backward = methods
    expected = gradients(lambda *inputs: odeint(*inputs, **TIGHT), reverse, tupled)
    found = gradients(
        lambda *inputs: odeint_adjoint(*inputs, method=method, adjoint_method=backward, **TIGHT), reverse, tupled
    )
    torch.testing.assert_close(found, expected, **CLOSE)


@pytest.mark.parametrize("solver", ["RK45", "DOP853", "Radau", "BDF", "LSODA"])
def test_every_solver_of_scipy_gives_gradients_that_pass_gradcheck(solver):
    field = Rotation()

    def solve(y0, t):
        return odeint_adjoint(field, y0, t, method="scipy_solver", options={"solver": solver})

    assert torch.autograd.gradcheck(solve, (double(0.5, -1.0).requires_grad_(), T.clone().requires_grad_()))


def test_tolerances_of_parts_and_unused_parameters():
    field = Rotation()
    y0 = (double(0.5)[0].requires_grad_(), double(-1.0))
    settings = {"rtol": (1e-8, 1e-9), "atol": (1e-9, double(1e-10)), "method": "scipy_solver"}
    states = odeint(field, y0, T, **settings)
    expected = odeint(field, y0, T, **TIGHT)
    torch.testing.assert_close(states, expected, **CLOSE)
    odeint_adjoint(field, y0, T, adjoint_rtol=1e-8, adjoint_atol=1e-9, **settings)[0].sum().backward()
    torch.testing.assert_close(field.unused.grad, double(0.0))


def test_complex_states_have_the_gradients_of_the_direct_solve():
    def run(interface, **settings):
        rate = torch.tensor([0.3 + 1.0j], dtype=torch.complex128, requires_grad=True)
        y0 = torch.tensor([1.0 - 0.5j], dtype=torch.complex128, requires_grad=True)
        states = interface(lambda t, y: rate * y * torch.cos(t), y0, T, **settings)
        return torch.autograd.grad((states.real**2 + 2 * states.imag).sum(), [y0, rate])

    found = run(odeint_adjoint, method="scipy_solver", adjoint_params=(), **TIGHT)
    torch.testing.assert_close(found, run(odeint, **TIGHT), **CLOSE)


def test_a_closure_without_parameters_gives_no_gradient_node_where_nothing_needs_one():
    states = odeint_adjoint(lambda t, y: -y, double(1.0), T, method="scipy_solver", adjoint_params=())
    assert not states.requires_grad


def test_a_second_derivative_through_scipy_is_an_error_and_not_silence() -> None:
    field, y0 = Rotation(), double(1.0, 0.5).requires_grad_()
    states = odeint_adjoint(field, y0, T, method="scipy_solver", options={"solver": "RK45"}, **TIGHT)
    (first,) = torch.autograd.grad(states[-1].square().sum(), y0, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()
