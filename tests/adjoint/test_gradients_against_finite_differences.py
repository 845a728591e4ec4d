"""Gradients of every output by everything that it depends on equal finite differences, through both adjoints.

The steps are frozen (`FixedStep`, `StepTo`): step sizes count as constants, so that only then finite differences and
gradients speak of the same function. `torch.autograd.gradcheck` compares in float64 to 1e-5 absolute, 1e-3 relative.
"""

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

import nde
from tests.problems import METHODS, Net, double

# gradcheck uses both halves of the discrete adjoint: its first backward pass finds tapes, further ones replay the steps
each_adjoint = pytest.mark.parametrize("adjoint", ["direct", "discrete"])

# Sizes that do not divide the span, with outputs inside and outside of the first step. The stages that estimate the
# stiffness differ by h^4 (h^8 for dopri8): small steps would leave finite differences nothing but rounding.
TIMES = dict.fromkeys(METHODS, (0.1, 0.4, 0.55, 1.0)) | {"dopri8": (0.1, 1.3, 2.7, 4.1)}
SIZE = dict.fromkeys(METHODS, 0.4) | {"dopri8": 1.5}


def field(t, y, rate, shift):
    """Coupled, nonlinear, dependent on time and on two arguments."""
    return torch.sin(y.roll(1, -1)) * rate + shift * torch.cos(2 * t) - 0.8 * y


def everything(solution: nde.Solution) -> tuple[torch.Tensor, ...]:
    """Return all differentiable outputs."""
    steps = solution.steps
    candidates = [solution.ys, solution.y1, steps.error, steps.stiffness, steps.local_error]
    return tuple(candidate for candidate in candidates if candidate is not None)


def inputs(dtype=torch.float64):
    y0 = torch.tensor([[0.3, -0.8], [1.1, 0.4]], dtype=dtype)
    rate = torch.tensor([0.9, -0.6], dtype=dtype)
    shift = torch.tensor(0.7, dtype=dtype)
    if dtype.is_complex:
        y0, rate, shift = y0 + 0.2j * y0.roll(1, 0), rate * (1 + 0.5j), shift * (1 - 0.3j)
    return tuple(tensor.requires_grad_() for tensor in (y0, rate, shift))


def solver(method: str, adjoint, controller=None):
    controller = controller or nde.FixedStep(SIZE[method])

    def run(y0, rate, shift, ts=TIMES[method]):
        return everything(
            nde.solve_ode(
                field,
                y0,
                ts,
                (rate, shift),
                method=method,
                controller=controller,
                adjoint=adjoint,
                local_errors=True,
                # loose, so that scaled errors are of order one; absolute and relative part both matter
                rtol=0.1,
                atol=0.05,
            )
        )

    return run


@each_adjoint
@pytest.mark.parametrize("method", METHODS)
def test_gradients_of_all_outputs_by_state_and_arguments_equal_finite_differences(method: str, adjoint) -> None:
    assert gradcheck(solver(method, adjoint), inputs())


@each_adjoint
@pytest.mark.parametrize("method", ["heun", "rk4", "tsit5", pytest.param("dopri8", marks=pytest.mark.slow)])
def test_gradients_of_complex_states_equal_finite_differences(method: str, adjoint) -> None:
    assert gradcheck(solver(method, adjoint), inputs(torch.complex128))


@each_adjoint
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("descending", [False, True], ids=["forward", "backward"])
def test_gradients_of_all_outputs_by_times_equal_finite_differences(method: str, adjoint, descending: bool) -> None:
    ts = double(*TIMES[method])
    ts = (ts.flip(0) if descending else ts).requires_grad_()
    y0, rate, shift = (tensor.detach() for tensor in inputs())
    run = solver(method, adjoint)
    assert gradcheck(lambda ts: run(y0, rate, shift, ts), (ts,))


@each_adjoint
@pytest.mark.parametrize("method", METHODS)
def test_gradients_by_times_that_steps_end_on_equal_finite_differences(method: str, adjoint) -> None:
    ts = double(*TIMES[method]).requires_grad_()
    assert gradcheck(solver(method, adjoint, nde.StepTo()), (*inputs(), ts))


@each_adjoint
@pytest.mark.parametrize("method", ["bosh3", "tsit5", "dopri8"])
def test_gradient_by_an_output_time_on_the_constant_end_of_a_step_is_that_of_the_interpolant(
    method: str, adjoint
) -> None:
    # an inner output time is the end of a step, which does not move with it; as the interpolants of these methods meet
    # with one slope, finite differences to both sides agree
    ts = double(*TIMES[method]).requires_grad_()
    controller = nde.StepTo((TIMES[method][2],))
    assert gradcheck(solver(method, adjoint, controller), (*inputs(), ts))


@each_adjoint
def test_gradient_by_the_final_time_is_the_field_there(adjoint) -> None:
    y0, rate, shift = (tensor.detach() for tensor in inputs())
    ts = double(0.0, 1.0).requires_grad_()
    solution = nde.solve_ode(field, y0, ts, (rate, shift), adjoint=adjoint, rtol=1e-10, atol=1e-10)
    (gradient,) = torch.autograd.grad(solution.y1[0, 0], ts)
    end = field(ts[1].detach(), solution.y1.detach(), rate, shift)[0, 0]
    # the derivative of the last step by its size differs from the field at its end by the error of the method
    assert float(gradient[1]) == pytest.approx(float(end), rel=1e-6)


@each_adjoint
def test_final_time_of_an_adaptive_solve_moves_the_initial_time_the_other_way(adjoint) -> None:
    # an autonomous field sees only the difference of the times
    ts = double(0.3, 1.3).requires_grad_()
    solution = nde.solve_ode(lambda t, y: torch.sin(y), double(1.0, 2.0), ts, adjoint=adjoint, rtol=1e-8, atol=1e-8)
    (gradient,) = torch.autograd.grad(solution.y1.sum(), ts)
    # first step and last step move with different ends: the sum vanishes up to the error of the solve
    assert abs(float(gradient.sum())) < 1e-6 * abs(float(gradient[1]))


@each_adjoint
@pytest.mark.parametrize("method", ["euler", "rk4", "tsit5"])
def test_gradients_by_module_parameters_equal_finite_differences(method: str, adjoint) -> None:
    net = Net(size=2, hidden=3)
    y0 = double(0.3, -0.5).requires_grad_()

    def run(y0, *_):
        return everything(
            nde.solve_ode(net, y0, (0.1, 0.4, 1.0), method=method, controller=nde.FixedStep(0.4), adjoint=adjoint)
        )

    assert gradcheck(run, (y0, *net.parameters()))


@each_adjoint
@pytest.mark.parametrize("on_tape", [False, True], ids=["leaf", "non-leaf"])
def test_gradients_by_closure_tensors_equal_finite_differences(adjoint, on_tape: bool) -> None:
    def run(given):
        weight = given.exp() if on_tape else given

        def closure(t, y):
            return torch.tanh(y * weight) + t

        return everything(
            nde.solve_ode(closure, double(0.5, -0.2), (0.1, 0.4, 1.0), controller=nde.FixedStep(0.4), adjoint=adjoint)
        )

    assert gradcheck(run, (double(0.4, -0.7).requires_grad_(),))


def penalties():
    return {
        "error": nde.regularize.GlobalError(reduction="sum"),
        "error squared": nde.regularize.GlobalErrorSquared(),
        "stiffness": nde.regularize.GlobalStiffness(),
        "largest stiffness": nde.regularize.GlobalStiffness(reduction="max"),
        "steps": nde.regularize.StepCount(set_point=0.5),
    }


@each_adjoint
@pytest.mark.parametrize("name", penalties())
def test_gradients_of_penalties_by_state_and_parameters_equal_finite_differences(name: str, adjoint) -> None:
    net, penalty = Net(size=2, hidden=3), penalties()[name]

    def run(y0, *_):
        # large steps with errors well above rounding
        solution = nde.solve_ode(net, y0, (0.0, 2.0), controller=nde.FixedStep(0.7), adjoint=adjoint, rtol=1e-3)
        return penalty(solution)

    assert gradcheck(run, (double(0.3, -0.5).requires_grad_(), *net.parameters()))


@each_adjoint
@pytest.mark.parametrize("method", ["heun", "rk4", "tsit5"])
def test_second_derivatives_of_all_outputs_equal_finite_differences(method: str, adjoint) -> None:
    y0, rate, shift = inputs()
    ts = double(0.1, 0.4, 1.0).requires_grad_()
    run = solver(method, adjoint, nde.FixedStep(0.5))
    assert gradgradcheck(run, (y0[0].detach().requires_grad_(), rate, shift, ts))


@each_adjoint
@pytest.mark.slow
@pytest.mark.parametrize("method", [method for method in METHODS if method != "dopri8"])  # rounding: see TIMES
def test_second_derivatives_of_complex_states_equal_finite_differences(method: str, adjoint) -> None:
    y0, rate, shift = inputs(torch.complex128)
    run = solver(method, adjoint, nde.FixedStep(SIZE[method]))
    assert gradgradcheck(run, (y0[0].detach().requires_grad_(), rate, shift))


def test_forward_mode_derivative_through_the_direct_adjoint_equals_the_backward_one() -> None:
    y0, rate, shift = (tensor.detach() for tensor in inputs())

    def end(y0):
        return nde.solve_ode(
            field, y0, (0.0, 1.0), (rate, shift), controller=nde.FixedStep(0.3), adjoint="direct"
        ).y1.sum()

    tangent = torch.ones_like(y0)
    _, forward = torch.func.jvp(end, (y0,), (tangent,))
    (backward,) = torch.autograd.grad(end(leaf := y0.clone().requires_grad_()), leaf)
    # the same derivative in another order of summation
    torch.testing.assert_close(forward, (backward * tangent).sum(), rtol=1e-13, atol=0)
