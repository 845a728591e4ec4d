"""Flat real vectors in place of nested, complex or half-precision states.

The solvers work on one contiguous real vector. `StateStructure` remembers the nesting, shapes and dtypes of the user's
state and converts both ways; every conversion is differentiable. Complex leaves travel as (real, imaginary) pairs, half
precision leaves as float32, so that the solver's own sums do not lose what the field computed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

__all__ = ["State", "StateStructure"]

State = Any  # a Tensor, or a nested tuple / list / dict of Tensors


@dataclass(frozen=True)
class _Leaf:
    path: str
    shape: torch.Size
    dtype: torch.dtype
    start: int
    size: int  # real numbers: twice the entries for complex leaves


def _real_dtype(dtype: torch.dtype) -> torch.dtype:
    return dtype.to_real() if dtype.is_complex else dtype


def _walk(value: State, path: str) -> Iterator[tuple[str, Tensor]]:
    if isinstance(value, Tensor):
        yield path, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _walk(item, f"{path}[{key!r}]")
    elif isinstance(value, (tuple, list)):
        for index, item in enumerate(value):
            yield from _walk(item, f"{path}[{index}]")
    else:
        raise TypeError(
            f"{path} must be a tensor or a nested tuple / list / dict of tensors, but is {type(value).__name__}. "
            "Convert numbers and arrays with torch.as_tensor(...)."
        )


class StateStructure:
    """Nesting, shapes and dtypes of a state, and its conversion to and from one real vector.

    Args:
        example: State whose structure is taken (the initial state).
        name: What error messages call it.

    Raises:
        TypeError: A leaf is no tensor, or is neither floating point nor complex.
        ValueError: The state has no entries, or its leaves live on different devices or on the meta device.
    """

    def __init__(self, example: State, name: str = "y0") -> None:
        leaves: list[_Leaf] = []
        start = 0
        self.device: torch.device | None = None
        dtype: torch.dtype | None = None
        for path, tensor in _walk(example, name):
            if not (tensor.is_floating_point() or tensor.is_complex()):
                raise TypeError(
                    f"{path} must be floating point or complex, but has dtype {tensor.dtype}. "
                    f"Convert it, for example with {path}.float()."
                )
            if self.device is not None and tensor.device != self.device:
                raise ValueError(f"{path} is on {tensor.device}, the state before it on {self.device}; use one device.")
            if tensor.is_meta:
                raise ValueError(f"{path} is on the meta device and holds no numbers. Use a device that computes.")
            self.device = tensor.device
            size = tensor.numel() * (2 if tensor.is_complex() else 1)
            leaves.append(_Leaf(path, tensor.shape, tensor.dtype, start, size))
            start += size
            real = _real_dtype(tensor.dtype)
            dtype = real if dtype is None else torch.promote_types(dtype, real)
        if dtype is None or start == 0:
            shapes = ", ".join(f"{leaf.path}: {tuple(leaf.shape)}" for leaf in leaves)
            raise ValueError(f"{name} has no entries ({shapes or 'no tensors'}); there is nothing to integrate.")
        self.name = name
        self.nesting = _skeleton(example)
        self.leaves = tuple(leaves)
        self.size = start
        self.entries = sum(math.prod(leaf.shape) for leaf in leaves)
        #: dtype of the times handed to the field
        self.time_dtype = dtype
        #: dtype of the flat vector: half precision sums are kept in float32
        self.dtype = torch.float32 if dtype in (torch.float16, torch.bfloat16) else dtype
        #: coarsest rounding unit among the leaves: what the field's own evaluations can resolve
        self.eps = max(torch.finfo(leaf.dtype).eps for leaf in leaves)
        self.has_complex = any(leaf.dtype.is_complex for leaf in leaves)
        self._all_complex = all(leaf.dtype.is_complex for leaf in leaves)
        #: shape of a lone real tensor of the working dtype, which needs no conversion but a reshape; None otherwise
        self.plain_shape: torch.Size | None = None
        if isinstance(example, Tensor) and example.dtype == self.dtype:
            self.plain_shape = example.shape

    @staticmethod
    def paths(value: State, name: str) -> list[tuple[str, Tensor]]:
        """Return the tensors of a state, each with the text that leads to it."""
        return list(_walk(value, name))

    def flatten(self, value: State, name: str, lead: tuple[int, ...] = ()) -> Tensor:
        """Return ``value`` as a vector of shape ``(*lead, size)``.

        Args:
            value: State of this structure, with the leading axes ``lead`` on every leaf.
            name: What error messages call it.
            lead: Lengths of the leading axes.

        Raises:
            TypeError: The nesting or a dtype differs.
            ValueError: A shape or the device differs.
        """
        parts: list[Tensor] = []
        self._collect(value, self.nesting, name, iter(self.leaves), parts, lead)
        return parts[0] if len(parts) == 1 else torch.cat(parts, -1)

    def _collect(
        self,
        value: State,
        nesting: Any,
        name: str,
        leaves: Iterator[_Leaf],
        parts: list[Tensor],
        lead: tuple[int, ...],
    ) -> None:
        if nesting is None:
            leaf = next(leaves)
            parts.append(self._flat_leaf(value, leaf, name, lead))
        elif isinstance(nesting, dict):
            if not isinstance(value, dict) or value.keys() != nesting.keys():
                given = f"keys {sorted(map(str, value))}" if isinstance(value, dict) else f"a {type(value).__name__}"
                raise TypeError(f"{name} must be a dict with keys {sorted(map(str, nesting))}, but is {given}.")
            for key, inner in nesting.items():
                self._collect(value[key], inner, f"{name}[{key!r}]", leaves, parts, lead)
        else:
            if not isinstance(value, (tuple, list)) or len(value) != len(nesting):
                count = f" of length {len(value)}" if isinstance(value, (tuple, list)) else ""
                raise TypeError(
                    f"{name} must be a {type(nesting).__name__} of length {len(nesting)}, like {self.name}, "
                    f"but is a {type(value).__name__}{count}."
                )
            for index, inner in enumerate(nesting):
                self._collect(value[index], inner, f"{name}[{index}]", leaves, parts, lead)

    def _flat_leaf(self, value: Any, leaf: _Leaf, name: str, lead: tuple[int, ...]) -> Tensor:
        shape = (*lead, *leaf.shape)
        if not isinstance(value, Tensor):
            hint = " Did the function forget to return its result?" if value is None else ""
            raise TypeError(
                f"{name} must be a tensor of shape {shape}, like {leaf.path}, "
                f"but is {'None' if value is None else 'a ' + type(value).__name__}.{hint}"
            )
        if value.shape != shape:
            raise ValueError(f"{name} must have shape {shape}, like {leaf.path}, but has shape {tuple(value.shape)}.")
        self.check_device(value, name)
        if value.dtype != leaf.dtype:
            # autocast lets a field return half precision for a float32 state; that is what its user asked for
            if not (torch.is_autocast_enabled(value.device.type) and value.is_floating_point()):
                raise TypeError(
                    f"{name} must have dtype {leaf.dtype}, like {leaf.path}, but has dtype {value.dtype}. "
                    "Convert one of them so that the state and its field agree."
                )
            value = value.to(leaf.dtype)
        if value.is_complex():
            # beside real leaves, a cotangent may start at an odd place, where it cannot be viewed as complex numbers
            value = value.resolve_conj()
            value = torch.view_as_real(value) if self._all_complex else torch.stack((value.real, value.imag), -1)
        return value.reshape(*lead, -1).to(self.dtype)

    def check_device(self, value: Tensor, name: str) -> None:
        """Raise ValueError unless a tensor is where the state is."""
        if value.device != self.device:
            raise ValueError(
                f"{name} must be on {self.device}, like {self.name}, but is on {value.device}. Move {self.name} there, "
                "or what it is computed from here."
            )

    def unflatten(self, flat: Tensor) -> State:
        """Return the state whose entries are ``flat``, of shape ``(*lead, size)``; leaves get the leading axes too."""
        if self.plain_shape is not None:
            return flat.view(flat.shape[:-1] + self.plain_shape)
        return self._build(flat, self.nesting, iter(self.leaves))

    def _build(self, flat: Tensor, nesting: Any, leaves: Iterator[_Leaf]) -> State:
        if nesting is None:
            leaf = next(leaves)
            part = flat.narrow(-1, leaf.start, leaf.size)
            lead = flat.shape[:-1]
            if leaf.dtype.is_complex:
                pairs = part.reshape(*lead, *leaf.shape, 2)
                # beside real leaves, pairs may start at an odd place, where they cannot be viewed as complex numbers
                part = torch.view_as_complex(pairs) if self._all_complex else torch.complex(*pairs.unbind(-1))
            return part.reshape(lead + leaf.shape).to(leaf.dtype)
        if isinstance(nesting, dict):
            return {key: self._build(flat, inner, leaves) for key, inner in nesting.items()}
        items = [self._build(flat, inner, leaves) for inner in nesting]
        if hasattr(nesting, "_fields"):
            return type(nesting)(*items)
        return type(nesting)(items)

    def magnitude(self, flat: Tensor) -> Tensor:
        """Return the modulus of every entry, shape ``(*lead, size)``; both parts of a complex entry get its modulus."""
        if not self.has_complex:
            return flat.abs()
        tiny = torch.finfo(self.dtype).tiny  # keeps the derivative of the root finite at zero
        parts = []
        for leaf in self.leaves:
            part = flat.narrow(-1, leaf.start, leaf.size)
            if leaf.dtype.is_complex:
                pairs = part.reshape(*part.shape[:-1], -1, 2)
                modulus = (pairs.square().sum(-1, keepdim=True) + tiny).sqrt()
                parts.append(modulus.expand_as(pairs).reshape(part.shape))
            else:
                parts.append(part.abs())
        return torch.cat(parts, -1)

    def spread(self, value: Any, name: str) -> float | Tensor:
        """Return a number, or a structure of numbers / tensors like the state, as a float or a vector ``(size,)``.

        Raises:
            TypeError: The nesting differs from the state's.
            ValueError: A tensor does not broadcast to its leaf's shape.
        """
        if isinstance(value, bool):
            raise TypeError(f"{name} must be a number, but is {value}.")
        if isinstance(value, (int, float)):
            return float(value)
        parts: list[Tensor] = []
        self._spread(value, self.nesting, name, iter(self.leaves), parts)
        return torch.cat(parts)

    def _spread(self, value: Any, nesting: Any, name: str, leaves: Iterator[_Leaf], parts: list[Tensor]) -> None:
        if isinstance(nesting, dict) and isinstance(value, dict) and value.keys() == nesting.keys():
            for key, inner in nesting.items():
                self._spread(value[key], inner, f"{name}[{key!r}]", leaves, parts)
        elif isinstance(nesting, (tuple, list)) and isinstance(value, (tuple, list)) and len(value) == len(nesting):
            for index, inner in enumerate(nesting):
                self._spread(value[index], inner, f"{name}[{index}]", leaves, parts)
        elif nesting is None or isinstance(value, (int, float)):
            for _ in range(_count(nesting)):
                leaf = next(leaves)
                try:
                    number = torch.as_tensor(value, dtype=self.dtype, device=self.device).detach()
                except (TypeError, ValueError, RuntimeError):
                    raise TypeError(f"{name} must be a number or a tensor, but is {value!r}.") from None
                try:
                    full = number.expand(leaf.shape)
                except RuntimeError:
                    raise ValueError(
                        f"{name} has shape {tuple(number.shape)}, which does not broadcast to {tuple(leaf.shape)}, "
                        f"the shape of {leaf.path}."
                    ) from None
                if leaf.dtype.is_complex:
                    full = full.unsqueeze(-1).expand(*leaf.shape, 2)
                parts.append(full.reshape(-1))
        else:
            raise TypeError(f"{name} must be a number, or have the structure of {self.name}, but is {value!r}.")

    def batch(self) -> int | None:
        """Return the length of the first axis that all leaves share, or None if there is none."""
        lengths = {leaf.shape[0] if len(leaf.shape) > 1 else None for leaf in self.leaves}
        return lengths.pop() if len(lengths) == 1 else None

    def per_sample(self, flat: Tensor, batch: int) -> Tensor:
        """Return the sum of ``flat`` over each sample's entries, shape ``(batch,)``."""
        parts = (flat.narrow(0, leaf.start, leaf.size).reshape(batch, -1).sum(1) for leaf in self.leaves)
        return torch.stack(list(parts)).sum(0)


def _skeleton(value: State) -> Any:
    """Return the nesting of ``value`` with None in place of the tensors."""
    if isinstance(value, Tensor):
        return None
    if isinstance(value, dict):
        return {key: _skeleton(item) for key, item in value.items()}
    if hasattr(value, "_fields"):
        return type(value)(*[_skeleton(item) for item in value])
    return type(value)([_skeleton(item) for item in value])


def _count(nesting: Any) -> int:
    if nesting is None:
        return 1
    items = nesting.values() if isinstance(nesting, dict) else nesting
    return sum(_count(item) for item in items)
