"""Penalties on the Jacobian of the vector field along a trajectory."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from nde.regularize.draws import check_choice
from nde.regularize.schedules import Schedule
from nde.regularize.trajectory import TrajectoryPenalty, TrajectoryPoint
from nde.solvers.structure import State, StateStructure

__all__ = ["JacobianFrobenius", "JacobianNuclear"]

DISTRIBUTIONS = ("gaussian", "rademacher")
ESTIMATORS = ("projection", "denoising")


class JacobianFrobenius(TrajectoryPenalty):
    """The squared Frobenius norm of the Jacobian along the trajectory, ``int |df/dy|_F^2 / d dt``, for ``d`` entries.

    It is estimated without bias by ``int mean_i((eps^T df/dy)_i^2) dt``, with one random vector ``eps`` for each solve:
    Hutchinson's estimator of the trace of ``J J^T``, by one vector-Jacobian product of `torch.func.vjp` for each
    evaluation. The variance of a random vector of signs is the smaller one.

    Finlay, Jacobsen, Nurbekyan, Oberman (2020), How to train your neural ODE (RNODE); Hoffman, Roberts,
    Yaida (2019), Robust learning with Jacobian regularization.

    Args:
        weight, form, seed: See `TrajectoryPenalty`.
        distribution: ``"gaussian"`` or ``"rademacher"``: what ``eps`` is drawn from.

    Raises:
        ValueError: The distribution is not known.
    """

    def __init__(
        self,
        weight: float | Schedule = 1.0,
        *,
        distribution: str = "rademacher",
        form: str = "augmented",
        seed: int = 0,
    ) -> None:
        super().__init__(weight, form=form, seed=seed)
        check_choice(distribution, DISTRIBUTIONS, "distribution")
        self.distribution = distribution

    def probe(self, t0: Tensor, y0: State) -> State:
        """See `TrajectoryPenalty.probe`."""
        structure = StateStructure(y0)
        normal = self._normal(structure.flatten(y0, "y0"))
        signs = torch.copysign(torch.ones_like(normal), normal)
        return structure.unflatten(normal if self.distribution == "gaussian" else signs)

    def integrand(self, point: TrajectoryPoint) -> Tensor:
        """See `TrajectoryPenalty.integrand`."""
        row = _pulled(lambda y: point.field(point.t, y), point.flat(point.state), point.flat(point.probe))
        return point.mean(row.square())


class JacobianNuclear(TrajectoryPenalty):
    """A bound on the nuclear norm of the Jacobian of a field that is a composition ``f = outer(t, inner(t, y))``.

    The nuclear norm (the sum of the singular values) of ``J_outer J_inner`` is at most
    ``(|J_outer|_F^2 + |J_inner|_F^2) / 2``, and the minimum of the bound over all compositions of one field is the
    norm: minimising one is minimising the other. The penalty is the integral of the bound, over the number ``d`` of
    entries of the state, estimated in one of two ways with random vectors drawn once for each solve:

    - ``"projection"``: Hutchinson's estimator, by one product of a vector and the Jacobian of each of the maps;
    - ``"denoising"``: ``|inner(y + sigma eps) - inner(y)|^2 / sigma^2``, and likewise of the outer map: no derivatives,
      four evaluations of parts of the field, and an error of the order of ``sigma``.

    Scarvelis, Solomon (2024), Nuclear norm regularization for deep learning.

    Args:
        inner: Callable ``(t, y) -> features``, a part of the field. The state must be one tensor; its first axis must
            be that of the features too, with ``per_sample=True``.
        outer: Callable ``(t, features) -> dy/dt``, the rest of the field. A penalty neither registers nor moves the
            parameters of either.
        weight, form, seed: See `TrajectoryPenalty`.
        estimator: ``"projection"`` or ``"denoising"``.
        sigma: Size of the noise of the denoising estimator.

    Raises:
        TypeError: A part of the field is not callable; when called, the state is not one tensor.
        ValueError: The estimator is not known, or ``sigma`` is not positive and finite.
    """

    def __init__(
        self,
        inner: Callable[[Tensor, Tensor], Tensor],
        outer: Callable[[Tensor, Tensor], Tensor],
        weight: float | Schedule = 1.0,
        *,
        estimator: str = "projection",
        sigma: float = 1e-3,
        form: str = "augmented",
        seed: int = 0,
    ) -> None:
        super().__init__(weight, form=form, seed=seed)
        for name, part in (("inner", inner), ("outer", outer)):
            if not callable(part):
                raise TypeError(f"{name} must be callable as {name}(t, value), but is {part!r}.")
        check_choice(estimator, ESTIMATORS, "estimator")
        if not 0 < sigma < math.inf:
            raise ValueError(f"sigma must be positive and finite, but is {sigma}. Try 1e-3.")
        self.estimator = estimator
        self.sigma = sigma
        self._maps = (inner, outer)  # in a tuple: their parameters are the field's, and are saved with it

    def probe(self, t0: Tensor, y0: State) -> State:
        """See `TrajectoryPenalty.probe`."""
        if not isinstance(y0, Tensor) or y0.is_complex():
            raise TypeError("y0 must be one real tensor with JacobianNuclear, whose inner map takes it as it is.")
        into_inner = self._normal(y0)
        if self.estimator == "projection":
            return into_inner, self._normal(y0)
        with torch.no_grad():
            return into_inner, self._normal(self._maps[0](t0, y0))

    def integrand(self, point: TrajectoryPoint) -> Tensor:
        """See `TrajectoryPenalty.integrand`."""
        (inner, outer), t, y = self._maps, point.t, point.state
        into_inner, of_outer = point.probe
        if self.estimator == "projection":
            features, first = torch.func.jvp(lambda y: inner(t, y), (y,), (into_inner,))[:2]
            second = _pulled(lambda features: outer(t, features), features, of_outer)
        else:
            features = inner(t, y)
            first = (inner(t, y + self.sigma * into_inner) - features) / self.sigma
            second = (outer(t, features + self.sigma * of_outer) - outer(t, features)) / self.sigma
        return 0.5 * (point.per_entry(first.square()) + point.per_entry(second.square()))


def _pulled(function: Callable[[Tensor], Tensor], at: Tensor, cotangent: Tensor) -> Tensor:
    """Return the product of a cotangent and the Jacobian of a function."""
    product: Tensor = torch.func.vjp(function, at)[1](cotangent)[0]
    return product
