"""Operators of second order: Laplacian and weighted traces, with drift, time and envelope in the same pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from nde.taylor.operators.checks import check_points
from nde.taylor.operators.draws import Draw, banded_directions, draw_directions
from nde.taylor.operators.envelope import Envelope
from nde.taylor.operators.estimate import Estimate
from nde.taylor.operators.first_layer import compress
from nde.taylor.operators.frames import ColumnFrame, CoordinateFrame
from nde.taylor.operators.modes import LAPLACIAN_MODES, MODES, check_mode, resolved_mode
from nde.taylor.operators.push import Pushed, push_directions

__all__ = ["laplacian", "push_traces", "weighted_trace"]


def laplacian(
    f: Callable[[Any], Any],
    x: Any,
    *,
    mode: str = "exact",
    samples: int | None = None,
    groups: int = 1,
    axes: Sequence[int] | Tensor | None = None,
    drift: Tensor | None = None,
    envelope: Envelope | None = None,
    generator: torch.Generator | None = None,
) -> Estimate:
    """Return ``sum_i u_ii + drift . grad u`` at points, exactly or as an unbiased estimate.

    Args:
        f: Function or module, ``(*S, d) -> (*S,)``, ``(*S, 1)`` or, output by output, ``(*S, C)``.
        x: Points, shape ``(*S, d)``, floating.
        mode: ``"exact"``: one direction for each coordinate. ``"rank"``: exact with one direction for each output of
            the first linear map, whatever ``d`` is; with ``samples`` an orthogonal sample of these. ``"sparse"``:
            coordinates drawn without replacement. ``"rademacher"``, ``"gaussian"``, ``"orthogonal"``: random vectors.
            ``"banded"``: exact with ``samples`` directions where coordinates that are a multiple of ``samples`` apart
            do not interact (``H_ij = 0``), as in sums of functions of ``samples`` neighbouring coordinates.
            ``"auto"``: see `nde.taylor.operators.modes.resolved_mode`. Which one to choose: docs/estimators.md.
        samples: Number of random directions ``V``, shared by all points.
        groups: Into how many groups the directions are parted; two or more make the estimate report its variance.
        axes: The coordinates that the sum is over; None: all. With time as the last of ``d`` coordinates,
            ``axes=range(d - 1)``.
        drift: Shape ``(d,)`` or ``(*S, d)``: the coefficient of the gradient, exact and without a further direction in
            every mode. A derivative in time is the drift of a unit vector.
        envelope: For ``u = w f`` with a known ``w``, as one that vanishes on the boundary: its value, gradient and
            Laplacian. Only the Laplacian of ``f`` is then estimated, the cross term is exact.
        generator: Source of the random numbers.

    Returns:
        `Estimate` of the shape of ``f(x)``; ``.value``, ``.variance``, and ``.primal``, which is ``u(x)``.

    Raises:
        TypeError: ``x`` is not a floating tensor, ``f`` is not callable.
        ValueError: The mode is unknown, ``samples`` is missing or does not fit, an axis is out of range, a shape does
            not fit.
    """
    check_points(f, x)
    check_mode(mode, LAPLACIAN_MODES)
    frame = CoordinateFrame(x.shape[-1], axes, x.device)
    drift = _checked_drift(drift, x)
    mode, samples = resolved_mode(mode, f, frame.columns, samples)
    if envelope is not None:
        envelope.check(x)
    if mode == "rank":
        compressed = compress(f, x, frame)
        behind = ColumnFrame(compressed.matrix)
        draw = _rank_draw(behind.columns, samples, groups, compressed.z, generator)
        drift_behind = None if drift is None else compressed.push(drift)
        cross = None if envelope is None else envelope.cross_seed(frame.masked, compressed.push)
        seed = behind.seed(draw, compressed.z)
        pushed = push_traces(compressed.rest, compressed.z, seed, draw, 1.0, drift_behind, cross)
    else:
        draw = _draw(mode, frame.columns, samples, groups, x, generator)
        cross = None if envelope is None else envelope.cross_seed(frame.masked)
        pushed = push_traces(f, x, frame.seed(draw, x), draw, 1.0, drift, cross)
    parts, primal, cross_term = pushed
    if envelope is None:
        return Estimate(parts, primal, draw.fraction)
    return envelope.applied(parts, primal, cross_term, drift, draw.fraction)


def weighted_trace(
    f: Callable[[Any], Any],
    x: Any,
    *,
    sigma: Tensor | None = None,
    matrix: Tensor | None = None,
    scale: float = 0.5,
    mode: str = "exact",
    samples: int | None = None,
    groups: int = 1,
    drift: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Estimate:
    """Return ``scale * tr(C H) + drift . grad u`` at points, with the Hessian ``H``.

    ``C`` is ``sigma sigma^T`` or a symmetric ``matrix``. With the default scale of one half it is the generator of the
    diffusion ``dX = drift dt + sigma dW``. ``C`` may be indefinite where it is given as
    ``matrix``: its positive and its negative part are sampled apart.

    Args:
        f, x, mode, samples, groups, drift, generator: As for `laplacian`. The columns of ``sigma`` take the place of
            the coordinates; for an indefinite matrix the random modes draw ``samples`` directions for each sign.
        sigma: Shape ``(d, r)``, or ``(*S, d, r)`` where it varies with the points.
        matrix: Shape ``(d, d)``, symmetric; a constant (no gradient flows to it).
        scale: Factor of the trace.

    Raises:
        TypeError, ValueError: As for `laplacian`; neither or both of ``sigma`` and ``matrix`` are given, a shape does
            not fit, ``matrix`` is not symmetric.
    """
    check_points(f, x)
    check_mode(mode, MODES)
    drift = _checked_drift(drift, x)
    columns, signs = _columns_of(x, sigma, matrix)
    settings = (mode, samples, groups, generator)
    if signs is None or mode in ("exact", "sparse"):
        return _trace_of_columns(f, x, columns, signs, scale, drift, *settings)
    # a random combination of columns of both signs is not of either; the parts of each sign are sampled apart
    total: Estimate | None = None
    for sign in (1.0, -1.0):
        chosen = columns[:, signs == sign]
        if not chosen.shape[1]:
            continue
        first_drift = drift if total is None else None
        estimate = _trace_of_columns(f, x, chosen, None, sign * scale, first_drift, *settings)
        total = estimate if total is None else total + estimate
    assert total is not None  # there is at least one sign
    return total


def _trace_of_columns(
    f: Callable[[Any], Any],
    x: Any,
    columns: Tensor,
    signs: Tensor | None,
    scale: float,
    drift: Tensor | None,
    mode: str,
    samples: int | None,
    groups: int,
    generator: torch.Generator | None,
) -> Estimate:
    frame = ColumnFrame(columns)
    shared = columns.ndim == 2
    mode, samples = resolved_mode(mode, f if shared else None, frame.columns, samples)
    if mode != "rank":
        draw = _draw(mode, frame.columns, samples, groups, x, generator)
        each = None if signs is None or draw.indices is None else signs[draw.indices]
        parts, primal, _ = push_traces(f, x, frame.seed(draw, x), draw, scale, drift, None, each)
        return Estimate(parts, primal, draw.fraction)
    if not shared:
        raise ValueError('mode="rank" needs one sigma for all points. Choose "exact" or a random mode.')
    compressed = compress(f, x, columns)
    frame = ColumnFrame(compressed.matrix)
    draw = _rank_draw(frame.columns, samples, groups, compressed.z, generator)
    pushed_drift = None if drift is None else compressed.push(drift)
    seed = frame.seed(draw, compressed.z)
    parts, primal, _ = push_traces(compressed.rest, compressed.z, seed, draw, scale, pushed_drift)
    return Estimate(parts, primal, draw.fraction)


def push_traces(
    f: Callable[[Any], Any],
    x: Any,
    seed: Any,
    draw: Draw,
    scale: float = 1.0,
    drift: Tensor | None = None,
    cross: Tensor | None = None,
    each: Tensor | None = None,
) -> Pushed:
    """Push the directions of a draw for ``scale * sum_i D^2 u[a_i, a_i] + Du[drift]`` and ``Du[cross]``."""
    factor = 2.0 * scale * draw.scale  # a Taylor coefficient of order 2 is half of the derivative
    return push_directions(
        f,
        x,
        seed,
        order=2,
        directions=draw.samples,
        groups=draw.groups,
        factor=factor,
        each=each,
        drift=drift,
        cross=cross,
    )


def _draw(
    mode: str, columns: int, samples: int | None, groups: int, like: Any, generator: torch.Generator | None
) -> Draw:
    if mode == "exact":
        return Draw.everything(columns, like.device)
    assert samples is not None  # resolved_mode has checked it
    if mode == "banded":
        if groups != 1:
            raise ValueError(f'groups must be 1 with mode="banded", which leaves nothing to chance, but is {groups}.')
        return banded_directions(columns, samples, like)
    return draw_directions(mode, columns, samples, groups, like, generator)


def _rank_draw(columns: int, samples: int | None, groups: int, like: Any, generator: torch.Generator | None) -> Draw:
    if samples is None or samples >= columns:
        return Draw.everything(columns, like.device)
    return draw_directions("orthogonal", columns, samples, groups, like, generator)


def _checked_drift(drift: Tensor | None, x: Any) -> Tensor | None:
    if drift is None:
        return None
    if drift.shape not in ((x.shape[-1],), x.shape):
        raise ValueError(
            f"drift must have the shape {(x.shape[-1],)} or {tuple(x.shape)}, but has {tuple(drift.shape)}."
        )
    return drift.reshape(*[1] * (x.ndim - drift.ndim), *drift.shape)


def _columns_of(x: Any, sigma: Tensor | None, matrix: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Return sigma, or the scaled eigenvectors of a matrix, with their signs where not all are positive."""
    if (sigma is None) == (matrix is None):
        raise ValueError("give either sigma, for tr(sigma sigma^T H), or a symmetric matrix, for tr(matrix H).")
    dimension = x.shape[-1]
    if sigma is not None:
        lead = sigma.shape[:-2]
        if sigma.ndim < 2 or sigma.shape[-2] != dimension or lead not in ((), x.shape[:-1]) or sigma.shape[-1] == 0:
            raise ValueError(
                f"sigma must have the shape {(dimension, 'r')} or {(*x.shape[:-1], dimension, 'r')}, but has "
                f"{tuple(sigma.shape)}."
            )
        return sigma, None
    assert matrix is not None  # one of the two is given
    if matrix.shape != (dimension, dimension) or not torch.allclose(matrix, matrix.T):
        raise ValueError(
            f"matrix must be symmetric of the shape {(dimension, dimension)}, but has {tuple(matrix.shape)} or is not. "
            "Only the symmetric part matters: (matrix + matrix.T) / 2."
        )
    values, vectors = torch.linalg.eigh(matrix.detach().double())
    kept = values.abs() > values.abs().max() * torch.finfo(matrix.dtype).eps * dimension
    if not bool(kept.any()):
        raise ValueError("matrix is zero: its trace operator is zero too.")
    columns = (vectors[:, kept] * values[kept].abs().sqrt()).to(x.dtype)
    signs = values[kept].sign().to(x.dtype)
    return columns, None if bool((signs > 0).all()) else signs
