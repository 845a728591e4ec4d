"""The error estimate of the published experiments on regularization: a sum of drift stages, and so no error."""

import pytest
import torch

import nde
from nde.solvers.sde import srk_tables
from nde.solvers.sde.srk import StochasticRungeKutta

START = torch.tensor([[2.0, 0.5], [1.0, -1.0]], dtype=torch.float64)
DRIFT = torch.tensor([[-0.1, 2.0], [-2.0, -0.1]], dtype=torch.float64)


def drift(t, y):
    return (y**3) @ DRIFT.T


def first_error(h, noise, reference, name="SOSRI"):
    """Return the error estimate of one step, with tolerances of 1."""
    method = StochasticRungeKutta("tried", getattr(srk_tables, name), reference=reference)
    solution = nde.solve_sde(
        drift,
        lambda t, y: noise * torch.ones_like(y),
        START,
        (0.0, h),
        method=method,
        controller=nde.FixedStep(h),
        rtol=0.0,
        atol=1.0,
        seed=0,
    )
    return solution.steps.error[0].item()


@pytest.mark.parametrize(("name", "stages"), [("SOSRI", 4), ("SOSRI2", 4), ("SRIW1", 4)])
def test_is_the_number_of_stages_times_the_drift_as_steps_shrink(name, stages):
    slope = drift(0.0, START).square().mean().sqrt().item()
    ratios = [first_error(h, 0.0, True, name) / (h * slope) for h in (1e-2, 1e-3, 1e-4)]
    assert abs(ratios[2] - stages) < 1e-2 and abs(ratios[2] - stages) < abs(ratios[1] - stages) < abs(
        ratios[0] - stages
    )


def test_is_of_first_order_where_the_embedded_one_is_of_second():
    # without noise, what differs from Euler's solution is of the order h^2
    for reference, order in ((True, 1), (False, 2)):
        quotient = first_error(2e-3, 0.0, reference) / first_error(1e-3, 0.0, reference)
        assert abs(torch.tensor(quotient).log2().item() - order) < 0.1


def test_leaves_the_solution_of_a_step_as_it_is():
    with_reference, without = (
        nde.solve_sde(
            drift,
            lambda t, y: 0.2 * y,
            START,
            (0.0, 0.1),
            method=StochasticRungeKutta("tried", srk_tables.SOSRI2, reference=reference),
            controller=nde.FixedStep(0.01),
            seed=1,
        )
        for reference in (True, False)
    )
    assert torch.equal(with_reference.y1, without.y1)
    assert with_reference.steps.error.gt(without.steps.error).all()
