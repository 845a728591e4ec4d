"""Jets under torch.compile, without graph breaks."""

import pytest
import torch
from torch import nn

from nde.taylor import OneHot, jet
from nde.taylor.operators import expression_plan, kdv_2d
from tests.taylor.cases import CASES
from tests.taylor.cases.layers import LAYERS
from tests.taylor.cases.networks import RECURRENT, SAMPLING
from tests.taylor.test_every_rule import BY_TITLE

FURTHER = [
    "matmul",
    "conv2d",
    "einsum",
    "solve",
    "slogdet",
    "cholesky",
    "irfft",
    "max_pool2d",
    "sort",
    "median",
    "cumprod",
]
FURTHER += [
    "softmax",
    "logsumexp",
    "cdist",
    "var",
    "norm",
    "abs: complex",
    "pad: circular",
    "scatter_add",
    "pow",
    "sinc",
]
TITLES = [*LAYERS, *RECURRENT, *SAMPLING, *FURTHER]


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


@pytest.mark.slow
@pytest.mark.parametrize("title", TITLES)
def test_rules_of_layers_and_products_are_captured_in_one_graph(title):
    case = CASES[title]
    function = case.at(BY_TITLE[title][0])
    v = torch.randn((2, *case.x.shape), generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def coefficients(x, v):
        return jet(function, x, v, order=2, collapse=True).coefficients

    torch._dynamo.reset()
    with torch.no_grad():
        captured = torch.compile(coefficients, backend="eager", fullgraph=True, dynamic=False)(case.x, v)
    for one, other in zip(captured, coefficients(case.x, v), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-10)


WEIGHT = torch.linspace(0.5, 1.5, 4, dtype=torch.float64)
OPERATORS = {
    "minus": lambda x: (x - WEIGHT) * (WEIGHT - x) + (2 - x),
    "over": lambda x: x / WEIGHT + WEIGHT / (2 + x * x) + 1 / (2 + x * x),
    "power": lambda x: (1 + x * x) ** WEIGHT + WEIGHT**x + 2**x,
    "plus and times": lambda x: (WEIGHT + x) * WEIGHT + WEIGHT * x,
    "remainder": lambda x: (x % WEIGHT) * x + (x // WEIGHT) * x + (WEIGHT // x) * x,
    "comparison": lambda x: torch.where(x < WEIGHT, x, x * x) + torch.where(x <= WEIGHT, x, x * x),
}


@pytest.mark.slow
@pytest.mark.parametrize("function", OPERATORS.values(), ids=OPERATORS)
def test_operators_between_jets_and_tensors_keep_their_sides_when_compiled(function):
    torch._dynamo.reset()
    x, v = (torch.randn(4, generator=torch.Generator().manual_seed(seed)).double() for seed in (0, 1))
    with torch.no_grad():
        captured = torch.compile(lambda x: jet(function, x, v, order=2).coefficients, backend="eager", fullgraph=True)(
            x
        )
    for one, other in zip(captured, jet(function, x, v, order=2).coefficients, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.slow
@pytest.mark.parametrize("function", [lambda x: x @ torch.eye(4), lambda x: torch.eye(4) @ x], ids=["left", "right"])
def test_a_matrix_product_whose_sides_the_compiler_exchanges_is_refused(function):
    torch._dynamo.reset()
    x = torch.ones(4, 4)
    compiled = torch.compile(lambda x: jet(function, x, x, order=2).primal, backend="eager", fullgraph=True)
    with pytest.raises(Exception, match=r"torch\.matmul"):
        compiled(x)
