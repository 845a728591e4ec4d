"""Names of fields: of the module in a model, or of the function."""

from __future__ import annotations

import contextlib
import functools
import types
import weakref
from collections.abc import Iterable
from typing import Any

import torch

__all__ = ["Labels"]

_MOST_OBJECTS, _MODULES = 60, torch.nn.Module


class Labels:
    """Finds what a field is called.

    Args:
        model: Modules in it are called by their qualified names; None for none.
    """

    def __init__(self, model: torch.nn.Module | None) -> None:
        self._names = {} if model is None else {id(module): name for name, module in model.named_modules()}
        self._model = model  # keeps the ids those of living modules
        self._found: dict[int, tuple[weakref.ref[Any], str]] = {}

    def of(self, function: Any) -> str:
        """Return the name of the module that a field is, or calls; else that of the function or its class."""
        known = self._found.get(id(function))
        if known is not None and known[0]() is function:
            return known[1]
        label = self._search(function)
        with contextlib.suppress(TypeError):  # not everything can be referred to without keeping it
            self._found[id(function)] = weakref.ref(function), label
        return label

    def _search(self, function: Any) -> str:
        fallback = ""
        pending, seen = [function], 0
        while pending and seen < _MOST_OBJECTS:
            item = pending.pop(0)
            seen += 1
            name = self._names.get(id(item))
            if name is not None:
                return name or type(item).__name__
            if not fallback and isinstance(item, _MODULES):
                fallback = type(item).__name__
            pending.extend(_held(item))
        return fallback or getattr(function, "__qualname__", type(function).__name__).replace("<locals>.", "")


def _held(item: Any) -> Iterable[Any]:
    """Return what may be the module behind a function."""
    if isinstance(item, functools.partial):
        return [item.func, *item.args]
    if isinstance(item, types.MethodType):
        return [item.__self__, item.__func__]
    if isinstance(item, types.FunctionType):
        cells = []
        for cell in item.__closure__ or ():
            try:
                cells.append(cell.cell_contents)
            except ValueError:  # not filled yet
                continue
        names = item.__code__.co_names
        called = [item.__globals__[name] for name in names if isinstance(item.__globals__.get(name), _MODULES)]
        return [held for held in (*cells, *called) if callable(held)]
    if isinstance(item, _MODULES):
        return []
    if hasattr(item, "__dict__") and not isinstance(item, type):
        return [value for value in vars(item).values() if callable(value)]
    return []
