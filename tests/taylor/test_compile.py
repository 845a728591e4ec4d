"""Jets under torch.compile, without graph breaks."""

import pytest
import torch
from torch import nn

from nde.taylor import OneHot, jet
from nde.taylor.operators import expression_plan, kdv_2d


@pytest.mark.slow
@pytest.mark.parametrize("order", [2, 4])
def test_a_training_step_compiles_without_graph_breaks(order):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 8), nn.SiLU(), nn.LayerNorm(8), nn.Linear(8, 1))
    x = torch.randn(5, 6)

    def loss(x, indices):
        def solution(x):
            return (1 - (x * x).sum(-1, keepdim=True)) * network(x)

        result = jet(solution, x, OneHot(indices), order=order, collapse=True)
        return (result.derivative(order) + torch.sin(result.primal)).square().mean()

    compiled = torch.compile(loss, fullgraph=True)
    for indices in (torch.tensor([0, 3, 5]), torch.tensor([1, 2, 4])):
        gradients = []
        for function in (loss, compiled):
            network.zero_grad()
            value = function(x, indices)
            value.backward()
            gradients.append([value.detach(), *(parameter.grad for parameter in network.parameters())])
        for one, other in zip(*gradients, strict=True):
            torch.testing.assert_close(one, other, rtol=2e-4, atol=1e-4 * float(one.abs().max()))


@pytest.mark.slow
def test_a_residual_of_mixed_derivatives_compiles_without_graph_breaks():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1)).double()
    residual = kdv_2d()
    expression_plan(residual)
    x = torch.randn(5, 3, dtype=torch.float64)
    gradients = []
    for function in (residual, torch.compile(lambda net, x: residual(net, x), fullgraph=True)):
        network.zero_grad()
        value = function(network, x)
        value.square().mean().backward()
        gradients.append([value.detach(), *(parameter.grad for parameter in network.parameters())])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-10)
