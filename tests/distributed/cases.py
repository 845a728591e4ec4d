"""Gradients that two processes must agree on with one: a case computes them in a process, or alone to compare."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh

import nde
from nde.compat.torchdiffeq import odeint_adjoint
from nde.models import GRUDEncoder
from nde.operators import LocalNO
from nde.regularize import GlobalError, Kinetic
from tests.distributed.drawn import DRAWN
from tests.distributed.trainings import TRAININGS
from tests.problems import Net, double

WORLD, ROWS = 2, 6
FIXED = {"controller": nde.FixedStep(0.25)}
Gradients = dict[str, torch.Tensor]


def mine(rank: int | None, rows: int = ROWS) -> torch.Tensor:
    """Return the rows of a process; all of them without one."""
    everything = torch.arange(rows)
    return everything if rank is None else everything.chunk(WORLD)[rank]


class Ordinary(nn.Module):
    """A layer between a scale and a read-out, so that gradients pass on from it."""

    def __init__(self, **options) -> None:
        super().__init__()
        self.scale = nn.Parameter(double(1.1))
        self.flow = nde.NeuralODE(Net(size=2), **{**FIXED, **options})

    def forward(self, rank):
        y0 = torch.linspace(-1, 1, 2 * ROWS, dtype=torch.float64).reshape(ROWS, 2)[mine(rank)]
        out = self.flow(self.scale * y0)
        return out.y1.square().mean() + out.penalty


class Adaptive(Ordinary):
    """Halves whose stiffness differs, so that processes take different numbers of steps."""

    def __init__(self, **options) -> None:
        super().__init__(controller=None, rtol=1e-9, atol=1e-11, max_steps=100_000, **options)

    def forward(self, rank):
        y0 = torch.linspace(0.1, 1, 2 * ROWS, dtype=torch.float64).reshape(ROWS, 2)[mine(rank)]
        return self.flow(self.scale * y0 * torch.linspace(0.1, 9, ROWS)[mine(rank), None]).y1.square().mean()


class Legacy(nn.Module):
    """A layer that is written for torchdiffeq."""

    def __init__(self) -> None:
        super().__init__()
        self.field = Net(size=2)

    def forward(self, rank):
        y0 = torch.linspace(-1, 1, 2 * ROWS, dtype=torch.float64).reshape(ROWS, 2)[mine(rank)]
        return odeint_adjoint(self.field, y0, double(0.0, 1.0), rtol=1e-9, atol=1e-9)[-1].square().mean()


class Stochastic(nn.Module):
    """A stochastic layer whose samples meet the same noise in one process as in two."""

    def __init__(self, **options) -> None:
        super().__init__()
        self.layer = nde.NeuralSDE(Net(size=2), Net(size=2, seed=1), **{**FIXED, **options})

    def forward(self, rank):
        y0 = torch.linspace(-1, 1, 2 * ROWS, dtype=torch.float64).reshape(ROWS, 2)[mine(rank)]
        path = nde.BrownianPath(0.0, 1.0, (ROWS, 2), seed=0, levy_area="space-time", dtype=torch.float64)
        return self.layer(y0, path=path.rows(mine(rank))).y1.square().mean()


class Controlled(nn.Module):
    """A neural controlled differential equation along irregular series."""

    def __init__(self, adjoint: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        initial, field = nn.Linear(2, 3), nn.Sequential(nn.Linear(3, 6), nn.Tanh())
        matrix = _Matrix(field)
        self.smooth = adjoint == "reversible"
        options = {"adjoint": adjoint, **({"method": "reversible_heun"} if adjoint == "reversible" else {}), **FIXED}
        self.layer = nde.NeuralCDE(matrix, initial, **options).double()

    def forward(self, rank):
        generator = torch.Generator().manual_seed(3)
        series = torch.randn(ROWS, 4, 2, generator=generator, dtype=torch.float64)[mine(rank)]
        # the reversible method has a memory, and takes no path with kinks
        kind = nde.controls.NaturalCubicPath if self.smooth else nde.controls.LinearPath
        return self.layer(kind(series, torch.linspace(0, 1, 4).double())).y1.square().mean()


class _Matrix(nn.Module):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, t, z):
        return self.net(z).reshape(*z.shape, 2)


class Latent(nn.Module):
    """A latent ODE, from the posterior's mean."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        encoder = GRUDEncoder(2, 3, 4).double()
        self.layer = nde.LatentODE(Net(size=3), encoder, nn.Linear(3, 2).double(), 3, **FIXED).double()

    def forward(self, rank):
        generator = torch.Generator().manual_seed(3)
        values = torch.randn(4, ROWS, 2, generator=generator, dtype=torch.float64)[:, mine(rank)]
        return -self.layer((0.0, 0.25, 0.5, 1.0), values, draw=False).elbo(values)


class Flow(nn.Module):
    """A continuous normalizing flow with an exact trace."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nde.ContinuousFlow(Net(size=2), 2, **FIXED).double()

    def forward(self, rank):
        x = torch.linspace(-1, 1, 2 * ROWS, dtype=torch.float64).reshape(ROWS, 2)[mine(rank)]
        return -self.layer.log_prob(x).mean()


class Operator(nn.Module):
    """A neural operator."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.operator = LocalNO(1, 1, width=4, modes=2, depth=2, radii=(0.3,)).double()

    def forward(self, rank):
        generator = torch.Generator().manual_seed(3)
        fields = torch.randn(ROWS, 1, 8, 8, generator=generator, dtype=torch.float64)[mine(rank)]
        return self.operator(fields).square().mean()


class Physics(nn.Module):
    """A physics-informed network: the residual of Poisson's equation by jets, which no last bias enters."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.network = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1)).double()

    def forward(self, rank):
        from nde.taylor.operators import laplacian

        x = torch.linspace(-1, 1, 2 * ROWS, dtype=torch.float64).reshape(ROWS, 2)[mine(rank)]
        return (laplacian(self.network, x).value.squeeze(-1) - x.sum(-1)).square().mean()


MODELS: dict[str, Callable[[], nn.Module]] = {
    **DRAWN,
    "ode discrete": lambda: Ordinary(adjoint="discrete"),
    "ode direct": lambda: Ordinary(adjoint="direct"),
    "ode backsolve": lambda: Ordinary(adjoint="backsolve"),
    "ode reversible": lambda: Ordinary(adjoint="reversible", method="reversible_heun"),
    "ode per sample": lambda: Ordinary(per_sample=True, controller=None),
    "ode global penalty": lambda: Ordinary(regularizer=GlobalError(0.1), per_sample=True, controller=None),
    "ode per sample direct": lambda: Ordinary(per_sample=True, controller=None, adjoint="direct"),
    "ode per sample backsolve": lambda: Ordinary(per_sample=True, controller=None, adjoint="backsolve"),
    "ode kinetic penalty": lambda: Ordinary(regularizer=Kinetic(0.1), adjoint="backsolve"),
    "odeint_adjoint": Legacy,
    "sde discrete": lambda: Stochastic(),
    "sde direct": lambda: Stochastic(adjoint="direct"),
    "sde backsolve": lambda: Stochastic(adjoint="backsolve", calculus="stratonovich", method="heun"),
    "sde reversible": lambda: Stochastic(adjoint="reversible", calculus="stratonovich", method="reversible_heun"),
    "sde per sample": lambda: Stochastic(per_sample=True),
    "cde discrete": lambda: Controlled("discrete"),
    "cde direct": lambda: Controlled("direct"),
    "cde backsolve": lambda: Controlled("backsolve"),
    "cde reversible": lambda: Controlled("reversible"),
    "latent ode": Latent,
    "flow": Flow,
    "operator": Operator,
    "physics": Physics,
    "different steps": Adaptive,
}

# where the halves of a batch take other steps than the whole, gradients agree to the tolerance of the solves
TOLERANCES = {"odeint_adjoint": 1e-6, "ode per sample backsolve": 1e-5, "different steps": 1e-6}


def alone(name: str) -> Gradients:
    """Return the gradients of one process that sees the whole batch; of models that draw, the mean of both parts."""
    found: Gradients = {}
    parts = range(WORLD) if name in DRAWN else [None]
    for part in parts:
        model = MODELS[name]()
        model(part).backward()
        for key, parameter in model.named_parameters():
            if parameter.grad is not None:
                found[key] = found.get(key, 0) + parameter.grad / len(parts)
    return found


def replicated(name: str) -> Callable[[int], Gradients]:
    """Return what a process computes with ``DistributedDataParallel``."""

    def gradients(rank: int) -> Gradients:
        model = nn.parallel.DistributedDataParallel(MODELS[name](), find_unused_parameters=name == "physics")
        model(rank).backward()
        named = model.module.named_parameters()
        return {key: parameter.grad for key, parameter in named if parameter.grad is not None}

    return gradients


def sharded(name: str) -> Callable[[int], Gradients]:
    """Return what a process computes with the parameters sharded over both (FSDP2)."""

    def gradients(rank: int) -> Gradients:
        from torch.distributed.fsdp import fully_shard

        model = MODELS[name]()
        fully_shard(model, mesh=init_device_mesh("cpu", (dist.get_world_size(),)))
        model(rank).backward()
        named = model.named_parameters()
        return {key: parameter.grad.full_tensor() for key, parameter in named if parameter.grad is not None}

    return gradients


SHARDED = tuple(name for name in MODELS if name != "odeint_adjoint")
CASES = {
    **{f"ddp {name}": replicated(name) for name in MODELS},
    **{f"fsdp {name}": sharded(name) for name in SHARDED},
    **TRAININGS,
}
