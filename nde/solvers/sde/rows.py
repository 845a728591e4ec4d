"""Drift, diffusion and Brownian path on rows: one row per sample, each over a time interval of its own.

The row loop and the methods see them as one field, as with `nde.solvers.sde.field`. Rows that leave the batch take
their part of the path with them: the others keep the numbers that they have.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy
import torch
from torch import Tensor

from nde.solvers.brownian import RowWalk
from nde.solvers.brownian.chen import BrownianIncrement
from nde.solvers.field import VectorField, Wrap, as_it_is, check_unwritten, checked_value, versions_of
from nde.solvers.rows.field import Counted, Counter, RowField, RowLayout, Rows
from nde.solvers.sde.blame import find_sources
from nde.solvers.sde.field import Path, SDEField, converted, diffusion_matrix, product
from nde.solvers.transforms import as_host

__all__ = ["RowSDEField"]

# With fewer of the samples at work, what the whole path does in an interval that they share is not worth its drawing.
_FEW = 4


class RowSDEField(RowField):
    """``dy = drift(t, y, *args) dt + diffusion(t, y, *args) dW`` on rows.

    Args:
        drift, diffusion: The user's callables.
        layout: The layout of the state.
        args: Further arguments of both.
        noise: One of `nde.solvers.sde.NOISE_TYPES`.
        path: The Brownian path of all samples, with their axis first.
        channels: See `nde.solvers.sde.SDEField`.
        rows: Samples that the rows are; None for all of them.
        counter: Where evaluations are counted.
    """

    name = "drift"
    stochastic = True

    def __init__(
        self,
        drift: Callable[..., Any],
        diffusion: Callable[..., Any],
        layout: RowLayout,
        args: tuple[Any, ...],
        noise: str,
        path: Path,
        channels: int | None,
        rows: Rows | None = None,
        counter: Counter | None = None,
    ) -> None:
        super().__init__(drift, layout, args, rows, counter)
        self.diffusion_function = diffusion
        self.noise = noise
        self.path = path
        self.channels = channels
        self._rows = None if rows is None or _is_all(rows, layout.count) else rows
        self._own_path: Any = None
        self._noise_shape = (
            (layout.row.size,) if channels is None else (*layout.structure.leaves[0].shape[1:-1], channels)
        )

    @property
    def functions(self) -> Any:
        """See `RowField.functions`."""
        return self.function, self.diffusion_function

    def sources(self, method: Any, t: Tensor, h: Tensor, y: Tensor, carry: Any) -> Sequence[str | None]:
        """See `RowField.sources`."""
        if self.layout.samples is None:
            return [self.flat().source(method, float(t), float(h), y[0], carry)]
        field = self._again(self._rows, Counter())
        return find_sources(field, y.shape[0], method, t, h, y, carry)

    def watch(self, check: Any) -> None:
        """See `RowField.watch`; the first values of the drift and of the diffusion are checked."""
        self.counter.check = self.counter.diffusion_check = check

    def flat(self) -> VectorField:
        """See `RowField.flat`."""
        return _FlatSDEField(self)

    def _again(self, rows: Rows | None, counter: Counter, wrap: Wrap = as_it_is) -> RowSDEField:
        drift, diffusion = wrap(self.function, "field"), wrap(self.diffusion_function, "diffusion")
        return RowSDEField(
            drift, diffusion, self.layout, self.all_args, self.noise, self.path, self.channels, rows, counter
        )

    def diffusion(self, t: Tensor, y: Tensor) -> Tensor:
        """Evaluate the diffusion.

        Args:
            t: Times, shape ``(rows, 1)``.
            y: States, shape ``(rows, row size)``.

        Returns:
            Shape ``(rows, row size)`` where it is diagonal, else ``(rows, *sample shape, m)``.

        Raises:
            TypeError: It returned something else than a tensor, or another dtype.
            ValueError: It returned another shape.
        """
        counter, rows = self.counter, y.shape[0]
        if counter.diffusion_check is not None:
            check, counter.diffusion_check = counter.diffusion_check, None
            return checked_value(check, self.diffusion, t, y)  # type: ignore[arg-type]  # times are tensors here
        counter.diffusion_calls += 1
        time, state = self.arguments(t, y)
        versions = versions_of(t, y) if counter.diffusion_calls == 1 else None
        try:
            value = self.diffusion_function(time, state, *self.args)
        except Exception as error:
            error.add_note(self.note("diffusion", counter.diffusion_calls, rows))
            raise
        structure, name = self.layout.structure, "the value of diffusion(t, y)"
        if self.channels is None:
            value = self.rows_of(value, y, name)
        else:
            shape = (rows, *structure.leaves[0].shape[1:])
            value = diffusion_matrix(value, structure, self.noise, self.channels, shape)
        if versions is not None:
            check_unwritten(versions, versions_of(t, y), "diffusion")
            structure.check_device(value, name)
        return counter.kept_diffusion(value)

    def increment(self, t: Tensor, h: Tensor) -> BrownianIncrement:
        """Return what the path does from ``t`` to ``t + h``, row by row.

        Args:
            t, h: Times and sizes in float64, shape ``(rows, 1)``.
        """
        begins = t.detach().reshape(-1)
        found = self._ask(begins, begins + h.detach().reshape(-1))
        return converted(found, self.layout.structure.dtype, (begins.shape[0], *self._noise_shape))

    def product(self, diffusion: Tensor, noise: Tensor) -> Tensor:
        """Return the diffusion times an increment, shape ``(rows, row size)``."""
        if self.channels is None:
            return diffusion * noise
        return product(diffusion, noise).reshape(diffusion.shape[0], -1)

    def plus_product(self, y: Tensor, diffusion: Tensor, noise: Tensor, factor: float = 1.0) -> Tensor:
        """Return ``y`` and ``factor`` times the product, in one pass where that is possible."""
        if self.channels is None:
            return torch.addcmul(y, diffusion, noise, value=factor)
        return torch.add(y, self.product(diffusion, noise), alpha=factor)

    def _ask(self, begins: Tensor, ends: Tensor) -> Any:
        rows, count = self._rows, self.layout.count
        s, t = as_host(begins), as_host(ends)
        if isinstance(self.path, RowWalk):
            return self.path.between(rows, s, t)
        shared = bool((s == s[0]).all() and (t == t[0]).all())
        if shared and (rows is None or _FEW * len(rows) >= count):
            return _picked(self.path(float(s[0]), float(t[0])), rows)
        if not hasattr(self.path, "rows"):
            return _one_by_one(self.path, numpy.arange(count) if rows is None else rows, s, t)
        if self._own_path is None:
            self._own_path = self.path if rows is None else self.path.rows(torch.from_numpy(rows))
        return self._own_path(torch.from_numpy(s), torch.from_numpy(t))


class _FlatSDEField(Counted, SDEField):
    """The field of the only row, for methods that take flat vectors."""

    def __init__(self, field: RowSDEField) -> None:
        super().__init__(
            field.function,
            field.diffusion_function,
            field.layout.structure,
            field.args,
            field.noise,
            field.path,
            field.channels,
        )
        self.counter = field.counter

    def diffusion(self, t: float | Tensor, y: Tensor) -> Tensor:
        """See `SDEField.diffusion`."""
        counter = self.counter
        if counter.diffusion_check is not None:
            check, counter.diffusion_check = counter.diffusion_check, None
            return checked_value(check, self.diffusion, t, y)
        counter.diffusion_calls += 1
        return super().diffusion(t, y)


def _is_all(rows: Rows, count: int) -> bool:
    return len(rows) == count and numpy.array_equal(rows, numpy.arange(count))


def _picked(found: Any, rows: Rows | None) -> Any:
    """Return the numbers of some rows."""
    if rows is None:
        return found
    index = torch.from_numpy(rows)
    parts = (getattr(found, name, None) for name in BrownianIncrement._fields)
    chosen: Any = (part if part is None else part.index_select(0, index.to(part.device)) for part in parts)
    return BrownianIncrement(*chosen)


def _one_by_one(path: Path, rows: Rows, s: numpy.ndarray, t: numpy.ndarray) -> BrownianIncrement:
    """Return what a path that knows no rows does, by asking it for each interval."""
    parts: list[tuple[numpy.ndarray, BrownianIncrement]] = []
    for begin, end in sorted(set(zip(s.tolist(), t.tolist(), strict=True))):
        places = numpy.flatnonzero((s == begin) & (t == end))
        parts.append((places, _picked(path(begin, end), rows[places])))
    order = torch.from_numpy(numpy.argsort(numpy.concatenate([places for places, _ in parts])))
    joined: list[Any] = []
    for name in BrownianIncrement._fields:
        values = [getattr(found, name) for _, found in parts]
        known = [value for value in values if value is not None]
        joined.append(torch.cat(known).index_select(0, order.to(known[0].device)) if known else None)
    return BrownianIncrement(*joined)
