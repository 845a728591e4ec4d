"""What each layer computes: limits, symmetries, derivatives, and parameters that all have an effect."""

import math

import pytest
import torch
from scipy import special

from nde.operators import (
    FNO,
    ChannelMLP,
    DeepONet,
    DifferentialKernel,
    HarmonicBasis,
    HatBasis,
    LocalIntegral,
    LocalNO,
    MultiONet,
    OddBasis,
    PointCloud,
    Pointwise,
    RegularizedDifferential,
    SpectralConvolution,
    SphereGrid,
    UniformGrid,
    ZernikeBasis,
)
from nde.operators.harmonics import angular_harmonics, count_harmonics, jacobi
from tests.operators.fields import order, relative, waves

BASES = [
    HatBasis(1),
    HatBasis(2, 4),
    HatBasis(3, 5),
    HatBasis(3, 1),
    ZernikeBasis(4),
    ZernikeBasis(3, 0),
    HarmonicBasis(1),
]


def ball(dims):
    count = 41 if dims < 3 else 21
    axis = torch.linspace(-1, 1, count, dtype=torch.float64)
    return torch.stack(torch.meshgrid(*[axis] * dims, indexing="ij"), -1)


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("basis", BASES, ids=str)
def test_bases_are_independent_have_unit_norms_and_vanish_at_the_boundary(basis, dims):
    z = ball(dims)
    values = basis(z)
    assert values.shape[0] == basis.size(dims)
    flat = values.flatten(1)
    assert torch.linalg.matrix_rank(flat) == basis.size(dims)
    torch.testing.assert_close(
        flat.abs().sum(1) * float(z[(1,) * dims][0] - z[(0,) * dims][0]) ** dims,
        torch.ones(len(flat)).double(),
        rtol=0.05,
        atol=0,
    )
    edge = torch.nn.functional.normalize(torch.randn(50, dims, dtype=torch.float64), dim=1) * (1 - 1e-9)
    assert float(basis(edge).abs().max()) < 1e-6


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("basis", [HatBasis(3, 4), ZernikeBasis(4), HarmonicBasis(1)], ids=str)
def test_odd_bases_are_odd_and_independent(basis, dims):
    odd, z = OddBasis(basis), ball(dims)
    values = odd(z)
    torch.testing.assert_close(values, -odd(-z), rtol=0, atol=1e-12)
    assert torch.linalg.matrix_rank(values.flatten(1)) == odd.size(dims)
    # they span all odd parts
    parts = torch.cat((basis.raw(z) - basis.raw(-z), values)).flatten(1)[:, z.square().sum(-1).flatten() < 1]
    assert torch.linalg.matrix_rank(parts) == odd.size(dims)


def test_polynomials_and_harmonics_are_those_of_scipy():
    x = torch.linspace(-1, 1, 30, dtype=torch.float64)
    for degree in range(5):
        for beta in (-0.5, 0.0, 1.5, 3.0):
            expected = torch.from_numpy(special.eval_jacobi(degree, 0, beta, x.numpy()))
            torch.testing.assert_close(jacobi(degree, beta, x), expected, rtol=1e-11, atol=1e-11)
    z = torch.randn(40, 3, dtype=torch.float64)
    radius, turn = z.norm(dim=1), torch.atan2(z[:, 1], z[:, 0])
    for degree in range(5):
        found = angular_harmonics(degree, z)
        assert len(found) == count_harmonics(degree, 3)
        expected = []
        for number in range(degree + 1):
            legendre = (-1) ** number * special.lpmv(number, degree, (z[:, 2] / radius).numpy())
            for wave in ("cos", "sin")[: 1 + (number > 0)]:
                expected.append(torch.from_numpy(legendre) * radius**degree * getattr(number * turn, wave)())
        torch.testing.assert_close(torch.stack(found), torch.stack(expected), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("dims", "shape"), [(1, (40,)), (2, (20, 27)), (3, (9, 12, 10))])
@pytest.mark.parametrize("centering", ["cells", "vertices"])
@pytest.mark.parametrize("periodic", [True, False, "mixed"])
@pytest.mark.parametrize("boundary", ["zero", "reflect"])
def test_fourier_and_direct_evaluation_agree_to_rounding(dims, shape, centering, periodic, boundary):
    wraps = (True, False, True)[:dims] if periodic == "mixed" else periodic
    grid = UniformGrid(periodic=wraps, centering=centering)
    x = torch.randn(2, 2, *shape, dtype=torch.float64)
    for kind in (LocalIntegral, RegularizedDifferential):
        layer = kind(2, 3, dims, radius=0.23, boundary=boundary).double()
        layer.method = "fft"
        transformed = layer(x, grid)
        layer.method = "direct"
        torch.testing.assert_close(transformed, layer(x, grid), rtol=0, atol=1e-13)


@pytest.mark.parametrize("method", ["direct", "fft"])
def test_shifts_of_the_torus_commute_with_every_layer_to_rounding(method):
    grid = UniformGrid(periodic=True)
    model = LocalNO(
        2, 1, width=4, modes=4, radii=(0.1, 0.2), regularized=(0.15,), differential=(1, 2), coordinates=0
    ).double()
    for module in model.modules():
        if isinstance(module, LocalIntegral):
            module.method = method
    x = torch.randn(1, 2, 20, 16, dtype=torch.float64)
    shifted = model(x.roll((3, -5), (2, 3)), grid=grid)
    assert relative(shifted, model(x, grid=grid).roll((3, -5), (2, 3))) < 1e-12


def test_regularised_differentials_tend_to_their_slope_and_stay_bounded_at_jumps_where_stencils_diverge():
    grid = UniformGrid(periodic=True, centering="vertices")
    positions = grid.positions((128, 128))
    field = waves(positions)[:, 1:]
    errors = []
    for radius in (0.2, 0.1, 0.05):
        layer = RegularizedDifferential(1, 1, radius=radius, unit=1.0).double()
        gradient = -2 * math.pi * (2 * math.pi * positions.sum(0) + 0.5).sin()
        expected = layer.slope().sum() * gradient
        errors.append(relative(layer(field, grid)[0, 0], expected))
    assert order(errors[0], errors[2]) / 2 == pytest.approx(2, abs=0.25)
    smooth, stencil = RegularizedDifferential(1, 1, radius=0.1).double(), DifferentialKernel(1, 1).double()
    largest = {smooth: [], stencil: []}
    for count in (32, 64, 128):
        step = (UniformGrid().positions((count, count))[0] > 0.5).double()[None, None]
        for layer, values in largest.items():
            edge = slice(count // 8, -count // 8)
            values.append(float(layer(step, UniformGrid()).detach()[..., edge, edge].abs().max()))
    assert largest[smooth][2] < 1.1 * largest[smooth][0]
    assert largest[stencil][2] > 3.5 * largest[stencil][0]


def test_constants_have_no_regularised_derivative_on_any_grid():
    layer = RegularizedDifferential(1, 1, radius=0.2).double()
    for grid in (UniformGrid(), UniformGrid(periodic=True), UniformGrid(centering="vertices")):
        assert float(layer(torch.ones(1, 1, 32, 24, dtype=torch.float64), grid).detach().abs().max()) < 1e-13
    points = PointCloud(torch.rand(500, 2, dtype=torch.float64))
    assert float(layer(torch.ones(1, 1, 500, dtype=torch.float64), points).detach().abs().max()) < 1e-13
    assert float(layer(torch.ones(1, 1, 32, 64, dtype=torch.float64), SphereGrid()).detach().abs().max()) < 1e-13


def test_a_spectral_convolution_multiplies_each_wave_and_removes_the_others():
    layer = SpectralConvolution(1, 1, modes=(3, 4)).double()
    grid = UniformGrid(periodic=True)
    multipliers = torch.view_as_complex(torch.view_as_real(layer.multipliers())).detach().view(7, 5)
    x = grid.positions((16, 18))
    for k in ((2, 3), (-1, 2), (3, 0), (-3, 0), (0, 0)):
        phase = 2 * math.pi * (k[0] * x[0] + k[1] * x[1])
        m = multipliers[k[0] + 3, k[1]]
        got = layer((phase + 0.3).cos()[None, None], grid)[0, 0].detach()
        torch.testing.assert_close(got, m.abs() * (phase + 0.3 + m.angle()).cos(), rtol=1e-11, atol=1e-12)
    beyond = (2 * math.pi * (4 * x[0] + x[1])).cos()[None, None]
    assert float(layer(beyond, grid).detach().abs().max()) < 1e-13


def layers():
    return [
        LocalIntegral(2, 2, radius=0.3, method="direct"),
        LocalIntegral(2, 2, radius=0.3, method="fft", basis=ZernikeBasis(4), boundary="reflect"),
        LocalIntegral(2, 2, radius=0.3, basis=HarmonicBasis()),
        LocalIntegral(2, 2, radius=0.3, basis=HatBasis(3, 4)),
        RegularizedDifferential(2, 2, radius=0.3),
        DifferentialKernel(2, 2),
        DifferentialKernel(2, 2, order=2, width=5, symmetric=True),
        SpectralConvolution(2, 2, modes=(2, 3), padding=0.25),
        Pointwise(2, 2),
        ChannelMLP(2, 2, hidden=3),
    ]


@pytest.mark.parametrize("layer", layers(), ids=lambda layer: type(layer).__name__)
@pytest.mark.parametrize("centering", ["cells", "vertices"])
def test_every_parameter_has_an_effect_on_every_grid(layer, centering):
    layer = layer.double()
    cloud = PointCloud(torch.rand(200, 2, dtype=torch.float64))
    cases = [(UniformGrid(centering=centering), (12, 12) if centering == "cells" else (13, 13))]
    cases += [(UniformGrid(periodic=True), (12, 16))]
    if not isinstance(layer, DifferentialKernel):
        cases.append((cloud, (200,)))
    for grid, shape in cases:
        out = layer(torch.randn(3, 2, *shape, dtype=torch.float64), grid)
        for grad in torch.autograd.grad((out * torch.randn_like(out)).sum(), list(layer.parameters())):
            assert bool((grad.abs() > 1e-12).all())


@pytest.mark.parametrize("layer", layers(), ids=lambda layer: type(layer).__name__)
def test_gradients_agree_with_finite_differences_twice(layer):
    layer = layer.double()
    names = [name for name, _ in layer.named_parameters()]

    def call(grid):
        def function(x, *values):
            return torch.func.functional_call(layer, dict(zip(names, values, strict=True)), (x, grid))

        return function

    values = [value.detach().requires_grad_() for value in layer.parameters()]
    x = torch.randn(1, 2, 8, 8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(call(UniformGrid()), (x, *values), check_forward_ad=True, fast_mode=True)
    assert torch.autograd.gradgradcheck(call(UniformGrid()), (x, *values), fast_mode=True)
    if not isinstance(layer, DifferentialKernel):
        cloud = PointCloud(torch.rand(60, 2, dtype=torch.float64))
        y = torch.randn(1, 2, 60, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(call(cloud), (y, *values), check_forward_ad=True, fast_mode=True)
        assert torch.autograd.gradgradcheck(call(cloud), (y, *values), fast_mode=True)


@pytest.mark.parametrize("layer", layers(), ids=lambda layer: type(layer).__name__)
def test_mapped_calls_equal_a_batch_and_gradients_per_sample_sum_to_that_of_the_batch(layer):
    layer = layer.double()
    cloud = PointCloud(torch.rand(100, 2, dtype=torch.float64))
    for grid, shape in ((UniformGrid(), (12, 12)), (cloud, (100,))):
        if isinstance(layer, DifferentialKernel) and grid is cloud:
            continue
        x = torch.randn(3, 2, *shape, dtype=torch.float64)
        torch.testing.assert_close(torch.vmap(lambda v, grid=grid: layer(v, grid))(x), layer(x, grid))
        parameters = dict(layer.named_parameters())

        def loss(values, v, grid=grid):
            return torch.func.functional_call(layer, values, (v, grid)).square().sum()

        each = torch.vmap(torch.func.grad(loss), in_dims=(None, 0))(parameters, x)
        whole = torch.func.grad(loss)(parameters, x)
        for name, grad in whole.items():
            torch.testing.assert_close(each[name].sum(0), grad)


def test_tables_made_in_inference_mode_serve_training_later():
    layer = LocalIntegral(1, 1, radius=0.3137)
    cloud = PointCloud(torch.rand(100, 2))
    x = torch.randn(1, 1, 16, 16)
    for method in ("direct", "fft"):
        layer.method = method
        with torch.inference_mode():
            layer(x)
            layer(torch.randn(1, 1, 100), cloud)
        layer(x).sum().backward()
        layer(torch.randn(1, 1, 100), cloud).sum().backward()


def test_batches_of_any_shape_and_lone_fields_are_taken():
    layer = LocalIntegral(2, 3, radius=0.2)
    x = torch.randn(4, 5, 2, 16, 16)
    out = layer(x)
    assert out.shape == (4, 5, 3, 16, 16)
    torch.testing.assert_close(layer(x[1, 2]), out[1, 2])


def test_every_parameter_of_the_models_has_an_effect():
    models = [
        FNO(1, 1, width=4, depth=2, modes=3),
        LocalNO(1, 1, width=4, depth=2, modes=3, radii=(0.2, 0.1), regularized=(0.15,), differential=(1, 2)),
    ]
    for model in models:
        model.double()(torch.randn(4, 1, 16, 16, dtype=torch.float64)).square().sum().backward()
        assert all(bool((parameter.grad != 0).all()) for parameter in model.parameters())
    for model in (MultiONet(10, 2, width=6), DeepONet(10, 2, width=6)):
        model.double()(torch.randn(4, 10).double(), torch.rand(7, 2).double()).square().sum().backward()
        assert all(bool((parameter.grad != 0).all()) for parameter in model.parameters())
