"""Operations on whole tensors against nested automatic differentiation, up to order 6."""

import pytest
import torch
import torch.nn.functional as F

import nde.taylor
from tests.taylor.reference import assert_equals_nested

GENERATOR = torch.Generator().manual_seed(3)


def draw(*shape):
    return torch.randn(shape, generator=GENERATOR, dtype=torch.float64)


MATRIX = draw(3, 4)  # the point of most cases
WEIGHT = draw(5, 4)
SQUARE = draw(4, 4)
IMAGE = draw(2, 3, 6, 6)
INDEX = torch.tensor([2, 0, 0])

CASES = {
    # products
    "linear": (lambda x: F.linear(x, WEIGHT, WEIGHT[:, 0]), MATRIX),
    "linear of a vector": (lambda x: F.linear(x[0], WEIGHT), MATRIX),
    "linear with a weight that varies": (lambda x: F.linear(x.sin(), x, x[:, 0]), MATRIX),
    "matmul constant": (lambda x: SQUARE @ x.mT + x.T, MATRIX),
    "matmul of two": (lambda x: torch.matmul(x.sin(), x.mT), MATRIX),
    "matmul vector": (lambda x: x @ x[0] + x[:, 0] @ x.cos() @ x[1], MATRIX),
    "mm bmm dot": (lambda x: torch.bmm(x[None], x.T[None])[0].mm(x) * torch.dot(x[0], x[1]), MATRIX),
    "addmm": (lambda x: torch.addmm(x, x, SQUARE, beta=0.5, alpha=2.0), MATRIX),
    "outer": (lambda x: torch.outer(x[0], x[1].sin()), MATRIX),
    "cross": (lambda x: torch.linalg.cross(x[:, :3], x[:, 1:].sin()), MATRIX),
    "einsum of two": (lambda x: torch.einsum("bi,bj->ij", x, x.exp()), MATRIX),
    "einsum of three": (lambda x: torch.einsum("bi, ij, bj", x, SQUARE, x.sin()), MATRIX),
    "einsum ellipsis": (lambda x: torch.einsum("...i,oi->...o", x, WEIGHT), MATRIX),
    "tensordot": (lambda x: torch.tensordot(x, x.sin(), dims=([0], [0])), MATRIX),
    "bilinear": (lambda x: F.bilinear(x, x.sin(), torch.stack([SQUARE, SQUARE.T]), None), MATRIX),
    "kron": (lambda x: torch.kron(x[:2, :2], x[1:, 2:]), MATRIX),
    "conv1d": (lambda x: F.conv1d(x[:, :, 0], IMAGE[:, :, :3, 0], IMAGE[:, 0, 0, 0], padding=1), IMAGE),
    "conv2d": (lambda x: F.conv2d(x.tanh(), IMAGE[:, :, :3, :3], IMAGE[:, 0, 0, 0], stride=2), IMAGE),
    "conv2d unbatched": (lambda x: F.conv2d(x[0], IMAGE[:, :, :3, :3]), IMAGE),
    "conv2d with a weight that varies": (lambda x: F.conv2d(x, x[:, :, :2, :2].sin(), x[:, 0, 0, 0]), IMAGE),
    "conv3d": (lambda x: F.conv3d(x[:, None], IMAGE[:1, None, :2, :2, :2]), IMAGE),
    "conv_transpose2d": (lambda x: F.conv_transpose2d(x, IMAGE[0, :, None, :2, :2]), IMAGE),
    "average pools": (lambda x: F.avg_pool2d(x, 2) + F.adaptive_avg_pool2d(x, (3, 3)).exp(), IMAGE),
    "interpolate": (lambda x: F.interpolate(x, scale_factor=2, mode="bilinear"), IMAGE),
    # reductions
    "sum all": (lambda x: x.sin().sum(), MATRIX),
    "sum": (lambda x: x.sin().sum(0) + x.sum((0, 1)) + x.exp().sum(-1, keepdim=True).mean(0), MATRIX),
    "mean": (lambda x: x.sin().mean() + x.mean(dim=1), MATRIX),
    "var std": (lambda x: x.var(1) + x.std(1, unbiased=False) + torch.var(x), MATRIX),
    "norm": (lambda x: x.norm() + x.norm(dim=1) + torch.linalg.vector_norm(x, 3, dim=1), MATRIX),
    "prod": (lambda x: x.prod(1) + x.prod(), MATRIX),
    "amax and max": (lambda x: x.sin().amax(1) + x.min(1)[0] * x.exp().max(), MATRIX),
    "logsumexp": (lambda x: torch.logsumexp(x, 1) + x.logsumexp((0, 1)), MATRIX),
    "softmax": (lambda x: torch.softmax(x, -1) + F.softmax(x, dim=0), MATRIX),
    "log_softmax": (lambda x: F.log_softmax(x, dim=1), MATRIX),
    "cumsum": (lambda x: x.sin().cumsum(1), MATRIX),
    "mse_loss": (lambda x: F.mse_loss(x.sin(), MATRIX * 0.5), MATRIX),
    "trace": (lambda x: torch.trace(x @ x.mT), MATRIX),
    # normalisation
    "rms_norm": (lambda x: F.rms_norm(x, (4,), WEIGHT[0]), MATRIX),
    "group_norm": (lambda x: F.group_norm(x, 1, IMAGE[0, :, 0, 0], IMAGE[0, :, 0, 1]), IMAGE[:, :, :2, :2]),
    "batch_norm": (
        lambda x: F.batch_norm(x, WEIGHT[0], WEIGHT[1].exp(), WEIGHT[2], WEIGHT[3]).sin(),
        MATRIX,
    ),
    "normalize": (lambda x: F.normalize(x, dim=1) + F.cosine_similarity(x, SQUARE[:3], dim=1)[:, None], MATRIX),
    "causal attention": (lambda x: F.scaled_dot_product_attention(x, x, x, is_causal=True), MATRIX),
    "masked attention": (
        lambda x: (
            F.scaled_dot_product_attention(x, x, x, attn_mask=SQUARE[:3, :3])
            + F.scaled_dot_product_attention(x, x, x, attn_mask=torch.eye(3, dtype=torch.bool).roll(1, 0))
        ),
        MATRIX,
    ),
    # shapes
    "reshape": (
        lambda x: x.sin().reshape(2, -1).view(6, 2).flatten() + x.view(-1).unflatten(0, (12, 1)).T.exp(),
        MATRIX,
    ),
    "permute": (lambda x: x[None].permute(2, 0, 1).transpose(0, 2).movedim(0, -1).exp(), MATRIX),
    "squeeze": (lambda x: x.unsqueeze(1).squeeze(1).unsqueeze(-1).squeeze().exp(), MATRIX),
    "expand": (lambda x: x.exp()[:, None].expand(3, 5, 4) * x.sum(0).expand_as(x).sum(), MATRIX),
    "repeat": (lambda x: x.exp().repeat(2, 2) + torch.tile(x, (2, 2)), MATRIX),
    "cat": (lambda x: torch.cat([x.sin(), torch.ones(3, 1, dtype=torch.float64), x[:, :1]], dim=-1), MATRIX),
    "stack": (lambda x: torch.stack([x, x.exp(), SQUARE[:3]], dim=1), MATRIX),
    "hstack vstack": (lambda x: torch.hstack([x, x.sin()]).sum(1) + torch.vstack([x[0], x[1].exp()]).sum(), MATRIX),
    "split chunk unbind": (
        lambda x: x.sin().split(2, dim=1)[1] * x.chunk(2, -1)[0] + torch.stack(x.unbind(1)[:2], 1).exp(),
        MATRIX,
    ),
    "iterate": (lambda x: sum(row.exp() for row in x), MATRIX),
    "narrow select": (lambda x: x.narrow(1, 1, 2).exp() * x.select(1, 0)[:, None], MATRIX),
    "slices": (lambda x: x.sin()[:, 1:3] * x[..., -1:] + x[None, :, ::2][0] + x[1, 2], MATRIX),
    "arrays": (lambda x: x.sin()[INDEX] * x[INDEX, [1, 2, 3]][:, None], MATRIX),
    "arrays apart": (lambda x: x.sin()[INDEX[:2], :, INDEX[:2]], IMAGE[:, :, :3, :3].sum(0)),
    "mask": (lambda x: x.exp()[MATRIX > 0], MATRIX),
    "gather": (lambda x: x.exp().gather(1, INDEX[:, None]) + x.index_select(1, INDEX), MATRIX),
    "flip roll": (lambda x: x.exp().flip(1) + torch.roll(x.sin(), 1, 0), MATRIX),
    "triangles": (lambda x: x.exp().tril() + x.triu(1) + torch.diagonal(x.sin()).sum(), MATRIX),
    "pad": (lambda x: F.pad(x.exp(), (1, 2), value=3.0).sin() + F.pad(x[None], (1, 2), mode="reflect")[0], MATRIX),
    "meshgrid": (lambda x: torch.meshgrid(x[0], x[1].exp(), indexing="ij")[0] * 2 + x[2], MATRIX),
    "conversions": (lambda x: x.exp().contiguous().clone().to(torch.float64).type_as(x), MATRIX),
    # what looks at the value alone
    "detach": (lambda x: x.detach() * x.sin() + torch.sign(x) + torch.ones_like(x), MATRIX),
    "broadcast": (lambda x: x.sum() + SQUARE + x[:, None, :].exp() * SQUARE, MATRIX),
    "constant": (lambda x: torch.ones(3, dtype=torch.float64, requires_grad=True) * 2, MATRIX),
}


@pytest.mark.slow  # further arguments and shapes: test_every_rule has a case of each operation
@pytest.mark.parametrize(("function", "x"), CASES.values(), ids=CASES)
def test_coefficients_equal_nested_differentiation_to_order_six(function, x):
    assert_equals_nested(function, x)


# torch's own derivatives of these are wrong from the third order on, or missing from the second
BY_FORMULA = {
    "layer_norm": (
        lambda x: F.layer_norm(x, (4,), WEIGHT[0], WEIGHT[1]),
        lambda x: (x - x.mean(1, True)) / (x.var(1, False, True) + 1e-5).sqrt() * WEIGHT[0] + WEIGHT[1],
        MATRIX,
    ),
    "instance_norm": (
        lambda x: F.instance_norm(x),
        lambda x: (x - x.mean((2, 3), True)) / (x.var((2, 3), False, True) + 1e-5).sqrt(),
        IMAGE[:, :, :3, :3],
    ),
    "attention of heads": (
        lambda x: F.scaled_dot_product_attention(x[None, None], x.sin()[None, None], x.exp()[None, None])[0, 0],
        lambda x: torch.softmax(x @ x.sin().mT / 2, -1) @ x.exp(),
        MATRIX,
    ),
}


@pytest.mark.parametrize(("function", "formula", "x"), BY_FORMULA.values(), ids=BY_FORMULA)
def test_coefficients_equal_those_of_the_formula(function, formula, x):
    assert_equals_nested(formula, x)
    actual, expected = (nde.taylor.jet(f, x, [x.cos(), x.sin()], order=6) for f in (function, formula))
    torch.testing.assert_close(actual.primal, function(x), rtol=1e-12, atol=1e-12)
    for one, other in zip(actual.coefficients, expected.coefficients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)
