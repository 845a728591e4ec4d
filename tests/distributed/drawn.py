"""Models that draw: every process has numbers of its own, so that one process computes the mean of their parts."""

import torch
from torch import nn

import nde
from nde.models import GRUDEncoder, GRUEncoder
from nde.regularize import LocalError
from tests.problems import Net

__all__ = ["DRAWN"]

ROWS = 6
FIXED = {"controller": nde.FixedStep(0.25)}


def series(rank: int, times: int = 4) -> torch.Tensor:
    """Return the rows of a process, of series of two channels."""
    generator = torch.Generator().manual_seed(3)
    return torch.randn(times, ROWS, 2, generator=generator, dtype=torch.float64).chunk(2, 1)[rank]


class DrawnLatentODE(nn.Module):
    """A latent ODE whose initial state is drawn from torch's own generator."""

    def __init__(self, **options) -> None:
        super().__init__()
        torch.manual_seed(0)
        encoder = GRUDEncoder(2, 3, 4).double()
        self.layer = nde.LatentODE(Net(size=3), encoder, nn.Linear(3, 2).double(), 3, **FIXED, **options).double()

    def forward(self, rank):
        torch.manual_seed(rank)
        values = series(rank)
        return -self.layer((0.0, 0.25, 0.5, 1.0), values).elbo(values)


class DrawnLatentSDE(nn.Module):
    """A latent SDE with an encoder: the initial state and the path are drawn."""

    def __init__(self, **options) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.encoder = GRUEncoder(2, 3, 4, 8).double()
        self.layer = nde.LatentSDE(_With(Net(size=3)), Net(size=3, seed=1), _Spread(), 3, **FIXED, **options).double()
        self.decoder = nn.Linear(3, 2).double()

    def forward(self, rank):
        initial, context = self.encoder(series(rank))
        torch.manual_seed(rank)
        output = self.layer(initial, args=(context.mean(0)[:, :3],))
        return self.decoder(output.y1).square().mean() + 0.1 * output.kl.mean() + output.penalty


class _With(nn.Module):
    """A drift that sees a context."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, t, z, context):
        return self.net(t, z) + context


class _Spread(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(3, dtype=torch.float64))

    def forward(self, t, z):
        return (0.3 * self.log_scale.exp()).expand_as(z)


class Penalized(nn.Module):
    """A layer whose penalty takes random steps again, those of one process others than those of the other."""

    def __init__(self, grad: str, **options) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor([1.1], dtype=torch.float64))
        self.grad, self.options = grad, options
        self.flow = nde.NeuralODE(Net(size=2), regularizer=LocalError(5.0, grad=grad), rtol=1e-3, **options)

    def forward(self, rank):
        self.flow.regularizer = LocalError(5.0, grad=self.grad, seed=rank)
        y0 = torch.linspace(-1, 1, 2 * ROWS, dtype=torch.float64).reshape(ROWS, 2).chunk(2)[rank]
        output = self.flow(self.scale * y0)
        return output.y1.square().mean() + output.penalty


DRAWN = {
    "latent ode drawn": DrawnLatentODE,
    "latent ode drawn backsolve": lambda: DrawnLatentODE(adjoint="backsolve"),
    "latent sde": DrawnLatentSDE,
    "latent sde direct": lambda: DrawnLatentSDE(adjoint="direct"),
    "latent sde backsolve": lambda: DrawnLatentSDE(adjoint="backsolve", calculus="stratonovich", method="heun"),
    "latent sde reversible": lambda: DrawnLatentSDE(
        adjoint="reversible", calculus="stratonovich", method="reversible_heun"
    ),
    "latent sde per sample": lambda: DrawnLatentSDE(per_sample=True),
    "ode local penalty": lambda: Penalized("direct"),
    "ode local penalty full": lambda: Penalized("full", adjoint="direct"),
    "ode local penalty per sample": lambda: Penalized("direct", per_sample=True),
}
