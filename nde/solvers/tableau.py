"""Explicit Butcher tableaus as frozen data that check themselves.

A tableau holds the coefficients of one explicit Runge-Kutta method, of its error estimate and of its continuous
extension, and nothing that runs. It depends on the standard library alone; the steppers read it, and
``nde.solvers.tableaus`` defines the methods. Every fact that follows from another one (row sums, weight sums, shapes)
is verified at construction, so that a mistyped digit fails at import instead of costing an order of accuracy.
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

# The derived facts are sums of up to 16 products of double-precision coefficients as large as 1e3 (the dense output of
# order 7), whose rounding stays below 1e-12; a wrong digit anywhere in the first eleven is far above it.
_TOLERANCE = 1e-12


@dataclass(frozen=True)
class DenseOutput:
    """Continuous extension of one step.

    Inside a step, ``y(t + theta h) = y + h sum_i b_i(theta) k_i`` for ``0 <= theta <= 1`` with the polynomials
    ``b_i(theta) = sum_{p >= 1} coefficients[i][p - 1] theta**p``. The sum runs over the stages of the method, followed
    by the extra stages.

    Attributes:
        coefficients: One row per stage, extra stages last; the columns belong to ``theta**1 .. theta**P``.
        order: Uniform order of the extension: the local error at every ``theta`` is of order ``h**(order + 1)``.
        extra_a: Rows of the stages that are evaluated only when an output falls inside the step; row ``m`` weighs all
            stages of the method and the ``m`` extra stages before it.
        extra_c: Nodes of the extra stages.

    Raises:
        ValueError: An entry is not finite, a shape is inconsistent, or the row sums of ``extra_a`` differ from
            ``extra_c``.
    """

    coefficients: tuple[tuple[float, ...], ...]
    order: int
    extra_a: tuple[tuple[float, ...], ...] = ()
    extra_c: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """Verify every fact that needs no knowledge of the method itself."""
        _require_finite_rows("dense.coefficients", self.coefficients)
        _require_finite_rows("dense.extra_a", self.extra_a)
        _require_finite("dense.extra_c", self.extra_c)
        if not self.coefficients:
            raise ValueError("dense.coefficients has 0 rows, expected one per stage.")
        degree = len(self.coefficients[0])
        for i, row in enumerate(self.coefficients):
            _require_length(f"dense.coefficients[{i}]", row, degree, "as many as dense.coefficients[0]")
        if not 1 <= self.order <= degree:
            # theta**order has to be reproduced, which takes a polynomial of at least that degree
            raise ValueError(f"dense.order is {self.order}, expected 1 <= order <= {degree}, the polynomial degree.")
        _require_length("dense.extra_a", self.extra_a, len(self.extra_c), "one row per entry of dense.extra_c")
        for m, row in enumerate(self.extra_a):
            _require_close(f"sum of dense.extra_a[{m}]", math.fsum(row), self.extra_c[m], f"dense.extra_c[{m}]")


@dataclass(frozen=True)
class ButcherTableau:
    """Explicit Runge-Kutta method with its error estimate and continuous extension.

    Stage ``i`` is ``k_i = f(t + c_i h, y + h sum_{j < i} a_ij k_j)`` and the step is ``y + h sum_i b_i k_i``.

    Attributes:
        c: Nodes of all ``s`` stages; ``c[0]`` is 0.
        a: Rows of the stages 2 to ``s``; ``a[i]`` has ``i + 1`` entries (strictly lower triangular).
        b: Weights of the step, one per stage.
        order: Order of the step.
        source: Where the coefficients were published.
        errors: Error weights, one row per estimate: ``h sum_i errors[m][i] k_i`` is the step minus the embedded
            solution ``m``. Usually one row; two for a method that combines two estimates; none without an estimate.
        embedded_orders: Order of the embedded solution with the weights ``b - errors[m]``, one per row.
        dense: Continuous extension, if there is one.
        stiffness_stages: Two stages ``(i, j)`` (0-based) with the same node, so that ``|k_j - k_i|`` over the distance
            of their arguments estimates the dominant eigenvalue of the Jacobian.

    Raises:
        ValueError: An entry is not finite, a shape is inconsistent, or a fact that follows from the others does not
            hold; the message names the field, the row, the value found and the value expected.
    """

    c: tuple[float, ...]
    a: tuple[tuple[float, ...], ...]
    b: tuple[float, ...]
    order: int
    source: str
    errors: tuple[tuple[float, ...], ...] = ()
    embedded_orders: tuple[int, ...] = ()
    dense: DenseOutput | None = None
    stiffness_stages: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        """Verify every derived fact; sums come after shapes so that the first message is the useful one."""
        self._check_step()
        self._check_errors()
        if self.dense is not None:
            self._check_dense(self.dense)
        if self.stiffness_stages is not None:
            self._check_stiffness_stages(self.stiffness_stages)

    @functools.cached_property
    def stages(self) -> int:
        """Number of stages of the step, a first-same-as-last stage included, extra dense stages excluded."""
        return len(self.c)

    @functools.cached_property
    def fsal(self) -> bool:
        """Whether the last stage is evaluated at the end of the step, so that the next step can start with it."""
        return self.stages > 1 and self.a[-1] == self.b[:-1] and self.c[-1] == 1.0 and self.b[-1] == 0.0

    def _check_step(self) -> None:
        _require_finite("c", self.c)
        _require_finite_rows("a", self.a)
        _require_finite("b", self.b)
        if not self.c:
            raise ValueError("c has 0 entries, expected one per stage.")
        _require_length("a", self.a, self.stages - 1, "one row per stage after the first")
        _require_length("b", self.b, self.stages, "one per stage")
        if self.order < 1:
            raise ValueError(f"order is {self.order}, expected at least 1.")
        if not self.source.strip():
            raise ValueError("source is empty, expected the publication of the coefficients.")
        if self.c[0] != 0.0:
            raise ValueError(f"c[0] is {self.c[0]!r}, expected 0.0: the first stage of an explicit method is f(t, y).")
        for i, row in enumerate(self.a):
            _require_length(f"a[{i}]", row, i + 1, "strictly lower triangular")
            _require_close(f"sum of a[{i}]", math.fsum(row), self.c[i + 1], f"c[{i + 1}]")
        _require_close("sum of b", math.fsum(self.b), 1.0, "consistency")

    def _check_errors(self) -> None:
        _require_finite_rows("errors", self.errors)
        _require_length("embedded_orders", self.embedded_orders, len(self.errors), "one per row of errors")
        for m, row in enumerate(self.errors):
            _require_length(f"errors[{m}]", row, self.stages, "one per stage")
            _require_close(f"sum of errors[{m}]", math.fsum(row), 0.0, "two consistent solutions")
            if self.embedded_orders[m] < 1:
                raise ValueError(f"embedded_orders[{m}] is {self.embedded_orders[m]}, expected at least 1.")

    def _check_dense(self, dense: DenseOutput) -> None:
        rows = self.stages + len(dense.extra_c)
        _require_length("dense.coefficients", dense.coefficients, rows, "one row per stage and extra stage")
        for m, row in enumerate(dense.extra_a):
            _require_length(f"dense.extra_a[{m}]", row, self.stages + m, "all stages before it")
        for i, row in enumerate(dense.coefficients):
            # a discontinuity at the step ends would appear in the solution as a jump of the size of this difference
            weight, reason = (self.b[i], f"b[{i}]") if i < self.stages else (0.0, "extra stages vanish at theta = 1")
            _require_close(f"sum of dense.coefficients[{i}]", math.fsum(row), weight, reason)

    def _check_stiffness_stages(self, pair: tuple[int, int]) -> None:
        _require_length("stiffness_stages", pair, 2, "a pair")
        first, second = pair
        if not (0 <= first < self.stages and 0 <= second < self.stages and first != second):
            raise ValueError(f"stiffness_stages is {pair}, expected two different stages in 0 .. {self.stages - 1}.")
        if self.c[first] != self.c[second]:
            raise ValueError(
                f"stiffness_stages is {pair} with c[{first}] = {self.c[first]!r} and c[{second}] = {self.c[second]!r}, "
                "expected equal nodes."
            )


def _require_finite(name: str, row: Sequence[float]) -> None:
    for i, value in enumerate(row):
        if not math.isfinite(value):
            raise ValueError(f"{name}[{i}] is {value!r}, expected a finite number.")


def _require_finite_rows(name: str, rows: Sequence[Sequence[float]]) -> None:
    for i, row in enumerate(rows):
        _require_finite(f"{name}[{i}]", row)


def _require_length(name: str, values: Sequence[object], expected: int, reason: str) -> None:
    if len(values) != expected:
        raise ValueError(f"{name} has {len(values)} entries, expected {expected} ({reason}).")


def _require_close(name: str, found: float, expected: float, reason: str) -> None:
    if abs(found - expected) > _TOLERANCE:
        raise ValueError(f"{name} is {found!r}, expected {expected!r} ({reason}).")
