"""On scattered points and the sphere as on uniform grids: precisions, mapped calls, derivatives, live parameters."""

import pytest
import torch

from nde.operators import LocalNO, PointCloud, SphereGrid, SpherePoints


def cases():
    torch.manual_seed(0)
    flat = LocalNO(1, 1, width=4, depth=2, modes=3, radii=(0.3,), regularized=(0.25,))
    globe = LocalNO(1, 1, width=4, depth=2, modes=None, coordinates=3, radii=(0.6,), regularized=(0.7,))
    on_sphere = torch.nn.functional.normalize(torch.randn(100, 3, dtype=torch.float64), dim=1)
    return {
        "points": (flat, PointCloud(torch.rand(100, 2, dtype=torch.float64)), (100,)),
        "sphere": (globe, SphereGrid("gauss"), (12, 16)),
        "points-on-sphere": (globe, SpherePoints(on_sphere), (100,)),
    }


@pytest.fixture(params=["points", "sphere", "points-on-sphere"])
def case(request):
    return cases()[request.param]


def test_autocast_gives_the_output_of_single_precision_to_short_digits(case):
    model, grid, shape = case
    x = torch.randn(2, 1, *shape)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = model(x, grid=grid)
    out.float().square().mean().backward()
    exact = model(x, grid=grid).detach()
    assert out.dtype == torch.bfloat16  # of the last map
    assert float((out.float() - exact).detach().norm()) < 0.02 * float(exact.norm())
    assert all(bool(torch.isfinite(parameter.grad).all()) for parameter in model.parameters())


def test_every_parameter_has_an_effect(case):
    model, grid, shape = case
    model.double()(torch.randn(4, 1, *shape, dtype=torch.float64), grid=grid).square().sum().backward()
    assert all(bool((parameter.grad != 0).all()) for parameter in model.parameters())


def test_mapped_calls_equal_a_batch_and_gradients_per_sample_sum_to_that_of_the_batch(case):
    model, grid, shape = case
    x = torch.randn(3, 1, *shape, dtype=torch.float64)
    model.double()
    torch.testing.assert_close(torch.vmap(lambda v: model(v, grid=grid))(x), model(x, grid=grid))
    parameters = dict(model.named_parameters())

    def loss(values, v):
        return torch.func.functional_call(model, values, (v,), {"grid": grid}).square().sum()

    each = torch.vmap(torch.func.grad(loss), in_dims=(None, 0))(parameters, x)
    for name, grad in torch.func.grad(loss)(parameters, x).items():
        torch.testing.assert_close(each[name].sum(0), grad)


def test_gradients_agree_with_finite_differences_twice(case):
    model, grid, shape = case
    model.double()
    x = torch.randn(1, 1, *shape, dtype=torch.float64, requires_grad=True)

    def call(values):
        return model(values, grid=grid)

    assert torch.autograd.gradcheck(call, x, check_forward_ad=True, fast_mode=True)
    assert torch.autograd.gradgradcheck(call, x, fast_mode=True)
