"""Natural gradients, L-BFGS, weights of losses, preconditioning."""

import itertools
import math

import pytest
import torch
from torch import nn

from nde.pinn.conditions import Data, Dirichlet, Equation, Initial, Neumann, Periodic, Robin
from nde.pinn.geometry import Ball, Box, Interval, Polygon, TimeProduct
from nde.pinn.hard import HardConstraint
from nde.pinn.jacobian import residual_jacobian
from nde.pinn.networks import MLP, FourierBasis, SineBasis
from nde.pinn.optim import LBFGS, NaturalGradient
from nde.pinn.points import FixedPoints, RandomPoints
from nde.pinn.preconditioning import PreconditionedDescent, condition_number, gram_matrix, preconditioner
from nde.pinn.problem import Problem
from nde.pinn.weighting import Causal, Combined, GradientNorm, TangentKernel
from nde.taylor.operators import NonFiniteResidualError, Unknown, laplacian, unknowns


@pytest.fixture(autouse=True)
def double():
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    yield
    torch.set_default_dtype(torch.float32)


def line(count=40):
    return torch.linspace(0, 1, count).unsqueeze(1)


def poisson(width=10, count=40, hard=True):
    """u'' = -pi^2 sin(pi x), with the solution sin(pi x)."""
    u = Unknown("x")
    source = u.given(lambda x: math.pi**2 * torch.sin(math.pi * x[..., 0]))
    domain = Interval(0.0, 1.0)
    net = MLP(1, width=width, depth=1)
    conditions = {"equation": Equation(u.xx + source, line(count))}
    if not hard:
        conditions["boundary"] = Dirichlet(0.0, torch.tensor([[0.0], [1.0]]), weight=100.0)
    built = Problem(HardConstraint(net, domain.vanishing) if hard else net, conditions)
    built.refresh()
    return built


def error(problem):
    x = line(101)
    exact = torch.sin(math.pi * x)
    return float((problem.model(x).detach() - exact).norm() / exact.norm())


def test_jacobians_of_residuals_are_those_of_reverse_mode_point_by_point():
    u, v = unknowns(2, "xy")
    x = torch.rand(5, 2)
    conditions = {
        "system": Equation([u.x + v.yy, u * v - v.x], x),
        "data": Data(x, torch.rand(5, 2)),
    }
    built = Problem(MLP(2, 2, width=4, depth=2), conditions)
    built.model[0].bias.requires_grad_(False)  # parameters that are not trained have no column
    trained = [parameter for parameter in built.parameters() if parameter.requires_grad]
    for name in conditions:
        rows = []
        for value in conditions[name].residual(built.model, x).reshape(-1):
            gradients = torch.autograd.grad(value, trained, retain_graph=True, materialize_grads=True)
            rows.append(torch.cat([gradient.reshape(-1) for gradient in gradients]))
        expected = torch.stack(rows)
        torch.testing.assert_close(residual_jacobian(built, name, x), expected)
        torch.testing.assert_close(residual_jacobian(built, name, x, chunk=2), expected)


def conditions_of_every_kind():
    lower = torch.tensor([[0.0, 0.3], [0.0, 0.7]])
    box, disc = Box([0.0, 0.0], [1.0, 1.0]), Ball([0.5, 0.5], 0.3)
    triangle = Polygon([(0, 0), (1, 0), (0, 1)])
    edges = {shape: shape.sample_boundary(6) for shape in (box, disc, triangle, box - disc)}
    found = {f"neumann {k}": Neumann(1.0, x, shape.normals) for k, (shape, x) in enumerate(edges.items())}
    found["robin"] = Robin(lambda x: x[:, 0], edges[box], box.normals, factor=lambda x: x[:, 1])
    found["periodic"] = Periodic(0, 1.0, lower, order=2)
    found["initial"] = Initial(lambda x: x[:, 0], lower, order=1)
    found["dirichlet"] = Dirichlet(lambda x: x.square().sum(-1), edges[disc])
    return found


@pytest.mark.parametrize("name", conditions_of_every_kind())
def test_jacobians_of_conditions_of_every_kind_are_those_of_reverse_mode(name):
    condition = conditions_of_every_kind()[name]
    problem = Problem(HardConstraint(MLP(2, width=4, depth=1), lambda x: x[..., 0] + 1), {name: condition})
    x = problem.points(name)
    rows = []
    for value in condition.residual(problem.model, x).reshape(-1):
        gradients = torch.autograd.grad(value, list(problem.parameters()), retain_graph=True, materialize_grads=True)
        rows.append(torch.cat([gradient.reshape(-1) for gradient in gradients]))
    torch.testing.assert_close(residual_jacobian(problem, name, x), torch.stack(rows))


@pytest.mark.parametrize("count", [10, 60], ids=["fewer-residuals", "fewer-parameters"])
def test_a_natural_gradient_step_is_the_damped_least_squares_solution(count):
    built = poisson(width=10, count=count, hard=False)
    parameters = torch.nn.utils.parameters_to_vector(built.parameters()).detach().clone()
    residuals, rows = [], []
    for name, residual in built.residuals().items():
        scale = math.sqrt(built.conditions[name].weight / len(residual))
        residuals.append(residual.detach() * scale)
        rows.append(residual_jacobian(built, name, built.points(name)) * scale)
    r, jacobian = torch.cat(residuals), torch.cat(rows)
    optimizer = NaturalGradient(built, damping=1e-2)
    optimizer.step()
    assert 0 < optimizer.length <= 1
    gram = jacobian @ jacobian.T if len(jacobian) < jacobian.shape[1] else jacobian.T @ jacobian
    damping = 1e-2 * float(gram.diagonal().mean())
    stacked = torch.cat([jacobian, math.sqrt(damping) * torch.eye(jacobian.shape[1])])
    expected = torch.linalg.lstsq(stacked, torch.cat([r, torch.zeros(jacobian.shape[1])])).solution
    moved = parameters - torch.nn.utils.parameters_to_vector(built.parameters()).detach()
    torch.testing.assert_close(moved, optimizer.length * expected, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(sum(optimizer.losses.values()), r.square().sum())


def test_natural_gradients_solve_poisson_where_adam_is_far_from_it():
    built = poisson(width=24)
    start = {name: value.clone() for name, value in built.state_dict().items()}
    optimizer = NaturalGradient(built, adaptive=False)
    losses = [optimizer.step() for _ in range(60)]
    assert all(later <= earlier for earlier, later in itertools.pairwise(losses))
    natural = error(built)
    built.load_state_dict(start)
    adam = torch.optim.Adam(built.parameters(), 1e-2)
    for _ in range(200):
        adam.zero_grad()
        built.loss().backward()
        adam.step()
    assert natural < 1e-6 and error(built) > 1e-4


def test_momentum_keeps_what_new_points_do_not_contradict():
    def final(momentum):
        torch.manual_seed(0)
        built = poisson(width=24)
        built.conditions["equation"].points = RandomPoints(Interval(0.0, 1.0).sample, 8)  # far fewer than parameters
        optimizer = NaturalGradient(built, damping=1e-4, momentum=momentum)
        generator = torch.Generator().manual_seed(0)
        for iteration in range(60):
            built.refresh(iteration, generator)
            optimizer.step()
        return error(built)

    assert final(0.9) < 0.5 * final(0.0)


def test_a_natural_gradient_that_cannot_descend_stalls_and_leaves_the_parameters():
    built = Problem(nn.Linear(1, 1), {"data": Data(line(3), torch.tensor([0.0, 1.0, 0.0]))})
    built.refresh()
    optimizer = NaturalGradient(built)
    for _ in range(10):
        optimizer.step()
    before = [parameter.clone() for parameter in built.parameters()]
    optimizer.step()
    assert optimizer.status == "stalled"
    assert all(map(torch.equal, before, built.parameters()))


class Root(nn.Module):
    def __init__(self):
        super().__init__()
        self.factor = nn.Parameter(torch.zeros(1))

    def forward(self, x):
        return (self.factor * x).abs().sqrt()


class Detached(nn.Module):
    def __init__(self):
        super().__init__()
        self.network = MLP(1, width=4)

    def forward(self, x):
        return self.network(x).detach()


@pytest.mark.parametrize(
    ("model", "error", "message"),
    [
        (Root(), NonFiniteResidualError, "derivative by the parameters of the residual of condition 'data' is not fin"),
        (Detached(), ValueError, "no residual depends on a trained parameter. Look for detach"),
    ],
)
def test_natural_gradients_name_what_keeps_them_from_a_direction(model, error, message):
    built = Problem(model.double(), {"data": Data(line(3), torch.tensor([0.0, 1.0, 0.0]))})
    built.refresh()
    with pytest.raises(error, match=message):
        NaturalGradient(built).step()


def test_natural_gradients_need_a_parameter_to_train():
    frozen = MLP(1, width=4).requires_grad_(False)
    with pytest.raises(ValueError, match="no parameter that requires a gradient"):
        NaturalGradient(Problem(frozen, {"data": Data(line(3), torch.zeros(3))}))


class Rosenbrock(nn.Module):
    def __init__(self):
        super().__init__()
        self.z = nn.Parameter(torch.tensor([-1.2, 1.0]))

    def forward(self):
        return (1 - self.z[0]) ** 2 + 100 * (self.z[1] - self.z[0] ** 2) ** 2


def closure_of(optimizer, loss):
    def closure():
        optimizer.zero_grad()
        value = loss()
        value.backward()
        return value

    return closure


def test_lbfgs_reaches_the_minimum_and_says_so():
    model = Rosenbrock()
    optimizer = LBFGS(model.parameters(), tolerance_grad=1e-8)
    for _ in range(20):
        optimizer.step(closure_of(optimizer, model))
    torch.testing.assert_close(model.z.detach(), torch.ones(2))
    assert optimizer.status == "converged"


def test_lbfgs_starts_anew_where_its_pairs_are_spoilt():
    model = Rosenbrock()
    optimizer = LBFGS(model.parameters(), max_iter=5)
    closure = closure_of(optimizer, model)
    optimizer.step(closure)
    state = optimizer.state[model.z]
    # a direction of ascent, as pairs of another loss can give
    state.update(t=0.0, old_dirs=[], old_stps=[], ro=[], H_diag=-1.0)
    before = float(model().detach())
    optimizer.step(closure)
    assert optimizer.status == "running" and optimizer.restarts == 1 and float(model().detach()) < before


def test_lbfgs_says_that_it_stalls_where_torch_returns_in_silence():
    z = nn.Parameter(torch.tensor([1.0]))
    optimizer = LBFGS([z], tolerance_grad=0.0)
    step_function = lambda: (z * 0).sum() + 1 + 1e-3 * (z - z.detach()).sum()  # a slope, but nowhere a lower value
    optimizer.step(closure_of(optimizer, step_function))
    assert optimizer.status == "stalled" and float(z.detach()) == 1.0


def test_lbfgs_survives_one_trial_step_too_far():
    z = nn.Parameter(torch.tensor([1e-3]))
    optimizer = LBFGS([z], max_iter=10)
    calls = 0

    def loss():
        nonlocal calls
        calls += 1
        if calls == 3:
            raise FloatingPointError("too far")
        return (z - 2).square().sum() + (z - 2).pow(4).sum()

    for _ in range(5):
        optimizer.step(closure_of(optimizer, loss))
    assert optimizer.restarts == 1 and float(z.detach()) == pytest.approx(2.0, abs=1e-5)
    with pytest.raises(FloatingPointError, match="the loss is nan before the step"):
        optimizer.step(closure_of(optimizer, lambda: z.sum() * math.nan))


def test_gradient_norm_weights_make_the_gradients_of_all_losses_equally_long():
    built = poisson(hard=False)
    weighting = GradientNorm(every=10, decay=0.5)
    weights = weighting.weights(built, built.residuals(), 0)
    lengths = []
    for name, loss in built.losses(weights=weights).items():
        gradients = torch.autograd.grad(loss, list(built.parameters()), allow_unused=True)
        lengths.append(math.sqrt(sum(float(g.square().sum()) for g in gradients if g is not None)))
        assert weights[name] > 0
    assert lengths[0] == pytest.approx(lengths[1])
    # between updates they stay; an update at other parameters moves them by half
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.mul_(1.5)
    assert weighting.weights(built, built.residuals(), 9) == weights
    fresh = GradientNorm().weights(built, built.residuals(), 0)
    mixed = weighting.weights(built, built.residuals(), 10)
    assert mixed["boundary"] == pytest.approx((weights["boundary"] + fresh["boundary"]) / 2)


def test_tangent_kernel_weights_are_inverse_to_the_mean_diagonals():
    built = poisson(hard=False)
    weights = TangentKernel().weights(built, built.residuals(), 0)
    traces = {
        name: float(residual_jacobian(built, name, built.points(name)).square().sum(1).mean()) * condition.weight
        for name, condition in built.conditions.items()
    }
    assert weights["equation"] * traces["equation"] == pytest.approx(weights["boundary"] * traces["boundary"])


def test_causal_weights_fall_with_what_came_before():
    u = Unknown("xt")
    points = TimeProduct(Interval(0.0, 1.0), 0.0, 2.0).sample(400)
    built = Problem(MLP(2), {"equation": Equation(u.t + u.x, points)})
    causal = Causal("equation", 0.0, 2.0, tolerance=3.0, chunks=4)
    residual = torch.linspace(0.5, 1, 400)
    weights = causal.weights(built, {"equation": residual}, 0)["equation"]
    part = (points[:, 1] * 2).long()
    losses = torch.stack([residual[part == k].square().mean() for k in range(4)])
    for k in range(4):
        expected = torch.exp(-3.0 * losses[:k].sum()).expand(int((part == k).sum()))
        torch.testing.assert_close(weights[part == k], expected)
    assert causal.smallest == pytest.approx(float(weights.min()))
    both = Combined(causal, GradientNorm()).weights(built, built.residuals(), 0)
    assert both["equation"].shape == (400,)


def test_causal_weights_of_early_parts_do_not_drown_in_later_losses():
    u = Unknown("xt")
    points = torch.tensor([[0.5, 0.1], [0.5, 0.6]], dtype=torch.float32)
    built = Problem(MLP(2).float(), {"equation": Equation(u.t + u.x, points)})
    causal = Causal("equation", 0.0, 1.0, chunks=2)
    weights = causal.weights(built, {"equation": torch.tensor([0.1, 3e4], dtype=torch.float32)}, 0)["equation"]
    torch.testing.assert_close(weights, torch.tensor([1.0, math.exp(-0.01)], dtype=torch.float32))


def fourier(highest, penalty, gamma=None):
    """Return the problem u'' on (-pi, pi) with u = 0 at both ends, for a linear model on a Fourier basis."""
    u = Unknown("x")
    symbol = None if gamma is None else lambda w: w.square().sum(-1)
    basis = FourierBasis(Interval(-math.pi, math.pi), highest, symbol=symbol, kernel_scale=gamma or 1.0)
    model = nn.Sequential(basis, nn.Linear(basis.outputs, 1, bias=False))
    count = 2 * highest + 1  # the trapezoidal rule is exact for products of the basis functions
    x = (-math.pi + 2 * math.pi * torch.arange(count) / count).unsqueeze(1)
    ends = torch.tensor([[-math.pi], [math.pi]])
    source = u.given(lambda x: torch.cos(x[..., 0]) + 4 * torch.sin(2 * x[..., 0]))
    conditions = {
        "operator": Equation(u.xx + source, x, weight=2 * math.pi),  # the integral, not the mean
        "ends": Dirichlet(1.0, ends, weight=2 * penalty),
    }
    built = Problem(model, conditions)
    built.refresh()
    return built


def test_condition_numbers_grow_with_the_fourth_power_of_the_frequency():
    best = {}
    for highest in (4, 8, 16, 32):
        best[highest] = min(condition_number(fourier(highest, 10.0**power)).number for power in (0, 0.5, 1, 2, 3, 4))
    ratios = [best[highest] / highest**4 for highest in best]
    assert all(3.0 < ratio < 3.6 for ratio in ratios)  # 8.8e2, 1.3e4, 2.1e5, 3.3e6
    orders = [math.log2(best[2 * k] / best[k]) for k in (4, 8, 16)]
    assert all(abs(order - 4) < 0.15 for order in orders)


@pytest.mark.parametrize("gamma", [10.0, 100.0])
def test_preconditioned_condition_numbers_are_one_plus_the_inverse_of_gamma_at_every_frequency(gamma):
    numbers = [condition_number(fourier(highest, math.pi / gamma**2, gamma)).number for highest in (4, 16, 48)]
    assert max(numbers) - min(numbers) < 2e-3
    # to first order the off-diagonal entries sqrt(2) / (gamma k^2) move the eigenvalues by their length
    expected = 2 * math.sqrt(2 * sum(k**-4.0 for k in range(1, 49))) / gamma
    assert numbers[-1] - 1 == pytest.approx(expected, rel=0.2)


def test_preconditioned_descent_takes_fewer_than_200_steps_where_plain_descent_takes_millions():
    highest, gamma = 16, 10.0
    spectrum = min(
        (condition_number(fourier(highest, 10.0**power)) for power in (0, 0.5, 1, 2)), key=lambda found: found.number
    ).eigenvalues
    rate = 1 - 2 / (spectrum[-1] / spectrum[0] + 1)  # with the best step
    assert math.log(1e-6) / math.log(float(rate)) > 1e6
    built = fourier(highest, math.pi / gamma**2, gamma)
    eigenvalues = condition_number(built).eigenvalues
    # the gradient of theta^T A theta is twice A theta
    descent = PreconditionedDescent(built.parameters(), torch.ones(33), lr=1 / float(eigenvalues[0] + eigenvalues[-1]))
    start = float(built.loss().detach())
    steps = 0
    while float(built.loss().detach()) > 1e-12 * start:
        descent.step(closure_of(descent, built.loss))
        steps += 1
        assert steps < 200
    # u'' = -cos x - 4 sin 2x with u = 1 at the ends
    x = torch.linspace(-math.pi, math.pi, 50).unsqueeze(1)
    expected = torch.cos(x) + torch.sin(2 * x) + 2
    torch.testing.assert_close(built.model(x).detach(), expected, rtol=0, atol=1e-4)


def test_the_inverse_root_of_the_gram_matrix_preconditions_any_linear_model():
    box = Box([0.0, 0.0], [1.0, 1.0])
    basis = SineBasis(box, 3)
    u = Unknown("xy")
    model = nn.Sequential(basis, nn.Linear(9, 1, bias=False))
    built = Problem(model, {"equation": Equation(u.xx + u.yy + 1, box.sample(200))})
    built.refresh()
    plain = condition_number(built).number
    matrix = preconditioner(gram_matrix(built))
    improved = torch.linalg.eigvalsh(matrix.T @ gram_matrix(built) @ matrix)
    assert plain > 50 and float(improved[-1] / improved[0]) < 1.0001
    descent = PreconditionedDescent(built.parameters(), matrix, lr=0.5)
    for _ in range(3):
        descent.step(closure_of(descent, built.loss))
    largest = max(float(p.grad.abs().max()) for p in built.parameters())
    descent.zero_grad()
    built.loss().backward()
    assert max(float(p.grad.abs().max()) for p in built.parameters()) < 1e-6 * (1 + largest)


def test_unused_parameters_make_the_condition_number_infinite():
    model = nn.Sequential(nn.Linear(1, 2), nn.Linear(2, 1))
    u = Unknown("x")
    assert condition_number(model, u.x, torch.rand(20, 1)).number > 1e15


def sparse(model, x):
    return laplacian(model, x, mode="sparse", samples=1)[..., 0]


def estimated():
    return Problem(MLP(2), {"equation": Equation(sparse, torch.rand(4, 2))})


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: NaturalGradient(poisson(), damping=0.0), ValueError, "damping must be positive"),
        (lambda: NaturalGradient(poisson(), momentum=1.0), ValueError, "momentum must be"),
        (lambda: NaturalGradient(estimated()).step(), TypeError, "exact"),
        (lambda: GradientNorm(decay=1.0), ValueError, "decay must be"),
        (lambda: Causal("e", 1.0, 0.0), ValueError, "start must be below end"),
        (lambda: Causal("e", 0.0, 1.0).weights(poisson(), {}, 0), ValueError, "'e' is not one of"),
        (lambda: condition_number(MLP(1)), ValueError, "operator and points must be given"),
        (lambda: condition_number(poisson(), Unknown("x").xx), ValueError, "has its own operator"),
        (lambda: PreconditionedDescent(MLP(1).parameters(), torch.ones(3)), ValueError, "matrix must have the shape"),
        (lambda: gram_matrix(poisson(), {"equation": torch.ones(3)}), ValueError, r"must have the shape \(40,\)"),
        (lambda: preconditioner(torch.ones(3)), ValueError, "square matrix"),
        (lambda: FixedPoints(torch.rand(2, 0)), ValueError, "shape"),
    ],
)  # fmt: skip
def test_bad_input_is_refused_with_what_would_work(make, error, message):
    with pytest.raises(error, match=message):
        make()
