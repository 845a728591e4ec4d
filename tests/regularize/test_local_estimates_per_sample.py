"""Local penalties where every sample has steps of its own, and where steps are forced or watched."""

import math

import numpy
import pytest
import torch

import nde
from nde.regularize import GlobalError, GlobalStiffness, LocalError, LocalStiffness
from tests.problems import Net, double, relative_difference
from tests.regularize.one_step import flat_gradient

SPANS = double([0.0, 0.5], [1.0, 2.0], [0.5, 2.0])
START = torch.linspace(-1, 1, 9, dtype=torch.float64).reshape(3, 3)
ADAPTIVE = {"rtol": 1e-6, "atol": 1e-6, "per_sample": True, "step_states": True}
FIXED = {**ADAPTIVE, "controller": nde.FixedStep(0.25)}  # two, four and six steps
EACH = 12  # draws in as many strata are all steps of each, equally often

KINDS = pytest.mark.parametrize(
    ("local", "whole"), [(LocalError, GlobalError), (LocalStiffness, GlobalStiffness)], ids=["error", "stiffness"]
)


class Noise(torch.nn.Module):
    def forward(self, t: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return 0.3 + 0.2 * torch.sin(y)


def solved(kind: str, adjoint: str = "discrete", **options) -> tuple[Net, torch.Tensor, nde.Solution]:
    net, y0 = Net(), START.clone().requires_grad_()
    if kind == "ode":
        return net, y0, nde.solve_ode(net, y0, SPANS, adjoint=adjoint, **{**ADAPTIVE, **options})
    options = {**ADAPTIVE, "rtol": 1e-2, "atol": 1e-3, **options}
    return net, y0, nde.solve_sde(net, Noise(), y0, SPANS, adjoint=adjoint, seed=3, **options)


@pytest.mark.parametrize("kind", ["ode", "sde"])
def test_steps_taken_again_have_the_estimates_of_the_record(kind: str) -> None:
    solution = solved(kind)[-1]
    steps = solution.steps
    assert len(set(torch.bincount(steps.sample).tolist())) > 1
    for index in range(len(steps)):
        step = solution.retake(index)
        assert (step.t, step.h) == (float(steps.t[index]), float(steps.h[index]))
        # rounding of the state, 1e-16, beside the tolerance
        torch.testing.assert_close(step.error, steps.error[index], rtol=1e-7, atol=1e-9)
        torch.testing.assert_close(step.stiffness, steps.stiffness[index], rtol=1e-6, atol=0)


@KINDS
@pytest.mark.parametrize("reduction", ["span", "sum"])
@pytest.mark.parametrize("adjoint", ["direct", "discrete"])
@pytest.mark.parametrize("kind", ["ode", "sde"])
def test_over_all_steps_of_each_sample_it_is_the_global_penalty(
    kind: str, adjoint: str, reduction: str, local, whole
) -> None:
    net, y0, solution = solved(kind, adjoint, controller=nde.FixedStep(0.25))
    assert torch.bincount(solution.steps.sample).tolist() == [2, 4, 6]
    penalty = local(n_draws=EACH, sampling="step", stratified=True, grad="full", reduction=reduction)
    found, expected = penalty(solution), whole(reduction=reduction)(solution)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=0)
    wanted = [y0, *net.parameters()]
    assert relative_difference(flat_gradient(found, wanted), flat_gradient(expected, wanted)) < 1e-8


def test_full_gradient_passes_through_the_continuous_adjoint() -> None:
    gradients = []
    for adjoint in ("direct", "backsolve"):
        net, y0, solution = solved("ode", adjoint, rtol=1e-9, atol=1e-9, controller=nde.FixedStep(0.0625))
        penalty = LocalError(n_draws=48, sampling="step", stratified=True, grad="full")
        gradients.append(flat_gradient(penalty(solution), [y0, *net.parameters()]))
    # the continuous adjoint has an error of the order of that of the steps
    assert relative_difference(*gradients) < 1e-3


@pytest.mark.parametrize("antithetic", [False, True])
@pytest.mark.parametrize("stratified", [False, True])
@pytest.mark.parametrize("sampling", ["time", "step"])
@pytest.mark.parametrize("kind", ["ode", "sde"])
def test_estimates_and_their_gradients_have_no_bias(
    kind: str, sampling: str, stratified: bool, antithetic: bool
) -> None:
    net, y0, solution = solved(kind)
    wanted = [y0, *net.parameters()]
    draws = 20_000
    penalty = LocalError(n_draws=draws, sampling=sampling, stratified=stratified, antithetic=antithetic, grad="full")
    whole = GlobalError()(solution)
    found = penalty(solution)
    error, h, sample = solution.steps.error.detach(), solution.steps.h, solution.steps.sample
    variance = 0.0
    for index in range(3):
        e, size = error[sample == index], h[sample == index]
        density = size / size.sum() if sampling == "time" else torch.full_like(size, 1 / len(size))
        single = e * size / size.sum() / density
        variance += float((density * (single - (density * single).sum()).square()).sum()) / 9
    # pairs may move together, which doubles the variance at worst
    assert abs(float((found - whole).detach())) < 4 * math.sqrt(2 * variance / draws)
    assert relative_difference(flat_gradient(found, wanted), flat_gradient(whole, wanted)) < 0.1


def test_a_draw_by_time_finds_the_step_of_each_sample_that_holds_it() -> None:
    solution = solved("ode")[-1]
    steps = solution.steps
    lengths = SPANS[:, 1] - SPANS[:, 0]
    for call in range(20):
        places = numpy.random.default_rng((5, call)).random((3, 1))[:, 0]
        penalty = LocalError(reduction="sum", seed=5)
        penalty.draws.count = call
        expected = 0.0
        for index in range(3):
            time = SPANS[index, 0] + places[index] * lengths[index]
            inside = (steps.sample == index) & (steps.t <= time) & (time < steps.t + steps.h)
            expected += float(lengths[index] * steps.error[inside].item()) / 3
        assert float(penalty(solution).detach()) == pytest.approx(expected, rel=1e-6)


def test_one_draw_takes_one_step_of_all_samples_at_once() -> None:
    solution = solved("ode")[-1]
    LocalError()(solution)
    assert solution.stats.n_retaken_field_evals == 7


def test_a_sample_that_failed_counts_as_far_as_it_was_solved() -> None:
    y0 = double([1.0], [-1.0], [math.nan]).requires_grad_()
    solution = nde.solve_ode(lambda t, y: y.square(), y0, (0.0, 2.0), throw=False, **ADAPTIVE)
    assert solution.succeeded.tolist() == [False, True, False]
    assert torch.bincount(solution.steps.sample, minlength=3)[2] == 0
    value = LocalError(n_draws=50_000, grad="full")(solution)
    assert float(value.detach()) == pytest.approx(float(GlobalError()(solution).detach()), rel=0.05)
    (gradient,) = torch.autograd.grad(value, y0)
    assert bool(gradient[1].isfinite())


def test_reference_takes_the_size_of_an_automatic_first_step_and_no_gradient_of_the_first_stage() -> None:
    net, _, solution = solved("ode")
    together = solution.retake_rows([0, 1, 2], reference=True)
    for sample in range(3):
        alone = nde.solve_ode(net, START[sample], SPANS[sample], rtol=1e-6, atol=1e-6, step_states=True)
        step = alone.retake(0, reference=True)
        assert float(together.h[sample]) == pytest.approx(step.h, rel=1e-12)
        # the error at that size is far below the tolerance, near the rounding of the state
        torch.testing.assert_close(together.error[sample], step.error, rtol=1e-4, atol=1e-9)
    assert float(LocalError(reference=True)(solution).detach()) > 0


@KINDS
@pytest.mark.parametrize(
    "options", [{"step_ts": (0.3,)}, {"jump_ts": (0.3, 0.8)}, {"dense": True}], ids=["step_ts", "jump_ts", "dense"]
)
@pytest.mark.parametrize("adjoint", ["direct", "discrete"])
def test_forced_ends_of_steps_and_dense_output_go_with_it(adjoint: str, options, local, whole) -> None:
    def field(t: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return net(t, y) + (1.0 if t < 0.3 else -1.0)

    net, y0 = Net(), START.clone().requires_grad_()
    solution = nde.solve_ode(field, y0, (0.0, 1.0), adjoint=adjoint, step_states=True, **options)
    penalty = local(n_draws=len(solution.steps), sampling="step", stratified=True, grad="full")
    found, expected = penalty(solution), whole()(solution)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-12)
    wanted = [y0, *net.parameters()]
    assert relative_difference(flat_gradient(found, wanted), flat_gradient(expected, wanted)) < 1e-6


def test_events_go_with_the_direct_gradient() -> None:
    event = nde.Event(lambda t, y: y[0] - 0.5, apply=lambda t, y: y + 1.0, terminal=False)
    y0 = double(1.0, 0.3).requires_grad_()
    solution = nde.solve_ode(lambda t, y: -y, y0, (0.0, 3.0), events=event, step_states=True)
    assert len(solution.events[0].t) > 1
    value = LocalError(n_draws=len(solution.steps), sampling="step", stratified=True)(solution)
    torch.testing.assert_close(value, GlobalError()(solution), rtol=1e-6, atol=1e-9)


def test_indices_of_retaken_steps_are_checked() -> None:
    solution = solved("ode")[-1]
    with pytest.raises(IndexError, match="accepted steps, but is 10000"):
        solution.retake(10_000)
    unkept = nde.solve_ode(Net(), START, SPANS, per_sample=True)
    with pytest.raises(ValueError, match="step_states=True"):
        unkept.retake(len(unkept.steps) - 1)
