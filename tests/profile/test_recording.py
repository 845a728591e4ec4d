"""A recording counts what was called, accounts for all of the time, and changes nothing about a solve."""

import math
import threading

import numpy
import pytest
import torch
from torch import nn

import nde
import nde.profile
from nde.regularize import GlobalError, LocalError
from tests.problems import Net, double

ADJOINTS = ("discrete", "direct", "backsolve")


class Counted(nn.Module):
    """A field that counts its own calls."""

    def __init__(self, size: int = 3) -> None:
        super().__init__()
        self.net = Net(size=size)
        self.calls = 0

    def forward(self, t, y):
        self.calls += 1
        return self.net(t, y)


def batch(rows: int = 6) -> torch.Tensor:
    return torch.linspace(-1, 1, 3 * rows, dtype=torch.float64).reshape(rows, 3)


@pytest.mark.parametrize("per_sample", [False, True])
@pytest.mark.parametrize("adjoint", ADJOINTS)
def test_counts_are_those_of_a_counter_in_the_field(adjoint, per_sample):
    field = Counted()
    layer = nde.NeuralODE(field, adjoint=adjoint, per_sample=per_sample, rtol=1e-6, atol=1e-8)
    with nde.profile.record() as cost:
        for _ in range(2):
            before = field.calls
            output = layer(batch())
            forward = field.calls - before
            output.y1.square().mean().backward()
            solve = cost.solves[-1]
            assert solve.forward.field == forward == output.stats.n_field_evals
            assert solve.backward.field == field.calls - before - forward == output.stats.n_backward_field_evals
    first, second = cost.solves
    assert (first.iteration, second.iteration) == (0, 1) and cost.iterations == 2
    assert (second.accepted, second.rejected) == (output.stats.n_accepted, output.stats.n_rejected)
    assert second.adjoint == adjoint and second.per_sample == per_sample and second.backward_passes == 1
    assert (second.backward_steps.attempts > 0) == (adjoint == "backsolve")


@pytest.mark.parametrize("adjoint", ADJOINTS)
def test_a_recorded_solve_is_the_same_to_the_bit(adjoint):
    def gradients():
        field = Counted()
        output = nde.NeuralODE(field, adjoint=adjoint, regularizer=None, rtol=1e-5)(batch())
        output.y1.square().sum().backward()
        return output.ys, [parameter.grad for parameter in field.parameters()]

    plain = gradients()
    with nde.profile.record(memory=True, samples=True):
        recorded = gradients()
    assert torch.equal(plain[0], recorded[0])
    assert all(torch.equal(one, two) for one, two in zip(plain[1], recorded[1], strict=True))
    assert torch.equal(gradients()[0], plain[0])  # and so it is afterwards


def test_steps_are_those_of_the_solution_with_the_rejected_ones_between():
    field = lambda t, y: torch.stack([y[1], 8 * (1 - y[0] ** 2) * y[1] - y[0]])
    with nde.profile.record() as cost:
        solution = nde.solve_ode(field, double(2.0, 0.0), (0.0, 12.0), rtol=1e-5)
    columns = cost.solves[0].steps.columns()
    taken = columns["accepted"]
    assert solution.stats.n_rejected > 3 and (~taken).sum() == solution.stats.n_rejected
    for name in ("t", "h", "error", "stiffness"):
        numpy.testing.assert_allclose(columns[name][taken], getattr(solution.steps, name).numpy(), rtol=1e-12)
    assert (columns["error"][~taken] > 1).all()
    # a rejected step is tried again from where it began
    later = columns["t"][1:][~taken[:-1]]
    numpy.testing.assert_array_equal(later, columns["t"][:-1][~taken[:-1]])


def test_samples_with_steps_of_their_own_are_told_apart():
    rate = torch.tensor([[1.0], [30.0]], dtype=torch.float64)
    with nde.profile.record() as cost:
        solution = nde.solve_ode(
            lambda t, y, rate: -rate * y, torch.ones(2, 1).double(), (0.0, 1.0), (nde.PerSample(rate),), per_sample=True
        )
    columns = cost.solves[0].steps.columns()
    for sample in range(2):
        mine = columns["sample"] == sample
        assert (mine & columns["accepted"]).sum() == solution.stats.accepted[sample]
        assert math.isclose(columns["h"][mine & columns["accepted"]].sum(), 1.0, rel_tol=1e-12)
    (hardest, share), _ = nde.profile.groups(cost.solves)[0].hard_samples()
    assert hardest == 1 and share > 0.6


def test_the_sample_that_decides_the_error_is_named():
    rates = torch.tensor([1.0, 40.0, 2.0], dtype=torch.float64).unsqueeze(1)
    with nde.profile.record(samples=True) as cost:
        nde.solve_ode(lambda t, y: -rates * (y - torch.cos(t)), torch.ones(3, 1).double(), (0.0, 1.0))
    assert nde.profile.groups(cost.solves)[0].hard_samples()[0] == (1, 1.0)


def test_the_parts_of_the_time_add_up_to_the_whole():
    layer = nde.NeuralODE(Counted())
    with nde.profile.record() as cost:
        for _ in range(3):
            layer(batch()).y1.sum().backward()
    times = nde.profile.accounted(cost.solves, cost.seconds)
    parts = times.field + times.solver + times.backward + times.elsewhere
    assert math.isclose(parts, times.total, rel_tol=1e-9) and times.total == cost.seconds
    assert min(times.field, times.solver, times.backward) > 0 and times.elsewhere >= 0
    for solve in cost.solves:
        assert 0 < solve.steps.columns()["seconds"].sum() < solve.seconds
        assert 0 < solve.forward.seconds < solve.seconds


def test_stochastic_controlled_and_foreign_solves_are_recorded():
    from nde.compat.torchdiffeq import odeint_adjoint
    from nde.compat.torchsde import SDEIto, sdeint

    class SDE(SDEIto):
        calls = 0

        def f(self, t, y):
            SDE.calls += 1
            return -y

        def g(self, t, y):
            return 0.1 * y

    y0, field = torch.ones(4, 2), Counted(2).float()
    path = nde.controls.LinearPath(torch.randn(3, 4, 2), torch.linspace(0, 1, 4))
    matrix = lambda t, z: torch.tanh(z).unsqueeze(-1).expand(-1, -1, 2)
    with nde.profile.record(field) as cost:
        nde.solve_sde(field, lambda t, y: 0.1 * y, y0, (0.0, 1.0), noise="diagonal")
        nde.solve_langevin(lambda t, x: x, y0, y0, (0.0, 1.0), gamma=1.0, controller=nde.FixedStep(0.1))
        nde.solve_cde(matrix, path, torch.zeros(3, 4))
        odeint_adjoint(field.float(), y0, torch.tensor([0.0, 1.0]))[-1].sum().backward()
        sdeint(SDE(noise_type="diagonal"), y0, torch.tensor([0.0, 1.0]), dt=0.25, method="euler")
    kinds = [solve.kind for solve in cost.solves]
    assert kinds == ["sde", "langevin", "ode", "ode", "sde"]
    stochastic, _, _, foreign, peer = cost.solves
    assert stochastic.forward.diffusion > 0 and stochastic.label == "Counted"
    assert foreign.method == "dopri5" and foreign.adjoint == "backsolve" and foreign.backward.field > 0
    assert foreign.forward.field + foreign.backward.field + stochastic.forward.field == field.calls
    # torchsde's interface evaluates everything once before it solves, to see what it returns
    assert peer.forward.field == SDE.calls - 1 == peer.forward.diffusion == 4 and "SDE" in peer.label


def test_newton_iterations_and_fixed_steps_are_recorded():
    field = lambda t, y: -500 * (y - torch.cos(t)) + y**2 / 10
    with nde.profile.record() as cost:
        nde.solve_ode(field, double(0.0, 1.0), (0.0, 1.0), method="radau_iia5", controller=nde.FixedStep(0.1))
        nde.solve_ode(field, double(0.0, 1.0), (0.0, 0.1), method="tsit5", controller=nde.FixedStep(0.001))
    implicit, explicit = cost.solves
    assert implicit.newton_iterations >= implicit.accepted == 10 and implicit.steps.columns()["newton"].min() >= 1
    # nobody judged these while they were taken: their errors come from the solution
    assert explicit.newton_iterations == 0 and numpy.isfinite(explicit.steps.columns()["error"]).all()
    assert explicit.accepted == 100 == explicit.steps.attempts


def test_steps_that_penalties_take_again_are_counted_apart():
    field = Counted()
    layer = nde.NeuralODE(field, regularizer=LocalError() + GlobalError())
    with nde.profile.record() as cost:
        output = layer(batch())
        (output.y1.sum() + output.penalty).backward()
    solve = cost.solves[0]
    assert solve.retaken.field == output.stats.n_retaken_field_evals > 0
    assert solve.forward.field + solve.retaken.field + solve.backward.field == field.calls


def test_modules_are_named_as_in_the_model():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks = nn.ModuleList(nde.NeuralODE(Net()) for _ in range(2))

        def forward(self, y):
            for block in self.blocks:
                y = block(y).y1
            return y

    model = Model()
    with nde.profile.record(model) as cost:
        model(batch())
    assert [solve.label for solve in cost.solves] == ["blocks.0.field", "blocks.1.field"]
    net = Net()
    with nde.profile.record(nn.ModuleDict({"inner": net})) as cost:
        nde.solve_ode(lambda t, y: net(t, y), batch(), (0.0, 1.0))
        nde.solve_ode(test_modules_are_named_as_in_the_model.decay, batch(), (0.0, 1.0))
    assert [solve.label for solve in cost.solves] == ["inner", "decay"]


def decay(t, y):
    return -y


test_modules_are_named_as_in_the_model.decay = decay


def test_what_was_recorded_before_a_failure_is_kept():
    with pytest.raises(nde.SolverError), nde.profile.record() as cost:
        nde.solve_ode(lambda t, y: y * y, double(1.0), (0.0, 2.0), rtol=1e-8)
    (solve,) = cost.solves
    assert solve.status in ("STEP_UNDERFLOW", "MAX_STEPS", "NON_FINITE") and solve.steps.attempts > 10 and solve.message
    nde.solve_ode(decay, double(1.0), (0.0, 1.0))
    assert len(cost.solves) == 1  # the recording has ended

    def broken(t, y):
        if t > 0.5:
            raise ZeroDivisionError("in the field")
        return -y

    with pytest.raises(ZeroDivisionError), nde.profile.record() as cost:
        nde.solve_ode(broken, double(1.0), (0.0, 1.0))
    assert cost.solves[0].status == "ZeroDivisionError" and cost.solves[0].forward.field > 2
    assert "ZeroDivisionError" not in cost.summary() and "in the field" in cost.summary()


def test_recordings_nest_and_solves_inside_of_solves_are_marked():
    with nde.profile.record() as outer:
        nde.solve_ode(decay, double(1.0), (0.0, 1.0))
        with nde.profile.record() as inner:
            nde.solve_ode(decay, double(1.0), (0.0, 1.0))
        nde.solve_ode(decay, double(1.0), (0.0, 1.0))
    assert len(inner.solves) == 1 and len(outer.solves) == 2
    nested = lambda t, y: -nde.solve_ode(decay, y, (0.0, 0.1)).y1
    with nde.profile.record() as cost:
        nde.solve_ode(nested, double(1.0), (0.0, 1.0))
    assert [solve.depth for solve in cost.solves[:3]] == [0, 1, 1]
    times = nde.profile.accounted(cost.solves, cost.seconds)
    assert times.elsewhere >= 0 and times.total == cost.seconds
    with cost, pytest.raises(RuntimeError, match="under way"):
        cost.__enter__()


def test_solves_of_other_threads_are_recorded():
    with nde.profile.record() as cost:
        threads = [threading.Thread(target=nde.solve_ode, args=(decay, double(1.0), (0.0, 1.0))) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(cost.solves) == 4 and {solve.status for solve in cost.solves} == {"SUCCESS"}


def test_iterations_can_be_told():
    with nde.profile.record() as cost:
        for _ in range(3):
            nde.solve_ode(decay, double(1.0), (0.0, 1.0))
            nde.solve_ode(decay, double(1.0), (0.0, 1.0))
            cost.iteration()
    assert [solve.iteration for solve in cost.solves] == [0, 0, 1, 1, 2, 2]


def test_the_memory_of_the_tape_is_counted():
    layer = {name: nde.NeuralODE(Counted(), adjoint=name) for name in ("direct", "backsolve")}
    held = {}
    for name, one in layer.items():
        with nde.profile.record(memory=True) as cost:
            one(batch(200))
        held[name] = cost.solves[0].tape_bytes
    assert held["direct"] > 5 * held["backsolve"] > 0
    with nde.profile.record() as cost:
        layer["direct"](batch())
    assert cost.solves[0].tape_bytes is None


def test_a_model_that_is_none_is_told():
    with pytest.raises(TypeError, match=r"model must be an nn\.Module"):
        nde.profile.record("model")
