"""Operators of higher order in many dimensions: the biharmonic operator and sums of pure derivatives."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from nde.taylor.operators.checks import check_count, check_points
from nde.taylor.operators.draws import LAWS, Draw, draw_directions
from nde.taylor.operators.estimate import Estimate
from nde.taylor.operators.first_layer import compress
from nde.taylor.operators.frames import ColumnFrame, CoordinateFrame, shared_seed
from nde.taylor.operators.modes import check_mode, resolved_mode
from nde.taylor.operators.push import push_directions
from nde.taylor.operators.second_order import push_traces

__all__ = ["biharmonic", "diagonal"]

_MODES = ("exact", "rank", *LAWS)


def biharmonic(
    f: Callable[[Any], Any],
    x: Any,
    *,
    mode: str = "exact",
    samples: int | None = None,
    groups: int = 1,
    generator: torch.Generator | None = None,
) -> Estimate:
    """Return ``sum_ij u_iijj``, the Laplacian of the Laplacian, at points.

    Args:
        f: Function or module, ``(*S, d) -> (*S,)``, ``(*S, 1)`` or, output by output, ``(*S, C)``.
        x: Points, shape ``(*S, d)``, floating.
        mode: ``"exact"``: nested collapsed Laplacians. ``"gaussian"``: ``E D^4 u[v, v, v, v] / 3`` with normal ``v``.
            ``"orthogonal"``: the same with directions on a sphere, corrected for their fourth moment; of smaller
            variance. ``"rademacher"``: signs have the fourth moments of a normal law but for the pure ones, so that
            ``D^4 u[v, v, v, v] / 3`` lacks two thirds of ``sum_i u_iiii``, which as many coordinates, drawn without
            replacement, add. ``"sparse"``: all pairs of ``samples`` coordinates drawn without replacement,
            ``samples^2`` directions. ``"rank"``: behind the first linear map, where its width takes the place of ``d``:
            exact, or with ``samples`` as ``"orthogonal"``.
        samples, groups, generator: See `nde.taylor.operators.laplacian`. For ``"sparse"`` each group has
            ``samples / groups`` coordinates, which must be at least 2; the groups are drawn independently.

    Raises:
        TypeError: ``x`` is not a floating tensor, ``f`` is not callable.
        ValueError: The mode is unknown; ``samples`` is missing or does not fit.
    """
    check_points(f, x)
    check_mode(mode, _MODES)
    columns = x.shape[-1]
    mode, samples = resolved_mode(mode, None, columns, samples)
    axes = CoordinateFrame(columns, None, x.device)
    if mode == "exact":
        return _nested(f, x, axes)
    if mode == "rank":
        compressed = compress(f, x, axes)
        behind = ColumnFrame(compressed.matrix)
        if samples is None:
            return _nested(compressed.rest, compressed.z, behind)
        draw = draw_directions("orthogonal", behind.columns, samples, groups, compressed.z, generator)
        seed = behind.seed(draw, compressed.z)
        return _quartic(compressed.rest, compressed.z, seed, draw, _moment("orthogonal", behind.columns))
    assert samples is not None  # resolved_mode has checked it
    if mode == "sparse":
        return _sparse_biharmonic(f, x, samples, groups, generator)
    draw = draw_directions(mode, columns, samples, groups, x, generator)
    estimate = _quartic(f, x, axes.seed(draw, x), draw, _moment(mode, columns))
    if mode != "rademacher":
        return estimate
    count = min(samples, columns // groups * groups)
    if count < groups:
        raise ValueError(
            f"groups={groups} cannot each have a coordinate of their own out of {columns} for the correction of "
            'signs. Take fewer groups, or mode="orthogonal".'
        )
    # groups of coordinates drawn independently of each other, so that the parts are independent like those of the signs
    pure = [_power_sum(f, x, 4, _sparse(columns, count // groups, x, generator)) for _ in range(groups)]
    correction = torch.cat([part.parts for part in pure])
    return Estimate(estimate.parts + correction * (2.0 / 3.0), estimate.primal, 0.0)


def diagonal(
    f: Callable[[Any], Any],
    x: Any,
    *,
    order: int,
    mode: str = "exact",
    samples: int | None = None,
    groups: int = 1,
    generator: torch.Generator | None = None,
) -> Estimate:
    """Return ``sum_i d^order u / d x_i^order`` at points.

    There is no estimator by random vectors above order 2: no law has the moments that would leave out the mixed
    derivatives.

    Args:
        f: Function or module, ``(*S, d) -> (*S,)``, ``(*S, 1)`` or, output by output, ``(*S, C)``.
        x: Points, shape ``(*S, d)``, floating.
        order: At least 1.
        mode: ``"exact"`` or ``"sparse"``.
        samples, groups, generator: See `nde.taylor.operators.laplacian`.

    Raises:
        TypeError: ``x`` is not a floating tensor, ``order`` is not a whole number.
        ValueError: ``order`` is below 1; the mode is another one; ``samples`` does not fit.
    """
    check_points(f, x)
    check_count(order, "order", 1, hint="The function itself is f(x).")
    if mode in LAWS and mode != "sparse":
        raise ValueError(
            f"mode={mode!r} cannot estimate a sum of pure derivatives: random vectors bring in mixed ones. Choose "
            "'sparse' or 'exact'."
        )
    check_mode(mode, ("exact", "sparse"))
    mode, samples = resolved_mode(mode, None, x.shape[-1], samples)
    if mode == "exact":
        return _power_sum(f, x, order, Draw.everything(x.shape[-1], x.device))
    assert samples is not None  # resolved_mode has checked it
    return _power_sum(f, x, order, draw_directions("sparse", x.shape[-1], samples, groups, x, generator))


def _moment(mode: str, columns: int) -> float:
    """Return the factor that turns the mean of ``D^4 u[v, v, v, v]`` into the biharmonic operator.

    Of vectors of length ``sqrt(r)`` on a sphere, ``E v_i v_j v_k v_l`` is ``r / (r + 2)`` times that of normal ones,
    which is the sum of the three pairings.
    """
    return (columns + 2) / (3.0 * columns) if mode == "orthogonal" else 1.0 / 3.0


def _nested(f: Callable[[Any], Any], x: Any, frame: CoordinateFrame | ColumnFrame) -> Estimate:
    """Return the operator as a collapsed Laplacian of a collapsed Laplacian: ``(r + 2)^2`` vectors, and exact."""
    draw = Draw.everything(frame.columns, x.device)
    values: list[Any] = []

    def inner(y: Any) -> Any:
        parts, primal, _ = push_traces(f, y, frame.seed(draw, y), draw)
        values.append(primal.primal)
        return parts.squeeze(0)

    parts, _, _ = push_traces(inner, x, frame.seed(draw, x), draw)
    return Estimate(parts, values[0], 1.0)


def _quartic(f: Callable[[Any], Any], x: Any, seed: Any, draw: Draw, moment: float) -> Estimate:
    factor = math.factorial(4) * moment * draw.scale
    pushed = push_directions(f, x, seed, order=4, directions=draw.samples, groups=draw.groups, factor=factor)
    return Estimate(pushed.parts, pushed.primal, draw.fraction)


def _power_sum(f: Callable[[Any], Any], x: Any, order: int, draw: Draw) -> Estimate:
    """Return the estimate of the sum of pure derivatives by the coordinates of a draw."""
    seed = CoordinateFrame(x.shape[-1], None, x.device).seed(draw, x)
    pushed = push_directions(
        f, x, seed, order=order, directions=draw.samples, groups=draw.groups, factor=math.factorial(order) * draw.scale
    )
    return Estimate(pushed.parts, pushed.primal, draw.fraction)


def _sparse(columns: int, samples: int, like: Any, generator: torch.Generator | None) -> Draw:
    return draw_directions("sparse", columns, samples, 1, like, generator)


def _sparse_biharmonic(
    f: Callable[[Any], Any], x: Any, samples: int, groups: int, generator: torch.Generator | None
) -> Estimate:
    """Return the estimate by all pairs of coordinates of each group.

    With ``g(v) = D^4 u[v, v, v, v]``, ``12 u_iijj = g(e_i + e_j) + g(e_i - e_j) - 2 g(e_i) - 2 g(e_j)``.
    """
    columns = x.shape[-1]
    size, rest = divmod(samples, groups)
    if rest or size < 2 or size > columns:
        raise ValueError(
            f"samples={samples} must be at least 2 and at most {columns} coordinates for each of groups={groups}, and "
            "a multiple of them: pairs of coordinates are drawn."
        )
    first, second = torch.triu_indices(size, size, 1, device=x.device)
    pair = columns * (columns - 1) / (size * (size - 1))
    each = [pair / 6.0] * (2 * len(first)) + [columns / size - pair * (size - 1) / 3.0] * size
    vectors = []
    for _ in range(groups):
        indices = _sparse(columns, size, x, generator).indices
        assert indices is not None  # sparse draws have no vectors
        vectors.append(_pair_vectors(indices, first, second, columns, x))
    weights = torch.tensor(each, dtype=x.dtype, device=x.device).repeat(groups)
    seed = shared_seed(torch.cat(vectors), x)
    pushed = push_directions(
        f, x, seed, order=4, directions=len(weights), groups=groups, factor=math.factorial(4), each=weights
    )
    return Estimate(pushed.parts, pushed.primal, 1.0 if size == columns else 0.0)


def _pair_vectors(indices: Tensor, first: Tensor, second: Tensor, columns: int, like: Any) -> Tensor:
    units = torch.zeros(len(indices), columns, dtype=like.dtype, device=like.device)
    units[torch.arange(len(indices), device=like.device), indices] = 1.0
    return torch.cat([units[first] + units[second], units[first] - units[second], units])
