"""The trace of a field's Jacobian by its state, exact or estimated from products with random directions.

A Jacobian is known by its transposed products alone. Samples must not depend on each other: the Jacobian is then one of
shape ``(size, size)`` for each of them, and one product of the whole batch serves them all.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nde.checks import check_choice
from nde.models.layer import check_size
from nde.models.seeds import rademacher, standard_normal

__all__ = ["TRACES", "ExactTrace", "HutchPlusPlus", "Hutchinson", "TraceEstimator", "find_trace", "value_and_trace"]

Products = Callable[[Tensor], Tensor]

NOISES = {"rademacher": rademacher, "gaussian": standard_normal}


class TraceEstimator(ABC):
    """A way to the trace."""

    @abstractmethod
    def check(self, size: int) -> None:
        """Raise ValueError unless it can be used for Jacobians of shape ``(size, size)``."""

    @abstractmethod
    def draw(self, z: Tensor, seed: int | None) -> Tensor:
        """Return the directions for states of shape ``(*batch, size)``, of shape ``(*batch, k, size)``."""

    @abstractmethod
    def estimate(self, products: Products, directions: Tensor) -> Tensor:
        """Return the trace of each sample, shape ``(*batch,)``.

        Args:
            products: Turns directions of shape ``(*batch, k, size)`` into the products of the transposed Jacobian with
                each of them.
            directions: What `draw` returned.
        """


@dataclass(frozen=True)
class ExactTrace(TraceEstimator):
    """The trace itself, for ``size`` products at once."""

    def check(self, size: int) -> None:
        """See `TraceEstimator.check`."""

    def draw(self, z: Tensor, seed: int | None) -> Tensor:
        """Return the unit vectors."""
        identity = torch.eye(z.shape[-1], dtype=z.dtype, device=z.device)
        return identity.expand(*z.shape[:-1], *identity.shape)

    def estimate(self, products: Products, directions: Tensor) -> Tensor:
        """See `TraceEstimator.estimate`."""
        return products(directions).diagonal(dim1=-2, dim2=-1).sum(-1)


@dataclass(frozen=True)
class Hutchinson(TraceEstimator):
    """The mean of ``v . J v`` over random directions ``v``: unbiased, with a variance of about ``|J|_F^2 / probes``.

    Hutchinson (1989), A stochastic estimator of the trace of the influence matrix for Laplacian smoothing splines;
    Grathwohl et al. (2019), FFJORD, 3.1.

    Args:
        probes: Number of directions, and of products.
        noise: Their law, "rademacher" (entries 1 and -1, the lower variance) or "gaussian".

    Raises:
        TypeError, ValueError: An argument has the wrong type or is out of range.
    """

    probes: int = 1
    noise: str = "rademacher"

    def __post_init__(self) -> None:
        check_size(self.probes, "probes")
        check_choice(self.noise, list(NOISES), "noise")

    def check(self, size: int) -> None:
        """See `TraceEstimator.check`."""

    def draw(self, z: Tensor, seed: int | None) -> Tensor:
        """See `TraceEstimator.draw`."""
        return NOISES[self.noise](z, (*z.shape[:-1], self.probes, z.shape[-1]), seed)

    def estimate(self, products: Products, directions: Tensor) -> Tensor:
        """See `TraceEstimator.estimate`."""
        return (products(directions) * directions).sum(-1).mean(-1)


@dataclass(frozen=True)
class HutchPlusPlus(TraceEstimator):
    """The trace on the range of ``J`` times a few random directions, and Hutchinson's estimate for the rest.

    With ``Q`` an orthonormal basis of ``J S``, ``tr(Q' J Q) + 3/m tr(G' (1 - Q Q') J (1 - Q Q') G)``; the random
    matrices ``S`` and ``G`` have ``m / 3`` columns each. Unbiased, and with a much smaller variance than Hutchinson's
    where a few singular values of ``J`` dominate. ``J`` is the transposed Jacobian, which has the same trace.

    The basis counts as a constant in derivatives. They are unbiased too, as the estimate is for every basis that does
    not depend on ``G``; but they are not those of the value for the same noise.

    Meyer, Musco, Musco, Woodruff (2021), Hutch++: optimal stochastic trace estimation, algorithm 1.

    Args:
        products: Number ``m`` of products with the Jacobian, a multiple of 3.
        noise: Law of the directions, "rademacher" or "gaussian".

    Raises:
        TypeError, ValueError: An argument has the wrong type or is out of range.
    """

    products: int = 3
    noise: str = "rademacher"

    def __post_init__(self) -> None:
        check_size(self.products, "products")
        if self.products % 3:
            raise ValueError(f"products must be a multiple of 3, but is {self.products}.")
        check_choice(self.noise, list(NOISES), "noise")

    def check(self, size: int) -> None:
        """See `TraceEstimator.check`."""
        if self.products >= size:
            raise ValueError(
                f"Hutch++ with {self.products} products costs as much as the exact trace of a state of size {size}. "
                'Choose fewer products, or trace="exact".'
            )

    def draw(self, z: Tensor, seed: int | None) -> Tensor:
        """See `TraceEstimator.draw`."""
        return NOISES[self.noise](z, (*z.shape[:-1], 2 * self.products // 3, z.shape[-1]), seed)

    def estimate(self, products: Products, directions: Tensor) -> Tensor:
        """See `TraceEstimator.estimate`."""
        sketch, probes = directions.chunk(2, -2)
        # detached: a basis has no derivative where the sketch has not full rank
        basis = torch.linalg.qr(products(sketch).detach().mT).Q.mT
        rest = probes - (probes @ basis.mT) @ basis
        captured = (products(basis) * basis).sum(-1).sum(-1)
        return captured + (products(rest) * rest).sum(-1).mean(-1)


TRACES: dict[str, TraceEstimator] = {"exact": ExactTrace(), "hutchinson": Hutchinson(), "hutch++": HutchPlusPlus()}


def find_trace(trace: Any, size: int) -> TraceEstimator:
    """Return an estimator, of one that was given or of a name.

    Raises:
        TypeError: It is neither.
        ValueError: There is none of the name, or it cannot be used for states of the size.
    """
    if isinstance(trace, str):
        check_choice(trace, list(TRACES), "trace")
        trace = TRACES[trace]
    if not isinstance(trace, TraceEstimator):
        raise TypeError(f"trace must be a name or a TraceEstimator, but is {trace!r}.")
    trace.check(size)
    return trace


def value_and_trace(
    field: Callable[[Tensor], Tensor], z: Tensor, estimator: TraceEstimator, directions: Tensor
) -> tuple[Tensor, Tensor]:
    """Return ``field(z)`` and the trace of its Jacobian by ``z``, of shapes ``(*batch, size)`` and ``(*batch,)``.

    Both can be differentiated.

    Args:
        field: A function that treats every sample for itself.
        z: Shape ``(*batch, size)``.
        estimator: The way to the trace.
        directions: What ``estimator.draw`` returned.
    """

    def attached(z: Tensor) -> Tensor:
        # a value that does not depend on z at all would have no products, which vmap does not survive
        return torch.where(always, field(z), z)

    always = torch.ones((), dtype=torch.bool, device=z.device)
    value, pull = torch.func.vjp(attached, z)[:2]
    transposed = torch.func.vmap(lambda direction: pull(direction)[0], in_dims=-2, out_dims=-2)
    return value, estimator.estimate(transposed, directions)
