"""Gradients of one solve by any adjoint, and what they may be taken of."""

import pytest
import torch

import nde
from tests.problems import ADJOINTS, Net, double

# Both sum the same products in another order: a few hundred roundings of 1e-16 of the largest entry.
ROUNDING = 1e-12
# Penalties differentiate the embedded difference, which loses the digits of the tolerance (1e-6): 1e-16 / 1e-6.
ROUNDING_OF_ERRORS = 1e-8

# with tapes of the last steps and a replay of the others, and with a replay of all
each_discrete = pytest.mark.parametrize(
    "adjoint", [ADJOINTS["few tapes"], ADJOINTS["replay"]], ids=["few tapes", "replay"]
)

CONTROLLERS = {
    "fixed": lambda: nde.FixedStep(0.17),
    "to outputs": lambda: nde.StepTo(),
    "to times": lambda: nde.StepTo((-0.9, -0.4, 0.0, 0.3, 0.5, 0.75, 1.1)),
}


def assert_equal(left, right, tolerance: float) -> None:
    """Compare gradients relative to the largest entry of each."""
    assert len(left) == len(right)
    for ours, theirs in zip(left, right, strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None:
            scale = max(float(theirs.abs().max()), 1e-30)
            torch.testing.assert_close(ours / scale, theirs / scale, rtol=0, atol=tolerance)


def gradients(adjoint, use, times, **options):
    """Return the gradients of ``use(solution)`` by the state, the times, the arguments and the parameters."""
    net = Net(size=3)
    y0 = torch.linspace(-1, 1, 6, dtype=torch.float64).reshape(2, 3).requires_grad_()
    ts = double(*times).requires_grad_()
    scale = double(0.7).requires_grad_()
    solution = nde.solve_ode(
        lambda t, y, scale: net(t, y) * scale - 0.1 * y, y0, ts, (scale,), adjoint=adjoint, local_errors=True, **options
    )
    found = torch.autograd.grad(use(solution), [y0, ts, scale, *net.parameters()], allow_unused=True)
    return solution, found


def weigh(value: torch.Tensor) -> torch.Tensor:
    """Return a scalar in which every entry has a weight of its own."""
    return (value * torch.linspace(0.5, 1.5, value.numel(), dtype=value.dtype).reshape(value.shape)).sum()


USES = {
    "all states": lambda s: weigh(s.ys),
    "last state": lambda s: weigh(s.y1),
    "first output": lambda s: weigh(s.ys[0]),
    "inner output": lambda s: weigh(s.ys[1]),
    "error": lambda s: weigh(s.steps.error),
    "one error": lambda s: s.steps.error[1],
    "stiffness": lambda s: weigh(s.steps.stiffness),
    "error vectors": lambda s: weigh(s.steps.local_error),
    "states, error and stiffness": lambda s: (
        weigh(s.ys) + weigh(s.y1.square()) + weigh(s.steps.error) + weigh(s.steps.stiffness.square())
    ),
}


def has(method: str, use: str) -> bool:
    """Return whether a method has the estimates that a use reads."""
    facts = nde.solvers.find_method(method)
    return (facts.error_order is not None or "error" not in use) and (facts.has_stiffness or "stiffness" not in use)
