"""Solutions and dense outputs are as accurate as asked for, judged by SciPy's DOP853 at the tightest tolerance."""

import functools
import itertools
import math

import numpy
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

import nde
from tests.problems import ADAPTIVE, double, van_der_pol

START = (0.8, -0.3, 1.1)
SPAN = (0.0, 6.0)
OUTPUTS = 61


def field(t, y):
    """A forced, coupled, nonlinear and damped system: errors neither grow nor die out over the span."""
    a, b, c = y.unbind(-1)
    return torch.stack([b - 0.1 * a, -torch.sin(a) + 0.3 * torch.cos(2 * t) * c, torch.cos(b) - 0.5 * c], -1)


@functools.cache
def reference(descending: bool) -> tuple[numpy.ndarray, numpy.ndarray]:
    span = SPAN[::-1] if descending else SPAN
    times = numpy.linspace(*span, OUTPUTS)

    def rates(t: float, y: numpy.ndarray) -> numpy.ndarray:
        return field(torch.tensor(t), torch.tensor(y)).numpy()

    found = solve_ivp(rates, span, START, method="DOP853", t_eval=times, rtol=1e-12, atol=1e-12)
    return times, found.y.T


# Largest error over all outputs in units of rtol * |y| + atol. The error per step is controlled, not the global one: it
# adds up over the steps, of which the two-stage methods take thousands, and dense output adds that of the interpolant.
ALLOWED = {"midpoint": 200, "heun": 200, "ralston": 200, "bosh3": 60, "dopri5": 30, "tsit5": 30, "dopri8": 30}
# tolerances at which a method of its order is of use
TOLERANCES = {"midpoint": (1e-3, 1e-5), "heun": (1e-3, 1e-5), "ralston": (1e-3, 1e-5)}


@pytest.mark.parametrize("descending", [False, True], ids=["forward", "backward"])
@pytest.mark.parametrize(
    ("method", "tolerance"),
    [(method, tolerance) for method in ADAPTIVE for tolerance in TOLERANCES.get(method, (1e-3, 1e-6, 1e-9))],
)
def test_solution_and_dense_output_meet_the_tolerance(method: str, tolerance: float, descending: bool) -> None:
    times, exact = reference(descending)
    solution = nde.solve_ode(
        field, double(*START), times, method=method, rtol=tolerance, atol=tolerance, max_steps=100_000
    )
    error = numpy.abs(solution.ys.numpy() - exact) / (tolerance * (1 + numpy.abs(exact)))
    assert error[0].max() == 0
    assert error.max() <= ALLOWED[method]


@pytest.mark.parametrize("method", ["bosh3", "dopri5", "tsit5", "dopri8"])
def test_tighter_tolerances_give_proportionally_smaller_errors(method: str) -> None:
    times, exact = reference(False)
    errors = []
    for tolerance in (1e-4, 1e-6, 1e-8):
        solution = nde.solve_ode(field, double(*START), times, method=method, rtol=tolerance, atol=tolerance)
        errors.append(numpy.abs(solution.ys.numpy() - exact).max())
    # an error per step controlled at order k gives a global error of order (k - 1) / k in the tolerance, or better
    for looser, tighter in itertools.pairwise(errors):
        assert 10 < looser / tighter < 1000


@pytest.mark.parametrize("method", ["tsit5", "dopri8"])
def test_stiff_oscillator_agrees_with_scipy_through_its_jumps(method: str) -> None:
    times = numpy.linspace(0, 10, 41)
    found = solve_ivp(
        lambda t, y: van_der_pol(torch.tensor(t), torch.tensor(y)).numpy(),
        (0, 10),
        (2.0, 0.0),
        method="DOP853",
        t_eval=times,
        rtol=1e-12,
        atol=1e-12,
    )
    solution = nde.solve_ode(van_der_pol, double(2.0, 0.0), times, method=method, rtol=1e-9, atol=1e-9)
    # the phase of the jumps amplifies an error of the slow part by the slope of the jump, some 20
    assert numpy.abs(solution.ys.numpy() - found.y.T).max() < 1e-6


def test_single_precision_reaches_its_tolerance() -> None:
    times, exact = reference(False)
    solution = nde.solve_ode(field, double(*START).float(), times, rtol=1e-5, atol=1e-5)
    error = numpy.abs(solution.ys.double().numpy() - exact) / (1e-5 * (1 + numpy.abs(exact)))
    assert error.max() <= ALLOWED["tsit5"]


@st.composite
def linear_systems(draw):
    """Return a matrix with eigenvalues that neither explode nor stiffen over the span, a state, times and a dtype."""
    size = draw(st.integers(1, 4))
    seed = draw(st.integers(0, 2**31 - 1))
    dtype = draw(st.sampled_from([torch.float32, torch.float64, torch.complex64, torch.complex128]))
    start = draw(st.floats(-5, 5))
    length = draw(st.floats(0.05, 3)) * draw(st.sampled_from([1, -1]))
    batch = draw(st.sampled_from([(), (1,), (3,), (2, 2)]))
    generator = torch.Generator().manual_seed(seed)

    def random(*shape):
        wide = torch.complex128 if dtype.is_complex else torch.float64
        return torch.randn(shape, generator=generator, dtype=wide)

    matrix = random(size, size)
    matrix = matrix / max(float(torch.linalg.matrix_norm(matrix, 2)), 1.0)
    inner = sorted(draw(st.lists(st.floats(0.01, 0.99), max_size=4, unique_by=lambda x: round(x, 3))))
    times = [start, *(start + fraction * length for fraction in inner), start + length]
    return matrix, random(*batch, size), times, dtype


@settings(max_examples=60, deadline=None, derandomize=True)
@given(system=linear_systems(), method=st.sampled_from(["bosh3", "dopri5", "tsit5", "dopri8"]))
def test_random_linear_systems_follow_the_matrix_exponential(system, method: str) -> None:
    matrix, start, times, dtype = system
    tolerance = 1e-4 if dtype in (torch.float32, torch.complex64) else 1e-7
    y0, rates = start.to(dtype), matrix.to(dtype)
    solution = nde.solve_ode(lambda t, y: y @ rates.T, y0, times, method=method, rtol=tolerance, atol=tolerance)
    assert solution.ys.dtype is dtype and solution.ys.shape == (len(times), *start.shape)
    for time, state in zip(times, solution.ys, strict=True):
        exact = start @ torch.linalg.matrix_exp(matrix * (time - times[0])).T
        # |exp(A t)| <= e^3 over the span amplifies each step's error
        scale = tolerance * (1 + float(exact.abs().max())) * math.exp(3)
        assert float((state.to(exact.dtype) - exact).abs().max()) <= 10 * scale


@settings(max_examples=25, deadline=None, derandomize=True)
@given(system=linear_systems())
def test_gradients_of_random_linear_systems_follow_the_transposed_exponential(system) -> None:
    matrix, start, times, _ = system
    y0 = start.clone().requires_grad_()
    weights = torch.ones_like(start)
    solution = nde.solve_ode(lambda t, y: y @ matrix.T, y0, times, rtol=1e-9, atol=1e-9)
    (gradient,) = torch.autograd.grad(torch.real((solution.y1 * weights.conj()).sum()), y0)
    exact = weights @ torch.linalg.matrix_exp(matrix * (times[-1] - times[0])).conj()
    # the gradient is exact for the numerical solution, whose error is some e^3 times the tolerance
    torch.testing.assert_close(gradient, exact, rtol=1e-6, atol=1e-6)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(system=linear_systems())
def test_there_and_back_again_returns_to_the_start(system) -> None:
    matrix, start, times, _ = system
    field = lambda t, y: y @ matrix.T * torch.cos(t)
    there = nde.solve_ode(field, start, times, rtol=1e-9, atol=1e-9)
    back = nde.solve_ode(field, there.y1, times[::-1], rtol=1e-9, atol=1e-9)
    # errors of both ways, amplified by at most e^3 each
    torch.testing.assert_close(back.ys.flip(0), there.ys, rtol=1e-5, atol=1e-5)
