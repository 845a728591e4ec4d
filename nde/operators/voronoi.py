"""Measures of Voronoi cells: the quadrature weights of scattered points."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from nde.operators.points import with_images

__all__ = ["box_cells", "sphere_cells"]

_Array = np.ndarray[Any, Any]


def box_cells(points: _Array, lengths: tuple[float, ...], periodic: tuple[bool, ...]) -> _Array:
    """Return the measure of each point's Voronoi cell in a box; walls cut cells, periodic axes continue them.

    Mirror images in the walls make the walls edges of cells, so that nothing has to be cut.

    Args:
        points: Shape ``(points, dims)``, in the box ``[0, lengths]``.
        lengths, periodic: The box.

    Returns:
        Shape ``(points,)``; the sum is the measure of the box.

    Raises:
        ValueError: Points coincide.
    """
    count, dims = points.shape
    distinct = len(np.unique(points, axis=0))
    if distinct < count:
        raise ValueError(f"{count - distinct} of the {count} positions are there twice. Remove them, or give weights=.")
    if dims == 1:
        return _segments(points[:, 0], lengths[0], periodic[0])
    # cells are some spacings wide; where a wide gap makes them wider, the sum below tells, and more images are taken
    whole = math.prod(lengths)
    reach = min(max(lengths), 8 * (whole / count) ** (1 / dims))
    # points on a wall coincide with their mirror image there: they are moved inside by less than matters
    room = np.array([0.0 if wraps else 1e-7 * length for length, wraps in zip(lengths, periodic, strict=True)])
    inner = np.clip(points, room, np.array(lengths) - room)
    while True:
        images, _ = with_images(inner, lengths, periodic, reach, True)
        cells = _ridge_sums(images, count)
        if np.isfinite(cells).all() and abs(cells.sum() - whole) < 1e-6 * whole:
            return cells
        if reach >= max(lengths):
            raise ValueError("the Voronoi cells of the positions do not fill the box. Give weights=.")
        reach = min(max(lengths), 2 * reach)


def _segments(places: _Array, length: float, periodic: bool) -> _Array:
    order = np.argsort(places)
    gaps = np.diff(places[order])
    around = length - places[order[-1]] + places[order[0]]
    before = np.concatenate(([around / 2 if periodic else places[order[0]]], gaps / 2))
    after = np.concatenate((gaps / 2, [around / 2 if periodic else length - places[order[-1]]]))
    cells = np.empty_like(places)
    cells[order] = before + after
    return cells


def _ridge_sums(images: _Array, count: int) -> _Array:
    """Return the measures of the first ``count`` cells, as sums of pyramids over their faces with the point as apex."""
    from scipy.spatial import Voronoi

    dims = images.shape[1]
    diagram = Voronoi(images)
    pairs = diagram.ridge_points
    chosen = np.flatnonzero((pairs < count).any(1))
    faces = [diagram.ridge_vertices[index] for index in chosen]
    pairs = pairs[chosen]
    sizes = np.array([len(face) for face in faces])
    flat = np.concatenate([np.asarray(face) for face in faces])
    starts = np.concatenate(([0], np.cumsum(sizes)[:-1]))
    corners = diagram.vertices[flat]
    following = np.arange(1, len(flat) + 1)
    following[starts + sizes - 1] = starts
    if dims == 2:
        areas = np.linalg.norm(corners[starts + 1] - corners[starts], axis=1)
    else:
        first = np.repeat(corners[starts], sizes, axis=0)
        crossed = np.cross(corners - first, corners[following] - first)
        areas = np.linalg.norm(np.add.reduceat(crossed, starts, axis=0), axis=1) / 2
    areas[np.minimum.reduceat(flat, starts) < 0] = np.inf  # an open face: the cell has no end
    pyramids = areas * np.linalg.norm(images[pairs[:, 0]] - images[pairs[:, 1]], axis=1) / (2 * dims)
    cells = np.zeros(count)
    for side in (0, 1):
        owned = pairs[:, side] < count
        np.add.at(cells, pairs[owned, side], pyramids[owned])
    return cells


def sphere_cells(points: _Array) -> _Array:
    """Return the areas of the Voronoi cells of points on the unit sphere, shape ``(points,)``."""
    from scipy.spatial import SphericalVoronoi

    return np.asarray(SphericalVoronoi(points).calculate_areas())
