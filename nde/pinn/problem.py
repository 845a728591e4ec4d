"""A model, the conditions that it has to satisfy, and the unknown coefficients of its equation."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from nde.pinn.conditions import Condition
from nde.taylor.operators import Estimate, NonFiniteResidualError, squared_residual
from nde.taylor.operators.checks import finite_rows

__all__ = ["Problem", "check_finite", "row_sizes", "why_refused"]


class Problem(nn.Module):
    """What a trainer minimises: the weighted mean squares of the residuals of all conditions.

    Args:
        model: Function of points, ``(n, d) -> (n,)``, ``(n, 1)`` or ``(n, C)``.
        conditions: A name for each condition.
        coefficients: Unknown coefficients by name, as `Coefficient`; they are trained with the model.

    Raises:
        TypeError: The model is no module, or a condition is none.
        ValueError: There is no condition.
    """

    def __init__(
        self,
        model: nn.Module,
        conditions: Mapping[str, Condition],
        coefficients: Mapping[str, nn.Module] | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(model, nn.Module):
            raise TypeError(f"model must be an nn.Module, but is a {type(model).__name__}.")
        if not conditions:
            raise ValueError('conditions must hold at least one condition: {"equation": Equation(...)}.')
        for name, condition in conditions.items():
            if not isinstance(condition, Condition):
                raise TypeError(
                    f"condition {name!r} must be a Condition, but is a {type(condition).__name__}. Wrap a residual: "
                    "Equation(residual, points)."
                )
        self.model = model
        self.coefficients = nn.ModuleDict(dict(coefficients or {}))
        self.conditions = dict(conditions)

    @property
    def like(self) -> Tensor:
        """A tensor of the type and on the device of the points: the first floating parameter."""
        for parameter in self.parameters():
            if parameter.dtype.is_floating_point:
                return parameter
        return torch.empty(0)

    def forward(self, name: str, x: Tensor) -> Tensor:
        """Return the part of one condition's residual that depends on the model; see `Condition.model_part`."""
        return self.conditions[name].model_part(self.model, x)

    def refresh(self, iteration: int = 0, generator: torch.Generator | None = None) -> bool:
        """Draw the points whose time it is, and return whether there are new ones."""
        fresh = False
        for name, condition in self.conditions.items():
            sizes = functools.partial(self.sizes, name)
            fresh |= condition.points.refresh(iteration, sizes, generator, self.like)
        return fresh

    def points(self, name: str) -> Tensor:
        """Return the current points of a condition.

        Raises:
            RuntimeError: None have been drawn.
        """
        current = self.conditions[name].points.current
        if current is None:
            raise RuntimeError(f"no points have been drawn for condition {name!r}. Call problem.refresh() first.")
        return current

    def sizes(self, name: str, x: Tensor) -> Tensor:
        """Return the absolute residual of a condition at any points, shape ``(n,)``, without gradients."""
        with torch.no_grad():
            return row_sizes(_value(self._residual(name, x)))

    def _residual(self, name: str, x: Tensor) -> Tensor | Estimate:
        try:
            return self.conditions[name].residual(self.model, x)
        except RuntimeError as error:
            refused = why_refused(self.model, x)
            if refused is None:
                raise
            raise ValueError(f"condition {name!r}: {refused}") from error

    def residuals(self) -> dict[str, Tensor | Estimate]:
        """Return the residuals of all conditions at their current points.

        Raises:
            NonFiniteResidualError: One is not finite; the message names the condition and the points.
            ValueError: The model takes no points of this shape and type.
        """
        found: dict[str, Tensor | Estimate] = {}
        for name in self.conditions:
            x = self.points(name)
            residual = self._residual(name, x)
            check_finite(name, x, _value(residual))
            found[name] = residual
        return found

    def losses(
        self,
        residuals: Mapping[str, Tensor | Estimate] | None = None,
        weights: Mapping[str, Tensor | float] | None = None,
    ) -> dict[str, Tensor]:
        """Return the weighted mean squares by condition.

        Args:
            residuals: What `residuals` returned; None: evaluate them.
            weights: Further factors by condition: numbers, or a tensor of the shape ``(n,)`` with one for each point.

        Raises:
            NonFiniteResidualError: A residual is not finite.
            ValueError: A residual has no gradient.
        """
        residuals = self.residuals() if residuals is None else residuals
        losses = {}
        for name, residual in residuals.items():
            factor = 1.0 if weights is None else weights.get(name, 1.0)
            value = _value(residual)
            each = None
            if isinstance(factor, Tensor) and factor.ndim:
                each = factor.reshape(-1, *[1] * (value.ndim - 1)).expand_as(value)
                factor = 1.0
            unbiased = not isinstance(residual, Estimate) or residual.exact or residual.parts.shape[0] > 1
            try:
                square = squared_residual(residual, unbiased=unbiased, weights=each)
            except ValueError as error:
                raise ValueError(f"condition {name!r}: {error}") from error
            losses[name] = square * (self.conditions[name].weight * factor)
        return losses

    def loss(self) -> Tensor:
        """Return the sum of all losses at the current points."""
        return torch.stack(list(self.losses().values())).sum()

    def points_state(self) -> dict[str, Any]:
        """Return the states of all point sets."""
        return {name: condition.points.state_dict() for name, condition in self.conditions.items()}

    def load_points_state(self, state: Mapping[str, Any]) -> None:
        """Take the states of all point sets.

        Raises:
            ValueError: They belong to other conditions.
        """
        if set(state) != set(self.conditions):
            raise ValueError(
                f"the state is of the conditions {sorted(state)}, but these are {sorted(self.conditions)}."
            )
        for name, condition in self.conditions.items():
            condition.points.load_state_dict(state[name])


def row_sizes(value: Tensor) -> Tensor:
    """Return the absolute value of a residual for each point, shape ``(n,)``."""
    return value.abs() if value.ndim == 1 else value.norm(dim=1)


def why_refused(model: Callable[[Any], Any], x: Tensor) -> str | None:
    """Return why a model cannot be evaluated at points, None where it can be."""
    try:
        with torch.no_grad():
            model(x)
    except RuntimeError as error:
        return (
            f"the model cannot be evaluated at points of the shape {tuple(x.shape)} and the type {x.dtype}: {error}. "
            f"It must take the {x.shape[-1]} coordinates on the last axis; look at the number of its inputs and at its "
            "type."
        )
    return None


def _value(residual: Tensor | Estimate) -> Tensor:
    return residual.value if isinstance(residual, Estimate) else residual


def check_finite(name: str, x: Tensor, value: Tensor, what: str = "residual") -> None:
    """Raise NonFiniteResidualError unless the rows of a value, one for each point, are finite."""
    bad = (~finite_rows(value.detach())).nonzero().squeeze(-1)
    if len(bad):
        first = ", ".join(f"{coordinate:.6g}" for coordinate in x[bad[0]].tolist()[:8])
        more = ", ..." if x.shape[1] > 8 else ""
        raise NonFiniteResidualError(
            f"the {what} of condition {name!r} is not finite at {len(bad)} of {len(x)} points; the first is point "
            f"{int(bad[0])}, x = ({first}{more}). Look at the source term, the coefficients and roots or quotients "
            "there; where training has diverged, lower the learning rate.",
            bad,
        )
