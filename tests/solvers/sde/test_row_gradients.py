"""Gradients of stochastic solves by rows, with the path and the steps held still."""

import pytest
import torch
from torch.autograd import gradcheck

import nde
from nde.solvers.sde import find_sde_method, sde_method_names

METHODS = [
    (calculus, noise, method)
    for calculus in ("ito", "stratonovich")
    for noise in ("diagonal", "scalar", "additive", "general")
    for method in sde_method_names(calculus, noise)
    if find_sde_method(method, calculus, noise).rows
]
TIMES = torch.tensor([[0.0, 0.5, 1.0], [0.25, 0.5, 0.75], [0.0, 0.25, 1.0]], dtype=torch.float64)


def drift(t, y, a, b):
    return a * torch.sin(y) + torch.cos(t) * y.flip(-1)


def diffusion(noise):
    def value(t, y, a, b):
        scale = b * (1 + t / 2)
        if noise == "diagonal":
            return scale * torch.cos(y)
        if noise == "scalar":
            return (scale * torch.cos(y)).unsqueeze(-1)
        if noise == "additive":
            columns = torch.tensor([[1.0, 0.3], [-0.2, 0.6]], dtype=torch.float64)
            return scale.unsqueeze(-1) * columns.expand(*y.shape, 2)
        return scale.unsqueeze(-1) * torch.stack([torch.cos(y), torch.sin(y.flip(-1))], -1)

    return value


def leaves():
    y0 = torch.tensor([[0.3, -0.4], [0.9, 0.1], [-0.5, 0.6]], dtype=torch.float64, requires_grad=True)
    a = torch.tensor([[0.7], [0.2], [-0.4]], dtype=torch.float64, requires_grad=True)
    return y0, a, torch.tensor(0.4, dtype=torch.float64, requires_grad=True)


def solve(y0, a, b, calculus, noise, method, adjoint, controller=None, **options):
    chosen = find_sde_method(method, calculus, noise)
    path = nde.BrownianPath(
        0.0, 1.0, (3, 1 if noise == "scalar" else 2), seed=5, levy_area=chosen.area(noise), dtype=torch.float64
    )
    return nde.solve_sde(
        drift, diffusion(noise), y0, options.pop("ts", TIMES), (nde.PerSample(a), b), noise=noise, calculus=calculus,
        method=method, path=path, adjoint=adjoint, per_sample=True, controller=controller, **options,
    )  # fmt: skip


def loss(*values):
    return sum(
        (value.nan_to_num() * torch.linspace(0.5, 1.5, value.numel(), dtype=torch.float64).view(value.shape)).sum()
        for value in values
    )


def outputs(*inputs, kind, adjoint="discrete"):
    calculus, noise, method = kind
    solution = solve(*inputs, calculus, noise, method, adjoint, nde.FixedStep(0.2))
    has_error = find_sde_method(method, calculus, noise).error_order is not None
    return (solution.ys, solution.steps.error) if has_error else (solution.ys,)


@pytest.mark.parametrize("kind", METHODS, ids=" ".join)
def test_discrete_gradients_are_the_direct_ones(kind) -> None:
    found = []
    for adjoint in ("direct", "discrete"):
        inputs = leaves()
        found.append(torch.autograd.grad(loss(*outputs(*inputs, kind=kind, adjoint=adjoint)), inputs))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)
        assert float(one.abs().max()) > 1e-3


FEW = {("ito", "diagonal", "milstein"), ("ito", "general", "euler")}


@pytest.mark.parametrize(
    "kind",
    [pytest.param(kind, marks=[] if kind in FEW else [pytest.mark.slow], id=" ".join(kind)) for kind in METHODS],
)
def test_gradients_are_those_of_finite_differences(kind) -> None:
    # errors are in units of a tolerance of 1e-3: their derivatives are as many times larger
    assert gradcheck(lambda *inputs: outputs(*inputs, kind=kind), leaves(), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("calculus", "method"), [("ito", "sosri2"), ("stratonovich", "reversible_heun")])
def test_both_adjoints_agree_where_samples_choose_and_reject_their_own_steps(calculus, method) -> None:
    found = []
    for adjoint in ("direct", "discrete"):
        inputs = leaves()
        # a first step that is much too long
        control = nde.PIController(initial=0.5)
        solution = solve(*inputs, calculus, "diagonal", method, adjoint, control, rtol=1e-2, atol=1e-2)
        assert solution.stats.n_rejected > 0 and len(set(solution.stats.accepted.tolist())) > 1
        found.append(torch.autograd.grad(loss(solution.ys, solution.steps.error), inputs))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-11)


def test_gradients_of_a_batch_are_those_of_its_samples_alone() -> None:
    path = nde.BrownianPath(0.0, 1.0, (3, 2), seed=5, levy_area="space-time", dtype=torch.float64)

    def gradients(rows):
        y0, a, b = leaves()
        solution = nde.solve_sde(
            drift, diffusion("diagonal"), y0[rows], (0.0, 1.0), (nde.PerSample(a[rows]), b), path=path[rows],
            per_sample=True,
        )  # fmt: skip
        return torch.autograd.grad(solution.y1.square().sum(), (y0, a, b))

    parts = [gradients([sample]) for sample in range(3)]
    for together, *alone in zip(gradients([0, 1, 2]), *parts, strict=True):
        torch.testing.assert_close(together, sum(alone), rtol=1e-11, atol=1e-13)


class FrozenPath:
    """Increments in the order in which they are asked for, whatever the interval: constants to finite differences."""

    def __init__(self, shape):
        generator = torch.Generator().manual_seed(3)
        self.increments = 0.3 * torch.randn(64, *shape, dtype=torch.float64, generator=generator)
        self.asked = {}

    def __call__(self, s, t):
        number = self.asked.setdefault(round(s, 4), len(self.asked))
        found = self.increments[number]
        return type("Increment", (), {"w": found, "h": None, "k": None, "a": None})()


@pytest.mark.parametrize("adjoint", ["direct", "discrete"])
@pytest.mark.parametrize("method", ["euler", "milstein", "milstein_derivative_free"])
@pytest.mark.parametrize("per_sample", [True, False], ids=["rows", "whole"])
def test_gradients_behind_jumps_are_those_of_finite_differences_on_held_increments(adjoint, method, per_sample) -> None:
    def jumped(y0, a, b):
        event = nde.Event(lambda t, y, *args: y[..., 0] - 1.0 - 0.1 * t.reshape(t.shape[:1]), terminal=False,
                          apply=lambda t, y, *args: 0.5 * y * b)  # fmt: skip
        solution = nde.solve_sde(
            lambda t, y, a, b: a * torch.cos(y) + 1.0 + 0.2 * t, lambda t, y, a, b: b * torch.sin(y + t), y0,
            (0.0, 1.0), (a, b), method=method, path=FrozenPath((1, 2)), adjoint=adjoint, per_sample=per_sample,
            controller=nde.FixedStep(0.25), events=event,
        )  # fmt: skip
        (found,) = solution.events
        assert found.t.shape[0] >= 1
        return solution.ys, found.t, found.y

    y0 = torch.tensor([[0.6, 0.3]], dtype=torch.float64, requires_grad=True)
    a, b = (torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in (0.7, 0.4))
    assert gradcheck(jumped, (y0, a, b), atol=1e-6)
