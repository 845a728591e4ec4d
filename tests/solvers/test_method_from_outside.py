"""A method written outside of the package works with control, adjoints, penalties, outputs and registration."""

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

import nde
from nde.solvers import StepResult
from tests.problems import Counted, Manufactured, Net, double, each_adjoint, slope


class Shu(nde.Method):
    """The two-stage strong-stability-preserving method of Shu and Osher (1988), with Euler's method embedded."""

    name = "shu_osher2"
    order = 2
    error_order = 2
    interpolation_order = 2
    source = "Shu, Osher (1988), J. Comput. Phys. 77, 439-471"

    def start(self, field, t, y):
        return field(t, y)

    def slope(self, field, t, y, carry):
        return carry

    def step(self, field, t, h, y, carry, workspace=None):
        euler = y + h * carry
        y1 = 0.5 * y + 0.5 * (euler + h * field(t + h, euler))
        # the carry is the slope at the end, computed when the next step begins
        return StepResult(y1, None, (y1 - euler).unsqueeze(0), None, (carry, y1))

    def interpolate(self, field, t, h, y, result, thetas):
        first, y1 = result.interior
        return torch.stack([y + theta * h * first + theta**2 * (y1 - y - h * first) for theta in thetas])


class Leapfrog(nde.Method):
    """The asynchronous leapfrog of Mutze (2013), which carries a velocity that is no function of the state."""

    name = "alf"
    order = 2
    error_order = 2
    interpolation_order = 2
    carry_is_function_of_state = False
    source = "Mutze (2013), arXiv:1311.6602"

    def start(self, field, t, y):
        return field(t, y)

    def slope(self, field, t, y, carry):
        return carry

    def step(self, field, t, h, y, carry, workspace=None):
        half = y + 0.5 * h * carry
        middle = field(t + 0.5 * h, half)
        y1 = y + h * middle
        velocity = 2 * middle - carry
        return StepResult(y1, velocity, (h * (middle - carry)).unsqueeze(0), None, (carry, y1))

    def interpolate(self, field, t, h, y, result, thetas):
        first, y1 = result.interior
        return torch.stack([y + theta * h * first + theta**2 * (y1 - y - h * first) for theta in thetas])


class TwoCarries(Leapfrog):
    """The same with a tuple of tensors as carry."""

    name = "alf_with_two_carries"

    def start(self, field, t, y):
        return field(t, y), torch.zeros_like(y)

    def slope(self, field, t, y, carry):
        return carry[0]

    def step(self, field, t, h, y, carry, workspace=None):
        velocity, total = carry
        result = super().step(field, t, h, y, velocity)
        # a running mean that feeds back into the step, so that the second carry matters to the gradient
        result.y1 = result.y1 + 0.01 * h * total
        result.carry = (result.carry, 0.5 * total + y)
        result.interior = (velocity, result.y1)
        return result


class Bare(nde.Method):
    """Euler's method with nothing beyond what the interface asks for."""

    name = "bare_euler"
    order = 1

    def start(self, field, t, y):
        return None

    def step(self, field, t, h, y, carry, workspace=None):
        slope = field(t, y)
        return StepResult(y + h * slope, None, None, None, slope)

    def interpolate(self, field, t, h, y, result, thetas):
        return torch.stack([y + theta * h * result.interior for theta in thetas])


METHODS = [Shu(), Leapfrog(), TwoCarries(), Bare()]
IDS = [method.name for method in METHODS]
with_error = pytest.mark.parametrize("method", METHODS[:3], ids=IDS[:3])


@pytest.mark.parametrize("method", [Shu(), Leapfrog(), Bare()], ids=["shu_osher2", "alf", "bare_euler"])
def test_converges_with_its_order(method) -> None:
    problem, errors = Manufactured(), []
    for count in (64, 128, 256):
        times = [3.0 * index / count for index in range(count + 1)]
        ys = nde.solve_ode(problem, problem.solution(0.0), times, method=method, controller=nde.StepTo()).ys
        exact = torch.stack([problem.solution(time) for time in times])
        errors.append(float((ys - exact).square().mean().sqrt()))
    assert slope([1 / 64, 1 / 128, 1 / 256], errors) == pytest.approx(
        method.order, abs=0.15
    )  # as for the built-in ones


@with_error
def test_adapts_its_steps(method) -> None:
    # a pulse in the middle of the span asks for small steps there
    counted = Counted(lambda t, y: 10 * torch.exp(-100 * (t - 1.5) ** 2) - 0.1 * y)
    solution = nde.solve_ode(counted, double(2.0, 0.0), (0.0, 1.5, 3.0), method=method, rtol=1e-4, atol=1e-4)
    assert solution.success and solution.stats.n_field_evals == counted.calls
    assert solution.steps.error.max() <= 1 and solution.steps.stiffness is None
    assert float(solution.steps.h.max()) > 3 * float(solution.steps.h.min())


def run(method, adjoint, y0, weight, ts, controller=None):
    solution = nde.solve_ode(
        lambda t, y, w: torch.sin(w * y.roll(1)) * torch.cos(t) - 0.2 * y,
        y0,
        ts,
        (weight,),
        method=method,
        controller=controller or nde.FixedStep(0.4),
        adjoint=adjoint,
        rtol=0.1,
        atol=0.1,
        local_errors=True,
    )
    outputs = (solution.ys, solution.y1, solution.steps.error, solution.steps.local_error)
    return tuple(output for output in outputs if output is not None)


def inputs():
    return (
        double(0.3, -0.8).requires_grad_(),
        double(0.9).requires_grad_(),
        double(0.1, 0.4, 1.2).requires_grad_(),
    )  # no step ends on 0.4


@pytest.mark.parametrize("adjoint", ["direct", "discrete"])
@pytest.mark.parametrize("method", METHODS, ids=IDS)
def test_gradients_equal_finite_differences(method, adjoint: str) -> None:
    assert gradcheck(lambda *values: run(method, adjoint, *values), inputs())


@pytest.mark.parametrize("adjoint", ["direct", "discrete"])
@pytest.mark.parametrize("method", METHODS, ids=IDS)
def test_second_derivatives_equal_finite_differences(method, adjoint: str) -> None:
    assert gradgradcheck(lambda *values: run(method, adjoint, *values), inputs())


@pytest.mark.parametrize("times", [(0.1, 0.5, 1.2), (1.2, 0.5, 0.1)], ids=["forward", "backward"])
@pytest.mark.parametrize("method", METHODS, ids=IDS)
@each_adjoint
def test_adjoints_agree_to_rounding(method, adjoint, times) -> None:
    def gradients(adjoint):
        y0, weight, _ = inputs()
        ts = double(*times).requires_grad_()
        outputs = run(method, adjoint, y0, weight, ts, nde.FixedStep(0.17))
        return torch.autograd.grad(sum(output.square().sum() for output in outputs), [y0, weight, ts])

    # the same products in another order
    torch.testing.assert_close(gradients(adjoint), gradients("direct"), rtol=1e-12, atol=1e-13)


@with_error
@each_adjoint
def test_adjoints_agree_at_adaptive_steps_with_a_penalty(method, adjoint) -> None:
    found = []
    for one in ("direct", adjoint):
        net = Net(size=2)
        layer = nde.NeuralODE(net, method=method, adjoint=one, regularizer=nde.regularize.StepCount(0.1), rtol=1e-3)
        output = layer(torch.tensor([[0.3, -0.5], [1.0, 0.2]], dtype=torch.float64))
        found.append(torch.autograd.grad(output.y1.sum() + output.penalty, list(net.parameters())))
    torch.testing.assert_close(*found, rtol=1e-9, atol=1e-12)  # differences of stages lose some digits of 1e-16


def test_stiffness_penalties_say_that_the_method_has_no_estimate() -> None:
    solution = nde.solve_ode(lambda t, y: -y, double(1.0), (0.0, 1.0), method=Shu())
    with pytest.raises(ValueError, match="no stiffness estimate"):
        nde.regularize.GlobalStiffness()(solution)


def test_method_without_an_estimate_asks_for_fixed_steps() -> None:
    with pytest.raises(ValueError, match="method='bare_euler' has no error estimate"):
        nde.solve_ode(lambda t, y: -y, double(1.0), (0.0, 1.0), method=Bare())


def test_failures_of_methods_from_outside_are_reported() -> None:
    with pytest.raises(nde.SolverError, match="step size fell to"):
        nde.solve_ode(lambda t, y: y**2, double(1.0), (0.0, 2.0), method=Shu(), max_steps=1_000_000)


@pytest.fixture
def registered():
    from nde.solvers import registry

    method = nde.register_method(Shu())
    yield method
    registry._METHODS.pop(method.name)


def test_registered_method_is_found_by_its_name(registered) -> None:
    assert "shu_osher2" in nde.method_names()
    by_name = nde.solve_ode(lambda t, y: -y, double(1.0), (0.0, 1.0), method="shu_osher2")
    by_value = nde.solve_ode(lambda t, y: -y, double(1.0), (0.0, 1.0), method=registered)
    assert torch.equal(by_name.y1, by_value.y1)
    with pytest.raises(ValueError, match="Did you mean 'shu_osher2'"):
        nde.solve_ode(lambda t, y: -y, double(1.0), (0.0, 1.0), method="shu_osher")


def test_registering_the_same_method_twice_is_fine_and_another_of_its_name_is_not(registered) -> None:
    assert nde.register_method(registered) is registered
    with pytest.raises(ValueError, match="already the name of"):
        nde.register_method(Shu())


def test_the_interface_cannot_be_left_half_done() -> None:
    class Half(nde.Method):
        name = "half"
        order = 1

        def start(self, field, t, y):
            return None

    with pytest.raises(TypeError, match="abstract"):
        Half()
