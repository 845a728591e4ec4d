"""Unmodified modules of torch.nn under jets."""

import pytest
import torch
from torch import nn

import nde.taylor
from tests.taylor.reference import assert_equals_nested


class Fourier(nn.Module):
    """An embedding by random Fourier features, as networks for differential equations begin with."""

    def __init__(self):
        super().__init__()
        self.register_buffer("frequencies", torch.linspace(-1, 1, 12).reshape(4, 3))

    def forward(self, x):
        phase = 2 * torch.pi * x @ self.frequencies
        return torch.cat([phase.sin(), phase.cos()], dim=-1)


class Gated(nn.Module):
    """The modified multilayer perceptron: two gates that every layer mixes."""

    def __init__(self):
        super().__init__()
        self.gates = nn.ModuleList([nn.Linear(4, 6), nn.Linear(4, 6)])
        self.first, self.second = nn.Linear(4, 6), nn.Linear(6, 6)

    def forward(self, x):
        u, v = (torch.sigmoid(gate(x)) for gate in self.gates)
        hidden = torch.tanh(self.first(x))
        hidden = hidden * u + (1 - hidden) * v
        return torch.nn.functional.gelu(self.second(hidden)) * u


class Recurrent(nn.Module):
    """All outputs of a recurrent network whose inputs are two times of two numbers."""

    def __init__(self, layers):
        super().__init__()
        self.layers = layers

    def forward(self, x):
        sequence, state = self.layers(x.reshape(-1, 2, 2))
        last = state if isinstance(state, tuple) else (state,)
        return torch.cat([sequence.flatten(), *(part.flatten() for part in last)])


class FeatureGrid(nn.Module):
    """A neural field: features of a grid at the points, then a perceptron."""

    def __init__(self):
        super().__init__()
        self.grid = nn.Parameter(torch.randn(1, 3, 4, 4))
        self.head = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))

    def forward(self, x):
        points = torch.tanh(x[None, :, None, :2])
        sampled = nn.functional.grid_sample(self.grid, points, align_corners=True)
        return self.head(sampled[0, :, :, 0].mT) * x[:, 2:]


MODULES = {
    "perceptron": lambda: nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 6), nn.SiLU(), nn.Linear(6, 1)),
    "activations": lambda: nn.Sequential(
        nn.Linear(4, 6), nn.GELU(), nn.Softplus(), nn.ELU(), nn.Mish(), nn.LogSigmoid(), nn.Softmax(-1)
    ),
    "fourier": lambda: nn.Sequential(Fourier(), nn.Linear(6, 2), nn.Tanh()),
    "gated": Gated,
    "evaluated batch norm": lambda: nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Tanh()).eval(),
    "convolutions": lambda: nn.Sequential(
        nn.Unflatten(1, (1, 4)), nn.Conv1d(1, 3, 3, padding=1), nn.Tanh(), nn.AvgPool1d(2), nn.Flatten()
    ),
    "recurrent by hand": lambda: nn.Sequential(nn.Linear(4, 4), nn.Identity(), nn.Dropout(0.5).eval(), nn.Sigmoid()),
    "bilinear": lambda: Twice(nn.Bilinear(4, 4, 3)),
    "circular convolution": lambda: nn.Sequential(
        nn.Unflatten(1, (1, 4)), nn.Conv1d(1, 2, 3, padding=1, padding_mode="circular"), nn.Tanh()
    ),
    "RNN": lambda: Recurrent(nn.RNN(2, 3, nonlinearity="relu", batch_first=True)),
    "GRU": lambda: Recurrent(nn.GRU(2, 3, num_layers=2, bidirectional=True)),
    "LSTM": lambda: Recurrent(nn.LSTM(2, 3, num_layers=2, batch_first=True, bidirectional=True, proj_size=2)),
    "pools": lambda: nn.Sequential(nn.Unflatten(1, (1, 4)), nn.Conv1d(1, 3, 2), nn.SiLU(), nn.MaxPool1d(2)),
    "weight norm": lambda: nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 3)), nn.Tanh()),
}


class Twice(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x, x.sin())


@pytest.mark.parametrize("build", MODULES.values(), ids=MODULES)
def test_modules_agree_with_nested_differentiation(build):
    torch.manual_seed(0)
    module = build().double()
    x = torch.randn(2, 4, dtype=torch.float64)
    assert_equals_nested(module, x, rtol=1e-8)


def test_a_feature_grid_has_the_laplacian_of_the_surface_between_its_nodes():
    torch.manual_seed(0)
    field = FeatureGrid().double()
    x = torch.randn(5, 4, dtype=torch.float64)
    result = nde.taylor.jet(field, x, nde.taylor.OneHot(torch.arange(4)), order=2, collapse=True)
    h = 1e-4
    total = 0.0
    for axis in torch.eye(4, dtype=torch.float64):
        total = total + (field(x + h * axis) - 2 * field(x) + field(x - h * axis)) / h**2
    torch.testing.assert_close(result.derivative(2), total, rtol=1e-4, atol=1e-6)  # rounding over h^2: 1e-8
    (gradient,) = torch.autograd.grad(result.derivative(2).sum(), field.grid)
    assert gradient.abs().sum() > 0


def test_a_transformer_with_a_decoder_agrees_with_its_values_along_the_curve():
    torch.manual_seed(0)
    model = nn.Transformer(4, 2, 1, 1, 8, dropout=0.0, activation="gelu", batch_first=True).double().eval()
    x, v = torch.randn(2, 1, 3, 4, dtype=torch.float64)
    mask = nn.Transformer.generate_square_subsequent_mask(3, dtype=torch.float64)

    def predicted(x):
        return model(x, x.sin(), tgt_mask=mask)

    result = nde.taylor.jet(predicted, x, v, order=3)
    actual = torch.stack([c.flatten() for c in result.coefficients])
    torch.testing.assert_close(actual, taylor_by_difference(predicted, x, v, 3), rtol=1e-4, atol=1e-4)


def taylor_by_difference(module, x, v, order):
    """Coefficients from values along the curve: an interpolating polynomial in Chebyshev points of a short interval."""
    nodes = 0.06 * torch.cos(torch.pi * (torch.arange(16, dtype=torch.float64) + 0.5) / 16)
    values = torch.stack([module(x + t * v) for t in nodes]).flatten(1)
    powers = torch.vander(nodes, increasing=True)
    return torch.linalg.solve(powers, values)[: order + 1]


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("training", [True, False])
def test_attention_modules_agree_with_their_values_along_the_curve(batch_first, training):
    torch.manual_seed(0)
    block = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0, activation="gelu", batch_first=batch_first).double()
    block.train(training)
    x = torch.randn(2, 3, 4, dtype=torch.float64)
    v = torch.randn(2, 3, 4, dtype=torch.float64)
    result = nde.taylor.jet(block, x, v, order=3)
    expected = taylor_by_difference(block, x, v, 3)
    actual = torch.stack([c.flatten() for c in result.coefficients])
    # singularities of the layer norms are about 0.3 away: the interpolation in 0.06 is good to about 1e-8
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("masked", [True, False])
def test_multihead_attention_gives_values_and_weights_of_torch(masked):
    torch.manual_seed(0)
    attention = nn.MultiheadAttention(4, 2).double()
    x = torch.randn(3, 2, 4, dtype=torch.float64)
    options = {}
    if masked:
        options = {"attn_mask": torch.ones(3, 3, dtype=torch.bool).triu(1)}
        options["key_padding_mask"] = torch.tensor([[False, False, True], [False, False, False]])
    output, weights = attention(x, x, x, **options)

    def both(z):
        values, mean = attention(z, z.sin(), z, **options)
        return torch.cat([values.flatten(), mean.flatten()])

    result = nde.taylor.jet(lambda z: attention(z, z, z, **options)[0], x, torch.ones_like(x), order=2)
    torch.testing.assert_close(result.primal, output, rtol=1e-10, atol=1e-12)
    pair = nde.taylor.jet(lambda z: attention(z, z, z, **options)[1], x, torch.ones_like(x), order=2)
    torch.testing.assert_close(pair.primal, weights, rtol=1e-10, atol=1e-12)
    v = torch.randn_like(x)
    result = nde.taylor.jet(both, x, v, order=2)
    expected = taylor_by_difference(both, x, v, 2)
    torch.testing.assert_close(torch.stack(result.coefficients), expected, rtol=1e-5, atol=1e-5)


def test_dropout_draws_one_mask_for_the_value_and_its_derivatives():
    torch.manual_seed(0)
    x = torch.ones(400, dtype=torch.float64)
    result = nde.taylor.jet(nn.Dropout(0.5), x, 3 * x, order=1)
    torch.testing.assert_close(result.derivative(1), 3 * result.primal)
    assert 0 < (result.primal == 0).sum() < 400
