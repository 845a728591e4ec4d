"""Every explicit tableau satisfies exactly the order conditions that it claims, and a wrong one cannot be built.

The conditions come from the rooted trees of ``tests.solvers.rooted_trees``, so they are independent of the coefficients
and of any other implementation.
"""

import dataclasses
import math
import re
from collections.abc import Sequence
from typing import Any

import pytest

from nde.solvers.tableau import ButcherTableau, DenseOutput
from nde.solvers.tableaus import (
    BOSH3,
    DOPRI5,
    DOPRI8,
    EULER,
    FEHLBERG2,
    HEUN,
    HEUN3,
    MIDPOINT,
    RALSTON,
    RK4,
    RK38,
    TSIT5,
)
from tests.solvers.rooted_trees import Tree, density, elementary_weights, order_of, trees_of_order

TABLEAUS = {
    "euler": EULER,
    "midpoint": MIDPOINT,
    "heun": HEUN,
    "ralston": RALSTON,
    "rk4": RK4,
    "rk38": RK38,
    "heun3": HEUN3,
    "fehlberg2": FEHLBERG2,
    "bosh3": BOSH3,
    "dopri5": DOPRI5,
    "tsit5": TSIT5,
    "dopri8": DOPRI8,
}
EMBEDDED = [(name, row) for name, tableau in TABLEAUS.items() for row in range(len(tableau.errors))]
THETAS = (0.1, 0.25, 0.5, 0.8, 0.9)

# The coefficients are rounded to double precision; products of entries up to 40 leave at most 2e-14 in a condition.
TOLERANCE = 1e-13
# The same rounding with the dense coefficients of dopri8, which reach 545 and cancel (7e-14 at theta = 0.9).
DENSE_TOLERANCE = 2e-13
# A condition that fails does so by the size of the error constant: at least 2.7e-5 for the methods, and 6e-5 at
# theta = 1/2 for the extensions; rounding is nine orders below.
FAILURE = 1e-6


def stage_rows(tableau: ButcherTableau) -> tuple[tuple[float, ...], ...]:
    extra = tableau.dense.extra_a if tableau.dense is not None else ()
    return ((), *tableau.a, *extra)


def largest_residual(
    weights: Sequence[float], rows: Sequence[Sequence[float]], order: int, theta: float = 1.0
) -> float:
    """Return the largest violation of the order conditions of exactly ``order`` at ``theta``."""
    return max(
        abs(
            math.fsum(w * phi for w, phi in zip(weights, elementary_weights(tree, rows), strict=True))
            - theta**order / density(tree)
        )
        for tree in trees_of_order(order)
    )


def embedded_weights(tableau: ButcherTableau, row: int) -> list[float]:
    return [b - e for b, e in zip(tableau.b, tableau.errors[row], strict=True)]


def dense_weights(dense: DenseOutput, theta: float) -> list[float]:
    return [math.fsum(w * theta ** (p + 1) for p, w in enumerate(row)) for row in dense.coefficients]


def dense_of(tableau: ButcherTableau) -> DenseOutput:
    if tableau.dense is None:
        pytest.fail("every explicit tableau of the package has a continuous extension")
    return tableau.dense


def test_number_of_rooted_trees_equals_the_known_sequence() -> None:
    assert [len(trees_of_order(order)) for order in range(1, 10)] == [1, 1, 2, 4, 9, 20, 48, 115, 286]


def test_generated_trees_are_distinct_and_have_the_requested_order() -> None:
    for order in range(1, 9):
        trees = trees_of_order(order)
        assert len(set(trees)) == len(trees)
        assert {order_of(tree) for tree in trees} == {order}


def test_densities_and_elementary_weights_equal_those_written_out_by_hand() -> None:
    rows = ((), (0.5,), (0.25, 0.5))  # nodes 0, 1/2, 3/4
    leaf: Tree = ()
    chain: Tree = ((leaf,),)  # sum a_ij c_j
    bush: Tree = (leaf, leaf)  # c_i**2
    mixed: Tree = (leaf, (leaf,))  # c_i sum a_ij c_j
    expected: list[tuple[Tree, int, list[float]]] = [
        (leaf, 1, [1.0, 1.0, 1.0]),
        ((leaf,), 2, [0.0, 0.5, 0.75]),
        (chain, 6, [0.0, 0.0, 0.25]),
        (bush, 3, [0.0, 0.25, 0.5625]),
        (mixed, 8, [0.0, 0.0, 0.1875]),
        ((chain,), 24, [0.0, 0.0, 0.0]),
        ((bush,), 12, [0.0, 0.0, 0.125]),
    ]
    for tree, gamma, weights in expected:
        assert density(tree) == gamma
        assert elementary_weights(tree, rows) == weights  # all values are dyadic: no rounding


@pytest.mark.parametrize("name", TABLEAUS)
def test_step_satisfies_all_conditions_up_to_its_order(name: str) -> None:
    tableau = TABLEAUS[name]
    rows = ((), *tableau.a)
    for order in range(1, tableau.order + 1):
        assert largest_residual(tableau.b, rows, order) <= TOLERANCE, order


@pytest.mark.parametrize("name", TABLEAUS)
def test_step_violates_a_condition_of_the_next_order(name: str) -> None:
    tableau = TABLEAUS[name]
    assert largest_residual(tableau.b, ((), *tableau.a), tableau.order + 1) >= FAILURE


@pytest.mark.parametrize(("name", "row"), EMBEDDED)
def test_embedded_solution_satisfies_all_conditions_up_to_its_order(name: str, row: int) -> None:
    tableau = TABLEAUS[name]
    weights = embedded_weights(tableau, row)
    for order in range(1, tableau.embedded_orders[row] + 1):
        assert largest_residual(weights, ((), *tableau.a), order) <= TOLERANCE, order


@pytest.mark.parametrize(("name", "row"), EMBEDDED)
def test_embedded_solution_violates_a_condition_of_the_next_order(name: str, row: int) -> None:
    tableau = TABLEAUS[name]
    weights = embedded_weights(tableau, row)
    assert largest_residual(weights, ((), *tableau.a), tableau.embedded_orders[row] + 1) >= FAILURE


@pytest.mark.parametrize("theta", THETAS)
@pytest.mark.parametrize("name", TABLEAUS)
def test_dense_output_satisfies_all_continuous_conditions_up_to_its_order(name: str, theta: float) -> None:
    tableau = TABLEAUS[name]
    dense = dense_of(tableau)
    weights = dense_weights(dense, theta)
    for order in range(1, dense.order + 1):
        assert largest_residual(weights, stage_rows(tableau), order, theta) <= DENSE_TOLERANCE, order


@pytest.mark.parametrize("name", TABLEAUS)
def test_dense_output_violates_a_continuous_condition_of_the_next_order(name: str) -> None:
    tableau = TABLEAUS[name]
    dense = dense_of(tableau)
    residual = largest_residual(dense_weights(dense, 0.5), stage_rows(tableau), dense.order + 1, 0.5)
    assert residual >= FAILURE


@pytest.mark.parametrize("name", TABLEAUS)
def test_dense_output_at_the_end_of_the_step_is_the_step(name: str) -> None:
    tableau = TABLEAUS[name]
    dense = dense_of(tableau)
    expected = [*tableau.b, *(0.0 for _ in dense.extra_c)]
    assert dense_weights(dense, 1.0) == pytest.approx(expected, rel=0.0, abs=DENSE_TOLERANCE)


@pytest.mark.parametrize("name", TABLEAUS)
def test_dense_output_starts_with_the_slope_of_the_first_stage(name: str) -> None:
    # d/dtheta at 0 is the linear coefficient; without this the solution would have a kink at every step
    slopes = [row[0] for row in dense_of(TABLEAUS[name]).coefficients]
    assert slopes == pytest.approx([1.0] + [0.0] * (len(slopes) - 1), rel=0.0, abs=DENSE_TOLERANCE)


@pytest.mark.parametrize("name", ["bosh3", "dopri5", "tsit5", "dopri8"])
def test_dense_output_of_a_first_same_as_last_method_ends_with_the_slope_of_the_last_stage(name: str) -> None:
    tableau = TABLEAUS[name]
    slopes = [math.fsum((p + 1) * w for p, w in enumerate(row)) for row in dense_of(tableau).coefficients]
    expected = [1.0 if i == tableau.stages - 1 else 0.0 for i in range(len(slopes))]
    # differentiation multiplies the rounding of the coefficients by up to 7
    assert slopes == pytest.approx(expected, rel=0.0, abs=10 * DENSE_TOLERANCE)


def test_exactly_the_pairs_built_that_way_are_first_same_as_last() -> None:
    assert {name for name, tableau in TABLEAUS.items() if tableau.fsal} == {"bosh3", "dopri5", "tsit5", "dopri8"}


def test_numbers_of_stages_are_those_of_the_methods() -> None:
    assert [tableau.stages for tableau in TABLEAUS.values()] == [1, 2, 2, 2, 4, 4, 3, 3, 4, 7, 7, 13]


def test_embedded_weights_of_the_pairs_equal_the_published_ones() -> None:
    # the orders alone would not notice a flipped sign of the whole error row
    bosh3 = [7 / 24, 1 / 4, 1 / 3, 1 / 8]
    dopri5 = [1951 / 21600, 0.0, 22642 / 50085, 451 / 720, -12231 / 42400, 649 / 6300, 1 / 60]  # Shampine (1986)
    assert embedded_weights(BOSH3, 0) == pytest.approx(bosh3, rel=0.0, abs=1e-15)  # one rounding of numbers below 1
    assert embedded_weights(DOPRI5, 0) == pytest.approx(dopri5, rel=0.0, abs=1e-15)
    assert embedded_weights(TSIT5, 0)[-1] == pytest.approx(1 / 66, rel=0.0, abs=1e-15)
    assert embedded_weights(HEUN, 0) == [1.0, 0.0]


def with_entry(rows: tuple[tuple[float, ...], ...], i: int, j: int, value: float) -> tuple[tuple[float, ...], ...]:
    return (*rows[:i], (*rows[i][:j], value, *rows[i][j + 1 :]), *rows[i + 1 :])


NAN = math.nan
DENSE4 = dense_of(RK4)
DENSE8 = dense_of(DOPRI8)
LONG_EXTRA_ROW = dataclasses.replace(DENSE8, extra_a=((*DENSE8.extra_a[0], 0.0), *DENSE8.extra_a[1:]))
SHORT_DENSE = dataclasses.replace(DENSE4, coefficients=DENSE4.coefficients[:-1])
WITH_EXTRA = DenseOutput(((1.0,), (0.0,)), order=1, extra_a=((0.5,),), extra_c=(0.5,))
OTHER_END = DenseOutput(((1.0, -0.5), (0.0, 0.75)), order=2)
EXTRA_AT_END = dataclasses.replace(DENSE8, coefficients=with_entry(DENSE8.coefficients, 14, 0, 0.5))
OFF_BY_2E12 = with_entry(TSIT5.a, 3, 3, TSIT5.a[3][3] + 2e-12)

# what is built, the fields that are replaced by wrong ones, and the message: field, row, value found, value expected
REJECTED: list[tuple[ButcherTableau | DenseOutput, dict[str, Any], str]] = [
    (RK4, {"c": (0.0, 0.5, NAN, 1.0)}, "c[2] is nan, expected a finite number"),
    (RK4, {"a": with_entry(RK4.a, 2, 1, math.inf)}, "a[2][1] is inf, expected a finite number"),
    (HEUN, {"b": (NAN, 0.5)}, "b[0] is nan, expected a finite number"),
    (EULER, {"c": (), "b": ()}, "c has 0 entries, expected one per stage"),
    (RK4, {"a": RK4.a[:-1]}, "a has 2 entries, expected 3 (one row per stage after the first)"),
    (RK4, {"b": RK4.b[:-1]}, "b has 3 entries, expected 4 (one per stage)"),
    (RK4, {"order": 0}, "order is 0, expected at least 1"),
    (RK4, {"source": " "}, "source is empty, expected the publication"),
    (HEUN, {"c": (0.5, 1.0)}, "c[0] is 0.5, expected 0.0"),
    (RK4, {"a": ((0.5,), (0.0, 0.5, 0.0), RK4.a[2])}, "a[1] has 3 entries, expected 2 (strictly lower triangular)"),
    (RK4, {"a": with_entry(RK4.a, 1, 0, 0.25)}, "sum of a[1] is 0.75, expected 0.5 (c[2])"),
    (TSIT5, {"a": OFF_BY_2E12}, "sum of a[3] is 0.98002554090"),
    (HEUN, {"b": (0.5, 0.75)}, "sum of b is 1.25, expected 1.0"),
    (HEUN, {"errors": ((NAN, 0.5),)}, "errors[0][0] is nan, expected a finite number"),
    (DOPRI8, {"embedded_orders": (5,)}, "embedded_orders has 1 entries, expected 2 (one per row of errors)"),
    (DOPRI8, {"embedded_orders": (5, 0)}, "embedded_orders[1] is 0, expected at least 1"),
    (BOSH3, {"errors": (BOSH3.errors[0][:-1],)}, "errors[0] has 3 entries, expected 4 (one per stage)"),
    (HEUN, {"errors": ((0.25, 0.5),)}, "sum of errors[0] is 0.75, expected 0.0"),
    (DENSE4, {"coefficients": with_entry(DENSE4.coefficients, 3, 2, NAN)}, "dense.coefficients[3][2] is nan, expected"),
    (DENSE8, {"extra_a": with_entry(DENSE8.extra_a, 1, 5, NAN)}, "dense.extra_a[1][5] is nan, expected a finite"),
    (DENSE8, {"extra_c": (0.1, NAN, 7 / 9)}, "dense.extra_c[1] is nan, expected a finite number"),
    (DENSE4, {"coefficients": ()}, "dense.coefficients has 0 rows, expected one per stage"),
    (DENSE4, {"coefficients": ((1.0,), (0.0, 0.0))}, "dense.coefficients[1] has 2 entries, expected 1"),
    (DENSE4, {"order": 0}, "dense.order is 0, expected 1 <= order <= 3"),
    (DENSE4, {"order": 4}, "dense.order is 4, expected 1 <= order <= 3"),
    (DENSE8, {"extra_a": DENSE8.extra_a[:-1]}, "dense.extra_a has 2 entries, expected 3 (one row per entry of"),
    (WITH_EXTRA, {"extra_c": (0.25,)}, "sum of dense.extra_a[0] is 0.5, expected 0.25 (dense.extra_c[0])"),
    (DOPRI8, {"dense": LONG_EXTRA_ROW}, "dense.extra_a[0] has 14 entries, expected 13 (all stages before it)"),
    (RK4, {"dense": SHORT_DENSE}, "dense.coefficients has 3 entries, expected 4 (one row per stage and extra stage)"),
    (HEUN, {"dense": OTHER_END}, "sum of dense.coefficients[1] is 0.75, expected 0.5 (b[1])"),
    (DOPRI8, {"dense": EXTRA_AT_END}, "sum of dense.coefficients[14] is 0.5"),
    (DOPRI5, {"stiffness_stages": (6, 7)}, "stiffness_stages is (6, 7), expected two different stages in 0 .. 6"),
    (DOPRI5, {"stiffness_stages": (5, -1)}, "stiffness_stages is (5, -1), expected two different stages in 0 .. 6"),
    (DOPRI5, {"stiffness_stages": (6, 6)}, "stiffness_stages is (6, 6), expected two different stages"),
    (RK4, {"stiffness_stages": (2, 3)}, "stiffness_stages is (2, 3) with c[2] = 0.5 and c[3] = 1.0, expected equal"),
    (RK4, {"stiffness_stages": (1, 2, 3)}, "stiffness_stages has 3 entries, expected 2 (a pair)"),
]


@pytest.mark.parametrize(("valid", "wrong", "message"), REJECTED, ids=[message for _, _, message in REJECTED])
def test_corrupted_tableau_is_rejected_with_the_field_and_both_values(
    valid: ButcherTableau | DenseOutput, wrong: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        dataclasses.replace(valid, **wrong)


def test_tableau_and_dense_output_are_frozen() -> None:
    for frozen in (RK4, DENSE4):
        with pytest.raises(dataclasses.FrozenInstanceError):
            frozen.order = 5  # type: ignore[misc]
