"""Both adjoints give the same gradients to rounding, whatever the solve and whatever is used of it."""

import math
from collections import namedtuple

import pytest
import torch

import nde
from nde.adjoint import DiscreteAdjoint
from tests.problems import ADAPTIVE, ADJOINTS, FSAL, METHODS, STAGES, Counted, Net, double, each_adjoint, van_der_pol

Pair = namedtuple("Pair", ["first", "second"])

# Both sum the same products in another order: a few hundred roundings of 1e-16 of the largest entry.
ROUNDING = 1e-12
# Penalties differentiate the embedded difference, which loses the digits of the tolerance (1e-6): 1e-16 / 1e-6.
ROUNDING_OF_ERRORS = 1e-8

# with tapes of the last steps and a replay of the others, and with a replay of all
each_discrete = pytest.mark.parametrize(
    "adjoint", [ADJOINTS["few tapes"], ADJOINTS["replay"]], ids=["few tapes", "replay"]
)

CONTROLLERS = {
    "fixed": lambda: nde.FixedStep(0.17),
    "to outputs": lambda: nde.StepTo(),
    "to times": lambda: nde.StepTo((-0.9, -0.4, 0.0, 0.3, 0.5, 0.75, 1.1)),
}


def assert_equal(left, right, tolerance: float) -> None:
    """Compare gradients relative to the largest entry of each."""
    assert len(left) == len(right)
    for ours, theirs in zip(left, right, strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None:
            scale = max(float(theirs.abs().max()), 1e-30)
            torch.testing.assert_close(ours / scale, theirs / scale, rtol=0, atol=tolerance)


def gradients(adjoint, use, times, **options):
    """Return the gradients of ``use(solution)`` by the state, the times, the arguments and the parameters."""
    net = Net(size=3)
    y0 = torch.linspace(-1, 1, 6, dtype=torch.float64).reshape(2, 3).requires_grad_()
    ts = double(*times).requires_grad_()
    scale = double(0.7).requires_grad_()
    solution = nde.solve_ode(
        lambda t, y, scale: net(t, y) * scale - 0.1 * y, y0, ts, (scale,), adjoint=adjoint, local_errors=True, **options
    )
    found = torch.autograd.grad(use(solution), [y0, ts, scale, *net.parameters()], allow_unused=True)
    return solution, found


def weigh(value: torch.Tensor) -> torch.Tensor:
    """Return a scalar in which every entry has a weight of its own."""
    return (value * torch.linspace(0.5, 1.5, value.numel(), dtype=value.dtype).reshape(value.shape)).sum()


USES = {
    "all states": lambda s: weigh(s.ys),
    "last state": lambda s: weigh(s.y1),
    "first output": lambda s: weigh(s.ys[0]),
    "inner output": lambda s: weigh(s.ys[1]),
    "error": lambda s: weigh(s.steps.error),
    "one error": lambda s: s.steps.error[1],
    "stiffness": lambda s: weigh(s.steps.stiffness),
    "error vectors": lambda s: weigh(s.steps.local_error),
    "states, error and stiffness": lambda s: (
        weigh(s.ys) + weigh(s.y1.square()) + weigh(s.steps.error) + weigh(s.steps.stiffness.square())
    ),
}


def has(method: str, use: str) -> bool:
    """Return whether a method has the estimates that a use reads."""
    facts = nde.solvers.find_method(method)
    return (facts.error_order is not None or "error" not in use) and (facts.has_stiffness or "stiffness" not in use)


@pytest.mark.parametrize(("method", "use"), [(method, use) for method in METHODS for use in USES if has(method, use)])
@each_discrete
def test_adjoints_agree_to_rounding_whatever_is_used_of_the_solution(method: str, use: str, adjoint) -> None:
    # the stages that estimate the stiffness differ by h^4 (h^8 for dopri8): small steps would leave it only rounding
    controller = nde.FixedStep(1.5 if method == "dopri8" else 0.4)
    times = (0.1, 1.3, 2.7, 4.1) if method == "dopri8" else (0.1, 0.35, 0.8, 1.2)
    options = {"method": method, "controller": controller, "rtol": 1e-3}
    _, direct = gradients("direct", USES[use], times, **options)
    _, discrete = gradients(adjoint, USES[use], times, **options)
    # of float64 relative to the tolerance of 1e-3, a difference of stages keeps some ten digits
    assert_equal(discrete, direct, ROUNDING if "error" not in use and "stiff" not in use else ROUNDING_OF_ERRORS)


@pytest.mark.parametrize("times", [(-0.5, 0.2, 1.0), (1.0, 0.3, -0.5), (-0.5, 1.0)], ids=["up", "down", "no outputs"])
@pytest.mark.parametrize("controller", CONTROLLERS)
@pytest.mark.parametrize("method", METHODS)
@each_discrete
def test_adjoints_agree_to_rounding_at_fixed_steps(
    method: str, controller: str, times: tuple[float, ...], adjoint
) -> None:
    options = {"method": method, "controller": CONTROLLERS[controller]()}
    _, direct = gradients("direct", USES["all states"], times, **options)
    _, discrete = gradients(adjoint, USES["all states"], times, **options)
    assert_equal(discrete, direct, ROUNDING)


@pytest.mark.parametrize("times", [(-0.5, 0.2, 1.0), (1.0, 0.3, -0.5)], ids=["up", "down"])
@pytest.mark.parametrize("method", ADAPTIVE)
@each_discrete
def test_adjoints_agree_to_rounding_at_adaptive_steps(method: str, times: tuple[float, ...], adjoint) -> None:
    options = {"method": method, "rtol": 1e-5, "atol": 1e-6}

    def use(solution):
        return weigh(solution.ys) + weigh(solution.steps.error)

    one, direct = gradients("direct", use, times, **options)
    other, discrete = gradients(adjoint, use, times, **options)
    assert other.stats.n_accepted == one.stats.n_accepted > 1
    # the controller sees estimates that differ by the rounding of differences, 1e-10 of their value, a root of it in h
    torch.testing.assert_close(one.steps.h, other.steps.h, rtol=1e-8, atol=0)
    assert_equal(discrete, direct, 10 * ROUNDING_OF_ERRORS)


@pytest.mark.parametrize("method", ["bosh3", "tsit5", "dopri8"])
def test_adjoints_agree_where_steps_were_rejected(method: str) -> None:
    found = []
    for adjoint in ADJOINTS.values():
        y0 = double(2.0, 0.0).requires_grad_()
        # a first step that is far too large is rejected several times over
        options = {"rtol": 1e-5, "atol": 1e-5, "controller": nde.IController(initial=3.0)}
        solution = nde.solve_ode(van_der_pol, y0, (0.0, 4.0), method=method, adjoint=adjoint, **options)
        assert solution.stats.n_rejected > 0
        penalty = nde.regularize.GlobalErrorSquared()(solution)
        found.append(torch.autograd.grad(weigh(solution.y1) + penalty, y0))
    # sensitivities of the oscillator grow and decay by some 1e3 on the way and amplify the rounding of the step sizes
    for other in found[1:]:
        assert_equal(other, found[0], 1e3 * ROUNDING_OF_ERRORS)


@pytest.mark.parametrize("use", ["tuple", "dict", "named", "complex", "mixed"])
@pytest.mark.parametrize("method", ["heun", "rk4", "tsit5"])
def test_adjoints_agree_for_nested_and_complex_states(method: str, use: str) -> None:
    start = torch.tensor([0.4, -0.9, 1.2], dtype=torch.float64)
    other = torch.tensor(0.3, dtype=torch.float64)

    def state():
        a, b = start.clone().requires_grad_(), other.clone().requires_grad_()
        return (a, b), {
            "tuple": (a, [b]),
            "dict": {"x": a, "inner": {"y": b}},
            "named": Pair(a, b),
            "complex": torch.complex(a, b.expand(3)),
            "mixed": (a.float(), torch.complex(b, 2 * b)),
        }[use]

    def field(t, y):
        if use == "tuple":
            return (torch.sin(y[1][0]) - y[0], [y[0].prod() * t])
        if use == "dict":
            return {"inner": {"y": y["x"].prod() * t}, "x": torch.sin(y["inner"]["y"]) - y["x"]}
        if use == "named":
            return Pair(torch.sin(y.second) - y.first, y.first.prod() * t)
        if use == "complex":
            return 1j * y * y.abs() - 0.3 * y * t
        return (torch.sin(y[1].real).float() - y[0], 1j * y[1] * y[0].sum().double() * t)

    def leaves(value):
        if isinstance(value, torch.Tensor):
            return [torch.view_as_real(value) if value.is_complex() else value]
        items = value.values() if isinstance(value, dict) else value
        return [leaf for item in items for leaf in leaves(item)]

    found = []
    for adjoint in ADJOINTS.values():
        inputs, y0 = state()
        solution = nde.solve_ode(
            field, y0, (0.0, 0.3, 1.0), method=method, controller=nde.FixedStep(0.25), adjoint=adjoint
        )
        loss = sum(weigh(leaf.double()) for leaf in leaves(solution.ys))
        if solution.steps.error is not None:
            loss = loss + 1e-3 * weigh(solution.steps.error.double())
        found.append(torch.autograd.grad(loss, inputs))
    # the mixed state has a leaf of float32, whose rounding (6e-8) both solves commit in different places
    for other in found[1:]:
        assert_equal(other, found[0], 1e-5 if use == "mixed" else ROUNDING_OF_ERRORS)


@each_discrete
def test_gradients_through_many_steps_do_not_drift_apart(adjoint) -> None:
    options = {"controller": nde.FixedStep(0.01), "method": "rk4"}
    _, direct = gradients("direct", USES["last state"], (0.0, 3.0), **options)
    _, discrete = gradients(adjoint, USES["last state"], (0.0, 3.0), **options)
    assert_equal(discrete, direct, 10 * ROUNDING)  # three hundred steps of ten roundings each


@each_adjoint
def test_backward_twice_through_a_retained_graph_gives_the_same_gradient_twice(adjoint) -> None:
    net = Net(size=2)
    y0 = double(0.3, -0.2).requires_grad_()
    solution = nde.solve_ode(net, y0, (0.0, 1.0), adjoint=adjoint)
    loss = solution.y1.square().sum() + solution.steps.error.sum()
    first = torch.autograd.grad(loss, [y0, *net.parameters()], retain_graph=True)
    second = torch.autograd.grad(loss, [y0, *net.parameters()])
    for one, two in zip(first, second, strict=True):
        assert torch.equal(one, two)


@each_adjoint
def test_separate_backward_passes_of_two_outputs_add_up_to_the_joint_one(adjoint) -> None:
    net = Net(size=2)
    y0 = double(0.3, -0.2).requires_grad_()
    solution = nde.solve_ode(net, y0, (0.0, 0.5, 1.0), adjoint=adjoint)
    parts = [solution.ys[1].sum(), solution.y1.prod(), 1e-3 * solution.steps.error.sum()]
    joint = torch.autograd.grad(sum(parts), y0, retain_graph=True)[0]
    separate = sum(torch.autograd.grad(part, y0, retain_graph=True)[0] for part in parts)
    torch.testing.assert_close(separate, joint, rtol=1e-10, atol=0)  # the error part cancels digits


@each_adjoint
def test_first_order_gradients_do_not_depend_on_whether_a_graph_of_them_is_made(adjoint) -> None:
    net = Net(size=2)
    y0 = double(0.3, -0.2).requires_grad_()
    ts = double(0.0, 0.4, 1.0).requires_grad_()
    inputs = [y0, ts, *net.parameters()]
    solution = nde.solve_ode(net, y0, ts, adjoint=adjoint, controller=nde.FixedStep(0.3))
    loss = weigh(solution.ys) + 1e-3 * weigh(solution.steps.error)
    plain = torch.autograd.grad(loss, inputs, retain_graph=True)
    graphed = torch.autograd.grad(loss, inputs, create_graph=True)
    assert_equal([gradient.detach() for gradient in graphed], plain, ROUNDING_OF_ERRORS)


@each_adjoint
def test_first_order_gradient_with_a_graph_is_right_where_the_state_depends_on_a_parameter_of_the_field(
    adjoint,
) -> None:
    # y' = -w y, y(0) = w: the derivative of y(1) = w exp(-w) has one part from the start and one from the field
    w = double(0.7).requires_grad_()
    solution = nde.solve_ode(lambda t, y: -w * y, 1.0 * w, (0.0, 1.0), adjoint=adjoint, rtol=1e-9, atol=1e-9)
    for graph in (False, True):
        (gradient,) = torch.autograd.grad(solution.y1.sum(), w, create_graph=graph, retain_graph=True)
        # global error of a solve with tolerance 1e-9
        assert float(gradient.detach()) == pytest.approx((1 - 0.7) * math.exp(-0.7), rel=1e-7)


@each_adjoint
def test_first_order_gradient_with_a_graph_is_right_where_the_times_depend_on_a_parameter_of_the_field(
    adjoint,
) -> None:
    # y' = -w y until t = w: y = exp(-w^2)
    w = double(0.7).requires_grad_()
    ts = torch.cat([torch.zeros(1, dtype=torch.float64), w])
    solution = nde.solve_ode(
        lambda t, y: -w * y, torch.ones(1, dtype=torch.float64), ts, adjoint=adjoint, rtol=1e-9, atol=1e-9
    )
    for graph in (False, True):
        (gradient,) = torch.autograd.grad(solution.y1.sum(), w, create_graph=graph, retain_graph=True)
        assert float(gradient.detach()) == pytest.approx(-1.4 * math.exp(-0.49), rel=1e-7)  # as above


@each_adjoint
def test_hessian_of_a_linear_decay_equals_the_closed_form(adjoint) -> None:
    w = double(0.7).requires_grad_()
    start = torch.ones(1, dtype=torch.float64)
    solution = nde.solve_ode(lambda t, y: -w * y, start, (0.0, 1.0), adjoint=adjoint, rtol=1e-9, atol=1e-9)
    (first,) = torch.autograd.grad(solution.y1.sum(), w, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), w)
    assert float(second) == pytest.approx(math.exp(-0.7), rel=1e-7)  # d^2/dw^2 exp(-w)


@pytest.mark.parametrize(
    ("method", "use"),
    [(method, use) for method in METHODS for use in ("last state", "all states", "error") if has(method, use)],
)
def test_backward_pass_without_tapes_evaluates_each_stage_of_the_accepted_steps_once(method: str, use: str) -> None:
    y0 = double(1.0, 0.5).requires_grad_()
    counted = Counted(lambda t, y: torch.cos(t) * torch.sin(y))
    solution = nde.solve_ode(
        counted, y0, (0.0, 0.33, 1.0), method=method, controller=nde.FixedStep(0.25), adjoint=ADJOINTS["replay"]
    )
    assert counted.calls == solution.stats.n_field_evals
    assert solution.stats.n_backward_field_evals == 0
    forward = counted.calls
    USES[use](solution).backward()
    steps, stages = solution.stats.n_accepted, STAGES[method]
    if method in FSAL:
        # the evaluation at the end of the solve matters only to what reads it: the error and the interpolant
        expected = (stages - 1) * steps + (1 if use == "error" else 0)
    else:
        expected = stages * steps
    if use == "all states" and method == "dopri8":
        expected += 3  # the extra stages of the one step that has an output inside
    assert solution.stats.n_backward_field_evals == counted.calls - forward == expected


@pytest.mark.parametrize("use", ["last state", "all states", "error"])
@pytest.mark.parametrize("method", ADAPTIVE)
def test_backward_pass_evaluates_nothing_where_all_tapes_were_kept(method: str, use: str) -> None:
    y0 = double(1.0, 0.5).requires_grad_()
    counted = Counted(lambda t, y: torch.cos(t) * torch.sin(y))
    solution = nde.solve_ode(counted, y0, (0.0, 0.33, 1.0), method=method, adjoint="discrete")
    forward = counted.calls
    assert forward == solution.stats.n_field_evals
    USES[use](solution).backward(retain_graph=True)
    assert solution.stats.n_backward_field_evals == counted.calls - forward == 0
    USES[use](solution).backward()
    # a tape serves once
    assert solution.stats.n_backward_field_evals == counted.calls - forward > 0


def test_more_memory_for_tapes_never_costs_more_evaluations() -> None:
    needed = []
    for memory in (0, 1_000, 2_000, 3_000, 10**6):
        solution = nde.solve_ode(
            Net(size=2), double(0.3, -0.2), (0.0, 3.0), rtol=1e-7, adjoint=DiscreteAdjoint(tape_memory=memory)
        )
        solution.y1.sum().backward()
        needed.append(solution.stats.n_backward_field_evals)
    assert needed == sorted(needed, reverse=True)
    assert needed[0] > needed[2] > needed[-1] == 0


@pytest.mark.parametrize("adjoint", ["discrete", DiscreteAdjoint(tape_memory=0)], ids=["discrete", "replay"])
def test_changing_a_parameter_between_solve_and_backward_is_an_error(adjoint) -> None:
    net = Net(size=2)
    solution = nde.solve_ode(net, double(0.3, -0.2), (0.0, 1.0), adjoint=adjoint)
    with torch.no_grad():
        net.outer.weight.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        solution.y1.sum().backward()


def test_negative_memory_for_tapes_is_an_error() -> None:
    with pytest.raises(ValueError, match="tape_memory must be zero or positive, but is -1"):
        DiscreteAdjoint(tape_memory=-1)


def test_discrete_adjoint_without_anything_to_differentiate_records_nothing() -> None:
    solution = nde.solve_ode(lambda t, y: -y, double(1.0), (0.0, 1.0))
    assert not solution.y1.requires_grad
    assert not solution.steps.error.requires_grad


@each_adjoint
def test_solve_without_gradients_is_bitwise_that_of_the_discrete_adjoint(adjoint) -> None:
    net = Net(size=2)
    y0 = double(0.3, -0.2)
    with torch.no_grad():
        plain = nde.solve_ode(net, y0, (0.0, 0.4, 1.0), adjoint=adjoint)
    taped = nde.solve_ode(net, y0, (0.0, 0.4, 1.0), adjoint="discrete")
    assert not plain.y1.requires_grad and taped.y1.requires_grad
    assert torch.equal(plain.ys, taped.ys.detach())
    assert torch.equal(plain.steps.error, taped.steps.error.detach())


def test_gradients_reach_only_what_asks_for_them() -> None:
    net = Net(size=2)
    net.inner.requires_grad_(False)
    y0 = double(0.3, -0.2)
    solution = nde.solve_ode(net, y0, (0.0, 1.0))
    solution.y1.sum().backward()
    assert net.inner.weight.grad is None and y0.grad is None
    assert float(net.outer.weight.grad.abs().sum()) > 0


@each_adjoint
def test_memory_of_a_solve_is_released_without_the_garbage_collector(adjoint) -> None:
    import gc
    import weakref

    gc.disable()
    try:
        y0 = double(0.3, -0.2).requires_grad_()
        solution = nde.solve_ode(lambda t, y: torch.sin(y), y0, (0.0, 0.5, 1.0), adjoint=adjoint, local_errors=True)
        steps = solution.steps
        references = [
            weakref.ref(tensor)
            for tensor in (solution.ys, solution.y1, steps.error, steps.stiffness, steps.local_error)
        ]
        (solution.y1.sum() + steps.error.sum()).backward()
        del solution, steps
        assert [reference() is None for reference in references] == [True] * len(references)
    finally:
        gc.enable()
