"""Looking at a solution without gradients loses none of a later look, and makes up none that were never there."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

import nde

READERS: dict[str, Callable[[nde.Solution], torch.Tensor]] = {
    "ys": lambda sol: sol.ys,
    "y1": lambda sol: sol.y1,
    "dense": lambda sol: sol(0.3),
    "derivative": lambda sol: sol.derivative(0.3),
    "event times": lambda sol: sol.events[0].t,
    "event states": lambda sol: sol.events[0].y,
    "ends of steps": lambda sol: sol.steps.y,
}


def solve(rate: torch.Tensor, adjoint: str, kind: str) -> nde.Solution:
    options: dict[str, object] = {"adjoint": adjoint}
    if kind != "plain":
        half = nde.Event(lambda t, y: y[..., 0] - 0.8, terminal=False)
        options.update(dense=True, events=half, per_sample=kind == "per sample", save=lambda t, y: rate * y)
    return nde.solve_ode(lambda t, y: -rate * y, torch.ones(2, 1, dtype=torch.float64), (0.0, 0.4, 1.0), **options)


@pytest.mark.parametrize("kind", ["plain", "whole", "per sample"])
@pytest.mark.parametrize("adjoint", ["direct", "discrete", "backsolve"])
def test_a_look_without_gradients_takes_none_from_a_later_one(adjoint, kind) -> None:
    rate = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    for name, read in READERS.items():
        if kind == "plain" and name not in ("ys", "y1"):
            continue
        (expected,) = torch.autograd.grad(read(solve(rate, adjoint, kind)).sum(), rate, materialize_grads=True)
        seen = solve(rate, adjoint, kind)
        with torch.no_grad():
            read(seen)
        (found,) = torch.autograd.grad(read(seen).sum(), rate, materialize_grads=True)
        # the same operations
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("kind", ["plain", "whole", "per sample"])
@pytest.mark.parametrize("adjoint", ["direct", "discrete"])
def test_a_solve_without_gradients_has_none_when_it_is_looked_at_with_them(adjoint, kind) -> None:
    rate = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    with torch.no_grad():
        sol = solve(rate, adjoint, kind)
    for name, read in READERS.items():
        if kind != "plain" or name in ("ys", "y1"):
            assert not read(sol).requires_grad, name
    if kind != "plain":  # but for that of the time that is asked for
        t = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
        (grad,) = torch.autograd.grad(sol(t).sum(), t)
        torch.testing.assert_close(grad, sol.derivative(0.3).sum(), rtol=1e-12, atol=0)
