"""Cells of recurrent networks, by the formulas of their documentation in torch."""

from __future__ import annotations

from typing import Any

import torch

from nde.taylor.frame import Frame
from nde.taylor.registry import rule_for

__all__: list[str] = []


def _gates(input: Any, hx: Any, w_ih: Any, w_hh: Any, b_ih: Any, b_hh: Any) -> tuple[Any, Any]:
    linear = torch.nn.functional.linear
    return linear(input, w_ih, b_ih), linear(hx, w_hh, b_hh)


@rule_for("rnn_tanh_cell")
def _rnn_tanh_cell(frame: Frame, input: Any, hx: Any, w_ih: Any, w_hh: Any, b_ih: Any = None, b_hh: Any = None) -> Any:
    return torch.tanh(sum(_gates(input, hx, w_ih, w_hh, b_ih, b_hh)))


@rule_for("rnn_relu_cell")
def _rnn_relu_cell(frame: Frame, input: Any, hx: Any, w_ih: Any, w_hh: Any, b_ih: Any = None, b_hh: Any = None) -> Any:
    return torch.relu(sum(_gates(input, hx, w_ih, w_hh, b_ih, b_hh)))


@rule_for("gru_cell")
def _gru_cell(frame: Frame, input: Any, hx: Any, w_ih: Any, w_hh: Any, b_ih: Any = None, b_hh: Any = None) -> Any:
    outer, inner = _gates(input, hx, w_ih, w_hh, b_ih, b_hh)
    (r_x, z_x, n_x), (r_h, z_h, n_h) = outer.chunk(3, -1), inner.chunk(3, -1)
    update = torch.sigmoid(z_x + z_h)
    candidate = torch.tanh(n_x + torch.sigmoid(r_x + r_h) * n_h)
    return candidate + update * (hx - candidate)


@rule_for("lstm_cell")
def _lstm_cell(frame: Frame, input: Any, hx: Any, w_ih: Any, w_hh: Any, b_ih: Any = None, b_hh: Any = None) -> Any:
    hidden, cell = hx
    kept, forgotten, candidate, shown = sum(_gates(input, hidden, w_ih, w_hh, b_ih, b_hh)).chunk(4, -1)
    cell = torch.sigmoid(forgotten) * cell + torch.sigmoid(kept) * torch.tanh(candidate)
    return torch.sigmoid(shown) * torch.tanh(cell), cell
