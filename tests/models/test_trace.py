"""Estimates of a trace: their means are the trace, and their variances what theory says."""

import math

import pytest
import torch

from nde.models import ExactTrace, Hutchinson, HutchPlusPlus
from nde.models.trace import find_trace, value_and_trace
from tests.problems import double

SIZE, DRAWS = 12, 20_000


def decaying_matrix(power: float) -> torch.Tensor:
    """Return a matrix that is not symmetric, with singular values ``i^-power``."""
    generator = torch.Generator().manual_seed(3)
    left, right = (
        torch.linalg.qr(torch.randn(SIZE, SIZE, generator=generator, dtype=torch.float64)).Q for _ in range(2)
    )
    values = torch.arange(1.0, SIZE + 1, dtype=torch.float64) ** -power
    return (left + 0.5 * right) * values @ left.T


def draws(estimator, matrix, seed=0) -> torch.Tensor:
    z = torch.zeros(DRAWS, SIZE, dtype=torch.float64)
    return value_and_trace(lambda z: z @ matrix.T, z, estimator, estimator.draw(z, seed))[1]


def assert_mean(values: torch.Tensor, expected: float) -> None:
    assert float(values.mean()) == pytest.approx(expected, abs=3.5 * float(values.std()) / math.sqrt(len(values)))


@pytest.mark.parametrize("noise", ["rademacher", "gaussian"])
@pytest.mark.parametrize("kind", [lambda noise: Hutchinson(3, noise), lambda noise: HutchPlusPlus(6, noise)])
def test_the_mean_over_draws_is_the_trace(kind, noise) -> None:
    matrix = decaying_matrix(1.0)
    found = draws(kind(noise), matrix)
    assert_mean(found, float(matrix.trace()))
    assert 1e-3 < float(found.std()) < float(matrix.norm())  # an estimate, and no exact value


def test_the_variance_of_hutchinsons_estimate_is_that_of_theory() -> None:
    matrix = decaying_matrix(1.0)
    symmetric = (matrix + matrix.T) / 2
    expected = {
        "gaussian": 2 * symmetric.square().sum(),
        "rademacher": 2 * (symmetric.square().sum() - symmetric.diagonal().square().sum()),
    }
    for noise, variance in expected.items():
        found = draws(Hutchinson(4, noise), matrix)
        # a sample variance of 20000 draws has a relative error of about one percent, times the kurtosis
        assert float(found.var()) == pytest.approx(float(variance) / 4, rel=0.08)


@pytest.mark.parametrize(("power", "factor"), [(2.0, 0.4), (3.0, 0.1)])
def test_hutch_plus_plus_varies_less_than_hutchinson_at_equal_products_on_a_decaying_spectrum(power, factor) -> None:
    # the faster the spectrum decays, the more of it the basis holds: measured 0.22 and 0.04
    matrix = decaying_matrix(power)
    plain, better = (draws(kind, matrix) for kind in (Hutchinson(6), HutchPlusPlus(6)))
    assert float(better.var()) < factor * float(plain.var())


def test_hutch_plus_plus_is_exact_for_a_matrix_of_the_rank_of_its_sketch() -> None:
    torch.manual_seed(0)
    matrix = torch.randn(SIZE, 2, dtype=torch.float64) @ torch.randn(2, SIZE, dtype=torch.float64)
    found = draws(HutchPlusPlus(6, "gaussian"), matrix)
    torch.testing.assert_close(found, matrix.trace().expand_as(found), rtol=1e-6, atol=1e-6)


def coupled(z, weight):
    return torch.sin(z @ weight) * z.roll(1, -1) + z.square()


def test_the_exact_trace_is_that_of_the_jacobian_with_any_batch() -> None:
    weight = decaying_matrix(1.0)
    for batch in ((), (3,), (2, 3)):
        z = torch.randn(*batch, SIZE, dtype=torch.float64)
        value, trace = value_and_trace(lambda z: coupled(z, weight), z, ExactTrace(), ExactTrace().draw(z, None))
        rows = z.reshape(-1, SIZE)
        expected = torch.stack([torch.func.jacrev(lambda z: coupled(z, weight))(row).trace() for row in rows])
        torch.testing.assert_close(value, coupled(z, weight), rtol=0, atol=0)
        torch.testing.assert_close(trace, expected.reshape(batch), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("estimator", [Hutchinson(2), HutchPlusPlus(6)], ids=["hutchinson", "hutch++"])
def test_the_mean_of_the_gradients_is_the_gradient_of_the_trace(estimator) -> None:
    weight = decaying_matrix(1.0).requires_grad_()
    point = torch.linspace(-1, 1, SIZE, dtype=torch.float64)

    def gradients(estimator, count):
        z = point.expand(count, SIZE).clone().requires_grad_()
        trace = value_and_trace(lambda z: coupled(z, weight), z, estimator, estimator.draw(z.detach(), 1))[1]
        return torch.autograd.grad(trace.sum(), z)[0]

    (expected,) = gradients(ExactTrace(), 1)
    found = gradients(estimator, DRAWS)
    error = found.std(0) / math.sqrt(DRAWS)
    # twelve entries at once: 4 standard errors
    assert bool(((found.mean(0) - expected).abs() < 4 * error).all())
    assert float(expected.abs().max()) > 50 * float(error.max())


@pytest.mark.parametrize("jacobian", [0.0, 1.0])
def test_gradients_are_finite_where_the_jacobian_has_not_full_rank(jacobian) -> None:
    weight = double(jacobian).requires_grad_()
    z = torch.ones(2, SIZE, dtype=torch.float64)
    estimator = HutchPlusPlus(6)
    trace = value_and_trace(lambda z: weight * z.sum(-1, keepdim=True) + 0 * z, z, estimator, estimator.draw(z, 0))[1]
    torch.testing.assert_close(trace, torch.full_like(trace, jacobian * SIZE), rtol=1e-9, atol=1e-9)
    (gradient,) = torch.autograd.grad(trace.sum(), weight)
    assert bool(gradient.isfinite())


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (lambda: find_trace("hutchison", 2), ValueError, "Did you mean 'hutchinson'"),
        (lambda: find_trace(3, 2), TypeError, "trace must be a name or a TraceEstimator"),
        (lambda: find_trace("hutch++", 3), ValueError, "costs as much as the exact trace"),
        (lambda: Hutchinson(0), ValueError, "probes must be at least 1"),
        (lambda: HutchPlusPlus(4), ValueError, "products must be a multiple of 3"),
        (lambda: Hutchinson(noise="normal"), ValueError, "noise='normal' is not known"),
    ],
)
def test_wrong_estimators_are_refused(make, kind, message) -> None:
    with pytest.raises(kind, match=message):
        make()
