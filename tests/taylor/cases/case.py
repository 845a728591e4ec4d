"""One case of one rule, and where in a table of cases a function of torch is looked up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from nde.taylor.jet_type import Jet, call_method
from nde.taylor.registry import name_of


@dataclass(frozen=True)
class Case:
    """What to compute with a function, and where.

    Attributes:
        function: Takes the function of torch under test and the point.
        x: The point, float64, at least two entries along its last axis.
        formula: The same from simple operations, where nested automatic differentiation of the function itself is
            wrong or missing; ``why`` says how.
        why: The reason for a formula.
        vmapped: Whether torch.func.vmap can batch the function at all.
        compiled: Whether torch.compile can trace the function at all.
        rtol: How far two ways to a coefficient may differ on the scale of the largest: rounding, unless the function
            itself is rounded to less than double precision.
        warns: Whether torch warns of the function on plain tensors, as of one that is deprecated.
    """

    function: Callable
    x: Tensor
    formula: Callable | None = None
    why: str = ""
    vmapped: bool = True
    compiled: bool = True
    warns: bool = False
    rtol: float = 1e-9

    def at(self, operation):
        """The function of the point alone."""
        called = as_method(operation) if name_of(operation).startswith("torch.Tensor.") else operation
        return lambda x: self.function(called, x)


def as_method(operation):
    """What x.operation(...) calls, where x may be a jet."""

    def called(first, *args, **kwargs):
        if isinstance(first, Jet):
            return call_method(operation, first, *args, **kwargs)
        return operation(first, *args, **kwargs)

    return called


def table(x, functions, **options):
    """Cases at one point."""
    return {name: Case(function, x, **options) for name, function in functions.items()}


def draw(*shape, seed=3):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def spellings(operation):
    """The names by which a table may know a function: "torch.linalg.norm", "linalg.norm" and "norm"."""
    name = name_of(operation)
    return name, name.removeprefix("torch."), name.rpartition(".")[2]


def operations_by_title(cases, operations):
    """The functions of every case: those of its full name, or those that have no case of their full name."""
    titles = {}
    for title in cases:
        titles.setdefault(title.partition(": ")[0], []).append(title)
    found = {title: [] for title in cases}
    for operation in operations:
        known = next((name for name in spellings(operation) if name in titles), None)
        for title in titles.get(known, ()):
            found[title].append(operation)
    return found
