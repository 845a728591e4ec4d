"""Methods converge in law with the order that they claim.

The expectation of a periodic function of a step's end, over Gauss-Hermite nodes of the noise, is a function of its
beginning, which Fourier interpolation carries back from step to step: no random numbers, no statistical error. The
exact expectation solves Kolmogorov's backward equation.
"""

import functools
import math
from typing import NamedTuple

import numpy
import pytest
import torch

from nde.solvers.sde import CALCULI, NOISE_TYPES, SDEField, find_sde_method, sde_method_names
from nde.solvers.structure import StateStructure

POINTS = 32
GRID = torch.arange(POINTS, dtype=torch.float64) * (2 * math.pi / POINTS)
STEPS = (16, 32, 64)


class Noise(NamedTuple):
    w: torch.Tensor
    h: torch.Tensor
    a: torch.Tensor | None = None


class Nodes:
    """Gauss-Hermite nodes of the increments and the areas of some motions, as a path that is the same in every step."""

    def __init__(self, motions, counts):
        axes, weights = zip(*(numpy.polynomial.hermite_e.hermegauss(count) for count in counts), strict=True)
        product = numpy.stack([axis.ravel() for axis in numpy.meshgrid(*axes, indexing="ij")], -1)
        self.values = torch.from_numpy(product)  # (nodes, w of each motion and h of each)
        table = numpy.meshgrid(*(weight / weight.sum() for weight in weights), indexing="ij")
        self.weights = torch.from_numpy(numpy.prod(numpy.stack(table), 0).ravel())
        self.motions, self.rows = motions, 1

    def __call__(self, s, t):
        size = t - s
        w = self.values[:, : self.motions] * math.sqrt(size)
        h = self.values[:, self.motions : 2 * self.motions] * math.sqrt(size / 12)
        # one state after the other, each with all nodes
        w, h = (part.repeat(self.rows, 1) for part in (w, h))
        if self.motions == 1:
            return Noise(w.squeeze(-1), h.squeeze(-1))
        area = h.unsqueeze(-1) * w.unsqueeze(-2)
        last = self.values[:, -1].repeat(self.rows) * size / math.sqrt(12)  # read by those that ask for an area
        turn = torch.tensor([[0.0, 1.0], [-1.0, 0.0]], dtype=torch.float64)
        return Noise(w, h, area - area.mT + last.view(-1, 1, 1) * turn)


def drift(t, y):
    return 0.4 * torch.cos(y + t) + 0.8 * torch.sin(2 * y)


DIFFUSIONS = {
    "diagonal": lambda t, y: (0.6 + 0.2 * t) * (1 + 0.5 * torch.sin(y)),
    "additive": lambda t, y: (0.6 + 0.2 * t) * torch.ones_like(y),
    "general": lambda t, y: (0.6 + 0.2 * t) * torch.stack([1 + 0.5 * torch.sin(y), torch.cos(y) - 0.3], -1),
}


def wanted(y):
    return torch.exp(torch.sin(y)) + 0.5 * torch.cos(2 * y)


def interpolant(y, points=POINTS):
    """Return the matrix that takes values on the grid to those of their Fourier interpolant at ``y``."""
    angle = y.unsqueeze(-1) - torch.arange(points, dtype=torch.float64) * (2 * math.pi / points)
    tangent = torch.tan(angle / 2)
    near = tangent.abs() < 1e-12
    kernel = torch.sin(points * angle / 2) / (points * torch.where(near, 1.0, tangent))
    return torch.where(near, 1.0, kernel)


@functools.cache
def exact(calculus, noise):
    """Expectations at time 1, given each point of the grid at time 0, from Kolmogorov's backward equation."""
    frequencies = 1j * torch.fft.fftfreq(POINTS, 1 / POINTS, dtype=torch.float64)

    def derivative(values, order=1):
        return torch.fft.ifft(frequencies**order * torch.fft.fft(values)).real

    def backward(t, u):
        diffusion = DIFFUSIONS[noise](t, GRID)
        columns = diffusion.unbind(-1) if noise == "general" else [diffusion]
        found = drift(t, GRID) * derivative(u)
        for g in columns:
            found = found + 0.5 * g**2 * derivative(u, 2)
            if calculus == "stratonovich":
                found = found + 0.5 * g * derivative(g) * derivative(u)
        return found

    u, count = wanted(GRID), 400
    for step in range(count):
        t, h = 1 - step / count, 1 / count
        k1 = backward(t, u)
        k2 = backward(t - h / 2, u + h / 2 * k1)
        k3 = backward(t - h / 2, u + h / 2 * k2)
        u = u + h / 6 * (k1 + 2 * k2 + 2 * k3 + backward(t - h, u + h * k3))
    return u


def field_and_states(noise, nodes, states):
    """The equation, for states that each meet all nodes."""
    nodes.rows = len(states)
    begin = states.repeat_interleave(len(nodes.weights))
    channels = 2 if noise == "general" else None
    given = DIFFUSIONS[noise]

    def diffusion(t, y):
        return given(t, y.squeeze(-1)).unsqueeze(-2) if channels else given(t, y)

    # a row for each state, so that implicit methods take them one by one
    structure = StateStructure(begin.unsqueeze(-1))
    return SDEField(drift, diffusion, structure, (), noise, nodes, channels), begin


@torch.no_grad()
def expectations(method, noise, nodes, steps):
    """Expectations at time 1, given each point of the grid at time 0, of the method's steps."""
    field, begin = field_and_states(noise, nodes, GRID)
    u = wanted(GRID)
    for step in reversed(range(steps)):
        t = step / steps
        end = method.step(field, t, 1 / steps, begin, method.start(field, t, begin)).y1
        u = (interpolant(end) @ u).view(POINTS, -1) @ nodes.weights
    return u


@torch.no_grad()
def expectations_of_pairs(method, nodes, steps):
    """The same for reversible Heun, whose step is a function of the state and of another one that it carries along."""
    field, begin = field_and_states("diagonal", nodes, GRID.repeat_interleave(POINTS))
    other = GRID.repeat(POINTS).repeat_interleave(len(nodes.weights))
    u = wanted(GRID).unsqueeze(-1).expand(-1, POINTS)
    for step in reversed(range(steps)):
        t = step / steps
        found = method.step(field, t, 1 / steps, begin, (other, field(t, other), field.diffusion(t, other)))
        values = ((interpolant(found.y1) @ u) * interpolant(found.carry[0])).sum(-1)
        u = (values.view(POINTS**2, -1) @ nodes.weights).view(POINTS, POINTS)
    return u.diagonal()


def slope(expected, target, steps):
    errors = [float((expected(count) - target).abs().max()) for count in steps]
    return -numpy.polyfit(numpy.log(steps), numpy.log(errors), 1)[0]


def claims(noise):
    """Methods for a kind of noise, other than reversible Heun, whose step is no function of the state alone.

    Those that have no strong order make noise of their own from the path; `test_weak_order_2.py` is on them.
    """
    return [
        find_sde_method(name, which, noise)
        for which in CALCULI
        for name in sde_method_names(which, noise)
        if name != "reversible_heun" and find_sde_method(name, which, noise).strong_orders[noise] is not None
    ]


@pytest.mark.parametrize("method", claims("diagonal"), ids=repr)
def test_weak_order_with_diagonal_noise(method) -> None:
    nodes, target = Nodes(1, (8, 4)), exact(method.calculus, "diagonal")
    found = slope(lambda count: expectations(method, "diagonal", nodes, count), target, STEPS)
    if method.name in ("sriw1", "sriw2", "sosri2"):
        # the part of order 2 is still the larger one at these steps: the slope falls to 1.5 slowly
        assert method.weak_order - 0.15 < found < 2.15
    else:
        assert found == pytest.approx(method.weak_order, abs=0.15)


@pytest.mark.parametrize("method", claims("additive"), ids=repr)
def test_weak_order_with_additive_noise(method) -> None:
    nodes, target = Nodes(1, (8, 4)), exact(method.calculus, "additive")
    found = slope(lambda count: expectations(method, "additive", nodes, count), target, STEPS)
    # the claim is for all kinds of noise, and some methods do better where it is additive
    better = method.name in ("heun", "general_shark", "spark")
    assert found == pytest.approx(2.0 if better else method.weak_order, abs=0.15)


@pytest.mark.parametrize("method", claims("general"), ids=repr)
def test_weak_order_with_noise_that_does_not_commute_is_1(method) -> None:
    nodes, target = Nodes(2, (5, 5, 2, 2, 2)), exact(method.calculus, "general")
    found = slope(lambda count: expectations(method, "general", nodes, count), target, (8, 16, 32))
    assert found == pytest.approx(1.0, abs=0.15)


def test_weak_order_of_reversible_heun() -> None:
    method, nodes = find_sde_method("reversible_heun", "stratonovich", "diagonal"), Nodes(1, (6, 1))
    target = exact("stratonovich", "diagonal")
    found = slope(lambda count: expectations_of_pairs(method, nodes, count), target, (8, 16, 32))
    assert found == pytest.approx(method.weak_order, abs=0.15)


def test_every_method_of_the_package_claims_a_weak_order() -> None:
    for noise in NOISE_TYPES:
        assert all(method.weak_order is not None for method in claims(noise))


def test_the_nodes_have_the_moments_of_the_noise_and_the_interpolant_knows_smooth_functions() -> None:
    nodes = Nodes(1, (8, 4))
    nodes.rows = 1
    found = nodes(0.0, 0.25)
    moments = [
        (found.w**2, 0.25),
        (found.h**2, 0.25 / 12),
        (found.w * found.h, 0.0),
        (torch.cos(found.w), math.exp(-0.125)),
    ]
    for values, expected in moments:
        assert float(values @ nodes.weights) == pytest.approx(expected, abs=1e-12)
    points = torch.linspace(-7, 7, 50, dtype=torch.float64)
    assert float((interpolant(points) @ wanted(GRID) - wanted(points)).abs().max()) < 1e-9
