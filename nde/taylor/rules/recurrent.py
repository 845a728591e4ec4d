"""Recurrent cells and layers (`nn.RNN`, `nn.GRU`, `nn.LSTM`), by the formulas of their documentation in torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.nn.functional import linear

from nde.taylor.frame import Frame
from nde.taylor.registry import RULES, rule_for

__all__: list[str] = []

Step = Callable[..., tuple[Any, ...]]  # (input after its matrix, state, matrix of the state, bias) -> next state


def _plain_step(function: Callable[[Any], Any]) -> Step:
    def step(outer: Any, state: tuple[Any, ...], w_hh: Any, b_hh: Any) -> tuple[Any, ...]:
        return (function(outer + linear(state[0], w_hh, b_hh)),)

    return step


def _gru_step(outer: Any, state: tuple[Any, ...], w_hh: Any, b_hh: Any) -> tuple[Any, ...]:
    (hidden,) = state
    (r_x, z_x, n_x), (r_h, z_h, n_h) = outer.chunk(3, -1), linear(hidden, w_hh, b_hh).chunk(3, -1)
    update = torch.sigmoid(z_x + z_h)
    candidate = torch.tanh(n_x + torch.sigmoid(r_x + r_h) * n_h)
    return (candidate + update * (hidden - candidate),)


def _lstm_step(outer: Any, state: tuple[Any, ...], w_hh: Any, b_hh: Any) -> tuple[Any, ...]:
    hidden, cell = state
    kept, forgotten, candidate, shown = (outer + linear(hidden, w_hh, b_hh)).chunk(4, -1)
    cell = torch.sigmoid(forgotten) * cell + torch.sigmoid(kept) * torch.tanh(candidate)
    return torch.sigmoid(shown) * torch.tanh(cell), cell


_STEPS: dict[str, Step] = {
    "rnn_tanh": _plain_step(torch.tanh),
    "rnn_relu": _plain_step(torch.relu),
    "gru": _gru_step,
    "lstm": _lstm_step,
}


def _register_cell(name: str, step: Step) -> None:
    @rule_for(f"{name}_cell")
    def rule(frame: Frame, input: Any, hx: Any, w_ih: Any, w_hh: Any, b_ih: Any = None, b_hh: Any = None) -> Any:
        state = tuple(hx) if isinstance(hx, (tuple, list)) else (hx,)
        following = step(linear(input, w_ih, b_ih), state, w_hh, b_hh)
        return following if len(following) > 1 else following[0]


def _register_layers(name: str, step: Step) -> None:
    def rule(
        frame: Frame,
        input: Any,
        hx: Any,
        params: Any,
        has_biases: Any,
        num_layers: Any = None,
        dropout: float = 0.0,
        train: bool = False,
        bidirectional: bool = False,
        batch_first: bool = False,
    ) -> tuple[Any, ...]:
        if not isinstance(params, (tuple, list)):  # (data, batch_sizes, hx, params, ...)
            raise NotImplementedError(
                f"torch.{name} of a packed sequence has no rule. Pad the sequences and give them as one tensor."
            )
        states = tuple(hx) if isinstance(hx, (tuple, list)) else (hx,)
        ways = 2 if bidirectional else 1
        sequence = torch.transpose(input, 0, 1) if batch_first else input
        last = []
        for layer in range(num_layers):
            outputs = []
            for way in range(ways):
                place = layer * ways + way
                weights = _weights_of(params, has_biases, num_layers * ways, place)
                output, state = _run(step, sequence, [part[place] for part in states], weights, way == 1)
                outputs.append(output)
                last.append(state)
            sequence = torch.cat(outputs, -1) if ways > 1 else outputs[0]
            if dropout > 0 and train and layer < num_layers - 1:
                sequence = torch.nn.functional.dropout(sequence, dropout, True)
        final = tuple(torch.stack(list(parts)) for parts in zip(*last, strict=True))
        return (torch.transpose(sequence, 0, 1) if batch_first else sequence), *final

    RULES[getattr(torch, name)] = rule


def _weights_of(params: Sequence[Any], biased: bool, count: int, place: int) -> tuple[Any, ...]:
    """Return both matrices, both biases and the projection of one layer in one direction."""
    size = len(params) // count
    own = list(params[place * size : (place + 1) * size])
    projection = own.pop() if size == (5 if biased else 3) else None
    return (*own, *([] if biased else [None, None]), projection)


def _run(step: Step, sequence: Any, state: Sequence[Any], weights: tuple[Any, ...], reverse: bool) -> tuple[Any, Any]:
    w_ih, w_hh, b_ih, b_hh, projection = weights
    outer = torch.unbind(linear(sequence, w_ih, b_ih), 0)  # the matrix of the input for all times at once
    shown = []
    current = tuple(state)
    for value in reversed(outer) if reverse else outer:
        current = step(value, current, w_hh, b_hh)
        if projection is not None:
            current = (linear(current[0], projection), *current[1:])
        shown.append(current[0])
    return torch.stack(shown[::-1] if reverse else shown), current


for _name, _step in _STEPS.items():
    _register_cell(_name, _step)
    _register_layers(_name, _step)
