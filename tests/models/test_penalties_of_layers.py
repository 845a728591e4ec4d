"""Every penalty of `nde.regularize` reaches the networks of every layer that solves an ordinary equation."""

import pytest
import torch
from torch import nn

import nde
from nde.models import GRUDEncoder, HutchPlusPlus, HybridField
from tests.problems import Net, double

PENALTIES = {
    "error": nde.regularize.GlobalError,
    "squared error": nde.regularize.GlobalErrorSquared,
    "stiffness": nde.regularize.GlobalStiffness,
    "steps": nde.regularize.StepCount,
}


def augmented(net, **options):
    return nde.NeuralODE(net, augment=2, **options), (torch.randn(3, 2).double(),), {}


def hybrid(net, **options):
    field = HybridField(lambda t, y, rate: rate * y, net, constants={"rate": 0.5})
    return nde.NeuralODE(field, **options), (torch.randn(3, 4).double(),), {}


def flow(net, **options):
    return nde.ContinuousFlow(net, 4, **options), (torch.randn(3, 4).double(),), {"seed": 0}


def estimated_flow(net, **options):
    return flow(net, trace=HutchPlusPlus(3), control_density=False, **options)


def latent(net, **options):
    layer = nde.LatentODE(net, GRUDEncoder(2, 4), nn.Linear(4, 2), 4, **options).double()
    return layer, (double(0.2, 0.5, 1.0), torch.randn(3, 3, 2).double()), {"seed": 0}


LAYERS = [augmented, hybrid, flow, estimated_flow, latent]


@pytest.mark.parametrize("make", LAYERS)
@pytest.mark.parametrize("penalty", PENALTIES.values(), ids=PENALTIES)
@pytest.mark.parametrize("per_sample", [False, True])
def test_every_penalty_is_that_of_the_solution_and_reaches_the_network(make, penalty, per_sample) -> None:
    net = Net(size=4)
    layer, inputs, call = make(net, regularizer=penalty(0.5), per_sample=per_sample)
    output = layer(*inputs, **call)
    torch.testing.assert_close(output.penalty, 0.5 * penalty()(output.solution), rtol=0, atol=0)
    gradient = torch.autograd.grad(output.penalty, list(net.parameters()))
    assert all(bool(part.isfinite().all()) and bool(part.any()) for part in gradient)
    assert layer.eval()(*inputs, **call).penalty.item() == 0


@pytest.mark.slow
@pytest.mark.parametrize("make", [estimated_flow, latent])
def test_a_penalty_on_the_error_lowers_the_number_of_steps(make) -> None:
    counts = {}
    for weight in (0.0, 1.0):
        torch.manual_seed(0)
        net = Net(size=4, hidden=8)
        layer, inputs, call = make(net, regularizer=nde.regularize.StepCount(weight), rtol=1e-7, atol=1e-7)
        optimizer = torch.optim.Adam(net.parameters(), lr=0.02)
        for _ in range(15):
            loss = layer(*inputs, **call).penalty + 0 * next(net.parameters()).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        counts[weight] = layer.eval()(*inputs, **call).stats.n_accepted
    assert counts[1.0] < 0.8 * counts[0.0]
