"""Numbers of every iteration: evaluations, steps, stiffness, penalties."""

from __future__ import annotations

import collections
from types import TracebackType
from typing import Any

import numpy
import torch
from torch import Tensor, nn

from nde.models.layer import LayerOutput
from nde.profile import Cost, SolveRecord, record

__all__ = ["SolverMonitor"]


class SolverMonitor:
    """Watches the solves of a model and says after each iteration what they cost.

    Use it as a context around a training loop, and call `collect` once in each iteration.

    Args:
        model: Its fields are told apart by their names, and the penalties of its layers are added up.

    Raises:
        TypeError: ``model`` is no module.
    """

    def __init__(self, model: nn.Module) -> None:
        if not isinstance(model, nn.Module):
            raise TypeError(f"model must be an nn.Module, but is a {type(model).__name__}.")
        self.model = model
        self._cost: Cost | None = None
        self._penalties: list[Tensor] = []
        self._hooks: list[Any] = []
        self._backward: SolveRecord | None = None

    def __enter__(self) -> SolverMonitor:
        self._cost = record(self.model, keep=False)
        self._cost.__enter__()
        self._hooks = [module.register_forward_hook(self._note) for module in self.model.modules()]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks = []
        if self._cost is not None:
            self._cost.__exit__(kind, error, traceback)
        self._cost = None

    def collect(self) -> dict[str, float]:
        """Return the numbers since the last call, and forget what they were made of.

        Returns:
            ``nfe`` and ``nfe_backward``: evaluations of the fields, of all solves together. ``accepted``, ``rejected``:
            steps, likewise. ``stiffness``: the largest estimate, where a method has one. ``penalty``: the sum of the
            layers' weighted penalties, where there are any. Where there are several fields, ``nfe/<name>`` of each.

        Raises:
            RuntimeError: The monitor is not in use as a context.
        """
        if self._cost is None:
            raise RuntimeError(
                "the monitor watches inside of its block alone: with SolverMonitor(model) as monitor: ..."
            )
        solves = self._cost.solves
        numbers: dict[str, float] = {
            "nfe": sum(solve.forward.field for solve in solves),
            "nfe_backward": sum(solve.backward.field for solve in solves),
            "accepted": sum(solve.accepted for solve in solves),
            "rejected": sum(solve.rejected for solve in solves),
        }
        stiffness = [numpy.nanmax(found) for solve in solves if _has_some(found := solve.steps.columns()["stiffness"])]
        if stiffness:
            numbers["stiffness"] = float(max(stiffness))
        if self._penalties:
            numbers["penalty"] = float(torch.stack([penalty.double().cpu() for penalty in self._penalties]).sum())
        by_field: collections.Counter[str] = collections.Counter()
        for solve in solves:
            by_field[solve.label] += solve.forward.field
        if len(by_field) > 1:
            numbers.update({f"nfe/{label}": calls for label, calls in by_field.items()})
        solves.clear()
        self._penalties.clear()
        return numbers

    def _note(self, module: nn.Module, inputs: Any, output: Any) -> None:
        if isinstance(output, LayerOutput) and module.training:
            self._penalties.append(output.penalty.detach())


def _has_some(values: numpy.ndarray[Any, Any]) -> bool:
    return bool(numpy.isfinite(values).any())
