"""What the layers that solve an equation share: options of the solve, a penalty in training mode, and their output."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from nde.models.penalized import Part, integrals_due, solve_with_integrals
from nde.models.penalty_checks import check_penalties
from nde.regularize import Penalty, Steer
from nde.solvers import Solution, Stats
from nde.solvers.structure import State

__all__ = ["LayerOutput", "SolverLayer", "as_numbers", "check_size"]


@dataclass(frozen=True)
class LayerOutput:
    """A solution and the penalty on it.

    Attributes:
        solution: The whole solution, with its steps and their estimates.
        penalty: Weighted penalty to add to the loss, a 0-d tensor; zero in evaluation mode and without a regularizer.
    """

    solution: Solution
    penalty: Tensor

    @property
    def y1(self) -> State:
        """State at the end of the span, of the structure of the input."""
        return self.solution.y1

    @property
    def ys(self) -> State:
        """States at the output times, with a leading axis ``T``."""
        return self.solution.ys

    @property
    def stats(self) -> Stats:
        """Cost of the solve."""
        return self.solution.stats


class SolverLayer(nn.Module):
    """A module that solves an equation with the options that it was built with.

    Args:
        ts: Output times, shape ``(T,)``; those of a call take precedence.
        regularizer: Penalty on the cost of the solve, applied in training mode.
        options: Keywords of the solve.
        steer: Jitter of the output times in training mode; None for none.

    Raises:
        TypeError: The regularizer is no penalty, or ``steer`` is no `Steer`.
        ValueError: The regularizer holds a penalty that this layer or the options do not go with.
    """

    def __init__(
        self,
        ts: Tensor | Sequence[float],
        regularizer: Penalty | None,
        options: dict[str, Any],
        steer: Steer | None = None,
    ) -> None:
        super().__init__()
        if regularizer is not None and not isinstance(regularizer, Penalty):
            raise TypeError(f"regularizer must be a Penalty, but is a {type(regularizer).__name__}.")
        if steer is not None and not isinstance(steer, Steer):
            raise TypeError(f"steer must be a Steer, but is a {type(steer).__name__}. Try nde.regularize.Steer(0.25).")
        check_penalties(regularizer, options)
        self.regularizer = regularizer
        self.steer = steer
        # no buffer: a cast of the weights to another precision must not move the times
        self.ts = ts
        self.options = options

    def integrated(
        self,
        solver: Callable[..., Solution],
        functions: tuple[Callable[..., State], ...],
        y0: State,
        ts: Any,
        args: tuple[Any, ...],
        part: Part | None = None,
        **options: Any,
    ) -> Solution:
        """Solve with the options of the layer, those of its regularizer and further ones.

        In training mode, the integrals that penalties are made of are made too.

        Args:
            solver: `nde.solve_ode` or `nde.solve_sde`.
            functions: The field; or drift and diffusion.
            y0, args: As for the solver.
            ts: Output times, which `steer` jitters; None for the layer's.
            part: What penalties along the trajectory look at; None for the whole state.
            options: Options that take precedence.
        """
        times = self.times(ts)
        options = {**self.options, **self.solve_options(), **options}
        penalties = integrals_due(self.regularizer) if self.training else []
        if not penalties:
            return solver(*functions, y0, times, args, **options)
        return solve_with_integrals(solver, functions, penalties, y0, times, args, options, part)

    def solve_options(self) -> dict[str, Any]:
        """Return the keywords that the regularizer asks of a solve in training mode; none in evaluation mode."""
        return self.regularizer.solve_options() if self.training and self.regularizer is not None else {}

    def times(self, ts: Tensor | Sequence[float] | None) -> Tensor | Sequence[float]:
        """Return the output times of a call, jittered by `steer` in training mode."""
        times = self.ts if ts is None else ts
        if self.training and self.steer is not None:
            jittered: Tensor = self.steer(times)
            return jittered
        return times

    def penalty(self, solution: Solution) -> Tensor:
        """Return the weighted penalty on a solution, a 0-d tensor; zero in evaluation mode."""
        if self.training and self.regularizer is not None:
            penalty: Tensor = self.regularizer(solution)
            return penalty
        return torch.zeros_like(solution.steps.h.sum())

    def extra_repr(self) -> str:
        """Describe the solver in ``repr``."""
        names = ("noise", "calculus", "method", "rtol", "atol", "adjoint")
        return ", ".join(f"{name}={self.options[name]!r}" for name in names if name in self.options)


def check_size(value: Any, name: str) -> None:
    """Raise unless a size is a positive integer."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an integer, but is {value!r}.")
    if value < 1:
        raise ValueError(f"{name} must be at least 1, but is {value}.")


def as_numbers(value: Any, name: str) -> Tensor:
    """Return a number or a tensor as a floating point tensor of its own.

    Raises:
        TypeError: It is neither.
        ValueError: It is not finite.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float, Tensor)):
        raise TypeError(f"{name} must be a number or a tensor, but is {value!r}.")
    tensor = torch.as_tensor(value).detach().clone()
    if not tensor.is_floating_point():
        tensor = tensor.to(torch.get_default_dtype())
    if not bool(tensor.isfinite().all()):
        raise ValueError(f"{name} must be finite, but is {value!r}.")
    return tensor
