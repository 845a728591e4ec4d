"""The norms of the backward solve, as torchdiffeq defines them: of tuples ``(t, y, adj_y, *adj_params)``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from nde.adjoint import AugmentedState
from nde.compat.torchdiffeq.options import component_norm, root_mean_square
from nde.solvers.structure import State

__all__ = ["LegacyNorm", "adjoint_norm", "augmented_norm"]

LegacyNorm = Callable[[tuple[Tensor, ...]], Tensor]


class _DefaultNorm:
    """The largest of the norms of time, state, cotangent and (but for a seminorm) of every parameter.

    Args:
        state_norm: Norm of a state of the user's structure.
        y0: A state.
        seminorm: Whether the parameters are left out.
    """

    def __init__(self, state_norm: Callable[[State], Tensor], y0: State, seminorm: bool) -> None:
        self._state_norm = state_norm
        self._shapes = tuple(part.shape for part in y0) if isinstance(y0, tuple) else None
        self._seminorm = seminorm

    def __call__(self, parts: tuple[Tensor, ...]) -> Tensor:
        t, y, cotangent, *parameters = parts
        return self._largest(t, _shaped(y, self._shapes), _shaped(cotangent, self._shapes), parameters)

    def of_augmented(self, state: AugmentedState) -> Tensor:
        """Return the same of a state that has its structure."""
        return self._largest(state.t, state.y, state.cotangent, state.parameters)

    def _largest(self, t: Tensor, y: State, cotangent: State, parameters: Sequence[Tensor]) -> Tensor:
        norms = [t.abs(), self._state_norm(y), self._state_norm(cotangent)]
        if not self._seminorm:
            norms += [root_mean_square(part) for part in parameters]
        return torch.stack([torch.as_tensor(norm) for norm in norms]).max()


def _shaped(flat: Tensor, shapes: tuple[torch.Size, ...] | None) -> State:
    """Return a flat state in the user's structure; as it is where that is one tensor."""
    if shapes is None:
        return flat
    parts = flat.split([shape.numel() for shape in shapes])
    return tuple(part.reshape(shape) for part, shape in zip(parts, shapes, strict=True))


def adjoint_norm(chosen: Any, options: Mapping[str, Any], y0: State) -> LegacyNorm:
    """Return the norm of ``(t, y, adj_y, *adj_params)`` for a choice of norm; tuples of states are flat in it.

    Args:
        chosen: The user's choice: None, ``"seminorm"`` or a callable, which receives the parts of tuples one by one.
        options: Options of the forward solve, whose norm is that of the states by default.
        y0: A state.

    Raises:
        ValueError: The choice is nothing of that.
    """
    if callable(chosen):
        if not isinstance(y0, tuple):
            return chosen
        shapes = tuple(part.shape for part in y0)

        def apart(parts: tuple[Tensor, ...]) -> Tensor:
            t, y, cotangent, *parameters = parts
            return chosen((t, *_shaped(y, shapes), *_shaped(cotangent, shapes), *parameters))

        return apart
    if chosen is not None and chosen != "seminorm":
        raise ValueError(f'the norm in adjoint_options must be callable or "seminorm", but is {chosen!r}.')
    state_norm = options.get("norm")
    if state_norm is None:
        state_norm = component_norm if isinstance(y0, tuple) else root_mean_square
    return _DefaultNorm(state_norm, y0, chosen == "seminorm")


def augmented_norm(norm: LegacyNorm, order: Callable[[], Sequence[int | Tensor]]) -> Callable[[AugmentedState], Tensor]:
    """Return a norm of ``(t, y, adj_y, *adj_params)`` as one of an augmented state.

    Args:
        norm: The norm.
        order: Returns, for every one of torchdiffeq's parameters, its place among those of the augmented state, or a
            tensor of zeros to stand for one that is none of these.
    """
    if isinstance(norm, _DefaultNorm):
        return norm.of_augmented
    places = order()

    def augmented(state: AugmentedState) -> Tensor:
        parameters = [state.parameters[place] if isinstance(place, int) else place for place in places]
        return norm((state.t, _flat(state.y), _flat(state.cotangent), *parameters))

    return augmented


def _flat(state: State) -> Tensor:
    return torch.cat([part.reshape(-1) for part in state]) if isinstance(state, tuple) else state
