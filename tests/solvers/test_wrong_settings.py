"""Settings of the wrong type are refused where they are made, by name."""

import pytest

import nde
from nde.adjoint import DiscreteAdjoint


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: nde.FixedStep("a"), "size"),
        (lambda: nde.FixedStep(True), "size"),
        (lambda: nde.PIDController(p="a"), "p"),
        (lambda: nde.PIController(i=None), "i"),
        (lambda: nde.IController(safety="0.9"), "safety"),
        (lambda: nde.PIDController(initial="a"), "initial"),
        (lambda: nde.StepTo(3), "times"),
        (lambda: DiscreteAdjoint("a"), "tape_memory"),
        (lambda: DiscreteAdjoint(1e6), "tape_memory"),
        (lambda: nde.register_method(3), "method"),
    ],
)
def test_settings_of_the_wrong_type_are_named(make, name: str) -> None:
    with pytest.raises(TypeError, match=f"^{name} must be"):
        make()
