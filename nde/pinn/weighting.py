"""Weights of losses that are found in training: by gradients, by tangent kernels, and by causality in time."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from nde.pinn.jacobian import residual_jacobian
from nde.pinn.problem import Problem, row_sizes
from nde.taylor.operators import Estimate
from nde.taylor.operators.checks import check_count

__all__ = ["Causal", "Combined", "GradientNorm", "TangentKernel", "Weighting"]

Weights = dict[str, Tensor | float]


class Weighting:
    """Factors of the losses of a problem's conditions."""

    def weights(self, problem: Problem, residuals: Mapping[str, Tensor | Estimate], iteration: int) -> Weights:
        """Return the factors: numbers, or a tensor of the shape ``(n,)`` for the points of a condition."""
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take the state of `state_dict`."""


class _Balanced(Weighting):
    """Moving averages of numbers that make all conditions count alike."""

    def __init__(self, every: int, decay: float) -> None:
        self.every = check_count(every, "every", 1)
        if not 0 <= decay < 1:
            raise ValueError(f"decay must be at least 0 and below 1, but is {decay}.")
        self.decay = decay
        self.current: dict[str, float] = {}

    def weights(self, problem: Problem, residuals: Mapping[str, Tensor | Estimate], iteration: int) -> Weights:
        """See `Weighting.weights`."""
        if not self.current or iteration % self.every == 0:
            sizes = self._sizes(problem, residuals)
            mean = sum(sizes.values()) / len(sizes)
            for name, size in sizes.items():
                fresh = mean / size if size > 0 else 1.0
                old = self.current.get(name)
                self.current[name] = fresh if old is None else self.decay * old + (1 - self.decay) * fresh
        return dict(self.current)

    def _sizes(self, problem: Problem, residuals: Mapping[str, Tensor | Estimate]) -> dict[str, float]:
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        """See `Weighting.state_dict`."""
        return {"current": dict(self.current)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `Weighting.load_state_dict`."""
        self.current = dict(state["current"])


class GradientNorm(_Balanced):
    """Losses whose gradients have the same length: ``w_i = mean_j |grad L_j| / |grad L_i|``.

    Args:
        every: Number of steps between updates.
        decay: Of the moving average.

    Source:
        Wang, Teng, Perdikaris, Understanding and mitigating gradient flow pathologies in physics-informed neural
        networks (2021); Wang, Sankaran, Wang, Perdikaris, An expert's guide to training physics-informed neural
        networks (2023), section 4.
    """

    def __init__(self, *, every: int = 1000, decay: float = 0.9) -> None:
        super().__init__(every, decay)

    def _sizes(self, problem: Problem, residuals: Mapping[str, Tensor | Estimate]) -> dict[str, float]:
        trained = [parameter for parameter in problem.parameters() if parameter.requires_grad]
        sizes = {}
        for name, loss in problem.losses(residuals).items():
            gradients = torch.autograd.grad(loss, trained, retain_graph=True, allow_unused=True)
            sizes[name] = math.sqrt(sum(float(g.square().sum()) for g in gradients if g is not None))
        return sizes


class TangentKernel(_Balanced):
    """Losses that fall at the same rate: ``w_i = mean_j tr K_j / tr K_i`` with the tangent kernels' mean diagonals.

    Args:
        every: Number of steps between updates.
        decay: Of the moving average.
        points: At most how many points of each condition the diagonal is averaged over.

    Source:
        Wang, Yu, Perdikaris, When and why PINNs fail to train: a neural tangent kernel perspective (2022).
    """

    def __init__(self, *, every: int = 1000, decay: float = 0.9, points: int = 256) -> None:
        super().__init__(every, decay)
        self.points = check_count(points, "points", 1)

    def _sizes(self, problem: Problem, residuals: Mapping[str, Tensor | Estimate]) -> dict[str, float]:
        sizes = {}
        for name in residuals:
            rows = residual_jacobian(problem, name, problem.points(name)[: self.points], chunk=64)
            sizes[name] = float(rows.square().sum(1).mean()) * problem.conditions[name].weight
        return sizes


class Causal(Weighting):
    """Residuals at later times count once those before are small: ``w_i = exp(-tolerance sum_(k < i) L_k)``.

    Args:
        condition: The name of the equation's condition.
        start, end: The interval of time, parted into ``chunks`` of equal length.
        tolerance: How small the residuals before have to be.
        chunks: Number of parts.
        axis: The coordinate of time.

    Attributes:
        smallest: The weight of the last part in the last step; training is causal throughout when it is near 1.

    Source:
        Wang, Sankaran, Perdikaris, Respecting causality is all you need for training physics-informed neural networks
        (2022), equation 3.6.
    """

    def __init__(
        self,
        condition: str,
        start: float,
        end: float,
        *,
        tolerance: float = 1.0,
        chunks: int = 32,
        axis: int = -1,
    ) -> None:
        if not start < end or not tolerance > 0:
            raise ValueError(f"start must be below end and tolerance positive, not {start}, {end} and {tolerance}.")
        self.condition = condition
        self.start = start
        self.end = end
        self.tolerance = tolerance
        self.chunks = check_count(chunks, "chunks", 2)
        self.axis = axis
        self.smallest = 0.0

    def weights(self, problem: Problem, residuals: Mapping[str, Tensor | Estimate], iteration: int) -> Weights:
        """See `Weighting.weights`.

        Raises:
            ValueError: The problem has no condition of this name.
        """
        if self.condition not in residuals:
            raise ValueError(f"condition {self.condition!r} is not one of the problem's: {sorted(residuals)}.")
        residual = residuals[self.condition]
        value = residual.value if isinstance(residual, Estimate) else residual
        squares = row_sizes(value.detach()).square()
        times = problem.points(self.condition)[:, self.axis]
        shares = (times - self.start) / (self.end - self.start)
        part = (shares * self.chunks).long().clamp(0, self.chunks - 1)
        counts = torch.bincount(part, minlength=self.chunks).clamp_min(1)
        losses = (
            torch.zeros(self.chunks, dtype=squares.dtype, device=squares.device).index_add(0, part, squares) / counts
        )
        # not the sum up to here less the last term, which a large term would cancel all digits of
        before = torch.cat([losses.new_zeros(1), losses[:-1].cumsum(0)])
        by_part = torch.exp(-self.tolerance * before)
        self.smallest = float(by_part[-1])
        return {self.condition: by_part[part]}


class Combined(Weighting):
    """The products of the factors of several weightings.

    Args:
        parts: The weightings.
    """

    def __init__(self, *parts: Weighting) -> None:
        self.parts = parts

    def weights(self, problem: Problem, residuals: Mapping[str, Tensor | Estimate], iteration: int) -> Weights:
        """See `Weighting.weights`."""
        total: Weights = {}
        for part in self.parts:
            for name, factor in part.weights(problem, residuals, iteration).items():
                total[name] = total[name] * factor if name in total else factor
        return total

    def state_dict(self) -> dict[str, Any]:
        """See `Weighting.state_dict`."""
        return {str(index): part.state_dict() for index, part in enumerate(self.parts)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `Weighting.load_state_dict`."""
        for index, part in enumerate(self.parts):
            part.load_state_dict(state[str(index)])
