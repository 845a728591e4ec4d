"""Finds the tensors that a field depends on, besides its state: parameters, arguments, closures.

A field may be a module, a function that closes over modules or tensors, a bound method, a partial; its arguments may
be nested. What is found here receives gradients; what is missed would silently get none, so the adjoint checks one
replayed evaluation against the list with `find_unknown`.
"""

from __future__ import annotations

import collections
import functools
import types
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

__all__ = ["captured_tensors", "find_unknown", "gradient_targets"]

_ATOMS = (str, bytes, int, float, complex, bool, type(None), type, types.ModuleType, torch.dtype, torch.device)
# a field that leads to more (a whole training program) is not searched to its end; `find_unknown` guards the rest
_MOST_OBJECTS = 10_000

# what torch keeps in every module, but the parameters, buffers, submodules and hooks that can lead to tensors
_MODULE_INTERNALS = frozenset(torch.nn.Module().__dict__) - {
    "_parameters",
    "_buffers",
    "_modules",
    "_forward_pre_hooks",
    "_forward_hooks",
}


def captured_tensors(function: Callable[..., Any], args: tuple[Any, ...]) -> list[Tensor]:
    """Return the tensors that require a gradient and that ``function(t, y, *args)`` can reach, each once."""
    found: dict[int, Tensor] = {}
    seen: set[int] = set()
    pending: list[Any] = [function, args]
    while pending and len(seen) < _MOST_OBJECTS:
        item = pending.pop()
        if isinstance(item, _ATOMS) or id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, Tensor):
            if item.requires_grad:
                found.setdefault(id(item), item)
        else:
            pending.extend(_contents(item))
    return list(found.values())


def _contents(item: Any) -> Iterable[Any]:
    """Return what a function or object holds directly."""
    if isinstance(item, dict):
        return item.values()
    if isinstance(item, (tuple, list, set, frozenset, collections.deque)):
        return item
    if isinstance(item, functools.partial):
        return [item.func, item.args, item.keywords]
    if isinstance(item, types.MethodType):
        return [item.__self__, item.__func__]
    if isinstance(item, types.FunctionType):
        return _function_contents(item)
    if isinstance(item, torch.nn.Module):
        held = [value for name, value in item.__dict__.items() if name not in _MODULE_INTERNALS]
        return [*held, _class_function(item, "forward")]
    if type(item).__module__.split(".")[0] in ("builtins", "torch", "numpy"):
        return []
    held = [getattr(item, "__dict__", {}), *_slots(item)]
    return [*held, _class_function(item, "__call__")] if callable(item) else held


def _slots(item: Any) -> Iterable[Any]:
    for base in type(item).__mro__:
        names = base.__dict__.get("__slots__", ())
        for name in [names] if isinstance(names, str) else names:
            mangled = name.startswith("__") and not name.endswith("__")
            yield getattr(item, f"_{base.__name__.lstrip('_')}{name}" if mangled else name, None)


def _class_function(item: Any, name: str) -> Any:
    function = getattr(type(item), name, None)
    # code of libraries closes over no tensors of the user's
    module = getattr(function, "__module__", None) or ""
    return None if module.split(".")[0] == "torch" else function


def _function_contents(function: types.FunctionType) -> list[Any]:
    contents: list[Any] = [function.__defaults__, function.__kwdefaults__, function.__dict__]
    for cell in function.__closure__ or ():
        try:
            contents.append(cell.cell_contents)
        except ValueError:  # a cell that is not filled yet
            continue
    names: set[str] = set()
    codes = [function.__code__]
    while codes:
        code = codes.pop()
        names.update(code.co_names)
        codes.extend(constant for constant in code.co_consts if isinstance(constant, types.CodeType))
    contents.extend(function.__globals__[name] for name in names if name in function.__globals__)
    return contents


def gradient_targets(captured: Iterable[Tensor]) -> tuple[list[Tensor], bool]:
    """Return the tensors to ask gradients for, so that none is counted twice.

    Asking for the gradients of a tensor and of another one that it was computed from would count the path between them
    twice. Where that is so, those that come first are returned, and the leaves that the others come from besides; or
    all leaves, where these lie behind the first ones too.

    Args:
        captured: Tensors that a field depends on.

    Returns:
        The tensors, and whether gradients pass through a graph from before the solve to reach them.
    """
    tensors = list(captured)
    leaves = {id(tensor): tensor for tensor in tensors if tensor.grad_fn is None}
    nodes = {tensor.grad_fn for tensor in tensors if tensor.grad_fn is not None}
    if not nodes:
        return tensors, False
    found, met = _behind(nodes, nodes)
    if not met and not found.keys() & leaves.keys():
        return tensors, False
    behind = {node: _behind([node], nodes) for node in nodes}
    first = {node for node, (found, met) in behind.items() if not met and not found.keys() & leaves.keys()}
    besides, _ = _behind(nodes - first, first)
    beyond, _ = _behind(first, set())
    if besides.keys() & beyond.keys():
        return list((leaves | besides | beyond).values()), True
    return [*(leaves | besides).values(), *(tensor for tensor in tensors if tensor.grad_fn in first)], True


def _behind(nodes: Iterable[Any], stops: Iterable[Any]) -> tuple[dict[int, Tensor], bool]:
    """Return the leaves that nodes of a graph come from, by ways around others, and whether one of those was met."""
    found: dict[int, Tensor] = {}
    stops, met = set(stops), False
    pending, seen = list(nodes), set(nodes)
    while pending:
        node = pending.pop()
        variable = getattr(node, "variable", None)
        if variable is not None:
            found[id(variable)] = variable
        for parent, _ in node.next_functions:
            met = met or parent in stops
            if parent is not None and parent not in seen and parent not in stops:
                seen.add(parent)
                pending.append(parent)
    return found, met


def find_unknown(value: Tensor, known: Iterable[Tensor]) -> list[Tensor]:
    """Return the leaves that ``value`` depends on and that are not reached through ``known``.

    Args:
        value: Result of a computation recorded by autograd.
        known: Tensors whose gradients are asked for.
    """
    leaves, inner = set(), set()
    for tensor in known:
        if tensor.grad_fn is None:
            leaves.add(id(tensor))
        else:
            inner.add(tensor.grad_fn)
    unknown: list[Tensor] = []
    pending = [value.grad_fn] if value.grad_fn is not None else []
    seen = set(pending)
    while pending:
        node = pending.pop()
        if node in inner:
            continue
        variable = getattr(node, "variable", None)
        if variable is not None and id(variable) not in leaves:
            unknown.append(variable)
        for parent, _ in node.next_functions:
            if parent is not None and parent not in seen:
                seen.add(parent)
                pending.append(parent)
    return unknown
