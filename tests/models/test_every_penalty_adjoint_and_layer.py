"""Every penalty with every adjoint, equation and layer either works or says why not, and what would.

What works has a finite value, and its gradient is that of the direct adjoint, which in turn is that of finite
differences: steps are fixed where not said otherwise, so that differences do not move them.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Normal

import nde
from nde.adjoint import DiscreteAdjoint
from nde.controls import LinearPath, NaturalCubicPath
from nde.models import GRUDEncoder, SDEGenerator
from nde.regularize import (
    GlobalError,
    GlobalErrorSquared,
    GlobalStiffness,
    JacobianFrobenius,
    JacobianNuclear,
    Kinetic,
    LocalError,
    LocalStiffness,
    NFEBudget,
    Penalty,
    StepCount,
    Taylor,
    TrajectoryPenalty,
)
from nde.regularize.local_estimates import LocalPenalty
from nde.solvers.sde import StepDoubling
from tests.problems import double

ADJOINTS = {
    "direct": "direct",
    "discrete": "discrete",
    "replay": DiscreteAdjoint(tape_memory=0),
    "backsolve": "backsolve",
    "reversible": "reversible",
}
START = torch.linspace(-1, 1, 6, dtype=torch.float64).reshape(3, 2)


class Maps(nn.Module):
    """A field in two maps, with few parameters, that depends on time."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.first, self.second = (
            nn.Parameter(0.5 * torch.randn(2, 2, generator=generator, dtype=torch.float64)) for _ in range(2)
        )

    def inner(self, t: Tensor, y: Tensor) -> Tensor:
        return torch.tanh(y @ self.first + t)

    def outer(self, t: Tensor, features: Tensor) -> Tensor:
        return features @ self.second - 0.1 * features.square().sum(-1, keepdim=True)

    def forward(self, t: Tensor, y: Tensor, *args: Any) -> Tensor:
        return self.outer(t, self.inner(t, y))


PENALTIES: dict[str, Callable[[Maps], Penalty]] = {
    "error": lambda net: GlobalError(),
    "squared error": lambda net: GlobalErrorSquared(),
    "stiffness": lambda net: GlobalStiffness(),
    "steps": lambda net: StepCount(set_point=0.5),
    "local error": lambda net: LocalError(n_draws=2),
    "full local error": lambda net: LocalError(grad="full", n_draws=2),
    "local stiffness": lambda net: LocalStiffness(grad="full"),
    "budget": lambda net: NFEBudget(10, 0.5 * LocalError(grad="full") + Kinetic(form="local")),
}
for _form in ("augmented", "local"):
    PENALTIES |= {
        f"{_form} kinetic": lambda net, form=_form: Kinetic(form=form),
        f"{_form} frobenius": lambda net, form=_form: JacobianFrobenius(form=form),
        f"{_form} nuclear": lambda net, form=_form: JacobianNuclear(net.inner, net.outer, form=form),
        f"{_form} denoising": lambda net, form=_form: JacobianNuclear(
            net.inner, net.outer, form=form, estimator="denoising", sigma=0.1
        ),
        f"{_form} taylor": lambda net, form=_form: Taylor(2, form=form),
    }


@dataclass
class Case:
    """A layer and how it is called.

    Attributes:
        call: Returns the output for a network, a penalty and options.
        options: Options of the layer.
        noise: Kind of noise; None for ordinary equations.
        reversible: Whether the method can be undone.
        error, stiffness: Whether it has these estimates.
        rows: Whether samples have steps of their own, or steps are forced.
        backsolve: Largest relative error of the continuous adjoint with these steps.
    """

    call: Callable[..., Any]
    options: dict[str, Any] = field(default_factory=dict)
    noise: str | None = None
    reversible: bool = False
    error: bool = True
    stiffness: bool = True
    rows: bool = False
    backsolve: float = 1e-4


def ode(net: Maps, penalty: Penalty, **options: Any) -> Any:
    return nde.NeuralODE(net, (0.0, 0.6), regularizer=penalty, **options)(START)


def flow(net: Maps, penalty: Penalty, **options: Any) -> Any:
    return nde.ContinuousFlow(net, 2, (0.0, 0.6), regularizer=penalty, **options).double()(START, seed=0)


@functools.cache
def latent_parts() -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    encoder = GRUDEncoder(2, 2, 4).double()
    with torch.no_grad():
        encoder.input_bias.fill_(0.1)
    return encoder, nn.Linear(2, 2).double()


def latent_ode(net: Maps, penalty: Penalty, **options: Any) -> Any:
    encoder, decoder = latent_parts()
    layer = nde.LatentODE(net, encoder, decoder, 2, regularizer=penalty, **options).double()
    return layer((0.0, 0.3, 0.6), torch.stack([START, START.cos(), START.sin()]), seed=0)


class Driven(nn.Module):
    """Matrices ``(hidden, channels)`` made of the maps."""

    def __init__(self, net: Maps) -> None:
        super().__init__()
        self.net = net

    def forward(self, t: Tensor, z: Tensor) -> Tensor:
        value = self.net(t, z)
        return torch.stack([value, 0.5 * value.sin()], -1)


def cde(kind: Any, net: Maps, penalty: Penalty, **options: Any) -> Any:
    series = torch.stack([START, START.cos(), START.sin() - 0.2], 1)
    path = kind(series, double(0.0, 0.3, 0.6))
    return nde.NeuralCDE(Driven(net), regularizer=penalty, **options)(path, START)


def diffusion_of(noise: str) -> Callable[[Tensor, Tensor], Tensor]:
    def diagonal(t: Tensor, y: Tensor, *args: Any) -> Tensor:
        return 0.3 + 0.1 * y.cos()

    def constant(t: Tensor, y: Tensor, *args: Any) -> Tensor:
        return y.new_tensor([[0.3, 0.1, 0.0], [-0.2, 0.2, 0.1]]).expand(*y.shape, 3)

    def matrix(t: Tensor, y: Tensor, *args: Any) -> Tensor:
        return constant(t, y) * (1 + 0.2 * y.unsqueeze(-1).cos())

    def scalar(t: Tensor, y: Tensor, *args: Any) -> Tensor:
        return diagonal(t, y).unsqueeze(-1)

    def commuting(t: Tensor, y: Tensor, *args: Any) -> Tensor:
        return torch.diag_embed(diagonal(t, y))

    kinds = {"diagonal": diagonal, "scalar": scalar, "additive": constant, "commutative": commuting, "general": matrix}
    return kinds[noise]


def sde(noise: str, net: Maps, penalty: Penalty, **options: Any) -> Any:
    layer = nde.NeuralSDE(net, diffusion_of(noise), (0.0, 0.6), noise=noise, regularizer=penalty, **options)
    return layer(START, seed=1)


def latent_sde(net: Maps, penalty: Penalty, **options: Any) -> Any:
    prior = lambda t, z: -z
    layer = nde.LatentSDE(net, prior, diffusion_of("diagonal"), 2, (0.0, 0.6), regularizer=penalty, **options).double()
    return layer(Normal(START, torch.ones_like(START)), seed=1)


class Generated(SDEGenerator):
    """A generator whose drift is made of the maps."""

    def __init__(self, net: Maps, penalty: Penalty, **options: Any) -> None:
        super().__init__(2, 2, (0.0, 0.3, 0.6), noise_size=3, regularizer=penalty, **options)
        self.double()
        self.drift = net  # type: ignore[assignment]


def generator(net: Maps, penalty: Penalty, **options: Any) -> Any:
    torch.manual_seed(0)
    return Generated(net, penalty, **options).generate(3, seed=1)


FIXED = {"controller": nde.FixedStep(0.2)}
SMALL = {"controller": nde.FixedStep(0.05)}
FINE = {
    "controller": nde.FixedStep(0.025)
}  # the continuous adjoint of a stochastic equation is no better than its steps
ROWS = {"per_sample": True}
STRATONOVICH = {"calculus": "stratonovich", "method": StepDoubling("heun")}

CASES = {
    "ode": Case(ode, FIXED),
    "adaptive ode": Case(ode, {"rtol": 1e-6, "atol": 1e-6}),
    "ode per sample": Case(ode, FIXED | ROWS, rows=True),
    "adaptive ode per sample": Case(ode, {"rtol": 1e-6, "atol": 1e-6} | ROWS, rows=True),
    "ode with forced steps": Case(ode, FIXED | {"step_ts": (0.1,)}, rows=True),
    "reversible ode": Case(ode, FIXED | {"method": "reversible_heun"}, reversible=True, stiffness=False, backsolve=0.1),
    "implicit ode": Case(ode, FIXED | {"method": "radau_iia5"}, error=False, stiffness=False),
    "flow": Case(flow, FIXED),
    "flow per sample": Case(flow, FIXED | ROWS, rows=True),
    "latent ode": Case(latent_ode, FIXED),
    "latent ode per sample": Case(latent_ode, FIXED | ROWS, rows=True),
    # of a Hermite cubic path, the second derivative jumps at knots, which no step would know of
    "cde": Case(functools.partial(cde, NaturalCubicPath), SMALL),
    "cde per sample": Case(functools.partial(cde, NaturalCubicPath), SMALL | ROWS, rows=True),
    "cde with corners": Case(functools.partial(cde, LinearPath), FIXED, rows=True, backsolve=1e-3),
    "sde, diagonal": Case(functools.partial(sde, "diagonal"), FINE, "diagonal", backsolve=0.1),
    "adaptive sde, diagonal": Case(functools.partial(sde, "diagonal"), {"rtol": 1e-2}, "diagonal", backsolve=0.2),
    "sde per sample": Case(functools.partial(sde, "diagonal"), FIXED | ROWS, "diagonal", rows=True),
    "adaptive sde per sample": Case(functools.partial(sde, "diagonal"), {"rtol": 1e-2} | ROWS, "diagonal", rows=True),
    "sde, scalar": Case(functools.partial(sde, "scalar"), FINE, "scalar", backsolve=0.1),
    "sde, additive": Case(functools.partial(sde, "additive"), FINE, "additive", backsolve=0.1),
    "sde, commutative": Case(
        functools.partial(sde, "commutative"),
        FINE | {"method": "milstein"},
        "commutative",
        error=False,
        stiffness=False,
        backsolve=0.2,
    ),
    "sde, general": Case(
        functools.partial(sde, "general"), FINE | STRATONOVICH, "general", stiffness=False, backsolve=0.1
    ),
    "adaptive sde, general": Case(
        functools.partial(sde, "general"), STRATONOVICH | {"rtol": 1e-2}, "general", stiffness=False, backsolve=0.2
    ),
    "reversible sde": Case(
        functools.partial(sde, "general"),
        FINE | {"calculus": "stratonovich", "method": "reversible_heun"},
        "general",
        reversible=True,
        stiffness=False,
        backsolve=0.1,
    ),
    "latent sde": Case(latent_sde, FINE, "diagonal", backsolve=0.1),
    "latent sde per sample": Case(latent_sde, FIXED | ROWS, "diagonal", rows=True),
    "generator": Case(generator, FINE, "general", reversible=True, stiffness=False, backsolve=0.1),
    "generator of a one-step method": Case(
        generator, FINE | {"method": StepDoubling("heun")}, "general", stiffness=False, backsolve=0.1
    ),
}


def refusal(case: Case, penalty: Penalty, adjoint: str) -> str | None:
    """Return what the message must hold where a combination is refused; None where it works."""
    parts = [part for part in penalty.modules() if isinstance(part, Penalty)]
    for part in parts:
        name = type(part).__name__
        if part.reads == "error" and not case.error:
            return f"{name} does not go with method=.*no error estimate. Choose"
        if part.reads == "stiffness" and not case.stiffness:
            return f"{name} does not go with method=.*no stiffness estimate. Choose"
        if isinstance(part, LocalPenalty) and case.reversible:
            return f"{name} does not go with method='reversible_heun'.*Choose a one-step method"
        if part.of_all_steps and adjoint == "backsolve":
            return f'{name} does not go with adjoint="backsolve".*Use adjoint="discrete"'
        if isinstance(part, Taylor) and case.noise is not None:
            return "must not hold Taylor with a stochastic equation.*Choose another penalty, such as Kinetic"
        if isinstance(part, TrajectoryPenalty) and part.form == "augmented" and case.noise not in (None, "diagonal"):
            return rf'does not go with {name}\(form="augmented"\).*Give the penalty form="local"'
    if adjoint == "backsolve" and case.noise is not None and case.rows:
        return 'adjoint="backsolve" of a stochastic equation works with none of.*Choose adjoint="discrete"'
    if adjoint == "reversible" and case.rows:
        return "adjoint=ReversibleAdjoint works with none of.*Choose"
    if adjoint == "reversible" and not case.reversible:
        return (
            'adjoint="reversible" undoes the steps.*(Reversible methods.*: reversible_heun|choose adjoint="discrete")'
        )
    return None


def penalised(case: Case, name: str, adjoint: str, net: Maps) -> Tensor:
    return case.call(net, PENALTIES[name](net), adjoint=ADJOINTS[adjoint], **case.options).penalty


@functools.cache
def by_direct_adjoint(case: str, name: str) -> tuple[Tensor, Tensor]:
    """Return a penalty and its gradient by the maps' parameters."""
    return value_and_gradient(CASES[case], name, "direct")


def value_and_gradient(case: Case, name: str, adjoint: str) -> tuple[Tensor, Tensor]:
    net = Maps()
    value = penalised(case, name, adjoint, net)
    parts = torch.autograd.grad(value, list(net.parameters()))
    return value.detach(), torch.cat([part.reshape(-1) for part in parts])


FAST = ("ode", "adaptive ode per sample", "cde with corners", "sde per sample", "generator of a one-step method")


def shown(cases: list[str]) -> list[Any]:
    """Return cases as parameters, most of them slow."""
    return [pytest.param(case, marks=() if case in FAST else pytest.mark.slow) for case in cases]


@pytest.mark.parametrize("adjoint", ["discrete", "replay", "backsolve", "reversible"])
@pytest.mark.parametrize("case", shown(list(CASES)))
def test_gradient_is_that_of_the_direct_adjoint_or_the_refusal_says_what_would_work(case: str, adjoint: str) -> None:
    worked = 0
    for name in PENALTIES:
        message = refusal(CASES[case], PENALTIES[name](Maps()), adjoint)
        if message is not None:
            with pytest.raises(ValueError, match=f"(?s){message}"):
                penalised(CASES[case], name, adjoint, Maps())
            continue
        worked += 1
        value, gradient = value_and_gradient(CASES[case], name, adjoint)
        expected, reference = by_direct_adjoint(case, name)
        assert bool(value.isfinite()) and float(value) > 0, name
        # an error of 1e-3 of a tolerance of 1e-6 is a difference of numbers near one
        torch.testing.assert_close(value, expected, rtol=1e-6, atol=1e-12, msg=name)
        tolerance = CASES[case].backsolve if adjoint == "backsolve" else 1e-6
        difference = float((gradient - reference).norm() / reference.norm())
        assert difference < tolerance, f"{name}: {difference:.2e}"
    if adjoint in ("discrete", "replay"):
        assert worked >= 4


@pytest.mark.parametrize("case", shown([name for name in CASES if "adaptive" not in name]))
def test_gradient_by_the_direct_adjoint_is_that_of_finite_differences(case: str) -> None:
    checked = 0
    for name in PENALTIES:
        # a gradient at a constant state is no derivative of the penalty
        if name == "local error" or refusal(CASES[case], PENALTIES[name](Maps()), "direct") is not None:
            continue
        checked += 1
        _, gradient = by_direct_adjoint(case, name)
        direction = gradient / gradient.norm()

        def shifted(by: float, name: str = name, direction: Tensor = direction) -> float:
            net = Maps()
            with torch.no_grad():
                vector = nn.utils.parameters_to_vector(net.parameters())
                nn.utils.vector_to_parameters(vector + by * direction, net.parameters())
                return float(penalised(CASES[case], name, "direct", net))

        near, far = (shifted(by) - shifted(-by) for by in (1e-4, 2e-4))
        slope = (8 * near - far) / 12e-4
        # rounding of 1e-16 over the difference and over the tolerance, 1e-6, that errors divide by
        assert math.isclose(slope, float(gradient.norm()), rel_tol=1e-4), f"{name}: {slope} {float(gradient.norm())}"
    assert checked >= 4
