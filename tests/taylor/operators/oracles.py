"""Networks, and their derivatives by nested automatic differentiation of PyTorch."""

from __future__ import annotations

import torch
from torch import nn
from torch.func import jacfwd, jacrev, vmap


def network(inputs, outputs=1, width=6, seed=0, dtype=torch.float64):
    """A tanh network with weights of size one, so that derivatives of all orders are of size one."""
    generator = torch.Generator().manual_seed(seed)
    layers = nn.Sequential(
        nn.Linear(inputs, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, outputs)
    ).to(dtype)
    with torch.no_grad():
        for parameter in layers.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=dtype) / parameter.shape[-1] ** 0.5)
    return layers


def points(batch, dimension, seed=1, dtype=torch.float64):
    return torch.randn(batch, dimension, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def derivatives(f, x, order):
    """The tensor of all derivatives of one order at each point: shape ``(batch, *outputs, d, ..., d)``."""
    nested = f
    for level in range(order):
        nested = jacrev(nested) if level < 1 else jacfwd(nested)
    return vmap(nested)(x)


def mixed(f, x, index):
    """One partial derivative."""
    tensor = derivatives(f, x, sum(index))
    for axis in [axis for axis, count in enumerate(index) for _ in range(count)]:
        tensor = tensor[..., axis]
    return tensor


def trace(tensor):
    """The sum over equal indices of the last two axes."""
    return tensor.diagonal(dim1=-2, dim2=-1).sum(-1)


def bilaplacian(f, x):
    return trace(trace(derivatives(f, x, 4)))
