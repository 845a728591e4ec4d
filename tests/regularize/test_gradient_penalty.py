"""The finite-difference penalty on the gradient's norm has the gradient of that norm, and leaves parameters alone."""

import pytest
import torch
from torch import Tensor

import nde
from nde.regularize import backward_with_gradient_penalty
from tests.problems import Net, double


@pytest.mark.parametrize("size", [0.01, 1.0, -0.5])
def test_on_a_quadratic_loss_it_is_exact_whatever_the_size(size: float) -> None:
    matrix = torch.tensor([[2.0, 0.5], [0.5, 1.0]], dtype=torch.float64)
    start = double(1.0, -3.0)
    place = start.clone().requires_grad_()
    value = backward_with_gradient_penalty(lambda: 0.5 * place @ matrix @ place, [place], 0.3, size)
    torch.testing.assert_close(value, 0.5 * start @ matrix @ start)
    torch.testing.assert_close(place.grad, matrix @ start + 0.3 * matrix @ matrix @ start)
    assert torch.equal(place.detach(), start)


@pytest.mark.parametrize("adjoint", ["discrete", "backsolve"])
def test_through_a_solve_it_is_the_gradient_of_the_penalised_loss(adjoint: str) -> None:
    y0 = torch.linspace(-1, 1, 6, dtype=torch.float64).reshape(2, 3)

    def loss_of(net: Net, used: str) -> Tensor:
        layer = nde.NeuralODE(net, adjoint=used, method="dopri8", rtol=1e-10, atol=1e-10)
        return (layer(y0).y1 - 1).square().mean()

    net = Net(size=3)
    parameters = list(net.parameters())
    first = torch.autograd.grad(loss_of(net, "direct"), parameters, create_graph=True)
    penalty = 0.5 * sum(part.square().sum() for part in first)
    second = torch.autograd.grad(penalty, parameters)
    backward_with_gradient_penalty(lambda: loss_of(net, adjoint), parameters, 0.2, 1e-4)
    for parameter, one, two in zip(parameters, first, second, strict=True):
        torch.testing.assert_close(parameter.grad, (one + 0.2 * two).detach(), rtol=1e-3, atol=1e-5)
        assert float((0.2 * two).abs().max()) > 1e-3  # the penalty is seen at this tolerance


def test_gradients_add_up_and_unused_parameters_have_none() -> None:
    used, unused = double(2.0).requires_grad_(), double(1.0).requires_grad_()
    for _ in range(2):
        backward_with_gradient_penalty(lambda: used.square().sum(), [used, unused], 0.0)
    torch.testing.assert_close(used.grad, double(8.0))
    torch.testing.assert_close(unused.grad, double(0.0))


def test_parameters_are_restored_where_the_loss_fails() -> None:
    place, calls = double(2.0).requires_grad_(), []

    def failing() -> Tensor:
        calls.append(1)
        if len(calls) == 2:
            raise RuntimeError("diverged")
        return place.square().sum()

    with pytest.raises(RuntimeError, match="diverged"):
        backward_with_gradient_penalty(failing, [place], 0.1)
    assert float(place.detach()) == 2.0


def test_wrong_arguments_are_refused() -> None:
    place = double(2.0).requires_grad_()
    with pytest.raises(TypeError, match="loss must be callable"):
        backward_with_gradient_penalty(place.sum(), [place], 0.1)
    with pytest.raises(ValueError, match="requires a gradient"):
        backward_with_gradient_penalty(lambda: place.sum(), [place.detach()], 0.1)
    with pytest.raises(ValueError, match="weight must be zero or positive"):
        backward_with_gradient_penalty(lambda: place.sum(), [place], -0.1)
    with pytest.raises(ValueError, match="size must be finite and not zero"):
        backward_with_gradient_penalty(lambda: place.sum(), [place], 0.1, 0.0)
