"""Laplacian and weighted traces: exact against nested automatic differentiation, unbiased over all draws."""

import itertools

import pytest
import torch
from torch import nn

from nde.taylor.operators import Draw, Envelope, SharedLinear, laplacian, second_order, weighted_trace
from tests.taylor.operators.oracles import derivatives, network, points, trace

LAWS = ("sparse", "rademacher", "gaussian", "orthogonal")


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("mode", ["exact", "rank", "auto"])
@pytest.mark.parametrize("outputs", [1, 3])
def test_exact_laplacian_and_its_parameter_gradients_equal_nested_differentiation(mode, outputs):
    net, x = network(4, outputs), points(3, 4)
    expected = trace(derivatives(net, x, 2))
    estimate = laplacian(net, x, mode=mode)
    torch.testing.assert_close(estimate.value, expected, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(estimate.primal, net(x))
    assert estimate.exact and not estimate.variance.any()
    cotangent = torch.randn(expected.shape, generator=generator(), dtype=expected.dtype)
    parameters = list(net.parameters())[:-1]  # the last bias has no part in derivatives
    ours = torch.autograd.grad(estimate.value, parameters, cotangent)
    theirs = torch.autograd.grad(expected, parameters, cotangent)
    for left, right in zip(ours, theirs, strict=True):
        torch.testing.assert_close(left, right, rtol=1e-8, atol=1e-10)


def test_outputs_may_lack_the_axis_of_one_and_points_may_have_any_leading_axes():
    net, x = network(3), points(6, 3)
    expected = trace(derivatives(net, x, 2)).squeeze(-1)
    plain = laplacian(lambda y: net(y).squeeze(-1), x)
    assert plain.value.shape == (6,)
    torch.testing.assert_close(plain.value, expected)
    torch.testing.assert_close(laplacian(net, x.reshape(2, 3, 3)).value.reshape(6), expected)
    torch.testing.assert_close(laplacian(net, x[0]).value, expected[:1])


def test_gradients_reach_the_points():
    net, x = network(3), points(2, 3).requires_grad_()
    (ours,) = torch.autograd.grad(laplacian(net, x).value.sum(), x)
    third = derivatives(net, x.detach(), 3).squeeze(1)
    torch.testing.assert_close(ours, torch.einsum("biij->bj", third), rtol=1e-9, atol=1e-11)


def test_the_mean_over_all_subsets_is_exact_and_so_are_reported_variance_and_square(monkeypatch):
    """Over all ordered subsets E value = Lap u, E variance = Var value, E square = (Lap u)^2, without chance."""
    net, x = network(5), points(2, 5)
    exact = laplacian(net, x).value.detach()
    for size, groups in [(2, 2), (4, 2), (3, 3)]:
        estimates = []
        for subset in itertools.permutations(range(5), size):
            draw = Draw(5, torch.tensor(subset), None, groups, size / 5)
            monkeypatch.setattr(second_order, "draw_directions", lambda *args, draw=draw: draw)
            estimates.append(laplacian(net, x, mode="sparse", samples=size, groups=groups))
        values = torch.stack([estimate.value for estimate in estimates]).detach()
        torch.testing.assert_close(values.mean(0), exact, rtol=1e-10, atol=1e-12)
        variance = torch.stack([estimate.variance for estimate in estimates]).detach()
        torch.testing.assert_close(variance.mean(0), values.var(0, correction=0), rtol=1e-10, atol=1e-12)
        diagonal = derivatives(net, x, 2).diagonal(dim1=-2, dim2=-1).detach()
        torch.testing.assert_close(variance.mean(0), 25 / size * (1 - size / 5) * diagonal.var(-1))
        square = torch.stack([estimate.square for estimate in estimates]).detach()
        torch.testing.assert_close(square.mean(0), exact.square(), rtol=1e-10, atol=1e-12)


def test_the_mean_over_all_sign_vectors_is_exact(monkeypatch):
    net, x = network(4), points(2, 4)
    values = []
    for signs in itertools.product([-1.0, 1.0], repeat=4):
        draw = Draw(4, None, torch.tensor([signs], dtype=x.dtype), 1, 0.0)
        monkeypatch.setattr(second_order, "draw_directions", lambda *args, draw=draw: draw)
        values.append(laplacian(net, x, mode="rademacher", samples=1).value)
    torch.testing.assert_close(torch.stack(values).mean(0), laplacian(net, x).value, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("law", LAWS)
def test_random_modes_are_unbiased_and_report_their_variance(law):
    net, x = network(5), points(2, 5)
    exact = laplacian(net, x).value.detach()
    with torch.no_grad():
        source, draws = generator(3), 400
        estimates = [laplacian(net, x, mode=law, samples=4, groups=2, generator=source) for _ in range(draws)]
    values = torch.stack([estimate.value for estimate in estimates])
    assert ((values.mean(0) - exact).abs() < 4 * values.std(0) / draws**0.5).all()
    variances = torch.stack([estimate.variance for estimate in estimates])
    error = (variances - (values - exact).square()).std(0) / draws**0.5
    assert ((variances.mean(0) - values.var(0)).abs() < 4 * error).all()
    squares = torch.stack([estimate.square for estimate in estimates])
    assert ((squares.mean(0) - exact.square()).abs() < 4 * squares.std(0) / draws**0.5).all()


@pytest.mark.parametrize("mode", ["exact", "rank", *LAWS])
@pytest.mark.parametrize("groups", [1, 2])
def test_the_drift_is_exact_in_every_mode(mode, groups):
    net, x = network(4), points(3, 4)
    drift = points(3, 4, seed=5)
    random = {} if mode == "exact" else {"samples": 4, "groups": groups}
    plain = laplacian(net, x, mode=mode, generator=generator(4), **random).value
    drifted = laplacian(net, x, mode=mode, generator=generator(4), drift=drift, **random).value
    expected = torch.einsum("bd,bod->bo", drift, derivatives(net, x, 1))
    torch.testing.assert_close(drifted - plain, expected, rtol=1e-9, atol=1e-11)
    shared = laplacian(net, x, mode=mode, generator=generator(4), drift=drift[0], **random).value
    expected = torch.einsum("d,bod->bo", drift[0], derivatives(net, x, 1))
    torch.testing.assert_close(shared - plain, expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("mode", ["exact", "rank"])
def test_heat_operator_in_one_pass(mode):
    net, x = network(4), points(3, 4)  # three coordinates in space, the last is time
    unit = torch.tensor([0.0, 0.0, 0.0, -1.0], dtype=x.dtype)
    hessian = derivatives(net, x, 2)
    expected = trace(hessian[..., :3, :3]) - derivatives(net, x, 1)[..., 3]
    torch.testing.assert_close(laplacian(net, x, mode=mode, axes=range(3), drift=unit).value, expected)


@pytest.mark.parametrize("law", LAWS)
def test_random_modes_stay_within_the_axes(law):
    net, x = network(4), points(2, 4)
    expected = trace(derivatives(net, x, 2)[..., 1:3, 1:3])
    source, draws = generator(6), 200
    values = torch.stack(
        [laplacian(net, x, mode=law, samples=1, axes=[1, 2], generator=source).value.detach() for _ in range(draws)]
    )
    assert ((values.mean(0) - expected).abs() < 4 * values.std(0) / draws**0.5 + 1e-12).all()


@pytest.mark.parametrize(("mode", "random"), [("exact", {}), ("rank", {}), ("orthogonal", {"samples": 4, "groups": 2})])
def test_the_envelope_equals_the_product(mode, random):
    net, x = network(4), points(3, 4) / 3
    drift = points(3, 4, seed=7)
    if mode == "orthogonal":
        random["samples"] = 8  # two complete sets: no variance is left

    def product(y):
        return (1.5**2 - y @ y) * net(y)

    expected = trace(derivatives(product, x, 2)) + torch.einsum("bd,bod->bo", drift, derivatives(product, x, 1))
    envelope = Envelope.ball(x, radius=1.5)
    estimate = laplacian(net, x, mode=mode, drift=drift, envelope=envelope, generator=generator(), **random)
    torch.testing.assert_close(estimate.value, expected, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(estimate.primal, envelope.value.unsqueeze(-1) * net(x))


def test_the_envelope_in_space_leaves_time_alone():
    net, x = network(4), points(3, 4) / 3

    def product(y):
        return (1 - y[:3] @ y[:3]) * net(y)

    expected = trace(derivatives(product, x, 2)[..., :3, :3])
    envelope = Envelope.ball(x, dimensions=3)
    torch.testing.assert_close(laplacian(net, x, axes=range(3), envelope=envelope).value, expected)


def test_the_estimate_of_an_enveloped_function_has_no_variance_from_the_cross_term():
    """With a linear network all that is random would be the cross term."""
    net, x = nn.Linear(5, 1).double(), points(2, 5) / 4
    estimate = laplacian(net, x, mode="sparse", samples=2, groups=2, envelope=Envelope.ball(x), generator=generator())
    assert estimate.variance.abs().max() < 1e-24


@pytest.mark.parametrize("columns", [2, 4, 9])
@pytest.mark.parametrize("mode", ["exact", "rank"])
def test_weighted_trace_equals_the_trace_with_the_hessian(columns, mode):
    net, x = network(4, width=5), points(3, 4)
    sigma = torch.randn(4, columns, generator=generator(8), dtype=x.dtype)
    drift = points(1, 4, seed=9)[0]
    hessian, slope = derivatives(net, x, 2), derivatives(net, x, 1)
    expected = 0.5 * torch.einsum("ij,boij->bo", sigma @ sigma.T, hessian) + slope @ drift
    value = weighted_trace(net, x, sigma=sigma, drift=drift, mode=mode).value
    torch.testing.assert_close(value, expected, rtol=1e-9, atol=1e-11)


def test_sigma_may_vary_with_the_points_and_is_differentiable():
    net, x = network(4), points(3, 4)
    sigma = torch.randn(3, 4, 2, generator=generator(10), dtype=x.dtype).requires_grad_()
    expected = 0.5 * torch.einsum("bik,bjk,boij->bo", sigma, sigma, derivatives(net, x, 2))
    value = weighted_trace(net, x, sigma=sigma).value
    torch.testing.assert_close(value, expected)
    ours, theirs = (torch.autograd.grad(result.sum(), sigma)[0] for result in (value, expected))
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("law", ["exact", *LAWS, "rank"])
def test_an_indefinite_matrix_is_exact_or_unbiased(law):
    net, x = network(4, width=3), points(2, 4)
    matrix = torch.randn(4, 4, generator=generator(11), dtype=x.dtype)
    matrix = matrix + matrix.T
    assert (torch.linalg.eigvalsh(matrix) < 0).any()
    expected = 2.0 * torch.einsum("ij,boij->bo", matrix, derivatives(net, x, 2)).detach()
    source = generator(12)
    if law in ("exact", "rank"):
        value = weighted_trace(net, x, matrix=matrix, scale=2.0, mode=law).value
        torch.testing.assert_close(value, expected, rtol=1e-9, atol=1e-10)
        return
    with torch.no_grad():
        estimates = [
            weighted_trace(net, x, matrix=matrix, scale=2.0, mode=law, samples=2, groups=2, generator=source)
            for _ in range(250)
        ]
    values = torch.stack([estimate.value for estimate in estimates])
    assert ((values.mean(0) - expected).abs() < 4 * values.std(0) / 250**0.5).all()
    variances = torch.stack([estimate.variance for estimate in estimates])
    error = (variances - (values - expected).square()).std(0) / 250**0.5
    assert ((variances.mean(0) - values.var(0)).abs() < 4 * error).all()


@pytest.mark.parametrize("inputs", [3, 40])
def test_rank_compression_is_exact_below_and_above_the_width(inputs):
    net, x = network(inputs, width=8), points(3, inputs)
    expected = trace(derivatives(net, x, 2))
    torch.testing.assert_close(laplacian(net, x, mode="rank").value, expected, rtol=1e-9, atol=1e-11)


def test_rank_compression_of_a_singular_first_layer_is_exact_up_to_rounding():
    net, x = network(20, width=6), points(3, 20)
    with torch.no_grad():
        net[0].weight[3] = net[0].weight[1]
    torch.testing.assert_close(
        laplacian(net, x, mode="rank").value, trace(derivatives(net, x, 2)), rtol=1e-8, atol=1e-10
    )


def test_rank_compression_in_float32_is_exact_to_single_precision():
    net, x = network(500, width=16, dtype=torch.float32), points(3, 500, dtype=torch.float32)
    exact = laplacian(net.double(), x.double()).value
    single = laplacian(net.float(), x, mode="rank").value
    torch.testing.assert_close(single.double(), exact, rtol=2e-5, atol=2e-6)


def test_shared_linear_layers_are_compressed_exactly():
    first = SharedLinear(12, 5, block=3).double()
    net = nn.Sequential(first, nn.Tanh(), nn.Linear(5, 1).double())
    with torch.no_grad():
        first.filter.copy_(points(1, 3, seed=3)[0])
    x = points(2, 12)
    expected = trace(derivatives(net, x, 2))
    drift = points(2, 12, seed=4)
    torch.testing.assert_close(laplacian(net, x, mode="rank").value, expected)
    drifted = laplacian(net, x, mode="rank", drift=drift).value
    torch.testing.assert_close(drifted - expected, torch.einsum("bd,bod->bo", drift, derivatives(net, x, 1)))


def test_a_sample_behind_the_first_layer_is_unbiased():
    net, x = network(30, width=6), points(2, 30)
    exact = laplacian(net, x, mode="rank").value.detach()
    source = generator(13)
    with torch.no_grad():
        values = torch.stack([laplacian(net, x, mode="rank", samples=2, generator=source).value for _ in range(400)])
    assert ((values.mean(0) - exact).abs() < 4 * values.std(0) / 400**0.5).all()


def test_auto_is_exact_where_that_is_cheap_and_random_where_not():
    wide = nn.Sequential(nn.Linear(50, 40), nn.Tanh(), nn.Linear(40, 1)).double()
    x = points(2, 50)
    torch.testing.assert_close(laplacian(wide, x, mode="auto").value, laplacian(wide, x).value)
    assert laplacian(wide, x, mode="auto", samples=20).exact
    estimate = laplacian(wide, x, mode="auto", samples=10, groups=2)
    assert not estimate.exact and estimate.variance.min() > 0


def test_points_share_the_directions():
    net, x = network(5), points(1, 5).expand(4, 5)
    values = laplacian(net, x, mode="gaussian", samples=2, generator=generator()).value
    torch.testing.assert_close(values, values[:1].expand(4, 1))
