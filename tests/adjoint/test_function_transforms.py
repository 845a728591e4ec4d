"""Function transforms over a solve give the derivatives of its closed form."""

import math

import pytest
import torch

import nde

# y' = -y cos t: y(1) = y(0) exp(-sin 1)
DECAY = math.exp(-math.sin(1.0))
each_adjoint = pytest.mark.parametrize("adjoint", ["direct", "discrete"])
Y0 = torch.tensor([0.3, 0.9, 1.4], dtype=torch.float64)


def end_state(y0, adjoint):
    return nde.solve_ode(lambda t, y: -y * t.cos(), y0, (0.0, 1.0), rtol=1e-9, atol=1e-9, adjoint=adjoint).y1


def close(found, wanted):
    # the global error of a solve at tolerance 1e-9
    torch.testing.assert_close(found, wanted, rtol=1e-7, atol=1e-8)


@each_adjoint
def test_func_grad_over_a_solve(adjoint):
    found = torch.func.grad(lambda y0: end_state(y0, adjoint).square().sum())(Y0)
    close(found, 2 * DECAY**2 * Y0)


@each_adjoint
@pytest.mark.parametrize("recording", [True, False])
def test_func_jvp_over_a_solve(adjoint, recording):
    direction = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    with torch.set_grad_enabled(recording):
        value, tangent = torch.func.jvp(lambda y0: end_state(y0, adjoint), (Y0,), (direction,))
    close(value, DECAY * Y0)
    close(tangent, DECAY * direction)


@each_adjoint
def test_func_jacrev_over_a_solve(adjoint):
    found = torch.func.jacrev(lambda y0: end_state(y0, adjoint))(Y0)
    close(found, DECAY * torch.eye(3, dtype=torch.float64))


@each_adjoint
def test_forward_mode_over_a_solve(adjoint):
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(Y0, torch.ones_like(Y0))
        tangent = torch.autograd.forward_ad.unpack_dual(end_state(dual, adjoint)).tangent
    close(tangent, torch.full_like(Y0, DECAY))


@each_adjoint
def test_hessian_over_a_solve(adjoint):
    found = torch.autograd.functional.hessian(lambda y0: end_state(y0, adjoint).pow(3).sum(), Y0)
    close(found, torch.diag(6 * DECAY**3 * Y0))


@pytest.mark.parametrize("options", [{}, {"per_sample": True}, {"method": "rk4", "controller": nde.FixedStep(0.1)}])
def test_vmap_over_a_solve_is_refused_with_the_way_out(options):
    def end(y0):
        return nde.solve_ode(lambda t, y: -y, y0[None], (0.0, 1.0), **options).y1

    def end_of_rate(rate):
        return nde.solve_ode(lambda t, y, rate: -rate * y, Y0[:, None], (0.0, 1.0), (rate,), **options).y1

    with pytest.raises(RuntimeError, match="per_sample=True"):
        torch.func.vmap(end)(Y0[:, None])
    with pytest.raises(RuntimeError, match="PerSample"):
        torch.func.vmap(end_of_rate)(Y0)
