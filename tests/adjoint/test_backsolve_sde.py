"""The stochastic adjoint has the gradients of the path, to the accuracy of its own solve."""

import math

import pytest
import torch

import nde
from nde.adjoint import BacksolveAdjoint
from nde.adjoint.augmented_sde import ito_correction
from nde.solvers.sde import SDEField, StepDoubling, find_sde_method
from nde.solvers.structure import StateStructure
from tests.adjoint.memory import peak_bytes
from tests.problems import double, slope
from tests.solvers.sde.problems import TablePath

PATHS = 400
COUNTS = (16, 32, 64)
# Fewer paths than in the tests of strong orders, and gradients of several outputs: the fitted slope of the errors
# scatters by some 0.05 and the next term of their expansion adds as much.
ORDER_TOLERANCE = 0.15


def leaves(*values):
    return [torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in values]


def rms(found, reference) -> float:
    """Return the error of gradients, each relative to its own size."""
    parts = [
        float((one - other).square().mean() / other.square().mean())
        for one, other in zip(found, reference, strict=True)
    ]
    return math.sqrt(sum(parts) / len(parts))


class Arsinh:
    """``y = sinh(arsinh(y0) + a sin t + b . W)``: smooth, nonlinear, and known with all its gradients."""

    def __init__(self, noise: str, calculus: str) -> None:
        self.noise, self.calculus = noise, calculus
        self.motions = 2 if noise == "commutative" else 1
        self.inputs = (torch.full((PATHS, 1), 0.3), 0.7, [0.6, -0.4][: self.motions])

    def leaves(self):
        y0, a, b = self.inputs
        return [y0.double().requires_grad_(), *leaves(a, b)]

    def drift(self, t, y, a, b):
        correction = b.square().sum() / 2 * y if self.calculus == "ito" else 0.0
        return a * torch.cos(t) * torch.sqrt(1 + y**2) + correction

    def diffusion(self, t, y, a, b):
        value = torch.sqrt(1 + y**2)
        return b * value if self.noise == "diagonal" else value.unsqueeze(-1) * b

    def exact(self, y0, a, b, path):
        return [torch.sinh(torch.asinh(y0) + a * math.sin(t) + path(0.0, t).w @ b.view(-1, 1)) for t in (0.5, 1.0)]


class Geometric:
    """Geometric Brownian motion ``dy = a y dt + b y dW``."""

    noise, motions = "diagonal", 1

    def __init__(self, calculus: str) -> None:
        self.calculus = calculus

    def leaves(self):
        return [torch.full((PATHS, 1), 1.2, dtype=torch.float64, requires_grad=True), *leaves(0.5, 0.6)]

    def drift(self, t, y, a, b):
        return a * y

    def diffusion(self, t, y, a, b):
        return b * y

    def exact(self, y0, a, b, path):
        rate = a - b**2 / 2 if self.calculus == "ito" else a
        return [y0 * torch.exp(rate * t + b * path(0.0, t).w) for t in (0.5, 1.0)]


def loss_of(half, end):
    return (half.square().sum() + end.sin().sum()) / PATHS


def known_errors(case, method, adjoint="backsolve", counts=COUNTS):
    """Return the errors of the gradients for each number of steps."""
    path = TablePath(0.0, 1.0, (PATHS, case.motions), counts[-1], seed=4)
    inputs = case.leaves()
    reference = torch.autograd.grad(loss_of(*case.exact(*inputs, path)), inputs)
    errors = []
    for count in counts:
        y0, *args = case.leaves()
        solution = nde.solve_sde(
            case.drift, case.diffusion, y0, (0.0, 0.5, 1.0), tuple(args), noise=case.noise, calculus=case.calculus,
            method=method, path=path, adjoint=adjoint, controller=nde.FixedStep(1 / count),
        )  # fmt: skip
        errors.append(rms(torch.autograd.grad(loss_of(*solution.ys[1:]), [y0, *args]), reference))
    return errors


def order(errors, counts=COUNTS) -> float:
    return slope([1 / count for count in counts], errors)


@pytest.mark.parametrize(
    ("calculus", "method"),
    [
        *(("stratonovich", name) for name in ("midpoint", "heun", "euler_heun", "reversible_heun", "milstein")),
        ("ito", "milstein"),
        ("ito", "sosri2"),
    ],
)
def test_gradients_of_geometric_brownian_motion_converge_to_the_known_ones_with_order_one(calculus, method) -> None:
    errors = known_errors(Geometric(calculus), method)
    assert order(errors) == pytest.approx(1.0, abs=ORDER_TOLERANCE)
    assert errors[-1] < 0.02


@pytest.mark.parametrize("calculus", ["ito", "stratonovich"])
@pytest.mark.parametrize("noise", ["diagonal", "scalar", "commutative"])
def test_gradients_of_a_nonlinear_equation_converge_to_the_known_ones_with_the_strong_order(noise, calculus) -> None:
    method = {"stratonovich": "heun"}.get(calculus, "euler" if noise == "commutative" else "milstein")
    errors = known_errors(Arsinh(noise, calculus), method)
    # the states that Euler's method hands to the backward solve are accurate to order one half
    assert order(errors) == pytest.approx(0.5 if method == "euler" else 1.0, abs=ORDER_TOLERANCE)
    assert errors[-1] < 0.07


MATRICES = torch.tensor([[[0.0, 0.7], [0.0, 0.1]], [[0.2, 0.0], [-0.5, 0.0]]], dtype=torch.float64)
TURN = torch.tensor([[-0.2, 1.0], [-1.0, -0.3]], dtype=torch.float64)


def general(calculus):
    """Return a linear equation whose two fields do not commute; the Ito one has the same solution."""
    correction = 0.5 * (MATRICES @ MATRICES).sum(0)

    def drift(t, y, a, b):
        own = a * torch.cos(t) * y @ TURN.T
        return own + b**2 * y @ correction.T if calculus == "ito" else own

    return drift, lambda t, y, a, b: b * torch.einsum("jkl,...l->...kj", MATRICES, y)


def additive(calculus):
    """Return an equation with a nonlinear drift and a matrix that moves in time."""
    return (
        lambda t, y, a, b: -a * torch.sin(3 * y),
        lambda t, y, a, b: b * (1 + t) * MATRICES.sum(0).expand(*y.shape, 2),
    )


@pytest.mark.slow
@pytest.mark.parametrize("calculus", ["ito", "stratonovich"])
@pytest.mark.parametrize(("make", "noise", "expected"), [(general, "general", 0.5), (additive, "additive", 1.0)])
def test_gradients_converge_to_those_of_the_direct_adjoint_with_the_strong_order(
    make, noise, expected, calculus
) -> None:
    cells = 2048
    path = TablePath(0.0, 1.0, (PATHS, 2), cells, seed=9)

    def gradients(calculus, method, adjoint, count):
        y0 = torch.full((PATHS, 2), 1.0, dtype=torch.float64, requires_grad=True)
        args = leaves(0.8, 0.6)
        solution = nde.solve_sde(
            *make(calculus), y0, (0.0, 0.5, 1.0), tuple(args), noise=noise, calculus=calculus, method=method, path=path,
            adjoint=adjoint, controller=nde.FixedStep(1 / count),
        )  # fmt: skip
        return torch.autograd.grad(loss_of(*solution.ys[1:]), [y0, *args])

    # fine steps of the equation in the sense of Stratonovich, whose drift was converted by hand
    fine = ("heun", 2048) if noise == "general" else ("sosra2", 256)
    reference = gradients("stratonovich", fine[0], "direct", fine[1])
    method = "heun" if calculus == "stratonovich" else "euler"
    found = [gradients(calculus, method, "backsolve", count) for count in COUNTS]
    # of the initial states, one for each path: those of the parameters average over the paths, and their errors with
    # them
    errors = [rms(grads[:1], reference[:1]) for grads in found]
    assert order(errors) == pytest.approx(expected, abs=ORDER_TOLERANCE)
    averaged = [rms(grads[1:], reference[1:]) for grads in found]
    assert averaged[-1] < averaged[0] / 1.5 and averaged[-1] < 0.05


def field_of(diffusion, y0, noise, channels):
    path = TablePath(0.0, 1.0, (1,), 1, seed=0)
    return SDEField(lambda t, y: y, diffusion, StateStructure(y0), (), noise, path, channels)


def correction_of(diffusion, y0, noise, channels):
    field = field_of(diffusion, y0, noise, channels)
    y = y0.reshape(-1).requires_grad_()
    return ito_correction(field, y, field.diffusion(0.5, y)), y


def test_the_correction_of_the_drift_is_that_of_closed_forms() -> None:
    y0 = double(0.3, -0.8, 1.1, 0.4).view(2, 2)
    # g = sin y: g g' / 2
    found, _ = correction_of(lambda t, y: torch.sin(y), y0, "diagonal", None)
    torch.testing.assert_close(found, (torch.sin(y0) * torch.cos(y0) / 2).reshape(-1))
    # g = (x v, x^2): J g / 2 with J = ((v, x), (2 x, 0))
    found, _ = correction_of(lambda t, y: torch.stack([y[:, 0] * y[:, 1], y[:, 0] ** 2], 1), y0, "scalar", 1)
    x, v = y0.unbind(1)
    torch.testing.assert_close(found, torch.stack([v * x * v + x**3, 2 * x * x * v], 1).reshape(-1) / 2)
    # columns B_j y: sum of the squares of the matrices
    found, y = correction_of(lambda t, y: torch.einsum("jkl,nl->nkj", MATRICES, y), y0, "general", 2)
    torch.testing.assert_close(found, 0.5 * (y0 @ (MATRICES @ MATRICES).sum(0).T).reshape(-1))
    # and it has a derivative
    weights = double(1.0, 2.0, 3.0, 4.0)
    (slope_,) = torch.autograd.grad(found, y, weights)
    torch.testing.assert_close(slope_, 0.5 * (weights.view(2, 2) @ (MATRICES @ MATRICES).sum(0)).reshape(-1))
    for noise, channels, diffusion in (
        ("additive", 2, lambda t, y: torch.ones(2, 2, 2, dtype=torch.float64)),
        ("diagonal", None, lambda t, y: torch.ones_like(y)),
    ):
        assert correction_of(diffusion, y0, noise, channels)[0] is None


def test_an_ito_diffusion_that_mixes_entries_is_refused_where_the_correction_would_be_wrong() -> None:
    y0 = torch.zeros(3, 2, dtype=torch.float64, requires_grad=True)

    def solve(diffusion, noise="diagonal", **options):
        return nde.solve_sde(
            lambda t, y: -y, diffusion, y0, (0.0, 1.0), noise=noise, method="euler", adjoint="backsolve", seed=3,
            controller=nde.FixedStep(0.25), **options,
        )  # fmt: skip

    with pytest.raises(ValueError, match="whose entry i depends on entry i of the state alone"):
        solve(lambda t, y: torch.cos(y.flip(-1)))
    with pytest.raises(ValueError, match="whose row i depends on row i of the state alone"):
        solve(lambda t, y: torch.cos(y.flip(0)).unsqueeze(-1).expand(3, 2, 2), "general")
    for diffusion, noise in (
        (lambda t, y: torch.cos(y), "diagonal"),
        (lambda t, y: torch.ones_like(y), "diagonal"),
        (lambda t, y: torch.cos(y.flip(1)).unsqueeze(-1).expand(3, 2, 2), "general"),
    ):
        assert solve(diffusion, noise).success
    failed = nde.solve_sde(
        lambda t, y: y.detach() * float("nan") + y, lambda t, y: torch.cos(y), y0, (0.0, 1.0), method="euler", seed=3,
        adjoint="backsolve", controller=nde.FixedStep(0.25), throw=False,
    )  # fmt: skip
    assert not failed.success


class Spy:
    """A path that notes what it is asked for."""

    def __init__(self, path) -> None:
        self.path, self.asked = path, []
        self.levy_area = getattr(path, "levy_area", "space-time")

    def __call__(self, s, t):
        self.asked.append((s, t))
        return self.path(s, t)


class Nets(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.drift_net = torch.nn.Sequential(torch.nn.Linear(2, 6), torch.nn.Tanh(), torch.nn.Linear(6, 2)).double()
        self.diffusion_net = torch.nn.Linear(2, 4).double()
        self.seen = []

    def drift(self, t, y):
        self.seen.append((float(t), y.detach().clone()))
        return torch.cos(t) * self.drift_net(y)

    def diffusion(self, t, y):
        return 0.3 * torch.sigmoid(self.diffusion_net(y)).view(*y.shape, 2)


def solve_nets(adjoint, steps=32, **options):
    torch.manual_seed(2)
    nets = Nets()
    y0 = double(0.3, -0.4, 0.9, 0.1).view(2, 2).requires_grad_()
    path = Spy(options.pop("path", None) or TablePath(0.0, 1.0, (2, 2), 256, seed=5))
    solution = nde.solve_sde(
        nets.drift, nets.diffusion, y0, (0.0, 0.25, 0.5, 1.0), noise="general", path=path, adjoint=adjoint,
        **{"calculus": "stratonovich", "method": "midpoint", "controller": nde.FixedStep(1 / steps), **options},
    )  # fmt: skip
    return solution, nets, path, y0


def gradients(adjoint, **options):
    solution, nets, _, y0 = solve_nets(adjoint, **options)
    loss = solution.ys[1].square().sum() + solution.ys[2].sum() + solution.y1.sin().sum()
    return torch.autograd.grad(loss, [y0, *nets.parameters()])


def test_all_parameters_of_drift_and_diffusion_get_gradients_that_converge() -> None:
    reference = gradients("direct", steps=256)
    for options in (
        {},
        {"method": "heun"},
        {"method": "reversible_heun"},
        {"method": "euler_heun"},
        {"method": "general_shark"},
        {"method": "spark"},
        {"method": StepDoubling("heun")},
        {"calculus": "ito", "method": "euler"},
    ):
        own = reference if "calculus" not in options else gradients("direct", steps=256, **options)
        errors = [rms(gradients("backsolve", steps=steps, **options), own) for steps in (8, 64)]
        # order one half divides by the root of eight
        assert errors[1] < errors[0] / 2
        assert errors[1] < 0.1


def test_the_backward_solve_takes_the_steps_of_the_forward_one_from_the_stored_outputs() -> None:
    for options in ({}, {"controller": nde.PIController(initial=0.1), "rtol": 0.05, "atol": 0.05}):
        if options:
            options["path"] = nde.BrownianPath(0.0, 1.0, (2, 2), seed=3, dtype=torch.float64)
        solution, nets, path, _ = solve_nets("backsolve", **options)
        path.asked.clear()
        nets.seen.clear()
        solution.ys.sum().backward()
        steps = solution.steps
        taken = [(float(t), float(t + h)) for t, h in zip(steps.t, steps.h, strict=True)]
        asked = [(t, s) for s, t in reversed(path.asked)]
        torch.testing.assert_close(torch.tensor(asked), torch.tensor(taken), rtol=0, atol=1e-12)
        for time, state in zip((0.25, 0.5, 1.0), solution.ys[1:], strict=True):
            assert any(t == time and bool((y == state).all()) for t, y in nets.seen)
        assert solution.stats.n_backward_field_evals == len(nets.seen) == 2 * len(taken)


def test_the_backward_solve_can_have_a_method_and_a_controller_of_its_own() -> None:
    path = nde.BrownianPath(0.0, 1.0, (2, 2), seed=3, dtype=torch.float64)
    options = {"path": path, "steps": 256}
    reference = gradients("direct", **options)
    coarse, fine = (
        rms(gradients(adjoint, **options), reference)
        for adjoint in (
            BacksolveAdjoint(method="heun", controller=nde.FixedStep(1 / 4)),
            BacksolveAdjoint(method="reversible_heun", controller=nde.FixedStep(1 / 256)),
        )
    )
    assert fine < coarse / 3
    counts = []
    for tolerance in (1.0, 1e-2, 1e-3):
        solution, nets, _, y0 = solve_nets(BacksolveAdjoint(rtol=tolerance, atol=tolerance), **options)
        loss = solution.ys[1].square().sum() + solution.ys[2].sum() + solution.y1.sin().sum()
        found = torch.autograd.grad(loss, [y0, *nets.parameters()])
        counts.append(solution.stats.n_backward_field_evals)
    assert counts[0] < counts[1] / 1.5 < counts[2] / 2.5
    # of one path, an error of order one half with some 50 steps
    assert rms(found, reference) < 0.03


@pytest.mark.parametrize("adjoint", [BacksolveAdjoint(), BacksolveAdjoint(controller=nde.FixedStep(1 / 300))])
def test_a_path_made_as_the_steps_came_is_met_again(adjoint) -> None:
    found = []
    for chosen in ("direct", adjoint):
        torch.manual_seed(0)
        y0 = double(0.3, -0.4).view(1, 2).requires_grad_()
        solution = nde.solve_sde(
            lambda t, y: -torch.sin(y), lambda t, y: 0.4 * torch.cos(y), y0, (0.0, 0.5, 1.0), calculus="stratonovich",
            rtol=0.01, atol=0.01, adjoint=chosen,
        )  # fmt: skip
        assert solution.steps.h.unique().numel() > 5
        found.append(torch.autograd.grad(solution.ys.sum(), y0))
    assert rms(found[1], found[0]) < 0.02


def test_memory_does_not_grow_with_the_steps() -> None:
    rows = 100

    def peak(adjoint, steps):
        y0 = torch.ones(rows, 10, dtype=torch.float64, requires_grad=True)
        weight = double(0.4).requires_grad_()
        path = TablePath(0.0, 1.0, (rows, 10), 40, seed=1)

        def work():
            solution = nde.solve_sde(
                lambda t, y: torch.sin(y), lambda t, y: weight * torch.cos(y), y0, (0.0, 1.0), method="milstein",
                adjoint=adjoint, path=path, controller=nde.FixedStep(1 / steps),
            )  # fmt: skip
            solution.y1.sum().backward()

        return peak_bytes(work)

    # what is left are the times of the steps, numbers that do not depend on the size of the state
    assert peak("backsolve", 40) - peak("backsolve", 10) < 30 * 5 * 8
    assert peak("discrete", 40) - peak("discrete", 10) > 30 * 8 * rows * 10


def test_nested_and_single_precision_states() -> None:
    found = []
    for adjoint in ("direct", "backsolve"):
        y0 = {"x": torch.tensor([0.4, 0.9], requires_grad=True), "v": torch.tensor(0.3, requires_grad=True)}
        weight = torch.tensor(0.7, requires_grad=True)
        solution = nde.solve_sde(
            lambda t, y, w: {"x": -w * y["x"], "v": y["x"].sum()},
            lambda t, y, w: {"x": 0.3 * w * y["x"], "v": 0.2 * torch.cos(y["v"])},
            y0, (0.0, 1.0), (weight,), calculus="stratonovich", seed=5, adjoint=adjoint,
            controller=nde.FixedStep(1 / 128),
        )  # fmt: skip
        found.append(torch.autograd.grad(solution.y1["x"].sum() + solution.y1["v"].sin(), [*y0.values(), weight]))
    assert rms(found[1], found[0]) < 0.01


def test_what_it_cannot_do_is_refused() -> None:
    solution, *_ = solve_nets("backsolve")
    with pytest.raises(RuntimeError, match=r"no gradient of steps\.error"):
        solution.steps.error.sum().backward()
    solution, _, _, y0 = solve_nets("backsolve")
    with pytest.raises(RuntimeError, match="once only"):
        torch.autograd.grad(solution.y1.sum(), y0, create_graph=True)
    for options, message in (
        ({"method": "milstein"}, r"general noise: method='milstein' does not take noise='general'"),
        ({"method": "euler"}, r"general noise: method='euler' does not converge to the stratonovich solution"),
        ({"method": "log_ode"}, r"general noise: method='log_ode' needs more of a diffusion than its products"),
        ({"method": "tsit5"}, r"general noise: method='tsit5' is not known"),
        ({"method": "euler_heun", "rtol": 1e-3}, r"method='euler_heun' of the backward solve has no error estimate"),
    ):
        with pytest.raises(ValueError, match=message):
            solve_nets(BacksolveAdjoint(**options))
    with pytest.raises(ValueError, match="method='ri6' is near to that of the path in law alone"):
        solve_nets("backsolve", calculus="ito", method="ri6")
    path = nde.BrownianPath(0.0, 1.0, (2, 2), seed=0, dtype=torch.float64)
    with pytest.raises(ValueError, match="levy_area='space-time' for method='spark' of the backward solve, but"):
        solve_nets(BacksolveAdjoint(method="spark"), path=path)
    with pytest.raises(ValueError, match="of a stochastic equation works with none of per_sample"):
        solve_nets("backsolve", dense=True)
    with pytest.raises(TypeError, match="general noise: method must be a name or an SDEMethod"):
        solve_nets(BacksolveAdjoint(method=nde.solvers.find_method("tsit5")))
    with pytest.raises(ValueError, match="'euler_heun' is not known"):
        nde.solve_ode(
            lambda t, y: -y, double(1.0).requires_grad_(), (0.0, 1.0), adjoint=BacksolveAdjoint(method="euler_heun")
        )
    heun = find_sde_method("heun", "stratonovich", "general")
    with pytest.raises(ValueError, match="method='heun' of the backward solve is one for stochastic equations"):
        nde.solve_ode(lambda t, y: -y, double(1.0).requires_grad_(), (0.0, 1.0), adjoint=BacksolveAdjoint(method=heun))
    with pytest.raises(ValueError, match="local_errors=True needs an adjoint"):
        solve_nets("backsolve", local_errors=True)


def test_a_backward_solve_that_fails_says_so() -> None:
    solution, *_ = solve_nets(BacksolveAdjoint(controller=nde.FixedStep(1 / 64), max_steps=3))
    with pytest.raises(nde.SolverError, match="the backward solve of adjoint='backsolve' failed: max_steps = 3"):
        solution.y1.sum().backward()
