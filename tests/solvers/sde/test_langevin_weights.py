"""The weights of Langevin methods are good to rounding for any friction, and so are their derivatives."""

import mpmath
import pytest
import torch

from nde.solvers.sde.langevin_weights import first_average, second_average, weight_of_h, weight_of_k

# around 2 * 3 the series gives way to closed forms
FRICTIONS = (1e-12, 1e-6, 1e-3, 0.1, 0.7, 2.0, 5.999, 6.001, 7.5, 20.0, 90.0, 2000.0)

EXACT = {
    first_average: lambda z: (1 - mpmath.exp(-z)) / z,
    second_average: lambda z: (mpmath.exp(-z) + z - 1) / z**2,
    weight_of_h: lambda z: 6 * (mpmath.exp(-z) * (z + 2) + z - 2) / z**3,
    weight_of_k: lambda z: 60 * (mpmath.exp(-z) * (z * (z + 6) + 12) - z * (z - 6) - 12) / z**4,
}


@pytest.mark.parametrize("weight", EXACT, ids=lambda weight: weight.__name__)
@pytest.mark.parametrize("kind", [float, lambda z: torch.tensor(z, dtype=torch.float64)], ids=["number", "tensor"])
def test_weights_are_those_of_120_digits(weight, kind) -> None:
    with mpmath.workdps(120):
        expected = [float(EXACT[weight](mpmath.mpf(z))) for z in FRICTIONS]
    # some ten operations, and a difference that loses less than a digit
    assert [float(weight(kind(z))) for z in FRICTIONS] == pytest.approx(expected, rel=5e-15)


@pytest.mark.parametrize("weight", EXACT, ids=lambda weight: weight.__name__)
def test_derivatives_by_the_friction_are_those_of_120_digits(weight) -> None:
    z = torch.tensor(FRICTIONS, dtype=torch.float64, requires_grad=True)
    (found,) = torch.autograd.grad(weight(z).sum(), z)
    with mpmath.workdps(120):
        expected = [float(mpmath.diff(EXACT[weight], mpmath.mpf(value))) for value in FRICTIONS]
    assert found.tolist() == pytest.approx(expected, rel=1e-13)
