"""Cases of recurrent layers, pooling, sampling of grids, Fourier transforms and losses."""

import torch
from torch import nn

from tests.taylor.cases.case import Case, draw, table
from tests.taylor.cases.layers import SECOND_MISSING, WRONG_THIRD
from tests.taylor.cases.products import BLOCK, MATRIX, PICTURE, SIGNAL, SQUARE

SEQUENCE = draw(3, 2, 4, seed=12)  # times, batch, inputs


def layers(kind, **options):
    torch.manual_seed(0)
    layer = kind(4, 3, **options).double()
    return [weight.detach() for weight in layer._flat_weights]


def parts(outputs):
    return torch.cat([output.flatten() for output in outputs])


PLAIN, TWO_WAYS = layers(nn.RNN), layers(nn.RNN, num_layers=2, bidirectional=True)
GRU, GRU_TWO_WAYS = layers(nn.GRU, bias=False), layers(nn.GRU, num_layers=2, bidirectional=True)
LSTM, LSTM_TWO_WAYS = layers(nn.LSTM, proj_size=2), layers(nn.LSTM, num_layers=2, bidirectional=True)
STATE, STATES = draw(1, 2, 3, seed=13), draw(4, 3, 3, seed=14)


def by_hand(weights, step, sequence, state, result):
    """One layer without torch's own, whose derivatives of second order are missing."""
    w_ih, w_hh, *biases = weights
    shift = sum(biases) if biases else 0.0
    shown = []
    for value in sequence:
        state = step(value @ w_ih.mT + shift, state @ w_hh.mT, state)
        shown.append(state)
    return result(torch.stack(shown), state)


def one_layer(op, x, weights, biased):
    return parts(op(x, STATE + x[0, 0, 0], weights, biased, 1, 0.0, False, False, False))


def two_ways(op, x, weights):
    return parts(op(x, STATES * x[0, 0, 0], weights, True, 2, 0.0, False, True, True))


def lstm(op, x):
    states = (STATE[..., :2] + x[0, 0, 0], STATE.sin())
    return parts(op(x, states, LSTM, True, 1, 0.0, False, False, False))


def lstm_two_ways(op, x):
    return parts(op(x, (STATES.sin(), STATES * x[0, 0, 0]), LSTM_TWO_WAYS, True, 2, 0.0, True, True, True))


RECURRENT = table(
    SEQUENCE,
    {
        "rnn_tanh": lambda op, x: one_layer(op, x, PLAIN, True),
        "rnn_tanh: two layers, both ways": lambda op, x: two_ways(op, x, TWO_WAYS),
        "rnn_relu": lambda op, x: one_layer(op, x, PLAIN, True),
        "gru": lambda op, x: one_layer(op, x, GRU, False),
        "gru: two layers, both ways": lambda op, x: two_ways(op, x, GRU_TWO_WAYS),
        "lstm": lstm,
        "lstm: two layers, both ways": lstm_two_ways,
    },
)

POOLS = {
    "max_pool1d": Case(lambda op, x: op(x.sin(), 2) + op(x, 3, 2, 1)[..., :2], SIGNAL),
    "max_pool1d_with_indices": Case(lambda op, x: op(x.sin(), 2)[0], SIGNAL),
    "max_pool2d": Case(lambda op, x: op(x.sin(), 2, 1) * op(x, 2, stride=1), PICTURE),
    "max_pool2d_with_indices": Case(lambda op, x: op(x.sin(), 2)[0], PICTURE),
    "max_pool3d": Case(lambda op, x: op(x.sin(), 2), BLOCK),
    "max_pool3d_with_indices": Case(lambda op, x: op(x.sin(), 2)[0], BLOCK),
    "nn.functional.adaptive_max_pool1d": Case(lambda op, x: op(x.sin(), 2), SIGNAL),
    "torch.adaptive_max_pool1d": Case(lambda op, x: op(x.sin(), 2)[0], SIGNAL),
    "adaptive_max_pool1d_with_indices": Case(lambda op, x: op(x.sin(), 2)[0], SIGNAL),
    "adaptive_max_pool2d": Case(lambda op, x: op(x.sin(), (3, 2)), PICTURE),
    "adaptive_max_pool2d_with_indices": Case(lambda op, x: op(x.sin(), 2)[0], PICTURE),
    "adaptive_max_pool3d": Case(lambda op, x: op(x.sin(), 2), BLOCK),
    "adaptive_max_pool3d_with_indices": Case(lambda op, x: op(x.sin(), 2)[0], BLOCK),
    "lp_pool1d": Case(lambda op, x: op(x.exp(), 3.0, 2), SIGNAL),
    "lp_pool2d": Case(lambda op, x: op(x.exp(), 2.0, 2, 1), PICTURE),
    "lp_pool3d": Case(lambda op, x: op(x.exp(), 2.0, 2), BLOCK),
}

POINTS = 0.55 * torch.tanh(draw(1, 5, 1, 2, seed=15))  # within a cell: away from its edges


def bilinear(x, features):
    """Sampling with align_corners between the four corners of every cell, summed over all of its corners."""
    rows, columns = features.shape[2:]
    places = [(x[..., 1] + 1) * ((rows - 1) / 2), (x[..., 0] + 1) * ((columns - 1) / 2)]
    hats = [
        torch.relu(1 - (place[..., None] - torch.arange(float(size))).abs())
        for place, size in zip(places, (rows, columns), strict=True)
    ]
    return torch.einsum("nabi,nabj,ncij->ncab", *hats, features)


def trilinear(x, features):
    hats = [
        torch.relu(1 - (((x[..., axis] + 1) * size - 1)[..., None] / 2 - torch.arange(float(size))).abs())
        for axis, size in zip((2, 1, 0), features.shape[2:], strict=True)
    ]
    return torch.einsum("nabci,nabcj,nabck,nfijk->nfabc", *hats, features)


SPACE = 0.8 * torch.tanh(draw(1, 2, 1, 2, 3, seed=16))
SAMPLING = {
    "grid_sample": Case(
        lambda op, x: op(PICTURE[:1], x, align_corners=True),
        POINTS,
        lambda x: bilinear(x, PICTURE[:1]),
        SECOND_MISSING,
    ),
    "grid_sample: features that vary": Case(
        lambda op, x: op(x.sin(), POINTS.expand(2, 5, 1, 2), align_corners=False), PICTURE
    ),
    "grid_sample: both vary": Case(
        lambda op, x: op(PICTURE[:1] * x[0, 0, 0, 0], x, padding_mode="border", align_corners=True),
        POINTS,
        lambda x: bilinear(x, PICTURE[:1] * x[0, 0, 0, 0]),
        SECOND_MISSING,
    ),
    "grid_sample: of volumes": Case(
        lambda op, x: op(BLOCK, x, align_corners=False), SPACE, lambda x: trilinear(x, BLOCK), SECOND_MISSING
    ),
    "grid_sample: nearest": Case(
        lambda op, x: op(PICTURE[:1], x, mode="nearest", align_corners=True) * x[..., 0], POINTS
    ),
    "affine_grid": Case(lambda op, x: op(x.sin(), (1, 1, 2, 3), align_corners=False), draw(1, 2, 3)),
}


def real(x):
    return torch.view_as_real(x.resolve_conj())


def waves(x):
    return torch.complex(x, x.sin())


FOURIER = table(
    PICTURE[0],
    {
        **dict.fromkeys(
            ["fft", "ifft", "fft2", "ifft2", "fftn", "ifftn"], lambda op, x: real(op(x.sin()) + op(waves(x)))
        ),
        **dict.fromkeys(["rfft", "rfft2", "rfftn", "ihfft", "ihfft2", "ihfftn"], lambda op, x: real(op(x.sin()))),
        **dict.fromkeys(["irfft", "irfft2", "irfftn", "hfft", "hfft2", "hfftn"], lambda op, x: op(waves(x))),
        **dict.fromkeys(["fftshift", "ifftshift"], lambda op, x: op(x.sin()) + op(x, (0, 1))),
        "rfft: options": lambda op, x: real(op(x, 3, 1, norm="ortho")),
        "irfft: options": lambda op, x: op(waves(x), n=5, dim=-2),
    },
)

LABELS = torch.sigmoid(SQUARE[:3])


def entropy(x):
    return -(LABELS * torch.log(x) + (1 - LABELS) * torch.log(1 - x))


LOSSES = {
    **table(
        MATRIX,
        {
            "mse_loss": lambda op, x: op(x.sin(), SQUARE[:3]) + op(x, x.exp(), reduction="sum"),
            "mse_loss: weighted": lambda op, x: op(x.sin(), SQUARE[:3], weight=LABELS),
            "l1_loss": lambda op, x: op(x.sin(), 2 + x.cos()) + op(x, 9 + x.exp(), reduction="none"),
            "gaussian_nll_loss": lambda op, x: op(x.sin(), SQUARE[:3], x.exp()) + op(x, x.sin(), LABELS, full=True),
            "kl_div": lambda op, x: (
                op(x.sin(), x.exp(), reduction="batchmean") + op(x, SQUARE[:3], log_target=True, reduction="sum")
            ),
        },
    ),
    "huber_loss": Case(
        lambda op, x: op(x.sin(), SQUARE[:3], delta=0.7),
        MATRIX,
        lambda x: huber(x.sin() - SQUARE[:3], 0.7).mean(),
        SECOND_MISSING,
    ),
    "smooth_l1_loss": Case(
        lambda op, x: op(x.sin(), SQUARE[:3], beta=0.7),
        MATRIX,
        lambda x: huber(x.sin() - SQUARE[:3], 0.7).mean() / 0.7,
        SECOND_MISSING,
    ),
    "binary_cross_entropy": Case(
        lambda op, x: op(torch.sigmoid(x), LABELS, reduction="none"),
        MATRIX,
        lambda x: entropy(torch.sigmoid(x)),
        WRONG_THIRD,
    ),
    "binary_cross_entropy_with_logits": Case(
        lambda op, x: op(x, LABELS, pos_weight=torch.full((4,), 1.0).double()),
        MATRIX,
        lambda x: entropy(torch.sigmoid(x)).mean(),
        WRONG_THIRD,
    ),
}


def huber(difference, delta):
    size = difference.abs()
    return torch.where(size < delta, 0.5 * size.square(), delta * (size - 0.5 * delta))


NETWORKS = {**RECURRENT, **POOLS, **SAMPLING, **FOURIER, **LOSSES}
