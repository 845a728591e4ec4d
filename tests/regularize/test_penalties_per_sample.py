"""With per_sample=True a penalty is the mean over the samples of what each alone would give."""

import math

import pytest
import torch

import nde
from tests.problems import double

PENALTIES = [
    *(nde.regularize.GlobalError(1.0, reduction) for reduction in ("span", "sum", "mean")),
    *(nde.regularize.GlobalErrorSquared(1.0, reduction) for reduction in ("sum", "mean")),
    *(nde.regularize.GlobalStiffness(1.0, reduction) for reduction in ("span", "sum", "mean", "max")),
    nde.regularize.StepCount(),
]
SPANS = double([0.0, 2.0], [1.0, 0.2], [0.0, 0.01])
START = double([2.0, 0.0], [1.0, 0.5], [0.5, 0.5])


def oscillator(t, y, mu):
    mu = mu.reshape(-1)
    x, v = y[:, 0], y[:, 1]
    return torch.stack([v, mu * (1 - x * x) * v - x + 0.1 * torch.cos(t.reshape(-1))], 1)


@pytest.mark.parametrize("penalty", PENALTIES, ids=repr)
@pytest.mark.parametrize("adjoint", ["direct", "discrete"])
def test_a_penalty_and_its_gradient_are_the_mean_of_those_of_solo_solves(penalty, adjoint) -> None:
    mu = double(5.0, 1.0, 2.0).requires_grad_()
    options = {"rtol": 1e-4, "atol": 1e-5}
    together = nde.solve_ode(
        oscillator, START, SPANS, (nde.PerSample(mu),), per_sample=True, adjoint=adjoint, **options
    )
    assert len(set(together.stats.accepted.tolist())) == 3
    values = []
    for sample in range(3):
        alone = nde.solve_ode(oscillator, START[sample][None], SPANS[sample], (mu[sample],), **options)
        values.append(penalty(alone))
    expected = sum(values) / 3
    found = penalty(together)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-9)
    (one,), (other,) = torch.autograd.grad(found, mu), torch.autograd.grad(expected, mu)
    torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("penalty", PENALTIES, ids=repr)
def test_samples_without_steps_do_not_spoil_a_penalty(penalty) -> None:
    mu = double(5.0, 1.0, math.nan).requires_grad_()
    solution = nde.solve_ode(
        oscillator, START, SPANS, (nde.PerSample(mu),), per_sample=True, throw=False, rtol=1e-4, atol=1e-5
    )
    assert not bool(solution.succeeded[2])
    assert int(solution.stats.accepted[2]) == 0
    (gradient,) = torch.autograd.grad(penalty(solution), mu)
    assert bool(gradient[:2].isfinite().all())
    assert bool((gradient[:2] != 0).any())
