"""Every layer that takes a penalty takes a local one: over all steps it is the global penalty, with its gradient."""

import pytest
import torch
from torch.distributions import Normal

import nde
from nde.regularize import GlobalError, LocalError
from tests.models import test_latent_ode as latent_ode
from tests.models import test_latent_sde as latent_sde
from tests.problems import Net, relative_difference

FIXED = {"controller": nde.FixedStep(0.25)}


def ode(regularizer):
    layer = nde.NeuralODE(Net(), regularizer=regularizer, **FIXED)
    return layer, layer(torch.linspace(-1, 1, 6).double().reshape(2, 3))


def sde(regularizer):
    layer = nde.NeuralSDE(Net(), lambda t, y: 0.2 + 0.1 * y.sin(), regularizer=regularizer, **FIXED)
    return layer, layer(torch.linspace(-1, 1, 6).double().reshape(2, 3), seed=0)


def flow(regularizer):
    layer = nde.ContinuousFlow(Net(), 3, regularizer=regularizer, **FIXED).double()
    return layer, layer(torch.linspace(-1, 1, 6).double().reshape(2, 3), seed=0)


def latent(regularizer):
    layer = latent_ode.model(regularizer=regularizer, **FIXED)
    values, mask = latent_ode.series()
    return layer, layer(latent_ode.TIMES, values, mask, seed=0)


def latent_noise(regularizer):
    nets = latent_sde.Nets()
    layer = nets.layer(regularizer=regularizer, **FIXED)
    mean = torch.linspace(-1, 1, 6).double().reshape(3, 2)
    return nets, layer(Normal(mean, torch.ones_like(mean)), args=(mean,), seed=0)


@pytest.mark.parametrize("solve", [ode, sde, flow, latent, latent_noise])
def test_over_all_steps_it_is_the_global_penalty(solve) -> None:
    found = []
    for regularizer in (
        GlobalError(0.1),
        LocalError(0.1, n_draws=4, sampling="step", stratified=True, grad="full"),
    ):
        module, output = solve(regularizer)
        assert len(output.solution.steps) == 4
        parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
        gradient = torch.autograd.grad(output.penalty, parameters, allow_unused=True)
        parts = [part.reshape(-1) for part in gradient if part is not None]
        found.append(torch.cat([output.penalty.reshape(1), *parts]))
    assert found[0].any() and relative_difference(*found) < 1e-8
