"""Steps that were rejected leave the law of the path as it is: what the accepted ones add up to is Brownian motion."""

import math

import pytest
import torch
from scipy import stats
from torch import Tensor

import nde
from tests.problems import double

SAMPLES = 2000
LOOSE = {"rtol": 0.1, "atol": 0.1}


def drift(t: Tensor, y: Tensor) -> Tensor:
    """Of the first component, which has steps rejected; the second is the path itself."""
    phase = (t.reshape(-1) % 0.3 - 0.15) / 0.02
    pulse = 60 * torch.exp(-phase.square())
    return torch.stack([pulse.expand(len(y)) - 2 * y[:, 0], 0 * y[:, 1]], 1)


def diffusion(t: Tensor, y: Tensor) -> Tensor:
    return torch.stack([0.5 + 0.1 * y[:, 0], 1 + 0 * y[:, 1]], 1)


def of_law(values: Tensor, variance: float) -> None:
    """Assert that values are normal with mean zero and a variance."""
    assert abs(float(values.square().mean()) / variance - 1) < 4 * math.sqrt(2 / len(values))
    assert stats.kstest((values / math.sqrt(variance)).numpy(), "norm").pvalue > 1e-3


@pytest.mark.parametrize("method", ["sosri", "sosri2"])
@torch.no_grad()
def test_accepted_increments_of_one_path_for_all_add_up_to_it(method: str) -> None:
    y0 = double(1.0, 0.0).expand(SAMPLES, 2)
    solution = nde.solve_sde(
        drift,
        diffusion,
        y0,
        (0.0, 0.5, 1.5),
        method=method,
        seed=0,
        controller=nde.PIController(initial=0.5),
        step_states=True,
        **LOOSE,
    )
    assert solution.stats.n_rejected >= 5
    of_law(solution.y1[:, 1], 1.5)
    reached = torch.cat([y0[None], solution.steps.y])[:, :, 1]
    increments = reached.diff(dim=0) / solution.steps.h.sqrt().unsqueeze(-1)
    for increment in increments:
        of_law(increment, 1.0)
    covariance = increments @ increments.T / SAMPLES - torch.eye(len(increments))
    assert float(covariance.abs().max()) < 5 * math.sqrt(2 / SAMPLES)


@torch.no_grad()
def test_accepted_increments_of_each_sample_add_up_to_its_path() -> None:
    y0 = double(1.0, 0.0).expand(SAMPLES, 2)
    controller = nde.PIController(initial=0.5)
    options = {"per_sample": True, **LOOSE}
    solution = nde.solve_sde(drift, diffusion, y0, (0.0, 1.5), seed=0, controller=controller, **options)
    assert int(solution.stats.rejected.min()) >= 1
    of_law(solution.y1[:, 1], 1.5)
