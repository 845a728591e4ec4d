"""Linear algebra of matrices that vary: solutions, inverses, determinants, factors."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from nde.taylor.frame import Frame, Lifted
from nde.taylor.jet_type import Jet, belongs
from nde.taylor.onehot import OneHotCoefficient
from nde.taylor.registry import RULES, functions_named
from nde.taylor.rules.algebra import aligned, full_along
from nde.taylor.series import accumulate, integrate

__all__: list[str] = []


def _matrices(frame: Frame, *values: Any) -> list[list[Lifted]]:
    """Return the series of matrices, dense and with both axes at their sizes."""
    result = []
    for value, series in zip(values, aligned(frame, *values), strict=True):
        dense = [c.dense() if isinstance(c, OneHotCoefficient) else c for c in series]
        result.append(list(full_along(dense, -2, -1)) if belongs(frame, value) else dense)
    return result


def _solved(frame: Frame, a: list[Lifted], b: list[Lifted], solver: Callable[[Any, Any], Any]) -> list[Lifted]:
    """Solve ``A X = B`` order by order: ``A_0 X_k = B_k - sum_(j >= 1) A_j X_(k - j)``."""
    x: list[Lifted] = [solver(a[0], b[0])]
    for k in range(1, frame.order + 1):
        if not frame.keeps(k):
            x.append(None)
            continue
        rest = None if a[k] is None else a[k] @ x[0]
        inner = None
        for j in range(1, k):
            if a[j] is not None and x[k - j] is not None:
                inner = accumulate(inner, a[j] @ x[k - j])
        if inner is not None:
            rest = accumulate(rest, frame.summed(inner, k))
        right = b[k] if rest is None else accumulate(-rest, b[k])
        x.append(None if right is None else solver(a[0], right))
    return x


def _solve(frame: Frame, A: Any, B: Any, *, left: bool = True) -> Any:
    if not left:
        return torch.linalg.solve(A.mT, B.mT).mT
    if B.ndim == 1 or (A.ndim - 1 == B.ndim and B.shape == A.shape[:-1]):  # vectors, as torch tells them
        return torch.squeeze(_solve(frame, A, torch.unsqueeze(B, -1)), -1)
    a, b = _matrices(frame, A, B)
    return Jet(frame, _solved(frame, a, b, torch.linalg.solve))


def _solve_triangular(
    frame: Frame, A: Any, B: Any, *, upper: bool, left: bool = True, unitriangular: bool = False
) -> Any:
    if not left:
        return _solve_triangular(frame, A.mT, B.mT, upper=not upper, unitriangular=unitriangular).mT
    part = torch.triu(A, int(unitriangular)) if upper else torch.tril(A, -int(unitriangular))
    if unitriangular:
        part = part + torch.eye(A.shape[-1], dtype=A.dtype, device=A.device)

    def solver(a: Any, b: Any) -> Any:
        return torch.linalg.solve_triangular(a, b, upper=upper)

    a, b = _matrices(frame, part, B)
    return Jet(frame, _solved(frame, a, b, solver))


def _inverse(frame: Frame, A: Any) -> Any:
    return _solve(frame, A, torch.eye(A.shape[-1], dtype=A.dtype, device=A.device).expand(A.shape))


def _logabsdet(frame: Frame, A: Any) -> tuple[Any, Any]:
    """Return the sign, a constant, and ``log |det A|``, by ``(log |det A|)' = tr(A^-1 A')``."""
    (a,) = _matrices(frame, A)
    inverse = torch.linalg.inv(A).mT.lifted
    sign, first = torch.linalg.slogdet(a[0])
    lifted = [first]
    for k in range(1, frame.order + 1):
        product = integrate(frame, a, inverse, k)
        lifted.append(None if product is None else product.sum((-2, -1)))
    return sign.squeeze(0), Jet(frame, lifted)


def _slogdet(frame: Frame, A: Any) -> Any:
    return _SignAndLogarithm(*_logabsdet(frame, A))


class _SignAndLogarithm(NamedTuple):
    sign: Any
    logabsdet: Any


def _logdet(frame: Frame, input: Any) -> Any:
    sign, logarithm = _logabsdet(frame, input)
    return torch.where(sign > 0, logarithm, float("nan"))


def _det(frame: Frame, A: Any) -> Any:
    sign, logarithm = _logabsdet(frame, A)
    return sign * torch.exp(logarithm)


def _cholesky(frame: Frame, A: Any, *, upper: bool = False) -> Any:
    """Return the factor order by order.

    With ``S = L_0^-1 (A_k - sum_(0 < j < k) L_j L_(k - j)^T) L_0^-T``, ``L_k`` is ``L_0`` times the lower triangle of
    ``S`` with half of its diagonal. Walter and Lehmann, Algorithmic differentiation of linear algebra functions (2012).
    """
    (a,) = _matrices(frame, (A + A.mT) * 0.5)
    first = torch.linalg.cholesky(a[0])
    factor: list[Lifted] = [first]
    for k in range(1, frame.order + 1):
        inner = None
        for j in range(1, k):
            if frame.keeps(k) and factor[j] is not None and factor[k - j] is not None:
                inner = accumulate(inner, factor[j] @ factor[k - j].mT)
        right = a[k] if inner is None else accumulate(-frame.summed(inner, k), a[k])
        if right is None:
            factor.append(None)
            continue
        half = torch.linalg.solve_triangular(first, right, upper=False)
        both = torch.linalg.solve_triangular(first, half.mT, upper=False)
        factor.append(first @ (torch.tril(both, -1) + 0.5 * torch.tril(torch.triu(both))))
    lower = Jet(frame, factor)
    return lower.mT if upper else lower


def _matrix_power(frame: Frame, A: Any, n: int) -> Any:
    if n < 0:
        return torch.linalg.matrix_power(torch.linalg.inv(A), -n)
    if n == 0:
        return torch.eye(A.shape[-1], dtype=A.dtype, device=A.device).expand(A.shape)
    return functools.reduce(torch.matmul, [A] * n)


def _multi_dot(frame: Frame, tensors: Any) -> Any:
    return functools.reduce(torch.matmul, tensors)


def _cholesky_solve(frame: Frame, B: Any, L: Any, upper: bool = False) -> Any:
    first, second = (L.mT, L) if upper else (L, L.mT)
    half = torch.linalg.solve_triangular(first, B, upper=False)
    return torch.linalg.solve_triangular(second, half, upper=True)


def _cholesky_inverse(frame: Frame, L: Any, upper: bool = False) -> Any:
    return _cholesky_solve(frame, torch.eye(L.shape[-1], dtype=L.dtype, device=L.device).expand(L.shape), L, upper)


def _vander(frame: Frame, x: Any, *, N: int | None = None) -> Any:
    count = x.shape[-1] if N is None else N
    powers = [torch.ones_like(x)]
    for _ in range(count - 1):
        powers.append(x if len(powers) == 1 else powers[-1] * x)
    return torch.stack(powers, -1)


def _inner(frame: Frame, input: Any, other: Any) -> Any:
    if input.ndim == 0 or other.ndim == 0:
        return input * other
    return torch.tensordot(input, other, dims=([-1], [-1]))


def _vecdot(frame: Frame, x: Any, y: Any, *, dim: int = -1) -> Any:
    return (torch.conj(x) * y).sum(dim) if x.dtype.is_complex else (x * y).sum(dim)


_BY_FUNCTION: dict[Any, Callable[..., Any]] = {
    torch.linalg.solve: _solve,
    torch.linalg.solve_triangular: _solve_triangular,
    torch.linalg.slogdet: _slogdet,
    torch.linalg.det: _det,
    torch.linalg.inv: _inverse,
    torch.linalg.cholesky: _cholesky,
    torch.linalg.matrix_power: _matrix_power,
    torch.linalg.multi_dot: _multi_dot,
    torch.linalg.vecdot: _vecdot,
    torch.linalg.vander: _vander,
    torch.linalg.matmul: lambda frame, input, other: torch.matmul(input, other),
}
_BY_NAME: dict[tuple[str, ...], Callable[..., Any]] = {
    ("slogdet",): _slogdet,
    ("det",): _det,
    ("logdet",): _logdet,
    ("inverse",): _inverse,
    ("matrix_power",): _matrix_power,
    ("chain_matmul",): lambda frame, *matrices: _multi_dot(frame, matrices),
    ("cholesky_solve",): _cholesky_solve,
    ("cholesky_inverse",): _cholesky_inverse,
    ("inner",): _inner,
    ("vdot",): lambda frame, input, other: _vecdot(frame, input, other),
}
RULES.update(_BY_FUNCTION)
for _names, _rule in _BY_NAME.items():
    for _function in functions_named(*_names):
        RULES[_function] = _rule
