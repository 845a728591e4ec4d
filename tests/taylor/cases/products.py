"""Cases of products, convolutions and linear algebra."""

import torch

from tests.taylor.cases.case import Case, draw, table

MATRIX = draw(3, 4)
WEIGHT, SQUARE = draw(5, 4, seed=4), draw(4, 4, seed=5)
REGULAR = SQUARE + 4 * torch.eye(4, dtype=torch.float64)
SIGNAL, PICTURE, BLOCK = draw(2, 3, 5), draw(2, 3, 4, 4), draw(1, 2, 3, 3, 3)
KERNELS = draw(4, 3, 2, 2, 2, seed=6)


def definite(x):
    return REGULAR @ REGULAR.mT + torch.matmul(x.mT, x)


PRODUCTS = {
    **table(
        MATRIX,
        {
            "linear": lambda op, x: op(x, WEIGHT, WEIGHT[:, 0]).sin() + op(x[0], WEIGHT),
            "linear: a weight that varies": lambda op, x: op(x.sin(), x, x[:, 0]) + op(MATRIX, x),
            "linear: a bias that varies": lambda op, x: op(x, WEIGHT[:4], x[0].sin()),
            "matmul": lambda op, x: torch.matmul(op(x.sin(), x.mT), op(SQUARE, x.mT).mT) + op(x, x[0])[:, None],
            "__matmul__": lambda op, x: op(x.sin(), x.mT) + op(x, x[0]),
            "__rmatmul__": lambda op, x: op(x.mT, x.sin()) + op(x, MATRIX.mT)[:3, :3],
            "mm": lambda op, x: op(x.sin(), x.mT),
            "mv": lambda op, x: op(x, x[0].sin()),
            "bmm": lambda op, x: op(x[None].sin(), x.mT[None]),
            "dot": lambda op, x: op(x[0], x[1].sin()),
            "addmm": lambda op, x: op(x.sin(), x, SQUARE, beta=0.5, alpha=2.0) + op(x, MATRIX, torch.matmul(x.mT, x)),
            "addmv": lambda op, x: op(x[:, 0], x, SQUARE[0], beta=0.5, alpha=2.0),
            "baddbmm": lambda op, x: op(x[None], x.sin()[None], SQUARE[None], beta=0.5, alpha=2.0),
            "addbmm": lambda op, x: op(
                x[:, :3].cos(), torch.stack([x, x.sin()]), torch.stack([x.mT, x.mT.cos()]), beta=0.5, alpha=2.0
            ),
            "outer": lambda op, x: op(x[0], x[1].sin()),
            "ger": lambda op, x: op(x[0], x[1].sin()),
            "cross": lambda op, x: op(x[:, :3], x[:, 1:].sin()) + op(x[:, :3], x[:, 1:], dim=0),
            "torch.cross": lambda op, x: op(x[:, :3], x[:, 1:].sin(), dim=1),
            "Tensor.cross": lambda op, x: op(x[:, :3], x[:, 1:].sin(), 1),
            "addr": lambda op, x: op(x, x[:, 0], x[0].sin(), beta=0.5, alpha=2.0),
            "inner": lambda op, x: op(x, x.sin()) + op(x, SQUARE[0])[:, None],
            "vdot": lambda op, x: op(x[0], x[1].sin()),
            "vecdot": lambda op, x: op(x, x.sin()),
            "einsum": lambda op, x: op("bi,bj->ij", x, x.exp()) + op("...i,oi->...o", x.mT, SQUARE[:, :3]),
            "einsum: three operands": lambda op, x: op("bi, ij, bj", x, SQUARE, x.sin()) + op("bi,bi,ci->b", x, x, x),
            "tensordot": lambda op, x: op(x, x.sin(), dims=([0], [0])) + op(SQUARE[:, :3], x, 1),
            "bilinear": lambda op, x: op(x, x.sin(), torch.stack([SQUARE, SQUARE.T]), SQUARE[0, :2]),
            "kron": lambda op, x: op(x[:2, :2], x[1:, 2:]) + op(SQUARE[:2, :2], x[:2, :2].sin()),
            "multi_dot": lambda op, x: op([x, SQUARE, x.mT]),
            "trapezoid": lambda op, x: op(x.sin(), dim=0).sum() + op(x.sin(), x.exp()) + op(x, dx=0.3),
            "trapz": lambda op, x: op(x.sin(), x.exp()) + op(x, SQUARE[0]),
        },
    ),
    "chain_matmul": Case(lambda op, x: op(x, SQUARE, x.mT), MATRIX, warns=True),
    "torch.cross: first axis of three": Case(lambda op, x: op(x, x.sin()), MATRIX, warns=True),
    "conv1d": Case(lambda op, x: op(x, KERNELS[:, :, :, 0, 0], KERNELS[:, 0, 0, 0, 0], padding=1).sin(), SIGNAL),
    "conv1d: unbatched": Case(lambda op, x: op(x[0].sin(), KERNELS[:, :, :, 0, 0], padding=1), SIGNAL),
    "conv2d": Case(
        lambda op, x: op(x, KERNELS[..., 0], None, 2) + op(x, KERNELS[..., 0], dilation=3)[..., :1], PICTURE
    ),
    "conv2d: a kernel that varies": Case(lambda op, x: op(x, x[:, :, :2, :2].sin(), x[:, 0, 0, 0]), PICTURE),
    "conv2d: groups": Case(lambda op, x: op(x, KERNELS[:3, :1, ..., 0], groups=3), PICTURE),
    "conv3d": Case(lambda op, x: op(x.sin(), KERNELS[:, :2], stride=2), BLOCK),
    "conv_transpose1d": Case(lambda op, x: op(x, KERNELS[:3, :2, :, 0, 0], stride=2).sin(), SIGNAL),
    "conv_transpose2d": Case(lambda op, x: op(x, KERNELS[:3, :2, :, :, 0], KERNELS[0, :2, 0, 0, 0]), PICTURE),
    "conv_transpose3d": Case(lambda op, x: op(x, KERNELS[:2, :1]), BLOCK[:, :, :2, :2, :2]),
}

LINEAR_ALGEBRA = table(
    MATRIX,
    {
        "solve": lambda op, x: op(REGULAR + torch.matmul(x.mT, x), x.mT.sin()) + op(REGULAR, x.mT),
        "solve: from the right": lambda op, x: op(REGULAR + torch.matmul(x.mT, x), x.sin(), left=False),
        "solve: vectors": lambda op, x: (
            op(REGULAR + torch.matmul(x.mT, x), x[0].sin()) + op(REGULAR + torch.matmul(x.mT, x), SQUARE[0])
        ),
        "solve_triangular": lambda op, x: op(definite(x).tril(), x.mT.sin(), upper=False),
        "solve_triangular: unit": lambda op, x: op(definite(x), x.mT.sin(), upper=True, unitriangular=True),
        "solve_triangular: from the right": lambda op, x: op(definite(x).tril(), x.sin(), upper=False, left=False),
        "inv": lambda op, x: op(REGULAR + torch.matmul(x.mT, x)),
        "inverse": lambda op, x: op(REGULAR + torch.matmul(x.mT, x)),
        "det": lambda op, x: op(REGULAR + torch.matmul(x.mT, x)) + op(x[:, :3]),
        "slogdet": lambda op, x: torch.stack(list(op(-definite(x[:, [0, 1, 2, 2]])))) + op(definite(x)).logabsdet,
        "logdet": lambda op, x: op(definite(x.sin())),
        "cholesky": lambda op, x: op(definite(x)) + op(definite(x), upper=True),
        "cholesky_solve": lambda op, x: (
            op(x.mT.sin(), torch.linalg.cholesky(definite(x))) + op(x.mT, definite(x).triu(), True)
        ),
        "cholesky_inverse": lambda op, x: op(torch.linalg.cholesky(definite(x))),
        "vander": lambda op, x: op(x) + op(x[0], N=4),
        "matrix_norm": lambda op, x: op(x) + op(x, 1) + op(x, -float("inf")) + op(x, float("inf"), keepdim=True),
        "linalg.norm: of matrices": lambda op, x: op(x, 1) + op(x, "fro") + op(x, float("inf"), (1, 0)) + op(x[0], 3),
        "matrix_power": lambda op, x: op(torch.matmul(x.mT, x), 3) + op(definite(x), -1) + op(definite(x), 0),
    },
)
