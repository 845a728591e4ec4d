"""What is proven of a case: its coefficients, and that every way to ask for them gives the same."""

import torch

from nde.taylor import OneHot, jet
from tests.taylor.reference import nested_coefficients, projected, random_seeds


def close(actual, expected, rtol, scale=0.0):
    """Equal up to rounding on the scale of the largest entry."""
    scale = max(float(expected.detach().abs().max()), scale, 1e-3)
    torch.testing.assert_close(actual, expected, rtol=rtol, atol=rtol * scale)


def all_close(actual, expected, rtol):
    for one, other in zip(actual, expected, strict=True):
        close(one, other, rtol)


def check_values(f, x, reference, rtol):
    """Value and coefficients to order 6 along one curve with a seed for every order."""
    seeds = random_seeds(x, 6, torch.Generator().manual_seed(0))
    result = jet(f, x, seeds, order=6)
    close(result.primal.double(), f(x).detach().double(), 1e-3 * rtol)
    actual = torch.stack([projected(c) for c in result.coefficients]).detach()
    expected = nested_coefficients(reference, x, seeds, 6)
    close(actual, expected, rtol)


def check_directions(f, x, rtol, vmapped):
    """Many directions, symbolic zeros, one-hot and shared seeds, the collapsed coefficient: each against plain ones."""
    generator = torch.Generator().manual_seed(1)
    v = torch.randn((3, *x.shape), generator=generator, dtype=x.dtype)
    second = torch.randn(x.shape, generator=generator, dtype=x.dtype)
    many = jet(f, x, [v, second], order=5)
    single = [jet(f, x, [row, second], order=5) for row in v]
    for k in range(1, 6):
        close(many.coefficient(k), torch.stack([one.coefficient(k) for one in single]), rtol)

    zero = torch.zeros_like(x)
    sparse = jet(f, x, [None, second], order=5)
    all_close(sparse.coefficients, jet(f, x, [zero, second, zero, zero, zero], order=5).coefficients, rtol)

    lower = jet(f, x, [v, second], order=3)
    all_close(lower.coefficients, many.coefficients[:4], rtol)
    check_collapsed(f, x, v, lower, second, rtol)

    indices = torch.tensor([x.shape[-1] - 1, 0, 1])
    unit = torch.nn.functional.one_hot(indices, x.shape[-1]).to(x.dtype)
    unit = unit.reshape(3, *[1] * (x.ndim - 1), -1)
    full = jet(f, x, unit.expand(3, *x.shape).clone(), order=2)
    for seed in (OneHot(indices), unit):
        all_close(jet(f, x, seed, order=2).coefficients, full.coefficients, rtol)
        collapsed = jet(f, x, seed, order=2, collapse=True)
        close(collapsed.coefficient(2), full.coefficient(2).sum(0), rtol)
    if vmapped:
        mapped = torch.func.vmap(lambda one: jet(f, x, [one, second], order=3).coefficient(3))(v)
        close(mapped, many.coefficient(3), rtol)


def check_collapsed(f, x, v, free, second, rtol):
    """The collapsed coefficient against the sum of ``free``, the jet along ``v`` with a second seed."""
    weights = torch.tensor([[1.0, -2.0, 0.5], [0.3, 0.0, 1.0]], dtype=x.dtype)
    last = torch.stack([second, -3 * second])
    slopes = jet(f, x, last, order=1).coefficient(1)
    for top in (2, 3):
        seeds = [v] if top == 2 else [v, second]
        seeds = [*seeds, last]
        grouped = jet(f, x, seeds, order=top, collapse=True, weights=weights)
        plain = jet(f, x, [*seeds[:-1], second], order=top, collapse=True)
        each = jet(f, x, [v], order=2) if top == 2 else free
        all_close(grouped.coefficients[:top], each.coefficients[:top], rtol)
        close(grouped.coefficient(top), torch.tensordot(weights, each.coefficient(top), 1) + slopes, rtol)
        close(plain.coefficient(top), each.coefficient(top).sum(0) + slopes[0], rtol)


def check_gradients(f, x, rtol):
    """Reverse mode through jets: the derivative of c_k along v is (k + 1) c_(k + 1), collapsed or not."""
    v = torch.randn(x.shape, generator=torch.Generator().manual_seed(2), dtype=x.dtype)
    expected = jet(f, x, v, order=4)
    for order, collapse in ((1, False), (2, True), (3, False)):
        leaf = x.clone().requires_grad_()
        value = projected(jet(f, leaf, v, order=order, collapse=collapse).coefficient(order))
        gradient = torch.zeros_like(x)
        if value.requires_grad:
            (gradient,) = torch.autograd.grad(value, leaf, materialize_grads=True)
        wanted = (order + 1) * projected(expected.coefficient(order + 1)).detach()
        close((gradient * v).sum(), wanted, 10 * rtol, float((gradient * v).abs().sum()))


def check_spelling(f, other, x, rtol):
    """Two spellings of one function give one jet."""
    v = torch.randn((2, *x.shape), generator=torch.Generator().manual_seed(3), dtype=x.dtype)
    for options in ({"order": 3}, {"order": 2, "collapse": True}):
        all_close(jet(other, x, v, **options).coefficients, jet(f, x, v, **options).coefficients, rtol)
    close(jet(other, x, v, order=1).primal.double(), other(x).detach().double(), 1e-3 * rtol)
