"""Tableaus of the implicit Runge-Kutta methods: Gauss, Radau IIA, and the diagonally implicit ones of order 1 and 2.

Data only, built on `nde.solvers.implicit_tableau`. Collocation methods are computed from their nodes, which are given in
closed form; the sums of the Lagrange polynomials are exact rational operations on correctly rounded nodes, so that the
coefficients are right to the last bits. All methods are A-stable; implicit Euler, SDIRK2, TR-BDF2 and Radau IIA are
L-stable too, and the Gauss methods, of which the implicit midpoint rule is the first, are symplectic.
"""

from __future__ import annotations

from decimal import Context, Decimal
from fractions import Fraction

from nde.solvers.implicit_tableau import ImplicitTableau
from nde.solvers.tableau import DenseOutput

__all__ = [
    "GAUSS4",
    "GAUSS6",
    "IMPLICIT_EULER",
    "IMPLICIT_MIDPOINT",
    "RADAU_IIA3",
    "RADAU_IIA5",
    "SDIRK2",
    "TRAPEZOID",
    "TRBDF2",
]

# forty digits: what is left of them after sums of a few terms is far below the rounding of double precision
_DIGITS = Context(prec=40)


def _root(value: int) -> Fraction:
    """Return the square root of ``value`` to forty digits."""
    return Fraction(_DIGITS.sqrt(Decimal(value)))


def _lagrange(nodes: list[Fraction], index: int) -> list[Fraction]:
    """Return the coefficients, lowest first, of the polynomial that is 1 at one node and 0 at the others."""
    polynomial = [Fraction(1)]
    for other, node in enumerate(nodes):
        if other == index:
            continue
        scale = nodes[index] - node
        shifted = [Fraction(0), *polynomial]
        kept = [*(-node * value for value in polynomial), Fraction(0)]
        polynomial = [(high + low) / scale for high, low in zip(shifted, kept, strict=True)]
    return polynomial


def _collocation(nodes: list[Fraction], order: int, source: str) -> ImplicitTableau:
    """Return the collocation method with these nodes; its polynomial is the continuous extension.

    The polynomial has the slope of stage ``i`` at node ``i``, so that ``b_i(theta)`` is the integral of the Lagrange
    polynomial of the node, ``a_ij = b_j(c_i)`` and ``b_i = b_i(1)`` (Hairer, Norsett, Wanner, Solving ODEs I, II.7).
    """
    integrals = [
        [value / (power + 1) for power, value in enumerate(_lagrange(nodes, index))] for index in range(len(nodes))
    ]

    def weights(theta: Fraction) -> tuple[float, ...]:
        return tuple(float(sum(value * theta ** (power + 1) for power, value in enumerate(row))) for row in integrals)

    return ImplicitTableau(
        c=tuple(float(node) for node in nodes),
        a=tuple(weights(node) for node in nodes),
        b=weights(Fraction(1)),
        order=order,
        source=source,
        dense=DenseOutput(tuple(tuple(float(value) for value in row) for row in integrals), order=len(nodes)),
    )


_GAUSS = "Kuntzmann (1961), Z. Angew. Math. Mech. 41, T28-T31; Butcher (1964), Math. Comp. 18, 50-64; nodes: Legendre"
_RADAU = "Ehle (1969), Univ. of Waterloo, CSRR 2010; Hairer, Wanner, Solving ODEs II, IV.5"

IMPLICIT_EULER = _collocation([Fraction(1)], 1, "Hairer, Wanner, Solving ODEs II, IV.3")
IMPLICIT_MIDPOINT = _collocation([Fraction(1, 2)], 2, _GAUSS)
GAUSS4 = _collocation([Fraction(1, 2) - _root(3) / 6, Fraction(1, 2) + _root(3) / 6], 4, _GAUSS)
GAUSS6 = _collocation([Fraction(1, 2) - _root(15) / 10, Fraction(1, 2), Fraction(1, 2) + _root(15) / 10], 6, _GAUSS)
RADAU_IIA3 = _collocation([Fraction(1, 3), Fraction(1)], 3, _RADAU)
RADAU_IIA5 = _collocation([(4 - _root(6)) / 10, (4 + _root(6)) / 10, Fraction(1)], 5, _RADAU)
# Lobatto IIIA with two stages: collocation at both ends
TRAPEZOID = _collocation([Fraction(0), Fraction(1)], 2, "Ehle (1969); Hairer, Wanner, Solving ODEs II, IV.5")


def _sdirk2() -> ImplicitTableau:
    """Return Alexander's two-stage method.

    The two conditions of order 2, ``sum b_i(theta) = theta`` and ``sum b_i(theta) c_i = theta**2 / 2``, determine the
    continuous extension.
    """
    gamma = 1 - _root(2) / 2
    first, second, square = float(1 - gamma), float(gamma), float(1 / (2 * (1 - gamma)))
    linear = float(-gamma / (1 - gamma))
    return ImplicitTableau(
        c=(second, 1.0),
        a=((second, 0.0), (first, second)),
        b=(first, second),
        order=2,
        source="Alexander (1977), SIAM J. Numer. Anal. 14, 1006-1021",
        dense=DenseOutput(((float(1 + gamma / (1 - gamma)), -square), (linear, square)), order=2),
    )


def _trbdf2() -> ImplicitTableau:
    """Return the trapezoid to ``t + g h`` followed by the second backward difference formula, with ``g = 2 - sqrt(2)``.

    The continuous extension is the quadratic that matches ``y`` and its slope at the start and the step at the end.
    """
    node = 2 - _root(2)
    half, outer = float(node / 2), float(_root(2) / 4)
    b = (outer, outer, half)
    return ImplicitTableau(
        c=(0.0, float(node), 1.0),
        a=((0.0, 0.0, 0.0), (half, half, 0.0), b),
        b=b,
        order=2,
        source="Bank et al. (1985), IEEE Trans. CAD 4, 436-451; Hosea, Shampine (1996), Appl. Numer. Math. 20, 21-37",
        dense=DenseOutput(((1.0, outer - 1.0), (0.0, outer), (0.0, half)), order=2),
    )


SDIRK2 = _sdirk2()
TRBDF2 = _trbdf2()
