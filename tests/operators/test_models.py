"""Models: as functions of functions, as vector fields, as checkpoints; and what they refuse."""

import pytest
import torch
from torch import nn

import nde
from nde.operators import (
    DeepONet,
    LocalIntegral,
    LocalNO,
    MultiONet,
    PointCloud,
    SphereGrid,
    UniformGrid,
)


def small(**options):
    return LocalNO(1, 1, **{"width": 4, "depth": 2, "modes": 3, "radii": (0.2,), **options})


def test_operators_are_imported_when_first_asked_for():
    assert nde.operators.LocalNO is LocalNO
    with pytest.raises(AttributeError, match="operator"):
        _ = nde.operator


def test_the_time_is_an_input_where_it_is_asked_for():
    field = small(time=True)
    x = torch.randn(1, 1, 12, 12)
    assert not torch.equal(field(0.0, x), field(1.0, x))
    assert torch.equal(small_autonomous := small()(x), small_autonomous)
    autonomous = small()
    assert torch.equal(autonomous(0.0, x), autonomous(1.0, x)) and torch.equal(autonomous(0.0, x), autonomous(x))
    with pytest.raises(ValueError, match="model\\(t, x\\)"):
        field(x)


def test_the_same_checkpoint_serves_another_resolution_points_and_the_sphere(tmp_path):
    torch.save(small(modes=None, coordinates=0).state_dict(), tmp_path / "model.pt")
    model = small(modes=None, coordinates=0)
    model.load_state_dict(torch.load(tmp_path / "model.pt", weights_only=True))
    for x, grid in (
        (torch.randn(1, 1, 10, 14), UniformGrid()),
        (torch.randn(1, 1, 33, 33), UniformGrid(periodic=True)),
        (torch.randn(1, 1, 200), PointCloud(torch.rand(200, 2))),
        (torch.randn(1, 1, 20, 40), SphereGrid()),
    ):
        assert model(x, grid=grid).shape == x.shape and torch.equal(model(x, grid), model(x, grid=grid))


def test_models_work_in_one_and_three_dimensions():
    for dims, shape in ((1, (32,)), (3, (9, 10, 11))):
        model = LocalNO(
            2, 3, dims, width=4, depth=2, modes=3, radii=(0.2,), regularized=(0.25,), differential=(1, 2)
        ).double()
        out = model(torch.randn(2, 2, *shape, dtype=torch.float64))
        assert out.shape == (2, 3, *shape)
        out.square().mean().backward()
        assert all(bool((parameter.grad != 0).all()) for parameter in model.parameters())


@pytest.mark.slow
def test_models_train_on_a_grid_and_keep_what_they_learned_at_twice_the_resolution():
    # the derivative along the first axis of random waves
    def data(count, batch=16):
        generator = torch.Generator().manual_seed(1)
        x = UniformGrid(periodic=True).positions((count, count)).float() * 6.2831853
        fields, slopes = [], []
        for _ in range(batch):
            k, m = torch.randint(1, 4, (2,), generator=generator)
            shift = torch.rand(2, generator=generator) * 6.2831853
            fields.append((k * x[0] + shift[0]).sin() * (m * x[1] + shift[1]).cos())
            slopes.append(k / 3 * (k * x[0] + shift[0]).cos() * (m * x[1] + shift[1]).cos())
        return torch.stack(fields)[:, None], torch.stack(slopes)[:, None]

    model = small(width=8, coordinates=0, regularized=(0.15,), grid=UniformGrid(periodic=True))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    x, y = data(16)
    for _ in range(80):
        loss = (model(x) - y).norm() / y.norm()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    fine_x, fine_y = data(32)
    fine = (model(fine_x) - fine_y).norm() / fine_y.norm()
    assert float(loss.detach()) < 0.1
    assert float(fine.detach()) < float(loss.detach()) + 0.03


def test_autocast_runs_transforms_in_single_precision():
    model = small(regularized=(0.2,), differential=(1,))
    for module in model.modules():
        if isinstance(module, LocalIntegral):
            module.method = "fft"
    x = torch.randn(2, 1, 16, 16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = model(x)
    out.float().square().mean().backward()
    assert float((out.float() - model(x)).norm().detach()) < 0.1 * float(model(x).norm().detach())


def test_an_ensemble_of_models_is_mapped_over_its_parameters():
    models = [small() for _ in range(3)]
    parameters, _ = torch.func.stack_module_state(models)
    x = torch.randn(2, 1, 12, 12)
    outs = torch.vmap(lambda values: torch.func.functional_call(models[0], values, (x,)))(parameters)
    for model, out in zip(models, outs, strict=True):
        torch.testing.assert_close(model(x), out, rtol=1e-4, atol=1e-5)


def test_multionet_is_the_mean_of_weighed_products_of_the_last_layers():
    model = MultiONet(12, 2, dims=1, width=8, depth=3, read=2).double()
    a, x = torch.randn(3, 3, 4).double(), torch.rand(5, 1).double()
    assert bool((model.scales == 1).all())
    nn.init.normal_(model.scales)
    nn.init.normal_(model.bias)
    act = nn.functional.silu
    branch, trunk, expected = a.flatten(1), x, model.bias[:, None]
    for at in range(3):
        branch, trunk = model.branch[at](branch), model.trunk[at](trunk)
        if at < 2:
            branch, trunk = act(branch), act(trunk)
        if at >= 1:
            product = (branch.view(3, 1, 2, 8) * trunk.view(1, 5, 2, 8)).sum(-1).movedim(2, 1)
            expected = expected + model.scales[at - 1] * product / 2
    torch.testing.assert_close(model(a, x), expected)
    torch.testing.assert_close(model(a, x.expand(3, 5, 1)), expected)
    assert sum(p.numel() for p in MultiONet(12).parameters()) == sum(p.numel() for p in DeepONet(12).parameters()) + 3
