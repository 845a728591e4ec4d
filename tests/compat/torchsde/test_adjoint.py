"""Gradients of `sdeint_adjoint`: exact, for what is asked for alone, and in the memory that is promised."""

import pytest
import torch
import torchsde as theirs

from nde.compat import torchsde as ours
from tests.adjoint.memory import peak_bytes
from tests.compat.torchsde.equations import MOTIONS, Neural

NOISE = tuple(MOTIONS)
CASES = [
    *(("ito", "euler", noise) for noise in NOISE),
    *(("ito", "srk", noise) for noise in NOISE[:3]),
    *(("ito", "milstein", noise) for noise in NOISE[:3]),
    *(("stratonovich", method, noise) for method in ("midpoint", "reversible_heun", "log_ode") for noise in NOISE),
]
TIMES = torch.tensor([0.0, 0.125, 0.3, 1.0], dtype=torch.float64)


def solve(library, function, sde, method, y0, times=TIMES, **options):
    area = {"srk": "space-time", "log_ode": "foster"}.get(method, "none")
    bm = theirs.BrownianInterval(
        0.0, 1.0, (y0.shape[0], sde.motions), torch.float64, entropy=4, levy_area_approximation=area
    )
    return getattr(library, function)(sde, y0, times, bm=bm, method=method, **{"dt": 0.125, **options})


def gradients(ys, sde, y0):
    weights = torch.linspace(-1, 1, ys.numel(), dtype=ys.dtype).reshape(ys.shape)
    return torch.autograd.grad((weights * ys).sum(), [y0, *sde.parameters()], allow_unused=True)


def start():
    return torch.linspace(-0.5, 0.5, 12, dtype=torch.float64).reshape(4, 3).requires_grad_()


@pytest.mark.filterwarnings("ignore:The spacing between time points")
@pytest.mark.parametrize(("calculus", "method", "noise"), CASES)
def test_gradients_are_those_through_the_solve(calculus, method, noise) -> None:
    sde, y0 = Neural(noise, calculus), start()
    through = solve(ours, "sdeint", sde, method, y0)
    joined = solve(ours, "sdeint_adjoint", sde, method, y0)
    assert torch.equal(through, joined)
    for found, expected in zip(gradients(joined, sde, y0), gradients(through, sde, y0), strict=True):
        # torchsde has zeros where a parameter is not used
        expected = torch.zeros_like(found) if expected is None else expected
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("method", ["midpoint", "heun", "euler_heun"])
@pytest.mark.parametrize("noise", NOISE)
def test_a_named_method_is_that_of_the_continuous_adjoint(method, noise) -> None:
    sde, errors = Neural(noise, "stratonovich"), []
    for steps in (16, 64):
        y0 = start()
        options = {"dt": 1 / steps, "times": TIMES[[0, -1]]}
        exact = gradients(solve(ours, "sdeint", sde, method, y0, **options), sde, y0)
        named = gradients(solve(ours, "sdeint_adjoint", sde, method, y0, adjoint_method=method, **options), sde, y0)
        errors.append(max(float((a - b).abs().max()) for a, b in zip(named, exact, strict=True)))
    # an approximation, which gets better with the steps
    assert 1e-9 < errors[1] < errors[0] / 2
    assert errors[1] < 5e-2


@pytest.mark.parametrize("functions", ["f_and_g", "f_and_g_prod"])
def test_the_continuous_adjoint_takes_functions_that_come_together(functions) -> None:
    plain, y0 = Neural("general", "stratonovich"), start()

    class Together(torch.nn.Module):
        noise_type, sde_type, motions = "general", "stratonovich", 2

        def __init__(self):
            super().__init__()
            self.plain = plain

    def both(self, t, y):
        return plain.f(t, y), plain.g(t, y)

    def product(self, t, y, v):
        return plain.f(t, y), torch.bmm(plain.g(t, y), v.unsqueeze(-1)).squeeze(-1)

    setattr(Together, functions, both if functions == "f_and_g" else product)
    options = {"adjoint_method": "heun", "times": TIMES[[0, -1]]}
    expected = gradients(solve(ours, "sdeint_adjoint", plain, "heun", y0, **options), plain, y0)
    found = gradients(solve(ours, "sdeint_adjoint", Together(), "heun", y0, **options), plain, y0)
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-12)


def test_an_adaptive_continuous_adjoint_gets_better_with_its_tolerance() -> None:
    sde, errors = Neural("diagonal", "stratonovich"), []
    options = {"times": TIMES[[0, -1]], "dt": 1 / 64}
    y0 = start()
    exact = gradients(solve(ours, "sdeint", sde, "midpoint", y0, **options), sde, y0)
    for tolerance in (1e-1, 1e-3):
        ys = solve(
            ours, "sdeint_adjoint", sde, "midpoint", y0, adjoint_method="midpoint", adjoint_adaptive=True,
            adjoint_rtol=tolerance, adjoint_atol=tolerance, **options,
        )  # fmt: skip
        errors.append(max(float((a - b).abs().max()) for a, b in zip(gradients(ys, sde, y0), exact, strict=True)))
    assert errors[1] < errors[0] < 0.5


def test_gradients_reach_the_given_parameters_alone() -> None:
    for library in (ours, theirs):
        sde, y0 = Neural("diagonal", "stratonovich"), start()
        ys = solve(
            library, "sdeint_adjoint", sde, "midpoint", y0, adjoint_params=[sde.drift[0].weight, sde.spread[2].bias]
        )
        ys.square().sum().backward()
        reached = {name for name, parameter in sde.named_parameters() if parameter.grad is not None}
        assert reached == {"drift.0.weight", "spread.2.bias"}
        assert y0.grad is not None


def test_without_parameters_gradients_reach_the_state_alone() -> None:
    for library in (ours, theirs):
        sde, y0 = Neural("diagonal", "ito"), start()
        solve(library, "sdeint_adjoint", sde, "euler", y0, adjoint_params=()).sum().backward()
        assert y0.grad is not None
        assert all(parameter.grad is None for parameter in sde.parameters())
        fixed = solve(library, "sdeint_adjoint", sde, "euler", y0.detach(), adjoint_params=())
        assert not fixed.requires_grad


def test_parameters_that_are_not_used_get_zeros() -> None:
    for library in (ours, theirs):
        sde = Neural("diagonal", "stratonovich")
        sde.unused = torch.nn.Parameter(torch.ones(2, dtype=torch.float64))
        sde.frozen = torch.nn.Parameter(torch.ones(2, dtype=torch.float64), requires_grad=False)
        solve(library, "sdeint_adjoint", sde, "midpoint", start()).sum().backward()
        assert torch.equal(sde.unused.grad, torch.zeros(2, dtype=torch.float64))
        assert sde.frozen.grad is None


@pytest.mark.parametrize(("calculus", "method"), [("ito", "srk"), ("stratonovich", "reversible_heun")])
def test_second_derivatives_are_those_through_the_solve(calculus, method) -> None:
    sde, y0, found = Neural("diagonal", calculus), start(), []
    for function in ("sdeint", "sdeint_adjoint"):
        ys = solve(ours, function, sde, method, y0, times=TIMES[[0, -1]])
        (first,) = torch.autograd.grad(ys[-1].square().sum(), y0, create_graph=True)
        found.append(torch.autograd.grad(first.square().sum(), [y0, sde.drift[0].weight]))
    torch.testing.assert_close(*found, rtol=1e-10, atol=1e-11)


@pytest.mark.filterwarnings("ignore:The spacing between time points")
def test_what_the_reversible_method_carries_has_gradients_in_and_out() -> None:
    sde, found = Neural("general", "stratonovich"), []
    for function in ("sdeint", "sdeint_adjoint"):
        y0 = start()
        z = (y0 * 1.01).detach().requires_grad_()
        extras = (sde.f(TIMES[0], z), sde.g(TIMES[0], z), z)
        ys, carried = solve(ours, function, sde, "reversible_heun", y0, extra=True, extra_solver_state=extras)
        loss = ys.square().sum() + sum(part.cos().sum() for part in carried)
        found.append(torch.autograd.grad(loss, [y0, z, *sde.parameters()]))
    torch.testing.assert_close(*found, rtol=1e-10, atol=1e-11)


@pytest.mark.filterwarnings("ignore:A limitation of the")
@pytest.mark.parametrize(("calculus", "method"), [("ito", "milstein"), ("stratonovich", "reversible_heun")])
def test_adaptive_steps_have_exact_gradients_too(calculus, method) -> None:
    sde, y0 = Neural("diagonal", calculus), start()
    options = {"adaptive": True, "rtol": 1e-3, "atol": 1e-3}
    through = solve(ours, "sdeint", sde, method, y0, **options)
    joined = solve(ours, "sdeint_adjoint", sde, method, y0, **options)
    torch.testing.assert_close(joined, through)
    torch.testing.assert_close(gradients(joined, sde, y0), gradients(through, sde, y0), rtol=1e-9, atol=1e-10)


def test_divergences_have_exact_gradients() -> None:
    sde, y0, found = Neural("diagonal", "ito"), start(), []
    for function in ("sdeint", "sdeint_adjoint"):
        bm = theirs.BrownianInterval(0.0, 1.0, (4, 4), torch.float64, entropy=4)
        ys, divergence = getattr(ours, function)(sde, y0, TIMES, bm=bm, method="euler", dt=0.1, logqp=True)
        found.append(torch.autograd.grad(ys.square().sum() + divergence.sum(), [y0, *sde.parameters()]))
    torch.testing.assert_close(*found, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize(
    ("calculus", "noise", "name"),
    [
        ("ito", "diagonal", "srk"), ("ito", "diagonal", "midpoint"), ("ito", "general", "milstein"),
        ("stratonovich", "diagonal", "euler"), ("stratonovich", "diagonal", "log_ode"),
    ],
)  # fmt: skip
def test_methods_that_do_not_solve_the_adjoint_equation_are_refused(calculus, noise, name) -> None:
    sde, method = Neural(noise, calculus), "euler" if calculus == "ito" else "midpoint"
    with pytest.raises(ValueError, match=r"adjoint_method=.*Choose one of"):
        solve(ours, "sdeint_adjoint", sde, method, start(), adjoint_method=name)
    with pytest.raises(ValueError):  # noqa: PT011 - torchsde's words are its own; it notices in the backward pass
        solve(theirs, "sdeint_adjoint", sde, method, start(), adjoint_method=name).sum().backward()


@pytest.mark.parametrize(("method", "named"), [("reversible_heun", None), ("midpoint", "midpoint")])
def test_memory_does_not_grow_with_the_steps_where_it_must_not(method, named) -> None:
    sde = Neural("diagonal", "stratonovich")
    y0 = torch.zeros(512, 3, dtype=torch.float64)

    class Kept:
        """A motion that keeps no numbers, so that what is measured is the solve's."""

        shape = (512, 3)

        def __call__(self, ta, tb, return_U=False, return_A=False):
            return (torch.sin(9 * tb) - torch.sin(9 * ta)).expand(512, 3)

    def trained(steps):
        ts = TIMES[[0, -1]]
        ys = ours.sdeint_adjoint(sde, y0, ts, bm=Kept(), method=method, adjoint_method=named, dt=1 / steps)
        ys.sum().backward()

    trained(8)
    few, many = (peak_bytes(lambda steps=steps: trained(steps)) for steps in (8, 48))
    assert many < few + 8 * y0.nbytes
