"""Milstein's method converges with order 1, in the cases where torchsde's does not."""

import numpy
import pytest
import torch
import torchsde as theirs

import nde
from nde.compat import torchsde as ours
from nde.compat.torchsde.milstein import GradFreeMilstein
from tests.solvers.sde.problems import CASES, TablePath

STEPS = (16, 32, 64, 128)


def slope(errors):
    return -numpy.polyfit(numpy.log(STEPS), numpy.log(errors), 1)[0]


@pytest.mark.parametrize(("name", "calculus"), list(CASES))
def test_without_derivatives_the_order_is_1_for_both_calculi(name, calculus) -> None:
    case, path, errors = CASES[name, calculus], TablePath(0.0, 1.0, (2000,), 256, seed=3), []
    for steps in STEPS:
        y0 = torch.full((2000,), case.y0, dtype=torch.float64)
        solution = nde.solve_sde(
            case.drift, case.diffusion, y0, (0.0, 1.0), calculus=calculus, method=GradFreeMilstein(calculus), path=path,
            controller=nde.FixedStep(1 / steps),
        )  # fmt: skip
        errors.append(float((solution.y1 - case.exact(path)).square().mean().sqrt()))
    assert slope(errors) == pytest.approx(1.0, abs=0.15)


class Turning:
    """A motion that turns the plane: dy = -y / 2 dt + J y dW, with J y = (-y2, y1), so that |y| stays 1."""

    noise_type, sde_type = "scalar", "ito"

    def f(self, t, y):
        return -0.5 * y

    def g(self, t, y):
        return torch.stack([-y[:, 1], y[:, 0]], -1).unsqueeze(-1)


class Motion:
    """A table of increments as torchsde's solvers ask for them."""

    levy_area_approximation = "none"

    def __init__(self, path):
        self.path, self.shape = path, path.shape

    def __call__(self, ta, tb, return_U=False, return_A=False):
        return self.path(float(ta), float(tb)).w


@pytest.mark.parametrize("library", [ours, theirs], ids=["ours", "theirs"])
def test_scalar_noise_that_mixes_entries_takes_the_jacobian_and_not_its_transpose(library) -> None:
    path, errors = TablePath(0.0, 1.0, (2000, 1), 256, seed=3), []
    angle = path(0.0, 1.0).w
    exact = torch.cat([torch.cos(angle), torch.sin(angle)], -1)
    y0 = torch.tensor([[1.0, 0.0]], dtype=torch.float64).expand(2000, 2)
    ts = torch.tensor([0.0, 1.0], dtype=torch.float64)
    with torch.no_grad():
        for steps in STEPS:
            found = library.sdeint(Turning(), y0, ts, bm=Motion(path), method="milstein", dt=1 / steps)[-1]
            errors.append(float((found - exact).square().mean().sqrt()))
    # torchsde's term has the wrong sign here, which leaves twice the error of Euler's method, of order 1/2
    assert slope(errors) == pytest.approx(1.0 if library is ours else 0.5, abs=0.15)


def test_the_one_sided_quotient_of_torchsde_is_of_order_one_half_for_stratonovich() -> None:
    bm = Motion(TablePath(0.0, 1.0, (1000, 1), 2048, seed=3))

    class Curved:
        noise_type, sde_type = "diagonal", "stratonovich"

        def f(self, t, y):
            return -y

        def g(self, t, y):
            return torch.exp(0.7 * torch.sin(y))

    y0, ts = torch.zeros(1000, 1, dtype=torch.float64), torch.tensor([0.0, 1.0], dtype=torch.float64)
    slopes, sizes = [], (32, 128, 512)
    with torch.no_grad():
        exact = ours.sdeint(Curved(), y0, ts, bm=bm, method="heun", dt=1 / 2048)[-1]
        for library in (ours, theirs):
            options = {"bm": bm, "method": "milstein", "options": {"grad_free": True}}
            found = [library.sdeint(Curved(), y0, ts, dt=1 / steps, **options)[-1] for steps in sizes]
            errors = [float((one - exact).square().mean().sqrt()) for one in found]
            slopes.append(-numpy.polyfit(numpy.log(sizes), numpy.log(errors), 1)[0])
    assert slopes[0] == pytest.approx(1.0, abs=0.15)
    assert slopes[1] == pytest.approx(0.5, abs=0.15)
