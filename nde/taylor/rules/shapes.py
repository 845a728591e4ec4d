"""Shapes: what moves, splits, joins or picks elements and computes nothing.

Coefficients that do not vary along an axis (size 1) stay so where the operation leaves that axis alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from nde.taylor.frame import Frame, Lifted
from nde.taylor.jet_type import Jet, belongs, series_of
from nde.taylor.registry import RULES, VARIABLE_FUNCTIONS, rule_for
from nde.taylor.rules.algebra import full_along
from nde.taylor.rules.linear import apply_linear, each, last_axes

__all__: list[str] = []


def _sizes(shape: tuple[Any, ...]) -> tuple[int, ...]:
    return tuple(shape[0]) if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else tuple(shape)


@rule_for("reshape", "view")
def _reshape(frame: Frame, input: Any, *shape: Any, **kwargs: Any) -> Any:
    old = tuple(input.shape)
    new = tuple(torch.reshape(input.lifted[0].squeeze(0), _sizes(kwargs.get("shape", shape))).shape)
    kept = 0  # leading axes that the operation leaves alone
    while kept < min(len(old), len(new)) and old[kept] == new[kept]:
        kept += 1

    def reshaped(c: Lifted) -> Lifted:
        front = c.shape[: kept + 1]
        return c.expand(*front, *old[kept:]).reshape(*front, *new[kept:])

    return each(input, reshaped)


@rule_for("view_as", "reshape_as")
def _reshape_as(frame: Frame, input: Any, other: Any) -> Any:
    return input.reshape(other.shape)


@rule_for("flatten")
def _flatten(frame: Frame, input: Any, start_dim: int = 0, end_dim: int = -1) -> Any:
    return _reshape(frame, input, input.lifted[0].squeeze(0).flatten(start_dim, end_dim).shape)


@rule_for("ravel")
def _ravel(frame: Frame, input: Any) -> Any:
    return _reshape(frame, input, -1)


@rule_for("unflatten")
def _unflatten(frame: Frame, input: Any, dim: int, sizes: Sequence[int]) -> Any:
    return _reshape(frame, input, input.lifted[0].squeeze(0).unflatten(dim, sizes).shape)


@rule_for("permute")
def _permute(frame: Frame, input: Any, *dims: Any) -> Any:
    axes = last_axes(_sizes(dims), input.ndim)
    return each(input, lambda c: c.permute(0, *(axis + c.ndim for axis in axes)))


@rule_for("transpose", "swapaxes", "swapdims")
def _transpose(frame: Frame, input: Any, dim0: int, dim1: int) -> Any:
    first, second = last_axes(dim0, input.ndim), last_axes(dim1, input.ndim)
    return each(input, lambda c: torch.transpose(c, first, second))


@rule_for("t")
def _t(frame: Frame, input: Any) -> Any:
    return input if input.ndim < 2 else _transpose(frame, input, 0, 1)


@rule_for("adjoint")
def _adjoint(frame: Frame, input: Any) -> Any:
    return _transpose(frame, input, -2, -1)


@rule_for("movedim", "moveaxis")
def _movedim(frame: Frame, input: Any, source: Any, destination: Any) -> Any:
    source, destination = last_axes(source, input.ndim), last_axes(destination, input.ndim)
    return each(input, lambda c: torch.movedim(c, source, destination))


@rule_for("unsqueeze")
def _unsqueeze(frame: Frame, input: Any, dim: int) -> Any:
    axis = last_axes(dim, input.ndim + 1)
    return each(input, lambda c: c.unsqueeze(axis))


@rule_for("squeeze")
def _squeeze(frame: Frame, input: Any, dim: Any = None) -> Any:
    axes = last_axes(dim, input.ndim)
    axes = axes if isinstance(axes, tuple) else (axes,)
    single = tuple(axis for axis in axes if input.ndim and input.shape[axis] == 1)
    return each(input, lambda c: torch.squeeze(c, single)) if single else input


@rule_for("expand", "broadcast_to")
def _expand(frame: Frame, input: Any, *shape: Any) -> Any:
    full = input.lifted[0].squeeze(0).expand(*_sizes(shape)).unsqueeze(0)
    new = full.ndim - input.lifted[0].ndim

    def raised(c: Lifted) -> Lifted:
        for _ in range(new):
            c = c.unsqueeze(1)
        return c

    return Jet(frame, [full, *(None if c is None else raised(c) for c in input.lifted[1:])])


@rule_for("expand_as")
def _expand_as(frame: Frame, input: Any, other: Any) -> Any:
    return _expand(frame, input, *other.shape)


@rule_for("select")
def _select(frame: Frame, input: Any, dim: int, index: int) -> Any:
    axis = last_axes(dim, input.ndim)
    return each(Jet(frame, full_along(input.lifted, axis)), lambda c: torch.select(c, axis, index))


@rule_for("narrow")
def _narrow(frame: Frame, input: Any, dim: int, start: int, length: int) -> Any:
    axis = last_axes(dim, input.ndim)
    return each(Jet(frame, full_along(input.lifted, axis)), lambda c: torch.narrow(c, axis, start, length))


def _pieces(function: Any, frame: Frame, input: Any, how: Any, dim: int) -> tuple[Any, ...]:
    axis = last_axes(dim, input.ndim)
    first, *higher = full_along(input.lifted, axis)
    values = function(first, how, dim=axis)
    parts = [None if c is None else function(c, how, dim=axis) for c in higher]
    return tuple(
        Jet(frame, [value, *(None if part is None else part[i] for part in parts)]) for i, value in enumerate(values)
    )


@rule_for("split", "split_with_sizes")
def _split(frame: Frame, input: Any, split_size_or_sections: Any, dim: int = 0) -> tuple[Any, ...]:
    return _pieces(torch.split, frame, input, split_size_or_sections, dim)


@rule_for("chunk")
def _chunk(frame: Frame, input: Any, chunks: int, dim: int = 0) -> tuple[Any, ...]:
    return _pieces(torch.chunk, frame, input, chunks, dim)


@rule_for("tensor_split")
def _tensor_split(frame: Frame, input: Any, indices_or_sections: Any, dim: int = 0) -> tuple[Any, ...]:
    return _pieces(torch.tensor_split, frame, input, indices_or_sections, dim)


@rule_for("unbind")
def _unbind(frame: Frame, input: Any, dim: int = 0) -> tuple[Any, ...]:
    return tuple(_select(frame, input, dim, i) for i in range(input.shape[dim]))


@rule_for("cat", "concat", "concatenate")
def _cat(frame: Frame, tensors: Sequence[Any], dim: int = 0) -> Any:
    rank = max(value.ndim for value in tensors)
    axis = last_axes(dim, rank)
    primals = [value.lifted[0] if belongs(frame, value) else value.unsqueeze(0) for value in tensors]
    return _joined(frame, tensors, primals, axis)


@rule_for("stack")
def _stack(frame: Frame, tensors: Sequence[Any], dim: int = 0) -> Any:
    return _cat(frame, [torch.unsqueeze(value, dim) for value in tensors], dim)


@rule_for("hstack")
def _hstack(frame: Frame, tensors: Sequence[Any]) -> Any:
    return _cat(frame, tensors, 0 if tensors[0].ndim == 1 else 1)


@rule_for("vstack", "row_stack")
def _vstack(frame: Frame, tensors: Sequence[Any]) -> Any:
    return _cat(frame, [torch.unsqueeze(value, 0) if value.ndim == 1 else value for value in tensors], 0)


def _joined(frame: Frame, tensors: Sequence[Any], primals: list[Any], axis: int) -> Any:
    lifted: list[Any] = [torch.cat(primals, dim=axis)]
    for k in range(1, frame.order + 1):
        parts = [series_of(frame, value)[k] for value in tensors]
        present = [part for part in parts if part is not None]
        if not present:
            lifted.append(None)
            continue
        # every part varies over the axes over which one of them does
        common = torch.broadcast_shapes(*(_without(part.shape, axis) for part in present))
        filled = []
        for part, primal in zip(parts, primals, strict=True):
            shape = list(common)
            shape[axis] = primal.shape[axis]
            filled.append(primal.new_zeros(shape) if part is None else part.expand(*shape))
        lifted.append(torch.cat(filled, dim=axis))
    return Jet(frame, lifted)


def _without(shape: Sequence[int], axis: int) -> list[int]:
    reduced = list(shape)
    reduced[axis] = 1
    return reduced


@rule_for("meshgrid")
def _meshgrid(frame: Frame, *tensors: Any, indexing: str = "ij") -> tuple[Any, ...]:
    values = tensors[0] if len(tensors) == 1 and isinstance(tensors[0], (tuple, list)) else tensors
    count = len(values)
    shape = [value.shape[0] for value in values]
    grids = [
        torch.reshape(value, [1] * i + [-1] + [1] * (count - i - 1)).expand(*shape) for i, value in enumerate(values)
    ]
    return tuple(torch.transpose(grid, 0, 1) for grid in grids) if indexing == "xy" and count > 1 else tuple(grids)


RULES[VARIABLE_FUNCTIONS.meshgrid] = _meshgrid


@rule_for("pad")
def _pad(frame: Frame, input: Any, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Any:
    pad_lifted = torch.nn.functional.pad
    touched = tuple(range(-(len(pad) // 2), 0))
    if mode == "constant":
        z = full_along(input.lifted, *touched)
        first = pad_lifted(z[0], pad, mode, value)
        return Jet(frame, [first, *(None if c is None else pad_lifted(c, pad) for c in z[1:])])
    return apply_linear(frame, pad_lifted, input, pad, mode)
