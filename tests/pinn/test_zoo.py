"""The zoo: every solution solves its equation and its conditions, and numerical references converge."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad

from nde.pinn import zoo
from nde.pinn.conditions import Equation
from nde.pinn.hard import HardConstraint
from nde.pinn.networks import MLP
from nde.pinn.optim import NaturalGradient
from nde.pinn.zoo.many_dimensions import _TwoBody
from nde.pinn.zoo.stiff import allen_cahn_solution, kuramoto_sivashinsky_solution
from nde.taylor.operators import laplacian

EXACT = {
    "poisson_1d": zoo.poisson_1d,
    "poisson_2d": zoo.poisson_2d,
    "helmholtz_2d": zoo.helmholtz_2d,
    "biharmonic_2d": zoo.biharmonic_2d,
    "advection_1d": zoo.advection_1d,
    "heat_1d": zoo.heat_1d,
    "wave_1d": zoo.wave_1d,
    "burgers_1d": zoo.burgers_1d,
    "smooth burgers_1d": lambda: zoo.burgers_1d(0.05),
    "kdv_soliton": zoo.kdv_soliton,
    "elasticity_2d": zoo.elasticity_2d,
    "elastic_rest_2d": lambda: zoo.elastic_rest_2d(0.7, 0.4, rate=3.0),
    "kovasznay_flow": zoo.kovasznay_flow,
    "hamilton_jacobi_bellman": lambda: zoo.hamilton_jacobi_bellman(5),
    "black_scholes_barenblatt": lambda: zoo.black_scholes_barenblatt(4),
    "sine_gordon": lambda: zoo.sine_gordon(6, mode="exact", samples=None),
}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("name", EXACT)
def test_jets_of_the_solution_satisfy_equation_and_conditions(name):
    case = EXACT[name]()
    # residuals are sums of terms of the size 1e3 at most, which cancel to rounding; Burgers' shock has slopes of 150
    tolerance = {"burgers_1d": 1e-6, "biharmonic_2d": 1e-9}.get(name, 1e-9)
    for key, condition in case.conditions(interior=50, boundary=20).items():
        points = condition.points
        points.refresh(0, None, generator(3), torch.empty(0, dtype=torch.float64))
        residual = condition.residual(case.solution, points.current)
        value = residual if isinstance(residual, torch.Tensor) else residual.value
        assert float(value.detach().abs().max()) < tolerance, key


def test_the_solution_of_burgers_is_that_of_adaptive_quadrature():
    viscosity = 0.01 / math.pi
    case = zoo.burgers_1d(viscosity)

    def kernel(z, x, width):
        return math.exp(-(z**2) + (-math.cos(math.pi * (x - width * z)) - 1) / (2 * math.pi * viscosity))

    def flux(z, x, width):
        return math.sin(math.pi * (x - width * z)) * kernel(z, x, width)

    for x, t in ((0.3, 0.2), (-0.02, 0.6), (0.004, 1.0), (0.9, 0.9)):
        integrals = [
            quad(part, -15, 15, args=(x, math.sqrt(4 * viscosity * t)), limit=2000, epsabs=0, epsrel=1e-12)[0]
            for part in (flux, kernel)
        ]
        expected = -integrals[0] / integrals[1]
        found = float(case.solution(torch.tensor([x, t], dtype=torch.float64)))
        assert found == pytest.approx(expected, abs=1e-8)


def test_the_solution_of_hamilton_jacobi_bellman_is_that_of_han_jentzen_and_e():
    case = zoo.hamilton_jacobi_bellman(100)
    value = float(case.solution(torch.zeros(1, 101, dtype=torch.float64)))
    assert value == pytest.approx(4.5901, abs=1e-4)  # section 4.2 of their paper
    # and that of Monte Carlo with its own error
    x = torch.full((3,), 0.5, dtype=torch.float64)
    draws = x + math.sqrt(2 * 0.6) * torch.randn(400000, 3, generator=generator(), dtype=torch.float64)
    weights = 2 / (1 + draws.square().sum(1))
    expected = -math.log(float(weights.mean()))
    error = float(weights.std() / weights.mean()) / math.sqrt(len(draws))
    point = torch.tensor([[0.5, 0.5, 0.5, 0.4]], dtype=torch.float64)
    assert abs(float(zoo.hamilton_jacobi_bellman(3).solution(point)) - expected) < 4 * error


def test_references_of_stiff_equations_converge_with_order_four_in_time():
    x = np.linspace(0, 2 * math.pi, 50)
    points = torch.from_numpy(np.stack([x, np.full(50, 0.2)], 1))
    solve = lambda steps: zoo.solve_periodic(
        lambda d: 0.1 * d**2 - 0.01 * d**4,
        lambda u: -(u**2) / 2,
        lambda x: np.cos(x) * (1 + np.sin(x)),
        start=0.0,
        period=2 * math.pi,
        end=0.2,
        nodes=64,
        steps=steps,
        saved=2,
        conservative=True,
    )(points)
    exact = solve(1280)
    errors = [float((solve(steps) - exact).norm()) for steps in (20, 40, 80)]
    orders = [math.log2(a / b) for a, b in itertools.pairwise(errors)]
    assert all(abs(order - 4) < 0.15 for order in orders)


def test_the_spectral_solution_of_a_linear_equation_is_exact_between_nodes_and_times():
    found = zoo.solve_periodic(
        lambda d: 0.3 * d**2 - d,
        lambda u: np.zeros_like(u),
        lambda x: np.sin(2 * x) + 0.5,
        start=1.0,
        period=2 * math.pi,
        end=1.0,
        nodes=32,
        steps=200,
    )
    x = torch.rand(40, 2, generator=generator(), dtype=torch.float64)
    expected = torch.exp(-1.2 * x[:, 1]) * torch.sin(2 * (x[:, 0] - x[:, 1])) + 0.5
    torch.testing.assert_close(found(x), expected, rtol=0, atol=1e-9)  # cubic in time over 1/200


@pytest.mark.slow
def test_the_reference_of_allen_cahn_has_converged_and_solves_the_equation():
    case = zoo.allen_cahn_1d()
    x = case.domain.sample(500, generator=generator(), dtype=torch.float64)
    fine = allen_cahn_solution(2048, 2000)(x)
    coarse = allen_cahn_solution(512, 1000)(x)
    values = case.solution(x)
    size = fine.norm()
    # the initial values have a kink at the ends of the circle: order two in the nodes
    assert float((values - fine).norm() / size) < 2e-5
    assert float((values - fine).norm()) < 0.4 * float((coarse - fine).norm())


@pytest.mark.slow
def test_the_reference_of_kuramoto_and_sivashinsky_has_converged():
    case = zoo.kuramoto_sivashinsky()
    x = case.domain.sample(500, generator=generator(), dtype=torch.float64)
    fine = kuramoto_sivashinsky_solution(0.4, 512, 8000)(x)
    assert float((case.solution(x) - fine).norm() / fine.norm()) < 1e-5


@pytest.mark.parametrize("dimension", [2, 7])
def test_the_laplacian_of_the_two_body_solution_is_that_of_jets(dimension):
    exact = _TwoBody(dimension, seed=1)
    x = torch.rand(6, dimension, dtype=torch.float64, generator=generator()) / dimension
    torch.testing.assert_close(exact.laplacian(x), laplacian(exact.value, x).value)


def test_the_scaled_family_is_not_fitted_by_its_envelope_and_reports_a_skill():
    for dimension in (10, 1000):
        trivial = zoo.sine_gordon(dimension).reference(500).trivial
        assert 0.25 < trivial <= 1.0


def test_hard_boundary_values_enter_the_operator_exactly():
    torch.manual_seed(0)
    case = zoo.sine_gordon(12, mode="exact", samples=None)
    model = HardConstraint(MLP(12, width=8).double(), case.domain.vanishing)
    x = case.domain.sample(5, generator=generator(), dtype=torch.float64)
    folded = case.residual(model, x).value
    plain = case.residual(lambda z: model(z), x).value
    torch.testing.assert_close(folded, plain)
    by_rank = zoo.sine_gordon(12, mode="rank", samples=None)
    same = HardConstraint(model.network, by_rank.domain.vanishing)
    torch.testing.assert_close(by_rank.residual(same, x).value, plain)


@pytest.mark.parametrize(
    "case",
    [
        zoo.hamilton_jacobi_bellman(3),
        zoo.hamilton_jacobi_bellman(3, mode="rank"),
        zoo.black_scholes_barenblatt(3),
        zoo.biharmonic_2d(),
        zoo.sine_gordon(3, mode="exact", samples=None),
    ],
    ids=lambda case: case.name,
)
def test_natural_gradients_go_through_every_kind_of_operator(case):
    torch.manual_seed(0)
    problem = case.problem(MLP(case.domain.dimension, width=8, depth=1).double(), interior=20, boundary=5, every=None)
    problem.refresh(0, generator())
    optimizer = NaturalGradient(problem, damping=1e-6)
    before = optimizer.step()
    for _ in range(7):
        optimizer.step()
    assert sum(map(float, optimizer.losses.values())) < 0.5 * before


def test_other_modes_estimate_the_same_residual():
    torch.manual_seed(0)
    model = MLP(5, width=8).double()
    x = torch.rand(6, 5, dtype=torch.float64, generator=generator())
    for make in (zoo.hamilton_jacobi_bellman, zoo.black_scholes_barenblatt):
        exact = make(4).residual(model, x).value
        torch.testing.assert_close(make(4, mode="sparse", samples=4).residual(model, x).value, exact)
        torch.testing.assert_close(make(4).residual(lambda z: model(z)[..., 0], x).value, exact)


@pytest.mark.parametrize("make", [zoo.hamilton_jacobi_bellman, zoo.black_scholes_barenblatt])
def test_an_estimated_residual_has_an_unbiased_loss_and_no_jacobian(make):
    torch.manual_seed(0)
    model = MLP(7, width=8, depth=1).double()
    x = torch.rand(6, 7, dtype=torch.float64, generator=generator())
    exact = make(6).residual(model, x)
    assert exact.exact
    estimated = make(6, mode="sparse", samples=2, groups=2)
    squares = torch.stack([estimated.residual(model, x).square for _ in range(1000)]).detach()
    error = squares.std(0) / math.sqrt(len(squares))
    assert bool(((squares.mean(0) - exact.value.square()).abs() < 5 * error).all())
    problem = estimated.problem(model, interior=5, boundary=5)
    problem.refresh()
    with pytest.raises(TypeError, match='mode="exact"'):
        NaturalGradient(problem).step()


@pytest.mark.parametrize(
    ("model", "inputs", "message"),
    [(MLP(4, 2), 4, "needs a function with one output"), (MLP(5), 5, "must have the 3 coordinates of space and")],
)
def test_networks_and_points_of_another_size_are_refused_in_many_dimensions(model, inputs, message):
    for make in (zoo.hamilton_jacobi_bellman, zoo.black_scholes_barenblatt):
        with pytest.raises(ValueError, match=message):
            make(3).residual(model, torch.rand(5, inputs))
    if inputs == 4:
        with pytest.raises(ValueError, match=message):
            zoo.sine_gordon(4).residual(model, torch.rand(5, inputs))


def test_cases_make_problems_that_train_and_references_in_any_type():
    case = zoo.wave_1d()
    torch.manual_seed(0)
    problem = case.problem(MLP(2, width=8), interior=40, boundary=10, method="latin")
    assert set(problem.conditions) == {"equation", "boundary", "initial 0", "initial 1"}
    problem.refresh()
    problem.loss().backward()
    assert case.reference(10, dtype=torch.float64).points.dtype == torch.float64
    periodic = zoo.kuramoto_sivashinsky().conditions(boundary=5)["period 0"]
    assert periodic.order == 3 and not isinstance(periodic, Equation)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: zoo.burgers_1d(1e-4), "viscosity must be at least"),
        (lambda: zoo.sine_gordon(1), "dimension must be at least 2"),
        (lambda: zoo.black_scholes_barenblatt(2, volatility=0.0), "volatility must be positive"),
        (
            lambda: zoo.solve_periodic(None, None, None, start=0, period=1, end=1, nodes=8, steps=30),
            "multiple of saved",
        ),
    ],
)
def test_bad_input_is_refused_with_what_would_work(make, message):
    with pytest.raises(ValueError, match=message):
        make()
