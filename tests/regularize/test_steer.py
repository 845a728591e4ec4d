"""Output times are jittered in training as published, and not otherwise."""

import pytest
import torch

import nde
from nde.regularize import Steer
from tests.problems import Net, double


def draws(steer: Steer, ts, count: int = 4000) -> torch.Tensor:
    return torch.stack([steer(ts) for _ in range(count)])


def test_end_is_uniform_around_the_one_asked_for_and_the_beginning_stays() -> None:
    times = draws(Steer(0.5), (0.0, 1.0))
    assert times.dtype == torch.float64 and (times[:, 0] == 0).all()
    end = times[:, 1]
    assert (end >= 0.5).all() and (end <= 1.5).all()
    # 4000 draws: standard deviations of the mean and of each share of a quarter, 0.0046 and 0.0068, four times
    assert abs(float(end.mean()) - 1.0) < 0.019
    shares = torch.histc(end, 4, 0.5, 1.5) / len(end)
    assert float((shares - 0.25).abs().max()) < 0.028


@pytest.mark.parametrize("ts", [(0.0, 1.0, 1.2, 2.0), (2.0, 1.2, 1.0, 0.0)], ids=["forwards", "backwards"])
def test_inner_times_move_by_half_of_the_nearer_gap_and_keep_their_order(ts) -> None:
    times = draws(Steer(0.25), ts)
    sign = 1.0 if ts[1] > ts[0] else -1.0
    assert (times.diff() * sign > 0).all()
    moved = (times - double(*ts)).abs()
    assert (moved[:, 0] == 0).all() and float(moved[:, 3].max()) <= 0.25
    for index in (1, 2):
        assert 0.099 < float(moved[:, index].max()) <= 0.1  # half of the gap of 0.2 that both have beside them
    assert abs(float((times[:, 1] - ts[1]).mean())) < 0.004  # four standard deviations of the mean


def test_evenly_spaced_times_move_as_published() -> None:
    moved = draws(Steer(0.0), torch.linspace(0, 1, 5)) - torch.linspace(0, 1, 5).double()
    assert (moved[:, [0, 4]] == 0).all()
    # U(-1, 1) times half the gap
    assert torch.allclose(moved[:, 1:4].std(0), double(0.125, 0.125, 0.125) / 3**0.5, rtol=0.05)


def test_layers_jitter_in_training_alone_and_solve_to_the_times_they_report() -> None:
    y0 = torch.ones(2, 3, dtype=torch.float64)
    net = Net()
    layer = nde.NeuralODE(net, steer=Steer(0.5), regularizer=nde.regularize.GlobalError())
    first, second = layer(y0), layer(y0)
    assert float(first.solution.ts[-1]) != float(second.solution.ts[-1]) and first.penalty > 0
    assert torch.equal(first.y1, nde.solve_ode(net, y0, first.solution.ts).y1)
    own = layer(y0, (0.0, 3.0)).solution.ts
    assert 2.5 <= float(own[-1]) <= 3.5 and float(own[-1]) != 3.0
    layer.eval()
    assert torch.equal(layer(y0).y1, nde.solve_ode(net, y0, (0.0, 1.0)).y1)
    assert layer.steer.draws.count == 3


def test_stochastic_layers_jitter_in_training_alone() -> None:
    y0 = torch.ones(2, 3, dtype=torch.float64)
    layer = nde.NeuralSDE(Net(), lambda t, y: 0.1 * y, steer=Steer(0.5))
    ends = [float(layer(y0).solution.ts[-1]) for _ in range(3)]
    assert len(set(ends)) == 3 and all(0.5 <= end <= 1.5 for end in ends)
    assert float(layer.eval()(y0).solution.ts[-1]) == 1.0


def test_gradients_reach_the_times_that_were_given() -> None:
    ts = double(0.0, 0.4, 1.0).requires_grad_()
    (gradient,) = torch.autograd.grad(Steer(0.1)(ts) @ double(1.0, 2.0, 3.0), ts)
    assert torch.equal(gradient, double(1.0, 2.0, 3.0))


def test_draws_repeat_by_their_seed_and_survive_a_state_dict(tmp_path) -> None:
    layer = nde.NeuralODE(Net(), steer=Steer(0.5, seed=3))
    twin = nde.NeuralODE(Net(), steer=Steer(0.5, seed=3))
    torch.manual_seed(0)
    expected = torch.rand(2)
    torch.manual_seed(0)
    one, two = layer.steer((0.0, 1.0)), layer.steer((0.0, 1.0))
    assert torch.equal(twin.steer((0.0, 1.0)), one) and not torch.equal(one, two)
    assert not torch.equal(Steer(0.5, seed=4)((0.0, 1.0)), one)
    assert torch.equal(torch.rand(2), expected)
    torch.save(layer.state_dict(), tmp_path / "state.pt")
    other = nde.NeuralODE(Net(), steer=Steer(0.5, seed=3))
    other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert torch.equal(other.steer((0.0, 1.0)), layer.steer((0.0, 1.0)))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Steer(-0.1), ValueError, "b must be zero or positive"),
        (lambda: Steer(float("nan")), ValueError, "b must be zero or positive"),
        (lambda: Steer("wide"), TypeError, "b must be a number"),
        (lambda: Steer(0.1, seed=-1), ValueError, "seed must be zero or positive"),
        (lambda: Steer(1.0)((0.0, 1.0)), ValueError, "b must be smaller than the distance of the last two"),
        (lambda: Steer(0.2)((0.0, 0.9, 1.0)), ValueError, "b must be smaller than the distance of the last two"),
        (lambda: Steer(0.2)(torch.zeros(2, 3)), ValueError, "one-dimensional"),
        (lambda: Steer(0.2)((1.0,)), ValueError, "one-dimensional"),
        (lambda: nde.NeuralODE(Net(), steer=0.5), TypeError, "steer must be a Steer"),
    ],
)
def test_wrong_arguments_are_named(call, error, message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_flows_and_latent_models_steer_their_ends_in_training_alone() -> None:
    flow = nde.ContinuousFlow(Net(size=2), 2, steer=Steer(0.5)).double()
    encoder = lambda ts, observations, mask, t0: torch.distributions.Normal(observations[0], 1.0)
    latent = nde.LatentODE(Net(size=2), encoder, torch.nn.Identity(), 2, steer=Steer(0.2)).double()
    x, series = torch.zeros(3, 2, dtype=torch.float64), torch.zeros(4, 3, 2, dtype=torch.float64)
    calls = (
        (flow, lambda: flow(x).solution.ts, (0.0, 1.0)),
        (flow, lambda: flow.inverse(x).solution.ts, (1.0, 0.0)),
        (latent, lambda: latent((0.0, 0.25, 0.5, 1.0), series).solution.ts, (0.0, 0.25, 0.5, 1.0)),
    )
    for layer, times, asked in calls:
        first, second = times().tolist(), times().tolist()
        assert first[0] == second[0] == asked[0] and first[1:] != second[1:] and asked[-1] not in first
        layer.eval()
        assert times().tolist() == list(asked)
        layer.train()
