"""Gradients of stochastic solves: on one path, they are those of a function like any other."""

import weakref

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

import nde
from nde.adjoint import DiscreteAdjoint
from nde.solvers.sde import find_sde_method, sde_method_names
from tests.solvers.sde.problems import TablePath

METHODS = [
    (calculus, noise, method)
    for calculus in ("ito", "stratonovich")
    for noise in ("diagonal", "scalar", "additive", "general")
    for method in sde_method_names(calculus, noise)
]
REPLAY = DiscreteAdjoint(tape_memory=0)
#: one tape of all steps, tapes of some steps, no tape
DISCRETE = ("discrete", DiscreteAdjoint(tape_memory=1_000), REPLAY)
PATH = {1: TablePath(0.0, 1.0, (3, 1), 8, seed=5), 2: TablePath(0.0, 1.0, (3, 2), 8, seed=6)}


def drift(t, y, a, b):
    return a * torch.sin(y) + torch.cos(t) * y.flip(-1)


def diffusion(t, y, a, b, noise):
    scale = b * (1 + t / 2)
    if noise == "diagonal":
        return scale * torch.cos(y)
    if noise == "scalar":
        return (scale * torch.cos(y)).unsqueeze(-1)
    if noise == "additive":
        return scale * torch.tensor([[1.0, 0.3], [-0.2, 0.6]], dtype=torch.float64).expand(*y.shape, 2)
    return scale * torch.stack([torch.cos(y), torch.sin(y.flip(-1))], -1)


def solve(y0, a, b, calculus, noise, method, adjoint, **options):
    return nde.solve_sde(
        drift,
        lambda t, y, a, b: diffusion(t, y, a, b, noise),
        y0,
        (0.0, 0.5, 1.0),
        (a, b),
        noise=noise,
        calculus=calculus,
        method=method,
        path=PATH[1 if noise == "scalar" else 2],
        adjoint=adjoint,
        controller=nde.FixedStep(0.25),
        **options,
    )


def leaves():
    y0 = torch.tensor([[0.3, -0.4], [0.9, 0.1], [-0.5, 0.6]], dtype=torch.float64, requires_grad=True)
    return y0, *(torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in (0.7, 0.4))


@pytest.mark.parametrize(("calculus", "noise", "method"), METHODS)
def test_discrete_gradients_are_the_direct_ones_and_those_of_finite_differences(calculus, noise, method) -> None:
    has_error = find_sde_method(method, calculus, noise).error_order is not None

    def outputs(*inputs, adjoint=REPLAY):
        solution = solve(*inputs, calculus, noise, method, adjoint)
        return (solution.ys, solution.steps.error) if has_error else (solution.ys,)

    found = []
    for adjoint in ("direct", *DISCRETE):
        inputs = leaves()
        values = outputs(*inputs, adjoint=adjoint)
        loss = sum(
            (value * torch.arange(1.0, 1 + value.numel(), dtype=torch.float64).view(value.shape)).sum()
            for value in values
        )
        found.append(torch.autograd.grad(loss, inputs))
    for others in found[1:]:
        for one, other in zip(found[0], others, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)
    # errors are in units of a tolerance of 1e-3: their derivatives are as many times larger
    assert gradcheck(outputs, leaves(), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("calculus", "noise", "method"),
    [
        ("ito", "diagonal", "milstein"),
        ("ito", "diagonal", "sriw1"),
        ("stratonovich", "general", "log_ode"),
        ("stratonovich", "general", "spark"),
    ],
)
def test_second_derivatives_are_those_of_finite_differences(calculus, noise, method) -> None:
    assert gradgradcheck(lambda *inputs: solve(*inputs, calculus, noise, method, REPLAY).y1, leaves(), atol=1e-5)


def test_a_module_and_what_the_diffusion_captures_get_gradients() -> None:
    torch.manual_seed(0)
    net, hidden = torch.nn.Linear(2, 2).double(), torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    grads = []
    for adjoint in ("direct", *DISCRETE):
        solution = nde.solve_sde(
            lambda t, y: torch.tanh(net(y)), lambda t, y: hidden * torch.cos(y), torch.ones(3, 2, dtype=torch.float64),
            (0.0, 1.0), method="sosri", path=PATH[2], controller=nde.FixedStep(0.125), adjoint=adjoint,
        )  # fmt: skip
        grads.append(torch.autograd.grad(solution.y1.square().sum(), [*net.parameters(), hidden]))
    for others in grads[1:]:
        for one, other in zip(grads[0], others, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-13)
            assert one.abs().max() > 1e-3


def test_a_parameter_that_nothing_depends_on_leaves_the_solution_differentiable() -> None:
    for adjoint in DISCRETE:
        unused = torch.nn.Parameter(torch.tensor(1.0, dtype=torch.float64))
        solution = nde.solve_sde(
            lambda t, y, unused: -y, lambda t, y, unused: 0.1 * y, torch.ones(3, 2, dtype=torch.float64), (0.0, 1.0),
            (unused,), method="euler", path=PATH[2], controller=nde.FixedStep(0.25), adjoint=adjoint,
        )  # fmt: skip
        solution.y1.sum().backward()
        assert unused.grad is None or not unused.grad.any()


def test_known_steps_keep_one_tape_where_it_fits_and_are_replayed_where_it_does_not() -> None:
    evaluations = []
    for adjoint in (*DISCRETE, DiscreteAdjoint(tape_memory=10**6)):
        solution = solve(*leaves(), "ito", "diagonal", "euler", adjoint)
        assert solution.stats.n_field_evals == 4
        solution.y1.sum().backward()
        evaluations.append(solution.stats.n_backward_field_evals)
    whole, few, replayed, large = evaluations
    assert whole == large == 0 and 0 < few < replayed == 4


def test_a_tensor_that_only_the_diffusion_reads_in_an_unusual_place_is_an_error_and_no_lost_gradient() -> None:
    hidden = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    reference = weakref.ref(hidden)  # a place that no search looks into
    with pytest.raises(RuntimeError, match="depends on a tensor"):
        nde.solve_sde(
            lambda t, y: -y, lambda t, y: reference() * y, torch.ones(3, 2, dtype=torch.float64), (0.0, 1.0),
            method="euler", path=PATH[2], controller=nde.FixedStep(0.25),
        )  # fmt: skip


@pytest.mark.parametrize("adjoint", ["direct", "discrete"])
def test_penalties_of_stochastic_solves_have_gradients_of_the_error_and_the_stiffness(adjoint) -> None:
    inputs = leaves()
    solution = solve(*inputs, "ito", "diagonal", "sosri2", adjoint)
    penalty = nde.regularize.GlobalError(1.0)(solution) + nde.regularize.GlobalStiffness(1.0)(solution)
    grads = torch.autograd.grad(penalty, inputs)
    assert all(bool(grad.isfinite().all()) and float(grad.abs().max()) > 0 for grad in grads)
