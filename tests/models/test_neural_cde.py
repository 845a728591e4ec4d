"""The neural CDE layer: initial states, times, penalties, training on coefficients from a data loader."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import nde
from nde.controls import HermiteCubicPath, LinearPath, NaturalCubicPath


class Field(nn.Module):
    def __init__(self, hidden: int, channels: int) -> None:
        super().__init__()
        self.net = nn.Linear(hidden, hidden * channels)
        self.shape = (hidden, channels)

    def forward(self, t: Tensor, z: Tensor) -> Tensor:
        return torch.tanh(self.net(z)).unflatten(-1, self.shape)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def test_it_starts_from_the_initial_network_at_the_path_s_first_value() -> None:
    initial, field = nn.Linear(2, 4), Field(4, 2)
    path = HermiteCubicPath(torch.randn(3, 6, 2))
    layer = nde.NeuralCDE(field, initial)
    output = layer(path)
    assert isinstance(output, nde.NeuralCDEOutput)
    assert torch.equal(output.ys[0], initial(path.evaluate(0.0)))
    assert torch.equal(output.y1, nde.solve_cde(field, path, initial(path.evaluate(0.0))).y1)
    assert {id(part) for part in layer.parameters()} == {
        id(part) for part in [*initial.parameters(), *field.parameters()]
    }


@pytest.mark.parametrize("kind", [LinearPath, HermiteCubicPath])
def test_times_of_the_call_of_the_layer_and_of_the_path_in_this_order(kind: Any) -> None:
    path = kind(torch.randn(3, 6, 2))
    y0 = torch.randn(3, 4)
    assert nde.NeuralCDE(Field(4, 2))(path, y0).solution.ts.tolist() == [0.0, 5.0]
    layer = nde.NeuralCDE(Field(4, 2), ts=(1.0, 2.0, 3.0))
    assert layer(path, y0).ys.shape == (3, 3, 4)
    assert layer(path, y0, torch.linspace(0, 5, 7)).ys.shape == (7, 3, 4)


def test_rows_start_from_the_path_at_their_own_first_times() -> None:
    path = HermiteCubicPath(torch.randn(3, 6, 2))
    ts = torch.tensor([[0.0, 1.0], [0.5, 4.0], [2.0, 3.5]])
    layer = nde.NeuralCDE(Field(2, 2), nn.Identity(), per_sample=True)
    assert torch.equal(layer(path, ts=ts).ys[0], path.evaluate(ts[:, :1]))


def test_penalties_are_applied_in_training_mode_and_reach_the_data() -> None:
    x = torch.randn(3, 6, 2, requires_grad=True)
    layer = nde.NeuralCDE(Field(4, 2), nn.Linear(2, 4), regularizer=nde.regularize.GlobalError(weight=2.0))
    penalty = layer(LinearPath(x)).penalty
    assert penalty > 0
    assert all(part.abs().sum() > 0 for part in torch.autograd.grad(penalty, [x, *layer.field.parameters()]))
    assert layer.eval()(LinearPath(x)).penalty == 0
    assert "tsit5" in repr(layer)


@pytest.mark.parametrize("per_sample", [False, True])
@pytest.mark.parametrize(
    ("local", "whole"),
    [
        (nde.regularize.LocalError, nde.regularize.GlobalError),
        (nde.regularize.LocalStiffness, nde.regularize.GlobalStiffness),
    ],
)
@pytest.mark.parametrize("kind", [HermiteCubicPath, LinearPath])
def test_local_penalties_over_all_steps_are_the_global_ones_with_corners_too(
    kind: Any, local: Any, whole: Any, per_sample: bool
) -> None:
    x = torch.randn(3, 3, 2, dtype=torch.float64, requires_grad=True)
    found = []
    field, initial = Field(4, 2).double(), nn.Linear(2, 4).double()
    for penalty in (whole(), local(n_draws=4, sampling="step", stratified=True, grad="full")):
        layer = nde.NeuralCDE(field, initial, regularizer=penalty, per_sample=per_sample, controller=nde.FixedStep(0.5))
        output = layer(kind(x))
        assert output.stats.n_accepted == (12 if per_sample else 4)
        parts = torch.autograd.grad(output.penalty, [x, *field.parameters()])
        found.append(torch.cat([output.penalty.reshape(1), *(part.reshape(-1) for part in parts)]))
    assert bool((found[0] != 0).any())
    torch.testing.assert_close(found[1], found[0], rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize(("form", "per_sample"), [("augmented", False), ("augmented", True), ("local", False)])
def test_penalties_along_the_trajectory_see_the_field_times_the_slope_of_the_path(form: str, per_sample: bool) -> None:
    x = torch.randn(3, 4, 2, dtype=torch.float64, requires_grad=True)
    field = Field(4, 2).double()
    path = NaturalCubicPath(x)
    y0 = torch.linspace(-1, 1, 12, dtype=torch.float64).reshape(3, 4)
    fixed: dict[str, Any] = {"controller": nde.FixedStep(0.25)}

    def product(t: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        return (field(t, z) @ path.derivative(t).unsqueeze(-1)).squeeze(-1)

    for make in (nde.regularize.Kinetic, nde.regularize.JacobianFrobenius, partial(nde.regularize.Taylor, 2)):
        layer = nde.NeuralCDE(field, regularizer=make(form=form), per_sample=per_sample, **fixed)
        # with the same steps, the solve of all samples as one state has the same integrals
        twin = nde.NeuralODE(product, path.interval, regularizer=make(form=form), **fixed)
        ours, theirs = (output.penalty for output in (layer(path, y0), twin(y0)))
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=0)
        wanted = [x, *field.parameters()]
        gradients = [torch.autograd.grad(value, wanted, retain_graph=True) for value in (ours, theirs)]
        for one, two in zip(*gradients, strict=True):
            torch.testing.assert_close(one, two, rtol=1e-8, atol=1e-12)


@pytest.mark.slow
def test_it_learns_the_area_that_a_path_encloses() -> None:
    # the signed area tells the order of two channels, which no function of the end points does
    x = torch.randn(64, 6, 2).cumsum(1)
    x = x - x[:, :1]
    area = ((x[:, :-1, 0] * x[:, 1:, 1] - x[:, 1:, 0] * x[:, :-1, 1]).sum(1) / 2).sign()
    coefficients = LinearPath(x).coefficients
    data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(coefficients, area), batch_size=32)
    layer = nde.NeuralCDE(Field(8, 2), nn.Linear(2, 8), method="midpoint", controller=nde.FixedStep(0.5))
    readout = nn.Linear(8, 1)
    optimizer = torch.optim.Adam([*layer.parameters(), *readout.parameters()], 0.02)
    for _ in range(25):
        for batch, target in data:
            loss = nn.functional.soft_margin_loss(readout(layer(LinearPath.from_coefficients(batch)).y1)[:, 0], target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        right = readout(layer(LinearPath.from_coefficients(coefficients)).y1)[:, 0].sign() == area
    assert right.float().mean() > 0.9


def test_wrong_arguments_are_named() -> None:
    path = LinearPath(torch.randn(3, 6, 2))
    with pytest.raises(TypeError, match="field must be callable"):
        nde.NeuralCDE(1)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="initial must be callable"):
        nde.NeuralCDE(Field(4, 2), 1)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"y0 must be given where the layer has no initial="):
        nde.NeuralCDE(Field(4, 2))(path)
    with pytest.raises(TypeError, match="control must be a path, but is a Tensor"):
        nde.NeuralCDE(Field(4, 2), nn.Linear(2, 4))(torch.randn(3, 6, 2))
    with pytest.raises(TypeError, match="regularizer must be a Penalty"):
        nde.NeuralCDE(Field(4, 2), regularizer=1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="max_steps must be at least 1"):
        nde.NeuralCDE(Field(4, 2), max_steps=0)
