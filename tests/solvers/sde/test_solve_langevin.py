"""`solve_langevin` as a user meets it: gradients, shapes, adaptive steps and wrong arguments."""

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

import nde
from nde.adjoint import DiscreteAdjoint
from nde.solvers.sde import sde_method_names

REPLAY = DiscreteAdjoint(tape_memory=0)

METHODS = sde_method_names("ito", "langevin")
PATH = nde.BrownianPath(0.0, 1.0, (3, 2), seed=5, levy_area="space-time-time", dtype=torch.float64)
X0 = torch.tensor([[0.3, -0.4], [0.9, 0.1], [-0.5, 0.6]], dtype=torch.float64)


def gradient(t, x, depth=1.0):
    return depth * (x**3 - x) + torch.cos(t) * torch.sin(x.flip(-1))


def solve(x0=X0, v0=0.5 * X0, ts=(0.0, 0.5, 1.0), args=(), **options):
    options = {"gamma": 1.0, "controller": nde.FixedStep(0.25), **options}
    return nde.solve_langevin(options.pop("gradient", gradient), x0, v0, ts, args, **options)


def leaves():
    values = (X0[:2], 0.5 * X0[:2], torch.tensor([0.4, 9.0], dtype=torch.float64), *torch.tensor([0.8, 1.3]).double())
    return tuple(value.clone().requires_grad_() for value in values)


@pytest.mark.parametrize("method", METHODS)
def test_discrete_gradients_are_the_direct_ones_and_those_of_finite_differences(method) -> None:
    def outputs(x0, v0, gamma, u, depth, adjoint=REPLAY):
        return solve(x0, v0, args=(depth,), gamma=gamma, u=u, method=method, path=PATH[:2], adjoint=adjoint).y1

    found = []
    for adjoint in ("direct", "discrete", REPLAY):
        inputs = leaves()
        x, v = outputs(*inputs, adjoint=adjoint)
        found.append(torch.autograd.grad((x * (1 + v)).sum(), inputs))
    for one, other in ((one, other) for more in found[1:] for one, other in zip(found[0], more, strict=True)):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-13)
    assert gradcheck(outputs, leaves())


def test_second_derivatives_are_those_of_finite_differences() -> None:
    def outputs(x0, v0, gamma, u, depth):
        options = {"gamma": gamma, "u": u, "path": PATH[:2], "controller": nde.FixedStep(0.5)}
        return solve(x0, v0, (0.0, 1.0), (depth,), **options).y1

    assert gradgradcheck(outputs, leaves())


def test_a_potential_with_parameters_gets_gradients_through_torchs_grad() -> None:
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(2, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1)).double()
    force, grads = torch.func.grad(lambda x: net(x).sum()), []
    for adjoint in ("direct", "discrete", REPLAY):
        x, v = solve(gradient=lambda t, x: force(x), path=PATH, adjoint=adjoint).y1
        weights = [net[0].weight, net[0].bias, net[2].weight]
        grads.append(torch.autograd.grad((x * v).sum(), weights))
    for one, other in ((one, other) for more in grads[1:] for one, other in zip(grads[0], more, strict=True)):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-13)
        assert float(one.abs().max()) > 1e-3


def test_a_number_and_tensors_of_it_are_one_friction() -> None:
    expected = torch.cat(solve(gamma=0.7, u=1.5, path=PATH).y1)
    for shape in ((), (2,), (3, 1), (3, 2)):
        gamma, u = torch.full(shape, 0.7, dtype=torch.float64), torch.full(shape, 1.5, dtype=torch.float64)
        torch.testing.assert_close(torch.cat(solve(gamma=gamma, u=u, path=PATH).y1), expected, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("method", METHODS)
def test_solving_a_batch_is_solving_each_row_of_its_path(method) -> None:
    together = torch.cat(solve(method=method, path=PATH).y1, 1)
    for row in range(3):
        alone = solve(X0[row : row + 1], 0.5 * X0[row : row + 1], method=method, path=PATH[row : row + 1]).y1
        assert torch.equal(torch.cat(alone, 1)[0], together[row])


@pytest.mark.parametrize("shape", [(), (4,), (2, 3), (2, 3, 4)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("gamma", [0.5, torch.tensor(0.5)])
def test_states_of_any_shape_and_dtype(shape, dtype, gamma) -> None:
    ones = torch.ones(shape, dtype=dtype)
    for method in METHODS:
        x, v = solve(ones, ones, gamma=gamma, method=method, gradient=lambda t, x: x, seed=1).y1
        assert x.shape == v.shape == shape and x.dtype == v.dtype == dtype and bool(x.isfinite().all())


def test_single_precision_agrees_with_double_to_its_rounding() -> None:
    for method in METHODS:
        # small steps with a small friction: the weights would cancel to nothing
        options = {"method": method, "path": PATH, "gamma": 1e-3, "controller": nde.FixedStep(1 / 64)}
        double = torch.cat(solve(**options).y1)
        single = torch.cat(solve(X0.float(), 0.5 * X0.float(), **options).y1)
        torch.testing.assert_close(single.double(), double, rtol=0, atol=1e-5)


def test_tighter_tolerances_take_more_steps_and_come_nearer_to_a_fine_solve_on_the_same_path() -> None:
    options = {"method": "align", "path": PATH}
    fine = torch.cat(solve(**options, controller=nde.FixedStep(2.0**-10)).y1)
    errors, steps = [], []
    for tolerance in (1e-2, 1e-3, 1e-4):
        solution = solve(**options, controller=None, rtol=tolerance, atol=tolerance)
        errors.append(float((torch.cat(solution.y1) - fine).abs().mean()))
        steps.append(solution.stats.n_accepted)
    assert errors[0] > 2 * errors[1] > 4 * errors[2] and steps[0] < steps[1] < steps[2]


def test_step_doubling_gives_every_method_steps_of_its_own() -> None:
    fine = torch.cat(solve(path=PATH, controller=nde.FixedStep(2.0**-8)).y1)
    for method in METHODS:
        if method == "align":
            continue
        solution = solve(method=nde.solvers.sde.StepDoubling(method), path=PATH, controller=None, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(torch.cat(solution.y1), fine, rtol=0, atol=0.02)


@pytest.mark.parametrize("seed", [None, 3])
def test_adaptive_steps_on_new_paths(seed) -> None:
    solution = solve(method="align", controller=None, seed=seed)
    assert solution.success and bool(torch.cat(solution.y1).isfinite().all())


def test_states_are_positions_and_velocities_and_a_seed_fixes_them() -> None:
    solution = solve(seed=3)
    xs, vs = solution.ys
    assert xs.shape == vs.shape == (3, 3, 2)
    assert torch.equal(xs[0], X0) and torch.equal(vs[0], 0.5 * X0)
    assert torch.equal(solve(seed=3).ys[0], xs) and not torch.equal(solve(seed=4).ys[0][1], xs[1])


@pytest.mark.parametrize(("method", "count"), [("quicsort", 8), ("should", 9), ("align", 5), ("ubu", 4), ("baoab", 5)])
def test_evaluations_of_the_gradient(method, count) -> None:
    assert solve(method=method, path=PATH).stats.n_field_evals == count  # of four steps


def test_a_gradient_that_stops_being_finite_ends_the_solve_with_what_was_computed() -> None:
    solution = solve(gradient=lambda t, x: torch.where(t > 0.6, torch.nan, x), throw=False, path=PATH)
    assert solution.status is nde.Status.NON_FINITE and solution.t1 == 0.5
    assert solution.failure.source.startswith("the gradient, evaluated at t = 0.6")
    assert bool(solution.ys[0][1].isfinite().all())


def test_a_gradient_that_is_not_finite_at_the_beginning_is_named() -> None:
    options = {"method": "align", "controller": None, "throw": False, "path": PATH}
    solution = solve(gradient=lambda t, x: torch.nan * x, **options)
    assert solution.status is nde.Status.NON_FINITE and solution.t1 == 0.0
    assert "evaluated at t = 0" in solution.failure.source


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"gradient": 3}, TypeError, "gradient must be callable"),
        ({"gradient": lambda t, x: x[0]}, ValueError, r"value of gradient.*shape \(3, 2\)"),
        ({"gamma": 0.0}, ValueError, "gamma must be positive and finite, but is 0.0"),
        ({"gamma": -torch.ones(2)}, ValueError, "gamma must be positive and finite, but holds -1.0"),
        ({"gamma": torch.ones(3)}, ValueError, r"gamma has shape \(3,\), which does not broadcast to \(3, 2\)"),
        ({"gamma": torch.ones(4, 3, 2)}, ValueError, "gamma has shape"),
        ({"gamma": torch.ones(2, dtype=torch.int64)}, TypeError, "gamma must be a real floating point tensor"),
        ({"gamma": "1"}, TypeError, "gamma must be a positive number or tensor, but is '1'"),
        ({"u": float("inf")}, ValueError, "u must be positive and finite, but is inf"),
        ({"u": True}, TypeError, "u must be a positive number or tensor, but is True"),
        ({"x0": [1.0]}, TypeError, "x0 must be a tensor, but is a list"),
        ({"x0": X0.to(torch.complex128)}, TypeError, "x0 must be real"),
        ({"v0": torch.ones(2, dtype=torch.float64)}, ValueError, r"v0 must have the shape of x0, \(3, 2\).*\(2,\)"),
        ({"v0": X0.float()}, TypeError, "v0 must have the dtype of x0, torch.float64, but has torch.float32"),
        ({"method": "quicksort"}, ValueError, "method='quicksort' is not known. Did you mean 'quicsort'"),
        ({"method": "euler"}, ValueError, "method='euler' does not take noise='langevin'.*quicsort"),
        ({"controller": None}, ValueError, "method='quicsort' has no error estimate.*FixedStep"),
        ({"ts": (1.0, 0.0)}, ValueError, "ts must be increasing"),
        ({"ts": torch.tensor([0.0, 1.0], requires_grad=True)}, ValueError, "ts must not require a gradient"),
        ({"adjoint": "backsolve"}, ValueError, 'adjoint="backsolve" does not solve'),
        (
            {"path": nde.BrownianPath(0.0, 1.0, (3, 2), seed=1)},
            ValueError,
            "path must have levy_area='space-time-time'",
        ),
        ({"path": nde.BrownianPath(0.0, 1.0, (6,), seed=1)}, ValueError, r"path must have shape \(3, 2\)"),
        ({"path": lambda s, t: nde.solvers.brownian.BrownianIncrement(X0)}, ValueError, r"path\(s, t\).h must be"),
        ({"path": PATH, "seed": 1}, ValueError, "seed belongs to a new path"),
        ({"throw": 1}, TypeError, "throw must be True or False"),
        ({"args": 3}, TypeError, "args must be a tuple"),
    ],
)
def test_wrong_arguments_are_named(options, kind, message) -> None:
    with pytest.raises(kind, match=message):
        solve(**options)


def test_langevin_methods_are_refused_by_other_front_doors() -> None:
    with pytest.raises(ValueError, match="method='quicsort' does not take noise='additive'"):
        nde.solve_sde(
            lambda t, y: -y, lambda t, y: torch.ones_like(y), X0, (0.0, 1.0), noise="additive", method="quicsort",
            controller=nde.FixedStep(0.25),
        )  # fmt: skip
    with pytest.raises(TypeError, match=r"solve with nde.solve_sde|solve with nde.solve_langevin"):
        nde.solve_ode(
            lambda t, y: -y, X0, (0.0, 1.0), method=nde.solvers.sde.find_sde_method("ubu", "ito", "langevin"),
            controller=nde.FixedStep(0.25),
        )  # fmt: skip
