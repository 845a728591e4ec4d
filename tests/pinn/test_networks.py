"""Networks: what they compute, and that jets go through them."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from nde.pinn.geometry import Box
from nde.pinn.networks import (
    MLP,
    FactorisedLinear,
    FourierBasis,
    FourierFeatures,
    ModifiedMLP,
    PeriodicEmbedding,
    SharedLinear,
    SineBasis,
)
from nde.taylor.operators import laplacian


@pytest.fixture(autouse=True)
def double():
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    yield
    torch.set_default_dtype(torch.float32)


def box():
    return Box([0.0, -1.0], [2.0, 2.0])


def networks():
    periodic = PeriodicEmbedding(2, {0: 2.0}, harmonics=2)
    features = FourierFeatures(2, 6)
    return {
        "MLP": MLP(2, width=8),
        "ModifiedMLP": ModifiedMLP(2, width=8),
        "factorised": MLP(2, width=8, linear=FactorisedLinear),
        "periodic": nn.Sequential(periodic, MLP(periodic.outputs, width=8)),
        "features": nn.Sequential(features, ModifiedMLP(features.outputs, width=8)),
        "shared": nn.Sequential(SharedLinear(2, 8, 2), nn.Tanh(), nn.Linear(8, 1)),
        "fourier": nn.Sequential(FourierBasis(box(), 2), nn.Linear(25, 1, bias=False)),
        "sine": nn.Sequential(SineBasis(box(), 3), nn.Linear(9, 1, bias=False)),
    }


def hessian_trace(net, x):
    hessians = torch.stack([torch.autograd.functional.hessian(lambda z: net(z).squeeze(-1), point) for point in x])
    return hessians.diagonal(dim1=1, dim2=2).sum(1, keepdim=True)


@pytest.mark.parametrize("name", networks())
def test_jets_through_every_network_agree_with_nested_reverse_mode(name):
    net = networks()[name]
    x = torch.rand(4, 2)
    torch.testing.assert_close(laplacian(net, x).value, hessian_trace(net, x), rtol=1e-10, atol=1e-10)


def test_the_exact_laplacian_of_a_perceptron_is_the_same_by_rank():
    net = MLP(30, width=8)
    x = torch.rand(4, 30)
    torch.testing.assert_close(laplacian(net, x, mode="rank").value, laplacian(net, x).value, rtol=1e-9, atol=1e-12)


def test_a_periodic_embedding_makes_function_and_derivatives_periodic():
    net = networks()["periodic"]
    x = torch.rand(5, 2)
    shifted = x + torch.tensor([2.0, 0.0])
    torch.testing.assert_close(net(shifted), net(x))
    torch.testing.assert_close(laplacian(net, shifted).value, laplacian(net, x).value)
    assert not torch.allclose(net(x + torch.tensor([0.0, 2.0])), net(x))


def test_trainable_periods_get_gradients():
    embedding = PeriodicEmbedding(2, {1: 3.0}, trainable=True)
    embedding(torch.rand(3, 2)).sum().backward()
    assert embedding.frequencies.grad.shape == (1,)


def test_a_factorised_layer_starts_as_glorot_and_reaches_all_its_parameters():
    layers = [FactorisedLinear(50, 40) for _ in range(20)]
    weights = torch.cat([(layer.scale.exp().unsqueeze(1) * layer.direction).reshape(-1) for layer in layers])
    assert float(weights.detach().std()) == pytest.approx(math.sqrt(2 / 90), rel=0.02)
    layers[0](torch.rand(3, 50)).sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in layers[0].parameters())


@pytest.mark.parametrize("basis", [FourierBasis(box(), 3), SineBasis(box(), 4)], ids=["fourier", "sine"])
def test_bases_are_orthonormal(basis):
    nodes, weights = map(torch.from_numpy, np.polynomial.legendre.leggauss(40))
    x = torch.cartesian_prod(1 + nodes, 0.5 + 1.5 * nodes)
    mass = torch.cartesian_prod(weights, 1.5 * weights).prod(1)
    values = basis.double()(x)
    gram = values.T @ (mass.unsqueeze(1) * values)
    torch.testing.assert_close(gram, torch.eye(basis.outputs), rtol=0, atol=1e-6)  # built in float32


def test_preconditioned_functions_are_mapped_to_unit_length_by_the_operator():
    basis = FourierBasis(box(), 2, symbol=lambda w: w.square().sum(-1), kernel_scale=7.0)
    plain = FourierBasis(box(), 2)
    x = torch.rand(6, 2)
    image = laplacian(basis, x).value
    torch.testing.assert_close(image[:, 1:], -plain(x)[:, 1:])
    torch.testing.assert_close(basis(x)[:, 0], 7 * plain(x)[:, 0])


def test_sines_vanish_on_the_boundary():
    edge = box().sample_boundary(50)
    assert float(SineBasis(box(), 3)(edge).abs().max()) < 1e-12


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MLP(2, depth=0), "depth must be at least 1"),
        (lambda: PeriodicEmbedding(2, {2: 1.0}), "coordinate 2, but there are 2"),
        (lambda: PeriodicEmbedding(2, {0: -1.0}), "must be positive, but is -1.0"),
        (lambda: PeriodicEmbedding(2, {}), "at least one coordinate"),
        (lambda: FourierFeatures(2, 3, scale=0.0), "scale must be positive"),
        (lambda: SineBasis(box(), 2, symbol=lambda w: w[:, 0] * 0), "cannot be divided"),
    ],
)
def test_bad_sizes_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
