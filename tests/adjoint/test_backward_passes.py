"""Any number of backward passes, of any order, through either adjoint; what they cost, and what they leave behind."""

import math

import pytest
import torch

import nde
from nde.adjoint import DiscreteAdjoint
from tests.adjoint.comparison import (
    ROUNDING,
    ROUNDING_OF_ERRORS,
    USES,
    assert_equal,
    each_discrete,
    gradients,
    has,
    weigh,
)
from tests.problems import ADAPTIVE, ADJOINTS, FSAL, METHODS, STAGES, Counted, Net, double, each_adjoint


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


@pytest.mark.parametrize("batched", [False, True])
def test_batched_gradients_work_directly_and_are_a_clear_error_through_records(batched: bool) -> None:
    def end(y0, adjoint):
        return nde.solve_ode(lambda t, y: -y, y0, (0.0, 1.0), rtol=1e-8, adjoint=adjoint).y1

    def jacobian(adjoint):
        y0 = double(1.0, 2.0)
        return torch.autograd.functional.jacobian(lambda y: end(y, adjoint), y0, vectorize=batched)

    wanted = math.exp(-1) * torch.eye(2, dtype=torch.float64)
    torch.testing.assert_close(jacobian("direct"), wanted, rtol=1e-6, atol=1e-8)
    if batched:
        with pytest.raises(RuntimeError, match='Use adjoint="direct"'):
            jacobian("discrete")
    else:
        torch.testing.assert_close(jacobian("discrete"), wanted, rtol=1e-6, atol=1e-8)


def test_states_of_the_record_are_saved_tensors_that_hooks_can_move() -> None:
    packed = []

    def pack(tensor):
        packed.append(tensor.shape)
        return tensor.clone()

    y0 = torch.ones(7, dtype=torch.float64, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        solution = nde.solve_ode(lambda t, y: -y, y0, (0.0, 1.0), adjoint=DiscreteAdjoint(tape_memory=0))
    assert packed.count(torch.Size([7])) >= solution.stats.n_accepted
    solution.y1.sum().backward()
    torch.testing.assert_close(y0.grad, torch.full_like(y0, math.exp(-1)), rtol=1e-4, atol=1e-4)
