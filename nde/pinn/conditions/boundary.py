"""Conditions on values and slopes: Dirichlet, Neumann, Robin, periodic, initial, data."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from nde.pinn.conditions.condition import Condition, Model, Value, along, given_value, output
from nde.pinn.points import FixedPoints, PointSet
from nde.taylor.operators.checks import check_count

__all__ = ["Data", "Dirichlet", "Initial", "Neumann", "Periodic", "Robin"]

Normals = Callable[[Tensor], Tensor]


class Dirichlet(Condition):
    """``u = value``.

    Args:
        value: A number, or a function of the points ``(n, d) -> (n,)``.
        points, weight: See `Condition`.
        component: Which output of the model is meant; None: it has one.
    """

    def __init__(
        self, value: Value, points: PointSet | Tensor, *, component: int | None = None, weight: float = 1.0
    ) -> None:
        super().__init__(points, weight)
        self.value = value
        self.component = component

    def residual(self, model: Model, x: Tensor) -> Tensor:
        """See `Condition.residual`."""
        return output(model, x, self.component) - given_value(self.value, x)


class Robin(Condition):
    """``factor * u + slope_factor * du/dn = value`` with the outward normal ``n``.

    Args:
        value, factor, slope_factor: Numbers, or functions of the points ``(n, d) -> (n,)``.
        points, component, weight: See `Dirichlet`.
        normals: Outward unit normals at the points, as ``geometry.normals``.
    """

    def __init__(
        self,
        value: Value,
        points: PointSet | Tensor,
        normals: Normals,
        *,
        factor: Value = 1.0,
        slope_factor: Value = 1.0,
        component: int | None = None,
        weight: float = 1.0,
    ) -> None:
        super().__init__(points, weight)
        if not callable(normals):
            raise TypeError(f"normals must be a function such as geometry.normals, but is {type(normals).__name__}.")
        self.value = value
        self.normals = normals
        self.factor = factor
        self.slope_factor = slope_factor
        self.component = component

    def residual(self, model: Model, x: Tensor) -> Tensor:
        """See `Condition.residual`."""
        normals = self.normals(x)
        if normals.shape != x.shape:
            raise ValueError(f"normals must have the shape {tuple(x.shape)} of the points, not {tuple(normals.shape)}.")
        slope = along(model, x, normals, self.component) * given_value(self.slope_factor, x, "slope_factor")
        if not (isinstance(self.factor, (int, float)) and self.factor == 0):
            slope = slope + given_value(self.factor, x, "factor") * output(model, x, self.component)
        return slope - given_value(self.value, x)


class Neumann(Robin):
    """``du/dn = value`` with the outward normal ``n``.

    Args:
        value, points, normals, component, weight: See `Robin`.
    """

    def __init__(
        self,
        value: Value,
        points: PointSet | Tensor,
        normals: Normals,
        *,
        component: int | None = None,
        weight: float = 1.0,
    ) -> None:
        super().__init__(value, points, normals, factor=0.0, component=component, weight=weight)


class Periodic(Condition):
    """``u`` and its derivatives are the same one period apart.

    Args:
        axis: The coordinate along which the solution is periodic.
        period: The length that is added to it.
        points: Points of the lower face; the residual compares them with those one period on.
        order: Derivatives along the axis up to this order are matched.
        component, weight: See `Dirichlet`.

    Raises:
        ValueError: The period is zero or not finite.
    """

    def __init__(
        self,
        axis: int,
        period: float,
        points: PointSet | Tensor,
        *,
        order: int = 1,
        component: int | None = None,
        weight: float = 1.0,
    ) -> None:
        super().__init__(points, weight)
        if not 0 < abs(period) < math.inf:
            raise ValueError(f"period must be finite and not zero, but is {period}.")
        self.axis = axis
        self.period = period
        self.order = check_count(order, "order", 0)
        self.component = component

    def residual(self, model: Model, x: Tensor) -> Tensor:
        """See `Condition.residual`; shape ``(n, order + 1)``."""
        if not -x.shape[1] <= self.axis < x.shape[1]:
            raise ValueError(f"axis={self.axis} is not a coordinate of points with {x.shape[1]} of them.")
        direction = torch.zeros_like(x)
        direction[:, self.axis] = 1
        both = torch.cat([x, x + self.period * direction])
        steps = torch.cat([direction, direction])
        sides = [output(model, both, self.component)]
        sides += [along(model, both, steps, self.component, order) for order in range(1, self.order + 1)]
        return torch.stack([side[: len(x)] - side[len(x) :] for side in sides], -1)


class Initial(Condition):
    """``u``, or a derivative of it in time, at the start; the time is the last coordinate.

    Args:
        value: A number, or a function of the points ``(n, d) -> (n,)``.
        points: Points at the start, as ``TimeProduct.sample_initial`` draws them.
        order: 0 for ``u``, 1 for ``u_t``, and so on.
        component, weight: See `Dirichlet`.
    """

    def __init__(
        self,
        value: Value,
        points: PointSet | Tensor,
        *,
        order: int = 0,
        component: int | None = None,
        weight: float = 1.0,
    ) -> None:
        super().__init__(points, weight)
        self.value = value
        self.order = check_count(order, "order", 0)
        self.component = component

    def residual(self, model: Model, x: Tensor) -> Tensor:
        """See `Condition.residual`."""
        if self.order == 0:
            return output(model, x, self.component) - given_value(self.value, x)
        direction = torch.zeros_like(x)
        direction[:, -1] = 1
        return along(model, x, direction, self.component, self.order) - given_value(self.value, x)


class Data(Condition):
    """Measurements: ``u(points) = values``.

    Args:
        points: Shape ``(n, d)``.
        values: Shape ``(n,)``, or ``(n, C)`` of a model with ``C`` outputs.
        component, weight: See `Dirichlet`; a component needs values of the shape ``(n,)``.

    Raises:
        TypeError: The values are not a tensor.
        ValueError: There are not as many values as points, or some are not finite.
    """

    def __init__(self, points: Tensor, values: Tensor, *, component: int | None = None, weight: float = 1.0) -> None:
        super().__init__(FixedPoints(points), weight)
        if not isinstance(values, Tensor):
            raise TypeError(f"values must be a tensor, but are a {type(values).__name__}. Write torch.tensor(values).")
        if values.ndim not in (1, 2) or len(values) != len(points):
            raise ValueError(
                f"values must have one row for each of the {len(points)} points, but have the shape "
                f"{tuple(values.shape)}."
            )
        if not bool(torch.isfinite(values).all()):
            raise ValueError("values must be finite. Leave the missing measurements out.")
        self.values = values
        self.component = component

    def residual(self, model: Model, x: Tensor) -> Tensor:
        """See `Condition.residual`; ``x`` must be the points of the condition."""
        values = self.values.to(x)
        predicted = self.model_part(model, x)
        values = values.reshape(-1) if predicted.ndim == 1 else values
        if predicted.shape != values.shape:
            raise ValueError(
                f"the model returned {tuple(predicted.shape)} at {len(x)} points for values of {tuple(values.shape)}. "
                "For one output of several give component=."
            )
        return predicted - values

    def model_part(self, model: Model, x: Tensor) -> Tensor:
        """See `Condition.model_part`."""
        if self.component is None and self.values.ndim == 2 and self.values.shape[1] > 1:
            return model(x)
        return output(model, x, self.component)
