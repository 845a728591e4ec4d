"""Models: as functions of functions, as vector fields, as checkpoints; and what they refuse."""

import pytest
import torch
from torch import nn

import nde
from nde.operators import (
    FNO,
    DeepONet,
    DifferentialKernel,
    HatBasis,
    LocalIntegral,
    LocalNO,
    MultiONet,
    NeuralOperator,
    OperatorBlock,
    PointCloud,
    Pointwise,
    RegularizedDifferential,
    SpectralConvolution,
    SphereGrid,
    SpherePoints,
    UniformGrid,
    ZernikeBasis,
    resolution_changes,
)
from tests.operators.fields import relative


def small(**options):
    return LocalNO(1, 1, **{"width": 4, "depth": 2, "modes": 3, "radii": (0.2,), **options})


def test_operators_are_imported_when_first_asked_for():
    assert nde.operators.LocalNO is LocalNO
    with pytest.raises(AttributeError, match="operator"):
        _ = nde.operator


def test_a_model_solves_in_time_with_equal_gradients_under_all_adjoints_and_a_penalty():
    grid = UniformGrid(periodic=True)
    field = small(coordinates=0, grid=grid).double()
    y0 = torch.randn(2, 1, 12, 12, dtype=torch.float64)
    grads = []
    for adjoint in ("direct", "discrete"):
        layer = nde.NeuralODE(field, adjoint=adjoint, regularizer=nde.regularize.GlobalError(1.0), rtol=1e-4, atol=1e-4)
        out = layer(y0)
        assert out.penalty > 0
        loss = out.y1.square().mean() + out.penalty
        grads.append(torch.autograd.grad(loss, list(field.parameters())))
    for one, other in zip(*grads, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-10)
        assert bool(one.abs().max() > 0)
    backsolve = nde.NeuralODE(field, adjoint="backsolve", rtol=1e-8, atol=1e-8)(y0).y1.square().mean()
    exact = nde.NeuralODE(field, rtol=1e-8, atol=1e-8)(y0).y1.square().mean()
    for one, other in zip(
        torch.autograd.grad(backsolve, list(field.parameters())),
        torch.autograd.grad(exact, list(field.parameters())),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_a_solve_on_a_finer_grid_or_on_points_is_the_same_solve():
    field = small(coordinates=0, grid=UniformGrid(periodic=True)).double()
    layer = nde.NeuralODE(field, rtol=1e-5, atol=1e-5)
    ends = []
    for count in (16, 32):
        x = UniformGrid(periodic=True, centering="vertices").positions((count, count))
        y0 = ((6.283185307179586 * x[0]).sin() * (6.283185307179586 * x[1]).cos())[None, None]
        ends.append(layer(y0, args=(UniformGrid(periodic=True, centering="vertices"),)).y1)
        points = PointCloud(x.flatten(1).t(), periodic=True)
        scattered = layer(y0.flatten(2), args=(points,)).y1
        assert relative(scattered, ends[-1].flatten(2)) < 0.02
    assert relative(ends[0], ends[1][..., ::2, ::2]) < 5e-3


def test_the_time_is_an_input_where_it_is_asked_for():
    field = small(time=True)
    x = torch.randn(1, 1, 12, 12)
    assert not torch.equal(field(0.0, x), field(1.0, x))
    assert torch.equal(small_autonomous := small()(x), small_autonomous)
    autonomous = small()
    assert torch.equal(autonomous(0.0, x), autonomous(1.0, x)) and torch.equal(autonomous(0.0, x), autonomous(x))
    with pytest.raises(ValueError, match="model\\(t, x\\)"):
        field(x)


def test_the_same_checkpoint_serves_another_resolution_points_and_the_sphere(tmp_path):
    torch.save(small(modes=None, coordinates=0).state_dict(), tmp_path / "model.pt")
    model = small(modes=None, coordinates=0)
    model.load_state_dict(torch.load(tmp_path / "model.pt", weights_only=True))
    for x, grid in (
        (torch.randn(1, 1, 10, 14), UniformGrid()),
        (torch.randn(1, 1, 33, 33), UniformGrid(periodic=True)),
        (torch.randn(1, 1, 200), PointCloud(torch.rand(200, 2))),
        (torch.randn(1, 1, 20, 40), SphereGrid()),
    ):
        assert model(x, grid=grid).shape == x.shape and torch.equal(model(x, grid), model(x, grid=grid))


def test_models_work_in_one_and_three_dimensions():
    for dims, shape in ((1, (32,)), (3, (9, 10, 11))):
        model = LocalNO(
            2, 3, dims, width=4, depth=2, modes=3, radii=(0.2,), regularized=(0.25,), differential=(1, 2)
        ).double()
        out = model(torch.randn(2, 2, *shape, dtype=torch.float64))
        assert out.shape == (2, 3, *shape)
        out.square().mean().backward()
        assert all(bool((parameter.grad != 0).all()) for parameter in model.parameters())


@pytest.mark.slow
def test_models_train_on_a_grid_and_keep_what_they_learned_at_twice_the_resolution():
    # the derivative along the first axis of random waves
    def data(count, batch=16):
        generator = torch.Generator().manual_seed(1)
        x = UniformGrid(periodic=True).positions((count, count)).float() * 6.2831853
        fields, slopes = [], []
        for _ in range(batch):
            k, m = torch.randint(1, 4, (2,), generator=generator)
            shift = torch.rand(2, generator=generator) * 6.2831853
            fields.append((k * x[0] + shift[0]).sin() * (m * x[1] + shift[1]).cos())
            slopes.append(k / 3 * (k * x[0] + shift[0]).cos() * (m * x[1] + shift[1]).cos())
        return torch.stack(fields)[:, None], torch.stack(slopes)[:, None]

    model = small(width=8, coordinates=0, regularized=(0.15,), grid=UniformGrid(periodic=True))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    x, y = data(16)
    for _ in range(80):
        loss = (model(x) - y).norm() / y.norm()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    fine_x, fine_y = data(32)
    fine = (model(fine_x) - fine_y).norm() / fine_y.norm()
    assert float(loss.detach()) < 0.1
    assert float(fine.detach()) < float(loss.detach()) + 0.03


def test_autocast_runs_transforms_in_single_precision():
    model = small(regularized=(0.2,), differential=(1,))
    for module in model.modules():
        if isinstance(module, LocalIntegral):
            module.method = "fft"
    x = torch.randn(2, 1, 16, 16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = model(x)
    out.float().square().mean().backward()
    assert float((out.float() - model(x)).norm().detach()) < 0.1 * float(model(x).norm().detach())


def test_an_ensemble_of_models_is_mapped_over_its_parameters():
    models = [small() for _ in range(3)]
    parameters, _ = torch.func.stack_module_state(models)
    x = torch.randn(2, 1, 12, 12)
    outs = torch.vmap(lambda values: torch.func.functional_call(models[0], values, (x,)))(parameters)
    for model, out in zip(models, outs, strict=True):
        torch.testing.assert_close(model(x), out, rtol=1e-4, atol=1e-5)


def test_multionet_is_the_mean_of_weighed_products_of_the_last_layers():
    model = MultiONet(12, 2, dims=1, width=8, depth=3, read=2).double()
    a, x = torch.randn(3, 3, 4).double(), torch.rand(5, 1).double()
    assert bool((model.scales == 1).all())
    nn.init.normal_(model.scales)
    nn.init.normal_(model.bias)
    act = nn.functional.silu
    branch, trunk, expected = a.flatten(1), x, model.bias[:, None]
    for at in range(3):
        branch, trunk = model.branch[at](branch), model.trunk[at](trunk)
        if at < 2:
            branch, trunk = act(branch), act(trunk)
        if at >= 1:
            product = (branch.view(3, 1, 2, 8) * trunk.view(1, 5, 2, 8)).sum(-1).movedim(2, 1)
            expected = expected + model.scales[at - 1] * product / 2
    torch.testing.assert_close(model(a, x), expected)
    torch.testing.assert_close(model(a, x.expand(3, 5, 1)), expected)
    assert sum(p.numel() for p in MultiONet(12).parameters()) == sum(p.numel() for p in DeepONet(12).parameters()) + 3


def refusals():
    x = torch.zeros(1, 1, 16, 16)
    cloud = PointCloud(torch.rand(50, 2))
    nan = x.clone()
    nan[..., 3, 3] = torch.nan
    return {
        "wrong channels": (ValueError, "shape .*1, points, points", lambda: small()(torch.zeros(1, 2, 16, 16))),
        "no channels": (ValueError, "x must have shape", lambda: small()(torch.zeros(16, 16))),
        "radius below spacing": (
            ValueError,
            "below the spacing 0.125.*at least 10",
            lambda: LocalIntegral(1, 1, radius=0.1)(x[..., :8, :8]),
        ),
        "radius below spacing on one axis": (
            ValueError,
            "along axis 1",
            lambda: LocalIntegral(1, 1, radius=0.1)(x[..., :8]),
        ),
        "radius below spacing of points": (
            ValueError,
            "spacing of the points",
            lambda: LocalIntegral(1, 1, radius=0.01)(torch.zeros(1, 50), cloud),
        ),
        "radius below spacing of the sphere": (
            ValueError,
            "latitudes",
            lambda: LocalIntegral(1, 1, radius=0.1)(x, SphereGrid()),
        ),
        "radius beyond half the torus": (
            ValueError,
            "half the box",
            lambda: LocalIntegral(1, 1, radius=0.6)(x, UniformGrid(periodic=True)),
        ),
        "radius beyond the box": (ValueError, "larger than the box", lambda: LocalIntegral(1, 1, radius=1.6)(x)),
        "radius around the sphere": (ValueError, "pi", lambda: LocalIntegral(1, 1, radius=3.2)(x, SphereGrid())),
        "modes above Nyquist": (ValueError, "at most modes=7", lambda: SpectralConvolution(1, 1, modes=8)(x)),
        "padding between cells": (
            ValueError,
            "whole number",
            lambda: SpectralConvolution(1, 1, modes=3, padding=0.1)(x),
        ),
        "nan": (ValueError, "1 of its 256", lambda: small()(nan)),
        "mismatched points": (ValueError, "50 points.*40 values", lambda: small()(torch.zeros(1, 1, 40), cloud)),
        "points in another dimension": (
            ValueError,
            "dims=2",
            lambda: small()(torch.zeros(1, 1, 50), PointCloud(torch.rand(50, 3))),
        ),
        "lengths of another dimension": (ValueError, "3 entries", lambda: small()(x, UniformGrid((1.0, 1.0, 1.0)))),
        "sphere in three dimensions": (
            ValueError,
            "dimension 2",
            lambda: LocalIntegral(1, 1, 3)(torch.zeros(1, 1, 8, 8, 8), SphereGrid()),
        ),
        "spectral on the sphere": (ValueError, "modes=None", lambda: small(coordinates=3)(x, SphereGrid())),
        "coordinates on the sphere": (ValueError, "coordinates=3", lambda: small(modes=None)(x, SphereGrid())),
        "stencil on points": (
            ValueError,
            "RegularizedDifferential",
            lambda: DifferentialKernel(1, 1)(torch.zeros(1, 50), cloud),
        ),
        "stencil wider than the field": (
            ValueError,
            "needs 3 points",
            lambda: DifferentialKernel(1, 1, width=5)(x[..., :2, :2]),
        ),
        "dtype": (TypeError, "float64", lambda: small()(x.double())),
        "integers": (TypeError, "real numbers", lambda: small()(x.long())),
        "grid of the wrong type": (TypeError, "must be a Grid", lambda: small()(x, "cells")),
        "no input": (TypeError, "takes", lambda: small()()),
        "radius": (ValueError, "positive", lambda: LocalIntegral(1, 1, radius=0.0)),
        "radius of the wrong type": (TypeError, "radius", lambda: LocalIntegral(1, 1, radius="0.1")),
        "basis": (TypeError, "HatBasis", lambda: LocalIntegral(1, 1, basis="hat")),
        "basis without odd functions": (ValueError, "odd", lambda: RegularizedDifferential(1, 1, basis=HatBasis(2, 3))),
        "isotropic basis has no odd functions": (
            ValueError,
            "odd",
            lambda: RegularizedDifferential(1, 1, basis=ZernikeBasis(3, 0)),
        ),
        "dims": (ValueError, "1, 2 or 3", lambda: Pointwise(1, 1, 4)),
        "channels": (ValueError, "in_channels", lambda: Pointwise(0, 1)),
        "order": (ValueError, "1 or 2", lambda: DifferentialKernel(1, 1, order=3)),
        "even width": (ValueError, "odd", lambda: DifferentialKernel(1, 1, width=4)),
        "centering": (ValueError, "vertices", lambda: UniformGrid(centering="vertex")),
        "length": (ValueError, "positive", lambda: UniformGrid(lengths=(1.0, 0.0))),
        "no branch": (ValueError, "at least one", lambda: OperatorBlock([])),
        "branches that differ": (ValueError, "agree", lambda: OperatorBlock([Pointwise(1, 2), Pointwise(1, 3)])),
        "no layer": (TypeError, "Linear", lambda: OperatorBlock([nn.Linear(1, 1)])),
        "blocks that do not follow": (
            ValueError,
            "follow",
            lambda: NeuralOperator(1, 1, [Pointwise(1, 2), Pointwise(3, 1)]),
        ),
        "points outside": (ValueError, "outside the box", lambda: PointCloud(2 * torch.ones(3, 2))),
        "points twice": (ValueError, "twice", lambda: PointCloud(torch.zeros(3, 2))),
        "weights": (ValueError, "weights", lambda: PointCloud(torch.rand(3, 2), torch.ones(4))),
        "no unit vectors": (ValueError, "unit vectors", lambda: SpherePoints(torch.rand(9, 3))),
        "sensors": (ValueError, "10 values", lambda: MultiONet(10)(torch.zeros(2, 9), torch.zeros(3, 2))),
        "positions": (ValueError, "positions", lambda: MultiONet(10)(torch.zeros(2, 10), torch.zeros(3, 1))),
        "layers to read": (ValueError, "at most read=5", lambda: MultiONet(10, read=6)),
        "sizes": (ValueError, "multiple", lambda: resolution_changes(Pointwise(1, 1), lambda x: x, (8, 12))),
        "modes of another dimension": (ValueError, "modes has 3", lambda: FNO(1, 1, modes=(1, 2, 3))),
    }


@pytest.mark.parametrize("name", refusals())
def test_bad_input_is_refused_with_a_word_on_what_would_do(name):
    kind, words, call = refusals()[name]
    with pytest.raises(kind, match=words):
        call()


def test_a_solve_that_leaves_the_finite_numbers_is_the_solvers_to_report():
    field = small(coordinates=0)
    blowing_up = nde.NeuralODE(lambda t, y: field(t, y) + y**3, throw=False, max_steps=100)
    out = blowing_up(10 * torch.ones(1, 1, 12, 12))
    assert out.solution.status != nde.Status.SUCCESS
