"""Linear algebra, recurrent cells, special functions and complex numbers against nested differentiation, to order 6."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import nde.taylor
from tests.taylor.reference import assert_equals_nested

GENERATOR = torch.Generator().manual_seed(5)


def draw(*shape):
    return torch.randn(shape, generator=GENERATOR, dtype=torch.float64)


MATRIX = draw(3, 4)
REGULAR = draw(4, 4) + 4 * torch.eye(4, dtype=torch.float64)


def definite(x):
    return REGULAR @ REGULAR.mT + x.mT @ x


def cell(kind):
    torch.manual_seed(0)
    return kind(4, 4).double()


GRU, LSTM = cell(nn.GRUCell), cell(nn.LSTMCell)

CASES = {
    "solve": lambda x: torch.linalg.solve(REGULAR + x.mT @ x, x.mT.sin()),
    "solve from the right": lambda x: torch.linalg.solve(REGULAR + x.mT @ x, x.sin(), left=False),
    "solve of vectors": lambda x: torch.linalg.solve(REGULAR + x.mT @ x, x[0].sin()),
    "solve with a constant matrix": lambda x: torch.linalg.solve(REGULAR, x.mT.sin()),
    "solve with a constant right side": lambda x: torch.linalg.solve(REGULAR + x.mT @ x, REGULAR),
    "solve_triangular": lambda x: torch.linalg.solve_triangular(definite(x).tril(), x.mT.sin(), upper=False),
    "solve_triangular unit": lambda x: torch.linalg.solve_triangular(
        definite(x), x.mT.sin(), upper=True, unitriangular=True
    ),
    "inv": lambda x: torch.linalg.inv(definite(x)) + torch.inverse(REGULAR + x.mT @ x),
    "det": lambda x: torch.linalg.det(REGULAR + x.mT @ x) + torch.det(x[:, :3]),
    "slogdet logdet": lambda x: torch.linalg.slogdet(definite(x))[1] + torch.logdet(definite(x.sin())),
    "cholesky": lambda x: torch.linalg.cholesky(definite(x)) + torch.linalg.cholesky(definite(x), upper=True),
    "powers of matrices": lambda x: torch.linalg.matrix_power(x.mT @ x, 3) + torch.linalg.matrix_power(definite(x), -1),
    "chains of matrices": lambda x: torch.linalg.multi_dot([x, REGULAR, x.mT]),
    "inner products": lambda x: (
        torch.inner(x, x.sin()) + torch.linalg.vecdot(x, x.exp())[:, None] + torch.vdot(x[0], x[1])
    ),
    "RNNCell": cell(nn.RNNCell),
    "GRUCell": GRU,
    "LSTMCell": lambda x: torch.cat(LSTM(x, (x.sin(), x.cos()))),
    "GRUCell twice": lambda x: GRU(x, GRU(x)),
    "ndtr": torch.special.ndtr,
    "ndtri": lambda x: torch.special.ndtri(torch.sigmoid(x)),
    "log_ndtr": torch.special.log_ndtr,
    "erfcx": torch.special.erfcx,
    "logit": lambda x: torch.logit(torch.sigmoid(x.sin())) + torch.logit(torch.sigmoid(x), eps=1e-6),
    "entr": lambda x: torch.special.entr(x.exp()),
    "xlogy": lambda x: torch.special.xlogy(x, 1 + x.exp()) + torch.special.xlog1py(x, x.exp()),
    "degrees": lambda x: torch.deg2rad(x).sin() + torch.rad2deg(x),
    "glu": F.glu,
    "trapezoid": lambda x: torch.trapezoid(x.sin(), dim=0) + torch.trapezoid(x.sin(), x.exp()).sum(),
    "l1_loss": lambda x: F.l1_loss(x.sin(), 2 + x.cos()),
    "axis": lambda x: x.sin().sum(axis=1),
    "adjoint": lambda x: x.H.sin() + x.mH,
    "complex products": lambda x: ((x + 2j * x.sin()) * torch.exp(1j * x)).real,
    "complex layers": lambda x: (torch.complex(x, x.sin()) @ torch.complex(REGULAR, REGULAR.mT)).conj().imag,
    "complex pairs": lambda x: torch.view_as_real(torch.view_as_complex(x.reshape(3, 2, 2)) ** 2),
    "polar": lambda x: torch.polar(x.exp(), x).imag + torch.polar(1 + x.exp(), x.sin()).angle(),
    "modulus": lambda x: torch.complex(x, 1 + x.exp()).abs() + torch.sgn(torch.complex(x, x.exp())).imag,
}


@pytest.mark.slow  # further arguments and shapes: test_every_rule has a case of each operation
@pytest.mark.parametrize("function", CASES.values(), ids=CASES)
def test_coefficients_equal_nested_differentiation_to_order_six(function):
    assert_equals_nested(function, MATRIX, rtol=1e-8)


def test_the_laplacian_of_a_logarithm_of_a_determinant_is_that_of_the_formula_with_its_gradient():
    x = draw(3, 3).requires_grad_()
    directions = torch.eye(9, dtype=torch.float64).reshape(9, 3, 3)
    jets = nde.taylor.jet(lambda a: torch.linalg.slogdet(a)[1], x, directions, order=2, collapse=True).derivative(2)
    # d^2 log|det A| = -tr(A^-1 dA A^-1 dA), summed over the entries of A
    inverse = torch.linalg.inv(x)
    formula = -inverse.square().sum()
    torch.testing.assert_close(jets, formula)
    for one, other in zip(torch.autograd.grad(jets, x), torch.autograd.grad(formula, x), strict=True):
        torch.testing.assert_close(one, other)


def test_attributes_that_would_drop_derivatives_are_refused():
    x = torch.ones(2)
    with pytest.raises(AttributeError, match="would drop its derivatives"):
        nde.taylor.jet(lambda z: z * z._base, x.view(2), x, order=1)
    assert nde.taylor.jet(lambda z: z * z.itemsize, x, x, order=1).derivative(1).tolist() == [4.0, 4.0]
    result = nde.taylor.jet(lambda z: z.data * z, x * 3, x, order=2)
    assert result.derivative(1).tolist() == [3.0, 3.0]
    assert result.derivative(2).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_and_autocast_keep_their_dtype(dtype):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))
    x, v = torch.randn(5, 3), torch.randn(5, 3)
    exact = nde.taylor.jet(network, x, v, order=2)
    with torch.autocast("cpu", dtype=dtype):
        cast = nde.taylor.jet(network, x, v, order=2)
    assert cast.dtype == dtype
    half = nde.taylor.jet(network.to(dtype), x.to(dtype), v.to(dtype), order=2)
    for one in (cast, half):
        for a, b in zip(one.coefficients, exact.coefficients, strict=True):
            assert a.dtype == dtype
            torch.testing.assert_close(a.float(), b, rtol=0.05, atol=0.03)  # 8 bits of the mantissa


@pytest.mark.parametrize("order", [2, 3, 5])
def test_jets_work_within_the_transforms_of_torch_func(order):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Linear(6, 1)).double()
    x, v = draw(4, 3), draw(4, 3)

    def top(point, direction):
        return nde.taylor.jet(network, point, direction, order=order).derivative(order).squeeze(-1)

    together = top(x, v)
    torch.testing.assert_close(torch.func.vmap(top)(x, v), together)
    gradient = torch.func.vmap(torch.func.grad(top))(x, v)
    leaf = x.clone().requires_grad_()
    (reverse,) = torch.autograd.grad(top(leaf, v).sum(), leaf)
    torch.testing.assert_close(gradient, reverse)
    forward = torch.func.jvp(lambda p: top(p, v), (x,), (v,))[1]
    torch.testing.assert_close(forward, (reverse * v).sum(-1))
    with torch.autograd.forward_ad.dual_level():
        dual = top(torch.autograd.forward_ad.make_dual(x, v), v)
        torch.testing.assert_close(torch.autograd.forward_ad.unpack_dual(dual).tangent, forward)
