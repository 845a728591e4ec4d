"""The Brownian path that SDE solvers ask for increments.

Puts the parts together: the grid's cells, the trees inside them, the areas. Nothing here is recorded by autograd.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nde.solvers.brownian import checks
from nde.solvers.brownian.chen import BrownianIncrement
from nde.solvers.brownian.engine import Engine, KnownIncrements
from nde.solvers.brownian.plan import Plan
from nde.solvers.transforms import constants

__all__ = ["BrownianPath"]

# levels of the tree below a cell; a deeper one costs each query of new times in proportion
_DEPTH = 22


class BrownianPath:
    """A sample path of Brownian motion, determined by a seed, that can be asked for any increment in any order.

    The path is a pure function of its arguments: each normal number behind it is computed from the seed, its row and
    its place in time by integer arithmetic. No generator has a state, no query changes what another one returns, a part
    of the rows has the numbers that it has in the whole, and the bits of those integers are the same on every device
    (the logarithm and the cosine that make them normal may differ in the last digit between devices).

    Inside a cell of ``grid``, a tree of Brownian bridges divides time by two until its leaves are no longer than
    ``tol``. Times are rounded to a millionth of a leaf, which also takes ``0.1 + 0.2`` for ``0.3``. Any finite set of
    times in different leaves has exactly the law of Brownian motion, and so has each time alone; two times in one leaf
    see a smooth path.

    A query of a whole cell costs little more than drawing normal numbers; let ``grid`` be the steps of a solver whose
    steps are known. A query of other times draws once per level of the tree for each of its ends, less what the last
    queries have drawn already; ``nearby`` finds times that need few levels.

    Args:
        t0, t1: The span, ``t0 < t1``.
        shape: Shape of an increment. The first axis is the batch: rows can be asked for each with its own times, or be
            selected by ``path[index]``.
        seed: An integer of any size. Paths of two seeds are independent.
        grid: Times from ``t0`` to ``t1``, increasing, shape ``(cells + 1,)``, that divide the span into cells; default
            one cell. Another grid is another path.
        levy_area: What an increment holds: "none" (``w``), "space-time" (``w, h``), "space-time-time" (``w, h, k``), or
            "davie" or "foster" (``w, h`` and an approximate ``a``). Each is another path.
        covariance: Positive semi-definite ``(m, m)``: the entries of the last axis have it per unit of time. The path
            is that of independent entries times its Cholesky factor (its symmetric root, where it is singular).
        dtype: float32 or float64; default torch's default. The path is the same, up to rounding.
        device: Where the increments are.
        tol: Length of time of the leaves; default a cell's length times ``2 ** -22``.

    Raises:
        TypeError, ValueError: An argument is none of these.

    References:
        Jelincic, Foster, Kidger (2024), "Single-seed generation of Brownian paths and integrals for adaptive and high
        order SDE solvers"; Foster, Lyons, Oberhauser (2020), "An optimal polynomial approximation of Brownian motion";
        Steele, Lea, Flood (2014), "Fast splittable pseudorandom number generators".
    """

    def __init__(
        self,
        t0: float,
        t1: float,
        shape: tuple[int, ...] | int,
        *,
        seed: int,
        grid: Any = None,
        levy_area: str = "none",
        covariance: Tensor | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
        tol: float | None = None,
    ) -> None:
        times = checks.check_grid(t0, t1, grid)
        sizes = checks.check_shape(shape)
        self._plan = Plan(
            grid=times,
            shape=sizes,
            row_ids=None,
            single=False,
            seed=checks.check_seed(seed),
            levy_area=checks.check_levy_area(levy_area, sizes),
            factor=checks.check_covariance(covariance, sizes),
            depth=checks.check_depth(tol, times, _DEPTH),
            dtype=checks.check_dtype(dtype),
            device=checks.check_device(device),
            backwards=False,
        )
        self._engine: Engine | None = None
        self._known = KnownIncrements({}, 0.0)

    def __call__(self, s: float | Tensor, t: float | Tensor) -> BrownianIncrement:
        """Return the increment from ``s`` to ``t``.

        Args:
            s, t: Times of the span: numbers, or tensors of shape ``(rows,)`` or ``(rows, 1)`` with a time per row,
                which get what each row would get by itself. Where ``s > t``, the path is run backwards: see
                ``BrownianIncrement``.

        Raises:
            TypeError: They are no real numbers.
            ValueError: They are NaN, outside the span, or of a shape that is none of these.
        """
        found = self._known.find(s, t) if type(s) is float and type(t) is float else None
        return self._ask(s, t) if found is None else found

    def _ask(self, s: Any, t: Any) -> BrownianIncrement:
        # tensors made in inference mode could not be kept for a training step
        with constants():
            if self._engine is None:
                self._engine = Engine(self._plan)
            rows = any(isinstance(time, Tensor) and time.dim() > 0 for time in (s, t))
            if rows:
                return self._engine.rows(
                    *(checks.check_row_times(time, name, self._plan) for time, name in ((s, "s"), (t, "t")))
                )
            increment = self._engine.span(checks.check_time(s, "s"), checks.check_time(t, "t"))
            self._known = self._engine.known
            return increment

    def nearby(self, t: float, slack: float) -> float:
        """Return the time within ``slack`` of ``t`` that costs the fewest normal numbers to ask for.

        A solver that chooses its own steps pays for the levels of the tree between its step and the leaves, unless it
        ends a step at a node of the tree. With ``path.nearby(t + h, h / 8)`` in the place of ``t + h``, some four new
        levels are drawn in a step of any size. The path is the same; only where it is asked for changes.

        Args:
            t: A time of the span.
            slack: How far the result may be from it, positive.

        Raises:
            ValueError: ``t`` is outside the span or NaN, or ``slack`` is negative.
        """
        sign = -1.0 if self._plan.backwards else 1.0
        if self._engine is None:
            self._engine = Engine(self._plan)
        return sign * self._engine.clock.nearby(sign * checks.check_time(t, "t"), checks.check_time(slack, "slack"))

    def nearby_rows(self, t: np.ndarray, slack: np.ndarray) -> np.ndarray:
        """Return what ``nearby`` returns for each of many times, all float64 of shape ``(rows,)`` on the host."""
        sign = -1.0 if self._plan.backwards else 1.0
        if self._engine is None:
            self._engine = Engine(self._plan)
        return sign * self._engine.clock.nearby_rows(sign * t, slack)

    @property
    def t0(self) -> float:
        """Start of the span."""
        return float(-self._plan.grid[-1] if self._plan.backwards else self._plan.grid[0])

    @property
    def t1(self) -> float:
        """End of the span."""
        return float(-self._plan.grid[0] if self._plan.backwards else self._plan.grid[-1])

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of an increment."""
        return self._plan.own_shape

    @property
    def seed(self) -> int:
        """The seed."""
        return self._plan.seed

    @property
    def levy_area(self) -> str:
        """The kind of Levy area of its increments."""
        return self._plan.levy_area

    @property
    def dtype(self) -> torch.dtype:
        """The increments' dtype."""
        return self._plan.dtype

    @property
    def device(self) -> torch.device:
        """The increments' device."""
        return self._plan.device

    @classmethod
    def of_solve(
        cls,
        grid: Sequence[float],
        shape: tuple[int, ...],
        seed: int,
        levy_area: str,
        dtype: torch.dtype,
        device: torch.device,
    ) -> BrownianPath:
        """Return a path for one solve alone, whose steps are the cells: cheaper to draw, and not divisible into rows.

        Args:
            grid, shape, seed, levy_area, dtype, device: As of the constructor, and not checked.
        """
        streamed = dtype == torch.float32 or device.type != "cpu"  # torch's float64 numbers are slow on a processor
        return cls._of(
            Plan(np.array(grid), shape, None, False, seed, levy_area, None, _DEPTH, dtype, device, False, streamed)
        )

    @classmethod
    def _of(cls, plan: Plan) -> BrownianPath:
        path = cls.__new__(cls)
        path.__setstate__({"plan": plan})
        return path

    def rows(self, index: Any) -> BrownianPath:
        """Return the path of some rows, with the numbers that they have in this one.

        Args:
            index: A row's number, which takes the batch axis away; or a slice, a list or a tensor of numbers, or a
                mask.
        """
        return self._of(self._plan.select(index))

    def __getitem__(self, index: Any) -> BrownianPath:
        return self.rows(index)

    def reversed(self) -> BrownianPath:
        """Return the path run backwards, ``V(r) = W(-r)`` from ``-t1`` to ``-t0``.

        ``path.reversed()(a, b)`` equals ``path(-a, -b)``. It is again a Brownian path, for a solver that only runs
        forwards.
        """
        return self._of(replace(self._plan, backwards=not self._plan.backwards))

    def to(self, device: torch.device | str) -> BrownianPath:
        """Return the path on another device."""
        return self._of(replace(self._plan, device=checks.check_device(device)))

    def __getstate__(self) -> dict[str, Any]:
        return {"plan": self._plan}  # all else can be drawn again

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._plan = state["plan"]
        self._engine = None
        self._known = KnownIncrements({}, 0.0)

    def __repr__(self) -> str:
        plan = self._plan
        cells = f", cells={plan.grid.shape[0] - 1}" if plan.grid.shape[0] > 2 else ""
        covariance = ", covariance=..." if plan.factor is not None else ""
        return (
            f"BrownianPath(t0={self.t0:g}, t1={self.t1:g}, shape={self.shape}, seed={plan.seed}{cells}, "
            f"levy_area={plan.levy_area!r}{covariance}, dtype={plan.dtype}, device={str(plan.device)!r})"
        )
