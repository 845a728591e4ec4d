"""The driven cavity: its reference converges, solves the equations, and is the published flow."""

import numpy as np
import pytest
import torch

from nde.pinn import zoo

# Ghia, Ghia, Shin (1982), tables I and II: u over y at x = 1/2, v over x at y = 1/2, for a Reynolds number of 100
GHIA_Y = [0.0547, 0.0625, 0.0703, 0.1016, 0.1719, 0.2813, 0.4531, 0.5, 0.6172, 0.7344, 0.8516, 0.9531, 0.9609, 0.9688]
GHIA_U = [
    -0.03717, -0.04192, -0.04775, -0.06434, -0.10150, -0.15662, -0.21090, -0.20581, -0.13641, 0.00332, 0.23151, 0.68717,
    0.73722, 0.78871,
]  # fmt: skip
GHIA_X = [0.0625, 0.0703, 0.0781, 0.0938, 0.1563, 0.2266, 0.2344, 0.5, 0.8047, 0.8594, 0.9063, 0.9453, 0.9531, 0.9609]
GHIA_V = [
    0.09233, 0.10091, 0.10890, 0.12317, 0.16077, 0.17507, 0.17527, 0.05454, -0.24533, -0.22445, -0.16914, -0.10313,
    -0.08864, -0.07391,
]  # fmt: skip


def smooth(x):
    return 16 * x**2 * (1 - x) ** 2


def along(fixed, axis, places):
    points = torch.full((len(places), 2), fixed, dtype=torch.float64)
    points[:, axis] = torch.as_tensor(places)
    return points


@pytest.fixture(scope="module")
def plain():
    return zoo.solve_cavity(100.0, np.ones_like, nodes=32)


def test_the_reference_under_a_smooth_lid_converges_faster_than_any_power():
    x = torch.rand(300, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    flows = [zoo.solve_cavity(100.0, smooth, nodes=nodes)(x) for nodes in (12, 16, 24, 32)]
    errors = [float((flow[:, :2] - flows[-1][:, :2]).norm() / flows[-1][:, :2].norm()) for flow in flows[:-1]]
    assert errors[1] < 0.25 * errors[0] and errors[2] < 0.05 * errors[1] and errors[2] < 3e-4
    # the pressure has a weak singularity in the corners below the lid, and converges there slowest
    assert float((flows[2] - flows[3])[:, 2].norm() / flows[3][:, 2].norm()) < 3e-2


def test_the_centre_lines_at_a_reynolds_number_of_100_are_those_that_are_published(plain):
    u = plain(along(0.5, 1, GHIA_Y))[:, 0]
    v = plain(along(0.5, 0, GHIA_X))[:, 1]
    # their grid of 129 nodes is itself off by that much: see the next test
    assert float((u - torch.tensor(GHIA_U)).abs().max()) < 6e-3
    assert float((v - torch.tensor(GHIA_V)).abs().max()) < 1e-2


def test_the_extrema_on_the_centre_lines_are_those_of_a_published_spectral_method(plain):
    line = torch.linspace(0, 1, 4001, dtype=torch.float64)
    u, v = plain(along(0.5, 1, line))[:, 0], plain(along(0.5, 0, line))[:, 1]
    # Botella and Peyret, Benchmark spectral results on the lid-driven cavity flow (1998)
    assert float(u.min()) == pytest.approx(-0.2140424, abs=5e-6)
    assert float(v.max()) == pytest.approx(0.1795728, abs=5e-6)
    assert float(v.min()) == pytest.approx(-0.2538030, abs=5e-6)


def test_jets_of_the_reference_satisfy_equation_walls_and_anchor():
    case = zoo.lid_driven_cavity()
    conditions = case.conditions(interior=200, boundary=50)
    assert set(conditions) == {"equation", "u", "v", "pressure"}
    like = torch.empty(0, dtype=torch.float64)
    for name, condition in conditions.items():
        condition.points.refresh(0, None, torch.Generator().manual_seed(1), like)
        x = condition.points.current
        residual = condition.residual(case.solution, x)
        if name != "equation":
            assert float(residual.abs().max()) < 1e-7, name
            continue
        # the vorticity has a jump of its slopes in the corners below the lid, which slows the series down near them
        away = torch.minimum((x - torch.tensor([0.0, 1.0])).norm(dim=1), (x - torch.ones(2)).norm(dim=1)) > 0.3
        assert float(residual[away].abs().max()) < 3e-4
        assert float(residual.square().mean().sqrt()) < 3e-3
        assert float(residual[:, 2].abs().max()) < 1e-11  # mass, which a stream function keeps


def test_faster_flows_are_reached_through_slower_ones():
    flow = zoo.solve_cavity(1000.0, np.ones_like, nodes=32)
    line = torch.linspace(0, 1, 2001, dtype=torch.float64)
    # Botella and Peyret (1998), table 5
    assert float(flow(along(0.5, 1, line))[:, 0].min()) == pytest.approx(-0.3885698, abs=1e-3)
    assert flow.reynolds == 1000.0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: zoo.solve_cavity(0.0, smooth), "reynolds must be positive"),
        (lambda: zoo.solve_cavity(100.0, smooth, nodes=6), "nodes must be at least 8"),
    ],
)
def test_bad_input_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
