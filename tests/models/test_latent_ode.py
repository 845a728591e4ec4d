"""The latent ODE predicts each sample at its own times, and its bound is what the formulas say."""

import copy
import math
import pickle

import pytest
import torch
from torch import nn
from torch.distributions import Normal

import nde
from nde.models import GRUDEncoder, ODERNNEncoder, TimeConditionedField
from tests.problems import Net, double, each_adjoint

NAN = float("nan")
TIMES = (0.0, 0.3, 0.7, 1.0)


def model(seed=0, **options) -> nde.LatentODE:
    torch.manual_seed(seed)
    encoder = GRUDEncoder(2, 3, 4)
    with torch.no_grad():
        encoder.input_bias.fill_(0.1)  # away from the rectifier's corner
        encoder.hidden_decay.bias.fill_(0.1)
    decoder = nn.Linear(3, 2)
    return nde.LatentODE(Net(size=3), encoder.double(), decoder.double(), 3, **options).double()


def series(batch=4):
    generator = torch.Generator().manual_seed(2)
    values = torch.randn(len(TIMES), batch, 2, generator=generator, dtype=torch.float64)
    return values, torch.rand(values.shape, generator=generator) < 0.7


def test_predictions_are_the_decoded_solution_from_the_posterior() -> None:
    layer, (values, mask) = model(), series()
    output = layer(TIMES, values, mask, (0.2, 0.5), draw=False)
    initial = layer.encoder(TIMES, values, mask, 0.0)
    states = nde.solve_ode(layer.field, initial.mean, (0.0, 0.2, 0.5)).ys[1:]
    torch.testing.assert_close(output.latents, states, rtol=0, atol=0)
    torch.testing.assert_close(output.mean, layer.decoder(states), rtol=0, atol=0)
    assert torch.equal(output.ys, output.latents) and output.latents.shape == (2, 4, 3)
    assert layer(TIMES, values, mask, draw=False).latents.shape == (4, 4, 3)  # at the times of the observations
    torch.testing.assert_close(layer(TIMES, values, mask, draw=False).latents[0], initial.mean, rtol=0, atol=0)


def test_the_initial_state_is_a_draw_from_the_posterior_that_a_seed_repeats() -> None:
    layer, (values, mask) = model(), series(1)
    many = values.expand(-1, 20_000, -1)
    with torch.no_grad():
        output = layer(TIMES, many, mask.expand_as(many), seed=0)
        again, other = (layer(TIMES, values, mask, seed=seed).mean for seed in (1, 2))
    first, initial = output.latents[0], output.initial
    error = initial.stddev[0] / math.sqrt(len(first))
    assert bool(((first.mean(0) - initial.mean[0]).abs() < 3.5 * error).all())
    # the standard error of a deviation is that of the mean over the square root of two
    assert bool(((first.std(0) - initial.stddev[0]).abs() < 3.5 * error / math.sqrt(2)).all())
    assert torch.equal(again, layer(TIMES, values, mask, seed=1).mean) and not torch.equal(again, other)


@pytest.mark.parametrize("per_sample", [False, True])
def test_samples_with_times_of_their_own_are_predicted_as_if_alone(per_sample) -> None:
    layer = model(per_sample=per_sample, rtol=1e-9, atol=1e-9)
    values, mask = series(3)
    ts = double(0.0, 0.2, 0.1, 0.3, 0.2, 0.4, 0.7, 0.6, 0.4, 1.0, NAN, NAN).reshape(4, 3)
    mask[3, 1:] = False
    together = layer(ts, values, mask, draw=False)
    for sample in range(3):
        length = 4 if sample == 0 else 3
        alone = layer(ts[:length, sample], values[:length, [sample]], mask[:length, [sample]], draw=False)
        # the steps are others: a multiple of the tolerance
        torch.testing.assert_close(together.mean[:length, [sample]], alone.mean, rtol=1e-7, atol=1e-7)
        torch.testing.assert_close(together.kl[[sample]], alone.kl, rtol=1e-12, atol=1e-12)
        whole = together.log_likelihood(values, mask)[sample]
        part = alone.log_likelihood(values[:length, [sample]], mask[:length, [sample]])[0]
        torch.testing.assert_close(whole, part, rtol=1e-5, atol=1e-5)


def test_the_bound_is_likelihood_minus_weighted_divergence() -> None:
    layer, (values, mask) = model(noise_std=double(0.5, 2.0)), series()
    output = layer(TIMES, values, mask, seed=0)
    mean, std = output.initial.mean, output.initial.stddev
    divergence = (0.5 * (mean.square() + std.square() - 1) - std.log()).sum(-1)
    torch.testing.assert_close(output.kl, divergence, rtol=1e-12, atol=1e-12)
    errors = Normal(output.mean, double(0.5, 2.0)).log_prob(values) * mask
    torch.testing.assert_close(output.log_likelihood(values, mask), errors.sum((0, 2)), rtol=1e-12, atol=1e-12)
    expected = (errors.sum((0, 2)) - 0.3 * divergence).mean()
    torch.testing.assert_close(output.elbo(values, mask, kl_weight=0.3), expected, rtol=1e-12, atol=1e-12)


def test_the_bound_is_below_the_evidence_and_reaches_it_at_the_exact_posterior() -> None:
    # z does not move and is observed once with errors: the posterior and the evidence are known
    noise, observation = 0.5, double(0.8).reshape(1, 1, 1)
    evidence = float(Normal(0.0, math.sqrt(1 + noise**2)).log_prob(torch.tensor(0.8)))
    variance = noise**2 / (1 + noise**2)
    for mean, std, exact in ((0.8 / (1 + noise**2), math.sqrt(variance), True), (0.3, 0.7, False)):
        posterior = lambda ts, values, mask, t0, mean=mean, std=std: Normal(
            torch.full((values.shape[1], 1), mean).double(), torch.full((values.shape[1], 1), std).double()
        )
        layer = nde.LatentODE(lambda t, z: torch.zeros_like(z), posterior, nn.Identity(), 1, noise_std=noise).double()
        many = observation.expand(1, 20_000, 1)
        output = layer((1.0,), many, seed=0)
        terms = output.log_likelihood(many) - output.kl
        error = float(terms.detach().std()) / math.sqrt(len(terms))
        gap = evidence - float(terms.detach().mean())
        assert abs(gap) < 3.5 * error if exact else gap > 10 * error


@each_adjoint
def test_gradients_of_the_bound_and_the_penalty_are_those_of_finite_differences(adjoint) -> None:
    layer = model(
        adjoint=adjoint, controller=nde.FixedStep(0.25), train_noise=True, regularizer=nde.regularize.GlobalError(0.1)
    )
    values, mask = series()
    parameters = list(layer.parameters())

    def loss():
        output = layer(TIMES, torch.where(mask, values, NAN), seed=0)
        return output.penalty - 0.01 * output.elbo(values, mask)

    gradient = torch.autograd.grad(loss(), parameters)
    assert all(part.any() and part.isfinite().all() for part in gradient)
    norm = torch.cat([part.reshape(-1) for part in gradient]).norm()
    found, step = [], 1e-5
    with torch.no_grad():
        for sign in (1, -2, 1):
            for tensor, part in zip(parameters, gradient, strict=True):
                tensor.add_(part / norm, alpha=sign * step)
            found.append(float(loss()))
    # the third derivative over the step squared; the values are of the size 10
    assert float(norm) == pytest.approx((found[0] - found[1]) / (2 * step), rel=1e-6)


def test_samples_of_the_prior_are_decoded_paths_from_normal_states() -> None:
    layer = model()
    drawn = layer.sample(5, (0.0, 0.5, 1.0), seed=0)
    assert drawn.shape == (3, 5, 2) and torch.equal(drawn, layer.sample(5, (0.0, 0.5, 1.0), seed=0))
    assert not torch.equal(drawn, layer.sample(5, (0.0, 0.5, 1.0), seed=1))
    # times of one's own: each sample is the same path at another time
    each = layer.sample(5, double(*[0.0, 0.25, 0.5, 0.75, 1.0]).unsqueeze(0), seed=0)
    torch.testing.assert_close(each[0, [0, 2, 4]], drawn[[0, 1, 2], [0, 2, 4]], rtol=1e-3, atol=1e-4)


def oscillations(batch, generator):
    """Return damped oscillations at 20 times, with a third missing."""
    ts = torch.linspace(0, 2, 20)
    phase, size = (torch.rand(batch, 1, generator=generator) for _ in range(2))
    values = (0.5 + size) * torch.exp(-0.3 * ts) * torch.cos(4 * ts + 6.28 * phase)
    return ts, values.T.unsqueeze(-1), torch.rand(20, batch, 1, generator=generator) < 0.67


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ode rnn", "gru-d"])
def test_series_are_learned_interpolated_and_forecast(kind) -> None:
    generator = torch.Generator().manual_seed(0)
    ts, values, mask = oscillations(64, generator)
    _, held_out, held_mask = oscillations(64, generator)
    torch.manual_seed(0)
    if kind == "ode rnn":
        encoder = ODERNNEncoder(1, 4, 16, method="euler", controller=nde.FixedStep(1.0))
    else:
        encoder = GRUDEncoder(1, 4, 16)
    field = TimeConditionedField(4, 24, 1)
    layer = nde.LatentODE(
        field, encoder, nn.Linear(4, 1), 4, noise_std=0.1, method="rk4", controller=nde.FixedStep(0.21)
    )
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.01)
    seen = 14  # the first 14 times are read; all 20 are predicted
    for iteration in range(250):
        output = layer(ts[:seen], values[:seen], mask[:seen], ts)
        loss = -output.elbo(values, mask, kl_weight=min(1.0, iteration / 100))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        mean = layer(ts[:seen], held_out[:seen], held_mask[:seen], ts, draw=False).mean
    squared, hidden = (mean - held_out).square(), ~held_mask
    interpolation = float(squared[:seen][hidden[:seen]].mean())
    forecast = float(squared[seen:].mean())
    assert interpolation < 0.25 * float(held_out[:seen].square().mean())
    assert forecast < 0.5 * float(held_out[seen:].square().mean())


def test_layer_can_be_copied_pickled_and_converted() -> None:
    layer, (values, mask) = model(), series()
    expected = layer(TIMES, values, mask, seed=0).mean
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(twin(TIMES, values, mask, seed=0).mean, expected)
    assert "latent_size=3" in repr(layer)
    single = layer.float()
    assert single(TIMES, values.float(), mask).mean.dtype is torch.float32
    assert single.sample(2, TIMES).dtype is torch.float32


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"noise_std": 0.0}, ValueError, "noise_std must be positive"),
        ({"t0": "now"}, TypeError, "t0 must be a number"),
        ({"train_noise": 1}, TypeError, "train_noise must be True or False"),
        ({"method": "tsit6"}, ValueError, "Did you mean 'tsit5'"),
        ({"regularizer": 0.1}, TypeError, "regularizer must be a Penalty"),
    ],
)
def test_wrong_options_are_refused_when_the_layer_is_built(options, kind, message) -> None:
    with pytest.raises(kind, match=message):
        model(**options)


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda layer, y: layer((-0.1, 0.3, 0.7, 1.0), y), ValueError, "ts must not be before t0 = 0"),
        (lambda layer, y: layer(TIMES, y, None, (-0.1, 0.5)), ValueError, "predict_ts must not be before t0 = 0"),
        (lambda layer, y: layer(TIMES, y, None, (0.0,)), ValueError, "There must be a time after t0 = 0"),
        (lambda layer, y: layer(TIMES, y[0]), ValueError, "observations must have shape"),
        (lambda layer, y: layer(TIMES, y).elbo(y[:2]), ValueError, "must have the shape of the predictions"),
        (lambda layer, y: layer.sample(0, TIMES), ValueError, "samples must be at least 1"),
    ],
)
def test_wrong_arguments_of_a_call_are_explained(call, kind, message) -> None:
    with pytest.raises(kind, match=message):
        call(model(), series()[0])


def test_an_encoder_of_another_size_is_named() -> None:
    layer = nde.LatentODE(Net(size=3), GRUDEncoder(2, 4).double(), nn.Linear(3, 2).double(), 3)
    with pytest.raises(ValueError, match=r"encoder must return a Normal of shape \(4, 3\), but returned \(4, 4\)"):
        layer(TIMES, series()[0])
