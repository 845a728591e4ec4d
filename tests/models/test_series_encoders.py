"""Encoders of irregular series: what was not observed has no influence, and what was has that of the formulas."""

import math

import pytest
import torch
from torch import nn

import nde
from nde.models import GRUDEncoder, ODERNNEncoder
from nde.models.series import check_series, masked_gaussian_log_likelihood
from tests.problems import double

NAN = float("nan")


def ode_rnn(**options) -> ODERNNEncoder:
    torch.manual_seed(1)
    return ODERNNEncoder(2, 3, 5, method="rk4", controller=nde.FixedStep(0.25), **options).double()


def gru_d() -> GRUDEncoder:
    torch.manual_seed(1)
    encoder = GRUDEncoder(2, 3, 5, data_mean=double(0.5, -0.5)).double()
    with torch.no_grad():
        encoder.input_bias.fill_(0.1)  # away from the rectifier's corner
        encoder.hidden_decay.bias.fill_(0.1)
    return encoder


each_encoder = pytest.mark.parametrize("make", [ode_rnn, gru_d])


def series(batch=4):
    """Return times of each sample, values with a few missing, and the mask."""
    generator = torch.Generator().manual_seed(2)
    ts = torch.rand(6, batch, generator=generator, dtype=torch.float64).sort(0).values
    values = torch.randn(6, batch, 2, generator=generator, dtype=torch.float64)
    mask = torch.rand(6, batch, 2, generator=generator) < 0.6
    mask[2] = True
    return ts, values, mask


@each_encoder
@pytest.mark.parametrize("t0", [None, -0.3])
def test_what_was_not_observed_has_no_influence(make, t0) -> None:
    encoder, (ts, values, mask) = make(), series()
    expected = encoder(ts, values, mask, t0)
    hidden = encoder(ts, torch.where(mask, values, NAN), None, t0)  # the mask is where there is no NaN
    other = encoder(ts, torch.where(mask, values, 1e6), mask.double(), t0)
    for found in (hidden, other):
        assert torch.equal(found.mean, expected.mean) and torch.equal(found.stddev, expected.stddev)
    changed = values.clone()
    changed[2, 1, 0] += 1  # observed, in one sample
    moved = (encoder(ts, changed, mask, t0).mean - expected.mean).abs().sum(-1)
    assert bool(moved[1]) and not bool(moved[[0, 2, 3]].any())


@each_encoder
@pytest.mark.parametrize("t0", [None, -0.3])
def test_a_padded_batch_gives_what_each_series_gives_alone(make, t0) -> None:
    encoder, (ts, values, mask) = make(), series(3)
    lengths = (6, 4, 3)
    padded_ts = ts.clone()
    for sample, length in enumerate(lengths):
        padded_ts[length:, sample] = NAN
        mask[length:, sample] = False
    together = encoder(padded_ts, values, mask, t0).mean
    with_times = encoder(ts, values, mask, t0).mean  # rows that have a time and no observation
    for sample, length in enumerate(lengths):
        alone = encoder(ts[:length, sample], values[:length, [sample]], mask[:length, [sample]], t0).mean
        torch.testing.assert_close(together[[sample]], alone, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(with_times[[sample]], alone, rtol=1e-12, atol=1e-12)


def test_an_ode_rnn_whose_field_is_zero_is_the_recurrent_network() -> None:
    class Zero(nn.Module):
        def forward(self, t, hidden):
            return torch.zeros_like(hidden)

    encoder, (ts, values, _) = ode_rnn(field=Zero()), series()
    hidden = torch.zeros(4, 5, dtype=torch.float64)
    for row in values.flip(0):
        hidden = encoder.cell(torch.cat([row, torch.ones_like(row)], -1), hidden)
    found = encoder.encode(check_series(ts, values, None), -1.0)
    torch.testing.assert_close(found, hidden, rtol=1e-12, atol=1e-12)


def test_the_state_of_an_ode_rnn_moves_backwards_by_the_length_of_each_samples_gap() -> None:
    # a field that depends on the time, with the solution h exp((b^2 - a^2) / 2)
    encoder = ode_rnn(field=lambda t, hidden: t * hidden)
    ts = double(0.2, 0.5, 0.9, 1.7).reshape(2, 2)  # from 0.9 to 0.2, and from 1.7 to 0.5
    values, seen = torch.randn(2, 2, 2, dtype=torch.float64), torch.ones(2, 2, dtype=torch.float64)
    first = encoder.cell(torch.cat([values[1], seen], -1))
    moved = first * torch.exp((ts[0].square() - ts[1].square()) / 2).unsqueeze(-1)
    expected = encoder.cell(torch.cat([values[0], seen], -1), moved) * torch.exp(-ts[0].square() / 2).unsqueeze(-1)
    # the error of four steps of the fourth order over a gap of 1.2
    torch.testing.assert_close(encoder.encode(check_series(ts, values, None), 0.0), expected, rtol=1e-4, atol=1e-4)


def test_gru_d_fills_and_decays_as_computed_by_hand() -> None:
    encoder = GRUDEncoder(2, 1, 3, data_mean=double(2.0, -1.0)).double()
    with torch.no_grad():
        encoder.input_rate.copy_(double(0.5, 0.3))
        encoder.input_bias.copy_(double(0.1, 0.0))
    # read backwards: at 1.0 only the first channel, at 0.6 only the second, at 0.1 both are observed
    ts, values = double(0.1, 0.6, 1.0), double(0.4, 1.5, NAN, 0.7, 3.0, NAN).reshape(3, 1, 2)
    decayed = lambda hidden, *waited: hidden * torch.exp(-torch.relu(encoder.hidden_decay(double(*waited))))
    cell = lambda hidden, *inputs: encoder.cell(double(*inputs).unsqueeze(0), hidden)
    # the second channel was never observed: its mean stands in for its last value
    hidden = cell(decayed(torch.zeros(1, 3, dtype=torch.float64), 0.0, 0.0), 3.0, -1.0, 1.0, 0.0)
    share = math.exp(-(0.5 * 0.4 + 0.1))
    hidden = cell(decayed(hidden, 0.4, 0.4), share * 3.0 + (1 - share) * 2.0, 0.7, 0.0, 1.0)
    hidden = cell(decayed(hidden, 0.9, 0.5), 0.4, 1.5, 1.0, 1.0)
    expected = decayed(hidden, 0.1, 0.1)
    torch.testing.assert_close(encoder.encode(check_series(ts, values, None), 0.0), expected, rtol=1e-12, atol=1e-12)


@each_encoder
def test_gradients_of_all_parameters_are_those_of_finite_differences(make) -> None:
    encoder, (ts, values, mask) = make(), series()
    values.requires_grad_()
    inputs = [values, *encoder.parameters()]

    def loss():
        initial = encoder(ts, values, mask, -0.3)
        return initial.mean.sin().sum() + initial.stddev.sum()

    gradient = torch.autograd.grad(loss(), inputs)
    assert all(part.any() and part.isfinite().all() for part in gradient)
    norm = torch.cat([part.reshape(-1) for part in gradient]).norm()
    found, step = [], 1e-5
    with torch.no_grad():
        for sign in (1, -2, 1):
            for tensor, part in zip(inputs, gradient, strict=True):
                tensor.add_(part / norm, alpha=sign * step)
            found.append(float(loss()))
    # the third derivative over the step squared; the values are of the size 10
    assert float(norm) == pytest.approx((found[0] - found[1]) / (2 * step), rel=1e-7)


def test_masked_likelihood_is_the_sum_over_what_was_observed_and_keeps_nan_out_of_gradients() -> None:
    _, values, mask = series()
    mean, std = torch.randn(6, 4, 2, dtype=torch.float64, requires_grad=True), double(0.5, 2.0).requires_grad_()
    found = masked_gaussian_log_likelihood(mean, std, torch.where(mask, values, NAN), None)
    for sample in range(4):
        terms = [
            -0.5 * ((values[i, sample, c] - mean[i, sample, c]) / std[c]) ** 2 - (std[c] * math.sqrt(2 * math.pi)).log()
            for i in range(6)
            for c in range(2)
            if mask[i, sample, c]
        ]
        torch.testing.assert_close(found[sample], torch.stack(terms).sum(), rtol=1e-12, atol=1e-12)
    gradients = torch.autograd.grad(found.sum(), [mean, std])
    assert all(bool(gradient.isfinite().all()) for gradient in gradients)
    assert not gradients[0][~mask].any() and bool(gradients[0][mask].all())


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ({"observations": torch.zeros(3, 4)}, ValueError, r"observations must have shape \(T, batch, 2\)"),
        ({"observations": [1.0]}, TypeError, "observations must be a floating point tensor"),
        ({"mask": torch.ones(3, 4, 3)}, ValueError, "mask must be a tensor of the shape of observations"),
        ({"mask": torch.full((3, 4), 0.5)}, ValueError, "mask must hold nothing but 0 and 1"),
        (
            {"observations": torch.full((3, 4, 2), NAN), "mask": torch.ones(3, 4)},
            ValueError,
            "must be finite where mask",
        ),
        ({"ts": (0.0, 1.0)}, ValueError, "ts must have one time per row of observations, 3, but has 2"),
        ({"ts": (0.0, 1.0, 0.5)}, ValueError, "ts must not decrease"),
        ({"ts": (0.0, NAN, 0.5)}, ValueError, "ts must not decrease, and may be NaN behind"),
        ({"ts": (0.0, 0.5, NAN)}, ValueError, "ts must not be NaN where there is an observation"),
        ({"ts": torch.zeros(3, 5)}, ValueError, r"ts must have shape \(T,\) or \(T, 4\)"),
        ({"ts": "now"}, TypeError, "ts must be a tensor or a sequence of numbers"),
    ],
)
def test_wrong_series_are_explained(change, kind, message) -> None:
    arguments = {"ts": (0.0, 0.5, 1.0), "observations": torch.zeros(3, 4, 2), "mask": None} | change
    with pytest.raises(kind, match=message):
        GRUDEncoder(2, 3)(**arguments)


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (lambda: ODERNNEncoder(2, 3, 0), ValueError, "hidden_size must be at least 1"),
        (lambda: GRUDEncoder(2, 3.0), TypeError, "latent_size must be an integer"),
        (lambda: ODERNNEncoder(2, 3, field=3), TypeError, "field must be callable"),
        (lambda: ODERNNEncoder(2, 3, method="rk4"), ValueError, "has no error estimate"),
        (lambda: GRUDEncoder(2, 3, data_mean=torch.zeros(3)), ValueError, r"data_mean must have shape \(2,\)"),
    ],
)
def test_wrong_options_are_refused(make, kind, message) -> None:
    with pytest.raises(kind, match=message):
        make()
