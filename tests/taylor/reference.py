"""Taylor coefficients by nested reverse-mode differentiation: slow, and right where autograd is."""

import torch

import nde.taylor


def projected(output, seed=0):
    """One number out of an output, the same combination for outputs of one shape."""
    generator = torch.Generator().manual_seed(seed)
    weights = torch.rand(output.shape, generator=generator, dtype=torch.float64) + 0.5
    return (weights * output).sum()


def nested_coefficients(f, x, seeds, order):
    """The projected coefficients ``c_0 .. c_order`` of ``f`` along ``x + sum_k seeds[k - 1] t^k``."""
    t = torch.zeros((), dtype=torch.float64, requires_grad=True)
    point = x
    for k, seed in enumerate(seeds, start=1):
        if seed is not None:
            point = point + seed * t**k
    value = projected(f(point))
    coefficients = [value]
    for k in range(1, order + 1):
        if value.requires_grad:
            (value,) = torch.autograd.grad(value, t, create_graph=True, materialize_grads=True)
        else:
            value = torch.zeros((), dtype=torch.float64)
        value = value / k
        coefficients.append(value)
    return torch.stack(coefficients).detach()


def random_seeds(x, order, generator):
    return [torch.randn(x.shape, generator=generator, dtype=x.dtype) * 0.5**k for k in range(order)]


def assert_close_to_scale(actual, expected):
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-9 * float(expected.detach().abs().max()))


def assert_equals_nested(f, x, order=6, rtol=1e-9, seed=0):
    """One direction with a seed for every order; then many directions collapsed, against the sum of single ones."""
    generator = torch.Generator().manual_seed(seed)
    seeds = random_seeds(x, order, generator)
    result = nde.taylor.jet(f, x, seeds, order=order)
    actual = torch.stack([projected(c) for c in result.coefficients]).detach()
    expected = nested_coefficients(f, x, seeds, order)
    scale = expected.abs().max().clamp_min(1e-3)  # of a function that cancels to zero, rounding is left
    torch.testing.assert_close(actual, expected, rtol=rtol, atol=float(rtol * scale))

    for top in (2, min(4, order)) if order > 1 else ():
        directions = torch.stack([torch.randn(x.shape, generator=generator, dtype=x.dtype) for _ in range(3)])
        weights = torch.tensor([[1.0, -2.0, 0.5], [0.3, 0.0, 1.0]], dtype=x.dtype)
        last = torch.randn((2, *x.shape), generator=generator, dtype=x.dtype)
        middle = [None] * (top - 2)
        collapsed = nde.taylor.jet(f, x, [directions, *middle, last], order=top, collapse=True, weights=weights)
        free = nde.taylor.jet(f, x, [directions], order=top)
        linear = nde.taylor.jet(f, x, last, order=1)
        torch.testing.assert_close(collapsed.primal, free.primal, rtol=1e-10, atol=1e-12)
        for k in range(1, top):
            torch.testing.assert_close(collapsed.coefficient(k), free.coefficient(k), rtol=1e-10, atol=1e-12)
        total = torch.tensordot(weights, free.coefficient(top), 1) + linear.coefficient(1)
        assert_close_to_scale(collapsed.coefficient(top), total)
        plain = nde.taylor.jet(f, x, [directions, *middle, last[0]], order=top, collapse=True)
        total = free.coefficient(top).sum(0) + linear.coefficient(1)[0]
        assert_close_to_scale(plain.coefficient(top), total)
