"""A differential equation with its domain, its conditions and its solution."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from nde.pinn.conditions import Condition, Dirichlet, Equation, Initial, Periodic
from nde.pinn.geometry import Geometry, TimeProduct
from nde.pinn.points import RandomPoints
from nde.pinn.problem import Problem
from nde.pinn.training import Reference, trivial_error
from nde.taylor.operators import Estimate, Expression

__all__ = ["Case"]

_NUMBERS = 1 << 22

Function = Callable[[Tensor], Tensor]
Residual = Expression | tuple[Expression, ...] | Callable[[Callable[[Any], Any], Tensor], Tensor | Estimate]


@dataclass(frozen=True, eq=False)
class Case:
    """A test problem.

    Attributes:
        name: What it is called.
        domain: Where it is solved; with time as the last coordinate where it is a `TimeProduct`.
        residual: Vanishes at the solution.
        solution: Values at points, ``(n, d) -> (n,)``, or ``(n, C)`` of systems.
        source: Where the problem, and a formula or method for its solution, are from.
        initial: Values at the start of the solution and of its derivatives in time, by order.
        final: Values at the end, of equations that are solved backwards in time.
        boundary: Values on the boundary; None: no such condition.
        periods: Period by periodic coordinate, with conditions up to ``periodic_order``.
        periodic_order: Highest derivative that is matched across a period.
        boundary_operators: Further operators of the unknown that vanish on the boundary, by name.
        anchors: Single values of an output: point, output, value, by name, as of a pressure known up to a constant.
        trivial: Features of points, ``(n, d) -> (n, k)``, whose best linear combination a model has to beat.
    """

    name: str
    domain: Geometry
    residual: Residual
    solution: Function
    source: str
    initial: tuple[Function, ...] = ()
    final: Function | None = None
    boundary: Function | None = None
    periods: dict[int, float] = field(default_factory=dict)
    periodic_order: int = 1
    boundary_operators: dict[str, Residual] = field(default_factory=dict)
    anchors: dict[str, tuple[tuple[float, ...], int, float]] = field(default_factory=dict)
    trivial: Function | None = None

    def conditions(
        self,
        *,
        interior: int = 1000,
        boundary: int = 200,
        every: int | None = 1,
        method: str = "uniform",
        weight: float = 1.0,
    ) -> dict[str, Condition]:
        """Return the conditions that determine the solution.

        Args:
            interior: Number of points of the equation.
            boundary: Number of points of each other condition.
            every: Number of steps after which points are drawn anew; None: never.
            method: ``"uniform"``, ``"latin"`` or ``"sobol"``.
            weight: Of all conditions but the equation.
        """

        def points(draw: Callable[..., Tensor], count: int = boundary) -> RandomPoints:
            return RandomPoints(draw, count, every=every, method=method)

        found: dict[str, Condition] = {"equation": Equation(self.residual, points(self.domain.sample, interior))}
        if self.boundary is not None:
            found["boundary"] = Dirichlet(self.boundary, points(self.domain.sample_boundary), weight=weight)
        for name, operator in self.boundary_operators.items():
            found[name] = Equation(operator, points(self.domain.sample_boundary), weight=weight)
        for name, (point, component, value) in self.anchors.items():
            found[name] = Dirichlet(value, torch.tensor([point]), component=component, weight=weight)
        for axis, period in self.periods.items():
            lower = _LowerFace(self.domain, axis)
            order = self.periodic_order
            found[f"period {axis}"] = Periodic(axis, period, points(lower), order=order, weight=weight)
        if isinstance(self.domain, TimeProduct):
            for order, values in enumerate(self.initial):
                initial = points(self.domain.sample_initial)
                found[f"initial {order}"] = Initial(values, initial, order=order, weight=weight)
            if self.final is not None:
                found["final"] = Dirichlet(self.final, points(self.domain.sample_final), weight=weight)
        return found

    def problem(self, model: nn.Module, **settings: Any) -> Problem:
        """Return the problem of a model with the conditions of `conditions`; ``settings`` are its arguments."""
        return Problem(model, self.conditions(**settings))

    def reference(self, count: int = 4000, *, seed: int = 0, dtype: torch.dtype | None = None) -> Reference:
        """Return the solution at random points, with the error of the best trivial fit where there is one."""
        generator = torch.Generator().manual_seed(seed)
        dtype = torch.get_default_dtype() if dtype is None else dtype
        most = max(_NUMBERS // self.domain.dimension, 1)  # at a time: in a million dimensions double points are large
        points, values, features = [], [], []
        for start in range(0, count, most):
            drawn = self.domain.sample(min(most, count - start), generator=generator, dtype=torch.float64)
            points.append(drawn.to(dtype))
            values.append(self.solution(drawn))
            if self.trivial is not None:
                features.append(self.trivial(drawn))
        expected = torch.cat(values)
        trivial = trivial_error(torch.cat(features), expected) if features else None
        return Reference(torch.cat(points), expected.to(dtype), trivial=trivial)


class _LowerFace:
    """Draws points of the domain and moves them to the lower end of one coordinate."""

    def __init__(self, domain: Geometry, axis: int) -> None:
        self.domain = domain
        self.axis = axis

    def __call__(self, count: int, **settings: Any) -> Tensor:
        points = self.domain.sample(count, **settings)
        points[:, self.axis] = float(self.domain.bounds[0][self.axis])
        return points
