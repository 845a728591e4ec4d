"""Points of the unit cube: independent, Latin hypercube, or a scrambled Sobol sequence, all from one generator."""

from __future__ import annotations

import torch
from torch import Tensor

from nde.taylor.operators import draw_directions
from nde.taylor.operators.checks import check_count

__all__ = ["METHODS", "check_method", "sample_dimensions", "unit_cube"]

METHODS = ("uniform", "latin", "sobol")

_WIDEST_SOBOL = torch.quasirandom.SobolEngine.MAXDIM


def check_method(method: str) -> None:
    """Raise ValueError unless ``method`` is a way to draw points."""
    if method not in METHODS:
        raise ValueError(f"method={method!r} is not known. Choose one of: {', '.join(map(repr, METHODS))}.")


def unit_cube(
    count: int,
    dimension: int,
    *,
    method: str = "uniform",
    generator: torch.Generator | None = None,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Draw points of the half-open unit cube, shape ``(count, dimension)``; each of them is uniformly distributed.

    Args:
        count: Number of points, at least 1.
        dimension: Number of coordinates.
        method: ``"uniform"``: independent points. ``"latin"``: each coordinate has one point in each of ``count`` equal
            cells (McKay, Beckman, Conover 1979). ``"sobol"``: a scrambled Sobol sequence (Owen 1995), best for counts
            that are powers of two; every call scrambles anew.
        generator: Source of the random numbers, on the CPU; None: PyTorch's default one.
        dtype: Type of the points; None: the default type.

    Raises:
        ValueError: The method is unknown, ``count`` is below 1, or Sobol's sequence has not as many dimensions.
    """
    check_count(count, "count", 1)
    check_method(method)
    dtype = torch.get_default_dtype() if dtype is None else dtype
    if method == "uniform":
        return torch.rand(count, dimension, generator=generator, dtype=dtype)
    if method == "latin":
        cells = torch.rand(dimension, count, generator=generator).argsort(1).T
        inside = torch.rand(count, dimension, generator=generator, dtype=torch.float64)
        # rounding to a narrower type must not reach 1
        return ((cells + inside) / count).to(dtype).clamp_max_(1 - torch.finfo(dtype).eps / 2)
    if dimension > _WIDEST_SOBOL:
        raise ValueError(f'method="sobol" has at most {_WIDEST_SOBOL} dimensions, but {dimension} are needed.')
    seed = int(torch.randint(2**31 - 1, (), generator=generator))
    engine = torch.quasirandom.SobolEngine(dimension, scramble=True, seed=seed)
    points = engine.draw(count, dtype=torch.float64).to(dtype)
    return points.clamp_max_(1 - torch.finfo(dtype).eps / 2)


def sample_dimensions(count: int, dimension: int, *, generator: torch.Generator | None = None) -> Tensor:
    """Draw distinct coordinates out of ``dimension``, shape ``(count,)``, at a cost that does not grow with it.

    Raises:
        ValueError: ``count`` is below 1 or more than ``dimension``.
    """
    indices = draw_directions("sparse", dimension, count, 1, torch.empty(0), generator).indices
    assert indices is not None  # sparse draws are columns
    return indices
