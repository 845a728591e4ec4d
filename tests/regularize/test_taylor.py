"""Total derivatives along a trajectory: by jets, and by nested forward mode where a field takes no jet."""

import pytest
import torch
from torch import Tensor, nn

from nde.regularize import Taylor
from nde.regularize.trajectory import TrajectoryPoint

MATRIX = torch.tensor([[0.3, -1.0], [0.7, 0.2]], dtype=torch.float64)


def smooth(t: Tensor, y: Tensor) -> Tensor:
    return torch.tanh(y @ MATRIX + t) * torch.sin(t) - 0.2 * y


def written_in_place(t: Tensor, y: Tensor) -> Tensor:
    value = y @ MATRIX
    value += t
    return torch.tanh(value).mul(torch.sin(t)).sub_(0.2 * y)


def without_a_rule(t: Tensor, y: Tensor) -> Tensor:
    z = y @ MATRIX + t
    return torch.tanh(z) * torch.special.i0(0 * z) * torch.sin(t) - 0.2 * y


def value_and_gradients(penalty: Taylor, field, t: Tensor, y: Tensor) -> list[Tensor]:
    y = y.clone().requires_grad_()
    t = t.clone().requires_grad_()
    value = penalty.integrand(TrajectoryPoint(field, t, y, field(t, y), (), None))
    return [value.detach(), *torch.autograd.grad(value, (t, y))]


@pytest.mark.parametrize("order", [2, 3, 4])
@pytest.mark.parametrize("t", [0.4, [[0.4], [0.1], [1.0]]])
def test_jets_and_nested_forward_mode_agree_in_value_and_gradient(order: int, t: object) -> None:
    time = torch.tensor(t, dtype=torch.float64)
    y = torch.tensor([[0.2, -0.4], [1.0, 0.3], [-0.6, 0.5]], dtype=torch.float64)
    by_jets, nested = Taylor(order), Taylor(order)
    nested._takes_jets = False
    found = value_and_gradients(by_jets, smooth, time, y)
    assert by_jets._takes_jets
    for one, other in zip(found, value_and_gradients(nested, smooth, time, y), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("field", [written_in_place, without_a_rule])
def test_fields_that_take_no_jet_go_by_nested_forward_mode(field) -> None:
    time, y = torch.tensor(0.4, dtype=torch.float64), torch.tensor([[0.2, -0.4]], dtype=torch.float64)
    penalty = Taylor(3)
    found = value_and_gradients(penalty, field, time, y)
    assert not penalty._takes_jets
    for one, other in zip(found, value_and_gradients(Taylor(3), smooth, time, y), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def test_states_of_several_parts_and_times_of_another_precision_take_jets() -> None:
    def field(t: Tensor, y: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"b": torch.sin(y["a"].sum(-1)) * t.to(y["a"].dtype), "a": y["a"] * y["b"].unsqueeze(-1)}

    y = {"a": torch.tensor([[0.2, -0.4], [1.0, 0.3]]), "b": torch.tensor([0.5, -0.2])}
    t = torch.tensor(0.4, dtype=torch.float64)
    point = TrajectoryPoint(field, t, y, field(t, y), (), 2)
    penalty, nested = Taylor(3), Taylor(3)
    nested._takes_jets = False
    torch.testing.assert_close(penalty.integrand(point), nested.integrand(point))
    assert penalty._takes_jets


def test_an_error_of_the_field_itself_is_raised_as_it_is() -> None:
    def field(t: Tensor, y: Tensor) -> Tensor:
        raise KeyError("mine")

    y = torch.ones(2, 2)
    with pytest.raises(KeyError, match="mine"):
        Taylor(2).integrand(TrajectoryPoint(field, torch.tensor(0.0), y, y, (), None))


def test_modules_take_jets() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(2, 8), nn.SiLU(), nn.LayerNorm(8), nn.Linear(8, 2)).double()
    y = torch.randn(4, 2, dtype=torch.float64)
    penalty = Taylor(4)
    value = penalty.integrand(TrajectoryPoint(lambda t, y: net(y), torch.tensor(0.0).double(), y, net(y), (), 4))
    value.sum().backward()
    assert penalty._takes_jets
    assert all(parameter.grad is not None for parameter in net[0].parameters())
