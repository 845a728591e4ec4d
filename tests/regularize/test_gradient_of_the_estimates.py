"""The gradient of a penalty is that of the recorded steps, with constant sizes and all stages attached."""

import numpy
import pytest
import torch
from torch import nn

import nde
from tests.problems import Net, double, each_adjoint, relative_difference
from tests.regularize.one_step import TOLERANCE, cosine, digits, flat_gradient, one_step_error


def penalty_of(net: nn.Module, controller=None, adjoint="discrete") -> tuple[torch.Tensor, nde.Solution]:
    y0 = torch.linspace(-1, 1, 8, dtype=torch.float64).reshape(4, 2)
    solution = nde.solve_ode(
        net, y0, (0.0, 1.0), rtol=TOLERANCE, atol=TOLERANCE, controller=controller, adjoint=adjoint
    )
    return nde.regularize.GlobalError(reduction="sum")(solution), solution


def central_difference(net: nn.Module, direction: list[torch.Tensor], controller, step: float) -> float:
    """Return the derivative of the penalty along a direction of the parameters."""
    values = []
    with torch.no_grad():
        for sign in (1, -1):
            for parameter, part in zip(net.parameters(), direction, strict=True):
                parameter.add_(part, alpha=sign * step)
            values.append(float(penalty_of(net, controller)[0]))
            for parameter, part in zip(net.parameters(), direction, strict=True):
                parameter.sub_(part, alpha=sign * step)
    return (values[0] - values[1]) / (2 * step)


@each_adjoint
def test_penalty_gradient_equals_finite_difference_with_frozen_steps_and_not_with_free_ones(adjoint) -> None:
    net = Net(size=2, hidden=8)
    penalty, solution = penalty_of(net, adjoint=adjoint)
    gradient = torch.autograd.grad(penalty, list(net.parameters()))
    norm = torch.cat([part.reshape(-1) for part in gradient]).norm()
    direction = [part / norm for part in gradient]
    ends = (solution.steps.t + solution.steps.h).tolist()
    frozen = central_difference(net, direction, nde.StepTo(tuple(ends[:-1])), step=1e-5)
    # truncation 1e-10 of the value and rounding of the estimate (1e-16 / 1e-8 of it) over the step: about 1e-5
    assert float(norm) == pytest.approx(frozen, rel=1e-4)
    # the controller answers a larger error with smaller steps, which hides most of the change from the penalty
    free = central_difference(net, direction, None, step=1e-5)
    assert abs(free) < 0.5 * float(norm)


def test_step_sizes_and_beginnings_are_constants() -> None:
    net = Net(size=2)
    steps = nde.solve_ode(net, double(0.1, 0.2).requires_grad_(), (0.0, 1.0)).steps
    assert not steps.h.requires_grad and not steps.t.requires_grad
    assert steps.error.requires_grad and steps.stiffness.requires_grad


def zero_field(kind: str):
    """Return a field that vanishes at first, its parameters and a state."""
    if kind == "zero":
        weight = double(0.0).requires_grad_()
        return (lambda t, y: weight * y), [weight], double(1.0, 2.0)
    if kind == "zero-initialised last layer":
        net = Net(size=2)
        nn.init.zeros_(net.outer.weight)
        nn.init.zeros_(net.outer.bias)
        return net, list(net.parameters()), double(1.0, 2.0)
    if kind == "zero state":
        weight = double(0.5).requires_grad_()
        return (lambda t, y: weight * torch.sin(y)), [weight], double(0.0, 0.0)
    if kind == "constant":  # the estimates cancel, but for rounding
        weight = double(0.5).requires_grad_()
        return (lambda t, y: weight.expand(2)), [weight], double(1.0, 2.0)
    raise ValueError(kind)


@each_adjoint
@pytest.mark.parametrize("method", ["heun", "bosh3", "dopri5", "tsit5", "dopri8"])
@pytest.mark.parametrize("kind", ["zero", "zero-initialised last layer", "zero state", "constant"])
def test_gradients_of_all_penalties_are_finite_where_the_field_vanishes(kind: str, method: str, adjoint) -> None:
    field, parameters, y0 = zero_field(kind)
    y0.requires_grad_()
    solution = nde.solve_ode(field, y0, (0.0, 1.0), method=method, adjoint=adjoint)
    penalties = [nde.regularize.GlobalError(), nde.regularize.GlobalErrorSquared(), nde.regularize.StepCount()]
    if solution.steps.stiffness is not None:
        penalties += [nde.regularize.GlobalStiffness(), nde.regularize.GlobalStiffness(reduction="max")]
    for penalty in penalties:
        value = penalty(solution)
        gradients = torch.autograd.grad(value, [y0, *parameters], retain_graph=True, allow_unused=True)
        assert value.isfinite(), penalty
        assert all(gradient is None or gradient.isfinite().all() for gradient in gradients), penalty


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gradients_are_finite_where_the_field_vanishes_in_lower_precision(dtype: torch.dtype) -> None:
    y0 = torch.tensor([1.0, 2.0], dtype=dtype, requires_grad=True)
    solution = nde.solve_ode(lambda t, y: 0 * y, y0, (0.0, 1.0), rtol=0.5, atol=0.5, controller=nde.FixedStep(0.25))
    value = (
        solution.steps.error.sum() + solution.steps.stiffness.sum() + nde.regularize.StepCount(set_point=1)(solution)
    )
    (gradient,) = torch.autograd.grad(value, y0)
    assert gradient.isfinite().all()


def test_gradient_keeps_the_first_stage_of_every_step_attached() -> None:
    # Each accepted step is taken again alone, from a constant state, and the gradients of its weighted error add up.
    # With its first stage attached, the sum points where the whole gradient does, which has the path through the states
    # besides; with a detached one, the error weights no longer sum to zero and a spurious term of order h takes over.
    net, field, pixels = digits()
    parameters = list(net.parameters())
    solution = nde.solve_ode(field, pixels, (0.0, 1.0), rtol=TOLERANCE, atol=TOLERANCE)
    whole = flat_gradient(nde.regularize.GlobalError(reduction="sum")(solution), parameters)
    ends = (solution.steps.t + solution.steps.h).tolist()
    with torch.no_grad():
        states = nde.solve_ode(field, pixels, [0.0, *ends], rtol=TOLERANCE, atol=TOLERANCE, controller=nde.StepTo()).ys
    tableau = nde.solvers.find_method("tsit5").tableau
    sums = {True: 0.0, False: 0.0}
    for attached in sums:
        total = 0.0
        for t, h, y in zip(solution.steps.t.tolist(), solution.steps.h.tolist(), states[:-1], strict=True):
            total = total + h * one_step_error(field, tableau, t, h, y, attached)
        sums[attached] = flat_gradient(total, parameters)
    # the replay by hand has the solver's estimates, so the comparison speaks of the same thing
    assert float(total.detach()) == pytest.approx(
        float((solution.steps.error * solution.steps.h).sum().detach()), rel=1e-6
    )
    assert cosine(sums[True], whole) > 0.8
    assert cosine(sums[False], whole) < 0.5
    assert float(sums[False].norm()) > 100 * float(whole.norm())


def test_gradient_of_the_first_stage_alone_is_not_lost_between_steps() -> None:
    # the last stage of a step is the first of the next: two steps by hand, with every stage on one tape
    net = Net(size=3, hidden=6)
    y0 = double(0.2, -0.4, 0.9)
    tableau = nde.solvers.find_method("tsit5").tableau
    solution = nde.solve_ode(net, y0, (0.0, 0.5, 1.0), rtol=TOLERANCE, atol=TOLERANCE, controller=nde.StepTo())
    middle = solution.ys[1]
    by_hand = one_step_error(net, tableau, 0.0, 0.5, y0, True) + one_step_error(net, tableau, 0.5, 0.5, middle, True)
    expected = flat_gradient(by_hand, list(net.parameters()))
    found = flat_gradient(solution.steps.error.sum(), list(net.parameters()))
    # rounding of the embedded difference: 1e-16 relative to a tolerance of 1e-8
    assert relative_difference(found, expected) < 1e-6


def test_solve_is_bitwise_the_same_with_and_without_a_penalty() -> None:
    y0 = torch.linspace(-1, 1, 6, dtype=torch.float64).reshape(3, 2)
    outputs = []
    for regularizer in (None, nde.regularize.GlobalError(10.0)):
        layer = nde.NeuralODE(Net(size=2), regularizer=regularizer)
        outputs += [layer(y0), layer.eval()(y0)]
    for other in outputs[1:]:
        assert torch.equal(other.ys, outputs[0].ys)
        assert torch.equal(other.solution.steps.h, outputs[0].solution.steps.h)
        assert other.stats.n_field_evals == outputs[0].stats.n_field_evals
    assert [float(output.penalty.detach()) > 0 for output in outputs] == [False, False, True, False]


def test_gradient_of_the_loss_is_bitwise_the_same_with_a_penalty_of_weight_zero() -> None:
    y0 = torch.linspace(-1, 1, 6, dtype=torch.float64).reshape(3, 2)
    found = []
    for regularizer in (None, nde.regularize.GlobalError(0.0)):
        layer = nde.NeuralODE(Net(size=2), regularizer=regularizer)
        output = layer(y0)
        found.append(torch.autograd.grad(output.y1.sum() + output.penalty, list(layer.field.parameters())))
    for one, two in zip(*found, strict=True):
        assert torch.equal(one, two)


def test_penalties_count_accepted_steps_only() -> None:
    # the first attempts are rejected with errors above one; the record and the penalty must not know of them
    controller = nde.IController(initial=2.0)
    solution = nde.solve_ode(Net(size=2), double(0.3, 0.4), (0.0, 3.0), rtol=1e-7, atol=1e-7, controller=controller)
    assert solution.stats.n_rejected > 0
    assert len(solution.steps.error) == solution.stats.n_accepted
    assert float(solution.steps.error.max().detach()) <= 1
    assert float(nde.regularize.GlobalErrorSquared(reduction="mean")(solution).detach()) <= 1
    ends = solution.steps.t + solution.steps.h
    # beginnings and ends of the accepted steps join up to the whole span, to the rounding of sums
    torch.testing.assert_close(ends[:-1], solution.steps.t[1:], rtol=0, atol=1e-15)
    assert float(solution.steps.t[0]) == 0 and float(ends[-1]) == pytest.approx(3.0, abs=1e-15)


def test_adding_padding_dilutes_the_error_as_the_root_mean_square_does() -> None:
    field = lambda t, y: torch.stack([torch.sin(3 * y[..., 0]), torch.zeros_like(y[..., 0])], -1)[..., : y.shape[-1]]
    options = {"controller": nde.FixedStep(0.5), "rtol": 0.0, "atol": 1e-6}
    alone = nde.solve_ode(field, double(1.0), (0.0, 1.0), **options).steps.error
    padded = nde.solve_ode(field, double(1.0, 5.0), (0.0, 1.0), **options).steps.error
    # half of the entries make no error: the root of one half, to the rounding of the differences
    torch.testing.assert_close(padded, alone / numpy.sqrt(2), rtol=1e-9, atol=0)
