"""States at the ends of steps are differentiable outputs, under every adjoint, and steps taken again build on them."""

import pytest
import torch

import nde
from tests.problems import Net, double, each_adjoint, relative_difference

TIGHT = {"rtol": 1e-9, "atol": 1e-9}


def gradients(net, adjoint, ts=(0.0, 0.7, 2.0), method="tsit5", **options):
    """Return the gradients of a functional of the states of all steps by initial state and parameters."""
    y0 = torch.linspace(-1, 1, 6, dtype=torch.float64).reshape(2, 3).requires_grad_()
    solution = nde.solve_ode(net, y0, ts, adjoint=adjoint, method=method, step_states=True, **options)
    y = solution.steps.y
    weights = torch.linspace(-1, 2, y.numel(), dtype=torch.float64).reshape(y.shape)
    value = (weights * y.square()).sum() + solution.y1.sum()
    found = torch.autograd.grad(value, [y0, *net.parameters()])
    return torch.cat([part.reshape(-1) for part in found])


@each_adjoint
def test_gradients_are_those_of_the_direct_adjoint(adjoint) -> None:
    net = Net()
    # given steps: those that a controller chooses differ with the rounding of its error estimates
    options = {"controller": nde.StepTo((0.3, 1.1, 1.6))}
    assert relative_difference(gradients(net, adjoint, **options), gradients(net, "direct", **options)) < 1e-12


@pytest.mark.parametrize("ts", [(0.0, 0.7, 2.0), (2.0, 0.7, 0.0)], ids=["forwards", "backwards"])
@pytest.mark.parametrize("landing", [False, True])
def test_the_continuous_adjoint_jumps_at_every_state(landing: bool, ts) -> None:
    net = Net()
    options = dict(TIGHT)
    if landing:  # some steps end on an output; the backward solve takes the same ones
        options |= {"method": "dopri8", "controller": nde.StepTo(tuple((torch.arange(1, 20) / 10).tolist()))}
    found, expected = (gradients(net, adjoint, ts, **options) for adjoint in ("backsolve", "direct"))
    assert relative_difference(found, expected) < 1e-6


def test_the_reversible_adjoint_has_them_too() -> None:
    net = Net()
    options = {"method": "reversible_heun", "controller": nde.FixedStep(0.1)}
    found, expected = (gradients(net, adjoint, **options) for adjoint in ("reversible", "direct"))
    assert relative_difference(found, expected) < 1e-10


def test_second_derivatives_of_steps_taken_again_are_those_of_the_direct_adjoint() -> None:
    found = []
    for adjoint in ("discrete", "direct"):
        net = Net()
        y0 = double(0.4, -0.2, 0.8).requires_grad_()
        solution = nde.solve_ode(net, y0, (0.0, 0.5, 1.0), adjoint=adjoint, controller=nde.StepTo(), step_states=True)
        value = sum(solution.retake(index, grad="full").error for index in range(len(solution.steps)))
        (first,) = torch.autograd.grad(value, y0, create_graph=True)
        second = torch.autograd.grad(first.square().sum(), [y0, *net.parameters()])
        found.append(torch.cat([part.reshape(-1) for part in second]))
    assert relative_difference(*found) < 1e-8


def test_states_of_a_solve_that_failed_have_their_gradients() -> None:
    found = []
    for adjoint in ("direct", "discrete", "backsolve"):
        y0 = double(1.0).requires_grad_()
        solution = nde.solve_ode(
            lambda t, y: y.square(),
            y0,
            (0.0, 2.0),
            adjoint=adjoint,
            throw=False,
            max_steps=12,
            step_states=True,
            controller=nde.FixedStep(0.02),
        )
        assert not solution.success
        found.append(torch.autograd.grad(solution.steps.y.sum(), y0)[0])
    assert torch.allclose(found[1], found[0], rtol=1e-12) and torch.allclose(found[2], found[0], rtol=1e-6)
