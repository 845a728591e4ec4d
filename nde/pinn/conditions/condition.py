"""What a condition is: points, and a residual that is to vanish at them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from nde.pinn.points import PointSet, as_points
from nde.taylor import jet
from nde.taylor.operators import Estimate, Expression, evaluate_expressions

__all__ = ["Condition", "Equation", "Value", "along", "given_value", "output"]

Model = Callable[[Any], Any]
Value = float | Tensor | Callable[[Tensor], Tensor]


class Condition:
    """A residual at points.

    Args:
        points: A `PointSet`, or a tensor of the shape ``(n, d)`` for points that stay.
        weight: Factor of the mean square in the loss.

    Raises:
        ValueError: The weight is not positive and finite.
    """

    def __init__(self, points: PointSet | Tensor, weight: float = 1.0) -> None:
        if not 0 < weight < math.inf:
            raise ValueError(f"weight must be positive and finite, but is {weight}.")
        self.points = as_points(points)
        self.weight = weight

    def residual(self, model: Model, x: Tensor) -> Tensor | Estimate:
        """Return what is to vanish, shape ``(n,)`` or ``(n, m)``, for points ``(n, d)``."""
        raise NotImplementedError

    def model_part(self, model: Model, x: Tensor) -> Tensor:
        """Return the residual at any points, up to terms that do not depend on the model: what Jacobians are made of.

        Raises:
            TypeError: The residual is estimated with random directions.
        """
        result = self.residual(model, x)
        if not isinstance(result, Estimate):
            return result
        if not result.exact:
            raise TypeError(
                "natural gradients, tangent kernels and condition numbers need an exact residual, but this one is an "
                'estimate. Use mode="exact" or mode="rank".'
            )
        return result.value


class Equation(Condition):
    """A differential equation in the interior, or any operator of the unknown on the boundary or elsewhere.

    Args:
        residual: An `nde.taylor.operators.Expression`, several of them for a system, or a function of the model and the
            points that returns a tensor or an `nde.taylor.operators.Estimate` of the shape ``(n,)`` or ``(n, m)``.
        points, weight: See `Condition`.

    Raises:
        TypeError: The residual is none of these.
    """

    def __init__(
        self,
        residual: Expression | Sequence[Expression] | Callable[[Model, Tensor], Tensor | Estimate],
        points: PointSet | Tensor,
        weight: float = 1.0,
    ) -> None:
        super().__init__(points, weight)
        self.expressions: tuple[Expression, ...] | None = None
        if isinstance(residual, Expression):
            self.expressions = (residual,)
        elif isinstance(residual, Sequence) and residual and all(isinstance(part, Expression) for part in residual):
            self.expressions = tuple(residual)
        elif not callable(residual):
            raise TypeError(
                f"residual must be an expression, a sequence of expressions or a function (model, x) -> tensor, but is "
                f"{type(residual).__name__}."
            )
        self.function = residual

    def residual(self, model: Model, x: Tensor) -> Tensor | Estimate:
        """See `Condition.residual`."""
        if self.expressions is not None:
            values = evaluate_expressions(self.expressions, model, x)
            return values[0] if len(values) == 1 else torch.stack(values, -1)
        result = self.function(model, x)  # type: ignore[operator]  # neither expression nor sequence
        shape = result.parts.shape[1:] if isinstance(result, Estimate) else getattr(result, "shape", None)
        if shape is None or not shape or shape[0] != len(x) or len(shape) > 2:
            found = type(result).__name__ if shape is None else str(tuple(shape))
            raise ValueError(
                f"the residual must have the shape ({len(x)},) or ({len(x)}, m), a row for each point, but is {found}."
            )
        return result


def output(model: Model, x: Tensor, component: int | None) -> Tensor:
    """Return one output of a model at points, shape ``(n,)``.

    Raises:
        ValueError: The model has several outputs and no component is chosen, or it has not this one.
    """
    return _component(model(x), x, component)


def along(model: Model, x: Tensor, direction: Tensor, component: int | None, order: int = 1) -> Tensor:
    """Return the derivative of an order along a direction for each point, shape ``(n,)``."""
    return _component(jet(model, x, direction, order=order).derivative(order), x, component)


def _component(value: Tensor, x: Tensor, component: int | None) -> Tensor:
    if component is None:
        if value.shape == (len(x),):
            return value
        if value.shape == (len(x), 1):
            return value.squeeze(-1)
        raise ValueError(
            f"the condition is on a model with one output, of the shape ({len(x)},) or ({len(x)}, 1), but the model "
            f"returned {tuple(value.shape)}. Choose an output: component=0."
        )
    if value.ndim != 2 or not 0 <= component < value.shape[1]:
        raise ValueError(
            f"component={component} is not an output of the model, which returned the shape {tuple(value.shape)}."
        )
    return value[:, component]


def given_value(value: Value, x: Tensor, name: str = "value") -> Tensor:
    """Return given values at points, shape ``(n,)``.

    Raises:
        ValueError: A function returned another shape, which would broadcast to a residual of the wrong size.
    """
    result = value(x) if callable(value) else value
    result = torch.as_tensor(result, dtype=x.dtype, device=x.device)
    if result.shape == (len(x), 1):
        result = result.squeeze(-1)
    if result.shape not in ((), (len(x),)):
        raise ValueError(
            f"{name} must be a number or have the shape ({len(x)},) at {len(x)} points, but has {tuple(result.shape)}."
        )
    return result
