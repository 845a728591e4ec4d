"""Cases of layers of networks, and of complex numbers."""

import torch
from torch import nn

from tests.taylor.cases.case import Case, draw, table
from tests.taylor.cases.products import MATRIX, PICTURE, SIGNAL, SQUARE, WEIGHT

SCALE, SHIFT = draw(3, seed=7), draw(3, seed=8)
MEAN, VARIANCE = draw(3, seed=9), draw(3, seed=10).exp()
WRONG_THIRD = "torch's own derivatives are wrong from the third order on, or missing from the second"


SECOND_MISSING = "torch has no derivative of second order"


def standardized(x, axes):
    return (x - x.mean(axes, True)) / (x.var(axes, False, True) + 1e-5).sqrt()


def per_channel(x, parameter):
    return parameter.reshape(-1, *[1] * (x.ndim - 2))


def affine(x):
    return x * per_channel(x, SCALE) + per_channel(x, SHIFT)


def rescaled(x):
    return affine((x - per_channel(x, MEAN)) / (per_channel(x, VARIANCE) + 1e-5).sqrt())


def grouped(x):
    return affine(standardized(x.reshape(x.shape[0], 1, -1), (-1,)).reshape(x.shape))


def attention(x):
    return torch.softmax(x @ x.sin().mT / 2, -1) @ x.exp()


def cell(kind, **options):
    torch.manual_seed(0)
    return [parameter.detach() for parameter in kind(4, 4, **options).double().parameters()]


RNN, GRU, LSTM = cell(nn.RNNCell), cell(nn.GRUCell), cell(nn.LSTMCell)
HEADS = nn.MultiheadAttention(4, 2).double()


def heads(op, x):
    """The whole of nn.MultiheadAttention, whose parameters are arguments."""
    sequence = x[:, None]
    projections = (HEADS.in_proj_weight.detach(), HEADS.in_proj_bias.detach(), None, None, False, 0.0)
    output = (HEADS.out_proj.weight.detach(), HEADS.out_proj.bias.detach())
    values, weights = op(sequence, sequence.sin(), sequence.exp(), 4, 2, *projections, *output)
    return torch.cat([values.flatten(), weights.flatten()])


def heads_by_formula(x):
    query, key, value = (
        (part @ weight.mT + bias).reshape(3, 2, 2).transpose(0, 1)
        for part, weight, bias in zip(
            (x, x.sin(), x.exp()),
            HEADS.in_proj_weight.detach().chunk(3),
            HEADS.in_proj_bias.detach().chunk(3),
            strict=True,
        )
    )
    weights = torch.softmax(query @ key.mT / 2**0.5, -1)
    merged = (weights @ value).transpose(0, 1).reshape(3, 4)
    output = merged @ HEADS.out_proj.weight.detach().mT + HEADS.out_proj.bias.detach()
    return torch.cat([output.flatten(), weights.mean(0).flatten()])


LAYERS = {
    "layer_norm": Case(
        lambda op, x: op(x, (4,), SQUARE[0], SQUARE[1]),
        MATRIX,
        lambda x: standardized(x, (-1,)) * SQUARE[0] + SQUARE[1],
        WRONG_THIRD,
    ),
    "rms_norm": Case(lambda op, x: op(x, (4,), WEIGHT[0]) + op(x, (3, 4), None, 0.1), MATRIX),
    "group_norm": Case(lambda op, x: op(x, 1, SCALE, SHIFT), SIGNAL, grouped, WRONG_THIRD),
    "torch.batch_norm": Case(
        lambda op, x: op(x, SCALE, SHIFT, MEAN, VARIANCE, False, 0.1, 1e-5, False), SIGNAL, rescaled, WRONG_THIRD
    ),
    "nn.functional.batch_norm": Case(lambda op, x: op(x, MEAN, VARIANCE, SCALE, SHIFT), SIGNAL, rescaled, WRONG_THIRD),
    "torch.instance_norm": Case(
        lambda op, x: op(x, SCALE, SHIFT, None, None, True, 0.1, 1e-5, False),
        PICTURE[:, :, :2, :2],
        lambda x: affine(standardized(x, (2, 3))),
        WRONG_THIRD,
    ),
    "nn.functional.instance_norm": Case(
        lambda op, x: op(x, weight=SCALE, bias=SHIFT),
        PICTURE[:, :, :2, :2],
        lambda x: affine(standardized(x, (2, 3))),
        WRONG_THIRD,
    ),
    "nn.functional.instance_norm: running": Case(
        lambda op, x: op(x, MEAN, VARIANCE, SCALE, SHIFT, False), SIGNAL, rescaled, WRONG_THIRD
    ),
    "scaled_dot_product_attention": Case(
        lambda op, x: op(x[None, None], x.sin()[None, None], x.exp()[None, None])[0, 0], MATRIX, attention, WRONG_THIRD
    ),
    "scaled_dot_product_attention: causal": Case(lambda op, x: op(x, x, x, is_causal=True), MATRIX),
    "scaled_dot_product_attention: masked": Case(
        lambda op, x: op(x, x, x, SQUARE[:3, :3]) + op(x, x, x, torch.eye(3, dtype=torch.bool).roll(1, 0)), MATRIX
    ),
    "multi_head_attention_forward": Case(heads, MATRIX, heads_by_formula, WRONG_THIRD),
    **table(
        MATRIX,
        {
            "normalize": lambda op, x: op(x, dim=1) + op(x, 3.0, 0),
            "cosine_similarity": lambda op, x: op(x, SQUARE[:3], dim=1) + op(x, x.exp(), 1),
            "alpha_dropout": lambda op, x: op(x.sin(), 0.5, False),
            "feature_alpha_dropout": lambda op, x: op(x.sin(), 0.5, False),
            "glu": lambda op, x: op(x) + op(x, 1),
            "rnn_tanh_cell": lambda op, x: op(x, x.sin(), *RNN),
            "rnn_relu_cell": lambda op, x: op(x, x.sin(), *RNN),
            "gru_cell": lambda op, x: op(x, x.sin(), *GRU),
            "lstm_cell": lambda op, x: torch.cat(list(op(x, (x.sin(), x.cos()), *LSTM))),
        },
    ),
    # in evaluation mode; that one mask serves the value and all derivatives is a test of its own
    **table(
        SIGNAL,
        {
            "dropout": lambda op, x: op(x.sin(), 0.5, False),
            "dropout1d": lambda op, x: op(x.sin(), 0.5, False),
            "feature_dropout": lambda op, x: op(x.sin(), 0.5, False),
        },
    ),
    "local_response_norm": Case(lambda op, x: op(x.exp(), 2, 0.5) + op(x, 3), SIGNAL),
    "dropout2d": Case(lambda op, x: op(x.sin(), 0.5, False), PICTURE),
    "dropout3d": Case(lambda op, x: op(x.sin(), 0.5, False), PICTURE),
}

COMPLEX = table(
    MATRIX,
    {
        "real": lambda op, x: op((x + 2j * x.sin()) * torch.exp(1j * x)) + op(x),
        "imag": lambda op, x: op((x + 2j * x.sin()) * torch.exp(1j * x)),
        "conj": lambda op, x: op(torch.exp((1 + 1j) * x)).imag + op(x),
        "conj_physical": lambda op, x: op(torch.exp((1 + 1j) * x)).imag + op(x),
        "resolve_conj": lambda op, x: op(torch.exp((1 + 1j) * x).conj()).imag,
        "resolve_neg": lambda op, x: op(torch.exp((1 + 1j) * x).conj().imag),
        "complex": lambda op, x: (op(x, x.sin()) ** 2).real,
        "polar": lambda op, x: op(x.exp(), x).imag,
        "angle": lambda op, x: op(torch.complex(1 + x.exp(), x.sin())) + op(x),
        "view_as_real": lambda op, x: op(torch.complex(x, x.sin()) ** 2),
        "view_as_complex": lambda op, x: (op(x.reshape(3, 2, 2)) ** 2).imag,
        "abs: complex": lambda op, x: op(torch.complex(x, 1 + x.exp())),
        "sgn: complex": lambda op, x: torch.view_as_real(op(torch.complex(x, x.exp()))),
        "vecdot: complex": lambda op, x: op(torch.complex(x, x.sin()), torch.complex(x.exp(), x)).imag,
    },
)
