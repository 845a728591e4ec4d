"""A residual network of copies is Euler's method, and its diagnostics tell smooth weights from rough ones."""

import math

import pytest
import torch
from torch import nn

import nde
from nde.models import ResidualNetwork
from tests.problems import Net, double


def set_weights(network, path) -> None:
    """Set the weights of each block to a function of its time."""
    with torch.no_grad():
        for index, block in enumerate(network.blocks):
            weights = path(network.start + index * network.h)
            nn.utils.vector_to_parameters(weights, block.parameters())


def size(network) -> int:
    return len(nn.utils.parameters_to_vector(network.blocks[0].parameters()))


def smooth(network, seed=0):
    generator = torch.Generator().manual_seed(seed)
    base, slope = (torch.randn(size(network), generator=generator, dtype=torch.float64) for _ in range(2))
    return (lambda t: 0.6 * base + 0.4 * t * slope), slope


@pytest.mark.parametrize("span", [(0.0, 1.0), (2.0, 0.5)])
def test_a_new_network_is_eulers_method_for_its_field(span) -> None:
    net, y = Net(size=2), torch.randn(5, 2, dtype=torch.float64)
    network = ResidualNetwork(net, 8, span)
    step = abs(span[1] - span[0]) / 8
    expected = nde.solve_ode(net, y, span, method="euler", controller=nde.FixedStep(step)).y1
    torch.testing.assert_close(network(y), expected, rtol=1e-12, atol=1e-12)
    parameters = list(network.parameters())
    assert len(parameters) == 8 * len(list(net.parameters()))  # blocks share nothing
    assert float(network.lipschitz().detach()) == 0
    assert float(network.distance().detach()) < 1e-14


def test_the_lipschitz_constant_is_the_slope_of_a_path_and_grows_with_depth_for_independent_weights() -> None:
    rough = []
    for blocks in (8, 32):
        network = ResidualNetwork(Net(size=2), blocks)
        path, slope = smooth(network)
        set_weights(network, path)
        torch.testing.assert_close(network.lipschitz(), 0.4 * slope.norm(), rtol=1e-10, atol=0)
        set_weights(network, lambda t, network=network: torch.randn(size(network), dtype=torch.float64))
        rough.append(float(network.lipschitz().detach()))
    assert 3 < rough[1] / rough[0] < 6  # four times the blocks


def test_the_distance_is_zero_for_polynomials_and_that_of_theory_for_independent_weights() -> None:
    network = ResidualNetwork(Net(size=8, hidden=32), 16)
    path, slope = smooth(network)
    set_weights(network, lambda t: path(t) + 0.5 * t**3 * slope)
    assert float(network.distance().detach()) < 1e-12 < float(network.distance(2).detach())
    set_weights(network, lambda t: torch.randn(size(network), dtype=torch.float64))
    # each of some 550 weights is one draw of the quotient, of relative spread 0.1
    assert float(network.distance().detach()) == pytest.approx(math.sqrt(1 - 4 / 16), rel=0.02)


def test_the_network_converges_to_the_solution_with_interpolated_weights() -> None:
    y, errors = torch.randn(5, 2, dtype=torch.float64), []
    for blocks in (32, 64):
        network = ResidualNetwork(Net(size=2), blocks)
        set_weights(network, smooth(network)[0])
        with torch.no_grad():
            solution = nde.solve_ode(network.smooth_field, y, (0.0, 1.0), rtol=1e-8, atol=1e-8).y1
            errors.append(float((network(y) - solution).abs().max()))
    assert math.log2(errors[0] / errors[1]) == pytest.approx(1, abs=0.15)


def test_the_smooth_field_has_the_gradient_of_the_direct_adjoint_with_every_block_in_it() -> None:
    network, y = ResidualNetwork(Net(size=2), 3), torch.randn(5, 2, dtype=torch.float64)
    found = []
    for adjoint in ("direct", "discrete"):
        options = {"adjoint": adjoint, "controller": nde.FixedStep(0.1)}
        y1 = nde.solve_ode(network.smooth_field, y, (0.0, 1.0), **options).y1
        found.append(torch.autograd.grad(y1.square().sum(), list(network.parameters())))
    assert all(part.any() for part in found[0])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


def test_training_keeps_the_weights_of_copies_near_a_path_and_does_not_make_independent_ones_smooth() -> None:
    torch.manual_seed(0)
    x = torch.randn(64, 2, dtype=torch.float64)
    target = torch.stack([x[:, 0].sin() + x[:, 1], x[:, 0] * x[:, 1].cos()], -1)
    found = {}
    for kind in ("copies", "independent"):
        network = ResidualNetwork(Net(size=2, hidden=8), 16)
        if kind == "independent":
            set_weights(network, lambda t, network=network: 0.6 * torch.randn(size(network), dtype=torch.float64))
        optimizer = torch.optim.SGD(network.parameters(), lr=1.0)
        losses = []
        for _ in range(100):
            loss = (network(x) - target).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
        assert losses[-1] < 0.5 * losses[0]
        found[kind] = float(network.distance().detach())
    assert found["copies"] < 0.02
    assert found["independent"] > 0.5


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (lambda: ResidualNetwork(lambda t, y: y, 4), TypeError, "field must be an nn.Module"),
        (lambda: ResidualNetwork(Net(), 0), ValueError, "blocks must be at least 1"),
        (lambda: ResidualNetwork(Net(), 4, (1.0, 1.0)), ValueError, "span must be two different times"),
        (lambda: ResidualNetwork(Net(), 4).distance(), ValueError, "degree must be smaller than the number of blocks"),
        (lambda: ResidualNetwork(Net(), 4)(double(1, 2, 3), 1.0), TypeError, "args must be a tuple"),
    ],
)
def test_wrong_arguments_are_refused(make, kind, message) -> None:
    with pytest.raises(kind, match=message):
        make()


def test_one_block_has_no_neighbour() -> None:
    assert float(ResidualNetwork(Net(size=2), 1).lipschitz()) == 0
