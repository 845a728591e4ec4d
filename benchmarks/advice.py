"""Whether advice, followed, gives what it promised: ``python -m benchmarks.profile advice``.

Each case is recorded for a few iterations of training, its advice is taken, and the same training is built with the
settings that were advised. Whole iterations of both are then timed by turns, processor time, the least of many.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

import nde
import nde.profile
from examples.digits_model import BATCH, TOLERANCE, Field, load_digits
from nde.compat.torchdiffeq import odeint, odeint_adjoint
from nde.compat.torchsde import sdeint
from nde.models import GRUDEncoder

__all__ = ["CASES", "Followed", "follow", "print_table"]

Options = dict[str, Any]
Iteration = Callable[[], Tensor]  # to the loss


@dataclass(frozen=True)
class Followed:
    """What became of advice.

    Attributes:
        settings: What it was.
        of_solves: Speed-up that was promised of the solves.
        promised, obtained: Speed-up of an iteration.
    """

    settings: str
    of_solves: float
    promised: float
    obtained: float


def _digits(options: Options) -> Iteration:
    torch.manual_seed(0)
    data = load_digits()
    settings: Options = {"method": "tsit5", "rtol": TOLERANCE, "atol": TOLERANCE, **options}
    flow, read_out = nde.NeuralODE(Field(), **settings), nn.Linear(64, 10, dtype=torch.float64)
    x, classes = data.train_x[:BATCH], data.train_y[:BATCH]
    return lambda: nn.functional.cross_entropy(read_out(flow(x).y1), classes)


class _Net(nn.Module):
    def __init__(self, size: int, hidden: int, scale: float = 1.0) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(size, hidden), nn.Tanh(), nn.Linear(hidden, size))
        self.scale = scale

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        """Evaluate the field."""
        value: Tensor = self.scale * self.net(y)
        return value


def _latent_ode(options: Options) -> Iteration:
    torch.manual_seed(0)
    settings: Options = {"method": "bosh3", "rtol": 1e-5, "atol": 1e-6, **options}
    model = nde.LatentODE(_Net(4, 64, 3.0), GRUDEncoder(2, 4, 16), nn.Linear(4, 2), 4, **settings)
    values, ts = torch.randn(10, 64, 2), torch.linspace(0, 1, 10)
    return lambda: -model(ts, values, draw=False).elbo(values)


def _ode_demo(options: Options) -> Iteration:
    torch.manual_seed(0)
    func = _Net(2, 50, 4.0).double()
    y0, t = torch.randn(256, 2, dtype=torch.float64), torch.linspace(0, 2, 5, dtype=torch.float64)
    settings: Options = {"method": "dopri5", "rtol": 1e-7, "atol": 1e-9, **options}
    return lambda: odeint(func, y0, t, **settings).abs().mean()


class _CNF(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 64), nn.Tanh(), nn.Linear(64, 2)).double()

    def forward(self, t: Tensor, states: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Evaluate the field and its divergence."""
        with torch.enable_grad():
            z = states[0].requires_grad_(True)
            dz = 3 * self.net(torch.cat([z, t.expand(len(z), 1)], 1))
            parts = [torch.autograd.grad(dz[:, i].sum(), z, create_graph=True)[0][:, i] for i in range(2)]
        return dz, -(parts[0] + parts[1]).unsqueeze(1)


def _cnf(options: Options) -> Iteration:
    torch.manual_seed(0)
    func, x = _CNF(), torch.randn(128, 2, dtype=torch.float64)
    t = torch.tensor([1.0, 0.0], dtype=torch.float64)
    settings: Options = {"method": "dopri5", "rtol": 1e-7, "atol": 1e-8, **options}

    def loss() -> Tensor:
        z, change = odeint_adjoint(func, (x, x.new_zeros(128, 1)), t, **settings)
        value: Tensor = z[-1].square().mean() + change[-1].mean()
        return value

    return loss


class _SDE(nn.Module):
    noise_type, sde_type = "diagonal", "ito"

    def __init__(self) -> None:
        super().__init__()
        self.drift = _Net(4, 32, 2.0)

    def f(self, t: Tensor, y: Tensor) -> Tensor:
        """Return the drift."""
        drift: Tensor = self.drift(t, y)
        return drift

    def g(self, t: Tensor, y: Tensor) -> Tensor:
        """Return the diffusion."""
        return 0.2 + 0.1 * torch.cos(y)


def _torchsde(options: Options) -> Iteration:
    torch.manual_seed(0)
    sde, y0, ts = _SDE(), torch.randn(64, 4), torch.linspace(0, 1, 3)
    settings: Options = {"method": "srk", "dt": 0.05, "adaptive": True, "rtol": 1e-3, "atol": 1e-3, **options}

    def loss() -> Tensor:
        torch.manual_seed(1)  # the same path in every iteration
        value: Tensor = sdeint(sde, y0, ts, **settings)[-1].square().mean()
        return value

    return loss


class _VanDerPol(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mu = nn.Parameter(torch.tensor(300.0, dtype=torch.float64))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        """Evaluate the field."""
        x, v = y.unbind(-1)
        return torch.stack([v, self.mu * (1 - x**2) * v - x], -1)


def _stiff(options: Options) -> Iteration:
    layer = nde.NeuralODE(_VanDerPol(), ts=(0.0, 2.0), **{"method": "dopri5", "rtol": 1e-5, "atol": 1e-6, **options})
    y0 = torch.tensor([[2.0, 0.0], [1.9, 0.0], [1.8, 0.0]], dtype=torch.float64)
    return lambda: layer(y0).y1.square().mean()


def _implicit(options: Options) -> Iteration:
    settings: Options = {"method": "trbdf2", "controller": nde.FixedStep(0.005), **options}
    layer = nde.NeuralODE(_VanDerPol(), ts=(0.0, 2.0), **settings)
    y0 = torch.tensor([[2.0, 0.0], [1.9, 0.0], [1.8, 0.0]], dtype=torch.float64)
    return lambda: layer(y0).y1.square().mean()


#: from the settings to an iteration of training, and whether a peer's interface limits what can be asked for
CASES: dict[str, tuple[Callable[[Options], Iteration], bool]] = {
    "digits, tsit5": (_digits, False),
    "latent ODE, bosh3": (_latent_ode, False),
    "torchdiffeq's odeint, dopri5": (_ode_demo, True),
    "torchdiffeq's adjoint, a flow": (_cnf, True),
    "torchsde's sdeint, adaptive": (_torchsde, True),
    "stiff, dopri5": (_stiff, False),
    "stiff, trbdf2 at fixed steps": (_implicit, False),
}


def follow(name: str, repeats: int) -> Followed:
    """Record a case, follow the advice, and time what it gives."""
    make, peer = CASES[name]
    before = make({})
    with nde.profile.record() as cost:
        for _ in range(3):
            before().backward()
    # the field that the training spends most on
    label = max(cost.solves, key=lambda solve: solve.forward.field + solve.backward.field).label
    advice = cost.advice(label, stepping=not peer)
    options = dict(advice.best.options)
    after = make(options)
    for run in (before, after):
        run().backward()
    least = [float("inf")] * 2
    for turn in range(repeats):
        for place in (turn % 2, 1 - turn % 2):
            run = (before, after)[place]
            start = time.process_time()
            run().backward()
            least[place] = min(least[place], time.process_time() - start)
    settings = advice.best.settings if options else "as they are"
    return Followed(settings, advice.speed_up, advice.speed_up_in_all, least[0] / least[1])


def print_table(repeats: int, names: list[str]) -> None:
    """Print what was promised and what was obtained."""
    print("| recorded | advised | promised of the solves | of an iteration | obtained | obtained over promised |")
    print("| --- | --- | ---: | ---: | ---: | ---: |")
    for name in names or CASES:
        one = follow(name, repeats)
        print(
            f"| {name} | {one.settings} | {one.of_solves:.2f} | {one.promised:.2f} | {one.obtained:.2f} | "
            f"{one.obtained / one.promised:.2f} |",
            flush=True,
        )
