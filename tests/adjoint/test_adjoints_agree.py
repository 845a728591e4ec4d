"""Both adjoints give the same gradients to rounding, whatever the solve and whatever is used of it."""

from collections import namedtuple

import pytest
import torch

import nde
from tests.adjoint.comparison import (
    CONTROLLERS,
    ROUNDING,
    ROUNDING_OF_ERRORS,
    USES,
    assert_equal,
    each_discrete,
    gradients,
    has,
    weigh,
)
from tests.problems import ADAPTIVE, ADJOINTS, METHODS, double, van_der_pol

Pair = namedtuple("Pair", ["first", "second"])


@pytest.mark.parametrize(("method", "use"), [(method, use) for method in METHODS for use in USES if has(method, use)])
@each_discrete
def test_adjoints_agree_to_rounding_whatever_is_used_of_the_solution(method: str, use: str, adjoint) -> None:
    # the stages that estimate the stiffness differ by h^4 (h^8 for dopri8): small steps would leave it only rounding
    controller = nde.FixedStep(1.5 if method == "dopri8" else 0.4)
    times = (0.1, 1.3, 2.7, 4.1) if method == "dopri8" else (0.1, 0.35, 0.8, 1.2)
    options = {"method": method, "controller": controller, "rtol": 1e-3}
    _, direct = gradients("direct", USES[use], times, **options)
    _, discrete = gradients(adjoint, USES[use], times, **options)
    # of float64 relative to the tolerance of 1e-3, a difference of stages keeps some ten digits
    assert_equal(discrete, direct, ROUNDING if "error" not in use and "stiff" not in use else ROUNDING_OF_ERRORS)


@pytest.mark.parametrize("times", [(-0.5, 0.2, 1.0), (1.0, 0.3, -0.5), (-0.5, 1.0)], ids=["up", "down", "no outputs"])
@pytest.mark.parametrize("controller", CONTROLLERS)
@pytest.mark.parametrize("method", METHODS)
@each_discrete
def test_adjoints_agree_to_rounding_at_fixed_steps(
    method: str, controller: str, times: tuple[float, ...], adjoint
) -> None:
    options = {"method": method, "controller": CONTROLLERS[controller]()}
    _, direct = gradients("direct", USES["all states"], times, **options)
    _, discrete = gradients(adjoint, USES["all states"], times, **options)
    assert_equal(discrete, direct, ROUNDING)


@pytest.mark.parametrize("times", [(-0.5, 0.2, 1.0), (1.0, 0.3, -0.5)], ids=["up", "down"])
@pytest.mark.parametrize("method", ADAPTIVE)
@each_discrete
def test_adjoints_agree_to_rounding_at_adaptive_steps(method: str, times: tuple[float, ...], adjoint) -> None:
    options = {"method": method, "rtol": 1e-5, "atol": 1e-6}

    def use(solution):
        return weigh(solution.ys) + weigh(solution.steps.error)

    one, direct = gradients("direct", use, times, **options)
    other, discrete = gradients(adjoint, use, times, **options)
    assert other.stats.n_accepted == one.stats.n_accepted > 1
    # the estimates differ by rounding, 1e-10 in units of the tolerance, which is 1e-6 of an estimate that is 1e-4 of it
    torch.testing.assert_close(one.steps.h, other.steps.h, rtol=1e-6, atol=0)
    # an error estimate goes with the step size to the power of up to 8, and so does the difference of its gradients
    apart = float((one.steps.h / other.steps.h - 1).abs().max())
    assert_equal(discrete, direct, 10 * ROUNDING_OF_ERRORS + 20 * apart)


@pytest.mark.parametrize("method", ["bosh3", "tsit5", "dopri8"])
def test_adjoints_agree_where_steps_were_rejected(method: str) -> None:
    found = []
    for adjoint in ADJOINTS.values():
        y0 = double(2.0, 0.0).requires_grad_()
        # a first step that is far too large is rejected several times over
        options = {"rtol": 1e-5, "atol": 1e-5, "controller": nde.IController(initial=3.0)}
        solution = nde.solve_ode(van_der_pol, y0, (0.0, 4.0), method=method, adjoint=adjoint, **options)
        assert solution.stats.n_rejected > 0
        penalty = nde.regularize.GlobalErrorSquared()(solution)
        found.append(torch.autograd.grad(weigh(solution.y1) + penalty, y0))
    # sensitivities of the oscillator grow and decay by some 1e3 on the way and amplify the rounding of the step sizes
    for other in found[1:]:
        assert_equal(other, found[0], 1e3 * ROUNDING_OF_ERRORS)


@pytest.mark.parametrize("use", ["tuple", "dict", "named", "complex", "mixed"])
@pytest.mark.parametrize("method", ["heun", "rk4", "tsit5"])
def test_adjoints_agree_for_nested_and_complex_states(method: str, use: str) -> None:
    start = torch.tensor([0.4, -0.9, 1.2], dtype=torch.float64)
    other = torch.tensor(0.3, dtype=torch.float64)

    def state():
        a, b = start.clone().requires_grad_(), other.clone().requires_grad_()
        return (a, b), {
            "tuple": (a, [b]),
            "dict": {"x": a, "inner": {"y": b}},
            "named": Pair(a, b),
            "complex": torch.complex(a, b.expand(3)),
            "mixed": (a.float(), torch.complex(b, 2 * b)),
        }[use]

    def field(t, y):
        if use == "tuple":
            return (torch.sin(y[1][0]) - y[0], [y[0].prod() * t])
        if use == "dict":
            return {"inner": {"y": y["x"].prod() * t}, "x": torch.sin(y["inner"]["y"]) - y["x"]}
        if use == "named":
            return Pair(torch.sin(y.second) - y.first, y.first.prod() * t)
        if use == "complex":
            return 1j * y * y.abs() - 0.3 * y * t
        return (torch.sin(y[1].real).float() - y[0], 1j * y[1] * y[0].sum().double() * t)

    def leaves(value):
        if isinstance(value, torch.Tensor):
            return [torch.view_as_real(value) if value.is_complex() else value]
        items = value.values() if isinstance(value, dict) else value
        return [leaf for item in items for leaf in leaves(item)]

    found = []
    for adjoint in ADJOINTS.values():
        inputs, y0 = state()
        solution = nde.solve_ode(
            field, y0, (0.0, 0.3, 1.0), method=method, controller=nde.FixedStep(0.25), adjoint=adjoint
        )
        loss = sum(weigh(leaf.double()) for leaf in leaves(solution.ys))
        if solution.steps.error is not None:
            loss = loss + 1e-3 * weigh(solution.steps.error.double())
        found.append(torch.autograd.grad(loss, inputs))
    # the mixed state has a leaf of float32, whose rounding (6e-8) both solves commit in different places
    for other in found[1:]:
        assert_equal(other, found[0], 1e-5 if use == "mixed" else ROUNDING_OF_ERRORS)
