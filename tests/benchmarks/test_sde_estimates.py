"""The error penalty of the published stochastic experiments is one on the kinetic energy of the drift."""

import pytest

from benchmarks import sde_estimates


@pytest.mark.slow
def test_its_gradient_is_that_of_an_explicit_kinetic_penalty_and_not_of_an_embedded_estimate() -> None:
    model = sde_estimates.Spiral(0)
    sde_estimates.fit(model, 150)
    found = sde_estimates.compare(model)
    assert found.steps > 3 * found.embedded_steps
    explicit = "4 h^2 rms(f / scale)"
    assert abs(found.values[explicit] / found.values["reference"] - 1) < 0.1
    assert found.cosines[explicit] > 0.98
    assert found.cosines["kinetic energy"] > 0.85
    assert abs(found.cosines["embedded"]) < 0.4
    assert found.values["embedded"] < 0.1 * found.values["reference"]


def test_the_table_is_printed(capsys) -> None:
    sde_estimates.main(["--seeds", "1", "--iterations", "1"])
    assert capsys.readouterr().out.count("\n") == 10
