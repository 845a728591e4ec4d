"""A solve that cannot go on says why, where, in which sample and what to try, and keeps what it has computed."""

import math
import re

import pytest
import torch

import nde
from tests.problems import ADJOINTS, Counted, Net, double, each_adjoint


def blow_up(t, y):
    """y' = y^2 with y(0) = 1 is 1 / (1 - t)."""
    return y**2


def nan_after(limit: float, value: float = math.nan):
    """Return a field that breaks where time passes a limit."""
    return lambda t, y: -y if float(t) < limit else y * value


@each_adjoint
@pytest.mark.parametrize("method", ["bosh3", "tsit5", "dopri8"])
def test_blow_up_ends_in_step_underflow_near_the_pole(method: str, adjoint) -> None:
    with pytest.raises(nde.SolverError, match="step size fell to") as caught:
        nde.solve_ode(blow_up, double(1.0), (0.0, 2.0), method=method, adjoint=adjoint, rtol=1e-8, atol=1e-8)
    error = caught.value
    assert error.status is nde.Status.STEP_UNDERFLOW
    # within the global error of the solve of the pole, on either side of it
    assert error.failure.t == pytest.approx(1.0, abs=1e-5)
    assert error.solution.failure == error.failure
    assert error.solution.t1 == error.failure.t
    assert not error.solution.success


def test_message_of_a_solver_error_names_time_step_and_remedy() -> None:
    with pytest.raises(nde.SolverError) as caught:
        nde.solve_ode(blow_up, double(1.0), (0.0, 2.0), rtol=1e-8, atol=1e-8)
    message, failure = str(caught.value), caught.value.failure
    assert f"t = {failure.t:.10g}" in message
    assert f"{abs(failure.h):.3g}" in message
    assert f"{failure.attempted} attempted steps" in message
    assert "error.solution" in message and "Loosen rtol and atol" in message
    assert re.search(r"stiffness estimate [\d.]+e", message)


def test_solver_error_is_a_runtime_error() -> None:
    assert issubclass(nde.SolverError, RuntimeError)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("direction", [1.0, -1.0])
def test_field_that_stops_being_finite_half_way_ends_the_solve_there(value: float, direction: float) -> None:
    def field(t, y):
        return -direction * y if direction * float(t) < 0.5 else y * value

    solution = nde.solve_ode(field, double(1.0), (0.0, direction), throw=False)
    assert solution.status is nde.Status.NON_FINITE
    # the step that would cross the border is shortened until the time axis resolves no more
    assert solution.t1 == pytest.approx(direction * 0.5, abs=1e-12)
    assert float(solution.y1) == pytest.approx(math.exp(-0.5), rel=1e-3)  # default tolerance 1e-4


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("initial", [None, 0.1], ids=["automatic", "given"])
@each_adjoint
def test_field_that_is_not_finite_at_the_initial_time_is_reported_there(
    value: float, initial: float | None, adjoint
) -> None:
    counted = Counted(lambda t, y: y * value)
    controller = nde.IController(initial=initial)
    with pytest.raises(nde.SolverError, match=r"NaN or infinite at t = 0\.25") as caught:
        nde.solve_ode(counted, double(1.0), (0.25, 1.0), controller=controller, adjoint=adjoint)
    assert caught.value.status is nde.Status.NON_FINITE
    assert len(caught.value.solution.steps) == 0
    assert caught.value.solution.stats.n_field_evals == counted.calls
    assert caught.value.solution.y1.tolist() == [1.0]


def test_initial_state_that_is_not_finite_is_reported() -> None:
    with pytest.raises(nde.SolverError, match="NaN or infinite at t = 0"):
        nde.solve_ode(lambda t, y: -y, double(1.0, math.nan), (0.0, 1.0))


@pytest.mark.parametrize("controller", [nde.FixedStep(0.1), nde.StepTo()], ids=["fixed", "to outputs"])
@pytest.mark.parametrize("method", ["euler", "rk4", "tsit5"])
def test_fixed_steps_stop_at_the_first_state_that_is_not_finite(method: str, controller) -> None:
    times = [index / 10 for index in range(11)]
    solution = nde.solve_ode(nan_after(0.45), double(1.0), times, method=method, controller=controller, throw=False)
    assert solution.status is nde.Status.NON_FINITE
    # a step of a method with stages inside it breaks as soon as one of them lies beyond 0.45
    expected = 5 if method == "euler" else 4
    assert solution.t1 == pytest.approx(expected / 10, abs=1e-15)  # ends of steps are sums of a rounded 0.1
    assert solution.ys[: expected + 1].isfinite().all() and solution.ys[expected + 1 :].isnan().all()
    assert solution.failure.t == solution.t1
    assert solution.failure.h == pytest.approx(0.1, rel=1e-12)


def test_overflow_of_the_state_is_reported_for_fixed_steps() -> None:
    solution = nde.solve_ode(
        lambda t, y: y**3, torch.tensor([10.0]), (0.0, 10.0), method="euler", controller=nde.FixedStep(1.0), throw=False
    )
    assert solution.status is nde.Status.NON_FINITE


@each_adjoint
def test_limit_on_steps_ends_the_solve_with_what_was_reached(adjoint) -> None:
    with pytest.raises(nde.SolverError, match=r"max_steps = 5 steps.*Raise max_steps") as caught:
        nde.solve_ode(
            lambda t, y: torch.cos(20 * t) - y, double(1.0), (0.0, 10.0), rtol=1e-8, max_steps=5, adjoint=adjoint
        )
    error = caught.value
    assert error.status is nde.Status.MAX_STEPS
    assert error.solution.stats.n_steps == 5 == error.failure.attempted
    assert 0 < error.solution.t1 < 10


@pytest.mark.parametrize("needed", [10])
def test_a_solve_that_needs_exactly_the_limit_of_steps_succeeds(needed: int) -> None:
    options = {"controller": nde.FixedStep(1 / needed), "method": "rk4"}
    assert nde.solve_ode(lambda t, y: -y, double(1.0), (0.0, 1.0), max_steps=needed, **options).success
    less = nde.solve_ode(lambda t, y: -y, double(1.0), (0.0, 1.0), max_steps=needed - 1, throw=False, **options)
    assert less.status is nde.Status.MAX_STEPS
    assert less.t1 == pytest.approx(0.9, abs=1e-14)  # nine roundings of 0.1


def test_smallest_step_that_is_allowed_is_respected() -> None:
    options = {"rtol": 1e-8, "atol": 1e-8, "throw": False}
    solution = nde.solve_ode(blow_up, double(1.0), (0.0, 2.0), dt_min=1e-3, **options)
    assert solution.status is nde.Status.STEP_UNDERFLOW
    assert abs(solution.failure.h) < 1e-3
    assert float(solution.steps.h.min()) >= 1e-3
    assert solution.t1 < 0.99


@each_adjoint
def test_partial_solution_is_exact_where_it_came_and_nan_beyond(adjoint) -> None:
    times = double(0.0, 0.25, 0.5, 0.9, 1.1, 1.5)
    solution = nde.solve_ode(
        blow_up, double(1.0, 0.5), times, rtol=1e-9, atol=1e-9, throw=False, adjoint=adjoint, max_steps=5000
    )
    reached = times[:4]
    exact = torch.stack([1 / (1 - reached), 1 / (2 - reached)], 1)
    # the sensitivity 1 / (1 - t)^2 amplifies errors of 1e-9 a hundredfold until t = 0.9
    torch.testing.assert_close(solution.ys[:4], exact, rtol=1e-6, atol=0)
    assert solution.ys[4:].isnan().all()
    assert solution.ts is times or torch.equal(solution.ts, times)
    assert len(solution.steps.error) == len(solution.steps) == solution.stats.n_accepted
    assert solution.steps.t[-1] + solution.steps.h[-1] == pytest.approx(solution.t1, rel=1e-12)


@each_adjoint
def test_gradients_of_the_part_that_was_reached_still_flow(adjoint) -> None:
    y0 = double(1.0).requires_grad_()
    ts = double(0.0, 0.5, 1.5).requires_grad_()
    solution = nde.solve_ode(blow_up, y0, ts, rtol=1e-9, atol=1e-9, throw=False, adjoint=adjoint)
    by_state, by_times = torch.autograd.grad(solution.ys[1].sum(), [y0, ts])
    # y(t) = y0 / (1 - y0 t): the derivatives are 1 / (1 - t)^2 and y^2
    assert float(by_state) == pytest.approx(4.0, rel=1e-6)  # a small multiple of the tolerance
    assert by_times[1] == pytest.approx(4.0, rel=1e-5)  # of the interpolant, one order less
    assert float(by_times[2]) == 0


@each_adjoint
def test_gradients_of_a_solve_that_never_left_the_start_are_those_of_the_identity(adjoint) -> None:
    y0 = double(1.0, 2.0).requires_grad_()
    solution = nde.solve_ode(lambda t, y: y * math.nan, y0, (0.0, 1.0), throw=False, adjoint=adjoint)
    (gradient,) = torch.autograd.grad(solution.y1.sum() + solution.ys[0].sum(), y0)
    assert gradient.tolist() == [2.0, 2.0]
    assert solution.steps.error.shape == (0,)


@each_adjoint
def test_penalties_of_a_solve_without_steps_are_zero(adjoint) -> None:
    y0 = double(1.0).requires_grad_()
    solution = nde.solve_ode(lambda t, y: y * math.nan, y0, (0.0, 1.0), throw=False, adjoint=adjoint)
    for reduction in ("span", "sum", "mean"):
        assert nde.regularize.GlobalError(reduction=reduction)(solution).item() == 0
        assert nde.regularize.GlobalStiffness(reduction=reduction)(solution).item() == 0
    assert nde.regularize.GlobalStiffness(reduction="max")(solution).item() == 0
    assert nde.regularize.StepCount()(solution).item() == 0


@pytest.mark.parametrize("method", ["tsit5", "dopri8"])
def test_the_sample_that_blows_up_is_named(method: str) -> None:
    start = torch.full((6, 2), 0.1, dtype=torch.float64)
    start[4] = 1.0
    with pytest.raises(nde.SolverError, match=r"\(sample 4 of 6\)") as caught:
        nde.solve_ode(blow_up, start, (0.0, 2.0), method=method, rtol=1e-8, atol=1e-8)
    assert caught.value.failure.sample == 4 and caught.value.failure.samples == 6


@pytest.mark.parametrize("method", ["euler", "rk4", "tsit5"])
def test_the_sample_that_is_not_finite_is_named_for_fixed_steps(method: str) -> None:
    def field(t, y):
        return torch.where((torch.arange(5) == 3).unsqueeze(1) & (t > 0.35), torch.nan, -y)

    start = torch.ones(5, 2, dtype=torch.float64)
    with pytest.raises(nde.SolverError, match=r"\(sample 3 of 5\)"):
        nde.solve_ode(field, start, (0.0, 1.0), method=method, controller=nde.FixedStep(0.1))


def test_the_sample_that_is_not_finite_at_the_start_is_named() -> None:
    def field(t, y):
        return {name: torch.sqrt(value) for name, value in y.items()}

    start = {"a": torch.ones(4, 2), "b": torch.tensor([[1.0], [2.0], [-1.0], [3.0]])}
    with pytest.raises(nde.SolverError, match=r"\(sample 2 of 4\)"):
        nde.solve_ode(field, start, (0.0, 1.0))


def test_state_without_a_batch_axis_names_no_sample() -> None:
    with pytest.raises(nde.SolverError) as caught:
        nde.solve_ode(blow_up, double(1.0, 0.5), (0.0, 2.0))
    assert caught.value.failure.sample is None
    assert "sample" not in str(caught.value)


def test_status_and_failure_of_a_success() -> None:
    solution = nde.solve_ode(lambda t, y: -y, double(1.0), (0.0, 1.0))
    assert solution.success and solution.status is nde.Status.SUCCESS and solution.failure is None
    assert solution.t1 == 1.0


@each_adjoint
@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_interrupts_pass_through_unchanged(kind: type[BaseException], adjoint) -> None:
    def field(t, y):
        if float(t) > 0.2:
            raise kind
        return -y

    with pytest.raises(kind) as caught:
        nde.solve_ode(field, double(1.0).requires_grad_(), (0.0, 1.0), adjoint=adjoint)
    assert not getattr(caught.value, "__notes__", [])


@each_adjoint
def test_a_solve_after_one_that_failed_is_bitwise_the_same_as_before(adjoint) -> None:
    net = Net(size=3)
    y0 = double(0.3, -0.2, 0.9).requires_grad_()

    def run():
        solution = nde.solve_ode(net, y0, (0.0, 0.3, 1.0), adjoint=adjoint)
        loss = solution.ys.square().sum() + solution.steps.error.sum()
        return [loss.detach(), *torch.autograd.grad(loss, [y0, *net.parameters()])]

    def breaks(t, y):
        if float(t) > 0.1:
            raise ZeroDivisionError
        return -y

    before = run()
    for field in (breaks, nan_after(0.5)):
        with pytest.raises((ZeroDivisionError, nde.SolverError)):
            nde.solve_ode(field, y0, (0.0, 1.0), adjoint=adjoint)
    for one, two in zip(before, run(), strict=True):
        assert torch.equal(one, two)


@each_adjoint
def test_autocast_lets_the_field_return_half_precision_and_keeps_the_state(adjoint) -> None:
    net = torch.nn.Linear(3, 3)
    y0 = torch.tensor([[0.5, -0.3, 0.8]], requires_grad=True)
    field = lambda t, y: torch.tanh(net(y))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert field(0.0, y0).dtype is torch.bfloat16
        solution = nde.solve_ode(field, y0, (0.0, 1.0), method="rk4", controller=nde.FixedStep(0.25), adjoint=adjoint)
    assert solution.y1.dtype is torch.float32
    by_state, by_weight = torch.autograd.grad(solution.y1.square().sum(), [y0, net.weight])
    plain = nde.solve_ode(field, y0, (0.0, 1.0), method="rk4", controller=nde.FixedStep(0.25), adjoint=adjoint)
    expected = torch.autograd.grad(plain.y1.square().sum(), [y0, net.weight])
    # bfloat16 has 8 bits: 4e-3 per evaluation, of slopes and states of order one
    torch.testing.assert_close(solution.y1, plain.y1, rtol=0, atol=0.02)
    assert not torch.equal(solution.y1, plain.y1)
    torch.testing.assert_close((by_state, by_weight), expected, rtol=0, atol=0.05)


def test_gradients_under_autocast_agree_between_the_adjoints() -> None:
    net = torch.nn.Linear(3, 3)
    y0 = torch.tensor([[0.5, -0.3, 0.8]], requires_grad=True)
    found = []
    for adjoint in ADJOINTS.values():
        with torch.autocast("cpu", dtype=torch.bfloat16):
            solution = nde.solve_ode(
                lambda t, y: torch.tanh(net(y)),
                y0,
                (0.0, 1.0),
                method="rk4",
                controller=nde.FixedStep(0.25),
                adjoint=adjoint,
            )
        # outside of autocast: the replay has to evaluate the field as the solve did
        found.append(torch.autograd.grad(solution.y1.square().sum(), [y0, net.weight]))
    # both round the same products to bfloat16; sums of cotangents are made in another order, by bfloat16 in one case
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], rtol=0, atol=0.01)
