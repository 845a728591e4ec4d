"""A weight that finds itself: the penalty weighs as much as it takes to keep a solve within a budget."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from nde.processes import summed
from nde.regularize.penalty import Penalty
from nde.solvers.solution import Solution

__all__ = ["NFEBudget"]


class NFEBudget(Penalty):
    """A penalty whose weight is adapted until the solves cost a given number of evaluations of the field.

    Minimising the loss subject to ``evaluations <= target`` has the multiplier of that constraint as the weight. Each
    call of `step` moves it by dual ascent on its logarithm, with the excess ``x = evaluations / target - 1`` averaged
    over the solves since the last one:

        ``log weight += rate * clamp(x, -1, 1) + damping * (x - x_before)``

    The second term, that of an augmented Lagrangian, answers changes at once and keeps the cost from swinging around
    its target. Where the solve is cheaper than the target without any penalty, the weight falls to its lower bound. It
    works with the equations and adjoints of the penalty that it wraps. Where several processes train together
    (``torch.distributed``), the solves of all of them count, so that they agree on the weight: all must call `step`.

    Args:
        target: Evaluations of the field for one solve, as ``solution.stats.n_field_evals`` counts them.
        penalty: Any penalty; its own weight is a factor.
        rate: Speed of the adaptation: an excess of 100 % multiplies the weight by ``exp(rate)``.
        damping: See above.
        initial: First weight.
        bounds: Smallest and largest weight.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument is out of range.
    """

    def __init__(
        self,
        target: float,
        penalty: Penalty,
        *,
        rate: float = 0.2,
        damping: float = 1.0,
        initial: float = 1.0,
        bounds: tuple[float, float] = (1e-8, 1e8),
    ) -> None:
        super().__init__(1.0)
        for name, value in (("target", target), ("rate", rate), ("damping", damping), ("initial", initial)):
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise TypeError(f"{name} must be a number, but is {value!r}.")
            if not (0 < value < math.inf or (value == 0 and name == "damping")):
                least = "zero or positive" if name == "damping" else "positive"
                raise ValueError(f"{name} must be {least} and finite, but is {value}.")
        if not isinstance(penalty, Penalty):
            raise TypeError(f"penalty must be a Penalty, but is a {type(penalty).__name__}.")
        if not isinstance(bounds, tuple) or len(bounds) != 2 or not 0 < bounds[0] <= initial <= bounds[1] < math.inf:
            raise ValueError(
                f"bounds must be two positive numbers around initial={initial}, in order, but is {bounds!r}."
            )
        self.target = float(target)
        self.term = penalty
        self.rate = float(rate)
        self.damping = float(damping)
        self.bounds = bounds
        self._log_weight = math.log(initial)
        self._excess: float | None = None
        self._evaluations = 0
        self._solves = 0

    @property
    def weight(self) -> float:
        """The current weight, a factor on the penalty's own."""
        return math.exp(self._log_weight)

    def value(self, solution: Solution) -> Tensor:
        """Count the evaluations of the solve, and return the penalty with its own weight, before this one."""
        self._evaluations += solution.stats.n_field_evals
        self._solves += 1
        value: Tensor = self.term(solution)
        return value

    def solve_options(self) -> dict[str, Any]:
        """Return what the penalty asks for."""
        return self.term.solve_options()

    def step(self) -> None:
        """Adapt the weight to the solves since the last call, and move the penalty along its own schedule."""
        self.term.step()
        counts = summed(torch.tensor([self._evaluations, self._solves], dtype=torch.float64))
        evaluations, solves = counts.tolist()
        if not solves:
            return
        excess = min(max(evaluations / solves / self.target - 1, -1.0), 1.0)
        change = 0.0 if self._excess is None else excess - self._excess
        low, high = (math.log(bound) for bound in self.bounds)
        moved = self._log_weight + self.rate * excess + self.damping * change
        self._log_weight = min(max(moved, low), high)
        self._excess, self._evaluations, self._solves = excess, 0, 0

    def get_extra_state(self) -> Tensor:
        """Return the logarithm of the weight, the last excess and the counts, for ``state_dict``."""
        excess = math.nan if self._excess is None else self._excess
        return torch.tensor([self._log_weight, excess, self._evaluations, self._solves], dtype=torch.float64)

    def set_extra_state(self, state: Tensor) -> None:
        """Restore them, for ``load_state_dict``."""
        self._log_weight, excess, evaluations, solves = state.tolist()
        self._excess = None if math.isnan(excess) else excess
        self._evaluations, self._solves = int(evaluations), int(solves)

    def extra_repr(self) -> str:
        """Describe the budget in ``repr``."""
        return f"target={self.target:g}, rate={self.rate:g}, damping={self.damping:g}, weight={self.weight:.3g}"
