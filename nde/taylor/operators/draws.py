"""Random directions with their laws: what stochastic estimators of differential operators average over.

An operator of order two is ``sum_i D^2 u[a_i, a_i]`` over the ``r`` columns ``a_i`` of a frame (the coordinate axes for
the Laplacian). A draw picks ``V`` of the columns, or ``V`` random combinations of all of them, in ``G`` groups of equal
size: each group by itself is an unbiased estimate, so that their spread measures the variance.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from nde.taylor.operators.checks import check_count

__all__ = ["LAWS", "Draw", "banded_directions", "draw_directions"]

LAWS = ("sparse", "rademacher", "gaussian", "orthogonal")


class Draw(NamedTuple):
    """``V`` directions in ``r`` columns, in ``groups`` groups of consecutive directions.

    Attributes:
        columns: ``r``.
        indices: Shape ``(V,)``: the columns that are the directions; None where they are combinations.
        vectors: Shape ``(V, r)``, of covariance 1: the combinations; None where they are columns.
        groups: Number of groups.
        fraction: ``V / r`` where groups share no column, which makes their mean better than that of independent ones;
            0 where groups are independent; 1 where all columns are taken and nothing is random.
    """

    columns: int
    indices: Tensor | None
    vectors: Tensor | None
    groups: int
    fraction: float

    @property
    def samples(self) -> int:
        """Number of directions."""
        directions = self.indices if self.vectors is None else self.vectors
        assert directions is not None  # one of the two is set
        return directions.shape[0]

    @property
    def scale(self) -> float:
        """Factor of the sum over one group that makes it an unbiased estimate of the sum over all columns."""
        size = self.samples // self.groups
        return (self.columns if self.vectors is None else 1.0) / size

    @classmethod
    def everything(cls, columns: int, device: torch.device | None = None) -> Draw:
        """Return the draw that takes every column once: no estimate, the exact sum."""
        return cls(columns, torch.arange(columns, device=device), None, 1, 1.0)


def draw_directions(
    law: str, columns: int, samples: int, groups: int, like: Tensor, generator: torch.Generator | None = None
) -> Draw:
    """Draw directions.

    Args:
        law: ``"sparse"``: columns without replacement, the groups disjoint. ``"rademacher"``: independent signs.
            ``"gaussian"``: independent standard normal numbers. ``"orthogonal"``: uniformly rotated orthogonal vectors
            of length ``sqrt(r)``, groups independent; a group of more than ``r`` directions has several sets.
        columns: ``r``.
        samples: ``V``.
        groups: ``G``, a divisor of ``V``.
        like: Gives type and device of the vectors.
        generator: Source of the random numbers; None: PyTorch's default one. Where it lives on the CPU, equal seeds
            give equal directions on every device.

    Raises:
        ValueError: ``samples`` is below 1, more than ``columns`` for ``"sparse"``, or no multiple of ``groups``.
    """
    check_count(samples, "samples", 1)
    check_count(groups, "groups", 1)
    if samples % groups:
        raise ValueError(f"samples must be a multiple of groups, but is {samples} for groups={groups}.")
    if law == "sparse":
        if samples > columns:
            raise ValueError(
                f"samples={samples} directions cannot be drawn without replacement from {columns}. Take at most "
                f'{columns}, or mode="exact".'
            )
        indices = _distinct(columns, samples, generator).to(like.device)
        return Draw(columns, indices, None, groups, samples / columns)
    source = torch.device("cpu") if generator is None else generator.device
    # float64 and float32 see the same numbers up to rounding; half precision is no type to draw in
    wide = like.dtype if like.dtype in (torch.float32, torch.float64) else torch.float32
    if law == "rademacher":
        signs = torch.randint(0, 2, (samples, columns), generator=generator, device=source, dtype=torch.int8)
        vectors = signs.to(like.device, like.dtype) * 2 - 1
    elif law == "gaussian":
        vectors = torch.randn(samples, columns, generator=generator, device=source, dtype=wide).to(
            like.device, like.dtype
        )
    else:
        size = samples // groups
        frames = [_orthogonal(columns, size, wide, source, generator) for _ in range(groups)]
        vectors = torch.cat(frames).to(like.device, like.dtype)
    return Draw(columns, None, vectors, groups, 0.0)


def banded_directions(columns: int, width: int, like: Tensor) -> Draw:
    """Return ``width`` directions whose second derivatives sum to a Laplacian, where far coordinates do not interact.

    Each direction has every ``width``-th coordinate. If ``H_ij = 0`` for all ``i != j`` that are a multiple of
    ``width`` apart, nothing but the diagonal of the Hessian is left of ``v^T H v``, and the sum is exact (Curtis,
    Powell, Reid, On the estimation of sparse Jacobian matrices, 1974).

    Args:
        columns: ``r``.
        width: Number of directions.
        like: Gives type and device of the vectors.

    Raises:
        ValueError: ``width`` is below 1 or more than ``columns``.
    """
    check_count(width, "samples", 1)
    if width > columns:
        raise ValueError(f'samples={width} bands are more than the {columns} columns. Take mode="exact".')
    colours = torch.arange(columns, device=like.device) % width
    vectors = (colours == torch.arange(width, device=like.device).unsqueeze(1)).to(like.dtype)
    return Draw(columns, None, vectors * width**0.5, 1, 1.0)  # the mean over the directions is taken of the sum


def _distinct(columns: int, samples: int, generator: torch.Generator | None) -> Tensor:
    """Return distinct indices in random order, with work that does not grow with the number of columns.

    Floyd's algorithm (Bentley and Floyd, A sample of brilliance, 1987).
    """
    source = torch.device("cpu") if generator is None else generator.device
    numbers = torch.rand(samples, generator=generator, device=source, dtype=torch.float64).tolist()
    chosen: dict[int, None] = {}
    for position, number in enumerate(numbers):
        last = columns - samples + position
        index = min(int(number * (last + 1)), last)
        chosen[last if index in chosen else index] = None
    order = torch.randperm(samples, generator=generator, device=source).cpu()
    return torch.tensor(list(chosen))[order]


def _orthogonal(
    columns: int, size: int, dtype: torch.dtype, source: torch.device, generator: torch.Generator | None
) -> Tensor:
    """Return rows of length ``sqrt(columns)``, orthogonal in sets of up to ``columns``, uniformly distributed."""
    sets = []
    for start in range(0, size, columns):
        count = min(columns, size - start)
        normal = torch.randn(columns, count, generator=generator, device=source, dtype=dtype)
        directions, triangle = torch.linalg.qr(normal)
        # the sign of R's diagonal makes the distribution that of Haar: Mezzadri, How to generate random matrices (2007)
        sets.append((directions * triangle.diagonal().sign()).T * columns**0.5)
    return torch.cat(sets)
