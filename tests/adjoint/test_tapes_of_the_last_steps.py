"""Keeping the tapes of the last steps changes the cost of a backward pass, and nothing else."""

import pytest
import torch

import nde
from nde.adjoint import DiscreteAdjoint

MEMORIES = (0, 3_000, 10_000, 30_000, 10**8)


class Field(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3)).double()

    def forward(self, t, y):
        return 4 * self.net(torch.cat([y, t.expand(len(y), 1)], 1))


@pytest.fixture
def problem():
    torch.manual_seed(0)
    return Field(), torch.randn(5, 3, dtype=torch.float64, requires_grad=True)


def solve(problem, adjoint, ts=(0.0, 0.3, 1.0), **options):
    field, y0 = problem
    return nde.solve_ode(field, y0, ts, rtol=1e-6, atol=1e-6, adjoint=adjoint, **options)


def loss_of(sol):
    loss = sol.ys.square().sum()
    if sol.steps.error is not None:
        loss = loss + sol.steps.error.square().sum()
    return loss if sol.steps.stiffness is None else loss + sol.steps.stiffness.sum()


def gradient(problem, sol, **options):
    field, y0 = problem
    return torch.autograd.grad(loss_of(sol), [y0, *field.parameters()], **options)


@pytest.mark.parametrize("memory", MEMORIES)
@pytest.mark.parametrize("method", ["tsit5", "dopri5", "bosh3", "heun", "rk4"])
def test_any_tape_memory_gives_the_direct_gradient(problem, method, memory):
    options = {"method": method}
    if nde.solvers.find_method(method).error_order is None:
        options["controller"] = nde.FixedStep(0.07)
    wanted = gradient(problem, solve(problem, "direct", **options))
    found = gradient(problem, solve(problem, DiscreteAdjoint(memory), **options))
    for want, have in zip(wanted, found, strict=True):
        # the same operations in another order: a few hundred roundings of numbers up to 1e3 times the gradient
        torch.testing.assert_close(have, want, rtol=1e-10, atol=1e-10 * float(want.abs().max()))


def test_enough_memory_spares_every_replay_and_none_replays_what_the_steps_evaluated(problem):
    counts = []
    for memory in MEMORIES:
        sol = solve(problem, DiscreteAdjoint(memory))
        gradient(problem, sol)
        counts.append(sol.stats.n_backward_field_evals)
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] == 0
    assert counts[0] == 6 * sol.stats.n_accepted + 1
    assert 0 < counts[2] < counts[0]


def test_a_second_backward_pass_replays_and_gives_the_same_gradient(problem):
    sol = solve(problem, DiscreteAdjoint())
    first = gradient(problem, sol, retain_graph=True)
    assert sol.stats.n_backward_field_evals == 0
    second = gradient(problem, sol)
    assert sol.stats.n_backward_field_evals > 0
    for want, have in zip(first, second, strict=True):
        torch.testing.assert_close(have, want, rtol=1e-12, atol=1e-12)


def test_tapes_serve_gradients_of_times_too(problem):
    grads = []
    for adjoint in ("direct", DiscreteAdjoint(0), DiscreteAdjoint(20_000), DiscreteAdjoint()):
        ts = torch.tensor([0.1, 0.35, 0.9], dtype=torch.float64, requires_grad=True)
        grads.append(torch.autograd.grad(loss_of(solve(problem, adjoint, ts=ts)), ts)[0])
    for grad in grads[1:]:
        torch.testing.assert_close(grad, grads[0], rtol=1e-9, atol=1e-9)


def test_rejected_attempts_leave_no_tape_behind(problem):
    controller = nde.PIDController(initial=1.0, safety=0.99)
    wanted = gradient(problem, solve(problem, "direct", controller=controller))
    sol = solve(problem, DiscreteAdjoint(), controller=controller)
    assert sol.stats.n_rejected > 0
    for want, have in zip(wanted, gradient(problem, sol), strict=True):
        torch.testing.assert_close(have, want, rtol=1e-10, atol=1e-10 * float(want.abs().max()))


def test_changing_a_parameter_before_the_backward_pass_is_an_error(problem):
    field, _ = problem
    sol = solve(problem, DiscreteAdjoint())
    loss = loss_of(sol)
    with torch.no_grad():
        field.net[0].weight.add_(1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_negative_tape_memory_is_refused():
    with pytest.raises(ValueError, match="tape_memory must be zero or positive"):
        DiscreteAdjoint(-1)


def test_tapes_of_a_field_that_takes_forward_derivatives_are_kept_too():
    torch.manual_seed(0)
    weight = torch.randn(3, 3, dtype=torch.float64, requires_grad=True)
    y0 = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)

    def field(t, y):
        # the derivative is linear in y, so that its own tape holds zeros without memory
        return torch.func.jvp(lambda y: torch.tanh(y @ weight + t) + y, (y,), (torch.ones_like(y),))[1]

    grads = []
    for adjoint in ("direct", DiscreteAdjoint()):
        sol = nde.solve_ode(field, y0, (0.0, 1.0), adjoint=adjoint)
        grads.append(torch.autograd.grad(sol.y1.square().sum(), [y0, weight]))
    assert sol.stats.n_backward_field_evals == 0
    for want, have in zip(*grads, strict=True):
        torch.testing.assert_close(have, want, rtol=1e-10, atol=1e-10)
