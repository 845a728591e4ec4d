"""The planner is exact (against derivatives of monomials by hand) and minimal where the minimum is known."""

import itertools
import math
from fractions import Fraction

import pytest

from nde.taylor.operators import Target, plan
from nde.taylor.operators.polarisation import monomial_directions
from nde.taylor.operators.rational import catalecticant_rank, rank, solve


def single(*index):
    return Target.of({index: 1})


def taylor_coefficient(monomial, direction, order):
    """The coefficient of s^order in prod_i (1 + s direction_i)^monomial_i, expanded with integers."""
    series = [1]
    for power, slope in zip(monomial, direction, strict=True):
        factor = [math.comb(power, k) * slope**k for k in range(power + 1)]
        product = [0] * (len(series) + len(factor) - 1)
        for (i, a), (j, b) in itertools.product(enumerate(series), enumerate(factor)):
            product[i + j] += a * b
        series = product
    return series[order] if order < len(series) else 0


def monomial_derivative(monomial, index):
    """The derivative d^index of x^monomial at x = (1, ..., 1)."""
    return math.prod(math.perm(power, count) for power, count in zip(monomial, index, strict=True))


def prove(targets):
    """Every target of every monomial of total degree up to two above the order comes out exactly, in integers."""
    found = plan(tuple(targets))
    variables = len(targets[0].terms[0][0])
    for target, weights in zip(targets, found.weights, strict=True):
        for monomial in itertools.product(range(target.order + 3), repeat=variables):
            if sum(monomial) > target.order + 2:
                continue
            exact = sum(value * monomial_derivative(monomial, index) for index, value in target.terms)
            planned = sum(
                weight * taylor_coefficient(monomial, direction, target.order)
                for weight, direction in zip(weights, found.directions, strict=True)
            )
            assert planned == exact
        for weight, order in zip(weights, found.orders, strict=True):
            assert not weight or order >= target.order
    return found


def test_every_mixed_partial_of_two_variables_up_to_order_six_is_exact():
    for order in range(1, 7):
        for first in range(order + 1):
            prove([single(first, order - first)])


def test_every_mixed_partial_of_three_variables_up_to_order_four_is_exact():
    for index in itertools.product(range(5), repeat=3):
        if 1 <= sum(index) <= 4:
            prove([single(*index)])


# the real Waring rank of x^a y^b is a + b (Boij, Carlini, Geramita 2011), that of xyz is 4 and that of xyzw is 8
@pytest.mark.parametrize(
    ("index", "count"),
    [
        ((1, 1), 2),
        ((2, 1), 3),
        ((3, 1), 4),
        ((2, 2), 4),
        ((4, 1), 5),
        ((3, 2), 5),
        ((3, 3), 6),
        ((4, 0), 1),
        ((1, 1, 1), 4),
        ((1, 1, 1, 1), 8),
        ((0, 2, 1), 3),
    ],
)
def test_a_single_derivative_takes_as_few_directions_as_its_waring_rank(index, count):
    assert len(prove([single(*index)]).directions) == count


def test_a_sum_takes_fewer_directions_than_its_terms():
    bilaplacian = Target.of({(4, 0): 1, (2, 2): 2, (0, 4): 1})
    assert len(prove([bilaplacian]).directions) == 4
    square = Target.of({(2, 0): 1, (1, 1): 2, (0, 2): 1})  # (d_x + d_y)^2
    assert prove([square]).directions == ((1, 1),)


def test_lower_orders_reuse_the_directions_of_higher_ones():
    found = prove([single(1, 0), single(2, 0), single(3, 0), single(4, 0)])
    assert found.directions == ((1, 0),)
    assert found.orders == (4,)


def test_known_equations_take_few_directions():
    kdv = [single(0, 1, 1), single(3, 1, 0), single(1, 0, 0), single(0, 1, 0), single(1, 1, 0), single(2, 0, 0)]
    found = prove([*kdv, single(0, 2, 0)])
    assert sorted(found.orders) == [2, 2, 4, 4, 4, 4]
    kp = [single(1, 0, 1), single(1, 0, 0), single(2, 0, 0), single(4, 0, 0), single(0, 2, 0)]
    assert sorted(prove(kp).orders) == [2, 2, 2, 4]


def test_the_polarisation_identity_holds_every_derivative():
    for index in [(2, 1, 1), (1, 2, 3), (5, 2), (1, 1, 1, 2)]:
        order = sum(index)
        directions = monomial_directions(index)
        indices = [m for m in itertools.product(range(order + 1), repeat=len(index)) if sum(m) == order]
        columns = [
            [Fraction(math.prod(v**a for v, a in zip(direction, m, strict=True))) for m in indices]
            for direction in directions
        ]
        side = [Fraction(math.prod(map(math.factorial, index)) if m == index else 0) for m in indices]
        assert solve(columns, [side]) is not None


def test_four_variables_of_order_five_are_exact_where_no_search_is_possible():
    prove([single(1, 2, 1, 1), single(2, 0, 1, 1)])


def test_exact_linear_algebra():
    columns = [[Fraction(1), Fraction(0), Fraction(2)], [Fraction(0), Fraction(3), Fraction(0)]]
    assert solve(columns, [[Fraction(2), Fraction(1), Fraction(4)]]) == [(Fraction(2), Fraction(1, 3))]
    assert solve(columns, [[Fraction(2), Fraction(1), Fraction(5)]]) is None
    assert rank([[Fraction(1), Fraction(2)], [Fraction(2), Fraction(4)]]) == 1
    assert catalecticant_rank((((2, 2), Fraction(1)),), 4) == 3  # the complex Waring rank of x^2 y^2


def test_bad_targets_are_named():
    with pytest.raises(ValueError, match="orders \\[1, 2\\]"):
        Target.of({(1, 0): 1, (1, 1): 1})
    with pytest.raises(ValueError, match="orders \\[0\\]"):
        Target.of({(0, 0): 1})
    with pytest.raises(ValueError, match="lengths \\[2, 3\\]"):
        plan((single(1, 0), single(1, 0, 0)))
