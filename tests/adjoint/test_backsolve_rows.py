"""The continuous adjoint of row solves: gradients of per-sample, event and dense solves, against the direct adjoint."""

import math

import pytest
import torch

import nde
from tests.problems import Net, double

TIGHT = {"rtol": 1e-11, "atol": 1e-11}


def assert_close(found, reference, tolerance=2e-7) -> None:
    for left, right in zip(found, reference, strict=True):
        assert (left is None) == (right is None)
        if left is not None:
            scale = max(1.0, float(right.abs().max()))
            assert float((left - right).abs().max()) < tolerance * scale


def both(run, tolerance=2e-7, adjoint="backsolve") -> None:
    assert_close(run(adjoint), run("direct"), tolerance)


def net_inputs(batch=3):
    torch.manual_seed(0)
    return Net(size=3), torch.randn(batch, 3, dtype=torch.float64).requires_grad_()


TIMES = {
    "shared": double(0.0, 0.4, 0.9, 1.5),
    "backward": double(1.5, 0.9, 0.4, -0.2),
    "own": double([0.0, 0.4, 0.9, 1.5], [0.1, 0.2, math.nan, math.nan], [-1.0, 0.0, 0.5, math.nan]),
    "opposite": double([0.0, 0.5, 1.0], [0.0, -0.5, -1.0], [1.0, 0.3, 0.2]),
}


@pytest.mark.parametrize("name", TIMES)
@pytest.mark.parametrize("method", ["tsit5", "dopri8", "bosh3"])
def test_per_sample_gradients_of_state_times_and_parameters(name, method) -> None:
    def run(adjoint):
        net, y0 = net_inputs()
        ts = TIMES[name].clone().requires_grad_()
        own = TIGHT if method != "bosh3" else {"rtol": 1e-8, "atol": 1e-8}
        solution = nde.solve_ode(net, y0, ts, method=method, adjoint=adjoint, per_sample=True, **own)
        loss = torch.nan_to_num(solution.ys).square().sum() + solution.y1.sin().sum()
        return torch.autograd.grad(loss, (y0, ts, *net.parameters()))

    both(run, 2e-7 if method != "bosh3" else 3e-6)


@pytest.mark.parametrize(
    ("method", "size"), [("rk4", 0.01), ("radau_iia5", 0.05), ("gauss6", 0.02), ("trapezoid", 0.001)]
)
def test_per_sample_gradients_with_fixed_steps(method, size) -> None:
    def run(adjoint):
        net, y0 = net_inputs()
        options = {"method": method, "controller": nde.FixedStep(size)}
        solution = nde.solve_ode(net, y0, (0.0, 0.3, 0.8), adjoint=adjoint, per_sample=True, **options)
        return torch.autograd.grad(solution.ys.square().sum(), (y0, *net.parameters()))

    both(run, 2e-6)


@pytest.mark.parametrize("adaptive", [True, False])
def test_the_error_of_parameters_falls_with_the_steps_of_the_backward_solve(adaptive) -> None:
    def run(adjoint, **options):
        net, y0 = net_inputs()
        solution = nde.solve_ode(net, y0, (0.0, 2.0), adjoint=adjoint, per_sample=True, **(options or TIGHT))
        return torch.autograd.grad(solution.y1.square().sum(), list(net.parameters()))

    reference = run("direct")
    errors = []
    for level in range(3):
        if adaptive:
            adjoint = nde.adjoint.BacksolveAdjoint(rtol=10.0 ** -(4 + 2 * level), atol=10.0 ** -(4 + 2 * level))
        else:
            adjoint = nde.adjoint.BacksolveAdjoint(controller=nde.FixedStep(0.4 / 2**level))
        found = run(adjoint)
        errors.append(max(float((a - b).abs().max()) for a, b in zip(found, reference, strict=True)))
    assert errors == sorted(errors, reverse=True)
    if not adaptive:
        orders = [math.log2(errors[i] / errors[i + 1]) for i in range(2)]
        assert min(orders) > 4.5
    else:
        assert errors[-1] < 1e-7


def test_arguments_of_each_sample_and_nested_states() -> None:
    def field(t, y, rate, shared):
        return {"a": -rate * y["a"] * y["b"].unsqueeze(-1), "b": torch.cos(shared * t.reshape(-1)) * y["b"]}

    def run(adjoint):
        torch.manual_seed(1)
        y0 = {"a": torch.rand(4, 2, dtype=torch.float64).requires_grad_(), "b": double(1, 0.5, 0.2, 2).requires_grad_()}
        rate, shared = torch.rand(4, 2, dtype=torch.float64).requires_grad_(), double(1.7).requires_grad_()
        ts = torch.stack([torch.zeros(4), torch.tensor([0.5, 1.0, 2.0, 0.1])], 1).double()
        args = (nde.PerSample(rate), shared)
        solution = nde.solve_ode(field, y0, ts, args, adjoint=adjoint, per_sample=True, **TIGHT)
        loss = solution.y1["a"].square().sum() + solution.y1["b"].exp().sum()
        return torch.autograd.grad(loss, (y0["a"], y0["b"], rate, shared))

    both(run)


def test_complex_states() -> None:
    def run(adjoint):
        y0 = torch.tensor([[1 + 0.5j], [0.2 - 1j]], dtype=torch.complex128, requires_grad=True)
        weight = torch.tensor(0.7 + 0.2j, dtype=torch.complex128, requires_grad=True)
        solution = nde.solve_ode(
            lambda t, y, w: w * y * torch.cos(t) - 0.1 * y * y.abs().square(), y0, (0.0, 1.0), (weight,),
            adjoint=adjoint, per_sample=True, **TIGHT,
        )  # fmt: skip
        return torch.autograd.grad(solution.y1.abs().square().sum(), (y0, weight))

    both(run)


def ball(t, y, gravity, restitution):
    return torch.stack([y[..., 1], -gravity.expand_as(y[..., 1])], -1)


def bounce(loss_with_time):
    def apply(t, y, gravity, restitution):
        factor = restitution - loss_with_time * t.reshape(y.shape[:-1])
        return torch.stack([torch.zeros_like(y[..., 0]), -factor * y[..., 1]], -1)

    return apply


@pytest.mark.parametrize("per_sample", [True, False])
@pytest.mark.parametrize("terminal", [False, 2])
@pytest.mark.parametrize("loss_with_time", [0.0, 0.05])
def test_bouncing_balls(per_sample, terminal, loss_with_time) -> None:
    def run(adjoint):
        heights = double([1.0, 0.0], [2.0, 0.5], [0.3, -1.0]).requires_grad_()
        gravity, restitution = (torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in (9.81, 0.8))
        ts = double(0.0, 0.35, 0.9, 1.3).requires_grad_()
        event = nde.Event(lambda t, y, *_: y[..., 0], terminal=terminal, direction=-1, apply=bounce(loss_with_time))
        solution = nde.solve_ode(
            ball, heights if per_sample else heights[1], ts, (gravity, restitution),
            adjoint=adjoint, per_sample=per_sample, events=event, **TIGHT,
        )  # fmt: skip
        found = solution.events[0]
        weights = torch.linspace(1, 2, len(found), dtype=torch.float64)
        loss = torch.nan_to_num(solution.ys).square().sum() + solution.y1.sum()
        loss = loss + (weights * found.t).sum() + found.y.square().sum()
        return torch.autograd.grad(loss, (heights, gravity, restitution, ts))

    both(run)


def test_terminal_event_times_and_parameters_of_the_condition() -> None:
    def run(adjoint):
        net, y0 = net_inputs()
        level = double(0.1).requires_grad_()
        event = nde.Event(lambda t, y: (y[:, 0] - level * (1 + t.squeeze(-1)) - y0.detach()[0, 1]).unsqueeze(-1))
        drift = nde.Event(lambda t, y: torch.sin(5 * t.squeeze(-1)) + level, terminal=False)
        solution = nde.solve_ode(
            net, y0, (0.0, 1.0, 3.0), adjoint=adjoint, per_sample=True, events=[event, drift], **TIGHT
        )
        assert len(solution.events[1]) > 2
        loss = solution.events[0].t.square().sum() + solution.events[1].y.square().sum() + solution.y1.sum()
        loss = loss + solution.events[1].t.sum()
        return torch.autograd.grad(loss, (y0, level, *net.parameters()), allow_unused=True)

    both(run)


@pytest.mark.parametrize("per_sample", [True, False])
def test_dense_output(per_sample) -> None:
    def run(adjoint):
        net, y0 = net_inputs()
        solution = nde.solve_ode(net, y0, (0.0, 1.0), adjoint=adjoint, per_sample=per_sample, dense=True, **TIGHT)
        loss = solution(double([0.31], [0.77])[:, 0] if not per_sample else double([0.31], [0.77])).square().sum()
        loss = loss + solution.derivative(0.5).sum()
        return torch.autograd.grad(loss, (y0, *net.parameters()))

    # the dense output is less accurate than the steps
    both(run, 1e-6)


@pytest.mark.parametrize("per_sample", [True, False])
def test_discontinuities_forced_steps_and_what_is_saved(per_sample) -> None:
    def field(t, y, rate):
        return torch.where(t < 0.5, -rate * y, 3 * rate - y)

    def run(adjoint):
        y0, rate, scale = double([1.0, 2.0], [0.5, -1.0]).requires_grad_(), double(1.3).requires_grad_(), double(2.0)
        ts, scale = double(0.0, 0.3, 0.8, 1.0).requires_grad_(), scale.requires_grad_()

        def save(t, y):
            return scale * y.square().sum(-1) * t.reshape(-1 if per_sample else ())

        solution = nde.solve_ode(
            field, y0, ts, (rate,), adjoint=adjoint, per_sample=per_sample, save=save,
            jump_ts=(0.5,), step_ts=(0.25,), **TIGHT,
        )  # fmt: skip
        assert solution.ys.shape == (4, 2)
        return torch.autograd.grad(solution.ys.sum() + solution.y1.sum(), (y0, rate, ts, scale))

    both(run)


@pytest.mark.parametrize("per_sample", [True, False])
def test_outputs_at_a_discontinuity(per_sample) -> None:
    def run(adjoint):
        y0, rate = double([1.0, 2.0], [0.5, -1.0]).requires_grad_(), double(1.3).requires_grad_()
        solution = nde.solve_ode(
            lambda t, y, rate: torch.where(t < 0.5, -rate * y, 3 * rate - y), y0, (0.0, 0.5, 1.0), (rate,),
            adjoint=adjoint, per_sample=per_sample, jump_ts=(0.5,), **TIGHT,
        )  # fmt: skip
        return torch.autograd.grad(solution.ys.square().sum(), (y0, rate))

    both(run)


def test_a_sample_that_failed_does_not_spoil_the_others() -> None:
    def run(adjoint, alone):
        rate = double(1.0).requires_grad_()
        y0 = double([1.0], [0.1]) if not alone else double([0.1])
        y0.requires_grad_()
        solution = nde.solve_ode(
            lambda t, y, rate: rate * y.square(), y0, (0.0, 0.5, 2.0), (rate,),
            adjoint=adjoint, per_sample=True, throw=False, max_steps=500, **TIGHT,
        )  # fmt: skip
        assert not solution.succeeded.all() or alone
        loss = solution.ys[1:, -1].sum()
        grads = torch.autograd.grad(loss, (y0, rate))
        return grads[0][-1], grads[1]

    assert_close(run("backsolve", False), run("direct", True))


def test_the_work_is_that_of_the_samples_alone() -> None:
    def run(y0):
        count = [0]

        def field(t, y):
            count[0] += y.shape[0]
            return torch.stack([y[:, 1], (1 - y[:, 0] ** 2) * y[:, 1] - y[:, 0]], 1)

        y0 = y0.requires_grad_()
        nde.solve_ode(field, y0, (0.0, 1.0), per_sample=True, adjoint="backsolve").y1.sum().backward()
        return count[0]

    every = double([2.0, 0.0], [0.1, 0.0], [1.0, -3.0])
    assert run(every.clone()) == sum(run(row[None].clone()) for row in every)


def test_norms() -> None:
    seen = []

    def norm(errors):
        seen.append((errors.y.shape, errors.cotangent.shape, errors.parameters))
        return torch.cat([errors.y.reshape(-1), errors.cotangent.reshape(-1)]).square().mean().sqrt()

    net, y0 = net_inputs()
    adjoint = nde.adjoint.BacksolveAdjoint(norm=norm)
    nde.solve_ode(net, y0, (0.0, 1.0), dense=True, adjoint=adjoint).y1.sum().backward()
    assert set(seen) == {((3, 3), (3, 3), ())}
    with pytest.raises(ValueError, match="norm cannot be a callable with per_sample=True"):
        nde.solve_ode(net, y0, (0.0, 1.0), per_sample=True, adjoint=adjoint)


def test_what_it_cannot_do_is_refused() -> None:
    net, y0 = net_inputs()
    options = {"per_sample": True, "adjoint": "backsolve"}
    with pytest.raises(RuntimeError, match=r"no gradient of steps\.error"):
        nde.solve_ode(net, y0, (0.0, 1.0), **options).steps.error.sum().backward()
    with pytest.raises(RuntimeError, match="once only"):
        torch.autograd.grad(nde.solve_ode(net, y0, (0.0, 1.0), **options).y1.sum(), y0, create_graph=True)
    with pytest.raises(ValueError, match="local_errors"):
        nde.solve_ode(net, y0, (0.0, 1.0), local_errors=True, **options)
    short = nde.adjoint.BacksolveAdjoint(rtol=1e-12, atol=1e-12, max_steps=3)
    solution = nde.solve_ode(net, y0, (0.0, 3.0), per_sample=True, adjoint=short)
    with pytest.raises(nde.SolverError, match="the backward solve of adjoint='backsolve' failed: max_steps = 3"):
        solution.y1.sum().backward()
    solution = nde.solve_ode(net, y0, double([0, 1], [0, 0.9], [0, 3]), per_sample=True, adjoint=short)
    with pytest.raises(nde.SolverError, match=r"sample 1 of 3"):
        solution.y1[1].sum().backward()


def test_no_state_is_kept_for_a_step() -> None:
    saved = []

    def keep(tensor):
        saved.append(tensor.shape)
        return tensor

    net, y0 = net_inputs()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        solution = nde.solve_ode(net, y0, (0.0, 0.5, 1.0), per_sample=True, adjoint="backsolve", rtol=1e-12)
    assert solution.stats.n_accepted > 15
    assert sum(shape == (3, 3) for shape in saved) <= 4
