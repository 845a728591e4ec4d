"""The gradient of elementwise functions of jets that is written by hand, against automatic differentiation."""

import pytest
import torch

import nde.taylor
from nde.taylor.rules import elementwise

GENERATOR = torch.Generator().manual_seed(9)


def draw(*shape):
    return torch.randn(shape, generator=GENERATOR, dtype=torch.float64)


FUNCTIONS = {
    "tanh": torch.tanh,
    "sin after a layer": lambda z: torch.sin(z @ WEIGHT + 0.3 * z[..., :1]),
    "silu twice": lambda z: torch.nn.functional.silu(torch.nn.functional.silu(z)),
    "softplus of what is broadcast": lambda z: torch.nn.functional.softplus(z.mean(-1, keepdim=True) + WEIGHT[0]),
}
WEIGHT = draw(3, 3)
POINTS, DIRECTIONS, SHARED, SECOND = draw(2, 3), draw(4, 2, 3), draw(4, 1, 3), draw(2, 3)
WEIGHTS = {"none": None, "one": draw(4), "two": draw(2, 4)}


def derivatives(function, seeds, order, collapse, weights, monkeypatch, by_hand):
    leaves = [tensor.clone().requires_grad_() for tensor in (POINTS, *seeds)]
    calls = []

    def counted(*args):
        calls.append(1)
        return compose_by_hand(*args) if by_hand else None

    compose_by_hand = elementwise.compose_by_hand
    with monkeypatch.context() as patch:
        patch.setattr(elementwise, "compose_by_hand", counted)
        patch.setattr(elementwise, "_is_laplacian", lambda frame: False)
        result = nde.taylor.jet(
            function, leaves[0], leaves[1:], order=order, collapse=collapse, weights=weights
        ).coefficients
    assert calls
    value = sum((c * torch.linspace(0.5, 1.5, c.numel(), dtype=c.dtype).reshape(c.shape)).sum() for c in result)
    first = torch.autograd.grad(value, leaves, create_graph=True)
    second = torch.autograd.grad(sum((g * g.sin()).sum() for g in first), leaves)
    return [*result, *first, *second]


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize(("collapse", "weights"), [(False, "none"), (True, "none"), (True, "one"), (True, "two")])
@pytest.mark.parametrize("order", [2, 3, 4])
@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
def test_values_and_derivatives_of_two_orders_are_those_of_automatic_differentiation(
    function, order, collapse, weights, shared, monkeypatch
):
    seeds = [SHARED if shared else DIRECTIONS, SECOND]  # the second is shared by all directions, or that of the sum
    case = (function, seeds, order, collapse, WEIGHTS[weights], monkeypatch)
    found, expected = derivatives(*case, by_hand=True), derivatives(*case, by_hand=False)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-11)


def test_a_first_seed_that_all_directions_share_gets_the_gradient_of_all_of_them():
    seeds = [draw(2, 3).requires_grad_(), draw(3, 2, 3).requires_grad_()]
    x = draw(2, 3).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda *leaves: nde.taylor.jet(torch.tanh, leaves[0], leaves[1:], order=3, collapse=True).coefficient(3),
        (x, *seeds),
    )


def test_weights_that_are_trained_get_gradients():
    weights = torch.rand(4, dtype=torch.float64, requires_grad=True)

    def total(weights):
        return nde.taylor.jet(torch.tanh, POINTS, DIRECTIONS, order=3, collapse=True, weights=weights).coefficient(3)

    assert torch.autograd.gradcheck(total, (weights,))
