"""Makes the problem of a row solve (a step size per sample, or events) from the arguments of `nde.solve_ode`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy
import torch
from torch import Tensor

from nde import validation
from nde.solvers.events import Event
from nde.solvers.rows.field import PerSample, RowField, RowLayout
from nde.solvers.rows.problem import RowProblem, as_column
from nde.solvers.rows.saving import Saver, first_entries
from nde.solvers.structure import State, StateStructure
from nde.solvers.transforms import as_host

__all__ = ["check_events", "check_forced_times", "make_row_problem"]


def check_events(events: Any) -> tuple[Event, ...]:
    """Return events as a tuple.

    Raises:
        TypeError: There is something else among them.
    """
    if events is None:
        return ()
    found = (events,) if isinstance(events, Event) else events
    if not isinstance(found, Sequence) or not all(isinstance(event, Event) for event in found):
        raise TypeError(
            f"events must be an nde.Event or a sequence of them, but is {events!r}. Try nde.Event(condition)."
        )
    return tuple(found)


def check_forced_times(step_ts: Any, jump_ts: Any) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return times that steps must end on, and times of discontinuities.

    Raises:
        TypeError: They are no sequences of numbers.
        ValueError: One is not finite, or appears twice.
    """
    forced, jumps = _forced(step_ts, "step_ts"), _forced(jump_ts, "jump_ts")
    if not set(forced).isdisjoint(jumps):
        raise ValueError(
            f"step_ts and jump_ts must not share a time, but both hold {min(set(forced) & set(jumps)):.10g}."
        )
    return forced, jumps


def _forced(value: Any, name: str) -> tuple[float, ...]:
    try:
        times = tuple(float(time) for time in (value.tolist() if isinstance(value, Tensor) else value))
    except (TypeError, ValueError, RuntimeError):  # RuntimeError of a tensor without values, on the meta device
        raise TypeError(
            f"{name} must be a sequence of numbers or a one-dimensional tensor, but is {value!r}."
        ) from None
    seen: set[float] = set()
    for index, time in enumerate(times):
        if not math.isfinite(time):
            raise ValueError(f"{name} must be finite, but {name}[{index}] is {time}.")
        if time in seen:
            raise ValueError(f"{name} must not hold a time twice, but holds {time:.10g} again at {name}[{index}].")
        seen.add(time)
    return times


def make_row_problem(
    field: Callable[..., State],
    y0: State,
    ts: Any,
    args: tuple[Any, ...],
    settings: validation.StepSettings,
    events: tuple[Event, ...],
    per_sample: bool,
    step_ts: tuple[float, ...],
    jump_ts: tuple[float, ...],
    norm: Callable[[Any], Tensor] | None,
    save: Callable[..., State] | None,
) -> RowProblem:
    """Return the problem; see `nde.solve_ode` for the arguments, which are checked there but for the times.

    Raises:
        ValueError: The state has no batch axis, the times do not fit it, or the method cannot take steps per sample.
    """
    structure = StateStructure(y0)
    layout = _layout(structure, y0, per_sample)
    method = settings.method
    if per_sample and not method.rows:
        raise ValueError(
            f"method={method.name!r} takes one step size for the whole state. With per_sample=True choose an explicit "
            'or implicit Runge-Kutta method, such as "tsit5" or "radau_iia5".'
        )
    if per_sample and norm is not None:
        raise ValueError("norm cannot be chosen with per_sample=True: each sample is judged by its root mean square.")
    if per_sample:
        _check_per_sample(args, layout.count)
    output_times, times, counts = _times(ts, structure, layout)
    flat = layout.to_rows(y0, "y0").clone(memory_format=torch.contiguous_format)
    relative, absolute = (_per_row(tolerance, layout) for tolerance in (settings.rtol, settings.atol))
    row_field = RowField(field, layout, args)
    saver = None
    if save is not None:
        start = as_column(times[:, 0], flat.device)
        saver = Saver(save, row_field.arguments, layout.samples is not None, start, flat.detach())
    return RowProblem(
        row_field,
        flat,
        output_times,
        times,
        counts,
        *settings._replace(rtol=relative, atol=absolute),
        events,
        step_ts,
        jump_ts,
        norm,
        saver,
    )


def _layout(structure: StateStructure, y0: State, per_sample: bool) -> RowLayout:
    if not per_sample:
        return RowLayout(structure, None, structure)
    lengths = {leaf.shape[0] if leaf.shape else None for leaf in structure.leaves}
    samples = lengths.pop() if len(lengths) == 1 else None
    if samples is None:
        shapes = ", ".join(f"{leaf.path}: {tuple(leaf.shape)}" for leaf in structure.leaves)
        raise ValueError(
            f"per_sample=True needs a state whose tensors share their first axis, the batch, but y0 has {shapes}."
        )
    return RowLayout(structure, samples, StateStructure(first_entries(y0)))


def _check_per_sample(args: tuple[Any, ...], samples: int) -> None:
    for index, arg in enumerate(args):
        if isinstance(arg, PerSample):
            structure = StateStructure.paths(arg.value, f"args[{index}].value")
            for path, tensor in structure:
                if tensor.dim() == 0 or tensor.shape[0] != samples:
                    raise ValueError(
                        f"{path} must have a first axis of length {samples}, the batch of y0, "
                        f"but has the shape {tuple(tensor.shape)}."
                    )


def _times(ts: Any, structure: StateStructure, layout: RowLayout) -> tuple[Tensor, numpy.ndarray, numpy.ndarray]:
    """Return the output times as given, on the host with one row per row, and their numbers."""
    if isinstance(ts, (list, tuple, numpy.ndarray)) and not any(isinstance(time, Tensor) for time in ts):
        try:
            ts = torch.as_tensor(numpy.asarray(ts, dtype=float))
        except (TypeError, ValueError):
            raise TypeError(
                f"ts must hold numbers, in rows of one length (NaN behind the last time), but is {ts!r}."
            ) from None
    if not isinstance(ts, Tensor) or ts.dim() != 2 or layout.samples is None:
        output_times, single = validation.check_times(ts, structure)
        times = numpy.tile(numpy.array(single), (layout.count, 1))
        return output_times, times, numpy.full(layout.count, len(single))
    if ts.shape[0] != layout.samples:
        raise ValueError(
            f"ts must have the shape (T,) or ({layout.samples}, T), one row per sample, but has {tuple(ts.shape)}."
        )
    if ts.is_meta:
        raise ValueError("ts is on the meta device and holds no numbers. Give times that have values.")
    times = as_host(ts).astype(float)
    counts = numpy.full(layout.count, times.shape[1])
    for sample, row in enumerate(times):
        behind = numpy.flatnonzero(numpy.isnan(row))
        if behind.size and numpy.isnan(row[behind[0] :]).all():
            counts[sample] = behind[0]
        try:
            validation.check_times(torch.from_numpy(row[: counts[sample]]), structure)
        except ValueError as error:
            raise ValueError(f"in ts[{sample}], the times of sample {sample}: {error}") from None
    return ts, times, counts


def _per_row(tolerance: float | Tensor, layout: RowLayout) -> float | Tensor:
    if isinstance(tolerance, float):
        return tolerance
    if layout.samples is None:
        return tolerance.unsqueeze(0)
    leaves = layout.structure.leaves
    return torch.cat([tolerance.narrow(0, leaf.start, leaf.size).reshape(layout.count, -1) for leaf in leaves], 1)
