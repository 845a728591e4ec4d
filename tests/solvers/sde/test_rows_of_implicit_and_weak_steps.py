"""Drift-implicit and weak methods step every sample over a span of its own as they step it alone."""

import pytest
import torch

import nde

TS = torch.tensor([[0.0, 1.0], [0.0, 0.5], [0.2, 0.9], [0.1, 1.0]], dtype=torch.float64)
Y0 = torch.linspace(-1, 1, 8, dtype=torch.float64).view(4, 2)


def drift(t, y):
    return torch.cos(t) * y.flip(-1) - y**3


def diffusion(t, y):
    return torch.stack([torch.sin(y + k * t) / 2 + y.flip(-1) / 10 for k in range(3)], -1)


@pytest.mark.parametrize(
    ("method", "noise"),
    [
        (method, noise)
        for method in ("implicit_euler", "implicit_milstein", "dri1", "ri6")
        for noise in ("diagonal", "general")
        if (method, noise) != ("implicit_milstein", "general")
    ],
)
def test_samples_with_spans_of_their_own_are_solved_as_alone_with_their_gradients(method, noise) -> None:
    shape = (4, 2) if noise == "diagonal" else (4, 3)
    path = nde.BrownianPath(0.0, 1.0, shape, seed=2, dtype=torch.float64)
    given = (lambda t, y: torch.cos(y)) if noise == "diagonal" else diffusion

    def solve(y0, ts, path, **options):
        controller = nde.FixedStep(0.125)
        return nde.solve_sde(
            drift, given, y0, ts, noise=noise, method=method, path=path, controller=controller, **options
        ).y1

    y0 = Y0.clone().requires_grad_()
    together = solve(y0, TS, path, per_sample=True)
    (gradient,) = torch.autograd.grad(together.square().sum(), y0)
    for row in range(4):
        y0 = Y0[row : row + 1].clone().requires_grad_()
        alone = solve(y0, TS[row], path[row : row + 1])
        (own,) = torch.autograd.grad(alone.square().sum(), y0)
        torch.testing.assert_close(together[row], alone[0], rtol=1e-12, atol=1e-13)
        torch.testing.assert_close(gradient[row], own[0], rtol=1e-10, atol=1e-12)
