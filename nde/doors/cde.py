"""The front door of controlled equations: `solve_cde`.

A controlled equation is an ordinary one whose field is a product, so that `nde.solve_ode` solves it: here the product
is made, what belongs to single rows is handed on as `PerSample`, and steps are made to end where the path has corners.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from nde import validation
from nde.controls import ControlPath, LinearPath, LogSignaturePath
from nde.controls.log_signature import split_levels
from nde.doors.ode import solve_ode
from nde.solvers.rows.field import PerSample
from nde.solvers.rows.landings import gaps
from nde.solvers.solution import Solution
from nde.solvers.structure import StateStructure

__all__ = ["DrivenEquation", "as_ode", "solve_cde"]

# times of the state's dtype may lie this share of the span beyond the knots, which may have another dtype
_ROUNDING = 1e-6


def solve_cde(
    field: Callable[..., Tensor],
    control: Any,
    y0: Tensor,
    ts: Tensor | Sequence[float] | None = None,
    args: tuple[Any, ...] = (),
    *,
    per_sample: bool = False,
    jump_ts: Tensor | Sequence[float] | None = None,
    **options: Any,
) -> Solution:
    """Integrate ``dz = field(t, z, *args) dX(t)`` and return the solution at ``ts``.

    Solved as ``dz/dt = field(t, z, *args) dX/dt``. Kidger, Morrill, Foster, Lyons (2020), Neural controlled
    differential equations for irregular time series, equations 4 and 5.

    Args:
        field: Callable ``(t, z, *args)`` that returns a matrix for each row, shape ``(batch..., hidden, channels)``. If
            it has a method ``product(t, z, slope, *args)``, that is called instead: it returns the product of the
            matrices and ``slope``, of the shape of ``z``, without having to form them.
        control: The path ``X``: an `nde.controls.ControlPath`, such as `nde.controls.HermiteCubicPath`, or any object
            with ``derivative(t)`` of shape ``(batch..., channels)``. Gradients reach its coefficients with every
            adjoint.
        y0: Initial state, shape ``(batch..., hidden)``. A path without a batch drives all rows.
        ts: Output times; None for the first and the last knot.
        args: Further arguments of the field.
        per_sample: See `nde.solve_ode`: a time and a step size for each row. The path must be a `ControlPath`; its
            first batch axis, if any, is that of ``y0``.
        jump_ts: Times at which the field is discontinuous; None for those at which the path's derivative jumps, the
            inner knots of a path of straight pieces.
        options: Every other option of `nde.solve_ode`.

    Returns:
        The solution; see `nde.solve_ode`. ``ys`` has the shape ``(T, batch..., hidden)``.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument is out of range, shapes do not fit, or ``ts`` goes beyond the knots.
        SolverError: The solve failed and ``throw`` is set.
    """
    equation = as_ode(field, control, y0, ts, args, per_sample, jump_ts)
    forced = {"per_sample": per_sample, "jump_ts": equation.jump_ts}
    return solve_ode(equation.field, y0, equation.ts, equation.args, **forced, **options)


class DrivenEquation(NamedTuple):
    """A controlled equation as an ordinary one: arguments of `nde.solve_ode`."""

    field: Callable[..., Tensor]
    ts: Any
    args: tuple[Any, ...]
    jump_ts: Any


def as_ode(
    field: Callable[..., Tensor],
    control: Any,
    y0: Tensor,
    ts: Tensor | Sequence[float] | None,
    args: tuple[Any, ...],
    per_sample: bool,
    jump_ts: Tensor | Sequence[float] | None,
) -> DrivenEquation:
    """Return a controlled equation as an ordinary one; see `solve_cde` for the arguments and the exceptions."""
    product = getattr(field, "product", None)
    if product is None:
        validation.check_field(field)
    validation.check_args(args)
    if not isinstance(y0, Tensor) or y0.dim() < 1:
        shown = f"has the shape {tuple(y0.shape)}" if isinstance(y0, Tensor) else f"is a {type(y0).__name__}"
        raise TypeError(f"y0 must be a tensor of shape (batch..., hidden), but {shown}.")
    known = isinstance(control, ControlPath)
    if known:
        _check_batch(control, y0, per_sample)
        ts = control.interval.detach() if ts is None else ts
        _check_span(control, ts)
        if jump_ts is None:
            jump_ts = control.jump_ts
            control = _made_up(control, StateStructure(y0).time_dtype)
    elif not callable(getattr(control, "derivative", None)):
        raise TypeError(
            f"control must be a path, but is a {type(control).__name__}. Try nde.controls.HermiteCubicPath(x, times)."
        )
    elif ts is None:
        raise TypeError(f"ts must be given for a control of type {type(control).__name__}, whose span is not known.")
    elif per_sample:
        raise TypeError(
            f"control must be an nde.controls.ControlPath with per_sample=True, which picks rows, "
            f"but is a {type(control).__name__}."
        )
    by_rows = per_sample and bool(control.batch_shape)
    kind = _LogODE if isinstance(control, LogSignaturePath) else _Driven
    driven = kind(field, product, control, by_rows)
    if by_rows:
        args = (PerSample(control.tables), *args)
    return DrivenEquation(driven, ts, args, () if jump_ts is None else jump_ts)


class _Driven:
    """The field of the ordinary equation.

    Args:
        field, product: What the user gave.
        control: The path.
        by_rows: Whether the first further argument holds the tables of the path for the rows at work.
    """

    def __init__(self, field: Any, product: Any, control: Any, by_rows: bool) -> None:
        self.field = field
        self.product = product
        # the tables come with each call, and get their gradients there
        self.control = _without_rows(control) if by_rows else control
        self.by_rows = by_rows

    def __call__(self, t: Tensor, z: Tensor, *args: Any) -> Tensor:
        control = self.control
        if self.by_rows:
            control, args = type(control).from_tables(args[0], control.times), args[1:]
        return self._along(control, control.derivative(t), t, z, args)

    def _along(self, control: Any, slope: Tensor, t: Tensor, z: Tensor, args: tuple[Any, ...]) -> Tensor:
        """Return the slope of the state, given that of the path."""
        if self.product is not None:
            value: Tensor = self.product(t, z, slope, *args)
            return value
        matrix = self.matrix(t, z, args, slope.shape[-1])
        # cheaper than a batched matrix product for vectors, above all backwards
        return torch.linalg.vecdot(slope.to(matrix.dtype).unsqueeze(-2), matrix)

    def matrix(self, t: Tensor, z: Tensor, args: tuple[Any, ...], channels: int) -> Tensor:
        """Return the value of the user's field, after a check."""
        matrix = self.field(t, z, *args)
        expected = (*z.shape, channels)
        if not isinstance(matrix, Tensor):
            raise TypeError(
                f"field(t, y) must return a tensor of shape {expected}, but returned {type(matrix).__name__}."
            )
        if matrix.shape != expected:
            raise ValueError(
                f"field(t, y) must return a matrix for each row, shape (batch..., hidden, channels) = {expected}, "
                f"but returned the shape {tuple(matrix.shape)}."
            )
        return matrix


class _LogODE(_Driven):
    """The field of the log-ODE method.

    With each column of the user's matrix as the derivative along it, a word stands for the derivatives along its
    letters, applied to the identity one after the other, the last letter first. What a log-signature adds up to is a
    derivative along one field, which is the sum over all words: no basis of commutators is needed.
    """

    def _along(self, control: Any, slope: Tensor, t: Tensor, z: Tensor, args: tuple[Any, ...]) -> Tensor:
        levels = split_levels(slope.to(z.dtype), control.channels)
        directions = self._columns(t, z, args, control.channels) if len(levels) > 1 else z
        total = super()._along(control, levels[0], t, z, args)
        for number, level in enumerate(levels[1:], 1):
            words = level.unflatten(-1, (control.channels,) * (number + 1))
            total = total + self._sum_of_words(control, words, number, t, z, args, directions)
        return total

    def _columns(self, t: Tensor, z: Tensor, args: tuple[Any, ...], channels: int) -> Tensor:
        """Return the columns of the matrix, shape ``(batch..., hidden, channels)``."""
        if self.product is None:
            return self.matrix(t, z, args, channels)
        units = torch.eye(channels, dtype=z.dtype, device=z.device)
        return torch.stack([self.product(t, z, unit.expand(*z.shape[:-1], -1), *args) for unit in units], -1)

    def _sum_of_words(
        self,
        control: Any,
        words: Tensor,
        letters: int,
        t: Tensor,
        z: Tensor,
        args: tuple[Any, ...],
        directions: Tensor | None = None,
    ) -> Tensor:
        """Return the sum over words of one length, shape ``(batch..., hidden)``.

        Args:
            words: Coefficients, shape ``(batch..., channels, ..., channels)``.
            letters: How many letters words have behind the first.
            directions: The columns at ``z``, where they are known.
        """
        if not letters:
            return super()._along(control, words, t, z, args)
        if directions is None:
            directions = self._columns(t, z, args, control.channels)

        def behind(first: Tensor, direction: Tensor) -> Tensor:
            def rest(z: Tensor) -> Tensor:
                return self._sum_of_words(control, first, letters - 1, t, z, args)

            along: Tensor = torch.func.jvp(rest, (z,), (direction,))[1]
            return along

        axis = words.dim() - letters - 1
        terms: Tensor = torch.func.vmap(behind, (axis, -1))(words, directions)
        return terms.sum(0)


def _made_up(control: ControlPath, dtype: torch.dtype) -> ControlPath:
    """Return a path of straight pieces that makes up for the surroundings of its knots, which no step enters.

    They are a few rounding units of a time of ``dtype`` wide, a loss that would add up over the knots in float32.
    """
    if not isinstance(control, (LinearPath, LogSignaturePath)):
        return control
    knots: list[float] = control.times.tolist()
    lost = [0.0] * (len(knots) - 1)
    for index, knot in enumerate(knots[1:-1]):
        for gap in gaps([knot], knots[0], knots[-1], dtype):
            lost[index] += knot - gap.low
            lost[index + 1] += gap.high - knot
    return control.steeper(torch.tensor(lost, dtype=torch.float64, device=control.times.device))


def _without_rows(control: ControlPath) -> ControlPath:
    return type(control).from_tables([table.detach()[:0] for table in control.tables], control.times)


def _check_batch(control: ControlPath, y0: Tensor, per_sample: bool) -> None:
    batch, rows = control.batch_shape, y0.shape[:-1]
    fits = len(batch) <= len(rows) and all(a in (1, b) for a, b in zip(reversed(batch), reversed(rows), strict=False))
    if per_sample and batch:
        fits = fits and len(batch) == len(rows) and batch[0] == rows[0]
    if not fits:
        raise ValueError(
            f"y0 must have the shape (batch..., hidden) with the control's batch of shape {tuple(batch)}, "
            f"but has {tuple(y0.shape)}."
        )


def _check_span(control: ControlPath, ts: Any) -> None:
    """Raise ValueError if times lie beyond the knots; what else may be wrong with them is found later."""
    try:
        times = ts.detach() if isinstance(ts, Tensor) else torch.as_tensor(ts, dtype=torch.float64)
        low, high = (float(end) for end in control.interval.detach())
        found = times[~times.isnan()].to(torch.float64)
        first, last = float(found.min()), float(found.max())
    except (TypeError, ValueError, RuntimeError, NotImplementedError):
        return
    room = _ROUNDING * (high - low)
    if first < low - room or last > high + room:
        raise ValueError(
            f"ts must lie between the first and the last knot of the control, {low:.10g} and {high:.10g}, but goes "
            f"from {first:.10g} to {last:.10g}."
        )
