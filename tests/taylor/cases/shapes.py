"""Cases of shapes, indexing and reductions."""

import torch

from tests.taylor.cases.case import Case, draw, table
from tests.taylor.cases.products import MATRIX, PICTURE, SIGNAL, SQUARE

INDEX = torch.tensor([2, 0, 0])

ARRANGEMENTS = table(
    MATRIX,
    {
        "atleast_1d": lambda op, x: op([x[0, 0].sin(), x[0]])[0] + op(x[0, 1]),
        "atleast_2d": lambda op, x: op([x[0].sin(), x[0, 1]])[0] + op(x[0, 0]),
        "atleast_3d": lambda op, x: op([x[0].sin(), x[0]])[0] + op(x),
        "atleast_3d: starred": lambda op, x: torch.atleast_3d(x[0].sin(), x)[1],
        "broadcast_tensors": lambda op, x: op(x[:, None].sin(), SQUARE)[0] * op(x[0], SQUARE)[0],
        "cartesian_prod": lambda op, x: op(x[0].sin(), x[:, 0]).sum() * op(x[0]),
        "block_diag": lambda op, x: op(x.sin(), SQUARE, x[0]),
        "column_stack": lambda op, x: op([x.sin(), x[:, 0]]),
        "dstack": lambda op, x: op([x.sin(), SQUARE[:3]]),
        "hsplit": lambda op, x: op(x.sin(), 2)[1] + op(x[0], [1])[0],
        "vsplit": lambda op, x: op(x.sin(), 3)[1],
        "dsplit": lambda op, x: op(x.sin()[None], 2)[1],
        "diagflat": lambda op, x: op(x[0].sin(), 1),
        "linalg.diagonal": lambda op, x: op(x.sin(), offset=1),
        "sum_to_size": lambda op, x: op(x.sin(), 4) + op(x, (3, 1)),
        "scatter": lambda op, x: op(x.sin(), 1, INDEX[:, None], x[:, :1].exp()) + op(x, 0, INDEX[:, None], 2.0),
        "scatter_add": lambda op, x: (
            op(x.sin(), 1, INDEX[:, None], x[:, 1:2].exp()) + op(SQUARE[:3], 0, INDEX[None], x[1:2, :3])
        ),
        "scatter_reduce": lambda op, x: (
            op(x.sin(), 1, INDEX[:, None], x[:, 1:2], "mean") + op(x, 1, INDEX[:, None], x[:, :1].exp(), "sum")
        ),
        "index_add": lambda op, x: op(x.sin(), 1, INDEX, x[:, 1:].exp(), alpha=2) + op(x, 1, INDEX, SQUARE[:3, :3]),
        "index_copy": lambda op, x: op(x.sin(), 1, INDEX[:2], x[:, 2:].exp()),
        "index_fill": lambda op, x: op(x.sin(), 1, INDEX, 2.0) + op(x, 0, INDEX[:1], -1.0),
        "index_put": lambda op, x: op(x.sin(), (INDEX[:2], INDEX[:2]), x[0, :2].exp()) + op(x, (INDEX,), x, True),
        "masked_scatter": lambda op, x: op(x.sin(), MATRIX > 0, x.exp()) + op(SQUARE[:3], MATRIX > 0, x),
        "select_scatter": lambda op, x: op(x.sin(), x[:, 0].exp(), 1, 2),
        "slice_scatter": lambda op, x: op(x.sin(), x[:, :2].exp(), 1, 0, 4, 2),
        "diagonal_scatter": lambda op, x: op(x.sin(), x[0, :3].exp(), 1) * op(SQUARE[:3], x[0, :3]),
        "torch.embedding": lambda op, x: op(x.sin(), INDEX),
        "nn.functional.embedding": lambda op, x: op(INDEX, x.sin()),
        "embedding_bag": lambda op, x: op(INDEX[None], x.sin(), mode="sum") + op(INDEX[:, None], x),
    },
)

SHAPES = {
    **table(
        MATRIX,
        {
            "reshape": lambda op, x: op(x.sin(), (2, -1)) * op(x, (-1,))[0],
            "view": lambda op, x: op(x.sin(), 6, 2) * op(x, -1)[0],
            "view_as": lambda op, x: op(x.sin(), torch.ones(6, 2)) + op(x, x.exp()).sum(),
            "reshape_as": lambda op, x: op(x.sin(), torch.ones(6, 2)),
            "flatten": lambda op, x: op(x.sin()) + op(x[None], 1)[0],
            "ravel": lambda op, x: op(x.sin()),
            "unflatten": lambda op, x: op(x.sin(), 1, (2, -1)),
            "permute": lambda op, x: op(x[None].sin(), (2, 0, 1)) * x[0, 0],
            "transpose": lambda op, x: op(x.sin(), 0, 1),
            "swapaxes": lambda op, x: op(x.sin(), 0, -1),
            "swapdims": lambda op, x: op(x.sin(), 0, 1),
            "t": lambda op, x: op(x.sin()) + op(x[:, 0]),
            "adjoint": lambda op, x: op(x.sin()),
            "movedim": lambda op, x: op(x[None].sin(), 0, -1) + op(x[None], (0, 1), (2, 0)),
            "moveaxis": lambda op, x: op(x[None].sin(), 0, -1),
            "unsqueeze": lambda op, x: op(x.sin(), 1) + op(x, -1)[:, :1],
            "squeeze": lambda op, x: op(x.sin()[None, :, None]) + op(x[None], 0),
            "expand": lambda op, x: op(x.sin()[:, None], 2, 3, -1, -1).exp(),
            "expand_as": lambda op, x: op(x.sin()[:1], x) + op(x[0], MATRIX),
            "broadcast_to": lambda op, x: op(x.sin()[:1], (2, 3, 4)),
            "select": lambda op, x: op(x.sin(), 1, -1) + op(x, 1, 2),
            "narrow": lambda op, x: op(x.sin(), 1, 1, 2),
            "split": lambda op, x: op(x.sin(), 2, 1)[1] * op(x, [1, 3], 1)[0],
            "split_with_sizes": lambda op, x: op(x.sin(), [1, 3], 1)[1],
            "chunk": lambda op, x: op(x.sin(), 2, 1)[1] * op(x, 3)[0][:, :2],
            "tensor_split": lambda op, x: op(x.sin(), 3, 1)[0] * op(x, (1,), 1)[0],
            "unbind": lambda op, x: op(x.sin(), 1)[1] * op(x)[0][:3],
            "cat": lambda op, x: op([x.sin(), torch.ones(3, 1, dtype=torch.float64), x[:, :1]], dim=-1),
            "concat": lambda op, x: op([x.sin(), SQUARE]),
            "concatenate": lambda op, x: op([x.sin(), SQUARE]),
            "stack": lambda op, x: op([x, x.exp(), SQUARE[:3]], dim=1),
            "hstack": lambda op, x: op([x, x.sin()]) * op([x[0], x[1]])[0],
            "vstack": lambda op, x: op([x[0], x.exp()]),
            "row_stack": lambda op, x: op([x[0], x.exp()]),
            "meshgrid": lambda op, x: torch.cat(list(op([x[0], x[:, 1].exp()], indexing="xy"))),
            "meshgrid: starred": lambda op, x: torch.stack(list(torch.meshgrid(x[0], x[1].exp(), indexing="ij"))),
            "__getitem__": lambda op, x: op(x.sin(), (slice(None), slice(1, 3))) * op(x, (Ellipsis, -1))[:, None],
            "__getitem__: arrays": lambda op, x: op(x.sin(), INDEX) * op(x, (INDEX, [1, 2, 3]))[:, None],
            "__getitem__: new axes": lambda op, x: (
                op(x.sin(), (None, slice(None), slice(None, None, 2))) + op(x, (1, 2))
            ),
            "gather": lambda op, x: op(x.exp(), 1, INDEX[:, None]),
            "index_select": lambda op, x: op(x.exp(), 1, INDEX),
            "take": lambda op, x: op(x.exp(), torch.tensor([3, 0, 7])),
            "take_along_dim": lambda op, x: op(x.exp(), INDEX[:, None], 1),
            "repeat": lambda op, x: op(x.exp(), 2, 2),
            "tile": lambda op, x: op(x.exp(), (2, 2)),
            "repeat_interleave": lambda op, x: op(x.exp(), 2, 1),
            "flip": lambda op, x: op(x.exp(), (0, 1)),
            "fliplr": lambda op, x: op(x.exp()),
            "flipud": lambda op, x: op(x.exp()),
            "roll": lambda op, x: op(x.exp(), 1, 0) + op(x, (1, 2), (0, 1)),
            "rot90": lambda op, x: op(x.exp()),
            "tril": lambda op, x: op(x.exp(), -1) + op(x),
            "triu": lambda op, x: op(x.exp(), 1),
            "diag": lambda op, x: op(x.exp()) + op(x[0])[0, 0],
            "diag_embed": lambda op, x: op(x.exp()),
            "diagonal": lambda op, x: op(x.exp(), 1),
            "trace": lambda op, x: op(torch.matmul(x.exp(), x.mT)),
            "diff": lambda op, x: op(x.exp()) + op(x, dim=0)[:1, :3],
            "Tensor.unfold": lambda op, x: op(x.exp(), 1, 2, 1),
            "pad": lambda op, x: op(x.exp(), (1, 2), value=3.0).sin() + op(x, (1, 2, 0, 0)),
            "pad: reflect": lambda op, x: op(x[None].exp(), (1, 2), mode="reflect"),
            "pad: replicate": lambda op, x: op(x[None].exp(), (1, 2), mode="replicate"),
            "pad: circular": lambda op, x: op(x[None].exp(), (1, 2), mode="circular"),
            "pad: cut": lambda op, x: op(x.exp(), (-1, 1, 0, -1)),
        },
    ),
    "__getitem__: arrays apart": Case(lambda op, x: op(x.sin(), (INDEX[:2], slice(None), INDEX[:2])), draw(3, 2, 3)),
    "__getitem__: mask": Case(lambda op, x: op(x.exp(), MATRIX > 0), MATRIX, compiled=False),
    "masked_select": Case(lambda op, x: op(x.exp(), MATRIX > 0), MATRIX, vmapped=False, compiled=False),
    **table(
        SIGNAL,
        {
            "avg_pool1d": lambda op, x: op(x.exp(), 2),
            "adaptive_avg_pool1d": lambda op, x: op(x.exp(), 2),
            "channel_shuffle": lambda op, x: op(x.exp()[:, :, None], 3),
            "interpolate": lambda op, x: op(x.exp(), scale_factor=2, mode="linear") + op(x, size=10),
        },
    ),
    "upsample": Case(lambda op, x: op(x.exp(), scale_factor=2), SIGNAL, warns=True),
    **table(
        PICTURE,
        {
            "avg_pool2d": lambda op, x: op(x.exp(), 2, 1, 1, count_include_pad=False),
            "adaptive_avg_pool2d": lambda op, x: op(x.exp(), (3, 2)),
            "avg_pool3d": lambda op, x: op(x.exp(), (1, 2, 2)),
            "adaptive_avg_pool3d": lambda op, x: op(x.exp(), (1, 2, 2)),
            "pixel_unshuffle": lambda op, x: op(x.exp(), 2),
            "unfold": lambda op, x: op(x.exp(), 2, stride=2),
            "interpolate: bilinear": lambda op, x: op(x.exp(), size=(3, 5), mode="bilinear", align_corners=True),
            "interpolate: bicubic": lambda op, x: op(x.exp(), size=(3, 5), mode="bicubic"),
        },
    ),
    **ARRANGEMENTS,
    "pixel_shuffle": Case(lambda op, x: op(x.exp(), 2), draw(1, 4, 2, 2)),
    "fold": Case(lambda op, x: op(x.exp(), (3, 3), 2), draw(1, 4, 4)),
}


def distances(x, y):
    return (x[:, None] - y).norm(dim=-1)


def between(x):
    return x[[0, 0, 1]] - x[[1, 2, 2]]


NO_SECOND = "torch has no second derivative"

REDUCTIONS = table(
    MATRIX,
    {
        "sum": lambda op, x: op(x.sin()) + op(x.sin(), 0) + op(x[None], (0, 2), True)[0],
        "sum: shared along an axis": lambda op, x: op(x.exp()[:, None].expand(3, 2, 4), 1),
        "mean": lambda op, x: op(x.sin()) + op(x.sin(), 0) + op(x, 1, True),
        "var": lambda op, x: op(x) + op(x, 1, keepdim=True) + op(x, 1, unbiased=False)[:, None] + op(x, 0),
        "std": lambda op, x: op(x) + op(x, 1, correction=0),
        "norm": lambda op, x: op(x) + op(x, 2, 1)[:, None] + op(x, 3, 1, True) + op(x, 1, 1, True),
        "norm: maximum": lambda op, x: op(x.sin() * x, float("inf"), 1),
        "vector_norm": lambda op, x: op(x) + op(x, 3, dim=1) + op(x, dim=(0, 1)),
        "cumprod": lambda op, x: op(x, 1) + op(x.sin(), 0),
        "cumulative_trapezoid": lambda op, x: op(x.sin(), dim=0).sum(0)[:3] + op(x, x.exp()) + op(x, dx=0.3),
        "var_mean": lambda op, x: torch.cat(list(op(x, 1))) * op(x)[0] + op(x, 0, keepdim=True)[1].sum(),
        "nansum": lambda op, x: op(x.exp(), 1) + op(x.sin()),
        "nanmean": lambda op, x: op(x.exp(), 1) + op(x.sin()),
        "cov": lambda op, x: op(x.sin()) + op(x[0], correction=0),
        "sort": lambda op, x: op(x.sin())[0] + op(x, 0, True)[0] + op(x, dim=1, descending=True).values,
        "topk": lambda op, x: op(x.sin(), 2)[0] + op(x, 1, 1)[0] + op(x, k=2, dim=1, largest=False).values,
        "kthvalue": lambda op, x: op(x.sin(), 2)[0] + op(x, 3, 1).values + op(x, 2, 0, True)[0].sum(),
        "median": lambda op, x: op(x.sin()) + op(x, 1)[0] * op(x, 1, keepdim=True).values,
        "nanmedian": lambda op, x: op(x.sin()) + op(x, 1)[0],
        "cummax": lambda op, x: op(x.sin(), 1)[0] + op(x, 0).values,
        "cummin": lambda op, x: op(x.sin(), 1)[0],
        "msort": lambda op, x: op(x.sin()),
        "aminmax": lambda op, x: op(x.sin())[0] + op(x, dim=1).max + op(x, dim=1).min,
        "prod": lambda op, x: op(x, 1) + op(x) + op(x, 0, True)[:, :3],
        "amax": lambda op, x: op(x.sin(), 1) + op(x, (0, 1)) + op(x),
        "amin": lambda op, x: op(x.sin(), 1, True) * op(x, 0),
        "max": lambda op, x: op(x.sin(), 1)[0] + op(x, 1).values + op(x.exp()) + op(x, SQUARE[:3]).sum(),
        "min": lambda op, x: op(x.sin(), 1)[0] + op(x.exp()) + op(x, x.sin()).sum(),
        "logsumexp": lambda op, x: op(x, 1) + op(x, (0, 1)) + op(x, 0, True)[0, :3],
        "softmax": lambda op, x: op(x, -1) + op(x, dim=0),
        "log_softmax": lambda op, x: op(x, -1) + op(x, dim=0),
        "softmin": lambda op, x: op(x, -1) + op(x, dim=0),
        "pairwise_distance": lambda op, x: op(x, SQUARE[:3]) + op(x, x.exp(), 3.0, keepdim=True)[:, 0],
        "dist": lambda op, x: op(x, x.exp()) + op(x, SQUARE[:3], 3),
        "cumsum": lambda op, x: op(x.sin(), 1) + op(x, 0),
    },
)
REDUCTIONS |= {
    "cdist": Case(
        lambda op, x: op(x, SQUARE) * op(x.sin(), x.exp())[:, :1],
        MATRIX,
        lambda x: distances(x, SQUARE) * distances(x.sin(), x.exp())[:, :1],
        NO_SECOND,
    ),
    "cdist: of other powers": Case(
        lambda op, x: op(x, SQUARE, 1) + op(x, SQUARE, 3.0),
        MATRIX,
        lambda x: (x[:, None] - SQUARE).abs().sum(-1) + (x[:, None] - SQUARE).abs().pow(3).sum(-1).pow(1 / 3),
        NO_SECOND,
    ),
    "cdist: of points that coincide": Case(
        lambda op, x: op(x[:2], x[:2]),
        MATRIX,
        lambda x: (x[0] - x[1]).norm() * (1 - torch.eye(2, dtype=torch.float64)),
        NO_SECOND,
    ),
    "logcumsumexp": Case(
        lambda op, x: op(x, 1) + op(x.exp(), 0),
        MATRIX,
        lambda x: x.exp().cumsum(1).log() + x.exp().exp().cumsum(0).log(),
        "NaN from the third order on",
    ),
    "std_mean": Case(
        lambda op, x: torch.cat(list(op(x, 1))) * op(x, correction=0)[0],
        MATRIX,
        lambda x: torch.cat([x.var(1).sqrt(), x.mean(1)]) * x.var(correction=0).sqrt(),
        "NaN from the third order on",
    ),
    "pdist": Case(
        lambda op, x: op(x.sin()) + op(x, 3.0),
        MATRIX,
        lambda x: between(x.sin()).norm(dim=-1) + between(x).abs().pow(3).sum(-1).pow(1 / 3),
        NO_SECOND,
    ),
}
