"""Attention from matrix products and the softmax: the function and the whole of ``nn.MultiheadAttention``."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.nn.functional import linear

from nde.taylor.frame import Frame
from nde.taylor.registry import rule_for

__all__: list[str] = []


@rule_for("scaled_dot_product_attention")
def _attention(
    frame: Frame,
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Any:
    if enable_gqa:
        repeats = query.shape[-3] // key.shape[-3]
        key, value = (torch.repeat_interleave(part, repeats, -3) for part in (key, value))
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    scores = torch.matmul(query * scale, torch.transpose(key, -2, -1))
    if is_causal:
        attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    if attn_mask is not None:
        if attn_mask.dtype == torch.bool:
            scores = torch.masked_fill(scores, ~attn_mask, -math.inf)
        else:
            scores = scores + attn_mask
    weights = torch.softmax(scores, -1)
    if dropout_p > 0:
        weights = torch.nn.functional.dropout(weights, dropout_p)
    return torch.matmul(weights, value)


@rule_for("multi_head_attention_forward")
def _multi_head_attention(
    frame: Frame,
    query: Any,
    key: Any,
    value: Any,
    embed_dim_to_check: int,
    num_heads: int,
    in_proj_weight: Any,
    in_proj_bias: Any,
    bias_k: Any,
    bias_v: Any,
    add_zero_attn: bool,
    dropout_p: float,
    out_proj_weight: Any,
    out_proj_bias: Any,
    training: bool = True,
    key_padding_mask: Any = None,
    need_weights: bool = True,
    attn_mask: Any = None,
    use_separate_proj_weight: bool = False,
    q_proj_weight: Any = None,
    k_proj_weight: Any = None,
    v_proj_weight: Any = None,
    static_k: Any = None,
    static_v: Any = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[Any, Any]:
    """Carry attention of shape ``(T, N, E)`` or ``(T, E)`` as ``nn.MultiheadAttention`` computes it."""
    if bias_k is not None or bias_v is not None or add_zero_attn or static_k is not None or static_v is not None:
        raise NotImplementedError(
            "nde.taylor carries nn.MultiheadAttention without add_bias_kv, add_zero_attn and static keys. "
            "Build the module without them."
        )
    unbatched = query.ndim == 2
    if unbatched:
        query, key, value = (torch.unsqueeze(part, 1) for part in (query, key, value))
        key_padding_mask = None if key_padding_mask is None else key_padding_mask.unsqueeze(0)
    if use_separate_proj_weight:
        weights = (q_proj_weight, k_proj_weight, v_proj_weight)
    else:
        weights = in_proj_weight.chunk(3)
    biases = (None, None, None) if in_proj_bias is None else in_proj_bias.chunk(3)
    q, k, v = (
        _heads(linear(part, weight, bias), num_heads)
        for part, weight, bias in zip((query, key, value), weights, biases, strict=True)
    )
    scores = torch.matmul(q, torch.transpose(k, -2, -1)) * (1 / math.sqrt(q.shape[-1]))
    mask = _additive_mask(scores, attn_mask, key_padding_mask)
    attended = torch.softmax(scores if mask is None else scores + mask, -1)
    dropped = torch.nn.functional.dropout(attended, dropout_p, training) if dropout_p > 0 else attended
    merged = torch.permute(torch.matmul(dropped, v), (2, 0, 1, 3))
    output = linear(torch.flatten(merged, 2), out_proj_weight, out_proj_bias)
    shown = None
    if need_weights:
        shown = torch.mean(attended, 1) if average_attn_weights else attended
        shown = torch.squeeze(shown, 0) if unbatched else shown
    return (torch.squeeze(output, 1) if unbatched else output), shown


def _heads(projected: Any, heads: int) -> Any:
    """Reshape ``(T, N, E)`` to ``(N, heads, T, E / heads)``."""
    length, batch, width = projected.shape
    return torch.permute(torch.reshape(projected, (length, batch, heads, width // heads)), (1, 2, 0, 3))


def _additive_mask(scores: Any, attention_mask: Any, padding_mask: Any) -> Any:
    total = None
    if attention_mask is not None:
        if attention_mask.ndim == 3:
            attention_mask = attention_mask.reshape(scores.shape)
        total = _additive(attention_mask, scores.dtype)
    if padding_mask is not None:
        padding = _additive(padding_mask, scores.dtype)[:, None, None, :]
        total = padding if total is None else total + padding
    return total


def _additive(mask: Any, dtype: Any) -> Any:
    if mask.dtype != torch.bool:
        return mask
    return torch.zeros_like(mask, dtype=dtype).masked_fill(mask, -math.inf)
