"""The reversible adjoint rebuilds what it did not keep, and has the gradients of the direct one."""

import itertools
from typing import NamedTuple

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

import nde
from nde.adjoint import ReversibleAdjoint
from nde.solvers import StepResult, find_method
from nde.solvers.sde import find_sde_method
from nde.solvers.sde.reversible import ReversibleHeun
from tests.adjoint.comparison import CONTROLLERS, USES, assert_equal, gradients, has, weigh
from tests.adjoint.memory import peak_bytes
from tests.problems import Counted, Net, double
from tests.solvers.sde.problems import TablePath

NOISES = ("diagonal", "scalar", "additive", "commutative", "general")
# Rebuilt states differ by the rounding of the steps in between: some 1e-16 per step, added up over 1000 of them.
ROUNDING = 1e-12


def drift(t, y, a, b):
    return a * torch.sin(y) + torch.cos(t) * y.flip(-1)


def diffusion_of(noise):
    def diffusion(t, y, a, b):
        scale = b * (1 + t / 2)
        if noise == "diagonal":
            return scale * torch.cos(y)
        if noise == "scalar":
            return (scale * torch.cos(y)).unsqueeze(-1)
        if noise == "additive":
            return scale * double(1.0, 0.3, -0.2, 0.6).view(2, 2).expand(*y.shape, 2)
        if noise == "commutative":
            return (scale * torch.cos(y)).unsqueeze(-1) * double(1.0, -0.4)
        return scale * torch.stack([torch.cos(y), torch.sin(y.flip(-1))], -1)

    return diffusion


def leaves():
    y0 = double(0.3, -0.4, 0.9, 0.1, -0.5, 0.6).view(3, 2).requires_grad_()
    return y0, double(0.7)[0].requires_grad_(), double(0.4)[0].requires_grad_()


def solve(y0, a, b, adjoint, noise="diagonal", steps=1000, **options):
    cells = 1000 if steps is None else steps
    shape = (3, 1 if noise == "scalar" else 2)
    return nde.solve_sde(
        drift,
        diffusion_of(noise),
        y0,
        (0.0, 0.25, 0.5, 1.0),
        (a, b),
        noise=noise,
        calculus="stratonovich",
        adjoint=adjoint,
        **{
            "method": "reversible_heun",
            "path": TablePath(0.0, 1.0, shape, cells, seed=5),
            "controller": nde.FixedStep(1 / cells),
            **options,
        },
    )


USED = {
    "last state": lambda s: weigh(s.y1),
    "inner states": lambda s: weigh(s.ys[1:-1]),
    "errors": lambda s: weigh(s.steps.error),
    "error vectors": lambda s: weigh(s.steps.local_error),
    "last carry": lambda s: sum(weigh(part) for part in s.carry1),
    "all": lambda s: weigh(s.ys) + weigh(s.steps.error.square()) + weigh(s.steps.local_error) + weigh(s.carry1[0]),
}


@pytest.mark.parametrize(
    ("noise", "use", "steps"),
    [
        ("diagonal", "all", 1000),
        ("general", "all", 1000),
        *((noise, "all", 100) for noise in ("scalar", "additive", "commutative")),
        *(("general", use, 100) for use in USED if use != "all"),
    ],
)
def test_gradients_are_the_direct_ones_to_rounding(noise: str, use: str, steps: int) -> None:
    found, counts = [], []
    for adjoint in ("direct", "reversible"):
        inputs = leaves()
        solution = solve(*inputs, adjoint, noise, steps, local_errors=True)
        found.append(torch.autograd.grad(USED[use](solution), inputs))
        counts.append(solution.stats.n_accepted)
    assert counts == [steps, steps]
    assert_equal(found[1], found[0], 1e-9 if "error" in use or use == "all" else ROUNDING)


@pytest.mark.parametrize("walks", [False, True], ids=["a path", "a path made as steps come"])
def test_gradients_are_the_direct_ones_where_the_controller_chose_the_steps(walks: bool) -> None:
    found = []
    for adjoint in ("direct", "reversible"):
        inputs = leaves()
        torch.manual_seed(1)
        path = None if walks else nde.BrownianPath(0.0, 1.0, (3, 2), seed=3, dtype=torch.float64)
        solution = solve(*inputs, adjoint, path=path, controller=nde.PIController(initial=0.2), rtol=1e-2, atol=1e-2)
        assert solution.stats.n_rejected > 0 and solution.steps.h.unique().numel() > 3
        found.append(torch.autograd.grad(USED["inner states"](solution) + weigh(solution.steps.error), inputs))
    assert_equal(found[1], found[0], 1e-9)


def test_gradients_are_those_of_finite_differences() -> None:
    for noise in NOISES:
        assert gradcheck(lambda *inputs: solve(*inputs, "reversible", noise, steps=4).ys, leaves())  # noqa: B023


def test_gradients_can_be_differentiated() -> None:
    def outputs(*inputs):
        solution = solve(*inputs, "reversible", steps=4)
        return solution.y1, *solution.carry1

    assert gradgradcheck(outputs, leaves(), atol=1e-5)


def test_undoing_all_steps_leads_back_to_the_initial_state() -> None:
    y0, a, b = leaves()
    with torch.no_grad():
        solution = solve(y0, a, b, "reversible", "general")
    method = find_sde_method("reversible_heun", "stratonovich", "general")
    path = TablePath(0.0, 1.0, (3, 2), 1000, seed=5)
    structure = nde.solvers.structure.StateStructure(y0)
    field = nde.solvers.sde.SDEField(drift, diffusion_of("general"), structure, (a, b), "general", path, 2)
    with torch.no_grad():
        y, carry = solution.y1.reshape(-1), solution.carry1
        for index in range(999, -1, -1):
            y, carry = method.undo(field, index / 1000, 1 / 1000, y, carry)
    torch.testing.assert_close(y, y0.detach().reshape(-1), rtol=0, atol=1e-12)
    torch.testing.assert_close(carry[0], y0.detach().reshape(-1), rtol=0, atol=1e-12)
    assert float((solution.y1 - y0.detach()).abs().max()) > 0.1


def test_a_backward_step_evaluates_the_drift_and_the_diffusion_once() -> None:
    inputs = leaves()
    counted = Counted(diffusion_of("diagonal")), Counted(drift)
    solution = nde.solve_sde(
        counted[1], counted[0], inputs[0], (0.0, 1.0), inputs[1:], calculus="stratonovich", method="reversible_heun",
        adjoint="reversible", path=TablePath(0.0, 1.0, (3, 2), 50, seed=5), controller=nde.FixedStep(1 / 50),
    )  # fmt: skip
    forward = [function.calls for function in counted]
    solution.y1.sum().backward()
    assert [function.calls - before for function, before in zip(counted, forward, strict=True)] == [51, 51]
    assert solution.stats.n_backward_field_evals == 51


class _Found(NamedTuple):
    w: torch.Tensor


def test_memory_does_not_grow_with_the_steps() -> None:
    rows = 100

    def peak(adjoint, steps):
        y0 = torch.ones(rows, 10, dtype=torch.float64, requires_grad=True)
        weight = double(0.4).requires_grad_()

        def path(s, t):
            return _Found(torch.full((rows, 10), (t - s) * 3.0, dtype=torch.float64))

        def work():
            solution = nde.solve_sde(
                lambda t, y: torch.sin(y), lambda t, y: weight * torch.cos(y), y0, (0.0, 1.0), calculus="stratonovich",
                method="reversible_heun", adjoint=adjoint, path=path, controller=nde.FixedStep(1 / steps),
            )  # fmt: skip
            solution.y1.sum().backward()

        return peak_bytes(work)

    # what is left are the times and errors of the steps, numbers that do not depend on the size of the state
    assert peak("reversible", 500) - peak("reversible", 100) < 400 * 5 * 8
    assert peak("discrete", 100) - peak("discrete", 20) > 80 * 8 * rows * 10


class _Unshared(ReversibleHeun):
    """Without an undoer of its own: every step is undone, then replayed."""

    def undoer(self, *args):
        return None


class CoupledEuler(nde.solvers.Method):
    """Steps of another kind that can be undone: ``y1 = m y + (1 - m) z + h f(t, z)``, ``z1 = z + h f(t1, y1)``."""

    name = "coupled_euler"
    order = 1
    interpolation_order = 1
    carry_is_function_of_state = False
    reversible = True
    mixing = 0.9

    def start(self, field, t, y):
        return (y,)

    def step(self, field, t, h, y, carry, workspace=None):
        (z,) = carry
        y1 = self.mixing * y + (1 - self.mixing) * z + h * field(t, z)
        return StepResult(y1, (z + h * field(t + h, y1),), None, None, None)

    def undo(self, field, t, h, y1, carry1):
        z = carry1[0] - h * field(t + h, y1)
        return (y1 - (1 - self.mixing) * z - h * field(t, z)) / self.mixing, (z,)

    def interpolate(self, field, t, h, y, result, thetas):
        return torch.stack([y + theta * (result.y1 - y) for theta in thetas])


def test_a_reversible_method_needs_no_more_than_to_undo_a_step() -> None:
    found = []
    for method, adjoint in (("reversible_heun", "direct"), (_Unshared(), "reversible")):
        inputs = leaves()
        solution = solve(*inputs, adjoint, "general", method=method, steps=100)
        loss = weigh(solution.ys) + weigh(solution.steps.error) + weigh(solution.carry1[2])
        found.append(torch.autograd.grad(loss, inputs))
    assert_equal(found[1], found[0], 1e-9)
    options = {"method": CoupledEuler(), "controller": nde.FixedStep(0.07)}
    net = Net(size=3)
    found = []
    for adjoint in ("direct", "reversible"):
        y0, ts = double(1.0, -0.5, 0.3).requires_grad_(), double(0.0, 0.4, 1.5).requires_grad_()
        solution = nde.solve_ode(net, y0, ts, adjoint=adjoint, **options)
        found.append(torch.autograd.grad(weigh(solution.ys), (y0, ts, *net.parameters())))
    # each undone step divides by the mixing, and rounding grows as 0.9 ** -22
    assert_equal(found[1], found[0], 1e-11)


@pytest.mark.parametrize("adjoint", ["direct", "reversible"])
def test_a_solve_that_goes_on_with_the_carry_is_the_solve_without_a_break(adjoint: str) -> None:
    found = []
    for times in ((0.0, 1.0), (0.0, 0.5, 1.0)):
        inputs = leaves()
        y, carry = inputs[0], None
        for begin, end in itertools.pairwise(times):
            solution = nde.solve_sde(
                drift, diffusion_of("general"), y, (begin, end), inputs[1:], noise="general", calculus="stratonovich",
                method="reversible_heun", adjoint=adjoint, path=TablePath(0.0, 1.0, (3, 2), 100, seed=5),
                controller=nde.FixedStep(1 / 100), carry0=carry,
            )  # fmt: skip
            y, carry = solution.y1, solution.carry1
        grads = torch.autograd.grad(weigh(y) + weigh(carry[2]), inputs)
        found.append([part.detach() for part in (y, *carry, *grads)])
    assert_equal(found[1], found[0], ROUNDING)


def test_what_the_carry_cannot_be_is_refused() -> None:
    inputs = leaves()
    carry = solve(*inputs, "reversible", steps=4).carry1
    for options, message in (
        ({"method": "heun"}, "carry0 belongs to reversible methods, but method='heun'"),
        ({"dense": True}, "carry0 goes with none of per_sample=True"),
        ({"carry0": carry[0]}, "carry0 must be solution.carry1"),
        ({"carry0": (carry[0][:3], *carry[1:])}, "carry0 must be solution.carry1"),
    ):
        with pytest.raises(ValueError, match=message):
            solve(*inputs, "direct", steps=4, **{"carry0": carry, **options})
    for adjoint in ("discrete", "backsolve"):
        with pytest.raises(ValueError, match="carry0"):
            solve(*inputs, adjoint, steps=4, carry0=carry)


@pytest.mark.parametrize("times", [(0.1, 0.35, 0.8, 1.2), (1.2, 0.5, 0.0)], ids=["up", "down"])
@pytest.mark.parametrize("use", [use for use in USES if has("reversible_heun", use)])
def test_gradients_of_ordinary_equations_are_the_direct_ones(use: str, times) -> None:
    # outputs between the steps and the times themselves included
    options = {"method": "reversible_heun", "controller": nde.FixedStep(0.04), "rtol": 1e-3}
    _, direct = gradients("direct", USES[use], times, **options)
    _, found = gradients("reversible", USES[use], times, **options)
    assert_equal(found, direct, 1e-10 if "error" in use else ROUNDING)


@pytest.mark.parametrize("controller", [*CONTROLLERS, "adaptive"])
def test_gradients_of_ordinary_equations_are_the_direct_ones_whoever_chooses_the_steps(controller: str) -> None:
    options = {"method": "reversible_heun", "rtol": 1e-4, "atol": 1e-4}
    if controller != "adaptive":
        options["controller"] = CONTROLLERS[controller]()
    _, direct = gradients("direct", USES["all states"], (-0.5, 0.2, 1.0), **options)
    solution, found = gradients("reversible", USES["all states"], (-0.5, 0.2, 1.0), **options)
    assert_equal(found, direct, ROUNDING)
    assert solution.carry1[0].shape == (6,)


def test_a_solve_that_failed_has_the_gradients_of_the_part_that_was_reached() -> None:
    found = []
    for adjoint in ("direct", "reversible"):
        inputs = leaves()
        solution = solve(*inputs, adjoint, steps=100, max_steps=30, throw=False)
        assert not solution.success
        found.append(torch.autograd.grad(weigh(solution.ys[1]) + weigh(solution.y1), inputs))
    assert_equal(found[1], found[0], ROUNDING)
    inputs = leaves()
    solution = nde.solve_sde(
        lambda t, y, a, b: y * float("nan"), diffusion_of("diagonal"), *inputs[:1], (0.0, 1.0), inputs[1:],
        calculus="stratonovich", method="reversible_heun", adjoint="reversible", throw=False, seed=0,
    )  # fmt: skip
    assert solution.stats.n_accepted == 0
    (at_y0,) = torch.autograd.grad(solution.y1.sum(), inputs[:1])
    torch.testing.assert_close(at_y0, torch.ones_like(at_y0))


def test_methods_that_cannot_be_undone_are_refused_by_name() -> None:
    assert not find_method("heun").reversible and find_method("reversible_heun").reversible
    with pytest.raises(ValueError, match=r"those of method='tsit5' cannot be undone. Reversible methods: rever"):
        nde.solve_ode(lambda t, y: -y, double(1.0), (0.0, 1.0), adjoint="reversible")
    with pytest.raises(ValueError, match=r"for calculus='stratonovich' and noise='diagonal': reversible_heun\."):
        solve(*leaves(), ReversibleAdjoint(), method="heun", steps=4)
    with pytest.raises(ValueError, match=r"for calculus='ito' and noise='diagonal': none\."):
        nde.solve_sde(lambda t, y: -y, lambda t, y: y, double(1.0), (0.0, 1.0), adjoint="reversible", seed=0)
    with pytest.raises(ValueError, match="ReversibleAdjoint works with none of per_sample"):
        solve(*leaves(), "reversible", steps=4, per_sample=True)
    with pytest.raises(TypeError, match="'heun' is not reversible"):
        find_method("heun").undo(None, 0.0, 0.1, double(1.0), None)


def test_a_tensor_in_an_unusual_place_is_an_error_and_no_lost_gradient() -> None:
    hidden = iter([double(0.5).requires_grad_()] * 9)  # a place that no search looks into
    with pytest.raises(RuntimeError, match='adjoint="reversible" cannot find it'):
        nde.solve_ode(
            lambda t, y: next(hidden) * y, double(1.0), (0.0, 1.0), method="reversible_heun", adjoint="reversible"
        )
