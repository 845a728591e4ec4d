"""Conditions vanish at functions that satisfy them, and measure by how much others do not."""

import itertools
import math

import pytest
import torch
from torch import nn

from nde.pinn.coefficient import Coefficient
from nde.pinn.conditions import Data, Dirichlet, Equation, Initial, Neumann, Periodic, Robin
from nde.pinn.geometry import Ball, Box, Interval, TimeProduct
from nde.pinn.hard import HardConstraint
from nde.pinn.networks import MLP
from nde.pinn.points import RandomPoints, ResidualPoints, RetainedPoints
from nde.pinn.problem import Problem
from nde.taylor import InPlaceError
from nde.taylor.operators import NonFiniteResidualError, Unknown, laplacian, unknowns

DISC = Ball([0.0, 0.0], 2.0)


def edge(count=40):
    return DISC.sample_boundary(count, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def saddle(x):
    return x[..., 0] ** 2 - x[..., 1] ** 2 + 3 * x[..., 0]


def zero(value):
    return float(value.detach().abs().max()) < 1e-12


def test_boundary_conditions_vanish_at_their_solution_and_at_no_other():
    slope = lambda x: (2 * x[:, 0] ** 2 - 2 * x[:, 1] ** 2 + 3 * x[:, 0]) / 2
    shifted = lambda x: saddle(x) + 1
    dirichlet = Dirichlet(saddle, edge())
    neumann = Neumann(slope, edge(), DISC.normals)
    robin = Robin(lambda x: 2 * saddle(x) + 3 * slope(x), edge(), DISC.normals, factor=2.0, slope_factor=3.0)
    for condition, error in ((dirichlet, 1.0), (neumann, 0.0), (robin, 2.0)):
        assert zero(condition.residual(saddle, edge()))
        torch.testing.assert_close(condition.residual(shifted, edge()), torch.full((40,), error, dtype=torch.float64))


def test_periodic_conditions_match_derivatives_up_to_their_order():
    lower = torch.tensor([[0.0, 0.3], [0.0, 0.7]], dtype=torch.float64)
    wave = lambda x: torch.sin(2 * math.pi * x[..., 0]) * x[..., 1]
    parabola = lambda x: x[..., 0] * (1 - x[..., 0])  # periodic by itself, its slope is not
    condition = Periodic(0, 1.0, lower, order=2)
    assert condition.residual(wave, lower).shape == (2, 3) and zero(condition.residual(wave, lower))
    assert condition.residual(parabola, lower).tolist() == [[0.0, 2.0, 0.0]] * 2


def test_initial_conditions_fix_values_and_velocities():
    start = torch.tensor([[0.2, 0.0], [0.4, 0.0]], dtype=torch.float64)
    moving = lambda x: x[..., 0] * torch.exp(3 * x[..., 1])
    assert zero(Initial(lambda x: x[:, 0], start).residual(moving, start))
    assert zero(Initial(lambda x: 3 * x[:, 0], start, order=1).residual(moving, start))
    assert zero(Initial(lambda x: 9 * x[:, 0], start, order=2).residual(moving, start))


def test_conditions_of_one_output_of_several():
    both = lambda x: torch.stack([saddle(x), 5 * saddle(x)], -1)
    assert zero(Dirichlet(lambda x: 5 * saddle(x), edge(), component=1).residual(both, edge()))
    u, v = unknowns(2, "xy")
    system = Equation([u.xx + u.yy, v - 5 * u], edge())
    assert system.residual(both, edge()).shape == (40, 2) and zero(system.residual(both, edge()))
    assert zero(Data(edge(), both(edge())).residual(both, edge()))
    assert zero(Data(edge(), 5 * saddle(edge()), component=1).residual(both, edge()))


def test_hard_constraints_hold_for_any_network_and_lift():
    torch.manual_seed(0)
    net = MLP(2).double()
    model = HardConstraint(net, DISC.vanishing, saddle)
    torch.testing.assert_close(model(edge()).squeeze(-1), saddle(edge()))
    several = HardConstraint(MLP(2, 3).double(), DISC.vanishing)
    assert several(edge()).shape == (40, 3) and zero(several(edge()))
    inside = DISC.sample(4, dtype=torch.float64)
    hessians = [torch.autograd.functional.hessian(lambda z: model(z).squeeze(), x) for x in inside]
    expected = torch.stack([hessian.trace() for hessian in hessians])
    torch.testing.assert_close(laplacian(model, inside).value.squeeze(-1), expected)


def test_hard_initial_conditions_hold_for_value_and_velocity():
    domain = TimeProduct(Interval(0.0, 1.0), 1.0, 3.0)
    model = HardConstraint(
        MLP(2).double(), lambda x: domain.vanishing_at_start(x) ** 2, lambda x: x[..., 0] * x[..., 1]
    )
    start = domain.sample_initial(7, dtype=torch.float64)
    assert zero(Initial(lambda x: x[:, 0], start).residual(model, start))
    assert zero(Initial(lambda x: x[:, 0], start, order=1).residual(model, start))


def problem(points, coefficient=None):
    torch.manual_seed(0)
    u = Unknown("xy")
    rate = 1 if coefficient is None else u.given(coefficient)
    conditions = {
        "equation": Equation(rate * (u.xx + u.yy) + 4, points),
        "boundary": Dirichlet(0.0, RandomPoints(DISC.sample_boundary, 30, every=None), weight=10.0),
    }
    found = None if coefficient is None else {"rate": coefficient}
    return Problem(MLP(2, width=16), conditions, found)


def test_a_problem_adds_weighted_mean_squares():
    built = problem(RandomPoints(DISC.sample, 50))
    built.refresh(generator=torch.Generator().manual_seed(0))
    residuals = built.residuals()
    losses = built.losses(weights={"equation": 2.0})
    torch.testing.assert_close(losses["equation"], 2 * residuals["equation"].square().mean())
    torch.testing.assert_close(losses["boundary"], 10 * residuals["boundary"].square().mean())
    torch.testing.assert_close(built.loss(), losses["equation"] / 2 + losses["boundary"])
    each = torch.arange(50.0)
    weighted = built.losses(weights={"equation": each})["equation"]
    torch.testing.assert_close(weighted, (each * residuals["equation"].square()).mean())


def test_estimated_residuals_enter_with_their_unbiased_square():
    torch.manual_seed(0)
    net = MLP(20, width=8)
    x = torch.rand(10, 20)
    equation = Equation(lambda model, x: laplacian(model, x, mode="sparse", samples=4, groups=2)[..., 0] + 1, x)
    built = Problem(net, {"equation": equation})
    exact = float((laplacian(net, x).value.detach() + 1).square().mean())
    draws = torch.stack([built.losses()["equation"].detach() for _ in range(600)])
    assert abs(float(draws.mean()) - exact) < 4 * float(draws.std()) / math.sqrt(600)


def test_coefficients_of_the_equation_are_trained_with_the_model():
    coefficient = Coefficient(2.0, positive=True)
    assert coefficient().item() == pytest.approx(2.0)
    built = problem(RandomPoints(DISC.sample, 50), coefficient)
    built.refresh()
    built.loss().backward()
    assert coefficient.raw.grad.abs() > 0 and any(p is coefficient.raw for p in built.parameters())


def refreshed(points, iterations, seed=0):
    built = problem(points)
    generator = torch.Generator().manual_seed(seed)
    seen = []
    for iteration in iterations:
        built.refresh(iteration, generator)
        seen.append(built.points("equation").clone())
    return built, seen


def test_random_points_are_drawn_anew_when_it_is_time():
    _, seen = refreshed(RandomPoints(DISC.sample, 20, every=2), range(4))
    same = [torch.equal(a, b) for a, b in itertools.pairwise(seen)]
    assert same == [True, False, True]


def test_points_of_a_residual_density_follow_it():
    peaked = lambda x: torch.exp(-20 * (x - 0.5).square().sum(-1))
    box = Box([-1.0, -1.0], [1.0, 1.0])
    generator = torch.Generator().manual_seed(0)
    like = torch.empty(0, dtype=torch.float64)
    points = ResidualPoints(box.sample, 2000, every=1, power=1, constant=1, pool=50)
    points.refresh(0, peaked, generator, like)
    points.refresh(1, peaked, generator, like)
    # the density is p = (r / mean r + 1) / 2, up to the pool being finite
    grid = torch.cartesian_prod(*[torch.linspace(-1, 1, 401, dtype=torch.float64)] * 2)
    density = peaked(grid) / peaked(grid).mean() + 1
    near = (grid - 0.5).norm(dim=1) < 0.3
    expected = float(density[near].sum() / density.sum())
    observed = float(((points.current - 0.5).norm(dim=1) < 0.3).double().mean())
    assert abs(observed - expected) < 5 * math.sqrt(expected * (1 - expected) / 2000)
    uniform = float(near.double().mean())
    assert observed > 3 * uniform


def test_retained_points_are_those_above_the_average():
    ramp = lambda x: x[:, 0]
    box = Box([0.0, 0.0], [1.0, 1.0])
    points = RetainedPoints(box.sample, 500)
    generator, like = torch.Generator().manual_seed(0), torch.empty(0)
    points.refresh(0, ramp, generator, like)
    before = points.current
    points.refresh(1, ramp, generator, like)
    kept = before[ramp(before) > ramp(before).mean()]
    assert len(points.current) == 500 and torch.equal(points.current[: len(kept)], kept)
    assert not torch.equal(points.current[len(kept) :], before[len(kept) :])


def test_a_residual_that_is_not_finite_is_named_with_its_points():
    u = Unknown("xy")
    x = torch.tensor([[1.0, 2.0], [0.0, 3.0], [0.0, 4.0]])
    singular = u.xx + 1 / u.coordinate("x")
    built = Problem(MLP(2), {"inside": Equation(singular, x)})
    with pytest.raises(
        NonFiniteResidualError, match=r"'inside' is not finite at 2 of 3 points.*x = \(0, 3\)"
    ) as caught:
        built.loss()
    assert caught.value.points.tolist() == [1, 2]


class Constant(nn.Module):
    def __init__(self):
        super().__init__()
        self.value = nn.Parameter(torch.zeros(1))

    def forward(self, x):
        return self.value.expand(len(x))


class InPlace(nn.Module):
    def __init__(self):
        super().__init__()
        self.network = MLP(2, width=4)

    def forward(self, x):
        y = self.network(x)
        y += 1
        return y


class Frozen(nn.Module):
    def __init__(self):
        super().__init__()
        self.network = MLP(2, width=4)

    def forward(self, x):
        return self.network(x).detach()


def laplace(model=None, **settings):
    equation = Equation(lambda model, x: laplacian(model, x, **settings), POINTS)
    return Problem(model or MLP(2, width=4), {"e": equation})


POINTS = torch.rand(5, 2)
U = Unknown("xy")


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Problem(MLP(2, 3), {"e": Dirichlet(0.0, POINTS)}).loss(), ValueError, "Choose an output: component=0"),
        (lambda: Problem(MLP(2, 3), {"e": Equation(U.xx, POINTS)}).loss(), ValueError, "one component"),
        (lambda: Problem(MLP(3), {"e": Equation(U.xx, torch.rand(4, 3))}).loss(), ValueError, "2 coordinates"),
        (lambda: Problem(MLP(3), {"e": Equation(U.xx, POINTS)}).loss(), ValueError, "'e': the model cannot be"),
        (lambda: Problem(MLP(3), {"e": Dirichlet(0.0, POINTS)}).loss(), ValueError, "take the 2 coordinates on the la"),
        (lambda: laplace(mode="sparse", samples=3).loss(), ValueError, "samples=3 directions cannot be drawn"),
        (lambda: laplace(mode="sparse", samples=0).loss(), ValueError, "samples must be at least 1"),
        (lambda: laplace(InPlace()).loss(), InPlaceError, "x = x \\+ y instead of x \\+= y"),
        (lambda: Problem(Frozen(), {"e": Equation(U.xx, POINTS)}).loss(), ValueError, "no derivative with respect"),
        (lambda: Initial(0.0, POINTS, order=-1), ValueError, "order must be at least 0"),
        (lambda: Periodic(0, 1.0, POINTS, order=0.5), TypeError, "order must be a whole number"),
        (lambda: Periodic(0, 0.0, POINTS), ValueError, "period must be finite and not zero"),
        (lambda: Dirichlet(0.0, POINTS, weight=math.inf), ValueError, "weight must be positive and finite"),
        (lambda: Data(POINTS, [1.0] * 5), TypeError, "Write torch.tensor"),
        (lambda: Data(torch.ones(5, 2, dtype=torch.int64), torch.rand(5)), TypeError, "must be a floating tensor"),
        (lambda: Problem(Constant(), {"e": Equation(U.xx, POINTS)}).loss(), ValueError, "no derivative"),
        (lambda: Problem(MLP(2).requires_grad_(False), {"e": Equation(U.xx, POINTS)}).loss(), ValueError, "no grad"),
        (lambda: Problem(lambda x: x, {"e": Equation(U.xx, POINTS)}), TypeError, "must be an nn.Module"),
        (lambda: Problem(MLP(2), {}), ValueError, "at least one condition"),
        (lambda: Problem(MLP(2), {"e": U.xx}), TypeError, "Wrap a residual"),
        (lambda: Problem(MLP(2), {"e": Equation(U.xx, RandomPoints(DISC.sample, 5))}).loss(), RuntimeError, "refresh"),
        (lambda: Equation(U.xx, torch.arange(6).reshape(3, 2)), TypeError, "must be a floating tensor"),
        (lambda: Equation(U.xx, torch.rand(3)), ValueError, "points.unsqueeze"),
        (lambda: Equation(U.xx, torch.full((3, 2), math.nan)), ValueError, "point 0 is not"),
        (lambda: Equation(3, POINTS), TypeError, "must be an expression"),
        (lambda: Equation(lambda m, x: m(x).sum(), POINTS).residual(MLP(2), POINTS), ValueError, "a row for each"),
        (lambda: Dirichlet(lambda x: x, POINTS).residual(MLP(2), POINTS), ValueError, "must be a number or have"),
        (lambda: Dirichlet(0.0, POINTS, weight=0.0), ValueError, "weight must be positive"),
        (lambda: Dirichlet(0.0, POINTS, component=3).residual(MLP(2, 2), POINTS), ValueError, "not an output"),
        (lambda: Periodic(2, 1.0, POINTS).residual(MLP(2), POINTS), ValueError, "not a coordinate"),
        (lambda: Neumann(0.0, POINTS, None), TypeError, "geometry.normals"),
        (lambda: Data(POINTS, torch.rand(4)), ValueError, "one row for each of the 5 points"),
        (lambda: Data(POINTS, torch.full((5,), math.inf)), ValueError, "values must be finite"),
        (lambda: RandomPoints(POINTS, 3), TypeError, "FixedPoints"),
        (lambda: RandomPoints(DISC.sample, 3, method="sobel"), ValueError, "method='sobel' is not known"),
        (lambda: RandomPoints(DISC.sample, 0), ValueError, "count must be at least 1"),
        (lambda: ResidualPoints(DISC.sample, 3, power=-1.0), ValueError, "must not be negative"),
        (lambda: Coefficient(-1.0, positive=True), ValueError, "positive and finite"),
        (lambda: HardConstraint(MLP(2), lambda x: x)(POINTS), ValueError, "factor must return the shape"),
        (lambda: Box([0.0], [0.0]), ValueError, "along axis 0"),
        (lambda: Ball([0.0], -1.0), ValueError, "radius must be positive"),
        (lambda: Ball([0.0], 1.0) | Ball([0.0, 0.0], 1.0), ValueError, "one dimension"),
        (lambda: Ball([0.0], 1.0) & Ball([5.0], 1.0), ValueError, "intersection is empty"),
        (lambda: (Ball([0.0], 1.0) - Box([-2.0], [2.0])).sample(5), ValueError, "Check the operands"),
        (lambda: DISC.contains(torch.rand(3, 3)), ValueError, "must have 2 coordinates"),
        (lambda: DISC.contains(torch.ones(3, 2, dtype=torch.int64)), TypeError, "floating"),
        (lambda: TimeProduct(DISC, 1.0, 1.0), ValueError, "start must be below end"),
    ],
)  # fmt: skip
def test_bad_input_is_refused_with_what_would_work(make, error, message):
    with pytest.raises(error, match=message):
        make()
