"""Stochastic equations with known solutions, and a Brownian path made of a table."""

import math
from typing import NamedTuple

import torch


class _Found(NamedTuple):
    w: torch.Tensor
    h: torch.Tensor
    a: torch.Tensor | None


class TablePath:
    """Increments of a fine grid, summed: a path of its own, so that the tests of methods rest on no other code.

    ``area`` says what the Levy area of a matrix of increments is: the "true" one of the path that is straight on each
    cell, or "davie", a normal number of the right variance beside its mean given (w, h).
    """

    def __init__(self, t0, t1, shape, cells, seed, dtype=torch.float64, area="davie"):
        generator = torch.Generator().manual_seed(seed)
        self.t0, self.t1, self.shape, self.cells = t0, t1, tuple(shape), cells
        width = (t1 - t0) / cells
        increments = math.sqrt(width) * torch.randn(cells, *shape, dtype=dtype, generator=generator)
        self.w = torch.cat([torch.zeros(1, *shape, dtype=dtype), increments.cumsum(0)])
        # the integral of the path over each cell, given its ends, has the variance width^3 / 12
        inside = math.sqrt(width**3 / 12) * torch.randn(cells, *shape, dtype=dtype, generator=generator)
        areas = width * (self.w[1:] + self.w[:-1]) / 2 + inside
        self.integral = torch.cat([torch.zeros(1, *shape, dtype=dtype), areas.cumsum(0)])
        self.area, self.seed, self.double = area, seed, None

    def index(self, t):
        place = (t - self.t0) / (self.t1 - self.t0) * self.cells
        assert abs(place - round(place)) < 1e-6, "the table knows its own times only"
        return round(place)

    def __call__(self, s, t):
        i, j = self.index(s), self.index(t)
        width = (j - i) * (self.t1 - self.t0) / self.cells
        w = self.w[j] - self.w[i]
        h = (self.integral[j] - self.integral[i]) / width - self.w[i] - 0.5 * w
        return _Found(w, h, self.levy_area_of(i, j, w, h, width) if len(self.shape) > 1 else None)

    def levy_area_of(self, i, j, w, h, width):
        if self.area == "true":
            if self.double is None:  # of W_k dW_l from t0
                increments = self.w.diff(dim=0)
                middles = (self.w[1:] + self.w[:-1]) / 2
                double = (middles.unsqueeze(-1) * increments.unsqueeze(-2)).cumsum(0)
                self.double = torch.cat([torch.zeros_like(double[:1]), double])
            found = self.double[j] - self.double[i] - self.w[i].unsqueeze(-1) * w.unsqueeze(-2)
        else:
            generator = torch.Generator().manual_seed(hash((self.seed, *sorted((i, j)))) % 2**63)
            noise = torch.randn(*w.shape, w.shape[-1], dtype=w.dtype, generator=generator)
            found = 2 * h.unsqueeze(-1) * w.unsqueeze(-2) + noise * width / math.sqrt(6)
        return (found - found.mT) / 2


class Case(NamedTuple):
    """A stochastic equation whose solution is a function of the path."""

    drift: object
    diffusion: object
    noise: str
    calculus: str
    y0: float | torch.Tensor
    exact: object  # of a path
    channels: int | None = None  # motions per row of two entries; None for diagonal noise

    def shape(self, path):
        return path.shape if self.channels is None else (path.shape[0], 2)


def _geometric(calculus, a=0.6, b=0.8):
    """Geometric Brownian motion with coefficients that move in time: dy = a cos(t) y dt + b (1 + t / 2) y dW."""

    def exact(path):
        times = torch.linspace(path.t0, path.t1, path.cells + 1, dtype=torch.float64)
        # int b (1 + t / 2) dW by parts: b (1 + T / 2) W_T - b / 2 int W dt
        stochastic = b * (1 + path.t1 / 2) * path.w[-1] - b / 2 * path.integral[-1]
        variance = b**2 * (times[-1] + times[-1] ** 2 / 2 + times[-1] ** 3 / 12)
        mean = a * math.sin(path.t1)
        return torch.exp(mean + stochastic - (variance / 2 if calculus == "ito" else 0.0))

    return Case(lambda t, y: a * torch.cos(t) * y, lambda t, y: b * (1 + t / 2) * y, "diagonal", calculus, 1.0, exact)


def _arsinh(calculus):
    """y = sinh(t + W / 2): a smooth nonlinear diffusion sqrt(1 + y^2) that stays defined everywhere."""
    scale = 0.8

    def drift(t, y):
        return torch.cos(t) * torch.sqrt(1 + y**2) + (scale**2 / 2 * y if calculus == "ito" else 0.0)

    return Case(
        drift,
        lambda t, y: scale * torch.sqrt(1 + y**2),
        "diagonal",
        calculus,
        0.0,
        lambda path: torch.sinh(math.sin(path.t1) + scale * path.w[-1]),
    )


CASES = {
    (name, calculus): make(calculus)
    for name, make in (("geometric", _geometric), ("arsinh", _arsinh))
    for calculus in ("ito", "stratonovich")
}


def scalar(calculus):
    """The same with one motion for both entries, whose scales differ."""
    case, scales = _arsinh(calculus), torch.tensor([1.0, 0.5], dtype=torch.float64)
    half = 0.8

    def drift(t, y):
        correction = (half * scales) ** 2 / 2 * y if calculus == "ito" else 0.0
        return torch.cos(t) * torch.sqrt(1 + y**2) + correction

    return case._replace(
        drift=drift,
        diffusion=lambda t, y: (half * scales * torch.sqrt(1 + y**2)).unsqueeze(-1),
        noise="scalar",
        exact=lambda path: torch.sinh(math.sin(path.t1) + half * scales * path.w[-1]),
        channels=1,
    )


def commutative(calculus):
    """Two motions whose fields commute, being multiples of one: y = sinh(sin t + a W1 + b W2)."""
    weights = torch.tensor([0.6, -0.4], dtype=torch.float64)

    def drift(t, y):
        correction = weights.square().sum() / 2 * y if calculus == "ito" else 0.0
        return torch.cos(t) * torch.sqrt(1 + y**2) + correction

    return Case(
        drift,
        lambda t, y: torch.sqrt(1 + y**2).unsqueeze(-1) * weights,
        "commutative",
        calculus,
        0.0,
        lambda path: torch.sinh(math.sin(path.t1) + (path.w[-1] @ weights)).unsqueeze(-1).expand(-1, 2),
        2,
    )


def additive(calculus):
    """A nonlinear drift that moves in time, and three motions; the reference is Taylor's scheme on the table's cells.

    With a linear drift or little noise, methods of order 1.5 would show the order 2.
    """
    matrix = torch.tensor([[0.7, -0.5, 0.4], [0.2, 0.6, -0.9]], dtype=torch.float64)

    def exact(path):
        # strong order 1.5 (Kloeden, Platen 1992, 10.4): 16 and more cells to a step leave a sixtieth of its error
        y, width = torch.ones(path.shape[0], 2, dtype=torch.float64), (path.t1 - path.t0) / path.cells
        for cell in range(path.cells):
            t = path.t0 + cell * width
            w = path.w[cell + 1] - path.w[cell]
            area = path.integral[cell + 1] - path.integral[cell] - width * path.w[cell]  # I10
            scale, noise = 1 + t / 2, matrix * (1 + t / 2)
            sine, cosine = torch.sin(3 * y), torch.cos(3 * y)
            drift, slope, bend = -scale * sine, -3 * scale * cosine, 9 * scale * sine
            second = -0.5 * sine + drift * slope + 0.5 * noise.square().sum(1) * bend
            y = y + width * drift + 0.5 * width**2 * second
            y = y + w @ noise.T + slope * (area @ noise.T) + (width * w - area) @ (0.5 * matrix).T
        return y

    return Case(
        lambda t, y: -(1 + t / 2) * torch.sin(3 * y),
        lambda t, y: (1 + t / 2) * matrix.expand(*y.shape, 3),
        "additive",
        calculus,
        1.0,
        exact,
        3,
    )


def bent():
    """The additive equation in other coordinates: its motions commute and drive both entries, its drift does not.

    ``y = (2 sinh(x_1 / 2 + sin(x_2) / 4), x_2)``, in the Stratonovich sense.
    """
    straight = additive("stratonovich")

    def flat(y):
        return torch.stack([2 * torch.asinh(y[..., 0] / 2) - 0.5 * torch.sin(y[..., 1]), y[..., 1]], -1)

    def slopes(y):
        outer = torch.sqrt(1 + y[..., 0] ** 2 / 4)
        return outer, 0.5 * outer * torch.cos(y[..., 1])

    def drift(t, y):
        first, second = straight.drift(t, flat(y)).unbind(-1)
        one, other = slopes(y)
        return torch.stack([one * first + other * second, second], -1)

    def diffusion(t, y):
        first, second = straight.diffusion(t, y).unbind(-2)
        one, other = slopes(y)
        return torch.stack([one.unsqueeze(-1) * first + other.unsqueeze(-1) * second, second], -2)

    def exact(path):
        x = straight.exact(path)
        return torch.stack([2 * torch.sinh(x[..., 0] / 2 + torch.sin(x[..., 1]) / 4), x[..., 1]], -1)

    start = torch.tensor([2 * math.sinh(0.5 + 0.25 * math.sin(1)), 1.0], dtype=torch.float64)
    return Case(drift, diffusion, "commutative", "stratonovich", start, exact, 3)


def _general(calculus):
    """Two motions whose fields do not commute; the reference is the same equation solved on the table's own cells."""

    def drift(t, y):
        return torch.cos(t) * torch.stack([-y[..., 1], y[..., 0]], -1)

    def diffusion(t, y):
        x, v = y[..., 0], y[..., 1]
        one, other = torch.stack([0.6 * v, torch.zeros_like(x)], -1), torch.stack([torch.zeros_like(x), 0.6 * x], -1)
        return torch.stack([one, other], -1)

    def exact(path):
        # with g_i g_j' terms of the increments alone, the error of each cell is of the size of its Levy area: a quarter
        # of that of steps 16 times as long, and independent of it
        y = torch.ones(path.shape[0], 2, dtype=torch.float64)
        width = (path.t1 - path.t0) / path.cells
        for cell in range(path.cells):
            t = torch.tensor(path.t0 + cell * width, dtype=torch.float64)
            w = path.w[cell + 1] - path.w[cell]
            if calculus == "ito":
                y = y + width * drift(t, y) + (diffusion(t, y) @ w.unsqueeze(-1)).squeeze(-1)
            else:
                first = width * drift(t, y) + (diffusion(t, y) @ w.unsqueeze(-1)).squeeze(-1)
                second = width * drift(t + width, y + first) + (
                    diffusion(t + width, y + first) @ w.unsqueeze(-1)
                ).squeeze(-1)
                y = y + (first + second) / 2
        return y

    return Case(drift, diffusion, "general", calculus, 1.0, exact, 2)


GENERAL = {calculus: _general(calculus) for calculus in ("ito", "stratonovich")}
