"""Methods of weak order 2: expectations over all branches of a step, computed exactly, without any sampling."""

import dataclasses
import itertools
import math

import numpy
import pytest
import scipy.linalg
import torch

import nde
from nde.solvers.brownian import BrownianIncrement
from nde.solvers.sde import find_sde_method, sde_method_names
from nde.solvers.sde.weak import discrete_noise
from nde.solvers.sde.weak_tableau import RI6

WEAK = ["dri1", "ri6"]
# an increment in each cell of the discrete noise, and its probability; their variance is 1
VALUES = tuple(
    (sign * size, share)
    for sign in (-1, 1)
    for size, share in ((0.2, 1 / 6), (0.7, 1 / 6), (1.2, 1 / 12), (math.sqrt(3.5), 1 / 12))
)


class Branches:
    """A path that takes every branch of a step: sample b has the b-th."""

    t0, t1 = 0.0, 10.0

    def __init__(self, motions):
        pairs = list(itertools.product(VALUES, repeat=motions))
        self.values = torch.tensor([[value for value, _ in row] for row in pairs], dtype=torch.float64)
        self.weights = torch.tensor([math.prod(p for _, p in row) for row in pairs], dtype=torch.float64)
        self.shape = tuple(self.values.shape)

    def __call__(self, s, t):
        return BrownianIncrement(math.sqrt(t - s) * self.values, None, None, None)

    def step(self, method, drift, diffusion, y0, h, noise, t=0.3):
        """Return the states after one step from ``y0``, one per branch."""
        return nde.solve_sde(
            drift, diffusion, y0.expand(len(self.weights), -1), (t, t + h), noise=noise, method=method, path=self,
            controller=nde.StepTo(),
        ).y1  # fmt: skip


def slope(sizes, errors):
    return numpy.polyfit(numpy.log(sizes), numpy.log(errors), 1)[0]


GENERATOR = torch.Generator().manual_seed(1)
DRIFT, *NOISES = (0.6 * torch.randn(3, 2, 2, dtype=torch.float64, generator=GENERATOR)).unbind(0)


def linear_error(method, steps, span=1.0):
    """Return the error of ``E[y y^T]`` for a linear equation whose two noises do not commute."""
    branches = Branches(2)
    images = [
        branches.step(
            method, lambda t, y: y @ DRIFT.T, lambda t, y: torch.stack([y @ noise.T for noise in NOISES], -1),
            unit, span / steps, "general",
        )
        for unit in torch.eye(2, dtype=torch.float64)
    ]  # fmt: skip
    maps = torch.stack(images, -1)  # of every branch
    operator = torch.einsum("b,bij,bkl->ikjl", branches.weights, maps, maps).reshape(4, 4).numpy()
    one, drift = numpy.eye(2), DRIFT.numpy()
    exact = numpy.kron(drift, one) + numpy.kron(one, drift) + sum(numpy.kron(noise, noise) for noise in NOISES)
    return numpy.abs(numpy.linalg.matrix_power(operator, steps) - scipy.linalg.expm(span * exact)).max()


@pytest.mark.parametrize("method", [*WEAK, "euler"])
def test_weak_order_of_second_moments_with_noise_that_does_not_commute(method) -> None:
    assert float((NOISES[0] @ NOISES[1] - NOISES[1] @ NOISES[0]).abs().max()) > 0.1
    steps = numpy.array([8, 16, 32, 64])
    found = slope(1 / steps, [linear_error(method, int(count)) for count in steps])
    # Euler's method is here to show that what is measured can tell the orders apart
    expected = find_sde_method(method, "ito", "general").weak_order
    assert found == pytest.approx(expected, abs=0.15)


COEFFICIENTS = torch.randn(6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


def nonlinear(noise, motions):
    """Return drift and diffusion that are nonlinear, depend on time, and have as little structure as the noise has."""
    a, b, c, d, e, f = COEFFICIENTS.unbind(0)

    def drift(t, y):
        x, z = y[..., 0], y[..., 1]
        return torch.stack(
            [a[0] * torch.sin(x + z * t) + a[1] * z**2 / 4 + a[2], b[0] * x * z + b[1] * t**2 + b[2] * torch.cos(z)], -1
        )

    def diffusion(t, y):
        x, z = y[..., 0], y[..., 1]
        if noise == "diagonal":
            return torch.stack([torch.cos(c[0] * x + t), 0.5 + c[1] * z**2 * torch.sin(t + 1)], -1)
        if noise == "additive":
            x, z = 0 * x + 0.4, 0 * z - 0.3
        if noise == "commutative":
            # multiples of one field, and so commuting
            one = torch.stack([torch.sin(x + z), 0.5 + torch.cos(x * z)], -1)
            return torch.stack([one * (1 + k) / 2 for k in range(motions)], -1)
        columns = [
            torch.stack([d[k] * torch.sin(x + k * z + t) + 0.2, e[k] * x * z + f[k] * torch.cos(t + x)], -1)
            for k in range(motions)
        ]
        return torch.stack(columns, -1)

    return drift, diffusion


def generator(drift, matrix, function):
    """Return ``L function`` of time and one state, by derivatives."""

    def applied(t, y):
        by_time, by_state = torch.func.grad(function, (0, 1))(t, y)
        hessian = torch.func.hessian(function, 1)(t, y)
        columns = matrix(t, y)
        return by_time + by_state @ drift(t, y) + 0.5 * torch.einsum("ik,jk,ij->", columns, columns, hessian)

    return applied


FUNCTIONS = {
    "first": lambda t, y: y[..., 0] - 2 * y[..., 1],
    "second": lambda t, y: y[..., 0] * y[..., 1] + y[..., 0] ** 2 / 2,
    "fourth": lambda t, y: y[..., 0] ** 3 * y[..., 1] / 4 - y[..., 1] ** 4 / 5,
    "smooth": lambda t, y: torch.exp(-y[..., 0] / 2) * torch.sin(y[..., 1]),
}


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize(
    ("noise", "motions"),
    [("diagonal", 2), ("scalar", 1), ("additive", 3), ("commutative", 2), ("general", 2), ("general", 3)],
)
@pytest.mark.parametrize("method", WEAK)
def test_one_step_has_the_expectations_of_the_equation_to_the_third_order(method, noise, motions, function) -> None:
    # all conditions of weak order 2 at once: each has its own elementary differential, and none of them vanishes here;
    # three motions can tell pairs of two-point variables that are uncorrelated from others
    drift, diffusion = nonlinear(noise, motions)
    value = FUNCTIONS[function]
    matrix = (lambda t, y: torch.diag(diffusion(t, y))) if noise == "diagonal" else diffusion
    once = generator(drift, matrix, value)
    twice = generator(drift, matrix, once)
    start, time = torch.tensor([0.7, -0.4], dtype=torch.float64), torch.tensor(0.3, dtype=torch.float64)
    terms = [float(term(time, start)) for term in (value, once, twice)]
    branches = Branches(motions)
    sizes, errors = numpy.array([1 / 64, 1 / 128, 1 / 256, 1 / 512]), []
    for h in sizes:
        found = branches.weights @ value(time, branches.step(method, drift, diffusion, start, float(h), noise))
        errors.append(abs(float(found) - terms[0] - h * terms[1] - h**2 / 2 * terms[2]))
    assert slope(sizes, errors) > 3 - 0.15


def test_diagonal_noise_is_general_noise_with_a_diagonal_matrix_for_a_third_of_the_evaluations() -> None:
    drift, diffusion = nonlinear("diagonal", 2)
    for method in WEAK:
        counts, found = {}, []
        for noise, function in (
            ("diagonal", diffusion), ("general", lambda t, y: torch.diag_embed(diffusion(t, y)))
        ):  # fmt: skip
            counts[noise] = 0

            def counted(t, y, noise=noise, function=function, counts=counts):
                counts[noise] += 1
                return function(t, y)

            start = torch.tensor([0.7, -0.4], dtype=torch.float64)
            found.append(Branches(2).step(method, drift, counted, start, 0.25, noise))
        torch.testing.assert_close(*found, rtol=1e-13, atol=1e-13)
        # the front door looks at a matrix once
        assert counts == {"diagonal": 3, "general": 1 + 9}


def test_without_noise_dri1_has_order_3() -> None:
    errors, steps = [], numpy.array([8, 16, 32, 64])
    for count in steps:
        solution = nde.solve_sde(
            lambda t, y: torch.cos(t) * y - y**2, lambda t, y: 0 * y, torch.ones(2, dtype=torch.float64), (0.0, 1.0),
            method="dri1", seed=1, controller=nde.FixedStep(1.0 / count),
        )  # fmt: skip
        exact = nde.solve_ode(
            lambda t, y: torch.cos(t) * y - y**2, torch.ones(2, dtype=torch.float64), (0.0, 1.0), rtol=1e-12, atol=1e-13
        )
        errors.append(float((solution.y1 - exact.y1).abs().max()))
    assert slope(1 / steps, errors) == pytest.approx(3.0, abs=0.15)


def test_the_noise_has_the_probabilities_of_the_method_and_follows_the_path() -> None:
    path = nde.BrownianPath(0.0, 0.25, (200_000,), seed=3, dtype=torch.float64)
    w = path(0.0, 0.25).w
    three, two = discrete_noise(w, 0.5)
    assert sorted(set(three.tolist())) == pytest.approx([-math.sqrt(0.75), 0.0, math.sqrt(0.75)])
    assert sorted(set(two.tolist())) == [-0.5, 0.5]
    assert bool((three * w >= 0).all())
    for value, share in ((-1, 1 / 6), (0, 2 / 3), (1, 1 / 6)):
        chosen = three.sign() == value
        # four standard deviations of a share of 200,000, and of a mean of as many signs
        assert float(chosen.double().mean()) == pytest.approx(share, abs=4 * math.sqrt(share * (1 - share) / 200_000))
        assert abs(float(two[chosen].sign().mean())) < 4 / math.sqrt(share * 200_000)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"alpha": (1.0, 0.0)}, "beta1 must have 2 entries, like alpha, but has 3"),
        ({"alpha": (1.0, 1.0, 0.0)}, "alpha must sum to 1, but sums to 2.0"),
        ({"beta4": (0.0, 1.0, 0.0)}, "beta4 must sum to 0, but sums to 1.0"),
        ({"a1": ((1.0,), (1.0,))}, r"a1 must have rows of 1 to 2 entries, but has rows of \[1, 1\]"),
        ({"b2": ((1.0, 0.0, 0.0),) * 3}, "b2 must have 3 rows of 3 entries, the first of zeros"),
    ],
)
def test_inconsistent_tables_are_refused(change, message) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(RI6, **change)


def test_step_doubling_refuses_a_weak_method() -> None:
    with pytest.raises(ValueError, match="compares steps of two sizes on one path, but 'dri1' has no strong order"):
        nde.solve_sde(
            lambda t, y: -y, lambda t, y: y, torch.ones(3), (0.0, 1.0), method=nde.solvers.sde.StepDoubling("dri1")
        )


@pytest.mark.parametrize("method", WEAK)
def test_a_weak_method_has_no_strong_order(method) -> None:
    # it converges to the law of the solution alone: on one path, its distance to it stays
    assert find_sde_method(method, "ito", "diagonal").strong_orders["diagonal"] is None
    path = nde.BrownianPath(0.0, 1.0, (1000,), seed=3, dtype=torch.float64)
    errors = []
    for count in (16, 256):
        y1 = nde.solve_sde(
            lambda t, y: 0 * y, lambda t, y: torch.ones_like(y), torch.zeros(1000, dtype=torch.float64), (0.0, 1.0),
            method=method, path=path, controller=nde.FixedStep(1.0 / count),
        ).y1  # fmt: skip
        errors.append(float((y1 - path(0.0, 1.0).w).square().mean()))
    assert errors[1] == pytest.approx(errors[0], rel=0.2)


def test_weak_methods_take_noise_of_every_kind_and_step_rows_and_single_precision() -> None:
    for noise in ("diagonal", "scalar", "additive", "commutative", "general"):
        assert set(WEAK) <= set(sde_method_names("ito", noise))
    drift, diffusion = nonlinear("general", 3)
    path = nde.BrownianPath(0.0, 1.0, (4, 3), seed=2, dtype=torch.float64)
    y0 = torch.linspace(-1, 1, 8, dtype=torch.float64).view(4, 2)

    def solve(y0, path):
        options = {"noise": "general", "method": "dri1", "controller": nde.FixedStep(0.125)}
        return nde.solve_sde(drift, diffusion, y0, (0.0, 1.0), path=path, **options).y1

    together = solve(y0, path)
    for row in range(4):
        torch.testing.assert_close(solve(y0[row : row + 1], path[row : row + 1])[0], together[row], rtol=0, atol=1e-14)
    single = nde.solve_sde(
        lambda t, y: -y, lambda t, y: 0.3 * y, y0.float(), (0.0, 1.0), method="ri6", seed=1,
        controller=nde.FixedStep(0.125),
    ).y1  # fmt: skip
    assert single.dtype == torch.float32
