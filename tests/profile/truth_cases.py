"""Models whose calls are counted by hand, in the field itself, phase by phase: what a recording must agree with."""

import collections
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import nn

import nde
from examples.digits_model import CONFIGS, Classifier, load_digits
from nde.compat.torchdiffeq import odeint, odeint_adjoint
from nde.compat.torchsde import sdeint, sdeint_adjoint
from nde.models import GRUDEncoder, ODERNNEncoder


class Tally:
    """What a user would count and time by hand."""

    def __init__(self) -> None:
        self.phase = "forward"
        self.calls: list[collections.Counter] = [collections.Counter()]
        self.seconds: collections.Counter = collections.Counter()

    def note(self, what: str = "field") -> None:
        """Count a call in the current iteration and phase."""
        self.calls[-1][self.phase, what] += 1

    def total(self, phase: str, what: str = "field") -> int:
        """Return a count over all iterations."""
        return sum(calls[phase, what] for calls in self.calls)

    def hook(self, module: nn.Module, what: str = "field") -> None:
        """Count the calls of a module."""
        module.register_forward_hook(lambda *_: self.note(what))


@dataclass
class Case:
    """A training whose iterations are hand-counted.

    Attributes:
        loss: Computes the loss of an iteration.
        parameters: What is trained.
        tally: The hand-made counters.
        model: Whose names the fields should have; None for none.
        opening: Calls of each kind in an iteration before and after its solves, which the interface itself makes.
    """

    loss: Callable[[], torch.Tensor]
    parameters: list[nn.Parameter]
    tally: Tally
    model: nn.Module | None = None
    opening: dict[str, int] = field(default_factory=dict)

    def train(self, iterations: int, between: Callable[[], object] = lambda: None) -> float:
        """Train as users do, and return the wall-clock time of the loop."""
        optimiser, tally = torch.optim.SGD(self.parameters, 1e-2), self.tally
        start = time.perf_counter()
        for iteration in range(iterations):
            tally.phase = "forward"
            if iteration:
                tally.calls.append(collections.Counter())
            loss = self.loss()
            tally.phase = "backward"
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            between()
        return time.perf_counter() - start


def digits(penalty: str) -> Case:
    """The demonstration on handwritten digits."""
    data, tally = load_digits(), Tally()
    model = Classifier(0, CONFIGS[penalty].penalty(2))
    tally.hook(model.flow.field)
    batches = iter(zip(data.train_x.split(32), data.train_y.split(32), strict=True))

    def loss() -> torch.Tensor:
        x, classes = next(batches)
        logits, output = model(x)
        return nn.functional.cross_entropy(logits, classes) + output.penalty

    return Case(loss, list(model.flow.parameters()), tally, model)


def latent_ode(adjoint: str, encoder: str) -> Case:
    """A latent ODE; with an ODE-RNN in front, whose own solves are many and short."""
    torch.manual_seed(0)
    tally = Tally()
    dynamics = _Tanh(3)
    tally.hook(dynamics, "dynamics")
    if encoder == "ode-rnn":
        between = _Tanh(4)
        tally.hook(between, "between")
        first: nn.Module = ODERNNEncoder(2, 3, 4, between, controller=nde.FixedStep(0.5))
    else:
        first = GRUDEncoder(2, 3, 4)
    model = nde.LatentODE(dynamics, first, nn.Linear(3, 2), 3, adjoint=adjoint, rtol=1e-4)
    values, ts = torch.randn(5, 8, 2), torch.linspace(0, 1, 5)
    return Case(lambda: -model(ts, values).elbo(values), list(model.parameters()), tally, model)


def ode_demo(solve: Callable, **options) -> Case:
    """Code as it is written for torchdiffeq: fit a spiral, with a counter in the module and callbacks of its own."""

    class ODEFunc(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Sequential(nn.Linear(2, 20), nn.Tanh(), nn.Linear(20, 2))

        def forward(self, t, y):
            tally.note()
            return self.net(y**3)

    torch.manual_seed(0)
    tally, func = Tally(), ODEFunc()
    if "method" not in options:  # where nothing can be rejected, torchdiffeq warns of callbacks
        func.callback_accept_step = lambda t0, y0, dt: tally.note("accepted")
        func.callback_reject_step = lambda t0, y0, dt: tally.note("rejected")
    with torch.no_grad():
        for weights in func.parameters():
            weights.mul_(3)
    y0, t = torch.randn(10, 1, 2), torch.linspace(0.0, 2.0, 8)
    target = torch.randn(8, 10, 1, 2)
    return Case(lambda: (solve(func, y0, t, **options) - target).abs().mean(), list(func.parameters()), tally, func)


def cnf(solve: Callable) -> Case:
    """Code as it is written for torchdiffeq: a flow whose trace is taken by autograd inside of the field, backwards."""

    class CNF(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Linear(16, 2))

        def forward(self, t, states):
            tally.note()
            with torch.enable_grad():
                z = states[0].requires_grad_(True)
                dz = self.net(torch.cat([z, t.expand(len(z), 1)], 1))
                trace = sum(torch.autograd.grad(dz[:, i].sum(), z, create_graph=True)[0][:, i] for i in range(2))
            return dz, -trace.unsqueeze(1)

    torch.manual_seed(0)
    tally, func = Tally(), CNF()
    x, t = torch.randn(16, 2), torch.tensor([1.0, 0.0])

    def loss() -> torch.Tensor:
        z, change = solve(func, (x, torch.zeros(16, 1)), t, atol=1e-5, rtol=1e-5, method="dopri5")
        return z[-1].square().sum(1).mean() / 2 + change[-1].mean()

    return Case(loss, list(func.parameters()), tally, func)


def stochastic(solve: Callable, kind: str, opening: dict[str, int], **options) -> Case:
    """Code as it is written for torchsde: an object with a drift and a diffusion."""

    class SDE(nn.Module):
        noise_type = "diagonal"
        sde_type = kind

        def __init__(self) -> None:
            super().__init__()
            self.drift, self.spread = nn.Linear(2, 2), nn.Linear(2, 2)

        def f(self, t, y):
            tally.note()
            return torch.tanh(self.drift(y))

        def g(self, t, y):
            tally.note("diffusion")
            return 0.1 + torch.sigmoid(self.spread(y))

    torch.manual_seed(0)
    tally, sde = Tally(), SDE()
    y0, ts = torch.randn(8, 2), torch.linspace(0, 0.9, 4)
    return Case(
        lambda: solve(sde, y0, ts, dt=0.1, **options)[-1].square().mean(), list(sde.parameters()), tally, sde, opening
    )


def stiff(adjoint: str) -> Case:
    """The Robertson-like chain of a fast and a slow reaction, by an implicit method."""

    class Reactions(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rates = nn.Parameter(torch.tensor([0.5, 300.0, 1000.0], dtype=torch.float64))

        def forward(self, t, y):
            tally.note()
            a, b, c = y.unbind(-1)
            slow, fast, both = self.rates
            first, second, third = slow * a, fast * b * b, both * b * c
            return torch.stack([third - first, first - third - second, second], -1)

    tally, field = Tally(), Reactions()
    y0 = torch.tensor([[1.0, 0.0, 0.0], [0.5, 0.1, 0.2]], dtype=torch.float64)
    layer = nde.NeuralODE(field, (0.0, 10.0), method="radau_iia5", controller=nde.FixedStep(1.0), adjoint=adjoint)
    return Case(lambda: layer(y0).y1.square().sum() * 1e-3, list(field.parameters()), tally, layer)


class _Tanh(nn.Module):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(size, 8), nn.Tanh(), nn.Linear(8, size))

    def forward(self, t, y):
        return self.net(y)


# torchsde's interface evaluates everything once before the solve, to see what it returns
_LOOKED_AT = {"field": 1, "diffusion": 1}
CASES: dict[str, Callable[[], Case]] = {
    "digits, plain": lambda: digits("unregularised"),
    "digits, penalized": lambda: digits("StepCount, 0.03"),
    "latent ode, discrete": lambda: latent_ode("discrete", "gru"),
    "latent ode, direct, ode-rnn": lambda: latent_ode("direct", "ode-rnn"),
    "latent ode, backsolve, ode-rnn": lambda: latent_ode("backsolve", "ode-rnn"),
    "torchdiffeq, odeint": lambda: ode_demo(odeint, rtol=1e-6, atol=1e-8),
    "torchdiffeq, odeint, rk4": lambda: ode_demo(odeint, method="rk4"),
    "torchdiffeq, odeint, implicit_adams": lambda: ode_demo(odeint, method="implicit_adams"),
    "torchdiffeq, odeint_adjoint": lambda: ode_demo(odeint_adjoint, rtol=1e-3, atol=1e-4),
    "torchdiffeq, cnf": lambda: cnf(odeint),
    "torchdiffeq, cnf, adjoint": lambda: cnf(odeint_adjoint),
    "torchsde, sdeint": lambda: stochastic(sdeint, "ito", _LOOKED_AT, method="srk"),
    "torchsde, adaptive": lambda: stochastic(sdeint, "ito", _LOOKED_AT, adaptive=True, rtol=1e-2, atol=1e-2),
    "torchsde, adjoint": lambda: stochastic(sdeint_adjoint, "stratonovich", _LOOKED_AT, adjoint_method="midpoint"),
    "torchsde, reversible": lambda: stochastic(
        sdeint_adjoint, "stratonovich", _LOOKED_AT, method="reversible_heun", adjoint_method="adjoint_reversible_heun"
    ),
    "stiff, discrete": lambda: stiff("discrete"),
    "stiff, direct": lambda: stiff("direct"),
}
