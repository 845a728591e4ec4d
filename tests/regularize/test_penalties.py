"""Penalties equal the formulas of their papers, scale and add up, follow their schedules and survive a checkpoint."""

import copy
import math

import pytest
import torch

import nde
from nde.regularize import Constant, Exponential, GlobalError, GlobalErrorSquared, GlobalStiffness, Linear, StepCount
from tests.problems import Net, double, van_der_pol


@pytest.fixture
def solution() -> nde.Solution:
    return nde.solve_ode(van_der_pol, double(2.0, 0.0), (0.5, 3.5), rtol=1e-5, atol=1e-6)


@pytest.fixture
def backward_solution() -> nde.Solution:
    return nde.solve_ode(lambda t, y: torch.sin(3 * y), double(2.0, 0.5), (1.0, -1.0), rtol=1e-5, atol=1e-6)


def lists(solution: nde.Solution) -> tuple[list[float], list[float], list[float]]:
    steps = solution.steps
    return steps.error.tolist(), steps.stiffness.tolist(), [abs(h) for h in steps.h.tolist()]


def same(value: torch.Tensor, expected: float) -> None:
    assert value.shape == ()
    assert float(value) == pytest.approx(expected, rel=1e-12)  # sums of some fifty terms in another order


@pytest.mark.parametrize("name", ["solution", "backward_solution"])
def test_error_penalty_equals_the_formula_for_every_reduction(name: str, request) -> None:
    solution = request.getfixturevalue(name)
    errors, _, sizes = lists(solution)
    total = sum(e * h for e, h in zip(errors, sizes, strict=True))
    span = abs(float(solution.ts[-1] - solution.ts[0]))
    same(GlobalError(reduction="sum")(solution), total)
    same(GlobalError(reduction="mean")(solution), total / len(errors))
    same(GlobalError(reduction="span")(solution), total / span)
    same(GlobalError()(solution), total / span)


def test_squared_error_penalty_equals_the_formula_for_every_reduction(solution: nde.Solution) -> None:
    errors, _, _ = lists(solution)
    total = sum(e**2 for e in errors)
    same(GlobalErrorSquared()(solution), total)
    same(GlobalErrorSquared(reduction="sum")(solution), total)
    same(GlobalErrorSquared(reduction="mean")(solution), total / len(errors))


@pytest.mark.parametrize("name", ["solution", "backward_solution"])
def test_stiffness_penalty_equals_the_formula_for_every_reduction(name: str, request) -> None:
    solution = request.getfixturevalue(name)
    _, stiffness, sizes = lists(solution)
    total = sum(s * h for s, h in zip(stiffness, sizes, strict=True))
    same(GlobalStiffness(reduction="sum")(solution), total)
    same(GlobalStiffness(reduction="mean")(solution), total / len(sizes))
    same(GlobalStiffness(reduction="span")(solution), total / sum(sizes))
    same(GlobalStiffness(reduction="max")(solution), max(stiffness[:-1]) / solution.steps.stability)


def test_largest_stiffness_ignores_the_step_that_was_cut_to_reach_the_end() -> None:
    # a field that is the difference of large terms, in single precision: over a short last step its rounding is all
    # that the two stages differ by
    field = lambda t, y: 100 * torch.sin(y + 6 * t) - 100 * torch.sin(y + 6 * t + 0.001)
    solution = nde.solve_ode(
        field, torch.tensor([1.0, 0.7]), (0.0, 1.01), controller=nde.StepTo((0.25, 0.5, 0.75, 1.0))
    )
    stiffness = solution.steps.stiffness.tolist()
    assert stiffness[-1] > 5 * max(stiffness[:-1])
    found = float(GlobalStiffness(reduction="max")(solution)) * solution.steps.stability
    assert found == pytest.approx(max(stiffness[:-1]), rel=1e-6)  # single precision


def test_largest_stiffness_of_a_single_step_is_its_own() -> None:
    solution = nde.solve_ode(lambda t, y: -2 * y, double(1.0), (0.0, 0.1), controller=nde.StepTo())
    same(GlobalStiffness(reduction="max")(solution), float(solution.steps.stiffness[0]) / solution.steps.stability)


def test_error_penalty_is_that_of_an_exact_quadrature_for_a_constant_error() -> None:
    # sum_j E_j |h_j| / T of steps that all have the same error is that error, whatever their sizes
    steps = nde.solve_ode(lambda t, y: -y, double(1.0), (0.0, 1.0), controller=nde.FixedStep(0.25)).steps
    equal = copy.copy(steps)
    object.__setattr__(equal, "error", torch.full_like(steps.error, 0.3))
    holder = type("Holder", (), {"steps": equal})()
    same(GlobalError().value(holder), 0.3)


@pytest.mark.parametrize("adjoint", ["direct", "discrete"])
@pytest.mark.parametrize("per_sample", [False, True])
def test_raw_errors_are_those_of_the_tolerance_times_it(per_sample: bool, adjoint: str) -> None:
    """Where the tolerance is one number, which it is without a relative one."""
    net, y0 = Net(size=2), torch.linspace(-1, 1, 6, dtype=torch.float64).reshape(3, 2).requires_grad_()
    options = {"rtol": 0.0, "atol": 1e-5, "per_sample": per_sample, "adjoint": adjoint, "local_errors": True}
    solution = nde.solve_ode(net, y0, (0.0, 2.0), **options)
    for kind, power in ((GlobalError, 1), (GlobalErrorSquared, 2)):
        for reduction in kind.reductions:
            raw, scaled = kind(1.0, reduction, scaled=False)(solution), kind(1.0, reduction)(solution)
            torch.testing.assert_close(raw, scaled * 1e-5**power, rtol=1e-9, atol=0)
            one, two = (torch.autograd.grad(value, y0, retain_graph=True)[0] for value in (raw, scaled))
            torch.testing.assert_close(one, two * 1e-5**power, rtol=1e-6, atol=1e-20)


def test_layers_keep_the_vectors_that_raw_errors_are_made_of_beside_other_penalties() -> None:
    y0 = torch.linspace(-1, 1, 6, dtype=torch.float64).reshape(3, 2)
    for per_sample in (False, True):
        values = []
        for other in (0.0, 1.0):
            penalty = GlobalError(scaled=False) + nde.regularize.LocalError() + nde.regularize.Kinetic(other)
            layer = nde.NeuralODE(Net(size=2), regularizer=penalty, per_sample=per_sample)
            output = layer(y0)
            values.append(GlobalError(scaled=False)(output.solution).detach())
            assert output.solution.steps.y.shape == (len(output.solution.steps), *y0.shape[int(per_sample) :])
            assert float(output.penalty.detach()) > 0
        torch.testing.assert_close(*values, rtol=1e-5, atol=0)
    with pytest.raises(ValueError, match="local_errors=True"):
        GlobalError(scaled=False)(nde.solve_ode(Net(size=2), y0, (0.0, 1.0)))
    with pytest.raises(TypeError, match="scaled must be True or False"):
        GlobalError(scaled=1)


def test_step_count_equals_the_formula(solution: nde.Solution) -> None:
    errors, _, _ = lists(solution)
    target = 0.9**5  # the set point of the default controller for an error of order 5
    smooth = lambda e: ((e / target) ** 2 + 1e-16) ** (0.5 / 5)
    same(StepCount()(solution), sum(smooth(e) for e in errors))
    same(StepCount(set_point=0.2)(solution), sum(((e / 0.2) ** 2 + 1e-16) ** 0.1 for e in errors))


@pytest.mark.parametrize("tolerance", [1e-5, 1e-8])
@pytest.mark.parametrize("method", ["bosh3", "tsit5", "dopri8"])
def test_step_count_counts_the_steps_of_a_long_solve(method: str, tolerance: float) -> None:
    # exponential growth with a relative tolerance takes steps of one size: the count is their number
    solution = nde.solve_ode(lambda t, y: y, double(1.0), (0.0, 40.0), method=method, rtol=tolerance, atol=0.0)
    # but for the first steps, which are smaller, the last, which is cut, and a growing part of higher order in h
    assert float(StepCount()(solution)) == pytest.approx(len(solution.steps), rel=0.05, abs=2)


def test_step_count_of_smaller_steps_than_needed_is_the_number_that_is_needed() -> None:
    options = {"rtol": 1e-6, "atol": 0.0}
    adaptive = nde.solve_ode(lambda t, y: y, double(1.0), (0.0, 40.0), **options)
    size = 40.0 / len(adaptive.steps)
    halved = nde.solve_ode(lambda t, y: y, double(1.0), (0.0, 40.0), controller=nde.FixedStep(size / 2), **options)
    assert len(halved.steps) == 2 * len(adaptive.steps)
    count = StepCount(set_point=adaptive.steps.set_point)(halved)
    assert float(count) == pytest.approx(len(adaptive.steps), rel=0.05)  # higher orders of h, as above


@pytest.mark.parametrize(
    ("penalty", "message"),
    [
        (GlobalError(), r"no error estimate.*tsit5"),
        (GlobalErrorSquared(), "no error estimate"),
        (StepCount(), "no error estimate"),
    ],
)
def test_penalties_on_the_error_say_that_a_method_has_none(penalty, message: str) -> None:
    solution = nde.solve_ode(lambda t, y: -y, double(1.0), (0.0, 1.0), method="rk4", controller=nde.FixedStep(0.1))
    with pytest.raises(ValueError, match=message):
        penalty(solution)


@pytest.mark.parametrize("method", ["heun", "bosh3"])
def test_penalty_on_the_stiffness_says_that_a_method_has_none(method: str) -> None:
    solution = nde.solve_ode(lambda t, y: -y, double(1.0), (0.0, 1.0), method=method)
    with pytest.raises(ValueError, match=r'no stiffness estimate.*"tsit5".*"rk4"'):
        GlobalStiffness()(solution)


def test_step_count_of_fixed_steps_asks_for_a_set_point() -> None:
    solution = nde.solve_ode(lambda t, y: -y, double(1.0), (0.0, 1.0), controller=nde.FixedStep(0.1))
    with pytest.raises(ValueError, match="set_point must be given where steps are fixed"):
        StepCount()(solution)
    assert float(StepCount(set_point=0.5)(solution)) > 0


@pytest.mark.parametrize(
    ("build", "kind", "message"),
    [
        (lambda: GlobalError(reduction="max"), ValueError, "reduction must be one of span, sum, mean, but is 'max'"),
        (lambda: GlobalErrorSquared(reduction="span"), ValueError, "reduction must be one of sum, mean"),
        (lambda: GlobalStiffness(reduction="min"), ValueError, "reduction must be one of span, sum, mean, max"),
        (lambda: GlobalError(-1.0), ValueError, "weight must be zero or positive"),
        (lambda: GlobalError(math.nan), ValueError, "weight must be zero or positive"),
        (lambda: GlobalError(math.inf), ValueError, "weight must be zero or positive and finite"),
        (lambda: GlobalError("1"), TypeError, "weight must be a number or a Schedule"),
        (lambda: GlobalError(True), TypeError, "weight must be a number or a Schedule"),
        (lambda: StepCount(set_point=0.0), ValueError, "set_point must be positive"),
        (lambda: -1.0 * GlobalError(), ValueError, "zero or positive"),
        (lambda: "2" * GlobalError(), TypeError, r"unsupported operand|can't multiply"),
        (lambda: GlobalError() + 1.0, TypeError, "unsupported operand"),
        (lambda: Linear(0.0, 1.0, 0), ValueError, "steps must be at least 1"),
        (lambda: Linear(-1.0, 1.0, 3), ValueError, "start must be zero or positive"),
        (lambda: Linear(1.0, math.nan, 3), ValueError, "end must be zero or positive"),
        (lambda: Exponential(0.0, 1.0, 3), ValueError, r"start must be positive.*Linear"),
        (lambda: Exponential(1.0, 0.0, 3), ValueError, "end must be positive"),
        (lambda: Exponential(1.0, 0.5, -1), ValueError, "steps must be at least 1"),
        (lambda: Constant(-1.0), ValueError, "weight must be zero or positive"),
    ],
)
def test_wrong_arguments_are_named(build, kind, message: str) -> None:
    with pytest.raises(kind, match=message):
        build()


def test_constant_schedule_stays() -> None:
    assert [Constant(0.3)(iteration) for iteration in (0, 1, 1000)] == [0.3] * 3


def test_linear_schedule_moves_in_a_line_and_stays_at_its_end() -> None:
    schedule = Linear(1.0, 3.0, 4)
    assert [schedule(iteration) for iteration in range(7)] == [1.0, 1.5, 2.0, 2.5, 3.0, 3.0, 3.0]


def test_exponential_schedule_anneals_as_the_published_code_does() -> None:
    # lambda0 exp(-k epoch) with k = log(lambda0 / lambda1) / epochs, from 100 to 10
    schedule = Exponential(100.0, 10.0, 75)
    for epoch in range(76):
        expected = 100 * math.exp(-math.log(10) / 75 * epoch)
        assert schedule(epoch) == pytest.approx(expected, rel=1e-12)  # one power in place of one exponential
    assert schedule(200) == 10.0


def test_schedules_may_rise() -> None:
    assert Exponential(0.1, 5.0, 10)(10) == pytest.approx(5.0, rel=1e-14)
    assert Linear(0.0, 1.0, 2)(1) == 0.5


def test_weight_multiplies_the_value_and_follows_its_schedule(solution: nde.Solution) -> None:
    penalty = GlobalError(Linear(1.0, 3.0, 2))
    plain = float(GlobalError()(solution))
    for weight in (1.0, 2.0, 3.0, 3.0):
        assert penalty.weight == weight
        same(penalty(solution), weight * plain)
        penalty.step()


def test_evaluating_a_penalty_does_not_move_its_schedule(solution: nde.Solution) -> None:
    penalty = GlobalError(Linear(1.0, 3.0, 2))
    penalty(solution)
    penalty(solution)
    assert penalty.weight == 1.0


def test_penalty_of_weight_zero_is_zero_even_where_it_could_not_be_evaluated() -> None:
    fixed = nde.solve_ode(lambda t, y: -y, double(1.0), (0.0, 1.0), method="euler", controller=nde.FixedStep(0.1))
    for penalty in (GlobalError(0.0), 0 * GlobalStiffness(), StepCount(0.0)):
        assert penalty(fixed).item() == 0 and penalty(fixed).shape == ()


def test_penalty_that_reaches_weight_zero_stops_the_gradient() -> None:
    penalty = GlobalError(Linear(1.0, 0.0, 1))
    solution = nde.solve_ode(lambda t, y: -y, double(1.0).requires_grad_(), (0.0, 1.0))
    assert penalty(solution).requires_grad
    penalty.step()
    assert not penalty(solution).requires_grad


def test_sums_and_multiples_of_penalties_are_those_of_their_values(solution: nde.Solution) -> None:
    a, b, c = GlobalError(2.0), GlobalStiffness(), StepCount(0.01)
    values = [float(penalty(solution)) for penalty in (a, b, c)]
    same((a + 0.1 * b)(solution), values[0] + 0.1 * values[1])
    same((0.5 * (a + 0.1 * b) + c)(solution), 0.5 * (values[0] + 0.1 * values[1]) + values[2])
    same((2 * (3 * a))(solution), 6 * values[0])
    same((a + a)(solution), 2 * values[0])


def test_multiples_follow_the_schedule_of_the_original_and_leave_its_weight_alone() -> None:
    original = GlobalError(Linear(2.0, 0.0, 4))
    multiple = 0.25 * original
    assert (original.weight, multiple.weight) == (2.0, 0.5)
    original.step()
    assert (original.weight, multiple.weight) == (1.5, 0.375)
    multiple.step()
    assert (original.weight, multiple.weight) == (1.0, 0.25)
    (original + 2 * multiple).step()  # all three are one penalty with one schedule
    assert original.weight == 0.5


def test_penalties_add_up_with_sum(solution: nde.Solution) -> None:
    terms = [GlobalError(1.0), 0.5 * GlobalErrorSquared(2.0)]
    same(sum(terms)(solution), float(terms[0](solution) + terms[1](solution)))


def test_sum_moves_every_term_along_its_schedule() -> None:
    total = GlobalError(Linear(1.0, 2.0, 1)) + 10 * GlobalStiffness(Linear(0.0, 4.0, 4))
    total.step()
    assert [term.weight for term in total.terms] == [2.0, 10.0]


def test_penalty_used_twice_in_a_sum_moves_once_per_step(solution: nde.Solution) -> None:
    term = GlobalError(Linear(0.0, 10.0, 10))
    total = term + term
    total.step()
    assert term.weight == 1.0
    same(total(solution), 2 * float(GlobalError()(solution)))


def test_place_in_the_schedule_survives_a_state_dict() -> None:
    def build():
        return nde.NeuralODE(
            Net(size=2), regularizer=GlobalError(Linear(0.0, 1.0, 10)) + 0.5 * StepCount(Exponential(4.0, 1.0, 2))
        )

    trained = build()
    for _ in range(3):
        trained.regularizer.step()
    restored = build()
    restored.load_state_dict(trained.state_dict())
    assert [term.weight for term in restored.regularizer.terms] == [term.weight for term in trained.regularizer.terms]
    assert restored.regularizer.terms[0].weight == pytest.approx(0.3)
    restored.regularizer.step()
    assert restored.regularizer.terms[0].weight == pytest.approx(0.4)


def test_state_dict_of_a_penalty_can_be_saved_without_pickled_classes(tmp_path) -> None:
    penalty = GlobalError(Linear(0.0, 1.0, 10))
    penalty.step()
    torch.save(penalty.state_dict(), tmp_path / "penalty.pt")
    restored = GlobalError(Linear(0.0, 1.0, 10))
    restored.load_state_dict(torch.load(tmp_path / "penalty.pt", weights_only=True))
    assert restored.weight == penalty.weight == 0.1


def test_penalties_are_modules_without_parameters_that_can_be_copied() -> None:
    penalty = GlobalError(Linear(0.0, 1.0, 10))
    assert list(penalty.parameters()) == []
    penalty.step()
    twin = copy.deepcopy(penalty)
    twin.step()
    assert (penalty.weight, twin.weight) == (0.1, 0.2)


def test_representations_name_weight_and_reduction() -> None:
    assert "reduction='span'" in repr(GlobalError(2.0)) and "2.0" in repr(GlobalError(2.0))
    assert "factor=0.1" in repr(0.1 * GlobalStiffness())


def test_penalties_of_a_users_own_take_one_line(solution: nde.Solution) -> None:
    class Barrier(nde.regularize.Penalty):
        def value(self, solution):
            return -torch.log(2 - solution.steps.error).sum()

    expected = -sum(math.log(2 - e) for e in lists(solution)[0])
    same(Barrier(0.5)(solution), 0.5 * expected)
    same((Barrier(0.5) + GlobalErrorSquared())(solution), 0.5 * expected + float(GlobalErrorSquared()(solution)))


def test_penalty_keeps_the_dtype_of_the_state() -> None:
    solution = nde.solve_ode(lambda t, y: -y, torch.ones(2, requires_grad=True), (0.0, 1.0))
    for penalty in (GlobalError(), GlobalErrorSquared(), GlobalStiffness(), StepCount(), GlobalError(0.0)):
        assert penalty(solution).dtype is torch.float32
