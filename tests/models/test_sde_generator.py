"""The generator of an SDE-GAN: shapes, gradients, reproducibility, and that it can be trained."""

import pytest
import torch

import nde
from nde.models import SDEGenerator
from nde.models.perceptron import LipSwish
from tests.problems import each_adjoint

TIMES = torch.linspace(0, 1, 9, dtype=torch.float64)


def generator_of(**options) -> SDEGenerator:
    torch.manual_seed(0)
    return SDEGenerator(2, 4, TIMES, noise_size=3, width=8, **options).double()


def test_series_have_one_row_per_sample_and_one_entry_per_time_and_channel() -> None:
    generator = generator_of()
    assert generator(5).shape == (5, 9, 2)
    assert generator(3, (0.0, 0.2, 3.0)).shape == (3, 3, 2)
    solution = generator.solve(5)
    # one step from each time to the next, with one evaluation each and one at the beginning
    assert solution.y1.shape == (5, 4) and solution.stats.n_steps == 8 and solution.stats.n_field_evals == 9
    assert generator.float()(2).dtype is torch.float32


def test_calls_are_new_draws_and_a_seed_or_a_path_repeats_one() -> None:
    generator = generator_of()
    assert not torch.equal(generator(3)[:, 0], generator(3)[:, 0])
    assert torch.equal(generator(3, seed=4), generator(3, seed=4))
    path = nde.BrownianPath(0.0, 1.0, (3, 3), seed=0, dtype=torch.float64)
    one, other = (generator(3, path=path, seed=seed) for seed in (1, 2))
    assert torch.equal(one, generator(3, path=path, seed=1)) and not torch.equal(one[:, 0], other[:, 0])


@each_adjoint
def test_gradients_of_every_parameter_are_those_of_finite_differences(adjoint) -> None:
    generator = generator_of(adjoint=adjoint)
    parameters = list(generator.parameters())
    loss = lambda: generator(3, seed=0).sin().sum()
    gradient = torch.autograd.grad(loss(), parameters)
    norm = torch.cat([part.reshape(-1) for part in gradient]).norm()
    values, step = [], 1e-5
    with torch.no_grad():
        for sign in (1, -2):
            for parameter, part in zip(parameters, gradient, strict=True):
                parameter.add_(part / norm, alpha=sign * step)
            values.append(float(loss()))
    assert all(part.any() for part in gradient)
    # the third derivative over the square of the step
    assert float(norm) == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-7)


def energy_distance(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Return an unbiased estimate of twice the mean distance between two laws less those within each."""
    one, other = one.flatten(1), other.flatten(1)
    within = [torch.nn.functional.pdist(series).mean() for series in (one, other)]
    return 2 * torch.cdist(one, other).mean() - sum(within)


@pytest.mark.slow
def test_training_brings_the_law_of_the_series_to_that_of_an_ornstein_uhlenbeck_process() -> None:
    generator = SDEGenerator(1, 4, TIMES, noise_size=2, width=16).double()
    draw = lambda count, seed: nde.solve_sde(
        lambda t, y: 2 * (1 - y), lambda t, y: 0.5 + 0 * y, torch.zeros(count, 1).double(), TIMES, seed=seed
    ).ys.transpose(0, 1)
    data = draw(512, 0)
    before = float(energy_distance(generator(512, seed=1), data).detach())
    optimizer = torch.optim.Adam(generator.parameters(), lr=0.01)
    for _ in range(200):
        distance = energy_distance(generator(128), data[torch.randperm(512)[:128]])
        optimizer.zero_grad()
        distance.backward()
        optimizer.step()
    with torch.no_grad():
        found, new = generator(4096, seed=1), draw(4096, 2)
    assert float(energy_distance(found[:512], new[:512])) < 0.05 * before
    # mean and standard deviation along the series, to a few times what 512 series tell of them (0.02)
    torch.testing.assert_close(found.mean(0), new.mean(0), rtol=0, atol=0.08)
    torch.testing.assert_close(found.std(0), new.std(0), rtol=0, atol=0.08)


def test_activation_is_no_steeper_than_one() -> None:
    x = torch.linspace(-20, 20, 100_001, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(LipSwish()(x).sum(), x)
    assert 0.99 < float(slope.max()) <= 1


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"noise_size": 0}, ValueError, "noise_size must be at least 1"),
        ({"depth": 1.5}, TypeError, "depth must be an integer"),
        ({"method": "sosri2"}, ValueError, "does not converge to the stratonovich solution"),
        ({"adjoint": "discreet"}, ValueError, "Did you mean 'discrete'"),
    ],
)
def test_wrong_options_are_refused_when_the_layer_is_built(options, kind, message) -> None:
    with pytest.raises(kind, match=message):
        SDEGenerator(2, **options)


def test_number_of_samples_is_checked() -> None:
    with pytest.raises(ValueError, match="samples must be at least 1, but is 0"):
        generator_of()(0)


def test_generated_series_come_with_their_solution_and_a_penalty_in_training_mode() -> None:
    layer = SDEGenerator(2, 4, (0.0, 0.5, 1.0), regularizer=nde.regularize.Kinetic(form="local"))
    output = layer.generate(5, seed=0)
    assert output.series.shape == (5, 3, 2) and output.ys.shape == (3, 5, 4)
    gradient = torch.autograd.grad(output.penalty, list(layer.drift.parameters()))
    assert float(output.penalty.detach()) > 0 and all(bool(part.any()) for part in gradient)
    quiet = layer.eval().generate(5, seed=0)
    assert quiet.penalty.item() == 0 and torch.equal(quiet.series, layer(5, seed=0))
