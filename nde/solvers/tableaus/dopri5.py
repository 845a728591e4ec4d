"""Tableau of the Dormand-Prince pair of order 5(4) with Shampine's continuous extension of order 4.

Data only, built on ``nde.solvers.tableau``; the explicit solvers read it.
"""

from nde.solvers.tableau import ButcherTableau, DenseOutput

_B = (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84)

DOPRI5 = ButcherTableau(
    c=(0.0, 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0, 1.0),
    a=(
        (1 / 5,),
        (3 / 40, 9 / 40),
        (44 / 45, -56 / 15, 32 / 9),
        (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
        (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
        _B,
    ),
    b=(*_B, 0.0),
    order=5,
    source=(
        "Dormand, Prince (1980), J. Comput. Appl. Math. 6, 19-26; embedded row and dense output: "
        "Shampine (1986), Math. Comp. 46, 135-150"
    ),
    # Shampine's embedded weights 1951/21600, 0, 22642/50085, 451/720, -12231/42400, 649/6300, 1/60: two thirds of the
    # original estimate, and what torchdiffeq and diffrax use, so that a tolerance means the same here as there
    errors=(
        (
            35 / 384 - 1951 / 21600,
            0.0,
            500 / 1113 - 22642 / 50085,
            125 / 192 - 451 / 720,
            -2187 / 6784 + 12231 / 42400,
            11 / 84 - 649 / 6300,
            -1 / 60,
        ),
    ),
    embedded_orders=(4,),
    dense=DenseOutput(
        coefficients=(
            (1.0, -8048581381 / 2820520608, 8663915743 / 2820520608, -12715105075 / 11282082432),
            (0.0, 0.0, 0.0, 0.0),
            (0.0, 131558114200 / 32700410799, -68118460800 / 10900136933, 87487479700 / 32700410799),
            (0.0, -1754552775 / 470086768, 14199869525 / 1410260304, -10690763975 / 1880347072),
            (0.0, 127303824393 / 49829197408, -318862633887 / 49829197408, 701980252875 / 199316789632),
            (0.0, -282668133 / 205662961, 2019193451 / 616988883, -1453857185 / 822651844),
            (0.0, 40617522 / 29380423, -110615467 / 29380423, 69997945 / 29380423),
        ),
        order=4,
    ),
    stiffness_stages=(5, 6),
)
