"""The biharmonic operator and pure derivatives: exact, unbiased over all draws, with the predicted variances."""

import itertools
import math

import pytest
import torch

from nde.taylor.operators import Draw, biharmonic, diagonal, high_order
from tests.taylor.operators.oracles import bilaplacian, derivatives, network, points

DIMENSION = 3


@pytest.fixture(scope="module")
def problem():
    net, x = network(DIMENSION), points(2, DIMENSION)
    return net, x, bilaplacian(net, x).detach(), derivatives(net, x, 4).detach()


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("mode", ["exact", "rank"])
def test_exact_biharmonic_equals_nested_differentiation(problem, mode):
    net, x, expected, _ = problem
    estimate = biharmonic(net, x, mode=mode)
    torch.testing.assert_close(estimate.value, expected, rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(estimate.primal, net(x))
    assert estimate.exact


def test_rank_compressed_biharmonic_of_more_inputs_than_width():
    net, x = network(6, width=3), points(2, 6)
    torch.testing.assert_close(biharmonic(net, x, mode="rank").value, bilaplacian(net, x), rtol=1e-9, atol=1e-9)


def test_parameter_gradients_of_a_biharmonic_estimate_are_those_of_nested_differentiation(problem):
    net, x, _, _ = problem
    parameters = list(net.parameters())[:-1]
    ours = torch.autograd.grad(biharmonic(net, x, mode="sparse", samples=DIMENSION).value.sum(), parameters)
    theirs = torch.autograd.grad(bilaplacian(net, x).sum(), parameters)
    for left, right in zip(ours, theirs, strict=True):
        torch.testing.assert_close(left, right, rtol=1e-8, atol=1e-9)


def test_the_mean_over_all_pairs_of_coordinates_is_exact(problem, monkeypatch):
    net, x, expected, _ = problem
    values = []
    for subset in itertools.permutations(range(DIMENSION), 2):
        draw = Draw(DIMENSION, torch.tensor(subset), None, 1, 2 / DIMENSION)
        monkeypatch.setattr(high_order, "draw_directions", lambda *args, draw=draw: draw)
        values.append(biharmonic(net, x, mode="sparse", samples=2).value)
    torch.testing.assert_close(torch.stack(values).mean(0), expected, rtol=1e-9, atol=1e-10)


def test_the_mean_over_all_sign_vectors_and_coordinates_is_exact(problem, monkeypatch):
    """Signs alone miss two thirds of the pure fourth derivatives; with the correction nothing is missing."""
    net, x, expected, fourth = problem
    values, signs_alone = [], []
    for signs in itertools.product([-1.0, 1.0], repeat=DIMENSION):
        vector = torch.tensor(signs, dtype=x.dtype)
        signs_alone.append(torch.einsum("boijkl,i,j,k,l->bo", fourth, *[vector] * 4) / 3)
        for coordinate in range(DIMENSION):
            draws = {
                "rademacher": Draw(DIMENSION, None, vector.unsqueeze(0), 1, 0.0),
                "sparse": Draw(DIMENSION, torch.tensor([coordinate]), None, 1, 1 / DIMENSION),
            }
            monkeypatch.setattr(high_order, "draw_directions", lambda law, *args, draws=draws: draws[law])
            values.append(biharmonic(net, x, mode="rademacher", samples=1).value)
    torch.testing.assert_close(torch.stack(values).mean(0), expected, rtol=1e-9, atol=1e-10)
    pure = sum(fourth[..., i, i, i, i] for i in range(DIMENSION))
    torch.testing.assert_close(torch.stack(signs_alone).mean(0), expected - pure * (2 / 3))
    assert pure.abs().min() > 1e-3  # the correction is there to be seen


@pytest.mark.parametrize("mode", ["gaussian", "orthogonal", "rademacher", "rank"])
def test_random_modes_are_unbiased(problem, mode):
    net, x, expected, _ = problem
    with torch.no_grad():
        parts = (
            biharmonic(net, x, mode=mode, samples=3000, groups=1500, generator=generator(1)).parts
            if mode
            in (
                "gaussian",
                "orthogonal",
                "rank",
            )
            else torch.stack(
                [biharmonic(net, x, mode=mode, samples=2, generator=source).value for source in [generator(2)] * 300]
            )
        )
    error = parts.std(0) / parts.shape[0] ** 0.5
    assert ((parts.mean(0) - expected).abs() < 4 * error).all()


def test_the_gaussian_variance_is_that_of_wick(problem):
    """Var D^4 u[v,v,v,v] = 72 |M|^2 + 24 |T|^2 with the fourth derivatives T and M_ij = sum_k T_ijkk (by Hermite)."""
    net, x, expected, fourth = problem
    with torch.no_grad():
        parts = biharmonic(net, x, mode="gaussian", samples=8000, groups=8000, generator=generator(3)).parts
    contracted = fourth.diagonal(dim1=-2, dim2=-1).sum(-1)
    predicted = (72 * contracted.square().sum((-2, -1)) + 24 * fourth.square().sum((-4, -3, -2, -1))) / 9
    error = (parts - expected).square().std(0) / 8000**0.5
    assert ((parts.var(0) - predicted).abs() < 4 * error).all()


@pytest.mark.parametrize("mode", ["gaussian", "orthogonal", "rademacher", "sparse"])
def test_reported_variances_are_those_of_the_values(problem, mode):
    net, x, expected, _ = problem
    source, draws = generator(4), 150
    samples = 4 if mode == "sparse" else 6
    with torch.no_grad():
        estimates = [biharmonic(net, x, mode=mode, samples=samples, groups=2, generator=source) for _ in range(draws)]
    values = torch.stack([estimate.value for estimate in estimates])
    variances = torch.stack([estimate.variance for estimate in estimates])
    error = (variances - (values - expected).square()).std(0) / draws**0.5
    assert ((variances.mean(0) - values.var(0)).abs() < 4 * error).all()
    assert ((values.mean(0) - expected).abs() < 4 * values.std(0) / draws**0.5).all()


def test_directions_on_a_sphere_have_less_variance_than_normal_ones(problem):
    net, x, _, _ = problem
    with torch.no_grad():
        spread = {
            mode: biharmonic(net, x, mode=mode, samples=3000, groups=1000, generator=generator(5)).parts.var(0)
            for mode in ("gaussian", "orthogonal")
        }
    assert (spread["orthogonal"] < 0.7 * spread["gaussian"]).all()


@pytest.mark.parametrize("order", [1, 2, 3, 4, 5])
def test_diagonal_equals_nested_differentiation_and_is_the_mean_over_all_subsets(problem, order, monkeypatch):
    net, x, _, _ = problem
    tensor = derivatives(net, x, order)
    expected = sum(tensor[(..., *[axis] * order)] for axis in range(DIMENSION))
    torch.testing.assert_close(diagonal(net, x, order=order).value, expected, rtol=1e-9, atol=1e-9)
    values = []
    for subset in itertools.combinations(range(DIMENSION), 2):
        draw = Draw(DIMENSION, torch.tensor(subset), None, 1, 2 / DIMENSION)
        monkeypatch.setattr(high_order, "draw_directions", lambda *args, draw=draw: draw)
        values.append(diagonal(net, x, order=order, mode="sparse", samples=2).value)
    assert len(values) == math.comb(DIMENSION, 2)
    torch.testing.assert_close(torch.stack(values).mean(0), expected, rtol=1e-9, atol=1e-9)


def test_bad_arguments_are_named(problem):
    net, x, _, _ = problem
    with pytest.raises(ValueError, match="bring in mixed ones"):
        diagonal(net, x, order=4, mode="gaussian", samples=2)
    with pytest.raises(ValueError, match="order must be at least 1, but is 0"):
        diagonal(net, x, order=0)
    with pytest.raises(TypeError, match="order must be a whole number"):
        diagonal(net, x, order=2.0)
    with pytest.raises(ValueError, match="without replacement from 3"):
        diagonal(net, x, order=2, mode="sparse", samples=4)
    with pytest.raises(ValueError, match="pairs of coordinates"):
        biharmonic(net, x, mode="sparse", samples=4)
    with pytest.raises(ValueError, match="pairs of coordinates"):
        biharmonic(net, x, mode="sparse", samples=2, groups=2)
    with pytest.raises(ValueError, match="say how many"):
        biharmonic(net, x, mode="gaussian")
