"""The counts in ``solution.stats`` are those of the calls that the field received, and follow from the steps."""

import pytest
import torch

import nde
from nde.adjoint import DiscreteAdjoint
from tests.problems import ADAPTIVE, FSAL, METHODS, STAGES, Counted, double, each_adjoint, van_der_pol


def evaluations(method: str, accepted: int, rejected: int, automatic: bool) -> int:
    """Return the evaluations that a solve needs.

    The first stage of an attempt is known, from the step before (first same as last), from the attempt that was
    rejected, or, for the other methods, after one evaluation at the beginning of each step. The automatic first step
    costs one evaluation besides the slope at the initial time, which the first step uses again.
    """
    beginnings = 1 if method in FSAL else accepted
    return beginnings + (STAGES[method] - 1) * (accepted + rejected) + (1 if automatic else 0)


@each_adjoint
@pytest.mark.parametrize("initial", [None, 0.01, 3.0], ids=["automatic", "small", "too large"])
@pytest.mark.parametrize("method", ADAPTIVE)
def test_evaluations_follow_from_accepted_and_rejected_steps(method: str, initial: float | None, adjoint) -> None:
    counted = Counted(van_der_pol)
    solution = nde.solve_ode(
        counted,
        double(2.0, 0.0).requires_grad_(),
        (0.0, 2.0),
        method=method,
        rtol=1e-3,
        atol=1e-3,
        controller=nde.IController(initial=initial),
        adjoint=adjoint,
    )
    stats = solution.stats
    assert (stats.n_rejected > 0) or initial != 3.0
    assert stats.n_steps == stats.n_accepted + stats.n_rejected
    assert stats.n_accepted == len(solution.steps)
    expected = evaluations(method, stats.n_accepted, stats.n_rejected, automatic=initial is None)
    assert counted.calls == stats.n_field_evals == expected


@pytest.mark.parametrize("method", ["tsit5", "dopri5"])
def test_a_five_four_pair_costs_six_evaluations_per_attempt_and_two_more(method: str) -> None:
    # published counts are 6 N + 3: their automatic first step evaluates the initial slope twice, ours once
    for controller, extra in ((None, 2), (nde.IController(initial=2.0), 1)):
        solution = nde.solve_ode(
            van_der_pol, double(2.0, 0.0), (0.0, 3.0), method=method, rtol=1e-5, controller=controller
        )
        assert solution.stats.n_field_evals == 6 * solution.stats.n_steps + extra
    assert solution.stats.n_rejected > 0


@pytest.mark.parametrize("controller", [nde.FixedStep(0.25), nde.StepTo((0.25, 0.5, 0.75))], ids=["fixed", "to times"])
@pytest.mark.parametrize("method", METHODS)
def test_fixed_steps_cost_their_stages(method: str, controller) -> None:
    counted = Counted(lambda t, y: torch.cos(t) * y)
    solution = nde.solve_ode(counted, double(1.0), (0.0, 1.0), method=method, controller=controller)
    assert solution.stats.n_accepted == 4 and solution.stats.n_rejected == 0
    assert counted.calls == solution.stats.n_field_evals == evaluations(method, 4, 0, automatic=False)


@pytest.mark.parametrize("method", METHODS)
def test_outputs_inside_steps_cost_evaluations_only_where_the_method_says_so(method: str) -> None:
    counts = []
    for times in ((0.0, 1.0), (0.0, 0.1, 0.2, 0.6, 1.0)):
        counted = Counted(lambda t, y: torch.cos(t) * y)
        solution = nde.solve_ode(counted, double(1.0), times, method=method, controller=nde.FixedStep(0.5))
        assert counted.calls == solution.stats.n_field_evals
        counts.append(counted.calls)
    # dopri8 evaluates three more stages once in each step that has outputs inside
    assert counts[1] - counts[0] == (6 if method == "dopri8" else 0)


def test_outputs_inside_steps_do_not_change_the_steps() -> None:
    plain = nde.solve_ode(van_der_pol, double(2.0, 0.0), (0.0, 3.0))
    dense = nde.solve_ode(van_der_pol, double(2.0, 0.0), torch.linspace(0, 3, 50, dtype=torch.float64))
    assert torch.equal(plain.steps.h, dense.steps.h)
    assert torch.equal(plain.y1, dense.y1)


@pytest.mark.parametrize("method", ADAPTIVE)
def test_backward_evaluations_of_a_replay_do_not_depend_on_rejected_steps(method: str) -> None:
    counted = Counted(van_der_pol)
    solution = nde.solve_ode(
        counted,
        double(2.0, 0.0).requires_grad_(),
        (0.0, 1.0),
        method=method,
        rtol=1e-3,
        atol=1e-3,
        controller=nde.IController(initial=3.0),
        adjoint=DiscreteAdjoint(tape_memory=0),
    )
    assert solution.stats.n_rejected > 0
    before = counted.calls
    solution.y1.sum().backward()
    stages = STAGES[method] - 1 if method in FSAL else STAGES[method]
    assert counted.calls - before == solution.stats.n_backward_field_evals == stages * solution.stats.n_accepted


def test_failed_solves_count_their_evaluations() -> None:
    counted = Counted(lambda t, y: y**2)
    solution = nde.solve_ode(counted, torch.ones(3, 1), (0.0, 2.0), throw=False)
    assert solution.stats.n_field_evals == counted.calls
