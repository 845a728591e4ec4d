"""How far a model is from a known solution."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["Reference", "relative_error", "trivial_error"]

_NUMBERS = 1 << 20  # evaluated at once


def relative_error(values: Tensor, expected: Tensor) -> float:
    """Return the relative L2 error ``|values - expected| / |expected|``.

    Raises:
        ValueError: The shapes differ by more than a last axis of length 1, or the expected values are all zero.
    """
    values = values.squeeze(-1) if values.ndim == expected.ndim + 1 and values.shape[-1] == 1 else values
    if values.shape != expected.shape:
        raise ValueError(f"values have the shape {tuple(values.shape)}, but {tuple(expected.shape)} is expected.")
    values, expected = values.detach(), expected.detach()
    size = expected.norm()
    if float(size) == 0:
        raise ValueError("the expected values are all zero, so that there is no relative error.")
    return float((values - expected).norm() / size)


def trivial_error(features: Tensor, expected: Tensor) -> float:
    """Return the relative L2 error of the best linear combination of a few features: what a model has to beat.

    Args:
        features: Shape ``(n, k)``, as the known envelope of the solution.
        expected: Shape ``(n,)``.
    """
    coefficients = torch.linalg.lstsq(features.double(), expected.double().unsqueeze(1)).solution
    return relative_error((features.double() @ coefficients).squeeze(1), expected.double())


class Reference:
    """A solution at points, to compare a model with.

    Args:
        points: Shape ``(n, d)``.
        values: Shape ``(n,)`` or ``(n, C)``, or a function of the points that returns these.
        trivial: Error of the best trivial fit; with it the skill ``error / trivial`` is reported beside each error.
        batch: How many points are evaluated at once; None: up to 10,000, fewer where they have very many coordinates.

    Raises:
        ValueError: There are not as many values as points, or some are not finite.
    """

    def __init__(
        self,
        points: Tensor,
        values: Tensor | Callable[[Tensor], Tensor],
        *,
        trivial: float | None = None,
        batch: int | None = None,
    ) -> None:
        self.points = points
        self.values = values(points) if callable(values) else values
        if len(self.values) != len(points):
            raise ValueError(f"values must have a row for each of the {len(points)} points, not {len(self.values)}.")
        if not bool(torch.isfinite(self.values).all()):
            raise ValueError("values of a reference must be finite.")
        self.trivial = trivial
        coordinates = max(points[:1].numel(), 1)
        self.batch = max(min(10_000, _NUMBERS // coordinates), 1) if batch is None else batch

    @torch.no_grad()
    def error(self, model: Callable[[Any], Any]) -> float:
        """Return the relative L2 error of a model, which is evaluated in its own type and on its own device.

        Raises:
            ValueError: The model takes no such points, or returns another shape than that of the values.
        """
        points, values = self.points, self.values
        if isinstance(model, nn.Module):
            like = next((each for each in model.parameters() if each.dtype.is_floating_point), points)
            points, values = points.to(like), values.to(like)
        try:
            parts = [model(part) for part in points.split(self.batch)]
        except RuntimeError as error:
            raise ValueError(
                f"the model cannot be evaluated at the reference's points of the shape {tuple(points.shape)} and the "
                f"type {points.dtype}: {error}."
            ) from error
        return relative_error(torch.cat(parts), values)
