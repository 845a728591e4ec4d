"""States of models and optimisers whose parameters may be sharded over processes, as one process would have them."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

__all__ = ["load_whole_states", "whole_states"]


def whole_states(model: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the states of both; where they are sharded, put together, in the first process alone. All call it."""
    if not _is_sharded(model):
        return model.state_dict(), optimizer.state_dict()
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_state_dict

    return get_state_dict(model, optimizer, options=StateDictOptions(full_state_dict=True, cpu_offload=True))


def load_whole_states(
    model: nn.Module, optimizer: torch.optim.Optimizer, of_model: dict[str, Any], of_optimizer: dict[str, Any]
) -> None:
    """Restore what `whole_states` returned, in every process its own part."""
    if not _is_sharded(model):
        model.load_state_dict(of_model)
        optimizer.load_state_dict(of_optimizer)
        return
    from torch.distributed.checkpoint.state_dict import StateDictOptions, set_state_dict

    set_state_dict(
        model,
        optimizer,
        model_state_dict=of_model,
        optim_state_dict=of_optimizer,
        options=StateDictOptions(full_state_dict=True),
    )


def _is_sharded(model: nn.Module) -> bool:
    return any(hasattr(parameter, "full_tensor") for parameter in model.parameters())
