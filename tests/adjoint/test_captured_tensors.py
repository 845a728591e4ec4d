"""The discrete adjoint finds every tensor that a field depends on, wherever it is held, or says that it cannot.

The expected gradient is that of the direct adjoint, which needs to find nothing.
"""

import itertools
import types

import pytest
import torch
from torch import nn

import nde
from tests.adjoint.captured_cases import CASES, weight
from tests.problems import ADJOINTS, Net, double, each_adjoint


def gradients(make, adjoint, graph: bool = False):
    """Return the gradients by the leaves of what ``make`` builds: ``(field, args, leaves)``."""
    field, args, leaves = make()
    solution = nde.solve_ode(
        field, double(0.5, -0.3), (0.0, 0.4, 1.0), args, controller=nde.FixedStep(0.3), adjoint=adjoint
    )
    loss = solution.ys.square().sum() + 1e-3 * solution.steps.error.sum()
    return torch.autograd.grad(loss, leaves, create_graph=graph)


@pytest.mark.parametrize("mode", ["discrete", "replay", "graph"])
@pytest.mark.parametrize("make", CASES, ids=[case.__name__ for case in CASES])
def test_discrete_adjoint_finds_tensors_wherever_the_field_holds_them(make, mode: str) -> None:
    direct = gradients(make, "direct")
    discrete = gradients(make, ADJOINTS.get(mode, "discrete"), graph=mode == "graph")
    for ours, theirs in zip(discrete, direct, strict=True):
        assert float(theirs.abs().max()) > 0
        # the same products in another order; the penalty on the error loses some digits of 1e-16
        torch.testing.assert_close(ours.detach(), theirs, rtol=1e-9, atol=1e-12)


@each_adjoint
def test_parameters_that_the_field_does_not_use_get_no_gradient(adjoint) -> None:
    net = Net(size=2)
    net.spare = nn.Linear(3, 3)
    nde.solve_ode(net, double(0.5, -0.3), (0.0, 1.0), adjoint=adjoint).y1.sum().backward()
    assert net.spare.weight.grad is None or not net.spare.weight.grad.any()
    assert net.outer.weight.grad.any()


def hidden_in_an_iterator():
    w = weight()
    endless = itertools.repeat(w)
    return (lambda t, y: torch.sin(next(endless) * y)), w


def hidden_in_a_generator():
    w = weight()

    def generate():
        while True:
            yield w

    endless = generate()
    return (lambda t, y: torch.sin(next(endless) * y)), w


def hidden_non_leaf_in_an_iterator():
    w = weight()
    endless = itertools.repeat(w.exp())
    return (lambda t, y: torch.sin(next(endless) * y)), w


HIDDEN = [hidden_in_an_iterator, hidden_in_a_generator, hidden_non_leaf_in_an_iterator]


@pytest.mark.parametrize("graph", [False, True], ids=["plain", "create_graph"])
@pytest.mark.parametrize("method", ["tsit5", "rk4", "euler"])
@pytest.mark.parametrize("make", HIDDEN, ids=[case.__name__ for case in HIDDEN])
@pytest.mark.parametrize("adjoint", ["discrete", "replay"])
def test_a_tensor_that_cannot_be_found_is_an_error_and_no_silent_loss(
    make, method: str, graph: bool, adjoint: str
) -> None:
    field, _ = make()
    y0 = double(0.5, -0.3).requires_grad_()
    options = {"method": method, "controller": nde.FixedStep(0.3), "adjoint": ADJOINTS[adjoint]}

    def solve_and_differentiate() -> None:
        torch.autograd.grad(nde.solve_ode(field, y0, (0.0, 1.0), **options).y1.sum(), y0, create_graph=graph)

    with pytest.raises(RuntimeError, match=r'adjoint="discrete" cannot find.*adjoint="direct"'):
        solve_and_differentiate()


def test_a_tensor_that_cannot_be_found_is_an_error_even_if_nothing_else_asks_for_a_gradient() -> None:
    # nothing that could be found requires a gradient, but the field's value does
    field, w = hidden_in_an_iterator()
    with pytest.raises(RuntimeError, match=r'adjoint="discrete" cannot find'):
        nde.solve_ode(field, double(0.5, -0.3), (0.0, 1.0)).y1.sum().backward()
    assert w.grad is None


@pytest.mark.parametrize("make", HIDDEN, ids=[case.__name__ for case in HIDDEN])
def test_direct_adjoint_needs_to_find_nothing(make) -> None:
    field, w = make()
    (gradient,) = torch.autograd.grad(nde.solve_ode(field, double(0.5), (0.0, 1.0), adjoint="direct").y1.sum(), w)
    assert float(gradient.abs()) > 0


@each_adjoint
def test_objects_that_refer_to_each_other_in_a_circle_are_searched_once(adjoint) -> None:
    w = weight()
    one, two = types.SimpleNamespace(w=w), types.SimpleNamespace()
    one.other, two.other = two, one
    solution = nde.solve_ode(
        lambda t, y: torch.sin(two.other.w * y), double(0.5), (0.0, 1.0), adjoint=adjoint, rtol=1e-9, atol=1e-9
    )
    (gradient,) = torch.autograd.grad(solution.y1.sum(), w)
    assert float(gradient) > 0


@each_adjoint
def test_field_that_ignores_the_state_has_gradients(adjoint) -> None:
    # y(1) = y0 + w / 2
    w, y0 = weight(), double(0.2).requires_grad_()
    solution = nde.solve_ode(lambda t, y: w * t, y0, (0.0, 1.0), adjoint=adjoint)
    by_state, by_weight = torch.autograd.grad(solution.y1.sum(), [y0, w])
    # polynomials of degree 2 are integrated without error but rounding
    assert float(by_state) == pytest.approx(1.0, abs=1e-14)
    assert float(by_weight) == pytest.approx(0.5, abs=1e-14)


@each_adjoint
def test_constant_field_passes_the_gradient_of_the_state_on(adjoint) -> None:
    y0 = double(0.2, 0.4).requires_grad_()
    solution = nde.solve_ode(lambda t, y: torch.ones_like(y), y0, (0.0, 0.5, 1.0), adjoint=adjoint)
    (gradient,) = torch.autograd.grad(solution.ys.sum(), y0)
    assert gradient.tolist() == [3.0, 3.0]


@each_adjoint
def test_a_field_may_solve_another_equation(adjoint) -> None:
    w = weight()

    def inner(t, z):
        return w * torch.cos(z)

    def outer(t, y):
        # different shape and method, so that scratch memory of the two solves would not mix unnoticed
        solution = nde.solve_ode(inner, torch.cat([y, y]), (0.0, 0.3), method="rk4", controller=nde.StepTo())
        return solution.y1[:2] - 0.5 * y

    def reference(t, y):
        h, z = 0.3, torch.cat([y, y])
        k1 = inner(t, z)
        k2 = inner(t, z + h / 2 * k1)
        k3 = inner(t, z + h / 2 * k2)
        k4 = inner(t, z + h * k3)
        return (z + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4))[:2] - 0.5 * y

    found = []
    for field in (outer, reference):
        solution = nde.solve_ode(field, double(0.5, -0.3), (0.0, 1.0), adjoint=adjoint, controller=nde.FixedStep(0.25))
        found.append((solution.y1.detach(), *torch.autograd.grad(solution.y1.sum(), w)))
    torch.testing.assert_close(*found, rtol=1e-13, atol=0)  # sums in another order


def test_a_field_may_solve_another_equation_of_the_same_shape_and_method() -> None:
    w = weight()

    def outer(t, y):
        inner = nde.solve_ode(lambda s, z: w * torch.cos(z), y, (0.0, 0.3), controller=nde.StepTo())
        return inner.y1 - 0.5 * y

    found = []
    for adjoint in ADJOINTS.values():
        solution = nde.solve_ode(outer, double(0.5, -0.3), (0.0, 0.4, 1.0), adjoint=adjoint)
        loss = solution.ys.sum() + 1e-3 * solution.steps.error.sum()
        found.append((loss.detach(), *torch.autograd.grad(loss, w)))
    for other in found[1:]:
        torch.testing.assert_close(
            other, found[0], rtol=1e-9, atol=0
        )  # sums in another order, and digits that the error loses


def test_what_was_computed_before_the_first_held_tensor_is_passed_once() -> None:
    passes = []

    class Counted(torch.autograd.Function):
        @staticmethod
        def forward(ctx, value):
            return value.clone()

        @staticmethod
        def backward(ctx, cotangent):
            passes.append(1)
            return cotangent

    w = weight()
    held = Counted.apply(w)
    derived = held.exp()  # as a spline's derivatives are computed from its coefficients
    solution = nde.solve_ode(
        lambda t, y: torch.sin(held * y) * derived, double(0.5), (0.0, 1.0), controller=nde.FixedStep(0.1)
    )
    solution.y1.sum().backward()
    assert len(passes) == 1
    assert float(w.grad) != 0
