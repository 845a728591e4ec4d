"""Code written for torchdiffeq finds the shapes, defaults, errors and gradients that it expects."""

import math
import sys

import pytest
import torch

import nde
from nde.compat import torchdiffeq as ours
from nde.compat.torchdiffeq import odeint, odeint_adjoint, odeint_dense, odeint_event
from tests.problems import double

ADAPTIVE = ["dopri8", "dopri5", "tsit5", "bosh3", "fehlberg2", "adaptive_heun"]
FIXED = [name for name, method in ours.SOLVERS.items() if not method.adaptive]


class Counted:
    def __init__(self, field):
        self.field = field
        self.calls = 0

    def __call__(self, t, y):
        self.calls += 1
        return self.field(t, y)


class Pendulum(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.strength = torch.nn.Parameter(torch.tensor(1.3, dtype=torch.float64))

    def forward(self, t, y):
        return torch.stack([y[..., 1], -self.strength * torch.sin(y[..., 0]) + 0.1 * torch.cos(t)], -1)


def reference(y0, t, field):
    return nde.solve_ode(field, y0, t, method="dopri8", rtol=1e-12, atol=1e-12, adjoint="direct").ys


@pytest.mark.parametrize("method", ADAPTIVE + FIXED)
@pytest.mark.parametrize("times", [(0.0, 0.4, 1.0), (1.0, 0.3, -0.2)], ids=["up", "down"])
def test_every_method_solves_and_differentiates(method, times) -> None:
    field, t = Pendulum(), double(*times).requires_grad_()
    y0 = double([0.5, 0.1], [1.0, -0.3]).requires_grad_()
    options = {"step_size": 0.01} if method in FIXED else None
    # the dense output of the implicit midpoint rule is linear, so that derivatives by output times are of order 1
    tolerance = {"euler": 2e-2, "implicit_euler": 2e-2, "implicit_midpoint": 2e-3}.get(method, 2e-4)
    looser = {"rtol": 1e-6, "atol": 1e-6} if method in ("fehlberg2", "adaptive_heun") else {}
    ys = odeint(field, y0, t, method=method, options=options, **looser)
    assert ys.shape == (3, 2, 2)
    torch.testing.assert_close(ys[0], y0, rtol=0, atol=0)
    expected = reference(y0, t, field)
    torch.testing.assert_close(ys, expected, rtol=tolerance, atol=tolerance)
    inputs = (y0, t, field.strength)
    found = torch.autograd.grad(ys[1:].sum(), inputs)
    wanted = torch.autograd.grad(expected[1:].sum(), inputs)
    torch.testing.assert_close(found, wanted, rtol=10 * tolerance, atol=10 * tolerance)


@pytest.mark.parametrize("options", [{}, {"norm": "seminorm"}])
def test_the_adjoint_has_the_gradients_of_the_direct_solve(options) -> None:
    field, t = Pendulum(), double(0.0, 0.4, 1.0).requires_grad_()
    y0 = double([0.5, 0.1], [1.0, -0.3]).requires_grad_()
    inputs = (y0, t, field.strength)
    direct = torch.autograd.grad(odeint(field, y0, t).square().sum(), inputs)
    adjoint = torch.autograd.grad(odeint_adjoint(field, y0, t, adjoint_options=options).square().sum(), inputs)
    torch.testing.assert_close(adjoint, direct, rtol=1e-5, atol=1e-5)


def test_tuples_of_states_and_tolerances() -> None:
    y0 = (double(1.0), double([2.0, 3.0]))
    t = double(0.0, 1.0)
    a, b = odeint(lambda t, y: (-y[0], -2 * y[1]), y0, t, rtol=(1e-8, 1e-7), atol=(1e-9, 1e-9))
    torch.testing.assert_close(a[-1], y0[0] * math.exp(-1), rtol=1e-6, atol=0)
    torch.testing.assert_close(b[-1], y0[1] * math.exp(-2), rtol=1e-5, atol=0)
    with pytest.raises(AssertionError, match="same length"):
        odeint(lambda t, y: y, y0, t, rtol=(1e-8,))


@pytest.mark.parametrize("interface", [odeint, odeint_adjoint])
@pytest.mark.parametrize("reverse", [False, True])
def test_an_event_ends_the_solve_and_its_time_is_differentiable(interface, reverse) -> None:
    class Falling(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.gravity = torch.nn.Parameter(torch.tensor(9.81, dtype=torch.float64))

        def forward(self, t, y):
            return torch.stack([y[1], -self.gravity])

    field = Falling()
    drop = double(10.0)[0].requires_grad_()
    time, states = odeint_event(
        field,
        torch.stack([drop, torch.zeros_like(drop)]),
        double(0.0)[0],
        event_fn=lambda t, y: y[0],
        reverse_time=reverse,
        odeint_interface=interface,
    )
    expected = (2 * drop / field.gravity).sqrt() * (-1 if reverse else 1)
    torch.testing.assert_close(time, expected, rtol=1e-8, atol=0)
    assert states.shape == (2, 2)
    assert abs(float(states[-1, 0].detach())) < 1e-9
    found = torch.autograd.grad(time, (drop, field.gravity))
    torch.testing.assert_close(found, torch.autograd.grad(expected, (drop, field.gravity)), rtol=1e-6, atol=0)


def test_the_dense_solution_is_a_function_of_time() -> None:
    solution = odeint_dense(lambda t, y: -y, double(1.0), double(0.0)[0], double(2.0)[0])
    for time in (0.0, 0.31, 2.0):
        torch.testing.assert_close(solution(double(time)[0]), double(math.exp(-time)), rtol=1e-6, atol=0)


def test_options_do_what_they_say() -> None:
    calls = []

    def field(t, y):
        calls.append(float(t))
        return torch.cos(t) * y

    y0, t = double(1.0), double(0.0, 1.0)
    odeint(field, y0, t, method="euler", options={"step_size": 0.25})
    assert calls[:4] == [0.0, 0.25, 0.5, 0.75]
    calls.clear()
    odeint(field, y0, t, method="euler", options={"grid_constructor": lambda func, y0, t: double(0.0, 0.1, 1.0)})
    assert calls[:2] == [0.0, 0.1]
    calls.clear()
    odeint(field, y0, t, method="dopri5", options={"first_step": 0.125, "max_step": 0.125})
    assert 6 * 8 <= len(calls) <= 6 * 8 + 2
    calls.clear()
    odeint(field, y0, t, method="rk4", options={"step_size": 0.5, "perturb": True})
    assert 0.5 not in calls
    with pytest.warns(UserWarning, match=r"Dopri5Solver: Unexpected arguments \{'speed': 3\}"):
        odeint(field, y0, t, method="dopri5", options={"speed": 3})
    with pytest.raises(ValueError, match="mutually exclusive"):
        odeint(field, y0, t, method="rk4", options={"step_size": 0.1, "grid_constructor": lambda *_: t})
    with pytest.raises(ValueError, match="repeated"):
        odeint(field, y0, t, method="dopri5", options={"step_t": double(0.5), "jump_t": double(0.5)})


def test_steps_of_the_smallest_size_are_accepted() -> None:
    def field(t, y):
        return 30 * torch.cos(30 * t) + 0 * y

    y0, t = double(0.0), double(0.0, 1.0)
    count = []
    for smallest in (0.0, 0.1):
        solution = Counted(field)
        odeint(solution, y0, t, method="dopri5", options={"min_step": smallest})
        count.append(solution.calls)
    assert count[1] < 80 < count[0]


def test_wrong_input_raises_what_torchdiffeq_raises() -> None:
    def field(t, y):
        return -y

    y0, t = double(1.0), double(0.0, 1.0)
    with pytest.raises(ValueError, match='Invalid method "dopri6"'):
        odeint(field, y0, t, method="dopri6")
    with pytest.raises(AssertionError, match="strictly"):
        odeint(field, y0, double(0.0, 0.0))
    with pytest.raises(TypeError, match="`t`"):
        odeint(field, y0, torch.tensor([0, 1]))
    with pytest.raises(TypeError, match="`y0`"):
        odeint(field, torch.tensor([1]), t)
    with pytest.raises(ValueError, match=r"nn\.Module"):
        odeint_adjoint(field, y0, t)
    with pytest.raises(ValueError, match="adjoint_options"):
        odeint_adjoint(
            field, y0, t, method="rk4", options={"step_size": 0.1}, adjoint_method="dopri5", adjoint_params=()
        )
    assert odeint(field, y0, t[:1]).shape == (1, 1)


@pytest.mark.parametrize(
    ("given", "kind", "message"),
    [
        ({"func": None}, TypeError, "func must be callable"),
        ({"t": double()}, AssertionError, "t must hold at least one time"),
        ({"t": torch.empty(2, device="meta")}, ValueError, "t is on the meta device"),
        ({"y0": torch.empty(2, device="meta")}, ValueError, "y0 is on the meta device"),
        ({"options": [0.1]}, TypeError, r"options must be a dict.*\[0\.1\]"),
        ({"options": {"first_step": "small"}}, TypeError, r"options\['first_step'\] must be a number.*'small'"),
        ({"options": {"step_size": "small"}, "method": "rk4"}, TypeError, r"options\['step_size'\].*'small'"),
        ({"options": {"step_size": -0.1}, "method": "rk4"}, ValueError, r"options\['step_size'\].*-0\.1"),
        ({"rtol": "small"}, TypeError, "rtol must be a number.*'small'"),
    ],
)
def test_wrong_input_is_named_as_torchdiffeqs_users_know_it(given, kind, message: str) -> None:
    arguments = {"func": lambda t, y: -y, "y0": double(1.0), "t": double(0.0, 1.0), **given}
    with pytest.raises(kind, match=message):
        odeint(**arguments)


def test_an_event_may_be_searched_from_a_time_that_is_a_number() -> None:
    found, _ = odeint_event(lambda t, y: torch.ones_like(y), double(0.0), 0.5, event_fn=lambda t, y: y - 1)
    assert float(found) == pytest.approx(1.5, abs=1e-6)  # of float32, as torch makes of a number


def test_failures_are_assertion_errors_that_hold_the_partial_solution() -> None:
    y0 = double(1.0)
    with pytest.raises(AssertionError, match="underflow in dt") as caught:
        odeint(lambda t, y: y.square(), y0, double(0.0, 0.5, 2.0))
    assert isinstance(caught.value, nde.SolverError)
    torch.testing.assert_close(caught.value.solution.ys[1], double(2.0), rtol=1e-6, atol=0)
    with pytest.raises(AssertionError, match="max_num_steps exceeded"):
        odeint(lambda t, y: -y, y0, double(0.0, 9.0), method="dopri5", options={"max_num_steps": 3})
    with pytest.raises(AssertionError, match="non-finite values in state"):
        odeint(lambda t, y: y * math.nan, y0, double(0.0, 1.0))


def test_the_states_are_those_of_torchdiffeq() -> None:
    theirs = pytest.importorskip("torchdiffeq")
    field, y0, t = Pendulum(), double([0.5, 0.1], [1.0, -0.3]), torch.linspace(0, 3, 7, dtype=torch.float64)
    for method in ("dopri5", "bosh3", "dopri8"):
        torch.testing.assert_close(
            # between the ends of steps each has a dense output of its own
            odeint(field, y0, t, method=method),
            theirs.odeint(field, y0, t, method=method),
            rtol=1e-4,
            atol=1e-5,
        )
    for method in ("euler", "midpoint", "rk4"):
        torch.testing.assert_close(
            odeint(field, y0, t, method=method), theirs.odeint(field, y0, t, method=method), rtol=1e-12, atol=1e-12
        )
    assert "torchdiffeq" in sys.modules
