"""Generated linear systems, whose solution is a matrix exponential: spans, directions, dtypes, shapes, methods."""

import math

import numpy
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import nde

FAST = settings(max_examples=60, derandomize=True, deadline=None, print_blob=True)
SLOW = settings(max_examples=600, derandomize=True, deadline=None, print_blob=True)
ADAPTIVE = ["tsit5", "dopri5", "bosh3", "dopri8"]
FIXED = ["rk4", "gauss4", "radau_iia5", "explicit_adams", "implicit_adams"]
TOLERANCE = {torch.float32: 2e-3, torch.float64: 2e-5, torch.complex64: 2e-3, torch.complex128: 2e-5}


@st.composite
def systems(draw, with_samples=False):
    """A system ``y' = A y + b`` with samples along the first axis, and where it is to be solved."""
    dtype = draw(st.sampled_from([torch.float64, torch.float32, torch.complex128]))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    size = draw(st.integers(1, 4))
    lead = (draw(st.integers(1, 4)),) if with_samples else draw(st.sampled_from([(), (1,), (3,), (2, 2)]))
    matrix = torch.randn(size, size, generator=generator, dtype=torch.float64).to(dtype)
    matrix = matrix * (1j if dtype.is_complex and draw(st.booleans()) else 1)
    matrix = 1.5 * matrix / matrix.norm().clamp_min(1e-3)
    y0, shift = (torch.randn(*shape, size, generator=generator, dtype=torch.float64) for shape in (lead, ()))
    begin = draw(st.floats(-3, 3))
    span = draw(st.floats(0.05, 2.0)) * draw(st.sampled_from([1, -1]))
    inner = sorted(draw(st.lists(st.floats(0.05, 0.95), max_size=4, unique_by=lambda x: round(x, 3))))
    ts = begin + span * torch.tensor([0.0, *inner, 1.0], dtype=torch.float64)
    return matrix, shift.to(dtype), y0.to(dtype), ts


def exact(matrix, shift, y0, ts):
    """The solution at all times, from the exponential of the system with one more unknown, which stays 1."""
    size = len(shift)
    kind = torch.complex128 if matrix.is_complex() else torch.float64
    whole = torch.zeros(size + 1, size + 1, dtype=kind)
    whole[:size, :size], whole[:size, size] = matrix, shift
    one = torch.ones(*y0.shape[:-1], 1, dtype=kind)
    values = [torch.cat([y0.to(kind), one], -1) @ torch.matrix_exp(whole * (t - ts[0])).T for t in ts]
    return torch.stack(values)[..., :size]


def close(found, expected, dtype):
    tolerance = TOLERANCE[dtype]
    scale = float(expected.abs().max()) + 1e-3
    assert found.dtype == dtype
    torch.testing.assert_close(found.to(expected.dtype), expected, rtol=tolerance, atol=tolerance * scale)


def options_of(method, dtype):
    if method in FIXED:
        return {"method": method, "controller": nde.FixedStep(0.02)}
    small = dtype in (torch.float32, torch.complex64)
    return {"method": method, "rtol": 1e-5 if small else 1e-8, "atol": 1e-6 if small else 1e-9}


def check_lock_step(system, method):
    matrix, shift, y0, ts = system
    solution = nde.solve_ode(lambda t, y: y @ matrix.T + shift, y0, ts, **options_of(method, y0.dtype))
    close(solution.ys, exact(matrix, shift, y0, ts), y0.dtype)
    assert solution.status is nde.Status.SUCCESS


def check_per_sample(system, method, lengths):
    """Every sample has a matrix, a span and a direction of its own; together they are solved as alone."""
    matrix, shift, y0, ts = system
    samples = y0.shape[0]
    factors = torch.tensor(lengths[:samples], dtype=torch.float64)
    spans = ts[0] + factors[:, None] * (ts - ts[0])
    rates = torch.linspace(0.3, 1.0, samples, dtype=torch.float64).to(y0.dtype)

    def field(t, y, rate):
        return rate[:, None] * (y @ matrix.T + shift)

    options = options_of(method, y0.dtype)
    solution = nde.solve_ode(field, y0, spans, (nde.PerSample(rates),), per_sample=True, **options)
    assert bool(solution.succeeded.all())
    for i in range(samples):
        close(solution.ys[:, i], exact(rates[i] * matrix, rates[i] * shift, y0[i], spans[i]), y0.dtype)
    order = torch.arange(samples).flip(0)
    again = nde.solve_ode(field, y0[order], spans[order], (nde.PerSample(rates[order]),), per_sample=True, **options)
    close(again.ys[:, order], solution.ys.to(torch.promote_types(y0.dtype, torch.float64)), y0.dtype)


def check_gradient(system, adjoint, per_sample):
    """The gradient of a linear functional of the end is the transposed exponential, applied to it."""
    matrix, shift, y0, ts = system
    matrix, shift, y0 = (part.real.double() for part in (matrix, shift, y0))
    y0.requires_grad_()
    weights = torch.linspace(-1, 1, y0.numel(), dtype=torch.float64).reshape(y0.shape)
    options = {"rtol": 1e-8, "atol": 1e-9, "adjoint": adjoint, "per_sample": per_sample}
    solution = nde.solve_ode(lambda t, y: y @ matrix.T + shift, y0, ts, **options)
    (found,) = torch.autograd.grad((solution.y1 * weights).sum(), y0)
    torch.testing.assert_close(found, weights @ torch.matrix_exp(matrix * (ts[-1] - ts[0])), rtol=1e-5, atol=1e-6)


lengths = st.lists(st.floats(0.1, 1.0).map(lambda x: round(x, 3)), min_size=4, max_size=4)
both_ways = st.lists(st.sampled_from([1.0, -1.0]), min_size=4, max_size=4)
row_methods = st.sampled_from([*ADAPTIVE, "rk4"])


@FAST
@given(systems(), st.sampled_from(ADAPTIVE + FIXED))
def test_linear_systems_are_solved(system, method) -> None:
    check_lock_step(system, method)


@FAST
@given(systems(with_samples=True), row_methods, lengths, both_ways)
def test_linear_systems_are_solved_per_sample(system, method, sizes, signs) -> None:
    check_per_sample(system, method, list(numpy.multiply(sizes, signs)))


@FAST
@given(systems(with_samples=True), st.sampled_from(["direct", "discrete"]), st.booleans())
def test_linear_systems_have_the_gradients_of_the_transposed_system(system, adjoint, per_sample) -> None:
    check_gradient(system, adjoint, per_sample)


@pytest.mark.slow
@SLOW
@given(systems(), st.sampled_from(ADAPTIVE + FIXED))
def test_many_linear_systems_are_solved(system, method) -> None:
    check_lock_step(system, method)


@pytest.mark.slow
@SLOW
@given(systems(with_samples=True), row_methods, lengths, both_ways)
def test_many_linear_systems_are_solved_per_sample(system, method, sizes, signs) -> None:
    check_per_sample(system, method, list(numpy.multiply(sizes, signs)))


@FAST
@given(st.permutations(["fine", "nan", "blow up", "fine too"]), st.sampled_from(["direct", "discrete"]))
def test_whatever_fails_wherever_the_others_are_as_alone(kinds, adjoint) -> None:
    number = {"fine": 0.0, "nan": 1.0, "blow up": 2.0, "fine too": 3.0}
    kind = torch.tensor([number[name] for name in kinds], dtype=torch.float64)

    def field(t, y, kind):
        kind = kind[:, None]
        broken = torch.where(kind == 1, torch.where(t > 0.4, math.nan, -y), -(1 + kind) * y)
        return torch.where(kind == 2, 1 + 3 * y * y, broken)

    y0 = torch.full((4, 1), 0.7, dtype=torch.float64)
    options = {"rtol": 1e-7, "atol": 1e-8, "throw": False, "max_steps": 500, "adjoint": adjoint}
    solution = nde.solve_ode(field, y0, (0.0, 1.0), (nde.PerSample(kind),), per_sample=True, **options)
    for place, name in enumerate(kinds):
        status, t1 = solution.statuses[place], float(solution.t1[place])
        if name.startswith("fine"):
            wanted = 0.7 * math.exp(-(1 + number[name]))
            assert status is nde.Status.SUCCESS
            assert float(solution.y1[place]) == pytest.approx(wanted, rel=1e-5)
        elif name == "nan":
            assert status is nde.Status.NON_FINITE
            assert t1 == pytest.approx(0.4, abs=1e-3)
            assert float(solution.y1[place]) == pytest.approx(0.7 * math.exp(-t1), rel=1e-5)
        else:
            # y = tan(sqrt(3) t + c) / sqrt(3) ends at the pole
            pole = (math.pi / 2 - math.atan(math.sqrt(3) * 0.7)) / math.sqrt(3)
            assert status is not nde.Status.SUCCESS
            assert t1 == pytest.approx(pole, abs=1e-4)
