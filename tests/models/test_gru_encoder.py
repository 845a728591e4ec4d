"""The encoder looks into the future only, and together with a latent SDE it learns from series."""

import pytest
import torch
from torch import nn
from torch.distributions import Normal

import nde
from nde.models import GRUEncoder, context_at
from nde.models.perceptron import TimedPerceptron

TIMES = torch.linspace(0, 1, 6)


def test_context_knows_what_comes_later_and_nothing_that_came_before() -> None:
    encoder, series = GRUEncoder(2, 3, context_size=5), torch.randn(6, 4, 2)
    initial, context = encoder(series)
    assert initial.mean.shape == initial.stddev.shape == (4, 3) and context.shape == (6, 4, 5)
    changed = series.clone()
    changed[2] += 1
    _, other = encoder(changed)
    moved = (context - other).abs().amax((1, 2))
    assert bool((moved[:3] > 0).all()) and not bool(moved[3:].any())


def test_context_at_a_time_is_that_of_the_next_observation() -> None:
    context = torch.arange(6.0).reshape(6, 1, 1)
    found = [float(context_at(torch.tensor(t), TIMES, context)) for t in (-0.1, 0.0, 0.1, 0.2, 0.95, 1.0, 2.0)]
    assert found == [0, 1, 1, 2, 5, 5, 5]


@pytest.mark.parametrize("size", [0, 2.5])
def test_sizes_are_checked(size) -> None:
    with pytest.raises((TypeError, ValueError), match="hidden_size must be"):
        GRUEncoder(2, 3, hidden_size=size)


class Model(nn.Module):
    """A latent SDE of two dimensions that is observed in its first."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = GRUEncoder(1, 2, context_size=4, hidden_size=16)
        self.posterior = nn.Sequential(nn.Linear(2 + 4, 16), nn.Tanh(), nn.Linear(16, 2))
        self.prior = TimedPerceptron(2, 16, 1)
        self.log_scale = nn.Parameter(torch.tensor(-1.0))
        self.layer = nde.LatentSDE(
            lambda t, z, context: self.posterior(torch.cat([z, context_at(t, TIMES, context)], -1)),
            lambda t, z: 4 * self.prior(t, z),
            lambda t, z: self.log_scale.exp().expand_as(z),
            2,
            TIMES,
            method="euler",
            controller=nde.FixedStep(0.1),
        )

    def bound(self, series, seed=None):
        """Return the negative evidence lower bound for observations with noise of standard deviation 0.1."""
        initial, context = self.encoder(series)
        output = self.layer(initial, args=(context,), seed=seed)
        likelihood = Normal(output.ys[..., :1], 0.1).log_prob(series).sum((0, 2))
        return (output.kl - likelihood).mean()


@pytest.mark.slow
def test_training_the_lower_bound_explains_series_and_reaches_every_parameter() -> None:
    series = nde.solve_sde(
        lambda t, y: 3 * torch.sin(2 * y), lambda t, y: 0.3 + 0 * y, torch.zeros(64, 1), TIMES, seed=0
    ).ys
    model = Model()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    before = float(model.bound(series, seed=1).detach())
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 250)
    for _ in range(250):
        bound = model.bound(series)
        optimizer.zero_grad()
        bound.backward()
        optimizer.step()
        schedule.step()
    assert all(parameter.grad is not None and bool(parameter.grad.any()) for parameter in model.parameters())
    # the likelihood of white noise with the data's own mean and spread, which knows of no time
    plain = -float(Normal(series.mean(), series.std()).log_prob(series).sum((0, 2)).mean())
    # one draw of the bound spreads by about 1, a mean of 16 by a quarter: eight of these below
    after = sum(float(model.bound(series, seed=seed).detach()) for seed in range(16)) / 16
    assert after < plain - 2 < before
