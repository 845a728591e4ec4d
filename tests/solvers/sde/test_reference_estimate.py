"""StochasticDiffEq.jl's error estimate is the size of the drift; the embedded one vanishes beside it."""

import pytest
import torch
from torch import Tensor

import nde
from nde.solvers.sde import find_sde_method
from tests.problems import double, slope

START = double(1.2, -0.7)


def drift(t: Tensor, y: Tensor) -> Tensor:
    return torch.stack([y[1] - y[0] ** 3, torch.sin(y[0]) - 0.5 * y[1]])


def ratios(name: str, noise: str, estimate: str, h: float, size: float) -> Tensor:
    """Return the error of one step over ``h f``."""
    spread = (lambda t, y: size * (1 + 0.3 * y)) if noise == "diagonal" else (lambda t, y: size * torch.ones_like(y))
    method = find_sde_method(name, "ito", noise).with_estimate(estimate)
    path = nde.BrownianPath(0.0, 1.0, (2,), seed=1, dtype=torch.float64, levy_area="space-time")
    solution = nde.solve_sde(
        drift,
        spread,
        START,
        (0.0, h),
        noise=noise,
        method=method,
        path=path,
        controller=nde.StepTo(),
        local_errors=True,
    )
    return solution.steps.local_error[0] / (h * drift(torch.zeros(()), START))


@pytest.mark.parametrize(
    ("name", "noise", "limit"),
    [
        ("sosri", "diagonal", 4.0),
        ("sosri2", "diagonal", 4.0),
        ("sriw1", "diagonal", 1 / 3),
        ("sosra", "additive", 3.0),
        ("sosra2", "additive", 3.0),
        ("sra1", "additive", 2.0),
    ],
)
def test_it_is_a_multiple_of_the_drift_as_steps_become_short(name: str, noise: str, limit: float) -> None:
    sizes = [2.0**-power for power in range(8, 14)]
    without = [float((ratios(name, noise, "reference", h, 0.0) - limit).abs().max()) for h in sizes]
    assert without[-1] < 1e-2 and slope(sizes, without) == pytest.approx(1.0, abs=0.15)
    embedded = [float(ratios(name, noise, "embedded", h, 0.0).abs().max()) for h in sizes]
    assert embedded[-1] < 1e-2 and slope(sizes, embedded) == pytest.approx(1.0, abs=0.15)
    # with noise, the stages lie a square root of the size from each other
    assert float((ratios(name, noise, "reference", 1e-8, 0.3) - limit).abs().max()) < 0.01


def test_the_solution_is_the_same_and_the_estimate_is_named() -> None:
    method = find_sde_method("sosri", "ito", "diagonal")
    ends = [
        nde.solve_sde(
            drift, lambda t, y: 0.1 * y, START, (0.0, 1.0), method=one, seed=0, controller=nde.FixedStep(0.1)
        ).y1
        for one in (method, method.with_estimate("reference"))
    ]
    assert torch.equal(*ends)
    with pytest.raises(ValueError, match="estimate must be one of 'embedded', 'reference'"):
        method.with_estimate("true")


def test_steps_that_it_chooses_are_much_shorter() -> None:
    def spiral(t: Tensor, y: Tensor) -> Tensor:
        cube = y**3
        return torch.stack([-0.1 * cube[..., 0] + 2 * cube[..., 1], -2 * cube[..., 0] - 0.1 * cube[..., 1]], -1)

    y0 = double(2.0, 0.0).expand(100, 2)
    counts, options = {}, {"rtol": 0.3, "atol": 0.3, "seed": 0}
    for estimate in ("embedded", "reference"):
        method = find_sde_method("sosri", "ito", "diagonal").with_estimate(estimate)
        solution = nde.solve_sde(spiral, lambda t, y: 0.2 * y, y0, (0.0, 1.0), method=method, **options)
        counts[estimate] = solution.stats.n_accepted
    assert counts["reference"] > 2 * counts["embedded"]
