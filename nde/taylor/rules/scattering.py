"""Operations that write one tensor into another out of place: linear in both together. Lookups in a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from nde.taylor.frame import Frame
from nde.taylor.registry import RULES, rule_for
from nde.taylor.rules.linear import apply_jointly

__all__: list[str] = []


@rule_for("scatter")
def _scatter(
    frame: Frame, input: Any, dim: int, index: Any, src: Any = None, *, value: Any = None, **kwargs: Any
) -> Any:
    if kwargs.get("reduce") is not None:
        raise NotImplementedError("torch.scatter of a jet has no reduce: use scatter_add.")
    source = value if src is None else src
    if not hasattr(source, "shape"):
        source = torch.full_like(index, source, dtype=input.dtype)
    return apply_jointly(frame, lambda a, b: torch.scatter(a, dim, index, b), input, source)


@rule_for("scatter_add")
def _scatter_add(frame: Frame, input: Any, dim: int, index: Any, src: Any) -> Any:
    return apply_jointly(frame, lambda a, b: torch.scatter_add(a, dim, index, b), input, src)


@rule_for("scatter_reduce")
def _scatter_reduce(
    frame: Frame, input: Any, dim: int, index: Any, src: Any, reduce: str, *, include_self: bool = True
) -> Any:
    if reduce not in ("sum", "mean"):
        raise NotImplementedError(f"torch.scatter_reduce of a jet sums or takes means, but reduce is {reduce!r}.")
    return apply_jointly(
        frame,
        lambda a, b: torch.scatter_reduce(a, dim, index, b, reduce, include_self=include_self),
        input,
        src,
    )


@rule_for("index_add")
def _index_add(frame: Frame, input: Any, dim: int, index: Any, source: Any, *, alpha: float = 1) -> Any:
    return apply_jointly(frame, lambda a, b: torch.index_add(a, dim, index, b, alpha=alpha), input, source)


@rule_for("index_copy")
def _index_copy(frame: Frame, input: Any, dim: int, index: Any, source: Any) -> Any:
    return apply_jointly(frame, lambda a, b: torch.index_copy(a, dim, index, b), input, source)


@rule_for("index_fill")
def _index_fill(frame: Frame, input: Any, dim: int, index: Any, value: Any) -> Any:
    hit = torch.zeros(input.shape[dim], dtype=torch.bool, device=input.device).index_fill(0, index, True)
    shape = [1] * input.ndim
    shape[dim] = -1
    return torch.where(hit.reshape(shape), value, input)


@rule_for("index_put")
def _index_put(frame: Frame, input: Any, indices: Sequence[Any], values: Any, accumulate: bool = False) -> Any:
    return apply_jointly(frame, lambda a, b: torch.index_put(a, tuple(indices), b, accumulate), input, values)


@rule_for("masked_scatter")
def _masked_scatter(frame: Frame, input: Any, mask: Any, source: Any) -> Any:
    # torch.masked_scatter has no batching rule; the n-th place of the mask takes the n-th element
    mask = mask.expand(input.shape)
    order = (mask.reshape(-1).cumsum(0) - 1).clamp_min(0)
    return torch.where(mask, torch.reshape(torch.reshape(source, (-1,))[order], tuple(input.shape)), input)


@rule_for("select_scatter")
def _select_scatter(frame: Frame, input: Any, src: Any, dim: int, index: int) -> Any:
    return apply_jointly(frame, lambda a, b: torch.select_scatter(a, b, dim, index), input, src)


@rule_for("slice_scatter")
def _slice_scatter(
    frame: Frame, input: Any, src: Any, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> Any:
    return apply_jointly(frame, lambda a, b: torch.slice_scatter(a, b, dim, start, end, step), input, src)


@rule_for("diagonal_scatter")
def _diagonal_scatter(frame: Frame, input: Any, src: Any, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Any:
    return apply_jointly(frame, lambda a, b: torch.diagonal_scatter(a, b, offset, dim1, dim2), input, src)


def _embedding(
    frame: Frame, input: Any, weight: Any, padding_idx: Any = None, max_norm: Any = None, *args: Any, **kwargs: Any
) -> Any:
    if max_norm is not None:
        raise NotImplementedError("embedding with max_norm writes to its table. Build the module without it.")
    return weight[input]


def _embedding_bag(
    frame: Frame,
    input: Any,
    weight: Any,
    offsets: Any = None,
    max_norm: Any = None,
    norm_type: float = 2,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: Any = None,
    *args: Any,
    **kwargs: Any,
) -> Any:
    if input.ndim != 2 or mode not in ("sum", "mean") or max_norm is not None:
        raise NotImplementedError(
            "embedding_bag of a jet takes bags of one size, input of shape (B, N), with mode 'sum' or 'mean' and "
            "without max_norm. Pad the bags and weigh the padding by 0."
        )
    rows = weight[input]
    if per_sample_weights is not None:
        rows = rows * torch.unsqueeze(per_sample_weights, -1)
    return torch.sum(rows, 1) if mode == "sum" else torch.mean(rows, 1)


RULES[torch.nn.functional.embedding] = _embedding
RULES[torch.nn.functional.embedding_bag] = _embedding_bag
RULES[torch.embedding] = lambda frame, weight, indices, *args: _embedding(frame, indices, weight)
