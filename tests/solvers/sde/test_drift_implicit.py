"""Drift-implicit methods: stable where the drift is stiff, and with the statuses and derivatives of implicit steps."""

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

import nde
from nde.adjoint import DiscreteAdjoint
from nde.solvers.sde import ImplicitMilstein, ThetaMaruyama
from tests.solvers.sde.problems import TablePath

REPLAY = DiscreteAdjoint(tape_memory=0)

RATE, NOISE = 50.0, 1.5  # the step is 1: lambda h is 50


def linear(method, steps=40, dtype=torch.float64, **options):
    path = TablePath(0.0, float(steps), (300, 1), steps, seed=4)
    solution = nde.solve_sde(
        lambda t, y: -RATE * y, lambda t, y: NOISE * y, torch.ones(300, 1, dtype=dtype), (0.0, float(steps)),
        method=method, path=path, controller=nde.FixedStep(1.0), **options,
    )  # fmt: skip
    return solution, path.w.diff(dim=0)


@pytest.mark.parametrize("theta", [1.0, 0.75, 0.5])
@pytest.mark.parametrize("kind", [ThetaMaruyama, ImplicitMilstein])
def test_steps_on_the_linear_test_equation_multiply_by_the_known_random_factor(kind, theta) -> None:
    solution, w = linear(kind(theta), steps=6)
    noise = NOISE * w
    if kind is ImplicitMilstein:
        noise = noise + NOISE**2 * (w.square() - 1) / 2
    factors = (1 - (1 - theta) * RATE + noise) / (1 + theta * RATE)
    torch.testing.assert_close(solution.y1, factors.prod(0), rtol=1e-10, atol=0)


@pytest.mark.parametrize("method", ["implicit_euler", ThetaMaruyama(0.5), "implicit_milstein"])
def test_implicit_steps_stay_bounded_in_the_mean_square_where_explicit_ones_explode(method) -> None:
    for dtype in (torch.float64, torch.float32):
        solution, _ = linear(method, dtype=dtype)
        assert float(solution.y1.square().mean()) < 1.0 and solution.y1.dtype == dtype
    explicit, _ = linear("euler")
    assert float(explicit.y1.square().mean()) > 1e100


def test_a_stiff_component_follows_the_slow_curve_that_it_is_pulled_to() -> None:
    def drift(t, y):
        return -1000 * (y - torch.cos(t))

    solution = nde.solve_sde(
        drift, lambda t, y: 0.1 * torch.ones_like(y), torch.full((100, 1), 5.0), (0.0, 2.0), noise="additive",
        method="implicit_euler", seed=1, controller=nde.FixedStep(0.05),
    )  # fmt: skip
    # a step behind by 0.05 / 51, and noise of 0.1 sqrt(0.05) / 51
    torch.testing.assert_close(solution.y1, torch.full((100, 1), 2.0).cos(), rtol=0, atol=5e-3)


def test_solving_a_batch_is_solving_each_row() -> None:
    path = nde.BrownianPath(0.0, 1.0, (4, 3), seed=2, dtype=torch.float64)
    y0 = torch.linspace(-1, 1, 12, dtype=torch.float64).view(4, 3)

    def solve(y0, path):
        return nde.solve_sde(
            lambda t, y: torch.cos(t) * y.flip(-1) - 30 * y**3, lambda t, y: 0.3 * torch.cos(y), y0, (0.0, 1.0),
            method="implicit_milstein", path=path, controller=nde.FixedStep(0.125),
        ).y1  # fmt: skip

    together = solve(y0, path)
    for row in range(4):
        torch.testing.assert_close(
            solve(y0[row : row + 1], path[row : row + 1])[0], together[row], rtol=1e-12, atol=1e-12
        )


@pytest.mark.parametrize("method", ["implicit_euler", ThetaMaruyama(0.5), "implicit_milstein"])
def test_gradients_of_stiff_steps_are_those_of_finite_differences_with_both_adjoints(method) -> None:
    path = TablePath(0.0, 1.0, (2, 2), 8, seed=5)
    y0 = torch.tensor([[0.3, -0.4], [0.9, 0.1]], dtype=torch.float64, requires_grad=True)
    rate, scale = (torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in (200.0, 0.7))

    def end(y0, rate, scale, adjoint=REPLAY):
        return nde.solve_sde(
            # monotone, so that every step has one solution
            lambda t, y, rate, scale: -rate * (y + torch.sin(y) / 2 - torch.cos(t) * y.flip(-1) / 4),
            lambda t, y, rate, scale: scale * torch.cos(y),
            y0, (0.0, 1.0), (rate, scale), method=method, path=path, adjoint=adjoint, controller=nde.FixedStep(0.5),
        ).y1  # fmt: skip

    found = [
        torch.autograd.grad(end(y0, rate, scale, adjoint).square().sum(), (y0, rate, scale))
        for adjoint in ("direct", "discrete", REPLAY)
    ]
    for one, other in ((one, other) for more in found[1:] for one, other in zip(found[0], more, strict=True)):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-14)
    assert gradcheck(end, (y0, rate, scale))
    if method == "implicit_euler":
        assert gradgradcheck(end, (y0, rate, scale))


def test_a_step_without_a_solution_ends_the_solve_as_a_failure_of_newtons_method() -> None:
    # y1 = y + h y1^2 has no real solution where y > 1 / (4 h)
    y0 = torch.tensor([[0.1], [5.0], [-0.2]], dtype=torch.float64)
    solution = nde.solve_sde(
        lambda t, y: y**2, lambda t, y: 0.01 * y, y0, (0.0, 1.0), method="implicit_euler", seed=1,
        controller=nde.FixedStep(0.25), throw=False,
    )  # fmt: skip
    assert solution.status is nde.Status.NEWTON_FAILED
    assert solution.failure is not None and solution.failure.sample == 1
    torch.testing.assert_close(solution.y1, y0, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("theta", "kind", "message"),
    [
        (0.0, ValueError, "theta must be above 0 and at most 1, but is 0.0"),
        (1.5, ValueError, "theta must be above 0 and at most 1, but is 1.5"),
        ("1", TypeError, "theta must be a number, but is '1'"),
    ],
)
def test_wrong_shares_of_the_drift_are_named(theta, kind, message) -> None:
    with pytest.raises(kind, match=message):
        ThetaMaruyama(theta)


def test_implicit_milstein_refuses_noise_that_is_not_diagonal() -> None:
    with pytest.raises(ValueError, match="method='implicit_milstein' does not take noise='general'"):
        nde.solve_sde(
            lambda t, y: -y, lambda t, y: y.unsqueeze(-1), torch.ones(3, 2), (0.0, 1.0), noise="general",
            method="implicit_milstein", controller=nde.FixedStep(0.1),
        )  # fmt: skip
