"""Shapes by other names: arrangements that are made of the operations in `shapes`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from nde.taylor.frame import Frame
from nde.taylor.registry import RULES, VARIABLE_FUNCTIONS, functions_named, rule_for

__all__: list[str] = []


def _listed(values: tuple[Any, ...]) -> Sequence[Any]:
    return values[0] if len(values) == 1 and isinstance(values[0], (tuple, list)) else values


def _at_least(raise_one: Callable[[Any], Any]) -> Callable[..., Any]:
    def rule(frame: Frame, *values: Any) -> Any:
        raised = tuple(raise_one(value) for value in _listed(values))
        return raised if len(raised) > 1 or isinstance(values[0], (tuple, list)) else raised[0]

    return rule


def _to_one_axis(value: Any) -> Any:
    return torch.reshape(value, (1,)) if value.ndim == 0 else value


def _to_two_axes(value: Any) -> Any:
    value = _to_one_axis(value)
    return torch.unsqueeze(value, 0) if value.ndim == 1 else value


def _to_three_axes(value: Any) -> Any:
    value = _to_two_axes(value)
    return torch.unsqueeze(value, -1) if value.ndim == 2 else value


for _axes, _raise in ((1, _to_one_axis), (2, _to_two_axes), (3, _to_three_axes)):
    for _function in (*functions_named(f"atleast_{_axes}d"), getattr(VARIABLE_FUNCTIONS, f"atleast_{_axes}d")):
        RULES[_function] = _at_least(_raise)


@rule_for("broadcast_tensors")
def _broadcast_tensors(frame: Frame, *tensors: Any) -> tuple[Any, ...]:
    shape = torch.broadcast_shapes(*(tuple(value.shape) for value in tensors))
    return tuple(value.expand(*shape) for value in tensors)


@rule_for("cartesian_prod")
def _cartesian_prod(frame: Frame, *tensors: Any) -> Any:
    if len(tensors) == 1:
        return tensors[0]
    return torch.stack([torch.reshape(grid, (-1,)) for grid in torch.meshgrid(*tensors, indexing="ij")], -1)


@rule_for("block_diag")
def _block_diag(frame: Frame, *tensors: Any) -> Any:
    blocks = [_to_two_axes(value) for value in tensors]
    width = sum(block.shape[1] for block in blocks)
    rows, before = [], 0
    for block in blocks:
        rows.append(torch.nn.functional.pad(block, (before, width - before - block.shape[1])))
        before += block.shape[1]
    return torch.cat(rows, 0)


@rule_for("column_stack")
def _column_stack(frame: Frame, tensors: Sequence[Any]) -> Any:
    return torch.cat([torch.reshape(value, (-1, 1)) if value.ndim < 2 else value for value in tensors], 1)


@rule_for("dstack")
def _dstack(frame: Frame, tensors: Sequence[Any]) -> Any:
    return torch.cat([_to_three_axes(value) for value in tensors], 2)


@rule_for("hsplit")
def _hsplit(frame: Frame, input: Any, indices_or_sections: Any) -> Any:
    return torch.tensor_split(input, indices_or_sections, 0 if input.ndim == 1 else 1)


@rule_for("vsplit")
def _vsplit(frame: Frame, input: Any, indices_or_sections: Any) -> Any:
    return torch.tensor_split(input, indices_or_sections, 0)


@rule_for("dsplit")
def _dsplit(frame: Frame, input: Any, indices_or_sections: Any) -> Any:
    return torch.tensor_split(input, indices_or_sections, 2)


@rule_for("diagflat")
def _diagflat(frame: Frame, input: Any, offset: int = 0) -> Any:
    return torch.diag(torch.reshape(input, (-1,)), offset)


def _diagonal(frame: Frame, A: Any, *, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Any:
    return torch.diagonal(A, offset, dim1, dim2)


RULES[torch.linalg.diagonal] = _diagonal


@rule_for("sum_to_size")
def _sum_to_size(frame: Frame, input: Any, *size: Any) -> Any:
    wanted = tuple(_listed(size))
    extra = input.ndim - len(wanted)
    total = torch.sum(input, tuple(range(extra))) if extra else input
    axes = tuple(i for i, n in enumerate(wanted) if n == 1 and total.shape[i] != 1)
    return torch.sum(total, axes, True) if axes else total
