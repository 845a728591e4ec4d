"""Step doubling gives every method an error estimate of the right order, and adaptive steps that converge."""

import numpy
import pytest
import torch

import nde
from nde.solvers.sde import StepDoubling, find_sde_method
from tests.solvers.sde.problems import CASES, GENERAL, TablePath, additive, scalar


def solve(case, path, method, controller, **options):
    y0 = torch.full(case.shape(path), case.y0, dtype=torch.float64)
    return nde.solve_sde(
        case.drift, case.diffusion, y0, (path.t0, path.t1), noise=case.noise, calculus=case.calculus, method=method,
        path=path, controller=controller, **options,
    )  # fmt: skip


def label(case) -> str:
    return f"{case.calculus}-{case.noise}" if hasattr(case, "noise") else "-".join(case)


@pytest.mark.parametrize("case", [CASES["arsinh", "ito"], scalar("ito"), additive("ito"), GENERAL["ito"]], ids=label)
def test_the_result_is_that_of_steps_of_half_the_size(case) -> None:
    path = TablePath(0.0, 1.0, (50,) if case.channels is None else (50, case.channels), 64, seed=1)
    doubled = solve(case, path, StepDoubling("euler"), nde.FixedStep(1 / 16))
    plain = solve(case, path, "euler", nde.FixedStep(1 / 32))
    assert torch.equal(doubled.y1, plain.y1)
    assert doubled.stats.n_accepted == 16


@pytest.mark.parametrize("case", [CASES["geometric", "stratonovich"], GENERAL["stratonovich"]], ids=label)
def test_a_method_with_a_state_of_its_own_keeps_it_over_the_halves(case) -> None:
    path = TablePath(0.0, 1.0, (50,) if case.channels is None else (50, case.channels), 64, seed=1)
    doubled = solve(case, path, StepDoubling("reversible_heun"), nde.FixedStep(1 / 16))
    plain = solve(case, path, "reversible_heun", nde.FixedStep(1 / 32))
    torch.testing.assert_close(doubled.y1, plain.y1, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize(
    ("case", "methods"),
    [
        (CASES["geometric", "ito"], ("euler", "milstein", "sriw2")),
        (CASES["geometric", "stratonovich"], ("heun", "milstein")),
        (scalar("ito"), ("milstein", "sriw1")),
        (additive("ito"), ("euler", "sra1")),
        (GENERAL["stratonovich"], ("midpoint",)),
    ],
    ids=label,
)
def test_the_error_estimate_is_proportional_to_its_power_of_the_step(case, methods) -> None:
    path = TablePath(0.0, 1.0, (1000,) if case.channels is None else (500, case.channels), 256, seed=3)
    sizes = (16, 32, 64, 128)
    for method in methods:
        doubling, means = StepDoubling(method), []
        for steps in sizes:
            solution = solve(case, path, doubling, nde.FixedStep(1 / steps), rtol=0.0, atol=1.0)
            means.append(float(solution.steps.error.square().mean().sqrt()))
        found = -numpy.polyfit(numpy.log(sizes), numpy.log(means), 1)[0]
        claimed = doubling.fitted(case.calculus, case.noise).error_order
        assert claimed == find_sde_method(method, case.calculus, case.noise).strong_orders[case.noise] + 0.5
        assert found == pytest.approx(claimed, abs=0.15), method


TOLERANCES = (1e-2, 1e-3, 1e-4)


def adapted(path, exact, method, drift, diffusion, y0, tolerances=TOLERANCES, **options):
    """Solve at shrinking tolerances; return the errors and the exponent of the tolerance that they follow."""
    errors, rejected = [], 0
    for tolerance in tolerances:
        solution = nde.solve_sde(
            drift, diffusion, y0, (0.0, 1.0), method=StepDoubling(method), path=path, rtol=tolerance, atol=tolerance,
            controller=nde.PIController(initial=0.5), **options,
        )  # fmt: skip
        errors.append(float((solution.y1 - exact).square().mean().sqrt()))
        rejected += solution.stats.n_rejected
    assert rejected > 0
    return errors, numpy.polyfit(numpy.log(tolerances), numpy.log(errors), 1)[0]


@pytest.mark.parametrize(
    ("calculus", "method", "order"), [("ito", "milstein", 1.0), ("ito", "sriw2", 1.5), ("stratonovich", "heun", 1.0)]
)
def test_adaptive_steps_converge_to_geometric_brownian_motion(calculus, method, order) -> None:
    path = nde.BrownianPath(0.0, 1.0, (1000,), seed=5, levy_area="space-time", dtype=torch.float64)
    rate = 0.3 if calculus == "ito" else 0.3 - 0.5 * 0.9**2
    exact = torch.exp((0.3 - 0.5 * 0.9**2) + 0.9 * path(0.0, 1.0).w)
    # few and long steps do not show order 1.5 yet
    tolerances = TOLERANCES if order == 1.0 else (1e-3, 1e-4, 1e-5)
    errors, exponent = adapted(
        path, exact, method, lambda t, y: rate * y, lambda t, y: 0.9 * y, torch.ones_like(exact), tolerances,
        calculus=calculus,
    )  # fmt: skip
    # steps follow tolerance ** (1 / (order + 1/2)), and the error of the end follows step ** order
    assert exponent == pytest.approx(order / (order + 0.5), abs=0.15)
    assert errors[-1] < 30 * tolerances[-1]


def test_adaptive_milstein_converges_with_a_motion_that_drives_several_entries() -> None:
    path = nde.BrownianPath(0.0, 1.0, (300, 1), seed=5, dtype=torch.float64)
    w = path(0.0, 1.0).w
    # y = exp((c - a^2 / 2) t + a W) for each entry's own a and c
    a, c = torch.tensor([0.7, -0.4], dtype=torch.float64), torch.tensor([0.2, 0.5], dtype=torch.float64)
    exact = torch.exp(c - 0.5 * a.square() + a * w)
    _, exponent = adapted(
        path, exact, "milstein", lambda t, y: c * y, lambda t, y: (a * y).unsqueeze(-1), torch.ones_like(exact),
        noise="scalar",
    )  # fmt: skip
    assert exponent == pytest.approx(2 / 3, abs=0.15)


def test_adaptive_heun_converges_with_two_motions_that_commute() -> None:
    # y = exp((c - (a^2 + b^2) / 2) t + a W1 + b W2)
    a, b, c = 0.7, -0.4, 0.2
    path = nde.BrownianPath(0.0, 1.0, (300, 2), seed=9, dtype=torch.float64)
    w, rate = path(0.0, 1.0).w, c - 0.5 * (a * a + b * b)
    exact = torch.exp(rate + a * w[:, :1] + b * w[:, 1:])
    _, exponent = adapted(
        path, exact, "heun", lambda t, y: rate * y, lambda t, y: torch.stack([a * y, b * y], -1),
        torch.ones_like(exact), noise="commutative", calculus="stratonovich",
    )  # fmt: skip
    assert exponent == pytest.approx(2 / 3, abs=0.15)


def test_gradients_of_a_doubled_solve_agree_with_those_of_the_tape() -> None:
    rate = torch.tensor(0.4, dtype=torch.float64, requires_grad=True)
    found = []
    for adjoint in ("discrete", "direct"):
        solution = nde.solve_sde(
            lambda t, y: torch.sin(rate * y), lambda t, y: rate * torch.cos(y), torch.ones(5, dtype=torch.float64),
            (0.0, 0.5, 1.0), method=StepDoubling("milstein"), seed=2, rtol=1e-2, atol=1e-2, adjoint=adjoint,
        )  # fmt: skip
        found.append(torch.autograd.grad(solution.ys.square().sum(), rate)[0])
    torch.testing.assert_close(*found, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: StepDoubling(3), TypeError, "name or an SDEMethod"),
        (lambda: StepDoubling(StepDoubling("euler")), ValueError, "not doubled yet"),
        (lambda: StepDoubling("euler", error_order=0.0), ValueError, "positive"),
        (lambda: StepDoubling("eulr").fitted("ito", "diagonal"), ValueError, "Did you mean"),
        (lambda: StepDoubling("heun").fitted("ito", "diagonal"), ValueError, "does not converge to the ito"),
        (lambda: StepDoubling("euler").area("diagonal"), TypeError, "must be fitted"),
    ],
)
def test_what_cannot_be_doubled_is_named(make, error, words) -> None:
    with pytest.raises(error, match=words):
        make()
