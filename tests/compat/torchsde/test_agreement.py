"""The numbers are those of torchsde, on the same Brownian motion."""

import itertools

import pytest
import torch
import torchsde as theirs

from nde.compat import torchsde as ours
from tests.compat.torchsde.equations import Elementwise, Neural

NOISE = ("diagonal", "scalar", "additive", "general")
CASES = [
    *(("ito", "euler", noise, {}) for noise in NOISE),
    *(("ito", "srk", noise, {}) for noise in NOISE[:3]),
    *((calculus, "milstein", noise, {}) for calculus in ("ito", "stratonovich") for noise in NOISE[:3]),
    *(("ito", "milstein", noise, {"options": {"grad_free": True}}) for noise in NOISE[:3]),
    *(
        ("stratonovich", method, noise, {})
        for method in ("euler_heun", "heun", "midpoint", "reversible_heun", "log_ode")
        for noise in NOISE
    ),
]
AREA = {"srk": "space-time", "log_ode": "foster"}
# two outputs in one step, one at the end of a step, and a last step that is cut
TIMES = (0.0, 0.03, 0.2, 0.51, 0.57, 0.95)


def motion(noise, method, dtype=torch.float64, library=theirs):
    motions = {"diagonal": 3, "scalar": 1}.get(noise, 2)
    return library.BrownianInterval(
        0.0, 1.0, size=(4, motions), dtype=dtype, entropy=7, levy_area_approximation=AREA.get(method, "none")
    )


def solved(library, sde, method, noise, dtype=torch.float64, times=TIMES, **options):
    y0 = torch.linspace(-0.5, 0.5, 12, dtype=dtype).reshape(4, 3)
    ts = torch.tensor(times, dtype=dtype)
    return library.sdeint(sde, y0, ts, bm=motion(noise, method, dtype), method=method, **{"dt": 0.1, **options})


@pytest.mark.parametrize(("calculus", "method", "noise", "options"), CASES, ids=str)
def test_states_agree_to_rounding(calculus, method, noise, options) -> None:
    sde = Elementwise(noise, calculus)
    found, expected = (solved(library, sde, method, noise, **options) for library in (ours, theirs))
    torch.testing.assert_close(found, expected, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize(("calculus", "method"), [("ito", "srk"), ("ito", "euler"), ("stratonovich", "midpoint")])
def test_a_last_step_of_one_rounding_unit_is_taken_as_there(calculus, method) -> None:
    # ten times 0.1 is 1 less a rounding unit
    sde = Elementwise("diagonal", calculus)
    found, expected = (solved(library, sde, method, "diagonal", times=(0.0, 1.0)) for library in (ours, theirs))
    torch.testing.assert_close(found, expected, rtol=1e-13, atol=1e-13)
    own = motion("diagonal", method, library=ours)
    y0 = torch.zeros(4, 3, dtype=torch.float64)
    for bm in (own, None):
        assert bool(ours.sdeint(sde, y0, [0.0, 1.0], bm=bm, method=method, dt=0.1).isfinite().all())


@pytest.mark.parametrize("dt", [0.1, 0.01, 0.03])
def test_times_in_float32_are_summed_as_there(dt) -> None:
    # a time that is off by one rounding unit would move the motion by its root, 2e-4
    sde = Elementwise("diagonal", "ito", torch.float32)
    found, expected = (solved(library, sde, "euler", "diagonal", torch.float32, dt=dt) for library in (ours, theirs))
    torch.testing.assert_close(found, expected, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize(("calculus", "method", "noise", "options"), CASES[::3], ids=str)
def test_gradients_through_the_solve_agree(calculus, method, noise, options) -> None:
    sde, grads = Elementwise(noise, calculus), []
    for library in (ours, theirs):
        ys = solved(library, sde, method, noise, **options)
        grads.append(torch.autograd.grad(ys.square().sum(), list(sde.parameters()), allow_unused=True))
    for found, expected in zip(*grads, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("noise", NOISE)
@pytest.mark.parametrize("calculus", ["ito", "stratonovich"])
def test_divergences_agree(calculus, noise) -> None:
    sde = Neural(noise, calculus)
    y0, ts = torch.zeros(4, 3, dtype=torch.float64), torch.tensor(TIMES, dtype=torch.float64)
    motions = {"diagonal": 4, "scalar": 1}.get(noise, 2)  # one more for the divergence's own entry
    results = []
    for library in (ours, theirs):
        bm = theirs.BrownianInterval(0.0, 1.0, size=(4, motions), dtype=torch.float64, entropy=1)
        method = "euler" if calculus == "ito" else "midpoint"
        results.append(library.sdeint(sde, y0, ts, bm=bm, method=method, dt=0.1, logqp=True))
    (ys, divergence), expected = results
    assert ys.shape == (6, 4, 3) and divergence.shape == (5, 4)
    torch.testing.assert_close((ys, divergence), expected, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("noise", NOISE)
def test_what_the_reversible_method_carries_agrees_and_undoes_the_solve(noise) -> None:
    sde = Neural(noise, "stratonovich")
    y0 = torch.full((4, 3), 0.1, dtype=torch.float64)
    ts = torch.linspace(0.0, 1.0, 9, dtype=torch.float64)  # sums of the steps are exact in both directions
    bm = motion(noise, "reversible_heun")
    options = {"method": "reversible_heun", "dt": 0.125, "extra": True}
    ys, extras = ours.sdeint(sde, y0, ts, bm=bm, **options)
    expected, expected_extras = theirs.sdeint(sde, y0, ts, bm=bm, **options)
    torch.testing.assert_close((ys, *extras), (expected, *expected_extras), rtol=1e-12, atol=1e-12)

    class Reversed:
        noise_type, sde_type = noise, "stratonovich"
        f, g = (staticmethod(lambda t, y, own=own: -own(-t, y)) for own in (sde.f, sde.g))

    f, g, z = extras
    back = ours.sdeint(
        Reversed(), ys[-1], -ts.flip(0), bm=theirs.ReverseBrownian(bm), extra_solver_state=(-f, -g, z), **options
    )[0]
    torch.testing.assert_close(back.flip(0), ys, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize(
    ("calculus", "method", "noise"),
    [("ito", "milstein", "diagonal"), ("ito", "srk", "scalar"), ("stratonovich", "heun", "additive")],
)
def test_adaptive_steps_agree_to_the_tolerance(calculus, method, noise) -> None:
    sde = Elementwise(noise, calculus)
    y0, ts = torch.zeros(4, 3, dtype=torch.float64), torch.tensor([0.0, 1.0], dtype=torch.float64)
    bm = motion(noise, method)
    options = {"bm": bm, "method": method, "adaptive": True, "dt": 0.05, "rtol": 1e-4, "atol": 1e-4}
    with torch.no_grad():
        found, expected = (library.sdeint(sde, y0, ts, **options)[1] for library in (ours, theirs))
        rough = ours.sdeint(sde, y0, ts, **{**options, "rtol": 1e-1, "atol": 1e-1})[1]
    # errors of the end follow the tolerance to the power order / (order + 1/2), with a factor of some ten
    assert float((found - expected).abs().max()) < 2e-2
    assert not torch.equal(rough, found)


def test_functions_in_any_combination_give_the_same_numbers() -> None:
    vector = torch.tensor([0.7, -0.4], dtype=torch.float64)

    def f(t, y):
        return -y

    def g(t, y):
        return y.unsqueeze(-1).sigmoid() * vector

    def g_prod(t, y, v):
        return g(t, y).bmm(v.unsqueeze(-1)).squeeze(-1)

    functions = {
        "f": f, "g": g, "g_prod": g_prod, "f_and_g": lambda t, y: (f(t, y), g(t, y)),
        "f_and_g_prod": lambda t, y, v: (f(t, y), g_prod(t, y, v)),
    }  # fmt: skip
    for calculus, methods in (("ito", ["euler"]), ("stratonovich", ["midpoint", "heun", "euler_heun"])):
        for method in methods:
            results = []
            for count in range(1, 6):
                for names in itertools.combinations(functions, count):
                    if not ({"f", "f_and_g", "f_and_g_prod"} & {*names} and {*names} - {"f"}):
                        continue
                    sde = type("SDE", (), {"noise_type": "general", "sde_type": calculus})()
                    for name in names:
                        setattr(sde, name, functions[name])
                    results.append(solved(ours, sde, method, "general"))
            assert len(results) > 20
            for other in results[1:]:
                assert torch.equal(other, results[0])


def test_functions_are_called_as_often_as_the_method_needs_them() -> None:
    calls = dict.fromkeys(("f_and_g", "f_and_g_prod", "f", "g"), 0)

    def counted(name, function):
        def call(*args):
            calls[name] += 1
            return function(*args)

        return call

    class Both:
        noise_type, sde_type = "diagonal", "stratonovich"
        f_and_g = staticmethod(counted("f_and_g", lambda t, y: (-y, torch.cos(y))))

    class Products:
        noise_type, sde_type = "diagonal", "stratonovich"
        f_and_g_prod = staticmethod(counted("f_and_g_prod", lambda t, y, v: (-y, torch.cos(y) * v)))

    y0 = torch.zeros(4, 3, dtype=torch.float64)
    for sde, name in ((Both(), "f_and_g"), (Products(), "f_and_g_prod")):
        for method, per_step in (("midpoint", 2), ("heun", 2)):
            calls[name] = 0
            ours.sdeint(sde, y0, [0.0, 1.0], method=method, dt=0.25, bm=motion("diagonal", method))
            assert calls[name] == 1 + 4 * per_step  # one look, before the first step
    calls["f_and_g"] = 0
    ours.sdeint(Both(), y0, [0.0, 1.0], method="reversible_heun", dt=0.25)
    assert calls["f_and_g"] == 1 + 1 + 4


def test_additive_noise_known_by_its_products_is_enough_for_srk() -> None:
    matrix = torch.tensor([[0.3, 0.1], [0.2, -0.5], [0.0, 0.4]], dtype=torch.float64)

    class Products:
        noise_type, sde_type = "additive", "ito"

        def f(self, t, y):
            return torch.sin(y)

        def g_prod(self, t, y, v):
            return (1 + t) * v @ matrix.T

    found, expected = (solved(library, Products(), "srk", "additive") for library in (ours, theirs))
    torch.testing.assert_close(found, expected, rtol=1e-13, atol=1e-13)
