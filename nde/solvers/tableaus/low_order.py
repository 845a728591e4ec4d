"""Tableaus of the classical low-order methods: Euler, midpoint, Heun, Ralston and the Runge-Kutta method of order 4.

Data only, built on ``nde.solvers.tableau``; the explicit solvers read them. The three methods of order 2 carry Euler's
method as their embedded solution, since it costs no further stage.
"""

from nde.solvers.tableau import ButcherTableau, DenseOutput

EULER = ButcherTableau(
    c=(0.0,),
    a=(),
    b=(1.0,),
    order=1,
    source="Euler (1768), Institutiones Calculi Integralis; Hairer, Norsett, Wanner, Solving ODEs I, II.1",
    dense=DenseOutput(coefficients=((1.0,),), order=1),
)


def _second_order(node: float, weights: tuple[float, float], source: str) -> ButcherTableau:
    """Return a two-stage method of order 2 with Euler's method embedded.

    Its continuous extension is the only quadratic that matches ``y``, ``f(t, y)`` at the start and the step at the
    end, and it is of order 2 for every such method.
    """
    first, second = weights
    return ButcherTableau(
        c=(0.0, node),
        a=((node,),),
        b=weights,
        order=2,
        source=source,
        errors=((first - 1.0, second),),
        embedded_orders=(1,),
        dense=DenseOutput(coefficients=((1.0, first - 1.0), (0.0, second)), order=2),
    )


MIDPOINT = _second_order(
    1 / 2, (0.0, 1.0), "Runge (1895), Math. Ann. 46, 167-178; Hairer, Norsett, Wanner, Solving ODEs I, II.1"
)

HEUN = _second_order(
    1.0, (1 / 2, 1 / 2), "Heun (1900), Z. Math. Phys. 45, 23-38; Hairer, Norsett, Wanner, Solving ODEs I, II.1"
)

# the two-stage method of order 2 with the smallest bound on the leading error term
RALSTON = _second_order(2 / 3, (1 / 4, 3 / 4), "Ralston (1962), Math. Comp. 16, 431-437")

RK4 = ButcherTableau(
    c=(0.0, 1 / 2, 1 / 2, 1.0),
    a=((1 / 2,), (0.0, 1 / 2), (0.0, 0.0, 1.0)),
    b=(1 / 6, 1 / 3, 1 / 3, 1 / 6),
    order=4,
    source="Kutta (1901), Z. Math. Phys. 46, 435-453; dense output: Zennaro (1986), Math. Comp. 46, 119-133",
    # order 3 is the most that four stages allow inside the step, and it determines the four polynomials uniquely
    dense=DenseOutput(
        coefficients=((1.0, -3 / 2, 2 / 3), (0.0, 1.0, -2 / 3), (0.0, 1.0, -2 / 3), (0.0, -1 / 2, 2 / 3)),
        order=3,
    ),
    stiffness_stages=(1, 2),
)

RK38 = ButcherTableau(
    c=(0.0, 1 / 3, 2 / 3, 1.0),
    a=((1 / 3,), (-1 / 3, 1.0), (1.0, -1.0, 1.0)),
    b=(1 / 8, 3 / 8, 3 / 8, 1 / 8),
    order=4,
    source="Kutta (1901), Z. Math. Phys. 46, 435-453, the 3/8 rule",
    # the cubic that matches states and slopes at both ends would take one more stage; these quadratics are of order 2
    dense=DenseOutput(
        coefficients=((1.0, -7 / 8), (0.0, 3 / 8), (0.0, 3 / 8), (0.0, 1 / 8)),
        order=2,
    ),
)

HEUN3 = ButcherTableau(
    c=(0.0, 1 / 3, 2 / 3),
    a=((1 / 3,), (0.0, 2 / 3)),
    b=(1 / 4, 0.0, 3 / 4),
    order=3,
    source="Heun (1900), Z. Math. Phys. 45, 23-38",
    dense=DenseOutput(coefficients=((1.0, -3 / 4), (0.0, 0.0), (0.0, 3 / 4)), order=2),
)

FEHLBERG2 = ButcherTableau(
    c=(0.0, 1 / 2, 1.0),
    a=((1 / 2,), (1 / 256, 255 / 256)),
    b=(1 / 512, 255 / 256, 1 / 512),
    order=2,
    source="Fehlberg (1969), NASA TR R-315, RKF1(2)",
    errors=((-1 / 512, 0.0, 1 / 512),),
    embedded_orders=(1,),
    dense=DenseOutput(coefficients=((1.0, -511 / 512), (0.0, 255 / 256), (0.0, 1 / 512)), order=2),
)
