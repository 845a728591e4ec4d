"""Tableau of the Bogacki-Shampine pair of order 3(2), the cheapest adaptive method with a free third-order output.

Data only, built on ``nde.solvers.tableau``; the explicit solvers read it.
"""

from nde.solvers.tableau import ButcherTableau, DenseOutput

_B = (2 / 9, 1 / 3, 4 / 9)

BOSH3 = ButcherTableau(
    c=(0.0, 1 / 2, 3 / 4, 1.0),
    a=((1 / 2,), (0.0, 3 / 4), _B),
    b=(*_B, 0.0),
    order=3,
    source="Bogacki, Shampine (1989), Appl. Math. Lett. 2, 321-325",
    # the embedded weights are 7/24, 1/4, 1/3, 1/8
    errors=((-5 / 72, 1 / 12, 1 / 9, -1 / 8),),
    embedded_orders=(2,),
    # cubic Hermite interpolation of both ends: the slopes are the first and the last stage
    dense=DenseOutput(
        coefficients=((1.0, -4 / 3, 5 / 9), (0.0, 1.0, -2 / 3), (0.0, 4 / 3, -8 / 9), (0.0, -1.0, 1.0)),
        order=3,
    ),
)
