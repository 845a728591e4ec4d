"""Controlled equations: solutions, orders of convergence, steps at the corners of a path, gradients."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import nde
from nde.controls import ControlPath, HermiteCubicPath, LinearPath, NaturalCubicPath
from tests.controls.series import KINDS, series, times

every_kind = pytest.mark.parametrize("kind", KINDS)
TIGHT: dict[str, Any] = {"rtol": 1e-9, "atol": 1e-11}


class Field(nn.Module):
    """A smooth field that depends on the time."""

    def __init__(self, hidden: int = 3, channels: int = 2) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Linear(hidden, hidden * channels, dtype=torch.float64)
        self.shape = (hidden, channels)

    def forward(self, t: Tensor, z: Tensor) -> Tensor:
        return torch.tanh(self.net(z) + torch.sin(t)).unflatten(-1, self.shape)


@every_kind
def test_a_linear_field_of_one_channel_gives_the_exponential_of_the_path(kind: type[ControlPath]) -> None:
    t = times(8)
    path = kind(series(4, 8, 1), t)
    sol = nde.solve_cde(lambda t, z: z.unsqueeze(-1), path, torch.ones(4, 3, dtype=torch.float64), t, **TIGHT)
    expected = torch.exp(path.evaluate(t) - path.evaluate(t[0]).unsqueeze(-2)).movedim(-2, 0)
    torch.testing.assert_close(sol.ys, expected.expand(-1, -1, 3), rtol=1e-7, atol=1e-9)


@every_kind
@pytest.mark.parametrize("per_sample", [False, True])
def test_without_a_field_of_its_own_the_state_follows_the_path(kind: type[ControlPath], per_sample: bool) -> None:
    t = times(8)
    path = kind(series(4, 8, 3, missing=0.3), t)
    y0 = path.evaluate(t[0])
    eye = torch.eye(3, dtype=torch.float64)
    # a step within one cubic piece is exact
    steps = () if path.derivative_jumps else t[1:-1]
    sol = nde.solve_cde(lambda t, z: eye.expand(*z.shape, 3), path, y0, t, per_sample=per_sample, step_ts=steps)
    torch.testing.assert_close(sol.ys.movedim(0, -2), path.evaluate(t), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("method", "order"), [("tsit5", 5), ("rk4", 4), ("bosh3", 3)])
@pytest.mark.parametrize("backward", [False, True])
def test_a_path_with_corners_costs_no_order(method: str, order: int, backward: bool) -> None:
    path = LinearPath(series(4, 4, 2, seed=3), [0.0, 0.75, 1.25, 2.0])
    ts = (2.0, 0.0) if backward else (0.0, 2.0)
    field, y0 = Field(), series(4, 3)
    exact = nde.solve_cde(field, path, y0, ts, method="dopri8", rtol=1e-13, atol=1e-14).y1

    def error(steps: int) -> float:
        options: dict[str, Any] = {"method": method, "controller": nde.FixedStep(2.0 / steps)}
        return float((nde.solve_cde(field, path, y0, ts, **options).y1 - exact).abs().max().detach())

    assert math.log2(error(64) / error(128)) == pytest.approx(order, abs=0.15)


def test_steps_that_see_both_sides_of_a_corner_are_of_first_order() -> None:
    path = LinearPath(series(4, 4, 2, seed=3), [0.0, 0.75, 1.25, 2.0])
    field, y0 = Field(), series(4, 3)
    exact = nde.solve_cde(field, path, y0, method="dopri8", rtol=1e-13, atol=1e-14).y1
    errors = [
        (nde.solve_cde(field, path, y0, method="rk4", controller=nde.FixedStep(0.1), jump_ts=jumps).y1 - exact)
        .abs()
        .max()
        for jumps in ((), None)
    ]
    assert errors[0] > 1000 * errors[1]


def test_a_solve_that_begins_at_a_corner_sees_the_side_that_it_goes_to() -> None:
    path = LinearPath(torch.tensor([[0.0], [1.0], [5.0]], dtype=torch.float64))
    one = torch.ones(1, dtype=torch.float64)
    sol = nde.solve_cde(lambda t, z: one.reshape(1, 1), path, one, (1.0, 2.0), method="euler", controller=nde.StepTo())
    torch.testing.assert_close(sol.y1, torch.tensor([5.0], dtype=torch.float64), rtol=1e-12, atol=0.0)


def _state(kind: type[ControlPath], field: Field, inputs: Sequence[Tensor], **options: Any) -> Tensor:
    """The final state, of data, initial state and a factor."""
    data, y0, factor = inputs
    holes = series(2, 5, 2, missing=0.2).isnan()
    path = kind(torch.where(holes, torch.nan, data), times(5))

    def scaled(t: Tensor, z: Tensor, factor: Tensor) -> Tensor:
        return factor * field(t, z)

    y1: Tensor = nde.solve_cde(scaled, path, y0, (-0.8, 1.1), (factor,), **options).y1
    return y1


def _inputs() -> list[Tensor]:
    factor = torch.tensor(0.7, dtype=torch.float64)
    return [part.requires_grad_() for part in (series(2, 5, 2), series(2, 3), factor)]


@every_kind
@pytest.mark.parametrize("adjoint", ["direct", "discrete"])
@pytest.mark.parametrize("per_sample", [False, True])
def test_gradients_are_those_of_finite_differences(kind: type[ControlPath], adjoint: str, per_sample: bool) -> None:
    field = Field()
    options: dict[str, Any] = {"adjoint": adjoint, "per_sample": per_sample, "controller": nde.FixedStep(0.5)}
    assert torch.autograd.gradcheck(lambda *inputs: _state(kind, field, inputs, **options), _inputs(), fast_mode=True)


@pytest.mark.parametrize("kind", [LinearPath, HermiteCubicPath])
@pytest.mark.parametrize(
    ("adjoint", "options", "tolerance"),
    [
        # the same steps; rounding alone
        ("discrete", {"controller": nde.FixedStep(0.1)}, 1e-10),
        # the continuous adjoint has an error of the size of the tolerance, grown along the solve
        ("backsolve", TIGHT, 1e-5),
    ],
)
@pytest.mark.parametrize("per_sample", [False, True])
def test_adjoints_agree(
    kind: type[ControlPath], adjoint: str, options: dict[str, Any], tolerance: float, per_sample: bool
) -> None:
    field, inputs = Field(), _inputs()
    own = [*inputs, *field.parameters()]
    found, direct = (
        torch.autograd.grad(
            _state(kind, field, inputs, adjoint=how, per_sample=per_sample, **options).pow(2).sum(), own
        )
        for how in (adjoint, "direct")
    )
    torch.testing.assert_close(found, direct, rtol=tolerance, atol=tolerance)


@every_kind
def test_the_reversible_adjoint_gives_the_direct_gradient(kind: type[ControlPath]) -> None:
    field, y0 = Field(), series(2, 3)
    x = series(2, 6, 2).requires_grad_()
    options: dict[str, Any] = {"method": "reversible_heun", "controller": nde.FixedStep(0.25), "jump_ts": ()}
    found = [
        torch.autograd.grad(nde.solve_cde(field, kind(x), y0, adjoint=adjoint, **options).y1.sum(), x)[0]
        for adjoint in ("reversible", "direct")
    ]
    torch.testing.assert_close(found[0], found[1], rtol=1e-10, atol=1e-12)


def test_rows_at_times_of_their_own_give_what_each_gives_alone() -> None:
    field, t, y0 = Field(), times(9), series(3, 3)
    x = series(3, 9, 2)
    ts = torch.tensor([[-0.9, 0.4, 2.0], [0.0, 1.0, 4.0], [-0.5, 0.0, float("nan")]], dtype=torch.float64)
    for kind in (LinearPath, HermiteCubicPath):
        together = nde.solve_cde(field, kind(x, t), y0, ts, per_sample=True, rtol=1e-7, atol=1e-9)
        for row in range(3):
            own = ts[row][~ts[row].isnan()]
            alone = nde.solve_cde(field, kind(x[row], t), y0[row], own, rtol=1e-7, atol=1e-9)
            torch.testing.assert_close(together.ys[: len(own), row], alone.ys, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("per_sample", [False, True])
def test_a_path_without_a_batch_drives_all_rows(per_sample: bool) -> None:
    x, y0 = series(6, 2), series(4, 3)
    field = Field()
    shared = nde.solve_cde(field, HermiteCubicPath(x), y0, per_sample=per_sample, **TIGHT)
    copies = nde.solve_cde(field, HermiteCubicPath(x.expand(4, 6, 2)), y0, per_sample=per_sample, **TIGHT)
    torch.testing.assert_close(shared.y1, copies.y1, rtol=1e-8, atol=1e-9)


def test_a_field_may_bring_its_own_product() -> None:
    field, path, y0 = Field(), NaturalCubicPath(series(4, 6, 2)), series(4, 3)

    class ByProduct(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = field

        def product(self, t: Tensor, z: Tensor, slope: Tensor, factor: float) -> Tensor:
            return factor * torch.einsum("bhc,bc->bh", self.inner(t, z), slope)

    found = nde.solve_cde(ByProduct(), path, y0, args=(1.0,), **TIGHT)
    torch.testing.assert_close(found.y1, nde.solve_cde(field, path, y0, **TIGHT).y1, rtol=1e-12, atol=1e-12)
    assert all(part is not None for part in torch.autograd.grad(found.y1.sum(), list(field.parameters())))


def test_complex_states_and_controls_of_ones_own() -> None:
    class Spiral:
        def derivative(self, t: Tensor) -> Tensor:
            return torch.stack([torch.cos(t), torch.ones_like(t)], -1)

    y0 = torch.ones(1, dtype=torch.complex128)
    weights = torch.tensor([1.0, 1.0j], dtype=torch.complex128)
    sol = nde.solve_cde(lambda t, z: z.unsqueeze(-1) * weights, Spiral(), y0, (0.0, 2.0), **TIGHT)
    torch.testing.assert_close(
        sol.y1, torch.exp(torch.tensor([math.sin(2) + 2j], dtype=torch.complex128)), rtol=1e-7, atol=0.0
    )


def test_single_precision_sees_the_right_side_of_every_corner() -> None:
    x = series(4, 40, 2).cumsum(1)
    knots = torch.linspace(0, 7, 40, dtype=torch.float64)
    field, y0 = Field(), series(4, 3)
    exact = nde.solve_cde(field, LinearPath(x, knots), y0, **TIGHT).y1
    single = nde.solve_cde(
        field.float(), LinearPath(x.float(), knots.float()), y0.float(), controller=nde.FixedStep(0.01)
    ).y1
    # rounding of 700 steps; the gaps at the corners alone would leave 2.5e-4, steps across the corners 0.3
    torch.testing.assert_close(single.double(), exact, rtol=1e-5, atol=1e-5)


PATH = LinearPath(torch.zeros(4, 5, 2))
Y0 = torch.zeros(4, 3)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((1, PATH, Y0), TypeError, "field must be callable"),
        ((Field(), torch.zeros(4, 5, 2), Y0), TypeError, "control must be a path, but is a Tensor"),
        ((Field(), PATH, (Y0,)), TypeError, r"y0 must be a tensor of shape \(batch..., hidden\), but is a tuple"),
        ((Field(), PATH, torch.zeros(5, 3)), ValueError, r"batch of shape \(4,\), but has \(5, 3\)"),
        ((Field(), PATH, torch.zeros(3)), ValueError, r"batch of shape \(4,\), but has \(3,\)"),
        ((Field(), PATH, Y0, (0.0, 4.5)), ValueError, "the last knot of the control, 0 and 4, but goes from 0 to 4.5"),
        ((Field(), PATH, Y0, (0.0, 1.0), 3), TypeError, "args must be a tuple"),
        ((lambda t, z: z, PATH, Y0), ValueError, r"a matrix for each row, .* = \(4, 3, 2\), but returned .*\(4, 3\)"),
        ((lambda t, z: 1.0, PATH, Y0), TypeError, r"must return a tensor of shape \(4, 3, 2\), but returned float"),
    ],
)
def test_wrong_arguments_are_named(arguments: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        nde.solve_cde(*arguments)


def test_a_control_of_ones_own_says_neither_its_span_nor_its_rows() -> None:
    class Constant:
        def derivative(self, t: Tensor) -> Tensor:
            return torch.zeros(4, 2)

    with pytest.raises(TypeError, match="ts must be given for a control of type Constant"):
        nde.solve_cde(Field(), Constant(), Y0)
    with pytest.raises(TypeError, match=r"control must be an nde\.controls\.ControlPath with per_sample=True"):
        nde.solve_cde(Field(), Constant(), Y0, (0.0, 1.0), per_sample=True)
