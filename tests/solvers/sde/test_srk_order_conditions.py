"""The coefficients satisfy Roessler's conditions of strong order 1.5, and wrong ones are refused."""

import dataclasses

import numpy
import pytest

from nde.solvers.sde import srk_tables
from nde.solvers.sde.srk_tableau import SRATableau, SRITableau

SRI = ("SRIW1", "SRIW2", "SOSRI", "SOSRI2")
SRA = ("SRA1", "SRA3", "SOSRA", "SOSRA2")
# the coefficients of the SOS methods come from an optimizer, and hold the conditions to its tolerance
ROUNDING = 1e-8


def full(rows):
    count = len(rows) + 1
    matrix = numpy.zeros((count, count))
    for index, row in enumerate(rows, start=1):
        matrix[index, : len(row)] = row
    return matrix


@pytest.mark.parametrize("name", SRI)
def test_conditions_of_methods_for_diagonal_noise(name) -> None:
    # Roessler (2010), theorem 5.1
    tableau = getattr(srk_tables, name)
    a0, a1, b0, b1 = (full(getattr(tableau, key)) for key in ("a0", "a1", "b0", "b1"))
    alpha = numpy.array(tableau.alpha)
    betas = [numpy.array(getattr(tableau, f"beta{k}")) for k in (1, 2, 3, 4)]
    one = numpy.ones(4)
    noise, both = b1 @ one, b1 @ (b1 @ one)
    found = [alpha @ one, alpha @ (a0 @ one), alpha @ (b0 @ one), alpha @ (b0 @ one) ** 2]
    wanted = [1, 1 / 2, 1, 3 / 2]
    for vector, totals in (
        (one, (1, 0, 0, 0)),
        (noise, (0, 1, 0, 0)),
        (a1 @ one, (1, 0, -1, 0)),
        (noise**2, (1, 0, -1, 2)),
        (both, (0, 0, 0, 1)),
    ):
        found += [beta @ vector for beta in betas]
        wanted += totals
    mixed = a1 @ (b0 @ one)
    found.append(betas[0] @ mixed / 2 + betas[2] @ mixed / 3)
    wanted.append(0)
    numpy.testing.assert_allclose(found, wanted, rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("name", SRA)
def test_conditions_of_methods_for_additive_noise(name) -> None:
    # Roessler (2010), theorem 6.1
    tableau = getattr(srk_tables, name)
    a0, b0 = full(tableau.a0), full(tableau.b0)
    alpha, beta1, beta2, c1 = (numpy.array(getattr(tableau, key)) for key in ("alpha", "beta1", "beta2", "c1"))
    one = numpy.ones(len(alpha))
    found = [
        alpha @ one, beta1 @ one, beta2 @ one, alpha @ (b0 @ one), alpha @ (a0 @ one), alpha @ (b0 @ one) ** 2,
        beta1 @ c1, beta2 @ c1,
    ]  # fmt: skip
    numpy.testing.assert_allclose(found, [1, 1, 0, 1, 1 / 2, 3 / 2, 1, -1], rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("name", [*SRI, *SRA])
def test_stages_of_a_stiffness_estimate_lie_at_one_time(name) -> None:
    tableau = getattr(srk_tables, name)
    if tableau.stiffness_stages is not None:
        low, high = tableau.stiffness_stages
        assert tableau.c0[low] == pytest.approx(tableau.c0[high], abs=1e-12)


@pytest.mark.parametrize("name", [*SRI, *SRA])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"alpha": (0.5,)}, "must have 1 entries"),
        ({"a0": ((1.0,),) * 5}, "a0 must have rows"),
        ({"beta1": None}, "beta1 must sum to 1"),
        ({"c0": None}, "of a0 must sum to c0"),
    ],
)
def test_coefficients_that_contradict_each_other_are_refused(name, changes, message) -> None:
    tableau = getattr(srk_tables, name)
    assert isinstance(tableau, SRATableau | SRITableau)
    changes = {
        key: tuple(entry + 0.25 for entry in getattr(tableau, key)) if value is None else value
        for key, value in changes.items()
    }
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(tableau, **changes)
