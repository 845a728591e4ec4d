"""Every implicit tableau satisfies exactly the order conditions that it claims, and is stable as it claims."""

import dataclasses
import math
import re

import numpy
import pytest

from nde.solvers.implicit_tableau import ImplicitTableau
from nde.solvers.tableau import DenseOutput
from nde.solvers.tableaus import implicit
from tests.solvers.rooted_trees import density, elementary_weights, trees_of_order

TABLEAUS = {name: value for name, value in vars(implicit).items() if isinstance(value, ImplicitTableau)}
ORDERS = {
    "IMPLICIT_EULER": (1, 1),
    "IMPLICIT_MIDPOINT": (2, 1),
    "TRAPEZOID": (2, 2),
    "SDIRK2": (2, 2),
    "TRBDF2": (2, 2),
    "RADAU_IIA3": (3, 2),
    "RADAU_IIA5": (5, 3),
    "GAUSS4": (4, 2),
    "GAUSS6": (6, 3),
}
L_STABLE = ("IMPLICIT_EULER", "SDIRK2", "TRBDF2", "RADAU_IIA3", "RADAU_IIA5")
SYMPLECTIC = ("IMPLICIT_MIDPOINT", "GAUSS4", "GAUSS6")
each = pytest.mark.parametrize("name", ORDERS)

# sums of a few products of correctly rounded numbers below 3
TOLERANCE = 2e-15
# the smallest error constant of the methods here is 1e-5 (gauss6)
FAILURE = 1e-6


def residual(tableau: ImplicitTableau, weights, order: int, theta: float = 1.0) -> float:
    """Return the largest violation of the conditions of exactly this order."""
    return max(
        abs(
            math.fsum(w * phi for w, phi in zip(weights, elementary_weights(tree, tableau.a), strict=True))
            - theta**order / density(tree)
        )
        for tree in trees_of_order(order)
    )


def dense_weights(dense: DenseOutput, theta: float) -> list[float]:
    return [math.fsum(w * theta ** (p + 1) for p, w in enumerate(row)) for row in dense.coefficients]


def stability(tableau: ImplicitTableau, z: complex) -> complex:
    a, b, one = numpy.array(tableau.a), numpy.array(tableau.b), numpy.ones(tableau.stages)
    return complex(1 + z * b @ numpy.linalg.solve(numpy.eye(tableau.stages) - z * a, one))


def test_all_tableaus_are_tested_here() -> None:
    assert set(TABLEAUS) == set(ORDERS)


@each
def test_implicit_step_satisfies_all_conditions_up_to_its_order_and_violates_one_of_the_next(name: str) -> None:
    tableau, order = TABLEAUS[name], ORDERS[name][0]
    assert tableau.order == order
    assert max(residual(tableau, tableau.b, p) for p in range(1, order + 1)) <= TOLERANCE
    assert residual(tableau, tableau.b, order + 1) >= FAILURE


@each
def test_implicit_dense_output_satisfies_all_conditions_up_to_its_order_and_violates_one_of_the_next(name: str) -> None:
    tableau, order = TABLEAUS[name], ORDERS[name][1]
    assert tableau.dense.order == order
    for theta in (0.1, 0.3, 0.6, 0.85):
        weights = dense_weights(tableau.dense, theta)
        assert max(residual(tableau, weights, p, theta) for p in range(1, order + 1)) <= TOLERANCE
    weights = dense_weights(tableau.dense, 0.3)
    assert residual(tableau, weights, order + 1, 0.3) >= FAILURE


@each
def test_stability_function_is_bounded_by_one_on_the_imaginary_axis_and_has_its_poles_on_the_right(name: str) -> None:
    # by the maximum principle the two together are A-stability
    tableau = TABLEAUS[name]
    points = [stability(tableau, 1j * 10.0**exponent) for exponent in numpy.linspace(-3, 6, 200)]
    assert max(map(abs, points)) <= 1 + 1e-12
    rates = numpy.linalg.eigvals(numpy.array(tableau.a))  # the poles are their reciprocals
    assert (rates.real > -1e-14).all()


@each
def test_limit_of_the_stability_function_is_zero_exactly_for_the_l_stable_methods(name: str) -> None:
    limit = abs(stability(TABLEAUS[name], -1e9))
    assert limit == pytest.approx(0.0 if name in L_STABLE else 1.0, abs=1e-6)
    assert TABLEAUS[name].stiffly_accurate == (name in L_STABLE or name == "TRAPEZOID")


@each
def test_symplecticity_condition_holds_exactly_for_the_gauss_methods(name: str) -> None:
    a, b = numpy.array(TABLEAUS[name].a), numpy.array(TABLEAUS[name].b)
    defect = numpy.abs(b[:, None] * a + b[None, :] * a.T - numpy.outer(b, b)).max()
    assert (defect < 1e-15) == (name in SYMPLECTIC)


def test_radau_coefficients_equal_the_published_ones() -> None:
    root = math.sqrt(6)
    expected = (
        ((88 - 7 * root) / 360, (296 - 169 * root) / 1800, (-2 + 3 * root) / 225),
        ((296 + 169 * root) / 1800, (88 + 7 * root) / 360, (-2 - 3 * root) / 225),
        ((16 - root) / 36, (16 + root) / 36, 1 / 9),
    )
    for row, published in zip(implicit.RADAU_IIA5.a, expected, strict=True):
        assert row == pytest.approx(published, rel=0, abs=1e-16)


WRONG = [
    ({"c": ()}, "c has 0 entries"),
    ({"b": (1.0,)}, "b has 1 entries, expected 2"),
    ({"a": ((1.0,), (0.5, 0.5))}, "a[0] has 1 entries, expected 2"),
    ({"b": (math.nan, 0.5)}, "b[0] is nan"),
    ({"order": 0}, "order is 0"),
    ({"source": ""}, "source is empty"),
    ({"a": ((0.0, 0.0), (0.5, 0.6))}, "sum of a[1] is 1.1, expected 1.0"),
    ({"b": (0.5, 0.6)}, "sum of b is 1.1"),
    ({"b": (0.4, 0.6)}, "sum of dense.coefficients[0] is 0.5, expected 0.4"),
    ({"dense": DenseOutput(((1.0,),), 1)}, "dense.coefficients has 1 entries"),
]


@pytest.mark.parametrize(("wrong", "message"), WRONG, ids=[message for _, message in WRONG])
def test_corrupted_implicit_tableau_is_rejected_with_the_field_and_both_values(wrong, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        dataclasses.replace(implicit.TRAPEZOID, **wrong)
