"""The weight of a penalty adapts until solves cost what they may."""

import copy
import math

import pytest
import torch
from torch import nn

import nde
from nde.regularize import GlobalError, LocalError, NFEBudget, StepCount
from tests.problems import double


class Toy(nn.Module):
    """A classifier-like field whose solves become long when nothing holds them back."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 24), nn.Tanh(), nn.Linear(24, 2)).double()

    def forward(self, t, y):
        return 4 * self.net(torch.cat([y, t.expand(len(y), 1)], 1))


def trained(regularizer, iterations: int) -> tuple[list[int], float]:
    """Return the evaluations of every solve of a training, and the last loss."""
    torch.manual_seed(0)
    field = Toy()
    x = torch.randn(32, 2, dtype=torch.float64)
    target = torch.stack([torch.sin(3 * x[:, 0]) + x[:, 1], x[:, 0] * x[:, 1]], 1)
    layer = nde.NeuralODE(field, regularizer=regularizer, rtol=1e-8, atol=1e-8)
    optimiser = torch.optim.Adam(field.parameters(), 1e-2)
    evaluations = []
    for _ in range(iterations):
        output = layer(x)
        loss = (output.y1 - target).square().mean()
        optimiser.zero_grad()
        (loss + output.penalty).backward()
        optimiser.step()
        if regularizer is not None:
            regularizer.step()
        evaluations.append(output.stats.n_field_evals)
    return evaluations, float(loss.detach())


@pytest.mark.parametrize(
    ("penalty", "target"),
    [
        (LocalError, 60),
        pytest.param(GlobalError, 80, marks=pytest.mark.slow),
        pytest.param(StepCount, 80, marks=pytest.mark.slow),
    ],
)
def test_evaluations_end_within_a_tenth_of_the_target_without_a_coefficient(penalty, target: int) -> None:
    evaluations, _ = trained(NFEBudget(target, penalty()), 80)
    assert abs(sum(evaluations[-10:]) / 10 / target - 1) < 0.1


@pytest.mark.slow
def test_training_without_a_budget_costs_more_than_any_of_the_targets() -> None:
    evaluations, _ = trained(None, 80)
    assert sum(evaluations[-10:]) / 10 > 1.2 * 80


def solution() -> nde.Solution:
    return nde.solve_ode(lambda t, y: -y, double(1.0, 0.5), (0.0, 1.0), step_states=True)


def test_weight_moves_by_the_formula_and_scales_the_penalty() -> None:
    found = solution()
    cost = found.stats.n_field_evals
    budget = NFEBudget(cost / 1.5, GlobalError(3.0), rate=0.2, damping=0.7, initial=0.1)
    plain = GlobalError(3.0)(found)
    assert float(budget(found)) == pytest.approx(0.1 * float(plain), rel=1e-12)
    budget.step()  # an excess of a half, the first
    assert budget.weight == pytest.approx(0.1 * math.exp(0.2 * 0.5), rel=1e-12)
    budget.step()  # nothing was solved
    assert budget.weight == pytest.approx(0.1 * math.exp(0.2 * 0.5), rel=1e-12)
    budget.target = cost / 1.2
    for _ in range(3):  # the mean over the solves of an iteration counts
        budget(found)
    budget.step()
    assert budget.weight == pytest.approx(0.1 * math.exp(0.2 * 0.5 + 0.2 * 0.2 + 0.7 * (0.2 - 0.5)), rel=1e-12)


def test_excess_is_clamped_and_weight_stays_within_its_bounds() -> None:
    found = solution()
    budget = NFEBudget(1e-3, GlobalError(), rate=0.5, bounds=(0.5, 1.9))
    budget(found)
    budget.step()
    assert budget.weight == pytest.approx(math.exp(0.5), rel=1e-12)
    for _ in range(3):
        budget(found)
        budget.step()
    assert budget.weight == pytest.approx(1.9, rel=1e-12)
    budget.target = 1e9
    for _ in range(9):
        budget(found)
        budget.step()
    assert budget.weight == pytest.approx(0.5, rel=1e-12)


def test_it_composes_with_sums_multiples_and_schedules() -> None:
    found = solution()
    inner = LocalError(nde.regularize.Linear(1.0, 3.0, 2))
    budget = NFEBudget(found.stats.n_field_evals / 2, inner, rate=0.3, damping=0.0)
    both = 0.5 * budget + GlobalError()
    assert both.solve_options() == {"step_states": True}
    both(found)
    both.step()
    assert budget.weight == pytest.approx(math.exp(0.3), rel=1e-12) and inner.weight == 2.0


def test_state_survives_a_state_dict_and_a_copy(tmp_path) -> None:
    found = solution()

    def build():
        return NFEBudget(10, LocalError(), initial=0.5)

    budget = build()
    budget(found)
    budget.step()
    budget(found)
    torch.save(budget.state_dict(), tmp_path / "state.pt")
    twin, other = copy.deepcopy(budget), build()
    other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    for one in (budget, twin, other):
        one.step()
    assert budget.weight == twin.weight == other.weight != 0.5
    assert budget(found) == twin(found) == other(found)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: NFEBudget(0, GlobalError()), ValueError, "target must be positive"),
        (lambda: NFEBudget("few", GlobalError()), TypeError, "target must be a number"),
        (lambda: NFEBudget(50, 3.0), TypeError, "penalty must be a Penalty"),
        (lambda: NFEBudget(50, GlobalError(), rate=0), ValueError, "rate must be positive"),
        (lambda: NFEBudget(50, GlobalError(), damping=-1), ValueError, "damping must be zero or positive"),
        (lambda: NFEBudget(50, GlobalError(), initial=math.inf), ValueError, "initial must be positive"),
        (lambda: NFEBudget(50, GlobalError(), bounds=(2.0, 1.0)), ValueError, "bounds must be two positive numbers"),
        (lambda: NFEBudget(50, GlobalError(), bounds=3.0), ValueError, "bounds must be two positive numbers"),
    ],
)
def test_wrong_arguments_are_named(call, error, message: str) -> None:
    with pytest.raises(error, match=message):
        call()
