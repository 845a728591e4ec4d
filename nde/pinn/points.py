"""Where conditions are enforced: fixed points, points drawn anew, and points that follow the residual."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from nde.pinn.geometry.draws import check_method
from nde.taylor.operators.checks import check_count, finite_rows

__all__ = ["FixedPoints", "PointSet", "RandomPoints", "ResidualPoints", "RetainedPoints", "as_points"]

Draw = Callable[..., Tensor]  # (count, *, method, generator, dtype) -> points, as Geometry.sample
Residual = Callable[[Tensor], Tensor]


class PointSet:
    """The points of one condition.

    Attributes:
        current: Shape ``(n, d)``; None before the first `refresh`.
    """

    current: Tensor | None = None

    def refresh(self, iteration: int, residual: Residual, generator: torch.Generator | None, like: Tensor) -> bool:
        """Draw points where it is time to, and return whether they are new.

        Args:
            iteration: Number of optimiser steps so far.
            residual: Size of the residual at points, ``(n, d) -> (n,)``.
            generator: Source of random numbers.
            like: Gives type and device.
        """
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs to go on with the same points."""
        return {"current": self.current}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take the points of `state_dict`."""
        self.current = state["current"]


class FixedPoints(PointSet):
    """Points that stay.

    Args:
        points: Shape ``(n, d)``, floating.

    Raises:
        TypeError, ValueError: They are not.
    """

    def __init__(self, points: Tensor) -> None:
        if not isinstance(points, Tensor) or not points.dtype.is_floating_point:
            kind = points.dtype if isinstance(points, Tensor) else type(points).__name__
            raise TypeError(f"points must be a floating tensor of the shape (n, d), but are {kind}.")
        if points.ndim != 2 or 0 in points.shape:
            raise ValueError(
                f"points must have the shape (n, d), but have {tuple(points.shape)}. For points on a line use "
                "points.unsqueeze(-1)."
            )
        rows = finite_rows(points)
        if not bool(rows.all()):
            raise ValueError(f"points must be finite, but point {int((~rows).nonzero()[0])} is not.")
        self.current = points

    def refresh(self, iteration: int, residual: Residual, generator: torch.Generator | None, like: Tensor) -> bool:
        """See `PointSet.refresh`; only moves the points to the type and device of the model."""
        assert self.current is not None
        self.current = self.current.to(like)
        return False


class _Drawn(PointSet):
    def __init__(self, draw: Draw, count: int, every: int | None, method: str) -> None:
        if not callable(draw):
            raise TypeError(
                f"draw must be a function such as geometry.sample, but is a {type(draw).__name__}. For given points "
                "use FixedPoints."
            )
        check_method(method)
        self.draw = draw
        self.count = check_count(count, "count", 1)
        self.every = None if every is None else check_count(every, "every", 1)
        self.method = method

    def refresh(self, iteration: int, residual: Residual, generator: torch.Generator | None, like: Tensor) -> bool:
        """See `PointSet.refresh`."""
        if self.current is None:
            self.current = self._fresh(self.count, generator, like)
            return True
        if self.every is None or iteration == 0 or iteration % self.every:
            return False
        self.current = self._renewed(residual, generator, like)
        return True

    def _fresh(self, count: int, generator: torch.Generator | None, like: Tensor) -> Tensor:
        return self.draw(count, method=self.method, generator=generator, dtype=like.dtype).to(like.device)

    def _renewed(self, residual: Residual, generator: torch.Generator | None, like: Tensor) -> Tensor:
        raise NotImplementedError


class RandomPoints(_Drawn):
    """Points of a domain, drawn anew every few steps.

    Args:
        draw: As ``geometry.sample`` or ``geometry.sample_boundary``.
        count: Number of points.
        every: Number of steps after which they are replaced; None: never.
        method: ``"uniform"``, ``"latin"`` or ``"sobol"``.
    """

    def __init__(self, draw: Draw, count: int, *, every: int | None = 1, method: str = "uniform") -> None:
        super().__init__(draw, count, every, method)

    def _renewed(self, residual: Residual, generator: torch.Generator | None, like: Tensor) -> Tensor:
        self.current = None  # in very many dimensions there is no room for both
        return self._fresh(self.count, generator, like)


class ResidualPoints(_Drawn):
    """Points drawn with a density that grows with the residual (RAD).

    Of ``pool * count`` uniform candidates, ``count`` are drawn without replacement with probabilities proportional to
    ``|r|^power / mean |r|^power + constant``.

    Args:
        draw, count, method: See `RandomPoints`.
        every: Number of steps after which the points are replaced.
        power: How strongly the density follows the residual.
        constant: The uniform part.
        pool: Number of candidates for each point.

    Raises:
        ValueError: ``power`` or ``constant`` is negative.

    Source:
        Wu, Zhu, Tan, Kartha, Lu, A comprehensive study of non-adaptive and residual-based adaptive sampling for
        physics-informed neural networks (2023), equation 2.
    """

    def __init__(
        self,
        draw: Draw,
        count: int,
        *,
        every: int = 1000,
        power: float = 1.0,
        constant: float = 1.0,
        pool: int = 10,
        method: str = "uniform",
    ) -> None:
        super().__init__(draw, count, every, method)
        if not power >= 0 or not constant >= 0:
            raise ValueError(f"power and constant must not be negative, but are {power} and {constant}.")
        self.power = power
        self.constant = constant
        self.pool = check_count(pool, "pool", 2)

    def _renewed(self, residual: Residual, generator: torch.Generator | None, like: Tensor) -> Tensor:
        candidates = self._fresh(self.pool * self.count, generator, like)
        sizes = residual(candidates).double().cpu() ** self.power
        mean = float(sizes.mean())
        weights = sizes / mean + self.constant if mean > 0 else torch.ones_like(sizes)
        if int((weights > 0).sum()) < self.count:  # constant = 0 and a residual that is zero almost everywhere
            weights = weights + torch.finfo(torch.float64).eps
        chosen = torch.multinomial(weights, self.count, replacement=False, generator=generator)
        return candidates[chosen.to(candidates.device)]


class RetainedPoints(_Drawn):
    """Points that stay while their residual is above the average; the others are replaced by uniform ones (R3).

    Args:
        draw, count, method: See `RandomPoints`.
        every: Number of steps after which the points are looked at.

    Source:
        Daw, Bu, Wang, Perdikaris, Karpatne, Mitigating propagation failures in physics-informed neural networks using
        retain-resample-release (R3) sampling (2023), algorithm 1.
    """

    def __init__(self, draw: Draw, count: int, *, every: int = 1, method: str = "uniform") -> None:
        super().__init__(draw, count, every, method)

    def _renewed(self, residual: Residual, generator: torch.Generator | None, like: Tensor) -> Tensor:
        current = self.current
        assert current is not None  # `refresh` has drawn them before
        sizes = residual(current)
        retained = current[sizes > sizes.mean()]
        missing = self.count - len(retained)
        return torch.cat([retained, self._fresh(missing, generator, like)]) if missing else retained


def as_points(points: PointSet | Tensor) -> PointSet:
    """Return a point set; a tensor stands for fixed points."""
    return points if isinstance(points, PointSet) else FixedPoints(points)
