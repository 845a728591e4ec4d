"""A recording tells the truth: its counts are those of counters in the user's code, its times those of the wall clock.

On the digits demonstration, on latent ODEs, on code written for torchdiffeq and torchsde, and on a stiff system.
"""

import time

import pytest
import torch
from torch import nn

import nde
import nde.profile
from tests.problems import Counted, double
from tests.profile.truth_cases import CASES, Tally, stiff

SHARE = 0.05  # of the wall clock, within which times must agree


def counted(solves, phase, what="field"):
    return sum(getattr(getattr(solve, phase), what) for solve in solves)


@pytest.mark.parametrize("name", CASES)
def test_calls_are_those_that_the_field_counted_in_every_iteration(name):
    case = CASES[name]()
    with nde.profile.record(case.model) as cost:
        case.train(2)
    assert cost.iterations == 2
    for iteration, hand in enumerate(case.tally.calls):
        solves = [solve for solve in cost.solves if solve.iteration == iteration]
        for what in ("field", "diffusion"):
            mine = {phase: sum(hand[phase, one] for one in _names(what)) for phase in ("forward", "backward")}
            assert counted(solves, "forward", what) == mine["forward"] - case.opening.get(what, 0)
            assert counted(solves, "backward", what) == mine["backward"]
        assert not counted(solves, "retaken")


def _names(what):
    return ("field", "dynamics", "between") if what == "field" else (what,)


@pytest.mark.parametrize("name", CASES)
def test_parts_of_the_time_add_up_to_the_wall_clock_in_all_in_each_iteration_and_over_the_fields(name):
    case, walls = CASES[name](), []
    with nde.profile.record(case.model) as cost:
        start = time.perf_counter()

        def next_one():
            nonlocal start
            cost.iteration()
            walls.append(time.perf_counter() - start)
            start = time.perf_counter()

        whole = case.train(2, next_one)
    times = cost.times()
    assert _sum(times) == pytest.approx(whole, rel=SHARE)
    assert min(times.field, times.solver, times.backward) > 0 and times.elsewhere >= 0
    for iteration, wall in enumerate(walls):
        assert _sum(cost.times(iteration)) == pytest.approx(wall, rel=SHARE)
    # raw intervals: nothing is counted twice, or left out to make the sum come out
    raw = sum(solve.seconds + solve.backward_seconds for solve in cost.solves if not solve.depth)
    assert raw <= whole * (1 + SHARE)
    by_field = [cost.times(label=label) for label in {solve.label for solve in cost.solves}]
    inside = sum(one.field + one.solver + one.backward for one in by_field)
    assert inside + times.elsewhere == pytest.approx(whole, rel=SHARE)


def _sum(times):
    return times.field + times.solver + times.backward + times.elsewhere


class _Slow(torch.autograd.Function):
    """Passes on what it gets, and takes its time in both directions."""

    @staticmethod
    def forward(ctx, y, tally):
        ctx.tally = tally
        return _Slow.waited(y, tally, "field")

    @staticmethod
    def backward(ctx, gradient):
        return _Slow.waited(gradient, ctx.tally, "backward"), None

    @staticmethod
    def waited(value, tally, what):
        start = time.perf_counter()
        time.sleep(1e-3)
        tally.seconds[what] += time.perf_counter() - start
        return value.clone()


@pytest.mark.parametrize("adjoint", ["direct", "discrete", "reversible"])
def test_each_part_of_the_time_is_what_a_stopwatch_in_the_users_code_says(adjoint):
    tally = Tally()
    options = {"adjoint": adjoint, "controller": nde.FixedStep(0.25)}
    options["method"] = "reversible_heun" if adjoint == "reversible" else "midpoint"
    first, second = (nde.NeuralODE(lambda t, y: -_Slow.apply(y, tally), **options) for _ in range(2))
    weight = nn.Parameter(torch.ones(2))
    second(first(weight * torch.ones(3, 2)).y1).y1.sum().backward()  # what the first pass of all sets up is no part
    tally.seconds.clear()
    with nde.profile.record() as cost:
        start = time.perf_counter()
        for _ in range(2):
            loss = second(first(weight * torch.ones(3, 2)).y1).y1.sum()
            _Slow.waited(loss, tally, "elsewhere")
            before = tally.seconds["field"]
            since = time.perf_counter()
            loss.backward()
            tally.seconds["backward pass"] += time.perf_counter() - since
            # calls that backward passes make again are no part of the forward solves
            tally.seconds["again"] += tally.seconds["field"] - before
        whole = time.perf_counter() - start
    times, margin = cost.times(), SHARE * whole
    assert times.field == pytest.approx(tally.seconds["field"] - tally.seconds["again"], abs=margin)
    assert times.elsewhere > tally.seconds["elsewhere"] - margin
    assert times.backward == pytest.approx(tally.seconds["backward pass"], abs=margin)
    assert tally.seconds["backward"] > 0.2 * whole
    # two solves of the same work, one behind the other on the tape: neither has the time of both
    parts = [sum(solve.backward_seconds for solve in cost.solves[place::2]) for place in (0, 1)]
    assert max(parts) < 0.7 * sum(parts)


@pytest.mark.parametrize("adjoint", ["direct", "discrete", "backsolve"])
def test_solves_inside_of_a_field_are_counted_once_in_the_time_and_belong_to_its_iteration(adjoint):
    inner = nn.Linear(2, 2)
    # the call in which the outer solve evaluates again in its backward pass solves again, too
    outer = nde.NeuralODE(
        lambda t, y: nde.solve_ode(lambda t, y: -inner(y), y, (0.0, 0.1), adjoint=adjoint, rtol=1e-2).y1,
        adjoint=adjoint,
        rtol=1e-2,
        atol=1e-2,
    )
    start = time.perf_counter()
    with nde.profile.record() as cost:
        for _ in range(2):
            outer(torch.ones(3, 2, requires_grad=True)).y1.sum().backward()
    whole = time.perf_counter() - start
    assert _sum(cost.times()) == pytest.approx(whole, rel=SHARE) and cost.times().elsewhere > 0
    outermost = [solve for solve in cost.solves if solve.adjoint == adjoint and solve.span == (0.0, 1.0)]
    assert cost.iterations == 2 and [solve.iteration for solve in outermost] == [0, 1]


@pytest.mark.parametrize("name", ["torchdiffeq, odeint", "torchdiffeq, odeint_adjoint"])
def test_steps_are_those_that_torchdiffeqs_callbacks_were_told_of(name):
    case = CASES[name]()
    with nde.profile.record() as cost:
        case.train(2)
    for what in ("accepted", "rejected"):
        assert sum(getattr(solve, what) for solve in cost.solves) == case.tally.total("forward", what)
    assert case.tally.total("forward", "accepted") > 10
    steps = [solve.steps.columns()["accepted"] for solve in cost.solves]
    assert sum(int((~taken).sum()) for taken in steps) == case.tally.total("forward", "rejected")


def test_steps_are_those_that_the_controller_decided():
    decided = {True: 0, False: 0}

    class Counting(nde.IController):
        def begin(self, error_order):
            state = super().begin(error_order)
            decide = state.decide

            def counted(h, ratio):
                decision = decide(h, ratio)
                decided[decision.accept] += 1
                return decision

            state.decide = counted
            return state

    def van_der_pol(t, y):
        return torch.stack([y[..., 1], 20 * (1 - y[..., 0] ** 2) * y[..., 1] - y[..., 0]], -1)

    with nde.profile.record() as cost:
        nde.solve_ode(van_der_pol, torch.tensor([2.0, 0.0]).double(), (0.0, 40.0), controller=Counting())
    (solve,) = cost.solves
    assert (solve.accepted, solve.rejected) == (decided[True], decided[False]) and decided[False] > 10


def test_newton_iterations_are_the_linear_systems_that_were_solved_and_the_evaluations_of_its_residuals(monkeypatch):
    solved = 0
    original = torch.linalg.lu_solve

    def counting(*args, **options):
        nonlocal solved
        solved += 1
        return original(*args, **options)

    monkeypatch.setattr(torch.linalg, "lu_solve", counting)
    case = stiff("discrete")
    with nde.profile.record() as cost, torch.no_grad():
        case.loss()
    (solve,) = cost.solves
    assert solve.newton_iterations == solved > solve.accepted == 10
    field, solved = Counted(lambda t, y: -500 * (y - torch.cos(t)) + y**2 / 10), 0
    with nde.profile.record() as cost:
        nde.solve_ode(field, double(0.0, 1.0), (0.0, 1.0), method="radau_iia5", controller=nde.FixedStep(0.1))
    (solve,) = cost.solves
    assert solve.newton_iterations == solved > solve.accepted == 10
    # each step linearises the field once, and each iteration evaluates its three stages
    assert field.calls == solve.forward.field == 10 + 3 * solved
