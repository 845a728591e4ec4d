"""Sampling of grids of features, as neural fields do: linear in the features, a polynomial in pieces in the points."""

from __future__ import annotations

import functools
import itertools
import operator
from typing import Any

import torch
from torch import Tensor

from nde.taylor.frame import Frame
from nde.taylor.jet_type import belongs, plain_of
from nde.taylor.registry import rule_for
from nde.taylor.rules.linear import apply_linear

__all__: list[str] = []


@rule_for("affine_grid")
def _affine_grid(frame: Frame, theta: Any, size: Any, align_corners: bool | None = None) -> Any:
    axes = theta.shape[-2]
    identity = torch.eye(axes, axes + 1, dtype=theta.dtype, device=theta.device)[None]
    points = torch.nn.functional.affine_grid(identity, [1, *size[1:]], bool(align_corners)).reshape(1, -1, axes)
    moved = torch.matmul(points, theta[..., :axes].mT) + theta[..., None, :, axes]
    return torch.reshape(moved, (size[0], *size[2:], axes))


@rule_for("grid_sample")
def _grid_sample(
    frame: Frame,
    input: Any,
    grid: Any,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool | None = None,
) -> Any:
    if not belongs(frame, grid):
        sample = torch.nn.functional.grid_sample
        return apply_linear(frame, sample, input, grid, mode, padding_mode, bool(align_corners))
    if mode not in ("bilinear", "nearest") or padding_mode not in ("zeros", "border"):
        raise NotImplementedError(
            "grid_sample at points that vary has mode 'bilinear' or 'nearest' and padding_mode 'zeros' or 'border', "
            f"but mode is {mode!r} and padding_mode is {padding_mode!r}."
        )
    sizes = tuple(input.shape[2:])
    features = torch.flatten(input, 2)
    axes = []  # for every axis its two neighbours and their weights; the last entry of a point is the last axis
    for size, coordinate in zip(sizes, reversed(torch.unbind(grid, -1)), strict=True):
        place = _unnormalized(coordinate, size, bool(align_corners))
        if padding_mode == "border":
            place = torch.clamp(place, 0, size - 1)
        axes.append(_neighbours(place, mode))
    total = None
    for corner in itertools.product(*axes):
        index, inside = _flat_index([position for position, _ in corner], sizes)
        weight = functools.reduce(operator.mul, [part for _, part in corner]) * inside
        shape = (index.shape[0], 1, *index.shape[1:])
        expanded = index.reshape(index.shape[0], 1, -1).expand(-1, input.shape[1], -1)
        values = torch.reshape(torch.gather(features, 2, expanded), (*input.shape[:2], *index.shape[1:]))
        term = values * (weight.reshape(shape))
        total = term if total is None else total + term
    return total


def _unnormalized(coordinate: Any, size: int, align_corners: bool) -> Any:
    """Return -1 .. 1 as positions in an axis."""
    if align_corners:
        return (coordinate + 1) * ((size - 1) / 2)
    return ((coordinate + 1) * size - 1) * 0.5


def _neighbours(place: Any, mode: str) -> list[tuple[Tensor, Any]]:
    value = plain_of(place)
    if mode == "nearest":
        return [(torch.round(value).long(), torch.ones_like(value))]
    low = torch.floor(value)
    above = place - low
    return [(low.long(), 1 - above), (low.long() + 1, above)]


def _flat_index(positions: list[Tensor], sizes: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Return the index in the flattened axes, and 1 where it is within them, else 0."""
    flat = torch.zeros_like(positions[0])
    inside = torch.ones_like(positions[0], dtype=torch.bool)
    for position, size in zip(positions, sizes, strict=True):
        inside = inside & (position >= 0) & (position < size)
        flat = flat * size + position.clamp(0, size - 1)
    return flat, inside
