"""The entry and its result: seeds, shapes, gradients, nesting, and what bad input is told."""

import pytest
import torch
from torch import nn

import nde.taylor
from nde.taylor import OneHot, jet


@pytest.fixture
def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 6), nn.GELU(), nn.Linear(6, 1)).double()


POINTS = torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def hessians(f, x):
    return torch.stack([torch.func.hessian(lambda point: f(point).sum())(point) for point in x])


def test_laplacian_by_one_hot_seeds_equals_the_trace_of_the_hessian(network):
    result = jet(network, POINTS, OneHot(torch.arange(4)), order=2, collapse=True)
    traces = hessians(network, POINTS).diagonal(dim1=1, dim2=2).sum(-1)
    torch.testing.assert_close(result.derivative(2)[:, 0], traces)
    assert result.derivative(1).shape == (4, 3, 1)


FUNCTIONS = {
    "network": lambda net: net,
    "hard boundary": lambda net: lambda x: (1 - (x * x).sum(-1, keepdim=True)) * net(x),
    "slices": lambda net: lambda x: net(torch.cat([x[:, :1], x[:, 1:]], -1)) * x[..., 0:1] + x[:, 2, None],
    "functions of the inputs": lambda net: lambda x: net(x.sin() + x**3 * 0.1 - x) / (2 + x.square().mean(-1, True)),
    "reshaped": lambda net: lambda x: net(x.unsqueeze(1).reshape(3, 2, 2).flatten(1).contiguous()),
    "permuted": lambda net: lambda x: net(x.T.flip(0).T),
    "matrix product": lambda net: lambda x: net(x @ torch.eye(4, dtype=torch.float64) * 2),
    "norm": lambda net: lambda x: net(x) * x.norm(dim=-1, keepdim=True),
    "columns": lambda net: lambda x: torch.stack([x[..., 0] * x[..., 3], x[..., -1].sin()], -1),
}


@pytest.mark.parametrize("build", FUNCTIONS.values(), ids=FUNCTIONS)
@pytest.mark.parametrize("weights", [None, torch.tensor([[1.0, -2.0], [0.5, 3.0]], dtype=torch.float64)])
def test_lazy_and_shared_directions_give_what_full_ones_give(network, build, weights):
    f = build(network)
    indices = torch.tensor([3, 0])
    shared = torch.nn.functional.one_hot(indices, 4).double()[:, None, :]
    full = shared.expand(2, 3, 4).clone()
    for order in (2, 3):
        for collapse in (False, True):
            options = {"order": order, "collapse": collapse, "weights": weights if collapse else None}
            expected = jet(f, POINTS, full, **options)
            for seed in (OneHot(indices), shared):
                actual = jet(f, POINTS, seed, **options)
                for one, other in zip(actual.coefficients, expected.coefficients, strict=True):
                    torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def test_shapes_of_the_result_say_which_axes_there_are(network):
    v = torch.randn(5, 3, 4, dtype=torch.float64)
    single = jet(network, POINTS, v[0], order=3)
    assert [c.shape for c in single.coefficients] == [(3, 1)] * 4
    many = jet(network, POINTS, [v, v[0]], order=3)  # the second seed is shared by all directions
    assert [c.shape for c in many.coefficients] == [(3, 1), *[(5, 3, 1)] * 3]
    grouped = jet(network, POINTS, v, order=3, collapse=True, weights=v[:2, 0, 0].new_ones(2, 5))
    assert [c.shape for c in grouped.coefficients] == [(3, 1), (5, 3, 1), (5, 3, 1), (2, 3, 1)]
    torch.testing.assert_close(grouped.coefficient(3)[1], many.frame.directions * 0 + grouped.coefficient(3)[0])
    scalar = jet(torch.sin, torch.tensor(0.3), torch.tensor(1.0), order=4)
    torch.testing.assert_close(scalar.derivative(4), torch.tensor(0.3).sin())


def test_a_constant_function_has_zero_derivatives():
    result = jet(lambda x: torch.ones(2), torch.zeros(3), torch.ones(3), order=2)
    assert torch.equal(result.primal, torch.ones(2)) and torch.equal(result.derivative(2), torch.zeros(2))


@pytest.mark.parametrize(("order", "collapse"), [(1, False), (2, False), (2, True), (3, True), (5, False), (5, True)])
def test_gradients_reach_points_tangents_weights_and_parameters(order, collapse):
    torch.manual_seed(0)
    first, second = (torch.randn(*shape, dtype=torch.float64, requires_grad=True) for shape in ((3, 2), (1, 3)))
    x, v = (torch.randn(*shape, dtype=torch.float64, requires_grad=True) for shape in ((2, 2), (2, 1, 2)))
    weights = torch.randn(2, dtype=torch.float64, requires_grad=True)

    def coefficients(x, v, weights, first, second):
        def network(z):
            hidden = torch.nn.functional.silu(z @ first.mT).tanh()
            return torch.nn.functional.linear(hidden, second)

        free = jet(network, x, v, order=order, collapse=collapse)
        weighted = jet(network, x, v, order=order, collapse=True, weights=weights) if collapse else free
        return torch.cat([c.flatten() for c in (*free.coefficients, *weighted.coefficients)])

    assert torch.autograd.gradcheck(coefficients, (x, v, weights, first, second))
    if order == 2:
        assert torch.autograd.gradgradcheck(coefficients, (x, v, weights, first, second))


def test_gradient_of_a_laplacian_loss_equals_that_of_nested_differentiation(network):
    jet(network, POINTS, OneHot(torch.arange(4)), order=2, collapse=True).derivative(2).square().sum().backward()
    actual = [parameter.grad.clone() for parameter in network.parameters() if parameter.grad is not None]
    network.zero_grad()
    hessians(network, POINTS).diagonal(dim1=1, dim2=2).sum(-1).square().sum().backward()
    for one, parameter in zip(actual, network.parameters(), strict=False):
        torch.testing.assert_close(one, parameter.grad)


def test_vmap_over_points_and_over_directions_gives_the_batched_result(network):
    v = torch.randn(2, 3, 4, dtype=torch.float64)
    expected = jet(network, POINTS, v, order=3)
    over_directions = torch.func.vmap(lambda one: jet(network, POINTS, one, order=3).derivative(3))(v)
    torch.testing.assert_close(over_directions, expected.derivative(3))
    over_points = torch.func.vmap(
        lambda x, v: jet(network, x, v, order=2, collapse=True).derivative(2), in_dims=(0, 1)
    )(POINTS, v)
    torch.testing.assert_close(over_points, 2 * expected.coefficient(2).sum(0))


def test_torch_func_differentiates_through_a_jet(network):
    def laplacian(x):
        return jet(network, x, OneHot(torch.arange(4)), order=2, collapse=True).derivative(2)[0]

    slope = torch.func.grad(laplacian)(POINTS[0])
    tangent = torch.func.jvp(laplacian, (POINTS[0],), (POINTS[1],))[1]
    torch.testing.assert_close(slope @ POINTS[1], tangent)


def test_nested_evaluations_give_the_biharmonic_operator(network):
    identity = torch.eye(4, dtype=torch.float64)[:, None, :]

    def laplacian(x):
        return jet(network, x, identity, order=2, collapse=True).derivative(2)

    actual = jet(laplacian, POINTS, identity, order=2, collapse=True).derivative(2)
    trace = lambda f: lambda point: torch.func.hessian(f)(point).diagonal().sum()
    expected = torch.stack([trace(trace(lambda z: network(z).sum()))(point) for point in POINTS])
    torch.testing.assert_close(actual[:, 0], expected)


def test_single_precision_stays_single():
    x = torch.randn(3, 4)
    network = nn.Sequential(nn.Linear(4, 5), nn.Softplus(), nn.LeakyReLU(), nn.Linear(5, 1))
    result = jet(network, x, OneHot(torch.arange(4)), order=4, collapse=True)
    assert {c.dtype for c in result.coefficients} == {torch.float32}
    double = jet(network.double(), x.double(), OneHot(torch.arange(4)), order=4, collapse=True)
    torch.testing.assert_close(result.coefficient(4).double(), double.coefficient(4), rtol=1e-4, atol=1e-5)


BAD = {
    "order 0": (ValueError, "order must be a whole number of at least 1", {"order": 0}),
    "order 1.5": (ValueError, "order must be", {"order": 1.5}),
    "collapse of order 1": (ValueError, "collapse needs order >= 2", {"order": 1, "collapse": True}),
    "integer points": (TypeError, r"x must be floating.*x\.float\(\)", {"x": torch.arange(4)}),
    "list of points": (TypeError, "x must be a tensor", {"x": [1.0, 2.0]}),
    "shape": (ValueError, r"shape \(3,\), which does not fit x of shape \(4,\)", {"tangents": torch.ones(3)}),
    "rank": (ValueError, "does not fit", {"tangents": torch.ones(2, 2, 4)}),
    "dtype": (TypeError, "the seed of order 1 is torch.float64", {"tangents": torch.ones(4).double()}),
    "number": (TypeError, "must be a tensor, OneHot or None", {"tangents": 1.0}),
    "too many": (ValueError, "has 3 seeds, but order is 2", {"tangents": [torch.ones(4)] * 3}),
    "none": (ValueError, "at least one seed", {"tangents": [None]}),
    "directions": (ValueError, "has 3 directions.*has 2", {"tangents": [torch.ones(2, 4), torch.ones(3, 4)]}),
    "top": (ValueError, "has 2 rows", {"tangents": [torch.ones(2, 4)] * 2, "collapse": True}),
    "weights alone": (ValueError, "set collapse=True", {"weights": torch.ones(1)}),
    "weights shape": (ValueError, r"\(V,\) or \(G, V\)", {"weights": torch.ones(1, 1, 1), "collapse": True}),
    "weights count": (
        ValueError,
        "2 directions, but weights has 3",
        {"weights": torch.ones(3), "collapse": True, "tangents": torch.ones(2, 4)},
    ),
    "weights dtype": (TypeError, "weights must be", {"weights": [1.0], "collapse": True}),
    "one-hot range": (ValueError, r"0 \.\. 3.*reach 0 \.\. 4", {"tangents": OneHot(torch.tensor([0, 4]))}),
    "not a tensor": (TypeError, "returned tuple.*torch.cat", {"f": lambda x: (x, x)}),
    "not callable": (TypeError, "f must be callable", {"f": 3}),
    "in place": (nde.taylor.InPlaceError, r"__iadd__.*out of place", {"f": lambda x: x.__iadd__(1)}),
    "in place method": (nde.taylor.InPlaceError, r"Tensor\.exp_", {"f": lambda x: x.exp_()}),
    "in place on a tensor": (nde.taylor.InPlaceError, r"add_", {"f": lambda x: torch.zeros(4).add_(x)}),
    "assignment": (nde.taylor.InPlaceError, "__setitem__", {"f": lambda x: x.__setitem__(0, 1.0)}),
    "in place operator": (nde.taylor.InPlaceError, r"__imul__.*out of place", {"f": lambda x: x.__imul__(2)}),
    "fill": (nde.taylor.InPlaceError, r"Tensor\.zero_", {"f": lambda x: x.zero_()}),
    "scatter in place": (
        nde.taylor.InPlaceError,
        r"scatter_add_",
        {"f": lambda x: x.scatter_add_(0, torch.tensor([0]), x)},
    ),
    "a number": (TypeError, r"Tensor\.item of a jet would drop.*jet\.primal", {"f": lambda x: x[0].item() * x}),
    "a list": (TypeError, r"tolist of a jet would drop", {"f": lambda x: torch.tensor(x.tolist())}),
    "an array": (TypeError, r"numpy of a jet would drop", {"f": lambda x: torch.from_numpy(x.numpy())}),
    "float": (TypeError, r"float\(\) of a jet would drop", {"f": lambda x: x * float(x[0])}),
    "autograd inside": (TypeError, r"requires_grad_.*another nde\.taylor\.jet", {"f": lambda x: x.requires_grad_()}),
    "packed sequence": (
        NotImplementedError,
        "packed sequence.*Pad",
        {"f": lambda x: torch.gru(x, torch.tensor([1]), x, [x] * 4, True, 1, 0.0, False, False)},
    ),
    "sampled by cubes": (
        NotImplementedError,
        "mode is 'bicubic'",
        {"f": lambda x: nn.functional.grid_sample(torch.ones(1, 1, 2, 2), x.reshape(1, 1, 2, 2), mode="bicubic")},
    ),
    "spectral norm": (
        NotImplementedError,
        "ord is 2, which needs singular values",
        {"f": lambda x: torch.linalg.norm(x.reshape(2, 2), 2)},
    ),
    "module in place": (nde.taylor.InPlaceError, "relu.*inplace=True", {"f": nn.ReLU(inplace=True)}),
    "out": (nde.taylor.InPlaceError, "out=", {"f": lambda x: torch.sin(x, out=torch.empty(4))}),
    "missing": (
        nde.taylor.MissingRuleError,
        r"(?s)torch\.linalg\.eigvalsh.*register_linear\(torch\.linalg\.eigvalsh\)",
        {"f": lambda x: torch.linalg.eigvalsh(x.reshape(2, 2))},
    ),
    "training batch norm": (ValueError, r"\.eval\(\)", {"f": lambda x: nn.BatchNorm1d(2)(x.reshape(2, 2))}),
    "nan point": (
        nde.taylor.NonFiniteError,
        "x and tangents",
        {"x": torch.tensor([0.0, float("nan"), 0, 0]), "check_finite": True},
    ),
    "singular": (
        nde.taylor.NonFiniteError,
        r"sqrt.*order 1.*\(1,\)",
        {"f": lambda x: torch.sqrt(x), "x": torch.tensor([1.0, 0.0, 1, 1]), "check_finite": True},
    ),
}


@pytest.mark.parametrize(("kind", "message", "given"), BAD.values(), ids=BAD)
def test_bad_input_is_named(kind, message, given):
    arguments = {"f": torch.sin, "x": torch.ones(4), "tangents": torch.ones(4), "order": 2, **given}
    f, x, tangents = (arguments.pop(name) for name in ("f", "x", "tangents"))
    with pytest.raises(kind, match=message):
        jet(f, x, tangents, **arguments)
    # an evaluation that failed leaves the next one unharmed
    assert jet(torch.sin, torch.ones(4), torch.ones(4), order=1).primal.shape == (4,)


@pytest.mark.parametrize("indices", [[0, 1], torch.tensor([0.5]), torch.zeros(0, dtype=torch.int64)])
def test_one_hot_indices_are_checked(indices):
    with pytest.raises((TypeError, ValueError), match="indices must"):
        OneHot(indices)


def test_jets_of_two_evaluations_are_told_apart():
    one, two = (jet(torch.sin, torch.ones(4), torch.ones(4), order=2) for _ in range(2))
    with pytest.raises(ValueError, match="two evaluations meet"):
        one + two


def test_a_coefficient_above_the_order_is_refused():
    with pytest.raises(ValueError, match=r"0 \.\. 2"):
        jet(torch.sin, torch.ones(4), torch.ones(4), order=2).coefficient(3)


def test_rules_of_the_user_carry_a_function_without_one():
    x = torch.linspace(0.2, 2, 5, dtype=torch.float64)
    with pytest.raises(nde.taylor.MissingRuleError):
        jet(torch.special.bessel_j0, x, torch.ones_like(x), order=3)
    try:
        nde.taylor.register_derivative(torch.special.i0, torch.special.i1)
        nde.taylor.register_derivative(torch.special.i1, lambda z: torch.special.i0(z) - torch.special.i1(z) / z)
        result = jet(torch.special.i0, x, torch.ones_like(x), order=6)
        # I0'' = I0 - I0' / x
        residual = result.derivative(2) + result.derivative(1) / x - result.primal
        torch.testing.assert_close(residual, torch.zeros_like(x), rtol=0, atol=1e-13)
        nde.taylor.register_rule(torch.renorm, lambda a, p, dim, top: a / a.norm(p, 1, True) * top)
        square = x[:4].reshape(2, 2)
        result = jet(lambda a: torch.renorm(a, 2, 0, 0.1), square, square, order=2)
        torch.testing.assert_close(result.primal, torch.renorm(square, 2, 0, 0.1))
        torch.testing.assert_close(result.derivative(1), torch.zeros_like(square))
        nde.taylor.register_linear(torch.detach_copy)
        result = jet(lambda z: torch.detach_copy(z), x, torch.ones_like(x), order=2)
        torch.testing.assert_close(result.derivative(1), torch.ones_like(x))
    finally:
        for function in (torch.special.i0, torch.special.i1, torch.renorm, torch.detach_copy):
            nde.taylor.registry.RULES.pop(function, None)
