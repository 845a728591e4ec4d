"""Operators in equations: as the field of a solve, under every adjoint and penalty, and in the residual of a loss."""

import math

import pytest
import torch

import nde
from nde.adjoint import DiscreteAdjoint
from nde.operators import FNO, DifferentialKernel, LocalNO, PointCloud, UniformGrid
from nde.taylor import jet
from tests.operators.fields import order, relative

TORUS = UniformGrid(periodic=True, centering="vertices")


def small(**options):
    return LocalNO(1, 1, **{"width": 4, "depth": 2, "modes": 3, "radii": (0.2,), "coordinates": 0, **options})


def solved(field, y0, adjoint, regularizer, **settings):
    """Return the penalty and the gradients of the end and the penalty in the parameters and the initial state."""
    torch.manual_seed(3)  # local penalties draw a step
    y0 = y0.clone().requires_grad_()
    layer = nde.NeuralODE(field, adjoint=adjoint, regularizer=regularizer, **settings)
    out = layer(y0)
    grads = torch.autograd.grad(out.y1.square().mean() + out.penalty, [y0, *field.parameters()])
    return out.penalty.detach(), grads


@pytest.mark.parametrize(
    ("adjoint", "penalty", "method", "tol", "error"),
    [
        ("discrete", nde.regularize.GlobalError(1.0), "tsit5", 1e-4, 1e-9),
        # without memory for tapes each step is taken again from its state
        (DiscreteAdjoint(tape_memory=0), nde.regularize.GlobalError(1.0), "tsit5", 1e-4, 1e-9),
        ("reversible", nde.regularize.GlobalError(1.0), "reversible_heun", 1e-4, 1e-9),
        # the continuous adjoint is right up to the tolerance
        ("backsolve", nde.regularize.LocalError(1.0), "tsit5", 1e-8, 1e-6),
    ],
    ids=["discrete", "replayed", "reversible", "backsolve"],
)
def test_gradients_of_a_solve_and_its_penalty_are_those_of_the_tape_with_each_adjoint(
    adjoint, penalty, method, tol, error
):
    torch.manual_seed(0)
    field = small(regularized=(0.25,), grid=TORUS).double()
    y0 = torch.randn(2, 1, 12, 12, dtype=torch.float64)
    settings = {"method": method, "rtol": tol, "atol": tol}
    value, grads = solved(field, y0, adjoint, penalty, **settings)
    expected_value, expected = solved(field, y0, "direct", penalty, **settings)
    assert float(value) > 0
    torch.testing.assert_close(value, expected_value, rtol=1e-6, atol=0)
    for one, other in zip(grads, expected, strict=True):
        assert bool(other.abs().max() > 0)
        assert relative(one, other) < error


def test_a_solve_on_a_finer_grid_or_on_points_is_the_same_solve():
    field = small(grid=UniformGrid(periodic=True)).double()
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


def test_a_solve_that_leaves_the_finite_numbers_is_the_solvers_to_report():
    field = small()
    blowing_up = nde.NeuralODE(lambda t, y: field(t, y) + y**3, throw=False, max_steps=100)
    out = blowing_up(10 * torch.ones(1, 1, 12, 12))
    assert out.solution.status != nde.Status.SUCCESS


def test_the_residual_of_an_equation_by_stencils_converges_to_that_by_jets():
    # -div grad u + u^3 of a network: stencils with the coefficients of the Laplacian, jets of the same function
    laplacian = DifferentialKernel(1, 1, order=2, symmetric=True).double()
    with torch.no_grad():
        laplacian.weight.zero_()
        for index, exponents in enumerate(laplacian.derivatives()):
            laplacian.weight[..., index] = float(2 in exponents)
    torch.manual_seed(0)
    first, second = torch.nn.Linear(2, 8).double(), torch.nn.Linear(8, 1).double()

    def answer(x):
        return second(torch.tanh(first(x)))[..., 0]

    errors = []
    for count in (16, 32, 64):
        grid = UniformGrid()
        positions = grid.positions((count, count)).flatten(1).t().contiguous()
        u = answer(positions)
        by_jets = u**3
        for axis in range(2):
            way = torch.zeros_like(positions)
            way[:, axis] = 1
            by_jets = by_jets - 2 * jet(answer, positions, way, order=2).coefficients[2]
        by_stencils = u**3 - laplacian(u.view(1, 1, count, count), grid).flatten()
        off = (by_stencils - by_jets).view(count, count)[2:-2, 2:-2]
        errors.append(float(off.abs().max().detach()))
    assert order(errors[0], errors[2]) / 2 == pytest.approx(2, abs=0.2)


@pytest.mark.slow
def test_an_operator_learns_an_equation_from_its_residual_by_differential_layers_alone():
    # u - u'' / (2 pi)^2 = f on a circle; no solution is shown
    torch.manual_seed(0)
    grid = UniformGrid(periodic=True, centering="vertices")
    x = 2 * math.pi * grid.positions((48,))[0].float()
    waves = torch.stack([wave(k * x) for k in (1, 2, 3) for wave in (torch.sin, torch.cos)])
    factors = torch.tensor([1 / (1 + k * k) for k in (1, 2, 3) for _ in range(2)])
    curvature = DifferentialKernel(1, 1, 1, order=2, width=5, symmetric=True, unit=1 / (2 * math.pi))
    with torch.no_grad():
        curvature.weight.zero_()
        curvature.weight[..., 0] = 1.0
    curvature.requires_grad_(False)
    model = FNO(1, 1, 1, width=12, depth=2, modes=4, coordinates=0, grid=grid)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 300)
    for _ in range(300):
        f = (torch.randn(16, 6) @ waves)[:, None]
        u = model(f)
        loss = (u - curvature(u, grid) - f).square().mean() / f.square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    a = torch.randn(32, 6)
    with torch.no_grad():
        assert relative(model((a @ waves)[:, None]), ((a * factors) @ waves)[:, None]) < 0.05
