"""Derivatives by output times: in forward mode, and where output times coincide with other ends of steps."""

from __future__ import annotations

import pytest
import torch

import nde

KINDS = [{}, {"dense": True}, {"per_sample": True}]


def swing(t: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return -y * torch.cos(t)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("adjoint", ["direct", "discrete"])
def test_forward_mode_and_reverse_mode_agree_on_derivatives_by_times(adjoint, kind) -> None:
    ts = torch.tensor([0.0, 0.4, 1.0], dtype=torch.float64)
    along = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)

    def outputs(ts: torch.Tensor) -> torch.Tensor:
        y0 = torch.tensor([[1.0], [2.0]], dtype=torch.float64)
        return nde.solve_ode(swing, y0, ts, adjoint=adjoint, **kind).ys

    forward = torch.func.jvp(outputs, (ts,), (along,))[1]
    reverse = torch.autograd.functional.jacobian(outputs, ts) @ along
    # the same derivatives of the same steps
    torch.testing.assert_close(forward, reverse, rtol=1e-12, atol=1e-12)
    assert forward.abs().sum() > 1


@pytest.mark.parametrize("options", [{"controller": nde.FixedStep(0.25)}, {"step_ts": (0.5,)}])
@pytest.mark.parametrize("kind", KINDS[1:])
@pytest.mark.parametrize("adjoint", ["direct", "discrete", "backsolve"])
def test_an_output_time_that_happens_to_be_the_end_of_a_step_has_its_own_derivative(adjoint, kind, options) -> None:
    ts = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64, requires_grad=True)
    y0 = torch.tensor([[1.0], [2.0]], dtype=torch.float64)
    sol = nde.solve_ode(swing, y0, ts, adjoint=adjoint, **kind, **options)
    (grad,) = torch.autograd.grad(sol.ys[1].sum(), ts)
    slope = swing(ts[1], sol.ys[1]).sum()
    # the derivative of the interpolant at the end of a step is the field there, to its order
    torch.testing.assert_close(grad[1], slope, rtol=1e-6, atol=0)
    # and the initial time delays the solution: by its slope there, carried along, of which the integral is known
    behind = (y0 * torch.exp(-torch.sin(ts[1]))).sum()
    torch.testing.assert_close(grad[0], behind.detach(), rtol=1e-3, atol=0)
    assert grad[2] == 0


def test_times_may_be_whole_numbers() -> None:
    y0 = torch.ones(2, 1, dtype=torch.float64)
    sol = nde.solve_ode(lambda t, y: -y, y0, torch.tensor([[0, 1], [0, 2]]), per_sample=True, rtol=1e-8, atol=1e-8)
    assert sol.t1.tolist() == [1.0, 2.0]
    assert sol.t1.dtype == torch.float64
    # a hundred times the tolerance
    torch.testing.assert_close(sol.y1[:, 0], torch.tensor([-1.0, -2.0], dtype=torch.float64).exp(), rtol=1e-6, atol=0)
