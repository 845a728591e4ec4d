"""Fields that take derivatives of their own, as continuous normalizing flows do, make leaves in every evaluation.

These are no tensors that an adjoint has missed; one that is the same in every evaluation is.
"""

import itertools

import pytest
import torch

import nde
from nde.compat.torchdiffeq import odeint, odeint_adjoint
from tests.problems import Net, double


def flow(net, t, state):
    """Return the slopes of a state and of its log-density, with the trace taken entry by entry."""
    z = state[0]
    with torch.enable_grad():
        z.requires_grad_(True)
        t.requires_grad_(True)
        slope = net(t, z)
        trace = sum(torch.autograd.grad(slope[:, i].sum(), z, create_graph=True)[0][:, i] for i in range(2))
    # a component that stays as it is, as an implementation of FFJORD returns it
    return slope, -trace[:, None], torch.zeros_like(state[2]).requires_grad_(True)


def start():
    y0 = double([0.5, -0.3], [1.0, 0.2], [-0.4, 0.7])
    return y0, torch.zeros(3, 1, dtype=torch.float64), torch.ones(3, 1, dtype=torch.float64)


def gradients(net, y1):
    return torch.autograd.grad(y1[0].square().sum() + y1[1].sum(), [net.inner.weight, net.outer.weight])


@pytest.mark.parametrize("options", [{}, {"per_sample": True}, {"dense": True}], ids=["plain", "per sample", "dense"])
# backsolve has its own error, of the size of the tolerance
@pytest.mark.parametrize(("adjoint", "rtol"), [("discrete", 1e-11), ("backsolve", 1e-5)])
def test_a_field_may_ask_for_derivatives_by_its_state_and_time(adjoint, rtol, options) -> None:
    net = Net(size=2)
    solve = lambda adjoint: nde.solve_ode(
        lambda t, y: flow(net, t, y), start(), (0.0, 1.0), adjoint=adjoint, rtol=1e-7, atol=1e-7, **options
    )
    expected = gradients(net, solve("direct").y1)
    for ours, theirs in zip(gradients(net, solve(adjoint).y1), expected, strict=True):
        assert float(theirs.abs().max()) > 0.01
        torch.testing.assert_close(ours, theirs, rtol=rtol, atol=rtol)


def test_the_continuous_adjoint_of_torchdiffeqs_interface_trains_such_a_flow() -> None:
    class Flow(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = Net(size=2)

        def forward(self, t, state):
            return flow(self.net, t, state)

    field, found = Flow(), []
    for solve in (odeint, odeint_adjoint):
        states = solve(field, start(), double(1.0, 0.0), rtol=1e-7, atol=1e-9)
        found.append(gradients(field.net, [part[-1] for part in states]))
    torch.testing.assert_close(found[0], found[1], rtol=1e-5, atol=1e-6)


def test_such_leaves_cost_one_evaluation_and_other_fields_none() -> None:
    net, calls = Net(size=2), []

    def counted(t, y):
        calls.append(t)
        return flow(net, t, y)

    options = {"method": "euler", "controller": nde.FixedStep(0.25)}
    assert nde.solve_ode(counted, start(), (0.0, 1.0), **options).stats.n_field_evals == len(calls) == 5
    assert nde.solve_ode(net, start()[0], (0.0, 1.0), **options).stats.n_field_evals == 4


@pytest.mark.parametrize("adjoint", ["discrete", "backsolve"])
@pytest.mark.parametrize("per_sample", [False, True])
def test_a_missed_tensor_is_noticed_beside_such_leaves_and_in_one_evaluation(per_sample: bool, adjoint: str) -> None:
    endless = itertools.repeat(double(0.7).requires_grad_())

    def field(t, y):
        with torch.enable_grad():
            y.requires_grad_(True)
            return torch.autograd.grad(y.square().sum(), y, create_graph=True)[0] * next(endless)

    with pytest.raises(RuntimeError, match=r"shape \(1,\).*cannot find"):
        nde.solve_ode(
            field, start()[0], (0.0, 1.0), adjoint=adjoint, per_sample=per_sample,
            method="euler", controller=nde.FixedStep(1.0),
        )  # fmt: skip


@pytest.mark.parametrize("adjoint", ["direct", "discrete"])
def test_a_field_made_by_torchs_function_transforms_has_the_gradients_of_one_that_is_written_out(adjoint) -> None:
    weight = torch.tensor([0.7, -0.3], dtype=torch.float64, requires_grad=True)
    force = torch.func.grad(lambda x: (torch.cos(x) * weight).sum())
    y0, found = torch.ones(3, 2, dtype=torch.float64), []
    for field in (lambda t, x: force(x), lambda t, x: -torch.sin(x) * weight):
        end = nde.solve_ode(field, y0, (0.0, 1.0), adjoint=adjoint).y1
        found.append(torch.autograd.grad(end.square().sum(), weight)[0])
    torch.testing.assert_close(*found, rtol=1e-12, atol=0)
