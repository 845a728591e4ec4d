"""Stencils: which derivative they tend to and how fast, at every boundary and in every dimension."""

import math

import pytest
import torch

from nde.operators import DifferentialKernel, UniformGrid
from tests.operators.fields import order, slopes, waves


def derivative(layer, positions, field=slopes):
    """The limit of a stencil on two channels, by automatic differentiation."""
    flat = positions.flatten(1).t().requires_grad_()
    out = 0
    for exponents, weight in layer.derivatives().items():
        for channel in range(2):
            value = field(flat.t())[0, channel]
            for axis, power in enumerate(exponents):
                for _ in range(power):
                    value = torch.autograd.grad(value.sum(), flat, create_graph=True)[0][:, axis]
            factor = math.prod(math.factorial(power) for power in exponents)
            assert factor in (1, 2) and sum(exponents) == layer.order
            out = out + weight[:, channel, None] * value
    return out.detach().unflatten(1, positions.shape[1:])


@pytest.mark.parametrize("centering", ["cells", "vertices"])
@pytest.mark.parametrize(("rank", "width"), [(1, 3), (1, 5), (2, 3), (2, 5)])
@pytest.mark.parametrize("symmetric", [False, True])
def test_stencils_converge_to_their_derivative_up_to_the_walls_on_stretched_grids(centering, rank, width, symmetric):
    layer = DifferentialKernel(2, 2, order=rank, width=width, symmetric=symmetric).double()
    grid = UniformGrid(lengths=(1.0, 2.0), centering=centering)
    errors, inner = [], []
    for count in (32, 64, 128, 256):
        positions = grid.positions((count, count // 2))
        error = layer(slopes(positions), grid)[0].detach() - derivative(layer, positions)
        errors.append(float(error.abs().max()))
        inner.append(float(error[:, 8:-8, 4:-4].square().mean().sqrt()))
    assert order(inner[-2], inner[-1]) == pytest.approx(1 + symmetric, abs=0.15)
    assert order(errors[-2], errors[-1]) > 0.85


def flat_at_walls(positions):
    """Two channels without slope at the walls of the unit box."""
    one, other = (
        math.prod([torch.cos(math.pi * (k + axis % 2) * x) for axis, x in enumerate(positions)]) for k in (1, 2)
    )
    return torch.stack((one, other)).unsqueeze(0)


SIZES = {1: (32, 64, 128), 2: (32, 64, 128), 3: (10, 20, 40)}


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("rank", [1, 2])
@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("boundary", ["periodic", "reflect", "replicate", "extrapolate"])
def test_stencils_converge_with_every_boundary_in_every_dimension(dims, rank, symmetric, boundary):
    torch.manual_seed(dims)
    kind = "extrapolate" if boundary == "periodic" else boundary
    layer = DifferentialKernel(2, 2, dims, order=rank, symmetric=symmetric, boundary=kind).double()
    field = {"periodic": waves, "extrapolate": slopes}.get(boundary, flat_at_walls)
    for centering in ("cells", "vertices"):
        grid = UniformGrid(periodic=boundary == "periodic", centering=centering)
        errors, inner = [], []
        for count in SIZES[dims]:
            positions = grid.positions((count,) * dims)
            error = (layer(field(positions), grid)[0].detach() - derivative(layer, positions, field)).abs()
            errors.append(float(error.max()))
            inner.append(float(error[(slice(None), *(slice(2, -2),) * dims)].max()))
        # at least first order, second for stencils with the parity of their derivative
        assert order(inner[-2], inner[-1]) > (1.8 if symmetric else 0.85)
        if boundary in ("periodic", "reflect"):
            # the field is continued as it goes on: walls are no worse than the middle
            assert order(errors[-2], errors[-1]) > (1.8 if symmetric else 0.85)
        elif boundary == "extrapolate" or rank == 1:
            # replicated values are off by the square of the spacing: one order is lost at the wall, two with rank 2
            assert order(errors[-2], errors[-1]) > 0.8


@pytest.mark.parametrize("boundary", ["extrapolate", "replicate", "reflect"])
@pytest.mark.parametrize("rank", [1, 2])
def test_constants_have_no_derivative_at_any_boundary(boundary, rank):
    layer = DifferentialKernel(1, 2, order=rank, boundary=boundary).double()
    ones = torch.ones(1, 1, 64, 64, dtype=torch.float64)
    assert float(layer(ones).detach().abs().max()) < 1e-9
    assert float(layer(ones, UniformGrid(periodic=True)).detach().abs().max()) < 1e-9


def test_linear_fields_are_differentiated_exactly_and_reflection_is_exact_for_fields_without_slope():
    layer = DifferentialKernel(1, 1).double()
    grid = UniformGrid()
    positions = grid.positions((24, 24))
    b = layer.derivatives()
    got = layer((2 * positions[0] - 3 * positions[1])[None, None], grid)
    torch.testing.assert_close(got, (2 * b[1, 0] - 3 * b[0, 1])[..., None, None].expand_as(got), rtol=1e-10, atol=1e-10)
    for centering in ("cells", "vertices"):
        even = DifferentialKernel(1, 1, boundary="reflect", symmetric=True).double()
        box = UniformGrid(centering=centering)
        twice = UniformGrid(lengths=2.0, periodic=True, centering=centering)
        x = box.positions((33, 33))
        field = torch.cos(math.pi * x[0]) * torch.cos(2 * math.pi * x[1])
        count = 66 if centering == "cells" else 64
        y = twice.positions((count, count))
        around = torch.cos(math.pi * y[0]) * torch.cos(2 * math.pi * y[1])
        whole = even(around[None, None], twice)[:, :, :33, :33]
        torch.testing.assert_close(even(field[None, None], box), whole, rtol=1e-9, atol=1e-9)
