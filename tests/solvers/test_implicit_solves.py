"""Implicit steps solve stiff problems, batches at the cost of one sample, coupled samples, and say when they cannot."""

import math

import numpy
import pytest
import torch
from scipy.integrate import solve_ivp

import nde
from nde.solvers import find_method
from nde.solvers.field import VectorField
from nde.solvers.structure import StateStructure
from tests.problems import Counted, Net, double
from tests.solvers.test_implicit_orders import IMPLICIT

each = pytest.mark.parametrize("method", IMPLICIT)


def robertson(t, y):
    a, b, c = y.unbind(-1)
    first, second, third = -0.04 * a + 1e4 * b * c, 0.04 * a - 1e4 * b * c - 3e7 * b * b, 3e7 * b * b
    return torch.stack([first, second, third], -1)


def van_der_pol(t, y):
    x, v = y.unbind(-1)
    return torch.stack([v, 1000.0 * (1 - x * x) * v - x], -1)


def reference(field, y0, t1: float) -> torch.Tensor:
    found = solve_ivp(
        lambda t, y: field(t, torch.from_numpy(y)).numpy(),
        (0.0, t1),
        y0.numpy(),
        method="Radau",
        rtol=1e-10,
        atol=1e-14,
    )
    return torch.from_numpy(found.y[:, -1])


def coupled(t, y):
    return -(y**3) + torch.sin(t) * y.mean(0) + (y - y.mean(0)) / (1 + y.var(0))


def test_robertson_agrees_with_scipy() -> None:
    y0 = double(1.0, 0.0, 0.0)
    times = numpy.concatenate([[0.0], numpy.logspace(-5, math.log10(40.0), 150)])
    found = nde.solve_ode(robertson, y0, times, method="radau_iia5", controller=nde.StepTo()).y1
    expected = reference(robertson, y0, 40.0)
    # the tolerance of the reference over the length of the span
    torch.testing.assert_close(found, expected, rtol=1e-7, atol=0)


def test_van_der_pol_with_mu_1000_agrees_with_scipy() -> None:
    y0 = double(2.0, 0.0)
    times = numpy.concatenate([[0.0], numpy.logspace(-5, 2, 150)])
    found = nde.solve_ode(van_der_pol, y0, times, method="radau_iia5", controller=nde.StepTo()).y1
    torch.testing.assert_close(found, reference(van_der_pol, y0, 100.0), rtol=1e-7, atol=0)


@each
def test_fast_decay_stays_bounded_at_a_large_step_and_vanishes_for_l_stable_methods(method: str) -> None:
    rates = double(1e6, 1.0)
    y1 = nde.solve_ode(lambda t, y: -rates * y, double(1.0, 1.0), (0.0, 1.0), method=method, controller=nde.StepTo()).y1
    assert float(y1.abs().max()) <= 1.0
    if method in ("implicit_euler", "sdirk2", "trbdf2", "radau_iia3", "radau_iia5"):
        assert abs(float(y1[0])) < 1e-5


@each
def test_a_batch_equals_its_samples_solved_alone(method: str) -> None:
    net, generator = Net(), torch.Generator().manual_seed(1)
    y0 = torch.randn(5, 3, generator=generator, dtype=torch.float64)
    options = {"method": method, "controller": nde.FixedStep(0.25)}
    with torch.no_grad():
        together = nde.solve_ode(net, y0, (0.0, 0.4, 1.0), **options).ys
        alone = [nde.solve_ode(net, row, (0.0, 0.4, 1.0), **options).ys for row in y0]
    # both to the rounding of the iteration
    torch.testing.assert_close(together, torch.stack(alone, 1), rtol=0, atol=1e-14)


@each
def test_evaluations_do_not_grow_with_the_batch(method: str) -> None:
    calls = []
    for count in (1, 64):
        field = Counted(lambda t, y: -y * y + torch.sin(t))
        y0 = double(0.5, 1.0, 1.5).expand(count, 3).clone()
        solution = nde.solve_ode(field, y0, (0.0, 1.0), method=method, controller=nde.FixedStep(0.25))
        assert solution.stats.n_field_evals == field.calls
        calls.append(field.calls)
    assert calls[0] == calls[1]


@pytest.mark.parametrize("method", ["trapezoid", "sdirk2", "radau_iia5", "gauss4"])
def test_samples_that_interact_are_solved_together(method: str) -> None:
    generator = torch.Generator().manual_seed(2)
    y0 = torch.randn(4, 2, generator=generator, dtype=torch.float64)
    options = {"method": method, "controller": nde.FixedStep(0.5)}
    found = nde.solve_ode(coupled, y0, (0.0, 2.0), **options).y1
    flat = nde.solve_ode(lambda t, y: coupled(t, y.view(4, 2)).view(8), y0.view(8), (0.0, 2.0), **options).y1
    torch.testing.assert_close(found, flat.view(4, 2), rtol=0, atol=1e-14)


def test_a_field_without_a_tape_is_solved_by_differences_of_samples_and_of_coupled_states() -> None:
    y0 = torch.randn(4, 2, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    for field in (coupled, lambda t, y: -(y**3) + y.roll(1, -1)):
        options = {"method": "radau_iia5", "controller": nde.FixedStep(0.5)}
        taped = nde.solve_ode(field, y0, (0.0, 2.0), **options).y1

        def host(t, y, field=field):
            with torch.no_grad():
                return field(t, torch.from_numpy(y.detach().numpy().copy()))

        torch.testing.assert_close(nde.solve_ode(host, y0, (0.0, 2.0), **options).y1, taped, rtol=0, atol=1e-13)


def test_fields_that_work_in_place_and_branch_on_data_are_solved() -> None:
    def awkward(t, y):
        out = torch.empty_like(y)
        out[..., 0] = -50 * y[..., 0]
        out[..., 1] = y[..., 0] if float(y.detach().sum()) > 1 else y[..., 0] * 1.0
        out += torch.cos(t)
        return out

    plain = lambda t, y: torch.stack([-50 * y[..., 0], y[..., 0]], -1) + torch.cos(t)
    y0 = double(1.0, 2.0)
    options = {"method": "radau_iia5", "controller": nde.FixedStep(0.25)}
    torch.testing.assert_close(
        nde.solve_ode(awkward, y0, (0.0, 1.0), **options).y1, nde.solve_ode(plain, y0, (0.0, 1.0), **options).y1
    )


@pytest.mark.parametrize("method", ["trbdf2", "radau_iia5", "gauss6"])
def test_large_states_take_the_vectorised_jacobian_and_agree_with_small_ones(method: str) -> None:
    y0 = torch.linspace(0.1, 2.0, 40, dtype=torch.float64)
    options = {"method": method, "controller": nde.FixedStep(0.5)}
    field = lambda t, y: -(y**3) + torch.sin(t)
    one = nde.solve_ode(field, y0, (0.0, 1.0), **options).y1
    rows = nde.solve_ode(field, y0.view(40, 1), (0.0, 1.0), **options).y1
    torch.testing.assert_close(one, rows.view(40), rtol=0, atol=1e-14)


def test_float32_complex_dict_scalar_and_backward_solves() -> None:
    options = {"method": "radau_iia5", "controller": nde.FixedStep(0.1)}
    single = nde.solve_ode(lambda t, y: -y, torch.ones(2, 3), (0.0, 1.0), **options).y1
    assert single.dtype == torch.float32
    torch.testing.assert_close(single, torch.full((2, 3), math.exp(-1)), rtol=1e-6, atol=0)
    scalar = nde.solve_ode(lambda t, y: -y, torch.tensor(1.0, dtype=torch.float64), (1.0, 0.0), **options).y1
    assert scalar.shape == () and float(scalar) == pytest.approx(math.e, rel=1e-8)
    start = torch.ones(3, 2, dtype=torch.complex128)
    turned = nde.solve_ode(lambda t, y: 1j * y, start, (0.0, 1.0), **options).y1
    torch.testing.assert_close(turned, start * complex(math.cos(1), math.sin(1)), rtol=1e-8, atol=0)
    pair = {"a": torch.ones(3, 2, dtype=torch.float64), "b": torch.ones(3, 1, dtype=torch.complex128)}
    both = nde.solve_ode(lambda t, y: {"a": -y["a"] * y["b"].abs(), "b": 1j * y["b"]}, pair, (0.0, 1.0), **options).y1
    torch.testing.assert_close(both["a"], pair["a"] * math.exp(-1), rtol=1e-8, atol=0)
    torch.testing.assert_close(both["b"], start[:, :1] * complex(math.cos(1), math.sin(1)), rtol=1e-8, atol=0)


def hopeless(t, y):
    """A field of which the second sample's implicit equations have no solution for a step of 1."""
    return torch.where(y > 1, y * y, -y)


@each
def test_equations_without_a_solution_end_the_solve_with_its_own_status_and_the_sample(method: str) -> None:
    y0 = double(0.1, 10.0, 0.2).view(3, 1)
    with pytest.raises(
        nde.SolverError, match=r"could not be solved at t = 0 \(sample 1 of 3\).*smaller step"
    ) as caught:
        nde.solve_ode(hopeless, y0, (0.0, 1.0), method=method, controller=nde.FixedStep(1.0))
    assert caught.value.status is nde.Status.NEWTON_FAILED
    assert caught.value.failure.h == 1.0


@pytest.mark.parametrize("adjoint", ["direct", "discrete"])
def test_with_per_sample_the_others_are_solved_as_alone(adjoint: str) -> None:
    y0 = double(0.1, 10.0, 0.2).view(3, 1).requires_grad_()
    options = {"method": "radau_iia5", "controller": nde.FixedStep(1.0), "adjoint": adjoint}
    solution = nde.solve_ode(hopeless, y0, (0.0, 2.0), per_sample=True, throw=False, **options)
    assert solution.statuses == (nde.Status.SUCCESS, nde.Status.NEWTON_FAILED, nde.Status.SUCCESS)
    assert solution.failures[1].sample == 1
    alone = nde.solve_ode(hopeless, y0[::2], (0.0, 2.0), **options).y1
    torch.testing.assert_close(solution.y1[::2], alone, rtol=1e-12, atol=0)
    found, expected = (torch.autograd.grad(end.sum(), y0)[0][::2] for end in (solution.y1[::2], alone))
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=0)


def test_the_state_as_a_whole_ends_with_the_same_status_when_its_steps_are_dense() -> None:
    y0 = double(0.1, 10.0).view(2, 1)
    options = {"method": "radau_iia5", "controller": nde.FixedStep(1.0), "dense": True, "throw": False}
    assert nde.solve_ode(hopeless, y0, (0.0, 1.0), **options).status is nde.Status.NEWTON_FAILED


def test_one_hopeless_sample_does_not_stop_the_others() -> None:
    y0 = double(0.1, 10.0, 0.2)
    method, field = find_method("radau_iia5"), VectorField(hopeless, StateStructure(y0.view(3, 1)))
    result = method.step(field, 0.0, 1.0, y0, None)
    assert result.unsolved and result.y1.isnan().tolist() == [False, True, False]
    # 1 - 2e-3 is the error of one step
    torch.testing.assert_close(result.y1[[0, 2]], math.exp(-1) * y0[[0, 2]], rtol=2e-3, atol=0)


def test_a_singular_matrix_is_a_failure_of_newtons_method() -> None:
    with pytest.raises(nde.SolverError, match="matrix is singular"):
        nde.solve_ode(lambda t, y: y, double(1.0), (0.0, 1.0), method="implicit_euler", controller=nde.StepTo())


def test_a_field_that_is_not_finite_is_not_blamed_on_newtons_method() -> None:
    with pytest.raises(nde.SolverError) as caught:
        nde.solve_ode(lambda t, y: y * math.nan, double(1.0), (0.0, 1.0), method="gauss4", controller=nde.StepTo())
    assert caught.value.status is nde.Status.NON_FINITE


class RowsOf:
    """A field in the layout of one row per sample."""

    def __init__(self, structure: StateStructure) -> None:
        self.structure = structure

    def __call__(self, t, y):
        return torch.stack([y[:, 1], 5 * (1 - y[:, 0] ** 2) * y[:, 1] - y[:, 0] + t.to(y.dtype)[:, 0]], 1)


@each
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_rows_with_times_of_their_own_equal_single_steps(method: str, dtype: torch.dtype) -> None:
    y = torch.tensor([[1.0, 0.0], [0.5, -1.0], [2.0, 0.1]], dtype=dtype)
    t, h = double(0.0, 1.0, 2.0).view(3, 1), torch.tensor([[0.1], [0.2], [-0.05]], dtype=dtype)
    solver, field = find_method(method), RowsOf(StateStructure(y[0]))
    thetas = [double(0.3, 0.4, 0.5).view(3, 1), double(0.8, 0.7, 1.0).view(3, 1)]
    result = solver.step(field, t, h, y, None)
    inside = solver.interpolate(field, t, h, y, result, thetas)
    assert result.y1.dtype == dtype and inside.dtype == dtype and inside.shape == (2, 3, 2)
    for i in range(3):
        row = slice(i, i + 1)
        alone = solver.step(field, t[row], h[row], y[row], None)
        at = solver.interpolate(field, t[row], h[row], y[row], alone, [theta[row] for theta in thetas])
        close = {"rtol": 0, "atol": 20 * torch.finfo(dtype).eps}
        torch.testing.assert_close(result.y1[row], alone.y1, **close)
        torch.testing.assert_close(inside[:, row], at, **close)


def test_samples_that_interact_only_away_from_the_beginning_are_found_out() -> None:
    def late(t, y):
        return 1.0 - 30 * y.mean(0) ** 3 + 0 * y

    y0 = torch.zeros(4, 2, dtype=torch.float64)  # where the Jacobian is zero, between samples too
    options = {"method": "radau_iia5", "controller": nde.FixedStep(1.0)}
    found = nde.solve_ode(late, y0, (0.0, 1.0), **options).y1
    flat = nde.solve_ode(lambda t, y: late(t, y.view(4, 2)).view(8), y0.view(8), (0.0, 1.0), **options).y1
    torch.testing.assert_close(found, flat.view(4, 2), rtol=0, atol=1e-14)


class _Cube(torch.autograd.Function):
    """An operation with a backward pass and nothing else: no forward mode, no rule for vmap."""

    @staticmethod
    def forward(ctx, value):
        ctx.save_for_backward(value)
        return value**3

    @staticmethod
    def backward(ctx, cotangent):
        (value,) = ctx.saved_tensors
        # numpy stands for what vmap cannot trace
        return cotangent * torch.from_numpy(3 * value.detach().numpy() ** 2 + 0 * cotangent.detach().numpy())


def test_operations_that_only_have_a_backward_pass_are_solved() -> None:
    y0 = torch.linspace(0.1, 2.0, 20, dtype=torch.float64)
    options = {"method": "radau_iia5", "controller": nde.FixedStep(0.5)}
    found = nde.solve_ode(lambda t, y: -_Cube.apply(y), y0, (0.0, 1.0), **options).y1
    expected = nde.solve_ode(lambda t, y: -(y**3), y0, (0.0, 1.0), **options).y1
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-14)
