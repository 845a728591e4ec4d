"""Operators on scattered points, and from an equation alone: both run, go on, and are measured right."""

import math

import pytest
import torch

from examples.operators import physics, points
from nde.operators import UniformGrid

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def test_the_closed_form_solves_the_equation_on_points():
    amplitudes = points.functions(2, seed=0).double()
    x = torch.rand(5, 2, dtype=torch.float64)
    source, solution = points.at(amplitudes, x)

    def value(place):
        return points.at(amplitudes, place.unsqueeze(0))[1][:, 0, 0]

    for index, place in enumerate(x):
        hessians = [torch.autograd.functional.hessian(lambda y, one=one: value(y)[one], place) for one in range(2)]
        laplacian = torch.stack([hessian.trace() for hessian in hessians])
        torch.testing.assert_close(solution[:, 0, index] - points.DIFFUSION * laplacian, source[:, 0, index])


def test_the_error_of_the_solution_itself_is_zero_and_that_of_nothing_one():
    amplitudes, cloud = points.functions(3, seed=0), points.cloud(200, 0)
    source, solution = points.at(amplitudes, cloud.points.float())
    assert points.error(lambda x, grid: solution, amplitudes, cloud) == 0
    assert points.error(lambda x, grid: 0 * x, amplitudes, cloud) == pytest.approx(1)
    assert points.error(lambda x, grid: 0 * x, amplitudes, UniformGrid(), 8) == pytest.approx(1)
    assert not torch.allclose(source, solution)


def test_the_residual_by_jets_is_that_of_nested_differentiation():
    torch.manual_seed(0)
    model = physics.DeepONet(physics.SENSORS, dims=1, width=8, depth=2)
    a, x = physics.amplitudes(2, seed=0), torch.rand(4)
    found = physics.residual(model, a, x)

    def solution(y):
        return physics.answer(model, a)(y.reshape(1, 1))[:, 0]

    def slope(y):
        return torch.autograd.functional.jvp(solution, y, torch.ones(()), create_graph=True)[1]

    for index, place in enumerate(x):
        second = torch.autograd.functional.jvp(slope, place, torch.ones(()))[1]
        expected = -second + solution(place) ** 3 - physics.source(a, place.reshape(1))[:, 0]
        torch.testing.assert_close(found[:, index], expected, rtol=1e-3, atol=1e-3)


def test_the_reference_solves_the_equation_to_second_order():
    a = physics.amplitudes(3, seed=1)
    coarse, fine, finest = (physics.exact(a, cells)[0].double() for cells in (50, 100, 400))
    errors = [(one - finest[:, :: 400 // cells]).abs().max() for one, cells in ((coarse, 50), (fine, 100))]
    assert 3.3 < float(errors[0] / errors[1]) < 5.0 and math.isfinite(float(finest.abs().max()))


@pytest.mark.parametrize("example", [points, physics])
def test_a_quick_run_prints_errors_leaves_a_picture_and_is_not_done_twice(example, tmp_path, capsys):
    said = []
    for _ in range(2):
        assert example.main(["--quick", "--output", str(tmp_path)]) == 0
        said.append([line for line in capsys.readouterr().out.splitlines() if "Trained" not in line])
    assert said[0] == said[1] and any("0." in line for line in said[0])
    name = example.__name__.rsplit(".", 1)[-1]
    assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
