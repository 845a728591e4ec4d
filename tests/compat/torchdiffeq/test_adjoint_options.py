"""The backward solve of `odeint_adjoint` reads the norms, grids and options that torchdiffeq's users give it."""

import copy

import pytest
import torch

from nde.compat.torchdiffeq import odeint, odeint_adjoint
from tests.problems import double


class Spring(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.stiffness = torch.nn.Parameter(double(2.0, 0.5))
        self.damping = torch.nn.Parameter(double(0.1)[0])
        self.times = []

    def forward(self, t, y):
        self.times.append(float(t))
        return torch.stack([y[1], -(self.stiffness * y).sum() - self.damping * y[1] * torch.cos(t)])


class Pair(Spring):
    """The same with its state in two parts."""

    def forward(self, t, y):
        slope = super().forward(t, torch.stack([y[0], y[1][0]]))
        return slope[0], slope[1:]


Y0, T = double(1.0, -0.5), double(0.0, 0.7, 1.5)


def rms(value):
    return value.square().mean().sqrt()


def nodes_options(states):
    """Return the options from where torchdiffeq's users reach into the graph."""
    if isinstance(states, tuple):
        return states[0].grad_fn.next_functions[0][0].next_functions[0][0].adjoint_options
    return states.grad_fn.adjoint_options


@pytest.mark.parametrize("choice", [{}, {"adjoint_options": {}}, {"adjoint_options": {"norm": "seminorm"}}])
@pytest.mark.parametrize("model", [Spring, Pair])
def test_the_norm_in_the_graph_is_torchdiffeqs_and_can_be_exchanged(choice, model):
    field = model()
    y0 = Y0 if model is Spring else (Y0[0], Y0[1:])
    states = odeint_adjoint(field, y0, T, **choice)
    options = nodes_options(states)
    default, seen = options["norm"], []

    def spy(parts):
        t, y, cotangent, stiffness, damping = parts
        expected = [t.abs()]
        for state in (y, cotangent):
            expected += [rms(state)] if model is Spring else [state[0].abs(), rms(state[1:])]
        if choice.get("adjoint_options", {}).get("norm") != "seminorm":
            expected += [rms(stiffness), damping.abs()]
        assert (y.shape, stiffness.shape, damping.shape) == ((2,), (2,), ())
        torch.testing.assert_close(default(parts), torch.stack(expected).max(), rtol=1e-12, atol=0)
        seen.append(1)
        return default(parts)

    options["norm"] = spy
    last = states[-1] if model is Spring else states[0][-1]
    found = torch.autograd.grad(last.sum(), list(field.parameters()))
    assert seen
    other = model()
    states = odeint_adjoint(other, y0, T, **choice)
    last = states[-1] if model is Spring else states[0][-1]
    torch.testing.assert_close(found, torch.autograd.grad(last.sum(), list(other.parameters())), rtol=0, atol=0)
    assert other.times == field.times


@pytest.mark.parametrize("params", [None, "reversed", "outside"])
def test_a_norm_receives_the_adjoint_parameters_in_their_order(params):
    field = Spring()
    shapes = []

    def norm(parts):
        shapes.append([tuple(part.shape) for part in parts])
        return max(part.abs().max() for part in parts)

    given = {
        None: None,
        "reversed": (field.damping, field.stiffness),
        "outside": (field.stiffness, torch.zeros(3, requires_grad=True)),
    }[params]
    states = odeint_adjoint(field, Y0, T, adjoint_options={"norm": norm}, adjoint_params=given)
    states[-1].sum().backward()
    expected = {None: [(2,), ()], "reversed": [(), (2,)], "outside": [(2,), (3,)]}[params]
    assert shapes[0] == [(), (2,), (2,), *expected]
    assert field.damping.grad is not None
    if params == "outside":
        torch.testing.assert_close(given[1].grad, torch.zeros(3))


def test_a_norm_of_a_tuple_receives_the_parts_of_states_one_by_one():
    shapes = []

    def norm(parts):
        shapes.append([tuple(part.shape) for part in parts])
        return max(part.abs().max() for part in parts)

    states = odeint_adjoint(Pair(), (Y0[0], Y0[1:]), T, adjoint_options={"norm": norm})
    states[0][-1].backward()
    assert shapes[0] == [(), (), (1,), (), (1,), (2,), ()]


def test_the_norm_of_the_forward_solve_is_that_of_states_in_the_backward_solve():
    evaluations = []
    for factor in (1.0, 1e4):
        field = Spring()
        options = {"norm": lambda y, factor=factor: factor * rms(y)}
        states = odeint_adjoint(field, Y0, T, method="dopri5", options=options)
        before = len(field.times)
        states[-1].sum().backward()
        evaluations.append(len(field.times) - before)
    assert evaluations[1] > 2 * evaluations[0]


def test_a_parameter_without_gradient_is_left_out_of_a_norm_with_a_warning():
    field = Spring()
    field.damping.requires_grad_(False)
    with pytest.warns(UserWarning, match="without requiring gradient"):
        states = odeint_adjoint(field, Y0, T, adjoint_options={"norm": lambda parts: max(map(rms, parts))})
    states.sum().backward()
    assert field.stiffness.grad is not None and field.damping.grad is None


def test_a_grid_of_the_backward_solve_is_asked_for_between_every_two_outputs():
    asked = []

    def grid(func, y0, t):
        asked.append(t.tolist())
        return torch.linspace(float(t[0]), float(t[-1]), 41, dtype=t.dtype)

    field, other = Spring(), Spring()
    options = {"grid_constructor": grid}
    states = odeint_adjoint(field, Y0, T, method="rk4", options={"step_size": 0.02}, adjoint_options=options)
    assert asked == []
    before = len(field.times)
    states[-1].sum().backward()
    assert asked == [[1.5, 0.7], [0.7, 0.0]]
    assert len(field.times) - before == 2 * 40 * 4
    odeint(other, Y0, T).select(0, -1).sum().backward()
    torch.testing.assert_close(field.stiffness.grad, other.stiffness.grad, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", ["step_t", "jump_t"])
def test_forced_times_of_the_backward_solve_alone_are_respected_by_exact_gradients(name):
    field, other = Spring(), Spring()
    options = {name: double(0.4)}
    states = odeint_adjoint(field, Y0, T, method="dopri5", options={}, adjoint_options=options)
    states[-1].sum().backward()
    odeint(other, Y0, T).select(0, -1).sum().backward()
    torch.testing.assert_close(field.stiffness.grad, other.stiffness.grad, rtol=1e-6, atol=1e-7)


def test_states_can_be_changed_in_place_and_the_users_options_stay_as_they_are():
    field, given = Spring(), {"norm": "seminorm"}
    before = copy.deepcopy(given)
    states = odeint_adjoint(field, Y0, T, adjoint_options=given)
    states.mul_(2)
    states[-1] += 1
    states.sum().backward()
    other = Spring()
    (2 * odeint_adjoint(other, Y0, T, adjoint_options=given)).sum().backward()
    torch.testing.assert_close(field.stiffness.grad, other.stiffness.grad, rtol=0, atol=0)
    assert given == before


def test_a_norm_that_is_no_norm_is_refused():
    with pytest.raises(ValueError, match="seminorm"):
        odeint_adjoint(Spring(), Y0, T, adjoint_options={"norm": "quadratic"})


def test_the_only_time_returns_the_initial_state_with_its_gradient():
    y0 = Y0.clone().requires_grad_()
    states = odeint_adjoint(Spring(), y0, T[:1])
    states.sum().backward()
    torch.testing.assert_close(y0.grad, torch.ones_like(Y0))


def test_adams_methods_take_their_order_and_iterations():
    for method, fewest in (("explicit_adams", 1), ("implicit_adams", 2)):
        counts, errors = [], []
        for order in (2, 6):
            field = Spring()
            options = {"step_size": 0.02, "max_order": order}
            if method == "implicit_adams":
                options["max_iters"] = 1
            found = odeint(field, Y0, double(0.0, 1.0), method=method, options=options)
            counts.append(len(field.times))
            errors.append(float((found - odeint(Spring(), Y0, double(0.0, 1.0))).detach()[-1].abs().max()))
        assert errors[1] < errors[0] / 50
        assert counts[0] < (fewest + 1) * 51 + 12
